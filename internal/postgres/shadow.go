package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// rehearsal is what the planner learned: the source, its empty clone before and after the user's statement.
type rehearsal struct {
	source    *Relation
	clone     *Relation // as made
	shadow    *Relation // after the statement
	effect    Effect    // of the statement on the clone
	twins     twins
	parts     []part                 // partitions
	dropped   []string               // constraints that the statement drops
	had       []string               // names of the twins' relations before the statement
	parents   map[string]schema.Name // other tables that the statement refers to, by the name of what stands for them
	create    []string               // what made the clone
	using     map[string]string      // by column of the source: the user's USING
	constants map[string]string      // columns that the statement adds: the one value of their default, as a literal
	path      string                 // the user's search_path
	settings  map[string]string      // and what else his expressions depend on
	statement string                 // the user's statement on the shadow
	change    string
	order     string        // the index in whose order the rows are copied; empty: as they stand in the heap
	by        *Partitioning // nil: the shadow is partitioned as the source is
	taken     []taken       // names that are taken in the source's schema
	rights    []string      // statements that grant what the source's schema gives to new sequences by default

	views  []View   // of the source, that have a twin on the clone
	viewed []View   // and as the statement leaves them
	stuck  []string // why a second table is refused, of what only the rehearsal tells

	announced [][]Publication // publications of the bodies, as the statement leaves them

	inPlace    *columns // how second columns would do it; nil: not asked yet
	notInPlace []string // why they would not
}

func (r *rehearsal) in() string    { return "changeling_" + r.change }
func (r *rehearsal) old() string   { return "changeling_" + r.change + "_old" }
func (r *rehearsal) table() string { return ident.Qualified(r.in(), r.shadow.Name) }

// origin is the source's column that a column of the shadow came from, or nil. Attribute numbers of the clone run from 1
// in the order of the source's columns, and the user's statement keeps them through a rename and never uses one twice.
func (r *rehearsal) origin(c Column) *Column {
	if c.Num > len(r.source.Columns) {
		return nil
	}
	return &r.source.Columns[c.Num-1]
}

// target is the shadow's column for a column of the source, or nil if the statement drops it.
func (r *rehearsal) target(num int) *Column {
	for i, c := range r.source.Columns {
		if c.Num == num {
			return r.shadow.column(i + 1)
		}
	}
	return nil
}

// pair is how rows go from source to shadow. It fails if no key of the source finds rows in both.
func (r *rehearsal) pair() (schema.Pair, string, error) {
	p := schema.Pair{
		ByKey: r.order != "", Change: r.change, Table: r.source.OID, Owner: r.source.Owner, Settings: r.settings,
		Source: schema.Name{Schema: r.source.Schema, Table: r.source.Name},
		Shadow: schema.Name{Schema: r.in(), Table: r.shadow.Name},
		Old:    schema.Name{Schema: r.old(), Table: r.source.Name},
		Log:    schema.Name{Schema: r.in(), Table: "keys_" + r.change}, Checks: schema.Name{Schema: r.in(), Table: "checks_" + r.change},
		Capture: schema.Name{Schema: r.in(), Table: "changeling_" + r.change},
	}
	p.Published = r.any(before, (*Relation).published)
	if r.any(after, func(t *Relation) bool { return len(t.triggers()) > 0 }) {
		p.First = "!" + p.Capture.Table
	}
	if r.by != nil {
		p.PartedBy = r.by.columns
		if p.SourceParts = r.by.From; len(p.SourceParts) > 0 {
			p.Known = schema.Name{Schema: r.in(), Table: "parts_" + r.change}
		}
		for _, part := range r.by.Parts {
			p.ShadowParts = append(p.ShadowParts, schema.Name{Schema: r.in(), Table: part.Name})
		}
	}
	if r.source.Persistence == "u" || r.shadow.Persistence == "u" {
		p.Alive = schema.Name{Schema: r.in(), Table: "alive_" + r.change}
	}
	for _, c := range r.shadow.Columns {
		m := schema.Mapped{Shadow: c.Name, Type: c.Type, Digest: digest(c.Base, c.Num), Image: image(c.Base), Always: c.Identity == "a"}
		from := r.origin(c)
		switch {
		case c.Generated != "":
			continue
		case from != nil:
			m.Source, m.Converted = from.Name, from.Type != c.Type
			if using, ok := r.using[from.Name]; ok {
				m.Expr, m.Converted, p.Path = using, true, r.path
			}
		case r.constants[c.Name] != "":
			m.Expr = r.constants[c.Name] + "::" + c.Type
		case c.Identity != "":
			p.Kept = append(p.Kept, schema.Kept{Shadow: c.Name, Expr: r.nextOf(c)})
			continue
		case c.Default != nil:
			p.Kept = append(p.Kept, schema.Kept{Shadow: c.Name, Expr: *c.Default})
			continue
		default:
			continue // no default: NULL, as after a native ALTER
		}
		p.Columns = append(p.Columns, m)
	}
	helper, err := r.chooseKey(&p)
	return p, helper, err
}

