package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// hungOnParts is what hangs on the tests' partitioned table, and on its partitions.
var hungOnParts = []string{
	`ALTER TABLE "Orders Other" REPLICA IDENTITY DEFAULT`, // from PostgreSQL 18 on a generated column cannot be of it and not published
	`CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
	`CREATE TRIGGER touched AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched()`,
	`CREATE TRIGGER at_once AFTER UPDATE ON orders REFERENCING NEW TABLE AS now FOR EACH STATEMENT EXECUTE FUNCTION touched()`,
	`ALTER TABLE orders_eu DISABLE TRIGGER touched`,
	`CREATE TRIGGER of_eu AFTER INSERT ON orders_eu FOR EACH ROW WHEN (NEW.tenant > 5) EXECUTE FUNCTION touched()`,
	`CREATE POLICY mine ON orders USING (id > 0)`,
	`CREATE POLICY of_eu ON orders_eu USING (id > 1)`,
	`ALTER TABLE orders ENABLE ROW LEVEL SECURITY`,
	`ALTER TABLE orders_eu ENABLE ROW LEVEL SECURITY`,
	`CREATE VIEW addresses WITH (security_barrier = true) AS SELECT id, email FROM orders WHERE id > 0 WITH CHECK OPTION`,
	`CREATE VIEW numbers AS SELECT o.id AS "order", i.id AS item, a.email, e.amount AS eu FROM orders o JOIN items i ON i."order" = o.id LEFT JOIN addresses a ON a.id = o.id LEFT JOIN orders_eu e ON e.id = o.id`,
	`DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'news') THEN CREATE PUBLICATION news; END IF;
  IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'eu') THEN CREATE PUBLICATION eu; END IF; END $$`,
	`ALTER PUBLICATION news SET TABLE orders`, `ALTER PUBLICATION eu SET TABLE orders_eu`,
}

// anewHung is a statement that the triggers and policies allow.
const anewHung = `ALTER TABLE orders ALTER note TYPE varchar(200)`

// hangingOnParts is likeness with that.
func hangingOnParts(t *testing.T, db *sql.DB) []string {
	t.Helper()
	out := likeness(t, db)
	for _, query := range append(hangingQueries, `SELECT format('trigger %s on %s fires %s', tgname, tgrelid::regclass, tgenabled) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE tgname !~ '^RI_' AND `+userSchema) {
		out = append(out, sorted(t, db, query)...)
	}
	return out
}

// TestDiesWithWhatHangsOnParts: whenever a run dies, the next one leaves what a native ALTER leaves of a partitioned table on which, and on whose
// partitions, much hangs.
func TestDiesWithWhatHangsOnParts(t *testing.T) {
	t.Parallel()
	setup := slices.Concat(inParts(200), hungOnParts)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, slices.Concat(setup, partWrites, []string{anewHung})...)
	mortal{setup: setup, act: applying(anewHung), look: hangingOnParts, want: hangingOnParts(t, db), stream: 43, part: 8, writes: partWrites}.test(t)
}

// TestDiesInAnUndoWithWhatHangsOnParts kills the undo likewise, and aborts a change before its swap.
func TestDiesInAnUndoWithWhatHangsOnParts(t *testing.T) {
	t.Parallel()
	setup := slices.Concat(inParts(200), hungOnParts)
	diesInAnUndo(t, hangingOnParts, setup, setup, func(_ context.Context, db *sql.DB) (*changeling.Change, error) {
		return made(t, db, anewHung, changeling.Config{Fast: true}), nil
	}, partWrites, 44)
	abortedBeforeSwap(t, slices.Concat(setup, partWrites), anewHung, hangingOnParts)
}

// TestHangingOnPartsAltered: what somebody alters of that while the change runs, at the last moment too, is not overwritten: the change stops and says so.
func TestHangingOnPartsAltered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act    []string
		mutant func(string) string // finds nothing out
	}{
		"a trigger of the table":       {[]string{`CREATE TRIGGER more AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touched()`}, nil},
		"another state in a partition": {[]string{`ALTER TABLE orders_rest DISABLE TRIGGER touched`}, nil},
		"another trigger of its own":   {[]string{`DROP TRIGGER of_eu ON orders_eu`, `CREATE TRIGGER of_eu AFTER INSERT ON orders_eu FOR EACH ROW WHEN (NEW.tenant > 6) EXECUTE FUNCTION touched()`}, nil},
		"another policy":               {[]string{`ALTER POLICY of_eu ON orders_eu USING (id > 2)`}, nil},
		"row security switched off":    {[]string{`ALTER TABLE orders_eu DISABLE ROW LEVEL SECURITY`}, nil},
		"another view of a partition":  {[]string{`CREATE VIEW late AS SELECT id FROM orders_eu`}, nil},
		"another query":                {[]string{`CREATE OR REPLACE VIEW numbers AS SELECT o.id AS "order", i.id AS item, a.email, e.amount AS eu FROM orders o JOIN items i ON i."order" = o.id LEFT JOIN addresses a ON a.id = o.id LEFT JOIN orders_eu e ON e.id = o.id + 1`}, nil},
		"published otherwise":          {[]string{`ALTER PUBLICATION eu DROP TABLE orders_eu`}, nil},
		"a comment":                    {[]string{`COMMENT ON COLUMN orders_eu.note IS 'late'`}, nil},
		"a comment on an index":        {[]string{`COMMENT ON INDEX eu_note IS 'late'`, `COMMENT ON CONSTRAINT orders_amount_check ON orders_eu IS 'late'`}, nil},
		"statistics of a column":       {[]string{`ALTER TABLE orders_eu ALTER note SET STATISTICS 77`}, nil},
		"other statistics":             {[]string{`ALTER STATISTICS eu_stats SET STATISTICS 77`}, nil},
		"another order":                {[]string{`ALTER TABLE orders_eu CLUSTER ON eu_note`}, nil},
		"details not looked at":        {[]string{`ALTER TABLE orders_eu ALTER note SET STATISTICS 77`}, replaced(`nullif\(a\.attstattarget, -1\)`, `NULL`)},
		"states not looked at": {[]string{`ALTER TABLE orders_rest DISABLE TRIGGER touched`},
			replaced(`pg_get_triggerdef\(g\.oid\), g\.tgenabled, obj`, `pg_get_triggerdef(g.oid), obj`)},
		"policies not looked at": {[]string{`ALTER POLICY of_eu ON orders_eu USING (id > 2)`}, replaced(`(?s)'policies', c\.relforcerowsecurity, .*?\) FROM h JOIN pg_class c`, `'policies') FROM h JOIN pg_class c`)},
	} {
		for _, when := range []string{"drain", "locking"} {
			if when == "locking" && (c.mutant != nil || strings.HasPrefix(name, "a comment")) {
				continue // there the versions of the rows tell, and comments on what a partition has are none of them
			}
			t.Run(name+" at the "+when, func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.Database(t)
				db := pgtest.Open(t, dsn)
				pgtest.Exec(t, db, slices.Concat(inParts(200), hungOnParts)...)
				var once sync.Once
				act := func() { once.Do(func() { pgtest.Exec(t, db, c.act...) }) }
				pool := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
					if when == "locking" && locking(s.Text) && strings.Contains(s.Text, "ALTER VIEW") {
						act()
					}
					if c.mutant != nil {
						return c.mutant(s.Text)
					}
					return s.Text
				})
				config := changeling.Config{Fast: true, Events: event.Lines(t.Output())}
				if when == "drain" {
					config.Events = upon(config.Events, began("drain"), act)
				}
				err := changeling.Apply(t.Context(), pool, anewHung, config)
				switch {
				case c.mutant != nil && err != nil:
					t.Errorf("the mutant does no harm: %v", err)
				case c.mutant == nil && (!errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "altered")):
					t.Errorf("got %v, want that somebody has altered what hangs on the table", err)
				}
			})
		}
	}
}

// part gives the crowd's tables partitions.
func (c *crowd) part() {
	c.Helper()
	for _, table := range []string{"accounts", "mirror"} {
		pgtest.Exec(c.T, c.db, `ALTER TABLE `+table+` RENAME TO whole`, `CREATE TABLE `+table+` (LIKE whole, PRIMARY KEY (id)) PARTITION BY RANGE (id)`,
			`CREATE TABLE `+table+`_low PARTITION OF `+table+` FOR VALUES FROM (MINVALUE) TO (1000)`, `CREATE TABLE `+table+`_mid PARTITION OF `+table+` FOR VALUES FROM (1000) TO (500000)`,
			`CREATE TABLE `+table+`_high PARTITION OF `+table+` DEFAULT`, `INSERT INTO `+table+` SELECT * FROM whole`, `DROP TABLE whole`)
	}
}

// TestPartTriggersLedger: triggers of a partitioned table and of its partitions, in the state that each partition gives them, fire for what users write
// over a change and its undo, and for no row that we move. The mirror has the same and is not changed.
func TestPartTriggersLedger(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]string{"whole": "", "the table's left on the old one": `DROP TRIGGER "a_audit" ON "public"."accounts"`,
		"a partition's left on the old one": `DROP TRIGGER "z_own" ON "public"."accounts_mid"`, "its own not made": `CREATE TRIGGER z_own`,
		"states forgotten": `ALTER TABLE "public"."accounts_low" DISABLE TRIGGER "a_audit"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t)
			c.part()
			pgtest.Exec(t, c.db, `CREATE TABLE audit (told text, op text, id bigint)`,
				`CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
  INSERT INTO audit VALUES (TG_ARGV[0], TG_NAME || TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$`,
				`CREATE FUNCTION lines() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
  INSERT INTO audit SELECT TG_ARGV[0], TG_NAME || TG_OP, id FROM after; RETURN NULL; END $$`)
			for _, table := range []string{"accounts", "mirror"} {
				pgtest.Exec(t, c.db, fmt.Sprintf(`CREATE TRIGGER a_audit AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION audit(%[1]s)`, table),
					fmt.Sprintf(`CREATE TRIGGER lines AFTER UPDATE ON %s REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION lines(%[1]s)`, table),
					fmt.Sprintf(`CREATE TRIGGER z_own AFTER INSERT OR UPDATE ON %s_mid FOR EACH ROW EXECUTE FUNCTION audit(%[1]s)`, table), fmt.Sprintf(`ALTER TABLE %s_low DISABLE TRIGGER a_audit`, table))
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() { c.write(ctx, seed(t), w) })
			}
			wg.Go(func() { c.read(ctx, seed(t), 0) })
			var hits atomic.Int64
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, s mutant.Statement) string {
				at := strings.Index(s.Text, forget)
				if forget == "" || at < 0 || !strings.Contains(s.Text, "SET SCHEMA") {
					return s.Text
				}
				hits.Add(1)
				return s.Text[:at] + "SELECT 1" + s.Text[at+strings.Index(s.Text[at:], ";\n"):]
			})
			err := thereAndBack(ctx, pool, changeling.Config{Fast: true, Snapshots: changeling.SnapshotsInsist, Events: event.Lines(t.Output())}, widen, true)
			time.Sleep(200 * time.Millisecond)
			stop()
			wg.Wait()
			differ := ask[int](t, c.db, `SELECT count(*)::int FROM (SELECT FROM audit GROUP BY op, id HAVING sum(CASE told WHEN 'mirror' THEN -1 ELSE 1 END) <> 0) s`)
			t.Logf("%d writes, %d snapshots, %d of audit differ, the mutant met %d, %v", c.writes.Load(), c.reads.Load(), differ, hits.Load(), err)
			switch {
			case forget == "":
				c.equal()
				if err != nil || differ > 0 || c.writes.Load() == 0 || c.stale.Load() > 0 {
					t.Errorf("%v; the triggers of %d keys fired too often or not at all; %d snapshots read what is not theirs", err, differ, c.stale.Load())
				}
			case hits.Load() == 0:
				t.Fatal("the mutant met none of its statements")
			case err == nil && differ == 0:
				t.Error("the mutant does no harm")
			}
		})
	}
}

