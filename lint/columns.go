package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// steady are functions that PostgreSQL computes once a statement, or whose answer depends on their arguments alone. All
// others, a user's own above all, count as computed for each row (pg_proc.provolatile).
var steady = strings.Fields(`now current_setting transaction_timestamp statement_timestamp current_user session_user current_database lower upper trim btrim md5 concat
 coalesce nullif greatest least to_timestamp make_date make_timestamp make_interval date_trunc jsonb_build_object json_build_object jsonb_build_array json_build_array
 array_fill cast extract length abs round to_jsonb to_json date_part timezone format replace repeat`)

// volatile says that a default is computed for each row that is there.
func (p *pass) volatile(expression string) bool {
	ws := p.lex(expression)
	if p.postgres() {
		return slices.ContainsFunc(ws.calls(), func(f string) bool { return !slices.Contains(steady, f) })
	}
	if ws.upper(0) != "(" && !slices.ContainsFunc(ws.calls(), func(f string) bool { return !slices.Contains([]string{"current_timestamp", "now", "localtime"}, f) }) {
		return false
	}
	if p.target().oracle() {
		return true // MySQL copies the table for every expression
	}
	return slices.ContainsFunc(ws.calls(), func(f string) bool {
		return slices.Contains([]string{"uuid", "rand", "uuid_short", "sys_guid", "nextval"}, f)
	})
}

func timestamps(k plan.Clause) bool {
	return slices.Contains([]string{"created_at", "updated_at", "created", "modified", "inserted_at", "deleted_at"}, strings.ToLower(k.Column))
}

// settingDefault is the way of a column whose rows each get a value of their own.
func (p *pass) settingDefault(k plan.Clause) []string {
	out := []string{p.alter("%s", p.columnAlone(k)), p.alter("ALTER COLUMN %s SET DEFAULT %s", p.q(k.Column), k.Default), p.fill(k.Column, k.Default)}
	if k.Inline.NotNull {
		out = append(out, p.notNull(k.Column)...)
	}
	return append(out, p.without(k)...)
}

func volatileDefault(p *pass, k plan.Clause) {
	if k.Action == plan.AddColumn && !p.fresh() && k.Default != "" && p.volatile(k.Default) && !(p.postgres() && timestamps(k)) {
		p.report(fmt.Sprintf("the server computes %s for each row of %s and writes the table anew, while nobody can use it", k.Default, p.Table), p.settingDefault(k)...)
	}
}

func volatileTimestamp(p *pass, k plan.Clause) {
	if k.Action == plan.AddColumn && !p.fresh() && timestamps(k) && k.Default != "" && p.volatile(k.Default) {
		p.report(fmt.Sprintf("%s differs from row to row, so that the server writes %s anew while nobody can use it: now() costs nothing, and gives all rows that are there the time of the statement", k.Default, p.Table),
			p.alter("%s", p.columnAlone(k, "DEFAULT now()")))
	}
}

// serial says that a column takes its values from a sequence.
func (p *pass) serial(k plan.Clause) bool {
	switch strings.ToLower(strings.TrimSpace(k.Type)) {
	case "serial", "bigserial", "smallserial", "serial4", "serial8", "serial2":
		return true
	}
	return k.Inline.Identity || p.target().mysql() && p.lex(k.Text).has("AUTO_INCREMENT")
}

func newSerial(p *pass, k plan.Clause) {
	if k.Action != plan.AddColumn || p.fresh() || !p.serial(k) {
		return
	}
	if p.target().mysql() {
		p.report(fmt.Sprintf("the server numbers all rows of %s while nobody can write, and a replica may number them otherwise", p.Table), p.online(p.Text))
		return
	}
	sequence := p.q(p.Table.Table + "_" + k.Column + "_seq")
	p.report(fmt.Sprintf("the server numbers all rows of %s while nobody can use it", p.Table), append([]string{
		fmt.Sprintf("CREATE SEQUENCE %s;", sequence),
		p.alter("ADD COLUMN %s bigint", p.q(k.Column)),
		p.alter("ALTER COLUMN %s SET DEFAULT nextval('%s')", p.q(k.Column), sequence),
		fmt.Sprintf("ALTER SEQUENCE %s OWNED BY %s.%s;", sequence, p.on(), p.q(k.Column)),
		p.fill(k.Column, "nextval('"+sequence+"')"),
	}, p.notNull(k.Column)...)...)
}

func newStored(p *pass, k plan.Clause) {
	ws := p.lex(k.Text)
	if k.Action != plan.AddColumn || p.fresh() || !k.Inline.Generated || !k.Inline.Stored && !(p.postgres() && !p.target().since(18)) {
		return
	}
	instead := []string{p.online(p.Text)}
	if p.target().mysql() || p.target().since(18) {
		in, _ := ws.after("AS").group()
		instead = append([]string{p.alter("ADD COLUMN %s %s GENERATED ALWAYS AS (%s) VIRTUAL", p.q(k.Column), k.Type, in), "-- computed when it is read; if it has to be stored:"}, instead...)
	}
	p.report(fmt.Sprintf("the server computes the column for each row of %s and writes the table anew meanwhile", p.Table), instead...)
}

