package copier_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/throttle"
)

// TestDrainSmallRounds: a round that took as many keys as it might is no sign that few are left, however few those are.
func TestDrainSmallRounds(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{10, 99, 100, 101, 1000, 5000} {
		left := int64(1000)
		d := copier.Drain{Sizer: &fixed{sizes: []int64{size}}, Gate: open{}, Sink: event.Discard, Apply: func(_ context.Context, limit int64) (copier.Drained, error) {
			n := min(left, limit)
			left -= n
			return copier.Drained{Keys: n}, nil
		}}
		if err := d.Run(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if left >= 100 {
			t.Errorf("rounds of %d keys left %d of 1000, want fewer than 100", size, left)
		}
	}
}

// loaded is a signal of a server that is on fire.
type loaded float64

func (l loaded) Read(context.Context) (throttle.Reading, error) {
	return throttle.Reading{Load: float64(l)}, nil
}

// TestDrainIsNotOutrun: on a server that is as loaded as can be, a drain ends that could keep up with the users if it were
// not throttled, and soon; a little one stays quiet.
func TestDrainIsNotOutrun(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		speed := rapid.Float64Range(500, 20000).Draw(rt, "keys a second that a drain can apply")
		users := rapid.Float64Range(0, 0.6).Draw(rt, "share of that which users log") * speed
		backlog := rapid.Float64Range(0, 60).Draw(rt, "seconds of backlog") * speed
		load := rapid.Float64Range(0, 10).Draw(rt, "load")
		var failure error
		synctest.Test(t, func(t *testing.T) {
			gate := &throttle.Gate{}
			controller := throttle.Controller{Gate: gate, Rest: 1, Watches: []throttle.Watch{{Name: "load", Signal: loaded(load)}}}
			ended := make(chan error)
			go func() { ended <- controller.Run(t.Context()) }()
			t.Cleanup(func() { <-ended })
			synctest.Wait()
			began := time.Now()
			var taken, pressed float64
			left := func() float64 { return backlog + users*time.Since(began).Seconds() - taken }
			d := copier.Drain{Sizer: &throttle.Sizer{Target: 20 * time.Millisecond, Initial: 1000, Min: 200, Max: 20000}, Gate: gate, Sink: event.Discard,
				Apply: func(_ context.Context, limit int64) (copier.Drained, error) {
					n := min(float64(limit), left())
					time.Sleep(time.Duration(n / speed * float64(time.Second)))
					taken += n
					return copier.Drained{Keys: int64(n)}, nil
				},
				Pending: func(context.Context) (int64, error) { return int64(min(left(), 100_000)), nil },
				Press:   func(share float64) { pressed = max(pressed, share); gate.Press(copier.DrainWorker, share) }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := d.Run(ctx, 100)
			took := time.Since(began).Seconds()
			alone := backlog / (speed - users) // without any rest
			if err != nil || took > 3*alone+30 {
				failure = fmt.Errorf("the drain ended with %v after %.0f s, alone it takes %.0f s", err, took, alone)
			}
			if backlog < speed/10 && users < speed/20 && pressed > 0 {
				failure = fmt.Errorf("a drain of %.0f keys was pressed by %v", backlog, pressed)
			}
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}
