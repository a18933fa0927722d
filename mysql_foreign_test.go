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
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// childMy is a table with foreign keys of all kinds, and its parents.
func childMy(t *testing.T, db *sql.DB, table, rule string) {
	t.Helper()
	mytest.Exec(t, db, `CREATE TABLE IF NOT EXISTS parents (id int PRIMARY KEY, a int, b int, UNIQUE KEY (a, b))`,
		`INSERT IGNORE INTO parents WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 900) SELECT i, i, i FROM r`,
		`CREATE TABLE `+table+` (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, parent int, a int, b int, boss int, v int NOT NULL, KEY by_parent (parent, v), KEY (a, b),
  CONSTRAINT `+table+`_up FOREIGN KEY (parent) REFERENCES parents (id) `+rule+`, CONSTRAINT `+table+`_two FOREIGN KEY (a, b) REFERENCES parents (a, b) ON DELETE RESTRICT, FOREIGN KEY (boss) REFERENCES `+table+` (id))`,
		`INSERT INTO `+table+` SELECT id, id, IF(id % 3 = 0, NULL, id), id, 1, id FROM parents ORDER BY id`)
}

func myAlike(t *testing.T, db *sql.DB, table, twin string) {
	t.Helper()
	if got, want := strings.ReplaceAll(myDefinition(t, db, table), table, "t"), strings.ReplaceAll(myDefinition(t, db, twin), twin, "t"); got != want {
		t.Errorf("the table is\n%s\nafter a native ALTER it is\n%s", got, want)
	}
}

// TestMySQLForeignKeys: a table with foreign keys is what a native ALTER leaves, and at no moment does a key hold up a user or
// let him through.
func TestMySQLForeignKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		capture  changeling.Capture
		rule     string
		triggers bool
	}{
		{changeling.CaptureBinlog, "ON UPDATE RESTRICT", false}, {changeling.CaptureTriggers, "", false}, {changeling.CaptureBinlog, "ON DELETE CASCADE ON UPDATE CASCADE", false},
		{changeling.CaptureBinlog, "ON DELETE SET NULL", false}, {changeling.CaptureBinlog, "", true}, {changeling.CaptureTriggers, "", true},
	} {
		t.Run(fmt.Sprintf("%s %s triggers %t", c.capture, c.rule, c.triggers), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				if isMaria(t, db) && (c.capture == changeling.CaptureTriggers || c.triggers || strings.Contains(c.rule, "DELETE")) {
					return // see TestMariaDBForeignKeysRefused
				}
				childMy(t, db, "kids", c.rule)
				if c.triggers {
					mytest.Exec(t, db, `CREATE TABLE gone (id int)`, `CREATE TRIGGER kid_gone AFTER DELETE ON kids FOR EACH ROW INSERT INTO gone VALUES (OLD.id)`,
						`CREATE TRIGGER kid_new BEFORE INSERT ON kids FOR EACH ROW SET NEW.boss = COALESCE(NEW.boss, 1)`)
				}
				fires := triggersOf(t, db)
				var deleted int
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { // children go, and their parents right after them, or by a cascade
					for n := 301; n < 890 && ctx.Err() == nil; n += 3 { // these have no second key
						n := n + 2 // divisible by three
						texts := []string{fmt.Sprintf(`DELETE FROM kids WHERE parent = %d`, n), fmt.Sprintf(`DELETE FROM parents WHERE id = %d`, n)}
						if c.rule != "" && strings.Contains(c.rule, "DELETE") {
							texts = texts[1:]
						}
						for _, text := range texts {
							if _, err := db.Exec(text); err != nil {
								t.Errorf("a user's write failed: %s: %v", text, err)
								return
							}
						}
						deleted++
						if _, err := db.Exec(fmt.Sprintf(`INSERT INTO kids (parent, boss, v) VALUES (%d, 1, -1)`, n)); err == nil {
							t.Errorf("a child without a parent came in")
							return
						}
						time.Sleep(3 * time.Millisecond)
					}
				})
				config := changeling.Config{Capture: c.capture, Events: event.Lines(t.Output())}
				if c.capture == changeling.CaptureBinlog {
					config.Binlog = dsn
				}
				m := made(t, db, `ALTER TABLE kids CHANGE v value bigint NOT NULL`, config)
				cancel()
				wg.Wait()
				childMy(t, db, "twin", c.rule)
				mytest.Exec(t, db, `ALTER TABLE twin CHANGE v value bigint NOT NULL`)
				myAlike(t, db, "kids", "twin")
				var orphans int
				if err := db.QueryRow(`SELECT COUNT(*) FROM kids k LEFT JOIN parents p ON p.id = k.parent WHERE k.parent IS NOT NULL AND p.id IS NULL`).Scan(&orphans); err != nil || orphans > 0 {
					t.Errorf("%d children without a parent, %v", orphans, err)
				}
				kept := func(value string) {
					t.Helper()
					for _, text := range []string{`INSERT INTO kids (parent, ` + value + `) VALUES (-5, 1)`, `INSERT INTO kids (boss, ` + value + `) VALUES (-5, 1)`, `DELETE FROM kids WHERE id = 1`, `DELETE FROM parents WHERE id = 1`} {
						if _, err := db.Exec(text); err == nil {
							t.Errorf("%s is let through", text)
						}
					}
					if now := triggersOf(t, db); !slices.Equal(now, fires) {
						t.Errorf("the triggers were\n%s\nand are\n%s", strings.Join(fires, "\n"), strings.Join(now, "\n"))
					}
					if c.triggers {
						sameMy(t, db, `SELECT COUNT(*), COUNT(DISTINCT id) FROM gone`, fmt.Sprintf(`SELECT %d, %[1]d`, deleted))
						mytest.Exec(t, db, `INSERT INTO kids (id, `+value+`) VALUES (5000, 1)`)
						sameMy(t, db, `SELECT boss FROM kids WHERE id = 5000`, `SELECT 1`)
						mytest.Exec(t, db, `DELETE FROM kids WHERE id = 5000`)
						deleted++
					}
				}
				kept("value")
				if c.capture == changeling.CaptureTriggers {
					return
				}
				if err := m.Undo(t.Context(), changeling.NoLoss); err != nil {
					t.Fatal(err)
				}
				mytest.Exec(t, db, `ALTER TABLE twin CHANGE value v int NOT NULL`)
				myAlike(t, db, "kids", "twin")
				kept("v")
			})
		})
	}
}

