package throttle

import (
	"math"
	"sync"
	"time"
)

// Sizer chooses the size of chunks so that each takes about as long as Target: down at once, up slowly.
//
// What a size counts is the caller's: rows, or pages of a heap. The zero Sizer is ready to use. The exported fields are
// set before the first call; the methods may be called by several workers at once.
type Sizer struct {
	// Target is the time that a chunk shall take, and so about the longest that one delays a pause, or holds what it
	// holds. Zero means 200 ms.
	Target time.Duration
	// Initial is the first size. Zero means 1000.
	Initial int64
	// Min and Max bound every size. Zero means 10 and 100,000. Where they contradict each other, Min rules.
	Min, Max int64

	mu   sync.Mutex
	size int64 // zero before the first call
}

const (
	slow   = 1.5 // a chunk that took this many times Target is answered in full at once, a lesser excess by half
	growth = 1.5 // a size grows to this many times itself in one step at most
)

// Next is the size for the next chunk.
func (s *Sizer) Next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current()
}

// Observe tells how long a chunk of a size took. The size is the one that Next gave, even where the chunk held fewer
// rows; a chunk that is known to be smaller, such as the last one of a table, is better not told. A chunk that was given up
// is told like any other, with the time that it had taken until then.
//
// Every answer follows from the observed size, not from the current one, so that several workers that report at once
// neither shrink nor grow it several times over.
func (s *Sizer) Observe(size int64, took time.Duration) {
	if size <= 0 || took < 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.Target
	if target <= 0 {
		target = 200 * time.Millisecond
	}
	seen := float64(size)
	fit := seen * float64(target) / float64(max(took, 1)) // the size that takes Target if time is in proportion to size
	switch ratio := float64(took) / float64(target); {
	case ratio > slow:
		s.size = min(s.current(), s.bound(fit))
	case ratio > 1:
		s.size = min(s.current(), s.bound((seen+fit)/2))
	default:
		s.size = max(s.current(), s.bound(min(fit, max(seen*growth, seen+1))))
	}
}

// current is the size, with the initial one put in. The caller holds mu.
func (s *Sizer) current() int64 {
	if s.size == 0 {
		initial := s.Initial
		if initial <= 0 {
			initial = 1000
		}
		s.size = s.bound(float64(initial))
	}
	return s.size
}

func (s *Sizer) bound(size float64) int64 {
	low, high := s.Min, s.Max
	if low <= 0 {
		low = 10
	}
	if high <= 0 {
		high = 100_000
	}
	if size >= math.MaxInt64/2 { // beyond what the conversion can hold
		return max(low, high)
	}
	return max(low, min(high, int64(math.Round(size))))
}
