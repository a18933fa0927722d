package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// DB is what inspection needs of a pool, a connection or a transaction.
type DB = state.DB

// ErrNoTable says that there is no table of that name.
type ErrNoTable struct{ Name schema.Name }

func (e ErrNoTable) Error() string {
	if e.Name.Schema == "" {
		return fmt.Sprintf("table %s has no database before its name, and the connection has no default one: write database.%s; nothing was changed", e.Name, e.Name)
	}
	return fmt.Sprintf("table %s does not exist: check the name and the database; nothing was changed", e.Name)
}

// Resolve finds a table by the name that a statement gives, with the connection's default database where it gives none.
// The answer is spelled as the server keeps it, which depends on lower_case_table_names. The error is ErrNoTable if there
// is no such table.
func Resolve(ctx context.Context, q DB, n schema.Name) (schema.Name, error) {
	var fallback sql.NullString
	var lower int
	if err := q.QueryRowContext(ctx, "SELECT DATABASE(), @@lower_case_table_names").Scan(&fallback, &lower); err != nil {
		return n, err
	}
	if n.Schema == "" {
		n.Schema = fallback.String
	}
	if lower == 1 {
		n.Schema, n.Table = strings.ToLower(n.Schema), strings.ToLower(n.Table)
	}
	var found schema.Name
	err := q.QueryRowContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+literal(n.Schema)+" AND TABLE_NAME = "+literal(n.Table)).
		Scan(&found.Schema, &found.Table)
	if err == sql.ErrNoRows {
		return n, ErrNoTable{n}
	}
	return found, err
}

// dialect is what the texts depend on.
type dialect struct {
	maria   bool
	version string
	mode    string // the session's sql_mode
}

func ask(ctx context.Context, q DB) (dialect, error) {
	var s dialect
	err := q.QueryRowContext(ctx, "SELECT @@version, @@sql_mode").Scan(&s.version, &s.mode)
	s.maria = strings.Contains(strings.ToLower(s.version), "mariadb")
	return s, err
}

// Inspect reads everything about one table.
func Inspect(ctx context.Context, q DB, n schema.Name) (*Relation, error) {
	s, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	r := &Relation{Name: n, Maria: s.maria}
	where := " WHERE TABLE_SCHEMA = " + literal(n.Schema) + " AND TABLE_NAME = " + literal(n.Table)
	var engine, collation, options sql.NullString
	var rows, data, index sql.NullInt64
	err = q.QueryRowContext(ctx, "SELECT TABLE_TYPE, ENGINE, TABLE_COLLATION, CREATE_OPTIONS, TABLE_ROWS, DATA_LENGTH, INDEX_LENGTH FROM information_schema.TABLES"+where).
		Scan(&r.Kind, &engine, &collation, &options, &rows, &data, &index)
	if err == sql.ErrNoRows {
		return nil, ErrNoTable{n}
	}
	if err != nil {
		return nil, err
	}
	r.Engine, r.Collation, r.Options, r.Rows, r.Data, r.Bytes = engine.String, collation.String, options.String, rows.Int64, data.Int64, data.Int64+index.Int64
	if err := q.QueryRowContext(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "+literal(n.Schema)).
		Scan(&r.DatabaseCharset, &r.DatabaseCollation); err != nil {
		return nil, err
	}
	if r.Kind == "VIEW" || r.Kind == "SYSTEM VIEW" || r.Kind == "SEQUENCE" {
		return r, nil
	}
	if r.Create, err = showCreate(ctx, q, n); err != nil {
		return nil, err
	}
	r.Parts = parts(r.Create)
	if err := r.columns(ctx, q, where); err != nil {
		return nil, err
	}
	if err := r.indexes(ctx, q, where); err != nil {
		return nil, err
	}
	return r, r.neighbours(ctx, q)
}

// showCreate is the server's own text. A session with ANSI_QUOTES hears of names in double quotes; they come out in
// backticks here, so that all sessions have one text.
func showCreate(ctx context.Context, q DB, n schema.Name) (string, error) {
	var name, text string
	if err := q.QueryRowContext(ctx, "SHOW CREATE TABLE "+qualified(n)).Scan(&name, &text); err != nil {
		return "", err
	}
	syntax := plan.MySQLSyntax()
	syntax.QuotedStrings = false // strings stand in single quotes here
	tokens, err := plan.Lex(text, syntax)
	if err != nil {
		return "", fmt.Errorf("SHOW CREATE TABLE %s: %w", n, err)
	}
	var b strings.Builder
	for _, t := range tokens {
		word := text[t.Start:t.End]
		if t.Kind == plan.TokenIdent && word[0] == '"' {
			word = quote(strings.ReplaceAll(word[1:len(word)-1], `""`, `"`))
		}
		b.WriteString(word)
	}
	return b.String(), nil
}

func (r *Relation) columns(ctx context.Context, q DB, where string) error {
	rows, err := q.QueryContext(ctx, "SELECT COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, "+
		"GENERATION_EXPRESSION, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION FROM information_schema.COLUMNS"+where+" ORDER BY ORDINAL_POSITION")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c Column
		var charset, collation, value, generated sql.NullString
		var null, extra string
		var length, precision, scale, fraction sql.NullInt64
		if err := rows.Scan(&c.Name, &c.Type, &c.Data, &charset, &collation, &null, &value, &extra, &generated, &length, &precision, &scale, &fraction); err != nil {
			return err
		}
		c.Data = strings.ToLower(c.Data)
		c.Charset, c.Collation, c.Nullable = charset.String, collation.String, null == "YES"
		c.Length, c.Precision, c.Scale, c.Fraction = length.Int64, precision.Int64, scale.Int64, fraction.Int64
		extra = strings.ToUpper(extra)
		c.AutoIncrement = strings.Contains(extra, "AUTO_INCREMENT")
		c.Generated = generated.String != "" || strings.Contains(extra, "VIRTUAL GENERATED") || strings.Contains(extra, "STORED GENERATED")
		if value.Valid && !(r.Maria && value.String == "NULL") {
			c.Default = &value.String
		}
		r.Columns = append(r.Columns, c)
	}
	return rows.Err()
}

