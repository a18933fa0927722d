package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// What a server does with a statement also depends on the tables that foreign keys tie to its own. So while a statement is rehearsed
// these have empty twins, too, and the twin has their keys; what the statement says of them it says of the twins. No lock but that of
// a reader is taken on a user's table.

// related fills in the twins of the tables that the source refers to, that refer to it, or that the statement refers to. It answers the
// statements that make them.
func (w *planner) related(ctx context.Context, r *rehearsal) ([]string, error) {
	r.twins = map[schema.Name]schema.Name{r.source.Name: r.shadowName()}
	var out []string
	twin := func(n schema.Name) schema.Name {
		if _, there := r.twins[n]; !there {
			r.twins[n] = schema.Name{Schema: r.in(), Table: fmt.Sprintf("changeling_relative_%d", len(r.twins))}
			out = append(out, "CREATE TABLE "+qualified(r.twins[n])+" LIKE "+qualified(n))
		}
		return r.twins[n]
	}
	keys, err := foreignKeys(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	var adds []string
	usual := ""
	if w.dialect.maria {
		usual = "RESTRICT"
	}
	taken := map[string]bool{} // names of keys, of which the twins' database has one each
	for _, k := range keys {
		if w.akin(k.parent) && k.parent != r.source.Name {
			continue // relate tries it
		}
		taken[strings.ToLower(k.name)], k.usual = true, usual
		parent := twin(k.parent)
		adds = append(adds, "ALTER TABLE "+qualified(r.shadowName())+" "+k.clause(k.columns, parent, k.refers))
	}
	children, err := children(ctx, w.conn, r.source.Name)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		if w.akin(child) {
			continue
		}
		keys, err := foreignKeys(ctx, w.conn, child)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.parent == r.source.Name {
				if taken[strings.ToLower(k.name)] { // of another database, or on MariaDB of another table
					k.name = fmt.Sprintf("changeling_key_%d", len(adds))
				}
				taken[strings.ToLower(k.name)], k.usual = true, usual
				adds = append(adds, "ALTER TABLE "+qualified(twin(child))+" "+k.clause(k.columns, r.shadowName(), k.refers))
			}
		}
	}
	var wrong error
	w.tables(w.statement.Text, func(n schema.Name) string {
		found, err := Resolve(ctx, w.conn, w.beside(n))
		if err != nil {
			wrong = err
			return ""
		}
		return qualified(twin(found))
	})
	return append(out, adds...), wrong
}

// children are the other tables whose foreign keys refer to a table.
func children(ctx context.Context, q DB, n schema.Name) ([]schema.Name, error) {
	rows, err := q.QueryContext(ctx, "SELECT DISTINCT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA = "+literal(n.Schema)+
		" AND REFERENCED_TABLE_NAME = "+literal(n.Table)+" ORDER BY 1, 2")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []schema.Name
	for rows.Next() {
		var c schema.Name
		if err := rows.Scan(&c.Schema, &c.Table); err != nil {
			return nil, err
		}
		if c != n {
			out = append(out, c)
		}
	}
	return out, rows.Err()
}

// beside is a name in a statement: of REFERENCES the server looks for it in the table's own database.
func (w *planner) beside(n schema.Name) schema.Name {
	if n.Schema == "" {
		n.Schema = w.plan.Table.Schema
	}
	return n
}

// among is a text of the user's that speaks of the twins.
func (w *planner) among(ctx context.Context, r *rehearsal, text string) string {
	return w.tables(text, func(n schema.Name) string {
		found, err := Resolve(ctx, w.conn, w.beside(n))
		if err != nil {
			return ""
		}
		if twin, there := r.twins[found]; there {
			return qualified(twin)
		}
		return ""
	})
}

// tables is a text with other names for the tables that foreign keys in it refer to; an empty one leaves the text as it is.
func (w *planner) tables(text string, other func(schema.Name) string) string {
	return w.named(text, func(words []string) bool { return words[len(words)-1] == "REFERENCES" }, other)
}