func requiredColumn(p *pass, k plan.Clause) {
	if k.Action != plan.AddColumn || p.fresh() || !k.Inline.NotNull || k.Default != "" || k.Inline.Generated || p.serial(k) {
		return
	}
	if p.target().mysql() {
		p.report(fmt.Sprintf("rows that are there get the zero of their type without a word, and code that inserts without %s fails under a strict sql_mode", k.Column),
			p.alter("%s", p.columnAlone(k, "NULL")), p.fill(k.Column, "…"), "-- deploy code that writes it, then make it NOT NULL: "+strings.TrimPrefix(p.notNull(k.Column)[0], "-- "))
		return
	}
	p.report(fmt.Sprintf("it fails as soon as %s has a row, and code that inserts without %s fails from then on", p.Table, k.Column),
		append([]string{"-- with a constant default this is free: " + p.alter("%s", p.columnAlone(k, "NOT NULL DEFAULT …")), "-- else:", p.alter("%s", p.columnAlone(k)), p.fill(k.Column, "…")}, p.notNull(k.Column)...)...)
}

func defaultDropped(p *pass, k plan.Clause) {
	if k.Action != plan.DropDefault || p.fresh() {
		return
	}
	for _, s := range p.subjects[:p.at+1] {
		for _, a := range s.Clauses {
			if a.Action == plan.AddColumn && a.Column == k.Column && s.Table == p.Table && a.Default != "" && (a.Start != k.Start || s.line != p.line) {
				p.report(fmt.Sprintf("code that runs until the deploy inserts into %s without %s, and fails, or leaves NULL, once the default is gone", p.Table, k.Column),
					"-- keep the default now; when no old code runs any more, in a later migration:", p.alter("ALTER COLUMN %s DROP DEFAULT", p.q(k.Column)))
				return
			}
		}
	}
}

func jsonColumn(p *pass, k plan.Clause) {
	if (k.Action == plan.AddColumn || k.Action == plan.AlterType) && strings.EqualFold(strings.TrimSpace(k.Type), "json") {
		p.fixing(p.retype(k, "jsonb")...)
		text := p.columnAlone(plan.Clause{Column: k.Column, Type: "jsonb"}, p.defaulted(k))
		if k.Action == plan.AlterType {
			text = "ALTER COLUMN " + p.q(k.Column) + " TYPE jsonb"
		}
		p.report("json has no equality: SELECT DISTINCT, GROUP BY and UNION over the row fail from then on", p.alter("%s", text))
	}
}

func setNotNull(p *pass, k plan.Clause) {
	if p.fresh() || p.postgres() && k.Action != plan.SetNotNull || p.target().mysql() && (k.Action != plan.AlterType && k.Action != plan.ChangeColumn || !k.Inline.NotNull) {
		return
	}
	t := p.table()
	if c := t.column(k.Column); c != nil && (c.Inline.NotNull || c.Inline.PrimaryKey) {
		return // it was before
	}
	if p.target().mysql() {
		if t.column(k.Column) != nil || !p.lex(k.Text).has("DEFAULT") {
			p.report(fmt.Sprintf("if %s may be NULL now, the server writes %s anew, and replicas wait as long", k.Column, p.Table), "-- fill the rows first: "+strings.TrimPrefix(p.fill(k.Column, "…"), "-- "), p.online(p.Text))
		}
		return
	}
	pending := false
	for _, check := range t.mentions(k.Column) {
		if check.valid && !check.notNull && len(check.words) == 4 && check.words.has("IS NOT NULL") {
			return // the server takes the check's word for it
		}
		pending = pending || check.notNull && !check.valid
	}
	if pending && p.target().since(18) {
		return // L14
	}
	p.report(fmt.Sprintf("the server reads all rows of %s while nobody can use it", p.Table), append(p.notNull(k.Column), p.without(k)...)...)
}

func setNotNullPending(p *pass, k plan.Clause) {
	if k.Action != plan.SetNotNull {
		return
	}
	for _, check := range p.table().mentions(k.Column) {
		if check.notNull && !check.valid {
			p.report(fmt.Sprintf("the constraint %s waits to be validated: SET NOT NULL reads all rows under the strongest lock, VALIDATE lets others work", check.name),
				p.alter("VALIDATE CONSTRAINT %s", p.q(check.name)))
		}
	}
}

