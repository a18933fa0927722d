package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// alter runs the statement on the clone and looks at what became of it.
//
// The server chooses names for what the statement leaves nameless, and takes those that are free in the schema. The clone's
// schema has none of the source's neighbours. So where a name comes out that a neighbour has, it is taken by something
// empty and the statement runs again: the server then does what it would do on the source, which is another name or an error.
func (w *planner) alter(ctx context.Context, r *rehearsal) error {
	for {
		for _, sql := range []string{"SAVEPOINT changeling", theirs(w.path, w.user)} {
			if _, err := w.tx.ExecContext(ctx, sql); err != nil {
				return err
			}
		}
		before, err := w.reads(ctx, r)
		if err != nil {
			return err
		}
		if _, err := w.tx.ExecContext(ctx, r.statement); err != nil {
			return w.statementError(r, err)
		}
		after, err := w.reads(ctx, r)
		if err != nil {
			return err
		}
		if _, err := w.tx.ExecContext(ctx, Ours()); err != nil {
			return err
		}
		if r.shadow, err = w.inspect(ctx, r.in(), r.source.Name); err != nil {
			return err
		}
		if err := w.look(ctx, r, func(p *part, now *Relation) { p.after = now }); err != nil {
			return err
		}
		if before < 0 {
			after = before - 1
		}
		r.effect = r.worst(after - before)
		names, err := w.taken(ctx, r)
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(n taken) bool {
			return slices.Contains(r.taken, n) || !n.constraint && slices.Contains(r.had, n.name)
		})
		if len(names) == 0 {
			return w.newRights(ctx, r)
		}
		again := []string{"ROLLBACK TO changeling"}
		for _, n := range names {
			again = append(again, n.take(r.in(), len(r.taken)))
			r.taken = append(r.taken, n)
		}
		for _, sql := range again {
			if _, err := w.tx.ExecContext(ctx, sql); err != nil {
				return w.explain(err, "making an empty twin of "+w.plan.Table.String())
			}
		}
	}
}

// newRights grants what ALTER DEFAULT PRIVILEGES IN SCHEMA gives to the sequences that the statement makes: they are made in
// another schema.
func (w *planner) newRights(ctx context.Context, r *rehearsal) error {
	var made []Sequence
	for _, q := range r.shadow.Sequences {
		if q.Schema == r.in() && !slices.ContainsFunc(r.clone.Sequences, func(c Sequence) bool { return c.OID == q.OID }) {
			made = append(made, q)
		}
	}
	var names []string
	for _, q := range made {
		names = append(names, ident.Qualified(q.Schema, q.Name))
	}
	return w.schemaRights(ctx, r, "S", "SEQUENCE", names...)
}

// schemaRights grants what ALTER DEFAULT PRIVILEGES IN SCHEMA gives to new objects of a kind in the source's schema.
func (w *planner) schemaRights(ctx context.Context, r *rehearsal, kind, word string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	var text string
	if err := w.tx.QueryRowContext(ctx, `SELECT coalesce((SELECT to_json(defaclacl::text[])::text FROM pg_default_acl
  WHERE defaclrole = $1::text::regrole AND defaclnamespace = $2::text::regnamespace AND defaclobjtype = $3::text::"char"), '[]')`,
		ident.Quote(r.source.Owner), ident.Quote(r.source.Schema), kind).Scan(&text); err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return err
	}
	for _, name := range names {
		for _, g := range parseACL(list) {
			r.rights = append(r.rights, g.sql(word, name, ""))
		}
	}
	return nil
}

// taken is a name that something else has in the source's schema.
type taken struct {
	name       string
	constraint bool
}

// take makes something empty of that name.
func (t taken) take(in string, n int) string {
	if t.constraint {
		return fmt.Sprintf("CREATE TABLE %s (CONSTRAINT %s CHECK (true))", ident.Qualified(in, fmt.Sprintf("taken_%d", n)), ident.Quote(t.name))
	}
	return "CREATE SEQUENCE " + ident.Qualified(in, t.name)
}

func (t taken) leave(in string, n int) string {
	if t.constraint {
		return "DROP TABLE " + ident.Qualified(in, fmt.Sprintf("taken_%d", n))
	}
	return "DROP SEQUENCE " + ident.Qualified(in, t.name)
}

