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

// foreignKey is a foreign key as it will stand on the new table or point to it.
type foreignKey struct {
	Table     schema.Name // that has it
	Name      string
	Def       string
	Validated bool
	Fresh     bool // the statement adds it: existing rows were never checked against it
	To        schema.Name
	Comment   *string
	key       Constraint // as the shadow has it
}

func (k foreignKey) add() string {
	def := k.Def
	if !strings.HasSuffix(def, "NOT VALID") && !strings.HasSuffix(def, "NOT ENFORCED") {
		def += " NOT VALID"
	}
	return "ALTER TABLE " + qualified(k.Table) + " ADD CONSTRAINT " + ident.Quote(k.Name) + " " + def
}

// addToParts gives the key to partitions alone: before PostgreSQL 18 a partitioned table can have none that is NOT VALID.
func (k foreignKey) addToParts(parts []schema.Name) (out []string) {
	for _, part := range parts {
		k.Table = part
		out = append(out, k.add())
	}
	return out
}

// addKeys gives foreign keys to the table that takes the source's place, and to those that refer to it.
func addKeys(keys []foreignKey, p schema.Pair) (out []string) {
	for _, k := range keys {
		if k.Table == p.Source && len(p.ShadowParts) > 0 {
			out = append(out, k.addToParts(within(p.ShadowParts, p.Source.Schema))...)
			continue
		}
		out = append(out, k.add())
		out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+qualified(k.Table), k.Comment)...)
	}
	return out
}

// validate are the steps that make a key valid on the new table. A partitioned one gets it from its partitions, where it is valid by then, so that
// no row is read.
func (w *planner) validate(k foreignKey, parts []schema.Name) []plan.Step {
	check := plan.Step{Kind: plan.Exec, Name: "validate " + k.Name, LockWait: w.options.LockWait, Lock: "SHARE UPDATE EXCLUSIVE", Why: "reads and writes go on"}
	if len(parts) == 0 || k.Table != w.plan.Pair.Source {
		check.SQL, check.IfThere = []string{"ALTER TABLE " + qualified(k.Table) + " VALIDATE CONSTRAINT " + ident.Quote(k.Name)}, true
		return []plan.Step{check}
	}
	for _, part := range within(parts, k.Table.Schema) {
		check.SQL = append(check.SQL, "ALTER TABLE "+qualified(part)+" VALIDATE CONSTRAINT "+ident.Quote(k.Name))
	}
	add := w.step("add "+k.Name, "ALTER TABLE "+qualified(k.Table)+" ADD CONSTRAINT "+ident.Quote(k.Name)+" "+k.Def, "ACCESS EXCLUSIVE", qualified(k.Table), qualified(k.To))
	add.SQL = append(add.SQL, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+qualified(k.Table), k.Comment)...)
	add.Why = "the partitions have it, and it is valid there: only the catalogue changes"
	return []plan.Step{check, add}
}

func qualified(n schema.Name) string { return ident.Qualified(n.Schema, n.Table) }

// foreignKeys reads back, from the clone after the user's statement, the foreign keys that a native ALTER would leave,
// with the real tables at both ends instead of twins.
func (r *rehearsal) foreignKeys() []foreignKey {
	real := map[string]schema.Name{r.shadow.Name: {Schema: r.source.Schema, Table: r.source.Name}}
	for _, k := range append(append([]Constraint{}, r.source.Constraints...), r.source.References...) {
		if name, ok := r.twins[k.TableOID]; ok {
			real[name] = schema.Name{Schema: k.Schema, Table: k.Table}
		}
		if name, ok := r.twins[k.ToOID]; ok {
			real[name] = schema.Name{Schema: k.ToSchema, Table: k.ToTable}
		}
	}
	maps.Copy(real, r.parents)
	resolve := func(schemaName, table string) schema.Name {
		if schemaName == r.in() {
			return real[table]
		}
		return schema.Name{Schema: schemaName, Table: table}
	}
	had := map[string]bool{}
	for _, k := range append(append([]Constraint{}, r.clone.Constraints...), r.clone.References...) {
		if k.Type == "f" {
			had[k.Schema+"."+k.Table+"."+k.Name+" "+k.Def] = true
		}
	}
	var out []foreignKey
	for _, k := range append(append([]Constraint{}, r.shadow.Constraints...), r.shadow.References...) {
		if k.Type != "f" || k.Inherited {
			continue
		}
		to := resolve(k.ToSchema, k.ToTable)
		out = append(out, foreignKey{
			Table: resolve(k.Schema, k.Table), Name: k.Name, Def: pointTo(k.Def, qualified(to)), To: to, Comment: k.Comment, key: k,
			// A NOT VALID key is one that the user left so; the twins are empty, so a validated one is validated there too.
			Validated: k.Validated, Fresh: !had[k.Schema+"."+k.Table+"."+k.Name+" "+k.Def],
		})
	}
	return out
}

