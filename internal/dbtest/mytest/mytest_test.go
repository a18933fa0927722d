package mytest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

func TestMain(m *testing.M) { mytest.Main(m) }

func TestDatabase(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		var name string
		var stray *sql.DB
		t.Run("in use, a name with Ümläuts, 'quotes', `backticks` and more characters than a server takes", func(t *testing.T) {
			dsn := mytest.Database(t, version)
			if other := mytest.Database(t, version); other == dsn {
				t.Errorf("two databases are the same: %s", dsn)
			}
			db := mytest.Open(t, dsn)
			mytest.Exec(t, db, "CREATE TABLE a (n int)", "INSERT INTO a VALUES (1)")
			if err := db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&name); err != nil {
				t.Fatal(err)
			}
			// It holds a lock on the table when the database is dropped.
			stray = sql.OpenDB(mytest.Connector(t, dsn))
			tx, err := stray.BeginTx(context.WithoutCancel(t.Context()), nil)
			if err != nil {
				t.Fatal(err)
			}
			mytest.Exec(t, tx, "UPDATE a SET n = 2")
		})
		defer stray.Close()
		var n int
		db := mytest.Open(t, mytest.Server(t, version).DSN("mysql"))
		row := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name)
		if err := row.Scan(&n); err != nil || n != 0 {
			t.Errorf("%d databases are called %s after the test, %v; want none", n, name, err)
		}
	})
}

// TestNoRetries holds that a statement whose connection was lost is not sent again, on another connection.
func TestNoRetries(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Open(t, mytest.Database(t, version))
		mytest.Exec(t, db, "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, by_session bigint)")
		db.SetMaxIdleConns(1)
		var id int64
		if err := db.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		killer, err := mytest.Open(t, mytest.Server(t, version).DSN("mysql")).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer killer.Close()
		mytest.Exec(t, killer, fmt.Sprintf("KILL %d", id))
		if _, err := db.ExecContext(t.Context(), "INSERT INTO t (by_session) VALUES (CONNECTION_ID())"); err == nil {
			t.Error("a statement on a connection that the server had ended succeeded")
		}
		if _, err := db.ExecContext(t.Context(), "DO 1"); err != nil {
			t.Errorf("the pool gave the lost connection out again: %v", err)
		}
	})
}

func TestDying(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		dsn := mytest.Database(t, version)
		mytest.Exec(t, mytest.Open(t, dsn), "CREATE TABLE t (n int)")
		for _, c := range []struct {
			moment dying.Moment
			rows   int
		}{{dying.Before, 0}, {dying.After, 1}} {
			db, at := mytest.Dying(t, dsn, dying.Death{At: 2, Moment: c.moment})
			mytest.Exec(t, db, "DO 1")
			if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); !errors.Is(err, dying.ErrDead) {
				t.Errorf("death %v the second statement: %v, want %v", c.moment, err, dying.ErrDead)
			}
			if text, dead := at.Died(); !dead || text != "INSERT INTO t VALUES (1)" {
				t.Errorf("Died() = %q, %v", text, dead)
			}
			var rows int
			if err := mytest.Open(t, dsn).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t").Scan(&rows); err != nil || rows != c.rows {
				t.Errorf("death %v the INSERT leaves %d rows, %v; want %d", c.moment, rows, err, c.rows)
			}
		}
	})
}

func TestMutant(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Mutant(t, mytest.Database(t, version), func(_ context.Context, s mutant.Statement) string {
			return strings.ReplaceAll(s.Text, "1", "2")
		})
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT 1").Scan(&n); err != nil || n != 2 {
			t.Errorf("SELECT 1 that became SELECT 2 = %d, %v", n, err)
		}
	})
}

// TestError holds that an error keeps the server's number on its way.
func TestError(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		_, err := mytest.Open(t, mytest.Database(t, version)).ExecContext(t.Context(), "SELECT * FROM missing")
		if own := new(mysql.MyError); !errors.As(err, &own) || own.Code != mysql.ER_NO_SUCH_TABLE {
			t.Errorf("a SELECT from a table that is not there = %v, want error %d", err, mysql.ER_NO_SUCH_TABLE)
		}
	})
}

func TestServerIsShared(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		shared := mytest.Server(t, version)
		if again := mytest.Server(t, version); again != shared {
			t.Errorf("two servers of one version: processes %d and %d", shared.Pid(), again.Pid())
		}
		if own := mytest.Own(t, dbtest.MySQLOptions{Version: version}); own.Pid() == shared.Pid() {
			t.Errorf("Own returned the shared server")
		}
	})
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		rule, list string
		want       []string
	}{
		{"one of each by default", "", []string{"mariadb10.11", "mysql9.7"}},
		{"in the order given", "mysql9.7, mariadb11.8", []string{"mysql9.7", "mariadb11.8"}},
	} {
		t.Setenv("CHANGELING_TEST_MYSQL", c.list)
		if got := mytest.Versions(t); !slices.Equal(got, c.want) {
			t.Errorf("%s: Versions() with %q = %v, want %v", c.rule, c.list, got, c.want)
		}
	}
}

// TestMissingIsNoPass holds the rule that a test on a server that was named and is not there fails instead of being
// skipped, and that one on a server that nobody named says that it was not run.
func TestMissingIsNoPass(t *testing.T) {
	t.Setenv("CHANGELING_CACHE", t.TempDir())
	for _, c := range []struct{ list, fatal, skipped string }{
		{"mysql5.0", "no mysql5.0", ""},
		{"9.7", "not a list of versions", ""},
		{"mysql", "not a list of versions", ""},
		{"", "", "NOT TESTED on mariadb10.11"},
	} {
		t.Setenv("CHANGELING_TEST_MYSQL", c.list)
		inner := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			mytest.Database(inner)
		}()
		<-done
		if !strings.Contains(inner.fatal, c.fatal) || !strings.Contains(inner.skipped, c.skipped) || inner.fatal != "" == (inner.skipped != "") {
			t.Errorf("CHANGELING_TEST_MYSQL=%q fails with %q and skips with %q, want %q and %q",
				c.list, inner.fatal, inner.skipped, c.fatal, c.skipped)
		}
	}
}

// recorder is a test that ends at Fatal or Skip without ending the real one.
type recorder struct {
	testing.TB
	fatal, skipped string
}

func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
