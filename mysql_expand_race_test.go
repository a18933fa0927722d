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
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLExpandLedger: as TestExpandLedger, beside a user whose statement was prepared before.
func TestMySQLExpandLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		rename, modify := changeling.Expansion{Statement: `ALTER TABLE accounts RENAME COLUMN old TO new`}, changeling.Expansion{Statement: `ALTER TABLE accounts MODIFY old bigint NOT NULL DEFAULT 0`, As: "new"}
		for i, x := range []changeling.Expansion{rename, rename, modify, modify} {
			a := &accountants{T: t, db: db, merge: `ON DUPLICATE KEY UPDATE %[1]s = %[1]s + %[3]s`}
			mytest.Exec(t, db, `DROP TABLE IF EXISTS accounts, noted`, `CREATE TABLE accounts (id int PRIMARY KEY, old int NOT NULL DEFAULT 0, payload varchar(300), KEY (old))`, `CREATE TABLE noted (account int, amount int)`,
				`INSERT INTO accounts (id, payload) `+countMy(t, db, accountantsRows)+` i, REPEAT('x', 200) FROM n`)
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() {
				text, err := mytest.Open(t, dsn).PrepareContext(ctx, `UPDATE accounts SET payload = ? WHERE id = ?`)
				for n := 0; ctx.Err() == nil; n++ {
					if err == nil {
						_, err = text.ExecContext(ctx, fmt.Sprint("prepared ", n), 1+n%accountantsRows)
					}
					if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "(40001)") { // a deadlock with other users
						t.Errorf("a statement that was prepared before: %v", err)
						return
					}
					err = nil
				}
			})
			a.expandAs(x, i%2 > 0)
			if is := myDefinition(t, db, "accounts"); i == 2 && !strings.Contains(is, "`new` bigint") {
				t.Errorf("contracted, the table is %s", is)
			}
			cancel()
			group.Wait()
		}
	})
}

// What an expansion sends on MySQL and MariaDB.
var (
	myFills    = matching("^INSERT INTO .*FOR UPDATE SKIP LOCKED$")
	myThird    = matching("^INSERT INTO .*> CAST\\('20000'.*FOR UPDATE SKIP LOCKED$")
	myFilling  = matching("^UPDATE .* STRAIGHT_JOIN .* SET s.")
	myInserts  = matching("^CREATE TRIGGER .* BEFORE INSERT .*1054")
	myUpdates  = matching("^CREATE TRIGGER .* BEFORE UPDATE .*1054")
	myReleases = matching("^DROP TRIGGER IF EXISTS")
)

