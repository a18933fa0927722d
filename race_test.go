package changeling_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// race is a schedule of one change and its users, and a mutant that the schedule must show.
type race struct {
	name string
	// play starts the change and lets the users act at certain statements of it. It returns before the change ends.
	play func(s *scene)
	// mutate breaks the engine. It may keep state.
	mutate func(s *scene) func(ctx context.Context, x mutant.Statement) string
	// unseen says that the verification cannot see what the mutant does, because it happens after it.
	unseen bool
	// alarm says that the mutant is one of the verification itself.
	alarm bool
	// lone says that the schedule is about drains alone, without the users' own writes to both tables.
	lone bool
	// want is looked at when the engine is whole: that the schedule met what it is about.
	want func(event.Event) bool
}

// TestRaces plays each schedule with the engine as it is, with a mutant, and, if all is asked for, with the mutant and a
// verification that sees nothing. The first must change the table without the verification finding anything to repair;
// the second must be seen by the engine itself; the third shows that the comparison with what users wrote sees it too.
func TestRaces(t *testing.T) {
	t.Parallel()
	for _, r := range races() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			t.Run("whole", func(t *testing.T) {
				s := newScene(t)
				r.set(s)
				r.play(s)
				if v := s.finish(); v.caught() {
					t.Error(v)
				}
				if r.want != nil && s.story.count(r.want) == 0 {
					t.Error("the schedule did not meet what it is about")
				}
			})
			if r.mutate == nil {
				return
			}
			t.Run("mutant", func(t *testing.T) {
				s := newScene(t)
				s.mutate = r.mutate(s)
				r.set(s)
				r.play(s)
				v := s.finish()
				t.Log(v)
				if s.hits.Load() == 0 {
					t.Fatal("the mutant met none of its statements")
				}
				if r.unseen && !v.caught() || !r.unseen && v.err == nil && v.differed == 0 {
					t.Errorf("the mutant lives: %s", v)
				}
				if !r.unseen && len(v.wrong) > 0 && v.err == nil {
					t.Errorf("the verification found a difference and did not repair it: %s", v)
				}
			})
			if r.unseen || r.alarm || !full() {
				return
			}
			t.Run("mutant, blind", func(t *testing.T) {
				s := newScene(t)
				s.blind, s.mutate = true, r.mutate(s)
				r.play(s)
				v := s.finish()
				t.Log(v)
				if v.err == nil && len(v.wrong) == 0 {
					t.Errorf("the mutant lives without the verification: %s", v)
				}
			})
		})
	}
}

// swapText replaces what matches in the statements that match.
func swapText(match func(string) bool, pattern, by string) func(*scene) func(context.Context, mutant.Statement) string {
	re := regexp.MustCompile(`(?s)` + pattern)
	return func(*scene) func(context.Context, mutant.Statement) string {
		return func(_ context.Context, x mutant.Statement) string {
			if !match(x.Text) {
				return x.Text
			}
			return re.ReplaceAllString(x.Text, by)
		}
	}
}

func races() []race {
	return []race{
		{name: "capture waits for open writers", play: openWriter, mutate: lateCapture},
		{name: "rows that move during the copy", play: movesDuringCopy, mutate: swapText(healing, ` AND EXISTS `, ` AND false AND EXISTS `)},
		{name: "late committer before the verification", play: lateCommitter, mutate: bySequence},
		{name: "late committer while it holds", play: lateCommitterHeld, mutate: bySequence, unseen: true},
		{name: "rewrite between kill and resume", play: rewriteBetween, mutate: swapText(asksHeap, `^.*$`, `SELECT max(heap) FROM changeling.change HAVING max(heap) <> 0 UNION ALL (`+`SELECT pg_relation_filenode('public.accounts')::bigint) LIMIT 1`), want: restarted},
		{name: "writes between the last drain and the lock", play: writesBeforeLock, lone: true, mutate: swapText(judging, `\(SELECT count\(\*\) FROM \(SELECT FROM .* LIMIT \d+\) l\)`, `0::bigint`), unseen: true},
		{name: "a writer that the lock waits for", play: lockWaits, lone: true, mutate: repeatableLock, unseen: true},
		{name: "replicated writes", play: replicated, mutate: without(`ENABLE ALWAYS TRIGGER`)},
		{name: "truncate before the verification", play: truncated, mutate: without(`_truncate"`), want: restarted},
		{name: "truncate while it holds", play: truncatedHeld, mutate: without(`_truncate"`), unseen: true, want: restarted},
		{name: "truncate under the lock's nose", play: truncatedAtLock, want: restarted},
		{name: "unique values swapped across a batch", play: swappedAcrossBatch, mutate: narrow, want: retried},
		{name: "unique values swapped within a batch", play: swappedWithinBatch, mutate: putFirst},
		{name: "writes during the verification", play: writesDuringVerify, mutate: swapText(comparing, ` FROM pending p\)\) IS NOT TRUE`, ` FROM pending p WHERE false)) IS NOT TRUE`), alarm: true},
	}
}

