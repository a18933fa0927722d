-- Publications, and what subscribers know rows by.

-- shape: publications that name the table
CREATE TABLE t (id int PRIMARY KEY, v int, a text);
CREATE TABLE u (id int PRIMARY KEY);
INSERT INTO t SELECT i, i, 'a' FROM generate_series(1, 50) i;
CREATE PUBLICATION "all of it" FOR TABLE t, u WITH (publish = 'insert, update');
CREATE PUBLICATION news FOR TABLE t;
COMMENT ON PUBLICATION news IS 'the news';
ALTER TABLE t REPLICA IDENTITY FULL;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN z uuid DEFAULT '00000000-0000-0000-0000-000000000000';

-- shape: publications of columns, of rows, and of the schema
CREATE TABLE t (id int PRIMARY KEY, gone int, v int, "b c" text, a int NOT NULL);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t SELECT i, i, 'a', i FROM generate_series(1, 50) i;
CREATE UNIQUE INDEX seen ON t (a, id);
ALTER TABLE t REPLICA IDENTITY USING INDEX seen;
CREATE PUBLICATION news FOR TABLE t (a, "b c", id);
CREATE PUBLICATION "s ome" FOR TABLE t WHERE (a > 7 AND id <> 9);
CREATE PUBLICATION two FOR TABLE t (id, a) WHERE (a IS NOT NULL);
CREATE PUBLICATION whole FOR TABLES IN SCHEMA public;
-- since: 15
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: who runs the change is a member of the publication's owner
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
CREATE PUBLICATION news FOR TABLE t;
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO bob', current_database()); END $$;
ALTER PUBLICATION news OWNER TO bob;
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;
