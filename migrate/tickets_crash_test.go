package migrate_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/migrate"
)

// N4, N11, R3: an upgrade over all versions is killed before or after any of its statements, and the next run ends with the same
// schema, the same data and the same history. CHANGELING_FULL takes two hundred points a server.
func TestN4UpgradeDies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		version := strings.Split(t.Name(), "/")[1]
		empty := func(t *testing.T) database {
			if d.kind == "postgres" {
				return postgresDatabase(t)
			}
			return mysqlDatabase(t, version)
		}
		db, counter := d.dying(t, dying.Death{})
		upped(t, tickets(t, db, migrate.Goose, d.kind, migrate.Config{}))
		want, history, statements := d.whole(t), d.history(t), counter.Count()
		if !strings.Contains(history, "applied") || statements < 100 {
			t.Fatalf("%d statements, and the history\n%s", statements, history)
		}
		points := 3
		if os.Getenv("CHANGELING_FULL") != "" {
			points = 200
		}
		seed := uint64(len(version))
		random, unnoticed := rand.New(rand.NewPCG(8, seed)), 0
		for i := 0; i < points+unnoticed && i < 3*points; i++ {
			t.Run(fmt.Sprint(i), func(t *testing.T) { // connections are closed behind each
				d := empty(t)
				death := dying.Death{At: 1 + random.IntN(statements), Moment: dying.Moment(i % 2)}
				db, dead := d.dying(t, death)
				_, err := tickets(t, db, migrate.Goose, d.kind, migrate.Config{}).Up(t.Context(), "")
				last, died := dead.Died()
				if !died || err == nil { // heartbeats count too, of which a slow machine has many: there may be fewer statements
					unnoticed++
				}
				m := tickets(t, d.db, migrate.Goose, d.kind, migrate.Config{})
				if _, err := m.Up(t.Context(), ""); err != nil {
					t.Fatalf("killed %s statement %d, %s: %v", death.Moment, death.At, last, err)
				}
				if got := d.whole(t); got != want {
					t.Fatalf("killed %s statement %d, %s: %s", death.Moment, death.At, last, difference(got, want))
				}
				if got := d.history(t); got != history {
					t.Fatalf("killed %s statement %d, %s: the history differs: %s", death.Moment, death.At, last, difference(got, history))
				}
			})
		}
		if tried := min(points+unnoticed, 3*points); tried-unnoticed < points*2/3 {
			t.Errorf("%d of %d deaths were none", unnoticed, tried)
		}
	})
}

// history is what the database knows of its migrations, without times and names of runs.
func (d database) history(t *testing.T) string {
	t.Helper()
	tree := map[string]string{"postgres": "'main'", "mysql": "CONCAT(DATABASE(), '/main')"}[d.kind]
	lines := d.rows(t, "SELECT version, what FROM changeling.migration_history WHERE tree = "+tree+" ORDER BY id")
	lines = append(lines, d.rows(t, "SELECT version, name, exact, normal, status, origin, error FROM changeling.migration WHERE tree = "+tree+" ORDER BY version")...)
	return strings.Join(append(lines, d.rows(t, "SELECT version, direction, seq, hash, done FROM changeling.migration_step WHERE tree = "+tree+" ORDER BY version, direction, seq")...), "\n")
}
