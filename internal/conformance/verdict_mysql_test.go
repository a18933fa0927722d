package conformance

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// alteration is one ALTER TABLE of MySQL or MariaDB as it was measured on a table with rows: testdata/operations.
type alteration struct {
	ID      string            `json:"id"`
	Setup   string            `json:"setup"`
	Clauses string            `json:"alter"`
	Best    string            `json:"best"`    // the lightest demand that the server took: INSTANT; NOCOPY, LOCK=NONE; …; NONE of them
	Rebuilt string            `json:"rb"`      // whether the table had another number in InnoDB afterwards
	Default string            `json:"default"` // what the statement did without a demand
	Why     map[string]string `json:"why"`     // the server's reasons against lighter ones
}

// others are alterations of another table than t.
var others = map[string]string{"rename_col_fk_referenced": "ref", "copy_fk_parent_table": "ref", "modify_fk_parent_type": "ref", "add_col_temporary": "tt"}

// explainedToo are alterations whose measured verdict the planner does not tell, and why.
var explainedToo = map[string]string{
	"add_col_temporary": "a temporary table is one session's own: the planner does not see it, and nobody waits for it",
	"instant_lock_none": "the clause says how it is to be done, which the planner chooses: it says so and refuses",
}

// drifted are alterations that another patch of a version does in another way than was measured. The server at hand decides: it has to
// take the planner's demand on the table itself.
var drifted = map[string]string{"page_compressed_maria": "at once on 11.8.6, by a rebuild on 11.8.9"}

// partOf are clauses about single partitions. InnoDB has other numbers after each of them, whether it read a row or not; MariaDB
// takes no demand with them.
var partOf = regexp.MustCompile(`^(add|drop|truncate|exchange|reorganize|coalesce|rebuild|convert) partition\b`)

// moves are those that write rows anew.
var moves = regexp.MustCompile(`^(reorganize|coalesce|rebuild|add partition partitions)\b`)

// data says that it failed because of a row, which nobody can know from a definition.
var data = regexp.MustCompile(`Data truncated|Duplicate entry|Invalid use of NULL|geometry object`)

// table is the name that the clauses are about.
func (a alteration) table() string { return cmp.Or(others[a.ID], "t") }

// fails says that the server does not do it, or that a row is in the way.
func (a alteration) fails() bool { return strings.HasPrefix(a.Default, "default:ERR") }

// verdict is what was measured, and empty where nothing can be demanded.
func (a alteration) verdict(version string) plan.Native {
	algorithm, lock, _ := strings.Cut(strings.TrimPrefix(a.Best, "ALGORITHM="), ", LOCK=")
	n := plan.Native{Algorithm: algorithm, Lock: lock, Rebuild: strings.HasPrefix(a.Rebuilt, "rebuild")}
	switch {
	case algorithm == "NONE": // MariaDB takes none with partitions; one was written in the wrong place
		return plan.Native{}
	case partOf.MatchString(a.Clauses):
		n.Rebuild = moves.MatchString(a.Clauses)
	case strings.HasPrefix(a.Clauses, "rename to"):
		n.Rebuild = false // its number was looked for under the old name
	case algorithm == "INSTANT" && n.Rebuild && version == "mariadb10.11":
		n.Algorithm, n.Lock = "COPY", "SHARED" // it took the demand, and wrote all rows
	case algorithm == "NOCOPY":
		n.Algorithm = "INPLACE"
	}
	return n
}

func alterations(t *testing.T, version string) []alteration {
	t.Helper()
	name := strings.Replace(strings.Replace(version, "mysql", "mysql-", 1), "mariadb", "mariadb-", 1)
	var out []alteration
	for _, file := range []string{name + ".json", name + "-more.json"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "operations", file))
		if err != nil {
			t.Fatalf("nothing was measured on %s: %v", version, err)
		}
		var some []alteration
		if err := json.Unmarshal(text, &some); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, some...)
	}
	return out
}

