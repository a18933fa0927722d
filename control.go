package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Status is a change as others see it. Its JSON form is a contract: fields are added, never changed.
type Status struct {
	ID             string     `json:"id"`
	Statement      string     `json:"statement"`
	Table          string     `json:"table"`
	Route          string     `json:"route"`
	Status         string     `json:"status"` // running, held, paused, failed, expanded, done, aborted, undone
	Step           string     `json:"step"`
	RowsDone       int64      `json:"rows_done"`
	RowsEstimate   int64      `json:"rows_estimate"`
	RowsVerified   int64      `json:"rows_verified"`
	PendingKeys    int64      `json:"pending_keys"`
	ShadowTable    string     `json:"shadow_table"` // empty once it is the table
	OldTable       string     `json:"old_table"`    // empty before the cutover, and after the drop
	Owner          string     `json:"owner"`        // who works on it now, empty if nobody does
	ThrottleReason string     `json:"throttle_reason"`
	Settings       []string   `json:"settings"` // of the throttle, that were made for this change: "max-lag=10s"
	Error          string     `json:"error"`
	ErrorCode      int        `json:"error_code"`
	LockHeldMs     float64    `json:"lock_held_ms"`
	Created        time.Time  `json:"created"`
	Updated        time.Time  `json:"updated"`
	CutOver        *time.Time `json:"cut_over"`
	Remarks        []Remark   `json:"remarks,omitempty"` // of its history, such as sessions that it ended; not in a list
	DropAt         *time.Time `json:"drop_at"`           // null: never, or gone
	Uses           []Use      `json:"uses,omitempty"`    // of the old column of an expanded change; not in a list
	UsesUnseen     string     `json:"uses_unseen,omitempty"`
	Unfit          []string   `json:"unfit,omitempty"`   // rows of an expanded change in which one column has what the other one cannot have
	Undo           string     `json:"undo"`              // open, under way, "gone: " and why, or empty where there is none
	Members        []Member   `json:"members,omitempty"` // the other tables of a family, in the order in which they are changed; not in a list
}

func statusOf(r *state.Record) Status {
	s := Status{ID: r.ID, Statement: r.Statement, Table: r.Table.String(), Route: string(r.Plan.Route), Status: string(r.Status),
		Settings: throttled(r.Settings), RowsDone: r.RowsDone, RowsEstimate: r.Plan.Rows, RowsVerified: r.Verified, PendingKeys: r.Pending, Error: r.Error, ErrorCode: r.ErrorKind,
		LockHeldMs: float64(r.Held) / float64(time.Millisecond), Created: r.Created, Updated: r.Updated}
	if r.Step < len(r.Plan.Steps) && !(r.Over() && r.Dropped) {
		s.Step = r.Plan.Steps[r.Step].Name
	}
	if r.Owner != "" && r.Alive {
		s.Owner, s.ThrottleReason = r.Owner, r.Reason
	}
	if r.Want == state.WantPause && (r.Status == state.Running || r.Status == state.Held) {
		s.Status = string(state.Paused) // also where nobody works on it
	}
	cut := r.Plan.Turn()
	if cut >= 0 {
		if r.Step <= cut && r.Step > r.Plan.Ahead() && r.Status != state.Aborted {
			s.ShadowTable = r.Plan.Pair.Shadow.String() // empty for a second column
		}
		if r.Step > cut && !r.Dropped && !r.Plan.Attaches() {
			s.OldTable = leftover(r.Plan.Pair)
			if !r.DropAt.IsZero() {
				s.DropAt = &r.DropAt
			}
		}
	}
	if !r.CutAt.IsZero() {
		s.CutOver = &r.CutAt
	}
	return s
}

// List is all changes of the database, newest first.
func (e *Engine) List(ctx context.Context) ([]Status, error) {
	records, err := e.store.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Status, 0, len(records))
	for _, r := range records {
		s := statusOf(r)
		if s.Undo, err = (&Change{engine: e, record: r}).undoState(ctx); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, err
}

