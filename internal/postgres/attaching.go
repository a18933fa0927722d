package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A table whose rows fit one partition becomes that partition, and no row moves: a check that was validated while everybody works proves the bound, so
// that one short transaction can give the table another name, make a partitioned one under its name, and attach it without reading it. What it has, it
// keeps: rows, indexes under other names, rights, comments. The partitioned table gets the same, under the names that were.

// attaching plans that.
func (w *planner) attaching(ctx context.Context, source *Relation) (*plan.Plan, error) {
	p, b := w.plan, w.by
	var why []string
	for _, c := range source.Columns {
		if c.Identity != "" && source.Version >= 170000 {
			why = append(why, fmt.Sprintf("column %s is an identity, which a table that is attached cannot have: give it a sequence of its own first, ALTER COLUMN %s DROP IDENTITY, then CREATE SEQUENCE … OWNED BY, "+
				"setval to what comes behind the last value, and SET DEFAULT nextval(…); or partition it without --attach", c.Name, ident.Quote(c.Name)))
		}
	}
	for _, s := range source.Statistics {
		if s.Schema != source.Schema || s.Owner != source.Owner {
			why = append(why, fmt.Sprintf("the statistics %s are in another schema than the table, or somebody else's: ALTER STATISTICS … SET SCHEMA, or OWNER TO, first", s.Name))
		}
	}
	if why = append(why, b.keyless(source)...); len(why) > 0 {
		return refuse(p, why...), nil
	}
	names, err := w.indexNames(ctx, source)
	if err != nil {
		return nil, err
	}
	a := &attachment{planner: w, source: source, in: source.Schema, names: names, check: helper(w.options.ID, 1)}
	if why, err = a.rehearse(ctx); err != nil {
		return nil, err
	}
	if len(why) > 0 {
		return refuse(p, why...), nil
	}
	name := schema.Name{Schema: source.Schema, Table: b.Attach.Name}
	p.Pair.Change, p.Pair.Old, p.Pair.ShadowParts = w.options.ID, name, []schema.Name{name}
	for _, part := range b.Parts {
		p.Pair.ShadowParts = append(p.Pair.ShadowParts, schema.Name{Schema: source.Schema, Table: part.Name})
	}
	p.Route = plan.Recipe
	p.Why = "no row moves: the table becomes the partition " + name.String() + " of a partitioned one that gets its name. From its first step on the table takes rows of that partition alone, as the partition will"
	p.Checks = []plan.Question{a.question()}
	table := qualified(p.Table)
	add := w.step("say what rows "+name.String()+" may have", "ALTER TABLE "+table+" ADD CONSTRAINT "+ident.Quote(a.check)+" CHECK ("+b.bound+") NOT VALID", "ACCESS EXCLUSIVE", table)
	add.Undo, add.Why = []string{"ALTER TABLE " + table + " DROP CONSTRAINT IF EXISTS " + ident.Quote(a.check)}, "from here on it holds for new rows"
	valid := w.step("validate "+name.String(), "ALTER TABLE "+table+" VALIDATE CONSTRAINT "+ident.Quote(a.check), "SHARE UPDATE EXCLUSIVE", table)
	valid.Ask, valid.Why = []string{a.outside()}, "reads all rows while everybody reads and writes"
	swap := w.aside("attach", "one short transaction: the table gets the partition's name, the partitioned one takes its place and the table as a partition; the check proves the bound, so that no row is read", a.locked(), a.there(), nil)
	p.Steps = []plan.Step{add, valid, swap}
	p.Steps = append(p.Steps, a.validate()...)
	analyze := w.step("analyze", "ANALYZE "+table, "SHARE UPDATE EXCLUSIVE", table)
	analyze.Why = "the server analyzes partitions by itself, and never the table as a whole"
	p.Steps = append(p.Steps, analyze)
	p.LookFirst()
	both := a.locked()
	for _, part := range p.Pair.ShadowParts { // a lock on the table is one on them
		both = append(both, qualified(part))
	}
	back := w.aside("detach", "one short transaction: the table leaves the partitioned one, which goes, and gets its name back; no row is read", both, a.home(), a.objections())
	return w.withBack(append([]plan.Step{back}, a.validate()...)...), nil
}

