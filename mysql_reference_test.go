package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

const newKey = ` ADD CONSTRAINT %s_up FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE RESTRICT`

// familyMy is a table whose rows refer to those of another one, without a key that says so, and the same table once more.
func familyMy(t *testing.T, db *sql.DB) {
	t.Helper()
	mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY, v int)`, `INSERT INTO parents `+countMy(t, db, 1500)+` i, i FROM n`)
	for _, table := range []string{"kids", "twin"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, parent int, v int, KEY by_v (v))`, `INSERT INTO `+table+` (parent, v) SELECT IF(id % 5 = 0, NULL, id), id FROM parents WHERE id <= 1000`)
	}
}

// started matches the beginning of a step by its name.
func startedNamed(name string) func(event.Event) bool {
	return func(e event.Event) bool { s, ok := e.(event.StepStarted); return ok && strings.HasPrefix(s.Name, name) }
}

// TestMySQLNewForeignKey: a foreign key is added without copying the table, while users write to both, of whom none fails or waits for
// long; the result is that of the plain statement. So it is with a column that comes along.
func TestMySQLNewForeignKey(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		familyMy(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		var longest time.Duration
		users.Go(func() {
			for n := 1001; n < 1500 && ctx.Err() == nil; n++ {
				for _, text := range []string{`INSERT INTO kids (parent, v) VALUES (%d, 1)`, `UPDATE kids SET v = v + 1 WHERE parent = %d - 900`, `DELETE FROM kids WHERE parent = %d`, `DELETE FROM parents WHERE id = %d`} {
					began := time.Now()
					if _, err := db.Exec(fmt.Sprintf(text, n)); err != nil {
						t.Errorf("a user's write failed: "+text+": %v", n, err)
						return
					}
					longest = max(longest, time.Since(began))
				}
			}
		})
		stop := sync.OnceFunc(func() {
			cancel()
			users.Wait()
		})
		defer stop()
		for _, ddl := range []string{newKey, ` ADD COLUMN w int, ADD FOREIGN KEY (w) REFERENCES parents (id)`} {
			if strings.Contains(ddl, "%s") {
				ddl = fmt.Sprintf(ddl, "%[1]s")
			}
			in := func(table string) string { return "ALTER TABLE " + table + strings.ReplaceAll(ddl, "%[1]s", table) }
			e, err := changeling.Open(t.Context(), db, quick)
			if err != nil {
				t.Fatal(err)
			}
			p, err := e.Plan(t.Context(), in("kids"))
			if e.Close(); err != nil || p.Route != plan.Recipe || p.Find(plan.Copy) >= 0 || p.Find(plan.Ask) < 0 {
				t.Fatalf("%s: planned as %s (%s), %v; want a recipe that looks for rows", in("kids"), p.Route, p.Why, err)
			}
			for range 2 { // the second time there is nothing to do
				if err := changeling.Apply(t.Context(), db, in("kids"), changeling.Config{Events: event.Lines(t.Output())}); err != nil {
					t.Fatal(err)
				}
			}
			mytest.Exec(t, db, in("twin"))
			myAlike(t, db, "kids", "twin")
		}
		stop()
		if longest > 2*time.Second {
			t.Errorf("a user waited for %s", longest)
		}
		for _, text := range []string{`INSERT INTO kids (parent) VALUES (-5)`, `INSERT INTO kids (w) VALUES (-5)`, `DELETE FROM parents WHERE id = 1`} {
			if _, err := db.Exec(text); err == nil {
				t.Errorf("%s is let through", text)
			}
		}
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE kids DROP FOREIGN KEY kids_up`, quick); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, `ALTER TABLE twin DROP FOREIGN KEY twin_up`)
		myAlike(t, db, "kids", "twin")
	})
}

// TestMySQLOrphans: rows that refer to nothing are named before anything is done; one that comes while the key is added is found when it
// stands, and then the change goes on once it is mended, or is taken back.
func TestMySQLOrphans(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		familyMy(t, db)
		ddl := `ALTER TABLE kids` + fmt.Sprintf(newKey, "kids")
		before := myDefinition(t, db, "kids")
		mytest.Exec(t, db, `INSERT INTO kids (id, parent) VALUES (7777, -1)`)
		if err := changeling.Apply(t.Context(), db, ddl, quick); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7777") {
			t.Errorf("Apply = %v, want ErrData that names the row", err)
		}
		if got := myDefinition(t, db, "kids"); got != before {
			t.Errorf("the table is\n%s\nwant it as it was", got)
		}
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		p, err := e.Plan(t.Context(), ddl)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := e.CheckData(t.Context(), p); err != nil || len(found) != 1 || found[0].Err != nil || found[0].Rows != 1 || !slices.Equal(found[0].Keys, []string{"id 7777"}) {
			t.Errorf("CheckData = %+v, %v, want the row", found, err)
		}
		for _, aborted := range []bool{false, true} {
			mytest.Exec(t, db, `DELETE FROM kids WHERE id = 7777`)
			config := quick
			config.Events = upon(event.Discard, startedNamed("add foreign key"), func() { mytest.Exec(t, db, `INSERT INTO kids (id, parent) VALUES (7777, -1)`) })
			if err := changeling.Apply(t.Context(), db, ddl, config); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7777") || !strings.Contains(err.Error(), "new rows cannot") {
				t.Fatalf("Apply = %v, want ErrData that names the row", err)
			}
			if _, err := db.Exec(`INSERT INTO kids (parent) VALUES (-2)`); err == nil {
				t.Error("another one is let through")
			}
			if aborted {
				if !takenBack(t, db) {
					t.Error("there is nothing to abort")
				}
				if got := myDefinition(t, db, "kids"); got != before {
					t.Errorf("after the abort the table is\n%s\nwant\n%s", got, before)
				}
				return
			}
			mytest.Exec(t, db, `UPDATE kids SET parent = 1 WHERE id = 7777`)
			if err := changeling.Apply(t.Context(), db, ddl, quick); err != nil {
				t.Fatal(err)
			}
			mytest.Exec(t, db, `ALTER TABLE kids DROP FOREIGN KEY kids_up, DROP INDEX kids_up`)
		}
	})
}

// TestMySQLParentGoesMeanwhile: a row that somebody deleted before the key stood, and whose deletion is committed after the rows were looked
// at first, is waited for. Without the wait it is not found on MariaDB, which does not lock the other table.
func TestMySQLParentGoesMeanwhile(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		t.Run(fmt.Sprintf("waits: %t", waits), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				if !waits && !isMaria(t, db) {
					return // the server waits by itself
				}
				familyMy(t, db)
				mytest.Exec(t, db, `ALTER TABLE kids ADD INDEX by_parent (parent)`)
				tx, err := db.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer tx.Rollback() // it is committed
				if _, err := tx.Exec(`DELETE FROM parents WHERE id = 8`); err != nil {
					t.Fatal(err)
				}
				under := db
				if !waits {
					under = mytest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
						if strings.HasPrefix(s.Text, "LOCK TABLES") && strings.Contains(s.Text, "parents") {
							return "DO 0"
						}
						return s.Text
					})
				}
				commit := time.AfterFunc(1500*time.Millisecond, func() { tx.Commit() })
				if !waits {
					commit.Stop()
				}
				err = changeling.Apply(t.Context(), under, `ALTER TABLE kids`+fmt.Sprintf(newKey, "kids"), quick)
				if tx.Commit(); waits {
					if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 8") {
						t.Errorf("Apply = %v, want ErrData that names the row", err)
					}
				} else if err != nil {
					t.Errorf("Apply = %v: without the wait nobody notices, or the wait is not needed", err)
				}
			})
		})
	}
}

// TestMySQLNewForeignKeyDies: a run that dies at any statement, before it or after it, goes on to the same end, or is taken back as if it had
// never been. It is a sample; CHANGELING_FULL=1 dies everywhere.
func TestMySQLNewForeignKeyDies(t *testing.T) {
	t.Parallel()
	t.Run("alone", func(t *testing.T) {
		eachMy(t, func(t *testing.T, dsn string, db *sql.DB) { newKeyDies(t, dsn, db, "") })
	})
	t.Run("beside a copy", func(t *testing.T) {
		eachMy(t, func(t *testing.T, dsn string, db *sql.DB) { newKeyDies(t, dsn, db, ", MODIFY v bigint") })
	})
}

// TestMySQLDiesBeforeTheCall: until the procedure swaps, and takes the triggers off with it, each write is logged. So who dies before it goes on.
func TestMySQLDiesBeforeTheCall(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		if isMaria(t, db) {
			return // there is no such procedure
		}
		familyMy(t, db)
		const triggers = `SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = DATABASE() AND event_object_table = 'kids'`
		var died atomic.Bool
		stood := 0
		pool := mytest.Mutant(t, dsn, func(ctx context.Context, x mutant.Statement) string {
			if !strings.HasPrefix(x.Text, "CALL ") || died.Swap(true) {
				return x.Text
			}
			if err := db.QueryRowContext(ctx, triggers).Scan(&stood); err != nil {
				t.Error(err)
			}
			return "KILL CONNECTION_ID()"
		})
		pool.SetMaxOpenConns(20)
		config := quick
		config.Capture = changeling.CaptureTriggers
		ddl := `ALTER TABLE kids` + fmt.Sprintf(newKey, "kids") + `, MODIFY v bigint`
		err := changeling.Apply(t.Context(), pool, ddl, config)
		if err != nil {
			err = changeling.Apply(t.Context(), db, ddl, config)
		}
		if err != nil || !died.Load() || stood != 3 {
			t.Errorf("Apply = %v; its session was ended before the swap: %t, when %d triggers of 3 stood", err, died.Load(), stood)
		}
		if n := ask[int](t, db, triggers); n != 0 {
			t.Errorf("%d triggers are left on the table", n)
		}
	})
}

func newKeyDies(t *testing.T, dsn string, db *sql.DB, besides string) {
	random := rand.New(rand.NewPCG(seed(t), 78))
	familyMy(t, db)
	ddl := `ALTER TABLE kids` + fmt.Sprintf(newKey, "kids") + besides
	before := myDefinition(t, db, "kids")
	counted, counter := mytest.Dying(t, dsn, dying.Death{})
	if err := changeling.Apply(t.Context(), counted, ddl, quick); err != nil {
		t.Fatal(err)
	}
	after := myDefinition(t, db, "kids")
	for i, c := range moments(random, 1, counter.Count(), 6) {
		mytest.Exec(t, db, `ALTER TABLE kids DROP FOREIGN KEY kids_up, DROP INDEX kids_up, MODIFY v int`)
		mortal, death := mytest.Dying(t, dsn, dying.Death{At: c.n, Moment: c.moment})
		first := changeling.Apply(t.Context(), mortal, ddl, quick)
		text, died := death.Died()
		at := fmt.Sprintf("death %s statement %d: %.100s (died %v, %v)", c.moment, c.n, strings.Join(strings.Fields(text), " "), died, first)
		mortal.Close()
		if i%2 == 0 && takenBack(t, db) {
			if got := myDefinition(t, db, "kids"); got != before {
				t.Errorf("%s: after an abort the table is\n%s\nwant\n%s", at, got, before)
			}
		}
		if err := changeling.Apply(t.Context(), db, ddl, quick); err != nil {
			t.Fatalf("%s: the second run: %v", at, err)
		}
		if got := myDefinition(t, db, "kids"); got != after {
			t.Errorf("%s: the table is\n%s\nwant\n%s", at, got, after)
		}
	}
}

// takenBack aborts the change that is not over, and says whether there was one that could be.
func takenBack(t *testing.T, db *sql.DB) bool {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	list, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Status == "aborted" || s.Status == "done" || s.Table != mySchema(t, db)+".kids" {
			continue
		}
		c, err := e.Find(t.Context(), s.ID)
		if err == nil {
			err = c.Abort(t.Context())
		}
		if err != nil && !strings.Contains(err.Error(), "has done its last step") && !strings.Contains(err.Error(), "is past its cutover") && !strings.Contains(err.Error(), "did not live to say so") {
			t.Fatal(err)
		}
		return err == nil
	}
	return false
}
