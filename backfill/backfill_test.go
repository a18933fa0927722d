package backfill_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(mytest.Around(m)) }

type database struct {
	*testing.T
	kind, dsn string
	db        *sql.DB
}

func each(t *testing.T, test func(d database)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Database(t)
		test(database{t, "postgres", dsn, pgtest.Open(t, dsn)})
	})
	mytest.Each(t, func(t *testing.T, version string) {
		dsn := mytest.Database(t, version)
		test(database{t, "mysql", dsn, mytest.Open(t, dsn)})
	})
}

func (d database) exec(statements ...string) {
	d.Helper()
	for _, s := range statements {
		if _, err := d.db.ExecContext(d.Context(), s); err != nil {
			d.Fatalf("%v\nin: %s", err, s)
		}
	}
}

func (d database) ask(query string) (value string) {
	d.Helper()
	if err := d.db.QueryRowContext(d.Context(), query).Scan(&value); err != nil {
		d.Fatalf("%v\nin: %s", err, query)
	}
	return value
}

// accounts is a table whose keys have gaps.
func (d database) accounts() {
	d.Helper()
	d.exec("CREATE TABLE accounts (id bigint PRIMARY KEY, name varchar(20) NOT NULL, n int NOT NULL DEFAULT 0)")
	for i := range 6 {
		var values []string
		for k := range 100 {
			id := int64(i*100+k) * 1_000_000_007
			values = append(values, fmt.Sprintf("(%d, 'name %d', 0)", id, i*100+k))
		}
		d.exec("INSERT INTO accounts VALUES " + strings.Join(values, ", "))
	}
}

func (d database) jobs(db *sql.DB) *backfill.Jobs {
	d.Helper()
	j, err := backfill.Open(d.Context(), db, backfill.Config{Fast: true, BatchTime: time.Millisecond})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(j.Close)
	return j
}

// add is a job that counts how often a row was done.
func add(name string) backfill.Job {
	return backfill.Job{Name: name, Table: "accounts", Set: "n = n + 1"}
}

// B1, B3, B4, B14, B16, B20: every row once, in batches by the key, however far its values are apart.
func TestB3WholeTableOnce(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j := d.jobs(d.db)
		job, err := j.Parse("UPDATE accounts SET n = n + length(name) - length(name) + 1 WHERE name <> 'name 7';")
		if err != nil {
			d.Fatal(err)
		}
		job.Name, job.Left = "fill", "n = 0 AND name <> 'name 7'"
		s, err := j.Run(d.Context(), job)
		if err != nil || s.Status != "done" || s.Rows != 599 {
			d.Fatalf("%+v, %v", s, err)
		}
		if s, err := j.Run(d.Context(), job); err != nil || s.Rows != 599 {
			d.Errorf("again: %+v, %v", s, err)
		}
		if got := d.ask("SELECT SUM(n) FROM accounts"); got != "599" {
			d.Errorf("the rows were done %s times", got)
		}
		job.Set = "n = 0"
		if _, err := j.Run(d.Context(), job); !errors.Is(err, changeling.ErrRefused) {
			d.Errorf("another job of the same name: %v", err)
		}
		if s, err := j.Run(d.Context(), backfill.Job{Name: "purge", Table: "accounts", Delete: true, Where: "n = 1"}); err != nil || s.Rows != 599 {
			d.Errorf("delete: %+v, %v", s, err)
		}
		_, err = j.Run(d.Context(), backfill.Job{Name: "left", Table: "accounts", Set: "n = 5", Where: "n = 4", Left: "n <> 5"})
		if !errors.Is(err, changeling.ErrMismatch) || !strings.Contains(err.Error(), "1 rows still are") {
			d.Errorf("rows that are left: %v", err)
		}
	})
}

