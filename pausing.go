package changeling

import (
	"context"
	"errors"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// errPaused is how a pause ends a step that does not come to the gate.
var errPaused = errors.New("a pause was asked for")

// interruptible runs a step that a pause may end: one that waits for a lock, or builds an index for an hour, must not go on
// for as long as it likes when somebody needs the server. It begins again after the pause, as after a crash.
func (r *run) interruptible(ctx context.Context, s plan.Step) error {
	if s.Kind == plan.Cutover { // its attempts are short
		return r.step(ctx, s)
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.under.Store(&work{kind: s.Kind, stop: cancel})
	defer r.under.Store(nil)
	err := r.step(inner, s)
	if err == nil || ctx.Err() != nil || !errors.Is(context.Cause(inner), errPaused) {
		return err
	}
	r.engine.config.Events(event.Notice{Text: "the pause stopped " + s.Name + " in the middle of a piece of it, which begins again afterwards"})
	return errPaused
}

// work is the step that runs.
type work struct {
	kind plan.Kind
	stop context.CancelCauseFunc
}

// gated says that a step's work is done in pieces between which it comes to the gate.
func (w *work) gated() bool {
	switch w.kind {
	case plan.Data, plan.Copy, plan.Heal, plan.Fill, plan.Drain, plan.Verify, plan.Trial, plan.Hold:
		return true
	}
	return false
}

// halt is called with each beat of a pause, the first time when it is heard of. What is under way has until the second one.
func (r *run) halt() {
	r.gate.SetPaused("paused by request: `changeling resume " + r.id + "` goes on")
	r.pauses++
	w := r.under.Load()
	if w == nil || r.pauses < 2 {
		return
	}
	inside, waiting := r.gate.Crowd()
	if inside > 0 || !w.gated() && waiting == 0 {
		w.stop(errPaused)
	}
}

// goOn ends a pause.
func (r *run) goOn() {
	r.gate.SetPaused("")
	r.pauses = 0
}

// Hold keeps a change from its cutover, as if it had been begun with Config.Hold: until Cutover is said. A cutover whose
// attempts are under way stops before the next one.
func (c *Change) Hold(ctx context.Context) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return err
	}
	if err := c.toMember(ctx, func(member *Change) error { return member.Hold(ctx) }); err != nil {
		return err
	}
	cut := c.record.Plan.Find(plan.Cutover)
	switch {
	case c.record.Over():
		return usage("change %s is %s: there is nothing to hold", c.record.ID, c.record.Status)
	case cut < 0:
		return usage("change %s has no cutover to hold it from: its route is %s", c.record.ID, c.record.Plan.Route)
	case c.record.Step > cut:
		return usage("change %s is past its cutover: there is nothing to hold", c.record.ID)
	}
	s := c.engine.store
	if err := s.Exec(ctx, s.DB, s.Text.SetHold, c.record.ID, true); err != nil {
		return err
	}
	if c.record.Want != state.WantCutover {
		return nil
	}
	return s.Exec(ctx, s.DB, s.Text.SetWant, c.record.ID, string(state.WantRun))
}

// unslowed says once in a run that a build is felt: while one runs, the server gives no means to slow it down. The function
// that it answers ends the watch.
func (r *run) unslowed(ctx context.Context, name string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if why := r.gate.Reason(); why != "" && r.toldBuild.CompareAndSwap(false, true) {
				r.engine.config.Events(event.Notice{Text: name + " is felt (" + why + "), and a build that runs cannot be slowed down: a pause would end it, and it would begin again"})
			}
		}
	}()
	return func() {
		cancel()
		<-over
	}
}
