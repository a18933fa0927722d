package changeling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/schema"
)

// This file is for families of MySQL, whose tables are swapped by one RENAME under one LOCK TABLES: see internal/mysql/family.go.

// kinRenamer is the runs of all tables of a family seen by a cutover. Its own is that of the family's table.
type kinRenamer struct {
	*renamer
	all []*renamer // its own first
}

func newKinRenamer(own *renamer) *kinRenamer {
	s := &kinRenamer{renamer: own}
	for _, m := range append([]*run{own.run}, own.kin...) {
		one := own
		if m != own.run {
			one = &renamer{run: m, step: m.record.Plan.Steps[m.record.Step]}
		}
		one.texts = mysql.Rows{Pair: m.pair, As: fmt.Sprintf("changeling_s%d", len(s.all))}
		s.all = append(s.all, one)
	}
	return s
}

func (s *kinRenamer) pairs() (out []schema.Pair) {
	for _, one := range s.all {
		out = append(out, one.pair)
	}
	return out
}

// told is an error of one of the tables.
func (s *kinRenamer) told(ctx context.Context, one *renamer, err error) error {
	if err == nil || one == s.renamer {
		return err
	}
	return s.ofKin(ctx, one.run, one.step, err)
}

// Ready goes round twice: while one table is made ready, users write to the others.
func (s *kinRenamer) Ready(ctx context.Context) error {
	for _, one := range append(s.all, s.all...) {
		if err := one.Ready(ctx); err != nil {
			return s.told(ctx, one, err)
		}
	}
	return nil
}

func (s *kinRenamer) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	s.merge()
	return s.inTheWay(ctx, mysql.SwappingAll(s.pairs()))
}

// merge notes as the last write to the own shadow the last one to any of them, so that one question for open snapshots is for all.
func (s *kinRenamer) merge() {
	var quiet time.Duration = -1
	for _, one := range s.all {
		last := one.wrote.Load()
		if last == 0 {
			s.wrote.Store(0)
			return
		}
		if since := one.since(last); quiet < 0 || since < quiet {
			quiet = since
		}
	}
	s.wrote.Store(max(s.clock()-int64(quiet), 1))
}

// Begin asks and makes ready whatever it can without the lock. The transaction holds the claims of all.
func (s *kinRenamer) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait})
	if err != nil {
		return nil, err
	}
	s.tries++
	a := &kinRenaming{renaming: &renaming{renamer: s.renamer, t: t}, server: s}
	a.all = []*renaming{a.renaming}
	if err := a.prepareAll(ctx); err != nil {
		return nil, errors.Join(err, a.Rollback())
	}
	return a, nil
}

// kinRenaming is one attempt. All tables are locked, drained and renamed over one connection.
type kinRenaming struct {
	*renaming
	server *kinRenamer
	all    []*renaming
}

func (a *kinRenaming) prepareAll(ctx context.Context) error {
	if err := a.prepare(ctx); err != nil {
		return err
	}
	for _, one := range a.server.all[1:] {
		m := &renaming{renamer: one, t: a.t, conn: a.conn}
		a.all = append(a.all, m)
		err := one.lease.Fence(ctx, a.t)
		for _, text := range one.texts.Warm() {
			if err == nil {
				_, err = a.conn.ExecContext(ctx, text)
			}
		}
		if err == nil {
			err = m.look(ctx)
		}
		if err != nil {
			return a.server.told(ctx, one, err)
		}
	}
	for _, text := range mysql.InstallSwapOfAll(a.server.pairs()) {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return a.settled(ctx)
}

func (a *kinRenaming) Lock(ctx context.Context) error {
	var all []mysql.Rows
	for _, one := range a.all {
		one.follow()
		one.rows = one.texts
		all = append(all, one.texts)
	}
	// A run that stands still under the lock holds everybody up: the server ends it soon.
	if _, err := a.conn.ExecContext(ctx, "SET SESSION wait_timeout = 3"); err != nil {
		return err
	}
	return a.bounded(ctx, a.conn, a.step.LockWait, mysql.LockAll(all))
}

func (a *kinRenaming) Check(ctx context.Context) error {
	for _, one := range a.all {
		if err := one.Check(ctx); err != nil {
			return a.late(ctx, one, err)
		}
	}
	return nil
}

// late is an error under the lock. What makes a table's copy begin anew is met once more when it is made ready, without the lock.
func (a *kinRenaming) late(ctx context.Context, one *renaming, err error) error {
	if errors.Is(err, copier.ErrReset) {
		return cutover.ErrBusy
	}
	return a.server.told(ctx, one.renamer, err)
}

func (a *kinRenaming) Drain(ctx context.Context) (keys int64, err error) {
	for _, one := range a.all {
		if _, err := a.conn.ExecContext(ctx, mysql.SetZone(one.pair.Settings["time_zone"])); err != nil {
			return keys, err
		}
		keys += one.pending
		if err := one.last(ctx); err != nil {
			return keys, a.late(ctx, one, err)
		}
	}
	a.server.merge()
	return keys, a.current(ctx, a.tries)
}

// Swap renames all tables at once. Nothing else can have happened if the connection breaks: the catalogue tells which.
func (a *kinRenaming) Swap(ctx context.Context) error {
	for _, one := range a.all {
		if err := one.count(ctx); err != nil {
			return err
		}
	}
	return a.swap(ctx, a.all, mysql.CallSwap(a.pair))
}

func (a *kinRenaming) Commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer discard(a.conn)
	for _, one := range a.all {
		if one.following {
			one.follower.over = true
			defer one.follower.mu.Unlock()
		}
	}
	if err := a.cutAll(ctx, a.t); err != nil {
		return unsaved(err, ended(a.t.Tx))
	}
	return unsaved(a.t.Commit())
}

// Rollback lets the locks go.
func (a *kinRenaming) Rollback() error {
	for _, one := range a.all[1:] {
		if one.following {
			defer one.follower.mu.Unlock()
		}
	}
	return a.renaming.Rollback()
}

// settleKin does at once, for all tables of a family, what a swap that nobody saw end did not come to: their releases come one after the other. It may run
// twice.
func (r *run) settleKin(ctx context.Context, t *tx) error {
	if len(r.kin) == 0 {
		return nil
	}
	for _, m := range append([]*run{r}, r.kin...) {
		if err := m.settle(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// cutAll notes that the tables are swapped, and moves the counter, also of those that are swapped together with the run's own.
func (r *run) cutAll(ctx context.Context, t *tx) error {
	for _, m := range append([]*run{r}, r.kin...) {
		if err := m.engine.store.Exec(ctx, t, m.engine.store.Text.Cut, m.id); err != nil {
			return err
		}
		if err := m.advance(ctx, t, 1); err != nil {
			return err
		}
	}
	return nil
}
