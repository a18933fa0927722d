package changeling

import (
	"context"
	"fmt"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

// ours refuses to drop an old table that is not the one which the cutover put there, or a place where somebody has put
// something of his own. The identity was recorded when the change began, and a rename keeps it. An old table that is gone is ours.
func (r *run) ours(ctx context.Context) error {
	if r.record.Plan.Covers() {
		return r.viewIsOurs(ctx)
	}
	if r.pair.InPlace {
		return nil // found by the table's identity, under a name of the change's own
	}
	query, recorded := postgres.Kept(r.pair), int64(r.pair.Table)
	if rows, ok := r.rows.(mysql.Rows); ok {
		query, recorded = rows.Kept(), r.record.Heap
	}
	var found int64
	var others string
	if err := r.engine.db.QueryRowContext(ctx, query).Scan(&found, &others); err != nil {
		return err
	}
	switch {
	case found != 0 && recorded != 0 && found != recorded:
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("%s is not the table that the cutover of change %s put there: somebody has put another one in its place, or rebuilt it. It is kept: look at it, and drop it yourself", r.pair.Old, r.id)}
	case others != "":
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("beside the old table %s somebody has put something of his own: %s. Nothing was dropped: move it away, then `changeling cleanup %s --now`", r.pair.Old, others, r.id)}
	}
	return nil
}

// recognise notes by which identity the table will be known that the last step of a plan drops, where it is not in the plan itself.
func (r *run) recognise(ctx context.Context, t *tx, p *plan.Plan) error {
	rows, ok := r.engine.dialect.Rows(p.Pair).(mysql.Rows)
	if !ok {
		return nil
	}
	var heap int64
	var others string
	var err error
	if p.Undoes != nil { // it is the source now
		err = t.QueryRowContext(ctx, rows.Heap()).Scan(&heap)
	} else {
		err = t.QueryRowContext(ctx, rows.Kept()).Scan(&heap, &others)
	}
	if err != nil {
		return err
	}
	return r.engine.store.Exec(ctx, t, r.engine.store.Text.SetHeap, r.id, heap, 0)
}

// renumber is recognise for an undo, or a window, whose tables TRUNCATE gave other numbers.
func (r *run) renumber(ctx context.Context, t *tx) error {
	p := *r.record.Plan
	if p.Undoes == nil { // the undo's plan, in the window: its shadow is what is kept
		p.Pair.Old = p.Pair.Shadow
	}
	return r.recognise(ctx, t, &p)
}
