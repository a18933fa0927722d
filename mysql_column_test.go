package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
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
	"github.com/changeling-db/changeling/plan"
)

// asNativelyMy fails where two tables differ, in definition and triggers as look shows them, or in rows.
func asNativelyMy(t *testing.T, db *sql.DB, look func(*testing.T, *sql.DB, string) string, table, twin, when string) {
	t.Helper()
	if got, want := look(t, db, table), look(t, db, twin); got != want {
		t.Errorf("%s: the table is\n%s\nnatively it is\n%s", when, got, want)
	}
	for _, pair := range [][]any{{table, twin}, {twin, table}} {
		if n := asked(t, db, fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT * FROM %s EXCEPT SELECT * FROM %s) x`, pair...)); n != "0" {
			t.Errorf("%s: %s rows of %s are not in the other table", when, n, pair[0])
		}
	}
}

// byColumnTo changes a table by a second column, and lets users write while it holds, to both tables alike.
func byColumnTo(t *testing.T, db *sql.DB, ddl string, during func()) error {
	t.Helper()
	config := byColumn()
	if during != nil {
		config.Events = upon(event.Discard, beganStep("verify"), during)
	}
	return changeling.Apply(t.Context(), db, ddl, config)
}

// TestMySQLColumnAsNative: after a change by a second column the table is what a native MODIFY leaves, in definition, order of columns and
// indexes, and rows; and takes what it took.
func TestMySQLColumnAsNative(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		const rows = `INSERT INTO %s (id, a) VALUES (1, 1), (2, 22), (3, 7)`
		for _, c := range []struct {
			table, modify, fill string
			writes              []string
		}{
			{table: `(id int PRIMARY KEY, a int, z int)`, modify: `a bigint`, fill: rows, writes: []string{`UPDATE %s SET a = NULL WHERE id = 1`}},
			{table: `(id int PRIMARY KEY, a int NOT NULL, z int)`, modify: `a bigint NOT NULL`, fill: rows},
			{table: `(id int PRIMARY KEY, a int NOT NULL DEFAULT 7 COMMENT 'an a', z int DEFAULT 3)`, modify: `a bigint NOT NULL DEFAULT 9 COMMENT 'another'`, fill: rows, writes: []string{`INSERT INTO %s (id) VALUES (5)`}},
			{table: `(z int, a smallint unsigned NOT NULL, id int, KEY ka (a), KEY kz (z), UNIQUE KEY ua (a, z), UNIQUE KEY uz (z, id), PRIMARY KEY (id), KEY kza (z, a DESC))`, modify: `a int unsigned NOT NULL DEFAULT 4`, fill: rows},
			{table: `(id int PRIMARY KEY, a varchar(10) CHARACTER SET latin1 NOT NULL, KEY (a(3)))`, modify: `a varchar(300) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'x'`, fill: `INSERT INTO %s (id, a) VALUES (1, 'ä'), (2, 'b '), (3, '')`, writes: []string{`UPDATE %s SET a = CONCAT(a, 'ö')`}},
			{table: `(id int PRIMARY KEY, a varchar(10) CHARACTER SET latin1)`, modify: `a text CHARACTER SET utf8mb4`, fill: `INSERT INTO %s (id, a) VALUES (1, 'ä'), (2, 'b '), (3, NULL)`, writes: []string{`UPDATE %s SET a = CONCAT(a, 'ö')`}},
			{table: `(id int PRIMARY KEY, a int NOT NULL)`, modify: `a decimal(20,2) NOT NULL`, fill: rows},
			{table: `(id int PRIMARY KEY, a int NOT NULL)`, modify: `a varchar(20) NOT NULL`, fill: rows},
			{table: `(id int PRIMARY KEY, a enum('x', 'y') NOT NULL)`, modify: `a enum('w', 'x', 'y', 'z') NOT NULL DEFAULT 'z'`, fill: `INSERT INTO %s (id, a) VALUES (1, 'x'), (2, 'y')`, writes: []string{`INSERT INTO %s (id, a) VALUES (3, 'x')`}},
			{table: `(id int PRIMARY KEY, a datetime)`, modify: `a datetime(3)`, fill: `INSERT INTO %s (id, a) VALUES (1, '2020-02-29 12:00:00'), (2, NULL)`},
			{table: `(k varchar(20) NOT NULL, n int NOT NULL, a float NOT NULL, up timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (k, n))`, modify: `a double NOT NULL`,
				fill: `INSERT INTO %s (k, n, a, up) VALUES ('a', 1, 0.1, '2020-01-01'), ('b', 2, 1e10, '2020-01-01'), ('c', 3, 0, '2020-01-01')`, writes: []string{`UPDATE %s SET a = -a, up = up`}},
			{table: `(id int, a int NOT NULL, PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 3`, modify: `a bigint NOT NULL`, fill: rows},
			// What may fail, and does not.
			{table: `(id int PRIMARY KEY, a varchar(20) NOT NULL)`, modify: `a int`, fill: rows, writes: []string{`UPDATE %s SET a = '77' WHERE id = 2`}},
			{table: `(id int PRIMARY KEY, a bigint, KEY ka (a))`, modify: `a int`, fill: rows, writes: []string{`UPDATE %s SET a = NULL WHERE id = 2`}},
			{table: `(id int PRIMARY KEY, a text)`, modify: `a varchar(5)`, fill: rows},
			{table: `(id int PRIMARY KEY, a varchar(20))`, modify: `a int NOT NULL`, fill: rows, writes: []string{`INSERT INTO %s (id, a) VALUES (9, '-3')`}},
			{table: `(id int PRIMARY KEY, a int)`, modify: `a bigint NOT NULL`, fill: rows},
			{table: `(id int PRIMARY KEY, a decimal(10,4))`, modify: `a decimal(8,2)`, fill: `INSERT INTO %s (id, a) VALUES (1, 1.2345), (2, 1.235)`, writes: []string{`UPDATE %s SET a = 9.999 WHERE id = 2`}},
		} {
			mytest.Exec(t, db, `CREATE TABLE t `+c.table, `CREATE TABLE native `+c.table)
			both := func(text string) {
				for _, table := range []string{"t", "native"} {
					mytest.Exec(t, db, fmt.Sprintf(text, table))
				}
			}
			both(c.fill)
			err := byColumnTo(t, db, `ALTER TABLE t MODIFY `+c.modify, func() {
				for _, w := range c.writes {
					both(w)
				}
			})
			if err != nil {
				t.Errorf("%s to %s: %v", c.table, c.modify, err)
			} else {
				mytest.Exec(t, db, `ALTER TABLE native MODIFY `+c.modify)
				asNativelyMy(t, db, likeMy, "t", "native", c.table+" to "+c.modify)
				if err := byColumnTo(t, db, `ALTER TABLE t MODIFY `+c.modify, nil); err != nil {
					t.Errorf("%s again: %v", c.modify, err)
				}
			}
			abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
			mytest.Exec(t, db, `DROP TABLE t, native`)
		}
	})
}

// TestMySQLColumnLedger: writers lose nothing and meet no error while a column that they write gets a new type.
func TestMySQLColumnLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		a := &accountants{T: t, db: db, merge: `ON DUPLICATE KEY UPDATE %[1]s = %[1]s + %[3]s`}
		mytest.Exec(t, db, `CREATE TABLE accounts (id int PRIMARY KEY, old int NOT NULL DEFAULT 0, payload varchar(300), KEY (old), KEY (payload(10), old))`, `CREATE TABLE noted (account int, amount int)`,
			`INSERT INTO accounts (id, payload) `+countMy(t, db, accountantsRows)+` i, REPEAT('x', 200) FROM n`)
		stop := a.write("old", 4, false)
		var told story
		config := byColumn()
		config.Events = told.tell
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE accounts MODIFY old bigint NOT NULL DEFAULT 0`, config); err != nil {
			t.Error(err)
		}
		time.Sleep(100 * time.Millisecond)
		stop()
		a.wrote[1].Add(1) // there is one name
		a.proves("old")
		if n := told.count(differed); n > 0 {
			t.Errorf("the verification found %d differences", n)
		}
		if is := myDefinition(t, db, "accounts"); !strings.Contains(is, "`old` bigint") {
			t.Errorf("the table is %s", is)
		}
		t.Logf("%d transactions", a.wrote[0].Load())
	})
}

