package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// S7b: a migration is moved behind those that came meanwhile, with all its files, in the form that the versions of the tree have.
func TestS7bRebase(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, c := range []struct {
		files   []string
		version string
		want    string
	}{
		{[]string{"00001_a.sql", "-- +goose Up\nSELECT 1;", "00002_b.sql", "-- +goose Up\nSELECT 1;", "00003_c.sql", "-- +goose Up\nSELECT 1;"}, "2", "[{00002_b.sql 00004_b.sql}]"},
		{[]string{"8_a.up.sql", "SELECT 1;", "8_a.down.sql", "SELECT 1;", "9_b.up.sql", "SELECT 1;"}, "8", "[{8_a.up.sql 10_a.up.sql} {8_a.down.sql 10_a.down.sql}]"},
		{[]string{"V1.2__a.sql", "SELECT 1;", "V2__b.sql", "SELECT 1;"}, "1.2", "[{V1.2__a.sql V3__a.sql}]"},
		{[]string{"20240101000000_a.sql", "SELECT 1;", "20240201000000_b.sql", "SELECT 1;"}, "20240101", "[{20240101000000_a.sql 20260506070809_a.sql}]"},
		{[]string{"20240101000000_a.sql", "SELECT 1;", "20990201000000_b.sql", "SELECT 1;"}, "20240101", "[{20240101000000_a.sql 20990201000001_a.sql}]"},
		{[]string{"0007-a.sql", "-- +migrate Up\nSELECT 1;", "0010-b.sql", "-- +migrate Up\nSELECT 1;"}, "0007", "[{0007-a.sql 0011-a.sql}]"},
	} {
		tree, err := migrate.Read(files(c.files...), migrate.ReadOptions{Syntax: plan.PostgresSyntax()})
		if err != nil {
			t.Fatal(err)
		}
		got, err := migrate.Rebase(tree, c.version, now)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%v, %v, want %s", got, err, c.want)
		}
		if _, err := migrate.Rebase(tree, tree.Head(), now); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("the newest one: %v", err)
		}
	}
}

// S35: a migration has a test of its own: what is before it, and what became of it, forward and back.
func TestS35Try(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int);", "2_b.sql", "ALTER TABLE a ADD COLUMN m int;\n-- changeling: phase deploy\nALTER TABLE a DROP COLUMN n;", "3_c.sql", "DROP TABLE a;")
		do := func(text string) func(context.Context, *sql.DB) error {
			return func(ctx context.Context, db *sql.DB) error {
				_, err := db.ExecContext(ctx, text)
				return err
			}
		}
		trial := migrate.Trial{Version: "2", Seed: do("INSERT INTO a VALUES (1, 2)"), Check: do("UPDATE a SET m = 5 WHERE id = 1"), Back: do("UPDATE a SET n = 5")}
		if err := migrate.Try(t.Context(), d.db, fsys, migrate.Config{}, trial); err != nil {
			t.Fatal(err)
		}
		if st := state(t, migrator(t, d.db, fsys, migrate.Config{})); st.Current != "2" {
			t.Errorf("%+v", st)
		}
		if err := migrate.Try(t.Context(), d.db, fsys, migrate.Config{}, trial); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("a database that has it: %v", err)
		}
		wrong := errors.New("it is not so")
		trial.Check = func(context.Context, *sql.DB) error { return wrong }
		d.exec(t, "DROP TABLE a")
		if err := migrate.Try(t.Context(), d.db, fsys, migrate.Config{Name: "again"}, trial); !errors.Is(err, wrong) {
			t.Errorf("a check that fails: %v", err)
		}
	})
}
