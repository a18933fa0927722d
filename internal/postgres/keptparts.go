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

// A second table for one that is partitioned has the same partitions. Its twin gets twins of them that are like them in everything, the statement
// changes all of these, and what came of each partition is made for itself: indexes under their names, settings, comments. Rows are read and written
// through the table, so the server routes them; a row stays in its partition, because the server lets nobody alter what a table is partitioned by.

// keeping says what stands in the way of a second table with the same partitions, after the statement was rehearsed, or failed.
func (w *planner) keeping(ctx context.Context, source *Relation, r *rehearsal, failed error) ([]string, error) {
	if failed == nil && r.effect == AtOnce && w.options.Route != plan.ShadowTable || fault.Lost(failed) || fault.Canceled(failed) {
		return nil, failed
	}
	if failed != nil {
		if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT whole"); err != nil {
			return nil, failed
		}
	}
	why, err := w.keep(ctx, source)
	if err != nil {
		return nil, err
	}
	return why, failed
}

// keep reads the partitions of a table, and says what stands in the way of a second table with the same ones.
func (w *planner) keep(ctx context.Context, source *Relation) ([]string, error) {
	parts, why, err := w.leaves(ctx, source)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, part := range parts {
		why = append(why, ownOfKept(source, part)...)
		for _, s := range part.Statistics {
			names = append(names, s.Name)
		}
	}
	for _, s := range source.Statistics {
		names = append(names, s.Name)
	}
	if slices.Sort(names); len(slices.Compact(slices.Clone(names))) < len(names) {
		why = append(why, "two statistics objects of the table and its partitions have the same name, in several schemas: rename one of them first (ALTER STATISTICS … RENAME TO …)")
	}
	if len(parts) == 0 && len(why) == 0 {
		why = append(why, fmt.Sprintf("%s has no partition, and so no rows that are to be written anew: --route direct does a statement at once", w.plan.Table))
	}
	why = append(why, lateKeys(source)...)
	source.carry(parts)
	source.together = true
	for _, t := range append([]*Relation{source}, parts...) {
		why = append(why, w.viewsOfKin(t)...)
	}
	w.plan.Rows, w.plan.Bytes, w.plan.Heap = source.Rows, source.Bytes, source.Pages*8192
	missing, err := w.ownersRights(ctx, source.OID)
	if err != nil {
		return nil, err
	}
	w.kept = &Partitioning{Table: w.plan.Table, leaves: parts}
	return slices.Concat(unsupported(source, w.statement), why, w.withheld(source, missing)), nil
}

// ownOfKept says what of a partition cannot be carried yet, besides ownOfPart.
func ownOfKept(source, part *Relation) (why []string) {
	name := "partition " + qualified(schema.Name{Schema: part.Schema, Table: part.Name})
	add := func(format string, args ...any) { why = append(why, name+" "+fmt.Sprintf(format, args...)) }
	for _, k := range part.References {
		if !k.Inherited {
			add("is referred to by the foreign key %s of %s.%s, which cannot be handed over yet", k.Name, k.Schema, k.Table)
		}
	}
	for _, k := range part.Constraints {
		if !k.Inherited && k.Type != "t" {
			add("has the constraint %s of its own: that cannot be carried yet", k.Name)
		}
	}
	for _, c := range part.Columns {
		if of := source.columnNamed(c.Name); c.notNullPending() && (of == nil || !of.notNullPending()) {
			add("has a NOT NULL of its own on column %s that is NOT VALID: VALIDATE it first", c.Name)
		}
	}
	for _, x := range part.Indexes {
		if !x.Valid {
			add("has the index %s, which is invalid: drop it or REINDEX it first", x.Name)
		}
	}
	for _, s := range part.Statistics {
		if s.Owner != part.Owner {
			add("has the statistics %s of %s, who does not own it: ALTER STATISTICS … OWNER TO first", s.Name, s.Owner)
		}
	}
	if len(part.Withheld) > 0 {
		add("is one on which its owner took privileges from himself: that cannot be carried yet")
	}
	return why
}

