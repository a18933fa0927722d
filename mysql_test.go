package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/state"
)

const myOrders = `(
  id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id int NOT NULL, email varchar(100) NOT NULL,
  amount int NOT NULL, status varchar(20) NOT NULL DEFAULT 'new', created_at datetime(3) NOT NULL DEFAULT '2026-01-01 00:00:00', note text,
  UNIQUE KEY orders_email (email), KEY orders_customer (customer_id), KEY orders_created (created_at DESC, status))`

const myGrow = `ALTER TABLE orders MODIFY amount bigint NOT NULL DEFAULT 7 COMMENT 'in cents'`

// fillMy puts rows into a table.
func fillMy(t *testing.T, db *sql.DB, table string, rows int) {
	t.Helper()
	mytest.Exec(t, db, fmt.Sprintf(`INSERT INTO %s (customer_id, email, amount, note) %s i %% 100, CONCAT('user', i, '@example.org'), i, IF(i %% 7 = 0, NULL, REPEAT('n', i %% 200)) FROM n`,
		table, countMy(t, db, rows)))
}

// countMy begins a SELECT from n, which has the numbers from 1 on in its column i.
func countMy(t *testing.T, db *sql.DB, rows int) string {
	t.Helper()
	if isMaria(t, db) {
		return fmt.Sprintf(`WITH n (i) AS (SELECT CAST(seq AS SIGNED) FROM seq_1_to_%d) SELECT`, rows)
	}
	return fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000000) */`, rows)
}

func isMaria(t *testing.T, db *sql.DB) bool {
	t.Helper()
	var version string
	if err := db.QueryRowContext(t.Context(), `SELECT VERSION()`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(version, "MariaDB")
}

// myDefinition is a table in the server's own words, without its next AUTO_INCREMENT value.
func myDefinition(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	var name, text string
	if err := db.QueryRowContext(t.Context(), "SHOW CREATE TABLE "+table).Scan(&name, &text); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(regexp.MustCompile(` AUTO_INCREMENT=\d+`).ReplaceAllString(text, ""), "`"+table+"`", "`t`", 1)
}

func myRows(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	return listed(t, db, `SELECT CONCAT_WS('|', id, customer_id, email, amount, status, created_at, COALESCE(note, 'NULL')) FROM `+table+` ORDER BY id`)
}

// equalMy fails where the table and another one, which was altered natively and written to alike, differ.
func equalMy(t *testing.T, db *sql.DB, table, twin, when string) {
	t.Helper()
	if got, want := myDefinition(t, db, table), myDefinition(t, db, twin); got != want {
		t.Errorf("%s: the table is\n%s\nafter a native ALTER it is\n%s", when, got, want)
	}
	got, want := myRows(t, db, table), myRows(t, db, twin)
	if !slices.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Errorf("%s: %d rows, want %d; the first that differ: %q and %q", when, len(got), len(want), append(got, "none")[n], append(want, "none")[n])
	}
}

// ask is the one value that a query answers.
func ask[T any](t *testing.T, db *sql.DB, query string) (v T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// listed is the first column of what a query answers.
func listed(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	out, err := state.Column(t.Context(), db, query)
	if err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	return out
}

// myTraces are the databases and tables that a change leaves.
func myTraces(t *testing.T, db *sql.DB, id string) []string {
	t.Helper()
	return listed(t, db, `SELECT CONCAT(schema_name) FROM information_schema.schemata WHERE schema_name LIKE '%`+id+`%'
