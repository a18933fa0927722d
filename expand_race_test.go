package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// accountants are users of which each transaction notes in a second table what it did, so that a lost write shows.
type accountants struct {
	*testing.T
	db     *sql.DB
	merge  string          // what an INSERT does to an account that is there
	wrote  [2]atomic.Int64 // by the old name, by the new one
	failed atomic.Int64
}

const accountantsRows = 400

func newAccountants(t *testing.T) *accountants {
	t.Helper()
	a := &accountants{T: t, db: pgtest.Open(t, pgtest.Database(t)), merge: `ON CONFLICT (id) DO UPDATE SET %[1]s = accounts.%[1]s + %[3]s`}
	pgtest.Exec(t, a.db, `CREATE TABLE accounts (id int PRIMARY KEY, old int NOT NULL DEFAULT 0, payload text NOT NULL DEFAULT repeat('x', 200))`,
		`CREATE TABLE noted (account int, amount int)`, fmt.Sprintf(`INSERT INTO accounts (id) SELECT generate_series(1, %d)`, accountantsRows))
	return a
}

var levels = []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}

// write lets some users write by a name, at all isolation levels, until they are stopped or, if it may end, the name is gone.
func (a *accountants) write(name string, writers int, mayEnd bool) (stop func()) {
	return a.writeAs(name, "%d", writers, mayEnd)
}

// writeAs is write with amounts in another form.
func (a *accountants) writeAs(name, form string, writers int, mayEnd bool) (stop func()) {
	ctx, cancel := context.WithCancel(a.Context())
	var mine sync.WaitGroup
	at := 0
	if name != "old" {
		at = 1
	}
	for i := range writers {
		mine.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(at)))
			for n := 0; ctx.Err() == nil; n++ {
				err := a.once(name, form, levels[(i+n)%3], random, int64(1_000_000*(2*i+at+1)+n))
				switch code := fault.Code(err); {
				case err == nil:
					a.wrote[at].Add(1)
				case code == "40001" || code == "40P01": // as without a change: they try again
				case mayEnd && code == "42703":
					return
				default:
					a.failed.Add(1)
					a.Errorf("a user of the name %s failed: %v", name, err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(2 * time.Millisecond):
				}
			}
		})
	}
	return func() { cancel(); mine.Wait() }
}

func (a *accountants) once(name, form string, level sql.IsolationLevel, random *rand.Rand, fresh int64) (err error) {
	tx, err := a.db.BeginTx(a.Context(), &sql.TxOptions{Isolation: level})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(mysql.Coded(err), tx.Rollback())
		}
	}()
	id, amount := int64(1+random.IntN(accountantsRows)), 1+random.IntN(9)
	sum := fmt.Sprintf(form, amount)
	texts := []string{fmt.Sprintf(`UPDATE accounts SET %s = %[1]s + %[2]s WHERE id = %[3]d`, name, sum, id)}
	switch random.IntN(8) {
	case 0:
		id = fresh
		texts = []string{fmt.Sprintf(`INSERT INTO accounts (id, %s) VALUES (%d, %s)`, name, id, sum)}
	case 1:
		texts = append(texts, fmt.Sprintf(`UPDATE accounts SET payload = 'written' WHERE id = %d`, id))
	case 2:
		texts = []string{fmt.Sprintf(`INSERT INTO accounts (id, %s) VALUES (%d, 0) `+a.merge, name, id, sum)}
	}
	for _, text := range append(texts, fmt.Sprintf(`INSERT INTO noted VALUES (%d, %d)`, id, amount)) {
		if _, err := tx.ExecContext(a.Context(), text); err != nil {
			return err
		}
	}
	return mysql.Coded(tx.Commit())
}

// proves compares a column with what was noted.
func (a *accountants) proves(columns ...string) {
	a.Helper()
	for _, c := range columns {
		noted := `(SELECT account AS id, sum(amount) AS amount FROM noted GROUP BY account) n`
		if wrong := asked(a.T, a.db, fmt.Sprintf(`SELECT (SELECT count(*) FROM accounts a LEFT JOIN %s ON n.id = a.id WHERE coalesce(n.amount, 0) <> coalesce(a.%s, -1)) + (SELECT count(*) FROM noted WHERE account NOT IN (SELECT id FROM accounts))`, noted, c)); wrong != "0" {
			a.Errorf("%s rows have another value in %s than was written", wrong, c)
		}
	}
	if a.wrote[0].Load() == 0 || a.wrote[1].Load() == 0 {
		a.Error("nobody wrote by one of the names: the test shows nothing")
	}
}

