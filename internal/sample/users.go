package sample

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Users write to the table orders at a fixed rate, whether or not earlier writes are answered in time: four updates for
// each insert and delete. Each user has rows of his own and remembers what was acknowledged, so he knows afterwards what
// every one of them must hold.
type Users struct {
	DB      *sql.DB
	Text    Text
	Writers int // zero: 8
	Rate    int // writes a second, of all together; zero: 1000
	Rows    int // rows that the table began with

	mu     sync.Mutex
	marks  []mark // when an answer was due and how long it took from then on
	failed []error
	acked  int64
	book   []map[int64]*int64 // a map a user: what each row of his that he wrote to must hold; nil: gone
}

type mark struct{ due, took time.Duration }

// Run writes until ctx ends, and returns when the last answer is there. It may be called once.
func (u *Users) Run(ctx context.Context) error {
	if u.Writers == 0 {
		u.Writers = 8
	}
	if u.Rate == 0 {
		u.Rate = 1000
	}
	u.book = make([]map[int64]*int64, u.Writers)
	began := time.Now()
	var group errgroup.Group
	for w := range u.Writers {
		u.book[w] = map[int64]*int64{}
		group.Go(func() error { return u.write(ctx, w, began) })
	}
	return group.Wait()
}

// Beside has users write to the table, which has a number of rows, while something is done, and looks afterwards that no statement of theirs
// failed and no write was lost. They answer what they felt.
func (s *Server) Beside(ctx context.Context, rows, rate int, do func(u *Users, began time.Time) error) (*Users, error) {
	db, err := s.Open()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	users := &Users{DB: db, Text: s.Text, Rate: rate, Rows: rows}
	writing, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- users.Run(writing) }()
	err = do(users, began)
	stop()
	if err = errors.Join(err, <-done, ctx.Err()); err != nil {
		return nil, err
	}
	lost, some, err := users.Lost(ctx)
	if failed := users.Failed(); err == nil && (lost > 0 || len(failed) > 0) {
		err = fmt.Errorf("%d writes lost %v, %d statements of users failed %v", lost, some, len(failed), failed[:min(len(failed), 3)])
	}
	return users, err
}

func (u *Users) write(ctx context.Context, w int, began time.Time) error {
	conn, err := u.DB.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, uint64(w)))
	every := time.Second * time.Duration(u.Writers) / time.Duration(u.Rate)
	// A write that has begun is finished: its answer decides what the ledger says.
	steady := context.WithoutCancel(ctx)
	var mine []int64
	for due := every * time.Duration(w) / time.Duration(u.Writers); ; due += every {
		if wait := due - time.Since(began); wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
		} else if ctx.Err() != nil {
			return nil
		}
		err := u.one(steady, conn, random, w, &mine)
		u.mu.Lock()
		u.marks = append(u.marks, mark{due, time.Since(began) - due})
		if err != nil {
			u.failed = append(u.failed, err)
		} else {
			u.acked++
		}
		u.mu.Unlock()
	}
}

// one is one write in a transaction of its own.
func (u *Users) one(ctx context.Context, conn *sql.Conn, random *rand.Rand, w int, mine *[]int64) error {
	amount := random.Int64N(1 << 30)
	switch kind := random.IntN(6); {
	case kind == 0:
		id, err := u.insert(ctx, conn, 1+random.Int64N(Customers), fmt.Sprintf("new-%d-%d@example.org", w, random.Int64()), amount, "fresh")
		if err == nil {
			u.book[w][id] = &amount
			*mine = append(*mine, id)
		}
		return err
	case kind == 1 && len(*mine) > 0:
		i := random.IntN(len(*mine))
		id := (*mine)[i]
		_, err := conn.ExecContext(ctx, u.Text.written(`DELETE FROM orders WHERE id = $1`), id)
		if err == nil {
			*mine = slices.Delete(*mine, i, i+1)
			u.book[w][id] = nil
		}
		return err
	}
	// A user's rows are those whose number leaves his own remainder, so nobody else writes to them.
	id := 1 + random.Int64N(int64(u.Rows/u.Writers))*int64(u.Writers) + int64(w)
	if id > int64(u.Rows) {
		id -= int64(u.Writers)
	}
	_, err := conn.ExecContext(ctx, u.Text.written(`UPDATE orders SET amount = $1, status = 'changed' WHERE id = $2`), amount, id)
	if err == nil {
		u.book[w][id] = &amount
	}
	return err
}