UNION ALL SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_name LIKE '%`+id+`%' OR table_schema LIKE '%`+id+`%'
UNION ALL SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers WHERE trigger_name LIKE '%`+id+`%'`)
}

func eachMy(t *testing.T, test func(t *testing.T, dsn string, db *sql.DB), only ...string) {
	mytest.Each(t, func(t *testing.T, version string) {
		dsn := mytest.Database(t, version)
		db := mytest.Open(t, dsn)
		db.SetMaxOpenConns(30)
		test(t, dsn, db)
	}, only...)
}

// onlyMySQL is eachMy for what is refused on MariaDB, see TestMariaDBRefuses, and onlyMaria for what there is only there.
func onlyMySQL(t *testing.T, test func(t *testing.T, dsn string, db *sql.DB)) {
	eachMy(t, test, "mysql")
}
func onlyMaria(t *testing.T, test func(t *testing.T, dsn string, db *sql.DB)) {
	eachMy(t, test, "mariadb")
}

func TestMySQLChange(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 3000)
		}
		mytest.Exec(t, db, `INSERT INTO orders (customer_id, email, amount) VALUES (1, 'gone', 1)`, `DELETE FROM orders WHERE email = 'gone'`)
		mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
		var told story
		if err := changeling.Apply(t.Context(), db, myGrow, changeling.Config{Events: event.Tee(told.tell, event.Lines(t.Output()))}); err != nil {
			t.Fatal(err)
		}
		equalMy(t, db, "orders", "twin", "after the change")
		var id int64
		mytest.Exec(t, db, `INSERT INTO orders (customer_id, email, amount) VALUES (1, 'next', 1)`)
		if err := db.QueryRow(`SELECT id FROM orders WHERE email = 'next'`).Scan(&id); err != nil || id <= 3001 {
			t.Errorf("the next id is %d (%v), want one that was never given out", id, err)
		}
		mytest.Exec(t, db, `DELETE FROM orders WHERE email = 'next'`)
		// Again is nothing to do; the old table goes when it is asked to.
		if err := changeling.Apply(t.Context(), db, myGrow, changeling.Config{}); err != nil {
			t.Fatal(err)
		}
		e, err := changeling.Open(t.Context(), db, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := e.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if !strings.HasPrefix(s.Table, mySchema(t, db)+".") {
				continue
			}
			c, err := e.Find(t.Context(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped || s.Status != "done" {
				t.Errorf("change %s is %s; Cleanup = %v, %v", s.ID, s.Status, dropped, err)
			}
			if left := myTraces(t, db, s.ID); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			return
		}
		t.Error("no change is listed")
	})
}

func mySchema(t *testing.T, db *sql.DB) (name string) {
	t.Helper()
	if err := db.QueryRow(`SELECT DATABASE()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestMySQLLedger: users write to the table and, in the same transactions, to a mirror of it.
func TestMySQLLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		rounds := 1
		if full() {
			rounds = 20
		}
		for round := range rounds {
			l := newMyLedger(t, db, round)
			err := l.change(db, round%2 == 0)
			if err != nil {
				t.Fatal(err)
			}
			equalMy(t, db, "orders", "mirror", fmt.Sprintf("round %d, after %d writes", round, l.acknowledged.Load()))
			t.Logf("round %d: %d writes acknowledged", round, l.acknowledged.Load())
		}
	})
}

// TestMySQLMutants: what the ledger finds if a part of the protocol is missing. A mutant may die of the engine's own
// comparison as well.
func TestMySQLMutants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, match, instead string }{
		{"inserted rows are not logged", `^CREATE TRIGGER .* AFTER INSERT ON (\S+) .*`, ""},
		{"no lock", `^LOCK TABLES `, "DO 0"},
		{"no drain under the lock", `^SELECT \(SELECT COUNT\(\*\) FROM \(SELECT 1 FROM .* LIMIT 100000\) x\), `, "SELECT 0, FALSE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				re := regexp.MustCompile(`(?s)` + c.match)
				var hits atomic.Int64
				mutated := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					if !re.MatchString(x.Text) {
						return x.Text
					}
					hits.Add(1)
					if c.instead == "" {
						return regexp.MustCompile(`FOR EACH ROW .*`).ReplaceAllString(x.Text, "FOR EACH ROW DO 0")
					}
					return c.instead
				})
				mutated.SetMaxOpenConns(20)
				for round := range 20 {
					l := newMyLedger(t, db, round)
					l.attempts = 4
					err := l.change(mutated, true)
					if hits.Load() == 0 {
						t.Fatal("the statement was never sent: the mutant is none")
					}
					if err != nil || !slices.Equal(myRows(t, db, "orders"), myRows(t, db, "mirror")) {
						t.Logf("caught in round %d (%v)", round, err)
						return
					}
				}
				t.Error("the mutant lives")
			})
		})
	}
}

// myLedger is a table and its mirror, with eight users.
type myLedger struct {
	*testing.T
	db           *sql.DB // of the users
	round        int
	binlog       string // where the binary log is read; empty: triggers
	sink         event.Sink
	attempts     int // of the cutover; zero: as many as usual
	acknowledged atomic.Int64
}

