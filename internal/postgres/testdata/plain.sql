-- install capture
CREATE TABLE "changeling_1f3a9c2e"."keys_1f3a9c2e" (changeling_seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, changeling_ok boolean NOT NULL DEFAULT false, "id" bigint) WITH (vacuum_truncate = false);
CREATE TABLE "changeling_1f3a9c2e"."checks_1f3a9c2e" (changeling_seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "id" bigint);
CREATE OR REPLACE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $changeling$
BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id", changeling_ok) VALUES (NEW."id", false);
  ELSIF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id", changeling_ok) VALUES (NULL, false);
  ELSE
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id", changeling_ok) VALUES (OLD."id", false);
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND ROW(NEW."id")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(OLD."id")::pg_catalog.record THEN
      INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id", changeling_ok) VALUES (NEW."id", false);
    END IF;
  END IF;
  RETURN NULL;
END $changeling$;
REVOKE ALL ON FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() FROM PUBLIC;
CREATE TABLE "changeling_1f3a9c2e"."try_1f3a9c2e" ("id" bigint);
CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON "changeling_1f3a9c2e"."try_1f3a9c2e" FOR EACH ROW EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
CREATE TRIGGER b AFTER TRUNCATE ON "changeling_1f3a9c2e"."try_1f3a9c2e" FOR EACH STATEMENT EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
INSERT INTO "changeling_1f3a9c2e"."try_1f3a9c2e" SELECT "id" FROM ONLY "shop"."orders" LIMIT 1;
UPDATE "changeling_1f3a9c2e"."try_1f3a9c2e" SET "id" = "id";
DELETE FROM "changeling_1f3a9c2e"."try_1f3a9c2e";
TRUNCATE "changeling_1f3a9c2e"."try_1f3a9c2e";
DROP TABLE "changeling_1f3a9c2e"."try_1f3a9c2e";
DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e";
CREATE TRIGGER "changeling_1f3a9c2e" AFTER INSERT OR UPDATE OR DELETE ON "shop"."orders" FOR EACH ROW EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
CREATE TRIGGER "changeling_1f3a9c2e_truncate" AFTER TRUNCATE ON "shop"."orders" FOR EACH STATEMENT EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
ALTER TABLE "shop"."orders" ENABLE ALWAYS TRIGGER "changeling_1f3a9c2e";
ALTER TABLE "shop"."orders" ENABLE ALWAYS TRIGGER "changeling_1f3a9c2e_truncate"

-- armed
SELECT count(*) = 2 FROM pg_catalog.pg_trigger WHERE tgrelid = '"shop"."orders"'::pg_catalog.regclass AND tgenabled = 'A' AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate')

-- guard, heap, blocks
LOCK TABLE ONLY "shop"."orders" IN ACCESS SHARE MODE;
SELECT coalesce(pg_catalog.pg_relation_filenode('"shop"."orders"'), 0)::bigint;
SELECT pg_catalog.pg_relation_size('"shop"."orders"') OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::bigint

-- copy
INSERT INTO "changeling_1f3a9c2e"."orders" ("id", "amount") OVERRIDING SYSTEM VALUE SELECT "orders"."id", "orders"."amount" FROM ONLY "shop"."orders" AS "orders" WHERE "orders".ctid >= '(100,0)'::pg_catalog.tid AND "orders".ctid < '(200,0)'::pg_catalog.tid

-- copy one, places
INSERT INTO "changeling_1f3a9c2e"."orders" ("id", "amount") OVERRIDING SYSTEM VALUE SELECT "orders"."id", "orders"."amount" FROM ONLY "shop"."orders" AS "orders" WHERE "orders".ctid = ANY ('{"(7,3)"}'::pg_catalog.tid[]);
SELECT "orders".ctid::pg_catalog.text, pg_catalog.json_build_array("orders"."id"::pg_catalog.text)::pg_catalog.text, pg_catalog.json_build_object('amount', pg_catalog.left("orders"."amount"::pg_catalog.text, 60))::pg_catalog.text FROM ONLY "shop"."orders" AS "orders" WHERE "orders".ctid >= '(100,0)'::pg_catalog.tid AND "orders".ctid < '(200,0)'::pg_catalog.tid;
SELECT "orders".ctid::pg_catalog.text, pg_catalog.json_build_array("orders"."id"::pg_catalog.text)::pg_catalog.text, pg_catalog.json_build_object('amount', pg_catalog.left("orders"."amount"::pg_catalog.text, 60))::pg_catalog.text FROM ONLY "shop"."orders" AS "orders" WHERE EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" l WHERE l."id" OPERATOR(pg_catalog.=) "orders"."id") LIMIT 20000

