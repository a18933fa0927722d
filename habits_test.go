package changeling_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestTimeoutsOfTheRole: limits that a role or a database has for its applications do not end a change, which takes longer.
func TestTimeoutsOfTheRole(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 700) i`,
		`CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN $1; END'`, `CREATE INDEX orders_slow ON orders (slow(id))`)
	for setting, limit := range map[string]string{"statement_timeout": "1s", "lock_timeout": "30ms", "idle_in_transaction_session_timeout": "600ms", "idle_session_timeout": "1s"} {
		pgtest.Exec(t, db, fmt.Sprintf(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET %s = ''%s''', current_database()); END $$`, setting, limit))
	}
	hurried := pgtest.Open(t, dsn)
	if _, err := hurried.ExecContext(t.Context(), `REINDEX INDEX orders_slow`); err == nil {
		t.Fatal("the database has no limits")
	}
	if err := changeling.Apply(t.Context(), hurried, widenOrders, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
		t.Fatal(err)
	}
}

// TestEmptySearchPath: a role that finds nothing without a schema changes tables by their full names.
func TestEmptySearchPath(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE t (id int PRIMARY KEY, v int)`, `INSERT INTO t SELECT i, i FROM generate_series(1, 100) i`, `CREATE INDEX ON t (v)`,
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = ''''', current_database()); END $$`)
	bare := pgtest.Open(t, dsn)
	for _, ddl := range []string{`ALTER TABLE public.t ALTER v TYPE text USING v || 'x'`, `ALTER TABLE public.t ADD CHECK (v <> '')`, `CREATE INDEX ON public.t (v)`, `ALTER TABLE public.t ADD COLUMN w int`} {
		if err := changeling.Apply(t.Context(), bare, ddl, quick); err != nil {
			t.Errorf("%s: %v", ddl, err)
		}
	}
}

// TestSavedByAnotherVersion: what another version saved, with a plan in another form, is refused before anything is touched.
func TestSavedByAnotherVersion(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 2000)
	e, err := changeling.Open(t.Context(), db, changeling.Config{Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Start(t.Context(), widenOrders)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- c.Run(ctx) }()
	reaches(t, c, "hold", held)
	cancel()
	if err := <-end; !errors.Is(err, changeling.ErrStopped) {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `UPDATE changeling.change SET format = format + 1`)
	err = changeling.Apply(t.Context(), db, widenOrders, changeling.Config{})
	if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "version") {
		t.Errorf("Apply = %v, want an error of kind ErrPrecondition that speaks of versions", err)
	}
	pgtest.Exec(t, db, `UPDATE changeling.change SET format = format - 1`)
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPreparedStatements: what a session prepared before the swap works, or fails, as after the server's own ALTER.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	after := func(change func(t *testing.T, dsn string)) (said []string) {
		dsn := pgtest.Database(t)
		db := pgtest.Open(t, dsn)
		pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 1000) i`,
			`CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT sum(amount) FROM orders); END'`)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		statements := []string{`update`, `insert`, `remove`, `one`, `whole`, `amounts`}
		pgtest.Exec(t, conn, `PREPARE update(int) AS UPDATE orders SET amount = amount + 1 WHERE id = $1`, `PREPARE insert(int) AS INSERT INTO orders VALUES ($1 + 5000, 'b' || $1::text, $1)`,
			`PREPARE remove(int) AS DELETE FROM orders WHERE id = $1 + 1`, `PREPARE one(int) AS SELECT email FROM orders WHERE id = $1`, `PREPARE whole(int) AS SELECT * FROM orders WHERE id = $1`,
			`PREPARE amounts(int) AS UPDATE orders SET amount = $1 WHERE id = $1 RETURNING amount`,
			`BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY id; FETCH 10 FROM held; COMMIT`)
		run := func(id int) {
			for _, s := range statements {
				_, err := conn.ExecContext(t.Context(), fmt.Sprintf(`EXECUTE %s(%d)`, s, id))
				said = append(said, fmt.Sprint(s, " ", err))
			}
			for _, q := range []string{`SELECT total()`, `FETCH 10 FROM held`} {
				_, err := conn.ExecContext(t.Context(), q)
				said = append(said, fmt.Sprint(q, " ", err))
			}
		}
		for id := range 6 { // often enough for a plan that is kept
			run(10 * (id + 1))
		}
		change(t, dsn)
		run(500)
		run(600)
		var sum string
		if err := db.QueryRow(`SELECT count(*) || ' ' || sum(amount) || ' ' || max(id) FROM orders`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return append(said, sum)
	}
	natively := after(func(t *testing.T, dsn string) { pgtest.Exec(t, pgtest.Open(t, dsn), widenOrders) })
	ours := after(func(t *testing.T, dsn string) {
		if err := changeling.Apply(t.Context(), pgtest.Open(t, dsn), widenOrders, changeling.Config{}); err != nil {
			t.Fatal(err)
		}
	})
	for i, want := range natively {
		if ours[i] != want {
			t.Errorf("statement %d: %s; after the server's own ALTER: %s", i, ours[i], want)
		}
	}
}