func newMyLedger(t *testing.T, db *sql.DB, round int) *myLedger {
	t.Helper()
	mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, mirror`)
	for _, table := range []string{"orders", "mirror"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
		fillMy(t, db, table, 10000)
	}
	return &myLedger{T: t, db: db, round: round, sink: event.Discard}
}

// change alters the table under its users, and the mirror after they have ended.
func (l *myLedger) change(pool *sql.DB, fast bool) error {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 5*time.Minute)
	defer cancel()
	stop := l.write(ctx)
	err := changeling.Apply(ctx, pool, myGrow, changeling.Config{Fast: fast, DropAfter: changeling.DropNow, Binlog: l.binlog, CutoverAttempts: l.attempts, Events: event.Tee(l.sink, event.Lines(l.Output()))})
	time.Sleep(200 * time.Millisecond)
	stop()
	if err == nil {
		mytest.Exec(l, l.db, strings.Replace(myGrow, "orders", "mirror", 1))
	}
	return err
}

// write begins the users' writes, until stop is called.
func (l *myLedger) write(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	seed := seed(l.T)
	for writer := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(l.round*8+writer)))
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if err := myWrite(ctx, l.db, random, writer, n); err == nil {
					l.acknowledged.Add(1)
				} else if text := err.Error(); ctx.Err() == nil && !strings.Contains(text, "1213") && !strings.Contains(text, "1062") {
					l.Errorf("a user's write failed: %v", err)
					return
				}
			}
		})
	}
	return func() {
		close(done)
		wg.Wait()
	}
}

// myWrite is one transaction of a user: the same statements on the table and on its mirror. Each writer has rows of his own,
// so two of them never meet.
func myWrite(ctx context.Context, db *sql.DB, random *rand.Rand, writer, n int) error {
	own := func() int { return 8*random.IntN(1250) + writer + 1 }
	a, b := own(), own()
	fresh := fmt.Sprintf("w%d-%d", writer, n)
	var texts []string
	switch random.IntN(8) {
	case 0:
		texts = []string{fmt.Sprintf(`INSERT INTO %%s (id, customer_id, email, amount) VALUES (%d, %d, '%s', %d)`, 20000+8*n+writer, writer, fresh, n)}
	case 1:
		texts = []string{fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, a)}
	case 2: // the key changes
		texts = []string{fmt.Sprintf(`UPDATE %%s SET id = %d WHERE id = %d`, 1000000+8*n+writer, a)}
	case 3: // a unique value changes hands
		texts = []string{fmt.Sprintf(`UPDATE %%s SET email = '%s' WHERE id = %d`, fresh, a), fmt.Sprintf(`UPDATE %%s SET email = 'user%d@example.org' WHERE id = %d AND NOT EXISTS (SELECT 1 FROM (SELECT email FROM %%s) x WHERE x.email = 'user%d@example.org')`, a, b, a)}
		texts = texts[:1]
	case 4: // deleted and inserted again
		texts = []string{fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, a), fmt.Sprintf(`INSERT INTO %%s (id, customer_id, email, amount) VALUES (%d, 1, '%s', 5)`, a, fresh)}
	case 5:
		texts = []string{fmt.Sprintf(`REPLACE INTO %%s (id, customer_id, email, amount) VALUES (%d, 2, '%s', 6)`, a, fresh)}
	case 6:
		texts = []string{fmt.Sprintf(`INSERT INTO %%s (id, customer_id, email, amount) VALUES (%d, 3, '%s', 7) ON DUPLICATE KEY UPDATE amount = amount + 1`, a, fresh)}
	default:
		texts = []string{fmt.Sprintf(`UPDATE %%s SET amount = amount + 1, note = NULL WHERE id IN (%d, %d)`, a, b)}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, text := range texts {
		for _, table := range []string{"orders", "mirror"} {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf(text, table)); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
	}
	return tx.Commit()
}

// TestMySQLDies kills the connections of a change before or after the n-th statement, and runs it again.
func TestMySQLDies(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		dieMy(t, dsn, db, changeling.Config{DropAfter: changeling.DropNow, Lease: 3 * time.Second, Fast: true})
	})
}

// dieMy makes a change die at a sample of its statements.
func dieMy(t *testing.T, dsn string, db *sql.DB, config changeling.Config) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed(t), 77))
	between := []string{`UPDATE %s SET amount = amount + 1000 WHERE id < 20`, `DELETE FROM %s WHERE id = 30`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'new', 3)`, `UPDATE %s SET email = 'moved' WHERE id = 40`}
	for _, table := range []string{"orders", "twin"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
		fillMy(t, db, table, 200)
	}
	// How many statements a change has.
	counted, counter := mytest.Dying(t, dsn, dying.Death{})
	counted.SetMaxOpenConns(20)
	if err := changeling.Apply(t.Context(), counted, myGrow, config); err != nil {
		t.Fatal(err)
	}
	total := counter.Count()
	points := moments(random, 1, total, total/6)
	for _, c := range points {
		mytest.Exec(t, db, `DROP TABLE orders, twin`)
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 200)
		}
		mortal, death := mytest.Dying(t, dsn, dying.Death{At: c.n, Moment: c.moment})
		mortal.SetMaxOpenConns(20)
		first := changeling.Apply(t.Context(), mortal, myGrow, config)
		text, died := death.Died()
		at := fmt.Sprintf("death %s statement %d: %.100s", c.moment, c.n, strings.Join(strings.Fields(text), " "))
		mortal.Close()
		for _, table := range []string{"orders", "twin"} {
			for _, s := range between {
				mytest.Exec(t, db, fmt.Sprintf(s, table))
			}
		}
		mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatalf("%s (died %v, %v): the second run: %v", at, died, first, err)
		}
		equalMy(t, db, "orders", "twin", at)
	}
	t.Logf("%d statements, %d deaths", total, len(points))
}

