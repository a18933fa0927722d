package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// rehearsal is what the planner learned: the source, its empty clone before and after the user's statement.
type rehearsal struct {
	change    string
	statement plan.Statement
	altered   string // the user's statement on the shadow
	source    *Relation
	shadow    *Relation   // after the statement
	create    []string    // what makes the databases and the clone
	steady    bool        // the session's time zone has no hour twice
	replicas  int         // that read the server's binary log
	place     schema.Name // where the shadow stands once it is made

	twins     map[schema.Name]schema.Name // of tables that the source has to do with, and its own; see related
	relatives []string                    // what makes them
	past      []string                    // what the twin has to have gone through
	former    []schema.ForeignKey         // as the old table gets them back
	fresh     []foreignKey                // that the statement adds, with the shadow's columns
	lost      []string                    // foreign keys that it drops
	untold    string                      // why an undo would not see what new foreign keys change
	behind    bool                        // these are added behind the swap, by statements of their own
	brought   []string                    // indexes that new foreign keys bring along
}

func (r *rehearsal) in() string  { return "changeling_" + r.change }
func (r *rehearsal) old() string { return "changeling_" + r.change + "_old" }

func (r *rehearsal) shadowName() schema.Name {
	return schema.Name{Schema: r.in(), Table: r.source.Name.Table}
}

// makeShadow makes the two databases and the empty twin. CREATE TABLE LIKE gives the checks of MySQL other names, and loses
// directories; there the server's own text makes the twin.
func (r *rehearsal) makeShadow() []string {
	defaults := " CHARACTER SET " + r.source.DatabaseCharset + " COLLATE " + r.source.DatabaseCollation
	twin := "CREATE TABLE " + qualified(r.shadowName()) + " LIKE " + qualified(r.source.Name)
	if r.source.checks() && !r.source.Maria || strings.Contains(r.source.Create, "DIRECTORY=") {
		_, rest, _ := strings.Cut(withoutForeign(withoutCounter(r.source.Create)), quote(r.source.Name.Table))
		twin = "CREATE TABLE " + qualified(r.shadowName()) + rest
	}
	return []string{"CREATE DATABASE " + quote(r.in()) + defaults, "CREATE DATABASE " + quote(r.old()) + defaults, twin}
}

// origin is the source's column that a column of the shadow came from, or nil for one that the statement adds. All clauses
// of one statement speak of the columns as they were before it: RENAME a TO b, RENAME b TO a lets them change names.
func (r *rehearsal) origin(name string) *Column {
	gone := map[string]bool{}
	for _, c := range r.statement.Clauses {
		switch c.Action {
		case plan.ChangeColumn, plan.RenameColumn:
			if strings.EqualFold(c.NewName, name) {
				if from := r.source.column(c.Column); from != nil {
					return from
				}
			}
			if !strings.EqualFold(c.NewName, c.Column) {
				gone[strings.ToLower(c.Column)] = true
			}
		case plan.DropColumn:
			gone[strings.ToLower(c.Column)] = true
		}
	}
	if gone[strings.ToLower(name)] {
		return nil
	}
	return r.source.column(name)
}

// target is the shadow's column for a column of the source, or nil if the statement drops it.
func (r *rehearsal) target(name string) *Column {
	for i, c := range r.shadow.Columns {
		if from := r.origin(c.Name); from != nil && strings.EqualFold(from.Name, name) {
			return &r.shadow.Columns[i]
		}
	}
	return nil
}

