package changeling_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports holds docs/ARCHITECTURE.md against what the packages really import.
func TestImports(t *testing.T) {
	const module = "github.com/changeling-db/changeling"
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, drawing, ok := strings.Cut(string(text), "```imports\n")
	if !ok {
		t.Fatal("docs/ARCHITECTURE.md has no import drawing")
	}
	drawing, _, _ = strings.Cut(drawing, "```")
	allowed := map[string][]string{}
	for line := range strings.Lines(drawing) {
		if fields := strings.Fields(line); len(fields) > 0 {
			allowed[fields[0]] = fields[1:]
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	short := func(path string) string {
		if path == module {
			return "."
		}
		return strings.TrimPrefix(path, module+"/")
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := short(fields[0])
		may, drawn := allowed[name]
		if !drawn {
			t.Errorf("package %s is not in the drawing", name)
		}
		delete(allowed, name)
		for _, path := range fields[1:] {
			if (path == module || strings.HasPrefix(path, module+"/")) && !slices.Contains(may, short(path)) {
				t.Errorf("package %s imports %s, which the drawing does not allow", name, short(path))
			}
		}
	}
	for name := range allowed {
		t.Errorf("the drawing has package %s, which is not there", name)
	}
}
