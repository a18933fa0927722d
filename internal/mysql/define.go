package mysql

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

var (
	keyLine     = regexp.MustCompile("^(?:(?:UNIQUE|FULLTEXT|SPATIAL) )?KEY `((?:[^`]|``)+)`")
	foreignLine = regexp.MustCompile("^CONSTRAINT `((?:[^`]|``)+)` FOREIGN KEY")
	checkLine   = regexp.MustCompile("^CONSTRAINT `((?:[^`]|``)+)` CHECK")
	columnLine  = regexp.MustCompile("^`((?:[^`]|``)+)` ")
	counter     = regexp.MustCompile(` AUTO_INCREMENT=\d+`)
)

// Tables answers the names of the tables of the database.
const Tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'`

// Define reads the definition of a table, nil if there is none.
func Define(ctx context.Context, db state.DB, n schema.Name) (*schema.Table, error) {
	t := &schema.Table{Name: n}
	var name string
	err := db.QueryRowContext(ctx, "SHOW CREATE TABLE "+qualified(n)).Scan(&name, &t.Text)
	if fault.Undefined(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(t.Text, "\n")
	for i, line := range lines[1:] {
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		unquoted := func(m []string) string { return strings.ReplaceAll(m[1], "``", "`") }
		switch {
		case strings.HasPrefix(line, ")"):
			t.Parts = append(t.Parts, schema.Part{Kind: "options", Text: counter.ReplaceAllString(strings.TrimPrefix(strings.Join(lines[i+1:], "\n"), ")"), "")})
			return t, nil
		case columnLine.MatchString(line):
			t.Parts = append(t.Parts, schema.Part{Kind: "column", Name: unquoted(columnLine.FindStringSubmatch(line)), Text: line})
		case strings.HasPrefix(line, "PRIMARY KEY"):
			t.Parts = append(t.Parts, schema.Part{Kind: "primary key", Text: line})
		case keyLine.MatchString(line):
			t.Parts = append(t.Parts, schema.Part{Kind: "index", Name: unquoted(keyLine.FindStringSubmatch(line)), Text: line})
		case foreignLine.MatchString(line):
			t.Parts = append(t.Parts, schema.Part{Kind: "foreign key", Name: unquoted(foreignLine.FindStringSubmatch(line)), Text: line})
		case checkLine.MatchString(line):
			t.Parts = append(t.Parts, schema.Part{Kind: "constraint", Name: unquoted(checkLine.FindStringSubmatch(line)), Text: line})
		default:
			t.Odd = "its definition has the line " + line
		}
	}
	return t, nil
}

// WayBack leads from the definition of a table that is there now to the one that it had. Either may be nil.
func WayBack(now, then *schema.Table) (b schema.Back) {
	switch {
	case now == nil && then == nil:
		return b
	case then == nil:
		return schema.Back{SQL: []string{"DROP TABLE " + qualified(now.Name)}}
	case now == nil:
		name := strings.SplitN(then.Text, "(", 2)
		return schema.Back{SQL: []string{"CREATE TABLE " + qualified(then.Name) + " (" + counter.ReplaceAllString(name[1], "")}, Lossy: "the table " + qualified(then.Name) + " comes back without its rows, its triggers, and the foreign keys of others"}
	case now.Odd != "" || then.Odd != "":
		return schema.Back{Why: fmt.Sprintf("the table %s is more than its parts: %s", qualified(then.Name), now.Odd+then.Odd)}
	}
	var drop, columns, add []string
	for _, p := range now.Parts {
		if old := then.Part(p.Kind, p.Name); old != nil && (p.Kind == "column" || p.Kind == "options" || old.Text == p.Text) {
			continue
		}
		switch p.Kind {
		case "column":
			columns = append(columns, "DROP COLUMN "+quote(p.Name))
		case "primary key":
			drop = append(drop, "DROP PRIMARY KEY")
		case "index":
			drop = append(drop, "DROP INDEX "+quote(p.Name))
		case "foreign key":
			drop = append(drop, "DROP FOREIGN KEY "+quote(p.Name))
		default:
			drop = append(drop, "DROP CONSTRAINT "+quote(p.Name))
		}
	}
	place := " FIRST"
	for _, p := range then.Parts {
		there := now.Part(p.Kind, p.Name)
		switch {
		case p.Kind == "column" && there == nil:
			columns = append(columns, "ADD COLUMN "+fillable(p.Text)+place)
			b.Lossy = strings.TrimPrefix(b.Lossy+"; the column "+p.Name+" comes back without its values", "; ")
		case there != nil && there.Text == p.Text:
		case p.Kind == "column":
			columns = append(columns, "MODIFY COLUMN "+p.Text)
			b.Lossy = strings.TrimPrefix(b.Lossy+fmt.Sprintf("; values of %s go from `%s` to `%s`, and may be rounded or not fit", p.Name, there.Text, p.Text), "; ")
		case p.Kind == "options":
			if strings.Contains(p.Text+there.Text, "PARTITION BY") {
				return schema.Back{Why: "partitions are not led back"}
			}
			add = append(add, strings.TrimSpace(p.Text))
		default:
			add = append(add, "ADD "+p.Text)
		}
		if p.Kind == "column" {
			place = " AFTER " + quote(p.Name)
		}
	}
	if clauses := append(append(drop, columns...), add...); len(clauses) > 0 {
		b.SQL = []string{"ALTER TABLE " + qualified(then.Name) + " " + strings.Join(clauses, ", ")}
	}
	return b
}

// fillable is a column's definition for rows that have no value for it: NOT NULL stays only where a default or a counter gives one.
func fillable(text string) string {
	tokens, err := plan.Lex(text, plan.MySQLSyntax())
	if err != nil {
		return text
	}
	depth, not, from, to := 0, -1, 0, 0
	for _, t := range tokens {
		word := strings.ToUpper(text[t.Start:t.End])
		switch {
		case word == "(":
			depth++
		case word == ")":
			depth--
		case depth > 0 || t.Kind != plan.TokenWord:
		case word == "DEFAULT", word == "AUTO_INCREMENT", word == "GENERATED":
			return text
		case word == "NOT":
			not = t.Start
		case word == "NULL" && not >= 0:
			from, to, not = not, t.End, -1
		default:
			not = -1
		}
	}
	if to == 0 {
		return text
	}
	return text[:from] + strings.TrimPrefix(text[to:], " ")
}
