package verify_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/verify"
)

type open struct{}

func (open) Enter(ctx context.Context, _ int) error { return ctx.Err() }
func (open) Leave(int, time.Duration)               {}
func (open) Next() int64                            { return 10 }
func (open) Observe(int64, time.Duration)           {}

// tables is a pair in which some rows are wrong. A drain mends as many of them as the log knows, stubborn ones come back.
type tables struct {
	wrong    int64 // rows that differ and are not logged
	logged   int64
	checks   int64 // drained, to be compared
	stubborn bool  // a row that differs again whatever is copied
	ghosts   int64 // rows that only the shadow has
	opaque   bool  // ranges differ, no row does
	drains   int
}

func (t *tables) Compare(context.Context, copier.Chunk) (a, b verify.Sum, err error) {
	if t.wrong > 0 || t.opaque {
		return verify.Sum{Rows: 10, Digest: "1"}, verify.Sum{Rows: 10, Digest: "2"}, nil
	}
	return verify.Sum{Rows: 10, Digest: "1"}, verify.Sum{Rows: 10, Digest: "1"}, nil
}

func (t *tables) Relog(context.Context, copier.Chunk) (int64, []string, error) {
	n := t.wrong
	t.logged, t.wrong = t.logged+n, 0
	return n, []string{"id 7"}, nil
}

func (t *tables) Recheck(context.Context) (checked, rows int64, keys []string, err error) {
	checked, t.checks = t.checks, 0
	if t.stubborn {
		t.logged++
		return checked, 1, []string{"id 13"}, nil
	}
	return checked, 0, nil, nil
}

func (t *tables) Counts(context.Context) (int64, int64, error) { return 10, 10 + t.ghosts, nil }

func (t *tables) Drain(context.Context) error {
	t.drains++
	t.checks, t.logged = t.checks+t.logged, 0
	return nil
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		pair     tables
		counted  bool
		repaired int64
		err      string // part of a mismatch; empty: equal
	}{
		{name: "equal tables are equal"},
		{name: "rows that differ are copied again and compared again", pair: tables{wrong: 2}, repaired: 2},
		{name: "a row that comes back stops the change", pair: tables{wrong: 1, stubborn: true}, repaired: 5, err: "id 13"},
		{name: "a range that differs without a row that does stops the change", pair: tables{opaque: true}, err: "no single row"},
		{name: "rows that only the shadow has are counted where ranges cannot see them", pair: tables{ghosts: 1}, counted: true, err: "11 rows where the source has 10"},
		{name: "and are not looked for where ranges can", pair: tables{ghosts: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			noted := 0
			v := verify.Verifier{Tables: &c.pair, Counted: c.counted, Sink: event.Discard}
			w := &copier.Walker{Cut: copier.Blocks(30), Sizer: open{}, Gate: open{}, Workers: 1}
			err := v.Run(t.Context(), w, nil, func(context.Context, copier.Chunk, int64, time.Duration) error { noted++; return nil })
			if c.err == "" && (err != nil || noted != 3) {
				t.Fatalf("Run = %v with %d chunks noted, want nil with 3", err, noted)
			}
			if c.err != "" && (!errors.Is(err, fault.Mismatch) || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("Run = %v, want a mismatch that says %q", err, c.err)
			}
			if v.Repaired() != c.repaired {
				t.Errorf("Repaired() = %d, want %d", v.Repaired(), c.repaired)
			}
		})
	}
}

// slow is a pair whose comparison is not over before the log was drained.
type slow struct {
	*tables
	drained chan struct{}
	once    sync.Once
}

func (s *slow) Compare(ctx context.Context, c copier.Chunk) (a, b verify.Sum, err error) {
	select {
	case <-s.drained:
	case <-ctx.Done():
		return a, b, ctx.Err()
	}
	return s.tables.Compare(ctx, c)
}

func (s *slow) Drain(ctx context.Context) error {
	s.once.Do(func() { close(s.drained) })
	return s.tables.Drain(ctx)
}

// TestRunDrainsMeanwhile: a walk over a large table takes hours, and the log must not grow for as long.
func TestRunDrainsMeanwhile(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	v := verify.Verifier{Tables: &slow{tables: &tables{}, drained: make(chan struct{})}, Sink: event.Discard, Every: time.Millisecond}
	w := &copier.Walker{Cut: copier.Blocks(30), Sizer: open{}, Gate: open{}, Workers: 1}
	if err := v.Run(ctx, w, nil, func(context.Context, copier.Chunk, int64, time.Duration) error { return nil }); err != nil {
		t.Fatalf("Run = %v: was the log drained while the tables were walked?", err)
	}
}
