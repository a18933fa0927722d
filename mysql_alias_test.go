package changeling_test

import (
	"database/sql"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLNamedLikeAnAlias: tables and columns that have the names which the engine's statements give to tables.
func TestMySQLNamedLikeAnAlias(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, name := range []string{"s", "d", "l"} {
			mytest.Exec(t, db, "CREATE TABLE "+name+" ("+name+" int PRIMARY KEY, x int NOT NULL)", "INSERT INTO "+name+" VALUES (1, 10), (2, 20), (3, 30)")
			c := made(t, db, "ALTER TABLE "+name+" MODIFY x varchar(20) NOT NULL", byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
			mytest.Exec(t, db, "UPDATE "+name+" SET x = '21' WHERE "+name+" = 2")
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Errorf("undo of the change of %s: %v", name, err)
			}
			var sum, n int
			if err := db.QueryRow("SELECT SUM(x), COUNT(*) FROM "+name).Scan(&sum, &n); err != nil || sum != 61 || n != 3 {
				t.Errorf("%s: %d rows, sum %d, %v; want 3 and 61", name, n, sum, err)
			}
		}
	})
}
