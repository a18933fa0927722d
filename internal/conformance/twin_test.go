package conformance

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// TestTwin runs each shape's statement natively in one database and through the engine in another. Afterwards the dumps, the
// catalogues, the rows and the next values of all sequences are the same.
func TestTwin(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("postgres %d", major), func(t *testing.T) {
			admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
			pgtest.Exec(t, admin, roles)
			if major >= 15 {
				spare(t, admin)
			}
			for _, s := range shapes(t) {
				if s.Since > major || s.Until != 0 && s.Until < major {
					continue
				}
				t.Run(s.File+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					s.run(t, major)
				})
			}
		})
	}
}

// roles are shared by all databases of a server. migrator is who runs changes without being a superuser.
const roles = `DO $$ DECLARE r text; BEGIN
  FOREACH r IN ARRAY ARRAY['alice', 'bob', 'carol', 'migrator', 'Odd "Role" 100%'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE format('CREATE ROLE %I LOGIN', r); END IF;
  END LOOP;
END $$;
GRANT alice, bob TO migrator`

// spare makes a tablespace in the data directory.
func spare(t *testing.T, admin *sql.DB) {
	t.Helper()
	conn, err := admin.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var there bool
	if err := conn.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM pg_tablespace WHERE spcname = 'spare')`).Scan(&there); err != nil {
		t.Fatal(err)
	}
	if !there {
		pgtest.Exec(t, conn, `SET allow_in_place_tablespaces = on`, `CREATE TABLESPACE spare LOCATION ''`, `RESET allow_in_place_tablespaces`)
	}
}

func (s shape) run(t *testing.T, major int) {
	engine := s.twin(t, major)
	var native *database
	var before []string
	if s.Refused+s.Usage+s.Data == "" {
		native = s.twin(t, major)
		if err := native.exec(t, cmp.Or(s.Native, s.Alter)); err != nil {
			t.Fatalf("natively: %v", err)
		}
	} else {
		before = engine.look(t, s)
		// What fails changes nothing, so it needs no database of its own.
		if s.Refused == "" && engine.exec(t, cmp.Or(s.Native, s.Alter)) == nil {
			t.Fatalf("natively, %s succeeds", s.Alter)
		}
	}
	var events []event.Event
	config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, WithChildren: s.Children, Events: func(e event.Event) {
		events = append(events, e)
		t.Logf("%T %+v", e, e)
	}}
	// The rest of the package goes on where one shape hangs.
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	err := changeling.Apply(ctx, engine.runner, s.Alter, config)
	expectError := func(kind error, text string) {
		t.Helper()
		if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("Apply = %v\nexpected %v that says %q", err, kind, text)
		}
	}
	switch {
	case s.Refused != "":
		expectError(changeling.ErrRefused, s.Refused)
		engine.untouched(t, s, before)
		return
	case s.Usage != "":
		expectError(changeling.ErrUsage, s.Usage)
		engine.untouched(t, s, before)
		return
	case s.Data != "":
		expectError(changeling.ErrData, s.Data)
		engine.abort(t, config)
		engine.untouched(t, s, before)
		return
	}
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if route, want := routeOf(events), s.route(); route != want {
		t.Errorf("route %q, want %q: the shape does not test what it should", route, want)
	}
	alike(t, s, native, engine, "- native, + engine")
}

// alike fails the test where two databases differ.
func alike(t *testing.T, s shape, native, engine *database, signs string) {
	t.Helper()
	if d := diff(native.rows(t, s), engine.rows(t, s)); d != "" {
		t.Errorf("rows, %s:\n%s", signs, d)
	}
	if d := diff(dump(t, native.server, native.dsn), dump(t, engine.server, engine.dsn)); d != "" {
		t.Errorf("dump, %s:\n%s", signs, d)
	}
	if d := diff(describe(t, native.db), describe(t, engine.db)); d != "" {
		t.Errorf("catalogue, %s:\n%s", signs, d)
	}
	if d := diff(native.next(t), engine.next(t)); d != "" {
		t.Errorf("next values, %s:\n%s", signs, d)
	}
}

func (s shape) route() string {
	switch {
	case s.Direct:
		return string(plan.Direct)
	case s.Recipe:
		return string(plan.Recipe)
	}
	return string(plan.ShadowTable)
}

func routeOf(events []event.Event) string {
	for _, e := range events {
		if p, ok := e.(event.Planned); ok {
			return p.Route
		}
	}
	return ""
}

// database is one of the two.
type database struct {
	server *dbtest.Server
	dsn    string
	db     *sql.DB // as a superuser
	runner *sql.DB // as who runs the statement
}

// twin is a new database with the shape in it.
func (s shape) twin(t *testing.T, major int) *database {
	t.Helper()
	d := &database{server: pgtest.Server(t, major), dsn: pgtest.Database(t, major)}
	d.db = pgtest.Open(t, d.dsn)
	d.runner = d.db
	if s.Needs != "" {
		var there bool
		if err := d.db.QueryRow(`SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)`, s.Needs).Scan(&there); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Skipf("the server does not have the extension %s", s.Needs)
		}
		pgtest.Exec(t, d.db, `CREATE EXTENSION `+s.Needs)
	}
	d.alone(t, d.db, func(conn *sql.Conn) error {
		pgtest.Exec(t, conn, s.Setup)
		return nil
	})
	if s.As != "" {
		pgtest.Exec(t, d.db, fmt.Sprintf(`DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %%I TO %s', current_database()); END $$`, s.As))
		d.runner = pgtest.Open(t, as(t, d.dsn, s.As))
	}
	return d
}

