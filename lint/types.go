package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// kind is a type as far as the rules need it.
type kind struct {
	name string // one name for each type, in lower case
	args []int  // in brackets; nil: none
	more string // what follows, as [] or unsigned
}

var sameType = map[string]string{
	"character varying": "varchar", "character": "char", "bpchar": "char", "integer": "int", "int4": "int", "int8": "bigint", "int2": "smallint", "decimal": "numeric", "dec": "numeric",
	"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz", "time without time zone": "time", "time with time zone": "timetz",
	"bit varying": "varbit", "bool": "boolean", "float8": "double precision", "float4": "real", "serial": "int", "bigserial": "bigint", "smallserial": "smallint", "serial8": "bigint", "serial4": "int",
}

func (p *pass) kind(text string) kind {
	ws := p.lex(text)
	in, _ := ws.group()
	var k kind
	var name, more []string
	depth := 0
	for _, w := range ws {
		switch {
		case w.up == "(":
			depth++
		case w.up == ")":
			depth--
		case depth > 0:
		case w.up == "UNSIGNED" || w.up == "ZEROFILL" || w.up == "[" || w.up == "]" || w.up == "CHARACTER" && len(name) > 0 || w.up == "CHARSET":
			more = append(more, strings.ToLower(w.text))
		case len(more) == 0:
			name = append(name, strings.ToLower(strings.Trim(w.text, `"`)))
		default:
			more = append(more, strings.ToLower(w.text))
		}
	}
	k.name, k.more = strings.Join(name, " "), strings.Join(more, " ")
	if len(name) == 3 && name[1] == "." { // pg_catalog.int8
		k.name = name[2]
	}
	if same := sameType[k.name]; same != "" && (p.postgres() || k.name == "integer" || k.name == "decimal") {
		k.name = same
	}
	for _, a := range in.list() {
		if n, err := strconv.Atoi(a.String()); err == nil {
			k.args = append(k.args, n)
		}
	}
	return k
}

func (k kind) arg(i, missing int) int {
	if i < len(k.args) {
		return k.args[i]
	}
	return missing
}

const unlimited = 1 << 30

// free says that PostgreSQL changes one type to another in the catalogue alone (measured on 14 to 18; operations P30 to P37).
func free(from, to kind, utc bool) bool {
	if from.more != to.more {
		return false
	}
	wider := from.arg(0, unlimited) <= to.arg(0, unlimited)
	pair := from.name + " " + to.name
	switch pair {
	case "varchar varchar", "varbit varbit":
		return wider
	case "varchar text", "cidr inet", "xml text", "int oid", "oid int":
		return true
	case "text varchar":
		return to.args == nil
	case "varchar citext", "text citext", "citext text":
		return true
	case "citext varchar":
		return to.args == nil
	case "bit varbit":
		return to.args == nil || from.arg(0, 1) <= to.arg(0, unlimited)
	case "numeric numeric":
		return to.args == nil || from.args != nil && from.arg(0, 0) <= to.arg(0, 0) && from.arg(1, 0) == to.arg(1, 0)
	case "timestamp timestamp", "timestamptz timestamptz", "time time", "timetz timetz", "interval interval":
		return from.arg(0, 6) <= to.arg(0, 6)
	case "timestamp timestamptz", "timestamptz timestamp":
		return utc && to.args == nil
	}
	return from.name == to.name && slices.Equal(from.args, to.args)
}

// mayBeFree are types that some other types become in the catalogue alone: for a column whose type is not known.
func mayBeFree(to kind) bool {
	if slices.Contains([]string{"text", "varchar", "varbit", "inet", "citext"}, to.name) {
		return true
	}
	return slices.Contains([]string{"numeric", "timestamp", "timestamptz", "time", "interval"}, to.name) && to.more == ""
}

// change is what a type change does to PostgreSQL's files.
func (p *pass) change(k plan.Clause) (costs, known bool) {
	to := p.kind(k.Type)
	c := p.table().column(k.Column)
	if c == nil {
		return !mayBeFree(to), false
	}
	utc := slices.Contains([]string{"utc", "gmt", "etc/utc"}, p.model.settings["timezone"]) || p.model.settings["time"] != "" && strings.Contains(p.model.settings["time"], "utc")
	if k.Using != "" && !p.sameUsing(k) {
		return true, true
	}
	return !free(p.kind(c.Type), to, utc), true
}

// sameUsing says that USING names the column alone, or casts it to the new type.
func (p *pass) sameUsing(k plan.Clause) bool {
	ws := p.lex(k.Using)
	if len(ws) == 0 || ws[0].ident(p.target()) != k.Column {
		return false
	}
	cast := ws[1:]
	return len(cast) == 0 || len(cast) > 2 && cast.upper(0) == ":" && cast.upper(1) == ":" && p.kind(cast[2:].String()).name == p.kind(k.Type).name
}

