package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// finding is what a check of the data should come to.
type finding struct {
	name string
	rows int64
	keys []string
	more bool
}

// width is what MariaDB says of a whole number's display.
var width = regexp.MustCompile(`(int)\(\d+\)`)

// examined compares what CheckData says of a statement. A table of 3,000 rows is asked in many chunks.
func examined(t *testing.T, db *sql.DB, ddl string, want ...finding) *plan.Plan {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Plan(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	found, err := e.CheckData(t.Context(), p)
	if err != nil {
		t.Fatalf("%s: CheckData: %v", ddl, err)
	}
	var got []finding
	for _, f := range found {
		if f.Err != nil {
			t.Errorf("%s: %s", ddl, f)
		}
		if strings.HasPrefix(f.Name, "conversion") && (f.Rows > 0) != (f.Why != "") {
			t.Errorf("%s: of %s the server's words are %q", ddl, f.Name, f.Why)
		}
		f.Name = width.ReplaceAllString(f.Name, "$1")
		got = append(got, finding{f.Name, f.Rows, f.Keys, f.More})
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: found\n%v\nwant\n%v", ddl, got, want)
	}
	return p
}

// TestCheckData: each kind of rows that a statement cannot have is counted, and the first are named, before anything is made. What no row can
// break is not asked.
func TestCheckData(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		db := pgtest.Open(t, pgtest.Database(t, major))
		pgtest.Exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents SELECT generate_series(1, 2990)`,
			`CREATE DOMAIN few AS varchar(4) CHECK (VALUE <> '13')`,
			`CREATE TABLE orders (id int PRIMARY KEY, note text, amount int, parent int, price numeric(10,2) NOT NULL CHECK (price > 0), code varchar(9) UNIQUE) WITH (autovacuum_enabled = false)`,
			`INSERT INTO orders SELECT i, i, i, i, i + 0.25, i FROM generate_series(1, 3000) i`)
		for _, c := range []struct {
			breaks, ddl string
			want        []finding
		}{
			{`UPDATE orders SET note = 'x' || id WHERE id IN (7, 1500, 2999, 3000)`, `ALTER COLUMN note TYPE int USING note::int`,
				[]finding{{"conversion of note to integer", 4, []string{`id 7 with note "x7"`, `id 1500 with note "x1500"`, `id 2999 with note "x2999"`}, false}}},
			{`UPDATE orders SET note = 'longer than ten' WHERE id = 99; UPDATE orders SET note = 'ten       ' || '   ' WHERE id = 98`, `ALTER COLUMN note TYPE varchar(10)`,
				[]finding{{"conversion of note to character varying(10)", 1, []string{`id 99 with note "longer than ten"`}, false}}},
			{``, `ALTER COLUMN note TYPE char(3)`, []finding{{"conversion of note to character(3)", 100, []string{`id 1000 with note "1000"`, `id 1001 with note "1001"`, `id 1002 with note "1002"`}, true}}},
			{``, `ALTER COLUMN note TYPE few`, []finding{{"conversion of note to public.few", 1, []string{`id 13 with note "13"`}, false}}},
			{``, `ALTER COLUMN amount TYPE smallint, ALTER COLUMN note TYPE smallint USING (note::int * 11)::smallint`,
				[]finding{{"conversion of note to smallint, amount to smallint", 22, []string{`id 2979 with amount "2979", note "2979"`, `id 2980 with amount "2980", note "2980"`, `id 2981 with amount "2981", note "2981"`}, false}}},
			{`UPDATE orders SET note = NULL WHERE id IN (3, 3000)`, `ALTER COLUMN note SET NOT NULL, ALTER COLUMN amount TYPE bigint`,
				[]finding{{"NOT NULL of note", 2, []string{"id 3", "id 3000"}, false}}},
			{``, `ALTER COLUMN price TYPE numeric(9,2) USING nullif(price, 17.25)`,
				[]finding{{"conversion of price to numeric(9,2)", 0, nil, false}, {"NOT NULL of price", 1, []string{"id 17"}, false}, {"check orders_price_check", 0, nil, false}}},
			{``, `ADD CONSTRAINT small CHECK (amount < 2999), ALTER COLUMN amount TYPE bigint`, []finding{{"check small", 2, []string{"id 2999", "id 3000"}, false}}},
			{`UPDATE orders SET price = 0.3 WHERE id = 2000`, `ALTER COLUMN price TYPE numeric(8,0)`,
				[]finding{{"conversion of price to numeric(8,0)", 0, nil, false}, {"check orders_price_check", 1, []string{"id 2000"}, false}}},
			{`UPDATE orders SET note = '7' WHERE id IN (8, 9); UPDATE orders SET note = NULL WHERE id IN (10, 11)`, `ADD CONSTRAINT once UNIQUE (note), ALTER COLUMN amount TYPE bigint`,
				[]finding{{"key once", 1, []string{"note 7"}, false}}},
			{`UPDATE orders SET code = '07' WHERE id = 8`, `ALTER COLUMN code TYPE int USING code::int`, []finding{{"conversion of code to integer", 0, nil, false}, {"key orders_code_key", 1, []string{"code 7"}, false}}},
			{``, `ADD CONSTRAINT child FOREIGN KEY (parent) REFERENCES parents, ALTER COLUMN amount TYPE bigint`, []finding{{"foreign key child", 10, []string{"id 2991", "id 2992", "id 2993"}, false}}},
			{`ALTER TABLE orders ADD CONSTRAINT most CHECK (amount < 3000) NOT VALID`, `VALIDATE CONSTRAINT most, ALTER COLUMN amount TYPE bigint`, []finding{{"check most", 1, []string{"id 3000"}, false}}},
			{`ALTER TABLE orders DROP CONSTRAINT most`, `ADD COLUMN must int NOT NULL, ALTER COLUMN amount TYPE bigint`, []finding{{"NOT NULL of must", 3000, []string{"id 1", "id 2", "id 4"}, false}}}, // as they stand in the heap, which no vacuum has tidied
			{``, `ALTER COLUMN amount TYPE bigint`, nil},
			{``, `ALTER COLUMN amount TYPE numeric(12,2) USING amount::numeric(12,2), ALTER COLUMN price TYPE numeric(12,2), ALTER COLUMN id TYPE bigint USING id::int8`, []finding{{"conversion of amount to numeric(12,2)", 0, nil, false}}},
			{``, `ALTER COLUMN code TYPE text, ALTER COLUMN id TYPE text`, nil},
		} {
			if c.breaks != "" {
				pgtest.Exec(t, db, c.breaks)
			}
			p := examined(t, db, `ALTER TABLE orders `+c.ddl, c.want...)
			if p.Route != plan.ShadowTable {
				t.Errorf("%s goes by %s", c.ddl, p.Route)
			}
			if first := p.Find(plan.Data) == 0; first != (len(c.want) > 0) {
				t.Errorf("%s: a look at the data comes first: %t", c.ddl, first)
			}
			pgtest.Exec(t, db, `UPDATE orders SET note = id, price = id + 0.25, code = id WHERE (note, price, code) IS DISTINCT FROM (id::text, id + 0.25, id::text)`)
		}
	}
}

// TestCheckDataFirst: a run looks at the data before it makes anything, is not to be resumed, and says so; without the look the copy finds
// the row, as it finds one that comes behind the look.
func TestCheckDataFirst(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE orders ALTER COLUMN note TYPE int USING note::int`
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note text)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 3000) i`, `UPDATE orders SET note = 'x' WHERE id = 1717`)
	var steps []string
	config := quick
	config.Events = func(e event.Event) {
		if s, ok := e.(event.StepStarted); ok {
			steps = append(steps, s.Name)
		}
	}
	ends := func(why, status string, conf changeling.Config) {
		t.Helper()
		steps = nil
		err := changeling.Apply(t.Context(), db, ddl, conf)
		if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), `id 1717 with note "x"`) || !strings.Contains(err.Error(), "source is untouched") {
			t.Errorf("Apply = %v, want ErrData with %q that names the row", err, why)
		}
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		list, err := e.List(t.Context())
		if err != nil || list[0].Status != status {
			t.Errorf("the changes are %+v, %v; want the last one %s", list, err, status)
		}
		if status == "failed" {
			c, err := e.Find(t.Context(), list[0].ID)
			if err == nil {
				err = c.Abort(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		nothingLeft(t, db)
	}
	ends("1 rows break it", "aborted", config)
	if !slices.Equal(steps, []string{"check data"}) {
		t.Errorf("the steps were %q", steps)
	}
	unasked := config
	unasked.NoDataCheck = true
	ends("a row cannot be converted", "failed", unasked)

	pgtest.Exec(t, db, `UPDATE orders SET note = '1' WHERE id = 1717`)
	late := config
	late.Events = upon(config.Events, startedNamed("create shadow"), func() { pgtest.Exec(t, db, `UPDATE orders SET note = 'x' WHERE id = 1717`) })
	ends("a row cannot be converted", "failed", late)

	// Somebody mends the row while it is looked for.
	mended := false
	pool := pgtest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
		if strings.Contains(s.Text, "json_build_object('note'") {
			mended = true
			pgtest.Exec(t, db, `UPDATE orders SET note = '1' WHERE id = 1717`)
		}
		return s.Text
	})
	if err := changeling.Apply(t.Context(), pool, ddl, config); err != nil || !mended {
		t.Errorf("Apply = %v; mended while it was looked for: %t", err, mended)
	}
}

// TestCheckDataOnlyReads: what looks at the data writes nothing and holds no lock behind which others would queue.
func TestCheckDataOnlyReads(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note text)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 3000) i`,
		`CREATE FUNCTION spy(note text) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.orders VALUES (-1, ''x''); RETURN 1; END'`)
	e, err := changeling.Open(t.Context(), db, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Plan(t.Context(), `ALTER TABLE orders ALTER COLUMN note TYPE int USING spy(note)`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := e.CheckData(t.Context(), p)
	if err != nil || len(found) != 1 || found[0].Err == nil || !strings.Contains(found[0].Err.Error(), "read-only transaction") {
		t.Errorf("CheckData = %+v, %v: want it to say that it only reads", found, err)
	}
}

// TestMySQLCheckData is TestCheckData on MySQL and MariaDB.
func TestMySQLCheckData(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, note varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, amount int, price decimal(10,2) NOT NULL, at datetime(6), code varchar(9) UNIQUE, CONSTRAINT dear CHECK (price > 0))`,
			`INSERT INTO orders (id, note, amount, price, at, code) `+countMy(t, db, 3000)+` i, i, i, i + 0.25, '2026-01-01', i FROM n`)
		json, rounded := finding{"conversion of note to json", 1, []string{`id 4 with note "{"`}, false}, "at 2026-02-01 10:00:01"
		if isMaria(t, db) { // there JSON is a text with a check, and a fraction of a second is cut off
			json, rounded = finding{"check note", 1, []string{"id 4"}, false}, "at 2026-02-01 10:00:00"
		}
		for _, c := range []struct {
			breaks, ddl string
			want        []finding
		}{
			{`UPDATE orders SET note = CONCAT('x', id) WHERE id IN (7, 1500, 2999, 3000)`, `MODIFY note int`,
				[]finding{{"conversion of note to int", 4, []string{`id 7 with note "x7"`, `id 1500 with note "x1500"`, `id 2999 with note "x2999"`}, false}}},
			{`UPDATE orders SET note = 'longer than ten' WHERE id = 99`, `MODIFY note varchar(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`, []finding{{"conversion of note to varchar(10)", 1, []string{`id 99 with note "longer than ten"`}, false}}},
			{`UPDATE orders SET note = 'Zoë 🙂' WHERE id = 5`, `MODIFY note varchar(60) CHARACTER SET latin1`, []finding{{"conversion of note to varchar(60)", 1, []string{`id 5 with note "Zoë 🙂"`}, false}}},
			{``, `MODIFY note varchar(3) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`, []finding{{"conversion of note to varchar(3)", 100, []string{`id 1000 with note "1000"`, `id 1001 with note "1001"`, `id 1002 with note "1002"`}, true}}},
			{`UPDATE orders SET amount = 40000 WHERE id = 4; UPDATE orders SET amount = -1 WHERE id = 2000`, `MODIFY amount smallint unsigned`, []finding{{"conversion of amount to smallint unsigned", 1, []string{`id 2000 with amount "-1"`}, false}}},
			{`UPDATE orders SET note = 'null' WHERE id = 3; UPDATE orders SET note = '{' WHERE id = 4`, `MODIFY note json`, []finding{json}},
			{`UPDATE orders SET note = NULL WHERE id IN (3, 3000)`, `MODIFY note varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, MODIFY amount bigint`, []finding{{"NOT NULL of note", 2, []string{"id 3", "id 3000"}, false}}},
			{``, `ADD CONSTRAINT small CHECK (amount < 2999), MODIFY amount bigint`, []finding{{"check small", 2, []string{"id 2999", "id 3000"}, false}}},
			{`UPDATE orders SET price = 0.3 WHERE id = 2000`, `CHANGE price cost decimal(8,0) NOT NULL, DROP CONSTRAINT dear, ADD CONSTRAINT dear CHECK (cost > 0)`,
				[]finding{{"conversion of price to decimal(8,0)", 0, nil, false}, {"check dear", 1, []string{"id 2000"}, false}}},
			{`UPDATE orders SET note = 'A' WHERE id = 8; UPDATE orders SET note = 'a' WHERE id = 9; UPDATE orders SET note = NULL WHERE id > 2990`, `ADD UNIQUE once (note), MODIFY note varchar(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, MODIFY amount bigint`,
				[]finding{{"key once", 1, []string{"note A"}, false}}},
			{`UPDATE orders SET code = '07' WHERE id = 8`, `MODIFY code int`, []finding{{"conversion of code to int", 0, nil, false}, {"key code", 1, []string{"code 7"}, false}}},
			{`UPDATE orders SET at = '2026-02-01 10:00:00.6' WHERE id > 2998`, `ADD UNIQUE at (at), MODIFY at datetime, MODIFY amount bigint`,
				[]finding{{"conversion of at to datetime", 0, nil, false}, {"key at", 2, []string{"at 2026-01-01 00:00:00", rounded}, false}}},
			{``, `MODIFY amount bigint, MODIFY price decimal(12,3) NOT NULL`, nil},
		} {
			for _, text := range strings.Split(c.breaks, ";") {
				if text != "" {
					mytest.Exec(t, db, text)
				}
			}
			p := examined(t, db, `ALTER TABLE orders `+c.ddl, c.want...)
			if p.Route != plan.ShadowTable {
				t.Errorf("%s goes by %s", c.ddl, p.Route)
			}
			if first := p.Find(plan.Data) == 0; first != (len(c.want) > 0) {
				t.Errorf("%s: a look at the data comes first: %t", c.ddl, first)
			}
			mytest.Exec(t, db, `UPDATE orders SET note = id, price = id + 0.25, code = id, amount = id, at = '2026-01-01'`)
		}
		// In place there is no copy, and the same question.
		mytest.Exec(t, db, `UPDATE orders SET note = '7' WHERE id = 8`)
		examined(t, db, `ALTER TABLE orders ADD UNIQUE once (note)`, finding{"key once", 1, []string{"note 7"}, false})
	})
}

// TestMySQLCheckDataFirst: a run looks at the data before it makes anything, whoever may make a temporary table; a row that comes behind the
// look is found by the copy.
func TestMySQLCheckDataFirst(t *testing.T) {
	t.Parallel()
	const ddl = `ALTER TABLE orders MODIFY note int`
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders (id int NOT NULL PRIMARY KEY, note varchar(60))`, `INSERT INTO orders `+countMy(t, db, 3000)+` i, i FROM n`, `UPDATE orders SET note = 'x' WHERE id = 1717`)
		before := myDefinition(t, db, "orders")
		apply := func(db *sql.DB, config changeling.Config, why string) {
			t.Helper()
			err := changeling.Apply(t.Context(), db, ddl, config)
			if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), `id 1717 with note "x"`) {
				t.Errorf("Apply = %v, want ErrData with %q that names the row", err, why)
			}
			if got := myDefinition(t, db, "orders"); got != before {
				t.Errorf("the table is\n%s\nwant it as it was", got)
			}
		}
		abort := func() {
			t.Helper()
			e, err := changeling.Open(t.Context(), db, quick)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			list, err := e.List(t.Context())
			list = slices.DeleteFunc(list, func(s changeling.Status) bool { return !strings.HasPrefix(s.Table, mySchema(t, db)+".") }) // the server is shared
			if err != nil || len(list) == 0 || list[0].Status != "failed" {
				t.Fatalf("%+v, %v", list, err)
			}
			c, err := e.Find(t.Context(), list[0].ID)
			if err == nil {
				err = c.Abort(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		apply(db, quick, "1 rows break it")
		var told []string
		listen := quick
		listen.Events = func(e event.Event) {
			if n, ok := e.(event.Notice); ok {
				told = append(told, n.Text)
			}
		}
		denied := mytest.Mutant(t, dsn, func(_ context.Context, s mutant.Statement) string {
			return strings.Replace(s.Text, "CREATE TEMPORARY TABLE `", "CREATE TEMPORARY TABLE `nowhere`.`", 1)
		})
		apply(denied, listen, "a row cannot be converted")
		if !strings.Contains(strings.Join(told, "\n"), "cannot be asked before: a temporary table") {
			t.Errorf("told %q, want that the look was not possible", told)
		}
		abort()
		unasked := listen
		unasked.NoDataCheck, told = true, nil
		apply(db, unasked, "a row cannot be converted")
		if !strings.Contains(strings.Join(told, "\n"), "not looked at before the copy") {
			t.Errorf("told %q, want that nobody looked", told)
		}
		abort()
		mytest.Exec(t, db, `UPDATE orders SET note = '1' WHERE id = 1717`)
		late := quick
		late.Events = upon(event.Discard, startedNamed("create shadow"), func() { mytest.Exec(t, db, `UPDATE orders SET note = 'x' WHERE id = 1717`) })
		apply(db, late, "a row cannot be converted")
		abort()
		mytest.Exec(t, db, `UPDATE orders SET note = '1' WHERE id = 1717`)
		if err := changeling.Apply(t.Context(), db, ddl, quick); err != nil {
			t.Error(err)
		}
	})
}
