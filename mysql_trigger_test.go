package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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

// trigger a table in all ways: several of one kind in an order that is not the one in which they were made, an order of their
// own with the change's, another sql_mode, another author, comments at the end.
func triggerMy(t *testing.T, db *sql.DB, table string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := func(text string) string { return strings.ReplaceAll(text, "TABLE", table) }
	mytest.Exec(t, conn,
		`CREATE TABLE IF NOT EXISTS audit (n int AUTO_INCREMENT PRIMARY KEY, place varchar(20), id bigint, what varchar(300))`,
		`CREATE USER IF NOT EXISTS 'some one'@'local%'`, `GRANT ALL ON *.* TO 'some one'@'local%'`,
		in(`CREATE TRIGGER TABLE_second AFTER INSERT ON TABLE FOR EACH ROW INSERT INTO audit (place, id, what) VALUES ('TABLE', NEW.id, 'second')`),
		in(`CREATE TRIGGER TABLE_first AFTER INSERT ON TABLE FOR EACH ROW PRECEDES TABLE_second
lbl: BEGIN
  DECLARE n int DEFAULT 0;
  IF NEW.note IS NULL THEN LEAVE lbl; END IF;
  INSERT INTO audit (place, id, what) VALUES ('TABLE', NEW.id, CONCAT('first ', NEW.note, ' ', n, 'ü')); -- only with notes
END lbl`),
		in(`CREATE TRIGGER changed BEFORE UPDATE ON TABLE FOR EACH ROW SET NEW.status = CONCAT('was ', LEFT(OLD.status, 10)) # mine`),
		`SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'`,
		in(`CREATE DEFINER='some one'@'local%' TRIGGER "TABLE gone" AFTER DELETE ON TABLE FOR EACH ROW INSERT INTO "audit" (place, id, what) VALUES ('TABLE', OLD.id, 'gone' || OLD.id)`),
		`SET SESSION sql_mode = DEFAULT`,
		in(`CREATE TRIGGER stamped BEFORE INSERT ON TABLE FOR EACH ROW SET NEW.customer_id = NEW.customer_id + 1000`))
}

// triggersOf is what the server says of the triggers, in the order in which they fire.
func triggersOf(t *testing.T, db *sql.DB) (out []string) {
	t.Helper()
	names := myContent(t, db, `SELECT CONCAT_WS('|', event_object_table, event_manipulation, action_timing, LPAD(action_order, 3, '0'), trigger_name) FROM information_schema.triggers WHERE trigger_schema = DATABASE()`)
	for _, name := range names {
		name = strings.Trim(name, `"`)
		out = append(out, name)
		rows := myContent(t, db, "SHOW CREATE TRIGGER `"+name[strings.LastIndex(name, "|")+1:]+"`")
		out = append(out, rows...)
	}
	return out
}

// TestMySQLTriggers: triggers of users are what they were after a change, as after a native ALTER, and fire once for each of
// the users' writes and for none of ours.
func TestMySQLTriggers(t *testing.T) {
	t.Parallel()
	for _, capture := range []changeling.Capture{changeling.CaptureBinlog, changeling.CaptureTriggers} {
		t.Run("by "+string(capture), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
				triggerMy(t, db, "orders")
				fillMy(t, db, "orders", 2000)
				before := triggersOf(t, db)
				var wrote atomic.Int64
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for writer := range 4 {
					wg.Go(func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								return
							case <-time.After(5 * time.Millisecond):
							}
							key := fmt.Sprintf("w%d-%d", writer, n)
							text, args := `INSERT INTO orders (customer_id, email, amount, note) VALUES (1, ?, 5, ?)`, []any{key, key}
							if capture == changeling.CaptureTriggers && isMaria(t, db) { // where what is prepared may fail once, as triggers are made
								text, args = fmt.Sprintf(`INSERT INTO orders (customer_id, email, amount, note) VALUES (1, '%s', 5, '%s')`, key, key), nil
							}
							if _, err := db.Exec(text, args...); err != nil {
								t.Errorf("a user's write failed: %v", err)
								return
							}
							wrote.Add(1)
						}
					})
				}
				config := changeling.Config{DropAfter: changeling.DropNow, Capture: capture, Events: event.Lines(t.Output())}
				if capture == changeling.CaptureBinlog {
					config.Binlog = dsn
				}
				err := changeling.Apply(t.Context(), db, myGrow, config)
				time.Sleep(50 * time.Millisecond)
				close(stop)
				wg.Wait()
				if err != nil {
					t.Fatal(err)
				}
				if after := triggersOf(t, db); !slices.Equal(after, before) {
					t.Errorf("the triggers were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
				}
				for _, q := range []string{
					`SELECT COUNT(*) FROM audit WHERE what = 'second'`, `SELECT COUNT(*) + (SELECT COUNT(*) FROM orders WHERE note IS NULL) FROM audit WHERE what LIKE 'first%'`,
					`SELECT COUNT(*) FROM orders WHERE customer_id >= 1000`, `SELECT COUNT(DISTINCT id) FROM audit WHERE what = 'second'`,
				} {
					var n int64
					if err := db.QueryRow(q).Scan(&n); err != nil || n != 2000+wrote.Load() {
						t.Errorf("%s = %d, %v; want %d, once for each row", q, n, err, 2000+wrote.Load())
					}
				}
				mytest.Exec(t, db, `UPDATE orders SET amount = 3000000000 WHERE id = 4`, `DELETE FROM orders WHERE id = 5`)
				sameMy(t, db, `SELECT status, (SELECT COUNT(*) FROM audit WHERE what = 'gone5') FROM orders WHERE id = 4`, `SELECT 'was new', 1`)
			})
		})
	}
}

