package changeling

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/internal/verify"
	"github.com/changeling-db/changeling/plan"
)

// A test on a replica is a change whose plan ends before the swap, with a comparison of all rows as of one moment, after which all
// that the change made is taken away.
//
// Nothing of it is in the binary log, and that changes how rows that change meanwhile are found: nothing of ours commits behind what was
// read in the log, so nothing tells that it can be seen. Who needs that waits for those who write to the table, see meetWriters. For the last
// comparison they are kept from it for as long as it takes to read the log to its end and to begin a snapshot. The lock is one
// of a session: if that ends, however it does, the applier goes on by itself. It is never stopped.

// IsTrial says that an id is one of a test on a replica, whose state is apart from that of changes: see Config.TestOnReplica.
func IsTrial(id string) bool { return mysql.IsTrial(id) }

// trial says what cannot be had together with a test on a replica.
func (c Config) trial() error {
	why := ""
	switch {
	case c.Capture == CaptureTriggers:
		why = "triggers do not fire for what a replica applies: changed rows are read in its binary log, so leave Capture (--capture) out"
	case len(c.Replicas) > 0:
		why = "nothing that it writes gets to other replicas, so their lag cannot be measured by it: leave Replicas (--replica) out"
	case c.Hold:
		why = "there is no swap to wait for: leave Hold (--hold) out"
	case c.Undo == UndoOn:
		why = "there is no swap to undo: leave Undo (--undo) out"
	case c.Route != "" && c.Route != plan.ShadowTable:
		why = "it tries the copy to a second table, and no other route: leave Route (--route) out"
	default:
		return nil
	}
	return &fault.Problem{Kind: fault.Usage, Text: "a test on a replica was asked for, and " + why}
}

// unlogged is the engine's pool whose writes are not in the binary log.
func unlogged(ctx context.Context, db *sql.DB) (*sql.DB, error) {
	pool := mysql.WrapUnlogged(db)
	err := pool.PingContext(ctx)
	if err == nil {
		return pool, nil
	}
	pool.Close()
	if fault.Denied(err) {
		return nil, &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the account may not keep its writes out of the binary log (SET SESSION sql_log_bin = 0), without which a test would leave transactions on the replica that its source does not have: " +
			"GRANT SESSION_VARIABLES_ADMIN ON *.* (on MariaDB BINLOG ADMIN). Nothing was changed"}
	}
	return nil, unasked(err)
}

func (d mysqld) State() state.Text {
	if d.trial {
		return mysql.TrialText()
	}
	return mysql.StateText()
}

// planTrial is the plan of a change up to its swap, with the last comparison in its place.
func (d mysqld) planTrial(ctx context.Context, db *sql.DB, ddl, id string, wait time.Duration) (*plan.Plan, error) {
	if err := mysql.FitTrial(ctx, db); err != nil {
		return nil, err
	}
	if d.target != nil {
		far, err := d.elsewhere(ctx, db)
		if far != nil {
			far.Close()
			err = &fault.Problem{Kind: fault.Usage, Text: "a test reads the binary log of the replica that it runs on: leave --binlog-from out. Nothing was changed"}
		}
		if err != nil {
			return nil, err
		}
	}
	p, err := d.plan(ctx, db, ddl, mysql.Options{ID: mysql.TrialID(id), LockWait: wait, Trial: true})
	if mysql.Blocked(err) {
		return nil, &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the replica is read-only, and the account may not write all the same: GRANT CONNECTION_ADMIN ON *.* (on MariaDB READ ONLY ADMIN, or SUPER), with which read_only stays ON for all others. Nothing was changed"}
	}
	if err != nil || p.Route == plan.Refuse || len(p.Steps) == 0 {
		return p, err
	}
	if p.Route != plan.ShadowTable {
		why := fmt.Sprintf("there is no copy to test: the server does this by itself (route %s: %s)", p.Route, p.Why)
		p.Route, p.Why, p.Refusals, p.Steps = plan.Refuse, why, []string{why}, nil
		return p, nil
	}
	p.Steps = append(slices.Clone(p.Steps[:p.Find(plan.Hold)]), plan.Step{Kind: plan.Trial, Name: "compare", LockWait: wait, Lock: "LOCK TABLES … READ, until the last changes are copied",
		Why: "all rows are compared in one snapshot, for which the applier waits a moment; then everything is taken away, and nothing was swapped"})
	return p, nil
}

// startTrial is start for a test on a replica. What is left of one that was being taken away is taken away first.
func (e *Engine) startTrial(ctx context.Context, ddl string) (c *Change, err error) {
	err = e.trials(ctx, func(conn *sql.Conn) error {
		c, err = e.start(ctx, ddl)
		if c != nil && c.record.Want == state.WantAbort {
			if err := c.abort(ctx); err != nil {
				return err
			}
			c, err = e.start(ctx, ddl)
		}
		if c == nil {
			return errors.Join(err, e.forgetTrials(context.WithoutCancel(ctx), conn))
		}
		return err
	})
	return c, err
}