// TestExpandLedger: code that writes the old name and code that writes the new one at the same time, at all isolation levels, lose no
// write, whether the change is contracted or aborted under them.
func TestExpandLedger(t *testing.T) {
	t.Parallel()
	for _, abort := range []bool{false, true} {
		newAccountants(t).expandUnder(abort)
	}
}

// expandUnder expands while some write by the old name, lets others write by the new one, and contracts or aborts under them.
func (a *accountants) expandUnder(abort bool) {
	a.Helper()
	a.expandAs(changeling.Expansion{Statement: `ALTER TABLE accounts RENAME COLUMN old TO new`}, abort)
}

func (a *accountants) expandAs(x changeling.Expansion, abort bool) {
	a.Helper()
	a.expandBetween(x, "new", "%d", "new", abort)
}

// expandBetween is likewise for a new column whose values are formed otherwise, and of which back is what the old one would have.
func (a *accountants) expandBetween(x changeling.Expansion, name, form, back string, abort bool) {
	a.Helper()
	t := a.T
	stopOld := a.write("old", 3, false)
	c := expandedTo(t, a.db, x)
	stopNew := a.writeAs(name, form, 3, abort)
	for deadline := time.Now().Add(time.Minute); a.wrote[1].Load() < 150 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	if abort {
		if err := c.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		stopNew()
		stopOld()
		a.proves("old")
		return
	}
	stopOld()
	a.proves("old", back)
	contracted(t, c)
	stopNew()
	a.proves(back)
	t.Logf("%d transactions by the old name, %d by the new one", a.wrote[0].Load(), a.wrote[1].Load())
}

// What an expansion sends.
var (
	liveFunction = matching(`^CREATE FUNCTION .*TG_OP = 'INSERT'`)
	fillsTotal   = matching(`^UPDATE ONLY .* SET "total" = .* WHERE .*ctid >= `)
	goesBack     = matching(`^DO .*LOCK TABLE ONLY.*DROP COLUMN IF EXISTS`)
)

