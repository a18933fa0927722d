package postgres

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/changeling-db/changeling/internal/ident"
)

// twins names the empty stand-ins that a clone's foreign keys are tied to, so that neither a rehearsal nor the making
// of a shadow locks another user's table: a foreign key takes SHARE ROW EXCLUSIVE.
type twins map[uint32]string

// cloneSQL makes an empty copy of r in another schema, under the same names for everything: table, indexes, constraints,
// sequences, statistics. It is made from definitions, because LIKE renames indexes and exclusion constraints and loses
// storage parameters, statistics targets and the table's comment.
//
// The returned twins stand for the tables at the other end of foreign keys.
func cloneSQL(r *Relation, in string) ([]string, twins) {
	table := ident.Qualified(in, r.Name)
	out := []string{createTable(r, in)}
	out = append(out, revokeDefaults("TABLE", table))
	out = append(out, arrayType(r, in)...)
	for _, c := range r.Columns {
		out = append(out, columnSettings(table, c)...)
	}
	out = append(out, grantors(r, in)...)
	for _, q := range r.Sequences {
		if q.Internal {
			name := ident.Qualified(in, q.Name)
			if r.Version >= 150000 && q.Unlogged != (r.Persistence == "u") {
				out = append(out, persistence(name, q.Unlogged))
			}
			out = append(out, revokeDefaults("SEQUENCE", name))
			out = append(out, grants("SEQUENCE", name, "", q.Grants, r.Owner)...)
			out = append(out, comment("SEQUENCE "+name, q.Comment)...)
		}
	}
	out = append(out, tableGrants(r, table)...)
	for _, c := range r.Columns {
		out = append(out, grants("TABLE", table, c.Name, c.Grants, r.Owner)...)
		out = append(out, comment("COLUMN "+table+"."+ident.Quote(c.Name), c.Comment)...)
		if c.NotNullName != "" {
			out = append(out, comment("CONSTRAINT "+ident.Quote(c.NotNullName)+" ON "+table, c.NotNullNote)...)
		}
	}
	out = append(out, comment("TABLE "+table, r.Comment)...)
	for _, x := range r.Indexes {
		if k := r.backing(x.OID); k == nil || !inline(*k) && r.Kind != "p" {
			out = append(out, createIndex(x, table))
		}
	}
	for _, k := range constraintsInOrder(r) {
		if k.Type != "f" && k.Type != "t" {
			out = append(out, addConstraint(r, k, table))
		}
	}
	for _, x := range r.Indexes {
		out = append(out, indexSettings(x, in, table, r.Identity)...)
	}
	if r.Identity == "f" || r.Identity == "n" {
		out = append(out, replicaIdentity(table, r.Identity))
	}
	for _, s := range r.Statistics {
		out = append(out, statistics(s, in, table)...)
	}
	made, keys := foreignKeyTwins(r, in)
	out = append(out, keys...)
	out = append(out, makeTriggers(r.triggers(), table)...)
	out = append(out, rowSecurity(r, table)...)
	for _, k := range r.Constraints {
		if k.Type != "t" {
			out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+table, k.Comment)...)
		}
	}
	for _, x := range r.Indexes {
		out = append(out, comment("INDEX "+ident.Qualified(in, x.Name), x.Comment)...)
	}
	return out, made
}

func createTable(r *Relation, in string) string {
	var b strings.Builder
	b.WriteString("CREATE ")
	if r.Persistence == "u" {
		b.WriteString("UNLOGGED ")
	}
	fmt.Fprintf(&b, "TABLE %s (", ident.Qualified(in, r.Name))
	for i, c := range r.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(columnDef(r, c, in))
	}
	b.WriteString(")")
	if r.Partition != "" {
		b.WriteString(" PARTITION BY " + r.Partition)
	}
	if r.Access != "" {
		b.WriteString(" USING " + ident.Quote(r.Access))
	}
	b.WriteString(withOptions(r))
	if r.Tablespace != "" {
		b.WriteString(" TABLESPACE " + ident.Quote(r.Tablespace))
	}
	return b.String()
}

