package changeling_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	mrand "math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/mysql"
)

type mysqlRealm struct {
	*dbtest.MySQL
	traits []trait
	keys   []kinship
}

func newMySQL(t *testing.T, version string) realm {
	r := &mysqlRealm{MySQL: mytest.Own(t, dbtest.MySQLOptions{Version: version})}
	r.traits, r.keys = mysqlTraits(r.MariaDB()), mysqlKeys(r.MariaDB())
	return r
}

func (r *mysqlRealm) name() string { return r.Version }
func (r *mysqlRealm) log() string  { return r.LogTail(40) }

func (r *mysqlRealm) settle(t *testing.T) place {
	suffix := strings.ToLower(rand.Text()[:8])
	p := place{role: "runner_" + suffix, app: "app_" + suffix, mirror: "mirror_" + suffix, book: "app_" + suffix + ".book"}
	admin := mytest.Open(t, r.DSN("mysql"))
	mytest.Exec(t, admin, "DROP DATABASE IF EXISTS changeling", "CREATE DATABASE "+p.app, "CREATE DATABASE "+p.mirror,
		"CREATE USER "+p.role+"@'%'", "GRANT ALL PRIVILEGES ON *.* TO "+p.role+"@'%'")
	t.Cleanup(func() { // the next round has other names
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		for _, text := range []string{"DROP DATABASE " + p.mirror, "DROP DATABASE " + p.app, "DROP USER " + p.role + "@'%'"} {
			for range 3 { // the pool has dead connections where the server was killed
				if _, err := admin.ExecContext(ctx, text); err == nil {
					break
				}
			}
		}
	})
	u, err := url.Parse(r.DSN(p.app))
	if err != nil {
		t.Fatal(err)
	}
	p.control = mytest.Open(t, u.String())
	p.users = mysql.Wrap(p.control) // whose errors have the codes of package fault
	t.Cleanup(func() { _ = p.users.Close() })
	u.User = url.User(p.role)
	p.dsn = u.String()
	mytest.Exec(t, p.control, `CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents VALUES (1), (2), (5), (9)`, `CREATE TABLE book (tx bigint PRIMARY KEY)`)
	return p
}

func (r *mysqlRealm) configure(random *mrand.Rand, c *changeling.Config) {
	if random.IntN(2) == 0 {
		c.Binlog = "as the pool's" // see round.try
	}
}

func (r *mysqlRealm) open(t *testing.T, dsn string) *sql.DB { return mytest.Open(t, dsn) }

func (r *mysqlRealm) dying(t *testing.T, dsn string, death dying.Death) (*sql.DB, *dying.Connector) {
	return mytest.Dying(t, dsn, death)
}

func (r *mysqlRealm) fixed() []string {
	return []string{"u varchar(40) NOT NULL", "tick bigint NOT NULL", "doomed int DEFAULT 3", "kept int NOT NULL DEFAULT 5"}
}
func (r *mysqlRealm) unique(n int64) string { return fmt.Sprintf("'u%d'", n) }
func (r *mysqlRealm) nullable(_ string, null bool) string {
	if null {
		return " NULL"
	}
	return " NOT NULL"
}
func (r *mysqlRealm) isolations() []string {
	return []string{"READ COMMITTED", "REPEATABLE READ", "REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED"}
}

// looks: a snapshot that is older than the swap by moments may miss what happened in them, which is told; see TestMySQLSnapshots.
func (r *mysqlRealm) looks(isolation string) bool { return isolation == "READ COMMITTED" }
func (r *mysqlRealm) begin(isolation string) []string {
	return []string{"SET TRANSACTION ISOLATION LEVEL " + isolation, "BEGIN"}
}
func (r *mysqlRealm) replicated() string          { return "" }
func (r *mysqlRealm) text(x string) string        { return "CAST(" + x + " AS CHAR)" }
func (r *mysqlRealm) rewrite() string             { return "ALTER TABLE %s ENGINE=InnoDB" }
func (r *mysqlRealm) lock(table string) string    { return "LOCK TABLES " + table + " WRITE" }
func (r *mysqlRealm) unlock() string              { return "UNLOCK TABLES" }
func (r *mysqlRealm) transactional() bool         { return false }
func (r *mysqlRealm) limits(*mrand.Rand) []string { return nil }

