-- install capture
CREATE TABLE "changeling_1f3a9c2e"."keys_1f3a9c2e" (changeling_seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, changeling_ok boolean NOT NULL DEFAULT false, "Re gion" text COLLATE pg_catalog."C", "no" integer) WITH (vacuum_truncate = false);
CREATE TABLE "changeling_1f3a9c2e"."checks_1f3a9c2e" (changeling_seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Re gion" text COLLATE pg_catalog."C", "no" integer);
CREATE OR REPLACE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $changeling$
BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no", changeling_ok) VALUES (NEW."Re gion", NEW."no", false);
  ELSIF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no", changeling_ok) VALUES (NULL, NULL, false);
  ELSE
    INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no", changeling_ok) VALUES (OLD."Re gion", OLD."no", false);
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND ROW(NEW."Re gion", NEW."no")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(OLD."Re gion", OLD."no")::pg_catalog.record THEN
      INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no", changeling_ok) VALUES (NEW."Re gion", NEW."no", false);
    END IF;
  END IF;
  RETURN NULL;
END $changeling$;
REVOKE ALL ON FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() FROM PUBLIC;
CREATE TABLE "changeling_1f3a9c2e"."try_1f3a9c2e" ("Re gion" text, "no" integer);
CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON "changeling_1f3a9c2e"."try_1f3a9c2e" FOR EACH ROW EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
CREATE TRIGGER b AFTER TRUNCATE ON "changeling_1f3a9c2e"."try_1f3a9c2e" FOR EACH STATEMENT EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
INSERT INTO "changeling_1f3a9c2e"."try_1f3a9c2e" SELECT "Re gion", "no" FROM ONLY "shop"."Ord""ers" LIMIT 1;
UPDATE "changeling_1f3a9c2e"."try_1f3a9c2e" SET "Re gion" = "Re gion";
DELETE FROM "changeling_1f3a9c2e"."try_1f3a9c2e";
TRUNCATE "changeling_1f3a9c2e"."try_1f3a9c2e";
DROP TABLE "changeling_1f3a9c2e"."try_1f3a9c2e";
DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e";
CREATE TRIGGER "changeling_1f3a9c2e" AFTER INSERT OR UPDATE OR DELETE ON "shop"."Ord""ers" FOR EACH ROW EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
CREATE TRIGGER "changeling_1f3a9c2e_truncate" AFTER TRUNCATE ON "shop"."Ord""ers" FOR EACH STATEMENT EXECUTE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
ALTER TABLE "shop"."Ord""ers" ENABLE ALWAYS TRIGGER "changeling_1f3a9c2e";
ALTER TABLE "shop"."Ord""ers" ENABLE ALWAYS TRIGGER "changeling_1f3a9c2e_truncate"

-- armed
SELECT count(*) = 2 FROM pg_catalog.pg_trigger WHERE tgrelid = '"shop"."Ord""ers"'::pg_catalog.regclass AND tgenabled = 'A' AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate')

-- guard, heap, blocks
LOCK TABLE ONLY "shop"."Ord""ers" IN ACCESS SHARE MODE;
SELECT coalesce(pg_catalog.pg_relation_filenode('"shop"."Ord""ers"'), 0)::bigint;
SELECT pg_catalog.pg_relation_size('"shop"."Ord""ers"') OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::bigint

-- copy
INSERT INTO "changeling_1f3a9c2e"."Ord""ers" ("region", "no", "at") OVERRIDING SYSTEM VALUE SELECT "Ord""ers"."Re gion", ('n' || no), ('2026-01-01'::timestamp with time zone) FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers".ctid >= '(100,0)'::pg_catalog.tid AND "Ord""ers".ctid < '(200,0)'::pg_catalog.tid

-- copy one, places
INSERT INTO "changeling_1f3a9c2e"."Ord""ers" ("region", "no", "at") OVERRIDING SYSTEM VALUE SELECT "Ord""ers"."Re gion", ('n' || no), ('2026-01-01'::timestamp with time zone) FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers".ctid = ANY ('{"(7,3)"}'::pg_catalog.tid[]);
SELECT "Ord""ers".ctid::pg_catalog.text, pg_catalog.json_build_array("Ord""ers"."Re gion"::pg_catalog.text, "Ord""ers"."no"::pg_catalog.text)::pg_catalog.text, pg_catalog.json_build_object('no', pg_catalog.left("Ord""ers"."no"::pg_catalog.text, 60))::pg_catalog.text FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers".ctid >= '(100,0)'::pg_catalog.tid AND "Ord""ers".ctid < '(200,0)'::pg_catalog.tid;
SELECT "Ord""ers".ctid::pg_catalog.text, pg_catalog.json_build_array("Ord""ers"."Re gion"::pg_catalog.text, "Ord""ers"."no"::pg_catalog.text)::pg_catalog.text, pg_catalog.json_build_object('no', pg_catalog.left("Ord""ers"."no"::pg_catalog.text, 60))::pg_catalog.text FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" l WHERE l."Re gion" OPERATOR(pg_catalog.=) "Ord""ers"."Re gion" AND l."no" OPERATOR(pg_catalog.=) "Ord""ers"."no") LIMIT 20000

-- heal
DELETE FROM "changeling_1f3a9c2e"."Ord""ers" d WHERE d.ctid >= '(100,0)'::pg_catalog.tid AND d.ctid < '(200,0)'::pg_catalog.tid AND EXISTS (SELECT FROM (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM (SELECT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL) AS "Ord""ers") c WHERE d."region" OPERATOR(pg_catalog.=) c.c1 AND d."no" OPERATOR(pg_catalog.=) c.c2)

-- drain some
WITH taken AS MATERIALIZED (DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE changeling_seq = ANY (ARRAY(SELECT changeling_seq FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" ORDER BY changeling_seq LIMIT 1000)) RETURNING "Re gion", "no"),
live AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM taken WHERE "Re gion" IS NOT NULL),
gone AS (DELETE FROM "changeling_1f3a9c2e"."Ord""ers" d USING (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM (SELECT "Re gion", "no" FROM taken WHERE "Re gion" IS NOT NULL) AS "Ord""ers") c WHERE d."region" OPERATOR(pg_catalog.=) c.c1 AND d."no" OPERATOR(pg_catalog.=) c.c2 RETURNING c.c1, c.c2, d."token" AS kept1),
put AS (INSERT INTO "changeling_1f3a9c2e"."Ord""ers" ("region", "no", "at", "token") OVERRIDING SYSTEM VALUE
  SELECT r.v1, r.v2, r.v3, CASE WHEN g.c1 IS NULL THEN gen_random_uuid() ELSE g.kept1 END FROM live AS changeling_live CROSS JOIN LATERAL (SELECT "Ord""ers"."Re gion" AS v1, ('n' || no) AS v2, ('2026-01-01'::timestamp with time zone) AS v3, "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers"."Re gion" OPERATOR(pg_catalog.=) changeling_live."Re gion" AND "Ord""ers"."no" OPERATOR(pg_catalog.=) changeling_live."no") r LEFT JOIN gone g ON g.c1 OPERATOR(pg_catalog.=) r.c1 AND g.c2 OPERATOR(pg_catalog.=) r.c2 WHERE (SELECT count(*) FROM gone) >= 0 RETURNING 1)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE "Re gion" IS NULL), (SELECT count(*) FROM gone), (SELECT count(*) FROM put)

-- drain all, to be compared
WITH taken AS MATERIALIZED (DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" RETURNING "Re gion", "no"),
live AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM taken WHERE "Re gion" IS NOT NULL),
gone AS (DELETE FROM "changeling_1f3a9c2e"."Ord""ers" d USING (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM (SELECT "Re gion", "no" FROM taken WHERE "Re gion" IS NOT NULL) AS "Ord""ers") c WHERE d."region" OPERATOR(pg_catalog.=) c.c1 AND d."no" OPERATOR(pg_catalog.=) c.c2 RETURNING c.c1, c.c2, d."token" AS kept1),
put AS (INSERT INTO "changeling_1f3a9c2e"."Ord""ers" ("region", "no", "at", "token") OVERRIDING SYSTEM VALUE
  SELECT r.v1, r.v2, r.v3, CASE WHEN g.c1 IS NULL THEN gen_random_uuid() ELSE g.kept1 END FROM live AS changeling_live CROSS JOIN LATERAL (SELECT "Ord""ers"."Re gion" AS v1, ('n' || no) AS v2, ('2026-01-01'::timestamp with time zone) AS v3, "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers"."Re gion" OPERATOR(pg_catalog.=) changeling_live."Re gion" AND "Ord""ers"."no" OPERATOR(pg_catalog.=) changeling_live."no") r LEFT JOIN gone g ON g.c1 OPERATOR(pg_catalog.=) r.c1 AND g.c2 OPERATOR(pg_catalog.=) r.c2 WHERE (SELECT count(*) FROM gone) >= 0 RETURNING 1),
noted AS (INSERT INTO "changeling_1f3a9c2e"."checks_1f3a9c2e" ("Re gion", "no") SELECT "Re gion", "no" FROM live)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE "Re gion" IS NULL), (SELECT count(*) FROM gone), (SELECT count(*) FROM put)

-- empty
DELETE FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL;
TRUNCATE "changeling_1f3a9c2e"."Ord""ers", "changeling_1f3a9c2e"."checks_1f3a9c2e"

-- boundary
SELECT pg_catalog.json_build_array(b."Re gion"::pg_catalog.text, b."no"::pg_catalog.text)::pg_catalog.text FROM (SELECT b."Re gion", b."no" FROM ONLY "shop"."Ord""ers" b WHERE ROW(b."Re gion", b."no") OPERATOR(pg_catalog.>) ROW(($1::pg_catalog.text::pg_catalog.json->>0)::text, ($1::pg_catalog.text::pg_catalog.json->>1)::integer) ORDER BY b."Re gion", b."no" OFFSET 4999 LIMIT 1) b -- [["eu","1"]]

-- first boundary
SELECT pg_catalog.json_build_array(b."Re gion"::pg_catalog.text, b."no"::pg_catalog.text)::pg_catalog.text FROM (SELECT b."Re gion", b."no" FROM ONLY "shop"."Ord""ers" b ORDER BY b."Re gion", b."no" OFFSET 4999 LIMIT 1) b -- []

-- compare
WITH pending AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL) SELECT count(*), coalesce(sum(a.h), 0)::pg_catalog.text, count(d.*), coalesce(sum((coalesce(pg_catalog.hashtextextended((d."region")::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((d."no")::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(d."at"), 3), 3))) FILTER (WHERE d.ctid IS NOT NULL), 0)::pg_catalog.text, EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL) FROM (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2, (coalesce(pg_catalog.hashtextextended(("Ord""ers"."Re gion"::text)::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((('n' || no)::text)::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(('2026-01-01'::timestamp with time zone)::timestamp with time zone), 3), 3)) AS h FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE true AND ROW("Ord""ers"."Re gion", "Ord""ers"."no") OPERATOR(pg_catalog.>) ROW(($1::pg_catalog.text::pg_catalog.json->>0)::text, ($1::pg_catalog.text::pg_catalog.json->>1)::integer) AND ROW("Ord""ers"."Re gion", "Ord""ers"."no") OPERATOR(pg_catalog.<=) ROW(($2::pg_catalog.text::pg_catalog.json->>0)::text, ($2::pg_catalog.text::pg_catalog.json->>1)::integer) AND NOT EXISTS (SELECT FROM pending p WHERE p."Re gion" OPERATOR(pg_catalog.=) "Ord""ers"."Re gion" AND p."no" OPERATOR(pg_catalog.=) "Ord""ers"."no")) a LEFT JOIN "changeling_1f3a9c2e"."Ord""ers" d ON d."region" OPERATOR(pg_catalog.=) a.c1 AND d."no" OPERATOR(pg_catalog.=) a.c2 -- [["eu","1"] ["us","9"]]

-- compare the whole
WITH pending AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL) SELECT count(*), coalesce(sum(a.h), 0)::pg_catalog.text, count(d.*), coalesce(sum((coalesce(pg_catalog.hashtextextended((d."region")::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((d."no")::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(d."at"), 3), 3))) FILTER (WHERE d.ctid IS NOT NULL), 0)::pg_catalog.text, EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL) FROM (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2, (coalesce(pg_catalog.hashtextextended(("Ord""ers"."Re gion"::text)::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((('n' || no)::text)::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(('2026-01-01'::timestamp with time zone)::timestamp with time zone), 3), 3)) AS h FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE true AND NOT EXISTS (SELECT FROM pending p WHERE p."Re gion" OPERATOR(pg_catalog.=) "Ord""ers"."Re gion" AND p."no" OPERATOR(pg_catalog.=) "Ord""ers"."no")) a LEFT JOIN "changeling_1f3a9c2e"."Ord""ers" d ON d."region" OPERATOR(pg_catalog.=) a.c1 AND d."no" OPERATOR(pg_catalog.=) a.c2 -- []

-- counts
WITH pending AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL) SELECT (SELECT count(*) FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE NOT EXISTS (SELECT FROM pending p WHERE p."Re gion" OPERATOR(pg_catalog.=) "Ord""ers"."Re gion" AND p."no" OPERATOR(pg_catalog.=) "Ord""ers"."no")), (SELECT count(*) FROM "changeling_1f3a9c2e"."Ord""ers" d WHERE NOT EXISTS (SELECT FROM (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM pending AS "Ord""ers") p WHERE d."region" OPERATOR(pg_catalog.=) p.c1 AND d."no" OPERATOR(pg_catalog.=) p.c2)), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL)

