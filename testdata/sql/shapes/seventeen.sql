-- What PostgreSQL 16 and 17 brought.

-- shape: the right to maintain
CREATE TABLE t (id int PRIMARY KEY, v int);
GRANT MAINTAIN ON t TO bob;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- since: 17
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a generated column gets another expression
CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- since: 17
-- alter
ALTER TABLE t ALTER COLUMN g SET EXPRESSION AS (a * 3);
