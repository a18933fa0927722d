package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// queuer is a run seen by a cutover on MariaDB, which refuses RENAME TABLE under LOCK TABLES. Three sessions do it:
//
//  1. The holder has the source's READ lock: whoever wrote to it has committed, and nobody writes.
//  2. The drainer applies and compares the last keys; reading is allowed.
//  3. The mover's RENAME waits for the source behind the holder, and in front of everybody who wants to write. It would
//     fail, because a sentry stands on the name that the source goes to.
//  4. The list of sessions, a probe, and the list again show that the mover waits for the source, and nobody else does who
//     could change the table before it. Then the holder answers once more: nothing was written since it got its lock.
//  5. Only now the sentry is dropped. The holder lets go, the RENAME happens, and the writers find the new table.
//
// Whoever dies before 5, the RENAME fails or is not there. From 5 on the mover alone is needed: it waits in front of all
// writers, so it finds the source as it was drained, or it dies and nothing has happened.
//
// Whoever ends a RENAME places the sentry before: then it fails by that, before it touches anything. Ended while it writes the triggers
// of a table, it would lose them, see internal/mysql/kill.go.
//
// Where the table has triggers, a settler queues for both tables behind the RENAME, and gives them their names, see internal/mysql/trigger.go.
type queuer struct{ renamer }

// queueWait bounds the wait for the READ lock. It may be long: nobody waits because of it.
const queueWait = 3 * time.Second

// stillWait is how long the server waits for a run that stands still under the lock.
const stillWait = 3 * time.Second

// settleWait bounds what must be found out, or cleaned up, whatever happened.
const settleWait = 10 * time.Second

// Blockers are known where the plugin metadata_lock_info is loaded, or performance_schema is on.
func (s *queuer) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	list, err := s.blockers(ctx, mysql.LockInfo(s.pair.Source))
	if fault.Undefined(err) {
		return s.renamer.Blockers(ctx)
	}
	if err != nil {
		return nil, err
	}
	old, err := s.holders(ctx)
	return append(list, old...), err
}

// Begin asks and makes ready whatever it can without the lock.
func (s *queuer) Begin(ctx context.Context) (cutover.Attempt, error) {
	if err := s.unswapped(ctx); err != nil {
		return nil, err
	}
	inner, err := s.renamer.Begin(ctx)
	if err != nil {
		return nil, err
	}
	a := &queuing{renaming: inner.(*renaming)}
	if err := a.ready(ctx); err != nil {
		return nil, errors.Join(err, a.Rollback())
	}
	return a, nil
}

// unswapped ends what is left of an attempt that nobody saw end, and makes sure that it did not swap.
func (r *renamer) unswapped(ctx context.Context) error {
	swapped, err := r.outcome(ctx)
	if err == nil && swapped {
		err = errUnsaid
	}
	return err
}

// outcome ends the RENAMEs of this change that are under way, waits until they are gone, and asks the catalogue.
func (r *renamer) outcome(ctx context.Context) (swapped bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	for {
		ids, err := r.renaming(ctx)
		if err != nil {
			return false, err
		}
		if len(ids) == 0 {
			break
		}
		if _, err := r.engine.db.ExecContext(ctx, mysql.PlaceSentry(r.pair)); err != nil {
			return false, err
		}
		for _, id := range ids {
			_, _ = r.engine.db.ExecContext(ctx, fmt.Sprintf("KILL %d", id)) // it may have ended meanwhile
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return false, err
		}
	}
	err = r.engine.db.QueryRowContext(ctx, mysql.Swapped(r.pair)).Scan(&swapped)
	return swapped, err
}

