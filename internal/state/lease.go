package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
)

// Lease is the right to work on a change: a claim row with a fencing token and a heartbeat. Every writing transaction
// locks the claim row FOR SHARE and sees its token, so a runner that was frozen and wakes up after somebody else took
// over can write nothing, and nobody can take over while such a transaction is open.
type Lease struct {
	Change string
	Token  int64

	store *Store
	conn  *sql.Conn
	owner string
	grace time.Duration

	mu      sync.Mutex
	pending int64
	reason  string
}

// Beat is what the heartbeat learned.
type Beat struct {
	Want Want
	Hold bool
	// Settings of the throttle, that were made while the change runs.
	Settings string
}

// Self is how a run calls itself to others, if it was not told.
func Self() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

// Acquire claims a change. If somebody else holds it and lives, the error is of kind fault.Owned and says who.
// A holder whose connection is gone, or who was silent for the grace time, is taken over: its connections are ended
// first, and its token is worth nothing from then on.
func (s *Store) Acquire(ctx context.Context, change, owner string, grace time.Duration) (*Lease, error) {
	conn, err := s.DB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	l := &Lease{Change: change, store: s, conn: conn, owner: owner, grace: grace}
	if err := l.claim(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lease) claim(ctx context.Context) error {
	token, released, err := l.free(ctx)
	if err != nil {
		return err
	}
	// Whoever held it is gone or frozen. What its connections still do must end before the token goes up.
	err = retry.Do(ctx, retry.Policy{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond, Elapsed: 20 * time.Second},
		func(err error) bool { return errors.Is(err, errHeld) || fault.LockTimeout(err) }, nil, func(ctx context.Context) error {
			if released && l.store.Text.Ends != "" {
				return nil // what has the holder's name now are connections at rest, of this very pool perhaps
			}
			if err := l.end(ctx, application(l.Change, token)); err != nil {
				return err
			}
			var left int
			if err := l.conn.QueryRowContext(ctx, l.store.Text.Holders, application(l.Change, token)).Scan(&left); err != nil {
				return err
			}
			if left > 0 {
				return errHeld
			}
			return nil
		})
	if err != nil {
		return err
	}
	err = l.conn.QueryRowContext(ctx, l.store.Text.Claim, l.Change, token, l.owner).Scan(&l.Token)
	if errors.Is(err, sql.ErrNoRows) {
		return &fault.Problem{Kind: fault.Owned, Text: fmt.Sprintf("change %s was claimed by somebody else a moment ago: see `changeling status %s`; nothing was touched", l.Change, l.Change)}
	}
	return err
}

// end ends the connections of a holder one by one, where that is how the server does it.
func (l *Lease) end(ctx context.Context, name string) error {
	if l.store.Text.Ends == "" {
		return nil
	}
	rows, err := l.conn.QueryContext(ctx, l.store.Text.Ends, name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		list = append(list, text)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, text := range list {
		_, err := l.conn.ExecContext(ctx, text)
		if fault.Denied(err) {
			return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf("a run of change %s stands still, and its connections cannot be ended: %s. "+
				"Take it over with the account that it runs under, or with one that has CONNECTION_ADMIN; nothing was touched", l.Change, fault.Message(err))}
		}
		if err != nil && !fault.Undefined(err) { // it ended by itself
			return err
		}
	}
	return nil
}

// Sweep ends the transactions of this lease that are left on the server, and waits until they are gone. Call it when the run
// itself has none open: after a lost connection, before it is asked what happened. Where a connection keeps its name between
// two transactions it does nothing.
func (l *Lease) Sweep(ctx context.Context) error {
	if l.store.Text.Ends != "" {
		return nil
	}
	return retry.Do(ctx, retry.Policy{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond, Elapsed: 20 * time.Second},
		func(err error) bool { return errors.Is(err, errHeld) || fault.LockTimeout(err) }, nil, func(ctx context.Context) error {
			var left int
			if err := l.store.DB.QueryRowContext(ctx, l.store.Text.Holders, l.Application()).Scan(&left); err != nil {
				return err
			}
			if left > 0 {
				return errHeld
			}
			return nil
		})
}

// doubt is how long a claim whose holder seems to live is watched for its next heartbeats, in steps of a blink. The first one may be
// the last of a dead holder, which it sent before it died and the server got to afterwards; so it takes signs.
const (
	doubt = 10 * time.Second
	still = 3 * Every // how long one that was silent for the grace time has to be silent before our own eyes
	blink = 50 * time.Millisecond
	signs = 2
)

// free returns the token of a claim that nobody holds any more, and whether it was given back, or says who has it. A holder that was killed a moment ago
// looks alive until the server has noticed; one that lives beats again and again.
func (l *Lease) free(ctx context.Context) (token int64, released bool, err error) {
	before, beats, last := math.Inf(-1), 0, time.Now()
	for began := time.Now(); ; {
		var holder string
		var alive bool
		var silent float64
		if err := l.conn.QueryRowContext(ctx, l.store.Text.Claimed, l.Change).Scan(&token, &holder, &alive, &silent); err != nil {
			return 0, false, err
		}
		if holder == "" || !alive {
			return token, holder == "", nil
		}
		if silent < before {
			beats, last = beats+1, time.Now()
		}
		// Both times are the server's. If its clock was set meanwhile, the next beat has the new time, and the dead send none.
		if watched := time.Since(last); silent >= l.grace.Seconds() && watched >= still || silent < 0 && watched >= doubt {
			return token, false, nil
		}
		if beats == signs || time.Since(began) > doubt {
			return 0, false, &fault.Problem{Kind: fault.Owned, Text: fmt.Sprintf(
				"change %s is run by %s, last heard of %.0f s ago: watch it with `changeling status %s`, or wait until it ends; nothing was touched", l.Change, holder, max(silent, before), l.Change)}
		}
		before = silent
		select {
		case <-ctx.Done():
			return 0, false, ctx.Err()
		case <-time.After(blink):
		}
	}
}

var errHeld = errors.New("connections of the last holder are still there")

// application is the name under which the connections of a lease are known to the server.
func application(change string, token int64) string {
	return fmt.Sprintf("changeling %s/%d", change, token)
}

// Application is the name that a connection of this lease gives itself.
func (l *Lease) Application() string { return application(l.Change, l.Token) }

// ErrFenced says that somebody else has taken the change over.
func (l *Lease) errFenced() error {
	return &fault.Problem{Kind: fault.Owned, Text: fmt.Sprintf(
		"change %s was taken over by somebody else: this run stops and has written nothing since; see `changeling status %s`", l.Change, l.Change)}
}

// Fence locks the claim in a writing transaction, or says that the lease is lost.
func (l *Lease) Fence(ctx context.Context, tx DB) error {
	var one int
	err := tx.QueryRowContext(ctx, l.store.Text.Fence, l.Change, l.Token).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return l.errFenced()
	}
	return err
}

