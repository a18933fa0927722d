package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// made is a change that is done, whose old table is kept.
func made(t *testing.T, db *sql.DB, ddl string, config changeling.Config) *changeling.Change {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := e.Start(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// stands demands what a change's status and its undo are.
func stands(t *testing.T, c *changeling.Change, status, undo string) {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != status || !strings.HasPrefix(s.Undo, undo) || undo == "" && s.Undo != "" {
		t.Errorf("the change is %q, its undo %q, want %q and %q", s.Status, s.Undo, status, undo)
	}
}

// TestUndo leaves the database as it was before the change, with what was written since.
func TestUndo(t *testing.T) {
	t.Parallel()
	want := func() []string {
		db := pgtest.Open(t, pgtest.Database(t))
		pgtest.Exec(t, db, append(slices.Clone(victim), between...)...)
		return portrait(t, db)
	}()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	c := made(t, db, grow, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
	stands(t, c, "done", "open")
	pgtest.Exec(t, db, between...)
	if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil { // brings the old table in step
		t.Fatal(dropped, err)
	}
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Errorf("undone twice: %v", err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
		t.Fatal(dropped, err)
	}
	sameAs(t, portrait(t, db), want, "after an undo")
	report, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range report.Steps {
		names = append(names, m.Name)
	}
	if got := strings.Join(names, ", "); !strings.HasPrefix(got, "create shadow, ") || !strings.Contains(got, "cutover, ") || !strings.HasSuffix(got, "release, undo, drain, analyze, swap back, validate orders_tenant_fkey, validate items_order_fkey, release") {
		t.Errorf("the history is: %s", got)
	}
}

// TestUndoOfAlteredAtOnce: what somebody alters right behind the swap, while the change still validates and tidies, would go with the new table, so
// there is no undo.
func TestUndoOfAlteredAtOnce(t *testing.T) {
	t.Parallel()
	for name, act := range map[string][]string{
		"a column":  {`ALTER TABLE orders ADD COLUMN more int DEFAULT 4`, `UPDATE orders SET more = id`},
		"a trigger": {`CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, `CREATE TRIGGER mine AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()`},
		"an index":  {`CREATE INDEX mine ON orders (note)`},
		"a view":    {`CREATE VIEW mine AS SELECT id FROM orders`},
		"a check":   {`ALTER TABLE orders ADD CONSTRAINT mine CHECK (id > 0)`},
		"a policy":  {`CREATE POLICY mine ON orders USING (id > 0)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, victim...)
			c := made(t, db, grow, changeling.Config{Fast: true, Events: upon(event.Discard, began("release"), func() { pgtest.Exec(t, db, act...) })})
			before := portrait(t, db)
			if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "altered") {
				t.Errorf("the undo = %v, want a refusal that says that somebody altered the table", err)
			}
			sameAs(t, portrait(t, db), before, "after an undo that was refused")
		})
	}
}

