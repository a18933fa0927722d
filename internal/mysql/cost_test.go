package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// TestWays says which ways a plan tells the cost of, why one of them cannot be gone, and that a second column which it says would do can be had.
func TestWays(t *testing.T) {
	t.Parallel()
	const plain = "CREATE TABLE `t%1` (id int PRIMARY KEY, a int, b varchar(60), n text NOT NULL, KEY by_a (a), KEY by_b (b))"
	const none, open = "none", ""
	type ways struct{ table, column string } // part of why it cannot be gone
	for _, test := range []struct {
		create, clauses string
		mysql, maria    ways
	}{
		{plain, "MODIFY a BIGINT", ways{open, open}, ways{open, open}},
		{plain, "CHANGE a a BIGINT", ways{open, open}, ways{open, open}},
		{plain, "MODIFY a BIGINT NOT NULL", ways{open, open}, ways{open, open}},
		{plain, "MODIFY b int", ways{open, open}, ways{open, open}},
		{plain, "CHANGE a c BIGINT", ways{none, none}, ways{none, none}},
		{plain, "MODIFY a BIGINT, DROP COLUMN b", ways{none, none}, ways{none, none}},
		{plain, "MODIFY a int FIRST", ways{none, none}, ways{none, none}},
		{plain, "ADD COLUMN c int", ways{none, none}, ways{none, none}},
		{plain, "ENGINE=InnoDB", ways{none, none}, ways{none, none}},
		{plain, "MODIFY a BIGINT FIRST", ways{open, "another place"}, ways{open, "another place"}},
		{plain, "MODIFY id BIGINT", ways{open, "part of the primary key"}, ways{open, "part of the primary key"}},
		{plain, "MODIFY n mediumtext NOT NULL", ways{open, "no constant"}, ways{open, open}},
		{plain, "MODIFY a date", ways{"cannot be compared", "cannot be compared"}, ways{"cannot be compared", "cannot be compared"}},
		{"CREATE TABLE `t%1` (a int, b int)", "MODIFY b BIGINT", ways{"no usable key", "no usable key"}, ways{"no usable key", "no usable key"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) ENGINE=MyISAM", "MODIFY a BIGINT", ways{"engine MyISAM", "no plain InnoDB"}, ways{"engine MyISAM", "no plain InnoDB"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, b int, CHECK (b > 0))", "MODIFY b BIGINT", ways{open, "names column b"}, ways{open, "names column b"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) ROW_FORMAT=COMPRESSED", "MODIFY a BIGINT", ways{open, "compressed"}, ways{open, "compressed"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, w int, v int AS (w + 1) VIRTUAL, a int)", "MODIFY a BIGINT", ways{open, open}, ways{open, open}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, w int, a int, v int AS (w + 1) VIRTUAL)", "MODIFY a BIGINT", ways{open, open}, ways{open, "VIRTUAL"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, w int, v int AS (w + 1) VIRTUAL, a int, KEY (v))", "MODIFY a BIGINT", ways{open, open}, ways{open, "VIRTUAL"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, w int, v int AS (w + 1) STORED, a int, KEY (a), KEY (v))", "MODIFY a BIGINT", ways{open, open}, ways{open, open}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, w int, a int, /*!80013 KEY ((w + 1)), */ KEY (a))", "MODIFY a BIGINT", ways{open, "computes something"}, ways{open, open}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, p point NOT NULL, SPATIAL KEY (p))", "MODIFY a BIGINT", ways{open, open}, ways{open, open}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, p point NOT NULL, KEY (a), SPATIAL KEY (p))", "MODIFY a BIGINT", ways{open, "SPATIAL"}, ways{open, "SPATIAL"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, p point NOT NULL, SPATIAL KEY (p))", "MODIFY a varchar(9)", ways{open, open}, ways{open, open}},
		{plain + "; CREATE TRIGGER mine BEFORE UPDATE ON `t%1` FOR EACH ROW SET NEW.b = 'x'", "MODIFY a BIGINT", ways{open, "fires on UPDATE"}, ways{open, "fires on UPDATE"}},
		{plain + "; CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES `t%1` (id))", "MODIFY a BIGINT", ways{open, open}, ways{"of other tables", open}},
		{"CREATE TABLE par (id int PRIMARY KEY); CREATE TABLE `t%1` (id int PRIMARY KEY, a int, p int, FOREIGN KEY (p) REFERENCES par (id) ON DELETE CASCADE)", "MODIFY a BIGINT", ways{"by itself", open}, ways{"only where the binary log tells", open}},
	} {
		t.Run(test.clauses, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) {
				want := test.mysql
				if strings.HasPrefix(version, "mariadb") {
					want = test.maria
				}
				asked, p := bothWays(t, version, strings.Split(test.create, "; "), test.clauses)
				if len(p.Ways) == 0 != (want.table == none) || len(p.Ways) > 0 && (p.Ways[0].Route != plan.ShadowTable || p.Ways[1].Route != plan.ShadowColumn) {
					t.Fatalf("ways %+v, want %+v", p.Ways, want)
				}
				if want.table == none {
					return
				}
				for i, text := range []string{want.table, want.column} {
					if why := p.Ways[i].Why; why == "" != (text == "") || !strings.Contains(why, text) {
						t.Errorf("why not by %s: %q, want %q in it", p.Ways[i].Route, why, text)
					}
				}
				// Never by itself: a second column cannot be undone.
				route, would := plan.ShadowTable, want.table != "" && want.column == ""
				if want.table != "" {
					route = plan.Refuse
				}
				says := slices.ContainsFunc(p.Refusals, func(text string) bool { return strings.Contains(text, "--route column") })
				if p.Route != route || says != would {
					t.Errorf("route %s, refused for %q, want %s, and that a second column would do: %v", p.Route, p.Refusals, route, would)
				}
				if asked.Route == plan.ShadowColumn && (asked.Spare != asked.Ways[1].Spare || asked.Ways[1] != p.Ways[1]) {
					t.Errorf("asked for a second column the plan says %+v and %d bytes, else %+v", asked.Ways[1], asked.Spare, p.Ways[1])
				}
			})
		})
	}
}

