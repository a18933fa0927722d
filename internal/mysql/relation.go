package mysql

import (
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Relation is a table as the catalogue describes it.
type Relation struct {
	Name              schema.Name
	Maria             bool   // the server is MariaDB
	Kind              string // TABLE_TYPE
	Engine            string
	Collation         string
	Options           string // CREATE_OPTIONS
	DatabaseCharset   string
	DatabaseCollation string
	Rows              int64  // estimate
	Data              int64  // bytes of the rows
	Bytes             int64  // with indexes
	Create            string // SHOW CREATE TABLE
	Parts             []part
	Columns           []Column
	Indexes           []Index  // in the order of SHOW CREATE TABLE
	Triggers          []string // of users
	Parents           []string // names of foreign keys
	Children          []string // tables whose foreign keys point here
}

// Column is one column. Type is COLUMN_TYPE, which has no character set; Data is its first word.
type Column struct {
	Name, Type, Data   string
	Charset, Collation string // empty for what is no text
	Nullable           bool
	Generated          bool
	AutoIncrement      bool
	Default            *string
	Length             int64 // in characters or bytes
	Precision, Scale   int64 // of numbers
	Fraction           int64 // digits of a second's fraction
}

// full is the type with its character set and collation.
func (c Column) full() string {
	if c.Collation == "" {
		return c.Type
	}
	return c.Type + " CHARACTER SET " + c.Charset + " COLLATE " + c.Collation
}

func (c Column) unsigned() bool { return strings.Contains(c.attributes(), " unsigned") }
func (c Column) zerofill() bool { return strings.Contains(c.attributes(), " zerofill") }

// attributes are what stands behind the type's arguments: members of an enum may have any words in them.
func (c Column) attributes() string {
	if c.Data == "enum" || c.Data == "set" {
		return ""
	}
	return c.Type
}

// Index is an index of the table. Def is its line in SHOW CREATE TABLE.
type Index struct {
	Name   string
	Kind   string // BTREE, FULLTEXT, SPATIAL and so on
	Def    string
	Unique bool
	Keys   []IndexKey
}

// IndexKey is one part of an index: a column, a prefix of one, or an expression.
type IndexKey struct {
	Column     string
	Prefix     int64
	Desc       bool
	Expression string
}

func (r *Relation) column(name string) *Column {
	for i := range r.Columns {
		if strings.EqualFold(r.Columns[i].Name, name) {
			return &r.Columns[i]
		}
	}
	return nil
}

// checks says that the table has CHECK constraints.
func (r *Relation) checks() bool {
	return slices.ContainsFunc(r.Parts, func(p part) bool { return p.Check })
}

// part is a line between the brackets of SHOW CREATE TABLE: a column, an index or a constraint.
type part struct {
	Text       string
	Name       string
	start, end int // where it stands
	Index      bool
	Check      bool
	Foreign    bool
	Other      bool // something that is neither a column, an index, a check nor a foreign key
}

// parts takes SHOW CREATE TABLE apart at the commas of its outermost brackets.
func parts(create string) []part {
	var out []part
	tokens, depth := significant(create), 0
	from := -1
	for i, t := range tokens {
		c := byte(0)
		if t.Kind == plan.TokenSymbol {
			c = create[t.Start]
		}
		if depth == 1 && (c == ',' || c == ')') {
			if from >= 0 {
				out = append(out, newPart(create, tokens[from:i]))
			}
			from = -1
		} else if depth == 1 && from < 0 {
			from = i
		}
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return out
			}
		}
	}
	return out
}

func significant(text string) []plan.Token {
	syntax := plan.MySQLSyntax()
	tokens, err := plan.Lex(text, syntax)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenSpace || t.Kind == plan.TokenComment })
}

func newPart(create string, tokens []plan.Token) part {
	p := part{start: tokens[0].Start, end: tokens[len(tokens)-1].End}
	p.Text = create[p.start:p.end]
	word := func(i int) string {
		if i < len(tokens) && tokens[i].Kind == plan.TokenWord {
			return strings.ToUpper(create[tokens[i].Start:tokens[i].End])
		}
		return ""
	}
	for _, t := range tokens {
		if t.Kind == plan.TokenIdent {
			name := create[t.Start:t.End]
			p.Name = strings.ReplaceAll(name[1:len(name)-1], "``", "`")
			break
		}
	}
	has := func(what string) bool {
		depth := 0
		for i, t := range tokens {
			switch {
			case t.Kind == plan.TokenSymbol && create[t.Start] == '(':
				depth++
			case t.Kind == plan.TokenSymbol && create[t.Start] == ')':
				depth--
			case depth == 0 && word(i) == what:
				return true
			}
		}
		return false
	}
	switch first := word(0); {
	case tokens[0].Kind == plan.TokenIdent: // a column; MariaDB shows its own check with it
		p.Check = has("CHECK")
	case first == "PRIMARY":
		p.Index, p.Name = true, "PRIMARY"
	case first == "KEY" || first == "UNIQUE" || first == "FULLTEXT" || first == "SPATIAL" || first == "VECTOR":
		p.Index = true
	case first == "CONSTRAINT":
		p.Check = has("CHECK")
		p.Foreign = !p.Check && has("FOREIGN")
		p.Other = !p.Check && !p.Foreign
	default:
		p.Other = true
	}
	return p
}

// withoutForeign is SHOW CREATE TABLE without foreign keys: none stands on a shadow, and where the text makes a table in another
// database, their parents would not be found there.
func withoutForeign(create string) string {
	var out strings.Builder
	from := 0
	for i, p := range parts(create) {
		if p.Foreign && i > 0 {
			last := strings.LastIndexByte(create[:p.start], ',')
			out.WriteString(create[from:last])
			from = p.end
		}
	}
	return out.String() + create[from:]
}

// withoutCounter is SHOW CREATE TABLE without the next AUTO_INCREMENT value, which changes with every row.
func withoutCounter(create string) string {
	tokens, depth := significant(create), 0
	for i, t := range tokens {
		word := create[t.Start:t.End]
		switch {
		case t.Kind == plan.TokenSymbol && word == "(":
			depth++
		case t.Kind == plan.TokenSymbol && word == ")":
			depth--
		case depth == 0 && i+2 < len(tokens) && t.Kind == plan.TokenWord && strings.EqualFold(word, "AUTO_INCREMENT") && create[tokens[i+1].Start] == '=':
			return strings.TrimRight(create[:t.Start], " ") + create[tokens[i+2].End:]
		}
	}
	return create
}
