package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
	"github.com/changeling-db/changeling/internal/fault"
)

// mishap is something that happens to one try of a change. All of it follows from the round's seed.
type mishap struct {
	name  string
	n     int           // a statement or request, counted from 1
	side  int           // of it
	step  string        // at whose begin it happens, for those that others do
	delay time.Duration // after that
	last  time.Duration // for how long
}

func (m mishap) String() string {
	switch m.name {
	case mishapDies:
		return fmt.Sprintf("%s %s statement %d", m.name, dying.Moment(m.side), m.n)
	case mishapCut:
		return fmt.Sprintf("%s %s request %d", m.name, proxy.Moment(m.side), m.n)
	case mishapLimits:
		return m.name
	}
	return fmt.Sprintf("%s %s after %s began, for %s", m.name, m.delay, m.step, m.last)
}

// What happens to the engine's connections, of which a try meets one kind, and how the role is limited.
const (
	mishapDies   = "dies"
	mishapCut    = "cut"
	mishapLimits = "limits"
)

// deed is a mishap that somebody brings about while a change runs.
type deed struct {
	name   string
	weight int
	do     func(ctx context.Context, r *round, m mishap) (met bool, err error)
}

func deeds() []deed {
	return []deed{
		{"server killed", 3, killServer},
		{"session ended", 3, endSession},
		{"sessions ended", 2, endSessions},
		{"network cut", 2, cutNetwork},
		{"stopped", 3, stopRun},
		{"second run", 3, secondRun},
		{"paused", 2, pauseForAWhile},
		{"held", 2, holdForAWhile},
		{"aborted", 2, abortRun},
		{"altered by others", 2, alterBesides},
		{"indexed by others", 1, indexBesides},
		{"rewritten", 2, rewriteTable},
		{"truncated", 2, truncateBoth},
		{"long transaction", 3, longTransaction},
		{"table locked", 2, lockTables},
	}
}

// chaosSteps are the steps at which deeds begin. Those that a route does not have are not met.
var chaosSteps = []string{"exec", "capture", "copy", "copy", "copy", "heal", "fill", "build", "drain", "verify", "verify", "cutover", "cutover", "drop"}

// drawMishaps draws what happens to each try; the tries that follow meet nothing. Each try but the last is one that ends before it has made
// the change, as far as that can be drawn.
func drawMishaps(random *rand.Rand) (out [][]mishap) {
	var weighed []string
	for _, d := range deeds() {
		for range d.weight {
			weighed = append(weighed, d.name)
		}
	}
	drawn := func(name string) mishap {
		m := mishap{name: name, n: 1 + random.IntN(35<<random.IntN(3)), step: chaosSteps[random.IntN(len(chaosSteps))],
			delay: time.Duration(random.IntN(60)) * time.Millisecond, last: time.Duration(200+random.IntN(2500)) * time.Millisecond}
		switch name {
		case mishapDies:
			m.side = random.IntN(2)
		case mishapCut:
			m.side = random.IntN(3)
		}
		return m
	}
	tries := random.IntN(4)
	for try := range tries {
		var list []mishap
		connection := ""
		switch random.IntN(4) {
		case 0:
			connection = mishapDies
		case 1:
			connection = mishapCut
		}
		if try < tries-1 && connection == "" {
			connection = []string{mishapDies, "stopped"}[random.IntN(2)]
		}
		if connection != "" {
			list = append(list, drawn(connection))
		}
		if random.IntN(8) == 0 {
			list = append(list, drawn(mishapLimits))
		}
		for range random.IntN(3) {
			list = append(list, drawn(weighed[random.IntN(len(weighed))]))
		}
		out = append(out, list)
	}
	return out
}

func killServer(ctx context.Context, r *round, _ mishap) (bool, error) {
	r.guests.mayLose.Store(true)
	if err := r.realm.Kill(); err != nil {
		return true, err
	}
	return true, r.realm.Restart(ctx)
}

func endSession(ctx context.Context, r *round, m mishap) (bool, error) {
	ids, err := r.list(ctx, fmt.Sprintf(r.realm.runs(), r.place.role))
	if err != nil || len(ids) == 0 {
		return false, err
	}
	return r.ends(ctx, ids[m.n%len(ids)])
}

func endSessions(ctx context.Context, r *round, _ mishap) (met bool, err error) {
	ids, err := r.list(ctx, fmt.Sprintf(r.realm.runs(), r.place.role))
	for _, id := range ids {
		ended, endErr := r.ends(ctx, id)
		met, err = met || ended, errors.Join(err, endErr)
	}
	return met, err
}

