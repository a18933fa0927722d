package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// act is one transaction under way.
type act struct {
	ledger    *Ledger
	tx        *sql.Tx
	id        int64
	rng       *rand.Rand
	isolation sql.IsolationLevel
	withdraw  bool  // to be rolled back by the client
	booked    int64 // rows of the ledger that it wrote
	blind     int64
}

// script is what a transaction does.
type script struct {
	name      string
	weight    int
	plain     bool // an ordinary application does it
	slow      bool // it sleeps, so that its time says nothing of the server
	committed bool // at READ COMMITTED only
	run       func(ctx context.Context, a *act) error
}

// scripts are what the writers choose from.
func scripts() []script {
	return []script{
		{name: "update", weight: 30, plain: true, run: func(ctx context.Context, a *act) error { return a.touch(ctx, a.key()) }},
		{name: "grow", weight: 15, plain: true, run: func(ctx context.Context, a *act) error { return a.update(ctx, a.key(), 0, a.payload(40)) }},
		{name: "insert", weight: 12, plain: true, run: func(ctx context.Context, a *act) error { return a.insert(ctx) }},
		{name: "delete", weight: 8, plain: true, run: func(ctx context.Context, a *act) error { _, err := a.delete(ctx, a.mortal()); return err }},
		{name: "refill", weight: 10, plain: true, run: func(ctx context.Context, a *act) error { return a.upsert(ctx, a.mortal()) }},
		{name: "replace", weight: 8, run: replace},
		{name: "move", weight: 5, run: func(ctx context.Context, a *act) error { return a.move(ctx, a.mortal(), a.ledger.fresh.Add(1)) }},
		{name: "swap keys", weight: 5, run: swapKeys},
		{name: "chain", weight: 3, run: chain},
		{name: "swap emails", weight: 8, run: swapEmails},
		{name: "several", weight: 8, plain: true, run: several},
		{name: "range", weight: 4, run: func(ctx context.Context, a *act) error {
			k := a.key()
			return a.update(ctx, k, int64(a.rng.IntN(20)), nil)
		}},
		{name: "savepoint", weight: 5, run: savepoint},
		{name: "withdrawn", weight: 4, run: func(ctx context.Context, a *act) error { a.withdraw = true; return several(ctx, a) }},
		{name: "slow", weight: 2, slow: true, run: slowly},
		{name: "replica", weight: 6, run: replica},
	}
}

var truncate = script{name: "truncate", slow: true, committed: true, run: truncateAndRefill}

// choose is the next script.
func (w *writer) choose() script {
	o := w.ledger.options
	var open []script
	sum := 0
	for _, s := range scripts() {
		if o.Plain && !s.plain || !o.Replica && s.name == "replica" {
			continue
		}
		open = append(open, s)
		sum += s.weight
	}
	n := w.rng.IntN(sum)
	for _, s := range open {
		if n -= s.weight; n < 0 {
			return s
		}
	}
	panic("the weights add up")
}

// steady is how many keys from 1 on are never deleted and never move: somebody who looks for one and does not find it
// sees a table that is not there.
const steady = 8

// hot is how many keys from 1 on get half of all writes.
const hot = 32

// key is any key, mortal one that may be deleted or moved.
func (a *act) key() int64    { return a.from(1) }
func (a *act) mortal() int64 { return a.from(steady + 1) }

func (a *act) from(first int64) int64 {
	last := int64(a.ledger.options.Rows)
	if a.rng.IntN(2) == 0 {
		last = min(last, hot)
	} else if a.rng.IntN(8) == 0 {
		last = a.ledger.fresh.Load()
	}
	return first + a.rng.Int64N(max(last-first+1, 1))
}

func (a *act) payload(most int) *string {
	s := strings.Repeat(fmt.Sprintf("%032x", a.rng.Uint64()), 1+a.rng.IntN(most))
	return &s
}

func (a *act) email(n int64) string { return fmt.Sprintf("u%d.%d", a.id, n) }

func (a *act) exec(ctx context.Context, query string, args ...any) (int64, error) {
	done, err := a.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	rows, err := done.RowsAffected()
	a.booked += rows
	return rows, err
}

// touch is an update in place, where the page has room.
func (a *act) touch(ctx context.Context, key int64) error {
	rows, err := a.exec(ctx, a.ledger.text.update, a.id, key, key, a.rng.IntN(1000), nil)
	if err == nil && rows == 0 && key <= steady {
		a.blind++
	}
	return err
}

func (a *act) update(ctx context.Context, key, more int64, payload *string) error {
	_, err := a.exec(ctx, a.ledger.text.update, a.id, key, key+more, a.rng.IntN(1000), payload)
	return err
}

func (a *act) insert(ctx context.Context) error {
	key := a.ledger.fresh.Add(1)
	_, err := a.exec(ctx, a.ledger.text.insert, a.id, key, a.email(key), a.rng.IntN(1000), a.payload(8))
	return err
}

