package backfill_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// B5: a row that a user holds holds up nobody but the job: its batches give way after a moment, come again, smaller, and end when he is done.
// Rows of the same batch can be written meanwhile.
func TestB5HeldRows(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		strain := pgtest.Strained(d, d.db)
		longest := d.held(d.db, 0)
		strain.Within(longest, 2500*time.Millisecond, "the longest wait for a row beside the one that is held took") // MySQL counts whole seconds
	})
}

// The same with a job that waits without a bound.
func TestB5WithoutTheBound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	d := database{t, "postgres", dsn, pgtest.Open(t, dsn)}
	unbounded := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
		return strings.ReplaceAll(s.Text, "SET LOCAL lock_timeout = 200", "SET LOCAL lock_timeout = 0")
	})
	if longest := d.held(unbounded, 2500*time.Millisecond); longest < 2500*time.Millisecond {
		t.Errorf("the mutant lives: a user waited %s at most", longest)
	}
}

// held does a job while a user holds a row of it for six seconds, and until another one has waited for so long for its neighbour, and
// answers how long that one waited.
func (d database) held(job *sql.DB, enough time.Duration) (longest time.Duration) {
	d.Helper()
	d.accounts()
	user, err := d.db.BeginTx(d.Context(), nil)
	if err != nil {
		d.Fatal(err)
	}
	if _, err := user.ExecContext(d.Context(), "UPDATE accounts SET name = 'held' WHERE id = 300000002100"); err != nil {
		d.Fatal(err)
	}
	j, err := backfill.Open(d.Context(), job, backfill.Config{Fast: true, BatchTime: 10 * time.Second}) // both rows are in the second batch
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(j.Close)
	done := make(chan error, 1)
	var s *backfill.Status
	go func() {
		var err error
		s, err = j.Run(d.Context(), add("held"))
		done <- err
	}()
	begun := time.Now()
	for held := time.Duration(0); held < 6*time.Second || longest < enough && held < 2*time.Minute; held = time.Since(begun) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(d.Context(), 6*time.Second)
		var id int64 // nothing is written, so the row stays where it is, before the one that is held
		if err := d.db.QueryRowContext(ctx, "SELECT id FROM accounts WHERE id = 250000001750 FOR UPDATE").Scan(&id); err != nil && ctx.Err() == nil {
			d.Fatal(err)
		}
		cancel()
		longest = max(longest, time.Since(began))
		select {
		case err := <-done:
			d.Fatalf("the job ended while a row was held: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := user.Commit(); err != nil {
		d.Fatal(err)
	}
	if err := <-done; err != nil || s.Rows != 600 {
		d.Fatalf("%+v, %v", s, err)
	}
	if lo, hi := d.ask("SELECT MIN(n) FROM accounts"), d.ask("SELECT MAX(n) FROM accounts"); lo != "1" || hi != "1" {
		d.Errorf("rows were done %s to %s times", lo, hi)
	}
	return longest
}
