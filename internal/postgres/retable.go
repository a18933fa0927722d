package postgres

import (
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// retable writes a text of the server's, in which tables are qualified, for another table. Whoever asks looks what came of it: an alias and a
// column of the names of schema and table would be taken for them.
func retable(text string, from, to schema.Name) string {
	tokens, is, err := words(text)
	if err != nil {
		return text
	}
	var out strings.Builder
	at := 0
	for i := range tokens {
		if is(i, from.Schema) && is(i+1, ".") && is(i+2, from.Table) && !is(i+3, ".") && (i == 0 || !is(i-1, ".")) {
			out.WriteString(text[at:tokens[i].Start] + qualified(to))
			at = tokens[i+2].End
		}
	}
	return out.String() + text[at:]
}

// words are the tokens of a text but for spaces and comments, and a question whether one of them is a name.
func words(text string) (tokens []plan.Token, is func(i int, name string) bool, err error) {
	all, err := plan.Lex(text, plan.PostgresSyntax())
	for _, t := range all {
		if t.Kind != plan.TokenSpace && t.Kind != plan.TokenComment {
			tokens = append(tokens, t)
		}
	}
	return tokens, func(i int, name string) bool {
		if i < 0 || i >= len(tokens) {
			return false
		}
		word := text[tokens[i].Start:tokens[i].End]
		switch tokens[i].Kind {
		case plan.TokenWord:
			return strings.ToLower(word) == name
		case plan.TokenIdent:
			return word == ident.Quote(name)
		}
		return word == name
	}, err
}