// locked are the tables that the cutover locks: children first, then the source, the shadow, and the parents, whose
// triggers go with the old foreign keys.
func (r *rehearsal) locked(keys []foreignKey, p schema.Pair) []string {
	var children, parents []string
	add := func(list *[]string, n schema.Name) {
		if q := qualified(n); n != p.Source && !slices.Contains(*list, q) {
			*list = append(*list, q)
		}
	}
	for _, k := range r.source.References {
		add(&children, schema.Name{Schema: k.Schema, Table: k.Table})
	}
	for _, k := range r.source.Constraints {
		if k.Type == "f" {
			add(&parents, schema.Name{Schema: k.ToSchema, Table: k.ToTable})
		}
	}
	for _, k := range keys {
		if k.Table != p.Source {
			add(&children, k.Table)
		} else {
			add(&parents, k.To)
		}
	}
	parents = slices.DeleteFunc(parents, func(q string) bool { return slices.Contains(children, q) })
	slices.Sort(children)
	slices.Sort(parents)
	out := append(children, only(p.Source, p.SourceParts), only(p.Shadow, p.ShadowParts))
	return append(out, parents...)
}

// lockedNames are the locked tables without the words of the statement, and the source's partitions, which are locked with it.
func lockedNames(tables []string, p schema.Pair) []string {
	var out []string
	for _, t := range tables {
		out = append(out, strings.TrimPrefix(t, "ONLY "))
	}
	for _, part := range p.SourceParts {
		out = append(out, qualified(part))
	}
	return out
}

// swap is what runs under the lock, in the transaction that drained the log for the last time.
// The first statement is the lock itself. After the last one every name is what a native ALTER would have left.
func (r *rehearsal) swap(p schema.Pair, keys []foreignKey, helper string) []string {
	source, shadow := qualified(p.Source), qualified(p.Shadow)
	out := []string{lockViews(r.views, "LOCK TABLE "+strings.Join(r.locked(keys, p), ", ")+" IN ACCESS EXCLUSIVE MODE")}
	out = append(out, dropCapture(p)...)
	out = append(out, r.unhang(before)...)
	for _, k := range r.source.Constraints {
		if k.Type == "f" && !k.Inherited {
			out = append(out, "ALTER TABLE "+source+" DROP CONSTRAINT "+ident.Quote(k.Name))
		}
	}
	for _, k := range r.source.References {
		out = append(out, "ALTER TABLE "+ident.Qualified(k.Schema, k.Table)+" DROP CONSTRAINT "+ident.Quote(k.Name))
	}
	if helper != "" {
		out = append(out, "DROP INDEX "+ident.Qualified(r.in(), "changeling_"+r.change+"_key"))
	}
	var owned []string
	for _, q := range r.source.Sequences {
		name := ident.Qualified(q.Schema, q.Name)
		column := r.source.columnNamed(q.Column)
		to := r.target(column.Num)
		switch {
		case to == nil:
			// The statement drops the column. Its sequence goes with the old table.
		case q.Internal:
			if to.Identity != "" {
				out = append(out, r.handOver(q, *to)...)
			}
		default:
			out = append(out, "ALTER SEQUENCE "+name+" OWNED BY NONE")
			owned = append(owned, "ALTER SEQUENCE "+name+" OWNED BY "+source+"."+ident.Quote(to.Name))
			// SET LOGGED and SET UNLOGGED take a table's sequences along, from PostgreSQL 15 on.
			if unlogged := r.shadow.Persistence == "u"; r.shadow.Version >= 150000 && r.shadow.Persistence != r.source.Persistence && q.Unlogged != unlogged {
				owned = append(owned, persistence(name, unlogged))
			}
		}
	}
	out = append(append(out, moveParts(p.SourceParts, r.old())...), moveParts(p.ShadowParts, p.Source.Schema)...)
	out = append(out,
		"ALTER TABLE "+source+" SET SCHEMA "+ident.Quote(r.old()),
		"ALTER TABLE "+shadow+" SET SCHEMA "+ident.Quote(p.Source.Schema))
	out = append(out, owned...)
	was, now := r.partStatistics()
	out = append(append(out, leave(was, r.old())...), enter(now, r.in())...)
	for _, s := range r.source.Statistics {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(s.Schema, s.Name)+" SET SCHEMA "+ident.Quote(r.old()))
	}
	for _, s := range r.shadow.Statistics {
		to := p.Source.Schema
		for _, was := range r.source.Statistics {
			if was.Name == s.Name {
				to = was.Schema
			}
		}
		out = append(out, "ALTER STATISTICS "+ident.Qualified(r.in(), s.Name)+" SET SCHEMA "+ident.Quote(to))
		out = append(out, r.statisticsOwner(s, to)...)
	}
	out = append(out, r.hang(after, r.viewed, r.announced)...)
	out = append(out, withhold(r.source, source)...)
	return append(out, addKeys(keys, p)...)
}