// attachment writes the statements, for the table or for its twin in another schema.
type attachment struct {
	*planner
	source *Relation
	in     string            // the schema
	names  map[string]string // of indexes and statistics that the table has, and those that they get
	check  string
	keys   []foreignKey // of the table itself, to and from the schema's tables; of a twin there are none from others
}

func (a *attachment) table() string { return ident.Qualified(a.in, a.source.Name) }
func (a *attachment) part() string  { return ident.Qualified(a.in, a.by.Attach.Name) }

// indexNames finds names for what the table has, in place of its own.
func (w *planner) indexNames(ctx context.Context, source *Relation) (map[string]string, error) {
	var had []string
	for _, x := range source.Indexes {
		had = append(had, x.Name)
	}
	for _, s := range source.Statistics {
		had = append(had, s.Name)
	}
	taken, err := state.Column(ctx, w.tx, `SELECT relname::text FROM pg_class WHERE relnamespace = `+ident.Literal(ident.Quote(source.Schema))+`::regnamespace UNION SELECT stxname::text FROM pg_statistic_ext UNION SELECT conname::text FROM pg_constraint WHERE conrelid = `+fmt.Sprint(source.OID))
	if err != nil {
		return nil, err
	}
	for _, p := range append(w.by.Parts, w.by.Attach) {
		taken = append(taken, p.Name)
	}
	out := map[string]string{}
	for _, name := range had {
		rest, ours := strings.CutPrefix(name, source.Name)
		if !ours {
			rest = "_" + name
		}
		for n := 0; ; n++ {
			end := rest
			if n > 0 {
				end += fmt.Sprint(n)
			}
			if len(end) > 40 {
				end = end[len(end)-40:]
			}
			to := clipTo(w.by.Attach.Name, 63-len(end)) + strings.ToValidUTF8(end, "")
			if !slices.Contains(taken, to) {
				out[name], taken = to, append(taken, to)
				break
			}
		}
	}
	return out, nil
}

// rehearse makes an empty twin of the table, and attaches it: the server must not read it, nor build anything on it.
func (a *attachment) rehearse(ctx context.Context) (why []string, err error) {
	w := a.planner
	if _, err := w.tx.ExecContext(ctx, "SAVEPOINT attaching"); err != nil {
		return nil, err
	}
	r := &rehearsal{source: a.source, change: w.options.ID, path: w.path, settings: w.user}
	var clone []string
	clone, r.twins = cloneSQL(a.source, r.in())
	twin := *a
	twin.in = r.in()
	run := func(doing string, texts ...string) error {
		for _, text := range texts {
			if _, err := w.tx.ExecContext(ctx, text); err != nil {
				return w.explain(err, doing)
			}
		}
		return nil
	}
	if err := run("making an empty twin of "+w.plan.Table.String(), slices.Concat(makeSchemas(r), clone)...); err != nil {
		return nil, err
	}
	if r.clone, err = w.inspect(ctx, r.in(), a.source.Name); err != nil {
		return nil, err
	}
	r.shadow = r.clone
	if pair, _, err := r.pair(); err == nil {
		w.plan.Pair.Key = pair.Key
	}
	a.keys = r.foreignKeys()
	for _, k := range r.clone.Constraints { // as they stand between twins
		if k.Type == "f" {
			twin.keys = append(twin.keys, foreignKey{Table: w.plan.Table, Name: k.Name, Def: k.Def, Validated: true, Comment: k.Comment})
		}
	}
	for _, k := range r.clone.References {
		if err := run("making an empty twin of "+w.plan.Table.String(), "ALTER TABLE "+ident.Qualified(k.Schema, k.Table)+" DROP CONSTRAINT "+ident.Quote(k.Name)); err != nil {
			return nil, err
		}
	}
	if err := run("the check of the partition", "ALTER TABLE "+twin.table()+" ADD CONSTRAINT "+ident.Quote(a.check)+" CHECK ("+a.by.bound+")"); err != nil {
		return nil, err
	}
	before, err := w.scans(ctx, r.clone.OID)
	if err != nil {
		return nil, err
	}
	if err := run("attaching an empty twin of "+w.plan.Table.String(), twin.move()...); err != nil {
		return nil, err
	}
	after, err := w.scans(ctx, r.clone.OID)
	if err != nil {
		return nil, err
	}
	now, err := Inspect(ctx, w.tx, r.clone.OID)
	if err != nil {
		return nil, err
	}
	if after > before || now.FileNode != r.clone.FileNode || len(newIndexes(r.clone, now)) > 0 || len(now.Indexes) != len(r.clone.Indexes) {
		why = append(why, "the server would read the rows, or build an index, under the lock of the attachment: partition it without --attach")
	}
	for _, text := range []string{"ROLLBACK TO SAVEPOINT attaching", Ours()} {
		if _, err := w.tx.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	return why, nil
}

// move is what happens to the table and its name, under a lock that is held, and as the table's owner.
func (a *attachment) move() []string {
	part, table, b := a.part(), a.table(), a.by
	out := []string{"ALTER TABLE " + table + " RENAME TO " + ident.Quote(b.Attach.Name)}
	for _, x := range a.source.Indexes {
		out = append(out, "ALTER INDEX "+ident.Qualified(a.in, x.Name)+" RENAME TO "+ident.Quote(a.names[x.Name]))
	}
	for _, s := range a.source.Statistics {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(a.in, s.Name)+" RENAME TO "+ident.Quote(a.names[s.Name]))
	}
	whole := b.whole(a.source)
	whole.Constraints, whole.References = less(whole.Constraints, func(k Constraint) bool { return k.Type == "f" }), nil
	whole.Sequences = nil
	make, _ := cloneSQL(whole, a.in)
	out = append(out, slices.DeleteFunc(make, func(text string) bool { return strings.HasPrefix(text, "GRANT USAGE ON SCHEMA ") })...) // they have granted before
	out = append(out, withhold(a.source, table)...)
	out = append(out, a.owned(table)...)
	out = append(out, "ALTER TABLE "+table+" ATTACH PARTITION "+part+" "+b.Attach.Bound)
	out = append(out, b.make(a.source, a.in)...)
	for _, k := range a.keys {
		if k.Table == a.plan.Table {
			out = append(out, "ALTER TABLE "+table+" ADD CONSTRAINT "+ident.Quote(k.Name)+" "+k.Def)
			out = append(out, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+table, k.Comment)...)
		}
	}
	return append(out, "ALTER TABLE "+part+" DROP CONSTRAINT "+ident.Quote(a.check))
}