// lateKeys are the constraints that the partitions could not be given.
func lateKeys(r *Relation) (why []string) {
	for _, k := range r.Constraints {
		switch {
		case k.Type == "x": // the server does not find that two of them are alike
			why = append(why, fmt.Sprintf("exclusion constraint %s of a partitioned table cannot be carried to partitions yet", k.Name))
		case k.Type == "f" && k.ToOID == r.OID:
			why = append(why, fmt.Sprintf("foreign key %s refers to the table itself: it cannot be carried for partitions yet", k.Name))
		case k.Type == "f" && !k.Validated: // before PostgreSQL 18 a partitioned table has none
			why = append(why, fmt.Sprintf("foreign key %s of a partitioned table is not valid, or not enforced: VALIDATE it first", k.Name))
		}
	}
	return why
}

// keptParts rehearses the statement on twins of the partitions that are like them in everything. It answers why there can be no second table, if
// there can be none.
func (w *planner) keptParts(ctx context.Context, source *Relation) (*rehearsal, []string, error) {
	w.by = w.kept
	for _, part := range w.by.leaves {
		w.by.From = append(w.by.From, schema.Name{Schema: part.Schema, Table: part.Name})
		w.by.Parts = append(w.by.Parts, Part{Name: part.Name})
	}
	r, err := w.rehearse(ctx, source)
	if err != nil {
		return nil, nil, err
	}
	why := lateKeys(r.shadow)
	for i, p := range r.parts {
		if !samePlaces(r.source, w.by.leaves[i], r.clone, p.before) {
			why = append(why, fmt.Sprintf("partition %s has two indexes that are alike, and the server would tell them apart another way: drop one of them first", qualified(p.real)))
		}
	}
	for _, x := range r.shadow.Indexes {
		for _, p := range r.parts {
			if mine, ok := p.childOf(x); ok {
				w.by.children = append(w.by.children, child{part: p.twin, name: mine.Name, parent: x.Name})
			}
		}
	}
	w.plan.Checks = w.questions(r)
	return r, why, nil
}

// forEach gives the table and its partitions what each of them gets. A partitioned table has no storage parameters.
func (r *rehearsal) forEach() string {
	var out []string
	for i, b := range r.bodies() {
		for _, clause := range r.by.each {
			if i > 0 || !strings.HasPrefix(clause, "SET (") {
				out = append(out, "ALTER TABLE ONLY "+b.twin+" "+clause)
			}
		}
	}
	return strings.Join(out, ";\n")
}

// at is the place of a partition among the leaves.
func (b *Partitioning) at(p part) int {
	return slices.IndexFunc(b.leaves, func(l *Relation) bool { return l.Schema == p.real.Schema && l.Name == p.real.Table })
}

// samePlaces says that the indexes of a partition's twin belong to those of the whole twin to which those of the partition belong.
func samePlaces(whole, part, twin, twinPart *Relation) bool {
	place := func(whole, part *Relation) (out []string) {
		for _, x := range part.Indexes {
			if of := whole.index(x.Parent); of != nil {
				out = append(out, x.Name+" of "+of.Name)
			}
		}
		return out
	}
	return slices.Equal(place(whole, part), place(twin, twinPart))
}

// inherited is a partition without what its table gives it when it is attached, and could not have before.
func inherited(part *Relation) *Relation {
	out := *part
	out.Columns = slices.Clone(part.Columns)
	for i := range out.Columns { // from PostgreSQL 17 on partitions have the identity of their table
		out.Columns[i].Identity = ""
	}
	return &out
}

// fullTwin is an empty twin of a partition with everything but foreign keys, which it has from its table.
func fullTwin(part *Relation, in string) []string {
	twin := *part
	twin.References = nil
	twin.Constraints = less(part.Constraints, func(k Constraint) bool { return k.Type == "f" })
	out, _ := cloneSQL(&twin, in)
	return out
}

// byPart builds an index of the whole shadow: those of its partitions first, under the names and with the settings that they came to have, then
// that of the table alone, which is valid once all of them are attached to it.
func (r *rehearsal) byPart(x Index) (out []string) {
	if k := r.shadow.backing(x.OID); k != nil && k.Type == "p" && r.shadow.Version >= 180000 {
		return r.primary(x, *k)
	}
	var attach []string
	for _, p := range r.parts {
		mine, _ := p.childOf(x)
		table := ident.Qualified(r.in(), p.twin)
		k := p.after.backing(mine.OID)
		if k == nil || !inline(*k) {
			out = append(out, createIndex(mine, table))
		}
		if k != nil {
			out = append(out, addConstraint(p.after, *k, table))
		}
		attach = append(attach, "ALTER INDEX "+ident.Qualified(r.in(), x.Name)+" ATTACH PARTITION "+ident.Qualified(r.in(), mine.Name))
	}
	if k := r.shadow.backing(x.OID); k != nil {
		return slices.Concat(out, []string{addConstraint(r.shadow, *k, r.table())}, attach)
	}
	return slices.Concat(out, []string{createIndex(x, "ONLY "+r.table())}, attach)
}

