package dying_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// program is what the tests kill: each kind of statement, on two connections. It returns the first error it meets.
// What it leaves in the table after n statements is in left.
func program(ctx context.Context, db *sql.DB) error {
	insert := func(run func(ctx context.Context, query string, args ...any) (sql.Result, error), n int) error {
		_, err := run(ctx, "INSERT INTO t VALUES ($1)", n)
		return err
	}
	if err := insert(db.ExecContext, 1); err != nil { // 1
		return err
	}
	var got int
	if err := db.QueryRowContext(ctx, "INSERT INTO t VALUES (2) RETURNING n").Scan(&got); err != nil { // 2
		return err
	}
	other, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	tx, err := db.BeginTx(ctx, nil) // 3
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := insert(tx.ExecContext, 3); err != nil { // 4
		return err
	}
	if err := insert(other.ExecContext, 4); err != nil { // 5
		return err
	}
	if err := tx.Commit(); err != nil { // 6
		return err
	}
	prepared, err := other.PrepareContext(ctx, "INSERT INTO t SELECT generate_series($1::int, 6) RETURNING n")
	if err != nil {
		return err
	}
	rows, err := prepared.QueryContext(ctx, 5) // 7: two rows
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	undone, err := db.BeginTx(ctx, nil) // 8
	if err != nil {
		return err
	}
	if err := insert(undone.ExecContext, 7); err != nil { // 9
		return errors.Join(err, undone.Rollback())
	}
	return undone.Rollback() // 10
}

const statements = 10

// left is what stands in the table when death comes after the statement with that number; 0 is at the beginning.
var left = [statements + 1]string{
	0: "{}", 1: "{1}", 2: "{1,2}", 3: "{1,2}", 4: "{1,2}", 5: "{1,2,4}", 6: "{1,2,3,4}",
	7: "{1,2,3,4,5,6}", 8: "{1,2,3,4,5,6}", 9: "{1,2,3,4,5,6}", 10: "{1,2,3,4,5,6}",
}

func TestAlive(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, pgtest.Open(t, dsn), "CREATE TABLE t (n int)")
	db, c := pgtest.Dying(t, dsn, dying.Death{})
	if err := program(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if c.Count() != statements {
		t.Errorf("Count() = %d, want %d", c.Count(), statements)
	}
	if text, dead := c.Died(); dead {
		t.Errorf("Died() = %q, true for one that never dies", text)
	}
}

func TestDeathAtEachStatement(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		for n := 1; n <= statements; n++ {
			for _, moment := range []dying.Moment{dying.Before, dying.After} {
				t.Run(fmt.Sprintf("%d/%v-%d", major, moment, n), func(t *testing.T) {
					t.Parallel()
					dsn := pgtest.Database(t, major)
					witness := pgtest.Open(t, dsn)
					pgtest.Exec(t, witness, "CREATE TABLE t (n int)")
					db, c := pgtest.Dying(t, dsn+"&application_name=victim", dying.Death{At: n, Moment: moment})
					if err := program(t.Context(), db); !errors.Is(err, dying.ErrDead) {
						t.Fatalf("the program ended with %v, want ErrDead", err)
					}
					if c.Count() != n {
						t.Errorf("Count() = %d, want %d", c.Count(), n)
					}
					if text, dead := c.Died(); !dead || text == "" {
						t.Errorf("Died() = %q, %v", text, dead)
					}
					awaitDisconnect(t, witness)
					want := left[n]
					if moment == dying.Before {
						want = left[n-1]
					}
					var got string
					if err := witness.QueryRowContext(t.Context(), "SELECT coalesce(array_agg(n ORDER BY n), '{}')::text FROM t").Scan(&got); err != nil {
						t.Fatal(err)
					}
					if got != want {
						t.Errorf("the table holds %s, want %s", got, want)
					}
				})
			}
		}
	}
}

// TestEverythingIsDead looks at what was open when death came, and at what is asked for afterwards.
func TestEverythingIsDead(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Database(t)
	witness := pgtest.Open(t, dsn)
	pgtest.Exec(t, witness, "CREATE TABLE t (n int)")
	db, _ := pgtest.Dying(t, dsn+"&application_name=victim", dying.Death{At: 5})

	open := func() *sql.Conn {
		c, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	idle, reading, waiting := open(), open(), open()
	prepared, err := idle.PrepareContext(ctx, "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil) // 1
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, tx, "LOCK TABLE t")                                                // 2
	rows, err := reading.QueryContext(ctx, "SELECT generate_series(1, 1000)::bigint") // 3
	if err != nil {
		t.Fatal(err)
	}
	blocked := make(chan error, 1)
	go func() {
		_, err := waiting.ExecContext(ctx, "INSERT INTO t VALUES (1)") // 4
		blocked <- err
	}()
	eventually(t, "the insert waits for the lock", func() bool {
		var n int
		err := witness.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n)
		return err == nil && n == 1
	})
	_, err = tx.ExecContext(ctx, "INSERT INTO t VALUES (2)") // 5

	for what, err := range map[string]error{
		"the statement at which death came": err,
		"a statement that was waiting":      <-blocked,
		"rows that were being read": func() error {
			rows.Next()
			return rows.Err()
		}(),
		"a transaction": tx.Commit(),
		"a pinned connection": func() error {
			_, err := idle.ExecContext(ctx, "SELECT 1")
			return err
		}(),
		"a prepared statement": func() error {
			_, err := prepared.ExecContext(ctx)
			return err
		}(),
		"a new connection": func() error {
			_, err := db.Conn(ctx)
			return err
		}(),
		"a ping": db.PingContext(ctx),
		"a transaction on the pool": func() error {
			_, err := db.BeginTx(ctx, nil)
			return err
		}(),
	} {
		if !errors.Is(err, dying.ErrDead) {
			t.Errorf("%s got %v, want ErrDead", what, err)
		}
	}
	awaitDisconnect(t, witness)
	var n int
	if err := witness.QueryRowContext(ctx, "SELECT count(*) FROM t WHERE n = 2").Scan(&n); err != nil || n != 0 {
		t.Errorf("the transaction left %d rows, %v; want 0", n, err)
	}
}

