package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// createsIndex says that the statement makes an index on a table that others may use.
func (p *pass) createsIndex() bool {
	return strings.HasPrefix(p.Verb, "CREATE") && strings.HasSuffix(p.Verb, " INDEX") && !p.fresh()
}

// concurrently is the statement with CONCURRENTLY behind one of its words.
func (p *pass) concurrently(after string) string {
	at := -1
	for i, w := range p.words {
		if w.up == after && i < 3 {
			at = w.end
		}
	}
	if at < 0 {
		return p.Text + ";"
	}
	return p.Text[:at] + " CONCURRENTLY" + p.Text[at:] + ";"
}

func plainIndex(p *pass) {
	if !p.createsIndex() || p.Concurrently {
		return
	}
	if p.table().partitioned {
		p.report(fmt.Sprintf("nobody can write to any partition of %s until all of their indexes are built, and the server refuses CONCURRENTLY here", p.Table),
			"-- an index ON ONLY the table, one CONCURRENTLY on each partition, then ALTER INDEX … ATTACH PARTITION; changeling does it:", p.online(p.Text))
		return
	}
	p.fixing(p.concurring("INDEX")...).report(fmt.Sprintf("nobody can write to %s until the index is built", p.Table), p.outsideTx(p.concurrently("INDEX"))...)
}

// outsideTx are statements that the server refuses in a transaction.
func (p *pass) outsideTx(statements ...string) []string {
	if p.tx == 0 {
		return statements
	}
	return append([]string{"-- outside a transaction (goose: -- +goose NO TRANSACTION; Atlas: -- atlas:txmode none; changeling sees it by itself)"}, statements...)
}

func plainDropIndex(p *pass) {
	first, _, _ := strings.Cut(p.Verb, " ")
	switch {
	case p.Verb == "DROP INDEX" && !p.Concurrently && !p.freshIndex():
		p.fixing(p.concurring("INDEX")...).report("it waits for all who use the table, and keeps everybody from it meanwhile", p.outsideTx(p.concurrently("INDEX"))...)
	case first == "REINDEX" && !p.Concurrently && p.Kind != "SYSTEM":
		at := p.Kind
		if p.words.upper(1) == "(" {
			p.report("nobody can write to the table, nor use the index, until it is built", "-- with CONCURRENTLY in the brackets, outside a transaction")
			return
		}
		if at == "INDEX" || at == "TABLE" {
			p.fixing(p.concurring(at)...)
		}
		p.report("nobody can write to the table, nor use the index, until it is built", p.outsideTx(p.concurrently(at))...)
	}
}

// freshIndex says that the script made the index that the statement drops, or its table.
func (p *pass) freshIndex() bool {
	for _, n := range p.Objects {
		for _, t := range p.model.tables {
			if t.fresh && t.index(n.Table) != nil {
				return true
			}
		}
	}
	return false
}

func plainDetach(p *pass, k plan.Clause) {
	if k.Action == plan.DetachPartition && !k.Concurrently && !p.lex(k.Text).has("FINALIZE") {
		if p.table().fallback {
			p.reportAs(Warning, "it keeps everybody from the table for a moment; beside a default partition the server refuses CONCURRENTLY", p.alter("%s", k.Text))
			return
		}
		if p.tx == 0 {
			p.fixing(Edit{k.End, k.End, " CONCURRENTLY"})
		}
		p.report("it waits for all who use the table, and keeps everybody from it meanwhile", p.outsideTx(p.alter("%s CONCURRENTLY", k.Text))...)
	}
}

func concurrentInTx(p *pass) {
	if p.Concurrently && p.tx > 0 && strings.Fields(p.Verb + " x")[0] != "REFRESH" {
		p.report("the server refuses CONCURRENTLY in a transaction, and the file runs in one",
			"-- in a file of its own, outside a transaction (goose: -- +goose NO TRANSACTION; Atlas: -- atlas:txmode none; Flyway: executeInTransaction=false)", strings.TrimRight(p.Text, ";")+";")
	}
}

func concurrentDetachInTx(p *pass, k plan.Clause) {
	if k.Action == plan.DetachPartition && k.Concurrently && p.tx > 0 {
		p.report("the server refuses DETACH … CONCURRENTLY in a transaction, and the file runs in one", "-- in a file of its own, outside a transaction", p.alter("%s", k.Text))
	}
}

