package changeling_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestFullDiskOnMySQL: a file system without room for the shadow ends the change with code 4, gives back what the shadow took, and with more
// room the same command does it. All of the server is on that file system but its binary log: without room for that, MySQL and MariaDB
// let everybody who writes wait until somebody makes some.
func TestFullDiskOnMySQL(t *testing.T) {
	t.Parallel()
	onlyRoot(t)
	mytest.Each(t, func(t *testing.T, version string) {
		logs, err := os.MkdirTemp("", "changeling-logs-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(logs) })
		if err := os.Chmod(logs, 0o777); err != nil {
			t.Fatal(err)
		}
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: map[string]string{"log_bin": logs + "/binlog"}})
		data := ask[string](t, mytest.Open(t, server.DSN("mysql")), `SELECT TRIM(TRAILING '/' FROM @@datadir)`)
		resize := onSmallDisk(t, server, data, logs)
		mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), `CREATE DATABASE app`)
		dsn := server.DSN("app")
		db := mytest.Open(t, dsn)
		const rows = 100_000
		mytest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note varchar(300), amount int)`,
			`INSERT INTO orders `+countMy(t, db, rows)+` i, REPEAT('x', 250), i FROM n`)
		const ddl = `ALTER TABLE orders MODIFY amount bigint`
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders COMMENT 'the state is there'`, changeling.Config{}); err != nil {
			t.Fatal(err)
		}
		before := myDefinition(t, db, "orders")
		room := func() uint64 {
			var stat syscall.Statfs_t
			if err := syscall.Statfs(data, &stat); err != nil {
				t.Fatal(err)
			}
			return stat.Bavail * uint64(stat.Bsize)
		}
		used := uint64(bigDisk) - room()
		resize(used + 20<<20) // the servers themselves take some MB more as they go
		apply := func() error {
			pool := mytest.Open(t, dsn)
			pool.SetMaxOpenConns(20)
			return changeling.Apply(t.Context(), pool, ddl, changeling.Config{Fast: true, Binlog: dsn})
		}
		err = apply()
		if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "no room left") || !strings.Contains(err.Error(), "given back") {
			t.Fatalf("Apply = %v (code %d), want an error of kind ErrPrecondition that says what became of the room", err, changeling.Code(err))
		}
		if now := myDefinition(t, db, "orders"); now != before {
			t.Errorf("the table is\n%s\nand was\n%s", now, before)
		}
		if free := room(); free < 8<<20 {
			t.Errorf("%d bytes are free: the shadow's were not given back", free)
		}
		users := `INSERT INTO orders ` + countMy(t, db, 1000) + fmt.Sprintf(` i + %d, REPEAT('y', 250), i + %d FROM n`, rows, rows)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) { // they go on as soon as the server has given back what it drops
			if _, err = db.Exec(users); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		resize(bigDisk)
		if err := apply(); err != nil {
			t.Fatal(err)
		}
		const want = int64(rows+1000) * (rows + 1001) / 2
		if sum := ask[int64](t, db, `SELECT CAST(SUM(amount) AS SIGNED) FROM orders`); sum != want || !strings.Contains(myDefinition(t, db, "orders"), "`amount` bigint") {
			t.Errorf("the sum is %d, want %d, in\n%s", sum, want, myDefinition(t, db, "orders"))
		}
	})
}

// bigDisk is the size of a file system with room enough.
const bigDisk = 1 << 30

// onSmallDisk moves the directory of a server that runs to a file system of its own, and answers how to change its size. What the server
// cannot do without for a moment, the redo log, goes elsewhere.
func onSmallDisk(t *testing.T, server *dbtest.MySQL, data, elsewhere string) (resize func(bytes uint64)) {
	t.Helper()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	was := data + ".was"
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	mount := func(flags uintptr, bytes uint64) {
		t.Helper()
		if err := syscall.Mount("tmpfs", data, "tmpfs", flags, fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", bytes, owner.Uid, owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Rename(data, was), os.Mkdir(data, 0o700)); err != nil {
		t.Fatal(err)
	}
	mount(0, bigDisk)
	t.Cleanup(func() {
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil { // the server may still hold files of it
			t.Error(err)
		}
	})
	script := `cp -a "$1/." "$2/" && rm -rf "$1"
if [ -d "$2/#innodb_redo" ]; then mv "$2/#innodb_redo" "$3/redo" && ln -s "$3/redo" "$2/#innodb_redo"; fi`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", was, data, elsewhere).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func(bytes uint64) {
		t.Helper()
		mount(syscall.MS_REMOUNT, bytes)
	}
}