// trials runs fn while nobody else begins a test, or drops the state of all.
func (e *Engine) trials(ctx context.Context, fn func(conn *sql.Conn) error) error {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer discard(conn) // and the lock with it
	var mine bool
	if err := conn.QueryRowContext(ctx, mysql.ClaimTrials).Scan(&mine); err != nil {
		return err
	}
	if !mine {
		return &fault.Problem{Kind: fault.Stopped, Text: "another test on this replica begins or ends, and has for 30 seconds: run the same command again when it has. Nothing was changed"}
	}
	err = fn(conn)
	if _, let := conn.ExecContext(ctx, mysql.LetTrials); let != nil && !fault.Lost(let) && ctx.Err() == nil {
		err = errors.Join(err, let)
	}
	return err
}

// forgetTrials drops the state of tests if none is left.
func (e *Engine) forgetTrials(ctx context.Context, conn *sql.Conn) error {
	if there, err := e.store.Exists(ctx); err != nil {
		return err
	} else if there {
		var open int
		if err := conn.QueryRowContext(ctx, mysql.OpenTrials).Scan(&open); err != nil || open > 0 {
			return err
		}
	}
	_, err := conn.ExecContext(ctx, mysql.DropTrials)
	return err
}

// vanish drops the state of tests on a replica if none is left, whatever became of the caller.
func (e *Engine) vanish(ctx context.Context) error {
	if !e.config.TestOnReplica {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return e.trials(ctx, func(conn *sql.Conn) error { return e.forgetTrials(ctx, conn) })
}

// tried is the end of a run. A test that cannot go on leaves nothing behind; one that was stopped, or that another process has, goes on.
func (c *Change) tried(ctx context.Context, err error) error {
	if !c.engine.config.TestOnReplica {
		return err
	}
	switch fault.KindOf(err) {
	case fault.Stopped, fault.Owned:
		return err
	}
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil && fault.KindOf(err) != fault.Aborted {
		if left := c.abort(ctx); left != nil {
			return errors.Join(err, left)
		}
	}
	return errors.Join(err, c.engine.vanish(ctx))
}

// errTried ends a run whose test is done, and of which nothing is left.
var errTried = errors.New("the test is done")

// try compares all rows as of one moment, and takes the change back.
func (r *run) try(ctx context.Context, s plan.Step) error {
	began, first := time.Now(), "copy the last changes"
	r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: first})
	f, err := r.freeze(ctx)
	if err != nil {
		return err
	}
	r.engine.config.Events(event.StepEnded{Step: string(s.Kind), Name: first, Took: time.Since(began)})
	out, err := r.compareFrozen(ctx, s, f)
	discard(f.conn) // it keeps the shadow from being dropped
	if err != nil {
		return err
	}
	out.Took = time.Since(began)
	r.engine.config.Events(out)
	if len(out.Keys) > 0 || out.Source != out.Shadow {
		return &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("rows of %s and of its shadow differ on this replica, as of %s (%s). Nothing was swapped, and what the test made is dropped",
			r.table(), out.At, strings.Join(out.Keys, "; "))}
	}
	// A run that does not live to take everything away says so to the next one: what is left of the shadow is none to go on with.
	r.swapped.Store(true) // nobody else's wish to abort counts any more
	store := r.engine.store
	if err := store.Exec(ctx, store.DB, store.Text.SetWant, r.id, string(state.WantAbort)); err != nil {
		return err
	}
	err = retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 3 * time.Second, Elapsed: 2 * time.Minute},
		func(err error) bool { return fault.Transient(err) || fault.Lost(err) }, nil, r.abandon)
	if err != nil {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf("all rows were compared, and what the test made could not be taken away: %s. Run the same command again, or `changeling abort %s`", fault.Message(err), r.id)}
	}
	return errTried
}

// frozen is a session that sees both tables as they were at one moment, at which all changes had been copied.
type frozen struct {
	conn *sql.Conn
	at   string
	held time.Duration
}

// standstill is how long the applier may be kept from the table.
const standstill = 3 * time.Second

// freeze keeps the applier, and whoever else writes, from the table until the last changes are copied and a snapshot is begun.
func (r *run) freeze(ctx context.Context) (f frozen, err error) {
	if f.conn, err = r.besides(ctx, long); err != nil {
		return f, err
	}
	err = r.patiently(ctx, "lock", func(ctx context.Context) error {
		if err := r.drain(ctx, true); err != nil { // so that little is left
			return err
		}
		lock, err := r.besides(ctx, 2*standstill) // a run that stands still under the lock loses it soon, and then cannot let it go
		if err != nil {
			return err
		}
		defer discard(lock)
		if err := r.bounded(ctx, lock, r.engine.config.LockWait, mysql.StopWriters(r.pair)); err != nil {
			return err
		}
		began := time.Now()
		r.frozen.Store(true)
		defer r.frozen.Store(false)
		short, cancel := context.WithTimeout(ctx, standstill)
		defer cancel()
		err = r.settleFrozen(short, &f)
		r.frozen.Store(false)
		if err == nil {
			_, err = lock.ExecContext(short, "UNLOCK TABLES") // it was held until now
		}
		if err != nil && short.Err() != nil && ctx.Err() == nil {
			return &waiting{fmt.Sprintf("the last changes were not copied in %s", standstill)}
		}
		f.held = time.Since(began)
		return err
	})
	if err != nil {
		discard(f.conn)
	}
	return f, err
}

