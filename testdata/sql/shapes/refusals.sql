-- What a second table cannot carry is refused by name before anything is touched.

-- shape: a column that a view reads keeps its type, as the server says
CREATE TABLE t (id int PRIMARY KEY, v int, a int);
CREATE VIEW report AS SELECT id, v FROM t;
-- usage: used by a view
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a view that the statement drops
CREATE TABLE t (id int PRIMARY KEY, v int, a int);
CREATE VIEW report AS SELECT id, a FROM t;
-- refused: view public.report, which cannot go along (the statement drops it
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, DROP COLUMN a CASCADE;

-- shape: refuses a view of somebody else
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE VIEW report AS SELECT id FROM t;
ALTER VIEW report OWNER TO carol;
-- as: migrator
-- native: SELECT 1
-- refused: view public.report (it belongs to "carol"
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a view in a schema where whoever runs the change may create nothing
CREATE SCHEMA seen;
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE VIEW seen.report AS SELECT id FROM t;
ALTER VIEW seen.report OWNER TO bob;
GRANT USAGE ON SCHEMA seen TO PUBLIC;
-- since: 16
-- as: migrator
-- native: SELECT 1
-- refused: view seen.report (the server makes a query of a view anew only
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a view that has the table's number in it
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE VIEW report AS SELECT pg_relation_size('t'::regclass);
-- refused: view public.report (its query reads otherwise
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a view of whole rows
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE VIEW report AS SELECT t FROM t;
-- refused: column t of view public.report
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a view's own rule that writes to the table
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE VIEW report AS SELECT id FROM t;
CREATE RULE busy AS ON INSERT TO report DO INSTEAD INSERT INTO t (id) VALUES (NEW.id);
-- refused: rule busy on view public.report
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table under a materialized view
CREATE TABLE t (id int PRIMARY KEY, v int, a int);
CREATE MATERIALIZED VIEW report AS SELECT id, a FROM t;
-- refused: materialized view public.report
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table with a rule
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING;
-- refused: rule quiet
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table that another table's rule names
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE u (id int PRIMARY KEY);
CREATE RULE busy AS ON INSERT TO u DO ALSO INSERT INTO t (id) VALUES (NEW.id);
-- refused: rule busy
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table with a constraint trigger that is tied to another table
CREATE TABLE u (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t FROM u DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f();
-- refused: later (it is tied to another table by FROM)
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a column that a trigger names keeps its type, as the server says
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER named BEFORE UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION f();
-- usage: used in a trigger definition
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose policy asks the table itself
CREATE TABLE t (id int PRIMARY KEY, v int, a int);
CREATE POLICY mine ON t USING (a > (SELECT min(o.a) FROM t o));
-- refused: policy mine on table public.t (it asks the table itself)
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose row level security holds for its owner too
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE POLICY mine ON t USING (id > 0);
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- refused: row level security (it is forced on the owner, "alice", who moves the rows
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a column that a policy names keeps its type, as the server says
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE POLICY mine ON t USING (v > 0);
-- usage: used in a policy definition
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table that another table's policy reads
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE u (id int PRIMARY KEY);
CREATE POLICY far ON u USING (EXISTS (SELECT FROM t WHERE t.id = u.id));
-- refused: policy far
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a publication of somebody else
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
CREATE PUBLICATION news FOR TABLE t;
-- as: migrator
-- native: SELECT 1
-- refused: publication news (only its owner may alter it
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a column whose value says what is published keeps its type, as the server says
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE PUBLICATION news FOR TABLE t WHERE (v > 0);
-- since: 15
-- usage: used by a publication WHERE clause
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a statement that takes the table out of a publication
CREATE TABLE t (id int PRIMARY KEY, v int, a int);
CREATE PUBLICATION news FOR TABLE t (id, a);
-- since: 15
-- refused: the statement takes public.t out of publication news
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, DROP COLUMN a CASCADE;

-- shape: refuses a table where all tables are published
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE PUBLICATION news FOR ALL TABLES;
-- refused: publication news for all tables
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose row type is a column of another one
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE u (id int PRIMARY KEY, whole t, many t[]);
-- refused: column whole of table
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose row type is an argument or a result of a function
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION g() RETURNS SETOF t LANGUAGE sql AS 'SELECT * FROM t';
-- refused: function
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose row type a domain is made of
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE DOMAIN whole AS t;
-- refused: type
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose check takes the whole row
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION fine(t) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
ALTER TABLE t ADD CONSTRAINT whole CHECK (fine(t));
-- refused: function public.fine(
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a parent of inheritance
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE child () INHERITS (t);
-- refused: child table
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a child of inheritance
CREATE TABLE parent (id int, v int);
CREATE TABLE t (w int, PRIMARY KEY (id)) INHERITS (parent);
-- refused: parent
-- alter
ALTER TABLE t ALTER COLUMN w TYPE bigint;

-- shape: refuses a partition
CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t PARTITION OF p FOR VALUES FROM (0) TO (10);
-- refused: partition of, public.p
-- alter
ALTER TABLE t SET UNLOGGED;

-- shape: refuses a table that a partitioned table refers to
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE TABLE p (id int PRIMARY KEY, t int REFERENCES t) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
-- refused: public.p
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a foreign table
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE t (id int, v int) SERVER s;
-- refused: foreign table
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a typed table
CREATE TYPE shape AS (id int, v int);
CREATE TABLE t OF shape (PRIMARY KEY (id));
-- refused: typed table
-- alter
ALTER TABLE t SET UNLOGGED;

-- shape: refuses a view itself
CREATE VIEW t AS SELECT 1 AS id, 2 AS v;
-- refused: a view
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a temporary table of the session, which it cannot see
CREATE TABLE u (id int);
-- usage: does not exist
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table that a function with a bound body reads
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END;
-- refused: function public.f()
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table without a key and offers the repair
CREATE TABLE t (id int, v int);
INSERT INTO t VALUES (1, 1), (1, 1);
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose only key is partial
CREATE TABLE t (id int NOT NULL, v int);
CREATE UNIQUE INDEX ON t (id) WHERE v > 0;
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose only key is deferrable
CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int);
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose only key may be NULL
CREATE TABLE t (id int UNIQUE, v int);
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose only key is an expression
CREATE TABLE t (id int NOT NULL, v int);
CREATE UNIQUE INDEX ON t ((id + 0));
-- refused: has no usable key
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a statement that drops every key
CREATE TABLE t (id int PRIMARY KEY, v int);
-- refused: every column of every usable key
-- alter
ALTER TABLE t DROP COLUMN id, ALTER COLUMN v TYPE bigint;

-- shape: refuses a key whose USING reads other columns
CREATE TABLE t (id int PRIMARY KEY, v int);
-- refused: USING of key column id
-- alter
ALTER TABLE t ALTER COLUMN id TYPE bigint USING id + v;

-- shape: refuses a table whose identity sequence another table's default uses
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int);
CREATE TABLE u (id int DEFAULT nextval('t_id_seq'));
-- refused: t_id_seq
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses to drop a serial column whose sequence another table uses
CREATE TABLE t (id int PRIMARY KEY, n serial, v int);
CREATE TABLE u (id int DEFAULT nextval('t_n_seq'));
-- refused: t_n_seq
-- alter
ALTER TABLE t DROP COLUMN n, ALTER COLUMN v TYPE bigint;

-- shape: refuses a table that belongs to an extension
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER EXTENSION plpgsql ADD TABLE t;
-- refused: extension plpgsql
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table with an invalid index
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE INDEX broken ON t (v);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;
-- refused: index broken
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a change of owner together with a rewrite
CREATE TABLE t (id int PRIMARY KEY, v int);
-- refused: OWNER TO bob
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint, OWNER TO bob;

-- shape: refuses an owner who cannot read his own table
CREATE TABLE t (id int PRIMARY KEY, v int);
ALTER TABLE t OWNER TO alice;
GRANT CREATE ON SCHEMA public TO alice;
REVOKE SELECT ON t FROM alice;
-- refused: SELECT
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: a statement with a syntax error
CREATE TABLE t (id int PRIMARY KEY, v int);
-- usage: syntax error
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint USING (;

-- shape: a column that does not exist
CREATE TABLE t (id int PRIMARY KEY, v int);
-- usage: column "nope" of relation "t" does not exist
-- alter
ALTER TABLE t ALTER COLUMN nope TYPE bigint;

-- shape: refuses what is no DDL
CREATE TABLE t (id int PRIMARY KEY, v int);
-- refused: begins with "UPDATE"
-- alter
UPDATE t SET v = 1;

-- shape: refuses to write a table anew by CLUSTER
CREATE TABLE t (id int PRIMARY KEY, v int);
-- refused: CLUSTER keeps everybody
-- alter
CLUSTER t USING t_pkey;

-- shape: refuses where an event trigger gives new tables row level security
-- refused: gives new tables row level security
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION secure() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN
  FOR r IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE object_type = 'table' LOOP EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', r.object_identity); END LOOP;
END $$;
CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION secure();
-- alter
ALTER TABLE t ALTER COLUMN v TYPE bigint;

-- shape: refuses a table whose foreign key somebody switched off
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, v int, p int CONSTRAINT to_p REFERENCES p);
ALTER TABLE t DISABLE TRIGGER ALL;
INSERT INTO t VALUES (1, 1, 1);
-- refused: triggers of constraint to_p that somebody switched off
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a table whose policy and default have its number
CREATE TABLE t (id int PRIMARY KEY, v int, name regclass DEFAULT 't'::regclass);
CREATE POLICY mine ON t USING (has_table_privilege('t'::regclass, 'SELECT'));
-- refused: policy mine on table public.t has a constant of the type regclass
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition whose default has the number of another one
CREATE TABLE t (id int, k int, v int, name regclass, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 PARTITION OF t DEFAULT;
ALTER TABLE t1 ALTER name SET DEFAULT 't2'::regclass;
-- refused: default
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a key column that is called as one of the key log
CREATE TABLE t (changeling_ok int PRIMARY KEY, v int);
-- refused: rename it first
-- alter
ALTER TABLE t ALTER v TYPE bigint;
