package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestPartition: the command says what it would do, does it, is done then, and takes it back; what cannot be is refused with what to do.
func TestPartition(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE visits (id bigint, at date, note text, PRIMARY KEY (id, at))`, `INSERT INTO visits SELECT i, date '2026-01-01' + i % 700, 'n' FROM generate_series(1, 5000) i`,
		`CREATE TABLE keyed (id bigint PRIMARY KEY, at date NOT NULL UNIQUE)`, `CREATE TABLE keyless (id bigint, at date)`, `CREATE VIEW visited AS SELECT 1`)
	year := func(n string) string {
		return "visits_" + n + " FOR VALUES FROM ('" + n + "-01-01') TO ('" + n + "-12-31')"
	}
	by := []string{"partition", "visits", "--by", "range (at)", "--partition", year("2026"), "--default", "visits_rest"}
	with := func(more ...string) []string { return append(append([]string{}, by...), more...) }
	contains(t, "--plan", s.run(0, with("--plan")...).stdout, "PARTITION BY RANGE (at)", "visits_2026", "a second table, which is partitioned", "undo", "This is a plan")
	if n := s.ask(`SELECT count(*) FROM pg_class WHERE relname LIKE 'visits_2%'`); n != "0" {
		t.Errorf("--plan left %s partitions", n)
	}
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"partition"}, 2, []string{"one table is expected"}},
		{[]string{"partition", "visits"}, 2, []string{"expected range, list or hash"}},
		{[]string{"partition", "visits", "--by", "range at"}, 2, []string{"expected range, list or hash"}},
		{[]string{"partition", "visits", "--by", "range (at); DROP TABLE visits"}, 2, []string{"expected range, list or hash"}},
		{[]string{"partition", "visits", "--by", "range (at)"}, 2, []string{"no partition is given"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partitions", "3"}, 2, []string{"for hash alone"}},
		{[]string{"partition", "visits", "--by", "hash (id)", "--partitions", "201"}, 2, []string{"at most 200"}},
		{[]string{"partition", "visits", "--by", "hash (id)", "--partitions", "2", "--default", "x"}, 2, []string{"no default partition"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", "x VALUES LESS THAN (3)"}, 2, []string{"expected a name and FOR VALUES"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", "x FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY HASH (id)"}, 2, []string{"expected a name and FOR VALUES"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", "visits DEFAULT"}, 2, []string{"the table's own"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", "keyed DEFAULT"}, 2, []string{"has something called keyed"}},
		{[]string{"partition", "visits", "--by", "range (nothing)", "--default", "x"}, 2, []string{`"nothing"`}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", "x FOR VALUES FROM (1) TO (2)"}, 2, []string{"the server says"}},
		{with("--partition", "more FOR VALUES FROM ('2026-06-01') TO ('2027-06-01')"), 2, []string{"overlap"}},
		{[]string{"partition", "nothing", "--by", "hash (id)", "--partitions", "2"}, 2, []string{"does not exist"}},
		{[]string{"partition", "keyless", "--by", "hash (id)", "--partitions", "2"}, 3, []string{"no usable key"}},
		{[]string{"partition", "visited", "--by", "hash (id)", "--partitions", "2"}, 3, []string{"is a view"}},
		{[]string{"partition", "keyed", "--by", "range (at)", "--default", "x"}, 3, []string{"primary key keyed_pkey (id) does not have at", "hash (id)", `ADD CONSTRAINT "keyed_pkey" PRIMARY KEY ("id", "at")`}},
		{[]string{"partition", "keyed", "--by", "hash (id)", "--partitions", "2"}, 3, []string{"unique constraint keyed_at_key (at) does not have id"}},
		{[]string{"partition", "visits", "--by", "range (date_part('year', at))", "--default", "x"}, 3, []string{"by an expression"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", year("2026"), "--yes"}, 5, []string{"a partition for each row", "id 365", "at 2027-01-01"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--partition", year("2026"), "--yes", "--no-check-data"}, 5, []string{"fits no partition", "id 364", `at "2026-12-31"`, "--default"}},
	} {
		line := strings.Join(c.args, " ")
		contains(t, line, s.run(c.code, c.args...).stderr, c.says...)
	}
	s.run(0, "abort", s.newest().ID)
	contains(t, "partition", s.run(0, by...).stdout, "done")
	if n := s.ask(`SELECT string_agg(tableoid::regclass || ' ' || n, ', ' ORDER BY n) FROM (SELECT tableoid, count(*) AS n FROM visits GROUP BY 1) x`); n != "visits_rest 2352, visits_2026 2648" {
		t.Errorf("the partitions have %s", n)
	}
	c := s.newest()
	contains(t, "again", s.run(0, by...).stdout, "nothing to do")
	if out := s.run(0, with("--plan")...).stdout; !strings.Contains(out, "nothing to do") || strings.Contains(out, "under way") {
		t.Errorf("--plan of what is done says %s", out)
	}
	contains(t, "others", s.run(3, "partition", "visits", "--by", "hash (id)", "--partitions", "2").stderr, "partitioned already, by RANGE (at)", "ATTACH PARTITION")
	contains(t, "status", s.run(0, "status", c.ID).stdout, "done", "undo")
	s.exec(`INSERT INTO visits VALUES (5001, '2026-05-05', 'new')`, `UPDATE visits SET at = '2030-01-01' WHERE id = 5`, `DELETE FROM visits_2026 WHERE id = 6`)
	contains(t, "undo", s.run(0, "undo", c.ID).stdout, "undone")
	if n := s.ask(`SELECT relkind::text || ' ' || (SELECT count(*) FROM visits) || ' ' || (SELECT at FROM visits WHERE id = 5) FROM pg_class WHERE oid = 'visits'::regclass`); n != "r 5000 2030-01-01" {
		t.Errorf("after the undo the table is %s", n)
	}
}

// TestAttach: likewise for a table that becomes a partition itself.
func TestAttach(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE visits (id bigint, at date, note text, PRIMARY KEY (id, at))`, `INSERT INTO visits SELECT i, date '2026-01-01' + i % 700, 'n' FROM generate_series(1, 5000) i`,
		`CREATE TABLE keyed (id bigint PRIMARY KEY, at date NOT NULL)`, `CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY, at date)`)
	const old, next = "visits_old FOR VALUES FROM (MINVALUE) TO ('2030-01-01')", "visits_2030 FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')"
	by := []string{"partition", "visits", "--by", "range (at)", "--attach", old, "--partition", next}
	contains(t, "--plan", s.run(0, append(slices.Clone(by), "--plan")...).stdout, "ATTACH", "visits_old", "no row moves", "recipe", "check data", "This is a plan")
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"partition", "visits", "--attach", old}, 2, []string{"expected range, list or hash"}},
		{[]string{"partition", "visits", "--none", "--attach", old}, 2, []string{"give --none alone"}},
		{[]string{"partition", "visits", "--by", "hash (id)", "--attach", "x FOR VALUES WITH (MODULUS 1, REMAINDER 0)"}, 2, []string{"no one partition by hash"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "x DEFAULT"}, 2, []string{"no partition to attach the table as", "a default partition"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "x"}, 2, []string{"expected a name and FOR VALUES"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "visits FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"}, 2, []string{"the table's own"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "keyed FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"}, 2, []string{"has something called keyed"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", old, "--default", "visits_old"}, 2, []string{"given twice"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", old, "--partition", "x FOR VALUES FROM ('2029-01-01') TO (MAXVALUE)"}, 2, []string{"overlap"}},
		{[]string{"partition", "keyed", "--by", "range (at)", "--attach", "x FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"}, 3, []string{"primary key keyed_pkey (id) does not have at"}},
		{[]string{"partition", "numbered", "--by", "range (at)", "--attach", "x FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"}, 3, []string{"column id is an identity"}},
		{[]string{"partition", "parted", "--by", "range (id)", "--attach", "x FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"}, 3, []string{"partitioned already"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "x FOR VALUES FROM (MINVALUE) TO ('2027-11-29')", "--yes"}, 5, []string{"a row of the partition", "id 697", "at 2027-11-29"}},
		{[]string{"partition", "visits", "--by", "range (at)", "--attach", "x FOR VALUES FROM (MINVALUE) TO ('2027-11-29')", "--yes", "--no-check-data"}, 5, []string{"id 697"}},
	} {
		contains(t, strings.Join(c.args, " "), s.run(c.code, c.args...).stderr, c.says...)
	}
	s.run(0, "abort", s.newest().ID)
	if n := s.ask(`SELECT count(*) FROM pg_constraint WHERE conname LIKE 'changeling%'`); n != "0" {
		t.Errorf("the abort left %s checks", n)
	}
	contains(t, "partition", s.run(0, by...).stdout, "done")
	const where = `SELECT relkind::text || ' ' || (SELECT count(*) FROM visits) || ' ' || coalesce((SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid), 0) FROM pg_class c WHERE oid = 'visits'::regclass`
	if n := s.ask(where); n != "p 5000 2" {
		t.Errorf("the table is %s", n)
	}
	c := s.newest()
	contains(t, "again", s.run(0, by...).stdout, "nothing to do")
	contains(t, "status", s.run(0, "status", c.ID).stdout, "done", "undo")
	s.run(0, "cleanup", c.ID, "--now")
	s.exec(`INSERT INTO visits VALUES (1, '2030-05-05', 'new')`)
	contains(t, "undo", s.run(3, "undo", c.ID).stderr, "partition public.visits_2030 has rows", "move them to visits_old", "--none")
	s.exec(`UPDATE visits SET at = '2029-05-05' WHERE at > '2030-01-01'`)
	contains(t, "undo", s.run(0, "undo", c.ID).stdout, "undone")
	if n := s.ask(where); n != "r 5001 0" {
		t.Errorf("after the undo the table is %s", n)
	}
	contains(t, "report", s.run(0, "report", c.ID).stdout, "attach", "undo", "detach")
}

