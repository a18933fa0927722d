package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

// dial is a signal that shows what a test sets.
type dial struct {
	mu    sync.Mutex
	load  float64
	err   error
	hang  bool
	reads int
}

func (d *dial) Read(ctx context.Context) (throttle.Reading, error) {
	d.mu.Lock()
	r, err, hang := throttle.Reading{Load: d.load, Reason: fmt.Sprintf("load %.1f", d.load)}, d.err, d.hang
	d.reads++
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return throttle.Reading{}, ctx.Err()
	}
	return r, err
}

func (d *dial) set(load float64) { d.change(func() { d.load = load }) }

func (d *dial) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func soft(s throttle.Signal) []throttle.Watch { return []throttle.Watch{{Name: "latency", Signal: s}} }
func hard(s throttle.Signal) []throttle.Watch {
	return []throttle.Watch{{Name: "replica lag", Signal: s, Hard: true}}
}

// run runs a controller until the test, in its bubble of fake time, ends.
func run(t *testing.T, c *throttle.Controller) {
	ended := make(chan error)
	go func() { ended <- c.Run(t.Context()) }()
	synctest.Wait() // it holds the gate, and has read once what can be read at once
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("Run = %v when its context ended, want nil", err)
		}
	})
}

const interval = 250 * time.Millisecond

func TestOneMoreWorkerAfterEachCalm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		var c crew
		run(t, &throttle.Controller{Gate: &g, Workers: 3, Watches: soft(&dial{load: 0.5})})
		c.work(t, &g, 5, 10*time.Millisecond)
		var peaks []int
		for range 5 {
			pass(8*interval - time.Millisecond)
			peaks = append(peaks, c.peak())
			pass(time.Millisecond)
			c.peak()
		}
		if want := []int{1, 2, 3, 3, 3}; !slices.Equal(peaks, want) {
			t.Errorf("workers inside, every 8 readings: %v, want %v", peaks, want)
		}
	})
}

func TestAtTheLimitOneIsLeftWithinAnInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := throttle.Gate{Sink: told.sink}
		var c crew
		d := &dial{}
		const chunk = 10 * time.Millisecond
		run(t, &throttle.Controller{Gate: &g, Workers: 4, Watches: soft(d)})
		c.work(t, &g, 4, chunk)
		pass(10 * time.Second)
		if got := c.peak(); got != 4 {
			t.Fatalf("%d workers inside on a calm server, want 4", got)
		}
		d.set(1.5)
		pass(interval + chunk) // the reading, and the chunks under way
		c.peak()
		pass(time.Second)
		if got := c.peak(); got != 1 {
			t.Errorf("%d workers inside at the limit, want 1", got)
		}
		if got, want := g.Reason(), "load 1.5"; got != want {
			t.Errorf("Reason = %q, want %q", got, want)
		}
		d.set(0)
		pass(interval + chunk)
		c.peak()
		pass(time.Second)
		if got := c.peak(); got != 1 {
			t.Errorf("%d workers inside right after the limit, want 1", got)
		}
		pass(time.Minute)
		if got := c.peak(); got != 4 {
			t.Errorf("%d workers inside after a minute of calm, want 4", got)
		}
		if got, want := told.reasons(), []string{"load 1.5", ""}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// The share of time in which one worker copies falls smoothly with the load, and never to nothing.
func TestRests(t *testing.T) {
	t.Parallel()
	tests := []struct {
		load   float64
		chunks int // of 100 ms, in 100 s
		rest   float64
		fast   bool
	}{
		{load: 0, chunks: 1000}, {load: 0.7, chunks: 1000}, {load: 0.85, chunks: 794}, {load: 0.999, chunks: 658}, {load: 1, chunks: 658},
		{load: 1.5, chunks: 419}, {load: 2, chunks: 307}, {load: 3, chunks: 200}, {load: 30, chunks: 200}, {load: math.Inf(1), chunks: 200},
		{load: 0, rest: 1, chunks: 500}, {load: 1, rest: 1, chunks: 500}, {load: 2, rest: 1, chunks: 307}, {load: 0, rest: 1, fast: true, chunks: 1000},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("load %v rest %v fast %v", tt.load, tt.rest, tt.fast), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g throttle.Gate
				var c crew
				run(t, &throttle.Controller{Gate: &g, Rest: tt.rest, Fast: tt.fast, Watches: soft(&dial{load: tt.load})})
				pass(interval)
				c.work(t, &g, 1, 100*time.Millisecond)
				pass(100*time.Second - 1)
				if got := c.chunks(); got != tt.chunks {
					t.Errorf("%d chunks, want %d", got, tt.chunks)
				}
			})
		})
	}
}