// statisticsOwner gives a statistics object back to its owner, if he is not the table's and the statement left it alone.
func (r *rehearsal) statisticsOwner(s Statistics, in string) []string {
	for _, was := range r.source.Statistics {
		untouched := slices.ContainsFunc(r.clone.Statistics, func(c Statistics) bool { return c.OID == s.OID })
		if was.Name == s.Name && was.Owner != r.source.Owner && untouched {
			return []string{"ALTER STATISTICS " + ident.Qualified(in, s.Name) + " OWNER TO " + ident.Quote(was.Owner)}
		}
	}
	return nil
}

// handOver gives an identity's new sequence the place of the old one. An identity's sequence cannot change its table, so
// the value goes over, under a lock that makes nextval wait (ALTER SEQUENCE takes SHARE ROW EXCLUSIVE on the sequence,
// nextval ROW EXCLUSIVE; LOCK TABLE refuses sequences). A session that waits there in a nextval of its own, outside the
// table, gets a value of the old sequence afterwards: for those a gap is left, as a crash of the server leaves one.
func (r *rehearsal) handOver(q Sequence, to Column) []string {
	for _, s := range r.shadow.Sequences {
		if !s.Internal || s.Column != to.Name {
			continue
		}
		old, now := ident.Qualified(q.Schema, q.Name), ident.Literal(ident.Qualified(s.Schema, s.Name))
		return []string{
			fmt.Sprintf("ALTER SEQUENCE %s CACHE %d", old, q.Cache),
			fmt.Sprintf(`SELECT pg_catalog.setval(%s::pg_catalog.regclass, CASE WHEN NOT waits THEN last_value WHEN %d > 0
  THEN least(last_value::numeric + %d, %d) ELSE greatest(last_value::numeric + %d, %d) END::bigint, is_called OR waits)
FROM %s, (SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE relation = %s::pg_catalog.regclass AND NOT granted) AS waits) w`,
				now, s.Increment, 32*s.Cache*s.Increment, s.Max, 32*s.Cache*s.Increment, s.Min, old, ident.Literal(old)),
		}
	}
	return nil
}

// validations are the foreign keys that were valid before, or that the statement adds as valid. They hold SHARE UPDATE
// EXCLUSIVE on the child and ROW SHARE on the parent: nobody waits for them.
func validations(keys []foreignKey) (steps []foreignKey) {
	for _, k := range keys {
		if k.Validated && !strings.HasSuffix(k.Def, "NOT ENFORCED") {
			steps = append(steps, k)
		}
	}
	return steps
}

// swapping says how the cutover goes.
func swapping(p schema.Pair) string {
	if !p.Mirrored {
		return "the last keys, then the swap, in one transaction. The statement adds a unique index, so users' transactions cannot write both tables before it: those at REPEATABLE READ that began earlier may miss rows"
	}
	return "for some seconds users' transactions write both tables, until older snapshots have ended; then the last keys and the swap, in one transaction"
}
