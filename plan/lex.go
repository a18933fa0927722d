package plan

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Syntax is what a server's lexer does differently from another's. The zero value is plain standard SQL.
type Syntax struct {
	FoldLower         bool // unquoted names become lower case; only ASCII letters do (PostgreSQL in UTF-8)
	NameBytes         int  // longer names are cut to as many bytes, on a character's boundary; zero: never
	DollarQuotes      bool // $tag$ … $tag$ strings and $1 parameters
	PrefixedQuotes    bool // E'' with backslashes, U&'', U&"", B'', X'' and N'' are one token; so is E'a' continued on the next line
	NestedComments    bool // /* /* */ */ is one comment
	ReturnEndsComment bool // a carriage return ends a -- comment, as a line feed does
	Backticks         bool // `name`
	QuotedStrings     bool // "…" is a string, not a name (MySQL without ANSI_QUOTES)
	Backslashes       bool // a backslash escapes in every string (MySQL without NO_BACKSLASH_ESCAPES)
	HashComments      bool // # starts a comment
	SpacedDashes      bool // -- starts a comment only before white space or the end
	ExecutedComments  bool // /*! … */ and /*M! … */ are run by the server
	DigitNames        bool // an unquoted name may begin with a digit
	Inheritance       bool // ONLY before a table's name and * after it are not part of it

	classify func(*reader, *Clause) // fills in what a clause of ALTER TABLE does; nil leaves all of them Unknown
}

// PostgresSyntax is that of PostgreSQL 14 to 18 with standard_conforming_strings on (Lexical Structure in the manual; scan.l).
func PostgresSyntax() Syntax {
	return Syntax{
		FoldLower: true, NameBytes: 63, DollarQuotes: true, PrefixedQuotes: true, NestedComments: true, ReturnEndsComment: true, Inheritance: true,
		classify: postgresClause,
	}
}

// MySQLSyntax is that of MySQL and MariaDB with their default sql_mode (Language Structure in the manuals). ANSI_QUOTES
// clears QuotedStrings, NO_BACKSLASH_ESCAPES clears Backslashes.
func MySQLSyntax() Syntax {
	return Syntax{
		Backticks: true, QuotedStrings: true, Backslashes: true, HashComments: true, SpacedDashes: true, ExecutedComments: true, DigitNames: true,
		classify: mysqlClause,
	}
}

// TokenKind says what a token is.
type TokenKind uint8

const (
	TokenSpace    TokenKind = iota // white space
	TokenComment                   // a comment that the server ignores, optimizer hints included
	TokenExecuted                  // /*! … */: the server may run what is in it, so it is kept and never looked into
	TokenWord                      // a keyword or an unquoted name
	TokenIdent                     // a quoted name, with its quotes and prefix
	TokenString                    // a string of any kind, with its quotes and prefix
	TokenNumber
	TokenParam  // $1
	TokenSymbol // one byte of an operator or of punctuation, and every byte that has no other meaning
)

// Token is a piece of a text: the bytes from Start up to End.
type Token struct {
	Kind       TokenKind
	Start, End int
}

// Lex cuts a text into tokens that have no gaps between them: joined, they are the text, byte for byte, whatever it is.
// An error says that the last token, a comment or something quoted, has no end; the tokens are complete then too.
func Lex(src string, s Syntax) ([]Token, error) {
	var tokens []Token
	for i := 0; i < len(src); {
		kind, end := s.token(src, i)
		if end < 0 {
			return append(tokens, Token{kind, i, len(src)}), unclosed(src, i, kind)
		}
		tokens = append(tokens, Token{kind, i, end})
		i = end
	}
	return tokens, nil
}

// Split cuts a text into its statements, at each semicolon that is not in brackets or in something quoted.
// A statement goes from its first to its last word: white space and comments around it are left out, those inside are kept.
// So the statements joined with ";" are split the same again, and text may be appended to one. Statements without a word are
// dropped. The error is that of Lex.
//
// Client commands (\d, DELIMITER), the data of COPY FROM STDIN and routine bodies without quotes (BEGIN ATOMIC, MySQL's BEGIN … END)
// are not known to it.
func Split(src string, s Syntax) ([]string, error) {
	tokens, err := Lex(src, s)
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, piece := range separate(src, significant(tokens), ';') {
		if len(piece) > 0 {
			statements = append(statements, src[piece[0].Start:piece[len(piece)-1].End])
		}
	}
	return statements, nil
}

// significant leaves out white space and comments.
func significant(tokens []Token) []Token {
	var kept []Token
	for _, t := range tokens {
		if t.Kind != TokenSpace && t.Kind != TokenComment {
			kept = append(kept, t)
		}
	}
	return kept
}

