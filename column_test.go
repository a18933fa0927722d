package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// What a change by a second column sends.
var (
	filling        = matching(`^UPDATE ONLY .* SET "changeling_\w+_1" = .* WHERE .*ctid >= `)
	comparingBoth  = matching(`^SELECT count\(\*\), count\(\*\) FILTER \(WHERE ROW\(.*ctid >= `)
	alwaysTrigger  = matching(`^ALTER TABLE .* ENABLE ALWAYS TRIGGER "~changeling_`)
	columnTrigger  = matching(`^CREATE TRIGGER "~changeling_`)
	columnFunction = matching(`^CREATE FUNCTION "changeling_.* RETURNS trigger `)
	columnVerdict  = matching(`tgname = '~changeling_`)
	asksSnapshots  = matching(`a\.backend_xmin IS NOT NULL AND`)
)

// byColumn is quick by a second column.
func byColumn() changeling.Config {
	c := quick
	c.Route = plan.ShadowColumn
	return c
}

// TestColumnLedger changes a column's type in place under writers that keep a ledger.
func TestColumnLedger(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: seed(t), Rows: 40_000, Rate: 600, Replica: true})
	s.config.Route = plan.ShadowColumn
	stop := s.write()
	s.pause(200 * time.Millisecond)
	if err := s.apply(); err != nil {
		t.Fatal(err)
	}
	s.pause(300 * time.Millisecond)
	stop()
	s.changed()
	t.Logf("%s; users: %s", s.figures(), s.ledger.Stats())
}

// TestColumnLedgerDisturbed is the same with a run that is stopped again and again, a rewrite of the table and a TRUNCATE.
func TestColumnLedgerDisturbed(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 9))
	s := newStage(t, pgtest.Database(t), ledger.Options{Seed: random.Uint64(), Rows: 30_000, Rate: 400, Replica: true})
	s.config.Route = plan.ShadowColumn
	other := pgtest.Open(t, s.dsn)
	s.on(progressed("copy"), func() { pgtest.Exec(t, other, `VACUUM FULL accounts`) })
	s.on(began("verify"), func() { s.ledger.Truncate(t.Context()) })
	stop := s.write()
	stops := s.applyStopped(random, 200*time.Millisecond, 10)
	s.pause(200 * time.Millisecond)
	stop()
	s.changed()
	if s.story.count(restarted) == 0 {
		t.Error("nothing began again: the test does not disturb what it should")
	}
	t.Logf("stopped %d times; %s; users: %s", stops, s.figures(), s.ledger.Stats())
}

// byName is portrait with the rows of orders by the names of their columns.
func byName(t *testing.T, db *sql.DB) []string {
	t.Helper()
	out := slices.DeleteFunc(portrait(t, db), func(line string) bool { return strings.HasPrefix(line, "order (") })
	return append(out, listed(t, db, `SELECT 'order ' || to_jsonb(o)::text FROM orders o ORDER BY 1`)...)
}

// moreOfAmount are an index and a key over the column that grow changes.
var moreOfAmount = []string{`CREATE INDEX orders_amount ON orders (amount, email)`, `ALTER TABLE orders ADD CONSTRAINT once UNIQUE (amount, id)`}

// TestColumnDiesAtEveryStatement kills a run before and after each statement that it sends, lets users write, and runs the same
// change again: it must leave what a native ALTER leaves, but for the place of the column.
func TestColumnDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	act := func(ctx context.Context, db *sql.DB) error { return changeling.Apply(ctx, db, grow, byColumn()) }
	setup := append(slices.Clone(victim), moreOfAmount...)
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(setup), grow)...)
	pgtest.Exec(t, native, between...)
	mortal{setup: setup, act: act, look: byName, want: byName(t, native), stream: 10}.test(t)
}

// TestColumnAbort: before its swap a change by a second column can be taken back at each of its steps, and nothing of it stays.
func TestColumnAbort(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, append(slices.Clone(victim), moreOfAmount...)...)
	want := byName(t, db)
	e, err := changeling.Open(t.Context(), db, byColumn())
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Plan(t.Context(), grow)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps[1 : p.Find(plan.Cutover)+1] {
		ctx, cancel := context.WithCancel(t.Context())
		config := byColumn()
		config.Events = upon(event.Discard, func(e event.Event) bool { b, ok := e.(event.StepStarted); return ok && b.Name == s.Name }, cancel)
		err := changeling.Apply(ctx, db, grow, config)
		cancel()
		if s.Kind != plan.Hold && !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("stopped at %q, Apply = %v, want ErrStopped", s.Name, err)
		}
		if s.Kind == plan.Hold {
			break // nobody asked for it, so it tells nothing, and the change went through
		}
		abortAll(t, db, "")
		sameAs(t, byName(t, db), want, "aborted at "+s.Name)
	}
}

