package changeling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// The window of an undo: from the swap on, what is written is logged, until the old table is dropped or nobody can know any more what was.

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
