package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// inquiry asks for the rows of the source that break what the statement demands of those that are there. Its questions read the rows as the
// statement will make them: under the shadow's names, and converted.
type inquiry struct {
	*rehearsal
	difference
	pair schema.Pair
	out  []plan.Question
}

// questions are those about conversions that may fail, new checks, NOT NULLs, foreign keys and unique keys, and old ones whose columns get
// other values. What speaks of a column that the statement makes cannot be asked before.
func (w *planner) questions(r *rehearsal) []plan.Question {
	if r.effect == AtOnce {
		return nil
	}
	p, _, _ := r.pair() // without a key rows are told by their places
	q := &inquiry{rehearsal: r, difference: compare(r.clone, r.shadow), pair: p}
	q.conversions()
	q.notNulls()
	q.checked()
	q.parents()
	q.unique()
	return q.out
}

// add asks for rows d, as the statement makes them, for which a condition holds.
func (q *inquiry) add(name, condition string) {
	q.ask(plan.Question{Name: name, SQL: "SELECT changeling_key FROM " + q.rows() + " WHERE (" + condition + ")", Chunked: q.source.Kind == "r" || q.by.keeps()})
}

func (q *inquiry) ask(one plan.Question) {
	// A check may call functions that are not ours, and a conversion is the user's own text.
	one.Path, one.Role = q.pair.Path, q.pair.Owner
	if !one.Chunked {
		one.SQL = strings.ReplaceAll(one.SQL, plan.Range, "TRUE")
	}
	q.out = append(q.out, one)
}

// from is the source, with the condition of a range.
func (q *inquiry) from() string {
	table := Rows{Pair: q.pair}.from()
	if q.source.Kind != "r" {
		table = strings.TrimPrefix(table, "ONLY ")
	}
	return table + " WHERE " + plan.Range
}

// rows are the source's as the statement makes them, called d, with the key of each.
func (q *inquiry) rows() string {
	texts := Rows{Pair: q.pair}
	list := []string{q.key() + " AS changeling_key"}
	for _, m := range q.pair.Columns {
		list = append(list, q.made(m)+" AS "+ident.Quote(m.Shadow))
	}
	for _, c := range q.shadow.Columns {
		if from := q.origin(c); c.Generated != "" && from != nil && from.Generated != "" {
			list = append(list, texts.alias()+"."+ident.Quote(from.Name)+" AS "+ident.Quote(c.Name))
		}
	}
	return "(SELECT " + strings.Join(list, ", ") + " FROM " + q.from() + ") d"
}

func (q *inquiry) key() string {
	texts := Rows{Pair: q.pair}
	if len(q.pair.Key) == 0 {
		return "pg_catalog.json_build_array(" + texts.alias() + ".ctid::pg_catalog.text)::pg_catalog.text"
	}
	return texts.keyText(texts.alias() + ".")
}

// made is the value that a row gets.
func (q *inquiry) made(m schema.Mapped) string {
	value := Rows{Pair: q.pair}.value(m)
	if !m.Converted {
		return value
	}
	return assigned(value, m.Type)
}

// assigned is a value as its assignment to a column converts it. A plain cast cuts what is too long, where an assignment fails; the function
// behind both is told which of them it is.
func assigned(value, to string) string {
	name, modifiers := modified(to)
	if len(modifiers) != 1 {
		return value + "::" + to
	}
	n := modifiers[0]
	switch name {
	case "character varying":
		return fmt.Sprintf(`pg_catalog."varchar"(%s::pg_catalog."varchar", %d, false)`, value, n+4) // a length counts the header of a value
	case "character":
		return fmt.Sprintf(`pg_catalog.bpchar(%s::pg_catalog.bpchar, %d, false)`, value, n+4)
	case "bit":
		return fmt.Sprintf(`pg_catalog."bit"(%s::pg_catalog."bit", %d, false)`, value, n)
	case "bit varying":
		return fmt.Sprintf(`pg_catalog.varbit(%s::pg_catalog.varbit, %d, false)`, value, n)
	}
	return value + "::" + to
}

// conversions tries those that may fail, all in one.
func (q *inquiry) conversions() {
	var names, tries []string
	for _, m := range q.pair.Columns {
		if q.fallible(m) {
			names = append(names, m.Source+" to "+m.Type)
			tries = append(tries, "pg_catalog.count("+q.made(m)+")")
		}
	}
	if q.effect == Rewrites && len(tries) > 0 {
		q.ask(plan.Question{Name: "conversion of " + strings.Join(names, ", "), SQL: "SELECT " + strings.Join(tries, ", ") + " FROM " + q.from(), Chunked: true, Tries: true})
	}
}

// fallible says that there may be a row whose value a column's conversion refuses.
func (q *inquiry) fallible(m schema.Mapped) bool {
	from, to := q.source.columnNamed(m.Source), q.shadow.columnNamed(m.Shadow)
	if !m.Converted || from == nil || to == nil {
		return false
	}
	return m.Expr != "" && !casts(m.Expr, *from, to.Type) || !widens(*from, *to)
}

