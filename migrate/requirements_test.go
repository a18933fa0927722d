package migrate_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/REQUIREMENTS.md anew")

// docs/REQUIREMENTS.md says which test shows what users of migrations ask for. It is made of testdata/requirements.txt and of the
// tests of all packages: a test begins its name with the id that it shows, or its comment with a list of them.
func TestRequirements(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfAllPackages(t)
	shown := map[string][]string{}
	for name, in := range tests {
		for _, id := range in.ids {
			shown[id] = append(shown[id], name)
		}
	}
	var doc strings.Builder
	doc.WriteString("# What users of migrations ask for\n\nMade by `go test ./migrate -run TestRequirements -update` of `migrate/testdata/requirements.txt` and the names and comments of tests.\n\n" +
		"N and NR are taken from what was asked of a monitoring system's upgrades, Q of runners that start at once, Z and S of changes without\ndowntime, O of long jumps over versions, R of runners, B of backfills.\n\n| id | what is asked for | shown by |\n|---|---|---|\n")
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), " |", 3)
		if len(parts) != 3 {
			t.Fatalf("%q: expected an id, a sentence and tests or a reason", line)
		}
		id, named, reason := parts[0], parts[2], ""
		if before, after, ok := strings.Cut(named, "- "); ok {
			named, reason = before, after
		}
		for _, name := range strings.Fields(named) {
			if tests[name].path == "" {
				t.Errorf("%s names %s, and there is no such test", id, name)
			}
			shown[id] = append(shown[id], name)
		}
		slices.Sort(shown[id])
		var cells []string
		for _, name := range slices.Compact(shown[id]) {
			cells = append(cells, fmt.Sprintf("[%s](../%s)", strings.SplitN(name, "|", 2)[0], tests[name].path))
		}
		if reason != "" {
			cells = append(cells, reason)
		}
		if len(cells) == 0 {
			t.Errorf("no test shows %s:%s", id, parts[1])
		}
		delete(shown, id)
		fmt.Fprintf(&doc, "| %s |%s | %s |\n", id, parts[1], strings.Join(cells, ", "))
	}
	for id, by := range shown {
		t.Errorf("%v shows %s, which testdata/requirements.txt does not know", by, id)
	}
	path := filepath.Join("..", "docs", "REQUIREMENTS.md")
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || string(have) != doc.String() {
		t.Errorf("docs/REQUIREMENTS.md is not what tests and testdata/requirements.txt give (%v): run this test with -update. %s", err, difference(string(have), doc.String()))
	}
}

// test is where one stands, and the ids that it shows.
type test struct {
	path string
	ids  []string
}

var (
	declared = regexp.MustCompile(`(?m)((?:^//.*\n)*)^func ((?:Test|Fuzz|Example)\w*)\(`)
	nameID   = regexp.MustCompile(`^Test((?:NR|[NQZSORB])\d+[a-z]?)(?:[A-Z]|$)`)
	oneID    = regexp.MustCompile(`^(?:NR|[NQZSORB])\d+[a-z]?$`)
)

func testsOfAllPackages(t *testing.T) map[string]test {
	t.Helper()
	out := map[string]test{}
	if err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(string(body), -1) {
			one := test{path: strings.TrimPrefix(filepath.ToSlash(path), "../")}
			if id := nameID.FindStringSubmatch(m[2]); id != nil {
				one.ids = append(one.ids, id[1])
			}
			list, _, _ := strings.Cut(strings.TrimPrefix(m[1], "// "), ":")
			for _, word := range strings.Split(strings.SplitN(list, " with ", 2)[0], ", ") {
				if word = strings.TrimSpace(word); !oneID.MatchString(word) {
					break
				}
				one.ids = append(one.ids, word)
			}
			slices.Sort(one.ids)
			one.ids = slices.Compact(one.ids)
			key := m[2]
			if _, taken := out[key]; taken { // in another package: the first one is meant where only the name is said
				key += "|" + one.path
			}
			out[key] = one
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