func invalidIndex(p *pass) {
	if p.createsIndex() && p.Concurrently && p.IfExists {
		p.report("after a failed build an invalid index has this name, and IF NOT EXISTS is content with it: the migration succeeds and the index is never used",
			fmt.Sprintf("DROP INDEX CONCURRENTLY IF EXISTS %s;", p.q(p.Index)), strings.Replace(p.concurrentText(), "IF NOT EXISTS ", "", 1))
	}
}

func (p *pass) concurrentText() string { return strings.TrimRight(p.Text, ";") + ";" }

func replacedIndex(p *pass) {
	for i := range p.subjects {
		s := &p.subjects[i]
		var names []string
		switch {
		case s.Verb == "DROP INDEX":
			for _, n := range s.Objects {
				names = append(names, n.Table)
			}
		default:
			for _, k := range s.Clauses {
				if k.Action == plan.DropIndex {
					names = append(names, k.Index)
				}
			}
		}
		for j := i + 1; j < len(p.subjects) && len(names) > 0; j++ {
			later := &p.subjects[j]
			if !strings.HasPrefix(later.Verb, "CREATE") || !strings.HasSuffix(later.Verb, " INDEX") || later.tx > 0 && later.tx == s.tx && !later.Concurrently && p.postgres() {
				continue
			}
			x := p.model.readIndex(*later)
			old := p.indexBefore(names[0], i)
			if old == nil || !slices.ContainsFunc(x.columns, func(c string) bool { return slices.Contains(old.columns, c) }) {
				continue
			}
			p.subject, p.at = s, i
			p.report(fmt.Sprintf("from here until %s is built the queries that used %s read the whole table", x.name, names[0]), strings.TrimRight(later.Text, ";")+"; -- under another name, if it has the same", strings.TrimRight(s.Text, ";")+";")
		}
	}
	p.subject = nil
}

// indexBefore is what is known of an index that the script drops at its i-th statement.
func (p *pass) indexBefore(name string, i int) *index {
	m := newModel(p.target())
	c := &checker{options: p.options, model: m}
	for k := range p.before {
		for _, o := range c.read(&p.before[k]) {
			m.apply(o, &p.before[k])
		}
	}
	for _, o := range p.subjects[:i] {
		m.apply(o, p.script)
	}
	for _, t := range m.tables {
		if x := t.index(name); x != nil {
			return x
		}
	}
	return nil
}

func corruptIndex(p *pass) {
	first, _, _ := strings.Cut(p.Verb, " ")
	if p.Concurrently && (first == "CREATE" || first == "REINDEX") && p.target().between([3]int{14, 0, -1}, [3]int{14, 3, 0}) || p.Concurrently && p.target().Version[0] == 14 && p.target().Version[1] >= 0 && p.target().Version[1] < 4 && (first == "CREATE" || first == "REINDEX") {
		p.report("PostgreSQL 14.0 to 14.3 may leave rows out of an index that is built concurrently", "-- update the server to 14.4 or later first")
	}
}

// redundant judges a new index beside those that are there.
func redundant(p *pass, x *index) {
	var wide []string
	for _, c := range x.columns {
		wide = append(wide, p.q(c))
	}
	if len(x.columns) > 3 && !x.unique {
		p.report(fmt.Sprintf("%d columns: the later ones seldom help, and each write pays for them", len(x.columns)), fmt.Sprintf("CREATE INDEX ON %s (%s);", p.on(), strings.Join(wide[:3], ", ")))
	}
	for _, o := range p.table().indexes {
		if !x.plain || !o.plain || len(x.columns) == 0 || o.name == x.name {
			continue
		}
		switch {
		case len(o.columns) >= len(x.columns) && slices.Equal(o.columns[:len(x.columns)], x.columns) && !x.unique:
			p.report(fmt.Sprintf("%s begins with the same columns and serves the same queries", o.name), "-- leave it out")
		case len(x.columns) > len(o.columns) && slices.Equal(x.columns[:len(o.columns)], o.columns) && !o.unique && len(o.columns) > 0:
			p.report(fmt.Sprintf("%s is not needed any more once this one is there", o.name), strings.TrimRight(p.Text, ";")+";", fmt.Sprintf("DROP INDEX %s%s;", map[bool]string{true: "CONCURRENTLY "}[p.postgres()], p.q(o.name))+map[bool]string{false: " -- ON " + p.on()}[p.postgres()])
		}
	}
}

func redundantIndex(p *pass) {
	if strings.HasPrefix(p.Verb, "CREATE") && strings.HasSuffix(p.Verb, " INDEX") {
		redundant(p, p.model.readIndex(*p.subject))
	}
}