// expandSceneMy plays users while a change fills, while it is expanded, and when it is contracted, and says which rows are wrong then, and who
// failed.
func expandSceneMy(t *testing.T, dsn string, db *sql.DB, mutate func(string) string) (wrong []string, hits int) {
	t.Helper()
	mytest.Exec(t, db, `DROP TABLE IF EXISTS accounts, mirror`)
	for _, table := range []string{"accounts", "mirror"} {
		mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, amount int, payload varchar(20))`, `INSERT INTO `+table+` (id, amount) `+countMy(t, db, 8000)+` i * 10, i FROM n`)
	}
	mytest.Exec(t, db)
	var mu sync.Mutex
	both := func(statements ...string) { // of the engine's goroutines, too: nothing may end the test
		mu.Lock()
		defer mu.Unlock()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v", s, err))
			} else if _, err := db.ExecContext(t.Context(), strings.NewReplacer("accounts", "mirror", "total", "amount").Replace(s)); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s of the mirror: %v", s, err))
			}
		}
	}
	look := func(columns ...string) {
		for _, c := range columns {
			found := listed(t, db, fmt.Sprintf(`SELECT CONCAT('%[1]s of ', id) FROM (SELECT m.id FROM mirror m LEFT JOIN accounts a ON a.id = m.id WHERE a.id IS NULL OR NOT (a.%[1]s <=> m.amount) UNION SELECT id FROM accounts WHERE id NOT IN (SELECT id FROM mirror)) x ORDER BY id LIMIT 3`, c))
			wrong = append(wrong, found...)
		}
	}
	met, swapped := false, false
	var seen sync.Mutex
	pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		seen.Lock()
		during, behind := myThird(x.Text) && !met, swapped && myReleases(x.Text)
		met, swapped = met || during, swapped && !behind
		seen.Unlock() // the other worker may have locked what is written now
		if during {   // the first range is filled, or the second, and the last is not
			both(`UPDATE accounts SET id = -id WHERE id > 79950`, `UPDATE accounts SET id = id - 65001 WHERE id > 79900`, `UPDATE accounts SET amount = amount + 7 WHERE id % 70 = 0`,
				`INSERT INTO accounts VALUES (5, 1, 'new'), (79995, 2, 'new')`, `DELETE FROM accounts WHERE id = 79000`, `UPDATE accounts SET payload = 'p' WHERE id % 30 = 0`)
		}
		if behind {
			both(`UPDATE accounts SET total = -7 WHERE id = 50`, `INSERT INTO accounts (id, total) VALUES (7003, 5)`, `UPDATE accounts SET payload = 'n' WHERE id = 60`)
		}
		text := x.Text
		if mutate != nil {
			if text = mutate(text); text != x.Text {
				seen.Lock()
				hits++
				seen.Unlock()
			}
		}
		return text
	})
	e, err := changeling.Open(t.Context(), pool, quick)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: `ALTER TABLE accounts RENAME COLUMN amount TO total`})
	if err != nil {
		t.Fatal(err)
	}
	var told story
	config := quick
	config.Events = told.tell
	if e, err = changeling.Open(t.Context(), pool, config); err != nil {
		t.Fatal(err)
	}
	c, err := e.StartPlan(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Abort(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, changeling.ErrUsage) { // what a mutant has left
			wrong = append(wrong, err.Error())
		}
		if n := told.count(differed); n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d differences were repaired", n))
		}
	}()
	if err := c.Run(t.Context()); err != nil {
		return append(wrong, err.Error()), hits
	}
	look("amount", "total")
	both(`UPDATE accounts SET total = -total WHERE id % 110 = 0`, `INSERT INTO accounts (id, total, payload) VALUES (7001, 5, 'n')`, `INSERT INTO accounts (id, amount, payload) VALUES (7002, 6, 'n')`,
		`UPDATE accounts SET amount = amount + 1 WHERE id % 130 = 0`)
	look("amount", "total")
	if err := c.Contract(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.Lock()
	swapped = true
	seen.Unlock()
	if err := c.Run(t.Context()); err != nil {
		return append(wrong, err.Error()), hits
	}
	look("total")
	if !met {
		wrong = append(wrong, "nobody wrote while it was filled")
	}
	return wrong, hits
}

// TestMySQLExpandRaces plays the schedule whole, and with mutants that it must show.
func TestMySQLExpandRaces(t *testing.T) {
	t.Parallel()
	replace := func(match func(string) bool, old, by string) func(string) string {
		return func(text string) string {
			if match(text) {
				return strings.ReplaceAll(text, old, by)
			}
			return text
		}
	}
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, c := range []struct {
			name   string
			mutate func(string) string
		}{
			{"whole", nil},
			{"an INSERT by the new name is not looked at", replace(myInserts, "IF NEW.`total` IS NOT NULL THEN", "IF FALSE THEN")},
			{"an INSERT by the old name is not looked at", replace(myInserts, "ELSE SET NEW.`total` = NEW.`amount`;", "")},
			{"an UPDATE by the new name is not looked at", replace(myUpdates, "IF NOT (NEW.`total` <=> OLD.`total`) THEN", "IF FALSE THEN")},
			{"an UPDATE by the old name is not looked at", replace(myUpdates, "ELSEIF NOT (NEW.`amount` <=> OLD.`amount`) OR", "ELSEIF")},
			{"a row that moves is not filled", replace(myUpdates, " OR NOT (CAST(NEW.`id`", " OR FALSE AND NOT (CAST(NEW.`id`")},
			{"a column that is gone fails who writes", func(text string) string {
				if myInserts(text) || myUpdates(text) {
					return strings.ReplaceAll(text, "DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; ", "")
				}
				return text
			}},
		} {
			wrong, hits := expandSceneMy(t, dsn, db, c.mutate)
			if c.mutate == nil && len(wrong) > 0 {
				t.Errorf("wrong: %v", wrong)
			}
			if c.mutate != nil {
				t.Logf("%s: met %d statements, %v", c.name, hits, wrong)
			}
			if c.mutate != nil && (hits == 0 || len(wrong) == 0) {
				t.Errorf("%s: met %d statements, and lives", c.name, hits)
			}
		}
	})
}

// TestMySQLExpandNoDeadlock: who has locked a row in the middle of a range, and then wants one that the filling has gone past, waits for nobody and is not
// failed. The mutant waits for his row while it has locked the others.
func TestMySQLExpandNoDeadlock(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		for _, broken := range []bool{false, true} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS accounts`, `CREATE TABLE accounts (id int PRIMARY KEY, amount int)`, `INSERT INTO accounts `+countMy(t, db, 400)+` i, i FROM n`)
			user, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			filled := make(chan struct{})
			tell := sync.OnceFunc(func() { close(filled) })
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if broken && myFills(x.Text) {
					tell()
					return strings.ReplaceAll(x.Text, " SKIP LOCKED", "")
				}
				if myFilling(x.Text) {
					tell()
				}
				return x.Text
			})
			e, err := changeling.Open(t.Context(), pool, quick)
			if err != nil {
				t.Fatal(err)
			}
			_, p, err := e.Expand(t.Context(), changeling.Expansion{Statement: `ALTER TABLE accounts RENAME COLUMN amount TO total`})
			if err != nil {
				t.Fatal(err)
			}
			c, err := e.StartPlan(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			started := make(chan struct{})
			config := quick
			config.Events = upon(event.Discard, beganStep("backfill"), func() {
				mytest.Exec(t, user, `UPDATE accounts SET amount = amount + 1000 WHERE id = 200`) // the triggers are there
				close(started)
			})
			if e, err = changeling.Open(t.Context(), pool, config); err != nil {
				t.Fatal(err)
			}
			if c, err = e.Find(t.Context(), c.ID()); err != nil {
				t.Fatal(err)
			}
			go func() { done <- c.Run(t.Context()) }()
			<-started
			<-filled
			var told error
			if broken { // it is sent in a moment, and must have come to wait
				time.Sleep(300 * time.Millisecond)
			}
			began := time.Now()
			_, told = user.ExecContext(t.Context(), `UPDATE accounts SET amount = amount + 1000 WHERE id = 10`)
			if told == nil {
				told = user.Commit()
			} else {
				user.Rollback()
			}
			took := time.Since(began)
			if err := <-done; err != nil && !broken {
				t.Error(err)
			}
			if failed := told != nil || took > 500*time.Millisecond; failed != broken {
				t.Errorf("the user was told %v after %s; without SKIP LOCKED: %v", told, took, broken)
			}
			if !broken {
				if n := asked(t, db, `SELECT COUNT(*) FROM accounts WHERE total <=> amount AND total = id + IF(id IN (10, 200), 1000, 0)`); n != "400" {
					t.Errorf("%s rows of 400 are right", n)
				}
			}
			if err := c.Abort(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestMySQLExpandDies kills a run before and after each statement that it sends, from the expansion to the contraction, lets users write, and
// says the same again: it must leave what a native RENAME leaves.
func TestMySQLExpandDies(t *testing.T) {
	t.Parallel()
	expandDiesMy(t, changeling.Expansion{Statement: `ALTER TABLE orders RENAME COLUMN status TO state`}, "status", "state", []string{`UPDATE %s SET status = 'between' WHERE id < 20`,
		`INSERT INTO %s (customer_id, email, amount, status) VALUES (1, 'new', 3, 'x')`}, `ALTER TABLE twin RENAME COLUMN status TO state`)
}

// TestMySQLExpandTypesDies is TestMySQLExpandDies with two types.
func TestMySQLExpandTypesDies(t *testing.T) {
	t.Parallel()
	expandDiesMy(t, changeling.Expansion{Statement: `ALTER TABLE orders MODIFY customer_id bigint NOT NULL DEFAULT 5`, As: "customer"}, "customer_id", "customer", []string{`UPDATE %s SET customer_id = -id WHERE id < 20`},
		`ALTER TABLE twin MODIFY customer_id bigint NOT NULL DEFAULT 5`, `ALTER TABLE twin RENAME COLUMN customer_id TO customer`)
}

func expandDiesMy(t *testing.T, x changeling.Expansion, old, name string, writes []string, native ...string) {
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		config := changeling.Config{Lease: 3 * time.Second, Fast: true, DropAfter: changeling.DropNow}
		act := func(db *sql.DB) error {
			return expandAndContract(t.Context(), db, x, config)
		}
		begin := func() {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, twin`)
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
				fillMy(t, db, table, 200)
			}
		}
		between := func() {
			for _, s := range append(slices.Clone(writes), `DELETE FROM %s WHERE id = 30`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'newer', 3)`) {
				mytest.Exec(t, db, fmt.Sprintf(s, "twin"))
				if _, err := db.ExecContext(t.Context(), fmt.Sprintf(s, "orders")); err != nil { // or by the new name, if there is no other
					mytest.Exec(t, db, strings.Replace(fmt.Sprintf(s, "orders"), old, name, 1))
				}
			}
		}
		diesMy(t, dsn, db, 81, begin, act, between, func(at string) {
			mytest.Exec(t, db, native...)
			look := likeMy
			if x.As != "" {
				look = unordered
			}
			asNativelyMy(t, db, look, "orders", "twin", at)
		})
	})
}

