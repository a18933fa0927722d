package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

// round is one table and one statement, which is carried out in the end whatever happens.
type round struct {
	*testing.T
	*diary
	realm   realm
	seed    uint64
	draft   draft
	place   place
	guests  *guests
	config  changeling.Config
	mishaps [][]mishap
	undoes  bool // it is undone, if it can be
	random  *rand.Rand

	tries   int
	others  int // things that others made
	drawn   map[string]int
	refused bool
	undone  bool

	mu    sync.Mutex
	met   map[string]int
	route string // of the last plan
	proxy *proxy.Proxy
	stop  context.CancelFunc

	mayAbort, altered atomic.Bool
}

var (
	errStuck = errors.New("stuck")
	errAgain = errors.New("it is tried again")
)

func newRound(t *testing.T, on realm, seed uint64) *round {
	r := &round{T: t, diary: &diary{began: time.Now()}, realm: on, seed: seed, drawn: map[string]int{}, met: map[string]int{}}
	r.random = rand.New(rand.NewPCG(seed, 0))
	// Each part has a source of its own, so that what is drawn for one says nothing of the others.
	part := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	r.draft = on.draw(part(1))
	r.mishaps = drawMishaps(part(2))
	r.place = on.settle(t)
	more := part(3)
	r.config = changeling.Config{Fast: more.IntN(6) > 0, DropAfter: []time.Duration{0, changeling.DropNow}[more.IntN(2)], CutoverAttempts: 40,
		ChunkTime: time.Duration(2+more.IntN(30)) * time.Millisecond, Lease: []time.Duration{time.Second, 3 * time.Second, 30 * time.Second}[more.IntN(3)]}
	on.configure(more, &r.config)
	r.undoes = more.IntN(2) == 0 && !r.draft.rounds
	r.guests = &guests{draft: r.draft, place: r.place, seed: seed, writers: 2 + more.IntN(6), rest: time.Duration(2+more.IntN(25)) * time.Millisecond, diary: r.diary,
		doubt: map[int64]bool{}, void: map[int64]bool{}}
	r.guests.fresh.Store(int64(r.draft.rows))
	for _, try := range r.mishaps {
		for _, m := range try {
			r.drawn[m.name]++
		}
	}
	r.fill()
	return r
}

// fill makes both tables, alike.
func (r *round) fill() {
	exec := func(text string) {
		if _, err := r.place.users.ExecContext(r.Context(), text); err != nil {
			r.Fatalf("%v\nin: %.2000s", err, text)
		}
	}
	for _, table := range []string{r.place.table(), r.place.twin()} {
		exec(strings.ReplaceAll(r.draft.create(table), "{app}", r.place.app))
	}
	columns := strings.Join(r.draft.writable(), ", ")
	for n := 0; n < r.draft.rows; {
		var rows []string
		for ; len(rows) < 200 && n < r.draft.rows; n++ {
			rows = append(rows, r.draft.row(r.random, int64(n), 0))
		}
		exec("INSERT INTO " + r.place.table() + " (" + columns + ") VALUES " + strings.Join(rows, ", "))
	}
	exec("INSERT INTO " + r.place.twin() + " (" + columns + ") SELECT " + columns + " FROM " + r.place.table())
	for _, text := range r.draft.indexes {
		exec(fmt.Sprintf(text, r.place.table()))
		exec(fmt.Sprintf(text, r.place.twin()))
	}
}

// play fails the test for each mistake.
func (r *round) play(ctx context.Context) {
	r.run(ctx)
	for _, text := range r.guests.mistakes {
		r.Error(text)
	}
}

