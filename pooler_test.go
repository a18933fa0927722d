package changeling_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// pooled is a server of its own, and the way to it through a pooler in transaction mode: each transaction may get another
// session, and a session serves many clients.
func pooled(t *testing.T) (direct, through string) {
	t.Helper()
	server := pgtest.Own(t, dbtest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p, err := server.Pooler(ctx, "transaction")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the pooler ends:\n%s", p.LogTail(20))
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	// What is prepared in one session is unknown in the next.
	return server.DSN("postgres"), p.DSN("postgres") + "&default_query_exec_mode=exec"
}

// TestBehindAPooler: the claim row decides who runs a change, also where sessions are shared; and whoever gets a session
// afterwards finds nothing in it.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	direct, through := pooled(t)
	db, users := pgtest.Open(t, through), pgtest.Open(t, direct)
	pgtest.Exec(t, users, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 5000) i`)
	c, end := start(t, db, widenOrders, changeling.Config{Hold: true, Owner: "ann", DropAfter: changeling.DropNow})
	reaches(t, c, "hold", held)
	for range 5 { // whichever session it gets
		err := changeling.Apply(t.Context(), pgtest.Open(t, through), widenOrders, changeling.Config{Owner: "bob"})
		if !errors.Is(err, changeling.ErrOwned) || !strings.Contains(err.Error(), "ann") {
			t.Errorf("the second run ended with %v, want ErrOwned and the name of the first", err)
		}
	}
	pgtest.Exec(t, users, `UPDATE orders SET amount = -id WHERE id % 7 = 0`, `DELETE FROM orders WHERE id % 11 = 0`)
	if err := c.Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	var wrong, rows int
	if err := users.QueryRow(`SELECT count(*) FILTER (WHERE amount <> CASE WHEN id % 7 = 0 THEN -id ELSE id END OR pg_typeof(amount) <> 'bigint'::regtype), count(*) FROM orders`).Scan(&wrong, &rows); err != nil {
		t.Fatal(err)
	}
	if wrong > 0 || rows != 5000-454 {
		t.Errorf("%d rows, %d of them wrong; want %d and none", rows, wrong, 5000-454)
	}
	// What is built outside of a transaction has no session of its own here, and nobody could end it.
	err := changeling.Apply(t.Context(), db, `CREATE INDEX orders_amount ON orders (amount)`, quick)
	if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("Apply = %v, want a precondition that names the pooler", err)
	}
	sessions(t, through)
	if err := changeling.Apply(t.Context(), users, `CREATE INDEX orders_amount ON orders (amount)`, quick); err != nil {
		t.Error(err)
	}
}

// sessions looks at what the pooler's sessions were left as.
func sessions(t *testing.T, through string) {
	t.Helper()
	db := pgtest.Open(t, through)
	const query = `SELECT pg_backend_pid(), current_setting('search_path') || '|' || current_setting('role') || '|' || current_setting('synchronous_commit') || '|' || current_setting('lock_timeout')
  || '|' || current_setting('enable_seqscan') || '|' || current_setting('statement_timeout') || '|' || (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')`
	seen := map[int]bool{}
	var open []func() error
	for range 15 { // all at once, so that they are different sessions
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tx.Rollback)
		var pid int
		var state string
		if err := tx.QueryRowContext(t.Context(), query).Scan(&pid, &state); err != nil {
			t.Fatal(err)
		}
		seen[pid] = true
		if state != `"$user", public|none|on|0|on|0|0` {
			t.Errorf("a session was left as %s", state)
		}
	}
	for _, rollback := range open {
		if err := rollback(); err != nil {
			t.Error(err)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d sessions were looked at", len(seen))
	}
}

// TestDiesBehindAPooler: a run whose program dies leaves sessions that the pooler gives to others; another run goes on.
func TestDiesBehindAPooler(t *testing.T) {
	t.Parallel()
	direct, through := pooled(t)
	users := pgtest.Open(t, direct)
	config := changeling.Config{Lease: 2 * time.Second, DropAfter: changeling.DropNow, Snapshots: changeling.SnapshotsIgnore}
	whole, counter := pgtest.Dying(t, through, dying.Death{})
	prepare := func() {
		pgtest.Exec(t, users, `DROP SCHEMA public CASCADE`, `DROP SCHEMA IF EXISTS changeling CASCADE`, `CREATE SCHEMA public`)
		pgtest.Exec(t, users, victim...)
	}
	prepare()
	if err := changeling.Apply(t.Context(), whole, grow, config); err != nil {
		t.Fatal(err)
	}
	total := counter.Count()
	want := natively(t)
	step := max(total/9, 1)
	if full() {
		step = 1
	}
	for n := 1 + total/18; n <= total; n += step {
		prepare()
		db, _ := pgtest.Dying(t, through, dying.Death{At: n})
		err := changeling.Apply(t.Context(), db, grow, config)
		pgtest.Exec(t, users, between...)
		if err != nil {
			if err := changeling.Apply(t.Context(), pgtest.Open(t, through), grow, config); err != nil {
				t.Fatalf("after its death at statement %d of %d: %v", n, total, err)
			}
		}
		sameAs(t, portrait(t, users), want, fmt.Sprintf("killed at statement %d of %d behind a pooler", n, total))
	}
	sessions(t, through)
}