// ends ends a session, which may have ended by itself.
func (r *round) ends(ctx context.Context, id string) (bool, error) {
	_, err := r.place.users.ExecContext(ctx, r.realm.end(id))
	if err != nil && !fault.Lost(err) && strings.Contains(err.Error(), "Unknown thread") {
		return false, nil
	}
	return err == nil, err
}

func cutNetwork(_ context.Context, r *round, _ mishap) (bool, error) {
	if r.proxy == nil {
		return false, nil
	}
	r.proxy.Sever()
	return true, nil
}

func stopRun(_ context.Context, r *round, _ mishap) (bool, error) {
	r.stop()
	return true, nil
}

// secondRun starts another run beside the first. One of them has the change; the other says so, or takes it over from one that is gone.
func secondRun(ctx context.Context, r *round, _ mishap) (bool, error) {
	db := r.realm.open(r.T, r.place.dsn)
	defer db.Close()
	db.SetMaxOpenConns(20)
	c := r.config
	if c.Binlog != "" {
		c.Binlog = r.place.dsn
	}
	c.Owner, c.Events = "the second", func(e event.Event) { r.tell("second", e) }
	err := changeling.Apply(ctx, db, r.draft.statement(r.place.table()), c)
	r.diary.note("the second run ended: %v", err)
	if err != nil && !r.bearable(err) {
		return true, fmt.Errorf("the second run: %w", err)
	}
	return true, nil
}

// change is the change under way, or nil.
func (r *round) change(ctx context.Context) (*changeling.Engine, *changeling.Change, error) {
	e, err := changeling.Open(ctx, r.place.control, changeling.Config{Lease: r.config.Lease})
	if err != nil {
		return nil, nil, err
	}
	list, err := e.List(ctx)
	if err != nil || len(list) == 0 || list[0].Status == "done" || list[0].Status == "aborted" || list[0].Status == "undone" {
		e.Close()
		return nil, nil, err
	}
	c, err := e.Find(ctx, list[0].ID)
	if err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, c, nil
}

// wishing says something to the change under way, which may be over by now.
func (r *round) wishing(ctx context.Context, what string, say func(c *changeling.Change) error) (bool, error) {
	e, c, err := r.change(ctx)
	if err != nil || c == nil {
		return false, err
	}
	defer e.Close()
	err = say(c)
	r.diary.note("%s %s: %v", what, c.ID(), err)
	if errors.Is(err, changeling.ErrUsage) {
		return false, nil
	}
	return err == nil, err
}

func pauseForAWhile(ctx context.Context, r *round, m mishap) (bool, error) {
	met, err := r.wishing(ctx, "pause", func(c *changeling.Change) error { return c.Pause(ctx) })
	if !met {
		return met, err
	}
	rest(ctx, m.last)
	return true, r.insist(ctx, func() error {
		_, err := r.wishing(ctx, "resume", func(c *changeling.Change) error { return c.Resume(ctx) })
		return err
	})
}

func holdForAWhile(ctx context.Context, r *round, m mishap) (bool, error) {
	met, err := r.wishing(ctx, "hold", func(c *changeling.Change) error { return c.Hold(ctx) })
	if !met {
		return met, err
	}
	rest(ctx, m.last)
	return true, r.insist(ctx, func() error {
		_, err := r.wishing(ctx, "cutover", func(c *changeling.Change) error { return c.Cutover(ctx) })
		return err
	})
}

// abortRun leaves steps alone that cannot be taken back: the statement could not run again.
func abortRun(ctx context.Context, r *round, _ mishap) (bool, error) {
	if !r.second() {
		return false, nil
	}
	r.mayAbort.Store(true)
	return r.wishing(ctx, "abort", func(c *changeling.Change) error {
		err := c.Abort(ctx)
		if errors.Is(err, changeling.ErrOwned) { // the run that has it does not hear of it in time
			err = nil
		}
		return err
	})
}

// alterBesides adds a column, which users do not write.
func alterBesides(ctx context.Context, r *round, m mishap) (bool, error) {
	if !r.second() {
		return false, nil
	}
	r.others++
	return r.besides(ctx, fmt.Sprintf("theirs_%d", r.others), "ALTER TABLE %s ADD COLUMN {x} int DEFAULT 4")
}

func indexBesides(ctx context.Context, r *round, m mishap) (bool, error) {
	if !r.second() {
		return false, nil
	}
	r.others++
	return r.besides(ctx, fmt.Sprintf("theirs_%d", r.others), "CREATE INDEX {x} ON %s (tick)")
}

