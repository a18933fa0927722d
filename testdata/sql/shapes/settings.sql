-- Settings of tables and columns, and comments on everything.

-- shape: storage parameters of the table and of its TOAST table, in their order
CREATE TABLE t (id int PRIMARY KEY, a text, v int) WITH (fillfactor = 70, autovacuum_enabled = true, autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = false, toast.vacuum_truncate = false, parallel_workers = 2);
INSERT INTO t SELECT i, repeat('x', i), i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: autovacuum stays off where the user put it off
CREATE TABLE t (id int PRIMARY KEY, v int) WITH (autovacuum_enabled = off, fillfactor = 90);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: storage parameters change together with a rewrite
CREATE TABLE t (id int PRIMARY KEY, v int) WITH (autovacuum_enabled = off, fillfactor = 90);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, RESET (autovacuum_enabled), SET (fillfactor = 60, autovacuum_analyze_threshold = 7);

-- shape: storage, compression, statistics targets and n_distinct of columns
CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text, d text COMPRESSION pglz, e jsonb, v int, w numeric);
ALTER TABLE t ALTER COLUMN a SET STORAGE EXTERNAL, ALTER COLUMN b SET STORAGE MAIN, ALTER COLUMN c SET STORAGE PLAIN, ALTER COLUMN e SET STATISTICS 0,
  ALTER COLUMN a SET STATISTICS 1000, ALTER COLUMN v SET STATISTICS 777, ALTER COLUMN b SET (n_distinct = -0.5, n_distinct_inherited = 100), ALTER COLUMN w SET STORAGE EXTERNAL;
INSERT INTO t SELECT i, repeat(md5(i::text), 100), repeat(md5(i::text), 100), i, repeat('x', 5000), '{}', i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ALTER COLUMN w TYPE numeric(10,3);

-- shape: the changed column's own settings are those of a native change
CREATE TABLE t (id int PRIMARY KEY, a varchar(5000), v int);
ALTER TABLE t ALTER COLUMN a SET STORAGE EXTERNAL, ALTER COLUMN a SET STATISTICS 55, ALTER COLUMN a SET (n_distinct = 12);
INSERT INTO t SELECT i, repeat('x', 3000), i FROM generate_series(1, 20) i;
COMMENT ON COLUMN t.a IS 'a';
GRANT SELECT (a) ON t TO bob;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bytea USING a::bytea, ALTER COLUMN v TYPE text;

-- shape: comments on everything
CREATE TABLE t (id int CONSTRAINT pk PRIMARY KEY, a int CONSTRAINT ck CHECK (a > 0), b int CONSTRAINT un UNIQUE, v int, r int4range, CONSTRAINT ex EXCLUDE USING gist (r WITH &&), p int CONSTRAINT fk REFERENCES t);
CREATE INDEX ix ON t (a);
CREATE STATISTICS st ON a, b FROM t;
COMMENT ON TABLE t IS E'line one\nline ''two''';
COMMENT ON COLUMN t.id IS '$$';
COMMENT ON COLUMN t.v IS '\';
COMMENT ON CONSTRAINT pk ON t IS 'c pk';
COMMENT ON CONSTRAINT ck ON t IS 'c ck';
COMMENT ON CONSTRAINT un ON t IS 'c un';
COMMENT ON CONSTRAINT ex ON t IS 'c ex';
COMMENT ON CONSTRAINT fk ON t IS 'c fk';
COMMENT ON INDEX pk IS 'i pk';
COMMENT ON INDEX un IS 'i un';
COMMENT ON INDEX ix IS 'i ix';
COMMENT ON INDEX ex IS 'i ex';
COMMENT ON STATISTICS st IS 's';
INSERT INTO t SELECT i, i, i, i, int4range(i * 2, i * 2 + 1), i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ALTER COLUMN a TYPE bigint, ALTER COLUMN b TYPE bigint;

-- shape: an unlogged table stays unlogged
CREATE UNLOGGED TABLE t (id int PRIMARY KEY, n serial, m int GENERATED ALWAYS AS IDENTITY, v int);
INSERT INTO t (id, v) SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: an unlogged table becomes logged, with its sequences
CREATE UNLOGGED TABLE t (id int PRIMARY KEY, n serial, m int GENERATED ALWAYS AS IDENTITY, v text);
CREATE INDEX ON t (v);
INSERT INTO t (id, v) SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t SET LOGGED;

-- shape: a logged table becomes unlogged, with its sequences
CREATE TABLE t (id int PRIMARY KEY, n serial, m int GENERATED ALWAYS AS IDENTITY, v int);
INSERT INTO t (id, v) SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t SET UNLOGGED, ALTER COLUMN v TYPE bigint;

-- shape: settings change together with a rewrite
CREATE TABLE t (id int PRIMARY KEY, a text, v int);
CREATE INDEX t_v ON t (v);
CREATE UNIQUE INDEX t_i ON t (id, v);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ALTER COLUMN v SET STATISTICS 9, ALTER COLUMN a SET STORAGE EXTERNAL, ALTER COLUMN a SET COMPRESSION pglz, CLUSTER ON t_v, REPLICA IDENTITY FULL, SET (fillfactor = 50), ALTER COLUMN a SET (n_distinct = 5);
