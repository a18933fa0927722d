package migrate_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// N11, O15: the history has everything that happened, failures included, with who, when, how long, and what the server said.
func TestN11HistoryOnlyGrows(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.up.sql", "CREATE TABLE a (id int);", "1_a.down.sql", "DROP TABLE a;", "2_b.up.sql", "CREATE TABLE a (id int);")
		m := migrator(t, d.db, fsys, migrate.Config{Owner: "deploy 7", AllowDataLoss: true})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, migrate.ErrFailed) {
			t.Fatalf("a table that is there: %v", err)
		}
		fsys["2_b.up.sql"] = files("x", "CREATE TABLE b (id int);")["x"]
		upped(t, m)
		fsys["2_b.down.sql"] = files("x", "DROP TABLE b;")["x"]
		if _, err := m.Down(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		all, err := m.History(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range all {
			got = append(got, e.What+" "+e.Version)
			if e.By != "deploy 7" || e.At.IsZero() || e.Took <= 0 {
				t.Errorf("%+v", e)
			}
			if e.What == "failed" && (!strings.Contains(e.Detail, "2_b.up.sql:1") || !strings.Contains(e.Detail, "exists")) {
				t.Errorf("the failure reads %q", e.Detail)
			}
		}
		if want := "reverted 1, reverted 2, applied 2, failed 2, applied 1"; strings.Join(got, ", ") != want {
			t.Errorf("the history is %v, want %s", got, want)
		}
	})
}

// R6, Z11, N8: one transaction where the server and all statements allow it; a file may demand one, forbid one, or let a statement
// run as it is.
func TestR6TransactionsAreChosen(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		d.exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
		planned := func(body string) migrate.Planned {
			t.Helper()
			p, err := migrator(t, d.db, files("1_a.sql", body), migrate.Config{SmallRows: -1}).Plan(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			return p[0]
		}
		postgres := d.kind == "postgres"
		if p := planned("INSERT INTO a VALUES (1); CREATE TABLE b (id int);"); p.Transaction != postgres {
			t.Errorf("DDL: %+v", p)
		}
		if p := planned("-- changeling: transaction=never\nINSERT INTO a VALUES (1);"); p.Transaction {
			t.Errorf("never: %+v", p)
		}
		if p := planned("-- changeling: direct\nALTER TABLE a ADD COLUMN n int;"); p.Steps[0].How == "engine" {
			t.Errorf("direct: %+v", p)
		}
		refused := "CREATE TABLE b (id int);"
		if postgres {
			refused = "CREATE INDEX CONCURRENTLY a_i ON a (id);"
		}
		m := migrator(t, d.db, files("1_a.sql", "-- changeling: transaction=always\nINSERT INTO a VALUES (1);\n"+refused), migrate.Config{})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "demands one transaction") {
			t.Errorf("always, and it cannot be: %v", err)
		}
		// The second row fails, so the first one is not there either.
		m = migrator(t, d.db, files("1_a.sql", "-- changeling: transaction=always\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);"), migrate.Config{})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "nothing of it remains") {
			t.Errorf("always: %v", err)
		}
		if got := d.ask(t, "SELECT COUNT(*) FROM a"); got != "0" {
			t.Errorf("%s rows of a transaction that failed", got)
		}
	})
}

// O5: a migration in Go has a transaction and nothing else. On every server what it wrote is gone when it fails, and it comes again.
func TestO5GoMigrations(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		d.exec(t, "CREATE TABLE a (id int)")
		wrong := errors.New("the service does not answer")
		calls := 0
		fill := migrate.GoMigration{Name: "fill", Up: func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO a VALUES (1)"); err != nil {
				return err
			}
			if calls++; calls == 1 {
				return wrong
			}
			return nil
		}, Down: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM a")
			return err
		}}
		m := migrator(t, d.db, files("1_b.sql", "CREATE TABLE b (id int);", "3_c.sql", "INSERT INTO b SELECT id FROM a;"), migrate.Config{Go: map[string]migrate.GoMigration{"2": fill}})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, wrong) || !errors.Is(err, migrate.ErrFailed) {
			t.Errorf("a function that fails: %v", err)
		}
		if got := d.ask(t, "SELECT COUNT(*) FROM a"); got != "0" {
			t.Errorf("%s rows of a function that failed", got)
		}
		if res := upped(t, m); len(res.Applied) != 2 || d.ask(t, "SELECT COUNT(*) FROM b") != "1" {
			t.Errorf("again: %+v", res)
		}
		if _, err := m.To(t.Context(), "1"); !errors.Is(err, changeling.ErrRefused) {
			t.Errorf("back over a file without a way: %v", err)
		}
	})
}

// S4, S6, O10: a plan up to a version says of each statement how it runs and why, as text, as JSON and as Markdown; it changes nothing.
func TestS4Plans(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		d.exec(t, "CREATE TABLE big (id int PRIMARY KEY, n int)")
		fsys := files("1_a.sql", "CREATE TABLE a (id int, x varchar(9) DEFAULT '|');", "2_big.sql", "-- changeling: stop deploy first\nALTER TABLE big ADD COLUMN m int;", "3_c.sql", "CREATE TABLE c (id int);")
		before := d.schema(t)
		m := migrator(t, d.db, fsys, migrate.Config{})
		all, err := m.Plan(t.Context(), "2")
		if err != nil || len(all) != 2 {
			t.Fatalf("%+v, %v", all, err)
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		for form, got := range map[string]string{"text": migrate.Text(all), "Markdown": migrate.Markdown(all), "JSON": string(text)} {
			for _, part := range []string{"1_a.sql", "ALTER TABLE big ADD COLUMN m int"} {
				if !strings.Contains(got, part) {
					t.Errorf("%s lacks %q:\n%s", form, part, got)
				}
			}
		}
		if !strings.Contains(migrate.Text(all), "then stop: deploy first") || !strings.Contains(migrate.Markdown(all), `DEFAULT '\|'`) || all[1].Steps[0].LockWait <= 0 || all[1].Reversible {
			t.Errorf("%+v\n%s", all, migrate.Text(all))
		}
		if after := d.schema(t); after != before {
			t.Errorf("a plan has changed the database: %s", difference(after, before))
		}
	})
}

// O2: every two versions compare, and the order is total: whatever order files come in, they run in one.
func TestO2OneOrder(t *testing.T) {
	t.Parallel()
	version := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.StringMatching(`0{0,2}[1-9][0-9]{0,3}`), 1, 3).Draw(t, "parts"), ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		fsys := fstest.MapFS{}
		for _, v := range rapid.SliceOfN(version, 2, 8).Draw(t, "versions") {
			fsys["V"+v+"__x.sql"] = &fstest.MapFile{Data: []byte("SELECT 1")}
		}
		tree, err := migrate.Read(fsys, migrate.ReadOptions{Format: migrate.Flyway, Syntax: plan.PostgresSyntax()})
		if err != nil {
			if !strings.Contains(err.Error(), "same version") {
				t.Fatal(err)
			}
			return
		}
		for i := 1; i < len(tree.Migrations); i++ {
			if a, b := tree.Migrations[i-1].Version, tree.Migrations[i].Version; !numbers(a, b) {
				t.Fatalf("%s runs before %s", a, b)
			}
		}
	})
}

// numbers says that a version is below another one, part by part.
func numbers(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		if len(x[i]) != len(y[i]) {
			return len(x[i]) < len(y[i])
		}
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return len(x) < len(y)
}
