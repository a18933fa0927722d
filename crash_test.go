package changeling_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"

	"fmt"

	"math/rand/v2"

	"slices"
	"strings"
	"sync"

	"testing"
	"time"

	"github.com/changeling-db/changeling"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// victim is the table of the crash tests: an identity, a unique key, a check, foreign keys in and out.
var victim = []string{
	`CREATE TABLE tenants (id int PRIMARY KEY)`,
	`INSERT INTO tenants SELECT generate_series(1, 10)`,
	`CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL CONSTRAINT orders_email UNIQUE,
  amount int NOT NULL DEFAULT 7 CHECK (amount >= 0), tenant int REFERENCES tenants, note text)`,
	`CREATE INDEX orders_tenant ON orders (tenant)`,
	`COMMENT ON COLUMN orders.amount IS 'in cents'`,
	`INSERT INTO orders (email, amount, tenant, note) SELECT 'e' || i, i, 1 + i % 10, repeat('n', 100) FROM generate_series(1, 200) i`,
	`CREATE TABLE items (id int PRIMARY KEY, "order" bigint NOT NULL REFERENCES orders ON DELETE CASCADE)`,
	`INSERT INTO items SELECT i, i FROM generate_series(1, 100) i`,
}

const grow = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`

// between is what users write after a crash, before anybody goes on with the change.
var between = []string{
	`UPDATE orders SET amount = amount + 1000 WHERE id BETWEEN 1 AND 20`,
	`DELETE FROM orders WHERE id = 30`, // and an item with it
	`INSERT INTO orders (email, tenant) VALUES ('new', 3)`,
	`UPDATE orders SET email = 'moved' WHERE id = 40`,
	`INSERT INTO items SELECT 1000, id FROM orders WHERE email = 'new'`,
}

// portrait is all of a database but the engine's own schema: definitions and rows, in words.
func portrait(t *testing.T, db *sql.DB) []string {
	t.Helper()
	var out []string
	for _, query := range []string{
		`SELECT 'schema ' || nspname FROM pg_namespace WHERE ` + userSchema,
		`SELECT format('relation %s.%s %s', nspname, relname, relkind) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind <> 't' AND ` + userSchema,
		`SELECT format('column %s.%s.%s %s null=%s default=%s identity=%s comment=%s', nspname, relname, attname, format_type(atttypid, atttypmod), NOT attnotnull, pg_get_expr(adbin, adrelid), attidentity, col_description(c.oid, attnum))
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
  WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND ` + userSchema,
		`SELECT format('index %s valid=%s', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + userSchema,
		`SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE ` + userSchema,
		`SELECT format('trigger %s on %s', pg_get_triggerdef(g.oid), tgrelid::regclass) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT tgisinternal AND ` + userSchema,
		`SELECT format('%s internal triggers on %s', count(*), tgrelid::regclass) FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE tgisinternal AND ` + userSchema + ` GROUP BY tgrelid`,
		`SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ` + userSchema,
		`SELECT format('sequence of orders.id is at most %s behind', 100) FROM (SELECT nextval(pg_get_serial_sequence('orders', 'id')) AS n) s WHERE n > (SELECT max(id) FROM orders)`,
		`SELECT 'tenant ' || t::text FROM tenants t`,
		`SELECT 'order ' || o::text FROM orders o`,
		`SELECT 'item ' || i::text FROM items i`,
	} {
		out = append(out, sorted(t, db, query)...)
	}
	return out
}

// sorted is a query's one column, in order.
func sorted(t *testing.T, db *sql.DB, query string) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

const userSchema = `nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'changeling')`

// sameAs fails the test where two portraits differ.
func sameAs(t *testing.T, got, want []string, when string) {
	t.Helper()
	var wrong []string
	balance := map[string]int{}
	for _, line := range got {
		balance[line]++
	}
	for _, line := range want {
		balance[line]--
	}
	for _, line := range slices.Sorted(maps.Keys(balance)) {
		switch n := balance[line]; {
		case n > 0:
			wrong = append(wrong, "  is there and should not be: "+line)
		case n < 0:
			wrong = append(wrong, "  is missing: "+line)
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s, the database is not as a native ALTER leaves it:\n%s", when, strings.Join(wrong[:min(len(wrong), 12)], "\n"))
	}
}

// natively is how the victim looks after the server's own ALTER and the writes that happen between a crash and a resumption.
func natively(t *testing.T, more ...string) []string {
	t.Helper()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, append(append(slices.Clone(victim), more...), grow)...)
	pgtest.Exec(t, db, between...)
	return portrait(t, db)
}