// owned gives the sequences of columns to a table.
func (a *attachment) owned(table string) (out []string) {
	if a.in != a.source.Schema { // a twin has none
		return nil
	}
	for _, q := range a.source.Sequences {
		name := ident.Qualified(q.Schema, q.Name)
		out = append(out, "ALTER SEQUENCE "+name+" OWNED BY "+table+"."+ident.Quote(q.Column))
	}
	return out
}

// locked are the tables of the transaction, those first that refer to this one.
func (a *attachment) locked() []string {
	var children, parents []string
	for _, k := range a.keys {
		switch {
		case k.Table != a.plan.Table:
			children = append(children, qualified(k.Table))
		case k.To != a.plan.Table:
			parents = append(parents, qualified(k.To))
		}
	}
	slices.Sort(children)
	slices.Sort(parents)
	out := append(slices.Compact(children), qualified(a.plan.Table))
	for _, q := range slices.Compact(parents) {
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	return out
}

// there is the transaction that attaches.
func (a *attachment) there() []string {
	out := []string{"LOCK TABLE " + strings.Join(a.locked(), ", ") + " IN ACCESS EXCLUSIVE MODE"}
	out = append(out, a.without()...)
	out = append(append(append(out, As(a.source.Owner)), a.move()...), Back)
	return append(out, a.with()...)
}

// home is the transaction that detaches.
func (a *attachment) home() []string {
	part, table := a.part(), a.table()
	out := []string{"LOCK TABLE " + strings.Join(a.locked(), ", ") + " IN ACCESS EXCLUSIVE MODE"}
	out = append(append(out, a.without()...), As(a.source.Owner))
	out = append(out, "ALTER TABLE "+table+" DETACH PARTITION "+part)
	out = append(out, a.owned(part)...)
	out = append(out, "DROP TABLE "+table, "ALTER TABLE "+part+" RENAME TO "+ident.Quote(a.source.Name))
	for _, x := range a.source.Indexes {
		out = append(out, "ALTER INDEX "+ident.Qualified(a.in, a.names[x.Name])+" RENAME TO "+ident.Quote(x.Name))
	}
	for _, s := range a.source.Statistics {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(a.in, a.names[s.Name])+" RENAME TO "+ident.Quote(s.Name))
	}
	return append(append(out, Back), a.with()...)
}