-- relog
WITH pending AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL), keys AS (SELECT "Ord""ers"."Re gion", "Ord""ers"."no" FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE true AND ROW("Ord""ers"."Re gion", "Ord""ers"."no") OPERATOR(pg_catalog.>) ROW(($1::pg_catalog.text::pg_catalog.json->>0)::text, ($1::pg_catalog.text::pg_catalog.json->>1)::integer) AND ROW("Ord""ers"."Re gion", "Ord""ers"."no") OPERATOR(pg_catalog.<=) ROW(($2::pg_catalog.text::pg_catalog.json->>0)::text, ($2::pg_catalog.text::pg_catalog.json->>1)::integer)), differing AS MATERIALIZED (SELECT DISTINCT k."Re gion", k."no" FROM keys k WHERE NOT EXISTS (SELECT FROM pending p WHERE p."Re gion" OPERATOR(pg_catalog.=) k."Re gion" AND p."no" OPERATOR(pg_catalog.=) k."no") AND (SELECT (coalesce(pg_catalog.hashtextextended(("Ord""ers"."Re gion"::text)::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((('n' || no)::text)::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(('2026-01-01'::timestamp with time zone)::timestamp with time zone), 3), 3)) FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers"."Re gion" OPERATOR(pg_catalog.=) k."Re gion" AND "Ord""ers"."no" OPERATOR(pg_catalog.=) k."no") IS DISTINCT FROM (SELECT (coalesce(pg_catalog.hashtextextended((d."region")::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((d."no")::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(d."at"), 3), 3)) FROM "changeling_1f3a9c2e"."Ord""ers" d, LATERAL (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM (SELECT k."Re gion", k."no") AS "Ord""ers") c WHERE d."region" OPERATOR(pg_catalog.=) c.c1 AND d."no" OPERATOR(pg_catalog.=) c.c2)), logged AS (INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no") SELECT "Re gion", "no" FROM differing) SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM differing), coalesce((SELECT pg_catalog.json_agg(t.k)::pg_catalog.text FROM (SELECT pg_catalog.json_build_array(differing."Re gion"::pg_catalog.text, differing."no"::pg_catalog.text)::pg_catalog.text AS k FROM differing LIMIT 10) t), '[]'), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL) -- [["eu","1"] ["us","9"]]

