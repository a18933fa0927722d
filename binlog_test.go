package changeling_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// byBinlog is a configuration that reads it, and nothing else.
func byBinlog(dsn string, c changeling.Config) changeling.Config {
	c.Capture, c.Binlog = changeling.CaptureBinlog, dsn
	return c
}

func TestBinlogChange(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 3000)
			mytest.Exec(t, db, `UPDATE `+table+` SET id = id + 53000 WHERE id BETWEEN 2400 AND 2500`, `UPDATE `+table+` SET id = id + (1 << 62) WHERE id BETWEEN 2600 AND 2700`)
		}
		mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
		var triggers int
		var told story
		config := byBinlog(dsn, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Tee(told.tell, event.Lines(t.Output())), began("verify"), func() {
			if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()`).Scan(&triggers); err != nil || triggers != 0 {
				t.Errorf("%d triggers stand on the table (%v), want none", triggers, err)
			}
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `UPDATE `+table+` SET amount = amount + 1 WHERE id < 40 OR id > 50000`, `DELETE FROM `+table+` WHERE id = 77`, `UPDATE `+table+` SET id = 90000 WHERE id = 78`)
			}
		})})
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		equalMy(t, db, "orders", "twin", "after the change")
		if told.count(differed) > 0 {
			t.Error("rows differed: not all keys that were read were kept")
		}
	})
}

// TestBinlogLedger is TestMySQLLedger without triggers.
func TestBinlogLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		rounds := 1
		if full() {
			rounds = 20
		}
		for round := range rounds {
			l := newMyLedger(t, db, round)
			l.binlog = dsn
			if err := l.change(db, round%2 == 0); err != nil {
				t.Fatal(err)
			}
			equalMy(t, db, "orders", "mirror", fmt.Sprintf("round %d, after %d writes", round, l.acknowledged.Load()))
			t.Logf("round %d: %d writes acknowledged", round, l.acknowledged.Load())
		}
	})
}

// TestBinlogMutants: what the ledger finds if a part of the protocol is missing.
func TestBinlogMutants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, match, instead string }{
		{"keys are read and not kept", "^INSERT INTO `changeling_\\w+`\\.`keys_", "DO 0"},
		{"the log is read up to where it began", `^SHOW (BINARY LOG|MASTER) STATUS|^SELECT @@global.gtid_binlog_pos`, `SELECT 'binlog.000001', 4, '', '', ''`},
		{"no lock", `^LOCK TABLES `, "DO 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				re := regexp.MustCompile(`(?s)` + c.match)
				var hits, begun atomic.Int64
				mutated := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					if strings.HasPrefix(x.Text, "REPLACE INTO `changeling_") {
						begun.Add(1)
					}
					if !re.MatchString(x.Text) || begun.Load() == 0 {
						return x.Text
					}
					hits.Add(1)
					switch { // MariaDB
					case strings.HasPrefix(x.Text, "SHOW MASTER"):
						return `SELECT 'binlog.000001', 4, '', ''`
					case strings.HasPrefix(x.Text, "SELECT @@global.gtid_binlog_pos"):
						return strings.Replace(x.Text, "@@global.gtid_binlog_pos", "'0-1-1'", 1)
					}
					return c.instead
				})
				mutated.SetMaxOpenConns(20)
				for round := range 20 {
					l := newMyLedger(t, db, round)
					l.binlog, l.attempts = dsn, 4
					err := l.change(mutated, true)
					if hits.Load() == 0 {
						t.Fatal("the statement was never sent: the mutant is none")
					}
					if err != nil || !slices.Equal(myRows(t, db, "orders"), myRows(t, db, "mirror")) {
						t.Logf("caught in round %d (%v)", round, err)
						return
					}
				}
				t.Error("the mutant lives")
			})
		})
	}
}

// TestBinlogDies is TestMySQLDies without triggers.
func TestBinlogDies(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		dieMy(t, dsn, db, byBinlog(dsn, changeling.Config{DropAfter: changeling.DropNow, Lease: 3 * time.Second, Fast: true}))
	})
}