// renaming are the connections that run the RENAME.
func (r *renamer) renaming(ctx context.Context) (ids []int64, err error) {
	rows, err := r.engine.db.QueryContext(ctx, mysql.Renaming(r.pair))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// errUnsaid is a swap that nobody lived to save. The step is begun again, as after any unknown outcome, and finds it.
var errUnsaid = &unsaid{}

type unsaid struct{}

func (*unsaid) Error() string    { return "the tables were swapped by an attempt that nobody saw end" }
func (*unsaid) SQLState() string { return "40003" }

// queuing is one attempt. The connection of renaming is the drainer.
type queuing struct {
	*renaming
	holder, mover *sql.Conn
	settler       *sql.Conn // gives triggers their names; nil: there are none
	id            int64     // the mover's connection
	keys          *carriage // of foreign keys; nil: none is under way
}

// ready opens the two other sessions and places the sentry.
func (a *queuing) ready(ctx context.Context) (err error) {
	sessions := []**sql.Conn{&a.holder, &a.mover}
	if len(a.pair.Triggers) > 0 {
		sessions = append(sessions, &a.settler)
	}
	for _, to := range sessions {
		if *to, err = a.connect(ctx, session{Application: a.lease.Application(), LockWait: queueWait, Idle: stillWait}); err != nil {
			return err
		}
	}
	if err := a.lease.Fence(ctx, a.t); err != nil { // see each
		return err
	}
	if _, err := a.mover.ExecContext(ctx, "SET SESSION lock_wait_timeout = 1"); err != nil {
		return err
	}
	if err := a.mover.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&a.id); err != nil {
		return err
	}
	if mysql.Calls(a.pair) {
		if _, err := a.mover.ExecContext(ctx, mysql.Moves(a.pair)); err != nil {
			return err
		}
	}
	for _, text := range []string{fmt.Sprintf("SET SESSION wait_timeout = %d", settleWait/time.Second), mysql.PlaceSentry(a.pair)} {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// Lock keeps writers out; also of the tables that foreign keys refer to, if there are any.
func (a *queuing) Lock(ctx context.Context) error {
	a.follow()
	if mysql.Calls(a.pair) {
		return a.lockFamily(ctx)
	}
	_, err := a.holder.ExecContext(ctx, mysql.LockRead(a.pair)) // bounded by the session: see internal/mysql/kill.go
	return err
}

// Swap puts the RENAME in the queue, proves that it is there, and lets it happen.
func (a *queuing) Swap(ctx context.Context) error {
	if err := a.count(ctx); err != nil { // exact: nobody can write
		return err
	}
	// The drain's transaction has read the tables, and the RENAME would wait for it. What comes now is none.
	for _, text := range []string{"COMMIT", "SET SESSION autocommit = 1"} {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	moved := make(chan error, 1)
	go func() {
		moved <- a.boundedAfter(ctx, a.mover, a.step.LockWait, mysql.Swap(a.pair), mysql.PlaceSentry(a.pair))
	}()
	proof := a.proven(ctx)
	if proof == nil { // its lock on the source keeps nobody from referring to it
		proof = a.childless(ctx)
	}
	if proof == nil {
		_, proof = a.conn.ExecContext(ctx, mysql.DropSentry(a.pair))
	}
	if proof != nil {
		a.kill()
	} else {
		_, proof = a.holder.ExecContext(ctx, "UNLOCK TABLES")
	}
	var queued chan error
	if proof == nil {
		queued = a.queueSettler(ctx)
	}
	said := <-moved // bounded, and by the server as well
	if said != nil {
		if proof != nil {
			said = proof // what the mover said is what it was told
		}
		said = a.unmoved(said)
	}
	if said == nil {
		a.keysCarried()
	}
	a.settle(ctx, said == nil, queued)
	a.over = time.Now()
	return said
}

// settlerWait bounds how long users are held up by the settler, in seconds as the server counts.
const settlerWait = "SET SESSION lock_wait_timeout = 1"

// queueSettler puts the settler's lock behind the RENAME, if that is under way: then nobody comes in between who could make it wait. While the
// RENAME itself has to wait, users would wait for both.
func (a *queuing) queueSettler(ctx context.Context) (locked chan error) {
	if a.settler == nil {
		return nil
	}
	if waits, err := a.listed(ctx); err != nil || waits {
		return nil
	}
	locked = make(chan error, 1)
	go func() { locked <- a.lockSwapped(ctx, a.settler) }()
	return locked
}

// lockSwapped locks both tables behind the RENAME, for as long as the server bounds it.
func (r *run) lockSwapped(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, settlerWait+mysql.Then+mysql.LockSwapped(r.pair))
	return err
}

// settle gives the triggers their names, under a lock of the settler's. What it does not come to, the next step does.
func (a *queuing) settle(ctx context.Context, swapped bool, locked chan error) {
	if a.settler == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer cancel()
	var err error
	switch {
	case locked != nil:
		err = <-locked // bounded by the server
	case swapped:
		err = a.lockSwapped(ctx, a.settler)
	}
	switch {
	case !swapped:
	case err != nil:
		a.uncarried(err)
	default:
		a.carried(ctx, a.settler)
		_, _ = a.settler.ExecContext(ctx, "UNLOCK TABLES") // or discard does
	}
	discard(a.settler)
	a.settler = nil
}

// unmoved finds out what an attempt did that did not end well.
func (a *queuing) unmoved(why error) error {
	swapped, err := a.outcome(context.Background())
	switch {
	case err != nil:
		return errors.Join(errUnsaid, why, err)
	case swapped:
		return nil
	case fault.LockTimeout(why) && !errors.Is(why, cutover.ErrBusy):
		return a.suspected(why)
	case fault.Denied(why), errors.Is(why, cutover.ErrBusy), errors.Is(why, context.Canceled):
		return why
	}
	// Nothing happened. Whatever a session says that was ended, or a statement that was, another attempt may go better.
	return gaveWay("%s", fault.Message(why))
}

// suspected names the oldest transactions, one of which may have read the table and still hold it.
func (a *queuing) suspected(why error) error {
	var own int64
	err := a.t.QueryRowContext(context.Background(), "SELECT CONNECTION_ID()").Scan(&own)
	if err != nil {
		return why
	}
	list, err := a.blockers(context.Background(), mysql.Suspects(own))
	if err != nil || len(list) == 0 {
		return why
	}
	var names []string
	for _, b := range list {
		names = append(names, fmt.Sprintf("%s, for %s", b.Who, b.Age.Round(time.Second)))
	}
	return fmt.Errorf("%w; somebody who has read the table holds it until his transaction ends, and these are open: %s. INSTALL SONAME 'metadata_lock_info' lets changeling see who, and not try meanwhile",
		why, strings.Join(names, "; "))
}

// proven returns nil if the mover waits for the source, nobody can change the table before it, and nobody did since the
// holder got its lock.
func (a *queuing) proven(whole context.Context) (err error) {
	ctx, cancel := context.WithTimeout(whole, a.step.LockWait)
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil && whole.Err() == nil {
			err = gaveWay("the RENAME was not seen to wait for the table in time")
		}
	}()
	for {
		if waits, err := a.waits(ctx); err != nil {
			return err
		} else if waits {
			break
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	// A session that answers has not lost its locks. Had it died before the RENAME came to wait, somebody could have written.
	if _, err := a.holder.ExecContext(ctx, "DO 0"); err != nil {
		return gaveWay("the session that held the table's lock was lost: %v", err)
	}
	return nil
}

// gaveWay is an attempt that took itself back.
func gaveWay(format string, args ...any) error { return &retreat{fmt.Sprintf(format, args...)} }

type retreat struct{ text string }

func (b *retreat) Error() string        { return b.text }
func (b *retreat) Is(target error) bool { return target == cutover.ErrBusy }

// waits says whether the mover waits for the source: the list shows that it waits for a table, then nobody else may read the
// source any more, and then the list still shows it. Before that it may wait for the shadow, which the server itself looks
// into now and then.
func (a *queuing) waits(ctx context.Context) (bool, error) {
	if listed, err := a.listed(ctx); err != nil || !listed {
		return false, err
	}
	var n int
	if err := a.conn.QueryRowContext(ctx, mysql.Probe(a.pair)).Scan(&n); !fault.LockTimeout(err) {
		return false, err
	}
	return a.listed(ctx)
}

// listed says whether the mover waits for a table. It is ErrBusy if somebody else may come before it.
func (a *queuing) listed(ctx context.Context) (waits bool, err error) {
	rows, err := a.conn.QueryContext(ctx, mysql.Sessions(a.pair))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var database, statement string
		var waiting bool
		if err := rows.Scan(&id, &database, &statement, &waiting); err != nil {
			return false, err
		}
		if id == a.id {
			waits = waiting
		} else if mysql.Contends(a.pair, database, statement, waiting) {
			return false, gaveWay("connection %d wants the table for itself: %s", id, shorten(statement, 80))
		}
	}
	return waits, rows.Err()
}

// kill ends the mover's RENAME.
func (a *queuing) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), settleWait)
	defer cancel()
	if _, err := a.engine.db.ExecContext(ctx, mysql.PlaceSentry(a.pair)); err == nil {
		_, _ = a.engine.db.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", a.id)) // it may be gone, or end by its bound
	}
}