// as is a URL for another user.
func as(t *testing.T, dsn, user string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

// alone runs fn on a connection of its own, which is closed afterwards: so the sequences that it has cached values of go on
// alike in both databases.
func (d *database) alone(t *testing.T, db *sql.DB, fn func(*sql.Conn) error) error {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // a second time is no error
	err = fn(conn)
	// driver.ErrBadConn tells the pool to throw the connection away.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // is this very error
	return err
}

func (d *database) exec(t *testing.T, statement string) error {
	t.Helper()
	return d.alone(t, d.runner, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(t.Context(), statement)
		return err
	})
}

// look is all there is to see in a database.
func (d *database) look(t *testing.T, s shape) []string {
	t.Helper()
	return slices.Concat(describe(t, d.db), d.rows(t, s))
}

func (d *database) untouched(t *testing.T, s shape, before []string) {
	t.Helper()
	if diff := diff(before, d.look(t, s)); diff != "" {
		t.Errorf("the database was touched, - before, + after:\n%s", diff)
	}
}

func (d *database) abort(t *testing.T, c changeling.Config) {
	t.Helper()
	e, err := changeling.Open(t.Context(), d.runner, c)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %d changes, %v; want one", len(list), err)
	}
	change, err := e.Find(t.Context(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := change.Abort(t.Context()); err != nil {
		t.Errorf("Abort: %v", err)
	}
}

// rows are all rows of all tables as text, in order. Of columns whose values differ from run to run it says what must be true of
// all runs.
func (d *database) rows(t *testing.T, s shape) []string {
	t.Helper()
	var out []string
	tables, err := column(t.Context(), d.db, `SELECT c.oid::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND `+users+` ORDER BY n.nspname, c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var name, columns, unknown string
		if err := d.db.QueryRow(`
SELECT format('%I.%I', n.nspname, c.relname), coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE NOT v.volatile AND NOT v.stable), ''),
  coalesce(string_agg(CASE WHEN v.volatile THEN format('count(%1$I) = count(*) AND (count(*) < 2 OR count(DISTINCT %1$I::text) > 1)', a.attname)
    ELSE format('count(%1$I) = count(*) AND count(DISTINCT %1$I) <= 1', a.attname) END, ', ' ORDER BY a.attnum) FILTER (WHERE v.volatile OR v.stable), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
LATERAL (SELECT c.relname || '.' || a.attname = ANY ($2::text[]) AS volatile, c.relname || '.' || a.attname = ANY ($3::text[]) AS stable) v
WHERE c.oid = $1::oid GROUP BY 1`, table, s.Volatile, s.Stable).Scan(&name, &columns, &unknown); err != nil {
			t.Fatal(err)
		}
		lines, err := column(t.Context(), d.db, fmt.Sprintf(`SELECT ROW(%s)::text FROM ONLY %s ORDER BY 1`, columns, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			out = append(out, "row of "+name+" "+line)
		}
		if unknown != "" {
			lines, err := column(t.Context(), d.db, fmt.Sprintf(`SELECT ROW(%s)::text FROM ONLY %s`, unknown, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(lines[0], "f") {
				t.Errorf("values of %s: %s, want t for each column whose values differ", name, lines[0])
			}
			out = append(out, "values of "+name+" "+lines[0])
		}
	}
	return out
}

// next takes a value from each sequence.
func (d *database) next(t *testing.T) []string {
	t.Helper()
	var out []string
	err := d.alone(t, d.db, func(conn *sql.Conn) error {
		var err error
		out, err = column(context.WithoutCancel(t.Context()), conn, `SELECT format('%I.%I: %s', n.nspname, c.relname, nextval(c.oid::regclass)) FROM
  (SELECT * FROM pg_class WHERE relkind = 'S' ORDER BY relname OFFSET 0) c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE `+users+` ORDER BY n.nspname, c.relname`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