// TestBinlogDisturbed: what others do to the table, or to the log, while a change holds.
func TestBinlogDisturbed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		act     []string
		want    error // of the run; nil: it goes through
		restart bool
		rows    int
	}{
		{"truncated", []string{`TRUNCATE TABLE orders`, `INSERT INTO orders (id, customer_id, email, amount) VALUES (5, 1, 'after', 9)`}, nil, true, 1},
		{"rebuilt", []string{`ALTER TABLE orders ENGINE=InnoDB`, `DELETE FROM orders WHERE id = 3`}, nil, true, 299},
		{"altered", []string{`ALTER TABLE orders ADD COLUMN more int`}, changeling.ErrRefused, false, 300},
		{"another table in its place", []string{`CREATE TABLE other LIKE orders`, `RENAME TABLE orders TO gone, other TO orders`}, nil, true, 0},
		{"written by a statement", []string{`SET SESSION binlog_format = 'STATEMENT'`, `UPDATE orders SET amount = amount + 1`}, changeling.ErrRefused, false, 300},
		{"another table is written by a statement", []string{`CREATE TABLE other (id int PRIMARY KEY)`, `SET SESSION binlog_format = 'STATEMENT'`, `INSERT INTO other VALUES (1)`}, nil, false, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
				fillMy(t, db, "orders", 300)
				var told story
				e, err := changeling.Open(t.Context(), db, byBinlog(dsn, changeling.Config{Hold: true, Events: event.Tee(told.tell, event.Lines(t.Output()))}))
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				change, err := e.Start(t.Context(), myGrow)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- change.Run(ctx) }()
				if err := told.await(ctx, holding); err != nil {
					t.Fatal(err)
				}
				conn, err := db.Conn(ctx)
				if err != nil {
					t.Fatal(err)
				}
				mytest.Exec(t, conn, c.act...)
				_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // its settings go with it
				if c.restart {
					if err := told.await(ctx, restarted); err != nil {
						t.Fatal(err)
					}
				}
				if c.want == nil {
					if err := change.Cutover(ctx); err != nil {
						t.Fatal(err)
					}
				}
				if err := <-done; !errors.Is(err, c.want) {
					t.Errorf("Run = %v, want %v", err, c.want)
				}
				if got := myRows(t, db, "orders"); len(got) != c.rows {
					t.Errorf("%d rows, want %d", len(got), c.rows)
				}
				if told.count(differed) > 0 {
					t.Error("rows differed")
				}
			})
		})
	}
}

// TestBinlogPurged: the log is gone that a change would have to read on from, so it begins again.
func TestBinlogPurged(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), `CREATE DATABASE app`)
	dsn := server.DSN("app")
	db := mytest.Open(t, dsn)
	for _, table := range []string{"orders", "twin"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
		fillMy(t, db, table, 300)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var told story
	config := byBinlog(dsn, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began("verify"), cancel)})
	if err := changeling.Apply(ctx, db, myGrow, config); !errors.Is(err, changeling.ErrStopped) {
		t.Fatalf("the first run: %v", err)
	}
	for _, table := range []string{"orders", "twin"} {
		mytest.Exec(t, db, `UPDATE `+table+` SET amount = 77 WHERE id = 7`, `DELETE FROM `+table+` WHERE id = 8`)
	}
	purge(t, db)
	config.Events = event.Tee(told.tell, event.Lines(t.Output()))
	if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
		t.Fatal(err)
	}
	if told.count(restarted) == 0 {
		t.Error("the copy did not begin again")
	}
	mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
	equalMy(t, db, "orders", "twin", "after the log was purged")
}

