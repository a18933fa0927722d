package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// limitsText says that a check limits the length of a text.
func limitsText(ws words) bool {
	return slices.ContainsFunc(ws.calls(), func(f string) bool {
		return f == "char_length" || f == "length" || f == "character_length" || f == "octet_length"
	})
}

func addCheck(p *pass, k plan.Clause) {
	if ws := p.lex(k.Text); newCheck(p, k) && !limitsText(ws) {
		p.report(fmt.Sprintf("the server reads all rows of %s while nobody can use it", p.Table), p.checked(k)...)
	}
}

func newCheck(p *pass, k plan.Clause) bool {
	return k.Action == plan.AddConstraint && (k.Constraint == plan.Check || k.Constraint == plan.NotNull) && !p.fresh() && !k.NotValid && !k.NotEnforced
}

func (p *pass) checked(k plan.Clause) []string {
	if p.target().mysql() {
		return []string{p.online(p.Text)}
	}
	return append(p.constraint(k, "check"), p.without(k)...)
}

func textLimit(p *pass, k plan.Clause) {
	if newCheck(p, k) && limitsText(p.lex(k.Text)) {
		p.report(fmt.Sprintf("the server measures the text of all rows of %s while nobody can use it", p.Table), p.checked(k)...)
	}
}

func inlineConstraint(p *pass, k plan.Clause) {
	if k.Action != plan.AddColumn || p.fresh() || !k.Inline.Check && !k.Inline.Unique && !k.Inline.PrimaryKey && !(k.References && p.postgres() && k.Default != "") {
		return
	}
	null := ""
	if k.Inline.NotNull && k.Default != "" && !p.volatile(k.Default) {
		null = "NOT NULL"
	}
	out := []string{p.alter("%s", p.columnAlone(k, null, p.defaulted(k)))}
	if p.target().mysql() {
		switch {
		case k.Inline.Check && p.target().maria():
			return // the server does it at once
		case k.Inline.Check:
			out = []string{p.online(p.Text)}
		default:
			out = append(out, p.alter("ADD UNIQUE (%s), ALGORITHM=INPLACE, LOCK=NONE", p.q(k.Column)))
		}
		p.report(fmt.Sprintf("with the key or check in its definition the new column is not made at once: the server writes or reads all of %s", p.Table), out...)
		return
	}
	if k.Inline.Check {
		in, _ := p.lex(k.Text).after("CHECK").group()
		name := p.q(p.Table.Table + "_" + k.Column + "_check")
		out = append(out, p.alter("ADD CONSTRAINT %s CHECK (%s) NOT VALID", name, in), p.alter("VALIDATE CONSTRAINT %s", name))
	}
	if k.Inline.Unique {
		out = append(out, p.byIndex("", "UNIQUE", []string{k.Column})...)
	}
	if k.Inline.PrimaryKey {
		out = append(out, p.byIndex("", "PRIMARY KEY", []string{k.Column})...)
	}
	if k.References {
		_, cols := referenced(p.lex(k.Text), p.target())
		out = append(out, p.foreign("", []string{k.Column}, p.target().name(k.Other), cols)...)
	}
	p.report(fmt.Sprintf("for what stands in the column's definition the server reads all rows of %s, or builds an index, while nobody can use it", p.Table), append(out, p.without(k)...)...)
}

// foreign is a foreign key in two steps.
func (p *pass) foreign(name string, columns []string, to string, cols []string) []string {
	if name == "" {
		name = p.Table.Table + "_" + strings.Join(columns, "_") + "_fkey"
	}
	quoted := func(list []string) string {
		var out []string
		for _, c := range list {
			out = append(out, p.q(c))
		}
		return strings.Join(out, ", ")
	}
	if cols != nil {
		to += " (" + quoted(cols) + ")"
	}
	return []string{p.alter("ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s NOT VALID", p.q(name), quoted(columns), to), p.alter("VALIDATE CONSTRAINT %s", p.q(name))}
}

