package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestClockSetForward: the database's clock is set forward by an hour, at the moment at which a second run looks whether the first one
// lives. It does, and is not taken over. What the second one sees is made by setting the last heartbeat back.
func TestClockSetForward(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, db, second *sql.DB, ddl string, sets *atomic.Int64, c changeling.Config) {
		c.Hold, c.Owner, c.Lease, c.DropAfter = true, "ann", 5*time.Second, changeling.DropNow
		other, end := start(t, db, ddl, c)
		reaches(t, other, "hold", held)
		c.Owner = "bob"
		if err := changeling.Apply(t.Context(), second, ddl, c); !errors.Is(err, changeling.ErrOwned) || !strings.Contains(err.Error(), "ann") || sets.Load() == 0 {
			t.Errorf("the second run ended with %v, want ErrOwned and the name of the first; the clock was set %d times", err, sets.Load())
		}
		if err := other.Cutover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Errorf("the first run ended with %v", err)
		}
	}
	setting := func(t *testing.T, db *sql.DB, back string, sets *atomic.Int64) mutant.Rewrite {
		return func(ctx context.Context, x mutant.Statement) string {
			if strings.HasPrefix(x.Text, "SELECT l.token, l.owner,") && sets.Add(1) == 1 {
				if _, err := db.ExecContext(ctx, back); err != nil {
					t.Error(err)
				}
			}
			return x.Text
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Database(t)
		db := pgtest.Open(t, dsn)
		pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 500) i`)
		var sets atomic.Int64
		second := pgtest.Mutant(t, dsn, setting(t, db, `UPDATE changeling.progress SET at = at - interval '1 hour'`, &sets))
		check(t, db, second, widenOrders, &sets, changeling.Config{})
	})
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 500)
		var sets atomic.Int64
		second := mytest.Mutant(t, dsn, setting(t, db, `UPDATE changeling.progress p JOIN changeling.chg c ON c.id = p.change_id SET p.at = p.at - INTERVAL 1 HOUR WHERE c.table_schema = DATABASE()`, &sets))
		second.SetMaxOpenConns(20)
		check(t, db, second, myGrow, &sets, changeling.Config{Capture: changeling.CaptureTriggers})
	})
}

// TestClockSetBack: the database's clock is set back by an hour, and the last heartbeat of a run that is no more lies in the future.
// Nobody has to wait for an hour.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	_, db := ghost(t, "clock_timestamp() + interval '1 hour'")
	if err := changeling.Apply(t.Context(), db, grow, quick); err != nil {
		t.Error(err)
	}
}

// TestMySQLClockSetBack: the server's clock is set back by an hour while a change is held. A transaction that began before the last row
// came to the shadow looks as if it had begun a moment ago, and is waited for all the same. The mutant does not see that
// the clock was set, and swaps.
func TestMySQLClockSetBack(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, notices := range []bool{true, false} {
			dsn, db := snapshotServer(t, version)
			var set atomic.Bool
			now := regexp.MustCompile(`NOW\((6?)\)`)
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				if !set.Load() || !strings.Contains(x.Text, "innodb_trx") && (!notices || !strings.Contains(x.Text, "TIMESTAMPDIFF(MICROSECOND, '1970-01-01'")) {
					return x.Text
				}
				// GREATEST: with ages below zero nobody has to compare clocks
				return now.ReplaceAllString(strings.ReplaceAll(x.Text, "TIMESTAMPDIFF(SECOND, x.trx_started, NOW())", "GREATEST(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), 0)"), "(NOW($1) - INTERVAL 1 HOUR)")
			})
			pool.SetMaxOpenConns(20)
			other, end := start(t, pool, myGrow, changeling.Config{Hold: true, CutoverAttempts: 5, DropAfter: changeling.DropNow, Capture: changeling.CaptureTriggers})
			reaches(t, other, "hold", held)
			var reader *sql.Conn // its snapshot is between a write and the drain that brings it to the shadow
			want := int64(1000)
			for shadow := int64(0); shadow != want+1; {
				if reader != nil {
					mytest.Exec(t, reader, `COMMIT`)
				}
				mytest.Exec(t, db, fmt.Sprintf(`DELETE FROM orders WHERE id = %d`, want))
				reader = mySnapshot(t, db, "REPEATABLE READ")
				want--
				shadow = ask[int64](t, db, `SELECT COUNT(*) FROM changeling_`+other.ID()+`.orders`)
			}
			waitMy(t, db, fmt.Sprintf(`SELECT COUNT(*) = %d FROM changeling_%s.orders`, want, other.ID()))
			set.Store(true)
			time.Sleep(4 * time.Second) // for so long nothing has been written to the shadow, and an age of nothing looks young
			if err := other.Cutover(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := <-end
			if notices && (!errors.Is(err, changeling.ErrNoCutover) || !strings.Contains(err.Error(), "REPEATABLE READ")) {
				t.Errorf("Run = %v, want ErrNoCutover that names the transaction", err)
			}
			if rows, _ := mySum(t, reader); (rows == want) != notices {
				t.Errorf("the transaction reads %d rows, and %d when it began; the clock is looked at: %v", rows, want, notices)
			}
			mytest.Exec(t, reader, `COMMIT`)
			set.Store(false)
			if err := other.Abort(t.Context()); notices && err != nil {
				t.Error(err)
			}
		}
	})
}

// TestNoWallClock: what decides something counts by a clock that goes on evenly. A time loses it when it becomes a number or goes another way
// about midnight; each place where one does is here with its reason.
func TestNoWallClock(t *testing.T) {
	t.Parallel()
	known := map[string]string{
		"event/lines.go":              "a time for people, in a line",
		"event/sink.go":               "a time for people, in the stream of events",
		"hook/hook.go":                "a time for people, in what a hook is told",
		"internal/mysql/driver.go":    "an argument that a caller gave",
		"internal/journal/journal.go": "a time that the database gave",
		"throttle/window.go":          "windows are hours of the day",
		"backfill/backfill.go":        "windows are hours of the day",
	}
	strips := map[string]bool{"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "UTC": true, "Local": true, "In": true}
	met := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(path) {
			case "cmd", "bench", "examples", "internal/dbtest", "internal/sample", "lint", "plan", ".git", "migrate":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strips[f.Sel.Name] {
				return true
			}
			path := filepath.ToSlash(path)
			met[path] = true
			if known[path] == "" {
				t.Errorf("%s: %s of a time of this machine: a clock that is set would change what is decided", set.Position(n.Pos()), f.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range known {
		if !met[path] {
			t.Errorf("%s does nothing of the kind any more: take it out of the list", path)
		}
	}
}
