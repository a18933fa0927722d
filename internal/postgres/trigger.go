package postgres

import (
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// The user's triggers. On the shadow they would fire for the rows that we move, and on the old table for those that an undo brings back. So they
// stand on the table that users write to and on no other: the swap takes them off the one and makes them on the other, in its own
// transaction, behind the last drain. BEFORE triggers need nothing more: what is copied are the values that were stored.

// Trigger is one of the user's.
type Trigger struct {
	Name      string  `json:"name"`
	Def       string  `json:"def"`
	Enabled   string  `json:"enabled"` // O, D, R or A
	Other     bool    `json:"other"`   // FROM another table
	Extension bool    `json:"extension"`
	Denied    bool    `json:"denied"` // the table's owner may not execute its function
	Comment   *string `json:"comment"`
}

// retarget is the definition for another table.
func (t Trigger) retarget(table string) string {
	const on = " ON "
	at := outside(t.Def, on) + len(on)
	return t.Def[:at] + table + t.Def[at+outside(t.Def[at:], " "):]
}

// said is how the list of what hangs on a table calls a trigger.
func (t Trigger) said() string { return "trigger " + t.quoted() }

// quoted is the name as the server quotes it.
func (t Trigger) quoted() string {
	const word = "TRIGGER "
	def := t.Def[outside(t.Def, word)+len(word):]
	return def[:outside(def, " ")]
}

// why says why a trigger cannot be carried, if it cannot.
func (t Trigger) why() string {
	switch {
	case t.Other:
		return "it is tied to another table by FROM"
	case t.Extension:
		return "it depends on an extension"
	case t.Denied:
		return "the table's owner may not execute its function: GRANT EXECUTE on it to him first"
	}
	return ""
}

// firing is how a trigger comes to be in a state.
var firing = map[string]string{"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}

// makeTriggers makes them on a table.
func makeTriggers(list []Trigger, table string) (out []string) {
	for _, t := range list {
		out = append(out, t.retarget(table))
		if t.Enabled != "O" {
			out = append(out, "ALTER TABLE "+table+" "+firing[t.Enabled]+" TRIGGER "+ident.Quote(t.Name))
		}
		out = append(out, comment("TRIGGER "+ident.Quote(t.Name)+" ON "+table, t.Comment)...)
	}
	return out
}

func dropTriggersOf(list []Trigger, table string) (out []string) {
	for _, t := range list {
		out = append(out, "DROP TRIGGER "+ident.Quote(t.Name)+" ON "+table)
	}
	return out
}

// triggers are those that can be carried.
func (r *Relation) triggers() []Trigger {
	return less(r.Triggers, func(t Trigger) bool { return !r.carries(t.said()) })
}

// first is the name of a capture's trigger for rows, which fires before the user's: if one of those writes to the row once more, the later
// write must reach the shadow later.
func first(p schema.Pair) string {
	if p.First != "" {
		return p.First
	}
	return p.Capture.Table
}