// withOptions are the storage parameters of a new table like r.
func withOptions(r *Relation) string {
	var options []string
	for _, o := range r.Options {
		options = append(options, option(o, ""))
	}
	for _, o := range r.ToastOptions {
		options = append(options, option(o, "toast."))
	}
	if len(options) == 0 {
		return ""
	}
	return " WITH (" + strings.Join(options, ", ") + ")"
}

// option is a storage parameter as the catalogue has it (name=value), as a statement takes it.
func option(o, prefix string) string {
	name, value, _ := strings.Cut(o, "=")
	return prefix + ident.Quote(name) + "=" + ident.Literal(value)
}

func columnDef(r *Relation, c Column, in string) string {
	var b strings.Builder
	b.WriteString(ident.Quote(c.Name) + " " + c.Type)
	if c.Compression != "" {
		b.WriteString(" COMPRESSION " + c.Compression)
	}
	if c.Collation != "" {
		b.WriteString(" COLLATE " + c.Collation)
	}
	switch {
	case c.notNullPending(): // see columnSettings
	case c.NotNullDef != "":
		b.WriteString(" CONSTRAINT " + ident.Quote(c.NotNullName) + " NOT NULL")
		if strings.HasSuffix(c.NotNullDef, "NO INHERIT") {
			b.WriteString(" NO INHERIT")
		}
	case c.NotNull:
		b.WriteString(" NOT NULL")
	}
	switch {
	case c.Generated == "s":
		b.WriteString(" GENERATED ALWAYS AS (" + *c.Default + ") STORED")
	case c.Generated == "v":
		b.WriteString(" GENERATED ALWAYS AS (" + *c.Default + ") VIRTUAL")
	case c.Identity != "":
		b.WriteString(identity(r, c, in))
	case c.Default != nil:
		b.WriteString(" DEFAULT " + *c.Default)
	}
	return b.String()
}

func identity(r *Relation, c Column, in string) string {
	how := "ALWAYS"
	if c.Identity == "d" {
		how = "BY DEFAULT"
	}
	for _, q := range r.Sequences {
		if !q.Internal || q.Column != c.Name {
			continue
		}
		cycle := "NO CYCLE"
		if q.Cycle {
			cycle = "CYCLE"
		}
		return fmt.Sprintf(" GENERATED %s AS IDENTITY (SEQUENCE NAME %s START %d INCREMENT %d MINVALUE %d MAXVALUE %d CACHE %d %s)",
			how, ident.Qualified(in, q.Name), q.Start, q.Increment, q.Min, q.Max, q.Cache, cycle)
	}
	return " GENERATED " + how + " AS IDENTITY"
}

func columnSettings(table string, c Column) []string {
	var out []string
	alter := "ALTER TABLE ONLY " + table + " ALTER COLUMN " + ident.Quote(c.Name) + " "
	if c.notNullPending() {
		out = append(out, "ALTER TABLE ONLY "+table+" ADD CONSTRAINT "+ident.Quote(c.NotNullName)+" "+c.NotNullDef)
	}
	if c.Storage != "" {
		out = append(out, alter+"SET STORAGE "+c.Storage)
	}
	if c.Target != nil {
		out = append(out, fmt.Sprintf("%sSET STATISTICS %d", alter, *c.Target))
	}
	for _, o := range c.Options {
		out = append(out, alter+"SET ("+option(o, "")+")")
	}
	return out
}

// createIndex is the index's own definition, made on another table.
func createIndex(x Index, table string) string {
	def := x.Def[outside(x.Def, " USING "):] // behind CREATE INDEX … ON …, which every definition has
	unique := ""
	if x.Unique {
		unique = "UNIQUE "
	}
	sql := "CREATE " + unique + "INDEX " + ident.Quote(x.Name) + " ON " + table + def
	if x.Tablespace != "" {
		// The catalogue's text leaves the tablespace out; it stands before WHERE.
		head, where, partial := cutWhere(sql, x.Partial)
		sql = head + " TABLESPACE " + ident.Quote(x.Tablespace)
		if partial {
			sql += " WHERE " + where
		}
	}
	return sql
}

// cutWhere splits an index definition at its predicate.
func cutWhere(def string, partial bool) (head, where string, found bool) {
	const word = " WHERE "
	if at := outside(def, word); partial && at < len(def) {
		return def[:at], def[at+len(word):], true
	}
	return def, "", false
}

