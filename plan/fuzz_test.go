package plan_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

func syntaxes() map[string]plan.Syntax {
	return map[string]plan.Syntax{"plain": {}, "postgres": plan.PostgresSyntax(), "mysql": plan.MySQLSyntax()}
}

func seed(f *testing.F) {
	for _, text := range []string{
		"", "ALTER TABLE t ADD c int;", "ALTER TABLE ONLY a.b* DROP c, ALTER d TYPE numeric(1,2) USING e::x; SELECT 1",
		`ALTER TABLE IF EXISTS U&"d!0061" UESCAPE '!' ADD CONSTRAINT n CHECK (a[1] > 0) NOT VALID`,
		"CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "ALTER TABLE`a``b`ADD c ENUM('a\\'',\"b\") /*!80000 x */, # y\nDROP d",
		"a $x$ ; $x$ /* /* */ */ -- b\n'c''' E'\\'' \n 'd' $1 0x1F .5e-7", "ALTER TABLE t ADD c int DEFAULT CASE WHEN a THEN NULL END NOT NULL",
		"ALTER TABLE t ADD c int REFERENCES p ON DELETE SET NULL (c), RENAME a TO b, , SET (a=1)", "((]", "--#0", "ALTER TABLE t\"c\"",
		"ALTER TABLE `a`.b CHANGE c `d e` int UNSIGNED NOT NULL DEFAULT 5 COMMENT 'x, y' AFTER f, DROP FOREIGN KEY k, RENAME INDEX i TO j, COMMENT='a', ALGORITHM = INPLACE",
		"ALTER TABLE t ADD (a int, b int), ADD CONSTRAINT UNIQUE (a(3) DESC), ADD c datetime(6) DEFAULT NOW(6) ON UPDATE NOW(6), ORDER BY a, b PARTITION BY HASH(a)", "'", "\"", "/*", "$a$", "`", "\xff\x00",
	} {
		f.Add(text)
	}
}

// Every byte of every text is in exactly one token.
func FuzzLex(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src string) {
		for name, syntax := range syntaxes() {
			tokens, err := plan.Lex(src, syntax)
			end := 0
			for _, token := range tokens {
				if token.Start != end || token.End <= token.Start {
					t.Fatalf("%s: Lex(%q): token from %d to %d after one that ends at %d", name, src, token.Start, token.End, end)
				}
				end = token.End
			}
			if end != len(src) {
				t.Errorf("%s: Lex(%q) ends at %d, want %d", name, src, end, len(src))
			}
			if err != nil && len(tokens) == 0 {
				t.Errorf("%s: Lex(%q) = no tokens and %v", name, src, err)
			}
		}
	})
}

// Statements joined with semicolons are split the same again, and each one alone is one statement.
func FuzzSplit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src string) {
		for name, syntax := range syntaxes() {
			statements, err := plan.Split(src, syntax)
			if err != nil || slices.ContainsFunc(statements, dangling) {
				continue
			}
			again, err := plan.Split(strings.Join(statements, ";"), syntax)
			if err != nil || !slices.Equal(statements, again) {
				t.Errorf("%s: Split(%q) = %q, joined and split again %q, %v", name, src, statements, again, err)
			}
			rest := src
			for _, s := range statements {
				_, after, found := strings.Cut(rest, s)
				if !found {
					t.Errorf("%s: Split(%q) = %q: %q is not in what is left, %q", name, src, statements, s, rest)
				}
				rest = after
				if parsed, err := plan.Parse(s, syntax); err != nil || parsed.Text != s {
					t.Errorf("%s: Parse(%q).Text = %q, %v, want what Split gave", name, s, parsed.Text, err)
				}
			}
		}
	})
}

// The clauses and what stands between them are the statement, and another table changes none of them.
func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		for name, syntax := range syntaxes() {
			s, err := plan.Parse(text, syntax)
			if err != nil || dangling(s.Text) {
				continue
			}
			checkClauses(t, name, s, syntax)
			other, err := plan.Parse(s.Retarget("x_1"), syntax)
			if err != nil {
				t.Fatalf("%s: Parse(%q): %v", name, s.Retarget("x_1"), err)
			}
			if s.Table == (schema.Name{}) {
				continue
			}
			if other.Table.String() != "x_1" || other.Verb != s.Verb || other.Only != s.Only || other.IfExists != s.IfExists || !slices.EqualFunc(s.Clauses, other.Clauses, sameClause) {
				t.Errorf("%s: Parse(%q)\n     gave %+v\nanother table %+v", name, text, s, other)
			}
		}
	})
}

// dangling statements end in two minus signs, which MySQL takes for a comment when nothing follows: "a--#b" means another thing than "a--".
func dangling(s string) bool { return strings.HasSuffix(s, "--") }

func sameClause(a, b plan.Clause) bool {
	a.Start, a.End, b.Start, b.End = 0, 0, 0, 0
	return a == b
}

func checkClauses(t *testing.T, name string, s plan.Statement, syntax plan.Syntax) {
	t.Helper()
	for i, c := range s.Clauses {
		if c.Text != s.Text[c.Start:c.End] {
			t.Errorf("%s: %q: clause %d is %q, want %q", name, s.Text, i, c.Text, s.Text[c.Start:c.End])
		}
		if i == 0 {
			continue
		}
		between := s.Text[s.Clauses[i-1].End:c.Start]
		tokens, err := plan.Lex(between, syntax)
		words := ""
		for _, token := range tokens {
			if token.Kind != plan.TokenSpace && token.Kind != plan.TokenComment {
				words += between[token.Start:token.End]
			}
		}
		if err != nil || words != "," {
			t.Errorf("%s: %q: %q, %v stands between clauses %d and %d, want one comma", name, s.Text, between, err, i-1, i)
		}
	}
	if n := len(s.Clauses); n > 0 && s.Clauses[n-1].End != len(s.Text) {
		t.Errorf("%s: %q: the last clause ends at %d", name, s.Text, s.Clauses[n-1].End)
	}
}

