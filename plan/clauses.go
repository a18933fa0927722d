package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// Statement is one SQL statement, taken apart as far as the planner needs it. What it does not know it carries as text.
type Statement struct {
	Text string // from the first word to the last, without the semicolon and without comments around it
	// Verb is the keywords that the statement begins with, in upper case, one space apart: "ALTER TABLE", "CREATE UNIQUE INDEX",
	// "DROP TABLE", "CREATE OR REPLACE VIEW". Statements that are not DDL have one: "SELECT". It is empty if there is none.
	Verb         string
	Table        schema.Name // of ALTER TABLE and CREATE INDEX, as the server keeps it: unquoted, folded; empty if none was found
	Index        string      // of CREATE INDEX; empty if the server chooses it
	IfExists     bool        // IF EXISTS, or IF NOT EXISTS of CREATE INDEX
	Only         bool        // ONLY, in either way of writing it
	Concurrently bool        // of CREATE INDEX
	Clauses      []Clause    // the actions of ALTER TABLE, in order; nil for every other statement

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
	s.Table, s.from, s.to = name, from, to
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

// Action is what a clause of ALTER TABLE does.
type Action string

// The actions. Unknown, the zero value, is passed on as it is.
const (
	Unknown            Action = ""
	AddColumn          Action = "add column"
	DropColumn         Action = "drop column"
	AlterType          Action = "alter type"
	SetDefault         Action = "set default"
	DropDefault        Action = "drop default"
	SetNotNull         Action = "set not null"
	DropNotNull        Action = "drop not null"
	SetExpression      Action = "set expression"
	DropExpression     Action = "drop expression"
	AddIdentity        Action = "add identity"
	SetIdentity        Action = "set identity" // RESTART too
	DropIdentity       Action = "drop identity"
	SetStatistics      Action = "set statistics"
	SetStorage         Action = "set storage"
	SetCompression     Action = "set compression"
	SetOptions         Action = "set options"   // of a column
	ResetOptions       Action = "reset options" // of a column
	AddConstraint      Action = "add constraint"
	DropConstraint     Action = "drop constraint"
	AlterConstraint    Action = "alter constraint"
	ValidateConstraint Action = "validate constraint"
	RenameColumn       Action = "rename column"
	RenameConstraint   Action = "rename constraint"
	RenameTable        Action = "rename table"
	SetSchema          Action = "set schema"
	OwnerTo            Action = "owner to"
	SetTableOptions    Action = "set table options"
	ResetTableOptions  Action = "reset table options"
	SetLogged          Action = "set logged"
	SetUnlogged        Action = "set unlogged"
	SetTablespace      Action = "set tablespace"
	SetAccessMethod    Action = "set access method"
	ClusterOn          Action = "cluster on"
	SetWithoutCluster  Action = "set without cluster"
	ReplicaIdentity    Action = "replica identity"
	EnableTrigger      Action = "enable trigger"
	DisableTrigger     Action = "disable trigger"
	EnableRule         Action = "enable rule"
	DisableRule        Action = "disable rule"
	RowSecurity        Action = "row level security" // enabled, disabled, forced or not
	Inherit            Action = "inherit"
	NoInherit          Action = "no inherit"
	OfType             Action = "of type"
	NotOf              Action = "not of"
	AttachPartition    Action = "attach partition"
	DetachPartition    Action = "detach partition"

	AddColumns           Action = "add columns"   // several in brackets; their names are not taken out
	ChangeColumn         Action = "change column" // name and definition
	AddIndex             Action = "add index"
	DropIndex            Action = "drop index"
	RenameIndex          Action = "rename index"
	SetVisible           Action = "set visible" // of a column
	SetIndexVisible      Action = "set index visible"
	DropPrimaryKey       Action = "drop primary key"
	ConvertTo            Action = "convert to character set"
	OrderBy              Action = "order by"
	PartitionBy          Action = "partition by"
	RemovePartitioning   Action = "remove partitioning"
	MaintainPartition    Action = "maintain partition" // everything that is done to partitions by name
	Tablespace           Action = "tablespace"         // DISCARD and IMPORT
	Force                Action = "force"
	Algorithm            Action = "algorithm"
	Lock                 Action = "lock"
	AddSystemVersioning  Action = "add system versioning" // or a period
	DropSystemVersioning Action = "drop system versioning"
)

// Constraint is the kind of constraint that AddConstraint adds.
type Constraint string

// The kinds of constraints. NoConstraint is the zero value.
const (
	NoConstraint Constraint = ""
	Check        Constraint = "check"
	Unique       Constraint = "unique"
	PrimaryKey   Constraint = "primary key"
	ForeignKey   Constraint = "foreign key"
	Exclude      Constraint = "exclude"
	NotNull      Constraint = "not null"
)

// form is one way to write a clause, as the manual writes it: keywords, A|B for one of several, [ ] around what may be left out,
// and < > around what match reads into the clause.
type form struct {
	text       string
	action     Action
	constraint Constraint
}

// postgresForms are the actions of ALTER TABLE in PostgreSQL 14 to 18 (manual, ALTER TABLE). The first one that fits a clause
// from end to end decides; what fits none is Unknown, so that syntax of a later version is not mistaken for an older one's.
func postgresForms() []form {
	const column = "ALTER [COLUMN] <column> "
	const constraint = "ADD [CONSTRAINT <name>] "
	return []form{
		{constraint + "CHECK <group> [<attributes>]", AddConstraint, Check},
		{constraint + "UNIQUE USING INDEX <index> [<attributes>]", AddConstraint, Unique},
		{constraint + "UNIQUE [NULLS [NOT] DISTINCT] <group> [<attributes>]", AddConstraint, Unique},
		{constraint + "PRIMARY KEY USING INDEX <index> [<attributes>]", AddConstraint, PrimaryKey},
		{constraint + "PRIMARY KEY <group> [<attributes>]", AddConstraint, PrimaryKey},
		{constraint + "FOREIGN KEY <group> REFERENCES <table> [<attributes>]", AddConstraint, ForeignKey},
		{constraint + "EXCLUDE [USING <any>] <group> [<attributes>]", AddConstraint, Exclude},
		{constraint + "NOT NULL <column> [<attributes>]", AddConstraint, NotNull},
		{"ADD [COLUMN] [IF NOT EXISTS] <column> <definition>", AddColumn, ""},
		{"DROP CONSTRAINT [IF EXISTS] <name> [CASCADE|RESTRICT]", DropConstraint, ""},
		{"DROP [COLUMN] [IF EXISTS] <column> [CASCADE|RESTRICT]", DropColumn, ""},
		{column + "[SET DATA] TYPE <type> [COLLATE <collation>] [USING <using>]", AlterType, ""},
		{column + "SET DEFAULT <default>", SetDefault, ""},
		{column + "DROP DEFAULT", DropDefault, ""},
		{column + "SET NOT NULL", SetNotNull, ""},
		{column + "DROP NOT NULL", DropNotNull, ""},
		{column + "SET EXPRESSION AS <group>", SetExpression, ""},
		{column + "DROP EXPRESSION [IF EXISTS]", DropExpression, ""},
		{column + "ADD GENERATED ALWAYS AS IDENTITY [<group>]", AddIdentity, ""},
		{column + "ADD GENERATED BY DEFAULT AS IDENTITY [<group>]", AddIdentity, ""},
		{column + "SET GENERATED|SEQUENCE|AS|INCREMENT|MINVALUE|MAXVALUE|NO|START|CACHE|CYCLE|OWNED <rest>", SetIdentity, ""},
		{column + "SET CYCLE", SetIdentity, ""},
		{column + "RESTART [<rest>]", SetIdentity, ""},
		{column + "DROP IDENTITY [IF EXISTS]", DropIdentity, ""},
		{column + "SET STATISTICS <rest>", SetStatistics, ""},
		{column + "SET STORAGE <any>", SetStorage, ""},
		{column + "SET COMPRESSION <any>", SetCompression, ""},
		{column + "SET <group>", SetOptions, ""},
		{column + "RESET <group>", ResetOptions, ""},
		{"ALTER CONSTRAINT <name> <attributes>", AlterConstraint, ""},
		{"VALIDATE CONSTRAINT <name>", ValidateConstraint, ""},
		{"RENAME CONSTRAINT <name> TO <new>", RenameConstraint, ""},
		{"RENAME TO <new>", RenameTable, ""},
		{"RENAME [COLUMN] <column> TO <new>", RenameColumn, ""},
		{"SET SCHEMA <new>", SetSchema, ""},
		{"OWNER TO <new>", OwnerTo, ""},
		{"SET <group>", SetTableOptions, ""},
		{"RESET <group>", ResetTableOptions, ""},
		{"SET LOGGED", SetLogged, ""},
		{"SET UNLOGGED", SetUnlogged, ""},
		{"SET TABLESPACE <new>", SetTablespace, ""},
		{"SET ACCESS METHOD DEFAULT", SetAccessMethod, ""},
		{"SET ACCESS METHOD <new>", SetAccessMethod, ""},
		{"CLUSTER ON <index>", ClusterOn, ""},
		{"SET WITHOUT CLUSTER", SetWithoutCluster, ""},
		{"REPLICA IDENTITY USING INDEX <index>", ReplicaIdentity, ""},
		{"REPLICA IDENTITY DEFAULT|FULL|NOTHING", ReplicaIdentity, ""},
		{"ENABLE TRIGGER ALL|USER", EnableTrigger, ""},
		{"ENABLE [ALWAYS|REPLICA] TRIGGER <name>", EnableTrigger, ""},
		{"DISABLE TRIGGER ALL|USER", DisableTrigger, ""},
		{"DISABLE TRIGGER <name>", DisableTrigger, ""},
		{"ENABLE [ALWAYS|REPLICA] RULE <name>", EnableRule, ""},
		{"DISABLE RULE <name>", DisableRule, ""},
		{"ENABLE|DISABLE ROW LEVEL SECURITY", RowSecurity, ""},
		{"[NO] FORCE ROW LEVEL SECURITY", RowSecurity, ""},
		{"INHERIT <table>", Inherit, ""},
		{"NO INHERIT <table>", NoInherit, ""},
		{"OF <table>", OfType, ""},
		{"NOT OF", NotOf, ""},
		{"ATTACH PARTITION <table> <rest>", AttachPartition, ""},
		{"DETACH PARTITION <table> [CONCURRENTLY|FINALIZE]", DetachPartition, ""},
	}
}

// postgresClause finds the form that a clause has.
func postgresClause(r *reader, c *Clause) {
	classify(postgresForms(), r, c)
}

func classify(forms []form, r *reader, c *Clause) {
	for _, f := range forms {
		try := *c
		try.Action, try.Constraint = f.action, f.constraint
		r.pos = 0
		if r.match(f.text, &try) && r.done() {
			*c = try
			return
		}
	}
}

// match reads a form into a clause. It says whether the form fits what is at hand.
func (r *reader) match(form string, c *Clause) bool {
	for form != "" {
		part, rest, _ := strings.Cut(form, " ")
		if part[0] == '[' {
			end := bracketEnd(form)
			part, rest = form[1:end], strings.TrimPrefix(form[end+1:], " ")
			if pos, try := r.pos, *c; r.match(part, &try) {
				*c = try
			} else {
				r.pos = pos
			}
		} else if part[0] == '<' {
			if !r.read(part, c) {
				return false
			}
		} else if !slices.ContainsFunc(strings.Split(part, "|"), func(word string) bool { return r.keyword(word, c) }) {
			return false
		}
		form = rest
	}
	return true
}

// bracketEnd is the end of the bracket that a form begins with.
func bracketEnd(form string) int {
	depth := 0
	for i := range form {
		switch form[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	panic("plan: a form has an open bracket: " + form)
}

// keyword takes one keyword, and notes those that a clause has a field for.
func (r *reader) keyword(word string, c *Clause) bool {
	if !r.accept(word) {
		return false
	}
	switch word {
	case "EXISTS":
		c.IfExists = true
	case "CASCADE":
		c.Cascade = true
	case "CONCURRENTLY":
		c.Concurrently = true
	case "REFERENCES":
		c.References = true
	}
	return true
}

// read takes what a form has in < >. All but <attributes> take something or do not fit.
func (r *reader) read(what string, c *Clause) (ok bool) {
	from := r.pos
	switch what {
	case "<column>":
		c.Column, ok = r.name()
		return ok
	case "<name>":
		c.Name, ok = r.name()
		return ok
	case "<index>":
		c.Index, ok = r.name()
		return ok
	case "<new>":
		c.NewName, ok = r.name()
		return ok
	case "<table>":
		c.Other, _, _, ok = r.qualified()
		return ok
	case "<collation>":
		_, _, _, ok = r.qualified()
		c.Collate = r.since(from)
		return ok
	case "<group>":
		if opens(r.symbol()) {
			r.skip()
		}
	case "<any>":
		r.skip()
	case "<type>":
		c.Type = r.until(func() bool { return r.word(0) == "COLLATE" || r.word(0) == "USING" })
	case "<using>":
		c.Using = r.rest()
	case "<default>":
		c.Default = r.rest()
	case "<rest>":
		r.rest()
	case "<attributes>":
		for !r.done() {
			switch {
			case r.accept("NOT VALID"):
				c.NotValid = true
			case r.accept("NOT ENFORCED"):
				c.NotEnforced = true
			default:
				r.skip()
			}
		}
	case "<definition>":
		r.definition(c)
	case "<described>":
		r.described(c)
	}
	return r.pos > from
}

// definition takes a column's type and what follows it.
func (r *reader) definition(c *Clause) {
	c.Type = r.operand()
	for !r.done() {
		switch {
		case r.accept("NOT NULL"):
			c.Inline.NotNull = true
		case r.accept("PRIMARY KEY"):
			c.Inline.PrimaryKey = true
		case r.accept("UNIQUE"):
			c.Inline.Unique = true
		case r.accept("CHECK"):
			c.Inline.Check = true
		case r.accept("DEFAULT"):
			c.Default = r.operand()
		case r.accept("COLLATE"):
			r.read("<collation>", c)
		case r.accept("REFERENCES"):
			c.References = true
			r.read("<table>", c)
		case r.accept("GENERATED ALWAYS AS IDENTITY"), r.accept("GENERATED BY DEFAULT AS IDENTITY"):
			c.Inline.Identity = true
		case r.accept("GENERATED ALWAYS AS"):
			c.Inline.Generated = true
		case r.accept("STORED"):
			c.Inline.Stored = true
		case r.accept("CONSTRAINT"), r.accept("STORAGE"), r.accept("COMPRESSION"), r.accept("ON DELETE SET"), r.accept("ON UPDATE SET"):
			r.skip() // a name, or NULL or DEFAULT that means no more than itself
		case r.accept("NOT ENFORCED"):
			c.NotEnforced = true
		default:
			r.skip()
		}
	}
}

// operand takes a type or a default: at least one token, so that DEFAULT NULL and a type called storage are whole.
func (r *reader) operand() string {
	from := r.pos
	return r.until(func() bool { return r.pos > from && r.qualifier() })
}

// qualifier says that what is at hand begins the next part of a column's definition.
// An expression goes on after an operator or a dot, at IS NOT, and at FROM NULL.
func (r *reader) qualifier() bool {
	before := r.tokens[r.pos-1]
	if c := symbol(r.text, before); c != 0 && !closes(c) {
		return false
	}
	switch r.word(0) {
	case "NOT", "NULL":
		previous := mapASCII(r.text[before.Start:before.End], 'a', 'z')
		return previous != "IS" && previous != "FROM"
	case "CHECK", "COLLATE", "COMPRESSION", "CONSTRAINT", "DEFAULT", "DEFERRABLE", "GENERATED", "INITIALLY", "OPTIONS", "PRIMARY",
		"REFERENCES", "STORAGE", "UNIQUE":
		return true
	}
	return false
}