func typeChange(p *pass, k plan.Clause) {
	if p.fresh() {
		return
	}
	if p.target().mysql() {
		mysqlType(p, k)
		return
	}
	if k.Action != plan.AlterType {
		return
	}
	costs, known := p.change(k)
	switch {
	case costs && known && k.Using != "" && needless(p, k):
		return // L11
	case costs:
		p.report(fmt.Sprintf("the server writes %s and all its indexes anew, while nobody can use it", p.Table), p.online(p.Text))
	case !known && k.Using != "" && !p.sameUsing(k):
		p.report(fmt.Sprintf("with this USING the server writes %s anew, while nobody can use it", p.Table), p.online(p.Text))
	case !known:
		p.reportAs(Warning, fmt.Sprintf("whether the server writes %s anew depends on the type that %s has now, which these files do not tell: with --dsn a rehearsal does", p.Table, k.Column), p.online(p.Text))
	}
}

// mysqlType judges MODIFY, CHANGE and CONVERT TO (operations M31 to M50).
func mysqlType(p *pass, k plan.Clause) {
	switch k.Action {
	case plan.ConvertTo:
		p.report(fmt.Sprintf("the server writes %s anew while nobody can write to it, even where the character set is the same", p.Table), p.online(p.Text))
		return
	case plan.AlterType, plan.ChangeColumn:
	default:
		return
	}
	c := p.table().column(k.Column)
	ws := p.lex(k.Text)
	to := p.kind(k.Type)
	switch {
	case to.name == "enum" || to.name == "set":
		return // L1n
	case c == nil && !ws.has("FIRST") && !ws.has("AFTER"):
		p.reportAs(Warning, fmt.Sprintf("whether the server copies %s depends on what %s is now, which these files do not tell: with --dsn a rehearsal does. "+
			"ALGORITHM=INSTANT, or ALGORITHM=INPLACE with LOCK=NONE, makes it fail instead", p.Table, k.Column), p.alter("%s, ALGORITHM=INPLACE, LOCK=NONE", k.Text), "-- and if the server refuses that: "+strings.TrimPrefix(p.online(p.Text), "-- "))
		return
	case c == nil:
		if !p.target().maria() {
			p.report(fmt.Sprintf("to put a column elsewhere MySQL writes %s anew, and replicas wait as long", p.Table), p.online(p.Text))
		}
		return
	}
	from := p.kind(c.Type)
	if !mysqlFree(p, from, to) {
		p.report(fmt.Sprintf("the server copies %s while nobody can write to it", p.Table), p.online(p.Text))
	} else if (ws.has("FIRST") || ws.has("AFTER")) && p.target().oracle() {
		p.report(fmt.Sprintf("to put a column elsewhere MySQL writes %s anew, and replicas wait as long", p.Table), p.online(p.Text))
	}
}

// mysqlFree says that a type change keeps the rows: the same type, or a VARCHAR that grows and whose length stays in one byte, or
// is in two already.
func mysqlFree(p *pass, from, to kind) bool {
	if from.more != to.more || from.name != to.name {
		return false
	}
	if from.name != "varchar" && from.name != "varbinary" {
		if slices.Contains([]string{"int", "bigint", "smallint", "tinyint", "mediumint"}, from.name) {
			return true // the number in brackets is for display
		}
		return slices.Equal(from.args, to.args)
	}
	bytes := 4
	if from.name == "varbinary" {
		bytes = 1
	}
	a, b := from.arg(0, 0), to.arg(0, 0)
	return a == b || a < b && (b*bytes <= 255 || a*bytes > 255)
}

func typeUnderCheck(p *pass, k plan.Clause) {
	if k.Action != plan.AlterType || p.fresh() {
		return
	}
	if costs, _ := p.change(k); costs {
		return // L07
	}
	for _, c := range p.table().mentions(k.Column) {
		dropped := slices.ContainsFunc(p.Clauses, func(d plan.Clause) bool { return d.Action == plan.DropConstraint && d.Name == c.name })
		if c.valid && !c.notNull && c.name != "" && !dropped {
			p.report(fmt.Sprintf("the type alone is free, but the server reads all rows of %s for the check %s while nobody can use it", p.Table, c.name),
				p.alter("DROP CONSTRAINT %s, %s, ADD CONSTRAINT %s CHECK (%s) NOT VALID", p.q(c.name), k.Text, p.q(c.name), c.words), p.alter("VALIDATE CONSTRAINT %s", p.q(c.name)))
		}
	}
}

func typeWithNotNull(p *pass, k plan.Clause) {
	if p.fresh() {
		return
	}
	both := false
	if p.postgres() {
		both = k.Action == plan.AlterType && slices.ContainsFunc(p.Clauses, func(n plan.Clause) bool { return n.Action == plan.SetNotNull && n.Column == k.Column })
	} else if c := p.table().column(k.Column); c != nil {
		both = (k.Action == plan.AlterType || k.Action == plan.ChangeColumn) && k.Inline.NotNull && !c.Inline.NotNull && p.kind(k.Type).name != p.kind(c.Type).name
	}
	if !both {
		return
	}
	var out []string
	if p.postgres() {
		out = append(out, p.alter("%s", k.Text))
	} else {
		out = append(out, p.alter("%s", strings.TrimSpace(strings.Replace(k.Text, "NOT NULL", "NULL", 1))))
	}
	p.report("two things that can fail for different reasons, under one lock: change the type, then demand NOT NULL", append(out, p.notNull(k.Column)...)...)
}

