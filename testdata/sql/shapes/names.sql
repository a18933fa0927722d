-- Names that break careless quoting.

-- shape: quotes, spaces, unicode, percent signs and dollars in every name
CREATE SCHEMA "My ""Schema"" $1 %s";
CREATE TYPE "My ""Schema"" $1 %s"."Kind, of" AS ENUM ('a', 'b');
CREATE TABLE "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" (
  "I d" bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT "p ""k"" 'x'" PRIMARY KEY,
  "select" text, "a""b" int DEFAULT 5 CONSTRAINT "c'k" CHECK ("a""b" > 0), "100%s" "My ""Schema"" $1 %s"."Kind, of" DEFAULT 'a',
  "$1" serial, "x, y) REFERENCES z(" int, "ÄÖ漢" int CONSTRAINT "u \ q" UNIQUE, "new" int, "OLD" text);
CREATE INDEX "i ""x"" % $1" ON "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" ("a""b", lower("select")) WHERE "select" <> ' WHERE ' AND "x, y) REFERENCES z(" IS NULL;
CREATE STATISTICS "My ""Schema"" $1 %s"."st ""at" ON "a""b", "100%s" FROM "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü";
CREATE TABLE "par (ent" ("I ) d" int PRIMARY KEY);
ALTER TABLE "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" ADD CONSTRAINT "f "" k" FOREIGN KEY ("x, y) REFERENCES z(") REFERENCES "par (ent";
CREATE TABLE "chi'ld" (id int PRIMARY KEY, "to) REFERENCES x(" bigint CONSTRAINT "in " REFERENCES "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü");
COMMENT ON TABLE "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" IS 'it''s a \ "table" $changeling$';
COMMENT ON COLUMN "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü"."a""b" IS 'col';
COMMENT ON INDEX "My ""Schema"" $1 %s"."i ""x"" % $1" IS 'ind';
GRANT SELECT, UPDATE ON "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" TO "Odd ""Role"" 100%";
GRANT REFERENCES ("a""b") ON "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" TO "Odd ""Role"" 100%";
INSERT INTO "par (ent" SELECT generate_series(1, 10);
INSERT INTO "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" ("select", "a""b", "x, y) REFERENCES z(", "ÄÖ漢", "new", "OLD") SELECT 's' || i, i, i % 10 + 1, i, i, i FROM generate_series(1, 50) i;
INSERT INTO "chi'ld" SELECT i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE "My ""Schema"" $1 %s"."Weird ""Table"" 100% $t$ 'x' \ ü" ALTER COLUMN "a""b" TYPE bigint, ALTER COLUMN "new" TYPE text USING "new" || "OLD" || "Weird ""Table"" 100% $t$ 'x' \ ü"."select";

-- shape: names of 63 bytes, and a key column with such a name
CREATE TABLE t23456789012345678901234567890123456789012345678901234567890123 (
  c23456789012345678901234567890123456789012345678901234567890123 serial PRIMARY KEY,
  d23456789012345678901234567890123456789012345678901234567890123 int UNIQUE,
  "ä3456789012345678901234567890123456789012345678901234567890ä" int CHECK ("ä3456789012345678901234567890123456789012345678901234567890ä" > 0));
CREATE INDEX ON t23456789012345678901234567890123456789012345678901234567890123 ((d23456789012345678901234567890123456789012345678901234567890123 + 1));
INSERT INTO t23456789012345678901234567890123456789012345678901234567890123 (d23456789012345678901234567890123456789012345678901234567890123) SELECT i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t23456789012345678901234567890123456789012345678901234567890123 ALTER COLUMN d23456789012345678901234567890123456789012345678901234567890123 TYPE bigint,
  ADD UNIQUE ("ä3456789012345678901234567890123456789012345678901234567890ä", d23456789012345678901234567890123456789012345678901234567890123);

