package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
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
)

// clanMy is a table with keys to two others and to itself.
func clanMy(t *testing.T, db *sql.DB) {
	t.Helper()
	mytest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY, v int)`, `CREATE TABLE towns (id int PRIMARY KEY, v int)`,
		`INSERT INTO parents WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 900) SELECT i, i FROM r`, `INSERT INTO towns SELECT * FROM parents`,
		`CREATE TABLE kids (id int PRIMARY KEY, parent int, town int, boss int, v int, CONSTRAINT kids_up FOREIGN KEY (parent) REFERENCES parents (id), FOREIGN KEY (town) REFERENCES towns (id), FOREIGN KEY (boss) REFERENCES kids (id))`,
		`INSERT INTO kids SELECT id, id, id, 1, id FROM parents`)
}

// clan are users of clanMy, each with rows of his own, who may not be failed. They stop when ctx ends.
func clan(ctx context.Context, db *sql.DB, users int) (wait func() (rounds int, err error)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	rounds := 0
	for u := range users {
		wg.Go(func() {
			for n := 1000 + u; ctx.Err() == nil; n += users {
				if err := clanRound(db, n); err != nil && ctx.Err() == nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					return
				}
				mu.Lock()
				rounds++
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() (int, error) {
		wg.Wait()
		return rounds, first
	}
}

// clanRound brings rows in and takes them out again: in transactions that begin with the parent and such that begin with the child, with
// prepared statements and without.
func clanRound(db *sql.DB, n int) error {
	run := func(q mytest.Execer, texts ...string) error {
		for _, text := range texts {
			var err error
			if strings.Contains(text, "?") {
				_, err = q.ExecContext(context.Background(), text, n)
			} else {
				_, err = q.ExecContext(context.Background(), strings.ReplaceAll(text, "#", fmt.Sprint(n)))
			}
			if err != nil {
				return fmt.Errorf("%s (%d): %w", text, n, err)
			}
		}
		return nil
	}
	together := func(texts ...string) error {
		tx, err := db.Begin()
		if err == nil {
			err = run(tx, texts...)
			if err == nil {
				return tx.Commit()
			}
			_ = tx.Rollback() // the first error is told
		}
		return err
	}
	in := []string{`INSERT INTO parents VALUES (#, 1)`, `INSERT INTO towns VALUES (?, 1)`, `INSERT INTO kids VALUES (#, #, #, 1, 1)`}
	out := []string{`DELETE FROM kids WHERE id = ?`, `DELETE FROM parents WHERE id = #`, `DELETE FROM towns WHERE id = ?`}
	var err error
	if n%2 == 0 {
		if err = together(in...); err == nil {
			err = run(db, out...)
		}
	} else if err = run(db, in...); err == nil {
		err = together(out...)
	}
	if err == nil && n%7 == 0 {
		if _, bad := db.Exec(fmt.Sprintf(`INSERT INTO kids (id, parent) VALUES (%d, -5)`, n)); bad == nil {
			err = fmt.Errorf("a child without a parent came in")
		} else if !strings.Contains(bad.Error(), "1452") {
			err = bad
		}
	}
	return err
}

// TestMariaDBForeignKeysLedger: many swaps under users who write to a table and to those that it refers to, in whatever order.
func TestMariaDBForeignKeysLedger(t *testing.T) {
	t.Parallel()
	onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
		clanMy(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		wait := clan(ctx, db, 4)
		changes := 3
		if full() {
			changes = 40
		}
		for i := range changes {
			ddl := fmt.Sprintf(`ALTER TABLE kids MODIFY v %s, COMMENT 'change %d'`, []string{"bigint", "int"}[i%2], i)
			if err := changeling.Apply(t.Context(), db, ddl, changeling.Config{Binlog: dsn, Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}); err != nil {
				t.Error(err)
				break
			}
		}
		cancel()
		rounds, err := wait()
		if err != nil {
			t.Errorf("a user was failed: %v", err)
		}
		t.Logf("%d rounds of users", rounds)
		if n := ask[int](t, db, `SELECT COUNT(*) FROM kids`); n != 900 {
			t.Errorf("%d rows, want 900", n)
		}
	})
}

const clanDDL = `ALTER TABLE kids MODIFY v bigint`

// clanWhole: the table has its keys, no other one has any of them, and nobody is an orphan.
func clanWhole(t *testing.T, db *sql.DB, at string) {
	t.Helper()
	if got := ask[string](t, db, `SELECT GROUP_CONCAT(CONCAT(i.for_name LIKE '%kids', ' ', i.id LIKE '%/kids_up' OR i.id LIKE '%/kids_ibfk__') ORDER BY i.id) FROM information_schema.innodb_sys_foreign i WHERE i.ref_name LIKE CONCAT(DATABASE(), '/%')`); got != "1 1,1 1,1 1" {
		t.Errorf("%s: the foreign keys are %s", at, strings.Join(listed(t, db, `SELECT CONCAT(i.id, ' of ', i.for_name) FROM information_schema.innodb_sys_foreign i WHERE i.ref_name LIKE CONCAT(DATABASE(), '/%')`), ", "))
	}
	if n := ask[int](t, db, `SELECT COUNT(*) FROM kids k WHERE NOT EXISTS (SELECT 1 FROM parents p WHERE p.id = k.parent) OR NOT EXISTS (SELECT 1 FROM towns p WHERE p.id = k.town)`); n > 0 {
		t.Errorf("%s: %d orphans", at, n)
	}
}

