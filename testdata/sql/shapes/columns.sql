-- What becomes of columns.

-- shape: USING expressions over several columns, with commas and quotes
CREATE TABLE t (id int PRIMARY KEY, a text, b text, "c,d" text, e timestamp);
INSERT INTO t SELECT i, i::text, 'it''s, ' || i, '(' || i || ')', timestamp '2020-01-01' + i * interval '1 hour' FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t
  ALTER COLUMN a TYPE int USING coalesce(nullif(split_part(a || ',' || t.b, ',', 1), ''), '0')::int + t.id,
  ALTER COLUMN b SET DATA TYPE varchar(80) USING concat_ws(', ', "t"."c,d", b, 'it''s; -- no comment', $$a,'b$$),
  ALTER "c,d" TYPE text[] USING ARRAY["c,d", 'x,y'],
  ALTER COLUMN e TYPE timestamptz USING e AT TIME ZONE 'Europe/Berlin';

-- shape: new columns with volatile defaults
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 200) i;
-- volatile: t.u t.r t.c
-- recipe: yes
-- alter
ALTER TABLE t ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid(), ADD COLUMN r float8 DEFAULT random(), ADD COLUMN c timestamptz DEFAULT clock_timestamp();

-- shape: new columns with volatile defaults, and a type change
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 200) i;
-- volatile: t.u t.r t.c
-- alter
ALTER TABLE t ADD COLUMN u uuid NOT NULL DEFAULT gen_random_uuid(), ADD COLUMN r float8 DEFAULT random(), ADD COLUMN c timestamptz DEFAULT clock_timestamp(), ALTER COLUMN a TYPE bigint;

-- shape: a new serial column and a new identity column
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ADD COLUMN n serial, ADD COLUMN m bigint GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 10);

-- shape: a new serial column takes the sequence name that is free
CREATE SEQUENCE t_n_seq;
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ADD COLUMN n serial;

-- shape: a stable default is evaluated once
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 200) i;
-- stable: t.at
-- alter
ALTER TABLE t ADD COLUMN at timestamptz NOT NULL DEFAULT now(), ALTER COLUMN a TYPE bigint;

-- shape: constant defaults of many types go together with a rewrite
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint, ADD COLUMN b text DEFAULT 'it''s \ "quoted"', ADD COLUMN c int[] DEFAULT '{1,2,NULL}', ADD COLUMN d jsonb DEFAULT '{"a": [1, "x"]}',
  ADD COLUMN e mood DEFAULT 'it''s ok', ADD COLUMN f numeric(6,2) DEFAULT 1.5, ADD COLUMN g text[] NOT NULL DEFAULT ARRAY['a,b', '"', NULL], ADD COLUMN h varchar(3) DEFAULT 'abc',
  ADD COLUMN i bytea DEFAULT '\xdeadbeef', ADD COLUMN j boolean NOT NULL DEFAULT true, ADD COLUMN k text, ADD COLUMN l char(5) DEFAULT 'x', ADD COLUMN m interval DEFAULT '1 mon 2 days';

-- shape: a new column of a domain with a check
CREATE DOMAIN percent AS int DEFAULT 7 CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ADD COLUMN p percent DEFAULT 50, ADD COLUMN q percent;

-- shape: a column goes while another one changes
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c int);
CREATE INDEX ON t (b, a);
INSERT INTO t SELECT i, i, i::text, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t DROP COLUMN b, ALTER COLUMN c TYPE bigint, ADD COLUMN b int DEFAULT 3;

-- shape: columns that were dropped before leave gaps
CREATE TABLE t (x int, id int, y text, a int, z int, b text DEFAULT 'b', c int);
ALTER TABLE t DROP COLUMN x, DROP COLUMN y, DROP COLUMN z, ADD PRIMARY KEY (id), ADD CHECK (a > 0), ADD UNIQUE (c, a);
ALTER TABLE t ADD COLUMN d int DEFAULT 5;
CREATE INDEX t_expr ON t ((a + c), lower(b)) WHERE d > 0;
CREATE STATISTICS t_stat ON a, c FROM t;
GRANT SELECT (a), UPDATE (d) ON t TO bob;
COMMENT ON COLUMN t.c IS 'the last but one';
INSERT INTO t SELECT i, i, 'b' || i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN d TYPE bigint, ALTER COLUMN a TYPE bigint;

-- shape: stored generated columns are computed again
CREATE TABLE t (id int PRIMARY KEY, a int, b int, s int GENERATED ALWAYS AS (a + b) STORED, l text GENERATED ALWAYS AS ('n' || id::text) STORED NOT NULL);
CREATE INDEX ON t (s);
INSERT INTO t SELECT i, i, CASE WHEN i % 3 > 0 THEN i END FROM generate_series(1, 100) i;
ALTER TABLE t ADD COLUMN v int;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN g numeric GENERATED ALWAYS AS (a * 1.5) STORED;

-- shape: a column that a generated column depends on cannot change its type
CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
-- usage: cannot alter type of a column used by a generated column
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint;

-- shape: a generated column changes its own type
CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN s TYPE bigint;

-- shape: SET NOT NULL, new checks and a new default go together with a rewrite
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c int);
INSERT INTO t SELECT i, i, i::text, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN a SET NOT NULL, ALTER b SET NOT NULL, ADD CHECK (a > 0), ADD CONSTRAINT odd CHECK (length(b) < 10) NO INHERIT, ALTER COLUMN c TYPE bigint, ALTER COLUMN c SET DEFAULT 9;

