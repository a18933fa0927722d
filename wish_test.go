package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/throttle"
)

// gone waits until a query answers 0, and how long that took.
func gone(t *testing.T, db *sql.DB, query string) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return time.Since(began)
		}
		if time.Since(began) > 3*time.Minute {
			t.Fatalf("not 0 after 3 min: %s", query)
		}
		<-tick.C
	}
}

// TestPauseWhileWorkIsUnderWay: a pause is effective within two seconds, also while a chunk takes long or an index is built,
// and what it stopped is done again afterwards.
func TestPauseWhileWorkIsUnderWay(t *testing.T) {
	t.Parallel()
	building := matching(`^CREATE UNIQUE INDEX`)
	for name, at := range map[string]func(string) bool{"copy": copying, "build": building, "drain": draining} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			var slept atomic.Bool
			s.mutate = func(_ context.Context, x mutant.Statement) string {
				s.mu.Lock()
				armed := s.armed
				s.mu.Unlock()
				if armed && at(x.Text) && slept.CompareAndSwap(false, true) {
					return `SELECT pg_catalog.pg_sleep(60)`
				}
				return x.Text
			}
			s.start()
			const asleep = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'SELECT pg_catalog.pg_sleep(60)%'`
			s.waiting(strings.Replace(asleep, "count(*)", "count(*) = 1", 1))
			strain := pgtest.Strained(t, s.db)
			if err := s.change.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			strain.Within(gone(t, s.db, asleep), 2*time.Second, "what was under way stopped after the pause in")
			reaches(t, s.change, "a pause", func(x changeling.Status) bool {
				return x.Status == "paused" && strings.Contains(x.ThrottleReason, "paused by request")
			})
			s.both(`UPDATE accounts SET amount = -1 WHERE id % 50 = 0`, `DELETE FROM accounts WHERE id % 77 = 0`)
			if err := s.change.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			if v := s.finish(); v.caught() {
				t.Error(v)
			}
		})
	}
}

// TestAbortWhileAStatementRunsOnMySQL: a server of MySQL goes on with a statement whose client has left; it is ended.
func TestAbortWhileAStatementRunsOnMySQL(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 2000)
		const long = `SELECT SLEEP(60) AS changeling_test`
		var slept atomic.Bool
		pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "INSERT INTO `changeling_") && strings.Contains(x.Text, "SELECT") && slept.CompareAndSwap(false, true) {
				return long
			}
			return x.Text
		})
		pool.SetMaxOpenConns(20)
		e, err := changeling.Open(t.Context(), pool, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		c, err := e.Start(t.Context(), myGrow)
		if err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		go func() { end <- c.Run(t.Context()) }()
		const asleep = `SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info = '` + long + `'`
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; n == 0; <-tick.C {
			if err := db.QueryRowContext(t.Context(), asleep).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
		strain, aborted := pgtest.Strained(t, db), make(chan error, 1)
		go func() { aborted <- c.Abort(t.Context()) }()
		strain.Within(gone(t, db, asleep), 2*time.Second, "the statement ended after the abort in")
		if err := <-aborted; err != nil {
			t.Error(err)
		}
		if err := <-end; !errors.Is(err, changeling.ErrAborted) {
			t.Errorf("the run ended with %v, want ErrAborted", err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// TestHoldWhileItRuns: a change that was begun without holding holds when it is told to, also by the hour; a person's word
// counts more than the hour.
func TestHoldWhileItRuns(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	never, err := throttle.ParseCron("TZ=UTC * * 31 2 *")
	if err != nil {
		t.Fatal(err)
	}
	var g gauges
	c, end := start(t, db, widenOrders, changeling.Config{DropAfter: changeling.DropNow, Events: g.sink, Throttle: changeling.Throttle{CutoverWindow: throttle.Window{never}}})
	waitsFor := func(reason string) func(changeling.Status) bool { // it is told a moment after the status is saved
		return func(s changeling.Status) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return held(s) && strings.Contains(g.waiting, reason)
		}
	}
	reaches(t, c, "its window", waitsFor("outside of the window, which never opens"))
	pgtest.Exec(t, db, `UPDATE orders SET amount = -1 WHERE id <= 500`)
	if err := c.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), "cutover-window", "off"); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "a hold", waitsFor("changeling cutover"))
	if err := c.Set(t.Context(), "cutover-window", "TZ=UTC * * 31 2 *"); err != nil {
		t.Fatal(err)
	}
	if err := c.Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	var changed int
	if err := db.QueryRow(`SELECT count(*) FROM orders WHERE amount = -1::bigint`).Scan(&changed); err != nil || changed != 500 {
		t.Errorf("%d rows changed, %v, want 500", changed, err)
	}
	if err := c.Hold(t.Context()); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("Hold of a change that is over = %v", err)
	}
}

