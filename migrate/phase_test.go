package migrate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
)

// phased is a tree in which a column, and a table that another one refers to, are dropped with a deploy in between.
var phased = []string{
	"1_a.sql", "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL, parent int, CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parents (id));",
	"2_drop_column.sql", "ALTER TABLE a ALTER COLUMN n DROP NOT NULL;\n-- changeling: phase deploy the code that does not know a.n\nALTER TABLE a DROP COLUMN n;",
	"3_drop_table.sql", "ALTER TABLE a DROP CONSTRAINT of_parent;\n-- changeling: phase deploy the code that does not know parents\nDROP TABLE parents;",
	"4_more.sql", "CREATE TABLE more (id int);",
}

func phases(kind string) []string {
	out := slices.Clone(phased)
	if kind == "mysql" {
		out[3] = strings.Replace(out[3], "ALTER COLUMN n DROP NOT NULL", "MODIFY COLUMN n int", 1)
		out[5] = strings.Replace(out[5], "DROP CONSTRAINT", "DROP FOREIGN KEY", 1)
	}
	return out
}

// S12, S14, S33, R5: a column and a table are dropped in phases of one file. The next phase begins when somebody says that the deploy has happened,
// whoever calls Up meanwhile, and those who wait for the version do not wait for it.
func TestS12Phases(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files(phases(d.kind)...)
		m := migrator(t, d.db, fsys, migrate.Config{})
		deployed := migrator(t, d.db, fsys, migrate.Config{Deployed: true})
		for range 2 {
			res := upped(t, m)
			if !strings.Contains(res.Stopped, "2 drop_column waits before its next phase: deploy the code that does not know a.n") {
				t.Errorf("%+v", res)
			}
			d.exec(t, "INSERT INTO a (id) SELECT COALESCE(MAX(id), 0) + 1 FROM (SELECT id FROM a) x") // new code, which does not know n
			st := state(t, m)
			if st.State != migrate.StateBehind || strings.Join(st.Waiting, " ") != "2" || !strings.Contains(st.Message, "the next phase of 2 waits for a deploy") {
				t.Errorf("%+v", st)
			}
		}
		if err := m.Require(t.Context(), "2"); err != nil {
			t.Errorf("what new code needs is there: %v", err)
		}
		if err := m.Require(t.Context(), "3"); !errors.Is(err, migrate.ErrBehind) {
			t.Errorf("what was not reached: %v", err)
		}
		if got := d.ask(t, "SELECT COUNT(n) FROM a"); got != "0" {
			t.Errorf("%s values", got)
		}
		if res, err := deployed.To(t.Context(), "2"); err != nil || len(res.Applied) != 1 || res.Stopped != "" {
			t.Fatalf("%+v, %v", res, err)
		}
		if res := upped(t, m); !strings.Contains(res.Stopped, "3 drop_table waits") || d.ask(t, "SELECT COUNT(*) FROM parents") != "0" {
			t.Errorf("%+v", res)
		}
		if res, err := deployed.Up(t.Context(), ""); err != nil || len(res.Applied) != 2 {
			t.Fatalf("%+v, %v", res, err)
		}
		if st := state(t, m); st.State != migrate.StateCurrent || strings.Contains(d.schema(t), "parents") {
			t.Errorf("%+v", st)
		}
	})
}

// N13: instances of applications are registered, and what needs a newer one waits until no old one is left.
func TestN13AppsAreRegistered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int);", "2_b.sql", "-- changeling: needs shop >= 2.10\nALTER TABLE a DROP COLUMN n;")
		m := migrator(t, d.db, fsys, migrate.Config{Owner: "host"})
		stops := func(m *migrate.Migrator, why string) {
			t.Helper()
			if res := upped(t, m); why == "" && res.Stopped != "" || !strings.Contains(res.Stopped, why) {
				t.Errorf("it stops with %q, want %q", res.Stopped, why)
			}
		}
		stops(m, "no instance of it is registered")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Announce(ctx, "shop", "", "2.9") }()
		for all := []migrate.Instance{}; len(all) == 0; time.Sleep(20 * time.Millisecond) {
			var err error
			if all, err = m.Instances(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Register(t.Context(), "shop", "new", "v2.10.1", time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := m.Register(t.Context(), "other", "one", "1", time.Hour); err != nil {
			t.Fatal(err)
		}
		stops(m, "there still is host at 2.9")
		stops(migrator(t, d.db, fsys, migrate.Config{Deployed: true}), "there still is host at 2.9")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the end of an instance: %v", err)
		}
		if err := m.Register(t.Context(), "shop", "killed", "1.0", time.Millisecond); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // it is not heard of any more
		stops(m, "")
		if st := state(t, m); st.State != migrate.StateCurrent {
			t.Errorf("%+v", st)
		}
		if err := m.Register(t.Context(), "a b", "", "1", time.Hour); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("a name with a blank: %v", err)
		}
	})
}

// R5: phases that cannot be are refused before anything runs.
func TestR5WrongPhases(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	for body, says := range map[string]string{
		"CREATE TABLE a (id int);\n-- changeling: phase later":                                                   "no statement stands behind",
		"-- changeling: needs shop 2\nCREATE TABLE a (id int);":                                                  "as in shop >= 2.0",
		"-- changeling: transaction=always\nCREATE TABLE a (id int);\n-- changeling: phase later\nDROP TABLE a;": "leave one of them out",
		"CREATE TABLE a (id int);\n-- changeling: phase\nDROP TABLE a;":                                          "phase says nothing",
	} {
		if _, err := migrator(t, d.db, files("1_a.sql", body), migrate.Config{}).Up(t.Context(), ""); !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s\n%v, want %s", body, err, says)
		}
	}
	m := migrator(t, d.db, files("1_a.sql", "CREATE TABLE a (id int);\n-- changeling: phase later\nBEGIN;\nCREATE TABLE b (id int);\nCREATE TABLE c (id int);\nCOMMIT;"), migrate.Config{})
	if res := upped(t, m); res.Stopped == "" || strings.Contains(d.schema(t), "table public.b") {
		t.Errorf("a phase that is a transaction: %+v", res)
	}
}
