-- Partitioned tables: much can be done in steps, and what the server would write anew goes to a second table with the same partitions.

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

-- shape: refuses to write a partitioned table anew that has no key
CREATE TABLE t (id int, k int NOT NULL) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);
-- refused: no usable key
-- alter
ALTER TABLE t ALTER id TYPE bigint;

-- shape: a partitioned table is written anew, and each partition is what it was
CREATE TABLE "Parents" (id int PRIMARY KEY);
INSERT INTO "Parents" SELECT generate_series(1, 20);
CREATE TABLE t (id bigserial, k int NOT NULL, "V v" int DEFAULT 3, name text, parent int, note varchar(20), twice int GENERATED ALWAYS AS (k * 2) STORED, CONSTRAINT "P k" PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE "T 1" PARTITION OF t FOR VALUES FROM (MINVALUE) TO (10) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = off);
CREATE TABLE t2 (note varchar(20), gone int, parent int, k int NOT NULL DEFAULT 12, name text NOT NULL, "V v" int, id bigint NOT NULL, twice int GENERATED ALWAYS AS (k * 2) STORED);
ALTER TABLE t2 DROP COLUMN gone;
CREATE INDEX of_its_own ON t2 (name) WITH (fillfactor = 55);
CREATE UNIQUE INDEX "once Here" ON t2 (name, "V v") WHERE "V v" > 0;
ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (100);
CREATE TABLE td PARTITION OF t DEFAULT;
CREATE UNIQUE INDEX u ON t (name, k) INCLUDE (parent);
CREATE INDEX ON t (lower(name)) WHERE k > 1;
CREATE INDEX ON t USING hash (note);
ALTER TABLE t ADD CONSTRAINT once UNIQUE (k, "V v", id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE t ADD CONSTRAINT positive CHECK ("V v" > -5);
ALTER TABLE t ADD CONSTRAINT later CHECK (name <> 'x') NOT VALID;
ALTER TABLE t ADD CONSTRAINT to_parent FOREIGN KEY (parent) REFERENCES "Parents" ON DELETE SET NULL;
ALTER INDEX t2_lower_idx SET (fillfactor = 60);
ALTER INDEX t2_lower_idx ALTER COLUMN 1 SET STATISTICS 44;
ALTER TABLE t2 CLUSTER ON of_its_own;
ALTER TABLE td REPLICA IDENTITY FULL;
ALTER TABLE "T 1" REPLICA IDENTITY USING INDEX "T 1_pkey";
ALTER TABLE td ALTER "V v" SET STATISTICS 99, ALTER name SET STORAGE EXTERNAL, ALTER "V v" SET DEFAULT 9, ALTER k SET (n_distinct = 4);
CREATE STATISTICS st ON k, parent FROM t2;
CREATE STATISTICS stt ON "V v", parent FROM t;
COMMENT ON TABLE t2 IS 'two'; COMMENT ON COLUMN t2.k IS 'kk'; COMMENT ON INDEX of_its_own IS 'own'; COMMENT ON CONSTRAINT positive ON t2 IS 'pos'; COMMENT ON CONSTRAINT "T 1_pkey" ON "T 1" IS 'key'; COMMENT ON INDEX t2_lower_idx IS 'low';
COMMENT ON STATISTICS st IS 'st'; COMMENT ON TABLE t IS 'all';
GRANT SELECT ON t2 TO bob WITH GRANT OPTION; GRANT INSERT (k) ON td TO carol; GRANT ALL ON t TO alice;
INSERT INTO t (k, name, parent, note) SELECT i % 120, 'n' || i, 1 + i % 20, 'x' FROM generate_series(1, 600) i;
CREATE TABLE children (id bigint, k int, CONSTRAINT to_t FOREIGN KEY (id, k) REFERENCES t ON DELETE CASCADE);
INSERT INTO children SELECT id, k FROM t WHERE id < 20;
-- alter
ALTER TABLE t ALTER "V v" TYPE bigint, ALTER note TYPE text USING note || k;

-- shape: a partitioned table gets a column with a value for each row
CREATE TABLE t (id int, k text, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN ('a', 'b');
CREATE TABLE t2 PARTITION OF t FOR VALUES IN (NULL, 'c');
INSERT INTO t SELECT i, chr(97 + i % 3) FROM generate_series(1, 50) i;
-- volatile: t.token t1.token t2.token
-- alter
ALTER TABLE t ADD COLUMN token uuid DEFAULT gen_random_uuid(), ADD COLUMN more int GENERATED ALWAYS AS (id + 1) STORED, DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, k);

-- shape: a partitioned table by hash, whose key gets another type
CREATE SCHEMA "In";
CREATE TABLE "In".t (id int, k int, PRIMARY KEY (k, id)) PARTITION BY HASH (k);
CREATE TABLE "In".t1 PARTITION OF "In".t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "In".t2 PARTITION OF "In".t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO "In".t SELECT i, i % 7 FROM generate_series(1, 50) i;
-- alter
ALTER TABLE "In".t ALTER id TYPE bigint;

-- shape: a partitioned table with an identity
-- since: 17
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 3), k int NOT NULL, v int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (30);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (30) TO (100);
ALTER INDEX t2_pkey SET (fillfactor = 60);
INSERT INTO t (k, v) SELECT i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ALTER v TYPE bigint, ALTER id TYPE bigint;