// separate cuts tokens at a separator that is not in brackets. There is one piece more than there are separators; pieces may be empty.
func separate(src string, tokens []Token, separator byte) [][]Token {
	var pieces [][]Token
	depth, from := 0, 0
	for i, t := range tokens {
		switch c := symbol(src, t); {
		case c == separator && depth == 0:
			pieces, from = append(pieces, tokens[from:i]), i+1
		case opens(c):
			depth++
		case closes(c) && depth > 0:
			depth--
		}
	}
	return append(pieces, tokens[from:])
}

// symbol is the token's byte, zero if it is not a symbol.
func symbol(src string, t Token) byte {
	if t.Kind != TokenSymbol {
		return 0
	}
	return src[t.Start]
}

func opens(c byte) bool  { return c == '(' || c == '[' }
func closes(c byte) bool { return c == ')' || c == ']' }

// token is the one that begins at i. Its end is negative if the text ends before it does.
func (s Syntax) token(src string, i int) (TokenKind, int) {
	rest, c := src[i:], src[i]
	switch {
	case isSpace(c):
		return TokenSpace, i + run(rest, isSpace)
	case s.startsLineComment(rest):
		return TokenComment, i + s.lineComment(rest)
	case s.ExecutedComments && (strings.HasPrefix(rest, "/*!") || strings.HasPrefix(rest, "/*M!")):
		// The server may find ordinary comments in it; MySQL allows no deeper nesting (manual, Comments).
		return TokenExecuted, blockComment(src, i, 2)
	case strings.HasPrefix(rest, "/*"):
		if s.NestedComments {
			return TokenComment, blockComment(src, i, len(src))
		}
		return TokenComment, blockComment(src, i, 1)
	case c == '\'':
		return TokenString, quoted(src, i, s.Backslashes)
	case c == '"' && s.QuotedStrings:
		return TokenString, quoted(src, i, s.Backslashes)
	case c == '"', c == '`' && s.Backticks:
		return TokenIdent, quoted(src, i, false)
	case c == '$' && s.DollarQuotes:
		return dollar(src, i)
	case s.PrefixedQuotes && prefix(rest) > 0:
		return s.prefixed(src, i)
	case isDigit(c), c == '.' && len(rest) > 1 && isDigit(rest[1]) && !s.qualifies(src, i):
		return s.number(src, i)
	case isWord(c):
		return TokenWord, i + run(rest, isWord)
	}
	return TokenSymbol, i + 1
}

// startsLineComment knows --, which MySQL takes for two minus signs if no white space or control character follows, and #.
func (s Syntax) startsLineComment(rest string) bool {
	if s.HashComments && rest[0] == '#' {
		return true
	}
	if !strings.HasPrefix(rest, "--") {
		return false
	}
	return !s.SpacedDashes || len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f
}

// lineComment is the length of a comment up to the end of its line.
func (s Syntax) lineComment(rest string) int {
	ends := "\n"
	if s.ReturnEndsComment {
		ends = "\r\n"
	}
	if n := strings.IndexAny(rest, ends); n >= 0 {
		return n
	}
	return len(rest)
}