// Find is the change with an id.
func (e *Engine) Find(ctx context.Context, id string) (*Change, error) {
	r, err := e.store.Find(ctx, id)
	if errors.Is(err, state.ErrNone) {
		return nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("there is no change %q in this database: `changeling list` shows those there are", id)}
	}
	if err != nil {
		return nil, err
	}
	return &Change{engine: e, record: r}, nil
}

// ID is the change's name, for Find and for the command line.
func (c *Change) ID() string { return c.record.ID }

// Plan is what the change does, step by step.
func (c *Change) Plan() *plan.Plan { return c.record.Plan }

// Status asks the database where the change stands.
func (c *Change) Status(ctx context.Context) (Status, error) {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return Status{}, err
	}
	s := statusOf(c.record)
	var err error
	if s.Remarks, err = c.remarks(ctx); err != nil {
		return s, err
	}
	if err := c.uses(ctx, &s); err != nil {
		return s, err
	}
	if s.Members, err = c.members(ctx); err != nil {
		return s, err
	}
	s.Undo, err = c.undoState(ctx)
	return s, err
}

// own is a copy to work with, which reload may move on: a Change itself never changes, so several goroutines may use it, one
// that runs it and one that pauses it.
func (c *Change) own() *Change {
	mine := *c
	return &mine
}

func (c *Change) reload(ctx context.Context) error {
	r, err := c.engine.store.Find(ctx, c.record.ID)
	if err == nil {
		c.record = r
	}
	return err
}

// Pause stops the change before its next chunk, wherever it runs. It holds until Resume.
func (c *Change) Pause(ctx context.Context) error { return c.want(ctx, state.WantPause) }

// Resume takes a pause back. It does not run the change; Run does.
func (c *Change) Resume(ctx context.Context) error { return c.want(ctx, state.WantRun) }

// Cutover lets a change that holds go on to its cutover, wherever it runs. Of a family it is the next table's.
func (c *Change) Cutover(ctx context.Context) error {
	member, err := c.underWay(ctx)
	if err != nil {
		return err
	}
	if member != nil {
		return member.Cutover(ctx)
	}
	return c.want(ctx, state.WantCutover)
}

func (c *Change) want(ctx context.Context, w state.Want) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return err
	}
	if c.record.Over() || c.resting() && w != state.WantRun {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s is %s: there is nothing to %s", c.record.ID, c.record.Status, verb(w))}
	}
	s := c.engine.store
	if w == state.WantCutover {
		if err := s.Exec(ctx, s.DB, s.Text.SetHold, c.record.ID, false); err != nil {
			return err
		}
	}
	return s.Exec(ctx, s.DB, s.Text.SetWant, c.record.ID, string(w))
}

func verb(w state.Want) string {
	if w == state.WantRun {
		return "resume"
	}
	return string(w)
}

// Abort ends a change before its cutover and takes away everything that it made; of an undo, it goes back to the change. A run that works on it stops first, as
// does this call until it has; nobody needs to be running it. It may be called again.
func (c *Change) Abort(ctx context.Context) error {
	if err := c.onItsOwn(ctx, "aborted"); err != nil {
		return err
	}
	if err := c.abort(ctx); err != nil {
		return err
	}
	return c.engine.vanish(ctx)
}

