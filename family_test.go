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
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// relatives are a key and what refers to it: a table that refers to itself, three levels, a composite key, a sequence and an identity, and a
// table that refers to two of them.
var relatives = []string{
	`CREATE TABLE customers (id serial PRIMARY KEY, boss int REFERENCES customers, name text NOT NULL)`,
	`CREATE TABLE orders (customer int NOT NULL REFERENCES customers ON DELETE CASCADE, no int NOT NULL, note text, PRIMARY KEY (customer, no))`,
	`CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int, no int, CONSTRAINT items_of FOREIGN KEY (customer, no) REFERENCES orders (customer, no) ON UPDATE CASCADE)`,
	`CREATE INDEX items_order ON items (customer, no)`,
	`CREATE TABLE parcels (id int PRIMARY KEY, customer int REFERENCES customers, of_customer int, of_no int, FOREIGN KEY (of_customer, of_no) REFERENCES orders (customer, no) DEFERRABLE INITIALLY DEFERRED)`,
	`CREATE TABLE others (id int PRIMARY KEY, customer bigint REFERENCES customers)`, // wide enough already
	`INSERT INTO customers (boss, name) SELECT NULLIF(i / 2, 0), 'c' || i FROM generate_series(1, 300) i`,
	`INSERT INTO orders SELECT i, n, 'o' FROM generate_series(1, 300) i, generate_series(1, 2) n`,
	`INSERT INTO items (customer, no) SELECT i, 1 FROM generate_series(1, 300) i`,
	`INSERT INTO parcels SELECT i, i, i, 2 FROM generate_series(1, 200) i`,
	`INSERT INTO others SELECT i, i FROM generate_series(1, 20) i`,
}

const widenKey = `ALTER TABLE customers ALTER COLUMN id TYPE bigint`

// widenAll is what the server itself is told for the same.
var widenAll = []string{
	`ALTER TABLE items ALTER COLUMN customer TYPE bigint`,
	`ALTER TABLE parcels ALTER COLUMN customer TYPE bigint, ALTER COLUMN of_customer TYPE bigint`,
	`ALTER TABLE orders ALTER COLUMN customer TYPE bigint`,
	widenKey + `, ALTER COLUMN boss TYPE bigint`,
	`ALTER SEQUENCE customers_id_seq AS bigint`,
}

// household is a portrait of the relatives: definitions, sequences and rows.
func household(t *testing.T, db *sql.DB) (out []string) {
	t.Helper()
	for _, query := range []string{
		`SELECT format('column %s.%s %s null=%s default=%s identity=%s', relname, attname, format_type(atttypid, atttypmod), NOT attnotnull, pg_get_expr(adbin, adrelid), attidentity)
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
  WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND nspname = 'public'`,
		`SELECT 'index ' || pg_get_indexdef(indexrelid) || indisvalid FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public'`,
		`SELECT format('constraint %s on %s: %s %s', conname, conrelid::regclass, pg_get_constraintdef(k.oid), convalidated) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE nspname = 'public'`,
		`SELECT format('sequence %s %s to %s of %s.%s', s.relname, format_type(seqtypid, NULL), seqmax, refobjid::regclass, refobjsubid)
  FROM pg_sequence JOIN pg_class s ON s.oid = seqrelid JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_depend d ON d.objid = seqrelid AND deptype IN ('a', 'i') AND classid = 'pg_class'::regclass WHERE nspname = 'public'`,
		`SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT tgisinternal AND nspname = 'public' AND tgname !~ '^changeling_\w+_undo'`,
		`SELECT 'customer ' || c::text FROM customers c`, `SELECT 'order ' || o::text FROM orders o`, `SELECT 'item ' || i::text FROM items i`,
		`SELECT 'parcel ' || p::text FROM parcels p`, `SELECT 'other ' || o::text FROM others o`,
	} {
		out = append(out, listed(t, db, query)...)
	}
	return out
}

// family is a database with the relatives.
func family(t *testing.T, more ...string) (dsn string, db *sql.DB) {
	t.Helper()
	dsn = pgtest.Database(t)
	db = pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(relatives), more...)...)
	return dsn, db
}

// takesAlong is a change that makes the key of the relatives wider, with all that refers to it.
func takesAlong(t *testing.T, db *sql.DB, config changeling.Config) *changeling.Change {
	t.Helper()
	return begun(t, db, config, widenKey)
}

