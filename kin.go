package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Kin are the tables of a family that swap together, because no foreign key can stand between an old column and a new one. Each has a change of
// its own, which ends before its cutover; the cutover of the family's own table is that of all. See docs/ARCHITECTURE.md, "Key families".

// akin is the engine for the tables of a family that swaps together.
func (e *Engine) akin(f *plan.Family) *Engine {
	if !f.Jointly() {
		return e
	}
	mine := *e
	mine.together = true
	switch d := e.dialect.(type) {
	case postgresql:
		mine.dialect = postgresql{kin: f.Kin}
	case mysqld:
		d.kin = f.Tables
		mine.dialect = d
	}
	mine.config.Hold = false // the family holds
	if mine.config.Route == "" {
		mine.config.Route = plan.ShadowTable
	}
	return &mine
}

// kin says that it is one.
func (e *Engine) kin() bool { return e.together }

// joins makes the plan of a table one that ends before its cutover, and goes on after that of a family.
func joins(p *plan.Plan, family string) {
	p.With = family
	p.Steps = slices.DeleteFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.Hold })
	if p.Undo != nil {
		p.Undo.With = family
	}
}

// together makes the plan of a family's own table that of the swap of all: behind its cutover come the validations of the keys between them, and the
// ends of the others' changes. The same of its undo, which exists only if all tables have one; plans are those of the others, where they are new.
func together(p *plan.Plan, takes []plan.Step, plans []*plan.Plan) {
	for _, of := range plans {
		if of.Undo == nil && p.Undo != nil {
			p.Undo, p.NoUndo = nil, fmt.Sprintf("%s, which is swapped together with it: %s", of.Table, of.NoUndo)
		}
	}
	takes = slices.DeleteFunc(slices.Clone(takes), func(s plan.Step) bool { return s.Kind != plan.Take })
	var behind, ends []plan.Step
	for _, k := range p.Family.Keys {
		if k.Validate != "" {
			behind = append(behind, plan.Step{Kind: plan.Exec, Name: "validate " + k.Name, SQL: []string{k.Validate}, LockWait: takes[0].LockWait, Lock: "SHARE UPDATE EXCLUSIVE", Why: "reads and writes go on"})
		}
	}
	for _, s := range takes {
		ends = append(ends, plan.Step{Kind: plan.Take, Name: "finish " + s.Member.Table.String(), Member: s.Member, LockWait: s.LockWait, Lock: "that of its last steps", Why: "what its own change has left to do behind the swap"})
	}
	splice := func(q *plan.Plan) {
		cut := q.Find(plan.Cutover)
		if cut < 0 {
			return
		}
		q.Steps[cut].Why += "; all tables of the family in this one, with the foreign keys between them"
		q.Steps = slices.Insert(q.Steps, cut+1, append(slices.Clone(behind), ends...)...)
	}
	splice(p)
	if p.Undo == nil {
		p.Family.UndoLog = 0
		return
	}
	splice(p.Undo)
	p.Undo.Family = p.Family
	first := slices.Clone(takes)
	for i, s := range first {
		first[i].Name, first[i].Why = "undo "+s.Member.Table.String(), "what was written since is copied to its old table, which stays in step until all are swapped back together"
	}
	p.Undo.Steps = append(first, p.Undo.Steps...)
}

// onItsOwn says of a table that is swapped together with others that it cannot be taken back without them.
func (c *Change) onItsOwn(ctx context.Context, how string) error {
	with := c.record.Plan.With
	if with == "" {
		return nil
	}
	family, err := c.engine.store.Find(ctx, with)
	if errors.Is(err, state.ErrNone) || err == nil && family.Status == state.Aborted {
		return nil
	}
	if err != nil {
		return err
	}
	return usage("change %s is a part of change %s, which swaps several tables together: it is %s with that one, `changeling status %s` shows it", c.record.ID, with, how, with)
}

