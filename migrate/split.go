package migrate

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// Statement is one statement of a file.
type Statement struct {
	SQL  string // from its first word to its last, without the delimiter
	Line int    // where it begins, from 1
	// Direct says that the file wants it to run as it is, without the engine.
	Direct bool
	// Tables is the pattern of the tables that it is for, each in the place of {table}; empty: it is one statement.
	Tables string
	// Gate has to be open before it, and all behind it, may run; nil: it needs none.
	Gate *Gate
	// Ignore are the rules that a linter leaves alone here, each with the reason, as the comments before it say.
	Ignore []string
	// Group numbers the BEGIN … COMMIT of the file that it stands in; zero: none.
	Group int

	start, end int // the bytes of the file
}

// splitter cuts a file into statements. It knows more than plan.Split: the client command DELIMITER, bodies of routines
// without quotes, and annotations that say where a statement ends.
type splitter struct {
	src    string
	syntax plan.Syntax
	// told is called for each -- comment that stands alone in its line, with its text after the dashes.
	told func(comment string) error

	statements  []Statement
	delimiter   string
	whole       bool  // semicolons are part of the statement, until an annotation says otherwise
	direct      bool  // the next statement is to run as it is
	gate        *Gate // of the next statement
	tables      string
	ignore      []string
	first, last int // bytes of the statement at hand; first is negative before its first word
	line        int // of first
	counted     int // bytes whose lines were counted
	lines       int
	depth       int      // of brackets
	body        int      // of BEGIN … END and its like
	words       []string // the first words of the statement, in upper case
	here        int      // the line of the comment that is told
	previous    string   // the last word or symbol, in upper case
}

const manyWords = 16

// split cuts the whole text. Every byte that is in no statement is white space, a comment, a delimiter or a DELIMITER line.
func (p *splitter) split() ([]Statement, error) {
	p.delimiter, p.first, p.lines = ";", -1, 1
	for i := 0; i < len(p.src); {
		if next, ok, err := p.command(i); err != nil {
			return nil, err
		} else if ok {
			i = next
			continue
		}
		if p.custom() && strings.HasPrefix(p.src[i:], p.delimiter) {
			p.flush()
			i += len(p.delimiter)
			continue
		}
		t, err := plan.Next(p.src, i, p.syntax)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.at(i), err)
		}
		i = p.cut(t)
		t.End = i
		if err := p.take(t); err != nil {
			return nil, err
		}
	}
	p.flush()
	return p.statements, nil
}

func (p *splitter) custom() bool { return p.delimiter != ";" && !p.whole }

// cut ends a token where a delimiter begins in it: END$$ is one word to the server.
func (p *splitter) cut(t plan.Token) int {
	if !p.custom() || t.Kind == plan.TokenString || t.Kind == plan.TokenIdent || t.Kind == plan.TokenComment || t.Kind == plan.TokenExecuted {
		return t.End
	}
	for k := t.Start + 1; k < t.End; k++ {
		if strings.HasPrefix(p.src[k:], p.delimiter) {
			return k
		}
	}
	return t.End
}

// command reads what is a client's and not the server's: DELIMITER at the beginning of a statement. Those that cannot be
// obeyed are errors.
func (p *splitter) command(i int) (next int, ok bool, err error) {
	if p.first >= 0 {
		return 0, false, nil
	}
	if p.src[i] == '\\' && !p.syntax.Backticks {
		return 0, false, fmt.Errorf("line %d: %q is a command of psql, which a server does not know: write it as SQL", p.at(i), firstWord(p.src[i:]))
	}
	if !p.syntax.Backticks || len(p.src)-i < len("DELIMITER ") || !strings.EqualFold(p.src[i:i+len("DELIMITER")], "DELIMITER") || strings.IndexByte(" \t", p.src[i+len("DELIMITER")]) < 0 {
		return 0, false, nil
	}
	end := len(p.src)
	if n := strings.IndexByte(p.src[i:], '\n'); n >= 0 {
		end = i + n
	}
	word := firstWord(p.src[i+len("DELIMITER") : end])
	if word == "" {
		return 0, false, fmt.Errorf("line %d: DELIMITER without a delimiter", p.at(i))
	}
	p.delimiter = word
	return end, true, nil
}

