// Package lint reads migration files without a database and says which statements would stop users, break code that is running,
// or lose data, and how to do the same safely.
//
// It knows servers by the rules that were measured on them (docs/LINT.md), and tables by the files themselves: what earlier statements
// made of them. Where a database can be asked, its rehearsal outranks the rules.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Level is how bad a finding is.
type Level string

// The levels. Note is also what a finding becomes that the runner of the files takes care of by itself.
const (
	Error   Level = "error"   // users wait, running code breaks, or data are lost
	Warning Level = "warning" // it may go wrong, and somebody should look
	Note    Level = "note"    // advice
)

func (l Level) rank() int { return slices.Index([]Level{Error, Warning, Note}, l) }

// Script is one direction of one file, in the order in which it runs.
type Script struct {
	File       string
	Version    string // of the migration; two files of one version are a finding
	Statements []Statement
	Down       bool // the way back
	Wrapped    bool // the tool runs it in a transaction
	OneWay     bool // the format has ways back, and this migration has none
	Ignore     []string
	// Known scripts are read for what they make and are not judged: they ran already.
	Known bool
}

// Statement is one statement of a script. BEGIN and COMMIT are statements too.
type Statement struct {
	SQL  string
	Line int // from 1
	// Ignore are the texts behind "changeling: ignore" that stand before it: rules, and the reason.
	Ignore []string
}

// Options say what is expected of the scripts.
type Options struct {
	Target Target
	// Engine says that `changeling migrate` runs them: what it makes safe by itself is a note.
	Engine bool
	// Enable and Disable are ids of rules; rules that are a matter of taste are off unless they are enabled.
	Enable, Disable []string
	// Names is what the names of new tables, columns, indexes and constraints must look like; nil: L75 is off.
	Names interface{ MatchString(string) bool }
	// Small are tables, as the files name them, that are known to be small: what reads or writes all of their rows is a note.
	Small []string
	// Rehearse asks a database what it does with a statement. It answers nil where it cannot tell, as for a table that an earlier
	// statement has to make first. It may be nil.
	Rehearse func(statement string) (*Rehearsal, error)
}

// Rehearsal is what a database says of one statement.
type Rehearsal struct {
	Effect string     // direct, scan or rewrite; empty: not known
	Route  plan.Route // how changeling would make the change
	Why    string
	Steps  []string // of the route, for a person
	Syntax string   // what the server finds wrong with the statement's words; empty: nothing
}

// Finding is one rule at one statement.
type Finding struct {
	Rule      string   `json:"rule"`
	Level     Level    `json:"level"`
	File      string   `json:"file"`
	Line      int      `json:"line"`
	Statement string   `json:"statement"`
	Message   string   `json:"message"`
	Instead   []string `json:"instead"`         // the safe way: SQL, and comments between its steps
	Route     string   `json:"route,omitempty"` // of the rehearsal
	Steps     []string `json:"steps,omitempty"` // of the rehearsal
	Ignored   string   `json:"ignored,omitempty"`
	// Edits make the statement what the rule wants, where that is a matter of words: see Fix.
	Edits []Edit `json:"-"`
}

// Check judges scripts in the order in which they run. Findings stand in the order of the scripts; those that the files ignore have
// the reason in Ignored. Errors are those of a rehearsal, and ids that are no rule's.
func Check(scripts []Script, o Options) ([]Finding, error) {
	for _, id := range slices.Concat(o.Enable, o.Disable) {
		if Find(id) == nil {
			return nil, fmt.Errorf("there is no rule %q: docs/LINT.md has all of them", id)
		}
	}
	c := &checker{options: o, model: newModel(o.Target)}
	for i := range scripts {
		if err := c.script(&scripts[i], scripts[:i]); err != nil {
			return nil, err
		}
	}
	return c.findings, nil
}

// Find is the rule with an id, or nil.
func Find(id string) *Rule {
	for _, r := range Rules() {
		if strings.EqualFold(r.ID, id) {
			return &r
		}
	}
	return nil
}

// Worst is the level of the worst finding that is not ignored; empty: there is none.
func Worst(findings []Finding) Level {
	var worst Level
	for _, f := range findings {
		if f.Ignored == "" && (worst == "" || f.Level.rank() < worst.rank()) {
			worst = f.Level
		}
	}
	return worst
}

type checker struct {
	options  Options
	model    *model
	findings []Finding
}

// active are the rules that the options and the target leave.
func (c *checker) active() []Rule {
	return slices.DeleteFunc(Rules(), func(r Rule) bool {
		in := func(list []string) bool {
			return slices.ContainsFunc(list, func(id string) bool { return strings.EqualFold(id, r.ID) })
		}
		return in(c.options.Disable) || r.Optional && !in(c.options.Enable) && !(r.ID == "L75" && c.options.Names != nil) || !r.on(c.options.Target)
	})
}

