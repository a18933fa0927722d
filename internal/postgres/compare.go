package postgres

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// judged is the pair as which rows are compared.
func (w Rows) judged() Rows {
	if w.Pair.Judge == nil {
		return w
	}
	return Rows{Pair: *w.Pair.Judge}
}

// Boundary finds where a range of n rows after a key ends: the key of its last row, or no row where the table ends
// before. Its argument is the key to start after, as JSON, if after is not nil.
//
// The boundary comes from the shadow where both keys have one type: its index is new, and its pages are all visible.
func (w Rows) Boundary(after copier.Key, n int64) (string, []any) {
	w = w.judged()
	var args []any
	// A copy that goes by key asks, too, and many partitions have as many indexes.
	shadow := w.Pair.Ordered && w.Pair.SameKey && !w.Pair.ByKey && len(w.Pair.ShadowParts) == 0
	var names, text []string
	for _, k := range w.Pair.Key {
		name := ident.Quote(k.Source)
		if shadow {
			name = ident.Quote(k.Shadow)
		}
		names = append(names, name)
		text = append(text, "b."+name+"::pg_catalog.text")
	}
	table, where := w.source(), ""
	if shadow {
		table = "ONLY " + qualified(w.Pair.Shadow)
	}
	if after != nil {
		args = append(args, after.String())
		where = " WHERE " + w.above("b.", shadow, 1)
	}
	// The rows that are skipped cost least if nothing is computed for them.
	return fmt.Sprintf("SELECT pg_catalog.json_build_array(%s)::pg_catalog.text FROM (SELECT %s FROM %s b%s ORDER BY %s OFFSET %d LIMIT 1) b",
		strings.Join(text, ", "), "b."+strings.Join(names, ", b."), table, where, "b."+strings.Join(names, ", b."), max(n-1, 0)), args
}

// bound is a key given as JSON in an argument, typed for the source or the shadow.
func (w Rows) bound(shadow bool, arg int) []string {
	var out []string
	for i, k := range w.Pair.Key {
		typ := k.Type
		if shadow {
			typ = k.ShadowType
		}
		out = append(out, fmt.Sprintf("($%d::pg_catalog.text::pg_catalog.json->>%d)::%s", arg, i, typ))
	}
	return out
}

func (w Rows) compareTo(prefix string, shadow bool, arg int, op func(schema.Operators) string) string {
	var names []string
	ops := w.Pair.Key[0].Ops
	if shadow {
		ops = w.Pair.Key[0].ShadowOps
	}
	for _, k := range w.Pair.Key {
		if shadow {
			names = append(names, prefix+ident.Quote(k.Shadow))
		} else {
			names = append(names, prefix+ident.Quote(k.Source))
		}
	}
	bound := w.bound(shadow, arg)
	if len(names) == 1 {
		return names[0] + " " + op(ops) + " " + bound[0]
	}
	return "ROW(" + strings.Join(names, ", ") + ") " + op(ops) + " ROW(" + strings.Join(bound, ", ") + ")"
}

func (w Rows) above(prefix string, shadow bool, arg int) string {
	return w.compareTo(prefix, shadow, arg, func(o schema.Operators) string { return o.Above })
}

func (w Rows) upto(prefix string, shadow bool, arg int) string {
	return w.compareTo(prefix, shadow, arg, func(o schema.Operators) string { return o.Upto })
}

// within is a key range as a condition, and its arguments.
func (w Rows) within(prefix string, shadow bool, r copier.Range) (string, []any) {
	conditions := []string{"true"}
	var args []any
	if r.After != nil {
		args = append(args, r.After.String())
		conditions = append(conditions, w.above(prefix, shadow, len(args)))
	}
	if r.Upto != nil {
		args = append(args, r.Upto.String())
		conditions = append(conditions, w.upto(prefix, shadow, len(args)))
	}
	return strings.Join(conditions, " AND "), args
}

// pending is the key log of the statement's own snapshot. Keys in it are left out of a comparison: what is left must be
// equal, without a lock and under any load.
func (w Rows) pending() string {
	return "pending AS MATERIALIZED (SELECT DISTINCT " + w.sourceKey("") + " FROM " + qualified(w.Pair.Log) + " WHERE " +
		ident.Quote(w.Pair.Key[0].Source) + " IS NOT NULL)"
}

