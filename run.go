package changeling

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/internal/verify"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
	"github.com/changeling-db/changeling/throttle"
)

// Change is one change of one table.
type Change struct {
	engine *Engine
	record *state.Record
}

// run is one process working on a change. It holds the lease.
type run struct {
	*Change
	id       string
	lease    *state.Lease
	rows     texts
	pair     schema.Pair
	kin      []*run    // of the other tables of a family, while all are swapped together
	follower *follower // nil where triggers write the key log
	recorder *recorder // nil: what is done is not recorded
	caller   *Engine   // whose events are not recorded as this change's; nil: the change's own
	born     time.Time // where its own clock begins
	server   watch
	settling sync.Mutex
	gate     *throttle.Gate
	guest    *Guest // whose gate it is, if it is no change's
	verifier *verify.Verifier
	resumed  bool         // the step at hand was begun by an earlier run
	aside    atomic.Int64 // rows that do not fit the old table, of a lossy undo
	rowsDone atomic.Int64
	pending  atomic.Int64
	swapped  atomic.Bool  // past the cutover: there is nothing to abort any more
	wrote    atomic.Int64 // when, by clock, the shadow was written to last, as far as this run knows; zero: not known
	frozen   atomic.Bool  // a trial keeps writers from the source
	looked   atomic.Int64 // when the source was seen not to be truncated
	asked    atomic.Int64 // when the server was asked for snapshots last
	wish     atomic.Value // state.Beat

	under                    atomic.Pointer[work]
	pauses                   int // beats since a pause was heard of
	settings                 atomic.Pointer[Throttle]
	overrides                string
	probe                    *throttle.Probe
	began                    bool          // the signals were read once
	asking, querying         chan struct{} // held while a signal of ours, of the user's, asks the server
	toldUnseen, toldAttached bool
	toldBuild                atomic.Bool
	waits                    atomic.Int64 // how often the gate told of a wait, or of the end of one
}

func newRun(c *Change, l *state.Lease) *run {
	r := &run{Change: c, id: c.record.ID, lease: l, rows: c.engine.dialect.Rows(c.record.Plan.Pair), pair: c.record.Plan.Pair, born: time.Now()}
	r.gate = &throttle.Gate{Sink: func(e event.Event) {
		r.waits.Add(1)
		c.engine.config.Events(e)
	}}
	r.verifier = &verify.Verifier{Tables: tables{r}, Counted: !r.pair.Ordered, Late: r.pair.Binlog, Sink: c.engine.config.Events}
	r.wish.Store(state.Beat{Want: c.record.Want, Hold: c.record.Hold, Settings: c.record.Settings})
	r.asking, r.querying = make(chan struct{}, 1), make(chan struct{}, 1)
	r.settings.Store(&c.engine.config.Throttle)
	r.adjust(c.record.Settings)
	return r
}

// errAbort is how a wish of somebody ends a run.
var errAbort = errors.New("abort was asked for")

// Run works on the change until it is done, or expanded (see Expansion), and returns nil then. It may be called again
// after any failure, from any host; a second Run at the same time is an error of kind ErrOwned. When ctx ends, what is
// done is kept and the error is of kind ErrStopped.
func (c *Change) Run(ctx context.Context) error {
	for {
		if again, err := c.once(ctx); !again {
			return c.tried(ctx, err)
		}
	}
}

