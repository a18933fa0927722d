package changeling

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// A key family is a key with the columns that refer to it. Its plan is that of the key's table, ahead of which come the changes of the
// other tables: a Take step for each, which makes a change of its own to its end, and an Anew step, which plans the rest again, because
// the catalogue says other things of the table by then. See docs/ARCHITECTURE.md, "Key families".

// errAnew ends a run whose change has another plan now.
var errAnew = errors.New("the change has another plan")

// said is how the change of a statement is called: with children it is not the same change.
func (e *Engine) said(s plan.Statement) string {
	if e.config.WithChildren {
		return s.Text + " /* with children */"
	}
	return s.Text
}

func (postgresql) Family(ctx context.Context, db *sql.DB, ddl string, wait time.Duration) (postgres.Family, []string, error) {
	return postgres.FamilyOf(ctx, db, ddl, wait)
}

func (d mysqld) Family(ctx context.Context, db *sql.DB, ddl string, wait time.Duration) (f postgres.Family, why []string, err error) {
	if d.maria || d.trial {
		return f, []string{"tables are changed along with the key that they refer to on PostgreSQL and MySQL only: MariaDB renames no tables under a lock, so several cannot be swapped at one moment"}, nil
	}
	own, others, why, err := mysql.FamilyOf(ctx, db, ddl, wait)
	f.Statement, f.Members = own.Statement, others
	if len(others) > 0 {
		f.Tables, f.Route = append([]plan.Member{own}, others...), plan.ShadowTable
	}
	return f, why, err
}

