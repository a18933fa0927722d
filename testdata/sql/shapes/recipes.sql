-- What would keep users waiting and need not goes in steps, and comes out the same.

-- shape: a new check
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD CHECK (v > 0);

-- shape: a new check that rows break names them
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- data: rows with id 1
-- alter
ALTER TABLE t ADD CONSTRAINT c CHECK (v > 1);

-- shape: a column that becomes NOT NULL
CREATE TABLE t (id int PRIMARY KEY, v int, "W w" text);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ALTER v SET NOT NULL, ALTER "W w" SET NOT NULL;

-- shape: a column with NULLs that is to become NOT NULL names the rows
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, nullif(i, 7) FROM generate_series(1, 20) i;
-- data: rows with id 7
-- alter
ALTER TABLE t ALTER v SET NOT NULL;

-- shape: a new foreign key
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, parent int);
INSERT INTO parents SELECT generate_series(1, 20);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES parents ON DELETE CASCADE DEFERRABLE;

-- shape: a new foreign key that rows break by itself names them
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, parent int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- data: rows with id 1
-- alter
ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES parents;

-- shape: a new unique constraint
CREATE TABLE t (id int PRIMARY KEY, v int, w int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD UNIQUE (v) INCLUDE (w) WITH (fillfactor = 70) DEFERRABLE INITIALLY DEFERRED;

-- shape: a new unique constraint that rows break leaves no index
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i % 19 FROM generate_series(1, 20) i;
-- data: (v)=(1)
-- alter
ALTER TABLE t ADD UNIQUE (v);

-- shape: a primary key over columns that may be NULL
CREATE TABLE t (a int, b text);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD PRIMARY KEY (a, b);

-- shape: another primary key
CREATE TABLE t (a int PRIMARY KEY, b bigint NOT NULL);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b);

-- shape: a new column with everything inline
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t SELECT i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD COLUMN a int CHECK (a > 0) UNIQUE REFERENCES parents, ADD COLUMN b int DEFAULT 5 CONSTRAINT five CHECK (b = 5) NOT NULL;

-- shape: many clauses, and a table with a view and a trigger
CREATE TABLE t (id int PRIMARY KEY, v int, w int, gone int);
CREATE VIEW report AS SELECT v FROM t;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD CONSTRAINT positive CHECK (v > 0), DROP gone, ADD UNIQUE (w), ALTER v SET NOT NULL, ALTER w SET DEFAULT 4, ADD COLUMN n text DEFAULT 'x';

-- shape: a type that grows under a check
CREATE TABLE t (id int PRIMARY KEY, v varchar(10) CONSTRAINT short CHECK (length(v) < 9));
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ALTER v TYPE varchar(20);

-- shape: a constraint is validated beside another clause
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
ALTER TABLE t ADD CONSTRAINT c CHECK (v > 0) NOT VALID;
-- recipe: yes
-- alter
ALTER TABLE t VALIDATE CONSTRAINT c, ALTER v SET DEFAULT 3;

-- shape: NOT NULL that a valid check proves is done at once
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v IS NOT NULL));
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t ALTER v SET NOT NULL;

-- shape: an index
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
CREATE INDEX ON t (v DESC, lower(id::text)) WHERE v > 4;

-- shape: a unique index, concurrently, with a name that must be quoted
CREATE SCHEMA app;
CREATE TABLE app.t (id int PRIMARY KEY, v int);
INSERT INTO app.t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- native: CREATE UNIQUE INDEX "Odd CONCURRENTLY" ON app.t USING btree (v) INCLUDE (id) WITH (fillfactor = 50)
-- alter
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "Odd CONCURRENTLY" ON app.t USING btree (v) INCLUDE (id) WITH (fillfactor = 50);

-- shape: an index whose rows are not unique leaves nothing behind
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i % 19 FROM generate_series(1, 20) i;
-- data: (v)=(1)
-- alter
CREATE UNIQUE INDEX u ON t (v);

-- shape: an index whose name is taken
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE INDEX i ON t (v);
-- usage: "i" already exists
-- alter
CREATE INDEX i ON t (id);

-- shape: an index on a materialized view
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
-- recipe: yes
-- alter
CREATE UNIQUE INDEX ON m (id);

-- shape: indexes go away
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE INDEX a ON t (v);
CREATE INDEX "B b" ON t (v, id);
-- recipe: yes
-- alter
DROP INDEX IF EXISTS a, "B b", c;

-- shape: the index of a constraint cannot go
CREATE TABLE t (id int PRIMARY KEY, v int);
-- usage: because constraint t_pkey
-- alter
DROP INDEX t_pkey;

-- shape: indexes of a table are built anew
CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
REINDEX TABLE t;

-- shape: a materialized view is refreshed
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE UNIQUE INDEX ON m (id);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
REFRESH MATERIALIZED VIEW m;
