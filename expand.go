package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Expansion is a change of a column in two acts, for code that knows the old column and code that knows the new one at the same time.
// Once it is expanded both are there, and whoever writes one of them writes the other. Change.Contract takes the old one away.
type Expansion struct {
	// Statement is ALTER TABLE … RENAME COLUMN … TO …, or, on PostgreSQL, … ALTER COLUMN … TYPE … USING …. The USING is the way up: the new
	// column's value by the old one. On MySQL and MariaDB it is a RENAME COLUMN, or a MODIFY, without Up and Down to a wider type of the same
	// kind.
	Statement string
	// As is the name of the new column, where it has a new type.
	As string
	// Up is the way up where no USING says it, on MySQL and MariaDB: an expression over the old column. Empty: the value is assigned.
	Up string
	// Down is the way down, an expression: the old column's value by the new one. Empty: the value is assigned.
	Down string
}

func (x Expansion) postgres() postgres.Expansion { return postgres.Expansion(x) }

func (postgresql) Expansion(x Expansion) (s plan.Statement, said string, err error) {
	if s, err = x.postgres().Parse(); err == nil {
		said = x.postgres().Said(s)
	}
	return s, said, err
}

// Expand answers the expansion that is asked for, unfinished or done with the table as it left it, or else a plan for one, for StartPlan.
// It changes nothing. Run returns when both columns are in use, and again when the change is contracted.
func (e *Engine) Expand(ctx context.Context, x Expansion) (under *Change, p *plan.Plan, err error) {
	if err := e.unkept(); err != nil {
		return nil, nil, err
	}
	s, said, err := e.dialect.Expansion(x)
	if err != nil {
		return nil, nil, err
	}
	name, oid, err := e.dialect.Resolve(ctx, e.db, s.Table)
	if missing(err) {
		return nil, nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: err.Error()}
	}
	if err != nil {
		return nil, nil, err
	}
	other, err := e.store.Unfinished(ctx, name)
	switch {
	case err == nil && other.Statement != said:
		return nil, nil, busy(other)
	case err == nil:
		return &Change{engine: e, record: other}, nil, nil
	case !errors.Is(err, state.ErrNone):
		return nil, nil, err
	}
	if last, err := e.store.Latest(ctx, said, name); err == nil {
		done, is, err := e.still(ctx, last, name, oid)
		if is {
			_, err = done.Cleanup(ctx, WhenDue) // the run that made it may have ended before its last act
		}
		if is && (err == nil || errors.Is(err, fault.Owned)) {
			return done, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
	} else if !errors.Is(err, state.ErrNone) {
		return nil, nil, err
	}
	p, err = e.dialect.Expand(ctx, e.db, x, newID(), e.config.LockWait)
	return nil, p, err
}

// unkept refuses to keep an old column where none is.
func (e *Engine) unkept() error {
	if e.dialect.Transactional() || !e.config.dropSaid || e.config.DropAfter >= 0 && e.config.DropAfter < time.Second {
		return nil
	}
	return usage("on MySQL and MariaDB the old column goes in the end, when the new one takes its place: it cannot be kept (--drop)")
}

// Contract lets an expanded change take its old column away. It does not do it; Run does. It may be called again. Until the old column is
// gone, Abort goes back.
func (c *Change) Contract(ctx context.Context) error {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return err
	}
	live := c.record.Plan.Find(plan.Live)
	switch {
	case live < 0:
		return usage("change %s is no expansion: there is nothing to contract", c.record.ID)
	case c.record.Over():
		return usage("change %s is %s: there is nothing to contract", c.record.ID, c.record.Status)
	case c.record.Step < live:
		return usage("change %s is not expanded yet, it is at step %q: no code can rely on the new column. `changeling resume %s` goes on if nobody works on it", c.record.ID, c.record.Plan.Steps[c.record.Step].Name, c.record.ID)
	}
	s := c.engine.store
	if err := s.Exec(ctx, s.DB, s.Text.SetHold, c.record.ID, false); err != nil { // the word of a person
		return err
	}
	return s.Exec(ctx, s.DB, s.Text.SetWant, c.record.ID, string(state.WantContract))
}

// resting says that both columns are in use, and that nobody has said that the old one can go.
func (c *Change) resting() bool {
	return c.record.Status == state.Expanded && c.record.Want != state.WantContract
}

func (r *run) contracts() bool { return r.wish.Load().(state.Beat).Want == state.WantContract }

// expanded ends a run whose columns are both in use.
func (r *run) expanded(ctx context.Context) error {
	return r.patiently(ctx, "expanded", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			s := r.engine.store
			return s.Exec(ctx, t, s.Text.SetState, r.id, string(state.Expanded), "", 0)
		})
	})
}

// beginContract moves the counter on. The table may have been rewritten in the weeks since: the comparison goes by the places that rows
// have now.
func (r *run) beginContract(ctx context.Context) error {
	return r.compareFrom(ctx, r.record.Step+1)
}

// compareFrom moves the counter to the comparison of an expanded change, which begins anew. What users wrote is not filled again.
func (r *run) compareFrom(ctx context.Context, step int) error {
	s := r.engine.store
	return r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			if _, err := t.ExecContext(ctx, r.rows.Guard()); err != nil {
				return err
			}
			var heap int64
			if err := t.QueryRowContext(ctx, r.rows.Heap()).Scan(&heap); err != nil {
				return err
			}
			if r.record.Step >= step { // it was begun
				if err := s.Exec(ctx, t, s.Text.Forget, r.id); err != nil {
					return err
				}
			}
			if err := s.Exec(ctx, t, s.Text.SetHeap, r.id, heap, r.record.Blocks); err != nil {
				return err
			}
			return s.Advance(ctx, t, r.id, r.record.Step, step)
		})
	})
}

