package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
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

func differed(e event.Event) bool  { _, ok := e.(event.Differed); return ok }
func restarted(e event.Event) bool { _, ok := e.(event.Restarted); return ok }
func retried(e event.Event) bool   { _, ok := e.(event.Retried); return ok }

// newStage makes the table.
func newStage(t *testing.T, dsn string, o ledger.Options) *stage {
	t.Helper()
	s := &stage{T: t, dsn: dsn, db: pgtest.Open(t, dsn)}
	s.db.SetMaxIdleConns(10)
	s.ledger = ledger.New(pgtest.Open(t, dsn), o)
	s.config = changeling.Config{ChunkTime: 20 * time.Millisecond, Events: s.story.tell}
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

// changed fails the test if the table is not what the ledger and the statement say, or if a user met a failure.
func (s *stage) changed() {
	s.Helper()
	if r := s.proves(); r.Wrong() > 0 {
		s.Errorf("the table is not what was written: %s", r)
	}
	if stats := s.ledger.Stats(); stats.Failures() > 0 || stats.BlindCommitted > 0 {
		s.Errorf("users met: %s", stats)
	}
	var typ string
	if err := s.db.QueryRowContext(s.Context(), `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'amount'`).Scan(&typ); err != nil {
		s.Fatal(err)
	}
	if typ != "bigint" {
		s.Errorf("amount is %s, want bigint", typ)
	}
	if n := s.story.count(differed); n > 0 {
		s.Errorf("the verification found %d times that rows differed: something was copied wrong, and only then repaired", n)
	}
}

// figures sums a run up in a line.
func (s *stage) figures() string {
	s.story.mu.Lock()
	defer s.story.mu.Unlock()
	var chunks, drained, tries, retries, restarts int
	var held time.Duration
	var busy []string
	for _, e := range s.story.events {
		switch e := e.(type) {
		case event.Progress:
			if e.Step == "copy" {
				chunks++
			} else if e.Step == "drain" {
				drained += int(e.Chunk)
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
	text := fmt.Sprintf("lock held %s in attempt %d, %d chunks told, %d keys drained, %d retries, %d restarts", held.Round(100*time.Microsecond), tries, chunks, drained, retries, restarts)
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
			s := newStage(t, pgtest.Database(t), ledger.Options{Seed: first + uint64(round), Rows: 150_000, Replica: true})
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
