package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// unordered is likeMy with its lines in the order of their text.
func unordered(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(likeMy(t, db, table), ",\n", "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestMySQLExpandTypesAsNative: contracted, the table is what MODIFY and RENAME leave, but for the order in which its indexes are listed; aborted,
// what it was.
func TestMySQLExpandTypesAsNative(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, c := range []struct{ table, modify, fill, write string }{
			{`(id int PRIMARY KEY, a int NOT NULL, z int, KEY ka (a), KEY kz (z), UNIQUE KEY ua (a, z))`, `a bigint NOT NULL`, `INSERT INTO %s (id, a, z) VALUES (1, 1, 1), (2, 22, 2)`, `UPDATE %s SET b = b + 1000`},
			{`(id int PRIMARY KEY, a int NOT NULL DEFAULT 7 COMMENT 'an a', z int)`, `a bigint NOT NULL DEFAULT 9`, `INSERT INTO %s (id, a) VALUES (1, 1), (2, 22)`, `INSERT INTO %s (id, b) VALUES (3, 0)`},
			{`(id int PRIMARY KEY, a varchar(10), KEY (a(3)))`, `a text`, `INSERT INTO %s (id, a) VALUES (1, 'ä'), (2, NULL)`, `UPDATE %s SET b = CONCAT(b, 'ö')`},
			{`(id int PRIMARY KEY, a varchar(10) NOT NULL)`, `a varchar(300) NOT NULL DEFAULT 'x'`, `INSERT INTO %s (id, a) VALUES (1, 'ä'), (2, '')`, `INSERT INTO %s (id, b) VALUES (3, '')`},
			{`(id int PRIMARY KEY, a decimal(10,2))`, `a decimal(20,4)`, `INSERT INTO %s (id, a) VALUES (1, 1.25), (2, NULL)`, `UPDATE %s SET b = 7.5`},
			{`(id int PRIMARY KEY, a enum('x', 'y'))`, `a enum('w', 'x', 'y')`, `INSERT INTO %s (id, a) VALUES (1, 'x'), (2, 'y')`, `UPDATE %s SET b = 'y'`},
			{`(id int PRIMARY KEY, a datetime NOT NULL)`, `a datetime(3)`, `INSERT INTO %s (id, a) VALUES (1, '2020-01-01')`, `UPDATE %s SET b = '2021-01-01'`},
		} {
			mytest.Exec(t, db, `CREATE TABLE t `+c.table, `CREATE TABLE native `+c.table)
			for _, table := range []string{"t", "native"} {
				mytest.Exec(t, db, fmt.Sprintf(c.fill, table))
			}
			was := likeMy(t, db, "t")
			x := changeling.Expansion{Statement: `ALTER TABLE t MODIFY ` + c.modify, As: "b"}
			if err := expandedTo(t, db, x).Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if is := likeMy(t, db, "t"); is != was {
				t.Errorf("%s, aborted: the table is\n%s\nit was\n%s", c.modify, is, was)
			}
			change := expandedTo(t, db, x)
			mytest.Exec(t, db, `ALTER TABLE native MODIFY `+c.modify, `ALTER TABLE native RENAME COLUMN a TO b`)
			for _, table := range []string{"t", "native"} {
				mytest.Exec(t, db, fmt.Sprintf(c.write, table))
			}
			contracted(t, change)
			if is, want := unordered(t, db, "t"), unordered(t, db, "native"); is != want {
				t.Errorf("%s: the table is\n%s\nafter a native ALTER it is\n%s", c.modify, is, want)
			}
			if n := asked(t, db, `SELECT COUNT(*) FROM (SELECT * FROM t EXCEPT SELECT * FROM native) x`); n != "0" {
				t.Errorf("%s: %s rows are not what they are after a native ALTER", c.modify, n)
			}
			mytest.Exec(t, db, `DROP TABLE t, native`)
		}
	})
}

