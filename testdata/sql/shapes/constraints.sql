-- Constraints and foreign keys.

-- shape: a deferrable primary key beside a unique key that is not
CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, code text NOT NULL UNIQUE, n int, CONSTRAINT n_once UNIQUE (n) DEFERRABLE, v int);
INSERT INTO t SELECT i, 'c' || i, i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: exclusion constraints, with predicate, operators and deferrable
CREATE TABLE t (id int PRIMARY KEY, r int4range, p box, v int,
  EXCLUDE USING gist (r WITH &&),
  CONSTRAINT "no overlap" EXCLUDE USING gist (p WITH &&) WHERE (v > 0) DEFERRABLE INITIALLY DEFERRED);
COMMENT ON CONSTRAINT "no overlap" ON t IS 'they do not';
INSERT INTO t SELECT i, int4range(i * 10, i * 10 + 5), box(point(i, i), point(i + 0.5, i + 0.5)), i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a new exclusion constraint is built on the shadow
CREATE TABLE t (id int PRIMARY KEY, r int4range);
INSERT INTO t SELECT i, int4range(i * 10, i * 10 + 5) FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&);

-- shape: a new unique constraint is built on the shadow
CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int);
INSERT INTO t SELECT i, i % 10, i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ALTER c TYPE bigint, ADD UNIQUE (a, b), ADD CONSTRAINT u UNIQUE (b) DEFERRABLE INITIALLY DEFERRED;

-- shape: a new unique constraint that rows break names a value
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, i % 49 FROM generate_series(1, 50) i;
-- data: (a)=(1)
-- alter
ALTER TABLE t ADD UNIQUE (a);

-- shape: an exclusion constraint that rows break names a value
CREATE TABLE t (id int PRIMARY KEY, r int4range);
INSERT INTO t SELECT i, int4range(i * 10, i * 10 + 11) FROM generate_series(1, 2) i;
-- data: [10,21)
-- alter
ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&);

-- shape: a new foreign key is checked and valid
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int);
INSERT INTO t SELECT i, i % 10 + 1 FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES parents ON DELETE SET NULL, ALTER COLUMN p TYPE bigint;

-- shape: a new foreign key that rows break names the rows
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int);
INSERT INTO t SELECT i, i FROM generate_series(1, 11) i;
-- data: id 11
-- alter
ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES parents, ALTER COLUMN p TYPE bigint;

-- shape: a new foreign key to the table itself
CREATE TABLE t (id int PRIMARY KEY, p int);
INSERT INTO t SELECT i, nullif(i / 2, 0) FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES t, ALTER COLUMN id TYPE bigint;

-- shape: a new column that refers to another table
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ADD COLUMN p int DEFAULT 3 REFERENCES parents, ALTER COLUMN v TYPE bigint;

-- shape: a check that is NOT VALID stays so, one with NO INHERIT too
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
INSERT INTO t SELECT i, -i, i FROM generate_series(1, 50) i;
ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID, ADD CONSTRAINT small CHECK (a < 100) NO INHERIT, ADD CONSTRAINT "odd "" name" CHECK (v IS NOT NULL OR a = 1);
COMMENT ON CONSTRAINT positive ON t IS 'some day';
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: foreign keys with all actions, MATCH FULL, deferrable and NOT VALID
CREATE TABLE parents (id int PRIMARY KEY, a int, b text, UNIQUE (a, b));
INSERT INTO parents SELECT i, i, 'b' || i FROM generate_series(1, 10) i;
CREATE TABLE t (id int PRIMARY KEY, v int, p1 int, p2 int, p3 int, p4 int DEFAULT 1, p5 int, a int, b text, c int,
  CONSTRAINT f1 FOREIGN KEY (p1) REFERENCES parents ON DELETE CASCADE ON UPDATE RESTRICT,
  CONSTRAINT f2 FOREIGN KEY (p2) REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE,
  CONSTRAINT f3 FOREIGN KEY (p3) REFERENCES parents ON DELETE RESTRICT ON UPDATE NO ACTION DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT f4 FOREIGN KEY (p4) REFERENCES parents ON DELETE SET DEFAULT ON UPDATE SET NULL,
  CONSTRAINT f5 FOREIGN KEY (a, b) REFERENCES parents (a, b) MATCH FULL ON UPDATE CASCADE,
  CONSTRAINT "f 6" FOREIGN KEY (id) REFERENCES parents);
ALTER TABLE t DROP CONSTRAINT "f 6";
INSERT INTO t SELECT i, i, i % 10 + 1, i % 9 + 1, i % 8 + 1, i % 7 + 1, i % 6 + 1, i % 5 + 1, 'b' || i % 5 + 1, -i FROM generate_series(1, 100) i;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE t ADD CONSTRAINT late FOREIGN KEY (c) REFERENCES parents NOT VALID;
COMMENT ON CONSTRAINT f5 ON t IS 'both or none';
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ALTER COLUMN p1 TYPE bigint;

