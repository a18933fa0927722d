package throttle

import "time"

// Trail remembers when a server was at which position of its log, and so how long ago what a replica has not yet replayed
// was written. It needs no clock but our own, and no figure of the server's, which stand still where the replica does.
//
// What a replica was behind before the first mark cannot be known: it counts from there. The zero Trail is ready to use by
// one goroutine at a time.
type Trail struct{ marks []mark }

type mark struct {
	at       time.Time
	position float64
}

// mostMarks is how many are kept. When there are more, every second one goes: older times become less exact, by one in fifty
// or so.
const mostMarks = 4096

// Mark notes where the server is now.
func (t *Trail) Mark(position float64) {
	if n := len(t.marks); n > 0 && position <= t.marks[n-1].position {
		if position < t.marks[n-1].position { // another server, or another timeline
			t.marks = t.marks[:0]
		} else {
			return // nothing was written since, and so nobody is behind
		}
	}
	if len(t.marks) == mostMarks {
		for i := range mostMarks / 2 {
			t.marks[i] = t.marks[2*i]
		}
		t.marks = t.marks[:mostMarks/2]
	}
	t.marks = append(t.marks, mark{time.Now(), position})
}

// Behind is how long a replica has been without something that the server wrote, zero if it has all that is marked.
func (t *Trail) Behind(position float64) time.Duration {
	low, high := 0, len(t.marks) // the first mark beyond the position is in [low, high]
	for low < high {
		if middle := (low + high) / 2; t.marks[middle].position > position {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if low == len(t.marks) {
		return 0
	}
	return time.Since(t.marks[low].at)
}
