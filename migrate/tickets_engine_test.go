package migrate_test

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
)

// N9, Z6, NR3: with no table counted as small, each statement of a tree that reshapes one goes through the engine, and what comes of it is
// the same.
func TestN9TicketsThroughTheEngine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, plain database) {
		plain.plainly(t, story(t, plain.kind))
		d := postgresDatabase
		if plain.kind == "mysql" {
			version := strings.Split(t.Name(), "/")[1]
			d = func(t *testing.T) database { return mysqlDatabase(t, version) }
		}
		online := d(t)
		fsys := load(t, "testdata/tickets/goose/"+plain.kind)
		config := migrate.Config{SmallRows: -1, Engine: changeling.Config{Fast: true, DropAfter: changeling.DropNow}}
		// What is refused is named by file and line, and a person lets it through: some rewrite a table that views or foreign keys of others use.
		through := 0
		for ; through < 12; through++ {
			_, err := migrator(t, online.db, fsys, config).Up(t.Context(), "")
			if err == nil {
				break
			}
			at := place.FindStringSubmatch(err.Error())
			if !errors.Is(err, changeling.ErrRefused) || at == nil {
				t.Fatal(err)
			}
			line, _ := strconv.Atoi(at[2]) // digits
			lines := strings.Split(string(fsys[at[1]].Data), "\n")
			fsys[at[1]] = &fstest.MapFile{Data: []byte(strings.Join(slices.Insert(lines, line-1, "-- changeling: direct"), "\n"))}
		}
		if through > 9 {
			t.Errorf("%d statements were refused", through)
		}
		if got, want := online.whole(t), plain.whole(t); got != want {
			t.Error(difference(got, want))
		}
		if changes := online.ask(t, "SELECT COUNT(*) FROM changeling.migration_step WHERE change_id <> ''"); changes == "0" && !strings.Contains(t.Name(), "/mariadb") { // there all of these tables have foreign keys
			t.Error("no statement went through the engine")
		}
	})
}

var place = regexp.MustCompile(`(\S+\.sql):(\d+): `)
