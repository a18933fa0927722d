package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestFailoverOnMySQL: the server dies in the middle of a change, and its replica takes over. With GTIDs the binary log is read
// on from where it was; without, or where the replica did not log what it applied, nothing tells where that is in the log of another
// server, and the copy begins again.
func TestFailoverOnMySQL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		version  string
		settings map[string]string
		config   func(dsn string, c changeling.Config) changeling.Config
		again    bool // the copy has to begin again
	}{
		{"GTIDs", "mysql9.7", map[string]string{"gtid_mode": "ON", "enforce_gtid_consistency": "ON"}, byBinlog, false},
		{"files", "mysql9.7", map[string]string{"gtid_mode": "OFF"}, byBinlog, true},
		{"triggers", "mysql9.7", map[string]string{"gtid_mode": "OFF"}, byTriggers, false},
		{"MariaDB", "mariadb10.11", map[string]string{"log_slave_updates": "ON"}, byBinlog, false},
		{"MariaDB, whose replica did not log what it applied", "mariadb10.11", map[string]string{"log_slave_updates": "OFF"}, byBinlog, true},
		{"MariaDB with triggers", "mariadb10.11", map[string]string{}, byTriggers, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			second := map[string]string{"server_id": "2"}
			for k, v := range c.settings {
				second[k] = v
			}
			source := mytest.Own(t, dbtest.MySQLOptions{Version: c.version, Settings: c.settings})
			behind := mytest.Own(t, dbtest.MySQLOptions{Version: c.version, Settings: second})
			root, replica := mytest.Open(t, source.DSN("mysql")), mytest.Open(t, behind.DSN("mysql"))
			follows(t, root, replica, source.Port, c.settings["gtid_mode"] == "ON")
			mytest.Exec(t, root, `CREATE DATABASE app`)
			db := mytest.Open(t, source.DSN("app"))
			for _, table := range []string{"orders", "mirror"} {
				mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, amount int NOT NULL, note varchar(20))`, `INSERT INTO `+table+` `+countMy(t, db, 5000)+` i, i, 'a' FROM n`)
			}
			users, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				bothMy(users, mytest.Open(t, source.DSN("app")))
			}()
			run, cancel := context.WithCancel(t.Context())
			defer cancel()
			e, err := changeling.Open(t.Context(), db, c.config(source.DSN("app"), changeling.Config{Hold: true, Lease: 3 * time.Second}))
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			change, err := e.Start(t.Context(), `ALTER TABLE orders MODIFY amount bigint NOT NULL`)
			if err != nil {
				t.Fatal(err)
			}
			end := make(chan error, 1)
			go func() { end <- change.Run(run) }()
			reaches(t, change, "where the server dies", held)
			for known := 0; known == 0; time.Sleep(10 * time.Millisecond) { // the replica has heard of it, too
				err := replica.QueryRow(`SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'chg'`).Scan(&known)
				if err == nil && known == 1 {
					err = replica.QueryRow(`SELECT COUNT(*) FROM changeling.chg WHERE status = 'held'`).Scan(&known)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := source.Kill(); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-end; err != nil && !errors.Is(err, changeling.ErrStopped) {
				t.Errorf("the run ended with %v, want ErrStopped", err)
			}
			stop()
			<-ended

			now := mytest.Open(t, behind.DSN("app"))
			promoted(t, now)
			users, stop = context.WithTimeout(t.Context(), time.Second)
			bothMy(users, mytest.Open(t, behind.DSN("app"))) // whose sessions are cut off as they are
			stop()
			var told story
			config := c.config(behind.DSN("app"), changeling.Config{Events: told.tell, Lease: 3 * time.Second})
			e2, err := changeling.Open(t.Context(), now, config)
			if err != nil {
				t.Fatal(err)
			}
			defer e2.Close()
			if change, err = e2.Find(t.Context(), change.ID()); err != nil {
				t.Fatal(err)
			}
			if err := change.Cutover(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := changeling.Apply(t.Context(), now, `ALTER TABLE orders MODIFY amount bigint NOT NULL`, config); err != nil {
				t.Fatal(err)
			}
			var wrong int
			if err := now.QueryRow(`SELECT (SELECT COUNT(*) FROM mirror m LEFT JOIN orders o ON o.id = m.id WHERE NOT (o.amount <=> m.amount AND o.note <=> m.note)) +
  (SELECT COUNT(*) FROM orders o LEFT JOIN mirror m ON o.id = m.id WHERE m.id IS NULL)`).Scan(&wrong); err != nil {
				t.Fatal(err)
			}
			if wrong > 0 {
				t.Errorf("%d rows differ from what users wrote", wrong)
			}
			if again := told.count(restarted) > 0; again != c.again {
				t.Errorf("the copy began again: %v, want %v", again, c.again)
			}
		})
	}
}

func byTriggers(_ string, c changeling.Config) changeling.Config {
	c.Capture = changeling.CaptureTriggers
	return c
}

// follows makes a server a replica of another one, from now on.
func follows(t *testing.T, root, replica *sql.DB, port int, gtids bool) {
	t.Helper()
	if isMaria(t, replica) {
		mytest.Exec(t, replica, fmt.Sprintf(`CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', MASTER_USE_GTID=slave_pos`, port), `START SLAVE`)
		return
	}
	where := "SOURCE_AUTO_POSITION=1"
	if !gtids {
		var file string
		var position int64
		var none sql.NullString
		if err := root.QueryRowContext(t.Context(), `SHOW BINARY LOG STATUS`).Scan(&file, &position, &none, &none, &none); err != nil {
			t.Fatal(err)
		}
		where = fmt.Sprintf("SOURCE_LOG_FILE='%s', SOURCE_LOG_POS=%d", file, position)
	}
	mytest.Exec(t, replica, fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', GET_SOURCE_PUBLIC_KEY=1, %s`, port, where), `START REPLICA`)
}

// promoted makes a replica whose source is gone a server of its own, when it has applied what it got.
func promoted(t *testing.T, replica *sql.DB) {
	t.Helper()
	if isMaria(t, replica) {
		waitMy(t, replica, `SELECT COUNT(*) > 0 FROM information_schema.processlist WHERE command = 'Slave_SQL' AND state LIKE 'Slave has read all relay log%'`)
		mytest.Exec(t, replica, `STOP SLAVE`, `RESET SLAVE ALL`)
		return
	}
	waitMy(t, replica, `SELECT COUNT(*) > 0 FROM performance_schema.replication_applier_status_by_worker WHERE APPLYING_TRANSACTION = ''`)
	mytest.Exec(t, replica, `STOP REPLICA`, `RESET REPLICA ALL`)
}

func waitMy(t *testing.T, db *sql.DB, question string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		var yes bool
		if err := db.QueryRowContext(t.Context(), question).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not true after 3 min: %s", question)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// bothMy is both on MySQL.
func bothMy(ctx context.Context, db *sql.DB) {
	for ctx.Err() == nil {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			continue
		}
		id, amount := 1+rand.IntN(6000), rand.IntN(1_000_000)
		for _, table := range []string{"orders", "mirror"} {
			text := fmt.Sprintf(`UPDATE %s SET amount = %d WHERE id = %d`, table, amount, id)
			switch id % 4 {
			case 0:
				text = fmt.Sprintf(`INSERT INTO %s VALUES (%d, %d, 'n') ON DUPLICATE KEY UPDATE amount = %d`, table, id, amount, amount)
			case 1:
				text = fmt.Sprintf(`DELETE FROM %s WHERE id = %d`, table, id)
			}
			if _, err = tx.ExecContext(ctx, text); err != nil {
				break
			}
		}
		if err == nil {
			_ = tx.Commit() // one of unknown outcome is in both tables, or in none
		} else {
			_ = tx.Rollback()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestMySQLLogsReset: somebody deletes the binary logs of the server, which begin anew, right before the cutover, and much is written behind that.
func TestMySQLLogsReset(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		root := mytest.Open(t, server.DSN("mysql"))
		mytest.Exec(t, root, `CREATE DATABASE shop`, `CREATE TABLE shop.t (id int PRIMARY KEY, a int)`, `CREATE TABLE shop.noise (p longtext)`, `INSERT INTO shop.t `+countMy(t, root, 2000)+` i, i FROM n`)
		reset := `RESET BINARY LOGS AND GTIDS`
		if server.MariaDB() {
			reset = `RESET MASTER`
		}
		mytest.Exec(t, root, reset, `DO SLEEP(1.1)`) // files are told from each other by the second in which they were made
		for range 50 {
			mytest.Exec(t, root, `UPDATE shop.t SET a = a + 1 WHERE id = 1`)
		}
		var told story
		config := changeling.Config{DropAfter: changeling.DropNow, Binlog: server.DSN("shop"), Capture: changeling.CaptureBinlog}
		config.Events = upon(told.tell, began("cutover"), func() {
			mytest.Exec(t, root, `UPDATE shop.t SET a = -a WHERE id <= 10`, reset, `UPDATE shop.t SET a = -a WHERE id BETWEEN 11 AND 20`,
				`INSERT INTO shop.noise VALUES (REPEAT('x', 900000))`, `UPDATE shop.t SET a = -a WHERE id BETWEEN 21 AND 30`)
		})
		if err := changeling.Apply(t.Context(), mytest.Open(t, server.DSN("shop")), `ALTER TABLE shop.t MODIFY a bigint`, config); err != nil {
			t.Fatal(err)
		}
		if lost := ask[int](t, root, `SELECT COUNT(*) FROM shop.t WHERE id <= 30 AND a > 0`); lost > 0 {
			t.Errorf("%d writes are lost", lost)
		}
		if again := told.count(func(e event.Event) bool { _, ok := e.(event.Restarted); return ok }); again == 0 {
			t.Error("the copy did not begin again")
		}
	})
}