-- relog what was drained
WITH pending AS MATERIALIZED (SELECT DISTINCT "Re gion", "no" FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NOT NULL), keys AS (DELETE FROM "changeling_1f3a9c2e"."checks_1f3a9c2e" RETURNING "Re gion", "no"), differing AS MATERIALIZED (SELECT DISTINCT k."Re gion", k."no" FROM keys k WHERE NOT EXISTS (SELECT FROM pending p WHERE p."Re gion" OPERATOR(pg_catalog.=) k."Re gion" AND p."no" OPERATOR(pg_catalog.=) k."no") AND (SELECT (coalesce(pg_catalog.hashtextextended(("Ord""ers"."Re gion"::text)::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((('n' || no)::text)::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(('2026-01-01'::timestamp with time zone)::timestamp with time zone), 3), 3)) FROM ONLY "shop"."Ord""ers" AS "Ord""ers" WHERE "Ord""ers"."Re gion" OPERATOR(pg_catalog.=) k."Re gion" AND "Ord""ers"."no" OPERATOR(pg_catalog.=) k."no") IS DISTINCT FROM (SELECT (coalesce(pg_catalog.hashtextextended((d."region")::pg_catalog.text COLLATE "pg_catalog"."C", 1), 1) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hashtextextended((d."no")::pg_catalog.text COLLATE "pg_catalog"."C", 2), 2) OPERATOR(pg_catalog.#) coalesce(pg_catalog.hash_record_extended(ROW(d."at"), 3), 3)) FROM "changeling_1f3a9c2e"."Ord""ers" d, LATERAL (SELECT "Ord""ers"."Re gion"::text AS c1, ('n' || no)::text AS c2 FROM (SELECT k."Re gion", k."no") AS "Ord""ers") c WHERE d."region" OPERATOR(pg_catalog.=) c.c1 AND d."no" OPERATOR(pg_catalog.=) c.c2)), logged AS (INSERT INTO "changeling_1f3a9c2e"."keys_1f3a9c2e" ("Re gion", "no") SELECT "Re gion", "no" FROM differing) SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM differing), coalesce((SELECT pg_catalog.json_agg(t.k)::pg_catalog.text FROM (SELECT pg_catalog.json_build_array(differing."Re gion"::pg_catalog.text, differing."no"::pg_catalog.text)::pg_catalog.text AS k FROM differing LIMIT 10) t), '[]'), EXISTS (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" WHERE "Re gion" IS NULL)

-- verdict
SELECT (SELECT coalesce(pg_catalog.md5(pg_catalog.string_agg(m.mark, ',' ORDER BY m.mark)), '') FROM (SELECT 'pg_class' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_class x WHERE x.oid = 4711 OR x.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = 4711) UNION ALL SELECT 'pg_attribute' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attribute x WHERE x.attrelid = 4711 UNION ALL SELECT 'pg_attrdef' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attrdef x WHERE x.adrelid = 4711 UNION ALL SELECT 'pg_index' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_index x WHERE x.indrelid = 4711 UNION ALL SELECT 'pg_constraint' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_constraint x WHERE x.conrelid = 4711 OR x.confrelid = 4711 UNION ALL SELECT 'pg_trigger' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_trigger x WHERE x.tgrelid = 4711 UNION ALL SELECT 'pg_rewrite' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_rewrite x WHERE x.oid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711) UNION ALL SELECT 'pg_class' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_class x WHERE x.oid IN (SELECT w.ev_class FROM pg_catalog.pg_rewrite w WHERE w.oid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711)) UNION ALL SELECT 'pg_attribute' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_attribute x WHERE x.attrelid IN (SELECT w.ev_class FROM pg_catalog.pg_rewrite w WHERE w.oid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = 4711)) UNION ALL SELECT 'pg_statistic_ext' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_statistic_ext x WHERE x.stxrelid = 4711 UNION ALL SELECT 'pg_policy' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_policy x WHERE x.polrelid = 4711 UNION ALL SELECT 'pg_inherits' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_inherits x WHERE x.inhrelid = 4711 OR x.inhparent = 4711 UNION ALL SELECT 'pg_publication' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_publication x WHERE true UNION ALL SELECT 'pg_publication_rel' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_publication_rel x WHERE x.prrelid = 4711 UNION ALL SELECT 'pg_description' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog.pg_description x WHERE x.objoid = 4711 AND x.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass UNION ALL SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p WHERE p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refobjid = 4711 UNION ALL SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p, pg_catalog.pg_class c WHERE c.oid = 4711 AND p.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND p.refobjid = c.reltype) m), (SELECT count(*) = 2 FROM pg_catalog.pg_trigger WHERE tgrelid = '"shop"."Ord""ers"'::pg_catalog.regclass AND tgenabled = 'A' AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate')), (SELECT count(*) FROM (SELECT FROM "changeling_1f3a9c2e"."keys_1f3a9c2e" LIMIT 100000) l)

-- swap
ALTER TABLE a SET SCHEMA b;
UPDATE changeling.change SET cut_at = pg_catalog.clock_timestamp(),
  drop_at = CASE WHEN drop_after OPERATOR(pg_catalog.>=) 0::bigint THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) (drop_after::float8 OPERATOR(pg_catalog.*) interval '1 second') END WHERE id OPERATOR(pg_catalog.=) '1f3a9c2e'::text;
