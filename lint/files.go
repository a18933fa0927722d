package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

func dropTable(p *pass) {
	if !strings.HasPrefix(p.Verb, "DROP") || p.script.Down || p.Verb == "DROP TEMPORARY TABLE" {
		return
	}
	switch p.Kind {
	case "TABLE":
		for _, n := range p.Objects {
			if t := p.model.table(n); t.fresh || p.remade(n) {
				continue
			}
			name, away := p.target().name(n), p.target().name(schema.Name{Schema: n.Schema, Table: n.Table + "_pending_drop"})
			if p.postgres() {
				away = p.q(n.Table + "_pending_drop")
			}
			out := []string{"-- 1. deploy code that does not use " + n.Table, "ALTER TABLE " + name + " RENAME TO " + away + "; -- whatever still uses it fails now, and one rename brings it back"}
			for _, f := range p.model.table(n).foreign {
				if f.name != "" {
					out = append(out, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s; -- one by one: it locks %s", away, p.q(f.name), f.to))
				}
			}
			if p.postgres() {
				out = append([]string{"-- changeling run --drop after=7d " + shell("DROP TABLE "+name) + ", which undo takes back until then; by hand:"}, out...)
			}
			p.report(fmt.Sprintf("code that still uses %s fails at once, its data are gone, and the tables that it refers to are locked", n), append(out, "-- 2. days later, in a migration of its own:", "DROP TABLE "+away+";")...)
		}
	case "SCHEMA", "DATABASE":
		p.report("everything in it is gone at once", "-- drop its tables one by one, each renamed away first, and then what is empty:", strings.TrimRight(strings.Replace(p.Text, "CASCADE", "", 1), "; ")+";")
	}
}

// remade says that the script makes a table of the name after it was dropped: L72.
func (p *pass) remade(n schema.Name) bool {
	return slices.ContainsFunc(p.subjects[p.at+1:], func(s subject) bool {
		return strings.HasPrefix(s.Verb, "CREATE") && s.Kind == "TABLE" && len(s.Objects) > 0 && p.model.key(s.Objects[0]) == p.model.key(n)
	})
}

func truncate(p *pass) {
	if p.Verb == "TRUNCATE" && !p.script.Down {
		text := "all rows are gone, and nobody reads or writes meanwhile"
		if p.words.has("CASCADE") {
			text += "; CASCADE empties the tables that refer to it too"
		}
		name := "…"
		if len(p.Objects) > 0 {
			name = p.target().name(p.Objects[0])
		}
		p.report(text, "-- in batches, while others work: changeling backfill run --name empty "+shell("DELETE FROM "+name), "-- or, if it is meant: -- changeling: ignore L61 and the reason")
	}
}

// kindOf sorts a statement: ddl, data or nothing.
func (p *pass) kindOf(s subject) string {
	first, _, _ := strings.Cut(s.Verb, " ")
	switch first {
	case "ALTER", "CREATE", "DROP", "RENAME", "TRUNCATE":
		return "schema"
	case "UPDATE", "DELETE", "INSERT", "REPLACE", "MERGE":
		return "data"
	case "WITH":
		if s.words.has("UPDATE") || s.words.has("DELETE FROM") || s.words.has("INSERT INTO") {
			return "data"
		}
	}
	return ""
}

// target of UPDATE, DELETE or INSERT.
func (p *pass) changesRowsOf(s subject) schema.Name {
	ws := s.words
	for _, lead := range []string{"INSERT INTO", "DELETE FROM ONLY", "DELETE FROM", "REPLACE INTO", "UPDATE ONLY", "UPDATE LOW_PRIORITY", "UPDATE"} {
		if rest := ws.after(lead); len(rest) > 0 {
			n := schema.Name{Table: rest[0].ident(p.target())}
			if rest.upper(1) == "." && len(rest) > 2 {
				n = schema.Name{Schema: n.Table, Table: rest[2].ident(p.target())}
			}
			return n
		}
	}
	return schema.Name{}
}

func mixed(p *pass) {
	var schemaAt, dataAt = -1, -1
	for i, s := range p.subjects {
		fresh := false
		switch p.kindOf(s) {
		case "schema":
			if schemaAt < 0 && (s.Verb == "ALTER TABLE" && !p.madeHere(&p.subjects[i])) {
				schemaAt = i
			}
		case "data":
			fresh = p.madeHere(&subject{Statement: plan.Statement{Table: p.changesRowsOf(s)}})
			if dataAt < 0 && !fresh {
				dataAt = i
			}
		}
	}
	if schemaAt < 0 || dataAt < 0 {
		return
	}
	p.subject, p.at = &p.subjects[dataAt], dataAt
	p.report(fmt.Sprintf("line %d changes the schema of a table: in one transaction its lock is held while the rows are changed, and without one a failure leaves half", p.subjects[schemaAt].line),
		"-- the schema in one migration, the rows in a later one, in batches:", "-- changeling backfill run --name fill "+shell(p.Text))
	p.subject = nil
}

func wholeTable(p *pass) {
	first, _, _ := strings.Cut(p.Verb, " ")
	t := p.model.table(p.changesRowsOf(*p.subject))
	if t.fresh || slices.Contains(p.options.Small, t.name.String()) {
		return
	}
	switch {
	case (first == "UPDATE" || first == "DELETE") && !p.byKey():
		p.report("one statement over many rows holds all of their locks until it ends, and makes replicas wait: in batches nobody notices",
			"-- changeling backfill run --name "+strings.ToLower(first)+"_"+t.name.Table+" "+shell(p.Text))
	case (first == "INSERT" || first == "REPLACE") && p.words.has("SELECT") && !p.words.has("VALUES"):
		p.report("one statement over many rows holds all of their locks until it ends, and makes replicas wait", "-- by ranges of the key of the table that it reads:", p.Text+" WHERE id > … AND id <= …;")
	}
}

// byKey says that a WHERE picks a few rows: by = or IN with values, on a column that is called or known as a key.
func (p *pass) byKey() bool {
	where := p.words.after("WHERE")
	if where == nil || where.has("SELECT") {
		return false
	}
	t := p.model.table(p.changesRowsOf(*p.subject))
	keys := []string{"id", "key", "uuid", "code", "slug", "name", "version"}
	for _, x := range t.indexes {
		if x.unique && len(x.columns) > 0 {
			keys = append(keys, x.columns[0])
		}
	}
	for i, w := range where {
		if slices.Contains(keys, strings.ToLower(w.ident(p.target()))) && (where.upper(i+1) == "=" && i+2 < len(where) && where[i+2].kind != plan.TokenWord || where.upper(i+1) == "IN") {
			return true
		}
	}
	return p.words.has("LIMIT")
}

// strongest says that a statement locks everybody out of a table that others use.
func (p *pass) strong(s *subject) (schema.Name, bool) {
	switch {
	case s.Verb == "ALTER TABLE" && !p.madeHere(s):
		weak := []plan.Action{plan.ValidateConstraint, plan.SetStatistics, plan.SetTableOptions, plan.ResetTableOptions, plan.AttachPartition}
		return s.Table, slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool { return !slices.Contains(weak, k.Action) })
	case (s.Verb == "DROP TABLE" || s.Verb == "TRUNCATE") && len(s.Objects) > 0:
		return s.Objects[0], true
	}
	return schema.Name{}, false
}

