package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// likeMy is a table in the server's own words, with its triggers.
func likeMy(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	return myDefinition(t, db, table) + strings.Join(listed(t, db, `SELECT CONCAT(trigger_name, ' ', event_object_table) FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND event_object_table = '`+table+`' ORDER BY 1`), "\n")
}

// TestMySQLExpandAsNative: contracted, a table is what a native RENAME COLUMN leaves, the place of the column too; aborted, it is what it was.
func TestMySQLExpandAsNative(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0) // each engine keeps some
		mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents VALUES (1), (2)`)
		for _, c := range []struct{ table, ddl, fill, write string }{
			{myOrders, `RENAME COLUMN amount TO total`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'a', 1), (2, 'b', 2)`, `UPDATE %s SET total = total + 10`},
			{myOrders, `RENAME COLUMN email TO "E mail"`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'a', 1), (2, 'b', 2)`, `UPDATE %s SET "E mail" = CONCAT("E mail", 'x')`},
			{myOrders, `RENAME COLUMN status TO state`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'a', 1), (2, 'b', 2)`, `INSERT INTO %s (customer_id, email, amount, state) VALUES (1, 'c', 1, 'old')`},
			{myOrders, `RENAME COLUMN created_at TO made`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'a', 1), (2, 'b', 2)`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'c', 1)`},
			{myOrders, `RENAME COLUMN note TO "select"`, `INSERT INTO %s (customer_id, email, amount, note) VALUES (1, 'a', 1, 'x'), (2, 'b', 2, NULL)`, `UPDATE %s SET "select" = 'y'`},
			{`(a int NOT NULL, b varchar(10) NOT NULL, c int, PRIMARY KEY (a, b), KEY (b(3), c DESC))`, `RENAME COLUMN b TO z`, `INSERT INTO %s VALUES (1, 'x', 2), (2, 'y', 3)`, `UPDATE %s SET z = CONCAT(z, z)`},
			{`(id int PRIMARY KEY, a int NOT NULL DEFAULT 1, KEY named (a), FOREIGN KEY (a) REFERENCES parents (id))`, `RENAME COLUMN a TO b`, `INSERT INTO %s (id, a) VALUES (1, 1), (2, 2)`, `UPDATE %s SET b = 3 - b`},
			{`(id int PRIMARY KEY, a int, b timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) PARTITION BY HASH (id) PARTITIONS 3`, `RENAME COLUMN a TO c`,
				`INSERT INTO %s VALUES (1, 1, '2020-01-01'), (2, 2, '2020-01-01')`, `UPDATE %s SET b = b, c = c + 1`},
			{`(id int PRIMARY KEY, e enum('x', 'y') NOT NULL, s set('a', 'b'), f float, d decimal(6,2) NOT NULL DEFAULT 1.50, j json, t time(3), y year, bt bit(3) NOT NULL DEFAULT b'101', bl blob, l varchar(10) CHARACTER SET latin1 DEFAULT 'ä')`,
				`RENAME COLUMN l TO m`, `INSERT INTO %s (id, e) VALUES (1, 'x'), (2, 'y')`, `INSERT INTO %s (id, e, m) VALUES (3, 'x', 'ü')`},
		} {
			quoted := strings.ReplaceAll(c.ddl, `"`, "`")
			mytest.Exec(t, db, `CREATE TABLE t `+c.table, `CREATE TABLE native `+c.table)
			for _, table := range []string{"t", "native"} {
				mytest.Exec(t, db, fmt.Sprintf(c.fill, table))
			}
			was := likeMy(t, db, "t")
			change := expanded(t, db, `ALTER TABLE t `+quoted)
			if err := change.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if is := likeMy(t, db, "t"); is != was {
				t.Errorf("%s, aborted: the table is\n%s\nit was\n%s", quoted, is, was)
			}
			change = expanded(t, db, `ALTER TABLE t `+quoted)
			mytest.Exec(t, db, `ALTER TABLE native `+quoted)
			for _, table := range []string{"t", "native"} {
				mytest.Exec(t, db, fmt.Sprintf(strings.ReplaceAll(c.write, `"`, "`"), table))
			}
			contracted(t, change)
			if is, want := likeMy(t, db, "t"), likeMy(t, db, "native"); is != strings.ReplaceAll(want, "native_ibfk", "t_ibfk") {
				t.Errorf("%s: the table is\n%s\nafter a native ALTER it is\n%s", quoted, is, want)
			}
			if n := asked(t, db, `SELECT COUNT(*) FROM (SELECT * FROM t EXCEPT SELECT * FROM native) x`); n != "0" {
				t.Errorf("%s: %s rows are not what they are after a native ALTER", quoted, n)
			}
			if again, err := expand(t.Context(), db, changeling.Expansion{Statement: `ALTER TABLE t ` + quoted}, quick); err != nil {
				t.Errorf("%s again: %v", quoted, err)
			} else {
				stands(t, again, "done", "")
			}
			mytest.Exec(t, db, `DROP TABLE t, native`)
		}
		if left := asked(t, db, `SELECT COUNT(*) FROM information_schema.schemata s JOIN changeling.chg c ON s.schema_name = CONCAT('changeling_', c.id) WHERE c.table_schema = DATABASE()`); left != "0" {
			t.Errorf("%s databases are left", left)
		}
	})
}

