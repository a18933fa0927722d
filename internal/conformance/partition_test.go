package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// parting is a plain table, and what a script by hand would have made instead: %s in the setup is what stands behind its columns, and the partitions
// are made before its rows.
type parting struct {
	shape
	by    changeling.Partitioning
	parts string
}

var partings = []parting{
	{
		shape: shape{Name: "everything", Setup: `
CREATE SCHEMA "Sh op" AUTHORIZATION alice;
ALTER DEFAULT PRIVILEGES FOR ROLE alice IN SCHEMA "Sh op" GRANT SELECT ON TABLES TO bob;
SET ROLE alice;
CREATE TYPE "Sh op".kind AS ENUM ('new', 'old', 'odd');
CREATE TABLE "Sh op".parents (id int PRIMARY KEY); INSERT INTO "Sh op".parents SELECT generate_series(1, 5);
-- names that partitions' indexes would get
CREATE TABLE "Sh op"."Or%ders_new_pkey" (x int); CREATE SEQUENCE "Sh op".orders_old_kind_lower_idx;
CREATE TABLE "Sh op"."Or""ders" ("I d" bigserial, kind "Sh op".kind NOT NULL, name varchar(40) COLLATE "C", amount numeric(8,2) DEFAULT 1.50, parent int, at timestamptz NOT NULL DEFAULT '2026-01-01Z',
  total numeric GENERATED ALWAYS AS (amount * 2) STORED)%s;
ALTER TABLE "Sh op"."Or""ders" ALTER name SET STORAGE EXTERNAL, ALTER amount SET STATISTICS 77, ALTER amount SET (n_distinct = 5);
ALTER TABLE "Sh op"."Or""ders" ADD CONSTRAINT "P k" PRIMARY KEY ("I d", kind) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE "Sh op"."Or""ders" ADD CONSTRAINT u_name UNIQUE (name, kind, at);
CREATE UNIQUE INDEX at_key ON "Sh op"."Or""ders" (kind, "I d", at DESC) INCLUDE (name) WITH (fillfactor = 80);
CREATE INDEX low ON "Sh op"."Or""ders" (lower(name)) WHERE amount > 0;
CREATE INDEX hashed ON "Sh op"."Or""ders" USING hash (name); CREATE INDEX brined ON "Sh op"."Or""ders" USING brin (at);
ALTER TABLE "Sh op"."Or""ders" ADD CONSTRAINT positive CHECK (amount > -5);
CREATE STATISTICS "Sh op".st ON kind, parent FROM "Sh op"."Or""ders";
COMMENT ON TABLE "Sh op"."Or""ders" IS 'it''s all'; COMMENT ON COLUMN "Sh op"."Or""ders"."I d" IS 'id'; COMMENT ON CONSTRAINT "P k" ON "Sh op"."Or""ders" IS 'key'; COMMENT ON INDEX "Sh op".low IS 'low';
COMMENT ON CONSTRAINT positive ON "Sh op"."Or""ders" IS 'pos'; COMMENT ON STATISTICS "Sh op".st IS 'st';
GRANT UPDATE (name) ON "Sh op"."Or""ders" TO bob; GRANT ALL ON "Sh op"."Or""ders" TO bob WITH GRANT OPTION; REVOKE INSERT ON "Sh op"."Or""ders" FROM carol;
{parts}
ALTER INDEX "Sh op".low ALTER COLUMN 1 SET STATISTICS 33; ALTER TABLE "Sh op"."Or""ders" ADD CONSTRAINT later CHECK (at > '2000-01-01Z') NOT VALID;
ALTER TABLE "Sh op"."Or""ders" ADD CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES "Sh op".parents ON UPDATE CASCADE DEFERRABLE;
COMMENT ON CONSTRAINT to_parent ON "Sh op"."Or""ders" IS 'parent';
INSERT INTO "Sh op"."Or""ders" (kind, name, parent, at) SELECT (ARRAY['new', 'old', 'odd'])[1 + i % 3]::"Sh op".kind, 'n' || i, 1 + i % 5, '2026-01-01Z'::timestamptz + i * interval '1 hour' FROM generate_series(1, 500) i;
CREATE TABLE "Sh op".children (id bigint, kind "Sh op".kind, CONSTRAINT to_orders FOREIGN KEY (kind, id, at) REFERENCES "Sh op"."Or""ders" (kind, "I d", at), at timestamptz);
INSERT INTO "Sh op".children SELECT "I d", kind, at FROM "Sh op"."Or""ders" WHERE "I d" < 9;
RESET ROLE`},
		by: changeling.Partitioning{Table: `"Sh op"."Or""ders"`, By: `List ( kind )`, Partitions: []string{`"Or%ders_new" FOR VALUES IN ('new')`, `orders_old for values in ('old')`}, Default: "Rest"},
		parts: `CREATE TABLE "Sh op"."Or%ders_new" PARTITION OF "Sh op"."Or""ders" FOR VALUES IN ('new') WITH (fillfactor = 60, autovacuum_vacuum_threshold = 70, toast.autovacuum_enabled = off);
CREATE TABLE "Sh op".orders_old PARTITION OF "Sh op"."Or""ders" FOR VALUES IN ('old') WITH (fillfactor = 60, autovacuum_vacuum_threshold = 70, toast.autovacuum_enabled = off);
CREATE TABLE "Sh op"."Rest" PARTITION OF "Sh op"."Or""ders" DEFAULT WITH (fillfactor = 60, autovacuum_vacuum_threshold = 70, toast.autovacuum_enabled = off);
ALTER TABLE "Sh op"."Or""ders" ALTER amount SET STATISTICS 77; ALTER TABLE "Sh op"."Or%ders_new" ALTER amount SET (n_distinct = 5); ALTER TABLE "Sh op".orders_old ALTER amount SET (n_distinct = 5); ALTER TABLE "Sh op"."Rest" ALTER amount SET (n_distinct = 5);`,
	},
	{
		shape: shape{Name: "identity and replica identity", Since: 17, Setup: `
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 3), at date NOT NULL, PRIMARY KEY (id, at), EXCLUDE USING btree (at WITH =, id WITH =))%s;
ALTER TABLE events REPLICA IDENTITY FULL;
{parts}
INSERT INTO events (at) SELECT date '2026-01-01' + i FROM generate_series(1, 300) i`},
		by: changeling.Partitioning{Table: "events", By: "range (at)", Partitions: []string{"old FOR VALUES FROM (MINVALUE) TO ('2026-02-01')", "new FOR VALUES FROM ('2026-02-01') TO (MAXVALUE)"}},
		parts: `CREATE TABLE old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-02-01'); CREATE TABLE new PARTITION OF events FOR VALUES FROM ('2026-02-01') TO (MAXVALUE);
ALTER TABLE old REPLICA IDENTITY FULL; ALTER TABLE new REPLICA IDENTITY FULL;`,
	},
	{
		shape: shape{Name: "what hangs on a table", Setup: `
CREATE TABLE events (id int, at date NOT NULL, who name, v int, PRIMARY KEY (id, at))%s;
{parts}
INSERT INTO events SELECT i, date '2026-01-01' + i, 'w', i FROM generate_series(1, 100) i;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER each AFTER INSERT OR UPDATE OF v ON events FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION f();
CREATE TRIGGER leaving BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER lines AFTER UPDATE ON events REFERENCING OLD TABLE AS b NEW TABLE AS a FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE TRIGGER "At first" BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE events DISABLE TRIGGER leaving, ENABLE ALWAYS TRIGGER lines, ENABLE REPLICA TRIGGER each;
COMMENT ON TRIGGER each ON events IS 'each';
CREATE POLICY mine ON events USING (who = current_user) WITH CHECK (v > 0); COMMENT ON POLICY mine ON events IS 'mine';
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE VIEW seen WITH (security_barrier = true) AS SELECT id, at, v FROM events WHERE v > 3 WITH CHECK OPTION;
CREATE VIEW counted AS SELECT e.at, count(*) FROM events e JOIN seen s USING (id) GROUP BY e.at; GRANT SELECT ON counted TO bob;
CREATE PUBLICATION whole FOR TABLE events WITH (publish_via_partition_root = true)`},
		by:    changeling.Partitioning{Table: "events", By: "range (at)", Partitions: []string{"old FOR VALUES FROM (MINVALUE) TO ('2026-02-01')", "new FOR VALUES FROM ('2026-02-01') TO (MAXVALUE)"}},
		parts: `CREATE TABLE old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-02-01'); CREATE TABLE new PARTITION OF events FOR VALUES FROM ('2026-02-01') TO (MAXVALUE);`,
	},
}

