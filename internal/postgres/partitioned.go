package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Partitioning says how a plain table is to be partitioned. Its shadow is the partitioned table: partitions stand in the change's schema under their
// names, and go to the table's own with the swap.
type Partitioning struct {
	Table schema.Name
	By    string // as behind PARTITION BY: range (created_at)
	Parts []Part
	// Attach is the partition that the table itself becomes; no name: its rows go to the Parts.
	Attach Part
	None   bool          // the other way: a partitioned table becomes a plain one
	From   []schema.Name // the partitions that it has, of a table that is partitioned already

	each     []string    // what a table that keeps its partitions, and each of these, gets: clauses of ALTER TABLE
	bound    string      // of Attach, as a condition
	columns  []string    // of the table, that By names
	children []child     // the indexes of partitions, once they were rehearsed
	leaves   []*Relation // From, inspected, of a table that keeps its partitions
}

// Part is a partition: its name, not quoted, and its bound, FOR VALUES … or DEFAULT.
type Part struct{ Name, Bound string }

// child is an index of a partition, and that of the whole table which it belongs to.
type child struct{ part, name, parent string }

// MostParts is how many partitions a table can be given at once: for each of them, and its indexes, the swap writes to the catalogue under its lock.
const MostParts = 200

// parts says that the shadow has partitions.
func (b *Partitioning) parts() bool { return b != nil && !b.None }

// makes says that the change is to make these partitions, and keeps that the source has them as well.
func (b *Partitioning) makes() bool { return b.parts() && len(b.leaves) == 0 }
func (b *Partitioning) keeps() bool { return b.parts() && len(b.leaves) > 0 }

// said is the change for a person, and the same for the same wish.
func (b Partitioning) said() string {
	if b.None {
		return "ALTER TABLE " + qualified(b.Table) + " REMOVE PARTITIONING"
	}
	var parts []string
	if b.Attach.Name != "" {
		parts = append(parts, "ATTACH "+ident.Quote(b.Attach.Name)+" "+b.Attach.Bound)
	}
	for _, p := range b.Parts {
		parts = append(parts, ident.Quote(p.Name)+" "+p.Bound)
	}
	return "ALTER TABLE " + qualified(b.Table) + " PARTITION BY " + b.By + " (" + strings.Join(parts, ", ") + ")"
}

// whole is the partitioned table that takes the place of a plain one. Its storage parameters are those of its partitions.
func (b Partitioning) whole(source *Relation) *Relation {
	out := *source
	out.Kind, out.Partition, out.Access, out.Options, out.ToastOptions, out.together = "p", b.By, "", nil, nil, true
	return &out
}

// make are the statements that make the partitions. What the source's columns have is inherited, but for what concerns statistics.
func (b Partitioning) make(source *Relation, in string) (out []string) {
	for _, p := range b.Parts {
		name := ident.Qualified(in, p.Name)
		out = append(out, "CREATE TABLE "+name+" PARTITION OF "+ident.Qualified(in, source.Name)+" "+p.Bound+withOptions(source))
		for _, c := range source.Columns {
			out = append(out, columnSettings(name, c)...)
		}
		if source.Identity == "f" || source.Identity == "n" {
			out = append(out, replicaIdentity(name, source.Identity))
		}
	}
	return out
}

// heapOptions are the storage parameters of what has the rows, in the order of heaps.
func (r *rehearsal) heapOptions(i int) []string {
	switch {
	case r.by.keeps():
		return r.parts[i].after.Options
	case r.by.parts():
		return r.source.Options
	}
	return r.shadow.Options
}

// nameParts gives the indexes that the server makes on partitions along with one of the whole table the names that they got at the rehearsal. There
// names were taken that something else has in the table's schema, where they go with the swap.
func (r *rehearsal) nameParts(parent string) []string {
	if !r.by.makes() {
		return nil
	}
	return r.rename(parent)
}

