package changeling

import (
	"context"
	"errors"
	"fmt"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Rebuild is a change without another definition: the rows are written anew, without the space that dead ones left behind. It is
// what VACUUM FULL, CLUSTER and OPTIMIZE TABLE do while nobody can use the table.
type Rebuild struct {
	// Table is written as in a statement: orders, or app.orders.
	Table string
	// Tablespace is where the table goes, on PostgreSQL; its indexes stay where they are. Empty: where it is.
	Tablespace string
	// FillFactor is in percent, on PostgreSQL. Zero: as it is.
	FillFactor int
	// OrderBy is an index in whose order the rows are written, on PostgreSQL: the primary key's, or a unique one over columns
	// that are NOT NULL. Rows that users write meanwhile come behind. Empty: in the order in which they stand. Of a partitioned table it is a key
	// of the whole, and the order is that of each partition.
	OrderBy string

	name schema.Name // of Table, as it was found
}

// Rebuild answers the unfinished rebuild of a table as it is asked for, or else a plan for one, for StartPlan. It changes
// nothing. Unlike the change of a statement, a rebuild that was done is done again: it leaves nothing that would show that it was.
func (e *Engine) Rebuild(ctx context.Context, b Rebuild) (under *Change, p *plan.Plan, err error) {
	if b.name, _, err = e.named(ctx, b.Table); err != nil {
		return nil, nil, err
	}
	other, err := e.store.Unfinished(ctx, b.name)
	if err != nil && !errors.Is(err, state.ErrNone) {
		return nil, nil, err
	}
	p, planErr := e.dialect.Rebuild(ctx, e.db, b, newID(), e.config.LockWait)
	switch {
	case other != nil && (planErr != nil || other.Statement != p.Statement):
		return nil, nil, busy(other)
	case other != nil:
		return &Change{engine: e, record: other}, nil, nil
	case planErr != nil:
		return nil, nil, planErr
	case p.Route != plan.ShadowTable && p.Route != plan.Refuse:
		return nil, nil, fmt.Errorf("the planner would rebuild %s by the route %s", b.name, p.Route)
	}
	return nil, p, nil
}

// named finds a table that is written as in a statement.
func (e *Engine) named(ctx context.Context, table string) (name schema.Name, id uint32, err error) {
	s, err := plan.Parse("ALTER TABLE "+table+" ADD x int", e.dialect.Syntax())
	if err != nil || s.Table.Table == "" || len(s.Clauses) != 1 {
		return name, 0, &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%q is no name of a table: write it as in a statement, such as orders or app.orders", table)}
	}
	name, id, err = e.dialect.Resolve(ctx, e.db, s.Table)
	if missing(err) {
		return name, 0, &fault.Problem{Kind: fault.Usage, Err: err, Text: err.Error()}
	}
	return name, id, err
}

// sweepDue drops the old table of an earlier change of the same statement, if its time has come: the run that made it may have ended
// before its last act.
func (e *Engine) sweepDue(ctx context.Context, p *plan.Plan) error {
	r, err := e.store.Latest(ctx, p.Statement, p.Table)
	if errors.Is(err, state.ErrNone) {
		return nil
	}
	if err == nil {
		_, err = (&Change{engine: e, record: r}).Cleanup(ctx, WhenDue)
	}
	if errors.Is(err, fault.Owned) { // somebody else is at it
		return nil
	}
	return err
}
