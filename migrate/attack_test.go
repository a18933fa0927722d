package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/migrate"
)

// Who may create in a schema of the search path gets nothing of his run by what the runner itself sends.
func TestNobodyElsesFunctionsRun(t *testing.T) {
	t.Parallel()
	pgtest.NobodyElsesFunctionsRun(t, trapped)
}

// trapped does all that a runner can do, with statements that need no operator and no function, in a database with a trap.
func trapped(t *testing.T, rewrite func(string) string) (calls int, what string) {
	d, scratch := postgresDatabase(t), postgresDatabase(t)
	d.exec(t, "CREATE SCHEMA app", "CREATE TABLE app.old (id int)", "CREATE TABLE goose_db_version (id int PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NULL)",
		"INSERT INTO goose_db_version VALUES (1, 0, true, NULL), (2, 1, true, NULL)")
	trap := pgtest.SetTrap(t, d.dsn)
	db := pgtest.Mutant(t, d.dsn, func(_ context.Context, s mutant.Statement) string { return rewrite(s.Text) })
	up := func(body string) string {
		return "-- +goose Up\n" + body + "\n-- +goose Down\nDROP VIEW IF EXISTS app.nothing;\n"
	}
	fsys := files("1_old.sql", up("CREATE TABLE app.old (id int);"), "2_a.sql", up("CREATE TABLE app.a (id int PRIMARY KEY);\nINSERT INTO app.a VALUES (1);\nCREATE VIEW app.v AS SELECT id FROM app.a;"),
		"3_pieces.sql", "-- +goose NO TRANSACTION\n"+up("CREATE INDEX CONCURRENTLY a_id ON app.a (id);\nALTER TABLE app.a ADD COLUMN n int;\nDROP INDEX CONCURRENTLY app.a_id;"), "4_b.sql", up("ALTER TABLE app.a ADD COLUMN m int;"))
	m := migrator(t, db, fsys, migrate.Config{})
	if st := state(t, m); st.Foreign == "" {
		t.Errorf("status: %+v", st)
	}
	if err := m.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plan(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if res := upped(t, m); len(res.Applied) != 3 {
		t.Errorf("up: %+v", res)
	}
	if err := m.Wait(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if err := m.Verify(t.Context(), scratch.withSchema(t)); !errors.Is(err, migrate.ErrDrifted) { // the trap stands in no file
		t.Error(err)
	}
	if _, err := m.Repair(t.Context(), migrate.StepDone); err != nil {
		t.Error(err)
	}
	if all, err := m.History(t.Context()); err != nil || len(all) < 4 {
		t.Errorf("history: %v, %v", all, err)
	}
	more := migrator(t, db, files("1_t.sql", "CREATE TABLE app.t (id int PRIMARY KEY, n int, s text);\nCREATE INDEX ON app.t (n);", "2_p.sql", "ALTER TABLE app.t DROP COLUMN n;\n-- changeling: needs shop >= 2\nALTER TABLE app.t ALTER COLUMN s TYPE varchar(9);",
		"3_p.sql", "-- changeling: tables t\nALTER TABLE {table} ADD COLUMN k int;\nDROP TABLE app.t;"), migrate.Config{Name: "more", AllowDataLoss: true})
	d.exec(t, "ALTER TABLE goose_db_version RENAME TO away")
	if err := more.Register(t.Context(), "shop", "one", "2.1", time.Hour); err != nil {
		t.Error(err)
	}
	if res := upped(t, more); len(res.Applied) != 3 {
		t.Errorf("up: %+v", res)
	}
	if all, err := more.Instances(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := more.Back(t.Context(), "2"); err != nil {
		t.Error(err)
	}
	if res, err := more.To(t.Context(), "0"); err != nil || len(res.Reverted) != 3 {
		t.Errorf("back: %+v, %v", res, err)
	}
	d.exec(t, "ALTER TABLE away RENAME TO goose_db_version")
	if res, err := m.Down(t.Context(), 1); err != nil || len(res.Reverted) != 1 {
		t.Errorf("down: %+v, %v", res, err)
	}
	if err := migrator(t, db, fsys, migrate.Config{Name: "other"}).Baseline(t.Context(), "2"); err != nil {
		t.Error(err)
	}
	return trap.Calls()
}

// withSchema is the pool of an empty database that has the schema app.
func (d database) withSchema(t *testing.T) *sql.DB {
	d.exec(t, "CREATE SCHEMA app")
	return d.db
}
