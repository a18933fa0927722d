package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/schema"
)

// toPlain is the way back from byRegion.
var toPlain = changeling.Partitioning{Table: "orders", None: true}

// TestUnpartition makes a partitioned table plain: it is what it would be, had it always been plain. Its undo leads back to the partitioned one.
func TestUnpartition(t *testing.T) {
	t.Parallel()
	plain := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, plain, slices.Concat(parted("", 400), partWrites)...)
	want := likeness(t, plain)
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(parted(" PARTITION BY LIST (region)", 400, nativelyParted...), partWrites, partWrites[:1])...)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, parted(" PARTITION BY LIST (region)", 400, nativelyParted...)...)
	var once bool
	config := changeling.Config{Fast: true, Events: upon(event.Lines(t.Output()), began("drain"), func() {
		once = true
		pgtest.Exec(t, db, partWrites...)
	})}
	change, err := partitions(t.Context(), db, toPlain, config)
	if err != nil {
		t.Fatal(err)
	}
	if !once {
		t.Error("nothing was written meanwhile")
	}
	sameAs(t, theirs(t, db), want, "after the change")
	again, err := partitions(t.Context(), db, toPlain, config)
	if err != nil || again.ID() != change.ID() {
		t.Errorf("the same again: %v", err)
	}
	undoneAndAgain(t, db, change, native, plain, func() error {
		_, err := partitions(t.Context(), db, toPlain, quick)
		return err
	})
}

// TestUnpartitionLedger makes a partitioned table plain under writers that keep a ledger, and takes it back: no write is lost. Keys change, so rows
// move between partitions.
func TestUnpartitionLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 600})
	pgtest.Exec(t, s.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
	if _, err := partitions(t.Context(), s.db, changeling.Partitioning{Table: "accounts", By: "range (id)",
		Partitions: []string{"low FOR VALUES FROM (MINVALUE) TO (10000)", "mid FOR VALUES FROM (10000) TO (20010)", "high FOR VALUES FROM (20010) TO (MAXVALUE)"}}, quick); err != nil {
		t.Fatal(err)
	}
	ledgerThereAndBack(t, s, kindOf, "p", "r", func() (*changeling.Change, error) {
		return partitions(t.Context(), s.db, changeling.Partitioning{Table: "accounts", None: true}, s.config)
	})
}

// TestUnpartitionDiesAtEveryStatement kills the change before and after its statements, lets users write, and makes it again.
func TestUnpartitionDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	plain := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, plain, slices.Concat(parted("", 200), partWrites)...)
	act := func(ctx context.Context, db *sql.DB) error {
		_, err := partitions(ctx, db, toPlain, quick)
		return err
	}
	mortal{setup: parted(" PARTITION BY LIST (region)", 200, nativelyParted...), act: act, look: likeness, want: likeness(t, plain), stream: 33, writes: partWrites}.test(t)
}

// TestUnpartitionDiesInAnUndo kills the undo likewise.
func TestUnpartitionDiesInAnUndo(t *testing.T) {
	t.Parallel()
	native := parted(" PARTITION BY LIST (region)", 200, nativelyParted...)
	diesInAnUndo(t, likeness, native, native, partitioned(toPlain), partWrites, 34)
}

// detached is a partition that went and came again, and what was written to it in between no trigger saw.
var detached = []string{`ALTER TABLE items DROP CONSTRAINT items_order_fkey`, `ALTER TABLE orders DETACH PARTITION orders_eu`, `UPDATE orders_eu SET amount = 0 WHERE id = 200`,
	`ALTER TABLE orders ATTACH PARTITION orders_eu FOR VALUES IN ('eu')`, `ALTER TABLE items ADD CONSTRAINT items_order_fkey FOREIGN KEY ("order", region) REFERENCES orders ON DELETE CASCADE`}

