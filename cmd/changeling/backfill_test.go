package main

import (
	"strings"
	"testing"
	"time"
)

func TestBackfill(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	const statement = "UPDATE orders SET amount = amount + 1 WHERE id > 500"
	contains(t, "no name", s.run(2, "backfill", "run", statement).stderr, "--name")
	contains(t, "a setting", s.run(2, "backfill", "run", "--name", "x", "--max-lag", "soon", statement).stderr, "max-lag=soon: expected a duration")
	contains(t, "no job", s.run(2, "backfill", "run", "--name", "x", "SELECT 1").stderr, "expected UPDATE")
	contains(t, "plan", s.run(0, "backfill", "plan", statement).stdout, "by the key (\"id\") up to [\"1000\"]", "found by ")
	contains(t, "try", s.run(0, "backfill", "plan", "--try", statement).stdout, "tried        200 rows, 0 changed", "no row of the first batch")
	contains(t, "try all", s.run(0, "backfill", "plan", "--try", "UPDATE orders SET amount = amount + 1").stdout, "tried        200 rows, 200 changed", "all of it    about ", "write-ahead log")
	contains(t, "no rows are saved", s.run(0, "backfill", "list", "--json").stdout, "[]")
	contains(t, "a share", s.run(2, "backfill", "run", "--name", "x", "--vacuum", "often", statement).stderr, "expected a percentage")
	contains(t, "run", s.run(0, "backfill", "run", "--fast", "--name", "more", statement).stdout, "job more is done: 500 rows")
	s.run(0, "backfill", "run", "--fast", "--name", "more", statement)
	if got := s.ask("SELECT sum(amount) FROM orders"); got != "501000" {
		t.Errorf("the sum is %s", got)
	}
	s.run(0, "backfill", "create", "--name", "purge", "DELETE FROM orders WHERE id > 900")
	s.run(0, "backfill", "pause", "purge")
	s.run(0, "backfill", "resume", "purge")
	worker := s.start("work", "--fast", "--for", "1h")
	poll(t, func() bool { return s.ask("SELECT count(*) FROM orders") == "900" }, func() string { return "the worker" })
	worker.signal(15)
	began := time.Now()
	worker.ends(0)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the worker ended after %s", took)
	}
	contains(t, "list", s.run(0, "backfill", "list").stdout, "more", "purge", "done", "100 rows")
	contains(t, "list --json", s.run(0, "backfill", "list", "--json").stdout, `"status": "done"`)
	contains(t, "cancel", s.run(2, "backfill", "cancel", "purge").stderr, "is done")

	s.exec("ALTER TABLE orders ADD COLUMN cents bigint, ADD COLUMN customer_id int", "UPDATE orders SET customer_id = id % 5", "CREATE TABLE customers (id int PRIMARY KEY)", "INSERT INTO customers VALUES (1), (2), (3)")
	for args, says := range map[string]string{"--copy a=b": "expected one UPDATE", "--table orders": "expected one UPDATE", "--table orders --copy cents=1 --orphans x": "expected one UPDATE", "--table orders --copy cents": "no assignment",
		"--table orders --orphans customers": "no reference"} {
		contains(t, args, s.run(2, append([]string{"backfill", "run", "--name", "x"}, strings.Fields(args)...)...).stderr, says)
	}
	contains(t, "copy", s.run(0, "backfill", "run", "--fast", "--name", "copy", "--table", "orders", "--copy", "cents = amount * 100").stdout, "job copy is done: 900 rows")
	contains(t, "orphans", s.run(0, "backfill", "run", "--fast", "--name", "strays", "--table", "orders", "--orphans", "customer_id REFERENCES customers (id)").stdout, "job strays is done: 360 rows")
	contains(t, "no times", s.run(2, "backfill", "schedule", "--name", "x", statement).stderr, "say with --cron")
	contains(t, "wrong times", s.run(2, "backfill", "schedule", "--name", "x", "--cron", "daily", statement).stderr, "expected five")
	s.run(0, "backfill", "schedule", "--name", "nightly", "--cron", "0 3 * * *", statement)
	contains(t, "the next time", s.run(0, "backfill", "list").stdout, "again at ", "03:00 UTC")
}

// S32: what a migration leaves is done by a worker, and then the migration counts.
func TestS32WorkDoesWhatMigrationsLeft(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec("INSERT INTO orders (email, amount) SELECT 'more' || i, 1 FROM generate_series(1, 20000) i")
	dir := migrations(t, "1_wide.sql", "ALTER TABLE orders ALTER COLUMN amount TYPE numeric(20, 4);")
	contains(t, "up", s.run(0, "migrate", "up", "--detach", "--dir", dir).stdout, "is left to `changeling work`")
	s.run(10, "migrate", "wait", "--check", "--dir", dir)
	worker := s.start("work", "--fast", "--for", "1h")
	s.run(0, "migrate", "wait", "--timeout", "2m", "--dir", dir)
	worker.signal(15)
	worker.ends(0)
	contains(t, "status", s.run(0, "migrate", "status", "--check", "--dir", dir).stdout, "current")
}
