// Package mytest gives tests a real MySQL and a real MariaDB: a server of each shared by the tests of one process, a
// database of its own for each test, and a server of its own for a test that kills it.
//
// CHANGELING_TEST_MYSQL says which versions to test on, such as "mysql9.7,mariadb10.11,mariadb11.8". A version that is
// named and not installed fails the test: what was not run never counts as passed. Without it they are MariaDB 10.11 and
// MySQL 9.7, and a test on one that is not installed is skipped, so that the tests of other packages need no MySQL.
package mytest

import (
	"context"
	"crypto/rand"
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/driver"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
)

const variable = "CHANGELING_TEST_MYSQL"

var versionWord = regexp.MustCompile(`^(mysql|mariadb)[0-9]+\.[0-9]+$`)

// shared holds the servers of this process, one a version. It is a package variable because tests share nothing else.
var shared struct {
	mu      sync.Mutex
	servers map[string]*lazy
}

type lazy struct {
	once   sync.Once
	server *dbtest.MySQL
	err    error
}

// Runner is what runs the tests of a package: a *testing.M, or Around one.
type Runner interface{ Run() int }

// Main is for TestMain: it runs the tests, stops the shared servers and exits. A package without it works as well;
// its servers then end with the process, at once.
func Main(m Runner) { os.Exit(Around(m).Run()) }

// Around returns a Runner that stops the shared servers after the tests. It is for the TestMain of a package that tests on
// PostgreSQL too: pgtest.Main(mytest.Around(m)).
func Around(m Runner) Runner { return around{m} }

type around struct{ tests Runner }

func (a around) Run() int {
	code := a.tests.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for version, l := range shared.servers {
		if l.server == nil {
			continue
		}
		if err := l.server.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "stop %s: %v\n", version, err)
			code = max(code, 1)
		}
	}
	return code
}

// Versions returns the versions to test on, from CHANGELING_TEST_MYSQL. One of them may be missing: then Server, Own and
// Database end the test.
func Versions(t testing.TB) []string {
	t.Helper()
	list := os.Getenv(variable)
	if list == "" {
		return []string{dbtest.DefaultMariaDB, dbtest.DefaultMySQL}
	}
	var versions []string
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if !versionWord.MatchString(word) {
			t.Fatalf("%s=%q is not a list of versions such as %s,%s", variable, list, dbtest.DefaultMySQL, dbtest.DefaultMariaDB)
		}
		versions = append(versions, word)
	}
	return versions
}

// Each runs a test on each of Versions, as a parallel subtest that is called like the version. With only it is those whose
// name begins with one of these words.
func Each(t *testing.T, test func(t *testing.T, version string), only ...string) {
	t.Helper()
	versions := Versions(t)
	ran := false
	for _, version := range versions {
		if len(only) > 0 && !slices.ContainsFunc(only, func(word string) bool { return strings.HasPrefix(version, word) }) {
			continue
		}
		ran = true
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			require(t, version)
			test(t, version)
		})
	}
	if !ran {
		t.Skipf("NOT TESTED: %s names %v, and this is about %v", variable, versions, only)
	}
}

// Server returns the server that all tests of this process share, started at the first call. Without a version it is the
// first of Versions that is installed. A test that kills, stops or reconfigures a server takes Own.
func Server(t testing.TB, version ...string) *dbtest.MySQL {
	t.Helper()
	v := choose(t, version)
	require(t, v)
	shared.mu.Lock()
	if shared.servers == nil {
		shared.servers = map[string]*lazy{}
	}
	l := shared.servers[v]
	if l == nil {
		l = &lazy{}
		shared.servers[v] = l
	}
	shared.mu.Unlock()
	l.once.Do(func() { l.server, l.err = start(t, dbtest.MySQLOptions{Version: v}) })
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.server
}

