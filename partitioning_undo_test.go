package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// wasParted is a table that was partitioned a moment ago, by an engine whose statements may be rewritten.
func wasParted(t *testing.T, rewrite func(string) string) (*sql.DB, *changeling.Change, *story) {
	t.Helper()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, parted("", 400)...)
	pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return rewrite(x.Text) })
	told := &story{}
	config := changeling.Config{Fast: true, Events: event.Tee(told.tell, event.Lines(t.Output()))}
	c, err := partitions(t.Context(), pool, byRegion, config)
	if err != nil {
		t.Fatal(err)
	}
	return db, c, told
}

// TestPartitionUndoWindow: what users write to partitions themselves comes back with an undo; and where a partition came or went, and rows with it
// that no trigger saw, there is none.
func TestPartitionUndoWindow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  []string
		says string // why there is no undo; empty: there is one
		want string // of the table after it
	}{
		"written to themselves": {want: "401 rows, 100 in eu, sum 80907", act: []string{`INSERT INTO orders_rest (id, region, email, amount) VALUES (1000, 'moon', 'm', 707)`, `UPDATE orders_eu SET amount = 0 WHERE id = 200`, `UPDATE orders_eu SET amount = 200 WHERE id = 200`}},
		"truncated":             {want: "300 rows, 0 in eu, sum 60000", act: []string{`TRUNCATE orders_eu CASCADE`}},
		"all truncated":         {want: "1 rows, 1 in eu, sum 5", act: []string{`TRUNCATE orders CASCADE`, `INSERT INTO orders (region, email, amount) VALUES ('eu', 'x', 5)`}},
		"dropped":               {says: "a partition was added", act: []string{`ALTER TABLE items DROP CONSTRAINT items_order_fkey`, `DROP TABLE orders_eu`}},
		"added":                 {says: "a partition was added", act: []string{`CREATE TABLE orders_more PARTITION OF orders FOR VALUES IN ('moon')`}},
		"detached": {says: "a partition was added", act: []string{`ALTER TABLE items DROP CONSTRAINT items_order_fkey`, `ALTER TABLE orders DETACH PARTITION orders_eu`, `UPDATE orders_eu SET amount = 0`,
			`ALTER TABLE orders ATTACH PARTITION orders_eu FOR VALUES IN ('eu')`}},
		"disarmed": {says: "took the triggers off", act: []string{`DO $$ DECLARE g text; BEGIN FOR g IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders_eu'::regclass AND tgname LIKE '%undo' LOOP EXECUTE format('ALTER TABLE orders_eu DISABLE TRIGGER %I', g); END LOOP; END $$`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, change, _ := wasParted(t, func(x string) string { return x })
			pgtest.Exec(t, db, c.act...)
			err := change.Undo(t.Context(), changeling.NoLoss)
			if c.says != "" {
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("Undo = %v, want a refusal that says %q", err, c.says)
				}
				pgtest.Exec(t, db, `UPDATE orders SET amount = amount + 1`)
				if dropped, err := change.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
					t.Errorf("Cleanup = %v, %v", dropped, err)
				}
				if n := ask[int](t, db, `SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%') + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling\__%')`); n != 0 {
					t.Errorf("%d triggers and schemas are left", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := ask[string](t, db, `SELECT format('%s rows, %s in eu, sum %s', count(*), count(*) FILTER (WHERE region = 'eu'), sum(amount)) FROM orders`); got != c.want {
				t.Errorf("the table has %s, want %s", got, c.want)
			}
		})
	}
}

// TestPartitionMutants breaks on purpose what partitions need: each is noticed.
func TestPartitionMutants(t *testing.T) {
	t.Parallel()
	only := func(x string) string { // reads the partitioned table alone, which has no rows
		return strings.ReplaceAll(x, `FROM "public"."orders" AS "orders"`, `FROM ONLY "public"."orders" AS "orders"`)
	}
	truncates := regexp.MustCompile(`;\nCREATE TRIGGER "changeling_\w+_truncate" AFTER TRUNCATE ON "public"."orders_eu" [^;]*`)
	enables := regexp.MustCompile(`;\nALTER TABLE "public"."orders_eu" ENABLE ALWAYS TRIGGER "changeling_\w+_truncate"`)
	whole := regexp.MustCompile(`(?s) AND \(SELECT pg_catalog\.count\(\*\) FROM pg_catalog\.pg_inherits h WHERE .*?_undo_truncate'\)\)\)`)
	again := []string{`ALTER TABLE items DROP CONSTRAINT items_order_fkey`, `ALTER TABLE orders DETACH PARTITION orders_eu`, `UPDATE orders_eu SET amount = 0 WHERE id = 200`,
		`ALTER TABLE orders ATTACH PARTITION orders_eu FOR VALUES IN ('eu')`, `ALTER TABLE items ADD CONSTRAINT items_order_fkey FOREIGN KEY ("order", region) REFERENCES orders ON DELETE CASCADE`}
	for name, c := range map[string]struct {
		rewrite func(string) string
		act     []string
	}{
		"the drain reads ONLY":               {rewrite: only, act: []string{`UPDATE orders SET amount = 1 WHERE id = 200`}},
		"no trigger for TRUNCATE":            {rewrite: func(x string) string { return enables.ReplaceAllString(truncates.ReplaceAllString(x, ""), "") }, act: []string{`TRUNCATE orders_eu CASCADE`}},
		"partitions that come are not known": {rewrite: func(x string) string { return whole.ReplaceAllString(x, "") }, act: again},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			hits := 0
			db, change, told := wasParted(t, func(x string) string {
				out := c.rewrite(x)
				mu.Lock()
				defer mu.Unlock()
				if out != x {
					hits++
				}
				return out
			})
			pgtest.Exec(t, db, c.act...)
			err := change.Undo(t.Context(), changeling.NoLoss)
			if hits == 0 {
				t.Error("the mutant's statement was never seen")
			}
			if err == nil && told.count(differed) == 0 {
				t.Error("the mutant went unnoticed")
			}
			t.Logf("noticed by %d differences, and: %v", told.count(differed), err)
		})
	}
}

