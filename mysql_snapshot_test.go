package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// mySnapshot is a transaction that has a snapshot, and has not read the table yet.
func mySnapshot(t *testing.T, db *sql.DB, isolation string) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	mytest.Exec(t, conn, `SET SESSION TRANSACTION ISOLATION LEVEL `+isolation, `CREATE TABLE IF NOT EXISTS other (n int PRIMARY KEY)`, `START TRANSACTION WITH CONSISTENT SNAPSHOT`)
	if isolation == "READ COMMITTED" {
		mytest.Exec(t, conn, `INSERT INTO other VALUES (1)`)
	}
	return conn
}

func mySum(t *testing.T, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (rows, sum int64) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), `SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM orders`).Scan(&rows, &sum); err != nil {
		t.Fatal(err)
	}
	return rows, sum
}

// snapshotServer is a server of its own, because transactions of all its databases count.
func snapshotServer(t *testing.T, version string) (dsn string, db *sql.DB) {
	t.Helper()
	s := mytest.Own(t, dbtest.MySQLOptions{Version: version})
	mytest.Exec(t, mytest.Open(t, s.DSN("mysql")), `CREATE DATABASE shop`)
	db = mytest.Open(t, s.DSN("shop"))
	mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
	fillMy(t, db, "orders", 1000)
	return s.DSN("shop"), db
}

// TestMySQLSnapshots: a transaction whose snapshot is older than the shadow's last rows would read the new table as it was
// then, so it is waited for.
func TestMySQLSnapshots(t *testing.T) {
	t.Parallel()
	mytest.Each(t, testSnapshots)
}

func testSnapshots(t *testing.T, version string) {
	dsn, db := snapshotServer(t, version)
	reader := mySnapshot(t, db, "REPEATABLE READ")
	config := changeling.Config{CutoverAttempts: 3, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())}
	err := changeling.Apply(t.Context(), db, myGrow, config)
	if !errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "REPEATABLE READ") || !strings.Contains(err.Error(), "connection") {
		t.Fatalf("with an old snapshot: Apply = %v, want ErrNoCutover that names the connection", err)
	}
	mytest.Exec(t, db, `UPDATE orders SET amount = amount + 1`, `DELETE FROM orders WHERE id <= 10`)
	if rows, sum := mySum(t, reader); rows != 1000 || sum != 500500 {
		t.Errorf("the snapshot reads %d rows, sum %d; it was taken of 1000, sum 500500", rows, sum)
	}
	mytest.Exec(t, reader, `COMMIT`)

	// One that comes after the look before the lock is seen under it, and those are in nobody's way that read anew in each
	// statement.
	other := mySnapshot(t, db, "READ COMMITTED")
	reader = nil
	pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		if strings.HasPrefix(x.Text, "LOCK TABLES") && reader == nil {
			reader = mySnapshot(t, db, "REPEATABLE READ")
			mytest.Exec(t, db, `UPDATE orders SET amount = 0`) // so the shadow is written to under the lock
		}
		return x.Text
	})
	pool.SetMaxOpenConns(20)
	config.LockWait = 10 * time.Second // in which the mutant's users act, too
	err = changeling.Apply(t.Context(), pool, myGrow, config)
	if !errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "REPEATABLE READ") {
		t.Fatalf("with a snapshot from a moment ago: Apply = %v, want ErrNoCutover that says why", err)
	}
	if rows, sum := mySum(t, reader); rows != 990 || sum != 500500-55+990 {
		t.Errorf("the snapshot reads %d rows, sum %d; it was taken of 990, sum %d", rows, sum, 500500-55+990)
	}
	mytest.Exec(t, reader, `COMMIT`)

	config.CutoverAttempts = 0
	if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
		t.Fatalf("without old snapshots: %v", err)
	}
	if rows, sum := mySum(t, other); rows != 990 || sum != 0 {
		t.Errorf("READ COMMITTED reads %d rows, sum %d; want 990 and 0", rows, sum)
	}
}

// TestMySQLSnapshotsIgnored: who asks for it gets the swap, and hears of whom it may mislead. This is what goes wrong then.
func TestMySQLSnapshotsIgnored(t *testing.T) {
	t.Parallel()
	mytest.Each(t, testSnapshotsIgnored)
}

func testSnapshotsIgnored(t *testing.T, version string) {
	_, db := snapshotServer(t, version)
	var reader *sql.Conn
	var heard string
	config := changeling.Config{Snapshots: changeling.SnapshotsIgnore, Events: upon(func(e event.Event) {
		if n, ok := e.(event.Notice); ok {
			heard += n.Text
		}
	}, began("cutover"), func() { // one that is older than the shadow's indexes gets error 1412, as after a native ALTER
		mytest.Exec(t, db, `DELETE FROM orders WHERE id <= 10`)
		reader = mySnapshot(t, db, "REPEATABLE READ")
	})}
	if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(heard, "REPEATABLE READ") {
		t.Errorf("nobody was told: %q", heard)
	}
	if rows, _ := mySum(t, reader); rows == 990 {
		t.Error("the snapshot reads right: there is nothing to wait for, and the rule can go")
	}
}

// TestMySQLColumnSnapshots: a transaction that began before the new column was filled never reads it as it was before: the swap waits for it.
func TestMySQLColumnSnapshots(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		_, db := snapshotServer(t, version)
		reader := mySnapshot(t, db, "REPEATABLE READ")
		config := byColumn()
		config.CutoverAttempts = 3
		const ddl = `ALTER TABLE orders MODIFY amount bigint NOT NULL`
		time.Sleep(2100 * time.Millisecond) // the server counts in seconds
		err := changeling.Apply(t.Context(), db, ddl, config)
		if !errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "REPEATABLE READ") {
			t.Fatalf("with an old snapshot: Apply = %v, want ErrNoCutover", err)
		}
		if isMaria(t, db) {
			if rows, sum := mySum(t, reader); rows != 1000 || sum != 500500 {
				t.Errorf("the snapshot reads %d rows, sum %d; it was taken of 1000, sum 500500", rows, sum)
			}
		}
		mytest.Exec(t, reader, `COMMIT`)
		if err := changeling.Apply(t.Context(), db, ddl, config); err != nil {
			t.Fatal(err)
		}
		// Not waited for, it would: MariaDB shows what was there before the column was filled, MySQL says that the table is another one (1412).
		ahead := mySnapshot(t, db, "REPEATABLE READ")
		config.Snapshots = changeling.SnapshotsIgnore
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders MODIFY amount decimal(20,1) NOT NULL`, config); err != nil {
			t.Fatal(err)
		}
		var sum sql.NullString
		if err := ahead.QueryRowContext(t.Context(), `SELECT SUM(amount) FROM orders`).Scan(&sum); err == nil && sum.String == "500500.0" {
			t.Error("a snapshot that was not waited for reads what it should: the test shows nothing")
		} else {
			t.Logf("a snapshot that was not waited for reads %v (%v)", sum, err)
		}
	})
}