// Own starts a server for this test alone. An empty opts.Version is the first of Versions that is installed. If the test
// fails, the end of the server's log goes to the test's.
func Own(t testing.TB, opts dbtest.MySQLOptions) *dbtest.MySQL {
	t.Helper()
	if opts.Version == "" {
		opts.Version = choose(t, nil)
	}
	require(t, opts.Version)
	s, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s ends:\n%s", s.Version, s.LogTail(40))
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Database creates an empty database on the shared server and returns its URL. It is dropped after the test,
// and whoever is still connected to it is ended. Its name tells the test, for a reader of the server's log.
func Database(t testing.TB, version ...string) string {
	t.Helper()
	s := Server(t, version...)
	name := databaseName(t.Name())
	admin(t, s, func(ctx context.Context, conn *sql.Conn) error { return execute(ctx, conn, "CREATE DATABASE "+name) })
	t.Cleanup(func() { admin(t, s, func(ctx context.Context, conn *sql.Conn) error { return drop(ctx, conn, name) }) })
	return s.DSN(name)
}

// Open returns a pool for the URL, which is closed after the test. A statement whose connection broke is an error and is
// not sent again, other than the driver has it by default.
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

// Exec runs statements one after the other; each is one, other than in pgtest. The test ends at an error.
func Exec(t testing.TB, db Execer, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if err := execute(t.Context(), db, statement); err != nil {
			t.Fatal(err)
		}
	}
}

func execute(ctx context.Context, db Execer, statement string, args ...any) error {
	if _, err := db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("%w\nin: %s", err, statement)
	}
	return nil
}

func choose(t testing.TB, version []string) string {
	t.Helper()
	if len(version) > 1 {
		t.Fatalf("one version is expected, not %v", version)
	}
	if len(version) == 1 {
		return version[0]
	}
	versions := Versions(t)
	if os.Getenv(variable) == "" {
		available := dbtest.AvailableMySQL()
		if i := slices.IndexFunc(versions, func(v string) bool { return slices.Contains(available, v) }); i >= 0 {
			return versions[i]
		}
	}
	return versions[0]
}

// require skips a test on a version that nobody named and that is not installed. One that is named fails at its start.
func require(t testing.TB, version string) {
	t.Helper()
	if os.Getenv(variable) == "" && !slices.Contains(dbtest.AvailableMySQL(), version) {
		t.Skipf("NOT TESTED on %s, which is not installed: run scripts/setup.sh mysql", version)
	}
}

// start is not bound to the context of the test: a shared server outlives it.
func start(t testing.TB, opts dbtest.MySQLOptions) (*dbtest.MySQL, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	return dbtest.StartMySQL(ctx, opts)
}

// admin does something on a connection of its own, also in a cleanup, when the context of the test has ended.
func admin(t testing.TB, s *dbtest.MySQL, do func(context.Context, *sql.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	db := sql.OpenDB(connector(t, s.DSN("mysql")))
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Errorf("%v; the server's log ends:\n%s", err, s.LogTail(20))
		t.FailNow()
	}
	defer conn.Close()
	if err := do(ctx, conn); err != nil {
		t.Fatal(err)
	}
}

// drop ends the connections to a database, which may hold locks on its tables, and drops it.
func drop(ctx context.Context, conn *sql.Conn, name string) error {
	rows, err := conn.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = ?", name)
	for began := time.Now(); err != nil && strings.Contains(err.Error(), "3854") && time.Since(began) < time.Minute; { // another test's statement has an emoji
		time.Sleep(10 * time.Millisecond)
		rows, err = conn.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = ?", name)
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		_ = execute(ctx, conn, "KILL "+strconv.FormatInt(id, 10)) // it may have ended meanwhile
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := execute(ctx, conn, "SET lock_wait_timeout = 30"); err != nil { // a killed one needs a moment to roll back
		return err
	}
	return execute(ctx, conn, "DROP DATABASE IF EXISTS "+name)
}

// databaseName makes a name of at most 64 characters that needs no quotes from the test's, unique also among the processes
// that share a server.
func databaseName(test string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return "t_" + name[:min(len(name), 50)] + "_" + strings.ToLower(rand.Text()[:8])
}

func connector(t testing.TB, dsn string) driver.Connector {
	t.Helper()
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if c.Params == nil {
		c.Params = url.Values{}
	}
	c.Params.Set("retries", "off") // else database/sql sends a statement again that the server may have run
	return c
}

func pool(t testing.TB, c sqldriver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) { // of a server that was killed
			t.Error(err)
		}
	})
	return db
}

// sever closes the socket beneath a connection of the driver, as the kernel does for a process that was killed.
func sever(c sqldriver.Conn) {
	if c, ok := c.(*driver.Conn); ok {
		_ = c.Conn.Conn.Conn.Close() // it may be closed already
	}
}
