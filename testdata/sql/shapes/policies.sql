-- Row level security goes with the table.

-- shape: policies of all kinds
CREATE SCHEMA secret;
CREATE TABLE secret.members (who name, tenant int);
CREATE TABLE t (id int PRIMARY KEY, v int, tenant int, "own er" name DEFAULT current_user);
INSERT INTO t SELECT i, i, i % 3, 'bob' FROM generate_series(1, 50) i;
GRANT SELECT, INSERT ON t TO bob, PUBLIC;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE POLICY "all of it" ON t USING ("own er" = current_user) WITH CHECK (tenant > 0);
CREATE POLICY readers ON t FOR SELECT TO bob, carol, "Odd ""Role"" 100%" USING (tenant IN (SELECT m.tenant FROM secret.members m WHERE m.who = t."own er"));
CREATE POLICY writers ON t AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK (length("own er"::text) < 20);
CREATE POLICY changers ON t FOR UPDATE TO bob USING (true);
CREATE POLICY takers ON t AS RESTRICTIVE FOR DELETE TO carol USING (id > 10 AND "own er" <> 'it''s');
COMMENT ON POLICY readers ON t IS 'those who may read';
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN z uuid DEFAULT '00000000-0000-0000-0000-000000000000';

-- shape: policies that are switched off, and forced
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE POLICY mine ON t USING (id > 40);
ALTER TABLE t FORCE ROW LEVEL SECURITY;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: row level security is forced on an owner whom it does not hold for
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
CREATE POLICY mine ON t TO bob USING (id > 40);
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: row level security without a policy
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a policy goes with its column, and another one has a column under a new name
CREATE TABLE t (id int PRIMARY KEY, v int, a int, b int);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 50) i;
CREATE POLICY gone ON t USING (a > 0);
CREATE POLICY stays ON t USING (b > 0);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, DROP COLUMN a CASCADE;

-- shape: who runs the change is a member of the owner, whose rows have policies
CREATE TABLE t (id int PRIMARY KEY, v int, tenant int);
CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t);
INSERT INTO t SELECT i, i, i % 3 FROM generate_series(1, 50) i;
INSERT INTO u SELECT i, i FROM generate_series(1, 50) i;
ALTER TABLE t OWNER TO alice;
ALTER TABLE u OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE POLICY mine ON t TO bob USING (tenant = 1);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;
