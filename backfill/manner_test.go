package backfill_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/backfill"
)

// B22: triggers fire as for any user, or are left out where the server can do that and no foreign key goes unchecked; what
// the server would set by itself on each UPDATE can be kept.
func TestB22Triggers(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j := d.jobs(d.db)
		skip := add("skip")
		skip.Triggers = backfill.TriggersSkip
		wrong := add("wrong")
		wrong.Triggers = "some"
		if _, err := j.Run(d.Context(), wrong); !errors.Is(err, changeling.ErrUsage) {
			d.Errorf("some triggers: %v", err)
		}
		if d.kind == "mysql" {
			if _, err := j.Run(d.Context(), skip); !errors.Is(err, changeling.ErrUsage) {
				d.Errorf("triggers are left out: %v", err)
			}
			d.exec("ALTER TABLE accounts ADD at datetime NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP, ADD own datetime NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP")
			kept := add("kept")
			kept.KeepTimes, kept.Set = true, "n = n + 1, own = '2021-01-01'"
			if s, err := j.Run(d.Context(), kept); err != nil || s.Rows != 600 {
				d.Fatalf("%+v, %v", s, err)
			}
			if got := d.ask("SELECT COUNT(*) FROM accounts WHERE n = 1 AND at = '2020-01-01' AND own = '2021-01-01'"); got != "600" {
				d.Errorf("%s of 600 rows kept their times", got)
			}
			if s, err := j.Run(d.Context(), add("plain")); err != nil || s.Rows != 600 {
				d.Fatalf("%+v, %v", s, err)
			}
			if got := d.ask("SELECT COUNT(*) FROM accounts WHERE at = '2020-01-01'"); got != "0" {
				d.Errorf("%s rows kept their times although nobody said so", got)
			}
			return
		}
		d.exec("CREATE TABLE heard (what text)", "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO heard VALUES (TG_NAME); RETURN NEW; END'",
			"CREATE TRIGGER usual BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION hear()",
			"CREATE TRIGGER always BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION hear()", "ALTER TABLE accounts ENABLE ALWAYS TRIGGER always")
		if p, err := j.Plan(d.Context(), skip); err != nil || strings.Join(p.Triggers, " ") != "always" {
			d.Errorf("%+v, %v", p, err)
		}
		if s, err := j.Run(d.Context(), skip); err != nil || s.Rows != 600 {
			d.Fatalf("%+v, %v", s, err)
		}
		if got := d.ask("SELECT string_agg(what || ' ' || n, ', ') FROM (SELECT what, count(*) AS n FROM heard GROUP BY what) x"); got != "always 600" {
			d.Errorf("fired: %s", got)
		}
		if s, err := j.Run(d.Context(), add("fire")); err != nil || s.Rows != 600 {
			d.Fatalf("%+v, %v", s, err)
		}
		if got := d.ask("SELECT count(*) FROM heard WHERE what = 'usual'"); got != "600" {
			d.Errorf("fired %s times", got)
		}
		d.exec("CREATE TABLE children (id int PRIMARY KEY, account bigint CONSTRAINT of_account REFERENCES accounts)", `ALTER TABLE accounts ADD COLUMN "Boss" bigint CONSTRAINT of_boss REFERENCES accounts`)
		for set, tied := range map[string]string{"n = 5": "", `n = 5, "Boss" = NULL`: "of_boss", `(n, "Boss") = (1, NULL)`: "of_boss", "ID = id": "of_account, of_boss", "": "of_account, of_boss"} {
			job := backfill.Job{Name: "tied", Table: "accounts", Set: set, Delete: set == "", Triggers: backfill.TriggersSkip, Where: "false"}
			_, err := j.Plan(d.Context(), job)
			if tied == "" && err != nil || tied != "" && (!errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "foreign keys "+tied+",")) {
				d.Errorf("%q: %v", set, err)
			}
		}
		keeps := add("keeps")
		if keeps.KeepTimes = true; !errors.Is(j.Create(d.Context(), keeps), changeling.ErrUsage) {
			d.Error("PostgreSQL has no times to keep")
		}
	})
}

// B23: a batch runs with bounded waits and at READ COMMITTED on every server; on PostgreSQL its commits may be told not to wait, and
// the table to be vacuumed as the job goes.
func TestB23SettingsForBulkWork(t *testing.T) {
	t.Parallel()
	each(t, func(d database) {
		d.accounts()
		j := d.jobs(d.db)
		seen := make(chan string, 1000)
		ask := "SELECT current_setting('transaction_isolation') || ', ' || current_setting('lock_timeout') || ', ' || current_setting('synchronous_commit')"
		if d.kind == "mysql" {
			ask = "SELECT CONCAT(trx_isolation_level, ', ', @@innodb_lock_wait_timeout) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()"
		}
		job := backfill.Job{Name: "settings", Table: "accounts", AsyncCommit: d.kind == "postgres", Func: func(ctx context.Context, tx *sql.Tx, b backfill.Batch) (int64, error) {
			var text string
			err := tx.QueryRowContext(ctx, ask).Scan(&text)
			seen <- text
			return 0, err
		}}
		if _, err := j.Run(d.Context(), job); err != nil {
			d.Fatal(err)
		}
		want := "read committed, 200ms, off"
		if d.kind == "mysql" {
			want = "READ COMMITTED, 1"
		}
		if got := <-seen; got != want {
			d.Errorf("a batch runs with %q, want %q", got, want)
		}
		async := add("async")
		async.AsyncCommit = true
		vacuum := add("vacuum")
		vacuum.Vacuum, vacuum.Table = 10, "many"
		if d.kind == "mysql" {
			for _, job := range []backfill.Job{async, vacuum} {
				if err := j.Create(d.Context(), job); !errors.Is(err, changeling.ErrUsage) {
					d.Errorf("%s: %v", job.Name, err)
				}
			}
			return
		}
		d.exec("CREATE TABLE many (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off)", "INSERT INTO many SELECT i, 0 FROM generate_series(1, 5000) i")
		if s, err := j.Run(d.Context(), vacuum); err != nil || s.Rows != 5000 {
			d.Fatalf("%+v, %v", s, err)
		}
		deadline := time.Now().Add(time.Minute) // statistics come later
		for d.ask("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'many'") == "0" {
			if time.Now().After(deadline) {
				d.Fatal("the table was not vacuumed")
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}
