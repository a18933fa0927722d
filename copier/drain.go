package copier

import (
	"context"
	"errors"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
)

// ErrReset says that the source was truncated or rewritten: the copy begins again.
var ErrReset = errors.New("the source was truncated or rewritten")

// Drained counts what a drain did.
type Drained struct{ Keys, Deleted, Inserted int64 }

// Drain brings the shadow in step with the source: it takes keys out of the log and copies their rows again.
// One Drain of a change runs at a time, so two applies of one key never overlap (invariant I3).
type Drain struct {
	// Apply takes at most limit keys, all that one snapshot sees for limit 0, and applies them in the same transaction.
	// It returns ErrReset, and does nothing, if a TRUNCATE is among them.
	Apply func(ctx context.Context, limit int64) (Drained, error)
	Sizer Sizer
	Gate  Gate
	Sink  event.Sink
	// Done is told after each round. It may be nil.
	Done func(Drained, time.Duration)
}

// Run drains in rounds until one finds fewer than few keys. The error is a duplicate (fault.Duplicate) only if the rows
// of all keys of one snapshot break a unique index: then the data do, and not the order in which they were copied.
func (d *Drain) Run(ctx context.Context, few int64) error {
	for {
		if err := d.Gate.Enter(ctx, 0); err != nil {
			return err
		}
		limit := d.Sizer.Next()
		began := time.Now()
		done, err := d.Apply(ctx, limit)
		if fault.Duplicate(err) {
			// A value may have moved from a row that is pending to one that was taken. All keys of one snapshot hold both.
			d.Sink(event.Retried{Step: "drain", What: "drain", Attempt: 1, Err: err})
			limit = 0
			done, err = d.Apply(ctx, 0)
		}
		took := time.Since(began)
		d.Gate.Leave(0, took)
		if err != nil {
			return err
		}
		if limit > 0 && done.Keys == limit {
			d.Sizer.Observe(limit, took)
		}
		if d.Done != nil {
			d.Done(done, took)
		}
		if done.Keys < few && (limit == 0 || done.Keys < limit) {
			return nil
		}
	}
}
