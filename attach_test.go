package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// asPart makes the table of the tests the partition of what is there.
var asPart = changeling.Partitioning{Table: "orders", By: "list (region)", Attach: `orders_old FOR VALUES IN ('eu', 'us', 'asia', 'rest')`, Partitions: []string{`"Orders Mars" FOR VALUES IN ('mars')`}, Default: "orders_rest"}

// attachedByHand is what a script does for that in one transaction, while nobody can use the table.
var attachedByHand = slices.Concat([]string{
	`ALTER TABLE items DROP CONSTRAINT items_order_fkey`, `ALTER TABLE orders RENAME TO orders_old`, `ALTER INDEX orders_pkey RENAME TO orders_old_pkey`, `ALTER INDEX orders_email RENAME TO orders_old_email`,
	`ALTER INDEX orders_tenant RENAME TO orders_old_tenant`, `ALTER INDEX orders_note RENAME TO orders_old_note`, `ALTER STATISTICS orders_stats RENAME TO orders_old_stats`,
}, parted(" PARTITION BY LIST (region)", 0)[3:15], []string{
	`ALTER TABLE orders ATTACH PARTITION orders_old FOR VALUES IN ('eu', 'us', 'asia', 'rest')`, `CREATE TABLE "Orders Mars" PARTITION OF orders FOR VALUES IN ('mars')`, `CREATE TABLE orders_rest PARTITION OF orders DEFAULT`,
	`ALTER TABLE orders ADD CONSTRAINT orders_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants ON DELETE CASCADE`, `COMMENT ON CONSTRAINT orders_tenant_fkey ON orders IS 'whose'`,
	`ALTER TABLE items ADD CONSTRAINT items_order_fkey FOREIGN KEY ("order", region) REFERENCES orders ON DELETE CASCADE`,
})

// fitting is what users write of partWrites that fits the one partition.
var fitting = slices.Concat(partWrites[:4], partWrites[5:])

// TestAttach makes a table a partition of a partitioned one: it is what a script by hand makes of it. Its undo leads back, as long as no row is elsewhere.
func TestAttach(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(parted("", 400), fitting, attachedByHand, partWrites[4:5])...)
	plain := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, plain, slices.Concat(parted("", 400), fitting, []string{`UPDATE orders SET region = 'us' WHERE id BETWEEN 101 AND 110`})...)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, parted("", 400)...)
	file := ask[int64](t, db, `SELECT pg_relation_filenode('orders')`)
	var once bool
	change, err := partitions(t.Context(), db, asPart, changeling.Config{Fast: true, Events: upon(event.Lines(t.Output()), began("aside"), func() {
		once = true
		pgtest.Exec(t, db, fitting...)
	})})
	if err != nil {
		t.Fatal(err)
	}
	if now := ask[int64](t, db, `SELECT pg_relation_filenode('orders_old')`); now != file || !once {
		t.Errorf("the rows were in file %d and are in %d; users wrote: %v", file, now, once)
	}
	pgtest.Exec(t, db, partWrites[4])
	sameAs(t, likeness(t, db), renamed(t, native), "after the change")
	again, err := partitions(t.Context(), db, asPart, changeling.Config{Fast: true})
	if err != nil || again.ID() != change.ID() {
		t.Errorf("the same again: %v", err)
	}
	stands(t, change, "done", "open")
	if err := change.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), " has rows, which the table would not have") || !strings.Contains(err.Error(), "--none") {
		t.Errorf("Undo with a row in another partition = %v", err)
	}
	stands(t, change, "done", "open")
	sameAs(t, likeness(t, db), renamed(t, native), "after the undo that was refused")
	pgtest.Exec(t, db, `UPDATE orders SET region = 'us' WHERE region = 'mars'`)
	if err := change.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, change, "undone", "")
	sameAs(t, likeness(t, db), likeness(t, plain), "after the undo")
	if _, err := partitions(t.Context(), db, asPart, quick); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, native, `UPDATE orders SET region = 'us' WHERE region = 'mars'`)
	sameAs(t, likeness(t, db), renamed(t, native), "after the change was made again")
}

// renamed is the likeness of what the script made, which gives from PostgreSQL 18 on the NOT NULLs of the partitioned table other names.
func renamed(t *testing.T, db *sql.DB) []string {
	t.Helper()
	out := likeness(t, db)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "_not_null1 ", "_not_null ")
	}
	return out
}

// TestAttachLedger does it under writers that keep a ledger, and takes it back: no write is lost, and none fails.
func TestAttachLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 600})
	pgtest.Exec(t, s.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
	ledgerThereAndBack(t, s, kindOf, "r", "p", func() (*changeling.Change, error) {
		return partitions(t.Context(), s.db, changeling.Partitioning{Table: "accounts", By: "range (id)", Attach: "accounts_1 FOR VALUES FROM (MINVALUE) TO (1000000000000)",
			Partitions: []string{"accounts_2 FOR VALUES FROM (1000000000000) TO (MAXVALUE)"}}, s.config)
	})
}

