package capture

import (
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// effect is what a statement in the log means for the table.
type effect int

const (
	nothing   effect = iota
	begin            // BEGIN, XA START
	commit           // COMMIT, or ROLLBACK of what could not be rolled back
	control          // inside a transaction: SAVEPOINT, XA END
	xaCommit         // of a transaction that was prepared
	xaBack           // its rollback
	truncated        // the table is empty now
	altered          // the table has been changed, or another one has its name
	written          // rows were changed and the log has the statement only
)

// reader of statements: about one table.
type statements struct {
	table schema.Name
	fold  bool // names are compared without case (lower_case_table_names)
}

// effect says what a statement means for the table, and for XA COMMIT and XA ROLLBACK of which transaction. database is
// the one that names without a database are in.
//
// It is a tokenizer and no parser: it knows where each kind of statement has its table names. A statement that it does
// not know and that names the table anywhere counts as a write, so that nothing is passed over.
func (s statements) effect(database, text string) (effect, string) {
	l := &lexer{text: text}
	l.next()
	c := &clause{lexer: l, statements: s, database: database}
	switch strings.ToUpper(l.word()) {
	case "":
		return nothing, ""
	case "BEGIN":
		return begin, ""
	case "START":
		l.next()
		if l.is("TRANSACTION") {
			return begin, ""
		}
	case "COMMIT":
		return commit, ""
	case "ROLLBACK":
		l.next()
		if l.is("TO") || l.is("WORK") && l.then("TO") {
			return control, ""
		}
		return commit, ""
	case "SAVEPOINT", "RELEASE":
		return control, ""
	case "XA":
		return xa(l)
	case "TRUNCATE":
		l.next()
		l.skip("TABLE")
		if c.table() {
			return truncated, ""
		}
		return nothing, ""
	case "ALTER", "CREATE", "DROP", "RENAME", "OPTIMIZE", "REPAIR":
		return c.definition(strings.ToUpper(l.word())), ""
	case "ANALYZE", "CHECK", "CHECKSUM", "FLUSH", "GRANT", "REVOKE", "USE", "INSTALL", "UNINSTALL", "PURGE", "RESET":
		return nothing, ""
	}
	l = &lexer{text: text}
	c.lexer = l
	if c.mentioned() {
		return written, ""
	}
	return nothing, ""
}

// xa returns the transaction that an XA statement names, as the server writes it: x'67',x'62',1.
func xa(l *lexer) (effect, string) {
	l.next()
	verb := strings.ToUpper(l.word())
	var id strings.Builder
	for l.next() {
		switch l.kind {
		case 'q':
			id.WriteString("'" + strings.ToLower(l.token) + "'")
		default:
			id.WriteString(strings.ToLower(l.token))
		}
	}
	switch verb {
	case "START", "BEGIN":
		return begin, id.String()
	case "COMMIT":
		if strings.HasSuffix(id.String(), "onephase") {
			return commit, ""
		}
		return xaCommit, id.String()
	case "ROLLBACK":
		return xaBack, id.String()
	}
	return control, id.String()
}

// clause reads the names of one statement.
type clause struct {
	*lexer
	statements
	database string
}

// definition finds out whether a statement that defines something is about the table.
func (c *clause) definition(verb string) effect {
	c.next()
	hit := false
	for c.is("OR") || c.is("REPLACE") || c.is("ONLINE") || c.is("OFFLINE") || c.is("IGNORE") ||
		c.is("UNIQUE") || c.is("FULLTEXT") || c.is("SPATIAL") || c.is("VECTOR") || c.is("LOCAL") || c.is("NO_WRITE_TO_BINLOG") || c.is("UNDO") {
		c.next()
	}
	switch {
	case c.is("TEMPORARY"):
		return nothing // it hides the table from its own session only
	case c.is("DATABASE") || c.is("SCHEMA"):
		c.next()
		c.exists()
		hit = verb == "DROP" && c.same(c.token, c.statements.table.Schema)
	case c.is("INDEX"):
		for c.next() {
			if c.is("ON") {
				c.next()
				hit = c.table()
				break
			}
		}
	case c.is("TABLE") || c.is("TABLES"):
		c.next()
		c.exists()
		if verb == "RENAME" || verb == "DROP" || verb == "OPTIMIZE" || verb == "REPAIR" {
			return c.list()
		}
		hit = c.table()
		if verb == "ALTER" {
			hit = c.elsewhere() || hit
		}
	}
	if hit {
		return altered
	}
	return nothing
}

// list reads the tables of DROP TABLE a, b and RENAME TABLE a TO b, c TO d.
func (c *clause) list() effect {
	for hit := c.table(); ; hit = c.table() {
		if hit {
			return altered
		}
		for c.kind != ',' && !c.is("TO") { // WAIT 5, NOWAIT, CASCADE
			if !c.next() {
				return nothing
			}
		}
		c.next()
	}
}

// elsewhere finds the other tables of an ALTER TABLE: EXCHANGE PARTITION p WITH TABLE t, CONVERT TABLE t TO PARTITION,
// RENAME TO t.
func (c *clause) elsewhere() bool {
	for depth := 0; c.kind != 0; {
		switch {
		case c.kind == '(':
			depth++
		case c.kind == ')':
			depth--
		case depth > 0:
		case c.is("TABLE"): // a keyword here, as no name can be TABLE unquoted
			c.next()
			if c.table() {
				return true
			}
			continue
		case c.is("RENAME"):
			c.next()
			if c.is("COLUMN") || c.is("INDEX") || c.is("KEY") {
				continue
			}
			c.skip("TO", "AS")
			c.skipOperator('=')
			if c.table() {
				return true
			}
			continue
		}
		c.next()
	}
	return false
}

// exists steps over IF EXISTS and IF NOT EXISTS.
func (c *clause) exists() {
	if c.is("IF") {
		c.next()
		c.skip("NOT")
		c.skip("EXISTS")
	}
}

// table reads one name, with or without its database, and says whether it is the table's.
func (c *clause) table() bool {
	database, name := c.database, c.token
	if c.kind == '.' { // .t is t
		c.next()
		name = c.token
	}
	if c.kind != 'w' && c.kind != 'i' {
		return false
	}
	c.next()
	if c.kind == '.' {
		c.next()
		database, name = name, c.token
		c.next()
	}
	return c.same(name, c.statements.table.Table) && c.same(database, c.statements.table.Schema)
}

// mentioned says whether the rest of the statement has the table's name anywhere. A column of that name counts too.
func (c *clause) mentioned() bool {
	database := c.database // of the name that comes next
	for previous := ""; c.next(); {
		switch {
		case c.kind == '.':
			database = previous
			continue
		case c.kind != 'w' && c.kind != 'i':
		case c.same(c.token, c.statements.table.Table) && c.same(database, c.statements.table.Schema):
			return true
		}
		previous, database = c.token, c.database
	}
	return false
}

func (s statements) same(a, b string) bool {
	return a == b || s.fold && strings.EqualFold(a, b)
}

// lexer cuts a statement into tokens. What stands in a version comment, such as DROP /*!40005 TEMPORARY */ TABLE, is
// part of the statement, as the server that wrote it has run it.
type lexer struct {
	text  string
	token string // without quotes
	// kind is w for a word, i for a quoted name, q for a string, 0 at the end, and otherwise the character itself.
	kind    byte
	version bool // inside of a version comment
}

func (l *lexer) word() string {
	if l.kind != 'w' {
		return ""
	}
	return l.token
}

func (l *lexer) is(keyword string) bool { return l.kind == 'w' && strings.EqualFold(l.token, keyword) }

func (l *lexer) then(keyword string) bool {
	l.next()
	return l.is(keyword)
}

func (l *lexer) skip(keywords ...string) {
	for _, k := range keywords {
		if l.is(k) {
			l.next()
			return
		}
	}
}

func (l *lexer) skipOperator(kind byte) {
	if l.kind == kind {
		l.next()
	}
}

// next moves to the next token, and says whether there is one.
func (l *lexer) next() bool {
	l.space()
	if l.text == "" {
		l.kind, l.token = 0, ""
		return false
	}
	c := l.text[0]
	switch {
	case c == '`' || c == '"' || c == '\'':
		l.quoted(c)
	case wordy(c):
		n := 1
		for n < len(l.text) && wordy(l.text[n]) {
			n++
		}
		l.kind, l.token, l.text = 'w', l.text[:n], l.text[n:]
	default:
		l.kind, l.token, l.text = c, l.text[:1], l.text[1:]
	}
	return true
}

func wordy(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted reads a name or a string. A text in double quotes may be either, by sql_mode; as a name it can only be taken
// for the table by mistake where a string stands in the place of a table.
func (l *lexer) quoted(quote byte) {
	l.kind = 'i'
	if quote == '\'' {
		l.kind = 'q'
	}
	var b strings.Builder
	i := 1
	for ; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == quote:
			if i+1 < len(l.text) && l.text[i+1] == quote {
				i++
				b.WriteByte(quote)
				continue
			}
			l.token, l.text = b.String(), l.text[i+1:]
			return
		case c == '\\' && quote != '`' && i+1 < len(l.text):
			i++
			b.WriteByte(l.text[i])
		default:
			b.WriteByte(c)
		}
	}
	l.token, l.text = b.String(), ""
}

// space steps over white space and comments.
func (l *lexer) space() {
	for l.text != "" {
		switch t := l.text; {
		case strings.IndexByte(" \t\r\n\f\v", t[0]) >= 0:
			l.text = t[1:]
		case t[0] == '#', strings.HasPrefix(t, "--") && (len(t) == 2 || t[2] <= ' '):
			_, l.text, _ = strings.Cut(t, "\n")
		case strings.HasPrefix(t, "/*!"), strings.HasPrefix(t, "/*M!"):
			l.text = strings.TrimLeft(t[strings.IndexByte(t, '!')+1:], "0123456789")
			l.version = true
		case l.version && strings.HasPrefix(t, "*/"):
			l.text, l.version = t[2:], false
		case strings.HasPrefix(t, "/*"):
			_, l.text, _ = strings.Cut(t[2:], "*/")
		default:
			return
		}
	}
}
