package throttle_test

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

func TestSizer(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	type chunk struct {
		size int64
		took time.Duration
		want int64
	}
	tests := []struct {
		name   string
		sizer  *throttle.Sizer
		first  int64
		chunks []chunk
	}{
		{"a slow chunk shrinks the next in proportion, at once", &throttle.Sizer{}, 1000,
			[]chunk{{1000, 400 * ms, 500}, {500, 2000 * ms, 50}}},
		{"a slightly slow one goes half the way", &throttle.Sizer{}, 1000, []chunk{{1000, 250 * ms, 900}}},
		{"a fast chunk grows the next by half at most", &throttle.Sizer{}, 1000,
			[]chunk{{1000, 1 * ms, 1500}, {1500, 0, 2250}}},
		{"a little room is used exactly", &throttle.Sizer{}, 1000, []chunk{{1000, 160 * ms, 1250}}},
		{"a chunk that fits changes nothing", &throttle.Sizer{}, 1000, []chunk{{1000, 200 * ms, 1000}}},
		{"Max bounds it", &throttle.Sizer{Initial: 900, Max: 1000}, 900, []chunk{{900, ms, 1000}}},
		{"Min bounds it", &throttle.Sizer{Initial: 30, Min: 25}, 30, []chunk{{30, time.Hour, 25}}},
		{"Initial is bounded", &throttle.Sizer{Initial: 5, Min: 25}, 25, nil},
		{"Min rules over Max", &throttle.Sizer{Min: 50, Max: 20}, 50, nil},
		{"a size of one can grow", &throttle.Sizer{Initial: 1, Min: 1}, 1, []chunk{{1, ms, 2}, {2, ms, 3}, {3, ms, 5}, {5, ms, 8}}},
		{"the target is ours to set", &throttle.Sizer{Target: time.Second}, 1000, []chunk{{1000, 2 * time.Second, 500}}},
		{"four workers that report the same chunk grow it once", &throttle.Sizer{}, 1000,
			[]chunk{{1000, ms, 1500}, {1000, ms, 1500}, {1000, ms, 1500}, {1000, ms, 1500}}},
		{"four workers that report the same chunk shrink it once", &throttle.Sizer{}, 1000,
			[]chunk{{1000, 800 * ms, 250}, {1000, 800 * ms, 250}, {1000, 800 * ms, 250}, {1000, 800 * ms, 250}}},
		{"no chunk teaches nothing", &throttle.Sizer{}, 1000, []chunk{{0, time.Hour, 1000}, {1000, -ms, 1000}}},
		{"sizes beyond all bounds stay in theirs", &throttle.Sizer{Initial: math.MaxInt64, Max: math.MaxInt64}, math.MaxInt64,
			[]chunk{{math.MaxInt64, 0, math.MaxInt64}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.sizer.Next(); got != tt.first {
				t.Errorf("Next = %d at first, want %d", got, tt.first)
			}
			for i, c := range tt.chunks {
				tt.sizer.Observe(c.size, c.took)
				if got := tt.sizer.Next(); got != c.want {
					t.Errorf("Next = %d after chunk %d (%d in %v), want %d", got, i, c.size, c.took, c.want)
				}
			}
		})
	}
}

func drawSizer(t *rapid.T) *throttle.Sizer {
	low := rapid.Int64Range(1, 1000).Draw(t, "min")
	return &throttle.Sizer{
		Target:  time.Duration(rapid.IntRange(1, 5000).Draw(t, "target ms")) * time.Millisecond,
		Initial: rapid.Int64Range(1, 1_000_000).Draw(t, "initial"),
		Min:     low,
		Max:     low + rapid.Int64Range(0, 1_000_000).Draw(t, "max over min"),
	}
}

func drawTook(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "took"))
}

