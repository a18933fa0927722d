package pgtest

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"
)

// Strain is how far the machine is behind while a test waits for something. A promise in time is one on a machine that keeps up;
// where it does not, what a test allows grows with it.
type Strain struct {
	t    testing.TB
	stop func() time.Duration
}

// Strained begins to measure, on any kind of server: the longest that a pause of a few milliseconds and a question take.
func Strained(t testing.TB, db *sql.DB) *Strain {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	asking := context.WithoutCancel(ctx) // a question that is broken off spoils its connection on MySQL
	var most time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
			var one int
			_ = db.QueryRowContext(asking, `SELECT 1`).Scan(&one) // that took its time, too, if it failed
			most = max(most, time.Since(began))
		}
	})
	return &Strain{t, func() time.Duration {
		stop()
		wg.Wait()
		return most
	}}
}

// Behind ends the measurement and answers how far the machine was behind.
func (s *Strain) Behind() time.Duration { return s.stop() }

// Within ends the measurement, and fails the test if something took longer than it may on a machine that is so far behind.
func (s *Strain) Within(took, may time.Duration, what string) {
	s.t.Helper()
	behind := s.stop()
	s.t.Logf("%s %s; the machine was %s behind", what, took.Round(time.Millisecond), behind.Round(time.Millisecond))
	if allowed := may + 10*behind; took > allowed {
		s.t.Errorf("%s %s, want at most %s, or %s on a machine that is %s behind", what, took, may, allowed, behind)
	}
}
