package ledger_test

import (
	"context"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// running lets the writers write for some time, and until so many of their transactions were acknowledged.
func running(t *testing.T, l *ledger.Ledger, least time.Duration, acked int64) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	go func() {
		for began := time.Now(); ctx.Err() == nil && (time.Since(began) < least || int64(l.Stats().Acked) < acked); {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
	}()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestControl is the harness without a change: whatever it found here would be its own.
func TestControl(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := ledger.New(db, ledger.Options{Seed: seed, Rows: 2000, Truncate: time.Second, Replica: true})
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	running(t, l, 4*time.Second, 100)
	s := l.Stats()
	t.Log(s)
	if s.Acked < 100 || s.Failures() > 0 || s.BlindCommitted > 0 {
		t.Errorf("the writers met: %s", s)
	}
	r, err := l.Check(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if r.Wrong() > 0 {
		t.Errorf("without a change: %s", r)
	}
}

// TestCheckFinds plants each kind of mistake behind the ledger's back.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	l := ledger.New(db, ledger.Options{Rows: 100})
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	running(t, l, 200*time.Millisecond, 10)
	pgtest.Exec(t, db,
		`DELETE FROM accounts WHERE id = (SELECT min(id) FROM accounts)`,
		`UPDATE accounts SET amount = amount + 1 WHERE id = (SELECT min(id) FROM accounts)`,
		`INSERT INTO accounts VALUES (1000000, 'nobody', 1, '', now())`,
		`UPDATE accounts_ledger SET tx = -1 WHERE tx = (SELECT max(tx) FROM accounts_ledger)`)
	r, err := l.Check(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if r.Missing != 1 || r.Stale != 1 || r.Phantom != 1 || r.Lost != 1 || len(r.Keys) != 3 {
		t.Errorf("planted one of each: %s", r)
	}
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	l := ledger.New(db, ledger.Options{Rows: 1000, Rate: 200, Plain: true})
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	strain, began := pgtest.Strained(t, db), time.Now()
	running(t, l, 2*time.Second, 0)
	took, behind := time.Since(began), strain.Behind()
	s := l.Stats()
	if most, least := 200*took.Seconds()+10, 350-10*200*behind.Seconds(); float64(s.Acked) < least || float64(s.Acked) > most {
		t.Errorf("%d transactions in %s at 200 a second, on a machine that was %s behind", s.Acked, took, behind)
	}
	if lap := l.Lap(); lap.Acked != s.Acked || l.Lap().Acked != 0 {
		t.Errorf("the first lap has %d transactions and the second %d, want %d and 0", lap.Acked, l.Lap().Acked, s.Acked)
	}
	t.Log(s)
}
