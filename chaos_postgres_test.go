package changeling_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	mrand "math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// realm is in what the servers of TestChaos differ.
type realm interface {
	name() string
	draw(random *mrand.Rand) draft
	fixed() []string // definitions of the columns that every table has
	unique(n int64) string
	nullable(typ string, null bool) string

	settle(t *testing.T) place
	configure(random *mrand.Rand, c *changeling.Config)
	open(t *testing.T, dsn string) *sql.DB
	dying(t *testing.T, dsn string, death dying.Death) (*sql.DB, *dying.Connector)
	Kill() error
	Restart(ctx context.Context) error
	log() string

	begin(isolation string) []string
	isolations() []string
	looks(isolation string) bool // a transaction may compare what it sees of both tables
	replicated() string          // makes a transaction one of a subscription; empty: there are none
	text(expression string) string
	limits(random *mrand.Rand) []string // statements that give the engine's role limits, with %s for its name
	rewrite() string                    // writes the table anew as it is
	lock(table string) string
	unlock() string
	transactional() bool // TRUNCATE and DDL can be rolled back

	runs() string  // lists ids of the engine's sessions, with %s for its role
	stays() string // of which one may stay when its client is gone
	end(id string) string
	activity() string // shows all sessions, as one column of text
	definition(schema string) []string
	columns(schema string) string // lists the columns whose values are the same in both tables, which those of an identity are not
	differing(p place, columns []string) string
	leftovers(p place) string // lists what a change leaves
}

// place is the database of a round. The table is app.t, or what the server calls so, and its mirror has the same name elsewhere.
type place struct {
	dsn         string  // of the engine
	role        string  // of the engine
	users       *sql.DB // of the users
	control     *sql.DB // for who looks at changes; errors of users say more
	app, mirror string  // schemas
	book        string  // table of the transactions
}

func (p place) table() string { return p.app + ".t" }
func (p place) twin() string  { return p.mirror + ".t" }

type postgresRealm struct {
	*dbtest.Server
	major  int
	mutate mutant.Rewrite // of a broken engine, or nil
	traits []trait
	keys   []kinship
}

func newPostgres(t *testing.T, major int) *postgresRealm {
	r := &postgresRealm{Server: pgtest.Own(t, dbtest.Options{Major: major}), major: major}
	r.traits, r.keys = postgresTraits(), postgresKeys()
	return r
}

func (r *postgresRealm) name() string { return fmt.Sprintf("postgres%d", r.major) }
func (r *postgresRealm) log() string  { return r.LogTail(40) }

func (r *postgresRealm) settle(t *testing.T) place {
	suffix := strings.ToLower(rand.Text()[:8])
	p := place{role: "runner_" + suffix, app: "app", mirror: "mirror", book: "app.book"}
	admin := pgtest.Open(t, r.DSN("postgres"))
	pgtest.Exec(t, admin, "CREATE DATABASE chaos_"+suffix, "CREATE ROLE "+p.role+" LOGIN SUPERUSER")
	u, err := url.Parse(r.DSN("chaos_" + suffix))
	if err != nil {
		t.Fatal(err)
	}
	p.users = pgtest.Open(t, u.String())
	p.control = p.users
	u.User = url.User(p.role)
	p.dsn = u.String()
	pgtest.Exec(t, p.users, `CREATE SCHEMA app`, `CREATE SCHEMA mirror`, `CREATE TYPE app.mood AS ENUM ('', 'sad', 'so so', 'ünhappy')`,
		`CREATE TABLE app.parents (id int PRIMARY KEY)`, `INSERT INTO app.parents SELECT generate_series(1, 9)`, `CREATE TABLE app.book (tx bigint PRIMARY KEY)`)
	return p
}

func (r *postgresRealm) configure(random *mrand.Rand, c *changeling.Config) {
	c.Route = []plan.Route{"", "", "", plan.ShadowTable, plan.ShadowColumn}[random.IntN(5)]
}

func (r *postgresRealm) open(t *testing.T, dsn string) *sql.DB { return pgtest.Open(t, dsn) }

func (r *postgresRealm) dying(t *testing.T, dsn string, death dying.Death) (*sql.DB, *dying.Connector) {
	db, c := pgtest.Dying(t, dsn, death)
	if r.mutate != nil {
		db = pgtest.Mutant(t, dsn, r.mutate)
	}
	return db, c
}