// begun is a change of a key with all that refers to it, which has not run yet.
func begun(t *testing.T, db *sql.DB, config changeling.Config, ddl string) *changeling.Change {
	t.Helper()
	config.WithChildren = true
	e, err := changeling.Open(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := e.Start(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFamily leaves what native ALTERs of all tables leave, and nothing that they do not; an undo leaves what was before.
func TestFamily(t *testing.T) {
	t.Parallel()
	_, natively := family(t, widenAll...)
	_, before := family(t)
	_, db := family(t)
	narrower := 0
	c := takesAlong(t, db, changeling.Config{Fast: true, Events: event.Tee(event.Lines(t.Output()), func(e event.Event) {
		if _, ok := e.(event.StepEnded); ok {
			narrower += keysAbove(t, db)
		}
	})})
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range s.Members {
		order = append(order, m.Table)
		if m.Status != "" {
			t.Errorf("%s is %q before the run", m.Table, m.Status)
		}
	}
	if got := strings.Join(order, " "); got != "public.items public.parcels public.orders" {
		t.Errorf("tables come in the order %s", got)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameAs(t, household(t, db), household(t, natively), "after a family's change")
	stands(t, c, "done", "open")
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Fatal(err)
	}
	if narrower > 0 {
		t.Errorf("%d times a key could have values that a column which refers to it cannot", narrower)
	}
	stands(t, c, "undone", "")
	sameAs(t, household(t, db), household(t, before), "after the undo")
	if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
		t.Errorf("undone twice: %v", err)
	}
}

// keysAbove is how many columns refer to one of a wider type.
func keysAbove(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM (SELECT conrelid, confrelid, unnest(conkey) AS num, unnest(confkey) AS refers FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace) k
JOIN pg_attribute c ON (c.attrelid, c.attnum) = (conrelid, num) JOIN pg_attribute p ON (p.attrelid, p.attnum) = (confrelid, refers) WHERE c.attlen < p.attlen`).Scan(&n); err != nil {
		t.Error(err)
	}
	return n
}

// TestFamilyUndoRefused leaves the whole family as it is where a key has a value that it could not have before.
func TestFamilyUndoRefused(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	c := takesAlong(t, db, changeling.Config{Fast: true})
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, fmt.Sprintf(`INSERT INTO customers (id, name) VALUES (%d, 'wide')`, 1<<40), fmt.Sprintf(`INSERT INTO orders VALUES (%d, 1)`, 1<<40),
		fmt.Sprintf(`INSERT INTO items (customer, no) VALUES (%d, 1)`, 1<<40))
	was := household(t, db)
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) {
		t.Fatalf("an undo with a key that does not fit: %v", err)
	}
	sameAs(t, household(t, db), was, "after an undo that was refused")
	stands(t, c, "done", "open")
}

// TestFamilyAgain finds that a family is done, and what came to it since.
func TestFamilyAgain(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	config := changeling.Config{Fast: true, WithChildren: true, DropAfter: changeling.DropNow}
	apply := func() {
		t.Helper()
		if err := changeling.Apply(t.Context(), db, widenKey, config); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM changeling.change`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	apply()
	if n := count(); n != 4 {
		t.Errorf("%d changes, want one for each of 4 tables", n)
	}
	apply()
	if n := count(); n != 4 {
		t.Errorf("%d changes after the same command again, want 4", n)
	}
	pgtest.Exec(t, db, `CREATE TABLE late (customer int PRIMARY KEY REFERENCES customers)`)
	apply()
	var typ string
	if err := db.QueryRowContext(t.Context(), `SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'late'::regclass AND attname = 'customer'`).Scan(&typ); err != nil || typ != "bigint" {
		t.Errorf("a child that came later is %s (%v)", typ, err)
	}
}

// TestFamilyGrows takes along what came to refer to the key while others were changed.
func TestFamilyGrows(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	sink := upon(event.Lines(t.Output()), func(e event.Event) bool { p, ok := e.(event.Planned); return ok && p.Table == "public.parcels" }, func() {
		pgtest.Exec(t, db, `CREATE TABLE late (customer int PRIMARY KEY REFERENCES customers)`, `INSERT INTO late VALUES (7)`)
	})
	c := takesAlong(t, db, changeling.Config{Fast: true, Events: sink})
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := keysAbove(t, db); n > 0 {
		t.Errorf("%d columns refer to one of a wider type", n)
	}
	s, err := c.Status(t.Context())
	if err != nil || len(s.Members) != 4 || s.Members[3].Table != "public.late" || s.Members[3].Status != "done" {
		t.Errorf("the family is %+v (%v)", s.Members, err)
	}
}

// TestFamilyAborted takes back the tables that were changed already, when somebody aborts in the middle.
func TestFamilyAborted(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"public.items", "public.orders", "public.customers"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			_, before := family(t)
			_, db := family(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			opened := 0 // the family's own table comes up at the beginning, too
			sink := upon(event.Lines(t.Output()), func(e event.Event) bool {
				p, ok := e.(event.Planned)
				if ok && p.Table == at {
					opened++
				}
				return opened == 2 || opened == 1 && at != "public.customers"
			}, stop)
			c := takesAlong(t, db, changeling.Config{Fast: true, Events: sink})
			if err := c.Run(ctx); !errors.Is(err, changeling.ErrStopped) {
				t.Fatalf("stopped at %s: %v", at, err)
			}
			if err := c.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			stands(t, c, "aborted", "")
			sameAs(t, household(t, db), household(t, before), "after the abort")
			if err := c.Abort(t.Context()); err != nil {
				t.Errorf("aborted twice: %v", err)
			}
		})
	}
}

