package migrate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
)

// NR9: one statement for all tables of a pattern. A table at which it fails is gone on with, the others are not done again, and tables that come
// meanwhile are not its business; the way back is made for each.
func TestNR9TablesOfAPattern(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		for i := range 12 {
			d.exec(t, fmt.Sprintf("CREATE TABLE host_%d (id int PRIMARY KEY)", i))
		}
		d.exec(t, "CREATE TABLE hostile (id int PRIMARY KEY)", "ALTER TABLE host_7 ADD COLUMN n int")
		before := d.schema(t)
		fsys := files("1_n.sql", "-- changeling: tables host_*\nALTER TABLE {table} ADD COLUMN n int;\n-- changeling: tables host_1?\nCREATE INDEX by_n ON {table} (id);")
		if d.kind == "postgres" { // names of indexes are the schema's there
			fsys = files("1_n.sql", "-- changeling: tables host_*\nALTER TABLE {table} ADD COLUMN n int;\n-- changeling: tables host_1?\nCREATE INDEX ON {table} (id);")
		}
		m := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
		if p, err := m.Plan(t.Context(), ""); err != nil || len(p[0].Steps) != 14 || p[0].Transaction {
			t.Fatalf("%+v, %v", p, err)
		}
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, migrate.ErrFailed) || !strings.Contains(err.Error(), "host_7") || !strings.Contains(err.Error(), "statements 1 to 7 of 14 are done") {
			t.Fatalf("a table that has the column: %v", err)
		}
		d.exec(t, "ALTER TABLE host_7 DROP COLUMN n", "CREATE TABLE host_100 (id int PRIMARY KEY)")
		upped(t, m)
		if got := strings.Count(strings.ReplaceAll(d.schema(t), ".n int", " n int"), " n int"); got != 12 {
			t.Errorf("%d tables have the column: %s", got, d.schema(t))
		}
		if _, err := m.Down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		d.exec(t, "DROP TABLE host_100", "ALTER TABLE host_7 ADD COLUMN n int")
		if got := d.schema(t); got != before {
			t.Error(difference(got, before))
		}
		for body, says := range map[string]string{"-- changeling: tables host_*\nALTER TABLE host ADD COLUMN x int;": "does not say {table}", "-- changeling: tables a.b\nDROP TABLE {table};": "such as task_host_*"} {
			if _, err := migrator(t, d.db, files("1_n.sql", body), migrate.Config{Name: "wrong"}).Up(t.Context(), ""); !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s\n%v", body, err)
			}
		}
	})
}