func (r *postgresRealm) fixed() []string {
	return []string{"u text NOT NULL", "tick bigint NOT NULL", "doomed int DEFAULT 3", "kept int NOT NULL DEFAULT 5"}
}
func (r *postgresRealm) unique(n int64) string { return fmt.Sprintf("'u%d'", n) }
func (r *postgresRealm) nullable(_ string, null bool) string {
	if null {
		return ""
	}
	return " NOT NULL"
}
func (r *postgresRealm) isolations() []string {
	return []string{"READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"}
}
func (r *postgresRealm) looks(string) bool { return true }
func (r *postgresRealm) begin(isolation string) []string {
	return []string{"BEGIN ISOLATION LEVEL " + isolation}
}
func (r *postgresRealm) replicated() string       { return "SET LOCAL session_replication_role = replica" }
func (r *postgresRealm) text(x string) string     { return "CAST(" + x + " AS text)" }
func (r *postgresRealm) rewrite() string          { return "VACUUM FULL %s" }
func (r *postgresRealm) lock(table string) string { return "LOCK TABLE " + table }
func (r *postgresRealm) unlock() string           { return "" }
func (r *postgresRealm) transactional() bool      { return true }
func (r *postgresRealm) limits(random *mrand.Rand) []string {
	return []string{[]string{"ALTER ROLE %s SET statement_timeout = '300ms'", "ALTER ROLE %s SET lock_timeout = '1ms'", "ALTER ROLE %s SET idle_in_transaction_session_timeout = '20ms'",
		"ALTER ROLE %s SET default_transaction_isolation = 'serializable'"}[random.IntN(4)]}
}

