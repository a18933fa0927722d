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

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// anew is a statement for which the server writes all partitions anew.
const anew = `ALTER TABLE orders ALTER tenant TYPE bigint, ALTER note TYPE varchar(200)`

// ownParts are what partitions of the tests' table have of their own.
var ownParts = []string{`CREATE INDEX eu_note ON orders_eu (note) WITH (fillfactor = 60)`, `CREATE UNIQUE INDEX rest_email ON orders_rest (email)`, `COMMENT ON TABLE orders_eu IS 'of Europe'`, `COMMENT ON INDEX eu_note IS 'for them'`,
	`GRANT SELECT ON orders_eu TO PUBLIC`, `ALTER TABLE orders_rest SET (fillfactor = 70)`, `CREATE STATISTICS eu_stats ON tenant, amount FROM orders_eu`, `ALTER TABLE "Orders Other" REPLICA IDENTITY FULL`}

// inParts is the tests' table, partitioned, with rows.
func inParts(rows int) []string {
	return slices.Concat(parted(" PARTITION BY LIST (region)", rows, nativelyParted...), ownParts)
}

// TestKeptParts writes a partitioned table anew: it is what the server's own ALTER TABLE makes of it, partition by partition. Its undo leads back.
func TestKeptParts(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(inParts(400), partWrites, []string{anew})...)
	before := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, before, slices.Concat(inParts(400), partWrites, partWrites[:1])...)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, inParts(400)...)
	var once bool
	change := made(t, db, anew, changeling.Config{Fast: true, Events: upon(event.Lines(t.Output()), began("drain"), func() {
		once = true
		pgtest.Exec(t, db, partWrites...)
	})})
	if !once {
		t.Error("nothing was written meanwhile")
	}
	sameAs(t, theirs(t, db), likeness(t, native), "after the change")
	if err := changeling.Apply(t.Context(), db, anew, quick); err != nil || ask[int](t, db, `SELECT count(*) FROM changeling.change`) != 1 {
		t.Errorf("the same again: %v", err)
	}
	undoneAndAgain(t, db, change, before, native, func() error {
		made(t, db, anew, quick)
		return nil
	})
}

// TestKeptPartsLedger does it under writers that keep a ledger, and takes it back: no write is lost. Keys change, so rows move between partitions.
func TestKeptPartsLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 600})
	pgtest.Exec(t, s.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
	if _, err := partitions(t.Context(), s.db, changeling.Partitioning{Table: "accounts", By: "range (id)",
		Partitions: []string{"low FOR VALUES FROM (MINVALUE) TO (10000)", "mid FOR VALUES FROM (10000) TO (20010)", "high FOR VALUES FROM (20010) TO (MAXVALUE)"}}, quick); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, s.db, `CREATE UNIQUE INDEX ON high (email)`)
	typ := `SELECT relkind::text || ' ' || (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'mid'::regclass AND attname = 'amount') FROM pg_class WHERE oid = 'accounts'::regclass`
	ledgerThereAndBack(t, s, typ, "p integer", "p bigint", func() (*changeling.Change, error) { return made(t, s.db, widen, s.config), nil })
}

// TestKeptPartsDiesAtEveryStatement kills the change before and after its statements, lets users write, and makes it again.
func TestKeptPartsDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(inParts(200), partWrites, []string{anew})...)
	mortal{setup: inParts(200), act: applying(anew), look: likeness, want: likeness(t, native), stream: 35, part: 8, writes: partWrites}.test(t)
}

// TestKeptPartsDiesInAnUndo kills the undo likewise.
func TestKeptPartsDiesInAnUndo(t *testing.T) {
	t.Parallel()
	diesInAnUndo(t, likeness, inParts(200), inParts(200), func(ctx context.Context, db *sql.DB) (*changeling.Change, error) {
		e, err := changeling.Open(ctx, db, changeling.Config{Fast: true})
		if err != nil {
			return nil, err
		}
		defer e.Close()
		c, err := e.Start(ctx, anew)
		if err != nil {
			return nil, err
		}
		return c, c.Run(ctx)
	}, partWrites, 36)
}