// TestMySQLTruncated: TRUNCATE fires no trigger, and is seen all the same.
func TestMySQLTruncated(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 2000)
		var once sync.Once
		var told story
		config := changeling.Config{Events: upon(event.Tee(told.tell, event.Lines(t.Output())), began("cutover"), func() { // all rows are compared by then
			once.Do(func() {
				mytest.Exec(t, db, `TRUNCATE TABLE orders`, `INSERT INTO orders (id, customer_id, email, amount) VALUES (5, 1, 'after', 9)`)
			})
		})}
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		if got := myRows(t, db, "orders"); len(got) != 1 {
			t.Errorf("%d rows after a TRUNCATE and an INSERT, want 1", len(got))
		}
	})
}

// TestMySQLAbort: an abort leaves nothing behind.
func TestMySQLAbort(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 500)
		before, rows := myDefinition(t, db, "orders"), myRows(t, db, "orders")
		var told story
		e, err := changeling.Open(t.Context(), db, changeling.Config{Hold: true, Events: told.tell})
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.Start(t.Context(), myGrow)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := told.await(ctx, holding); err != nil {
			t.Fatal(err)
		}
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, changeling.ErrAborted) {
			t.Errorf("Run = %v, want ErrAborted", err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		if myDefinition(t, db, "orders") != before || !slices.Equal(myRows(t, db, "orders"), rows) {
			t.Error("the table is not what it was")
		}
	})
}

// TestMySQLSwappedUnsaid: the tables are swapped, and the run ends before it could save that. The next one finds out.
func TestMySQLSwappedUnsaid(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 100)
		var swapped atomic.Bool
		mute := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "RENAME TABLE") {
				swapped.Store(true)
			}
			if swapped.Load() && strings.HasPrefix(x.Text, "UPDATE changeling.chg SET step") {
				return "SIGNAL SQLSTATE '45000'"
			}
			return x.Text
		})
		mute.SetMaxOpenConns(20)
		if err := changeling.Apply(t.Context(), mute, myGrow, changeling.Config{}); err == nil || !swapped.Load() {
			t.Fatalf("Apply = %v, swapped %v", err, swapped.Load())
		}
		mytest.Exec(t, db, `UPDATE orders SET amount = 3000000000 WHERE id = 7`) // the new table takes it
		if err := changeling.Apply(t.Context(), db, myGrow, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
			t.Fatal(err)
		}
		if rows := myRows(t, db, "orders"); len(rows) != 100 || !strings.Contains(rows[6], "|3000000000|") {
			t.Errorf("%d rows, the seventh is %s", len(rows), rows[6])
		}
	})
}