// kinUndoable says whether all tables that were swapped together can be swapped back.
func (c *Change) kinUndoable(ctx context.Context, loss Loss) error {
	p := c.record.Plan
	if !p.Jointly() {
		return nil
	}
	if loss == LossAllowed {
		return c.noUndo("rows that are left out of one of its tables would be missed by the foreign keys of another: a family that swaps together comes back whole")
	}
	if p.Undoes != nil || c.undoable() != nil {
		return nil
	}
	for _, m := range p.Members() {
		record, err := c.engine.store.Find(ctx, m.Change)
		if err != nil {
			return err
		}
		member := &Change{engine: c.engine, record: record}
		if record.Plan.Undoes != nil {
			continue
		}
		if err := errors.Join(member.undoable(), newRun(member, nil).open(ctx)); err != nil {
			return c.noUndo("%s: %s", m.Table, err)
		}
	}
	return nil
}

// giveUpKin gives up the undos of the other tables. It may run twice.
func (r *run) giveUpKin(ctx context.Context) error {
	if !r.record.Plan.Jointly() {
		return nil
	}
	for _, m := range r.record.Plan.Members() {
		record, err := r.engine.store.Find(ctx, m.Change)
		if err != nil {
			return err
		}
		if record.Plan.Undoes == nil || record.Over() {
			continue
		}
		if err := (&Change{engine: r.engine, record: record}).abort(ctx); err != nil {
			return err
		}
	}
	return nil
}