-- heal
DELETE FROM "changeling_1f3a9c2e"."orders" d WHERE d.ctid >= '(100,0)'::pg_catalog.tid AND d.ctid < '(200,0)'::pg_catalog.tid AND EXISTS (SELECT FROM (SELECT "orders"."id"::bigint AS c1 FROM (SELECT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL) AS "orders") c WHERE d."id" OPERATOR(pg_catalog.=) c.c1)

-- drain some
WITH taken AS MATERIALIZED (DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE changeling_seq = ANY (ARRAY(SELECT changeling_seq FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" ORDER BY changeling_seq LIMIT 1000)) RETURNING "id"),
live AS MATERIALIZED (SELECT DISTINCT "id" FROM taken WHERE "id" IS NOT NULL),
gone AS (DELETE FROM "changeling_1f3a9c2e"."orders" d USING (SELECT "orders"."id"::bigint AS c1 FROM (SELECT "id" FROM taken WHERE "id" IS NOT NULL) AS "orders") c WHERE d."id" OPERATOR(pg_catalog.=) c.c1 RETURNING c.c1),
put AS (INSERT INTO "changeling_1f3a9c2e"."orders" ("id", "amount") OVERRIDING SYSTEM VALUE
  SELECT r.v1, r.v2 FROM live AS changeling_live CROSS JOIN LATERAL (SELECT "orders"."id" AS v1, "orders"."amount" AS v2, "orders"."id"::bigint AS c1 FROM ONLY "shop"."orders" AS "orders" WHERE "orders"."id" OPERATOR(pg_catalog.=) changeling_live."id") r WHERE (SELECT count(*) FROM gone) >= 0 RETURNING 1)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE "id" IS NULL), (SELECT count(*) FROM gone), (SELECT count(*) FROM put)

-- drain all, to be compared
WITH taken AS MATERIALIZED (DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" RETURNING "id"),
live AS MATERIALIZED (SELECT DISTINCT "id" FROM taken WHERE "id" IS NOT NULL),
gone AS (DELETE FROM "changeling_1f3a9c2e"."orders" d USING (SELECT "orders"."id"::bigint AS c1 FROM (SELECT "id" FROM taken WHERE "id" IS NOT NULL) AS "orders") c WHERE d."id" OPERATOR(pg_catalog.=) c.c1 RETURNING c.c1),
put AS (INSERT INTO "changeling_1f3a9c2e"."orders" ("id", "amount") OVERRIDING SYSTEM VALUE
  SELECT r.v1, r.v2 FROM live AS changeling_live CROSS JOIN LATERAL (SELECT "orders"."id" AS v1, "orders"."amount" AS v2, "orders"."id"::bigint AS c1 FROM ONLY "shop"."orders" AS "orders" WHERE "orders"."id" OPERATOR(pg_catalog.=) changeling_live."id") r WHERE (SELECT count(*) FROM gone) >= 0 RETURNING 1),
noted AS (INSERT INTO "changeling_1f3a9c2e"."checks_1f3a9c2e" ("id") SELECT "id" FROM live)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE "id" IS NULL), (SELECT count(*) FROM gone), (SELECT count(*) FROM put)

-- empty
DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL;
TRUNCATE "changeling_1f3a9c2e"."orders", "changeling_1f3a9c2e"."checks_1f3a9c2e"

-- boundary
SELECT pg_catalog.json_build_array(b."id"::pg_catalog.text)::pg_catalog.text FROM (SELECT b."id" FROM ONLY "changeling_1f3a9c2e"."orders" b WHERE b."id" OPERATOR(pg_catalog.>) ($1::pg_catalog.text::pg_catalog.json->>0)::bigint ORDER BY b."id" OFFSET 4999 LIMIT 1) b -- [["1"]]

-- first boundary
SELECT pg_catalog.json_build_array(b."id"::pg_catalog.text)::pg_catalog.text FROM (SELECT b."id" FROM ONLY "changeling_1f3a9c2e"."orders" b ORDER BY b."id" OFFSET 4999 LIMIT 1) b -- []

-- compare
WITH pending AS MATERIALIZED (SELECT DISTINCT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL) SELECT c.n, '0', c.n, c.differ::pg_catalog.text, EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL) FROM (SELECT count(*) AS n, count(*) FILTER (WHERE NOT (a.k1 IS NOT NULL AND b.k1 IS NOT NULL AND coalesce(a.v1 OPERATOR(pg_catalog.=) b.v1, a.v1 IS NULL AND b.v1 IS NULL) AND coalesce(pg_catalog.numeric_send(a.v2) OPERATOR(pg_catalog.=) pg_catalog.numeric_send(b.v2), a.v2 IS NULL AND b.v2 IS NULL)) AND (coalesce(a.k1, b.k1) OPERATOR(pg_catalog.=) ANY (SELECT p."id" FROM pending p)) IS NOT TRUE) AS differ FROM (SELECT "orders"."id"::bigint AS v1, "orders"."amount"::numeric AS v2, "orders"."id" AS k1 FROM ONLY "shop"."orders" AS "orders" WHERE true AND "orders"."id" OPERATOR(pg_catalog.>) ($1::pg_catalog.text::pg_catalog.json->>0)::bigint AND "orders"."id" OPERATOR(pg_catalog.<=) ($2::pg_catalog.text::pg_catalog.json->>0)::bigint) a FULL JOIN (SELECT d."id" AS v1, d."amount" AS v2, d."id" AS k1 FROM "changeling_1f3a9c2e"."orders" d WHERE true AND d."id" OPERATOR(pg_catalog.>) ($1::pg_catalog.text::pg_catalog.json->>0)::bigint AND d."id" OPERATOR(pg_catalog.<=) ($2::pg_catalog.text::pg_catalog.json->>0)::bigint) b ON a.k1 OPERATOR(pg_catalog.=) b.k1) c -- [["1"] ["9"]]

-- compare the whole
WITH pending AS MATERIALIZED (SELECT DISTINCT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL) SELECT c.n, '0', c.n, c.differ::pg_catalog.text, EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL) FROM (SELECT count(*) AS n, count(*) FILTER (WHERE NOT (a.k1 IS NOT NULL AND b.k1 IS NOT NULL AND coalesce(a.v1 OPERATOR(pg_catalog.=) b.v1, a.v1 IS NULL AND b.v1 IS NULL) AND coalesce(pg_catalog.numeric_send(a.v2) OPERATOR(pg_catalog.=) pg_catalog.numeric_send(b.v2), a.v2 IS NULL AND b.v2 IS NULL)) AND (coalesce(a.k1, b.k1) OPERATOR(pg_catalog.=) ANY (SELECT p."id" FROM pending p)) IS NOT TRUE) AS differ FROM (SELECT "orders"."id"::bigint AS v1, "orders"."amount"::numeric AS v2, "orders"."id" AS k1 FROM ONLY "shop"."orders" AS "orders" WHERE true) a FULL JOIN (SELECT d."id" AS v1, d."amount" AS v2, d."id" AS k1 FROM "changeling_1f3a9c2e"."orders" d WHERE true) b ON a.k1 OPERATOR(pg_catalog.=) b.k1) c -- []