// once is a run with the plan that the change has; again says that it has another one now.
func (c *Change) once(ctx context.Context) (again bool, err error) {
	c = c.own()
	e := c.engine
	began := time.Now()
	if c.record.Over() {
		return false, nil
	}
	resumed := c.record.Step > 0
	lease, err := e.store.Acquire(ctx, c.record.ID, e.config.Owner, e.config.Lease)
	if err != nil {
		return false, stopped(ctx, c.record.ID, err)
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil {
		return false, stopped(ctx, c.record.ID, err)
	}
	if c.record.Over() || c.resting() { // somebody else finished or aborted it a moment ago, or nobody says that it should go on
		return false, nil
	}
	if err := e.store.Exec(ctx, e.db, e.store.Text.SetState, c.record.ID, string(state.Running), "", 0); err != nil {
		return false, stopped(ctx, c.record.ID, err)
	}
	recorder := newRecorder()
	caller, told := e, *e // what this run tells is recorded
	told.config.Events = event.Serial(event.Tee(e.config.Events, recorder.sink))
	c.engine, e = &told, &told
	r := newRun(c, lease)
	r.resumed, r.recorder, r.caller = resumed, recorder, caller
	if r.follower, err = e.dialect.Follow(ctx, r); err != nil {
		return false, r.close(ctx, stopped(ctx, c.record.ID, err))
	}
	if c.record.Step == 0 && c.record.Plan.Undoes == nil && c.record.Plan.Find(plan.Data) != 0 { // see dataStep
		if err := r.closeWindows(ctx); err != nil {
			return false, r.close(ctx, stopped(ctx, c.record.ID, err))
		}
	}
	p := c.record.Plan
	opened := event.Planned{Change: p.ID, Table: p.Table.String(), Statement: p.Statement, Route: string(p.Route), Why: p.Why, Resumed: resumed}
	if resumed && c.record.Step < len(p.Steps) {
		opened.Step = p.Steps[c.record.Step].Name
	}
	e.config.Events(opened)
	err = r.refused(ctx, r.guarded(ctx))
	if errors.Is(err, errAnew) {
		r.flush(ctx)
		return true, nil
	}
	if r.unmet(err) {
		if err = r.otherwise(ctx, err); err == nil {
			r.flush(ctx)
			return true, nil
		}
	}
	if errors.Is(err, errAbort) {
		if err := r.recall(ctx); err != nil {
			return false, err // the change is still there, and so is the wish
		}
	}
	switch {
	case errors.Is(err, errAbort) && r.complete(): // the wish came with the last step
		err = r.close(ctx, r.finish(ctx, plan.Step{}))
	case errors.Is(err, errAbort):
		if err = r.abandon(ctx); err != nil {
			return false, err // likewise
		}
		err = &fault.Problem{Kind: fault.Aborted, Text: fmt.Sprintf("change %s was aborted on request: %s", p.ID, r.left())}
	default:
		err = r.close(ctx, stopped(ctx, p.ID, err))
	}
	// What is told at the end is what the database says, also of a run that was cancelled. Where it cannot be asked any more,
	// it is what was known last.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_ = c.reload(last)
	e.config.Events(r.summary(err, time.Since(began)))
	r.flush(last)
	if err == nil && e.dialect.Transactional() { // elsewhere no log of ours grows
		short, cancel := context.WithTimeout(ctx, brief)
		defer cancel()
		_ = e.tend(short, r.id) // what it does not get done the next one does
	}
	return false, err
}

// stopped gives the end of a context or of the connection its name.
func stopped(ctx context.Context, id string, err error) error {
	if ctx.Err() == nil && fault.KindOf(err) == fault.Unexpected && (fault.Lost(err) || fault.Transient(err)) {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf("the database is out of reach: %s. What is done of change %s is kept: run the same command again, or `changeling resume %s`", fault.Message(err), id, id)}
	}
	if err != nil && ctx.Err() != nil {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf("change %s stopped where it was; nothing is lost: run the same command again, or `changeling resume %s`", id, id)}
	}
	return unwritable(err)
}

// unwritable gives the error of a server that lets nobody write any more its name.
func unwritable(err error) error {
	if fault.KindOf(err) == fault.Unexpected && fault.ReadOnly(err) {
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the server lets nobody write: " + fault.Message(err) + ". Connect to the primary, or run the same command again when it does: it goes on where it was"}
	}
	return err
}

// guarded runs the steps with the heartbeat and the throttle beside them.
func (r *run) guarded(outer context.Context) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	beside, stop := context.WithCancel(ctx)
	group, _ := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := r.lease.Keep(beside, func(b state.Beat) {
			r.heard(b, cancel)
			r.flush(beside)
		})
		if err != nil {
			cancel(err)
		}
		return nil
	})
	settings := r.settings.Load()
	controller, err := r.controller(beside, settings) // before the first step: nobody copies before all signals were read
	if err != nil {
		stop()
		return errors.Join(err, group.Wait())
	}
	group.Go(func() error {
		if err := r.throttle(beside, controller, settings); err != nil {
			cancel(err)
		}
		return nil
	})
	if r.follower != nil {
		group.Go(func() error {
			r.follower.keep(beside)
			return nil
		})
	}
	err = r.steps(ctx)
	stop()
	_ = group.Wait() // both report through the cause of ctx
	if cause := context.Cause(ctx); cause != nil && outer.Err() == nil {
		return cause // one of ours, whatever it wraps
	}
	return err
}

