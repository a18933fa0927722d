package mysql

import (
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestGaleraIsUnfit: a server with wsrep_on is seen as a node of a cluster. It has no cluster here: the variable is what counts.
func TestGaleraIsUnfit(t *testing.T) {
	t.Parallel()
	s := mytest.Own(t, dbtest.MySQLOptions{Version: "mariadb10.11", Settings: map[string]string{"wsrep_on": "ON"}})
	found, err := Look(t.Context(), mytest.Open(t, s.DSN("mysql")))
	if err != nil || !found.Galera || !found.Maria || !strings.Contains(found.Unfit(), "Galera") {
		t.Errorf("Look = %+v, %v; want a node of Galera", found, err)
	}
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule   string
		server Server
		says   string // empty: fit
	}{
		{"a server alone", Server{}, ""},
		{"a server with replicas", Server{Replicas: 3}, ""},
		{"the plugin without a group", Server{Group: Group{MultiPrimary: true}}, ""},
		{"a primary", Server{Group: Group{Members: 3, Primary: true}}, ""},
		{"several primaries", Server{Group: Group{Members: 3, Primary: true, MultiPrimary: true}}, "multi-primary mode, of 3 members"},
		{"one that others may join", Server{Group: Group{Members: 1, Primary: true, MultiPrimary: true}}, "multi-primary"},
		{"a secondary, which is read-only", Server{ReadOnly: true, Group: Group{Members: 3}}, "secondary of its group"},
		{"a replica", Server{ReadOnly: true}, "read-only"},
		{"a node of a cluster", Server{Galera: true}, "wsrep_on"},
	} {
		if got := c.server.Unfit(); c.says == "" && got != "" || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q in it", c.rule, got, c.says)
		}
	}
}
