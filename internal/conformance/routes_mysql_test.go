package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// documentedMySQL are the operations of the second table of docs/ROUTES.md, by their id in testdata/operations.
var documentedMySQL = strings.Fields(`add_col_last add_col_after add_col_default add_col_expr_default_const add_col_expr_default_uuid add_col_autoinc add_col_virtual add_col_stored
add_col_check add_col_and_index add_col_fk add_col_table_fulltext add_col_row_compressed add_col_with_vindex drop_col drop_col_indexed drop_key_then_col drop_col_fk_col rename_col
rename_col_in_check set_default set_not_null set_null reorder_col vc10_vc20 vc60_vc64_crosses_256bytes vc20_shrink vc_text char10_char20 int_bigint decimal_grow_same_scale ts_datetime
enum_append enum_middle set_append charset_mb3_mb4 charset_mb3_mb4_indexed charset_latin1_utf8mb4 collate_change collate_change_indexed table_default_charset table_convert_charset
modify_pk_type modify_fk_col_type add_index add_unique add_fulltext_first add_fulltext_second drop_index rename_index add_pk replace_pk drop_pk add_fk_checks_on drop_fk add_check
add_check_not_enforced check_enforced drop_check rename_table autoinc table_comment engine_innodb_noop row_format_compressed change_engine_myisam partition_by remove_partitioning2
add_partition_range drop_partition truncate_partition exchange_partition reorganize_partition rebuild_partition coalesce_partition add_hash_partition convert_partition_to_table_ma
add_period_system_versioning add_col_sysver copy_fk_child_table copy_fk_parent_table`)

var measuredMySQL = []string{"mysql9.7", "mariadb10.11", "mariadb11.8"}

const routesHeadMySQL = `
## MySQL and MariaDB

Which way a statement goes, behind what the server itself would do with it: change the catalogue at once (*instant*), work *in place*, *rebuild* the table in
place, or *copy* it; *+ writers wait* where it shuts them out meanwhile. *–*: the server refuses it, or does not know it.

| statement | MySQL 9.7 | MariaDB 10.11 | MariaDB 11.8 |
|---|---|---|---|
`

// alone is what a server would do, in a word.
func alone(n *plan.Native) string {
	if n == nil {
		return ""
	}
	word := map[string]string{"INSTANT": "instant", "INPLACE": "in place", "COPY": "copy"}[n.Algorithm]
	if n.Algorithm == "INPLACE" && n.Rebuild {
		word = "rebuild"
	}
	if n.Lock == "SHARED" {
		word += " + writers wait"
	}
	return word + ": "
}

// TestRoutesMySQL: the second table of docs/ROUTES.md says what the planner says. CHANGELING_FULL=1 asks for all rows, otherwise it is a
// sample. With -update and all versions the table is written anew.
func TestRoutesMySQL(t *testing.T) {
	base := baseMySQL(t)
	full := *update || os.Getenv("CHANGELING_FULL") != ""
	sample := dice(t).Perm(len(documentedMySQL))[:len(documentedMySQL)/8]
	cells, texts := map[string]map[string]string{}, map[string]string{}
	versions := mytest.Versions(t)
	for _, version := range versions {
		if !slices.Contains(measuredMySQL, version) {
			continue
		}
		for _, a := range alterations(t, version) {
			at := slices.Index(documentedMySQL, a.ID)
			if at < 0 || !full && !slices.Contains(sample, at) {
				continue
			}
			name := fmt.Sprintf("routes_%d", os.Getpid())
			db := a.stage(t, mytest.Server(t, version).DSN(""), name, base)
			if db == nil {
				continue
			}
			if cells[a.ID] == nil {
				cells[a.ID] = map[string]string{}
			}
			statement := "alter table " + a.table() + " " + a.Clauses
			p, err := mysql.Plan(t.Context(), db, statement, mysql.Options{ID: "r" + fmt.Sprint(os.Getpid()), LockWait: time.Second})
			cells[a.ID][version] = "–"
			if err == nil {
				cells[a.ID][version] = alone(p.Native) + string(p.Route)
			}
			if texts[a.ID] == "" {
				texts[a.ID] = "`" + strings.ReplaceAll(statement, "|", "\\|") + "`" + under(a.Setup)
			}
			mytest.Exec(t, db, "DROP DATABASE "+name)
			db.Close()
		}
	}
	first, rest, _ := strings.Cut(readRoutes(t), routesHeadMySQL)
	row := func(id string) string {
		out := "| " + texts[id] + " |"
		for _, version := range measuredMySQL {
			cell := cells[id][version]
			if cell == "" {
				cell = "–"
			}
			out += " " + cell + " |"
		}
		return out
	}
	if *update {
		var b strings.Builder
		for _, id := range documentedMySQL {
			for _, version := range measuredMySQL {
				if !slices.Contains(versions, version) {
					t.Fatalf("all versions are needed to write the table: CHANGELING_TEST_MYSQL=%s", strings.Join(measuredMySQL, ","))
				}
			}
			b.WriteString(row(id) + "\n")
		}
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "ROUTES.md"), []byte(first+routesHeadMySQL+b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	rows := strings.Split(strings.TrimSpace(rest), "\n")
	if len(rows) != len(documentedMySQL) {
		t.Fatalf("docs/ROUTES.md has %d rows about MySQL and MariaDB, want %d: go test -update writes them anew", len(rows), len(documentedMySQL))
	}
	for i, id := range documentedMySQL {
		columns := strings.Split(strings.Trim(rows[i], "| "), " | ")
		for version, want := range cells[id] {
			if got := columns[len(columns)-len(measuredMySQL)+slices.Index(measuredMySQL, version)]; got != want {
				t.Errorf("docs/ROUTES.md: %s on %s is %q, the planner says %q: go test -update writes it anew", id, version, got, want)
			}
		}
	}
}

// under says what was done to the table before.
func under(setup string) string {
	if setup == "" {
		return ""
	}
	setup = strings.TrimSuffix(strings.ReplaceAll(setup, "alter table t ", ""), "; ")
	return ", after `" + strings.TrimSuffix(setup, ";") + "`"
}