// taken are the names that came out of the statement and that something else has in the source's schema.
func (w *planner) taken(ctx context.Context, r *rehearsal) ([]taken, error) {
	rows, err := w.tx.QueryContext(ctx, `
SELECT false, c.relname FROM pg_class s JOIN pg_class c ON c.relname = s.relname
WHERE s.relnamespace = $1::text::regnamespace AND c.relnamespace = $2::text::regnamespace AND c.oid <> $3::bigint::oid
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indrelid = $3::bigint::oid)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = $3::bigint::oid AND d.deptype = 'i' AND c.relkind = 'S')
UNION ALL
SELECT true, k.conname FROM pg_constraint s JOIN pg_constraint k ON k.conname = s.conname
WHERE s.conrelid = $4::bigint::oid AND k.connamespace = $2::text::regnamespace AND k.conrelid <> $3::bigint::oid
  AND NOT EXISTS (SELECT FROM pg_constraint own WHERE own.conrelid = $3::bigint::oid AND own.conname = k.conname)
ORDER BY 1, 2`, ident.Quote(r.in()), ident.Quote(r.source.Schema), int64(r.source.OID), int64(r.shadow.OID))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []taken
	for rows.Next() {
		var t taken
		if err := rows.Scan(&t.constraint, &t.name); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

// constants finds the defaults of new columns that the server evaluates once: it does so itself, on a table of its own.
// A default without such a value is volatile, and is assigned once a row.
func (w *planner) constants(ctx context.Context, r *rehearsal) error {
	for i, c := range r.shadow.Columns {
		if r.origin(c) != nil || c.Default == nil || c.Generated != "" || c.Identity != "" {
			continue
		}
		probe := ident.Qualified(r.in(), fmt.Sprintf("probe_%d", i))
		var value sql.NullString
		for _, sql := range []string{
			"CREATE TABLE " + probe + " (one integer)",
			"ALTER TABLE " + probe + " ADD COLUMN c " + c.Type + " DEFAULT " + *c.Default,
		} {
			if _, err := w.tx.ExecContext(ctx, sql); err != nil {
				return w.explain(err, "the default of column "+c.Name)
			}
		}
		if err := w.tx.QueryRowContext(ctx, `SELECT (attmissingval::text::text[])[1] FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'c' AND atthasmissing`,
			probe).Scan(&value); err != nil && err != sql.ErrNoRows {
			return err
		}
		if value.Valid {
			r.constants[c.Name] = ident.Literal(value.String)
		}
	}
	return nil
}

// statementError is an error of the statement on the twin: the source would have it too, with the names that are the source's.
func (w *planner) statementError(r *rehearsal, err error) error {
	err = w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	var p *fault.Problem
	if !errors.As(err, &p) {
		return err
	}
	if p.Kind == fault.Refused {
		p.Kind = fault.Usage
	}
	for _, v := range r.readers() {
		p.Text = strings.ReplaceAll(p.Text, r.in()+"."+v.twin(), schema.Name{Schema: v.Schema, Table: v.Name}.String())
	}
	p.Text = strings.ReplaceAll(p.Text, r.in()+".", r.source.Schema+".")
	return err
}

// forClone writes a text of the user's for the clone: app.t.column loses the schema, because the clone is in another one and
// rows are copied from an alias, and a reference of the table to itself becomes one of the clone. short says that the table's
// name alone finds it. refers are the tables that stand for others that the text refers to.
func forClone(text string, r *Relation, in string, short bool, refers map[schema.Name]string) string {
	tokens, is, err := words(text)
	if err != nil {
		return text
	}
	var out strings.Builder
	from := 0
	put := func(i, next int, name string) {
		out.WriteString(text[from:tokens[i].Start] + name)
		if from = len(text); next < len(tokens) {
			from = tokens[next].Start
		}
	}
	for i := range tokens {
		if i > 0 && tokens[i-1].Kind == plan.TokenWord && (is(i-1, "references") || is(i-1, "partition") || is(i-1, "inherit")) {
			if other, length, ok := referred(refers, func(n int, name string) bool { return is(i+n, name) }); ok {
				put(i, i+length, other+" ")
				continue
			}
		}
		whole := is(i, r.Schema) && is(i+1, ".") && is(i+2, r.Name)
		switch refers := i > 0 && tokens[i-1].Kind == plan.TokenWord && is(i-1, "references"); {
		case whole && is(i+3, "."):
			put(i, i+2, "")
		case whole && refers:
			put(i, i+3, ident.Qualified(in, r.Name)+" ")
		case refers && short && is(i, r.Name) && !is(i+1, "."):
			put(i, i+1, ident.Qualified(in, r.Name)+" ")
		}
	}
	return out.String() + text[from:]
}

// referred finds which of the tables stands at hand, and how many tokens its name takes.
func referred(refers map[schema.Name]string, is func(n int, name string) bool) (twin string, tokens int, ok bool) {
	for name, twin := range refers {
		switch {
		case name.Schema == "" && is(0, name.Table) && !is(1, "."):
			return twin, 1, true
		case name.Schema != "" && is(0, name.Schema) && is(1, ".") && is(2, name.Table):
			return twin, 3, true
		}
	}
	return "", 0, false
}

// parentTwin makes an empty table that foreign keys can point to as they would to another one: of the real one, a foreign key
// would take SHARE ROW EXCLUSIVE.
func parentTwin(other *Relation, in, name string) []string {
	var columns []string
	for _, c := range other.Columns {
		column := ident.Quote(c.Name) + " " + c.Type
		if c.Collation != "" {
			column += " COLLATE " + c.Collation
		}
		columns = append(columns, column)
	}
	unlogged := ""
	if other.Persistence == "u" {
		unlogged = "UNLOGGED "
	}
	table := ident.Qualified(in, name)
	out := []string{"CREATE " + unlogged + "TABLE " + table + " (" + strings.Join(columns, ", ") + ")"}
	for i, x := range other.Indexes {
		k := other.backing(x.OID)
		if !x.Unique && (k == nil || !k.Period) {
			continue
		}
		// Their names do not count.
		x.Name, x.Tablespace = fmt.Sprintf("%s_%d", name, i), ""
		switch {
		case k == nil:
			out = append(out, createIndex(x, table))
		default:
			constraint := *k
			constraint.Name = x.Name
			out = append(out, "ALTER TABLE "+table+" ADD CONSTRAINT "+ident.Quote(x.Name)+" "+constraint.Def)
		}
	}
	return out
}
