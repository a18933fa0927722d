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
	"sync"
	"sync/atomic"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// parentMy is a table that others refer to, by all rules, by a key of two columns, and from another database.
func parentMy(t *testing.T, db *sql.DB, prefix, elsewhere string) {
	t.Helper()
	mytest.Exec(t, db, `CREATE TABLE `+prefix+`parents (id int PRIMARY KEY, a int, b int, boss int, v int, UNIQUE KEY (a, b), FOREIGN KEY (boss) REFERENCES `+prefix+`parents (id))`,
		`INSERT INTO `+prefix+`parents WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 900) SELECT i, i, i, 1, i FROM r`,
		`CREATE TABLE `+prefix+`kids (id int AUTO_INCREMENT PRIMARY KEY, parent int, a int, b int, KEY own (parent, id), CONSTRAINT `+prefix+`up FOREIGN KEY (parent) REFERENCES `+prefix+`parents (id) ON DELETE CASCADE,
  FOREIGN KEY (a, b) REFERENCES `+prefix+`parents (a, b) ON UPDATE RESTRICT)`,
		`CREATE TABLE `+elsewhere+".`"+prefix+"far kids` (id int AUTO_INCREMENT PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES `"+mySchema(t, db)+"`."+prefix+`parents (id) ON DELETE SET NULL ON UPDATE CASCADE)`,
		`INSERT INTO `+prefix+`kids (parent, a, b) SELECT id, id, id FROM `+prefix+`parents WHERE id <= 300`,
		`INSERT INTO `+elsewhere+".`"+prefix+"far kids` (parent) SELECT id FROM "+prefix+`parents`)
}

// shownMy is a table as the server shows it, but for the next value of a counter.
func shownMy(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	var name, text string
	if err := db.QueryRow("SHOW CREATE TABLE "+table).Scan(&name, &text); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(` AUTO_INCREMENT=\d+`).ReplaceAllString(text, "")
}