// diesMy kills act before and after statements that it sends, some of them; then comes between, then act once more, which must not fail, and then.
func diesMy(t *testing.T, dsn string, db *sql.DB, salt uint64, begin func(), act func(db *sql.DB) error, between func(), then func(at string)) {
	t.Helper()
	begin()
	counted, counter := mytest.Dying(t, dsn, dying.Death{})
	if err := act(counted); err != nil {
		t.Fatal(err)
	}
	points := moments(rand.New(rand.NewPCG(seed(t), salt)), 1, counter.Count(), 14)
	for _, p := range points {
		begin()
		mortal, death := mytest.Dying(t, dsn, dying.Death{At: p.n, Moment: p.moment})
		first := act(mortal)
		text, died := death.Died()
		at := fmt.Sprintf("death %s statement %d: %.100s", p.moment, p.n, strings.Join(strings.Fields(text), " "))
		mortal.Close()
		between()
		if err := act(db); err != nil {
			t.Fatalf("%s (died %v, %v): the second run: %v", at, died, first, err)
		}
		then(at)
	}
	t.Logf("%d statements, %d deaths", counter.Count(), len(points))
}

func columnsMy(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	return listed(t, db, `SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '`+table+`' ORDER BY ordinal_position`)
}

// TestMySQLExpandAbortDies: whenever the abort of an expanded change dies, the next one leaves the table as it was, with what was written under
// the new name.
func TestMySQLExpandAbortDies(t *testing.T) {
	t.Parallel()
	expandAbortDiesMy(t, changeling.Expansion{Statement: `ALTER TABLE orders RENAME COLUMN status TO state`})
}

