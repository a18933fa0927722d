package main

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestRunOnReplica: a test that was killed is taken away by its id, or goes on when the command is run again, and nothing of it is left then.
func TestRunOnReplica(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		maria := strings.HasPrefix(version, "mariadb")
		settings := func(id string) dbtest.MySQLOptions {
			o := dbtest.MySQLOptions{Version: version, Settings: map[string]string{"server_id": id, "log_slave_updates": "ON"}}
			if !maria {
				o.Settings = map[string]string{"server_id": id, "gtid_mode": "ON", "enforce_gtid_consistency": "ON"}
			}
			return o
		}
		source, replica := mytest.Own(t, settings("11")), mytest.Own(t, settings("12"))
		primary, root := mytest.Open(t, source.DSN("mysql")), mytest.Open(t, replica.DSN("mysql"))
		if maria {
			mytest.Exec(t, root, fmt.Sprintf(`CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', MASTER_USE_GTID=slave_pos`, source.Port), `START SLAVE`)
		} else {
			mytest.Exec(t, root, fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=1`, source.Port), `START REPLICA`)
		}
		mytest.Exec(t, primary, `CREATE DATABASE app`, `CREATE TABLE app.orders (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, amount int NOT NULL)`, `INSERT INTO app.orders (amount) VALUES (1), (2), (3), (4)`)
		for range 10 {
			mytest.Exec(t, primary, `INSERT INTO app.orders (amount) SELECT amount FROM app.orders`)
		}
		await := func(what, query string) {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				var yes bool
				if err := root.QueryRow(query).Scan(&yes); err == nil && yes {
					return
				} else if time.Now().After(deadline) {
					t.Fatalf("%s does not come: %v", what, err)
				}
			}
		}
		await("the replica's table", `SELECT COUNT(*) = 4096 FROM app.orders`)
		gone := `SELECT COUNT(*) = 0 FROM information_schema.schemata WHERE schema_name LIKE 'changeling%'`

		s := &shell{t: t, dsn: replica.DSN("app")}
		const statement = "ALTER TABLE orders MODIFY amount bigint NOT NULL"
		contains(t, "plan", s.run(2, "run", "--test-on-replica", "--capture", "triggers", statement).stderr, "--capture")
		kill := func() (id string) {
			runner := s.start("run", "--test-on-replica", "--max-rows-per-s", "500", statement)
			await("the copy", `SELECT COUNT(*) > 0 FROM changeling_trial.chunk`)
			runner.signal(syscall.SIGKILL)
			runner.wait()
			return regexp.MustCompile(`\bt[0-9a-f]{7}\b`).FindString(runner.out.String())
		}
		id := kill()
		contains(t, "status", s.run(0, "status", id).stdout, statement)
		s.run(0, "abort", id, "--yes")
		await("an abort that leaves nothing", gone)
		kill()
		contains(t, "run", s.run(0, "run", "--test-on-replica", "--fast", statement).stdout, "goes on", "4,096 rows", "are equal", "digests", "kept from the table")
		await("a test that leaves nothing", gone)
	})
}