// TestMySQLChildren: foreign keys of other tables refer to the new table, as after a native ALTER, and again to the old one after an undo;
// none of their users is failed, and none is let through at any moment.
func TestMySQLChildren(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		capture  changeling.Capture
		triggers bool
	}{{changeling.CaptureBinlog, false}, {changeling.CaptureTriggers, false}, {changeling.CaptureBinlog, true}, {changeling.CaptureTriggers, true}} {
		t.Run(fmt.Sprintf("%s triggers %t", c.capture, c.triggers), func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				far := mySchema(t, mytest.Open(t, mytest.Database(t, "mysql9.7")))
				far = "`" + far + "`"
				parentMy(t, db, "", far)
				parentMy(t, db, "twin_", far)
				if c.triggers {
					mytest.Exec(t, db, `CREATE TABLE born (id int PRIMARY KEY)`, `CREATE TRIGGER parent_new AFTER INSERT ON parents FOR EACH ROW INSERT INTO born VALUES (NEW.id)`,
						`CREATE TRIGGER parent_boss BEFORE INSERT ON parents FOR EACH ROW SET NEW.boss = 2`)
				}
				fires := triggersOf(t, db)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var writes, refused, born atomic.Int64
				for i := range 3 {
					wg.Go(func() {
						for n := 1_000_000 * (i + 1); ctx.Err() == nil; n++ {
							for _, c := range []struct {
								text string
								bad  bool
							}{
								{fmt.Sprintf(`INSERT INTO parents (id, a, boss, v) VALUES (%d, %[1]d, 1, 1)`, n), false},
								{fmt.Sprintf(`INSERT INTO kids (parent, a, b) VALUES (%d, %[1]d, NULL)`, n), false},
								{fmt.Sprintf("INSERT INTO %s.`far kids` (parent) VALUES (%d)", far, n), false},
								{fmt.Sprintf(`INSERT INTO kids (parent) VALUES (-%d)`, n), true},
								{fmt.Sprintf("INSERT INTO %s.`far kids` (parent) VALUES (-%d)", far, n), true},
								{fmt.Sprintf(`UPDATE parents SET v = v + 1 WHERE id = %d`, 1+rand.IntN(900)), false},
								{fmt.Sprintf(`DELETE FROM parents WHERE id = %d`, n), false},
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
								default:
									writes.Add(1)
									if strings.HasPrefix(c.text, "INSERT INTO parents") {
										born.Add(1)
									}
								}
							}
						}
					})
				}
				config := changeling.Config{Capture: c.capture, Events: event.Lines(t.Output())}
				if c.capture == changeling.CaptureBinlog {
					config.Binlog = dsn
				}
				alike := func(when string) {
					t.Helper()
					for _, x := range [][2]string{{"parents", "twin_parents"}, {"kids", "twin_kids"}, {far + ".`far kids`", far + ".`twin_far kids`"}} {
						if got, want := shownMy(t, db, x[0]), strings.ReplaceAll(shownMy(t, db, x[1]), "twin_", ""); got != want {
							t.Errorf("%s %s is\n%s\nas natively\n%s", when, x[0], got, want)
						}
					}
					if now := triggersOf(t, db); !slices.Equal(now, fires) {
						t.Errorf("%s the triggers are\n%s\nand were\n%s", when, strings.Join(now, "\n"), strings.Join(fires, "\n"))
					}
				}
				m := made(t, db, `ALTER TABLE parents MODIFY v bigint`, config)
				cancel()
				wg.Wait()
				mytest.Exec(t, db, `ALTER TABLE twin_parents MODIFY v bigint`)
				alike("after the change")
				if c.capture == changeling.CaptureBinlog {
					if err := m.Undo(t.Context(), changeling.NoLoss); err != nil {
						t.Fatal(err)
					}
					mytest.Exec(t, db, `ALTER TABLE twin_parents MODIFY v int`)
					alike("after the undo")
				}
				if writes.Load() < 100 || refused.Load() < 10 {
					t.Errorf("%d writes and %d orphans were tried: that shows nothing", writes.Load(), refused.Load())
				}
				if c.triggers {
					sameMy(t, db, `SELECT COUNT(*) FROM born`, fmt.Sprintf(`SELECT %d`, born.Load()))
					sameMy(t, db, `SELECT COUNT(*) FROM parents WHERE id > 900 AND boss = 1`, `SELECT 0`)
				}
				mytest.Exec(t, db, `DELETE FROM parents WHERE id = 500`)
				var gone, left int
				if err := db.QueryRow("SELECT (SELECT COUNT(*) FROM "+far+".`far kids` WHERE parent IS NULL AND id = 500), (SELECT COUNT(*) FROM kids k LEFT JOIN parents p ON p.id = k.parent WHERE k.parent IS NOT NULL AND p.id IS NULL)").Scan(&gone, &left); err != nil || gone != 1 || left != 0 {
					t.Errorf("after a DELETE that sets NULL: %d of 1, %d orphans, %v", gone, left, err)
				}
			})
		})
	}
}

// TestMySQLChildrenDisturbed: a key that somebody drops, or makes anew, while the change waits stops it; nothing is swapped, and it goes on
// when the key is as it was.
func TestMySQLChildrenDisturbed(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		parentMy(t, db, "", "`"+mySchema(t, db)+"`")
		act := []string{`ALTER TABLE kids DROP FOREIGN KEY up`, `ALTER TABLE kids ADD CONSTRAINT up FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE SET NULL`,
			`ALTER TABLE kids DROP FOREIGN KEY up`, `ALTER TABLE kids ADD CONSTRAINT up FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE`}
		for i := range act {
			config := byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())})
			if i == 0 {
				config.Events = upon(config.Events, began("verify"), func() { mytest.Exec(t, db, act[0]) })
			} else {
				mytest.Exec(t, db, act[i])
			}
			err := changeling.Apply(t.Context(), db, `ALTER TABLE parents MODIFY v bigint`, config)
			if i == len(act)-1 {
				if err != nil {
					t.Errorf("with the key as it was: %v", err)
				}
			} else if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "up of ") {
				t.Errorf("after %s: %v, want a refusal that names the key", act[i], err)
			}
		}
	})
}

