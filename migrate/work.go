package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
)

// Work does the changes that migrations of all trees have left to run beside, see Config.Detach, and those that come, until ctx
// ends. A migration counts as applied when its last one is done. It needs no files. Several workers may run: a change has one at a
// time. One that fails is told, and is left to a person from then on.
func Work(ctx context.Context, db *sql.DB, c Config) error {
	w := &worker{db: db, config: c, failed: map[string]bool{}}
	if w.config.Events == nil {
		w.config.Events = event.Discard
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !fault.Transient(err) && !fault.Lost(err) { // else the next look is soon
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// worker is one call of Work.
type worker struct {
	db     *sql.DB
	config Config
	failed map[string]bool // changes that nobody but a person can go on with
}

// once does what is there now.
func (w *worker) once(ctx context.Context) error {
	scope, all, err := w.open(ctx)
	if err != nil {
		return err
	}
	for _, left := range all {
		if w.failed[left.Change] || ctx.Err() != nil {
			continue
		}
		err := w.run(ctx, left.Change)
		if err == nil {
			err = w.settle(ctx, strings.TrimPrefix(left.Tree, scope))
		}
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, fault.Owned), fault.Transient(err), fault.Lost(err), fault.KindOf(err) == fault.Stopped, fault.KindOf(err) == fault.NoCutover:
			// It is tried again, here or elsewhere.
		default:
			w.failed[left.Change] = true
			w.config.Events(event.Notice{Text: fmt.Sprintf("change %s: %v", left.Change, err)})
		}
	}
	return nil
}

// open are the changes of this database, and what the names of its trees begin with.
func (w *worker) open(ctx context.Context) (scope string, all []journal.Left, err error) {
	sv, db, err := detect(ctx, w.db)
	if err != nil {
		return "", nil, err
	}
	if db != w.db {
		defer db.Close() // nothing is in flight any more
	}
	if err := db.QueryRowContext(ctx, sv.text.Scope).Scan(&scope); err != nil {
		return "", nil, err
	}
	if sv.mysql {
		scope += "/"
	}
	store := &journal.Store{DB: db, Text: sv.text}
	there, err := store.Exists(ctx)
	if err != nil || !there {
		return scope, nil, err
	}
	all, err = store.Open(ctx, scope)
	return scope, all, err
}

// run does one change, unless somebody does it or has ended it.
func (w *worker) run(ctx context.Context, id string) error {
	c := w.config.Engine
	if c.Events == nil {
		c.Events = w.config.Events
	}
	e, err := changeling.Open(ctx, w.db, c)
	if err != nil {
		return err
	}
	defer e.Close()
	change, err := e.Find(ctx, id)
	if err != nil {
		return err
	}
	switch s, err := change.Status(ctx); {
	case err != nil || s.Status == "done":
		return err
	case s.Status == "aborted" || s.Status == "failed":
		return &fault.Problem{Kind: fault.Aborted, Text: fmt.Sprintf("it is %s: `changeling migrate up` or `changeling resume %s` goes on when its cause is mended", s.Status, id)}
	}
	return change.Run(ctx)
}

// settle notes in a tree what is done.
func (w *worker) settle(ctx context.Context, tree string) error {
	c := w.config
	c.Name, c.Format = tree, Plain
	m, err := New(w.db, fstest.MapFS{}, c)
	if err != nil {
		return err
	}
	return m.work(ctx, func(ctx context.Context, r *run) error { return r.settle(ctx) })
}