-- shape: ON DELETE SET NULL of some columns
CREATE TABLE parents (a int, b int, PRIMARY KEY (a, b));
INSERT INTO parents SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int, FOREIGN KEY (a, b) REFERENCES parents ON DELETE SET NULL (b));
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 10) i;
-- since: 15
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a table that refers to itself, twice
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES t ON DELETE CASCADE, q int CONSTRAINT "second one" REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED, v int);
INSERT INTO t SELECT i, nullif(i / 2, 0), i, i FROM generate_series(1, 100) i;
COMMENT ON CONSTRAINT "second one" ON t IS 'itself';
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a key that refers to itself changes its type on both ends
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES t);
INSERT INTO t SELECT i, nullif(i / 2, 0) FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN id TYPE bigint, ALTER COLUMN p TYPE bigint;

-- shape: children with comments, composite keys, rules and a table of the same name in another schema
CREATE SCHEMA other;
CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL, v int, UNIQUE (b, a));
INSERT INTO t SELECT i, i, 'b' || i, i FROM generate_series(1, 100) i;
CREATE TABLE other.t (id int PRIMARY KEY REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO other.t SELECT generate_series(1, 50);
CREATE TABLE children (id int PRIMARY KEY, b text, a int, CONSTRAINT "to t" FOREIGN KEY (a, b) REFERENCES t (a, b) MATCH FULL DEFERRABLE);
INSERT INTO children SELECT i, 'b' || i, i FROM generate_series(1, 100) i;
COMMENT ON CONSTRAINT "to t" ON children IS 'it''s "mine"';
CREATE TABLE late (id int PRIMARY KEY, t int);
INSERT INTO late VALUES (1, 12345);
ALTER TABLE late ADD CONSTRAINT late_t FOREIGN KEY (t) REFERENCES t NOT VALID;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: two tables that refer to each other, and two keys to one parent
CREATE TABLE parents (id int PRIMARY KEY, best int);
INSERT INTO parents SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parents, q int REFERENCES parents (id), v int);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 10) i;
ALTER TABLE parents ADD FOREIGN KEY (best) REFERENCES t (id);
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a foreign key to a partitioned table
CREATE TABLE parents (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE parents_1 PARTITION OF parents FOR VALUES FROM (0) TO (50);
CREATE TABLE parents_2 PARTITION OF parents FOR VALUES FROM (50) TO (200);
INSERT INTO parents SELECT i, i FROM generate_series(1, 100) i;
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parents ON DELETE CASCADE, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: an unlogged table with foreign keys in and out
CREATE UNLOGGED TABLE parents (id int PRIMARY KEY);
CREATE UNLOGGED TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, p int REFERENCES parents, v int);
CREATE UNLOGGED TABLE children (id int PRIMARY KEY, t int REFERENCES t);
INSERT INTO parents VALUES (1);
INSERT INTO t (p, v) SELECT 1, i FROM generate_series(1, 50) i;
INSERT INTO children SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a foreign key goes away, another one is renamed by dropping and adding it
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int CONSTRAINT a REFERENCES parents, q int CONSTRAINT b REFERENCES parents, v int);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t DROP CONSTRAINT a, DROP CONSTRAINT b, ADD CONSTRAINT c FOREIGN KEY (q) REFERENCES parents ON DELETE CASCADE, ALTER COLUMN v TYPE bigint;

-- shape: a column that others refer to cannot go without CASCADE
CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE, v int);
CREATE TABLE children (id int PRIMARY KEY, code int REFERENCES t (code));
-- usage: children_code_fkey
-- alter
ALTER TABLE t DROP COLUMN code, ALTER COLUMN v TYPE bigint;

-- shape: CASCADE takes the foreign keys of others along
CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 10) i;
CREATE TABLE children (id int PRIMARY KEY, code int REFERENCES t (code), t int REFERENCES t (id));
INSERT INTO children SELECT i, i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t DROP COLUMN code CASCADE, ALTER COLUMN v TYPE bigint;

-- shape: NULLS NOT DISTINCT
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int, UNIQUE NULLS NOT DISTINCT (a, b));
CREATE UNIQUE INDEX t_v ON t (v) NULLS NOT DISTINCT WHERE v IS NULL;
INSERT INTO t SELECT i, nullif(i, 1), i, nullif(i, 5) FROM generate_series(1, 50) i;
-- since: 15
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint, ADD CONSTRAINT w UNIQUE NULLS NOT DISTINCT (v, b);

-- shape: names that the server chooses are those that are free in the schema
CREATE TABLE t (id int PRIMARY KEY, a int, b int);
CREATE TABLE squatter (id int CONSTRAINT t_a_key UNIQUE, x int CONSTRAINT t_check CHECK (x > 0), y int CONSTRAINT t_b_check CHECK (y > 0));
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE squatter2 (p int CONSTRAINT t_b_fkey REFERENCES parents);
CREATE VIEW t_a_idx AS SELECT 1 AS one;
INSERT INTO t SELECT i, i, i FROM generate_series(1, 10) i;
INSERT INTO parents SELECT i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t ADD UNIQUE (a), ADD CHECK (b > 0), ADD CHECK (a + b > 0), ADD FOREIGN KEY (b) REFERENCES parents, ADD COLUMN n serial;

