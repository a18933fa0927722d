package mysql

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/copier"
)

// LiveRows is Rows for a second column: whatever writes a row writes both, by triggers, so there are no keys to log.
type LiveRows struct{ Rows }

// apart says that a row's columns are not the same, or that the second one is not what the first one comes to.
func (w LiveRows) apart() string {
	m := w.Pair.Columns[0]
	should := "s." + quote(m.Source)
	if m.Expr != "" {
		should = "(" + m.Expr + ")"
	}
	differ := "NOT (" + strings.ReplaceAll(m.Image, "%s", "s."+quote(m.Shadow)) + " <=> " + strings.ReplaceAll(m.Image, "%s", should) + ")"
	if flagged(w.Pair) {
		differ = "(s." + quote(flag(w.Pair)) + " IS NOT NULL OR " + differ + ")"
	}
	return differ
}

// assignment fills a row, and keeps what an UPDATE would change besides.
func (w LiveRows) assignment() string {
	m := w.Pair.Columns[0]
	set := []string{"s." + quote(m.Shadow) + " = s." + quote(m.Source)}
	if BothWays(w.Pair) {
		set = []string{w.filled()}
	}
	if flagged(w.Pair) {
		set = append(set, "s."+quote(flag(w.Pair))+" = NULL")
	}
	for _, name := range w.Pair.Untouched {
		set = append(set, "s."+quote(name)+" = s."+quote(name))
	}
	return " SET " + strings.Join(set, ", ")
}

// Copy fills the second column of a range. Rows that somebody has locked are left out: it never waits for a row while it holds others, so no
// user meets a deadlock, of which the server would end the one who has written less. The rows are known by their keys before they
// are written, and locked; so the value is that of the row's latest version. It may run twice.
//
// Where a value might not convert, all rows of the range are written: an expression that compares it would fail there where an assignment does
// not.
func (w LiveRows) Copy(r copier.Range) string {
	which := " AND " + w.apart()
	switch {
	case BothWays(w.Pair):
		which = " AND " + w.way(wayUnfilled)
	case flagged(w.Pair):
		which = ""
	}
	return w.fill(qualified(w.Pair.Source) + " s WHERE " + w.within(false, r) + which)
}

// CopyOne is Copy for the row with a key, on whose conversion it fails.
func (w LiveRows) CopyOne(place string) string {
	key, err := copier.ParseKey(place)
	if err != nil {
		return ""
	}
	var same []string
	for i, b := range w.bounds(key) {
		same = append(same, "s."+quote(w.Pair.Key[i].Source)+" = "+b)
	}
	if BothWays(w.Pair) { // what was written to the second column need not go up
		same = append(same, fmt.Sprintf("COALESCE(s.%s, 0) <= %d", quote(flag(w.Pair)), wayNoUp))
	}
	return "UPDATE " + qualified(w.Pair.Source) + " s" + w.assignment() + " WHERE " + strings.Join(same, " AND ")
}

// Differing answers how many rows a range has, and how many of them are not what they should be.
func (w LiveRows) Differing(r copier.Range) string {
	if BothWays(w.Pair) {
		return w.compared(r)
	}
	return "SELECT COUNT(*), COALESCE(SUM(" + w.apart() + "), 0) AS changeling FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r)
}

// Apart is Differing: what is NULL is told from what has no value yet.
func (w LiveRows) Apart(r copier.Range) string { return w.Differing(r) }

// Unfilled answers how many rows a range has, and how many of them are to be filled yet.
func (w LiveRows) Unfilled(r copier.Range) string {
	if BothWays(w.Pair) {
		return "SELECT COUNT(*), COALESCE(SUM(" + w.way(wayUnfilled) + "), 0) FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r)
	}
	return w.Differing(r)
}

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

// Settle fills rows that have the mark of a value that did not convert, and takes it away. It fails where one still does not. It answers nothing,
// and how many rows it filled. It is empty where there are no marks.
func (w LiveRows) Settle() string {
	if !flagged(w.Pair) {
		return ""
	}
	which := qualified(w.Pair.Source) + " s FORCE INDEX (" + quote(flag(w.Pair)) + ") WHERE s." + w.failed() + " LIMIT 1000"
	return w.fill(which) + Then + "SELECT 0, COUNT(*) FROM " + w.temporary("taken")
}

// fill fills rows that are not locked, see Copy.
func (w LiveRows) fill(which string) string {
	return w.own("taken") + Then + "INSERT INTO " + w.temporary("taken") + " (" + w.keyList("") + ") SELECT " + w.keyList("s.") + " FROM " + which + " FOR UPDATE SKIP LOCKED" + Then +
		"UPDATE " + w.temporary("taken") + " t STRAIGHT_JOIN " + qualified(w.Pair.Source) + " s ON " + w.same("s", "t") + w.assignment()
}

// marked are those rows, found by the index that is built for it.
func (w LiveRows) marked() string {
	return " FROM " + qualified(w.Pair.Source) + " FORCE INDEX (" + quote(flag(w.Pair)) + ") WHERE " + w.failed()
}

// failed says that a row has the mark.
func (w LiveRows) failed() string {
	if BothWays(w.Pair) {
		return fmt.Sprintf("%s = %d", quote(flag(w.Pair)), wayNoUp)
	}
	return quote(flag(w.Pair)) + " IS NOT NULL"
}

// Failures lists keys of such rows, with the value that did not convert.
func (w LiveRows) Failures() string {
	return "SELECT " + w.keyText("") + ", COALESCE(LEFT(CAST(" + quote(w.Pair.Columns[0].Source) + " AS CHAR), 60), 'NULL')" + w.marked() + " LIMIT 3"
}

// Unlike answers how many rows of a range the last Copy has written, and yet differ: what is compared is not what was assigned.
func (w LiveRows) Unlike(r copier.Range) string {
	if !flagged(w.Pair) || BothWays(w.Pair) {
		return "SELECT 0"
	}
	return "SELECT COUNT(*) FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r) + " AND " + w.apart() + " AND EXISTS (SELECT 1 FROM " + w.temporary("taken") + " t WHERE " + w.same("s", "t") + ")"
}

// Pending is how many of them there are, or none where none can be.
func (w LiveRows) Pending() string {
	if !flagged(w.Pair) {
		return "SELECT 0"
	}
	return "SELECT COUNT(*) FROM (SELECT 1" + w.marked() + " LIMIT 100) x"
}

// Verdict is whether both columns are still kept in step.
func (w LiveRows) Verdict() string { return LiveArmed(w.Pair) }