// without takes the foreign keys of other tables off, and with puts them on again.
func (a *attachment) without() (out []string) {
	for _, k := range a.keys {
		if k.Table != a.plan.Table {
			out = append(out, "ALTER TABLE "+qualified(k.Table)+" DROP CONSTRAINT "+ident.Quote(k.Name))
		}
	}
	return out
}

func (a *attachment) with() (out []string) {
	for _, k := range a.keys {
		if k.Table != a.plan.Table {
			out = append(append(out, k.add()), comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+qualified(k.Table), k.Comment)...)
		}
	}
	return out
}

// validate are the steps behind both.
func (a *attachment) validate() (out []plan.Step) {
	for _, k := range validations(a.keys) {
		if k.Table != a.plan.Table {
			out = append(out, a.planner.validate(k, nil)...)
		}
	}
	return out
}

// objections are the partitions whose rows the table would not have.
func (a *attachment) objections() (out []string) {
	for _, part := range a.by.Parts {
		n := schema.Name{Schema: a.in, Table: part.Name}
		out = append(out, "SELECT "+ident.Literal("partition "+n.String()+" has rows, which the table would not have: move them to "+a.by.Attach.Name+", or `changeling partition "+a.plan.Table.String()+" --none` makes it plain with all of them")+
			" WHERE EXISTS (SELECT FROM "+qualified(n)+")")
	}
	return out
}

// question asks for rows that the table could not have as the partition, before anything is done.
func (a *attachment) question() plan.Question {
	q := &inquiry{rehearsal: &rehearsal{source: a.source}, pair: schema.Pair{Source: a.plan.Table, Key: a.plan.Pair.Key}}
	q.ask(plan.Question{Name: "a row of the partition", Chunked: true,
		SQL: "SELECT changeling_key FROM (SELECT " + q.key() + " AS changeling_key, " + ident.Quote(a.source.Name) + ".* FROM " + q.from() + ") d WHERE NOT coalesce(" + a.by.bound + ", false)"})
	return q.out[0]
}

// outside names some of them where the check fails.
func (a *attachment) outside() string {
	var key []string
	for _, k := range a.plan.Pair.Key {
		key = append(key, "d."+ident.Quote(k.Source)+"::pg_catalog.text")
	}
	return "SELECT pg_catalog.json_build_array(" + strings.Join(key, ", ") + ")::pg_catalog.text FROM " + qualified(a.plan.Table) + " d WHERE NOT coalesce(" + a.by.bound + ", false) LIMIT 3"
}

// boundOf asks the server which rows a partition has, of a probe that was made.
func (w *planner) boundOf(ctx context.Context, in string, source *Relation) error {
	if w.by.Attach.Name == "" {
		return nil
	}
	part := ident.Qualified(in, w.by.Attach.Name)
	if _, err := w.tx.ExecContext(ctx, "CREATE TABLE "+part+" PARTITION OF "+ident.Qualified(in, source.Name)+" "+w.by.Attach.Bound); err != nil {
		return w.explain(err, "the partition "+w.by.Attach.Name)
	}
	var bound sql.NullString
	if err := w.tx.QueryRowContext(ctx, "SELECT pg_get_partition_constraintdef("+ident.Literal(part)+"::regclass)").Scan(&bound); err != nil {
		return err
	}
	if bound.String == "" {
		return &fault.Problem{Kind: fault.Usage, Text: "the partition " + w.by.Attach.Name + " would have no bound. Nothing was changed"}
	}
	w.by.bound = bound.String
	return nil
}

// AttachedPrint is the fingerprint of a table, without the check that a change has put on it to prove its bound.
func AttachedPrint(ctx context.Context, q Queryer, oid uint32, change string) (string, error) {
	r, err := Inspect(ctx, q, oid)
	if err != nil {
		return "", err
	}
	r.Constraints = less(r.Constraints, func(k Constraint) bool { return k.Name == helper(change, 1) })
	return r.Fingerprint(), nil
}
