package changeling

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// staged says that a statement is to go in two stages: what it takes away is kept for a while, and can be brought back.
func (e *Engine) staged(s plan.Statement) bool {
	keeps := e.config.dropSaid && (e.config.DropAfter < 0 || e.config.DropAfter >= time.Second)
	return keeps && s.Verb == "DROP TABLE" || e.config.Cover
}

// stage plans such a statement.
func (e *Engine) stage(ctx context.Context, s plan.Statement) (*plan.Plan, error) {
	renames := s.Verb == "ALTER TABLE" && len(s.Clauses) > 0 && s.Clauses[0].Action == plan.RenameTable
	if s.Verb != "DROP TABLE" && !renames {
		return nil, &fault.Problem{Kind: fault.Usage, Text: "Cover leaves a view under a table's old name, and this statement is no ALTER TABLE … RENAME TO. Nothing was changed"}
	}
	return e.dialect.Stage(ctx, e.db, s, newID(), e.config.LockWait)
}

// keeps is for how long a new change keeps what is old. A view under an old name stays until somebody says that it can go, because code that
// still needs it does not show.
func (e *Engine) keeps(p *plan.Plan) time.Duration {
	if p.Covers() && !e.config.dropSaid {
		return Keep
	}
	return e.config.DropAfter
}

// putAside puts something out of the way, or brings it back, in one transaction with the counter.
func (r *run) putAside(ctx context.Context, s plan.Step) error {
	settings := r.engine.dialect.Pinned()
	err := r.patiently(ctx, "lock", func(ctx context.Context) error {
		if err := r.clear(ctx, s); err != nil {
			return err
		}
		return r.tx(ctx, session{Settings: settings, LockWait: s.LockWait, Strong: true}, func(ctx context.Context, t *tx) error {
			if err := t.all(ctx, s.SQL[:1]); err != nil {
				return err
			}
			began := time.Now()
			if err := r.undisturbed(ctx, t); err != nil {
				return err
			}
			if err := r.objections(ctx, t, s); err != nil {
				return err
			}
			if err := t.all(ctx, s.SQL[1:]); err != nil {
				return err
			}
			if _, err := t.ExecContext(ctx, r.engine.dialect.As("")); err != nil { // the statements may have taken a role themselves
				return err
			}
			text := r.engine.store.Text
			mark := text.Cut
			if r.record.Plan.Undoes != nil {
				mark = text.Dropped
			}
			if err := r.engine.store.Exec(ctx, t, mark, r.id); err != nil {
				return err
			}
			if err := r.engine.store.Exec(ctx, t, text.SetHeld, r.id, float64(time.Since(began))/float64(time.Millisecond)); err != nil {
				return err
			}
			return r.advance(ctx, t, 1)
		})
	})
	if code := fault.Code(err); err != nil && (strings.HasPrefix(code, "42") && !fault.Denied(err) || code == "2BP01") {
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("step %q: %s. Nothing was changed", s.Name, strings.TrimSuffix(fault.Message(err)+" "+fault.Detail(err), " "))}
	}
	return r.late(s, r.explain(ctx, s, err))
}

// objections are what the plan did not see, because it came after it.
func (r *run) objections(ctx context.Context, t *tx, s plan.Step) error {
	var found []string
	for _, q := range s.Ask {
		more, err := state.Column(ctx, t, q)
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	if len(found) == 0 {
		return nil
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("step %q: %s. Nothing was changed", s.Name, strings.Join(found, "; "))}
}

// inStages is the plan of a change that has put something aside, also while that is brought back; nil for others.
func (c *Change) inStages() *plan.Plan {
	p := c.record.Plan
	if p.Undoes != nil {
		p = p.Undoes
	}
	if p.Back == nil {
		return nil
	}
	return p
}

// bringBack takes a change back that has put something aside. With LossAllowed foreign keys stay away whose other table is gone.
func (c *Change) bringBack(ctx context.Context, loss Loss) error {
	if c.record.Plan.Undoes == nil || loss == LossAllowed && !c.record.Plan.Lossy {
		if err := c.turnBack(ctx, loss); err != nil {
			return stopped(ctx, c.record.ID, err)
		}
	}
	return c.Run(ctx)
}

// turnBack makes the way back the change's plan.
func (c *Change) turnBack(ctx context.Context, loss Loss) error {
	lease, err := c.briefly(ctx)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil {
		return err
	}
	r := newRun(c, lease)
	made := c.inStages()
	undoing := r.record.Plan.Undoes != nil
	switch {
	case r.record.Status == state.Aborted:
		return usage("change %s is aborted: there is nothing to undo", r.id)
	case r.record.Status == state.Undone:
		return nil
	case !undoing && r.record.Status != state.Done:
		return usage("change %s is not done: `changeling abort %s` ends it before it puts anything aside, and after that `changeling resume %s` lets it finish; then it can be undone", r.id, r.id, r.id)
	case !undoing && r.record.Dropped:
		return c.noUndo("what it had put aside is dropped")
	case undoing && r.record.Step > r.record.Plan.Turn():
		return usage("change %s has brought the table back already, and stands behind it: mend what it says, then `changeling resume %s`", r.id, r.id)
	}
	back := *made.Back
	if loss == LossAllowed {
		back = postgres.WithoutKeys(back)
	}
	back.Undoes, back.Lossy, back.Fingerprint = made, loss == LossAllowed, r.record.Fingerprint
	if err := r.rewrite(ctx, &back); err != nil {
		return err
	}
	return c.reload(ctx)
}

// stillAside says that what a finished change has put aside has not come back: its statement needs no second time.
func (e *Engine) stillAside(ctx context.Context, r *state.Record) (bool, error) {
	_, _, err := e.dialect.Resolve(ctx, e.db, r.Table)
	gone := missing(err)
	if err != nil && !gone {
		return false, err
	}
	if r.Plan.Attaches() {
		return e.stillAttached(ctx, r)
	}
	if !r.Plan.Covers() {
		return gone, nil // another table of the name is another matter
	}
	s, err := plan.Parse(r.Statement, e.dialect.Syntax())
	if err != nil || len(s.Clauses) == 0 {
		return false, err
	}
	_, id, err := e.dialect.Resolve(ctx, e.db, schema.Name{Schema: r.Table.Schema, Table: s.Clauses[0].NewName})
	if missing(err) {
		return false, nil
	}
	return id == r.Plan.Pair.Table, err
}

// viewIsOurs refuses to drop what has the name of a change's view and is another thing.
func (r *run) viewIsOurs(ctx context.Context) error {
	var there, other bool
	if err := r.engine.db.QueryRowContext(ctx, postgres.Covered(r.pair)).Scan(&there, &other); err != nil || !other {
		return err
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("%s is not the view that change %s put there: it is kept. Look at it, and drop it yourself", r.pair.Old, r.id)}
}