func (r race) set(s *scene) {
	if r.lone {
		s.config.Snapshots = changeling.SnapshotsIgnore
	}
}

// Invariant I1: the capture commits before the first chunk's snapshot, and waits for writers that were there before it.
func openWriter(s *scene) {
	second := s.at(copying, 2)
	u := s.begin()
	u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
	s.start()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	defer cancel()
	waits := make(chan error, 1)
	go func() { waits <- s.story.await(ctx, retried) }()
	select {
	case <-waits: // the capture waits for the writer, as it should
		if n := s.story.count(began("copy")); n > 0 {
			s.Error("the copy began while a writer was open that the capture has not seen")
		}
	case <-second.reached: // a mutant copies already
	}
	u.both(`UPDATE accounts SET amount = -2 WHERE id = 2`)
	u.commit()
	s.until(second)
	s.both(`UPDATE accounts SET amount = -3 WHERE id = 3`)
	second.open()
}

// lateCapture installs the capture only when the second chunk is about to be copied.
func lateCapture(s *scene) func(context.Context, mutant.Statement) string {
	var mu sync.Mutex
	var kept []string
	copied := 0
	return func(ctx context.Context, x mutant.Statement) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case (capturing(x.Text) || slices.ContainsFunc(x.Before, capturing)) && !strings.Contains(x.Text, "changeling.change") && !strings.HasPrefix(x.Text, "SET LOCAL ROLE"):
			kept = append(kept, x.Text)
			return ""
		case copying(x.Text):
			if copied++; copied == 2 {
				for _, statement := range kept {
					if _, err := s.db.ExecContext(ctx, statement); err != nil {
						s.Errorf("%v\nin: %s", err, statement)
					}
				}
			}
		}
		return x.Text
	}
}

// Invariant I5: what moves during the copy is seen twice, and must not stand twice in the shadow when its indexes are built.
func movesDuringCopy(s *scene) {
	second := s.at(guarding, 3) // for the start of the copy, and for the first chunk
	s.start()
	s.until(second)
	s.both(
		`DELETE FROM accounts WHERE id = 1`, // must not come back (I2)
		`UPDATE accounts SET payload = repeat('y', 900) WHERE id BETWEEN 2 AND 20`,
		`DELETE FROM accounts WHERE id = 30`, `INSERT INTO accounts VALUES (30, 'new', 30, 'short')`,
		`UPDATE accounts SET id = 5000 WHERE id = 40`, `UPDATE accounts SET id = 40 WHERE id = 3500`,
		`UPDATE accounts SET email = 'third' WHERE id = 50`, `UPDATE accounts SET email = 'e50' WHERE id = 3550`, `UPDATE accounts SET email = 'e3550' WHERE id = 50`)
	second.open()
}

// Invariant I4: a key whose transaction commits late has a lower number than keys that were drained already.
func lateCommitter(s *scene) {
	var u user
	s.on(began("build"), func() {
		u = s.begin()
		u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
		s.both(`UPDATE accounts SET amount = -2 WHERE id BETWEEN 1000 AND 1400`) // so many that there is a second round
	})
	s.on(func(e event.Event) bool { p, ok := e.(event.Progress); return ok && p.Step == "drain" && p.Chunk > 300 }, func() { u.commit() })
	s.start()
}

func lateCommitterHeld(s *scene) {
	s.config.Hold = true
	s.start()
	s.held()
	u := s.begin()
	u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
	next, after := s.at(draining, 1), s.at(draining, 2)
	s.both(`UPDATE accounts SET amount = -2 WHERE id BETWEEN 1000 AND 1300`)
	s.until(next)
	next.open()
	s.until(after)
	u.commit()
	after.open()
	s.cut()
}

