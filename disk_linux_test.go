package changeling_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestFullDisk: a file system without room for the shadow ends the change with code 4. The room that the shadow took is given
// back, so that users can go on to write, and with more room the same command does it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	onlyRoot(t)
	server := pgtest.Own(t, dbtest.Options{})
	dsn := server.DSN("postgres")
	db := pgtest.Open(t, dsn)
	var data string
	if err := db.QueryRowContext(t.Context(), `SELECT current_setting('data_directory')`).Scan(&data); err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(filepath.Dir(data), "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil { // the server may still hold files of it
			t.Error(err)
		}
	})
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(small, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `CREATE TABLESPACE small LOCATION '`+small+`'`,
		`CREATE TABLE orders (id int PRIMARY KEY USING INDEX TABLESPACE small, note text, amount int) TABLESPACE small`,
		`INSERT INTO orders SELECT i, repeat('x', 200), i FROM generate_series(1, 50000) i`, `VACUUM ANALYZE orders`)
	const ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
	before := describe(t, db)
	err = changeling.Apply(t.Context(), pgtest.Open(t, dsn), ddl, changeling.Config{})
	if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "No space left") || !strings.Contains(err.Error(), "given back") {
		t.Fatalf("Apply = %v, want an error of kind ErrPrecondition that names the reason and what became of the room", err)
	}
	if now := describe(t, db); now != before {
		t.Errorf("the table is\n%s\nand was\n%s", now, before)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(small, &stat); err != nil {
		t.Fatal(err)
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < 8<<20 {
		t.Errorf("%d bytes are free: the shadow's were not given back", free)
	}
	e, err := changeling.Open(t.Context(), pgtest.Open(t, dsn), changeling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if list, err := e.List(t.Context()); err != nil || len(list) != 1 || list[0].Step != "create shadow" {
		t.Errorf("List = %+v, %v, want the change at its first step", list, err)
	}
	pgtest.Exec(t, db, `INSERT INTO orders SELECT i, repeat('y', 200), i FROM generate_series(50001, 55000) i`) // users go on
	if err := syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	if err := changeling.Apply(t.Context(), pgtest.Open(t, dsn), ddl, changeling.Config{}); err != nil {
		t.Fatal(err)
	}
	var rows, sum int64
	if err := db.QueryRowContext(t.Context(), `SELECT count(*), sum(amount) FROM orders`).Scan(&rows, &sum); err != nil {
		t.Fatal(err)
	}
	if rows != 55000 || sum != 55000*55001/2 {
		t.Errorf("%d rows with the sum %d, want 55000 and %d", rows, sum, 55000*55001/2)
	}
}

// onlyRoot ends a test that mounts a file system where that may not be done.
func onlyRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	const why = "NOT TESTED: only root can mount a file system that is full soon"
	if os.Getenv("CHANGELING_TEST_ALL") != "" {
		t.Fatal(why + "; CHANGELING_TEST_ALL demands it")
	}
	t.Skip(why)
}