// TestMySQLTriggersWhenItDies: whatever a run dies at after the swap, each write of a user fires his triggers once, and the next
// run gives them their names.
func TestMySQLTriggersWhenItDies(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) { triggersWhenItDies(t, dsn, db, false) })
}

// TestMySQLTriggersAndKeysWhenItDies: the same where foreign keys tie the table to others: at no moment is one missing.
func TestMySQLTriggersAndKeysWhenItDies(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) { triggersWhenItDies(t, dsn, db, true) })
}

func triggersWhenItDies(t *testing.T, dsn string, db *sql.DB, tied bool) {
	step := 13
	if full() {
		step = 1
	}
	for at := 0; ; at += step {
		mytest.Exec(t, db, `DROP TABLE IF EXISTS follows, orders, audit, ups`, `CREATE TABLE orders `+myOrders)
		if tied {
			mytest.Exec(t, db, `CREATE TABLE ups (id int PRIMARY KEY)`, `ALTER TABLE orders ADD COLUMN up int, ADD CONSTRAINT orders_up FOREIGN KEY (up) REFERENCES ups (id), ADD FOREIGN KEY (up) REFERENCES ups (id)`,
				`CREATE TABLE follows (id bigint unsigned, FOREIGN KEY (id) REFERENCES orders (id))`)
		}
		triggerMy(t, db, "orders")
		fillMy(t, db, "orders", 20)
		before, keys := triggersOf(t, db), keysMy(t, db)
		var since atomic.Int64
		since.Store(-1)
		var last atomic.Value
		mortal := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if (strings.HasPrefix(x.Text, "RENAME TABLE") && strings.Contains(x.Text, "_old") || strings.HasPrefix(x.Text, "CALL ")) && since.Load() < 0 {
				since.Store(0)
				return x.Text
			}
			if n := since.Load(); n >= 0 {
				if n >= int64(at) {
					return "SIGNAL SQLSTATE '45000'"
				}
				since.Add(1)
				last.Store(x.Text)
			}
			return x.Text
		})
		mortal.SetMaxOpenConns(20)
		first := changeling.Apply(t.Context(), mortal, myGrow, changeling.Config{Fast: true, Lease: 3 * time.Second, DropAfter: changeling.DropNow})
		mortal.Close()
		if since.Load() < 0 {
			t.Fatalf("the change ended before its swap: %v", first)
		}
		when := fmt.Sprintf("dead %d statements after the swap, the last one %.60v", at, last.Load())
		fires := func(when string) {
			t.Helper()
			mytest.Exec(t, db, `DELETE FROM audit`, `INSERT INTO orders (customer_id, email, amount, note) VALUES (1, UUID(), 5, 'n')`)
			sameMy(t, db, `SELECT what, (SELECT customer_id FROM orders WHERE id = audit.id) FROM audit`, `SELECT 'second', 1001 UNION ALL SELECT 'first n 0ü', 1001`)
			for _, text := range []string{`INSERT INTO orders (customer_id, email, amount, up) VALUES (1, UUID(), 5, 77)`, `INSERT INTO follows VALUES (-1)`} {
				if _, err := db.Exec(text); tied && err == nil {
					t.Errorf("an orphan came in: %s", text)
				}
			}
			if t.Failed() {
				t.Fatal(when)
			}
		}
		fires(when)
		err := changeling.ErrOwned
		for errors.Is(err, changeling.ErrOwned) {
			err = changeling.Apply(t.Context(), db, myGrow, changeling.Config{Fast: true, Lease: 3 * time.Second, DropAfter: changeling.DropNow})
		}
		if err != nil {
			t.Fatalf("%s: the second run: %v", when, err)
		}
		fires(when + ", after the second run")
		if after := triggersOf(t, db); !slices.Equal(after, before) {
			t.Fatalf("%s: the triggers were\n%s\nand are\n%s", when, strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		if now := keysMy(t, db); !slices.Equal(now, keys) {
			t.Fatalf("%s: the foreign keys were %q and are %q", when, keys, now)
		}
		if first == nil {
			t.Logf("%d statements after the swap", since.Load())
			return
		}
	}
}

// keysMy are the foreign keys of the tests' database.
func keysMy(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return myContent(t, db, `SELECT constraint_name, table_name, column_name, referenced_table_name FROM information_schema.key_column_usage WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL`)
}

// TestMySQLTriggersRefused: what cannot be made again as it is.
func TestMySQLTriggersRefused(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE a (id int PRIMARY KEY, v int, w int, CONSTRAINT mine CHECK (v > 0))`, `CREATE TRIGGER a_i BEFORE INSERT ON a FOR EACH ROW SET NEW.w = 1`,
			`CREATE TABLE b (id int PRIMARY KEY, v int CHECK (v > 0), w int)`, `CREATE TRIGGER b_i BEFORE INSERT ON b FOR EACH ROW SET NEW.w = 1`)
		for _, c := range []struct{ ddl, says string }{
			{`ALTER TABLE a MODIFY v bigint`, "the check mine"},
			{`ALTER TABLE b DROP COLUMN w, MODIFY v bigint`, "Unknown column 'w' in 'NEW'"},
		} {
			if err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{}); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want ErrRefused with %q", c.ddl, err, c.says)
			}
		}
		before := myDefinition(t, db, "b")
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE b MODIFY v bigint`, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
			t.Errorf("a check with a name that the server gave: %v", err)
		}
		if got, want := myDefinition(t, db, "b"), strings.Replace(before, "`v` int", "`v` bigint", 1); got != want {
			t.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
	})
}
