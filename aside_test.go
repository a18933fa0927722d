package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// later keeps what a statement takes away.
var later = changeling.Config{Fast: true, DropAfter: time.Hour}

const dropItems = `DROP TABLE items`

// asked is a value of a query as text.
func asked(t *testing.T, db *sql.DB, query string) (text string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	return text
}

// TestDropTableInStages: a table that is dropped for later is out of everybody's way at once, comes back with all that it had as long as it
// is kept, and goes when it is told to.
func TestDropTableInStages(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, append(slices.Clone(victim), `COMMENT ON CONSTRAINT items_order_fkey ON items IS 'theirs'`, `CREATE STATISTICS of_items ON id, "order" FROM items`, `GRANT SELECT ON items TO PUBLIC`)...)
	want := portrait(t, db)
	c := made(t, db, dropItems, later)
	stands(t, c, "done", "open")
	s, err := c.Status(t.Context())
	if err != nil || !strings.HasSuffix(s.OldTable, "_old.items") || s.DropAt == nil || s.Route != "recipe" {
		t.Errorf("the change is %+v (%v)", s, err)
	}
	if _, err := db.ExecContext(t.Context(), `SELECT FROM items`); err == nil {
		t.Error("the table is still there")
	}
	// It holds nobody up: neither by its foreign key, nor by the names that it had.
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`DELETE FROM orders WHERE id = 7`, `CREATE STATISTICS of_items ON id, amount FROM orders`, `CREATE TABLE items (id int PRIMARY KEY)`} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Errorf("beside a table that was put aside, %s: %v", statement, err)
		}
	}
	var rows int
	if err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM `+s.OldTable).Scan(&rows); err != nil || rows != 100 {
		t.Errorf("%d rows were kept (%v)", rows, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	e, err := changeling.Open(t.Context(), db, later)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.Start(t.Context(), dropItems); again != nil || err != nil {
		t.Errorf("the same statement again is %v, %v: there is nothing to do", again, err)
	}
	// Its name belongs to somebody else: nothing is done, and the change is as it was.
	pgtest.Exec(t, db, `CREATE TABLE items (id int)`)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "another public.items meanwhile") {
		t.Errorf("the undo beside another table of the name: %v", err)
	}
	stands(t, c, "done", "open")
	pgtest.Exec(t, db, dropItems)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
	sameAs(t, portrait(t, db), want, "after it came back")
	if comment := asked(t, db, `SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'items_order_fkey'`); comment != "theirs" {
		t.Errorf("the comment of its foreign key is %q", comment)
	}
	// Once more, for good.
	c = made(t, db, dropItems, later)
	if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil {
		t.Errorf("Cleanup before its time = %v, %v", dropped, err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
		t.Fatal(dropped, err)
	}
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("the undo after the drop: %v", err)
	}
	if again, err := e.Start(t.Context(), dropItems); again != nil || err != nil {
		t.Errorf("the same statement after the drop is %v, %v: there is nothing to do", again, err)
	}
	if n := asked(t, db, `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling\_%'`); n != "0" {
		t.Errorf("%s schemas are left", n)
	}
	// Without a time it is dropped as it is.
	pgtest.Exec(t, db, victim[len(victim)-2])
	if p := planned(t, db, dropItems, changeling.Config{}); p.Route != plan.Direct {
		t.Errorf("a plain DROP TABLE goes by %s", p.Route)
	}
}

// planned is a plan.
func planned(t *testing.T, db *sql.DB, ddl string, c changeling.Config) *plan.Plan {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Plan(t.Context(), ddl)
	if err != nil {
		t.Fatalf("%s: %v", ddl, err)
	}
	return p
}

