package migrate_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/migrate"
)

// Behind a pooler in transaction mode files run that are transactions. What is none is refused, and no session is left with
// a setting of ours.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, dbtest.Options{})
	pooler, err := server.Pooler(t.Context(), "transaction")
	if err != nil {
		t.Fatal(err)
	}
	defer pooler.Stop()
	through := pgtest.Open(t, pooler.DSN("postgres")+"&default_query_exec_mode=exec")
	fsys := files("1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);")
	m := migrator(t, through, fsys, migrate.Config{})
	if _, err := m.Up(t.Context(), ""); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("Up = %v, want a precondition that names the pooler", err)
	}
	if s := state(t, m); len(s.Pending) != 1 {
		t.Errorf("%v is pending, want the second file alone", s.Pending)
	}
	var open []*sql.Tx
	for range 5 { // all at once, so that they are different sessions
		tx, err := through.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, tx)
		var left string
		if err := tx.QueryRowContext(t.Context(), `SELECT current_setting('lock_timeout') || current_setting('statement_timeout') || current_setting('search_path')`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left != `00"$user", public` {
			t.Errorf("a session was left as %s", left)
		}
	}
	for _, tx := range open { // an index build would wait for them
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
	upped(t, migrator(t, pgtest.Open(t, server.DSN("postgres")), fsys, migrate.Config{}))
}
