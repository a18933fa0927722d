-- Views that read the table read the new one after the swap.

-- shape: views of all kinds
CREATE TABLE u (id int PRIMARY KEY, note text, t_id int);
CREATE TABLE t (id int PRIMARY KEY, v int, a text, "b c" int, d date);
INSERT INTO t SELECT i, i, 'a' || i, i, '2026-01-01' FROM generate_series(1, 50) i;
INSERT INTO u SELECT i, 'u' || i, i FROM generate_series(1, 50) i;
CREATE FUNCTION concat(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'the wrong one' $$;
CREATE VIEW plain AS SELECT id, a, "b c" FROM t;
CREATE VIEW counted AS SELECT count(*) FROM t;
CREATE VIEW named (one, "Two") AS SELECT t.id, pg_catalog.concat(a, 'x', d) FROM t WHERE a <> 'public.t' ORDER BY "b c" DESC LIMIT 10;
CREATE VIEW joined AS SELECT u.note, x.a FROM u JOIN t x ON x.id = u.t_id LEFT JOIN t y ON y.id = x."b c";
CREATE VIEW merged AS SELECT * FROM u JOIN (SELECT id, a FROM t) s USING (id);
CREATE VIEW grouped AS SELECT id, a, "b c" FROM t GROUP BY id;
CREATE VIEW deeper AS WITH RECURSIVE w AS (SELECT id, 0 AS n FROM t WHERE id = 1 UNION ALL SELECT t.id, n + 1 FROM t JOIN w ON t.id = w.id + 1) SELECT w.n, EXISTS (SELECT FROM t WHERE t.id = w.id) FROM w;
CREATE VIEW rows AS SELECT d > '2026-02-01' AS late, rank() OVER (PARTITION BY a ORDER BY id) FROM ONLY t;
CREATE VIEW above AS SELECT id FROM plain;
CREATE VIEW guarded WITH (security_barrier = true) AS SELECT id, a FROM t WHERE id > 10 WITH LOCAL CHECK OPTION;
COMMENT ON VIEW plain IS 'it is plain';
COMMENT ON COLUMN plain.a IS 'an a';
ALTER VIEW plain ALTER COLUMN a SET DEFAULT 'given';
ALTER VIEW plain RENAME COLUMN "b c" TO bc;
ALTER VIEW named OWNER TO bob;
GRANT SELECT (a), UPDATE ON plain TO alice;
GRANT SELECT ON counted TO PUBLIC;
GRANT DELETE ON plain TO carol WITH GRANT OPTION;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON joined FOR EACH ROW EXECUTE FUNCTION f();
CREATE MATERIALIZED VIEW kept AS SELECT id FROM plain;
CREATE FUNCTION bound() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM above; END;
-- since: 14
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN z uuid DEFAULT '00000000-0000-0000-0000-000000000000';

-- shape: a view has a column under its new name, and others stay
CREATE TABLE t (id int PRIMARY KEY, gone int, v int, a text);
ALTER TABLE t DROP COLUMN gone;
ALTER TABLE t RENAME COLUMN a TO b;
INSERT INTO t SELECT i, i, 'a' FROM generate_series(1, 50) i;
CREATE TABLE u (id int PRIMARY KEY, w text);
CREATE VIEW s AS SELECT * FROM t NATURAL JOIN u;
CREATE VIEW "S 2" AS SELECT t.b, t.id AS v FROM t t (id, v, b);
ALTER TABLE t ADD COLUMN w text;
-- usage: used by a view
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a view over columns that have aliases
CREATE TABLE t (id int PRIMARY KEY, gone int, v int, a text);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t SELECT i, i, 'a' FROM generate_series(1, 50) i;
CREATE TABLE u (id int PRIMARY KEY, w text);
CREATE VIEW s AS SELECT id, a, w FROM t NATURAL JOIN u;
CREATE VIEW "S 2" AS SELECT x.three, x.one AS v FROM t x (one, two, three);
CREATE VIEW public AS SELECT id AS t FROM t;
CREATE VIEW odd AS SELECT public.t FROM public;
ALTER TABLE t RENAME COLUMN a TO b;
ALTER TABLE t ADD COLUMN w text;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN z uuid DEFAULT '00000000-0000-0000-0000-000000000000';

-- shape: who runs the change is a member of the owners of table and view, and may make nothing in the view's schema
CREATE SCHEMA seen;
GRANT USAGE ON SCHEMA seen TO PUBLIC;
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
CREATE VIEW seen.w AS SELECT id FROM t;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
GRANT SELECT ON t TO bob;
ALTER VIEW seen.w OWNER TO bob;
-- until: 15
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: who runs the change is a member of the owners of table and view
CREATE SCHEMA seen;
GRANT USAGE, CREATE ON SCHEMA seen TO PUBLIC;
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
CREATE VIEW seen.w AS SELECT id FROM t;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
GRANT SELECT ON t TO bob;
ALTER VIEW seen.w OWNER TO bob;
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;