// blockComment is the end of the comment that begins at i, and that may hold others, nested up to the depth in all.
func blockComment(src string, i, deepest int) int {
	depth := 0
	for i+1 < len(src) {
		switch {
		case src[i] == '/' && src[i+1] == '*' && depth < deepest:
			depth++
			i += 2
		case src[i] == '*' && src[i+1] == '/':
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return -1
}

// quoted is the end of what is quoted with the byte at i. A doubled quote is one inside.
func quoted(src string, i int, backslashes bool) int {
	quote := src[i]
	for i++; i < len(src); i++ {
		switch {
		case src[i] == '\\' && backslashes:
			i++
		case src[i] != quote:
		case i+1 < len(src) && src[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// dollar is a dollar-quoted string, a parameter, or a dollar alone.
func dollar(src string, i int) (TokenKind, int) {
	rest := src[i+1:]
	if n := run(rest, isDigit); n > 0 {
		return TokenParam, i + 1 + n
	}
	tag := run(rest, func(c byte) bool { return isWord(c) && c != '$' })
	if tag == len(rest) || rest[tag] != '$' {
		return TokenSymbol, i + 1
	}
	body := i + tag + 2
	if n := strings.Index(src[body:], src[i:body]); n >= 0 {
		return TokenString, body + n + (body - i)
	}
	return TokenString, -1
}

// prefix is the length of a string's or quoted name's prefix, zero if there is none.
func prefix(rest string) int {
	switch {
	case len(rest) > 2 && rest[0]|0x20 == 'u' && rest[1] == '&' && (rest[2] == '\'' || rest[2] == '"'):
		return 2
	case len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("ebxn", rest[0]|0x20) >= 0:
		return 1
	}
	return 0
}

func (s Syntax) prefixed(src string, i int) (TokenKind, int) {
	open := i + prefix(src[i:])
	if src[open] == '"' {
		return TokenIdent, quoted(src, open, false)
	}
	escape := src[i]|0x20 == 'e'
	end := quoted(src, open, escape)
	for escape && end >= 0 {
		// A string that goes on after a line's end keeps its kind, and only there 'b\'c' is one string.
		next := s.continuation(src, end)
		if next < 0 {
			break
		}
		end = quoted(src, next, escape)
	}
	return TokenString, end
}

// continuation is where a string that ended at i goes on: at the next quote, if nothing but white space with a line's end,
// and -- comments, stand between. It is negative if it does not go on.
func (s Syntax) continuation(src string, i int) int {
	newline := false
	for i < len(src) {
		switch {
		case src[i] == '\n' || src[i] == '\r':
			newline = true
			i++
		case isSpace(src[i]):
			i++
		case strings.HasPrefix(src[i:], "--"):
			i += s.lineComment(src[i:])
		case src[i] == '\'' && newline:
			return i
		default:
			return -1
		}
	}
	return -1
}

// number is a number, or a name that begins with a digit where the server allows that.
func (s Syntax) number(src string, i int) (TokenKind, int) {
	if n := run(src[i:], isWord); s.DigitNames && n > 0 && !isNumber(src[i:i+n]) {
		return TokenWord, i + n
	}
	j := i
	if hex := j + 2; src[j] == '0' && hex < len(src) && src[j+1]|0x20 == 'x' && isHex(src[hex]) {
		return TokenNumber, hex + run(src[hex:], isHex)
	}
	j += run(src[j:], isDigit)
	if j < len(src) && src[j] == '.' && !strings.HasPrefix(src[j:], "..") {
		j++
		j += run(src[j:], isDigit)
	}
	if j < len(src) && src[j]|0x20 == 'e' {
		exponent := j + 1
		if exponent < len(src) && (src[exponent] == '+' || src[exponent] == '-') {
			exponent++
		}
		if n := run(src[exponent:], isDigit); n > 0 {
			j = exponent + n
		}
	}
	return TokenNumber, j
}

// qualifies says that the dot at i stands between two parts of a name, so that in db.2024_t no number begins.
func (s Syntax) qualifies(src string, i int) bool {
	return s.DigitNames && i > 0 && (isWord(src[i-1]) || src[i-1] == '`')
}

// isNumber tells 1, 1e5, 0x1f and 0b1 from a name that begins with a digit.
func isNumber(word string) bool {
	all := func(s string, is func(byte) bool) bool { return s != "" && run(s, is) == len(s) }
	if all(word, isDigit) || strings.HasPrefix(word, "0x") && all(word[2:], isHex) {
		return true
	}
	if strings.HasPrefix(word, "0b") && all(word[2:], func(c byte) bool { return c == '0' || c == '1' }) {
		return true
	}
	digits := run(word, isDigit)
	if digits == len(word) || word[digits]|0x20 != 'e' {
		return false
	}
	return digits+1 == len(word) || all(word[digits+1:], isDigit)
}

func run(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// isWord says that a byte may stand in an unquoted name. All bytes above ASCII may, in PostgreSQL and in MySQL.
func isWord(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

// mapASCII changes the case of the letters from first to last, and of no other character: no server folds a keyword by Unicode.
func mapASCII(s string, first, last byte) string {
	b := []byte(s)
	for i, c := range b {
		if first <= c && c <= last {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// unclosed says what begins at i and has no end.
func unclosed(src string, i int, kind TokenKind) error {
	what, end := "comment", "*/"
	switch {
	case kind == TokenIdent:
		what, end = "quoted name", strings.TrimLeft(src[i:i+min(3, len(src)-i)], "uU&")[:1]
	case kind == TokenString && src[i] == '$':
		tag := strings.IndexByte(src[i+1:], '$') + i + 2
		what, end = "dollar-quoted string", src[i:tag]
	case kind == TokenString && src[i] == '"':
		what, end = "string", `"`
	case kind == TokenString:
		what, end = "string", "'"
	}
	before := src[:i]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("line %d, column %d: the %s that begins here has no end, expected %s", line, column, what, end)
}
