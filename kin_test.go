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

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// kinKeys are the foreign keys of the relatives that a person would have to take off, and put back, to do by himself what a family does that swaps
// together.
var kinKeys = [][3]string{
	{"orders", "orders_customer_fkey", "FOREIGN KEY (customer) REFERENCES customers ON DELETE CASCADE"},
	{"items", "items_of", "FOREIGN KEY (customer, no) REFERENCES orders (customer, no) ON UPDATE CASCADE"},
	{"parcels", "parcels_customer_fkey", "FOREIGN KEY (customer) REFERENCES customers"},
	{"parcels", "parcels_of_customer_of_no_fkey", "FOREIGN KEY (of_customer, of_no) REFERENCES orders (customer, no) DEFERRABLE INITIALLY DEFERRED"},
	{"others", "others_customer_fkey", "FOREIGN KEY (customer) REFERENCES customers"},
}

// kinNatively is what the server itself is told to give the relatives a type. using has a %s for the column.
func kinNatively(more, typ, using string) (out []string) {
	for _, k := range kinKeys {
		out = append(out, "ALTER TABLE "+k[0]+" DROP CONSTRAINT "+k[1])
	}
	alter := func(table string, columns ...string) string {
		var list []string
		for _, c := range columns {
			text := "ALTER COLUMN " + c + " TYPE " + typ
			if using != "" {
				text += " USING " + fmt.Sprintf(using, c)
			}
			list = append(list, text)
		}
		return "ALTER TABLE " + table + " " + strings.Join(list, ", ")
	}
	out = append(out, alter("items", "customer"), alter("parcels", "customer", "of_customer"), alter("orders", "customer"), alter("others", "customer"), alter("customers", "id", "boss")+more)
	for _, k := range kinKeys {
		out = append(out, "ALTER TABLE "+k[0]+" ADD CONSTRAINT "+k[1]+" "+k[2])
	}
	return out
}

// TestKin leaves what native ALTERs of all tables leave, and an undo what was before.
func TestKin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ddl string
		more      []string // of the setup
		native    []string
		undo      string // as the status has it
	}{
		{"text", `ALTER TABLE customers ALTER COLUMN id TYPE text`, nil, kinNatively("", "text", ""), "open"},
		{"numeric", `ALTER TABLE customers ALTER COLUMN id TYPE numeric`, nil, kinNatively("", "numeric", ""), "open"},
		{"uuid", `ALTER TABLE customers ALTER id DROP DEFAULT, ALTER COLUMN id TYPE uuid USING md5(customers.id::text)::uuid, ALTER id SET DEFAULT gen_random_uuid()`, []string{`ALTER TABLE others ALTER customer TYPE int`},
			kinNatively(", ALTER id SET DEFAULT gen_random_uuid()", "uuid", "md5(%s::text)::uuid"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, before := family(t, c.more...)
			if c.name == "uuid" {
				c.native = slices.Insert(c.native, 0, `ALTER TABLE customers ALTER id DROP DEFAULT`)
			}
			_, natively := family(t, append(slices.Clone(c.more), c.native...)...)
			_, db := family(t, c.more...)
			change := begun(t, db, changeling.Config{Fast: true, Events: event.Lines(t.Output())}, c.ddl)
			if err := change.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			sameAs(t, household(t, db), household(t, natively), "after a family's change")
			stands(t, change, "done", c.undo)
			if c.undo == "" {
				return
			}
			if err := change.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Fatal(err)
			}
			stands(t, change, "undone", "")
			sameAs(t, household(t, db), household(t, before), "after the undo")
		})
	}
}

