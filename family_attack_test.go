package changeling_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestFamilyShapes widens families that are put together in other ways, and looks that no column is left that is narrower than what it refers to.
func TestFamilyShapes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		setup []string
		ddl   string
		says  string // of a refusal
	}{
		{"names that need quotes, in other schemas", []string{
			`CREATE SCHEMA "My ""App"""`, `CREATE SCHEMA "select"`,
			`CREATE TABLE "My ""App"""."Key's" ("the id" serial PRIMARY KEY)`,
			`CREATE TABLE "select"."from" ("to" int PRIMARY KEY CONSTRAINT "a;b" REFERENCES "My ""App"""."Key's")`,
			`INSERT INTO "My ""App"""."Key's" SELECT generate_series(1, 20)`, `INSERT INTO "select"."from" SELECT generate_series(1, 20)`,
		}, `ALTER TABLE "My ""App"""."Key's" ALTER COLUMN "the id" SET DATA TYPE int8, ADD COLUMN note text`, ""},
		{"tables that refer to each other", []string{
			`CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY REFERENCES a)`,
			`INSERT INTO a VALUES (1)`, `INSERT INTO b VALUES (1)`, `ALTER TABLE a ADD CONSTRAINT back FOREIGN KEY (id) REFERENCES b DEFERRABLE INITIALLY DEFERRED`,
		}, `ALTER TABLE a ALTER id TYPE bigint`, ""},
		{"a composite key of two that get wider, in another order", []string{
			`CREATE TABLE a (x int, y smallint, PRIMARY KEY (x, y))`, `CREATE TABLE b (id int PRIMARY KEY, p smallint, q int, FOREIGN KEY (p, q) REFERENCES a (y, x) MATCH FULL ON DELETE SET NULL)`,
			`INSERT INTO a VALUES (1, 2)`, `INSERT INTO b VALUES (1, 2, 1)`,
		}, `ALTER TABLE a ALTER x TYPE bigint, ALTER y TYPE int`, ""},
		{"a unique column that is no primary key, and two keys of one child", []string{
			`CREATE TABLE a (id int PRIMARY KEY, no int UNIQUE)`, `CREATE TABLE b (id int PRIMARY KEY, one int REFERENCES a (no), two int)`, `ALTER TABLE b ADD CONSTRAINT loose FOREIGN KEY (two) REFERENCES a (no) NOT VALID`,
			`INSERT INTO a VALUES (1, 1)`, `INSERT INTO b VALUES (1, 1, 1)`,
		}, `ALTER TABLE a ALTER no TYPE bigint`, ""},
		{"a key that is wide already", []string{
			`CREATE TABLE a (id bigserial PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY REFERENCES a)`, `CREATE TABLE c (id smallint PRIMARY KEY REFERENCES b)`,
			`INSERT INTO a VALUES (1)`, `INSERT INTO b VALUES (1)`, `INSERT INTO c VALUES (1)`,
		}, `ALTER TABLE a ALTER id TYPE bigint`, ""},
		{"nobody refers to it", []string{`CREATE TABLE a (id serial PRIMARY KEY)`}, `ALTER TABLE a ALTER id TYPE bigint`, ""},
		{"a partitioned child", []string{
			`CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int REFERENCES a, n int) PARTITION BY RANGE (n)`, `CREATE TABLE b1 PARTITION OF b DEFAULT`,
			`INSERT INTO a VALUES (1)`, `INSERT INTO b VALUES (1, 1)`,
		}, `ALTER TABLE a ALTER id TYPE bigint`, "the partitioned table public.b refers to"},
		{"a domain", []string{
			`CREATE DOMAIN ref AS int`, `CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY, a ref REFERENCES a)`,
		}, `ALTER TABLE a ALTER id TYPE bigint`, "public.b.a, which refers to id, is of type ref"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t, pgtest.Database(t))
			pgtest.Exec(t, db, c.setup...)
			err := changeling.Apply(t.Context(), db, c.ddl, changeling.Config{WithChildren: true, Fast: true, DropAfter: changeling.DropNow, Events: event.Lines(t.Output())})
			if c.says != "" {
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want a refusal that says %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var narrow, owned int
			if err := db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM (SELECT conrelid, confrelid, unnest(conkey) AS num, unnest(confkey) AS refers FROM pg_constraint k JOIN pg_class r ON r.oid = conrelid
    WHERE contype = 'f' AND r.relnamespace <> 'changeling'::regnamespace) k
  JOIN pg_attribute c ON (c.attrelid, c.attnum) = (conrelid, num) JOIN pg_attribute p ON (p.attrelid, p.attnum) = (confrelid, refers) WHERE c.attlen <> p.attlen),
  (SELECT count(*) FROM pg_sequence WHERE seqtypid <> 'bigint'::regtype)`).Scan(&narrow, &owned); err != nil {
				t.Fatal(err)
			}
			if narrow+owned > 0 {
				t.Errorf("%d columns are not of the type that they refer to, %d sequences are narrow", narrow, owned)
			}
			e, err := changeling.Open(t.Context(), db, changeling.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if list, err := e.List(t.Context()); err != nil || len(list) == 0 {
				t.Errorf("nothing was done (%v)", err)
			}
		})
	}
}
