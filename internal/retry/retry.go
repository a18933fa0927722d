// Package retry tries an operation again, with pauses that grow and vary, so that two that met in a deadlock do not meet
// again at once. It is the only user of the back-off library.
package retry

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy says how long and how often to try. The zero Policy makes ten attempts within about half a minute, which a
// failover of the server usually fits into.
type Policy struct {
	// Initial is the first pause; each further one is twice as long. Zero means 100 ms.
	Initial time.Duration
	// Max is the longest pause, before jitter. Zero means 10 s.
	Max time.Duration
	// Jitter is the part by which a pause varies to both sides, up to 1. Zero means 0.5, a negative value none.
	Jitter float64
	// Attempts and Elapsed bound the whole, whichever is reached first; no pause begins that would end after Elapsed.
	// Zero means no such bound, but where both are zero Attempts is 10.
	Attempts int
	Elapsed  time.Duration
}

// Do runs op until it succeeds, until it fails with an error for which retryable is false, or until the policy or ctx
// ends it. A nil retryable holds for every error. Where ctx has ended already, op does not run at all.
//
// notify, which may be nil, is called before each pause with the error, the number of the attempt that failed, counted
// from 1, and the length of the pause. It runs on the caller's goroutine.
//
// Do returns the error of the last attempt, with the number of attempts where the policy gave up after several. If ctx
// ended, the error wraps both ctx.Err() and the error of the last attempt.
func Do(ctx context.Context, p Policy, retryable func(error) bool, notify func(err error, attempt int, wait time.Duration), op func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var (
		attempt int
		last    error // as op returned it: the library drops it when ctx ends
		final   bool
	)
	try := func() error {
		attempt++
		last = op(ctx)
		final = last != nil && retryable != nil && !retryable(last)
		if final {
			return backoff.Permanent(last)
		}
		return last
	}
	tell := func(err error, wait time.Duration) {
		if notify != nil {
			notify(err, attempt, wait)
		}
	}
	err := backoff.RetryNotify(try, p.backOff(ctx), tell)
	switch {
	case err == nil:
		return nil
	case final:
		return last
	case ctx.Err() != nil:
		return fmt.Errorf("%w after attempt %d: %w", ctx.Err(), attempt, last)
	case attempt == 1:
		return last
	}
	return fmt.Errorf("after %d attempts: %w", attempt, last)
}

func (p Policy) backOff(ctx context.Context) backoff.BackOff {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(cmp.Or(p.Initial, 100*time.Millisecond)),
		backoff.WithMaxInterval(cmp.Or(p.Max, 10*time.Second)),
		backoff.WithRandomizationFactor(min(max(cmp.Or(p.Jitter, 0.5), 0), 1)),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(p.Elapsed), // zero is no bound to the library, too
	)
	b.InitialInterval = min(b.InitialInterval, b.MaxInterval) // the library bounds only those after the first
	attempts := p.Attempts
	if attempts <= 0 && p.Elapsed <= 0 {
		attempts = 10
	}
	if attempts <= 0 {
		return backoff.WithContext(b, ctx)
	}
	return backoff.WithContext(backoff.WithMaxRetries(b, uint64(attempts-1)), ctx)
}