-- shape: a name that is taken is an error before anything is copied
CREATE TABLE t (id int PRIMARY KEY, a int);
CREATE TABLE squatter (id int CONSTRAINT mine UNIQUE);
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
-- usage: relation "mine" already exists
-- alter
ALTER TABLE t ADD CONSTRAINT mine UNIQUE (a), ALTER COLUMN a TYPE bigint;

-- shape: a new foreign key MATCH FULL that half a NULL breaks names the row
CREATE TABLE parents (a int, b int, PRIMARY KEY (a, b));
INSERT INTO parents VALUES (1, 1);
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int);
INSERT INTO t VALUES (1, 1, 1, 1), (2, NULL, NULL, 2), (3, NULL, 1, 3);
-- data: id 3
-- alter
ALTER TABLE t ADD FOREIGN KEY (a, b) REFERENCES parents MATCH FULL, ALTER COLUMN v TYPE bigint;

-- shape: a conversion that leaves rows without their parent names them
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parents);
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
-- data: id 10
-- alter
ALTER TABLE t ALTER COLUMN p TYPE bigint USING p + 1;

-- shape: a conversion of a key that leaves rows of others without it names them
CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE);
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE items (id int PRIMARY KEY, code int REFERENCES t (code));
INSERT INTO items SELECT i, i FROM generate_series(1, 10) i;
-- data: public.items with code 1
-- alter
ALTER TABLE t ALTER COLUMN code TYPE bigint USING code + 1;

-- shape: a conversion that keeps all foreign keys
CREATE TABLE t (id int PRIMARY KEY, code numeric(10,2) UNIQUE, p numeric(10,2) REFERENCES t (code));
INSERT INTO t SELECT i, i, nullif(i - 1, 0) FROM generate_series(1, 10) i;
CREATE TABLE items (id int PRIMARY KEY, code bigint REFERENCES t (code));
INSERT INTO items SELECT i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t ALTER COLUMN code TYPE int, ALTER COLUMN p TYPE int;

-- shape: constraints that were not valid are validated together with a rewrite
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 10) i;
ALTER TABLE t ADD CONSTRAINT positive CHECK (v > 0) NOT VALID, ADD CONSTRAINT child FOREIGN KEY (p) REFERENCES parents NOT VALID;
-- alter
ALTER TABLE t VALIDATE CONSTRAINT positive, VALIDATE CONSTRAINT child, ALTER COLUMN v TYPE bigint;

-- shape: a foreign key that cannot be validated names the row
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, p int, v int);
INSERT INTO t SELECT i, nullif(i, 7) - 7 FROM generate_series(7, 8) i;
ALTER TABLE t ADD CONSTRAINT child FOREIGN KEY (p) REFERENCES parents NOT VALID;
-- data: id 8
-- alter
ALTER TABLE t VALIDATE CONSTRAINT child, ALTER COLUMN v TYPE bigint;

-- shape: a foreign key becomes deferrable together with a rewrite
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 10);
CREATE TABLE t (id int PRIMARY KEY, p int CONSTRAINT child REFERENCES parents, v int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t ALTER CONSTRAINT child DEFERRABLE INITIALLY DEFERRED, ALTER COLUMN v TYPE bigint;

-- shape: a constraint takes an index over
CREATE TABLE t (id int PRIMARY KEY, a int, b int NOT NULL, v int);
CREATE UNIQUE INDEX t_a_idx ON t (a) WITH (fillfactor = 55);
CREATE UNIQUE INDEX t_b_idx ON t (b);
COMMENT ON INDEX t_a_idx IS 'a';
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 10) i;
-- alter
ALTER TABLE t ADD CONSTRAINT once UNIQUE USING INDEX t_a_idx DEFERRABLE, DROP CONSTRAINT t_pkey, ADD PRIMARY KEY USING INDEX t_b_idx, ALTER COLUMN v TYPE bigint;

-- shape: a parent with children that inherit from it
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE heirs () INHERITS (parents);
INSERT INTO parents SELECT generate_series(1, 10);
INSERT INTO heirs VALUES (11);
CREATE TABLE t (id int PRIMARY KEY, p int);
INSERT INTO t SELECT i, i FROM generate_series(1, 11) i;
-- data: id 11
-- alter
ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES parents, ALTER COLUMN p TYPE bigint;

-- shape: a new foreign key to the table itself on a key that becomes text
CREATE SCHEMA app;
CREATE TABLE app.t (id int PRIMARY KEY, p int, q int);
INSERT INTO app.t SELECT i, nullif(i / 2, 0), i FROM generate_series(1, 50) i;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app', current_database()); END $$;
-- alter
ALTER TABLE t ALTER COLUMN id TYPE text, ALTER COLUMN p TYPE text, ALTER COLUMN q TYPE text, ADD FOREIGN KEY (p) REFERENCES t, ADD FOREIGN KEY (q) REFERENCES app.t (id) DEFERRABLE, ADD COLUMN r text REFERENCES t;
