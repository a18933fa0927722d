package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// ways estimates what a new type of columns costs by a second table and by second columns, and says which of the two cannot be
// gone. It answers none for statements that ask for more than that. The figures follow `go run ./bench/routes` on PostgreSQL 15, which tells
// them beside what was measured; those of the log are of a table that was not written to since the last checkpoint, the dearest case. A row that is
// written again leaves its TOAST where it is.
func (w *planner) ways(ctx context.Context, r *rehearsal, refusals []string) ([]plan.Way, error) {
	only := func(c plan.Clause) bool { return c.Action == plan.AlterType }
	if r.effect != Rewrites || !slices.ContainsFunc(w.statement.Clauses, only) || slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool { return !only(c) }) {
		return nil, nil
	}
	_, why, err := w.secondColumns(ctx, r)
	if err != nil {
		return nil, w.columnError(err)
	}
	heap, indexes := r.source.Pages*8192, int64(0)
	for _, x := range r.source.Indexes {
		indexes += x.Bytes
	}
	table := plan.Way{Route: plan.ShadowTable, Log: r.source.Bytes + 30*r.source.Rows, Spare: r.source.Bytes * 12 / 10, Why: strings.Join(refusals, "; ")}
	column := plan.Way{Route: plan.ShadowColumn, Log: heap*19/10 + indexes*3/2 + (160+85*int64(len(r.source.Indexes)))*r.source.Rows, Spare: (heap + 2*indexes) * 11 / 10, Dead: heap + indexes, Why: strings.Join(why, "; ")}
	return []plan.Way{table, column}, nil
}