// upsert inserts a key that may be there.
func (a *act) upsert(ctx context.Context, key int64) error {
	_, err := a.exec(ctx, a.ledger.text.upsert, a.id, key, a.email(key), a.rng.IntN(1000), a.payload(8))
	return err
}

func (a *act) delete(ctx context.Context, key int64) (int64, error) {
	return a.exec(ctx, a.ledger.text.delete, a.id, key)
}

func (a *act) move(ctx context.Context, from, to int64) error {
	_, err := a.exec(ctx, a.ledger.text.move, a.id, from, to)
	return err
}

// replace deletes a row and inserts its key again. Only who has deleted the key may know that it is free.
func replace(ctx context.Context, a *act) error {
	key := a.mortal()
	rows, err := a.delete(ctx, key)
	if err != nil || rows == 0 {
		return err
	}
	_, err = a.exec(ctx, a.ledger.text.insert, a.id, key, a.email(key), a.rng.IntN(1000), a.payload(8))
	return err
}

// two are different keys, the smaller first, so that few clients meet head on.
func (a *act) two() (int64, int64) {
	x, y := a.mortal(), a.mortal()
	if x == y {
		y++
	}
	return min(x, y), max(x, y)
}

// both locks two rows and returns their emails, or says that one is not there.
func (a *act) both(ctx context.Context, x, y int64) (first, second string, ok bool, err error) {
	rows, err := a.tx.QueryContext(ctx, a.ledger.text.emails, x, y)
	if err != nil {
		return "", "", false, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var id int64
		var email string
		if err := rows.Scan(&id, &email); err != nil {
			return "", "", false, err
		}
		found = append(found, email)
	}
	if err := rows.Err(); err != nil || len(found) < 2 {
		return "", "", false, err
	}
	return found[0], found[1], true, nil
}

// swapKeys exchanges the keys of two rows by way of a third.
func swapKeys(ctx context.Context, a *act) error {
	x, y := a.two()
	if _, _, ok, err := a.both(ctx, x, y); err != nil || !ok {
		return err
	}
	third := -a.ledger.fresh.Add(1)
	for _, step := range [][2]int64{{x, third}, {y, x}, {third, y}} {
		if err := a.move(ctx, step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

// chain moves one row away and another one to its key.
func chain(ctx context.Context, a *act) error {
	x, y := a.two()
	if _, _, ok, err := a.both(ctx, x, y); err != nil || !ok {
		return err
	}
	if err := a.move(ctx, x, a.ledger.fresh.Add(1)); err != nil {
		return err
	}
	return a.move(ctx, y, x)
}

// swapEmails exchanges a unique value of two rows.
func swapEmails(ctx context.Context, a *act) error {
	x, y := a.two()
	first, second, ok, err := a.both(ctx, x, y)
	if err != nil || !ok {
		return err
	}
	for _, step := range []struct {
		key   int64
		email string
	}{{x, a.email(-1)}, {y, first}, {x, second}} {
		if _, err := a.exec(ctx, a.ledger.text.setEmail, a.id, step.key, step.email); err != nil {
			return err
		}
	}
	return nil
}

// several writes to a few rows.
func several(ctx context.Context, a *act) error {
	for range 2 + a.rng.IntN(6) {
		var err error
		switch a.rng.IntN(6) {
		case 0:
			err = a.insert(ctx)
		case 1:
			_, err = a.delete(ctx, a.mortal())
		case 2:
			err = a.upsert(ctx, a.mortal())
		case 3:
			err = a.update(ctx, a.key(), 0, a.payload(40))
		default:
			err = a.touch(ctx, a.key())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// savepoint does something, takes it back, and does something else.
func savepoint(ctx context.Context, a *act) error {
	if err := a.touch(ctx, a.key()); err != nil {
		return err
	}
	if _, err := a.exec(ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	before := a.booked
	if err := several(ctx, a); err != nil {
		return err
	}
	if _, err := a.exec(ctx, "ROLLBACK TO SAVEPOINT s"); err != nil {
		return err
	}
	a.booked = before
	return a.touch(ctx, a.key())
}

// slowly holds its rows, and its place in the order of commits, for a while.
func slowly(ctx context.Context, a *act) error {
	if err := several(ctx, a); err != nil {
		return err
	}
	sleep(ctx, time.Duration(a.rng.IntN(120))*time.Millisecond)
	return a.touch(ctx, a.key())
}

// replica writes as a subscription does: ordinary triggers do not fire.
func replica(ctx context.Context, a *act) error {
	if _, err := a.exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
		return err
	}
	return several(ctx, a)
}

// truncateAndRefill empties the table and fills it with its first keys, all in one transaction. It gives way to others.
func truncateAndRefill(ctx context.Context, a *act) error {
	for _, statement := range []string{"SET LOCAL lock_timeout = '2s'", "TRUNCATE " + a.ledger.text.table} {
		if _, err := a.exec(ctx, statement); err != nil {
			return err
		}
	}
	if _, err := a.exec(ctx, a.ledger.text.truncate, a.id); err != nil {
		return err
	}
	_, err := a.exec(ctx, a.ledger.text.refill, a.id, a.ledger.options.Rows)
	return err
}
