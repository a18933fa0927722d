package changeling

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// session is what a transaction needs besides what every one has.
type session struct {
	Application string            // name under which the server shows the connection, where it can
	LockWait    time.Duration     // zero: as the engine is configured
	Strong      bool              // takes a lock that conflicts with a vacuum
	Path        string            // search_path of the user's own expressions; empty: only what is qualified is found
	Settings    map[string]string // what conversions depend on; nil: those of the session that planned
	Async       bool              // do not wait for the log; rows and positions still commit together
	ByKey       bool              // find rows by their key: statistics of a log and of a new table mislead the planner
	ByOrder     bool              // walk along the keys of two tables, side by side
	Memory      string            // for an index build; empty: the server's own
	Parallel    int               // workers of an index build; zero: the server's own, negative: none
	Idle        time.Duration     // for how long its connection may be silent; zero: as long as one does while it works
	Isolation   sql.IsolationLevel
	Role        string // the user's own text and everything that moves rows runs as the tables' owner
}

// tx is one transaction of a run. It holds the lease's claim, so nobody can take the change over while it is open.
type tx struct {
	*sql.Tx
	run  *run
	role string
}

// begin opens a transaction, sets its session and checks the lease.
func (r *run) begin(ctx context.Context, s session) (*tx, error) {
	if s.Settings == nil {
		s.Settings = r.pair.Settings
	}
	s.Application = "changeling"
	if r.lease != nil {
		s.Application = r.lease.Application()
	}
	if s.LockWait == 0 {
		s.LockWait = r.engine.config.LockWait
	}
	if s.Isolation == sql.LevelDefault {
		// The database's default may be another one. A snapshot that is older than a lock would miss what came before it.
		s.Isolation = sql.LevelReadCommitted
	}
	inner, err := r.engine.db.BeginTx(ctx, &sql.TxOptions{Isolation: r.engine.dialect.Isolation(s.Isolation)})
	if err != nil {
		return nil, err
	}
	t := &tx{Tx: inner, run: r, role: s.Role}
	if _, err := t.ExecContext(ctx, r.engine.dialect.Session(s)); err != nil {
		return nil, errors.Join(err, ended(inner))
	}
	if r.lease != nil { // without one it only reads
		if err := r.lease.Fence(ctx, t); err != nil {
			return nil, errors.Join(err, ended(inner))
		}
	}
	if err := t.become(ctx); err != nil {
		return nil, errors.Join(err, ended(inner))
	}
	return t, nil
}

// ended rolls back. That it was over already is no news.
func ended(t *sql.Tx) error {
	if err := t.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) && !fault.Lost(err) {
		return err
	}
	return nil
}

func (t *tx) become(ctx context.Context) error {
	if t.role == "" {
		return nil
	}
	_, err := t.ExecContext(ctx, t.run.engine.dialect.As(t.role))
	return err
}

// as does something as a role, in a transaction that is otherwise our own.
func (t *tx) as(ctx context.Context, role string, fn func() error) error {
	t.role = role
	if err := t.become(ctx); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return t.ourselves(ctx)
}

// ourselves goes back to the run's own role, which may write the engine's tables.
func (t *tx) ourselves(ctx context.Context) error {
	if t.role == "" {
		return nil
	}
	t.role = ""
	_, err := t.ExecContext(ctx, t.run.engine.dialect.As(""))
	return err
}

func (t *tx) all(ctx context.Context, statements []string) error {
	for _, s := range statements {
		if _, err := t.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// long is how long a transaction that holds the claim may be silent while DDL runs beside it.
const long = 365 * 24 * time.Hour

// ddl runs a step's statements in the transaction, or, where they would end it, on a connection of their own while the
// transaction holds the claim: nobody can take the change over meanwhile. There each of them may run twice.
func (t *tx) ddl(ctx context.Context, s plan.Step) error {
	if t.run.engine.dialect.Transactional() {
		return t.all(ctx, s.SQL)
	}
	return t.run.each(ctx, t, s)
}

// tx runs fn in a transaction and commits it.
func (r *run) tx(ctx context.Context, s session, fn func(ctx context.Context, t *tx) error) error {
	t, err := r.begin(ctx, s)
	if err != nil {
		return err
	}
	if err := fn(ctx, t); err != nil {
		return errors.Join(err, ended(t.Tx))
	}
	return t.Commit()
}

// pinned asks something whose text must mean the same under any search path: on PostgreSQL somebody who may create in a schema of
// the path could have put operators of his own there, and what we ask runs with our rights.
func (r *run) pinned(ctx context.Context, ask func(q state.DB) error) error {
	if !r.engine.dialect.Transactional() {
		return ask(r.engine.db)
	}
	return r.tx(ctx, session{}, func(_ context.Context, t *tx) error { return ask(t) })
}

// patiently tries again what could not get a lock or met a deadlock, with growing pauses. A lost connection is not
// tried again here: what it did is asked of the database first.
func (r *run) patiently(ctx context.Context, what string, fn func(ctx context.Context) error) error {
	return retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 5 * time.Second, Attempts: 60},
		func(err error) bool { return fault.Transient(err) && !fault.Lost(err) },
		func(err error, attempt int, wait time.Duration) {
			r.engine.config.Events(event.Retried{Step: r.kind(), What: what, Attempt: attempt, Err: err, Wait: wait})
		}, fn)
}
