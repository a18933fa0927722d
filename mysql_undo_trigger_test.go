package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// sameTriggers demands that the triggers are what they were.
func sameTriggers(t *testing.T, db *sql.DB, before []string, when string) {
	t.Helper()
	if after := triggersOf(t, db); !slices.Equal(after, before) {
		t.Errorf("%s: the triggers were\n%s\nand are\n%s", when, strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// triggersOn are those of one table.
func triggersOn(t *testing.T, db *sql.DB, table string) (out []string) {
	t.Helper()
	list := triggersOf(t, db)
	for i := 0; i < len(list); i += 2 { // name and text
		if strings.HasPrefix(list[i], table+"|") {
			out = append(out, list[i:i+2]...)
		}
	}
	return out
}

// fired demands what the triggers of triggerMy did for one row that is inserted.
func fired(t *testing.T, db *sql.DB, when string) {
	t.Helper()
	mytest.Exec(t, db, `DELETE FROM audit`, `INSERT INTO orders (customer_id, email, amount, note) VALUES (1, UUID(), 5, 'n')`)
	if got := strings.Join(myContent(t, db, `SELECT CONCAT(what, ' ', (SELECT customer_id FROM orders WHERE id = audit.id)) FROM audit`), ","); got != `"first n 0ü 1001","second 1001"` {
		t.Errorf("%s: the triggers wrote %s", when, got)
	}
}

// TestMySQLUndoTriggers: an undo leaves the triggers that the table has when it begins, whoever made them and when.
func TestMySQLUndoTriggers(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		config := byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
		for name, between := range map[string][]string{
			"as they were": nil,
			"changed": {`DROP TRIGGER stamped`, `CREATE TRIGGER stamped BEFORE INSERT ON orders FOR EACH ROW SET NEW.customer_id = NEW.customer_id + 2000 - 1000`, `DROP TRIGGER changed`,
				`CREATE TRIGGER late AFTER INSERT ON orders FOR EACH ROW PRECEDES orders_second SET @late = 1`},
			"dropped": {`DROP TRIGGER stamped`, `DROP TRIGGER changed`, `DROP TRIGGER orders_first`, `DROP TRIGGER orders_second`, "DROP TRIGGER `orders gone`"},
		} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, audit`, `CREATE TABLE orders `+strings.Replace(myOrders, "amount int NOT NULL", "amount int NOT NULL CHECK (amount > -5)", 1))
			triggerMy(t, db, "orders")
			fillMy(t, db, "orders", 300)
			definition := myDefinition(t, db, "orders")
			c := made(t, db, myGrow, config)
			stands(t, c, "done", "open")
			mytest.Exec(t, db, between...)
			before := triggersOf(t, db)
			mytest.Exec(t, db, `DELETE FROM audit`, `UPDATE orders SET amount = amount + 1 WHERE id < 40`, `INSERT INTO orders (customer_id, email, amount, note) VALUES (1, 'a', 2, 'b')`, `DELETE FROM orders WHERE id = 7`)
			if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil { // brings the old table in step
				t.Fatal(dropped, err)
			}
			mytest.Exec(t, db, `UPDATE orders SET amount = amount + 1 WHERE id = 2`)
			rows, wrote := myRows(t, db, "orders"), myContent(t, db, `SELECT place, id, what FROM audit`)
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			stands(t, c, "undone", "")
			sameTriggers(t, db, before, name)
			if got := myDefinition(t, db, "orders"); got != definition {
				t.Errorf("%s: the table is\n%s\nwant\n%s", name, got, definition)
			}
			if !slices.Equal(myRows(t, db, "orders"), rows) {
				t.Errorf("%s: the rows are others", name)
			}
			if got := myContent(t, db, `SELECT place, id, what FROM audit`); !slices.Equal(got, wrote) {
				t.Errorf("%s: the triggers wrote %d rows, want %d: they fired for the engine", name, len(got), len(wrote))
			}
			if name != "dropped" {
				fired(t, db, name)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Fatal(dropped, err)
			}
			if left := myTraces(t, db, c.ID()); len(left) > 0 {
				t.Errorf("%s: left over: %v", name, left)
			}
		}
	})
}

// TestMySQLUndoLateTriggers: triggers that a table came to have in the window, and which of them an undo cannot lead back.
func TestMySQLUndoLateTriggers(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		config := byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
		mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY)`, `CREATE TABLE audit (id int)`)
		for name, x := range map[string]struct{ table, ddl, trigger, refusal, mend string }{
			"fits": {`v int, w int`, `MODIFY v bigint, ADD COLUMN x int`, `NEW.v`, ``, ``},
			"names a column that only the new table has": {`v int, w int`, `MODIFY v bigint, ADD COLUMN x int`, `NEW.x`, `the trigger late of`, `DROP TRIGGER late`},
			"names a column by its new name":             {`v int, w int`, `MODIFY v bigint, CHANGE w x int`, `NEW.x`, `Unknown column 'x' in 'NEW'`, `DROP TRIGGER late`},
			"beside a foreign key":                       {`v int, w int, FOREIGN KEY (w) REFERENCES parents (id)`, `MODIFY v bigint`, `NEW.v`, `foreign keys tie it`, `DROP TRIGGER late`},
			"beside a check with a name":                 {`v int, w int, CONSTRAINT mine CHECK (v > 0)`, `MODIFY v bigint`, `NEW.v`, `mine`, `DROP TRIGGER late`},
		} {
			switch maria := isMaria(t, db); name {
			case "beside a check with a name": // which is the table's own on MariaDB
				if maria {
					x.refusal = ""
				}
			case "beside a foreign key":
				if !maria {
					x.refusal = ""
				}
			}
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders (id int PRIMARY KEY, `+x.table+`)`, `INSERT INTO orders (id, v) VALUES (1, 1), (2, 2)`, `DELETE FROM audit`)
			c := made(t, db, `ALTER TABLE orders `+x.ddl, config)
			mytest.Exec(t, db, `CREATE TRIGGER late AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit VALUES (`+x.trigger+`)`, `INSERT INTO orders (id, v) VALUES (3, 3)`)
			before := triggersOf(t, db)
			if x.refusal != "" {
				if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), x.refusal) {
					t.Errorf("%s: Undo = %v, want a refusal with %q", name, err, x.refusal)
				}
				stands(t, c, "done", "open")
				sameTriggers(t, db, before, name)
				mytest.Exec(t, db, x.mend)
				before = nil
			}
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sameTriggers(t, db, before, name)
			if ids := ask[string](t, db, `SELECT GROUP_CONCAT(v ORDER BY id) FROM orders`); ids != "1,2,3" {
				t.Errorf("%s: the rows are %s", name, ids)
			}
			mytest.Exec(t, db, `INSERT INTO orders (id, v) VALUES (4, 4)`)
			if n := ask[int](t, db, `SELECT COUNT(*) FROM audit`); n != 1+len(before)/2 { // sameTriggers has two texts of each
				t.Errorf("%s: the trigger fired %d times", name, n)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Fatal(dropped, err)
			}
			if left := myTraces(t, db, c.ID()); len(left) > 0 {
				t.Errorf("%s: left over: %v", name, left)
			}
		}
	})
}

// TestMySQLLateTrigger: a trigger that somebody makes, drops or changes between the last look and the lock stops a swap, of a change and of
// an undo. An undo that is given up and begun again takes it along.
func TestMySQLLateTrigger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		var disturb atomic.Value
		disturb.Store("")
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "`orders`") {
				if text := disturb.Swap("").(string); text != "" {
					mytest.Exec(t, db, strings.Split(text, ";")...)
				}
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		config := byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
		const mine, theirs = `CREATE TRIGGER mine BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = 1`, `CREATE TRIGGER theirs BEFORE INSERT ON orders FOR EACH ROW SET NEW.customer_id = 1`
		for name, text := range map[string]string{"made": theirs, "dropped": `DROP TRIGGER mine`, "changed": `DROP TRIGGER mine;CREATE TRIGGER mine BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = 2`, "the first": theirs} {
			if (name == "made" || name == "dropped") && !full() {
				continue
			}
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 50)
			if name != "the first" {
				mytest.Exec(t, db, mine)
			}
			e, err := changeling.Open(t.Context(), pool, config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Close)
			c, err := e.Start(t.Context(), myGrow)
			if err != nil {
				t.Fatal(err)
			}
			disturb.Store(text)
			if err := c.Run(t.Context()); !errors.Is(err, changeling.ErrRefused) || disturb.Load() != "" {
				t.Fatalf("%s: the change: %v, want a refusal", name, err)
			}
			before := triggersOn(t, db, "orders")
			if err := c.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			sameTriggers(t, db, before, name+" in a change")
			mytest.Exec(t, db, `DROP TRIGGER IF EXISTS theirs`, `DROP TRIGGER IF EXISTS mine`)
			if name != "the first" {
				mytest.Exec(t, db, mine)
			}
			c = made(t, pool, myGrow, config)
			mytest.Exec(t, db, `UPDATE orders SET amount = 7 WHERE id = 7`)
			disturb.Store(text)
			if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "changeling undo") {
				t.Fatalf("%s: Undo = %v, want a refusal", name, err)
			}
			before = triggersOn(t, db, "orders")
			if err := c.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			stands(t, c, "done", "open")
			sameTriggers(t, db, before, name+" in an undo that was given up")
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatalf("%s: the second undo: %v", name, err)
			}
			sameTriggers(t, db, before, name+" in an undo")
			if n := ask[int](t, db, `SELECT amount FROM orders WHERE id = 7`); n != 7 {
				t.Errorf("%s: a write of the window is lost", name)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Fatal(dropped, err)
			}
		}
	})
}

// TestMySQLUndoTriggersLedger undoes a change of a table with triggers under users who write all the time: every write is in the table, and
// its triggers fired as often as those of a table that nobody changes. Stand-ins that know no silence fire for the engine.
func TestMySQLUndoTriggersLedger(t *testing.T) {
	t.Parallel()
	guard := regexp.MustCompile(`IF @changeling IS NULL AND NOT EXISTS \(.*?\) THEN`)
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, broken := range []bool{false, true} {
			l := newMyLedger(t, db, 0)
			mytest.Exec(t, db, `DROP TABLE IF EXISTS fired`, `CREATE TABLE fired (place varchar(9), what varchar(9), id bigint)`)
			for _, table := range []string{"orders", "mirror"} {
				for _, x := range []string{"INSERT NEW", "UPDATE NEW", "DELETE OLD"} {
					what, row, _ := strings.Cut(x, " ")
					mytest.Exec(t, db, fmt.Sprintf(`CREATE TRIGGER %s_%s AFTER %s ON %s FOR EACH ROW INSERT INTO fired VALUES ('%s', '%s', %s.id)`, table, what, what, table, table, what, row))
				}
			}
			before := triggersOf(t, db)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			stop := l.write(ctx)
			hits := false
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if broken && guard.MatchString(x.Text) {
					hits = true
					return guard.ReplaceAllString(x.Text, "IF TRUE THEN")
				}
				if broken && strings.HasPrefix(x.Text, "LOCK TABLES") {
					_, _ = db.Exec(`UPDATE mirror SET status = 'x' WHERE id = 10000`)
					_, _ = db.Exec(`UPDATE orders SET status = 'x' WHERE id = 10000`)
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			c := made(t, pool, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
			l.until(400)
			err := c.Undo(ctx, changeling.NoLoss)
			if !broken {
				l.until(200)
			}
			stop()
			cancel()
			audit := func(place string) []string {
				return myContent(t, db, `SELECT id, what, COUNT(*) FROM fired WHERE place = '`+place+`' GROUP BY id, what`)
			}
			alike := slices.Equal(audit("orders"), audit("mirror"))
			switch {
			case broken && (!hits || err == nil && alike):
				t.Errorf("stand-ins without a guard did no harm (%v, met: %v)", err, hits)
			case broken:
			case err != nil:
				t.Fatal(err)
			case !alike:
				t.Errorf("the triggers fired otherwise than those of the mirror: %d and %d", len(audit("orders")), len(audit("mirror")))
			default:
				equalMy(t, db, "orders", "mirror", fmt.Sprintf("after %d writes", l.acknowledged.Load()))
				sameTriggers(t, db, before, "after the undo")
				stands(t, c, "undone", "")
			}
		}
	})
}

// TestMySQLDiesInAnUndoWithTriggers: whenever an undo dies, the triggers fire once for each write; the next one, whether the first was given
// up or not, leaves the table and them as they were. Without stand-ins a run that dies behind the RENAME leaves a table without triggers.
func TestMySQLDiesInAnUndoWithTriggers(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		random := rand.New(rand.NewPCG(seed(t), 79))
		config := byBinlog(dsn, changeling.Config{Lease: 3 * time.Second, Fast: true})
		find := func(db *sql.DB, id string) *changeling.Change {
			if e, err := changeling.Open(t.Context(), db, config); err == nil {
				if c, err := e.Find(t.Context(), id); err == nil {
					return c
				}
			}
			return nil
		}
		begin := func() (id string, before []string) {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, audit`, `CREATE TABLE orders `+myOrders)
			triggerMy(t, db, "orders")
			fillMy(t, db, "orders", 200)
			before = triggersOf(t, db)
			id = made(t, db, myGrow, config).ID()
			mytest.Exec(t, db, `UPDATE orders SET amount = amount + 1000 WHERE id < 20`, `DELETE FROM orders WHERE id = 30`)
			return id, before
		}
		// goesOn ends what a dead undo has begun.
		goesOn := func(at, id string, before []string, givesUp bool) {
			c := find(db, id)
			fired(t, db, at)
			if s, err := c.Status(t.Context()); givesUp && err == nil && s.Undo == "under way" {
				if err := c.Abort(t.Context()); err == nil {
					at += ", given up"
					stands(t, c, "done", "open")
					sameTriggers(t, db, before, at)
				} else if !strings.Contains(err.Error(), "swap") && !strings.Contains(err.Error(), "cutover") {
					t.Errorf("%s: Abort = %v", at, err)
				}
			}
			mytest.Exec(t, db, `UPDATE orders SET amount = amount + 7 WHERE id BETWEEN 10 AND 60`)
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Errorf("%s: the second undo: %v", at, err)
				return
			}
			stands(t, c, "undone", "")
			fired(t, db, at+", after the second undo")
			sameTriggers(t, db, before, at)
			if n := ask[int](t, db, `SELECT SUM(amount <> id + 1000 * (id < 20) + 7 * (id BETWEEN 10 AND 60) OR id = 30) FROM orders WHERE id <= 200`); n != 0 {
				t.Errorf("%s: %d rows are wrong", at, n)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Errorf("%s: the cleanup: %v, %v", at, dropped, err)
			}
			if left := myTraces(t, db, id); len(left) > 0 {
				t.Errorf("%s: left over: %v", at, left)
			}
		}
		id, _ := begin()
		counted, counter := mytest.Dying(t, dsn, dying.Death{})
		counted.SetMaxOpenConns(20)
		c := find(counted, id)
		from := counter.Count()
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		to := counter.Count()
		points := moments(random, from+1, to, 3)
		for i, p := range points {
			id, before := begin()
			mortal, death := mytest.Dying(t, dsn, dying.Death{At: p.n, Moment: p.moment})
			mortal.SetMaxOpenConns(20)
			if c := find(mortal, id); c != nil {
				_ = c.Undo(t.Context(), changeling.NoLoss)
			}
			text, _ := death.Died()
			mortal.Close()
			goesOn(fmt.Sprintf("death %s statement %d: %.100s", p.moment, p.n, strings.Join(strings.Fields(text), " ")), id, before, i%2 == 1)
		}
		t.Logf("%d points, %d deaths", 2*(to-from), len(points))
		for _, name := range []string{"behind the RENAME", "behind the RENAME, given up", "behind the RENAME, without stand-ins"} {
			id, before := begin()
			var cut, over atomic.Bool
			mutes := strings.HasSuffix(name, "stand-ins")
			stand := regexp.MustCompile(`TRIGGER .*changeling_` + id + "_t[0-9]+` (BEFORE|AFTER) ")
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				switch {
				case cut.Load():
					over.Store(true)
					return "SIGNAL SQLSTATE '45000'"
				case strings.HasPrefix(x.Text, "LOCK TABLES") && strings.Contains(x.Text, "_old` WRITE"): // of the settler, on MariaDB
					cut.Store(true)
					return "SIGNAL SQLSTATE '45000'"
				case strings.HasPrefix(x.Text, "RENAME TABLE") && strings.Contains(x.Text, "_new` TO") && !isMaria(t, db):
					cut.Store(true)
				case mutes && stand.MatchString(x.Text):
					return "DO 0"
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			_ = find(pool, id).Undo(t.Context(), changeling.NoLoss)
			pool.Close()
			if !over.Load() {
				t.Fatal("the undo did not come to its swap")
			}
			if !mutes {
				goesOn(name, id, before, strings.HasSuffix(name, "given up"))
				continue
			}
			mytest.Exec(t, db, `DELETE FROM audit`, `INSERT INTO orders (customer_id, email, amount, note) VALUES (1, UUID(), 5, 'n')`)
			if n := ask[int](t, db, `SELECT COUNT(*) FROM audit`); n != 0 {
				t.Error("the mutant lives: triggers fired without stand-ins")
			}
		}
	})
}

