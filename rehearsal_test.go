package changeling_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// mutated marks the statement that is rehearsed against the real parent.
const mutated = "-- mutant\n"

// TestRehearsalLocksNobodyOut: at the end of a plan's transaction it holds no lock on a table of a user that keeps anybody from
// reading or writing. A foreign key that were rehearsed against the real parent would.
func TestRehearsalLocksNobodyOut(t *testing.T) {
	t.Parallel()
	real := regexp.MustCompile(`REFERENCES "changeling_[0-9a-f]+"\."parent_[0-9]+"`)
	for _, ddl := range []string{
		mutated + `ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES tenants (id)`,
		`ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES tenants (id)`,
		`ALTER TABLE orders ALTER amount TYPE bigint, ADD COLUMN other int REFERENCES public.tenants`,
		`ALTER TABLE orders ALTER note SET NOT NULL, ADD UNIQUE (note), ADD FOREIGN KEY (amount) REFERENCES orders`,
		`CREATE INDEX ON orders (note)`, `DROP INDEX orders_tenant`, `REINDEX TABLE orders`, `COMMENT ON TABLE orders IS 'x'`, `DROP TABLE items`,
		`ALTER TABLE parts ADD COLUMN a int DEFAULT 3`, `ALTER TABLE parts ATTACH PARTITION more FOR VALUES IN (2)`,
	} {
		t.Run(ddl, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, victim...)
			pgtest.Exec(t, db, `CREATE TABLE parts (k int) PARTITION BY LIST (k)`, `CREATE TABLE one PARTITION OF parts FOR VALUES IN (1)`, `CREATE TABLE more (k int)`)
			looked, locked := false, false
			var mutate *regexp.Regexp
			ddl, isMutant := strings.CutPrefix(ddl, mutated)
			if isMutant {
				mutate = real
			}
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if mutate != nil {
					x.Text = mutate.ReplaceAllString(x.Text, "REFERENCES public.tenants")
				}
				if x.Text != "ROLLBACK" || len(x.Before) < 5 {
					return x.Text
				}
				looked = true
				var held string
				if err := db.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(l.relation::regclass || ' ' || l.mode, ', '), '') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
  WHERE c.relnamespace = 'public'::regnamespace AND l.mode <> 'AccessShareLock' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&held); err != nil || held != "" && mutate == nil {
					t.Errorf("the rehearsal holds %s (%v)", held, err)
				}
				locked = held != ""
				return x.Text
			})
			e, err := changeling.Open(t.Context(), pool, changeling.Config{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := e.Plan(t.Context(), ddl)
			if err != nil {
				t.Fatal(err)
			}
			if locked != (mutate != nil) {
				t.Errorf("it holds a lock: %v", locked)
			}
			if !looked || strings.Contains(p.Why, "does not exist") {
				t.Errorf("nobody looked at what %s locks (%s)", ddl, p.Why)
			}
		})
	}
}
