package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
)

// through is a connection string that goes by a proxy, and the proxy.
func through(t *testing.T, dsn string, c proxy.Cut) (string, *proxy.Proxy) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen(u.Host, c)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.Addr()
	return u.String(), p
}

// cuts are all cuts of a number of requests, or a seeded sample.
func cuts(random *rand.Rand, requests, sample int) []proxy.Cut {
	var all []proxy.Cut
	for n := 1; n <= requests; n++ {
		all = append(all, proxy.Cut{At: n, Moment: proxy.Before}, proxy.Cut{At: n, Moment: proxy.Behind}, proxy.Cut{At: n, Moment: proxy.After})
	}
	if !full() {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:min(len(all), sample)]
	}
	return all
}

// cutting is a change whose connections are cut: on any server.
type cutting struct {
	*testing.T
	dsn    string
	config func(dsn string) changeling.Config
	open   func(dsn string) *sql.DB
	ddl    string
	fresh  func()            // makes the table anew
	right  func(when string) // looks whether it is what a native ALTER leaves
}

// run changes the table by a proxy, and a second time without it where the first ended. It answers the code of the first.
func (c cutting) run(cut proxy.Cut) (code int, at string) {
	c.Helper()
	c.fresh()
	dsn, p := through(c.T, c.dsn, cut)
	db := c.open(dsn)
	ctx, cancel := context.WithTimeout(c.Context(), 5*time.Minute)
	defer cancel()
	err := changeling.Apply(ctx, db, c.ddl, c.config(dsn))
	if err := db.Close(); err != nil {
		c.Error(err)
	}
	if err := p.Close(); err != nil {
		c.Error(err)
	}
	text, done := p.Done()
	at = fmt.Sprintf("cut %s request %d: %s", cut.Moment, cut.At, text)
	if cut.At > 0 && !done {
		at = fmt.Sprintf("no cut: request %d was not reached", cut.At)
	}
	code = changeling.Code(err)
	switch code {
	case 0:
	case 75, 11, 4: // run again; look first; nothing was reached yet
		second := c.open(c.dsn)
		if err := changeling.Apply(c.Context(), second, c.ddl, c.config(c.dsn)); err != nil {
			c.Errorf("%s: the second run: %v", at, err)
		}
		if err := second.Close(); err != nil {
			c.Error(err)
		}
	default:
		c.Errorf("%s: the change ended with code %d: %v", at, code, err)
		return code, at
	}
	c.right(at)
	return code, at
}

// all runs a change once to count its requests, and then with a cut at each, or at a sample of them.
func (c cutting) all(sample int, random *rand.Rand) {
	c.Helper()
	c.fresh()
	dsn, p := through(c.T, c.dsn, proxy.Cut{})
	db := c.open(dsn)
	if err := errors.Join(changeling.Apply(c.Context(), db, c.ddl, c.config(dsn)), db.Close()); err != nil {
		c.Fatal(err)
	}
	if err := p.Close(); err != nil {
		c.Error(err)
	}
	c.right("with no cut")
	codes := map[int]int{}
	var longest time.Duration
	var where string
	list := cuts(random, p.Count(), sample)
	for _, cut := range list {
		began := time.Now()
		code, at := c.run(cut)
		codes[code]++
		if took := time.Since(began); took > longest {
			longest, where = took, at
		}
		if c.Failed() {
			break
		}
	}
	c.Logf("%d requests, %d cuts, which ended with the codes %v; the longest took %s: %s", p.Count(), len(list), codes, longest.Round(time.Millisecond), where)
}

// TestCutAtEveryRequest cuts one connection of a change before a request, right behind it, and before its answer. The run
// lives, and has to find out what happened: nothing may happen twice, and nothing may be lost.
func TestCutAtEveryRequest(t *testing.T) {
	t.Parallel()
	want := natively(t)
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	c := cutting{T: t, dsn: dsn, ddl: grow,
		open:   func(dsn string) *sql.DB { return pgtest.Open(t, dsn) },
		config: func(string) changeling.Config { return quick },
		fresh: func() {
			raze(t, db)
			pgtest.Exec(t, db, victim...)
		},
		right: func(when string) {
			pgtest.Exec(t, db, between...)
			sameAs(t, portrait(t, db), want, when)
		},
	}
	c.all(15, rand.New(rand.NewPCG(seed(t), 41)))
}