// TestKinAborted takes all tables back where the family holds, and none of them alone.
func TestKinAborted(t *testing.T) {
	t.Parallel()
	_, before := family(t)
	_, db := family(t)
	held := make(chan struct{})
	c := begun(t, db, changeling.Config{Fast: true, Hold: true, Events: upon(event.Lines(t.Output()), holding, func() { close(held) })}, `ALTER TABLE customers ALTER COLUMN id TYPE text`)
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	select {
	case <-held:
	case err := <-done:
		t.Fatal(err)
	}
	e, err := changeling.Open(t.Context(), db, changeling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	member, err := e.Find(t.Context(), s.Members[0].Change)
	if err != nil {
		t.Fatal(err)
	}
	if err := member.Abort(t.Context()); !errors.Is(err, changeling.ErrUsage) {
		t.Errorf("one table alone: %v", err)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the run ended well")
	}
	sameAs(t, household(t, db), household(t, before), "after the abort")
}

// TestKinDies kills a run before and after statements that it sends, and does the same again: it must go on, and leave what native ALTERs leave.
func TestKinDies(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE customers ALTER COLUMN id TYPE text`
	small := []string{
		`CREATE TABLE customers (id serial PRIMARY KEY, boss int REFERENCES customers)`,
		`CREATE TABLE orders (customer int PRIMARY KEY REFERENCES customers)`,
		`INSERT INTO customers SELECT i, i FROM generate_series(1, 50) i`, `INSERT INTO orders SELECT i FROM generate_series(1, 50) i`,
	}
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(small), `ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey`, `ALTER TABLE orders ALTER customer TYPE text`,
		ddl+`, ALTER boss TYPE text`, `ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers`)...)
	want := couple(t, native)
	act := func(ctx context.Context, db *sql.DB) error {
		return changeling.Apply(ctx, db, ddl, changeling.Config{Fast: true, WithChildren: true, DropAfter: changeling.DropNow})
	}
	mortal{setup: small, act: act, look: couple, want: want, part: 30, writes: []string{}}.test(t)
}

// TestKinUnderWriters: tables swap together, and back again, while users write to all of them, and runs are stopped and go on.
func TestKinUnderWriters(t *testing.T) {
	t.Parallel()
	dsn, db := family(t, familyLedger...)
	stop := familyUsers(t, pgtest.Open(t, dsn))
	defer stop()
	random := rand.New(rand.NewPCG(seed(t), 98))
	const ddl = `ALTER TABLE customers ALTER COLUMN id TYPE numeric`
	c := begun(t, db, changeling.Config{Events: event.Lines(t.Output())}, ddl)
	stopped(t, random, 4, c.Run)
	stopped(t, random, 2, func(ctx context.Context) error { return c.Undo(ctx, changeling.NoLoss) })
	stop()
	familyEqual(t, db, "integer")
}

// TestKinMutants: somebody writes to a table of the family that refers to nothing, and must not lose a row.
func TestKinMutants(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE customers ALTER COLUMN id TYPE numeric`
	for name, rewrite := range map[string]func(string) string{
		"whole": func(text string) string { return text },
		"a key is not put back": func(text string) string {
			if strings.Contains(text, `"public"."items"`) && strings.Contains(text, `ADD CONSTRAINT "items_of"`) {
				return "SELECT 1"
			}
			return text
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, db := family(t)
			users := pgtest.Open(t, dsn)
			ctx, stop := context.WithCancel(t.Context())
			var wrote, failed atomic.Int64
			var all sync.WaitGroup
			all.Go(func() {
				for n := int64(1000); ctx.Err() == nil; n++ {
					if _, err := users.Exec(`INSERT INTO parcels (id) VALUES ($1)`, n); err != nil {
						failed.Add(1)
						continue
					}
					wrote.Add(1)
				}
			})
			var hits atomic.Int64
			pool := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
				text := rewrite(s.Text)
				if text != s.Text {
					hits.Add(1)
				}
				if strings.HasPrefix(text, "ALTER TABLE") && strings.HasSuffix(text, `DROP CONSTRAINT "items_of"`) {
					text = "SELECT pg_sleep(0.1); " + text // behind the last drain
				}
				return text
			})
			err := changeling.Apply(t.Context(), pool, ddl, changeling.Config{WithChildren: true, Fast: true, Events: event.Lines(t.Output())})
			stop()
			all.Wait()
			var rows, keys int64
			if err := db.QueryRow(`SELECT (SELECT count(*) FROM parcels WHERE id >= 1000), (SELECT count(*) FROM pg_constraint WHERE conname = 'items_of' AND conrelid = 'public.items'::regclass AND convalidated)`).Scan(&rows, &keys); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d rows written, %d there, %d failed, %d keys, the mutant met %d; %v", wrote.Load(), rows, failed.Load(), keys, hits.Load(), err)
			fine := err == nil && rows == wrote.Load() && failed.Load() == 0 && keys == 1
			if name == "whole" && (!fine || rows == 0) {
				t.Error("a write was lost, or a key")
			}
			if name != "whole" && hits.Load() == 0 {
				t.Fatal("the mutant met none of its statements")
			}
			if name != "whole" && fine {
				t.Error("the mutant does no harm")
			}
		})
	}
}
