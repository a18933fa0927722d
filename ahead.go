package changeling

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/plan"
)

// errAhead ends a walk ahead at a range that is not equal, as where users write.
var errAhead = errors.New("the verification does the rest")

// buildOne makes the indexes of one statement, on MySQL and MariaDB. Who wants it fast has rows compared beside it: both tables are read by their
// key, which needs none of the indexes, and the build leaves a core to others (MariaDB sorts in one thread).
func (r *run) buildOne(ctx context.Context, s plan.Step) error {
	work := func(ctx context.Context) error {
		return r.patiently(ctx, "build", func(ctx context.Context) error { return r.alone(ctx, s) })
	}
	if !r.engine.config.Fast {
		return work(ctx)
	}
	building, built := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { r.ahead(ctx, building) })
	defer beside.Wait()
	defer built()
	return work(ctx)
}

// ahead compares ranges from the first on until the indexes are built, and notes them for the verification, which passes them over. Nothing is
// applied to the shadow meanwhile; what is applied afterwards, drains note, so it is compared again. The first range that is not equal, and any
// trouble, is the verification's own matter.
func (r *run) ahead(ctx, building context.Context) {
	done, _, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walkVerify)
	if err != nil {
		return
	}
	// The build has to have the shadow to itself for a moment at either end, and waits for a range that is being read.
	w := &copier.Walker{Cut: r.keyRanges(), Gate: until{r.gate, building}, Workers: 1, Sizer: r.sized(100*time.Millisecond, 5000, 100, 500_000, r.perRow())}
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

// until is a gate that lets nobody in any more, and keeps nobody waiting, once a context has ended.
type until struct {
	copier.Gate
	end context.Context
}

func (g until) Enter(_ context.Context, worker int) error { return g.Gate.Enter(g.end, worker) }

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