-- counts
WITH pending AS MATERIALIZED (SELECT DISTINCT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL) SELECT (SELECT count(*) FROM ONLY "shop"."orders" AS "orders" WHERE NOT EXISTS (SELECT FROM pending p WHERE p."id" OPERATOR(pg_catalog.=) "orders"."id")), (SELECT count(*) FROM "changeling_1f3a9c2e"."orders" d WHERE NOT EXISTS (SELECT FROM (SELECT "orders"."id"::bigint AS c1 FROM pending AS "orders") p WHERE d."id" OPERATOR(pg_catalog.=) p.c1)), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL)

-- relog
WITH pending AS MATERIALIZED (SELECT DISTINCT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL), keys AS (SELECT "orders"."id" FROM ONLY "shop"."orders" AS "orders" WHERE true AND "orders"."id" OPERATOR(pg_catalog.>) ($1::pg_catalog.text::pg_catalog.json->>0)::bigint AND "orders"."id" OPERATOR(pg_catalog.<=) ($2::pg_catalog.text::pg_catalog.json->>0)::bigint UNION SELECT d."id"::bigint FROM "changeling_1f3a9c2e"."orders" d WHERE true AND d."id" OPERATOR(pg_catalog.>) ($1::pg_catalog.text::pg_catalog.json->>0)::bigint AND d."id" OPERATOR(pg_catalog.<=) ($2::pg_catalog.text::pg_catalog.json->>0)::bigint), differing AS MATERIALIZED (SELECT DISTINCT k."id" FROM keys k WHERE NOT EXISTS (SELECT FROM pending p WHERE p."id" OPERATOR(pg_catalog.=) k."id") AND (SELECT (coalesce(pg_catalog.hashint8extended("orders"."id"::bigint, 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(pg_catalog.numeric_send("orders"."amount"::numeric)), 2), 2)) FROM ONLY "shop"."orders" AS "orders" WHERE "orders"."id" OPERATOR(pg_catalog.=) k."id") IS DISTINCT FROM (SELECT (coalesce(pg_catalog.hashint8extended(d."id", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(pg_catalog.numeric_send(d."amount")), 2), 2)) FROM "changeling_1f3a9c2e"."orders" d, LATERAL (SELECT "orders"."id"::bigint AS c1 FROM (SELECT k."id") AS "orders") c WHERE d."id" OPERATOR(pg_catalog.=) c.c1)), logged AS (INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id") SELECT "id" FROM differing) SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM differing), coalesce((SELECT pg_catalog.json_agg(t.k)::pg_catalog.text FROM (SELECT pg_catalog.json_build_array(differing."id"::pg_catalog.text)::pg_catalog.text AS k FROM differing LIMIT 10) t), '[]'), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL) -- [["1"] ["9"]]

-- relog what was drained
WITH pending AS MATERIALIZED (SELECT DISTINCT "id" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NOT NULL), keys AS (DELETE FROM "changeling_1f3a9c2e"."checks_1f3a9c2e" RETURNING "id"), differing AS MATERIALIZED (SELECT DISTINCT k."id" FROM keys k WHERE NOT EXISTS (SELECT FROM pending p WHERE p."id" OPERATOR(pg_catalog.=) k."id") AND (SELECT (coalesce(pg_catalog.hashint8extended("orders"."id"::bigint, 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(pg_catalog.numeric_send("orders"."amount"::numeric)), 2), 2)) FROM ONLY "shop"."orders" AS "orders" WHERE "orders"."id" OPERATOR(pg_catalog.=) k."id") IS DISTINCT FROM (SELECT (coalesce(pg_catalog.hashint8extended(d."id", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(pg_catalog.numeric_send(d."amount")), 2), 2)) FROM "changeling_1f3a9c2e"."orders" d, LATERAL (SELECT "orders"."id"::bigint AS c1 FROM (SELECT k."id") AS "orders") c WHERE d."id" OPERATOR(pg_catalog.=) c.c1)), logged AS (INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("id") SELECT "id" FROM differing) SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM differing), coalesce((SELECT pg_catalog.json_agg(t.k)::pg_catalog.text FROM (SELECT pg_catalog.json_build_array(differing."id"::pg_catalog.text)::pg_catalog.text AS k FROM differing LIMIT 10) t), '[]'), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "id" IS NULL)

