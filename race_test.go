package changeling_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
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

// What the engine sends, by its text. A mutant whose statement is never seen fails its test, so a text that moves on does
// not turn a test into none.
var (
	capturing  = matching(`^CREATE TABLE "changeling_\w+"\."keys_`) // the first of its transaction
	guarding   = matching(`^LOCK TABLE ONLY .* IN ACCESS SHARE MODE$`)
	asksHeap   = matching(`^SELECT coalesce\(pg_catalog.pg_relation_filenode\(`)
	copying    = matching(`^INSERT INTO "changeling_.* WHERE .*ctid >= `)
	healing    = matching(`^DELETE FROM "changeling_.* WHERE d\.ctid >= .* AND EXISTS `)
	draining   = matching(`^WITH taken AS MATERIALIZED \(DELETE FROM `)
	comparing  = matching(`^WITH pending AS .* SELECT a\.n, a\.h, b\.n, b\.h, `)
	rechecking = matching(`^WITH pending AS .* keys AS \(DELETE FROM `)
	asksWho    = matching(`FROM pg_catalog\.pg_locks l LEFT JOIN pg_catalog\.pg_stat_activity`)
	locking    = matching(`LOCK TABLE .* IN ACCESS EXCLUSIVE MODE`)
	judging    = matching(`^SELECT \(SELECT coalesce\(pg_catalog.md5\(.*tgenabled = 'A'`)
	fencing    = matching(`FROM changeling\.claim WHERE change_id = \$1::text AND token = \$2::bigint FOR SHARE`)
)

func matching(pattern string) func(string) bool {
	re := regexp.MustCompile(`(?s)` + pattern)
	return re.MatchString
}

// scene is a small table, a mirror of it that all its users write to in the same transactions, and a change whose
// statements can be held and rewritten. In the end table and mirror must be equal.
type scene struct {
	*testing.T
	dsn   string
	db    *sql.DB // of the users
	pool  *sql.DB // of the engine
	story story

	ddl    string
	config changeling.Config
	change *changeling.Change

	mu     sync.Mutex
	gates  []*gate
	armed  bool // gates count what a run sends, and not what the planner tries
	mutate func(ctx context.Context, s mutant.Statement) string
	blind  bool          // the engine's own verification sees nothing
	frozen chan struct{} // while it is not nil and open, nothing is sent
	hits   atomic.Int64

	cancel context.CancelFunc
	done   chan error
}

// gate holds the n-th statement that matches, and everything behind it on its connection.
type gate struct {
	match   func(string) bool
	n       int
	reached chan struct{}
	opened  chan struct{}
}

const sceneRows = 4000 // about 130 blocks, and so at least two chunks

func newScene(t *testing.T) *scene {
	t.Helper()
	dsn := pgtest.Database(t)
	s := &scene{T: t, ddl: widen, dsn: dsn, db: pgtest.Open(t, dsn), mutate: func(_ context.Context, s mutant.Statement) string { return s.Text }}
	s.pool = pgtest.Mutant(t, dsn, s.rewrite)
	s.config = changeling.Config{Events: s.story.tell}
	for _, table := range []string{"accounts", "mirror"} {
		pgtest.Exec(t, s.db,
			`CREATE TABLE `+table+` (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL, payload text NOT NULL)`,
			fmt.Sprintf(`INSERT INTO %s SELECT i, 'e' || i, i, repeat('x', 200) FROM generate_series(1, %d) i`, table, sceneRows))
	}
	s.both(`DELETE FROM accounts WHERE id BETWEEN 3600 AND 3800`)
	pgtest.Exec(t, s.db, `VACUUM (ANALYZE) accounts`) // so that rows that grow move to the blocks of these
	return s
}

func (s *scene) rewrite(ctx context.Context, x mutant.Statement) string {
	s.mu.Lock()
	var hold *gate
	for _, g := range s.gates {
		if s.armed && g.match(x.Text) {
			if g.n--; g.n == 0 {
				hold = g
			}
		}
	}
	s.mu.Unlock()
	if hold != nil {
		close(hold.reached)
		select {
		case <-hold.opened:
		case <-ctx.Done():
		case <-s.Context().Done():
		}
	}
	s.mu.Lock()
	frozen := s.frozen
	s.mu.Unlock()
	if frozen != nil {
		<-frozen // a process that stands still does not know that its context ended
	}
	text := s.mutate(ctx, x)
	if text != x.Text {
		s.hits.Add(1)
	}
	if s.blind {
		text = unseeing(text)
	}
	return text
}

