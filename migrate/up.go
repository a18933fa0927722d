package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Up applies what is pending, up to a version; an empty one is the newest. Many instances may call it at once: one works, the
// others wait for Config.Wait and then find nothing to do. What a run that died has left is gone on with.
func (m *Migrator) Up(ctx context.Context, to string) (*Result, error) {
	var out *Result
	err := m.work(ctx, func(ctx context.Context, r *run) error {
		out = &r.result
		return r.up(ctx, to)
	})
	return out, err
}

func (r *run) up(ctx context.Context, to string) error {
	target, err := r.tree.Resolve(to)
	if err != nil {
		return err
	}
	if err := r.takeOver(ctx); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	st, err := r.status(ctx)
	if err != nil {
		return err
	}
	if err := r.ready(st); err != nil {
		return err
	}
	for _, m := range r.pending(st, to, target) {
		if err := r.unhindered(ctx, m); err != nil {
			return err
		}
		began := time.Now()
		if err := r.perform(ctx, m, up); err != nil {
			if w := (*waiting)(nil); errors.As(err, &w) {
				return r.halted(ctx, m, w, time.Since(began))
			}
			return err
		}
		r.result.Applied = append(r.result.Applied, Applied{Version: m.ID(), Name: m.Name, Took: time.Since(began)})
		r.m.config.Events(event.Notice{Text: fmt.Sprintf("applied %s in %s", m, time.Since(began).Round(time.Millisecond))})
		if m.Up.Stop != "" && m.Version != target {
			r.result.Stopped = fmt.Sprintf("%s is a required stop: %s; then run the same command again", m, m.Up.Stop)
			r.m.config.Events(event.Notice{Text: r.result.Stopped})
			return nil
		}
	}
	return nil
}

// ready says whether anything may be applied to a database in this state.
func (r *run) ready(st *Status) error {
	switch st.State {
	case StateEdited, StateUnknown:
		return st.Err()
	case StateAhead:
		if !r.m.config.AllowAhead {
			return st.Err()
		}
	}
	if len(st.OutOfOrder) > 0 && r.m.config.OutOfOrder == OrderError {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("%s is missing below %s, which was applied: a late merge, mostly. Give it a newer version, or say --out-of-order apply or skip; nothing was run",
			strings.Join(st.OutOfOrder, ", "), st.Current)}
	}
	return nil
}

// pending are the migrations to apply, in their order. Repeatable ones run only on the way to the newest version.
func (r *run) pending(st *Status, to, target string) (out []*Migration) {
	for _, id := range st.Pending {
		m := r.tree.Find(id)
		late := slices.Contains(st.OutOfOrder, id)
		switch {
		case late && r.m.config.OutOfOrder == OrderSkip:
		case m.Repeatable && to != "" && target != r.tree.Head():
		case !m.Repeatable && compare(m.Version, target) > 0:
		default:
			out = append(out, m)
		}
	}
	return out
}

// settle looks at the changes that were left to run beside: a migration is applied when its last one is done.
func (r *run) settle(ctx context.Context) error {
	rows, err := r.known(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Status != journal.Background {
			continue
		}
		open, err := r.open(ctx, row.Version)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			continue
		}
		row.Status, row.By = journal.Applied, r.m.config.Owner
		if err := r.note(ctx, func(db state.DB) error {
			return errors.Join(r.store.Save(ctx, db, row), r.store.Note(ctx, db, journal.Entry{Version: row.Version, What: "applied", By: row.By, Detail: "its changes are done"}))
		}); err != nil {
			return err
		}
	}
	return nil
}

