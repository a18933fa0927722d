package main

import (
	"testing"
	"time"
)

func TestBackfill(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	const statement = "UPDATE orders SET amount = amount + 1 WHERE id > 500"
	contains(t, "no name", s.run(2, "backfill", "run", statement).stderr, "--name")
	contains(t, "no job", s.run(2, "backfill", "run", "--name", "x", "SELECT 1").stderr, "expected UPDATE")
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
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the worker ended after %s", took)
	}
	contains(t, "list", s.run(0, "backfill", "list").stdout, "more", "purge", "done", "100 rows")
	contains(t, "list --json", s.run(0, "backfill", "list", "--json").stdout, `"status": "done"`)
	contains(t, "cancel", s.run(2, "backfill", "cancel", "purge").stderr, "is done")
}
