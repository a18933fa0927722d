package mutant_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestRewritesSwallowsAndTells(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	db := pgtest.Mutant(t, pgtest.Database(t), func(_ context.Context, s mutant.Statement) string {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, strings.Join(append(s.Before, s.Text), "; "))
		if strings.HasPrefix(s.Text, "INSERT") {
			return ""
		}
		return strings.ReplaceAll(s.Text, "41", "42")
	})
	pgtest.Exec(t, db, `CREATE TABLE t (a int)`)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n, rows int
	if err := tx.QueryRow(`SELECT 41 + $1::int`, 0).Scan(&n); err != nil || n != 42 {
		t.Errorf("%d, %v, want 42", n, err)
	}
	if _, err := tx.Exec(`INSERT INTO t VALUES ($1)`, 1); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT count(*) FROM t`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v, want none", rows, err)
	}
	want := []string{"CREATE TABLE t (a int)", "BEGIN", "SELECT 41 + $1::int", "SELECT 41 + $1::int; INSERT INTO t VALUES ($1)",
		"SELECT 41 + $1::int; INSERT INTO t VALUES ($1); COMMIT", "SELECT count(*) FROM t"}
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}