// TestWaysAreThere: a plan that does not try a second column knows whether it would do.
func TestWaysAreThere(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, test := range carried {
			if test.only != "" && !strings.HasPrefix(version, test.only) || strings.Contains(test.clauses, ", ") {
				continue
			}
			t.Run(test.rule, func(t *testing.T) {
				t.Parallel()
				bothWays(t, version, []string{"CREATE TABLE `t%1` (" + test.columns + ")"}, test.clauses)
			})
		}
	})
}

// bothWays plans a statement with a second column asked for, and without, and fails if the one refuses what the other says would do, or does what the
// other says cannot be done.
func bothWays(t *testing.T, version string, create []string, clauses string) (asked, p *plan.Plan) {
	t.Helper()
	s := open(t, version)
	s.exec(create...)
	id := s.table.Schema[max(0, len(s.table.Schema)-12):]
	for _, o := range []Options{{Route: plan.ShadowColumn}, {}} {
		var err error
		asked, o.ID, o.LockWait = p, id, time.Second
		if p, err = Plan(t.Context(), s.db, "ALTER TABLE `t%1` "+clauses, o); err != nil {
			t.Fatal(err)
		}
		s.nothingLeft(id)
	}
	if len(p.Ways) > 0 && (p.Ways[1].Why == "") != (asked.Route == plan.ShadowColumn) {
		t.Errorf("a second column is said to fail for %q; asked for, the route is %s: %q", p.Ways[1].Why, asked.Route, asked.Refusals)
	}
	return asked, p
}