// run is the whole round. What must not be is in the guests' mistakes, and what should not even go on fails the test.
func (r *round) run(ctx context.Context) {
	users, leave := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() { defer close(gone); r.guests.run(users) }()
	done := r.carryOut(ctx)
	if done && !r.refused && r.undoes {
		rest(ctx, 200*time.Millisecond)
		r.undo(ctx)
	}
	rest(ctx, 100*time.Millisecond)
	leave()
	<-gone
	if !done || ctx.Err() != nil {
		return
	}
	if err := r.insist(ctx, func() error { return r.place.users.PingContext(ctx) }); err != nil {
		r.Error(err)
	}
	r.cleanUp(ctx)
	r.compare(ctx)
}

// carryOut tries until the change is made, with the mishaps of each try.
func (r *round) carryOut(ctx context.Context) bool {
	for ; r.tries < roundTries; r.tries++ {
		var mishaps []mishap
		if r.tries < len(r.mishaps) {
			mishaps = r.mishaps[r.tries]
		}
		if made, err := r.made(ctx); err != nil || made {
			if err != nil {
				r.Errorf("what became of the change cannot be asked: %v", err)
			}
			return made
		}
		err := r.try(ctx, mishaps)
		r.diary.note("try %d ended with code %d: %v", r.tries+1, changeling.Code(err), err)
		switch {
		case ctx.Err() != nil:
			return false
		case r.Failed():
			return false
		case err == nil:
			r.tries++
			return true
		case errors.Is(err, changeling.ErrRefused) && r.altered.Load():
			if err := r.giveUp(ctx); err != nil {
				r.Errorf("the abort after somebody altered the table: %v", err)
				return false
			}
		case errors.Is(err, changeling.ErrRefused) && r.route == "" && r.config.Route != "":
			r.config.Route = "" // it cannot go that way
			r.tries--
		case errors.Is(err, changeling.ErrRefused) && r.route == "":
			r.refused = true
			return true
		case errors.Is(err, changeling.ErrUsage) && !errors.Is(err, dying.ErrDead) && r.route == "" && r.natively(ctx) != nil:
			r.refused = true // by the server, too
			return true
		case !r.bearable(err):
			r.Errorf("try %d ended with code %d: %v", r.tries+1, changeling.Code(err), err)
			return false
		case errors.Is(err, changeling.ErrOwned):
			rest(ctx, 300*time.Millisecond)
		}
	}
	r.Errorf("the change is not made after %d tries", r.tries)
	return false
}

// natively runs the statement on the mirror.
func (r *round) natively(ctx context.Context) error {
	_, err := r.place.users.ExecContext(ctx, r.draft.statement(r.place.twin()))
	return err
}

// bearable says that an error is one after which the same command is run again.
func (r *round) bearable(err error) bool {
	if errors.Is(err, changeling.ErrPrecondition) { // it was not to be had yet
		return fault.Transient(err) || errors.Is(err, dying.ErrDead)
	}
	return errors.Is(err, changeling.ErrStopped) || errors.Is(err, changeling.ErrOwned) || errors.Is(err, changeling.ErrNoCutover) || errors.Is(err, dying.ErrDead) ||
		errors.Is(err, changeling.ErrAborted) && r.mayAbort.Load() || errors.Is(err, changeling.ErrRefused) && r.altered.Load()
}

// made says whether the change was made by a run that did not live to tell.
func (r *round) made(ctx context.Context) (made bool, err error) {
	err = r.insist(ctx, func() error {
		e, err := changeling.Open(ctx, r.place.control, changeling.Config{})
		if err != nil {
			return err
		}
		defer e.Close()
		list, err := e.List(ctx)
		made = err == nil && len(list) > 0 && list[0].Status == "done"
		return err
	})
	return made, err
}

// giveUp aborts the change that others have stopped.
func (r *round) giveUp(ctx context.Context) error {
	return r.insist(ctx, func() error {
		_, err := r.wishing(ctx, "abort", func(c *changeling.Change) error { return c.Abort(ctx) })
		return err
	})
}

