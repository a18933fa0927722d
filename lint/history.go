package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// badly reports a name that does not follow the rule.
func (p *pass) badly(what, name string) {
	if name != "" && p.options.Names != nil && !p.options.Names.MatchString(name) {
		p.report(fmt.Sprintf("the %s %q does not follow the rule for names", what, name), "-- as --names says")
	}
}

func badName(p *pass) {
	switch {
	case p.creates():
		p.badly("table", p.Objects[0].Table)
		for _, k := range elements(*p.subject, p.target()) {
			badClauseName(p, k)
		}
	case strings.HasPrefix(p.Verb, "CREATE"):
		p.badly("index", p.Index)
	}
}

func badClauseName(p *pass, k plan.Clause) {
	switch k.Action {
	case plan.AddColumn:
		p.badly("column", k.Column)
	case plan.AddConstraint:
		p.badly("constraint", k.Name)
	case plan.RenameColumn, plan.RenameTable, plan.RenameConstraint:
		p.badly("new name", k.NewName)
	}
}

func versions(p *pass) {
	for i := range p.before {
		b := &p.before[i]
		if b.Version == "" || p.script.Version == "" || b.Down != p.script.Down || b.File == p.script.File {
			continue
		}
		if b.Version == p.script.Version {
			p.subject = nil
			p.report(fmt.Sprintf("%s has the same version %s: which of them runs is chance", b.File, b.Version), "-- give one of them another version")
		}
	}
}

func goneColumn(p *pass) {
	if p.kindOf(*p.subject) != "data" {
		return
	}
	n := p.changesRowsOf(*p.subject)
	for _, name := range idents(p.words, p.target()) {
		if file, gone := p.model.table(n).gone[strings.ToLower(name)]; gone {
			p.report(fmt.Sprintf("%s has no column %s any more when this runs: %s takes it away before", n, name, file), "-- move this before "+file+", or write it for the column as it is then")
		}
	}
}

// reverse is the way back of a statement, and whether data are lost on it; empty: there is none.
func (p *pass) reverse(s subject) (text string, lossy bool) {
	name := p.target().name(s.Table)
	switch {
	case strings.HasPrefix(s.Verb, "CREATE") && s.Kind == "TABLE" && len(s.Objects) > 0:
		return "DROP TABLE " + p.target().name(s.Objects[0]) + ";", true
	case strings.HasPrefix(s.Verb, "CREATE") && strings.HasSuffix(s.Verb, " INDEX") && s.Index != "":
		if p.target().mysql() {
			return fmt.Sprintf("DROP INDEX %s ON %s;", p.q(s.Index), name), false
		}
		return fmt.Sprintf("DROP INDEX CONCURRENTLY %s;", p.q(s.Index)), false
	case s.Verb == "ALTER TABLE":
		var back []string
		for _, k := range s.Clauses {
			switch k.Action {
			case plan.AddColumn:
				back, lossy = append(back, "DROP COLUMN "+p.q(k.Column)), true
			case plan.RenameColumn:
				back = append(back, "RENAME COLUMN "+p.q(k.NewName)+" TO "+p.q(k.Column))
			case plan.AddConstraint:
				if k.Name == "" {
					return "", false
				}
				back = append(back, "DROP CONSTRAINT "+p.q(k.Name))
			case plan.SetNotNull:
				back = append(back, "ALTER COLUMN "+p.q(k.Column)+" DROP NOT NULL")
			case plan.SetDefault:
				back = append(back, "ALTER COLUMN "+p.q(k.Column)+" DROP DEFAULT")
			default:
				return "", false
			}
		}
		return "ALTER TABLE " + name + " " + strings.Join(back, ", ") + ";", lossy
	}
	return "", false
}

func noWayBack(p *pass) {
	if !p.script.OneWay || p.script.Down || len(p.subjects) == 0 {
		return
	}
	var out []string
	for i := len(p.subjects) - 1; i >= 0; i-- {
		if p.kindOf(p.subjects[i]) == "" {
			continue
		}
		text, lossy := p.reverse(p.subjects[i])
		switch {
		case text == "":
			out = append(out, fmt.Sprintf("-- line %d has no way back", p.subjects[i].line))
		case lossy:
			out = append(out, text+" -- loses data")
		default:
			out = append(out, text)
		}
	}
	if len(out) > 0 {
		p.report("there is no way back from this migration", out...)
	}
}

func sameRelease(p *pass) {
	added := map[schema.Name]int{}
	for i := range p.subjects {
		s := &p.subjects[i]
		for _, k := range s.Clauses {
			n := p.model.key(s.Table)
			switch {
			case k.Action == plan.AddColumn && !p.madeHere(s):
				added[n] = s.line
			case k.Action == plan.DropColumn && added[n] > 0 && !p.script.Down:
				p.subject, p.at = s, i
				p.report(fmt.Sprintf("line %d adds what comes, and this takes away what goes: between them there must be a deploy", added[n]), "-- in a migration of a later release:", p.alter("%s", k.Text))
			}
		}
	}
	p.subject = nil
}