func (r *rehearsal) nextOf(c Column) string {
	for _, q := range r.shadow.Sequences {
		if q.Column == c.Name && q.Internal {
			return "pg_catalog.nextval(" + ident.Literal(ident.Qualified(q.Schema, q.Name)) + "::pg_catalog.regclass)"
		}
	}
	return "NULL"
}

// errNoKey carries its own repair.
type errNoKey struct{ reason string }

func (e errNoKey) Error() string { return e.reason }

// chooseKey fills in the key: a unique, valid, immediate index of the source over columns that are NOT NULL and that the
// shadow still has. The primary key is preferred, then a key that the shadow has an index for, then the narrowest.
// Where the shadow has none, the definition of a helping index is returned.
func (r *rehearsal) chooseKey(p *schema.Pair) (helper string, err error) {
	var best *Index
	var bestShadow *Index
	score := func(x *Index, s *Index) int {
		n := 10 * len(x.Keys)
		if !x.Primary {
			n += 100
		}
		if s == nil {
			n += 1000
		}
		return n
	}
	dropped := false
	for i := range r.source.Indexes {
		x := &r.source.Indexes[i]
		if !x.Unique || !x.Valid || !x.Immediate || x.Partial || x.Method != "btree" || r.order != "" && x.Name != r.order {
			continue
		}
		usable := true
		for _, k := range x.Keys {
			c := r.source.column(k.Num)
			if k.Num == 0 || c == nil || c.mayBeNull() || k.Equal == "" || !k.Default {
				usable = false
				break
			}
			if t := r.target(k.Num); t == nil || t.Generated != "" {
				usable, dropped = false, true
				break
			}
		}
		if !usable {
			continue
		}
		s := r.shadowIndexFor(x)
		if best == nil || score(x, s) < score(best, bestShadow) {
			best, bestShadow = x, s
		}
	}
	if best == nil {
		name := p.Source.String()
		if r.order != "" {
			return "", errNoKey{fmt.Sprintf("the rows of %s cannot be written in the order of its index %s: only a key gives an order, which is a primary key, or a unique index that is valid, not partial, not deferrable, "+
				"and whose columns are all NOT NULL", name, r.order)}
		}
		if dropped {
			return "", errNoKey{fmt.Sprintf("the statement drops or generates every column of every usable key of %s; a row can then not be found in both tables. "+
				"Keep one key: add the new key in a change of its own first, drop the old one afterwards", name)}
		}
		return "", errNoKey{fmt.Sprintf("table %s has no usable key: a primary key, or a unique index that is valid, not partial, not deferrable, and whose columns are all NOT NULL. "+
			"Repair: ALTER TABLE %s ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY (rewrites the table), or make an existing column NOT NULL and CREATE UNIQUE INDEX CONCURRENTLY on it", name, name)}
	}
	for _, k := range best.Keys {
		if name := r.source.column(k.Num).Name; name == seq || name == mirrored || name == misfit {
			return "", errNoKey{fmt.Sprintf("the key column %s of %s is called as a column of the engine's own key log: rename it first", name, p.Source)}
		}
	}
	p.Ordered, p.SameKey = true, true
	var columns []string
	for i, k := range best.Keys {
		from, to := r.source.column(k.Num), r.target(k.Num)
		key := schema.Key{Source: from.Name, Shadow: to.Name, Type: from.Type, ShadowType: to.Type, LogType: from.Plain, Ops: operators(k), ShadowOps: operators(k)}
		if using, ok := r.using[from.Name]; ok {
			key.Expr = using
			p.Ordered, p.SameKey = false, false
		}
		if from.Type != to.Type || from.Collates != to.Collates {
			p.SameKey = false
			key.ShadowOps = schema.Operators{Equal: "OPERATOR(pg_catalog.=)", Above: "OPERATOR(pg_catalog.>)", Upto: "OPERATOR(pg_catalog.<=)"}
			if !sameOrder(*from, *to) {
				p.Ordered = false
			}
		}
		if bestShadow != nil {
			for _, sk := range bestShadow.Keys {
				if sk.Num == to.Num {
					key.ShadowOps = operators(sk)
				}
			}
			if i >= len(bestShadow.Keys) || bestShadow.Keys[i].Num != to.Num {
				p.Ordered = false // same columns, other order: a range of one is no range of the other's index
			}
		}
		p.Key = append(p.Key, key)
		columns = append(columns, ident.Quote(to.Name))
	}
	if bestShadow == nil {
		helper = fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s)", ident.Quote("changeling_"+r.change+"_key"), r.table(), strings.Join(columns, ", "))
	}
	return helper, nil
}

