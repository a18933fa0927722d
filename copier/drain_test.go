package copier_test

import (
	"context"
	"testing"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
)

// TestDrainSmallRounds: a round that took as many keys as it might is no sign that few are left, however few those are.
func TestDrainSmallRounds(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{10, 99, 100, 101, 1000, 5000} {
		left := int64(1000)
		d := copier.Drain{Sizer: &fixed{sizes: []int64{size}}, Gate: open{}, Sink: event.Discard, Apply: func(_ context.Context, limit int64) (copier.Drained, error) {
			n := min(left, limit)
			left -= n
			return copier.Drained{Keys: n}, nil
		}}
		if err := d.Run(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if left >= 100 {
			t.Errorf("rounds of %d keys left %d of 1000, want fewer than 100", size, left)
		}
	}
}
