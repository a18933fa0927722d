package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
)

// TestMySQLCutBehindSwap: the RENAME that swaps has to wait in the server, for a backup that came between it and its lock, and its
// client is gone meanwhile. It is not sent again while it may still happen, and the change comes to its end. On MariaDB the RENAME
// always waits, see TestMySQLCutBehindDDL.
func TestMySQLCutBehindSwap(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 500)
		backup, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer backup.Close()
		var mu sync.Mutex
		var first string
		sent, overlaps := 0, 0
		waited := make(chan bool, 1)
		underWay := func() (yes bool) {
			if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) > 0 FROM performance_schema.processlist WHERE info = ?`, first).Scan(&yes); err != nil {
				t.Error(err)
			}
			return yes
		}
		rewrite := func(ctx context.Context, x mutant.Statement) string {
			if !strings.HasPrefix(x.Text, "RENAME TABLE") {
				return x.Text
			}
			mu.Lock()
			defer mu.Unlock()
			if sent++; sent > 1 {
				if underWay() {
					overlaps++
				}
				return x.Text
			}
			first = x.Text
			if _, err := backup.ExecContext(ctx, `LOCK INSTANCE FOR BACKUP`); err != nil {
				t.Error(err)
			}
			go func() {
				there := false
				for began := time.Now(); !there && time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
					there = underWay()
				}
				time.Sleep(300 * time.Millisecond) // in which the run finds out, and looks
				if _, err := backup.ExecContext(t.Context(), `UNLOCK INSTANCE`); err != nil {
					t.Error(err)
				}
				waited <- there
			}()
			return x.Text
		}
		by, p := through(t, dsn, proxy.Cut{At: 1, Moment: proxy.Behind, Text: "RENAME TABLE"})
		pool := mytest.Mutant(t, by, rewrite)
		pool.SetMaxOpenConns(20)
		err = changeling.Apply(t.Context(), pool, myGrow, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers})
		if err != nil {
			t.Fatal(err)
		}
		if _, done := p.Done(); !done || !<-waited {
			t.Error("the RENAME was not cut, or did not wait")
		}
		if err := errors.Join(pool.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if overlaps > 0 {
			t.Errorf("it was sent %d times, %d of them while the first was under way", sent, overlaps)
		}
		if rows := myRows(t, db, "orders"); len(rows) != 500 || !strings.Contains(myDefinition(t, db, "orders"), "`amount` bigint") {
			t.Errorf("%d rows in\n%s", len(rows), myDefinition(t, db, "orders"))
		}
	})
}
