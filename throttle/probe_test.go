package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

// commits is a server whose commits take a certain time each.
func commits(took ...time.Duration) func(context.Context) error {
	i := 0
	return func(ctx context.Context) error {
		d := took[min(i, len(took)-1)]
		i++
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name  string
		limit time.Duration
		quiet []time.Duration // before the copy
		busy  []time.Duration
		want  []string
	}{
		{"a steady latency", 0, nil, []time.Duration{3 * ms, 3 * ms},
			[]string{"0.20 commit latency 3.0 ms, limit 15 ms", "0.20 commit latency 3.0 ms, limit 15 ms"}},
		{"a peak counts half, for three readings", 0, nil, []time.Duration{2 * ms, 80 * ms, 2 * ms, 2 * ms, 2 * ms, 2 * ms},
			[]string{
				"0.13 commit latency 2.0 ms, limit 15 ms", "2.73 commit latency 41 ms, limit 15 ms",
				"2.73 commit latency 41 ms, limit 15 ms", "2.73 commit latency 41 ms, limit 15 ms",
				"1.43 commit latency 22 ms, limit 15 ms", "0.78 commit latency 12 ms, limit 15 ms",
			}},
		{"a limit of the user's", 100 * ms, nil, []time.Duration{50 * ms}, []string{"0.50 commit latency 50 ms, limit 100 ms"}},
		{"a server that is slow by itself", 0, []time.Duration{20 * ms, 900 * ms, 18 * ms, 22 * ms, 5 * ms}, []time.Duration{30 * ms},
			[]string{"0.50 commit latency 30 ms, limit 60 ms"}},
		{"a server that is fast by itself", 0, []time.Duration{ms / 10}, []time.Duration{ms / 4},
			[]string{"0.02 commit latency 0.25 ms, limit 15 ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := throttle.Probe{Commit: commits(append(tt.quiet, tt.busy...)...), Limit: tt.limit}
				if err := p.Calibrate(t.Context(), len(tt.quiet)); err != nil {
					t.Fatal(err)
				}
				for i, want := range tt.want {
					r, err := p.Read(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if got := fmt.Sprintf("%.2f %s", r.Load, r.Reason); got != want {
						t.Errorf("reading %d = %q, want %q", i, got, want)
					}
				}
			})
		})
	}
}

func TestProbeSaysWhenItCannotCommit(t *testing.T) {
	t.Parallel()
	broken := errors.New("read-only transaction")
	p := throttle.Probe{Commit: func(context.Context) error { return broken }}
	if err := p.Calibrate(t.Context(), 3); !errors.Is(err, broken) {
		t.Errorf("Calibrate = %v, want %v", err, broken)
	}
	if _, err := p.Read(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Read = %v, want %v", err, broken)
	}
}

func TestCalibrateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := throttle.Probe{Commit: commits(0)}
		if err := p.Calibrate(ctx, 1000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Calibrate = %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

// A latency that stays is read as it is, soon; one that never passes the limit never reads as over it.
func TestProbeFollowsTheLatency(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		latency := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Second)), 1, 20).Draw(rt, "latencies")
		stays := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Second)).Draw(rt, "stays"))
		var worst, last float64
		peak := stays
		synctest.Test(t, func(t *testing.T) {
			var took []time.Duration
			for _, l := range latency {
				took = append(took, time.Duration(l))
				peak = max(peak, time.Duration(l))
			}
			p := throttle.Probe{Commit: commits(append(took, stays)...)}
			for range len(latency) + 20 {
				r, err := p.Read(t.Context())
				if err != nil {
					t.Error(err)
				}
				worst, last = max(worst, r.Load), r.Load
			}
		})
		limit := float64(15 * time.Millisecond)
		if worst > float64(peak)/limit {
			rt.Errorf("load %v, want at most that of the longest commit, %v", worst, float64(peak)/limit)
		}
		if want := float64(stays) / limit; last < want*0.99 || last > want*1.01 {
			rt.Errorf("load %v after 20 readings, want %v", last, want)
		}
	})
}

// The probe under a controller: a server whose commits become slow slows the copy down, and says so.
func ExampleProbe() {
	probe := &throttle.Probe{Commit: func(context.Context) error { return nil }} // UPDATE changeling.probe SET at = now()
	gate := &throttle.Gate{}
	controller := throttle.Controller{
		Gate:    gate,
		Watches: []throttle.Watch{{Name: "commit latency", Signal: probe}},
		Workers: 2,
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- controller.Run(ctx) }()

	for worker := range 2 { // in truth, each in a goroutine of its own
		if err := gate.Enter(ctx, worker); err != nil {
			return
		}
		gate.Leave(worker, 100*time.Millisecond)
	}
	fmt.Printf("waits: %q\n", gate.Reason())
	cancel()
	fmt.Println(<-ended)
	// Output:
	// waits: ""
	// <nil>
}
