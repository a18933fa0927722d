package main

import (
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestWithChildren: a key and what refers to it are planned, changed, shown and taken back under one id.
func TestWithChildren(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE customers (id serial PRIMARY KEY)`, `CREATE TABLE bills (customer int REFERENCES customers)`, `ALTER TABLE bills ADD id bigint PRIMARY KEY`,
		`INSERT INTO customers DEFAULT VALUES`, `INSERT INTO bills VALUES (1, 1)`)
	const widen = "ALTER TABLE customers ALTER COLUMN id TYPE bigint"
	contains(t, "plan", s.run(0, "plan", "--with-children", widen).stdout, "change public.bills", `ALTER TABLE "public"."bills" ALTER COLUMN "customer" TYPE bigint`,
		"widen sequence customers_id_seq", "plan customers", "copy rows", "This is a plan")
	contains(t, "a swap of all", s.run(0, "plan", "--with-children", "ALTER TABLE customers ALTER COLUMN id TYPE text").stdout, "prepare public.bills", "validate bills_customer_fkey", "finish public.bills")
	contains(t, "no type", s.run(2, "run", "--with-children", "DROP TABLE bills").stderr, "ALTER COLUMN")
	contains(t, "run", s.run(0, "run", "--with-children", widen).stdout, "change public.bills", "done")
	id := s.ask(`SELECT id FROM changeling.change WHERE table_name = 'customers'`)
	contains(t, "status", s.run(0, "status", id).stdout, "member     public.bills: done by change", "changeling undo "+id)
	contains(t, "again", s.run(0, "plan", "--with-children", widen).stdout, "made already")
	s.exec(`CREATE TABLE notes (id int PRIMARY KEY)`)
	const both = widen + "; ALTER TABLE notes ALTER COLUMN id TYPE bigint"
	contains(t, "with another statement", s.run(0, "run", "--with-children", both).stdout, "statement 2 of 2")
	if again := s.run(0, "run", "--with-children", both).stdout; strings.Contains(again, "statement 1") || !strings.Contains(again, "nothing to do") {
		t.Errorf("what is made was looked at again:\n%s", again)
	}
	s.run(0, "undo", "--yes", id)
	if n := s.ask(`SELECT count(*) FROM pg_attribute WHERE attrelid IN ('customers'::regclass, 'bills'::regclass) AND attname IN ('id', 'customer') AND atttypid = 'int'::regtype`); n != "2" {
		t.Errorf("%s columns are integers after the undo, want 2", n)
	}
	contains(t, "undone", s.run(0, "undo", "--yes", id).stdout, "undone already")
}

// TestMySQLWithChildren: all tables of a family are swapped together on MySQL; MariaDB says why it cannot.
func TestMySQLWithChildren(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		db := mytest.Open(t, s.dsn)
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY)`, `CREATE TABLE bills (id int PRIMARY KEY, of_order int, FOREIGN KEY (of_order) REFERENCES orders (id))`,
			`INSERT INTO orders VALUES (1)`, `INSERT INTO bills VALUES (1, 1)`)
		const widen = "ALTER TABLE orders MODIFY id bigint NOT NULL"
		if strings.HasPrefix(version, "mariadb") {
			contains(t, "a family", s.run(3, "run", "--with-children", widen).stderr, "MariaDB renames no tables under a lock")
			return
		}
		contains(t, "plan", s.run(0, "plan", "--with-children", widen).stdout, "bills", "MODIFY COLUMN `of_order` bigint", "prepare ", "finish ", "This is a plan")
		contains(t, "run", s.run(0, "run", "--with-children", widen).stdout, "prepare ", "done")
		var id, types string
		if err := db.QueryRow(`SELECT (SELECT id FROM changeling.chg WHERE table_schema = DATABASE() AND table_name = 'orders'), (SELECT GROUP_CONCAT(DISTINCT column_type) FROM information_schema.columns WHERE table_schema = DATABASE() AND (table_name, column_name) IN (('orders', 'id'), ('bills', 'of_order')))`).Scan(&id, &types); err != nil || types != "bigint" {
			t.Fatalf("change %s: the columns are %s, %v", id, types, err)
		}
		contains(t, "status", s.run(0, "status", id).stdout, "bills: done by change")
		contains(t, "again", s.run(0, "plan", "--with-children", widen).stdout, "made already")
		contains(t, "undo", s.run(0, "undo", "--yes", id).stdout, "undone")
	})
}
