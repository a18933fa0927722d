package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
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

// backlog is what the catalogue says of the second capture.
type backlog struct {
	there, armed, logs bool
	size               int64
	unread             string // why the server's own log does not have it any more, where that is read
}

// window asks how the second capture is.
func (c *Change) window(ctx context.Context, p *plan.Plan) (w backlog, err error) {
	err = newRun(c, nil).pinned(ctx, func(q state.DB) error {
		return q.QueryRowContext(ctx, c.engine.dialect.Rows(p.Pair).Window()).Scan(&w.armed, &w.logs, &w.size)
	})
	if isNoRows(err) || fault.Undefined(err) {
		return backlog{}, nil
	}
	w.there = true
	if err == nil && w.armed && p.Pair.Binlog {
		w.unread, err = purged(ctx, c.engine.db, p.Pair)
	}
	return w, err
}

// closed says why a window is closed, or nothing.
func (w backlog) closed(p *plan.Plan) string {
	switch {
	case !w.there:
		return "the log of what was written since is gone"
	case w.size >= p.Pair.Limit:
		return fmt.Sprintf("more was written since than the log may hold (%d MiB)", p.Pair.Limit>>20)
	case w.unread != "":
		return w.unread
	case p.Pair.Binlog && !w.armed:
		return "the binary log could not be followed all the time since"
	case !w.armed && len(p.Pair.SourceParts) > 0:
		return "writes were not logged all the time since: a partition was added, attached, detached or dropped, another change was begun, or somebody took the triggers off"
	case !w.armed, !w.logs:
		return "writes were not logged all the time since: another change was begun, or somebody took the triggers off"
	}
	return ""
}

// open is an error if the window of an undo is closed.
func (r *run) open(ctx context.Context) error {
	w, err := r.window(ctx, r.record.Plan.Undo)
	if err != nil {
		return err
	}
	if why := w.closed(r.record.Plan.Undo); why != "" {
		return r.noUndo("%s", why)
	}
	return nil
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
			if err := s.Advance(ctx, t, r.id, r.record.Step, p.Undoes.Find(plan.Drop)); err != nil {
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

// Tend brings the old tables of all changes in step that can still be undone, so that their logs stay small, and takes the triggers off those
// that cannot any more. Nobody has to call it; Cleanup and the end of a Run do the same.
func (e *Engine) Tend(ctx context.Context) error { return e.tend(ctx, "") }

func (e *Engine) tend(ctx context.Context, but string) error {
	records, err := e.store.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		if r.ID != but {
			errs = append(errs, (&Change{engine: e, record: r}).tend(ctx))
		}
	}
	return errors.Join(errs...)
}

// brief is for how long a run that is done tends to others.
const brief = 3 * time.Second

// tend brings the old table of a change in step while its undo window is open, so that the log stays small, and takes the
// triggers off once the window is closed. Nobody has to call it.
func (c *Change) tend(ctx context.Context) error {
	c = c.own()
	if c.record.Status != state.Done || c.record.Dropped || c.record.Plan.Undo == nil {
		return nil
	}
	w, err := c.window(ctx, c.record.Plan.Undo)
	if err != nil || !w.there {
		return err
	}
	lease, err := c.engine.store.Acquire(ctx, c.record.ID, c.engine.config.Owner, c.engine.config.Lease)
	if errors.Is(err, fault.Owned) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil || c.record.Status != state.Done || c.record.Dropped {
		return err
	}
	if why := w.closed(c.record.Plan.Undo); why != "" {
		return newRun(c, lease).disarm(ctx, why)
	}
	as := *c.record
	as.Plan, as.Step = c.record.Plan.Undo, 0
	r := newRun(&Change{engine: c.engine, record: &as}, lease)
	r.follower, err = c.engine.dialect.Follow(ctx, r)
	switch {
	case fault.KindOf(err) == fault.Precondition: // nobody said where the log is: another one will
		return nil
	case err != nil:
		return err
	case r.follower != nil:
		defer r.follower.close()
	}
	err = r.backRounds(ctx, false)
	if gone, ok := errors.AsType[*unreadable](err); ok {
		return newRun(c, lease).disarm(ctx, gone.why)
	}
	return err
}

// disarm ends an undo window. It may run twice.
func (r *run) disarm(ctx context.Context, why string) error {
	p := r.record.Plan.Undo
	if p == nil {
		return nil
	}
	w, err := r.window(ctx, p)
	if err != nil || !w.there || !w.armed && !w.logs {
		return err
	}
	for _, s := range r.engine.dialect.Rows(p.Pair).Disarm() {
		if err := r.patiently(ctx, "disarm", func(ctx context.Context) error {
			return r.tx(ctx, session{Strong: true}, func(ctx context.Context, t *tx) error { return t.all(ctx, []string{s}) })
		}); err != nil {
			return err
		}
	}
	if why != "" {
		r.engine.config.Events(event.Notice{Text: fmt.Sprintf("change %s cannot be undone any more: %s", r.id, why)})
		r.remark(ctx, "cannot be undone any more: "+why)
	}
	return nil
}

// closeWindows ends the undo windows of earlier changes of a table before another one begins: they could not be undone after it, and
// their triggers should not meet the columns that it leaves.
func (r *run) closeWindows(ctx context.Context) error {
	records, err := r.engine.store.List(ctx)
	if err != nil {
		return err
	}
	for _, other := range records {
		if other.Table != r.record.Table || other.ID == r.id || other.Status != state.Done || other.Dropped || other.Plan.Undo == nil {
			continue
		}
		c := &Change{engine: r.engine, record: other}
		w, err := c.window(ctx, other.Plan.Undo)
		if err != nil {
			return err
		}
		if !w.there || !w.armed && !w.logs {
			continue
		}
		if err := c.disarmed(ctx, "change "+r.id+" of the same table was begun"); err != nil {
			return err
		}
	}
	return nil
}

// disarmed takes the lease of a change to end its window.
func (c *Change) disarmed(ctx context.Context, why string) error {
	lease, err := c.briefly(ctx)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	return newRun(c, lease).disarm(ctx, why)
}

// briefly is the lease of a change that is done. Who holds it now may be bringing its old table in step for a moment.
func (c *Change) briefly(ctx context.Context) (lease *state.Lease, err error) {
	err = retry.Do(ctx, retry.Policy{Initial: 200 * time.Millisecond, Max: time.Second, Elapsed: 20 * time.Second},
		func(err error) bool { return errors.Is(err, fault.Owned) && c.record.Plan.Undoes == nil }, nil, func(ctx context.Context) error {
			lease, err = c.engine.store.Acquire(ctx, c.record.ID, c.engine.config.Owner, c.engine.config.Lease)
			return err
		})
	return lease, err
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
