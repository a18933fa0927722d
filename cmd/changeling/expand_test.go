package main

import (
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestExpand: the command says what it would do, does it, rests, is told by status and list, and ends by contract or abort.
func TestExpand(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	const rename = "ALTER TABLE orders RENAME COLUMN amount TO total"
	contains(t, "expand --plan", s.run(0, "expand", "--plan", rename).stdout, "expanded", "verify again", "contract", "ACCESS EXCLUSIVE", "code that knows the old column", "This is a plan")
	contains(t, "expand", s.run(0, "expand", rename).stdout, "is expanded", "changeling contract")
	c := s.newest()
	if c.Status != "expanded" || c.Owner != "" {
		t.Errorf("the change is %+v", c)
	}
	contains(t, "again", s.run(0, "expand", rename).stdout, "change "+c.ID+" is expanded")
	contains(t, "resume", s.run(0, "status", c.ID).stdout, "expanded", "old name", "pg_stat_statements", "changeling contract "+c.ID, "changeling abort "+c.ID)
	if list := s.run(0, "list").stdout; !strings.Contains(list, "expanded") || strings.Contains(list, "nobody works") {
		t.Errorf("list says %s", list)
	}
	s.exec(`UPDATE orders SET total = 17 WHERE id = 1`, `UPDATE orders SET amount = 18 WHERE id = 2`)
	if n := s.ask(`SELECT string_agg(amount || ' ' || total, ',' ORDER BY id) FROM orders WHERE id < 3`); n != "17 17,18 18" {
		t.Errorf("the columns are %s", n)
	}
	for _, x := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"run", rename}, 3, "changeling contract " + c.ID},
		{[]string{"expand", statementText}, 2, "RENAME COLUMN"},
		{[]string{"expand", "ALTER TABLE orders RENAME COLUMN email TO mail"}, 3, "is expanded on"},
		{[]string{"expand", "--drop", "soon", rename}, 2, "--drop"},
		{[]string{"cutover", c.ID}, 2, "nothing to cutover"},
		{[]string{"contract", "00000000"}, 2, "no change"},
	} {
		contains(t, strings.Join(x.args, " "), s.run(x.code, x.args...).stderr, x.says)
	}
	s.run(0, "abort", c.ID)
	s.run(0, "expand", "--as", "euros", "--down", "round(euros * 100)::int", "ALTER TABLE orders ALTER amount TYPE numeric USING amount / 100.0")
	s.exec(`UPDATE orders SET euros = 2.5 WHERE id = 1`)
	if n := s.ask(`SELECT amount FROM orders WHERE id = 1`); n != "250" {
		t.Errorf("the amount is %s", n)
	}
	s.run(0, "abort", s.newest().ID)
	s.run(0, "expand", "--quiet", rename)
	c = s.newest()
	contains(t, "resume", s.run(0, "resume", c.ID).stdout, "is expanded")
	s.run(0, "hold", c.ID)
	contains(t, "contract", s.run(0, "contract", c.ID).stdout, "verify again", "contract", "done")
	if n := s.ask(`SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders' AND column_name IN ('amount', 'total')`); n != "1" {
		t.Errorf("%s columns of both names are left", n)
	}
	contains(t, "done", s.run(0, "expand", rename).stdout, "change "+c.ID+" is done")
	contains(t, "contract again", s.run(2, "contract", c.ID).stderr, "is done")
}

// TestMySQLExpand is TestExpand on MySQL and MariaDB, and what is for PostgreSQL says so.
func TestMySQLExpand(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		const rename = "ALTER TABLE orders RENAME COLUMN amount TO total"
		mytest.Exec(t, mytest.Open(t, s.dsn), `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int, KEY (amount))`, `INSERT INTO orders VALUES (1, 1)`)
		contains(t, "expand --plan", s.run(0, "expand", "--plan", rename).stdout, "expanded", "verify again", "contract", "LOCK TABLES", "INVISIBLE", "This is a plan")
		contains(t, "expand", s.run(0, "expand", rename).stdout, "is expanded", "changeling contract")
		c := s.newest()
		contains(t, "status", s.run(0, "status", c.ID).stdout, "expanded", "changeling contract "+c.ID)
		contains(t, "again", s.run(0, "expand", rename).stdout, "change "+c.ID+" is expanded")
		contains(t, "a way for a name", s.run(2, "expand", "--down", "total", "ALTER TABLE orders RENAME COLUMN amount TO sum").stderr, "leave --as, --up and --down out")
		contains(t, "kept", s.run(2, "expand", "--drop", "never", rename).stderr, "cannot be kept")
		contains(t, "contract", s.run(0, "contract", c.ID).stdout, "verify again", "contract", "done")
		contains(t, "done", s.run(0, "expand", rename).stdout, "change "+c.ID+" is done")
	})
}