// raze makes a database empty again.
func raze(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname DESC`)
	if err != nil {
		t.Fatal(err)
	}
	var drops []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		drops = append(drops, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, append([]string{`SET client_min_messages = warning`}, append(drops, `CREATE SCHEMA public`)...)...)
}

// quick is how the small table is changed. The lease is as long as by default: nobody may have to wait for its end.
var quick = changeling.Config{Fast: true, DropAfter: changeling.DropNow}

// crash is one death.
type crash struct {
	n      int
	moment dying.Moment
}

// moments are those before and after each statement from one number to another; unless all are asked for, so many of them, drawn at random.
func moments(random *rand.Rand, from, to, most int) (points []crash) {
	for n := from; n <= to; n++ {
		points = append(points, crash{n, dying.Before}, crash{n, dying.After})
	}
	if !full() {
		random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:most]
	}
	return points
}

// crashes are all deaths of what somebody does to the victim, or a seeded tenth.
func crashes(t *testing.T, act func(ctx context.Context, db *sql.DB) error) []crash {
	t.Helper()
	random := rand.New(rand.NewPCG(seed(t), 0))
	dsn := pgtest.Database(t)
	pgtest.Exec(t, pgtest.Open(t, dsn), victim...)
	return deaths(t, dsn, random, act)
}

// deaths is crashes on a database that is made.
func deaths(t *testing.T, dsn string, random *rand.Rand, act func(ctx context.Context, db *sql.DB) error) []crash {
	t.Helper()
	alive, counter := pgtest.Dying(t, dsn, dying.Death{})
	if err := act(t.Context(), alive); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d statements", counter.Count())
	return moments(random, 1, counter.Count(), counter.Count()/5)
}

func applying(ddl string) func(context.Context, *sql.DB) error {
	return func(ctx context.Context, db *sql.DB) error { return changeling.Apply(ctx, db, ddl, quick) }
}

// newest is the last change of a database.
func newest(ctx context.Context, db *sql.DB, config changeling.Config) (*changeling.Change, error) {
	e, err := changeling.Open(ctx, db, config)
	if err != nil {
		return nil, err
	}
	list, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	return e.Find(ctx, list[0].ID)
}

// undoing undoes it.
func undoing(config changeling.Config) func(context.Context, *sql.DB) error {
	return func(ctx context.Context, db *sql.DB) error {
		c, err := newest(ctx, db, config)
		if err != nil {
			return err
		}
		return c.Undo(ctx, changeling.NoLoss)
	}
}

// diesInAnUndo kills the undo of a change before and after its statements. What it leads back to looks like what is made of like, with what users wrote.
func diesInAnUndo(t *testing.T, look func(*testing.T, *sql.DB) []string, setup, like []string, change func(context.Context, *sql.DB) (*changeling.Change, error), writes []string, stream uint64) {
	t.Helper()
	other := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, other, slices.Concat(like, writes)...)
	want := look(t, other)
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	begin := func() *changeling.Change {
		raze(t, db)
		pgtest.Exec(t, db, setup...)
		c, err := change(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, db, writes...)
		return c
	}
	undo := undoing(changeling.Config{Fast: true})
	begin()
	all := deaths(t, dsn, rand.New(rand.NewPCG(seed(t), stream)), undo)
	if !full() {
		all = all[:min(len(all), 8)]
	}
	for _, death := range all {
		c := begin()
		at := dieAt(t, dsn, undo, death)
		if err := undo(t.Context(), db); err != nil {
			t.Errorf("%s: the second undo: %v", at, err)
			continue
		}
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); dropped != (c.Plan().Find(plan.Drop) >= 0) || err != nil {
			t.Errorf("%s: the cleanup: %v, %v", at, dropped, err)
		}
		sameAs(t, look(t, db), want, at)
	}
}

// TestDiesAtEveryStatement kills a run before and after each statement that it sends, lets users write, and runs the
// same change again: it must go on at once, and leave what a native ALTER leaves.
func TestDiesAtEveryStatement(t *testing.T) {
	t.Parallel()
	const shards = 3
	want := natively(t)
	all := crashes(t, applying(grow))
	var longest struct {
		sync.Mutex
		took time.Duration
		at   string
	}
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				dsn := pgtest.Database(t)
				db := pgtest.Open(t, dsn)
				for i := shard; i < len(all); i += shards {
					raze(t, db)
					pgtest.Exec(t, db, victim...)
					at := dieAt(t, dsn, applying(grow), all[i])
					pgtest.Exec(t, db, between...)
					began := time.Now()
					if err := changeling.Apply(t.Context(), db, grow, quick); err != nil {
						t.Errorf("%s: the second run: %v", at, err)
						continue
					}
					took := time.Since(began)
					sameAs(t, portrait(t, db), want, at)
					longest.Lock()
					if took > longest.took {
						longest.took, longest.at = took, at
					}
					longest.Unlock()
				}
			})
		}
	})
	t.Logf("%d crashes; the longest second run took %s, after %s", len(all), longest.took.Round(time.Millisecond), longest.at)
	if longest.took > 25*time.Second { // a lease is 30 s
		t.Error("somebody waited for the lease of a dead run")
	}
}

// mortal is something that dies at each statement, and is done again: it must leave what is wanted, with what users wrote between.
type mortal struct {
	setup  []string
	act    func(context.Context, *sql.DB) error
	look   func(*testing.T, *sql.DB) []string
	want   []string
	stream uint64 // of chance
	part   int    // one of so many deaths is taken, of those that others take; zero: 3
	more   func(db *sql.DB, at string)
	writes []string // of users, between a death and the next try; nil: those of the victim
}

// test takes a part of the deaths that others take, unless all are asked for.
func (m mortal) test(t *testing.T) {
	t.Helper()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, m.setup...)
	all := deaths(t, dsn, rand.New(rand.NewPCG(seed(t), m.stream)), m.act)
	if !full() {
		all = all[:len(all)/cmp.Or(m.part, 3)]
	}
	for _, death := range all {
		raze(t, db)
		pgtest.Exec(t, db, m.setup...)
		at := dieAt(t, dsn, m.act, death)
		if m.writes == nil {
			m.writes = between
		}
		pgtest.Exec(t, db, m.writes...)
		if err := m.act(t.Context(), db); err != nil {
			t.Errorf("%s: the second run: %v", at, err)
			continue
		}
		sameAs(t, m.look(t, db), m.want, at)
		if m.more != nil {
			m.more(db, at)
		}
	}
}

// TestDiesInADirectChange: also a statement that the server does at once, and after which the table has another name, is
// done once, whenever the run dies.
func TestDiesInADirectChange(t *testing.T) {
	t.Parallel()
	const rename = `ALTER TABLE orders RENAME TO bills`
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	for _, c := range crashes(t, applying(rename)) {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		at := dieAt(t, dsn, applying(rename), c)
		if err := changeling.Apply(t.Context(), db, rename, quick); err != nil {
			t.Errorf("%s: the second run: %v", at, err)
		}
		var done bool
		if err := db.QueryRowContext(t.Context(), `SELECT to_regclass('bills') IS NOT NULL AND to_regclass('orders') IS NULL AND (SELECT bool_and(status = 'done') FROM changeling.change)`).Scan(&done); err != nil || !done {
			t.Errorf("%s: the table is not renamed, or the change is not done (%v)", at, err)
		}
	}
}

// TestDiesInAnAbort: whenever an abort dies, the next one leaves the table as if nothing had been.
func TestDiesInAnAbort(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 5))
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, victim...)
	want := portrait(t, db)
	// begin leaves a change that stopped before its cutover.
	begin := func() {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		config := quick
		config.Events = upon(event.Discard, began("cutover"), cancel)
		if err := changeling.Apply(ctx, db, grow, config); !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("a run whose context ended returned %v, want ErrStopped", err)
		}
	}
	abort := func(ctx context.Context, db *sql.DB) error {
		c, err := newest(ctx, db, quick)
		if err != nil {
			return err
		}
		return c.Abort(ctx)
	}
	begin()
	for _, c := range deaths(t, dsn, random, abort) {
		begin()
		at := dieAt(t, dsn, abort, c)
		if err := abort(t.Context(), db); err != nil {
			t.Errorf("%s: the second abort: %v", at, err)
		}
		sameAs(t, portrait(t, db), want, at)
	}
}

// TestDiesAgainAndAgain lets each run die somewhere, until one is through.
func TestDiesAgainAndAgain(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 6))
	want := natively(t)
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	rounds := 2
	if full() {
		rounds = 20
	}
	for range rounds {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		var died []string
		for {
			var completed bool
			c := crash{20 + random.IntN(200), []dying.Moment{dying.Before, dying.After}[random.IntN(2)]}
			died = append(died, dieAt(t, dsn, func(ctx context.Context, db *sql.DB) error {
				err := changeling.Apply(ctx, db, grow, quick)
				completed = err == nil
				return err
			}, c))
			if len(died) == 1 {
				pgtest.Exec(t, db, between...)
			}
			if completed {
				break
			}
		}
		sameAs(t, portrait(t, db), want, strings.Join(died, ", then "))
		t.Logf("died %d times", len(died)-1)
	}
}

// dieAt does something that dies, and says where that was.
func dieAt(t *testing.T, dsn string, act func(context.Context, *sql.DB) error, c crash) string {
	t.Helper()
	mortal, death := pgtest.Dying(t, dsn, dying.Death{At: c.n, Moment: c.moment})
	err := act(t.Context(), mortal)
	text, died := death.Died()
	at := fmt.Sprintf("death %s statement %d: %.80s", c.moment, c.n, strings.Join(strings.Fields(text), " "))
	// The last statements give the lease back and ask for figures: what they would have told is not missed.
	if died && err == nil && !strings.Contains(text, "claim SET owner = ''") && !strings.Contains(text, "changeling.event") && !strings.Contains(text, "changeling.change c JOIN") && !strings.Contains(text, "pg_catalog.to_regclass('changeling.history')") {
		t.Errorf("%s: the run that died reports success", at)
	}
	if err := mortal.Close(); err != nil {
		t.Error(err)
	}
	return at
}
