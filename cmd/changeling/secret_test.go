package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

const plantedPassword = "pl4nted:p@ss/w%rd"

// leaks is a place where the plantedPassword password stands, as it is or as a URL writes it.
func leaks(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{plantedPassword, url.QueryEscape(plantedPassword), url.PathEscape(plantedPassword), strings.TrimPrefix(url.UserPassword("", plantedPassword).String(), ":")} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("the password stands in %s: …%s…", where, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// forget takes away what outlives a database, when the test is over.
func forget(t *testing.T, db *sql.DB, statements ...string) {
	for _, statement := range statements {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Errorf("%v\nin: %s", err, statement)
		}
	}
}

// texts are all values of a query, as text.
func texts(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			b.WriteString(v.(*sql.NullString).String + "\n")
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// plantedChange makes a whole change with a password in the environment, and looks everywhere for it. seen are queries for
// what the server shows of the sessions and keeps of the change.
func plantedChange(t *testing.T, s *shell, db *sql.DB, statement string, args, seen []string, log func() string) {
	t.Helper()
	held := s.start(append(append([]string{"run", "--hold", "--output", "json", "--drop", "after=1h"}, args...), statement)...)
	c := s.until("held", func(c changeling.Status) bool { return c.Status == "held" })
	look := func(when string) {
		for _, query := range seen {
			leaks(t, when+": "+query, texts(t, db, query))
		}
	}
	look("while it holds")
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", held.cmd.Process.Pid)); err == nil {
		leaks(t, "the process list", string(line))
	}
	for _, command := range [][]string{{"list", "--json"}, {"status", c.ID}, {"status", "--json", c.ID}, {"plan", "--json", "--sql", statement}, {"cutover", c.ID}} {
		p := s.start(command...)
		r := p.ends(0)
		leaks(t, p.line, r.stdout+r.stderr)
	}
	r := held.ends(0)
	leaks(t, "the run's output", r.stdout+r.stderr)
	// What goes wrong says why, and not with what.
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []func(*url.URL){
		func(u *url.URL) { u.Host = "127.0.0.1:1" }, func(u *url.URL) { u.Path = "/nowhere" }, func(u *url.URL) { u.Host = "x y:" + plantedPassword },
		func(u *url.URL) { u.User = url.UserPassword("nobody", plantedPassword) }, func(u *url.URL) { u.RawQuery = "sslmode=" + url.QueryEscape(plantedPassword) },
	} {
		v := *u
		wrong(&v)
		p := (&shell{t: t, dsn: v.String()}).start("list")
		r := p.wait()
		if r.code == 0 {
			continue // this server does not mind
		}
		leaks(t, "an error", r.stdout+r.stderr)
	}
	look("afterwards")
	leaks(t, "the server's log", log())
}

func TestPlantedPassword(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	db := pgtest.Open(t, s.dsn)
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "planted_" + strings.TrimPrefix(u.Path, "/")
	role = role[:min(len(role), 60)]
	pgtest.Exec(t, db, `CREATE ROLE "`+role+`" LOGIN SUPERUSER`) // without its password: the server would log it
	t.Cleanup(func() { forget(t, db, `DROP OWNED BY "`+role+`" CASCADE`, `DROP ROLE "`+role+`"`) })
	u.User = url.UserPassword(role, plantedPassword)
	s.dsn = u.String()
	plantedChange(t, s, db, statementText, nil, []string{
		`SELECT query || application_name FROM pg_stat_activity`, `SELECT c::text FROM changeling.change c`, `SELECT c::text FROM changeling.claim c`, `SELECT c::text FROM changeling.progress c`,
		`SELECT c::text FROM changeling.history c`, `SELECT c::text FROM changeling.chunk c`, `SELECT prosrc FROM pg_proc WHERE proname LIKE '%changeling%'`,
	}, func() string { return pgtest.Server(t).LogTail(1 << 20) })
}

func TestMySQLPlantedPassword(t *testing.T) {
	t.Parallel()
	s := &shell{t: t, dsn: mytest.Database(t, "mysql9.7")}
	db := mytest.Open(t, s.dsn)
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL, KEY (amount))`, `INSERT INTO orders VALUES (1, 10), (2, 20)`,
		`CREATE USER 'planted'@'%' IDENTIFIED BY '`+plantedPassword+`'`, `GRANT ALL ON *.* TO 'planted'@'%'`)
	t.Cleanup(func() { forget(t, db, `DROP USER 'planted'@'%'`) })
	u.User = url.UserPassword("planted", plantedPassword)
	s.dsn = u.String()
	mine := `WHERE change_id IN (SELECT id FROM changeling.chg WHERE table_schema = DATABASE())`
	plantedChange(t, s, db, "ALTER TABLE orders MODIFY amount bigint NOT NULL", nil, []string{
		`SELECT COALESCE(info, '') FROM information_schema.processlist`, `SELECT CONCAT_WS('|', statement, plan, error, creator, status) FROM changeling.chg`,
		`SELECT CONCAT_WS('|', owner, token) FROM changeling.claim ` + mine, `SELECT reason FROM changeling.progress ` + mine, "SELECT CONCAT_WS('|', walk, `after`, upto) FROM changeling.chunk " + mine,
	}, func() string { return mytest.Server(t, "mysql9.7").LogTail(1 << 20) })
}

// TestGrants makes whole changes with exactly the rights that the command prints.
func TestGrants(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	admin := pgtest.Open(t, s.dsn)
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	name = name[:min(len(name), 50)]
	owner, changer, other := `o "`+name, `c "`+name, `p "`+name
	fill := strings.NewReplacer("<o>", `"`+strings.ReplaceAll(owner, `"`, `""`)+`"`, "<c>", `"`+strings.ReplaceAll(changer, `"`, `""`)+`"`, "<p>", `"`+strings.ReplaceAll(other, `"`, `""`)+`"`)
	pgtest.Exec(t, admin, fill.Replace(`CREATE ROLE <o>; CREATE ROLE <p>; CREATE ROLE <c> LOGIN;
CREATE SCHEMA app; CREATE TABLE app.parents (id int PRIMARY KEY); ALTER TABLE app.parents OWNER TO <p>; GRANT ALL ON app.parents TO <o>; GRANT USAGE ON SCHEMA app TO <o>, <p>;
CREATE TABLE app.orders (id int PRIMARY KEY, amount int, parent int REFERENCES app.parents); ALTER TABLE app.orders OWNER TO <o>;
INSERT INTO app.parents SELECT generate_series(1, 9); INSERT INTO app.orders SELECT i, i, 1 + i % 9 FROM generate_series(1, 2000) i`))
	t.Cleanup(func() {
		forget(t, admin, fill.Replace(`DROP OWNED BY <o>, <p>, <c> CASCADE`), fill.Replace(`DROP ROLE <o>, <p>, <c>`))
	})
	as := *u
	as.User = url.User(changer)
	c := &shell{t: t, dsn: as.String()}
	const statement = "ALTER TABLE app.orders ALTER COLUMN amount TYPE bigint"
	c.run(4, "run", statement) // nothing is granted
	contains(t, "a table that is not there", s.run(2, "grants", changer, "app.nothing").stderr, "nothing")
	contains(t, "no table", s.run(2, "grants", changer, "x; DROP TABLE y").stderr, "no name of a table")
	grants := s.run(0, "grants", changer, "app.orders").stdout
	for line := range strings.Lines(grants) {
		pgtest.Exec(t, admin, line)
	}
	c.run(0, "run", "--drop", "now", statement)
	c.run(0, "run", "ALTER TABLE app.orders ADD COLUMN note text")
	held := c.start("run", "--hold", "ALTER TABLE app.orders ALTER COLUMN amount TYPE numeric")
	change := c.until("held", func(c changeling.Status) bool { return c.Status == "held" })
	c.run(0, "verify", change.ID)
	c.run(0, "abort", "--yes", change.ID)
	held.ends(8)
	if got := s.ask(`SELECT string_agg(DISTINCT format_type(atttypid, atttypmod), ',') FROM pg_attribute WHERE attrelid = 'app.orders'::regclass AND attname = 'amount'`); got != "bigint" {
		t.Errorf("amount is %s, want bigint", got)
	}
	// None of it can be left out: the statistics' right names blockers and is not needed for a change.
	for line := range strings.Lines(grants) {
		if strings.Contains(line, "pg_read_all_stats") || strings.Contains(line, "USAGE, CREATE ON SCHEMA") && strings.Contains(line, other) {
			continue
		}
		revoke := strings.NewReplacer("GRANT ", "REVOKE ", " TO ", " FROM ").Replace(line)
		pgtest.Exec(t, admin, revoke)
		if r := c.start("run", "--drop", "now", "ALTER TABLE app.orders ALTER COLUMN amount TYPE numeric(12)").wait(); r.code == 0 && !strings.Contains(line, `"p `) {
			t.Errorf("it works without: %s", line)
			pgtest.Exec(t, admin, `ALTER TABLE app.orders ALTER COLUMN amount TYPE bigint`)
		} else if r.code != 0 && r.code != 4 && r.code != 3 {
			t.Errorf("without %s the exit code is %d, want 4 or 3: %s", line, r.code, r.stderr)
		}
		pgtest.Exec(t, admin, line)
	}
}

