package backfill

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/mysql"
)

// Keys are saved as JSON arrays of texts, and written into conditions as literals.

// column is one of a key.
type column struct {
	name   string // quoted
	plain  string
	typ    string
	number bool
	ops    []string // as in comparisons
}

var comparisons = []string{"<", "<=", "=", ">=", ">"}

// is compares the column with a value by the operator that its index orders it with.
func (c column) is(comparison, value string) string {
	return c.name + " " + c.ops[slices.Index(comparisons, comparison)] + " " + value
}

// primary are the columns of the primary key.
func (w *walk) primary(ctx context.Context, schema, table string) (keys []column, err error) {
	rows, err := w.db.QueryContext(ctx, w.text.Keys, schema, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		var ops string
		if err := rows.Scan(&c.name, &c.typ, &c.number, &ops); err != nil {
			return nil, err
		}
		if c.ops = strings.Split(ops, "\n"); len(c.ops) != len(comparisons) {
			return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the primary key of %s has the column %s, whose index has the operators %q: expected five that order it; nothing was changed", w.table, c.name, ops)}
		}
		if c.plain, c.name = c.name, ident.Quote(c.name); w.mysql {
			c.name = mysql.QuotedName(c.plain)
		}
		if w.mysql && strings.Contains(c.typ, "binary") || strings.Contains(c.typ, "blob") {
			return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the primary key of %s has the binary column %s (%s), which batches cannot go by yet; nothing was changed", w.table, c.name, c.typ)}
		}
		keys = append(keys, c)
	}
	if len(keys) == 0 && rows.Err() == nil {
		return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("table %s is not there or has no primary key: batches go by it; nothing was changed", w.table)}
	}
	return keys, rows.Err()
}

// last is the greatest key of the table, empty if it has no rows.
func (w *walk) last(ctx context.Context) (string, error) {
	return w.key(ctx, "SELECT "+w.texts()+" FROM "+w.table+" ORDER BY "+w.columns(" DESC")+" LIMIT 1")
}

// boundary is the key that ends a batch of some rows behind the position: by the key's index alone, whatever the condition (S8).
func (w *walk) boundary(ctx context.Context, size int64) (string, error) {
	within, err := w.between(w.after, w.upto)
	if err != nil {
		return "", err
	}
	to, err := w.key(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT 1 OFFSET %d", w.texts(), w.table, within, w.columns(""), size-1))
	if err == nil && to == "" {
		to = w.upto
	}
	return to, err
}

// texts are the key's columns as texts.
func (w *walk) texts() string {
	if w.mysql {
		return w.columns("")
	}
	var out []string
	for i, k := range w.keys { // under another name: ORDER BY would take the text for the column
		out = append(out, fmt.Sprintf("%s::text AS key_%d", k.name, i))
	}
	return strings.Join(out, ", ")
}

func (w *walk) columns(suffix string) string {
	var out []string
	for _, k := range w.keys {
		out = append(out, k.name+suffix)
	}
	return strings.Join(out, ", ")
}

func (w *walk) key(ctx context.Context, query string) (string, error) {
	values := make([]sql.NullString, len(w.keys))
	places := make([]any, len(w.keys))
	for i := range values {
		places[i] = &values[i]
	}
	err := w.db.QueryRowContext(ctx, query).Scan(places...)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var key []string
	for _, v := range values {
		key = append(key, v.String)
	}
	text, err := json.Marshal(key)
	return string(text), err
}

// between is the condition for keys behind one and up to another.
func (w *walk) between(after, upto string) (string, error) {
	high, err := w.compare(upto, "<", "<=")
	if err != nil || after == "" {
		return high, err
	}
	low, err := w.compare(after, ">", ">")
	return low + " AND " + high, err
}

// compare writes a comparison of the key's columns as a chain, which both kinds of servers answer by the index: the first
// column is bounded by itself as well.
func (w *walk) compare(key, strict, final string) (string, error) {
	var values []string
	if err := json.Unmarshal([]byte(key), &values); err != nil || len(values) != len(w.keys) {
		return "", &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("the saved key %s is not one of table %s any more: its primary key was changed. Cancel the job and make a new one", key, w.table)}
	}
	var ors []string
	equal := ""
	for i, k := range w.keys {
		op := strict
		if i == len(w.keys)-1 {
			op = final
		}
		value, err := w.literal(k, values[i])
		if err != nil {
			return "", err
		}
		ors = append(ors, equal+k.is(op, value))
		equal += k.is("=", value) + " AND "
	}
	if len(ors) == 1 {
		return "(" + ors[0] + ")", nil
	}
	first, err := w.literal(w.keys[0], values[0])
	if err != nil {
		return "", err
	}
	return "(" + w.keys[0].is(strict+"=", first) + " AND (" + strings.Join(ors, " OR ") + "))", nil
}

func (w *walk) literal(c column, value string) (string, error) {
	switch {
	case c.number:
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			if _, err := strconv.ParseUint(value, 10, 64); err != nil {
				return "", fmt.Errorf("the key %q is no number: %w", value, err)
			}
		}
		return value, nil
	case w.mysql:
		return mysql.Literal(value), nil
	}
	return "CAST(" + ident.Literal(value) + " AS " + c.typ + ")", nil
}
