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
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// cents is an expansion with a way up that loses nothing and a way down that rounds: an amount in cents becomes one in whole units.
var cents = changeling.Expansion{Statement: `ALTER TABLE prices ALTER COLUMN cents TYPE numeric USING cents / 100.0`, As: "price", Down: `round(price * 100)::int`}

// parsed is one both of whose ways may fail.
var parsed = changeling.Expansion{Statement: `ALTER TABLE codes ALTER COLUMN code TYPE int USING code::int`, As: "number", Down: `CASE WHEN number < 0 THEN (1 / (number - number))::text ELSE number::text END`}

// expandedTo is expanded for a new type.
func expandedTo(t *testing.T, db *sql.DB, x changeling.Expansion) *changeling.Change {
	t.Helper()
	c, err := expand(t.Context(), db, x, quick)
	if err != nil {
		t.Fatal(err)
	}
	stands(t, c, "expanded", "")
	return c
}

// TestExpandTypes: a column in two types at once. What one of them is written to be the other one comes to, by the user's expressions, and
// a value that was written stays as it was written, also where the way there and back loses something.
func TestExpandTypes(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	setup := []string{`CREATE TABLE prices (id int PRIMARY KEY, cents int NOT NULL DEFAULT 150 CHECK (cents >= 0), note text)`, `INSERT INTO prices SELECT i, i FROM generate_series(1, 300) i`, `CREATE INDEX prices_cents ON prices (note)`}
	pgtest.Exec(t, db, setup...)
	c := expandedTo(t, db, cents)
	both := func(id int) string {
		return asked(t, db, fmt.Sprintf(`SELECT cents || ' ' || trim_scale(price) FROM prices WHERE id = %d`, id))
	}
	for _, w := range []struct {
		write string
		id    int
		want  string
	}{
		{`SELECT`, 17, "17 0.17"},
		{`UPDATE prices SET cents = 250 WHERE id = 1`, 1, "250 2.5"},
		{`UPDATE prices SET price = 9.999 WHERE id = 1`, 1, "1000 9.999"},
		{`UPDATE prices SET note = 'n' WHERE id = 1`, 1, "1000 9.999"},
		{`UPDATE prices SET cents = cents WHERE id = 1`, 1, "1000 9.999"},
		{`UPDATE prices SET cents = cents + 1 WHERE id = 1`, 1, "1001 10.01"},
		{`UPDATE prices SET price = 3, cents = 5 WHERE id = 1`, 1, "300 3"},
		{`INSERT INTO prices (id, cents) VALUES (1001, 5)`, 1001, "5 0.05"},
		{`INSERT INTO prices (id, price) VALUES (1002, 0.071)`, 1002, "7 0.071"},
		{`INSERT INTO prices (id) VALUES (1003)`, 1003, "150 1.5"},
		{`SET session_replication_role = replica; UPDATE prices SET price = 4 WHERE id = 2; RESET session_replication_role`, 2, "400 4"},
	} {
		pgtest.Exec(t, db, w.write)
		if got := both(w.id); got != w.want {
			t.Errorf("%s: cents and price are %q, want %q", w.write, got, w.want)
		}
	}
	contracted(t, c)
	if sum := asked(t, db, `SELECT count(*) || ' ' || string_agg(trim_scale(price)::text, ',' ORDER BY id) FILTER (WHERE id IN (1, 2, 1002)) FROM prices`); sum != "303 3,4,0.071" {
		t.Errorf("the new column has %s", sum)
	}
	for _, says := range []string{"price", "numeric"} {
		if def := asked(t, db, `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ',' ORDER BY attnum) || (SELECT string_agg(pg_get_constraintdef(oid), ',') FROM pg_constraint WHERE conrelid = 'prices'::regclass) FROM pg_attribute WHERE attrelid = 'prices'::regclass AND attnum > 0 AND NOT attisdropped`); !strings.Contains(def, says) || !strings.Contains(def, "price numeric true") {
			t.Errorf("the table is %s", def)
		}
	}
}

