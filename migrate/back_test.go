package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/migrate"
)

// turnable are statements that have a way back which can be made, one behind the other.
var turnable = map[string][]string{
	"": {
		"CREATE TABLE parents (id bigint PRIMARY KEY, name varchar(40) NOT NULL DEFAULT 'x', old int, CONSTRAINT sane CHECK (old < 100))",
		"CREATE TABLE children (id int PRIMARY KEY, parent bigint, CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parents (id))",
		"ALTER TABLE parents ADD COLUMN more varchar(10) DEFAULT 'y'",
		"CREATE UNIQUE INDEX parents_old ON parents (old, name)",
		"ALTER TABLE parents RENAME COLUMN more TO less",
		"ALTER TABLE parents RENAME TO elders",
		"ALTER TABLE elders ALTER COLUMN name SET DEFAULT 'other'",
		"ALTER TABLE elders DROP CONSTRAINT sane",
		"ALTER TABLE elders ADD CONSTRAINT few CHECK (old < 1000)",
		"CREATE VIEW both_of AS SELECT id FROM elders",
	},
	"postgres": {
		"ALTER TABLE elders ALTER COLUMN old TYPE bigint, ALTER COLUMN less SET NOT NULL, ADD COLUMN third int GENERATED ALWAYS AS (old * 3) STORED",
		"ALTER TABLE elders ALTER COLUMN name DROP NOT NULL, ALTER COLUMN name DROP DEFAULT",
		"DROP INDEX parents_old",
		"ALTER TABLE elders RENAME CONSTRAINT few TO many",
		"ALTER TABLE children DROP CONSTRAINT of_parent",
		"CREATE INDEX CONCURRENTLY lower_name ON elders (lower(name)) WHERE old > 3",
		"ALTER INDEX lower_name RENAME TO small_name",
		"DROP INDEX CONCURRENTLY small_name",
		"ALTER TABLE elders DROP COLUMN less",
		"CREATE SCHEMA other", "CREATE TABLE other.t (id int, s text COLLATE \"C\")", "DROP TABLE other.t", "CREATE TYPE mood AS ENUM ('so')", "CREATE SEQUENCE numbers",
		"DROP TABLE children",
	},
	"mysql": {
		"ALTER TABLE elders MODIFY COLUMN old bigint DEFAULT 7 COMMENT 'it is; NOT NULL', ADD INDEX by_less (less(3)), ADD COLUMN third int GENERATED ALWAYS AS (old * 3) STORED",
		"ALTER TABLE elders CHANGE COLUMN less `le``ss` varchar(20) NOT NULL DEFAULT 'NOT NULL'",
		"DROP INDEX parents_old ON elders",
		"ALTER TABLE elders RENAME INDEX by_less TO by_more",
		"ALTER TABLE elders DROP INDEX by_more, COMMENT = 'new'",
		"ALTER TABLE elders DROP COLUMN `le``ss`",
		"ALTER TABLE children DROP FOREIGN KEY of_parent",
		"RENAME TABLE elders TO oldest",
		"DROP TABLE children",
	},
}

// R12, O14, S13, S17: a way back that nobody wrote is made of the definitions as they were before each statement, and leads to just
// these. What does not come back with it has to be allowed.
func TestR12WaysBackAreMade(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := fstest.MapFS{}
		statements := append(append([]string{}, turnable[""]...), turnable[d.kind]...)
		for i, s := range statements {
			fsys[fmt.Sprintf("%d_m.sql", i+1)] = &fstest.MapFile{Data: []byte(s + ";")}
		}
		m := migrator(t, d.db, fsys, migrate.Config{})
		lossy := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
		before := []string{d.schema(t)}
		for i := range statements {
			if _, err := m.To(t.Context(), fmt.Sprint(i+1)); err != nil {
				t.Fatal(err)
			}
			before = append(before, d.schema(t))
		}
		for i := len(statements); i > 0; i-- {
			b, err := m.Back(t.Context(), fmt.Sprint(i))
			if err != nil || !b.Made || len(b.SQL) == 0 {
				t.Fatalf("%s: %+v, %v", statements[i-1], b, err)
			}
			if _, err := m.Down(t.Context(), 1); len(b.Lossy) > 0 && !errors.Is(err, changeling.ErrRefused) || len(b.Lossy) == 0 && err != nil {
				t.Fatalf("%s loses %v: %v", statements[i-1], b.Lossy, err)
			} else if err != nil {
				if _, err := lossy.Down(t.Context(), 1); err != nil {
					t.Fatalf("%s\nback: %v\n%v", statements[i-1], b.SQL, err)
				}
			}
			if got := d.schema(t); got != before[i-1] {
				t.Fatalf("%s\nback: %v\n%s", statements[i-1], b.SQL, difference(got, before[i-1]))
			}
		}
	})
}