func (w Rows) notPending(alias string) string {
	if w.Pair.Turned {
		return "NOT EXISTS (SELECT FROM pending p WHERE " + w.sameLogged("p", alias) + ")"
	}
	return "NOT EXISTS (SELECT FROM pending p WHERE " + w.sameSource("p", alias) + ")"
}

func (w Rows) notPendingShadow(alias string) string {
	return "NOT EXISTS (SELECT FROM " + w.converted("pending") + " p WHERE " + w.sameShadow(alias, "p") + ")"
}

// notPendingForm is notPending for rows that have their key in the shadow's form: the log of a turned pair has it so.
func (w Rows) notPendingForm(alias string) string {
	return "NOT EXISTS (SELECT FROM pending p WHERE " + w.sameShadow("p", alias) + ")"
}

// sameLogged says that two rows have one key, as the log has it.
func (w Rows) sameLogged(left, right string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, left+"."+ident.Quote(k.Shadow)+" "+k.ShadowOps.Equal+" "+right+"."+ident.Quote(k.Shadow))
	}
	return strings.Join(out, " AND ")
}

// SideBySide says that the rows of both tables can be laid side by side in the order of their keys, and compared value by value, in a session that walks
// along these. Compare does so then.
func (w Rows) SideBySide() bool {
	if 2*(len(w.Pair.Columns)+len(w.Pair.Key)) > 1600 { // a join has no more columns than 1664 (manual, PostgreSQL Limits)
		return false
	}
	for _, m := range w.Pair.Columns {
		if m.Image == "" {
			return false
		}
	}
	for _, k := range w.Pair.Key {
		if k.Ops.Equal != "OPERATOR(pg_catalog.=)" || k.ShadowOps.Equal != k.Ops.Equal {
			return false
		}
	}
	return w.Pair.Ordered && w.Pair.SameKey
}

// join is Compare for tables whose rows can be laid side by side: it reads each row once, and costs two thirds of digesting
// them. In the place of the digests stand 0 and the number of keys whose rows differ and that are not pending.
func (w Rows) join(r copier.Range) (string, []any) {
	where, args := w.within(w.alias()+".", false, r)
	shadowWhere, _ := w.within("d.", true, r)
	var values, shadows, same, on, keys, pending []string
	for i, m := range w.Pair.Columns {
		values = append(values, fmt.Sprintf("%s::%s AS v%d", w.value(m), m.Type, i+1))
		shadows = append(shadows, fmt.Sprintf("d.%s AS v%d", ident.Quote(m.Shadow), i+1))
		a, b := strings.ReplaceAll(m.Image, "%s", fmt.Sprintf("a.v%d", i+1)), strings.ReplaceAll(m.Image, "%s", fmt.Sprintf("b.v%d", i+1))
		same = append(same, fmt.Sprintf("coalesce(%s OPERATOR(pg_catalog.=) %s, a.v%d IS NULL AND b.v%d IS NULL)", a, b, i+1, i+1))
	}
	for i, k := range w.Pair.Key {
		values = append(values, fmt.Sprintf("%s.%s AS k%d", w.alias(), ident.Quote(k.Source), i+1))
		shadows = append(shadows, fmt.Sprintf("d.%s AS k%d", ident.Quote(k.Shadow), i+1))
		on = append(on, fmt.Sprintf("a.k%d OPERATOR(pg_catalog.=) b.k%d", i+1, i+1))
		keys = append(keys, fmt.Sprintf("coalesce(a.k%d, b.k%d)", i+1, i+1))
		pending = append(pending, "p."+ident.Quote(k.Source))
	}
	key := strings.Join(keys, ", ")
	if len(keys) > 1 {
		key = "ROW(" + key + ")"
	}
	// The list of what is pending is hashed, and only once a row differs.
	return "WITH " + w.pending() + " SELECT c.n, '0', c.n, c.differ::pg_catalog.text, " + w.reset() + " FROM (SELECT count(*) AS n, count(*) FILTER (WHERE NOT (a.k1 IS NOT NULL AND b.k1 IS NOT NULL AND " +
		strings.Join(same, " AND ") + ") AND (" + key + " OPERATOR(pg_catalog.=) ANY (SELECT " + strings.Join(pending, ", ") + " FROM pending p)) IS NOT TRUE) AS differ FROM (SELECT " +
		strings.Join(values, ", ") + " FROM " + w.from() + " WHERE " + where + ") a FULL JOIN (SELECT " + strings.Join(shadows, ", ") + " FROM " + qualified(w.Pair.Shadow) + " d WHERE " + shadowWhere +
		") b ON " + strings.Join(on, " AND ") + ") c", args
}