// unseeing makes the verification find everything in order.
func unseeing(text string) string {
	switch {
	case comparing(text):
		out := "SELECT 0::bigint, '0', 0::bigint, '0', false"
		for i := 1; strings.Contains(text, fmt.Sprintf("$%d::", i)); i++ {
			out += fmt.Sprintf(" %s $%d::text IS NOT NULL", map[bool]string{true: "WHERE", false: "AND"}[i == 1], i)
		}
		return out
	case rechecking(text):
		return "SELECT 0::bigint, 0::bigint, '[]', false"
	}
	return text
}

// at makes a gate for the n-th statement that matches. It must be made before the engine gets there.
func (s *scene) at(match func(string) bool, n int) *gate {
	g := &gate{match: match, n: n, reached: make(chan struct{}), opened: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates = append(s.gates, g)
	return g
}

func (g *gate) open() { close(g.opened) }

// until waits for the engine to arrive, or to end without having come by.
func (s *scene) until(g *gate) {
	s.Helper()
	select {
	case <-g.reached:
	case err := <-s.done:
		s.Fatalf("the change ended before its gate: %v", err)
	case <-time.After(time.Minute):
		s.Fatal("the change does not arrive at its gate")
	}
}

// on lets users act at the first event that matches. The engine waits for its sink, and so for them.
func (s *scene) on(match func(event.Event) bool, act func()) {
	s.config.Events = upon(s.config.Events, match, act)
}

// start runs the change beside the test.
func (s *scene) start() {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	s.cancel = cancel
	s.Cleanup(cancel)
	if s.change == nil {
		e, err := changeling.Open(ctx, s.pool, s.config)
		if err != nil {
			s.Fatal(err)
		}
		if s.change, err = e.Start(ctx, s.ddl); err != nil {
			s.Fatal(err)
		}
	}
	s.mu.Lock()
	s.armed = true
	s.mu.Unlock()
	s.done = make(chan error, 1)
	go func(done chan<- error) { done <- s.change.Run(ctx) }(s.done)
}

func (s *scene) held() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if err := s.story.await(ctx, holding); err != nil {
		s.Fatalf("the change does not hold: %v", err)
	}
}

// verdict is how a change ended.
type verdict struct {
	err      error
	wrong    []string // keys where table and mirror differ
	differed int      // how often the verification found a difference
}

// caught says whether anything showed that something was wrong.
func (v verdict) caught() bool { return v.err != nil || v.differed > 0 || len(v.wrong) > 0 }

func (v verdict) String() string {
	return fmt.Sprintf("error %v; verification found %d differences; rows wrong in the end: %v", v.err, v.differed, v.wrong)
}

// finish waits for the end of the change and compares.
func (s *scene) finish() verdict {
	s.Helper()
	v := verdict{}
	select {
	case v.err = <-s.done:
	case <-time.After(2 * time.Minute):
		s.Fatal("the change does not end")
	}
	v.differed = s.story.count(differed)
	rows, err := s.db.QueryContext(s.Context(), `SELECT coalesce(a.id, m.id) FROM accounts a FULL JOIN mirror m USING (id)
WHERE (a.email, a.amount::bigint, a.payload) IS DISTINCT FROM (m.email, m.amount::bigint, m.payload) ORDER BY 1 LIMIT 5`)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			s.Fatal(err)
		}
		v.wrong = append(v.wrong, id)
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return v
}

// user is a transaction of a user.
type user struct {
	scene *scene
	tx    *sql.Tx
}

func (s *scene) begin() user {
	s.Helper()
	tx, err := s.db.BeginTx(s.Context(), nil)
	if err != nil {
		s.Fatal(err)
	}
	return user{s, tx}
}

// both runs statements on the table and on its mirror.
func (u user) both(statements ...string) {
	u.scene.Helper()
	for _, statement := range statements {
		pgtest.Exec(u.scene, u.tx, statement, strings.ReplaceAll(statement, "accounts", "mirror"))
	}
}