-- verdict
SELECT (SELECT coalesce(pg_catalog.md5(pg_catalog.string_agg(m.mark, ',' ORDER BY m.mark)), '') FROM (SELECT 'pg_class' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_class x WHERE x.oid = 4711 OR x.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = 4711) UNION ALL SELECT 'pg_attribute' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attribute x WHERE x.attrelid = 4711 UNION ALL SELECT 'pg_attrdef' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attrdef x WHERE x.adrelid = 4711 UNION ALL SELECT 'pg_index' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_index x WHERE x.indrelid = 4711 UNION ALL SELECT 'pg_constraint' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_constraint x WHERE x.conrelid = 4711 OR x.confrelid = 4711 UNION ALL SELECT 'pg_trigger' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_trigger x WHERE x.tgrelid = 4711 UNION ALL SELECT 'pg_rewrite' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_rewrite x WHERE x.oid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711) UNION ALL SELECT 'pg_class' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_class x WHERE x.oid IN (SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711)) UNION ALL SELECT 'pg_attribute' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attribute x WHERE x.attrelid IN (SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711)) UNION ALL SELECT 'pg_statistic_ext' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_statistic_ext x WHERE x.stxrelid = 4711 UNION ALL SELECT 'pg_policy' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_policy x WHERE x.polrelid = 4711 UNION ALL SELECT 'pg_inherits' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_inherits x WHERE x.inhrelid = 4711 OR x.inhparent = 4711 UNION ALL SELECT 'pg_publication' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_publication x WHERE true UNION ALL SELECT 'pg_publication_rel' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_publication_rel x WHERE x.prrelid = 4711 UNION ALL SELECT 'pg_description' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_description x WHERE x.objoid = 4711 AND x.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass UNION ALL SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p WHERE p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refobjid = 4711 UNION ALL SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p, pg_catalog.pg_class c WHERE c.oid = 4711 AND p.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND p.refobjid = c.reltype) m), (SELECT count(*) = 2 FROM pg_catalog.pg_trigger WHERE tgrelid = '"shop"."orders"'::pg_catalog.regclass AND tgenabled = 'A' AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate')), (SELECT count(*) FROM (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" LIMIT 100000) l)

-- swap
ALTER TABLE a SET SCHEMA b;
UPDATE changeling.change SET cut_at = pg_catalog.clock_timestamp(),
  drop_at = CASE WHEN drop_after OPERATOR(pg_catalog.>=) 0::bigint THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) (drop_after::float8 OPERATOR(pg_catalog.*) interval '1 second') END WHERE id OPERATOR(pg_catalog.=) '1f3a9c2e'::text;