// withKin does something to a family's own table while it holds the leases of the others, each of which stands before its cutover.
func (r *run) withKin(ctx context.Context, do func(ctx context.Context) error) error {
	if !r.record.Plan.Jointly() {
		return do(ctx)
	}
	members := r.record.Plan.Members()
	e := r.ofFamily()
	if n, least := e.db.Stats().MaxOpenConnections, e.dialect.Connections()+besides+len(members); n > 0 && n < least {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the pool allows %d connections: a family of %d tables that swap together needs %d; call SetMaxOpenConns, and `changeling resume %s`", n, len(members)+1, least, r.id)}
	}
	for _, m := range members { // one that begins again, because somebody truncated its table
		c, err := r.memberChange(ctx, e, m)
		if err == nil && c == nil {
			err = &fault.Problem{Kind: fault.Refused, Text: "it is over, and should wait to be swapped together with the others"}
		}
		if err == nil && c.record.Step != c.record.Plan.Find(plan.Cutover) {
			err = c.Run(ctx)
		}
		if err != nil {
			return r.memberFailed(m, err)
		}
	}
	inner, cancel := context.WithCancelCause(ctx)
	beside, stop := context.WithCancel(inner)
	var group errgroup.Group
	defer func() {
		stop()
		_ = group.Wait() // they report through the cause
		cancel(nil)
		for _, m := range r.kin {
			m.lease.Release(ctx)
		}
		r.kin = nil
	}()
	for _, m := range members {
		record, err := r.engine.store.Find(inner, m.Change)
		if err != nil {
			return err
		}
		c := &Change{engine: r.engine, record: record}
		lease, err := c.briefly(inner)
		if err != nil {
			return r.memberFailed(m, err)
		}
		one := newRun(c, lease)
		one.gate = r.gate
		one.wrote.Store(one.clock()) // not later than now
		r.kin = append(r.kin, one)
		if one.follower, err = r.engine.dialect.Follow(inner, one); err != nil {
			return r.memberFailed(m, err)
		}
		if one.follower != nil {
			group.Go(func() error {
				one.follower.keep(beside)
				return nil
			})
		}
		group.Go(func() error {
			if err := lease.Keep(beside, func(state.Beat) {}); err != nil {
				cancel(err)
			}
			return nil
		})
		if err := c.reload(inner); err != nil {
			return err
		}
		if c.record.Over() || c.record.Step != c.record.Plan.Find(plan.Cutover) {
			return state.ErrMoved // somebody was at it: look again
		}
	}
	err := do(inner)
	if cause := context.Cause(inner); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// ofKin is an error of another table's run.
func (r *run) ofKin(ctx context.Context, m *run, s plan.Step, err error) error {
	if errors.Is(err, cutover.ErrBusy) {
		return err
	}
	if errors.Is(err, copier.ErrReset) {
		if err := m.restart(ctx); err != nil {
			return err
		}
		return errPaused // the step begins again, and with it that table
	}
	err = m.explain(ctx, s, err)
	if p, ok := errors.AsType[*fault.Problem](err); ok {
		told := *p
		told.Text = fmt.Sprintf("%s, which is swapped together with %s: %s", m.table(), r.table(), strings.ReplaceAll(p.Text, m.id, r.id)) // what can be said is said of the family
		return &told
	}
	return err
}

// kinServer is the runs of all tables of a family seen by a cutover. Its own server is that of the family's table, the last of all.
type kinServer struct {
	*server
	all []*server
}

func newKinServer(own *server) *kinServer {
	s := &kinServer{server: own}
	var tables []string
	for _, m := range own.kin {
		step := m.record.Plan.Steps[m.record.Step]
		s.all = append(s.all, &server{run: m, step: step, handing: handing{run: m}})
		tables = append(tables, step.Tables...)
	}
	s.all = append(s.all, own)
	var once []string
	for _, t := range append(tables, own.step.Tables...) {
		if !slices.Contains(once, t) {
			once = append(once, t)
		}
	}
	own.step.Tables = once
	own.step.SQL = append([]string{"LOCK TABLE " + strings.Join(once, ", ") + " IN ACCESS EXCLUSIVE MODE"}, own.step.SQL[1:]...)
	return s
}

func (s *kinServer) unhand(ctx context.Context) {
	for _, one := range s.all {
		one.unhand(ctx)
	}
}

func (s *kinServer) Ready(ctx context.Context) error {
	for _, one := range s.all {
		if err := one.Ready(ctx); err != nil && one != s.server {
			return s.ofKin(ctx, one.run, one.step, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Begin opens one transaction for all tables. It holds the claims of all.
func (s *kinServer) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait, Strong: true, ByKey: true, Path: s.pair.Path, Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	a := &kinAttempt{server: s, t: t}
	for _, one := range s.all {
		own := &attempt{server: one, t: t}
		a.all = append(a.all, own)
		err := one.lease.Fence(ctx, t)
		if err == nil {
			err = own.prepare(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, ended(t.Tx))
		}
	}
	return a, nil
}

// kinAttempt is the transaction that swaps all tables.
type kinAttempt struct {
	server *kinServer
	t      *tx
	all    []*attempt // the last is that of the family's own table
}

func (a *kinAttempt) Lock(ctx context.Context) error { return a.all[len(a.all)-1].Lock(ctx) }

func (a *kinAttempt) Check(ctx context.Context) error {
	for _, one := range a.all {
		if err := one.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *kinAttempt) Drain(ctx context.Context) (keys int64, err error) {
	for _, one := range a.all {
		if _, err := a.t.ExecContext(ctx, postgres.Theirs(one.pair)); err != nil {
			return keys, err
		}
		n, err := one.Drain(ctx)
		keys += n
		if errors.Is(err, copier.ErrReset) && one.run != a.server.run {
			err = cutover.ErrBusy // what is made ready next finds it, too, and knows whose it is
		}
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// Swap takes the foreign keys between the tables off, swaps one after the other, and puts the keys back: they hold for what is written from the
// commit on. All counters move in the one transaction.
func (a *kinAttempt) Swap(ctx context.Context) error {
	keys := a.server.record.Plan.Family.Keys
	for _, k := range keys {
		if _, err := a.t.ExecContext(ctx, k.Drop); err != nil {
			return err
		}
	}
	for _, one := range a.all {
		if err := one.Swap(ctx); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := a.t.all(ctx, k.Add); err != nil {
			return err
		}
	}
	return nil
}

func (a *kinAttempt) Commit() error   { return a.t.Commit() }
func (a *kinAttempt) Rollback() error { return ended(a.t.Tx) }

// heldAlike notes for how long the tables were locked in the changes of all.
func (r *run) heldAlike(ctx context.Context, held time.Duration) error {
	store := r.engine.store
	for _, m := range append(slices.Clone(r.kin), r) {
		if err := store.Exec(ctx, store.DB, store.Text.SetHeld, m.id, float64(held)/float64(time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}
