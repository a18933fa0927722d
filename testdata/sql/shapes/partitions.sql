-- Partitioned tables: no second table takes their place yet, but much can be done in steps.

-- shape: a partitioned table gets a column
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- direct: yes
-- alter
ALTER TABLE t ADD COLUMN a int DEFAULT 5;

-- shape: a partitioned table gets a check and a NOT NULL
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1, 2, 3);
CREATE TABLE t2 PARTITION OF t DEFAULT;
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD CHECK (id > 0), ALTER id SET NOT NULL;

-- shape: an index on a partitioned table, one of whose partitions has it already
CREATE SCHEMA other;
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY HASH (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE other.t3 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE INDEX mine ON t2 (id);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
CREATE INDEX ON t (id);

-- shape: a unique key of a partitioned table
CREATE TABLE t (id int NOT NULL, k int NOT NULL, v int) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD CONSTRAINT once UNIQUE (k, v);

-- shape: keys of a partitioned table (from 18 on the NOT NULLs of the partitions are marked as their own, too, which only a later DROP NOT NULL shows)
-- until: 17
CREATE TABLE t (id int NOT NULL, k int NOT NULL, v int) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD PRIMARY KEY (id, k), ADD CONSTRAINT once UNIQUE (k, v);

-- shape: a partition is attached beside a default partition
CREATE TABLE t (id int, k int NOT NULL, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE INDEX ON t (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
CREATE TABLE td PARTITION OF t DEFAULT;
CREATE TABLE c (id int NOT NULL, k int NOT NULL);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO c SELECT i, i FROM generate_series(100, 120) i;
-- recipe: yes
-- alter
ALTER TABLE t ATTACH PARTITION c FOR VALUES FROM (100) TO (200);

-- shape: a partition is detached
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
CREATE TABLE td PARTITION OF t DEFAULT;
-- direct: yes
-- alter
ALTER TABLE t DETACH PARTITION t1;

-- shape: refuses to write a partitioned table anew
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
-- refused: is partitioned
-- alter
ALTER TABLE t ALTER id TYPE bigint;

-- shape: a foreign key of a partitioned table
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int NOT NULL, k int NOT NULL) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100);
INSERT INTO parents SELECT generate_series(1, 20);
INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
-- recipe: yes
-- alter
ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES parents ON DELETE CASCADE;