// Commit saves that it happened, and looks whether the capture has keys from between the last drain and the swap.
func (a *queuing) Commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), settleWait)
	defer cancel()
	if a.follower != nil {
		if err := a.follower.rest(ctx); err != nil { // the swap stands all the same
			a.engine.config.Events(event.Retried{Step: string(a.step.Kind), What: "reading the binary log up to the swap", Attempt: 1, Err: err})
		}
	}
	discard(a.holder)
	discard(a.mover)
	if err := a.renaming.Commit(); err != nil {
		return err
	}
	return a.missed(ctx)
}

// rest puts into the log what was written since its last keys, up to the swap. The caller holds f.mu.
func (f *follower) rest(ctx context.Context) error {
	now, err := f.end(ctx)
	if err != nil {
		return err
	}
	batch, err := f.reader.Upto(ctx, now) // ends at the RENAME
	if err != nil || len(batch.Keys) == 0 {
		return err
	}
	return f.save(ctx, batch.Keys, batch.Position)
}

// missed copies what was written to the source after its last drain, if anything was, and says so: it cannot happen while
// what is written above holds. Where it cannot be asked, the release asks once more.
func (a *queuing) missed(ctx context.Context) error {
	var n, none int64
	var keys []string
	err := a.tx(ctx, session{}, func(ctx context.Context, t *tx) (err error) {
		if err := t.QueryRowContext(ctx, a.rows.Pending()).Scan(&n); err != nil || n == 0 {
			return err
		}
		if keys, err = a.ask(ctx, a.texts.Logged()); err != nil {
			return err
		}
		back := a.texts
		back.Pair.Source, back.Pair.Shadow = mysql.Outgoing(a.pair), a.pair.Source
		return t.QueryRowContext(ctx, back.Drain(0, false)).Scan(&n, &none, &none, &none)
	})
	if err != nil || n == 0 {
		return nil
	}
	return &lateKeys{&fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("the tables were swapped, and %d keys were written to the old one after the last of its rows were copied (%s). "+
		"This is a fault of changeling's: please report it. They were copied to the new table afterwards; compare these rows in %s, then run the same command again", n, strings.Join(keys, "; "), mysql.Outgoing(a.pair))}}
}