// open are the changes of a migration that are not done, with their tables.
func (r *run) open(ctx context.Context, version string) (map[string]string, error) {
	steps, err := r.store.Steps(ctx, r.db, version, up)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, x := range steps {
		if x.Done || x.Change == "" {
			continue
		}
		e, err := r.changes(ctx)
		if err != nil {
			return nil, err
		}
		c, err := e.Find(ctx, x.Change)
		if err != nil {
			return nil, err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		if s.Status != "done" {
			out[x.Change] = c.Plan().Table.Table
			continue
		}
		if err := r.note(ctx, func(db state.DB) error { return r.store.Done(ctx, db, version, x) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unhindered refuses to begin a migration on a table that a change still works on (NR7).
func (r *run) unhindered(ctx context.Context, m *Migration) error {
	rows, err := r.known(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Status != journal.Background {
			continue
		}
		changes, err := r.open(ctx, row.Version)
		if err != nil {
			return err
		}
		for id, table := range changes {
			if row.Version != m.ID() && !r.mentions(m, table) {
				continue
			}
			return &fault.Problem{Kind: fault.Stopped, Text: fmt.Sprintf("migration %s waits for change %s of %s, which works on table %s: let `changeling work` end it, or `changeling resume %s`, then run the same command again", m, id, row.Version, table, id)}
		}
	}
	return nil
}

// mentions says that a word of a migration is the name of a table.
func (r *run) mentions(m *Migration, table string) bool {
	for _, s := range m.Up.Statements {
		tokens, _ := plan.Lex(s.SQL, r.server.syntax) // it was cut out of a text that could be read
		for _, t := range tokens {
			if strings.EqualFold(strings.Trim(s.SQL[t.Start:t.End], "\"`"), table) {
				return true
			}
		}
	}
	return false
}

// Down takes the newest migrations back, as many as said.
func (m *Migrator) Down(ctx context.Context, steps int) (*Result, error) {
	if steps < 1 {
		return nil, usage("%d migrations cannot be taken back: expected 1 or more", steps)
	}
	var out *Result
	err := m.work(ctx, func(ctx context.Context, r *run) error {
		out = &r.result
		return r.down(ctx, func(int, string) bool { steps--; return steps >= 0 })
	})
	return out, err
}

// To brings the database to a version, forward or back; "0" is before the first one.
func (m *Migrator) To(ctx context.Context, version string) (*Result, error) {
	var out *Result
	err := m.work(ctx, func(ctx context.Context, r *run) error {
		out = &r.result
		target := "0"
		if version != "0" {
			var err error
			if target, err = r.tree.Resolve(version); err != nil {
				return err
			}
		}
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		if version == "0" || st.Current != "" && compare(target, st.Current) < 0 {
			return r.down(ctx, func(_ int, v string) bool { return version == "0" || compare(v, target) > 0 })
		}
		return r.up(ctx, target)
	})
	return out, err
}

// down takes migrations back, the newest first, as long as more says so.
func (r *run) down(ctx context.Context, more func(n int, version string) bool) error {
	rows, err := r.known(ctx)
	if err != nil {
		return err
	}
	for i, m := range slices.Backward(r.tree.Migrations) {
		row := rows[m.ID()]
		if row == nil || m.Repeatable {
			continue
		}
		if !more(i, m.Version) {
			return nil
		}
		if row.Status == journal.Baseline {
			return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("migration %s was there before the history began: nothing is taken back beyond the baseline", m)}
		}
		m, lossy, err := r.led(ctx, m)
		if err != nil {
			return err
		}
		if err := r.bearable(m, lossy); err != nil {
			return err
		}
		began := time.Now()
		if err := r.perform(ctx, m, down); err != nil {
			return err
		}
		r.result.Reverted = append(r.result.Reverted, Applied{Version: m.Version, Name: m.Name, Took: time.Since(began)})
		r.m.config.Events(event.Notice{Text: fmt.Sprintf("took back %s in %s", m, time.Since(began).Round(time.Millisecond))})
	}
	return nil
}

// bearable refuses a way back that loses data, unless it was said that it may (N10, N15).
func (r *run) bearable(m *Migration, lossy []string) error {
	if m.Down == nil || r.m.config.AllowDataLoss {
		return nil
	}
	if len(lossy) > 0 {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the way back of migration %s does not bring all back: %s\nSay --allow-data-loss if that may be; nothing was changed by it", m, strings.Join(lossy, "; "))}
	}
	if lost := r.server.losing(m.Down); len(lost) > 0 {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the way back of migration %s loses data, at %s:%d: %s\nSay --allow-data-loss if they may go; nothing was changed by it", m, m.Down.File, lost[0].Line, shorten(lost[0].SQL, 200))}
	}
	return nil
}