func addForeignKey(p *pass, k plan.Clause) {
	if k.Action != plan.AddConstraint || k.Constraint != plan.ForeignKey || p.fresh() || k.NotValid || k.NotEnforced {
		return
	}
	in, _ := p.lex(k.Text).group()
	columns, _ := columns(in, p.target())
	if p.target().mysql() {
		if p.model.settings["foreign_key_checks"] == "0" || p.model.settings["foreign_key_checks"] == "off" {
			return
		}
		var quoted []string
		for _, c := range columns {
			quoted = append(quoted, "c."+p.q(c))
		}
		p.report(fmt.Sprintf("the server copies %s while nobody can write to it", p.Table),
			fmt.Sprintf("-- no row may be without its parent: SELECT %s FROM %s c LEFT JOIN %s p ON … WHERE p.… IS NULL AND %s IS NOT NULL LIMIT 1;", strings.Join(quoted, ", "), p.on(), p.target().name(k.Other), strings.Join(quoted, " IS NOT NULL AND ")),
			"SET SESSION foreign_key_checks = 0;", p.alter("%s, ALGORITHM=INPLACE, LOCK=NONE", k.Text), "SET SESSION foreign_key_checks = 1;", "-- and ask once more for rows without a parent: the server never does")
		return
	}
	out := p.constraint(k, strings.Join(append(slices.Clone(columns), "fkey"), "_"))
	if p.table().partitioned && !p.target().since(18) {
		out = []string{"-- before PostgreSQL 18 a partitioned table takes no NOT VALID: changeling does it partition by partition", p.online(p.Text)}
	}
	p.report(fmt.Sprintf("the server reads %s and %s while nobody can write to either", p.Table, k.Other), append(out, p.without(k)...)...)
}

func validateAtOnce(p *pass, k plan.Clause) {
	if k.Action != plan.ValidateConstraint || p.tx == 0 || p.fresh() {
		return
	}
	for _, c := range slices.Concat(p.table().checks, p.table().foreign) {
		if c.name == k.Name && !c.valid && p.addedHere(k.Name) {
			p.report("the lock of ADD … NOT VALID is held until the transaction ends, and so through all of the reading", "-- in a migration of its own, or after a COMMIT:", p.alter("VALIDATE CONSTRAINT %s", p.q(k.Name)))
		}
	}
}

// addedHere says that a constraint was added in the same transaction.
func (p *pass) addedHere(name string) bool {
	return slices.ContainsFunc(p.subjects[:p.at], func(s subject) bool {
		return s.tx == p.tx && s.Table == p.Table && slices.ContainsFunc(s.Clauses, func(a plan.Clause) bool { return a.Action == plan.AddConstraint && a.Name == name })
	})
}

