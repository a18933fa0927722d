package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMigrateReadsTheBinaryLog: what a migration gives to the engine is followed as run does it, and as the flags say.
func TestMigrateReadsTheBinaryLog(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		mytest.Exec(t, mytest.Open(t, s.dsn), `CREATE TABLE digits (d int)`, `INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)`,
			`CREATE TABLE orders (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, amount int NOT NULL)`,
			`INSERT INTO orders (amount) SELECT a.d FROM digits a, digits b, digits c, digits d, (SELECT 1 UNION ALL SELECT 2) e`, `ANALYZE TABLE orders`)
		dir := t.TempDir()
		for name, text := range map[string]string{"1_wide.sql": "ALTER TABLE orders MODIFY amount bigint NOT NULL;", "2_wider.sql": "ALTER TABLE orders MODIFY amount decimal(30) NOT NULL;"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		contains(t, "by the log", s.run(0, "migrate", "up", "--dir", dir, "--to", "1", "--fast").stdout, "follow binary log")
		contains(t, "by triggers", s.run(0, "migrate", "up", "--dir", dir, "--fast", "--capture", "triggers").stdout, "install capture")
	})
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		db := mytest.Open(t, s.dsn)
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL, KEY (amount))`, `INSERT INTO orders VALUES (1, 10), (2, 20)`)
		const statement = "ALTER TABLE orders MODIFY amount bigint NOT NULL"
		contains(t, "plan", s.run(0, "plan", statement).stdout, "route      shadow-table", "follow binary log", "exclusive metadata lock", "nothing was changed")
		contains(t, "its costs", s.run(0, "plan", statement).stdout, "by shadow-table about", "of redo log and binary log (", "by shadow-column about", "leaves the table")
		contains(t, "a second column's", s.run(0, "plan", "--route", "column", statement).stdout, "by shadow-table about", "by shadow-column about", "more while the change runs\n")
		contains(t, "in JSON", s.run(0, "plan", "--json", statement).stdout, `"route": "shadow-column"`, `"binlog_bytes": `)
		contains(t, "plan with triggers", s.run(0, "plan", "--capture", "triggers", statement).stdout, "install capture", "because they were asked for")
		contains(t, "a wrong way", s.run(2, "plan", "--capture", "guess", statement).stderr, `expected nothing, "binlog" or "triggers"`)
		contains(t, "a log elsewhere that is not there", s.run(0, "plan", "--binlog-from", "mysql://root@127.0.0.1:1/x", statement).stdout, "install capture", "does not answer")
		contains(t, "run", s.run(0, "run", "--fast", "--drop", "now", statement).stdout, "copy rows", "equal: 2 rows", "swapped at attempt", "done")
		contains(t, "run again", s.run(0, "run", statement).stdout, "nothing to do")
		contains(t, "list", s.run(0, "list").stdout, ".orders", "done")
		contains(t, "a wrong statement", s.run(2, "run", "ALTER TABLE orders MODIFY nothing bigint").stderr, "nothing", "Nothing was changed")
		contains(t, "run", s.run(0, "run", "--fast", "ALTER TABLE orders MODIFY amount decimal(30) NOT NULL").stdout, "prepare undo", "done")
		mytest.Exec(t, db, `INSERT INTO orders VALUES (3, 30)`)
		id := s.newest().ID
		contains(t, "status", s.run(0, "status", id).stdout, "changeling undo "+id)
		contains(t, "cleanup", s.run(0, "cleanup").stdout, "kept changeling_"+id)
		contains(t, "undo", s.run(0, "undo", id, "--yes").stdout, "swapped at attempt", "undone", "the new table stays as changeling_"+id)
		contains(t, "cleanup --now", s.run(0, "cleanup", id, "--now", "--yes").stdout, "dropped changeling_"+id)
		var sum int
		if err := db.QueryRow(`SELECT SUM(amount) FROM orders`).Scan(&sum); err != nil || sum != 60 {
			t.Errorf("after the undo the sum is %d, %v, want 60", sum, err)
		}
		contains(t, "an added column", s.run(0, "run", "ALTER TABLE orders ADD COLUMN note varchar(10)").stdout, "direct")
		const narrower = "ALTER TABLE orders MODIFY amount int NOT NULL"
		mytest.Exec(t, db, `INSERT INTO orders (id, amount) VALUES (4, 5000000000)`)
		contains(t, "a second column for a key", s.run(3, "plan", "--route", "column", "ALTER TABLE orders MODIFY id bigint NOT NULL").stdout, "primary key", "give it table")
		contains(t, "an old column that is kept", s.run(2, "run", "--route", "column", "--drop", "after=7d", narrower).stderr, "cannot be kept")
		contains(t, "what does not convert", s.run(5, "run", "--route", "column", narrower).stderr, "id 4")
		mytest.Exec(t, db, `UPDATE orders SET amount = 40 WHERE id = 4`)
		contains(t, "a second column", s.run(0, "run", "--route", "column", "--fast", narrower).stdout, "backfill", "swapped at attempt", "done")
		contains(t, "its undo", s.run(3, "undo", s.newest().ID, "--yes").stderr, "cannot be undone")
		const wider = "ALTER TABLE orders MODIFY amount bigint NOT NULL"
		contains(t, "two types without a name", s.run(2, "expand", wider).stderr, "--as NAME")
		contains(t, "a way that is none", s.run(3, "expand", "--plan", "--as", "total", "--down", "total + RAND()", wider).stdout, "--down takes an expression")
		contains(t, "ways", s.run(0, "expand", "--as", "euros", "--up", "amount / 100", "--down", "ROUND(euros * 100)", "ALTER TABLE orders MODIFY amount decimal(20,2) NOT NULL").stdout, "is expanded")
		contains(t, "the way back", s.run(0, "abort", s.newest().ID, "--yes").stdout, "aborted")
		contains(t, "two types", s.run(0, "expand", "--as", "total", wider).stdout, "is expanded")
		mytest.Exec(t, db, `UPDATE orders SET total = total + 1`)
		contains(t, "contract", s.run(0, "contract", s.newest().ID).stdout, "done")
		if err := db.QueryRow(`SELECT SUM(total) FROM orders`).Scan(&sum); err != nil || sum != 104 {
			t.Errorf("after all the sum is %d, %v, want 104", sum, err)
		}
	})
}

// What the doctor advises is enough: an account that gets it can make a change, and has nothing that fails.
func TestMySQLDoctor(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	root := mytest.Open(t, server.DSN("mysql"))
	mytest.Exec(t, root, "CREATE DATABASE my_shop", "CREATE TABLE my_shop.orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL, KEY (amount))", "INSERT INTO my_shop.orders VALUES (1, 10), (2, 20)",
		"CREATE USER changer@'127.0.0.%' IDENTIFIED BY ''", "CREATE DATABASE changeling_0badcafe", "GRANT SELECT ON my_shop.* TO changer@'127.0.0.%'")
	s := &shell{t: t, dsn: strings.Replace(server.DSN("my_shop"), "root@", "changer@", 1)}
	by := s.doctor(4)
	if !says(by["rights"], "fail", "PROCESS") || !says(by["rights"], "fail", "`changeling%`") || !says(by["rights"], "fail", "ON `my_shop`.*") || !says(by["statistics"], "warn", "performance_schema") {
		t.Errorf("findings of an account without rights: %s", inJSON(t, by))
	}
	s.run(4, "run", "ALTER TABLE orders MODIFY amount bigint NOT NULL")
	for _, list := range by {
		for _, f := range list {
			if strings.HasPrefix(f.Fix, "GRANT ") && !strings.Contains(f.Fix, "XA_RECOVER_ADMIN") { // it is enough without
				mytest.Exec(t, root, f.Fix)
			}
		}
	}
	by = s.doctor(0)
	for check, list := range by {
		for _, f := range list {
			if f.Level != "ok" && !says([]finding{f}, "warn", "innodb_flush_log_at_trx_commit") && !says([]finding{f}, "warn", "innodb_log_writer_threads") && !says([]finding{f}, "warn", "changeling_0badcafe") && !says([]finding{f}, "warn", "XA_RECOVER_ADMIN") {
				t.Errorf("%s after the grants: %+v", check, f)
			}
		}
	}
	contains(t, "doctor", s.run(0, "doctor").stdout, "ok    connection", "ok    server", "my_shop", "Nothing was changed", "changeling_0badcafe")
	for _, capture := range []string{"binlog", "triggers"} {
		if capture == "triggers" { // with the binary log an account without SUPER makes triggers only if the server trusts it
			mytest.Exec(t, root, "SET GLOBAL log_bin_trust_function_creators = ON")
		}
		statement := map[string]string{"binlog": "ALTER TABLE orders MODIFY amount bigint NOT NULL", "triggers": "ALTER TABLE orders MODIFY amount decimal(20,2) NOT NULL"}[capture]
		contains(t, "run with "+capture, s.run(0, "run", "--capture", capture, "--drop", "now", statement).stdout, "swapped at attempt", "done")
	}
	mytest.Exec(t, root, "SET GLOBAL read_only = ON, GLOBAL binlog_order_commits = OFF")
	by = s.doctor(4)
	if !says(by["server"], "fail", "read-only") || !says(by["binary log"], "warn", "binlog_order_commits") {
		t.Errorf("findings of a read-only server: %s", inJSON(t, by))
	}
}
