package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/changeling-db/changeling/schema"
)

// Statement is one SQL statement, taken apart as far as the planner needs it. What it does not know it carries as text.
type Statement struct {
	Text string // from the first word to the last, without the semicolon and without comments around it
	// Verb is the keywords that the statement begins with, in upper case, one space apart: "ALTER TABLE", "CREATE UNIQUE INDEX",
	// "DROP TABLE", "CREATE OR REPLACE VIEW". Statements that are not DDL have one: "SELECT". It is empty if there is none.
	Verb         string
	Table        schema.Name // of ALTER TABLE and CREATE INDEX, as the server keeps it: unquoted, folded; empty if none was found
	Database     string      // that stands before the table's schema, which PostgreSQL takes if it is the connection's
	Index        string      // of CREATE INDEX; empty if the server chooses it
	IfExists     bool        // IF EXISTS, or IF NOT EXISTS of CREATE INDEX
	Only         bool        // ONLY, in either way of writing it
	Concurrently bool        // of an index, a refresh
	Clauses      []Clause    // the actions of ALTER TABLE, in order; nil for every other statement
	// Of statements that are about something else than one table:
	Kind    string        // what it is: INDEX, VIEW, MATERIALIZED VIEW, TYPE …; also of REINDEX and COMMENT ON
	Objects []schema.Name // as the server keeps them
	Tables  []schema.Name // tables that it locks besides: of a trigger, a policy, a comment, a grant
	Cascade bool          // CASCADE, of a drop

	from, to int // the bytes of Text that name the table
}

// Clause is one action of ALTER TABLE. Fields that its action does not have are zero. Names are unquoted and folded,
// all other texts are as written, with the comments inside them.
type Clause struct {
	Text       string // without white space and comments around it; empty between two commas
	Start, End int    // the bytes of Statement.Text that are Text; nothing but comments, white space and one comma stands between two clauses

	Action     Action
	Constraint Constraint  // kind, of AddConstraint
	Column     string      // the column that it is about
	Name       string      // the constraint, trigger or rule that it is about; empty where the server chooses it, or all are meant
	Index      string      // USING INDEX of a constraint or of REPLICA IDENTITY, CLUSTER ON
	NewName    string      // what follows RENAME … TO, OWNER TO, SET SCHEMA, SET TABLESPACE, SET ACCESS METHOD
	Other      schema.Name // the other table: REFERENCES, INHERIT, ATTACH and DETACH PARTITION; the type of OF

	Type    string // of AddColumn and AlterType, without COLLATE: "numeric(10,2)[]"
	Collate string // the collation's name
	Using   string // the expression after USING, of AlterType
	Default string // the expression after DEFAULT, of AddColumn and SetDefault

	Inline       Inline // what an AddColumn brings along
	References   bool   // a foreign key: AddConstraint, or inline in AddColumn
	NotValid     bool   // NOT VALID, of a constraint
	NotEnforced  bool   // NOT ENFORCED, of a constraint
	IfExists     bool   // IF EXISTS, or IF NOT EXISTS
	Cascade      bool   // CASCADE, of a drop
	Concurrently bool   // of DetachPartition
}

// Inline is what the definition of a column says besides its type and its default.
type Inline struct {
	NotNull, PrimaryKey, Unique, Check bool
	Identity                           bool // GENERATED … AS IDENTITY
	Generated                          bool // GENERATED ALWAYS AS (expression)
	Stored                             bool // … STORED: without it PostgreSQL 18 computes when reading, and 12 to 17 refuse
}

// Parse takes one statement apart. It never refuses what it does not know: such a statement has no clauses, such a clause is Unknown.
// Only these are errors: a text without a statement, more than one, and something quoted or a comment that has no end.
func Parse(text string, syntax Syntax) (Statement, error) {
	statements, err := Split(text, syntax)
	if err != nil {
		return Statement{}, err
	}
	switch len(statements) {
	case 0:
		return Statement{}, errors.New("the statement is empty")
	case 1:
	default:
		return Statement{}, fmt.Errorf("expected one statement, found %d", len(statements))
	}
	s := Statement{Text: statements[0]}
	tokens, err := Lex(s.Text, syntax)
	if err != nil {
		return Statement{}, err
	}
	r := &reader{text: s.Text, syntax: syntax, tokens: significant(tokens)}
	s.Verb = r.verb()
	switch s.Verb {
	case "ALTER TABLE":
		s.IfExists = r.accept("IF EXISTS")
		if s.target(r) {
			s.clauses(r)
		}
	case "CREATE INDEX", "CREATE UNIQUE INDEX":
		s.index(r)
	default:
		s.others(r)
	}
	return s, nil
}

