package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// missing is what a statement names and the table does not have, in the server's words. A statement that is rehearsed would
// hear it from the server.
func missing(r *Relation, s plan.Statement) string {
	for i, c := range s.Clauses {
		if c.IfExists {
			continue
		}
		switch c.Action {
		case plan.DropColumn, plan.SetDefault, plan.DropDefault, plan.DropNotNull, plan.RenameColumn, plan.SetStatistics, plan.SetStorage, plan.SetCompression:
			added := slices.ContainsFunc(s.Clauses[:i], func(b plan.Clause) bool { return b.Action == plan.AddColumn && b.Column == c.Column })
			if r.columnNamed(c.Column) == nil && !added {
				return fmt.Sprintf("column %q of relation %q does not exist", c.Column, r.Name)
			}
		case plan.DropConstraint, plan.RenameConstraint:
			has := func(k Constraint) bool { return k.Name == c.Name }
			named := func(n Column) bool { return n.NotNullName == c.Name }
			if !slices.ContainsFunc(r.Constraints, has) && !slices.ContainsFunc(r.Columns, named) {
				return fmt.Sprintf("constraint %q of relation %q does not exist", c.Name, r.Name)
			}
		}
	}
	return ""
}

// untouchable says why a table can go no other way than the server's own.
func untouchable(r *Relation) []string {
	var out []string
	name := schema.Name{Schema: r.Schema, Table: r.Name}.String()
	kinds := map[string]string{"p": "partitioned", "v": "a view", "m": "a materialized view", "f": "a foreign table", "i": "an index", "S": "a sequence"}
	if k, ok := kinds[r.Kind]; ok {
		out = append(out, fmt.Sprintf("%s is %s: a second table can only take the place of a plain table", name, k))
	}
	if r.Persistence == "t" {
		out = append(out, name+" is temporary: alter it as it is, nobody else sees it")
	}
	if r.Schema == "pg_catalog" || r.Schema == "information_schema" || r.Schema == "changeling" || strings.HasPrefix(r.Schema, "changeling_") {
		out = append(out, name+" belongs to the server or to changeling itself")
	}
	return out
}

// unsupported names what stands in the way of a second table, so that nothing is carried by halves.
func unsupported(r *Relation, s plan.Statement) []string {
	var out []string
	name := schema.Name{Schema: r.Schema, Table: r.Name}.String()
	if r.Access != "" && r.Access != "heap" {
		out = append(out, fmt.Sprintf("%s uses the access method %s: only heap tables are copied", name, r.Access))
	}
	if r.Typed {
		out = append(out, name+" is a typed table (OF type): it cannot be carried yet")
	}
	for _, p := range r.Parents {
		out = append(out, name+" inherits from, or is a partition of, "+p+": it cannot be carried yet")
	}
	for _, c := range r.Children {
		out = append(out, name+" has the child table "+c+": it cannot be carried yet")
	}
	for _, what := range r.Strangers {
		if r.carries(what) {
			continue
		}
		out = append(out, name+" has, or is used by, something that cannot be carried to a new table yet: "+what+r.uncarried(what))
	}
	for _, k := range r.References {
		if k.TableKind == "p" || k.Inherited {
			out = append(out, fmt.Sprintf("the partitioned table %s.%s refers to %s: such a foreign key cannot be handed over yet", k.Schema, k.Table, name))
		}
	}
	for _, k := range r.Constraints {
		if k.Type == "t" && !slices.ContainsFunc(r.triggers(), func(t Trigger) bool { return t.Name == k.Name }) {
			out = append(out, fmt.Sprintf("%s has the constraint trigger %s: it cannot be carried yet", name, k.Name))
		}
	}
	out = append(out, r.namesakes()...)
	for _, x := range r.Indexes {
		if !x.Valid {
			out = append(out, fmt.Sprintf("index %s of %s is invalid, probably left over from a CREATE INDEX CONCURRENTLY that failed: drop it or REINDEX it first", x.Name, name))
		}
	}
	for _, c := range s.Clauses {
		switch c.Action {
		case plan.OwnerTo, plan.RenameTable, plan.SetSchema, plan.SetIdentity, plan.AttachPartition, plan.DetachPartition, plan.Inherit, plan.NoInherit, plan.OfType, plan.NotOf,
			plan.EnableTrigger, plan.DisableTrigger, plan.EnableRule, plan.DisableRule, plan.RowSecurity:
			out = append(out, fmt.Sprintf("the clause %q cannot go together with one that rewrites the table: run it as a statement of its own", c.Text))
		}
	}
	return out
}

// namesakes are statistics objects that have one name in two schemas, and so cannot be in a schema together.
func (r *Relation) namesakes() (out []string) {
	for i, s := range r.Statistics {
		for _, other := range r.Statistics[:i] {
			if s.Name == other.Name {
				out = append(out, fmt.Sprintf("%s.%s has two statistics objects called %s, in the schemas %s and %s: rename one of them first (ALTER STATISTICS … RENAME TO …)",
					r.Schema, r.Name, s.Name, other.Schema, s.Schema))
			}
		}
	}
	return out
}
