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
	// Pending counts the keys in the log, and Press is told how much the drain should outrank the throttle, from 0 to 1: the
	// more, the longer the log does not shrink. Where they are nil, the throttle always wins.
	Pending func(ctx context.Context) (int64, error)
	Press   func(share float64)
}

// DrainWorker is the number under which a drain comes to the gate: a walk may run beside it, whose workers count from 0.
const DrainWorker = -1

// Run drains in rounds until one finds fewer than few keys. The error is a duplicate (fault.Duplicate) only if the rows
// of all keys of one snapshot break a unique index: then the data do, and not the order in which they were copied.
func (d *Drain) Run(ctx context.Context, few int64) error {
	race := race{since: time.Now()}
	if d.Press != nil {
		defer d.Press(0)
	}
	for {
		if err := d.Gate.Enter(ctx, DrainWorker); err != nil {
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
		race.drained += done.Keys
		d.Gate.Leave(DrainWorker, took)
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
		if d.Pending != nil && time.Since(race.since) >= lap {
			pending, err := d.Pending(ctx)
			if err != nil {
				return err
			}
			d.Press(race.lap(pending))
		}
	}
}

// race is a drain against those who write.
type race struct {
	since   time.Time // the end of the last lap
	drained int64     // keys since then
	pending int64     // keys in the log at that moment; zero before the first
	press   float64
}

// lap is how often the log is counted.
const lap = time.Second

// lap says how much the drain should outrank the throttle, after another second of it. A log that does not shrink by a tenth
// in a second would take half a minute and more, if it ever ended; then the drain gains a quarter of what it lacks to full
// speed, and it keeps what it gained until it is done.
func (r *race) lap(pending int64) float64 {
	if r.pending == 0 { // the first lap: there were no more than these
		r.pending = pending + r.drained
	}
	if pending > r.pending-r.pending/10 {
		r.press = min(r.press+0.25, 1)
	}
	r.pending, r.drained, r.since = pending, 0, time.Now()
	return r.press
}
