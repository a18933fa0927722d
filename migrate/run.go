package migrate

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
)

// Result is what a call did.
type Result struct {
	Applied  []Applied `json:"applied"`
	Reverted []Applied `json:"reverted"`
	// Background are the ids of changes that were begun and not waited for.
	Background []string `json:"background"`
	// Stopped says why it ended before the last version, if it did: what has to happen first.
	Stopped string `json:"stopped"`
}

// Applied is one migration that ran.
type Applied struct {
	Version string        `json:"version"`
	Name    string        `json:"name"`
	Took    time.Duration `json:"took_ns"`
}

// Nothing says that there was nothing to do.
func (r *Result) Nothing() bool { return len(r.Applied)+len(r.Reverted)+len(r.Background) == 0 }

// run is one instance that holds the lease.
type run struct {
	*session
	lease  *state.Lease
	conn   *sql.Conn // where statements run
	pooled bool      // it goes through a pooler that shares sessions
	engine *changeling.Engine
	result Result
}

// directions, as they stand in the journal.
const (
	up   = "up"
	down = "down"
)

func (r *run) close() {
	r.discard()
	if r.engine != nil {
		r.engine.Close()
	}
}

// discard ends the connection that statements run on: it may have settings of theirs.
func (r *run) discard() {
	if r.conn != nil {
		_ = r.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = r.conn.Close() // it is gone already
		r.conn = nil
	}
}

// fresh is a new connection for the statements of one migration. It is known as the lease's: whoever takes over ends it. Where a
// pooler shares sessions it stays nameless, because the name would stay with the session; there only transactions run, which
// hold the claim.
func (r *run) fresh(ctx context.Context) (err error) {
	r.discard()
	if err := r.quiet(ctx); err != nil {
		return err
	}
	if !r.server.mysql {
		if r.pooled, err = changeling.Pooled(ctx, r.db); err != nil {
			return err
		}
	}
	if r.conn, err = r.db.Conn(ctx); err != nil || r.pooled {
		return err
	}
	if !r.server.mysql {
		_, err = r.conn.ExecContext(ctx, `SELECT pg_catalog.set_config('application_name', $1::text, false)`, r.lease.Application())
		return err
	}
	var held sql.NullInt64
	if err := r.conn.QueryRowContext(ctx, r.server.text.Hold, r.store.Tree).Scan(&held); err != nil {
		return err
	}
	if held.Int64 != 1 {
		return &fault.Problem{Kind: fault.Stopped, Text: "a statement of an earlier run still runs: run the same command again when it has ended"}
	}
	_, err = r.conn.ExecContext(ctx, r.server.text.Bound(r.m.config.LockWait))
	return err
}

// quiet ends what an earlier run left running on the server, and waits until it is over.
func (r *run) quiet(ctx context.Context) error {
	return retry.Do(ctx, retry.Policy{Initial: 20 * time.Millisecond, Max: time.Second, Elapsed: r.m.config.Patience}, func(err error) bool { return errors.Is(err, errBusy) }, nil,
		func(ctx context.Context) error {
			var id int64
			if !r.server.mysql {
				// Runs that the lease was taken over from were ended with it; a connection of our own may have been lost.
				err := r.db.QueryRowContext(ctx, r.server.text.Lease.Holders, r.lease.Application()).Scan(&id)
				if err == nil && id > 0 {
					err = errBusy
				}
				return err
			}
			if err := r.db.QueryRowContext(ctx, r.server.text.Busy, r.store.Tree).Scan(&id); err != nil || id == 0 {
				return err
			}
			// It may have ended by itself meanwhile.
			_, _ = r.db.ExecContext(ctx, fmt.Sprintf(r.server.text.End, id))
			return errBusy
		})
}

var errBusy = errors.New("a statement of an earlier run still runs on the server")

// tx runs fn in a transaction that holds the claim, on the connection for statements.
func (r *run) tx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	t, err := r.conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	err = func() error {
		if !r.server.mysql {
			if _, err := t.ExecContext(ctx, r.server.text.Bound(r.m.config.LockWait)); err != nil {
				return err
			}
		}
		if err := r.lease.Fence(ctx, t); err != nil {
			return err
		}
		return fn(t)
	}()
	if err != nil {
		if back := t.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) && !fault.Lost(back) {
			return errors.Join(err, back)
		}
		return err
	}
	return t.Commit()
}

