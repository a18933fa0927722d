package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// widen is the change that all of these tests make.
const widen = `ALTER TABLE accounts ALTER COLUMN amount TYPE bigint`

// full says whether the long form of a test was asked for.
func full() bool { return os.Getenv("CHANGELING_FULL") != "" }

// seed is the test's source of chance: CHANGELING_SEED, or the clock. It is logged, so that a failure can be looked at again.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("CHANGELING_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CHANGELING_SEED=%d", n)
	return n
}

// stage is a table under load, and a change of it.
type stage struct {
	*testing.T
	dsn    string
	db     *sql.DB // of the engine
	ledger *ledger.Ledger
	story  story
	config changeling.Config
}

// story keeps what the engine told.
type story struct {
	mu     sync.Mutex
	events []event.Event
	moved  chan struct{} // closed and made anew with each event
}

func (s *story) tell(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// count is how many events match.
func (s *story) count(match func(event.Event) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if match(e) {
			n++
		}
	}
	return n
}

// await waits until an event matches.
func (s *story) await(ctx context.Context, match func(event.Event) bool) error {
	for {
		s.mu.Lock()
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.mu.Unlock()
		if s.count(match) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func began(kind string) func(event.Event) bool {
	return func(e event.Event) bool { s, ok := e.(event.StepStarted); return ok && s.Step == kind }
}

func progressed(kind string) func(event.Event) bool {
	return func(e event.Event) bool { s, ok := e.(event.Progress); return ok && s.Step == kind }
}

func holding(e event.Event) bool {
	w, ok := e.(event.Waiting)
	return ok && w.Step == "hold" && w.Reason != ""
}

func differed(e event.Event) bool  { _, ok := e.(event.Differed); return ok }
func restarted(e event.Event) bool { _, ok := e.(event.Restarted); return ok }
func retried(e event.Event) bool   { _, ok := e.(event.Retried); return ok }

// on lets somebody act at the first event that matches. The engine waits for its sink, and so for him.
func (s *stage) on(match func(event.Event) bool, act func()) {
	s.config.Events = upon(s.config.Events, match, act)
}

func upon(tell event.Sink, match func(event.Event) bool, act func()) event.Sink {
	var once sync.Once
	return func(e event.Event) {
		tell(e)
		if match(e) {
			once.Do(act)
		}
	}
}

// newStage makes the table.
func newStage(t *testing.T, dsn string, o ledger.Options) *stage {
	t.Helper()
	s := &stage{T: t, dsn: dsn, db: pgtest.Open(t, dsn)}
	s.db.SetMaxIdleConns(10)
	s.ledger = ledger.New(pgtest.Open(t, dsn), o)
	s.config = changeling.Config{ChunkTime: 20 * time.Millisecond, Events: event.Tee(s.story.tell, event.Lines(t.Output()))}
	if err := s.ledger.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// write lets the users write until the function that it returns is called.
func (s *stage) write() (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- s.ledger.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				s.Errorf("the users: %v", err)
			}
		})
	}
	s.Cleanup(stop)
	return stop
}

// apply runs the change to its end.
func (s *stage) apply() error { return changeling.Apply(s.Context(), s.db, widen, s.config) }

// proves compares table and ledger, which nobody writes to any more.
func (s *stage) proves() ledger.Report {
	s.Helper()
	r, err := s.ledger.Check(s.Context(), s.db)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// untouched fails the test if the table is not what the ledger says, if a user met a failure, or if the verification found something.
func (s *stage) untouched() {
	s.Helper()
	if r := s.proves(); r.Wrong() > 0 {
		s.Errorf("the table is not what was written: %s", r)
	}
	if stats := s.ledger.Stats(); stats.Failures() > 0 || stats.BlindCommitted > 0 {
		s.Errorf("users met: %s", stats)
	}
	if n := s.story.count(differed); n > 0 {
		s.Errorf("the verification found %d times that rows differed: something was copied wrong, and only then repaired", n)
	}
}

// changed is untouched for a table that the statement has changed.
func (s *stage) changed() {
	s.Helper()
	s.untouched()
	var typ string
	if err := s.db.QueryRowContext(s.Context(), `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'amount'`).Scan(&typ); err != nil {
		s.Fatal(err)
	}
	if typ != "bigint" {
		s.Errorf("amount is %s, want bigint", typ)
	}
}

// applyStopped makes the change with a run that is stopped after chance times, at least that long, as often as is said, and answers how often.
func (s *stage) applyStopped(random *rand.Rand, least time.Duration, most int) (stops int) {
	s.Helper()
	for {
		ctx, cancel := context.WithTimeout(s.Context(), least+time.Duration(random.IntN(900))*time.Millisecond)
		if stops > most {
			ctx = s.Context()
		}
		err := changeling.Apply(ctx, s.db, widen, s.config)
		cancel()
		if err == nil {
			return stops
		}
		if ctx.Err() == nil || !errors.Is(err, changeling.ErrStopped) {
			s.Fatalf("after %d stops: %v", stops, err)
		}
		stops++
	}
}

// figures sums a run up in a line.
func (s *stage) figures() string {
	s.story.mu.Lock()
	defer s.story.mu.Unlock()
	var chunks, drained, tries, retries, restarts int
	var held time.Duration
	var busy, long []string
	for _, e := range s.story.events {
		switch e := e.(type) {
		case event.Progress:
			if e.Step == "copy" {
				chunks++
			} else if e.Step == "drain" {
				drained += int(e.Chunk)
			}
		case event.StepEnded:
			if e.Took > 500*time.Millisecond {
				long = append(long, fmt.Sprintf("%s %s", e.Name, e.Took.Round(100*time.Millisecond)))
			}
		case event.Retried:
			retries++
		case event.Restarted:
			restarts++
		case event.CutoverTried:
			tries++
			if e.Swapped {
				held = e.Held
			} else if e.Err != nil {
				busy = append(busy, e.Err.Error())
			}
		}
	}
	text := fmt.Sprintf("lock held %s in attempt %d, %d chunks told, %d keys drained, %d retries, %d restarts, %v", held.Round(100*time.Microsecond), tries, chunks, drained, retries, restarts, long)
	if len(busy) > 0 {
		text += fmt.Sprintf(" (attempts failed: %.200s)", fmt.Sprint(busy))
	}
	return text
}

// pause waits, or until the test is over.
func (s *stage) pause(d time.Duration) {
	select {
	case <-s.Context().Done():
	case <-time.After(d):
	}
}

// TestLedger changes a table under writers that keep a ledger, and finds every write in the new one.
func TestLedger(t *testing.T) {
	t.Parallel()
	rounds := 2
	if full() {
		rounds = 20
	}
	first := seed(t)
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newStage(t, pgtest.Database(t), ledger.Options{Seed: first + uint64(round), Rows: 100_000, Replica: true})
			if round%2 == 1 {
				// The engine does not depend on what the database's owner thinks best for his own transactions.
				pgtest.Exec(t, pgtest.Open(t, s.dsn), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
			}
			stop := s.write()
			s.pause(200 * time.Millisecond)
			s.ledger.Lap()
			began := time.Now()
			if err := s.apply(); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			during := s.ledger.Lap()
			s.pause(300 * time.Millisecond)
			stop()
			s.changed()
			t.Logf("%s, %s; users meanwhile: %s", took.Round(100*time.Millisecond), s.figures(), during)
		})
	}
}