// TestExpandTypesAsNative: contracted, the table is what ALTER TYPE and RENAME leave, but for the place of the column; aborted, what it was.
func TestExpandTypesAsNative(t *testing.T) {
	t.Parallel()
	setup := append(slices.Clone(victim), moreOfAmount...)
	dsn, nativeDSN := pgtest.Database(t), pgtest.Database(t)
	for _, x := range []changeling.Expansion{
		{Statement: `ALTER TABLE orders ALTER amount TYPE bigint`, As: "total"},
		{Statement: `ALTER TABLE items ALTER id TYPE bigint`, As: "no"},
		{Statement: `ALTER TABLE orders ALTER note TYPE varchar(120) USING left(note, 120)`, As: "remark", Down: "remark"},
	} {
		db, native := pgtest.Open(t, dsn), pgtest.Open(t, nativeDSN)
		raze(t, db)
		raze(t, native)
		pgtest.Exec(t, db, setup...)
		pgtest.Exec(t, native, setup...)
		was := byName(t, db)
		c := expandedTo(t, db, x)
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameAs(t, byName(t, db), was, x.Statement+", aborted")
		contracted(t, expandedTo(t, db, x))
		column := strings.Fields(x.Statement)[4]
		pgtest.Exec(t, native, x.Statement, fmt.Sprintf(`ALTER TABLE %s RENAME %s TO %s`, strings.Fields(x.Statement)[2], column, x.As))
		sameAs(t, byName(t, db), byName(t, native), x.Statement)
	}
}

// stopsBothWays: a change of codes whose row 1000 cannot go up and whose row 8 cannot go down is neither contracted nor aborted. An abort says the
// one row, and nothing of the other.
func stopsBothWays(t *testing.T, c *changeling.Change, says, not string) {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil || len(s.Unfit) != 2 || !strings.Contains(s.Unfit[0], "id 1000: number cannot") || !strings.Contains(s.Unfit[1], "id 8: code cannot") {
		t.Errorf("the status tells of %q (%v)", s.Unfit, err)
	}
	if err := c.Contract(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 1000") || strings.Contains(err.Error(), "id 8") {
		t.Fatalf("contracted: %v, want ErrData that names id 1000", err)
	}
	if err := c.Abort(t.Context()); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), not) {
		t.Fatalf("aborted: %v, want ErrData that names id 8", err)
	}
}

// TestExpandUnconvertible: a value that cannot go up fails no user, is named, and stops the contraction until somebody mends it; one that
// cannot go down fails nobody either, and stops the way back.
func TestExpandUnconvertible(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	make := []string{`CREATE TABLE codes (id int PRIMARY KEY, code text)`, `INSERT INTO codes SELECT i, i::text FROM generate_series(1, 300) i`}
	pgtest.Exec(t, db, append(make, `UPDATE codes SET code = 'y' WHERE id = 7`)...)
	if _, err := expand(t.Context(), db, parsed, quick); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7") {
		t.Fatalf("a row that was there: %v, want ErrData that names id 7", err)
	}
	pgtest.Exec(t, db, `UPDATE codes SET code = '77' WHERE id = 7`)
	c := expandedTo(t, db, parsed)
	row := func(id int) string {
		return asked(t, db, fmt.Sprintf(`SELECT coalesce(code, 'NULL') || ' ' || coalesce(number::text, 'NULL') FROM codes WHERE id = %d`, id))
	}
	pgtest.Exec(t, db, `INSERT INTO codes (id, code) VALUES (1000, 'abc')`, `UPDATE codes SET number = -5 WHERE id = 8`, `UPDATE codes SET number = NULL WHERE id = 9`)
	for id, want := range map[int]string{1000: "abc NULL", 8: "NULL -5", 9: "NULL NULL", 7: "77 77"} {
		if got := row(id); got != want {
			t.Errorf("row %d is %q, want %q", id, got, want)
		}
	}
	stopsBothWays(t, c, `["8"]`, "1000")
	if got := row(8); got != "NULL -5" {
		t.Errorf("row 8 is %q after an abort that was refused", got)
	}
	pgtest.Exec(t, db, `UPDATE codes SET code = '1' WHERE id = 1000`)
	contracted(t, c)
	if got := asked(t, db, `SELECT sum(number) || ' ' || count(*) || ' ' || count(number) FROM codes`); got != fmt.Sprintf("%d 301 300", 300*301/2-7+77-8-5-9+1) {
		t.Errorf("sum and counts are %s", got)
	}
	// And back, where what did not fit was mended.
	raze(t, db)
	pgtest.Exec(t, db, make...)
	c = expandedTo(t, db, parsed)
	pgtest.Exec(t, db, `UPDATE codes SET number = -5 WHERE id = 8`, `UPDATE codes SET number = 500 WHERE id = 8`, `UPDATE codes SET number = -6 WHERE id = 10`, `DELETE FROM codes WHERE id = 10`)
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := asked(t, db, `SELECT code FROM codes WHERE id = 8`); got != "500" {
		t.Errorf("the old column has %s", got)
	}
	if left := asked(t, db, `SELECT count(*) FROM pg_namespace WHERE nspname ~ '^changeling_'`); left != "0" {
		t.Errorf("%s schemas are left", left)
	}
}

