package changeling_test

import (
	"context"
	"errors"
	"regexp"
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

// docs/FAULTS.md lists which test catches which mutant. Those that have no schedule of their own elsewhere stand here.

// TestAlteredUnderTheLock: somebody makes an index in the moment between the last look at the definition and the lock; what needs the table
// for itself has to wait then. The change stops. With nobody looking under the lock the index is lost (invariant I7).
func TestAlteredUnderTheLock(t *testing.T) {
	t.Parallel()
	marks := regexp.MustCompile(`(?s)\(?SELECT coalesce\(pg_catalog\.md5\(pg_catalog\.string_agg\(m\.mark, .*?\) m\)?`)
	for _, c := range []struct {
		name   string
		mutate func(text string) string
	}{
		{"whole", nil},
		{"no fingerprint", func(text string) string {
			if found := marks.FindString(text); strings.HasPrefix(found, "(") {
				return strings.Replace(text, found, "(SELECT 'as it was')", 1)
			} else if found != "" {
				return "SELECT 'as it was'"
			}
			return text
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			play := func() (s *scene, v verdict, there bool) {
				s = newScene(t)
				s.config.Snapshots, s.config.DropAfter, s.config.LockWait = changeling.SnapshotsIgnore, changeling.DropNow, 5*time.Second
				if c.mutate != nil {
					s.mutate = func(_ context.Context, x mutant.Statement) string { return c.mutate(x.Text) }
				}
				lock := s.at(locking, 1)
				s.start()
				s.until(lock)
				pgtest.Exec(t, s.db, `CREATE INDEX theirs ON accounts (amount)`)
				lock.open()
				v = s.finish()
				if err := s.db.QueryRow(`SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = 'accounts'::regclass AND indexrelid = to_regclass('theirs'))`).Scan(&there); err != nil {
					t.Fatal(err)
				}
				return s, v, there
			}
			if c.mutate == nil {
				if _, v, there := play(); !errors.Is(v.err, changeling.ErrRefused) || !there {
					t.Errorf("the run ended with %v, want ErrRefused; their index is there: %v", v.err, there)
				}
				return
			}
			for range 4 { // where this attempt gives way for another reason, the next one looks at the definition
				s, v, there := play()
				if s.hits.Load() == 0 {
					t.Fatal("the mutant met none of its statements")
				}
				if !there {
					return
				}
				t.Logf("the mutant did no harm: %v", v.err)
			}
			t.Error("the mutant does no harm")
		})
	}
}

// TestMySQLUnknownRename: the connection is lost under the RENAME that swaps. Whether it happened is asked. A run that takes it for "did not
// happen", and swaps again, comes to grief.
func TestMySQLUnknownRename(t *testing.T) {
	t.Parallel()
	swapped := regexp.MustCompile(`^SELECT \(EXISTS \(SELECT 1 FROM information_schema\.tables .* AND NOT EXISTS \(SELECT 1 FROM information_schema\.tables `)
	mytest.Each(t, func(t *testing.T, version string) { // on MariaDB a RENAME that lost its client is ended while it still waits
		dsn, db := snapshotServer(t, version) // where nobody else asks innodb_trx, and uses attempts up
		for _, c := range []struct {
			name   string
			mutant bool
		}{{"whole", false}, {"mutant", true}} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 300)
			by, p := through(t, dsn, proxy.Cut{At: 1, Moment: proxy.After, Text: "RENAME TABLE"})
			hits := false
			pool := mytest.Mutant(t, by, func(_ context.Context, x mutant.Statement) string {
				if c.mutant && swapped.MatchString(x.Text) {
					hits = true
					return "SELECT FALSE"
				}
				return x.Text
			})
			pool.SetMaxOpenConns(20)
			ctx, cancel := context.WithCancel(t.Context())
			tries := 0
			err := changeling.Apply(ctx, pool, myGrow, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers, CutoverAttempts: 3, Events: func(e event.Event) {
				event.Lines(t.Output())(e)
				if r, ok := e.(event.Retried); ok && r.Step == "cutover" {
					if tries++; tries > 8 {
						cancel()
					}
				}
			}})
			cancel()
			if text, done := p.Done(); !done {
				t.Fatalf("%s: the RENAME was never sent: %s", c.name, text)
			}
			if err := errors.Join(pool.Close(), p.Close()); err != nil {
				t.Error(err)
			}
			right := strings.Contains(myDefinition(t, db, "orders"), "`amount` bigint") && len(myRows(t, db, "orders")) == 300
			switch {
			case !c.mutant && (err != nil || !right):
				t.Errorf("Apply = %v, and the table is right: %v", err, right)
			case c.mutant && !hits:
				t.Error("the mutant met none of its statements")
			case c.mutant && err == nil && right:
				t.Error("the mutant lives: the swap was taken for one that did not happen, and nobody noticed")
			case c.mutant:
				t.Logf("the mutant is caught: %v", err)
			}
		}
	}, "mysql")
}