// family plans a statement with the tables that refer to the columns which it gives another type.
func (e *Engine) family(ctx context.Context, ddl string) (*plan.Plan, error) {
	alone := e.alone()
	f, why, err := e.dialect.Family(ctx, e.db, ddl, e.config.LockWait)
	if missing(err) {
		err = &fault.Problem{Kind: fault.Usage, Err: err, Text: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	if len(why) > 0 {
		s, err := plan.Parse(ddl, e.dialect.Syntax())
		return &plan.Plan{Format: plan.Format, Statement: s.Text, Table: s.Table, Route: plan.Refuse, Why: why[0], Refusals: why}, err
	}
	kin := &plan.Family{Statement: f.Statement, Route: e.config.Route, UndoLog: e.config.undoLog(), Kin: f.Kin, Keys: f.Keys, Tables: f.Tables}
	alone = alone.akin(kin)
	p, err := alone.Plan(ctx, f.Statement)
	if err != nil {
		return nil, err
	}
	s, err := plan.Parse(ddl, e.dialect.Syntax())
	if err != nil {
		return nil, err
	}
	p.Statement = e.said(s)
	if p.Route == plan.Refuse || len(f.Members)+len(f.Sequences) == 0 {
		return p, nil
	}
	ahead, more, err := alone.taking(ctx, f.Members)
	if err != nil {
		return nil, err
	}
	p.Family = kin
	if kin.Jointly() {
		together(p, ahead, more)
	}
	for _, of := range more {
		for _, r := range of.Refusals {
			p.Refusals = append(p.Refusals, fmt.Sprintf("%s, which has to be changed along: %s", of.Table, r))
		}
		p.Spare += of.Spare
	}
	if len(p.Refusals) > 0 {
		p.Route, p.Why, p.Steps, p.Family = plan.Refuse, p.Refusals[0], nil, nil
		return p, nil
	}
	last := "until then no key can have a value that those who refer to it cannot"
	if kin.Jointly() {
		last = "its cutover swaps all of them"
	}
	ahead = append(append(ahead, f.Sequences...), plan.Step{Kind: plan.Anew, Name: "plan " + p.Table.Table, Lock: "none",
		Why: "the table itself is the last: " + last + ". What follows is planned again for what the tables are by then"})
	p.Steps = append(ahead, p.Steps...)
	return p, nil
}

// taking are the steps that change the other tables of a family, and the plans that these would have now.
func (e *Engine) taking(ctx context.Context, members []plan.Member) (steps []plan.Step, plans []*plan.Plan, err error) {
	for _, m := range members {
		m.Change = newID()
		p, err := e.Plan(ctx, m.Statement)
		if err != nil {
			return nil, nil, err
		}
		plans = append(plans, p)
		s := plan.Step{Kind: plan.Take, Name: "change " + m.Table.String(), Member: &m, LockWait: e.config.LockWait, Lock: strongest(p),
			Why: fmt.Sprintf("%s, about %d rows, by a change of its own, %s: %s", m.Statement, max(p.Rows, 0), p.Route, p.Why)}
		if e.kin() {
			s.Name, s.Lock = "prepare "+m.Table.String(), "none"
			if e.dialect.Transactional() {
				s.Lock = "SHARE ROW EXCLUSIVE"
			}
			s.Why = fmt.Sprintf("%s, about %d rows, to a second table that stays in step until all tables are swapped together", m.Statement, max(p.Rows, 0))
		}
		steps = append(steps, s)
	}
	return steps, plans, nil
}

// strongest is the lock of a plan's cutover, or of its last step that has one.
func strongest(p *plan.Plan) (lock string) {
	for _, s := range p.Steps {
		if lock = s.Lock; s.Kind == plan.Cutover {
			break
		}
	}
	return lock
}

// alone is the engine for one table of a family.
func (e *Engine) alone() *Engine {
	mine := *e
	mine.config.WithChildren = false
	return &mine
}

// ofFamily is the engine for the tables of a change's family, as whoever began it wanted them changed.
func (r *run) ofFamily() *Engine {
	e := r.engine
	if r.caller != nil {
		e = r.caller
	}
	e = e.alone()
	f := r.record.Plan.Family
	e.config.Hold, e.config.DropAfter, e.config.dropSaid, e.config.Route = r.record.Hold, r.record.DropAfter, true, f.Route
	if e.config.Undo, e.config.UndoLogMax = UndoOff, f.UndoLog; f.UndoLog > 0 {
		e.config.Undo = UndoOn
	}
	return e.akin(f)
}

// besides is how many connections the run of a family needs besides those of the change that it makes: its beat, its signals, and itself.
const besides = 4

// take makes the change of another table, or goes on with it. It may run twice: a change that is done is not made again.
func (r *run) take(ctx context.Context, s plan.Step) error {
	if err := r.reload(ctx); err != nil { // whoever holds or throttles the family means its next table, too
		return err
	}
	e := r.ofFamily()
	if n, least := e.db.Stats().MaxOpenConnections, e.dialect.Connections()+besides; n > 0 && n < least {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the pool allows %d connections: a family needs %d, for the change of its next table and for itself; call SetMaxOpenConns, and `changeling resume %s`", n, least, r.id)}
	}
	c, err := r.memberChange(ctx, e, *s.Member)
	if err == nil && c != nil && r.record.Plan.Undoes != nil && c.record.Plan.Undoes == nil {
		err = errors.Join(c.turn(ctx, NoLoss), c.reload(ctx))
	}
	if err == nil && c != nil {
		err = c.Run(ctx)
	}
	if err != nil {
		return r.memberFailed(*s.Member, err)
	}
	return r.next(ctx)
}

// memberChange is the change of a family's table, made if there is none; nil if it is done.
func (r *run) memberChange(ctx context.Context, e *Engine, m plan.Member) (*Change, error) {
	record, err := e.store.Find(ctx, m.Change)
	switch {
	case errors.Is(err, state.ErrNone):
	case err != nil:
		return nil, err
	case record.Status == state.Done && r.record.Plan.Undoes == nil || record.Status == state.Undone && r.record.Plan.Undoes != nil:
		return nil, nil
	case !record.Over() || r.record.Plan.Undoes != nil:
		return &Change{engine: e, record: record}, nil
	case e.kin():
		return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("its change %s is %s: `changeling abort %s` takes the others back, too", m.Change, record.Status, r.id)}
	default: // somebody took it back, and now it is to be made after all
		if m.Change, err = r.renamed(ctx); err != nil {
			return nil, err
		}
	}
	p, err := e.plannedAs(ctx, m.Statement, m.Change)
	if err != nil || len(p.Steps) == 0 && p.Route != plan.Refuse {
		return nil, err
	}
	if e.kin() {
		joins(p, r.id)
	}
	c, err := e.StartPlan(ctx, p)
	if err == nil && c.ID() != m.Change {
		return nil, busy(c.record)
	}
	if err == nil && r.record.Settings != "" {
		err = e.store.Exec(ctx, e.db, e.store.Text.Settings, m.Change, "", r.record.Settings)
	}
	return c, err
}

// plannedAs is a plan under an id that is given.
func (e *Engine) plannedAs(ctx context.Context, ddl, id string) (*plan.Plan, error) {
	p, err := e.dialect.Plan(ctx, e.db, ddl, id, e.config.LockWait, e.config.Route, e.config.undoLog())
	if err == nil {
		e.restrict(p)
	}
	return p, err
}

// renamed gives the change of the step at hand another id.
func (r *run) renamed(ctx context.Context) (id string, err error) {
	p := *r.record.Plan
	p.Steps = slices.Clone(p.Steps)
	m := *p.Steps[r.record.Step].Member
	m.Change = newID()
	p.Steps[r.record.Step].Member = &m
	err = r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.engine.store.Replan(ctx, t, &p) })
	return m.Change, err
}

