package migrate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/migrate"
)

// big is a table that counts as large, and a migration that rewrites it.
func big(t *testing.T, kind string) (database, string) {
	t.Helper()
	if kind == "postgres" {
		d := postgresDatabase(t)
		d.exec(t, "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO big SELECT i, i FROM generate_series(1, 2000) i")
		return d, "ALTER TABLE big ALTER COLUMN n TYPE bigint"
	}
	d := mysqlDatabase(t, kind)
	d.exec(t, "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL)", "INSERT INTO big WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900) SELECT i, i FROM r")
	return d, "ALTER TABLE big MODIFY n bigint NOT NULL"
}

// N9, Z6: what would stop the users of a large table goes through the engine; the same on a small one does not.
func TestN9RiskyStatementsGoThroughTheEngine(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "mysql9.7"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d, alter := big(t, kind)
			fsys := files("1_n.sql", "CREATE TABLE other (id int);\n"+alter+";\nINSERT INTO other VALUES (1);")
			m := migrator(t, d.db, fsys, migrate.Config{SmallRows: 100, Engine: changeling.Config{Fast: true, DropAfter: changeling.DropNow}})
			p, err := m.Plan(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if step := p[0].Steps[1]; step.How != "engine" || step.Route != "shadow-table" || p[0].Transaction {
				t.Errorf("planned as %+v", step)
			}
			if got := migrate.Text(p); !strings.Contains(got, "statement by statement") || !strings.Contains(got, "engine") {
				t.Errorf("the plan reads\n%s", got)
			}
			small, err := migrator(t, d.db, fsys, migrate.Config{}).Plan(t.Context(), "")
			if err != nil || small[0].Steps[1].How == "engine" {
				t.Errorf("a small table: %+v, %v", small, err)
			}
			upped(t, m)
			if got := d.ask(t, "SELECT data_type FROM information_schema.columns WHERE table_name = 'big' AND column_name = 'n' AND table_schema = "+map[string]string{"postgres": "'public'"}[kind]+map[bool]string{true: "DATABASE()"}[kind != "postgres"]); got != "bigint" {
				t.Errorf("n is %s", got)
			}
			if got := d.ask(t, "SELECT count(*) FROM other"); got != "1" {
				t.Errorf("%s rows", got)
			}
			if res := upped(t, m); !res.Nothing() {
				t.Errorf("again: %+v", res)
			}
		})
	}
}

// N8: killed while the engine works, the next run goes on with the same change.
func TestN8DiesInTheEngine(t *testing.T) {
	t.Parallel()
	d, alter := big(t, "postgres")
	config := migrate.Config{SmallRows: 100, Engine: changeling.Config{Fast: true}}
	fsys := files("1_n.sql", alter+";")
	db, dead := d.dying(t, dying.Death{At: 120, Moment: dying.After})
	if _, err := migrator(t, db, fsys, config).Up(t.Context(), ""); err == nil {
		t.Fatal("it was not killed")
	}
	if last, died := dead.Died(); !died {
		t.Fatalf("it lived on: %s", last)
	}
	upped(t, migrator(t, d.db, fsys, config))
	if got := d.ask(t, "SELECT count(*) FROM changeling.change"); got != "1" {
		t.Errorf("%s changes were made", got)
	}
	if got := d.ask(t, "SELECT pg_typeof(n) FROM big LIMIT 1"); got != "bigint" {
		t.Errorf("n is %s", got)
	}
	if got := d.ask(t, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%'"); got != "0" {
		t.Errorf("%s triggers of an undo are left for the migrations that follow", got)
	}
}

