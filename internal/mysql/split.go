package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

// act is one statement of several that come to the same as the user's.
type act struct {
	clauses []string
	how     string // the server's promise how it does it
	builds  bool
	marks   string // of the twin afterwards
	keys    bool   // it adds foreign keys
}

// apart plans a statement of several clauses as several statements, each of which the server does at once, or in place while the table
// is in use. It is asked for what the server would make the table anew for only because the clauses come together: a new column and an
// index, say. One clause that needs the copy takes all with it: they are one atomic change then, and cost one copy.
//
// The twin has the whole statement's result when it comes, and afterwards. What the parts come to is compared with that.
func (w *planner) apart(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	asWritten := r.bared(w.statement.Clauses)
	if len(asWritten) < 2 || w.deceptive() || !w.instant() {
		return nil, nil
	}
	// The twin is as refer leaves it, or as the statement does.
	if err := w.stage(ctx, r); err != nil {
		return nil, err
	}
	if err := w.alter(ctx, w.plain(ctx, r)); err != nil {
		return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	}
	source, err := w.marked(ctx, r.source.Name)
	if err != nil || source != w.likeness {
		return nil, err
	}
	want, err := w.marked(ctx, r.shadowName())
	if err != nil {
		return nil, err
	}
	definition, err := w.definition(ctx, r)
	if err != nil {
		return nil, err
	}
	indexesFirst := slices.Clone(asWritten)
	slices.SortStableFunc(indexesFirst, func(a, b plan.Clause) int { return leaves(b) - leaves(a) })
	for _, order := range [][]plan.Clause{asWritten, indexesFirst} {
		parts, err := w.pieces(ctx, r, order)
		if err != nil {
			return nil, err
		}
		if len(parts) < 2 || parts[len(parts)-1].marks != want {
			continue
		}
		if now, err := w.definition(ctx, r); err != nil || now != definition {
			if err != nil {
				return nil, err
			}
			continue
		}
		return w.guard(ctx, r, w.inParts(parts))
	}
	return nil, nil
}

// bared are clauses with one more before each that drops a column: it drops the indexes that have no other column, and would go with it.
// MySQL makes the table anew for a column with its index, and does each by itself in place or at once.
func (r *rehearsal) bared(clauses []plan.Clause) []plan.Clause {
	var out []plan.Clause
	for _, k := range clauses {
		for _, x := range r.source.Indexes {
			named := slices.ContainsFunc(clauses, func(o plan.Clause) bool { return strings.EqualFold(o.Index, x.Name) })
			if k.Action == plan.DropColumn && len(x.Keys) == 1 && strings.EqualFold(x.Keys[0].Column, k.Column) && x.Name != "PRIMARY" && !named && !r.source.Maria {
				out = append(out, plan.Clause{Action: plan.DropIndex, Index: x.Name, Text: "DROP INDEX " + quote(x.Name)})
			}
		}
		out = append(out, k)
	}
	return out
}

// leaves is 1 for a clause that drops an index: a column without one is dropped at once.
func leaves(k plan.Clause) int {
	if k.Action == plan.DropIndex {
		return 1
	}
	return 0
}

// pieces does clause by clause on a new twin, each in the lightest way that the server takes; none where one needs a copy.
func (w *planner) pieces(ctx context.Context, r *rehearsal, clauses []plan.Clause) ([]act, error) {
	if err := w.stage(ctx, r); err != nil {
		return nil, err
	}
	defer func() { w.unchecked = false }()
	place := "ALGORITHM=INPLACE, LOCK=NONE"
	if w.dialect.maria {
		place = "ALGORITHM=NOCOPY, LOCK=NONE"
	}
	var out []act
	for _, k := range clauses {
		p := act{clauses: []string{k.Text}, keys: k.References}
		w.unchecked = k.References
		for _, how := range []string{"ALGORITHM=INSTANT", place} {
			before := w.numbers(ctx, r)
			err := coded(w.alter(ctx, "ALTER TABLE "+qualified(r.shadowName())+" "+w.among(ctx, r, k.Text)+", "+how))
			if fault.Lost(err) || fault.Canceled(err) {
				return nil, err
			}
			if err != nil {
				continue
			}
			if after := w.numbers(ctx, r); !w.dialect.maria && how == place && (before == "" || before != after) {
				return nil, nil // it made the table anew, or nobody can see whether it did
			}
			p.how = how
			break
		}
		if p.how == "" {
			return nil, nil
		}
		p.builds = builds(k)
		var err error
		if p.marks, err = w.marked(ctx, r.shadowName()); err != nil {
			return nil, err
		}
		if len(out) > 0 && p.marks == out[len(out)-1].marks || len(out) == 0 && p.marks == w.likeness {
			return nil, nil // nothing would tell whether it happened
		}
		// Neighbours of one kind go together, as the user wrote them; what is built goes alone, so that a failure costs one build.
		if last := len(out) - 1; last >= 0 && out[last].how == p.how && !p.builds && !out[last].builds && !p.keys && !out[last].keys {
			out[last].clauses, out[last].marks = append(out[last].clauses, p.clauses...), p.marks
			continue
		}
		out = append(out, p)
	}
	return out, nil
}

// inParts is the plan. Each part is recognised by what the table looks like after it.
func (w *planner) inParts(parts []act) *plan.Plan {
	p := w.direct("together the server would make the table anew for these clauses, alone it does each at once, or in place while the table is in use. Each statement is atomic, all of them "+
		"together are not: if the change stops between them, what is done stays, and the same command goes on", "")
	p.Route, p.Steps = plan.Recipe, nil
	for _, x := range parts {
		sql := "ALTER TABLE " + qualified(w.plan.Table) + " " + strings.Join(x.clauses, ", ") + ", " + x.how
		s := plan.Step{Kind: plan.Exec, Name: "alter", SQL: []string{w.theirs(), sql, ours()}, Tables: []string{qualified(w.plan.Table)}, LockWait: w.options.LockWait,
			Lock: "exclusive metadata lock for a moment", Why: "only the catalogue changes"}
		if !strings.Contains(x.how, "INSTANT") {
			s.Why = "in place, while everybody reads and writes"
		}
		if x.builds {
			// The engine would take a long build for a long wait. The server bounds the wait itself, in whole seconds.
			s.LockWait, s.Lock = 0, "exclusive metadata lock for a moment, at the beginning and at the end"
			s.Why = fmt.Sprintf("the index is built online, from about %d rows; a replica stands still for as long as that takes", w.plan.Rows)
		}
		if x.keys {
			if s.Name = addsKeys; !strings.Contains(x.how, "INSTANT") {
				s.LockWait = 0 // it may have to build an index
			}
		}
		s.Done = w.looks(x.marks)
		p.Steps = append(p.Steps, s)
	}
	return p
}

// definition is how the server shows the twin.
func (w *planner) definition(ctx context.Context, r *rehearsal) (string, error) {
	var name, text string
	err := w.conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+qualified(r.shadowName())).Scan(&name, &text)
	return text, err
}

// remake makes the twin as it was before the statement.
func (w *planner) remake(ctx context.Context, r *rehearsal) error {
	statements := r.create
	for _, name := range []string{r.in(), r.old()} {
		statements = append([]string{"DROP DATABASE IF EXISTS " + quote(name)}, statements...)
	}
	for _, sql := range statements {
		if _, err := w.conn.ExecContext(ctx, sql); err != nil {
			return w.explain(err, "making an empty twin of "+w.plan.Table.String())
		}
	}
	return nil
}
