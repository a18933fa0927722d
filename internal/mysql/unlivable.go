package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Why a second column cannot come beside a column, be filled and be kept in step.

// unfillable says why a second column could not come beside a column, be filled and be kept in step, whatever it is for.
func (w *planner) unfillable(ctx context.Context, r *rehearsal, from Column) (out []string, err error) {
	name := w.plan.Table.String()
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !strings.EqualFold(r.source.Engine, "InnoDB") || r.source.Kind != "BASE TABLE" || strings.Contains(strings.ToUpper(r.source.Create), "WITH SYSTEM VERSIONING") {
		add("%s is no plain InnoDB table: its columns come and go at once in those alone", name)
	}
	if slices.Contains(corrupting, strings.SplitN(w.dialect.version, "-", 2)[0]) && !w.dialect.maria {
		add("MySQL %s could lose columns that were added or dropped at once in a crash: 8.0.32 or later is needed", w.dialect.version)
	}
	switch {
	case from.Generated:
		add("column %s of %s is generated: nobody writes it, so there cannot be a second one that is written with it", from.Name, name)
	case from.AutoIncrement:
		add("column %s of %s has AUTO_INCREMENT: its value comes behind all triggers, so nobody could write it down in a second column", from.Name, name)
	case updatesItself(r.source, from):
		add("column %s of %s has ON UPDATE CURRENT_TIMESTAMP, which would count as written by everybody", from.Name, name)
	}
	if _, ok := from.image(); !ok {
		add("column %s of %s is of type %s, whose values cannot be compared exactly", from.Name, name, from.Type)
	}
	triggers, err := userTriggers(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	for _, t := range triggers {
		if t.event == "UPDATE" {
			add("the trigger %s fires on UPDATE, and so for each row that is filled: drop it first, and make it again when all rows are", t.name)
		}
	}
	if w.logged {
		set, err := variables(ctx, w.conn, "binlog_format")
		if err != nil {
			return nil, err
		}
		if set["binlog_format"] == "STATEMENT" {
			add("binlog_format is STATEMENT, by which replicas would fill other rows: ROW or MIXED is needed")
		}
	}
	return out, nil
}

// unlivable says what would fail users, lose writes, or change rows unasked while a column has two names.
func (w *planner) unlivable(ctx context.Context, r *rehearsal, from Column) (out []string, err error) {
	name := w.plan.Table.String()
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if out, err = w.unfillable(ctx, r, from); err != nil {
		return nil, err
	}
	keys, err := foreignKeys(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if slices.ContainsFunc(k.columns, func(c string) bool { return strings.EqualFold(c, from.Name) }) && k.rewrites() {
			add("the foreign key %s changes column %s of %s by itself (ON UPDATE %s, ON DELETE %s), and no trigger hears of that", k.name, from.Name, name, k.updated, k.erased)
		}
	}
	for _, q := range []struct{ says, query string }{
		referred(r.source.Name, from),
		{"column " + from.Name + " has rights of its own, which nobody has for another name: %s; grant them for the table",
			"SELECT CONCAT(PRIVILEGE_TYPE, ' for ', GRANTEE) FROM information_schema.COLUMN_PRIVILEGES" + ofColumn(r.source.Name, from, "TABLE_SCHEMA", "TABLE_NAME", "COLUMN_NAME")},
		{"the view %s names column " + from.Name + ", and would be broken in the end, as by a native RENAME COLUMN: drop it first",
			"SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.VIEWS WHERE LOCATE(" + literal(qualified(r.source.Name)) + ", VIEW_DEFINITION) > 0 AND LOCATE(" +
				literal("."+quote(from.Name)) + ", VIEW_DEFINITION) > 0"},
	} {
		found, err := state.Column(ctx, w.conn, q.query)
		if err != nil {
			return nil, err
		}
		for _, text := range found {
			add(q.says, text)
		}
	}
	triggers, err := userTriggers(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	for _, t := range triggers {
		if mentions(t.body, from.Name) {
			add("the trigger %s names column %s: it would fail every write once that is gone; drop it first", t.name, from.Name)
		}
	}
	return out, nil
}

// ofColumn is the condition of a view of the catalogue for a column, by the names that the view gives its database, its table and it.
func ofColumn(n schema.Name, c Column, database, table, column string) string {
	return " WHERE " + database + " = " + literal(n.Schema) + " AND " + table + " = " + literal(n.Table) + " AND " + column + " = " + literal(c.Name)
}

// referred asks which foreign keys of other tables refer to a column.
func referred(n schema.Name, c Column) (q struct{ says, query string }) {
	q.says = "a foreign key of another table refers to column " + c.Name + ": %s"
	q.query = "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME, ' (', CONSTRAINT_NAME, ')') FROM information_schema.KEY_COLUMN_USAGE" +
		ofColumn(n, c, "REFERENCED_TABLE_SCHEMA", "REFERENCED_TABLE_NAME", "REFERENCED_COLUMN_NAME")
	return q
}

// mentions says that a name stands in a text.
func mentions(text, name string) bool {
	return slices.ContainsFunc(significant(text), func(t plan.Token) bool {
		word := text[t.Start:t.End]
		return (t.Kind == plan.TokenWord || t.Kind == plan.TokenIdent) && (strings.EqualFold(word, name) || strings.EqualFold(word, quote(name)))
	})
}
