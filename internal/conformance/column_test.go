package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// TestColumnTwin is TestTwin for second columns: what comes out is what the statement leaves natively, but for the place of the
// column in the order of the table. Of the shapes of TestTwin, a sample of those that can go this way does, with CHANGELING_FULL=1
// all of them.
func TestColumnTwin(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "sql", "columns", "columns.sql"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := parseShapes(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var others []shape
	for _, s := range shapes(t) {
		if s.Refused+s.Usage+s.Data == "" && !s.Children && !s.Direct && !s.Recipe && len(s.Volatile)+len(s.Stable) == 0 && strings.Contains(strings.ToUpper(s.Alter), "TYPE") {
			others = append(others, s)
		}
	}
	if os.Getenv("CHANGELING_FULL") == "" {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		others = others[:len(others)/6]
	}
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("postgres %d", major), func(t *testing.T) {
			admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
			pgtest.Exec(t, admin, roles)
			if major >= 15 {
				spare(t, admin)
			}
			for i, s := range append(slices.Clone(own), others...) {
				if s.Since > major || s.Until != 0 && s.Until < major {
					continue
				}
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					s.runColumn(t, major, i < len(own))
				})
			}
		})
	}
}

// runColumn compares. A shape that is not made for second columns may be refused.
func (s shape) runColumn(t *testing.T, major int, must bool) {
	engine := s.twin(t, major)
	before := engine.look(t, s)
	config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, Route: plan.ShadowColumn}
	err := changeling.Apply(t.Context(), engine.runner, s.Alter, config)
	if s.Refused != "" {
		if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(fmt.Sprint(err), s.Refused) {
			t.Errorf("Apply = %v\nexpected a refusal that says %q", err, s.Refused)
		}
		engine.untouched(t, s, before)
		return
	}
	if errors.Is(err, changeling.ErrRefused) && !must {
		engine.untouched(t, s, before)
		t.Logf("refused: %v", err)
		return
	}
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	native := s.twin(t, major)
	if err := native.exec(t, cmp.Or(s.Native, s.Alter)); err != nil {
		t.Fatalf("natively: %v", err)
	}
	if d := diff(native.unordered(t), engine.unordered(t)); d != "" {
		t.Errorf("rows, - native, + engine:\n%s", d)
	}
	if d := diff(loosened(dump(t, native.server, native.dsn)), loosened(dump(t, engine.server, engine.dsn))); d != "" {
		t.Errorf("dump, - native, + engine:\n%s", d)
	}
	if d := diff(loosened(describe(t, native.db)), loosened(describe(t, engine.db))); d != "" {
		t.Errorf("catalogue, - native, + engine:\n%s", d)
	}
	if d := diff(native.next(t), engine.next(t)); d != "" {
		t.Errorf("next values, - native, + engine:\n%s", d)
	}
}

// columnPlace is a column's place among the others.
var columnPlace = regexp.MustCompile(`^(column .*?) +[0-9]+: (\{)`)

// statisticsColumns is the list of columns of extended statistics, which the server writes as they stand.
var statisticsColumns = regexp.MustCompile(`( ON )([\w, ]+)( FROM )`)

// loosened are lines that do not tell in which order columns stand.
func loosened(lines []string) []string {
	var out []string
	for _, line := range lines {
		if strings.Contains(line, "CREATE STATISTICS ") {
			line = statisticsColumns.ReplaceAllStringFunc(line, func(list string) string {
				names := strings.Split(strings.TrimSuffix(strings.TrimPrefix(list, " ON "), " FROM "), ", ")
				slices.Sort(names)
				return " ON " + strings.Join(names, ", ") + " FROM "
			})
		}
		out = append(out, strings.TrimSuffix(columnPlace.ReplaceAllString(line, "$1: $2"), ","))
	}
	slices.Sort(out)
	return out
}

// unordered are all rows of all tables, with their values by the names of the columns.
func (d *database) unordered(t *testing.T) []string {
	t.Helper()
	tables, err := column(t.Context(), d.db, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND `+users+` ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, table := range tables {
		lines, err := column(t.Context(), d.db, `SELECT to_jsonb(x)::text FROM ONLY `+table+` x ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			out = append(out, table+" "+line)
		}
	}
	return out
}