func dropColumn(p *pass, k plan.Clause) {
	if k.Action != plan.DropColumn || p.fresh() || p.script.Down {
		return
	}
	out := []string{"-- 1. deploy code that neither reads nor writes " + k.Column}
	if c := p.table().column(k.Column); c == nil || c.Inline.NotNull && c.Default == "" {
		if p.postgres() {
			out = append(out, p.alter("ALTER COLUMN %s DROP NOT NULL", p.q(k.Column))+" -- before that deploy, so that inserts without it work")
		} else {
			out = append(out, p.alter("ALTER COLUMN %s SET DEFAULT …", p.q(k.Column))+" -- before that deploy, so that inserts without it work")
		}
	}
	p.report(fmt.Sprintf("code that still names %s fails at once, and its data are gone: the column goes when nothing uses it any more", k.Column),
		append(out, "-- 2. in a migration of its own, after that deploy:", p.alter("DROP COLUMN %s", p.q(k.Column)))...)
}

func dropIndexedColumn(p *pass, k plan.Clause) {
	if k.Action != plan.DropColumn || p.fresh() {
		return
	}
	var out []string
	t := p.table()
	for _, x := range t.using(k.Column) {
		switch {
		case x.primary || x.name == "":
			continue
		case p.postgres():
			out = append(out, fmt.Sprintf("DROP INDEX CONCURRENTLY %s;", p.q(x.name)))
		default:
			out = append(out, p.alter("DROP INDEX %s, ALGORITHM=INPLACE, LOCK=NONE", p.q(x.name)))
		}
	}
	for _, f := range t.foreign {
		if slices.ContainsFunc(f.columns, func(c string) bool { return strings.EqualFold(c, k.Column) }) && f.name != "" {
			drop := "DROP CONSTRAINT "
			if p.target().mysql() {
				drop = "DROP FOREIGN KEY "
			}
			out = append(out, p.alter("%s", drop+p.q(f.name))+" -- it locks "+f.to.String()+" too")
		}
	}
	if len(out) > 0 {
		p.report(fmt.Sprintf("indexes and keys that have %s go with it under one lock, and MySQL writes the table anew for it: take them away first", k.Column), append(out, p.alter("DROP COLUMN %s", p.q(k.Column)))...)
	}
}

func renameColumn(p *pass, k plan.Clause) {
	if p.fresh() || k.Action != plan.RenameColumn && (k.Action != plan.ChangeColumn || strings.EqualFold(k.Column, k.NewName)) || p.covered() {
		return
	}
	p.report(fmt.Sprintf("code that says %s fails from this moment, and code that says %s failed until then", k.Column, k.NewName), p.renamedColumn(k.Column, k.NewName)...)
}

// covered says that the table's old name is a view's by the end of the same transaction.
func (p *pass) covered() bool {
	names := []string{strings.ToLower(p.Table.Table)}
	for _, s := range p.subjects {
		for _, k := range s.Clauses {
			if k.Action == plan.RenameTable && k.NewName == p.Table.Table {
				names = append(names, strings.ToLower(s.Table.Table))
			}
		}
	}
	return slices.ContainsFunc(p.subjects[p.at+1:], func(s subject) bool {
		return s.Kind == "VIEW" && strings.HasPrefix(s.Verb, "CREATE") && len(s.Objects) > 0 && slices.Contains(names, strings.ToLower(s.Objects[0].Table)) && (s.tx == p.tx || p.target().mysql())
	})
}

func dropNotNull(p *pass, k plan.Clause) {
	if k.Action == plan.DropNotNull && !p.fresh() {
		p.report(fmt.Sprintf("code that reads %s may not expect NULL", k.Column), "-- deploy code that knows NULL first, then:", p.alter("ALTER COLUMN %s DROP NOT NULL", p.q(k.Column)))
	}
}

func changeDefault(p *pass, k plan.Clause) {
	if k.Action != plan.SetDefault || p.fresh() {
		return
	}
	for _, s := range p.subjects[:p.at+1] {
		if s.Table == p.Table && slices.ContainsFunc(s.Clauses, func(a plan.Clause) bool { return a.Action == plan.AddColumn && a.Column == k.Column }) {
			return // the recipe of a volatile default
		}
	}
	p.report(fmt.Sprintf("code that writes only what differs from the default it knows stores the new one from now on: it must name %s in its inserts while both defaults are known", k.Column),
		"-- deploy code that always writes "+k.Column+" first, then:", p.alter("ALTER COLUMN %s SET DEFAULT %s", p.q(k.Column), k.Default))
}

func columnCalledType(p *pass, k plan.Clause) {
	if k.Action == plan.AddColumn && strings.EqualFold(k.Column, "type") && !p.fresh() {
		p.report("frameworks with inheritance in one table take a column of this name for a row's class, and old code fails at the first row that has another: deploy code that knows it first, or call it otherwise",
			p.alter("%s", p.columnAlone(plan.Clause{Column: p.Table.Table + "_type", Type: k.Type}, p.defaulted(k))))
	}
}