// TestHoldIsToldAgain: a drain that had to wait while the change holds leaves nobody with the belief that nothing is waited for.
func TestHoldIsToldAgain(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	flag := filepath.Join(t.TempDir(), "busy")
	var g gauges
	c, end := start(t, db, widenOrders, changeling.Config{Hold: true, DropAfter: changeling.DropNow, Events: g.sink, Throttle: changeling.Throttle{Files: []string{flag}}})
	waitsFor := func(reason string) func(changeling.Status) bool {
		return func(changeling.Status) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return strings.Contains(g.waiting, reason)
		}
	}
	reaches(t, c, "a hold", waitsFor("changeling cutover"))
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write, stop := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for write.Err() == nil { // so that there is always something to drain
			pgtest.Exec(t, db, `UPDATE orders SET amount = -1 WHERE id <= 500`)
		}
	}()
	reaches(t, c, "a wait for the file", waitsFor(flag))
	stop()
	<-written
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "the hold again", waitsFor("changeling cutover"))
	if err := c.Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
}

// TestHoldBetweenAttempts: while somebody keeps the table, attempts to swap stop when a person says so.
func TestHoldBetweenAttempts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var tries atomic.Int64
	s.config.Events = event.Tee(s.config.Events, func(e event.Event) {
		if _, ok := e.(event.CutoverTried); ok {
			tries.Add(1)
		}
	})
	u := s.begin()
	u.both(`SELECT 1 FROM accounts LIMIT 1`) // which holds the lock that the swap wants
	s.start()
	reaches(t, s.change, "an attempt", func(changeling.Status) bool { return tries.Load() > 0 })
	if err := s.change.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	reaches(t, s.change, "a hold", held)
	before := tries.Load()
	u.commit()
	began := time.Now()
	reaches(t, s.change, "two seconds", func(changeling.Status) bool { return time.Since(began) > 2*time.Second })
	if n := tries.Load() - before; n > 0 {
		t.Errorf("%d attempts while it holds", n)
	}
	s.cut()
	if v := s.finish(); v.caught() {
		t.Error(v)
	}
}

// TestKillBlockers: by default nobody is ended; else those whom the rule is for, each of which is told and in the history.
func TestKillBlockers(t *testing.T) {
	t.Parallel()
	type session struct {
		name string
		sql  string // it stays active with this; empty: idle
		ends bool
	}
	for _, c := range []struct {
		rule     string
		sessions []session
		swaps    bool
	}{
		{"none", []session{{"idle", "", false}}, false},
		{"idle-in-transaction", []session{{"idle", "", true}}, true},
		{"idle-in-transaction", []session{{"idle", "", true}, {"active", "SELECT pg_sleep(600)", false}}, false},
		{"older-than=2s", []session{{"idle", "", true}, {"active", "SELECT pg_sleep(600)", true}}, true},
		{"older-than=1h", []session{{"idle", "", false}}, false},
		{"older-than=1s", []session{{"changeling of another kind", "", false}}, false},
	} {
		t.Run(fmt.Sprintf("%s %v", c.rule, c.sessions), func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 500) i`)
			kill, err := changeling.ParseKill(c.rule)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range c.sessions {
				own := pgtest.Open(t, dsn+"&application_name="+strings.ReplaceAll(x.name, " ", "%20"))
				tx, err := own.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				pgtest.Exec(t, tx, `SELECT FROM orders LIMIT 1`)
				if x.sql != "" {
					go tx.ExecContext(t.Context(), x.sql)
				}
			}
			attempts := 7
			if !c.swaps {
				attempts = 5
			}
			err = changeling.Apply(t.Context(), db, widenOrders, changeling.Config{DropAfter: changeling.DropNow, CutoverAttempts: attempts, Kill: kill, Snapshots: changeling.SnapshotsIgnore})
			if c.swaps && err != nil || !c.swaps && !errors.Is(err, changeling.ErrNoCutover) {
				t.Errorf("the change ended with %v, want a swap: %v", err, c.swaps)
			}
			e, err := changeling.Open(t.Context(), db, changeling.Config{})
			if err != nil {
				t.Fatal(err)
			}
			list, err := e.List(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("%d changes, %v", len(list), err)
			}
			s, err := found(t, e, list[0].ID).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			told := fmt.Sprint(s.Remarks)
			for _, x := range c.sessions {
				there := true
				for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // one that was ended lets its locks go before it is gone
					if err := db.QueryRow(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1)`, x.name).Scan(&there); err != nil {
						t.Fatal(err)
					}
					if !x.ends || !there || time.Now().After(deadline) {
						break
					}
				}
				if there == x.ends {
					t.Errorf("session %q is there: %v; want that it was ended: %v", x.name, there, x.ends)
				}
				if strings.Contains(told, "("+x.name+")") != x.ends {
					t.Errorf("the history says %s, session %q was to be ended: %v", told, x.name, x.ends)
				}
			}
		})
	}
}