func (r *mysqlRealm) runs() string {
	return "SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE user = '%s' ORDER BY id"
}

// stays: the thread that sends the log to a client that is gone notices with the next thing that it has to send.
func (r *mysqlRealm) stays() string { return "command NOT LIKE 'Binlog Dump%%' AND " }

func (r *mysqlRealm) end(id string) string { return "KILL " + id }
func (r *mysqlRealm) activity() string {
	return "SELECT CONCAT_WS(' ', id, user, command, time, state, LEFT(info, 200)) FROM information_schema.processlist"
}

func (r *mysqlRealm) columns(schema string) string {
	return "SELECT CONCAT('`', column_name, '`') FROM information_schema.columns WHERE table_schema = '" + schema + "' AND table_name = 't' ORDER BY column_name IN ('tick', 'u') DESC, column_name"
}

// differing lists rows that are in one of the tables only.
func (r *mysqlRealm) differing(p place, columns []string) string {
	var all []string
	for _, c := range columns {
		all = append(all, "COALESCE(HEX(CONCAT("+c+")), '-')")
	}
	rows := func(schema string) string {
		return "SELECT tick, u, CONCAT_WS(' ', " + strings.Join(all, ", ") + ") AS x FROM " + schema + ".t"
	}
	found := func(what, in, not, alias string) string {
		return "(SELECT CONCAT('" + what + ": ', tick, ' ', u, ' ', LEFT(x, 250)) FROM (" + rows(in) + " EXCEPT " + rows(not) + ") " + alias + " LIMIT 4)"
	}
	return found("is there and should not be", p.app, p.mirror, "a") + " UNION ALL " + found("is missing", p.mirror, p.app, "b")
}

func (r *mysqlRealm) definition(schema string) []string {
	expression := ", expression"
	if r.MariaDB() {
		expression = ""
	}
	queries := []string{
		`SELECT CONCAT_WS(' ', 'column', column_name, column_type, is_nullable, COALESCE(column_default, 'no default'), extra, character_set_name, collation_name, generation_expression, column_comment) FROM information_schema.columns WHERE table_schema = {s} AND table_name = 't'`,
		`SELECT CONCAT_WS(' ', 'index', index_name, non_unique, seq_in_index, column_name, collation, COALESCE(sub_part, ''), index_type` + expression + `) FROM information_schema.statistics WHERE table_schema = {s} AND table_name = 't'`,
		`SELECT CONCAT_WS(' ', 'constraint', constraint_name, constraint_type) FROM information_schema.table_constraints WHERE table_schema = {s} AND table_name = 't'`,
		`SELECT CONCAT_WS(' ', 'check', constraint_name, check_clause) FROM information_schema.check_constraints WHERE constraint_schema = {s}`,
		`SELECT CONCAT_WS(' ', 'reference', constraint_name, referenced_table_name, update_rule, delete_rule) FROM information_schema.referential_constraints WHERE constraint_schema = {s} AND table_name = 't'`,
		`SELECT CONCAT_WS(' ', 'trigger', trigger_name) FROM information_schema.triggers WHERE event_object_schema = {s} AND event_object_table = 't'`,
		`SELECT CONCAT_WS(' ', 'table', engine, row_format, table_collation, table_comment) FROM information_schema.tables WHERE table_schema = {s} AND table_name = 't'`,
	}
	for i := range queries {
		queries[i] = strings.ReplaceAll(queries[i], "{s}", "'"+schema+"'")
	}
	return queries
}

