package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestMySQLFrozenRunner freezes a run at a statement of DDL, which carries no token and runs on a connection of its own, lets
// another run take the change over, and wakes the first one up: it may do nothing any more (invariant I8).
func TestMySQLFrozenRunner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		at   func(text string, building bool) bool
		mute string // a statement of the protocol that is left out: then the run that wakes up does harm, or holds everybody up
	}{
		{"before the connection has its name", func(text string, building bool) bool {
			return building && strings.HasPrefix(text, "SET SESSION") && strings.Contains(text, "wait_timeout = 31536000")
		}, ""},
		{"with the statement in its hands", func(text string, _ bool) bool {
			return strings.HasPrefix(text, "ALTER TABLE `changeling_") && strings.Contains(text, "ADD UNIQUE KEY")
		}, ""},
		{"under the lock", func(text string, _ bool) bool { return strings.HasPrefix(text, "RENAME TABLE") }, ""},
		{"with the claim, and nobody ends it", func(text string, _ bool) bool {
			return strings.HasPrefix(text, "ALTER TABLE `changeling_") && strings.Contains(text, "ADD UNIQUE KEY")
		}, "SELECT CONCAT('KILL '"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				if c.name == "under the lock" && isMaria(t, db) {
					return // there a READ lock holds writers up, and the RENAME is not its holder's
				}
				mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
				fillMy(t, db, "orders", 300)
				var mu sync.Mutex
				var frozen chan struct{}
				building := false
				arrived := make(chan string, 1)
				pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					mu.Lock()
					if frozen == nil && c.at(x.Text, building) {
						frozen = make(chan struct{})
						arrived <- x.Text
					}
					wait := frozen
					mu.Unlock()
					if wait != nil {
						<-wait
					}
					return x.Text
				})
				pool.SetMaxOpenConns(20)
				first := make(chan error, 1)
				go func() {
					first <- changeling.Apply(t.Context(), pool, myGrow, changeling.Config{Lease: 3 * time.Second, Owner: "the frozen one", Events: upon(event.Discard, began("build"), func() { mu.Lock(); building = true; mu.Unlock() })})
				}()
				select {
				case <-arrived:
				case err := <-first:
					t.Fatalf("the change ended before it was frozen: %v", err)
				}
				thaw := sync.OnceFunc(func() { close(frozen) })
				t.Cleanup(thaw)
				second := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					if c.mute != "" && strings.HasPrefix(x.Text, c.mute) {
						return "SELECT 1 FROM (SELECT 1) x WHERE FALSE"
					}
					return x.Text
				})
				second.SetMaxOpenConns(20)
				if c.name == "under the lock" { // nobody waits for long, although nobody takes the change over
					strain, began := pgtest.Strained(t, db), time.Now()
					mytest.Exec(t, db, `UPDATE orders SET amount = -1 WHERE id = 1`)
					strain.Within(time.Since(began), 8*time.Second, "a user's wait for a run that stood still under the lock took")
				}
				patience := 5 * time.Minute
				if c.mute != "" {
					patience = 8 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				err := changeling.ErrOwned
				for errors.Is(err, changeling.ErrOwned) && ctx.Err() == nil {
					err = changeling.Apply(ctx, second, myGrow, changeling.Config{Lease: 3 * time.Second, Owner: "the second"})
				}
				if c.mute != "" {
					if err == nil {
						t.Error("the mutant lives: nothing had to be ended")
					}
					thaw()
					<-first
					return
				}
				if err != nil {
					t.Fatalf("the second run: %v", err)
				}
				before := myDefinition(t, db, "orders")
				thaw()
				if err := <-first; !errors.Is(err, changeling.ErrOwned) && !errors.Is(err, changeling.ErrStopped) {
					t.Errorf("the run that woke up ended with %v, want ErrOwned", err)
				}
				if after := myDefinition(t, db, "orders"); after != before || len(myRows(t, db, "orders")) != 300 {
					t.Errorf("the run that woke up altered the table from %s to %s", before, after)
				}
			})
		})
	}
}

// TestMySQLFrozenProcess stops a real process while the server works on its DDL, lets somebody else take its change over, and
// wakes it up.
func TestMySQLFrozenProcess(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 2000)
		c := newChild(t, dsn, childStop+"=build indexes")
		if _, ok := c.until("step build indexes"); !ok {
			t.Fatal("the child does not build")
		}
		var id string
		if err := db.QueryRow(`SELECT id FROM changeling.chg WHERE table_schema = DATABASE()`).Scan(&id); err != nil {
			t.Fatal(err)
		}
		// A reader of the shadow holds the index build up.
		reader, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Rollback()
		mytest.Exec(t, reader, `SELECT 1 FROM changeling_`+id+`.orders LIMIT 1`)
		if _, err := io.WriteString(c.in, "\n"); err != nil {
			t.Fatal(err)
		}
		for waits := 0; waits == 0; {
			if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock' AND info LIKE 'ALTER TABLE _changeling!_` + id + `%' ESCAPE '!'`).Scan(&waits); err != nil {
				t.Fatal(err)
			}
		}
		c.signal(syscall.SIGSTOP)
		if err := reader.Rollback(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		err = changeling.ErrOwned
		for errors.Is(err, changeling.ErrOwned) && ctx.Err() == nil {
			err = changeling.Apply(ctx, db, myGrow, changeling.Config{Lease: 2 * time.Second, Owner: "the second"})
		}
		if err != nil {
			t.Fatalf("the second run: %v", err)
		}
		c.signal(syscall.SIGCONT)
		if line, ok := c.until("end "); !ok || !strings.HasPrefix(line, "end 9 ") {
			t.Errorf("the process that woke up ended with %q, want code 9: somebody else has the change", line)
		}
		if n := len(myRows(t, db, "orders")); n != 2000 || !strings.Contains(myDefinition(t, db, "orders"), "in cents") {
			t.Errorf("%d rows in\n%s", n, myDefinition(t, db, "orders"))
		}
	})
}
