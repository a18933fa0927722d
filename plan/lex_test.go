package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/plan"
)

// lexemes shows tokens as kind:text, without white space.
func lexemes(t *testing.T, src string, s plan.Syntax) []string {
	t.Helper()
	names := map[plan.TokenKind]string{
		plan.TokenComment: "comment", plan.TokenExecuted: "executed", plan.TokenWord: "word", plan.TokenIdent: "ident",
		plan.TokenString: "string", plan.TokenNumber: "number", plan.TokenParam: "param", plan.TokenSymbol: "symbol",
	}
	tokens, err := plan.Lex(src, s)
	if err != nil {
		t.Fatalf("Lex(%q): %v", src, err)
	}
	var out []string
	for _, token := range tokens {
		if token.Kind != plan.TokenSpace {
			out = append(out, names[token.Kind]+":"+src[token.Start:token.End])
		}
	}
	return out
}

func TestLex(t *testing.T) {
	t.Parallel()
	postgres, mysql := plan.PostgresSyntax(), plan.MySQLSyntax()
	for _, test := range []struct {
		rule   string
		syntax plan.Syntax
		src    string
		want   []string
	}{
		{"a doubled quote is inside the string", postgres, `'it''s' x`, []string{"string:'it''s'", "word:x"}},
		{"a backslash means nothing in a plain string", postgres, `'a\' x`, []string{`string:'a\'`, "word:x"}},
		{"a backslash escapes in E''", postgres, `E'a\'b' x`, []string{`string:E'a\'b'`, "word:x"}},
		{"E'' goes on after a line's end and keeps its escapes", postgres, "e'a' -- note\n 'b\\'c' x", []string{"string:e'a' -- note\n 'b\\'c'", "word:x"}},
		{"E'' does not go on in the same line", postgres, `E'a' 'b\' x`, []string{`string:E'a'`, `string:'b\'`, "word:x"}},
		{"E'' does not go on after a block comment", postgres, "E'a' /* */\n 'b\\' x", []string{"string:E'a'", "comment:/* */", `string:'b\'`, "word:x"}},
		{"an E at the end of a word is no prefix", postgres, `else'a\'`, []string{"word:else", `string:'a\'`}},
		{"bit, hex, national and unicode strings keep their prefix", postgres, `b'01' X'ff' n'a' U&'\0061'`, []string{"string:b'01'", "string:X'ff'", "string:n'a'", `string:U&'\0061'`}},
		{"a quoted name may hold anything", postgres, `"a""b;c--d" U&"d\0061t"`, []string{`ident:"a""b;c--d"`, `ident:U&"d\0061t"`}},
		{"a dollar quote ends at its own tag", postgres, "$a$ $$ $b$ ; $a$ x", []string{"string:$a$ $$ $b$ ; $a$", "word:x"}},
		{"a dollar quote may have no tag", postgres, "$$it's$$", []string{"string:$$it's$$"}},
		{"a dollar tag may be of any letters", postgres, "$é1$ $é$ $é1$", []string{"string:$é1$ $é$ $é1$"}},
		{"a dollar in a name starts nothing", postgres, "a$b$ c", []string{"word:a$b$", "word:c"}},
		{"a dollar and digits are a parameter", postgres, "$1$2 $a", []string{"param:$1", "param:$2", "symbol:$", "word:a"}},
		{"comments nest in PostgreSQL", postgres, "/* a /* b */ ' */ x", []string{"comment:/* a /* b */ ' */", "word:x"}},
		{"a comment may start right after an operator", postgres, "a*/*b*/+--c\nd", []string{"word:a", "symbol:*", "comment:/*b*/", "symbol:+", "comment:--c", "word:d"}},
		{"a carriage return ends a comment in PostgreSQL", postgres, "--a\rb", []string{"comment:--a", "word:b"}},
		{"numbers", postgres, "1 1.5 .5 5. 1e10 1.5E-3 0x1F 1..2 1.a", []string{"number:1", "number:1.5", "number:.5", "number:5.", "number:1e10", "number:1.5E-3", "number:0x1F", "number:1", "symbol:.", "number:.2", "number:1.", "word:a"}},
		{"letters beyond ASCII make words", postgres, "größe 表", []string{"word:größe", "word:表"}},
		{"a backtick means nothing in PostgreSQL", postgres, "`a`", []string{"symbol:`", "word:a", "symbol:`"}},
		{"a hash is an operator in PostgreSQL", postgres, "a # b", []string{"word:a", "symbol:#", "word:b"}},

		{"backticks quote names in MySQL", mysql, "`a``;b` c", []string{"ident:`a``;b`", "word:c"}},
		{"a backslash in backticks means nothing", mysql, "`a\\` c", []string{"ident:`a\\`", "word:c"}},
		{"double quotes make strings in MySQL", mysql, `"a\"b""c" d`, []string{`string:"a\"b""c"`, "word:d"}},
		{"a backslash escapes in every MySQL string", mysql, `'a\'b' d`, []string{`string:'a\'b'`, "word:d"}},
		{"-- without a space is two minus signs in MySQL", mysql, "5--1 -- c\n6 --", []string{"number:5", "symbol:-", "symbol:-", "number:1", "comment:-- c", "number:6", "comment:--"}},
		{"# starts a comment in MySQL", mysql, "a # b;c\nd", []string{"word:a", "comment:# b;c", "word:d"}},
		{"a carriage return does not end a comment in MySQL", mysql, "# b\rc\nd", []string{"comment:# b\rc", "word:d"}},
		{"comments do not nest in MySQL", mysql, "/* a /* b */ c", []string{"comment:/* a /* b */", "word:c"}},
		{"executed comments are opaque and may hold a comment", mysql, "/*!80000 a /* b */ ; */ c /*M! d */ /*+ e */", []string{"executed:/*!80000 a /* b */ ; */", "word:c", "executed:/*M! d */", "comment:/*+ e */"}},
		{"a dollar may stand in a MySQL name", mysql, "$a$ b$", []string{"word:$a$", "word:b$"}},
		{"a MySQL name may begin with a digit", mysql, "2024_t db.2024_t 1e5 12 0x1f 1e5x", []string{"word:2024_t", "word:db", "symbol:.", "word:2024_t", "number:1e5", "number:12", "number:0x1f", "word:1e5x"}},
	} {
		if got := lexemes(t, test.src, test.syntax); !slices.Equal(got, test.want) {
			t.Errorf("%s: Lex(%q)\n got %q\nwant %q", test.rule, test.src, got, test.want)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	postgres, mysql := plan.PostgresSyntax(), plan.MySQLSyntax()
	for _, test := range []struct {
		rule   string
		syntax plan.Syntax
		src    string
		want   []string
	}{
		{"a semicolon ends a statement", postgres, "a;b; c", []string{"a", "b", "c"}},
		{"statements without a word are dropped", postgres, " ;; a ; -- nothing\n; /* nothing */", []string{"a"}},
		{"nothing is no statement", postgres, " \n", nil},
		{"comments around a statement are left out", postgres, "-- head\na /* in */ b -- tail\n; /* next */ c", []string{"a /* in */ b", "c"}},
		{"semicolons in quotes are text", postgres, `a ';' ";" $$;$$ $f$;$f$ E'\';'; b`, []string{`a ';' ";" $$;$$ $f$;$f$ E'\';'`, "b"}},
		{"semicolons in comments are text", postgres, "a /* ; /* ; */ ; */ b --;\n c; d", []string{"a /* ; /* ; */ ; */ b --;\n c", "d"}},
		{"semicolons in brackets are text", postgres, "CREATE RULE r AS ON INSERT TO t DO (a; b); c [1;2]", []string{"CREATE RULE r AS ON INSERT TO t DO (a; b)", "c [1;2]"}},
		{"a closing bracket too many does no harm", postgres, "a ); b", []string{"a )", "b"}},
		{"the body of a function is a string", postgres, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$; a", []string{"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$", "a"}},
		{"MySQL quotes and comments", mysql, "a `;` \"\\\";\" '\\';' # ;\n b; c", []string{"a `;` \"\\\";\" '\\';' # ;\n b", "c"}},
		{"an executed comment is a statement", mysql, "/*!40101 SET x=1 */; /* not this */; a", []string{"/*!40101 SET x=1 */", "a"}},
	} {
		got, err := plan.Split(test.src, test.syntax)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: Split(%q)\n got %q, %v\nwant %q", test.rule, test.src, got, err, test.want)
		}
	}
}

func TestSplitSaysWhatHasNoEnd(t *testing.T) {
	t.Parallel()
	postgres, mysql := plan.PostgresSyntax(), plan.MySQLSyntax()
	for _, test := range []struct {
		syntax    plan.Syntax
		src, want string
	}{
		{postgres, "a;\n b 'c;\n d", "line 2, column 4: the string that begins here has no end, expected '"},
		{postgres, `E'a\'`, "line 1, column 1: the string that begins here has no end, expected '"},
		{postgres, `größe "b`, `line 1, column 7: the quoted name that begins here has no end, expected "`},
		{postgres, `U&"b`, `line 1, column 1: the quoted name that begins here has no end, expected "`},
		{postgres, "a\r\nb /* c /* d */", "line 2, column 3: the comment that begins here has no end, expected */"},
		{postgres, "a $fn$ b $$", "line 1, column 3: the dollar-quoted string that begins here has no end, expected $fn$"},
		{mysql, "a `b", "line 1, column 3: the quoted name that begins here has no end, expected `"},
		{mysql, `a "b\"`, `line 1, column 3: the string that begins here has no end, expected "`},
		{mysql, "a /*!80000 b", "line 1, column 3: the comment that begins here has no end, expected */"},
	} {
		_, err := plan.Split(test.src, test.syntax)
		if err == nil || err.Error() != test.want {
			t.Errorf("Split(%q) error\n got %v\nwant %s", test.src, err, test.want)
		}
		tokens, err := plan.Lex(test.src, test.syntax)
		if err == nil || joined(test.src, tokens) != test.src {
			t.Errorf("Lex(%q) = %q, %v, want all of it and an error", test.src, joined(test.src, tokens), err)
		}
	}
}

// joined is the text that tokens stand for.
func joined(src string, tokens []plan.Token) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteString(src[token.Start:token.End])
	}
	return b.String()
}