// TestExpandTypesRefused: what would fail users or has no way back is refused.
func TestExpandTypesRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE codes (id int PRIMARY KEY, code text UNIQUE, other text)`, `CREATE TABLE keyless (a text)`)
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		x    changeling.Expansion
		says string
	}{
		{parsed, "a key over the column"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int USING other::int`}, "--as NAME"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int USING other::int`, As: "code"}, "already"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int USING other::int`, As: "other"}, "the name that the column has"},
		{changeling.Expansion{Statement: `ALTER TABLE codes RENAME other TO x`, As: "x"}, "leave --as"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int`, As: "n", Up: `other::int`}, "leave --up"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int USING other::int`, As: "n", Down: `n + random()`}, "immutable"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE int USING other::int`, As: "n", Down: `nothing`}, "nothing"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE point USING point(1, 2)`, As: "n", Down: `n = n`}, "the way from n down"},
		{changeling.Expansion{Statement: `ALTER TABLE codes ALTER other TYPE timestamptz USING now()`, As: "n"}, "another value each time"},
		{changeling.Expansion{Statement: `ALTER TABLE keyless ALTER a TYPE int USING a::int`, As: "n"}, "found by a key"},
	} {
		_, p, err := e.Expand(t.Context(), c.x)
		said := fmt.Sprint(err)
		if err == nil {
			said = strings.Join(p.Refusals, "\n")
		} else if !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("%+v: %v", c.x, err)
		}
		if !strings.Contains(said, c.says) {
			t.Errorf("%+v: %q, want %q in it", c.x, said, c.says)
		}
	}
}

// TestExpandTypesLedger: as TestExpandLedger, with a conversion.
func TestExpandTypesLedger(t *testing.T) {
	t.Parallel()
	a := newAccountants(t)
	stopOld := a.write("old", 3, false)
	c := expandedTo(t, a.db, changeling.Expansion{Statement: `ALTER TABLE accounts ALTER old TYPE numeric USING old / 10.0`, As: "tenth", Down: `(tenth * 10)::int`})
	pgtest.Exec(t, a.db, `CREATE VIEW mirrored AS SELECT id, tenth * 10 AS times FROM accounts`)
	stopNew := a.writeAs("tenth", "%d / 10.0", 3, false)
	for deadline := time.Now().Add(time.Minute); a.wrote[1].Load() < 100 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	stopOld()
	a.proves("old", "tenth * 10")
	pgtest.Exec(t, a.db, `DROP VIEW mirrored`)
	contracted(t, c)
	stopNew()
	a.proves("tenth * 10")
}

// TestExpandTypesMutants: what the schedule must show.
func TestExpandTypesMutants(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	trigger := matching(`^CREATE OR REPLACE FUNCTION .* RETURNS trigger .*changeling_up`)
	for _, m := range []struct {
		name     string
		old, new string
		at       func(string) bool
	}{
		{name: "whole"},
		{"the way back of what was filled", "THEN RETURN NEW; END IF;\n  EXCEPTION", "THEN NULL; END IF;\n  EXCEPTION", trigger},
		{"NULL is filled for ever", ` THEN RETURN NEW; END IF;
  IF TG_OP = 'INSERT'`, ` AND NOT ROW(NEW."price")::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(NULL::numeric)::pg_catalog.record THEN RETURN NEW; END IF;
  IF TG_OP = 'INSERT'`, trigger},
		{"what is not changed is computed anew", "IF TG_OP = 'UPDATE' AND NOT ROW", "IF false AND NOT ROW", trigger},
	} {
		db := pgtest.Open(t, dsn)
		raze(t, db)
		// The way up is not that of the way down: a filled row must not be written back, and NULL has a value below.
		pgtest.Exec(t, db, `CREATE TABLE prices (id int PRIMARY KEY, cents int, note text)`, `INSERT INTO prices SELECT i, i FROM generate_series(1, 300) i`)
		hits := 0
		pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if m.at != nil && m.at(x.Text) && strings.Contains(x.Text, m.old) {
				hits++
				return strings.ReplaceAll(x.Text, m.old, m.new)
			}
			return x.Text
		})
		x := changeling.Expansion{Statement: `ALTER TABLE prices ALTER COLUMN cents TYPE numeric USING (cents / 10) * 10`, As: "price", Down: `coalesce(price, 0)::int`}
		c, err := expand(t.Context(), pool, x, quick)
		var got string
		if err == nil {
			pgtest.Exec(t, db, `UPDATE prices SET price = 17.5 WHERE id = 1`, `UPDATE prices SET note = 'n' WHERE id = 1`, `UPDATE prices SET price = NULL WHERE id = 2`, `UPDATE prices SET note = 'n' WHERE id = 2`)
			got = asked(t, db, `SELECT string_agg(coalesce(cents::text, 'NULL') || ' ' || coalesce(price::text, 'NULL'), ', ' ORDER BY id) FROM prices WHERE id IN (1, 2, 39)`)
			err = c.Abort(t.Context())
		}
		ok := err == nil && got == "18 17.5, 0 NULL, 39 30"
		if ok != (m.at == nil) || m.at != nil && hits == 0 {
			t.Errorf("%s: %q (%v), met %d statements", m.name, got, err, hits)
		}
	}
}

