package changeling_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestRefusals: whatever is wrong, the error is of its kind and says what is, and the table is as it was.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const orders = `CREATE TABLE orders (id int PRIMARY KEY, note text, amount int, parent int)`
	const rows = `INSERT INTO orders SELECT i, i::text, i, i FROM generate_series(1, 3000) i`
	for _, c := range []struct {
		name  string
		setup []string
		ddl   string
		kind  error
		says  []string
		mend  string // after it the same statement goes through; empty: it never does
	}{
		{"bad SQL", []string{orders}, `ALTER TABLE orders ALTER COLUMN amount TIPE bigint`, changeling.ErrUsage, []string{"syntax error"}, ""},
		{"an unknown table", nil, `ALTER TABLE oders ALTER COLUMN amount TYPE bigint`, changeling.ErrUsage, []string{"oders", "does not exist"}, ""},
		{"a table of another database", []string{orders}, `ALTER TABLE elsewhere.public.orders ALTER COLUMN amount TYPE bigint`, changeling.ErrUsage, []string{"the database elsewhere"}, ""},
		{"an unknown column", []string{orders}, `ALTER TABLE orders ALTER COLUMN amont TYPE bigint`, changeling.ErrUsage, []string{"amont"}, ""},
		{"an unknown type", []string{orders}, `ALTER TABLE orders ALTER COLUMN amount TYPE bigbigint`, changeling.ErrUsage, []string{"bigbigint"}, ""},
		{"two statements", []string{orders}, `ALTER TABLE orders ADD a int; DROP TABLE orders`, changeling.ErrUsage, []string{"found 2"}, ""},
		{"no DDL", []string{orders}, `DELETE FROM orders`, changeling.ErrRefused, []string{"DELETE"}, ""},
		{"a cast that needs USING", []string{orders}, `ALTER TABLE orders ALTER COLUMN note TYPE int`, changeling.ErrUsage, []string{"cannot be cast automatically"}, ""},
		{"no key", []string{`CREATE TABLE orders (id int, amount int)`, `INSERT INTO orders VALUES (1, 1)`}, `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`,
			changeling.ErrRefused, []string{"no usable key", "GENERATED ALWAYS AS IDENTITY PRIMARY KEY"}, ""},
		{"a value that does not convert", []string{orders, rows, `UPDATE orders SET note = 'seventeen' WHERE id = 1717`},
			`ALTER TABLE orders ALTER COLUMN note TYPE int USING note::int`, changeling.ErrData, []string{"id 1717", `note "seventeen"`, "invalid input syntax"}, `UPDATE orders SET note = '17' WHERE id = 1717`},
		{"a value that is too long, where an explicit cast would cut it", []string{orders, rows, `UPDATE orders SET note = repeat('x', 50) WHERE id = 99`},
			`ALTER TABLE orders ALTER COLUMN note TYPE varchar(10)`, changeling.ErrData, []string{"id 99", "too long", "xxx"}, `UPDATE orders SET note = 'x' WHERE id = 99`},
		{"a number out of range", []string{orders, rows, `UPDATE orders SET amount = 40000 WHERE id = 5`},
			`ALTER TABLE orders ALTER COLUMN amount TYPE smallint`, changeling.ErrData, []string{"id 5 ", `amount "40000"`, "out of range"}, `UPDATE orders SET amount = 4 WHERE id = 5`},
		{"a new unique key that rows break", []string{orders, rows, `UPDATE orders SET note = '7' WHERE id = 8`},
			`ALTER TABLE orders ADD CONSTRAINT once UNIQUE (note), ALTER COLUMN amount TYPE bigint`, changeling.ErrData, []string{"once", "note 7"}, `UPDATE orders SET note = 'eight' WHERE id = 8`},
		{"a new check that rows break", []string{orders, rows, `UPDATE orders SET amount = -1 WHERE id = 2000`},
			`ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0), ALTER COLUMN amount TYPE bigint`, changeling.ErrData, []string{"positive", "id 2000"}, `UPDATE orders SET amount = 1 WHERE id = 2000`},
		{"a new NOT NULL that rows break", []string{orders, rows, `UPDATE orders SET note = NULL WHERE id = 3`},
			`ALTER TABLE orders ALTER COLUMN note SET NOT NULL, ALTER COLUMN amount TYPE bigint`, changeling.ErrData, []string{"note", "id 3"}, `UPDATE orders SET note = 'three' WHERE id = 3`},
		{"a NOT NULL alone that rows break", []string{orders, rows, `UPDATE orders SET note = NULL WHERE id = 3`},
			`ALTER TABLE orders ALTER COLUMN note SET NOT NULL`, changeling.ErrData, []string{"NOT NULL of note", "id 3"}, `UPDATE orders SET note = 'three' WHERE id = 3`},
		{"a new foreign key that rows break", []string{orders, rows, `CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents SELECT generate_series(1, 2999)`},
			`ALTER TABLE orders ADD CONSTRAINT child FOREIGN KEY (parent) REFERENCES parents, ALTER COLUMN amount TYPE bigint`, changeling.ErrData, []string{"child", "id 3000"}, `INSERT INTO parents VALUES (3000)`},
		{"a materialized view", []string{orders, `CREATE MATERIALIZED VIEW big AS SELECT id FROM orders WHERE amount > 9`}, `ALTER TABLE orders ALTER COLUMN note TYPE varchar(10)`,
			changeling.ErrRefused, []string{"big"}, ""},
		{"a USING that is another value each time", []string{orders, rows}, `ALTER TABLE orders ALTER COLUMN note TYPE uuid USING gen_random_uuid()`, changeling.ErrRefused, []string{"note", "gen_random_uuid()"}, ""},
		{"a USING with the time of day", []string{orders, rows}, `ALTER TABLE orders ALTER COLUMN note TYPE timestamptz USING CASE WHEN id > 5 THEN CURRENT_TIMESTAMP END`, changeling.ErrRefused, []string{"time of the statement"}, ""},
		{"a trigger on a column that is changed", []string{orders, `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, `CREATE TRIGGER mine BEFORE UPDATE OF amount ON orders FOR EACH ROW EXECUTE FUNCTION f()`},
			`ALTER TABLE orders ALTER COLUMN amount TYPE bigint`, changeling.ErrUsage, []string{"mine"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, c.setup...)
			before := describe(t, db)
			err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{DropAfter: changeling.DropNow})
			if !errors.Is(err, c.kind) {
				t.Fatalf("Apply = %v, of code %d, want %v", err, changeling.Code(err), c.kind)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("the error %q does not say %q", err, s)
				}
			}
			if after := describe(t, db); after != before {
				t.Errorf("the table was touched: %s, was %s", after, before)
			}
			if c.mend != "" {
				pgtest.Exec(t, db, c.mend)
				if err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
					t.Fatalf("after mending the row: %v", err)
				}
			}
			nothingLeft(t, db)
		})
	}
}

// describe is the columns and the content of the table orders.
func describe(t *testing.T, db *sql.DB) string {
	t.Helper()
	var columns, content sql.NullString
	err := db.QueryRowContext(t.Context(), `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
FROM pg_attribute WHERE attrelid = to_regclass('orders') AND attnum > 0 AND NOT attisdropped`).Scan(&columns)
	if err != nil {
		t.Fatal(err)
	}
	if columns.Valid {
		if err := db.QueryRowContext(t.Context(), `SELECT md5(string_agg(o::text, ';' ORDER BY id)) FROM orders o`).Scan(&content); err != nil {
			t.Fatal(err)
		}
	}
	return columns.String + " " + content.String
}

// nothingLeft looks for schemas of changes that no list shows.
func nothingLeft(t *testing.T, db *sql.DB) {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, changeling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range list {
		if s.Status != "done" && s.Status != "aborted" || s.OldTable != "" {
			known[s.ID] = true
		}
	}
	rows, err := db.QueryContext(t.Context(), `SELECT nspname FROM pg_namespace WHERE nspname LIKE 'changeling\_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if id := strings.TrimSuffix(strings.TrimPrefix(name, "changeling_"), "_old"); !known[id] {
			t.Errorf("schema %s was left behind, and no change in the list has it", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestRights: a role without rights is told which one is missing; the owner of table and database needs no superuser.
func TestRights(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	admin := pgtest.Open(t, dsn)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	owner, stranger := "owner_"+name, "stranger_"+name
	pgtest.Exec(t, admin, `CREATE ROLE "`+owner+`" LOGIN`, `CREATE ROLE "`+stranger+`" LOGIN`,
		`CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 100) i`,
		`ALTER TABLE orders OWNER TO "`+owner+`"`)
	t.Cleanup(func() {
		// The roles outlive the database; what they own goes with it.
		_, _ = admin.Exec(`DROP OWNED BY "` + owner + `", "` + stranger + `" CASCADE`)
		_, _ = admin.Exec(`DROP ROLE "` + owner + `", "` + stranger + `"`)
	})
	const ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
	as := func(role string) *sql.DB {
		v := *u
		v.User = url.User(role)
		return pgtest.Open(t, v.String())
	}
	for _, role := range []string{stranger, owner} {
		err := changeling.Apply(t.Context(), as(role), ddl, changeling.Config{DropAfter: changeling.DropNow})
		if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "GRANT CREATE ON DATABASE") {
			t.Errorf("as %s: Apply = %v, want a precondition that names the GRANT", role, err)
		}
	}
	pgtest.Exec(t, admin, fmt.Sprintf(`GRANT CREATE ON DATABASE "%s" TO "%s"`, name, owner), fmt.Sprintf(`GRANT CREATE ON SCHEMA public TO "%s"`, owner))
	if err := changeling.Apply(t.Context(), as(owner), ddl, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
		t.Errorf("as the owner with CREATE on the database: %v", err)
	}
	nothingLeft(t, admin)
}

// TestOutOfRoom: a server that runs out of room, here of what its administrator allows, is no loss: the table is as it was, and
// the change goes on once there is room.
func TestOutOfRoom(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note text, amount int)`, `CREATE INDEX orders_note ON orders (note)`,
		`INSERT INTO orders SELECT i, md5(i::text), i FROM generate_series(1, 50000) i`)
	limit := func(verb string) {
		pgtest.Exec(t, db, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET temp_file_limit `+verb+`', current_database()); EXECUTE format('ALTER DATABASE %I SET maintenance_work_mem = ''1MB''', current_database()); END $$`)
	}
	const ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
	limit(`= ''100kB''`)
	before := describe(t, db)
	err := changeling.Apply(t.Context(), pgtest.Open(t, dsn), ddl, changeling.Config{})
	if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "temp_file_limit") || !strings.Contains(err.Error(), "source is untouched") {
		t.Fatalf("Apply = %v, want an error of kind ErrPrecondition that names temp_file_limit", err)
	}
	if now := describe(t, db); now != before {
		t.Errorf("the table is\n%s\nand was\n%s", now, before)
	}
	limit(`= -1`)
	if err := changeling.Apply(t.Context(), pgtest.Open(t, dsn), ddl, changeling.Config{}); err != nil {
		t.Fatal(err)
	}
}

