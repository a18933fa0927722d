package migrate

import (
	"strings"
	"testing"

	"github.com/changeling-db/changeling/plan"
)

// FuzzSplitLosesNothing: whatever a file holds, each byte of it is in one statement, or is white space, a comment or a delimiter.
func FuzzSplitLosesNothing(f *testing.F) {
	for _, text := range []string{
		"SELECT 1; SELECT $$ ; $$ -- x;\n;", "DELIMITER $$\nCREATE PROCEDURE p() BEGIN SELECT 1; END$$\nDELIMITER ;\nSELECT 2", "/*! SET a=1 */;;",
		"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END; x", "a (b; c); d", "-- +goose Up\nSELECT ')';", "BEGIN NOT ATOMIC a; END; b",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, mysql bool) {
		syntax := plan.PostgresSyntax()
		if mysql {
			syntax = plan.MySQLSyntax()
		}
		p := &splitter{src: text, syntax: syntax, told: func(string) error { return nil }}
		statements, err := p.split()
		if err != nil {
			return
		}
		at := 0
		for _, s := range append(statements, Statement{start: len(text), end: len(text)}) {
			if s.start < at || s.end < s.start {
				t.Fatalf("statement %q begins at %d, before %d", s.SQL, s.start, at)
			}
			if !strings.Contains(strings.ToUpper(text), "DELIMITER") { // else a delimiter may be anything
				between(t, text[at:s.start], syntax)
			}
			if got := text[s.start:s.end]; !strings.HasPrefix(got, s.SQL) || got != s.SQL && (!mysql || strings.Trim(got[len(s.SQL):], " \t\r\n;") != "") {
				t.Fatalf("statement %q was cut out of %q", s.SQL, got)
			}
			if s.Line != 0 && s.Line != 1+strings.Count(text[:s.start], "\n") {
				t.Fatalf("statement %q is said to be in line %d", s.SQL, s.Line)
			}
			at = s.end
		}
	})
}

// between fails if a text has words that no statement has.
func between(t *testing.T, text string, syntax plan.Syntax) {
	tokens, err := plan.Lex(text, syntax)
	if err != nil {
		t.Fatalf("%q is in no statement: %v", text, err)
	}
	for _, k := range tokens {
		if k.Kind != plan.TokenSpace && k.Kind != plan.TokenComment && text[k.Start:k.End] != ";" {
			t.Fatalf("%q is in no statement", text)
		}
	}
}
