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
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
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
	if r := s.proves(); r.Wrong() > 0 {
		t.Errorf("the table is not what was written: %s", r)
	}
	if stats := s.ledger.Stats(); stats.Failures() > 0 || stats.BlindCommitted > 0 {
		t.Errorf("users met: %s", stats)
	}
	if n := s.story.count(differed); n > 0 {
		t.Errorf("the verification found %d times that rows differed", n)
	}
	stands(t, c, "undone", "")
}

// TestUndoLedger undoes a change under writers that keep a ledger, and finds every write in the old table.
func TestUndoLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 20_000, Replica: true, Truncate: 3 * time.Second})
	s.undone(t, func(c *changeling.Change) error { return c.Undo(t.Context(), changeling.NoLoss) })
	var typ string
	if err := s.db.QueryRowContext(t.Context(), `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'amount'`).Scan(&typ); err != nil || typ != "integer" {
		t.Errorf("amount is %s, %v, want integer", typ, err)
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
  (CASE WHEN id = 3000 THEN (3000, 1, 1.5::numeric, 'none') ELSE (id, CASE WHEN id <= 1000 THEN id + 1 ELSE id END, CASE WHEN id = 78 THEN 0.3 ELSE 0.5 END, 'f' || id) END)`).Scan(&wrong); err == nil && wrong > 1 {
		t.Errorf("%d rows are wrong", wrong)
	} else if err != nil {
		t.Error(err)
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
		"off":     {says: "without an undo window", config: changeling.Config{Undo: changeling.UndoOff}},
		"kept":    {says: "without an undo window", config: changeling.Config{DropAfter: changeling.Keep}},
		"altered": {says: "altered", act: func(t *testing.T, _ *changeling.Change, db *sql.DB) { pgtest.Exec(t, db, `ALTER TABLE orders ADD COLUMN more int`) }},
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

var _ = context.Canceled
