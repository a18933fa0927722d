package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// rehearse runs the statement on an empty twin under the same names and looks at what the server did.
func (w *planner) rehearse(ctx context.Context, source *Relation) (out *plan.Plan, err error) {
	r := &rehearsal{source: source, change: w.options.ID, statement: w.statement, steady: w.steady, replicas: w.options.Replicas}
	var there int
	if err := w.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ("+literal(r.in())+", "+literal(r.old())+")").Scan(&there); err != nil {
		return nil, err
	}
	if there > 0 && len(w.options.Kin) > 0 {
		// The id is that of a change which has made nothing yet: a run died while it planned.
		var mine bool
		if err := w.conn.QueryRowContext(ctx, "SELECT COALESCE(GET_LOCK("+literal(twinLock(r.change))+", 10), 0)").Scan(&mine); err != nil {
			return nil, err
		}
		if !mine {
			return nil, &fault.Problem{Kind: fault.Stopped, Text: fmt.Sprintf("an earlier connection still plans change %s: run the same command again; nothing was changed", r.change)}
		}
		for _, name := range []string{r.in(), r.old()} {
			if _, err := w.conn.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quote(name)); err != nil {
				return nil, w.explain(err, "dropping the twin's database "+name)
			}
		}
		there = 0
	}
	if there > 0 {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("database %s or %s exists already, so change %s was planned before: take another id; nothing was changed", r.in(), r.old(), w.options.ID)}
	}
	w.sweep(ctx)
	if _, err := w.conn.ExecContext(ctx, "DO GET_LOCK("+literal(twinLock(r.change))+", 0)"); err != nil {
		return nil, err
	}
	r.create = r.makeShadow()
	r.altered = w.statement.Retarget(qualified(r.shadowName()))
	// What is made here is dropped again, however this ends, and over another connection if this one broke.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, name := range []string{r.in(), r.old()} {
			sql := "DROP DATABASE IF EXISTS " + quote(name)
			if _, dropped := w.conn.ExecContext(ctx, sql); dropped != nil {
				if _, dropped = w.db.ExecContext(ctx, sql); dropped != nil && err == nil {
					out, err = nil, w.explain(dropped, "dropping the twin's database "+name)
				}
			}
		}
	}()
	if r.relatives, err = w.related(ctx, r); err != nil {
		return nil, w.explain(err, "looking at the tables that foreign keys tie to "+w.plan.Table.String())
	}
	r.past = w.past(ctx, r)
	if err := w.stage(ctx, r); err != nil {
		return nil, err
	}
	if w.options.Live {
		return w.live(ctx, r)
	}
	if w.options.Route == plan.ShadowColumn {
		return w.secondColumn(ctx, r)
	}
	if w.likeness, err = w.marked(ctx, r.shadowName()); err != nil {
		return nil, err
	}
	if len(w.options.Kin) > 0 {
		// Whatever the server would do to one of them alone, they are swapped together.
	} else if p, err := w.inPlaceOf(ctx, r); err != nil || p != nil {
		if err == nil && p.Route != plan.Refuse {
			err = w.askInPlace(ctx, r)
		}
		return p, err
	}
	if refusals := slices.Concat(w.uncarried(), w.unsupported(source)); len(refusals) > 0 {
		if r.shadow, err = Inspect(ctx, w.conn, r.shadowName()); err != nil {
			return nil, err
		}
		return w.refuseTable(ctx, r, refusals)
	}
	full, err := w.besides(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := w.remake(ctx, r); err != nil {
		return nil, err
	}
	if err := w.alter(ctx, r.altered); err != nil {
		return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	}
	if r.shadow, err = Inspect(ctx, w.conn, r.shadowName()); err != nil {
		return nil, err
	}
	r.bring(full)
	if refusals := w.unsupported(r.shadow); len(refusals) > 0 {
		return w.refuseTable(ctx, r, refusals)
	}
	if err := w.taken(ctx, r); err != nil {
		return nil, err
	}
	return w.shadowTable(ctx, r)
}

// askInPlace adds the questions to the data of a statement that goes without a second table. The twin is as the statement left it.
func (w *planner) askInPlace(ctx context.Context, r *rehearsal) (err error) {
	if w.statement.Clauses[0].Action == plan.MaintainPartition {
		return nil
	}
	if r.shadow, err = Inspect(ctx, w.conn, r.shadowName()); err != nil {
		return err
	}
	list := slices.DeleteFunc(w.questions(r, w.plan.Pair), func(q plan.Question) bool { return q.Tries })
	if w.plan.Checks = append(w.plan.Checks, list...); len(list) > 0 && len(w.plan.Pair.Key) == 0 {
		w.plan.Pair.Key = r.findable()
	}
	return nil
}

