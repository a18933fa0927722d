package backfill_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/backfill"
)

// B16, B17: a column is filled from an expression, only where the two differ, NULL among them; the look at the end finds none.
func TestB17CopyColumn(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.exec("CREATE TABLE orders (id int PRIMARY KEY, amount int, cents bigint)", "INSERT INTO orders VALUES (1, 10, NULL), (2, 20, 2000), (3, NULL, 7), (4, NULL, NULL), (5, 50, 1)")
		j := d.jobs(d.db)
		job, err := j.CopyColumn("orders", "cents = amount * 100")
		if err != nil {
			d.Fatal(err)
		}
		for i, name := range []string{"first", "again"} {
			want := []int64{3, 0}[i]
			job.Name = name
			if s, err := j.Run(d.Context(), job); err != nil || s.Rows != want {
				d.Errorf("%s: %+v, %v, want %d rows", name, s, err, want)
			}
		}
		if got := d.ask("SELECT COUNT(*) FROM orders WHERE cents = amount * 100 OR cents IS NULL AND amount IS NULL"); got != "5" {
			d.Errorf("%s rows are right, want 5", got)
		}
		for _, text := range []string{"cents", "cents =", "a b = 1", "f(x) = 2"} {
			if job, err := j.CopyColumn("orders", text); !errors.Is(err, changeling.ErrUsage) {
				d.Errorf("%q is %+v, %v", text, job, err)
			}
		}
	})
}

// B17: rows whose parent is not there are deleted, those with a NULL in the reference are not.
func TestB17Orphans(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.exec("CREATE TABLE parents (a int, b varchar(5), PRIMARY KEY (a, b))", "INSERT INTO parents VALUES (1, 'x'), (2, 'y')",
			"CREATE TABLE children (id int PRIMARY KEY, a int, b varchar(5))", "INSERT INTO children VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'y'), (4, 3, 'x'), (5, 3, NULL), (6, NULL, NULL)")
		j := d.jobs(d.db)
		job, err := j.Orphans("children", "(a, b) references parents (a, b)")
		if err != nil {
			d.Fatal(err)
		}
		job.Name = "strays"
		if s, err := j.Run(d.Context(), job); err != nil || s.Rows != 2 {
			d.Errorf("%+v, %v, want 2 rows", s, err)
		}
		if got := d.ask("SELECT SUM(id) FROM children"); got != "15" { // 1 + 3 + 5 + 6
			d.Errorf("the wrong children are left: their ids add up to %s, want 15", got)
		}
		for _, text := range []string{"a", "a REFERENCES parents", "(a, b) REFERENCES parents (a)", "a REFERENCES parents (a) OR 1 = 1", "a = 1 REFERENCES parents (a)"} {
			if job, err := j.Orphans("children", text); !errors.Is(err, changeling.ErrUsage) {
				d.Errorf("%q is %+v, %v", text, job, err)
			}
		}
		_, err = j.Orphans("children", "a REFERENCES children (id)")
		if own := d.kind == "mysql"; errors.Is(err, changeling.ErrUsage) != own {
			d.Errorf("a table that refers to itself: %v", err)
		}
	})
}

// B11, B13: a job with a schedule begins anew when one of its minutes has come since it ended, by one of the workers, and not before.
func TestB11Schedule(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j := d.jobs(d.db)
		job := add("nightly")
		job.Schedule = "0 3 1 1 *" // no minute of it comes by itself while the test runs
		if err := j.Create(d.Context(), job); err != nil {
			d.Fatal(err)
		}
		later := add("yearly")
		later.Schedule = "TZ=Europe/Berlin 0 3 29 2 *"
		if err := j.Create(d.Context(), later); err != nil {
			d.Fatal(err)
		}
		for _, text := range []string{"hourly", "* * * *", "61 * * * *", "TZ=Nowhere * * * * *"} {
			wrong := add("wrong")
			if wrong.Schedule = text; !errors.Is(j.Create(d.Context(), wrong), changeling.ErrUsage) {
				d.Errorf("the schedule %q is taken", text)
			}
		}
		ctx, cancel := context.WithTimeout(d.Context(), 5*time.Minute)
		defer cancel()
		ended := make(chan error, 2)
		for range 2 {
			w := d.jobs(d.db)
			go func() { ended <- w.Work(ctx, nil) }()
		}
		find := func(name string) *backfill.Status {
			s, err := j.Find(d.Context(), name)
			if err != nil {
				d.Fatal(err)
			}
			return s
		}
		// Two years pass at once: the server's clock is set back in what the job has noted.
		for round := range 2 {
			back := "updated_at - interval '2 years'"
			if d.kind == "mysql" {
				back = "updated_at - INTERVAL 2 YEAR"
			}
			d.exec("UPDATE changeling.job SET updated_at = " + back + " WHERE name LIKE '%/nightly'")
			for want := map[int]string{0: "600", 1: "1200"}[round]; d.ask("SELECT SUM(n) FROM accounts") != want || find("nightly").Status != "done"; {
				select {
				case <-ctx.Done():
					d.Fatalf("round %d: %s rows, %+v", round, d.ask("SELECT SUM(n) FROM accounts"), find("nightly"))
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				d.Error(err)
			}
		}
		s := find("nightly")
		if lo, hi := d.ask("SELECT MIN(n) FROM accounts"), d.ask("SELECT MAX(n) FROM accounts"); s.Rows != 600 || lo != hi {
			d.Errorf("after two rounds %+v, and rows were done %s to %s times", s, lo, hi)
		}
		if s := find("yearly"); s.Status != "pending" || !strings.HasSuffix(s.Next().UTC().Format(time.DateTime), "-02-29 02:00:00") {
			d.Errorf("the other job is %s, next at %s", s.Status, s.Next())
		}
	})
}