func longTransaction(p *pass) {
	held := map[int]*subject{}
	told := map[int]bool{}
	for i := range p.subjects {
		s := &p.subjects[i]
		if s.tx == 0 || told[s.tx] {
			continue
		}
		p.subject, p.at = s, i
		first := held[s.tx]
		name, strong := p.strong(s)
		switch {
		case first == nil && strong:
			held[s.tx] = s
		case first != nil && strong && p.model.key(name) != p.model.key(first.table(p)):
			told[s.tx] = true
			p.report(fmt.Sprintf("%s stays locked since line %d until this lock was had too, and the other way round for whoever takes them in another order", first.table(p), first.line), "-- a migration, or at least a transaction, for each table:", strings.TrimRight(s.Text, ";")+";")
		case first != nil && p.long(s):
			told[s.tx] = true
			p.report(fmt.Sprintf("%s stays locked since line %d for as long as this takes", first.table(p), first.line), "-- in a migration of its own:", strings.TrimRight(s.Text, ";")+";")
		}
	}
	p.subject = nil
}

func (s *subject) table(p *pass) schema.Name { n, _ := p.strong(s); return n }

// long says that a statement reads or writes many rows.
func (p *pass) long(s *subject) bool {
	if p.kindOf(*s) == "data" && !s.words.has("VALUES") {
		kept := p.subject
		p.subject = s
		defer func() { p.subject = kept }()
		return !p.byKey()
	}
	return strings.HasPrefix(s.Verb, "CREATE") && strings.HasSuffix(s.Verb, " INDEX") && !p.madeHere(s) ||
		slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool { return k.Action == plan.ValidateConstraint })
}