// TestMySQLForeignKeysHalfway: a swap that cannot be leaves no key on the shadow, and one that did not get to its end is
// brought there by the next step.
func TestMySQLForeignKeysHalfway(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		childMy(t, db, "kids", "")
		var id string
		config := changeling.Config{Capture: changeling.CaptureBinlog, Binlog: dsn, Events: upon(event.Lines(t.Output()), began("cutover"), func() {
			if id != "" {
				return
			}
			if err := db.QueryRow(`SELECT id FROM changeling.chg WHERE table_schema = DATABASE()`).Scan(&id); err != nil {
				t.Error(err)
			}
			mytest.Exec(t, db, `CREATE TABLE changeling_`+id+`_old.kids (n int)`) // in the way
		})}
		const ddl = `ALTER TABLE kids MODIFY v bigint NOT NULL`
		if err := changeling.Apply(t.Context(), db, ddl, config); err == nil || !strings.Contains(err.Error(), "already exists") {
			t.Fatalf("with a table in the way: %v", err)
		}
		keys := func(database string) (n int) {
			t.Helper()
			if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.table_constraints WHERE constraint_type = 'FOREIGN KEY' AND table_schema = ?`, database).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := keys("changeling_" + id); n != 0 {
			t.Errorf("%d foreign keys on the shadow after a swap that could not be", n)
		}
		// As a server that crashed would leave it: one key on the shadow, and after the swap all of them on the old table.
		mytest.Exec(t, db, `DROP TABLE changeling_`+id+`_old.kids`, `ALTER TABLE changeling_`+id+`.kids ADD CONSTRAINT kids_up FOREIGN KEY (parent) REFERENCES `+mySchema(t, db)+`.parents (id)`)
		late := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "CALL ") { // the end of the procedure is missing
				var name, mode, body string
				var charset, connection, collation any
				if err := db.QueryRow("SHOW CREATE PROCEDURE changeling_"+id+".swap_"+id).Scan(&name, &mode, &body, &charset, &connection, &collation); err != nil {
					t.Error(err)
				}
				short := regexp.MustCompile(`(?s)BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; ALTER TABLE [^;]*_old.*; END; END$`).ReplaceAllString(body, "END")
				if short == body {
					t.Errorf("the end is not found in %s", body)
				}
				mytest.Exec(t, db, "DROP PROCEDURE changeling_"+id+".swap_"+id, regexp.MustCompile("PROCEDURE `[^`]*`").ReplaceAllString(short, "PROCEDURE changeling_"+id+".swap_"+id))
			}
			return x.Text
		})
		late.SetMaxOpenConns(20)
		if err := changeling.Apply(t.Context(), late, ddl, changeling.Config{Binlog: dsn, Events: event.Lines(t.Output())}); err != nil {
			t.Fatal(err)
		}
		if n := keys("changeling_" + id + "_old"); n != 0 {
			t.Errorf("%d foreign keys on the old table", n)
		}
		if n := keys(mySchema(t, db)); n != 3 {
			t.Errorf("%d foreign keys on the table, want 3", n)
		}
	})
}