// Two workers that share the place of one do not evade the rest by taking turns, on a calm server neither.
func TestTurnsDoNotEvadeTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		var c crew
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Rest: 1, Calm: math.MaxInt, Watches: soft(&dial{})})
		pass(interval)
		c.work(t, &g, 2, 100*time.Millisecond)
		pass(100*time.Second - 1)
		if got, want := c.chunks(), 500; got != want {
			t.Errorf("%d chunks on a calm server, want %d", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		var c crew
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(&dial{load: 3})})
		pass(interval)
		c.work(t, &g, 2, 100*time.Millisecond)
		pass(100*time.Second - 1)
		if got, want := c.chunks(), 200; got != want {
			t.Errorf("%d chunks, want %d", got, want)
		}
	})
}

// When the last worker but one runs out of work at the limit, the other one gets in.
func TestAnyWorkerKeepsTheCopyGoing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(&dial{load: 2})})
		pass(interval)
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		entered := make(chan error, 1)
		go func() { entered <- g.Enter(t.Context(), 1) }()
		pass(time.Hour)
		if len(entered) != 0 {
			t.Fatal("two are inside at the limit")
		}
		g.Leave(0, 100*time.Millisecond)
		pass(5 * time.Second)
		if len(entered) != 1 {
			t.Fatal("worker 1 waits at an empty gate")
		}
	})
}

func TestALongChunkIsNotRestedForMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		run(t, &throttle.Controller{Gate: &g, Watches: soft(&dial{load: 3})})
		pass(interval)
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		g.Leave(0, time.Hour)
		start := time.Now()
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(start), 5*time.Second; got != want {
			t.Errorf("rested %v, want %v", got, want)
		}
	})
}

// A rest ends early when the server becomes calm.
func TestARestFollowsTheLoadOfNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		d := &dial{load: 3}
		run(t, &throttle.Controller{Gate: &g, Watches: soft(d)})
		pass(interval)
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		g.Leave(0, time.Second)
		d.set(0)
		start := time.Now()
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got > interval {
			t.Errorf("rested %v, want at most %v", got, interval)
		}
	})
}

func TestAHardSignalStopsAll(t *testing.T) {
	t.Parallel()
	for _, fast := range []bool{false, true} {
		t.Run(fmt.Sprintf("fast %v", fast), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var told waits
				g := throttle.Gate{Sink: told.sink}
				var c crew
				d := &dial{load: 1}
				run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: hard(d), Fast: fast})
				c.work(t, &g, 2, 100*time.Millisecond)
				pass(time.Hour)
				if c.chunks() != 0 {
					t.Errorf("%d chunks at the limit of a hard signal, want none", c.chunks())
				}
				d.set(0.99)
				pass(interval)
				if c.chunks() == 0 {
					t.Error("no chunk within an interval below the limit")
				}
				d.set(2)
				pass(interval + 100*time.Millisecond)
				before := c.chunks()
				pass(time.Hour)
				if c.chunks() != before {
					t.Errorf("%d chunks at the limit of a hard signal, want none", c.chunks()-before)
				}
				// Half a second below the limit is one wait to a person.
				if got, want := told.reasons(), []string{"load 1.0"}; !slices.Equal(got, want) {
					t.Errorf("told %q, want %q", got, want)
				}
			})
		})
	}
}