func redundantClause(p *pass, k plan.Clause) {
	if k.Action == plan.AddIndex {
		in, _ := p.lex(k.Text).group()
		x := &index{name: k.Index}
		x.columns, x.plain = columns(in, p.target())
		redundant(p, x)
	}
}

// invisible is how an index is hidden from the optimizer.
func (p *pass) invisible(name string) []string {
	word := "INVISIBLE"
	if p.target().maria() {
		word = "IGNORED"
	}
	return []string{p.alter("ALTER INDEX %s %s", p.q(name), word), "-- for a day or more: if a query misses it, one statement brings it back; then", p.alter("DROP INDEX %s, ALGORITHM=INPLACE, LOCK=NONE", p.q(name))}
}

func dropVisible(p *pass, k plan.Clause) {
	if k.Action == plan.DropIndex && !p.fresh() && !p.replacedIn(k.Index) && !p.script.Down {
		p.report(fmt.Sprintf("if a query needs %s after all, building it again takes long: make it invisible first", k.Index), p.invisible(k.Index)...)
	}
}

// replacedIn says that the statement makes an index of the name again.
func (p *pass) replacedIn(name string) bool {
	return slices.ContainsFunc(p.Clauses, func(a plan.Clause) bool { return a.Action == plan.AddIndex && strings.EqualFold(a.Index, name) })
}

func dropVisibleIndex(p *pass) {
	if p.Verb != "DROP INDEX" || len(p.Objects) == 0 || p.script.Down {
		return
	}
	on := p.words.after("ON")
	if len(on) == 0 {
		return
	}
	kept := p.subject
	s := *kept
	s.Table.Table = on[0].ident(p.target())
	p.subject = &s
	if !p.fresh() {
		p.report(fmt.Sprintf("if a query needs %s after all, building it again takes long: make it invisible first", p.Objects[0].Table), p.invisible(p.Objects[0].Table)...)
	}
	p.subject = kept
}

func mixedVisibility(p *pass, k plan.Clause) {
	if k.Action == plan.SetIndexVisible && slices.ContainsFunc(p.Clauses, func(o plan.Clause) bool {
		return o.Action != plan.SetIndexVisible && o.Action != plan.Algorithm && o.Action != plan.Lock
	}) {
		instead := append([]string{p.alter("%s", k.Text)}, p.without(k)...)
		p.fixing(p.apart(instead)...).report("to hide an index is done at once and taken back at once, but not together with the other clauses", instead...)
	}
}

func askedToCopy(p *pass, k plan.Clause) {
	ws := p.lex(k.Text)
	copies := k.Action == plan.Algorithm && ws.has("COPY")
	locks := k.Action == plan.Lock && (ws.has("SHARED") || ws.has("EXCLUSIVE"))
	if (copies || locks) && !p.fresh() {
		p.fixing(p.leaving(k)...).report(fmt.Sprintf("%s keeps writers out even where the server could do without", k.Text), p.without(k)...)
	}
}

// weight is what MySQL and MariaDB do with a clause: 0 at once, 1 in place, 2 the table anew.
func (p *pass) weight(k plan.Clause) int {
	switch k.Action {
	case plan.AddColumn:
		switch {
		case k.Inline.Generated && k.Inline.Stored, k.Inline.PrimaryKey, p.serial(k), k.Inline.Check && p.target().oracle(), k.Default != "" && p.volatile(k.Default):
			return 2
		case k.Inline.Unique:
			return 1
		}
		return 0
	case plan.AddIndex, plan.DropIndex:
		if ws := p.lex(k.Text); ws.has("FULLTEXT") || ws.has("SPATIAL") {
			return 2
		}
		return 1
	case plan.AddConstraint:
		if k.Constraint == plan.Unique {
			return 1
		}
		return 2
	case plan.AlterType, plan.ChangeColumn:
		c := p.table().column(k.Column)
		if c != nil && mysqlFree(p, p.kind(c.Type), p.kind(k.Type)) && c.Inline.NotNull == k.Inline.NotNull {
			return 0
		}
		return 2
	case plan.ConvertTo, plan.OrderBy, plan.PartitionBy, plan.RemovePartitioning, plan.Force, plan.DropPrimaryKey, plan.AddSystemVersioning, plan.DropSystemVersioning:
		return 2
	case plan.SetTableOptions:
		if ws := p.lex(k.Text); slices.Contains([]string{"ENGINE", "ROW_FORMAT", "KEY_BLOCK_SIZE"}, ws.upper(0)) {
			return 2
		}
		return 1
	}
	return 0
}

