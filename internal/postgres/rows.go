package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// Rows writes the SQL that moves and compares rows of one pair. It holds no connection and runs nothing.
//
// The source always stands under its bare name as alias, because the user's USING expressions may name it.
// Positions in the heap are block numbers, positions in a key are the text forms of its columns: the text output of
// every type reads back to the same value.
type Rows struct {
	Pair schema.Pair
	// Sparing makes drains compare first and write only rows that differ: for a hand-over, in which the users' own transactions
	// write the shadow, and nobody should wait for a row of it.
	Sparing bool
}

func (w Rows) source() string { return only(w.Pair.Source, w.Pair.SourceParts) }
func (w Rows) from() string   { return w.source() + " AS " + w.alias() }
func (w Rows) alias() string  { return ident.Quote(w.Pair.Source.Table) }

// only is a table without those that inherit from it; of a partitioned one, its partitions have all rows.
func only(n schema.Name, parts []schema.Name) string {
	if len(parts) > 0 {
		return qualified(n)
	}
	return "ONLY " + qualified(n)
}

// value is what a mapped column gets, to be assigned: the server converts it as a native ALTER would.
func (w Rows) value(m schema.Mapped) string {
	if m.Expr != "" {
		return "(" + m.Expr + ")"
	}
	return w.alias() + "." + ident.Quote(m.Source)
}

func (w Rows) columns() (names, values []string) {
	for _, m := range w.Pair.Columns {
		names = append(names, ident.Quote(m.Shadow))
		values = append(values, w.value(m))
	}
	return names, values
}

// digest is one number for a row: of the source through the conversion, or of the shadow as it is.
// An explicit cast stands for the assignment of the copy. The two differ only where the assignment fails, and then there
// is no row in the shadow.
func (w Rows) digest(source bool) string {
	parts := make([]string, 0, len(w.Pair.Columns))
	for _, m := range w.Pair.Columns {
		v := "d." + ident.Quote(m.Shadow)
		if source {
			v = w.value(m) + "::" + m.Type
		}
		parts = append(parts, strings.ReplaceAll(m.Digest, "%s", v))
	}
	return sum(parts)
}

// converted is the key in the shadow's form, c1, c2 and so on, of a relation that has the source's key columns.
func (w Rows) converted(relation string) string {
	var parts []string
	for i, k := range w.Pair.Key {
		v := w.alias() + "." + ident.Quote(k.Source)
		if k.Expr != "" {
			v = "(" + k.Expr + ")"
		}
		parts = append(parts, fmt.Sprintf("%s::%s AS c%d", v, k.ShadowType, i+1))
	}
	return "(SELECT " + strings.Join(parts, ", ") + " FROM " + relation + " AS " + w.alias() + ")"
}

// sourceKey lists the key's columns behind a prefix.
func (w Rows) sourceKey(prefix string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, prefix+ident.Quote(k.Source))
	}
	return strings.Join(out, ", ")
}

func (w Rows) sameSource(left, right string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, left+"."+ident.Quote(k.Source)+" "+k.Ops.Equal+" "+right+"."+ident.Quote(k.Source))
	}
	return strings.Join(out, " AND ")
}

func (w Rows) sameShadow(shadow, converted string) string {
	var out []string
	for i, k := range w.Pair.Key {
		out = append(out, fmt.Sprintf("%s.%s %s %s.c%d", shadow, ident.Quote(k.Shadow), k.ShadowOps.Equal, converted, i+1))
	}
	return strings.Join(out, " AND ")
}

// keyText is a key as the text forms of its columns, in a JSON array.
func (w Rows) keyText(prefix string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, prefix+ident.Quote(k.Source)+"::pg_catalog.text")
	}
	return "pg_catalog.json_build_array(" + strings.Join(out, ", ") + ")::pg_catalog.text"
}

// Guard takes ACCESS SHARE on the source, so that nobody can rewrite it while the transaction lasts.
func (w Rows) Guard() string {
	return "LOCK TABLE " + w.source() + " IN ACCESS SHARE MODE"
}

// Heap identifies the source's file. Asked after Guard. Another answer than at the start of the copy says that somebody
// rewrote the table (VACUUM FULL, CLUSTER, TRUNCATE), so that block numbers mean other rows.
func (w Rows) Heap() string {
	file := "coalesce(pg_catalog.pg_relation_filenode(" + ident.Literal(qualified(w.Pair.Source)) + "), 0)::bigint"
	if len(w.Pair.SourceParts) > 0 {
		file = files(w.Pair)
	}
	if w.crashed() != "" {
		return "SELECT CASE WHEN " + w.crashed() + " THEN 0 ELSE " + file + " END"
	}
	return "SELECT " + file
}

// Blocks is the number of blocks to copy: those that the source has when the copy starts. What is placed behind them
// later was written after the capture began, and is in the log. It is empty where the copy goes by key.
func (w Rows) Blocks() string {
	if w.Pair.ByKey {
		return ""
	}
	return blocks(w.Pair.Source, w.Pair.SourceParts)
}

// ShadowBlocks is the number of blocks to heal.
func (w Rows) ShadowBlocks() string { return blocks(w.Pair.Shadow, w.Pair.ShadowParts) }