// besides runs a statement on both tables, until it has happened to both.
func (r *round) besides(ctx context.Context, name, text string) (bool, error) {
	r.altered.Store(true)
	for _, schema := range []string{r.place.app, r.place.mirror} {
		if err := r.insist(ctx, func() error {
			for _, query := range r.realm.definition(schema) {
				lines, err := r.list(ctx, query)
				if err != nil {
					return err
				}
				if strings.Contains(strings.Join(lines, " "), name) {
					return nil
				}
			}
			_, err := r.place.users.ExecContext(ctx, strings.ReplaceAll(fmt.Sprintf(text, schema+".t"), "{x}", name))
			if code := fault.Code(err); code == "40P01" || code == "40001" { // somebody has to give way
				rest(ctx, 50*time.Millisecond)
				return fmt.Errorf("%w: %w", errAgain, err)
			}
			return err
		}); err != nil {
			return false, err
		}
	}
	return true, nil
}

func rewriteTable(ctx context.Context, r *round, _ mishap) (bool, error) {
	_, err := r.place.users.ExecContext(ctx, fmt.Sprintf(r.realm.rewrite(), r.place.table()))
	return err == nil, err
}

// truncateBoth empties both tables, and puts a few rows in.
func truncateBoth(ctx context.Context, r *round, _ mishap) (bool, error) {
	u := &guest{guests: r.guests, no: int64(r.guests.writers - 1), random: rand.New(rand.NewPCG(r.seed, 99))}
	defer u.hangUp()
	if r.realm.transactional() {
		return u.truncate(ctx)
	}
	u.barrier.Lock()
	defer u.barrier.Unlock()
	for _, table := range []string{r.place.table(), r.place.twin()} {
		if err := r.insist(ctx, func() error {
			_, err := r.place.users.ExecContext(ctx, "TRUNCATE TABLE "+table)
			return err
		}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// truncate is a transaction that gives way to others.
func (u *guest) truncate(ctx context.Context) (met bool, err error) {
	if u.conn, err = u.place.users.Conn(ctx); err != nil {
		return false, err
	}
	u.tx, u.isolation = u.numbers.Add(1), u.draft.isolations()[0]
	err = u.begin(ctx, false)
	for _, text := range []string{"SET LOCAL lock_timeout = '2s'", "TRUNCATE " + u.place.table(), "TRUNCATE " + u.place.twin()} {
		if err == nil {
			_, err = u.conn.ExecContext(ctx, text)
		}
	}
	for range 20 {
		if err == nil {
			err = u.insert(ctx, u.new())
		}
	}
	var endErr error
	if err == nil {
		_, endErr = u.conn.ExecContext(ctx, "COMMIT")
	} else if !fault.Lost(err) {
		_, endErr = u.conn.ExecContext(ctx, "ROLLBACK")
	}
	met = err == nil && endErr == nil
	if fault.LockTimeout(err) {
		err = nil
		u.withdraw = true
	}
	u.book("truncate", err, endErr, 0)
	return met, nil
}

// longTransaction reads and writes the table, and stays open.
func longTransaction(ctx context.Context, r *round, m mishap) (bool, error) {
	u := &guest{guests: r.guests, no: 0, random: rand.New(rand.NewPCG(r.seed, 98))}
	defer u.hangUp()
	u.barrier.RLock()
	defer u.barrier.RUnlock()
	var err error
	if u.conn, err = r.place.users.Conn(ctx); err != nil {
		return false, err
	}
	levels := r.draft.isolations()
	u.tx, u.isolation = u.numbers.Add(1), levels[m.n%len(levels)]
	began := time.Now()
	err = u.begin(ctx, false)
	if err == nil && m.n%2 == 0 {
		err = u.update(ctx, u.everybodys())
	}
	if err == nil {
		err = look(ctx, u)
	}
	rest(ctx, m.last)
	if err == nil {
		err = look(ctx, u)
	}
	if err == nil {
		err = u.update(ctx, u.everybodys())
	}
	var endErr error
	if err == nil {
		_, endErr = u.conn.ExecContext(ctx, "COMMIT")
	} else if !fault.Lost(err) {
		_, endErr = u.conn.ExecContext(ctx, "ROLLBACK")
	}
	u.book("long transaction", err, endErr, time.Since(began))
	return err == nil, nil
}

// lockTables keeps everybody from the table.
func lockTables(ctx context.Context, r *round, m mishap) (bool, error) {
	conn, err := r.place.users.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if r.realm.transactional() {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return false, err
		}
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, r.realm.lock(r.place.table()))
		rest(ctx, m.last)
		return err == nil, err
	}
	if _, err := conn.ExecContext(ctx, r.realm.lock(r.place.table())); err != nil {
		return false, err
	}
	rest(ctx, m.last)
	_, err = conn.ExecContext(ctx, r.realm.unlock())
	return err == nil, err
}

// list is a query's only column.
func (r *round) list(ctx context.Context, query string) ([]string, error) {
	return listOf(ctx, r.place.users, query)
}

func listOf(ctx context.Context, db *sql.DB, query string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%w\nin: %s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