// B1, B24: killed at any statement, it goes on; no row is done twice.
func TestB24DiesAndGoesOn(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		open := func(at int, moment dying.Moment) (*sql.DB, *dying.Connector) {
			if d.kind == "postgres" {
				return pgtest.Dying(d.T, d.dsn, dying.Death{At: at, Moment: moment})
			}
			return mytest.Dying(d.T, d.dsn, dying.Death{At: at, Moment: moment})
		}
		for i, at := range []int{21, 26, 31, 36, 41} {
			name := fmt.Sprint("job", i)
			db, dead := open(at, dying.Moment(i%2))
			j, err := backfill.Open(d.Context(), db, backfill.Config{Fast: true, BatchTime: time.Millisecond})
			if err == nil {
				_, err = j.Run(d.Context(), add(name))
				j.Close()
			}
			if last, died := dead.Died(); !died || err == nil {
				d.Errorf("it lived through statement %d: %s", at, last)
			}
			if s, err := d.jobs(d.db).Run(d.Context(), add(name)); err != nil || s.Rows != 600 {
				d.Fatalf("killed at %d: %+v, %v", at, s, err)
			}
			if lo, hi := d.ask("SELECT MIN(n) FROM accounts"), d.ask("SELECT MAX(n) FROM accounts"); lo != fmt.Sprint(i+1) || hi != lo {
				d.Fatalf("killed at %d: rows were done %s to %s times, and should %d", at, lo, hi, i+1)
			}
		}
	})
}

// B6: a row that fails is found by halving. It stops the job, or is left out and noted.
func TestB6PoisonRows(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		d.exec("ALTER TABLE accounts ADD CONSTRAINT sane CHECK (n < 100)", "UPDATE accounts SET n = 99 WHERE name IN ('name 17', 'name 599')")
		j := d.jobs(d.db)
		_, err := j.Run(d.Context(), add("strict"))
		if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), fmt.Sprintf(`["%d"]`, int64(17)*1_000_000_007)) {
			d.Fatalf("a row that fails: %v", err)
		}
		if got := d.ask("SELECT count(*) FROM accounts WHERE n = 1"); got != "17" {
			d.Errorf("%s rows are done before the one that fails", got)
		}
		d.exec("UPDATE accounts SET n = 0 WHERE n = 1")
		job := add("tolerant")
		job.Tolerate = 2
		s, err := j.Run(d.Context(), job)
		if err != nil || s.Rows != 598 || s.Bad != 2 || s.Status != "done" {
			d.Errorf("%+v, %v", s, err)
		}
	})
}

// B2: keys of several columns and of texts.
func TestB2CompositeKeys(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.exec("CREATE TABLE pairs (a varchar(20) NOT NULL, b int NOT NULL, c date NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b, c))")
		for _, a := range []string{"Äpfel", "birne", "O''Brien", `back\\slash`, "z"} {
			for b := range 30 {
				d.exec(fmt.Sprintf("INSERT INTO pairs (a, b, c) VALUES ('%s%d', %d, '2024-01-01'), ('%s%d', %d, '2024-01-02')", a, b%3, b, a, b%3, b))
			}
		}
		j := d.jobs(d.db)
		s, err := j.Run(d.Context(), backfill.Job{Name: "pairs", Table: "pairs", Set: "n = n + 1"})
		if err != nil || s.Rows != 300 {
			d.Fatalf("%+v, %v", s, err)
		}
		if lo, hi := d.ask("SELECT MIN(n) FROM pairs"), d.ask("SELECT MAX(n) FROM pairs"); lo != "1" || hi != "1" {
			d.Errorf("rows were done %s to %s times", lo, hi)
		}
	})
}

