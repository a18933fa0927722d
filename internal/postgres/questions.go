package postgres

import (
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// questions ask for the rows of the source that break what the statement demands of those that are there: its new checks, NOT
// NULLs, foreign keys and unique keys. What speaks of a column that the statement makes or converts cannot be asked before.
func (w *planner) questions(r *rehearsal) []plan.Question {
	d := compare(r.clone, r.shadow)
	if r.effect == AtOnce {
		return nil
	}
	table := ident.Qualified(r.source.Schema, r.source.Name) + " d"
	if r.source.Kind == "r" {
		table = "ONLY " + table
	}
	var out []plan.Question
	rows := func(name, condition string) {
		out = append(out, plan.Question{Name: name, SQL: "SELECT " + keyText(r) + " FROM " + table + " WHERE (" + condition + ")", Chunked: r.source.Kind == "r"})
	}
	for _, k := range d.checks {
		if end := strings.LastIndex(k.Def, ")"); end > 0 && strings.HasPrefix(k.Def, "CHECK (") {
			rows("check "+k.Name, "NOT ("+k.Def[len("CHECK ("):end]+")")
		}
	}
	for _, c := range d.notNull {
		if from := r.origin(c); from != nil {
			rows("NOT NULL of "+c.Name, "d."+ident.Quote(from.Name)+" IS NULL")
		}
	}
	for _, k := range r.foreignKeys() {
		if !k.Fresh || !k.Validated || k.Table != (schema.Name{Schema: r.source.Schema, Table: r.source.Name}) {
			continue
		}
		rows("foreign key "+k.Name, orphaned(k.key, qualified(k.To)))
	}
	for _, k := range d.keys {
		x := r.shadow.index(k.Index)
		if x == nil || k.Period {
			continue
		}
		var columns []string
		for _, n := range x.Keys {
			c := r.shadow.column(n.Num)
			if c == nil || r.origin(*c) == nil {
				columns = nil
				break
			}
			columns = append(columns, "d."+ident.Quote(r.origin(*c).Name))
		}
		if len(columns) > 0 {
			list := strings.Join(columns, ", ")
			out = append(out, plan.Question{Name: "key " + k.Name, SQL: "SELECT pg_catalog.json_build_array(" + list + ")::pg_catalog.text FROM " + table + " WHERE pg_catalog.num_nulls(" + list +
				") = 0 GROUP BY " + list + " HAVING pg_catalog.count(*) > 1"})
		}
	}
	return out
}

// keyText names a row d of the source.
func keyText(r *rehearsal) string {
	var key []string
	if p, _, err := r.pair(); err == nil {
		for _, k := range p.Key {
			key = append(key, "d."+ident.Quote(k.Source)+"::pg_catalog.text")
		}
	}
	if len(key) == 0 {
		return "pg_catalog.json_build_array(d.ctid::pg_catalog.text)::pg_catalog.text"
	}
	return "pg_catalog.json_build_array(" + strings.Join(key, ", ") + ")::pg_catalog.text"
}

// Blocks narrows a check to the blocks of the heap from $1 up to $2.
const Blocks = ` AND d.ctid >= pg_catalog.format('(%s,0)', $1::bigint)::pg_catalog.tid AND d.ctid < pg_catalog.format('(%s,0)', $2::bigint)::pg_catalog.tid`