// TestGoneBehindTheSwap: what somebody drops, renames or moves right behind the swap, while foreign keys are still to be validated, does not keep the
// change from its end, and nothing is left of it.
func TestGoneBehindTheSwap(t *testing.T) {
	t.Parallel()
	for _, act := range []string{`ALTER TABLE orders RENAME TO sold`, `ALTER TABLE orders SET SCHEMA other`, `ALTER TABLE orders DROP CONSTRAINT orders_tenant_fkey`, `DROP TABLE items`, `DROP TABLE tenants CASCADE`, `DROP TABLE orders CASCADE`} {
		for _, drop := range []time.Duration{changeling.DropNow, 0} {
			t.Run(fmt.Sprintf("%s, dropped after %s", act, drop), func(t *testing.T) {
				t.Parallel()
				db := pgtest.Open(t, pgtest.Database(t))
				pgtest.Exec(t, db, append(slices.Clone(victim), `CREATE SCHEMA other`)...)
				c := made(t, db, grow, changeling.Config{Fast: true, DropAfter: drop, Events: upon(event.Lines(t.Output()), beganStep("validate orders_tenant_fkey"), func() { pgtest.Exec(t, db, act) })})
				if s, err := c.Status(t.Context()); err != nil || s.Status != "done" {
					t.Errorf("the change is %q, %v", s.Status, err)
				}
				if _, err := c.Cleanup(t.Context(), changeling.Now); err != nil {
					t.Error(err)
				}
				if left := sorted(t, db, `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'changeling\__%' UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '%changeling%'`); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		}
	}
}

// TestUndoGivenUp: an abort stops an undo that somebody else runs, and the change can be undone later.
func TestUndoGivenUp(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	waiting := make(chan struct{})
	var once sync.Once
	e, err := changeling.Open(t.Context(), db, changeling.Config{Fast: true, BeforeCutover: func(context.Context, string) error {
		once.Do(func() { close(waiting) })
		return errors.New("not yet")
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := made(t, db, grow, changeling.Config{Fast: true})
	same, err := e.Find(t.Context(), c.ID())
	if err != nil {
		t.Fatal(err)
	}
	undone := make(chan error, 1)
	go func() { undone <- same.Undo(t.Context(), changeling.NoLoss) }()
	<-waiting
	stands(t, c, "running", "under way")
	if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders ADD COLUMN more int`, changeling.Config{}); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("another change beside an undo: %v, want a refusal", err)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-undone; !errors.Is(err, changeling.ErrAborted) {
		t.Errorf("the undo that was given up: %v", err)
	}
	stands(t, c, "done", "open")
	pgtest.Exec(t, db, between...)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
}

// undone writes through a change and its undo, and compares.
func (s *stage) undone(t *testing.T, undo func(c *changeling.Change) error) {
	t.Helper()
	stop := s.write()
	c := made(t, s.db, widen, s.config)
	s.pause(500 * time.Millisecond)
	if err := undo(c); err != nil {
		t.Fatal(err)
	}
	s.pause(300 * time.Millisecond)
	stop()
	s.untouched()
	stands(t, c, "undone", "")
}

// TestUndoLedger undoes a change under writers that keep a ledger, and finds every write in the old table.
func TestUndoLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Rate: 800})
	s.undone(t, func(c *changeling.Change) error { return c.Undo(t.Context(), changeling.NoLoss) })
	var typ string
	if err := s.db.QueryRowContext(t.Context(), `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'amount'`).Scan(&typ); err != nil || typ != "integer" {
		t.Errorf("amount is %s, %v, want integer", typ, err)
	}
}

// TestUndoSnapshots: a transaction at REPEATABLE READ that began before an undo is waited for; where it is not, it sees old rows.
func TestUndoSnapshots(t *testing.T) {
	t.Parallel()
	for name, ignore := range map[string]bool{"waited for": false, "ignored": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, `CREATE TABLE accounts (id int PRIMARY KEY, amount int)`, `INSERT INTO accounts SELECT i, i FROM generate_series(1, 1000) i`)
			config := changeling.Config{Fast: true, Events: event.Lines(t.Output())}
			if ignore {
				config.Snapshots = changeling.SnapshotsIgnore
			}
			change := made(t, db, widen, config)
			pgtest.Exec(t, db, `UPDATE accounts SET amount = 0 WHERE id <= 100`) // to be copied back while the reader looks on
			reader, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Rollback() // it only reads
			var sum int
			if err := reader.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_class`).Scan(&sum); err != nil { // its snapshot, and no lock on the table
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- change.Undo(t.Context(), changeling.NoLoss) }()
			if ignore {
				err = <-done
				done <- err
			} else {
				select {
				case err = <-done:
					t.Errorf("the undo did not wait for the snapshot (%v)", err)
					done <- err
				case <-time.After(3 * time.Second):
				}
			}
			if err := reader.QueryRowContext(t.Context(), `SELECT coalesce(sum(amount), 0) FROM accounts`).Scan(&sum); err != nil || (sum == 495450) == ignore {
				t.Errorf("the snapshot sees %d, %v; the right sum is 495450", sum, err)
			}
			if err := reader.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			stands(t, change, "undone", "")
		})
	}
}

// TestUndoOfRenamed: a table that somebody gives another name while its change can be undone keeps nothing of ours when the old one is dropped, and is not
// logged for ever.
func TestUndoOfRenamed(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string][]string{
		"plain":       {`CREATE TABLE t (id int PRIMARY KEY, v int)`},
		"partitioned": {`CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)`, `CREATE TABLE part PARTITION OF t DEFAULT`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, append(setup, `INSERT INTO t SELECT i, i FROM generate_series(1, 100) i`)...)
			c := made(t, db, `ALTER TABLE t ALTER v TYPE bigint`, changeling.Config{Fast: true})
			pgtest.Exec(t, db, `ALTER TABLE t RENAME TO other`, `UPDATE other SET v = 0 WHERE id = 1`)
			if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) {
				t.Errorf("Undo = %v", err)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped {
				t.Errorf("Cleanup = %v, %v", dropped, err)
			}
			nothingLeft(t, db)
			if n := ask[int](t, db, `SELECT count(*) FROM pg_trigger WHERE tgname ~ 'changeling'`); n != 0 {
				t.Errorf("%d triggers of ours are left", n)
			}
		})
	}
}

