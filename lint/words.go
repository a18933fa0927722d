package lint

import (
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// word is a piece of a statement that is neither white space nor a comment.
type word struct {
	kind       plan.TokenKind
	text       string // as written
	up         string // in upper case, of unquoted words; else as written
	start, end int    // bytes of the statement
}

type words []word

func lex(text string, s plan.Syntax) words {
	tokens, _ := plan.Lex(text, s) // what has no end is the last token
	var out words
	for _, t := range tokens {
		if t.Kind == plan.TokenSpace || t.Kind == plan.TokenComment {
			continue
		}
		w := word{kind: t.Kind, text: text[t.Start:t.End], start: t.Start, end: t.End}
		if w.up = w.text; t.Kind == plan.TokenWord {
			w.up = strings.ToUpper(w.text)
		}
		out = append(out, w)
	}
	return out
}

func (ws words) upper(i int) string {
	if i < 0 || i >= len(ws) {
		return ""
	}
	return ws[i].up
}

// find is where a sequence of words or symbols begins, separated by spaces; -1: nowhere. A|B is either.
func (ws words) find(sequence string) int {
	want := strings.Fields(sequence)
	for i := range ws {
		if i+len(want) <= len(ws) && ws[i:].begin(want) {
			return i
		}
	}
	return -1
}

func (ws words) begin(want []string) bool {
	for k, w := range want {
		if !slices.Contains(strings.Split(w, "|"), ws[k].up) {
			return false
		}
	}
	return true
}

func (ws words) has(sequence string) bool { return ws.find(sequence) >= 0 }

// after are the words behind a sequence; nil where it is not there.
func (ws words) after(sequence string) words {
	if i := ws.find(sequence); i >= 0 {
		return ws[i+len(strings.Fields(sequence)):]
	}
	return nil
}

// group are the words of the first bracket, without it, and what follows it.
func (ws words) group() (in, rest words) {
	depth, from := 0, -1
	for i, w := range ws {
		switch w.up {
		case "(":
			if depth++; depth == 1 && from < 0 {
				from = i + 1
			}
		case ")":
			if depth--; depth == 0 && from >= 0 {
				return ws[from:i], ws[i+1:]
			}
		}
	}
	return nil, nil
}

// list cuts at the commas that are in no bracket.
func (ws words) list() []words {
	var out []words
	depth, from := 0, 0
	for i, w := range ws {
		switch w.up {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",":
			if depth == 0 {
				out, from = append(out, ws[from:i]), i+1
			}
		}
	}
	if from < len(ws) {
		out = append(out, ws[from:])
	}
	return out
}

// String is the words as they were written, with one space for what stood between them.
func (ws words) String() string {
	var b strings.Builder
	for i, w := range ws {
		if i > 0 && ws[i-1].end != w.start {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}

// ident is the name that a word stands for.
func (w word) ident(t Target) string {
	switch {
	case w.kind == plan.TokenIdent:
		q := w.text[:1]
		return strings.ReplaceAll(strings.Trim(w.text, q), q+q, q)
	case t.mysql():
		return w.text
	}
	return strings.ToLower(w.text)
}

// columns are the names in a list of columns: of an index, a key, a foreign key. plain says that all are columns alone.
func columns(in words, t Target) (names []string, plain bool) {
	plain = true
	for _, item := range in.list() {
		if len(item) == 0 {
			continue
		}
		if item[0].kind != plan.TokenWord && item[0].kind != plan.TokenIdent || item.upper(1) == "(" && !t.mysql() || item.upper(0) == "(" {
			plain = false
			continue
		}
		names = append(names, item[0].ident(t))
	}
	return names, plain
}

// calls are the functions that an expression calls, in lower case. A type with brackets behind :: is none.
func (ws words) calls() []string {
	var out []string
	for i, w := range ws {
		if w.kind != plan.TokenWord || ws.upper(i+1) != "(" || ws.upper(i-1) == ":" {
			continue
		}
		if !slices.Contains([]string{"AND", "OR", "NOT", "IN", "ANY", "ALL", "SOME", "EXISTS", "ARRAY", "CASE", "WHEN", "THEN", "ELSE", "INTERVAL", "ROW", "VALUES", "AS", "IS", "BETWEEN", "LIKE", "VARCHAR", "CHAR", "NUMERIC", "DECIMAL", "BIT", "TIMESTAMP", "TIME"}, w.up) {
			out = append(out, strings.ToLower(w.text))
		}
	}
	return out
}

// quote writes a name as the target needs it.
func (t Target) quote(name string) string {
	plain := name != ""
	for i, c := range name {
		if !(c == '_' || 'a' <= c && c <= 'z' || i > 0 && '0' <= c && c <= '9' || t.mysql() && 'A' <= c && c <= 'Z') {
			plain = false
		}
	}
	if plain && !slices.Contains([]string{"user", "order", "group", "table", "check", "default", "end", "key", "keys", "index", "limit", "primary", "references", "select", "to", "type_"}, strings.ToLower(name)) {
		return name
	}
	q := `"`
	if t.mysql() {
		q = "`"
	}
	return q + strings.ReplaceAll(name, q, q+q) + q
}

func (t Target) name(n schema.Name) string {
	if n.Schema == "" {
		return t.quote(n.Table)
	}
	return t.quote(n.Schema) + "." + t.quote(n.Table)
}