// What a change by a second column sends there.
var (
	myLater = matching("^INSERT INTO .*> CAST\\('[2-7][0-9]{4}'.*FOR UPDATE SKIP LOCKED$")
	mySwap  = matching("^ALTER TABLE .*CHANGE COLUMN .*_old` ")
	myMark  = regexp.MustCompile("= NULL; SET NEW\\.`changeling_\\w+_n` = 1;")
	myBlind = matching("^SELECT COUNT\\(\\*\\), COALESCE\\(SUM\\(NOT ")
)

// columnSceneMy plays users while a second column is filled, when it is, and when the swap is over, and says which rows are wrong then, and
// who failed.
func columnSceneMy(t *testing.T, dsn string, db *sql.DB, to string, mutate func(string) string) (wrong []string, hits int64) {
	t.Helper()
	mytest.Exec(t, db, `DROP TABLE IF EXISTS accounts, mirror`)
	for _, table := range []string{"accounts", "mirror"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, amount int NOT NULL DEFAULT 5, payload varchar(20), KEY (amount))`, `INSERT INTO `+table+` (id, amount) `+countMy(t, db, 8000)+` i * 10, i FROM n`)
	}
	var mu sync.Mutex
	both := func(statements ...string) { // of the engine's goroutines, too: nothing may end the test
		mu.Lock()
		defer mu.Unlock()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v", s, err))
			} else if _, err := db.ExecContext(t.Context(), strings.ReplaceAll(s, "accounts", "mirror")); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s of the mirror: %v", s, err))
			}
		}
	}
	var during, behind sync.Once
	var swapped, hit atomic.Bool
	var met atomic.Int64
	pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		switch {
		case myLater(x.Text): // a range is filled, and the last is not
			during.Do(func() {
				hit.Store(true)
				both(`UPDATE accounts SET id = -id WHERE id > 79950`, `UPDATE accounts SET id = id - 65001 WHERE id > 79900`, `UPDATE accounts SET amount = amount + 7 WHERE id % 70 = 0`,
					`INSERT INTO accounts VALUES (5, 1, 'new'), (79995, 2, 'new')`, `DELETE FROM accounts WHERE id = 79000`, `UPDATE accounts SET payload = 'p' WHERE id % 30 = 0`, `INSERT INTO accounts (id) VALUES (7)`)
			})
		case mySwap(x.Text) && !strings.HasPrefix(x.Text, "ALTER TABLE `changeling_"): // of a twin
			swapped.Store(true)
		case swapped.Load() && myReleases(x.Text):
			behind.Do(func() {
				both(`UPDATE accounts SET amount = -7 WHERE id = 50`, `INSERT INTO accounts (id) VALUES (7003)`, `UPDATE accounts SET payload = 'n' WHERE id = 60`)
			})
		}
		if mutate == nil {
			return x.Text
		}
		text := mutate(x.Text)
		if text != x.Text {
			met.Add(1) // not under the mutex: who writes may wait for the rows of this transaction
		}
		return text
	})
	defer func() { hits = met.Load() }()
	var told story
	config := byColumn()
	config.Hold = true
	config.Events = told.tell
	ddl := `ALTER TABLE accounts MODIFY amount ` + to
	done := make(chan error, 1)
	go func() { done <- changeling.Apply(t.Context(), pool, ddl, config) }()
	for deadline := time.Now().Add(time.Minute); told.count(holding) == 0 && len(done) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the change neither holds nor ends")
		}
	}
	var err error
	if len(done) == 0 {
		both(`UPDATE accounts SET amount = -amount WHERE id % 110 = 0`, `INSERT INTO accounts VALUES (7001, 5, 'n')`, `UPDATE accounts SET amount = amount + 1 WHERE id % 130 = 0`)
		config.Hold, config.Events = false, event.Discard
		e, openErr := changeling.Open(t.Context(), db, config)
		if openErr != nil {
			t.Fatal(openErr)
		}
		list, listErr := e.List(t.Context())
		if listErr != nil {
			t.Fatal(listErr)
		}
		for _, s := range list {
			if s.Statement != ddl || !strings.HasPrefix(s.Table, asked(t, db, `SELECT DATABASE()`)+".") || s.Status == "done" || s.Status == "aborted" {
				continue
			}
			c, err := e.Find(t.Context(), s.ID)
			if err == nil {
				err = c.Cutover(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err = <-done; err != nil {
		wrong = append(wrong, err.Error())
		abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
		return wrong, 0
	}
	if n := told.count(differed); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d differences were repaired", n))
	}
	if !hit.Load() {
		wrong = append(wrong, "nobody wrote while it was filled")
	}
	mytest.Exec(t, db, strings.Replace(ddl, "accounts", "mirror", 1))
	return append(wrong, listed(t, db, `SELECT CONCAT('amount of ', id) FROM (SELECT m.id FROM mirror m LEFT JOIN accounts a ON a.id = m.id WHERE a.id IS NULL OR NOT (a.amount <=> m.amount) UNION SELECT id FROM accounts WHERE id NOT IN (SELECT id FROM mirror)) x ORDER BY id LIMIT 3`)...), hits
}

// TestMySQLColumnRaces plays the schedule whole, and with mutants that it must show; some also with a comparison that sees nothing, without
// which the wrong rows would be swapped in.
func TestMySQLColumnRaces(t *testing.T) {
	t.Parallel()
	replace := func(match func(string) bool, old, by string) func(string) string {
		return func(text string) string {
			if match(text) {
				return strings.ReplaceAll(text, old, by)
			}
			return text
		}
	}
	either := func(text string) bool { return myInserts(text) || myUpdates(text) }
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, c := range []struct {
			name     string
			to       string
			mutate   func(string) string
			repaired bool // by the verification
		}{
			{name: "whole"},
			{name: "whole, to a narrower type", to: `smallint DEFAULT 5`},
			{name: "an INSERT is not looked at", mutate: func(text string) string {
				if myInserts(text) {
					text = text[:strings.LastIndex(text, "SET NEW.`changeling")] + "END"
				}
				return text
			}},
			{name: "an UPDATE is not looked at", mutate: replace(myUpdates, "IF NOT (NEW.`amount` <=> OLD.`amount`) OR", "IF"), repaired: true},
			{name: "a row that moves is not filled", mutate: replace(myUpdates, " OR NOT (CAST(NEW.`id`", " OR FALSE AND NOT (CAST(NEW.`id`"), repaired: true},
			{name: "a column that is gone fails who writes", mutate: func(text string) string {
				if either(text) {
					text = strings.ReplaceAll(text, "DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; ", "")
					before, rest, _ := strings.Cut(text, "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION")
					_, rest, _ = strings.Cut(rest, "END; ")
					return before + rest
				}
				return text
			}},
		} {
			if c.to == "" {
				c.to = `bigint NOT NULL DEFAULT 5`
			}
			wrong, hits := columnSceneMy(t, dsn, db, c.to, c.mutate)
			if c.mutate == nil {
				if len(wrong) > 0 {
					t.Errorf("%s: %v", c.name, wrong)
				}
				continue
			}
			t.Logf("%s: met %d statements, %v", c.name, hits, wrong)
			if hits == 0 || len(wrong) == 0 {
				t.Errorf("%s: met %d statements, and lives", c.name, hits)
			}
			if !c.repaired {
				continue
			}
			wrong, _ = columnSceneMy(t, dsn, db, c.to, func(text string) string {
				if myBlind(text) {
					return "SELECT 1, 0"
				}
				return c.mutate(text)
			})
			if !slices.ContainsFunc(wrong, func(s string) bool { return strings.HasPrefix(s, "amount of ") }) {
				t.Errorf("%s: with a comparison that sees nothing, nothing is wrong: %v", c.name, wrong)
			}
		}
	})
}

