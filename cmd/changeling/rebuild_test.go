package main

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestRebuild: the command says what it would do, does it, and does it again.
func TestRebuild(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	db := pgtest.Open(t, s.dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note text)`, `INSERT INTO orders SELECT i, repeat('n', 100) FROM generate_series(1, 5000) i`, `DELETE FROM orders WHERE id > 100`)
	file := fileOf(t, db)
	contains(t, "rebuild --plan", s.run(0, "rebuild", "orders", "--plan").stdout, "VACUUM FULL", "This is a plan")
	if now := fileOf(t, db); now != file {
		t.Error("--plan rebuilt the table")
	}
	for range 2 {
		s.run(0, "rebuild", "orders", "--fillfactor", "90", "--order-by", "orders_pkey")
		now := fileOf(t, db)
		if now == file {
			t.Error("the table has the file that it had")
		}
		file = now
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"rebuild"}, 2, "one table is expected"},
		{[]string{"rebuild", "nothing"}, 2, "does not exist"},
		{[]string{"rebuild", "orders", "--order-by", "nothing"}, 2, `"nothing"`},
		{[]string{"run", "VACUUM FULL orders"}, 3, "changeling rebuild"},
	} {
		contains(t, strings.Join(c.args, " "), s.run(c.code, c.args...).stderr, c.says)
	}
}

func fileOf(t *testing.T, db *sql.DB) (n int64) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT pg_relation_filenode('orders')`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
