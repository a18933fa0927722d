package mysql

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A new foreign key makes the server copy the table, with writers shut out, because it looks at each row. With foreign_key_checks off it
// only changes the catalogue, and looks at no row that is there; but from then on it looks at each that is written. So rows are asked
// for that refer to nothing: before, so that nothing is begun in vain, and once the key stands, when no new ones can come. A key that rows
// break stays, as a promise for new ones, until they are mended or the change is aborted, which drops it.
//
// A transaction may have deleted a row of the parent, or changed its key, before the key was there, and commit after the rows were looked
// at. MySQL waits for it by itself; MariaDB does not lock the parent (tried), so the step does it, for a moment and for readers only.

// addsKeys is the name of a step that adds foreign keys.
const addsKeys = "add foreign key"

// adds says that the statement may add foreign keys.
func (w *planner) adds() bool {
	return slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool { return c.References })
}

// unrestricted leaves ON DELETE RESTRICT and ON UPDATE RESTRICT out of new foreign keys, which are what MariaDB does where nothing is said:
// when it adds a key without a copy, it keeps them as NO ACTION, which does the same and reads differently in a dump (tried).
func (w *planner) unrestricted() error {
	if !w.dialect.maria || !w.adds() {
		return nil
	}
	text := w.statement.Text
	tokens, err := plan.Lex(text, w.syntax)
	if err != nil {
		return nil
	}
	tokens = slices.DeleteFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenSpace || t.Kind == plan.TokenComment })
	word := func(i int) string {
		if i >= len(tokens) || tokens[i].Kind != plan.TokenWord {
			return ""
		}
		return strings.ToUpper(text[tokens[i].Start:tokens[i].End])
	}
	var b strings.Builder
	upto := 0
	for i := range tokens {
		if word(i) == "ON" && (word(i+1) == "DELETE" || word(i+1) == "UPDATE") && word(i+2) == "RESTRICT" {
			b.WriteString(text[upto:tokens[i].Start])
			upto = tokens[i+2].End
		}
	}
	s, err := plan.Parse(strings.TrimSpace(b.String()+text[upto:]), w.syntax)
	if err == nil {
		w.statement = s
	}
	return err
}

// refer plans a statement that adds foreign keys in one piece with foreign_key_checks off, if the server then does it at once or in place.
func (w *planner) refer(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	if !w.adds() || !w.keyed {
		return nil, nil
	}
	if err := w.stage(ctx, r); err != nil {
		return nil, err
	}
	w.unchecked = true
	defer func() { w.unchecked = false }()
	g, err := w.climb(ctx, r)
	if err != nil || !g.at() {
		return nil, nil
	}
	p := w.atOnce(g)
	p.Route, p.Steps[0].Name = plan.Recipe, addsKeys
	p.Steps[0].Lock += ", also on the tables that it refers to"
	p.Why = "the server would copy the table to look at each row: the key is added without that, and the rows are looked at while everybody reads and writes"
	if p.Steps[0].Done, err = w.happened(ctx, r); err != nil {
		return nil, err
	}
	twin, err := Inspect(ctx, w.conn, r.shadowName())
	if err != nil {
		return nil, err
	}
	var made []string // indexes that the key brings along; their build would be taken for a wait
	for _, x := range twin.Indexes {
		if !slices.ContainsFunc(r.source.Indexes, func(y Index) bool { return y.Name == x.Name }) {
			made, p.Steps[0].LockWait = append(made, x.Name), 0
		}
	}
	if p, err = w.guard(ctx, r, p); err != nil {
		return nil, err
	}
	for i := range p.Steps {
		if p.Steps[i].Name == addsKeys {
			p.Steps[i].Undo = append(p.Steps[i].Undo, dropThose(w.plan.Table, "INDEX", made)...)
		}
	}
	return p, nil
}

