package changeling_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestPublicationsLedger: over a change and its undo a subscriber hears of each write once, of none that is ours, and does not stop.
func TestPublicationsLedger(t *testing.T) {
	t.Parallel()
	major := pgtest.Majors(t)[0]
	for name, c := range map[string]struct {
		publication string
		since       int
		forget      string
		ddl         string // empty: widen
		parts       int    // in which the tables come to the subscriber; 0: they have no partitions
	}{
		"by name":             {`FOR TABLE accounts, mirror`, 0, "", "", 0},
		"with columns, where": {`FOR TABLE accounts (id, email, amount, payload) WHERE (id > 0), mirror`, 15, "", `ALTER TABLE accounts ALTER COLUMN extra TYPE bigint`, 0},
		"of the schema":       {`FOR TABLES IN SCHEMA public`, 15, "", "", 0},
		"not published again": {`FOR TABLE accounts, mirror`, 0, `"news" ADD TABLE`, "", 0},

		"by their partitions":                {`FOR TABLE accounts, mirror`, 0, "", "", 6},
		"through the root":                   {`FOR TABLE accounts, mirror WITH (publish_via_partition_root = true)`, 0, "", "", 2},
		"single partitions":                  {`FOR TABLE accounts_low, accounts_mid, accounts_high, mirror`, 0, "", "", 6},
		"root, columns, where":               {`FOR TABLE accounts (id, email, amount, payload) WHERE (id > 0), mirror WITH (publish_via_partition_root = true)`, 15, "", `ALTER TABLE accounts ALTER COLUMN extra TYPE bigint`, 2},
		"becomes partitioned":                {`FOR TABLE accounts, mirror WITH (publish_via_partition_root = true)`, 0, "", "partition", 0},
		"a partition is not published again": {`FOR TABLE accounts_low, accounts_mid, accounts_high, mirror`, 0, `"news" ADD TABLE ONLY "public"."accounts_mid"`, "", 6},
	} {
		if major < c.since {
			continue // the server has no such publication
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Own(t, dbtest.Options{Settings: map[string]string{"wal_level": "logical", "max_wal_senders": "10"}})
			pgtest.Exec(t, pgtest.Open(t, server.DSN("postgres")), `CREATE DATABASE pub`, `CREATE DATABASE sub`)
			pub, sub := crowdAt(t, server.DSN("pub")), crowdAt(t, server.DSN("sub"))
			rels := "2"
			if c.parts > 0 {
				pub.part()
				sub.part()
				rels = fmt.Sprint(c.parts)
			}
			pgtest.Exec(t, sub.db, `TRUNCATE accounts, mirror`, `ALTER TABLE accounts ALTER COLUMN amount TYPE bigint, ADD COLUMN extra bigint`, `CREATE TABLE audit (told text, op text, id bigint)`,
				`CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit VALUES (split_part(TG_TABLE_NAME, '_', 1), TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$`)
			pgtest.Exec(t, pub.db, `ALTER TABLE accounts ADD COLUMN extra int DEFAULT 7`, `CREATE PUBLICATION news `+c.publication, `SELECT pg_create_logical_replication_slot('news', 'pgoutput')`)
			pgtest.Exec(t, sub.db, `CREATE SUBSCRIPTION news CONNECTION '`+server.DSN("pub")+`' PUBLICATION news WITH (create_slot = false, slot_name = 'news')`)
			until(t, "the subscriber has copied both tables", func() bool {
				return asked(t, sub.db, `SELECT count(*)::text FROM pg_subscription_rel WHERE srsubstate = 'r'`) == rels
			})
			for _, table := range []string{"accounts", "mirror"} {
				pgtest.Exec(t, sub.db, `CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON `+table+` FOR EACH ROW EXECUTE FUNCTION audit()`, `ALTER TABLE `+table+` ENABLE ALWAYS TRIGGER audit`)
				for part := range strings.FieldsSeq(map[bool]string{true: "_low _mid _high"}[c.parts > 0]) {
					pgtest.Exec(t, sub.db, `ALTER TABLE `+table+part+` ENABLE ALWAYS TRIGGER audit`)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			var hits atomic.Int64
			for w := range 4 {
				wg.Go(func() { pub.write(ctx, seed(t), w) })
			}
			pool := pgtest.Mutant(t, pub.dsn, func(_ context.Context, s mutant.Statement) string {
				at := strings.Index(s.Text, `ALTER PUBLICATION `+c.forget)
				if c.forget == "" || at < 0 || !strings.Contains(s.Text, "SET SCHEMA") {
					return s.Text
				}
				hits.Add(1)
				return s.Text[:at] + "SELECT 1" + s.Text[at+strings.Index(s.Text[at:], ";\n"):]
			})
			config := changeling.Config{Fast: true, Events: event.Lines(t.Output())}
			change := func() error { return thereAndBack(ctx, pool, config, cmp.Or(c.ddl, widen), c.forget == "") }
			if c.ddl == "partition" {
				pgtest.Exec(t, pub.db, `ALTER TABLE accounts DROP CONSTRAINT accounts_email_key`)
				change = func() error {
					_, err := partitions(ctx, pool, changeling.Partitioning{Table: "accounts", By: "hash (id)", Count: 1}, config)
					if err == nil {
						time.Sleep(300 * time.Millisecond)
						_, err = partitions(ctx, pool, changeling.Partitioning{Table: "accounts", None: true}, config)
					}
					return err
				}
			}
			err := change()
			time.Sleep(200 * time.Millisecond)
			stop()
			wg.Wait()
			end := asked(t, pub.db, `SELECT pg_current_wal_lsn()::text`)
			until(t, "the subscriber has read all", func() bool {
				return asked(t, pub.db, `SELECT (confirmed_flush_lsn >= '`+end+`')::text FROM pg_replication_slots WHERE slot_name = 'news'`) == "true"
			})
			told := asked(t, sub.db, `SELECT count(*)::text FROM (SELECT FROM audit GROUP BY op, id HAVING sum(CASE told WHEN 'mirror' THEN -1 ELSE 1 END) <> 0) s`)
			heard := asked(t, sub.db, `SELECT count(*)::text FROM audit`)
			count := `SELECT count(*) || ' ' || coalesce(sum(hashtext(concat_ws(' ', id, email, amount, payload))), 0) FROM %s`
			same := asked(t, sub.db, fmt.Sprintf(count, "accounts")) == asked(t, pub.db, fmt.Sprintf(count, "accounts"))
			stops := "0"
			if major >= 15 {
				stops = asked(t, sub.db, `SELECT (apply_error_count + sync_error_count)::text FROM pg_stat_subscription_stats`)
			}
			t.Logf("%d writes, the subscriber heard of %s, of %s otherwise than of the mirror's, has the same %v, stopped %s times, the mutant met %d, %v", pub.writes.Load(), heard, told, same, stops, hits.Load(), err)
			switch {
			case c.forget == "" && (err != nil || told != "0" || !same || stops != "0" || heard == "0"):
				t.Errorf("%v; %s rows differ, the same: %v, stopped %s times", err, told, same, stops)
			case c.forget != "" && hits.Load() == 0:
				t.Error("the mutant met none of its statements")
			case c.forget != "" && err == nil && told == "0":
				t.Error("the mutant does no harm")
			}
			pub.equal()
			pgtest.Exec(t, sub.db, `ALTER SUBSCRIPTION news DISABLE`)
		})
	}
}

// TestFirstCopyIsWaitedFor: who has a snapshot to copy a table for a new subscription, and has not begun, reads all of it: the swap does not come
// between. A swap that does not look for him shows him a table without its rows.
func TestFirstCopyIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, looks := range []bool{true, false} {
		t.Run(fmt.Sprintf("looks %v", looks), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Own(t, dbtest.Options{Settings: map[string]string{"wal_level": "logical"}})
			pgtest.Exec(t, pgtest.Open(t, server.DSN("postgres")), `CREATE DATABASE pub`)
			c := crowdAt(t, server.DSN("pub"))
			pgtest.Exec(t, c.db, `CREATE PUBLICATION news FOR TABLE accounts`)
			config, err := pgconn.ParseConfig(c.dsn)
			if err != nil {
				t.Fatal(err)
			}
			config.RuntimeParams["replication"] = "database"
			copier, err := pgconn.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer copier.Close(context.WithoutCancel(t.Context()))
			exec := func(text string) string {
				t.Helper()
				results, err := copier.Exec(t.Context(), text).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				if len(results) == 0 || len(results[0].Rows) == 0 {
					return ""
				}
				return string(results[0].Rows[0][0])
			}
			exec(`BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ`)
			exec(`CREATE_REPLICATION_SLOT pg_1_sync_2_3 TEMPORARY LOGICAL pgoutput USE_SNAPSHOT`)
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, s mutant.Statement) string {
				if !looks && strings.Contains(s.Text, "pg_stat_replication)") {
					return "SELECT ''"
				}
				return s.Text
			})
			var told story
			done := make(chan error, 1)
			go func() {
				done <- changeling.Apply(t.Context(), pool, widen, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: event.Tee(told.tell, event.Lines(t.Output()))})
			}()
			if looks {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := told.await(ctx, func(e event.Event) bool {
					tried, ok := e.(event.CutoverTried)
					return ok && tried.Err != nil && strings.Contains(tried.Err.Error(), "begins to copy")
				}); err != nil {
					t.Fatalf("nobody says that the swap waits for a first copy: %v", err)
				}
			} else if err := <-done; err != nil {
				t.Fatal(err)
			}
			n := exec(`SELECT count(*) FROM public.accounts`)
			exec(`COMMIT`)
			if all := fmt.Sprint(crowdRows); (n == all) != looks {
				t.Errorf("the copy has %s rows of %s", n, all)
			}
			if looks {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// until waits for something to come true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("a minute, and not: %s", what)
		}
	}
}
