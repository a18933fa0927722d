-- Tablespaces. The directory of spare is in the data directory, which a server does from version 15 on.

-- shape: a table and its indexes in other tablespaces
CREATE TABLE t (id int, a int, v int, PRIMARY KEY (id) USING INDEX TABLESPACE spare, CONSTRAINT a_once UNIQUE (a) WITH (fillfactor = 66) USING INDEX TABLESPACE spare, r int4range,
  EXCLUDE USING gist (r WITH &&) WITH (fillfactor = 77) USING INDEX TABLESPACE spare WHERE (v > 0) DEFERRABLE) TABLESPACE spare;
CREATE INDEX t_v ON t (v) TABLESPACE spare WHERE v > 0 AND a <> 7;
CREATE INDEX t_here ON t ((v + 1)) TABLESPACE pg_default;
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- since: 15
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a table moves to another tablespace
CREATE TABLE t (id int PRIMARY KEY, a text, v int);
CREATE INDEX t_v ON t (v);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- since: 15
-- alter
ALTER TABLE t SET TABLESPACE spare;