// TestDropTableRefused: what the server would not drop either, and what could not be brought back, is named and left alone, whether it is
// there when the plan is made or comes after it.
func TestDropTableRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE a (id serial PRIMARY KEY)`, `CREATE TABLE b (id int DEFAULT nextval('a_id_seq'))`, `CREATE TABLE c (id int PRIMARY KEY)`, `CREATE TABLE d (c int REFERENCES c)`,
		`CREATE TABLE e (id int)`, `CREATE VIEW of_e AS SELECT * FROM e`, `CREATE TABLE f (id int)`, `CREATE FUNCTION of_f(f) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		`CREATE TABLE p (id int) PARTITION BY RANGE (id)`, `CREATE TABLE p1 PARTITION OF p DEFAULT`, `CREATE TABLE g (id int)`, `CREATE TABLE h (id int)`)
	for ddl, says := range map[string]string{
		`DROP TABLE a`: "default value for column id of table public.b", `DROP TABLE c`: "constraint d_c_fkey on table public.d", `DROP TABLE e`: "view public.of_e", `DROP TABLE f`: "function public.of_f(public.f)",
		`DROP TABLE p`: "partitioned", `DROP TABLE p1`: "part of", `DROP TABLE g, h`: "one table at a time", `DROP TABLE e CASCADE`: "CASCADE",
	} {
		if p := planned(t, db, ddl, later); p.Route != plan.Refuse || !strings.Contains(strings.Join(p.Refusals, "\n"), says) {
			t.Errorf("%s: %s %q, want a refusal that says %q", ddl, p.Route, p.Refusals, says)
		}
	}
	e, err := changeling.Open(t.Context(), db, later)
	if err != nil {
		t.Fatal(err)
	}
	for _, late := range []struct{ does, takesBack, says string }{
		{`CREATE VIEW of_g AS SELECT * FROM g`, `DROP VIEW of_g`, "view public.of_g"},
		{`DROP TABLE g; CREATE TABLE g (id int)`, `SELECT 1`, "another table by now"},
	} {
		c, err := e.Start(t.Context(), `DROP TABLE g`)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, db, strings.Split(late.does, "; ")...)
		if err := c.Run(t.Context()); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), late.says) {
			t.Errorf("%s after the plan: %v, want a refusal that says %q", late.does, err, late.says)
		}
		stands(t, c, "aborted", "")
		pgtest.Exec(t, db, late.takesBack)
	}
	if n := asked(t, db, `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling\_%'`); n != "0" {
		t.Errorf("%s schemas are left", n)
	}
}

// TestStagesBroken takes away what keeps a drop in stages right, one thing at a time: each time something is wrong that the tests above look at.
func TestStagesBroken(t *testing.T) {
	t.Parallel()
	nobody := func(text string) func(string) string {
		return func(s string) string {
			if strings.Contains(s, text) {
				return "SELECT ''::text WHERE false"
			}
			return s
		}
	}
	for _, c := range []struct {
		name     string
		rewrite  func(string) string
		between  []string // the plan and the run
		after    string
		holds    string // what is true where nothing is broken
		finishes bool   // unbroken it is done, and not refused
	}{
		{"its foreign keys stay", func(s string) string {
			if strings.Contains(s, "DROP CONSTRAINT") {
				return "SELECT 1"
			}
			return s
		}, nil, `DELETE FROM orders WHERE id = 7`, `SELECT count(*) = 100 FROM {old}.items`, true},
		{"dependants are not asked for under the lock", nobody("depends on it by now"), []string{`CREATE VIEW of_items AS SELECT * FROM items`}, `SELECT 1`, `SELECT to_regclass('items') IS NOT NULL`, false},
		{"who has its name is not asked", nobody("another table by now"), []string{dropItems, `CREATE TABLE items (theirs int, "order" bigint CONSTRAINT items_order_fkey REFERENCES orders)`}, `SELECT 1`, `SELECT to_regclass('items') IS NOT NULL`, false},
	} {
		for _, broken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s: %v", c.name, broken), func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.Database(t)
				db := pgtest.Open(t, dsn)
				pgtest.Exec(t, db, victim...)
				e, err := changeling.Open(t.Context(), pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					if broken {
						return c.rewrite(x.Text)
					}
					return x.Text
				}), later)
				if err != nil {
					t.Fatal(err)
				}
				change, err := e.Start(t.Context(), dropItems)
				if err != nil {
					t.Fatal(err)
				}
				pgtest.Exec(t, db, c.between...)
				err = change.Run(t.Context())
				if done := err == nil; done != (c.finishes || broken) {
					t.Fatalf("the run: %v", err)
				}
				pgtest.Exec(t, db, c.after)
				if holds := asked(t, db, strings.ReplaceAll(c.holds, "{old}", "changeling_"+change.ID()+"_old")); holds != fmt.Sprint(!broken) {
					t.Errorf("%s is %s", c.holds, holds)
				}
			})
		}
	}
}