// inPlaceOf plans a statement without a second table: by one statement that the server does at once or in place, by one that it does so
// without looking at foreign keys, or by several. The plan is nil if there is no such way.
func (w *planner) inPlaceOf(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	if m := w.maintains(); m != nil {
		return w.maintain(ctx, r, m)
	}
	g, err := w.climb(ctx, r)
	if err != nil {
		return w.impossible(r, err)
	}
	w.plan.Native, w.plan.Effect = g.native(), g.effect()
	if g.at() {
		p := w.atOnce(g)
		p.Steps[0].Done, err = w.happened(ctx, r)
		return p, err
	}
	if p, err := w.refer(ctx, r); err != nil || p != nil {
		return p, err
	}
	return w.apart(ctx, r)
}

// impossible is the plan for what the server does not do to the twin: with what stands in the way where that is known, else with its own
// words.
func (w *planner) impossible(r *rehearsal, err error) (*plan.Plan, error) {
	err = coded(err)
	var own *Error
	if !errors.As(err, &own) {
		return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	}
	if slices.Contains(held, own.Code) {
		return refuse(w.plan, fmt.Sprintf("the server does not do that to columns and indexes of a foreign key: %s. In statements of their own, drop the key first and add it again afterwards: changeling does both in place", r.real(own.Text))), nil
	}
	if own.Code == 4119 { // ER_VERS_ALTER_NOT_ALLOWED
		return refuse(w.plan, w.unsupported(r.source)...), nil
	}
	return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
}

// held are the errors by which a server keeps foreign keys from being broken: ER_DROP_INDEX_FK, ER_FK_COLUMN_CANNOT_DROP and …_CHILD,
// ER_FK_COLUMN_NOT_NULL, ER_FK_COLUMN_CANNOT_CHANGE and …_CHILD, ER_FK_INCOMPATIBLE_COLUMNS.
var held = []uint16{1553, 1828, 1829, 1830, 1832, 1833, 3780}

// real is a text of the server's about twins as one about the tables themselves.
func (r *rehearsal) real(text string) string {
	for table, twin := range r.twins {
		text = strings.ReplaceAll(text, twin.Table, table.Table)
	}
	return strings.ReplaceAll(text, r.in(), r.source.Name.Schema)
}

// atOnce is the plan for what the server does at once, or in place while the table is in use.
func (w *planner) atOnce(g rung) *plan.Plan {
	statement := w.demand(w.statement.Text, w.plan.Table, g)
	if g.algorithm == "INSTANT" {
		return w.direct("rehearsed on an empty twin: the server only changes the catalogue", statement)
	}
	builds := slices.ContainsFunc(w.statement.Clauses, builds)
	why := "rehearsed on an empty twin: the server changes the catalogue, and drops what is not needed, while the table is in use"
	if builds {
		why = fmt.Sprintf("rehearsed on an empty twin: the server builds the index online, from about %d rows, while the table is in use; a replica stands still for as long as that takes", w.plan.Rows)
	}
	p := w.direct(why, statement)
	if builds || !w.inPlace() {
		// The engine would take a long build for a long wait. The server bounds the wait itself, in whole seconds.
		p.Steps[0].LockWait, p.Steps[0].Lock = 0, "exclusive metadata lock for a moment, at the beginning and at the end"
	}
	return p
}

// taken says that a check's name belongs to another table of the same database, where MySQL has one of each. The shadow's
// own database does not know of it.
func (w *planner) taken(ctx context.Context, r *rehearsal) error {
	if w.dialect.maria {
		return nil
	}
	found, err := state.Column(ctx, w.conn, "SELECT CONCAT(k.CONSTRAINT_NAME, ' of ', k.TABLE_NAME) FROM information_schema.TABLE_CONSTRAINTS k JOIN information_schema.TABLE_CONSTRAINTS s USING (CONSTRAINT_NAME) "+
		"WHERE s.CONSTRAINT_TYPE = 'CHECK' AND s.TABLE_SCHEMA = "+literal(r.in())+" AND k.CONSTRAINT_TYPE = 'CHECK' AND k.TABLE_SCHEMA = "+literal(r.source.Name.Schema)+" AND k.TABLE_NAME <> "+literal(r.source.Name.Table))
	if err != nil || len(found) == 0 {
		return err
	}
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the statement gives a check a name that another table of the database has (%s): choose another one. Nothing was changed", strings.Join(found, ", "))}
}

// alter runs a text of the user's under his own mode.
func (w *planner) alter(ctx context.Context, sql string) error {
	checks := 0
	if w.keyed && !w.unchecked {
		checks = 1
	}
	if _, err := w.conn.ExecContext(ctx, w.theirs()+fmt.Sprintf(", foreign_key_checks = %d", checks)); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, sql)
	if _, back := w.conn.ExecContext(ctx, ours()+", foreign_key_checks = 0"); err == nil {
		err = back
	}
	return err
}
