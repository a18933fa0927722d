package mysql_test

import (
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// TestFarewellOfTheServer: a server that ends an idle session says why, unasked. Whoever sends a statement then reads that instead of
// an answer, and has to take it for what it is: a connection that is no more.
func TestFarewellOfTheServer(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mysql.Wrap(mytest.Open(t, mytest.Database(t, version)))
		defer db.Close()
		for _, query := range []bool{false, true} {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var id, sessions int
			if err := conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), "SET SESSION wait_timeout = 1"); err != nil {
				t.Fatal(err)
			}
			for sessions = 1; sessions > 0; time.Sleep(50 * time.Millisecond) {
				if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE id = $1", id).Scan(&sessions); err != nil {
					t.Fatal(err)
				}
			}
			if query {
				var n int
				err = conn.QueryRowContext(t.Context(), "SELECT 1").Scan(&n)
			} else {
				_, err = conn.ExecContext(t.Context(), "DO 1")
			}
			if !fault.Lost(err) {
				t.Errorf("the first statement after the end of the session: %v, want a lost connection", err)
			}
			_ = conn.Close() // it is gone
		}
	})
}
