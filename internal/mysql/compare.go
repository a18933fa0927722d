package mysql

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
)

// Boundary finds where a range of n rows after a key ends: the key of its last row, or no row where the table ends before.
func (w Rows) Boundary(after copier.Key, n int64) (string, []any) {
	return fmt.Sprintf("SELECT %s FROM (SELECT %s FROM %s s WHERE %s ORDER BY %s LIMIT 1 OFFSET %d) b", w.keyText("b."), w.keyList("s."), qualified(w.Pair.Source),
		w.within(false, copier.Range{After: after}), w.keyList("s."), max(n-1, 0)), nil
}

// Within is a range of the key as a condition on the source, which is called s.
func (w Rows) Within(r copier.Range) string { return w.within(false, r) }

// pending says that a key is in the log, in the statement's own snapshot. Such keys are left out of a comparison: what is
// left must be equal, without a lock and under any load.
func (w Rows) pending(alias string) string {
	return "EXISTS (SELECT 1 FROM " + qualified(w.Pair.Log) + " changeling_waiting WHERE " + w.same("changeling_waiting", alias) + ")"
}

func (w Rows) pendingShadow() string {
	_, d := w.aliases()
	return "EXISTS (SELECT 1 FROM " + qualified(w.Pair.Log) + " changeling_waiting WHERE " + w.sameShadow(d, "changeling_waiting") + ")"
}

// Compare, Relog and what belongs to them look at an undo's pair as its Judge.

// Compare digests one key range of both tables in one statement, and so in one snapshot: rows and sum of the source, rows
// and sum of the shadow, and whether the source was truncated.
func (w Rows) Compare(r copier.Range) (string, []any) {
	w = w.judged()
	s, d := w.aliases()
	side := func(shadow bool, from, not string) string {
		return "(SELECT COUNT(*) AS n, CAST(COALESCE(SUM(" + w.digest(!shadow) + "), 0) AS CHAR) AS h FROM " + from + " WHERE " + w.within(shadow, r) + " AND NOT " + not + ")"
	}
	return "SELECT a.n, a.h, b.n, b.h, FALSE FROM " + side(false, qualified(w.Pair.Source)+" "+s, w.pending(s)) + " a, " +
		side(true, qualified(w.Pair.Shadow)+" "+d, w.pendingShadow()) + " b", nil
}

// CompareCounts counts both tables without the pending keys, in one snapshot, and says whether the source was truncated.
func (w Rows) CompareCounts() string {
	w = w.judged()
	s, d := w.aliases()
	return "SELECT (SELECT COUNT(*) FROM " + qualified(w.Pair.Source) + " " + s + " WHERE NOT " + w.pending(s) + "), (SELECT COUNT(*) FROM " +
		qualified(w.Pair.Shadow) + " " + d + " WHERE NOT " + w.pendingShadow() + "), FALSE"
}

// Relog finds the rows of a range that differ. Confirm puts their keys into the log, so that the next drain copies them
// again. Both may run twice, and both in one session.
func (w Rows) Relog(r copier.Range) (string, []any) {
	w = w.judged()
	s, d := w.aliases()
	var back []string
	for _, k := range w.Pair.Key {
		back = append(back, d+"."+quote(k.Shadow))
	}
	keys := "SELECT " + w.keyList(s+".") + " FROM " + qualified(w.Pair.Source) + " " + s + " WHERE " + w.within(false, r) +
		" UNION SELECT " + strings.Join(back, ", ") + " FROM " + qualified(w.Pair.Shadow) + " " + d + " WHERE " + w.within(true, r)
	return w.relog(w.own("again") + Then + "INSERT INTO " + w.temporary("again") + " (" + w.keyList("") + ") " + keys), nil
}

// Differing lists the rows of a range that differ, in one snapshot, without pending keys: key, and the digests of source and shadow.
func (w Rows) Differing(r copier.Range) string {
	w = w.judged()
	s, d := w.aliases()
	behind := w // the same keys by the names that the shadow has for them
	behind.Pair.Key = slices.Clone(w.Pair.Key)
	for i, k := range behind.Pair.Key {
		behind.Pair.Key[i].Source = k.Shadow
	}
	source, shadow := qualified(w.Pair.Source)+" "+s, qualified(w.Pair.Shadow)+" "+d
	return "SELECT x.k, COALESCE(CAST(x.a AS CHAR), ''), COALESCE(CAST(x.b AS CHAR), '') FROM (SELECT " + w.keyText(s+".") + " AS k, " + w.digest(true) + " AS a, (SELECT " + w.digest(false) + " FROM " + shadow +
		" WHERE " + w.sameShadow(d, s) + ") AS b FROM " + source + " WHERE " + w.within(false, r) + " AND NOT " + w.pending(s) +
		" UNION ALL SELECT " + behind.keyText(d+".") + ", NULL, " + w.digest(false) + " FROM " + shadow + " WHERE " + w.within(true, r) + " AND NOT " + w.pendingShadow() +
		" AND NOT EXISTS (SELECT 1 FROM " + source + " WHERE " + w.sameShadow(d, s) + ")) x WHERE NOT (x.a <=> x.b)"
}

// SideBySide is false: digests are compared.
func (w Rows) SideBySide() bool { return false }

// Confirm leaves out what is in the log by now, and puts the rest there. It answers how many keys were looked at, how many
// differ, these keys, and whether the source was truncated.
//
// A log that a run writes lags behind the table. If it was brought up to date between Relog and Confirm, and nobody drained
// it meanwhile, then what is left does differ.
func (w Rows) Confirm() string {
	w = w.judged()
	return w.called(strings.Join([]string{
		"DELETE f FROM " + w.temporary("differing") + " f WHERE " + w.pending("f"),
		"INSERT INTO " + qualified(w.Pair.Log) + " (" + cmp.Or(w.logged, w.keyList("")) + ") SELECT " + w.keyList("") + " FROM " + w.temporary("differing"),
		"SELECT @changeling_keys, COUNT(*), COALESCE(CAST(JSON_ARRAYAGG(" + w.keyText("f.") + ") AS CHAR), '[]'), FALSE FROM " + w.temporary("differing") + " f",
	}, Then))
}

// RelogChecked is Relog for the keys that were drained after the verification began. They are taken out of the checks.
// A key that is pending again comes back through the next drain.
func (w Rows) RelogChecked() string {
	w = w.judged()
	return w.called(w.relog(w.own("again") + Then + "INSERT INTO " + w.temporary("again") + " (" + w.keyList("") + ") SELECT DISTINCT " + w.keyList("changeling_checked.") +
		" FROM " + qualified(w.Pair.Checks) + " changeling_checked" + Then + "DELETE FROM " + qualified(w.Pair.Checks)))
}

func (w Rows) relog(fill string) string {
	s, d := w.aliases()
	row := func(shadow bool) string {
		if shadow {
			return "(SELECT " + w.digest(false) + " FROM " + qualified(w.Pair.Shadow) + " " + d + " WHERE " + w.sameShadow(d, "g") + ")"
		}
		return "(SELECT " + w.digest(true) + " FROM " + qualified(w.Pair.Source) + " " + s + " WHERE " + w.same(s, "g") + ")"
	}
	return strings.Join([]string{fill,
		"SET @changeling_keys = (SELECT COUNT(*) FROM " + w.temporary("again") + ")",
		w.own("differing"),
		"INSERT INTO " + w.temporary("differing") + " (" + w.keyList("") + ") SELECT " + w.keyList("g.") + " FROM " + w.temporary("again") + " g WHERE NOT " + w.pending("g") +
			" AND NOT (" + row(false) + " <=> " + row(true) + ")",
	}, Then)
}
