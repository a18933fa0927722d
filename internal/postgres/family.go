package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// integers are the types between which foreign keys may stand in any pairing, the narrowest first: all of them are in one family of
// operators. So the tables of a key can be changed one after the other.
var integers = []string{"smallint", "integer", "bigint"}

// Family is what a change of a key's type takes along: tables that refer to the key, and sequences that it is drawn from.
type Family struct {
	// Statement is the one for the table itself. Columns of its own that refer to the key are changed with it.
	Statement string
	// Members are the other tables, each with its statement: who refers comes before what is referred to.
	Members []plan.Member
	// Sequences are the steps that widen those which a column of the family owns. The server does it for an identity by itself.
	Sequences []plan.Step
	// Kin are, of a family that swaps together, all of its tables; empty where the tables are changed one after the other.
	Kin []uint32
	// Tables are, on MySQL, the tables of such a family with their statements.
	Tables []plan.Member
	// Keys are the foreign keys between different tables of such a family.
	Keys []plan.FamilyKey
	// Route is the one that such tables can go.
	Route plan.Route
}

// member is a table of a family while it is put together.
type member struct {
	oid     int64
	name    schema.Name
	columns []familyColumn
}

// familyColumn is a column of a family.
type familyColumn struct {
	table     int64
	name      schema.Name // of the table
	column    string
	kind      string // its type
	base      int64  // and the type without its modifier
	collation string // that is not the type's own
	parents   []int64
	to        string // the type that it is to have
	clause    string // what gives it that, where TYPE alone is not all
	sequences []familySequence
}

// familySequence is one that a column owns.
type familySequence struct {
	Schema, Name, Owner, Type string
}

// FamilyOf finds the family of the columns to which a statement gives another type. Where there can be none it says why, for a plan
// that refuses. It changes nothing.
func FamilyOf(ctx context.Context, db *sql.DB, text string, wait time.Duration) (f Family, why []string, err error) {
	s, err := plan.Parse(text, plan.PostgresSyntax())
	if err != nil || s.Verb != "ALTER TABLE" || s.Table.Table == "" {
		return f, nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: "children are taken along when a column gets another type: expected ALTER TABLE … ALTER COLUMN … TYPE …; nothing was changed"}
	}
	_, oid, err := Resolve(ctx, db, s.Table)
	if err != nil {
		return f, nil, err
	}
	w := &gathering{db: db, root: int64(oid), statement: s, wait: wait, tables: map[int64]*member{}}
	for _, c := range s.Clauses {
		if c.Action == plan.AlterType {
			if err := w.gather(ctx, c); err != nil {
				return f, nil, err
			}
		}
	}
	if len(w.why) > 0 {
		return f, w.why, nil
	}
	f = w.family()
	if w.jointly && len(f.Members) > 0 {
		err = w.kinship(ctx, &f)
	}
	return f, nil, err
}

// gathering puts a family together.
type gathering struct {
	db        *sql.DB
	root      int64
	statement plan.Statement
	wait      time.Duration
	tables    map[int64]*member
	parents   map[int64][]int64 // tables that a table refers to by a column of the family
	jointly   bool              // no foreign key can stand between an old and a new column: all tables are swapped in one transaction
	why       []string
}

// gather adds the family of one column.
func (w *gathering) gather(ctx context.Context, c plan.Clause) error {
	var to sql.NullString
	if err := w.db.QueryRowContext(ctx, `SELECT pg_catalog.format_type(pg_catalog.to_regtype($1::text), NULL) WHERE pg_catalog.to_regtype($1::text) IS NOT NULL`, c.Type).Scan(&to); err != nil && err != sql.ErrNoRows {
		return err
	}
	columns, err := w.columns(ctx, c.Column)
	if err != nil {
		return err
	}
	if len(columns) == 1 && len(columns[0].sequences) == 0 || len(columns) == 0 {
		return nil // nobody refers to it; a column that is not there the server names
	}
	rank, from := slices.Index(integers, to.String), slices.Index(integers, columns[0].kind)
	if (rank < 0 || c.Using != "") && len(columns) == 1 {
		return nil
	}
	if rank < 0 || c.Using != "" || from < 0 || from > rank {
		w.jointly = true
		return w.gatherJointly(ctx, c, columns, to.String)
	}
	for _, k := range columns {
		k.to = to.String
		from := slices.Index(integers, k.kind)
		if from < 0 {
			w.why = append(w.why, fmt.Sprintf("%s.%s, which refers to %s, is of type %s: families are of %s. Give it one of these first", k.name, k.column, c.Column, k.kind, strings.Join(integers, ", ")))
		}
		w.add(k, from < rank)
	}
	return nil
}

