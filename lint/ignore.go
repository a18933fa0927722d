package lint

import (
	"fmt"
	"regexp"
	"strings"
)

// ignore is one "changeling: ignore L20,L43 reason" of a file.
type ignore struct {
	rules  []string
	reason string
	line   int // of the statement that it stands before; zero: of the whole file
	used   bool
}

type ignores []*ignore

// wrong is an ignore that cannot be obeyed.
type wrong struct {
	line int
	text string
}

var ignoring = regexp.MustCompile(`^((?i:L[0-9][0-9a-z])(?:\s*,\s*(?i:L[0-9][0-9a-z]))*)\s*[:,]?\s*(.*)$`)

// readIgnores reads those of a script and of its statements. A reason is not a formality: whoever reads the file later has to
// know whether it still holds.
func readIgnores(s *Script, subjects []subject) (ignores, []wrong) {
	var out ignores
	var bad []wrong
	read := func(text string, line int) {
		m := ignoring.FindStringSubmatch(strings.TrimSpace(text))
		at := max(line, 1)
		if m == nil {
			bad = append(bad, wrong{at, fmt.Sprintf("`changeling: ignore %s` names no rule: expected ids and the reason, and nothing is ignored", text)})
			return
		}
		i := &ignore{reason: m[2], line: line}
		for _, id := range strings.Split(m[1], ",") {
			r := Find(strings.TrimSpace(id))
			if r == nil {
				bad = append(bad, wrong{at, fmt.Sprintf("there is no rule %s: docs/LINT.md has all of them, and nothing is ignored", strings.TrimSpace(id))})
				return
			}
			i.rules = append(i.rules, r.ID)
		}
		if len(strings.Fields(i.reason)) < 2 {
			bad = append(bad, wrong{at, fmt.Sprintf("`changeling: ignore %s` gives no reason: say behind the rules why it is right here, and until then nothing is ignored", m[1])})
			return
		}
		out = append(out, i)
	}
	for _, text := range s.Ignore {
		read(text, 0)
	}
	for i, st := range s.Statements {
		for _, text := range st.Ignore {
			read(text, subjects[i].line)
		}
	}
	return out, bad
}

// apply notes the reason in the findings that are ignored, and answers a finding for each ignore that nothing needs.
func (all ignores) apply(found []Finding, s *Script) []Finding {
	for i := range found {
		for _, g := range all {
			for _, id := range g.rules {
				if id == found[i].Rule && (g.line == 0 || g.line == found[i].Line) {
					found[i].Ignored, g.used = g.reason, true
				}
			}
		}
	}
	var out []Finding
	for _, g := range all {
		if !g.used {
			out = append(out, Finding{Rule: "L00", Level: Note, File: s.File, Line: max(g.line, 1),
				Message: fmt.Sprintf("nothing is found that `changeling: ignore %s` would ignore", strings.Join(g.rules, ",")), Instead: []string{"-- take the comment out"}})
		}
	}
	return out
}