func TestFast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := throttle.Gate{Sink: told.sink}
		var c crew
		d := &dial{load: 5}
		run(t, &throttle.Controller{Gate: &g, Workers: 3, Watches: soft(d), Fast: true})
		c.work(t, &g, 4, 100*time.Millisecond)
		pass(time.Second - 1)
		if got, want := c.chunks(), 30; got != want || d.reads != 0 || told.all != nil {
			t.Errorf("%d chunks, %d readings, told %v; want %d and no readings", got, d.reads, told.all, want)
		}
		g.SetPaused("paused")
		pass(time.Second)
		before := c.chunks()
		pass(time.Second)
		if got := c.chunks(); got != before {
			t.Errorf("%d chunks in a pause", got-before)
		}
	})
}

func TestWhatCannotBeReadIsOverItsLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fail   func(*dial)
		within time.Duration
		reason string
	}{
		{"an error", func(d *dial) { d.err = errors.New("connection refused") }, interval,
			"latency cannot be read: connection refused"},
		{"no answer", func(d *dial) { d.hang = true }, 6*interval + time.Millisecond,
			"latency cannot be read: no answer within 1.25s"},
		{"not a number", func(d *dial) { d.load = math.NaN() }, interval, "load NaN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g throttle.Gate
				var c crew
				d := &dial{}
				run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(d)})
				c.work(t, &g, 2, 100*time.Millisecond)
				pass(10 * time.Second)
				d.change(func() { tt.fail(d) })
				pass(tt.within)
				if got := g.Reason(); got != tt.reason {
					t.Errorf("Reason = %q, want %q", got, tt.reason)
				}
				before := c.chunks()
				pass(100 * time.Second)
				if got := c.chunks() - before; got < 199 || got > 201 {
					t.Errorf("%d chunks in 100 s, want the slowest pace, 200", got)
				}
				d.change(func() { d.err, d.hang, d.load = nil, false, 0 })
				pass(time.Minute)
				if g.Reason() != "" || c.peak() != 2 {
					t.Errorf("a minute after it could be read again: %d workers inside, Reason %q; want 2 and none", c.peak(), g.Reason())
				}
			})
		})
	}
}

// deaf is a signal that hangs for a while and does not look at its context.
type deaf time.Duration

func (d deaf) Read(context.Context) (throttle.Reading, error) {
	time.Sleep(time.Duration(d))
	return throttle.Reading{}, nil
}

func TestAStaleReadingIsOverItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := throttle.Gate{Sink: told.sink}
		var c crew
		run(t, &throttle.Controller{Gate: &g, Watches: hard(deaf(time.Minute))})
		c.work(t, &g, 1, 100*time.Millisecond)
		pass(59 * time.Second)
		if c.chunks() != 0 {
			t.Errorf("%d chunks before a hard signal was read, want none", c.chunks())
		}
		if got := g.Reason(); got != "replica lag: no reading for 59s" && got != "replica lag: no reading for 58.8s" {
			t.Errorf("Reason = %q, want how long there was no reading", got)
		}
		pass(2 * time.Second)
		if c.chunks() == 0 {
			t.Error("no chunk after the signal was read")
		}
		if got := told.reasons(); len(got) != 1 || !strings.HasPrefix(got[0], "replica lag: no reading for 1.") {
			t.Errorf("told %q, want one wait, about 1.25 s after the start", got)
		}
	})
}

func TestOneSignalDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		d := &dial{}
		run(t, &throttle.Controller{Gate: &g, Watches: append(soft(d), throttle.Watch{Name: "slow", Signal: deaf(time.Second)})})
		pass(10 * time.Second)
		d.set(2)
		pass(interval)
		if got, want := g.Reason(), "load 2.0"; got != want {
			t.Errorf("Reason = %q, want %q", got, want)
		}
	})
}

// blank is a signal that gives no reason.
type blank float64

func (b blank) Read(context.Context) (throttle.Reading, error) {
	return throttle.Reading{Load: float64(b)}, nil
}

