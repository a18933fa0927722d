package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
)

// swallowed is a change whose network swallows everything while it copies: no connection ends, and nothing arrives.
type swallowed struct {
	*testing.T
	dsn  string
	ddl  string
	open func(dsn string) *sql.DB
}

// test holds that the run ends by itself, that somebody else can take the change over when the lease has ended, and that nothing
// of what the first one said arrives late.
func (s swallowed) test(right func(when string)) {
	s.Helper()
	by, p := through(s.T, s.dsn, proxy.Cut{})
	s.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.Error(err)
		}
	})
	direct := s.open(s.dsn)
	slow := changeling.Config{Lease: 3 * time.Second, Owner: "the first", Throttle: changeling.Throttle{MaxRows: 500}}
	e, err := changeling.Open(s.Context(), s.open(by), slow)
	if err != nil {
		s.Fatal(err)
	}
	c, err := e.Start(s.Context(), s.ddl)
	if err != nil {
		s.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- c.Run(s.Context()) }()
	watch, err := changeling.Open(s.Context(), direct, changeling.Config{})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(watch.Close)
	seen, err := watch.Find(s.Context(), c.ID())
	if err != nil {
		s.Fatal(err)
	}
	reaches(s.T, seen, "the copy", func(s changeling.Status) bool { return s.Step == "copy rows" && s.RowsDone > 0 })
	release := p.Hold()
	select {
	case err := <-first:
		if !errors.Is(err, changeling.ErrStopped) && !errors.Is(err, changeling.ErrOwned) {
			s.Errorf("the run without a network ended with %v, want ErrStopped or ErrOwned", err)
		}
		first <- nil
	case <-time.After(2 * time.Minute):
		s.Error("the run without a network does not end by itself")
	}
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	err = changeling.ErrOwned
	for errors.Is(err, changeling.ErrOwned) && ctx.Err() == nil {
		err = changeling.Apply(ctx, direct, s.ddl, changeling.Config{Lease: 3 * time.Second, Owner: "the second"})
	}
	if err != nil {
		s.Errorf("the second run: %v", err)
	}
	right("with nothing arrived")
	release()
	select {
	case <-first:
	case <-time.After(time.Minute):
		s.Error("the first run does not end when the network is back")
	}
	right("with all arrived late")
}

// TestNetworkSwallows: a network that swallows packets and ends no connection.
func TestNetworkSwallows(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 20000) i`)
	swallowed{T: t, dsn: dsn, ddl: widenOrders, open: func(dsn string) *sql.DB { return pgtest.Open(t, dsn) }}.test(func(when string) {
		t.Helper()
		var rows, sum int64
		var kind string
		if err := db.QueryRow(`SELECT count(*), sum(amount), min(pg_typeof(amount)::text) FROM orders`).Scan(&rows, &sum, &kind); err != nil || rows != 20000 || sum != 20000*20001/2 || kind != "bigint" {
			t.Errorf("%s: %d rows, sum %d, %s, %v", when, rows, sum, kind, err)
		}
	})
}

// TestMySQLNetworkSwallows is the same where a statement is ended from another connection.
func TestMySQLNetworkSwallows(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 10000)
		}
		mytest.Exec(t, db, `ALTER TABLE twin MODIFY amount bigint NOT NULL DEFAULT 7 COMMENT 'in cents'`)
		swallowed{T: t, dsn: dsn, ddl: myGrow, open: func(dsn string) *sql.DB {
			db := mytest.Open(t, dsn)
			db.SetMaxOpenConns(20)
			return db
		}}.test(func(when string) {
			t.Helper()
			equalMy(t, db, "orders", "twin", when)
		})
	})
}