// note writes something down in a transaction of its own, not on the connection for statements, which may be lost.
func (r *run) note(ctx context.Context, fn func(db state.DB) error) error {
	t, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.lease.Fence(ctx, t); err != nil {
		return errors.Join(err, t.Rollback())
	}
	if err := fn(t); err != nil {
		return errors.Join(err, t.Rollback())
	}
	return t.Commit()
}

// perform does one direction of a migration, however often locks are refused and connections are lost: the journal says
// each time what is done.
func (r *run) perform(ctx context.Context, m *Migration, direction string) error {
	began := time.Now()
	err := retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 5 * time.Second, Elapsed: r.m.config.Patience},
		func(err error) bool {
			return (fault.Transient(err) || fault.Lost(err)) && context.Cause(ctx) == nil && kindless(err)
		},
		func(err error, attempt int, wait time.Duration) {
			r.m.config.Events(event.Retried{Step: "migrate", What: m.String(), Attempt: attempt, Err: err, Wait: wait})
		},
		func(ctx context.Context) error {
			if err := r.fresh(ctx); err != nil {
				return err
			}
			return r.once(ctx, m, direction, began)
		})
	if err == nil {
		return nil
	}
	if w := (*waiting)(nil); errors.As(err, &w) {
		return err
	}
	if fault.LockTimeout(err) && kindless(err) {
		err = &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf("migration %s did not get its locks within %s, in waits of %s: somebody holds a table in a long transaction. Nothing waits any more; run the same command again at a quieter hour, or with a longer --lock-timeout", m, r.m.config.Patience, r.m.config.LockWait)}
	}
	return r.failed(ctx, m, direction, err, time.Since(began))
}

// kindless says that nobody has said yet what an error is: those that have a kind are for a person.
func kindless(err error) bool { return fault.KindOf(err) == fault.Unexpected }

// failed notes an error with the migration, unless nothing may be noted any more.
func (r *run) failed(ctx context.Context, m *Migration, direction string, err error, took time.Duration) error {
	switch kind := fault.KindOf(err); {
	case ctx.Err() != nil, kind == fault.Owned, kind == fault.Stopped:
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	row := r.row(m, journal.Failed, took)
	row.Error = err.Error()
	noted := r.note(ctx, func(db state.DB) error {
		if direction == up {
			if err := r.store.Save(ctx, db, row); err != nil {
				return err
			}
		}
		return r.store.Note(ctx, db, journal.Entry{Version: m.ID(), What: "failed", By: r.m.config.Owner, Took: took, Detail: direction + ": " + err.Error()})
	})
	if noted != nil && kindless(err) {
		return errors.Join(err, noted)
	}
	return err
}

func (r *run) row(m *Migration, status journal.Status, took time.Duration) *journal.Row {
	return &journal.Row{Version: m.ID(), Name: m.Name, Exact: m.Sum.Exact, Normal: m.Sum.Normal, Status: status, By: r.m.config.Owner, Took: took}
}

// once goes through a migration from where the journal says that it stands.
func (r *run) once(ctx context.Context, m *Migration, direction string, began time.Time) error {
	rows, err := r.known(ctx)
	if err != nil {
		return err
	}
	row := rows[m.ID()]
	// A commit whose answer was lost.
	if direction == up && row != nil && row.Status.Over() && !m.Repeatable || direction == down && row == nil {
		return nil
	}
	if m.Repeatable && row != nil && row.Status == journal.Applied && row.Normal == m.Sum.Normal {
		return nil
	}
	if m.Repeatable && row != nil && row.Normal != m.Sum.Normal { // what an earlier text of it did counts no more
		if err := r.note(ctx, func(db state.DB) error {
			_, err := db.ExecContext(ctx, r.server.text.Clear, r.store.Tree, m.ID())
			return err
		}); err != nil {
			return err
		}
	}
	p, err := r.compose(ctx, m, direction)
	if err != nil {
		return err
	}
	if p.steps, err = r.store.Steps(ctx, r.db, m.ID(), direction); err != nil {
		return err
	}
	p.began = began
	if p.atomic && len(p.steps) == 0 {
		return r.atomic(ctx, p)
	}
	return r.stepwise(ctx, p)
}

func (r *run) known(ctx context.Context) (map[string]*journal.Row, error) {
	rows, err := r.store.Rows(ctx, r.db)
	if err != nil {
		return nil, err
	}
	out := map[string]*journal.Row{}
	for _, row := range rows {
		out[row.Version] = row
	}
	return out, nil
}

// atomic runs all statements and their records in one transaction.
func (r *run) atomic(ctx context.Context, p *program) error {
	return r.tx(ctx, func(tx *sql.Tx) error {
		if err := r.asked(ctx, tx, p, "requires", p.script.Require, fault.Precondition); err != nil {
			return err
		}
		for i, u := range p.units {
			if err := r.execute(ctx, tx, p, u); err != nil {
				return r.explain(ctx, p, i, err, "nothing of it remains: it was one transaction")
			}
			if err := r.mark(ctx, tx, p, u); err != nil {
				return err
			}
		}
		return r.conclude(ctx, tx, p)
	})
}

// mark notes in its own transaction that a unit happened.
func (r *run) mark(ctx context.Context, tx *sql.Tx, p *program, u *unit) error {
	x := u.step(p.direction)
	if err := r.store.Begin(ctx, tx, p.migration.ID(), x); err != nil {
		return err
	}
	return r.store.Done(ctx, tx, p.migration.ID(), x)
}

// conclude asks for what must hold afterwards, and only then says that the migration is done (N5).
func (r *run) conclude(ctx context.Context, db state.DB, p *program) error {
	if err := r.asked(ctx, db, p, "ensures", p.script.Ensure, fault.Broken); err != nil {
		return err
	}
	id, took := p.migration.ID(), time.Since(p.began)
	what, status := "applied", journal.Applied
	if len(p.waiting) > 0 {
		what, status = "detached", journal.Background
	}
	if p.direction == down {
		if err := r.store.Forget(ctx, db, id); err != nil {
			return err
		}
		what = "reverted"
	} else if err := r.store.Save(ctx, db, r.row(p.migration, status, took)); err != nil {
		return err
	}
	return r.store.Note(ctx, db, journal.Entry{Version: id, What: what, By: r.m.config.Owner, Took: took, Detail: p.migration.Name})
}

// asked demands a true answer of each query.
func (r *run) asked(ctx context.Context, db state.DB, p *program, verb string, queries []string, kind fault.Kind) error {
	for _, q := range queries {
		var answer any
		err := db.QueryRowContext(ctx, q).Scan(&answer)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%s %s: %w", p.migration, verb, err)
		}
		if text := strings.ToLower(fmt.Sprintf("%s", printable(answer))); err != nil || text == "" || text == "false" || text == "0" || text == "f" {
			return &fault.Problem{Kind: kind, Text: fmt.Sprintf("migration %s %s `%s`, and the answer is %q: expected a true value. Mend what it asks for, then run the same command again", p.migration, verb, q, text)}
		}
	}
	return nil
}