// TestUndoMisfits: what does not fit the old table is named and makes the undo lossy.
func TestUndoMisfits(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE prices (id int PRIMARY KEY, amount int, tax numeric(6,1), former text NOT NULL DEFAULT 'none', code text)`, `CREATE UNIQUE INDEX prices_code ON prices (code)`,
		`INSERT INTO prices SELECT i, i, 0.5, 'f' || i, 'c' || i FROM generate_series(1, 2000) i`)
	c := made(t, db, `ALTER TABLE prices ALTER COLUMN amount TYPE bigint, ALTER COLUMN tax TYPE numeric(6,2), DROP COLUMN former`, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
	pgtest.Exec(t, db, `UPDATE prices SET amount = amount + 1 WHERE id <= 1000`, `INSERT INTO prices VALUES (3000, 1, 1.5, 'new')`, `UPDATE prices SET amount = 5000000000 WHERE id = 77`)
	refused := func(says string) {
		t.Helper()
		err := c.Undo(t.Context(), changeling.NoLoss)
		if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "--lossy") {
			t.Errorf("Undo = %v, want a refusal that says %q", err, says)
		}
		stands(t, c, "done", "open")
	}
	refused("id 77")
	pgtest.Exec(t, db, `UPDATE prices SET amount = 78 WHERE id = 77`, `UPDATE prices SET tax = 0.25 WHERE id = 78`)
	refused("id 78") // it would be rounded
	pgtest.Exec(t, db, `UPDATE prices SET amount = 6000000000 WHERE id = 79`)
	if err := c.Undo(t.Context(), changeling.LossAllowed); err != nil {
		t.Fatal(err)
	}
	var wrong int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM prices WHERE (id, amount, tax, former) IS DISTINCT FROM
  (CASE WHEN id = 3000 THEN (3000, 1, 1.5::numeric, 'none'::text) ELSE (id, CASE WHEN id <= 1000 THEN id + 1 ELSE id END, CASE WHEN id = 78 THEN 0.3 ELSE 0.5 END, 'f' || id) END)`).Scan(&wrong); err == nil && wrong > 1 {
		t.Errorf("%d rows are wrong", wrong)
	} else if err != nil {
		t.Error(err)
	}
}