// TestFamilyRefused names what stands in the way before anything is touched.
func TestFamilyRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ddl string
		more      []string
		says      string
	}{
		{"an expression that is another one for a wider column", `ALTER TABLE customers ALTER COLUMN id TYPE bigint USING id + 1`, nil, "could make another value of it"},
		{"an expression that never comes to the same", `ALTER TABLE customers ALTER COLUMN id TYPE uuid USING gen_random_uuid()`, []string{`ALTER TABLE others ALTER customer TYPE int`}, "from the key alone and always alike"},
		{"an expression over another column", `ALTER TABLE customers ALTER COLUMN id TYPE text USING id || name`, []string{`ALTER TABLE others ALTER customer TYPE int`}, "from the key alone and always alike"},
		{"a view of a child", widenKey, []string{`CREATE VIEW busy AS SELECT customer FROM orders`}, "an empty twin of public.orders"},
		{"no such column", `ALTER TABLE customers ALTER COLUMN nothing TYPE bigint`, nil, "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, db := family(t, c.more...)
			was := household(t, db)
			err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{WithChildren: true})
			if !errors.Is(err, changeling.ErrRefused) && !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
			sameAs(t, household(t, db), was, "after a refusal")
		})
	}
}

// TestFamilyHeld holds each table's cutover, and what is said to the family is said to the table at hand.
func TestFamilyHeld(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	var holds atomic.Int64
	said := make(chan struct{}, 16)
	var c *changeling.Change
	sink := upon(func(e event.Event) {
		if holding(e) {
			holds.Add(1)
			said <- struct{}{}
		}
	}, func(e event.Event) bool { p, ok := e.(event.Planned); return ok && p.Table == "public.items" }, func() {
		if err := c.Hold(t.Context()); err != nil { // the first table's change is under way
			t.Error(err)
		}
	})
	c = takesAlong(t, db, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: sink})
	if err := c.Set(t.Context(), "max-lag", "10s"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	for {
		select {
		case <-said:
			if err := c.Set(t.Context(), "max-lag", "11s"); err != nil {
				t.Error(err)
			}
			if err := c.Cutover(t.Context()); err != nil {
				t.Error(err)
			}
			continue
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the family does not end")
		}
		break
	}
	if n := holds.Load(); n != 4 {
		t.Errorf("%d cutovers were held, want 4", n)
	}
	var set int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM changeling.change WHERE settings LIKE '%11s%'`).Scan(&set); err != nil || set != 4 {
		t.Errorf("%d changes are throttled as was said to the family, want 4 (%v)", set, err)
	}
}

// TestFamilyUnderWriters changes a family under writers to all of its tables, who fail never, and each of whose rows is there in the end. A run
// is stopped now and then.
func TestFamilyUnderWriters(t *testing.T) {
	t.Parallel()
	dsn, db := family(t, familyLedger...)
	stop := familyUsers(t, pgtest.Open(t, dsn))
	random := rand.New(rand.NewPCG(seed(t), 99))
	stopped(t, random, 4, func(ctx context.Context) error {
		return changeling.Apply(ctx, db, widenKey, changeling.Config{WithChildren: true, Events: event.Lines(t.Output())})
	})
	stop()
	familyEqual(t, db, "bigint")
}

// familyLedger is what users of the relatives write besides, and what it says at the beginning.
var familyLedger = []string{
	`CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY, customer bigint PRIMARY KEY, orders int NOT NULL, items int NOT NULL)`,
	`INSERT INTO ledger (customer, orders, items) SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer = c.id), (SELECT count(*) FROM items i WHERE i.customer = c.id) FROM customers c`,
}

// stopped does something that goes on where it was, and stops it a few times.
func stopped(t *testing.T, random *rand.Rand, times int, do func(ctx context.Context) error) {
	t.Helper()
	for stops := 0; ; stops++ {
		part, cancel := context.WithTimeout(t.Context(), time.Second+time.Duration(random.IntN(2000))*time.Millisecond)
		if stops == times {
			part = t.Context()
		}
		err := do(part)
		cancel()
		if err == nil {
			return
		}
		if stops == times || !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("after %d stops: %v", stops, err)
		}
	}
}

// familyUsers write to the relatives until they are stopped. None of them may fail.
func familyUsers(t *testing.T, users *sql.DB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var failed, written atomic.Int64
	var first atomic.Value
	var all sync.WaitGroup
	start := seed(t)
	for n := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(start, uint64(n)))
			for ctx.Err() == nil {
				if err := writeFamily(users, random, n); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, err.Error())
					continue
				}
				written.Add(1)
				time.Sleep(5 * time.Millisecond) // whose tables are always locked by somebody is hard to swap
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		all.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d transactions of users failed, the first with: %v", failed.Load(), first.Load())
		}
		t.Logf("%d transactions", written.Load())
	})
}

// familyEqual holds the relatives against the ledger, and their key against a type.
func familyEqual(t *testing.T, db *sql.DB, typ string) {
	t.Helper()
	for name, query := range map[string]string{
		"customers": `SELECT count(*) FROM ledger l FULL JOIN customers c ON c.id = l.customer WHERE c.id IS NULL OR l.customer IS NULL`,
		"orders":    `SELECT count(*) FROM ledger l LEFT JOIN (SELECT customer, count(*) n FROM orders GROUP BY 1) o USING (customer) WHERE coalesce(o.n, 0) <> l.orders`,
		"items":     `SELECT count(*) FROM ledger l LEFT JOIN (SELECT customer, count(*) n FROM items GROUP BY 1) i USING (customer) WHERE coalesce(i.n, 0) <> l.items`,
		"orphans":   `SELECT count(*) FROM items i LEFT JOIN orders o USING (customer, no) WHERE o.no IS NULL AND i.customer IS NOT NULL`,
		"types":     `SELECT count(*) FROM pg_attribute WHERE (attrelid, attname) IN (('customers'::regclass, 'id'), ('customers'::regclass, 'boss'), ('orders'::regclass, 'customer'), ('items'::regclass, 'customer'), ('parcels'::regclass, 'customer')) AND atttypid <> '` + typ + `'::regtype`,
	} {
		var wrong int
		if err := db.QueryRowContext(t.Context(), query).Scan(&wrong); err != nil || wrong > 0 {
			t.Errorf("%s: %d wrong (%v)", name, wrong, err)
		}
	}
}

// writeFamily is a transaction of a user: a customer with an order and an item, one more item, or all of a customer gone, and the ledger. Each
// user has customers of his own, so that no two wait for each other in turn.
func writeFamily(db *sql.DB, random *rand.Rand, user int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // what is not committed is undone
	var own int64
	if err := tx.QueryRow(`SELECT coalesce((SELECT customer FROM ledger WHERE customer > 300 AND customer % 4 = $1 AND orders > 0 ORDER BY random() LIMIT 1), 0)`, user).Scan(&own); err != nil {
		return err
	}
	statements := []string{
		`UPDATE ledger SET items = items + 1 WHERE customer = $1`,
		`INSERT INTO items (customer, no) VALUES ($1, 1)`,
	}
	switch {
	case own == 0 || random.IntN(3) == 0:
		if err := tx.QueryRow(`SELECT n FROM (SELECT nextval('customers_id_seq') AS n FROM generate_series(1, 64)) s WHERE n % 4 = $1 LIMIT 1`, user).Scan(&own); err != nil {
			return err
		}
		statements = []string{
			`INSERT INTO ledger (customer, orders, items) VALUES ($1, 1, 1)`,
			`INSERT INTO customers (id, boss, name) VALUES ($1, $1, 'new')`,
			`INSERT INTO orders VALUES ($1, 1, 'new')`,
			`INSERT INTO items (customer, no) VALUES ($1, 1)`,
		}
	case random.IntN(3) == 0: // there and back, with what refers to it
		statements = []string{
			`UPDATE orders SET no = 7 WHERE customer = $1 AND no = 1`,
			`INSERT INTO items (customer, no) VALUES ($1, 7)`,
			`UPDATE ledger SET items = items + 1 WHERE customer = $1`,
			`UPDATE orders SET no = 1 WHERE customer = $1 AND no = 7`,
		}
	case random.IntN(3) == 0:
		statements = []string{
			`UPDATE ledger SET orders = 0, items = 0 WHERE customer = $1`,
			`DELETE FROM items WHERE customer = $1`,
			`DELETE FROM orders WHERE customer = $1`,
		}
	}
	for _, s := range statements {
		if _, err := tx.Exec(s, own); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return tx.Commit()
}

// TestFamilySmallPool says how many connections a family needs, before it waits for one for ever.
func TestFamilySmallPool(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	db.SetMaxOpenConns(8)
	err := changeling.Apply(t.Context(), db, widenKey, changeling.Config{WithChildren: true})
	if !errors.Is(err, changeling.ErrUsage) || !strings.Contains(err.Error(), "a family needs") {
		t.Errorf("with 8 connections: %v", err)
	}
	db.SetMaxOpenConns(0)
	if err := changeling.Apply(t.Context(), db, widenKey, changeling.Config{WithChildren: true, Fast: true}); err != nil {
		t.Error(err)
	}
}

// TestFamilyMemberAborted: a table's own change that somebody aborts stops the family, which makes another one when it goes on.
func TestFamilyMemberAborted(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	config := changeling.Config{Fast: true, Hold: true, DropAfter: changeling.DropNow}
	var c *changeling.Change
	ready := make(chan struct{})
	config.Events = upon(event.Discard, holding, func() { close(ready) })
	c = takesAlong(t, db, config)
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Members[0].Status != "held" {
		t.Fatalf("the first table is %+v", s.Members[0])
	}
	e, err := changeling.Open(t.Context(), db, changeling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	member, err := e.Find(t.Context(), s.Members[0].Change)
	if err != nil {
		t.Fatal(err)
	}
	if err := member.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "public.items") {
		t.Errorf("the family ended with %v", err)
	}
	stands(t, c, "failed", "")
	pgtest.Exec(t, db, `UPDATE changeling.change SET hold = false`)
	if c, err = e.Find(t.Context(), c.ID()); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err = c.Status(t.Context()); err != nil || s.Status != "done" || s.Members[0].Status != "done" || s.Members[0].Change == member.ID() {
		t.Errorf("the family is %s, its first table %+v (%v)", s.Status, s.Members[0], err)
	}
}

// TestFamilyPaused: a pause of the family ends what its next table is at, and the table goes on after it.
func TestFamilyPaused(t *testing.T) {
	t.Parallel()
	_, db := family(t)
	story := &story{}
	var c *changeling.Change
	sink := upon(event.Tee(event.Lines(t.Output()), story.tell), func(e event.Event) bool { p, ok := e.(event.Planned); return ok && p.Table == "public.items" }, func() {
		if err := c.Pause(t.Context()); err != nil {
			t.Error(err)
		}
	})
	c = takesAlong(t, db, changeling.Config{Fast: true, Hold: true, DropAfter: changeling.DropNow, Events: sink}) // held: it cannot end before the pause
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := story.await(ctx, func(e event.Event) bool {
		n, ok := e.(event.Notice)
		return ok && strings.Contains(n.Text, "the pause stopped change public.items")
	}); err != nil {
		t.Fatalf("the pause stops nothing: %v", err)
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Status != "paused" || s.Members[0].Status == "done" {
		t.Errorf("the family is %s, its first table %+v (%v)", s.Status, s.Members[0], err)
	}
	pgtest.Exec(t, db, `UPDATE changeling.change SET hold = false`)
	if err := c.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := keysAbove(t, db); n > 0 {
		t.Errorf("%d columns refer to one of a wider type", n)
	}
	stands(t, c, "done", "")
}
