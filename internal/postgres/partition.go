package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// part is a partition of the source and its twin, before and after the statement.
type part struct {
	real   schema.Name
	twin   string // its name among the twins
	kind   string // relkind
	before *Relation
	after  *Relation
}

// most is how many partitions get a twin. More would tell nothing new but the names of their indexes.
const mostParts = 500

// partitions makes an empty twin of a partitioned table's partitions.
func (w *planner) partitions(ctx context.Context, r *rehearsal) error {
	if r.source.Kind != "p" {
		return nil
	}
	if _, err := w.tx.ExecContext(ctx, "SAVEPOINT whole"); err != nil { // see keeping
		return err
	}
	rows, err := w.tx.QueryContext(ctx, `SELECT c.oid, n.nspname, c.relname, c.relkind, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1::bigint::oid ORDER BY c.relname LIMIT $2::int`, int64(r.source.OID), mostParts)
	if err != nil {
		return err
	}
	defer rows.Close()
	var bounds []string
	var oids []uint32
	for rows.Next() {
		var p part
		var oid uint32
		var bound string
		if err := rows.Scan(&oid, &p.real.Schema, &p.real.Table, &p.kind, &bound); err != nil {
			return err
		}
		p.twin = p.real.Table
		if slices.ContainsFunc(r.parts, func(q part) bool { return q.twin == p.twin }) || p.twin == r.source.Name {
			p.twin = fmt.Sprintf("part_%d", oid)
		}
		r.parts, bounds, oids = append(r.parts, p), append(bounds, bound), append(oids, oid)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for i, p := range r.parts {
		real, err := Inspect(ctx, w.tx, oids[i])
		if err != nil {
			return err
		}
		real.Name, real.together = p.twin, r.by.keeps()
		twin := bareTwin
		if r.by.keeps() {
			twin = fullTwin
		}
		r.create = append(append(r.create, twin(inherited(real), r.in())...),
			"ALTER TABLE "+ident.Qualified(r.in(), r.source.Name)+" ATTACH PARTITION "+ident.Qualified(r.in(), p.twin)+" "+bounds[i])
	}
	if r.by.keeps() {
		slices.SortFunc(r.parts, func(a, b part) int { return r.by.at(a) - r.by.at(b) })
	}
	return nil
}

// bareTwin is an empty twin of a table without foreign keys: one that takes part in what is done to another table.
func bareTwin(r *Relation, in string) []string {
	table := ident.Qualified(in, r.Name)
	out := []string{createTable(r, in)}
	for _, c := range r.Columns {
		out = append(out, columnSettings(table, c)...)
	}
	for _, x := range r.Indexes {
		if k := r.backing(x.OID); k == nil || !inline(*k) && r.Kind != "p" {
			out = append(out, createIndex(x, table))
		}
	}
	for _, k := range constraintsInOrder(r) {
		if k.Type != "f" && k.Type != "t" {
			out = append(out, addConstraint(r, k, table))
		}
	}
	return out
}

// look inspects the twins of partitions.
func (w *planner) look(ctx context.Context, r *rehearsal, into func(p *part, now *Relation)) error {
	for i := range r.parts {
		now, err := w.inspect(ctx, r.in(), r.parts[i].twin)
		if err != nil {
			return err
		}
		into(&r.parts[i], now)
	}
	return nil
}

// reads is how often the server has begun to read the twins; negative if it does not count.
func (w *planner) reads(ctx context.Context, r *rehearsal) (int, error) {
	total, err := w.scans(ctx, r.clone.OID)
	if err != nil || total < 0 {
		return total, err
	}
	for _, p := range r.parts {
		n, err := w.scans(ctx, p.before.OID)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// worst is the heaviest of the effects on the table and its partitions.
func (r *rehearsal) worst(scans int) Effect {
	out := effect(r.clone, r.shadow, scans, r.dropped)
	for _, p := range r.parts {
		if p.after == nil {
			continue // detached
		}
		if e := effect(p.before, p.after, scans, r.dropped); e == Rewrites || out == AtOnce {
			out = e
		}
	}
	return out
}

// joins makes a twin of a table that the statement attaches, as a part that is not one yet. It answers whether the statement
// means the table so; one that it detaches has a twin already.
func (w *planner) joins(r *rehearsal, name schema.Name, other *Relation) (schema.Name, bool) {
	at := slices.IndexFunc(w.statement.Clauses, func(c plan.Clause) bool { return c.Other == name && slices.Contains(joining, c.Action) })
	if at < 0 {
		return name, false
	}
	real := schema.Name{Schema: other.Schema, Table: other.Name}
	if slices.ContainsFunc(r.parts, func(p part) bool { return p.real == real }) {
		return name, true
	}
	twin := *other
	if twin.Name == r.source.Name || slices.ContainsFunc(r.parts, func(p part) bool { return p.twin == twin.Name }) {
		twin.Name = fmt.Sprintf("part_%d", other.OID)
	}
	r.create = append(r.create, bareTwin(&twin, r.in())...)
	r.parts = append(r.parts, part{real: real, twin: twin.Name, kind: other.Kind})
	return name, true
}

// inParts makes an index, or a key, of a partitioned table: for the table alone, where it is not valid yet, then for each
// partition concurrently, then they become one. The last one makes it valid (manual, ALTER INDEX … ATTACH PARTITION).
func (w *planner) inParts(r *rehearsal, x Index, key *Constraint, name string) []act {
	table := w.plan.Table
	only := func(text string) string { return "ALTER TABLE ONLY " + text + " " }
	top := act{}
	full, twin, final := ident.Qualified(table.Schema, name), ident.Qualified(r.in(), name), x.Name
	if key == nil {
		x.Name = name
		top.Step = w.step("create "+final, createIndex(x, "ONLY "+qualified(table)), "SHARE", qualified(table))
		top.twin, top.Undo = []string{createIndex(x, "ONLY "+r.table())}, []string{"DROP INDEX IF EXISTS " + full}
	} else {
		add := "ADD CONSTRAINT " + ident.Quote(key.Name) + " " + inlineDef(*key, x)
		full, twin = ident.Qualified(table.Schema, final), ident.Qualified(r.in(), final)
		top.Step = w.step("add "+key.Name, only(qualified(table))+add, "ACCESS EXCLUSIVE", qualified(table))
		top.twin, top.Undo = []string{only(r.table()) + add}, []string{only(qualified(table)) + "DROP CONSTRAINT IF EXISTS " + ident.Quote(key.Name)}
	}
	top.Why = "on the partitioned table alone, which has no rows; it counts once all partitions have theirs"
	var builds, joins []act
	for i, p := range r.parts {
		on, twinOn := qualified(p.real), ident.Qualified(r.in(), p.twin)
		mine, ok := p.childOf(x)
		if !ok {
			return nil // the recipe does not come to the same then, and is not taken
		}
		temporary := fmt.Sprintf("%s_%d", name, i+1)
		join := act{Step: w.step("attach "+mine.Name, "", "ACCESS EXCLUSIVE on the partition's index")}
		join.SQL, join.Why = nil, "only the catalogue changes; what is attached goes with the index of the whole"
		if !slices.ContainsFunc(p.before.Indexes, func(b Index) bool { return b.Name == mine.Name }) {
			builds = append(builds, concurrently(w, p.real, twinOn, mine, temporary))
			if k := p.after.backing(mine.OID); k != nil {
				kind := map[string]string{"p": "PRIMARY KEY", "u": "UNIQUE"}[k.Type]
				make := "ADD CONSTRAINT " + ident.Quote(k.Name) + " " + kind + " USING INDEX " + ident.Quote(temporary)
				join.SQL, join.twin = append(join.SQL, "ALTER TABLE "+on+" "+make), append(join.twin, "ALTER TABLE "+twinOn+" "+make)
				join.Lock, join.Tables = "ACCESS EXCLUSIVE", []string{on}
			} else {
				join.SQL = append(join.SQL, "ALTER INDEX "+ident.Qualified(p.real.Schema, temporary)+" RENAME TO "+ident.Quote(mine.Name))
				join.twin = append(join.twin, "ALTER INDEX "+ident.Qualified(r.in(), temporary)+" RENAME TO "+ident.Quote(mine.Name))
			}
		}
		join.SQL = append(join.SQL, "ALTER INDEX "+full+" ATTACH PARTITION "+ident.Qualified(p.real.Schema, mine.Name))
		join.twin = append(join.twin, "ALTER INDEX "+twin+" ATTACH PARTITION "+ident.Qualified(r.in(), mine.Name))
		joins = append(joins, join)
	}
	out := append(append([]act{top}, builds...), joins...)
	if key == nil {
		last := act{Step: w.step("name "+final, "ALTER INDEX "+full+" RENAME TO "+ident.Quote(final), "SHARE UPDATE EXCLUSIVE on the index")}
		last.twin, last.Why = []string{"ALTER INDEX " + twin + " RENAME TO " + ident.Quote(final)}, "an index of this name is never one that is not finished"
		out = append(out, last)
	}
	return out
}

// childOf is the partition's index that belongs to one of the whole table: new, or one that was there and does as well.
func (p part) childOf(x Index) (Index, bool) {
	for _, mine := range p.after.Indexes {
		if mine.Parent == x.OID {
			return mine, true
		}
	}
	return Index{}, false
}

// attach plans ATTACH PARTITION, which reads the partition, and a default partition, while nobody can use them. What it would
// find is proven first: constraints imply the bound, and indexes are there.
func (w *planner) attach(ctx context.Context, r *rehearsal) (bool, error) {
	s := w.statement
	if len(s.Clauses) != 1 || s.Clauses[0].Action != plan.AttachPartition {
		return false, nil
	}
	other := w.others[s.Clauses[0].Other]
	at := slices.IndexFunc(r.parts, func(p part) bool {
		return other != nil && p.real == schema.Name{Schema: other.Schema, Table: other.Name}
	})
	if at < 0 || len(compare(r.parts[at].before, r.parts[at].after).foreign) > 0 {
		return false, nil
	}
	var acts, drops []act
	child := r.parts[at]
	for i, x := range newIndexes(child.before, child.after) {
		name := helper(w.options.ID, 100+i)
		acts = append(acts, concurrently(w, child.real, ident.Qualified(r.in(), child.twin), x, name))
		finish := "ALTER INDEX %s RENAME TO " + ident.Quote(x.Name)
		on, twin := ident.Qualified(child.real.Schema, name), ident.Qualified(r.in(), name)
		if k := child.after.backing(x.OID); k != nil {
			finish = "ALTER TABLE %s ADD CONSTRAINT " + ident.Quote(k.Name) + " " + map[string]string{"p": "PRIMARY KEY", "u": "UNIQUE"}[k.Type] + " USING INDEX " + ident.Quote(name)
			on, twin = qualified(child.real), ident.Qualified(r.in(), child.twin)
		}
		a := act{Step: w.step("name "+x.Name, fmt.Sprintf(finish, on), "ACCESS EXCLUSIVE on the partition to be", qualified(child.real)), twin: []string{fmt.Sprintf(finish, twin)}}
		a.Why = "an index that the partitioned table has"
		acts = append(acts, a)
	}
	for i, p := range r.parts {
		var bound, isDefault string
		if err := w.tx.QueryRowContext(ctx, `SELECT coalesce(pg_get_partition_constraintdef(c.oid), ''), pg_get_expr(c.relpartbound, c.oid) FROM pg_class c WHERE c.oid = $1::bigint::oid`, int64(p.after.OID)).Scan(&bound, &isDefault); err != nil {
			return false, err
		}
		if strings.Contains(bound, "satisfies_hash_partition(") {
			return false, nil // it names the table by a number that the twin does not have
		}
		if bound == "" || i != at && isDefault != "DEFAULT" {
			continue
		}
		name := helper(w.options.ID, i+1)
		for _, step := range []struct{ name, lock, text, undo, why string }{
			{"say what rows " + p.real.String() + " may have", "ACCESS EXCLUSIVE", "ADD CONSTRAINT " + ident.Quote(name) + " CHECK (" + bound + ") NOT VALID", "DROP CONSTRAINT IF EXISTS " + ident.Quote(name), "from here on it holds for new rows"},
			{"validate " + p.real.String(), "SHARE UPDATE EXCLUSIVE", "VALIDATE CONSTRAINT " + ident.Quote(name), "", "reads all rows while everybody reads and writes"},
			{"tidy " + p.real.String(), "ACCESS EXCLUSIVE", "DROP CONSTRAINT " + ident.Quote(name), "", "the bound says it now"},
		} {
			a := act{Step: w.step(step.name, "ALTER TABLE "+qualified(p.real)+" "+step.text, step.lock, qualified(p.real)), twin: []string{"ALTER TABLE " + ident.Qualified(r.in(), p.twin) + " " + step.text}}
			if a.Why = step.why; step.undo != "" {
				a.Undo = []string{"ALTER TABLE " + qualified(p.real) + " " + step.undo}
			}
			if step.name[:4] == "tidy" {
				drops = append(drops, a)
			} else {
				acts = append(acts, a)
			}
		}
	}
	main := act{Step: w.step("attach", s.Text, "ACCESS EXCLUSIVE on the partition, SHARE UPDATE EXCLUSIVE on the table", qualified(child.real)), twin: []string{r.statement}}
	main.Path, main.Why = w.path, "constraints and indexes prove everything, so that only the catalogue changes"
	acts = append(append(acts, main), drops...)
	same, err := w.tastes(ctx, r, acts)
	if err != nil || !same {
		return false, err
	}
	w.serve(acts, "the server would read the partition, or build its indexes, under a lock that keeps everybody out: it is proven beforehand that there is nothing to be found")
	return true, nil
}

// detach plans DETACH PARTITION … CONCURRENTLY, which takes two transactions: one that was interrupted between them is finished.
func (w *planner) detach(ctx context.Context) (*plan.Plan, error) {
	other := w.others[w.statement.Clauses[0].Other]
	if other == nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("relation %q does not exist. Nothing was changed", w.statement.Clauses[0].Other.String())}
	}
	parent, child := qualified(w.plan.Table), ident.Qualified(other.Schema, other.Name)
	is := "SELECT FROM pg_catalog.pg_inherits WHERE inhparent = pg_catalog.to_regclass(" + ident.Literal(parent) + ") AND inhrelid = pg_catalog.to_regclass(" + ident.Literal(child) + ")"
	a := act{Step: plan.Step{Kind: plan.Loose, Name: "detach " + other.Name, SQL: []string{"ALTER TABLE " + parent + " DETACH PARTITION " + child + " CONCURRENTLY"},
		Done: "SELECT NOT EXISTS (" + is + ")", Lock: "SHARE UPDATE EXCLUSIVE", LockWait: w.options.LockWait,
		Undo: []string{"DO $$ BEGIN IF EXISTS (" + is + " AND inhdetachpending) THEN ALTER TABLE " + parent + " DETACH PARTITION " + child + " FINALIZE; END IF; END $$"},
		Why:  "waits for transactions that use it as a part, while everybody reads and writes"}}
	w.serve([]act{a}, "as the statement says it: outside of a transaction, and finished should it be interrupted")
	return w.plan, nil
}
