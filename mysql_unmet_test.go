package changeling_test

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// TestMySQLNotAtOnceAfterAll: what the server does to an empty twin at once, and refuses for the table with its past, is planned again
// while it runs, by one statement or in parts; and refused, with nothing left, where nothing but the fast way was asked for.
func TestMySQLNotAtOnceAfterAll(t *testing.T) {
	t.Parallel()
	worn := func(t *testing.T, db *sql.DB) {
		mytest.Exec(t, db, `ALTER TABLE orders ADD COLUMN y int, ALGORITHM=INPLACE`, `ALTER TABLE orders DROP COLUMN y, ALGORITHM=INSTANT`) // an odd number, as 255
		for range 300 {
			if _, err := db.Exec(`ALTER TABLE orders ADD COLUMN x int, ALGORITHM=INSTANT`); err != nil {
				return
			}
			mytest.Exec(t, db, `ALTER TABLE orders DROP COLUMN x, ALGORITHM=INSTANT`)
		}
		t.Fatal("the table takes 300 versions of its rows")
	}
	for _, c := range []struct {
		name, clauses string
	}{
		{"as many versions as there may be", " ADD COLUMN n int"},
		{"in parts", " ADD COLUMN n int, ADD INDEX by_n (n)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onlyMySQL(t, func(t *testing.T, _ string, db *sql.DB) {
				mytest.Exec(t, db, `CREATE TABLE orders `+myOrders, `CREATE TABLE same `+myOrders)
				fillMy(t, db, "orders", 300)
				worn(t, db)
				rows := len(myRows(t, db, "orders"))
				before := myDefinition(t, db, "orders")
				mytest.Exec(t, db, `ALTER TABLE same`+c.clauses)

				var told story
				config := quick
				config.OnlyDirect, config.Events = true, event.Lines(t.Output())
				if !strings.Contains(c.clauses, "INDEX") {
					err := changeling.Apply(t.Context(), db, `ALTER TABLE orders`+c.clauses, config)
					if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "only what the server does at once was asked for") {
						t.Fatalf("with nothing but the fast way: %v", err)
					}
					if now := myDefinition(t, db, "orders"); now != before {
						t.Fatalf("the table is\n%s\nwant\n%s", now, before)
					}
				}
				config.OnlyDirect, config.Events = false, event.Tee(told.tell, event.Lines(t.Output()))
				for range 2 { // the second time there is nothing to do
					if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders`+c.clauses, config); err != nil {
						t.Fatal(err)
					}
				}
				if now, want := myDefinition(t, db, "orders"), strings.Replace(myDefinition(t, db, "same"), "`same`", "`orders`", 1); now != want {
					t.Errorf("the table is\n%s\nwant\n%s", now, want)
				}
				if n := len(myRows(t, db, "orders")); n != rows {
					t.Errorf("%d rows, want %d", n, rows)
				}
				again := told.count(func(e event.Event) bool {
					n, ok := e.(event.Notice)
					return ok && strings.Contains(n.Text, "as it did an empty twin")
				})
				if again != 1 {
					t.Errorf("it was said %d times that the server does not do it at once, want 1", again)
				}
			})
		})
	}
}

// TestMySQLSharedFile: of a table that shares a file with others nobody can tell whether it was truncated but by the binary log.
func TestMySQLSharedFile(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders+` TABLESPACE = innodb_system`)
		fillMy(t, db, "orders", 2000)
		for _, c := range []struct {
			at   string
			rows int
		}{{"copy", 1}, {"cutover", 1}} {
			var once sync.Once
			config := byBinlog(dsn, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began(c.at), func() {
				once.Do(func() {
					mytest.Exec(t, db, `TRUNCATE TABLE orders`, `INSERT INTO orders (id, customer_id, email, amount) VALUES (5, 1, 'after', 9)`)
				})
			})})
			if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
				t.Fatal(err)
			}
			if got := myRows(t, db, "orders"); len(got) != c.rows {
				t.Errorf("truncated at the %s: %d rows, want %d", c.at, len(got), c.rows)
			}
			mytest.Exec(t, db, `ALTER TABLE orders MODIFY amount int NOT NULL, TABLESPACE = innodb_system`)
		}
		e, err := changeling.Open(t.Context(), db, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		p, err := e.Plan(t.Context(), myGrow)
		if err != nil {
			t.Fatal(err)
		}
		if p.Route != plan.Refuse || !slices.ContainsFunc(p.Refusals, func(why string) bool { return strings.Contains(why, "shares a file with other tables") }) {
			t.Errorf("with triggers the plan is %s, %q: want a refusal", p.Route, p.Refusals)
		}
	})
}