// expandScene plays users while a change fills, while it is expanded, and while it is contracted, and says how that ended.
func expandScene(t *testing.T, mutate func(text string) string) (s *scene, wrong []string, err error) {
	s = newScene(t)
	if mutate != nil {
		s.mutate = func(_ context.Context, x mutant.Statement) string { return mutate(x.Text) }
	}
	pgtest.Exec(t, s.db, `CREATE TABLE was AS SELECT id, amount FROM accounts`, `ALTER TABLE accounts ALTER amount DROP NOT NULL`, `ALTER TABLE mirror ALTER amount DROP NOT NULL`)
	e, err := changeling.Open(t.Context(), s.pool, s.config)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: `ALTER TABLE accounts RENAME COLUMN amount TO total`})
	if err != nil {
		t.Fatal(err)
	}
	if s.change, err = e.StartPlan(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	replica := func(statements ...string) {
		u := s.begin()
		u.both(`SET LOCAL session_replication_role = replica`)
		u.both(statements...)
		u.commit()
	}
	newName := func(replica bool, statement string) error { // the mirror has the old name
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if replica {
			pgtest.Exec(t, tx, `SET LOCAL session_replication_role = replica`)
		}
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
		pgtest.Exec(t, tx, strings.NewReplacer("accounts", "mirror", "total", "amount").Replace(statement))
		return tx.Commit()
	}
	look := func(columns ...string) {
		for _, c := range columns {
			rows, err := firstTexts(s.db, fmt.Sprintf(`SELECT '%s of ' || coalesce(a.id, m.id) FROM accounts a FULL JOIN mirror m USING (id) WHERE a.%[1]s IS DISTINCT FROM m.amount ORDER BY 1 LIMIT 3`, c))
			if err != nil {
				t.Fatal(err)
			}
			wrong = append(wrong, rows...)
		}
	}
	fill := s.at(fillsTotal, 1)
	s.start()
	s.until(fill)
	s.both(`INSERT INTO accounts SELECT i, 'e' || i, i, 'new' FROM generate_series(5001, 5050) i`, `UPDATE accounts SET amount = amount + 7 WHERE id % 10 = 0`)
	replica(`UPDATE accounts SET amount = 8 WHERE id BETWEEN 11 AND 19`, `INSERT INTO accounts VALUES (6001, 'e6001', 1, 'r')`)
	fill.open()
	if err := <-s.done; err != nil {
		return s, wrong, err
	}
	look("amount", "total")
	for _, statement := range []string{`UPDATE accounts SET total = -total WHERE id % 100 = 1`, `INSERT INTO accounts (id, email, total, payload) VALUES (7001, 'e7001', 5, 'n')`, `UPDATE accounts SET payload = 'p' WHERE id % 100 = 1`} {
		if err := newName(false, statement); err != nil {
			return s, wrong, err
		}
	}
	s.both(`UPDATE accounts SET amount = amount + 1 WHERE id % 100 = 2`)
	if err := newName(true, `UPDATE accounts SET total = 3 WHERE id = 500`); err != nil {
		return s, wrong, err
	}
	look("amount", "total")
	if err := s.change.Contract(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.change.Run(t.Context()); err != nil {
		return s, wrong, err
	}
	look("total")
	return s, wrong, nil
}

func firstTexts(db *sql.DB, query string) (out []string, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

// TestExpandRaces plays the schedule whole, and with mutants that it must show.
func TestExpandRaces(t *testing.T) {
	t.Parallel()
	replace := func(match func(string) bool, old, by string) func(string) string {
		return func(text string) string {
			if match(text) {
				return strings.ReplaceAll(text, old, by)
			}
			return text
		}
	}
	for _, c := range []struct {
		name   string
		mutate func(string) string
	}{
		{"whole", nil},
		{"the trigger does not fire for everybody", func(text string) string {
			if alwaysTrigger(text) {
				return ""
			}
			return text
		}},
		{"the trigger does not fire for new rows", replace(columnTrigger, "BEFORE INSERT OR UPDATE", "BEFORE UPDATE")},
		{"the trigger looks at the old column alone", replace(liveFunction, `NEW."amount" := NEW."total"`, `NEW."total" := NEW."amount"`)},
		{"the trigger looks at the new column alone", replace(liveFunction, `NEW."total" := NEW."amount"`, `NEW."amount" := NEW."total"`)},
		{"an INSERT is not looked at", replace(liveFunction, `TG_OP = 'INSERT' AND`, `TG_OP = 'INSERT' AND false AND`)},
		{"filled with an older value", func(text string) string {
			if fillsTotal(text) {
				text = strings.NewReplacer(`= "accounts"."amount" WHERE`, `= (SELECT w.amount FROM public.was w WHERE w.id = "accounts".id) WHERE`, " AND ROW(", " AND true OR false AND ROW(").Replace(text)
			}
			return text
		}},
		{"a part is not filled", replace(fillsTotal, " AND ROW(", " AND false AND ROW(")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, wrong, err := expandScene(t, c.mutate)
			if c.mutate == nil {
				if err != nil || len(wrong) > 0 || s.story.count(differed) > 0 {
					t.Errorf("error %v, wrong rows %v, %d differences repaired", err, wrong, s.story.count(differed))
				}
				return
			}
			t.Logf("error %v, wrong rows %v, %d differences", err, wrong, s.story.count(differed))
			if s.hits.Load() == 0 {
				t.Fatal("the mutant met none of its statements")
			}
			if err == nil && len(wrong) == 0 && s.story.count(differed) == 0 {
				t.Error("the mutant lives")
			}
		})
	}
}

// TestExpandDiesAtEveryStatement kills a run before and after each statement that it sends, from the expansion to the contraction, lets
// users write, and says the same again: it must leave what a native RENAME leaves, but for the place of the column.
func TestExpandDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE orders RENAME COLUMN note TO remark`
	setup := append(slices.Clone(victim), `ALTER TABLE orders ALTER note SET DEFAULT 'none', ALTER note SET NOT NULL, ADD CONSTRAINT once UNIQUE (note, id)`, `CREATE INDEX orders_note ON orders (note)`)
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(setup), ddl)...)
	pgtest.Exec(t, native, between...)
	act := func(ctx context.Context, db *sql.DB) error {
		return expandAndContract(ctx, db, changeling.Expansion{Statement: ddl}, quick)
	}
	mortal{setup: setup, act: act, look: byName, want: byName(t, native), stream: 12, part: 5}.test(t)
}

// TestExpandAbortDies: whenever the abort of an expanded change dies, the next one leaves the table as it was, with what was written under
// the new name.
func TestExpandAbortDies(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	x := changeling.Expansion{Statement: `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`, As: "total"}
	begin := func() (abort func(context.Context, *sql.DB) error) {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		id := expandedTo(t, db, x).ID()
		pgtest.Exec(t, db, `UPDATE orders SET total = 99 WHERE id = 3`)
		return func(ctx context.Context, db *sql.DB) error {
			e, err := changeling.Open(ctx, db, quick)
			if err != nil {
				return err
			}
			c, err := e.Find(ctx, id)
			if err != nil {
				return err
			}
			return c.Abort(ctx)
		}
	}
	all := deaths(t, dsn, rand.New(rand.NewPCG(seed(t), 14)), begin())
	want := portrait(t, db)
	for _, death := range all {
		abort := begin()
		at := dieAt(t, dsn, abort, death)
		if err := abort(t.Context(), db); err != nil {
			t.Errorf("%s: the second abort: %v", at, err)
		}
		sameAs(t, portrait(t, db), want, at)
	}
}

// TestExpandAbort: an expansion can be taken back at each of its steps, and nothing of it stays; a column that was never the change's does.
func TestExpandAbort(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE orders RENAME COLUMN amount TO total`
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(victim), moreOfAmount...)...)
	want := byName(t, db)
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: ddl})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps[1:] {
		if s.Kind == "live" || s.Kind == "release" || s.Kind == "drop" {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		config := quick
		config.Events = upon(event.Discard, beganStep(s.Name), cancel)
		err := expandAndContract(ctx, db, changeling.Expansion{Statement: ddl}, config)
		cancel()
		if !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("stopped at %q: %v, want ErrStopped", s.Name, err)
		}
		abortAll(t, db, "")
		sameAs(t, byName(t, db), want, "aborted at "+s.Name)
	}
	// Nothing was made yet, and somebody else takes the name.
	c, err := e.StartPlan(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `ALTER TABLE orders ADD COLUMN total text DEFAULT 'theirs'`)
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if theirs := asked(t, db, `SELECT min(total) FROM orders`); theirs != "theirs" {
		t.Errorf("what stood in the column is %q", theirs)
	}
	// Who writes the new name until it is gone has written the old one. A trigger that goes first would lose it.
	for _, broken := range []bool{false, true} {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		c := expanded(t, db, ddl)
		act := sync.OnceFunc(func() {
			if broken {
				pgtest.Exec(t, db, `DROP TRIGGER "~changeling_`+c.ID()+`" ON orders`)
			}
			pgtest.Exec(t, db, `UPDATE orders SET total = 4711 WHERE id = 1`)
		})
		pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if goesBack(x.Text) {
				act()
			}
			return x.Text
		})
		e, err := changeling.Open(t.Context(), pool, quick)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = e.Find(t.Context(), c.ID()); err != nil {
			t.Fatal(err)
		}
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kept := asked(t, db, `SELECT amount FROM orders WHERE id = 1`); (kept == "4711") == broken {
			t.Errorf("what was written under the new name is %s; with the trigger gone first: %v", kept, broken)
		}
	}
}

