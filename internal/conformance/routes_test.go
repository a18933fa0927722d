package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

var update = flag.Bool("update", false, "write docs/ROUTES.md anew")

// documented are the operations of docs/ROUTES.md, by their id in testdata/operations.
var documented = strings.Fields(`add_col_null add_col_const_default_notnull add_col_stable_default_now add_col_volatile_default_uuid add_col_serial add_col_identity
add_col_generated_stored add_col_check_inline add_col_unique_inline add_col_fk_inline_null add_col_fk_inline_default drop_col rename_col rename_table set_schema set_default
set_not_null set_not_null_with_valid_check drop_not_null set_statistics set_storage comment_col alter_sequence_type type_vc10_vc20 type_vc10_vc5 type_vc10_text type_n10_2_n12_2
type_n10_2_n12_4 type_i4_i8 type_ts_tz_utc type_ts_tz_berlin type_ts_tz_indexed_utc type_text_collate_idx type_vc10_vc20_check type_vc10_text_expr_index type_json_jsonb
add_check add_check_not_valid validate_check add_fk add_fk_not_valid validate_fk alter_fk_enforced_18 add_unique add_unique_using_index add_pk add_exclude drop_check drop_fk rename_constraint
create_index create_unique_index drop_index rename_index reindex_index cluster set_logged_unlogged set_fillfactor create_trigger drop_trigger truncate drop_table grant create_statistics
create_view refresh_mv_conc create_publication part_create part_create_with_default part_attach part_attach_with_check part_detach part_add_col part_create_index part_fk_to
x_part_set_not_null x_part_add_unique x_part_type enum_add domain_add_check domain_add_check_nv x_type_i4_using_expr`)

const routesHead = `# Routes

## PostgreSQL

Which way a statement goes on PostgreSQL 14 to 18. This file is written by a test from what the planner says, on tables with rows
(testdata/operations), and the test fails where the two differ. *Alone* is what the server would do with the plain statement while others wait:
*direct* changes the catalogue, *scan* reads all rows or builds an index, *rewrite* writes the table or an index anew. For the routes see
[COMMAND.md](COMMAND.md). Objects that the statements name (` + "`ix`, `ck`, `fk`, `p1`" + `) are there and are what their names say.
With ` + "`--drop` a `DROP TABLE`, and with `--cover` a `RENAME TO`" + `, goes in two stages, by a recipe.

| statement | alone | 14 | 15 | 16 | 17 | 18 |
|---|---|---|---|---|---|---|
`

// TestRoutes: the table of docs/ROUTES.md says what the planner says. CHANGELING_FULL=1 asks for all rows, otherwise it is a
// sample. With -update and all versions the table is written anew.
func TestRoutes(t *testing.T) {
	base, err := os.ReadFile(filepath.Join("..", "..", "testdata", "operations", "base-postgres.sql"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "ROUTES.md")
	majors := pgtest.Majors(t)
	sample := dice(t).Perm(len(documented))[:len(documented)/6]
	skipped := func(id string) bool {
		return !*update && os.Getenv("CHANGELING_FULL") == "" && !slices.Contains(sample, slices.Index(documented, id))
	}
	cells := map[string]map[int]string{}
	alone, text := map[string]string{}, map[string]string{}
	for _, major := range majors {
		for _, o := range operations(t, major) {
			if !slices.Contains(documented, o.ID) || skipped(o.ID) {
				continue
			}
			db := pgtest.Open(t, pgtest.Database(t, major))
			db.SetMaxOpenConns(1)
			pgtest.Exec(t, db, string(base))
			if cells[o.ID] == nil {
				cells[o.ID] = map[int]string{}
			}
			if _, err := db.Exec(o.Setup); err != nil {
				cells[o.ID][major] = "–" // this version does not have it
				continue
			}
			p, err := postgres.Plan(t.Context(), db, o.Text, postgres.Options{ID: "00000000", LockWait: time.Second})
			if err != nil {
				cells[o.ID][major] = "–"
				continue
			}
			cells[o.ID][major], alone[o.ID] = string(p.Route), p.Effect
			if text[o.ID] = "`" + strings.ReplaceAll(o.Text, "|", "\\|") + "`"; p.Route == plan.Refuse && alone[o.ID] == "" {
				alone[o.ID] = "–"
			}
		}
	}
	if *update {
		if len(majors) < 5 {
			t.Fatal("all versions are needed to write the table: CHANGELING_TEST_PG=14,15,16,17,18")
		}
		var b strings.Builder
		b.WriteString(routesHead)
		for _, id := range documented {
			fmt.Fprintf(&b, "| %s | %s |", text[id]+remark(id), alone[id])
			for _, major := range majors {
				fmt.Fprintf(&b, " %s |", cells[id][major])
			}
			b.WriteString("\n")
		}
		_, rest, _ := strings.Cut(readRoutes(t), routesHeadMySQL)
		if err := os.WriteFile(path, []byte(b.String()+routesHeadMySQL+rest), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	file, _, _ := strings.Cut(readRoutes(t), routesHeadMySQL)
	rows := strings.Split(strings.TrimPrefix(file, routesHead), "\n")
	if !strings.HasPrefix(file, routesHead) || len(rows) < len(documented) {
		t.Fatalf("%s does not begin as it should, or is too short: go test -update writes it anew", path)
	}
	for i, id := range documented {
		columns := strings.Split(rows[i], " | ")
		if len(columns) != 7 {
			t.Errorf("%s: row %d has %d columns, want 7: %s", path, i+1, len(columns), rows[i])
			continue
		}
		for _, major := range majors {
			if skipped(id) {
				continue
			}
			got := strings.Trim(columns[major-12], " |")
			if want := cells[id][major]; got != want {
				t.Errorf("%s: %s on PostgreSQL %d is %q, the planner says %q: go test -update writes it anew", path, id, major, got, want)
			}
		}
	}
}

func readRoutes(t *testing.T) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "..", "docs", "ROUTES.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// remark says what a statement does not.
func remark(id string) string {
	return map[string]string{
		"set_not_null_with_valid_check": ", under a valid `CHECK (i4 IS NOT NULL)`", "type_ts_tz_utc": ", in a session in UTC", "type_ts_tz_berlin": ", in a session elsewhere",
		"type_ts_tz_indexed_utc": ", in UTC, with an index on it", "type_text_collate_idx": ", with an index on it", "type_vc10_vc20_check": ", with a check on it",
		"type_vc10_text_expr_index": ", with an index over an expression of it", "part_create_with_default": ", beside a default partition",
		"part_attach_with_check": ", under a check that implies the bound", "domain_add_check": ", used by a table",
	}[id]
}