func severalKeys(p *pass) {
	seen := map[int]int{}
	for i := range p.subjects {
		s := &p.subjects[i]
		p.subject, p.at = s, i
		n := 0
		for _, k := range s.Clauses {
			if (k.Action == plan.AddConstraint && k.Constraint == plan.ForeignKey || k.Action == plan.AddColumn && k.References) && !p.madeHere(s) {
				n++
			}
		}
		if s.Kind == "TABLE" && strings.HasPrefix(s.Verb, "DROP") && len(s.Objects) > 0 {
			if t := p.dropped(s); t != nil && len(t.foreign) > 1 {
				var out []string
				for _, f := range t.foreign {
					out = append(out, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s; -- it locks %s", p.target().name(s.Objects[0]), p.q(f.name), f.to))
				}
				p.report(fmt.Sprintf("%s refers to %d tables, and all of them are locked for as long as it takes: drop its foreign keys one by one first", s.Objects[0], len(t.foreign)), append(out, strings.TrimRight(s.Text, ";")+";")...)
			}
			continue
		}
		before := 0
		if s.tx > 0 {
			before = seen[s.tx]
			seen[s.tx] += n
		}
		if n > 0 && before+n > 1 && before < 2 {
			p.report("each foreign key locks the table at its other end, and all of them until the last one is done: one in each transaction", "-- a migration for each:", strings.TrimRight(s.Text, ";")+";")
		}
	}
	p.subject = nil
}

// madeHere says that the script made a statement's table.
func (p *pass) madeHere(s *subject) bool {
	return slices.ContainsFunc(p.subjects, func(o subject) bool {
		return o.Kind == "TABLE" && strings.HasPrefix(o.Verb, "CREATE") && len(o.Objects) > 0 && p.model.key(o.Objects[0]) == p.model.key(s.Table)
	})
}

// dropped is what is known of a table that the script drops: the model has forgotten it, the scripts before have not.
func (p *pass) dropped(s *subject) *table {
	m := newModel(p.target())
	c := &checker{options: p.options, model: m}
	for i := range p.before {
		for _, o := range c.read(&p.before[i]) {
			m.apply(o, &p.before[i])
		}
	}
	return m.tables[m.key(s.Objects[0])]
}

func keyWithoutIndex(p *pass, k plan.Clause) {
	if !k.References {
		return
	}
	columnsOf := []string{k.Column}
	if k.Action == plan.AddConstraint {
		in, _ := p.lex(k.Text).group()
		columnsOf, _ = columns(in, p.target())
	}
	t := p.model.table(p.Table)
	if p.creates() {
		t = &table{gone: map[string]string{}}
		for _, e := range elements(*p.subject, p.target()) {
			p.model.alter(t, e, *p.subject, p.script)
		}
	}
	if !t.known && !p.creates() && k.Action != plan.AddColumn || t.covers(columnsOf) || p.indexedLater(columnsOf) {
		return
	}
	var quoted []string
	for _, c := range columnsOf {
		quoted = append(quoted, p.q(c))
	}
	how := " CONCURRENTLY"
	if p.creates() {
		how = ""
	}
	p.report(fmt.Sprintf("each delete of a row of %s reads all of %s for rows that refer to it", k.Other, p.Table), fmt.Sprintf("CREATE INDEX%s ON %s (%s);", how, p.on(), strings.Join(quoted, ", ")))
}

// indexedLater says that the script makes an index for columns.
func (p *pass) indexedLater(columnsOf []string) bool {
	return slices.ContainsFunc(p.subjects, func(s subject) bool {
		if !strings.HasSuffix(s.Verb, " INDEX") || p.model.key(s.Table) != p.model.key(p.Table) || !strings.HasPrefix(s.Verb, "CREATE") {
			return false
		}
		t := table{indexes: []*index{p.model.readIndex(s)}}
		return t.covers(columnsOf)
	})
}

func anyForeignKey(p *pass, k plan.Clause) {
	if k.References {
		p.report("a foreign key costs a look at the other table for each row, and locks both tables when it is made or dropped", "-- keep "+p.q(cmpOr(k.Column, "the column"))+" without it, and look for orphans in a job")
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func dropForeignKey(p *pass, k plan.Clause) {
	if k.Action != plan.DropConstraint || p.fresh() {
		return
	}
	known := slices.ContainsFunc(p.table().foreign, func(f *constraint) bool { return strings.EqualFold(f.name, k.Name) })
	if known || k.Constraint == plan.ForeignKey || strings.HasSuffix(strings.ToLower(k.Name), "_fkey") || strings.HasPrefix(strings.ToLower(k.Name), "fk_") {
		p.report("from here on nothing keeps rows without a parent out, and both tables are locked for a moment", "-- if it is meant:", "-- changeling: ignore L37 "+"why it is right", p.alter("%s", k.Text))
	}
}

// keyColumns are those of a new key.
func (p *pass) keyColumns(k plan.Clause) []string {
	in, _ := p.lex(k.Text).group()
	names, _ := columns(in, p.target())
	return names
}

func addKey(p *pass, k plan.Clause) {
	if k.Action != plan.AddConstraint || k.Constraint != plan.Unique && k.Constraint != plan.PrimaryKey || k.Index != "" && p.postgres() || p.fresh() {
		return
	}
	if p.target().mysql() {
		if k.Constraint == plan.PrimaryKey {
			p.report(fmt.Sprintf("the server writes %s anew, and replicas wait as long", p.Table), p.online(p.Text))
		}
		return
	}
	kind := "UNIQUE"
	if k.Constraint == plan.PrimaryKey {
		kind = "PRIMARY KEY"
	}
	if p.table().partitioned {
		p.report(fmt.Sprintf("the server builds the index of all partitions of %s while nobody can use them", p.Table), p.online(p.Text))
		return
	}
	p.report(fmt.Sprintf("the server builds the index while nobody can use %s", p.Table), append(p.byIndex(k.Name, kind, p.keyColumns(k)), p.without(k)...)...)
}

func nullableKey(p *pass, k plan.Clause) {
	if k.Action != plan.AddConstraint || k.Constraint != plan.PrimaryKey || p.fresh() {
		return
	}
	names := p.keyColumns(k)
	if k.Index != "" && p.postgres() {
		if x := p.table().index(k.Index); x != nil {
			names = x.columns
		}
	}
	for _, name := range names {
		if c := p.table().column(name); c != nil && !c.Inline.NotNull {
			p.report(fmt.Sprintf("%s may be NULL, so that the server also reads all rows while nobody can use %s", name, p.Table), append(p.notNull(name), p.alter("%s", k.Text))...)
		}
	}
}

// duplicates asks for rows that break a unique key.
func (p *pass) duplicates(columns []string) string {
	var quoted []string
	for _, c := range columns {
		quoted = append(quoted, p.q(c))
	}
	list := strings.Join(quoted, ", ")
	return fmt.Sprintf("SELECT %s, count(*) FROM %s GROUP BY %s HAVING count(*) > 1 LIMIT 3;", list, p.on(), list)
}

func duplicatesInKey(p *pass, k plan.Clause) {
	if k.Action == plan.AddConstraint && (k.Constraint == plan.Unique || k.Constraint == plan.PrimaryKey) && k.Index == "" && !p.fresh() {
		p.report("two rows with one key make it fail at the end of a long build: ask before (`changeling plan --check-data`)", p.duplicates(p.keyColumns(k)))
	}
}

func duplicatesInIndex(p *pass) {
	if p.Verb == "CREATE UNIQUE INDEX" && !p.fresh() {
		in, _ := p.words.after("ON").group()
		if names, _ := columns(in, p.target()); len(names) > 0 {
			p.report("two rows with one key make it fail at the end of a long build, and CONCURRENTLY leaves an invalid index: ask before (`changeling plan --check-data`)", p.duplicates(names))
		}
	}
}

func addExclusion(p *pass, k plan.Clause) {
	if k.Action == plan.AddConstraint && k.Constraint == plan.Exclude && !p.fresh() {
		p.report(fmt.Sprintf("the server builds its index while nobody can use %s, and there is no way to do it concurrently", p.Table), p.online(p.Text))
	}
}

func enforce(p *pass, k plan.Clause) {
	if ws := p.lex(k.Text); k.Action == plan.AlterConstraint && ws.has("ENFORCED") && !ws.has("NOT ENFORCED") && !p.fresh() {
		p.report("the server reads both tables while nobody can use this one", p.alter("DROP CONSTRAINT %s", p.q(k.Name)), p.alter("ADD CONSTRAINT %s FOREIGN KEY (…) REFERENCES … NOT VALID", p.q(k.Name)), p.alter("VALIDATE CONSTRAINT %s", p.q(k.Name)))
	}
}
