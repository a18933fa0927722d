// Package cutover puts the shadow in the place of the source.
//
// The swap is one transaction: lock, look whether everything still is as it was planned, apply the last keys, swap all
// names, save the program counter, commit. A crash leaves the state before it or after it, never one in between.
package cutover

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
)

// Blocker is a session or transaction that a lock would have to wait for.
type Blocker struct {
	Who string // for a person: pid, role, application, state
	Age time.Duration
	ID  int64 // of its session; zero where there is none that could be ended
	// Idle says that it sits in its transaction and does nothing.
	Idle bool
	Mark string // tells its transaction from another one of the same session
}

// Server is the other side of a cutover. All methods but Ready and Blockers act in the attempt's own transaction.
type Server interface {
	// Ready drains and compares until little is left to do under the lock.
	Ready(ctx context.Context) error
	// Blockers are the transactions that hold one of the tables now, the oldest first.
	Blockers(ctx context.Context) ([]Blocker, error)
	// Begin opens the transaction, checks the lease, and does what can be done before others have to wait.
	Begin(ctx context.Context) (Attempt, error)
}

// Attempt is the transaction of one attempt. One of Commit and Rollback ends it.
type Attempt interface {
	// Lock takes all locks, within a bound.
	Lock(ctx context.Context) error
	// Check says whether the source still is what was planned for, and whether capture saw every write (invariant I7).
	Check(ctx context.Context) error
	// Drain applies the last keys and compares them. The log is empty afterwards. It returns ErrBusy if there are too many
	// to be done under the lock.
	Drain(ctx context.Context) (keys int64, err error)
	// Swap exchanges the tables and saves that it happened.
	Swap(ctx context.Context) error
	Commit() error
	Rollback() error
}

// ErrNotNow is what Config.Allow answers where the cutover should not be tried at all any more.
var ErrNotNow = errors.New("the cutover is not wanted now")

// ErrBusy says that too much is left to be done under the lock.
var ErrBusy = errors.New("too much happened at the last moment for a short lock")

// ErrSwapped is what an error of Commit is that tells of something wrong with a swap that is done.
var ErrSwapped = errors.New("the tables are swapped")

// Config bounds a cutover.
type Config struct {
	// Attempts is how often the locks are tried. Zero means 60.
	Attempts int
	// Patience is the age of a transaction on one of the tables from which on the lock is not even tried: it would only
	// make others queue. Zero means 1s.
	Patience time.Duration
	// MaxWait is the longest pause between two attempts. Zero means 5s.
	MaxWait time.Duration
	Sink    event.Sink
	// Allow is asked before each attempt. ErrNotNow ends Run; any other error is a reason to try again later. It may be nil.
	Allow func(ctx context.Context) error
	// Evict may end a blocker that is older than Patience, and says whether it did. It may be nil.
	Evict func(ctx context.Context, b Blocker) (bool, error)
}

// Unlocker is an attempt whose locks end with the swap, before what it still has to save.
type Unlocker interface {
	// Unlocked is when they did; zero if they did not.
	Unlocked() time.Time
}

// Run tries until the tables are swapped, and returns for how long the locks were held in the attempt that did it.
// When the attempts are used up the error is of kind fault.NoCutover, and the change can be run again.
//
// A connection that is lost in the commit leaves the outcome open: Run then returns the error as it is, and the caller
// asks the saved program counter, which moved in the same transaction.
func Run(ctx context.Context, s Server, c Config) (held time.Duration, err error) {
	attempts := c.Attempts
	if attempts == 0 {
		attempts = 60
	}
	var last error
	for n := 1; n <= attempts; n++ {
		blocked := s.Ready(ctx)
		if blocked != nil && !errors.Is(blocked, ErrBusy) {
			return 0, blocked
		}
		if blocked == nil {
			if blocked, err = c.blocked(ctx, s); err != nil {
				return 0, err
			}
		}
		if blocked == nil {
			tried := try(ctx, s, n)
			c.Sink(tried)
			if tried.Swapped {
				return tried.Held, tried.Err
			}
			blocked = tried.Err
			if !again(tried.Err) {
				return 0, tried.Err
			}
		} else {
			c.Sink(event.CutoverTried{Attempt: n, Err: blocked})
		}
		last = blocked
		if err := pause(ctx, n, c.MaxWait); err != nil {
			return 0, err
		}
	}
	return 0, &fault.Problem{Kind: fault.NoCutover, Err: last, Text: fmt.Sprintf(
		"no cutover in %d attempts, the last one: %v. Nothing was swapped and nothing is lost: end what holds the table, or try at a quieter hour, and run the change again", attempts, last)}
}

// blocked says who would have to be waited for. Looking costs nothing; a waiting lock would stop everybody behind it.
func (c Config) blocked(ctx context.Context, s Server) (error, error) {
	patience := c.Patience
	if patience == 0 {
		patience = time.Second
	}
	if c.Allow != nil {
		if err := c.Allow(ctx); errors.Is(err, ErrNotNow) || ctx.Err() != nil {
			return nil, err
		} else if err != nil {
			return err, nil
		}
	}
	list, err := s.Blockers(ctx)
	if err != nil {
		return nil, err
	}
	var old []string
	for _, b := range list {
		if b.Age <= patience {
			continue
		}
		ended := false
		if c.Evict != nil {
			if ended, err = c.Evict(ctx, b); err != nil {
				return nil, err
			}
		}
		if !ended {
			old = append(old, fmt.Sprintf("%s, in a transaction for %s", b.Who, b.Age.Round(time.Second)))
		}
	}
	if len(old) == 0 {
		return nil, nil
	}
	return fmt.Errorf("the lock was not tried, because it would wait for %s", strings.Join(old, "; ")), nil
}

func try(ctx context.Context, s Server, n int) (tried event.CutoverTried) {
	tried.Attempt = n
	a, err := s.Begin(ctx)
	if err != nil {
		tried.Err = err
		return tried
	}
	began := time.Now()
	err = a.Lock(ctx)
	locked := time.Now()
	tried.Waited = locked.Sub(began)
	if err != nil {
		_ = a.Rollback() // the lock was not granted; that is what is told
		tried.Err = err
		return tried
	}
	err = func() error {
		if err := a.Check(ctx); err != nil {
			return err
		}
		keys, err := a.Drain(ctx)
		tried.Pending = keys
		if err != nil {
			return err
		}
		return a.Swap(ctx)
	}()
	if err != nil {
		// The attempt failed; what a rollback says on top of it is of no use, a lost connection rolls back by itself.
		_ = a.Rollback()
	} else {
		err = a.Commit()
	}
	tried.Held = time.Since(locked)
	if early, ok := a.(Unlocker); ok && !early.Unlocked().IsZero() {
		tried.Held = early.Unlocked().Sub(locked)
	}
	tried.Err, tried.Swapped = err, err == nil || errors.Is(err, ErrSwapped)
	return tried
}

// again says whether another attempt may go better without anybody doing anything.
func again(err error) bool {
	if fault.Lost(err) || errors.Is(err, sql.ErrTxDone) {
		return false // the outcome is not known
	}
	return fault.LockTimeout(err) || fault.Transient(err) || fault.Code(err) == "57014" || errors.Is(err, ErrBusy)
}

// pause waits longer after each attempt, and never as long as somebody else: two that wait alike meet again.
func pause(ctx context.Context, n int, longest time.Duration) error {
	if longest == 0 {
		longest = 5 * time.Second
	}
	wait := min(100*time.Millisecond<<min(n, 8), longest)
	wait = wait/2 + rand.N(wait)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