func (c *Change) abort(ctx context.Context) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return err
	}
	if c.record.Status == state.Aborted {
		return nil
	}
	undoing := c.record.Plan.Undoes != nil
	if c.complete() {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s has done its last step: there is nothing to abort any more; run it again to let it finish", c.record.ID)}
	}
	if cut := c.record.Plan.Turn(); c.record.Status == state.Done || cut >= 0 && c.record.Step > cut {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s is past its cutover: the table is the new one, and there is nothing to abort; `changeling cleanup` drops the old one", c.record.ID)}
	}
	s := c.engine.store
	if err := s.Exec(ctx, s.DB, s.Text.SetWant, c.record.ID, string(state.WantAbort)); err != nil {
		return err
	}
	var lease *state.Lease
	// The run that works on it sees the wish with its next heartbeat, and lets go.
	err := retry.Do(ctx, retry.Policy{Initial: 200 * time.Millisecond, Max: time.Second, Elapsed: c.engine.config.Lease + 30*time.Second},
		func(err error) bool { return errors.Is(err, fault.Owned) }, nil, func(ctx context.Context) (err error) {
			lease, err = s.Acquire(ctx, c.record.ID, c.engine.config.Owner, c.engine.config.Lease)
			return err
		})
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	// It may have reached its cutover while we waited, or have taken itself back.
	if err := c.reload(ctx); err != nil || c.record.Status == state.Aborted || undoing && c.record.Plan.Undoes == nil {
		return err
	}
	r := newRun(c, lease)
	if cut := c.record.Plan.Turn(); cut >= 0 && c.record.Step > cut || c.record.Status == state.Done || c.complete() {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("change %s has just made its cutover, or its last step: there is nothing to abort any more; run it again to let it finish", c.record.ID)}
	}
	if r.record.Plan.Undoes != nil {
		if err := r.giveUp(ctx); err != nil {
			return err
		}
		r.remark(ctx, "the undo was given up: the table stays as the change made it")
		return nil
	}
	if err := r.abandon(ctx); err != nil {
		return err
	}
	r.remark(ctx, "aborted: what the change made was taken away")
	return nil
}

// abandon takes a change back. Each transaction may run twice.
func (r *run) abandon(ctx context.Context) error {
	if err := r.uncut(ctx); err != nil {
		return err
	}
	if len(r.pair.Children) > 0 {
		if err := r.patiently(ctx, "abort", func(ctx context.Context) error {
			return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error { return r.rejoined(ctx, t) })
		}); err != nil {
			return err
		}
	}
	if r.record.Plan.Undoes != nil {
		return r.giveUp(ctx)
	}
	if route := r.record.Plan.Route; route == plan.ShadowTable || route == plan.ShadowColumn {
		if err := r.dropShadow(ctx); err != nil {
			return err
		}
	}
	if err := r.undo(ctx); err != nil {
		return err
	}
	if text := r.left(); text != "the source is as it was" {
		r.engine.config.Events(event.Notice{Text: text})
	}
	s := r.engine.store
	return r.tx(ctx, session{}, func(ctx context.Context, tx *tx) error {
		if err := s.Exec(ctx, tx, s.Text.Forget, r.record.ID); err != nil {
			return err
		}
		return s.Exec(ctx, tx, s.Text.Finish, r.record.ID, string(state.Aborted), "")
	})
}

// dropShadow takes away the capture, the shadow and where it stands. It may run twice.
func (r *run) dropShadow(ctx context.Context) error {
	if r.record.Plan.Undoes != nil {
		return fmt.Errorf("the shadow of an undo is the old table of change %s: it is not dropped", r.id)
	}
	for _, s := range r.engine.dialect.Abandon(r.record.Plan.Pair, r.engine.config.LockWait) {
		if err := r.patiently(ctx, "abort", func(ctx context.Context) error {
			return r.tx(ctx, session{Idle: long}, func(ctx context.Context, tx *tx) error {
				if done, err := r.happened(ctx, s); err != nil || done {
					return err
				}
				return tx.ddl(ctx, s)
			})
		}); err != nil {
			return r.losing(ctx, err)
		}
	}
	return nil
}

// happened asks whether a step has been done, where the catalogue answers and the server commits by itself: when nobody is at work on it any more.
func (r *run) happened(ctx context.Context, s plan.Step) (done bool, err error) {
	if s.Done == "" || r.engine.dialect.Transactional() {
		return false, nil
	}
	if err := r.seize(ctx); err != nil {
		return false, err
	}
	err = r.engine.db.QueryRowContext(ctx, s.Done).Scan(&done)
	return done, err
}

