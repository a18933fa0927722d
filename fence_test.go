package changeling_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// beginAfter matches the BEGINs after a statement.
func beginAfter(match func(string) bool) func(string) bool {
	seen := false
	return func(text string) bool { // under the scene's mutex
		seen = seen || match(text)
		return seen && text == "BEGIN"
	}
}

// freeze makes the engine stand still, as a process that was stopped, and answers how to wake it up.
func (s *scene) freeze() (thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frozen := make(chan struct{})
	s.frozen = frozen
	return sync.OnceFunc(func() { close(frozen) })
}

// TestFrozenRunner freezes a run inside of a chunk's transaction, or between two of them, lets another run take its change
// over, and wakes it up while the other one is at the same chunk. It may write nothing. With its fence off it does.
func TestFrozenRunner(t *testing.T) {
	t.Parallel()
	fenceless := func(_ context.Context, x mutant.Statement) string {
		switch {
		case fencing(x.Text):
			return `SELECT 1 WHERE $1::text IS NOT NULL AND $2::bigint IS NOT NULL`
		case strings.HasPrefix(x.Text, "WITH beat AS"):
			return `SELECT $2::bigint, '', false, '' WHERE $1::text || $3::bigint || $4::text IS NOT NULL`
		}
		return x.Text
	}
	for _, c := range []struct {
		name   string
		match  func(string) bool
		n      int
		mutate func(context.Context, mutant.Statement) string
	}{
		{name: "inside a transaction", match: copying, n: 2},
		{name: "between transactions", match: beginAfter(copying), n: 1},
		{name: "without fences", match: beginAfter(copying), n: 1, mutate: fenceless},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if c.mutate != nil {
				s.mutate = c.mutate
			}
			s.config.Lease, s.config.Owner = 3*time.Second, "the frozen one"
			chunk := s.at(c.match, c.n)
			s.start()
			s.until(chunk)
			thaw := s.freeze()
			t.Cleanup(thaw)
			chunk.open()

			second := &scene{T: t, ddl: widen, db: s.db, mutate: func(_ context.Context, x mutant.Statement) string { return x.Text }, change: nil}
			second.config = changeling.Config{Lease: 3 * time.Second, Owner: "the second", Events: second.story.tell}
			second.pool = pgtest.Mutant(t, s.dsn, second.rewrite)
			mine := second.at(copying, 1)
			for {
				second.start()
				select {
				case <-mine.reached:
				case err := <-second.done:
					if errors.Is(err, changeling.ErrOwned) {
						continue // the lease is not over
					}
					t.Fatalf("the second run ended with %v", err)
				}
				break
			}
			const memory = `SELECT (SELECT count(*) FROM changeling.chunk), (SELECT status || step FROM changeling.change)`
			var chunks, chunksAfter int
			var state, stateAfter string
			if err := s.db.QueryRow(memory).Scan(&chunks, &state); err != nil {
				t.Fatal(err)
			}
			thaw()
			wrote := func() bool {
				if err := s.db.QueryRow(memory).Scan(&chunksAfter, &stateAfter); err != nil {
					t.Fatal(err)
				}
				return chunks != chunksAfter || state != stateAfter
			}
			if c.mutate != nil {
				for deadline := time.Now().Add(3 * time.Minute); !wrote(); time.Sleep(5 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Error("the mutant lives: without its fence the run that woke up wrote nothing")
						break
					}
				}
				s.cancel()
				<-s.done
				return
			}
			if err := <-s.done; !errors.Is(err, changeling.ErrOwned) {
				t.Errorf("the run that woke up ended with %v, want ErrOwned", err)
			}
			if wrote() {
				t.Errorf("the run that woke up wrote: %d chunks and state %s, before %d and %s", chunksAfter, stateAfter, chunks, state)
			}
			s.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
			mine.open()
			if v := second.finish(); v.caught() {
				t.Error(v)
			}
		})
	}
}

// TestFrozenUnderTheLock: a run that stands still while it holds the cutover's lock holds up everybody, but not for long, and
// goes on when it wakes up.
func TestFrozenUnderTheLock(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	verdict := s.at(judging, 1)
	s.start()
	s.until(verdict)
	strain, began := pgtest.Strained(t, s.db), time.Now()
	s.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
	strain.Within(time.Since(began), 8*time.Second, "a user's wait for a run that stood still under the lock took")
	verdict.open()
	if v := s.finish(); v.caught() {
		t.Error(v)
	}
}

// TestChunksTakenBack: chunks are committed without waiting for the log on disk, so a crash of the server may take the last
// ones back. A run that rests meanwhile gets new connections and no error. It must find out before it calls the copy complete.
func TestChunksTakenBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.on(progressed("copy"), func() {
		// One statement: a chunk that commits meanwhile stays, with its rows.
		pgtest.Exec(t, s.db, `DO $$ BEGIN EXECUTE format('WITH rows AS (DELETE FROM changeling_%s.accounts) DELETE FROM changeling.chunk', (SELECT id FROM changeling.change)); END $$`)
	})
	s.start()
	if v := s.finish(); v.caught() {
		t.Error(v)
	}
}

// TestOwnerUnderLock: an expression of the table's owner runs with his rights in every phase, under the lock of the cutover
// as well, though the run itself is a superuser's.
func TestOwnerUnderLock(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	role := `"owner ` + rand.Text()[:8] + `"` // the server is a throwaway one, and so is the role
	pgtest.Exec(t, s.db, `CREATE ROLE `+role, `ALTER TABLE accounts OWNER TO `+role, `GRANT CREATE, USAGE ON SCHEMA public TO `+role,
		`CREATE FUNCTION as_bigint(n int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE 'a superuser calls the function of somebody else'; END IF;
  RETURN n; END $$`)
	s.ddl = `ALTER TABLE accounts ALTER COLUMN amount TYPE bigint USING as_bigint(amount)`
	writesBeforeLock(s)
	if v := s.finish(); v.caught() {
		t.Error(v)
	}
}