WITH moved AS (UPDATE changeling.change SET step = 12::int, updated_at = pg_catalog.clock_timestamp() WHERE id OPERATOR(pg_catalog.=) '1f3a9c2e'::text AND step OPERATOR(pg_catalog.=) 11::int RETURNING id)
INSERT INTO changeling.history (change_id, step, next) SELECT id, 11::int, 12::int FROM moved

-- abandon
DO $changeling$ BEGIN IF pg_catalog.to_regprocedure('"changeling_1f3a9c2e"."changeling_1f3a9c2e"()') IS NOT NULL THEN CREATE OR REPLACE FUNCTION "changeling_1f3a9c2e"."changeling_1f3a9c2e"() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN RETURN NULL; END $body$; END IF; END $changeling$;
DO $changeling$ DECLARE g record; BEGIN
  FOR g IN SELECT tgname, tgrelid::pg_catalog.regclass AS on FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgname IN ('changeling_1f3a9c2e', 'changeling_1f3a9c2e_truncate') LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, g.on);
  END LOOP; END $changeling$;
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."Ord""ers";
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."undo_keys_1f3a9c2e", "changeling_1f3a9c2e"."undo_checks_1f3a9c2e", "changeling_1f3a9c2e"."undo_misfits_1f3a9c2e", "changeling_1f3a9c2e"."undo_parts_1f3a9c2e";
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e_undo"();
DROP TABLE IF EXISTS "changeling_1f3a9c2e"."keys_1f3a9c2e", "changeling_1f3a9c2e"."checks_1f3a9c2e";
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e"();
DROP FUNCTION IF EXISTS "changeling_1f3a9c2e"."changeling_1f3a9c2e_guard"();
DROP SCHEMA IF EXISTS "changeling_1f3a9c2e";
DROP SCHEMA IF EXISTS "changeling_1f3a9c2e_old"