// heard takes up what people want of the change.
func (r *run) heard(b state.Beat, cancel context.CancelCauseFunc) {
	r.wish.Store(b)
	r.adjust(b.Settings)
	switch b.Want {
	case state.WantAbort:
		if !r.swapped.Load() {
			cancel(errAbort)
		}
	case state.WantPause:
		r.halt()
	default:
		r.goOn()
	}
	r.lease.Tell(r.pending.Load(), r.gate.Reason())
}

// steps is the interpreter: it runs the step that the program counter names until there is none.
//
// A connection that is lost ends a step with an unknown outcome. The counter in the database knows it: it moves in the
// transaction that does the work, or after work that may be done twice.
func (r *run) steps(ctx context.Context) error {
	failures := 0
	for r.record.Step < len(r.record.Plan.Steps) {
		r.swapped.Store(r.record.Plan.Turn() >= 0 && r.record.Step > r.record.Plan.Turn())
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.wish.Load().(state.Beat).Want == state.WantPause {
			if err := r.paused(ctx); err != nil {
				return err
			}
		}
		step := r.record.Plan.Steps[r.record.Step]
		if step.Kind == plan.Drop {
			return r.finish(ctx, step)
		}
		if step.Kind == plan.Live && !r.contracts() {
			return r.expanded(ctx)
		}
		if step.Kind == plan.Cutover && r.record.Plan.With != "" {
			return r.setState(ctx, state.Held, "", 0) // the family swaps it
		}
		if err := r.unaltered(ctx); err != nil {
			return err
		}
		r.glance(ctx)
		began := time.Now()
		r.gate.SetStep(string(step.Kind))
		err := r.interruptible(ctx, step)
		if step.Kind != plan.Verify && step.Kind != plan.Hold && step.Kind != plan.Loose { // what these write, drains note
			r.wrote.Store(r.clock())
		}
		switch {
		case errors.Is(err, errTried):
			return nil
		case err == nil && (step.Kind == plan.Build || step.Kind == plan.Hold && r.notYet() == ""): // builds tell of themselves
		case err == nil:
			r.engine.config.Events(event.StepEnded{Step: string(step.Kind), Name: step.Name, Took: time.Since(began), Done: r.rowsDone.Load()})
		case errors.Is(err, errPaused):
		case errors.Is(err, errAnew):
			return err
		case errors.Is(err, copier.ErrReset):
			if err := r.restart(ctx); err != nil {
				return err
			}
		case ctx.Err() == nil && (fault.Lost(err) || fault.Transient(err) || errors.Is(err, state.ErrMoved)):
			if failures++; failures > patience {
				return &fault.Problem{Kind: fault.Stopped, Err: err, Text: fmt.Sprintf("step %q failed %d times in a row, the last time with: %s. What is done is kept: run the same command again", step.Name, failures, fault.Message(err))}
			}
			wait := rest(failures)
			r.engine.config.Events(event.Retried{Step: string(step.Kind), What: step.Name, Attempt: failures, Err: err, Wait: wait})
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
			r.sweep(ctx)
		default:
			return r.giveBack(ctx, r.explain(ctx, step, err))
		}
		if err == nil {
			failures = 0
		}
		if err := r.recall(ctx); err != nil {
			return &fault.Problem{Kind: fault.Stopped, Err: err, Text: "the database is out of reach: " + fault.Message(err) + ". What is done is kept: run the same command again"}
		}
		r.resumed = err != nil
	}
	r.swapped.Store(true) // an abort comes too late
	return r.finish(ctx, plan.Step{})
}

// finish is end, which may run twice, for as long as a failover may take.
func (r *run) finish(ctx context.Context, drop plan.Step) error {
	return retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 3 * time.Second, Elapsed: 2 * time.Minute},
		func(err error) bool { return fault.Transient(err) || fault.Lost(err) }, nil, func(ctx context.Context) error { return r.end(ctx, drop) })
}

// unaltered looks between two steps whether somebody altered the source, rather than find out at the end of a day's copy.
// The cutover looks again, under its lock. What cannot be asked now is no answer.
func (r *run) unaltered(ctx context.Context) error {
	p := r.record.Plan
	if p.Route != plan.ShadowTable && p.Route != plan.ShadowColumn || r.record.Step == 0 || r.record.Step < p.Ahead() || r.swapped.Load() {
		return nil
	}
	if !r.engine.dialect.Transactional() && p.Steps[r.record.Step].Kind == plan.Cutover {
		return nil // it may have happened, with nobody left to say so: the cutover asks
	}
	if len(p.Pair.Leaning) > 0 {
		return r.leaning(ctx)
	}
	now, err := r.engine.fingerprintOf(ctx, p, p.Pair.Source, p.Pair.Table)
	if missing(err) || err == nil && now != p.Fingerprint {
		return r.altered()
	}
	if len(p.Pair.SourceParts) > 0 && r.record.Step > p.Find(plan.Capture) {
		var armed bool
		if err := r.engine.db.QueryRowContext(ctx, postgres.Armed(p.Pair)).Scan(&armed); err == nil && !armed {
			return r.disarmed()
		}
	}
	return nil
}