func typeRebuildsIndex(p *pass, k plan.Clause) {
	if k.Action != plan.AlterType || p.fresh() {
		return
	}
	if costs, known := p.change(k); costs || !known {
		return
	}
	t := p.table()
	from, to := p.kind(t.column(k.Column).Type), p.kind(k.Type)
	sorts := k.Collate != "" || from.name != to.name && (from.name == "citext" || to.name == "citext" || strings.HasPrefix(from.name, "timestamp"))
	for _, x := range t.using(k.Column) {
		inPredicate := x.where != nil && slices.Contains(idents(x.where, p.target()), k.Column)
		if sorts || !x.plain && from.name != to.name || inPredicate {
			p.report(fmt.Sprintf("the rows of %s stay, but the server builds %s anew while nobody can use the table", p.Table, x.name), p.online(p.Text))
			return
		}
	}
}

// needless says that a type change would be free without its USING.
func needless(p *pass, k plan.Clause) bool {
	c := p.table().column(k.Column)
	if c == nil {
		return false
	}
	ws := p.lex(k.Using)
	from, to := p.kind(c.Type), p.kind(k.Type)
	zone := ws.has("AT TIME ZONE 'UTC'") && strings.HasPrefix(from.name, "timestamp") && strings.HasPrefix(to.name, "timestamp")
	return zone || !slices.Contains([]string{"+", "-", "*", "/", "|"}, ws.upper(1)) && len(ws.calls()) <= 1 && ws.has("::") && free(from, to, true)
}

func needlessUsing(p *pass, k plan.Clause) {
	if k.Action != plan.AlterType || p.fresh() || k.Using == "" || p.sameUsing(k) || !needless(p, k) {
		return
	}
	c := p.table().column(k.Column)
	if strings.HasPrefix(p.kind(c.Type).name, "timestamp") && p.kind(c.Type).name != p.kind(k.Type).name {
		p.report(fmt.Sprintf("because of USING the server writes %s anew; in a session in UTC the same values come out without it, and without touching a row", p.Table),
			"BEGIN;", "SET LOCAL timezone = 'UTC';", p.alter("ALTER COLUMN %s TYPE %s", p.q(k.Column), k.Type), "COMMIT;")
		return
	}
	p.fixing(p.withoutUsing(k)...).report(fmt.Sprintf("because of USING the server writes %s anew; without it the change is free", p.Table), p.alter("ALTER COLUMN %s TYPE %s", p.q(k.Column), k.Type))
}

func typeUnderView(p *pass, k plan.Clause) {
	if k.Action != plan.AlterType || p.fresh() {
		return
	}
	for name, tables := range p.model.views {
		if slices.Contains(tables, p.model.key(p.Table)) {
			p.report(fmt.Sprintf("the server refuses to change the type of a column that a view reads, and %s reads %s", name, p.Table),
				"BEGIN;", fmt.Sprintf("DROP VIEW %s;", p.target().name(name)), p.alter("%s", k.Text), fmt.Sprintf("CREATE VIEW %s AS …; -- as it was, with its rights", p.target().name(name)), "COMMIT;")
			return
		}
	}
}

// members are those of an ENUM or a SET.
func (p *pass) members(text string) []string {
	in, _ := p.lex(text).group()
	var out []string
	for _, m := range in.list() {
		out = append(out, m.String())
	}
	return out
}

func enumMembers(p *pass, k plan.Clause) {
	to := p.kind(k.Type)
	if p.fresh() || k.Action != plan.AlterType && k.Action != plan.ChangeColumn || to.name != "enum" && to.name != "set" {
		return
	}
	c := p.table().column(k.Column)
	if c == nil || p.kind(c.Type).name != to.name {
		p.reportAs(Warning, fmt.Sprintf("free only if the new list is the old one with members added at its end: a list that differs otherwise copies %s while nobody can write", p.Table),
			p.alter("%s, ALGORITHM=INSTANT", k.Text), "-- and if the server refuses that: "+strings.TrimPrefix(p.online(p.Text), "-- "))
		return
	}
	was, now := p.members(c.Type), p.members(k.Type)
	size := func(n int) int {
		if to.name == "enum" {
			return 1 + n/256
		}
		return (n + 7) / 8
	}
	if len(now) < len(was) || !slices.Equal(now[:len(was)], was) || size(len(was)) != size(len(now)) {
		p.report(fmt.Sprintf("members are numbers to the server, and these change, or need another byte: it copies %s while nobody can write. Rows whose member is gone fail", p.Table),
			"-- add members at the end of the list, or:", p.online(p.Text))
	}
}
