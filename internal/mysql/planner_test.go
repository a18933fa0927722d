package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

const wide = `id int NOT NULL AUTO_INCREMENT, a int NOT NULL DEFAULT 7, b varchar(40) DEFAULT 'x''y' COMMENT 'a, b', c decimal(10,2), d datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  e enum('x','y)') , g int GENERATED ALWAYS AS (a + 1) STORED, v int GENERATED ALWAYS AS (a + 2) VIRTUAL, t text,
  PRIMARY KEY (id), KEY by_a (a DESC, b(10)), UNIQUE KEY by_b (b, id) COMMENT 'it''s', KEY by_v (v), KEY by_t (t(20))`

// carried are statements that go over a second table, which must come out as a native ALTER leaves its own.
var carried = []struct {
	rule, columns, clauses string
	only                   string
}{
	{"a wider type", wide, "MODIFY a BIGINT NOT NULL DEFAULT 7", ""},
	{"a column changes name and type", wide, "CHANGE c `price, net` decimal(12,4)", ""},
	{"two columns change their names with each other", "id int PRIMARY KEY, a int, b varchar(20), c int", "RENAME COLUMN a TO b, RENAME COLUMN b TO a, MODIFY c BIGINT", ""},
	{"a column is dropped and one added of its name", "id int PRIMARY KEY, a int, b int", "DROP COLUMN a, ADD COLUMN a varchar(20) DEFAULT 'new', MODIFY b BIGINT", ""},
	{"one takes the name of a dropped one", "id int PRIMARY KEY, a int, b int", "DROP COLUMN a, CHANGE b a BIGINT", ""},
	{"columns added in brackets", wide, "ADD (x int, y varchar(5) DEFAULT 'y'), MODIFY a BIGINT NOT NULL", ""},
	{"a character set", wide, "CONVERT TO CHARACTER SET utf8mb3", ""},
	{"a place", wide, "MODIFY c decimal(12,3) FIRST", ""},
	{"null becomes not null", wide, "MODIFY c decimal(10,2) NOT NULL DEFAULT 0", ""},
	{"an index changes its name on the way", wide, "MODIFY a BIGINT NOT NULL, RENAME INDEX by_a TO `by ``a`, DROP INDEX by_v, ADD INDEX (c), ADD UNIQUE INDEX u (id, c)", ""},
	{"checks keep their names", "id int PRIMARY KEY, a int CHECK (a < 1000), b varchar(60), CONSTRAINT mine CHECK (b <> 'x'), CHECK (a > -5)", "MODIFY b varchar(300)", ""},
	{"a check is dropped by its name", "id int PRIMARY KEY, a int, CONSTRAINT mine CHECK (a <> 5), CHECK (a > -5)", "DROP CONSTRAINT mine, ADD CONSTRAINT other CHECK (a <> 6), MODIFY a BIGINT", ""},
	{"functional, invisible and descending indexes", "id int PRIMARY KEY, a int, b varchar(20), KEY f ((a + 1), b), KEY i (a) INVISIBLE, UNIQUE KEY u ((lower(b)), id)", "MODIFY a BIGINT", "mysql"},
	{"ignored indexes", "id int PRIMARY KEY, a int, b varchar(20), KEY i (a) IGNORED", "MODIFY a BIGINT", "mariadb"},
	{"fulltext and spatial indexes", "id int PRIMARY KEY, a int, b text, p point NOT NULL, FULLTEXT KEY ft (b), FULLTEXT KEY ft2 (b), SPATIAL KEY sp (p), KEY (a)", "MODIFY a BIGINT", ""},
	{"AUTO_INCREMENT in a secondary index", "a int NOT NULL, id int NOT NULL AUTO_INCREMENT, b int, PRIMARY KEY (a), KEY (id), KEY (b)", "MODIFY b BIGINT", ""},
	{"AUTO_INCREMENT in an index behind others", "a int NOT NULL, id int NOT NULL AUTO_INCREMENT, b int, PRIMARY KEY (a), KEY (b), KEY (id), KEY (b, a)", "MODIFY b BIGINT", ""},
	{"a unique key instead of a primary one", "a int NOT NULL, b varchar(20) NOT NULL, c int, UNIQUE KEY (b, a), KEY (c)", "MODIFY c BIGINT", ""},
	{"a new primary key", "a int NOT NULL, b varchar(20) NOT NULL, c int, UNIQUE KEY u (a), KEY (c)", "ADD PRIMARY KEY (b)", ""},
	{"invisible columns", "id int PRIMARY KEY, a int, b int INVISIBLE", "MODIFY a BIGINT", ""},
	{"defaults that are expressions", "id int PRIMARY KEY, a int, b int DEFAULT (a + 1), c varchar(40) DEFAULT (concat('x', id))", "MODIFY a BIGINT", ""},
	{"table options", wide, "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8", ""},
	{"a null rebuild", wide, "ENGINE=InnoDB", ""},
	{"a key of text", "k varchar(20) COLLATE utf8mb4_bin PRIMARY KEY, a int", "MODIFY a BIGINT", ""},
	{"names beyond ASCII", "`schlüssel` int PRIMARY KEY, `größe` int COMMENT 'ä\\\\b', KEY `über` (`größe`)", "MODIFY `größe` BIGINT", ""},
	{"addresses and identifiers", "id uuid PRIMARY KEY DEFAULT uuid(), a inet6, b inet4 DEFAULT '10.0.0.1', c int", "MODIFY a varchar(60), MODIFY c BIGINT", "mariadb"},
	{"json is a text with a check", "id int PRIMARY KEY, a json, b int", "MODIFY b BIGINT", ""},
	{"a vector and its index", "id int PRIMARY KEY, v vector(3) NOT NULL, b int, VECTOR INDEX (v) M=6, KEY (b)", "MODIFY b BIGINT", "mariadb11"},
	{"a check of a column and a default that is a function", "id int PRIMARY KEY, a int DEFAULT (1 + 2) CHECK (a > 0), b varchar(40) DEFAULT uuid()", "MODIFY a BIGINT DEFAULT (1 + 2) CHECK (a > 0)", "mariadb"},
	{"a key of integers that grows", "k int NOT NULL, l smallint NOT NULL, a int, PRIMARY KEY (l, k)", "MODIFY k BIGINT NOT NULL", ""},
}

