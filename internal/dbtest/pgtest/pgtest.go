// Package pgtest gives tests a real PostgreSQL: a server shared by the tests of one process, a database of its own for
// each test, and a server of its own for a test that kills it.
//
// CHANGELING_TEST_PG says which major versions to test on, such as "14,15,16,17,18"; without it, 15. A version that is
// named and not installed fails the test: what was not run never counts as passed.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
)

// shared holds the servers of this process, one a major. It is a package variable because tests share nothing else.
var shared struct {
	mu      sync.Mutex
	servers map[int]*lazy
}

type lazy struct {
	once   sync.Once
	server *dbtest.Server
	err    error
}

// Main is for TestMain: it runs the tests, stops the shared servers and exits. A package without it works as well;
// its servers then end with the process, some seconds later. It takes a *testing.M, or what runs one.
func Main(m interface{ Run() int }) {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for major, l := range shared.servers {
		if l.server == nil {
			continue
		}
		if err := l.server.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "stop PostgreSQL %d: %v\n", major, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Majors returns the major versions to test on, from CHANGELING_TEST_PG.
func Majors(t testing.TB) []int {
	t.Helper()
	list := os.Getenv("CHANGELING_TEST_PG")
	if list == "" {
		return []int{dbtest.DefaultMajor}
	}
	var majors []int
	for word := range strings.SplitSeq(list, ",") {
		major, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			t.Fatalf("CHANGELING_TEST_PG=%q is not a list of major versions such as 14,15", list)
		}
		majors = append(majors, major)
	}
	return majors
}

// Server returns the server that all tests of this process share, started at the first call. Without a major it is the
// first of Majors. A test that kills, stops or reconfigures a server takes Own.
func Server(t testing.TB, major ...int) *dbtest.Server {
	t.Helper()
	n := choose(t, major)
	shared.mu.Lock()
	if shared.servers == nil {
		shared.servers = map[int]*lazy{}
	}
	l := shared.servers[n]
	if l == nil {
		l = &lazy{}
		shared.servers[n] = l
	}
	shared.mu.Unlock()
	l.once.Do(func() { l.server, l.err = start(t, dbtest.Options{Major: n}) })
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.server
}

// Own starts a server for this test alone. A zero opts.Major is the first of Majors. If the test fails, the end of the
// server's log goes to the test's.
func Own(t testing.TB, opts dbtest.Options) *dbtest.Server {
	t.Helper()
	if opts.Major == 0 {
		opts.Major = choose(t, nil)
	}
	s, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of PostgreSQL %d ends:\n%s", s.Major, s.LogTail(40))
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Standby makes a streaming replica of a server of the test's own; it ends with the test, before its server.
func Standby(t testing.TB, s *dbtest.Server, opts dbtest.Options) *dbtest.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := s.Standby(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the standby ends:\n%s", r.LogTail(40))
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Database creates an empty database on the shared server and returns its URL. It is dropped after the test,
// with whoever is still connected to it. Its name tells the test, for a reader of the server's log.
func Database(t testing.TB, major ...int) string {
	t.Helper()
	s := Server(t, major...)
	name := databaseName(t.Name())
	admin(t, s, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	t.Cleanup(func() { admin(t, s, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)") })
	return s.DSN(name)
}

// Open returns a pool for the URL, which is closed after the test.
func Open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	return pool(t, connector(t, dsn))
}

// Dying is Open with a driver that dies as told, see package dying.
func Dying(t testing.TB, dsn string, death dying.Death) (*sql.DB, *dying.Connector) {
	t.Helper()
	c := dying.New(connector(t, dsn), death, sever)
	return pool(t, c), c
}

// Mutant is Open with a driver that rewrites statements, see package mutant.
func Mutant(t testing.TB, dsn string, rewrite mutant.Rewrite) *sql.DB {
	t.Helper()
	return pool(t, mutant.New(connector(t, dsn), rewrite))
}

// Execer is what runs statements: *sql.DB, *sql.Conn or *sql.Tx.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Exec runs statements one after the other; each may be several, separated by semicolons. The test ends at an error.
func Exec(t testing.TB, db Execer, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%v\nin: %s", err, statement)
		}
	}
}

func choose(t testing.TB, major []int) int {
	t.Helper()
	if len(major) > 1 {
		t.Fatalf("one major version is expected, not %v", major)
	}
	return append(slices.Clone(major), Majors(t)...)[0]
}

// start is not bound to the context of the test: a shared server outlives it.
func start(t testing.TB, opts dbtest.Options) (*dbtest.Server, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	return dbtest.Start(ctx, opts)
}

// admin runs one statement in the database postgres, also in a cleanup, when the context of the test has ended.
func admin(t testing.TB, s *dbtest.Server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Errorf("%v; the server's log ends:\n%s", err, s.LogTail(20))
		t.FailNow()
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%v\nin: %s", err, statement)
	}
}

// databaseName makes a name of at most 63 bytes from the test's, unique also among the processes that share a server.
func databaseName(test string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return name[:min(len(name), 50)] + "_" + strings.ToLower(rand.Text()[:8])
}

func connector(t testing.TB, dsn string) driver.Connector {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return stdlib.GetConnector(*config)
}

func pool(t testing.TB, c driver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// sever closes the socket beneath a connection of pgx, as the kernel does for a process that was killed.
func sever(c driver.Conn) {
	if c, ok := c.(*stdlib.Conn); ok {
		_ = c.Conn().PgConn().Conn().Close() // it may be closed already
	}
}
