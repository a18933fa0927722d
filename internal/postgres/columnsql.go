package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// second is a column, and the one that takes its place.
type second struct {
	from     Column // as the source has it
	to       Column // as the statement leaves it, under its own name
	new, old string // what the second one is called before the swap, and the first one after it
	given    string // the second one's default while both are in use; empty: none
}

// columns writes the statements that give a table second columns. What the second ones need is not taken from the texts of the
// first: on the twin, the column that the statement left gets the name of the second one, and the server tells how everything
// that speaks of it reads then.
type columns struct {
	*planner
	*rehearsal
	seconds    []second
	indexes    []Index      // that have one of the columns, as the server tells
	keys       []Constraint // likewise: primary keys and unique ones
	checks     []Constraint
	foreign    []foreignKey
	statistics []Statistics
}

// place is where the statements run: on the table, or on its twin.
type place struct {
	schema string
	table  string // quoted
	real   bool
}

func (c *columns) here() place {
	return place{c.source.Schema, qualified(c.plan.Table), true}
}
func (c *columns) there() place { return place{c.in(), c.rehearsal.table(), false} }

// The names of what is there before the swap, by what it is.
func (c *columns) name(kind, n int) string { return helper(c.change, kind+n) }

const (
	kindNotNull = 1
	kindIndex   = 100
	kindCheck   = 200
	kindForeign = 300
	kindStats   = 400
)

// add makes the columns, empty, with what belongs to a column alone.
func (c *columns) add(p place) []string {
	var out []string
	for _, s := range c.seconds {
		bare := s.to
		bare.Name, bare.NotNull, bare.NotNullName, bare.NotNullDef, bare.Default, bare.Identity = s.new, false, "", "", nil, ""
		out = append(out, "ALTER TABLE "+p.table+" ADD COLUMN "+columnDef(c.shadow, bare, p.schema))
		if s.given != "" { // apart, so that rows that are there get none
			out = append(out, "ALTER TABLE "+p.table+" ALTER COLUMN "+ident.Quote(s.new)+" SET DEFAULT "+s.given)
		}
		out = append(out, columnSettings(p.table, bare)...)
		out = append(out, grants("TABLE", p.table, s.new, s.to.Grants, c.source.Owner)...)
		out = append(out, comment("COLUMN "+p.table+"."+ident.Quote(s.new), s.to.Comment)...)
	}
	for i, s := range c.statistics {
		in := c.statisticsSchema(s, p)
		s.Name = c.name(kindStats, i)
		out = append(out, statistics(s, in, p.table)...)
	}
	return out
}

func (c *columns) statisticsSchema(s Statistics, p place) string {
	for _, was := range c.source.Statistics {
		if was.Name == s.Name && p.real {
			return was.Schema
		}
	}
	return p.schema
}

// promise adds a constraint that holds for new rows, and prove reads the others. A NOT NULL is a check until the swap.
type promise struct {
	name, shown, def string // under which name, for which one, its definition on the table
	twin             string // and on the twin
	valid            bool   // false: it stays as it is, NOT VALID
	parent           string // the table that a foreign key points to, quoted
	late             bool   // it could refuse what the first column takes
}

func (c *columns) promises() []promise {
	var out []promise
	late := c.expansion != nil && !c.total(c.seconds[0])
	for i, s := range c.seconds {
		if s.to.NotNull {
			def := "CHECK (" + ident.Quote(s.new) + " IS NOT NULL)"
			out = append(out, promise{c.name(kindNotNull, i), "NOT NULL of " + s.to.Name, def, def, true, "", late})
		}
	}
	for i, k := range c.checks {
		def := strings.TrimSuffix(k.Def, " NOT VALID")
		out = append(out, promise{c.name(kindCheck, i), k.Name, def, def, k.Validated, "", c.expansion != nil && !c.widens(c.seconds[0])})
	}
	for i, k := range c.foreign {
		def, twin := strings.TrimSuffix(k.Def, " NOT VALID"), strings.TrimSuffix(k.key.Def, " NOT VALID")
		out = append(out, promise{c.name(kindForeign, i), k.Name, def, twin, k.Validated, qualified(k.To), false})
	}
	return out
}