func operators(k IndexKey) schema.Operators {
	return schema.Operators{Equal: k.Equal, Above: k.Above, Upto: k.Upto}
}

// shadowIndexFor is a unique index of the shadow over just the columns of x, or nil.
func (r *rehearsal) shadowIndexFor(x *Index) *Index {
	want := map[int]bool{}
	for _, k := range x.Keys {
		if t := r.target(k.Num); t != nil {
			want[t.Num] = true
		}
	}
	for i := range r.shadow.Indexes {
		s := &r.shadow.Indexes[i]
		if !s.Unique || !s.Valid || !s.Immediate || s.Partial || s.Method != "btree" || len(s.Keys) != len(x.Keys) {
			continue
		}
		same := true
		for _, k := range s.Keys {
			same = same && want[k.Num] && k.Equal != ""
		}
		if same {
			return s
		}
	}
	return nil
}

// sameOrder says that the conversion keeps the order of values, so that a key range of one table is one of the other.
func sameOrder(a, b Column) bool {
	integers := []string{"int2", "int4", "int8"}
	texts := []string{"text", "varchar"}
	switch {
	case slices.Contains(integers, a.Base) && slices.Contains(integers, b.Base):
		return true
	case slices.Contains(texts, a.Base) && slices.Contains(texts, b.Base):
		return a.Collates == b.Collates
	}
	if a.Base == "enum" || a.Base == "other" {
		return a.Type == b.Type && a.Collates == b.Collates
	}
	return a.Base == b.Base && a.Collates == b.Collates
}