-- shape: a partitioned table with an identity gets a check
-- since: 17
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, k int NOT NULL, v int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (30);
INSERT INTO t (k, v) SELECT 1, 1;
-- recipe: yes
-- alter
ALTER TABLE t ADD CHECK (v > 0);

-- shape: a partition's NOT NULL, and one that the statement makes for all
CREATE TABLE t (id int, k int, v int, w int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t (v NOT NULL) FOR VALUES FROM (0) TO (30);
CREATE TABLE t2 PARTITION OF t (w NOT NULL) FOR VALUES FROM (30) TO (100);
INSERT INTO t SELECT i, i, i, i FROM generate_series(1, 50) i;
-- alter
ALTER TABLE t ALTER v TYPE bigint, ALTER w SET NOT NULL;

-- shape: a conversion fails on a row of a partition
CREATE TABLE t (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (30);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (30) TO (100);
INSERT INTO t SELECT i, i, CASE i WHEN 44 THEN 'odd' ELSE i::text END FROM generate_series(1, 50) i;
-- data: id 44
-- alter
ALTER TABLE t ALTER v TYPE int USING v::int;

-- shape: what a table is partitioned by gets no other type
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
-- usage: cannot alter column "id" because it is part of the partition key of relation "t"
-- alter
ALTER TABLE t ALTER id TYPE bigint;

-- shape: refuses a partitioned table with an exclusion constraint
-- since: 17
CREATE TABLE t (id int PRIMARY KEY, v int, EXCLUDE USING btree (id WITH =, v WITH =)) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
-- refused: exclusion constraint t_id_v_excl
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses subpartitions
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10) PARTITION BY HASH (id);
CREATE TABLE t11 PARTITION OF t1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
-- refused: partition "public"."t1" is partitioned itself
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition that is a foreign table
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w;
CREATE TABLE t (id int NOT NULL, v int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10) SERVER s;
-- refused: partition "public"."t1" is a foreign table
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition with a constraint of its own
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t (CONSTRAINT mine CHECK (v > 0)) FOR VALUES FROM (0) TO (10);
-- refused: the constraint mine of its own
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition with a policy that asks the whole table
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE POLICY mine ON t1 USING (v IN (SELECT v FROM t));
-- refused: policy mine on table public.t1
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition that a foreign key refers to
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE TABLE c (a int CONSTRAINT mine REFERENCES t1);
-- refused: the foreign key mine of public.c
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition in another schema
CREATE SCHEMA other;
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE other.t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
-- refused: is not in the schema of its table
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partitioned table that refers to itself
CREATE TABLE t (id int PRIMARY KEY, v int, up int CONSTRAINT mine REFERENCES t) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
-- refused: mine refers to the table itself
-- alter
ALTER TABLE t ALTER v TYPE bigint;

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

-- shape: what hangs on a partitioned table and its partitions goes along: triggers
CREATE TABLE t (id int, k int, v int, note text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (30);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (30) TO (60);
CREATE TABLE t3 PARTITION OF t DEFAULT;
INSERT INTO t SELECT i, i, i, 'n' FROM generate_series(1, 90) i;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER "Each row" BEFORE INSERT OR UPDATE ON t FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION f('x');
CREATE TRIGGER behind AFTER UPDATE OF note OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER lines AFTER UPDATE ON t REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE TRIGGER emptied AFTER TRUNCATE ON t FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER off BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE t DISABLE TRIGGER off, ENABLE ALWAYS TRIGGER behind, ENABLE REPLICA TRIGGER lines;
ALTER TABLE t1 ENABLE ALWAYS TRIGGER off, DISABLE TRIGGER "Each row";
ALTER TABLE t2 ENABLE TRIGGER off, ENABLE REPLICA TRIGGER later, ENABLE TRIGGER behind;
COMMENT ON TRIGGER off ON t IS 'off';
COMMENT ON TRIGGER off ON t2 IS 'on here';
CREATE TRIGGER mine BEFORE INSERT ON t2 FOR EACH ROW WHEN (NEW.k > 1) EXECUTE FUNCTION f();
CREATE TRIGGER its_lines AFTER INSERT ON t2 REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION f();
CREATE CONSTRAINT TRIGGER alone AFTER UPDATE ON t3 DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE t2 ENABLE ALWAYS TRIGGER its_lines;
COMMENT ON TRIGGER mine ON t2 IS 'of t2';
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: what hangs on a partitioned table and its partitions goes along: policies
CREATE TABLE t (id int, k int, v int, who name, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 PARTITION OF t FOR VALUES IN (1);
CREATE TABLE t3 PARTITION OF t DEFAULT;
CREATE TABLE limits (k int);
INSERT INTO t SELECT i, i % 4, i, 'w' FROM generate_series(1, 40) i;
CREATE POLICY mine ON t USING (who = current_user) WITH CHECK (k >= 0);
CREATE POLICY "no Odd" ON t AS RESTRICTIVE FOR UPDATE TO bob, carol USING (k IN (SELECT k FROM limits));
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON t1 FOR SELECT USING (id > 0);
COMMENT ON POLICY seen ON t1 IS 'of t1';
ALTER TABLE t1 ENABLE ROW LEVEL SECURITY;
ALTER TABLE t1 FORCE ROW LEVEL SECURITY;
CREATE POLICY sleeps ON t3 USING (false);
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: what hangs on a partitioned table and its partitions goes along: views
CREATE SCHEMA "Se en";
CREATE TABLE t (id int, k int, v int, note text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE "T 1" PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 PARTITION OF t DEFAULT;
INSERT INTO t SELECT i, i % 2, i, 'n' FROM generate_series(1, 40) i;
CREATE VIEW all_of WITH (security_barrier = true) AS SELECT id, k, note FROM t WHERE k > 0 WITH CHECK OPTION;
CREATE VIEW "Se en".one AS SELECT a.id, count(*) OVER () AS n FROM "T 1" a JOIN "T 1" b USING (id) WHERE a.note <> 'public.t2';
CREATE VIEW both_of AS SELECT a.id, o.k, t.note, t.ctid FROM all_of a JOIN t ON t.id = a.id LEFT JOIN ONLY t2 o ON o.id = t.id LEFT JOIN "T 1" u ON u.id = t.id;
CREATE VIEW counted AS SELECT k, count(*) AS n FROM t GROUP BY k;
CREATE VIEW over_it AS SELECT * FROM both_of;
ALTER VIEW "Se en".one OWNER TO alice; GRANT SELECT ON "Se en".one TO bob; COMMENT ON VIEW "Se en".one IS 'one';
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: what hangs on a partitioned table and its partitions goes along: publications
-- since: 15
CREATE TABLE t (id int, k int, v int, note text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 PARTITION OF t DEFAULT;
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO t SELECT i, i % 2, i, 'n' FROM generate_series(1, 40) i;
CREATE PUBLICATION whole FOR TABLE t, other;
CREATE PUBLICATION rooted FOR TABLE t (id, k, note) WHERE (k > 0) WITH (publish_via_partition_root = true);
CREATE PUBLICATION single FOR TABLE t1 WHERE (id > 5), t2 (id, k);
CREATE PUBLICATION all_here FOR TABLES IN SCHEMA public;
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: what hangs on a partitioned table and its partitions goes along: publications by name
CREATE TABLE t (id int, k int, v int, note text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 PARTITION OF t DEFAULT;
INSERT INTO t SELECT i, i % 2, i, 'n' FROM generate_series(1, 40) i;
CREATE PUBLICATION whole FOR TABLE t;
CREATE PUBLICATION rooted FOR TABLE t WITH (publish_via_partition_root = true);
CREATE PUBLICATION single FOR TABLE t1;
-- alter
ALTER TABLE t ALTER v TYPE bigint, DROP COLUMN note;

-- shape: what hangs on a partitioned table and its partitions goes with a column
CREATE TABLE t (id int, k int, v int, note text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0);
CREATE TABLE t2 (note text, k int NOT NULL, gone int, id int NOT NULL, v int);
ALTER TABLE t2 DROP COLUMN gone;
ALTER TABLE t ATTACH PARTITION t2 DEFAULT;
INSERT INTO t SELECT i, i % 2, i, 'n' FROM generate_series(1, 40) i;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER goes AFTER UPDATE OF note ON t FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER stays AFTER UPDATE OF id ON t FOR EACH ROW WHEN (OLD.k = NEW.k) EXECUTE FUNCTION f();
CREATE TRIGGER own_goes AFTER UPDATE OF note ON t2 FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER own_stays AFTER UPDATE OF id ON t2 FOR EACH ROW WHEN (OLD.k = NEW.k) EXECUTE FUNCTION f();
ALTER TABLE t2 DISABLE TRIGGER goes, ENABLE ALWAYS TRIGGER stays;
CREATE POLICY goes ON t2 USING (note = 'n');
CREATE POLICY stays ON t2 USING (id > 0);
-- alter
ALTER TABLE t ALTER v TYPE bigint, DROP COLUMN note CASCADE;

-- shape: what hangs on a partitioned table and its partitions, by one who is no superuser
-- as: migrator
CREATE SCHEMA s AUTHORIZATION alice; SET ROLE alice;
CREATE TABLE s.t (id int, k int, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE s.t1 PARTITION OF s.t FOR VALUES IN (0);
CREATE TABLE s.t2 PARTITION OF s.t DEFAULT;
INSERT INTO s.t SELECT i, i % 2, i FROM generate_series(1, 40) i;
CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER each BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();
CREATE TRIGGER own AFTER INSERT ON s.t2 FOR EACH ROW EXECUTE FUNCTION s.f();
ALTER TABLE s.t1 DISABLE TRIGGER each; ALTER TABLE s.t2 ENABLE REPLICA TRIGGER each;
CREATE VIEW s.one AS SELECT id FROM s.t1;
CREATE POLICY p ON s.t USING (id > 0);
CREATE POLICY p1 ON s.t1 USING (id > 0);
ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
RESET ROLE;
-- alter
ALTER TABLE s.t ALTER v TYPE bigint;

-- shape: refuses partitions that an event trigger would give row level security
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION secure() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE x record; BEGIN
  FOR x IN SELECT object_identity FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' LOOP EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', x.object_identity); END LOOP; END $$;
CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION secure();
-- refused: gives new tables row level security, which public.t1 does not have
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition that a policy of its table asks
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE POLICY mine ON t USING (v IN (SELECT v FROM t1));
-- refused: is used by, something of its own that cannot be carried: policy mine on table public.t
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition with a materialized view
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW mine AS SELECT id FROM t1;
-- refused: rule _RETURN on materialized view public.mine
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partitioned table that is published with all others
CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION mine FOR ALL TABLES;
-- refused: publication mine for all tables
-- alter
ALTER TABLE t ALTER v TYPE bigint;

-- shape: refuses a partition whose trigger's function its owner may not execute
CREATE SCHEMA s AUTHORIZATION alice;
CREATE TABLE s.t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); ALTER TABLE s.t OWNER TO alice;
CREATE TABLE s.t1 PARTITION OF s.t FOR VALUES FROM (0) TO (10); ALTER TABLE s.t1 OWNER TO alice;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
REVOKE ALL ON FUNCTION f() FROM PUBLIC;
CREATE TRIGGER mine AFTER INSERT ON s.t1 FOR EACH ROW EXECUTE FUNCTION f();
-- refused: trigger mine (the table's owner may not execute its function
-- alter
ALTER TABLE s.t ALTER v TYPE bigint;
