package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

const tokens = `ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid(), ADD COLUMN seen timestamptz DEFAULT clock_timestamp(), ADD COLUMN kind text DEFAULT 'plain'`

// filled asks what must hold of the table afterwards: a value of its own in each row, but for what users wrote.
const filled = `SELECT count(DISTINCT token) = count(*) AND bool_and(kind = 'plain') AND bool_and(seen > now() - interval '1 hour' OR seen IS NULL AND note = 'says NULL')
  AND count(*) FILTER (WHERE note = 'says NULL') = count(*) FILTER (WHERE seen IS NULL) FROM orders`

// TestFill: a default that is computed for each row comes in batches. Users go on meanwhile: their locks are not waited for, rows that
// they move are found, and the NULL that one of them writes stays. The mutant believes the walk, and leaves the locked row out.
func TestFill(t *testing.T) {
	t.Parallel()
	native := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, native, append(slices.Clone(victim), tokens)...)
	want := shapeOf(t, native)
	for _, hasty := range []bool{false, true} {
		t.Run(fmt.Sprintf("hasty %v", hasty), func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			db, run := pgtest.Open(t, dsn), pgtest.Open(t, dsn)
			pgtest.Exec(t, db, victim...)
			goesByRecipe(t, db, tokens)
			if hasty {
				run = pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
					if strings.HasPrefix(x.Text, "SELECT NOT EXISTS (SELECT FROM ONLY") {
						return "SELECT true"
					}
					return x.Text
				})
			}
			held, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Rollback()
			waited := false
			config := quick
			config.Events = func(e event.Event) {
				switch e := e.(type) {
				case event.StepStarted:
					if e.Name == "fill" {
						pgtest.Exec(t, held, `SELECT FROM orders WHERE id = 7 FOR UPDATE`)
						pgtest.Exec(t, db, `INSERT INTO orders (email, tenant, note, amount, seen) VALUES ('null', 3, 'says NULL', 7, NULL)`,
							`UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0 AND id <> 7`)
					}
				case event.Retried:
					if e.What == "rows that others have locked" && !waited {
						waited = true
						if err := held.Commit(); err != nil {
							t.Error(err)
						}
					}
				}
			}
			if err := changeling.Apply(t.Context(), run, tokens, config); err != nil {
				t.Fatal(err)
			}
			var right bool
			if err := db.QueryRow(filled).Scan(&right); err != nil {
				t.Fatal(err)
			}
			switch {
			case hasty && right:
				t.Error("the mutant lives: the locked row has its value")
			case hasty:
				return
			case !right:
				t.Error("not each row has a value of its own")
			case !waited:
				t.Error("nobody held a row: the test does not test what it should")
			}
			sameAs(t, shapeOf(t, db), want, "after the fill")
		})
	}
}

// shapeOf is a portrait without the rows, which have chance in them.
func shapeOf(t *testing.T, db *sql.DB) []string {
	t.Helper()
	return slices.DeleteFunc(portrait(t, db), func(line string) bool { return strings.HasPrefix(line, "order ") })
}

// TestDiesInAFill kills the run at each of its statements, lets users write, and runs the same again.
func TestDiesInAFill(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, victim...)
	goesByRecipe(t, db, tokens)
	for _, death := range deaths(t, dsn, rand.New(rand.NewPCG(seed(t), 11)), applying(tokens)) {
		raze(t, db)
		pgtest.Exec(t, db, victim...)
		at := dieAt(t, dsn, applying(tokens), death)
		pgtest.Exec(t, db, afterwards...)
		if err := changeling.Apply(t.Context(), db, tokens, quick); err != nil {
			t.Errorf("%s: the second run: %v", at, err)
			continue
		}
		var right bool
		if err := db.QueryRow(filled).Scan(&right); err != nil || !right {
			t.Errorf("%s: each row has a value of its own: %v, %v", at, right, err)
		}
	}
}
