package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// offenders are queries for the keys of rows that break a check or a NOT NULL of the finished shadow, in the source's form.
func (r *rehearsal) offenders(p schema.Pair) []string {
	rows := Rows{Pair: p}
	var out []string
	ask := func(condition string) {
		var key []string
		for _, k := range p.Key {
			key = append(key, ident.Quote(p.Shadow.Table)+"."+ident.Quote(k.Shadow)+"::pg_catalog.text")
		}
		out = append(out, "SELECT pg_catalog.json_build_array("+strings.Join(key, ", ")+")::pg_catalog.text FROM "+qualified(rows.Pair.Shadow)+" WHERE "+condition+" LIMIT 3")
	}
	for _, c := range r.newNotNulls() {
		if c.notNullPending() {
			continue
		}
		ask(ident.Quote(c.Name) + " IS NULL")
	}
	for _, k := range r.shadow.Constraints {
		if end := strings.LastIndex(k.Def, ")"); k.Type == "c" && k.Validated && end > 0 && strings.HasPrefix(k.Def, "CHECK (") {
			ask("NOT (" + k.Def[len("CHECK ("):end] + ")")
		}
	}
	return out
}

// orphans are checks for the rows that break a foreign key which the statement adds, or whose columns it converts: the server
// would only find them when it validates the key, after the swap.
func (r *rehearsal) orphans(p schema.Pair, keys []foreignKey) []plan.Step {
	var out []plan.Step
	for _, k := range keys {
		child, parent := k.Table == p.Source, k.To == p.Source
		if !k.Validated || !k.Fresh && !(child && r.revalues(k.key.From)) && !(parent && r.revalues(k.key.Refers)) {
			continue
		}
		from, to, who := qualified(k.Table), qualified(k.To), []string{}
		if k.key.ToKind != "p" {
			to = "ONLY " + to
		}
		if parent {
			to = only(p.Shadow, p.ShadowParts)
		}
		if child {
			from = qualified(p.Shadow)
			for _, c := range p.Key {
				who = append(who, "d."+ident.Quote(c.Shadow)+"::pg_catalog.text")
			}
		}
		answer := "pg_catalog.json_build_array(" + strings.Join(who, ", ") + ")::pg_catalog.text"
		if !child {
			answer = ident.Literal(k.Table.String()+" with "+strings.Join(k.key.From, ", ")+" ") + " || pg_catalog.concat_ws(', ', d." + strings.Join(quoted(k.key.From), ", d.") + ")"
		}
		out = append(out, plan.Step{Kind: plan.Ask, Name: "check foreign key " + k.Name,
			SQL: []string{"SELECT " + answer + " FROM " + from + " d WHERE " + orphaned(k.key, to) + " LIMIT 3"},
			Why: "rows without a parent are found before the swap"})
	}
	return out
}

// revalues says that the statement may give other values to one of these columns of the shadow.
func (r *rehearsal) revalues(columns []string) bool {
	return slices.ContainsFunc(columns, func(name string) bool {
		c := r.shadow.columnNamed(name)
		if c == nil || r.origin(*c) == nil {
			return false
		}
		from := r.origin(*c)
		_, using := r.using[from.Name]
		return using || from.Type != c.Type && !(sameOrder(*from, *c) && keeps(*from, *c))
	})
}

// orphaned is the condition that a row d breaks a foreign key.
func orphaned(k Constraint, to string) string {
	var given, on []string
	for i := range k.From {
		given = append(given, "d."+ident.Quote(k.From[i])+" IS NOT NULL")
		on = append(on, "p."+ident.Quote(k.Refers[i])+" "+k.Equals[i]+" d."+ident.Quote(k.From[i]))
	}
	parent := "NOT EXISTS (SELECT FROM " + to + " p WHERE " + strings.Join(on, " AND ") + ")"
	if k.Period {
		// The last column is a time in which there is always some parent (manual, FOREIGN KEY with PERIOD).
		last := len(on) - 1
		held, time := "p."+ident.Quote(k.Refers[last]), "d."+ident.Quote(k.From[last])
		on[last] = held + " OPERATOR(pg_catalog.&&) " + time
		parent = "NOT coalesce((SELECT pg_catalog.range_agg(" + held + ") OPERATOR(pg_catalog.@>) " + time + " FROM " + to + " p WHERE " + strings.Join(on, " AND ") + "), false)"
	}
	condition := strings.Join(given, " AND ") + " AND " + parent
	if len(given) > 1 && strings.Contains(k.Def, ") MATCH FULL") {
		condition = "(" + condition + ") OR pg_catalog.num_nulls(d." + strings.Join(quoted(k.From), ", d.") + ") BETWEEN 1 AND " + fmt.Sprint(len(k.From)-1)
	}
	return condition
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = ident.Quote(n)
	}
	return out
}