// names are those that a server takes: not empty, at most 63 bytes, no NUL; and rich in what means something to a lexer.
func names() *rapid.Generator[string] {
	runes := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\"\"'`.;,()[]$\\-/*#\n\r\t !aZ_1ß表😀")))
	return rapid.StringOfN(runes, 1, -1, 63).Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
}

func TestQuotedNamesSurvive(t *testing.T) {
	t.Parallel()
	backticks := func(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
	rapid.Check(t, func(t *rapid.T) {
		in, table, column, to := names().Draw(t, "schema"), names().Draw(t, "table"), names().Draw(t, "column"), names().Draw(t, "to")
		want := schema.Name{Schema: in, Table: table}

		text := "ALTER TABLE " + ident.Qualified(in, table) + " RENAME " + ident.Quote(column) + " TO " + ident.Quote(to)
		s, err := plan.Parse(text, plan.PostgresSyntax())
		if err != nil || s.Table != want || len(s.Clauses) != 1 {
			t.Fatalf("Parse(%q) = %+v, %v, want table %+v and one clause", text, s, err, want)
		}
		if c := s.Clauses[0]; c.Action != plan.RenameColumn || c.Column != column || c.NewName != to {
			t.Fatalf("Parse(%q) = %+v, want to rename %q to %q", text, c, column, to)
		}

		text = "ALTER TABLE " + backticks(in) + "." + backticks(table) + " DROP a, DROP b"
		s, err = plan.Parse(text, plan.MySQLSyntax())
		if err != nil || s.Table != want || len(s.Clauses) != 2 {
			t.Fatalf("Parse(%q) = %+v, %v, want table %+v and two clauses", text, s, err, want)
		}
	})
}

func TestRetargetChangesNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		between := trivia().Draw(t, "between")
		head := rapid.SampledFrom([]string{"ALTER TABLE", "alter table IF exists", "ALTER TABLE ONLY", "CREATE INDEX i ON", "CREATE UNIQUE INDEX CONCURRENTLY ON ONLY"}).Draw(t, "head") + between
		tail := trivia().Draw(t, "after") + rapid.SampledFrom([]string{"ADD t int", "(t, app.t)", "ADD CHECK (t.a > 0), RENAME t TO u", "* DROP t"}).Draw(t, "tail")
		from := ident.Qualified(names().Draw(t, "schema"), names().Draw(t, "table"))
		to := ident.Qualified(names().Draw(t, "to schema"), names().Draw(t, "to table"))
		s, err := plan.Parse(head+from+tail, plan.PostgresSyntax())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.Retarget(to), head+to+tail; got != want {
			t.Fatalf("Retarget(%q) of %q\n got %q\nwant %q", to, head+from+tail, got, want)
		}
	})
}

// trivia is what may stand between two words of PostgreSQL.
func trivia() *rapid.Generator[string] {
	pieces := rapid.SampledFrom([]string{" ", "\n", "\t", "\r\n", "/* , ; ' */", "/* a /* \" */ b */", "-- ), $$ ;\n"})
	return rapid.Map(rapid.SliceOfN(pieces, 0, 4), func(p []string) string { return " " + strings.Join(p, "") })
}

func TestWhiteSpaceAndCommentsMeanNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clause := rapid.SampledFrom([]string{
			`ADD COLUMN IF NOT EXISTS "c,d" numeric(10,2)[] COLLATE "C" DEFAULT -1.5::numeric NOT NULL CHECK (c > 0)`,
			"ADD c bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 5)",
			"ADD c int CONSTRAINT n REFERENCES app.p (a) ON DELETE SET DEFAULT (c) DEFAULT NULL UNIQUE",
			"ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES app.p (c, d) ON DELETE SET NULL NOT VALID",
			"ADD CONSTRAINT u UNIQUE USING INDEX i DEFERRABLE INITIALLY DEFERRED",
			"ALTER COLUMN c SET DATA TYPE character varying(5) COLLATE pg_catalog.\"C\" USING left(c, 5)",
			"DROP CONSTRAINT IF EXISTS n CASCADE",
			"RENAME COLUMN a TO b",
			"DETACH PARTITION app.p CONCURRENTLY",
		}).Draw(t, "clause")
		tokens, err := plan.Lex(clause, plan.PostgresSyntax())
		if err != nil {
			t.Fatal(err)
		}
		text := "ALTER TABLE t "
		for _, token := range tokens {
			text += clause[token.Start:token.End] + trivia().Draw(t, "trivia")
		}
		want, err := plan.Parse("ALTER TABLE t "+clause, plan.PostgresSyntax())
		if err != nil {
			t.Fatal(err)
		}
		got, err := plan.Parse(text, plan.PostgresSyntax())
		if err != nil || len(got.Clauses) != 1 {
			t.Fatalf("Parse(%q) = %d clauses, %v, want 1", text, len(got.Clauses), err)
		}
		if got, want := meaning(got.Clauses[0]), meaning(want.Clauses[0]); got != want {
			t.Fatalf("Parse(%q)\n got %+v\nwant %+v", text, got, want)
		}
	})
}

// meaning is a clause without its texts, but with whether it has them.
func meaning(c plan.Clause) plan.Clause {
	c.Start, c.End = 0, 0
	for _, text := range []*string{&c.Text, &c.Type, &c.Collate, &c.Using, &c.Default} {
		if *text != "" {
			*text = "…"
		}
	}
	return c
}