func (r *Relation) indexes(ctx context.Context, q DB, where string) error {
	expression := "EXPRESSION"
	if r.Maria {
		expression = "NULL" // it indexes no expressions
	}
	rows, err := q.QueryContext(ctx, "SELECT INDEX_NAME, NON_UNIQUE, INDEX_TYPE, COLUMN_NAME, SUB_PART, COLLATION, "+expression+
		" FROM information_schema.STATISTICS"+where+" ORDER BY INDEX_NAME, SEQ_IN_INDEX")
	if err != nil {
		return err
	}
	defer rows.Close()
	found := map[string]*Index{}
	for rows.Next() {
		var name, kind string
		var column, order, expr sql.NullString
		var part sql.NullInt64
		var many int
		if err := rows.Scan(&name, &many, &kind, &column, &part, &order, &expr); err != nil {
			return err
		}
		x := found[name]
		if x == nil {
			x = &Index{Name: name, Unique: many == 0, Kind: kind}
			found[name] = x
		}
		x.Keys = append(x.Keys, IndexKey{Column: column.String, Prefix: part.Int64, Desc: order.String == "D", Expression: expr.String})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	// The order and the text are those of SHOW CREATE TABLE.
	for _, p := range r.Parts {
		if x := found[p.Name]; x != nil && p.Index {
			x.Def = p.Text
			r.Indexes = append(r.Indexes, *x)
		}
	}
	if len(r.Indexes) != len(found) {
		return fmt.Errorf("table %s: the catalogue has %d indexes and SHOW CREATE TABLE shows %d: changeling cannot read this table's definition yet; nothing was changed", r.Name, len(found), len(r.Indexes))
	}
	return nil
}

// neighbours are other objects that hang on the table.
func (r *Relation) neighbours(ctx context.Context, q DB) error {
	schema, table := literal(r.Name.Schema), literal(r.Name.Table)
	for _, list := range []struct {
		into  *[]string
		query string
	}{
		{&r.Triggers, "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = " + schema + " AND EVENT_OBJECT_TABLE = " + table +
			" AND " + others + " ORDER BY 1"},
		{&r.Parents, "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = " + schema + " AND TABLE_NAME = " + table + " ORDER BY 1"},
		{&r.Children, "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME, ' (', CONSTRAINT_NAME, ')') FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA = " +
			schema + " AND REFERENCED_TABLE_NAME = " + table + " AND NOT (CONSTRAINT_SCHEMA = " + schema + " AND TABLE_NAME = " + table + ") ORDER BY 1"},
	} {
		found, err := state.Column(ctx, q, list.query)
		if err != nil {
			return err
		}
		*list.into = found
	}
	return nil
}

// others leaves out the triggers that belong to changes.
const others = "LEFT(TRIGGER_NAME, 11) <> 'changeling_'"

// Fingerprint identifies a table's definition: columns, indexes, constraints, options, and behind a point triggers that are not ours.
// The next AUTO_INCREMENT value and the data are no part of it.
func Fingerprint(ctx context.Context, q DB, n schema.Name) (string, error) {
	text, err := showCreate(ctx, q, n)
	if fault.Code(err) == "42P01" {
		return "", ErrNoTable{n}
	}
	if err != nil {
		return "", err
	}
	triggers, err := state.Column(ctx, q, "SELECT CONCAT_WS(' ', TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, DEFINER, SQL_MODE, ACTION_STATEMENT) FROM information_schema.TRIGGERS "+
		"WHERE EVENT_OBJECT_SCHEMA = "+literal(n.Schema)+" AND EVENT_OBJECT_TABLE = "+literal(n.Table)+" AND "+others+" ORDER BY TRIGGER_NAME")
	if err != nil {
		return "", err
	}
	sum := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:12])
	}
	out := sum(withoutCounter(text))
	if len(triggers) > 0 {
		out += "." + sum(strings.Join(triggers, "\x00"))
	}
	return out, nil
}

// SameTable says that two fingerprints differ in their triggers alone, if at all.
func SameTable(a, b string) bool {
	a, _, _ = strings.Cut(a, ".")
	b, _, _ = strings.Cut(b, ".")
	return a == b
}