// TestMySQLAbortBehindTheSwap: a run that dies behind the RENAME has swapped and not said so. An abort finds that out, and takes nothing back;
// the next run lets the change finish.
func TestMySQLAbortBehindTheSwap(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 50)
		var cut atomic.Bool
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if cut.Load() {
				return "SIGNAL SQLSTATE '45000'"
			}
			cut.Store(strings.HasPrefix(x.Text, "RENAME TABLE"))
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		config := byBinlog(dsn, changeling.Config{Fast: true, Lease: 3 * time.Second, Events: event.Lines(t.Output())})
		dying, err := changeling.Open(t.Context(), pool, config)
		if err != nil {
			t.Fatal(err)
		}
		c, err := dying.Start(t.Context(), myGrow)
		if err == nil {
			err = c.Run(t.Context())
		}
		dying.Close()
		if err == nil || !cut.Load() {
			t.Fatalf("the run ended with %v, and was to die behind the RENAME", err)
		}
		e, err := changeling.Open(t.Context(), db, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		if c, err = e.Find(t.Context(), c.ID()); err != nil {
			t.Fatal(err)
		}
		if err := c.Abort(t.Context()); !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), "has swapped the tables") {
			t.Errorf("Abort = %v, want that there is nothing to abort any more", err)
		}
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "done", "open")
		if n := len(myRows(t, db, "orders")); n != 50 || !strings.Contains(myDefinition(t, db, "orders"), "in cents") {
			t.Errorf("%d rows in\n%s", n, myDefinition(t, db, "orders"))
		}
	})
}
