package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestFamilyDies kills a run, and an undo, before and after statements that it sends, and does the same again: it must go on, and leave what
// native ALTERs leave, or what was before.
func TestFamilyDies(t *testing.T) {
	t.Parallel()
	small := []string{
		`CREATE TABLE customers (id serial PRIMARY KEY, boss int REFERENCES customers)`,
		`CREATE TABLE orders (customer int PRIMARY KEY REFERENCES customers)`,
		`INSERT INTO customers SELECT i, i FROM generate_series(1, 50) i`, `INSERT INTO orders SELECT i FROM generate_series(1, 50) i`,
	}
	wide := []string{`ALTER TABLE orders ALTER customer TYPE bigint`, widenKey + `, ALTER boss TYPE bigint`, `ALTER SEQUENCE customers_id_seq AS bigint`}
	begin := seed(t)
	for _, c := range []struct {
		name string
		drop time.Duration
		act  func(ctx context.Context, db *sql.DB, config changeling.Config) error
		done bool // the change is made before
		want []string
		most int
	}{
		{"run", changeling.DropNow, func(ctx context.Context, db *sql.DB, config changeling.Config) error {
			return changeling.Apply(ctx, db, widenKey, config)
		}, false, wide, 6},
		{"undo", 0, undoFamily, true, nil, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := changeling.Config{Fast: true, WithChildren: true, DropAfter: c.drop}
			act := func(ctx context.Context, db *sql.DB) error { return c.act(ctx, db, config) }
			setup := func(db *sql.DB) {
				t.Helper()
				pgtest.Exec(t, db, small...)
				if c.done {
					if err := changeling.Apply(t.Context(), db, widenKey, config); err != nil {
						t.Fatal(err)
					}
				}
			}
			native := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, native, append(slices.Clone(small), c.want...)...)
			want := couple(t, native)
			dsn := pgtest.Database(t)
			setup(pgtest.Open(t, dsn))
			all := deaths(t, dsn, rand.New(rand.NewPCG(begin, 0)), act)
			if !full() {
				all = all[:min(len(all), c.most)]
			}
			dsn = pgtest.Database(t)
			db := pgtest.Open(t, dsn)
			for _, death := range all {
				raze(t, db)
				setup(db)
				at := dieAt(t, dsn, act, death)
				if err := act(t.Context(), db); err != nil {
					t.Errorf("%s: the second time: %v", at, err)
				}
				sameAs(t, couple(t, db), want, at)
			}
		})
	}
}

// undoFamily undoes the last change of customers.
func undoFamily(ctx context.Context, db *sql.DB, config changeling.Config) error {
	e, err := changeling.Open(ctx, db, config)
	if err != nil {
		return err
	}
	defer e.Close()
	list, err := e.List(ctx)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Table == "public.customers" {
			c, err := e.Find(ctx, s.ID)
			if err != nil {
				return err
			}
			return c.Undo(ctx, changeling.NoLoss)
		}
	}
	return errors.New("there is no change of customers")
}

// couple is a portrait of the two tables of TestFamilyDies.
func couple(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return listed(t, db, `SELECT format('%s.%s %s', attrelid::regclass, attname, format_type(atttypid, NULL)) FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid IN ('customers'::regclass, 'orders'::regclass)
UNION ALL SELECT 'sequence to ' || seqmax FROM pg_sequence WHERE seqrelid = 'customers_id_seq'::regclass
UNION ALL SELECT 'constraint ' || conname || convalidated FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'customer ' || c::text FROM customers c UNION ALL SELECT 'order ' || o::text FROM orders o`)
}