// try runs the change once.
func (r *round) try(ctx context.Context, mishaps []mishap) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dsn, death, cut := r.place.dsn, dying.Death{}, proxy.Cut{}
	for _, m := range mishaps {
		r.diary.note("try %d meets: %s", r.tries+1, m)
		switch m.name {
		case mishapDies:
			death = dying.Death{At: m.n, Moment: dying.Moment(m.side)}
		case mishapCut:
			cut = proxy.Cut{At: m.n, Moment: proxy.Moment(m.side)}
		case mishapLimits:
			r.limit(ctx, m)
		}
	}
	var p *proxy.Proxy
	if death.At == 0 && len(mishaps) > 0 {
		dsn, p = through(r.T, dsn, cut)
	}
	r.mu.Lock()
	r.proxy, r.stop = p, stop
	r.mu.Unlock()
	var acts sync.WaitGroup
	db, mortal := r.realm.dying(r.T, dsn, death)
	db.SetMaxOpenConns(20)
	c := r.config
	if c.Binlog != "" {
		c.Binlog = dsn // by the proxy, too
	}
	c.Events = func(e event.Event) { r.tell("event", e) }
	for _, m := range mishaps {
		for _, d := range deeds() {
			if d.name == m.name {
				c.Events = upon(c.Events, began(m.step), func() { acts.Go(func() { r.perform(ctx, d, m) }) })
			}
		}
	}
	err := changeling.Apply(ctx, db, r.draft.statement(r.place.table()), c)
	acts.Wait()
	_ = db.Close() // what it had was cut, perhaps
	if p != nil {
		_, done := p.Done()
		r.meet(mishapCut, done)
		_ = p.Close()
	}
	if _, died := mortal.Died(); died {
		r.meet(mishapDies, true)
		if err == nil {
			return nil
		}
		return errors.Join(dying.ErrDead, err)
	}
	return err
}

// perform brings a mishap about. What it meets of other mishaps is no failure.
func (r *round) perform(ctx context.Context, d deed, m mishap) {
	steady, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundBound/2) // a run that ends leaves nothing half done
	defer cancel()
	rest(ctx, m.delay)
	r.diary.note("now: %s", m)
	met, err := d.do(steady, r, m)
	r.diary.note("over: %s (met %v, %v)", m.name, met, err)
	r.meet(m.name, met)
	if err != nil && !fault.Lost(err) && !fault.Transient(err) && !errors.Is(err, changeling.ErrStopped) && !errors.Is(err, sql.ErrTxDone) {
		r.Errorf("%s: %v", m, err)
	}
}

func (r *round) meet(name string, met bool) {
	if met {
		r.mu.Lock()
		r.met[name]++
		r.mu.Unlock()
	}
}

// limit gives the engine's role limits, which its next sessions have.
func (r *round) limit(ctx context.Context, m mishap) {
	for _, text := range r.realm.limits(rand.New(rand.NewPCG(r.seed, uint64(m.n)))) {
		_, err := r.place.users.ExecContext(ctx, fmt.Sprintf(text, r.place.role))
		r.meet(mishapLimits, err == nil)
		r.diary.note("%s: %v", text, err)
	}
}

// tell keeps what the engine says.
func (r *round) tell(who string, e event.Event) {
	switch e := e.(type) {
	case event.Signals, event.Progress, event.StepEnded:
		return
	case event.Planned:
		r.mu.Lock()
		r.route = e.Route
		r.mu.Unlock()
	case event.Differed:
		r.guests.mistake("the comparison found rows that differ: %v", e.Keys)
	}
	r.diary.note("%s %T %+v", who, e, e)
}

// second says that the change makes a second table or column, and so can be taken back.
func (r *round) second() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.route == string(plan.ShadowTable) || r.route == string(plan.ShadowColumn)
}

