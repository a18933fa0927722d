package changeling

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// This file is the cutover on MySQL, and what that on MariaDB begins with: see mariadb.go.

// renamer is a run seen by a cutover on MySQL: the tables are locked by LOCK TABLES in a session of its own, which drains and
// renames, while a transaction in another one holds the claim and saves what happened.
type renamer struct {
	*run
	step  plan.Step
	tries int
	texts mysql.Rows
}

func (s *renamer) Ready(ctx context.Context) error { return s.verifier.Settle(ctx) }

func (s *renamer) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	return s.inTheWay(ctx, mysql.Swapping(s.pair))
}

// inTheWay is who has one of the tables, and who holds a snapshot that is too old.
func (s *renamer) inTheWay(ctx context.Context, tables []schema.Name) ([]cutover.Blocker, error) {
	list, err := s.blockers(ctx, mysql.Blockers(tables...))
	if err != nil && !fault.Denied(err) && !fault.Undefined(err) { // performance_schema may not be for us; the bounded lock finds them
		return nil, err
	}
	old, err := s.holders(ctx)
	return append(list, old...), err
}

// Begin asks and makes ready whatever it can without the lock.
func (s *renamer) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait})
	if err != nil {
		return nil, err
	}
	s.tries++
	a := &renaming{renamer: s, t: t}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, a.Rollback())
	}
	return a, nil
}

// renaming is one attempt. BEGIN would let the locks go; with autocommit off the last drain after LOCK TABLES is a transaction all
// the same, and waits for the disk once instead of with each statement.
type renaming struct {
	*renamer
	t         *tx
	conn      *sql.Conn
	named     bool   // the new table needs names that the source has in its database
	following bool   // the follower is ours
	counter   uint64 // the next AUTO_INCREMENT value that the shadow was given
	pending   int64
	over      time.Time // when the locks were let go
}

// Unlocked is after UNLOCK TABLES; what Commit saves nobody waits for.
func (a *renaming) Unlocked() time.Time { return a.over }

