package migrate_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
)

// The version tables of other tools, as these make them; their definitions are those of their sources.
var foreignTables = []struct {
	format migrate.Format
	table  string
	rows   []string // three of five migrations are applied
	broken []string // what is to be refused
	is     error
	says   string
}{
	{migrate.Goose, "CREATE TABLE goose_db_version (id int PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NULL)",
		[]string{"INSERT INTO goose_db_version VALUES (1, 0, true, NULL), (2, 1, true, NULL), (3, 2, true, NULL), (4, 3, true, NULL), (5, 4, true, NULL), (6, 4, false, NULL)"},
		[]string{"INSERT INTO goose_db_version VALUES (7, 9, true, NULL)"}, migrate.ErrAhead, "has 9"},
	{migrate.GolangMigrate, "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
		[]string{"INSERT INTO schema_migrations VALUES (3, false)"},
		[]string{"UPDATE schema_migrations SET dirty = true"}, migrate.ErrFailed, "version 3 failed in the middle"},
	{migrate.SQLMigrate, "CREATE TABLE gorp_migrations (id varchar(255) NOT NULL PRIMARY KEY, applied_at timestamp NULL)",
		[]string{"INSERT INTO gorp_migrations VALUES ('1_create_authors.sql', NULL), ('2_fill.sql', NULL), ('3_title_of.sql', NULL)"},
		[]string{"INSERT INTO gorp_migrations VALUES ('2_other.sql', NULL)"}, migrate.ErrUnknown, "2_other.sql"},
	{migrate.Flyway, "CREATE TABLE flyway_schema_history (installed_rank int PRIMARY KEY, version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL, script varchar(1000) NOT NULL, checksum int, success boolean NOT NULL)",
		[]string{"INSERT INTO flyway_schema_history VALUES (1, '2', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', NULL, true), (2, '3', 'title of', 'SQL', 'V3__title_of.sql', NULL, true)"},
		[]string{"UPDATE flyway_schema_history SET checksum = 4711 WHERE installed_rank = 2"}, migrate.ErrEdited, "3 title of"},
	{migrate.Atlas, "CREATE TABLE atlas_schema_revisions (version varchar(255) PRIMARY KEY, description varchar(255) NOT NULL, applied bigint NOT NULL, total bigint NOT NULL, operator_version varchar(255) NOT NULL)",
		[]string{"INSERT INTO atlas_schema_revisions VALUES ('20240101000001', 'create_authors', 2, 2, ''), ('20240101000002', 'fill', 2, 2, ''), ('20240101000003', 'title_of', 1, 1, '')"},
		[]string{"UPDATE atlas_schema_revisions SET applied = 0 WHERE version LIKE '%3'"}, migrate.ErrFailed, "failed in the middle"},
}

// N7: a tree that another tool has begun is gone on with from where its version table says.
func TestN7AdoptsVersionTables(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		for _, f := range foreignTables {
			fsys := tree(t, f.format, d.kind)
			if _, err := migrator(t, d.db, fsys, migrate.Config{Name: "original"}).To(t.Context(), thirdOf(t, d, fsys)); err != nil {
				t.Fatal(err)
			}
			d.exec(t, f.table)
			d.exec(t, f.rows...)
			m := migrator(t, d.db, fsys, migrate.Config{Name: string(f.format)})
			if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "changeling migrate adopt") {
				t.Errorf("%s: not adopted: %v", f.format, err)
			}
			if st := state(t, m); st.Foreign == "" || st.State != migrate.StateBehind {
				t.Errorf("%s: status: %+v", f.format, st)
			}
			if err := m.Adopt(t.Context()); err != nil {
				t.Fatalf("%s: %v", f.format, err)
			}
			if st := state(t, m); len(st.Pending) != 2 || st.Migrations[2].Status != "applied" || st.Migrations[2].Origin == "" {
				t.Errorf("%s: %v is pending, %+v", f.format, st.Pending, st.Migrations[2])
			}
			if err := m.Adopt(t.Context()); !errors.Is(err, changeling.ErrRefused) {
				t.Errorf("%s: adopted twice: %v", f.format, err)
			}
			if res := upped(t, m); len(res.Applied) != 2 {
				t.Errorf("%s: %+v", f.format, res)
			}
			d.exec(t, f.broken...)
			err := migrator(t, d.db, fsys, migrate.Config{Name: "broken", Format: f.format}).Adopt(t.Context())
			if !errors.Is(err, f.is) || !strings.Contains(err.Error(), f.says) {
				t.Errorf("%s: broken: %v", f.format, err)
			}
			d.exec(t, "DROP TABLE "+strings.Fields(f.table)[2])
			back(t, d, migrator(t, d.db, fsys, migrate.Config{}), migrate.Plain)
			d.forget(t, "original")
		}
	})
}

