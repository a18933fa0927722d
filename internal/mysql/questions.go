package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// inquiry asks for the rows of the source that break what a statement demands of those that are there.
type inquiry struct {
	*rehearsal
	rows Rows
	out  []plan.Question
}

// questions are those about conversions that may fail, and about new NOT NULLs, checks and unique indexes, and old ones whose columns get
// other values. The twin is as the statement leaves it.
func (w *planner) questions(r *rehearsal, p schema.Pair) []plan.Question {
	if len(p.Key) == 0 {
		p.Key = r.findable()
	}
	if len(p.Key) == 0 {
		return nil
	}
	q := &inquiry{rehearsal: r, rows: Rows{Pair: p, Maria: w.dialect.maria}}
	q.conversions()
	q.notNulls()
	q.checked()
	q.unique()
	return q.out
}

// from is the source, with the condition of a range.
func (q *inquiry) from() string { return qualified(q.source.Name) + " s WHERE " + plan.Range }

// conversions tries those that may fail, all in one: no expression refuses what an assignment refuses, so the values are assigned, to the
// columns of a temporary table. A row is converted before its key is looked at, and all of them have the same one, so that the table never
// has more than one row: that costs a tenth of keeping them, in a table in memory (tried on 9.7 and 10.11).
func (q *inquiry) conversions() {
	var twin, names, into, values []string
	for _, m := range q.rows.Pair.Columns {
		if to := q.shadow.column(m.Shadow); q.fallible(m) {
			twin = append(twin, quote(to.Name)+" "+to.full()+" NULL")
			names, into, values = append(names, m.Source+" to "+m.Type), append(into, quote(to.Name)), append(values, "s."+quote(m.Source))
		}
	}
	if len(twin) > 0 {
		q.out = append(q.out, plan.Question{Name: "conversion of " + strings.Join(names, ", "), Chunked: true, Tries: true, Twin: twin,
			SQL: "INSERT INTO " + plan.Twin + " (changeling_one, " + strings.Join(into, ", ") + ") SELECT 1, " + strings.Join(values, ", ") + " FROM " + q.from() + " ON DUPLICATE KEY UPDATE changeling_one = 1"})
	}
}

// fallible says that there may be a row whose value a column's conversion refuses.
func (q *inquiry) fallible(m schema.Mapped) bool {
	from, to := q.source.column(m.Source), q.shadow.column(m.Shadow)
	return m.Converted && from != nil && to != nil && !widens(*from, *to)
}

func (q *inquiry) notNulls() {
	for _, c := range q.shadow.Columns {
		if from := q.origin(c.Name); from != nil && from.Nullable && !c.Nullable && !c.Generated {
			q.out = append(q.out, plan.Question{Name: "NOT NULL of " + c.Name, Chunked: true, SQL: "SELECT " + q.rows.keyText("s.") + " FROM " + q.from() + " AND s." + quote(from.Name) + " IS NULL"})
		}
	}
}

// made is what a column of the shadow gets from a row of the source, nothing where that cannot be told.
func (q *inquiry) made(name string) string {
	from, to := q.origin(name), q.shadow.column(name)
	if from == nil || to == nil || from.Generated != to.Generated {
		return ""
	}
	value := "s." + quote(from.Name)
	if at := slices.IndexFunc(q.rows.Pair.Columns, func(m schema.Mapped) bool { return m.Shadow == to.Name }); at >= 0 && q.rows.Pair.Columns[at].Expr != "" {
		value = "(" + q.rows.Pair.Columns[at].Expr + ")"
	}
	if to.Collation != "" && (from.Charset != to.Charset || from.Collation != to.Collation) {
		value = "CONVERT(" + value + " USING " + to.Charset + ") COLLATE " + to.Collation
	}
	return value
}

// checked asks for rows that break checks, reading them as the statement makes them.
func (q *inquiry) checked() {
	had := map[string]bool{}
	for _, p := range q.source.Parts {
		had[demanded(p)] = true
	}
	list := []string{q.rows.keyText("s.") + " AS changeling_key"}
	for _, c := range q.shadow.Columns {
		if value := q.made(c.Name); value != "" {
			list = append(list, value+" AS "+quote(c.Name))
		}
	}
	for _, p := range q.shadow.Parts {
		condition := demanded(p)
		if condition == "" || strings.Contains(p.Text, "NOT ENFORCED") || had[condition] && !q.changes(condition) {
			continue
		}
		q.out = append(q.out, plan.Question{Name: "check " + p.Name, Chunked: true, SQL: "SELECT changeling_key FROM (SELECT " + strings.Join(list, ", ") + " FROM " + q.from() + ") d WHERE NOT (" + condition + ")"})
	}
}

