package backfill_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// Who may create in a schema of the search path gets nothing of his run by what a job itself sends.
func TestNobodyElsesFunctionsRun(t *testing.T) {
	t.Parallel()
	pgtest.NobodyElsesFunctionsRun(t, trapped)
}

// trapped does jobs whose own words need no operator and no function, in a database with a trap.
func trapped(t *testing.T, rewrite func(string) string) (calls int, what string) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, pgtest.Open(t, dsn), "CREATE SCHEMA app", "CREATE TABLE app.pairs (a text NOT NULL, b int NOT NULL, n int, good boolean NOT NULL DEFAULT true CHECK (good), PRIMARY KEY (a, b))",
		"INSERT INTO app.pairs SELECT 'k' || i / 10, i FROM generate_series(1, 500) i")
	trap := pgtest.SetTrap(t, dsn)
	db := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string { return rewrite(s.Text) })
	open := func(c backfill.Config) *backfill.Jobs {
		j, err := backfill.Open(t.Context(), db, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(j.Close)
		return j
	}
	j := open(backfill.Config{})
	s, err := j.Run(t.Context(), backfill.Job{Name: "fill", Table: "app.pairs", Set: "n = 1", Where: "n IS NULL", Left: "n IS NULL"})
	if err != nil || s.Rows != 500 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := open(backfill.Config{Fast: true}).Run(t.Context(), backfill.Job{Name: "bad", Table: "app.pairs", Set: "good = false", Tolerate: 3}); err == nil {
		t.Error("no row may be bad, and all were made so")
	}
	if err := j.Create(t.Context(), backfill.Job{Name: "late", Table: "app.pairs", Set: "n = 2"}); err != nil {
		t.Error(err)
	}
	for _, do := range []func(context.Context, string) error{j.Pause, j.Resume, j.Cancel} {
		if err := do(t.Context(), "late"); err != nil {
			t.Error(err)
		}
	}
	for i, job := range []backfill.Job{
		{Table: "app.pairs", Set: "n = 3", Triggers: backfill.TriggersSkip, AsyncCommit: true},
		{Table: "app.pairs", Set: "n = 4", Vacuum: 1},
	} {
		job.Name = fmt.Sprint("manner", i)
		if _, err := j.Plan(t.Context(), job); err != nil {
			t.Error(err)
		}
		if _, err := j.Try(t.Context(), job); err != nil {
			t.Error(err)
		}
		if _, err := j.Run(t.Context(), job); err != nil {
			t.Error(err)
		}
	}
	return trap.Calls()
}
