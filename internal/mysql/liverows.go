package mysql

import (
	"strings"

	"github.com/changeling-db/changeling/copier"
)

// LiveRows is Rows for a column under two names: whatever writes a row writes both, by triggers, so there are no keys to log.
type LiveRows struct{ Rows }

// apart says that a row's columns are not the same.
func (w LiveRows) apart() string {
	m := w.Pair.Columns[0]
	return "NOT (" + strings.ReplaceAll(m.Image, "%s", "s."+quote(m.Shadow)) + " <=> " + strings.ReplaceAll(m.Image, "%s", "s."+quote(m.Source)) + ")"
}

// Copy fills the second column of a range. Rows that somebody has locked are left out: it never waits for a row while it holds others, so no
// user meets a deadlock, of which the server would end the one who has written less. The rows are known by their keys before they
// are written, and locked; so the value is that of the row's latest version. It may run twice.
func (w LiveRows) Copy(r copier.Range) string {
	m := w.Pair.Columns[0]
	set := []string{"s." + quote(m.Shadow) + " = s." + quote(m.Source)}
	for _, name := range w.Pair.Untouched {
		set = append(set, "s."+quote(name)+" = s."+quote(name))
	}
	return w.own("taken") + Then + "INSERT INTO " + w.temporary("taken") + " (" + w.keyList("") + ") SELECT " + w.keyList("s.") + " FROM " + qualified(w.Pair.Source) + " s WHERE " +
		w.within(false, r) + " AND " + w.apart() + " FOR UPDATE SKIP LOCKED" + Then +
		"UPDATE " + w.temporary("taken") + " t STRAIGHT_JOIN " + qualified(w.Pair.Source) + " s ON " + w.same("s", "t") + " SET " + strings.Join(set, ", ")
}

// Differing answers how many rows a range has, and how many of them are not what they should be.
func (w LiveRows) Differing(r copier.Range) string {
	return "SELECT COUNT(*), COALESCE(SUM(" + w.apart() + "), 0) AS changeling FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r)
}

// Apart is Differing: users have written both.
func (w LiveRows) Apart(r copier.Range) string { return w.Differing(r) }

// The walks go by the key, and each row is compared with itself: whoever empties the table, or makes it anew, changes nothing for them.

// Guard is nothing.
func (LiveRows) Guard() string { return "DO 0" }

// Heap is always the same.
func (LiveRows) Heap() string { return "SELECT 1" }

// Truncated is never asked.
func (LiveRows) Truncated() string { return "" }

// Live is nothing: see Guard.
func (LiveRows) Live() string { return "" }

// Empty is nothing: what is filled stays.
func (LiveRows) Empty() []string { return nil }

// Settle is nothing: no value can fail to be assigned to a column of its own type.
func (LiveRows) Settle() string { return "" }

// Failures is never asked: see Settle.
func (LiveRows) Failures() string { return "SELECT '', '' FROM DUAL WHERE FALSE" }

// Verdict is whether both columns are still kept in step.
func (w LiveRows) Verdict() string { return LiveArmed(w.Pair) }
