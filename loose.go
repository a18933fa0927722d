package changeling

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// loose runs statements that the server refuses in a transaction. Who wants it fast does not wait for a vacuum before the
// verification: both only read and mark.
func (r *run) loose(ctx context.Context, s plan.Step) error {
	if s.Done != "" {
		return r.late(s, r.explain(ctx, s, r.patiently(ctx, "lock", func(ctx context.Context) error { return r.certain(ctx, s) })))
	}
	if r.pair.InPlace {
		return r.optional(ctx, s)
	}
	at, steps := r.record.Step, r.record.Plan.Steps
	if !r.engine.config.Fast || at+1 == len(steps) || steps[at+1].Kind != plan.Verify {
		if err := r.explain(ctx, s, r.claimed(ctx, s, func(ctx context.Context, conn *sql.Conn) error { return all(ctx, conn, s.SQL) })); err != nil {
			return err
		}
		return r.next(ctx)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return r.explain(groupCtx, s, r.claimed(groupCtx, s, func(ctx context.Context, conn *sql.Conn) error { return all(ctx, conn, s.SQL) }))
	})
	group.Go(func() error {
		began, verify := time.Now(), steps[at+1]
		err := r.compare(groupCtx, verify)
		if err == nil {
			r.engine.config.Events(event.StepEnded{Step: string(verify.Kind), Name: verify.Name, Took: time.Since(began), Done: r.rowsDone.Load()})
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.advance(ctx, t, 2) })
}

// optional runs statements that read a table of the users for long and that the change can do without: they give way to whoever
// needs a stronger lock, and in the end are left out. Behind a pooler nobody could tell which session to cancel.
func (r *run) optional(ctx context.Context, s plan.Step) error {
	if pooled, err := Pooled(ctx, r.engine.db); err != nil || pooled {
		if err == nil {
			r.engine.config.Events(event.Notice{Text: fmt.Sprintf("step %q is left out, because the connection goes through a pooler: an autovacuum does it in its time", s.Name)})
			err = r.next(ctx)
		}
		return err
	}
	err := r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.claimed(ctx, s, func(ctx context.Context, conn *sql.Conn) error { return r.yielding(ctx, conn, s) })
	})
	if fault.LockTimeout(err) {
		r.engine.config.Events(event.Notice{Text: fmt.Sprintf("step %q is left out: %s", s.Name, fault.Message(err))})
		err = nil
	}
	if err != nil {
		return r.explain(ctx, s, err)
	}
	return r.next(ctx)
}

