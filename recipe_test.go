package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// harden is a statement whose recipe has every kind of step: promises, validations, index builds and a last transaction.
const harden = `ALTER TABLE orders ADD CONSTRAINT low CHECK (amount < 100000), ALTER note SET NOT NULL, ADD FOREIGN KEY (amount) REFERENCES tenants NOT VALID,
  ADD CONSTRAINT pairs UNIQUE (tenant, email), DROP CONSTRAINT orders_email, ADD CONSTRAINT orders_email UNIQUE (email) INCLUDE (amount)`

// afterwards is what users write between a crash and the next run; it breaks nothing that the statement demands.
var afterwards = []string{
	`INSERT INTO orders (email, tenant, note, amount) VALUES ('new', 3, 'n', 7)`,
	`UPDATE orders SET email = 'moved' WHERE id = 40`,
	`DELETE FROM orders WHERE id = 130`,
}

// TestDiesInARecipe kills a run of a recipe before and after each statement that it sends, lets users write, and runs the same
// statement again: it must leave what the server's own leaves, and no index or constraint of ours.
func TestDiesInARecipe(t *testing.T) {
	t.Parallel()
	few := append(slices.Clone(victim), `UPDATE orders SET amount = 1 + amount % 10`)
	for _, c := range []struct{ name, ddl string }{
		{"ALTER TABLE", harden},
		{"CREATE INDEX", `CREATE UNIQUE INDEX orders_by_mail ON orders (lower(email)) WHERE amount > 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			native := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, native, append(slices.Clone(few), c.ddl)...)
			pgtest.Exec(t, native, afterwards...)
			want := portrait(t, native)
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, few...)
			goesByRecipe(t, db, c.ddl)
			for _, death := range deaths(t, dsn, rand.New(rand.NewPCG(seed(t), 7)), applying(c.ddl)) {
				raze(t, db)
				pgtest.Exec(t, db, few...)
				at := dieAt(t, dsn, applying(c.ddl), death)
				pgtest.Exec(t, db, afterwards...)
				if err := changeling.Apply(t.Context(), db, c.ddl, quick); err != nil {
					t.Errorf("%s: the second run: %v", at, err)
					continue
				}
				sameAs(t, portrait(t, db), want, at)
			}
		})
	}
}

// TestAbortOfARecipe: before its last step a recipe can be taken back, and nothing of it stays.
func TestAbortOfARecipe(t *testing.T) {
	t.Parallel()
	few := append(slices.Clone(victim), `UPDATE orders SET amount = 1 + amount % 10`)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, few...)
	want := portrait(t, db)
	for _, at := range []string{"add low", "validate low", "build pairs", "build orders_email", "finish"} {
		ctx, cancel := context.WithCancel(t.Context())
		config := quick
		config.Events = upon(event.Discard, func(e event.Event) bool { s, ok := e.(event.StepStarted); return ok && s.Name == at }, cancel)
		if err := changeling.Apply(ctx, db, harden, config); !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("stopped at %q, Apply = %v, want ErrStopped", at, err)
		}
		cancel()
		abortAll(t, db, "")
		sameAs(t, portrait(t, db), want, "aborted at "+at)
	}
}

// goesByRecipe fails the test where it does not test what it should.
func goesByRecipe(t *testing.T, db *sql.DB, ddl string) {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Plan(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	if p.Route != plan.Recipe {
		t.Fatalf("the route of %s is %s (%s), want recipe", ddl, p.Route, p.Why)
	}
}

// abortAll aborts the change that is not over, of tables whose names begin so: a list on MySQL is that of the whole server.
func abortAll(t *testing.T, db *sql.DB, of string) {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Status == "aborted" || s.Status == "done" || !strings.HasPrefix(s.Table, of) {
			continue
		}
		c, err := e.Find(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

const buildIndex = `CREATE INDEX accounts_amount ON accounts (amount)`

var building = matching(`^CREATE INDEX CONCURRENTLY`)

// TestFrozenBuilder freezes a run that is about to build an index, lets another run take its change over and finish it, and
// wakes it up: it may build nothing. Where its connection does not bear the lease's name it does.
func TestFrozenBuilder(t *testing.T) {
	t.Parallel()
	nameless := func(_ context.Context, x mutant.Statement) string {
		switch {
		case strings.HasPrefix(x.Text, "SELECT pg_catalog.current_setting('application_name') = "):
			return "SELECT true"
		case strings.HasPrefix(x.Text, "WITH beat AS"): // whose answer could come before the build's statement is sent
			return `SELECT $2::bigint, '', false, '' WHERE $1::text || $3::bigint || $4::text IS NOT NULL`
		}
		return strings.Replace(x.Text, "SELECT pg_catalog.set_config('application_name', 'changeling ", "SELECT pg_catalog.set_config('application_name', 'somebody ", 1)
	}
	for _, c := range []struct {
		name   string
		mutate func(context.Context, mutant.Statement) string
	}{{"with its name", nil}, {"without a name", nameless}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.ddl = buildIndex
			if c.mutate != nil {
				s.mutate = c.mutate
			}
			s.config.Lease, s.config.Owner = 3*time.Second, "the frozen one"
			build := s.at(building, 1)
			s.start()
			s.until(build)
			thaw := s.freeze()
			t.Cleanup(thaw)
			build.open()
			for deadline := time.Now().Add(5 * time.Minute); ; {
				err := changeling.Apply(t.Context(), s.db, buildIndex, changeling.Config{Lease: 3 * time.Second})
				if err == nil {
					break
				}
				if !errors.Is(err, changeling.ErrOwned) || time.Now().After(deadline) {
					t.Fatalf("the second run: %v", err)
				}
			}
			thaw()
			err := <-s.done
			var ours int
			if err := s.db.QueryRow(`SELECT count(*) FROM pg_class WHERE relname LIKE 'changeling\_%' AND relkind = 'i' AND relnamespace = 'public'::regnamespace`).Scan(&ours); err != nil {
				t.Fatal(err)
			}
			switch {
			case c.mutate != nil && ours == 0:
				t.Error("the mutant lives: the run that woke up built nothing")
			case c.mutate == nil && ours > 0:
				t.Errorf("the run that woke up built %d indexes", ours)
			case c.mutate == nil && !errors.Is(err, changeling.ErrOwned) && !errors.Is(err, changeling.ErrStopped): // whichever it hears first
				t.Errorf("the run that woke up ended with %v, want ErrOwned or ErrStopped", err)
			}
		})
	}
}

// TestBuildGivesWay: somebody who wants a strong lock does not wait for an index build, nor does anybody behind him.
func TestBuildGivesWay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ddl = buildIndex
	s.config.LockWait = 100 * time.Millisecond
	old := s.begin() // the build waits for it
	old.both(`UPDATE accounts SET amount = 1 WHERE id = 1`)
	s.start()
	s.waiting(`SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'waiting%')`)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	strain, began := pgtest.Strained(t, s.db), time.Now()
	// In the transaction for which the build waits: without giving way this is a deadlock.
	if _, err := old.tx.ExecContext(ctx, `LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatalf("the user's lock: %v", err)
	}
	strain.Within(time.Since(began), 900*time.Millisecond, "a user's wait for an index build took")
	old.commit()
	if v := s.finish(); v.err != nil {
		t.Fatal(v.err)
	}
	if s.story.count(func(e event.Event) bool { _, ok := e.(event.Retried); return ok }) == 0 {
		t.Error("nothing was tried again: the scene does not test what it should")
	}
	var valid bool
	if err := s.db.QueryRow(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'accounts_amount'::regclass`).Scan(&valid); err != nil || !valid {
		t.Errorf("the index is valid: %v, %v", valid, err)
	}
}

// TestValidationGivesWay: nor does anybody wait for a validation that reads for long.
func TestValidationGivesWay(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.config.LockWait = 100 * time.Millisecond
	pgtest.Exec(t, s.db, `CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN IF $1 % 2 = 0 THEN PERFORM pg_sleep(0.001); END IF; RETURN true; END'`)
	s.ddl = `ALTER TABLE accounts ADD CONSTRAINT c CHECK (slow(id))`
	s.start()
	s.waiting(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%VALIDATE CONSTRAINT%' AND state = 'active' AND query_start < clock_timestamp() - interval '50 ms' AND pid <> pg_backend_pid())`)
	strain, began := pgtest.Strained(t, s.db), time.Now()
	user := s.begin()
	if _, err := user.tx.ExecContext(t.Context(), `LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	strain.Within(time.Since(began), 900*time.Millisecond, "a user's wait for a validation took")
	user.commit()
	if v := s.finish(); v.err != nil {
		t.Fatal(v.err)
	}
	if s.story.count(func(e event.Event) bool { _, ok := e.(event.Retried); return ok }) == 0 {
		t.Error("nothing was tried again: the scene does not test what it should")
	}
}

// TestAbortComesTooLate: a recipe whose last step is done is not taken back.
func TestAbortComesTooLate(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, v int)`, `INSERT INTO t VALUES (1, 1)`)
	config := quick
	config.Events = upon(event.Discard, func(e event.Event) bool { s, ok := e.(event.StepEnded); return ok && s.Name == "finish" }, func() {
		pgtest.Exec(t, db, `UPDATE changeling.change SET want = 'abort'`)
		time.Sleep(1500 * time.Millisecond) // the heartbeat hears it
	})
	if err := changeling.Apply(t.Context(), db, `ALTER TABLE t ALTER v SET NOT NULL, ADD UNIQUE (v)`, config); err != nil {
		t.Errorf("Apply = %v", err)
	}
	var is bool
	if err := db.QueryRow(`SELECT attnotnull AND EXISTS (SELECT FROM pg_constraint WHERE conname = 't_v_key') AND (SELECT status = 'done' FROM changeling.change)
  FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v'`).Scan(&is); err != nil || !is {
		t.Errorf("the statement is carried out: %v, %v", is, err)
	}
}

// TestInvalidLeftover: an index that somebody's failed build has left, and that IF NOT EXISTS is content with, is built again.
func TestInvalidLeftover(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, v int)`, `INSERT INTO t VALUES (1, 1), (2, 1)`)
	if _, err := db.ExecContext(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY once ON t (v)`); err == nil {
		t.Fatal("a unique index over duplicates was built")
	}
	pgtest.Exec(t, db, `UPDATE t SET v = 2 WHERE id = 2`)
	for range 2 { // the second time there is nothing to do
		if err := changeling.Apply(t.Context(), db, `CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS once ON t (v)`, quick); err != nil {
			t.Fatal(err)
		}
		var valid bool
		if err := db.QueryRow(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'once'::regclass`).Scan(&valid); err != nil || !valid {
			t.Fatalf("the index is valid: %v, %v", valid, err)
		}
	}
}