// TestUndoOfAKeyThatIsGone: a row whose key the old table cannot have stands in the way of an undo, and no longer once it is deleted.
func TestUndoOfAKeyThatIsGone(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE prices (id int PRIMARY KEY, amount int)`, `INSERT INTO prices SELECT i, i FROM generate_series(1, 2000) i`)
	c := made(t, db, `ALTER TABLE prices ALTER COLUMN id TYPE bigint`, changeling.Config{Fast: true, Events: event.Lines(t.Output())})
	pgtest.Exec(t, db, `INSERT INTO prices VALUES (5000000000, 1), (6000000000, 1)`, `DELETE FROM prices WHERE id = 5000000000 OR id < 10`, `UPDATE prices SET amount = 0 WHERE id = 11`)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "1 rows") || !strings.Contains(err.Error(), "id 6000000000") {
		t.Errorf("Undo = %v, want a refusal that names one row", err)
	}
	pgtest.Exec(t, db, `DELETE FROM prices WHERE id = 6000000000`)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, db, `SELECT pg_typeof(max(id)) || ' ' || count(*) || ' ' || sum(id) - sum(amount) FROM prices`); got != "integer 1991 11" {
		t.Errorf("the table has %s", got)
	}
}

// TestUndoKeepsWhatIsFiner: a value that the change made coarser comes back as it was, as long as nobody wrote another one, also where
// the row was written for another column's sake.
func TestUndoKeepsWhatIsFiner(t *testing.T) {
	t.Parallel()
	for _, snapshots := range []changeling.Snapshots{changeling.SnapshotsWait, changeling.SnapshotsIgnore} {
		t.Run("snapshots "+string(snapshots), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, `CREATE TABLE visits (id int PRIMARY KEY, at timestamp, name varchar(9), n int)`, `INSERT INTO visits SELECT i, timestamp '2026-01-01 10:31' + i * interval '1 day', 'N' || i, i FROM generate_series(1, 500) i`)
			config := changeling.Config{Fast: true, Snapshots: snapshots, Events: event.Lines(t.Output())}
			c := made(t, db, `ALTER TABLE visits ALTER COLUMN at TYPE date, ALTER COLUMN name TYPE text USING lower(name)`, config)
			pgtest.Exec(t, db, `UPDATE visits SET n = n + 1`, `UPDATE visits SET at = '2027-05-05' WHERE id = 7`, `INSERT INTO visits VALUES (501, '2027-06-06', 'new', 0)`)
			during := make(chan struct{})
			var once sync.Once
			e, err := changeling.Open(t.Context(), db, changeling.Config{Fast: true, Snapshots: snapshots, Events: event.Lines(t.Output()), BeforeCutover: func(context.Context, string) error {
				once.Do(func() { // the users write both tables by now
					pgtest.Exec(t, db, `UPDATE visits SET n = n + 1`)
					close(during)
				})
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			same, err := e.Find(t.Context(), c.ID())
			if err != nil {
				t.Fatal(err)
			}
			if err := same.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatal(err)
			}
			<-during
			var wrong int
			if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM visits WHERE (at, name, n) IS DISTINCT FROM (CASE id WHEN 7 THEN '2027-05-05 00:00' WHEN 501 THEN '2027-06-06 00:00' ELSE timestamp '2026-01-01 10:31' + id * interval '1 day' END,
  CASE id WHEN 501 THEN 'new' ELSE 'N' || id END::varchar(9), CASE id WHEN 501 THEN 1 ELSE id + 2 END)`).Scan(&wrong); err != nil || wrong > 0 {
				t.Errorf("%d rows are not what they were (%v)", wrong, err)
			}
		})
	}
}

