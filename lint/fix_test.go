package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/plan"
)

// fixes are files that are written in other ways than the samples of the rules are.
var fixes = []sample{
	{rule: "L06", bad: "ALTER TABLE t /* json */ ADD COLUMN json json DEFAULT '{}', ADD b json NOT NULL"},
	{rule: "L1e", bad: "CREATE TABLE t (id bigint PRIMARY KEY, \"char\" char (3) NOT NULL DEFAULT 'char (3)', b CHARACTER(4)[])"},
	{rule: "L1g", bad: "CREATE TABLE t (id bigint PRIMARY KEY, a timestamp(3) without time zone DEFAULT now(), b timestamp NOT NULL)"},
	{rule: "L1j", bad: "CREATE TABLE t (id serial PRIMARY KEY, n int)"},
	{rule: "L1j", target: "mysql:8.4", bad: "CREATE TABLE t (id int(11) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY)"},
	{rule: "L1j", bad: "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id bigint PRIMARY KEY, a int REFERENCES a)"}, // what refers to it follows
	{rule: "L1m", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders MODIFY amount int NOT NULL DEFAULT 0, ADD COLUMN a int"},
	{rule: "L52", target: "mysql:8.4", bad: "ALTER TABLE orders ALGORITHM=COPY, LOCK=SHARED, ADD COLUMN a int"},
	{rule: "L44", bad: "DROP INDEX IF EXISTS public.i"},
}

// left are files with a finding of the rule that words alone do not mend.
var left = []sample{
	{rule: "L06", before: orders, bad: "ALTER TABLE orders ALTER COLUMN note TYPE json"},                                            // its rows are converted
	{rule: "L1g", bad: "CREATE TABLE t (id bigint PRIMARY KEY, a timestamp DEFAULT (now() AT TIME ZONE 'utc'))"},                    // another moment
	{rule: "L43", bad: "BEGIN; CREATE INDEX i ON orders (amount); COMMIT"},                                                          // refused there
	{rule: "L43", bad: "CREATE INDEX IF NOT EXISTS i ON orders (amount)"},                                                           // content with an invalid one
	{rule: "L44", bad: "DROP INDEX i, j"},                                                                                           // one at a time
	{rule: "L52", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN a int /* all */, ALGORITHM=COPY"},                        // the comment
	{rule: "L53", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders ADD COLUMN a int, /* much */ ADD INDEX (note(4))"}, // likewise
}

// fixAll fixes a text as often as there is something to fix, and answers which rules had something.
func (s sample) fixAll(t *testing.T, text string) (string, []string) {
	t.Helper()
	var rules []string
	for range 20 {
		var done []Finding
		found := s.check(t, text)
		was := text
		if text, done = Fix(text, found); len(done) == 0 {
			return text, rules
		}
		onlyWhereFound(t, was, text, done)
		for _, f := range done {
			rules = append(rules, f.Rule)
		}
	}
	t.Fatalf("there is always something to fix: %s", text)
	return "", nil
}

// onlyWhereFound: what does not belong to the statement of a finding that was fixed is as it was.
func onlyWhereFound(t *testing.T, before, after string, done []Finding) {
	t.Helper()
	lines := strings.Split(before, "\n")
	for _, f := range done {
		lines[f.Line-1] = ""
	}
	rest := after
	for _, line := range lines {
		i := strings.Index(rest, line)
		if i < 0 {
			t.Errorf("fixing lost a line without a finding, %q:\n%s\nbefore:\n%s", line, after, before)
			return
		}
		rest = rest[i+len(line):]
	}
}

// spread puts each statement into a line of its own, among comments, as check reads them.
func (s sample) spread(t *testing.T) string {
	t.Helper()
	target, err := ParseTarget(cmpOr(s.target, "postgres:16"))
	if err != nil {
		t.Fatal(err)
	}
	statements, err := plan.Split(s.bad, target.Syntax())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(statements, ";\n") + ";\n"
}

// TestFix: a fixed file has the finding no more, nor an error that it did not have, and what is fixed is never fixed again. The golden file
// shows what becomes of each.
func TestFix(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i, s := range slices.Concat(samples, fixes) {
		if strings.HasPrefix(s.bad, "-- changeling") || strings.Contains(s.bad, "\n") || s.rule == "L74" {
			continue
		}
		text := s.spread(t)
		after, rules := s.fixAll(t, text)
		if i >= len(samples) && !slices.Contains(rules, s.rule) {
			t.Errorf("%s is not fixed in %s", s.rule, text)
		}
		if len(rules) == 0 {
			continue
		}
		now, was := s.check(t, after), rulesOf(s.check(t, text))
		for _, f := range now {
			if slices.Contains(rules, f.Rule) && len(f.Edits) > 0 {
				t.Errorf("%s is still found once it is fixed in %s: %s", f.Rule, after, f.Message)
			}
			if f.Level == Error && !strings.Contains(was, f.Rule) {
				t.Errorf("%s made %s an error of %s: %s", text, after, f.Rule, f.Message)
			}
		}
		if slices.Contains(rules, s.rule) {
			slices.Sort(rules)
			fmt.Fprintf(&b, "%s on %s\n", strings.Join(slices.Compact(rules), ", "), cmpOr(s.target, "postgres:16"))
			for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
				fmt.Fprintf(&b, "  - %s\n", line)
			}
			for _, line := range strings.Split(strings.TrimSpace(after), "\n") {
				fmt.Fprintf(&b, "  + %s\n", line)
			}
		}
	}
	for _, s := range left {
		text := s.spread(t)
		if !strings.Contains(rulesOf(s.check(t, text)), s.rule) {
			t.Errorf("%s does not find %s", s.rule, text)
		}
		if after, rules := s.fixAll(t, text); slices.Contains(rules, s.rule) {
			t.Errorf("%s is fixed, which words alone cannot:\n%s%s", s.rule, text, after)
		}
	}
	path := filepath.Join("..", "testdata", "lint", "fixed.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s is another one; go test ./lint -run TestFix -update writes it anew:\n%s", path, b.String())
	}
}

// TestFixLeavesAlone: nothing happens to what is ignored, and to what does not stand in the file as it was read.
func TestFixLeavesAlone(t *testing.T) {
	t.Parallel()
	text := "SELECT 1; CREATE INDEX i ON t (a);\n"
	f := Finding{Rule: "L43", Line: 1, Statement: "CREATE INDEX i ON t (a)", Edits: []Edit{{12, 12, " CONCURRENTLY"}}}
	if got, done := Fix(text, []Finding{f}); got != "SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a);\n" || len(done) != 1 {
		t.Errorf("Fix = %q", got)
	}
	ignored, elsewhere, other, two := f, f, f, f
	ignored.Ignored = "built at night"
	elsewhere.Line = 2
	other.Statement = "CREATE INDEX i ON ${t} (a)"
	two.Edits = []Edit{{0, len(f.Statement), "SELECT 1;\nSELECT 2"}}
	for _, one := range []Finding{ignored, elsewhere, other} {
		if got, done := Fix(text, []Finding{one}); got != text || len(done) != 0 {
			t.Errorf("Fix of %+v = %q", one, got)
		}
	}
	if got, _ := Fix("CREATE INDEX i ON t (a)$$\n", []Finding{two}); got != "CREATE INDEX i ON t (a)$$\n" {
		t.Errorf("two statements stand where the delimiter is no semicolon: %q", got)
	}
}
