package main

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// scanned is a result of SARIF, with its rule and its place.
type scanned struct {
	Rule, Level, Text, File string
	Line                    int
	Route                   string
	Steps                   []string
	Reason                  string // why the file ignores it
}

// scan reads SARIF and demands what its standard (2.1.0, sections 3.14, 3.27, 3.28, 3.49) demands of what is used here.
func scan(t *testing.T, text string) []scanned {
	t.Helper()
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct {
						ID                   string
						ShortDescription     struct{ Text string }
						DefaultConfiguration struct{ Level string }
					}
				}
			}
			Results []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
				Suppressions []struct{ Kind, Justification string }
				Properties   struct {
					Route string
					Steps []string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "changeling" || log.Runs[0].Results == nil {
		t.Fatalf("this is no SARIF 2.1.0 of one run with results:\n%s", text)
	}
	levels := []string{"error", "warning", "note"}
	rules := log.Runs[0].Tool.Driver.Rules
	seen := map[string]bool{}
	for _, r := range rules {
		if r.ID == "" || seen[r.ID] || r.ShortDescription.Text == "" || !slices.Contains(levels, r.DefaultConfiguration.Level) {
			t.Errorf("the rule %+v is not one, or is there twice", r)
		}
		seen[r.ID] = true
	}
	var out []scanned
	for _, r := range log.Runs[0].Results {
		if r.RuleIndex == nil || *r.RuleIndex >= len(rules) || rules[*r.RuleIndex].ID != r.RuleID || r.Message.Text == "" || !slices.Contains(levels, r.Level) || len(r.Locations) != 1 {
			t.Fatalf("the result %+v has no rule, no text, no level or no place", r)
		}
		place := r.Locations[0].PhysicalLocation
		u, err := url.Parse(place.ArtifactLocation.URI)
		if err != nil || strings.Contains(place.ArtifactLocation.URI, " ") || place.Region.StartLine < 1 {
			t.Fatalf("%+v is no place (%v)", place, err)
		}
		one := scanned{Rule: r.RuleID, Level: r.Level, Text: r.Message.Text, File: u.Path, Line: place.Region.StartLine, Route: r.Properties.Route, Steps: r.Properties.Steps}
		for _, s := range r.Suppressions {
			if s.Kind != "inSource" {
				t.Errorf("a suppression of kind %q", s.Kind)
			}
			one.Reason = s.Justification
		}
		out = append(out, one)
	}
	return out
}

// brief is what a finding says of which line, in a form that a test can list.
func brief(all []scanned) (out []string) {
	for _, s := range all {
		out = append(out, strings.Join([]string{s.Level, s.Rule, s.File[strings.LastIndex(s.File, "/")+1:]}, " "))
	}
	return out
}

// TestPlanFindings: each statement of any number that is not done at once is a finding, with its route, steps and locks.
func TestPlanFindings(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`CREATE TABLE days (day date PRIMARY KEY, amount int) PARTITION BY RANGE (day)`, `CREATE TABLE days_all PARTITION OF days DEFAULT PARTITION BY HASH (day)`)
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := file("1 wide.sql", "SET lock_timeout = '1s';\nALTER TABLE orders ADD COLUMN note text;\n\n"+statementText+";\nCREATE INDEX ON orders (amount);\n"+
		"CREATE TABLE fresh (id bigint PRIMARY KEY);\nCREATE INDEX ON fresh (id);\nINSERT INTO fresh VALUES (1);\nALTER TABLE orders RENAME COLUMN email TO mail;\n")
	goose := file("2_goose.sql", "-- +goose Up\nALTER TABLE orders ALTER COLUMN email SET NOT NULL;\nALTER TABLE orders ADD COLUMN state mood;\n-- +goose Down\nALTER TABLE orders ALTER COLUMN amount TYPE int;\n")

	found := scan(t, s.run(0, "plan", "--sarif", "--sql-file", first, "--sql-file", goose).stdout)
	if got, want := brief(found), []string{"warning shadow-table 1 wide.sql", "note recipe 1 wide.sql", "error L17 1 wide.sql", "note recipe 2_goose.sql", "warning unplanned 2_goose.sql"}; !slices.Equal(got, want) {
		t.Fatalf("found %q\nwant %q", got, want)
	}
	table := found[0]
	if table.Line != 4 || table.Route != "shadow-table" || !slices.ContainsFunc(table.Steps, func(s string) bool {
		return strings.Contains(s, "cutover: ACCESS EXCLUSIVE, waits at most 200ms for it")
	}) || !strings.Contains(table.Text, table.Steps[0]) {
		t.Errorf("the finding of %q is %+v", statementText, table)
	}
	if found[1].Line != 5 || found[1].Route != "recipe" || found[3].Line != 2 || found[4].Line != 3 || !strings.Contains(found[4].Text, `"mood"`) {
		t.Errorf("found %+v", found)
	}
	// As annotations, from standard input, with what is refused, and what rows break.
	text := s.startWith(func(c *exec.Cmd) {
		c.Stdin = strings.NewReader("ALTER TABLE orders ADD COLUMN x int;\nALTER TABLE days ALTER COLUMN amount TYPE bigint;")
	}, "plan", "--github", "-").ends(3).stdout
	contains(t, "plan --github", text, "::error file=-,line=2,title=refuse::refused: partition \"public\".\"days_all\" is partitioned itself")
	if strings.Count(text, "\n") != 1 {
		t.Errorf("an annotation is a line, and the first statement is none:\n%s", text)
	}
	s.exec(`INSERT INTO orders (email, amount) VALUES (NULL, 1)`)
	contains(t, "plan --check-data", s.run(5, "plan", "--github", "--check-data", "ALTER TABLE orders ALTER COLUMN email SET NOT NULL").stdout, "title=recipe::", "::error file=-,line=1,title=data::", "1 rows break it")
	contains(t, "what is no SQL", s.run(3, "plan", "--github", "ALTER TABLE orders ADD COLUMN").stdout, "title=unplanned::cannot be planned: ")
	if found := scan(t, s.run(0, "plan", "--sarif", "ALTER TABLE orders ADD COLUMN x int").stdout); len(found) != 0 {
		t.Errorf("what is done at once is a finding: %+v", found)
	}
	s.run(10, "plan", "--github", "--detailed-exitcode", "ALTER TABLE orders ADD COLUMN x int")
	s.run(2, "plan", "--github", "--json", statementText)
	if both := s.run(0, "plan", "--sql-file", first, "--sql-file", goose).stdout; strings.Count(both, "statement ") < 2 {
		t.Errorf("of two files is planned:\n%s", both)
	}
	if n := s.traces(); n != "0" || s.ask(`SELECT to_regnamespace('changeling') IS NULL`) != "true" {
		t.Errorf("plan left %s traces", n)
	}
}

func TestMySQLPlanFindings(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		mytest.Exec(t, mytest.Open(t, s.dsn), `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL)`)
		found := scan(t, s.run(0, "plan", "--sarif", "ALTER TABLE orders ADD COLUMN note varchar(10);\nALTER TABLE orders MODIFY amount bigint NOT NULL").stdout)
		if got, want := brief(found), []string{"warning shadow-table -"}; !slices.Equal(got, want) || found[0].Line != 2 || !strings.Contains(strings.Join(found[0].Steps, "\n"), "exclusive metadata lock") {
			t.Errorf("found %+v, want %q", found, want)
		}
	})
}