// TestMySQLExpandTypesWrites: whoever writes one of the columns has written the other; what the old one cannot have is refused, and nothing is bent
// to fit. The mutants are a trigger that lets what does not fit be bent, and one that does not tell what was given from what was not.
func TestMySQLExpandTypesWrites(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, broken := range []string{"", "THEN SIGNAL", "ELSE SET NEW.`b`"} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS t, d`, `CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, note text)`, `INSERT INTO t VALUES (1, 1, NULL), (2, 2, NULL)`, `CREATE TABLE d (id int PRIMARY KEY, a decimal(10,2) DEFAULT 1.5)`)
			hits := 0
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if broken == "" || !strings.HasPrefix(x.Text, "CREATE TRIGGER") || !strings.Contains(x.Text, broken) {
					return x.Text
				}
				hits++
				if broken == "THEN SIGNAL" {
					return strings.Replace(x.Text, "; IF NOT (CAST(NEW.`b` AS BINARY)", "; IF FALSE AND NOT (CAST(NEW.`b` AS BINARY)", 1)
				}
				return strings.Replace(x.Text, broken, "ELSEIF NEW.`a` <> 0 THEN SET NEW.`b`", 1)
			})
			for table, modify := range map[string]string{"t": `a bigint NOT NULL`, "d": `a decimal(20,4)`} {
				if _, err := expand(t.Context(), pool, changeling.Expansion{Statement: `ALTER TABLE ` + table + ` MODIFY ` + modify, As: "b"}, quick); err != nil {
					t.Fatal(err)
				}
			}
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const strict, loose = `SET SESSION sql_mode = 'STRICT_TRANS_TABLES'`, `SET SESSION sql_mode = ''`
			wrong := 0
			for _, c := range []struct{ mode, write, table, id, want string }{
				{strict, `DO 0`, "t", "2", "2 2"},
				{strict, `UPDATE t SET a = 5 WHERE id = 1`, "t", "1", "5 5"},
				{strict, `UPDATE t SET b = 6 WHERE id = 1`, "t", "1", "6 6"},
				{strict, `UPDATE t SET a = 7, b = 8 WHERE id = 1`, "t", "1", "8 8"},
				{strict, `UPDATE t SET note = 'n' WHERE id = 1`, "t", "1", "8 8"},
				{strict, `UPDATE t SET b = 5000000000 WHERE id = 1`, "t", "", ""},
				{loose, `UPDATE t SET b = 5000000000 WHERE id = 1`, "t", "", ""},
				{strict, `INSERT INTO t (id, a) VALUES (10, 0)`, "t", "10", "0 0"},
				{strict, `INSERT INTO t (id, b) VALUES (11, 0)`, "t", "11", "0 0"},
				{strict, `INSERT INTO t (id, b) VALUES (12, 5000000000)`, "t", "", ""},
				{strict, `INSERT INTO t (id, note) VALUES (13, 'x')`, "t", "", ""},
				{strict, `INSERT INTO t (id, b) VALUES (13, NULL)`, "t", "", ""},
				{strict, `INSERT INTO t VALUES (14, 4, 'by place')`, "t", "14", "4 4"},
				{strict, `INSERT INTO t (id, b) VALUES (10, 3) ON DUPLICATE KEY UPDATE b = VALUES(b)`, "t", "10", "3 3"},
				{strict, `INSERT INTO d (id) VALUES (1)`, "d", "1", "1.50 1.5000"},
				{strict, `INSERT INTO d (id, b) VALUES (2, 2.25)`, "d", "2", "2.25 2.2500"},
				{strict, `UPDATE d SET b = 2.225 WHERE id = 2`, "d", "", ""},
				{strict, `UPDATE d SET b = NULL WHERE id = 2`, "d", "2", "NULL NULL"},
			} {
				mytest.Exec(t, conn, c.mode)
				_, err := conn.ExecContext(t.Context(), c.write)
				got := ""
				if c.id != "" && err == nil {
					got = asked(t, db, fmt.Sprintf(`SELECT CONCAT(COALESCE(a, 'NULL'), ' ', COALESCE(b, 'NULL')) FROM %s WHERE id = %s`, c.table, c.id))
				}
				if (err != nil) == (c.id == "") && got == c.want {
					continue
				}
				if wrong++; broken == "" {
					t.Errorf("%s: a and b are %q (%v), want %q", c.write, got, err, c.want)
				}
			}
			conn.Close()
			if broken != "" && (wrong == 0 || hits == 0) {
				t.Errorf("%s: the mutant met %d statements, and lives", broken, hits)
			}
			abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
		}
	})
}

// TestMySQLExpandTypesRefused: what could not go both ways is refused.
func TestMySQLExpandTypesRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		mytest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, a int, v varchar(20), n int, s tinyint NOT NULL, c int, CHECK (c > 0), KEY kn (n))`, `CREATE VIEW of_v AS SELECT x.v FROM t x`)
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			x    changeling.Expansion
			says string
		}{
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a bigint`}, "--as NAME"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a bigint`, As: "v"}, "already"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a bigint`, As: "A"}, "the name that the column has"},
			{changeling.Expansion{Statement: `ALTER TABLE t RENAME COLUMN a TO b`, As: "b"}, "leave --as"},
			{changeling.Expansion{Statement: `ALTER TABLE t CHANGE a b bigint`, As: "b"}, "no ALTER TABLE"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a varchar(20)`, As: "b"}, "a wider one of the same kind"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a smallint`, As: "b"}, "a wider one of the same kind"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY a bigint NOT NULL`, As: "b"}, "a wider one of the same kind"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY s smallint NOT NULL`, As: "b"}, "too few values"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY v varchar(30)`, As: "b"}, "of_v"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY c bigint`, As: "b"}, "names column c"},
			{changeling.Expansion{Statement: `ALTER TABLE t MODIFY id bigint`, As: "b"}, "primary key"},
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
		// Meanwhile somebody indexes the old column.
		c := expandedTo(t, db, changeling.Expansion{Statement: `ALTER TABLE t MODIFY n bigint`, As: "b"})
		mytest.Exec(t, db, `CREATE INDEX theirs ON t (n)`, `ALTER TABLE t ADD COLUMN later int`, `CREATE INDEX other ON t (later)`)
		if err := c.Contract(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "theirs") {
			t.Errorf("contracted: %v, want ErrRefused that names the index", err)
		}
		mytest.Exec(t, db, `DROP INDEX theirs ON t`)
		contracted(t, c)
	})
}