// altered is the end of a change whose source became another table.
func (r *run) altered() error {
	if r.record.Plan.Undoes != nil {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the definition of %s, or what hangs on it, was altered by somebody while its change was undone (columns, indexes, constraints, triggers, rights, views). Nothing was swapped; "+
				"`changeling abort %s` gives the undo up, and then `changeling undo %s` says whether there can be one", r.table(), r.id, r.id)}
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
		"the definition of %s, or what hangs on it, was altered by somebody while the change ran (columns, indexes, constraints, rights, views, partitions): the shadow was made for another table. "+
			"Nothing was swapped; `changeling abort %s` and begin again", r.table(), r.id)}
}

// disarmed is the end of a change whose capture may have missed something.
func (r *run) disarmed() error {
	who := "the triggers that log changed keys on %s were disabled or dropped by somebody"
	if len(r.pair.SourceParts) > 0 {
		who += ", or a partition was attached, detached or dropped"
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(who+": writes may be missing from the shadow. Nothing was swapped; `changeling abort %s` and begin again", r.table(), r.id)}
}

// patience is how often a step is begun again in a row before a person should look.
const patience = 20

// sweep ends what transactions of ours are left on the server after a connection broke: a commit that is under way there
// could happen after the counter was asked. What keeps the sweep from it keeps the next try, too.
func (r *run) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_ = r.lease.Sweep(ctx)
}

// rest is the pause before a step is begun again. A lost connection is met by another one at once; a server that is full of
// sessions needs time.
func rest(failures int) time.Duration {
	if failures < 2 {
		return 0
	}
	return min(50*time.Millisecond<<min(failures, 10), 5*time.Second)
}

// paused waits between two steps; within one the gate does.
func (r *run) paused(ctx context.Context) error {
	if err := r.gate.Enter(ctx, 0); err != nil {
		return err
	}
	r.gate.Leave(0, 0)
	return nil
}

// recall reads the change again, for as long as a failover may take.
func (r *run) recall(ctx context.Context) error {
	return retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 3 * time.Second, Elapsed: 2 * time.Minute},
		func(err error) bool { return fault.Transient(err) || fault.Lost(err) }, func(err error, attempt int, wait time.Duration) {
			r.engine.config.Events(event.Retried{Step: r.kind(), What: "look at the change", Attempt: attempt, Err: err, Wait: wait})
		}, r.reload)
}

func (r *run) kind() string {
	if r.record.Step < len(r.record.Plan.Steps) {
		return string(r.record.Plan.Steps[r.record.Step].Kind)
	}
	return ""
}

// step runs one step, or a row of neighbouring builds. It moves the counter.
func (r *run) step(ctx context.Context, s plan.Step) error {
	r.rowsDone.Store(0)
	silent := s.Kind == plan.Hold && r.notYet() == ""
	if s.Kind != plan.Build && s.Kind != plan.Copy && s.Kind != plan.Heal && s.Kind != plan.Fill && s.Kind != plan.Verify && s.Kind != plan.Trial && s.Kind != plan.Data && !silent {
		started := event.StepStarted{Step: string(s.Kind), Name: s.Name}
		if s.Kind == plan.Drain {
			started.Unit = "keys"
		}
		r.engine.config.Events(started)
	}
	switch s.Kind {
	case plan.Exec, plan.Capture, plan.Release:
		return r.exec(ctx, s)
	case plan.Loose:
		return r.loose(ctx, s)
	case plan.Copy:
		return r.copy(ctx, s)
	case plan.Heal:
		return r.heal(ctx, s)
	case plan.Fill:
		return r.fill(ctx, s)
	case plan.Build:
		return r.build(ctx)
	case plan.Drain:
		return r.drainStep(ctx)
	case plan.Data:
		return r.dataStep(ctx, s)
	case plan.Ask:
		return r.check(ctx, s)
	case plan.Verify:
		return r.verify(ctx, s)
	case plan.Trial:
		return r.try(ctx, s)
	case plan.Hold:
		return r.withKin(ctx, func(ctx context.Context) error { return r.hold(ctx) })
	case plan.Cutover:
		return r.withKin(ctx, func(ctx context.Context) error { return r.cutover(ctx, s) })
	case plan.Aside:
		return r.putAside(ctx, s)
	case plan.Live:
		return r.beginContract(ctx)
	case plan.Take:
		return r.take(ctx, s)
	case plan.Anew:
		return r.anew(ctx)
	}
	return fmt.Errorf("this version does not know the step kind %q", s.Kind)
}