func TestShadowIsWhatANativeAlterLeaves(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for i, test := range carried {
			if test.only != "" && !strings.HasPrefix(version, test.only) {
				continue
			}
			t.Run(test.rule, func(t *testing.T) {
				s := open(t, version)
				native := mytest.Open(t, mytest.Database(t, version))
				create := "CREATE TABLE `t%1` (" + test.columns + ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='a table (of ours)'"
				s.exec(create)
				id := fmt.Sprintf("%s_%d", strings.NewReplacer(".", "").Replace(version), i)
				before, err := Fingerprint(t.Context(), s.db, s.table)
				if err != nil {
					t.Fatal(err)
				}
				p, err := Plan(t.Context(), s.db, "ALTER TABLE `t%1` "+test.clauses, Options{ID: id, LockWait: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				s.nothingLeft(id)
				if after, err := Fingerprint(t.Context(), s.db, s.table); err != nil || after != before || p.Fingerprint != before {
					t.Errorf("fingerprint %s, of the plan %s, before %s, %v", after, p.Fingerprint, before, err)
				}
				if p.Route != plan.ShadowTable {
					t.Fatalf("route %s: %s %q", p.Route, p.Why, p.Refusals)
				}
				t.Cleanup(func() {
					for _, sql := range dropDatabases(p.Pair) {
						s.db.ExecContext(context.Background(), sql)
					}
				})
				s.run(p, plan.Exec)
				s.run(p, plan.Exec) // it may run twice
				s.exec("INSERT INTO " + qualified(p.Pair.Shadow) + " (" + names(p.Pair) + ") SELECT " + sources(p.Pair) + " FROM " + qualified(p.Pair.Source) + " s")
				for range 2 {
					s.run(p, plan.Copy)
					s.run(p, plan.Copy) // makes it bare, and may run twice
					for _, step := range p.Steps {
						if step.Kind == plan.Build {
							s.answers(step.Done, false)
							s.exec(step.SQL...)
							s.answers(step.Done, true)
						}
					}
				}
				cut := p.Steps[p.Find(plan.Cutover)]
				s.answers(cut.Done, false)
				s.exec(cut.SQL...)
				s.answers(cut.Done, true)
				for range 2 {
					s.run(p, plan.Loose, plan.Release, plan.Drop)
				}
				s.nothingLeft(id)
				for _, sql := range []string{create, "ALTER TABLE `t%1` " + test.clauses} {
					if _, err := native.ExecContext(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				var database string
				if err := native.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&database); err != nil {
					t.Fatal(err)
				}
				got, err := showCreate(t.Context(), s.db, s.table)
				if err != nil {
					t.Fatal(err)
				}
				want, err := showCreate(t.Context(), native, schema.Name{Schema: database, Table: "t%1"})
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("ALTER TABLE %s\n got %s\nwant %s", test.clauses, got, want)
				}
			})
		}
	})
}