// outside is where a word first stands in a text of the server's outside parentheses and quotes, or the end of the text.
// The server doubles quotes in quotes, and backslashes in E”.
func outside(text, word string) int { return find(text, word, false) }

// lastOutside is outside for the last one.
func lastOutside(text, word string) int { return find(text, word, true) }

func find(text, word string, last bool) int {
	depth, quote, at := 0, byte(0), len(text)
	for i := 0; i < len(text); i++ {
		// The word is looked for first: it may begin with what changes the depth.
		if depth == 0 && quote == 0 && strings.HasPrefix(text[i:], word) {
			if at = i; !last {
				return at
			}
		}
		switch c := text[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		}
	}
	return at
}

// inline says that a constraint cannot be made from an index that is there already.
func inline(k Constraint) bool { return k.Type == "x" || k.Period }

func addConstraint(r *Relation, k Constraint, table string) string {
	add := "ALTER TABLE ONLY " + table + " ADD CONSTRAINT " + ident.Quote(k.Name) + " "
	if (k.Type == "p" || k.Type == "u") && !inline(k) && r.Kind != "p" { // of a partitioned table, a key makes its index
		kind := "UNIQUE"
		if k.Type == "p" {
			kind = "PRIMARY KEY"
		}
		// A constraint and its index have one name.
		add += kind + " USING INDEX " + ident.Quote(r.index(k.Index).Name)
		if k.Deferable {
			add += " DEFERRABLE"
		}
		if k.Deferred {
			add += " INITIALLY DEFERRED"
		}
		return add
	}
	if k.Index != 0 && (inline(k) || r.Kind == "p") && k.Type != "f" {
		return add + inlineDef(k, *r.index(k.Index))
	}
	return add + k.Def
}

// inlineDef is the definition of a constraint that makes its own index. The catalogue's text leaves out where the index is,
// and of a key its storage parameters too.
func inlineDef(k Constraint, x Index) string {
	var more string
	if k.Type != "x" && len(x.Parameters) > 0 {
		var list []string
		for _, o := range x.Parameters {
			list = append(list, option(o, ""))
		}
		more = " WITH (" + strings.Join(list, ", ") + ")"
	}
	if x.Tablespace != "" {
		more += " USING INDEX TABLESPACE " + ident.Quote(x.Tablespace)
	}
	at := min(outside(k.Def, " WHERE "), outside(k.Def, " DEFERRABLE"))
	return k.Def[:at] + more + k.Def[at:]
}

func indexSettings(x Index, in, table, identity string) []string {
	var out []string
	name := ident.Qualified(in, x.Name)
	nums := make([]int, 0, len(x.Targets))
	for n := range x.Targets {
		nums = append(nums, n)
	}
	sort.Ints(nums)
	for _, n := range nums {
		out = append(out, fmt.Sprintf("ALTER INDEX %s ALTER COLUMN %d SET STATISTICS %d", name, n, x.Targets[n]))
	}
	if x.Clustered {
		out = append(out, "ALTER TABLE "+table+" CLUSTER ON "+ident.Quote(x.Name))
	}
	if x.Replica && identity == "i" {
		out = append(out, "ALTER TABLE "+table+" REPLICA IDENTITY USING INDEX "+ident.Quote(x.Name))
	}
	return out
}

func replicaIdentity(table, kind string) string {
	return "ALTER TABLE " + table + " REPLICA IDENTITY " + map[string]string{"f": "FULL", "n": "NOTHING", "d": "DEFAULT"}[kind]
}

func statistics(s Statistics, in, table string) []string {
	name := ident.Qualified(in, s.Name)
	const create = "CREATE STATISTICS "
	def := s.Def[len(create):]
	def = def[outside(def, " "):lastOutside(def, " FROM ")] // behind the name, before the table
	out := []string{create + name + def + " FROM " + table}
	if s.Target != nil {
		out = append(out, fmt.Sprintf("ALTER STATISTICS %s SET STATISTICS %d", name, *s.Target))
	}
	return append(out, comment("STATISTICS "+name, s.Comment)...)
}

