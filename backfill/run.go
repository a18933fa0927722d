package backfill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/schema"
	"github.com/changeling-db/changeling/throttle"
)

// walk is one run of a job.
type walk struct {
	*Jobs
	job     Job
	name    string // with its scope
	table   string // quoted
	parts   schema.Name
	keys    []column
	lease   *state.Lease
	gate    *throttle.Gate
	sizer   *throttle.Sizer
	after   string // as saved
	upto    string
	size    int64 // of the next batch after a failure; zero: the sizer's
	pace    pace
	stopped atomic.Bool // it was paused since the last batch
	kept    string      // assignments besides those of the job
	dirty   int64       // rows that were changed since the last vacuum
}

// errCancelled ends a run whose job a person has cancelled.
var errCancelled = &fault.Problem{Kind: fault.Aborted, Text: "the job was cancelled; what it has done stays"}

// run does a job. Scheduled says that it is to begin anew if it is done and due.
func (j *Jobs) run(ctx context.Context, job Job, scheduled bool) (*Status, error) {
	w, err := j.walk(ctx, job)
	if err != nil {
		return nil, err
	}
	store := j.claim(w.table)
	if err := store.Prepare(ctx); err != nil {
		return nil, err
	}
	w.lease, err = store.Lease().Acquire(ctx, store.Tree, j.config.Owner, j.config.Lease)
	if errors.Is(err, fault.Owned) {
		owner, _ := store.Owner(ctx) // its name is for the message only
		return nil, &fault.Problem{Kind: fault.Owned, Err: err, Text: fmt.Sprintf("%s works on table %s: never two jobs on one; nothing was changed", owner, w.table)}
	}
	if err != nil {
		return nil, err
	}
	defer w.lease.Release(ctx)
	if scheduled {
		if s, err := w.anew(ctx); err != nil || s != nil {
			return s, err
		}
	}
	err = w.live(ctx)
	return w.close(ctx, err)
}

// walk looks at the table of a job.
func (j *Jobs) walk(ctx context.Context, job Job) (*walk, error) {
	table, parts, err := j.quoted(job.Table)
	if err != nil {
		return nil, err
	}
	w := &walk{Jobs: j, job: job, name: j.full(job.Name), table: table, parts: parts, gate: &throttle.Gate{Sink: j.config.Events}}
	w.sizer = &throttle.Sizer{Target: j.config.BatchTime, Initial: 200, Min: 1, Max: 20_000}
	if w.keys, err = w.primary(ctx, parts.Schema, parts.Table); err != nil {
		return nil, err
	}
	return w, nil
}

// anew sets a job that is done and due to its beginning. Another worker may have done it since it was looked at: then it
// answers the job as it is, and there is nothing to do.
func (w *walk) anew(ctx context.Context) (*Status, error) {
	s, err := w.asked(ctx)
	if err != nil || !s.due() {
		return s, err
	}
	if s.Status != "done" {
		return nil, nil
	}
	return nil, w.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, w.text.Again, w.name)
		return err
	})
}

