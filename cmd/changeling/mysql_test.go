package main

import (
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

func TestMySQL(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		db := mytest.Open(t, s.dsn)
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL, KEY (amount))`, `INSERT INTO orders VALUES (1, 10), (2, 20)`)
		const statement = "ALTER TABLE orders MODIFY amount bigint NOT NULL"
		contains(t, "plan", s.run(0, "plan", statement).stdout, "route      shadow-table", "follow binary log", "exclusive metadata lock", "nothing was changed")
		contains(t, "plan with triggers", s.run(0, "plan", "--capture", "triggers", statement).stdout, "install capture", "because they were asked for")
		contains(t, "a wrong way", s.run(2, "plan", "--capture", "guess", statement).stderr, `expected nothing, "binlog" or "triggers"`)
		contains(t, "a log elsewhere that is not there", s.run(0, "plan", "--binlog-from", "mysql://root@127.0.0.1:1/x", statement).stdout, "install capture", "does not answer")
		contains(t, "run", s.run(0, "run", "--fast", "--drop", "now", statement).stdout, "copy rows", "equal: 2 rows", "swapped at attempt", "done")
		contains(t, "run again", s.run(0, "run", statement).stdout, "nothing to do")
		contains(t, "list", s.run(0, "list").stdout, ".orders", "done")
		contains(t, "a wrong statement", s.run(2, "run", "ALTER TABLE orders MODIFY nothing bigint").stderr, "nothing", "Nothing was changed")
		contains(t, "an added column", s.run(0, "run", "ALTER TABLE orders ADD COLUMN note varchar(10)").stdout, "direct")
		contains(t, "doctor", s.run(2, "doctor").stderr, "does not know MySQL")
	})
}
