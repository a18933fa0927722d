package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
)

// Stats is what the clients met.
type Stats struct {
	Acked     int64 // transactions that the server acknowledged
	Withdrawn int64 // rolled back by the client, as it meant to
	Retried   int64 // met a serialization failure or a deadlock, and were tried again
	Truncated int64
	Doubtful  int64 // the connection broke under COMMIT
	Lost      int64 // the connection broke before, or was not to be had
	// Blind counts updates that did not find a row which has stood all along: a snapshot from before a table was replaced,
	// TRUNCATE included, sees the new one empty. A client at READ COMMITTED never should.
	Blind, BlindCommitted int64
	// Failed counts, by SQLSTATE, what no user should ever meet because of a change: everything but the above.
	Failed map[string]int64
	// First is the first failure of each SQLSTATE, with the statement that met it.
	First map[string]string

	// Of acknowledged transactions that do not sleep: from when one was due to its acknowledgement, with all repetitions.
	P50, P99, Max time.Duration
}

// Failures is how many statements of users failed that should not have.
func (s Stats) Failures() (n int64) {
	for _, k := range s.Failed {
		n += k
	}
	return n
}

func (s Stats) String() string {
	text := fmt.Sprintf("%d acknowledged, %d withdrawn, %d retried, p50 %s, p99 %s, max %s", s.Acked, s.Withdrawn, s.Retried,
		s.P50.Round(10*time.Microsecond), s.P99.Round(10*time.Microsecond), s.Max.Round(time.Millisecond))
	for _, more := range []struct {
		n    int64
		what string
	}{{s.Truncated, "truncations"}, {s.Doubtful, "in doubt"}, {s.Lost, "lost"}, {s.Blind, "blind with an old snapshot"}, {s.BlindCommitted, "BLIND AT READ COMMITTED"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(s.Failed)) {
		text += fmt.Sprintf(", %d FAILED with %s: %s", s.Failed[code], code, s.First[code])
	}
	return text
}

// account is what Stats are made of. The ledger's mutex guards it.
type account struct {
	stats Stats
	took  []time.Duration
}

func (c *account) summary() Stats {
	s := c.stats
	s.Failed, s.First = maps.Clone(s.Failed), maps.Clone(s.First)
	if n := len(c.took); n > 0 {
		took := slices.Sorted(slices.Values(c.took))
		s.P50, s.P99, s.Max = took[n/2], took[n*99/100], took[n-1]
	}
	return s
}

// Stats is all until now.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.summary()
}

// Lap is all since the last Lap.
func (l *Ledger) Lap() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.lap.summary()
	l.lap = account{}
	return s
}

// book notes how a try ended, and says whether the client tries again.
func (l *Ledger) book(s script, a *act, o outcome, err error, took time.Duration) (again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o {
	case acked:
		if a.booked > 0 {
			l.acked = append(l.acked, a.id)
		}
	case doubtful:
		l.doubt[a.id] = true
	default:
		l.void[a.id] = true
	}
	for _, c := range []*account{&l.all, &l.lap} {
		again = c.book(s, a, o, err, took)
	}
	return again
}

func (c *account) book(s script, a *act, o outcome, err error, took time.Duration) (again bool) {
	t := &c.stats
	switch o {
	case acked:
		t.Acked++
		if s.name == truncate.name {
			t.Truncated++
		}
		if a.isolation == sql.LevelReadCommitted {
			t.BlindCommitted += a.blind
		} else {
			t.Blind += a.blind
		}
		if !s.slow {
			c.took = append(c.took, took)
		}
	case withdrawn:
		t.Withdrawn++
	case doubtful:
		t.Doubtful++
	case lost:
		t.Lost++
	case failed:
		code := state(err)
		if code == "40001" || code == "40P01" {
			t.Retried++
			return true
		}
		if s.name == truncate.name && code == "55P03" { // it gave way
			return false
		}
		if t.Failed == nil {
			t.Failed, t.First = map[string]int64{}, map[string]string{}
		}
		t.Failed[code]++
		if t.First[code] == "" {
			t.First[code] = fmt.Sprintf("%s at isolation %s: %v", s.name, a.isolation, err)
		}
	}
	return false
}

// state is the SQLSTATE of an error, or what there is instead.
func state(err error) string {
	if code := fault.Code(err); code != "" {
		return code
	}
	var last error
	for last = err; errors.Unwrap(last) != nil; {
		last = errors.Unwrap(last)
	}
	return strings.SplitN(last.Error(), "\n", 2)[0]
}

// broken says that an error is the connection's end.
func broken(err error) bool { return fault.Lost(err) }
