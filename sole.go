package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/plan"
)

// This file is for servers whose DDL commits by itself: what happens when nobody hears how it ended.

// errBusy says that a connection of the change is still at work.
var errBusy = errors.New("an earlier connection of the change is still at work")

// sole is the one connection of the change for DDL, and its end. An earlier one that is still there is ended first, and waited
// for: its client has gone, and what it was about to do must have happened or not before anybody asks.
func (r *run) sole(ctx context.Context) (conn *sql.Conn, release func(), err error) {
	if conn, err = r.engine.db.Conn(ctx); err != nil {
		return nil, nil, err
	}
	var holder int64
	err = retry.Do(ctx, retry.Policy{Initial: 20 * time.Millisecond, Max: time.Second, Elapsed: 2 * time.Minute},
		func(err error) bool { return errors.Is(err, errBusy) }, nil, func(ctx context.Context) error {
			var mine bool
			if err := conn.QueryRowContext(ctx, mysql.Hold(r.id)).Scan(&mine); err != nil || mine {
				return err
			}
			if err := conn.QueryRowContext(ctx, mysql.Holder(r.id)).Scan(&holder); err != nil {
				return err
			}
			delicate := false
			if holder != 0 {
				if err := conn.QueryRowContext(ctx, mysql.Delicate(holder)).Scan(&delicate); err != nil {
					return err
				}
			}
			if holder != 0 && !delicate {
				_, _ = conn.ExecContext(ctx, fmt.Sprintf("KILL %d", holder)) // it may have ended; if we may not, the wait tells
			}
			return errBusy
		})
	if err != nil {
		conn.Close()
		if errors.Is(err, errBusy) && ctx.Err() == nil {
			err = &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf(
				"connection %d works on a statement of change %s whose client is gone, and does not end: wait until it has left the process list, or KILL it, and run the same command again", holder, r.id)}
		}
		return nil, nil, err
	}
	return conn, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = conn.ExecContext(ctx, mysql.Let(r.id)) // a connection that is gone has let go
		conn.Close()
	}, nil
}

// seize waits until no earlier connection of the change is at work.
func (r *run) seize(ctx context.Context) error {
	_, release, err := r.sole(ctx)
	if err == nil {
		release()
	}
	return err
}

// undecided stops a statement of the user's that was sent before, if the catalogue does not tell whether it happened: nothing
// is run again on a guess. A table that is as it was when the plan was made tells that it did not.
func (r *run) undecided(ctx context.Context, s plan.Step) error {
	p := r.record.Plan
	if p.Route != plan.Direct || !r.resumed && r.lease.Token <= 1 {
		return nil
	}
	now, err := r.engine.fingerprint(ctx, p.Table, p.Pair.Table)
	if err == nil && now == p.Fingerprint {
		return nil
	}
	if err != nil && !missing(err) {
		return err
	}
	return &fault.Problem{Kind: fault.Unknown, Text: fmt.Sprintf(
		"it is not known whether step %q of change %s happened: its connection was lost, and %s is neither what it was before nor what the statement alone would leave. "+
			"Nothing is run again on a guess, and nothing is lost: look at the table, then say `changeling resolve %s --happened` or `changeling resolve %s --repeat`", s.Name, r.id, p.Table, r.id, r.id)}
}

// Outcome is what a person found out about a step whose outcome is not known.
type Outcome int

// The outcomes.
const (
	Happened Outcome = iota // the statement was carried out: go on behind it
	Repeat                  // it was not: run it
)

// Resolve ends a change's state of not knowing, see exit code 11. It runs nothing; the next Run goes on.
func (c *Change) Resolve(ctx context.Context, found Outcome) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return err
	}
	if c.record.Over() || c.record.ErrorKind != int(fault.Unknown) {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s is %s, and how its last step ended is known: there is nothing to resolve; nothing was changed", c.record.ID, c.record.Status)}
	}
	lease, err := c.engine.store.Acquire(ctx, c.record.ID, c.engine.config.Owner, c.engine.config.Lease)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil {
		return err
	}
	r, s := newRun(c, lease), c.engine.store
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		if found == Happened {
			if err := r.advance(ctx, t, 1); err != nil {
				return err
			}
		} else {
			p := *c.record.Plan
			if p.Fingerprint, err = c.engine.fingerprint(ctx, p.Table, p.Pair.Table); err != nil {
				return err
			}
			if err := s.Replan(ctx, t, &p); err != nil {
				return err
			}
		}
		return s.Exec(ctx, t, s.Text.SetState, r.id, "running", "", 0)
	})
}