// insist does something until no mishap stands in its way.
func (r *round) insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || !fault.Lost(err) && !fault.Transient(err) && !errors.Is(err, errAgain) && !errors.Is(err, changeling.ErrStopped) && !errors.Is(err, changeling.ErrOwned) {
			return err
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// undo takes the change back, if it can be.
func (r *round) undo(ctx context.Context) {
	c := changeling.Config{Fast: true, Lease: r.config.Lease, Events: func(e event.Event) { r.tell("undo", e) }}
	if r.config.Binlog != "" {
		c.Binlog = r.place.dsn
	}
	err := r.insist(ctx, func() error {
		e, err := changeling.Open(ctx, r.place.control, c)
		if err != nil {
			return err
		}
		defer e.Close()
		list, err := e.List(ctx)
		if err != nil || len(list) == 0 || list[0].Undo != "open" && list[0].Undo != "under way" {
			return err
		}
		c, err := e.Find(ctx, list[0].ID)
		if err != nil {
			return err
		}
		if err = c.Undo(ctx, changeling.NoLoss); err == nil {
			r.undone = true
		}
		return err
	})
	r.diary.note("undo: %v", err)
	if err != nil && !errors.Is(err, changeling.ErrRefused) {
		r.Errorf("the undo: %v", err)
	}
}

// compare alters the mirror natively, and compares all there is of both tables.
func (r *round) compare(ctx context.Context) {
	if !r.refused && !r.undone {
		if err := r.natively(ctx); err != nil {
			r.Errorf("natively the statement fails: %v", err)
			return
		}
	}
	if err := r.guests.settled(ctx); err != nil {
		r.Error(err)
	}
	portrait := func(schema string) (out []string) {
		for _, query := range r.realm.definition(schema) {
			lines, err := r.list(ctx, query)
			if err != nil {
				r.Error(err)
			}
			out = append(out, lines...)
		}
		return out
	}
	sameAs(r.T, portrait(r.place.app), portrait(r.place.mirror), "in the end")
	columns, err := r.list(ctx, r.realm.columns(r.place.mirror))
	if err != nil {
		r.Error(err)
		return
	}
	lines, err := r.list(ctx, r.realm.differing(r.place, columns))
	if err != nil {
		r.Error(err)
	}
	for _, line := range lines {
		r.guests.mistake("a row %s", line)
	}
}

// cleanUp drops old tables, and looks whether anything is left.
func (r *round) cleanUp(ctx context.Context) {
	e, err := changeling.Open(ctx, r.place.control, changeling.Config{Events: func(e event.Event) { r.tell("cleanup", e) }})
	if err != nil {
		r.Error(err)
		return
	}
	defer e.Close()
	list, err := e.List(ctx)
	if err != nil {
		r.Error(err)
	}
	for _, s := range list {
		if s.Status != "done" && s.Status != "aborted" && s.Status != "undone" {
			r.Errorf("change %s is %s in the end", s.ID, s.Status)
		}
		if err := r.insist(ctx, func() error {
			c, err := e.Find(ctx, s.ID)
			if err == nil {
				_, err = c.Cleanup(ctx, changeling.Now)
			}
			return err
		}); err != nil {
			r.Errorf("the cleanup: %v", err)
		}
	}
	runs := fmt.Sprintf(strings.Replace(r.realm.runs(), "WHERE", "WHERE "+r.realm.stays(), 1), r.place.role)
	for _, query := range []string{r.realm.leftovers(r.place), runs} {
		var left []string
		// A session whose client is gone takes a moment to end.
		for range 100 {
			if left, err = r.list(ctx, query); err != nil || len(left) == 0 {
				break
			}
			rest(ctx, 50*time.Millisecond)
		}
		if r.refused && fault.Undefined(err) { // nothing was ever saved
			continue
		}
		if err != nil || len(left) > 0 {
			r.Errorf("left behind: %q (%v)", left, err)
		}
	}
}

// sessions shows who is connected, for a round that is stuck.
func (r *round) sessions() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
	defer cancel()
	lines, err := r.list(ctx, r.realm.activity())
	if err != nil {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n") + "\n" + r.realm.log()
}

func stacks() string {
	buffer := make([]byte, 1<<20)
	return string(buffer[:runtime.Stack(buffer, true)])
}