// bySequence drains as one who remembers how far he was: what has a lower number than that counts as done.
func bySequence(s *scene) func(context.Context, mutant.Statement) string {
	pgtest.Exec(s, s.db, `CREATE TABLE drained (upto bigint)`, `INSERT INTO drained VALUES (0)`)
	re := regexp.MustCompile(`(?s)^WITH taken AS MATERIALIZED \(DELETE FROM (\S+)(.*?) RETURNING (.*?)\),\n`)
	return func(_ context.Context, x mutant.Statement) string {
		if !draining(x.Text) {
			return x.Text
		}
		return re.ReplaceAllString(x.Text, `WITH done AS MATERIALIZED (SELECT upto FROM public.drained),
swept AS (DELETE FROM $1 WHERE changeling_seq <= (SELECT upto FROM done)),
taken AS MATERIALIZED (DELETE FROM $1 WHERE changeling_seq > (SELECT upto FROM done) RETURNING changeling_seq, $3),
mark AS (UPDATE public.drained SET upto = greatest(upto, (SELECT max(changeling_seq) FROM taken))),
`)
	}
}

// A file that was rewritten has its rows at other places.
func rewriteBetween(s *scene) {
	s.both(`INSERT INTO accounts SELECT i, 'e' || i, i, repeat('x', 200) FROM generate_series(10001, 30000) i`)
	pgtest.Exec(s, s.db, `CREATE INDEX backwards ON accounts (id DESC)`, `ALTER TABLE accounts CLUSTER ON backwards`) // by it each row moves, whichever chunks were copied
	var noted atomic.Bool
	third := s.at(func(text string) bool { // some of it is copied, and most is not: a chunk may be tried again
		noted.CompareAndSwap(false, strings.HasPrefix(text, "INSERT INTO changeling.chunk"))
		return noted.Load() && copying(text)
	}, 2)
	s.start()
	s.until(third)
	s.waiting(`SELECT EXISTS (SELECT FROM changeling.chunk WHERE walk = 'copy')`)
	s.cancel()
	third.open()
	if err := <-s.done; !errors.Is(err, changeling.ErrStopped) {
		s.Fatalf("a run whose context ended returned %v, want ErrStopped", err)
	}
	pgtest.Exec(s, s.db, `CLUSTER accounts`)
	s.start()
}

// Invariant I7: what was logged after the last drain is applied under the lock.
func writesBeforeLock(s *scene) {
	lock := s.at(locking, 1)
	s.start()
	s.until(lock)
	s.both(`UPDATE accounts SET amount = -1 WHERE id = 1`, `DELETE FROM accounts WHERE id = 2`, `INSERT INTO accounts VALUES (9000, 'late', 1, '')`)
	lock.open()
}

// Invariant I4: under the lock the drain sees what committed while the lock was waited for.
func lockWaits(s *scene) {
	s.config.LockWait = 9 * time.Second // it is seen to wait, and is there still when the writer commits
	lock := s.at(locking, 1)
	s.start()
	s.until(lock)
	u := s.begin()
	u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
	lock.open()
	s.waiting(`SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'accounts'::regclass AND NOT granted)`)
	u.both(`UPDATE accounts SET amount = -2 WHERE id = 2`)
	u.commit()
}

// repeatableLock takes the snapshot before the lock.
func repeatableLock(*scene) func(context.Context, mutant.Statement) string {
	return func(_ context.Context, x mutant.Statement) string {
		if len(x.Before) == 0 && strings.HasPrefix(x.Text, "SET LOCAL application_name") && strings.Contains(x.Text, "synchronous_commit") == false && strings.Contains(x.Text, "enable_seqscan") {
			return "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; " + x.Text
		}
		return x.Text
	}
}

