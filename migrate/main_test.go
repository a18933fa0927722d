package migrate_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/migrate"
)

func TestMain(m *testing.M) { pgtest.Main(mytest.Around(m)) }

// database is an empty one on some server.
type database struct {
	kind string // postgres or mysql: the directory of its trees
	dsn  string
	db   *sql.DB
}

// each runs a test on every kind of server.
func each(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresDatabase(t))
	})
	mytest.Each(t, func(t *testing.T, version string) { test(t, mysqlDatabase(t, version)) })
}

func postgresDatabase(t *testing.T) database {
	dsn := pgtest.Database(t)
	return database{"postgres", dsn, pgtest.Open(t, dsn)}
}

func mysqlDatabase(t *testing.T, version string) database {
	dsn := mytest.Database(t, version)
	return database{"mysql", dsn, mytest.Open(t, dsn)}
}

func (d database) dying(t *testing.T, death dying.Death) (*sql.DB, *dying.Connector) {
	if d.kind == "postgres" {
		return pgtest.Dying(t, d.dsn, death)
	}
	return mytest.Dying(t, d.dsn, death)
}

func (d database) open(t *testing.T) *sql.DB {
	if d.kind == "postgres" {
		return pgtest.Open(t, d.dsn)
	}
	return mytest.Open(t, d.dsn)
}

func (d database) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := d.db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%v\nin: %s", err, s)
		}
	}
}

func (d database) ask(t *testing.T, query string) (value string) {
	t.Helper()
	if err := d.db.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	return value
}

// schema is what the database looks like, without the version tables of other tools.
func (d database) schema(t *testing.T) string {
	t.Helper()
	db, text := d.db, postgres.JournalText()
	if d.kind == "mysql" {
		db, text = mysql.Wrap(d.db), mysql.JournalText()
		defer db.Close()
	}
	lines, err := journal.Describe(t.Context(), db, text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

func migrator(t *testing.T, db *sql.DB, fsys fstest.MapFS, c migrate.Config) *migrate.Migrator {
	t.Helper()
	m, err := migrate.New(db, fsys, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tree is that of testdata, in memory.
func tree(t *testing.T, format migrate.Format, kind string) fstest.MapFS {
	t.Helper()
	dir := "testdata/" + string(format) + "/" + kind
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, e := range entries {
		body, err := os.ReadFile(dir + "/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fsys[e.Name()] = &fstest.MapFile{Data: body}
	}
	return fsys
}

func upped(t *testing.T, m *migrate.Migrator) *migrate.Result {
	t.Helper()
	res, err := m.Up(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func state(t *testing.T, m *migrate.Migrator) *migrate.Status {
	t.Helper()
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