// TestMySQLCutAtEveryRequest: the same where DDL commits by itself, and where keys come from the binary log.
func TestMySQLCutAtEveryRequest(t *testing.T) {
	t.Parallel()
	for _, capture := range []changeling.Capture{changeling.CaptureTriggers, changeling.CaptureBinlog} {
		t.Run(string(capture), func(t *testing.T) {
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				c := cutting{T: t, dsn: dsn, ddl: myGrow,
					open: func(dsn string) *sql.DB {
						db := mytest.Open(t, dsn)
						db.SetMaxOpenConns(20)
						return db
					},
					config: func(dsn string) changeling.Config {
						config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, Capture: capture}
						if capture == changeling.CaptureBinlog {
							config.Binlog = dsn
						}
						return config
					},
					fresh: func() {
						mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, twin`)
						for _, table := range []string{"orders", "twin"} {
							mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
							fillMy(t, db, table, 200)
						}
					},
					right: func(when string) {
						for _, s := range []string{`UPDATE %s SET amount = amount + 1000 WHERE id < 20`, `DELETE FROM %s WHERE id = 30`, `INSERT INTO %s (customer_id, email, amount) VALUES (1, 'new', 3)`} {
							mytest.Exec(t, db, fmt.Sprintf(s, "orders"), fmt.Sprintf(s, "twin"))
						}
						mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
						equalMy(t, db, "orders", "twin", when)
					},
				}
				c.all(8, rand.New(rand.NewPCG(seed(t), 43)))
			})
		})
	}
}

// TestMySQLCutBehindDDL: a statement goes on in the server although its client is gone. It must not be sent again before it
// has ended, nor its outcome be asked for.
func TestMySQLCutBehindDDL(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		behind := func(text string, mutate func(dsn string) *sql.DB) error {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 10000)
			by, p := through(t, dsn, proxy.Cut{At: 1, Moment: proxy.Behind, Text: text})
			pool := mutate(by)
			pool.SetMaxOpenConns(20)
			err := changeling.Apply(t.Context(), pool, myGrow, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers})
			if _, done := p.Done(); !done {
				t.Fatalf("%s was never sent", text)
			}
			if err := errors.Join(pool.Close(), p.Close()); err != nil {
				t.Error(err)
			}
			return err
		}
		for _, text := range []string{"ADD UNIQUE KEY", "RENAME TABLE"} {
			if err := behind(text, func(dsn string) *sql.DB { return mytest.Open(t, dsn) }); err != nil {
				t.Errorf("cut behind %s: %v", text, err)
			}
			if rows := myRows(t, db, "orders"); len(rows) != 10000 || !strings.Contains(myDefinition(t, db, "orders"), "`amount` bigint") {
				t.Errorf("cut behind %s: %d rows in\n%s", text, len(rows), myDefinition(t, db, "orders"))
			}
		}
		// The mutant does not wait for the connection that was lost, and builds an index that is being built.
		unheld := func(dsn string) *sql.DB {
			return mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if strings.HasPrefix(x.Text, "SELECT COALESCE(GET_LOCK") {
					return "SELECT 1"
				}
				return x.Text
			})
		}
		noticed := false
		for range 10 { // if the first build is over before the second begins, there is nothing to notice
			noticed = noticed || behind("ADD UNIQUE KEY", unheld) != nil
		}
		if !noticed {
			t.Error("the mutant lives: an index is built again while its first build goes on, and nobody notices")
		}
	})
}

// TestMySQLOutcomeUnknown: a statement of the user's commits by itself. Its connection is lost, somebody alters the table, and then
// nothing tells whether it happened: the change asks a person, and does what he says.
func TestMySQLOutcomeUnknown(t *testing.T) {
	t.Parallel()
	const add = `ALTER TABLE orders ADD COLUMN extra int NOT NULL DEFAULT 5`
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for moment, found := range map[proxy.Moment]changeling.Outcome{proxy.Before: changeling.Repeat, proxy.After: changeling.Happened} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			by, p := through(t, dsn, proxy.Cut{At: 2, Moment: moment, Text: mySchema(t, db) + "`.`orders` ADD COLUMN extra"}) // the first saves the plan
			pool := mytest.Open(t, by)
			pool.SetMaxOpenConns(20)
			ctx, cancel := context.WithCancel(t.Context())
			retried := func(e event.Event) bool { _, ok := e.(event.Retried); return ok }
			err := changeling.Apply(ctx, pool, add, changeling.Config{LockWait: 10 * time.Second, Events: upon(event.Lines(t.Output()), retried, cancel)})
			cancel()
			text, done := p.Done()
			if !errors.Is(err, changeling.ErrStopped) || !done {
				t.Fatalf("cut %s (%v, %s): %v, want ErrStopped", moment, done, text, err)
			}
			if err := errors.Join(pool.Close(), p.Close()); err != nil {
				t.Error(err)
			}
			mytest.Exec(t, db, `ALTER TABLE orders ADD COLUMN theirs int`)
			e, err := changeling.Open(t.Context(), db, changeling.Config{Events: event.Lines(t.Output())})
			if err != nil {
				t.Fatal(err)
			}
			c, err := e.Start(t.Context(), add)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // it stays so, however often it is run
				err = c.Run(t.Context())
				if changeling.Code(err) != 11 || !strings.Contains(err.Error(), "changeling resolve "+c.ID()) {
					t.Fatalf("cut %s: Run = %v (code %d), want code 11 and what to do", moment, err, changeling.Code(err))
				}
			}
			if err := c.Resolve(t.Context(), found); err != nil {
				t.Fatal(err)
			}
			if err := c.Run(t.Context()); err != nil {
				t.Fatalf("cut %s, resolved: %v", moment, err)
			}
			if text := myDefinition(t, db, "orders"); strings.Count(text, "`extra`") != 1 || !strings.Contains(text, "`theirs`") {
				t.Errorf("cut %s, resolved: the table is\n%s", moment, text)
			}
			if err := c.Resolve(t.Context(), found); !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("Resolve of what is known = %v, want ErrUsage", err)
			}
		}
	})
}