// TestExpandTypesDies is TestExpandDiesAtEveryStatement with a conversion.
func TestExpandTypesDies(t *testing.T) {
	t.Parallel()
	x := changeling.Expansion{Statement: `ALTER TABLE orders ALTER COLUMN note TYPE varchar(150) USING left(note, 150)`, As: "remark", Down: "remark"}
	setup := append(slices.Clone(victim), `ALTER TABLE orders ALTER note SET DEFAULT 'none', ALTER note SET NOT NULL`)
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(setup), x.Statement, `ALTER TABLE orders RENAME note TO remark`)...)
	pgtest.Exec(t, native, between...)
	act := func(ctx context.Context, db *sql.DB) error { return expandAndContract(ctx, db, x, quick) }
	mortal{setup: setup, act: act, look: byName, want: byName(t, native), stream: 13, part: 8}.test(t)
}

// TestExpandHostile: names of every kind, a role that is no superuser, and functions that only the user's search path finds.
func TestExpandHostile(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	super := pgtest.Open(t, dsn)
	role := "expander_" + asked(t, super, `SELECT right(current_database(), 8)`)
	t.Cleanup(func() {
		if _, err := super.ExecContext(context.WithoutCancel(t.Context()), `DROP OWNED BY `+role+` CASCADE; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	pgtest.Exec(t, super, `CREATE ROLE `+role+` LOGIN`, `GRANT CREATE ON DATABASE "`+asked(t, super, `SELECT current_database()`)+`" TO `+role, `GRANT CREATE ON SCHEMA public TO `+role)
	db := pgtest.Open(t, strings.Replace(dsn, "postgres@", role+"@", 1))
	pgtest.Exec(t, db, `CREATE SCHEMA "my ""s"`, `CREATE FUNCTION public.half(int) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2.0'`, `CREATE FUNCTION public.twice(numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1 * 2)::int'`,
		`CREATE TABLE "my ""s"."new" ("new" int PRIMARY KEY, "old" int DEFAULT 6, "changeling_row" text DEFAULT '$changeling$', "select" text)`, `INSERT INTO "my ""s"."new" SELECT i, i FROM generate_series(1, 50) i`)
	for _, x := range []changeling.Expansion{
		{Statement: `ALTER TABLE "my ""s"."new" RENAME COLUMN "changeling_row" TO "é ""$x$"`},
		{Statement: `ALTER TABLE "my ""s"."new" RENAME COLUMN "select" TO "new old"`},
		{Statement: `ALTER TABLE "my ""s"."new" ALTER COLUMN "old" TYPE numeric USING half("old")`, As: `"new"`, Down: `twice("""new""")`},
		{Statement: `ALTER TABLE "my ""s"."new" RENAME COLUMN "new" TO "old"`},
	} {
		c := expandedTo(t, db, x)
		pgtest.Exec(t, db, `UPDATE "my ""s"."new" SET "new" = -"new" WHERE "new" = 7`)
		contracted(t, c)
	}
	if got := asked(t, db, `SELECT string_agg(attname::text, ' | ' ORDER BY attname) || (SELECT ' ' || count(*) || ' ' || trim_scale(sum("""new""")) FROM "my ""s"."new") FROM pg_attribute WHERE attrelid = '"my ""s"."new"'::regclass AND attnum > 0 AND NOT attisdropped`); got != `"new" | new old | old | é "$x$ 50 637.5` {
		t.Errorf("the table is %s", got)
	}
}
