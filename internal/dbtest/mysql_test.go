package dbtest_test

import (
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

func TestMySQLStart(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: map[string]string{
			"max_connections": "77", "init_connect": "SET @said = 'it''s'", "server_id": "42", "loose_no_such_setting": "1",
		}})
		if !slices.Contains(dbtest.AvailableMySQL(), version) {
			t.Errorf("AvailableMySQL() = %v, want %s among them", dbtest.AvailableMySQL(), version)
		}
		db := mytest.Open(t, s.DSN("mysql"))
		server, number := "MySQL", strings.TrimPrefix(version, "mysql")
		if s.MariaDB() {
			server, number = "MariaDB", strings.TrimPrefix(version, "mariadb")
		}
		for _, c := range []struct{ rule, query, want string }{
			{"the server asked for", "SELECT IF(VERSION() LIKE '%MariaDB%', 'MariaDB', 'MySQL')", server},
			{"the version asked for", "SELECT SUBSTRING_INDEX(VERSION(), '.', 2)", number},
			{"a binary log is written", "SELECT @@log_bin", "1"},
			{"of rows", "SELECT @@binlog_format", "ROW"},
			{"with all columns", "SELECT @@binlog_row_image", "FULL"},
			{"fast by default", "SELECT @@sync_binlog", "0"},
			{"a crash keeps what was acknowledged", "SELECT @@innodb_flush_log_at_trx_commit", "2"},
			{"text is UTF-8", "SELECT @@character_set_server", "utf8mb4"},
			{"time is UTC", "SELECT @@system_time_zone", "UTC"},
			{"a setting is taken", "SELECT @@max_connections", "77"},
			{"a setting is not split", "SELECT @@init_connect", "SET @said = 'it''s'"},
			{"a setting wins over a default", "SELECT @@server_id", "42"},
			{"files may lie anywhere", "SELECT @@secure_file_priv", ""},
			{"the user may do everything", "SELECT CURRENT_USER()", "root@localhost"},
		} {
			if got := text(t, db, c.query); got != c.want {
				t.Errorf("%s: %s = %q, want %q", c.rule, c.query, got, c.want)
			}
		}
		if got := text(t, db, "SELECT @@port"); got != strconv.Itoa(s.Port) {
			t.Errorf("@@port = %s, want %d", got, s.Port)
		}
		if tail := s.LogTail(1); tail == "" || strings.Contains(tail, "\n") {
			t.Errorf("LogTail(1) = %q, want one line", tail)
		}
		if s.Bin("no-such-program") != "" || s.Bin("server") == "" {
			t.Errorf("Bin(no-such-program) = %q, Bin(server) = %q", s.Bin("no-such-program"), s.Bin("server"))
		}
	})
}

func TestMySQLOptions(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, c := range []struct {
			rule        string
			opts        dbtest.MySQLOptions
			query, want string
		}{
			{
				"without a binary log",
				dbtest.MySQLOptions{Settings: map[string]string{"log_bin": "OFF"}},
				"SELECT @@log_bin", "0",
			},
			{
				"durable as the server has it, but for what the settings say",
				dbtest.MySQLOptions{Durable: true, Settings: map[string]string{"sync_binlog": "7", "binlog_row_image": "MINIMAL"}},
				"SELECT CONCAT_WS(' ', @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@sync_binlog, @@binlog_row_image)",
				"1 ON 7 MINIMAL",
			},
			{
				"with identifiers of transactions",
				dbtest.MySQLOptions{Settings: map[string]string{
					"loose_gtid_mode": "ON", "loose_enforce_gtid_consistency": "ON", "loose_gtid_strict_mode": "ON",
				}},
				"SELECT IF(variable_value = 'ON', 'on', 'off') FROM performance_schema.global_variables " +
					"WHERE variable_name IN ('gtid_mode', 'gtid_strict_mode')",
				"on",
			},
		} {
			t.Run(c.rule, func(t *testing.T) {
				t.Parallel()
				c.opts.Version = version
				s := mytest.Own(t, c.opts)
				query := c.query
				if s.MariaDB() {
					query = strings.ReplaceAll(query, "performance_schema.", "information_schema.")
				}
				if got := text(t, mytest.Open(t, s.DSN("mysql")), query); got != c.want {
					t.Errorf("%s = %q, want %q", query, got, c.want)
				}
			})
		}
	})
}