// heldOrOver waits until a change holds, or ends before, as one that a mutant has broken may.
func heldOrOver(s *scene) bool {
	s.Helper()
	for deadline := time.Now().Add(5 * time.Minute); s.story.count(holding) == 0; time.Sleep(5 * time.Millisecond) {
		if len(s.done) > 0 {
			return false
		}
		if time.Now().After(deadline) {
			s.Fatal("the change neither holds nor ends")
		}
	}
	return true
}

// columnRaces are schedules and mutants of a change by a second column.
func columnRaces() []race {
	swallow := func(which func(string) bool, instead func(string) string) func(*scene) func(context.Context, mutant.Statement) string {
		return func(*scene) func(context.Context, mutant.Statement) string {
			return func(_ context.Context, x mutant.Statement) string {
				if which(x.Text) {
					return instead(x.Text)
				}
				return x.Text
			}
		}
	}
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	// Users write in each way while the change fills, and while it holds.
	busy := func(s *scene) {
		s.config.Hold = true
		fill := s.at(filling, 1)
		s.start()
		s.until(fill)
		s.both(`INSERT INTO accounts SELECT i, 'e' || i, i, 'new' FROM generate_series(5001, 5050) i`, `UPDATE accounts SET amount = amount + 7 WHERE id % 10 = 0`)
		u := s.begin()
		u.both(`SET LOCAL session_replication_role = replica`, `UPDATE accounts SET amount = 8 WHERE id BETWEEN 11 AND 19`, `INSERT INTO accounts VALUES (6001, 'e6001', 1, 'r')`)
		u.commit()
		fill.open()
		if !heldOrOver(s) {
			return
		}
		s.both(`UPDATE accounts SET amount = -amount WHERE id % 100 = 1`, `DELETE FROM accounts WHERE id % 100 = 2`, `INSERT INTO accounts VALUES (7001, 'e7001', 1, 'h')`)
		s.cut()
	}
	return []race{
		{name: "trigger not for everybody", play: busy, mutate: swallow(alwaysTrigger, func(string) string { return "" })},
		{name: "trigger not for new rows", play: busy, mutate: swallow(columnTrigger, replace("BEFORE INSERT OR UPDATE", "BEFORE UPDATE"))},
		{name: "a part is not filled", play: busy, mutate: swallow(filling, replace(" AND ROW(", " AND false AND ROW("))},
		// The trigger computes the value again in what the engine writes itself, so an old value is harmless: it takes both.
		{name: "filled with an older value", play: busy, mutate: func(*scene) func(context.Context, mutant.Statement) string {
			return func(_ context.Context, x mutant.Statement) string {
				switch {
				case columnTrigger(x.Text):
					return strings.Replace(x.Text, "BEFORE INSERT OR UPDATE", `BEFORE INSERT OR UPDATE OF amount`, 1)
				case filling(x.Text):
					return strings.Replace(x.Text, `= "accounts"."amount" WHERE`, `= "accounts"."id" + 1 WHERE`, 1)
				}
				return x.Text
			}
		}},
	}
}

// TestColumnRaces plays the schedules as TestRaces does: whole, with a mutant, and with the mutant and a verification that sees
// nothing, which shows that without the verification the wrong rows would be swapped in.
func TestColumnRaces(t *testing.T) {
	t.Parallel()
	blind := func(text string) string {
		switch {
		case comparingBoth(text):
			return "SELECT 1::bigint, 0::bigint"
		case columnVerdict(text):
			return strings.Replace(text, "g.tgenabled = 'A'", "true", 1)
		}
		return text
	}
	for i, r := range columnRaces() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			play := func(t *testing.T, mutate func(context.Context, mutant.Statement) string) (verdict, int64) {
				s := newScene(t)
				s.config.Route = plan.ShadowColumn
				if mutate != nil {
					s.mutate = mutate
				}
				r.play(s)
				return s.finish(), s.hits.Load()
			}
			if i == 0 {
				if v, _ := play(t, nil); v.caught() {
					t.Errorf("whole: %s", v)
				}
			}
			v, hits := play(t, r.mutate(nil))
			if hits == 0 {
				t.Fatal("the mutant met none of its statements")
			}
			if v.err == nil && v.differed == 0 || v.err == nil && len(v.wrong) > 0 {
				t.Errorf("the mutant lives: %s", v)
			}
			broken := r.mutate(nil)
			v, _ = play(t, func(ctx context.Context, x mutant.Statement) string { return blind(broken(ctx, x)) })
			if v.err == nil && len(v.wrong) == 0 {
				t.Errorf("the mutant does no harm: %s", v)
			}
		})
	}
}

