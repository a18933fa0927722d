package changeling_test

import (
	"database/sql"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestLargeRows: rows of 100 MB, or of 12 MB where not all was asked for, larger than what the server takes as one packet, go from table
// to table in the server, also those that users write meanwhile, and the process that makes the change needs no memory for them. Who
// reads the binary log gets the rows that are written, one event at a time.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	size := 12 << 20
	if full() {
		size = 100 << 20
	}
	const rows = 3
	const process = 60 << 20 // what it takes for any table
	check := func(t *testing.T, db *sql.DB, dsn, ddl, update string, bound int64, env ...string) {
		c := newChild(t, dsn, append(env, childStop+"=verify", "CHANGELING_CHILD_DDL="+ddl)...)
		if _, ok := c.until("step verify"); !ok {
			t.Fatal("the process ended before its comparison")
		}
		if _, err := db.ExecContext(t.Context(), update); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c.in, "\n"); err != nil {
			t.Fatal(err)
		}
		// The account at the end of a process has what its parent took in it, so it is asked while it lives.
		sampled, over := make(chan int64, 1), make(chan struct{})
		go func() {
			var most int64
			for {
				text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
				for line := range strings.Lines(string(text)) {
					var kib int64
					if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
						most = max(most, kib<<10)
					}
				}
				select {
				case <-over:
					sampled <- most
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		end, _ := c.until("end")
		close(over)
		most := <-sampled
		if err := c.cmd.Wait(); err != nil || !strings.HasPrefix(end, "end 0 ") || most == 0 {
			t.Fatal(end, err, most)
		}
		t.Logf("%d rows of %d MB, and %d MB at most in the process", rows, size>>20, most>>20)
		if most > bound {
			t.Errorf("the process took %d bytes, want at most %d", most, bound)
		}
		if n := ask[int64](t, db, `SELECT COUNT(*) FROM docs WHERE LENGTH(body) >= `+fmt.Sprint(size)+` AND amount > 0`); n != rows {
			t.Errorf("%d rows are whole, want %d", n, rows)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Database(t)
		db := pgtest.Open(t, dsn)
		pgtest.Exec(t, db, `CREATE TABLE docs (id int PRIMARY KEY, amount int, body text)`, `ALTER TABLE docs ALTER COLUMN body SET STORAGE EXTERNAL`,
			fmt.Sprintf(`INSERT INTO docs SELECT i, i, repeat('x', %d) FROM generate_series(1, %d) i`, size, rows))
		check(t, db, dsn, `ALTER TABLE docs ALTER COLUMN amount TYPE bigint`, `UPDATE docs SET body = body || 'y' WHERE id <= 2`, process)
	})
	mytest.Each(t, func(t *testing.T, version string) {
		settings := map[string]string{"max_allowed_packet": "1G", "innodb_redo_log_capacity": "2G"}
		if strings.HasPrefix(version, "mariadb") {
			settings = map[string]string{"max_allowed_packet": "1G", "innodb_log_file_size": "1G"}
		}
		s := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: settings})
		mytest.Exec(t, mytest.Open(t, s.DSN("mysql")), `CREATE DATABASE app`)
		dsn := s.DSN("app")
		db := mytest.Open(t, dsn)
		for _, capture := range []string{"triggers", "binlog"} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS docs`, `CREATE TABLE docs (id int PRIMARY KEY, amount int, body longtext)`)
			for id := range rows {
				mytest.Exec(t, db, fmt.Sprintf(`INSERT INTO docs VALUES (%d, %d, REPEAT('x', %d))`, id+1, id+1, size))
			}
			var env []string
			bound := int64(process)
			if capture == "binlog" {
				bound += 10 * int64(size) // the row before and after, as it comes, as it is read, and as garbage
				env = append(env, "CHANGELING_CHILD_BINLOG=yes")
			}
			mytest.Exec(t, db, `SET GLOBAL max_allowed_packet = 4194304`) // of those who come later; rows are larger than that
			check(t, db, dsn, `ALTER TABLE docs MODIFY amount bigint`, `UPDATE docs SET body = CONCAT(body, 'y') WHERE id <= 2`, bound, env...)
			mytest.Exec(t, db, `SET GLOBAL max_allowed_packet = 1073741824`)
		}
	})
}
