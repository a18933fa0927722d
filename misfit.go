package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Rows that were written since the cutover and do not fit the old table.

// drainBack is a drain into the old table. A row that does not fit there is set aside, and tried again when all others are in.
func (r *run) drainBack(ctx context.Context, note bool) error {
	for left := int64(-1); ; {
		if err := r.backRounds(ctx, note); err != nil {
			return err
		}
		misfits, n, err := r.misfits(ctx)
		if err != nil {
			return err
		}
		switch {
		case n == 0 || r.record.Plan.Lossy && n == r.aside.Load():
			return nil
		case n == left && !r.record.Plan.Lossy:
			return &fault.Problem{Kind: fault.Refusal, Text: fmt.Sprintf("%d rows that were written since the cutover do not fit the old table (%s)", n, strings.Join(misfits, "; "))}
		case n == left:
			r.aside.Store(n)
			r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%d rows do not fit the old table, which keeps what it has of them: %s", n, strings.Join(misfits, "; "))})
			return nil
		}
		left = n
		if err := r.back(ctx, func(ctx context.Context, t *tx) error { return t.all(ctx, []string{r.rows.PutBack()}) }); err != nil {
			return err
		}
	}
}

// back is a transaction that moves rows to the old table.
func (r *run) back(ctx context.Context, fn func(ctx context.Context, t *tx) error) error {
	return r.patiently(ctx, "drain", func(ctx context.Context) error {
		return r.tx(ctx, session{ByKey: true, Path: r.pair.Path, Role: r.pair.Owner}, fn)
	})
}

// backRounds drains, and sets aside what does not fit.
func (r *run) backRounds(ctx context.Context, note bool) error {
	for {
		err := r.rounds(ctx, note)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, copier.ErrReset):
			err = r.back(ctx, func(ctx context.Context, t *tx) error {
				_, fill := r.rows.Refill()
				return t.all(ctx, fill)
			})
		case misfit(err):
			err = r.setAside(ctx, note)
		}
		if err != nil {
			return err
		}
	}
}

// misfit says that a row does not fit the old table.
func misfit(err error) bool { return unconvertible(err) || fault.Duplicate(err) }

// setAside halves the part of the log that is applied until the key is left that fails, and moves it to the misfits.
func (r *run) setAside(ctx context.Context, note bool) error {
	for limit := int64(1024); ; {
		var taken int64
		err := r.back(ctx, func(ctx context.Context, t *tx) error {
			d, err := r.apply(ctx, t, limit, note)
			taken = d.Keys
			return err
		})
		switch {
		case err == nil && taken == 0:
			return nil
		case err == nil:
		case !misfit(err):
			return err
		case limit > 1:
			limit /= 2
		default:
			why := shorten(fault.Message(err), 200)
			var key string
			return r.back(ctx, func(ctx context.Context, t *tx) error {
				if err := t.QueryRowContext(ctx, r.rows.SetAside(), why).Scan(&key); !errors.Is(err, sql.ErrNoRows) {
					return err
				}
				return nil
			})
		}
	}
}

// misfits are the rows that do not fit, ten of them for a person.
func (r *run) misfits(ctx context.Context) (list []string, n int64, err error) {
	err = r.pinned(ctx, func(q state.DB) error {
		rows, err := q.QueryContext(ctx, r.rows.MisfitRows())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key, why string
			if err := rows.Scan(&key, &why); err != nil {
				return err
			}
			if n++; n <= 10 {
				list = append(list, r.person(key)+": "+why)
			}
		}
		return rows.Err()
	})
	return list, n, err
}

// verifyLossy compares where rows may differ: it tells of the ranges that do.
func (r *run) verifyLossy(ctx context.Context, s plan.Step) error {
	if err := r.drain(ctx, false); err != nil {
		return err
	}
	differing := 0
	w := r.walker(s, r.keyRanges(), r.readSizer(5000, 100, 500_000), 0, r.record.Plan.Rows)
	w.Workers = 1
	err := w.Walk(ctx, nil, func(ctx context.Context, c copier.Chunk) (int64, error) {
		source, shadow, err := tables{r}.Compare(ctx, c)
		if err == nil && source != shadow {
			differing++
		}
		return source.Rows, err
	})
	if err == nil && differing > 0 {
		r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%d ranges of rows differ from what the change would make of them, which was allowed", differing)})
	}
	return err
}
