package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Key families on MySQL. InnoDB compares the two ends of a foreign key byte by byte, so no key stands between columns of two types, not even with
// foreign_key_checks off (error 3780). So each table has a second one, and all are swapped by one RENAME TABLE under one LOCK TABLES: see
// docs/ARCHITECTURE.md, "Key families on MySQL".

// integers are the types that the columns of a family can have.
var integers = []string{"tinyint", "smallint", "mediumint", "int", "integer", "bigint"}

// FamilyOf finds the columns that foreign keys tie to those to which a statement gives another type, over any number of tables, and in both
// directions. It answers the statement's own table and the others, each with its statement, or why there can be none. It changes nothing.
func FamilyOf(ctx context.Context, db *sql.DB, text string, wait time.Duration) (own plan.Member, others []plan.Member, why []string, err error) {
	conn, d, err := theirSession(ctx, db)
	if err != nil {
		return own, nil, nil, coded(err)
	}
	defer discard(conn)
	syntax := plan.MySQLSyntax()
	syntax.QuotedStrings = !strings.Contains(d.mode, "ANSI_QUOTES")
	syntax.Backslashes = !strings.Contains(d.mode, "NO_BACKSLASH_ESCAPES")
	s, err := plan.Parse(text, syntax)
	if err != nil || s.Verb != "ALTER TABLE" || s.Table.Table == "" {
		return own, nil, nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: "children are taken along when a column gets another type: expected ALTER TABLE … MODIFY …; nothing was changed"}
	}
	name, err := Resolve(ctx, conn, s.Table)
	if err != nil {
		return own, nil, nil, err
	}
	g := &gathering{q: conn, syntax: syntax, statement: s, root: name, types: map[tied]string{}, keys: map[schema.Name][]foreignKey{}}
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = "+fmt.Sprint(seconds(wait))); err != nil {
		return own, nil, nil, coded(err)
	}
	for _, c := range s.Clauses {
		if c.Action == plan.AlterType || c.Action == plan.ChangeColumn {
			if err := g.gather(ctx, c); err != nil {
				return own, nil, nil, coded(err)
			}
		}
	}
	own = plan.Member{Table: name, Statement: s.Text}
	if len(g.why) > 0 {
		return own, nil, g.why, nil
	}
	for _, table := range g.tables {
		clauses, err := g.clauses(ctx, table)
		if err != nil {
			return own, nil, nil, coded(err)
		}
		switch {
		case len(clauses) == 0:
		case table == name:
			own.Statement += ", " + strings.Join(clauses, ", ")
		default:
			others = append(others, plan.Member{Table: table, Statement: "ALTER TABLE " + qualified(table) + " " + strings.Join(clauses, ", ")})
		}
	}
	return own, others, g.why, nil
}

// tied is a column that a foreign key has to do with.
type tied struct {
	table  schema.Name
	column string // in small letters
}

// gathering puts a family together.
type gathering struct {
	q         DB
	syntax    plan.Syntax
	statement plan.Statement
	root      schema.Name
	types     map[tied]string // that the columns are to have
	tables    []schema.Name   // in the order in which they were found
	keys      map[schema.Name][]foreignKey
	why       []string
}

// gather adds all columns that have to have the type of one.
func (g *gathering) gather(ctx context.Context, c plan.Clause) error {
	first := tied{g.root, strings.ToLower(c.Column)}
	list, seen := []tied{first}, map[tied]bool{first: true}
	for i := 0; i < len(list); i++ {
		next, err := g.neighbours(ctx, list[i])
		if err != nil {
			return err
		}
		for _, n := range next {
			if !seen[n] {
				seen[n] = true
				list = append(list, n)
			}
		}
	}
	if len(list) == 1 {
		return nil // no key has to do with it
	}
	to := g.integer(c)
	if to == "" {
		g.why = append(g.why, fmt.Sprintf("foreign keys tie column %s of %s to others, and families of MySQL are of integers: %q is none", c.Column, g.root, c.Text))
		return nil
	}
	if c.NewName != "" && !strings.EqualFold(c.NewName, c.Column) {
		g.why = append(g.why, fmt.Sprintf("%q gives a column another name to which foreign keys are tied: do that in a statement of its own, which the server does at once", c.Text))
		return nil
	}
	for _, k := range list {
		if was, there := g.types[k]; there && was != to {
			g.why = append(g.why, fmt.Sprintf("column %s of %s would have to be %s and %s", k.column, k.table, was, to))
		}
		g.types[k] = to
		if !slices.Contains(g.tables, k.table) {
			g.tables = append(g.tables, k.table)
		}
	}
	return nil
}

