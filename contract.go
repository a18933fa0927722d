package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A column under two names on MySQL and MariaDB: what goes another way there than on PostgreSQL.

func (d mysqld) Expansion(x Expansion) (s plan.Statement, said string, err error) {
	if d.trial {
		return s, "", usage("a test on a replica is for one statement: what users write under two names cannot be tried there")
	}
	if s, err = mysql.Expansion(x).Parse(); err == nil {
		said = mysql.Expansion(x).Said(s)
	}
	return s, said, err
}

func (d mysqld) Expand(ctx context.Context, db *sql.DB, x Expansion, id string, wait time.Duration) (*plan.Plan, error) {
	if _, err := mysql.Fit(ctx, db); err != nil {
		return nil, err
	}
	return mysql.Plan(ctx, db, x.Statement, mysql.Options{ID: id, LockWait: wait, Live: true, As: x.As, Up: x.Up, Down: x.Down})
}

func (mysqld) Leaning(ctx context.Context, q state.DB, p schema.Pair) ([]string, error) {
	return mysql.Leaning(ctx, q, p)
}

// fillRange fills the second column of a range, and of the rows in it that somebody has locked as soon as he lets them go.
func (r *run) fillRange(ctx context.Context, c copier.Chunk, note bool) (rows int64, err error) {
	began, texts := time.Now(), r.rows.(mysql.LiveRows)
	for attempt := 0; ; attempt++ {
		var apart, unlike int64
		err := r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Async: true}, func(ctx context.Context, t *tx) error {
				done, err := t.ExecContext(ctx, texts.Copy(c.Range))
				if err != nil {
					return err
				}
				filled, err := done.RowsAffected()
				if err != nil {
					return err
				}
				if err := t.QueryRowContext(ctx, texts.Unfilled(c.Range)).Scan(&rows, &apart); err != nil || apart == 0 && !note {
					return err
				}
				if apart > 0 {
					return t.QueryRowContext(ctx, texts.Unlike(c.Range)).Scan(&unlike)
				}
				r.spend(filled)
				return r.note(ctx, t, "copy", c, rows, time.Since(began))
			})
		})
		r.wrote.Store(r.clock())
		if noted(err) {
			return 0, nil
		}
		if err != nil || apart == 0 {
			return rows, err
		}
		if unlike > 0 {
			return 0, &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("%d rows of %s, or more, do not have in their second column what a comparison of the two comes to: nothing was swapped. `changeling abort %s` takes the column away; "+
				"a second table may do it (--route table)", unlike, r.table(), r.id)}
		}
		wait := min(10*time.Millisecond<<min(attempt, 10), 2*time.Second)
		if attempt > 3 {
			r.engine.config.Events(event.Retried{Step: r.kind(), What: "rows that others have locked", Attempt: attempt, Err: errLocked, Wait: wait})
		}
		if err := sleep(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// contractor is a run of a second column, seen by the cutover that ends it. What counts is one statement; the lock is for what is asked
// right before it, and for what is dropped right before or behind it.
type contractor struct{ renamer }

// Ready fails where a row has a value that does not convert.
func (s *contractor) Ready(ctx context.Context) error {
	_, err := s.settleColumns(ctx)
	return errors.Join(err, ctx.Err())
}

// Blockers are also, on MySQL, all snapshots that are open: a column that came or went at once is error 1412 for them, as with any ALTER. On
// MariaDB it is not, and those that are older than the last row that was filled would read the second column as it was before.
func (s *contractor) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	list, err := s.blockers(ctx, mysql.Blockers(s.pair.Source))
	if err != nil && !fault.Denied(err) && !fault.Undefined(err) { // see renamer
		return nil, err
	}
	if s.texts.Maria && mysql.Mirrors(s.pair) {
		return list, nil
	}
	if s.texts.Maria {
		old, err := s.holding(ctx, "which began before the last rows were filled")
		return append(list, old...), err
	}
	s.wrote.Store(0) // so that each of them counts
	old, err := s.holding(ctx, "which would meet another definition of the table (error 1412)")
	return append(list, old...), err
}

func (s *contractor) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait})
	if err != nil {
		return nil, err
	}
	s.tries++
	a := &contracting{renaming{renamer: &s.renamer, t: t}}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, a.Rollback())
	}
	return a, nil
}

// contracting is one attempt.
type contracting struct{ renaming }