// blocks asks for the blocks of a table: of partitions, for those of the largest, because a range of blocks is one of each.
func blocks(n schema.Name, parts []schema.Name) string {
	if len(parts) > 0 {
		var sizes []string
		for _, p := range parts {
			sizes = append(sizes, "("+blocks(p, nil)+")")
		}
		return "SELECT greatest(" + strings.Join(sizes, ", ") + ")"
	}
	return "SELECT pg_catalog.pg_relation_size(" + ident.Literal(qualified(n)) + ") OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::bigint"
}

// tids are the rows in the blocks of a range. A TID range scan reads just these blocks (PostgreSQL 14 and later).
func tids(prefix string, r copier.Range) string {
	after, upto := int64(-1), int64(-1)
	if r.After != nil {
		after, _ = strconv.ParseInt(r.After[0], 10, 64)
	}
	if r.Upto != nil {
		upto, _ = strconv.ParseInt(r.Upto[0], 10, 64)
	}
	return fmt.Sprintf("%sctid >= '(%d,0)'::pg_catalog.tid AND %sctid < '(%d,0)'::pg_catalog.tid", prefix, after+1, prefix, upto+1)
}

// Copy appends the rows of a range of blocks, or of keys, to the bare shadow. It runs once for a range: the range is noted as done in
// the same transaction.
func (w Rows) Copy(r copier.Range) string {
	names, values := w.columns()
	return "INSERT INTO " + qualified(w.Pair.Shadow) + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " +
		strings.Join(values, ", ") + " FROM " + w.from() + " WHERE " + w.chunk(r) + w.inOrder()
}

// chunk is a range of the copy as a condition: of blocks, or of keys.
func (w Rows) chunk(r copier.Range) string {
	if !w.Pair.ByKey {
		return tids(w.alias()+".", r)
	}
	where, args := w.within(w.alias()+".", false, r)
	for i, a := range args {
		where = strings.ReplaceAll(where, fmt.Sprintf("$%d::", i+1), ident.Literal(a.(string))+"::")
	}
	return where
}

// inOrder is the order in which a copy that goes by key writes its rows.
func (w Rows) inOrder() string {
	if !w.Pair.ByKey {
		return ""
	}
	return " ORDER BY " + w.sourceKey(w.alias()+".")
}

// CopyOne is Copy for the single row at a place, and Places lists the places with their keys: so the row that a
// conversion fails on is found.
func (w Rows) CopyOne(place string) string {
	names, values := w.columns()
	return "INSERT INTO " + qualified(w.Pair.Shadow) + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " +
		strings.Join(values, ", ") + " FROM " + w.from() + " WHERE " + w.Among([]string{place})
}

// Places lists the rows of a range: place, key, and the values of the columns that are converted, shortened.
func (w Rows) Places(r copier.Range) string {
	return w.places() + " WHERE " + w.chunk(r)
}

// LoggedPlaces is Places for the rows that wait in the log.
func (w Rows) LoggedPlaces() string {
	return w.places() + " WHERE EXISTS (SELECT FROM " + qualified(w.Pair.Log) + " l WHERE " + w.sameSource("l", w.alias()) + ") LIMIT 20000"
}

func (w Rows) places() string {
	var changed []string
	for _, m := range w.Pair.Columns {
		if m.Converted || slices.Contains(w.Pair.PartedBy, m.Source) {
			changed = append(changed, ident.Literal(m.Source), "pg_catalog.left("+w.alias()+"."+ident.Quote(m.Source)+"::pg_catalog.text, 60)")
		}
	}
	// json_build_object takes 100 arguments at most.
	changed = changed[:min(len(changed), 100)]
	return "SELECT " + w.place() + ", " + w.keyText(w.alias()+".") + ", pg_catalog.json_build_object(" + strings.Join(changed, ", ") +
		")::pg_catalog.text FROM " + w.from()
}

// Heal deletes from a range of the bare shadow every row whose key is in the log. The log stays: the drain needs it.
// It may run twice.
func (w Rows) Heal(r copier.Range) string {
	return "DELETE FROM " + qualified(w.Pair.Shadow) + " d WHERE " + tids("d.", r) + " AND EXISTS (SELECT FROM " +
		w.converted(w.logged()) + " c WHERE " + w.sameShadow("d", "c") + ")"
}

func (w Rows) logged() string {
	return "(SELECT " + w.sourceKey("") + " FROM " + qualified(w.Pair.Log) + " WHERE " + ident.Quote(w.Pair.Key[0].Source) + " IS NOT NULL)"
}

// Pending counts the keys in the log, up to a bound that is quick to count.
func (w Rows) Pending() string {
	return "SELECT count(*)" + w.crashes() + " FROM (SELECT FROM " + qualified(w.Pair.Log) + " LIMIT 100000) l"
}

// Empty empties the shadow for another copy and takes the marks of a TRUNCATE out of the log that it answers.
// Keys stay in the log. It may run twice.
func (w Rows) Empty() []string {
	return []string{
		"DELETE FROM " + qualified(w.Pair.Log) + " WHERE " + ident.Quote(w.Pair.Key[0].Source) + " IS NULL",
		"TRUNCATE " + qualified(w.Pair.Shadow) + ", " + qualified(w.Pair.Checks),
	}
}

