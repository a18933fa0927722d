package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A statement may add and drop foreign keys beside clauses that need a second table. None stands on the shadow before the swap, so these
// clauses are left out of the statement there, the indexes that new keys bring along are built with the others, and the procedure that swaps
// gives the new table its keys, as it gives it those of the old one. With foreign_key_checks off it looks at no row: rows that refer to
// nothing are asked for before anything is done, before the swap, and, when no new ones can come, behind it.

// aboutKey says that a clause is about a foreign key and nothing else.
func aboutKey(c plan.Clause) bool {
	return c.Constraint == plan.ForeignKey && (c.Action == plan.AddConstraint || c.Action == plan.DropConstraint)
}

// apartFromCopy says why a statement about foreign keys that needs a second table is refused, if it is.
func (w *planner) apartFromCopy() string {
	others := slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool { return !aboutKey(c) })
	for _, c := range w.statement.Clauses {
		if aboutKey(c) && w.keyed && others || !aboutKey(c) && !c.References {
			continue
		}
		return fmt.Sprintf("a statement that adds or drops foreign keys is not carried yet here where the table has to be copied (%q): give the clause a statement of its own, before this one if it drops the key "+
			"and after it if it adds one; alone changeling does it in place", c.Text)
	}
	return ""
}

// besides takes the clauses about foreign keys out of the statement, when a rehearsal with all of it has shown what they come to.
func (w *planner) besides(ctx context.Context, r *rehearsal) (full *Relation, err error) {
	var rest []string
	for _, c := range w.statement.Clauses {
		if !aboutKey(c) {
			rest = append(rest, c.Text)
		}
	}
	if len(rest) == len(w.statement.Clauses) {
		return nil, nil
	}
	had, err := foreignKeys(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	if err := w.stage(ctx, r); err != nil {
		return nil, err
	}
	if err := w.alter(ctx, w.plain(ctx, r)); err != nil {
		return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	}
	has, err := foreignKeys(ctx, w.conn, r.shadowName())
	if err != nil {
		return nil, err
	}
	in := func(list []foreignKey, name string) bool {
		return slices.ContainsFunc(list, func(k foreignKey) bool { return strings.EqualFold(k.name, name) })
	}
	for _, k := range has {
		if in(had, k.name) {
			continue
		}
		for real, twin := range r.twins {
			if twin == k.parent {
				k.parent = real
				break
			}
		}
		r.fresh = append(r.fresh, k)
	}
	for _, k := range had {
		if !in(has, k.name) {
			r.lost = append(r.lost, k.name)
		}
	}
	r.altered = "ALTER TABLE " + qualified(r.shadowName()) + " " + strings.Join(rest, ", ")
	return Inspect(ctx, w.conn, r.shadowName())
}

// bring adds the indexes of new foreign keys to what the statement without them leaves.
func (r *rehearsal) bring(full *Relation) {
	if full == nil {
		return
	}
	for _, x := range full.Indexes {
		if !slices.ContainsFunc(r.shadow.Indexes, func(y Index) bool { return y.Name == x.Name }) {
			r.brought = append(r.brought, x.Name)
		}
	}
	r.shadow.Indexes = full.Indexes
}

// watch asks for rows that new foreign keys do not allow: before anything is done, before the swap, and behind it. It adds to a plan that
// is complete.
func (w *planner) watch(r *rehearsal) {
	p := w.plan
	var before, after, names, parents []string
	for _, k := range r.fresh {
		names = append(names, k.name)
		if real := qualified(k.parent); k.parent != p.Pair.Source && !slices.Contains(parents, real) {
			parents = append(parents, real)
		}
		after = append(after, Orphans(newNames(p.Pair), k.columns, k.parent, k.refers))
		columns, refers := r.formerly(k.columns), k.refers
		if k.parent == p.Pair.Source {
			refers = r.formerly(refers)
		}
		if columns == nil || refers == nil {
			continue // of a column that the statement makes
		}
		question := Orphans(p.Pair, columns, k.parent, refers)
		before = append(before, question)
		p.Checks = append(p.Checks, plan.Question{Name: "foreign key " + k.name, SQL: strings.TrimSuffix(question, first), Chunked: true})
	}
	if len(names) == 0 {
		return
	}
	list := strings.Join(names, ", ")
	put := func(at int, steps ...plan.Step) { p.Steps = slices.Insert(p.Steps, at, steps...) }
	behind := []plan.Step{{Kind: plan.Ask, Name: "verify foreign key " + list, SQL: after, Ranged: true, Lock: "none", Why: "rows that refer to nothing, looked for in short statements; new ones cannot come any more"}}
	if slices.ContainsFunc(p.Pair.Key, func(k schema.Key) bool { return k.Source != k.Shadow }) {
		behind[0].Ranged = false
		for i := range after {
			behind[0].SQL[i] = strings.ReplaceAll(after[i], plan.Range, "TRUE")
		}
	}
	if len(parents) > 0 {
		behind = append([]plan.Step{meetWriters(parents, p.Steps[p.Find(plan.Cutover)].LockWait)}, behind...)
	}
	if r.behind {
		behind = append(w.addBehind(r, parents), behind...)
	}
	put(p.Find(plan.Cutover)+1, behind...)
	if len(before) > 0 {
		put(p.Find(plan.Hold), plan.Step{Kind: plan.Ask, Name: "look at foreign key " + list, SQL: before, Ranged: true, Lock: "none", Why: "rows that refer to nothing, looked for in short statements before the swap"})
	}
}

// addBehind adds new foreign keys after the swap, on MariaDB where triggers write the key log.
func (w *planner) addBehind(r *rehearsal, parents []string) []plan.Step {
	var out []plan.Step
	table := qualified(w.plan.Table)
	for _, k := range r.fresh {
		out = append(out, plan.Step{Kind: plan.Exec, Name: addsKeys, SQL: []string{"ALTER TABLE " + table + " " + k.clause(k.columns, k.parent, k.refers) + ", ALGORITHM=NOCOPY, LOCK=NONE"},
			Done:   "SELECT EXISTS (SELECT 1 FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = " + literal(w.plan.Table.Schema) + " AND TABLE_NAME = " + literal(w.plan.Table.Table) + " AND CONSTRAINT_NAME = " + literal(k.name) + ")",
			Tables: append([]string{table}, parents...), LockWait: w.options.LockWait, Lock: "exclusive metadata lock for a moment, also on the tables that it refers to", Why: "only the catalogue changes; the rows are looked at afterwards"})
	}
	return out
}

// formerly are the source's names of columns of the shadow, or nothing where one is new or gets other values.
func (r *rehearsal) formerly(columns []string) []string {
	var out []string
	for _, c := range columns {
		from, to := r.origin(c), r.shadow.column(c)
		if from == nil || to == nil || from.Type != to.Type && !widens(*from, *to) {
			return nil
		}
		out = append(out, from.Name)
	}
	return out
}

// newNames is a pair whose source is the new table, after the swap.
func newNames(p schema.Pair) schema.Pair {
	p.Key = slices.Clone(p.Key)
	for i, k := range p.Key {
		p.Key[i].Source, p.Key[i].Type = k.Shadow, k.ShadowType
	}
	return p
}
