package changeling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// explain turns an error of a step into one for a person, naming the rows if the data are the cause.
func (r *run) explain(ctx context.Context, s plan.Step, err error) error {
	if _, said := errors.AsType[*fault.Problem](err); said {
		return err
	}
	if err == nil || fault.Lost(err) || fault.Transient(err) || ctx.Err() != nil || fault.KindOf(err) != fault.Unexpected {
		return err
	}
	text := fmt.Sprintf("step %q: %s", s.Name, fault.Message(err))
	if d := fault.Detail(err); d != "" {
		text += " (" + shorten(d, 200) + ")"
	}
	if fault.Code(err) == "53100" && !r.engine.dialect.Transactional() { // the server says that a table is full
		text += ": there is no room left for it, on the disk or in what the server may take of it"
	}
	advice := ". The source is untouched. Mend the cause and run the same command again, or `changeling abort " + r.record.ID + "`"
	switch r.record.Plan.Route {
	case plan.Direct:
		advice = ". Nothing was changed. Mend the cause and run the same command again, or `changeling abort " + r.record.ID + "`"
	case plan.Recipe:
		advice = ". No row was changed. Mend the cause and run the same command again, or `changeling abort " + r.record.ID + "`, which takes away what the steps before it made"
	}
	if cut := r.record.Plan.Find(plan.Cutover); cut >= 0 && r.record.Step > cut {
		advice = ". The tables are swapped, and nothing is lost. Mend the cause and run the same command again"
	}
	switch {
	case r.record.Plan.Route == plan.Direct && wrong(err):
		return &fault.Problem{Kind: fault.Usage, Err: err, Text: text + advice}
	case fault.Data(err), fault.Duplicate(err), fault.Code(err) == "23503", fault.Code(err) == "P0001":
		for _, q := range s.Ask {
			keys, askErr := r.ask(ctx, q)
			if askErr == nil && len(keys) > 0 {
				text += "; rows with " + strings.Join(keys, ", ")
			}
		}
		return &fault.Problem{Kind: fault.Refusal, Err: err, Text: text + advice}
	case fault.Denied(err), fault.Full(err), fault.ReadOnly(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: text + advice}
	case fault.Undefined(err):
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: text + ": somebody else changed the table or dropped what the change made" + advice}
	}
	return &fault.Problem{Kind: fault.Unexpected, Err: err, Text: text + advice}
}

// wrong says that the server refuses the statement itself: syntax, names, what depends on what, what it cannot do.
func wrong(err error) bool {
	code := fault.Code(err)
	return !fault.Denied(err) && (strings.HasPrefix(code, "42") || strings.HasPrefix(code, "0A") || strings.HasPrefix(code, "2B"))
}

// ask runs a query that answers keys as JSON arrays, and writes them for a person.
func (r *run) ask(ctx context.Context, query string) ([]string, error) {
	keys, err := state.Column(ctx, r.engine.db, query)
	for i, key := range keys {
		keys[i] = r.person(key)
	}
	return keys, err
}

// person writes a key as a person would: id 4711.
func (r *run) person(key string) string { return personal(key, r.pair) }

func personal(key string, p schema.Pair) string {
	var names []string
	for _, k := range p.Key {
		names = append(names, k.Source)
	}
	return labelled(key, names)
}

// labelled writes values, given as a JSON array, with the names of their columns.
func labelled(key string, names []string) string {
	values, err := copier.ParseKey(key)
	if err != nil || len(values) != len(names) {
		return shorten(key, 200)
	}
	var parts []string
	for i, name := range names {
		parts = append(parts, name+" "+shorten(values[i], 60))
	}
	return strings.Join(parts, ", ")
}

func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

// blame finds the row that a conversion fails on: the range is halved until one block is left, then its rows are tried.
func (r *run) blame(ctx context.Context, c copier.Chunk, err error) error {
	if err == nil || !unconvertible(err) {
		return err
	}
	if r.rows.Blocks() == "" {
		return r.accuse(ctx, err, r.rows.Places(c.Range))
	}
	block, findErr := r.badBlock(ctx, c.Range)
	if findErr != nil {
		return findErr
	}
	return r.accuse(ctx, err, r.rows.Places(block))
}

// unconvertible says that a value did not survive its conversion.
func unconvertible(err error) bool { return fault.Data(err) || fault.Code(err) == "P0001" }

// accuse tries the rows of a query one by one and names the first that cannot be copied.
func (r *run) accuse(ctx context.Context, err error, places string) error {
	guilty, findErr := r.guilty(ctx, places)
	if findErr != nil {
		return findErr
	}
	if guilty == "" {
		return err
	}
	if fault.Unplaced(err) {
		return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("a row fits no partition: %s. The source is untouched, and nothing is lost. Give the row another value and run the same command again; "+
			"or `changeling abort %s`, and begin again with a --partition for it, or with --default NAME", guilty, r.record.ID)}
	}
	return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("a row cannot be converted: %s: %s. The source is untouched. Mend the row and run the same command again, or `changeling abort %s`",
		guilty, fault.Message(err), r.record.ID)}
}

// fails runs a statement as a copy would, and takes it back.
func (r *run) fails(ctx context.Context, statement string) (bool, error) {
	t, err := r.begin(ctx, session{Path: r.pair.Path, Async: true, Role: r.pair.Owner})
	if err != nil {
		return false, err
	}
	_, err = t.ExecContext(ctx, statement)
	if endErr := ended(t.Tx); endErr != nil {
		return false, endErr
	}
	switch {
	case unconvertible(err):
		return true, nil
	case fault.Duplicate(err): // the row is there already; it was converted
		return false, nil
	}
	return false, err
}

// badBlock halves a range while a half of it fails.
func (r *run) badBlock(ctx context.Context, g copier.Range) (copier.Range, error) {
	for {
		left, right, ok := copier.HalveBlocks(g)
		if !ok {
			return g, nil
		}
		bad, err := r.fails(ctx, r.rows.Copy(left))
		if err != nil {
			return g, err
		}
		if g = right; bad {
			g = left
		}
	}
}

// guilty tries the rows that a query names, one by one, and answers the first that fails for a person.
func (r *run) guilty(ctx context.Context, query string) (string, error) {
	places, err := placesOf(ctx, r.engine.db, query)
	if err != nil {
		return "", err
	}
	for _, p := range places {
		bad, err := r.fails(ctx, r.rows.CopyOne(p.id))
		if err != nil {
			return "", err
		}
		if bad {
			return r.person(p.key) + " with " + values(p.values), nil
		}
	}
	return "", nil
}

// place is where a row stands, its key, and the values that are converted, both as JSON.
type place struct{ id, key, values string }

func placesOf(ctx context.Context, q state.DB, query string) ([]place, error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []place
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.id, &p.key, &p.values); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// values writes a JSON object of column values for a person.
func values(text string) string {
	var m map[string]*string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return shorten(text, 200)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if v := m[name]; v == nil {
			out = append(out, name+" NULL")
		} else {
			out = append(out, fmt.Sprintf("%s %q", name, shorten(*v, 40)))
		}
	}
	return strings.Join(out, ", ")
}
