package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// crowd is a table and a mirror of it. Its writers write to both in each transaction, so whoever reads both in one snapshot
// finds them equal, however old the snapshot is.
type crowd struct {
	ignored bool // snapshots of before the swap are
	*testing.T
	dsn                  string
	db                   *sql.DB
	writes, reads, moved atomic.Int64
	stale                atomic.Int64
}

const crowdRows = 2000

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	return crowdAt(t, pgtest.Database(t))
}

func crowdAt(t *testing.T, dsn string) *crowd {
	t.Helper()
	c := &crowd{T: t, dsn: dsn, db: pgtest.Open(t, dsn)}
	for _, table := range []string{"accounts", "mirror"} {
		pgtest.Exec(t, c.db, `CREATE TABLE `+table+` (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL, payload text)`,
			fmt.Sprintf(`INSERT INTO %s SELECT i, 'e' || i, i, 'x' FROM generate_series(1, %d) i`, table, crowdRows))
	}
	return c
}

// write lets writers write until ctx ends.
func (c *crowd) write(ctx context.Context, seed uint64, w int) {
	random := rand.New(rand.NewPCG(seed, uint64(w)))
	level := []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}[w%4]
	for n := 0; ctx.Err() == nil; n++ {
		id := 1 + 4*random.IntN(crowdRows/4) + w%4
		var texts []string
		switch random.IntN(6) {
		case 0:
			texts = []string{fmt.Sprintf(`INSERT INTO %%s VALUES (%d, 'w%d-%d', 1, 'y')`, 100000+4*n+w, w, n)}
		case 1:
			texts = []string{fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, id)}
		case 2:
			texts = []string{fmt.Sprintf(`UPDATE %%s SET id = %d WHERE id = %d`, 1000000+4*n+w, id)}
		case 3:
			texts = []string{fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, id), fmt.Sprintf(`INSERT INTO %%s VALUES (%d, 'w%d-%d', 7, 'z')`, id, w, n)}
		default:
			texts = []string{fmt.Sprintf(`UPDATE %%s SET amount = amount + 1, payload = 'p%d' WHERE id = %d`, n, id)}
		}
		tx, err := c.db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
		for _, text := range texts {
			for _, table := range []string{"accounts", "mirror"} {
				if err == nil {
					_, err = tx.ExecContext(ctx, fmt.Sprintf(text, table))
				}
			}
		}
		switch {
		case err == nil:
			if err = tx.Commit(); err == nil {
				c.writes.Add(1)
			}
		case tx != nil:
			_ = tx.Rollback()
		}
		// A snapshot of before the swap, where nobody cares for it, does not see the row that it deletes, and then makes it again.
		if err != nil && ctx.Err() == nil && code(err) != "40001" && !(c.ignored && code(err) == "23505") {
			c.Errorf("a user's write failed: %v", err)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// read takes a snapshot, waits, and compares the table with its mirror in it.
func (c *crowd) read(ctx context.Context, seed uint64, w int) {
	random := rand.New(rand.NewPCG(seed, uint64(1000+w)))
	for ctx.Err() == nil {
		err := func() error {
			tx, err := c.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			sum := func(table string) (text, oid string, err error) {
				err = tx.QueryRowContext(ctx, `SELECT count(*) || '/' || coalesce(sum(hashtext(id || email || amount || coalesce(payload, ''))), 0), '`+table+`'::regclass::oid::text FROM `+table).Scan(&text, &oid)
				return text, oid, err
			}
			var before string
			if err := tx.QueryRowContext(ctx, `SELECT 'accounts'::regclass::oid::text`).Scan(&before); err != nil { // takes no lock on it
				return err
			}
			want, _, err := sum("mirror")
			if err != nil {
				return err
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			got, after, err := sum("accounts")
			if err != nil {
				return err
			}
			c.reads.Add(1)
			if before != after {
				c.moved.Add(1)
			}
			if got != want {
				c.stale.Add(1)
				c.Logf("a snapshot of before the swap (%v) reads %s, and should %s", before != after, got, want)
			}
			return tx.Commit()
		}()
		if err != nil && ctx.Err() == nil {
			c.Errorf("a reader failed: %v", err)
			return
		}
	}
}

// change makes the change under writers and readers.
func (c *crowd) change(config changeling.Config) error {
	ctx, stop := context.WithCancel(c.Context())
	seed := seed(c.T)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() { c.write(ctx, seed, w) })
		wg.Go(func() { c.read(ctx, seed, w) })
	}
	bounded, cancel := context.WithTimeout(c.Context(), 5*time.Minute)
	defer cancel()
	err := changeling.Apply(bounded, pgtest.Open(c.T, c.dsn), widen, config)
	time.Sleep(400 * time.Millisecond)
	stop()
	wg.Wait()
	return err
}