// leftOver says that keys are left in the log of a change whose tables are swapped. Nobody looked when it happened, so which
// side of these rows is right a person has to say.
func (r *run) leftOver(ctx context.Context) error {
	d, ok := r.engine.dialect.(mysqld)
	if !ok || !d.maria {
		return nil // elsewhere the swap happens under the lock of the last drain
	}
	keys, err := r.ask(ctx, d.texts(r.pair).Logged())
	if fault.Undefined(err) || err == nil && len(keys) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("the tables were swapped, and rows were written to the old one after the last of them were copied (%s). "+
		"This is a fault of changeling's: please report it. Compare these rows of the old table, %s or %s, with %s; then TRUNCATE TABLE %s and run the same command again",
		strings.Join(keys, "; "), mysql.Aside(r.pair), r.pair.Old, r.pair.Source, r.pair.Log)}
}

// lateKeys is a swap that came too early.
type lateKeys struct{ *fault.Problem }

func (l *lateKeys) Unwrap() error        { return l.Problem }
func (l *lateKeys) Is(target error) bool { return target == cutover.ErrSwapped }

// Rollback lets the locks go.
func (a *queuing) Rollback() error {
	discard(a.holder)
	discard(a.mover)
	discard(a.settler)
	a.keysCarried()
	return a.renaming.Rollback()
}

// sleep waits for a moment, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