// memberFailed is the end of a family's run by that of another table's change.
func (r *run) memberFailed(m plan.Member, err error) error {
	kind := fault.KindOf(err)
	switch kind {
	case fault.Unexpected, fault.Stopped, fault.Owned:
		return err
	case fault.Aborted:
		kind = fault.Refused
	}
	if r.record.Plan.Undoes != nil {
		return &fault.Problem{Kind: kind, Err: err, Text: m.Table.String() + ": " + err.Error()}
	}
	return &fault.Problem{Kind: kind, Text: fmt.Sprintf("%s, which is changed along with %s: %s. When that is mended, `changeling resume %s` goes on with the family; `changeling abort %[4]s` takes it back", m.Table, r.table(), err.Error(), r.id)}
}

// anew plans the table itself, now that the others are changed. What was planned before was for showing. Tables that refer to the key since
// then come first.
func (r *run) anew(ctx context.Context) error {
	was, e := r.record.Plan, r.ofFamily()
	f, why, err := e.dialect.Family(ctx, e.db, was.Family.Statement, e.config.LockWait)
	if err != nil {
		return err
	}
	if len(why) > 0 {
		return &fault.Problem{Kind: fault.Refused, Text: refusal(&plan.Plan{Refusals: why})}
	}
	kin := was.Family.Jointly()
	switch {
	case kin && !(slices.Equal(f.Kin, was.Family.Kin) && slices.Equal(f.Tables, was.Family.Tables)):
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("other tables refer to %s by now than when its change was planned, and all of them have to be swapped together: `changeling abort %s` and begin again; nothing was swapped", r.table(), r.id)}
	case !kin && len(f.Members) > 0:
		return r.takeMore(ctx, e, f.Members)
	}
	p, err := e.plannedAs(ctx, was.Family.Statement, r.id)
	if err != nil {
		return err
	}
	if p.Route == plan.Refuse {
		return &fault.Problem{Kind: fault.Refused, Text: refusal(p)}
	}
	if p.Undo != nil {
		p.Undo.Statement = was.Statement
	}
	ahead := slices.Clone(was.Steps[:was.Ahead()])
	family := *was.Family
	p.Statement, p.Family = was.Statement, &family
	if kin {
		family.Keys, p.NoUndo = f.Keys, cmp.Or(p.NoUndo, was.NoUndo)
		together(p, ahead, nil)
	}
	p.Steps = append(ahead, p.Steps...)
	return r.replanned(ctx, p, 1)
}

// takeMore puts tables in front of the step at hand.
func (r *run) takeMore(ctx context.Context, e *Engine, members []plan.Member) error {
	steps, plans, err := e.taking(ctx, members)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.Route == plan.Refuse {
			return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("%s refers to %s by now, and has to be changed along: %s", p.Table, r.table(), refusal(p))}
		}
	}
	p := *r.record.Plan
	p.Steps = slices.Insert(slices.Clone(p.Steps), r.record.Step, steps...)
	return r.replanned(ctx, &p, 0)
}

// replanned gives the change another plan, moves its counter, and ends the run with errAnew.
func (r *run) replanned(ctx context.Context, p *plan.Plan, by int) error {
	err := r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		if err := r.engine.store.Replan(ctx, t, p); err != nil || by == 0 {
			return err
		}
		return r.advance(ctx, t, by)
	})
	if err != nil {
		return err
	}
	return errAnew
}

// whole is the plan of the change itself, also where it is being undone.
func (c *Change) whole() *plan.Plan {
	if p := c.record.Plan.Undoes; p != nil {
		return p
	}
	return c.record.Plan
}

