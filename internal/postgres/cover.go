package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// cover plans ALTER TABLE … RENAME TO with a view under the old name, through which code that does not know the new one reads and writes:
// PostgreSQL passes on what is written to a view of one table's columns (manual, CREATE VIEW, Updatable Views).
func (w *planner) cover(ctx context.Context) (*plan.Plan, error) {
	p, s := w.plan, w.statement
	if len(s.Clauses) != 1 || s.Clauses[0].Action != plan.RenameTable {
		return refuse(p, "only ALTER TABLE … RENAME TO by itself is covered by a view: run the other clauses as a statement of their own"), nil
	}
	r, err := w.staged(ctx, s.Table)
	if r == nil {
		return p, err
	}
	name, to := p.Table, schema.Name{Schema: p.Table.Schema, Table: s.Clauses[0].NewName}
	why := uncoverable(r)
	var none ErrNoTable
	if _, _, err := Resolve(ctx, w.tx, to); err == nil {
		why = append(why, fmt.Sprintf("there is a %s already", to))
	} else if !errors.As(err, &none) {
		return nil, err
	}
	if len(why) > 0 {
		return refuse(p, why...), nil
	}
	table, now := qualified(name), qualified(to)
	p.Pair.Old = name
	mark := fmt.Sprintf("%s%s: the old name of %s", covers, w.options.ID, to)
	var columns []string
	for _, c := range r.Columns {
		columns = append(columns, ident.Quote(c.Name))
	}
	with := ""
	if r.Security {
		with = " WITH (security_invoker = true)" // whoever comes through the view sees the rows that he sees in the table
	}
	swap := []string{
		"LOCK TABLE ONLY " + table + " IN ACCESS EXCLUSIVE MODE",
		"ALTER TABLE " + table + " RENAME TO " + ident.Quote(to.Table),
		"CREATE VIEW " + table + with + " AS SELECT " + strings.Join(columns, ", ") + " FROM " + now,
		"ALTER VIEW " + table + " OWNER TO " + ident.Quote(r.Owner),
		"COMMENT ON VIEW " + table + " IS " + ident.Literal(mark),
		As(r.Owner),
		revokeDefaults("TABLE", table),
	}
	swap = append(swap, grants("TABLE", table, "", r.Grants, r.Owner)...)
	for _, c := range r.Columns {
		swap = append(swap, grants("TABLE", table, c.Name, c.Grants, r.Owner)...)
	}
	p.Route = plan.Recipe
	p.Why = "the table has its new name at once, and a view has the old one, through which code that says it reads and writes the same rows, until `changeling cleanup " + w.options.ID + " --now`"
	p.Steps = []plan.Step{
		w.aside("rename and cover", "one transaction: there is no moment in which one of the names is missing", []string{table}, swap, []string{another(name, r.OID)}),
		{Kind: plan.Drop, Name: "drop view", SQL: []string{"DROP VIEW IF EXISTS " + table}, LockWait: w.options.LockWait, Tables: []string{table}, Lock: "ACCESS EXCLUSIVE",
			Done: "SELECT pg_catalog.to_regclass(" + ident.Literal(table) + ") IS NULL", Why: "when nobody says the old name any more"},
	}
	// Who reads through the view locks it first, and the table behind it afterwards: so does the way back.
	return w.withBack(w.aside("uncover and rename", "the table has its old name again, and the new one is nobody's", []string{table, now},
		[]string{"LOCK TABLE " + table + ", ONLY " + now + " IN ACCESS EXCLUSIVE MODE", "DROP VIEW " + table, "ALTER TABLE " + now + " RENAME TO " + ident.Quote(name.Table)},
		[]string{another(to, r.OID), strange(name, w.options.ID)})), nil
}

// covers is how the comment of a view begins that a change has put in the place of a table's name; its id follows.
const covers = "made by changeling for change "

// Covered answers whether the view of a covered rename is there, and whether something else has its name. It asks under any search path.
func Covered(p schema.Pair) string {
	view := ours(p.Old, p.Change)
	return "SELECT " + view + ", pg_catalog.to_regclass(" + ident.Literal(qualified(p.Old)) + ") IS NOT NULL AND NOT " + view
}

// ours says that a name is the view of a change.
func ours(n schema.Name, change string) string {
	return "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(" + ident.Literal(qualified(n)) + ")::pg_catalog.oid AND c.relkind::text OPERATOR(pg_catalog.=) 'v'" +
		" AND pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), " + ident.Literal(covers+change+":") + "))"
}

// strange asks whether a name is not that of the view which a change has put there.
func strange(n schema.Name, change string) string {
	return "SELECT " + ident.Literal(n.String()+" is not the view that the change has put there") + " WHERE NOT " + ours(n, change)
}

// uncoverable says why a view cannot take a table's place.
func uncoverable(r *Relation) []string {
	var out []string
	name := schema.Name{Schema: r.Schema, Table: r.Name}.String()
	if r.Kind != "r" && r.Kind != "p" || r.Persistence == "t" || len(r.Columns) == 0 {
		out = append(out, name+" is no plain table with columns: run the statement without --cover")
	}
	if r.Security && r.Version < 150000 {
		out = append(out, name+" has row level security, and before PostgreSQL 15 a view shows rows with the rights of its owner: run the statement without --cover, or map the name in the code")
	}
	columns := func(c Column) bool { return c.Grants != nil }
	if r.Security && r.Version >= 150000 && slices.ContainsFunc(r.Columns, columns) {
		out = append(out, name+" has row level security and rights on single columns: a view gives people one or the other. Run the statement without --cover, or map the name in the code")
	}
	if len(withheld(r)) > 0 {
		out = append(out, name+"'s owner has taken rights on it from himself ("+strings.Join(withheld(r), ", ")+"), and what comes through a view comes in his name: run the statement without --cover")
	}
	if r.Schema == "pg_catalog" || r.Schema == "information_schema" || r.Schema == "changeling" || strings.HasPrefix(r.Schema, "changeling_") {
		out = append(out, name+" belongs to the server or to changeling itself")
	}
	return out
}