// live does the job while heartbeat, throttle and wishes are looked after.
func (w *walk) live(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var waits []chan struct{}
	also := func(do func() error) {
		done := make(chan struct{})
		waits = append(waits, done)
		go func() {
			defer close(done)
			if err := do(); err != nil {
				cancel(err)
			}
		}()
	}
	also(func() error { return w.lease.Keep(ctx, func(state.Beat) {}) })
	also(func() error { return w.listen(ctx) })
	ready := make(chan struct{})
	begin := sync.OnceFunc(func() { close(ready) })
	also(func() error { // a question that met a lock is asked again, and ends no job
		return retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 2 * time.Second, Elapsed: 30 * time.Second},
			func(err error) bool { return fault.Transient(err) && !fault.Lost(err) }, nil, func(ctx context.Context) error { return w.guard(ctx, begin) })
	})
	select {
	case <-ready:
	case <-ctx.Done():
	}
	err := w.batches(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	for _, done := range waits {
		<-done
	}
	if err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// guard keeps the job out of the way of users, by the signals of the engine (B7).
func (w *walk) guard(ctx context.Context, ready func()) error {
	c := changeling.Config{Throttle: w.config.Throttle, Replicas: w.config.Replicas, Fast: w.config.Fast, ChunkTime: w.config.BatchTime, Events: w.config.Events}
	return changeling.Guard(ctx, w.caller, c, changeling.Guest{
		Table: w.parts, Gate: w.gate, Application: w.lease.Application(), Beats: w.text.Beats(w.name), Ready: ready,
		Beat: func(ctx context.Context) error {
			_, err := w.db.ExecContext(ctx, w.text.Probe, w.name)
			return err
		},
	})
}

// listen hears what people want of the job, and keeps it within its window.
func (w *walk) listen(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := w.asked(ctx); err == nil {
			if err := w.obey(s); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// obey does what people want of the job.
func (w *walk) obey(s *Status) error {
	in, _, _ := window(w.job.Window) // it was checked when it was saved
	if s.want == "pause" || !in {
		w.stopped.Store(true)
	}
	switch {
	case s.want == "cancel":
		return errCancelled
	case s.want == "pause":
		w.gate.SetPaused("paused by request: `changeling backfill resume " + w.job.Name + "` goes on")
	case !in:
		w.gate.SetPaused("outside of its window " + w.job.Window + " UTC")
	default:
		w.gate.SetPaused("")
	}
	return nil
}

// asked is the job as it is saved. It is not interrupted by the end of the run, which would spoil a connection of the pool.
func (w *walk) asked(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return w.Find(ctx, w.job.Name)
}

// batches goes through the whole range of keys, and then looks for what is left.
func (w *walk) batches(ctx context.Context) error {
	s, err := w.Find(ctx, w.job.Name)
	if err != nil {
		return err
	}
	if s.Over() {
		return nil
	}
	if err := w.obey(s); err != nil { // before the first batch: a wish that was there before the run is not overtaken
		return err
	}
	if err := w.manner(ctx); err != nil {
		return err
	}
	w.after, w.upto = s.After, s.Upto
	w.pace = pace{seen: s.Seen, total: s.Total, since: time.Now()}
	if w.upto == "" {
		// Rows that come later are the business of a default or a trigger (B3).
		if w.upto, err = w.last(ctx); err != nil || w.upto == "" {
			return err
		}
		if _, err := w.db.ExecContext(ctx, w.text.Start, w.name, w.upto); err != nil {
			return err
		}
	}
	if err := w.note(ctx, "running", ""); err != nil {
		return err
	}
	w.estimate(ctx)
	w.gate.SetStep("backfill")
	w.config.Events(event.StepStarted{Step: "backfill", Name: w.job.Name, Total: w.pace.total, Unit: "rows"})
	for w.after != w.upto {
		if err := w.gate.Enter(ctx, 0); err != nil {
			return err
		}
		began := time.Now()
		if w.stopped.Swap(false) { // a pause is no work
			w.pace.since = began
		}
		err := retry.Do(ctx, retry.Policy{Initial: 50 * time.Millisecond, Max: 5 * time.Second, Elapsed: 5 * time.Minute},
			func(err error) bool { return fault.Transient(err) || fault.Lost(err) },
			func(error, int, time.Duration) { w.halve() }, w.batch)
		w.gate.Leave(0, time.Since(began))
		if err != nil {
			return err
		}
	}
	return w.left(ctx)
}

// halve makes the next batch smaller than the one that failed.
func (w *walk) halve() {
	if w.size == 0 {
		w.size = w.sizer.Next()
	}
	w.size = max(w.size/2, 1)
}

// batch does one batch, from the saved position. Its end was saved with it, or nothing was.
func (w *walk) batch(ctx context.Context) error {
	s, err := w.Find(ctx, w.job.Name) // a commit whose answer was lost
	if err != nil {
		return err
	}
	w.pace.seen = s.Seen
	if w.after = s.After; w.after == w.upto {
		return nil
	}
	size, began := w.size, time.Now()
	if size == 0 {
		size = w.sizer.Next()
	}
	to, err := w.boundary(ctx, size)
	if err != nil {
		return err
	}
	passed, err := w.passed(ctx, to, size)
	if err != nil {
		return err
	}
	w.estimate(ctx)
	rows, err := w.apply(ctx, to, passed)
	switch {
	case err == nil:
	case fault.Transient(err), fault.Lost(err), ctx.Err() != nil, !refuses(err):
		return err
	case size > 1:
		w.halve()
		return nil // a smaller one, down to the row that fails
	default:
		if err := w.quarantine(ctx, to, err); err != nil {
			return err
		}
		w.size = 0
		return nil
	}
	w.sizer.Observe(size, time.Since(began))
	if w.size > 0 {
		if w.size *= 2; w.size > w.sizer.Next() {
			w.size = 0
		}
	}
	w.after = to
	w.tell(size, time.Since(began))
	return w.vacuumed(ctx, rows)
}

// refuses says that it is the rows that fail.
func refuses(err error) bool { return fault.Data(err) || fault.Duplicate(err) }

// apply does the rows up to a key, so many of them, and moves the position, in one transaction under the lease.
func (w *walk) apply(ctx context.Context, to string, passed int64) (rows int64, err error) {
	return rows, w.tx(ctx, func(tx *sql.Tx) error {
		within, err := w.between(w.after, to)
		if err != nil {
			return err
		}
		if w.job.Func != nil {
			rows, err = w.job.Func(ctx, tx, Batch{Table: w.table, Range: within})
		} else {
			rows, err = affected(tx.ExecContext(ctx, w.statement(within)))
		}
		if err != nil {
			return err
		}
		return w.move(ctx, tx, to, rows, passed)
	})
}

// move sets the position behind a batch.
func (w *walk) move(ctx context.Context, tx *sql.Tx, to string, rows, passed int64) error {
	seen, now := w.pace.seen+passed, time.Now()
	if to == w.upto || seen > w.pace.total {
		w.pace.total = seen
	}
	_, err := tx.ExecContext(ctx, w.text.Move, w.name, to, rows, seen, w.pace.total, now.Sub(w.pace.since).Seconds())
	if err == nil {
		w.pace.seen, w.pace.since = seen, now // a commit that fails is read anew, and its time is lost
	}
	return err
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (w *walk) statement(within string) string {
	text := "UPDATE " + w.table + " SET " + w.job.Set + w.kept
	if w.job.Delete {
		text = "DELETE FROM " + w.table
	}
	text += " WHERE " + within
	if w.job.Where != "" {
		text += " AND (" + w.job.Where + ")"
	}
	return text
}

// quarantine notes a row that fails by itself and goes on behind it, as often as the job tolerates that.
func (w *walk) quarantine(ctx context.Context, key string, cause error) error {
	s, err := w.Find(ctx, w.job.Name)
	if err != nil {
		return err
	}
	if s.Bad >= w.job.Tolerate {
		return &fault.Problem{Kind: fault.Refusal, Err: cause, Text: fmt.Sprintf(
			"the row with the key %s fails: %s. Mend it and run the job again, or let it leave such rows out (--tolerate); what is done is kept", key, fault.Message(cause))}
	}
	err = w.tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, w.text.Bad, w.name, key, fault.Message(cause)); err != nil {
			return err
		}
		return w.move(ctx, tx, key, 0, 1)
	})
	if err == nil {
		w.after = key
		w.config.Events(event.Notice{Text: fmt.Sprintf("left out the row with the key %s: %s", key, fault.Message(cause))})
	}
	return err
}

func (w *walk) tx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	bound := w.claims.Bound(w.config.LockWait)
	if w.mysql {
		if _, err := conn.ExecContext(ctx, bound); err != nil {
			return err
		}
	}
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	if !w.mysql {
		_, err = tx.ExecContext(ctx, bound+"; SELECT pg_catalog.set_config('application_name', "+ident.Literal(w.lease.Application())+", true)")
	}
	for _, text := range w.settings() {
		if err == nil {
			_, err = tx.ExecContext(ctx, text)
		}
	}
	if err == nil {
		err = w.lease.Fence(ctx, tx)
	}
	if err == nil {
		err = fn(tx)
	}
	if err != nil {
		_ = tx.Rollback() // the error says more
		return err
	}
	return tx.Commit()
}

