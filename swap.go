package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	if s.Done != "" && r.resumed {
		var done bool
		if err := r.seize(ctx); err != nil {
			return err
		}
		if err := r.engine.db.QueryRowContext(ctx, s.Done).Scan(&done); err != nil {
			return err
		}
		if done { // the run that swapped did not live to say so
			return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
				if err := r.settleKin(ctx, t); err != nil {
					return err
				}
				return r.cutAll(ctx, t)
			})
		}
	}
	var held time.Duration
	for {
		if err := r.standBy(ctx); err != nil {
			return err
		}
		var err error
		other := r.engine.dialect.Cutover(r, s)
		held, err = cutover.Run(ctx, other, cutover.Config{Attempts: r.engine.config.CutoverAttempts, Sink: r.engine.config.Events,
			Allow: r.allowed, Evict: r.evict})
		if err == nil {
			break
		}
		if s, ok := other.(interface{ unhand(ctx context.Context) }); ok {
			s.unhand(ctx)
		}
		if !errors.Is(err, cutover.ErrNotNow) {
			return r.explain(ctx, s, err)
		}
	}
	// The figure is for people; a run that dies here has swapped all the same.
	return r.heldAlike(ctx, held)
}

// server is a run seen by a cutover.
type server struct {
	*run
	step    plan.Step
	handing handing
}

// most is how many keys may be applied under the lock.
const most = 2000

func (s *server) Ready(ctx context.Context) error {
	if err := s.verifier.Settle(ctx); err != nil {
		return err
	}
	err := s.handing.ready(ctx)
	if s.record.Plan.Undoes != nil && misfit(err) { // the next drain says which row
		return cutover.ErrBusy
	}
	return err
}

// unhand ends the hand-over of an attempt without a swap.
func (s *server) unhand(ctx context.Context) { s.handing.end(ctx) }

func (s *server) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	return s.blockers(ctx, postgres.Blockers(s.step.Tables, s.step.Lock), s.lease.Application())
}

// blockers reads who holds a table, and for how long.
func (r *run) blockers(ctx context.Context, query string, args ...any) ([]cutover.Blocker, error) {
	rows, err := r.engine.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []cutover.Blocker
	for rows.Next() {
		var who string
		var age float64
		b := cutover.Blocker{}
		if err := rows.Scan(&who, &age, &b.ID, &b.Idle, &b.Mark); err != nil {
			return nil, err
		}
		b.Who, b.Age = who, time.Duration(age*float64(time.Second))
		out = append(out, b)
	}
	return out, rows.Err()
}

// Begin asks and makes ready whatever it can without the lock.
func (s *server) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait, Strong: true, ByKey: true, Path: s.pair.Path, Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	a := &attempt{server: s, t: t}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, ended(t.Tx))
	}
	return a, nil
}

// attempt is a transaction that holds the locks. It reads committed, so each of its statements sees what committed before
// the locks were granted (invariant I4).
type attempt struct {
	*server
	t       *tx
	marks   string // of the source's definition, before the lock
	pending int64
	guard   bool // somebody at SERIALIZABLE has read the source
}

func (a *attempt) prepare(ctx context.Context) error {
	if err := a.t.QueryRowContext(ctx, postgres.Marks(a.pair)).Scan(&a.marks); err != nil {
		return err
	}
	if _, err := a.t.ExecContext(ctx, postgres.Ours()); err != nil {
		return err
	}
	now, err := postgres.Inspect(ctx, a.t, a.pair.Table)
	if err != nil {
		return err
	}
	if now.Fingerprint() != a.record.Plan.Fingerprint {
		return a.altered()
	}
	if _, err := a.t.ExecContext(ctx, postgres.Theirs(a.pair)); err != nil {
		return err
	}
	return a.t.as(ctx, a.pair.Owner, func() error { return a.t.all(ctx, postgres.Rows{Pair: a.pair}.Warm()) })
}

