package capture

import (
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/changeling-db/changeling/schema"
)

// Effect is what a statement means for a table, as a word.
func Effect(table schema.Name, fold bool, database, text string) string {
	effect, id := statements{table, fold}.effect(database, text)
	word := [...]string{"nothing", "begin", "commit", "control", "xa commit", "xa rollback", "truncated", "altered", "written"}[effect]
	if effect == xaCommit || effect == xaBack {
		word += " " + id
	}
	return word
}

// CompareFiles compares names of log files.
func CompareFiles(a, b string) int { return compareFiles(a, b) }

// Move is the offset of a reader at offset after an event that ends at logPos.
func Move(offset uint64, logPos, flags uint32) uint64 {
	r := &Reader{here: place{offset: offset}, ready: make(chan struct{}, 1)}
	r.move(&replication.EventHeader{EventType: replication.XID_EVENT, LogPos: logPos, Flags: uint16(flags)}, false)
	return r.here.offset
}
