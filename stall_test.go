package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// bound is the longest wait for a lock that the changes of this test are allowed, and slack what a busy machine adds to it
// until the server has noticed that a wait is over.
const (
	bound = 150 * time.Millisecond
	slack = 250 * time.Millisecond
)

// TestNobodyWaits runs each kind of recipe while users write and others keep transactions open, and asks the server how long
// anybody has waited for the lock of a table. A change that neither looks who holds it nor bounds its wait makes them wait.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	boundless := regexp.MustCompile(`SET LOCAL lock_timeout = \d+`)
	forever := func(_ context.Context, x mutant.Statement) string {
		if asksWho(x.Text) {
			return `SELECT '', 0::float8 WHERE $1::text IS NULL`
		}
		return boundless.ReplaceAllString(x.Text, "SET LOCAL lock_timeout = 0")
	}
	for _, c := range []struct {
		name, ddl string
		mutate    mutant.Rewrite
	}{
		{"check", `ALTER TABLE accounts ADD CONSTRAINT c CHECK (amount >= 0)`, nil},
		{"not null", `ALTER TABLE accounts ALTER note SET NOT NULL`, nil},
		{"foreign key", `ALTER TABLE accounts ADD FOREIGN KEY (owner) REFERENCES owners`, nil},
		{"unique and direct clauses", `ALTER TABLE accounts ADD UNIQUE (email), DROP COLUMN gone, ADD COLUMN fresh int DEFAULT 3`, nil},
		{"primary key", `ALTER TABLE accounts DROP CONSTRAINT accounts_pkey, ADD PRIMARY KEY (id, owner)`, nil},
		{"create index", `CREATE INDEX ON accounts (note, amount)`, nil},
		{"drop index", `DROP INDEX accounts_amount`, nil},
		{"reindex", `REINDEX TABLE accounts`, nil},
		{"a default for each row", `ALTER TABLE accounts ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()`, nil},
		{"a wider type under a check", `ALTER TABLE accounts ALTER COLUMN code TYPE varchar(20)`, nil},
		{"reindex of one index", `REINDEX INDEX accounts_amount`, nil},
		{"foreign key of a partitioned table", `ALTER TABLE parted ADD FOREIGN KEY (owner) REFERENCES owners`, nil},
		{"check of a partitioned table", `ALTER TABLE parted ADD CONSTRAINT c CHECK (amount >= 0)`, nil},
		{"unique of a partitioned table", `ALTER TABLE parted ADD UNIQUE (id, email)`, nil},
		{"index of a partitioned table", `CREATE INDEX by_note ON parted (note)`, nil},
		{"attach", `ALTER TABLE parted ATTACH PARTITION loose FOR VALUES FROM (1000000) TO (2000000)`, nil},
		{"detach", `ALTER TABLE parted DETACH PARTITION far CONCURRENTLY`, nil},
		{"without a bound", `ALTER TABLE accounts ADD CONSTRAINT c CHECK (amount >= 0)`, forever},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, `CREATE TABLE owners (id int PRIMARY KEY)`, `INSERT INTO owners SELECT generate_series(1, 100)`,
				`CREATE TABLE accounts (id bigint PRIMARY KEY, owner int NOT NULL, email text, amount int, note text, gone int, code varchar(10) CHECK (code <> ''))`,
				`INSERT INTO accounts SELECT i, 1 + i % 100, 'e' || i, i, 'n' FROM generate_series(1, 20000) i`, `CREATE INDEX accounts_amount ON accounts (amount)`)
			if strings.Contains(c.ddl, "parted") { // users write to it through a view of the other name
				pgtest.Exec(t, db, `CREATE TABLE parted (LIKE accounts INCLUDING INDEXES) PARTITION BY RANGE (id)`,
					`CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10001)`, `CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10001) TO (900000)`,
					`CREATE TABLE far PARTITION OF parted FOR VALUES FROM (2000000) TO (3000000)`, `CREATE TABLE loose (LIKE accounts INCLUDING INDEXES)`,
					`INSERT INTO parted SELECT * FROM accounts`, `INSERT INTO loose SELECT id + 1000000, owner, email, amount, note, gone, code FROM accounts`,
					`INSERT INTO far SELECT id + 2000000, owner, email, amount, note, gone, code FROM accounts`,
					`DROP TABLE accounts`, `CREATE VIEW accounts AS SELECT * FROM parted`)
			}
			goesByRecipe(t, db, c.ddl)
			pool := db
			if c.mutate != nil {
				pool = pgtest.Mutant(t, dsn, c.mutate)
			}
			ctx, stop := context.WithCancel(t.Context())
			var users sync.WaitGroup
			strain := pgtest.Strained(t, db)
			longest := watchWaits(t, ctx, &users, db)
			for n := range 3 {
				users.Go(func() { write(t, ctx, db, n) })
			}
			// The engine does not even try for a lock that a transaction of a second holds; against this one it does. The mutant
			// waits for as long as it takes until somebody behind it has waited for too long.
			age, enough := 800*time.Millisecond, func() bool { return true }
			if c.mutate != nil {
				age, enough = 4*time.Second, func() bool { return longest() > bound+slack }
			}
			users.Go(func() { linger(t, ctx, db, age, enough) })
			changeCtx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			err := changeling.Apply(changeCtx, pool, c.ddl, changeling.Config{LockWait: bound})
			stop()
			users.Wait()
			waited := longest()
			switch {
			case err != nil:
				t.Error(err)
			case c.mutate == nil:
				strain.Within(waited, bound+slack, "the longest wait of a user for a lock took")
			case waited <= bound+slack:
				t.Errorf("the mutant lives: without a bound nobody waited longer than %s", waited)
			}
		})
	}
}