// TestMariaDBForeignKeysDie: the run dies at a statement of its cutover, and the server brings to an end what it has begun with the keys:
// no user is failed before the next run, nor in it.
func TestMariaDBForeignKeysDie(t *testing.T) {
	t.Parallel()
	onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
		config := changeling.Config{Binlog: dsn, Fast: true, DropAfter: changeling.DropNow, Lease: 3 * time.Second}
		clanMy(t, db)
		var count, from, to atomic.Int64
		traced := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			switch n := count.Add(1); {
			case strings.HasPrefix(x.Text, "LOCK TABLES"):
				from.CompareAndSwap(0, n)
			case x.Text == "UNLOCK TABLES":
				to.Store(n)
			}
			return x.Text
		})
		traced.SetMaxOpenConns(20)
		if err := changeling.Apply(t.Context(), traced, clanDDL, config); err != nil {
			t.Fatal(err)
		}
		random, deaths := rand.New(rand.NewPCG(seed(t), 78)), 3
		if full() {
			deaths = 60
		}
		swapped := 0
		for range deaths {
			mytest.Exec(t, db, `DROP TABLE kids, parents, towns`)
			clanMy(t, db)
			n := int(from.Load() + random.Int64N(to.Load()-from.Load()+4))
			ctx, cancel := context.WithCancel(t.Context())
			wait := clan(ctx, db, 3)
			mortal, death := mytest.Dying(t, dsn, dying.Death{At: n, Moment: dying.Moment(random.IntN(2))})
			mortal.SetMaxOpenConns(20)
			first := changeling.Apply(t.Context(), mortal, clanDDL, config)
			text, died := death.Died()
			at := fmt.Sprintf("death at %.120s", strings.Join(strings.Fields(text), " "))
			mortal.Close()
			time.Sleep(300 * time.Millisecond) // of users, and nobody runs the change
			if ask[string](t, db, `SELECT column_type FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'kids' AND column_name = 'v'`) == "bigint(20)" {
				swapped++
			}
			clanWhole(t, db, at)
			if err := changeling.Apply(t.Context(), db, clanDDL, config); err != nil {
				t.Fatalf("%s (died %v, %v): the second run: %v", at, died, first, err)
			}
			cancel()
			if rounds, err := wait(); err != nil || rounds == 0 {
				t.Errorf("%s: after %d rounds a user was failed: %v", at, rounds, err)
			}
			clanWhole(t, db, at+", and the second run")
		}
		t.Logf("%d deaths, %d behind the swap", deaths, swapped)
	})
}

// clanMishap is what happens to a change on purpose.
type clanMishap struct {
	db     *sql.DB // of a user
	behind atomic.Bool
	failed atomic.Pointer[string] // what the user was told
}

func (m *clanMishap) exec(text string) {
	if _, err := m.db.Exec(text); err != nil {
		said := text + ": " + err.Error()
		m.failed.Store(&said)
	}
}

// TestMariaDBForeignKeysMutants: without its parts the way of the keys fails users, or leaves keys; and a carrier that is killed fails nobody,
// because the run that lives tidies up before it lets the parents go.
func TestMariaDBForeignKeysMutants(t *testing.T) {
	t.Parallel()
	guard := regexp.MustCompile("^LOCK TABLES .*`(parents|towns)` READ$")
	take := regexp.MustCompile("BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; ALTER TABLE `changeling_[^;]*_old`[^;]*; END; DO 0; ELSE")
	source := regexp.MustCompile("^LOCK TABLES .*`kids` READ$")
	for _, c := range []struct {
		name  string
		fails bool
		text  func(m *clanMishap, text string) string
	}{
		{"no guards", true, func(m *clanMishap, text string) string {
			switch {
			case guard.MatchString(text):
				return "DO 0"
			case source.MatchString(text): // a child goes behind the last drain
				m.exec(`DELETE FROM kids WHERE id = 6`)
				m.behind.Store(true)
			case m.behind.Load() && strings.HasPrefix(text, "INSERT INTO") && strings.Contains(text, "taken_"): // and its parent before the next one
				m.exec(`DELETE FROM parents WHERE id = 6`)
			}
			return text
		}},
		{"the old table keeps its keys", true, func(m *clanMishap, text string) string {
			if strings.HasPrefix(text, "CREATE PROCEDURE") && !take.MatchString(text) {
				panic("the end is not found in " + text)
			}
			if strings.HasPrefix(text, "SELECT CONCAT('ALTER TABLE `changeling_") {
				for _, text := range []string{`DELETE FROM kids WHERE id = 5`, `DELETE FROM parents WHERE id = 5`} { // before the next step
					m.exec(text)
				}
			}
			return take.ReplaceAllString(text, "DO 0; ELSE")
		}},
		{"the carrier is killed before the RENAME", false, func(m *clanMishap, text string) string {
			if id := regexp.MustCompile("^RENAME TABLE .*`pass_(\\w+)`").FindStringSubmatch(text); id != nil {
				m.exec("KILL " + ask[string](t, m.db, `SELECT IS_USED_LOCK('changeling `+id[1]+` carries')`))
				m.behind.Store(true)
			}
			return text
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
				clanMy(t, db)
				m := &clanMishap{db: db}
				ctx, cancel := context.WithCancel(t.Context())
				wait := clan(ctx, db, 4)
				pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return c.text(m, x.Text) })
				pool.SetMaxOpenConns(20)
				err := changeling.Apply(t.Context(), pool, clanDDL, changeling.Config{Binlog: dsn, Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
				cancel()
				rounds, failed := wait()
				if said := m.failed.Load(); said != nil {
					failed = errors.New(*said)
				}
				t.Logf("%d rounds of users, the first failure: %v", rounds, failed)
				if err != nil || (failed != nil) != c.fails || m.behind.Load() == strings.HasPrefix(c.name, "the old") {
					t.Errorf("Apply = %v; a user was failed: %v, want %v", err, failed, c.fails)
				}
				clanWhole(t, db, c.name)
			})
		})
	}
}