// complete says that all steps of a change without a second table are done.
func (c *Change) complete() bool {
	p := c.record.Plan
	return p.Turn() < 0 && c.record.Step >= len(p.Steps)
}

// left says for a person what an abort leaves behind.
func (r *run) left() string {
	if r.record.Plan.Undoes != nil {
		return "the undo is given up, and the table stays as the change made it"
	}
	var stays []string
	for i, s := range r.record.Plan.Steps {
		if r.record.Plan.Route == plan.Recipe && i < r.record.Step && s.Kind == plan.Exec && s.Name == "alter" {
			stays = append(stays, s.SQL...)
		}
	}
	if len(stays) > 0 {
		return "what it made is taken away, but for what came first and cannot be taken back: " + strings.Join(stays, "; ")
	}
	return "the source is as it was"
}

// undo takes back the steps of a recipe, the last one first. The step at hand may have left something over, too.
func (r *run) undo(ctx context.Context) error {
	steps := r.record.Plan.Steps
	for i := min(r.record.Step, len(steps)-1); i >= 0; i-- {
		s := steps[i]
		if s.Kind == plan.Take {
			if err := r.withdraw(ctx, *s.Member, NoLoss); err != nil {
				return err
			}
		}
		if len(s.Undo) == 0 {
			continue
		}
		if i == r.record.Step && s.Kind != plan.Loose {
			// Nothing says whether it happened but the catalogue, and only of a server whose DDL commits by itself.
			happened := false
			if !r.engine.dialect.Transactional() && s.Done != "" {
				if err := r.engine.db.QueryRowContext(ctx, s.Done).Scan(&happened); err != nil {
					return err
				}
			}
			if !happened {
				continue
			}
		}
		if err := r.patiently(ctx, "abort", func(ctx context.Context) error {
			if s.Kind == plan.Loose {
				return r.claimed(ctx, s, func(ctx context.Context, conn *sql.Conn) error { return all(ctx, conn, s.Undo) })
			}
			return r.tx(ctx, session{LockWait: s.LockWait, Strong: true}, func(ctx context.Context, t *tx) error {
				if !r.engine.dialect.Transactional() {
					return r.each(ctx, t, plan.Step{SQL: s.Undo, LockWait: s.LockWait})
				}
				return t.all(ctx, s.Undo)
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// Cleanup drops the old table of a finished change if its time has come, or in any case if now is said. It answers
// whether something was dropped.
func (c *Change) Cleanup(ctx context.Context, now Force) (bool, error) {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return false, err
	}
	r := c.record
	if r.Status != state.Done && r.Status != state.Undone || r.Dropped || r.Plan.Find(plan.Drop) < 0 {
		return false, nil
	}
	if now != Now && !r.Due {
		return false, c.tend(ctx)
	}
	lease, err := c.engine.store.Acquire(ctx, r.ID, c.engine.config.Owner, c.engine.config.Lease)
	if err != nil {
		return false, err
	}
	defer lease.Release(ctx)
	if err := c.reload(ctx); err != nil {
		return false, err
	}
	if r = c.record; r.Status != state.Done && r.Status != state.Undone || r.Dropped { // somebody undoes it, or was faster
		return false, nil
	}
	run := newRun(c, lease)
	if err := run.dropOld(ctx, r.Plan.Steps[r.Plan.Find(plan.Drop)]); err != nil {
		return true, err
	}
	which := "old"
	if r.Status == state.Undone {
		which = "new"
	}
	if r.Plan.Pair.InPlace {
		run.remark(ctx, "dropped "+leftover(r.Plan.Pair))
		return true, nil
	}
	run.remark(ctx, "dropped the "+which+" table "+r.Plan.Pair.Old.String())
	return true, nil
}

// Force says whether Cleanup waits for the time.
type Force int

// The values of Force.
const (
	WhenDue Force = iota
	Now
)