// settleFrozen copies all that is in the log, and begins the snapshot. Writers are kept away.
func (r *run) settleFrozen(ctx context.Context, f *frozen) error {
	for pending := int64(1); pending > 0; {
		if err := r.follower.catchUp(ctx); err != nil {
			return err
		}
		err := r.tx(ctx, session{Async: true, Path: r.pair.Path, Isolation: sql.LevelRepeatableRead, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
			_, err := r.apply(ctx, t, 0, true)
			return err
		})
		if err != nil {
			return err
		}
		if err := r.engine.db.QueryRowContext(ctx, r.rows.Pending()).Scan(&pending); err != nil {
			return err
		}
	}
	at, err := capture.Current(ctx, r.engine.db)
	if err != nil {
		return err
	}
	f.at = cmp.Or(at.GTID, fmt.Sprintf("%s:%d", at.File, at.Offset))
	_, err = f.conn.ExecContext(ctx, mysql.Snapshot)
	return err
}

// compareFrozen compares all rows in one snapshot.
func (r *run) compareFrozen(ctx context.Context, s plan.Step, f frozen) (out event.Compared, err error) {
	out = event.Compared{Table: r.table().String(), At: f.at, Held: f.held}
	var source, shadow big.Int
	cut := func(ctx context.Context, after copier.Key, n int64) (copier.Key, bool, error) {
		query, args := r.rows.Boundary(after, n)
		var text string
		if err := f.conn.QueryRowContext(ctx, query, args...).Scan(&text); isNoRows(err) {
			return nil, true, nil
		} else if err != nil {
			return nil, false, err
		}
		upto, err := copier.ParseKey(text)
		return upto, false, err
	}
	w := r.walker(s, cut, r.readSizer(5000, 100, 500_000), 0, max(r.record.RowsDone, r.record.Plan.Rows))
	w.Workers = 1
	err = w.Walk(ctx, nil, func(ctx context.Context, c copier.Chunk) (int64, error) {
		var a, b verify.Sum
		var reset bool
		query, args := r.rows.Compare(c.Range)
		if err := f.conn.QueryRowContext(ctx, query, args...).Scan(&a.Rows, &a.Digest, &b.Rows, &b.Digest, &reset); err != nil {
			return 0, err
		}
		out.Rows += a.Rows
		if err := errors.Join(sumUp(&source, a.Digest), sumUp(&shadow, b.Digest)); err != nil {
			return 0, err
		}
		if a == b {
			return a.Rows, nil
		}
		keys, err := r.named(ctx, f.conn, c.Range)
		out.Keys = append(out.Keys, keys...)
		out.Keys = out.Keys[:min(len(out.Keys), 10)]
		return a.Rows, err
	})
	out.Source, out.Shadow = source.String(), shadow.String()
	return out, err
}

// sumUp adds a digest to a sum.
func sumUp(sum *big.Int, digest string) error {
	n, ok := new(big.Int).SetString(digest, 10)
	if !ok {
		return fmt.Errorf("the server answers %q for a digest, which is no number", digest)
	}
	sum.Add(sum, n)
	return nil
}

// named are the keys of the rows of a range that differ, for a person.
func (r *run) named(ctx context.Context, conn *sql.Conn, c copier.Range) (keys []string, err error) {
	rows, err := conn.QueryContext(ctx, r.engine.dialect.(mysqld).texts(r.pair).Differing(c))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() && len(keys) < 10 {
		var key string
		var s sums
		if err := rows.Scan(&key, &s.source, &s.shadow); err != nil {
			return nil, err
		}
		keys = append(keys, r.person(key))
	}
	return keys, rows.Err()
}

// meetWriters waits for all who have written to the source: what they wrote can be seen by whoever looks from now on (invariants I1 and I6).
// A transaction has its lock on the table until it can be seen, so a lock that it shuts out is granted after that, and is let go at once.
// While the run keeps writers away they all have ended; another lock of the kind would not be granted, because it queues behind those who wait to write.
func (r *run) meetWriters(ctx context.Context) error {
	if r.frozen.Load() {
		return nil
	}
	conn, err := r.besides(ctx, standstill)
	if err != nil {
		return err
	}
	defer discard(conn)
	return r.bounded(ctx, conn, r.engine.config.LockWait, mysql.StopWriters(r.pair))
}

// besides is a connection of the run for more than one transaction, which the server ends if it is silent for longer than idle.
func (r *run) besides(ctx context.Context, idle time.Duration) (*sql.Conn, error) {
	return r.connect(ctx, session{Application: r.lease.Application(), LockWait: time.Second, Idle: idle})
}