// TestUnpartitionAltered: where partitions come or go, or are altered, while the change runs, it stops and says so, nothing is swapped, and an abort
// leaves the table as it is.
func TestUnpartitionAltered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  []string
		says string
	}{
		"added":    {[]string{`CREATE TABLE orders_more PARTITION OF orders FOR VALUES IN ('moon')`}, "by somebody"},
		"dropped":  {append(slices.Clone(detached[:1]), `DROP TABLE orders_eu`), "by somebody"},
		"detached": {detached, "a partition was attached, detached or dropped"},
		"trigger":  {[]string{`CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, `CREATE TRIGGER mine BEFORE INSERT ON orders_eu FOR EACH ROW EXECUTE FUNCTION mine()`}, "was altered by somebody"},
		"view":     {[]string{`CREATE VIEW europe AS SELECT id FROM orders_eu`}, "was altered by somebody"},
		"disabled": {[]string{`DO $$ DECLARE g text; BEGIN FOR g IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders_eu'::regclass AND tgname LIKE 'changeling%truncate' LOOP EXECUTE format('ALTER TABLE orders_eu DISABLE TRIGGER %I', g); END LOOP; END $$`}, "were disabled"},
	} {
		for at, match := range map[string]func(event.Event) bool{"copy": began("copy"), "drain": began("drain"), "cutover": began("cutover")} {
			t.Run(name+" at the "+at, func(t *testing.T) {
				t.Parallel()
				db := pgtest.Open(t, pgtest.Database(t))
				pgtest.Exec(t, db, parted(" PARTITION BY LIST (region)", 400, nativelyParted...)...)
				var once sync.Once
				config := changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), match, func() { once.Do(func() { pgtest.Exec(t, db, c.act...) }) })}
				change, err := partitions(t.Context(), db, toPlain, config)
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "Nothing was swapped") {
					t.Fatalf("the change = %v, want a refusal that says %q", err, c.says)
				}
				if err := change.Abort(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := ask[int](t, db, `SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%') + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling\__%')`); n != 0 {
					t.Errorf("%d triggers and schemas are left", n)
				}
				if kind := ask[string](t, db, `SELECT relkind FROM pg_class WHERE oid = 'orders'::regclass`); kind != "p" {
					t.Errorf("the table is of kind %s", kind)
				}
			})
		}
	}
}

// TestUnpartitionInPublishedSchema: a publication of the schema is nothing that a partition has of its own.
func TestUnpartitionInPublishedSchema(t *testing.T) {
	t.Parallel()
	if pgtest.Majors(t)[0] < 15 {
		return // there is none
	}
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, append(slices.Clone(leaves), `CREATE PUBLICATION here FOR TABLES IN SCHEMA public`)...)
	b := changeling.Partitioning{Table: "leaves", None: true}
	if _, err := partitions(t.Context(), db, b, quick); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "publish_via_partition_root") || strings.Contains(err.Error(), "of its own") {
		t.Errorf("the change = %v, want a refusal that says how partitions are to be published", err)
	}
	pgtest.Exec(t, db, `ALTER PUBLICATION here SET (publish_via_partition_root = true)`)
	if _, err := partitions(t.Context(), db, b, quick); err != nil {
		t.Error(err)
	}
}

// TestAttachedForAWhile: a partition that comes while a change waits for its cutover, is written to, and goes again, with its rows and without a
// trigger, leaves none of them in the table. The mutant does not look which partitions there are when it drains.
func TestAttachedForAWhile(t *testing.T) {
	t.Parallel()
	for name, rewrite := range map[string]func(string) string{"whole": whole.rewrite, "not looked at": replaced(`^SELECT true AND .*$`, `SELECT true`)} {
		for _, none := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, to a plain table: %v", name, none), func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.Database(t)
				db := pgtest.Open(t, dsn)
				pgtest.Exec(t, db, leaves...)
				var told story
				pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return rewrite(x.Text) })
				e, err := changeling.Open(t.Context(), pool, changeling.Config{Hold: true, DropAfter: changeling.DropNow, Events: event.Tee(told.tell, event.Lines(t.Output()))})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				p, err := e.Plan(t.Context(), `ALTER TABLE leaves ALTER note TYPE varchar(400)`)
				if none {
					_, p, err = e.Partition(t.Context(), changeling.Partitioning{Table: "leaves", None: true})
				}
				if err != nil {
					t.Fatal(err)
				}
				c, err := e.StartPlan(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				end := make(chan error, 1)
				go func() { end <- c.Run(t.Context()) }()
				if err := told.await(t.Context(), holding); err != nil {
					t.Fatal(err)
				}
				pgtest.Exec(t, db, `CREATE TABLE leaf_9 PARTITION OF leaves FOR VALUES IN (9)`, `INSERT INTO leaves VALUES (1, 9, 'n')`)
				if rewrite("SELECT true AND false") == "SELECT true" {
					for ask[int](t, db, `SELECT count(*)::int FROM `+p.Pair.Shadow.Schema+`.leaves WHERE part = 9`) == 0 {
						time.Sleep(10 * time.Millisecond)
					}
					for ask[int](t, db, `SELECT count(*)::int FROM `+p.Pair.Checks.Schema+`.`+p.Pair.Checks.Table) > 0 {
						time.Sleep(10 * time.Millisecond)
					}
					pgtest.Exec(t, db, `ALTER TABLE leaves DETACH PARTITION leaf_9`)
					if err := errors.Join(c.Cutover(t.Context()), <-end); err != nil || ask[int](t, db, `SELECT count(*)::int FROM leaves WHERE part = 9`) != 1 {
						t.Errorf("the mutant does no harm: %v", err)
					}
					return
				}
				if err := <-end; !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "a partition was attached") {
					t.Errorf("the change = %v, want a refusal that tells of the partition", err)
				}
			})
		}
	}
}