// S32, NR7, B15: a change that is left to run beside: others go on, those on its table wait, and it counts when a worker has done it.
func TestS32Detached(t *testing.T) {
	t.Parallel()
	for _, kind := range append([]string{"postgres"}, mytest.Versions(t)...) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d, alter := big(t, kind)
			c := migrate.Config{SmallRows: 100, Detach: true}
			first := files("1_n.sql", alter+";", "2_other.sql", "CREATE TABLE other (id int);")
			m := migrator(t, d.db, first, c)
			res := upped(t, m)
			if len(res.Background) != 1 || len(res.Applied) != 2 {
				t.Fatalf("up: %+v", res)
			}
			if err := m.Require(t.Context(), "1"); !errors.Is(err, migrate.ErrBehind) {
				t.Errorf("a change that is not done counts: %v", err)
			}
			first["3_big.sql"] = files("x", "UPDATE big SET n = 0;")["x"]
			if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrStopped) || !strings.Contains(err.Error(), "changeling resume "+res.Background[0]) {
				t.Errorf("a migration on its table: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 2)
			for range 2 {
				db := d.open(t)
				go func() {
					ended <- migrate.Work(ctx, db, migrate.Config{Engine: changeling.Config{Fast: true, DropAfter: changeling.DropNow}})
				}()
			}
			if err := m.Wait(within(t, 5*time.Minute), "1"); err != nil {
				t.Errorf("the workers did not end it: %v", err)
			}
			cancel()
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if res := upped(t, m); len(res.Applied) != 1 {
				t.Errorf("behind it: %+v", res)
			}
			if st := state(t, m); st.State != migrate.StateCurrent {
				t.Errorf("%s: %s", st.State, st.Message)
			}
		})
	}
}

// N9, S18: locks are waited for in short turns, so that nobody queues behind a migration for long, and it succeeds in the end.
func TestN9LocksAreBoundedAndTriedAgain(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "mysql9.7", "mariadb10.11"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var d database
			if kind == "postgres" {
				d = postgresDatabase(t)
			} else {
				d = mysqlDatabase(t, kind)
			}
			d.exec(t, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)")
			tx, err := d.open(t).BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var n int
			if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&n); err != nil {
				t.Fatal(err)
			}
			fsys := files("1_n.sql", "ALTER TABLE a ADD COLUMN m int;")
			_, err = migrator(t, d.db, fsys, migrate.Config{Patience: 3 * time.Second}).Up(t.Context(), "")
			if !errors.Is(err, changeling.ErrStopped) || !strings.Contains(err.Error(), "did not get its locks") {
				t.Errorf("a table that is held: %v", err)
			}
			done := make(chan error, 1)
			m := migrator(t, d.open(t), fsys, migrate.Config{})
			go func() {
				_, err := m.Up(t.Context(), "")
				done <- err
			}()
			// Users come through in the pauses.
			began := time.Now()
			if _, err := d.db.ExecContext(t.Context(), "INSERT INTO a (id) VALUES (2)"); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > time.Minute { // without the bound he would wait for the transaction above
				t.Errorf("a user waited %s", took)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// NR6: on MySQL an index of a large table is built while others write, or not at all.
func TestNR6IndexesOfLargeTables(t *testing.T) {
	t.Parallel()
	for _, version := range mytest.Versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d, _ := big(t, version)
			m := migrator(t, d.db, files("1_i.sql", "CREATE INDEX big_n ON big (n);"), migrate.Config{SmallRows: 100})
			p, err := m.Plan(t.Context(), "")
			if err != nil && strings.HasPrefix(version, "mariadb") { // as long as the engine does not know it
				if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "too large to be altered as it is") {
					t.Errorf("a large table: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if step := p[0].Steps[0]; step.How != "engine" && !strings.Contains(step.SQL, "LOCK=NONE") {
				t.Errorf("planned as %+v", step)
			}
			upped(t, m)
			if got := d.ask(t, "SELECT count(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND index_name = 'big_n'"); got != "1" {
				t.Errorf("%s indexes", got)
			}
		})
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		d, _ := big(t, "postgres")
		m := migrator(t, d.db, files("1_i.sql", "create /* of n */ index big_n on big (n);"), migrate.Config{SmallRows: 100})
		p, err := m.Plan(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if step := p[0].Steps[0]; step.How != "engine" && !strings.Contains(step.SQL, "index CONCURRENTLY big_n") {
			t.Errorf("planned as %+v", step)
		}
		upped(t, m)
		if got := d.ask(t, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'big_n'::regclass"); got != "true" {
			t.Error("the index is not valid")
		}
	})
}
