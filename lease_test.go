package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// ghost leaves a change behind whose run is no more, while the server has not heard yet that its session's process is gone.
// The last heartbeat is of a time that an expression says.
func ghost(t *testing.T, at string) (dsn string, db *sql.DB) {
	t.Helper()
	dsn = pgtest.Database(t)
	db = pgtest.Open(t, dsn)
	pgtest.Exec(t, db, victim...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config := quick
	config.Events = upon(event.Discard, began("verify"), cancel)
	if err := changeling.Apply(ctx, db, grow, config); !errors.Is(err, changeling.ErrStopped) {
		t.Fatalf("Apply = %v, want ErrStopped", err)
	}
	session, err := pgtest.Open(t, dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	pgtest.Exec(t, session, `UPDATE changeling.claim SET owner = 'the dead one'`,
		`UPDATE changeling.progress SET at = `+at+`, pid = pg_backend_pid(), started = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())`)
	return dsn, db
}

// TestBeatOfTheDead: what a run sent just before it was killed may be carried out after another one has begun to look. One
// heartbeat is no sign of life; two are.
func TestBeatOfTheDead(t *testing.T) {
	t.Parallel()
	dsn, db := ghost(t, "clock_timestamp()")
	looks := 0
	pool := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
		if strings.HasPrefix(x.Text, "SELECT l.token, l.owner,") {
			switch looks++; looks {
			case 3:
				pgtest.Exec(t, db, `UPDATE changeling.progress SET at = clock_timestamp()`)
			case 6:
				pgtest.Exec(t, db, `SELECT pg_terminate_backend(pid) FROM changeling.progress`)
			}
		}
		return x.Text
	})
	if err := changeling.Apply(t.Context(), pool, grow, quick); err != nil {
		t.Errorf("after %d looks at the claim: %v", looks, err)
	}
}