// rename gives them these names.
func (r *rehearsal) rename(parent string) []string {
	var values []string
	for _, c := range r.by.children {
		if c.parent == parent {
			values = append(values, "("+ident.Literal(c.part)+", "+ident.Literal(c.name)+")")
		}
	}
	return []string{"DO " + ident.Dollar(` DECLARE x record; BEGIN
  FOR x IN SELECT c.oid::pg_catalog.regclass AS index, w.name FROM (VALUES `+strings.Join(values, ", ")+`) w(part, name)
    JOIN pg_catalog.pg_class t ON t.relname = w.part AND t.relnamespace = `+ident.Literal(ident.Quote(r.in()))+`::pg_catalog.regnamespace
    JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid AND h.inhparent = `+ident.Literal(ident.Qualified(r.in(), parent))+`::pg_catalog.regclass WHERE c.relname <> w.name LOOP
    EXECUTE pg_catalog.format('ALTER INDEX %s RENAME TO %I', x.index, x.name);
  END LOOP; END `)}
}

// Partition plans a partitioned table that takes the place of a plain one. It changes nothing. Errors carry a fault.Kind. A plan that refuses has
// its statement, too.
func Partition(ctx context.Context, db *sql.DB, b Partitioning, o Options) (*plan.Plan, error) {
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: b.said(), Table: b.Table, Effect: string(Rewrites)}
	s, err := plan.Parse("ALTER TABLE "+qualified(b.Table), plan.PostgresSyntax())
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: err.Error() + ". Nothing was changed", Err: err}
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // a rehearsal leaves nothing behind, however it ends
	w := &planner{tx: tx, statement: s, options: o, plan: p, others: map[schema.Name]*Relation{}, by: &b}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	source, err := w.altered(ctx)
	if err != nil {
		return nil, err
	}
	if b.None {
		return w.unpartition(ctx, source)
	}
	refusals, err := w.refusals(ctx, source)
	if err != nil {
		return nil, err
	}
	if refusals = append(refusals, append(unpartitionable(source), b.unhung(source)...)...); source.Kind == "p" {
		refusals = []string{fmt.Sprintf("%s is partitioned already, by %s: partitions are added and taken away with ALTER TABLE … ATTACH PARTITION and DETACH PARTITION, which `changeling run` does without a long lock", b.Table, source.Partition)}
	}
	if len(refusals) > 0 {
		return refuse(p, refusals...), nil
	}
	if err := w.probe(ctx, source); err != nil {
		return nil, err
	}
	if b.Attach.Name != "" {
		return w.attaching(ctx, source)
	}
	if why := b.keyless(source); len(why) > 0 {
		return refuse(p, why...), nil
	}
	r, err := w.rehearse(ctx, source)
	if err != nil {
		return nil, err
	}
	if err := w.learn(ctx, r); err != nil {
		return nil, err
	}
	if _, err := w.shadowTable(ctx, r); err != nil {
		return nil, err
	}
	if p.Route == plan.ShadowTable {
		p.Why = "the rows go to a second table, which is partitioned and takes this one's place: the server itself cannot partition a table that has rows"
		p.LookFirst()
	}
	return p, nil
}

