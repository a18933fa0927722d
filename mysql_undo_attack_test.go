package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLUndoKeepsItsOwn: a table that a TRUNCATE gave another number is still known as the change's own, in the window and in the undo.
func TestMySQLUndoKeepsItsOwn(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 300)
		}
		empty := func() {
			t.Helper()
			alikeMy(t, db, func(table string) string { return `TRUNCATE TABLE ` + table },
				func(table string) string {
					return `INSERT INTO ` + table + ` (id, customer_id, email, amount) VALUES (7, 1, 'a', 2), (3000, 1, 'b', 2)`
				})
		}
		var late, dies atomic.Bool
		ctx, die := context.WithCancel(t.Context())
		defer die()
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "`orders`") && late.CompareAndSwap(true, false) { // between the last drain and the lock
				empty()
			}
			if strings.Contains(x.Text, "INTO `changeling_") && strings.Contains(x.Text, "undo_keys_") && strings.Contains(x.Text, "SELECT s.") && dies.CompareAndSwap(true, false) {
				die() // the old table is empty, and nobody has said so
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		c := made(t, pool, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		empty()
		dies.Store(true)
		if _, err := c.Cleanup(ctx, changeling.WhenDue); err == nil || dies.Load() {
			t.Fatalf("Cleanup = %v, want it to die", err)
		}
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		equalMy(t, db, "orders", "twin", "after the undo of a run that died")
		c = made(t, pool, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		empty()
		if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil { // empties the old table
			t.Fatal(dropped, err)
		}
		empty()
		empty() // each ends a part of what is read
		late.Store(true)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		if late.Load() {
			t.Error("the table was not truncated before the lock")
		}
		equalMy(t, db, "orders", "twin", "after the undo")
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Fatal(dropped, err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
}

// TestMySQLLateChild: a foreign key that comes to refer to the table while it is changed, or in the window, is not led away by a swap.
func TestMySQLLateChild(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		var locked atomic.Bool // before the lock, or under it
		child := func() {
			mytest.Exec(t, db, `CREATE TABLE child (id int PRIMARY KEY, o bigint unsigned, FOREIGN KEY (o) REFERENCES orders (id))`)
		}
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "`orders`") && locked.CompareAndSwap(true, false) {
				child()
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		refused := func(when string, err error) {
			t.Helper()
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "child") {
				t.Errorf("%s: %v, want a refusal that names the child", when, err)
			}
			var parent string
			if err := db.QueryRow(`SELECT CONCAT(unique_constraint_schema = DATABASE(), referenced_table_name) FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE() AND table_name = 'child'`).Scan(&parent); err != nil || parent != "1orders" {
				t.Errorf("%s: the child refers to %q, %v", when, parent, err)
			}
			mytest.Exec(t, db, `DROP TABLE child`)
		}
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 100)
		locked.Store(true)
		refused("during the change", changeling.Apply(t.Context(), pool, myGrow, byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())})))
		c := made(t, pool, myGrow, byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())})) // goes on
		child()
		refused("in the window", c.Undo(t.Context(), changeling.NoLoss))
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "undone", "")
	})
}

