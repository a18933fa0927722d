// Package verify proves that a shadow is equal to its source while both are written to.
//
// A range is compared by count and digest in one snapshot, without the keys that are in the key log in that snapshot:
// what is left must be equal, so there is no lock and no false alarm. Rows that differ are copied again by putting their
// keys into the log, and keys that are drained after the verification began are compared again. So after Run, and after
// each Settle, every row is equal to its source's or is in the log.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
)

// Sum is the count and the digest of some rows. The digest adds up, so that doubled rows do not cancel each other out.
type Sum struct {
	Rows   int64
	Digest string
}

// Tables is a pair under comparison. Each call is one transaction. Compare and Relog are called by several goroutines, also
// while one of the others runs.
type Tables interface {
	// Compare digests a range of both tables in one snapshot, without pending keys.
	Compare(ctx context.Context, c copier.Chunk) (source, shadow Sum, err error)
	// Relog puts the keys of rows that differ in a range into the log, and answers how many and the first few.
	Relog(ctx context.Context, c copier.Chunk) (rows int64, keys []string, err error)
	// Recheck is Relog for all keys that were drained since the verification began.
	Recheck(ctx context.Context) (checked, rows int64, keys []string, err error)
	// Counts counts both tables in one snapshot, without pending keys.
	Counts(ctx context.Context) (source, shadow int64, err error)
	// Drain brings the shadow in step.
	Drain(ctx context.Context) error
}

// Verifier compares one pair.
type Verifier struct {
	Tables Tables
	// Counted says that the ranges cannot find rows that only the shadow has, so that the tables are counted as well.
	Counted bool
	// Late says that the log lags behind the table, and that Relog waits for it: a range that differs, and in which Relog finds
	// no row that does, was equal but for rows that are in the log by now.
	Late bool
	// Every is how often the log is drained while the tables are walked. Zero means 1s.
	Every time.Duration
	Sink  event.Sink

	repaired atomic.Int64
}

// rounds is how often rows may differ again after they were copied again. A row that was wrong because of us is right
// after the first time.
const rounds = 3

// Run walks the pair with a walker that cuts key ranges. note records a chunk as compared.
func (v *Verifier) Run(ctx context.Context, w *copier.Walker, done []copier.Chunk, note func(ctx context.Context, c copier.Chunk, rows int64, took time.Duration) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	group.Go(func() error {
		defer close(over)
		return w.Walk(groupCtx, done, func(ctx context.Context, c copier.Chunk) (int64, error) {
			began := time.Now()
			rows, err := v.chunk(ctx, c)
			if err != nil {
				return 0, err
			}
			return rows, note(ctx, c, rows, time.Since(began))
		})
	})
	group.Go(func() error { return v.keepUp(groupCtx, over) })
	err := group.Wait()
	if err != nil {
		return err
	}
	if err := v.Settle(ctx); err != nil {
		return err
	}
	if !v.Counted {
		return nil
	}
	source, shadow, err := v.Tables.Counts(ctx)
	if err == nil && source != shadow {
		err = mismatch(fmt.Sprintf("the shadow has %d rows where the source has %d", shadow, source))
	}
	return err
}

// keepUp settles now and then until the walk is over. Each comparison reads the whole log, so a log that grew for as long
// as a walk over a large table takes would make each one slower than the one before.
func (v *Verifier) keepUp(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(cmp.Or(v.Every, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case <-tick.C:
		}
		if err := v.Settle(ctx); err != nil {
			return err
		}
	}
}

// Repaired is how many rows differed at first and were copied again.
func (v *Verifier) Repaired() int64 { return v.repaired.Load() }

func (v *Verifier) chunk(ctx context.Context, c copier.Chunk) (int64, error) {
	for range rounds {
		source, shadow, err := v.Tables.Compare(ctx, c)
		if err != nil {
			return 0, err
		}
		if source == shadow {
			return source.Rows, nil
		}
		rows, keys, err := v.Tables.Relog(ctx, c)
		if err != nil {
			return 0, err
		}
		if rows > 0 {
			// Their keys are in the log now. The drain copies the rows, and Settle compares them.
			v.repaired.Add(rows)
			v.Sink(event.Differed{Keys: keys, Rows: rows})
			return source.Rows, nil
		}
		if v.Late {
			return source.Rows, nil
		}
	}
	return 0, mismatch(fmt.Sprintf("rows after key %s differ in count or digest, but no single row does", c.After))
}

// Settle drains, and compares what was drained, until nothing differs. It runs once at a time, and is called again for as long as the change waits
// for its cutover, so that what is left to compare under the lock stays small.
func (v *Verifier) Settle(ctx context.Context) error {
	var keys []string
	for range rounds + 1 {
		if err := v.Tables.Drain(ctx); err != nil {
			return err
		}
		_, rows, differing, err := v.Tables.Recheck(ctx)
		if err != nil {
			return err
		}
		if rows == 0 {
			return nil
		}
		keys = differing
		v.repaired.Add(rows)
		v.Sink(event.Differed{Keys: keys, Rows: rows})
	}
	return mismatch("rows differ although they were copied again, keys " + strings.Join(keys, ", "))
}

func mismatch(what string) error {
	return &fault.Problem{Kind: fault.Mismatch, Err: errors.New(what), Text: what + ": the change is stopped before its cutover, the source was not touched. " +
		"Look at these rows in both tables; `changeling abort` takes the shadow away, running the change again compares again"}
}
