package changeling_test

import (
	"context"
	"errors"
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

const widenBase = `ALTER TABLE base ALTER COLUMN extra TYPE bigint`

// viewCrowd is a crowd whose accounts are a view.
func viewCrowd(t *testing.T) *crowd {
	c := newCrowd(t)
	pgtest.Exec(t, c.db, `ALTER TABLE accounts RENAME TO base`, `ALTER TABLE base ADD COLUMN extra int DEFAULT 7`,
		`CREATE VIEW accounts WITH (security_barrier = true) AS SELECT id, email, amount, payload FROM base WHERE id > 0 WITH CHECK OPTION`, `CREATE VIEW "over" AS SELECT * FROM accounts`)
	return c
}

// TestViewsLedger: who reads and writes through a view loses nothing and meets no error over a change and its undo, with statements that were prepared
// before as well; and reads in an old snapshot what he would have read.
func TestViewsLedger(t *testing.T) {
	t.Parallel()
	ofPart := `CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO "public"."over"`
	if pgtest.Majors(t)[0] >= 16 {
		ofPart = `CREATE OR REPLACE VIEW "public"."over"`
	}
	for name, forget := range map[string]string{"whole": "", "left on the old table": `CREATE OR REPLACE `, "partitions": "", "left on the old partition": ofPart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := viewCrowd(t)
			if strings.Contains(name, "partition") {
				c = newCrowd(t)
				c.part()
				pgtest.Exec(t, c.db, `ALTER TABLE accounts RENAME TO base`, `ALTER TABLE base ADD COLUMN extra int DEFAULT 7`, `CREATE VIEW accounts AS SELECT id, email, amount, payload FROM base WHERE id > 0`,
					`CREATE VIEW "over" AS SELECT id, email, amount, payload FROM accounts_low`)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			var hits, prepared atomic.Int64
			for w := range 4 {
				wg.Go(func() { c.write(ctx, seed(t), w) })
				wg.Go(func() { c.read(ctx, seed(t), w) })
			}
			wg.Go(func() { prepared.Store(c.prepared(ctx)) })
			pool := pgtest.Mutant(t, c.dsn, func(_ context.Context, s mutant.Statement) string {
				at := strings.Index(s.Text, forget)
				if forget == "" || at < 0 || !strings.Contains(s.Text, "SET SCHEMA") {
					return s.Text
				}
				hits.Add(1)
				end := strings.Index(s.Text[at:], ";\n")
				return s.Text[:at] + "SELECT 1" + s.Text[at+end:]
			})
			err := thereAndBack(ctx, pool, changeling.Config{Fast: true, Events: event.Lines(t.Output())}, widenBase, forget == "")
			time.Sleep(200 * time.Millisecond)
			stop()
			wg.Wait()
			var differ int
			if err := c.db.QueryRow(`SELECT count(*) FROM base a FULL JOIN mirror m USING (id) WHERE (a.email, a.amount, a.payload) IS DISTINCT FROM (m.email, m.amount, m.payload)`).Scan(&differ); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d writes, %d of them prepared, %d snapshots, %d rows differ, the mutant met %d, %v", c.writes.Load(), prepared.Load(), c.reads.Load(), differ, hits.Load(), err)
			switch {
			case forget == "" && (err != nil || differ > 0 || c.stale.Load() > 0 || prepared.Load() == 0):
				t.Errorf("%v; %d rows differ, %d snapshots read what is not theirs, %d writes by prepared statements", err, differ, c.stale.Load(), prepared.Load())
			case forget != "" && hits.Load() == 0:
				t.Fatal("the mutant met none of its statements")
			case forget != "" && err == nil && differ == 0:
				t.Error("the mutant does no harm")
			}
		})
	}
}