func rights(p *pass) {
	first, _, _ := strings.Cut(p.Verb, " ")
	switch {
	case first == "GRANT", first == "REVOKE", p.Verb == "ALTER DEFAULT":
		p.report("who may do what changes at once for everybody who is connected", "-- if it is meant, leave it; sessions that lose a right fail at their next statement")
	case p.Verb == "ALTER EXTENSION" || p.Verb == "DROP EXTENSION":
		p.report("types, functions and operators change under the queries that use them", "-- on a copy first; and indexes that it says so of must be built anew")
	}
}

func newOwner(p *pass, k plan.Clause) {
	if k.Action == plan.OwnerTo && !p.fresh() {
		p.report("the owner's rights on "+p.Table.String()+" are another's from now on", "GRANT ALL ON "+p.on()+" TO …; -- the role that had it, if it goes on working with it")
	}
}

func longStep(p *pass) {
	if p.createsIndex() && (p.Concurrently || p.target().mysql()) {
		p.report(fmt.Sprintf("building an index takes as long as %s is large, and the deploy waits: it can be queued and built beside", p.Table), "-- changeling migrate up --detach; changeling resume ID")
	}
}

func longValidation(p *pass, k plan.Clause) {
	if k.Action == plan.ValidateConstraint && !p.fresh() {
		p.report(fmt.Sprintf("reading all rows of %s takes as long as it is large, and the deploy waits", p.Table), "-- in a migration after the deploy:", p.alter("%s", k.Text))
	}
}

func noAnalyze(p *pass) {
	analyzed := slices.ContainsFunc(p.subjects, func(s subject) bool { return s.Verb == "ANALYZE" || s.Verb == "VACUUM" })
	for i := range p.subjects {
		s := &p.subjects[i]
		if analyzed || p.madeHere(s) {
			continue
		}
		p.subject, p.at = s, i
		index := strings.HasPrefix(s.Verb, "CREATE") && strings.HasSuffix(s.Verb, " INDEX") && len(p.model.readIndex(*s).columns) < len(firstGroup(s.words).list())
		if index || slices.ContainsFunc(s.Clauses, func(k plan.Clause) bool { return k.Action == plan.AlterType }) {
			p.report("until the next ANALYZE the server knows nothing of these values, and plans badly", strings.TrimRight(s.Text, ";")+";", "ANALYZE "+p.on()+";")
		}
	}
	p.subject = nil
}

func firstGroup(ws words) words {
	in, _ := ws.after("ON").group()
	return in
}

func replicas(p *pass) {
	if p.kindOf(*p.subject) != "data" {
		return
	}
	for _, f := range p.words.calls() {
		if slices.Contains([]string{"uuid", "rand", "sysdate", "load_file", "user", "found_rows", "row_count", "get_lock", "sleep", "uuid_short"}, f) {
			p.report(fmt.Sprintf("%s() answers something else on a replica, unless its log has rows", f), "SET SESSION binlog_format = 'ROW'; -- or compute it in the program")
		}
	}
	if p.words.has("LIMIT") && !p.words.has("ORDER BY") && !p.words.has("SELECT") {
		p.report("LIMIT without ORDER BY may take other rows on a replica, unless its log has rows", strings.Replace(p.Text, "LIMIT", "ORDER BY id LIMIT", 1)+";")
	}
}

func newTrigger(p *pass) {
	switch {
	case strings.HasPrefix(p.Verb, "CREATE") && p.Kind == "TRIGGER":
		table := "the table"
		if len(p.Tables) > 0 {
			if p.model.table(p.Tables[0]).fresh {
				return
			}
			table = p.Tables[0].String()
		}
		p.report("each write to "+table+" pays for it, and a change by a second table has to carry it, which it cannot everywhere (docs/ROUTES.md)", "-- the large changes of "+table+" first, then the trigger")
	case strings.HasPrefix(p.Verb, "CREATE") && p.Kind == "PUBLICATION" && p.postgres():
		for _, t := range p.model.tables {
			if t.known && t.primary() == nil && p.words.has("TABLE") && slices.Contains(idents(p.words, p.target()), t.name.Table) {
				p.report(fmt.Sprintf("%s has no primary key: once it is published, UPDATE and DELETE fail without a replica identity", t.name), "ALTER TABLE "+p.target().name(t.name)+" REPLICA IDENTITY FULL;")
			}
		}
	}
}

func rehearsed(p *pass) {
	lets := p.Concurrently || len(p.Clauses) > 0 && !slices.ContainsFunc(p.Clauses, func(k plan.Clause) bool { return k.Action != plan.ValidateConstraint })
	if p.said == nil || p.server || lets || p.said.Effect != "scan" && p.said.Effect != "rewrite" {
		return
	}
	verb := map[string]string{"scan": "reads all rows, or builds an index", "rewrite": "writes the table, or an index, anew"}[p.said.Effect]
	p.report("rehearsed on an empty twin: the server "+verb+" while others wait", p.online(p.Text))
}