// TestCosts holds estimates against what `go run ./bench/routes -rows 300000` measured: which way writes less is known, and how much is right but for
// a factor.
func TestCosts(t *testing.T) {
	t.Parallel()
	for _, m := range measured {
		t.Run(fmt.Sprintf("%s %s", m.server, m.shape), func(t *testing.T) {
			w := planner{logged: true, dialect: dialect{maria: m.server == "mariadb"}}
			r := &rehearsal{change: "c", source: m.source()}
			v := r.source.column("v")
			c := second{from: *v, to: Column{Name: "v", Type: "bigint", Data: "bigint"}, was: m.built(), pair: schema.Pair{Columns: []schema.Mapped{{}}}}
			table, column := w.tableCosts(r), w.columnCosts(r, c, 2*r.source.logged())
			near := func(what string, estimate, mib int64) {
				t.Helper()
				if got := estimate >> 20; got > 2*mib+8 || mib > 2*got+8 {
					t.Errorf("%s is estimated at %d MiB, and was %d", what, got, mib)
				}
			}
			near("the redo log of a second table", table.Log-table.Binlog, m.table.redo)
			near("the binary log of a second table", table.Binlog, m.table.binlog)
			near("the disk of a second table", table.Spare, m.table.spare)
			near("the redo log of a second column", column.Log-column.Binlog, m.column.redo)
			near("the binary log of a second column", column.Binlog, m.column.binlog)
			near("the disk of a second column", column.Spare, m.column.spare)
			// What is as good as the same has no order.
			a, b := m.table.redo+m.table.binlog, m.column.redo+m.column.binlog
			if (table.Log < column.Log) != (a < b) && max(a, b)*9 > min(a, b)*10 {
				t.Errorf("a second table is estimated at %d bytes of logs and a second column at %d: it was the other way round", table.Log, column.Log)
			}
			w.logged = false
			if a, b := w.tableCosts(r), w.columnCosts(r, c, 0); a.Binlog+b.Binlog != 0 || a.Log != table.Log-table.Binlog || b.Log != column.Log-column.Binlog {
				t.Errorf("without a binary log %+v and %+v, with it %+v and %+v", a, b, table, column)
			}
		})
	}
}

// measurement is what the benchmark told of one table, in MiB, and what the server's catalogue said of the table before. Spare is disk at the peak.
type measurement struct {
	server, shape     string
	data, index, rows int64 // bytes
	columns           []Column
	indexes           string // beside the primary key; the last one is of the column
	table, column     costs
}

type costs struct{ redo, binlog, spare int64 }

var (
	keyed     = []Column{{Name: "id", Type: "bigint", Data: "bigint"}, {Name: "v", Type: "int", Data: "int"}}
	spreading = slices.Concat(keyed, []Column{{Name: "a", Type: "varchar(200)", Data: "varchar", Length: 200}, {Name: "b", Type: "text", Data: "text", Length: 65535},
		{Name: "c", Type: "datetime(6)", Data: "datetime"}, {Name: "d", Type: "decimal(20,2)", Data: "decimal", Precision: 20, Scale: 2}, {Name: "e", Type: "varchar(200)", Data: "varchar", Length: 200}})
	outside = slices.Concat(keyed, []Column{{Name: "doc", Type: "mediumtext", Data: "mediumtext", Length: 1<<24 - 1}})

	measured = []measurement{
		{"mysql", "narrow", 9977856, 0, 299796, keyed, "", costs{20, 5, 20}, costs{43, 12, 12}},
		{"mysql", "narrow, v indexed", 9977856, 5783552, 299796, keyed, "v", costs{20, 5, 26}, costs{43, 12, 17}},
		{"mysql", "wide", 175865856, 0, 289305, spreading, "", costs{175, 151, 196}, costs{199, 304, 0}},
		{"mysql", "wide, five indexes", 175865856, 126025728, 289305, spreading, "a c d b v", costs{176, 151, 284}, costs{199, 304, 8}},
		{"mysql", "mostly outside of the row", 985153536, 0, 30281, outside, "", costs{698, 596, 956}, costs{6, 1192, 108}},
		{"mariadb", "narrow", 9977856, 0, 299796, keyed, "", costs{18, 5, 20}, costs{148, 12, 12}},
		{"mariadb", "narrow, v indexed", 9977856, 5783552, 299796, keyed, "v", costs{27, 5, 20}, costs{157, 12, 21}},
		{"mariadb", "wide", 175865856, 0, 289305, spreading, "", costs{166, 151, 184}, costs{1095, 304, 0}},
		{"mariadb", "wide, five indexes", 175865856, 120782848, 289305, spreading, "a c d b v", costs{257, 151, 264}, costs{1104, 304, 12}},
		{"mariadb", "mostly outside of the row", 985153536, 0, 30281, outside, "", costs{601, 596, 960}, costs{30, 1192, 8}},
	}
)

func (m measurement) source() *Relation {
	r := &Relation{Data: m.data, Bytes: m.data + m.index, Rows: m.rows, Columns: m.columns, Indexes: []Index{{Name: "PRIMARY"}}}
	for _, name := range strings.Fields(m.indexes) {
		r.Indexes = append(r.Indexes, Index{Name: name, Keys: []IndexKey{{Column: name}}})
	}
	return r
}

func (m measurement) built() []Index {
	list := m.source().Indexes
	return list[max(len(list)-1, 1):]
}
