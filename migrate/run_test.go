package migrate_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
)

// N2, N3, N12, N15: from each version to the newest, whatever tool the tree was written for, on every server: the same schema.
func TestN2UpgradeFromEveryVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		want := ""
		for _, format := range migrate.Formats() {
			fsys := tree(t, format, d.kind)
			versions := []int{0}
			if format == migrate.Goose {
				versions = []int{0, 3}
			}
			if os.Getenv("CHANGELING_FULL") != "" {
				versions = []int{0, 1, 2, 3, 4, 5}
			}
			for _, from := range versions {
				m := migrator(t, d.db, fsys, migrate.Config{Name: string(format)})
				st := state(t, m)
				if from > 0 {
					if _, err := m.To(t.Context(), st.Migrations[from-1].Version); err != nil {
						t.Fatalf("%s to %d: %v", format, from, err)
					}
				}
				if res := upped(t, m); len(res.Applied) != 5-from {
					t.Errorf("%s from %d: applied %v", format, from, res.Applied)
				}
				if want == "" {
					want = d.schema(t)
				}
				if got := d.schema(t); got != want || !strings.Contains(want, "books_title") {
					t.Fatalf("%s from %d: got\n%s\nwant\n%s", format, from, got, want)
				}
				if got := d.ask(t, `SELECT title FROM books WHERE published = 1759`); got != "Tristram Shandy" {
					t.Errorf("%s: %q", format, got)
				}
				if st := state(t, m); st.State != migrate.StateCurrent || st.Current != st.Head {
					t.Errorf("%s from %d: %s, %s", format, from, st.State, st.Message)
				}
				back(t, d, m, format)
			}
		}
	})
}

// forget takes a tree out of the history.
func (d database) forget(t *testing.T, name string) {
	t.Helper()
	tree := map[string]string{"postgres": `'` + name + `'`, "mysql": `CONCAT(DATABASE(), '/` + name + `')`}[d.kind]
	d.exec(t, "DELETE FROM changeling.migration WHERE tree = "+tree, "DELETE FROM changeling.migration_step WHERE tree = "+tree)
}

// back goes back to the empty database: by the files where they have a way, by hand where not.
func back(t *testing.T, d database, m *migrate.Migrator, format migrate.Format) {
	t.Helper()
	if format != migrate.Atlas && format != migrate.Plain {
		_, err := m.To(t.Context(), "0")
		if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "loses data") {
			t.Fatalf("%s: a way back that loses data: %v", format, err)
		}
		again := migrator(t, d.db, tree(t, format, d.kind), migrate.Config{Name: string(format), AllowDataLoss: true})
		res, err := again.To(t.Context(), "0")
		if err != nil || len(res.Reverted) != 5 {
			t.Fatalf("%s: %v, %v", format, res, err)
		}
		if got := d.schema(t); got != "" {
			t.Fatalf("%s: after the way back:\n%s", format, got)
		}
		return
	}
	routine := map[string]string{"postgres": "FUNCTION title_of(int)", "mysql": "PROCEDURE title_of"}[d.kind]
	d.exec(t, "DROP TABLE books", "DROP TABLE authors", "DROP "+routine)
	d.forget(t, string(format))
}
