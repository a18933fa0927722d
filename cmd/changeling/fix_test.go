package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestLintFix: a tree as a team wrote it, fixed; the golden file is the patch. Once more there is nothing to fix, and lines without a finding
// are as they were.
func TestLintFix(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(lintFiles+"shop")); err != nil {
		t.Fatal(err)
	}
	extra := filepath.Join(dir, "00099_extra.sql")
	if err := os.WriteFile(extra, []byte("-- +goose NO TRANSACTION\r\n-- +goose Up\r\nCREATE INDEX  i /* kept */ ON orders\r\n  (note);\r\n-- changeling: ignore L43 built while nobody is there\r\nCREATE INDEX j ON orders (note);"), 0o640); err != nil {
		t.Fatal(err)
	}
	patch := s.run(10, "lint", dir, "--for", "postgres:16", "--diff").stdout
	golden(t, "lint.shop.patch.golden", strings.ReplaceAll(patch, filepath.ToSlash(dir), "DIR"))
	texts := func() map[string]string {
		out := map[string]string{}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.ToSlash(f)] = string(text)
		}
		return out
	}
	before := texts()
	r := s.run(3, "lint", dir, "--for", "postgres:16", "--fix") // errors that words do not mend are left
	contains(t, "lint --fix", r.stderr, "rewrote ", "00099_extra.sql", "findings were fixed")
	after := texts()
	for name, text := range before {
		if got := patched(t, text, patch, name); got != after[name] {
			t.Errorf("--fix and --diff differ in %s:\n%s\n%s", name, after[name], got)
		}
	}
	if want := "-- +goose NO TRANSACTION\r\n-- +goose Up\r\nCREATE INDEX CONCURRENTLY  i /* kept */ ON orders\r\n  (note);\r\n-- changeling: ignore L43 built while nobody is there\r\nCREATE INDEX j ON orders (note);"; after[filepath.ToSlash(extra)] != want {
		t.Errorf("the file became %q", after[filepath.ToSlash(extra)])
	}
	if info, err := os.Stat(extra); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode became %v (%v)", info.Mode(), err)
	}
	if again := s.run(0, "lint", dir, "--for", "postgres:16", "--diff").stdout; again != "" {
		t.Errorf("there is something to fix after --fix:\n%s", again)
	}
	if len(after) != len(before) {
		t.Errorf("there are %d files, and were %d", len(after), len(before))
	}
	// What was released is left alone, and so is what `changeling migrate` makes safe.
	s.run(0, "lint", lintFiles+"shop", "--for", "postgres:16", "--start-after", "00004", "--diff")
	input := s.startWith(func(c *exec.Cmd) { c.Stdin = strings.NewReader("CREATE TABLE t (id int PRIMARY KEY);") }, "lint", "-", "--for", "postgres:16", "--diff").ends(10)
	contains(t, "the patch of standard input", input.stdout, "--- a/-\n+++ b/-\n@@ -1,1 +1,1 @@\n-CREATE TABLE t (id int PRIMARY KEY);\n\\ No newline at end of file\n+CREATE TABLE t (id bigint PRIMARY KEY);\n\\ No newline")
	s.run(2, "lint", "-", "--for", "postgres:16", "--fix")
	s.run(2, "lint", dir, "--for", "postgres:16", "--fix", "--diff")
	s.run(2, "lint", dir, "--for", "postgres:16", "--sarif", "--diff")
}

// TestFixedRuns: what a fix writes the server takes, and it makes what the rule wants.
func TestFixedRuns(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	file := filepath.Join(t.TempDir(), "1_all.sql")
	text := `CREATE TABLE parents (id serial PRIMARY KEY, doc jsonb);
CREATE TABLE t (id bigint PRIMARY KEY, parent int REFERENCES parents, code char(3) NOT NULL DEFAULT 'abc', at timestamp(3) DEFAULT now(), kind varchar(5));
CREATE INDEX by_code ON t (code);
ALTER TABLE t ADD COLUMN more json DEFAULT '{}';
DROP INDEX by_code;
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(0, "lint", file, "--for", "postgres:16", "--enable", "L1f", "--fix")
	fixed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range strings.Split(strings.TrimSuffix(strings.TrimSpace(string(fixed)), ";"), ";\n") {
		s.exec(statement)
	}
	if got, want := s.ask(`SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attrelid, attnum) FROM pg_attribute WHERE attrelid IN ('parents'::regclass, 't'::regclass) AND attnum > 0`),
		"id bigint, doc jsonb, id bigint, parent bigint, code text, at timestamp(3) with time zone, kind text, more jsonb"; got != want {
		t.Errorf("the columns are %s\nwant %s\nby\n%s", got, want, fixed)
	}
}

// patched is a text after the hunks of a patch that are about its file.
func patched(t *testing.T, text, patch, name string) string {
	t.Helper()
	_, patch, ok := strings.Cut(patch, "--- a/"+name+"\n+++ b/"+name+"\n")
	if !ok {
		return text
	}
	if i := strings.Index(patch, "--- a/"); i >= 0 {
		patch = patch[:i]
	}
	old := slices.Collect(strings.Lines(text))
	var out []string
	at, last := 0, byte(0)
	for _, line := range slices.Collect(strings.Lines(patch)) {
		sign := line[0]
		switch sign {
		case '@':
			from, count, _ := strings.Cut(strings.TrimPrefix(strings.Fields(line)[1], "-"), ",")
			n, err := strconv.Atoi(from)
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if count != "0" {
				n--
			}
			out, at = append(out, old[at:n]...), n
		case '\\':
			if last != '-' {
				out[len(out)-1] = strings.TrimSuffix(out[len(out)-1], "\n")
			}
		case '+':
			out = append(out, line[1:])
		default:
			if strings.TrimRight(line[1:], "\n") != strings.TrimRight(old[at], "\n") {
				t.Fatalf("the patch says %q where there is %q", line, old[at])
			}
			if at++; sign == ' ' {
				out = append(out, line[1:])
			}
		}
		last = sign
	}
	return strings.Join(append(out, old[at:]...), "")
}

// TestUnified: what a patch makes of the old text is the new one, whatever they are.
func TestUnified(t *testing.T) {
	t.Parallel()
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n\n")), 0, 60, -1)
	rapid.Check(t, func(r *rapid.T) {
		before, after := text.Draw(r, "before"), text.Draw(r, "after")
		if got := patched(t, before, unified("f", before, after), "f"); got != after {
			r.Fatalf("%q becomes %q by\n%s", before, got, unified("f", before, after))
		}
	})
}
