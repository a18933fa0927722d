package migrate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// parser reads one file: its statements and what its annotations say.
type parser struct {
	file   string
	syntax plan.Syntax
	mark   string // what annotations of the format begin with; empty: it has none
	raw    bool   // BEGIN and COMMIT stay where they are

	up, down Script
	hasDown  bool
	split    *splitter
	section  *Script // where statements go; nil before the first annotation
}

// one reads a file that is one direction.
func (p *parser) one(text string) (Script, error) {
	p.section = &p.up
	err := p.read(text)
	return p.up, err
}

// both reads a file with both directions.
func (p *parser) both(text string) (up Script, down *Script, err error) {
	if err := p.read(text); err != nil {
		return up, nil, err
	}
	if p.section == nil {
		return up, nil, usage("%s has no `-- %s Up`: nothing says what in it leads forward", p.file, p.mark)
	}
	if p.hasDown {
		down = &p.down
	}
	return p.up, down, nil
}

func (p *parser) read(text string) error {
	text = strings.TrimPrefix(text, "\ufeff")
	p.up.File, p.down.File = p.file, p.file
	p.split = &splitter{src: text, syntax: p.syntax, told: p.annotation}
	rest, err := p.split.split()
	if err != nil {
		return usage("%s: %v", p.file, err)
	}
	p.split.statements = rest
	if p.split.whole && p.mark != "" && p.mark != "atlas:" {
		return usage("%s: `-- %s StatementBegin` has no StatementEnd", p.file, p.mark)
	}
	if err := p.collect(); err != nil {
		return err
	}
	if p.raw {
		return nil
	}
	for _, s := range []*Script{&p.up, &p.down} {
		if err := s.transactions(p.syntax); err != nil {
			return err
		}
	}
	return nil
}

// collect gives the statements since the last annotation to the section that they stand in.
func (p *parser) collect() error {
	p.split.flush()
	if g := p.split.gate; g != nil {
		return usage("%s: no statement stands behind `%s`: nothing would wait for it", p.file, g.Reason)
	}
	found := p.split.statements
	p.split.statements = nil
	switch {
	case len(found) == 0:
	case p.section == nil:
		return usage("%s:%d: a statement stands before `-- %s Up`: it would never run", p.file, found[0].Line, p.mark)
	default:
		p.section.Statements = append(p.section.Statements, found...)
	}
	return nil
}

var own = regexp.MustCompile(`^changeling:\s*(\w+)(?:[\s=:]+(.*))?$`)

// annotation obeys a comment of a line of its own, if it is an annotation.
func (p *parser) annotation(comment string) error {
	if m := own.FindStringSubmatch(comment); m != nil {
		return p.ours(m[1], strings.TrimSpace(m[2]))
	}
	rest, ok := strings.CutPrefix(comment, p.mark)
	if p.mark == "" || !ok {
		return nil
	}
	if p.mark == "atlas:" {
		return p.atlas(rest)
	}
	if rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return nil
	}
	words := strings.Fields(strings.ToUpper(rest))
	switch {
	case words[0] == "UP", words[0] == "DOWN":
		return p.direction(words)
	case words[0] == "STATEMENTBEGIN":
		p.split.flush()
		p.split.whole = true
	case words[0] == "STATEMENTEND":
		if !p.split.whole {
			return p.wrong("StatementEnd without StatementBegin")
		}
		p.split.flush()
		p.split.whole = false
	case p.mark == "+goose" && len(words) == 2 && words[0] == "NO" && words[1] == "TRANSACTION":
		p.up.Tx, p.down.Tx = TxNever, TxNever
	case p.mark == "+goose" && words[0] == "ENVSUB" && len(words) == 2 && words[1] == "OFF":
	case words[0] == "ENVSUB":
		return p.wrong("ENVSUB puts the environment of one host into the schema: write the values into the file")
	default:
		return p.wrong(fmt.Sprintf("the annotation %q is unknown", p.mark+rest))
	}
	return nil
}

func (p *parser) wrong(what string) error {
	return fmt.Errorf("line %d: %s", p.split.here, what)
}