// TestMySQLExpandedWrites: whoever writes one of the columns has written the other, by the rules that the documentation gives; and what the old
// table would have taken or refused is taken or refused.
func TestMySQLExpandedWrites(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		mytest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, a varchar(20), note text)`, `INSERT INTO t VALUES (1, 'one', NULL), (2, NULL, NULL)`,
			`CREATE TABLE d (id int PRIMARY KEY, a varchar(20) NOT NULL DEFAULT 'dflt', note text)`, `CREATE TABLE n (id int PRIMARY KEY, a varchar(20) NOT NULL, note text)`, `INSERT INTO n VALUES (1, 'one', 'x')`,
			`CREATE TABLE v (id int PRIMARY KEY, a datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), note text)`, `CREATE TABLE f (id int PRIMARY KEY, a float DEFAULT 0.1)`,
			`CREATE TABLE e (id int PRIMARY KEY, a enum('x', 'y') NOT NULL DEFAULT 'x', up timestamp NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP)`, `INSERT INTO e VALUES (1, 'y', '2020-01-01')`,
			`CREATE TABLE j (id int PRIMARY KEY, a json)`, `CREATE TABLE p (a int PRIMARY KEY, note text)`, `INSERT INTO p VALUES (1, 'x'), (2, 'y')`)
		for _, table := range []string{"t", "d", "n", "v", "f", "e", "j", "p"} {
			expanded(t, db, `ALTER TABLE `+table+` RENAME COLUMN a TO b`)
		}
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const strict, loose = `SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE'`, `SET SESSION sql_mode = ''`
		zero := "-0 -0"
		if isMaria(t, db) { // which knows one zero
			zero = "0 0"
		}
		for _, c := range []struct{ mode, write, table, id, want string }{
			{strict, `DO 0`, "t", "1", "one one"},
			{strict, `DO 0`, "t", "2", "NULL NULL"},
			{strict, `UPDATE t SET a = 'uno' WHERE id = 1`, "t", "1", "uno uno"},
			{strict, `UPDATE t SET a = 'UNO' WHERE id = 1`, "t", "1", "UNO UNO"},
			{strict, `UPDATE t SET b = 'Uno' WHERE id = 1`, "t", "1", "Uno Uno"},
			{strict, `UPDATE t SET b = 'eins' WHERE id = 1`, "t", "1", "eins eins"},
			{strict, `UPDATE t SET note = 'n' WHERE id = 1`, "t", "1", "eins eins"},
			{strict, `UPDATE t SET a = 'x', b = 'y' WHERE id = 1`, "t", "1", "y y"},
			{strict, `UPDATE t SET a = 'x', b = b WHERE id = 1`, "t", "1", "x x"},
			{strict, `UPDATE t SET b = NULL WHERE id = 1`, "t", "1", "NULL NULL"},
			{strict, `UPDATE t SET b = 'z' WHERE id = 2`, "t", "2", "z z"},
			{strict, `UPDATE t SET a = NULL WHERE id = 2`, "t", "2", "NULL NULL"},
			{strict, `INSERT INTO t (id, a) VALUES (10, 'old')`, "t", "10", "old old"},
			{strict, `INSERT INTO t (id, b) VALUES (11, 'new')`, "t", "11", "new new"},
			{strict, `INSERT INTO t (id, a, b) VALUES (12, 'old', 'new')`, "t", "12", "new new"},
			{strict, `INSERT INTO t VALUES (13, 'by place', 'n')`, "t", "13", "by place by place"},
			{strict, `INSERT INTO t (id) VALUES (14)`, "t", "14", "NULL NULL"},
			{strict, `INSERT INTO t (id, b) VALUES (10, 'merged') ON DUPLICATE KEY UPDATE b = VALUES(b)`, "t", "10", "merged merged"},
			{strict, `INSERT INTO t (id, a) VALUES (10, 'back') ON DUPLICATE KEY UPDATE a = VALUES(a)`, "t", "10", "back back"},
			{strict, `REPLACE INTO t (id, b) VALUES (10, 'replaced')`, "t", "10", "replaced replaced"},
			{strict, `UPDATE t x JOIN t y ON y.id = 11 SET x.b = y.a WHERE x.id = 10`, "t", "10", "new new"},
			{strict, `INSERT INTO d (id) VALUES (1)`, "d", "1", "dflt dflt"},
			{strict, `INSERT INTO d (id, a) VALUES (2, 'old')`, "d", "2", "old old"},
			{strict, `INSERT INTO d (id, b) VALUES (3, 'new')`, "d", "3", "new new"},
			{strict, `INSERT INTO d (id, a) VALUES (4, 'dflt')`, "d", "4", "dflt dflt"},
			{strict, `INSERT INTO d (id, b) VALUES (5, 'DFLT')`, "d", "5", "DFLT DFLT"},
			{strict, `INSERT INTO d (id, b) VALUES (6, NULL)`, "d", "", "cannot be null"},
			{strict, `INSERT INTO d (id, a) VALUES (6, NULL)`, "d", "", "cannot be null"},
			{strict, `UPDATE d SET a = NULL WHERE id = 1`, "d", "", "cannot be null"},
			{loose, `INSERT INTO d (id, a) VALUES (20, 'k'), (21, NULL)`, "d", "21", " "},
			{loose, `UPDATE d SET a = NULL WHERE id = 2`, "d", "2", " "},
			{strict, `INSERT IGNORE INTO d (id, a) VALUES (22, NULL)`, "d", "22", " "},
			{strict, `INSERT INTO n (id, a) VALUES (2, 'old')`, "n", "2", "old old"},
			{strict, `INSERT INTO n (id, b) VALUES (3, 'new')`, "n", "3", "new new"},
			{strict, `INSERT INTO n (id, b) VALUES (4, '')`, "n", "4", " "},
			{strict, `INSERT INTO n (id) VALUES (5)`, "n", "", "doesn't have a default"},
			{strict, `INSERT INTO n (id, b) VALUES (5, NULL)`, "n", "", "doesn't have a default"},
			{strict, `INSERT INTO n (id, a) VALUES (5, NULL)`, "n", "", "cannot be null"},
			{strict, `UPDATE n SET b = NULL WHERE id = 1`, "n", "", "cannot be null"},
			{loose, `INSERT INTO n (id) VALUES (6)`, "n", "6", " "},
			{loose, `INSERT INTO n (id, a) VALUES (7, NULL)`, "n", "", "cannot be null"},
			{loose, `INSERT INTO n (id, a) VALUES (8, 'x'), (9, NULL)`, "n", "9", " "},
			{strict, `INSERT INTO v (id, b) VALUES (1, '2020-01-01')`, "v", "1", "2020-01-01 00:00:00.000000 2020-01-01 00:00:00.000000"},
			{strict, `INSERT INTO v (id, a) VALUES (2, '2020-01-01')`, "v", "2", "2020-01-01 00:00:00.000000 2020-01-01 00:00:00.000000"},
			{strict, `INSERT INTO f (id, a) VALUES (1, 5.5)`, "f", "1", "5.5 5.5"},
			{strict, `INSERT INTO f (id, b) VALUES (2, 5.5)`, "f", "2", "5.5 5.5"},
			{strict, `INSERT INTO f (id) VALUES (3)`, "f", "3", "0.1 0.1"},
			{strict, `INSERT INTO f (id, a) VALUES (4, 0)`, "f", "4", "0 0"},
			{strict, `UPDATE f SET a = -a WHERE id = 4`, "f", "4", zero},
			{strict, `INSERT INTO e (id, b) VALUES (2, 'y')`, "e", "2", "y y"},
			{strict, `INSERT INTO e (id, a) VALUES (3, 'y')`, "e", "3", "y y"},
			{strict, `INSERT INTO e (id) VALUES (4)`, "e", "4", "x x"},
			{strict, `INSERT INTO j (id, b) VALUES (1, '{"x": 1}')`, "j", "1", `{"x": 1} {"x": 1}`},
			{strict, `UPDATE p SET b = 7 WHERE b = 1`, "p", "7", "7 7"},
			{strict, `UPDATE p SET a = 8 WHERE b = 7`, "p", "8", "8 8"},
		} {
			mytest.Exec(t, conn, c.mode)
			_, err := conn.ExecContext(t.Context(), c.write)
			if c.id == "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want an error that says %q", c.write, err, c.want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.write, err)
				continue
			}
			key := "id"
			if c.table == "p" {
				key = "a"
			}
			if got := asked(t, db, fmt.Sprintf(`SELECT CONCAT(COALESCE(a, 'NULL'), ' ', COALESCE(b, 'NULL')) FROM %s WHERE %s = %s`, c.table, key, c.id)); got != c.want {
				t.Errorf("%s: a and b are %q, want %q", c.write, got, c.want)
			}
		}
		mytest.Exec(t, conn, `INSERT INTO v (id) VALUES (3)`)
		if same := asked(t, db, `SELECT a = b AND a IS NOT NULL FROM v WHERE id = 3`); same != "1" {
			t.Error("a default that is another one each time is another one in each column")
		}
		if up := asked(t, db, `SELECT up FROM e WHERE id = 1`); !strings.HasPrefix(up, "2020-01-01") {
			t.Errorf("filling the new column has changed another one that changes with an UPDATE: %s", up)
		}
		rows, err := db.QueryContext(t.Context(), `SELECT * FROM t LIMIT 1`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if names, err := rows.Columns(); err != nil || len(names) != 3 {
			t.Errorf("SELECT * shows %v (%v), want the columns that there were", names, err)
		}
	})
}