// purge drops all binary logs but one that begins now.
func purge(t *testing.T, db *sql.DB) {
	t.Helper()
	var name string
	mytest.Exec(t, db, `FLUSH BINARY LOGS`)
	if err := db.QueryRow(`SELECT SUBSTRING_INDEX(file_name, '/', -1) FROM performance_schema.file_instances WHERE event_name = 'wait/io/file/sql/binlog' ORDER BY 1 DESC LIMIT 1`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	for files := 0; files != 1; time.Sleep(10 * time.Millisecond) { // one that somebody still reads is kept: the server may not know yet that he left
		mytest.Exec(t, db, `PURGE BINARY LOGS TO '`+name+`'`)
		if err := db.QueryRow(`SELECT COUNT(DISTINCT file_name) FROM performance_schema.file_instances WHERE event_name = 'wait/io/file/sql/binlog'`).Scan(&files); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBinlogStalledCommit: a transaction is in the log and can be read there, and is not visible yet, because the server
// waits for a replica. Neither the first copy nor the last drain may pass it by (invariants I1 and I6). The order of the
// server's commits sees to that, as long as what the engine writes is in the log as well: without that, rows are lost.
func TestBinlogStalledCommit(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	root := mytest.Open(t, server.DSN("mysql"))
	mytest.Exec(t, root, `INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'`, `SET GLOBAL rpl_semi_sync_source_timeout = 600000`)
	end := func() (file string, at int64) {
		var none sql.NullString
		if err := root.QueryRow(`SHOW BINARY LOG STATUS`).Scan(&file, &at, &none, &none, &none); err != nil {
			t.Error(err)
		}
		return file, at
	}
	for _, c := range []struct {
		name          string
		holding, lost bool
	}{
		{"before the copy", false, false}, {"before the copy, the engine's writes not logged", false, true},
		{"before the cutover", true, false}, {"before the cutover, the engine's writes not logged", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("app%d", rand.N(1<<30))
			mytest.Exec(t, root, `CREATE DATABASE `+name)
			dsn := server.DSN(name)
			db := mytest.Open(t, dsn)
			mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 300)
			over := make(chan error, 1)
			release := sync.OnceFunc(func() {
				mytest.Exec(t, root, `SET GLOBAL rpl_semi_sync_source_enabled = 0`)
				if err := <-over; err != nil {
					t.Error(err)
				}
			})
			// The write of a user stands in the log when stall returns, and commits when it is released: after a while in which the
			// engine has to wait for it, or once it was passed by.
			stall := sync.OnceFunc(func() {
				mytest.Exec(t, root, `SET GLOBAL rpl_semi_sync_source_enabled = 1`)
				file, before := end()
				go func() {
					_, err := db.Exec(`UPDATE orders SET amount = 4711 WHERE id = 5`)
					over <- err
				}()
				for !slices.ContainsFunc(myContent(t, root, fmt.Sprintf(`SHOW BINLOG EVENTS IN '%s' FROM %d`, file, before)), func(event string) bool {
					return strings.Contains(event, "("+name+".orders)")
				}) {
					time.Sleep(time.Millisecond)
				}
				for _, now := end(); now <= before; _, now = end() { // the file has the event before the log ends behind it
					time.Sleep(time.Millisecond)
				}
				if !c.lost {
					time.AfterFunc(2*time.Second, release)
				}
			})
			var made atomic.Bool
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if strings.Contains(x.Text, "`.`position_") && strings.HasPrefix(x.Text, "CREATE TABLE") {
					made.Store(true)
				}
				if made.Load() && !c.holding && x.Text == "SHOW BINARY LOG STATUS" {
					stall()
				}
				if c.lost && strings.HasPrefix(x.Text, "SET NAMES utf8mb4, ") {
					return x.Text + ", SESSION sql_log_bin = 0"
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			var told story
			sink := event.Tee(told.tell, event.Lines(t.Output()))
			if c.lost && !c.holding {
				sink = upon(sink, began("drain"), release)
			}
			e, err := changeling.Open(t.Context(), pool, byBinlog(dsn, changeling.Config{Fast: true, Hold: c.holding, Events: sink}))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			change, err := e.Start(t.Context(), myGrow)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- change.Run(ctx) }()
			if c.holding {
				if err := told.await(ctx, holding); err != nil {
					t.Fatal(err)
				}
				stall()
				if c.lost {
					if err := told.await(ctx, func(e event.Event) bool { p, ok := e.(event.Progress); return ok && p.Step == "drain" && p.Chunk > 0 }); err != nil {
						t.Fatal(err)
					}
				}
				release() // twice is once, and both return when the user has his answer
				time.Sleep(time.Second)
				if err := change.Cutover(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var amount int
			if err := db.QueryRow(`SELECT amount FROM orders WHERE id = 5`).Scan(&amount); err != nil {
				t.Fatal(err)
			}
			// A row that the copy passed by is found and mended by the comparison; one after it is found by nobody.
			if wrong := amount != 4711 || told.count(differed) > 0; wrong != c.lost {
				t.Errorf("amount %d, %d rows differed; passed by: %v, want %v", amount, told.count(differed), wrong, c.lost)
			}
		})
	}
}

// TestBinlogFromReplica: the log of a replica is read, which may lag, and the replica ends up with the same table.
func TestBinlogFromReplica(t *testing.T) {
	t.Parallel()
	settings := func(id string) dbtest.MySQLOptions {
		return dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{"gtid_mode": "ON", "enforce_gtid_consistency": "ON", "server_id": id}}
	}
	primary, replica := mytest.Own(t, settings("11")), mytest.Own(t, settings("12"))
	host, port, _ := strings.Cut(primary.Addr(), ":")
	far := mytest.Open(t, replica.DSN("mysql"))
	mytest.Exec(t, far, fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST = '%s', SOURCE_PORT = %s, SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1`, host, port), `START REPLICA`)
	mytest.Exec(t, mytest.Open(t, primary.DSN("mysql")), `CREATE DATABASE app`)
	dsn := primary.DSN("app")
	db := mytest.Open(t, dsn)
	l := newMyLedger(t, db, 0)
	l.binlog = replica.DSN("app")
	follow := func(want string) {
		var done int
		if err := far.QueryRow(`SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 60)`, want).Scan(&done); err != nil || done != 0 {
			t.Fatalf("the replica does not follow: %d, %v", done, err)
		}
	}
	executed := func() (set string) {
		if err := db.QueryRow(`SELECT @@global.gtid_executed`).Scan(&set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	follow(executed())
	l.sink = upon(event.Discard, began("drain"), func() { // a lag of two seconds: the drain waits for it
		mytest.Exec(t, far, `STOP REPLICA SQL_THREAD`)
		time.AfterFunc(2*time.Second, func() {
			if _, err := far.Exec(`START REPLICA SQL_THREAD`); err != nil {
				t.Error(err)
			}
		})
	})
	if err := l.change(db, true); err != nil {
		t.Fatal(err)
	}
	equalMy(t, db, "orders", "mirror", "on the primary")
	follow(executed())
	there := mytest.Open(t, replica.DSN("app"))
	if got, want := myDefinition(t, there, "orders"), myDefinition(t, db, "orders"); got != want {
		t.Errorf("the replica has\n%s\nthe primary\n%s", got, want)
	}
	if !slices.Equal(myRows(t, there, "orders"), myRows(t, db, "orders")) {
		t.Error("the replica has other rows than the primary")
	}
}

// TestBinlogOrTriggers: where the binary log cannot tell, triggers do, and the plan says why; who insists is refused.
func TestBinlogOrTriggers(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{"log_replica_updates": "OFF"}})
	quiet := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{"log_bin": "OFF"}})
	choosy := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{"binlog_ignore_db": "elsewhere"}})
	for _, s := range []*dbtest.MySQL{server, quiet, choosy} {
		mytest.Exec(t, mytest.Open(t, s.DSN("mysql")), `CREATE DATABASE app`, `CREATE TABLE app.orders `+myOrders,
			`CREATE USER app@'127.0.0.1'`, `GRANT ALL ON *.* TO app@'127.0.0.1'`)
	}
	anybody := func(s *dbtest.MySQL) string { return strings.Replace(s.DSN("app"), "root@", "app@", 1) }
	for _, c := range []struct {
		name          string
		server        *dbtest.MySQL
		before, after string
		why           string
	}{
		{"all is well", server, `DO 0`, `DO 0`, ""},
		{"no log", quiet, `DO 0`, `DO 0`, "log_bin=OFF"},
		{"a log with gaps", choosy, `DO 0`, `DO 0`, "binlog_ignore_db=elsewhere"},
		{"statements", server, `SET GLOBAL binlog_format = 'MIXED'`, `SET GLOBAL binlog_format = 'ROW'`, "binlog_format=MIXED"},
		{"commits in any order", server, `SET GLOBAL binlog_order_commits = OFF`, `SET GLOBAL binlog_order_commits = ON`, "binlog_order_commits=OFF"},
		{"a replica that does not log", server, `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1`, `RESET REPLICA ALL`, "log_replica_updates=OFF"},
		{"may not read it", server, `REVOKE REPLICATION SLAVE ON *.* FROM app@'127.0.0.1'`, `GRANT ALL ON *.* TO app@'127.0.0.1'`, "GRANT REPLICATION SLAVE"},
		{"may not ask for it", server, `REVOKE REPLICATION CLIENT, SUPER ON *.* FROM app@'127.0.0.1'`, `GRANT ALL ON *.* TO app@'127.0.0.1'`, "GRANT REPLICATION CLIENT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := mytest.Open(t, c.server.DSN("app"))
			mytest.Exec(t, root, c.before)
			defer mytest.Exec(t, root, c.after)
			db := mytest.Open(t, anybody(c.server))
			look := func(way changeling.Capture) *plan.Plan {
				e, err := changeling.Open(t.Context(), db, changeling.Config{Capture: way, Binlog: anybody(c.server)})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				p, err := e.Plan(t.Context(), myGrow)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			p := look(changeling.CaptureAuto)
			at := p.Find(plan.Capture)
			if at < 0 || p.Pair.Binlog != (c.why == "") || !strings.Contains(p.Steps[at].Why, c.why) {
				t.Fatalf("%s, steps %+v, want one that says %q", p.Why, p.Steps, c.why)
			}
			p = look(changeling.CaptureBinlog)
			if (p.Route == plan.Refuse) != (c.why != "") || c.why != "" && !strings.Contains(p.Why, c.why) {
				t.Errorf("asked for the log: %s, %s", p.Route, p.Why)
			}
		})
	}
}