// prepared writes by statements that it has prepared at the beginning, and answers how often.
func (c *crowd) prepared(ctx context.Context) (n int64) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		c.Error(err)
		return 0
	}
	defer conn.Close()
	exec := func(text string) error {
		_, err := conn.ExecContext(ctx, text)
		return err
	}
	err = errors.Join(exec(`PREPARE a AS UPDATE "over" SET amount = amount + 1 WHERE id = 1 + $1 % 2000`), exec(`PREPARE m AS UPDATE mirror SET amount = amount + 1 WHERE id = 1 + $1 % 2000`),
		exec(`PREPARE r AS SELECT * FROM accounts WHERE id = $1`))
	for ; err == nil && ctx.Err() == nil; n++ {
		for _, text := range []string{`BEGIN`, `EXECUTE a (7)`, `EXECUTE m (7)`, `EXECUTE r (8)`, `COMMIT`} {
			if err == nil {
				err = exec(text)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	if err != nil && ctx.Err() == nil {
		c.Errorf("a prepared statement failed: %v", err)
	}
	return n
}

// TestViewsMeanwhile: a view that somebody makes or alters while the change runs, at the last moment too, is not overwritten, and does not go on to
// read the old table: the change stops and says so.
func TestViewsMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl    string
		mutant bool
	}{
		"made":             {`CREATE VIEW late AS SELECT id FROM base`, false},
		"another query":    {`CREATE OR REPLACE VIEW accounts AS SELECT id, email, amount, payload FROM base WHERE id > 5`, false},
		"another owner":    {`ALTER VIEW accounts OWNER TO pg_monitor`, false},
		"dropped":          {`DROP VIEW accounts CASCADE`, false},
		"a column's name":  {`ALTER VIEW "over" RENAME COLUMN email TO mail; ALTER VIEW accounts RENAME COLUMN email TO address`, false},
		"marks not looked": {`CREATE OR REPLACE VIEW accounts AS SELECT id, email, amount, payload FROM base WHERE id > 5`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd := viewCrowd(t)
			var once sync.Once
			var failed error
			pool := pgtest.Mutant(t, crowd.dsn, func(ctx context.Context, s mutant.Statement) string {
				if locking(s.Text) && strings.Contains(s.Text, "ALTER VIEW") {
					once.Do(func() { _, failed = crowd.db.ExecContext(ctx, "SET lock_timeout = '5s'; "+c.ddl) })
				}
				if c.mutant {
					return unmarked(s.Text)
				}
				return s.Text
			})
			err := changeling.Apply(t.Context(), pool, widenBase, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
			if failed != nil {
				t.Fatal(failed)
			}
			kept := asked(t, crowd.db, `SELECT count(*)::text FROM pg_class v WHERE v.relkind = 'v' AND (relname = 'late' OR relname = 'accounts' AND (pg_get_viewdef(oid) LIKE '%> 5%' OR pg_get_viewdef(oid) LIKE '%address%' OR relowner = 'pg_monitor'::regrole))`)
			switch {
			case c.mutant && err == nil && kept == "0":
				return
			case c.mutant:
				t.Errorf("the mutant does no harm: %v, %s views are kept", err, kept)
			case !errors.Is(err, changeling.ErrRefused) && !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "altered by somebody"):
				t.Errorf("Apply = %v, want that somebody has altered the table or what hangs on it", err)
			case kept != "1" && name != "dropped":
				t.Errorf("%s views are as somebody left them, want 1", kept)
			}
		})
	}
}

// unmarked are the marks of a swap without those of what reads the table.
func unmarked(text string) string {
	return strings.NewReplacer(`FROM pg_catalog.pg_rewrite x WHERE`, `FROM pg_catalog.pg_rewrite x WHERE false AND`, `x WHERE x.oid IN (SELECT d.refobjid`, `x WHERE false AND x.oid IN (SELECT d.refobjid`,
		`x WHERE x.attrelid IN (SELECT d.refobjid`, `x WHERE false AND x.attrelid IN (SELECT d.refobjid`).Replace(text)
}