// TestUndoRefused: where there is no way back any more, that is said, and nothing is touched.
func TestUndoRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config changeling.Config
		before []string
		act    func(t *testing.T, c *changeling.Change, db *sql.DB)
		says   string
	}{
		"dropped": {says: "dropped", act: func(t *testing.T, c *changeling.Change, _ *sql.DB) {
			if _, err := c.Cleanup(t.Context(), changeling.Now); err != nil {
				t.Fatal(err)
			}
		}},
		"off":  {says: "without an undo window", config: changeling.Config{Undo: changeling.UndoOff}},
		"kept": {says: "without an undo window", config: changeling.Config{DropAfter: changeling.Keep}},
		"altered": {says: "altered", act: func(t *testing.T, _ *changeling.Change, db *sql.DB) {
			pgtest.Exec(t, db, `ALTER TABLE orders ADD COLUMN more int`)
		}},
		"disarmed": {says: "not logged all the time", act: func(t *testing.T, c *changeling.Change, db *sql.DB) {
			pgtest.Exec(t, db, `ALTER TABLE orders DISABLE TRIGGER "changeling_`+c.ID()+`_undo"`)
		}},
		"another change": {says: "not logged all the time", act: func(t *testing.T, c *changeling.Change, db *sql.DB) {
			made(t, db, `ALTER TABLE orders RENAME COLUMN note TO notes`, changeling.Config{})
			pgtest.Exec(t, db, `ALTER TABLE orders RENAME COLUMN notes TO note`)
		}},
		"too much": {says: "more was written", config: changeling.Config{UndoLogMax: 1 << 20}, act: func(t *testing.T, c *changeling.Change, db *sql.DB) {
			for range 3 {
				pgtest.Exec(t, db, `UPDATE orders SET amount = amount + 1 FROM generate_series(1, 1) i`)
			}
			pgtest.Exec(t, db, `INSERT INTO orders (email) SELECT 'm' || i FROM generate_series(1, 40000) i`)
			if _, err := c.Cleanup(t.Context(), changeling.WhenDue); err != nil { // takes the triggers off
				t.Fatal(err)
			}
			var left int
			if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%'`).Scan(&left); err != nil || left > 0 {
				t.Errorf("%d triggers are left, %v", left, err)
			}
		}},
		"a key that goes": {says: "drops the key", before: []string{`CREATE TABLE keyed (id int PRIMARY KEY, other int)`, `INSERT INTO keyed VALUES (1, 1)`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, victim...)
			pgtest.Exec(t, db, c.before...)
			c.config.Fast = true
			ddl := grow
			if c.before != nil {
				ddl = `ALTER TABLE keyed DROP CONSTRAINT keyed_pkey, ALTER COLUMN other TYPE bigint`
			}
			change := made(t, db, ddl, c.config)
			if c.act != nil {
				c.act(t, change, db)
			}
			err := change.Undo(t.Context(), changeling.NoLoss)
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Undo = %v, want a refusal that says %q", err, c.says)
			}
			pgtest.Exec(t, db, `UPDATE orders SET amount = amount + 1 WHERE id = 1`)
		})
	}
}

// TestDiesInAnUndo: whenever an undo dies, the next one leaves the table as it was before the change, with what users wrote; or it
// is given up, and the table is as the change left it, and can be undone.
func TestDiesInAnUndo(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 7))
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(victim), between...)...)
	want := portrait(t, db)
	config := changeling.Config{Fast: true}
	begin := func() {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		made(t, db, grow, config)
		pgtest.Exec(t, db, between...)
	}
	undo := undoing(config)
	begin()
	all := deaths(t, dsn, random, undo)
	if !full() {
		all = all[:min(len(all), 14)]
	}
	for i, death := range all {
		begin()
		at := dieAt(t, dsn, undo, death)
		c, err := newest(t.Context(), db, config)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.Status(t.Context()); i%2 == 1 && err == nil && s.Undo == "under way" && c.Abort(t.Context()) == nil {
			at += ", given up"
			stands(t, c, "done", "open")
			pgtest.Exec(t, db, `UPDATE orders SET amount = amount + 5000000000 WHERE id = 50`, `UPDATE orders SET amount = amount - 5000000000 WHERE id = 50`)
		}
		if err := undo(t.Context(), db); err != nil {
			t.Errorf("%s: the second undo: %v", at, err)
			continue
		}
		stands(t, c, "undone", "")
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Errorf("%s: the cleanup: %v, %v", at, dropped, err)
		}
		sameAs(t, portrait(t, db), want, at)
	}
}

