package mysql_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
)

// figure is what the first row of a signal says; zero if there is none.
func figure(t *testing.T, db *sql.DB, query string) float64 {
	t.Helper()
	var of string
	var value float64
	if err := db.QueryRowContext(t.Context(), query).Scan(&of, &value); err != nil && err != sql.ErrNoRows {
		t.Fatalf("%v in: %s", err, query)
	}
	return value
}

// until waits for a signal to come to a figure.
func until(t *testing.T, db *sql.DB, query string, there func(float64) bool) {
	t.Helper()
	var v float64
	tick := time.NewTicker(200 * time.Millisecond) // InnoDB shows transactions as they were, to those who ask more often than every 100 ms
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); <-tick.C {
		if v = figure(t, db, query); there(v) {
			return
		}
	}
	t.Errorf("it is %v after 3 min: %s", v, query)
}

// TestSignals: each text is understood by every server, and shows what it should.
func TestSignals(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		plain := mytest.Open(t, mytest.Database(t, version))
		db := mysql.Wrap(plain)
		defer db.Close()
		maria := mytest.Server(t, version).MariaDB()
		if v := figure(t, db, mysql.ActiveSessions); v < 1 {
			t.Errorf("%v threads are running, and one asks", v)
		}
		before := figure(t, db, mysql.Log)
		mytest.Exec(t, plain, "CREATE DATABASE IF NOT EXISTS changeling_signals", "CREATE TABLE IF NOT EXISTS changeling_signals.l (id int PRIMARY KEY, n int)", "REPLACE INTO changeling_signals.l VALUES (1, 1)")
		t.Cleanup(func() { plain.Exec("DROP DATABASE changeling_signals") })
		until(t, db, mysql.Log, func(v float64) bool { return v > before })

		if v := figure(t, db, mysql.Waits(maria)); v != 0 {
			t.Errorf("%v sessions wait for us, and nobody does", v)
		}
		holder, err := plain.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, holder, "UPDATE changeling_signals.l SET n = 2")
		waiter, err := plain.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, waiter, "USE changeling_signals", "SET @n = 3")
		done := make(chan error, 1)
		go func() { // by another name than ours, as a trigger writes it
			_, err := waiter.ExecContext(t.Context(), "UPDATE l SET n = @n WHERE id = 1")
			done <- err
		}()
		until(t, db, mysql.Waits(maria), func(v float64) bool { return v == 1 })
		until(t, db, mysql.Transactions, func(v float64) bool { return v >= 1 })
		if err := holder.Rollback(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		until(t, db, mysql.Waits(maria), func(v float64) bool { return v == 0 })
		if err := waiter.Rollback(); err != nil {
			t.Error(err)
		}

		snapshot, err := plain.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := snapshot.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM changeling_signals.l").Scan(&n); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			mytest.Exec(t, plain, "UPDATE changeling_signals.l SET n = n + "+string(rune('1'+i)))
		}
		until(t, db, mysql.History, func(v float64) bool { return v >= 1 })
		if err := snapshot.Rollback(); err != nil {
			t.Error(err)
		}

		var dir, host string
		if err := db.QueryRowContext(t.Context(), mysql.Data).Scan(&dir, &host); err != nil || dir == "" || host == "" {
			t.Errorf("data in %q on %q, %v", dir, host, err)
		}
		rows, err := db.QueryContext(t.Context(), mysql.Replicas(maria))
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
		store := &state.Store{DB: db, Text: mysql.StateText()}
		if err := store.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		var beats float64
		if err := db.QueryRowContext(t.Context(), mysql.Heartbeat("none")).Scan(&beats); err != sql.ErrNoRows {
			t.Errorf("the beats of no change = %v, %v", beats, err)
		}
	})
}