// S13: a column that must have had a value comes back without it; what cannot be turned around says why, and nothing is taken back.
func TestS13WaysBackThatLose(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL); INSERT INTO a VALUES (1, 7);", "2_drop.sql", "ALTER TABLE a DROP COLUMN n;")
		m := migrator(t, d.db, fsys, migrate.Config{})
		upped(t, m)
		if _, err := m.Down(t.Context(), 1); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "the column n comes back without its values") {
			t.Errorf("a column that was dropped: %v", err)
		}
		lossy := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
		if _, err := lossy.Down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := d.ask(t, "SELECT COUNT(*) FROM a WHERE n IS NULL"); got != "1" {
			t.Errorf("%s rows are without their value", got)
		}
		if _, err := lossy.Down(t.Context(), 1); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "`INSERT INTO a VALUES (1, 7)`: it is about rows") {
			t.Errorf("rows: %v", err)
		}
	})
}

// S17: a way back that was noted survives a run that dies between the statement and its record.
func TestS17NotedBeforeItRuns(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int);", "2_b.sql", "-- changeling: transaction=never\nALTER TABLE a ADD COLUMN m int; ALTER TABLE a DROP COLUMN n; ALTER TABLE nowhere ADD COLUMN x int;")
		m := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
		if _, err := m.To(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		before := d.schema(t)
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, migrate.ErrFailed) {
			t.Fatalf("a table that is not there: %v", err)
		}
		d.exec(t, "CREATE TABLE nowhere (id int)")
		upped(t, m)
		if _, err := m.Down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		d.exec(t, "DROP TABLE nowhere")
		if got := d.schema(t); got != before {
			t.Error(difference(got, before))
		}
	})
}

// O14: the way back is noted before a statement runs, so a run that dies around it loses nothing of it.
func TestO14NotedAndKilled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int DEFAULT 5);", "2_b.sql", "-- changeling: transaction=never\nALTER TABLE a DROP COLUMN n; CREATE INDEX a_m ON a (id); ALTER TABLE a ADD COLUMN m int;")
		if _, err := migrator(t, d.db, fsys, migrate.Config{}).To(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		before := d.schema(t)
		points := []int{24, 29, 34, 39, 44, 49, 62, 63, 64}
		if os.Getenv("CHANGELING_FULL") != "" {
			points = nil
			for at := 10; at < 80; at++ {
				points = append(points, at)
			}
		}
		died := 0
		for i, at := range points {
			db, dead := d.dying(t, dying.Death{At: at, Moment: dying.Moment(i % 2)})
			_, err := migrator(t, db, fsys, migrate.Config{}).Up(t.Context(), "")
			if _, died1 := dead.Died(); died1 {
				died++
			} else if err != nil {
				t.Fatal(err)
			}
			m := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
			upped(t, m)
			if _, err := m.Down(t.Context(), 1); err != nil {
				t.Fatalf("killed at %d: %v", at, err)
			}
			if got := d.schema(t); got != before {
				t.Fatalf("killed at %d: %s", at, difference(got, before))
			}
		}
		if died < 4 {
			t.Errorf("only %d of %d runs died", died, len(points))
		}
	})
}

// O14: where a statement happened and its record did not, the definition as it was before counts, not what the next run finds.
func TestO14RecordLost(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		d := mysqlDatabase(t, version)
		fsys := files("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, n int DEFAULT 5);", "2_b.sql", "ALTER TABLE a DROP COLUMN n;")
		if _, err := migrator(t, d.db, fsys, migrate.Config{}).To(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		before := d.schema(t)
		forgetful := mytest.Mutant(t, d.dsn, func(_ context.Context, s mutant.Statement) string {
			return strings.Replace(s.Text, "migration_step SET done = true", "migration_step SET nothing = true", 1)
		})
		if _, err := migrator(t, forgetful, fsys, migrate.Config{}).Up(t.Context(), ""); err == nil {
			t.Fatal("the record was not lost")
		}
		if strings.Contains(d.schema(t), "DEFAULT 5") {
			t.Fatal("the statement did not happen")
		}
		m := migrator(t, d.db, fsys, migrate.Config{AllowDataLoss: true})
		upped(t, m)
		if _, err := m.Down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got := d.schema(t); got != before {
			t.Error(difference(got, before))
		}
	})
}