// leaning looks whether the old column, and what leans on it, is what the change was planned for. What cannot be asked now is no answer.
func (r *run) leaning(ctx context.Context) error {
	err := r.tx(ctx, session{Settings: r.engine.dialect.Pinned()}, r.leaningIn)
	if errors.Is(err, fault.Refused) {
		return err
	}
	return nil
}

func (r *run) leaningIn(ctx context.Context, t *tx) error {
	now, err := r.engine.dialect.Leaning(ctx, t, r.pair)
	if err != nil || slices.Equal(now, r.pair.Leaning) {
		return err
	}
	less := func(list, other []string) string {
		var out []string
		for _, line := range list {
			if !slices.Contains(other, line) {
				out = append(out, line)
			}
		}
		if len(out) == 0 {
			return "nothing"
		}
		return strings.Join(out, "; ")
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("column %s of %s, or what leans on it, was altered by somebody since the change was planned. There was: %s. There is: %s. "+
		"Nothing was taken away: make it as it was and say `changeling resume %s`, or `changeling abort %s` takes the new column away", r.pair.Columns[0].Source, r.table(), less(r.pair.Leaning, now), less(now, r.pair.Leaning), r.id, r.id)}
}

// unlike is the end of a contraction that found rows whose columns differ: nobody but a person knows which of them is right.
func (r *run) unlike(rows int64) error {
	m := r.pair.Columns[0]
	differ := m.Shadow + " IS DISTINCT FROM " + m.Source
	switch {
	case !r.engine.dialect.Transactional() && m.Back != "":
		differ = "NOT (" + m.Shadow + " <=> " + m.Expr + " OR " + m.Source + " <=> " + m.Back + ")"
	case !r.engine.dialect.Transactional():
		differ = "NOT (" + m.Shadow + " <=> " + m.Source + ")"
	}
	return &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("%d rows of %s, or more, have another value in %s than in %s: somebody kept the trigger from them. Both columns stay. Find them (%s), "+
		"write in each the one that is right, and `changeling resume %s`", rows, r.table(), m.Shadow, m.Source, differ, r.id)}
}

// losing gives the end of an abort its name that would lose what only the new column can have.
func (r *run) losing(ctx context.Context, err error) error {
	said := fault.Message(err)
	switch code := fault.Code(err); {
	case code == postgres.Losing:
	case code == mysql.Losing && !r.engine.dialect.Transactional():
		var s Status
		if err := (&Change{engine: r.engine, record: r.record}).unfitNow(ctx, &s); err != nil {
			return err
		}
		said = strings.Join(s.Unfit, "; ")
	default:
		return err
	}
	m := r.pair.Columns[0]
	return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("rows of %s have something in %s that %s cannot have, and would lose it: %s. Nothing was taken away: write in each of them what both can have, and say it again, or `changeling contract %s`",
		r.table(), m.Shadow, m.Source, said, r.id)}
}

// Use is a sign that somebody still says the name of an old column.
type Use struct {
	By        string `json:"by"` // an application and its role, or empty
	Statement string `json:"statement"`
	Calls     int64  `json:"calls,omitempty"` // since the server's counts were reset; zero: it is a session's last statement
}

// uses finds out who says the name of an expanded change's old column, as far as the server tells.
func (c *Change) uses(ctx context.Context, s *Status) error {
	if s.Status != string(state.Expanded) {
		return nil
	}
	if err := c.unfitNow(ctx, s); err != nil {
		return err
	}
	if !c.engine.dialect.Transactional() {
		return c.usesCounted(ctx, s)
	}
	questions := []string{postgres.SessionsSaying(c.record.Plan.Pair)}
	var in sql.NullString
	err := c.engine.db.QueryRowContext(ctx, postgres.StatementsIn).Scan(&in)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		s.UsesUnseen = "the server cannot tell which statements name it, because the extension pg_stat_statements is not there: what is shown are sessions whose last statement does"
	case err != nil:
		return err
	default:
		questions = append(questions, postgres.StatementsSaying(c.record.Plan.Pair, in.String))
	}
	for _, q := range questions {
		list, err := c.using(ctx, q)
		if err != nil && (fault.Lost(err) || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			s.UsesUnseen = "the server does not tell which statements name it: " + fault.Message(err)
		}
		s.Uses = append(s.Uses, list...)
	}
	return nil
}

// unfitNow finds the rows of an expanded change whose conversion failed.
func (c *Change) unfitNow(ctx context.Context, s *Status) error {
	rows, ok := c.engine.dialect.Rows(c.record.Plan.Pair).(interface{ Unfit() string })
	if !ok || rows.Unfit() == "" {
		return nil
	}
	found, err := c.engine.db.QueryContext(ctx, rows.Unfit())
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var key, why string
		var down bool
		if err := found.Scan(&key, &down, &why); err != nil {
			return err
		}
		m := c.record.Plan.Pair.Columns[0]
		text := fmt.Sprintf("%s: %s cannot have what %s has, which the contraction waits for", personal(key, c.record.Plan.Pair), m.Shadow, m.Source)
		if down {
			text = fmt.Sprintf("%s: %s cannot have what %s has, which an abort would lose", personal(key, c.record.Plan.Pair), m.Source, m.Shadow)
		}
		s.Unfit = append(s.Unfit, text+": "+shorten(why, 200))
	}
	return found.Err()
}

func (c *Change) using(ctx context.Context, question string) (list []Use, err error) {
	rows, err := c.engine.db.QueryContext(ctx, question)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var u Use
		if err := rows.Scan(&u.By, &u.Statement, &u.Calls); err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, rows.Err()
}