// guard puts the questions for rows that refer to nothing around the steps that add foreign keys, if there are some. The twin is as the
// steps leave it.
func (w *planner) guard(ctx context.Context, r *rehearsal, p *plan.Plan) (*plan.Plan, error) {
	at := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Name == addsKeys })
	if at < 0 || !w.keyed {
		return p, nil
	}
	had, err := foreignKeys(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	has, err := foreignKeys(ctx, w.conn, r.shadowName())
	if err != nil {
		return nil, err
	}
	key := r.findable()
	p.Pair.Key = key
	var before, after, names, parents []string
	for _, k := range has {
		if i := slices.IndexFunc(had, func(o foreignKey) bool { return strings.EqualFold(o.name, k.name) }); i >= 0 {
			continue
		}
		for real, twin := range r.twins {
			if twin == k.parent {
				k.parent = real
			}
		}
		names = append(names, k.name)
		if real := qualified(k.parent); k.parent != r.source.Name && !slices.Contains(parents, real) {
			parents = append(parents, real)
		}
		after = append(after, Orphans(p.Pair, k.columns, k.parent, k.refers))
		if !slices.ContainsFunc(k.columns, func(c string) bool { return r.source.column(c) == nil }) {
			before = append(before, after[len(after)-1])
		}
	}
	if len(names) == 0 {
		return p, nil // the server does not make a key of it
	}
	s := &p.Steps[at]
	s.Undo, s.Tables = dropThose(w.plan.Table, "FOREIGN KEY", names), append(s.Tables, parents...)
	if len(parents) > 0 {
		p.Steps = append(p.Steps, meetWriters(parents, w.options.LockWait))
	}
	list := strings.Join(names, ", ")
	ask := func(name, why string, questions []string) plan.Step {
		return plan.Step{Kind: plan.Ask, Name: name + " foreign key " + list, SQL: questions, Ranged: len(key) > 0, Lock: "none", Why: why}
	}
	p.Steps = append(p.Steps, ask("verify", "rows that refer to nothing, looked for in short statements; new ones cannot come any more", after))
	if len(before) > 0 {
		p.Steps = slices.Insert(p.Steps, 0, ask("look at", "rows that refer to nothing, looked for in short statements before anything is done", before))
	}
	for _, q := range before {
		p.Checks = append(p.Checks, plan.Question{Name: "foreign key " + list, SQL: strings.TrimSuffix(q, first), Chunked: len(key) > 0})
	}
	return p, nil
}

// meetWriters waits for who wrote to the parents before a key stood.
func meetWriters(parents []string, wait time.Duration) plan.Step {
	return plan.Step{Kind: plan.Exec, Name: "meet writers", SQL: []string{"LOCK TABLES " + strings.Join(parents, " READ, ") + " READ", "UNLOCK TABLES"}, Tables: parents, LockWait: wait,
		Lock: "READ, for a moment", Why: "waits for who wrote to the tables that it refers to before the key stood"}
}

// Orphans asks for rows that refer to nothing: their keys, or without a key of the table what they refer to.
func Orphans(p schema.Pair, columns []string, parent schema.Name, refers []string) string {
	var set, same, values []string
	for i, c := range columns {
		set = append(set, "s."+quote(c)+" IS NOT NULL")
		same = append(same, "p."+quote(refers[i])+" = s."+quote(c))
		values = append(values, "s."+quote(c))
	}
	text, within := "CAST(JSON_ARRAY("+strings.Join(values, ", ")+") AS CHAR)", "TRUE"
	if len(p.Key) > 0 {
		text, within = Rows{Pair: p}.keyText("s."), plan.Range
	}
	return "SELECT " + text + " FROM " + qualified(p.Source) + " s WHERE " + within + " AND " + strings.Join(set, " AND ") +
		" AND NOT EXISTS (SELECT 1 FROM " + qualified(parent) + " p WHERE " + strings.Join(same, " AND ") + ")" + first
}

// first ends a question that is answered by the first rows.
const first = " LIMIT 3"

// findable is a key by which the source's rows can be walked, or none.
func (r *rehearsal) findable() []schema.Key {
	ops := schema.Operators{Equal: "=", Above: ">", Upto: "<="}
	for _, x := range r.source.Indexes {
		if !r.source.identifies(x) {
			continue
		}
		var out []schema.Key
		for i, k := range x.Keys {
			c := r.source.column(k.Column)
			if walked(*c, i == 0) != "" || c.Data == "timestamp" && !r.steady {
				out = nil
				break
			}
			out = append(out, schema.Key{Source: c.Name, Shadow: c.Name, Type: c.full(), ShadowType: c.full(), LogType: logged(*c), Ops: ops, ShadowOps: ops})
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// dropThose drops foreign keys or indexes of a table, those that are there.
func dropThose(n schema.Name, kind string, names []string) []string {
	view, database, column := "STATISTICS", "TABLE_SCHEMA", "INDEX_NAME"
	if kind == "FOREIGN KEY" {
		view, database, column = "REFERENTIAL_CONSTRAINTS", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME"
	}
	var out []string
	for _, name := range names {
		out = append(out,
			"SET @changeling_text = (SELECT DISTINCT "+literal("ALTER TABLE "+qualified(n)+" DROP "+kind+" "+quote(name))+" FROM information_schema."+view+" WHERE "+database+" = "+
				literal(n.Schema)+" AND TABLE_NAME = "+literal(n.Table)+" AND "+column+" = "+literal(name)+")",
			"SET @changeling_text = COALESCE(@changeling_text, 'DO 0')",
			"PREPARE changeling_undo FROM @changeling_text", "EXECUTE changeling_undo", "DEALLOCATE PREPARE changeling_undo")
	}
	return out
}