func (a *contracting) prepare(ctx context.Context) (err error) {
	if a.conn, _, err = a.sole(ctx); err != nil { // it ends with the attempt
		return err
	}
	if _, err := mysql.Fit(ctx, a.conn); err != nil {
		return err
	}
	if _, err := a.conn.ExecContext(ctx, a.engine.dialect.Session(session{Application: a.lease.Application(), LockWait: time.Second, Settings: a.pair.Settings})); err != nil {
		return err
	}
	if err := a.lease.Fence(ctx, a.t); err != nil { // see each
		return err
	}
	if err := a.leaningIn(ctx, a.t); err != nil {
		return err
	}
	return a.settled(ctx)
}

func (a *contracting) Lock(ctx context.Context) error {
	if _, err := a.conn.ExecContext(ctx, "SET SESSION wait_timeout = 3"); err != nil { // see renaming
		return err
	}
	return a.bounded(ctx, a.conn, a.step.LockWait, mysql.LockLive(a.pair))
}

func (a *contracting) Check(ctx context.Context) error {
	var armed bool
	if err := a.conn.QueryRowContext(ctx, a.columns().Verdict()).Scan(&armed); err != nil {
		return err
	}
	if !armed {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the triggers that keep both columns of %s in step, or the second column, were dropped by somebody: what was written since may be in one column alone. "+
			"Nothing was taken away; `changeling abort %s` takes away what is left, and the old column keeps what it has", a.table(), a.id)}
	}
	now, err := mysql.Leaning(ctx, a.conn, a.pair)
	if err == nil && !slices.Equal(now, a.pair.Leaning) {
		err = cutover.ErrBusy // the next attempt says what it is
	}
	if err != nil {
		return err
	}
	if err := a.conn.QueryRowContext(ctx, a.rows.Pending()).Scan(&a.pending); err != nil || a.pending == 0 {
		return err
	}
	return &later{"a row was written at the last moment that cannot be converted"}
}

// Drain has nothing to bring over. It gives way to snapshots that began since somebody looked, see Blockers.
func (a *contracting) Drain(ctx context.Context) (int64, error) {
	if mysql.Mirrors(a.pair) {
		return 0, nil
	}
	return 0, a.current(ctx, a.tries)
}

// Swap drops what indexes a live pair's second column still has, and then says the one statement. Nothing else can have happened if the
// connection breaks: the catalogue tells which. What has been the first column of another pair goes behind it, here or in the next step.
func (a *contracting) Swap(ctx context.Context) error {
	var texts []string
	if mysql.Mirrors(a.pair) {
		names, err := state.Column(ctx, a.conn, mysql.LiveIndexes(a.pair))
		if err != nil {
			return err
		}
		for _, name := range names {
			texts = append(texts, mysql.DropLiveIndex(a.pair, name))
		}
	}
	for _, text := range append(texts, a.step.SQL...) {
		if err := a.bounded(ctx, a.conn, a.step.LockWait, text); err != nil {
			if err = a.amend(ctx, nil, err); err != nil {
				return err
			}
			break
		}
	}
	if !mysql.Mirrors(a.pair) {
		_ = a.bounded(ctx, a.conn, a.step.LockWait, mysql.DropAside(a.pair))
	}
	if _, err := a.conn.ExecContext(ctx, "UNLOCK TABLES"); err == nil { // see renaming.swap
		a.over = time.Now()
	}
	return nil
}

// usesCounted finds out which statements name the old column, as far as the server counts them.
func (c *Change) usesCounted(ctx context.Context, s *Status) error {
	var on bool
	if err := c.engine.db.QueryRowContext(ctx, mysql.StatementsCounted).Scan(&on); err != nil && (fault.Lost(err) || ctx.Err() != nil) {
		return err
	} else if err != nil || !on {
		s.UsesUnseen = "the server cannot tell which statements name it, because performance_schema is off, does not count statements, or has no room for more of them (TRUNCATE performance_schema.events_statements_summary_by_digest)"
		return nil
	}
	list, err := c.using(ctx, mysql.StatementsSaying(c.record.Plan.Pair))
	if err != nil && (fault.Lost(err) || ctx.Err() != nil) {
		return err
	}
	if err != nil {
		s.UsesUnseen = "the server does not tell which statements name it: " + fault.Message(err)
	}
	s.Uses = list
	return nil
}
