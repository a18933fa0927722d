package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// Edit replaces some bytes of a finding's statement.
type Edit struct {
	From, To int
	Text     string
}

// Fix is the text of a file after the edits of its findings, and the findings whose edits are in it. Those that the file ignores are left
// alone. Edits that touch each other are left for the next time: judge the new text, and fix it, until nothing is fixed any more.
// Nothing changes outside the statements of the findings that are answered.
func Fix(text string, found []Finding) (string, []Finding) {
	var all []Edit // of the file
	var done []Finding
	for _, f := range found {
		if len(f.Edits) == 0 || f.Ignored != "" {
			continue
		}
		at, ok := locate(text, f)
		if !ok {
			continue
		}
		var these []Edit
		for _, e := range f.Edits {
			these = append(these, Edit{at + e.From, at + e.To, e.Text})
		}
		if !slices.ContainsFunc(these, func(e Edit) bool { return slices.ContainsFunc(all, e.touches) }) {
			all, done = append(all, these...), append(done, f)
		}
	}
	slices.SortFunc(all, func(a, b Edit) int { return cmp.Compare(b.From, a.From) })
	for _, e := range all {
		text = text[:e.From] + e.Text + text[e.To:]
	}
	return text, done
}

func (e Edit) touches(o Edit) bool { return e.From <= o.To && o.From <= e.To }

// locate is where a finding's statement begins in its file. What was read differently from how it stands there, as with a
// placeholder in it, is nowhere; so is a statement that becomes two where no semicolon ends it.
func locate(text string, f Finding) (int, bool) {
	at := 0
	for range f.Line - 1 {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return 0, false
		}
		at += i + 1
	}
	i := strings.Index(text[at:], f.Statement)
	if i < 0 || f.Statement == "" || strings.ContainsRune(text[at:at+i], '\n') {
		return 0, false
	}
	at += i
	rest := strings.TrimLeft(text[at+len(f.Statement):], " \t\r\n")
	if rest != "" && rest[0] != ';' && slices.ContainsFunc(f.Edits, func(e Edit) bool { return strings.Contains(e.Text, ";") }) {
		return 0, false
	}
	return at, true
}

// fixing gives edits to the next finding. Without edits that finding cannot be fixed.
func (p *pass) fixing(edits ...Edit) *pass {
	p.edits = edits
	return p
}

// place is where a clause stands in the statement, as words: of an ALTER TABLE, or of a CREATE TABLE.
func (p *pass) place(k plan.Clause) words {
	var in words
	for _, w := range p.words {
		if w.start >= k.Start && w.end <= k.End {
			in = append(in, w)
		}
	}
	return in
}

// retype gives a new column another type. The type of a column that is there is another matter: its rows are converted.
func (p *pass) retype(k plan.Clause, to string) []Edit {
	if k.Action != plan.AddColumn {
		return nil
	}
	at := p.typeAt(k)
	if len(at) == 0 {
		return nil
	}
	return []Edit{{at[0].start, at[len(at)-1].end, to}}
}

// typeAt are the words of a new column's type.
func (p *pass) typeAt(k plan.Clause) words {
	in, want := p.place(k), p.lex(k.Type)
	name := slices.IndexFunc(in, func(w word) bool {
		return (w.kind == plan.TokenWord || w.kind == plan.TokenIdent) && w.ident(p.target()) == k.Column
	})
	if name < 0 || len(want) == 0 || name+1+len(want) > len(in) {
		return nil
	}
	at := in[name+1:][:len(want)]
	for i := range want {
		if at[i].text != want[i].text {
			return nil
		}
	}
	return at
}

// wider gives a key of a new column eight bytes, and leaves what stands behind the name of its type, as UNSIGNED.
func (p *pass) wider(k plan.Clause) []Edit {
	at := p.typeAt(k)
	if len(at) == 0 || k.Action != plan.AddColumn {
		return nil
	}
	last := at[0]
	if _, rest := at.group(); rest != nil || at[len(at)-1].up == ")" { // the width for display
		for _, w := range at {
			if w.up == ")" {
				last = w
				break
			}
		}
	}
	to := "bigint"
	if strings.Contains(strings.ToLower(at[0].text), "serial") {
		to = "bigserial"
	}
	return []Edit{{at[0].start, last.end, to}}
}

// zoned is a type of moments in the place of a timestamp without a time zone, with its precision. A default that takes the zone away
// would come out as another moment.
func (p *pass) zoned(k plan.Clause) []Edit {
	if p.lex(k.Default).has("AT TIME ZONE") {
		return nil
	}
	t, to := p.kind(k.Type), "timestamptz"
	if t.args != nil {
		to += fmt.Sprintf("(%d)", t.args[0])
	}
	return p.retype(k, to+t.more)
}

// agreeing gives a column that this statement makes the type of the one that it refers to.
func (p *pass) agreeing(name, to string) []Edit {
	base := map[string]string{"serial": "int", "serial4": "int", "bigserial": "bigint", "serial8": "bigint", "smallserial": "smallint", "serial2": "smallint"}
	to = cmp.Or(base[strings.ToLower(strings.TrimSpace(to))], to)
	clauses := p.Clauses
	if p.creates() {
		clauses = elements(*p.subject, p.target())
	}
	for _, k := range clauses {
		if k.Action == plan.AddColumn && k.Column == name && !p.serial(k) {
			return p.retype(k, to)
		}
	}
	return nil
}

// concurring puts CONCURRENTLY behind one of the statement's first words, where the server takes it: outside of a transaction.
func (p *pass) concurring(after string) []Edit {
	if p.tx > 0 || p.IfExists && strings.HasPrefix(p.Verb, "CREATE") || p.Cascade || len(p.Objects) > 1 {
		return nil
	}
	for _, w := range p.words[:min(3, len(p.words))] {
		if w.up == after {
			return []Edit{{w.end, w.end, " CONCURRENTLY"}}
		}
	}
	return nil
}

// leaving takes a clause out, with the comma that it needs.
func (p *pass) leaving(k plan.Clause) []Edit {
	i := slices.IndexFunc(p.Clauses, func(o plan.Clause) bool { return o.Start == k.Start })
	cut := Edit{}
	between := ""
	switch {
	case i > 0:
		cut = Edit{p.Clauses[i-1].End, k.End, ""}
		between = p.Text[p.Clauses[i-1].End:k.Start]
	case i == 0 && len(p.Clauses) > 1:
		cut = Edit{k.Start, p.Clauses[1].Start, ""}
		between = p.Text[k.End:p.Clauses[1].Start]
	}
	if strings.TrimSpace(between) != "," {
		return nil // it is alone, or there are comments
	}
	return []Edit{cut}
}

// apart are statements in the place of this one, if it has no comment that would be lost.
func (p *pass) apart(statements []string) []Edit {
	tokens, err := plan.Lex(p.Text, p.target().syntax())
	if err != nil || slices.ContainsFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenComment || t.Kind == plan.TokenExecuted }) {
		return nil
	}
	return []Edit{{0, len(p.Text), strings.TrimSuffix(strings.Join(statements, "\n"), ";")}}
}

// withoutUsing takes the USING of a type change out.
func (p *pass) withoutUsing(k plan.Clause) []Edit {
	in := p.place(k)
	for i := len(in) - 1; i > 0; i-- {
		if in[i].up == "USING" {
			return []Edit{{in[i-1].end, k.End, ""}}
		}
	}
	return nil
}