// TestPartitionHeals: a value that moves from a row that is copied to one that is not stands twice in the bare partitions; what changed is taken out
// before the index is built. Who takes the size of the partitioned table, which is none, heals nothing.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		dsn := pgtest.Database(t)
		db := pgtest.Open(t, dsn)
		pgtest.Exec(t, db, `CREATE TABLE orders (id int, region int, email text NOT NULL, payload text, PRIMARY KEY (id, region), UNIQUE (email, region))`,
			`INSERT INTO orders SELECT i, i % 3, 'e' || i, repeat('x', 200) FROM generate_series(0, 6000) i`)
		n, hits := 0, 0
		pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			switch {
			case copying(x.Text):
				if n++; n == 2 {
					_, _ = db.Exec(`UPDATE orders SET email = 'free' WHERE id = 3; UPDATE orders SET email = 'e3' WHERE id = 6000`) // what is missing then is missed below
				}
			case strings.HasPrefix(x.Text, "SELECT greatest((SELECT pg_catalog.pg_relation_size("):
				if hits++; broken {
					return `SELECT pg_catalog.pg_relation_size('public.orders'::regclass) * 0`
				}
			}
			return x.Text
		})
		_, err := partitions(t.Context(), pool, changeling.Partitioning{Table: "orders", By: "list (region)", Partitions: []string{"zero FOR VALUES IN (0)", "one FOR VALUES IN (1)"}, Default: "two"},
			changeling.Config{DropAfter: changeling.DropNow, Events: event.Lines(t.Output()), ChunkTime: 1})
		if broken != (err != nil) || broken && !strings.Contains(err.Error(), "duplicated") || hits == 0 {
			t.Errorf("with the mutant %v: %v (%d copies, %d questions for the size)", broken, err, n, hits)
		}
	}
}

// TestPartitionNameTakenLate: somebody takes a partition's name in the last moment. Nothing is swapped, and the change goes on when the name is free.
func TestPartitionNameTakenLate(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, parted("", 100)...)
	var once sync.Once
	config := quick
	config.BeforeCutover = func(context.Context, string) error {
		once.Do(func() { _, _ = db.Exec(`CREATE TABLE orders_eu (theirs int)`) }) // if it is missing the change does not fail
		return nil
	}
	if _, err := partitions(t.Context(), db, byRegion, config); err == nil || !strings.Contains(err.Error(), "orders_eu") || !strings.Contains(err.Error(), "already exists") || !strings.Contains(err.Error(), "The source is untouched") {
		t.Errorf("with a name that is taken: %v", err)
	}
	if kind := ask[string](t, db, `SELECT relkind FROM pg_class WHERE oid = 'orders'::regclass`); kind != "r" {
		t.Errorf("the table is of kind %s", kind)
	}
	pgtest.Exec(t, db, `DROP TABLE orders_eu`)
	if _, err := partitions(t.Context(), db, byRegion, config); err != nil {
		t.Fatal(err)
	}
}

// TestPartitionMany: with as many partitions as there may be, three indexes and a foreign key, the table is not locked for long, at the swap nor at
// the one of the undo.
func TestPartitionMany(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE tenants (id int PRIMARY KEY)`, `INSERT INTO tenants SELECT generate_series(0, 9)`,
		`CREATE TABLE orders (id bigint PRIMARY KEY, tenant int REFERENCES tenants, note text)`, `CREATE INDEX ON orders (tenant)`, `CREATE INDEX ON orders (note)`,
		`INSERT INTO orders SELECT i, i % 10, 'n' || i FROM generate_series(1, 20000) i`)
	var told story
	config := changeling.Config{Fast: true, Events: event.Tee(told.tell, event.Lines(t.Output()))}
	c, err := partitions(t.Context(), db, changeling.Partitioning{Table: "orders", By: "hash (id)", Count: 200}, config)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `UPDATE orders SET note = 'new' WHERE id < 100`)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	told.count(func(e event.Event) bool {
		swap, ok := e.(event.CutoverTried)
		if ok && swap.Swapped {
			t.Logf("locked for %s", swap.Held)
		}
		return ok
	})
	if n := ask[int](t, db, `SELECT count(*) FROM orders WHERE note = 'new'`); n != 99 {
		t.Errorf("%d rows are new, want 99", n)
	}
}
