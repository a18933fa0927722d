package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// partedMy is a table of ranges whose last partition is empty, the same once more, and one that fits into it.
func partedMy(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, table := range []string{"parted", "twin"} {
		mytest.Exec(t, db, "CREATE TABLE `"+table+"` (id int PRIMARY KEY, v int) PARTITION BY RANGE (id) (PARTITION p1 VALUES LESS THAN (100), PARTITION `p 2` VALUES LESS THAN (200), PARTITION last VALUES LESS THAN MAXVALUE)",
			"INSERT INTO `"+table+"` "+countMy(t, db, 199)+" i, i FROM n", "CREATE TABLE `"+table+"_in` (id int PRIMARY KEY, v int)", "INSERT INTO `"+table+"_in` VALUES (7, 700)")
	}
}

// TestMySQLMaintainsPartitions: what is about single partitions and needs no copy is done at once, while users write, and comes to what the
// plain statement gives. What would write many rows anew is not.
func TestMySQLMaintainsPartitions(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		partedMy(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		var longest time.Duration
		users.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				if _, err := db.Exec(`UPDATE parted SET v = v WHERE id = 150`); err != nil {
					t.Errorf("a user's write failed: %v", err)
					return
				}
				longest = max(longest, time.Since(began))
				time.Sleep(time.Millisecond)
			}
		})
		stop := sync.OnceFunc(func() {
			cancel()
			users.Wait()
		})
		defer stop()
		for _, clauses := range []string{
			"REORGANIZE PARTITION last INTO (PARTITION p3 VALUES LESS THAN (300), PARTITION last VALUES LESS THAN MAXVALUE)", "EXCHANGE PARTITION p1 WITH TABLE %s_in",
			"DROP PARTITION last", "ADD PARTITION (PARTITION p4 VALUES LESS THAN (400), PARTITION p5 VALUES LESS THAN (500))", "TRUNCATE PARTITION p1, p3", "DROP PARTITION p3, p4",
		} {
			in := func(table string) string {
				return "ALTER TABLE " + table + " " + strings.ReplaceAll(clauses, "%s", table)
			}
			if err := changeling.Apply(t.Context(), db, in("parted"), quick); err != nil {
				t.Fatalf("%s: %v", clauses, err)
			}
			mytest.Exec(t, db, in("twin"))
			if got, want := strings.ReplaceAll(myDefinition(t, db, "parted"), "parted", "twin"), myDefinition(t, db, "twin"); got != want {
				t.Errorf("%s: the table is\n%s\nwant\n%s", clauses, got, want)
			}
			for _, of := range []string{"", "_in"} {
				if got, want := myContent(t, db, "SELECT * FROM parted"+of), myContent(t, db, "SELECT * FROM twin"+of); !slices.Equal(got, want) {
					t.Errorf("%s: %d rows in parted%s, want %d", clauses, len(got), of, len(want))
				}
			}
		}
		stop()
		if longest > 2*time.Second {
			t.Errorf("a user waited for %s", longest)
		}
		mytest.Exec(t, db, "INSERT INTO parted_in "+countMy(t, db, 12000)+" 1000 + i, i FROM n")
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for _, ddl := range []string{"ALTER TABLE parted REORGANIZE PARTITION `p 2` INTO (PARTITION a VALUES LESS THAN (150), PARTITION b VALUES LESS THAN (200))", "ALTER TABLE parted REBUILD PARTITION ALL", "ALTER TABLE parted EXCHANGE PARTITION p1 WITH TABLE parted_in"} {
			if p, err := e.Plan(t.Context(), ddl); err != nil || p.Route == plan.Direct {
				t.Errorf("%s: planned as %+v, %v; writers would be shut out", ddl, p, err)
			}
		}
		if err := changeling.Apply(t.Context(), db, "ALTER TABLE parted DROP PARTITION nobody", quick); !errors.Is(err, changeling.ErrUsage) {
			t.Errorf("a partition that is not there: %v, want ErrUsage", err)
		}
	})
}