// TestAttachDiesAtEveryStatement kills the change before and after its statements, lets users write, and makes it again.
func TestAttachDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(parted("", 200), fitting, attachedByHand)...)
	act := func(ctx context.Context, db *sql.DB) error {
		_, err := partitions(ctx, db, asPart, quick)
		return err
	}
	mortal{setup: parted("", 200), act: act, look: likeness, want: renamed(t, native), stream: 37, writes: fitting}.test(t)
}

// TestAttachDiesInAnUndo kills the undo likewise.
func TestAttachDiesInAnUndo(t *testing.T) {
	t.Parallel()
	diesInAnUndo(t, likeness, parted("", 200), parted("", 200), partitioned(asPart), fitting, 38)
}

// TestAttachReadsNothing: under the lock of the attachment no row is read; without the check that was validated, all are.
func TestAttachReadsNothing(t *testing.T) {
	t.Parallel()
	drop := regexp.MustCompile(`ALTER TABLE "public"\."orders_old" DROP CONSTRAINT "changeling_[0-9a-f]+_1"`)
	const attach, reads = `ALTER TABLE "public"."orders" ATTACH PARTITION "public"."orders_old"`, `pg_catalog.pg_stat_get_xact_numscans('public.orders_old'::pg_catalog.regclass)` // with those of the session's last second
	for name, rewrite := range map[string]func(string) string{
		"":                           func(x string) string { return x },
		"the check is not made":      replaced(`ADD CONSTRAINT ("changeling_[0-9a-f]+_1") CHECK .* NOT VALID`, `ADD CONSTRAINT $1 CHECK (amount >= 0) NOT VALID`),
		"the check is not validated": replaced(`ALTER TABLE "public"\."orders" VALIDATE CONSTRAINT "changeling_[0-9a-f]+_1"`, `SELECT`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, parted("", 400)...)
			var mu sync.Mutex
			dropped, hits := 0, 0
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				mu.Lock()
				defer mu.Unlock()
				out := rewrite(x.Text)
				if out != x.Text {
					hits++
				}
				out = strings.ReplaceAll(out, attach, `DO $x$ BEGIN PERFORM pg_catalog.set_config('x.before', `+reads+`::text, true); END $x$; `+attach)
				if drop.MatchString(out) && strings.Contains(strings.Join(x.Before, ";")+out, attach) {
					dropped++
					out = drop.ReplaceAllStringFunc(out, func(x string) string {
						return `DO $x$ BEGIN IF ` + reads + ` > pg_catalog.current_setting('x.before')::bigint THEN RAISE EXCEPTION 'the rows were read'; END IF; END $x$; ` + x
					})
				}
				return out
			})
			_, err := partitions(t.Context(), pool, asPart, quick)
			if read := err != nil && strings.Contains(err.Error(), "the rows were read"); read != (name != "") || err != nil && !read || dropped == 0 || name != "" && hits == 0 {
				t.Errorf("attached: %v; %d statements of the mutant, %d times looked", err, hits, dropped)
			}
		})
	}
}

// TestAttachDisturbed: what somebody puts on the table meanwhile would be on the partition alone, or fail: nothing is attached, and an abort takes the
// check off again. Likewise for what is done before an undo.
func TestAttachDisturbed(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]string{
		"index":   `CREATE INDEX ON orders (amount)`,
		"check":   `ALTER TABLE orders ADD CHECK (amount < 1000000)`,
		"column":  `ALTER TABLE orders ADD COLUMN more int`,
		"default": `ALTER TABLE orders ALTER amount SET DEFAULT 8`,
		"right":   `GRANT UPDATE ON orders TO PUBLIC`,
		"view":    `CREATE VIEW v AS SELECT id FROM orders`,
		"child":   `CREATE TABLE c ("order" bigint, region text, FOREIGN KEY ("order", region) REFERENCES orders)`,
		"name":    `CREATE TABLE orders_old ()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, parted("", 100)...)
			var once sync.Once
			change, err := partitions(t.Context(), db, asPart, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began("aside"), func() { once.Do(func() { pgtest.Exec(t, db, act) }) })})
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "Nothing was") {
				t.Fatalf("the change = %v", err)
			}
			if err := change.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := ask[string](t, db, `SELECT relkind::text || ' ' || (SELECT count(*) FROM pg_constraint WHERE conname LIKE 'changeling%') FROM pg_class WHERE oid = 'orders'::regclass`); got != "r 0" {
				t.Errorf("after the abort it is %s", got)
			}
		})
		t.Run(name+" before an undo", func(t *testing.T) {
			t.Parallel()
			if name == "name" {
				return
			}
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, parted("", 100)...)
			change, err := partitions(t.Context(), db, asPart, changeling.Config{Fast: true})
			if err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, db, act)
			want := likeness(t, db)
			if err := change.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "somebody altered") {
				t.Errorf("Undo = %v", err)
			}
			sameAs(t, likeness(t, db), want, "after the undo that was refused")
		})
	}
}