// swap gives the second columns the names and the places of the first, in one transaction that reads no row.
func (c *columns) swap(p place) []string {
	alter := "ALTER TABLE " + p.table + " "
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, k := range c.foreign {
		add("%sDROP CONSTRAINT %s", alter, ident.Quote(k.Name))
	}
	for _, k := range append(slices.Clone(c.checks), c.keys...) {
		add("%sDROP CONSTRAINT %s", alter, ident.Quote(k.Name))
	}
	for _, x := range c.indexes {
		if c.backed(x) == nil {
			add("DROP INDEX %s", ident.Qualified(p.schema, x.Name))
		}
	}
	for _, s := range c.statistics {
		add("DROP STATISTICS %s", ident.Qualified(c.statisticsSchema(s, p), s.Name))
	}
	for i, s := range c.seconds {
		out = append(out, c.exchange(s, i, p)...)
	}
	for i, x := range c.indexes {
		name := c.name(kindIndex, i)
		if k := c.backed(x); k != nil {
			kind := map[string]string{"p": "PRIMARY KEY", "u": "UNIQUE"}[k.Type]
			add("%sADD CONSTRAINT %s %s USING INDEX %s%s", alter, ident.Quote(k.Name), kind, ident.Quote(name), deferrable(*k))
			out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+p.table, k.Comment)...)
		} else {
			add("ALTER INDEX %s RENAME TO %s", ident.Qualified(p.schema, name), ident.Quote(x.Name))
		}
		out = append(out, indexSettings(x, p.schema, p.table, c.source.Identity)...)
		out = append(out, comment("INDEX "+ident.Qualified(p.schema, x.Name), x.Comment)...)
	}
	rename := func(kind, i int, k Constraint) {
		add("%sRENAME CONSTRAINT %s TO %s", alter, ident.Quote(c.name(kind, i)), ident.Quote(k.Name))
		out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+p.table, k.Comment)...)
	}
	for i, k := range c.checks {
		rename(kindCheck, i, k)
	}
	for i, k := range c.foreign {
		rename(kindForeign, i, Constraint{Name: k.Name, Comment: k.Comment})
	}
	for i, s := range c.statistics {
		in := c.statisticsSchema(s, p)
		add("ALTER STATISTICS %s RENAME TO %s", ident.Qualified(in, c.name(kindStats, i)), ident.Quote(s.Name))
		if p.real && s.Owner != c.source.Owner {
			add("ALTER STATISTICS %s OWNER TO %s", ident.Qualified(in, s.Name), ident.Quote(s.Owner))
		}
	}
	return out
}

func deferrable(k Constraint) (text string) {
	if k.Deferable {
		text += " DEFERRABLE"
	}
	if k.Deferred {
		text += " INITIALLY DEFERRED"
	}
	return text
}

// backed is the key that an index belongs to, or nil.
func (c *columns) backed(x Index) *Constraint {
	for i, k := range c.keys {
		if k.Index == x.OID {
			return &c.keys[i]
		}
	}
	return nil
}

// exchange swaps the names of one pair of columns, and gives the second one what a column can have only once.
func (c *columns) exchange(s second, i int, p place) []string {
	alter := "ALTER TABLE " + p.table + " "
	first, name := ident.Quote(s.from.Name), ident.Quote(s.to.Name)
	was, column := alter+"ALTER COLUMN "+first+" ", alter+"ALTER COLUMN "+name+" "
	kept := fmt.Sprintf("changeling.identity_%d", i) // a setting of the transaction
	var out []string
	switch {
	case s.from.Identity != "":
		for _, q := range c.source.Sequences {
			if q.Internal && q.Column == s.from.Name {
				sequence := ident.Qualified(p.schema, q.Name)
				out = append(out, fmt.Sprintf("ALTER SEQUENCE %s CACHE %d", sequence, q.Cache), // nextval waits from here on
					"SELECT pg_catalog.set_config("+ident.Literal(kept)+", last_value::text || ' ' || is_called, true) FROM "+sequence)
			}
		}
		out = append(out, was+"DROP IDENTITY")
	case s.from.Default != nil:
		out = append(out, was+"DROP DEFAULT")
	}
	if s.from.NotNull {
		out = append(out, was+"DROP NOT NULL") // its keys are gone by now
	}
	out = append(out, alter+"RENAME COLUMN "+first+" TO "+ident.Quote(s.old))
	if s.new != s.to.Name {
		out = append(out, alter+"RENAME COLUMN "+ident.Quote(s.new)+" TO "+name)
	}
	if s.to.NotNull {
		if s.to.NotNullName != "" {
			out = append(out, alter+"ADD CONSTRAINT "+ident.Quote(s.to.NotNullName)+" "+s.to.NotNullDef)
			out = append(out, comment("CONSTRAINT "+ident.Quote(s.to.NotNullName)+" ON "+p.table, s.to.NotNullNote)...)
		} else {
			out = append(out, column+"SET NOT NULL")
		}
		out = append(out, alter+"DROP CONSTRAINT "+ident.Quote(c.name(kindNotNull, i)))
	}
	switch {
	case s.to.Identity != "":
		out = append(out, column+"ADD"+identity(c.shadow, s.to, p.schema))
		for _, q := range c.shadow.Sequences {
			if !q.Internal || q.Column != s.to.Name {
				continue
			}
			sequence := ident.Qualified(p.schema, q.Name)
			out = append(out, fmt.Sprintf("SELECT pg_catalog.setval(%s::pg_catalog.regclass, pg_catalog.split_part(v, ' ', 1)::bigint, pg_catalog.split_part(v, ' ', 2)::boolean) FROM pg_catalog.current_setting(%s) v",
				ident.Literal(sequence), ident.Literal(kept)))
			out = append(out, revokeDefaults("SEQUENCE", sequence))
			out = append(out, grants("SEQUENCE", sequence, "", q.Grants, c.source.Owner)...)
			out = append(out, comment("SEQUENCE "+sequence, q.Comment)...)
		}
	case s.to.Default != nil:
		out = append(out, column+"SET DEFAULT "+*s.to.Default)
	}
	for _, q := range c.source.Sequences {
		if !q.Internal && q.Column == s.from.Name && p.real {
			out = append(out, "ALTER SEQUENCE "+ident.Qualified(q.Schema, q.Name)+" OWNED BY "+p.table+"."+name)
		}
	}
	return out
}