// leftovers: a run that is killed while it plans leaves an empty twin in a database that no change knows; `changeling doctor` names it.
func (r *mysqlRealm) leftovers(place) string {
	return `SELECT CONCAT('database ', schema_name) FROM information_schema.schemata WHERE schema_name LIKE 'changeling!_%' ESCAPE '!'
  AND CONVERT(SUBSTRING(schema_name, 12, 8) USING utf8mb4) IN (SELECT CONVERT(id USING utf8mb4) FROM changeling.chg)
UNION ALL SELECT CONCAT('table ', table_schema, '.', table_name) FROM information_schema.tables WHERE table_name LIKE '%changeling!_%' ESCAPE '!' AND table_schema NOT LIKE 'changeling!_%' ESCAPE '!'
UNION ALL SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers WHERE trigger_name LIKE '%changeling!_%' ESCAPE '!'
UNION ALL SELECT CONCAT('routine ', routine_name) FROM information_schema.routines WHERE routine_name LIKE '%changeling!_%' ESCAPE '!'`
}

func texts(values ...string) (out []string) {
	for _, v := range values {
		out = append(out, quoted(v))
	}
	return out
}

func bare(values ...string) []string { return values }

// figure draws numbers between two bounds, with some decimals.
func figure(least, most int64, decimals int) func(*mrand.Rand) string {
	return func(random *mrand.Rand) string {
		n := fmt.Sprint(least + random.Int64N(most-least+1))
		if decimals > 0 {
			n += fmt.Sprintf(".%0*d", decimals, random.IntN(pow10(decimals)))
		}
		return n
	}
}

func phrase(most int) func(*mrand.Rand) string {
	return func(random *mrand.Rand) string {
		return quoted(strings.Repeat(fmt.Sprintf("x%d", random.IntN(1000)), random.IntN(most/4)))
	}
}

// into are types without a USING, which there is none of.
func into(types ...string) (out []turn) {
	for _, typ := range types {
		out = append(out, turn{typ: typ})
	}
	return out
}

func mysqlTraits(maria bool) []trait {
	all := []trait{
		{typ: "tinyint", indexed: true, values: bare("0", "-1", "127", "-128"), some: figure(-100, 100, 0), turns: into("int", "bigint", "decimal(12,2)", "varchar(10)")},
		{typ: "smallint unsigned", indexed: true, values: bare("0", "65535"), some: figure(0, 60000, 0), turns: into("int", "int unsigned", "bigint")},
		{typ: "int", indexed: true, values: bare("0", "-1", "2147483647", "-2147483648"), some: figure(-1e6, 1e6, 0), turns: into("bigint", "bigint", "decimal(20,4)", "varchar(20)", "double")},
		{typ: "bigint", indexed: true, values: bare("0", "-1", "9223372036854775807", "-9223372036854775808"), some: figure(-1e12, 1e12, 0), turns: into("decimal(30,0)", "varchar(30)")},
		{typ: "bigint unsigned", indexed: true, values: bare("0", "18446744073709551615"), some: figure(0, 1e12, 0), turns: into("decimal(30,0)", "varchar(30)")},
		{typ: "decimal(12,4)", indexed: true, values: bare("0", "-0.0001", "99999999.9999", "1.5"), some: figure(-1e6, 1e6, 4), turns: into("decimal(14,6)", "decimal(12,4) unsigned", "varchar(40)")[:1]},
		{typ: "float", values: bare("0", "0.5", "-1.25", "1024"), turns: into("double")},
		{typ: "double", values: bare("0", "0.1", "-1e300", "5e-300", "1.5")},
		{typ: "varchar(80)", indexed: true, values: texts(oddTexts...), some: phrase(60), turns: into("varchar(300)", "text", "mediumtext")},
		{typ: "varchar(60) CHARACTER SET latin1", values: texts("", " ", "a", "ä", "trailing "), some: phrase(50), turns: into("varchar(60) CHARACTER SET utf8mb4", "text CHARACTER SET utf8mb4")},
		{typ: "char(8)", indexed: true, values: texts("", "a", "ä", "12345678"), turns: into("char(12)", "varchar(20)")},
		{typ: "text", values: texts(append(slices.Clone(oddTexts), strings.Repeat("tö", 5000))...), some: phrase(2000), turns: into("mediumtext", "longtext")},
		{typ: "varbinary(60)", values: bare("x''", "x'00'", "x'ff00ff'"), some: func(random *mrand.Rand) string { return fmt.Sprintf("x'%016x'", random.Uint64()) }, turns: into("varbinary(100)", "blob")},
		{typ: "blob", values: bare("x''", "x'00'", "x'ff00ff'", "REPEAT(x'5c27', 3000)"), turns: into("mediumblob")},
		{typ: "date", indexed: true, values: texts("1000-01-01", "9999-12-31", "2024-02-29"), turns: into("datetime", "datetime(3)")},
		{typ: "datetime(3)", indexed: true, values: texts("1000-01-01 00:00:00", "2026-03-29 02:30:00.123", "9999-12-31 23:59:59.999"), turns: into("datetime(6)")},
		{typ: "timestamp(3)", values: texts("1970-01-02 00:00:01", "2026-03-29 12:30:00.123"), turns: into("timestamp(6)", "datetime(3)")},
		{typ: "time(2)", values: texts("00:00:00", "-838:59:59", "12:34:56.78"), turns: into("time(3)")},
		{typ: "year", values: bare("1901", "2155", "2026"), turns: into("int")},
		{typ: "enum('', 'sad', 'so so', 'ünhappy')", values: texts("sad", "so so", "ünhappy"), turns: into("enum('', 'sad', 'so so', 'ünhappy', 'more')", "varchar(20)")},
		{typ: "set('a', 'b', 'c')", values: texts("", "a", "a,c"), turns: into("set('a', 'b', 'c', 'd')")},
		{typ: "bit(8)", values: bare("b'0'", "b'11111111'", "b'1010'")},
		{typ: "json", values: texts("null", "{}", `{"a": [1, null], "b": 1}`, `"ä"`), turns: into("longtext")},
	}
	if maria {
		return append(all, trait{typ: "uuid", indexed: true, values: texts("00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426655440000"), turns: into("char(36)")}, trait{typ: "inet6", values: texts("::", "::1", "2001:db8::1")})
	}
	return all
}

