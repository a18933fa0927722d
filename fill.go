package changeling

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// fill gives the rows of a new column their values: by ranges of blocks, and then wherever some are left. Users move rows that have
// none yet, and rows that somebody has locked are left out, so that it is not the walk that ends it, but one statement that
// finds no row without a value.
func (r *run) fill(ctx context.Context, s plan.Step) error {
	return r.explain(ctx, s, r.fillRows(ctx, s))
}

func (r *run) fillRows(ctx context.Context, s plan.Step) error {
	if r.record.Heap == 0 {
		if err := r.beginCopy(ctx); err != nil {
			return err
		}
	}
	batch := func(ctx context.Context, sql string, c *copier.Chunk, args ...any) (rows int64, err error) {
		began := time.Now()
		err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Async: true, Path: s.Path}, func(ctx context.Context, t *tx) error {
				done, err := t.ExecContext(ctx, sql, args...)
				if err != nil {
					return err
				}
				if rows, err = done.RowsAffected(); err != nil || c == nil {
					return err
				}
				return r.note(ctx, t, "fill", *c, rows, time.Since(began))
			})
		})
		if noted(err) {
			return 0, nil
		}
		r.spend(rows)
		return rows, err
	}
	done, rows, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, "fill")
	if err != nil {
		return err
	}
	blocks := r.record.Blocks
	walker := r.walker(s, copier.Blocks(blocks), r.sizer(fewestBlocks, 1, portion(blocks), r.perBlock(blocks)), rows, r.record.Plan.Rows)
	if err := walker.Walk(ctx, done, func(ctx context.Context, c copier.Chunk) (int64, error) {
		from, upto, err := tids(c.Range)
		if err != nil {
			return 0, err
		}
		return batch(ctx, s.SQL[0], &c, from, upto)
	}); err != nil {
		return err
	}
	for attempt := 0; ; {
		if err := r.paused(ctx); err != nil {
			return err
		}
		rows, err := batch(ctx, s.SQL[1], nil)
		if err != nil || rows > 0 {
			if err != nil {
				return err
			}
			continue
		}
		var none bool
		if err := r.pinned(ctx, func(q state.DB) error { return q.QueryRowContext(ctx, s.Done).Scan(&none) }); err != nil {
			return err
		}
		if none {
			return r.next(ctx)
		}
		attempt++
		wait := min(100*time.Millisecond<<min(attempt, 10), 5*time.Second)
		r.engine.config.Events(event.Retried{Step: string(s.Kind), What: "rows that others have locked", Attempt: attempt, Err: errLocked, Wait: wait})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// tids are the ends of a range of blocks: from the first row of it up to the first one behind it.
func tids(r copier.Range) (from, upto string, err error) {
	block := func(k copier.Key) (int64, error) {
		if k == nil {
			return 0, nil
		}
		n, err := strconv.ParseInt(k[0], 10, 64)
		return n + 1, err
	}
	a, err := block(r.After)
	if err != nil {
		return "", "", err
	}
	b, err := block(r.Upto)
	return fmt.Sprintf("(%d,0)", a), fmt.Sprintf("(%d,0)", b), err
}

var errLocked = errors.New("somebody holds rows that have no value yet")