// TestColumnSnapshots: a transaction that began before the new column was filled reads the values that it would have read, after
// the swap too, because the swap waits for it. Without the wait it reads NULL.
func TestColumnSnapshots(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		s := newScene(t)
		s.config.Route = plan.ShadowColumn
		s.config.CutoverAttempts = 1000
		if broken {
			s.mutate = func(_ context.Context, x mutant.Statement) string {
				if asksSnapshots(x.Text) {
					return x.Text + " AND false"
				}
				return x.Text
			}
		}
		old, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		if err != nil {
			t.Fatal(err)
		}
		var one int
		if err := old.QueryRow(`SELECT 1 FROM mirror LIMIT 1`).Scan(&one); err != nil { // it has a snapshot, and no lock on accounts
			t.Fatal(err)
		}
		s.start()
		if broken {
			if v := s.finish(); v.err != nil {
				t.Fatal(v.err)
			}
		} else {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			if err := s.story.await(ctx, began("cutover")); err != nil {
				t.Fatal(err)
			}
			cancel()
			select {
			case err := <-s.done:
				t.Fatalf("the swap did not wait: %v", err)
			case <-time.After(time.Second):
			}
		}
		var missing int
		if err := old.QueryRow(`SELECT count(*) - count(amount) FROM accounts`).Scan(&missing); err != nil {
			t.Fatal(err)
		}
		if (missing > 0) != broken {
			t.Errorf("%d values are missing in the old snapshot; without the wait: %v", missing, broken)
		}
		if err := old.Commit(); err != nil {
			t.Fatal(err)
		}
		if !broken {
			if v := s.finish(); v.caught() {
				t.Error(v)
			}
		}
	}
}

