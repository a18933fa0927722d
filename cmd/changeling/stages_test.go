package main

import (
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestStages: what is dropped for later and renamed under a view is planned, told, listed, taken back and cleaned up.
func TestStages(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "a plain drop", s.run(0, "plan", "DROP TABLE orders").stdout, "route      direct")
	plan := s.run(0, "plan", "--drop", "after=7d", "DROP TABLE orders").stdout
	contains(t, "a drop in stages", plan, "route      recipe", "in two stages", "rows of it were written", "put table aside", "ACCESS EXCLUSIVE, waits at most 200ms", "drop old table", "brings it back", "fails as soon as it is put aside")
	s.run(0, "run", "--drop", "after=7d", "DROP TABLE orders")
	c := s.newest()
	if c.OldTable != "changeling_"+c.ID+"_old.orders" || c.Undo != "open" || c.DropAt == nil {
		t.Errorf("the change is %+v", c)
	}
	contains(t, "status", s.run(0, "status", c.ID).stdout, "old table", "changeling undo "+c.ID)
	contains(t, "the same again", s.run(0, "run", "--drop", "after=7d", "DROP TABLE orders").stdout, "nothing to do")
	contains(t, "cleanup", s.run(0, "cleanup").stdout, "kept "+c.OldTable)
	s.run(0, "undo", c.ID)
	if n := s.ask(`SELECT count(*) FROM orders`); n != "1000" {
		t.Errorf("%s rows came back", n)
	}
	contains(t, "what the server would refuse", s.run(3, "plan", "--drop", "never", "DROP TABLE orders, orders").stdout, "one table at a time")

	const rename = "ALTER TABLE orders RENAME TO purchases"
	contains(t, "a plain rename", s.run(0, "plan", rename).stdout, "route      direct", "breaks")
	contains(t, "a covered one", s.run(0, "plan", "--cover", rename).stdout, "route      recipe", "rename and cover", "a view under the old name", "ON CONFLICT ON CONSTRAINT")
	s.run(2, "run", "--cover", "--drop", "now", rename)
	s.run(2, "run", "--cover", statementText)
	s.run(0, "run", "--cover", rename)
	s.exec(`INSERT INTO orders (email, amount) VALUES ('old', 1)`, `INSERT INTO purchases (email, amount) VALUES ('new', 1)`)
	c = s.newest()
	contains(t, "status", s.run(0, "status", c.ID).stdout, "old name", "kept public.orders", "for ever", "cleanup "+c.ID+" --now")
	contains(t, "cleanup of all", s.run(0, "cleanup").stdout, "kept public.orders")
	contains(t, "cleanup", s.run(0, "cleanup", "--now", c.ID).stdout, "dropped public.orders")
	if s.ask(`SELECT to_regclass('orders') IS NULL`) != "true" || s.ask(`SELECT count(*) FROM purchases`) != "1002" {
		t.Error("the view is still there, or rows are missing")
	}
}

// TestMySQLStages: what cannot be done in stages there is refused before anything is done.
func TestMySQLStages(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		mytest.Exec(t, mytest.Open(t, s.dsn), `CREATE TABLE orders (id int NOT NULL PRIMARY KEY)`)
		contains(t, "a drop in stages", s.run(3, "run", "--drop", "after=7d", "DROP TABLE orders").stderr, "is for PostgreSQL", "RENAME TABLE")
		contains(t, "a covered rename", s.run(3, "run", "--cover", "ALTER TABLE orders RENAME TO purchases").stderr, "two statements here")
	})
}