func TestTheWorstIsToBlame(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		watches []throttle.Watch
		want    string
	}{
		{"nothing is over its limit", []throttle.Watch{{Name: "a", Signal: blank(0.9)}}, ""},
		{"the higher load", []throttle.Watch{{Name: "a", Signal: blank(1.1)}, {Name: "b", Signal: blank(4)}, {Name: "c", Signal: blank(2)}},
			"b at 4.0 times its limit"},
		{"a hard one before any soft one", []throttle.Watch{{Name: "a", Signal: blank(9)}, {Name: "b", Signal: blank(1), Hard: true}},
			"b at 1.0 times its limit"},
		{"a hard one below its limit is none", []throttle.Watch{{Name: "a", Signal: blank(9)}, {Name: "b", Signal: blank(0.9), Hard: true}},
			"a at 9.0 times its limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g throttle.Gate
				run(t, &throttle.Controller{Gate: &g, Watches: tt.watches})
				pass(interval)
				if got := g.Reason(); got != tt.want {
					t.Errorf("Reason = %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A load that hovers around its limit is one wait to a person.
func TestHoveringIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := throttle.Gate{Sink: told.sink}
		d := &dial{}
		var c crew
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(d)})
		c.work(t, &g, 2, 100*time.Millisecond)
		pass(time.Second)
		for i := range 400 {
			d.set(1.2 - 0.4*float64(i%2))
			pass(interval)
		}
		if got := told.reasons(); len(got) != 1 {
			t.Errorf("told %d times: %q, want once", len(got), got)
		}
	})
}

// A server that bears one worker and not two is tried with two ever more seldom, not every two seconds.
func TestASecondWorkerIsTriedEverMoreSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told waits
		g := throttle.Gate{Sink: told.sink}
		var c crew
		perWorker := signal(func() float64 { c.mu.Lock(); defer c.mu.Unlock(); return 0.6 * float64(c.inside) })
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(perWorker)})
		c.work(t, &g, 2, 190*time.Millisecond)
		pass(10 * time.Minute)
		tries := 0
		for _, reason := range told.reasons() {
			if reason != "" {
				tries++
			}
		}
		// After 2, 4, 8, 16 and 32 s of calm, and from then on every 32 s or so.
		if tries < 5 || tries > 4+10*60/32 {
			t.Errorf("%d tries in ten minutes, want about 20", tries)
		}
	})
}

type signal func() float64

func (s signal) Read(context.Context) (throttle.Reading, error) {
	return throttle.Reading{Load: s(), Reason: "crowded"}, nil
}

// On any trace of a soft signal: from the reading on, at most one is inside at the limit; somebody always copies; one more
// is let in only after so many calm readings in a row, and the limit halves what had been allowed.
func TestTraces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const chunk = 20 * time.Millisecond
		workers := rapid.IntRange(1, 6).Draw(rt, "workers")
		calm := rapid.IntRange(1, 10).Draw(rt, "calm")
		trace := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0.3, 0.7, 0.8, 0.99, 1, 1.5, 3, 9}), 1, 40).Draw(rt, "trace")
		var failures []error
		fail := func(format string, args ...any) { failures = append(failures, fmt.Errorf(format, args...)) }
		synctest.Test(t, func(t *testing.T) {
			var g throttle.Gate
			d := &dial{load: trace[0]}
			run(t, &throttle.Controller{Gate: &g, Workers: workers, Calm: calm, Watches: soft(d)})
			var c crew
			c.work(t, &g, 8, chunk)
			pass(interval / 2)
			// What the rule allows at most: without the longer waits after a try that failed, and where the controller
			// looks either before or after the reading of that moment.
			allowed, quiet, last := 1, 0, trace[0]
			for i, load := range trace {
				d.set(load)
				before := c.chunks()
				pass(interval - chunk) // in the middle of which it is read
				c.peak()
				pass(chunk)
				peak := c.peak()

				switch seen := min(load, last); {
				case seen >= 1:
					allowed, quiet = max(1, allowed/2), 0
				case seen > 0.7:
					quiet = 0
				default:
					if quiet++; quiet == calm {
						allowed, quiet = min(allowed+1, workers), 0
					}
				}
				last = load
				if load >= 1 && peak > 1 {
					fail("at %d: %d inside at load %v, want 1", i, peak, load)
				}
				if peak > allowed {
					fail("at %d: %d inside, want at most %d", i, peak, allowed)
				}
				if c.chunks() == before {
					fail("at %d: nobody copied at load %v", i, load)
				}
			}
		})
		if err := errors.Join(failures...); err != nil {
			rt.Fatal(err)
		}
	})
}