// primary is byPart for a primary key from PostgreSQL 18 on: there one that a partition is given by itself makes the NOT NULLs of its columns its own,
// and they would stay when the table loses them. So the server makes those of the partitions along with the table's.
func (r *rehearsal) primary(x Index, k Constraint) []string {
	out := append([]string{"ALTER TABLE " + r.table() + " ADD CONSTRAINT " + ident.Quote(k.Name) + " " + inlineDef(k, x)}, r.rename(x.Name)...)
	for _, p := range r.parts {
		mine, _ := p.childOf(x)
		name := ident.Qualified(r.in(), mine.Name)
		if mine.Tablespace != x.Tablespace {
			to := mine.Tablespace
			if to == "" {
				to = "pg_default"
			}
			out = append(out, "ALTER INDEX "+name+" SET TABLESPACE "+ident.Quote(to))
		}
		if slices.Equal(mine.Parameters, x.Parameters) {
			continue
		}
		for _, o := range x.Parameters {
			parameter, _, _ := strings.Cut(o, "=")
			out = append(out, "ALTER INDEX "+name+" RESET ("+ident.Quote(parameter)+")")
		}
		for _, o := range mine.Parameters {
			out = append(out, "ALTER INDEX "+name+" SET ("+option(o, "")+")")
		}
	}
	return out
}

// ownIndex is one that a partition has for itself.
type ownIndex struct {
	Index
	table  string
	weight int64
}

func (r *rehearsal) ownIndexes() (out []ownIndex) {
	if !r.by.keeps() {
		return nil
	}
	for i, p := range r.parts {
		for _, x := range p.after.Indexes {
			if x.Parent != 0 || p.after.backing(x.OID) != nil {
				continue
			}
			own := ownIndex{Index: x, table: ident.Qualified(r.in(), p.twin)}
			for _, was := range r.by.leaves[i].Indexes {
				if was.Name == x.Name {
					own.weight = was.Bytes
				}
			}
			out = append(out, own)
		}
	}
	return out
}

// finishParts are the settings and comments of what is made anew for partitions.
func (r *rehearsal) finishParts() (out []string) {
	if !r.by.keeps() {
		return nil
	}
	for _, p := range r.parts {
		table := ident.Qualified(r.in(), p.twin)
		for _, x := range p.after.Indexes {
			out = append(out, indexSettings(x, r.in(), table, p.after.Identity)...)
			out = append(out, comment("INDEX "+ident.Qualified(r.in(), x.Name), x.Comment)...)
		}
		for _, k := range p.after.Constraints {
			if k.Type != "f" && k.Type != "t" {
				out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+table, k.Comment)...)
			}
		}
	}
	return out
}

// partStatistics are the statistics objects of partitions, as they were and as they are, each with the schema where users find it.
func (r *rehearsal) partStatistics() (was, now []Statistics) {
	if !r.by.keeps() {
		return nil, nil
	}
	for i, p := range r.parts {
		old := r.by.leaves[i].Statistics
		was = append(was, old...)
		for _, s := range p.after.Statistics {
			s.Schema = r.source.Schema
			if at := slices.IndexFunc(old, func(o Statistics) bool { return o.Name == s.Name }); at >= 0 {
				s.Schema = old[at].Schema
			}
			now = append(now, s)
		}
	}
	return was, now
}

// leave takes statistics objects out of their schemas, and enter back into them.
func leave(list []Statistics, to string) (out []string) {
	for _, s := range list {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(s.Schema, s.Name)+" SET SCHEMA "+ident.Quote(to))
	}
	return out
}

func enter(list []Statistics, from string) (out []string) {
	for _, s := range list {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(from, s.Name)+" SET SCHEMA "+ident.Quote(s.Schema))
	}
	return out
}
