package lint

import (
	"testing"

	"github.com/changeling-db/changeling/plan"
)

// FuzzCheck: whatever a file says, the rules come to an end, each finding has a place and a way, and two readings agree.
func FuzzCheck(f *testing.F) {
	for _, s := range samples {
		f.Add(s.bad, s.target == "" || s.target[0] == 'p')
		f.Add(s.before+s.good, s.target == "" || s.target[0] == 'p')
	}
	f.Fuzz(func(t *testing.T, text string, postgres bool) {
		target := Target{Kind: "mysql", Version: [3]int{8, 4, -1}}
		if postgres {
			target = Target{Kind: "postgres", Version: [3]int{18, -1, -1}}
		}
		script := Script{File: "f", Wrapped: len(text)%2 == 0, OneWay: true}
		statements, err := plan.Split(text, target.Syntax())
		if err != nil {
			statements = []string{text}
		}
		for i, s := range statements {
			script.Statements = append(script.Statements, Statement{SQL: s, Line: i + 1})
		}
		var enable []string
		for _, r := range Rules() {
			if r.Optional && r.ID != "L75" {
				enable = append(enable, r.ID)
			}
		}
		found, err := Check([]Script{script, script}, Options{Target: target, Enable: enable})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			if x.Line < 1 || x.Message == "" || len(x.Instead) == 0 || x.Level.rank() < 0 {
				t.Errorf("a finding lacks something: %+v", x)
			}
		}
	})
}
