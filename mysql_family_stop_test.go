package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// kinRowsMy are the rows of relativesMy.
func kinRowsMy(t *testing.T, db *sql.DB) (out []string) {
	t.Helper()
	for _, query := range []string{`SELECT CONCAT_WS(' ', 'customer', id, boss, name) FROM customers ORDER BY id`, `SELECT CONCAT_WS(' ', 'order', customer, no, note) FROM orders ORDER BY customer, no`,
		`SELECT CONCAT_WS(' ', 'item', customer, no) FROM items ORDER BY customer, no, id`} {
		out = append(out, listed(t, db, query)...)
	}
	return out
}

// lateMy is what users write right before the tables of a family are locked, another time each time. Cascades carry it over two levels.
func lateMy(n int) []string {
	return []string{fmt.Sprintf(`INSERT INTO customers (id, boss, name) VALUES (%d, 1, 'late')`, 5000+n), fmt.Sprintf(`INSERT INTO orders (customer, no, note) VALUES (%d, 1, 'late')`, 5000+n),
		fmt.Sprintf(`INSERT INTO items (customer, no) VALUES (%d, 1)`, 5000+n), fmt.Sprintf(`UPDATE customers SET id = %d WHERE id = %d`, 6000+n, 10+n), fmt.Sprintf(`DELETE FROM customers WHERE id = %d`, 100+n)}
}

// lockedKinMy says that a statement locks the tables of a family.
func lockedKinMy(text string) bool {
	return strings.HasPrefix(text, "LOCK TABLES") && strings.Contains(text, "changeling_s0")
}