// TestMySQLUndoWithoutDefault: a row that is new since, and for which the old table has no value, is named and not copied.
func TestMySQLUndoWithoutDefault(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, v int, must varchar(9) NOT NULL)`, `INSERT INTO orders VALUES (1, 1, 'x'), (2, 2, 'y')`)
		c := made(t, db, `ALTER TABLE orders MODIFY v bigint, DROP COLUMN must`, byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `UPDATE orders SET v = 5 WHERE id = 1`, `INSERT INTO orders VALUES (3, 3)`)
		if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 3") {
			t.Errorf("Undo = %v, want a refusal that names id 3", err)
		}
		stands(t, c, "done", "open")
		mytest.Exec(t, db, `DELETE FROM orders WHERE id = 3`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		var rows string
		if err := db.QueryRow(`SELECT GROUP_CONCAT(CONCAT_WS(' ', id, v, must) ORDER BY id) FROM orders`).Scan(&rows); err != nil || rows != "1 5 x,2 2 y" {
			t.Errorf("the rows are %q, %v", rows, err)
		}
	})
}

// TestMySQLUndoDrainsAtOnce: the swap of the change is the first thing in the log of its undo, and no end of what a drain waits for.
func TestMySQLUndoDrainsAtOnce(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 100)
		var drained atomic.Int64
		c := made(t, db, myGrow, byBinlog(dsn, changeling.Config{Events: event.Tee(event.Lines(t.Output()), func(e event.Event) {
			if e, ok := e.(event.StepEnded); ok && e.Step == "drain" {
				drained.Store(e.Done)
			}
		})}))
		mytest.Exec(t, db, `UPDATE orders SET amount = 5 WHERE id < 6`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		if n := drained.Load(); n != 4 {
			t.Errorf("the drain took %d keys, want all 4", n)
		}
	})
}

// TestMySQLUndoCounter: numbers that the old table cannot have are not what it gives out next.
func TestMySQLUndoCounter(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, v int)`, `INSERT INTO orders (v) VALUES (1), (2)`)
		c := made(t, db, `ALTER TABLE orders MODIFY id bigint NOT NULL AUTO_INCREMENT`, byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `INSERT INTO orders (v) VALUES (3)`, `INSERT INTO orders VALUES (5000000000, 4)`, `DELETE FROM orders WHERE id > 4`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, `INSERT INTO orders (v) VALUES (5), (6)`)
		var rows string
		if err := db.QueryRow(`SELECT GROUP_CONCAT(CONCAT_WS(' ', id, v) ORDER BY id) FROM orders`).Scan(&rows); err != nil {
			t.Error(err)
		}
		if rows != "1 1,2 2,3 3,4 5,5 6" {
			t.Errorf("the rows are %s", rows)
		}
	})
}

// TestMySQLUndoColumns: names that change places, a key that grows, an index that is gone, and what the server fills in by itself.
func TestMySQLUndoColumns(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, a decimal(9,2), b int, c decimal(10,2) CHECK (c < 1000), u int, w int DEFAULT 4, x bigint AS (id + 1) VIRTUAL, y int INVISIBLE DEFAULT 5,
  seen timestamp NOT NULL DEFAULT '2026-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP, UNIQUE KEY by_u (u))`,
				`INSERT INTO `+table+` (id, a, b, c, u, w, y) VALUES (1, 1.25, 10, 1.25, 1, 1, 1), (2, 2.5, 20, 2.5, 2, 2, 2), (3, 3.5, 30, 3.5, 3, 3, 3), (4, 4, 40, 4, 4, 4, 4)`)
		}
		c := made(t, db, `ALTER TABLE orders MODIFY id bigint, CHANGE a b int, CHANGE b a int, MODIFY c int, DROP INDEX by_u, CHANGE w v bigint`, byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `UPDATE orders SET u = 5 - u, seen = '2026-05-05 00:00:00'`, `UPDATE orders SET a = a + 1, v = 9, seen = seen WHERE id = 1`, `UPDATE orders SET id = 5, seen = seen WHERE id = 4`, `UPDATE orders SET y = 8, c = 7, seen = seen WHERE id = 2`,
			`INSERT INTO orders (id, a) VALUES (5000000000, 1)`, `DELETE FROM orders WHERE id > 5`)
		mytest.Exec(t, db, `ALTER TABLE twin DROP INDEX by_u`, `UPDATE twin SET u = 5 - u, seen = '2026-05-05 00:00:00'`, `ALTER TABLE twin ADD UNIQUE KEY by_u (u)`,
			`UPDATE twin SET b = b + 1, w = 9, seen = seen WHERE id = 1`, `UPDATE twin SET id = 5, seen = seen WHERE id = 4`, `UPDATE twin SET y = 8, c = 7, seen = seen WHERE id = 2`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		rows := func(table string) (list string) {
			t.Helper()
			if err := db.QueryRow(`SELECT GROUP_CONCAT(CONCAT_WS(' ', id, a, b, c, u, w, x, y, seen) ORDER BY id) FROM ` + table).Scan(&list); err != nil {
				t.Fatal(err)
			}
			return list
		}
		if got, want := rows("orders"), rows("twin"); got != want {
			t.Errorf("the rows are\n%s, want\n%s", got, want)
		}
	})
}