// TestMySQLChildrenCrash: what a server that crashes under the swap leaves of the children's keys is mended by the next run, or by an abort,
// before the swap or after it; and rows that came meanwhile and refer to nothing are named.
func TestMySQLChildrenCrash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, behind   string
		aborts, orphan bool
	}{
		{"before the swap", "up`, ALGORITHM=INPLACE; ", false, false},
		{"before the swap, and it is aborted", "up`, ALGORITHM=INPLACE; ", true, false},
		{"behind the swap", "TO `SOURCE`; ", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				parentMy(t, db, "", "`"+mySchema(t, db)+"`")
				before := shownMy(t, db, "kids")
				var breaks, broken atomic.Value // the procedure that dies halfway
				pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					switch {
					case strings.HasPrefix(x.Text, "CREATE PROCEDURE") && strings.Contains(x.Text, "swap_") && breaks.Load() == nil:
						at := strings.LastIndex(x.Text, strings.Replace(c.behind, "SOURCE", mySchema(t, db)+"`.`parents", 1))
						if at < 0 {
							t.Errorf("%q is not in %s", c.behind, x.Text)
							return x.Text
						}
						at += strings.Index(x.Text[at:], "; ") + 2
						mytest.Exec(t, db, strings.Replace(x.Text[:at]+"KILL CONNECTION_ID(); "+x.Text[at:], "swap_", "breaks_", 1)) // no handler runs then
						breaks.Store(true)
					case strings.HasPrefix(x.Text, "CALL ") && strings.Contains(x.Text, "swap_") && broken.CompareAndSwap(nil, true):
						return strings.Replace(x.Text, "swap_", "breaks_", 1)
					}
					return x.Text
				})
				pool.SetMaxOpenConns(20)
				config := byBinlog(dsn, changeling.Config{Events: event.Lines(t.Output())})
				var said strings.Builder
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				dying := config
				dying.Events = func(e event.Event) { // it would mend it at once
					config.Events(e)
					if a, ok := e.(event.CutoverTried); ok && a.Err != nil && broken.Load() != nil {
						cancel()
					}
				}
				err := changeling.Apply(ctx, pool, `ALTER TABLE parents MODIFY v bigint`, dying)
				if err == nil {
					t.Fatal("the server did not crash")
				}
				t.Logf("the run that met the crash: %v", err)
				var keys int
				if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE() AND constraint_name = 'up'`).Scan(&keys); err != nil || keys != 0 {
					t.Fatalf("the child has its key %d times, %v: nothing is to be mended", keys, err)
				}
				if c.orphan {
					mytest.Exec(t, db, `INSERT INTO kids (parent) VALUES (-7)`)
				}
				told := event.Tee(config.Events, func(e event.Event) {
					if n, ok := e.(event.Notice); ok {
						said.WriteString(n.Text)
					}
				})
				config.Events = told
				if c.aborts {
					e, err := changeling.Open(t.Context(), db, config)
					if err != nil {
						t.Fatal(err)
					}
					defer e.Close()
					var id string
					if err := db.QueryRow(`SELECT id FROM changeling.chg WHERE table_schema = DATABASE()`).Scan(&id); err != nil {
						t.Fatal(err)
					}
					change, err := e.Find(t.Context(), id)
					if err == nil {
						err = change.Abort(t.Context())
					}
					if err != nil {
						t.Fatal(err)
					}
				} else if err := changeling.Apply(t.Context(), db, `ALTER TABLE parents MODIFY v bigint`, config); err != nil {
					t.Fatal(err)
				}
				if now := shownMy(t, db, "kids"); now != before {
					t.Errorf("the child is\n%s\nwant\n%s", now, before)
				}
				if !strings.Contains(said.String(), "the foreign key up of") || c.orphan && !strings.Contains(said.String(), "-7") {
					t.Errorf("it was said: %s", said.String())
				}
			})
		})
	}
}