func spoiledInstant(p *pass) {
	if p.Verb != "ALTER TABLE" || p.fresh() {
		return
	}
	groups := map[int][]string{}
	for _, k := range p.Clauses {
		if k.Action == plan.Algorithm || k.Action == plan.Lock {
			continue
		}
		groups[p.weight(k)] = append(groups[p.weight(k)], k.Text)
	}
	// Clauses that are done in place may go together; an instant one that goes with any other is not instant any more.
	adds := slices.ContainsFunc(p.Clauses, func(k plan.Clause) bool {
		return p.weight(k) == 0 && (k.Action == plan.AddColumn || k.Action == plan.DropColumn)
	})
	if len(groups) < 2 || !adds && len(groups[2]) == 0 || len(groups[0]) == 0 && len(groups[1]) == 0 {
		return
	}
	var out []string
	for weight, how := range []string{", ALGORITHM=INSTANT", ", ALGORITHM=INPLACE, LOCK=NONE", ""} {
		if len(groups[weight]) == 0 {
			continue
		}
		text := p.alter("%s%s", strings.Join(groups[weight], ", "), how)
		if weight == 2 {
			text = p.online(text)
		}
		out = append(out, text)
	}
	if len(groups[2]) == 0 && !slices.ContainsFunc(p.Clauses, func(k plan.Clause) bool {
		return p.weight(k) == 0 && k.Action != plan.AddColumn && k.Action != plan.Algorithm && k.Action != plan.Lock
	}) {
		p.fixing(p.apart(out)...) // what only adds columns may come first
	}
	p.report("the server does all clauses the way of the slowest one: what alone is done at once now writes the table anew. Apart they are no longer one atomic change", out...)
}

func twoCopies(p *pass) {
	seen := map[string]int{} // the statement that copied a table first
	for i := range p.subjects {
		s := &p.subjects[i]
		p.subject, p.at = s, i
		if s.Verb != "ALTER TABLE" || p.madeHere(s) {
			continue
		}
		heavy := slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool {
			if p.postgres() {
				costs, known := p.change(k)
				return k.Action == plan.AlterType && costs && known || k.Action == plan.AlterType && costs && !mayBeFree(p.kind(k.Type)) || k.Action == plan.AddColumn && k.Default != "" && p.volatile(k.Default)
			}
			return p.weight(k) == 2 && !(k.Action == plan.AddConstraint && k.Constraint == plan.ForeignKey)
		})
		if !heavy {
			continue
		}
		name := p.model.key(s.Table).String()
		if first, was := seen[name]; was {
			var clauses []string
			for _, k := range append(slices.Clone(p.subjects[first].Clauses), s.Clauses...) {
				clauses = append(clauses, k.Text)
			}
			p.report(fmt.Sprintf("%s was written anew by line %d already: together it is once", s.Table, p.subjects[first].line), p.online(p.alter("%s", strings.Join(clauses, ", "))))
			continue
		}
		seen[name] = i
	}
	p.subject = nil
}

func instantTrouble(p *pass, k plan.Clause) {
	if !p.target().oracle() || p.fresh() || k.Action != plan.AddColumn && k.Action != plan.DropColumn {
		return
	}
	ws := p.lex(k.Text)
	switch {
	case p.target().between([3]int{8, 0, 29}, [3]int{8, 0, 31}):
		p.report("MySQL 8.0.29 to 8.0.31 can damage a table with instant columns in a crash, and backups of it fail", p.alter("%s, ALGORITHM=INPLACE, LOCK=NONE", k.Text), "-- or update the server to 8.0.32 first")
	case !p.target().since(8, 0, 29) && (k.Action == plan.DropColumn || ws.has("FIRST") || ws.has("AFTER")):
		p.report("before MySQL 8.0.29 only a column at the end is added at once", p.online(p.Text))
	}
}

func attachPartition(p *pass, k plan.Clause) {
	if k.Action != plan.AttachPartition || p.fresh() {
		return
	}
	child := p.model.table(k.Other)
	if child.fresh {
		if !p.table().fallback {
			return // it is empty
		}
	} else if slices.ContainsFunc(child.checks, func(c *constraint) bool { return c.valid }) && !p.table().fallback {
		return
	}
	bound := "…"
	if from := p.lex(k.Text).after("FOR VALUES"); from != nil {
		bound = "what follows from FOR VALUES " + from.String()
	}
	name := p.target().name(k.Other)
	p.report(fmt.Sprintf("without a valid check that implies the bound the server reads all of %s, and of a default partition, while both are locked", k.Other),
		fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT bound CHECK (…) NOT VALID; -- %s", name, bound), fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT bound;", name), p.alter("%s", k.Text), fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT bound;", name))
}