// watchWaits asks the server again and again who waits for the lock of a table or a row of this database, but for the engine, and answers the longest
// wait so far.
func watchWaits(t *testing.T, ctx context.Context, group *sync.WaitGroup, db *sql.DB) func() time.Duration {
	var longest atomic.Int64
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var ms float64
			err := db.QueryRowContext(ctx, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)::float8 * 1000
FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND l.locktype IN ('relation', 'transactionid', 'tuple') AND a.datname = current_database() AND a.application_name NOT LIKE 'changeling%'`).Scan(&ms)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			longest.Store(max(longest.Load(), int64(ms*float64(time.Millisecond))))
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() time.Duration { return time.Duration(longest.Load()) }
}

// write changes rows until ctx ends. No statement of a user may fail.
func write(t *testing.T, ctx context.Context, db *sql.DB, n int) {
	for i := 0; ; i++ {
		id := 1 + (n+3*i)%20000
		_, err := db.ExecContext(ctx, fmt.Sprintf(`UPDATE accounts SET amount = %d, email = 'e%d' WHERE id = %d; INSERT INTO accounts (id, owner, email, amount, note) VALUES (%d, 1, 'f%[4]d', 1, 'n')`,
			i, id, id, 100000+10*i+n))
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Errorf("a user's statement failed: %v", err)
			return
		}
	}
}

// linger keeps a transaction open on the table for some time, and until it is enough, and another one soon after it.
func linger(t *testing.T, ctx context.Context, db *sql.DB, d time.Duration, enough func() bool) {
	for ctx.Err() == nil {
		tx, err := db.BeginTx(ctx, nil)
		if err == nil {
			_, err = tx.ExecContext(ctx, `SELECT FROM accounts LIMIT 1`)
		}
		if ctx.Err() != nil {
			return // the transaction ends with its context
		}
		if err != nil {
			t.Errorf("a user's statement failed: %v", err)
			return
		}
		for _, wait := range []time.Duration{d, 300 * time.Millisecond} {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			for deadline := time.Now().Add(time.Minute); !enough() && ctx.Err() == nil && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			_ = tx.Rollback() // the second one says that it was over
		}
	}
}