func mysqlKeys(maria bool) []kinship {
	plain := func(n int64) []string { return []string{fmt.Sprint(n + 1)} }
	signed := func(most int64) func(n int64) []string {
		return func(n int64) []string {
			switch {
			case n%50 == 7:
				n = most - n
			case n%2 == 1:
				n = -n
			}
			return []string{fmt.Sprint(n)}
		}
	}
	all := []kinship{
		{name: "bigint", columns: []string{"bigint AUTO_INCREMENT"}, values: plain},
		{name: "bigint, signed", columns: []string{"bigint"}, values: signed(9223372036854775807)},
		{name: "int unsigned", columns: []string{"int unsigned"}, values: func(n int64) []string {
			if n%3 == 0 {
				n = 4294967295 - n
			}
			return []string{fmt.Sprint(n)}
		}, turns: into("bigint unsigned NOT NULL", "bigint NOT NULL")},
		{name: "smallint, int", columns: []string{"smallint", "int"}, values: func(n int64) []string { return []string{fmt.Sprint(n%5 - 2), fmt.Sprint(n)} }, turns: into("int NOT NULL")},
		{name: "varchar", columns: []string{"varchar(60)"}, values: func(n int64) []string { return []string{fmt.Sprintf("'%c %d ä'", 'a'+rune(n%26), n)} }, turns: into("varchar(100) NOT NULL")},
		{name: "varchar, int", columns: []string{"varchar(40) COLLATE utf8mb4_bin", "int"}, values: func(n int64) []string { return []string{[]string{"''", "'x'", "'X'", "'🦊'"}[n%4], fmt.Sprint(n)} }},
		{name: "binary", columns: []string{"binary(16)"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("x'%016x%016x'", uint64(n)*11400714819323198485, n)}
		}},
		{name: "char", columns: []string{"char(36) CHARACTER SET latin1"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("'%08x-0000-4000-8000-%012x'", uint32(n*2654435761), n)}
		}},
		{name: "datetime, int", columns: []string{"datetime(3)", "int"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("'2026-01-%02d 00:00:00.%03d'", n%28+1, n%1000), fmt.Sprint(n)}
		}},
		{name: "unique int", columns: []string{"int"}, values: plain, unique: true, turns: into("bigint NOT NULL")},
		{name: "decimal", columns: []string{"decimal(20,3)"}, values: func(n int64) []string { return []string{fmt.Sprintf("%d.%d", n, n%3)} }},
	}
	if maria {
		all = append(all, kinship{name: "uuid", columns: []string{"uuid"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("'%08x-0000-4000-8000-%012x'", uint32(n*2654435761), n)}
		}})
	}
	return all
}

