package changeling

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

func (r *run) table() schema.Name { return r.record.Plan.Table }

// exec runs statements and moves the counter in one transaction: it happened, or it did not.
func (r *run) exec(ctx context.Context, s plan.Step) error {
	if r.resumed && len(s.Ask) > 0 && r.record.Plan.Route == plan.ShadowTable {
		// Whoever mended a row in the source expects it to count.
		if err := r.drain(ctx, true); err != nil {
			return r.explain(ctx, s, err)
		}
	}
	if s.Kind == plan.Release && r.engine.dialect.Transactional() {
		if err := r.unguard(ctx); err != nil {
			return r.late(s, r.explain(ctx, s, err))
		}
	}
	if !r.engine.dialect.Transactional() {
		return r.late(s, r.explain(ctx, s, r.patiently(ctx, "lock", func(ctx context.Context) error { return r.alone(ctx, s) })))
	}
	var settings map[string]string // the user's, for his own statement
	if s.Path == "" {
		settings = r.engine.dialect.Pinned()
	}
	err := r.patiently(ctx, "lock", func(ctx context.Context) error {
		if err := r.clear(ctx, s); err != nil {
			return err
		}
		return r.tx(ctx, session{Path: s.Path, Settings: settings, LockWait: s.LockWait, Strong: true, Role: s.Role}, func(ctx context.Context, t *tx) error {
			// What reads all rows for long gives way to whoever waits for it with a lock behind whom others queue.
			work := func() error { return t.all(ctx, s.SQL) }
			if route := r.record.Plan.Route; (route == plan.Recipe || route == plan.ShadowColumn) && strings.HasPrefix(s.Lock, "SHARE UPDATE EXCLUSIVE") {
				work = func() error { return r.yielding(ctx, t, s) }
			}
			if err := work(); err != nil {
				return err
			}
			if _, err := t.ExecContext(ctx, r.engine.dialect.As("")); err != nil { // the statements may have taken a role themselves
				return err
			}
			t.role = ""
			return r.advance(ctx, t, 1)
		})
	})
	if s.IfThere && fault.Undefined(err) { // else nobody could ever end the change, which is past its swap
		r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%s is left out: somebody dropped, renamed or moved what it is about since the swap (%s)", s.Name, fault.Message(err))})
		return r.next(ctx)
	}
	return r.late(s, r.explain(ctx, s, err))
}

// late is the end of a step that never got its lock.
func (r *run) late(s plan.Step, err error) error {
	if !fault.LockTimeout(err) {
		return err
	}
	last := ""
	if b, ok := errors.AsType[*blocked](err); ok {
		last = " (" + b.Error() + ")"
	}
	return &fault.Problem{Kind: fault.NoCutover, Err: err, Text: fmt.Sprintf("step %q did not get its lock (%s) in all its attempts: somebody holds the table for long%s. "+
		"Nothing is lost; see who holds it, and run the change again", s.Name, s.Lock, last)}
}

// clear looks who holds the tables of a step before it asks for its lock. Looking costs nothing; a lock that waits for a long
// transaction makes everybody queue behind it, attempt after attempt.
func (r *run) clear(ctx context.Context, s plan.Step) error {
	if len(s.Tables) == 0 {
		return nil
	}
	list, err := r.blockers(ctx, postgres.Blockers(s.Tables, s.Lock), r.lease.Application())
	if err != nil {
		return err
	}
	var old blocked
	for _, b := range list {
		if b.Age > time.Second {
			old.who = append(old.who, fmt.Sprintf("%s, in a transaction for %s", b.Who, b.Age.Round(time.Second)))
		}
	}
	if len(old.who) == 0 {
		return nil
	}
	return &old
}

// blocked is a lock that was not asked for, because of who holds the table.
type blocked struct{ who []string }

func (b *blocked) Error() string {
	return "the lock was not tried, because it would wait for " + strings.Join(b.who, "; ")
}
func (*blocked) SQLState() string { return "55P03" }

