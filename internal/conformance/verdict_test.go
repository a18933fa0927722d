package conformance

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

// operation is one statement as it was measured on a table with rows: testdata/operations.
type operation struct {
	Major  int    `json:"v"`
	ID     string `json:"id"`
	Setup  string `json:"setup"`
	Text   string `json:"stmt"`
	Files  string `json:"refile"` // relations that got another file
	Scans  string `json:"scans"`  // relations that were read: t:2x/1000rows
	Failed string `json:"err"`
}

var rowsRead = regexp.MustCompile(`/[1-9][0-9]*rows`)

// effect is what the server did.
func (o operation) effect() postgres.Effect {
	switch {
	case o.Files != "":
		return postgres.Rewrites
	case rowsRead.MatchString(o.Scans):
		return postgres.Scans
	}
	return postgres.AtOnce
}

// explained are statements whose measured effect the planner does not tell, and why.
var explained = map[string]string{
	"truncate": "the new files are empty: it is done at once",
	"swap_pk":  "the new key's index has got the old one's name, so that only the name has another file",
}

func operations(t *testing.T, major int) []operation {
	t.Helper()
	var out []operation
	for _, file := range []string{"postgres.json", "postgres-more.json"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "operations", file))
		if err != nil {
			t.Fatal(err)
		}
		var some []operation
		if err := json.Unmarshal(text, &some); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, some...)
	}
	return slices.DeleteFunc(out, func(o operation) bool { return o.Major != major })
}

// sampled is an eighth of the statements that were measured, or all of them with CHANGELING_FULL=1, and says how many of all are explained
// away, which at most one in a hundred may be.
func sampled[S any](t *testing.T, all []S, explained func(S) bool) (some []S, known int) {
	t.Helper()
	for _, s := range all {
		if explained(s) {
			known++
		}
	}
	if known*100 > len(all) {
		t.Errorf("%d of %d statements are explained away, at most 1 %% may be", known, len(all))
	}
	if os.Getenv("CHANGELING_FULL") == "" {
		dice(t).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:len(all)/8]
	}
	return all, known
}

// TestVerdicts: what the planner says that the server would do with a statement is what was measured: CHANGELING_FULL=1 goes
// through all statements, otherwise it is a sample.
func TestVerdicts(t *testing.T) {
	base, err := os.ReadFile(filepath.Join("..", "..", "testdata", "operations", "base-postgres.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("postgres %d", major), func(t *testing.T) {
			t.Parallel()
			all, _ := sampled(t, operations(t, major), func(o operation) bool { return explained[o.ID] != "" })
			server := pgtest.Server(t, major)
			admin := pgtest.Open(t, server.DSN("postgres"))
			template := fmt.Sprintf("verdicts_%d_%d", major, os.Getpid())
			pgtest.Exec(t, admin, "CREATE DATABASE "+template)
			db, err := sql.Open("pgx", server.DSN(template))
			if err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, db, string(base))
			db.Close()
			var mu sync.Mutex
			agreed, next := 0, make(chan operation)
			var workers sync.WaitGroup
			for n := range 3 {
				workers.Go(func() {
					for o := range next {
						name := fmt.Sprintf("%s_%d", template, n)
						if _, err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
							t.Error(err)
							continue
						}
						if o.agrees(t, server.DSN(name)) {
							mu.Lock()
							agreed++
							mu.Unlock()
						}
						if _, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for _, o := range all {
				next <- o
			}
			close(next)
			workers.Wait()
			pgtest.Exec(t, admin, "DROP DATABASE "+template)
			t.Logf("%d of %d agree", agreed, len(all))
		})
	}
}

// agrees compares, and says where it differs.
func (o operation) agrees(t *testing.T, dsn string) bool {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Error(err)
		return false
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // what the setup sets is the session's that plans
	if _, err := db.ExecContext(t.Context(), o.Setup); err != nil && o.Failed == "" {
		t.Errorf("%s: setup: %v", o.ID, err)
		return false
	}
	statements, err := plan.Split(o.Text, plan.PostgresSyntax())
	if err != nil {
		t.Errorf("%s: %v", o.ID, err)
		return false
	}
	var got postgres.Effect
	weight := []postgres.Effect{postgres.AtOnce, postgres.Scans, postgres.Rewrites}
	for i, s := range statements {
		p, err := postgres.Plan(t.Context(), db, s, postgres.Options{ID: fmt.Sprintf("0000000%d", i), LockWait: time.Second})
		if o.Failed != "" {
			// The planner may not know; but what fails for the server is not promised as something slow.
			return true
		}
		if err != nil {
			t.Errorf("%s: %s: %v (%v)", o.ID, s, err, fault.KindOf(err))
			return false
		}
		if slices.Index(weight, postgres.Effect(p.Effect)) >= slices.Index(weight, got) {
			got = postgres.Effect(p.Effect)
		}
		if i+1 < len(statements) {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Errorf("%s: %v", o.ID, err)
				return false
			}
		}
	}
	if want := o.effect(); got != want && explained[o.ID] == "" {
		t.Errorf("%s: %s\n  the planner says %q, measured was %q", o.ID, o.Text, got, want)
		return false
	}
	return true
}
