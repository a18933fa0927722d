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
	"github.com/changeling-db/changeling/event"
)

// sparse is a table whose keys lie close together at one end and far apart at the other.
func (d database) sparse() {
	d.Helper()
	d.exec("CREATE TABLE accounts (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0)")
	for i := range 10 {
		var values []string
		for k := range 1000 {
			id := int64(i*1000 + k)
			if i >= 5 {
				id *= 1_000_000_000
			}
			values = append(values, fmt.Sprintf("(%d, 0)", id))
		}
		d.exec("INSERT INTO accounts VALUES " + strings.Join(values, ", "))
	}
}

// B12: how far a job is follows its place among the rows, not the values of the keys and not how many rows it changed; with an
// estimate of the time that is left, for whoever asks.
func TestB12Progress(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.sparse()
		d.exec(map[string]string{"postgres": "ANALYZE accounts", "mysql": "ANALYZE TABLE accounts"}[d.kind])
		var last event.Progress
		j, err := backfill.Open(d.Context(), d.db, backfill.Config{Fast: true, BatchTime: 10 * time.Second, Events: func(e event.Event) {
			if e, ok := e.(event.Progress); ok {
				last = e
			}
		}})
		if err != nil {
			d.Fatal(err)
		}
		d.Cleanup(j.Close)
		stop := errors.New("half of it is done")
		job := backfill.Job{Name: "half", Table: "accounts", Func: func(ctx context.Context, tx *sql.Tx, b backfill.Batch) (int64, error) {
			s, err := j.Find(ctx, "half")
			if err == nil && s.Seen >= 5000 && s.Seen < 9000 {
				err = stop
			}
			return 0, err // it changes nothing at all
		}}
		if _, err := j.Run(d.Context(), job); !errors.Is(err, stop) {
			d.Fatal(err)
		}
		s, err := j.Find(d.Context(), "half")
		if err != nil {
			d.Fatal(err)
		}
		if share := s.Share(); share < 0.35 || share > 0.95 || s.Remaining() < 0 || s.Busy <= 0 || s.Rows != 0 {
			d.Errorf("behind %d of 10000 rows it is at %.2f of %d, with %s to go after %s", s.Seen, share, s.Total, s.Remaining(), s.Busy)
		}
		if last.Done != s.Seen || last.Total != s.Total {
			d.Errorf("told %d of %d, saved %d of %d", last.Done, last.Total, s.Seen, s.Total)
		}
		job.Func = func(context.Context, *sql.Tx, backfill.Batch) (int64, error) { return 0, nil }
		if s, err = j.Run(d.Context(), job); err != nil || s.Seen != 10_000 || s.Total != 10_000 || s.Share() != 1 || s.Remaining() != 0 {
			d.Errorf("at its end: %+v, %v", s, err)
		}
	})
}

// B12: a table that nobody has analyzed is known by its size, and jobs that an earlier version has saved are gone on with.
func TestB12WithoutStatistics(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.sparse()
		j := d.jobs(d.db)
		if p, err := j.Plan(d.Context(), add("plan")); err != nil || p.Rows < 2000 || p.Rows > 50_000 {
			d.Errorf("of 10000 rows: %+v, %v", p, err)
		}
		if d.kind == "mysql" {
			return // its databases share the table of jobs
		}
		if s, err := j.Run(d.Context(), add("early")); err != nil || s.Rows != 10_000 {
			d.Fatalf("%+v, %v", s, err)
		}
		d.exec("ALTER TABLE changeling.job DROP COLUMN seen, DROP COLUMN total, DROP COLUMN busy")
		if all, err := d.jobs(d.db).List(d.Context()); err != nil || len(all) != 1 || all[0].Share() != 1 {
			d.Errorf("%+v, %v", all, err)
		}
	})
}

// B21: a plan says what a job would do and changes nothing; one that is tried takes its batch back.
func TestB21DryRun(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.sparse()
		d.exec(map[string]string{"postgres": "ANALYZE accounts", "mysql": "ANALYZE TABLE accounts"}[d.kind])
		d.exec("CREATE TABLE log (id bigint)")
		if d.kind == "postgres" {
			d.exec("CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END'", "CREATE TRIGGER noting BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION noted()")
		} else {
			d.exec("CREATE TRIGGER noting BEFORE UPDATE ON accounts FOR EACH ROW INSERT INTO log VALUES (NEW.id)")
		}
		j := d.jobs(d.db)
		job := add("dry")
		job.Where = "id >= 100"
		p, err := j.Plan(d.Context(), job)
		if err != nil {
			d.Fatal(err)
		}
		if !p.ByKey || p.Rows < 5000 || p.Rows > 20_000 || p.Upto != `["9999000000000"]` || strings.Join(p.Triggers, " ") != "noting" || p.Sample != nil || len(p.Warnings) != 0 || !strings.Contains(p.Statement, "n = n + 1") {
			d.Errorf("%+v", p)
		}
		if p, err = j.Try(d.Context(), job); err != nil {
			d.Fatal(err)
		}
		if s := p.Sample; s.Rows != 200 || s.Changed != 100 || s.Took <= 0 || p.Takes < s.Took || d.kind == "postgres" && (s.LogBytes < 1000 || p.LogBytes < 20*s.LogBytes || s.Triggers <= 0) {
			d.Errorf("%+v %+v", p, s)
		}
		if n, logged := d.ask("SELECT SUM(n) FROM accounts"), d.ask("SELECT COUNT(*) FROM log"); n != "0" || logged != "0" {
			d.Errorf("it was to change nothing: %s rows, %s fired", n, logged)
		}
		if all, err := j.List(d.Context()); err != nil || len(all) != 0 {
			d.Errorf("it was to save nothing: %+v, %v", all, err)
		}
		job.Set = "nowhere = 1"
		if _, err := j.Plan(d.Context(), job); !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), "nowhere") {
			d.Errorf("a column that is not there: %v", err)
		}
		d.exec("DELETE FROM accounts")
		if p, err := j.Try(d.Context(), add("empty")); err != nil || p.Upto != "" || p.Sample != nil {
			d.Errorf("a table without rows: %+v, %v", p, err)
		}
	})
}