// ownMy is a family's own change, which is not over, and its members' ids.
func ownMy(t *testing.T, db *sql.DB, e *changeling.Engine) (own *changeling.Change, ids []string) {
	t.Helper()
	own, err := e.Find(t.Context(), asked(t, db, `SELECT id FROM changeling.chg WHERE table_schema = DATABASE() AND table_name = 'customers' AND busy IS NOT NULL`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := own.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids = append(ids, own.ID())
	for _, m := range s.Members {
		ids = append(ids, m.Change)
	}
	return own, ids
}

// asBeforeMy holds what an abort left against tables that no change has touched.
func asBeforeMy(t *testing.T, db, before *sql.DB, ids []string) {
	t.Helper()
	for _, table := range []string{"customers", "orders", "items"} {
		if got, want := shownMy(t, db, table), shownMy(t, before, table); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", table, got, want)
		}
	}
	if got, want := kinRowsMy(t, db), kinRowsMy(t, before); !slices.Equal(got, want) {
		t.Errorf("%d rows are not the %d that were", len(got), len(want))
	}
	for _, id := range ids {
		if left := myTraces(t, db, id); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// TestMySQLFamilyDisturbed: what somebody does to one of the tables right before they are locked. A TRUNCATE begins that table's copy again; what makes
// another table of it, or lets others refer to it, stops the change. Then nothing is swapped, and an abort takes all away.
func TestMySQLFamilyDisturbed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string // empty: it goes on
		act        []string
	}{
		{"a truncated member", "", []string{`TRUNCATE TABLE items`, `INSERT INTO items (customer, no) VALUES (5, 1)`}},
		{"the truncated key", "", []string{`SET foreign_key_checks = 0`, `TRUNCATE TABLE customers`, `INSERT INTO customers (id, boss, name) WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 300) SELECT i, 1, 'again' FROM r`, `SET foreign_key_checks = 1`}},
		{"an altered member", "was altered by somebody", []string{`ALTER TABLE orders ADD COLUMN extra int`}},
		{"the altered key", "was altered by somebody", []string{`ALTER TABLE customers ADD COLUMN extra int`}},
		{"a child of a member", "refer to", []string{`CREATE TABLE late (id int PRIMARY KEY, customer int, no int, FOREIGN KEY (customer, no) REFERENCES orders (customer, no))`}},
		{"a child of the key", "refer to", []string{`CREATE TABLE late (id int PRIMARY KEY, customer int, FOREIGN KEY (customer) REFERENCES customers (id))`}},
		{"a key between members", "was altered by somebody", []string{`ALTER TABLE items ADD CONSTRAINT late FOREIGN KEY (customer) REFERENCES customers (id)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				typ := "int"
				if c.says == "" {
					typ = "bigint unsigned"
				}
				mytest.Exec(t, db, relativesMy("int")...)
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				mytest.Exec(t, native, relativesMy(typ)...)
				act := func(ctx context.Context, to *sql.DB) {
					ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
					defer cancel()
					conn, err := to.Conn(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					for _, text := range c.act {
						if _, err := conn.ExecContext(ctx, text); err != nil {
							t.Errorf("%s: %v", text, err)
						}
					}
				}
				act(t.Context(), native)
				var once sync.Once
				pool := mytest.Mutant(t, dsn, func(ctx context.Context, x mutant.Statement) string {
					if lockedKinMy(x.Text) {
						once.Do(func() { act(ctx, db) })
					}
					return x.Text
				})
				pool.SetMaxOpenConns(30)
				var told story
				config := byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, Events: event.Tee(told.tell, event.Lines(t.Output()))})
				err := changeling.Apply(t.Context(), pool, widenFamilyMy, config)
				if c.says == "" {
					if err != nil {
						t.Fatal(err)
					}
					if told.count(restarted) == 0 {
						t.Error("no copy began again")
					}
					asBeforeMy(t, db, native, nil)
					return
				}
				e, openErr := changeling.Open(t.Context(), db, changeling.Config{})
				if openErr != nil {
					t.Fatal(openErr)
				}
				defer e.Close()
				own, ids := ownMy(t, db, e)
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "changeling abort "+own.ID()) {
					t.Errorf("the change ended with %v, want a refusal that says %q, and how to abort %s", err, c.says, own.ID())
				}
				if err := own.Abort(t.Context()); err != nil {
					t.Fatal(err)
				}
				asBeforeMy(t, db, native, ids)
			})
		})
	}
}

// TestMySQLFamilyHeld: a family that holds stays in step, and swaps or goes away as a whole when somebody says so; none of its tables does alone.
func TestMySQLFamilyHeld(t *testing.T) {
	t.Parallel()
	for _, aborts := range []bool{true, false} {
		t.Run(fmt.Sprintf("aborted %t", aborts), func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				typ := "bigint unsigned"
				if aborts {
					typ = "int"
				}
				mytest.Exec(t, db, relativesMy("int")...)
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				mytest.Exec(t, native, relativesMy(typ)...)
				c := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true, Hold: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}), widenFamilyMy)
				done := make(chan error, 1)
				go func() { done <- c.Run(t.Context()) }()
				reaches(t, c, "its hold", held)
				mytest.Exec(t, db, lateMy(1)...)
				mytest.Exec(t, native, lateMy(1)...)
				e, err := changeling.Open(t.Context(), db, changeling.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				_, ids := ownMy(t, db, e)
				if len(ids) != 3 {
					t.Fatalf("the family is %v, want 3 tables", ids)
				}
				for _, id := range ids[1:] {
					member, err := e.Find(t.Context(), id)
					if err != nil {
						t.Fatal(err)
					}
					if err := member.Abort(t.Context()); !errors.Is(err, changeling.ErrUsage) {
						t.Errorf("one table alone: %v", err)
					}
				}
				if aborts {
					if err := c.Abort(t.Context()); err != nil {
						t.Fatal(err)
					}
					if err := <-done; !errors.Is(err, changeling.ErrAborted) {
						t.Errorf("the run ended with %v", err)
					}
					asBeforeMy(t, db, native, ids)
					return
				}
				if err := c.Cutover(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				asBeforeMy(t, db, native, nil)
				stands(t, c, "done", "")
			})
		})
	}
}

// TestMySQLFamilyPaused: a pause stops whichever table is prepared, or the hold of all, and the family goes on where it was.
func TestMySQLFamilyPaused(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, relativesMy("int")...)
		native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, native, relativesMy("bigint unsigned")...)
		var c *changeling.Change
		own := mySchema(t, db) + ".customers"
		pause := func() {
			if err := c.Pause(t.Context()); err != nil {
				t.Error(err)
			}
		}
		sink := upon(event.Lines(t.Output()), func(e event.Event) bool { p, ok := e.(event.Planned); return ok && p.Table != own }, pause) // of the first table
		c = begun(t, db, byBinlog(dsn, changeling.Config{Fast: true, Hold: true, DropAfter: changeling.DropNow, Events: sink}), widenFamilyMy)
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		paused := func(s changeling.Status) bool {
			return s.Status == "paused" && strings.Contains(s.ThrottleReason, "paused by request")
		}
		for n := 1; n < 3; n++ {
			s := reaches(t, c, "a pause", paused)
			if n == 1 && s.Members[1].Status != "" {
				t.Errorf("the second table is %q in the pause of the first", s.Members[1].Status)
			}
			mytest.Exec(t, db, lateMy(n)...)
			mytest.Exec(t, native, lateMy(n)...)
			if err := c.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			reaches(t, c, "its hold", held)
			if n == 1 {
				pause()
			}
		}
		if err := c.Cutover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		asBeforeMy(t, db, native, nil)
		stands(t, c, "done", "")
	})
}

// TestMySQLFamilyCrash: a server that crashes in the procedure leaves keys half led, of which the next run, or an abort, makes whole ones: also those that
// tie one of the tables to others outside of the family.
func TestMySQLFamilyCrash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		behind, aborts bool
	}{{"in front of the RENAME", false, false}, {"in front of the RENAME, and it is aborted", false, true}, {"behind the RENAME", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, kinMy("int")...)
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				typ := "bigint unsigned"
				if c.aborts {
					typ = "int"
				}
				mytest.Exec(t, native, kinMy(typ)...)
				pool, broke := breakingMy(t, dsn, db, c.behind, killsSession) // no handler runs then
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				config := byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
				dying := config
				dying.Events = func(e event.Event) { // it would mend it at once
					config.Events(e)
					if tried, ok := e.(event.CutoverTried); ok && tried.Err != nil && broke.Load() {
						cancel()
					}
				}
				if err := changeling.Apply(ctx, pool, widenFamilyMy, dying); err == nil {
					t.Fatal("the server did not crash")
				}
				if n := asked(t, db, `SELECT COUNT(*) FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE() AND constraint_name = 'tagged'`); n != "0" {
					t.Fatalf("the child has its key %s times: nothing is to be mended", n)
				}
				mytest.Exec(t, db, `INSERT INTO tags (code) VALUES (-7)`)
				var said strings.Builder
				var cut atomic.Bool
				config.Events = event.Tee(config.Events, func(e event.Event) {
					if n, ok := e.(event.Notice); ok {
						said.WriteString(n.Text)
					}
					if ended, ok := e.(event.StepEnded); ok && ended.Step == "cutover" && !cut.Swap(true) {
						mytest.Exec(t, db, `DELETE FROM tags WHERE code = -7`)
						asUsersMy(t, db, 1)
					}
				})
				if c.aborts {
					e, err := changeling.Open(t.Context(), db, config)
					if err != nil {
						t.Fatal(err)
					}
					defer e.Close()
					own, ids := ownMy(t, db, e)
					if err := own.Abort(t.Context()); err != nil {
						t.Fatal(err)
					}
					for _, id := range ids {
						if left := myTraces(t, db, id); len(left) > 0 {
							t.Errorf("left behind: %q", left)
						}
					}
					mytest.Exec(t, db, `DELETE FROM tags WHERE code = -7`)
				} else if err := changeling.Apply(t.Context(), db, widenFamilyMy, config); err != nil {
					t.Fatal(err)
				} else if !cut.Load() {
					t.Error("no cutover was told")
				}
				kinAlikeMy(t, db, native)
				asUsersMy(t, db, 9)
				if !strings.Contains(said.String(), "the foreign key tagged of") || c.behind && !strings.Contains(said.String(), "-7") {
					t.Errorf("it was said: %s", said.String())
				}
			})
		})
	}
}

// TestMySQLFamilyOnMariaDB: MariaDB renames nothing under a lock, so a family is refused there, with that reason.
func TestMySQLFamilyOnMariaDB(t *testing.T) {
	t.Parallel()
	onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, relativesMy("int")...)
		was := shownMy(t, db, "items")
		err := changeling.Apply(t.Context(), db, `ALTER TABLE customers MODIFY id bigint NOT NULL AUTO_INCREMENT`, byBinlog(dsn, changeling.Config{WithChildren: true}))
		if !errors.Is(err, changeling.ErrRefused) || changeling.Code(err) != 3 || !strings.Contains(err.Error(), "MariaDB renames no tables under a lock") {
			t.Errorf("exit code %d, %v; want a refusal with its reason", changeling.Code(err), err)
		}
		if now := shownMy(t, db, "items"); now != was {
			t.Errorf("the table is\n%s\nit was\n%s", now, was)
		}
	})
}

// TestMySQLFamilyServerKilled kills the server in the procedure, in front of the RENAME or behind it. All tables are old then, or all are new, and the same
// command goes on.
func TestMySQLFamilyServerKilled(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		native := mytest.Open(t, mytest.Database(t, version))
		mytest.Exec(t, native, kinMy("bigint unsigned")...)
		for name, behind := range map[string]bool{"in_front": false, "behind": true} {
			mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), `CREATE DATABASE `+name)
			db := mytest.Open(t, server.DSN(name))
			mytest.Exec(t, db, kinMy("int")...)
			pool, broke := breakingMy(t, server.DSN(name), db, behind, "DO SLEEP(1000); ")
			config := byBinlog(server.DSN(name), changeling.Config{WithChildren: true, Fast: true, Lease: 3 * time.Second, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			done := make(chan error, 1)
			go func() { done <- changeling.Apply(ctx, pool, widenFamilyMy, config) }()
			for sleeps := "0"; sleeps == "0" && len(done) == 0; time.Sleep(10 * time.Millisecond) {
				sleeps = asked(t, db, `SELECT COUNT(*) FROM performance_schema.processlist WHERE info LIKE 'DO SLEEP(1000)%'`)
			}
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-done; !errors.Is(err, changeling.ErrStopped) || !broke.Load() {
				t.Errorf("%s: the run ended with %v, broken %t", name, err, broke.Load())
			}
			pool.Close()
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			db = mytest.Open(t, server.DSN(name)) // the old connections are gone
			oneTypeMy(t, db)
			if err := changeling.Apply(t.Context(), db, widenFamilyMy, config); err != nil {
				t.Fatalf("%s: the second run: %v", name, err)
			}
			kinAlikeMy(t, db, native)
			asUsersMy(t, db, 1)
		}
	}, "mysql")
}