// named replaces the names of tables behind certain words, of which all so far are given.
func (w *planner) named(text string, behind func(words []string) bool, other func(schema.Name) string) string {
	tokens, err := plan.Lex(text, w.syntax)
	if err != nil {
		return text
	}
	tokens = slices.DeleteFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenSpace || t.Kind == plan.TokenComment })
	var b strings.Builder
	var words []string
	upto := 0
	for i := 0; i < len(tokens); i++ {
		if tokens[i].Kind != plan.TokenWord {
			continue
		}
		words = append(words, strings.ToUpper(text[tokens[i].Start:tokens[i].End]))
		if i+1 == len(tokens) || !behind(words) {
			continue
		}
		n, last := name(text, tokens, i+1)
		if n.Table == "" {
			continue
		}
		if put := other(n); put != "" {
			b.WriteString(text[upto:tokens[i+1].Start] + put)
			upto = tokens[last].End
		}
		i = last
	}
	return b.String() + text[upto:]
}

// name reads a table's name from a token on, and answers the token where it ends.
func name(text string, tokens []plan.Token, from int) (schema.Name, int) {
	part := func(t plan.Token) string {
		s := text[t.Start:t.End]
		switch {
		case t.Kind == plan.TokenWord:
			return s
		case t.Kind == plan.TokenIdent && len(s) > 2:
			return strings.ReplaceAll(s[1:len(s)-1], s[:1]+s[:1], s[:1])
		}
		return ""
	}
	n := schema.Name{Table: part(tokens[from])}
	if n.Table != "" && from+2 < len(tokens) && text[tokens[from+1].Start:tokens[from+1].End] == "." {
		if second := part(tokens[from+2]); second != "" {
			return schema.Name{Schema: n.Table, Table: second}, from + 2
		}
	}
	return n, from
}

// past gives the twin what is left of the source's past and no definition shows: a table that once had a FULLTEXT index keeps a hidden
// column, with which the server adds no column at once. MariaDB shows it to an account with PROCESS, MySQL to everybody who may see the
// table. Where it is not seen the statement fails when it runs, changes nothing, and on MySQL is planned again without that way.
func (w *planner) past(ctx context.Context, r *rehearsal) []string {
	if r.source.column("FTS_DOC_ID") != nil || slices.ContainsFunc(r.source.Indexes, func(x Index) bool { return x.Kind == "FULLTEXT" }) {
		return nil
	}
	text := slices.IndexFunc(r.source.Columns, func(c Column) bool {
		return c.Charset != "" && c.Charset != "binary" && c.kind() == "text" && !c.Generated
	})
	query := "SHOW EXTENDED COLUMNS FROM " + qualified(r.source.Name) + " WHERE Field = 'FTS_DOC_ID'"
	if w.dialect.maria {
		query = "SELECT 1 FROM information_schema.INNODB_SYS_TABLES i JOIN information_schema.INNODB_SYS_COLUMNS c ON c.TABLE_ID = i.TABLE_ID AND c.NAME = 'FTS_DOC_ID' WHERE " + fileOf(r.source.Name)
	}
	rows, err := w.conn.QueryContext(ctx, query)
	if err != nil {
		return nil
	}
	there := rows.Next()
	if rows.Close(); !there || text < 0 {
		return nil
	}
	twin := "ALTER TABLE " + qualified(r.shadowName())
	return []string{twin + " ADD FULLTEXT INDEX changeling_past (" + quote(r.source.Columns[text].Name) + ")", twin + " DROP INDEX changeling_past"}
}

// stage makes the databases and the twin, with all that a rehearsal needs besides.
func (w *planner) stage(ctx context.Context, r *rehearsal) error {
	if err := w.remake(ctx, r); err != nil {
		return err
	}
	for i, sql := range append(slices.Clone(r.relatives), r.past...) {
		_, err := w.conn.ExecContext(ctx, sql)
		if err = coded(err); fault.Lost(err) || fault.Canceled(err) {
			return err
		}
		// A key that the server would not take today, but has: the rehearsal goes on without it. Tables must be there.
		if err != nil && i < len(r.relatives) && strings.HasPrefix(sql, "CREATE ") {
			return w.explain(err, "making empty twins of the tables that foreign keys tie to "+w.plan.Table.String())
		}
	}
	return nil
}