func printable(v any) any {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}

// execute runs the statements of a unit.
func (r *run) execute(ctx context.Context, tx *sql.Tx, p *program, u *unit) error {
	if u.function != nil {
		return u.function(ctx, tx)
	}
	for i, s := range u.statements {
		if err := r.noted(ctx, tx, p, u, i, func() error {
			_, err := tx.ExecContext(ctx, s.SQL)
			if err != nil {
				u.failed = s
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// StepError says which statement of which migration failed, and what is left of it.
type StepError struct {
	Version   string // of the migration
	File      string
	Line      int
	SQL       string
	Cause     error
	Done      int    // statements before it that are done and kept
	Remaining int    // statements behind it
	Left      string // in words
}

func (e *StepError) Error() string {
	return fmt.Sprintf("migration %s: %s:%d: %s\n  in: %s\n  %s", e.Version, e.File, e.Line, fault.Message(e.Cause), shorten(e.SQL, 300), e.Left)
}

// Unwrap is the server's error.
func (e *StepError) Unwrap() error { return e.Cause }

func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// explain wraps what a server said to a statement, with the exit code that it stands for.
func (r *run) explain(ctx context.Context, p *program, i int, err error, left string) error {
	if ctx.Err() != nil || fault.Lost(err) || fault.Transient(err) || !kindless(err) {
		return err
	}
	u := p.units[i]
	e := &StepError{Version: p.migration.String(), File: p.script.File, SQL: u.text(), Cause: err, Remaining: len(p.units) - i - 1, Left: left}
	if len(u.statements) > 0 {
		e.Line = u.statements[0].Line
	}
	if u.failed.SQL != "" {
		e.SQL, e.Line = u.failed.SQL, u.failed.Line
	}
	for _, before := range p.units[:i] {
		if !p.atomic {
			e.Done += max(len(before.statements), 1)
		}
	}
	kind := fault.Broken
	switch {
	case fault.Denied(err):
		kind = fault.Precondition
	case fault.Data(err), fault.Duplicate(err):
		kind = fault.Refusal
	}
	return &fault.Problem{Kind: kind, Err: e, Text: e.Error()}
}

// hash is that of words.
func hash(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