// TestMySQLColumnUnconvertible: a value that does not convert fails no user. It stops the change, which names its row, and goes on when the row is
// mended. A trigger that takes what comes of a loose conversion, and leaves no mark, would put in what the user never wrote.
func TestMySQLColumnUnconvertible(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		const ddl = `ALTER TABLE codes MODIFY code int`
		for _, broken := range []bool{false, true} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS codes`, `CREATE TABLE codes (id int PRIMARY KEY, code varchar(20) NOT NULL)`, `INSERT INTO codes `+countMy(t, db, 300)+` i, i FROM n`, `UPDATE codes SET code = 'y' WHERE id = 7`)
			if err := changeling.Apply(t.Context(), db, ddl, byColumn()); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7") {
				t.Fatalf("a row that was there: %v, want ErrData that names id 7", err)
			}
			mytest.Exec(t, db, `UPDATE codes SET code = '7' WHERE id = 7`)
			late := byColumn()
			late.Events = upon(event.Discard, beganStep("backfill"), func() { mytest.Exec(t, db, `UPDATE codes SET code = 'z' WHERE id = 299`) })
			if err := changeling.Apply(t.Context(), db, ddl, late); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 299") {
				t.Fatalf("a row that came before it was filled: %v, want ErrData that names id 299", err)
			}
			mytest.Exec(t, db, `UPDATE codes SET code = '299' WHERE id = 299`)
			abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if broken && strings.HasPrefix(x.Text, "CREATE TRIGGER") {
					return myMark.ReplaceAllString(x.Text, "= 0;")
				}
				return x.Text
			})
			config := byColumn()
			config.Hold = true
			var told story
			config.Events = event.Tee(told.tell, event.Lines(t.Output()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- changeling.Apply(ctx, pool, ddl, config) }()
			for told.count(holding) == 0 {
				if time.Sleep(5 * time.Millisecond); len(done) > 0 {
					t.Fatalf("the change does not hold: %v", <-done)
				}
			}
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mytest.Exec(t, conn, `SET SESSION sql_mode = ''`, `BEGIN`, `UPDATE codes SET code = 'x' WHERE id = 8`, `INSERT IGNORE INTO codes VALUES (1000, 'abc')`)
			if !broken {
				mytest.Exec(t, conn, `UPDATE IGNORE codes SET code = '99999999999' WHERE id = 9`, `UPDATE codes SET code = 'y' WHERE id = 10`, `UPDATE codes SET code = '10' WHERE id = 10`)
			}
			mytest.Exec(t, conn, `COMMIT`)
			conn.Close()
			e, err := changeling.Open(t.Context(), db, quick)
			if err != nil {
				t.Fatal(err)
			}
			c, err := e.Find(t.Context(), asked(t, db, `SELECT MAX(id) FROM changeling.chg WHERE statement = '`+ddl+`' AND table_schema = DATABASE() AND busy IS NOT NULL`))
			if err != nil {
				t.Fatal(err)
			}
			if broken {
				if err := c.Cutover(t.Context()); err != nil {
					t.Fatal(err)
				}
				err = <-done
				if got := asked(t, db, `SELECT GROUP_CONCAT(COALESCE(code, 'NULL') ORDER BY id) FROM codes WHERE id IN (8, 9, 1000)`); err != nil || got != "0,9,0" {
					t.Errorf("the mutant comes to %s (%v), want 0 for what was no number", got, err)
				}
				abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
				continue
			}
			err = <-done
			if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 1000") || !strings.Contains(err.Error(), "id 8") || !strings.Contains(err.Error(), "id 9") || strings.Contains(err.Error(), "id 10:") {
				t.Fatalf("rows that came: %v, want ErrData that names 8, 9 and 1000", err)
			}
			if got := asked(t, db, `SELECT GROUP_CONCAT(code ORDER BY id) FROM codes WHERE id IN (8, 9, 1000)`); got != "x,99999999999,abc" {
				t.Errorf("the users' values are %s", got)
			}
			mytest.Exec(t, db, `UPDATE codes SET code = id WHERE id IN (8, 9, 1000)`)
			if err := errors.Join(c.Cutover(t.Context()), c.Run(t.Context())); err != nil {
				t.Fatal(err)
			}
			if got := asked(t, db, `SELECT CONCAT(SUM(code = id), ' ', COUNT(*), ' ', COUNT(code)) FROM codes`); got != "301 301 301" {
				t.Errorf("right, rows, values: %s", got)
			}
		}
	})
}

// TestMySQLColumnRefused: what would fail users, or cannot be taken along, is refused before anything is done.
func TestMySQLColumnRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY, code int UNIQUE)`, `CREATE TABLE children (id int PRIMARY KEY, code int, FOREIGN KEY (code) REFERENCES parents (code))`,
			`CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, a int, b int, c int AS (a + 1) STORED, d int, u int UNIQUE, v varchar(20) UNIQUE, n int, ts timestamp NULL, up timestamp NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP, CHECK (b > 0))`,
			`CREATE TABLE moving (parent int, n int, a int, PRIMARY KEY (parent, n), FOREIGN KEY (parent) REFERENCES parents (id) ON UPDATE CASCADE)`,
			`CREATE TABLE tu (id int PRIMARY KEY, a int, note int)`, `CREATE TRIGGER tu_update BEFORE UPDATE ON tu FOR EACH ROW SET NEW.note = 1`,
			`CREATE TABLE parted (id int, a int, PRIMARY KEY (id, a)) PARTITION BY HASH (a) PARTITIONS 2`, `CREATE TABLE keyless (a int)`, `CREATE TABLE m (id int PRIMARY KEY, a int) ENGINE=MyISAM`,
			`CREATE TABLE full_text (id int PRIMARY KEY, a int, note text, FULLTEXT KEY (note))`)
		e, err := changeling.Open(t.Context(), db, byColumn())
		if err != nil {
			t.Fatal(err)
		}
		for ddl, says := range map[string]string{
			`ALTER TABLE t MODIFY id bigint AUTO_INCREMENT`:   "AUTO_INCREMENT",
			`ALTER TABLE t MODIFY a bigint`:                   "names column a",
			`ALTER TABLE t MODIFY b bigint`:                   "names column b",
			`ALTER TABLE t MODIFY c bigint AS (a + 1) STORED`: "is generated",
			`ALTER TABLE t MODIFY up datetime`:                "ON UPDATE CURRENT_TIMESTAMP",
			`ALTER TABLE t MODIFY ts datetime`:                "time zone",
			`ALTER TABLE t MODIFY v int`:                      "the unique index v could refuse",
			`ALTER TABLE t MODIFY d bigint FIRST`:             "in the end the table would be another one",
			`ALTER TABLE t CHANGE d e bigint`:                 "another name",
			`ALTER TABLE t MODIFY d bigint, MODIFY n bigint`:  "one new type of one column",
			`ALTER TABLE t ADD COLUMN x int`:                  "one new type of one column",
			`ALTER TABLE t MODIFY nothing int`:                "no column nothing",
			`ALTER TABLE parents MODIFY code bigint`:          "foreign key",
			`ALTER TABLE children MODIFY code bigint`:         "names column code",
			`ALTER TABLE moving MODIFY a bigint`:              "moves rows of",
			`ALTER TABLE tu MODIFY a bigint`:                  "tu_update fires on UPDATE",
			`ALTER TABLE parted MODIFY a bigint`:              "primary key",
			`ALTER TABLE keyless MODIFY a bigint`:             "no usable key",
			`ALTER TABLE m MODIFY a bigint`:                   "no plain InnoDB table",
			`ALTER TABLE full_text MODIFY a bigint`:           "tried on an empty twin",
		} {
			p, err := e.Plan(t.Context(), ddl)
			said := fmt.Sprint(err)
			if err == nil && p.Route == plan.Refuse {
				said = strings.Join(p.Refusals, "\n")
			} else if !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("%s: %v, %+v", ddl, err, p)
			}
			if !strings.Contains(said, says) {
				t.Errorf("%s: %q, want %q in it", ddl, said, says)
			}
		}
		config := byColumn()
		config.DropAfter = time.Hour
		if keeps, err := changeling.Open(t.Context(), db, config); err != nil {
			t.Error(err)
		} else if _, err := keeps.Plan(t.Context(), `ALTER TABLE t MODIFY d bigint`); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("an old column that is kept: %v, want ErrUsage", err)
		}
		e, err = changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := e.Plan(t.Context(), `ALTER TABLE t MODIFY d bigint`); err != nil || p.Route != plan.ShadowTable {
			t.Errorf("nobody asked for the route, and it is %+v (%v)", p, err)
		}
	})
}