-- shape: reserved words, capitals, and names that the engine uses itself
CREATE TABLE "Order" ("User" int, "table" int, "changeling_seq" int, d int, a int, b int, k int, p int, r int, c1 int, taken int, pending int, v1 int, h int, n int, "primary" int, PRIMARY KEY ("User", d, "table"));
INSERT INTO "Order" SELECT i, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE "Order" ALTER COLUMN "table" TYPE bigint, ALTER COLUMN a TYPE text USING d + a + k + c1 + v1 + "Order".p;

-- shape: refuses a key column that is called as the log's own
CREATE TABLE t (changeling_seq int PRIMARY KEY, v int);
-- refused: changeling_seq
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: the columns are called as the engine's own
CREATE TABLE d (c1 int, changeling_seq int, kept1 int, v int, PRIMARY KEY (c1, kept1));
INSERT INTO d SELECT i, i, i, i FROM generate_series(1, 20) i;
-- volatile: d.u
-- alter
ALTER TABLE d ALTER COLUMN v TYPE bigint USING d.v + c1, ADD COLUMN u uuid DEFAULT gen_random_uuid();

-- shape: the table is called as the source's alias, the log or a set would be
CREATE TABLE changeling_live (id int PRIMARY KEY, v int);
INSERT INTO changeling_live SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE changeling_live ALTER COLUMN v TYPE text USING changeling_live.v || 'x';

-- shape: a table and one with an underscore before its name
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE _t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a table whose name the server's catalogue has too
CREATE TABLE public.pg_class (oid int PRIMARY KEY, relname int);
INSERT INTO public.pg_class SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE public.pg_class ALTER COLUMN relname TYPE bigint;

-- shape: two tables of one name, and the search path finds the right one
CREATE SCHEMA first;
CREATE SCHEMA second;
CREATE TABLE first.t (id int PRIMARY KEY, v int);
CREATE TABLE second.t (id int PRIMARY KEY, v text);
CREATE TABLE public.t (id int PRIMARY KEY, v text);
INSERT INTO first.t SELECT i, i FROM generate_series(1, 20) i;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = missing, first, second, public', current_database()); END $$;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: types, functions and operators are found through the search path
CREATE SCHEMA app;
CREATE SCHEMA lib;
CREATE DOMAIN lib.amount AS numeric(10,2) CHECK (VALUE >= 0);
CREATE TYPE lib.level AS ENUM ('low', 'high');
CREATE FUNCTION lib.level_of(i int) RETURNS lib.level IMMUTABLE LANGUAGE sql AS $$ SELECT CASE WHEN i > 10 THEN 'high' ELSE 'low' END::lib.level $$;
CREATE FUNCTION lib.same(a int, b int) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT a + 1 = b $$;
CREATE OPERATOR lib.=== (leftarg = int, rightarg = int, function = lib.same);
CREATE TABLE app.t (id int PRIMARY KEY, a int, b int DEFAULT 3, l lib.level, CHECK (l IS NOT NULL));
CREATE INDEX ON app.t (lib.level_of(a));
INSERT INTO app.t SELECT i, i, i, 'high' FROM generate_series(1, 20) i;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, lib, public', current_database()); END $$;
-- alter
ALTER TABLE t ALTER COLUMN b TYPE amount, ALTER COLUMN l TYPE text USING CASE WHEN a === 5 THEN 'high'::level ELSE level_of(a) END, ADD COLUMN m amount NOT NULL DEFAULT 1, ADD CHECK (b < 1000::amount);

-- shape: ONLY, IF EXISTS, an asterisk and comments in the statement
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
/* a comment */ alter table if exists only public . "t" /* , */ alter v type -- ; no
  bigint, /* DROP TABLE t; */ alter v set default 5;

-- shape: expressions that name the table with its schema
CREATE SCHEMA app;
CREATE TABLE app."T" (id int PRIMARY KEY, a int, v int);
INSERT INTO app."T" SELECT i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE app."T" ALTER COLUMN v TYPE bigint USING APP."T".v + app . "T" . a, ADD CHECK (app."T".a > 0);