// columns are those of the family of a column of the statement's table, itself the first. A column that refers to itself, through others or
// not, comes once.
func (w *gathering) columns(ctx context.Context, column string) (out []familyColumn, err error) {
	rows, err := w.db.QueryContext(ctx, `WITH RECURSIVE keys AS MATERIALIZED (
  SELECT conrelid, confrelid, pg_catalog.unnest(conkey) AS num, pg_catalog.unnest(confkey) AS refers FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f' AND conparentid OPERATOR(pg_catalog.=) 0::oid
), family AS (
  SELECT a.attrelid AS rel, a.attnum AS num FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1::bigint::oid AND a.attname OPERATOR(pg_catalog.=) $2::text::name AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  UNION SELECT k.conrelid, k.num FROM family f JOIN keys k ON k.confrelid OPERATOR(pg_catalog.=) f.rel AND k.refers OPERATOR(pg_catalog.=) f.num
)
SELECT f.rel::bigint, n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid::bigint,
  coalesce((SELECT pg_catalog.format('%I.%I', m.nspname, l.collname) FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace m ON m.oid OPERATOR(pg_catalog.=) l.collnamespace
    JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid WHERE l.oid OPERATOR(pg_catalog.=) a.attcollation AND t.typcollation OPERATOR(pg_catalog.<>) a.attcollation), ''),
  coalesce((SELECT pg_catalog.string_agg(DISTINCT k.confrelid::text, ' ') FROM keys k JOIN family p ON p.rel OPERATOR(pg_catalog.=) k.confrelid AND p.num OPERATOR(pg_catalog.=) k.refers
    WHERE k.conrelid OPERATOR(pg_catalog.=) f.rel AND k.num OPERATOR(pg_catalog.=) f.num), ''),
  coalesce((SELECT pg_catalog.string_agg(pg_catalog.concat_ws(E'\x01', m.nspname, s.relname, pg_catalog.pg_get_userbyid(s.relowner), pg_catalog.format_type(q.seqtypid, NULL)), E'\x02' ORDER BY s.oid)
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence q ON q.seqrelid OPERATOR(pg_catalog.=) d.objid JOIN pg_catalog.pg_class s ON s.oid OPERATOR(pg_catalog.=) d.objid JOIN pg_catalog.pg_namespace m ON m.oid OPERATOR(pg_catalog.=) s.relnamespace
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::regclass AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::regclass AND d.refobjid OPERATOR(pg_catalog.=) f.rel
      AND d.refobjsubid OPERATOR(pg_catalog.=) f.num AND d.deptype OPERATOR(pg_catalog.=) 'a'), '')
FROM family f JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) f.rel JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) f.rel AND a.attnum OPERATOR(pg_catalog.=) f.num
ORDER BY f.rel OPERATOR(pg_catalog.<>) $1::bigint::oid, a.attname OPERATOR(pg_catalog.<>) $2::text::name, n.nspname, c.relname, a.attnum`, w.root, column)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k familyColumn
		var parents, sequences string
		if err := rows.Scan(&k.table, &k.name.Schema, &k.name.Table, &k.column, &k.kind, &k.base, &k.collation, &parents, &sequences); err != nil {
			return nil, err
		}
		for _, p := range strings.Fields(parents) {
			var oid int64
			if _, err := fmt.Sscan(p, &oid); err != nil {
				return nil, err
			}
			k.parents = append(k.parents, oid)
		}
		for _, q := range strings.FieldsFunc(sequences, func(r rune) bool { return r == 2 }) {
			part := strings.Split(q, "\x01")
			if len(part) != 4 {
				return nil, fmt.Errorf("the sequences of %s.%s cannot be told apart: %q", k.name, k.column, q)
			}
			k.sequences = append(k.sequences, familySequence{part[0], part[1], part[2], part[3]})
		}
		out = append(out, k)
	}
	return out, rows.Err()
}

