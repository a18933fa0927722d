package migrate_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/migrate"
)

// N4: connections are lost between the call of a procedure and its record. What the procedure did went with its transaction, and it is called
// again; one that has committed is not, unless somebody says so.
func TestN4CallIsLost(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for commits, body := range map[bool]string{false: "INSERT INTO a VALUES (NULL);", true: "INSERT INTO a VALUES (NULL); COMMIT;"} {
			d := mysqlDatabase(t, version)
			fsys := files("1_a.sql", "CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY); CREATE PROCEDURE fill() BEGIN "+body+" END;", "2_b.sql", "CALL fill(); CREATE TABLE b (id int PRIMARY KEY);")
			if _, err := migrator(t, d.db, fsys, migrate.Config{}).To(t.Context(), "1"); err != nil {
				t.Fatal(err)
			}
			var called, lost atomic.Int64
			db := mytest.Mutant(t, d.dsn, func(ctx context.Context, s mutant.Statement) string {
				if strings.HasPrefix(s.Text, "CALL fill") {
					called.Add(1)
				}
				if called.Load() == 1 && strings.Contains(s.Text, "migration_step SET done = true") && lost.Add(1) == 1 {
					for _, id := range d.rows(t, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()") {
						_, _ = d.db.ExecContext(ctx, "KILL "+id) // it may have gone
					}
				}
				return s.Text
			})
			_, err := migrator(t, db, fsys, migrate.Config{}).Up(t.Context(), "")
			if lost.Load() == 0 {
				t.Fatal("no connection was lost")
			}
			if !commits {
				if rows := d.rows(t, "SELECT COUNT(*) FROM a"); err != nil || !slices.Equal(rows, []string{"1"}) || called.Load() != 2 {
					t.Errorf("Up = %v; %v rows after %d calls, want one after two", err, rows, called.Load())
				}
				continue
			}
			if fault.KindOf(err) != fault.Unknown || !strings.Contains(err.Error(), "nothing tells whether") {
				t.Fatalf("Up = %v, want that nobody knows", err)
			}
			m := migrator(t, d.db, fsys, migrate.Config{})
			if _, err := m.Up(t.Context(), ""); fault.KindOf(err) != fault.Unknown {
				t.Fatalf("again Up = %v, want that nobody knows", err)
			}
			if _, err := m.Repair(t.Context(), migrate.StepDone); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Up(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if rows := d.rows(t, "SELECT COUNT(*) FROM a"); !slices.Equal(rows, []string{"1"}) || called.Load() != 1 {
				t.Errorf("%v rows after %d calls, want one after one", rows, called.Load())
			}
		}
	})
}
