package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
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
		capture changeling.Capture
		rule    string
	}{{changeling.CaptureBinlog, "ON UPDATE RESTRICT"}, {changeling.CaptureTriggers, ""}, {changeling.CaptureBinlog, "ON DELETE CASCADE ON UPDATE CASCADE"}, {changeling.CaptureBinlog, "ON DELETE SET NULL"}} {
		t.Run(fmt.Sprintf("%s %s", c.capture, c.rule), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				if isMaria(t, db) && (c.capture == changeling.CaptureTriggers || strings.Contains(c.rule, "DELETE")) {
					return // see TestMariaDBForeignKeysRefused
				}
				childMy(t, db, "kids", c.rule)
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
						if _, err := db.Exec(fmt.Sprintf(`INSERT INTO kids (parent, boss, v) VALUES (%d, 1, -1)`, n)); err == nil {
							t.Errorf("a child without a parent came in")
							return
						}
						time.Sleep(3 * time.Millisecond)
					}
				})
				config := changeling.Config{Capture: c.capture, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}
				if c.capture == changeling.CaptureBinlog {
					config.Binlog = dsn
				}
				err := changeling.Apply(t.Context(), db, `ALTER TABLE kids CHANGE v value bigint NOT NULL`, config)
				cancel()
				wg.Wait()
				if err != nil {
					t.Fatal(err)
				}
				childMy(t, db, "twin", c.rule)
				mytest.Exec(t, db, `ALTER TABLE twin CHANGE v value bigint NOT NULL`)
				myAlike(t, db, "kids", "twin")
				var orphans int
				if err := db.QueryRow(`SELECT COUNT(*) FROM kids k LEFT JOIN parents p ON p.id = k.parent WHERE k.parent IS NOT NULL AND p.id IS NULL`).Scan(&orphans); err != nil || orphans > 0 {
					t.Errorf("%d children without a parent, %v", orphans, err)
				}
				for _, text := range []string{`INSERT INTO kids (parent, value) VALUES (-5, 1)`, `INSERT INTO kids (boss, value) VALUES (-5, 1)`, `DELETE FROM kids WHERE id = 1`, `DELETE FROM parents WHERE id = 1`} {
					if _, err := db.Exec(text); err == nil {
						t.Errorf("%s is let through", text)
					}
				}
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
		mytest.Exec(t, db, `CREATE TABLE guarded (id int PRIMARY KEY, parent int, v int, FOREIGN KEY (parent) REFERENCES parents (id))`, `CREATE TRIGGER g BEFORE INSERT ON guarded FOR EACH ROW SET NEW.v = 1`)
		for _, c := range []struct{ ddl, says string }{
			{`ALTER TABLE kids MODIFY v bigint NOT NULL`, "fires no trigger"},
			{`ALTER TABLE parents MODIFY a bigint`, "drop the key first"},
			{`ALTER TABLE plain DROP COLUMN parent, MODIFY v bigint`, "drop the key first"},
			{`ALTER TABLE plain MODIFY parent bigint, MODIFY v bigint NOT NULL`, "incompatible"},
			{`ALTER TABLE plain MODIFY v bigint, ADD FOREIGN KEY (v) REFERENCES parents (id)`, "incompatible"},
			{`ALTER TABLE guarded MODIFY v bigint, DROP FOREIGN KEY guarded_ibfk_1`, "triggers and foreign keys"},
			{`ALTER TABLE guarded MODIFY v bigint`, "triggers and foreign keys"},
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
