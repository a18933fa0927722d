-- What the server does at once goes the direct way, and comes out the same.

-- shape: a new column with a constant default
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 5, ADD COLUMN b text;

-- shape: a longer varchar and a wider numeric
CREATE TABLE t (id int PRIMARY KEY, a varchar(10) UNIQUE, b numeric(5,2), c varchar(5));
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t ALTER COLUMN a TYPE varchar(20), ALTER COLUMN b TYPE numeric(9,2), ALTER COLUMN c TYPE text;

-- shape: a renamed column under a view
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE VIEW report AS SELECT v FROM t;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t RENAME COLUMN v TO w;

-- shape: another schema
CREATE SCHEMA app;
CREATE TABLE t (id serial PRIMARY KEY, v int);
INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t SET SCHEMA app;

-- shape: another name
CREATE TABLE t (id serial PRIMARY KEY, v int);
INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t RENAME TO u;

-- shape: another owner
CREATE TABLE t (id serial PRIMARY KEY, v int);
GRANT CREATE ON SCHEMA public TO alice;
INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t OWNER TO alice;

-- shape: a dropped column of a table with everything
CREATE TABLE t (id serial PRIMARY KEY, v int, w int);
CREATE INDEX ON t (v, w);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();
INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t DROP COLUMN w, ALTER COLUMN v SET DEFAULT 4, ALTER COLUMN v SET STATISTICS 10;

-- shape: a check and a foreign key that are not to be validated
CREATE TABLE t (id serial PRIMARY KEY, v int);
INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t ADD CONSTRAINT c CHECK (v > 5) NOT VALID, ADD CONSTRAINT f FOREIGN KEY (v) REFERENCES t NOT VALID;

-- shape: a direct change that fails changes nothing
CREATE TABLE t (id serial PRIMARY KEY, v int);
-- usage: column "nope" of relation "t" does not exist
-- alter
ALTER TABLE t DROP COLUMN nope;

-- shape: a table goes away
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id serial PRIMARY KEY, parent int REFERENCES parents);
-- direct: yes
-- alter
DROP TABLE t;

-- shape: a value more in an enum
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE t (id serial PRIMARY KEY, m mood);
-- direct: yes
-- alter
ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy';

-- shape: a comment on a column
CREATE TABLE t (id serial PRIMARY KEY);
-- direct: yes
-- alter
COMMENT ON COLUMN public.t.id IS 'it''s';

-- shape: a new table that refers to another one
CREATE TABLE t (id serial PRIMARY KEY);
-- direct: yes
-- alter
CREATE TABLE u (id serial PRIMARY KEY, t int REFERENCES t, CHECK (id > 0));

-- shape: a grant
CREATE TABLE t (id serial PRIMARY KEY);
-- direct: yes
-- alter
GRANT SELECT ON t TO alice;

-- shape: a view, whose text has semicolons
CREATE TABLE t (id serial PRIMARY KEY);
-- direct: yes
-- alter
CREATE OR REPLACE VIEW w AS SELECT id, ';' AS c FROM t;

-- shape: a statement with a syntax error is not begun
CREATE TABLE t (id serial PRIMARY KEY);
-- usage: syntax error
-- alter
CREATE VIEW v SELECT 1;