// TestBringBackWithoutKeys: a table whose foreign key leads nowhere any more comes back without it, if that is said.
func TestBringBackWithoutKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	c := made(t, db, dropItems, later)
	pgtest.Exec(t, db, `DROP TABLE orders`)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "orders") {
		t.Fatalf("the undo without the other table: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), `SELECT FROM items`); err == nil {
		t.Error("it came back by halves")
	}
	if err := c.Undo(t.Context(), changeling.LossAllowed); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
	if n := asked(t, db, `SELECT count(*) FROM items`); n != "100" {
		t.Errorf("%s rows came back", n)
	}
	// Rows that went meanwhile are found by the validation, which the table is not kept back for.
	pgtest.Exec(t, db, victim[2], `INSERT INTO orders (email, tenant) SELECT 'e' || i, 1 FROM generate_series(1, 200) i`, `ALTER TABLE items ADD FOREIGN KEY ("order") REFERENCES orders ON DELETE CASCADE`)
	c = made(t, db, dropItems, later)
	pgtest.Exec(t, db, `DELETE FROM orders WHERE id = 7`)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) {
		t.Fatalf("the undo with a row that leads nowhere: %v", err)
	}
	pgtest.Exec(t, db, `DELETE FROM items WHERE "order" = 7`)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
	if valid := asked(t, db, `SELECT convalidated FROM pg_constraint WHERE conrelid = 'items'::regclass AND contype = 'f'`); valid != "true" {
		t.Error("its foreign key is not validated")
	}
}

// TestDiesInStages kills a run that puts a table aside, and one that brings it back, at statements that it sends: whoever goes on ends where
// an undisturbed run does, and at each moment the table is in one of its two places, with all of its rows.
func TestDiesInStages(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	random := rand.New(rand.NewPCG(seed(t), 11))
	there := func(ctx context.Context, db *sql.DB) error { return changeling.Apply(ctx, db, dropItems, later) }
	back := undoing(later)
	pgtest.Exec(t, db, victim...)
	want := portrait(t, db)
	var away, home []crash
	away = deaths(t, dsn, random, there)
	home = deaths(t, dsn, random, back)
	for i := range max(len(away), len(home)) {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		whole := func(at string) {
			t.Helper()
			if n := asked(t, db, `SELECT string_agg(relname || c.relkind::text, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'items' AND (nspname = 'public' OR nspname LIKE 'changeling\_%\_old')`); n != "itemsr" {
				t.Errorf("%s: the table is %q", at, n)
			}
		}
		at := dieAt(t, dsn, there, away[min(i, len(away)-1)])
		whole(at)
		if err := there(t.Context(), db); err != nil {
			t.Errorf("%s: the second run: %v", at, err)
			continue
		}
		if _, err := db.ExecContext(t.Context(), `SELECT FROM items`); err == nil {
			t.Errorf("%s: the table is still there", at)
		}
		at = dieAt(t, dsn, back, home[min(i, len(home)-1)])
		whole(at)
		if err := back(t.Context(), db); err != nil {
			t.Errorf("%s: the second undo: %v", at, err)
			continue
		}
		sameAs(t, portrait(t, db), want, at)
	}
}

// TestDropTablePublished: a table that is dropped for later is published no more, as after the drop, so that no subscriber meets its other name; and
// is again when it comes back, by those publications that are still there.
func TestDropTablePublished(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	pgtest.Exec(t, db, `CREATE PUBLICATION "news 1" FOR TABLE items, orders`, `CREATE PUBLICATION gone FOR TABLE items`)
	const published = `SELECT coalesce(string_agg(concat_ws(' ', pubname, schemaname, tablename), ', ' ORDER BY 1), '') FROM pg_publication_tables WHERE tablename = 'items'`
	c := made(t, db, dropItems, later)
	if got := asked(t, db, published); got != "" {
		t.Errorf("it is still published: %s", got)
	}
	pgtest.Exec(t, db, `DROP PUBLICATION gone`)
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	if got := asked(t, db, published); got != "news 1 public items" {
		t.Errorf("it is published as %q", got)
	}
}
