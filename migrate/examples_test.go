package migrate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// Z6: in the runner that a team has, a change of a large table is one of its steps: the programs under examples are built, each
// in a module of its own, and run twice. changeling made the change, and the tool has noted all four versions.
func TestZ6InsideOtherRunners(t *testing.T) {
	t.Parallel()
	for name, noted := range map[string]string{
		"goose":          "SELECT string_agg(version_id::text, ' ' ORDER BY version_id) = '0 1 2 3 4' FROM goose_db_version",
		"golang-migrate": "SELECT version = 4 AND NOT dirty FROM schema_migrations",
		"sql-migrate":    "SELECT count(*) = 4 FROM gorp_migrations",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), "example")
			build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
			build.Dir = filepath.Join("..", "examples", name)
			build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			dsn := pgtest.Database(t)
			d := database{"postgres", dsn, pgtest.Open(t, dsn)}
			for _, want := range []bool{true, false} { // does it work, or find nothing to do?
				before := ""
				if !want {
					before = d.ask(t, "SELECT string_agg(id, ' ') FROM changeling.change")
				}
				run := exec.CommandContext(t.Context(), program)
				run.Env = append(os.Environ(), "DATABASE_URL="+dsn)
				if out, err := run.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if after := d.ask(t, "SELECT string_agg(id, ' ') FROM changeling.change"); !want && after != before || strings.Contains(after, " ") {
					t.Errorf("changes: %s, before %s", after, before)
				}
			}
			if got := d.ask(t, "SELECT status || ' ' || (plan LIKE '%shadow-table%')::text FROM changeling.change"); got != "done true" {
				t.Errorf("the change is %s", got)
			}
			if got := d.ask(t, noted); got != "true" {
				t.Error("the tool's own table does not have all versions")
			}
			if got := d.ask(t, "SELECT max(amount) || ' of ' || count(*) FROM orders"); got != "5000000000 of 2000" {
				t.Errorf("the table has %s", got)
			}
		})
	}
}