// TestMySQLForeignKeysRefused: what cannot be carried, and why.
func TestMySQLForeignKeysRefused(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		childMy(t, db, "kids", "ON DELETE CASCADE")
		childMy(t, db, "plain", "")
		for _, c := range []struct{ ddl, says string }{
			{`ALTER TABLE kids MODIFY v bigint NOT NULL`, "fires no trigger"},
			{`ALTER TABLE parents MODIFY a bigint`, "drop the key first"},
			{`ALTER TABLE plain DROP COLUMN parent, MODIFY v bigint`, "drop the key first"},
			{`ALTER TABLE plain MODIFY parent bigint, MODIFY v bigint NOT NULL`, "incompatible"},
			{`ALTER TABLE plain MODIFY v bigint, ADD FOREIGN KEY (v) REFERENCES parents (id)`, "incompatible"},
		} {
			if err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{}); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want ErrRefused with %q", c.ddl, err, c.says)
			}
		}
	})
}

// TestMySQLForeignKeyBesideCheck: the twin of a table with checks is made from the server's own text, which has the foreign keys in it, and
// these may stand on no second table before the swap.
func TestMySQLForeignKeyBesideCheck(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents VALUES (1), (2)`)
		var statement string
		for _, table := range []string{"kids", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, parent int, boss int, v int, CONSTRAINT `+table+`_check CHECK (v > 0), CONSTRAINT `+table+`_up FOREIGN KEY (parent) REFERENCES parents (id), `+
				`CONSTRAINT `+table+`_boss FOREIGN KEY (boss) REFERENCES `+table+` (id))`, `INSERT INTO `+table+` VALUES (1, 1, 1, 1), (2, 2, 1, 2)`)
			statement = `ALTER TABLE ` + table + ` MODIFY v bigint COMMENT 'wide'`
			if table == "kids" {
				deleted := upon(event.Lines(t.Output()), began("cutover"), func() { // no key of the second table stands in his way
					mytest.Exec(t, db, `DELETE FROM kids WHERE id = 2`, `DELETE FROM parents WHERE id = 2`)
				})
				if err := changeling.Apply(t.Context(), db, statement, changeling.Config{DropAfter: changeling.DropNow, Events: deleted}); err != nil {
					t.Fatal(err)
				}
				mytest.Exec(t, db, `INSERT INTO parents VALUES (2)`)
			}
		}
		mytest.Exec(t, db, statement)
		myAlike(t, db, "kids", "twin")
		if _, err := db.Exec(`INSERT INTO kids VALUES (3, 9, 1, 1)`); err == nil {
			t.Error("a child without a parent came in")
		}
	})
}

// TestMySQLForeignKeysHalfNamed: keys of a table with triggers whose server crashed behind the swap get their names from the next step, and at no
// moment is there none.
func TestMySQLForeignKeysHalfNamed(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		childMy(t, db, "kids", "")
		mytest.Exec(t, db, `CREATE TRIGGER kid_new BEFORE INSERT ON kids FOR EACH ROW SET NEW.boss = COALESCE(NEW.boss, 1)`)
		before, fires := myDefinition(t, db, "kids"), triggersOf(t, db)
		short := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if at := regexp.MustCompile("RENAME TABLE [^;]*; ").FindStringIndex(x.Text); at != nil && strings.HasPrefix(x.Text, "CREATE PROCEDURE ") {
				return x.Text[:at[1]] + "END" // what comes behind the swap is missing
			}
			if strings.HasPrefix(x.Text, "SELECT CONCAT('ALTER TABLE") { // the next step
				if _, err := db.Exec(`INSERT INTO kids (parent, v) VALUES (-5, 1)`); err == nil {
					t.Error("an orphan came in behind the swap")
				}
			}
			return x.Text
		})
		short.SetMaxOpenConns(20)
		if err := changeling.Apply(t.Context(), short, `ALTER TABLE kids MODIFY v bigint NOT NULL`, changeling.Config{Binlog: dsn, Events: event.Lines(t.Output())}); err != nil {
			t.Fatal(err)
		}
		if now, want := myDefinition(t, db, "kids"), strings.Replace(before, "`v` int NOT", "`v` bigint NOT", 1); now != want {
			t.Errorf("the table is\n%s\nwant\n%s", now, want)
		}
		if now := triggersOf(t, db); !slices.Equal(now, fires) {
			t.Errorf("the triggers are\n%s\nand were\n%s", strings.Join(now, "\n"), strings.Join(fires, "\n"))
		}
		var elsewhere int
		if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.table_constraints WHERE constraint_type = 'FOREIGN KEY' AND table_schema = (SELECT CONCAT('changeling_', id, '_old') FROM changeling.chg WHERE table_schema = DATABASE())`).Scan(&elsewhere); err != nil || elsewhere != 0 {
			t.Errorf("%d foreign keys on old tables, %v", elsewhere, err)
		}
	})
}
