package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLFourByteStatements: while somebody runs a statement with an emoji, MySQL shows no row of what lists the statements of others,
// which a change asks again and again.
func TestMySQLFourByteStatements(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 500)
		}
		mytest.Exec(t, db, `CREATE TABLE others (id int PRIMARY KEY, note text)`, `INSERT INTO others VALUES (1, '')`)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		stop := func() { cancel(); users.Wait() }
		t.Cleanup(stop)
		for _, text := range []string{`SELECT SLEEP(0.5), '🦊'`, `UPDATE others SET note = '🦊' WHERE id = 1 AND SLEEP(0.001) = 0`} {
			users.Go(func() {
				for ctx.Err() == nil {
					if _, err := db.ExecContext(context.WithoutCancel(ctx), text); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, Events: event.Lines(t.Output())}
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		stop() // the end of the test asks as well
		mytest.Exec(t, db, `ALTER TABLE twin MODIFY amount bigint NOT NULL DEFAULT 7 COMMENT 'in cents'`)
		equalMy(t, db, "orders", "twin", "beside emojis")
	})
}

// TestMySQLFourBytesUnderTheLock: a user's transaction waits for the cutover's lock with an emoji in its statement, as among many users one
// always does, so information_schema tells of no snapshot as long as the lock is held. A swap comes about all the same, and none beside an
// old snapshot does.
func TestMySQLFourBytesUnderTheLock(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		dsn, db := snapshotServer(t, version)
		mytest.Exec(t, db, `CREATE TABLE others (id int PRIMARY KEY, note text)`, `INSERT INTO others VALUES (1, '')`)
		waiting := func() bool {
			return ask[bool](t, db, `SELECT EXISTS (SELECT 1 FROM performance_schema.threads WHERE processlist_state = 'Waiting for table metadata lock' AND processlist_info LIKE 'UPDATE orders%')`)
		}
		fox := func() error {
			conn, err := db.Conn(t.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, text := range []string{`SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`, `BEGIN`, `UPDATE others SET note = 'x'`, `UPDATE orders SET note = '🦊' WHERE id = 1`, `COMMIT`} {
				if _, err := conn.ExecContext(t.Context(), text); err != nil {
					return err
				}
			}
			return nil
		}
		for _, c := range []struct {
			snapshot bool // somebody takes one in the last moment before the lock
			mutant   bool // which sees none
		}{{}, {snapshot: true}, {snapshot: true, mutant: true}} {
			mytest.Exec(t, db, `DROP TABLE orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 1000)
			var reader *sql.Conn
			user, foxes := make(chan error, 1), 0
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if strings.HasPrefix(x.Text, "LOCK TABLES") && c.snapshot && reader == nil {
					mytest.Exec(t, db, `UPDATE orders SET amount = 0`) // which the shadow gets under the lock
					reader = mySnapshot(t, db, "REPEATABLE READ")
				}
				if strings.Contains(x.Text, "START TRANSACTION WITH CONSISTENT SNAPSHOT") {
					foxes++
					go func() { user <- fox() }()
					for !waiting() {
						time.Sleep(time.Millisecond)
					}
				}
				if c.mutant {
					return strings.Replace(x.Text, "OR t.type = 'FOREGROUND'", "OR 1 = 0 AND t.type = 'FOREGROUND'", 1)
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			err := changeling.Apply(t.Context(), pool, myGrow, changeling.Config{
				CutoverAttempts: 1, LockWait: 10 * time.Second, DropAfter: changeling.DropNow, Fast: true, Capture: changeling.CaptureTriggers, Events: event.Lines(t.Output()),
			})
			if foxes != 1 {
				t.Fatalf("%+v: Apply = %v; snapshots were looked for under the lock %d times, want once", c, err, foxes)
			}
			if err := <-user; err != nil {
				t.Errorf("%+v: the user got %v", c, err)
			}
			switch {
			case !c.snapshot || c.mutant:
				if err != nil {
					t.Errorf("%+v: Apply = %v", c, err)
				}
				if c.mutant {
					if rows, sum := mySum(t, reader); rows == 1000 && sum == 0 {
						t.Error("the snapshot reads right beside a swap that did not wait: the mutant lives")
					}
				}
			case !errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "REPEATABLE READ"):
				t.Errorf("%+v: Apply = %v, want ErrNoCutover that names the snapshot", c, err)
			default:
				if rows, sum := mySum(t, reader); rows != 1000 || sum != 0 {
					t.Errorf("the snapshot reads %d rows, sum %d; it was taken of 1000, sum 0", rows, sum)
				}
			}
			if reader != nil {
				mytest.Exec(t, reader, `COMMIT`)
			}
		}
	}, "mysql")
}