func unbounded(p *pass) {
	bound := map[bool]string{true: "lock_timeout", false: "lock_wait_timeout"}[p.postgres()]
	for i := range p.subjects {
		s := &p.subjects[i]
		if slices.ContainsFunc(s.words, func(w word) bool {
			return strings.EqualFold(strings.Trim(w.text, "'@"), bound) || w.up == "NOWAIT" || w.up == "WAIT" && p.target().maria()
		}) {
			return
		}
		_, strong := p.strong(s)
		if strong = strong || s.Verb == "ALTER TABLE" && !p.madeHere(s) || strings.HasSuffix(s.Verb, " INDEX") && !s.Concurrently && !p.madeHere(s) && strings.HasPrefix(s.Verb, "CREATE"); !strong {
			continue
		}
		p.subject, p.at = s, i
		set := "SET lock_timeout = '2s';"
		if p.target().mysql() {
			set = "SET SESSION lock_wait_timeout = 5;"
		}
		p.report("it waits for its lock as long as anybody uses the table, and all others queue up behind it", set+" -- and try again later", strings.TrimRight(s.Text, ";")+";")
		break
	}
	p.subject = nil
}

func rowByRow(p *pass) {
	body := p.words
	if p.postgres() {
		for _, w := range p.words {
			if w.kind == plan.TokenString && strings.HasPrefix(w.text, "$") {
				body = append(slices.Clone(body), p.lex(strings.Trim(w.text, "$"))...)
			}
		}
	}
	if loop := body.after("LOOP"); loop != nil && (loop.has("UPDATE") || loop.has("DELETE FROM") || loop.has("INSERT INTO")) && (p.Verb == "DO" || strings.HasSuffix(p.Verb, "PROCEDURE") || p.Verb == "BEGIN") && (body.has("FOR") || body.has("FETCH") || body.has("WHILE")) {
		p.report("a loop in one transaction holds the locks of all rows that it has changed, and cannot be stopped without losing all", "-- changeling backfill run --name … "+shell("UPDATE … SET … WHERE …"))
	}
}

