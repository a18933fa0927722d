-- Indexes, their settings, and extended statistics.

-- shape: indexes of every access method, with predicates, expressions, operator classes and orders
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c int[], d point, e jsonb, f timestamptz, v int);
CREATE INDEX t_multi ON t (a DESC NULLS LAST, b COLLATE "C" ASC NULLS FIRST, v);
CREATE INDEX t_partial ON t (a) WHERE b <> 'it''s WHERE (' AND a > 0;
CREATE INDEX t_expr ON t (lower(b), (a + v), (coalesce(b, ' WHERE ')));
CREATE INDEX t_include ON t (a) INCLUDE (b, v);
CREATE INDEX t_opclass ON t (b text_pattern_ops, (b || 'x') varchar_pattern_ops);
CREATE INDEX t_brin ON t USING brin (f, a int4_minmax_multi_ops (values_per_range = 16)) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX t_gin ON t USING gin (c, e jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX t_gist ON t USING gist (d) WITH (buffering = auto);
CREATE INDEX t_spgist ON t USING spgist (b);
CREATE INDEX t_hash ON t USING hash (b) WITH (fillfactor = 50);
CREATE UNIQUE INDEX t_unique ON t (a, lower(b)) WHERE a IS NOT NULL;
INSERT INTO t SELECT i, i, 'b' || i, ARRAY[i, i + 1], point(i, i), jsonb_build_object('k', i), timestamptz '2020-01-01' + i * interval '1 hour', i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: an expression index is rewritten with its column
CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(20));
CREATE INDEX t_sum ON t ((a + 1), upper(b)) WHERE a > 5 AND b LIKE 'b%';
CREATE UNIQUE INDEX t_b ON t (b varchar_pattern_ops);
CREATE INDEX t_length ON t (length(b));
INSERT INTO t SELECT i, i, 'b' || i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint, ALTER COLUMN b TYPE varchar(12);

-- shape: storage parameters of indexes and constraints, and statistics targets of expressions
CREATE TABLE t (id int PRIMARY KEY WITH (fillfactor = 70), a int, b text, v int, CONSTRAINT t_ab UNIQUE (a, b) WITH (fillfactor = 60, deduplicate_items = off));
CREATE INDEX t_expr ON t ((a * 2), b, lower(b)) WITH (fillfactor = 80);
ALTER INDEX t_expr ALTER COLUMN 1 SET STATISTICS 500;
ALTER INDEX t_expr ALTER COLUMN 3 SET STATISTICS 0;
INSERT INTO t SELECT i, i, 'b' || i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a primary key with INCLUDE
CREATE TABLE t (id int, a int, b text, v int, PRIMARY KEY (id) INCLUDE (b, a), UNIQUE (a) INCLUDE (b));
INSERT INTO t SELECT i, i, 'b' || i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: the table is clustered on an index
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
CREATE INDEX t_a ON t (a);
ALTER TABLE t CLUSTER ON t_a;
INSERT INTO t SELECT i, -i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: the table is clustered on the index whose column changes
CREATE TABLE t (id int PRIMARY KEY, a int);
CREATE INDEX t_a ON t (a);
ALTER TABLE t CLUSTER ON t_a;
INSERT INTO t SELECT i, -i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint;

-- shape: replica identity FULL
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t REPLICA IDENTITY FULL;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: replica identity NOTHING
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t REPLICA IDENTITY NOTHING;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: replica identity by an index, also one of a constraint
CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL CONSTRAINT by_a UNIQUE, v int);
CREATE TABLE u (id int PRIMARY KEY, a int NOT NULL, v int);
CREATE UNIQUE INDEX u_a ON u (a);
ALTER TABLE t REPLICA IDENTITY USING INDEX by_a;
ALTER TABLE u REPLICA IDENTITY USING INDEX u_a;
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: replica identity by an index whose column changes
CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL);
CREATE UNIQUE INDEX t_a ON t (a);
ALTER TABLE t REPLICA IDENTITY USING INDEX t_a;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint;

-- shape: extended statistics with target and comment, one of them in another schema
CREATE SCHEMA stats;
CREATE TABLE t (id int PRIMARY KEY, a int, b int, c text, v int);
CREATE STATISTICS s1 (ndistinct, dependencies) ON a, b FROM t;
CREATE STATISTICS "s 2" (mcv) ON b, c, a FROM t;
CREATE STATISTICS stats.s3 ON (a + b), lower(c) FROM t;
CREATE STATISTICS s4 ON (a % 10) FROM t;
ALTER STATISTICS s1 SET STATISTICS 300;
COMMENT ON STATISTICS "s 2" IS 'it''s mine';
INSERT INTO t SELECT i, i, i, 'c' || i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses statistics of one name in two schemas
CREATE SCHEMA stats;
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int);
CREATE STATISTICS s ON a, b FROM t;
CREATE STATISTICS stats.s (mcv) ON b, v FROM t;
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 200) i;
-- refused: two statistics objects called s
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint;

-- shape: extended statistics of another owner
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice, bob;
CREATE STATISTICS s ON a, b FROM t;
ALTER STATISTICS s OWNER TO bob;
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: statistics go with the column that is dropped
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int);
CREATE STATISTICS s ON a, b FROM t;
CREATE INDEX t_a ON t (a);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t DROP COLUMN a, ALTER COLUMN v TYPE bigint;

-- shape: statistics are made again with the column that changes
CREATE TABLE t (id int PRIMARY KEY, a int, b int, v int);
CREATE STATISTICS s (dependencies) ON a, b FROM t;
CREATE STATISTICS s2 ON (a + 1), b FROM t;
COMMENT ON STATISTICS s IS 'two columns';
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 200) i;
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint;