// TestUndoMutants breaks the undo on purpose: a drain that copies nothing loses writes, and a capture that comes after the swap misses
// one, which the comparison finds.
func TestUndoMutants(t *testing.T) {
	t.Parallel()
	drained := regexp.MustCompile(`^WITH taken AS MATERIALIZED \(DELETE FROM "changeling_\w+"\."undo_keys`)
	armed := regexp.MustCompile(`;\nCREATE TRIGGER "changeling_\w+_undo" (?s:.*?)_undo_truncate";`)
	for name, c := range map[string]struct {
		rewrite        func(x string, user *sql.DB) string
		lost, differed bool
	}{
		"none": {rewrite: func(x string, _ *sql.DB) string { return x }},
		"undo without drain": {lost: true, rewrite: func(x string, _ *sql.DB) string {
			if drained.MatchString(x) {
				return "SELECT 0::bigint, 0::bigint, 0::bigint, 0::bigint"
			}
			return x
		}},
		"capture after the swap": {differed: true, rewrite: func() func(x string, user *sql.DB) string {
			var later string
			var once sync.Once
			return func(x string, user *sql.DB) string {
				if found := armed.FindString(x); found != "" {
					later = found
					return strings.Replace(x, found, ";", 1)
				}
				if strings.Contains(x, "SET held_ms") { // the swap is committed
					once.Do(func() {
						pgtest.Exec(t, user, `UPDATE accounts SET amount = 5 WHERE id = 6`, strings.Trim(later, ";\n"))
					})
				}
				return x
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			user := pgtest.Open(t, dsn)
			pgtest.Exec(t, user, `CREATE TABLE accounts (id int PRIMARY KEY, amount int)`, `INSERT INTO accounts SELECT i, i FROM generate_series(1, 1000) i`)
			var told story
			db := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return c.rewrite(x.Text, user) })
			change := made(t, db, widen, changeling.Config{Fast: true, Snapshots: changeling.SnapshotsIgnore, Events: told.tell})
			pgtest.Exec(t, user, `UPDATE accounts SET amount = 8 WHERE id = 7`, `DELETE FROM accounts WHERE id = 8`)
			if err := change.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatal(err)
			}
			var right bool
			if err := user.QueryRowContext(t.Context(), `SELECT (SELECT amount FROM accounts WHERE id = 7) = 8 AND NOT EXISTS (SELECT FROM accounts WHERE id = 8)`).Scan(&right); err != nil {
				t.Fatal(err)
			}
			if right == c.lost || told.count(differed) > 0 != c.differed {
				t.Errorf("writes are there: %v, and the comparison found %d differences; want %v and %v", right, told.count(differed), !c.lost, c.differed)
			}
		})
	}
}

// TestUndoConstraints: what the statement dropped stands again, and whoever breaks it meanwhile is named.
func TestUndoConstraints(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	before := portrait(t, db)
	c := made(t, db, `ALTER TABLE orders DROP CONSTRAINT orders_tenant_fkey, DROP CONSTRAINT orders_email, DROP CONSTRAINT orders_amount_check, ALTER COLUMN note SET NOT NULL, ALTER COLUMN amount TYPE bigint`,
		changeling.Config{Fast: true})
	for _, x := range []struct{ breaks, says, mends string }{
		{`UPDATE orders SET tenant = 99 WHERE id = 3`, "tenant", `UPDATE orders SET tenant = 4 WHERE id = 3`},
		{`UPDATE orders SET email = 'e5' WHERE id = 4`, "id 4", `UPDATE orders SET email = 'e4' WHERE id = 4`},
		{`UPDATE orders SET amount = -1 WHERE id = 6`, "id 6", `UPDATE orders SET amount = 6 WHERE id = 6`},
	} {
		pgtest.Exec(t, db, x.breaks)
		if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("after %s: Undo = %v, want a refusal that says %q", x.breaks, err, x.says)
		}
		stands(t, c, "done", "open")
		pgtest.Exec(t, db, x.mends)
	}
	// Two rows change places: each alone would be a duplicate.
	pgtest.Exec(t, db, `BEGIN; UPDATE orders SET email = 'x' WHERE id = 10; UPDATE orders SET email = 'e10' WHERE id = 11; UPDATE orders SET email = 'e11' WHERE id = 10; COMMIT`)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cleanup(t.Context(), changeling.Now); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `BEGIN; UPDATE orders SET email = 'x' WHERE id = 10; UPDATE orders SET email = 'e11' WHERE id = 11; UPDATE orders SET email = 'e10' WHERE id = 10; COMMIT`)
	sameAs(t, portrait(t, db), before, "after an undo")
}

// TestMySQLUndoRefused: where nothing is logged after the cutover, that is said beforehand and afterwards.
func TestMySQLUndoRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 50)
		c := made(t, db, myGrow, changeling.Config{Fast: true})
		if p := c.Plan(); p.Undo != nil || !strings.Contains(p.NoUndo, "binary log") {
			t.Errorf("the plan says of the undo: %v, %q", p.Undo, p.NoUndo)
		}
		if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "binary log") {
			t.Errorf("Undo = %v, want a refusal that names the binary log", err)
		}
		stands(t, c, "done", "")
	})
}
