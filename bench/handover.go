package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/sample"
)

// many is the size of a user's statement that changes many rows at once.
const many = 10_000

// handover tells what a statement of 10,000 rows costs its user while nothing is done to the table, while its keys are logged, and in the
// seconds before the swap in which the trigger also writes the new table, one subtransaction a row (PostgreSQL). An open snapshot keeps the
// change in those seconds. Somebody who reads one of these rows after the other meets the subtransactions.
func (b *bench) handover(ctx context.Context, rows int) error {
	if b.Kind != "postgres" {
		return errors.New("-handover is of PostgreSQL: elsewhere nothing is written twice")
	}
	if rows < many {
		return fmt.Errorf("-handover %d: expected at least %d rows", rows, many)
	}
	if err := b.Create(ctx, b.db, rows); err != nil {
		return err
	}
	e, err := changeling.Open(ctx, b.db, changeling.Config{Fast: true, Hold: true, Snapshots: changeling.SnapshotsInsist, DropAfter: changeling.DropNow})
	if err != nil {
		return err
	}
	defer e.Close()
	var plain, logged, both []write
	for round := range b.rounds {
		w, err := b.write(ctx)
		if err != nil {
			return err
		}
		plain = append(plain, w)
		change, err := e.Start(ctx, b.Statement(round))
		if err != nil {
			return err
		}
		end := make(chan error, 1)
		go func() { end <- change.Run(ctx) }()
		other, err := e.Find(ctx, change.ID())
		if err != nil {
			return err
		}
		if err := until(ctx, func() (bool, error) {
			s, err := other.Status(ctx)
			return s.Step == "hold", err
		}); err != nil {
			return err
		}
		if w, err = b.write(ctx); err != nil {
			return err
		}
		logged = append(logged, w)
		if w, err = b.writeTwice(ctx, other); err != nil {
			return err
		}
		both = append(both, w)
		if err := <-end; err != nil {
			return err
		}
		fmt.Printf("BenchmarkHandover/%s/rows=%d/statement=%d 1 %d ns/op %d logged-ns %d plain-ns\n# round %d: plain %s; keys logged %s; both tables written %s\n",
			b.Kind, rows, many, both[round].took, logged[round].took, plain[round].took, round+1, plain[round], logged[round], both[round])
	}
	p, l, w := took(plain), took(logged), took(both)
	fmt.Printf("# %s, a statement of %d rows, medians of %d: plain %.0f ms, keys logged %.0f ms (%.1f), both tables written %.0f ms (%.1f)\n", b.Name, many, b.rounds, p, l, l/p, w, w/p)
	return nil
}

// writeTwice lets the change go to its swap, keeps it before that by a snapshot, and writes then.
func (b *bench) writeTwice(ctx context.Context, change *changeling.Change) (w write, err error) {
	snapshot, err := b.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return w, err
	}
	var n int
	err = snapshot.QueryRowContext(ctx, "SELECT count(*) FROM pg_class").Scan(&n)
	if err == nil {
		err = change.Cutover(ctx)
	}
	if err == nil {
		err = until(ctx, func() (on bool, err error) {
			err = b.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_proc WHERE 'lock_timeout=50ms' = ANY (proconfig))").Scan(&on)
			return on, err
		})
	}
	if err == nil {
		w, err = b.write(ctx)
	}
	return w, errors.Join(err, snapshot.Rollback())
}

// write is a statement of many rows, and what a reader beside it felt.
type write struct {
	took    time.Duration
	p99     time.Duration // of a reader of single rows
	longest time.Duration
}

func (w write) String() string {
	return fmt.Sprintf("%.0f ms (a reader beside it: p99 %.1f, longest %.1f ms)", sample.Ms(w.took), sample.Ms(w.p99), sample.Ms(w.longest))
}

func (b *bench) write(ctx context.Context) (w write, err error) {
	readCtx, stop := context.WithCancel(ctx)
	defer stop()
	var reads []time.Duration
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for readCtx.Err() == nil {
			began := time.Now()
			var payload string
			failed = b.db.QueryRowContext(ctx, "SELECT payload FROM orders WHERE id = $1", 1+rand.IntN(many)).Scan(&payload)
			if failed != nil {
				return
			}
			reads = append(reads, time.Since(began))
		}
	}()
	w.took, err = b.timed(ctx, fmt.Sprintf("UPDATE orders SET payload = md5(payload) WHERE id <= %d", many))
	stop()
	<-done
	if err = errors.Join(err, failed); err != nil {
		return w, err
	}
	slices.Sort(reads)
	w.p99, w.longest = reads[len(reads)*99/100], reads[len(reads)-1]
	return w, nil
}

func took(writes []write) float64 {
	var v []float64
	for _, w := range writes {
		v = append(v, sample.Ms(w.took))
	}
	return sample.Median(v)
}

// until asks until the answer is yes, for a minute.
func until(ctx context.Context, ask func() (bool, error)) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
}