// Lock takes all locks in one statement and in a fixed order. The bound holds for the statement as a whole: each lock that
// was granted keeps others waiting while the next one is waited for. Afterwards nobody waits for long for a run that stands
// still or whose host is gone.
func (a *attempt) Lock(ctx context.Context) error {
	wait := a.step.LockWait
	_, err := a.t.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d; %s; SET LOCAL statement_timeout = '3s'; SET LOCAL idle_in_transaction_session_timeout = '2s'", (wait+wait/2).Milliseconds(), a.step.SQL[0]))
	if fault.Undefined(err) { // dropped or renamed since it was looked at: the next attempt says so
		err = errors.Join(cutover.ErrBusy, err)
	}
	return err
}

func (a *attempt) Check(ctx context.Context) error {
	var marks string
	var armed bool
	if err := a.t.QueryRowContext(ctx, postgres.Rows{Pair: a.pair}.Verdict()).Scan(&marks, &armed, &a.pending); err != nil {
		return err
	}
	if !armed {
		return a.disarmed()
	}
	if marks != a.marks {
		// Somebody altered the table a moment ago, or maintenance touched its catalogue rows. The next attempt tells which.
		return cutover.ErrBusy
	}
	if a.pair.Published {
		var who string
		if err := a.t.QueryRowContext(ctx, postgres.Copying).Scan(&who); err != nil {
			return err
		}
		if who != "" {
			return &later{"a subscriber begins to copy a table, and could miss rows: " + who}
		}
	}
	return nil
}

func (a *attempt) Drain(ctx context.Context) (int64, error) {
	if a.pending > most {
		return a.pending, cutover.ErrBusy
	}
	if a.handing.on {
		return a.pending, a.mirrored(ctx)
	}
	if a.pending == 0 {
		return 0, nil
	}
	var rows int64
	var keys []string
	err := a.t.as(ctx, a.pair.Owner, func() (err error) {
		if _, err := a.apply(ctx, a.t, 0, true); err != nil {
			return err
		}
		_, rows, keys, err = a.relogged(ctx, a.t, a.rows.RelogChecked())
		return err
	})
	if a.record.Plan.Undoes != nil && misfit(err) {
		return a.pending, cutover.ErrBusy
	}
	if err == nil && rows > 0 && !a.record.Plan.Lossy {
		err = a.unequal(keys)
	}
	return a.pending, err
}

// mirrored is the last drain of a hand-over. It may not write: what it wrote nobody's old snapshot would see.
func (a *attempt) mirrored(ctx context.Context) error {
	clean := true
	err := a.t.as(ctx, a.pair.Owner, func() (err error) {
		if a.pending > 0 {
			clean, err = a.handing.compare(ctx, a.t)
		}
		return err
	})
	if err == nil && !clean {
		err = &later{"a row was written at the last moment that open snapshots would not see"}
	}
	if err == nil {
		err = a.t.QueryRowContext(ctx, postgres.ReadLocks(a.pair)).Scan(&a.guard)
	}
	return err
}

// unequal is the end of an attempt whose last rows differ after they were copied.
func (r *run) unequal(keys []string) error {
	return &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf(
		"rows that were copied last differ (%s): nothing was swapped. Look at them in both tables; `changeling abort %s` takes the shadow away", strings.Join(keys, "; "), r.id)}
}

// Swap runs all statements and moves the program counter in one round trip.
func (a *attempt) Swap(ctx context.Context) error {
	swap := a.step.SQL[1:]
	if a.guard {
		swap = append(slices.Clone(swap), postgres.Guard(a.pair)...)
	}
	done, err := a.t.ExecContext(ctx, postgres.SwapText(swap, a.engine.store.Text, a.id, a.record.Step))
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("change %s is not at its cutover any more", a.id))
	}
	return nil
}

func (a *attempt) Commit() error   { return a.t.Commit() }
func (a *attempt) Rollback() error { return ended(a.t.Tx) }
