package changeling

import (
	"context"
	"errors"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Partitioning is a change of a plain table into one that is partitioned, or back, on PostgreSQL, which has no statement for that. MySQL and MariaDB
// have one: ALTER TABLE … PARTITION BY, and REMOVE PARTITIONING, for Start.
type Partitioning struct {
	// Table is written as in a statement: orders, or app.orders.
	Table string
	// By is what the table is partitioned by, as PARTITION BY has it: "range (created_at)", "list (region)" or "hash (id)".
	By string
	// Partitions are the partitions, each a name and a bound: "orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')". They go to
	// the table's schema.
	Partitions []string
	// Attach is the partition that the table itself becomes, a name and a bound like those of Partitions: no row moves then. Empty: its rows go to
	// partitions that are new.
	Attach string
	// Default is the name of the partition for all other rows. Empty: there is none, and a row that fits no partition stops the change.
	Default string
	// Count is how many partitions a table gets that is partitioned by hash, called as the table is, with _p0, _p1 and so on behind.
	Count int
	// None makes a partitioned table plain, with the rows of all its partitions, which may have none of their own. All else is empty then.
	None bool

	name schema.Name // of Table, as it was found
}

// Partition answers the change of a table that is asked for, if it is unfinished, or was made and still is; or else a plan for one, for StartPlan. It
// changes nothing.
func (e *Engine) Partition(ctx context.Context, b Partitioning) (found *Change, p *plan.Plan, err error) {
	if b.name, _, err = e.named(ctx, b.Table); err != nil {
		return nil, nil, err
	}
	other, err := e.store.Unfinished(ctx, b.name)
	if err != nil && !errors.Is(err, state.ErrNone) {
		return nil, nil, err
	}
	p, err = e.dialect.Partition(ctx, e.db, b, newID(), e.config.LockWait, e.config.undoLog())
	switch {
	case other != nil && (err != nil || other.Statement != p.Statement):
		return nil, nil, busy(other)
	case other != nil:
		return &Change{engine: e, record: other}, nil, nil
	case err != nil || p.Route != plan.Refuse:
		return nil, p, err
	}
	if found, err = e.madeAlready(ctx, p); found != nil || err != nil {
		return found, nil, err
	}
	return nil, p, nil
}

// madeAlready is the change that made what a plan refuses to make again, and that still is. It may have ended before its last act.
func (e *Engine) madeAlready(ctx context.Context, p *plan.Plan) (*Change, error) {
	r, err := e.store.Latest(ctx, p.Statement, p.Table)
	if errors.Is(err, state.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, done, err := e.still(ctx, r, p.Table, p.Pair.Table)
	if err == nil && done {
		if _, err = found.Cleanup(ctx, WhenDue); errors.Is(err, fault.Owned) {
			err = nil // somebody else is at it
		}
	}
	return found, err
}