// TestColumnUnconvertible: a value that cannot be converted fails no user. It stops the change, which names its row, and goes on
// when the row is mended. Where nobody notes it, the value is lost.
func TestColumnUnconvertible(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE codes ALTER code TYPE int USING code::int`
	config := byColumn()
	config.Hold = true
	dsn := pgtest.Database(t)
	for _, broken := range []bool{false, true} {
		db := pgtest.Open(t, dsn)
		raze(t, db)
		pgtest.Exec(t, db, `CREATE TABLE codes (id int PRIMARY KEY, code text)`, `INSERT INTO codes SELECT i, i::text FROM generate_series(1, 500) i`)
		pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if broken && columnFunction(x.Text) {
				head, rest, _ := strings.Cut(x.Text, "INSERT INTO ")
				_, rest, _ = strings.Cut(rest, ";")
				return head + rest
			}
			return x.Text
		})
		var told story
		config.Events = told.tell
		done := make(chan error, 1)
		go func() { done <- changeling.Apply(t.Context(), pool, ddl, config) }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		if err := told.await(ctx, holding); err != nil {
			t.Fatal(err)
		}
		cancel()
		// One transaction: the change stops at the first of them that it sees.
		pgtest.Exec(t, db, `WITH added AS (INSERT INTO codes VALUES (1000, 'abc')) UPDATE codes SET code = 'x' WHERE id = 7`)
		if broken {
			pgtest.Exec(t, db, `UPDATE changeling.change SET hold = false, want = 'cutover'`)
			err := <-done
			var lost int
			if queryErr := db.QueryRow(`SELECT count(*) FROM codes WHERE code IS NULL`).Scan(&lost); err == nil && (queryErr != nil || lost != 2) {
				t.Errorf("%d values are lost (%v), want 2: the mutant does no harm", lost, queryErr)
			}
			continue
		}
		err := <-done
		if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 1000") || !strings.Contains(err.Error(), "id 7") {
			t.Fatalf("Apply = %v, want ErrData that names both rows", err)
		}
		if err := changeling.Apply(t.Context(), db, ddl, byColumn()); !errors.Is(err, changeling.ErrData) {
			t.Fatalf("Apply again = %v, want ErrData: nobody mended the rows", err)
		}
		pgtest.Exec(t, db, `UPDATE codes SET code = '77' WHERE id = 7`, `DELETE FROM codes WHERE id = 1000`)
		config := byColumn()
		pgtest.Exec(t, db, `UPDATE changeling.change SET hold = false`)
		if err := changeling.Apply(t.Context(), db, ddl, config); err != nil {
			t.Fatal(err)
		}
		var n, sum int
		if err := db.QueryRow(`SELECT count(*), sum(code) FROM codes`).Scan(&n, &sum); err != nil || n != 500 || sum != 500*501/2+70 {
			t.Errorf("%d codes, sum %d (%v)", n, sum, err)
		}
	}
	// A row that was there from the beginning is found before anything is made, or named by the backfill.
	db := pgtest.Open(t, dsn)
	raze(t, db)
	pgtest.Exec(t, db, `CREATE TABLE codes (id int PRIMARY KEY, code text)`, `INSERT INTO codes SELECT i, i::text FROM generate_series(1, 500) i`, `UPDATE codes SET code = 'y' WHERE id = 321`)
	for _, asked := range []bool{true, false} {
		config := byColumn()
		config.NoDataCheck = !asked
		if err := changeling.Apply(t.Context(), db, ddl, config); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 321") || strings.Contains(err.Error(), "Nothing was made") != asked {
			t.Errorf("Apply = %v, want ErrData that names id 321", err)
		}
	}
	abortAll(t, db, "")
}

// TestColumnKept: the old column stays until its time has come, and the statement is done all the while.
func TestColumnKept(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, victim...)
	config := byColumn()
	config.DropAfter = time.Hour
	columns := func() (n int) {
		if err := db.QueryRow(`SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := columns()
	for range 2 {
		if err := changeling.Apply(t.Context(), db, grow, config); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, db, `INSERT INTO orders (email) VALUES ('after' || clock_timestamp())`)
		if columns() != before+1 {
			t.Errorf("%d columns, want the old one besides %d", columns(), before)
		}
	}
	e, err := changeling.Open(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.List(t.Context())
	if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].OldTable, "public.orders.changeling_") {
		t.Fatalf("List = %+v, %v; want one change that keeps its old column", list, err)
	}
	c, err := e.Find(t.Context(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped {
		t.Fatalf("Cleanup = %v, %v", dropped, err)
	}
	if columns() != before {
		t.Errorf("%d columns after the drop, want %d", columns(), before)
	}
	if _, done, err := e.Known(t.Context(), grow); err != nil || !done {
		t.Errorf("after the drop the statement counts as done: %v, %v", done, err)
	}
}

// TestColumnSerializable: two transactions at SERIALIZABLE that each read what the other writes do not both commit, although the
// index that one of them read stands on another column when the other writes. Where the swap keeps the old index they do.
func TestColumnSerializable(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		s := newScene(t)
		s.config.Route = plan.ShadowColumn
		pgtest.Exec(t, s.db, `CREATE INDEX accounts_amount ON accounts (amount)`, `CREATE TABLE other (id int PRIMARY KEY, n int)`, `INSERT INTO other VALUES (1, 0)`)
		var two *sql.Tx
		skew := sync.OnceFunc(func() { // just before the lock
			begin := func() *sql.Tx {
				tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
				if err != nil {
					t.Error(err)
				}
				return tx
			}
			one := begin()
			two = begin()
			var n int
			pgtest.Exec(t, one, `SET LOCAL enable_seqscan = off`, `SET LOCAL enable_bitmapscan = off`)
			if err := errors.Join(two.QueryRow(`SELECT n FROM other WHERE id = 1`).Scan(&n), one.QueryRow(`SELECT count(*) FROM accounts WHERE amount BETWEEN 100 AND 110`).Scan(&n)); err != nil {
				t.Error(err)
			}
			pgtest.Exec(t, one, `UPDATE other SET n = 1 WHERE id = 1`)
			if err := one.Commit(); err != nil {
				t.Error(err)
			}
		})
		s.mutate = func(_ context.Context, x mutant.Statement) string {
			if locking(x.Text) {
				skew()
			}
			if broken {
				return strings.Replace(x.Text, `DROP INDEX "public"."accounts_amount"`, `ALTER INDEX "public"."accounts_amount" RENAME TO old_amount`, 1)
			}
			return x.Text
		}
		s.start()
		if v := s.finish(); v.err != nil {
			t.Fatal(v)
		}
		_, err := two.Exec(`INSERT INTO accounts (id, email, amount, payload) VALUES (9000, 'e9000', 105, '')`)
		if err == nil {
			err = two.Commit()
		} else {
			_ = two.Rollback() // it is over
		}
		if (code(err) == "40001") == broken {
			t.Errorf("the second transaction ended with %v; each read what the other wrote; the old index stays: %v", err, broken)
		}
	}
}