// Writes of a subscription fire only triggers that are ENABLE ALWAYS.
func replicated(s *scene) {
	second := s.at(guarding, 3)
	s.start()
	s.until(second)
	u := s.begin()
	pgtest.Exec(s, u.tx, `SET LOCAL session_replication_role = replica`)
	u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`, `DELETE FROM accounts WHERE id = 2`)
	u.commit()
	second.open()
}

// without leaves out the statements of the capture that hold a word, and makes the engine believe that all is there.
func without(word string) func(*scene) func(context.Context, mutant.Statement) string {
	return func(*scene) func(context.Context, mutant.Statement) string {
		return func(_ context.Context, x mutant.Statement) string {
			switch {
			case judging(x.Text):
				return regexp.MustCompile(`SELECT count\(\*\) = 2 FROM pg_catalog\.pg_trigger`).ReplaceAllString(x.Text, `SELECT true OR count(*) = 2 FROM pg_catalog.pg_trigger`)
			case strings.Contains(x.Text, word) && (strings.HasPrefix(x.Text, "CREATE TRIGGER") || strings.HasPrefix(x.Text, "ALTER TABLE")):
				return ""
			case strings.Contains(x.Text, "DROP TRIGGER"):
				return strings.ReplaceAll(x.Text, "DROP TRIGGER", "DROP TRIGGER IF EXISTS")
			}
			return x.Text
		}
	}
}

func truncated(s *scene) {
	drain := s.at(draining, 1)
	s.start()
	s.until(drain)
	s.both(`TRUNCATE accounts`, `INSERT INTO accounts SELECT i, 'n' || i, i, 'new' FROM generate_series(1, 500) i`)
	drain.open()
}

func truncatedHeld(s *scene) {
	s.config.Hold = true
	s.start()
	s.held()
	s.both(`TRUNCATE accounts`, `INSERT INTO accounts SELECT i, 'n' || i, i, 'new' FROM generate_series(1, 500) i`)
	s.cut()
}

func truncatedAtLock(s *scene) {
	lock := s.at(asksWho, 1) // after the last drain
	s.start()
	s.until(lock)
	s.both(`TRUNCATE accounts`, `INSERT INTO accounts VALUES (1, 'one', 1, '')`)
	lock.open()
}

// Invariant I5: one of two rows that swap a unique value is in the batch, the other one is not.
func swappedAcrossBatch(s *scene) {
	s.config.Hold = true
	s.start()
	s.held()
	s.both(`UPDATE accounts SET email = 'third' WHERE id = 1`,
		`UPDATE accounts SET amount = -1 WHERE id BETWEEN 1000 AND 3000`,
		`UPDATE accounts SET email = 'e1' WHERE id = 3500`,
		`UPDATE accounts SET email = 'e3500' WHERE id = 1`)
	s.cut()
}

func swappedWithinBatch(s *scene) {
	s.config.Hold = true
	s.start()
	s.held()
	s.both(`UPDATE accounts SET email = 'third' WHERE id = 1`, `UPDATE accounts SET email = 'e1' WHERE id = 3500`, `UPDATE accounts SET email = 'e3500' WHERE id = 1`,
		`UPDATE accounts SET id = -1 WHERE id = 10`, `UPDATE accounts SET id = 10 WHERE id = 11`, `UPDATE accounts SET id = 11 WHERE id = -1`)
	s.cut()
}

// putFirst inserts before it deletes.
func putFirst(*scene) func(context.Context, mutant.Statement) string {
	return func(_ context.Context, x mutant.Statement) string {
		if !draining(x.Text) {
			return x.Text
		}
		return strings.NewReplacer(` WHERE (SELECT count(*) FROM gone) >= 0`, ``, `(SELECT count(*) FROM gone), (SELECT count(*) FROM put)`, `(SELECT count(*) FROM put), (SELECT count(*) FROM gone)`).Replace(x.Text)
	}
}

// narrow never takes all keys of one snapshot.
func narrow(*scene) func(context.Context, mutant.Statement) string {
	re := regexp.MustCompile(`(?s)^WITH taken AS MATERIALIZED \(DELETE FROM (\S+) RETURNING`)
	return func(_ context.Context, x mutant.Statement) string {
		return re.ReplaceAllString(x.Text, `WITH taken AS MATERIALIZED (DELETE FROM $1 WHERE changeling_seq = ANY (ARRAY(SELECT changeling_seq FROM $1 ORDER BY changeling_seq LIMIT 1000)) RETURNING`)
	}
}

// Section 6 of the design: what is pending in the snapshot of a comparison is left out of it.
func writesDuringVerify(s *scene) {
	compare := s.at(comparing, 1)
	s.start()
	s.until(compare)
	s.both(`UPDATE accounts SET amount = -1 WHERE id = 1`, `DELETE FROM accounts WHERE id = 2`, `INSERT INTO accounts VALUES (0, 'zero', 0, '')`)
	compare.open()
}