// unpartitionable says what a plain table has that a partitioned one cannot have, or not in the same way.
func unpartitionable(r *Relation) (out []string) {
	name := qualified(schema.Name{Schema: r.Schema, Table: r.Name})
	alter := "ALTER TABLE " + name + " "
	if r.Persistence == "u" {
		out = append(out, r.Name+" is unlogged, which a partitioned table cannot be: "+alter+"SET LOGGED first")
	}
	if r.Identity == "i" {
		out = append(out, r.Name+" has an index as its replica identity, and each partition would need one of its own: "+alter+"REPLICA IDENTITY DEFAULT or FULL first")
	}
	for _, c := range r.Columns {
		if c.Identity != "" && r.Version < 170000 {
			out = append(out, fmt.Sprintf("column %s is an identity, which a partitioned table can have from PostgreSQL 17 on: give it a sequence of its own first, "+
				"%sALTER COLUMN %s DROP IDENTITY, then CREATE SEQUENCE … OWNED BY %s.%s, setval to what comes behind the last value, and %sALTER COLUMN %s SET DEFAULT nextval(…)",
				c.Name, alter, ident.Quote(c.Name), name, ident.Quote(c.Name), alter, ident.Quote(c.Name)))
		}
		if c.notNullPending() || strings.HasSuffix(c.NotNullDef, "NO INHERIT") {
			out = append(out, fmt.Sprintf("NOT NULL of column %s is NOT VALID, or NO INHERIT, and cannot be so on partitions: VALIDATE it, or drop NO INHERIT, first", c.Name))
		}
	}
	for _, x := range r.Indexes {
		if x.Clustered {
			out = append(out, fmt.Sprintf("the table is marked to be clustered by index %s, which a partitioned table cannot be: %sSET WITHOUT CLUSTER first", x.Name, alter))
		}
	}
	for _, k := range r.Constraints {
		switch {
		case k.Type == "f" && k.ToOID == r.OID:
			out = append(out, fmt.Sprintf("foreign key %s refers to the table itself: it cannot be carried to partitions yet", k.Name))
		case k.Type == "f" && !k.Validated:
			out = append(out, fmt.Sprintf("foreign key %s is not valid, or not enforced: %sVALIDATE CONSTRAINT %s first", k.Name, alter, ident.Quote(k.Name)))
		case k.Type == "c" && strings.Contains(k.Def, ") NO INHERIT"):
			out = append(out, fmt.Sprintf("check %s is NO INHERIT, and would hold for no partition", k.Name))
		case k.Type == "x" && r.Version < 170000:
			out = append(out, fmt.Sprintf("exclusion constraint %s: a partitioned table can have one from PostgreSQL 17 on", k.Name))
		}
	}
	return out
}

// probe asks the server what the table would be partitioned by, and whether the partitions' names are free.
func (w *planner) probe(ctx context.Context, source *Relation) error {
	bare := w.by.whole(source)
	bare.Columns = slices.Clone(source.Columns)
	for i := range bare.Columns {
		bare.Columns[i].Identity, bare.Columns[i].Default, bare.Columns[i].NotNullDef = "", nil, ""
		if source.Columns[i].Generated != "" {
			bare.Columns[i].Default = source.Columns[i].Default
		}
	}
	if _, err := w.tx.ExecContext(ctx, "SAVEPOINT probe"); err != nil {
		return err
	}
	for _, text := range []string{"CREATE SCHEMA changeling_probe_" + w.options.ID, createTable(bare, "changeling_probe_"+w.options.ID)} {
		if _, err := w.tx.ExecContext(ctx, text); err != nil {
			return w.explain(err, "an empty table like "+w.by.Table.String()+", PARTITION BY "+w.by.By)
		}
	}
	var err error
	w.by.columns, err = state.Column(ctx, w.tx, `SELECT coalesce(a.attname, '') FROM pg_partitioned_table p CROSS JOIN unnest(p.partattrs::int2[]) WITH ORDINALITY k(num, n)
LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.num AND k.num > 0 WHERE p.partrelid = `+ident.Literal(ident.Qualified("changeling_probe_"+w.options.ID, source.Name))+`::regclass ORDER BY k.n`)
	if err != nil {
		return err
	}
	if err := w.boundOf(ctx, "changeling_probe_"+w.options.ID, source); err != nil {
		return err
	}
	if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT probe"); err != nil {
		return err
	}
	names := []string{ident.Literal(w.by.Attach.Name)}
	for _, part := range w.by.Parts {
		names = append(names, ident.Literal(part.Name))
	}
	taken, err := state.Column(ctx, w.tx, `SELECT typname::text FROM pg_type WHERE typnamespace = `+ident.Literal(ident.Quote(source.Schema))+`::regnamespace AND typname IN (`+strings.Join(names, ", ")+`)
UNION SELECT relname FROM pg_class WHERE relnamespace = `+ident.Literal(ident.Quote(source.Schema))+`::regnamespace AND relname IN (`+strings.Join(names, ", ")+`) ORDER BY 1`)
	if err == nil && len(taken) > 0 {
		err = &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the schema %s has something called %s already: give the partition another name. Nothing was changed", source.Schema, strings.Join(taken, ", "))}
	}
	return err
}