func notRerunnable(p *pass) {
	if p.script.Wrapped && p.postgres() {
		return
	}
	for i := range p.subjects {
		s := &p.subjects[i]
		if s.tx > 0 || s.IfExists || len(p.subjects) < 2 {
			continue
		}
		p.subject, p.at = s, i
		first, kind, _ := strings.Cut(s.Verb, " ")
		switch {
		case first == "CREATE" && s.Kind == "TABLE", strings.HasSuffix(s.Verb, " INDEX") && first == "CREATE" && !p.target().oracle() && s.Index != "":
			word := map[bool]string{true: " TABLE", false: " INDEX"}[s.Kind == "TABLE"]
			if s.Concurrently {
				continue // L46 says why not
			}
			p.report("if a statement behind it fails, the file cannot run again: this is there already", strings.Replace(s.Text, word, word+" IF NOT EXISTS", 1)+";")
		case first == "DROP" && (s.Kind == "TABLE" || s.Kind == "INDEX" && p.postgres()):
			p.report("if a statement behind it fails, the file cannot run again: this is gone already", strings.Replace(s.Text, kind, kind+" IF EXISTS", 1)+";")
		case s.Verb == "ALTER TABLE" && !p.target().oracle() && slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool { return k.Action == plan.AddColumn && !k.IfExists }):
			k := s.Clauses[slices.IndexFunc(s.Clauses, func(k plan.Clause) bool { return k.Action == plan.AddColumn && !k.IfExists })]
			p.report("if a statement behind it fails, the file cannot run again: the column is there already", p.alter("%s", strings.Replace(p.columnAlone(k, p.defaulted(k)), "ADD COLUMN", "ADD COLUMN IF NOT EXISTS", 1)))
		}
	}
	p.subject = nil
}

func ownTransactions(p *pass) {
	var open *subject
	for i := range p.subjects {
		s := &p.subjects[i]
		verb := s.words.upper(0)
		begins := verb == "BEGIN" && len(s.words) <= 2 || verb == "START" && s.words.upper(1) == "TRANSACTION"
		ends := verb == "COMMIT" || verb == "END" && len(s.words) <= 2
		p.at = i
		switch {
		case begins && p.script.Wrapped:
			p.subject = s
			p.report("the file runs in a transaction of the runner's, which the COMMIT that belongs to this ends too early: what follows is in none", "-- take BEGIN and COMMIT out")
			p.subject = nil
			return
		case begins && open != nil:
			p.subject = s
			p.report(fmt.Sprintf("a transaction is open since line %d", open.line), "COMMIT; -- before it")
			open = nil
		case begins:
			open = s
		case ends, verb == "ROLLBACK" && s.words.upper(1) != "TO":
			open = nil
		}
	}
	if open != nil {
		p.subject = open
		p.report("the transaction is never committed: nothing of it stays", "COMMIT; -- at the end")
	}
	p.subject = nil
}

func unqualified(p *pass) {
	n := p.Table
	if n.Table == "" {
		n = p.object()
	}
	if n.Table != "" && n.Schema == "" && p.Verb != "" && p.Kind != "SCHEMA" && p.Kind != "EXTENSION" {
		schemaName := map[bool]string{true: "public", false: "app"}[p.postgres()]
		p.report(fmt.Sprintf("which table %s is depends on who connects (search_path, default database)", n.Table), "-- "+schemaName+"."+p.q(n.Table))
	}
}