func newPartition(p *pass) {
	if !p.creates() || !p.words.has("PARTITION OF") || len(p.Tables) == 0 || p.model.table(p.Tables[0]).fresh {
		return
	}
	parent := p.target().name(p.Tables[0])
	name := p.target().name(p.Objects[0])
	bound := p.words.after("FOR VALUES").String()
	level, more := Warning, ""
	if p.model.table(p.Tables[0]).fallback {
		level, more = Error, ", and its default partition is read meanwhile"
	}
	p.reportAs(level, fmt.Sprintf("it waits for all who use %s and keeps everybody from it meanwhile%s", p.Tables[0], more),
		fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL);", name, parent), fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s;", parent, name, bound))
}

func writtenAnew(p *pass, k plan.Clause) {
	if p.fresh() {
		return
	}
	if p.postgres() {
		if slices.Contains([]plan.Action{plan.SetLogged, plan.SetUnlogged, plan.SetTablespace, plan.SetAccessMethod}, k.Action) {
			p.report(fmt.Sprintf("the server writes %s anew while nobody can use it", p.Table), p.online(p.Text))
		}
		return
	}
	ws := p.lex(k.Text)
	switch {
	case slices.Contains([]plan.Action{plan.Force, plan.OrderBy, plan.PartitionBy, plan.RemovePartitioning, plan.AddSystemVersioning}, k.Action),
		k.Action == plan.SetTableOptions && slices.Contains([]string{"ENGINE", "ROW_FORMAT", "KEY_BLOCK_SIZE"}, ws.upper(0)):
		p.report(fmt.Sprintf("the server writes %s anew; writers or replicas wait as long", p.Table), p.online(p.Text))
	}
}

func vacuumFull(p *pass) {
	switch {
	case p.Verb == "VACUUM" && p.words.has("FULL"), p.Verb == "CLUSTER" && len(p.Objects) > 0:
		name := "the table"
		if ws := p.words; len(ws) > 1 {
			name = ws[len(ws)-1].ident(p.target())
		}
		if len(p.Objects) > 0 {
			name = p.Objects[0].String()
		}
		p.report(fmt.Sprintf("the server writes %s anew while nobody can use it", name), "VACUUM "+name+"; -- lets others work; the space is used again", "-- and if the disk must have it back, a second table does it: changeling run with an ALTER TABLE … ALTER COLUMN … TYPE of the same type, --route shadow-table")
	case p.target().mysql() && (p.Verb == "OPTIMIZE"):
		p.report("the server writes the table anew; writers or replicas wait as long", p.online("ALTER TABLE "+p.words[len(p.words)-1].text+" FORCE"))
	}
}

func noPrimaryKey(p *pass) {
	if !p.creates() || p.words.has("PARTITION OF") || p.words.has("AS SELECT") || p.words.has("LIKE") {
		return
	}
	t := &table{gone: map[string]string{}}
	for _, k := range elements(*p.subject, p.target()) {
		p.model.alter(t, k, *p.subject, p.script)
	}
	later := slices.ContainsFunc(p.subjects, func(s subject) bool {
		return p.model.key(s.Table) == p.model.key(p.Objects[0]) && slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool { return k.Constraint == plan.PrimaryKey })
	})
	if t.primary() == nil && len(t.columns) > 0 && !later {
		id := "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
		if p.target().mysql() {
			id = "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
		}
		p.report("rows without a key cannot be told apart: no online change, no backfill and no replica by rows works well without", "-- with a column such as: "+id)
	}
}

func dropsPrimaryKey(p *pass, k plan.Clause) {
	if k.Action == plan.DropPrimaryKey && !slices.ContainsFunc(p.Clauses, func(a plan.Clause) bool { return a.Constraint == plan.PrimaryKey }) {
		p.report("without a primary key the server copies the table, and replicas search all of it for each row", "-- put another key in its place in the same statement:", p.alter("DROP PRIMARY KEY, ADD PRIMARY KEY (…)"))
	}
}

func plainRefresh(p *pass) {
	if strings.HasPrefix(p.Verb, "REFRESH") && !p.Concurrently && !p.words.has("WITH NO DATA") {
		at := strings.Index(strings.ToUpper(p.Text), " VIEW")
		if at > 0 {
			p.report("nobody can read the view until it is computed; CONCURRENTLY takes a unique index on it, over plain columns", p.Text[:at+5]+" CONCURRENTLY"+p.Text[at+5:]+";")
		}
	}
}
