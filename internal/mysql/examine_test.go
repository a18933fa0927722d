package mysql

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestExamineAnswersEverything: each question is one that the server understands, and a superuser of a healthy server has
// nothing that fails.
func TestExamineAnswersEverything(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Open(t, mytest.Database(t, version))
		mytest.Exec(t, db, "CREATE TABLE a (n int PRIMARY KEY)")
		found, err := Examine(t.Context(), db, "here", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, f := range found {
			seen[f.Check] = true
			if f.Level == "fail" || strings.Contains(f.Text, "could not be looked at") || f.Level != "ok" && f.Fix == "" {
				t.Errorf("%+v", f)
			}
		}
		set, err := variables(t.Context(), db, "innodb_log_writer_threads")
		if err != nil {
			t.Fatal(err)
		}
		told := slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Text, "innodb_log_writer_threads") })
		if off := set["innodb_log_writer_threads"] == "OFF"; told != off {
			t.Errorf("innodb_log_writer_threads is off: %v, told of: %v", off, told)
		}
		if len(seen) != 11 {
			t.Errorf("%d checks, want 11: %v", len(seen), seen)
		}
	})
}

func TestRights(t *testing.T) {
	t.Parallel()
	r := Rights{patterns: true, scopes: []scope{{"", []string{"PROCESS"}, false}, {`my\_shop`, []string{"SELECT", "INSERT"}, false}, {"changeling%", []string{"ALL PRIVILEGES"}, true}, {"x_z", []string{"SELECT"}, false}}}
	for _, c := range []struct {
		database, privilege string
		has                 bool
	}{
		{"", "PROCESS", true}, {"", "SELECT", false}, {"my_shop", "SELECT", true}, {"myxshop", "SELECT", false}, {"my_shop", "DROP", false}, {"my_shop", "PROCESS", true},
		{"changeling_0a_old", "DROP", true}, {"changelin", "DROP", false}, {"xyz", "SELECT", true}, {"xz", "SELECT", false},
	} {
		if got := len(r.Lacks(c.database, c.privilege)) == 0; got != c.has {
			t.Errorf("%s on %q: %v, want %v", c.privilege, c.database, got, c.has)
		}
	}
	r.patterns = false
	if len(r.Lacks("changeling_0a", "DROP")) == 0 {
		t.Error("with partial revokes a pattern is a name")
	}
}