func baseMySQL(t *testing.T) []string {
	t.Helper()
	base, err := os.ReadFile(filepath.Join("..", "..", "testdata", "operations", "base-mysql.sql"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.Split(string(base), plan.MySQLSyntax())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestVerdictsMySQL: what the planner says that MySQL or MariaDB would do with a statement by itself is what was measured, and what it
// does at once, or in place while others write, is not copied: CHANGELING_FULL=1 goes through all statements, otherwise it is a sample.
func TestVerdictsMySQL(t *testing.T) {
	base := baseMySQL(t)
	mytest.Each(t, func(t *testing.T, version string) {
		all := alterations(t, version)
		blind := 0
		for _, a := range all {
			if a.fails() && data.MatchString(a.Default) {
				blind++
			}
		}
		all, known := sampled(t, all, func(a alteration) bool { return explainedToo[a.ID] != "" })
		server := mytest.Server(t, version)
		var agreed atomic.Int64
		next := make(chan alteration)
		var workers errgroup.Group
		for n := range 2 {
			workers.Go(func() error {
				for a := range next {
					if a.agrees(t, version, server.DSN(""), fmt.Sprintf("verdicts_%d_%d", os.Getpid(), n), base) {
						agreed.Add(1)
					}
				}
				return nil
			})
		}
		for _, a := range all {
			next <- a
		}
		close(next)
		if err := workers.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d of %d agree; %d are explained, %d fail because of rows", agreed.Load(), len(all), known, blind)
	})
}

// stage makes a database with the tables of the measurement, and answers a pool of one connection to it: what the setup sets is
// the session's that plans.
func (a alteration) stage(t *testing.T, dsn, name string, base []string) *sql.DB {
	db := mytest.Open(t, dsn)
	db.SetMaxOpenConns(1)
	list, err := plan.Split(a.Setup, plan.MySQLSyntax())
	if err != nil {
		t.Errorf("%s: %v", a.ID, err)
		return nil
	}
	for i, text := range slices.Concat([]string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name, "USE " + name}, base, list) {
		if _, err := db.ExecContext(t.Context(), text); err != nil && (i < 3+len(base) || a.Why["SETUP"] == "") {
			t.Errorf("%s: %s: %v", a.ID, text, err)
			return nil
		}
	}
	return db
}

// agrees compares, and says where it differs.
func (a alteration) agrees(t *testing.T, version, dsn, name string, base []string) bool {
	db := a.stage(t, dsn, name, base)
	if db == nil {
		return false
	}
	defer db.Close()
	statement := "ALTER TABLE " + a.table() + " " + a.Clauses
	p, err := mysql.Plan(t.Context(), db, statement, mysql.Options{ID: "v" + name[len("verdicts_"):], LockWait: time.Second})
	var got plan.Native
	if err == nil && p.Native != nil {
		got = *p.Native
	}
	want := a.verdict(version)
	said := fmt.Sprintf("%+v", got)
	if err != nil {
		said += ": " + err.Error()
	} else {
		said += ": " + string(p.Route) + ": " + p.Why
	}
	agrees := false
	switch {
	case explainedToo[a.ID] != "":
		return true
	case a.fails() && data.MatchString(a.Default):
		return true // the run finds the row; nothing is changed then
	case a.fails():
		agrees = err != nil || p.Route == plan.Refuse
	case err != nil:
	case want == plan.Native{}: // no demand, and so no verdict
		agrees = true
	default:
		agrees = got == want
	}
	if !agrees && err == nil && got != want && drifted[a.ID] != "" {
		_, err := db.ExecContext(t.Context(), p.Steps[0].SQL[1]) // with its demand, on the table itself
		agrees, want = err == nil, got
	}
	if agrees && err == nil && !a.fails() {
		light := want.Algorithm == "INSTANT" || want.Algorithm == "INPLACE" && want.Lock == "NONE" && !want.Rebuild
		if partOf.MatchString(a.Clauses) {
			light = !moves.MatchString(a.Clauses)
		}
		agrees = !light || p.Route == plan.Direct || p.Route == plan.Recipe
		if want != (plan.Native{}) && !light && p.Route == plan.Direct && !partOf.MatchString(a.Clauses) {
			agrees = false
		}
	}
	if !agrees {
		t.Errorf("%s: %s; %s\n  the planner says %s\n  measured was %+v (%s %s, %s)", a.ID, a.Setup, statement, said, want, a.Best, a.Rebuilt, a.Default)
	}
	return agrees
}
