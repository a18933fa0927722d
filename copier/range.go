// Package copier walks a table in ranges and keeps a shadow in step with it.
//
// Copying, healing, verifying and backfilling are all the same walk with another piece of work for each range. The walk
// cuts ranges one after the other, hands them to its workers, and can go on from any set of ranges that are done.
package copier

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Key is a position in a table: the text forms of its key columns in index order, or one block number.
// nil is before the first row as a beginning, and behind the last one as an end.
type Key []string

// String is the key as a JSON array, the form in which it is saved and bound. The nil key is "null".
func (k Key) String() string {
	text, err := json.Marshal([]string(k))
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	return string(text)
}

// ParseKey reads what String wrote.
func ParseKey(text string) (Key, error) {
	var k Key
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return nil, fmt.Errorf("key %q: %w", text, err)
	}
	return k, nil
}

// Range is the rows after After, up to and with Upto.
type Range struct{ After, Upto Key }

// Chunk is a range that a walk has cut. Numbers go up in the order of the ranges.
type Chunk struct {
	No int64
	Range
	Last bool // nothing follows
}

// Complete says that a walk has nothing left to do.
func Complete(done []Chunk) bool {
	gaps, last := remaining(done)
	return len(gaps) == 0 && last.Last
}

// remaining is what is left of a walk whose done chunks are known: the gaps between them, and the last chunk, behind
// which the walk goes on. Several chunks that are missing side by side come back as one.
func remaining(done []Chunk) (gaps []Chunk, last Chunk) {
	done = slices.Clone(done)
	slices.SortFunc(done, func(a, b Chunk) int { return int(a.No - b.No) })
	last = Chunk{No: -1}
	for _, c := range done {
		if c.No > last.No+1 {
			gaps = append(gaps, Chunk{No: last.No + 1, Range: Range{After: last.Upto, Upto: c.After}})
		}
		last = c
	}
	return gaps, last
}