// TestViewsOfRenamed: what a view reads besides the table it goes on to read, also where somebody gives the name to another table, or column, while the
// change runs, or before it is undone: the change stops and says so.
func TestViewsOfRenamed(t *testing.T) {
	t.Parallel()
	table := []string{`ALTER TABLE notes RENAME TO former`, `CREATE TABLE notes (id int, note text)`, `INSERT INTO notes VALUES (1, 'another')`}
	column := []string{`ALTER TABLE notes RENAME note TO former`, `ALTER TABLE notes ADD note text DEFAULT 'another'`}
	unnamed := func(text string) string { return strings.ReplaceAll(text, `string_agg(i.identity`, `string_agg(''`) }
	for name, c := range map[string]struct {
		act    []string
		when   string
		mutant func(string) string
	}{
		"a table while it is held": {table, "held", nil}, "a column while it is held": {column, "held", nil},
		"a table at the last moment": {table, "locking", nil}, "a column at the last moment": {column, "locking", nil},
		"a table before the undo": {table, "undo", nil}, "a column before the undo": {column, "undo", nil},
		"names not looked at": {table, "held", unnamed}, "marks not looked at": {column, "locking", unmarked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			pgtest.Exec(t, db, `CREATE TABLE base (id int PRIMARY KEY, extra int)`, `INSERT INTO base VALUES (1, 1)`, `CREATE TABLE notes (id int, note text)`, `INSERT INTO notes VALUES (1, 'its own')`,
				`CREATE VIEW noted AS SELECT id, note FROM base JOIN notes USING (id)`)
			var once sync.Once
			var failed error
			act := func() {
				once.Do(func() { _, failed = db.ExecContext(t.Context(), strings.Join(c.act, ";")) })
			}
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
				if c.when == "locking" && locking(s.Text) && strings.Contains(s.Text, "ALTER VIEW") {
					act()
				}
				if c.mutant != nil {
					return c.mutant(s.Text)
				}
				return s.Text
			})
			config := changeling.Config{Fast: true, Events: event.Lines(t.Output())}
			if c.when == "held" {
				config.Events = upon(config.Events, began("cutover"), act)
			}
			e, err := changeling.Open(t.Context(), pool, config)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			change, err := e.Start(t.Context(), widenBase)
			if err != nil {
				t.Fatal(err)
			}
			err = change.Run(t.Context())
			if c.when == "undo" {
				if err != nil {
					t.Fatal(err)
				}
				act()
				err = change.Undo(t.Context(), changeling.NoLoss)
			}
			if failed != nil {
				t.Fatal(failed)
			}
			reads := asked(t, db, `SELECT string_agg(v.note, ' ') FROM noted v`)
			switch {
			case c.mutant != nil && (err != nil || reads == "its own"):
				t.Errorf("the mutant does no harm: %v, the view reads %q", err, reads)
			case c.mutant == nil && (!errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "altered")):
				t.Errorf("got %v, want that somebody has altered what hangs on the table", err)
			case c.mutant == nil && reads != "its own":
				t.Errorf("the view reads %q", reads)
			}
		})
	}
}

// TestViewsOfSessions: a temporary view of somebody's session, which nobody else can make anew, is refused by the plan, and is no more in the way when
// the session has ended.
func TestViewsOfSessions(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE base (id int PRIMARY KEY, extra int)`, `INSERT INTO base VALUES (1, 1)`)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pgtest.Exec(t, conn, `CREATE TEMPORARY VIEW mine AS SELECT id FROM base`)
	if err := changeling.Apply(t.Context(), db, widenBase, quick); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "temporary view of a session") {
		t.Errorf("Apply = %v, want a refusal that names the temporary view", err)
	}
	pgtest.Exec(t, conn, `DROP VIEW mine`)
	if err := changeling.Apply(t.Context(), db, widenBase, quick); err != nil {
		t.Error(err)
	}
}
