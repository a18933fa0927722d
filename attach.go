package changeling

import (
	"context"
	"fmt"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
)

// undisturbed is an error if a table that is to become a partition, or to be one no more, is another one under the lock than the plan was made for: what
// somebody put on it meanwhile would be on the partition alone, or be lost.
func (r *run) undisturbed(ctx context.Context, t *tx) error {
	made := r.inStages()
	if made == nil || !made.Attaches() {
		return nil
	}
	p := r.record.Plan
	_, oid, err := postgres.Resolve(ctx, t, p.Table)
	if err != nil {
		return err
	}
	now, err := postgres.AttachedPrint(ctx, t, oid, r.id)
	if err != nil || now == p.Fingerprint && (p.Undoes != nil || oid == p.Pair.Table) {
		return err
	}
	if p.Undoes != nil {
		return r.noUndo("somebody altered %s after the change (columns, indexes, constraints, rights, partitions)", p.Table)
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the definition of %s, or what hangs on it, was altered by somebody while the change ran (columns, indexes, constraints, rights, views). "+
		"Nothing was attached; `changeling abort %s` and begin again", p.Table, r.id)}
}

// stillAttached says that a table that became a partition still is one, of a table that nobody altered.
func (e *Engine) stillAttached(ctx context.Context, r *state.Record) (bool, error) {
	name, oid, err := e.dialect.Resolve(ctx, e.db, r.Table)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := e.fingerprintOf(ctx, r.Plan, name, oid)
	return now == r.Fingerprint, err
}
