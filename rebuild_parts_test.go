package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// bloated are statements after which the partitions of the tests' table are larger than their rows.
var bloated = []string{`INSERT INTO orders (region, email, note) SELECT (ARRAY['eu', 'us', 'asia', 'rest'])[1 + i % 4], 'more' || i, repeat('n', 300) FROM generate_series(1, 20000) i`,
	`DELETE FROM orders WHERE email LIKE 'more%' AND id % 20 <> 0`}

// TestRebuildParts writes a bloated partitioned table anew, with all that hangs on it: it has the definition and the rows that it had, every partition
// is smaller, and it can be rebuilt again.
func TestRebuildParts(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, slices.Concat(inParts(200), hungOnParts, bloated)...)
	want := hangingOnParts(t, db)
	sizes := `SELECT format('%s %s', c.oid::regclass, pg_relation_filenode(c.oid)) FROM pg_class c WHERE relispartition AND relkind = 'r'`
	bytes := `SELECT max(pg_relation_size(c.oid))::int FROM pg_class c WHERE relispartition AND relkind = 'r'`
	before, files := ask[int](t, db, bytes), sorted(t, db, sizes)
	for range 2 {
		if err := rebuilds(t.Context(), db, changeling.Rebuild{Table: "orders"}, quick); err != nil {
			t.Fatal(err)
		}
		sameAs(t, hangingOnParts(t, db), want, "after a rebuild")
		now := sorted(t, db, sizes)
		for _, f := range now {
			if slices.Contains(files, f) {
				t.Errorf("%s was not written anew", f)
			}
		}
		if after := ask[int](t, db, bytes); after > before/5 {
			t.Errorf("the largest partition has %d bytes, it had %d", after, before)
		}
		files = now
	}
	for _, c := range []struct {
		b    changeling.Rebuild
		says string
	}{
		{changeling.Rebuild{Table: "orders_eu"}, "is a partition of"},
		{changeling.Rebuild{Table: "orders", OrderBy: "orders_tenant"}, "only a key gives an order"},
	} {
		if err := rebuilds(t.Context(), db, c.b, quick); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("rebuild of %+v = %v, want a refusal that says %q", c.b, err, c.says)
		}
	}
	sameAs(t, hangingOnParts(t, db), want, "after what was refused")
}

// TestRebuildPartsDiesAtEveryStatement kills it before and after its statements, lets users write, and rebuilds again.
func TestRebuildPartsDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	setup := slices.Concat(inParts(200), hungOnParts)
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(setup, partWrites)...)
	act := func(ctx context.Context, db *sql.DB) error {
		return rebuilds(ctx, db, changeling.Rebuild{Table: "orders", OrderBy: "orders_email"}, quick)
	}
	mortal{setup: setup, act: act, look: hangingOnParts, want: hangingOnParts(t, native), stream: 45, part: 8, writes: partWrites}.test(t)
}

// TestRebuildPartsLedger rebuilds a partitioned table in the order of its key under writers that keep a ledger: no write is lost. Keys change, so rows
// move between partitions.
func TestRebuildPartsLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 600})
	pgtest.Exec(t, s.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
	if _, err := partitions(t.Context(), s.db, changeling.Partitioning{Table: "accounts", By: "range (id)",
		Partitions: []string{"low FOR VALUES FROM (MINVALUE) TO (10000)", "mid FOR VALUES FROM (10000) TO (20010)", "high FOR VALUES FROM (20010) TO (MAXVALUE)"}}, quick); err != nil {
		t.Fatal(err)
	}
	stop := s.write()
	s.pause(200 * time.Millisecond)
	for _, order := range []string{"", "accounts_pkey"} {
		if err := rebuilds(t.Context(), s.db, changeling.Rebuild{Table: "accounts", OrderBy: order}, s.config); err != nil {
			t.Fatal(err)
		}
		s.pause(300 * time.Millisecond)
	}
	stop()
	s.untouched()
	t.Logf("%s; users: %s", s.figures(), s.ledger.Stats())
}

// TestRebuildPartsInOrder: the rows of each partition stand in the order of the index, but for ranges that two workers write in turns.
func TestRebuildPartsInOrder(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE events (id bigint PRIMARY KEY, note text) PARTITION BY HASH (id)`, `CREATE TABLE e0 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0)`,
		`CREATE TABLE e1 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1)`, `INSERT INTO events SELECT i, repeat('n', 50) FROM generate_series(1, 20000) i ORDER BY md5(i::text)`)
	if n := disorder(t, db, "e0"); n < 1000 {
		t.Fatalf("%d rows are out of order as it is", n)
	}
	if err := rebuilds(t.Context(), db, changeling.Rebuild{Table: "events", OrderBy: "events_pkey"}, quick); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"e0", "e1"} {
		if n := disorder(t, db, part); n > 250 {
			t.Errorf("%d rows of %s are out of order", n, part)
		}
	}
}