func firstWord(s string) string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

func (p *splitter) take(t plan.Token) error {
	text := p.src[t.Start:t.End]
	switch t.Kind {
	case plan.TokenSpace:
		return nil
	case plan.TokenComment:
		if strings.HasPrefix(text, "--") && p.alone(t.Start) {
			p.here = p.at(t.Start)
			return p.told(strings.TrimSpace(text[2:]))
		}
		return nil
	}
	if t.Kind == plan.TokenSymbol && text == ";" && p.delimiter == ";" && !p.whole && p.depth == 0 && p.body == 0 {
		p.flush()
		return nil
	}
	if p.first < 0 {
		p.first, p.line = t.Start, p.at(t.Start)
	}
	p.last = t.End
	p.nest(t, strings.ToUpper(text))
	return nil
}

// alone says that nothing but white space stands before a comment in its line.
func (p *splitter) alone(i int) bool {
	before := p.src[strings.LastIndexByte(p.src[:i], '\n')+1 : i]
	return strings.TrimSpace(before) == ""
}

// nest follows brackets, and the blocks of a routine's body.
func (p *splitter) nest(t plan.Token, text string) {
	before := p.previous
	p.previous = text
	if t.Kind == plan.TokenSymbol {
		switch text {
		case "(", "[":
			p.depth++
		case ")", "]":
			p.depth = max(p.depth-1, 0)
		}
		return
	}
	if t.Kind != plan.TokenWord || before == "." {
		return
	}
	if len(p.words) < manyWords {
		p.words = append(p.words, text)
	}
	switch {
	case !p.routine():
	case !p.syntax.Backticks: // PostgreSQL: only BEGIN ATOMIC has no quotes around it
		switch {
		case text == "ATOMIC" && before == "BEGIN":
			p.body = 1
		case p.body > 0 && text == "CASE":
			p.body++
		case p.body > 0 && text == "END":
			p.body--
		}
	case text == "END":
		p.body = max(p.body-1, 0)
	case before == "END": // END IF, END CASE: counted with END
	case text == "BEGIN", text == "CASE":
		p.body++
	case (text == "IF" || text == "LOOP" || text == "WHILE" || text == "REPEAT") && begins(before):
		p.body++
	}
}

// begins says that a statement within a body begins behind a word or symbol.
func begins(before string) bool {
	switch before {
	case ";", ":", "BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT", "ROW":
		return true
	}
	return false
}

// routine says that the statement at hand may have a body with statements in it.
func (p *splitter) routine() bool {
	if len(p.words) == 0 {
		return false
	}
	if p.words[0] == "BEGIN" { // MariaDB's BEGIN NOT ATOMIC
		return len(p.words) > 1 && p.words[1] == "NOT"
	}
	if p.words[0] != "CREATE" && p.words[0] != "ALTER" {
		return false
	}
	for _, w := range p.words[1:] {
		switch w {
		case "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT":
			return true
		case "TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER", "TYPE":
			return false
		}
	}
	return false
}

// flush ends the statement at hand, if there is one.
func (p *splitter) flush() {
	if p.first >= 0 {
		text := p.src[p.first:p.last]
		if p.whole || p.delimiter != ";" {
			text = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(text, " \t\r\n"), ";"), " \t\r\n")
		}
		if text != "" {
			p.statements = append(p.statements, Statement{SQL: text, Line: p.line, Direct: p.direct, Gate: p.gate, Tables: p.tables, Ignore: p.ignore, start: p.first, end: p.last})
		}
		p.direct, p.gate, p.tables, p.ignore = false, nil, "", nil
	}
	p.first, p.depth, p.body, p.words, p.previous = -1, 0, 0, nil, ""
}

// at is the line of a byte. Bytes are asked for in order, mostly.
func (p *splitter) at(i int) int {
	if i < p.counted {
		return 1 + strings.Count(p.src[:i], "\n")
	}
	p.lines += strings.Count(p.src[p.counted:i], "\n")
	p.counted = i
	return p.lines
}