func (c *checker) script(s *Script, before []Script) error {
	c.model.begin()
	subjects := c.read(s)
	ignores, wrong := readIgnores(s, subjects)
	rules := c.active()
	var found []Finding
	for _, w := range wrong {
		found = append(found, Finding{Rule: "L00", Level: Error, File: s.File, Line: w.line, Message: w.text, Instead: []string{"-- changeling: ignore L43 built while nobody uses the table"}})
	}
	for i := range subjects {
		p := &pass{options: c.options, model: c.model, script: s, before: before, subjects: subjects, at: i, subject: &subjects[i]}
		if !s.Known {
			if err := p.judge(rules); err != nil {
				return err
			}
		}
		found = append(found, p.found...)
		c.model.apply(subjects[i], s)
	}
	if !s.Known {
		p := &pass{options: c.options, model: c.model, script: s, before: before, subjects: subjects}
		for _, r := range rules {
			if r.script != nil {
				p.rule = r
				r.script(p)
			}
		}
		found = append(found, p.found...)
	}
	if s.Known {
		return nil
	}
	found = append(found, ignores.apply(found, s)...)
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Level.rank(), b.Level.rank()), cmp.Compare(a.Rule, b.Rule))
	})
	c.findings = append(c.findings, slices.CompactFunc(found, func(a, b Finding) bool { return a.Rule == b.Rule && a.Line == b.Line && a.Message == b.Message })...)
	return nil
}

// subject is a statement that is judged.
type subject struct {
	plan.Statement
	words words
	line  int
	error string // why it cannot be read
	tx    int    // the transaction that it runs in, from 1; zero: one of its own, or none
	begin int    // index of the first statement of that transaction
}

// read takes the statements apart and finds out which transactions they run in.
func (c *checker) read(s *Script) []subject {
	var out []subject
	syntax := c.options.Target.syntax()
	tx, open, begin := 0, false, 0
	if s.Wrapped && !c.options.Target.mysql() {
		tx, open = 1, true
	}
	for i, st := range s.Statements {
		x := subject{line: st.Line}
		pieces, err := plan.Split(st.SQL, syntax)
		switch {
		case err != nil:
			x.error = err.Error()
		case len(pieces) > 0: // there are several in the body of a routine
			if x.Statement, err = plan.Parse(pieces[0], syntax); err != nil {
				x.error = err.Error()
			}
		}
		if len(pieces) != 1 {
			x.Statement.Text = st.SQL
		}
		x.words = lex(x.Statement.Text, syntax)
		switch verb := x.words.upper(0); {
		case verb == "BEGIN" && len(x.words) <= 2, verb == "START":
			if !open {
				tx, begin = tx+1, i
			}
			open = true
		case verb == "COMMIT", verb == "END", verb == "ROLLBACK" && x.words.upper(1) != "TO":
			x.tx, x.begin, open = tx, begin, false
		}
		if open {
			x.tx, x.begin = tx, begin
		}
		out = append(out, x)
	}
	return out
}

// pass is one statement under all rules.
type pass struct {
	options  Options
	model    *model
	script   *Script
	before   []Script
	subjects []subject
	at       int
	*subject
	rule   Rule
	edits  []Edit // of the next finding
	said   *Rehearsal
	found  []Finding
	server bool // a rule about what the server does has found something
}

func (p *pass) judge(rules []Rule) error {
	if p.options.Rehearse != nil && p.error == "" && p.reshapes() {
		said, err := p.options.Rehearse(p.Text)
		if err != nil {
			return err
		}
		p.said = said
	}
	for _, r := range rules {
		p.rule = r
		if r.statement != nil {
			r.statement(p)
		}
		if r.clause == nil {
			continue
		}
		for _, k := range p.Clauses {
			r.clause(p, k)
		}
	}
	return nil
}

// reshapes says that a rehearsal of the statement makes sense.
func (p *pass) reshapes() bool {
	switch first, _, _ := strings.Cut(p.Verb, " "); first {
	case "ALTER", "CREATE", "DROP", "REINDEX", "CLUSTER", "REFRESH":
		return !p.model.changed(p.Table) && !p.model.changed(p.object())
	}
	return false
}

// object is the first thing that a statement is about which is no ALTER TABLE.
func (p *pass) object() schema.Name {
	if len(p.Objects) == 0 {
		return schema.Name{}
	}
	return p.Objects[0]
}

// report makes a finding of the rule at hand, with the safe way.
func (p *pass) report(message string, instead ...string) {
	p.reportAs(p.rule.Level, message, instead...)
}

func (p *pass) reportAs(level Level, message string, instead ...string) {
	f := Finding{Rule: p.rule.ID, Level: level, File: p.script.File, Line: 1, Message: message, Instead: instead, Edits: p.edits}
	p.edits = nil
	if p.subject != nil {
		f.Line, f.Statement = p.line, p.Text
	}
	if p.rule.Server && p.said != nil {
		if p.said.Effect == "direct" {
			return // the rule is wrong for this table
		}
		p.server = p.server || p.said.Effect != ""
	}
	if p.said != nil {
		f.Route, f.Steps = string(p.said.Route), p.said.Steps
	}
	small := p.rule.Server && p.subject != nil && slices.Contains(p.options.Small, p.Table.String())
	if p.options.Engine && p.rule.Auto == Engine || small {
		f.Level = Note
	}
	p.found = append(p.found, f)
}
