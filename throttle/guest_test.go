package throttle_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

// On any trace of a hard signal, of a soft one and of a pause: nobody comes in later than an interval after the hard one came
// to its limit, or after a pause began; so no more than the chunks that were under way are done beyond it. When all let it go on,
// somebody copies within an interval and the longest rest.
func TestGuest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		chunk := time.Duration(rapid.IntRange(5, 300).Draw(rt, "chunk in ms")) * time.Millisecond
		workers := rapid.IntRange(1, 4).Draw(rt, "workers")
		rest := float64(rapid.IntRange(0, 20).Draw(rt, "rest"))
		type state struct {
			hard, soft float64
			paused     bool
			last       int // ms
		}
		trace := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) state {
			return state{rapid.SampledFrom([]float64{0, 0.9, 1, 5}).Draw(t, "hard"), rapid.SampledFrom([]float64{0, 0.8, 1, 9}).Draw(t, "soft"),
				rapid.IntRange(0, 3).Draw(t, "paused") == 0, rapid.IntRange(1, 20_000).Draw(t, "ms")}
		}), 1, 20).Draw(rt, "trace")
		var failures []error
		synctest.Test(t, func(t *testing.T) {
			var g throttle.Gate
			hardDial, softDial := &dial{}, &dial{}
			run(t, &throttle.Controller{Gate: &g, Workers: workers, Rest: rest, Watches: append(hard(hardDial), soft(softDial)...)})
			var c crew
			c.work(t, &g, workers, chunk)
			for i, s := range trace {
				hardDial.set(s.hard)
				softDial.set(s.soft)
				if s.paused {
					g.SetPaused("paused")
				} else {
					g.SetPaused("")
				}
				changed, last := time.Now(), time.Duration(s.last)*time.Millisecond
				pass(last)
				c.mu.Lock()
				began := c.began
				c.mu.Unlock()
				reaction := interval
				if s.paused {
					reaction = 0
				}
				var after int
				for _, at := range began {
					if at.After(changed.Add(reaction)) {
						after++
					}
				}
				stops := s.paused || s.hard >= 1
				if stops && after > 0 {
					failures = append(failures, fmt.Errorf("at %d %+v: %d chunks began later than %v after the stop", i, s, after, reaction))
				}
				// A worker rests for up to 5 s, and up to four or rest times its chunk, after a chunk that was under way.
				longest := chunk + min(time.Duration(float64(chunk)*max(rest, 4)), 5*time.Second) + chunk
				if !stops && last > interval+longest+chunk && after == 0 {
					failures = append(failures, fmt.Errorf("at %d %+v: nobody copied in %v", i, s, last))
				}
			}
		})
		if err := errors.Join(failures...); err != nil {
			rt.Fatal(err)
		}
	})
}