// Tell sets what the next heartbeat says of the run: keys in the log and the reason of a wait.
func (l *Lease) Tell(pending int64, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pending >= 0 {
		l.pending = pending
	}
	l.reason = reason
}

// Every is the time between two beats, and so the time in which a wish is heard.
const Every = 500 * time.Millisecond

// Keep beats until ctx ends, and tells each beat. It returns an error of kind fault.Owned when the lease
// is lost, and one of kind fault.Stopped when the database was out of reach for the grace time.
func (l *Lease) Keep(ctx context.Context, told func(Beat)) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	last := time.Now()
	for {
		b, err := l.beat(ctx)
		if err != nil && ctx.Err() == nil && time.Since(last) > l.grace {
			// It may be us who stood still, and not the database that was away: then it says now whose the change is.
			l.reconnect(ctx)
			b, err = l.beat(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last = time.Now()
			told(b)
		case fault.KindOf(err) == fault.Owned:
			return err
		case time.Since(last) > l.grace:
			return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf(
				"the database could not be reached for %s (%s), so somebody else may have taken change %s over: this run stops. What is done is kept: run the same command again", l.grace, fault.Message(err), l.Change)}
		case fault.Lost(err):
			l.reconnect(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (l *Lease) beat(ctx context.Context) (b Beat, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(l.grace/3, time.Second))
	defer cancel()
	l.mu.Lock()
	pending, reason := l.pending, l.reason
	l.mu.Unlock()
	var token int64
	err = l.conn.QueryRowContext(ctx, l.store.Text.Beat, l.Change, l.Token, pending, reason).Scan(&token, &b.Want, &b.Hold, &b.Settings)
	if errors.Is(err, sql.ErrNoRows) || err == nil && token != l.Token {
		return b, l.errFenced()
	}
	return b, err
}

// reconnect takes another connection from the pool. The next beat says that it is the claim's. A network that swallows everything
// would keep it waiting for ever, and with it the run, which has to end once the claim may be somebody else's.
func (l *Lease) reconnect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, max(l.grace/3, time.Second))
	defer cancel()
	conn, err := l.store.DB.Conn(ctx)
	if err != nil {
		return // the next beat fails and tries again
	}
	l.conn.Close()
	l.conn = conn
}

// Release gives the change back. It runs although ctx is over, because a claim that stays would hold up the next run
// until its connection is seen to be gone.
func (l *Lease) Release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	// An error leaves the claim; it dies with this connection.
	_, _ = l.conn.ExecContext(ctx, l.store.Text.Unclaim, l.Change, l.Token)
	l.conn.Close()
}