// strip takes everything off the empty shadow that is cheaper or only correct to add after the copy, and the twins.
// Foreign keys stay off until the cutover: a user who deletes a child and then its parent would fail on an undrained shadow.
func (r *rehearsal) strip() []string {
	var out []string
	alter := "ALTER TABLE " + r.table() + " "
	drop := func(kinds string) {
		for _, k := range r.shadow.Constraints {
			if strings.Contains(kinds, k.Type) && !k.Inherited {
				out = append(out, alter+"DROP CONSTRAINT "+ident.Quote(k.Name))
			}
		}
	}
	drop("f")
	for _, b := range r.bodies() {
		out = append(out, dropTriggersOf(b.now.triggers(), b.twin)...)
	}
	for _, t := range append(sortedTwins(r.twins), slices.Sorted(maps.Keys(r.parents))...) {
		out = append(out, "DROP TABLE "+ident.Qualified(r.in(), t)+" CASCADE")
	}
	drop("c")
	drop("xup")
	for _, x := range r.shadow.Indexes {
		if r.shadow.backing(x.OID) == nil {
			out = append(out, "DROP INDEX "+ident.Qualified(r.in(), x.Name))
		}
	}
	for _, x := range r.ownIndexes() {
		out = append(out, "DROP INDEX "+ident.Qualified(r.in(), x.Name))
	}
	for _, c := range r.newNotNulls() {
		out = append(out, alter+"ALTER COLUMN "+ident.Quote(c.Name)+" DROP NOT NULL")
	}
	return append(out, r.quiet()...)
}

// heaps are the tables that have the shadow's rows: itself, or its partitions.
func (r *rehearsal) heaps() (out []string) {
	if !r.by.parts() {
		return []string{r.table()}
	}
	for _, part := range r.by.Parts {
		out = append(out, ident.Qualified(r.in(), part.Name))
	}
	return out
}

// quiet keeps an autovacuum from the shadow while it is copied to.
func (r *rehearsal) quiet() (out []string) {
	for _, heap := range r.heaps() {
		out = append(out, "ALTER TABLE "+heap+" SET (autovacuum_enabled = false)")
	}
	return out
}

// newNotNulls are the columns that hold NULLs until the statement forbids them. They are checked after the copy, when a
// row that breaks them is a true one.
func (r *rehearsal) newNotNulls() []Column {
	var out []Column
	for _, c := range r.shadow.Columns {
		if from := r.origin(c); c.NotNull && from != nil && from.mayBeNull() && c.Identity == "" && c.Generated == "" {
			out = append(out, c)
		}
	}
	return out
}

// builds are the steps that make indexes and the constraints that bring their own, the key first, then the largest.
func (r *rehearsal) builds(p schema.Pair, helper string) []plan.Step {
	type item struct {
		name, sql, done string
		more            []string // behind sql
		weight          int64
	}
	var items []item
	exists := func(name string) string {
		return "SELECT pg_catalog.to_regclass(" + ident.Literal(ident.Qualified(r.in(), name)) + ") IS NOT NULL"
	}
	weight := func(name string) int64 {
		for _, x := range r.source.Indexes {
			if x.Name == name {
				return x.Bytes
			}
		}
		return 0
	}
	keyColumns := map[string]bool{}
	for _, k := range p.Key {
		keyColumns[k.Shadow] = true
	}
	for _, x := range r.shadow.Indexes {
		k := r.shadow.backing(x.OID)
		it := item{name: x.Name, done: exists(x.Name), more: r.nameParts(x.Name), weight: weight(x.Name)}
		if r.by.keeps() {
			list := r.byPart(x)
			it.sql, it.more = list[0], list[1:]
		} else if k != nil && (inline(*k) || r.by.parts()) {
			it.sql = "ALTER TABLE " + r.table() + " ADD CONSTRAINT " + ident.Quote(k.Name) + " " + inlineDef(*k, x)
		} else {
			it.sql = createIndex(x, r.table())
		}
		if x.Primary {
			it.weight = 1 << 62
		}
		items = append(items, it)
	}
	for _, x := range r.ownIndexes() {
		items = append(items, item{name: x.Name, sql: createIndex(x.Index, x.table), done: exists(x.Name), weight: x.weight})
	}
	if helper != "" {
		name := "changeling_" + r.change + "_key"
		items = append(items, item{name: name, sql: helper, done: exists(name), weight: 1 << 62})
	}
	slices.SortStableFunc(items, func(a, b item) int { return int(min(max(b.weight-a.weight, -1), 1)) })
	var out []plan.Step
	for _, it := range items {
		out = append(out, plan.Step{Kind: plan.Build, Name: "build " + it.name, SQL: append([]string{it.sql}, it.more...), Done: it.done, Role: p.Owner,
			Why: "built in bulk on the shadow, which nobody else writes to"})
	}
	return out
}