// Retarget is the statement's text with another table in the place of its own, every other byte as it was. The name is put in as
// given, so it must be quoted as needed. References to the table elsewhere in the text, as in REFERENCES, stay.
// A statement without a Table stays as it is.
func (s Statement) Retarget(name string) string {
	if s.to == 0 {
		return s.Text
	}
	before, after := s.Text[:s.from], s.Text[s.to:]
	// In ONLY"t"ADD the quotes are all that keeps the words apart.
	return before + gap(before, name) + name + gap(name, after) + after
}

// gap is a space where two texts would grow together to one word or to one quoted name.
func gap(left, right string) string {
	if left == "" || right == "" {
		return ""
	}
	l, r := left[len(left)-1], right[0]
	if isWord(l) && isWord(r) || l == r && (l == '"' || l == '`') {
		return " "
	}
	return ""
}

// target reads the table's name, with ONLY and * around it.
func (s *Statement) target(r *reader) bool {
	paren := false
	if r.syntax.Inheritance && r.accept("ONLY") {
		s.Only = true
		paren = r.accept("(")
	}
	name, from, to, ok := r.qualified()
	if !ok {
		return false
	}
	s.Table, s.Database, s.from, s.to = name, r.database, from, to
	if paren {
		r.accept(")")
	} else if r.syntax.Inheritance {
		r.accept("*")
	}
	return true
}

// index reads CREATE INDEX as far as the table's name. MySQL may have USING BTREE before ON.
func (s *Statement) index(r *reader) {
	s.Concurrently = r.accept("CONCURRENTLY")
	s.IfExists = r.accept("IF NOT EXISTS")
	if r.word(0) != "ON" {
		s.Index, _ = r.name()
	}
	r.until(func() bool { return r.word(0) == "ON" })
	if r.accept("ON") {
		s.target(r)
	}
}

// clauses cuts the rest of ALTER TABLE at its commas.
func (s *Statement) clauses(r *reader) {
	if r.done() {
		return
	}
	at := r.pos
	for _, tokens := range separate(r.text, r.tokens[r.pos:], ',') {
		c := Clause{Start: r.tokens[at-1].End, End: r.tokens[at-1].End}
		if len(tokens) > 0 {
			c.Start, c.End = tokens[0].Start, tokens[len(tokens)-1].End
		}
		c.Text = s.Text[c.Start:c.End]
		if r.syntax.classify != nil {
			r.syntax.classify(&reader{text: r.text, syntax: r.syntax, tokens: tokens}, &c)
		}
		s.Clauses = append(s.Clauses, c)
		at += len(tokens) + 1
	}
}

// verb takes the keywords that the statement begins with.
func (r *reader) verb() string {
	verb := r.word(0)
	if verb == "" {
		return ""
	}
	r.pos++
	if !slices.Contains([]string{"ALTER", "COMMENT", "CREATE", "DROP", "RENAME"}, verb) {
		return verb
	}
	modifiers := []string{
		"FOREIGN", "FULLTEXT", "GLOBAL", "IGNORE", "LOCAL", "MATERIALIZED", "ONLINE", "OR", "RECURSIVE", "REPLACE",
		"SPATIAL", "TEMP", "TEMPORARY", "UNIQUE", "UNLOGGED",
	}
	for more := true; more && r.word(0) != ""; r.pos++ {
		more = slices.Contains(modifiers, r.word(0))
		verb += " " + r.word(0)
	}
	// ALTER TABLE ALL IN TABLESPACE alters many tables and has no clauses.
	if verb == "ALTER TABLE" && r.accept("ALL") {
		verb += " ALL"
	}
	return verb
}