// pair is how rows go from source to shadow, or why they cannot.
func (r *rehearsal) pair() (schema.Pair, []string) {
	in := func(table string) schema.Name { return schema.Name{Schema: r.in(), Table: table + r.change} }
	p := schema.Pair{
		Change: r.change, Source: r.source.Name, Shadow: r.shadowName(), Old: schema.Name{Schema: r.old(), Table: r.source.Name.Table},
		Log: in("keys_"), Checks: in("checks_"), Alive: in("alive_"), Capture: schema.Name{Schema: r.source.Name.Schema, Table: "changeling_" + r.change},
	}
	refusals := r.unmapped()
	for i, c := range r.shadow.Columns {
		from := r.origin(c.Name)
		switch {
		case c.Generated:
			continue
		case from == nil && c.AutoIncrement:
			refusals = append(refusals, fmt.Sprintf("the statement adds column %s with AUTO_INCREMENT, whose values cannot be carried yet: add it without, fill it, and set AUTO_INCREMENT afterwards", c.Name))
			continue
		case from == nil && !c.Nullable && c.Default == nil:
			refusals = append(refusals, fmt.Sprintf("the statement adds column %s as NOT NULL without a default: give it a DEFAULT, or add it in a statement of its own", c.Name))
			continue
		case from == nil:
			continue // the server fills in the default
		}
		expr, ok := convert(*from, c, r.source.Maria)
		text, known := digestText(*from, c)
		if !ok || !known {
			refusals = append(refusals, fmt.Sprintf("column %s would go from %s to %s, a conversion that cannot be compared yet: run the statement as it is, at a quiet time", c.Name, from.Type, c.Type))
			continue
		}
		// Expr is for comparisons alone, see convert: rows are copied by plain assignment.
		p.Columns = append(p.Columns, schema.Mapped{Shadow: c.Name, Type: c.Type, Source: from.Name, Expr: expr, Digest: numbered(text, i+1),
			Converted: from.Type != c.Type || from.Charset != c.Charset || from.Collation != c.Collation || from.Nullable != c.Nullable})
	}
	if why := r.chooseKey(&p); why != "" {
		refusals = append(refusals, why)
	}
	return p, refusals
}

// unmapped are columns of the shadow that no clause explains: a clause was not understood, and a guess could lose values.
func (r *rehearsal) unmapped() []string {
	several := slices.ContainsFunc(r.statement.Clauses, func(c plan.Clause) bool { return c.Action == plan.AddColumns })
	var out []string
	for _, c := range r.shadow.Columns {
		added := several || slices.ContainsFunc(r.statement.Clauses, func(k plan.Clause) bool {
			return k.Action == plan.AddColumn && strings.EqualFold(k.Column, c.Name)
		})
		if r.origin(c.Name) == nil && !added {
			out = append(out, fmt.Sprintf("column %s comes out of the statement, and changeling does not see where its values come from: write the statement in plain clauses", c.Name))
		}
	}
	for _, c := range r.source.Columns {
		dropped := slices.ContainsFunc(r.statement.Clauses, func(k plan.Clause) bool { return k.Action == plan.DropColumn && strings.EqualFold(k.Column, c.Name) })
		if r.target(c.Name) == nil && !dropped {
			out = append(out, fmt.Sprintf("column %s does not come out of the statement, and changeling does not see why: write the statement in plain clauses", c.Name))
		}
	}
	return out
}

// chooseKey fills in the key: the primary key, else the first unique index over columns that are NOT NULL, that both tables
// have. It returns why there is none.
func (r *rehearsal) chooseKey(p *schema.Pair) string {
	name := p.Source.String()
	var why string
	for _, x := range r.source.Indexes {
		if !r.source.identifies(x) {
			continue
		}
		reason := r.key(p, x)
		if reason == "" {
			return ""
		}
		if why == "" {
			why = reason
		}
	}
	if why == "" {
		why = fmt.Sprintf("table %s has no usable key: a primary key, or a unique index over whole columns that are all NOT NULL and no FLOAT or DOUBLE. "+
			"Repair: ALTER TABLE %s ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, at a quiet time", name, name)
	}
	return why
}

// identifies says that an index finds each row by whole columns that are never NULL.
func (r *Relation) identifies(x Index) bool {
	if !x.Unique || x.Kind != "BTREE" {
		return false
	}
	return !slices.ContainsFunc(x.Keys, func(k IndexKey) bool {
		c := r.column(k.Column)
		return k.Prefix != 0 || k.Expression != "" || c == nil || c.Nullable || c.Generated || c.Data == "float" || c.Data == "double"
	})
}