// Compare compares one key range of both tables in one snapshot: rows and sum of the source, rows and sum of the shadow,
// and whether a TRUNCATE is pending. What the sums are is its own matter: they are equal if, and only if, the rows are.
// Where the keys are not ordered alike, the shadow's rows are found through the source's, and CompareCounts finds rows
// that only the shadow has.
func (w Rows) Compare(r copier.Range) (string, []any) {
	w = w.judged()
	if w.SideBySide() {
		return w.join(r)
	}
	where, args := w.within(w.alias()+".", false, r)
	if w.Pair.Turned {
		return "WITH " + w.pending() + " SELECT count(*), coalesce(sum(a.h), 0)::pg_catalog.text, count(d.*), coalesce(sum(" + w.digest(false) +
			") FILTER (WHERE d.ctid IS NOT NULL), 0)::pg_catalog.text, " + w.reset() + " FROM (SELECT " + w.shadowForm() + ", " + w.digest(true) + " AS h FROM " + w.from() + " WHERE " + where +
			") a LEFT JOIN " + qualified(w.Pair.Shadow) + " d ON " + w.sameShadow("d", "a") + " WHERE " + w.notPendingForm("a"), args
	}
	if !w.Pair.Ordered {
		return "WITH " + w.pending() + " SELECT count(*), coalesce(sum(a.h), 0)::pg_catalog.text, count(d.*), coalesce(sum(" + w.digest(false) +
			") FILTER (WHERE d.ctid IS NOT NULL), 0)::pg_catalog.text, " + w.reset() + " FROM (SELECT " + w.shadowForm() + ", " + w.digest(true) + " AS h FROM " + w.from() + " WHERE " + where + " AND " +
			w.notPending(w.alias()) + ") a LEFT JOIN " + qualified(w.Pair.Shadow) + " d ON " + w.sameShadow("d", "a"), args
	}
	shadowWhere, _ := w.within("d.", true, r)
	return "WITH " + w.pending() + " SELECT a.n, a.h, b.n, b.h, " + w.reset() + " FROM (SELECT count(*) AS n, coalesce(sum(" + w.digest(true) + "), 0)::pg_catalog.text AS h FROM " +
		w.from() + " WHERE " + where + " AND " + w.notPending(w.alias()) + ") a, (SELECT count(*) AS n, coalesce(sum(" + w.digest(false) +
		"), 0)::pg_catalog.text AS h FROM " + qualified(w.Pair.Shadow) + " d WHERE " + shadowWhere + " AND " + w.notPendingShadow("d") + ") b", args
}

// CompareCounts counts both tables without the pending keys, in one snapshot, and says whether a TRUNCATE is pending.
func (w Rows) CompareCounts() string {
	w = w.judged()
	if w.Pair.Turned {
		return "WITH " + w.pending() + " SELECT (SELECT count(*) FROM (SELECT " + w.shadowForm() + " FROM " + w.from() + ") a WHERE " + w.notPendingForm("a") + "), (SELECT count(*) FROM " +
			qualified(w.Pair.Shadow) + " d WHERE NOT EXISTS (SELECT FROM pending p WHERE " + w.sameLogged("d", "p") + ")), " + w.reset()
	}
	return "WITH " + w.pending() + " SELECT (SELECT count(*) FROM " + w.from() + " WHERE " + w.notPending(w.alias()) + "), (SELECT count(*) FROM " +
		qualified(w.Pair.Shadow) + " d WHERE " + w.notPendingShadow("d") + "), " + w.reset()
}