// TestExpandedForLong: while both columns are in use others may alter the table, as long as the old column stays what it was; rewrite it
// and empty it; and a trigger that was off does not go unnoticed.
func TestExpandedForLong(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(victim), moreOfAmount...)...)
	c := expanded(t, db, `ALTER TABLE orders RENAME COLUMN amount TO total`)
	resume := func(want error, says string) {
		t.Helper()
		if err := c.Contract(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("contracted: %v, want %v that says %q", err, want, says)
		}
	}
	pgtest.Exec(t, db, `ALTER TABLE orders ADD COLUMN later int DEFAULT 3`, `CREATE INDEX theirs ON orders (total, later)`, `VACUUM FULL orders`, `CREATE INDEX old_ones ON orders (amount, note)`)
	resume(changeling.ErrRefused, "old_ones")
	pgtest.Exec(t, db, `DROP INDEX old_ones`, `ALTER TABLE orders DISABLE TRIGGER USER`, `UPDATE orders SET total = 5555 WHERE id = 3`, `ALTER TABLE orders ENABLE ALWAYS TRIGGER "~changeling_`+c.ID()+`"`)
	resume(changeling.ErrMismatch, "1 rows")
	if there := asked(t, db, `SELECT amount || ' ' || total FROM orders WHERE id = 3`); there != "3 5555" {
		t.Errorf("the row that nobody can judge is %s: it was changed", there)
	}
	pgtest.Exec(t, db, `UPDATE orders SET amount = 5555 WHERE id = 3`, `ALTER TABLE orders DISABLE TRIGGER USER`)
	resume(changeling.ErrRefused, "disabled or dropped")
	pgtest.Exec(t, db, `ALTER TABLE orders ENABLE ALWAYS TRIGGER "~changeling_`+c.ID()+`"`, `TRUNCATE orders CASCADE`, `INSERT INTO orders (email, total) VALUES ('after', 77)`)
	resume(nil, "")
	stands(t, c, "done", "")
	if left := asked(t, db, `SELECT string_agg(attname::text, ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 AND NOT attisdropped`); left != "email id later note tenant total" {
		t.Errorf("the columns are %s", left)
	}
	if left := asked(t, db, `SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY 1) FROM pg_index WHERE indrelid = 'orders'::regclass`); !strings.Contains(left, "theirs") || strings.Contains(left, "changeling") {
		t.Errorf("the indexes are %s", left)
	}
	// A rewrite in the middle of the comparison begins it again.
	pgtest.Exec(t, db, `ALTER TABLE orders DROP COLUMN later`, `INSERT INTO orders (email, total) SELECT 'm' || i, i FROM generate_series(1, 5000) i`)
	var told story
	config := quick
	config.Events = upon(told.tell, beganStep("verify again"), func() { pgtest.Exec(t, db, `VACUUM FULL orders`) })
	if err := expandAndContract(t.Context(), db, changeling.Expansion{Statement: `ALTER TABLE orders RENAME COLUMN note TO remark`}, config); err != nil || told.count(restarted) != 1 {
		t.Errorf("a rewrite during the comparison: %v, begun again %d times", err, told.count(restarted))
	}
	// Two that contract at once: one does it, the other one is told.
	c = expanded(t, db, `ALTER TABLE orders RENAME COLUMN total TO sum`)
	contractAtOnce(t, c)
}