// TestMySQLUndoOfRebuilt: somebody who has the table written anew, in the window, before the undo's lock or beside it, changes no row; the table
// that was undone is still known as the change's own.
func TestMySQLUndoOfRebuilt(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 300)
		}
		rebuild := func(texts ...string) {
			t.Helper()
			for _, text := range texts {
				rows, err := db.Query(text) // OPTIMIZE answers
				if err != nil {
					t.Fatal(err)
				}
				rows.Close()
				alikeMy(t, db, func(table string) string { return `UPDATE ` + table + ` SET amount = amount + 1 WHERE id < 40` })
			}
		}
		var late atomic.Bool
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "`orders`") && late.CompareAndSwap(true, false) {
				rebuild(`OPTIMIZE TABLE orders`)
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		c := made(t, pool, myShrink, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		rebuild(`OPTIMIZE TABLE orders`, "alter table `orders` engine = InnoDB", `ALTER TABLE orders FORCE`)
		if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil {
			t.Fatal(dropped, err)
		}
		rebuild(`OPTIMIZE TABLE orders, twin`)
		late.Store(true)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil || late.Load() {
			t.Fatal(err, late.Load())
		}
		equalMy(t, db, "orders", "twin", "after the undo")
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Fatal(dropped, err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
}

// TestMySQLUndoKeyRenamed: a key whose columns the statement gives other names finds its rows on both sides, also those that differ.
func TestMySQLUndoKeyRenamed(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` (shop int, id varchar(20), v int, note text, PRIMARY KEY (shop, id))`,
				`INSERT INTO `+table+` (shop, id, v, note) `+countMy(t, db, 400)+` i % 3, CONCAT('k', i), i, 'x' FROM n`)
		}
		var disturbs, differs atomic.Bool
		id := ""
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "`orders`") && disturbs.CompareAndSwap(true, false) { // between the last drain and the lock
				mytest.Exec(t, db, `UPDATE orders SET v = v + 1 WHERE order_id = 'k7'`, `UPDATE twin SET v = v + 1 WHERE id = 'k7'`)
			}
			if strings.HasPrefix(x.Text, "SELECT a.n, a.h, b.n") && differs.CompareAndSwap(true, false) { // a row of the old table that nobody wrote to
				mytest.Exec(t, db, `UPDATE changeling_`+id+`_old.orders SET v = 77777 WHERE id = 'k9'`)
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		c := made(t, pool, `ALTER TABLE orders CHANGE id order_id varchar(20), CHANGE shop store bigint, MODIFY v bigint, DROP COLUMN note`, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		stands(t, c, "done", "open")
		id = c.ID()
		mytest.Exec(t, db, `UPDATE orders SET v = v + 1 WHERE order_id LIKE 'k1%'`, `UPDATE orders SET order_id = 'moved' WHERE order_id = 'k20'`, `DELETE FROM orders WHERE order_id = 'k30'`, `INSERT INTO orders (store, order_id, v) VALUES (1, 'new', 5)`)
		mytest.Exec(t, db, `UPDATE twin SET v = v + 1 WHERE id LIKE 'k1%'`, `UPDATE twin SET id = 'moved', note = NULL WHERE id = 'k20'`, `DELETE FROM twin WHERE id = 'k30'`, `INSERT INTO twin (shop, id, v) VALUES (1, 'new', 5)`)
		disturbs.Store(true)
		differs.Store(true)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil || disturbs.Load() || differs.Load() {
			t.Fatal(err, disturbs.Load(), differs.Load())
		}
		if got, want := myDefinition(t, db, "orders"), myDefinition(t, db, "twin"); got != want {
			t.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
		sameMy(t, db, `SELECT * FROM orders`, `SELECT * FROM twin`)
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Fatal(dropped, err)
		}
	})
}