// with is the setup, partitioned by hand or not.
func (p parting) with(behind, options, parts string) shape {
	s := p.shape
	s.Setup = strings.Replace(strings.Replace(s.Setup, ")%s;", ")"+behind+options+";", 1), "{parts}", parts, 1)
	return s
}

// TestTwinPartition compares a table that the engine partitioned with one that a script made so from the beginning, and the one that its undo leads
// back to with one to which nothing happened.
func TestTwinPartition(t *testing.T) {
	twinPartings(t, func(p parting, plain, parted shape) (from, to shape, b changeling.Partitioning) {
		return plain, parted, p.by
	})
}

// TestTwinUnpartition goes the other way: from the table that a script partitioned to the plain one.
func TestTwinUnpartition(t *testing.T) {
	twinPartings(t, func(p parting, plain, parted shape) (from, to shape, b changeling.Partitioning) {
		return parted, plain, changeling.Partitioning{Table: p.by.Table, None: true}
	})
}

func twinPartings(t *testing.T, way func(p parting, plain, parted shape) (from, to shape, b changeling.Partitioning)) {
	for _, major := range pgtest.Majors(t) {
		pgtest.Exec(t, pgtest.Open(t, pgtest.Server(t, major).DSN("postgres")), roles)
		for _, p := range partings {
			if p.Since > major {
				continue
			}
			t.Run(fmt.Sprintf("postgres %d/%s", major, p.Name), func(t *testing.T) {
				t.Parallel()
				options := ""
				if strings.Contains(p.parts, "fillfactor") {
					options = " WITH (fillfactor = 60, autovacuum_vacuum_threshold = 70, toast.autovacuum_enabled = off)"
				}
				from, to, b := way(p, p.with("", options, ""), p.with(" PARTITION BY "+p.by.By, "", p.parts))
				native, before, engine := to.twin(t, major), from.twin(t, major), from.twin(t, major)
				c := parts(t, engine, b, changeling.Config{Fast: true})
				if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
					t.Fatal(err)
				}
				if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
					t.Errorf("Cleanup = %v, %v", dropped, err)
				}
				alike(t, from, before, engine, "- before, + after the undo")
				parts(t, engine, b, changeling.Config{Fast: true, DropAfter: changeling.DropNow})
				for range 2 { // as many as were asked for between
					native.next(t)
				}
				engine.next(t)
				alike(t, from, native, engine, "- native, + engine")
			})
		}
	}
}

