package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// shape is a table with its data, and a statement that changes it. Shapes are files of plain SQL, testdata/sql/shapes:
//
//	-- shape: the rule that it tests
//	-- refused: what a refusal must name     (directives, all of them optional)
//	CREATE TABLE …; INSERT …;
//	-- alter
//	ALTER TABLE …;
type shape struct {
	File  string
	Name  string
	Setup string // several statements
	Alter string

	Since, Until int      // majors that have what the shape needs; zero: all
	Needs        string   // an extension that must be installed on the server, or the shape is skipped
	As           string   // who runs the statement; empty: a superuser
	Native       string   // what runs natively instead of Alter
	Volatile     []string // columns (table.column) whose values differ from run to run and from row to row
	Stable       []string // columns whose value differs from run to run and is one in all rows
	Children     bool     // tables that refer to the key are taken along; Native has all statements then

	// What must come out instead of a changed table. The text is a part of the error.
	Refused string // a plan that refuses and names what stands in the way
	Usage   string // the statement is wrong, as the server says natively
	Data    string // the data refuse: the error names the row
	Direct  bool   // the server does it at once
	Recipe  bool   // it goes in steps
}

// shapes reads all files.
func shapes(t *testing.T) []shape {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "sql", "shapes", "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no shapes: %v", err)
	}
	var all []shape
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		some, err := parseShapes(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range some {
			s.File = strings.TrimSuffix(filepath.Base(file), ".sql")
			if seen[s.Name] {
				t.Fatalf("%s: two shapes are called %q", file, s.Name)
			}
			seen[s.Name] = true
			all = append(all, s)
		}
	}
	return all
}

func parseShapes(text string) ([]shape, error) {
	var all []shape
	var s *shape
	into := func(*shape) *string { return nil }
	for n, line := range strings.Split(text, "\n") {
		word, value, isDirective := directive(line)
		if isDirective && word == "shape" {
			all = append(all, shape{Name: value})
			s = &all[len(all)-1]
			into = func(s *shape) *string { return &s.Setup }
			continue
		}
		if s == nil {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "--") {
				continue
			}
			return nil, fmt.Errorf("line %d stands before the first shape", n+1)
		}
		switch {
		case isDirective && word == "alter":
			into = func(s *shape) *string { return &s.Alter }
		case isDirective:
			if err := s.set(word, value); err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
		default:
			*into(s) += line + "\n"
		}
	}
	for i := range all {
		if all[i].Alter = strings.TrimSpace(all[i].Alter); all[i].Alter == "" {
			return nil, fmt.Errorf("shape %q has no statement", all[i].Name)
		}
	}
	return all, nil
}

// directive reads "-- word: value" and "-- alter". Every other comment belongs to the SQL.
func directive(line string) (word, value string, ok bool) {
	rest, found := strings.CutPrefix(line, "-- ")
	if !found {
		return "", "", false
	}
	word, value, _ = strings.Cut(rest, ":")
	switch word {
	case "alter":
		return word, "", strings.TrimSpace(rest) == "alter"
	case "shape", "since", "until", "needs", "as", "native", "volatile", "stable", "refused", "usage", "data", "direct", "recipe", "children":
		return word, strings.TrimSpace(value), true
	}
	return "", "", false
}

func (s *shape) set(word, value string) (err error) {
	switch word {
	case "since":
		s.Since, err = strconv.Atoi(value)
	case "until":
		s.Until, err = strconv.Atoi(value)
	case "needs":
		s.Needs = value
	case "as":
		s.As = value
	case "native":
		s.Native = value
	case "volatile":
		s.Volatile = strings.Fields(value)
	case "stable":
		s.Stable = strings.Fields(value)
	case "refused":
		s.Refused = value
	case "usage":
		s.Usage = value
	case "data":
		s.Data = value
	case "children":
		s.Children = true
	case "direct":
		s.Direct = true
	case "recipe":
		s.Recipe = true
	}
	return err
}
