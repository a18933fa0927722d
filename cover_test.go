package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

const renameClients = `ALTER TABLE clients RENAME TO customers`

// covering renames under a view.
var covering = changeling.Config{Fast: true, Cover: true}

// TestCoveredRename: code that says the old name and code that says the new one read and write at once, from before the rename to after the
// view's end; nobody fails who should not, and no write is lost.
func TestCoveredRename(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, visits int NOT NULL DEFAULT 0, "Odd one" int, twice int GENERATED ALWAYS AS (visits * 2) STORED)`)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var done [2]struct {
		sync.Mutex
		names    []string
		failures []string
	}
	// writes is code that says one name: it inserts, updates by key, upserts, reads, and deletes what it inserted last but one.
	writes := func(who int, table string, begin <-chan struct{}) {
		defer group.Done()
		select {
		case <-begin:
		case <-ctx.Done():
			return
		}
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for n := 0; ctx.Err() == nil; n++ {
			name := fmt.Sprintf("%s %d", table, n)
			for _, s := range []string{
				`INSERT INTO ` + table + ` (name) VALUES ($1) RETURNING id`,
				`UPDATE ` + table + ` SET visits = visits + 1 WHERE name = $1 RETURNING id`,
				`INSERT INTO ` + table + ` (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET visits = ` + table + `.visits + 1 RETURNING id`,
				`SELECT twice / 4 FROM ` + table + ` WHERE name = $1 FOR UPDATE`,
			} {
				var id int64
				if err := conn.QueryRowContext(t.Context(), s, name).Scan(&id); err != nil {
					done[who].Lock()
					done[who].failures = append(done[who].failures, fmt.Sprintf("%s: %v", s, err))
					done[who].Unlock()
				}
			}
			done[who].Lock()
			done[who].names = append(done[who].names, name)
			done[who].Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	now, later := make(chan struct{}), make(chan struct{})
	close(now)
	group.Add(4)
	go writes(0, "clients", now)
	go writes(0, "public.clients", now)
	go writes(1, "customers", later)
	go writes(1, "public.customers", later)
	rounds := func(who, more int) { // waits until that code has done more
		t.Helper()
		count := func() int {
			done[who].Lock()
			defer done[who].Unlock()
			return len(done[who].names)
		}
		deadline := time.After(time.Minute)
		for goal := count() + more; count() < goal; {
			select {
			case <-deadline:
				t.Fatalf("code that says name %d stands still", who)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	rounds(0, 20) // it was at work before
	c := made(t, db, renameClients, covering)
	close(later)
	rounds(0, 20)
	rounds(1, 20)
	stop()
	group.Wait()
	for i := range done {
		d := &done[i]
		if len(d.failures) > 0 {
			t.Errorf("%d statements failed, the first one: %s", len(d.failures), d.failures[0])
		}
		slices.Sort(d.names)
		for _, name := range d.names {
			for _, table := range []string{"clients", "customers"} {
				if n := asked(t, db, fmt.Sprintf(`SELECT count(*) FROM %s WHERE name = '%s' AND visits = 2`, table, name)); n != "1" {
					t.Fatalf("%s in %s is there %s times with its two visits", name, table, n)
				}
			}
		}
	}
	stands(t, c, "done", "open")
	s, err := c.Status(t.Context())
	if err != nil || s.OldTable != "public.clients" || s.DropAt != nil || s.Table != "public.clients" {
		t.Errorf("the change is %+v (%v)", s, err)
	}
	e, err := changeling.Open(t.Context(), db, covering)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.Start(t.Context(), renameClients); again != nil || err != nil {
		t.Errorf("the same statement again is %v, %v: there is nothing to do", again, err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil {
		t.Errorf("a view is dropped that nobody said could go: %v, %v", dropped, err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
		t.Fatal(dropped, err)
	}
	if left := asked(t, db, `SELECT string_agg(relname || relkind::text, ' ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')`); left != "customersr" {
		t.Errorf("left are %s", left)
	}
	if again, err := e.Start(t.Context(), renameClients); again != nil || err != nil {
		t.Errorf("the same statement after the view's end is %v, %v: there is nothing to do", again, err)
	}
}

// TestCoverAndBack: code that says the old name never fails, however often the table is renamed under it and back.
func TestCoverAndBack(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE clients (id int PRIMARY KEY, visits int NOT NULL)`, `INSERT INTO clients SELECT i, 0 FROM generate_series(1, 5) i`)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var acknowledged, failed atomic.Int64
	for i := range 4 {
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tx, err := db.BeginTx(t.Context(), nil)
				if err == nil {
					_, err = tx.ExecContext(t.Context(), `SELECT count(*) FROM clients`)
				}
				if err == nil {
					_, err = tx.ExecContext(t.Context(), `UPDATE clients SET visits = visits + 1 WHERE id = $1`, 1+(i+n)%5)
				}
				if err == nil {
					err = tx.Commit()
				}
				if err != nil {
					failed.Add(1)
					t.Errorf("a user failed: %v", err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	for range 5 {
		c := made(t, db, renameClients, covering)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	group.Wait()
	if got := asked(t, db, `SELECT sum(visits) FROM clients`); got != fmt.Sprint(acknowledged.Load()) || acknowledged.Load() < 20 {
		t.Errorf("%s visits are there, %d were acknowledged, %d failed", got, acknowledged.Load(), failed.Load())
	}
}

// TestCoveredRights: through the view everybody may what he may do with the table, and sees the rows that he sees there; undone, nothing is
// left of it.
func TestCoveredRights(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	name := "covered_" + strings.ToLower(asked(t, db, `SELECT replace(current_database(), '-', '_')`))
	reader, clerk := name+"_r", name+"_c"
	pgtest.Exec(t, db, `CREATE ROLE `+reader, `CREATE ROLE `+clerk, `GRANT `+reader+`, `+clerk+` TO current_user`)
	t.Cleanup(func() {
		for _, role := range []string{reader, clerk} {
			if _, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
				t.Error(err)
			}
		}
	})
	pgtest.Exec(t, db, `GRANT USAGE ON SCHEMA public TO `+reader+`, `+clerk, `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO `+clerk,
		`CREATE TABLE clients (id int PRIMARY KEY, name text, secret text)`, `INSERT INTO clients VALUES (1, 'a', 'x'), (2, 'b', 'y')`,
		`REVOKE ALL ON clients FROM `+clerk, `GRANT SELECT ON clients TO `+reader, `GRANT SELECT (id, name), UPDATE (name) ON clients TO `+clerk+` WITH GRANT OPTION`)
	may := func(role, table string) (out []string) {
		t.Helper()
		for _, s := range []string{`SELECT count(*)::text FROM %s`, `SELECT string_agg(name, '' ORDER BY id) FROM %s`, `SELECT string_agg(secret, '' ORDER BY id) FROM %s`,
			`WITH u AS (UPDATE %s SET name = name RETURNING id) SELECT count(*)::text FROM u`, `WITH u AS (UPDATE %s SET secret = secret RETURNING id) SELECT count(*)::text FROM u`,
			`WITH u AS (INSERT INTO %s VALUES (3) RETURNING id) SELECT count(*)::text FROM u`, `WITH u AS (DELETE FROM %s RETURNING id) SELECT count(*)::text FROM u`} {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got sql.NullString
			_, err = tx.ExecContext(t.Context(), `SET LOCAL ROLE `+role)
			if err == nil {
				err = tx.QueryRowContext(t.Context(), fmt.Sprintf(s, table)).Scan(&got)
			}
			if err != nil {
				got.String = "denied"
			}
			out = append(out, got.String)
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	acl := func(table string) string {
		return asked(t, db, fmt.Sprintf(`SELECT coalesce(relacl::text, '') || coalesce((SELECT string_agg(attname || attacl::text, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid), '') || pg_get_userbyid(relowner) FROM pg_class c WHERE oid = '%s'::regclass`, table))
	}
	there := func() *changeling.Change {
		t.Helper()
		before, rights := [][]string{may(reader, "clients"), may(clerk, "clients")}, acl("clients")
		c := made(t, db, renameClients, covering)
		for _, table := range []string{"clients", "customers"} {
			if after := [][]string{may(reader, table), may(clerk, table)}; fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("of %s they may %q, want %q", table, after, before)
			}
			if now := acl(table); now != rights {
				t.Errorf("the rights on %s are %s, want %s", table, now, rights)
			}
		}
		return c
	}
	rights := acl("clients")
	c := there()
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "undone", "")
	if left := asked(t, db, `SELECT string_agg(relname || relkind::text, ' ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')`); left != "clientsr" || acl("clients") != rights {
		t.Errorf("left are %s, with the rights %s", left, acl("clients"))
	}
	// Policies count through the view for whoever comes, and rights on single columns do not go together with that.
	pgtest.Exec(t, db, `ALTER TABLE clients ENABLE ROW LEVEL SECURITY`, `CREATE POLICY mine ON clients TO `+reader+` USING (id = 1)`)
	if p := planned(t, db, renameClients, covering); p.Route != plan.Refuse {
		t.Errorf("rows and columns at once: %s", p.Route)
	}
	if asked(t, db, `SELECT current_setting('server_version_num')::int >= 150000`) == "true" {
		pgtest.Exec(t, db, `REVOKE ALL (id, name) ON clients FROM `+clerk)
		if got := may(reader, "clients"); got[0] != "1" {
			t.Fatalf("the policy shows %q", got)
		}
		there()
	}
}

// TestCoverRefused: what cannot be covered is refused, and what somebody has made of the view is kept.
func TestCoverRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE clients (id int)`, `CREATE TABLE there (id int)`, `CREATE TABLE empty ()`, `CREATE VIEW v AS SELECT 1 AS one`)
	for ddl, says := range map[string]string{`ALTER TABLE clients RENAME TO there`: "there is a public.there already", `ALTER TABLE empty RENAME TO x`: "no plain table", `ALTER TABLE v RENAME TO x`: "no plain table"} {
		if p := planned(t, db, ddl, covering); p.Route != plan.Refuse || !strings.Contains(strings.Join(p.Refusals, "\n"), says) {
			t.Errorf("%s: %s %q, want a refusal that says %q", ddl, p.Route, p.Refusals, says)
		}
	}
	e, err := changeling.Open(t.Context(), db, covering)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Plan(t.Context(), `ALTER TABLE clients ADD COLUMN x int`); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("what is no rename is covered: %v", err)
	}
	if _, err := changeling.Open(t.Context(), db, changeling.Config{Cover: true, DropAfter: changeling.DropNow}); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("a view that is dropped at once: %v", err)
	}
	exec := func(s ...string) { t.Helper(); pgtest.Exec(t, db, s...) }
	c := made(t, db, renameClients, covering)
	onlyOurs(t, c, exec, `CREATE VIEW theirs AS SELECT * FROM clients`, "theirs", `DROP VIEW theirs`)
	mark := asked(t, db, `SELECT obj_description('clients'::regclass)`)
	onlyOurs(t, c, exec, `COMMENT ON VIEW clients IS 'mine now'`, "not the view that change", `COMMENT ON VIEW clients IS '`+mark+`'`)
	exec(`DROP VIEW clients`, `CREATE TABLE clients (id int)`)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("the undo where another table has the name: %v", err)
	}
	if _, err := c.Cleanup(t.Context(), changeling.Now); !errors.Is(err, changeling.ErrRefused) {
		t.Errorf("another table of the view's name is dropped: %v", err)
	}
	if kind := asked(t, db, `SELECT relkind FROM pg_class WHERE oid = 'clients'::regclass`); kind != "r" {
		t.Errorf("what has the old name is of the kind %s", kind)
	}
}
