package changeling_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestNobodyElsesFunctionsRun: who may create in a schema that is in the search path, even before the server's own, gets nothing
// of his run by a change, neither with the rights of who makes it, nor with the owner's, nor by users who write meanwhile.
func TestNobodyElsesFunctionsRun(t *testing.T) {
	t.Parallel()
	pgtest.NobodyElsesFunctionsRun(t, trapped)
}

// trapped makes a change of a table in a database with a trap, and answers how often who ran what of it.
func trapped(t *testing.T, rewrite func(string) string) (calls int, what string) {
	dsn := pgtest.Database(t)
	admin := pgtest.Open(t, dsn)
	owner := "owner_" + strings.ToLower(rand.Text()[:8])
	pgtest.Exec(t, admin, `CREATE ROLE `+owner, `CREATE SCHEMA app AUTHORIZATION `+owner,
		`CREATE TABLE app.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL CHECK (amount > 0), note text)`,
		`CREATE INDEX ON app.orders (amount) WHERE note IS NOT NULL`, `ALTER TABLE app.orders OWNER TO `+owner,
		`INSERT INTO app.orders (email, amount, note) SELECT 'e' || i, i, 'n' FROM generate_series(1, 3000) i`)
	admin.SetMaxOpenConns(1) // the connection that it has is outside of the trap
	trap := pgtest.SetTrap(t, dsn)
	engine := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return rewrite(x.Text) })
	// What users do meanwhile they do with the server's own operators, so what is noted is not theirs.
	users := func(s string) {
		pgtest.Exec(t, admin, `SET search_path = pg_catalog, app`, s, `RESET search_path`)
	}
	config := changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Discard, began("heal"), func() {
		users(`UPDATE app.orders SET amount = amount + 1, note = NULL WHERE id < 50; DELETE FROM app.orders WHERE id = 60; INSERT INTO app.orders (email, amount) VALUES ('new', 5)`)
	})}
	config.Events = upon(config.Events, began("verify"), func() { users(`UPDATE app.orders SET id = DEFAULT WHERE id = 70`) })
	if err := changeling.Apply(t.Context(), engine, `ALTER TABLE app.orders ALTER COLUMN amount TYPE bigint, ADD COLUMN more int DEFAULT 7`, config); err != nil {
		t.Fatal(err)
	}
	calls, what = trap.Calls()
	var rows, wide int
	if err := admin.QueryRow(`SELECT count(*), count(*) FILTER (WHERE pg_typeof(amount) = 'bigint'::regtype) FROM app.orders`).Scan(&rows, &wide); err != nil || rows != 3000 || wide != 3000 {
		t.Errorf("%d rows, %d of them changed (%v), want 3000", rows, wide, err)
	}
	return calls, what
}