// keyless says which keys the partitioned table could not have: the server looks for a duplicate in one partition alone, so a unique index has all
// columns by which rows go to partitions.
func (b Partitioning) keyless(r *Relation) (out []string) {
	for _, x := range r.Indexes {
		if !x.Unique {
			continue
		}
		var has, lacks []string
		for _, k := range x.Keys {
			if c := r.column(k.Num); c != nil {
				has = append(has, c.Name)
			}
		}
		for _, name := range b.columns {
			if !slices.Contains(has, name) && !slices.Contains(lacks, name) {
				lacks = append(lacks, name)
			}
		}
		if len(lacks) == 0 {
			continue
		}
		what := "unique index " + x.Name
		if k := r.backing(x.OID); k != nil {
			what = map[string]string{"p": "primary key ", "u": "unique constraint ", "x": "constraint "}[k.Type] + k.Name
		}
		out = append(out, b.lacking(r, x, what, has, lacks))
	}
	return out
}

func (b Partitioning) lacking(r *Relation, x Index, what string, has, lacks []string) string {
	text := fmt.Sprintf("%s (%s) does not have %s: ", what, strings.Join(has, ", "), strings.Join(lacks, ", "))
	if slices.Contains(lacks, "") {
		return fmt.Sprintf("%s (%s): a table that is partitioned by an expression can have no unique index at all: partition it by columns, or DROP the key first", what, strings.Join(has, ", "))
	}
	text += "a unique index on a partitioned table must have all columns that it is partitioned by, because the server looks for duplicates in one partition alone. "
	wider := strings.Join(quoted(append(slices.Clone(has), lacks...)), ", ")
	switch k := r.backing(x.OID); {
	case k != nil && k.Type != "x":
		kind := map[string]string{"p": "PRIMARY KEY", "u": "UNIQUE"}[k.Type]
		text += fmt.Sprintf("Partition by hash (%s); or make the key wider first, if it may be: `changeling run 'ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %s %s (%s)'`, after which the same %s may come twice with another %s",
			strings.Join(has, ", "), qualified(b.Table), ident.Quote(k.Name), ident.Quote(k.Name), kind, wider, strings.Join(has, ", "), strings.Join(lacks, ", "))
	case k != nil:
		text += "Drop it first"
	default:
		text += fmt.Sprintf("Partition by hash (%s); or drop the index, or make it wider: (%s)", strings.Join(has, ", "), wider)
	}
	for _, f := range r.References {
		if slices.Equal(slices.Sorted(slices.Values(f.Refers)), slices.Sorted(slices.Values(has))) {
			text += fmt.Sprintf(". The foreign key %s of %s.%s refers to it, and would have to refer to the wider key, or go", f.Name, f.Schema, f.Table)
		}
	}
	return text
}

