package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// expand brings a column beside another one, or goes on with that, and answers the change.
func expand(ctx context.Context, db *sql.DB, x changeling.Expansion, config changeling.Config) (*changeling.Change, error) {
	e, err := changeling.Open(ctx, db, config)
	if err != nil {
		return nil, err
	}
	c, p, err := e.Expand(ctx, x)
	if err == nil && c == nil {
		c, err = e.StartPlan(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return c, c.Run(ctx)
}

// expandAndContract expands and contracts, or goes on wherever that stands.
func expandAndContract(ctx context.Context, db *sql.DB, x changeling.Expansion, config changeling.Config) error {
	c, err := expand(ctx, db, x, config)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	if err != nil || s.Status == "done" {
		return err
	}
	if err := c.Contract(ctx); err != nil {
		return err
	}
	return c.Run(ctx)
}

func expanded(t *testing.T, db *sql.DB, ddl string) *changeling.Change {
	t.Helper()
	c, err := expand(t.Context(), db, changeling.Expansion{Statement: ddl}, quick)
	if err != nil {
		t.Fatal(err)
	}
	stands(t, c, "expanded", "")
	return c
}

func contracted(t *testing.T, c *changeling.Change) {
	t.Helper()
	if err := c.Contract(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "done", "")
}

// TestExpandAsNative: contracted, a table is what a native RENAME COLUMN leaves, but for the place of the column; aborted, it is what it was.
func TestExpandAsNative(t *testing.T) {
	t.Parallel()
	setup := append(append(slices.Clone(victim), moreOfAmount...),
		`CREATE STATISTICS of_orders ON amount, tenant FROM orders`, `CREATE INDEX orders_half ON orders ((amount / 2)) WHERE amount > 3`, `GRANT UPDATE (amount) ON orders TO PUBLIC`,
		`CREATE TABLE logs (id serial, at timestamptz DEFAULT now(), doc json, PRIMARY KEY (id, at))`, `INSERT INTO logs (doc) SELECT format('{"a": %s}', i)::json FROM generate_series(1, 50) i`)
	dsn, nativeDSN := pgtest.Database(t), pgtest.Database(t)
	for _, ddl := range []string{
		`ALTER TABLE orders RENAME COLUMN amount TO total`, `ALTER TABLE orders RENAME email TO "E Mail"`, `ALTER TABLE orders RENAME COLUMN tenant TO customer`,
		`ALTER TABLE items RENAME COLUMN id TO no`, `ALTER TABLE items RENAME COLUMN "order" TO "select"`, `ALTER TABLE logs RENAME id TO no`, `ALTER TABLE logs RENAME doc TO body`, `ALTER TABLE logs RENAME at TO "when"`,
	} {
		db, native := pgtest.Open(t, dsn), pgtest.Open(t, nativeDSN)
		raze(t, db)
		raze(t, native)
		pgtest.Exec(t, db, setup...)
		pgtest.Exec(t, native, setup...)
		was := byName(t, db)
		c := expanded(t, db, ddl)
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameAs(t, byName(t, db), was, ddl+", aborted")
		contracted(t, expanded(t, db, ddl))
		pgtest.Exec(t, native, ddl)
		sameAs(t, byName(t, db), byName(t, native), ddl)
		if again, err := expand(t.Context(), db, changeling.Expansion{Statement: ddl}, quick); err != nil {
			t.Errorf("%s again: %v", ddl, err)
		} else {
			stands(t, again, "done", "")
		}
	}
}

// TestExpandedWrites: whoever writes one of the columns has written the other, by the rules that the documentation gives.
func TestExpandedWrites(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, a text, note text)`, `INSERT INTO t VALUES (1, 'one'), (2, NULL)`,
		`CREATE TABLE d (id int PRIMARY KEY, a text NOT NULL DEFAULT 'dflt', note text)`, `CREATE TABLE v (id int PRIMARY KEY, a text DEFAULT clock_timestamp()::text, note text)`, `CREATE TABLE j (id int PRIMARY KEY, a json)`,
		`INSERT INTO j VALUES (1, '{"x":1}')`)
	for _, table := range []string{"t", "d", "v", "j"} {
		expanded(t, db, `ALTER TABLE `+table+` RENAME COLUMN a TO b`)
	}
	both := func(table, id string) string {
		return asked(t, db, fmt.Sprintf(`SELECT coalesce(a::text, 'NULL') || ' ' || coalesce(b::text, 'NULL') FROM %s WHERE id = %s`, table, id))
	}
	for _, c := range []struct{ write, table, id, want string }{
		{`SELECT`, "t", "1", "one one"},
		{`SELECT`, "t", "2", "NULL NULL"},
		{`UPDATE t SET a = 'uno' WHERE id = 1`, "t", "1", "uno uno"},
		{`UPDATE t SET b = 'eins' WHERE id = 1`, "t", "1", "eins eins"},
		{`UPDATE t SET note = 'n' WHERE id = 1`, "t", "1", "eins eins"},
		{`UPDATE t SET a = 'x', b = 'y' WHERE id = 1`, "t", "1", "y y"},
		{`UPDATE t SET a = 'x', b = b WHERE id = 1`, "t", "1", "x x"},
		{`UPDATE t SET b = NULL WHERE id = 1`, "t", "1", "NULL NULL"},
		{`UPDATE t SET b = 'z' WHERE id = 2`, "t", "2", "z z"},
		{`UPDATE t SET a = NULL WHERE id = 2`, "t", "2", "NULL NULL"},
		{`INSERT INTO t (id, a) VALUES (10, 'old')`, "t", "10", "old old"},
		{`INSERT INTO t (id, b) VALUES (11, 'new')`, "t", "11", "new new"},
		{`INSERT INTO t (id, a, b) VALUES (12, 'old', 'new')`, "t", "12", "new new"},
		{`INSERT INTO t VALUES (13, 'old', 'by place')`, "t", "13", "old old"},
		{`INSERT INTO t (id) VALUES (14)`, "t", "14", "NULL NULL"},
		{`INSERT INTO t (id, b) VALUES (10, 'merged') ON CONFLICT (id) DO UPDATE SET b = excluded.b`, "t", "10", "merged merged"},
		{`INSERT INTO t (id, a) VALUES (10, 'back') ON CONFLICT (id) DO UPDATE SET a = excluded.a`, "t", "10", "back back"},
		{`SET session_replication_role = replica; INSERT INTO t (id, b) VALUES (15, 'r'); UPDATE t SET a = 's' WHERE id = 15; RESET session_replication_role`, "t", "15", "s s"},
		{`INSERT INTO d (id) VALUES (1)`, "d", "1", "dflt dflt"},
		{`INSERT INTO d (id, a) VALUES (2, 'old')`, "d", "2", "old old"},
		{`INSERT INTO d (id, b) VALUES (3, 'new')`, "d", "3", "new new"},
		{`INSERT INTO d (id, a) VALUES (4, 'dflt')`, "d", "4", "dflt dflt"},
		{`INSERT INTO v (id, b) VALUES (1, 'new')`, "v", "1", "new new"},
		{`INSERT INTO v (id, a) VALUES (2, 'old')`, "v", "2", "old old"},
		{`INSERT INTO j (id, b) VALUES (2, '{"x": 1}')`, "j", "2", `{"x": 1} {"x": 1}`},
		{`UPDATE j SET b = '{"x": 1}' WHERE id = 1`, "j", "1", `{"x": 1} {"x": 1}`},
	} {
		pgtest.Exec(t, db, c.write)
		if got := both(c.table, c.id); got != c.want {
			t.Errorf("%s: a and b are %q, want %q", c.write, got, c.want)
		}
	}
	pgtest.Exec(t, db, `INSERT INTO v (id) VALUES (3)`)
	if same := asked(t, db, `SELECT a = b AND a IS NOT NULL FROM v WHERE id = 3`); same != "true" {
		t.Error("a default that is another one each time is another one in each column")
	}
	if _, err := db.Exec(`INSERT INTO d (id, b) VALUES (9, NULL)`); err == nil {
		t.Error("NULL in a column that is NOT NULL under its old name was taken under its new one")
	}
}

// TestExpandRefused: what cannot live under two names is refused before anything is done, and what is asked for at the wrong time says so.
func TestExpandRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, append(slices.Clone(victim), `CREATE TABLE g (a int, c int GENERATED ALWAYS AS (a * 2) STORED, d int)`, `CREATE TABLE w (a int)`, `CREATE VIEW of_w AS SELECT a FROM w`,
		`CREATE TABLE p (a int) PARTITION BY HASH (a)`)...)
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	for ddl, says := range map[string]string{
		`ALTER TABLE orders RENAME id TO no`:       "foreign key items_order_fkey",
		`ALTER TABLE g RENAME a TO b`:              "computed from column a",
		`ALTER TABLE g RENAME c TO b`:              "is generated",
		`ALTER TABLE w RENAME a TO b`:              "view public.of_w",
		`ALTER TABLE p RENAME a TO b`:              "partitioned",
		`ALTER TABLE of_w RENAME a TO b`:           "a view",
		`ALTER TABLE orders ADD COLUMN x int`:      "no ALTER TABLE",
		`ALTER TABLE orders RENAME TO purchases`:   "no ALTER TABLE",
		`ALTER TABLE orders RENAME nothing TO b`:   "does not exist",
		`ALTER TABLE orders RENAME amount TO note`: "already exists",
		`ALTER TABLE nowhere RENAME a TO b`:        "does not exist",
	} {
		c, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: ddl})
		said := fmt.Sprint(err)
		if err == nil && c == nil && p.Route == plan.Refuse {
			said = strings.Join(p.Refusals, "\n")
		} else if !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("%s: %v, %+v", ddl, err, p)
		}
		if !strings.Contains(said, says) {
			t.Errorf("%s: %q, want %q in it", ddl, said, says)
		}
	}
	c := expanded(t, db, `ALTER TABLE orders RENAME note TO remark`)
	if err := c.Cutover(t.Context()); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("the cutover of what is expanded: %v", err)
	}
	if _, _, err := e.Expand(t.Context(), changeling.Expansion{Statement: `ALTER TABLE orders RENAME amount TO total`}); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "changeling contract "+c.ID()) {
		t.Errorf("a second expansion of the table: %v", err)
	}
	if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders RENAME note TO remark`, quick); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("the statement by itself, while it is expanded: %v", err)
	}
	contracted(t, c)
	if err := c.Contract(t.Context()); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("contracted again: %v", err)
	}
}

func beganStep(name string) func(event.Event) bool {
	return func(e event.Event) bool { s, ok := e.(event.StepStarted); return ok && s.Name == name }
}