// TestMySQLColumnOfManyVersions: MySQL lets columns come and go at once 64 or 255 times, and then no more until the table is written anew. Users go on
// to write meanwhile, and the change goes on behind that.
func TestMySQLColumnOfManyVersions(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		for left, most := 0, 1000; left < 2; left++ {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS worn`, `CREATE TABLE worn (id int PRIMARY KEY, a int)`, `INSERT INTO worn VALUES (1, 1), (2, 2)`)
			for n := range most - left {
				text := `ALTER TABLE worn ADD COLUMN x int, ALGORITHM=INSTANT`
				if n%2 == 1 {
					text = `ALTER TABLE worn DROP COLUMN x, ALGORITHM=INSTANT`
				}
				if _, err := db.Exec(text); err != nil {
					most = n
					break
				}
			}
			const ddl = `ALTER TABLE worn MODIFY a bigint`
			if err := changeling.Apply(t.Context(), db, ddl, byColumn()); err == nil || !strings.Contains(err.Error(), "row versions") {
				t.Fatalf("%d versions are left: %v", left, err)
			}
			mytest.Exec(t, db, `INSERT INTO worn (id, a) VALUES (3, 3)`, `UPDATE worn SET a = 7 WHERE id = 1`, `OPTIMIZE TABLE worn`)
			if err := changeling.Apply(t.Context(), db, ddl, byColumn()); err != nil {
				t.Fatalf("%d versions were left, and the table is written anew: %v", left, err)
			}
			sameMy(t, db, `SELECT GROUP_CONCAT(a ORDER BY id) FROM worn`, `SELECT '7,2,3'`)
			if got := myDefinition(t, db, "worn"); !strings.Contains(got, "`a` bigint DEFAULT NULL,") || strings.Contains(got, "changeling") {
				t.Errorf("the table is\n%s", got)
			}
		}
	})
}

// TestMySQLColumnDies kills a run before and after each statement that it sends, lets users write, and says the same again: it must leave what a
// native MODIFY leaves.
func TestMySQLColumnDies(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		const ddl = `ALTER TABLE orders MODIFY amount bigint NOT NULL DEFAULT 3`
		config := changeling.Config{Lease: 3 * time.Second, Fast: true, DropAfter: changeling.DropNow, Route: plan.ShadowColumn}
		act := func(db *sql.DB) error { return changeling.Apply(t.Context(), db, ddl, config) }
		begin := func() {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, twin`)
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders, `CREATE INDEX of_amount ON `+table+` (amount, email)`, `CREATE UNIQUE INDEX once ON `+table+` (amount, id)`)
				fillMy(t, db, table, 200)
			}
		}
		between := func() {
			for _, table := range []string{"orders", "twin"} {
				for _, s := range []string{`UPDATE %s SET amount = amount + 1000 WHERE id < 20`, `DELETE FROM %s WHERE id = 30`, `INSERT INTO %s (customer_id, email, amount, created_at) VALUES (1, 'new', 3, '2020-01-01')`} {
					mytest.Exec(t, db, fmt.Sprintf(s, table))
				}
			}
		}
		diesMy(t, dsn, db, 83, begin, act, between, func(at string) {
			mytest.Exec(t, db, `ALTER TABLE twin MODIFY amount bigint NOT NULL DEFAULT 3`)
			if got, want := likeMy(t, db, "orders"), likeMy(t, db, "twin"); got != want {
				t.Errorf("%s: the table is\n%s\nnatively it is\n%s", at, got, want)
			}
			rows := `SELECT CONCAT_WS('|', id, email, amount, status, COALESCE(note, 'NULL')) FROM `
			if got, want := listed(t, db, rows+`orders ORDER BY id`), listed(t, db, rows+`twin ORDER BY id`); !slices.Equal(got, want) {
				t.Errorf("%s: %d rows are not what the %d rows are natively", at, len(got), len(want))
			}
		})
	})
}

