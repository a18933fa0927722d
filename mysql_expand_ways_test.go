package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// euros loses something on its way down, which rounds: an amount in cents becomes one in whole units.
var euros = changeling.Expansion{Statement: `ALTER TABLE t MODIFY a decimal(12,3)`, As: "b", Up: `a / 100`, Down: `ROUND(b * 100)`}

// numbers is one both of whose ways may fail.
var numbers = changeling.Expansion{Statement: `ALTER TABLE codes MODIFY code int`, As: "number", Up: `code`, Down: `IF(number < 0, CAST('none' AS SIGNED), number)`}

// TestMySQLExpandWays: what one column is written to be the other one comes to, by the user's expressions, and a value that was written stays as
// it was written, also where the way there and back loses something.
func TestMySQLExpandWays(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, m := range []struct {
			name, old, new string
			at             func(string) bool
		}{
			{name: "whole"},
			{"the filling is written back", "IF NOT changeling_failed AND NEW.`b` <=> changeling_up", "IF FALSE AND NEW.`b` <=> changeling_up", myUpdates},
			{"the new column is not looked at", ">= 0 THEN IF NOT (NEW.`b`", ">= 0 THEN IF FALSE AND NOT (NEW.`b`", myUpdates},
			{"an INSERT of the new column is not looked at", "IF NOT (NEW.`b` <=> NULL)", "IF FALSE AND NOT (NEW.`b` <=> NULL)", myInserts},
			{"what an UPDATE does not change is computed anew", "ELSEIF NOT (NEW.`a`", "ELSEIF TRUE OR NOT (NEW.`a`", myUpdates},
		} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS t`, `CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL DEFAULT 150, note text, KEY (a))`, `INSERT INTO t (id, a) `+countMy(t, db, 300)+` i, i FROM n`)
			hits := 0
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if m.at == nil || !m.at(x.Text) || !strings.Contains(x.Text, m.old) {
					return x.Text
				}
				hits++
				return strings.Replace(x.Text, m.old, m.new, 1)
			})
			c, err := expand(t.Context(), pool, changeling.Expansion{Statement: euros.Statement, As: "b", Up: `a DIV 10 * 10 / 100`, Down: `ROUND(b * 100)`}, quick)
			wrong := 0
			if err != nil {
				if wrong++; m.at == nil {
					t.Fatal(err)
				}
			}
			for _, w := range []struct {
				write string
				id    int
				want  string
			}{
				{`DO 0`, 17, "17 0.100"},
				{`UPDATE t SET a = 250 WHERE id = 1`, 1, "250 2.500"},
				{`UPDATE t SET b = 9.999 WHERE id = 1`, 1, "1000 9.999"},
				{`UPDATE t SET note = 'n' WHERE id = 1`, 1, "1000 9.999"},
				{`UPDATE t SET a = a WHERE id = 1`, 1, "1000 9.999"},
				{`UPDATE t SET a = a + 10 WHERE id = 1`, 1, "1010 10.100"},
				{`UPDATE t SET b = 3, a = 5 WHERE id = 1`, 1, "300 3.000"},
				{`UPDATE t SET b = 0.2, a = 25 WHERE id = 1`, 1, "25 0.200"},
				{`UPDATE t SET note = 'moved', id = 900 WHERE id = 39`, 900, "39 0.300"},
				{`INSERT INTO t (id, a) VALUES (1001, 50)`, 1001, "50 0.500"},
				{`INSERT INTO t (id, b) VALUES (1002, 0.071)`, 1002, "7 0.071"},
				{`INSERT INTO t (id) VALUES (1003)`, 1003, "150 1.500"},
				{`INSERT INTO t VALUES (1004, 60, 'by place')`, 1004, "60 0.600"},
				{`INSERT INTO t (id, b) VALUES (1004, 7) ON DUPLICATE KEY UPDATE b = VALUES(b)`, 1004, "700 7.000"},
				{`REPLACE INTO t (id, a) VALUES (1004, 80)`, 1004, "80 0.800"},
			} {
				_, err := db.ExecContext(t.Context(), w.write)
				got := asked(t, db, fmt.Sprintf(`SELECT COALESCE(MAX(CONCAT(a, ' ', COALESCE(%s, 'NULL'))), '') FROM t WHERE id = %d`, "b", w.id))
				if err != nil || got != w.want {
					if wrong++; m.at == nil {
						t.Errorf("%s: a and b are %q (%v), want %q", w.write, got, err, w.want)
					}
				}
			}
			if m.at != nil {
				if wrong == 0 || hits == 0 {
					t.Errorf("%s: the mutant met %d statements, and lives", m.name, hits)
				}
				abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
				continue
			}
			contracted(t, c)
			if sum := asked(t, db, `SELECT CONCAT(COUNT(*), ' ', SUM(IF(id IN (1, 1002, 900), b, 0))) FROM t`); sum != "304 0.571" {
				t.Errorf("the new column has %s", sum)
			}
		}
	})
}

// TestMySQLExpandUnconvertible: a value that cannot go up fails no user, is named, and stops the contraction until somebody mends it; one that
// cannot go down fails nobody either, where the old column may be NULL, and stops the way back. The mutants fail who writes, and let an abort lose it.
func TestMySQLExpandUnconvertible(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		begin := func() {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS codes`, `CREATE TABLE codes (id int PRIMARY KEY, code varchar(20))`, `INSERT INTO codes `+countMy(t, db, 300)+` i, i FROM n`)
		}
		row := func(id int) string {
			return asked(t, db, fmt.Sprintf(`SELECT CONCAT(COALESCE(code, 'NULL'), ' ', COALESCE(number, 'NULL')) FROM codes WHERE id = %d`, id))
		}
		begin()
		mytest.Exec(t, db, `UPDATE codes SET code = 'y' WHERE id = 7`)
		if _, err := expand(t.Context(), db, numbers, quick); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7") {
			t.Fatalf("a row that was there: %v, want ErrData that names id 7", err)
		}
		mytest.Exec(t, db, `UPDATE codes SET code = '77' WHERE id = 7`)
		c := expandedTo(t, db, numbers)
		for _, mode := range []string{"STRICT_ALL_TABLES", ""} {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mytest.Exec(t, conn, `SET SESSION sql_mode = '`+mode+`'`, `REPLACE INTO codes (id, code) VALUES (1000, 'abc')`, `UPDATE codes SET number = 1 WHERE id = 8`, `UPDATE codes SET number = -5 WHERE id = 8`,
				`UPDATE codes SET number = NULL WHERE id = 9`, `UPDATE codes SET code = '12x' WHERE id = 11`, `UPDATE codes SET code = '12' WHERE id = 11`)
			for id, want := range map[int]string{1000: "abc NULL", 8: "NULL -5", 9: "NULL NULL", 7: "77 77", 11: "12 12"} {
				if got := row(id); got != want {
					t.Errorf("mode %q: row %d is %q, want %q", mode, id, got, want)
				}
			}
			mytest.Exec(t, conn, `SET SESSION sql_mode = DEFAULT`)
			conn.Close()
		}
		stopsBothWays(t, c, "id 8", "1000: code")
		if got := row(8); got != "NULL -5" {
			t.Errorf("row 8 is %q after an abort that was refused", got)
		}
		mytest.Exec(t, db, `UPDATE codes SET code = '1' WHERE id = 1000`)
		contracted(t, c)
		if got := asked(t, db, `SELECT CONCAT(SUM(number), ' ', COUNT(*), ' ', COUNT(number)) FROM codes`); got != fmt.Sprintf("%d 301 300", 300*301/2-7+77-8-5-9-11+12+1) {
			t.Errorf("sum and counts are %s", got)
		}
		// And back, where what did not fit was mended. The mutants: nothing is caught, and an abort does not look.
		for _, broken := range []string{"", "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION, SQLWARNING SET changeling_failed = 1; DECLARE CONTINUE HANDLER FOR 1265 SET changeling_noted = 1;", "SELECT (SELECT x.n"} {
			begin()
			hits, looks := 0, 0
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if strings.HasPrefix(x.Text, "SELECT (SELECT x.n") {
					if looks++; looks == 1 { // somebody writes it behind the first look; the other one is under the lock
						return "DO 0"
					}
				}
				if broken == "" || !strings.Contains(x.Text, broken) {
					return x.Text
				}
				hits++
				if strings.HasPrefix(x.Text, broken) {
					return "DO 0"
				}
				return strings.ReplaceAll(x.Text, broken, "")
			})
			c, err := expand(t.Context(), pool, numbers, quick)
			if err != nil {
				t.Fatal(err)
			}
			_, failed := db.ExecContext(t.Context(), `UPDATE codes SET number = -5 WHERE id = 8`)
			_, failedUp := db.ExecContext(t.Context(), `UPDATE codes SET code = 'z' WHERE id = 12`)
			lost := c.Abort(t.Context()) == nil
			if wrong := failed != nil || failedUp != nil || lost; wrong != (broken != "") || broken != "" && hits == 0 {
				t.Errorf("%q: the users were told %v and %v, the abort went through: %v; met %d", broken, failed, failedUp, lost, hits)
			}
			if !lost {
				mytest.Exec(t, db, `UPDATE codes SET number = 500 WHERE id = 8`, `UPDATE codes SET number = -6 WHERE id = 10`, `DELETE FROM codes WHERE id = 10`)
				if err := c.Abort(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := asked(t, db, `SELECT GROUP_CONCAT(code ORDER BY id) FROM codes WHERE id IN (8, 12)`); got != "500,z" {
					t.Errorf("the old column has %s", got)
				}
			}
			if is := columnsMy(t, db, "codes"); len(is) != 2 {
				t.Errorf("after the abort the columns are %v", is)
			}
		}
	})
}

