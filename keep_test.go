package changeling_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// kept is a change whose old table is kept, and where.
func kept(t *testing.T, db *sql.DB, ddl string) (c *changeling.Change, old string) {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, changeling.Config{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err = e.Start(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, s.OldTable
}

// onlyOurs demands that a cleanup refuses what somebody did, and goes through once he has taken it back.
func onlyOurs(t *testing.T, c *changeling.Change, exec func(...string), does, says, takesBack string) {
	t.Helper()
	exec(does)
	if _, err := c.Cleanup(t.Context(), changeling.Now); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), says) {
		t.Errorf("after %s: Cleanup = %v, want a refusal that says %q", does, err, says)
	}
	exec(strings.Split(takesBack, "; ")...)
}

// TestDropsOnlyWhatIsOurs: an old table that is another one by now, or not alone, is kept.
func TestDropsOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	exec := func(s ...string) { pgtest.Exec(t, db, s...) }
	exec(`CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 100) i`)
	c, old := kept(t, db, `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`)
	in := strings.TrimSuffix(old, ".orders")
	onlyOurs(t, c, exec, fmt.Sprintf(`CREATE TABLE %s.mine (a int)`, in), "mine", fmt.Sprintf(`DROP TABLE %s.mine`, in))
	exec(`CREATE SCHEMA aside`, `ALTER TABLE `+old+` SET SCHEMA aside`)
	onlyOurs(t, c, exec, `CREATE TABLE `+old+` (a int)`, "another one in its place", `DROP TABLE `+old+`; ALTER TABLE aside.orders SET SCHEMA `+in)
	onlyOurs(t, c, exec, fmt.Sprintf(`CREATE VIEW theirs AS SELECT * FROM %s`, old), "theirs", `DROP VIEW theirs`)
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped {
		t.Errorf("Cleanup = %v, %v", dropped, err)
	}
}

func TestMySQLDropsOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		exec := func(s ...string) { mytest.Exec(t, db, s...) }
		exec(`CREATE TABLE orders ` + myOrders)
		fillMy(t, db, "orders", 50)
		c, old := kept(t, db, myGrow)
		in := strings.TrimSuffix(old, ".orders")
		onlyOurs(t, c, exec, fmt.Sprintf(`CREATE TABLE %s.mine (a int)`, in), "mine", fmt.Sprintf(`DROP TABLE %s.mine`, in))
		exec(fmt.Sprintf(`RENAME TABLE %s TO aside`, old))
		onlyOurs(t, c, exec, fmt.Sprintf(`CREATE TABLE %s (a int)`, old), "another one in its place", fmt.Sprintf(`DROP TABLE %s; RENAME TABLE aside TO %s`, old, old))
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped {
			t.Errorf("Cleanup = %v, %v", dropped, err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}