func (p *parser) direction(words []string) error {
	if p.split.whole {
		return p.wrong("a new section begins before StatementEnd")
	}
	if err := p.collect(); err != nil {
		return err
	}
	if words[0] == "UP" && p.section == &p.up || words[0] == "DOWN" && p.section == &p.down {
		return p.wrong("the section " + words[0] + " is there twice")
	}
	p.section = &p.up
	if words[0] == "DOWN" {
		p.section, p.hasDown = &p.down, true
	}
	if p.mark == "+migrate" && len(words) > 1 && words[1] == "NOTRANSACTION" {
		p.section.Tx = TxNever
	}
	return nil
}

// atlas obeys -- atlas:txmode and -- atlas:delimiter.
func (p *parser) atlas(rest string) error {
	key, value, _ := strings.Cut(rest, " ")
	value = strings.TrimSpace(value)
	switch key {
	case "txmode":
		if value == "none" {
			p.up.Tx = TxNever
		}
	case "delimiter":
		p.split.delimiter = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(value)
		if p.split.delimiter == "" {
			return p.wrong("atlas:delimiter without a delimiter")
		}
	}
	return nil // others are for its linter
}

// ours obeys the annotations of this project, which stand in files of every format.
func (p *parser) ours(key, value string) error {
	s := p.section
	if s == nil {
		s = &p.up
	}
	needs := value == ""
	switch key {
	case "transaction":
		if s.Tx = TxMode(value); s.Tx != TxNever && s.Tx != TxAlways {
			return p.wrong("changeling: transaction is never or always")
		}
		needs = false
	case "require":
		s.Require = append(s.Require, strings.TrimSuffix(value, ";"))
	case "ensure":
		s.Ensure = append(s.Ensure, strings.TrimSuffix(value, ";"))
	case "stop":
		s.Stop = value
	case "replaces":
		for _, v := range strings.Fields(value) {
			s.Replaces = append(s.Replaces, trimZeros(v))
		}
	case "phase":
		p.split.gate = &Gate{Reason: value}
	case "tables":
		pattern, err := patterned(value)
		if err != nil {
			return p.wrong(err.Error())
		}
		p.split.tables = pattern
	case "needs":
		g, err := gated(value)
		if err != nil {
			return p.wrong(err.Error())
		}
		p.split.gate = g
	case "direct":
		p.split.direct, needs = true, false
	case "ignore": // for the linter
		if rest, ok := strings.CutPrefix(value, "file "); ok {
			s.Ignore = append(s.Ignore, rest)
		} else {
			p.split.ignore = append(p.split.ignore, value)
		}
	default:
		return p.wrong(fmt.Sprintf("the annotation changeling: %s is unknown: expected transaction, require, ensure, stop, phase, needs, tables, replaces, direct or ignore", key))
	}
	if needs {
		return p.wrong("changeling: " + key + " says nothing")
	}
	return nil
}

// transactions takes BEGIN and COMMIT out of a script: it is the runner that begins transactions, and one in the file would
// end the runner's. Statements between them form a group that is one transaction.
func (s *Script) transactions(syntax plan.Syntax) error {
	var kept []Statement
	group, groups := 0, 0
	var gate *Gate // of a BEGIN
	for _, st := range s.Statements {
		switch word := strings.Join(strings.Fields(strings.ToUpper(normal(st.SQL, syntax))), " "); {
		case word == "BEGIN" || word == "START TRANSACTION" || word == "BEGIN TRANSACTION" || word == "BEGIN WORK":
			if group > 0 {
				return usage("%s:%d: BEGIN within a transaction", s.File, st.Line)
			}
			groups++
			group = groups
			gate = st.Gate
		case word == "COMMIT" || word == "END" || word == "COMMIT TRANSACTION" || word == "COMMIT WORK" || word == "END TRANSACTION":
			if group == 0 {
				return usage("%s:%d: COMMIT without BEGIN", s.File, st.Line)
			}
			group = 0
		case word == "ROLLBACK" || word == "ABORT":
			return usage("%s:%d: a migration that takes itself back changes nothing: take ROLLBACK out", s.File, st.Line)
		case strings.HasPrefix(word, "COPY ") && strings.Contains(word, " FROM STDIN"):
			return usage("%s:%d: COPY FROM STDIN needs a client that sends the data: write INSERT", s.File, st.Line)
		default:
			st.Group = group
			if st.Gate == nil {
				st.Gate = gate
			}
			gate = nil
			kept = append(kept, st)
		}
	}
	if group > 0 {
		return usage("%s: BEGIN has no COMMIT", s.File)
	}
	s.Statements = kept
	return nil
}