// TestMySQLExpandRefused: what cannot live under two names is refused before anything is done.
func TestMySQLExpandRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders, `CREATE TABLE g (id int PRIMARY KEY, a int, up timestamp NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP, c int AS (id * 2) STORED)`,
			`CREATE TABLE parents (id int PRIMARY KEY, code int UNIQUE)`, `CREATE TABLE moving (parent int, n int, a int, PRIMARY KEY (parent, n), FOREIGN KEY (parent) REFERENCES parents (id) ON UPDATE CASCADE)`, `CREATE TABLE k (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a) REFERENCES parents (id) ON UPDATE CASCADE, FOREIGN KEY (b) REFERENCES parents (code) ON DELETE SET NULL)`,
			`CREATE TABLE v (id int PRIMARY KEY, a int)`, `CREATE VIEW of_v AS SELECT x.a FROM v x`, `CREATE TABLE keyless (a int)`, `CREATE TABLE m (id int PRIMARY KEY, a int) ENGINE=MyISAM`,
			`CREATE TABLE tr (id int PRIMARY KEY, a int, note int)`, `CREATE TRIGGER tr_names BEFORE INSERT ON tr FOR EACH ROW SET NEW.a = 1`,
			`CREATE TABLE tu (id int PRIMARY KEY, a int, note int)`, `CREATE TRIGGER tu_update BEFORE UPDATE ON tu FOR EACH ROW SET NEW.note = 1`,
			`CREATE TABLE full_text (id int PRIMARY KEY, a int, note text, FULLTEXT KEY (note))`)
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		for ddl, says := range map[string]string{
			`ALTER TABLE orders RENAME COLUMN id TO no`:       "AUTO_INCREMENT",
			`ALTER TABLE g RENAME COLUMN c TO b`:              "is generated",
			`ALTER TABLE g RENAME COLUMN up TO b`:             "ON UPDATE CURRENT_TIMESTAMP",
			`ALTER TABLE k RENAME COLUMN a TO c`:              "changes column a",
			`ALTER TABLE k RENAME COLUMN b TO c`:              "changes column b",
			`ALTER TABLE moving RENAME COLUMN a TO b`:         "moves rows of",
			`ALTER TABLE parents RENAME COLUMN code TO c`:     "a foreign key of another table",
			`ALTER TABLE v RENAME COLUMN a TO b`:              "of_v",
			`ALTER TABLE keyless RENAME COLUMN a TO b`:        "no usable key",
			`ALTER TABLE m RENAME COLUMN a TO b`:              "no plain InnoDB table",
			`ALTER TABLE tr RENAME COLUMN a TO b`:             "tr_names names column a",
			`ALTER TABLE tu RENAME COLUMN a TO b`:             "tu_update fires on UPDATE",
			`ALTER TABLE full_text RENAME COLUMN a TO b`:      "tried on an empty twin",
			`ALTER TABLE of_v RENAME COLUMN a TO b`:           "view",
			`ALTER TABLE orders ADD COLUMN x int`:             "no ALTER TABLE",
			`ALTER TABLE orders RENAME TO purchases`:          "no ALTER TABLE",
			`ALTER TABLE orders RENAME COLUMN nothing TO b`:   "no column nothing",
			`ALTER TABLE orders RENAME COLUMN amount TO note`: "already",
			`ALTER TABLE nowhere RENAME COLUMN a TO b`:        "does not exist",
		} {
			c, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: ddl})
			said := fmt.Sprint(err)
			if err == nil && c == nil && p.Route == plan.Refuse {
				said = strings.Join(p.Refusals, "\n")
			} else if !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("%s: %v, %+v", ddl, err, p)
			}
			if !strings.Contains(said, says) {
				t.Errorf("%s: %q, want %q in it", ddl, said, says)
			}
		}
		if keeps, err := changeling.Open(t.Context(), db, changeling.Config{DropAfter: time.Hour}); err != nil {
			t.Error(err)
		} else if _, _, err := keeps.Expand(t.Context(), changeling.Expansion{Statement: `ALTER TABLE orders RENAME COLUMN note TO remark`}); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("an old column that is kept: %v, want ErrUsage", err)
		}
		c := expanded(t, db, `ALTER TABLE orders RENAME COLUMN note TO remark`)
		if err := c.Cutover(t.Context()); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("the cutover of what is expanded: %v", err)
		}
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders RENAME COLUMN note TO remark`, quick); !errors.Is(err, changeling.ErrRefused) {
			t.Errorf("the statement by itself, while it is expanded: %v", err)
		}
		contracted(t, c)
	})
}

// TestMySQLExpandAbort: an expansion can be taken back at each of its steps, and nothing of it stays; a column that was never the change's does. Who
// writes the new name until it is gone has written the old one: triggers that go first would lose it.
func TestMySQLExpandAbort(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		const ddl = `ALTER TABLE orders RENAME COLUMN status TO state`
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 50)
		want := likeMy(t, db, "orders")
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		_, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: ddl})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Steps[1:] {
			if s.Kind == plan.Live || s.Name == "release" {
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			config := quick
			name := strings.Replace(s.Name, p.ID, "", 1) // of an index
			config.Events = upon(event.Discard, func(e event.Event) bool {
				x, ok := e.(event.StepStarted)
				return ok && strings.HasPrefix(x.Name, name[:min(len(name), 17)])
			}, cancel)
			err := expandAndContract(ctx, db, changeling.Expansion{Statement: ddl}, config)
			cancel()
			if !errors.Is(err, changeling.ErrStopped) {
				t.Fatalf("stopped at %q: %v, want ErrStopped", s.Name, err)
			}
			abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
			if is := likeMy(t, db, "orders"); is != want {
				t.Errorf("aborted at %s, the table is\n%s\nit was\n%s", s.Name, is, want)
			}
		}
		// Nothing was made yet, and somebody else takes the name.
		c, err := e.StartPlan(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, `ALTER TABLE orders ADD COLUMN state varchar(20) DEFAULT 'theirs'`)
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		if theirs := asked(t, db, `SELECT MIN(state) FROM orders`); theirs != "theirs" {
			t.Errorf("what stood in the column is %q", theirs)
		}
		mytest.Exec(t, db, `ALTER TABLE orders DROP COLUMN state`)
		for _, broken := range []bool{false, true} {
			c := expanded(t, db, ddl)
			var failed error
			act := sync.OnceFunc(func() {
				if broken {
					_, failed = db.Exec(`DROP TRIGGER changeling_` + c.ID() + `_u`)
				}
				if _, err := db.Exec(`UPDATE orders SET state = 'late' WHERE id = 1`); err != nil {
					failed = err
				}
			})
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if strings.HasPrefix(x.Text, "ALTER TABLE") && strings.Contains(x.Text, "DROP COLUMN") {
					act()
				}
				return x.Text
			})
			e, err := changeling.Open(t.Context(), pool, quick)
			if err != nil {
				t.Fatal(err)
			}
			if c, err = e.Find(t.Context(), c.ID()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Abort(t.Context()), failed); err != nil {
				t.Fatal(err)
			}
			if kept := asked(t, db, `SELECT status FROM orders WHERE id = 1`); (kept == "late") == broken {
				t.Errorf("what was written under the new name is %q; with the trigger gone first: %v", kept, broken)
			}
			mytest.Exec(t, db, `UPDATE orders SET status = 'new' WHERE id = 1`)
		}
	})
}

// TestMySQLExpandedForLong: while both columns are in use others may alter the table, as long as the old column stays what it was; make it anew
// and empty it; and what kept the triggers from a row does not go unnoticed. The status says who names the old column, where the server counts.
func TestMySQLExpandedForLong(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders, `CREATE TABLE parents (id int PRIMARY KEY)`)
		fillMy(t, db, "orders", 200)
		c := expanded(t, db, `ALTER TABLE orders RENAME COLUMN amount TO total`)
		resume := func(want error, says string) {
			t.Helper()
			if err := c.Contract(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Run(t.Context()); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("contracted: %v, want %v that says %q", err, want, says)
			}
		}
		var s changeling.Status
		var err error
		for range 20 {
			if !isMaria(t, db) {
				mytest.Exec(t, db, `TRUNCATE performance_schema.events_statements_summary_by_digest`, `SELECT amount FROM orders WHERE id = 7`) // other tests fill it, at any moment
			}
			if s, err = c.Status(t.Context()); err != nil || s.UsesUnseen == "" {
				break
			}
		}
		named := slices.ContainsFunc(s.Uses, func(u changeling.Use) bool {
			return strings.HasPrefix(u.Statement, "SELECT `amount` FROM `orders`") && u.Calls > 0
		})
		if err != nil || named == isMaria(t, db) || (s.UsesUnseen == "") == isMaria(t, db) {
			t.Errorf("the status tells of uses %+v, and %q (%v)", s.Uses, s.UsesUnseen, err)
		}
		mytest.Exec(t, db, `ALTER TABLE orders ADD COLUMN later int DEFAULT 3`, `CREATE INDEX old_ones ON orders (amount, note(10))`, `CREATE INDEX theirs ON orders (total)`, `ALTER TABLE orders ENGINE=InnoDB`)
		resume(changeling.ErrRefused, "theirs")
		mytest.Exec(t, db, `DROP INDEX theirs ON orders`, `CREATE TRIGGER late BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = NEW.amount + 1`)
		resume(changeling.ErrRefused, "trigger late")
		mytest.Exec(t, db, `DROP TRIGGER late`, `CREATE TRIGGER other BEFORE UPDATE ON orders FOR EACH ROW SET NEW.later = 4`)
		mytest.Exec(t, db, `DROP TRIGGER changeling_`+c.ID()+`_u`, `UPDATE orders SET total = 5555 WHERE id = 3`)
		resume(changeling.ErrMismatch, "1 rows")
		if there := asked(t, db, `SELECT CONCAT(amount, ' ', total) FROM orders WHERE id = 3`); there != "3 5555" {
			t.Errorf("the row that nobody can judge is %s: it was changed", there)
		}
		mytest.Exec(t, db, `UPDATE orders SET amount = 5555 WHERE id = 3`)
		resume(changeling.ErrRefused, "were dropped by somebody")
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, `DROP TRIGGER other`)
		c = expanded(t, db, `ALTER TABLE orders RENAME COLUMN amount TO total`)
		mytest.Exec(t, db, `TRUNCATE orders`, `INSERT INTO orders (customer_id, email, total) VALUES (1, 'after', 77)`)
		resume(nil, "")
		stands(t, c, "done", "")
		if left := strings.Join(columnsMy(t, db, "orders"), " "); left != "id customer_id email total status created_at note later" {
			t.Errorf("the columns are %s", left)
		}
		// Two that contract at once: one does it, the other one is told.
		c = expanded(t, db, `ALTER TABLE orders RENAME COLUMN total TO sum`)
		contractAtOnce(t, c)
	})
}

// TestMySQLExpandSnapshots: on MySQL the contraction waits for snapshots that would be told that the table is another one; on MariaDB none is.
func TestMySQLExpandSnapshots(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 20)
		id := expanded(t, db, `ALTER TABLE orders RENAME COLUMN amount TO total`).ID()
		reader, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		mytest.Exec(t, reader, `SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ`, `START TRANSACTION WITH CONSISTENT SNAPSHOT`)
		time.Sleep(2100 * time.Millisecond) // the server counts in seconds
		config := quick
		config.CutoverAttempts = 2
		e, err := changeling.Open(t.Context(), db, config)
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Contract(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = c.Run(t.Context())
		if waits := errors.Is(err, changeling.ErrNoCutover) && strings.Contains(err.Error(), "1412"); waits == isMaria(t, db) {
			t.Errorf("contracted beside an open snapshot: %v", err)
		}
		var sum int
		column := "amount"
		if isMaria(t, db) {
			column = "total"
		}
		if err := reader.QueryRowContext(t.Context(), `SELECT SUM(`+column+`) FROM orders`).Scan(&sum); err != nil || sum != 210 {
			t.Errorf("the snapshot shows a sum of %d (%v), want 210", sum, err)
		}
		mytest.Exec(t, reader, `COMMIT`)
		if err := c.Run(t.Context()); err != nil {
			t.Error(err)
		}
		stands(t, c, "done", "")
	})
}
