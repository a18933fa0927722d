package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// The safe ways, as lines of SQL, and of comments where something else has to be done in between.

func (p *pass) table() *table      { return p.model.table(p.Table) }
func (p *pass) fresh() bool        { return p.table().fresh }
func (p *pass) target() Target     { return p.options.Target }
func (p *pass) on() string         { return p.target().name(p.Table) }
func (p *pass) q(s string) string  { return p.target().quote(s) }
func (p *pass) postgres() bool     { return p.target().postgres() }
func (p *pass) lex(s string) words { return lex(s, p.target().syntax()) }

// alter is ALTER TABLE of the statement's table.
func (p *pass) alter(format string, args ...any) string {
	return "ALTER TABLE " + p.on() + " " + fmt.Sprintf(format, args...) + ";"
}

// online is the statement made by a second table.
func (p *pass) online(text string) string {
	return "-- changeling run " + shell(strings.TrimRight(text, "; \n"))
}

// fill is the job that gives a value to the rows that are there.
func (p *pass) fill(column, value string) string {
	c := p.q(column)
	return "-- changeling backfill run --name " + column + " " + shell(fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s IS NULL", p.on(), c, value, c)) + " --left " + shell(c+" IS NULL")
}

func shell(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", "$", `\$`).Replace(strings.Join(strings.Fields(s), " ")) + `"`
}

// without are the other clauses of the statement, as a statement; empty: there are none.
func (p *pass) without(these ...plan.Clause) []string {
	var rest []string
	for _, k := range p.Clauses {
		if !slices.ContainsFunc(these, func(o plan.Clause) bool { return o.Start == k.Start }) {
			rest = append(rest, k.Text)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return []string{p.alter("%s", strings.Join(rest, ", "))}
}

// notNull makes a column NOT NULL while others work.
func (p *pass) notNull(column string) []string {
	c, name := p.q(column), p.q(p.Table.Table+"_"+column+"_not_null")
	switch {
	case p.target().mysql():
		return []string{"-- changeling run " + shell(fmt.Sprintf("ALTER TABLE %s MODIFY %s … NOT NULL", p.on(), c)) + " # with the whole definition of the column"}
	case p.target().since(18):
		return []string{p.alter("ADD CONSTRAINT %s NOT NULL %s NOT VALID", name, c), p.alter("VALIDATE CONSTRAINT %s", name)}
	}
	return []string{
		p.alter("ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID", name, c),
		p.alter("VALIDATE CONSTRAINT %s", name),
		p.alter("ALTER COLUMN %s SET NOT NULL", c),
		p.alter("DROP CONSTRAINT %s", name),
	}
}

// constraint is a constraint in two steps: it holds for new rows, then the others are read.
func (p *pass) constraint(k plan.Clause, kind string) []string {
	name, text := k.Name, k.Text
	if name == "" {
		name = p.Table.Table + "_" + kind
		if _, rest, ok := cutWord(text, "ADD"); ok {
			text = "ADD CONSTRAINT " + p.q(name) + " " + rest
		}
	}
	return []string{p.alter("%s NOT VALID", text), p.alter("VALIDATE CONSTRAINT %s", p.q(name))}
}

// cutWord cuts a text behind its first word, if it is the one.
func cutWord(text, word string) (before, after string, ok bool) {
	if len(text) > len(word) && strings.EqualFold(text[:len(word)], word) {
		return text[:len(word)], strings.TrimSpace(text[len(word):]), true
	}
	return "", text, false
}

// byIndex is a key whose index was built before.
func (p *pass) byIndex(name, kind string, columns []string) []string {
	var quoted []string
	for _, c := range columns {
		quoted = append(quoted, p.q(c))
	}
	if name == "" {
		name = strings.Join(append([]string{p.Table.Table}, columns...), "_") + "_key"
		if kind == "PRIMARY KEY" {
			name = p.Table.Table + "_pkey"
		}
	}
	return []string{
		fmt.Sprintf("CREATE UNIQUE INDEX CONCURRENTLY %s ON %s (%s);", p.q(name), p.on(), strings.Join(quoted, ", ")),
		p.alter("ADD CONSTRAINT %s %s USING INDEX %s", p.q(name), kind, p.q(name)),
	}
}

// columnAlone is the clause of a new column with its type and what may stay, without what makes the server work.
func (p *pass) columnAlone(k plan.Clause, with ...string) string {
	text := "ADD COLUMN " + p.q(k.Column) + " " + k.Type
	if k.Collate != "" {
		text += " COLLATE " + k.Collate
	}
	for _, w := range with {
		if w != "" {
			text += " " + w
		}
	}
	return text
}

// defaulted is the default of a new column, if it costs nothing.
func (p *pass) defaulted(k plan.Clause) string {
	if k.Default == "" {
		return ""
	}
	return "DEFAULT " + k.Default
}

// renamedColumn is the way of a column to another name while old and new code run.
func (p *pass) renamedColumn(from, to string) []string {
	if p.target().mysql() {
		return []string{
			"-- changeling expand " + shell(strings.TrimSuffix(p.alter("RENAME COLUMN %s TO %s", p.q(from), p.q(to)), ";")) + ": both names work until changeling contract ID; or",
			"-- 1. keep the column's name, and map the new one to it in the code: this is the cheapest way",
			"-- or: 2. " + strings.TrimSuffix(p.alter("ADD COLUMN %s …", p.q(to)), ";") + ", deploy code that writes both",
			p.fill(to, p.q(from)),
			"-- 3. deploy code that reads and writes " + to + " alone, then",
			p.alter("DROP COLUMN %s", p.q(from)),
		}
	}
	base := p.q(p.Table.Table + "__base")
	full := base
	if p.Table.Schema != "" {
		full = p.q(p.Table.Schema) + "." + base
	}
	return []string{
		"-- changeling expand " + shell(strings.TrimSuffix(p.alter("RENAME COLUMN %s TO %s", p.q(from), p.q(to)), ";")) + ": both names work until changeling contract ID; or",
		"-- keep the column's name, and map the new one to it in the code: this is the cheapest way; or by hand, for reading:",
		"BEGIN;",
		p.alter("RENAME TO %s", base),
		fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s;", full, p.q(from), p.q(to)),
		fmt.Sprintf("CREATE VIEW %s AS SELECT *, %s AS %s FROM %s; -- both names, for reading; name the columns one by one where code inserts", p.on(), p.q(to), p.q(from), full),
		"COMMIT;",
		"-- deploy code that knows the new name, then drop the view and give the table its name again",
	}
}

// renamedTable is the way of a table to another name while old and new code run.
func (p *pass) renamedTable(to string) []string {
	if p.target().mysql() {
		return []string{
			fmt.Sprintf("RENAME TABLE %s TO %s; -- and at once:", p.on(), to),
			fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s;", p.on(), to),
			"-- deploy code that knows the new name, then DROP VIEW " + p.on(),
		}
	}
	return []string{
		"-- changeling run --cover " + shell(strings.TrimSuffix(p.alter("RENAME TO %s", to), ";")) + ", which is:",
		"BEGIN;",
		p.alter("RENAME TO %s", to),
		fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s;", p.on(), to),
		"COMMIT;",
		"-- deploy code that knows the new name, then DROP VIEW " + p.on(),
	}
}
