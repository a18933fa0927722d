package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/migrate"
)

// Q1, Q2, Q5, NR1, R2: twenty instances with pools of their own start at once: each statement runs once, and all of them end well. The
// statements fail when they run twice.
func TestQ1TwentyInstancesAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);", "2_b.sql", "ALTER TABLE a ADD COLUMN n int; UPDATE a SET n = 0;", "3_c.sql", "UPDATE a SET n = n + 1;")
		const instances = 20
		var mu sync.Mutex
		var wg sync.WaitGroup
		worked, idle := 0, 0
		for i := range instances {
			db := d.open(t)
			db.SetMaxOpenConns(4)
			m := migrator(t, db, fsys, migrate.Config{Wait: 2 * time.Minute})
			wg.Go(func() {
				res, err := m.Up(t.Context(), "")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Errorf("instance %d: %v", i, err)
				case res.Nothing():
					idle++
				case len(res.Applied) == 3:
					worked++
				default:
					t.Errorf("instance %d applied %v", i, res.Applied)
				}
			})
		}
		wg.Wait()
		if worked != 1 || idle != instances-1 {
			t.Errorf("%d instances worked and %d found nothing to do", worked, idle)
		}
		if got := d.ask(t, "SELECT n FROM a"); got != "1" {
			t.Errorf("n is %s", got)
		}
	})
}

// Q3, Q9: an index is built without locks while ten others wait for the migrations: none of them holds what the build waits for.
func TestQ3ConcurrentIndexWithTenWaiters(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	d.exec(t, "CREATE TABLE a (id int)", "INSERT INTO a SELECT generate_series(1, 50000)")
	fsys := files("1_i.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);")
	ctx := within(t, 5*time.Minute)
	var wg sync.WaitGroup
	for i := range 11 {
		m := migrator(t, d.open(t), fsys, migrate.Config{Owner: fmt.Sprint("instance ", i)})
		wg.Go(func() {
			if _, err := m.Up(ctx, ""); err != nil {
				t.Errorf("instance %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if got := d.ask(t, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"); got != "true" {
		t.Error("the index is not valid")
	}
}

// Q6: whoever holds the lease is killed: another goes on, at the statement where it stood.
func TestQ6HolderKilledAnotherGoesOn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);", "2_b.sql", "INSERT INTO a VALUES (1);", "3_c.sql", "CREATE TABLE c (id int);")
		count, c := d.dying(t, dying.Death{})
		upped(t, migrator(t, count, fsys, migrate.Config{Name: "count"}))
		half := c.Count() / 2
		d.exec(t, "DROP TABLE a", "DROP TABLE c")
		db, dead := d.dying(t, dying.Death{At: half, Moment: dying.After})
		if _, err := migrator(t, db, fsys, migrate.Config{Owner: "victim"}).Up(t.Context(), ""); err == nil {
			t.Fatal("it was not killed")
		}
		if _, died := dead.Died(); !died {
			t.Fatalf("it lived through statement %d", half)
		}
		began := time.Now()
		upped(t, migrator(t, d.db, fsys, migrate.Config{}))
		if took := time.Since(began); took > 25*time.Second { // the lease is 30 s
			t.Errorf("the next instance went on after %s", took)
		}
		if got := d.ask(t, "SELECT count(*) FROM a"); got != "1" {
			t.Errorf("%s rows", got)
		}
	})
}

// Q1: whoever waits longer than it was told to says who is at work, and has done nothing.
func TestQ1WaitingIsBounded(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	inside, release := make(chan struct{}), make(chan struct{})
	holder := migrator(t, d.db, files("1_a.sql", "CREATE TABLE a (id int);"), migrate.Config{Owner: "the holder",
		Go: map[string]migrate.GoMigration{"2": {Name: "slow", Up: slow(inside, release)}}})
	done := make(chan error, 1)
	go func() {
		_, err := holder.Up(t.Context(), "")
		done <- err
	}()
	<-inside
	for _, wait := range []time.Duration{-1, 500 * time.Millisecond} {
		_, err := migrator(t, d.open(t), files("1_a.sql", "CREATE TABLE a (id int);"), migrate.Config{Wait: wait}).Up(t.Context(), "")
		if !errors.Is(err, changeling.ErrOwned) || !strings.Contains(err.Error(), "the holder") {
			t.Errorf("wait %s: %v", wait, err)
		}
	}
	if st := state(t, holder); st.Owner != "the holder" {
		t.Errorf("status says that %q is at work", st.Owner)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Q8, O13: an init container waits for a version that another process applies; a readiness probe only looks.
func TestQ8WaitAndRequire(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE TABLE b (id int);")
		m := migrator(t, d.db, fsys, migrate.Config{})
		if err := m.Require(t.Context(), ""); !errors.Is(err, migrate.ErrBehind) {
			t.Errorf("Require before: %v", err)
		}
		for _, wait := range []time.Duration{0, 300 * time.Millisecond} { // also where the time ends before there is an answer
			if err := m.Wait(within(t, wait), "1"); !errors.Is(err, migrate.ErrBehind) {
				t.Errorf("Wait in vain: %v", err)
			}
		}
		waited := make(chan error, 1)
		go func() { waited <- m.Wait(within(t, 5*time.Minute), "1") }()
		if _, err := migrator(t, d.open(t), fsys, migrate.Config{}).Up(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Errorf("Wait: %v", err)
		}
		if err := m.Require(t.Context(), "1"); err != nil {
			t.Errorf("Require 1: %v", err)
		}
		if err := m.Require(t.Context(), "2"); !errors.Is(err, migrate.ErrBehind) {
			t.Errorf("Require 2: %v", err)
		}
		if err := m.Require(t.Context(), "7"); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("Require a version that is not there: %v", err)
		}
	})
}

