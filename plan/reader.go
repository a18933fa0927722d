package plan

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/changeling-db/changeling/schema"
)

// reader goes through tokens from which white space and comments were taken out.
type reader struct {
	text   string
	syntax Syntax
	tokens []Token
	pos    int

	database string // of the last name that qualified took; empty: it had none
}

func (r *reader) done() bool { return r.pos >= len(r.tokens) }

// word is the unquoted word n tokens ahead, in upper case; empty if there is none, or if a dot makes it part of a name.
func (r *reader) word(n int) string {
	i := r.pos + n
	if i >= len(r.tokens) || r.tokens[i].Kind != TokenWord || i > 0 && symbol(r.text, r.tokens[i-1]) == '.' {
		return ""
	}
	return mapASCII(r.text[r.tokens[i].Start:r.tokens[i].End], 'a', 'z')
}

// symbol is the operator or punctuation byte at hand, zero if there is none.
func (r *reader) symbol() byte {
	if r.done() {
		return 0
	}
	return symbol(r.text, r.tokens[r.pos])
}

// accept takes keywords or symbols, separated by spaces, if all of them are there.
func (r *reader) accept(words string) bool {
	from := r.pos
	for _, w := range strings.Fields(words) {
		if r.word(0) != w && (len(w) != 1 || r.symbol() != w[0]) {
			r.pos = from
			return false
		}
		r.pos++
	}
	return true
}

// skip takes one token, all of a bracket, or all of CASE … END.
func (r *reader) skip() {
	brackets, cases := 0, 0
	for !r.done() {
		c := r.symbol()
		switch {
		case opens(c):
			brackets++
		case closes(c) && brackets > 0:
			brackets--
		case brackets == 0 && r.word(0) == "CASE":
			cases++
		case brackets == 0 && cases > 0 && r.word(0) == "END":
			cases--
		}
		r.pos++
		if brackets == 0 && cases == 0 {
			return
		}
	}
}

// until takes everything up to where stop says so, and at most up to the end. It is the text of what was taken.
func (r *reader) until(stop func() bool) string {
	from := r.pos
	for !r.done() && !stop() {
		r.skip()
	}
	return r.since(from)
}

func (r *reader) rest() string { return r.until(func() bool { return false }) }

func (r *reader) since(from int) string {
	if from == r.pos {
		return ""
	}
	return r.text[r.tokens[from].Start:r.tokens[r.pos-1].End]
}

// name takes one name. Keywords that no server lets stand for a name without quotes are none.
func (r *reader) name() (string, bool) {
	switch r.word(0) {
	case "ALL", "CHECK", "COLUMN", "CONSTRAINT", "DEFAULT", "FOREIGN", "NOT", "NULL", "ON", "PRIMARY", "REFERENCES", "TO", "UNIQUE", "USING":
		return "", false
	}
	if r.done() || r.tokens[r.pos].Kind != TokenWord && r.tokens[r.pos].Kind != TokenIdent {
		return "", false
	}
	t, escape := r.tokens[r.pos], byte('\\')
	r.pos++
	if t.Kind == TokenIdent && prefix(r.text[t.Start:]) > 0 && r.word(0) == "UESCAPE" && r.pos+1 < len(r.tokens) {
		if character := r.tokens[r.pos+1]; character.Kind == TokenString && character.End-character.Start == 3 {
			escape = r.text[character.Start+1]
			r.pos += 2
		}
	}
	return r.syntax.unquote(r.text, t, escape), true
}

// qualified takes a name with its schema, and says which bytes it has. The name of a database before these is kept aside.
func (r *reader) qualified() (name schema.Name, from, to int, ok bool) {
	first := r.pos
	r.database = ""
	if name.Table, ok = r.name(); !ok {
		return name, 0, 0, false
	}
	for r.accept(".") {
		part, ok := r.name()
		if !ok {
			r.pos = first
			return schema.Name{}, 0, 0, false
		}
		r.database, name = name.Schema, schema.Name{Schema: name.Table, Table: part}
	}
	return name, r.tokens[first].Start, r.tokens[r.pos-1].End, true
}

// unquote is the name that a word or a quoted name stands for on the server. The escape belongs to U&"" alone.
func (s Syntax) unquote(src string, t Token, escape byte) string {
	text := src[t.Start:t.End]
	switch {
	case t.Kind == TokenWord && s.FoldLower:
		text = mapASCII(text, 'A', 'Z')
	case t.Kind == TokenIdent:
		body := text[prefix(text):]
		quote := body[:1]
		body = strings.ReplaceAll(body[1:len(body)-1], quote+quote, quote)
		if prefix(text) > 0 {
			body = unescape(body, escape)
		}
		text = body
	}
	if s.NameBytes > 0 && len(text) > s.NameBytes {
		n := s.NameBytes
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return text
}

// unescape puts characters in the place of \0061 and \+000061. What is not valid stays as it is, the server will refuse it.
func unescape(body string, escape byte) string {
	var b strings.Builder
	var units []uint16
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(body); {
		if body[i] != escape {
			flush()
			b.WriteByte(body[i])
			i++
			continue
		}
		digits, from := 4, i+1
		if from < len(body) && body[from] == escape {
			flush()
			b.WriteByte(escape)
			i += 2
			continue
		}
		if from < len(body) && body[from] == '+' {
			digits, from = 6, from+1
		}
		if from+digits > len(body) {
			return body
		}
		code, err := strconv.ParseUint(body[from:from+digits], 16, 21)
		if err != nil || code > unicode.MaxRune {
			return body
		}
		// A character above U+FFFF may be written as two surrogates.
		if code <= 0xffff {
			units = append(units, uint16(code))
		} else {
			flush()
			b.WriteRune(rune(code))
		}
		i = from + digits
	}
	flush()
	return b.String()
}
