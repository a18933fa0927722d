package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/internal/retry"
)

var errBusy = errors.New("busy")

// steady has no jitter, so that its pauses can be written down.
func steady(p retry.Policy) retry.Policy {
	p.Jitter = -1
	return p
}

func TestDo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		policy   retry.Policy
		failures int // attempts that fail before one succeeds
		err      error
		want     error
		text     string
		attempts int
		took     time.Duration
	}{
		{name: "the first attempt succeeds", attempts: 1},
		{name: "pauses double", failures: 4, err: errBusy, policy: steady(retry.Policy{}), attempts: 5, took: 1500 * time.Millisecond},
		{name: "pauses grow up to Max", failures: 4, err: errBusy, attempts: 5, took: 900 * time.Millisecond,
			policy: steady(retry.Policy{Max: 300 * time.Millisecond})},
		{name: "Max below Initial bounds the first pause too", failures: 1, err: errBusy, attempts: 2, took: 10 * time.Millisecond,
			policy: steady(retry.Policy{Max: 10 * time.Millisecond})},
		{name: "an error that is not retryable ends it, and is returned as it is", failures: 4, err: io.EOF, want: io.EOF, text: "EOF",
			attempts: 1},
		{name: "Attempts bounds it", failures: math.MaxInt, err: errBusy, want: errBusy, text: "after 3 attempts: busy",
			policy: steady(retry.Policy{Attempts: 3}), attempts: 3, took: 300 * time.Millisecond},
		{name: "one attempt makes no pause", failures: math.MaxInt, err: errBusy, want: errBusy, text: "busy",
			policy: retry.Policy{Attempts: 1}, attempts: 1},
		{name: "Elapsed bounds it, and then Attempts need not", failures: math.MaxInt, err: errBusy, want: errBusy, text: "after 25 attempts: busy",
			policy: steady(retry.Policy{Max: time.Second, Elapsed: 22 * time.Second}), attempts: 25, took: 21500 * time.Millisecond},
		{name: "the zero policy gives up after ten attempts", failures: math.MaxInt, err: errBusy, want: errBusy, text: "after 10 attempts: busy",
			policy: steady(retry.Policy{}), attempts: 10, took: 32700 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, attempts, pauses := time.Now(), 0, time.Duration(0)
				err := retry.Do(t.Context(), tt.policy,
					func(err error) bool { return errors.Is(err, errBusy) },
					func(err error, attempt int, wait time.Duration) {
						if err != tt.err || attempt != attempts {
							t.Errorf("notify(%v, %d), want (%v, %d)", err, attempt, tt.err, attempts)
						}
						pauses += wait
					},
					func(context.Context) error {
						if attempts++; attempts <= tt.failures {
							return tt.err
						}
						return nil
					})
				if !errors.Is(err, tt.want) || err != nil && err.Error() != tt.text {
					t.Errorf("Do = %v, want %q", err, tt.text)
				}
				if attempts != tt.attempts {
					t.Errorf("attempts = %d, want %d", attempts, tt.attempts)
				}
				if took := time.Since(start); took != tt.took || pauses != tt.took {
					t.Errorf("took %v, told of %v, want %v", took, pauses, tt.took)
				}
			})
		})
	}
}

func TestDoStopsWithItsContext(t *testing.T) {
	t.Parallel()
	t.Run("in a pause, with both errors", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 450*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := retry.Do(ctx, steady(retry.Policy{}), nil, nil, func(context.Context) error { return errBusy })
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errBusy) {
				t.Errorf("Do = %v, want both the context's error and %v", err, errBusy)
			}
			if took := time.Since(start); took != 450*time.Millisecond {
				t.Errorf("took %v, want 450ms", took)
			}
		})
	})
	t.Run("in an attempt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		err := retry.Do(ctx, retry.Policy{}, nil, nil, func(ctx context.Context) error {
			cancel()
			return fmt.Errorf("query: %w", ctx.Err())
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Do = %v, want %v", err, context.Canceled)
		}
	})
	t.Run("before the first attempt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := retry.Do(ctx, retry.Policy{}, nil, nil, func(context.Context) error {
			t.Error("op ran")
			return nil
		})
		if err != context.Canceled {
			t.Errorf("Do = %v, want %v", err, context.Canceled)
		}
	})
	t.Run("but not after a success", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		err := retry.Do(ctx, retry.Policy{}, nil, nil, func(context.Context) error { cancel(); return nil })
		if err != nil {
			t.Errorf("Do = %v, want nil", err)
		}
	})
}

// Whatever the policy: every pause lies within its jitter, and neither bound is passed.
func TestPauses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := retry.Policy{
			Initial:  time.Duration(rapid.IntRange(1, 2000).Draw(rt, "initial ms")) * time.Millisecond,
			Max:      time.Duration(rapid.IntRange(1, 20000).Draw(rt, "max ms")) * time.Millisecond,
			Jitter:   rapid.Float64Range(0.01, 1).Draw(rt, "jitter"),
			Attempts: rapid.IntRange(1, 12).Draw(rt, "attempts"),
			Elapsed:  time.Duration(rapid.IntRange(1, 60000).Draw(rt, "elapsed ms")) * time.Millisecond,
		}
		var waits []time.Duration
		var took time.Duration
		attempts := 0
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			retry.Do(t.Context(), p, nil,
				func(_ error, _ int, wait time.Duration) { waits = append(waits, wait) },
				func(context.Context) error { attempts++; return errBusy })
			took = time.Since(start)
		})
		if attempts > p.Attempts || attempts != len(waits)+1 {
			rt.Errorf("%d attempts with %d pauses, want at most %d", attempts, len(waits), p.Attempts)
		}
		if took > p.Elapsed {
			rt.Errorf("took %v, want at most %v", took, p.Elapsed)
		}
		base := min(p.Initial, p.Max)
		for i, wait := range waits {
			low, high := float64(base)*(1-p.Jitter), float64(base)*(1+p.Jitter)
			if w := float64(wait); w < math.Floor(low) || w > math.Ceil(high)+1 {
				rt.Errorf("pause %d is %v, want within %.0f%% of %v", i, wait, 100*p.Jitter, base)
			}
			base = min(2*base, p.Max)
		}
	})
}

func ExampleDo() {
	attempts := 0
	err := retry.Do(context.Background(), retry.Policy{Initial: time.Millisecond}, nil, nil, func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("deadlock detected")
		}
		return nil
	})
	fmt.Println(attempts, err)
	// Output: 3 <nil>
}