// Relog finds the rows of a range that differ and puts their keys into the log, so that the next drain copies them again.
// It answers how many, the first ten keys, and whether a TRUNCATE is pending. It may run twice.
func (w Rows) Relog(r copier.Range) (string, []any) {
	w = w.judged()
	where, args := w.within(w.alias()+".", false, r)
	keys := "SELECT " + w.sourceKey(w.alias()+".") + " FROM " + w.from() + " WHERE " + where
	if w.Pair.Turned {
		var names []string
		for i, k := range w.Pair.Key {
			names = append(names, fmt.Sprintf("a.c%d AS %s", i+1, ident.Quote(k.Shadow)))
		}
		keys = "SELECT " + strings.Join(names, ", ") + " FROM (SELECT " + w.shadowForm() + " FROM " + w.from() + " WHERE " + where + ") a"
	}
	if w.Pair.Ordered {
		shadowWhere, _ := w.within("d.", true, r)
		var back []string
		for _, k := range w.Pair.Key {
			back = append(back, "d."+ident.Quote(k.Shadow)+"::"+k.Type)
		}
		keys += " UNION SELECT " + strings.Join(back, ", ") + " FROM " + qualified(w.Pair.Shadow) + " d WHERE " + shadowWhere
	}
	return "WITH " + w.pending() + ", keys AS (" + keys + "), " + w.relog(), args
}

// Truncated is empty: a TRUNCATE is in the log, and Heap tells of a new file.
func (w Rows) Truncated() string { return "" }

// Confirm is empty: Relog and RelogChecked answer themselves.
func (w Rows) Confirm() string { return "" }

// RelogChecked is Relog for the keys that were drained after the verification began. They are taken out of the checks.
// A key that is pending again comes back through the next drain.
func (w Rows) RelogChecked() string {
	w = w.judged()
	return "WITH " + w.pending() + ", keys AS (DELETE FROM " + qualified(w.Pair.Checks) + " RETURNING " + w.sourceKey("") + "), " + w.relog()
}

// unlike says that the rows of a key differ.
func (w Rows) unlike(key string) string {
	w = w.judged()
	if w.Pair.Turned {
		var same, names []string
		for _, k := range w.Pair.Key {
			names = append(names, key+"."+ident.Quote(k.Shadow))
		}
		for _, k := range w.Pair.Key {
			same = append(same, w.alias()+"."+ident.Quote(k.Source)+" "+k.Ops.Equal+" (SELECT "+k.Back+" FROM (SELECT "+strings.Join(names, ", ")+") AS "+w.alias()+")")
		}
		return "(SELECT " + w.digest(true) + " FROM " + w.from() + " WHERE " + strings.Join(same, " AND ") + ") IS DISTINCT FROM (SELECT " +
			w.digest(false) + " FROM " + qualified(w.Pair.Shadow) + " d WHERE " + w.sameLogged("d", key) + ")"
	}
	return "(SELECT " + w.digest(true) + " FROM " + w.from() + " WHERE " + w.sameSource(w.alias(), key) + ") IS DISTINCT FROM (SELECT " +
		w.digest(false) + " FROM " + qualified(w.Pair.Shadow) + " d, LATERAL " + w.converted("(SELECT "+w.sourceKey(key+".")+")") + " c WHERE " + w.sameShadow("d", "c") + ")"
}

func (w Rows) relog() string {
	return "differing AS MATERIALIZED (SELECT DISTINCT " + w.sourceKey("k.") + " FROM keys k WHERE " + w.notPending("k") + " AND " + w.unlike("k") + "), logged AS (INSERT INTO " + qualified(w.Pair.Log) + " (" + w.sourceKey("") + ") SELECT " + w.sourceKey("") + " FROM differing)" +
		" SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM differing), coalesce((SELECT pg_catalog.json_agg(t.k)::pg_catalog.text FROM (SELECT " + w.keyText("differing.") + " AS k FROM differing LIMIT 10) t), '[]'), " + w.reset()
}
