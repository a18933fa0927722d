package changeling

import (
	"context"
	"errors"
	"fmt"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// unmet says that MySQL or MariaDB did for an empty twin at once what it refuses for the table itself, whose past nobody can see (see
// past and files in internal/mysql). Nothing was changed then.
func (r *run) unmet(err error) bool {
	p := r.record.Plan
	_, other := errors.AsType[*otherNow](err)
	return r.record.Step == 0 && (p.Route == plan.Direct || p.Route == plan.Recipe) && p.Undoes == nil && (other || mysql.Unmet(err) != "")
}

// still asks whether what a step rests on is as it was when it was planned.
func (r *run) still(ctx context.Context, s plan.Step) error {
	if s.While == "" {
		return nil
	}
	var is bool
	if err := r.engine.db.QueryRowContext(ctx, s.While).Scan(&is); err != nil || is {
		return err
	}
	return &otherNow{r.record.Plan.Why}
}

// otherNow says that what a plan rests on is not so any more.
type otherNow struct{ was string }

func (o *otherNow) Error() string { return "not so any more: " + o.was }

// otherwise plans the change again, without the way that the server refused.
func (r *run) otherwise(ctx context.Context, refused error) error {
	d, ok := r.engine.dialect.(mysqld)
	if !ok || d.unmet != "" {
		return refused
	}
	_, other := errors.AsType[*otherNow](refused)
	if !other {
		d.unmet = "INSTANT"
	}
	e := r.engine
	p, err := d.Plan(ctx, e.db, r.record.Statement, r.id, e.config.LockWait, e.config.Route, e.config.undoLog())
	if err != nil {
		return fmt.Errorf("%w; and to plan it another way failed: %w", refused, err)
	}
	why := fmt.Sprintf("the server does not change %s at once, as it did an empty twin (%s)", p.Table, mysql.Unmet(refused))
	if other {
		why = refused.Error()
	}
	if e.restrict(p); p.Route == plan.Refuse {
		return &fault.Problem{Kind: fault.Refused, Err: refused, Text: why + "; " + refusal(p)}
	}
	err = r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		if err := e.store.Replan(ctx, t, p); err != nil {
			return err
		}
		return e.store.Exec(ctx, t, e.store.Text.Remark, r.id, why+": planned again, by "+string(p.Route))
	})
	if err == nil {
		e.config.Events(event.Notice{Text: why + ". Nothing was changed, and it goes by " + string(p.Route) + " now: " + p.Why})
	}
	return err
}