// TestMySQLExpandWaysAbortDies is TestMySQLExpandAbortDies with expressions.
func TestMySQLExpandWaysAbortDies(t *testing.T) {
	t.Parallel()
	expandAbortDiesMy(t, changeling.Expansion{Statement: `ALTER TABLE orders MODIFY status varchar(300) NOT NULL`, As: "state", Up: `CONCAT('is ', status)`, Down: `state`})
}

func expandAbortDiesMy(t *testing.T, x changeling.Expansion) {
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		db.SetMaxOpenConns(0)
		config := changeling.Config{Lease: 3 * time.Second, Fast: true, DropAfter: changeling.DropNow}
		abort := func(db *sql.DB, id string) error {
			e, err := changeling.Open(t.Context(), db, config)
			if err != nil {
				return err
			}
			c, err := e.Find(t.Context(), id)
			if err != nil {
				return err
			}
			return c.Abort(t.Context())
		}
		begin := func() string {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, twin`)
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
				fillMy(t, db, table, 200)
			}
			id := expandedTo(t, db, x).ID()
			mytest.Exec(t, db, `UPDATE orders SET state = 'by the new name' WHERE id < 20`, `UPDATE twin SET status = 'by the new name' WHERE id < 20`)
			return id
		}
		id := begin()
		counted, counter := mytest.Dying(t, dsn, dying.Death{})
		if err := abort(counted, id); err != nil {
			t.Fatal(err)
		}
		for _, p := range moments(rand.New(rand.NewPCG(seed(t), 82)), 1, counter.Count(), 8) {
			id := begin()
			mortal, death := mytest.Dying(t, dsn, dying.Death{At: p.n, Moment: p.moment})
			_ = abort(mortal, id)
			text, _ := death.Died()
			at := fmt.Sprintf("death %s statement %d: %.100s", p.moment, p.n, strings.Join(strings.Fields(text), " "))
			mortal.Close()
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `UPDATE `+table+` SET status = 'between' WHERE id BETWEEN 10 AND 25`, `INSERT INTO `+table+` (customer_id, email, amount) VALUES (1, 'new', 3)`)
			}
			if err := abort(db, id); err != nil {
				t.Errorf("%s: the second abort: %v", at, err)
			}
			asNativelyMy(t, db, likeMy, "orders", "twin", at)
		}
	})
}