func TestMySQLGrants(t *testing.T) {
	t.Parallel()
	s := &shell{t: t, dsn: mytest.Database(t, "mysql9.7")}
	db := mytest.Open(t, s.dsn)
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, amount int NOT NULL, KEY (amount))`, `INSERT INTO orders VALUES (1, 10), (2, 20)`, `CREATE USER 'changer'@'127.0.0.1'`)
	t.Cleanup(func() { forget(t, db, `DROP USER 'changer'@'127.0.0.1'`) })
	u.User = url.User("changer")
	c := &shell{t: t, dsn: u.String()}
	for line := range strings.Lines(s.run(0, "grants", "changer@127.0.0.1", "orders").stdout) {
		mytest.Exec(t, db, strings.TrimSuffix(strings.TrimSpace(line), ";"))
	}
	contains(t, "the plan", c.run(0, "plan", "ALTER TABLE orders MODIFY amount bigint NOT NULL").stdout, "follow binary log")
	c.run(0, "run", "--fast", "--drop", "now", "ALTER TABLE orders MODIFY amount bigint NOT NULL")
	c.run(0, "run", "--fast", "ALTER TABLE orders ADD COLUMN note varchar(10)")
	held := c.start("run", "--hold", "--fast", "ALTER TABLE orders MODIFY amount decimal(20) NOT NULL")
	change := c.until("held", func(c changeling.Status) bool { return c.Status == "held" })
	c.run(0, "abort", "--yes", change.ID)
	held.ends(8)
}
