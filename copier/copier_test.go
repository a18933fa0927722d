package copier_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
)

// open is a gate without a throttle.
type open struct{}

func (open) Enter(ctx context.Context, _ int) error { return ctx.Err() }
func (open) Leave(int, time.Duration)               {}

// fixed is a sizer that answers sizes in turn.
type fixed struct {
	mu    sync.Mutex
	sizes []int64
	n     int
}

func (f *fixed) Next() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.sizes[f.n%len(f.sizes)]
}
func (*fixed) Observe(int64, time.Duration) {}

func block(k copier.Key) int64 {
	if k == nil {
		return -1
	}
	n, err := strconv.ParseInt(k[0], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// TestWalkTilesTheTable: whatever was done before a crash, what was done and what is walked afterwards is each block once.
func TestWalkTilesTheTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, 200).Draw(t, "blocks")
		sizes := rapid.SliceOfN(rapid.Int64Range(1, 40), 1, 5).Draw(t, "sizes")
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		var all []copier.Chunk
		collect := func(done []copier.Chunk, die int) {
			var mu sync.Mutex
			w := copier.Walker{Cut: copier.Blocks(total), Sizer: &fixed{sizes: sizes}, Gate: open{}, Workers: workers}
			_ = w.Walk(context.Background(), done, func(_ context.Context, c copier.Chunk) (int64, error) {
				mu.Lock()
				defer mu.Unlock()
				if die--; die == 0 {
					return 0, errors.New("dead")
				}
				all = append(all, c)
				return 1, nil
			})
		}
		collect(nil, rapid.IntRange(1, 12).Draw(t, "dies at chunk"))
		// A crash may also lose a chunk that another worker finished: positions are what the database says.
		if len(all) > 1 && rapid.Bool().Draw(t, "another one is lost") {
			lost := rapid.IntRange(0, len(all)-1).Draw(t, "lost")
			all = slices.Delete(all, lost, lost+1)
		}
		done := slices.Clone(all)
		collect(done, 0)
		seen := make([]int, total)
		last := 0
		for _, c := range all {
			for b := block(c.After) + 1; b <= block(c.Upto); b++ {
				seen[b]++
			}
			if c.Last {
				last++
			}
		}
		for b, n := range seen {
			if n != 1 {
				t.Fatalf("block %d was copied %d times; chunks %v", b, n, all)
			}
		}
		if last != 1 {
			t.Fatalf("%d chunks say that nothing follows, want 1; chunks %v", last, all)
		}
	})
}

func TestWalkEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	w := copier.Walker{Cut: copier.Blocks(1000), Sizer: &fixed{sizes: []int64{1}}, Gate: open{}, Workers: 2}
	var mu sync.Mutex
	n := 0
	err := w.Walk(t.Context(), nil, func(context.Context, copier.Chunk) (int64, error) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n >= 5 {
			return 0, boom
		}
		return 0, nil
	})
	if !errors.Is(err, boom) || n > 8 {
		t.Errorf("Walk = %v after %d chunks, want boom after about 5", err, n)
	}
}

func TestKeysSurviveBeingSaved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := copier.Key(rapid.SliceOf(rapid.String()).Draw(t, "key"))
		back, err := copier.ParseKey(k.String())
		if err != nil || !slices.Equal(k, back) {
			t.Fatalf("ParseKey(%s) = %q, %v, want %q", k, back, err, k)
		}
	})
	if k, err := copier.ParseKey(copier.Key(nil).String()); err != nil || k != nil {
		t.Errorf("the nil key came back as %v, %v", k, err)
	}
}

func TestHalveBlocksFindsOneBlock(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(1, 1<<40).Draw(t, "blocks")
		bad := rapid.Int64Range(0, total-1).Draw(t, "bad")
		r := copier.AllBlocks(total)
		for n := 0; ; n++ {
			left, right, ok := copier.HalveBlocks(r)
			if !ok {
				break
			}
			if n > 50 {
				t.Fatal("halving does not end")
			}
			r = right
			if bad <= block(left.Upto) {
				r = left
			}
		}
		if block(r.After)+1 != bad || block(r.Upto) != bad {
			t.Fatalf("found blocks %d to %d, want %d", block(r.After)+1, block(r.Upto), bad)
		}
	})
}

// duplicate is what the server says of a unique index.
type duplicate struct{}

func (duplicate) Error() string    { return "duplicate key" }
func (duplicate) SQLState() string { return "23505" }

func TestDrain(t *testing.T) {
	t.Parallel()
	type answer struct {
		keys int64
		err  error
	}
	for _, c := range []struct {
		name    string
		answers []answer
		limits  []int64
		err     error
	}{
		{"it goes on until little is left", []answer{{1000, nil}, {1000, nil}, {3, nil}}, []int64{1000, 1000, 1000}, nil},
		{"a transient duplicate widens to all keys of one snapshot", []answer{{0, duplicate{}}, {5000, nil}, {0, nil}}, []int64{1000, 0, 1000}, nil},
		{"a duplicate among all keys is a true one", []answer{{0, duplicate{}}, {0, duplicate{}}}, []int64{1000, 0}, duplicate{}},
		{"a truncated source is not drained", []answer{{0, copier.ErrReset}}, []int64{1000}, copier.ErrReset},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var limits []int64
			d := copier.Drain{Gate: open{}, Sizer: &fixed{sizes: []int64{1000}}, Sink: event.Discard, Apply: func(_ context.Context, limit int64) (copier.Drained, error) {
				a := c.answers[len(limits)]
				limits = append(limits, limit)
				return copier.Drained{Keys: a.keys}, a.err
			}}
			err := d.Run(t.Context(), 100)
			if !errors.Is(err, c.err) || fmt.Sprint(limits) != fmt.Sprint(c.limits) {
				t.Errorf("Run = %v with limits %v, want %v with %v", err, limits, c.err, c.limits)
			}
		})
	}
}
