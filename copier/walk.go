package copier

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Cut ends the range of about n units that begins after a key. last says that nothing follows; upto may then be nil.
type Cut func(ctx context.Context, after Key, n int64) (upto Key, last bool, err error)

// Work does one chunk and answers how many rows it touched. It is called again for the same chunk after a failure that
// it cured itself; a walk does not retry.
type Work func(ctx context.Context, c Chunk) (rows int64, err error)

// Sizer says how large the next chunk should be, and learns how long one took.
type Sizer interface {
	Next() int64
	Observe(size int64, took time.Duration)
}

// Gate is where a worker waits before each chunk until the throttle lets it go on.
type Gate interface {
	Enter(ctx context.Context, worker int) error
	Leave(worker int, took time.Duration)
}

// Walker walks a table once.
type Walker struct {
	Cut     Cut
	Sizer   Sizer
	Gate    Gate
	Workers int // at least 1
	// Done is told after each chunk, one call at a time. It may be nil.
	Done func(c Chunk, rows int64, took time.Duration)

	mu    sync.Mutex
	gaps  []Chunk
	last  Chunk
	ended bool
}

// Walk works through what is not done yet and returns when all of it is, or with the first error. Chunks in flight are
// finished or cancelled before it returns.
func (w *Walker) Walk(ctx context.Context, done []Chunk, work Work) error {
	w.gaps, w.last = remaining(done)
	w.ended = w.last.Last
	var told sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for worker := range max(w.Workers, 1) {
		group.Go(func() error {
			for {
				if err := w.Gate.Enter(ctx, worker); err != nil {
					return err
				}
				size := w.Sizer.Next()
				c, fresh, err := w.next(ctx, size)
				if err != nil || c == nil {
					w.Gate.Leave(worker, 0)
					return err
				}
				began := time.Now()
				rows, err := work(ctx, *c)
				took := time.Since(began)
				w.Gate.Leave(worker, took)
				if err != nil {
					return err
				}
				if fresh && !c.Last {
					w.Sizer.Observe(size, took)
				}
				if w.Done != nil {
					told.Lock()
					w.Done(*c, rows, took)
					told.Unlock()
				}
			}
		})
	}
	return group.Wait()
}

// next is the next chunk: a gap of an earlier walk, or a fresh one; nil at the end.
func (w *Walker) next(ctx context.Context, size int64) (c *Chunk, fresh bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.gaps) > 0 {
		c := w.gaps[0]
		w.gaps = w.gaps[1:]
		return &c, false, nil
	}
	if w.ended {
		return nil, false, nil
	}
	upto, last, err := w.Cut(ctx, w.last.Upto, size)
	if err != nil {
		return nil, false, err
	}
	w.last = Chunk{No: w.last.No + 1, Range: Range{After: w.last.Upto, Upto: upto}, Last: last}
	w.ended = last
	next := w.last
	return &next, true, nil
}
