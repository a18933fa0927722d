package mysql

import (
	"testing"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// TestTablesOfKeys: the tables that foreign keys in a text refer to get other names, and nothing else does.
func TestTablesOfKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"ADD FOREIGN KEY (a) REFERENCES parents (id)", "ADD FOREIGN KEY (a) REFERENCES <.parents> (id)"},
		{"ADD FOREIGN KEY (a) references`app` . `the ``one` (id), ADD x int", "ADD FOREIGN KEY (a) references<app.the `one> (id), ADD x int"},
		{"ADD a int REFERENCES /* who */ app.parents(id), ADD FOREIGN KEY (b) REFERENCES other(id)", "ADD a int REFERENCES /* who */ <app.parents>(id), ADD FOREIGN KEY (b) REFERENCES <.other>(id)"},
		{"ADD `references` int COMMENT 'REFERENCES parents (id)'", "ADD `references` int COMMENT 'REFERENCES parents (id)'"},
		{"ADD a int -- REFERENCES parents\n", "ADD a int -- REFERENCES parents\n"},
		{"ADD a int REFERENCES", "ADD a int REFERENCES"},
	} {
		w := planner{syntax: plan.MySQLSyntax()}
		if got := w.tables(c.text, func(n schema.Name) string { return "<" + n.Schema + "." + n.Table + ">" }); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestPartitionsOfStatement: which partitions a statement is about.
func TestPartitionsOfStatement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, names, other string }{
		{"DROP PARTITION p1, `p 2` ,p3", "p1|p 2|p3", ""},
		{"TRUNCATE PARTITION ALL", "", ""},
		{"TRUNCATE PARTITION `all`", "all", ""},
		{"DROP PARTITION IF EXISTS p1", "p1", ""},
		{"REORGANIZE PARTITION p1, p2 INTO (PARTITION p VALUES LESS THAN (5))", "p1|p2", ""},
		{"ADD PARTITION (PARTITION p3 VALUES LESS THAN (400))", "", ""},
		{"COALESCE PARTITION 2", "", ""},
		{"EXCHANGE PARTITION p1 WITH TABLE app.x WITHOUT VALIDATION", "p1", "app.x"},
		{"CONVERT PARTITION p1 TO TABLE `new one`", "p1", "new one"},
	} {
		s, err := plan.Parse("ALTER TABLE t "+c.text, plan.MySQLSyntax())
		if err != nil {
			t.Fatal(err)
		}
		m := (&planner{syntax: plan.MySQLSyntax(), statement: s}).maintains()
		if m == nil {
			t.Errorf("%s is not understood", c.text)
			continue
		}
		names := ""
		for i, n := range m.names {
			if i > 0 {
				names += "|"
			}
			names += n
		}
		if names != c.names || m.other.String() != c.other {
			t.Errorf("%s: partitions %q and table %q, want %q and %q", c.text, names, m.other, c.names, c.other)
		}
	}
}