func (r *postgresRealm) runs() string {
	return "SELECT CAST(pid AS text) FROM pg_stat_activity WHERE usename = '%s' ORDER BY pid"
}
func (r *postgresRealm) stays() string        { return "" }
func (r *postgresRealm) end(id string) string { return "SELECT pg_terminate_backend(" + id + ")" }
func (r *postgresRealm) activity() string {
	return `SELECT concat_ws(' ', pid, usename, application_name, state, wait_event_type, wait_event, 'waits for', pg_blocking_pids(pid), left(regexp_replace(query, '\s+', ' ', 'g'), 200))
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
}

func (r *postgresRealm) columns(schema string) string {
	return "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '" + schema + ".t'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id' ORDER BY attname IN ('tick', 'u') DESC, attname"
}

// differing lists rows that are in one of the tables only.
func (r *postgresRealm) differing(_ place, columns []string) string {
	row := "ROW(" + strings.Join(columns, ", ") + ")::text AS x"
	return fmt.Sprintf(`(SELECT 'is there and should not be: ' || left(x, 250) FROM (SELECT %[1]s FROM app.t EXCEPT ALL SELECT %[1]s FROM mirror.t) a LIMIT 4)
UNION ALL (SELECT 'is missing: ' || left(x, 250) FROM (SELECT %[1]s FROM mirror.t EXCEPT ALL SELECT %[1]s FROM app.t) b LIMIT 4)`, row)
}

func (r *postgresRealm) definition(schema string) (out []string) {
	in := "'" + schema + ".t'::regclass"
	for _, q := range []string{
		`SELECT format('column %s %s null=%s default=%s generated=%s', attname, format_type(atttypid, atttypmod), NOT attnotnull, pg_get_expr(adbin, adrelid), attgenerated)
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum WHERE attrelid = {t} AND attnum > 0 AND NOT attisdropped`,
		`SELECT format('index %s valid=%s ready=%s', pg_get_indexdef(indexrelid), indisvalid, indisready) FROM pg_index WHERE indrelid = {t}`,
		`SELECT format('constraint %s valid=%s: %s', conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = {t}`,
		`SELECT format('trigger %s', tgname) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = {t}`,
		`SELECT format('%s internal triggers', count(*)) FROM pg_trigger WHERE tgisinternal AND tgrelid = {t}`,
		`SELECT format('is %s', relpersistence) FROM pg_class WHERE oid = {t}`,
	} {
		out = append(out, `SELECT replace(x, '`+schema+`.t', 't') FROM (`+strings.ReplaceAll(q, "{t}", in)+`) q(x)`)
	}
	return out
}

func (r *postgresRealm) leftovers(p place) string {
	return `SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'changeling!_%' ESCAPE '!'
UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class WHERE relname LIKE '%changeling!_%' ESCAPE '!'
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE proname LIKE '%changeling!_%' ESCAPE '!'
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE '%changeling!_%' ESCAPE '!'
UNION ALL SELECT 'column ' || attname FROM pg_attribute WHERE attname LIKE '%changeling%' AND attrelid = 'app.t'::regclass`
}

func as(typ string, values ...string) (out []string) {
	for _, v := range values {
		out = append(out, "CAST("+quoted(v)+" AS "+typ+")")
	}
	return out
}

// number draws numbers of a type between two bounds, with some decimals.
func number(typ string, least, most int64, decimals int) func(*mrand.Rand) string {
	return func(random *mrand.Rand) string {
		n := fmt.Sprint(least + random.Int64N(most-least+1))
		if decimals > 0 {
			n += fmt.Sprintf(".%0*d", decimals, random.IntN(10000)%pow10(decimals))
		}
		return "CAST('" + n + "' AS " + typ + ")"
	}
}

func pow10(n int) int {
	out := 1
	for range n {
		out *= 10
	}
	return out
}

func words(typ string, most int) func(*mrand.Rand) string {
	return func(random *mrand.Rand) string {
		return "CAST(repeat('x" + fmt.Sprint(random.IntN(1000)) + "', " + fmt.Sprint(random.IntN(most/4)) + ") AS " + typ + ")"
	}
}

func postgresTraits() []trait {
	return []trait{
		{typ: "smallint", indexed: true, values: as("smallint", "0", "-1", "32767", "-32768"), some: number("smallint", -1000, 1000, 0), turns: []turn{{typ: "int"}, {typ: "bigint"}, {typ: "numeric(12,2)", rounds: true}, {typ: "text"}}},
		{typ: "int", indexed: true, values: as("int", "0", "-1", "2147483647", "-2147483648"), some: number("int", -1e6, 1e6, 0), turns: []turn{{typ: "bigint"}, {typ: "bigint"}, {typ: "numeric"}, {typ: "double precision", rounds: true}, {typ: "varchar(20)"}}},
		{typ: "bigint", indexed: true, values: as("bigint", "0", "-1", "9223372036854775807", "-9223372036854775808"), some: number("bigint", -1e12, 1e12, 0), turns: []turn{{typ: "numeric"}, {typ: "text"}}},
		{typ: "bigint", indexed: true, values: as("bigint", "0", "-1", "2147483647"), some: number("bigint", -1e6, 1e6, 0), turns: []turn{{typ: "int"}}},
		{typ: "numeric(12,4)", indexed: true, values: as("numeric(12,4)", "0", "NaN", "-0.0001", "99999999.9999", "1.5", "1.5000"), some: number("numeric(12,4)", -1e6, 1e6, 4), turns: []turn{{typ: "numeric(14,2)", rounds: true}, {typ: "numeric"}, {typ: "double precision", rounds: true}, {typ: "text"}}},
		{typ: "numeric", values: as("numeric", "0", "0.00", "NaN", "Infinity", "-1e30", "1.10"), some: number("numeric", -1e6, 1e6, 3), turns: []turn{{typ: "text"}, {typ: "double precision", rounds: true}}},
		{typ: "real", values: as("real", "0", "-0", "NaN", "Infinity", "-Infinity", "0.1", "3e38"), some: number("real", -1000, 1000, 2), turns: []turn{{typ: "double precision", rounds: true}, {typ: "numeric", rounds: true}}},
		{typ: "double precision", values: as("double precision", "0", "-0", "NaN", "Infinity", "0.1", "1e300", "5e-324"), some: number("double precision", -1e6, 1e6, 3), turns: []turn{{typ: "numeric", rounds: true}, {typ: "text"}}},
		{typ: "boolean", values: as("boolean", "t", "f"), turns: []turn{{typ: "text"}}},
		{typ: "text", values: append(as("text", oddTexts...), "repeat('tö', 5000)"), some: words("text", 2000), turns: []turn{{typ: "varchar(40000)"}, {typ: `text COLLATE "C"`}}},
		{typ: "text", values: []string{"'0'", "'-7'", "'42'", "'00042'", "' 12 '"}, some: func(random *mrand.Rand) string { return fmt.Sprintf("'%d'", random.IntN(1e6)) }, turns: []turn{{typ: "int", using: "{c}::int", rounds: true}, {typ: "numeric(20,2)", using: "{c}::numeric(20,2)", rounds: true}}},
		{typ: "varchar(80)", indexed: true, values: as("varchar(80)", oddTexts...), some: words("varchar(80)", 60), turns: []turn{{typ: "text"}, {typ: "varchar(200)"}, {typ: "char(90)", rounds: true}}},
		{typ: "char(8)", values: as("char(8)", "", "a", "a ", "ä", "12345678"), turns: []turn{{typ: "varchar(8)", rounds: true}, {typ: "text", rounds: true}}},
		{typ: "bytea", values: as("bytea", `\x`, `\x00`, `\xff00ff`), some: func(random *mrand.Rand) string {
			return fmt.Sprintf(`CAST('\x%x' AS bytea)`, fmt.Sprint(random.Uint64()))
		}, turns: []turn{{typ: "text"}}},
		{typ: "date", indexed: true, values: as("date", "infinity", "-infinity", "0044-03-15 BC", "2024-02-29"), turns: []turn{{typ: "timestamp"}, {typ: "timestamptz", rounds: true}, {typ: "text"}}},
		{typ: "timestamp", values: as("timestamp", "infinity", "2026-03-29 02:30:00", "0001-01-01 BC", "2026-01-01 00:00:00.123456"), turns: []turn{{typ: "timestamptz", rounds: true}, {typ: "timestamp(3)", rounds: true}, {typ: "date", rounds: true}}},
		{typ: "timestamptz", values: as("timestamptz", "infinity", "2026-03-29 02:30:00+02", "1970-01-01 00:00:00+00", "2026-01-01 00:00:00.999999+00"), turns: []turn{{typ: "timestamp", rounds: true}, {typ: "timestamptz(0)", rounds: true}, {typ: "text"}}},
		{typ: "time", values: as("time", "00:00", "24:00", "12:34:56.789"), turns: []turn{{typ: "interval", rounds: true}, {typ: "time(1)", rounds: true}}},
		{typ: "interval", values: as("interval", "0", "1 mon", "30 days", "720:00:00", "-1 day"), turns: []turn{{typ: "text"}}},
		{typ: "uuid", indexed: true, values: as("uuid", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"), turns: []turn{{typ: "text"}, {typ: "varchar(36)"}}},
		{typ: "json", values: as("json", "null", "{}", `{"a": 1,  "a": 2}`, `[1, "ä", null]`, `"x"`), turns: []turn{{typ: "jsonb", rounds: true}, {typ: "text"}}},
		{typ: "jsonb", values: as("jsonb", "null", "{}", `{"b": 1, "a": 1.0}`, "1e2"), turns: []turn{{typ: "json"}, {typ: "text"}}},
		{typ: "int[]", values: as("int[]", "{}", "{NULL}", "{1,2}", "{{1},{2}}", "[0:1]={5,6}"), turns: []turn{{typ: "bigint[]"}, {typ: "text"}}},
		{typ: "inet", values: as("inet", "127.0.0.1", "10.0.0.0/8", "::1"), turns: []turn{{typ: "text"}}},
		{typ: "int4range", values: as("int4range", "empty", "[1,5)", "(,)"), turns: []turn{{typ: "text"}}},
		{typ: "app.mood", indexed: true, values: as("app.mood", "", "sad", "ünhappy"), turns: []turn{{typ: "text"}, {typ: "varchar(20)"}}},
	}
}

func postgresKeys() []kinship {
	plain := func(n int64) []string { return []string{fmt.Sprint(n)} }
	// Half of them are below zero, and a few near the ends of their type.
	signed := func(most int64) func(n int64) []string {
		return func(n int64) []string {
			switch {
			case n%50 == 7:
				n = most - n
			case n%2 == 1:
				n = -n
			}
			return []string{fmt.Sprintf("'%d'", n)}
		}
	}
	return []kinship{
		{name: "bigint", columns: []string{"bigint"}, values: plain},
		{name: "bigint, signed", columns: []string{"bigint"}, values: signed(9223372036854775807)},
		{name: "int", columns: []string{"int"}, values: signed(2147483647), turns: []turn{{typ: "bigint"}, {typ: "numeric"}}},
		{name: "smallint, int", columns: []string{"smallint", "int"}, values: func(n int64) []string { return []string{fmt.Sprint(n%5 - 2), fmt.Sprint(n)} }, turns: []turn{{typ: "int"}}},
		{name: "uuid", columns: []string{"uuid"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("'%08x-0000-4000-8000-%012x'", uint32(n*2654435761), n)}
		}},
		{name: "text", columns: []string{"text"}, values: func(n int64) []string { return []string{fmt.Sprintf("'%c %d ä'", 'a'+rune(n%26), n)} }, turns: []turn{{typ: "varchar(100)"}}},
		{name: "text, int", columns: []string{"varchar(40)", "int"}, values: func(n int64) []string { return []string{[]string{"''", "'x'", "'🦊'"}[n%3], fmt.Sprint(n)} }, turns: []turn{{typ: "text"}}},
		{name: "unique int", columns: []string{"int"}, values: plain, unique: true, turns: []turn{{typ: "bigint"}}},
		{name: "unique date, bigint", columns: []string{"date", "bigint"}, values: func(n int64) []string {
			return []string{fmt.Sprintf("'2026-01-%02d'", n%28+1), fmt.Sprint(n)}
		}, unique: true},
		{name: "numeric", columns: []string{"numeric"}, values: func(n int64) []string { return []string{fmt.Sprintf("'%d.%d0'", n, n%3)} }},
	}
}

func (r *postgresRealm) draw(random *mrand.Rand) draft {
	d := draft{realm: r, key: r.keys[random.IntN(len(r.keys))], rows: drawRows(random)}
	d.columns = drawColumns(random, r.traits)
	uniqueU := random.IntN(4) > 0
	if uniqueU {
		d.extras = append(d.extras, "CONSTRAINT c_u UNIQUE (u)")
	}
	d.extras = append(d.extras, some(random, []string{"CONSTRAINT c_tick CHECK (tick >= 0)", "g text GENERATED ALWAYS AS (upper(u)) STORED", "id bigint GENERATED BY DEFAULT AS IDENTITY"}, 2)...)
	if random.IntN(3) == 0 {
		d.columns = append(d.columns, column{name: "parent", null: true, trait: trait{typ: "int", values: []string{"1", "5", "9"}, turns: []turn{{typ: "bigint"}}}})
		d.extras = append(d.extras, "CONSTRAINT c_parent FOREIGN KEY (parent) REFERENCES app.parents")
	}
	d.indexes = some(random, []string{"CREATE INDEX c_tick ON %[1]s (tick DESC)", "CREATE INDEX c_lower ON %[1]s (lower(u))", "CREATE INDEX c_some ON %[1]s (u, tick) WHERE tick > 100", "CREATE UNIQUE INDEX c_ut ON %[1]s (u, tick) INCLUDE (kept)"}, 3)
	for _, c := range d.columns {
		if c.trait.indexed && random.IntN(3) == 0 {
			d.indexes = append(d.indexes, "CREATE INDEX c_"+c.name+" ON %[1]s ("+c.name+")")
		}
	}
	alter := func(name string, to turn) {
		text := "ALTER COLUMN " + name + " TYPE " + to.typ
		if to.using != "" {
			text += " USING " + strings.ReplaceAll(to.using, "{c}", name)
		}
		d.clauses, d.rounds = append(d.clauses, text), d.rounds || to.rounds
	}
	turned := turning(random, d.columns)
	for i, c := range d.columns {
		if to, ok := turned[i]; ok {
			alter(c.name, to)
		}
		if !c.null && !c.notNull && random.IntN(4) == 0 {
			d.clauses = append(d.clauses, "ALTER COLUMN "+c.name+" SET NOT NULL")
		}
		if c.notNull && random.IntN(4) == 0 {
			d.clauses = append(d.clauses, "ALTER COLUMN "+c.name+" DROP NOT NULL")
		}
	}
	if len(d.key.turns) > 0 && random.IntN(4) == 0 {
		alter("k1", d.key.turns[random.IntN(len(d.key.turns))])
	}
	more := []string{"ADD COLUMN n1 int NOT NULL DEFAULT 7", "ADD COLUMN n2 text", "ADD COLUMN n3 timestamptz DEFAULT '2026-01-01 00:00+00'", "ADD COLUMN n4 text GENERATED ALWAYS AS (u || '!') STORED",
		"DROP COLUMN doomed", "ALTER COLUMN kept TYPE bigint", "ALTER COLUMN tick SET DEFAULT 6", "ADD CONSTRAINT c_more CHECK (tick > -5 AND u <> '')", "ADD CONSTRAINT c_kept UNIQUE (kept, u)"}
	if !uniqueU {
		more = append(more, "ADD CONSTRAINT c_u UNIQUE (u)")
	}
	if !d.key.unique && random.IntN(4) == 0 {
		d.clauses = append(d.clauses, "DROP CONSTRAINT c_key", "ADD PRIMARY KEY ("+strings.Join(append(d.keys(), "u"), ", ")+")")
	}
	d.clauses = append(d.clauses, some(random, more, 2)...)
	d.claims = strings.Contains(strings.Join(d.clauses, " "), "UNIQUE") || strings.Contains(strings.Join(d.clauses, " "), "PRIMARY KEY")
	if len(d.clauses) == 0 {
		d.clauses = []string{"ALTER COLUMN kept TYPE bigint"}
	}
	return d
}
