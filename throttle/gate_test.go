package throttle_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/throttle"
)

// waits collects what a gate tells.
type waits struct {
	mu  sync.Mutex
	all []event.Waiting
}

func (w *waits) sink(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, e.(event.Waiting))
}

func (w *waits) reasons() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var reasons []string
	for _, e := range w.all {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// crew is a number of copiers at one gate, and what they did.
type crew struct {
	mu     sync.Mutex
	began  []time.Time // of all chunks
	inside int
	most   int // that were inside at a time, since the last call of peak
}

// work lets copiers work until the test, in its bubble of fake time, ends.
func (c *crew) work(t *testing.T, g *throttle.Gate, workers int, chunk time.Duration) {
	c.workUntil(t.Context(), t, g, workers, chunk)
}

func (c *crew) workUntil(ctx context.Context, t *testing.T, g *throttle.Gate, workers int, chunk time.Duration) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for g.Enter(ctx, w) == nil {
				c.mu.Lock()
				c.began = append(c.began, time.Now())
				c.inside++
				c.most = max(c.most, c.inside)
				c.mu.Unlock()
				time.Sleep(chunk)
				c.mu.Lock()
				c.inside--
				c.mu.Unlock()
				g.Leave(w, chunk)
			}
		})
	}
	t.Cleanup(wg.Wait) // the test's context has ended by then
}

func (c *crew) chunks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.began)
}

// peak is how many were inside at a time since the last call.
func (c *crew) peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.most
	c.most = c.inside
	return most
}

// pass lets fake time pass, and everything that was due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestZeroGateIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		var c crew
		c.work(t, &g, 4, 100*time.Millisecond)
		pass(time.Second - 1)
		if c.chunks() != 40 || c.peak() != 4 {
			t.Errorf("%d chunks, want 40", c.chunks())
		}
		if g.Reason() != "" {
			t.Errorf("Reason = %q, want none", g.Reason())
		}
	})
}

func TestEnterEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.SetPaused("paused")
		if err := g.Enter(ctx, 0); err != context.DeadlineExceeded {
			t.Errorf("Enter = %v at a closed gate, want %v", err, context.DeadlineExceeded)
		}
		g.SetPaused("")
		if err := g.Enter(ctx, 0); err != context.DeadlineExceeded {
			t.Errorf("Enter = %v at an open gate, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := &throttle.Gate{Sink: told.sink}
		g.SetStep("copy")
		g.SetPaused("paused by ada")
		if g.Reason() != "paused by ada" || told.reasons() != nil {
			t.Errorf("before anybody waits: Reason = %q, told %q; want it known and not told", g.Reason(), told.reasons())
		}
		var c crew
		c.work(t, g, 2, 100*time.Millisecond)
		pass(time.Hour)
		if c.chunks() != 0 {
			t.Errorf("%d chunks in a pause", c.chunks())
		}
		g.SetPaused("paused by ada")
		g.SetPaused("paused by grace")
		pass(time.Hour)
		g.SetPaused("")
		pass(0)
		if c.peak() != 2 {
			t.Error("workers did not go on at once after the pause")
		}
		g.SetPaused("paused again")
		pass(100 * time.Millisecond)
		if c.chunks() != 2 {
			t.Errorf("%d chunks, want the 2 that were under way", c.chunks())
		}
		want := []event.Waiting{
			{Step: "copy", Reason: "paused by ada"}, {Step: "copy", Reason: "paused by grace"}, {Step: "copy"},
			{Step: "copy", Reason: "paused again"},
		}
		if !slices.Equal(told.all, want) {
			t.Errorf("told %v, want %v", told.all, want)
		}
	})
}

func TestWaitsEndWithTheirStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := &throttle.Gate{Sink: told.sink}
		g.SetPaused("paused")
		g.SetStep("copy")
		copying, done := context.WithCancel(t.Context())
		var c crew
		c.workUntil(copying, t, g, 1, time.Second)
		pass(time.Second)
		done()
		pass(0)
		g.SetStep("build") // which has no copier
		pass(time.Second)
		g.SetStep("verify")
		c.work(t, g, 1, time.Second)
		pass(time.Second)
		want := []event.Waiting{{Step: "copy", Reason: "paused"}, {Step: "copy"}, {Step: "verify", Reason: "paused"}}
		if !slices.Equal(told.all, want) {
			t.Errorf("told %v, want %v", told.all, want)
		}
	})
}

func TestSinkMayAskForTheReason(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &throttle.Gate{}
		var got []string
		g.Sink = func(event.Event) { got = append(got, g.Reason()) }
		g.SetPaused("paused")
		var c crew
		c.work(t, g, 1, time.Second)
		pass(time.Second)
		if !slices.Equal(got, []string{"paused"}) {
			t.Errorf("Reason = %q in the sink, want the one that it is told", got)
		}
	})
}