// advance moves the counter behind the step at hand, in the transaction that did it.
func (r *run) advance(ctx context.Context, t *tx, by int) error {
	if err := t.ourselves(ctx); err != nil {
		return err
	}
	return r.engine.store.Advance(ctx, t, r.record.ID, r.record.Step, r.record.Step+by)
}

// next moves the counter in a transaction of its own, for steps that may run twice.
func (r *run) next(ctx context.Context) error {
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.advance(ctx, t, 1) })
}

// end is reached when all is done but the drop of the old table. It may run twice.
func (r *run) end(ctx context.Context, drop plan.Step) error {
	name, oid, err := r.engine.dialect.Resolve(ctx, r.engine.db, r.table())
	if missing(err) { // the statement may have renamed or moved the table
		name, oid, err = r.table(), r.pair.Table, nil
	}
	if p := r.inStages(); p != nil && !p.Attaches() { // it has another name, or another place, and somebody else may have its own
		oid, err = r.pair.Table, nil
	}
	var fingerprint string
	if err == nil {
		fingerprint, err = r.engine.fingerprintOf(ctx, r.record.Plan, name, oid)
	}
	if err != nil && !missing(err) {
		return err
	}
	s := r.engine.store
	err = r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		status := state.Done
		if r.record.Plan.Undoes != nil {
			status = state.Undone
		}
		return s.Exec(ctx, t, s.Text.Finish, r.record.ID, string(status), fingerprint)
	})
	if err == nil && drop.Kind == plan.Drop && r.record.DropAfter >= 0 && r.record.DropAfter < time.Second {
		if err = r.dropOld(ctx, drop); r.pair.InPlace && fault.LockTimeout(err) {
			r.engine.config.Events(event.Notice{Text: "the old column stays for now, because somebody holds the table: " + fault.Message(err) + ". `changeling cleanup` drops it"})
			err = nil
		}
	}
	return errors.Join(err, r.recall(ctx))
}

// close saves how a run ended, and says what the change's own row should say.
func (r *run) close(ctx context.Context, err error) error {
	kind := fault.KindOf(err)
	if err == nil || kind == fault.Owned || r.record.Over() {
		return err
	}
	status := state.Failed
	if kind == fault.Stopped {
		return err
	}
	if r.record.Step == 0 && kind != fault.Unknown && r.record.Plan.Undoes == nil && r.record.Plan.Ahead() == 0 {
		status = state.Aborted // nothing was made: there is nothing to resume or to take back
	}
	// The run may have been cancelled, the row should say why all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	saveErr := r.setState(ctx, status, err.Error(), kind)
	switch {
	case errors.Is(saveErr, fault.Owned):
		return saveErr // what became of this run is of no interest to the one that has the change now
	case saveErr != nil && kind == fault.Unexpected:
		return errors.Join(err, saveErr)
	}
	return err
}

// setState says what the change's own row should say, as long as the lease is ours.
func (r *run) setState(ctx context.Context, status state.Status, text string, kind fault.Kind) error {
	s := r.engine.store
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		return s.Exec(ctx, t, s.Text.SetState, r.record.ID, string(status), text, int(kind))
	})
}

func (r *run) summary(err error, took time.Duration) event.Done {
	d := event.Done{Change: r.record.ID, Table: r.record.Table.String(), Took: took, Rows: r.record.RowsDone, Verified: r.record.Verified, Held: r.record.Held, Err: err, Status: string(state.Done)}
	if r.record.Plan.Undoes != nil {
		d.Status = string(state.Undone)
	}
	if err == nil && (r.record.Status == state.Expanded || r.record.Status == state.Held) {
		d.Status = string(r.record.Status)
	}
	switch fault.KindOf(err) {
	case fault.Stopped, fault.Owned:
		d.Status = "stopped"
	case fault.Aborted:
		d.Status = "aborted"
	default:
		if err != nil {
			d.Status = "failed"
		}
	}
	if s := statusOf(r.record); s.OldTable != "" {
		d.OldTable, d.DropAt = s.OldTable, r.record.DropAt
	}
	return d
}