// parts partitions a table.
func parts(t *testing.T, d *database, b changeling.Partitioning, config changeling.Config) *changeling.Change {
	t.Helper()
	c, err := tryParts(t, d, b, config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryParts(t *testing.T, d *database, b changeling.Partitioning, config changeling.Config) (*changeling.Change, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	config.Events = func(e event.Event) { t.Logf("%T %+v", e, e) }
	e, err := changeling.Open(ctx, d.runner, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, p, err := e.Partition(ctx, b)
	if err == nil && c == nil {
		c, err = e.StartPlan(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return c, c.Run(ctx)
}

// TestPartitionShapes partitions the table of each shape by its key, if it has one, takes it back, and compares with a database in which nothing was
// done.
func TestPartitionShapes(t *testing.T) {
	major := pgtest.Majors(t)[0]
	admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
	pgtest.Exec(t, admin, roles)
	if major >= 15 {
		spare(t, admin)
	}
	var made, refused atomic.Int64
	t.Run("shapes", func(t *testing.T) {
		for i, s := range shapes(t) {
			if s.Since > major || s.Until != 0 && s.Until < major || !strings.HasPrefix(s.Alter, "ALTER TABLE ") {
				continue
			}
			if os.Getenv("CHANGELING_FULL") == "" && i%10 != int(time.Now().Unix()/86400%10) {
				continue // another tenth each day
			}
			t.Run(s.File+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				before, engine := s.twin(t, major), s.twin(t, major)
				table := tableOf(s.Alter)
				keys, err := column(t.Context(), engine.db, fmt.Sprintf(`SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
WHERE indrelid = to_regclass('%s') AND indisprimary HAVING count(*) > 0`, strings.ReplaceAll(table, "'", "''")))
				if err != nil || len(keys) == 0 {
					t.Logf("no key: %v", err)
					return
				}
				c, err := tryParts(t, engine, changeling.Partitioning{Table: table, By: "hash (" + keys[0] + ")", Count: 3}, changeling.Config{Fast: true})
				switch {
				case errors.Is(err, changeling.ErrRefused), err != nil && strings.Contains(err.Error(), "longer than the 63 bytes"):
					refused.Add(1)
					t.Log(err)
					engine.untouched(t, s, before.look(t, s))
					return
				case err != nil:
					t.Fatal(err)
				}
				if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
					if errors.Is(err, changeling.ErrRefused) && c.Plan().NoUndo != "" {
						t.Log(err)
						return
					}
					t.Fatal(err)
				}
				if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
					t.Errorf("Cleanup = %v, %v", dropped, err)
				}
				made.Add(1)
				alike(t, s, before, engine, "- before, + after")
			})
		}
	})
	t.Logf("%d partitioned and taken back, %d refused", made.Load(), refused.Load())
	if made.Load() == 0 {
		t.Error("no shape was partitioned")
	}
}

// tableOf is the table of an ALTER TABLE, as it is written there.
func tableOf(alter string) string {
	rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(alter, "ALTER TABLE "), "IF EXISTS "), "ONLY "))
	quoted := false
	for i, c := range rest {
		if c == '"' {
			quoted = !quoted
		}
		if !quoted && (c == ' ' || c == '\n') {
			return rest[:i]
		}
	}
	return rest
}

