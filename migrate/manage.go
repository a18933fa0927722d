package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/state"
)

// Baseline begins the history of a database that has all up to a version already: nothing is run.
func (m *Migrator) Baseline(ctx context.Context, version string) error {
	return m.work(ctx, func(ctx context.Context, r *run) error {
		target, err := r.tree.Resolve(version)
		if err != nil {
			return err
		}
		rows, err := r.known(ctx)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("there is a history of %d migrations already: a baseline is for databases without one; nothing was changed", len(rows))}
		}
		return r.note(ctx, func(db state.DB) error {
			for _, one := range r.tree.Migrations {
				if one.Repeatable || compare(one.Version, target) > 0 {
					continue
				}
				if err := r.store.Save(ctx, db, r.row(one, journal.Baseline, 0)); err != nil {
					return err
				}
			}
			return r.store.Note(ctx, db, journal.Entry{Version: target, What: "baseline", By: r.m.config.Owner})
		})
	})
}

// Verdict is what a person knows of a statement that a run died in.
type Verdict string

// The verdicts. The empty one is for Repair without such a statement.
const (
	StepDone   Verdict = "done"
	StepUndone Verdict = "undone"
)

// Repair accepts files that were edited after they ran, and, with a verdict, settles a statement of which nothing tells
// whether it happened. It runs nothing of the tree. It answers what it did, in words.
func (m *Migrator) Repair(ctx context.Context, v Verdict) (did []string, err error) {
	if v != "" && v != StepDone && v != StepUndone {
		return nil, usage("%q is no verdict: expected done or undone", string(v))
	}
	err = m.work(ctx, func(ctx context.Context, r *run) error {
		rows, err := r.known(ctx)
		if err != nil {
			return err
		}
		for _, one := range r.tree.Migrations {
			row := rows[one.ID()]
			if row == nil {
				continue
			}
			words, err := r.repair(ctx, one, row, v)
			if err != nil {
				return err
			}
			did = append(did, words...)
		}
		return nil
	})
	return did, err
}

func (r *run) repair(ctx context.Context, m *Migration, row *journal.Row, v Verdict) (did []string, err error) {
	if row.Status == journal.Applied && !m.Repeatable && (row.Normal != m.Sum.Normal || row.Exact != m.Sum.Exact) {
		row.Normal, row.Exact, row.Name = m.Sum.Normal, m.Sum.Exact, m.Name
		did = append(did, fmt.Sprintf("accepted the file of %s as it is", m))
	}
	var open []*journal.Step
	for _, direction := range []string{up, down} {
		steps, err := r.store.Steps(ctx, r.db, m.ID(), direction)
		if err != nil {
			return nil, err
		}
		for _, x := range steps {
			if !x.Done && x.Change == "" && v != "" && !row.Status.Over() {
				open = append(open, x)
			}
		}
	}
	slices.SortFunc(open, func(a, b *journal.Step) int { return a.Seq - b.Seq })
	return did, r.note(ctx, func(db state.DB) error {
		for _, x := range open {
			did = append(did, fmt.Sprintf("statement %d of %s is %s: %s", x.Seq, m, v, shorten(x.SQL, 100)))
			if v == StepDone {
				if err := r.store.Done(ctx, db, m.ID(), x); err != nil {
					return err
				}
				continue
			}
			x.Hash = undone
			if err := r.store.Begin(ctx, db, m.ID(), x); err != nil {
				return err
			}
		}
		if len(did) == 0 {
			return nil
		}
		if err := r.store.Save(ctx, db, row); err != nil {
			return err
		}
		return r.store.Note(ctx, db, journal.Entry{Version: m.ID(), What: "repaired", By: r.m.config.Owner, Detail: did[0]})
	})
}