// TestPartitionLedgerWithWhatHangs: a plain table with a trigger, a view and row level security becomes partitioned, plain, partitioned and plain again
// while users write through the view: their triggers fire once for each row, none of their writes is lost, and none fails.
func TestPartitionLedgerWithWhatHangs(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	pgtest.Exec(t, c.db, `CREATE TABLE audit (told text, op text, id bigint)`, `ALTER TABLE accounts RENAME TO base`, `ALTER TABLE base DROP CONSTRAINT accounts_email_key`,
		`CREATE VIEW accounts AS SELECT * FROM base WHERE id > 0`, `CREATE POLICY mine ON base USING (id > 0)`, `ALTER TABLE base ENABLE ROW LEVEL SECURITY`,
		`CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
  INSERT INTO audit VALUES (TG_ARGV[0], TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$`,
		`CREATE TRIGGER a_audit AFTER INSERT OR UPDATE OR DELETE ON base FOR EACH ROW EXECUTE FUNCTION audit(base)`, `CREATE TRIGGER a_audit AFTER INSERT OR UPDATE OR DELETE ON mirror FOR EACH ROW EXECUTE FUNCTION audit(mirror)`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { c.write(ctx, seed(t), w) })
		wg.Go(func() { c.read(ctx, seed(t), w) })
	}
	config := changeling.Config{Fast: true, Snapshots: changeling.SnapshotsInsist, Events: event.Lines(t.Output())}
	one := changeling.Partitioning{Table: "base", By: "hash (id)", Count: 1} // so that no row goes to another partition, for which other triggers fire
	for n, b := range []changeling.Partitioning{one, one, {Table: "base", None: true}, {Table: "base", None: true}} {
		change, err := partitions(ctx, c.db, b, config)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		if kind := ask[string](t, c.db, `SELECT relkind::text FROM pg_class WHERE oid = 'base'::regclass`); (kind == "p") != (n < 2) {
			t.Errorf("after change %d the table is of kind %s", n, kind)
		}
		if n%2 == 1 {
			continue
		}
		if err := change.Undo(ctx, changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	wg.Wait()
	differ := ask[int](t, c.db, `SELECT count(*)::int FROM (SELECT FROM audit GROUP BY op, id HAVING sum(CASE told WHEN 'mirror' THEN -1 ELSE 1 END) <> 0) s`)
	rows := ask[int](t, c.db, `SELECT count(*)::int FROM base a FULL JOIN mirror m USING (id) WHERE (a.email, a.amount, a.payload) IS DISTINCT FROM (m.email, m.amount, m.payload)`)
	t.Logf("%d writes, %d snapshots, %d over a swap", c.writes.Load(), c.reads.Load(), c.moved.Load())
	if differ > 0 || rows > 0 || c.stale.Load() > 0 || c.writes.Load() == 0 {
		t.Errorf("the triggers of %d keys fired too often or not at all, %d rows differ, %d snapshots read what is not theirs", differ, rows, c.stale.Load())
	}
}

// hungOnWhole is what a plain table and one that is partitioned can both have.
var hungOnWhole = []string{
	hungOnParts[1], hungOnParts[2], hungOnParts[3], `ALTER TABLE orders ENABLE ALWAYS TRIGGER touched`, `CREATE POLICY mine ON orders USING (id > 0)`, `ALTER TABLE orders ENABLE ROW LEVEL SECURITY`,
	`CREATE VIEW addresses WITH (security_barrier = true) AS SELECT id, email FROM orders WHERE id > 0 WITH CHECK OPTION`,
	`CREATE VIEW numbers AS SELECT o.id AS "order", i.id AS item, a.email FROM orders o JOIN items i ON i."order" = o.id LEFT JOIN addresses a ON a.id = o.id`,
	`DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'news') THEN CREATE PUBLICATION news WITH (publish_via_partition_root = true); END IF; END $$`,
	`ALTER PUBLICATION news SET TABLE orders`,
}

// TestPartitionDiesWithWhatHangs kills a change to a partitioned table, and one to a plain one, and their undos, with what hangs on them.
func TestPartitionDiesWithWhatHangs(t *testing.T) {
	t.Parallel()
	plain, native := slices.Concat(parted("", 200), hungOnWhole), slices.Concat(parted(" PARTITION BY LIST (region)", 200, nativelyParted...), hungOnWhole)
	for n, c := range []struct {
		name     string
		from, to []string
		by       changeling.Partitioning
	}{{"partition", plain, native, byRegion}, {"back to plain", native, plain, toPlain}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			to := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, to, slices.Concat(c.to, partWrites)...)
			act := func(ctx context.Context, db *sql.DB) error {
				_, err := partitions(ctx, db, c.by, quick)
				return err
			}
			mortal{setup: c.from, act: act, look: hangingOnParts, want: hangingOnParts(t, to), stream: uint64(46 + 2*n), part: 8, writes: partWrites}.test(t)
		})
		t.Run(c.name+", undone", func(t *testing.T) {
			t.Parallel()
			diesInAnUndo(t, hangingOnParts, c.from, c.from, partitioned(c.by), partWrites, uint64(47+2*n))
		})
	}
}

