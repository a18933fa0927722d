package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// partitions makes the change from beginning to end, or goes on with one.
func partitions(ctx context.Context, db *sql.DB, b changeling.Partitioning, c changeling.Config) (*changeling.Change, error) {
	e, err := changeling.Open(ctx, db, c)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	change, p, err := e.Partition(ctx, b)
	if err == nil && change == nil {
		change, err = e.StartPlan(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return change, change.Run(ctx)
}

// parted is the table of these tests, partitioned by hand or not yet: %s is what stands behind its columns.
func parted(behind string, rows int, after ...string) []string {
	return slices.Concat([]string{
		`CREATE TABLE tenants (id int PRIMARY KEY)`,
		`INSERT INTO tenants SELECT generate_series(1, 10)`,
		`CREATE SEQUENCE orders_id_seq`,
		fmt.Sprintf(`CREATE TABLE orders (id bigint NOT NULL DEFAULT nextval('orders_id_seq'), region text NOT NULL, email text NOT NULL, amount int NOT NULL DEFAULT 7 CONSTRAINT orders_amount_check CHECK (amount >= 0),
  tenant int, note text, twice int GENERATED ALWAYS AS (amount * 2) STORED)%s`, behind),
		`ALTER SEQUENCE orders_id_seq OWNED BY orders.id`,
		`ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id, region)`,
		`ALTER TABLE orders ADD CONSTRAINT orders_email UNIQUE (email, region)`,
		`CREATE INDEX orders_tenant ON orders (tenant) WHERE tenant IS NOT NULL`,
		`CREATE INDEX orders_note ON orders (lower(note))`,
		`COMMENT ON COLUMN orders.amount IS 'in cents'`, `COMMENT ON TABLE orders IS 'all orders'`, `COMMENT ON INDEX orders_tenant IS 'of tenants'`, `COMMENT ON CONSTRAINT orders_email ON orders IS 'one each'`,
		`CREATE STATISTICS orders_stats ON region, tenant FROM orders`,
		`GRANT SELECT ON orders TO PUBLIC`,
	}, after, []string{
		`ALTER TABLE orders ADD CONSTRAINT orders_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants ON DELETE CASCADE`,
		`COMMENT ON CONSTRAINT orders_tenant_fkey ON orders IS 'whose'`,
		fmt.Sprintf(`INSERT INTO orders (region, email, amount, tenant, note) SELECT (ARRAY['eu', 'us', 'asia', 'rest'])[1 + i %% 4], 'e' || i, i, 1 + i %% 10, repeat('n', 100) FROM generate_series(1, %d) i`, rows),
		`CREATE TABLE items (id int PRIMARY KEY, "order" bigint NOT NULL, region text NOT NULL, CONSTRAINT items_order_fkey FOREIGN KEY ("order", region) REFERENCES orders ON DELETE CASCADE)`,
		`INSERT INTO items SELECT id, id, region FROM orders WHERE id <= 100`,
	})
}

var byRegion = changeling.Partitioning{Table: "orders", By: "list (region)", Partitions: []string{`orders_eu FOR VALUES IN ('eu')`, `"Orders Other" for values in ('us', 'asia')`}, Default: "orders_rest"}

// nativelyParted makes by hand what byRegion comes to.
var nativelyParted = []string{`CREATE TABLE orders_eu PARTITION OF orders FOR VALUES IN ('eu')`, `CREATE TABLE "Orders Other" PARTITION OF orders FOR VALUES IN ('us', 'asia')`, `CREATE TABLE orders_rest PARTITION OF orders DEFAULT`}

// partWrites is what users write between, or during: rows that go from one partition to another, too.
var partWrites = []string{
	`UPDATE orders SET amount = amount + 1000 WHERE id BETWEEN 1 AND 20`,
	`DELETE FROM orders WHERE id = 30`, // and an item with it
	`INSERT INTO orders (region, email, tenant) VALUES ('eu', 'new', 3)`,
	`UPDATE orders SET email = 'moved' WHERE id = 40`,
	`UPDATE orders SET region = 'mars' WHERE id BETWEEN 101 AND 110`,
	`UPDATE orders SET region = 'eu' WHERE id BETWEEN 111 AND 120`,
	`INSERT INTO items SELECT 1000, id, region FROM orders WHERE email = 'new'`,
}

// likeness is all of a database but the engine's own schema: definitions, also of partitions, and rows.
func likeness(t *testing.T, db *sql.DB) (out []string) {
	t.Helper()
	for _, query := range []string{
		`SELECT 'schema ' || nspname FROM pg_namespace WHERE ` + userSchema,
		`SELECT format('relation %s.%s %s options=%s identity=%s acl=%s comment=%s by=%s bound=%s', nspname, relname, relkind, reloptions, relreplident, relacl, obj_description(c.oid, 'pg_class'), pg_get_partkeydef(c.oid), pg_get_expr(relpartbound, c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind <> 't' AND ` + userSchema,
		`SELECT format('%s is a part of %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + userSchema,
		`SELECT format('column %s.%s.%s %s %s null=%s default=%s identity=%s storage=%s target=%s comment=%s acl=%s local=%s/%s', nspname, relname, attname, attnum, format_type(atttypid, atttypmod), NOT attnotnull, pg_get_expr(adbin, adrelid), attidentity, attstorage,
  nullif(attstattarget, -1), col_description(c.oid, attnum), attacl, attislocal, attinhcount)
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
  WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p') AND ` + userSchema,
		`SELECT format('index %s valid=%s', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + userSchema,
		`SELECT format('constraint %s on %s: %s valid=%s inherited=%s/%s comment=%s', conname, conrelid::regclass, pg_get_constraintdef(k.oid), convalidated, conislocal, coninhcount, obj_description(k.oid, 'pg_constraint'))
  FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE (contype <> 'f' OR conparentid = 0) AND ` + userSchema,
		// Before PostgreSQL 18 VALIDATE leaves the clones of a key that refers to a partitioned table as they are, and no dump shows these.
		`SELECT format('foreign key %s on %s: %s', conname, conrelid::regclass, replace(pg_get_constraintdef(k.oid), ' NOT VALID', '')) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE contype = 'f' AND conparentid <> 0 AND ` + userSchema,
		`SELECT format('trigger %s on %s', pg_get_triggerdef(g.oid), tgrelid::regclass) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT tgisinternal AND ` + userSchema,
		`SELECT format('%s internal triggers on %s', count(*), tgrelid::regclass) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE tgisinternal AND tgname LIKE 'RI\_%' AND ` + userSchema + ` GROUP BY tgrelid`,
		`SELECT format('statistics %s', pg_get_statisticsobjdef(oid)) FROM pg_statistic_ext`,
		`SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ` + userSchema,
		`SELECT format('sequence %s of %s.%s', objid::regclass, refobjid::regclass, refobjsubid) FROM pg_depend JOIN pg_class c ON c.oid = objid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE deptype IN ('a', 'i') AND relkind = 'S' AND ` + userSchema,
		`SELECT format('order in %s: %s', tableoid::regclass, o) FROM orders o`,
		`SELECT 'item ' || i::text FROM items i`,
	} {
		out = append(out, sorted(t, db, query)...)
	}
	return out
}

// TestPartition makes a plain table partitioned: it is what a script by hand makes of it. Its undo leads back to the plain table.
func TestPartition(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(parted(" PARTITION BY LIST (region)", 400, nativelyParted...), partWrites)...)
	want := likeness(t, native)
	plain := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, plain, slices.Concat(parted("", 400), partWrites, partWrites[:1])...)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, parted("", 400)...)
	var once bool
	config := changeling.Config{Fast: true, Events: upon(event.Lines(t.Output()), began("drain"), func() {
		once = true
		pgtest.Exec(t, db, partWrites...)
	})}
	change, err := partitions(t.Context(), db, byRegion, config)
	if err != nil {
		t.Fatal(err)
	}
	if !once {
		t.Error("nothing was written meanwhile")
	}
	sameAs(t, theirs(t, db), want, "after the change")
	again, err := partitions(t.Context(), db, byRegion, config)
	if err != nil || again.ID() != change.ID() {
		t.Errorf("the same again: %v", err)
	}
	undoneAndAgain(t, db, change, plain, native, func() error {
		_, err := partitions(t.Context(), db, byRegion, quick)
		return err
	})
}

// theirs is the likeness without what is ours while an undo is possible.
func theirs(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return slices.DeleteFunc(likeness(t, db), func(line string) bool {
		return strings.Contains(line, "changeling_") || strings.Contains(line, "Changeling_")
	})
}

// undoneAndAgain takes a change back, which leaves what is in before, and makes it again, which leaves what is in after.
func undoneAndAgain(t *testing.T, db *sql.DB, change *changeling.Change, before, after *sql.DB, again func() error) {
	t.Helper()
	stands(t, change, "done", "open")
	pgtest.Exec(t, db, partWrites[0])
	if err := change.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, change, "undone", "")
	if dropped, err := change.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
		t.Fatal(dropped, err)
	}
	sameAs(t, likeness(t, db), likeness(t, before), "after the undo")
	if err := again(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, after, partWrites[0])
	sameAs(t, likeness(t, db), likeness(t, after), "after the change was made again")
}

// TestPartitionLedger partitions a table under writers that keep a ledger, and takes it back: no write is lost. Keys change, so rows move between partitions.
func TestPartitionLedger(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]changeling.Partitioning{
		"hash":  {Table: "accounts", By: "hash (id)", Count: 4},
		"range": {Table: "accounts", By: "range (id)", Partitions: []string{"low FOR VALUES FROM (MINVALUE) TO (10000)", "mid FOR VALUES FROM (10000) TO (20010)", "high FOR VALUES FROM (20010) TO (MAXVALUE)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 600})
			pgtest.Exec(t, s.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
			ledgerThereAndBack(t, s, kindOf, "r", "p", func() (*changeling.Change, error) { return partitions(t.Context(), s.db, b, s.config) })
		})
	}
}

// ledgerThereAndBack makes a change of accounts under writers that keep a ledger, and takes it back: no write is lost. look is what the table is, before and
// afterwards.
func ledgerThereAndBack(t *testing.T, s *stage, look, before, after string, do func() (*changeling.Change, error)) {
	t.Helper()
	stop := s.write()
	s.pause(200 * time.Millisecond)
	c, err := do()
	if err != nil {
		t.Fatal(err)
	}
	s.pause(500 * time.Millisecond)
	t.Logf("%s; users: %s", s.figures(), s.ledger.Lap())
	if got := ask[string](t, s.db, look); got != after {
		t.Errorf("after the change the table is %s", got)
	}
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	s.pause(300 * time.Millisecond)
	stop()
	s.untouched()
	if got := ask[string](t, s.db, look); got != before {
		t.Errorf("after the undo the table is %s", got)
	}
	t.Logf("%s; users: %s", s.figures(), s.ledger.Stats())
}

// kindOf is the kind of the relation that is called accounts.
const kindOf = `SELECT relkind::text FROM pg_class WHERE oid = 'accounts'::regclass`

// TestPartitionDiesAtEveryStatement kills the change before and after its statements, lets users write, and makes it again.
func TestPartitionDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(parted(" PARTITION BY LIST (region)", 200, nativelyParted...), partWrites)...)
	act := func(ctx context.Context, db *sql.DB) error {
		_, err := partitions(ctx, db, byRegion, quick)
		return err
	}
	mortal{setup: parted("", 200), act: act, look: likeness, want: likeness(t, native), stream: 31, writes: partWrites}.test(t)
}

// TestPartitionDiesInAnUndo kills the undo likewise.
func TestPartitionDiesInAnUndo(t *testing.T) {
	t.Parallel()
	plain := parted("", 200)
	diesInAnUndo(t, likeness, plain, plain, partitioned(byRegion), partWrites, 32)
}

// partitioned is a change that can be undone.
func partitioned(b changeling.Partitioning) func(context.Context, *sql.DB) (*changeling.Change, error) {
	return func(ctx context.Context, db *sql.DB) (*changeling.Change, error) {
		return partitions(ctx, db, b, changeling.Config{Fast: true})
	}
}

// TestPartitionMisfits: a row that a user writes while the change runs, and that fits no partition, fails for nobody, and stops the change, which
// names it, wherever it is by then. Given another value, the change goes on.
func TestPartitionMisfits(t *testing.T) {
	t.Parallel()
	b := changeling.Partitioning{Table: "orders", By: "list (region)", Partitions: []string{`orders_eu FOR VALUES IN ('eu')`, `orders_other FOR VALUES IN ('us', 'asia', 'rest')`}}
	const misfit = `UPDATE orders SET region = 'mars' WHERE id = 177`
	for name, c := range map[string]struct {
		at      func(event.Event) bool
		ignore  bool
		allowed bool
		locked  bool
	}{
		"during the copy":     {at: began("copy")},
		"before the drain":    {at: began("drain")},
		"before the cutover":  {at: began("cutover")},
		"while both are kept": {allowed: true},
		"under the lock":      {locked: true, ignore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, parted("", 400)...)
			var once sync.Once
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if c.locked && locking(x.Text) {
					once.Do(func() { _, _ = db.Exec(misfit) }) // what is missing then is missed below
				}
				return x.Text
			})
			act := func() { once.Do(func() { pgtest.Exec(t, db, misfit) }) }
			config := changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}
			if c.at != nil {
				config.Events = upon(config.Events, c.at, act)
			}
			if c.ignore {
				config.Snapshots = changeling.SnapshotsIgnore
			}
			if c.allowed {
				config.BeforeCutover = func(context.Context, string) error { act(); return nil }
			}
			_, err := partitions(t.Context(), pool, b, config)
			if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "mars") || !strings.Contains(err.Error(), "changeling abort") || !strings.Contains(err.Error(), "no partition") {
				t.Fatalf("the change with a row that fits none = %v", err)
			}
			if _, err := partitions(t.Context(), pool, b, config); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 177") || !strings.Contains(err.Error(), `region "mars"`) {
				t.Errorf("the same again = %v", err)
			}
			pgtest.Exec(t, db, `UPDATE orders SET region = 'eu' WHERE id = 177`)
			if _, err := partitions(t.Context(), pool, b, config); err != nil {
				t.Fatal(err)
			}
			if n := ask[string](t, db, `SELECT string_agg(tableoid::regclass || ' ' || n, ', ' ORDER BY n) FROM (SELECT tableoid, count(*) AS n FROM orders GROUP BY 1) x`); n != "orders_eu 101, orders_other 299" {
				t.Errorf("the partitions have %s", n)
			}
		})
	}
}