// TestUnpartition: likewise the other way.
func TestUnpartition(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE visits (id bigint, at date, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)`, `CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
		`CREATE TABLE visits_rest PARTITION OF visits DEFAULT`, `INSERT INTO visits SELECT i, date '2026-01-01' + i % 700, 'n' FROM generate_series(1, 5000) i`,
		`CREATE TABLE checked (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE checked_1 PARTITION OF checked (CHECK (id > 0)) DEFAULT`)
	contains(t, "--plan", s.run(0, "partition", "visits", "--none", "--plan").stdout, "REMOVE PARTITIONING", "the rows of all partitions", "undo", "This is a plan")
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"partition", "visits", "--none", "--by", "hash (id)"}, 2, []string{"give --none alone"}},
		{[]string{"partition", "visits", "--none", "--default", "x"}, 2, []string{"give --none alone"}},
		{[]string{"partition", "nothing", "--none"}, 2, []string{"does not exist"}},
		{[]string{"partition", "visits_2026", "--none"}, 3, []string{"is not partitioned"}},
		{[]string{"partition", "checked", "--none"}, 3, []string{"checked_1_id_check of its own", "drop it first"}},
		{[]string{"partition", "visits", "--none", "--drop", "now", "--undo", "on"}, 2, []string{"--undo on needs the old table"}},
	} {
		contains(t, strings.Join(c.args, " "), s.run(c.code, c.args...).stderr, c.says...)
	}
	contains(t, "partition --none", s.run(0, "partition", "visits", "--none").stdout, "done")
	if n := s.ask(`SELECT relkind::text || ' ' || (SELECT count(*) FROM visits) FROM pg_class WHERE oid = 'visits'::regclass`); n != "r 5000" {
		t.Errorf("the table is %s", n)
	}
	contains(t, "again", s.run(0, "partition", "visits", "--none").stdout, "nothing to do")
	s.exec(`INSERT INTO visits VALUES (5001, '2026-05-05', 'new')`)
	contains(t, "undo", s.run(0, "undo", s.newest().ID).stdout, "undone")
	if n := s.ask(`SELECT relkind::text || ' ' || (SELECT count(*) FROM visits) || ' ' || (SELECT count(*) FROM visits_2026) FROM pg_class WHERE oid = 'visits'::regclass`); n != "p 5001 2656" {
		t.Errorf("after the undo the table is %s", n)
	}
}

// TestMySQLPartition: there it is a statement.
func TestMySQLPartition(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		mytest.Exec(t, mytest.Open(t, s.dsn), `CREATE TABLE orders (id int PRIMARY KEY)`)
		contains(t, "partition", s.run(2, "partition", "orders", "--by", "hash (id)", "--partitions", "2").stderr, "changeling run 'ALTER TABLE orders PARTITION BY")
	})
}
