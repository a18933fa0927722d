package changeling_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestTriggersLedger: a user's trigger fires once for each row that users write, over a change and its undo, and for no row that we move. The mirror
// has the same trigger and is not changed, so both must have heard of the same writes.
func TestTriggersLedger(t *testing.T) {
	t.Parallel()
	without := func(text, from, to string) string {
		at := strings.Index(text, from)
		if at < 0 {
			return text
		}
		end := strings.Index(text[at:], to)
		if end < 0 {
			return "SELECT 1"
		}
		return text[:at] + text[at+end+len(to):]
	}
	for name, rewrite := range map[string]func(string) string{
		"whole": func(text string) string { return text },
		"made before the last drain": func(text string) string {
			if strings.HasPrefix(text, `DROP TRIGGER "a_audit" ON "changeling_`) {
				return "SELECT 1"
			}
			if locking(text) || strings.Contains(text, `SET SCHEMA`) {
				return without(text, `CREATE TRIGGER a_audit`, ";\n")
			}
			return text
		},
		"left on the old table": func(text string) string {
			return without(text, `DROP TRIGGER "a_audit" ON "public"."accounts"`, ";\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t)
			pgtest.Exec(t, c.db, `CREATE TABLE audit (told text, op text, id bigint)`,
				`CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ DECLARE r accounts%ROWTYPE; BEGIN
  INSERT INTO audit VALUES (TG_TABLE_NAME, TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$`,
				`CREATE TRIGGER a_audit AFTER INSERT OR UPDATE OR DELETE ON accounts FOR EACH ROW EXECUTE FUNCTION audit()`,
				`CREATE TRIGGER a_audit AFTER INSERT OR UPDATE OR DELETE ON mirror FOR EACH ROW EXECUTE FUNCTION audit()`)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() { c.write(ctx, seed(t), w) })
			}
			var hits atomic.Int64
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, s mutant.Statement) string {
				text := rewrite(s.Text)
				if text != s.Text {
					hits.Add(1)
				}
				return text
			})
			err := thereAndBack(ctx, pool, changeling.Config{Fast: true, Snapshots: changeling.SnapshotsInsist, Events: event.Lines(t.Output())}, widen, true)
			time.Sleep(200 * time.Millisecond)
			stop()
			wg.Wait()
			var differ int
			if err := c.db.QueryRow(`SELECT count(*) FROM (SELECT FROM audit GROUP BY op, id HAVING sum(CASE told WHEN 'mirror' THEN -1 ELSE 1 END) <> 0) s`).Scan(&differ); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d writes, %d of audit differ, the mutant met %d, %v", c.writes.Load(), differ, hits.Load(), err)
			if name == "whole" {
				c.equal()
				if err != nil || differ > 0 || c.writes.Load() == 0 {
					t.Errorf("%v; the triggers of %d keys fired too often or not at all", err, differ)
				}
				return
			}
			if hits.Load() == 0 {
				t.Fatal("the mutant met none of its statements")
			}
			if err == nil && differ == 0 {
				t.Error("the mutant does no harm")
			}
		})
	}
}

// thereAndBack makes a change and, if it is to come back, undoes it while users go on.
func thereAndBack(ctx context.Context, pool *sql.DB, config changeling.Config, ddl string, back bool) error {
	e, err := changeling.Open(ctx, pool, config)
	if err != nil {
		return err
	}
	defer e.Close()
	change, err := e.Start(ctx, ddl)
	if err != nil {
		return err
	}
	if err := change.Run(ctx); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	if !back {
		return nil
	}
	return change.Undo(ctx, changeling.NoLoss)
}