-- shape: SET NOT NULL on a column with NULLs names a row
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, nullif(i, 37) FROM generate_series(1, 100) i;
-- data: id 37
-- alter
ALTER TABLE t ALTER COLUMN a SET NOT NULL;

-- shape: a new column that is NOT NULL without a default names a row
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(41, 45) i;
-- data: id 4
-- alter
ALTER TABLE t ADD COLUMN n int NOT NULL, ALTER COLUMN a TYPE bigint;

-- shape: a check that a row breaks names the row
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
-- data: id 77
-- alter
ALTER TABLE t ADD CHECK (a <> 77), ALTER COLUMN a TYPE bigint;

-- shape: varchar shrinks where the values fit
CREATE TABLE t (id int PRIMARY KEY, a varchar(100));
INSERT INTO t SELECT i, repeat('x', i % 10) || '   ' FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE varchar(10);

-- shape: varchar that does not fit names the row
CREATE TABLE t (id int PRIMARY KEY, a varchar(100));
INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 11) i;
-- data: id 11
-- alter
ALTER TABLE t ALTER COLUMN a TYPE varchar(10);

-- shape: an explicit cast in USING cuts silently
CREATE TABLE t (id int PRIMARY KEY, a varchar(100));
INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE varchar(10) USING a::varchar(10);

-- shape: bigint that does not fit into int names the row
CREATE TABLE t (id bigint PRIMARY KEY, a bigint);
INSERT INTO t SELECT i, i * bigint '1000000000' FROM generate_series(1, 3) i;
-- data: id 3
-- alter
ALTER TABLE t ALTER COLUMN a TYPE int;

-- shape: an enum is replaced by another one
CREATE TYPE status AS ENUM ('new', 'done', 'gone');
CREATE TYPE status2 AS ENUM ('new', 'done');
CREATE TABLE t (id int PRIMARY KEY, s status NOT NULL DEFAULT 'new', v int);
CREATE INDEX ON t (s);
INSERT INTO t SELECT i, (ARRAY['new', 'done', 'gone'])[i % 3 + 1]::status, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN s DROP DEFAULT, ALTER COLUMN s TYPE status2 USING CASE WHEN s = 'gone' THEN 'done' ELSE s::text END::status2, ALTER COLUMN s SET DEFAULT 'new';

-- shape: an enum becomes text and text becomes json
CREATE TYPE status AS ENUM ('new', 'done');
CREATE TABLE t (id int PRIMARY KEY, s status, j text);
INSERT INTO t SELECT i, (ARRAY['new', 'done'])[i % 2 + 1]::status, '{"a":  ' || i || ', "a": 1}' FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN s TYPE text, ALTER COLUMN j TYPE json USING j::json;

-- shape: a column of a type that has no assignment from the old one needs USING
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, i::text FROM generate_series(1, 10) i;
-- usage: cannot be cast automatically
-- alter
ALTER TABLE t ALTER COLUMN a TYPE int;

-- shape: a default that cannot be converted is an error
CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'x');
INSERT INTO t SELECT i, i::text FROM generate_series(1, 10) i;
-- usage: default for column "a" cannot be cast automatically
-- alter
ALTER TABLE t ALTER COLUMN a TYPE int USING a::int;

-- shape: serial becomes identity with the name that is free
CREATE TABLE t (id serial PRIMARY KEY, a int);
INSERT INTO t (a) SELECT i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START 1000), ALTER COLUMN a TYPE bigint;

-- shape: identity and its column's default go away
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int DEFAULT 5);
INSERT INTO t (a) SELECT i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN id DROP IDENTITY, ALTER COLUMN a DROP DEFAULT, ALTER COLUMN a TYPE bigint;

-- shape: a generated column becomes a plain one
CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN s DROP EXPRESSION, ALTER COLUMN a TYPE bigint;

-- shape: another collation
CREATE TABLE t (id int PRIMARY KEY, a text, v int);
CREATE INDEX t_a ON t (a);
INSERT INTO t SELECT i, chr(65 + i % 60), i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE text COLLATE "POSIX", ALTER COLUMN v TYPE bigint;

-- shape: arrays of another type, time of another precision, text of fixed length
CREATE TABLE t (id int PRIMARY KEY, a int[], b timestamptz, c text, d numeric, e date, f "char");
INSERT INTO t SELECT i, ARRAY[i, NULL], timestamptz '2020-01-01 12:00:00.123456+00' + i * interval '1.7 hours', 'x' || i || '  ', i + 0.555, date '2020-01-01' + i, 'a' FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE text[], ALTER COLUMN b TYPE timestamptz(2), ALTER COLUMN c TYPE char(10), ALTER COLUMN d TYPE numeric(10,2), ALTER COLUMN e TYPE timestamp, ALTER COLUMN f TYPE text;

-- shape: a column loses its NOT NULL and its default while another one changes
CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL DEFAULT 5, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN a DROP NOT NULL, ALTER COLUMN a DROP DEFAULT, ALTER COLUMN v TYPE bigint, ALTER COLUMN v SET DEFAULT 7, ALTER COLUMN v SET NOT NULL;

-- shape: IF NOT EXISTS and IF EXISTS that have nothing to do
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ADD COLUMN IF NOT EXISTS a text, DROP COLUMN IF EXISTS nope, DROP CONSTRAINT IF EXISTS nope, ALTER COLUMN v TYPE bigint;
