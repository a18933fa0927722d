package postgres

import (
	"fmt"
	"sort"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
)

// twins names the empty stand-ins that a clone's foreign keys are tied to, so that neither a rehearsal nor the making
// of a shadow locks another user's table: LIKE takes ACCESS SHARE, a foreign key SHARE ROW EXCLUSIVE.
type twins map[uint32]string

// cloneSQL makes an empty copy of r in another schema, under the same names for everything: table, indexes, constraints,
// sequences, statistics. It is made from definitions, because LIKE renames indexes and exclusion constraints and loses
// storage parameters, statistics targets and the table's comment.
//
// The returned twins stand for the tables at the other end of foreign keys.
func cloneSQL(r *Relation, in string) ([]string, twins) {
	table := ident.Qualified(in, r.Name)
	out := []string{createTable(r, in)}
	out = append(out, revokeDefaults("TABLE", table, r.Grants, r.Owner)...)
	for _, c := range r.Columns {
		out = append(out, columnSettings(table, c)...)
	}
	for _, q := range r.Sequences {
		if q.Internal {
			name := ident.Qualified(in, q.Name)
			out = append(out, revokeDefaults("SEQUENCE", name, q.Grants, r.Owner)...)
			out = append(out, grants("SEQUENCE", name, "", q.Grants, r.Owner)...)
			out = append(out, comment("SEQUENCE "+name, q.Comment)...)
		}
	}
	out = append(out, grants("TABLE", table, "", r.Grants, r.Owner)...)
	for _, c := range r.Columns {
		out = append(out, grants("TABLE", table, c.Name, c.Grants, r.Owner)...)
		out = append(out, comment("COLUMN "+table+"."+ident.Quote(c.Name), c.Comment)...)
	}
	out = append(out, comment("TABLE "+table, r.Comment)...)
	for _, x := range r.Indexes {
		if k := r.backing(x.OID); k == nil || !inline(*k) {
			out = append(out, createIndex(x, table))
		}
	}
	for _, k := range constraintsInOrder(r) {
		if k.Type != "f" {
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
	if r.Access != "" {
		b.WriteString(" USING " + ident.Quote(r.Access))
	}
	var options []string
	for _, o := range r.Options {
		options = append(options, option(o, ""))
	}
	for _, o := range r.ToastOptions {
		options = append(options, option(o, "toast."))
	}
	if len(options) > 0 {
		b.WriteString(" WITH (" + strings.Join(options, ", ") + ")")
	}
	if r.Tablespace != "" {
		b.WriteString(" TABLESPACE " + ident.Quote(r.Tablespace))
	}
	return b.String()
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
	def := strings.TrimPrefix(x.Def, x.Head)
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

// cutWhere splits an index definition at its predicate. The predicate is the part behind the first WHERE that stands
// outside parentheses and quotes.
func cutWhere(def string, partial bool) (head, where string, found bool) {
	if !partial {
		return def, "", false
	}
	depth, quote := 0, byte(0)
	for i := 0; i < len(def); i++ {
		switch c := def[i]; {
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
		case depth == 0 && strings.HasPrefix(def[i:], " WHERE "):
			return def[:i], def[i+len(" WHERE "):], true
		}
	}
	return def, "", false
}

// inline says that a constraint cannot be made from an index that is there already.
func inline(k Constraint) bool { return k.Type == "x" || k.Period }

func addConstraint(r *Relation, k Constraint, table string) string {
	add := "ALTER TABLE ONLY " + table + " ADD CONSTRAINT " + ident.Quote(k.Name) + " "
	if (k.Type == "p" || k.Type == "u") && !inline(k) {
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
	return add + k.Def
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
	def := strings.TrimSuffix(strings.TrimPrefix(s.Def, s.Head), s.Tail)
	out := []string{"CREATE STATISTICS " + name + def + "FROM " + table}
	if s.Target != nil {
		out = append(out, fmt.Sprintf("ALTER STATISTICS %s SET STATISTICS %d", name, *s.Target))
	}
	return append(out, comment("STATISTICS "+name, s.Comment)...)
}

// foreignKeyTwins ties the clone's foreign keys, in and out, to empty twins, so that the user's ALTER meets them as it
// would on the real table: dropping a referenced column fails, a type that cannot be compared fails, and so on.
func foreignKeyTwins(r *Relation, in string) (twins, []string) {
	made := twins{}
	var out []string
	twin := func(oid uint32, schemaName, name string) string {
		if oid == r.OID {
			return ident.Qualified(in, r.Name)
		}
		if _, ok := made[oid]; !ok {
			made[oid] = fmt.Sprintf("twin_%d", oid)
			out = append(out, fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING INDEXES INCLUDING GENERATED)",
				ident.Qualified(in, made[oid]), ident.Qualified(schemaName, name)))
		}
		return ident.Qualified(in, made[oid])
	}
	for _, k := range append(append([]Constraint{}, r.Constraints...), r.References...) {
		if k.Type != "f" || k.Inherited {
			continue
		}
		from := twin(k.TableOID, k.Schema, k.Table)
		to := twin(k.ToOID, k.ToSchema, k.ToTable)
		out = append(out, "ALTER TABLE "+from+" ADD CONSTRAINT "+ident.Quote(k.Name)+" "+pointTo(k.Def, to))
	}
	return made, out
}

// pointTo is a foreign key's definition with another table behind REFERENCES.
func pointTo(def, table string) string {
	const word = " REFERENCES "
	start := strings.Index(def, ") "+strings.TrimSpace(word)+" ")
	if start < 0 {
		return def
	}
	start += len(") REFERENCES ")
	quoted := false
	for i := start; i < len(def); i++ {
		switch {
		case def[i] == '"':
			quoted = !quoted
		case def[i] == '(' && !quoted:
			return def[:start] + table + def[i:]
		}
	}
	return def
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

// revokeDefaults takes away what ALTER DEFAULT PRIVILEGES gave to a table made a moment ago, so that only what is granted
// afterwards is there.
func revokeDefaults(kind, name string, _ []Grant, owner string) []string {
	return []string{fmt.Sprintf(`DO $changeling$ DECLARE g record; BEGIN
  FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END AS who
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = %s::pg_catalog.regclass AND a.grantee <> c.relowner LOOP
    EXECUTE 'REVOKE ALL ON %s %s FROM ' || g.who;
  END LOOP; END $changeling$`, ident.Literal(name), kind, strings.ReplaceAll(name, "'", "''"))}
}

// grants repeats an access list. A list that is null means the owner's defaults, which a new table has anyway.
// Privileges that somebody else than the owner granted are granted in that role's name.
func grants(kind, name, column string, list []Grant, owner string) []string {
	if list == nil {
		return nil
	}
	var out []string
	if column == "" {
		out = append(out, fmt.Sprintf("REVOKE ALL ON %s %s FROM %s", kind, name, ident.Quote(owner)))
	}
	for _, g := range list {
		what := g.Privilege
		if column != "" {
			what += " (" + ident.Quote(column) + ")"
		}
		to := "PUBLIC"
		if g.Grantee != "" {
			to = ident.Quote(g.Grantee)
		}
		sql := fmt.Sprintf("GRANT %s ON %s %s TO %s", what, kind, name, to)
		if g.Option {
			sql += " WITH GRANT OPTION"
		}
		if g.Grantor != owner {
			out = append(out, "SET LOCAL ROLE "+ident.Quote(g.Grantor), sql, "SET LOCAL ROLE "+ident.Quote(owner))
			continue
		}
		out = append(out, sql)
	}
	return out
}
