package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// relativesMy are a key and what refers to it, on several levels, by itself, by a key of two columns, and with rules that change rows. TYPE stands
// for the key's type.
func relativesMy(typ string) []string {
	var out []string
	for _, text := range []string{
		`CREATE TABLE customers (id TYPE NOT NULL AUTO_INCREMENT PRIMARY KEY, boss TYPE DEFAULT NULL COMMENT 'of, the; same', name varchar(20), KEY boss_of (boss, name), CONSTRAINT boss FOREIGN KEY (boss) REFERENCES customers (id))`,
		`CREATE TABLE orders (customer TYPE NOT NULL, no int NOT NULL, note text, PRIMARY KEY (customer, no), CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE ON UPDATE CASCADE)`,
		`CREATE TABLE items (id int AUTO_INCREMENT PRIMARY KEY, customer TYPE DEFAULT NULL, no int, KEY of_order (customer, no), CONSTRAINT items_of FOREIGN KEY (customer, no) REFERENCES orders (customer, no) ON DELETE CASCADE ON UPDATE CASCADE)`,
	} {
		out = append(out, strings.ReplaceAll(text, "TYPE", typ))
	}
	return append(out, `INSERT INTO customers (id, boss, name) WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 300) SELECT i, 1, 'c' FROM r`,
		`INSERT INTO orders SELECT id, 1, 'o' FROM customers`, `INSERT INTO items (customer, no) SELECT id, 1 FROM customers`)
}

// TestMySQLFamily: a key gets another type together with all columns that are tied to it, while users write to all tables. No statement fails,
// nothing is lost, no orphan comes in, and the definitions are those of tables that were made so.
func TestMySQLFamily(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, relativesMy("int")...)
		native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, native, relativesMy("bigint unsigned")...)
		stop := relativesUsersMy(t, db)
		err := changeling.Apply(t.Context(), db, widenFamilyMy, byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, Events: event.Lines(t.Output())}))
		stop()
		if err != nil {
			t.Fatal(err)
		}
		relativesAlikeMy(t, db, native)
	})
}

// relativesAlikeMy compares the definitions of relativesMy, and looks for orphans.
func relativesAlikeMy(t *testing.T, db, native *sql.DB) {
	t.Helper()
	for _, table := range []string{"customers", "orders", "items"} {
		if got, want := shownMy(t, db, table), shownMy(t, native, table); got != want {
			t.Errorf("%s is\n%s\nas it would be made\n%s", table, got, want)
		}
	}
	sameMy(t, db, `SELECT COUNT(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL UNION ALL SELECT COUNT(*) FROM items i LEFT JOIN orders o USING (customer, no) WHERE o.no IS NULL`, `SELECT 0 UNION ALL SELECT 0`)
}

// relativesUsersMy write to relativesMy until they are stopped, with cascades over two levels. None may fail, no orphan may come in, and nothing that they
// wrote may be missing then.
func relativesUsersMy(t *testing.T, db *sql.DB) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var rounds, kept, refused atomic.Int64
	for i := range 3 {
		all.Go(func() {
			for n := 1_000_000 * (i + 1); ctx.Err() == nil; n += 2 {
				for _, c := range []struct {
					text string
					bad  bool
				}{
					{fmt.Sprintf(`INSERT INTO customers (id, boss) VALUES (%d, 1)`, n), false},
					{fmt.Sprintf(`INSERT INTO orders (customer, no, note) VALUES (%d, 1, 'n')`, n), false},
					{fmt.Sprintf(`INSERT INTO items (customer, no) VALUES (%d, 1)`, n), false},
					{fmt.Sprintf(`INSERT INTO items (customer, no) VALUES (%d, 7)`, n), true},
					{fmt.Sprintf(`UPDATE customers SET id = id + 1 WHERE id = %d`, n), false}, // cascades over two levels
					{fmt.Sprintf(`INSERT INTO orders (customer, no, note) VALUES (%d, 1, 'n')`, n), true},
					{fmt.Sprintf(`DELETE FROM customers WHERE id = %d AND id %% 4 = 1`, n+1), false},
				} {
					_, err := db.Exec(c.text)
					switch {
					case err == nil && c.bad:
						t.Errorf("an orphan came in: %s", c.text)
					case err != nil && c.bad && strings.Contains(err.Error(), "1452"):
						refused.Add(1)
					case err != nil:
						t.Errorf("a user failed: %s: %v", c.text, err)
						return
					}
				}
				rounds.Add(1)
				<-time.After(20 * time.Millisecond) // they are to meet the swap, and not to outrun a small machine
				if (n+1)%4 != 1 {
					kept.Add(1)
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		end()
		all.Wait()
		for table, column := range map[string]string{"customers": "id", "orders": "customer", "items": "customer"} {
			sameMy(t, db, `SELECT COUNT(*) FROM `+table+` WHERE `+column+` >= 1000000`, fmt.Sprint(`SELECT `, kept.Load()))
		}
		if rounds.Load() < 20 || refused.Load() < 20 {
			t.Errorf("%d rounds and %d orphans were tried: that shows nothing", rounds.Load(), refused.Load())
		}
	})
}

// TestMySQLFamilyRefused: what cannot be swapped together is refused with a reason, and nothing is made.
func TestMySQLFamilyRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, setup, ddl, says string }{
		{"another kind of type", `DO 0`, `ALTER TABLE customers MODIFY id varchar(20) NOT NULL`, "families of MySQL are of integers"},
		{"another name", `DO 0`, `ALTER TABLE customers CHANGE id no bigint NOT NULL AUTO_INCREMENT`, "in a statement of its own"},
		{"triggers", `CREATE TRIGGER x BEFORE INSERT ON items FOR EACH ROW SET NEW.no = 1`, `ALTER TABLE customers MODIFY id bigint NOT NULL AUTO_INCREMENT`, "has triggers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, append(relativesMy("int"), c.setup)...)
				err := changeling.Apply(t.Context(), db, c.ddl, byBinlog(dsn, changeling.Config{WithChildren: true}))
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want a refusal that says %q", err, c.says)
				}
			})
		})
	}
}