// equal compares both tables at the end.
func (c *crowd) equal() {
	c.Helper()
	var n int
	if err := c.db.QueryRow(`SELECT count(*) FROM accounts a FULL JOIN mirror m USING (id) WHERE (a.email, a.amount, a.payload) IS DISTINCT FROM (m.email, m.amount::bigint, m.payload)`).Scan(&n); err != nil || n != 0 {
		c.Errorf("%d rows differ from the mirror (%v)", n, err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// TestOpenSnapshots: transactions at REPEATABLE READ that began before the swap read after it exactly what they would have
// read without it.
func TestOpenSnapshots(t *testing.T) {
	t.Parallel()
	rounds := 2
	if full() {
		rounds = 20
	}
	var moved int64
	for round := 0; round < rounds || moved == 0 && round < 10; round++ {
		c := newCrowd(t)
		if err := c.change(changeling.Config{DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}); err != nil {
			t.Fatal(err)
		}
		c.equal()
		t.Logf("%d writes, %d snapshots, %d of them across the swap", c.writes.Load(), c.reads.Load(), c.moved.Load())
		moved += c.moved.Load()
		if c.stale.Load() > 0 {
			t.Errorf("%d snapshots read rows that were not theirs", c.stale.Load())
		}
	}
	if moved == 0 {
		t.Error("no snapshot was open across a swap: the test shows nothing")
	}
}

// TestOpenSnapshotsIgnored: without the hand-over the same crowd finds rows missing. So the test above shows something.
func TestOpenSnapshotsIgnored(t *testing.T) {
	t.Parallel()
	for range 10 {
		c := newCrowd(t)
		c.ignored = true
		if err := c.change(changeling.Config{DropAfter: changeling.DropNow, Snapshots: changeling.SnapshotsIgnore, Events: event.Discard}); err != nil {
			t.Fatal(err)
		}
		c.equal()
		if c.stale.Load() > 0 {
			return
		}
	}
	t.Error("no snapshot missed anything")
}

// TestOldSnapshotIsWaitedFor: the swap does not come before an old reader has ended, and says for whom it waits.
func TestOldSnapshotIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	reader, err := c.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var n int
	if err := reader.QueryRow(`SELECT count(*) FROM mirror`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	var told story
	done := make(chan error, 1)
	go func() {
		done <- changeling.Apply(t.Context(), pgtest.Open(t, c.dsn), widen, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: event.Tee(told.tell, event.Lines(t.Output()))})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	waits := func(e event.Event) bool {
		tried, ok := e.(event.CutoverTried)
		return ok && tried.Err != nil && strings.Contains(tried.Err.Error(), "may still read the table as it was: pid ")
	}
	if err := told.await(ctx, waits); err != nil {
		t.Fatalf("nobody says that an old snapshot is waited for: %v", err)
	}
	pgtest.Exec(t, c.db, `UPDATE accounts SET amount = amount + 1 WHERE id = 5`)
	var amount int
	if err := reader.QueryRow(`SELECT amount FROM accounts WHERE id = 5`).Scan(&amount); err != nil || amount != 5 {
		t.Errorf("the reader sees %d (%v), want 5", amount, err)
	}
	if err := reader.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestSerializableAcrossTheSwap: two transactions at SERIALIZABLE that each read what the other writes do not both commit,
// although the table that one of them read is another one when the other writes to it. Without the guard they do.
func TestSerializableAcrossTheSwap(t *testing.T) {
	t.Parallel()
	ofParts := replaced(`(CREATE TRIGGER|ALTER TABLE ONLY)[^;]* "public"\."(low|high)" [^;]*"changeling_\w+_guard"[^;]*`, "SELECT 1")
	for name, by := range map[string]struct {
		write  string
		mutant func(string) string
	}{
		"guarded":                    {`UPDATE accounts SET amount = 1 WHERE id = 7`, nil},
		"not guarded":                {`UPDATE accounts SET amount = 1 WHERE id = 7`, replaced(`(?s).*'SIReadLock'.*`, "SELECT false")},
		"guarded, into a partition":  {`UPDATE low SET amount = 1 WHERE id = 7`, nil},
		"partitions are not guarded": {`UPDATE low SET amount = 1 WHERE id = 7`, ofParts},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded := by.mutant == nil
			c := newCrowd(t)
			if strings.Contains(by.write, "low") {
				pgtest.Exec(t, c.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
				if _, err := partitions(t.Context(), c.db, changeling.Partitioning{Table: "accounts", By: "range (id)",
					Partitions: []string{"low FOR VALUES FROM (MINVALUE) TO (100)", "high FOR VALUES FROM (100) TO (MAXVALUE)"}}, quick); err != nil {
					t.Fatal(err)
				}
			}
			pgtest.Exec(t, c.db, `CREATE TABLE other (id int PRIMARY KEY, n int)`, `INSERT INTO other VALUES (1, 0)`)
			begin := func() *sql.Tx {
				tx, err := c.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
				if err != nil {
					t.Error(err)
				}
				return tx
			}
			var two *sql.Tx
			var n int
			skew := sync.OnceFunc(func() { // when both tables are in step, and just before the lock
				one := begin()
				two = begin()
				if err := errors.Join(two.QueryRow(`SELECT n FROM other WHERE id = 1`).Scan(&n), one.QueryRow(`SELECT amount FROM accounts WHERE id = 7`).Scan(&n)); err != nil {
					t.Error(err)
				}
				if _, err := one.Exec(`UPDATE other SET n = 1 WHERE id = 1`); err != nil {
					t.Error(err)
				}
				if err := one.Commit(); err != nil {
					t.Error(err)
				}
			})
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, x mutant.Statement) string {
				if locking(x.Text) {
					skew()
				}
				if !guarded {
					return by.mutant(x.Text)
				}
				return x.Text
			})
			var told story
			done := make(chan error, 1)
			go func() {
				done <- changeling.Apply(t.Context(), pool, widen, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: told.tell})
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := told.await(ctx, began("release")); err != nil {
				t.Fatal(err)
			}
			_, err := two.Exec(by.write)
			if err == nil {
				err = two.Commit()
			} else {
				_ = two.Rollback()
			}
			if (code(err) == "40001") != guarded {
				t.Errorf("the second transaction ended with %v; each read what the other wrote", err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err := c.db.QueryRow(`SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%'`).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d triggers of ours are left (%v)", n, err)
			}
		})
	}
}

// TestDualWriteGoesUnnoticed: what fails on the shadow fails no user, and is made good before the swap: a delete by a
// transaction that cannot see the shadow's row (K2), a value that changes hands in one statement, a wait for a row of the shadow
// that somebody else holds (K3).
func TestDualWriteGoesUnnoticed(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	old, err := c.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Rollback()
	var n int
	if err := old.QueryRow(`SELECT count(*) FROM mirror`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	var told story
	done := make(chan error, 1)
	go func() {
		done <- changeling.Apply(t.Context(), pgtest.Open(t, c.dsn), widen, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: told.tell})
	}()
	// The whole shadow is younger than this snapshot, so the swap waits, with the trigger writing both tables.
	deadline := time.Now().Add(3 * time.Minute)
	for n = 0; n == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err := c.db.QueryRow(`SELECT count(*) FROM pg_proc WHERE proname LIKE 'changeling%' AND prosrc LIKE '%good%'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	var shadow string
	if err := c.db.QueryRow(`SELECT relnamespace::regnamespace || '.accounts' FROM pg_class WHERE relname = 'accounts' AND relnamespace <> 'public'::regnamespace AND relkind = 'r'
  AND relnamespace::regnamespace::text NOT LIKE '%old'`).Scan(&shadow); err != nil {
		t.Fatal(err)
	}
	held, err := c.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(`UPDATE ` + shadow + ` SET amount = amount WHERE id = 30`); err != nil { // what no user does, and a drain does
		t.Fatal(err)
	}
	strain := pgtest.Strained(t, c.db)
	var took time.Duration
	for _, table := range []string{"accounts", "mirror"} {
		if _, err := old.Exec(`DELETE FROM ` + table + ` WHERE id = 10`); err != nil {
			t.Errorf("a user's DELETE: %v", err)
		}
		began := time.Now()
		pgtest.Exec(t, c.db, `UPDATE `+table+` SET amount = 77 WHERE id = 30`)
		took = max(took, time.Since(began))
		pgtest.Exec(t, c.db, `INSERT INTO `+table+` VALUES (50001, 'fresh', 1, NULL)`, `UPDATE `+table+` SET id = 50002 WHERE id = 40`)
	}
	strain.Within(took, time.Second, "a user's wait for a row of the shadow took")
	if err := errors.Join(held.Rollback(), old.Commit()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.equal()
	if told.count(differed) > 0 {
		t.Error("rows differed")
	}
}