// finish is what completes the shadow's definition after the indexes: constraints on them, checks and NOT NULLs in one
// scan, settings and comments of what was taken off, and the user's own autovacuum setting.
func (r *rehearsal) finish() []string {
	var out, scans []string
	alter := "ALTER TABLE " + r.table() + " "
	for _, c := range r.newNotNulls() {
		if c.NotNullDef != "" {
			scans = append(scans, "ADD CONSTRAINT "+ident.Quote(c.NotNullName)+" "+c.NotNullDef)
		} else {
			scans = append(scans, "ALTER COLUMN "+ident.Quote(c.Name)+" SET NOT NULL")
		}
	}
	for _, k := range r.shadow.Constraints {
		if k.Type == "c" && !k.Inherited {
			scans = append(scans, "ADD CONSTRAINT "+ident.Quote(k.Name)+" "+k.Def)
		}
	}
	if len(scans) > 0 {
		out = append(out, alter+strings.Join(scans, ", "))
	}
	for _, k := range constraintsInOrder(r.shadow) {
		if (k.Type == "p" || k.Type == "u") && !inline(k) && !r.by.parts() {
			out = append(out, addConstraint(r.shadow, k, r.table()))
		}
	}
	for _, x := range r.shadow.Indexes {
		out = append(out, indexSettings(x, r.in(), r.table(), r.shadow.Identity)...)
		out = append(out, comment("INDEX "+ident.Qualified(r.in(), x.Name), x.Comment)...)
	}
	for _, k := range r.shadow.Constraints {
		if k.Type != "f" && k.Type != "t" {
			out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+r.table(), k.Comment)...)
		}
	}
	for _, c := range r.newNotNulls() {
		if c.NotNullName != "" {
			out = append(out, comment("CONSTRAINT "+ident.Quote(c.NotNullName)+" ON "+r.table(), c.NotNullNote)...)
		}
	}
	out = append(out, r.finishParts()...)
	for i, heap := range r.heaps() {
		// The catalogue keeps storage parameters in the order in which they were set.
		names, values := []string{"autovacuum_enabled"}, []string{}
		for _, o := range r.heapOptions(i) {
			name, _, _ := strings.Cut(o, "=")
			names, values = append(names, ident.Quote(name)), append(values, option(o, ""))
		}
		out = append(out, "ALTER TABLE "+heap+" RESET ("+strings.Join(names, ", ")+")")
		if len(values) > 0 {
			out = append(out, "ALTER TABLE "+heap+" SET ("+strings.Join(values, ", ")+")")
		}
	}
	return out
}

func sortedTwins(t twins) []string {
	var out []string
	for _, name := range t {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// bareAgain makes a finished shadow bare for another copy, after somebody truncated or rewrote the source. It may run twice.
func (r *rehearsal) bareAgain(helper string) []string {
	var out []string
	alter := "ALTER TABLE " + r.table() + " "
	for _, kind := range []string{"c", "x", "u", "p"} {
		for _, k := range r.shadow.Constraints {
			if k.Type == kind && !k.Inherited {
				out = append(out, alter+"DROP CONSTRAINT IF EXISTS "+ident.Quote(k.Name))
			}
		}
	}
	for _, x := range r.shadow.Indexes {
		out = append(out, "DROP INDEX IF EXISTS "+ident.Qualified(r.in(), x.Name))
	}
	for _, x := range r.ownIndexes() {
		out = append(out, "DROP INDEX IF EXISTS "+ident.Qualified(r.in(), x.Name))
	}
	if helper != "" {
		out = append(out, "DROP INDEX IF EXISTS "+ident.Qualified(r.in(), "changeling_"+r.change+"_key"))
	}
	for _, c := range r.newNotNulls() {
		out = append(out, alter+"ALTER COLUMN "+ident.Quote(c.Name)+" DROP NOT NULL")
	}
	return append(out, r.quiet()...)
}