// learn asks the server what it made of the partitions: that they are plain, which indexes they have, which rows fit them, and what they get from
// ALTER DEFAULT PRIVILEGES of the table's schema.
func (w *planner) learn(ctx context.Context, r *rehearsal) error {
	parent := ident.Literal(ident.Qualified(r.in(), r.source.Name)) + "::regclass"
	rows, err := w.tx.QueryContext(ctx, `SELECT t.relname, x.relname, p.relname FROM pg_inherits h JOIN pg_class t ON t.oid = h.inhrelid JOIN pg_index i ON i.indrelid = t.oid
JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_inherits u ON u.inhrelid = x.oid JOIN pg_class p ON p.oid = u.inhparent WHERE h.inhparent = `+parent+` ORDER BY 3, 1`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c child
		if err := rows.Scan(&c.part, &c.name, &c.parent); err != nil {
			return err
		}
		w.by.children = append(w.by.children, c)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	rights := len(r.rights)
	if err := w.schemaRights(ctx, r, "r", "TABLE", r.heaps()...); err != nil {
		return err
	}
	var granted bool
	if err := w.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE h.inhparent = `+parent+` AND a.grantee <> c.relowner)`).Scan(&granted); err != nil {
		return err
	}
	if r.source.Secured && (granted || len(r.rights) > rights) {
		r.stuck = append(r.stuck, fmt.Sprintf("row level security of %s is the table's alone, and ALTER DEFAULT PRIVILEGES gives others rights on new tables, so that they would read its partitions past it: REVOKE that first", w.by.Table))
	}
	if strings.HasPrefix(w.by.By, "HASH") || slices.ContainsFunc(w.by.Parts, func(p Part) bool { return p.Bound == "DEFAULT" }) {
		return nil // of hashes the bound names the table by a number
	}
	bounds, err := state.Column(ctx, w.tx, `SELECT '(' || pg_get_partition_constraintdef(inhrelid) || ')' FROM pg_inherits WHERE inhparent = `+parent)
	if err != nil {
		return err
	}
	pair, _, err := r.pair()
	if err != nil {
		return nil // the plan's own refusal says it
	}
	q := &inquiry{rehearsal: r, pair: pair}
	q.outside(strings.Join(bounds, " OR "), w.by.columns)
	w.plan.Checks = q.out
	return nil
}

// outside asks for rows that no bound holds for, with the values that they would be partitioned by.
func (q *inquiry) outside(bounds string, columns []string) {
	var names, list []string
	for _, k := range q.pair.Key {
		names = append(names, k.Shadow)
	}
	for _, c := range columns {
		if c != "" && !slices.Contains(names, c) {
			names = append(names, c)
		}
	}
	for _, n := range names {
		list = append(list, "d."+ident.Quote(n)+"::pg_catalog.text")
	}
	q.ask(plan.Question{Name: "a partition for each row", Columns: names, Chunked: true,
		SQL: "SELECT pg_catalog.json_build_array(" + strings.Join(list, ", ") + ")::pg_catalog.text FROM " + q.rows() + " WHERE NOT coalesce(" + bounds + ", false)"})
}

// Wanted is a partitioning as a person gives it: By is "range (created_at)", Attach and each of the Parts "name FOR VALUES …". A default partition has
// an empty name if there is none, and Count is how many a table that is partitioned by hash gets, zero for none by that rule.
type Wanted struct {
	By, Attach, Default string
	Parts               []string
	Count               int
}

// ParsePartitioning reads that.
func ParsePartitioning(table schema.Name, o Wanted) (Partitioning, error) {
	b, by, parts, byDefault, count := Partitioning{Table: table}, o.By, o.Parts, o.Default, o.Count
	wrong := func(format string, args ...any) (Partitioning, error) {
		return b, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...) + ". Nothing was changed"}
	}
	form, text, ok := outer(by)
	kind, _, _ := strings.Cut(form, " ")
	if !ok || form != kind+" ()" || !slices.Contains([]string{"RANGE", "LIST", "HASH"}, kind) {
		return wrong("%q says nothing to partition by: expected range, list or hash, and columns, such as 'range (created_at)'", by)
	}
	b.By = kind + " " + text[strings.Index(text, "("):]
	for _, part := range parts {
		name, bound, err := parsePart(part)
		if err != nil {
			return wrong("%q is no partition: %v", part, err)
		}
		b.Parts = append(b.Parts, Part{name, bound})
	}
	if o.Attach != "" {
		name, bound, err := parsePart(o.Attach)
		if err == nil && bound == "DEFAULT" {
			err = errors.New("a default partition has no bound of its own, which a check could prove")
		}
		if err != nil {
			return wrong("%q is no partition to attach the table as: %v", o.Attach, err)
		}
		b.Attach = Part{name, bound}
	}
	switch {
	case o.Attach != "" && kind == "HASH":
		return wrong("rows that are there fit no one partition by hash: give --attach with range or list, or none")
	case count != 0 && kind != "HASH":
		return wrong("a number of partitions is for hash alone: give each partition with its bound, 'name FOR VALUES …'")
	case count < 0 || count > MostParts || len(parts) > MostParts:
		return wrong("expected at most %d partitions", MostParts)
	case count != 0 && len(parts) > 0:
		return wrong("give a number of partitions, or each partition with its bound, not both")
	case byDefault != "" && kind == "HASH":
		return wrong("a table that is partitioned by hash has no default partition")
	}
	for i := range count {
		b.Parts = append(b.Parts, Part{fmt.Sprintf("%s_p%d", table.Table, i), fmt.Sprintf("FOR VALUES WITH (MODULUS %d, REMAINDER %d)", count, i)})
	}
	if byDefault != "" {
		b.Parts = append(b.Parts, Part{byDefault, "DEFAULT"})
	}
	switch {
	case len(b.Parts) > MostParts:
		return wrong("expected at most %d partitions, with the default one", MostParts)
	case len(b.Parts) == 0 && b.Attach.Name == "":
		return wrong("no partition is given: 'name FOR VALUES …' for each, or a default one, or a number for hash")
	}
	seen := map[string]bool{table.Table: true}
	for _, p := range append([]Part{b.Attach}, b.Parts...) {
		if seen[p.Name] {
			return wrong("the name %s is given twice, or is the table's own", p.Name)
		}
		if seen[p.Name] = true; len(p.Name) > 63 {
			return wrong("the name %s is longer than the 63 bytes that the server keeps", p.Name)
		}
	}
	return b, nil
}

// parsePart reads a partition: a name, and FOR VALUES … or DEFAULT.
func parsePart(text string) (name, bound string, err error) {
	const expected = "expected a name and FOR VALUES IN (…), FROM (…) TO (…), or WITH (…)"
	tokens, err := plan.Lex(text, plan.PostgresSyntax())
	if err != nil {
		return "", "", err
	}
	for i, t := range tokens {
		word := text[t.Start:t.End]
		switch t.Kind {
		case plan.TokenSpace, plan.TokenComment:
			continue
		case plan.TokenWord:
			name = strings.ToLower(word)
		case plan.TokenIdent:
			name = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(word, `"`), `"`), `""`, `"`)
		}
		form, rest, ok := outer(text[tokens[i].End:])
		if name == "" || !ok || !slices.Contains([]string{"FOR VALUES IN ()", "FOR VALUES FROM () TO ()", "FOR VALUES WITH ()", "DEFAULT"}, form) {
			return "", "", errors.New(expected)
		}
		if form == "DEFAULT" {
			rest = form
		}
		return name, rest, nil
	}
	return "", "", errors.New(expected)
}

// outer is what stands outside of parentheses, in upper case, with () for each pair, and the text without white space around it.
func outer(text string) (form, trimmed string, ok bool) {
	tokens, err := plan.Lex(text, plan.PostgresSyntax())
	if err != nil {
		return "", "", false
	}
	var out []string
	depth := 0
	for _, t := range tokens {
		word := text[t.Start:t.End]
		switch {
		case t.Kind == plan.TokenSpace:
		case t.Kind == plan.TokenComment, t.Kind == plan.TokenParam, word == ";":
			return "", "", false
		case word == "(":
			if depth++; depth == 1 {
				out = append(out, "()")
			}
		case word == ")":
			if depth--; depth < 0 {
				return "", "", false
			}
		case depth == 0:
			out = append(out, strings.ToUpper(word))
		}
	}
	return strings.Join(out, " "), strings.TrimSpace(text), depth == 0
}