// add takes a column up. One that is wide enough is left as it is, and so is one that the statement itself changes.
func (w *gathering) add(k familyColumn, narrow bool) {
	m := w.tables[k.table]
	if m == nil {
		m = &member{oid: k.table, name: k.name}
		w.tables[k.table] = m
	}
	if w.parents == nil {
		w.parents = map[int64][]int64{}
	}
	w.parents[k.table] = append(w.parents[k.table], k.parents...)
	said := k.table == w.root && slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool { return c.Action == plan.AlterType && c.Column == k.column })
	same := func(o familyColumn) bool { return o.column == k.column }
	if i := slices.IndexFunc(m.columns, same); i >= 0 {
		if slices.Index(integers, k.to) > slices.Index(integers, m.columns[i].to) {
			m.columns[i].to = k.to
		}
		return
	}
	if said || !narrow {
		k.kind = k.to // for its sequences alone
	}
	m.columns = append(m.columns, k)
}

// family is what was gathered.
func (w *gathering) family() Family {
	f := Family{Statement: w.statement.Text}
	for _, m := range w.order() {
		clauses := m.clauses()
		switch {
		case len(clauses) == 0:
		case m.oid == w.root:
			f.Statement += ", " + strings.Join(clauses, ", ")
		default:
			f.Members = append(f.Members, plan.Member{Table: m.name, Statement: "ALTER TABLE " + qualified(m.name) + " " + strings.Join(clauses, ", ")})
		}
		for _, k := range m.columns {
			for _, q := range k.sequences {
				if slices.Index(integers, q.Type) < slices.Index(integers, k.to) {
					f.Sequences = append(f.Sequences, q.widen(k, w.wait))
				}
			}
		}
	}
	return f
}

// order puts tables before those that they refer to, and the statement's own last. Of tables that refer to each other any may be the first:
// no column of the family gets a value that its key does not have, and the key is the last to get wider.
func (w *gathering) order() (out []*member) {
	var oids []int64
	for oid := range w.tables {
		oids = append(oids, oid)
	}
	slices.SortFunc(oids, func(a, b int64) int { return strings.Compare(w.tables[a].name.String(), w.tables[b].name.String()) })
	seen := map[int64]bool{w.root: true}
	var visit func(oid int64)
	visit = func(oid int64) {
		if seen[oid] {
			return
		}
		seen[oid] = true
		for _, child := range oids { // all that refer to it come first
			if slices.Contains(w.parents[child], oid) {
				visit(child)
			}
		}
		out = append(out, w.tables[oid])
	}
	for _, oid := range oids {
		visit(oid)
	}
	if root := w.tables[w.root]; root != nil {
		out = append(out, root)
	}
	return out
}

func (m *member) clauses() (out []string) {
	for _, k := range m.columns {
		if k.kind != k.to {
			out = append(out, "ALTER COLUMN "+ident.Quote(k.column)+" TYPE "+k.to+k.clause)
		}
	}
	return out
}

// widen is the step that gives a sequence the type of its column. A sequence goes back only while the narrower type has its value.
func (q familySequence) widen(k familyColumn, wait time.Duration) plan.Step {
	name := ident.Qualified(q.Schema, q.Name)
	most := map[string]string{"smallint": "32767", "integer": "2147483647"}[q.Type]
	back := `DO $changeling$ BEGIN
  IF (SELECT s.last_value OPERATOR(pg_catalog.<=) ` + most + `::bigint FROM ` + name + ` s) THEN
    ALTER SEQUENCE ` + name + ` AS ` + q.Type + `;
  END IF; END $changeling$`
	return plan.Step{Kind: plan.Exec, Name: "widen sequence " + q.Name, SQL: []string{"ALTER SEQUENCE " + name + " AS " + k.to}, Undo: []string{back}, Role: q.Owner,
		Tables: []string{name}, Lock: "SHARE ROW EXCLUSIVE", LockWait: wait,
		Why: fmt.Sprintf("sequence %s belongs to %s.%s and ends where %s does: its type is a matter of the catalogue", name, k.name, k.column, q.Type)}
}