// TestKeptPartsAltered: where partitions come or go while the change runs, it stops and says so, nothing is swapped, and an abort leaves the table as
// it is.
func TestKeptPartsAltered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  []string
		says string
	}{
		"added":    {[]string{`CREATE TABLE orders_more PARTITION OF orders FOR VALUES IN ('moon')`}, "by somebody"},
		"detached": {detached, "a partition was attached, detached or dropped"},
		"index":    {[]string{`CREATE INDEX ON orders_rest (amount)`}, "was altered by somebody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, inParts(400)...)
			var once sync.Once
			e, err := changeling.Open(t.Context(), db, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began("cutover"), func() { once.Do(func() { pgtest.Exec(t, db, c.act...) }) })})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			change, err := e.Start(t.Context(), anew)
			if err != nil {
				t.Fatal(err)
			}
			if err := change.Run(t.Context()); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "Nothing was swapped") {
				t.Fatalf("the change = %v, want a refusal that says %q", err, c.says)
			}
			want := likeness(t, db)
			if err := change.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			ours := func(line string) bool { return strings.Contains(line, "changeling_") }
			sameAs(t, likeness(t, db), slices.DeleteFunc(want, ours), "after the abort")
		})
	}
}

// TestKeptPartsMutants: what users do to partitions while they are copied is in the new ones; each mutant loses some of it, which the comparison
// notices.
func TestKeptPartsMutants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		writes string
		by     broken
	}{
		{"truncated", whole}, {"all truncated", whole}, {"rewritten", whole}, {"rows that moved", whole}, {"by themselves", whole},
		{"rewritten", broken{"files of partitions are not looked at", replaced(`(?s)\(SELECT coalesce\(pg_catalog\.hashtextextended\(.*?regclass\)`, `1::bigint`)}},
		{"rows that moved", broken{"nobody logs what goes from a partition to another", replaced(`ALTER TABLE "public"\."leaf_0" ENABLE ALWAYS TRIGGER "changeling_[0-9a-f]+"`, `ALTER TABLE "public"."leaf_0" DISABLE TRIGGER USER`)}},
	} {
		t.Run(strings.TrimSuffix(c.writes+", "+c.by.what, ", "), func(t *testing.T) {
			t.Parallel()
			whileCopied(t, c.writes, c.by, func(ctx context.Context, db *sql.DB, config changeling.Config) error {
				return changeling.Apply(ctx, db, `ALTER TABLE leaves ALTER note TYPE varchar(400)`, config)
			})
		})
	}
}

// TestKeptPartsMany: with as many partitions as there may be, three indexes, a foreign key and what hangs on each of them, the table is not locked for long.
func TestKeptPartsMany(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE tenants (id int PRIMARY KEY)`, `INSERT INTO tenants SELECT generate_series(0, 9)`,
		`CREATE TABLE orders (id bigint PRIMARY KEY, tenant int REFERENCES tenants, note text) PARTITION BY HASH (id)`, `CREATE INDEX ON orders (tenant)`, `CREATE INDEX ON orders (note)`,
		`DO $$ BEGIN FOR i IN 0..199 LOOP EXECUTE format('CREATE TABLE orders_%s PARTITION OF orders FOR VALUES WITH (MODULUS 200, REMAINDER %s)', i, i); END LOOP; END $$`,
		`CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`, `CREATE TRIGGER touched AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched()`, `CREATE PUBLICATION news FOR TABLE orders`,
		`DO $$ BEGIN FOR i IN 0..199 LOOP EXECUTE format('CREATE TRIGGER own AFTER INSERT ON orders_%s FOR EACH ROW EXECUTE FUNCTION touched()', i); EXECUTE format('ALTER TABLE orders_%s DISABLE TRIGGER touched', i);
  EXECUTE format('CREATE VIEW of_%s AS SELECT id FROM orders_%s', i, i); EXECUTE format('CREATE PUBLICATION news_%s FOR TABLE orders_%s', i, i); EXECUTE format('CREATE POLICY mine ON orders_%s USING (id > 0)', i); END LOOP; END $$`,
		`INSERT INTO orders SELECT i, i % 10, 'n' || i FROM generate_series(1, 20000) i`)
	var told story
	c := made(t, db, `ALTER TABLE orders ALTER note TYPE varchar(50)`, changeling.Config{Fast: true, Events: event.Tee(told.tell, event.Lines(t.Output()))})
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
	if got := ask[string](t, db, `SELECT format('%s new of %s', count(*) FILTER (WHERE note = 'new'), count(*)) FROM orders`); got != fmt.Sprintf("%d new of %d", 99, 20000) {
		t.Errorf("%s", got)
	}
}
