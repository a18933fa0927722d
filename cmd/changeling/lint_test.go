package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const lintFiles = "../../testdata/lint/"

// TestLintRealisticFiles: two trees as teams write them, judged as a whole; the golden files are what a person reads.
func TestLintRealisticFiles(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	golden(t, "lint.shop.golden", s.run(3, "lint", lintFiles+"shop", "--for", "postgres:16").stdout)
	golden(t, "lint.billing.golden", s.run(3, "lint", lintFiles+"billing", "--for", "mysql:8.4").stdout)
	// What changeling does safely by itself is a note; what needs a deploy stays an error.
	noted := s.run(3, "lint", lintFiles+"shop", "--for", "postgres:16", "--migrate").stdout
	contains(t, "lint --migrate", noted, "note L01", "note L43", "error L17")
	contains(t, "released files", s.run(0, "lint", lintFiles+"shop", "--for", "postgres:16", "--start-after", "00004").stdout, "0 files for postgres:16: 0 errors")
}

func TestLintForms(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	file := filepath.Join(t.TempDir(), "a.sql")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("CREATE INDEX i ON t (a);\n")
	var report struct {
		Target   string
		Findings []struct {
			Rule, Level, File string
			Line              int
			Instead           []string
		}
	}
	if err := json.Unmarshal([]byte(s.run(3, "lint", file, "--for", "postgres:16", "--json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	if f := report.Findings[0]; f.Rule != "L43" || f.Level != "error" || f.Line != 1 || f.Instead[0] != "CREATE INDEX CONCURRENTLY i ON t (a);" {
		t.Errorf("the first finding is %+v", f)
	}
	write("-- changeling: ignore L43 nobody uses it yet\nCREATE INDEX i ON t (a);\n")
	found := scan(t, s.run(0, "lint", file, "--for", "postgres:16", "--sarif").stdout)
	if last := found[len(found)-1]; last.Rule != "L43" || last.Line != 2 || last.Reason != "nobody uses it yet" {
		t.Errorf("the last result is %+v", last)
	}
	write("-- changeling: ignore L43\nCREATE INDEX i ON t (a);\n")
	text := s.run(3, "lint", file, "--for", "postgres:16", "--github").stdout
	contains(t, "lint --github", text, "::error file=", "line=2,title=L43::nobody can write to t until the index is built%0Ainstead:%0A", "title=L00::`changeling: ignore L43` gives no reason")
	write("CREATE TABLE t (id bigint PRIMARY KEY);\nCREATE INDEX i ON t (id);\n")
	contains(t, "a table of its own", s.run(0, "lint", file, "--for", "postgres:16", "--disable", "L49").stdout, "0 errors, 0 warnings")
	s.run(3, "lint", file, "--for", "postgres:16", "--names", "^x", "--strict")
	s.startWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader("DROP TABLE t") }, "lint", "-", "--for", "mariadb:10.11").ends(3)
	for _, wrong := range [][]string{{"lint"}, {"lint", file}, {"lint", file, "--for", "oracle:23"}, {"lint", file, "--for", "postgres:9"}, {"lint", file + "x", "--for", "postgres:16"},
		{"lint", file, "--for", "postgres:16", "--json", "--sarif"}, {"lint", file, "--for", "postgres:16", "--disable", "L99"}, {"lint", file, "--for", "postgres:16", "--names", "("}} {
		s.run(2, wrong...)
	}
}

// TestLintRehearses: a database that has the table outranks the rules, in both directions, and is left as it was.
func TestLintRehearses(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE items (id bigint PRIMARY KEY, name varchar(20), size int4range)`)
	file := filepath.Join(t.TempDir(), "1_items.sql")
	if err := os.WriteFile(file, []byte("SET lock_timeout = '1s';\nALTER TABLE items ALTER COLUMN name TYPE text;\nALTER TABLE others ALTER COLUMN n TYPE bigint;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, "without a database", s.run(3, "lint", file, "--for", "postgres:16").stdout, "1_items.sql:2: warning L07", "1_items.sql:3: error L07")
	asked := s.run(3, "lint", file, "--dsn", s.dsn).stdout
	contains(t, "with one", asked, "1_items.sql:3: error L07")
	if strings.Contains(asked, "1_items.sql:2: warning L07") {
		t.Errorf("varchar to text is free, and a database was asked:\n%s", asked)
	}
	if err := os.WriteFile(file, []byte("SET lock_timeout = '1s';\nALTER TABLE items ALTER COLUMN id TYPE int;\nALTER TABLE items ADD COLUMN n int ODDLY;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, "what the server says", s.run(3, "lint", file, "--dsn", s.dsn).stdout, "changeling goes by shadow-table: check data, create shadow, install capture")
	if n := s.traces(); n != "0" {
		t.Errorf("lint left %s traces", n)
	}
}
