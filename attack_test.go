package changeling_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
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
		`INSERT INTO app.orders (email, amount, note) SELECT 'e' || i, i, 'n' FROM generate_series(1, 1200) i`)
	admin.SetMaxOpenConns(1) // the connection that it has is outside of the trap
	trap := pgtest.SetTrap(t, dsn)
	engine := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return rewrite(x.Text) })
	// What users do meanwhile they do with the server's own operators, so what is noted is not theirs.
	users := func(s string) {
		pgtest.Exec(t, admin, `SET search_path = pg_catalog, app`, s, `RESET search_path`)
	}
	var told story
	config := changeling.Config{Hold: true, DropAfter: time.Hour, Throttle: changeling.Throttle{MaxLag: time.Minute, MaxLagBytes: 1 << 40, MaxLoad: 1000, MaxTransaction: time.Hour, MaxArchive: 1 << 40, MaxSlot: 1 << 40,
		MaxLog: 1 << 40, MaxDisk: 1}, Events: upon(told.tell, began("heal"), func() {
		users(`UPDATE app.orders SET amount = amount + 1, note = NULL WHERE id < 50; DELETE FROM app.orders WHERE id = 60; INSERT INTO app.orders (email, amount) VALUES ('new', 5)`)
	})}
	config.Events = upon(config.Events, began("verify"), func() { users(`UPDATE app.orders SET id = DEFAULT WHERE id = 70`) })
	e, err := changeling.Open(t.Context(), engine, config)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const ddl = `ALTER TABLE app.orders ALTER COLUMN amount TYPE bigint, ADD COLUMN more int DEFAULT 7`
	change, err := e.Start(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- change.Run(t.Context()) }()
	if err := told.await(t.Context(), holding); err != nil {
		t.Fatal(err)
	}
	other, err := e.Find(t.Context(), change.ID())
	if err != nil {
		t.Fatal(err)
	}
	asks := func() { // whatever else somebody asks of a change
		p := other.Plan()
		_, lists := e.List(t.Context())
		_, states := other.Status(t.Context())
		_, reports := other.Report(t.Context())
		_, grants := e.Grants(t.Context(), owner, "app.orders")
		_, speeds := e.Speed(t.Context(), p)
		_, checks := e.CheckData(t.Context(), p)
		_, versions := e.Version(t.Context())
		if err := errors.Join(lists, states, reports, grants, speeds, checks, versions); err != nil {
			t.Error(err)
		}
	}
	asks()
	if _, err := other.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	// A snapshot that the hand-over has to wait for: of somebody in another trap, who reads nothing that would be in it.
	old, err := admin.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, old, `SET LOCAL search_path = pg_catalog, app; SELECT FROM app.orders LIMIT 1`)
	time.AfterFunc(2*time.Second, func() { old.Rollback() })
	if err := errors.Join(other.Cutover(t.Context()), <-end); err != nil {
		t.Fatal(err)
	}
	var rows, wide int
	if err := admin.QueryRow(`SELECT count(*), count(*) FILTER (WHERE pg_typeof(amount) = 'bigint'::regtype) FROM app.orders`).Scan(&rows, &wide); err != nil || rows != 1200 || wide != 1200 {
		t.Errorf("%d rows, %d of them changed (%v), want 1200", rows, wide, err)
	}
	asks()
	if err := other.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	calls, what = trap.Calls()
	return calls, what
}