type bench struct {
	*testing.T
	db    *sql.DB
	table schema.Name
}

// open is a database of its own, on a pool of one connection.
func open(t *testing.T, version string) bench {
	db := mytest.Open(t, mytest.Database(t, version))
	s := bench{T: t, db: db, table: schema.Name{Table: "t%1"}}
	if err := db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&s.table.Schema); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s bench) exec(statements ...string) {
	s.Helper()
	conn, err := s.db.Conn(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	for _, sql := range statements {
		if _, err := conn.ExecContext(s.Context(), sql); err != nil {
			s.Fatalf("%s: %v", sql, err)
		}
	}
}

// run carries out the steps of some kinds.
func (s bench) run(p *plan.Plan, kinds ...plan.Kind) {
	s.Helper()
	for _, k := range kinds {
		if at := p.Find(k); at >= 0 && !(k == plan.Loose && p.Steps[at].Name == "analyze") {
			s.exec(p.Steps[at].SQL...)
		}
	}
}

func (s bench) answers(query string, want bool) {
	s.Helper()
	var got bool
	if err := s.db.QueryRowContext(s.Context(), query).Scan(&got); err != nil || got != want {
		s.Errorf("%s = %v, %v, want %v", query, got, err, want)
	}
}

func (s bench) nothingLeft(id string) {
	s.Helper()
	s.answers("SELECT COUNT(*) > 0 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ("+literals([]string{"changeling_" + id, "changeling_" + id + "_old"})+")", false)
}

func names(p schema.Pair) string {
	var out []string
	for _, m := range p.Columns {
		out = append(out, quote(m.Shadow))
	}
	return strings.Join(out, ", ")
}

func sources(p schema.Pair) string {
	var out []string
	for _, m := range p.Columns {
		out = append(out, "s."+quote(m.Source))
	}
	return strings.Join(out, ", ")
}

// TestRoutes says which way statements go, and which are refused.
func TestRoutes(t *testing.T) {
	t.Parallel()
	const plain = "CREATE TABLE `t%1` (id int PRIMARY KEY, a int, b varchar(60), KEY by_a (a))"
	type want struct {
		route plan.Route
		says  string // part of the statement that runs, or of the refusal
	}
	for _, test := range []struct {
		create, clauses string
		mysql, maria    want
	}{
		{plain, "ADD COLUMN c int", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "ALTER a SET DEFAULT 5", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "RENAME COLUMN a TO c", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "DROP COLUMN b", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "DROP COLUMN a", want{plan.Recipe, "DROP INDEX `by_a`, ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=NOCOPY, LOCK=NONE"}},
		{plain, "DROP INDEX by_a", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=NOCOPY, LOCK=NONE"}},
		{plain, "RENAME INDEX by_a TO by_b", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM="}},
		{plain, "ADD INDEX (b)", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=NOCOPY, LOCK=NONE"}},
		{plain, "ADD UNIQUE (b)", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=NOCOPY, LOCK=NONE"}},
		{plain, "COMMENT 'x'", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "MODIFY b varchar(63)", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "MODIFY b varchar(400)", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{plain, "ADD COLUMN c int, ADD INDEX (c)", want{plan.Recipe, "ALGORITHM=INSTANT"}, want{plan.Recipe, "ALGORITHM=INSTANT"}},
		{plain, "ADD COLUMN c int, ADD INDEX (c), MODIFY a BIGINT", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{plain, "ENGINE=InnoDB", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{plain, "ADD COLUMN c varchar(20) DEFAULT 'x|y' COMMENT 'it''s' AFTER id, ADD COLUMN d datetime(3) DEFAULT CURRENT_TIMESTAMP(3)", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{plain, "RENAME TO u", want{plan.Direct, "RENAME TABLE"}, want{plan.Direct, "RENAME TABLE"}},
		{plain, "RENAME TO u, MODIFY a BIGINT", want{plan.Refuse, "a statement of its own"}, want{plan.Refuse, "a statement of its own"}},
		{plain, "MODIFY a BIGINT, ALGORITHM=COPY", want{plan.Refuse, "leave it out"}, want{plan.Refuse, "leave it out"}},
		{plain, "MODIFY a BIGINT, LOCK NONE", want{plan.Refuse, "leave it out"}, want{plan.Refuse, "leave it out"}},
		{plain, "MODIFY a BIGINT /*!80000 , DROP b */", want{plan.Refuse, "write out"}, want{plan.Refuse, "write out"}},
		{plain, "PARTITION BY HASH (id) PARTITIONS 2", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{plain, "ENGINE=InnoDB PARTITION BY HASH (id) PARTITIONS 2", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{plain, "ENGINE=MyISAM", want{plan.Refuse, "InnoDB"}, want{plan.Refuse, "InnoDB"}},
		{plain, "ADD FOREIGN KEY (a) REFERENCES `t%1` (id)", want{plan.Recipe, "NOT EXISTS"}, want{plan.Recipe, "NOT EXISTS"}},
		{plain, "ADD FOREIGN KEY (a) REFERENCES `t%1` (id), MODIFY b varchar(400)", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a date NOT NULL, b date NOT NULL, c int /*M!100400 , PERIOD FOR valid (a, b) */)", "MODIFY c BIGINT", want{plan.ShadowTable, ""}, want{plan.Refuse, "PERIOD FOR"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, c int) /*M!100300 WITH SYSTEM VERSIONING */", "MODIFY c BIGINT", want{plan.ShadowTable, ""}, want{plan.Refuse, "system-versioned"}},
		{"/*M!100300 CREATE SEQUENCE s */; CREATE TABLE `t%1` (id int PRIMARY KEY, c int, n bigint /*M!100300 DEFAULT nextval(s) */)", "MODIFY c BIGINT", want{plan.ShadowTable, ""}, want{plan.Refuse, "sequence"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) PARTITION BY HASH (id) PARTITIONS 2", "REMOVE PARTITIONING", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, c int) /*M!100300 WITH SYSTEM VERSIONING */", "DROP SYSTEM VERSIONING, ALGORITHM=COPY", want{plan.Refuse, "leave it out"}, want{plan.Refuse, "leave it out"}},
		{plain, "MODIFY a date", want{plan.Refuse, "conversion"}, want{plan.Refuse, "conversion"}},
		{plain, "MODIFY id varchar(20)", want{plan.Refuse, "key's own type"}, want{plan.Refuse, "key's own type"}},
		{plain, "DROP PRIMARY KEY, ADD PRIMARY KEY (id, a)", want{plan.Refuse, "no unique index over (id)"}, want{plan.Refuse, "no unique index over (id)"}},
		{plain, "DROP COLUMN id, MODIFY a BIGINT", want{plan.Refuse, "Keep one key"}, want{plan.Refuse, "Keep one key"}},
		{plain, "ADD c int NOT NULL, MODIFY a BIGINT", want{plan.Refuse, "DEFAULT"}, want{plan.Refuse, "DEFAULT"}},
		{"CREATE TABLE `t%1` (a int, b int, UNIQUE (a))", "MODIFY b BIGINT", want{plan.Refuse, "no usable key"}, want{plan.Refuse, "no usable key"}},
		{"CREATE TABLE `t%1` (a varchar(20) NOT NULL, b int, UNIQUE (a(5)))", "MODIFY b BIGINT", want{plan.Refuse, "no usable key"}, want{plan.Refuse, "no usable key"}},
		{"CREATE TABLE `t%1` (a enum('x','y') PRIMARY KEY, b int)", "MODIFY b BIGINT", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{"CREATE TABLE `t%1` (a set('x','y') PRIMARY KEY, b int)", "MODIFY b BIGINT", want{plan.Refuse, "leads the key"}, want{plan.Refuse, "leads the key"}},
		{"CREATE TABLE `t%1` (a double PRIMARY KEY, b int)", "MODIFY b BIGINT", want{plan.Refuse, "no usable key"}, want{plan.Refuse, "no usable key"}},
		{"CREATE VIEW `t%1` AS SELECT 1 AS a", "MODIFY a BIGINT", want{plan.Refuse, "view"}, want{plan.Refuse, "view"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) ENGINE=MyISAM", "MODIFY a BIGINT", want{plan.Refuse, "engine MyISAM"}, want{plan.Refuse, "engine MyISAM"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) PARTITION BY HASH (id) PARTITIONS 2", "MODIFY a BIGINT", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) PARTITION BY HASH (id) PARTITIONS 2", "TRUNCATE PARTITION p0", want{plan.Direct, "ALGORITHM=INSTANT, TRUNCATE PARTITION p0"}, want{plan.Direct, " TRUNCATE PARTITION p0"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int) PARTITION BY HASH (id) PARTITIONS 2", "CHECK PARTITION p0", want{plan.Refuse, "single partitions"}, want{plan.Refuse, "single partitions"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, KEY (a), CONSTRAINT up FOREIGN KEY (a) REFERENCES `t%1` (id))", "MODIFY a BIGINT", want{plan.Refuse, "drop the key first"}, want{plan.Refuse, "drop the key first"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, KEY (a), CONSTRAINT up FOREIGN KEY (a) REFERENCES `t%1` (id))", "DROP FOREIGN KEY up", want{plan.Direct, "ALGORITHM=INPLACE, LOCK=NONE"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{"CREATE TABLE `t%1` (id int PRIMARY KEY, a int, KEY (a), CONSTRAINT up FOREIGN KEY (a) REFERENCES `t%1` (id))", "DROP INDEX a", want{plan.Refuse, "drop the key first"}, want{plan.Refuse, "drop the key first"}},
		{"CREATE TABLE par (id int PRIMARY KEY); CREATE TABLE `t%1` (id int PRIMARY KEY, a int CHECK (a > 0), KEY (a), CONSTRAINT up FOREIGN KEY (a) REFERENCES par (id))", "ADD COLUMN c int", want{plan.Direct, "ALGORITHM=INSTANT"}, want{plan.Direct, "ALGORITHM=INSTANT"}},
		{"CREATE TABLE par (id int PRIMARY KEY); CREATE TABLE `t%1` (id int PRIMARY KEY, a int CHECK (a > 0), KEY (a), CONSTRAINT up FOREIGN KEY (a) REFERENCES par (id))", "ENGINE=InnoDB", want{plan.ShadowTable, ""}, want{plan.Refuse, "up"}},
		{plain + "; CREATE TRIGGER mine BEFORE INSERT ON `t%1` FOR EACH ROW SET NEW.a = 1", "MODIFY a BIGINT", want{plan.ShadowTable, ""}, want{plan.ShadowTable, ""}},
	} {
		t.Run(test.clauses, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) {
				s := open(t, version)
				s.exec(strings.Split(test.create, "; ")...)
				want := test.mysql
				if strings.HasPrefix(version, "mariadb") {
					want = test.maria
				}
				id := strings.TrimPrefix(s.table.Schema, "t_")
				id = id[max(0, len(id)-12):]
				p, err := Plan(t.Context(), s.db, "ALTER TABLE `t%1` "+test.clauses, Options{ID: id, LockWait: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				s.nothingLeft(id)
				text := strings.Join(p.Refusals, "; ")
				if p.Route == plan.Direct || p.Route == plan.Recipe {
					text = strings.Join(p.Steps[0].SQL, "; ")
				}
				if p.Route != want.route || !strings.Contains(text, want.says) {
					t.Errorf("route %s: %s\n%s\nwant %s with %q", p.Route, p.Why, text, want.route, want.says)
				}
				if p.Route == plan.Direct {
					done := p.Steps[0].Done
					if done == "" && !strings.HasPrefix(test.clauses, "COMMENT") {
						t.Error("nothing tells whether it happened")
					}
					if done != "" {
						s.answers(done, false)
					}
					s.exec(p.Steps[0].SQL...)
					if done != "" {
						s.answers(done, true)
					}
				}
			})
		})
	}
}

// TestRightsAreNamed says that an account without rights on the databases of changes hears of it, and nothing changes.
func TestRightsAreNamed(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := open(t, version)
		s.exec("CREATE TABLE `t%1` (id int PRIMARY KEY, a int, KEY (a))")
		user := fmt.Sprintf("'%s'@'%%'", s.table.Schema[len(s.table.Schema)-10:])
		s.exec("CREATE USER "+user+" IDENTIFIED BY 'p'", "GRANT ALL ON "+quote(s.table.Schema)+".* TO "+user)
		defer s.db.ExecContext(context.Background(), "DROP USER "+user)
		var port int
		if err := s.db.QueryRowContext(t.Context(), "SELECT @@port").Scan(&port); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("mysql", fmt.Sprintf("%s:p@127.0.0.1:%d/%s", strings.Trim(strings.Split(user, "@")[0], "'"), port, s.table.Schema))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		_, err = Plan(t.Context(), db, "ALTER TABLE `t%1` MODIFY a BIGINT", Options{ID: "rights", LockWait: time.Second})
		if fault.KindOf(err) != fault.Precondition || !strings.Contains(err.Error(), "GRANT ALL ON `changeling%`.*") {
			t.Errorf("Plan = %v, want the missing rights", err)
		}
		// With them it needs no others.
		s.exec("GRANT ALL ON `changeling%`.* TO " + user)
		p, err := Plan(t.Context(), db, "ALTER TABLE `t%1` MODIFY a BIGINT", Options{ID: "rights", LockWait: time.Second})
		if err != nil || p.Route != plan.ShadowTable {
			t.Errorf("Plan = %+v, %v", p, err)
		}
		s.nothingLeft("rights")
	})
}

// TestPlanKnowsTheUsersSettings says that a plan goes by the settings of a new connection, and not by those of the engine's.
func TestPlanKnowsTheUsersSettings(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := open(t, version)
		s.exec("CREATE TABLE `t%1` (id int PRIMARY KEY, a int)")
		var mode, zone string
		if err := s.db.QueryRowContext(t.Context(), "SELECT @@sql_mode, @@time_zone").Scan(&mode, &zone); err != nil {
			t.Fatal(err)
		}
		pool := Wrap(s.db)
		defer pool.Close()
		for range 2 {
			if _, err := pool.ExecContext(t.Context(), Session{}.SQL()); err != nil {
				t.Fatal(err)
			}
			p, err := Plan(t.Context(), pool, "ALTER TABLE `t%1` MODIFY a BIGINT", Options{ID: "settings", LockWait: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if p.Pair.Settings["sql_mode"] != mode || p.Pair.Settings["time_zone"] != zone {
				t.Errorf("settings %q, want %q and %q", p.Pair.Settings, mode, zone)
			}
		}
	})
}

// TestFingerprint says what a table's fingerprint tells apart.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := open(t, version)
		s.exec("CREATE TABLE `t%1` (id int AUTO_INCREMENT PRIMARY KEY, `a\"b` varchar(20) DEFAULT 'x\"y' COMMENT 'AUTO_INCREMENT=5', KEY i (`a\"b`)) COMMENT='AUTO_INCREMENT=7'")
		last := ""
		for _, step := range []struct {
			sql     string
			changes bool
		}{
			{"DO 0", true},
			{"INSERT INTO `t%1` VALUES (41, 'x')", false},
			{"ANALYZE TABLE `t%1`", false},
			{"SET SESSION sql_mode = 'ANSI_QUOTES'", false},
			{"SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'", false},
			{"CREATE TRIGGER changeling_x_i AFTER INSERT ON `t%1` FOR EACH ROW SET @x = 1", false},
			{"CREATE TRIGGER theirs AFTER INSERT ON `t%1` FOR EACH ROW SET @x = 1", true},
			{"ALTER TABLE `t%1` ALTER `a\"b` SET DEFAULT 'z'", true},
			{"ALTER TABLE `t%1` ADD INDEX j (id, `a\"b`)", true},
			{"ALTER TABLE `t%1` COMMENT='AUTO_INCREMENT=8'", true},
			{"ALTER TABLE `t%1` AUTO_INCREMENT=1000", false},
		} {
			conn, err := s.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if rows, err := conn.QueryContext(t.Context(), step.sql); err != nil {
				t.Fatalf("%s: %v", step.sql, err)
			} else {
				rows.Close()
			}
			got, err := Fingerprint(t.Context(), conn, s.table)
			discard(conn)
			if err != nil || (got != last) != step.changes {
				t.Errorf("after %s: %s, before %s, %v", step.sql, got, last, err)
			}
			last = got
		}
	})
}

// TestMistakes says that a wrong statement is told in the server's words, and changes nothing.
func TestMistakes(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := open(t, version)
		s.exec("CREATE TABLE `t%1` (id int PRIMARY KEY, a int)")
		for statement, want := range map[string]string{
			"ALTER TABLE `t%1` ADD CONSTRAINT `t%1_chk_9` CHECK (nothing > 0)": "nothing",
			"ALTER TABLE nothing MODIFY a BIGINT":                              "nothing does not exist",
			"ALTER TABLE `t%1` MODIFY b BIGINT":                                "Unknown column",
			"ALTER TABLE `t%1` DROP COLUMN b":                                  "DROP",
			"ALTER TABLE `t%1` MODIFY a int int":                               "syntax",
			"ALTER TABLE `t%1` MODIFY a BIGINT; SELECT 1":                      "one statement",
			"ALTER TABLE `t%1` ADD PRIMARY KEY (a)":                            "Multiple primary key",
			"ALTER TABLE `t%1` MODIFY a varchar(20) DEFAULT 'x":                "no end",
			"ALTER TABLE `t%1` MODIFY a int DEFAULT 'no number'":               "default",
			"ALTER TABLE `t%1` ADD INDEX (a), ADD INDEX twice (x)":             "x",
		} {
			_, err := Plan(t.Context(), s.db, statement, Options{ID: "mistake_" + version[:3], LockWait: time.Second})
			if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "othing was changed") {
				t.Errorf("Plan(%q) = %v, want a mistake with %q", statement, err, want)
			}
			s.nothingLeft("mistake_" + version[:3])
		}
		if strings.HasPrefix(version, "mysql") {
			s.exec("CREATE TABLE other (a int CONSTRAINT theirs CHECK (a > 0))")
			_, err := Plan(t.Context(), s.db, "ALTER TABLE `t%1` ADD CONSTRAINT theirs CHECK (a > 0)", Options{ID: "mistake_" + version[:3], LockWait: time.Second})
			if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "theirs of other") {
				t.Errorf("a check's name that is taken: %v", err)
			}
		}
		var none ErrNoTable
		if _, err := Resolve(t.Context(), s.db, schema.Name{Schema: "nowhere", Table: "t"}); !errors.As(err, &none) {
			t.Errorf("Resolve in a database that is not there: %v", err)
		}
		if n, err := Resolve(t.Context(), s.db, schema.Name{Table: "t%1"}); err != nil || n != s.table {
			t.Errorf("Resolve = %v, %v, want %v", n, err, s.table)
		}
	})
}
