package changeling

import (
	"context"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// This file is for undos of tables with triggers on MySQL, see internal/mysql/leadback.go, and for what must not be taken back any more.

// leadBack makes the plan of an undo one that the table's triggers go through, if it has some by now.
func (r *run) leadBack(ctx context.Context, p *plan.Plan) error {
	d, ok := r.engine.dialect.(mysqld)
	if !ok {
		return nil
	}
	return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
		conn, release, err := r.beside(ctx, t, plan.Step{})
		if err != nil {
			return err
		}
		defer release()
		why, err := mysql.LeadBack(ctx, conn, p, d.maria)
		if err == nil && len(why) > 0 {
			err = r.noUndo("%s", strings.Join(why, "; "))
		}
		return err
	})
}

// takeAway brings the old table of an undo that is given up to where it was before. It may run twice.
func (r *run) takeAway(ctx context.Context) error {
	if r.pair.Rests.Table == "" {
		return nil
	}
	return r.patiently(ctx, "abort", func(ctx context.Context) error {
		return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
			var near bool
			if err := r.engine.db.QueryRowContext(ctx, mysql.Near(r.pair)).Scan(&near); err != nil || !near {
				return err
			}
			return r.each(ctx, t, plan.Step{SQL: mysql.TakeAway(r.pair), LockWait: r.engine.config.LockWait})
		})
	})
}

// uncut is an error if the tables are swapped and nobody has lived to say so: then there is nothing to be taken back any more. On
// PostgreSQL the counter moves with the swap.
func (r *run) uncut(ctx context.Context) error {
	cut := r.record.Plan.Find(plan.Cutover)
	if r.engine.dialect.Transactional() || cut < 0 || r.record.Step != cut || r.record.Plan.Steps[cut].Done == "" {
		return nil
	}
	var swapped bool
	if err := r.engine.db.QueryRowContext(ctx, r.record.Plan.Steps[cut].Done).Scan(&swapped); err != nil || !swapped {
		return err
	}
	s := r.engine.store
	if err := s.Exec(ctx, s.DB, s.Text.SetWant, r.id, string(state.WantRun)); err != nil { // or the next run would meet the wish again
		return err
	}
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s has swapped the tables, and did not live to say so: there is nothing to abort any more; `changeling resume %s` lets it finish", r.id, r.id)}
}
