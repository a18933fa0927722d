package mysql_test

import (
	"testing"
	"time"

	my "github.com/go-mysql-org/go-mysql/mysql"

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

// TestRoomless: a disk that is full is told as such whatever the server was at, and nothing else is.
func TestRoomless(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code uint16
		text string
		want bool
	}{
		{1025, `Error on rename of './a/orders' to './a/#sql-backup-6fa0-c' (errno: 135 "No more room in record file")`, true},
		{1005, `Can't create table 'orders' (errno: 28 - No space left on device)`, true},
		{1030, `Got error 28 "No space left on device" from storage engine InnoDB`, true},
		{3, `Error writing file './binlog.000002' (Errcode: 28 "No space left on device")`, true},
		{1114, `The table 'orders' is full`, true},
		{1025, `Error on rename of './a/orders' to './b/orders' (errno: 168 "Unknown (generic) error from engine")`, false},
		{1030, `Got error 128 "Internal error" from storage engine InnoDB`, false},
		{1146, `Table 'app.errno: 28 ' doesn't exist`, false},
	} {
		if got := fault.Full(mysql.Coded(&my.MyError{Code: c.code, Message: c.text})); got != c.want {
			t.Errorf("Full(%d %s) = %v, want %v", c.code, c.text, got, c.want)
		}
	}
}
