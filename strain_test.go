package changeling_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"
)

// strained measures how far the machine is behind while a test waits for something: the longest that a pause of a few
// milliseconds and a question to the server took. A promise in time is one on a machine that keeps up; where it does not, what a
// test allows grows with it, see within. The function that is returned ends the measurement; it may be called again.
func strained(t *testing.T, db *sql.DB) (worst func() time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
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
			_ = db.QueryRowContext(ctx, `SELECT 1`).Scan(&one) // that took its time, too, if it failed
			most = max(most, time.Since(began))
		}
	})
	t.Cleanup(stop)
	return func() time.Duration {
		stop()
		wg.Wait()
		return most
	}
}

// within fails the test if something took longer than it may on a machine that is as far behind as was measured.
func within(t *testing.T, took, may time.Duration, worst func() time.Duration, what string) {
	t.Helper()
	behind := worst()
	t.Logf("%s %s; the machine was %s behind", what, took.Round(time.Millisecond), behind.Round(time.Millisecond))
	if allowed := may + 10*behind; took > allowed {
		t.Errorf("%s %s, want at most %s, or %s on a machine that is %s behind", what, took, may, allowed, behind)
	}
}
