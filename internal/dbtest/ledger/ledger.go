// Package ledger is a workload that can tell afterwards whether a write was lost.
//
// Its one idea: each transaction writes what it did to a second table, in itself. What the server keeps of a transaction
// it keeps of both tables, so the folded ledger is the truth about the table, whatever happened to client, server and
// table meanwhile. The clients remember besides what was acknowledged to them, which must all be in the ledger.
//
// The package does not import testing, so that a command can use it.
package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options is what the workload looks like. The zero Options is eight writers that do everything but TRUNCATE and
// replicate, as fast as the server lets them.
type Options struct {
	Seed    uint64  // of all choices; what the threads make of them is up to the machine
	Writers int     // zero: 8
	Rate    float64 // transactions a second of all writers together; zero: as fast as they go
	Rows    int     // that the table begins with; zero: 1000
	Table   string  // zero: accounts

	// Truncate is the mean time between two TRUNCATEs, each with a refill in its transaction. Zero: none.
	Truncate time.Duration
	// Replica makes some transactions write as a subscription does, with session_replication_role = replica. It takes a
	// superuser.
	Replica bool
	// Plain leaves out what only tests do: transactions that sleep or roll back, key changes, swaps.
	Plain bool
}

// Ledger is one workload on one table. Its methods but Run may be called at any time.
type Ledger struct {
	db      *sql.DB
	options Options
	text    text
	run     int64 // the upper half of the transactions' numbers, so that two processes can share a table

	transactions atomic.Int64
	fresh        atomic.Int64 // keys never used before

	mu    sync.Mutex
	acked []int64        // numbers of the transactions that wrote something and were acknowledged
	doubt map[int64]bool // whose COMMIT was not answered
	void  map[int64]bool // that were rolled back, or failed: none may be in the ledger
	all   account
	lap   account
}

// New makes a workload. It does nothing yet.
func New(db *sql.DB, o Options) *Ledger {
	if o.Writers == 0 {
		o.Writers = 8
	}
	if o.Rows == 0 {
		o.Rows = 1000
	}
	if o.Table == "" {
		o.Table = "accounts"
	}
	l := &Ledger{db: db, options: o, text: texts(o.Table), run: int64(rand.Uint32()>>1) << 32, doubt: map[int64]bool{}, void: map[int64]bool{}}
	l.fresh.Store(int64(o.Rows))
	return l
}

// Prepare creates the table, fills it, and creates the ledger.
func (l *Ledger) Prepare(ctx context.Context) error {
	for _, statement := range l.text.create(l.options.Rows) {
		if _, err := l.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%w\nin: %s", err, statement)
		}
	}
	return nil
}

// Run writes until ctx ends, and returns when every transaction that had begun has ended: what a client does not know
// of then, it does not know because its connection broke. It may be called again, and does not fail because of what
// users meet: Stats tells of that.
func (l *Ledger) Run(ctx context.Context) error {
	// A transaction that has begun is ended, or what became of it would be in doubt without need.
	steady, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range l.options.Writers {
		w := &writer{ledger: l, no: i, rng: rand.New(rand.NewPCG(l.options.Seed, uint64(i)))}
		group.Go(func() error { return w.run(ctx, steady, began) })
	}
	if l.options.Truncate > 0 {
		w := &writer{ledger: l, no: l.options.Writers, rng: rand.New(rand.NewPCG(l.options.Seed, 1<<32))}
		group.Go(func() error { return w.truncates(ctx, steady) })
	}
	return group.Wait()
}

// Truncate empties the table and fills it again with its first keys, in one transaction, once.
func (l *Ledger) Truncate(ctx context.Context) {
	w := &writer{ledger: l, rng: rand.New(rand.NewPCG(l.options.Seed, 1<<33))}
	defer w.hangUp()
	w.once(ctx, truncate, time.Now())
}

// writer is one client. It keeps a connection for as long as that lives.
type writer struct {
	ledger *Ledger
	no     int
	rng    *rand.Rand
	conn   *sql.Conn
}

func (w *writer) run(ctx, steady context.Context, began time.Time) error {
	defer w.hangUp()
	o := w.ledger.options
	var every time.Duration
	if o.Rate > 0 {
		every = time.Duration(float64(o.Writers) / o.Rate * float64(time.Second))
	}
	// The writers' turns are spread over the interval.
	due := began.Add(every * time.Duration(w.no) / time.Duration(o.Writers))
	for {
		if every > 0 {
			if !sleep(ctx, time.Until(due)) {
				return nil
			}
		} else if due = time.Now(); ctx.Err() != nil {
			return nil
		}
		w.once(steady, w.choose(), due)
		due = due.Add(every)
	}
}

func (w *writer) truncates(ctx, steady context.Context) error {
	defer w.hangUp()
	for {
		mean := float64(w.ledger.options.Truncate)
		if !sleep(ctx, time.Duration(mean/2+w.rng.Float64()*mean)) {
			return nil
		}
		w.once(steady, truncate, time.Now())
	}
}

// sleep waits, and says whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// hangUp gives the connection back.
func (w *writer) hangUp() {
	if w.conn != nil {
		_ = w.conn.Close() // it may be broken, and nothing depends on it
		w.conn = nil
	}
}

// attempts is how often a transaction that met a conflict is tried again before its client gives it up.
const attempts = 10

// once runs one transaction until it is through, and books how it went.
func (w *writer) once(ctx context.Context, s script, due time.Time) {
	l := w.ledger
	seed := w.rng.Uint64()
	for range attempts {
		a := &act{ledger: l, id: l.run | l.transactions.Add(1), rng: rand.New(rand.NewPCG(seed, 0))}
		outcome, err := w.try(ctx, s, a)
		again := l.book(s, a, outcome, err, time.Since(due))
		if !again {
			return
		}
	}
}

// outcome is what a client knows of its transaction.
type outcome int

const (
	acked     outcome = iota // COMMIT was answered
	withdrawn                // the client rolled it back as it meant to
	failed                   // the server refused a statement
	lost                     // the connection broke before COMMIT was sent
	doubtful                 // the connection broke under COMMIT
)

func (w *writer) try(ctx context.Context, s script, a *act) (outcome, error) {
	if w.conn == nil {
		conn, err := w.ledger.db.Conn(ctx)
		if err != nil {
			sleep(ctx, 20*time.Millisecond) // the server may be starting
			return lost, err
		}
		w.conn = conn
	}
	a.isolation = sql.LevelReadCommitted
	if !s.committed {
		a.isolation = []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}[a.rng.IntN(4)]
	}
	tx, err := w.conn.BeginTx(ctx, &sql.TxOptions{Isolation: a.isolation})
	if err != nil {
		w.hangUp()
		return lost, err
	}
	a.tx = tx
	err = s.run(ctx, a)
	if err == nil && !a.withdraw {
		if err = tx.Commit(); err == nil {
			return acked, nil
		}
		if state(err) != "" && !broken(err) {
			return failed, err
		}
		w.hangUp()
		return doubtful, err
	}
	if rollbackErr := tx.Rollback(); rollbackErr != nil || err != nil && broken(err) {
		w.hangUp()
		if err == nil || broken(err) {
			return lost, err
		}
		return failed, err
	}
	if err == nil {
		return withdrawn, nil
	}
	return failed, err
}
