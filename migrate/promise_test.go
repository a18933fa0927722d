package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/migrate"
)

// NR6: on a large table that foreign keys of others refer to, and that the engine does not carry, the server does what it can do at once or
// while others write. What would rebuild the table is refused, and nothing has changed.
func TestNR6ReferredTables(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		d, rebuild := big(t, version)
		d.exec(t, "CREATE TABLE child (id int PRIMARY KEY, big_id int, CONSTRAINT child_big FOREIGN KEY (big_id) REFERENCES big (id))")
		fsys := files("1_m.sql", "ALTER TABLE big ADD COLUMN m int;", "2_i.sql", "ALTER TABLE big ADD INDEX big_n (n), ADD UNIQUE big_m (m);", "3_c.sql", "CREATE INDEX big_mn ON big (m, n);", "4_rebuild.sql", rebuild+";")
		m := migrator(t, d.db, fsys, migrate.Config{SmallRows: 100})
		p, err := m.Plan(t.Context(), "3")
		if err != nil {
			t.Fatal(err)
		}
		for i, how := range []string{"engine", "engine", "alone"} { // the planner knows what the server does at once
			if step := p[i].Steps[0]; step.How != how || how == "alone" && !strings.HasSuffix(step.SQL, "LOCK=NONE") {
				t.Errorf("planned as %+v, want %s", step, how)
			}
		}
		if _, err := m.Up(t.Context(), "3"); err != nil {
			t.Fatal(err)
		}
		before := d.schema(t)
		_, err = m.Up(t.Context(), "")
		if strings.HasPrefix(version, "mysql") { // there the child's key is led to the new table
			if err != nil {
				t.Errorf("a rebuild: %v", err)
			}
			if _, err := d.db.ExecContext(t.Context(), "INSERT INTO child VALUES (1, -1)"); err == nil {
				t.Error("a child without a parent came in")
			}
			return
		}
		if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "4_rebuild.sql:1: ") || !strings.Contains(err.Error(), "child_big") || !strings.Contains(err.Error(), "not supported") || !strings.Contains(err.Error(), "changeling: direct") {
			t.Errorf("a rebuild: %v", err)
		}
		if after := d.schema(t); after != before {
			t.Error(difference(after, before))
		}
		fsys["4_rebuild.sql"] = files("x", "-- changeling: direct\n"+rebuild+";")["x"]
		if res := upped(t, m); len(res.Applied) != 1 {
			t.Errorf("let through: %+v", res)
		}
		if st := state(t, m); st.State != migrate.StateCurrent {
			t.Errorf("%s: %s", st.State, st.Message)
		}
	})
}