// TestFaithful sends what passes through the optional interfaces of a driver, with the wrapper and without it.
func TestFaithful(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	plain := pgtest.Open(t, dsn)
	wrapped, _ := pgtest.Dying(t, dsn, dying.Death{})
	for _, c := range []struct {
		rule string
		ask  func(ctx context.Context, db *sql.DB) (any, error)
	}{
		{"a slice as an argument", func(ctx context.Context, db *sql.DB) (any, error) {
			var sum int
			err := db.QueryRowContext(ctx, "SELECT sum(n) FROM unnest($1::int[]) n", []int{1, 2, 3}).Scan(&sum)
			return sum, err
		}},
		{"a slice as an argument of a prepared statement", func(ctx context.Context, db *sql.DB) (any, error) {
			stmt, err := db.PrepareContext(ctx, "SELECT cardinality($1::int[])")
			if err != nil {
				return nil, err
			}
			defer stmt.Close()
			var n int
			err = stmt.QueryRowContext(ctx, []int{1, 2, 3}).Scan(&n)
			return n, err
		}},
		{"the isolation level and access mode of a transaction", func(ctx context.Context, db *sql.DB) (any, error) {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
			if err != nil {
				return nil, err
			}
			defer tx.Rollback()
			var got string
			err = tx.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only')").Scan(&got)
			return got, err
		}},
		{"column types", func(ctx context.Context, db *sql.DB) (any, error) {
			rows, err := db.QueryContext(ctx, "SELECT 1::numeric(10,2) AS a, 'x'::varchar(7) AS b, now() AS c, NULL::text AS d")
			if err != nil {
				return nil, err
			}
			defer rows.Close()
			types, err := rows.ColumnTypes()
			var all []string
			for _, c := range types {
				length, hasLength := c.Length()
				precision, scale, hasPrecision := c.DecimalSize()
				nullable, knowsNullable := c.Nullable()
				all = append(all, fmt.Sprint(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength,
					precision, scale, hasPrecision, nullable, knowsNullable))
			}
			return strings.Join(all, "; "), err
		}},
		{"rows affected", func(ctx context.Context, db *sql.DB) (any, error) {
			result, err := db.ExecContext(ctx, "CREATE TEMP TABLE x AS SELECT generate_series(1, 5)")
			if err != nil {
				return nil, err
			}
			return result.RowsAffected()
		}},
		{"an error of the server", func(ctx context.Context, db *sql.DB) (any, error) {
			_, err := db.ExecContext(ctx, "SELECT 1/0")
			return fmt.Sprint(err), nil
		}},
		{"no rows", func(ctx context.Context, db *sql.DB) (any, error) {
			var n int
			return fmt.Sprint(db.QueryRowContext(ctx, "SELECT 1 WHERE false").Scan(&n)), nil
		}},
		{"a context that ends", func(ctx context.Context, db *sql.DB) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			_, err := db.ExecContext(ctx, "SELECT pg_sleep(60)")
			return errors.Is(err, context.DeadlineExceeded), nil
		}},
		{"a pooled connection with an open transaction is thrown away", func(ctx context.Context, db *sql.DB) (any, error) {
			db.SetMaxOpenConns(1)
			defer db.SetMaxOpenConns(0)
			if _, err := db.ExecContext(ctx, "BEGIN"); err != nil {
				return nil, err
			}
			var inTransaction bool
			err := db.QueryRowContext(ctx, "SELECT now() <> statement_timestamp()").Scan(&inTransaction)
			return inTransaction, err
		}},
	} {
		want, err := c.ask(t.Context(), plain)
		if err != nil {
			t.Fatalf("%s, without the wrapper: %v", c.rule, err)
		}
		if got, err := c.ask(t.Context(), wrapped); err != nil || got != want {
			t.Errorf("%s = %v, %v; without the wrapper %v", c.rule, got, err, want)
		}
	}
}

func awaitDisconnect(t *testing.T, witness *sql.DB) {
	t.Helper()
	eventually(t, "the server noticed that the victim's connections are gone", func() bool {
		var n int
		err := witness.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'victim'").Scan(&n)
		return err == nil && n == 0
	})
}

func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); !true(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 3 min: %s", what)
		}
	}
}