// oneTypeMy fails where the columns of relativesMy that are tied together are of several types.
func oneTypeMy(t *testing.T, db *sql.DB) {
	t.Helper()
	var types int
	if err := db.QueryRow(`SELECT COUNT(DISTINCT column_type) FROM information_schema.columns WHERE table_schema = DATABASE() AND (table_name, column_name) IN (('customers', 'id'), ('customers', 'boss'), ('orders', 'customer'), ('items', 'customer'))`).Scan(&types); err != nil || types != 1 {
		t.Errorf("the columns are of %d types, %v", types, err)
	}
}

// TestMySQLFamilyDies: whatever statement a run dies at, the tables are all the old ones or all the new ones, and the same command goes on.
func TestMySQLFamilyDies(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, native, relativesMy("bigint unsigned")...)
		begin := func() {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS items, orders, customers`)
			mytest.Exec(t, db, relativesMy("int")...)
		}
		act := func(db *sql.DB) error {
			return changeling.Apply(t.Context(), db, widenFamilyMy, byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, DropAfter: changeling.DropNow}))
		}
		diesMy(t, dsn, db, 71, begin, act, func() { oneTypeMy(t, db) }, func(at string) {
			for _, table := range []string{"customers", "orders", "items"} {
				if got, want := shownMy(t, db, table), shownMy(t, native, table); got != want {
					t.Errorf("%s: %s is\n%s\nwant\n%s", at, table, got, want)
				}
				sameMy(t, db, `SELECT COUNT(*) FROM `+table, `SELECT 300`)
			}
		})
	})
}

// TestMySQLFamilyLost: a connection that is lost at the swap, before it or behind it, leaves all tables old or all new, and the run finds out which.
func TestMySQLFamilyLost(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"CALL ", "UNLOCK TABLES"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				mytest.Exec(t, native, relativesMy("bigint unsigned")...)
				mytest.Exec(t, db, relativesMy("int")...)
				var lost, called atomic.Bool
				pool := mytest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
					called.Store(called.Load() || strings.HasPrefix(s.Text, "CALL "))
					if called.Load() && strings.HasPrefix(s.Text, at) && lost.CompareAndSwap(false, true) {
						return "KILL CONNECTION_ID()"
					}
					return s.Text
				})
				pool.SetMaxOpenConns(30)
				config := byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, Events: event.Lines(t.Output())})
				if err := changeling.Apply(t.Context(), pool, widenFamilyMy, config); err != nil {
					t.Fatal(err)
				}
				if !lost.Load() {
					t.Fatal("nothing was lost")
				}
				for _, table := range []string{"customers", "orders", "items"} {
					if got, want := shownMy(t, db, table), shownMy(t, native, table); got != want {
						t.Errorf("%s is\n%s\nwant\n%s", table, got, want)
					}
					sameMy(t, db, `SELECT COUNT(*) FROM `+table, `SELECT 300`)
				}
			})
		})
	}
}
