package throttle_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/throttle"
)

// Whatever chunks come, from any moment on no more is moved than the caps allow in that time, but for a chunk of each
// worker; and as much as they allow is moved.
func TestCapsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		caps := throttle.Caps{Rows: rapid.Int64Range(10, 5000).Draw(rt, "rows/s")}
		if rapid.Bool().Draw(rt, "bytes too") {
			caps.Bytes = caps.Rows * rapid.Int64Range(50, 200).Draw(rt, "bytes/row")
		}
		workers := rapid.IntRange(1, 3).Draw(rt, "workers")
		sizes := rapid.SliceOfN(rapid.Int64Range(1, 1000), 10, 60).Draw(rt, "chunks")
		allowed := float64(caps.Rows)
		if caps.Bytes > 0 {
			allowed = min(allowed, float64(caps.Bytes)/100)
		}
		type moved struct {
			at   time.Time
			rows int64
		}
		var failure error
		synctest.Test(t, func(t *testing.T) {
			g := throttle.Gate{}
			g.SetCaps(caps)
			var all []moved
			next, most := make(chan int64, len(sizes)), int64(0)
			for _, n := range sizes {
				next <- n
				most = max(most, n)
			}
			close(next)
			done := make(chan []moved)
			for w := range workers {
				go func() {
					var mine []moved
					for n := range next {
						if err := g.Enter(t.Context(), w); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Millisecond)
						mine = append(mine, moved{time.Now(), n})
						g.Spend(n, 100*n)
						g.Leave(w, time.Millisecond)
					}
					done <- mine
				}()
			}
			began := time.Now()
			for range workers {
				all = append(all, <-done...)
			}
			var sum int64
			for _, m := range all {
				sum += m.rows
				for _, from := range all { // what was moved from then to m
					if from.at.After(m.at) {
						continue
					}
					var rows int64
					for _, x := range all {
						if !x.at.Before(from.at) && !x.at.After(m.at) {
							rows += x.rows
						}
					}
					if bound := allowed*m.at.Sub(from.at).Seconds() + float64(int64(2*workers)*most) + 1; float64(rows) > bound {
						failure = fmt.Errorf("%d rows within %v, want at most %.0f", rows, m.at.Sub(from.at), bound)
					}
				}
			}
			if took, longest := time.Since(began).Seconds(), float64(sum)/allowed+float64(len(sizes))*0.002+0.01; took > longest {
				failure = fmt.Errorf("%d rows took %.2f s, want at most %.2f s", sum, took, longest)
			}
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

// A worker that is pressed is not starved by any soft load, and is stopped by what stops everybody.
func TestPress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		d := &dial{load: 3}
		run(t, &throttle.Controller{Gate: &g, Rest: 1, Watches: soft(d)})
		pass(interval)
		var c crew
		c.work(t, &g, 1, 100*time.Millisecond)
		for _, tt := range []struct {
			press float64
			want  int // chunks of 100 ms in 100 s
		}{{0, 200}, {0.5, 333}, {1, 1000}, {7, 1000}, {-1, 200}} {
			g.Press(0, tt.press)
			before := c.chunks()
			pass(100 * time.Second)
			if got := c.chunks() - before; got < tt.want-2 || got > tt.want+2 {
				t.Errorf("pressed by %v: %d chunks, want %d", tt.press, got, tt.want)
			}
		}
		g.Press(0, 1)
		g.SetPaused("paused")
		pass(time.Second)
		before := c.chunks()
		pass(time.Minute)
		if got := c.chunks() - before; got != 0 {
			t.Errorf("%d chunks in a pause, want none", got)
		}
	})
	synctest.Test(t, func(t *testing.T) { // and by nobody who is inside, as others are at the limit
		var g throttle.Gate
		run(t, &throttle.Controller{Gate: &g, Workers: 2, Watches: soft(&dial{load: 3})})
		pass(interval)
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		g.Press(1, 1)
		began := time.Now()
		if err := g.Enter(t.Context(), 1); err != nil || time.Since(began) > 0 {
			t.Errorf("Enter = %v after %v, want at once", err, time.Since(began))
		}
	})
}

func TestHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g throttle.Gate
		d := &dial{}
		run(t, &throttle.Controller{Gate: &g, Rest: 1, Watches: hard(d)})
		g.SetStep("copy")
		var c crew
		c.work(t, &g, 1, 100*time.Millisecond)
		pass(30 * time.Second)
		if share, cause := g.Held(); share != 0 || cause != "" {
			t.Errorf("Held = %v %q on a calm server, want 0", share, cause)
		}
		d.set(2)
		pass(20 * time.Second)
		d.set(0)
		pass(time.Second) // until the wait is over
		g.SetPaused("paused by ann")
		pass(10 * time.Second)
		g.SetPaused("")
		pass(39 * time.Second)
		if share, cause := g.Held(); math.Abs(share-0.32) > 0.03 || cause != "replica lag" {
			t.Errorf("Held = %v %q, want about 0.32, most for replica lag", share, cause)
		}
		g.SetStep("verify")
		if share, _ := g.Held(); share != 0 {
			t.Errorf("Held = %v at the beginning of a step, want 0", share)
		}
	})
}

func TestChunkTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &throttle.Gate{}
		s := throttle.ChunkTime{Gate: g, Target: 20 * time.Millisecond}
		check := func(when, want string) {
			t.Helper()
			r, err := s.Read(t.Context())
			if got := fmt.Sprintf("%.1f %s", r.Load, r.Reason); err != nil || got != want {
				t.Errorf("%s: %q, %v; want %q", when, got, err, want)
			}
		}
		check("before the first chunk", "0.0 a chunk takes 0.00 ms, limit 1 s")
		if err := g.Enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		check("while it lasts", "2.0 a chunk takes 2 s, limit 1 s")
		g.Leave(0, 2*time.Second)
		pass(time.Second)
		check("a moment after", "2.0 a chunk takes 2 s, limit 1 s")
		pass(time.Minute)
		check("long after", "0.0 a chunk takes 0.00 ms, limit 1 s")
	})
}

// The world is told what each signal reads, and of one that cannot be read why.
func TestSignalsAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var last event.Signals
		told := 0
		d, broken := &dial{load: 0.4}, &dial{err: fmt.Errorf("connection refused")}
		run(t, &throttle.Controller{Gate: &throttle.Gate{}, Workers: 2, Sink: func(e event.Event) { last = e.(event.Signals); told++ },
			Watches: []throttle.Watch{{Name: "latency", Signal: d}, {Name: "replica lag", Signal: broken, Hard: true, Interval: time.Second}}})
		pass(10 * time.Second)
		if told < 9 || told > 11 {
			t.Errorf("told %d times in 10 s, want 10", told)
		}
		want := `{1 3 [{latency 0.4 load 0.4 false} {replica lag 3 replica lag cannot be read: connection refused true}]}`
		if got := fmt.Sprint(last); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if broken.reads < 9 || broken.reads > 12 {
			t.Errorf("%d readings of a signal with an interval of 1 s in 10 s", broken.reads)
		}
	})
}
