package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// rebuilds makes the rebuild from beginning to end, or goes on with one.
func rebuilds(ctx context.Context, db *sql.DB, b changeling.Rebuild, c changeling.Config) error {
	e, err := changeling.Open(ctx, db, c)
	if err != nil {
		return err
	}
	defer e.Close()
	change, p, err := e.Rebuild(ctx, b)
	if err == nil && change == nil {
		change, err = e.StartPlan(ctx, p)
	}
	if err != nil {
		return err
	}
	return change.Run(ctx)
}

// disorder is how many rows of a table stand behind one with a higher key.
func disorder(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE id < before) FROM (SELECT id, lag(id) OVER (ORDER BY ctid) AS before FROM `+table+`) x`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRebuild writes a bloated table anew: it has the definition and the rows that it had, is smaller, and can be rebuilt again.
func TestRebuild(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	pgtest.Exec(t, db, `INSERT INTO orders (email, note) SELECT 'more' || i, repeat('n', 200) FROM generate_series(1, 20000) i`, `DELETE FROM orders WHERE email LIKE 'more%' AND id % 20 <> 0`)
	want := portrait(t, db)
	size := func() (bytes, file int64) {
		if err := db.QueryRow(`SELECT pg_total_relation_size('orders'), pg_relation_filenode('orders')`).Scan(&bytes, &file); err != nil {
			t.Fatal(err)
		}
		return bytes, file
	}
	before, file := size()
	for range 2 {
		if err := rebuilds(t.Context(), db, changeling.Rebuild{Table: "orders"}, quick); err != nil {
			t.Fatal(err)
		}
		sameAs(t, portrait(t, db), want, "after a rebuild")
		after, now := size()
		if after > before/5 || now == file {
			t.Errorf("the table has %d bytes in file %d, it had %d in file %d", after, now, before, file)
		}
		file = now
	}
	for _, c := range []struct {
		b    changeling.Rebuild
		kind error
		says string
	}{
		{changeling.Rebuild{Table: "nothing"}, changeling.ErrUsage, "does not exist"},
		{changeling.Rebuild{Table: "orders; DROP TABLE orders"}, changeling.ErrUsage, "no name of a table"},
		{changeling.Rebuild{Table: "orders", OrderBy: "nothing"}, changeling.ErrUsage, `"nothing"`},
		{changeling.Rebuild{Table: "orders", OrderBy: "orders_tenant"}, changeling.ErrRefused, "only a key gives an order"},
		{changeling.Rebuild{Table: "orders", FillFactor: 5}, changeling.ErrUsage, "fillfactor"},
	} {
		if err := rebuilds(t.Context(), db, c.b, quick); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("rebuild of %+v = %v, want %v that says %q", c.b, err, c.kind, c.says)
		}
	}
	sameAs(t, portrait(t, db), want, "after what was refused")
}

// TestRebuildDiesAtEveryStatement kills a rebuild in the order of a key before and after its statements, lets users write, and
// rebuilds again.
func TestRebuildDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	b := changeling.Rebuild{Table: "orders", OrderBy: "orders_email", FillFactor: 70}
	act := func(ctx context.Context, db *sql.DB) error { return rebuilds(ctx, db, b, quick) }
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(victim), `ALTER TABLE orders SET (fillfactor = 70), CLUSTER ON orders_email`)...)
	pgtest.Exec(t, native, between...)
	mortal{setup: victim, act: act, look: portrait, want: portrait(t, native), stream: 8, more: func(db *sql.DB, at string) {
		var options string
		if err := db.QueryRow(`SELECT reloptions::text || (SELECT indisclustered FROM pg_index WHERE indexrelid = 'orders_email'::regclass) FROM pg_class WHERE oid = 'orders'::regclass`).Scan(&options); err != nil || options != "{fillfactor=70}true" {
			t.Errorf("%s: options and cluster mark are %s (%v)", at, options, err)
		}
	}}.test(t)
}

// TestRebuildInOrder: the rows stand in the order of the index; without the order in the copy's statement they do not.
func TestRebuildInOrder(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		dsn := pgtest.Database(t)
		db := pgtest.Open(t, dsn)
		pgtest.Exec(t, db, `CREATE TABLE events (id bigint PRIMARY KEY, note text)`,
			`INSERT INTO events SELECT i, repeat('n', 50) FROM generate_series(1, 20000) i ORDER BY md5(i::text)`)
		hits := 0
		pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			head, _, found := strings.Cut(x.Text, ` ORDER BY "events"."id"`)
			if found && strings.HasPrefix(x.Text, "INSERT INTO ") {
				if hits++; broken {
					return head
				}
			}
			return x.Text
		})
		if err := rebuilds(t.Context(), pool, changeling.Rebuild{Table: "events", OrderBy: "events_pkey"}, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM events WHERE length(note) = 50`).Scan(&n); err != nil || n != 20000 || hits == 0 {
			t.Errorf("%d rows (%v), want 20000; %d ordered copies", n, err, hits)
		}
		// Two workers may write their ranges in turns; a row within a range never stands behind a higher one.
		if n := disorder(t, db, "events"); (n > 500) != broken {
			t.Errorf("%d rows stand behind a higher key, with the mutant: %v", n, broken)
		}
	}
}

// TestRebuildLedger rebuilds a table in the order of its key under writers that keep a ledger.
func TestRebuildLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 40_000, Rate: 600, Replica: true})
	stop := s.write()
	s.pause(200 * time.Millisecond)
	var index string
	if err := s.db.QueryRow(`SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'accounts'::regclass AND indisprimary`).Scan(&index); err != nil {
		t.Fatal(err)
	}
	if err := rebuilds(t.Context(), s.db, changeling.Rebuild{Table: "accounts", OrderBy: index}, s.config); err != nil {
		t.Fatal(err)
	}
	s.pause(200 * time.Millisecond)
	stop()
	s.untouched()
	t.Logf("%s; users: %s", s.figures(), s.ledger.Stats())
}

// TestMySQLRebuild: likewise there, where rows always stand in the order of the primary key.
func TestMySQLRebuild(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 3000)
			mytest.Exec(t, db, `DELETE FROM `+table+` WHERE id % 10 <> 0`)
		}
		var told story
		for n := 1; n <= 2; n++ {
			if err := rebuilds(t.Context(), db, changeling.Rebuild{Table: "orders"}, changeling.Config{DropAfter: changeling.DropNow, Events: told.tell}); err != nil {
				t.Fatal(err)
			}
			equalMy(t, db, "orders", "twin", fmt.Sprintf("after rebuild %d", n))
			if swaps := told.count(func(e event.Event) bool { c, ok := e.(event.CutoverTried); return ok && c.Swapped }); swaps != n {
				t.Errorf("%d swaps after %d rebuilds", swaps, n)
			}
		}
		if err := rebuilds(t.Context(), db, changeling.Rebuild{Table: "orders", OrderBy: "orders_email"}, quick); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("an order on MySQL = %v, want ErrUsage", err)
		}
	})
}