// locked are the tables that the swap locks: the parents' triggers go with the old foreign keys.
func (c *columns) locked() []string {
	out := []string{"ONLY " + qualified(c.plan.Table)}
	for _, k := range c.foreign {
		if to := qualified(k.To); k.To != c.plan.Table && !slices.Contains(out, to) {
			out = append(out, to)
		}
	}
	slices.Sort(out[1:])
	return out
}

// without is a relation without what a change by second columns has put there, so that its fingerprint is the one that the plan
// was made for.
func (r *Relation) without(change string) *Relation {
	ours := func(name string) bool { return strings.HasPrefix(name, "changeling_"+change+"_") }
	c := *r
	c.Columns = less(r.Columns, func(x Column) bool { return ours(x.Name) })
	c.Indexes = less(r.Indexes, func(x Index) bool { return ours(x.Name) })
	c.Constraints = less(r.Constraints, func(x Constraint) bool { return ours(x.Name) })
	c.Statistics = less(r.Statistics, func(x Statistics) bool { return ours(x.Name) })
	return &c
}

func cutLast(text, word string) (before, after string) {
	at := max(strings.LastIndex(text, word), 0)
	return text[:at], text[at:]
}

// less is a list without some of its members; nil if none is left, as where there never was one.
func less[T any](list []T, gone func(T) bool) []T {
	var out []T
	for _, x := range list {
		if !gone(x) {
			out = append(out, x)
		}
	}
	return out
}

// FingerprintWithout is the fingerprint of a table that a change has put second columns into, without them.
func (r *Relation) FingerprintWithout(p schema.Pair) string {
	if !p.InPlace {
		return r.Fingerprint()
	}
	return r.without(p.Change).Fingerprint()
}

// positionless is a relation whose columns stand in the order of their names.
func (r *Relation) positionless() *Relation {
	c := *r
	c.Columns = slices.Clone(r.Columns)
	slices.SortFunc(c.Columns, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	rank := map[int]int{}
	for i := range c.Columns {
		rank[c.Columns[i].Num], c.Columns[i].Num = i+1, i+1
	}
	c.Indexes = slices.Clone(r.Indexes)
	for i := range c.Indexes {
		c.Indexes[i].Keys = slices.Clone(c.Indexes[i].Keys)
		for n := range c.Indexes[i].Keys {
			c.Indexes[i].Keys[n].Num = rank[c.Indexes[i].Keys[n].Num]
		}
	}
	c.Statistics = slices.Clone(r.Statistics)
	for i := range c.Statistics { // whose columns the server lists as they stand
		parts := strings.Split(c.Statistics[i].Def, ", ")
		head, first := cutLast(parts[0], " ON ")
		last, tail := cutLast(parts[len(parts)-1], " FROM ")
		if len(parts) > 1 {
			parts[0], parts[len(parts)-1] = strings.TrimPrefix(first, " ON "), last
			slices.Sort(parts)
			c.Statistics[i].Def = head + strings.Join(parts, ", ") + tail
		}
	}
	return &c
}