// TestMySQLPartitionsFill: partitions that were empty when the statement was planned, and are not when it runs, are not written anew while
// nobody can write: the change is planned again, by a second table.
func TestMySQLPartitionsFill(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		partedMy(t, db)
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		const clauses = "REORGANIZE PARTITION last INTO (PARTITION p3 VALUES LESS THAN (300), PARTITION last VALUES LESS THAN MAXVALUE)"
		c, err := e.Start(t.Context(), "ALTER TABLE parted "+clauses)
		if err != nil || c.Plan().Route != plan.Direct {
			t.Fatalf("planned as %+v, %v", c, err)
		}
		mytest.Exec(t, db, "INSERT INTO parted VALUES (250, 1)", "INSERT INTO twin VALUES (250, 1)", "ALTER TABLE twin "+clauses)
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, err = e.Find(t.Context(), c.ID()); err != nil || c.Plan().Route != plan.ShadowTable {
			t.Errorf("it went by %s (%v)", c.Plan().Route, err)
		}
		if got, want := strings.ReplaceAll(myDefinition(t, db, "parted"), "parted", "twin"), myDefinition(t, db, "twin"); got != want {
			t.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
		if got, want := myContent(t, db, "SELECT * FROM parted"), myContent(t, db, "SELECT * FROM twin"); !slices.Equal(got, want) {
			t.Errorf("%d rows, want %d", len(got), len(want))
		}
		if c, err = e.Start(t.Context(), "ALTER TABLE parted EXCHANGE PARTITION p1 WITH TABLE parted_in"); err != nil || c.Plan().Route != plan.Direct {
			t.Fatalf("planned as %+v, %v", c, err)
		}
		mytest.Exec(t, db, "INSERT INTO parted_in "+countMy(t, db, 12000)+" 1000 + i, i FROM n")
		if err := c.Run(t.Context()); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "not so any more") {
			t.Errorf("a table that is large by now is exchanged: %v", err)
		}
	})
}

// lingering is a statement that cutOff finds, and ends with its connection.
const lingering = "DO SLEEP(20)"

func cutOff(t *testing.T, db *sql.DB) {
	for range 500 {
		var id int64
		if err := db.QueryRow(`SELECT id FROM information_schema.processlist WHERE info = ? AND db = DATABASE()`, lingering).Scan(&id); err == nil {
			if _, err := db.Exec(fmt.Sprintf(`KILL %d`, id)); err == nil {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the connection was not found")
}

// TestMySQLTruncatesOnce: a TRUNCATE whose answer was lost is not done again, or rows would be gone that came in between. So it would be if
// nobody asked whether it happened.
func TestMySQLTruncatesOnce(t *testing.T) {
	t.Parallel()
	for _, asks := range []bool{true, false} {
		t.Run(fmt.Sprintf("asks: %t", asks), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				partedMy(t, db)
				var done atomic.Bool
				under := mytest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
					switch {
					case strings.Contains(s.Text, "TRUNCATE PARTITION") && strings.HasPrefix(s.Text, "ALTER TABLE") && strings.Contains(s.Text, "`parted`") && !strings.Contains(s.Text, "`changeling_") && done.CompareAndSwap(false, true):
						mytest.Exec(t, db, s.Text, `INSERT INTO parted VALUES (5, 55)`)
						go cutOff(t, db)
						return lingering
					case !asks && strings.Contains(s.Text, "CAST(SUM(CRC32(") && strings.Contains(s.Text, "<>"):
						return "SELECT FALSE"
					}
					return s.Text
				})
				if err := changeling.Apply(t.Context(), under, `ALTER TABLE parted TRUNCATE PARTITION p1`, quick); err != nil {
					t.Fatal(err)
				}
				if !done.Load() {
					t.Fatal("no connection was lost")
				}
				var rows int
				if err := db.QueryRow(`SELECT COUNT(*) FROM parted WHERE id < 100`).Scan(&rows); err != nil || (rows == 1) != asks {
					t.Errorf("%d rows in the partition, %v; want the one that came in between: %t", rows, err, asks)
				}
			})
		})
	}
}
