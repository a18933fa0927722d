package lint

import (
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// model is what the statements so far have made.
type model struct {
	target Target
	tables map[schema.Name]*table
	views  map[schema.Name][]schema.Name // and the tables that they read, by the words in them
	// Of the script at hand:
	touched  map[schema.Name]bool // tables that were altered: a database does not know them so
	settings map[string]string    // SET name = value
	created  map[schema.Name]bool // enum types
}

// table is what is known of one table. Of a table that no statement made, little is.
type table struct {
	name        schema.Name
	known       bool // made by a CREATE TABLE of these files
	fresh       bool // made by the script at hand: nobody uses it yet
	partitioned bool
	fallback    bool // has a default partition
	columns     []*column
	indexes     []*index
	checks      []*constraint
	foreign     []*constraint
	gone        map[string]string // dropped and renamed columns, and by which file
	triggers    int
	copies      int // ALTERs of the script at hand that need a copy of it
}

type column struct {
	plan.Clause
	words words
}

type index struct {
	name    string
	columns []string
	plain   bool // columns alone, and no condition
	unique  bool
	primary bool
	where   words
}

type constraint struct {
	name    string
	columns []string // of a check: all words in it
	to      schema.Name
	toCols  []string
	valid   bool
	notNull bool // PostgreSQL 18's NOT NULL with a name
	words   words
	tx      int
}

func newModel(t Target) *model {
	m := &model{target: t, tables: map[schema.Name]*table{}, views: map[schema.Name][]schema.Name{}}
	m.begin()
	return m
}

// begin forgets what is of one script.
func (m *model) begin() {
	m.touched, m.settings, m.created = map[schema.Name]bool{}, map[string]string{}, map[schema.Name]bool{}
	for _, t := range m.tables {
		t.fresh, t.copies = false, 0
	}
}

// key is a table's name as the model keeps it: the schema that everybody means is left out.
func (m *model) key(n schema.Name) schema.Name {
	if n.Schema == "public" && m.target.postgres() {
		n.Schema = ""
	}
	if m.target.mysql() {
		n.Table, n.Schema = strings.ToLower(n.Table), strings.ToLower(n.Schema)
	}
	return n
}

// table is what is known of a table, never nil.
func (m *model) table(n schema.Name) *table {
	if t := m.tables[m.key(n)]; t != nil {
		return t
	}
	return &table{name: n, gone: map[string]string{}}
}

// make is the table's entry.
func (m *model) make(n schema.Name) *table {
	t := m.table(n)
	m.tables[m.key(n)] = t
	return t
}

// changed says that statements before have changed a table, or made it.
func (m *model) changed(n schema.Name) bool {
	return n.Table != "" && (m.touched[m.key(n)] || m.table(n).fresh)
}

func (t *table) column(name string) *column {
	for _, c := range t.columns {
		if strings.EqualFold(c.Column, name) {
			return c
		}
	}
	return nil
}

func (t *table) index(name string) *index {
	for _, x := range t.indexes {
		if strings.EqualFold(x.name, name) {
			return x
		}
	}
	return nil
}

func (t *table) primary() *index {
	for _, x := range t.indexes {
		if x.primary {
			return x
		}
	}
	return nil
}

// covers says that an index begins with the columns, in any order.
func (t *table) covers(columns []string) bool {
	return slices.ContainsFunc(t.indexes, func(x *index) bool {
		return len(x.columns) >= len(columns) && len(columns) > 0 && x.where == nil && !slices.ContainsFunc(columns, func(c string) bool {
			return !slices.ContainsFunc(x.columns[:len(columns)], func(k string) bool { return strings.EqualFold(k, c) })
		})
	})
}

// using are the indexes that have a column in them.
func (t *table) using(name string) []*index {
	var out []*index
	for _, x := range t.indexes {
		if slices.ContainsFunc(x.columns, func(c string) bool { return strings.EqualFold(c, name) }) {
			out = append(out, x)
		}
	}
	return out
}

// mentions are the checks that have a column in them.
func (t *table) mentions(name string) []*constraint {
	var out []*constraint
	for _, k := range t.checks {
		if slices.ContainsFunc(k.columns, func(c string) bool { return strings.EqualFold(c, name) }) {
			out = append(out, k)
		}
	}
	return out
}

// apply is what a statement leaves.
func (m *model) apply(s subject, script *Script) {
	switch first, _, _ := strings.Cut(s.Verb, " "); {
	case first == "SET":
		m.set(s.words)
	case s.Verb == "ALTER TABLE":
		t := m.make(s.Table)
		m.touched[m.key(s.Table)] = true
		for _, k := range s.Clauses {
			m.alter(t, k, s, script)
		}
	case strings.HasPrefix(s.Verb, "CREATE") && s.Index == "" && s.Table.Table == "" && s.Kind == "TABLE":
		m.create(s)
	case strings.HasSuffix(s.Verb, " INDEX") && first == "CREATE":
		m.touched[m.key(s.Table)] = true
		m.make(s.Table).indexes = append(m.make(s.Table).indexes, m.readIndex(s))
	case first == "CREATE" && s.Kind == "TYPE":
		m.created[m.key(schema.Name{Table: typeName(s)})] = true
	case first == "CREATE" && (s.Kind == "VIEW" || s.Kind == "MATERIALIZED VIEW") && len(s.Objects) > 0:
		m.views[m.key(s.Objects[0])] = m.reads(s)
	case first == "CREATE" && s.Kind == "TRIGGER" && len(s.Tables) > 0:
		m.make(s.Tables[0]).triggers++
	case first == "DROP":
		m.drop(s)
	case s.Verb == "RENAME TABLE":
		for _, pair := range s.words[2:].list() {
			if i := pair.find("TO"); i > 0 && i+1 < len(pair) {
				m.rename(schema.Name{Table: pair[i-1].ident(m.target)}, schema.Name{Table: pair[len(pair)-1].ident(m.target)})
			}
		}
	}
}

func typeName(s subject) string {
	if len(s.Objects) > 0 {
		return s.Objects[0].Table
	}
	return ""
}

// set notes SET name = value and SET name TO value.
func (m *model) set(ws words) {
	i := 1
	for slices.Contains([]string{"LOCAL", "SESSION", "GLOBAL"}, ws.upper(i)) || strings.HasPrefix(ws.upper(i), "@") {
		i++
	}
	for ws.upper(i) == "@" || ws.upper(i) == "SESSION" || ws.upper(i) == "." {
		i++
	}
	if i+2 < len(ws) {
		m.settings[strings.ToLower(ws[i].text)] = strings.ToLower(strings.Trim(ws[i+2:].String(), "'\""))
	}
}

// reads are the tables that a view may read: known names among its words.
func (m *model) reads(s subject) []schema.Name {
	var out []schema.Name
	for _, clause := range []string{"FROM", "JOIN", ","} {
		for i, w := range s.words {
			if w.up != clause || i+1 >= len(s.words) {
				continue
			}
			n := schema.Name{Table: s.words[i+1].ident(m.target)}
			if s.words.upper(i+2) == "." && i+3 < len(s.words) {
				n = schema.Name{Schema: n.Table, Table: s.words[i+3].ident(m.target)}
			}
			out = append(out, m.key(n))
		}
	}
	return out
}

func (m *model) readIndex(s subject) *index {
	x := &index{name: s.Index, unique: strings.Contains(s.Verb, "UNIQUE")}
	on := s.words.after("ON")
	in, rest := on.group()
	x.columns, x.plain = columns(in, m.target)
	if x.where = rest.after("WHERE"); x.where != nil {
		x.plain = false
	}
	if x.name == "" {
		x.name = s.Table.Table + "_" + strings.Join(append(slices.Clone(x.columns), "idx"), "_")
	}
	return x
}

// create takes CREATE TABLE apart: what stands in its brackets is what ADD would add.
func (m *model) create(s subject) {
	if len(s.Objects) == 0 {
		return
	}
	name := s.Objects[0]
	t := &table{name: name, known: true, fresh: true, gone: map[string]string{}}
	m.tables[m.key(name)] = t
	if len(s.Tables) > 0 && s.words.has("PARTITION OF") {
		parent := m.make(s.Tables[0])
		parent.fallback = parent.fallback || s.words.find("DEFAULT") > s.words.find("PARTITION OF")
		t.columns, t.indexes = slices.Clone(parent.columns), slices.Clone(parent.indexes)
		return
	}
	t.partitioned = s.words.has("PARTITION BY")
	if i := s.words.find("LIKE"); i > 0 && i+1 < len(s.words) {
		from := m.table(schema.Name{Table: s.words[i+1].ident(m.target)})
		t.columns, t.indexes = slices.Clone(from.columns), slices.Clone(from.indexes)
	}
	for _, k := range elements(s, m.target) {
		m.alter(t, k, s, &Script{})
	}
}

// elements are the parts of a CREATE TABLE as clauses of ALTER TABLE … ADD.
func elements(s subject, t Target) []plan.Clause {
	in, _ := s.words.group()
	var adds []string
	var parts []words
	for _, part := range in.list() {
		if part.upper(0) == "LIKE" || len(part) == 0 {
			continue
		}
		adds, parts = append(adds, "ADD "+part.String()), append(parts, part)
	}
	if len(adds) == 0 || s.words.has("AS SELECT") {
		return nil
	}
	parsed, err := plan.Parse("ALTER TABLE t "+strings.Join(adds, ", "), t.syntax())
	if err != nil {
		return nil
	}
	for i := range parsed.Clauses {
		k := &parsed.Clauses[i]
		if k.Start, k.End = 0, 0; len(parts) == len(parsed.Clauses) {
			k.Start, k.End = parts[i][0].start, parts[i][len(parts[i])-1].end
		}
	}
	return parsed.Clauses
}

// alter is what one clause leaves.
func (m *model) alter(t *table, k plan.Clause, s subject, script *Script) {
	ws := lex(k.Text, m.target.syntax())
	switch k.Action {
	case plan.AddColumn:
		t.columns = append(t.columns, &column{Clause: k, words: ws})
		delete(t.gone, strings.ToLower(k.Column))
		if k.Inline.PrimaryKey || k.Inline.Unique {
			t.indexes = append(t.indexes, &index{name: t.name.Table + "_" + k.Column + "_key", columns: []string{k.Column}, plain: true, unique: true, primary: k.Inline.PrimaryKey})
		}
		if k.References {
			_, cols := referenced(ws, m.target)
			t.foreign = append(t.foreign, &constraint{name: t.name.Table + "_" + k.Column + "_fkey", columns: []string{k.Column}, to: k.Other, toCols: cols, valid: true, tx: s.tx})
		}
		if k.Inline.Check {
			t.checks = append(t.checks, &constraint{columns: idents(ws, m.target), valid: true, words: ws, tx: s.tx})
		}
	case plan.DropColumn:
		t.columns = slices.DeleteFunc(t.columns, func(c *column) bool { return strings.EqualFold(c.Column, k.Column) })
		for _, x := range t.using(k.Column) {
			t.indexes = slices.DeleteFunc(t.indexes, func(y *index) bool { return x == y })
		}
		t.gone[strings.ToLower(k.Column)] = script.File
	case plan.RenameColumn, plan.ChangeColumn:
		if c := t.column(k.Column); c != nil {
			c.Column = k.NewName
			if k.Action == plan.ChangeColumn {
				k.Column = k.NewName
				c.Clause, c.words = k, ws
			}
		}
		if !strings.EqualFold(k.Column, k.NewName) {
			t.gone[strings.ToLower(k.Column)] = script.File
			delete(t.gone, strings.ToLower(k.NewName))
		}
	case plan.AlterType:
		if c := t.column(k.Column); c != nil {
			if c.Type = k.Type; m.target.mysql() {
				c.Clause, c.words = k, ws
			}
		}
	case plan.SetNotNull, plan.DropNotNull:
		if c := t.column(k.Column); c != nil {
			c.Inline.NotNull = k.Action == plan.SetNotNull
		}
	case plan.SetDefault, plan.DropDefault:
		if c := t.column(k.Column); c != nil {
			c.Default = k.Default
		}
	case plan.AddConstraint:
		m.constrain(t, k, ws, s)
	case plan.ValidateConstraint:
		for _, c := range slices.Concat(t.checks, t.foreign) {
			c.valid = c.valid || c.name == k.Name
		}
	case plan.DropConstraint, plan.DropIndex, plan.DropPrimaryKey:
		t.lose(k)
	case plan.AddIndex:
		in, _ := ws.group()
		x := &index{name: k.Index}
		x.columns, x.plain = columns(in, m.target)
		t.indexes = append(t.indexes, x)
	case plan.RenameTable:
		if k.NewName != "" {
			k.Other = schema.Name{Schema: s.Table.Schema, Table: k.NewName}
		}
		m.rename(s.Table, k.Other)
	}
}

// constrain adds a constraint.
func (m *model) constrain(t *table, k plan.Clause, ws words, s subject) {
	in, _ := ws.group()
	c := &constraint{name: k.Name, valid: !k.NotValid && !k.NotEnforced, words: in, tx: s.tx}
	switch k.Constraint {
	case plan.Check:
		c.columns = idents(in, m.target)
		t.checks = append(t.checks, c)
	case plan.NotNull:
		c.columns, c.notNull = []string{k.Column}, true
		t.checks = append(t.checks, c)
	case plan.ForeignKey:
		c.to = k.Other
		c.columns, _ = columns(in, m.target)
		_, c.toCols = referenced(ws, m.target)
		t.foreign = append(t.foreign, c)
	case plan.Unique, plan.PrimaryKey:
		x := &index{name: k.Name, unique: true, primary: k.Constraint == plan.PrimaryKey}
		x.columns, x.plain = columns(in, m.target)
		if was := t.index(k.Index); was != nil && in == nil {
			x.columns, x.plain = was.columns, was.plain
		}
		t.indexes = append(t.indexes, x)
	}
}

// referenced are the columns behind REFERENCES t.
func referenced(ws words, t Target) (words, []string) {
	in, _ := ws.after("REFERENCES").group()
	names, _ := columns(in, t)
	return in, names
}

// idents are the words of an expression that may be columns.
func idents(ws words, t Target) []string {
	var out []string
	for i, w := range ws {
		if (w.kind == plan.TokenWord || w.kind == plan.TokenIdent) && ws.upper(i+1) != "(" {
			out = append(out, w.ident(t))
		}
	}
	return out
}

// lose takes a constraint or an index away.
func (t *table) lose(k plan.Clause) {
	name := k.Name
	if k.Action == plan.DropIndex {
		name = k.Index
	}
	is := func(n string) bool { return strings.EqualFold(n, name) }
	t.indexes = slices.DeleteFunc(t.indexes, func(x *index) bool { return is(x.name) && name != "" || k.Action == plan.DropPrimaryKey && x.primary })
	t.checks = slices.DeleteFunc(t.checks, func(c *constraint) bool { return is(c.name) && name != "" })
	t.foreign = slices.DeleteFunc(t.foreign, func(c *constraint) bool { return is(c.name) && name != "" })
}

func (m *model) rename(from, to schema.Name) {
	if t := m.tables[m.key(from)]; t != nil {
		delete(m.tables, m.key(from))
		t.name = to
		m.tables[m.key(to)] = t
	}
	m.touched[m.key(to)] = true
}

func (m *model) drop(s subject) {
	for _, n := range s.Objects {
		switch s.Kind {
		case "TABLE":
			delete(m.tables, m.key(n))
			m.touched[m.key(n)] = true
		case "VIEW", "MATERIALIZED VIEW":
			delete(m.views, m.key(n))
		case "INDEX":
			for _, t := range m.tables {
				t.indexes = slices.DeleteFunc(t.indexes, func(x *index) bool { return strings.EqualFold(x.name, n.Table) })
			}
		}
	}
}