// neighbours are the columns to which one refers, and those that refer to it.
func (g *gathering) neighbours(ctx context.Context, of tied) (out []tied, err error) {
	kids, err := children(ctx, g.q, of.table)
	if err != nil {
		return nil, err
	}
	for _, table := range append(kids, of.table) {
		keys, there := g.keys[table]
		if !there {
			if keys, err = foreignKeys(ctx, g.q, table); err != nil {
				return nil, err
			}
			g.keys[table] = keys
		}
		for _, k := range keys {
			for i := range k.columns {
				child, parent := tied{table, strings.ToLower(k.columns[i])}, tied{k.parent, strings.ToLower(k.refers[i])}
				switch of {
				case child:
					out = append(out, parent)
				case parent:
					out = append(out, child)
				}
			}
		}
	}
	return out, nil
}

// integer is the type that a clause gives, as the server writes it, or empty.
func (g *gathering) integer(c plan.Clause) string {
	var words []string
	tokens, err := plan.Lex(c.Text, g.syntax)
	for _, t := range tokens {
		if word := strings.ToLower(c.Text[t.Start:t.End]); err == nil && t.Kind == plan.TokenWord {
			words = append(words, word)
		}
	}
	at := slices.IndexFunc(words, func(w string) bool { return slices.Contains(integers, w) })
	if at < 0 || slices.Contains(words, "zerofill") || slices.Contains(words, "generated") || slices.Contains(words, "as") {
		return ""
	}
	to := strings.Replace(words[at], "integer", "int", 1)
	if len(words) > at+1 && words[at+1] == "unsigned" {
		to += " unsigned"
	}
	return to
}

// clauses give the columns of a table their type, and leave all else of them as it is.
func (g *gathering) clauses(ctx context.Context, table schema.Name) (out []string, err error) {
	r, err := Inspect(ctx, g.q, table)
	if err != nil {
		return nil, err
	}
	for _, c := range r.Columns {
		to, there := g.types[tied{table, strings.ToLower(c.Name)}]
		said := table == g.root && slices.ContainsFunc(g.statement.Clauses, func(k plan.Clause) bool {
			return (k.Action == plan.AlterType || k.Action == plan.ChangeColumn) && strings.EqualFold(k.Column, c.Name)
		})
		if !there || c.Type == to && !said {
			continue
		}
		if c.Generated || c.zerofill() || !slices.Contains(integers, c.Data) {
			g.why = append(g.why, fmt.Sprintf("column %s of %s, which foreign keys tie to it, is %s: families of MySQL are of plain integers", c.Name, table, c.Type))
			continue
		}
		if said {
			continue
		}
		i := slices.IndexFunc(r.Parts, func(p part) bool { return strings.HasPrefix(p.Text, quote(c.Name)+" "+c.Type) })
		if i < 0 {
			return nil, fmt.Errorf("column %s of %s is not found in its definition", c.Name, table)
		}
		out = append(out, "MODIFY COLUMN "+quote(c.Name)+" "+to+strings.TrimPrefix(r.Parts[i].Text, quote(c.Name)+" "+c.Type))
	}
	return out, nil
}

// akin says that a table is one of the family that is planned.
func (w *planner) akin(n schema.Name) bool {
	return slices.ContainsFunc(w.options.Kin, func(m plan.Member) bool { return m.Table == n })
}