// Whatever it sees, a size stays in its bounds, and grows by no more than half of what was seen.
func TestSizerKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSizer(t)
		for range rapid.IntRange(1, 50).Draw(t, "chunks") {
			before := s.Next()
			seen := rapid.OneOf(rapid.Just(before), rapid.Int64Range(1, 2_000_000)).Draw(t, "seen")
			took := drawTook(t)
			s.Observe(seen, took)
			after := s.Next()
			if after < s.Min || after > s.Max {
				t.Fatalf("Next = %d, want %d to %d", after, s.Min, s.Max)
			}
			if most := max(before, s.Min, seen+max(1, (seen+1)/2)); after > most {
				t.Fatalf("Next = %d after %d in %v, was %d: want at most %d", after, seen, took, before, most)
			}
			if took > s.Target && after > before {
				t.Fatalf("Next = %d after %d in %v, was %d: grew after a slow chunk", after, seen, took, before)
			}
			if took <= s.Target && after < before {
				t.Fatalf("Next = %d after %d in %v, was %d: shrank after a fast chunk", after, seen, took, before)
			}
		}
	})
}

// Of two chunks of one size, the slower one never makes the larger size.
func TestSizerIsMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := drawSizer(t)
		b := &throttle.Sizer{Target: a.Target, Initial: a.Initial, Min: a.Min, Max: a.Max}
		size, fast, slow := a.Next(), drawTook(t), drawTook(t)
		if fast > slow {
			fast, slow = slow, fast
		}
		a.Observe(size, fast)
		b.Observe(size, slow)
		if a.Next() < b.Next() {
			t.Fatalf("from %d: Next = %d after %v, %d after %v", size, a.Next(), fast, b.Next(), slow)
		}
	})
}

// At a constant rate, with or without a cost of its own for each chunk, sizes come within a quarter of the target, stay
// there, and on the way up never pass it.
func TestSizerConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const target = 200 * time.Millisecond
		// The size that fits is far enough from 1 for a quarter of it to be a row, and far from the upper bound.
		fit := rapid.Int64Range(20, 1_000_000).Draw(t, "size that fits")
		fixed := time.Duration(rapid.Int64Range(0, int64(target)/2).Draw(t, "fixed cost"))
		cost := func(size int64) time.Duration {
			return fixed + time.Duration(float64(target-fixed)*float64(size)/float64(fit))
		}
		s := &throttle.Sizer{Initial: rapid.Int64Range(1, 2_000_000).Draw(t, "initial"), Min: 1, Max: 10_000_000}
		below := false
		for i := range 80 {
			size := s.Next()
			took := cost(size)
			if below && cost(size-1) > target { // a size is a whole number, and half a row more than fits
				t.Fatalf("chunk %d of %d took %v, after one that took less than %v", i, size, took, target)
			}
			below = below || took <= target
			if i >= 60 && (took < target*3/4 || took > target*5/4) {
				t.Fatalf("chunk %d of %d takes %v, want %v give or take a quarter", i, size, took, target)
			}
			s.Observe(size, took)
		}
	})
}

// Where time grows faster than size, one chunk passes the target by no more than the step up allows.
func TestSizerOvershootsByAStep(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const target = 200 * time.Millisecond
		cliff := rapid.Int64Range(100, 100_000).Draw(t, "cliff") // beyond it, every row costs ten times as much
		cost := func(size int64) time.Duration {
			perRow := time.Duration(float64(target) * 0.9 / float64(cliff))
			return perRow*time.Duration(min(size, cliff)) + 10*perRow*time.Duration(max(0, size-cliff))
		}
		s := &throttle.Sizer{Initial: rapid.Int64Range(10, cliff).Draw(t, "initial")}
		for i := range 100 {
			size := s.Next()
			if size > cliff*3/2 {
				t.Fatalf("chunk %d is of %d, more than half over the cliff at %d", i, size, cliff)
			}
			s.Observe(size, cost(size))
		}
	})
}

func TestSizerIsSafeForWorkers(t *testing.T) {
	t.Parallel()
	var s throttle.Sizer
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				s.Observe(s.Next(), time.Duration(w*i)*time.Microsecond)
			}
		})
	}
	wg.Wait()
}

func ExampleSizer() {
	var size throttle.Sizer
	fmt.Println(size.Next())
	size.Observe(1000, 800*time.Millisecond) // four times too slow
	fmt.Println(size.Next())
	size.Observe(250, 20*time.Millisecond)
	fmt.Println(size.Next())
	// Output:
	// 1000
	// 250
	// 375
}