func (a *renaming) prepare(ctx context.Context) (err error) {
	if a.conn, _, err = a.sole(ctx); err != nil { // it ends with the attempt
		return err
	}
	if _, err := mysql.Fit(ctx, a.conn); err != nil { // it may have become another one since the plan was made
		return err
	}
	for _, text := range append([]string{a.engine.dialect.Session(session{Application: a.lease.Application(), LockWait: time.Second, Settings: a.pair.Settings})}, a.texts.Warm()...) {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if err := a.lease.Fence(ctx, a.t); err != nil { // see each
		return err
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	return a.settled(ctx)
}

// look is what of prepare is asked of each table that is swapped.
func (a *renaming) look(ctx context.Context) error {
	if err := a.conn.QueryRowContext(ctx, mysql.Named(a.pair)).Scan(&a.named); err != nil {
		return err
	}
	if a.follower != nil {
		if err := a.follower.catchUp(ctx); err != nil {
			return err
		}
	}
	if err := a.count(ctx); err != nil {
		return err
	}
	if same, err := a.same(ctx); err != nil || !same {
		return cmp.Or(err, a.altered())
	}
	if err := a.rejoin(ctx, a.conn); err != nil {
		return err
	}
	return a.childless(ctx)
}

// count gives the shadow the source's next AUTO_INCREMENT value, if it is behind.
func (a *renaming) count(ctx context.Context) error {
	var next, has uint64
	if err := a.conn.QueryRowContext(ctx, mysql.Counters(a.pair)).Scan(&next, &has); err != nil {
		return err
	}
	if next <= max(has, a.counter) || has == 0 {
		return nil
	}
	_, err := a.conn.ExecContext(ctx, mysql.SetCounter(a.pair, next))
	a.counter = next
	return err
}

// same says that the source, with its triggers, is what the plan was made for.
func (a *renaming) same(ctx context.Context) (bool, error) {
	now, err := mysql.Fingerprint(ctx, a.conn, a.pair.Source)
	return now == a.record.Plan.Fingerprint, err
}

func (a *renaming) Lock(ctx context.Context) error {
	a.follow()
	// A run that stands still under the lock holds everybody up: the server ends it soon.
	if _, err := a.conn.ExecContext(ctx, "SET SESSION wait_timeout = 3"); err != nil {
		return err
	}
	return a.bounded(ctx, a.conn, a.step.LockWait, "LOCK TABLES "+a.texts.Locked())
}

// follow keeps others from writing the key log until the attempt is over.
func (a *renaming) follow() {
	if a.follower != nil {
		a.follower.mu.Lock()
		a.following = true
	}
}

func (a *renaming) Check(ctx context.Context) error {
	var armed, truncated bool
	if a.follower != nil {
		if err := a.follower.underLock(ctx, a.conn); err != nil {
			return err
		}
	} else if err := a.conn.QueryRowContext(ctx, mysql.Armed(a.pair)).Scan(&armed); err != nil {
		return err
	}
	if !armed && a.follower == nil {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the triggers that log changed keys on %s were dropped by somebody: writes may be missing from the shadow. Nothing was swapped; `changeling abort %s` and begin again", a.table(), a.id)}
	}
	if same, err := a.same(ctx); err != nil || !same { // somebody altered it a moment ago: the next attempt tells so
		return cmp.Or(err, cutover.ErrBusy)
	}
	if err := a.childless(ctx); err != nil {
		return err
	}
	if err := a.conn.QueryRowContext(ctx, a.texts.Left()).Scan(&a.pending, &truncated); err != nil {
		return err
	}
	if truncated {
		return fmt.Errorf("%w: the source was truncated", cutover.ErrBusy)
	}
	return nil
}

func (a *renaming) Drain(ctx context.Context) (int64, error) {
	if err := a.last(ctx); err != nil {
		return a.pending, err
	}
	return a.pending, a.current(ctx, a.tries)
}

// last is the last drain.
func (a *renaming) last(ctx context.Context) error {
	if a.pending > most {
		return cutover.ErrBusy
	}
	if a.pending == 0 {
		return nil
	}
	a.wrote.Store(0)
	var taken, resets, none int64
	if err := a.conn.QueryRowContext(ctx, a.rows.Drain(0, true)).Scan(&taken, &resets, &none, &none); err != nil {
		if a.undoes() && misfit(err) {
			err = gaveWay("a row does not fit the old table: %s", fault.Message(err)) // the next drain says which
		}
		return err
	}
	_, rows, keys, err := a.relogged(ctx, a.conn, a.rows.RelogChecked())
	if err == nil && rows > 0 && !a.record.Plan.Lossy {
		err = a.unequal(keys)
	}
	if err != nil {
		return err
	}
	_, err = a.conn.ExecContext(ctx, "COMMIT") // a snapshot that begins from here on has the last rows in it
	return err
}

// Swap renames. Nothing else can have happened if the connection breaks: the catalogue tells which.
func (a *renaming) Swap(ctx context.Context) error {
	// Since it was set without the lock, it can only have been left behind by a row that came and went at the last moment.
	if err := a.count(ctx); err != nil {
		return err
	}
	var texts []string
	old := mysql.Aside(a.pair)
	if !mysql.Stays(a.pair) && (a.named || a.pair.Binlog || mysql.Calls(a.pair)) {
		if old = a.pair.Old; !mysql.Disarms(a.record.Plan) {
			texts = mysql.DropCapture(a.pair)
		}
	}
	swap := mysql.SwapTo(a.pair, old)
	if mysql.Calls(a.pair) {
		swap = mysql.CallSwap(a.pair)
	}
	return a.swap(ctx, []*renaming{a}, append(texts, swap)...)
}

// swap runs the statements that swap the tables of all, and lets the locks go.
func (a *renaming) swap(ctx context.Context, all []*renaming, texts ...string) error {
	for _, text := range texts {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			if err = a.amend(ctx, all, err); err != nil {
				return err
			}
			break
		}
	}
	a.carried(ctx, a.conn)
	if _, err := a.conn.ExecContext(ctx, "UNLOCK TABLES"); err == nil { // else they end with the connection, in Commit
		a.over = time.Now()
	}
	return nil
}

// amend finds out what became of a swap that the server said an error to, over the connection that has the locks; nil says that it happened. A
// KILL QUERY ends a procedure wherever it is, also behind its RENAME, and no handler of it runs then. So what it left half done is brought to its end
// here, or taken back, before anybody can write.
func (a *renaming) amend(ctx context.Context, all []*renaming, why error) error {
	if fault.Lost(why) {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait) // the locks are ours, whoever wanted the run to end
	defer cancel()
	_, _ = a.conn.ExecContext(ctx, "DO 0") // takes a kill that came when the statement was over
	var swapped bool
	if err := a.conn.QueryRowContext(ctx, a.step.Done).Scan(&swapped); err != nil {
		return errors.Join(errUnsaid, why, err)
	}
	for _, one := range all {
		if err := mysql.Amend(ctx, a.conn, one.pair, swapped); err != nil { // the next attempt, or the release, does it once more
			a.engine.config.Events(event.Retried{Step: string(plan.Cutover), What: "foreign keys", Attempt: 1, Err: err})
		}
	}
	if swapped {
		return nil
	}
	return why
}

func (a *renaming) Commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer discard(a.conn)
	if a.following {
		a.follower.over = true
		defer a.follower.mu.Unlock()
	}
	if err := a.cutAll(ctx, a.t); err != nil {
		return unsaved(err, ended(a.t.Tx))
	}
	return unsaved(a.t.Commit())
}

// unsaved is a swap that could not be saved, for whatever reason: it is not tried again, but asked of the catalogue.
func unsaved(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return errors.Join(errUnsaid, err)
	}
	return nil
}

// Rollback lets the locks go.
func (a *renaming) Rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if a.following {
		defer a.follower.mu.Unlock()
	}
	if a.conn != nil {
		if _, err = a.conn.ExecContext(ctx, "ROLLBACK"+mysql.Then+"UNLOCK TABLES"); fault.Lost(err) {
			err = nil // the server let them go
		}
		discard(a.conn)
	}
	return errors.Join(err, ended(a.t.Tx))
}
