package changeling_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestComparisonsByOrder: only a comparison that lays rows side by side walks along both keys. One by digests looks each row up in
// the list of what is pending, and without hashing that list it would read all of it for each row.
func TestComparisonsByOrder(t *testing.T) {
	t.Parallel()
	for key, joins := range map[string]bool{"int": true, "citext": false} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			pgtest.Exec(t, pgtest.Open(t, dsn), `CREATE EXTENSION citext`, `CREATE TABLE orders (id `+key+` PRIMARY KEY, amount int)`,
				`INSERT INTO orders SELECT i::text::`+key+`, i FROM generate_series(1, 500) i`)
			var mu sync.Mutex
			compared := 0
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(x.Text, "WITH pending") && !strings.Contains(x.Text, "keys AS (") && strings.Contains(x.Text, `"amount"`) {
					compared++
					byOrder := slices.ContainsFunc(x.Before, func(s string) bool { return strings.Contains(s, "enable_sort = off") })
					if full := strings.Contains(x.Text, " FULL JOIN "); full != joins || byOrder != joins {
						t.Errorf("side by side %v, along the keys %v; want both %v: %.200s", full, byOrder, joins, x.Text)
					}
				}
				return x.Text
			})
			if err := changeling.Apply(t.Context(), pool, widenOrders, quick); err != nil {
				t.Fatal(err)
			}
			if compared == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}