// TestKillBlockersOnMySQL is the same for MySQL. MariaDB tells who holds a table only with a plugin, see LockInfo.
func TestKillBlockersOnMySQL(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) { // on a server of its own: others would wait for its long transactions
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), `CREATE DATABASE app`)
		dsn := server.DSN("app")
		db := mytest.Open(t, dsn)
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 500)
		var tx *sql.Tx
		config := changeling.Config{DropAfter: changeling.DropNow, CutoverAttempts: 4, Kill: changeling.Kill{OlderThan: time.Hour}, Snapshots: changeling.SnapshotsIgnore,
			Events: upon(event.Discard, func(e event.Event) bool { s, ok := e.(event.StepStarted); return ok && s.Step == "cutover" }, func() {
				var err error
				if tx, err = mytest.Open(t, dsn).BeginTx(t.Context(), nil); err == nil { // its connection will be ended
					_, err = tx.ExecContext(t.Context(), `UPDATE orders SET amount = -5 WHERE id = 1`)
				}
				if err != nil {
					t.Error(err)
				}
			})}
		if err := changeling.Apply(t.Context(), db, myGrow, config); !errors.Is(err, changeling.ErrNoCutover) {
			t.Fatalf("the change ended with %v, want ErrNoCutover", err)
		}
		config.Events, config.CutoverAttempts = nil, 0
		config.Kill = changeling.Kill{Idle: true}
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err == nil {
			t.Error("the transaction that held the table was not ended")
		}
		var amount int
		if err := db.QueryRow(`SELECT amount FROM orders WHERE id = 1`).Scan(&amount); err != nil || amount == -5 {
			t.Errorf("amount %d, %v: what was not committed is there", amount, err)
		}
		e, err := changeling.Open(t.Context(), db, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		list, err := e.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var schema string
		if err := db.QueryRow(`SELECT DATABASE()`).Scan(&schema); err != nil {
			t.Fatal(err)
		}
		mine := slices.IndexFunc(list, func(s changeling.Status) bool { return strings.HasPrefix(s.Table, schema+".") }) // the server is shared
		if mine < 0 {
			t.Fatal("the change is not in the list")
		}
		if s, err := found(t, e, list[mine].ID).Status(t.Context()); err != nil || len(s.Remarks) != 1 || !strings.Contains(s.Remarks[0].Text, "ended connection ") {
			t.Errorf("history %v, %v; want the one that was ended", s.Remarks, err)
		}
	}, "mysql")
}

// TestVeto: who is asked before the cutover may put it off.
func TestVeto(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 500)
	asked, vetoes := 0, 0
	var others []string // attempts that failed of something else, on a busy machine
	err := changeling.Apply(t.Context(), db, widenOrders, changeling.Config{DropAfter: changeling.DropNow,
		BeforeCutover: func(_ context.Context, id string) error {
			if asked++; asked < 3 {
				return fmt.Errorf("a deployment is under way for %s", id[:2])
			}
			return nil
		},
		Events: func(e event.Event) {
			if e, ok := e.(event.CutoverTried); ok && e.Err != nil {
				if strings.Contains(e.Err.Error(), "not allowed: a deployment is under way") {
					vetoes++
				} else {
					others = append(others, e.Err.Error())
				}
			}
		}})
	if err != nil || vetoes != 2 || asked != 3+len(others) {
		t.Errorf("ended with %v after %d questions, told of %d vetoes, and of %q; want a swap at the third", err, asked, vetoes, others)
	}
	asked = -100
	pgtest.Exec(t, db, `ALTER TABLE orders ALTER COLUMN amount TYPE int`)
	err = changeling.Apply(t.Context(), db, `ALTER TABLE orders ALTER COLUMN id TYPE bigint`, changeling.Config{CutoverAttempts: 2,
		BeforeCutover: func(context.Context, string) error { return errors.New("never") }})
	if !errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "never") {
		t.Errorf("ended with %v, want ErrNoCutover", err)
	}
}