// foreignKeyTwins ties the clone's foreign keys, in and out, to empty twins, so that the user's ALTER meets them as it
// would on the real table: dropping a referenced column fails, a type that cannot be compared fails, and so on.
// A twin has the columns of the keys alone: LIKE would need the right to read the table.
func foreignKeyTwins(r *Relation, in string) (twins, []string) {
	made := twins{}
	type table struct {
		unlogged      bool
		names, inside []string
	}
	tables := map[uint32]*table{}
	var order []uint32
	// end notes one end of a key and answers the table that stands for it.
	end := func(oid uint32, unlogged bool, columns, types []string) (*table, string) {
		if oid == r.OID {
			return &table{}, ident.Qualified(in, r.Name)
		}
		t := tables[oid]
		if t == nil {
			t = &table{unlogged: unlogged}
			tables[oid], made[oid] = t, fmt.Sprintf("twin_%d", oid)
			order = append(order, oid)
		}
		for i, c := range columns {
			if !slices.Contains(t.names, c) {
				t.names = append(t.names, c)
				t.inside = append(t.inside, ident.Quote(c)+" "+types[i])
			}
		}
		return t, ident.Qualified(in, made[oid])
	}
	var keys, comments []string
	for _, k := range append(append([]Constraint{}, r.Constraints...), r.References...) {
		if k.Type != "f" || k.Inherited {
			continue
		}
		_, from := end(k.TableOID, k.Unlogged, k.From, k.Types)
		parent, to := end(k.ToOID, !k.ToLogged, k.Refers, k.ToTypes)
		unique := "UNIQUE (" + ident.List(k.Refers)
		if k.Period {
			unique += " WITHOUT OVERLAPS"
		}
		if unique += ")"; !slices.Contains(parent.inside, unique) {
			parent.inside = append(parent.inside, unique)
		}
		keys = append(keys, "ALTER TABLE "+from+" ADD CONSTRAINT "+ident.Quote(k.Name)+" "+pointTo(k.Def, to))
		comments = append(comments, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+from, k.Comment)...)
	}
	var out []string
	for _, oid := range order {
		unlogged := ""
		if tables[oid].unlogged {
			unlogged = "UNLOGGED "
		}
		out = append(out, "CREATE "+unlogged+"TABLE "+ident.Qualified(in, made[oid])+" ("+strings.Join(tables[oid].inside, ", ")+")")
	}
	return made, slices.Concat(out, keys, comments)
}

// pointTo is a foreign key's definition with another table behind REFERENCES.
func pointTo(def, table string) string {
	const word = " REFERENCES "
	start := outside(def, word)
	if start == len(def) {
		return def
	}
	start += len(word)
	return def[:start] + table + def[start+outside(def[start:], "("):]
}

func comment(on string, text *string) []string {
	if text == nil {
		return nil
	}
	return []string{"COMMENT ON " + on + " IS " + ident.Literal(*text)}
}

// constraintsInOrder puts keys before what may lean on them.
func constraintsInOrder(r *Relation) []Constraint {
	out := append([]Constraint{}, r.Constraints...)
	rank := map[string]int{"p": 0, "u": 1, "x": 2, "c": 3, "f": 4, "t": 5}
	sort.SliceStable(out, func(i, j int) bool { return rank[out[i].Type] < rank[out[j].Type] })
	return out
}

// arrayType gives the type of arrays of rows the name that the source's has. It differs from the usual one where another
// type had that name: the server finds a free one, and also moves an array type out of the way of a new type of its name.
func arrayType(r *Relation, in string) []string {
	var out []string
	for name := clip("_" + r.Name); name != r.ArrayType && len(out) < 20 && strings.HasPrefix(r.ArrayType, "_"); name = clip("_" + name) {
		out = append(out, "CREATE TYPE "+ident.Qualified(in, name)+" AS ()", "DROP TYPE "+ident.Qualified(in, name))
	}
	return out
}

// clip cuts a name to the 63 bytes that the server keeps, at the boundary of a character.
func clip(name string) string {
	for len(name) > 63 {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

func persistence(sequence string, unlogged bool) string {
	if unlogged {
		return "ALTER SEQUENCE " + sequence + " SET UNLOGGED"
	}
	return "ALTER SEQUENCE " + sequence + " SET LOGGED"
}
