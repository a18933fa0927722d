package throttle_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

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

// work lets copiers work until ctx ends. The returned function waits for them.
func (c *crew) work(ctx context.Context, g *throttle.Gate, workers int, chunk time.Duration) (wait func()) {
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
	return wg.Wait
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

// in runs f in a bubble of fake time, with a context that ends when f returns.
func in(t *testing.T, f func(ctx context.Context, t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f(ctx, t)
	})
}

// pass lets fake time pass, and everything that was due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestZeroGateIsOpen(t *testing.T) {
	t.Parallel()
	in(t, func(ctx context.Context, t *testing.T) {
		var g throttle.Gate
		var c crew
		defer c.work(ctx, &g, 4, 100*time.Millisecond)()
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
	in(t, func(ctx context.Context, t *testing.T) {
		var g throttle.Gate
		ctx, cancel := context.WithTimeout(ctx, time.Second)
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
	in(t, func(ctx context.Context, t *testing.T) {
		var told waits
		g := &throttle.Gate{Sink: told.sink}
		g.SetStep("copy")
		g.SetPaused("paused by ada")
		if g.Reason() != "paused by ada" || told.reasons() != nil {
			t.Errorf("before anybody waits: Reason = %q, told %q; want it known and not told", g.Reason(), told.reasons())
		}
		var c crew
		defer c.work(ctx, g, 2, 100*time.Millisecond)()
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
	in(t, func(ctx context.Context, t *testing.T) {
		var told waits
		g := &throttle.Gate{Sink: told.sink}
		g.SetPaused("paused")
		g.SetStep("copy")
		copying, done := context.WithCancel(ctx)
		var c crew
		wait := c.work(copying, g, 1, time.Second)
		pass(time.Second)
		done()
		wait()
		g.SetStep("build") // which has no copier
		pass(time.Second)
		g.SetStep("verify")
		defer c.work(ctx, g, 1, time.Second)()
		pass(time.Second)
		want := []event.Waiting{{Step: "copy", Reason: "paused"}, {Step: "copy"}, {Step: "verify", Reason: "paused"}}
		if !slices.Equal(told.all, want) {
			t.Errorf("told %v, want %v", told.all, want)
		}
	})
}

func TestSinkMayAskForTheReason(t *testing.T) {
	t.Parallel()
	in(t, func(ctx context.Context, t *testing.T) {
		g := &throttle.Gate{}
		var got []string
		g.Sink = func(event.Event) { got = append(got, g.Reason()) }
		g.SetPaused("paused")
		var c crew
		defer c.work(ctx, g, 1, time.Second)()
		pass(time.Second)
		if !slices.Equal(got, []string{"paused"}) {
			t.Errorf("Reason = %q in the sink, want the one that it is told", got)
		}
	})
}

// A gate, whatever happens around it, admits no more than it may, and forgets nobody.
func TestGateAdmits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		workers := rapid.IntRange(1, 5).Draw(rt, "workers")
		loads := rapid.SliceOfN(rapid.Float64Range(0, 4), 1, 20).Draw(rt, "loads")
		var failures []error
		in(t, func(ctx context.Context, t *testing.T) {
			var g throttle.Gate
			dial := &dial{}
			ctl := &throttle.Controller{Gate: &g, Workers: workers, Watches: []throttle.Watch{{Name: "load", Signal: dial}}}
			defer run(ctx, ctl)()
			var c crew
			defer c.work(ctx, &g, workers, 100*time.Millisecond)()
			for i, load := range loads {
				dial.set(load)
				pass(time.Second) // the reading and all chunks that began before it are over, and the longest rest is, too
				before := c.chunks()
				c.peak()
				pass(time.Second)
				if c.chunks() == before {
					failures = append(failures, errors.New("nobody copies at a soft signal"))
				}
				if load >= 1 && c.peak() > 1 {
					failures = append(failures, errors.New("more than one copies at the limit"))
				}
				if i == 0 && c.peak() > 1 {
					failures = append(failures, errors.New("more than one copies at the start"))
				}
			}
		})
		if err := errors.Join(failures...); err != nil {
			rt.Fatal(err)
		}
	})
}
