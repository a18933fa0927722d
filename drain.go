package changeling

import (
	"context"
	"database/sql"
	"sync/atomic"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/throttle"
)

// ofParts sees to it that a drain meets no row of a partition that came meanwhile: if that went again, nobody would take its rows out of the shadow.
// Whoever sees such a row sees its partition in the same snapshot.
func (r *run) ofParts(ctx context.Context, t *tx) error {
	question := postgres.Whole(r.pair)
	if question == "" {
		return nil
	}
	var whole bool
	if err := t.QueryRowContext(ctx, question).Scan(&whole); err != nil {
		return err
	}
	if !whole {
		return r.disarmed()
	}
	return nil
}

// few is how many keys are left when a drain is done: as many as a cutover applies in a few milliseconds.
const few = 100

func (r *run) drainStep(ctx context.Context) error {
	note, err := r.aheadOfDrain(ctx)
	if err == nil {
		err = r.drain(ctx, note)
	}
	if err != nil {
		return r.explain(ctx, r.record.Plan.Steps[r.record.Step], err)
	}
	return r.next(ctx)
}

// drain applies the key log in rounds. Before anything was compared, nothing needs to be compared again.
func (r *run) drain(ctx context.Context, note bool) error {
	if r.record.Plan.Undoes != nil {
		return r.drainBack(ctx, note)
	}
	err := r.rounds(ctx, note)
	if err == nil || !unconvertible(err) {
		return err
	}
	return r.accuse(ctx, err, r.rows.LoggedPlaces())
}

// rounds is drain without a search for the row that does not fit.
func (r *run) rounds(ctx context.Context, note bool) error {
	sum := &r.rowsDone
	if r.record.Plan.Steps[r.record.Step].Kind != plan.Drain { // it is part of another step, whose rows it does not count
		sum = new(atomic.Int64)
	}
	d := &copier.Drain{Gate: r.gate, Sizer: &throttle.Sizer{Target: r.engine.config.ChunkTime, Initial: 1000, Min: 200, Max: 20000}, Sink: r.engine.config.Events,
		Apply: func(ctx context.Context, limit int64) (done copier.Drained, err error) {
			if err := r.intact(ctx, time.Second); err != nil {
				return done, err
			}
			if r.follower != nil {
				if err := r.follower.catchUp(ctx); err != nil {
					return done, err
				}
				r.settling.Lock()
				defer r.settling.Unlock()
			}
			err = r.patiently(ctx, "drain", func(ctx context.Context) error {
				return r.tx(ctx, session{Async: true, ByKey: true, Path: r.pair.Path, Isolation: sql.LevelRepeatableRead, Role: r.pair.Owner},
					func(ctx context.Context, t *tx) error {
						done, err = r.apply(ctx, t, limit, note)
						return err
					})
			})
			if err != nil || done.Keys > 0 {
				r.wrote.Store(r.clock())
			}
			return done, err
		},
		Pending: func(ctx context.Context) (pending int64, err error) {
			err = r.engine.db.QueryRowContext(ctx, r.rows.Pending()).Scan(&pending)
			return pending, err
		},
		Press: func(share float64) { r.gate.Press(copier.DrainWorker, share) },
		Done: func(d copier.Drained, took time.Duration) {
			r.pending.Store(d.Keys)
			r.engine.config.Events(event.Progress{Step: "drain", Done: sum.Add(d.Keys), Chunk: d.Keys, Took: took, Pending: d.Keys})
		}}
	return d.Run(ctx, few)
}

// apply is one drain in the transaction at hand.
func (r *run) apply(ctx context.Context, t *tx, limit int64, note bool) (d copier.Drained, err error) {
	if err := r.ofParts(ctx, t); err != nil {
		return d, err
	}
	var resets int64
	err = t.QueryRowContext(ctx, r.rows.Drain(limit, note)).Scan(&d.Keys, &resets, &d.Deleted, &d.Inserted)
	if err == nil && resets > 0 {
		err = copier.ErrReset
	}
	return d, err
}