// thirdOf is the third version of a tree.
func thirdOf(t *testing.T, d database, fsys fstest.MapFS) string {
	return state(t, migrator(t, d.db, fsys, migrate.Config{Name: "look"})).Migrations[2].Version
}

// R8: the checksum over lines is that of Flyway's documentation: CRC-32 of the lines without their ends.
func TestR8ChecksumOfFlyway(t *testing.T) {
	t.Parallel()
	fsys := files("V1__a.sql", "CREATE TABLE a (\n    id int\n);\n")
	st, err := migrate.Read(fsys, migrate.ReadOptions{Syntax: syntaxes["postgres"]})
	if err != nil {
		t.Fatal(err)
	}
	// CRC-32 of "CREATE TABLE a (    id int);", which are the lines without their ends.
	const want = -249689606
	if got := st.Migrations[0].Sum.Lines; got != want {
		t.Errorf("the checksum is %d, want %d", got, want)
	}
}

// Q12: a migration that is missing below an applied one is shown, and what becomes of it is said.
func TestQ12OutOfOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int);", "3_c.sql", "CREATE TABLE c (id int);")
		upped(t, migrator(t, d.db, fsys, migrate.Config{}))
		fsys["2_b.sql"] = files("x", "CREATE TABLE b (id int);")["x"]
		m := migrator(t, d.db, fsys, migrate.Config{})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "2 is missing below 3") {
			t.Errorf("by default: %v", err)
		}
		if res := upped(t, migrator(t, d.db, fsys, migrate.Config{OutOfOrder: migrate.OrderSkip})); !res.Nothing() {
			t.Errorf("skip: %+v", res)
		}
		if res := upped(t, migrator(t, d.db, fsys, migrate.Config{OutOfOrder: migrate.OrderApply})); len(res.Applied) != 1 {
			t.Errorf("apply: %+v", res)
		}
	})
}

// O4, N5, O7: what must hold before, what must hold after, and where a run has to stop.
func TestO4Conditions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "-- changeling: require SELECT count(*) > 0 FROM a\n-- changeling: ensure SELECT count(*) = 0 FROM a\n-- changeling: stop deploy 2.0 first\nDELETE FROM a WHERE id > 1;", "3_c.sql", "CREATE TABLE c (id int);")
		m := migrator(t, d.db, fsys, migrate.Config{})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "requires `SELECT count(*) > 0 FROM a`") {
			t.Errorf("require: %v", err)
		}
		d.exec(t, "INSERT INTO a VALUES (1)")
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, migrate.ErrFailed) || !strings.Contains(err.Error(), "ensures `SELECT count(*) = 0 FROM a`") {
			t.Errorf("ensure: %v", err)
		}
		if st := state(t, m); st.State != migrate.StateFailed {
			t.Errorf("it counts although its post-condition does not hold: %s", st.Message)
		}
		d.exec(t, "UPDATE a SET id = 2")
		if d.kind == "mysql" {
			d.exec(t, "DELETE FROM a") // its statement is done, and is not done again
		}
		if res := upped(t, m); len(res.Applied) != 1 || !strings.Contains(res.Stopped, "deploy 2.0 first") {
			t.Errorf("stop: %+v", res)
		}
		if res := upped(t, m); len(res.Applied) != 1 || res.Applied[0].Version != "3" {
			t.Errorf("behind the stop: %+v", res)
		}
	})
}

// R9: repeatable migrations run again when they change, and only then.
func TestR9Repeatable(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("V1__a.sql", "CREATE TABLE a (id int);", "R__v.sql", "CREATE OR REPLACE VIEW v AS SELECT id FROM a;")
		m := migrator(t, d.db, fsys, migrate.Config{})
		if res := upped(t, m); len(res.Applied) != 2 {
			t.Errorf("first: %+v", res)
		}
		if res := upped(t, m); !res.Nothing() {
			t.Errorf("again: %+v", res)
		}
		fsys["R__v.sql"] = files("x", "-- more\nCREATE OR REPLACE VIEW v AS SELECT id, 1 AS one FROM a;")["x"]
		if res := upped(t, m); len(res.Applied) != 1 {
			t.Errorf("changed: %+v", res)
		}
		if got := d.ask(t, "SELECT count(one) FROM v"); got != "0" {
			t.Error(got)
		}
		if st := state(t, m); st.State != migrate.StateCurrent {
			t.Error(st.Message)
		}
	})
}

// N7, O6: a database that has everything already gets a history; nothing is run.
func TestN7Baseline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		d.exec(t, "CREATE TABLE a (id int)")
		fsys := files("1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE TABLE b (id int);")
		m := migrator(t, d.db, fsys, migrate.Config{})
		if err := m.Baseline(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		if res := upped(t, m); len(res.Applied) != 1 {
			t.Errorf("%+v", res)
		}
		if err := m.Baseline(t.Context(), "2"); !errors.Is(err, changeling.ErrRefused) {
			t.Errorf("twice: %v", err)
		}
	})
}
