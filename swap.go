package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

// isNoRows says that a query answered nothing.
func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// cutover swaps the tables. The program counter moves in the swap's own transaction.
func (r *run) cutover(ctx context.Context, s plan.Step) error {
	held, err := cutover.Run(ctx, &server{run: r, step: s}, cutover.Config{Attempts: r.engine.config.CutoverAttempts, Sink: r.engine.config.Events})
	if err != nil {
		return r.explain(ctx, s, err)
	}
	// The figure is for people; a run that dies here has swapped all the same.
	store := r.engine.store
	return store.Exec(ctx, store.DB, store.Text.SetHeld, r.record.ID, float64(held)/float64(time.Millisecond))
}

// server is a run seen by a cutover.
type server struct {
	*run
	step plan.Step
}

// most is how many keys may be applied under the lock.
const most = 2000

func (s *server) Ready(ctx context.Context) error { return s.verifier.Settle(ctx) }

func (s *server) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	rows, err := s.engine.db.QueryContext(ctx, postgres.Blockers(s.rows.Pair), s.lease.Application())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []cutover.Blocker
	for rows.Next() {
		var who string
		var age float64
		if err := rows.Scan(&who, &age); err != nil {
			return nil, err
		}
		out = append(out, cutover.Blocker{Who: who, Age: time.Duration(age * float64(time.Second))})
	}
	return out, rows.Err()
}

// Begin takes all locks in one statement and in a fixed order. The bound holds for the statement as a whole: each lock
// that was granted keeps others waiting while the next one is waited for.
func (s *server) Begin(ctx context.Context) (cutover.Attempt, error) {
	wait := s.step.LockWait
	t, err := s.begin(ctx, session{Session: postgres.Session{LockWait: wait, Statement: wait + wait/2, ByKey: true, Path: s.rows.Pair.Path}, Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	if _, err := t.ExecContext(ctx, s.step.SQL[0]); err != nil {
		return nil, errors.Join(err, ended(t.Tx))
	}
	return &attempt{server: s, t: t}, nil
}

// attempt is a transaction that holds the locks. It reads committed, so each of its statements sees what committed before
// the locks were granted (invariant I4).
type attempt struct {
	*server
	t *tx
}

func (a *attempt) Check(ctx context.Context) error {
	if _, err := a.t.ExecContext(ctx, "SET LOCAL statement_timeout = '3s'"); err != nil {
		return err
	}
	var armed bool
	if err := a.t.QueryRowContext(ctx, a.record.Plan.Steps[a.record.Plan.Find(plan.Capture)].Done).Scan(&armed); err != nil {
		return err
	}
	if !armed {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the triggers that log changed keys on %s were disabled or dropped by somebody: writes may be missing from the shadow. Nothing was swapped; `changeling abort %s` and begin again", a.table(), a.record.ID)}
	}
	now, err := postgres.Inspect(ctx, a.t, a.rows.Pair.Table)
	if err != nil {
		return err
	}
	if now.Fingerprint() != a.record.Plan.Fingerprint {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the definition of %s, or what hangs on it, was altered by somebody while the change ran (columns, indexes, constraints, rights, views): the shadow was made for another table. Nothing was swapped; `changeling abort %s` and begin again",
			a.table(), a.record.ID)}
	}
	return nil
}

func (a *attempt) Drain(ctx context.Context) (int64, error) {
	var pending int64
	if err := a.t.QueryRowContext(ctx, a.rows.Pending()).Scan(&pending); err != nil {
		return 0, err
	}
	if pending > most {
		return pending, cutover.ErrBusy
	}
	if pending == 0 {
		return 0, nil
	}
	if _, err := a.apply(ctx, a.t, 0, true); err != nil {
		return pending, err
	}
	_, rows, keys, err := a.relogged(ctx, a.t, a.rows.RelogChecked())
	if err == nil && rows > 0 {
		err = &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf(
			"rows that were copied last differ (%s): nothing was swapped. Look at them in both tables; `changeling abort %s` takes the shadow away", strings.Join(keys, "; "), a.record.ID)}
	}
	return pending, err
}

// Swap runs all statements in one round trip.
func (a *attempt) Swap(ctx context.Context) error {
	if _, err := a.t.ExecContext(ctx, strings.Join(a.step.SQL[1:], ";\n")); err != nil {
		return err
	}
	s := a.engine.store
	if err := s.Exec(ctx, a.t, s.Text.Cut, a.record.ID); err != nil {
		return err
	}
	return a.advance(ctx, a.t, 1)
}

func (a *attempt) Commit() error   { return a.t.Commit() }
func (a *attempt) Rollback() error { return ended(a.t.Tx) }