// certain runs a step of which the catalogue answers whether it happened. It is asked before, because an earlier run may not
// have lived to save it, and afterwards, because the server calls it a success when something of that name is there and broken.
func (r *run) certain(ctx context.Context, s plan.Step) error {
	err := r.claimed(ctx, s, func(ctx context.Context, conn *sql.Conn) error {
		done, err := is(ctx, conn, s.Done)
		if err != nil || done {
			return err
		}
		if err := all(ctx, conn, s.Undo); err != nil { // what an earlier try left over
			return err
		}
		if err := r.yielding(ctx, conn, s); err != nil {
			return errors.Join(err, r.tidy(ctx, conn, s, err))
		}
		if done, err = is(ctx, conn, s.Done); err == nil && !done {
			err = fmt.Errorf("the server reports success, and yet the catalogue does not have what step %q makes", s.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.next(ctx)
}

// tidy takes away what a failed statement left over: an invalid unique index would go on refusing rows of users.
func (r *run) tidy(ctx context.Context, conn *sql.Conn, s plan.Step, err error) error {
	if fault.Lost(err) || ctx.Err() != nil {
		return nil // the next try does it
	}
	return all(ctx, conn, s.Undo)
}

func is(ctx context.Context, conn *sql.Conn, question string) (yes bool, err error) {
	err = conn.QueryRowContext(ctx, question).Scan(&yes)
	return yes, err
}

func all(ctx context.Context, conn oneSession, statements []string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// claimed gives fn a connection outside of a transaction, on which nothing can happen once somebody else has taken the change
// over (invariant I8). First the connection takes the lease's name, by which whoever takes over ends it; then a transaction
// beside it locks the claim for as long as fn works. The connection is thrown away afterwards, with its settings.
func (r *run) claimed(ctx context.Context, s plan.Step, fn func(ctx context.Context, conn *sql.Conn) error) error {
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // answers this very error
	}()
	if err := r.apart(ctx, conn, s); err != nil {
		return err
	}
	return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
		// A query with arguments leaves a portal behind that keeps its snapshot until the next statement of the transaction
		// (manual, Extended Query). An index build beside it would wait for that snapshot, and the transaction for the build.
		if _, err := t.ExecContext(ctx, r.engine.dialect.As("")); err != nil {
			return err
		}
		return fn(ctx, conn)
	})
}

// apart sets up a connection for a step outside of a transaction. Where sessions are shared, nothing may be set: whoever got this
// one next would meet it. A vacuum can do without, because it changes no row, and two of them do no harm.
func (r *run) apart(ctx context.Context, conn *sql.Conn, s plan.Step) error {
	if r.engine.dialect.Transactional() {
		switch pooled, err := Pooled(ctx, r.engine.db); {
		case err != nil:
			return err
		case pooled && s.Done != "":
			return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("step %q runs outside of a transaction, and the connection goes through a pooler that gives each statement another session: "+
				"connect to the server itself, and run the same command again. What is done is kept", s.Name)}
		case pooled:
			return nil
		}
	}
	_, err := conn.ExecContext(ctx, r.engine.dialect.Apart(r.lease.Application(), s.Path, r.engine.config.Fast))
	return err
}

// yielding runs a step's statements, and cancels them when somebody who wants a strong lock has waited for them for longer than
// the bound: others queue behind him. They are tried again later. If he waited for longer than deadlock_timeout while they
// wait for him, the server would end his statement, not ours.
func (r *run) yielding(ctx context.Context, on oneSession, s plan.Step) error {
	var pid int
	if err := on.QueryRowContext(ctx, `SELECT pg_catalog.pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	watch, stop := context.WithCancel(ctx)
	yielded := false
	watcher, _ := errgroup.WithContext(watch)
	watcher.Go(func() error {
		yielded = r.wanted(watch, pid, s)
		return nil
	})
	err := all(ctx, on, s.SQL)
	stop()
	_ = watcher.Wait() // it has none
	if yielded && fault.Code(err) == "57014" {
		return errYielded
	}
	return err
}

// oneSession is one session of the server: a connection, or a transaction.
type oneSession interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// wanted watches a server process until ctx ends, says what it waits for, and cancels it when it stands in somebody's way.
func (r *run) wanted(ctx context.Context, pid int, s plan.Step) (yielded bool) {
	tick := time.NewTicker(max(r.engine.config.LockWait/2, 50*time.Millisecond))
	defer tick.Stop()
	said := ""
	defer func() {
		if said != "" {
			r.engine.config.Events(event.Waiting{Step: string(s.Kind)})
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return yielded
		case <-tick.C:
		}
		var unwanted bool
		var waits string
		bound := float64(r.engine.config.LockWait) / float64(time.Millisecond)
		if err := r.pinned(ctx, func(q state.DB) error {
			return q.QueryRowContext(ctx, postgres.Unwanted, pid, bound).Scan(&unwanted, &waits)
		}); err != nil {
			continue // the next tick asks again
		}
		if waits != said {
			said = waits
			reason := ""
			if waits != "" {
				reason = "waits for older transactions: " + waits
			}
			r.engine.config.Events(event.Waiting{Step: string(s.Kind), Reason: reason})
		}
		if unwanted {
			// Should the statement be over by now, there is nothing left on its connection to be cancelled.
			// And should the answer not come any more, the statement's own error says whether it was.
			yielded = true
			_, _ = r.engine.db.ExecContext(ctx, `SELECT pg_catalog.pg_cancel_backend($1::int)`, pid)
		}
	}
}

// errYielded is a statement of ours that was in somebody's way.
var errYielded = &yielded{}

type yielded struct{}

func (*yielded) Error() string {
	return "gave way to somebody who waited for a stronger lock on the table"
}
func (*yielded) SQLState() string { return "55P03" }