// TestTwinRebuild writes the partitioned tables among the shapes anew, and compares with a database in which nothing was done.
func TestTwinRebuild(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
		pgtest.Exec(t, admin, roles)
		if major >= 15 {
			spare(t, admin)
		}
		for _, s := range shapes(t) {
			if s.File != "partitions" || s.Since > major || s.Refused+s.Usage+s.Data != "" || s.Direct || s.Recipe {
				continue
			}
			t.Run(fmt.Sprintf("postgres %d/%s", major, s.Name), func(t *testing.T) {
				t.Parallel()
				before, engine := s.twin(t, major), s.twin(t, major)
				e, err := changeling.Open(t.Context(), engine.runner, changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: func(e event.Event) { t.Logf("%T %+v", e, e) }})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				b := changeling.Rebuild{Table: tableOf(s.Alter)}
				if strings.Contains(s.Name, "each partition is what it was") && major >= 15 {
					b.Tablespace, b.FillFactor = "spare", 66
					pgtest.Exec(t, before.db, `ALTER TABLE t SET TABLESPACE spare`)
					for _, part := range []string{`"T 1"`, `t2`, `td`} {
						pgtest.Exec(t, before.db, `ALTER TABLE `+part+` SET TABLESPACE spare, SET (fillfactor = 66)`)
					}
				}
				_, p, err := e.Rebuild(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				c, err := e.StartPlan(t.Context(), p)
				if err == nil {
					err = c.Run(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				alike(t, s, before, engine, "- before, + after")
			})
		}
	}
}
