package migrate_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// S38: the tickets' tree of each format, squashed up to a version in its middle, gives a new database the same schema and rows; one
// that was there goes on as if nothing had happened, and one that stands below it is told which way to go.
func TestS38Squash(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, fresh func() database) {
		d := fresh()
		for _, format := range []migrate.Format{migrate.Goose, migrate.SQLMigrate, migrate.GolangMigrate, migrate.Flyway, migrate.Plain} {
			whole := tree(t, format, d.kind)
			syntax := plan.PostgresSyntax()
			if d.kind == "mysql" {
				syntax = plan.MySQLSyntax()
			}
			read, err := migrate.Read(whole, migrate.ReadOptions{Format: format, Syntax: syntax})
			if err != nil {
				t.Fatal(err)
			}
			var versions []string
			for _, m := range read.Migrations {
				if !m.Repeatable {
					versions = append(versions, m.Version)
				}
			}
			upto := versions[len(versions)-2]
			file, old, err := migrate.Squash(read, upto)
			if err != nil {
				t.Fatal(err)
			}
			short := fstest.MapFS{}
			for name, f := range whole {
				short[name] = f
			}
			for _, name := range old {
				delete(short, name)
			}
			short[file.Name] = &fstest.MapFile{Data: []byte(file.Body)}

			config := migrate.Config{Name: string(format), Format: format}
			there := fresh()
			if _, err := migrator(t, there.db, whole, config).To(t.Context(), upto); err != nil {
				t.Fatal(err)
			}
			m := migrator(t, there.db, short, config)
			if st := state(t, m); st.State != migrate.StateBehind {
				t.Errorf("%s: a database that was there: %+v", format, st)
			}
			if res := upped(t, m); len(res.Applied) < 1 {
				t.Errorf("%s: %+v", format, res)
			}
			anew := fresh()
			upped(t, migrator(t, anew.db, short, config))
			if a, b := there.schema(t), anew.schema(t); a != b {
				t.Errorf("%s: %s", format, difference(b, a))
			}
			if _, err := migrator(t, anew.db, short, migrate.Config{Name: string(format), Format: format, AllowDataLoss: true}).To(t.Context(), "0"); !errors.Is(err, changeling.ErrRefused) {
				t.Errorf("%s: back beyond it: %v", format, err)
			}
			below := fresh()
			if _, err := migrator(t, below.db, whole, config).To(t.Context(), versions[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := migrator(t, below.db, short, config).Up(t.Context(), ""); !errors.Is(err, migrate.ErrUnknown) || !strings.Contains(err.Error(), "were squashed into a later version") {
				t.Errorf("%s: a database below it: %v", format, err)
			}
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, func() database { return postgresDatabase(t) })
	})
	mytest.Each(t, func(t *testing.T, version string) { test(t, func() database { return mysqlDatabase(t, version) }) })
}
