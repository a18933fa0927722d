package main

import (
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestUnrehearsed: who may make no twin, or wants none, hears what the rules say, that it was not rehearsed, and no route.
func TestUnrehearsed(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	admin := pgtest.Open(t, s.dsn)
	role := "reader_" + strings.ToLower(rand.Text()[:8])
	limited, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	limited.User = url.User(role)
	pgtest.Exec(t, admin, "CREATE TABLE orders (id int PRIMARY KEY, amount int)", "CREATE ROLE "+role+" LOGIN", "GRANT SELECT ON orders TO "+role)
	t.Cleanup(func() { s.forget(role) })
	const widened = "ALTER TABLE orders ALTER COLUMN amount TYPE bigint"
	for name, by := range map[string]struct {
		shell *shell
		flags []string
		says  string
	}{
		"not wanted":  {s, []string{"--no-rehearsal"}, "as --no-rehearsal says"},
		"not allowed": {&shell{t: t, dsn: limited.String()}, nil, "could not be rehearsed"},
	} {
		out := by.shell.run(0, append([]string{"plan", widened}, by.flags...)...).stdout
		contains(t, name, out, "route      unknown", by.says, "L07, error", "nothing was changed.\n")
		var v struct {
			Route string
			Rules []struct{ Rule, Level string }
		}
		if err := json.Unmarshal([]byte(by.shell.run(0, append([]string{"plan", "--json", widened}, by.flags...)...).stdout), &v); err != nil || v.Route != "unknown" || len(v.Rules) == 0 || v.Rules[0].Rule != "L07" {
			t.Errorf("%s: as JSON it is %+v, %v", name, v, err)
		}
	}
	var schemas int
	if err := admin.QueryRow(`SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling%'`).Scan(&schemas); err != nil || schemas != 0 {
		t.Errorf("%d schemas are left, %v", schemas, err)
	}
	contains(t, "a plan of files", s.run(2, "plan", "--no-rehearsal", "--sarif", widened).stderr, "changeling lint")
	contains(t, "no SQL", s.run(2, "plan", "--no-rehearsal", "ALTER TABLE 'orders").stderr, "has no end")
	mytest.Each(t, func(t *testing.T, version string) {
		my := &shell{t: t, dsn: mytest.Database(t, version)}
		contains(t, "of a table that is not there", my.run(0, "plan", "--no-rehearsal", "ALTER TABLE orders MODIFY amount bigint NOT NULL").stdout, "route      unknown", "L13, error", "L07, warning")
	})
}