// TestMySQLExpandWaysAsNative: contracted, the table is what the statement and RENAME leave, but for the order in which its indexes are listed;
// aborted, what it was.
func TestMySQLExpandWaysAsNative(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, c := range []struct{ table, modify, up, down, fill string }{
			{`(id int PRIMARY KEY, a int NOT NULL, z int, KEY ka (a), KEY kz (z, a))`, `a bigint NOT NULL DEFAULT 4`, `-a`, `-b`, `(1, 1, 1), (2, 22, 2)`},
			{`(id int PRIMARY KEY, a varchar(20) COMMENT 'an a', z int)`, `a int`, ``, `CONCAT(b, '')`, `(1, '7', 1), (2, NULL, 2)`},
			{`(id int PRIMARY KEY, a enum('x', 'y') NOT NULL, z int)`, `a varchar(40) CHARACTER SET latin1`, `CASE a WHEN 'x' THEN 'this ` + "`a`" + `' ELSE 'that ä' END`, `IF(b LIKE 'this%%', 'x', 'y')`, `(1, 'x', 1), (2, 'y', 2)`},
			{`(id int PRIMARY KEY, a datetime, z int)`, `a date`, ``, ``, `(1, '2020-02-02 01:02:03', 1), (2, NULL, 2)`},
			{`(id int PRIMARY KEY, a double, z int)`, `a float`, `a * 2`, `b / 2`, `(1, 1.123456789, 1), (2, -0.0, 2)`},
			{`(id int PRIMARY KEY, a varchar(60), z int)`, `a json`, `JSON_OBJECT('is', a)`, `JSON_UNQUOTE(JSON_EXTRACT(b, '$.is'))`, `(1, 'q', 1), (2, NULL, 2)`},
		} {
			if c.up+c.down == "" {
				c.up = "a"
			}
			if c.modify == `a json` && asked(t, db, `SELECT VERSION() LIKE '%MariaDB%'`) == "1" {
				continue // it is a text there, with a check that would name the column
			}
			mytest.Exec(t, db, `CREATE TABLE t `+c.table, `CREATE TABLE native `+c.table, `INSERT INTO t VALUES `+c.fill)
			was := likeMy(t, db, "t")
			x := changeling.Expansion{Statement: `ALTER TABLE t MODIFY ` + c.modify, As: "b", Up: strings.ReplaceAll(c.up, "%%", "%"), Down: strings.ReplaceAll(c.down, "%%", "%")}
			if err := expandedTo(t, db, x).Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if is := likeMy(t, db, "t"); is != was {
				t.Errorf("%s, aborted: the table is\n%s\nit was\n%s", c.modify, is, was)
			}
			change := expandedTo(t, db, x)
			rows := asked(t, db, `SELECT GROUP_CONCAT(b ORDER BY id) FROM t`)
			mytest.Exec(t, db, `ALTER TABLE native MODIFY `+c.modify, `ALTER TABLE native RENAME COLUMN a TO b`, `INSERT INTO t (id, b) VALUES (3, (SELECT * FROM (SELECT b FROM t WHERE id = 1) x))`, `UPDATE t SET b = (SELECT * FROM (SELECT b FROM t WHERE id = 1) x) WHERE id = 3`)
			contracted(t, change)
			if is, want := unordered(t, db, "t"), unordered(t, db, "native"); is != want {
				t.Errorf("%s: the table is\n%s\nafter a native ALTER it is\n%s", c.modify, is, want)
			}
			if is := asked(t, db, `SELECT CONCAT(GROUP_CONCAT(b ORDER BY id), '; ', COUNT(*)) FROM t WHERE id < 3`); is != rows+"; 2" {
				t.Errorf("%s: the rows are %s, they were %s", c.modify, is, rows)
			}
			mytest.Exec(t, db, `DROP TABLE t, native`)
		}
	})
}