func TestMySQLStop(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		mytest.Exec(t, mytest.Open(t, s.DSN("mysql")), "DO 1")
		pid := s.Pid()
		for range 2 { // twice is allowed
			if err := s.Stop(); err != nil {
				t.Fatalf("Stop() = %v", err)
			}
		}
		if alive(pid) {
			t.Errorf("server %d is alive after Stop", pid)
		}
		if s.Pid() != 0 {
			t.Errorf("Pid() = %d after Stop, want 0", s.Pid())
		}
		if err := s.Restart(t.Context()); err == nil {
			t.Error("Restart() of a stopped server succeeded")
		}
	})
}

func TestMySQLKillAndRestart(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		db := mytest.Open(t, s.DSN("mysql"))
		mytest.Exec(t, db, "CREATE DATABASE d", "CREATE TABLE d.kept (n int PRIMARY KEY)", "INSERT INTO d.kept VALUES (1)")
		pid, port := s.Pid(), s.Port
		if err := s.Kill(); err != nil {
			t.Fatalf("Kill() = %v", err)
		}
		if s.Pid() != 0 || alive(pid) {
			t.Errorf("after Kill: Pid() = %d, server alive %v", s.Pid(), alive(pid))
		}
		for range 2 { // of a server that is down, and of one that runs
			if err := s.Restart(t.Context()); err != nil {
				t.Fatalf("Restart() = %v", err)
			}
		}
		if s.Port != port {
			t.Errorf("Port = %d after Restart, want %d", s.Port, port)
		}
		if got := text(t, mytest.Open(t, s.DSN("d")), "SELECT SUM(n) FROM kept"); got != "1" {
			t.Errorf("an acknowledged row reads %q after the crash, want 1", got)
		}
		if log := s.LogTail(1000); !strings.Contains(log, "crash recovery") {
			t.Errorf("the log shows no crash recovery:\n%s", log)
		}
	})
}

// TestMySQLGuard kills the process that owns a server. The other ways in which it may end are the same for all servers
// and belong to TestGuard.
func TestMySQLGuard(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, role := range []string{"killed", "killed-after-kill"} {
			t.Run(role, func(t *testing.T) {
				t.Parallel()
				endsWithOwner(t, role, version)
			})
		}
	})
}

// TestMySQLGuardDuringStart kills the owner while the data directory is copied, and before and after the server is there.
func TestMySQLGuardDuringStart(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for i := range 3 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				diesDuringStart(t, version, time.Duration(i)*200*time.Millisecond)
			})
		}
	})
}

func TestMySQLMissing(t *testing.T) {
	t.Setenv("CHANGELING_CACHE", t.TempDir())
	_, err := dbtest.StartMySQL(t.Context(), dbtest.MySQLOptions{Version: "mysql5.0"})
	if err == nil || !strings.Contains(err.Error(), "no mysql5.0 as mysql-5.0 in ") || !strings.Contains(err.Error(), "scripts/setup.sh") {
		t.Errorf("StartMySQL of a version that is not installed = %v, want an error that says where it looked and what to do", err)
	}
}

func TestMySQLBadSetting(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		_, err := dbtest.StartMySQL(t.Context(), dbtest.MySQLOptions{Version: version, Settings: map[string]string{"no_such_setting": "1"}})
		if err == nil || !strings.Contains(err.Error(), "unknown variable 'no_such_setting=1'") {
			t.Errorf("StartMySQL = %v, want the complaint from the server's log", err)
		}
	})
}

func text(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var got sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil {
		t.Errorf("%v\nin: %s", err, query)
	}
	return got.String
}