// TestWidestTable: a table with as many columns as the server lets it have is compared, too.
func TestWidestTable(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `DO $$ BEGIN EXECUTE 'CREATE TABLE wide (id int PRIMARY KEY, a int, ' || (SELECT string_agg('c' || i || ' smallint', ', ') FROM generate_series(1, 1598) i) || ')'; END $$`,
		`INSERT INTO wide (id, a, c7) SELECT i, i, i FROM generate_series(1, 50) i`)
	var id string
	var repaired int64
	config := changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: func(e event.Event) {
		switch e := e.(type) {
		case event.Planned:
			id = e.Change
		case event.StepStarted:
			if e.Step == "verify" { // a user's write, and a row that differs
				pgtest.Exec(t, db, `UPDATE wide SET c1598 = 5 WHERE id > 7`, `UPDATE changeling_`+id+`.wide SET c1597 = 6 WHERE id = 7`)
			}
		case event.Verified:
			repaired = e.Repaired
		}
	}}
	if err := changeling.Apply(t.Context(), db, `ALTER TABLE wide ALTER COLUMN a TYPE bigint`, config); err != nil {
		t.Fatal(err)
	}
	var wrong int
	if err := db.QueryRow(`SELECT count(*) FILTER (WHERE c1598 IS DISTINCT FROM CASE WHEN id > 7 THEN 5 END OR c1597 IS NOT NULL OR a <> id) FROM wide`).Scan(&wrong); err != nil || wrong != 0 || repaired == 0 {
		t.Errorf("%d rows are wrong, %v; %d were found to differ", wrong, err, repaired)
	}
}

// TestMySQLWidestTable is TestWidestTable on MySQL and MariaDB, with an undo.
func TestMySQLWidestTable(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		var columns strings.Builder
		for n := range 1014 {
			fmt.Fprintf(&columns, ", c%d smallint", n)
		}
		mytest.Exec(t, db, `CREATE TABLE wide (id int PRIMARY KEY, a int`+columns.String()+`)`, `INSERT INTO wide (id, a, c7) `+countMy(t, db, 50)+` i, i, i FROM n`)
		c := made(t, db, `ALTER TABLE wide MODIFY a bigint`, changeling.Config{Fast: true, Binlog: dsn, Events: upon(event.Discard, began("verify"), func() { mytest.Exec(t, db, `UPDATE wide SET c1013 = 5 WHERE id > 7`) })})
		mytest.Exec(t, db, `UPDATE wide SET c1012 = 6 WHERE id > 9`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Error(err)
		}
		if n := ask[int](t, db, `SELECT COUNT(*) FROM wide WHERE c7 = id AND a = id AND c1013 <=> IF(id > 7, 5, NULL) AND c1012 <=> IF(id > 9, 6, NULL)`); n != 50 {
			t.Errorf("%d rows are as they should be, want 50", n)
		}
	})
}