func renameTable(p *pass, k plan.Clause) {
	if p.fresh() || p.script.Down || k.Action != plan.RenameTable && k.Action != plan.SetSchema || p.covered() || strings.HasSuffix(k.NewName+k.Other.Table, "_pending_drop") {
		return
	}
	to := p.q(k.NewName)
	if k.Other.Table != "" {
		to = p.target().name(k.Other)
	}
	if k.Action == plan.SetSchema {
		p.report(fmt.Sprintf("code that says %s fails from this moment", p.Table), "BEGIN;", p.alter("%s", k.Text), fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s.%s;", p.on(), to, p.q(p.Table.Table)), "COMMIT;", "-- deploy code that knows the new schema, then drop the view")
		return
	}
	p.report(fmt.Sprintf("code that says %s fails from this moment, and code that says %s failed until then", p.Table, to), append([]string{"-- keep the table's name, and map the new one to it in the code: this is the cheapest way; or"}, p.renamedTable(to)...)...)
}

func renameOther(p *pass) {
	if p.script.Down {
		return
	}
	switch {
	case p.Verb == "ALTER SCHEMA" && p.words.has("RENAME TO"):
		p.report("all code that names the schema fails from this moment", "-- add the new schema, move its tables one by one, each with a view under the old name")
	case p.Verb == "RENAME TABLE":
		for _, pair := range p.words[2:].list() {
			i := pair.find("TO")
			if i <= 0 || i+1 >= len(pair) || strings.HasSuffix(pair[len(pair)-1].text, "_pending_drop") {
				continue
			}
			kept := p.subject
			s := *kept
			s.Table = schema.Name{Table: pair[i-1].ident(p.target())}
			p.subject = &s
			if !p.fresh() && !p.covered() {
				p.report(fmt.Sprintf("code that says %s fails from this moment", s.Table), p.renamedTable(pair[i+1:].String())...)
			}
			p.subject = kept
		}
	}
}

func coveredRename(p *pass, k plan.Clause) {
	if (k.Action == plan.RenameTable || k.Action == plan.RenameColumn) && !p.fresh() && p.covered() {
		p.report("a view keeps the old name alive: drop it when no code says it any more, in a later migration", "-- later: DROP VIEW …;")
	}
}

func replacedTable(p *pass) {
	for i := range p.subjects {
		s := &p.subjects[i]
		p.subject, p.at = s, i
		if strings.HasPrefix(s.Verb, "CREATE OR REPLACE") && s.Kind == "TABLE" {
			p.report("a table of this name, and all of its rows, are gone", strings.Replace(s.Text, " OR REPLACE", "", 1)+";")
		}
		if s.Verb == "DROP TABLE" && s.IfExists {
			for _, n := range s.Objects {
				if p.remade(n) {
					p.report(fmt.Sprintf("if %s is there, all of its rows are gone: this is for empty databases", n), "-- leave the DROP out: CREATE TABLE then says that there is one")
				}
			}
		}
	}
	p.subject = nil
}

func opaque(p *pass) {
	first, _, _ := strings.Cut(p.Verb, " ")
	if slices.Contains([]string{"DO", "CALL", "EXECUTE", "PREPARE", "BEGIN"}, first) && len(p.words) > 1 && !(first == "BEGIN" && !p.words.has("NOT ATOMIC")) ||
		slices.ContainsFunc(p.words, func(w word) bool { return w.kind == plan.TokenExecuted }) {
		p.report("nobody can tell from the file what it does, nor run it by halves", "-- write out the statements; or try it on a copy: changeling migrate validate --from …")
	}
}

func malformed(p *pass) {
	if p.error != "" {
		p.report(p.error, "-- close it")
		return
	}
	if p.said != nil && p.said.Syntax != "" {
		p.report("the server says: "+p.said.Syntax, "-- as the manual of "+p.target().String()+" has it")
		return
	}
	limit := map[bool]int{true: 63, false: 64}[p.postgres()]
	for _, w := range p.words {
		name := strings.Trim(w.text, "\"`")
		if (w.kind == plan.TokenIdent || w.kind == plan.TokenWord) && len(name) > limit {
			what := "cuts it off"
			if p.target().mysql() {
				what = "refuses it"
			}
			p.report(fmt.Sprintf("the name %s has %d bytes, and the server %s after %d", name, len(name), what, limit), "-- "+name[:min(limit, 30)])
		}
	}
	if p.Verb == "UPDATE" {
		assigned := map[string]bool{}
		set := p.words.after("SET")
		if i := set.find("WHERE"); i >= 0 {
			set = set[:i]
		}
		for _, part := range set.list() {
			if part.upper(1) != "=" {
				continue
			}
			name := part[0].ident(p.target())
			if assigned[name] {
				p.report(fmt.Sprintf("%s is assigned twice", name), "-- once")
			}
			assigned[name] = true
		}
	}
}