// TestAttachedBetween: neither does one that comes right before the keys are compared that users wrote to both tables, and goes right behind it.
func TestAttachedBetween(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, leaves...)
	var compared atomic.Int64
	pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		if strings.HasPrefix(x.Text, "WITH taken AS MATERIALIZED (DELETE") && strings.Contains(x.Text, "pg_current_xact_id()") && compared.Add(1) == 1 {
			pgtest.Exec(t, db, `CREATE TABLE leaf_9 PARTITION OF leaves FOR VALUES IN (9)`, `INSERT INTO leaves VALUES (1, 9, 'n')`)
		}
		if compared.Load() == 1 && strings.Contains(x.Text, "a.backend_xmin IS NOT NULL") {
			compared.Add(1)
			pgtest.Exec(t, db, `ALTER TABLE leaves DETACH PARTITION leaf_9`)
		}
		return x.Text
	})
	_, err := partitions(t.Context(), pool, changeling.Partitioning{Table: "leaves", None: true}, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
	if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "a partition was attached") {
		t.Errorf("the change = %v, want a refusal that tells of the partition; rows of it in the table: %d", err, ask[int](t, db, `SELECT count(*)::int FROM leaves WHERE part = 9`))
	}
}

// TestReleaseGoesDown takes triggers off a partitioned table and its partitions in the order in which users lock them: nobody meets a deadlock.
func TestReleaseGoesDown(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, leaves...)
	pgtest.Exec(t, db, `CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	for _, table := range []string{"leaf_3", "leaf_2", "leaf_1", "leaf_0", "leaves"} {
		pgtest.Exec(t, db, `CREATE TRIGGER changeling_x_guard BEFORE INSERT ON `+table+` FOR EACH STATEMENT EXECUTE FUNCTION nothing()`)
	}
	user, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Rollback()
	pgtest.Exec(t, user, `INSERT INTO leaves VALUES (9001, 1, '')`)
	released := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(t.Context(), postgres.Unguard(schema.Pair{Change: "x"}))
		released <- err
	}()
	for !ask[bool](t, db, `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database() AND l.mode = 'AccessExclusiveLock' AND NOT l.granted)`) {
		time.Sleep(time.Millisecond)
	}
	if _, err := user.ExecContext(t.Context(), `INSERT INTO leaves VALUES (9000, 2, '')`); err != nil {
		t.Errorf("a user's INSERT = %v", err)
	}
	if err := errors.Join(user.Commit(), <-released); err != nil {
		t.Errorf("the release = %v", err)
	}
	if n := ask[int](t, db, `SELECT count(*)::int FROM pg_trigger WHERE tgname = 'changeling_x_guard'`); n != 0 {
		t.Errorf("%d triggers are left", n)
	}
}

// leaves is a partitioned table whose rows move to the front when they are rewritten.
var leaves = []string{`CREATE TABLE leaves (id int, part int, note text, PRIMARY KEY (id, part)) PARTITION BY LIST (part)`, `CREATE TABLE leaf_0 PARTITION OF leaves FOR VALUES IN (0)`,
	`CREATE TABLE leaf_1 PARTITION OF leaves FOR VALUES IN (1)`, `CREATE TABLE leaf_2 PARTITION OF leaves FOR VALUES IN (2)`, `CREATE TABLE leaf_3 PARTITION OF leaves DEFAULT`,
	`INSERT INTO leaves SELECT i, i % 3, repeat('x', 300) FROM generate_series(1, 6000) i`, `DELETE FROM leaves WHERE id < 1500`}

// writing is what a user does to partitions between two chunks of a copy, and how the table looks after it.
var writing = map[string][]string{
	"truncated":       {`TRUNCATE leaf_1`},
	"all truncated":   {`TRUNCATE leaves`, `INSERT INTO leaves SELECT i, i % 3, 'n' FROM generate_series(1, 30) i`},
	"rewritten":       {`VACUUM FULL leaf_1`},
	"rows that moved": {`UPDATE leaves SET part = 2 WHERE part = 0 AND id < 2000`, `UPDATE leaves SET part = 0 WHERE part = 2 AND id > 4000`},
	"by themselves":   {`INSERT INTO leaf_2 SELECT i, 2, 'n' FROM generate_series(10001, 10100) i`, `DELETE FROM leaf_0 WHERE id < 2400`, `UPDATE leaf_1 SET note = 'x' WHERE id < 2400`},
}

// broken is a mutant, or the program as it is.
type broken struct {
	what    string
	rewrite func(string) string
}

func replaced(pattern, by string) func(string) string {
	r := regexp.MustCompile(pattern)
	return func(x string) string { return r.ReplaceAllString(x, by) }
}

// whileCopied lets users write to the leaves while a change copies them: their rows are as they should be, and a mutant loses some, which the
// comparison notices.
func whileCopied(t *testing.T, writes string, by broken, change func(context.Context, *sql.DB, changeling.Config) error) {
	t.Helper()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, leaves...)
	var chunks, hits atomic.Int64
	var mu sync.Mutex
	pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		if strings.Contains(x.Text, `LOCK TABLE "public"."leaves" IN ACCESS SHARE MODE`) { // before it, because it holds off whoever rewrites
			mu.Lock() // nobody copies meanwhile
			defer mu.Unlock()
			if chunks.Add(1) == 16 {
				for _, w := range writing[writes] {
					if _, err := db.Exec(w); err != nil {
						t.Errorf("%s: %v", w, err)
					}
				}
			}
		}
		out := by.rewrite(x.Text)
		if out != x.Text {
			hits.Add(1)
		}
		return out
	})
	told := &story{}
	err := change(t.Context(), pool, changeling.Config{DropAfter: changeling.DropNow, ChunkTime: 1, Events: event.Tee(told.tell, event.Lines(t.Output()))})
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, slices.Concat(leaves, writing[writes])...)
	rows := `SELECT l::text FROM leaves l`
	if ask[string](t, db, `SELECT relkind FROM pg_class WHERE oid = 'leaves'::regclass`) == "p" {
		rows = `SELECT tableoid::regclass || ' ' || l::text FROM leaves l`
	}
	same := err == nil && slices.Equal(sorted(t, db, rows), sorted(t, native, rows))
	noticed := !same || told.count(differed) > 0
	if noticed != (by.what != "") || by.what == "" && chunks.Load() < 17 || by.what != "" && hits.Load() == 0 {
		t.Errorf("the rows are the same: %v, differences %d, error %v, %d chunks, %d statements of the mutant", same, told.count(differed), err, chunks.Load(), hits.Load())
	}
}

// whole is no mutant.
var whole = broken{"", func(x string) string { return x }}

// TestUnpartitionMutants: what users do to partitions while they are copied is in the plain table; each mutant loses some of it, which
// the comparison notices.
func TestUnpartitionMutants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		writes string
		by     broken
	}{
		{"truncated", whole}, {"all truncated", whole}, {"rewritten", whole}, {"rows that moved", whole}, {"by themselves", whole},
		{"rewritten", broken{"files of partitions are not looked at", replaced(`(?s)\(SELECT coalesce\(pg_catalog\.hashtextextended\(.*?regclass\)`, `1::bigint`)}},
		{"rewritten", broken{"the file of the table alone is looked at", replaced(`(?s)\(SELECT coalesce\(pg_catalog\.hashtextextended\(.*?regclass\)`, `(coalesce(pg_catalog.pg_relation_filenode('public.leaves'::pg_catalog.regclass), 0)::bigint OPERATOR(pg_catalog.+) 1)`)}},
		{"by themselves", broken{"the copy reads ONLY", replaced(`FROM "public"\."leaves" AS "leaves" WHERE "leaves"\.ctid`, `FROM ONLY "public"."leaves" AS "leaves" WHERE "leaves".ctid`)}},
		{"by themselves", broken{"the size is that of the table", replaced(`^SELECT greatest\(\(SELECT pg_catalog\.pg_relation_size\('"public"\."leaf_0.*$`, `SELECT 0`)}},
	} {
		t.Run(strings.TrimSuffix(c.writes+", "+c.by.what, ", "), func(t *testing.T) {
			t.Parallel()
			whileCopied(t, c.writes, c.by, func(ctx context.Context, db *sql.DB, config changeling.Config) error {
				_, err := partitions(ctx, db, changeling.Partitioning{Table: "leaves", None: true}, config)
				return err
			})
		})
	}
}

// TestUnpartitionRefused: what cannot be carried, or would be lost, is named with what to do, and nothing is made.
func TestUnpartitionRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup []string
		says  string
	}{
		"plain":           {[]string{`CREATE TABLE t (id int PRIMARY KEY)`}, "is not partitioned"},
		"no partitions":   {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`}, "has no partition"},
		"two levels":      {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT PARTITION BY HASH (id)`}, `partition "public"."a" is partitioned itself`},
		"a part":          {[]string{`CREATE TABLE w (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE t PARTITION OF w DEFAULT PARTITION BY HASH (id)`, `CREATE TABLE a PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)`}, "is a partition of"},
		"no key":          {[]string{`CREATE TABLE t (id int) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`}, "no usable key"},
		"unlogged":        {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE UNLOGGED TABLE a PARTITION OF t DEFAULT`}, "is unlogged"},
		"elsewhere":       {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE SCHEMA other`, `CREATE TABLE other.a PARTITION OF t DEFAULT`}, "is not in the schema of its table"},
		"own check":       {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t (CONSTRAINT mine CHECK (id > 0)) DEFAULT`}, "the constraint mine of its own"},
		"own not null":    {[]string{`CREATE TABLE t (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t (x NOT NULL) DEFAULT`}, "a NOT NULL of its own on column x"},
		"own unique":      {[]string{`CREATE TABLE t (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE UNIQUE INDEX mine ON a (x)`}, "the unique index mine of its own"},
		"referred to":     {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE TABLE c (a int CONSTRAINT mine REFERENCES a)`}, "the foreign key mine of public.c"},
		"a view":          {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE VIEW mine AS SELECT id FROM a`}, "view public.mine"},
		"a trigger":       {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, `CREATE TRIGGER mine BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()`}, "trigger mine"},
		"its trigger":     {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, `CREATE TRIGGER mine BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()`, `ALTER TABLE a DISABLE TRIGGER mine`}, "has switched a trigger of its table on or off"},
		"its publication": {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE PUBLICATION mine FOR TABLE t`}, "publish_via_partition_root"},
		"only":            {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE VIEW mine AS SELECT id FROM ONLY t`}, "which says ONLY"},
		"row security":    {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `ALTER TABLE a ENABLE ROW LEVEL SECURITY`}, "row level security"},
		"a publication":   {[]string{`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`, `CREATE PUBLICATION mine FOR TABLE a`}, "publication mine"},
		"to itself":       {[]string{`CREATE TABLE t (id int PRIMARY KEY, up int CONSTRAINT mine REFERENCES t) PARTITION BY RANGE (id)`, `CREATE TABLE a PARTITION OF t DEFAULT`}, "mine refers to the table itself"},
		"a foreign table": {[]string{`CREATE TABLE t (id int) PARTITION BY RANGE (id)`, `CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE FOREIGN TABLE a PARTITION OF t DEFAULT SERVER s`}, "is a foreign table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, c.setup...)
			if _, err := partitions(t.Context(), db, changeling.Partitioning{Table: "t", None: true}, quick); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the change = %v, want a refusal that says %q", err, c.says)
			}
			nothingLeft(t, db)
		})
	}
}
