-- Owners and rights.

-- shape: rights on the table, its columns and its sequence, with options and to everybody
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b text, v int);
GRANT SELECT ON t TO PUBLIC;
GRANT ALL ON t TO alice;
GRANT INSERT, UPDATE ON t TO bob WITH GRANT OPTION;
GRANT SELECT (a, b), INSERT (b) ON t TO carol;
GRANT UPDATE (v) ON t TO carol WITH GRANT OPTION;
GRANT REFERENCES (id) ON t TO PUBLIC;
GRANT USAGE, SELECT ON SEQUENCE t_id_seq TO bob;
GRANT UPDATE ON SEQUENCE t_id_seq TO alice WITH GRANT OPTION;
INSERT INTO t (a, b, v) SELECT i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: rights that somebody else than the owner granted
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
SET ROLE alice;
GRANT SELECT, UPDATE ON t TO bob WITH GRANT OPTION;
GRANT SELECT (a) ON t TO bob WITH GRANT OPTION;
SET ROLE bob;
GRANT SELECT ON t TO carol WITH GRANT OPTION;
GRANT UPDATE ON t TO PUBLIC;
GRANT SELECT (a) ON t TO PUBLIC;
SET ROLE carol;
GRANT SELECT ON t TO "Odd ""Role"" 100%";
RESET ROLE;
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: an owner who took rights from himself
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
REVOKE UPDATE, DELETE, INSERT, TRUNCATE ON t FROM alice;
GRANT SELECT ON t TO bob;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: nobody has any right
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
GRANT SELECT ON t TO bob;
REVOKE ALL ON t FROM bob;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: default privileges do not show on the new table
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, v int);
GRANT SELECT ON t TO carol;
INSERT INTO t (a, v) SELECT i, i FROM generate_series(1, 20) i;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO bob;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO alice WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO "Odd ""Role"" 100%";
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO bob;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: default privileges hold for a sequence that the statement makes
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO alice;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, UPDATE ON SEQUENCES TO bob;
-- alter
ALTER TABLE t ADD COLUMN n serial, ADD COLUMN m int GENERATED ALWAYS AS IDENTITY;

-- shape: the owner is somebody else than who runs the change
CREATE SCHEMA app AUTHORIZATION alice;
CREATE TABLE app.parents (id int PRIMARY KEY);
CREATE TABLE app.t (id serial PRIMARY KEY, p int REFERENCES app.parents, v int CHECK (v > 0));
CREATE INDEX ON app.t (v);
CREATE STATISTICS app.s ON p, v FROM app.t;
ALTER TABLE app.parents OWNER TO alice;
ALTER TABLE app.t OWNER TO alice;
ALTER STATISTICS app.s OWNER TO alice;
INSERT INTO app.parents VALUES (1);
INSERT INTO app.t (p, v) SELECT 1, i FROM generate_series(1, 20) i;
-- native: SET ROLE alice; ALTER TABLE app.t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE app.t ALTER COLUMN v TYPE bigint;

-- shape: who runs the change is a member of the owner and no superuser
CREATE SCHEMA app AUTHORIZATION alice;
CREATE TABLE app.parents (id int PRIMARY KEY);
CREATE TABLE app.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, p int REFERENCES app.parents, v int CHECK (v > 0));
CREATE TABLE app.children (id int PRIMARY KEY, t int REFERENCES app.t);
CREATE INDEX ON app.t (v);
CREATE STATISTICS app.s ON p, v FROM app.t;
ALTER TABLE app.parents OWNER TO alice;
ALTER TABLE app.children OWNER TO alice;
ALTER TABLE app.t OWNER TO alice;
ALTER STATISTICS app.s OWNER TO alice;
GRANT SELECT ON app.t TO bob WITH GRANT OPTION;
INSERT INTO app.parents VALUES (1);
INSERT INTO app.t (p, v) SELECT 1, i FROM generate_series(1, 20) i;
INSERT INTO app.children SELECT i, i FROM generate_series(1, 20) i;
-- as: migrator
-- native: SET ROLE alice; ALTER TABLE app.t ALTER COLUMN v TYPE bigint
-- alter
ALTER TABLE app.t ALTER COLUMN v TYPE bigint;

-- shape: the owner may only refer to a parent that belongs to somebody else
CREATE SCHEMA app;
CREATE TABLE app.parents (id int PRIMARY KEY, secret text);
GRANT USAGE, CREATE ON SCHEMA app TO alice;
GRANT REFERENCES ON app.parents TO alice;
INSERT INTO app.parents SELECT i, 'x' FROM generate_series(1, 5) i;
CREATE TABLE app.t (id int PRIMARY KEY, p int REFERENCES app.parents, v int);
CREATE TABLE app.children (id int PRIMARY KEY, t int REFERENCES app.t);
ALTER TABLE app.t OWNER TO alice;
INSERT INTO app.t SELECT i, i, i FROM generate_series(1, 5) i;
INSERT INTO app.children SELECT i, i FROM generate_series(1, 5) i;
-- alter
ALTER TABLE app.t ALTER COLUMN v TYPE bigint;

-- shape: the owner has a name that needs quotes
CREATE SCHEMA app AUTHORIZATION "Odd ""Role"" 100%";
CREATE TABLE app.t (id serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, v int);
ALTER TABLE app.t OWNER TO "Odd ""Role"" 100%";
GRANT SELECT ON app.t TO bob WITH GRANT OPTION;
SET ROLE bob;
RESET ROLE;
INSERT INTO app.t (v) SELECT i FROM generate_series(1, 20) i;
CREATE STATISTICS app.s ON id, v FROM app.t;
-- alter
ALTER TABLE app.t ALTER COLUMN i TYPE bigint;

-- shape: the name of who runs the change is a schema in the search path
CREATE SCHEMA migrator;
GRANT USAGE ON SCHEMA migrator TO migrator, alice;
CREATE TYPE migrator.kind AS ENUM ('a', 'b');
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE TYPE alice.kind AS ENUM ('a');
CREATE SCHEMA app AUTHORIZATION alice;
CREATE TABLE app.t (id int PRIMARY KEY, v text);
ALTER TABLE app.t OWNER TO alice;
INSERT INTO app.t VALUES (1, 'a'), (2, 'b');
-- as: migrator
-- alter
ALTER TABLE app.t ALTER COLUMN v TYPE kind USING v::kind;