// changes says that a condition may be about a column whose conversion can fail, and so change a value.
func (q *inquiry) changes(condition string) bool {
	return slices.ContainsFunc(q.rows.Pair.Columns, func(m schema.Mapped) bool { return q.fallible(m) && strings.Contains(condition, quote(m.Shadow)) })
}

// demanded is the condition of a check in a line of SHOW CREATE TABLE, nothing in another line.
func demanded(p part) string {
	if !p.Check {
		return ""
	}
	tokens, depth, at := significant(p.Text), 0, -1
	for i, t := range tokens {
		word := p.Text[t.Start:t.End]
		switch {
		case t.Kind == plan.TokenSymbol && word == "(":
			if depth++; depth == 1 && at == -2 {
				at = i
			}
		case t.Kind == plan.TokenSymbol && word == ")":
			if depth--; depth == 0 && at >= 0 {
				return p.Text[tokens[at].End:t.Start]
			}
		case depth == 0 && t.Kind == plan.TokenWord && strings.EqualFold(word, "CHECK"):
			at = -2 // the next bracket opens it
		}
	}
	return ""
}

// unique asks for values that are there twice, as the statement makes and compares them.
func (q *inquiry) unique() {
	for _, x := range q.shadow.Indexes {
		if !x.Unique || !q.doubtful(x) {
			continue
		}
		var names, values, given, texts, by []string
		for i, k := range x.Keys {
			value := q.made(k.Column)
			if k.Expression != "" || value == "" {
				names = nil
				break
			}
			if k.Prefix > 0 {
				value = fmt.Sprintf("LEFT(%s, %d)", value, k.Prefix)
			}
			into, _ := textual(q.shadow.column(k.Column).full())
			one := fmt.Sprintf("d.k%d", i+1)
			names, values = append(names, k.Column), append(values, fmt.Sprintf("%s AS k%d", value, i+1))
			given, by, texts = append(given, one+" IS NOT NULL"), append(by, one), append(texts, strings.ReplaceAll(into, "%s", "MIN("+one+")"))
		}
		if len(names) == 0 {
			continue
		}
		q.out = append(q.out, plan.Question{Name: "key " + x.Name, Columns: names, Whole: true,
			SQL: "SELECT CAST(JSON_ARRAY(" + strings.Join(texts, ", ") + ") AS CHAR) FROM (SELECT " + strings.Join(values, ", ") + " FROM " + qualified(q.source.Name) + " s) d WHERE " + strings.Join(given, " AND ") +
				" GROUP BY " + strings.Join(by, ", ") + " HAVING COUNT(*) > 1"})
	}
}

// doubtful says that rows may break a unique index: it is new, or the values or the order of a column of it change.
func (q *inquiry) doubtful(x Index) bool {
	for _, k := range x.Keys {
		from, to := q.origin(k.Column), q.shadow.column(k.Column)
		if from != nil && to != nil && (from.Collation != to.Collation || from.Type != to.Type && !widens(*from, *to)) {
			return true
		}
	}
	return !slices.ContainsFunc(q.source.Indexes, func(y Index) bool {
		return y.Unique && slices.EqualFunc(x.Keys, y.Keys, func(a, b IndexKey) bool {
			from := q.origin(a.Column)
			return from != nil && strings.EqualFold(from.Name, b.Column) && a.Prefix == b.Prefix && a.Expression == b.Expression
		})
	})
}

// Among is a condition that holds for the rows with these keys, which stand one behind the other.
func (w Rows) Among(places []string) string {
	first, err := copier.ParseKey(places[0])
	if err != nil {
		return "FALSE" // no key of ours says so
	}
	last, err := copier.ParseKey(places[len(places)-1])
	if err != nil {
		return "FALSE"
	}
	names := w.keyNames("s.")
	return "(" + w.beyond(names, first, ">", ">=") + ") AND (" + w.beyond(names, last, "<", "<=") + ")"
}

// Size is empty: parts of the table are ranges of its key.
func (w Rows) Size() string { return "" }

// MakeTwin makes the temporary table of a question to the data in a database. Not every engine has every type.
func MakeTwin(q plan.Question, p schema.Pair, database, engine string) (name, create string) {
	name = qualified(schema.Name{Schema: database, Table: "changeling_check_" + p.Change})
	return name, "CREATE TEMPORARY TABLE " + name + " (changeling_one tinyint NOT NULL PRIMARY KEY, " + strings.Join(q.Twin, ", ") + ") ENGINE=" + engine
}
