package postgres

import (
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// A server that crashes, or a standby that is promoted, empties its unlogged tables. Where the source or the shadow is one,
// the other one may have kept its rows, and the change remembers a copy that is gone. So such a change keeps a row in an
// unlogged table of its own: where that is gone, the copy begins again, as after a TRUNCATE.

func createAlive(p schema.Pair) []string {
	if p.Alive.Table == "" {
		return nil
	}
	return []string{"CREATE UNLOGGED TABLE " + qualified(p.Alive) + " (one integer)"}
}

func dropAlive(p schema.Pair) string {
	if p.Alive.Table == "" {
		return ""
	}
	return ", " + qualified(p.Alive)
}

// Live begins the watch for crashes, if there is one: with the copy. It may run twice.
func (w Rows) Live() string {
	if w.Pair.Alive.Table == "" {
		return ""
	}
	return "INSERT INTO " + qualified(w.Pair.Alive) + " SELECT 1 WHERE " + w.crashed()
}

// crashed is a condition, or empty where a crash takes nothing away.
func (w Rows) crashed() string {
	if w.Pair.Alive.Table == "" {
		return ""
	}
	return "NOT EXISTS (SELECT FROM " + qualified(w.Pair.Alive) + ")"
}

// crashes is 1 after a crash and 0 otherwise, to be added to a count of TRUNCATEs, or empty where a crash takes nothing away.
func (w Rows) crashes() string {
	if w.Pair.Alive.Table == "" {
		return ""
	}
	return " + (" + w.crashed() + ")::integer"
}

// reset answers whether a TRUNCATE is in the log of the statement's own snapshot, or a crash emptied a table. Nothing can
// be said of the tables then until the copy has begun again: the rows that went are in no log.
func (w Rows) reset() string {
	out := "EXISTS (SELECT FROM " + qualified(w.Pair.Log) + " WHERE " + ident.Quote(w.Pair.Key[0].Source) + " IS NULL)"
	if w.crashed() != "" {
		out = "(" + out + " OR " + w.crashed() + ")"
	}
	return out
}