// TestMySQLColumnAbort: before its swap a change by a second column can be taken back at each of its steps, and nothing of it stays.
func TestMySQLColumnAbort(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		const ddl = `ALTER TABLE orders MODIFY amount smallint`
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders, `CREATE INDEX of_amount ON orders (amount)`)
		fillMy(t, db, "orders", 50)
		want := likeMy(t, db, "orders")
		e, err := changeling.Open(t.Context(), db, byColumn())
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Plan(t.Context(), ddl)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Steps[1 : p.Find(plan.Cutover)+1] {
			if s.Kind == plan.Hold {
				continue // nobody asked for it, so it tells nothing
			}
			ctx, cancel := context.WithCancel(t.Context())
			config := byColumn()
			name := strings.Replace(s.Name, p.ID, "", 1) // of an index
			config.Events = upon(event.Discard, func(e event.Event) bool {
				x, ok := e.(event.StepStarted)
				return ok && strings.HasPrefix(x.Name, name[:min(len(name), 17)])
			}, cancel)
			err := changeling.Apply(ctx, db, ddl, config)
			cancel()
			if !errors.Is(err, changeling.ErrStopped) {
				t.Fatalf("stopped at %q: %v, want ErrStopped", s.Name, err)
			}
			abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
			if is := likeMy(t, db, "orders"); is != want {
				t.Errorf("aborted at %s, the table is\n%s\nit was\n%s", s.Name, is, want)
			}
		}
		// Somebody alters the table meanwhile.
		config := byColumn()
		config.Events = upon(event.Discard, beganStep("verify"), func() { mytest.Exec(t, db, `CREATE INDEX theirs ON orders (amount, id)`) })
		if err := changeling.Apply(t.Context(), db, ddl, config); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "theirs") {
			t.Errorf("altered meanwhile: %v, want ErrRefused that names what is new", err)
		}
		abortAll(t, db, asked(t, db, `SELECT DATABASE()`)+".")
		mytest.Exec(t, db, `DROP INDEX theirs ON orders`)
		if is := likeMy(t, db, "orders"); is != want {
			t.Errorf("aborted, the table is\n%s\nit was\n%s", is, want)
		}
	})
}
