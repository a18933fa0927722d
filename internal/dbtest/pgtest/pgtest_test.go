package pgtest_test

import (
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabase(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("%d, a name with Ümläuts, 'quotes' and more characters than PostgreSQL takes", major), func(t *testing.T) {
			t.Parallel()
			var name string
			var stray *sql.DB
			t.Run("in use", func(t *testing.T) {
				dsn := pgtest.Database(t, major)
				if other := pgtest.Database(t, major); other == dsn {
					t.Errorf("two databases are the same: %s", dsn)
				}
				db := pgtest.Open(t, dsn)
				pgtest.Exec(t, db, "CREATE TABLE a (n int); CREATE TABLE b (n int)", "INSERT INTO b VALUES (1)")
				if err := db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
					t.Fatal(err)
				}
				stray = pgtest.Open(t, dsn)
				pgtest.Exec(t, stray, "SELECT 1")
			})
			var n int
			db := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
			if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d databases are called %s after the test, %v; want none", n, name, err)
			}
		})
	}
}

func TestServerIsShared(t *testing.T) {
	t.Parallel()
	if a, b := pgtest.Server(t), pgtest.Server(t, pgtest.Majors(t)[0]); a != b {
		t.Errorf("two servers of one major: processes %d and %d", a.Pid(), b.Pid())
	}
	if own := pgtest.Own(t, dbtest.Options{}); own.Pid() == pgtest.Server(t).Pid() {
		t.Errorf("Own returned the shared server")
	}
}

func TestMajors(t *testing.T) {
	for _, c := range []struct {
		rule, list string
		want       []int
	}{
		{"15 by default", "", []int{15}},
		{"in the order given", "16, 14", []int{16, 14}},
	} {
		t.Setenv("CHANGELING_TEST_PG", c.list)
		if got := pgtest.Majors(t); !slices.Equal(got, c.want) {
			t.Errorf("%s: Majors() with %q = %v, want %v", c.rule, c.list, got, c.want)
		}
	}
}

// TestMissingIsNoPass holds the rule that a test on a server that is not there fails instead of being skipped.
func TestMissingIsNoPass(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"9", "no PostgreSQL 9"},
		{"15;16", "not a list of major versions"},
	} {
		t.Setenv("CHANGELING_TEST_PG", c.list)
		inner := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			pgtest.Database(inner)
		}()
		<-done
		if !strings.Contains(inner.fatal, c.want) {
			t.Errorf("CHANGELING_TEST_PG=%q ends with %q, want %q", c.list, inner.fatal, c.want)
		}
	}
}

// recorder is a test that ends at Fatal without failing the real one.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
