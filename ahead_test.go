package changeling_test

import (
	"context"
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// aheadOf are the ranges of the database's change that are noted as compared.
const aheadOf = `FROM changeling.chunk k JOIN changeling.chg c ON c.id = k.change_id WHERE c.table_schema = DATABASE() AND k.walk = 'verify'`

// TestMySQLAhead: who wants it fast has all rows compared while the indexes are built. A row that a user writes afterwards, and that the first
// drain copies wrongly, is found all the same, because that drain notes what it applies; one that does not lets it pass.
func TestMySQLAhead(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, forgetful := range []bool{false, true} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 3000)
			var built, wrong atomic.Bool
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				switch {
				case strings.HasPrefix(x.Text, "ALTER TABLE") && strings.Contains(x.Text, "ADD ") && strings.Contains(x.Text, "changeling") && !built.Swap(true):
					for deadline := time.Now().Add(time.Minute); !ask[bool](t, db, `SELECT EXISTS (SELECT 1 `+aheadOf+` AND k.last)`); {
						if time.Now().After(deadline) {
							t.Error("the rows are not compared while the indexes are built")
							break
						}
						time.Sleep(5 * time.Millisecond)
					}
					mytest.Exec(t, db, `UPDATE orders SET amount = 4711 WHERE id = 42`)
				case built.Load() && strings.Contains(x.Text, "STRAIGHT_JOIN") && strings.Contains(x.Text, "INSERT INTO") && strings.Contains(x.Text, "s.`amount`") && !wrong.Load():
					wrong.Store(ask[int](t, db, `SELECT COUNT(*) FROM orders WHERE amount = 4711`) == 1)
					return strings.Replace(x.Text, "s.`amount`", "s.`amount` + 1", 1)
				case forgetful && strings.HasPrefix(x.Text, "INSERT INTO") && strings.Contains(x.Text, "SELECT DISTINCT") && !strings.Contains(x.Text, "STRAIGHT_JOIN"):
					return "" // what would note the keys
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			var told story
			err := changeling.Apply(t.Context(), pool, myGrow, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers, Events: event.Tee(told.tell, event.Lines(t.Output()))})
			if err != nil || !wrong.Load() {
				t.Fatalf("Apply = %v; a row was copied wrongly: %t", err, wrong.Load())
			}
			amount := ask[int](t, db, `SELECT amount FROM orders WHERE id = 42`)
			if found := told.count(differed) > 0; found == forgetful || (amount == 4711) == forgetful {
				t.Errorf("a drain that forgets what it applied: %t; the wrong row was found: %t, amount %d", forgetful, found, amount)
			}
		}
	})
}

// TestMySQLAheadInVain: where users have written much meanwhile, what was compared ahead is compared again from the first row on, and the drain does
// not note each of its keys.
func TestMySQLAheadInVain(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 10_500)
		}
		const ranges = `SELECT COUNT(*) ` + aheadOf
		var before, after int
		err := changeling.Apply(t.Context(), db, myGrow, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers,
			Events: upon(upon(event.Lines(t.Output()), began("drain"), func() {
				before = ask[int](t, db, ranges)
				mytest.Exec(t, db, `UPDATE orders SET amount = 4711`)
			}), began("verify"), func() { after = ask[int](t, db, ranges) })})
		if err != nil || before == 0 || after > 0 {
			t.Errorf("Apply = %v; ranges that were compared ahead: %d, and %d after a drain of all rows, want some and none", err, before, after)
		}
		mytest.Exec(t, db, `ALTER TABLE twin MODIFY amount bigint NOT NULL DEFAULT 7 COMMENT 'in cents'`, `UPDATE twin SET amount = 4711`)
		equalMy(t, db, "orders", "twin", "after a drain of all rows")
	})
}