// TestMySQLExpandWaysLedger: as TestExpandTypesLedger.
func TestMySQLExpandWaysLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, abort := range []bool{false, true} {
			a := &accountants{T: t, db: db, merge: `ON DUPLICATE KEY UPDATE %[1]s = %[1]s + %[3]s`}
			mytest.Exec(t, db, `DROP TABLE IF EXISTS accounts, noted`, `CREATE TABLE accounts (id int PRIMARY KEY, old int NOT NULL DEFAULT 0, payload varchar(300), KEY (old))`, `CREATE TABLE noted (account int, amount int)`,
				`INSERT INTO accounts (id, payload) `+countMy(t, db, accountantsRows)+` i, REPEAT('x', 200) FROM n`)
			a.expandBetween(changeling.Expansion{Statement: `ALTER TABLE accounts MODIFY old decimal(20,2)`, As: "tenth", Up: `old / 10`, Down: `tenth * 10`}, "tenth", "%d / 10", "tenth * 10", abort)
		}
	})
}

// TestMySQLExpandWaysDies is TestMySQLExpandDies with expressions.
func TestMySQLExpandWaysDies(t *testing.T) {
	t.Parallel()
	expandDiesMy(t, changeling.Expansion{Statement: `ALTER TABLE orders MODIFY customer_id bigint NOT NULL DEFAULT 5`, As: "customer", Up: `customer_id + 0`, Down: `customer + 0`}, "customer_id", "customer",
		[]string{`UPDATE %s SET customer_id = -id WHERE id < 20`}, `ALTER TABLE twin MODIFY customer_id bigint NOT NULL DEFAULT 5`, `ALTER TABLE twin RENAME COLUMN customer_id TO customer`)
}