// key fills in an index as the key, or says why it is none.
func (r *rehearsal) key(p *schema.Pair, x Index) string {
	p.Key, p.Ordered, p.SameKey = nil, true, true
	ops := schema.Operators{Equal: "=", Above: ">", Upto: "<="}
	var names []string
	for i, k := range x.Keys {
		from, to := r.source.column(k.Column), r.target(k.Column)
		if to == nil || to.Generated {
			return fmt.Sprintf("the statement drops or generates column %s of the key %s of %s; a row can then not be found in both tables. "+
				"Keep one key: add the new key in a change of its own first, drop the old one afterwards", k.Column, x.Name, p.Source)
		}
		if from.Name == seq {
			return fmt.Sprintf("the key column %s of %s is called as a column of the engine's own key log: rename it first", from.Name, p.Source)
		}
		if why := walked(*from, i == 0); why != "" {
			return fmt.Sprintf("the key column %s of %s is of type %s, by which rows cannot be walked in order: %s", from.Name, p.Source, from.Type, why)
		}
		if from.Data == "timestamp" && !r.steady {
			return fmt.Sprintf("the key column %s of %s is a TIMESTAMP, and in the connection's time zone an hour of autumn comes twice: connect with time_zone='+00:00'", from.Name, p.Source)
		}
		if from.Type != to.Type || from.Collation != to.Collation {
			if from.kind() != "int" || to.kind() != "int" {
				return fmt.Sprintf("the statement changes the type of the key column %s from %s to %s: a change of the key's own type is not carried yet on MySQL, but for integers", from.Name, from.full(), to.full())
			}
			p.SameKey = false
		}
		p.Key = append(p.Key, schema.Key{Source: from.Name, Shadow: to.Name, Type: from.full(), ShadowType: to.full(), LogType: logged(*from), Ops: ops, ShadowOps: ops})
		names = append(names, to.Name)
	}
	for _, s := range r.shadow.Indexes {
		if r.shadow.identifies(s) && len(s.Keys) == len(names) && sameNames(s, names) {
			return ""
		}
	}
	return fmt.Sprintf("the new table has no unique index over (%s) in this order, all NOT NULL, by which %s finds its rows: keep the key %s in this change, and drop it in one of its own afterwards",
		strings.Join(names, ", "), p.Source, x.Name)
}

// walked says why the values of a key's column cannot be walked in order, or nothing.
func walked(c Column, leads bool) string {
	switch c.kind() {
	case "int", "decimal", "year", "date", "datetime", "timestamp", "time", "text", "bytes", "bit", "uuid":
		return ""
	case "enum":
		// Bounds of an ENUM name every member that is meant, see numbers.
		switch list := members(c.Type); {
		case slices.Contains(list, ""):
			return "one of its members is the empty text, which a value that is none of the members is shown as too"
		case leads && len(list) > 1000:
			return "it leads the key and has more than 1000 members"
		}
		return ""
	case "set":
		switch {
		case leads:
			return "it leads the key, and no index finds a range of sets"
		case len(members(c.Type)) == 64:
			return "it has 64 members, whose numbers are not compared exactly"
		}
		return ""
	}
	return "a key of numbers, times or texts is needed"
}

// logged is the type of a key's column in the key log. MariaDB gives a TIMESTAMP a default and NOT NULL by itself.
func logged(c Column) string {
	if c.Data == "timestamp" {
		return c.full() + " NULL"
	}
	return c.full()
}

func sameNames(x Index, names []string) bool {
	return slices.EqualFunc(x.Keys, names, func(k IndexKey, name string) bool { return strings.EqualFold(k.Column, name) })
}

// later are the indexes of the shadow that are built after the copy: all but the primary key, the one that finds rows, and
// one that AUTO_INCREMENT needs.
func (r *rehearsal) later(p schema.Pair) []Index {
	var names []string
	for _, k := range p.Key {
		names = append(names, k.Shadow)
	}
	keyed, counted := false, true
	for _, c := range r.shadow.Columns {
		counted = counted && !c.AutoIncrement
	}
	counts := func(x Index) bool {
		c := r.shadow.column(x.Keys[0].Column)
		return c != nil && c.AutoIncrement
	}
	var out []Index
	keep := map[string]bool{}
	for _, x := range r.shadow.Indexes {
		if x.Name == "PRIMARY" {
			keep[x.Name] = true
			keyed = keyed || sameNames(x, names)
			counted = counted || counts(x)
		}
	}
	for _, x := range r.shadow.Indexes {
		if !keyed && r.shadow.identifies(x) && sameNames(x, names) {
			keep[x.Name], keyed = true, true
			counted = counted || counts(x)
		}
	}
	for _, x := range r.shadow.Indexes {
		if !counted && counts(x) {
			keep[x.Name], counted = true, true
		}
	}
	for _, x := range r.shadow.Indexes {
		if !keep[x.Name] {
			out = append(out, x)
		}
	}
	return out
}