// changedAlong are the statements that make the twin of another table of the family what that table will be.
func (w *planner) changedAlong(n, twin schema.Name) []string {
	i := slices.IndexFunc(w.options.Kin, func(m plan.Member) bool { return m.Table == n })
	if i < 0 {
		return nil
	}
	s, err := plan.Parse(w.options.Kin[i].Statement, w.syntax)
	if err != nil {
		return nil // the key's own try says what does not fit
	}
	return []string{w.theirs(), s.Retarget(qualified(twin)), ours()}
}

// jointly fills in the other tables of the family, and answers why the table cannot be swapped with them.
func (w *planner) jointly(p *schema.Pair) (refusals []string) {
	for _, m := range w.options.Kin {
		if m.Table != p.Source {
			p.Kin = append(p.Kin, m.Table)
		}
	}
	if len(p.Kin) > 0 && len(p.Triggers) > 0 {
		refusals = append(refusals, fmt.Sprintf("%s has triggers, so its old table cannot leave the database, where the new one needs the names of its foreign keys: drop the triggers first, and make them again afterwards", p.Source))
	}
	return refusals
}

// called is a text in which the source has the name As. LOCK TABLES takes no name twice in one database.
func (w Rows) called(text string) string {
	if w.As == "" {
		return text
	}
	tokens, err := plan.Lex(text, plan.MySQLSyntax())
	if err != nil {
		return text // the statement fails, because nothing of that name is locked
	}
	var b strings.Builder
	for _, t := range tokens {
		if word := text[t.Start:t.End]; t.Kind == plan.TokenWord && word == "s" {
			b.WriteString(w.As)
		} else {
			b.WriteString(word)
		}
	}
	return b.String()
}

// LockAll is the LOCK TABLES of several pairs.
func LockAll(all []Rows) string {
	var list []string
	for _, w := range all {
		list = append(list, strings.Split(w.Locked(), ", ")...)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return "LOCK TABLES " + strings.Join(slices.DeleteFunc(list, func(one string) bool { // a child of one may be a parent of another
		name, ok := strings.CutSuffix(one, " READ")
		return ok && slices.Contains(list, name+" WRITE")
	}), ", ")
}

// InstallSwapOfAll makes the procedure that swaps the tables of all pairs by one RENAME, in the database of the first. It is as that of
// InstallSwap otherwise, and may run twice.
func InstallSwapOfAll(all []schema.Pair) []string {
	var clear, give, take, out, in string
	var s script
	for _, p := range all {
		p.Foreign = slices.Clone(p.Foreign)
		for i, k := range p.Foreign {
			for _, other := range all { // the keys between them stand between the shadows, and go along
				if other.Source != p.Source {
					p.Foreign[i].Add = strings.Replace(k.Add, " REFERENCES "+qualified(other.Source)+" ", " REFERENCES "+qualified(other.Shadow)+" ", 1)
				}
				if p.Foreign[i].Add != k.Add {
					break
				}
			}
		}
		c, g, t, _ := keyParts(p)
		clear, give, take = clear+c, give+g, take+t
		parts := childParts(p)
		s.begin, s.leave, s.join, s.end, s.back = s.begin+parts.begin, s.leave+parts.leave, s.join+parts.join, s.end+parts.end, s.back+parts.back
		out += ", " + qualified(p.Source) + " TO " + qualified(p.Old)
		in += ", " + qualified(p.Shadow) + " TO " + qualified(p.Source)
	}
	name := swapping(all[0])
	return []string{"DROP PROCEDURE IF EXISTS " + name,
		"CREATE PROCEDURE " + name + "() SQL SECURITY INVOKER BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN " + clear + s.back + "RESIGNAL; END; " + clear +
			s.begin + give + s.leave + "RENAME TABLE " + strings.TrimPrefix(out+in, ", ") + "; " + s.join + take + s.end + "END"}
}

// SwappingAll are the tables that are locked while those of several pairs are swapped.
func SwappingAll(all []schema.Pair) (out []schema.Name) {
	for _, p := range all {
		for _, n := range Swapping(p) {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}