// TestMySQLExpandWaysRefused: what is no way between two columns is refused, and what the new code writes and the old column cannot have, where that
// is NOT NULL.
func TestMySQLExpandWaysRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		mytest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, u int UNIQUE, z int)`, `INSERT INTO t VALUES (1, 1, 1, 1)`)
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		const modify = `ALTER TABLE t MODIFY a bigint`
		for _, c := range []struct {
			x    changeling.Expansion
			says string
		}{
			{changeling.Expansion{Statement: modify, As: "b", Up: `a + RAND()`}, "rand"},
			{changeling.Expansion{Statement: modify, As: "b", Down: `b + UNIX_TIMESTAMP(NOW())`}, "--down takes an expression"},
			{changeling.Expansion{Statement: modify, As: "b", Down: `UUID()`}, "uuid"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `a + z`}, "'z'"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `b`}, "--up takes an expression"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `(SELECT 1)`}, "--up takes an expression"},
			{changeling.Expansion{Statement: modify, As: "b", Down: `b + @x`}, "--down takes an expression"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `FROM_UNIXTIME(a)`}, "--up takes an expression"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `a) VIRTUAL, c int AS (1`}, "more than one expression"},
			{changeling.Expansion{Statement: modify, As: "b", Up: `a +`}, "--up takes an expression"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY u bigint`, As: "b", Up: `u DIV 2`}, "unique index"},
			{changeling.Expansion{Statement: `ALTER TABLE t RENAME COLUMN a TO b`, Up: `a`}, "--up and --down out"},
		} {
			_, p, err := e.Expand(t.Context(), c.x)
			said := fmt.Sprint(err)
			if err == nil && p != nil {
				said = strings.Join(p.Refusals, "\n")
			} else if !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("%+v: %v", c.x, err)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("%+v: %q, want %q in it", c.x, said, c.says)
			}
		}
		c := expandedTo(t, db, changeling.Expansion{Statement: modify + ` NOT NULL`, As: "b", Up: `a`, Down: `b`})
		for write, says := range map[string]string{`UPDATE t SET b = 5000000000`: "cannot have what is written", `UPDATE t SET b = NULL`: "cannot be null", `INSERT INTO t (id, b) VALUES (2, 5000000000)`: "cannot have what is written"} {
			if _, err := db.ExecContext(t.Context(), write); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %q", write, err, says)
			}
		}
		contracted(t, c)
		mytest.Exec(t, db, `UPDATE t SET b = 5000000000`)
	})
}