// R1: a run that was frozen between two migrations until another took over writes nothing when it wakes up.
func TestR1AFrozenRunWritesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		if err := frozen(t, d, d.open(t)); !errors.Is(err, changeling.ErrOwned) {
			t.Errorf("the frozen run ended with %v", err)
		}
		if st := state(t, migrator(t, d.db, twoTables(), migrate.Config{})); len(st.Pending) != 1 || st.State != migrate.StateBehind {
			t.Errorf("the frozen run has written: %s, %v is pending", st.State, st.Pending)
		}
		if got := d.schema(t); strings.Contains(got, "table "+map[string]string{"postgres": "public.b", "mysql": "b "}[d.kind]) {
			t.Errorf("the frozen run has made table b:\n%s", got)
		}
	})
}

// The same with a fence that lets everybody through: the frozen run writes, which the test above would see.
func TestR1WithoutTheFence(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	hits := 0
	open := pgtest.Mutant(t, d.dsn, func(_ context.Context, s mutant.Statement) string {
		switch {
		case strings.Contains(s.Text, "FROM changeling.migration_claim") && strings.HasSuffix(s.Text, "FOR SHARE"):
			hits++ // statements of the one connection at a time that runs migrations
			return "SELECT 1 WHERE $1::text IS NOT NULL AND $2::bigint IS NOT NULL"
		case strings.HasPrefix(s.Text, "WITH beat AS"): // which would tell it, and perhaps in time
			return "SELECT $2::bigint, '', false, '' WHERE $1::text || $3::bigint || $4::text IS NOT NULL"
		}
		return s.Text
	})
	_ = frozen(t, d, open) // in the end it may find out
	if st := state(t, migrator(t, d.db, twoTables(), migrate.Config{})); len(st.Pending) != 0 || hits == 0 {
		t.Errorf("without the fence %v is pending after %d fences: the test of the fence would not see that it is gone", st.Pending, hits)
	}
}

func twoTables() fstest.MapFS {
	return files("1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE TABLE b (id int);")
}

// frozen is how a run ends that stood still between two migrations while somebody took its lease over.
func frozen(t *testing.T, d database, db *sql.DB) error {
	t.Helper()
	inside, release := make(chan struct{}), make(chan struct{})
	sleepy := func(e event.Event) {
		if n, ok := e.(event.Notice); ok && strings.HasPrefix(n.Text, "applied 1 ") {
			close(inside)
			<-release
		}
	}
	ended := make(chan error, 1)
	sleeper := migrator(t, db, twoTables(), migrate.Config{Owner: "frozen " + d.dsn, Events: sleepy})
	go func() {
		_, err := sleeper.Up(t.Context(), "")
		ended <- err
	}()
	<-inside
	d.exec(t, "UPDATE changeling.migration_claim SET token = token + 1, owner = '' WHERE owner = 'frozen "+d.dsn+"'")
	close(release)
	return <-ended
}

// Two databases of one server are run at once: the connections of one are nobody's to end who works on the other.
func TestQ6ATreeOfTheSameNameElsewhere(t *testing.T) {
	t.Parallel()
	one, other := postgresDatabase(t), postgresDatabase(t)
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	m := migrator(t, one.db, files(), migrate.Config{Go: map[string]migrate.GoMigration{"1": {Name: "slow", Up: slow(inside, release)}}})
	go func() {
		_, err := m.Up(t.Context(), "")
		done <- err
	}()
	<-inside
	upped(t, migrator(t, other.db, files("1_a.sql", "CREATE TABLE a (id int);"), migrate.Config{}))
	close(release)
	if err := <-done; err != nil { // a second call of slow would panic
		t.Error(err)
	}
}

// slow is a migration that says when it is inside and ends when it may.
func slow(inside, release chan struct{}) migrate.GoFunc {
	return func(ctx context.Context, _ *sql.Tx) error {
		close(inside)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
}

// A migration takes longer than the lease: the heartbeat keeps it.
func TestQ6TheHeartbeatKeepsTheLease(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		slow := migrate.GoMigration{Name: "slow", Up: func(ctx context.Context, _ *sql.Tx) error {
			select {
			case <-ctx.Done():
			case <-time.After(8 * time.Second):
			}
			return ctx.Err()
		}}
		m := migrator(t, d.db, files(), migrate.Config{Lease: 6 * time.Second, Go: map[string]migrate.GoMigration{"1": slow}})
		if res := upped(t, m); len(res.Applied) != 1 {
			t.Errorf("applied %v, want the slow one", res.Applied)
		}
	})
}