// contractAtOnce contracts in several runs, of which one does it.
func contractAtOnce(t *testing.T, c *changeling.Change) {
	t.Helper()
	if err := c.Contract(t.Context()); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := c.Run(t.Context()); err != nil && !errors.Is(err, changeling.ErrOwned) {
				t.Errorf("one of several runs: %v", err)
			}
		})
	}
	group.Wait()
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "done", "")
}

// TestExpandedUses: the status says who still names the old column, as far as the server tells, and says so where it does not.
func TestExpandedUses(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, dbtest.Options{Settings: map[string]string{"shared_preload_libraries": "pg_stat_statements"}})
	db := pgtest.Open(t, server.DSN("postgres"))
	pgtest.Exec(t, db, victim...)
	c := expanded(t, db, `ALTER TABLE orders RENAME COLUMN note TO remark`)
	app, err := pgtest.Open(t, server.DSN("postgres")+"&application_name=shop").Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	pgtest.Exec(t, app, `SELECT remark FROM orders LIMIT 1`)
	status := func() changeling.Status {
		t.Helper()
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); len(s.Uses) > 0 || !strings.Contains(s.UsesUnseen, "pg_stat_statements") {
		t.Errorf("nobody names the old column, and the server cannot tell: %+v, %q", s.Uses, s.UsesUnseen)
	}
	pgtest.Exec(t, app, `SELECT o.note FROM orders o LIMIT 2`)
	if s := status(); len(s.Uses) != 1 || s.Uses[0].By != "shop (postgres)" || !strings.Contains(s.Uses[0].Statement, "o.note") {
		t.Errorf("a session that named it: %+v", s.Uses)
	}
	pgtest.Exec(t, app, `CREATE SCHEMA elsewhere`, `CREATE EXTENSION pg_stat_statements SCHEMA elsewhere`, `SELECT pg_catalog.count(*) FROM elsewhere.pg_stat_statements_reset()`)
	for range 3 {
		pgtest.Exec(t, app, `SELECT o.note FROM orders o LIMIT 2`)
	}
	pgtest.Exec(t, app, `SELECT 1`)
	if s := status(); len(s.Uses) != 1 || s.Uses[0].Calls != 3 || s.UsesUnseen != "" || s.Uses[0].By != "postgres" {
		t.Errorf("a statement that named it: %+v, %q", s.Uses, s.UsesUnseen)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}
