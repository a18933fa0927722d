package changeling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Undo says whether a change can be taken back after its cutover.
type Undo string

// The values of Undo. UndoAuto, the default, is UndoOn where the old table is dropped after a while, and UndoOff where it is dropped at once
// or kept for ever: until the drop two triggers on the table log which keys are written, and somebody should take them off.
const (
	UndoAuto Undo = ""
	UndoOn   Undo = "on"
	UndoOff  Undo = "off"
)

// undoLog is how large the log of an undo may become, zero where there is none.
func (c Config) undoLog() int64 {
	if c.Undo == UndoOff || c.Undo == UndoAuto && c.DropAfter < 0 || c.DropAfter >= 0 && c.DropAfter < time.Second {
		return 0
	}
	return c.UndoLogMax
}

// Loss says what becomes of rows that were written since the cutover and do not fit the old table.
type Loss int

// With NoLoss an undo is refused because of them, with LossAllowed the old table keeps what it has of such a row, if anything, and takes
// values as its types make them. The new table is kept as long as an old one is, so that they can be looked up.
const (
	NoLoss Loss = iota
	LossAllowed
)

// Undo takes a change back after its cutover: what was written since is copied to the old table, which is compared and takes
// its place again. No write is lost. It can be called until the old table is dropped, as long as nobody altered the table, and again after
// any failure: it goes on then. Abort gives an undo up before its swap, and the table stays as the change made it.
func (c *Change) Undo(ctx context.Context, loss Loss) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return stopped(ctx, c.record.ID, err)
	}
	if c.record.Status == state.Undone {
		return c.undoMembers(ctx, loss)
	}
	if c.inStages() != nil {
		return c.bringBack(ctx, loss)
	}
	if err := errors.Join(c.onItsOwn(ctx, "undone"), c.kinUndoable(ctx, loss)); err != nil {
		return stopped(ctx, c.record.ID, err)
	}
	if c.record.Plan.Undoes == nil || loss == LossAllowed && !c.record.Plan.Lossy {
		if err := c.turn(ctx, loss); err != nil {
			return stopped(ctx, c.record.ID, err)
		}
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	return c.undoMembers(ctx, loss)
}

// turn makes the undo's plan the change's.
func (c *Change) turn(ctx context.Context, loss Loss) error {
	if err := c.undoable(); err != nil {
		return err
	}
	s := c.engine.store
	lease, err := c.briefly(ctx)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil {
		return err
	}
	r := newRun(c, lease)
	if c.record.Plan.Undoes != nil {
		p := *c.record.Plan
		p.Lossy = loss == LossAllowed
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return s.Replan(ctx, t, &p) })
	}
	if err := c.undoable(); err != nil {
		return err
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.ours(ctx); err != nil {
		return err
	}
	p := *c.record.Plan.Undo
	p.Undoes, p.Fingerprint, p.Lossy = c.record.Plan, c.record.Fingerprint, loss == LossAllowed
	name, id, err := c.engine.dialect.Resolve(ctx, c.engine.db, p.Pair.Source)
	if err == nil {
		p.Pair.Table = id
		var now string
		if now, err = c.engine.fingerprint(ctx, name, id); err == nil && !r.engine.dialect.SameTable(now, p.Fingerprint) {
			return c.noUndo("somebody altered %s after the change (columns, indexes, constraints, rights, views): the old table would not be what it was", p.Table)
		}
		if err == nil && len(p.Made) > 0 {
			var has []string
			if has, err = (postgresql{}).sketch(ctx, c.engine.db, id); err == nil && !slices.Equal(has, p.Made) {
				return c.noUndo("somebody altered %s after the swap, while its change still validated and tidied: the old table would not be what it was", p.Table)
			}
		}
		p.Fingerprint = now
	}
	if missing(err) {
		return c.noUndo("%s is not there any more", p.Table)
	}
	if err != nil {
		return err
	}
	if err := r.leadBack(ctx, &p); err != nil {
		return err
	}
	if err := r.rewrite(ctx, &p); err != nil {
		return err
	}
	return c.reload(ctx)
}

// rewrite makes the way back the change's plan, to be begun at its first step.
func (r *run) rewrite(ctx context.Context, back *plan.Plan) error {
	s := r.engine.store
	err := r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		if err := s.Exec(ctx, t, s.Text.Forget, r.id); err != nil {
			return err
		}
		if err := s.Replan(ctx, t, back); err != nil {
			return err
		}
		if r.record.Step != 0 {
			if err := s.Advance(ctx, t, r.id, r.record.Step, 0); err != nil {
				return err
			}
		}
		if err := r.recognise(ctx, t, back); err != nil {
			return err
		}
		return s.Exec(ctx, t, s.Text.SetState, r.id, string(state.Running), "", 0)
	})
	if fault.Duplicate(err) {
		if other, err := s.Unfinished(ctx, back.Table); err == nil {
			return busy(other)
		}
	}
	if err == nil {
		r.remark(ctx, "an undo was begun")
	}
	return err
}