WITH moved AS (UPDATE changeling.change SET step = 12::int, updated_at = pg_catalog.clock_timestamp() WHERE id OPERATOR(pg_catalog.=) '1f3a9c2e'::text AND step OPERATOR(pg_catalog.=) 11::int RETURNING id)
INSERT INTO changeling.history (change_id, step, next) SELECT id, 11::int, 12::int FROM moved

-- abandon
DO $changeling$ BEGIN IF pg_catalog.to_regprocedure('"changeling_1f3a9c2e"."changeling_1f3a9c2e"()') IS NOT NULL THEN CREATE OR REPLACE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN RETURN NULL; END $body$; END IF; END $changeling$;
DO $changeling$ DECLARE g record; BEGIN
  FOR g IN SELECT tgname, tgrelid::pg_catalog.regclass AS on FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate') ORDER BY (SELECT pg_catalog.count(*) FROM pg_catalog.pg_partition_ancestors(tgrelid)) LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, g.on);
  END LOOP; END $changeling$;
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."orders";
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."undo_keys_1f3a9c2e", "changeling_1f3a9c2e"."undo_checks_1f3a9c2e", "changeling_1f3a9c2e"."undo_misfits_1f3a9c2e", "changeling_1f3a9c2e"."undo_parts_1f3a9c2e";
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e_undo"();
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."keys_1f3a9c2e", "changeling_1f3a9c2e"."checks_1f3a9c2e";
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e_guard"();
DROP SCHEMA IF EXISTS "changeling_1f3a9c2e";
DROP SCHEMA IF EXISTS "changeling_1f3a9c2e_old"

