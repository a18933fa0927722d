package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLSlowDDL: the bound of a lock is one of waiting. A statement that has its lock and takes longer than that, as each does
// on a slow disk, is not ended.
func TestMySQLSlowDDL(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 500)
		for _, ddl := range []string{`ALTER TABLE orders ADD COLUMN n int`, myGrow} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var told story
			// A swap on MariaDB is proven within the bound, and that takes longer than this one.
			sink := upon(event.Tee(told.tell, event.Lines(t.Output())), began("cutover"), cancel)
			e, err := changeling.Open(ctx, db, changeling.Config{LockWait: time.Millisecond, Fast: true, Capture: changeling.CaptureTriggers, Events: sink})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			c, err := e.Start(ctx, ddl)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Run(ctx); err != nil && !errors.Is(err, changeling.ErrStopped) {
				t.Fatal(err)
			}
			if n := told.count(retried); n > 0 {
				t.Errorf("%s: %d statements were tried again, and nobody was in their way", ddl, n)
			}
			if ddl == myGrow {
				if err := c.Abort(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