// strip takes the indexes off the empty shadow that are built later.
func (r *rehearsal) strip(later []Index) []string {
	var drops []string
	for _, x := range later {
		if !slices.Contains(r.brought, x.Name) {
			drops = append(drops, "DROP INDEX "+quote(x.Name))
		}
	}
	if len(drops) == 0 {
		return nil
	}
	return []string{"ALTER TABLE " + qualified(r.shadowName()) + " " + strings.Join(drops, ", ")}
}

// outOfOrder are indexes that stand already, and behind those of the list: they are built once more, because a table's indexes
// are listed in the order in which they were made, and that is part of what a dump shows.
func (r *rehearsal) outOfOrder(list []Index) []Index {
	in := func(x Index) bool { return slices.ContainsFunc(list, func(y Index) bool { return y.Name == x.Name }) }
	var out []Index
	seen := false
	for _, x := range r.shadow.Indexes {
		if in(x) {
			seen = seen || !x.Unique
		} else if seen && !x.Unique && x.Kind == "BTREE" && len(list) > 0 && list[0].Kind == "BTREE" {
			out = append(out, x)
		}
	}
	return out
}

// inOrder sorts indexes as the statement left them.
func (r *rehearsal) inOrder(list []Index) []Index {
	place := func(x Index) int {
		return slices.IndexFunc(r.shadow.Indexes, func(y Index) bool { return y.Name == x.Name })
	}
	slices.SortFunc(list, func(a, b Index) int { return place(a) - place(b) })
	return list
}

// bareAgain makes a finished shadow bare for another copy, after somebody truncated the source. It may run twice: the server
// is asked which of the indexes are there.
func (r *rehearsal) bareAgain(later []Index) []string {
	if len(later) == 0 {
		return nil
	}
	var names []string
	for _, x := range later {
		names = append(names, x.Name)
	}
	n := r.place
	return []string{
		"SET SESSION group_concat_max_len = 1000000",
		"SET @changeling_text = (SELECT CONCAT(" + literal("ALTER TABLE "+qualified(n)+" ") + ", GROUP_CONCAT(DISTINCT 'DROP INDEX `', REPLACE(INDEX_NAME, '`', '``'), '`' SEPARATOR ', ')) FROM information_schema.STATISTICS" +
			" WHERE TABLE_SCHEMA = " + literal(n.Schema) + " AND TABLE_NAME = " + literal(n.Table) + " AND INDEX_NAME IN (" + literals(names) + "))",
		"SET @changeling_text = COALESCE(@changeling_text, 'DO 0')",
		"PREPARE changeling_bare FROM @changeling_text", "EXECUTE changeling_bare", "DEALLOCATE PREPARE changeling_bare",
	}
}

// standing says what attached replicas do while an index is built.
func (r *rehearsal) standing() string {
	switch r.replicas {
	case 0:
		return ""
	case 1:
		return "; 1 replica is attached: it builds the index in its turn, and applies nothing else for as long as that takes"
	}
	return fmt.Sprintf("; %d replicas are attached: each builds the index in its turn, and applies nothing else for as long as that takes", r.replicas)
}

// builds are the steps that make indexes: the ordinary ones in one statement, which reads the rows once, each FULLTEXT one in
// a statement of its own, as the server demands.
func (r *rehearsal) builds(later []Index) []plan.Step {
	var out []plan.Step
	step := func(name string, list ...Index) {
		var adds, names []string
		for _, x := range r.outOfOrder(list) {
			adds, list = append(adds, "DROP INDEX "+quote(x.Name)), r.inOrder(append(list, x))
		}
		for _, x := range list {
			adds, names = append(adds, "ADD "+x.Def), append(names, x.Name)
		}
		table := r.place
		out = append(out, plan.Step{Kind: plan.Build, Name: name, SQL: []string{"ALTER TABLE " + qualified(table) + " " + strings.Join(adds, ", ")},
			Done: fmt.Sprintf("SELECT COUNT(DISTINCT INDEX_NAME) = %d FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND INDEX_NAME IN (%s)",
				len(names), literal(table.Schema), literal(table.Table), literals(names)),
			Why: "built in bulk on the shadow, which nobody else writes to" + r.standing()})
	}
	var plain, others []Index
	for _, x := range later {
		if x.Kind == "FULLTEXT" || x.Kind == "VECTOR" {
			others = append(others, x)
		} else {
			plain = append(plain, x)
		}
	}
	if len(plain) > 0 {
		step("build indexes", plain...)
	}
	for _, x := range others {
		step("build "+x.Name, x)
	}
	return out
}
