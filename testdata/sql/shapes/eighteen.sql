-- What PostgreSQL 18 brought.

-- shape: named NOT NULL constraints keep their names
CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT "a is there" NOT NULL, b text NOT NULL NO INHERIT, v int);
COMMENT ON CONSTRAINT "a is there" ON t IS 'always';
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 20) i;
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD CONSTRAINT "v too" NOT NULL v;

-- shape: a NOT NULL that is not valid stays so, over rows that break it
CREATE TABLE t (id int PRIMARY KEY, a int, v int);
INSERT INTO t SELECT i, nullif(i, 5), i FROM generate_series(1, 20) i;
ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID;
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a NOT NULL that is not valid makes no key
CREATE TABLE t (id int UNIQUE, v int);
INSERT INTO t VALUES (NULL, 1), (1, 1);
ALTER TABLE t ADD CONSTRAINT later NOT NULL id NOT VALID;
-- since: 18
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: virtual generated columns
CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) VIRTUAL, s int GENERATED ALWAYS AS (a * 3) STORED, v int, h text GENERATED ALWAYS AS (a::text || 'x'));
INSERT INTO t (id, a, v) SELECT i, nullif(i, 5), i FROM generate_series(1, 20) i;
ALTER TABLE t ADD CHECK (g < 1000);
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD COLUMN w int GENERATED ALWAYS AS (id + 1);

-- shape: a primary key WITHOUT OVERLAPS beside another key, and a foreign key with PERIOD
CREATE TABLE t (id int NOT NULL UNIQUE, r int4range, p daterange, v int, PRIMARY KEY (r, p WITHOUT OVERLAPS), CONSTRAINT once UNIQUE (p, r WITHOUT OVERLAPS));
INSERT INTO t SELECT i, int4range(i, i + 1), daterange(date '2020-01-01' + i, date '2020-02-01' + i), i FROM generate_series(1, 20) i;
CREATE TABLE c (id int PRIMARY KEY, r int4range, p daterange, FOREIGN KEY (r, PERIOD p) REFERENCES t (r, PERIOD p));
INSERT INTO c SELECT i, int4range(i, i + 1), daterange(date '2020-01-01' + i, date '2020-01-11' + i) FROM generate_series(1, 20) i;
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a new foreign key with PERIOD
CREATE TABLE parents (r int4range, p daterange, PRIMARY KEY (r, p WITHOUT OVERLAPS));
INSERT INTO parents SELECT int4range(i, i + 1), daterange(date '2020-01-01' + i, date '2020-02-01' + i) FROM generate_series(1, 20) i;
CREATE TABLE t (id int PRIMARY KEY, r int4range, p daterange, v int);
INSERT INTO t SELECT i, int4range(i, i + 1), daterange(date '2020-01-01' + i, date '2020-01-11' + i), i FROM generate_series(1, 20) i;
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD FOREIGN KEY (r, PERIOD p) REFERENCES parents;

-- shape: refuses a table whose only key is WITHOUT OVERLAPS
CREATE TABLE t (r int4range, p daterange, v int, PRIMARY KEY (r, p WITHOUT OVERLAPS));
-- since: 18
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: checks and foreign keys that are NOT ENFORCED
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT loose CHECK (a > 100) NOT ENFORCED, p int, v int, CONSTRAINT far FOREIGN KEY (p) REFERENCES parents NOT ENFORCED);
CREATE TABLE c (id int PRIMARY KEY, t int, FOREIGN KEY (t) REFERENCES t ON DELETE CASCADE NOT ENFORCED);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 20) i;
INSERT INTO c VALUES (1, 77);
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ADD CONSTRAINT off CHECK (v > 5) NOT ENFORCED;

-- shape: a key WITHOUT OVERLAPS with storage parameters in a tablespace
CREATE TABLE t (id int PRIMARY KEY, r int4range, p daterange, v int, CONSTRAINT once UNIQUE (r, p WITHOUT OVERLAPS) WITH (fillfactor = 61) USING INDEX TABLESPACE spare);
INSERT INTO t SELECT i, int4range(i, i + 1), daterange(date '2020-01-01' + i, date '2020-02-01' + i), i FROM generate_series(1, 20) i;
-- since: 18
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a NOT NULL that need not be validated is done at once
CREATE TABLE t (id int PRIMARY KEY, a int);
INSERT INTO t SELECT i, nullif(i, 5) FROM generate_series(1, 20) i;
-- since: 18
-- direct: yes
-- alter
ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID;