// withdraw takes the change of a family's table back, as far as that goes. It may run twice.
func (c *Change) withdraw(ctx context.Context, m plan.Member, loss Loss) error {
	e := c.engine.alone()
	record, err := e.store.Find(ctx, m.Change)
	if errors.Is(err, state.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	member := &Change{engine: e, record: record}
	if record.Status == state.Aborted || record.Status == state.Undone {
		return nil
	}
	if !record.Over() && record.Plan.Undoes == nil {
		if err := member.abort(ctx); !errors.Is(err, fault.Usage) {
			return err
		}
		if err := member.Run(ctx); err != nil { // it is past its cutover: it ends, and then it can be undone
			return err
		}
	}
	err = member.Undo(ctx, loss)
	if errors.Is(err, fault.Refused) || errors.Is(err, fault.Usage) {
		text := fmt.Sprintf("%s stays as change %s made it, which does no harm: %s", m.Table, m.Change, err.Error())
		c.engine.config.Events(event.Notice{Text: text})
		return c.noted(ctx, text)
	}
	return err
}

func (c *Change) noted(ctx context.Context, text string) error {
	s := c.engine.store
	return s.Exec(ctx, s.DB, s.Text.Remark, c.record.ID, text)
}

// undoMembers takes back what a family changed ahead of its own table, when that is taken back: the last first. It may run twice.
func (c *Change) undoMembers(ctx context.Context, loss Loss) error {
	if err := c.reload(ctx); err != nil || c.record.Status != state.Undone {
		return err
	}
	p := c.whole()
	for i := p.Ahead() - 1; i >= 0; i-- {
		var err error
		switch s := p.Steps[i]; {
		case s.Kind == plan.Take:
			err = c.withdraw(ctx, *s.Member, loss)
		case len(s.Undo) > 0:
			err = c.undoAhead(ctx, s)
		}
		if err != nil {
			return stopped(ctx, c.record.ID, err)
		}
	}
	return nil
}

// undoAhead takes back a step of the change's own that came ahead of its table.
func (c *Change) undoAhead(ctx context.Context, s plan.Step) error {
	lease, err := c.briefly(ctx)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	r := newRun(c, lease)
	return r.late(s, r.patiently(ctx, "undo", func(ctx context.Context) error {
		if err := r.clear(ctx, s); err != nil {
			return err
		}
		return r.tx(ctx, session{LockWait: s.LockWait, Strong: true, Role: s.Role}, func(ctx context.Context, t *tx) error { return t.all(ctx, s.Undo) })
	}))
}

// undoneMembers says of a change that is undone whether tables of its family still are to be.
func (c *Change) undoneMembers(ctx context.Context) (string, error) {
	p := c.whole()
	for _, s := range p.Steps[:p.Ahead()] {
		if s.Kind != plan.Take {
			continue
		}
		record, err := c.engine.store.Find(ctx, s.Member.Change)
		if errors.Is(err, state.ErrNone) {
			continue
		}
		if err != nil {
			return "", err
		}
		if text, err := (&Change{engine: c.engine, record: record}).undoState(ctx); err != nil || text == "open" || text == "under way" {
			return "under way", err
		}
	}
	return "", nil
}

// Member is a table of a family as Status shows it. Its JSON form is a contract: fields are added, never changed.
type Member struct {
	Table     string `json:"table"`
	Change    string `json:"change"` // id of its own change
	Statement string `json:"statement"`
	Status    string `json:"status"` // as of a change, or empty: not begun
	Step      string `json:"step"`
}

// members are the other tables of a family.
func (c *Change) members(ctx context.Context) (out []Member, err error) {
	p := c.whole()
	for _, s := range p.Steps[:p.Ahead()] {
		if s.Kind != plan.Take {
			continue
		}
		m := Member{Table: s.Member.Table.String(), Change: s.Member.Change, Statement: s.Member.Statement}
		record, err := c.engine.store.Find(ctx, m.Change)
		if err != nil && !errors.Is(err, state.ErrNone) {
			return nil, err
		}
		if err == nil {
			is := statusOf(record)
			m.Status, m.Step = is.Status, is.Step
		}
		out = append(out, m)
	}
	return out, nil
}

// toMember says something to the change of the table that a family is at, too. One that is just over needs to hear nothing.
func (c *Change) toMember(ctx context.Context, say func(member *Change) error) error {
	member, err := c.underWay(ctx)
	if err != nil || member == nil {
		return err
	}
	if err := say(member); !errors.Is(err, fault.Usage) {
		return err
	}
	return nil
}

// underWay is the change of the table that a family is at; nil if it is at its own.
func (c *Change) underWay(ctx context.Context) (*Change, error) {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return nil, err
	}
	p := c.record.Plan
	if c.record.Over() || c.record.Step >= p.Ahead() || p.Steps[c.record.Step].Kind != plan.Take {
		return nil, nil
	}
	record, err := c.engine.store.Find(ctx, p.Steps[c.record.Step].Member.Change)
	if errors.Is(err, state.ErrNone) || err == nil && record.Over() {
		return nil, nil
	}
	return &Change{engine: c.engine, record: record}, err
}