func (u user) commit() {
	u.scene.Helper()
	if err := u.tx.Commit(); err != nil {
		u.scene.Fatal(err)
	}
}

func (s *scene) both(statements ...string) {
	s.Helper()
	u := s.begin()
	u.both(statements...)
	u.commit()
}

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
		{name: "writes between the last drain and the lock", play: writesBeforeLock, mutate: swapText(judging, `\(SELECT count\(\*\) FROM \(SELECT FROM .* LIMIT \d+\) l\)`, `0::bigint`), unseen: true},
		{name: "a writer that the lock waits for", play: lockWaits, mutate: repeatableLock, unseen: true},
		{name: "replicated writes", play: replicated, mutate: without(`ENABLE ALWAYS TRIGGER`)},
		{name: "truncate before the verification", play: truncated, mutate: without(`_truncate"`), want: restarted},
		{name: "truncate while it holds", play: truncatedHeld, mutate: without(`_truncate"`), unseen: true, want: restarted},
		{name: "truncate under the lock's nose", play: truncatedAtLock, want: restarted},
		{name: "unique values swapped across a batch", play: swappedAcrossBatch, mutate: narrow, want: retried},
		{name: "unique values swapped within a batch", play: swappedWithinBatch, mutate: putFirst},
		{name: "writes during the verification", play: writesDuringVerify, mutate: swapText(comparing, ` AND NOT EXISTS \(SELECT FROM pending p WHERE`, ` AND NOT EXISTS (SELECT FROM pending p WHERE false AND `), alarm: true},
	}
}

// Invariant I1: the capture commits before the first chunk's snapshot, and waits for writers that were there before it.
func openWriter(s *scene) {
	second := s.at(copying, 2)
	u := s.begin()
	u.both(`UPDATE accounts SET amount = -1 WHERE id = 1`)
	s.start()
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
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

// cut lets a change that holds go on.
func (s *scene) cut() {
	s.Helper()
	if err := s.change.Cutover(s.Context()); err != nil {
		s.Fatal(err)
	}
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
	s.both(`INSERT INTO accounts SELECT i, 'e' || i, i, repeat('x', 200) FROM generate_series(10001, 30000) i`,
		`DELETE FROM accounts WHERE id <= 1000`) // so that the others move down
	third := s.at(copying, 3) // some of it is copied, and most is not
	s.start()
	s.until(third)
	s.cancel()
	third.open()
	if err := <-s.done; !errors.Is(err, changeling.ErrStopped) {
		s.Fatalf("a run whose context ended returned %v, want ErrStopped", err)
	}
	pgtest.Exec(s, s.db, `VACUUM FULL accounts`)
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
			return `SELECT $2::bigint, '', false WHERE $1::text || $3::bigint || $4::text IS NOT NULL`
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
			s.config.Lease, s.config.Owner = time.Second, "the frozen one"
			chunk := s.at(c.match, c.n)
			s.start()
			s.until(chunk)
			thaw := s.freeze()
			t.Cleanup(thaw)
			chunk.open()

			second := &scene{T: t, ddl: widen, db: s.db, mutate: func(_ context.Context, x mutant.Statement) string { return x.Text }, change: nil}
			second.config = changeling.Config{Lease: time.Second, Owner: "the second", Events: second.story.tell}
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
				for deadline := time.Now().Add(20 * time.Second); !wrote(); time.Sleep(5 * time.Millisecond) {
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

// TestChunksTakenBack: chunks are committed without waiting for the log on disk, so a crash of the server may take the last
// ones back. A run that rests meanwhile gets new connections and no error. It must find out before it calls the copy complete.
func TestChunksTakenBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.on(progressed("copy"), func() {
		pgtest.Exec(t, s.db, `DO $$ BEGIN EXECUTE format('DELETE FROM changeling_%s.accounts', (SELECT id FROM changeling.change)); END $$; DELETE FROM changeling.chunk`)
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

// waiting polls until a query answers true.
func (s *scene) waiting(query string) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var yes bool
		if err := s.db.QueryRowContext(s.Context(), query).Scan(&yes); err != nil {
			s.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not true after 20 s: %s", query)
		}
		time.Sleep(time.Millisecond)
	}
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