func (r *mysqlRealm) draw(random *mrand.Rand) draft {
	d := draft{realm: r, key: r.keys[random.IntN(len(r.keys))], rows: 100 + drawRows(random)/5}
	d.columns = drawColumns(random, r.traits)
	uniqueU := random.IntN(4) > 0
	if uniqueU {
		d.extras = append(d.extras, "CONSTRAINT c_u UNIQUE (u)")
	}
	keys := some(random, []string{"KEY c_tick (tick DESC)", "KEY c_kept (kept, u(3))", "UNIQUE KEY c_ut (u, tick)"}, 3)
	d.extras = append(d.extras, keys...)
	d.extras = append(d.extras, some(random, []string{"g varchar(80) AS (UPPER(u)) STORED", "v varchar(80) AS (LOWER(u)) VIRTUAL", "CONSTRAINT c_check CHECK (tick >= 0)"}, 2)...)
	if !r.MariaDB() && random.IntN(4) == 0 {
		d.columns = append(d.columns, column{name: "parent", null: true, trait: trait{typ: "int", values: []string{"1", "5", "9"}}})
		d.extras = append(d.extras, "CONSTRAINT c_parent FOREIGN KEY (parent) REFERENCES {app}.parents (id)")
	}
	for _, c := range d.columns {
		if c.trait.indexed && random.IntN(3) == 0 {
			d.extras = append(d.extras, "KEY c_"+c.name+" ("+c.name+")")
		}
	}
	turned := turning(random, d.columns)
	for i, c := range d.columns {
		null := !c.notNull
		to, ok := turned[i]
		if !c.null && random.IntN(6) == 0 {
			null, to.typ = !null, c.trait.typ
			if ok {
				to = turned[i]
			}
			ok = true
		}
		if ok {
			d.clauses = append(d.clauses, "MODIFY "+c.name+" "+to.typ+r.nullable("", null))
		}
	}
	if len(d.key.turns) > 0 && random.IntN(4) == 0 {
		d.clauses = append(d.clauses, "MODIFY k1 "+d.key.turns[random.IntN(len(d.key.turns))].typ)
	}
	more := []string{"ADD COLUMN n1 int NOT NULL DEFAULT 7", "ADD COLUMN n2 varchar(20) AFTER u", "ADD COLUMN n3 datetime NOT NULL DEFAULT '2026-01-01 00:00:00' FIRST", "ADD COLUMN n4 varchar(80) AS (CONCAT(u, '!')) STORED",
		"DROP COLUMN doomed", "MODIFY kept bigint NOT NULL DEFAULT 5", "ALTER COLUMN tick SET DEFAULT 6", "ADD CONSTRAINT c_more CHECK (tick >= 0 AND u <> '')", "ADD UNIQUE KEY c_uk (kept, u)", "ADD KEY c_dk (tick, kept)", "ENGINE=InnoDB", "ROW_FORMAT=COMPACT", "COMMENT='changed'", "MODIFY u varchar(50) COLLATE utf8mb4_bin NOT NULL"}
	if !uniqueU {
		more = append(more, "ADD UNIQUE KEY c_u (u)")
	}
	if slices.Contains(keys, "KEY c_tick (tick DESC)") {
		more = append(more, "DROP KEY c_tick")
	}
	if !d.key.unique && random.IntN(5) == 0 && !strings.Contains(d.key.columns[0], "AUTO") {
		d.clauses = append(d.clauses, "DROP PRIMARY KEY", "ADD PRIMARY KEY ("+strings.Join(append(d.keys(), "u"), ", ")+")")
	}
	d.clauses = append(d.clauses, some(random, more, 3)...)
	if len(d.clauses) == 0 {
		d.clauses = []string{"MODIFY kept bigint NOT NULL DEFAULT 5"}
	}
	return d
}