// insert adds a row and answers its number.
func (u *Users) insert(ctx context.Context, conn *sql.Conn, args ...any) (id int64, err error) {
	if !u.Text.my {
		err = conn.QueryRowContext(ctx, u.Text.insert, args...).Scan(&id)
		return id, err
	}
	done, err := conn.ExecContext(ctx, u.Text.insert, args...)
	if err != nil {
		return 0, err
	}
	return done.LastInsertId()
}

// written is a statement with its arguments as the server's driver wants them. They stand in their order.
func (t Text) written(statement string) string {
	if t.my {
		return numbered.ReplaceAllString(statement, "?")
	}
	return statement
}

var numbered = regexp.MustCompile(`\$\d`)

// Window is what users felt between two moments, counted from the beginning of Run.
type Window struct {
	Writes   int
	Rate     float64 // writes that were answered in it, a second
	P50, P99 time.Duration
	Longest  time.Duration
}

// Between is the window of the writes that were due in it. Latency counts from the moment a write was due.
func (u *Users) Between(from, to time.Duration) Window {
	u.mu.Lock()
	defer u.mu.Unlock()
	var took []time.Duration
	answered := 0
	for _, m := range u.marks {
		if end := m.due + m.took; end >= from && end < to {
			answered++
		}
		if m.due >= from && m.due < to {
			took = append(took, m.took)
		}
	}
	if len(took) == 0 {
		return Window{}
	}
	slices.Sort(took)
	return Window{Writes: len(took), Rate: float64(answered) / (to - from).Seconds(), P50: took[len(took)/2], P99: took[len(took)*99/100], Longest: took[len(took)-1]}
}

// Before is the window up to a moment at which something begins: the last half of the time until then, 8 s at least, and never the first
// seconds, in which connections are opened.
func (u *Users) Before(begins time.Duration) Window {
	return u.Between(max(2*time.Second, begins-max(8*time.Second, begins/2)), begins)
}

// Acknowledged is how many writes were acknowledged, and Failed the errors of those that were not.
func (u *Users) Acknowledged() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.acked
}

// Failed are the errors that users got.
func (u *Users) Failed() []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.failed)
}

// Lost compares the table with the ledger after Run: it answers how many rows do not hold what was acknowledged last,
// and a few of them for a person.
func (u *Users) Lost(ctx context.Context) (lost int, some []string, err error) {
	want := map[int64]*int64{}
	for _, b := range u.book {
		for id, amount := range b {
			want[id] = amount
		}
	}
	rows, err := u.DB.QueryContext(ctx, u.Text.written(`SELECT id, amount FROM orders WHERE status = 'changed' OR id > $1`), u.Rows)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	note := func(id int64, what string) {
		if lost++; len(some) < 5 {
			some = append(some, fmt.Sprintf("order %d %s", id, what))
		}
	}
	for rows.Next() {
		var id, amount int64
		if err := rows.Scan(&id, &amount); err != nil {
			return 0, nil, err
		}
		is, known := want[id]
		switch {
		case known && is == nil:
			note(id, "was deleted and is there")
		case known && *is != amount:
			note(id, fmt.Sprintf("holds %d instead of %d", amount, *is))
		case !known:
			note(id, "was never acknowledged") // an insert whose answer was an error would be one
		}
		delete(want, id)
	}
	for id, amount := range want {
		if amount != nil {
			note(id, "is missing")
		}
	}
	return lost, some, rows.Err()
}