// B10, B13, B18: a function per batch; never two jobs on one table; pause, resume and cancel from elsewhere.
func TestB10PauseResumeCancel(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j := d.jobs(d.db)
		entered, goOn := make(chan struct{}, 1000), make(chan struct{}) // not before there is a wish to hear
		job := backfill.Job{Name: "go", Table: "accounts", Func: func(ctx context.Context, tx *sql.Tx, b backfill.Batch) (int64, error) {
			entered <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			time.Sleep(20 * time.Millisecond) // so that there are many batches
			r, err := tx.ExecContext(ctx, "UPDATE "+b.Table+" SET n = n + 1 WHERE "+b.Range)
			if err != nil {
				return 0, err
			}
			return r.RowsAffected()
		}}
		done := make(chan error, 1)
		go func() {
			_, err := j.Run(d.Context(), job)
			done <- err
		}()
		<-entered
		if _, err := d.jobs(d.db).Run(d.Context(), add("other")); !errors.Is(err, changeling.ErrOwned) || !strings.Contains(err.Error(), "never two jobs on one") {
			d.Errorf("two jobs on one table: %v", err)
		}
		if err := j.Pause(d.Context(), "go"); err != nil {
			d.Fatal(err)
		}
		close(goOn)
		still := func() string { return d.ask("SELECT SUM(n) FROM accounts") }
		for before := ""; before != still(); before = still() {
			time.Sleep(1500 * time.Millisecond) // a wish is heard within half a second
		}
		if err := j.Resume(d.Context(), "go"); err != nil {
			d.Fatal(err)
		}
		if err := <-done; err != nil {
			d.Fatal(err)
		}
		if got := d.ask("SELECT MIN(n) FROM accounts"); got != "1" {
			d.Errorf("rows were done %s times", got)
		}
		for round := range 5 { // what was said before it runs is heard before its first batch, always
			late := backfill.Job{Name: fmt.Sprint("late", round), Table: "accounts", Set: "n = 7"}
			if err := j.Create(d.Context(), late); err != nil {
				d.Fatal(err)
			}
			if err := j.Cancel(d.Context(), late.Name); err != nil {
				d.Fatal(err)
			}
			if _, err := j.Run(d.Context(), late); !errors.Is(err, changeling.ErrAborted) {
				d.Errorf("a job that was cancelled: %v", err)
			}
			if err := j.Resume(d.Context(), late.Name); !errors.Is(err, changeling.ErrUsage) {
				d.Errorf("resume of a cancelled job: %v", err)
			}
		}
		if got := d.ask("SELECT COUNT(*) FROM accounts WHERE n = 7"); got != "0" {
			d.Errorf("jobs that were cancelled have written %s rows", got)
		}
	})
}

// B13: workers take what is there, and what comes.
func TestB13Workers(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		ctx, cancel := context.WithTimeout(d.Context(), 5*time.Minute)
		defer cancel()
		j := d.jobs(d.db)
		for _, name := range []string{"one", "two", "three"} {
			if err := j.Create(ctx, add(name)); err != nil {
				d.Fatal(err)
			}
		}
		ended := make(chan error, 2)
		for range 2 {
			w := d.jobs(d.db)
			go func() { ended <- w.Work(ctx, nil) }()
		}
		for open := 3; open > 0; {
			all, err := j.List(ctx)
			if err != nil {
				d.Fatal(err)
			}
			open = 0
			for _, s := range all {
				if !s.Over() {
					open++
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				d.Error(err)
			}
		}
		if lo, hi := d.ask("SELECT MIN(n) FROM accounts"), d.ask("SELECT MAX(n) FROM accounts"); lo != "3" || hi != "3" {
			d.Errorf("rows were done %s to %s times", lo, hi)
		}
	})
}

func TestStatementsThatAreNoJob(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	j, err := backfill.Open(t.Context(), pgtest.Open(t, dsn), backfill.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, text := range []string{"", "SELECT 1", "UPDATE a, b SET x = 1", "UPDATE a x SET y = 1", "DELETE FROM a USING b", "UPDATE a SET x = 1 LIMIT 5", "UPDATE a SET x = 'open", "DELETE FROM a ORDER BY b"} {
		if job, err := j.Parse(text); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("%q is %+v, %v", text, job, err)
		}
	}
	job, err := j.Parse(`UPDATE "a b".t SET x = (SELECT max(y) FROM u WHERE u.t = t.id), z = 'WHERE' WHERE id > 5`)
	if err == nil {
		t.Errorf("a table with a blank is no table yet: %+v", job)
	}
	job, err = j.Parse(`update public.t set x = (SELECT max(y) FROM u WHERE u.t = t.id), z = 'WHERE' where id > 5;`)
	if err != nil || job.Table != "public.t" || job.Set != "x = (SELECT max(y) FROM u WHERE u.t = t.id), z = 'WHERE'" || job.Where != "id > 5" {
		t.Errorf("%+v, %v", job, err)
	}
	if _, err := j.Run(t.Context(), backfill.Job{Name: "x", Table: "nowhere", Set: "a = 1"}); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("a table that is not there: %v", err)
	}
}