// build makes the indexes of neighbouring steps, one at a time, or two for those who want it fast.
func (r *run) build(ctx context.Context) error {
	steps := r.record.Plan.Steps[r.record.Step:]
	n := 0
	for n < len(steps) && steps[n].Kind == plan.Build {
		n++
	}
	if r.resumed {
		if err := r.freshen(ctx, steps[0]); err != nil {
			return err
		}
	}
	if !r.engine.dialect.Transactional() {
		return r.late(steps[0], r.explain(ctx, steps[0], r.buildOne(ctx, steps[0])))
	}
	memory, parallel, side := "", -1, 1
	if r.engine.config.Fast {
		memory, parallel, side = "512MB", 1, 2
	}
	if len(r.pair.ShadowParts) > 0 {
		side = 1 // a key of a partitioned table needs the table for itself, and names of partitions' indexes are settled one after the other
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(side)
	for _, s := range steps[:n] {
		group.Go(func() error {
			if err := r.paused(groupCtx); err != nil { // what stops everybody stops the next build, too
				return err
			}
			began := time.Now()
			r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: s.Name})
			defer r.unslowed(groupCtx, s.Name)()
			err := r.explain(groupCtx, s, r.patiently(groupCtx, "build", func(ctx context.Context) error {
				return r.tx(ctx, session{Settings: r.engine.dialect.Pinned(), Memory: memory, Parallel: parallel, Role: s.Role}, func(ctx context.Context, t *tx) error {
					var there bool
					if err := t.QueryRowContext(ctx, s.Done).Scan(&there); err != nil || there {
						return err
					}
					return t.all(ctx, s.SQL)
				})
			}))
			if err == nil {
				r.engine.config.Events(event.StepEnded{Step: string(s.Kind), Name: s.Name, Took: time.Since(began)})
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.advance(ctx, t, n) })
}

// freshen brings the shadow in step before an index is tried again: whoever mended a row in the source expects it to count.
func (r *run) freshen(ctx context.Context, key plan.Step) error {
	var built bool
	if err := r.engine.db.QueryRowContext(ctx, key.Done).Scan(&built); err != nil {
		return err
	}
	if built {
		return r.drain(ctx, true)
	}
	if r.follower != nil {
		if err := r.follower.catchUp(ctx); err != nil {
			return err
		}
	}
	var blocks int64
	if err := r.engine.db.QueryRowContext(ctx, r.rows.ShadowBlocks()).Scan(&blocks); err != nil {
		return err
	}
	return r.tx(ctx, session{Async: true, Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, r.rows.Heal(copier.AllBlocks(blocks)))
		return err
	})
}

// verify compares every row.
func (r *run) verify(ctx context.Context, s plan.Step) error {
	if r.pair.InPlace {
		return r.verifyColumns(ctx, s)
	}
	if err := r.compare(ctx, s); err != nil {
		return err
	}
	return r.next(ctx)
}

func (r *run) compare(ctx context.Context, s plan.Step) error {
	began := time.Now()
	err := r.verifyWalk(ctx, s)
	if err != nil {
		return r.explain(ctx, s, err)
	}
	chunks, rows, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walkVerify)
	if err != nil {
		return err
	}
	r.engine.config.Events(event.Verified{Rows: rows, Chunks: int64(len(chunks)), Repaired: r.verifier.Repaired(), Took: time.Since(began)})
	return nil
}

// hold waits for the word, if it is to be waited for.
func (r *run) hold(ctx context.Context) error {
	if err := r.standBy(ctx); err != nil {
		return err
	}
	return r.next(ctx)
}

// standBy keeps the shadow in step for as long as the cutover should not be tried.
func (r *run) standBy(ctx context.Context) error {
	why := r.notYet()
	if why == "" {
		return nil
	}
	if err := r.setState(ctx, state.Held, "", 0); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	waits := r.waits.Load()
	for told := ""; why != ""; why = r.notYet() {
		if now := r.waits.Load(); why != told || now != waits { // a drain may have waited meanwhile, and said so
			told, waits = why, now
			r.engine.config.Events(event.Waiting{Step: "hold", Reason: why})
		}
		if err := r.inStep(ctx); err != nil {
			return err
		}
		r.glance(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := r.recall(ctx); err != nil {
			return err
		}
	}
	r.engine.config.Events(event.Waiting{Step: "hold"})
	return r.setState(ctx, state.Running, "", 0)
}

// notYet is why the cutover should not be tried now, or empty. The word of a person counts more than the hour.
func (r *run) notYet() string {
	window := r.settings.Load().CutoverWindow // before the wish, which is stored first: who says hold, and then opens the window, is heeded
	b := r.wish.Load().(state.Beat)
	switch now := time.Now(); {
	case b.Want == state.WantCutover:
		return ""
	case b.Hold:
		return "ready to cut over: `changeling cutover " + r.id + "` does it"
	case !window.Open(now):
		return "ready to cut over, " + window.Closed(now)
	}
	return ""
}

// allowed is asked before each attempt to swap.
func (r *run) allowed(ctx context.Context) error {
	if r.notYet() != "" {
		return cutover.ErrNotNow
	}
	if veto := r.engine.config.BeforeCutover; veto != nil {
		if err := veto(ctx, r.id); err != nil {
			return fmt.Errorf("not allowed: %w", err)
		}
	}
	return nil
}

// dropOld takes the old table away. It may run twice.
func (r *run) dropOld(ctx context.Context, drop plan.Step) error {
	s := r.engine.store
	if err := r.ours(ctx); err != nil {
		return err
	}
	if err := r.disarm(ctx, ""); err != nil {
		return err
	}
	err := r.patiently(ctx, "drop", func(ctx context.Context) error {
		if err := r.clear(ctx, drop); err != nil {
			return err
		}
		return r.tx(ctx, session{LockWait: drop.LockWait, Idle: long, Strong: r.pair.InPlace}, func(ctx context.Context, t *tx) error {
			if err := t.ddl(ctx, drop); err != nil {
				return err
			}
			return s.Exec(ctx, t, s.Text.Dropped, r.record.ID)
		})
	})
	if err != nil && fault.Code(err) == "2BP01" {
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("%s is kept, because something else depends on it: %s (%s)", leftover(r.pair), fault.Message(err), fault.Detail(err))}
	}
	return errors.Join(err, r.reload(ctx))
}
