package changeling_test

import (
	"database/sql"
	"slices"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLTwinsOfTheDead: a plan whose process dies leaves a twin, which the next plan takes away; not one whose planner lives, nor what has
// a row.
func TestMySQLTwinsOfTheDead(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE mourned (id int PRIMARY KEY, amount int)`)
		left := func() (out []string) {
			rows, err := db.Query(`SELECT table_schema FROM information_schema.tables WHERE table_schema LIKE 'changeling!_%' ESCAPE '!' AND table_name = 'mourned'`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var s string
				if err := rows.Scan(&s); err != nil {
					t.Fatal(err)
				}
				out = append(out, s)
			}
			return out
		}
		alive, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer alive.Close()
		mytest.Exec(t, alive, `CREATE DATABASE changeling_0badf0d1`, `CREATE TABLE changeling_0badf0d1.t (a int)`, `DO GET_LOCK('changeling twin 0badf0d1', 0)`,
			`CREATE DATABASE changeling_0badf0d2`, `CREATE TABLE changeling_0badf0d2.t (a int)`, `INSERT INTO changeling_0badf0d2.t VALUES (1)`)
		defer func() { mytest.Exec(t, db, `DROP DATABASE changeling_0badf0d1`, `DROP DATABASE changeling_0badf0d2`) }()
		plan := func(db *sql.DB) error {
			e, err := changeling.Open(t.Context(), db, changeling.Config{})
			if err != nil {
				return err
			}
			defer e.Close()
			_, err = e.Plan(t.Context(), `ALTER TABLE mourned MODIFY amount bigint`)
			return err
		}
		var twins []string
		for n := 10; len(twins) == 0; n++ { // a death at which there is one
			mortal, death := mytest.Dying(t, dsn, dying.Death{At: n, Moment: dying.After})
			err := plan(mortal)
			mortal.Close()
			if _, died := death.Died(); !died {
				t.Fatalf("no death leaves a twin (%v)", err)
			}
			twins = left()
		}
		if err := plan(db); err != nil {
			t.Fatal(err)
		}
		for _, s := range left() {
			if slices.Contains(twins, s) {
				t.Errorf("%s is left", s)
			}
		}
		var kept int
		if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ('changeling_0badf0d1', 'changeling_0badf0d2')`).Scan(&kept); err != nil || kept != 2 {
			t.Errorf("%d of what is somebody's are kept, %v, want 2", kept, err)
		}
	})
}
