package changeling_test

import (
	"context"
	"fmt"
	"net/url"
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

// role makes a role for one test, and answers its name and the address for it.
func role(t *testing.T, dsn, name string) (string, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name += "_" + strings.TrimPrefix(u.Path, "/")
	name = name[:min(len(name), 60)]
	super := pgtest.Open(t, dsn)
	pgtest.Exec(t, super, `CREATE ROLE "`+name+`" LOGIN`)
	t.Cleanup(func() {
		if _, err := super.ExecContext(context.WithoutCancel(t.Context()), `DROP OWNED BY "`+name+`" CASCADE; DROP ROLE "`+name+`"`); err != nil {
			t.Error(err)
		}
	})
	u.User = url.User(name)
	return name, u.String()
}

// TestPoliciesLedger: over a change and its undo nobody sees or writes a row that a policy keeps from him, at no moment; and no write of somebody to
// whom policies apply is lost or fails.
func TestPoliciesLedger(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]string{"whole": "", "not switched on": "ENABLE ROW LEVEL SECURITY", "open to all": "AS RESTRICTIVE",
		"partitions": "", "of a partition not switched on": `"accounts_low" ENABLE ROW LEVEL SECURITY`, "of a partition open to all": `"accounts_low" AS RESTRICTIVE`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t)
			super := c.db
			parts, low := strings.Fields("accounts mirror"), "accounts"
			if strings.Contains(name, "partition") {
				c.part()
				parts, low = strings.Fields("accounts accounts_low accounts_mid accounts_high mirror mirror_low mirror_mid mirror_high"), "accounts_low"
			}
			owner, _ := role(t, c.dsn, "o")
			user, dsn := role(t, c.dsn, "u")
			pgtest.Exec(t, super, `GRANT CREATE ON SCHEMA public TO "`+owner+`"`)
			for _, table := range []string{"accounts", "mirror"} {
				pgtest.Exec(t, super, `INSERT INTO `+table+` SELECT -i, 's' || i, i, 'secret' FROM generate_series(1, 100) i`)
			}
			for _, table := range parts {
				pgtest.Exec(t, super, `ALTER TABLE `+table+` OWNER TO "`+owner+`"`,
					`GRANT SELECT, INSERT, UPDATE, DELETE ON `+table+` TO "`+user+`"`, `CREATE POLICY everybody ON `+table+` USING (true)`,
					`CREATE POLICY open ON `+table+` AS RESTRICTIVE USING (id > 0)`, `ALTER TABLE `+table+` ENABLE ROW LEVEL SECURITY`)
			}
			c.db = pgtest.Open(t, dsn)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			var seen, hits atomic.Int64
			for w := range 4 {
				wg.Go(func() { c.write(ctx, seed(t), w) })
				wg.Go(func() { c.read(ctx, seed(t), w) })
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					var n int64
					if err := c.db.QueryRowContext(ctx, fmt.Sprintf(`WITH taken AS (UPDATE %s SET payload = 'taken' WHERE id < 0 RETURNING 1) SELECT (SELECT count(*) FROM accounts WHERE id < 0) + (SELECT count(*) FROM %[1]s WHERE id < 0) + (SELECT count(*) FROM taken)`, low)).Scan(&n); err != nil && ctx.Err() == nil {
						t.Errorf("who looks for other people's rows failed: %v", err)
						return
					}
					seen.Add(n)
					time.Sleep(2 * time.Millisecond)
				}
			})
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, s mutant.Statement) string {
				if forget == "" || !strings.Contains(s.Text, forget) || !strings.Contains(s.Text, `"changeling_`) {
					return s.Text
				}
				hits.Add(1)
				if restrictive, is := strings.CutSuffix(forget, "AS RESTRICTIVE"); is {
					return strings.Replace(s.Text, forget, restrictive+"AS PERMISSIVE", 1)
				}
				return "SELECT 1"
			})
			// An undo would never be in step with who writes rows that are not his as fast as he can.
			err := thereAndBack(ctx, pool, changeling.Config{Fast: true, Events: event.Lines(t.Output())}, widen, forget == "")
			time.Sleep(200 * time.Millisecond)
			stop()
			wg.Wait()
			c.db = super
			var touched int
			if err := super.QueryRow(`SELECT count(*) FROM accounts WHERE id < 0 AND payload <> 'secret'`).Scan(&touched); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d writes, %d reads, of other people's rows %d seen, %d touched, the mutant met %d, %v", c.writes.Load(), c.reads.Load(), seen.Load(), touched, hits.Load(), err)
			if forget != "" {
				if hits.Load() == 0 {
					t.Fatal("the mutant met none of its statements")
				}
				if err == nil && seen.Load() == 0 {
					t.Error("the mutant does no harm")
				}
				return
			}
			c.equal()
			if err != nil || seen.Load() > 0 || touched > 0 || c.stale.Load() > 0 || c.writes.Load() == 0 {
				t.Errorf("%v; rows of others: %d seen, %d touched; %d snapshots read what is not theirs", err, seen.Load(), touched, c.stale.Load())
			}
		})
	}
}