// changed says that one of these columns of the shadow may get a value that is not the source's own in another form.
func (q *inquiry) changed(columns ...string) bool {
	return slices.ContainsFunc(q.pair.Columns, func(m schema.Mapped) bool { return slices.Contains(columns, m.Shadow) && q.fallible(m) })
}

func (q *inquiry) notNulls() {
	for _, c := range q.shadow.Columns {
		from := q.origin(c)
		switch {
		case c.mayBeNull() || c.Generated != "" || from == nil && (c.Default != nil || c.Identity != "" || q.constants[c.Name] != ""):
			continue
		case from == nil: // a new one without a value
			q.add("NOT NULL of "+c.Name, "TRUE")
			continue
		}
		if _, using := q.using[from.Name]; q.clone.column(c.Num).mayBeNull() || using && q.changed(c.Name) {
			q.add("NOT NULL of "+c.Name, "d."+ident.Quote(c.Name)+" IS NULL")
		}
	}
}

func (q *inquiry) checked() {
	for _, k := range q.shadow.Constraints {
		fresh := slices.Contains(q.valid, k.Name) || slices.ContainsFunc(q.checks, func(o Constraint) bool { return o.OID == k.OID })
		if k.Type != "c" || !k.Validated || !q.changed(q.mentioned(k)...) && (!fresh || q.had(k)) {
			continue
		}
		if end := strings.LastIndex(k.Def, ")"); end > 0 && strings.HasPrefix(k.Def, "CHECK (") {
			q.add("check "+k.Name, "NOT ("+k.Def[len("CHECK ("):end]+")")
		}
	}
}

// had says that a constraint was there before the statement, under which the server may have made it anew.
func (q *inquiry) had(k Constraint) bool {
	return slices.ContainsFunc(q.clone.Constraints, func(o Constraint) bool { return o.Name == k.Name && o.Def == k.Def && o.Validated })
}

// mentioned are the columns whose names stand in a check's text, and perhaps some more.
func (q *inquiry) mentioned(k Constraint) []string {
	var out []string
	for _, c := range q.shadow.Columns {
		if strings.Contains(k.Def, c.Name) {
			out = append(out, c.Name)
		}
	}
	return out
}

func (q *inquiry) parents() {
	own := schema.Name{Schema: q.source.Schema, Table: q.source.Name}
	for _, k := range q.foreignKeys() {
		if k.Validated && k.Table == own && (k.Fresh || q.changed(k.key.From...)) && !(k.To == own && q.changed(k.key.Refers...)) {
			to := qualified(k.To)
			if k.key.ToKind != "p" {
				to = "ONLY " + to
			}
			q.add("foreign key "+k.Name, orphaned(k.key, to))
		}
	}
}

func (q *inquiry) unique() {
	for _, x := range q.shadow.Indexes {
		k := q.shadow.backing(x.OID)
		if !x.Unique || x.Partial || k != nil && (k.Period || k.Type == "x") {
			continue
		}
		var names, list []string
		for _, n := range x.Keys {
			c := q.shadow.column(n.Num)
			if c == nil || q.origin(*c) == nil {
				list = nil
				break
			}
			names, list = append(names, c.Name), append(list, "d."+ident.Quote(c.Name))
		}
		fresh := k != nil && !q.had(*k) && slices.ContainsFunc(q.keys, func(o Constraint) bool { return o.OID == k.OID })
		if len(list) == 0 || !fresh && !q.changed(names...) {
			continue
		}
		columns := strings.Join(list, ", ")
		given := "pg_catalog.num_nulls(" + columns + ") = 0"
		if strings.Contains(x.Def, "NULLS NOT DISTINCT") || k != nil && strings.Contains(k.Def, "NULLS NOT DISTINCT") {
			given = "TRUE"
		}
		name := "unique index " + x.Name
		if k != nil {
			name = "key " + k.Name
		}
		q.ask(plan.Question{Name: name, Columns: names, Whole: true, SQL: "SELECT pg_catalog.json_build_array(" + strings.Join(list, "::pg_catalog.text, ") + "::pg_catalog.text)::pg_catalog.text FROM " + q.rows() +
			" WHERE " + given + " GROUP BY " + columns + " HAVING pg_catalog.count(*) > 1"})
	}
}

// Within is a range of blocks as a condition on the source, and Among one that holds for the rows at places in the heap.
func (w Rows) Within(r copier.Range) string { return tids(w.alias()+".", r) }

// Among: see Within.
func (w Rows) Among(places []string) string {
	if len(w.Pair.SourceParts) > 0 {
		return w.amongParts(places)
	}
	return w.alias() + ".ctid = ANY (" + ident.Literal("{\""+strings.Join(places, `","`)+"\"}") + "::pg_catalog.tid[])"
}

// Size asks for the number of blocks of the source.
func (w Rows) Size() string { return blocks(w.Pair.Source, w.Pair.SourceParts) }