// TestPartitionRefusesWhatHangs: what a partitioned table could not have as the plain one has it is named, and nothing is made.
func TestPartitionRefusesWhatHangs(t *testing.T) {
	t.Parallel()
	const f = `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`
	byHash := changeling.Partitioning{Table: "t", By: "hash (id)", Count: 2}
	for name, c := range map[string]struct {
		by    changeling.Partitioning
		setup []string
		says  string
	}{
		"before":            {byHash, []string{f, `CREATE TRIGGER mine BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()`}, "trigger mine runs BEFORE a row is written"},
		"transition tables": {byHash, []string{f, `CREATE TRIGGER mine AFTER UPDATE ON t REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION f()`}, "trigger mine is one for each row with transition tables"},
		"published":         {byHash, []string{`CREATE PUBLICATION mine FOR TABLE t`}, "publish_via_partition_root"},
		"only":              {byHash, []string{`CREATE VIEW mine AS SELECT id FROM ONLY t`}, "which says ONLY"},
		"rights in general": {byHash, []string{`ALTER TABLE t ENABLE ROW LEVEL SECURITY`, `ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC`}, "read its partitions past it"},
		"rights in schema":  {byHash, []string{`ALTER TABLE t ENABLE ROW LEVEL SECURITY`, `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC`}, "read its partitions past it"},
		"attached":          {changeling.Partitioning{Table: "t", By: "range (id)", Attach: "t_old FOR VALUES FROM (MINVALUE) TO (1000)"}, []string{f, `CREATE TRIGGER mine AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()`}, "becomes a partition yet: trigger mine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, append([]string{`CREATE TABLE t (id int PRIMARY KEY)`}, c.setup...)...)
			if _, err := partitions(t.Context(), db, c.by, quick); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the change = %v, want a refusal that says %q", err, c.says)
			}
			nothingLeft(t, db)
		})
	}
}
