package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlanSaysWhatWouldHappenAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	text := s.run(0, "plan", statementText)
	contains(t, "plan", text.stdout, "route      shadow-table", "public.orders", "ACCESS EXCLUSIVE, waits at most 200ms", "more while the change runs", "nothing was changed")
	if strings.Contains(text.stdout, "CREATE TABLE") {
		t.Errorf("plan without --sql shows statements:\n%s", text.stdout)
	}
	contains(t, "plan --sql", s.run(0, "plan", "--sql", "--lock-timeout", "70ms", statementText).stdout, "CREATE TABLE", "SET SCHEMA", "at most 70ms")
	golden(t, "plan.json.golden", s.run(0, "plan", "--json", statementText).stdout)
	contains(t, "plan of a column", s.run(0, "plan", "ALTER TABLE orders ADD COLUMN note text").stdout, "route      direct")
	if n := s.traces(); n != "0" || s.ask(`SELECT to_regnamespace('changeling') IS NULL`) != "true" {
		t.Errorf("plan left %s traces", n)
	}
}

func TestPlanReadsItsStatementFromAnywhere(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	file := filepath.Join(t.TempDir(), "widen.sql")
	if err := os.WriteFile(file, []byte("-- wider\n"+statementText+";\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, "plan of a file", s.run(0, "plan", "--sql-file", file).stdout, "shadow-table")
	input := s.startWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader(statementText) }, "plan", "-").ends(0)
	contains(t, "plan of standard input", input.stdout, "shadow-table")
	s.run(2, "plan", "--sql-file", file, statementText)
	s.run(2, "plan", "--sql-file", file+".not")
	s.startWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader(" \n") }, "plan", "-").ends(2)
}

func TestDetailedExitCode(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	for _, statement := range []string{statementText, "ALTER TABLE orders RENAME COLUMN email TO mail"} {
		s.run(10, "plan", "--detailed-exitcode", statement)
		s.run(0, "run", statement)
		contains(t, "plan after run", s.run(0, "plan", "--detailed-exitcode", statement).stdout, "nothing to do")
	}
	s.exec(`ALTER TABLE orders ADD COLUMN note text`) // now it is another table
	s.run(10, "plan", "--detailed-exitcode", statementText)
}

func TestRefusalExitsThree(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE days (day date NOT NULL, amount int, PRIMARY KEY (day)) PARTITION BY RANGE (day)`, `CREATE TABLE days_all PARTITION OF days DEFAULT PARTITION BY HASH (day)`)
	const statement = "ALTER TABLE days ALTER COLUMN amount TYPE bigint"
	planned := s.run(3, "plan", statement)
	contains(t, "plan", planned.stdout, "route      refuse", "refused    partition \"public\".\"days_all\" is partitioned itself")
	contains(t, "plan's error", planned.stderr, "nothing was changed")
	contains(t, "plan --json", s.run(3, "plan", "--json", statement).stdout, `"route": "refuse"`, `"refusals": [`, `"steps": []`)
	contains(t, "run's error", s.run(3, "run", statement).stderr, "partitioned")
	if list := s.list(); len(list) != 0 {
		t.Errorf("a refused change was saved: %v", list)
	}
}