// undoable says whether there is something to undo, as far as the change's own row tells.
func (c *Change) undoable() error {
	r := c.record
	switch {
	case r.Plan.Undoes != nil && r.Step > r.Plan.Find(plan.Cutover):
		return usage("the undo of change %s is past its swap: `changeling resume %s` lets it finish", r.ID, r.ID)
	case r.Plan.Undoes != nil:
		return nil
	case r.Status == state.Aborted:
		return usage("change %s is aborted: there is nothing to undo", r.ID)
	case r.Status != state.Done:
		return usage("change %s is not done: `changeling abort %s` ends it before its cutover, and after it `changeling resume %s` lets it finish; then it can be undone", r.ID, r.ID, r.ID)
	case r.Plan.Find(plan.Cutover) < 0:
		return c.noUndo("its route is %s, so there is no old table", r.Plan.Route)
	case r.Dropped:
		return c.noUndo("the old table is dropped")
	case r.Plan.Undo == nil && r.Plan.NoUndo != "":
		return c.noUndo("%s", r.Plan.NoUndo)
	case r.Plan.Undo == nil:
		return c.noUndo("it was made without an undo window, so nothing was logged since")
	}
	return nil
}

func (c *Change) noUndo(format string, args ...any) error {
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("change %s cannot be undone: ", c.record.ID) + fmt.Sprintf(format, args...) + ". Nothing was touched; the way back is another change of the table"}
}

// undoState is what Status says of the undo.
func (c *Change) undoState(ctx context.Context) (string, error) {
	r := c.record
	switch {
	case r.Plan.Undoes != nil && !r.Over():
		return "under way", nil
	case r.Status == state.Undone:
		return c.undoneMembers(ctx)
	case r.Status == state.Done && !r.Dropped && r.Plan.Back != nil:
		return "open", nil
	case r.Status != state.Done || r.Dropped || r.Plan.Undo == nil:
		return "", nil
	}
	w, err := c.window(ctx, r.Plan.Undo)
	if why := w.closed(r.Plan.Undo); why != "" {
		return "gone: " + why, err
	}
	return "open", err
}

// giveUp goes back to the change as it was done: the table stays the new one, and its writes are logged on.
func (r *run) giveUp(ctx context.Context) error {
	p, s := r.record.Plan, r.engine.store
	if err := r.giveUpKin(ctx); err != nil {
		return err
	}
	if err := r.uncut(ctx); err != nil {
		return err
	}
	if err := r.takeAway(ctx); err != nil {
		return err
	}
	return r.patiently(ctx, "abort", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			if p.Undoes.Back == nil {
				if err := t.as(ctx, r.pair.Owner, func() error { return t.all(ctx, r.rows.LogOnly()) }); err != nil {
					return err
				}
			}
			if err := s.Exec(ctx, t, s.Text.Forget, r.id); err != nil {
				return err
			}
			if err := s.Replan(ctx, t, p.Undoes); err != nil {
				return err
			}
			if err := s.Advance(ctx, t, r.id, r.record.Step, p.Undoes.Last()); err != nil {
				return err
			}
			if err := r.recognise(ctx, t, p.Undoes); err != nil {
				return err
			}
			return s.Exec(ctx, t, s.Text.Finish, r.id, string(state.Done), p.Fingerprint)
		})
	})
}

// undoes says that the run is an undo.
func (r *run) undoes() bool { return r.record.Plan.Undoes != nil || r.pair.Judge != nil }

// refused is the end of an undo because of data: it is given up, and the window stays open; or because nobody can know any more what was
// written since the cutover, and it closes.
func (r *run) refused(ctx context.Context, err error) error {
	kind := fault.KindOf(err)
	if r.record.Plan.Undoes != nil && r.inStages() != nil && kind == fault.Refused && r.record.Step <= r.record.Plan.Turn() {
		if err := errors.Join(r.giveUp(ctx), r.reload(ctx)); err != nil {
			return err
		}
		return err // what was put aside stays there, and can still be brought back
	}
	if gone, ok := errors.AsType[*unreadable](err); ok && r.record.Plan.Undoes != nil {
		if err := errors.Join(r.giveUp(ctx), r.reload(ctx)); err != nil {
			return err
		}
		return errors.Join(r.noUndo("%s", gone.why), r.disarm(ctx, gone.why))
	}
	if r.record.Plan.Undoes == nil || r.record.Step > r.record.Plan.Find(plan.Cutover) || kind != fault.Refusal && kind != fault.Mismatch && (kind != fault.Refused || !r.record.Plan.Jointly()) {
		return err
	}
	if err := errors.Join(r.giveUp(ctx), r.reload(ctx)); err != nil {
		return err
	}
	text := err.Error()
	if p, ok := errors.AsType[*fault.Problem](err); ok && kind == fault.Mismatch {
		if p.Err != nil {
			text = p.Err.Error()
		}
		text = "values that were written since the cutover do not come back unchanged: " + text
	}
	if kind == fault.Refused || r.record.Plan.With != "" {
		return &fault.Problem{Kind: kind, Err: err, Text: text}
	}
	return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("the undo of change %s would lose something: %s. The table stays as the change made it, and its writes are logged on. "+
		"Mend the rows and try again; or `changeling undo %s --lossy` leaves out what does not fit", r.id, text, r.id)}
}
