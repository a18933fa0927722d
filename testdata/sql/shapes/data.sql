-- Rows: types, NULLs, sizes.

-- shape: zero rows
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int UNIQUE);
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: rows with NULLs everywhere
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c jsonb, d int[], e timestamptz, f numeric DEFAULT 5, g boolean DEFAULT true);
INSERT INTO t SELECT i, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(1, 100) i;
INSERT INTO t VALUES (0, 1, '', 'null', '{}', 'infinity', 'NaN', false);
-- alter
ALTER TABLE t ALTER COLUMN a TYPE bigint, ALTER COLUMN b TYPE varchar(10), ALTER COLUMN d TYPE bigint[];

-- shape: every kind of type among the copied columns
CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN feeling AS mood; CREATE DOMAIN small AS int2; CREATE DOMAIN word AS varchar(9) COLLATE "C"; CREATE DOMAIN day AS date; CREATE DOMAIN flag AS bool; CREATE DOMAIN tag AS name; CREATE DOMAIN number AS numeric(5,1); CREATE DOMAIN list AS int[];
CREATE TYPE pair AS (x int, y text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE t (id int PRIMARY KEY, v int, a even, b mood, c mood[], d pair, e pair[], f span, g int8range, h int4multirange, i json, j jsonb, k xml, l point, m box, n circle, o bit(5), p varbit,
  q money, r interval, s inet, t cidr, u macaddr, w float4, x float8, y numeric, z numeric(20,5), aa bytea, ab char(5), ac "char", ad name, ae tsvector, af tsquery, ag time, ah timetz, ai timestamp(3), aj date,
  ak uuid, al text[][], am pg_lsn, an polygon, ao path, ap line, aq lseg, ar boolean, at oid, au regclass, av int2, aw interval year to month, ax bpchar, ay txid_snapshot, az macaddr8, ba jsonpath, bb pg_lsn[], bc even[], bd feeling, be small, bf word, bg day, bh flag, bi tag, bj number, bk list);
INSERT INTO t SELECT i, i, i * 2, 'sad', '{happy,sad}', (i, 'it''s, "x"')::pair, ARRAY[(i, NULL)::pair, (1, ')')::pair], '[1.5,2.5)', '[1,10)', '{[1,2),[5,6)}', '{"b":  1, "a": 2, "b": 3}', '{"b": 1}', '<a b="c">x</a>',
  '(1.1,-0)', '((1,1),(0,0))', '<(1,1),2>', B'10101', B'1', 12.34, '1 mon -2 days 03:04:05.678', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '-0', '1e-300', 1.10, 1.1, '\x00ff', 'ab', 'x', 'name',
  to_tsvector('simple', 'a b c'), 'a & b', '12:34:56.789', '12:34:56+02', '2020-01-01 12:34:56.789', '2020-02-29', md5(i::text)::uuid, '{{a,b},{"c,d",NULL}}', '16/B374D848', '((0,0),(1,1),(2,0))', '[(0,0),(1,1)]',
  '{1,2,3}', '[(0,0),(1,1)]', true, 26, 'pg_type', 7, '1 year 2 mons', 'x  ', '10:20:10,14,15', '08:00:2b:01:02:03:04:05', '$.a[*]', '{0/0}', '{2,4}', 'happy', 7, 'w', '2020-01-01', true, 'tag', 1.5, '{7}' FROM generate_series(1, 20) i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, ALTER COLUMN z TYPE numeric(22,2), ALTER COLUMN w TYPE float8, ALTER COLUMN i TYPE jsonb, ALTER COLUMN ai TYPE timestamp(0), ALTER COLUMN r TYPE interval second(0), ALTER COLUMN g TYPE text, ALTER COLUMN o TYPE varbit;

-- shape: citext columns, keys and indexes
CREATE TABLE t (id citext PRIMARY KEY, a citext, v int);
CREATE UNIQUE INDEX ON t (a);
INSERT INTO t SELECT 'Key' || i, 'Abc' || i, i FROM generate_series(1, 50) i;
-- needs: citext
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: text becomes citext
CREATE TABLE t (id int PRIMARY KEY, a text);
CREATE UNIQUE INDEX ON t (a);
INSERT INTO t SELECT i, 'Abc' || i FROM generate_series(1, 50) i;
-- needs: citext
-- alter
ALTER TABLE t ALTER COLUMN a TYPE citext;

-- shape: hstore, btree_gist and others from extensions
CREATE TABLE t (id int PRIMARY KEY, a int, r tsrange, v int, EXCLUDE USING gist (a WITH =, r WITH &&));
CREATE INDEX ON t USING gist (a, id);
INSERT INTO t SELECT i, i % 5, tsrange(timestamp '2020-01-01' + i * interval '1 day', timestamp '2020-01-01' + (i + 1) * interval '1 day'), i FROM generate_series(1, 50) i;
-- needs: btree_gist
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a table of 200 columns
DO $$ BEGIN
  EXECUTE (SELECT 'CREATE TABLE t (id int PRIMARY KEY, ' || string_agg(format('c%s %s', i, (ARRAY['int', 'text', 'numeric', 'timestamptz'])[i % 4 + 1]), ', ') || ')' FROM generate_series(1, 200) i);
  EXECUTE (SELECT 'INSERT INTO t (id, ' || string_agg(format('c%s', i), ', ') || ') SELECT i, ' ||
    string_agg((ARRAY['i', 'i::text', 'i + 0.50', 'timestamptz ''2020-01-01'' + i * interval ''1 hour'''])[i % 4 + 1], ', ') || ' FROM generate_series(1, 100) i' FROM generate_series(1, 200) i);
END $$;
-- alter
ALTER TABLE t ALTER COLUMN c4 TYPE bigint, ALTER COLUMN c8 TYPE bigint, ALTER COLUMN c200 TYPE bigint;

-- shape: values of a megabyte, compressed and not
CREATE TABLE t (id int PRIMARY KEY, a text, b text, c bytea, v int);
ALTER TABLE t ALTER COLUMN b SET STORAGE EXTERNAL;
INSERT INTO t SELECT i, repeat('x', 1000000), string_agg(md5(j::text), ''), decode(repeat(md5(i::text), 5000), 'hex'), i FROM generate_series(1, 3) i, generate_series(1, 31250) j GROUP BY i;
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a table without columns besides its key
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t SELECT generate_series(1, 100);
-- alter
ALTER TABLE t ALTER COLUMN id TYPE bigint;

-- shape: a key is rounded, and what refers to it is not
CREATE TABLE p (k numeric(6,2) PRIMARY KEY, n int);
CREATE TABLE t (id int PRIMARY KEY, k numeric(6,2) REFERENCES p);
INSERT INTO p SELECT i + 0.24, i FROM generate_series(1, 50) i;
INSERT INTO t SELECT n, k FROM p;
-- data: t_k_fkey
-- alter
ALTER TABLE p ALTER COLUMN k TYPE numeric(6,1);

-- shape: what refers to a key is rounded, and the key is not
CREATE TABLE p (k numeric(6,2) PRIMARY KEY, n int);
CREATE TABLE t (id int PRIMARY KEY, k numeric(6,2) REFERENCES p);
INSERT INTO p SELECT i + 0.24, i FROM generate_series(1, 50) i;
INSERT INTO t SELECT n, k FROM p;
-- data: t_k_fkey
-- alter
ALTER TABLE t ALTER COLUMN k TYPE numeric(6,1);

-- shape: a key's time is rounded
CREATE TABLE p (k timestamp PRIMARY KEY, n int);
CREATE TABLE t (id int PRIMARY KEY, k timestamp REFERENCES p);
INSERT INTO p SELECT '2026-01-01 10:00:00.3'::timestamp + i * interval '1s', i FROM generate_series(1, 50) i;
INSERT INTO t SELECT n, k FROM p;
-- data: t_k_fkey
-- alter
ALTER TABLE p ALTER COLUMN k TYPE timestamp(0);

-- shape: a key's spaces are cut off
CREATE TABLE p (k varchar(10) PRIMARY KEY, n int);
CREATE TABLE t (id int PRIMARY KEY, k varchar(10) REFERENCES p);
INSERT INTO p SELECT i || '   ', i FROM generate_series(1, 50) i;
INSERT INTO t SELECT n, k FROM p;
-- data: t_k_fkey
-- alter
ALTER TABLE p ALTER COLUMN k TYPE varchar(3);