// left looks through the rows for those that the job should not have left. Batches are reads, as large as the others.
func (w *walk) left(ctx context.Context) error {
	if w.job.Left == "" {
		return nil
	}
	var found int64
	for w.after = ""; w.after != w.upto; {
		if err := w.gate.Enter(ctx, 0); err != nil {
			return err
		}
		began, size := time.Now(), w.sizer.Next()
		to, err := w.boundary(ctx, size)
		if err == nil {
			var within string
			var n int64
			if within, err = w.between(w.after, to); err == nil {
				err = w.db.QueryRowContext(ctx, "SELECT "+w.count()+" FROM "+w.table+" WHERE "+within+" AND ("+w.job.Left+")").Scan(&n)
			}
			found, w.after = found+n, to
		}
		w.gate.Leave(0, time.Since(began))
		if err != nil {
			return err
		}
	}
	if found > 0 {
		return &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("%d rows still are as none should be (%s): new ones come without their value, or rows were left out. Look, then run the job under another name", found, w.job.Left)}
	}
	return nil
}

func (w *walk) note(ctx context.Context, status, text string) error {
	return w.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, w.text.State, w.name, status, text)
		return err
	})
}

// close saves how a run ended.
func (w *walk) close(ctx context.Context, err error) (*Status, error) {
	status, text := "done", ""
	switch kind := fault.KindOf(err); {
	case err == nil:
	case kind == fault.Aborted:
		status, text = "cancelled", err.Error()
	case kind == fault.Owned:
		return nil, err
	case ctx.Err() != nil, kind == fault.Unexpected && (fault.Transient(err) || fault.Lost(err)):
		return nil, &fault.Problem{Kind: fault.Stopped, Err: err, Text: "stopped. What is done is kept: run the job again, and it goes on"}
	default:
		status, text = "failed", err.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if noted := w.note(ctx, status, text); noted != nil {
		return nil, errors.Join(err, noted)
	}
	s, findErr := w.Find(ctx, w.job.Name)
	if err == nil && findErr == nil {
		w.config.Events(event.Notice{Text: fmt.Sprintf("job %s is done: %d rows, %d left out", s.Name, s.Rows, s.Bad)})
	}
	return s, errors.Join(err, findErr)
}
