package changeling

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/throttle"
)

// errAhead ends a walk ahead: the indexes are built, or a range is not equal, as where users write.
var errAhead = errors.New("the verification does the rest")

// buildOne makes the indexes of one statement, on MySQL and MariaDB. Who wants it fast has rows compared beside it: both tables are read by their
// key, which needs none of the indexes, and the build leaves a core to others (MariaDB sorts in one thread).
func (r *run) buildOne(ctx context.Context, s plan.Step) error {
	work := func(ctx context.Context) error {
		return r.patiently(ctx, "build", func(ctx context.Context) error { return r.alone(ctx, s) })
	}
	if !r.engine.config.Fast || r.record.Plan.Lossy || r.record.Plan.Undoes != nil {
		return work(ctx)
	}
	var built atomic.Bool
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer built.Store(true)
		return work(groupCtx)
	})
	group.Go(func() error {
		r.ahead(groupCtx, &built)
		return nil
	})
	return group.Wait()
}

// ahead compares ranges from the first on until the indexes are built, and notes them for the verification, which passes them over. Nothing is
// applied to the shadow meanwhile; what is applied afterwards, drains note, so it is compared again. The first range that is not equal, and any
// trouble, is the verification's own matter.
func (r *run) ahead(ctx context.Context, built *atomic.Bool) {
	done, _, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walkVerify)
	if err != nil {
		return
	}
	w := &copier.Walker{Cut: r.keyRanges(), Gate: until{r.gate, built}, Workers: 1,
		// The build has to have the shadow to itself for a moment at either end, and waits for a range that is being read.
		Sizer: capped{&throttle.Sizer{Target: 100 * time.Millisecond, Initial: 5000, Min: 100, Max: 500_000}, r, r.perRow()}}
	_ = w.Walk(ctx, done, func(ctx context.Context, c copier.Chunk) (int64, error) {
		began := time.Now()
		source, shadow, err := tables{r}.Compare(ctx, c)
		if err == nil && source != shadow {
			err = errAhead
		}
		if err != nil {
			return 0, err
		}
		return source.Rows, r.compared(ctx, c, source.Rows, time.Since(began))
	})
}

// until is a gate that lets nobody in any more from a moment on.
type until struct {
	copier.Gate
	over *atomic.Bool
}

func (g until) Enter(ctx context.Context, worker int) error {
	if g.over.Load() {
		return errAhead
	}
	return g.Gate.Enter(ctx, worker)
}

// aheadOfDrain says whether rows were compared ahead of the first drain, so that it has to note what it applies. Where much is to be applied, what
// was compared is forgotten instead: to compare it in one piece would take long.
func (r *run) aheadOfDrain(ctx context.Context) (bool, error) {
	done, _, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walkVerify)
	if err != nil || len(done) == 0 {
		return false, err
	}
	if r.follower != nil {
		if err := r.follower.catchUp(ctx); err != nil {
			return false, err
		}
	}
	var pending int64
	if err := r.engine.db.QueryRowContext(ctx, r.rows.Pending()).Scan(&pending); err != nil || pending <= mostAhead {
		return true, err
	}
	return false, r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		return r.engine.store.Exec(ctx, t, r.engine.store.Text.Unwalk, r.record.ID, walkVerify)
	})
}

// mostAhead is how many keys a drain may note.
const mostAhead = 10_000

// compared notes a range as compared.
func (r *run) compared(ctx context.Context, c copier.Chunk, rows int64, took time.Duration) error {
	err := r.tx(ctx, session{Async: true}, func(ctx context.Context, t *tx) error { return r.note(ctx, t, walkVerify, c, rows, took) })
	if noted(err) || fault.Duplicate(err) {
		return nil
	}
	return err
}

// walkVerify is the walk that compares.
const walkVerify = "verify"