// TestLedgerResumed stops the run again and again, and goes on.
func TestLedgerResumed(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 3))
	rounds := 1
	if full() {
		rounds = 10
	}
	for range rounds {
		s := newStage(t, pgtest.Database(t), ledger.Options{Seed: random.Uint64(), Rows: 60_000, Replica: true, Rate: 600})
		stop := s.write()
		stops := s.applyStopped(random, 100*time.Millisecond, 15)
		s.pause(200 * time.Millisecond)
		stop()
		s.changed()
		t.Logf("stopped %d times; %s; users: %s", stops, s.figures(), s.ledger.Stats())
	}
}

// TestLedgerRewritten has somebody truncate the table and rewrite its file in each phase of a change.
func TestLedgerRewritten(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Rate: 300})
	s.config.Hold = true
	other := pgtest.Open(t, s.dsn)
	rewrite := func() { pgtest.Exec(t, other, `VACUUM FULL accounts`) }
	truncate := func() { s.ledger.Truncate(t.Context()) }
	s.on(progressed("copy"), rewrite)
	s.on(began("drain"), truncate)
	s.on(began("verify"), truncate)
	s.on(holding, truncate)
	stop := s.write()
	e, err := changeling.Open(t.Context(), s.db, s.config)
	if err != nil {
		t.Fatal(err)
	}
	change, err := e.Start(t.Context(), widen)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- change.Run(t.Context()) }()
	if err := s.story.await(t.Context(), holding); err != nil {
		t.Fatal(err)
	}
	rewrite() // the copy is over: this one does no harm
	truncate()
	if err := change.Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.pause(200 * time.Millisecond)
	stop()
	s.changed()
	if n := s.story.count(restarted); n < 4 {
		t.Errorf("the copy began again %d times, want 4: for VACUUM FULL during the copy, and TRUNCATE in the drain, the verification and the hold", n)
	}
	t.Logf("%s; users: %s", s.figures(), s.ledger.Stats())
}

// TestMutantsUnderLoad says how many rounds of random load the ledger needs to see each mutant of TestRaces, with a
// verification that sees nothing. Those that it does not see for sure are why the schedules of TestRaces are.
func TestMutantsUnderLoad(t *testing.T) {
	if !full() {
		t.Skip("CHANGELING_FULL is not set; TestRaces shows every mutant by a schedule")
	}
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 4))
	const rounds = 8
	for _, r := range races() {
		if r.mutate == nil || r.alarm {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			for round := 1; round <= rounds; round++ {
				s := newStage(t, pgtest.Database(t), ledger.Options{Seed: random.Uint64(), Rows: 20_000, Rate: 1000, Replica: true})
				m := &scene{T: t, dsn: s.dsn, db: s.db, blind: true}
				m.mutate = r.mutate(m)
				s.db = pgtest.Mutant(t, s.dsn, m.rewrite)
				if r.name == "rewrite between kill and resume" {
					s.on(progressed("copy"), func() { pgtest.Exec(t, m.db, `VACUUM FULL accounts`) })
				} else {
					s.on(began("drain"), func() { s.ledger.Truncate(t.Context()) })
				}
				stop := s.write()
				s.pause(200 * time.Millisecond)
				err := s.apply()
				stop()
				report := s.proves()
				if err != nil || report.Wrong() > 0 {
					t.Logf("caught in round %d: error %v; %s", round, err, report)
					return
				}
			}
			t.Logf("not caught in %d rounds", rounds)
		})
	}
}
