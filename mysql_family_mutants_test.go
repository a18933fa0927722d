package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

var ofItems = regexp.MustCompile("`changeling_(\\w+)`\\.`items`")

// TestMySQLFamilyMutants: users write to every table of a family right before these are locked, and nothing of it is missing behind the swap. A log that
// is not drained, a table that is left out, and a key between two of them that is not made must show.
func TestMySQLFamilyMutants(t *testing.T) {
	t.Parallel()
	without := func(pattern string) func(string, string) string {
		cut := regexp.MustCompile(pattern)
		return func(_, text string) string {
			if strings.HasPrefix(text, "CREATE PROCEDURE") {
				return cut.ReplaceAllString(text, "")
			}
			return text
		}
	}
	whole := func(_, text string) string { return text }
	undrained := func(id, text string) string {
		if id != "" && strings.HasPrefix(text, "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM ") && strings.Contains(text, "keys_"+id+"`") {
			return "SELECT 0, FALSE"
		}
		return text
	}
	for _, c := range []struct {
		name   string
		undo   bool                         // it is swapped already, and is swapped back
		mutate func(id, text string) string // id is that of the change of items
	}{
		{"whole", false, whole},
		{"whole, back", true, whole},
		{"a log is not drained", false, undrained},
		{"a log is not drained, back", true, undrained},
		{"a table is left out", false, without(", `\\w+`\\.`items` TO `\\w+`\\.`items`")},
		{"a table is left out, back", true, without(", `\\w+`\\.`items` TO `\\w+`\\.`items`")},
		{"a key is not made", false, without("ALTER TABLE `\\w+`\\.`items` ADD CONSTRAINT [^;]*; ")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, relativesMy("int")...)
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				act := func(pool *sql.DB) error {
					return changeling.Apply(t.Context(), pool, widenFamilyMy, byBinlog(dsn, changeling.Config{WithChildren: true, Fast: true, Events: event.Lines(t.Output())}))
				}
				if c.undo {
					mytest.Exec(t, native, relativesMy("int")...)
					made := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true}), widenFamilyMy)
					if err := made.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					act = func(pool *sql.DB) error { return undoneBy(t, pool, dsn, made.ID()) }
				} else {
					mytest.Exec(t, native, relativesMy("bigint unsigned")...)
				}
				var mu sync.Mutex
				var id string
				var wrong []string
				hits, locks := 0, 0
				pool := mytest.Mutant(t, dsn, func(ctx context.Context, x mutant.Statement) string {
					mu.Lock()
					defer mu.Unlock()
					if lockedKinMy(x.Text) {
						id = strings.TrimSuffix(ofItems.FindStringSubmatch(x.Text)[1], "_old")
						locks++
						for _, text := range lateMy(locks) {
							for _, to := range []*sql.DB{db, native} {
								if _, err := to.ExecContext(ctx, text); err != nil {
									wrong = append(wrong, fmt.Sprintf("%s: %v", text, err))
								}
							}
						}
					}
					text := c.mutate(id, x.Text)
					if text != x.Text {
						hits++
					}
					return text
				})
				pool.SetMaxOpenConns(30)
				if err := act(pool); err != nil {
					wrong = append(wrong, err.Error())
				}
				for _, table := range []string{"customers", "orders", "items"} {
					if shownMy(t, db, table) != shownMy(t, native, table) {
						wrong = append(wrong, table+" is "+shownMy(t, db, table))
					}
				}
				if got, want := kinRowsMy(t, db), kinRowsMy(t, native); !slices.Equal(got, want) {
					wrong = append(wrong, fmt.Sprintf("%d rows, want %d", len(got), len(want)))
				}
				if _, err := db.Exec(`INSERT INTO items (customer, no) VALUES (1, 77)`); err == nil {
					wrong = append(wrong, "an orphan came in")
				}
				t.Logf("%d locks, the mutant met %d statements, wrong: %q", locks, hits, wrong)
				for _, text := range listed(t, db, "SELECT CONCAT('ALTER TABLE `', constraint_schema, '`.`', table_name, '` DROP FOREIGN KEY `', constraint_name, '`') FROM information_schema.referential_constraints WHERE unique_constraint_schema = DATABASE() AND constraint_schema <> DATABASE()") {
					mytest.Exec(t, db, text) // of a table that was left out, which keeps the database from being dropped
				}
				switch {
				case locks == 0:
					t.Error("nobody wrote at the last moment")
				case strings.HasPrefix(c.name, "whole") && len(wrong) > 0:
					t.Error("a write was lost, or a key")
				case !strings.HasPrefix(c.name, "whole") && (hits == 0 || len(wrong) == 0):
					t.Error("the mutant lives")
				}
			})
		})
	}
}