// Drain takes keys out of the log by visibility and makes the shadow's rows equal to the source's, in one statement and
// so in one snapshot: a log row is visible if and only if its change is. At most limit keys, or all of them for limit 0.
//
// All deletions happen before the first insertion, because the insertion asks for the count of the deletions first. So a
// unique value may move between two of the rows. With note, the keys go to the checks, to be compared after a verification.
//
// It answers: keys taken, marks of a TRUNCATE among them, rows deleted, rows inserted.
func (w Rows) Drain(limit int64, note bool) string {
	p := w.Pair
	var b strings.Builder
	b.WriteString("WITH taken AS MATERIALIZED (DELETE FROM " + qualified(p.Log))
	if limit > 0 {
		fmt.Fprintf(&b, " WHERE %s = ANY (ARRAY(SELECT %s FROM %s ORDER BY %s LIMIT %d))", seq, seq, qualified(p.Log), seq, limit)
	}
	b.WriteString(" RETURNING " + w.sourceKey("") + "),\n")
	taken := "(SELECT " + w.sourceKey("") + " FROM taken WHERE " + ident.Quote(p.Key[0].Source) + " IS NOT NULL)"
	live := "SELECT DISTINCT " + w.sourceKey("") + " FROM taken WHERE " + ident.Quote(p.Key[0].Source) + " IS NOT NULL"
	if w.Sparing {
		live = "SELECT " + w.sourceKey("k.") + " FROM (" + live + ") k WHERE " + w.unlike("k")
		taken = "(SELECT " + w.sourceKey("") + " FROM live)"
	}
	b.WriteString("live AS MATERIALIZED (" + live + "),\n")
	var returning, kept, keptNames []string
	for i := range p.Key {
		returning = append(returning, fmt.Sprintf("c.c%d", i+1))
	}
	for i, k := range p.Kept {
		returning = append(returning, fmt.Sprintf("d.%s AS kept%d", ident.Quote(k.Shadow), i+1))
		kept = append(kept, fmt.Sprintf("CASE WHEN g.c1 IS NULL THEN %s ELSE g.kept%d END", k.Expr, i+1))
		keptNames = append(keptNames, ident.Quote(k.Shadow))
	}
	for i, m := range p.Columns {
		returning = append(returning, w.finer(m).was(i)...)
	}
	b.WriteString("gone AS (DELETE FROM " + qualified(p.Shadow) + " d USING " + w.converted(taken) + " c WHERE " + w.sameShadow("d", "c") +
		" RETURNING " + strings.Join(returning, ", ") + "),\n")
	names, _ := w.columns()
	// The user's expressions stand alone with the source, where their names mean one thing.
	var inner, outer []string
	before := len(p.Kept) > 0 // what the rows were counts
	for i, m := range p.Columns {
		f := w.finer(m)
		inner = append(append(inner, fmt.Sprintf("%s AS v%d", w.value(m), i+1)), f.is(i)...)
		outer = append(outer, f.choose(i))
		before = before || f.any()
	}
	row := "(SELECT " + strings.Join(inner, ", ") + ", " + w.shadowForm() + " FROM " + w.from() + " WHERE " + w.sameSource(w.alias(), "changeling_live") + ")"
	b.WriteString("put AS (INSERT INTO " + qualified(p.Shadow) + " (" + strings.Join(append(names, keptNames...), ", ") + ") OVERRIDING SYSTEM VALUE\n  SELECT " +
		strings.Join(append(outer, kept...), ", ") + " FROM live AS changeling_live CROSS JOIN LATERAL " + row + " r")
	if before {
		var on []string
		for i, k := range p.Key {
			on = append(on, fmt.Sprintf("g.c%d %s r.c%d", i+1, k.ShadowOps.Equal, i+1))
		}
		b.WriteString(" LEFT JOIN gone g ON " + strings.Join(on, " AND "))
	}
	b.WriteString(" WHERE (SELECT count(*) FROM gone) >= 0 RETURNING 1)")
	if note {
		b.WriteString(",\nnoted AS (INSERT INTO " + qualified(p.Checks) + " (" + w.sourceKey("") + ") SELECT " + w.sourceKey("") + " FROM live)")
	}
	b.WriteString("\nSELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE " + ident.Quote(p.Key[0].Source) +
		" IS NULL)" + w.crashes() + ", (SELECT count(*) FROM gone), (SELECT count(*) FROM put)")
	return b.String()
}

// shadowForm is the key of the source's row in the shadow's form, c1 and so on, for a select list.
func (w Rows) shadowForm() string {
	var parts []string
	for i, k := range w.Pair.Key {
		v := w.alias() + "." + ident.Quote(k.Source)
		if k.Expr != "" {
			v = "(" + k.Expr + ")"
		}
		parts = append(parts, fmt.Sprintf("%s::%s AS c%d", v, k.ShadowType, i+1))
	}
	return strings.Join(parts, ", ")
}
