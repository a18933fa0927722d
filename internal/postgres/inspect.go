package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/changeling-db/changeling/schema"
)

// Queryer is what inspection needs of a connection or a transaction.
type Queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ErrNoTable says that the name does not resolve.
type ErrNoTable struct{ Name schema.Name }

func (e ErrNoTable) Error() string {
	return fmt.Sprintf("table %s does not exist, or is not in the search_path: check the name and the database; nothing was changed", e.Name)
}

// Resolve finds a table by the name that a statement gives, as the server would with this connection's search_path.
func Resolve(ctx context.Context, q Queryer, name schema.Name) (schema.Name, uint32, error) {
	var found schema.Name
	var oid uint32
	err := q.QueryRowContext(ctx, `
SELECT n.nspname, c.relname, c.oid
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $2::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'i', 'S')
  AND CASE WHEN $1::text = '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $1::text END`,
		name.Schema, name.Table).Scan(&found.Schema, &found.Table, &oid)
	if err == sql.ErrNoRows {
		return found, 0, ErrNoTable{name}
	}
	return found, oid, err
}

// Inspect reads everything about one table in one statement, so in one snapshot.
// It runs inside a transaction whose search_path is pg_catalog: only then is every name in a definition qualified.
func Inspect(ctx context.Context, q Queryer, oid uint32) (*Relation, error) {
	var version int
	if err := q.QueryRowContext(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return nil, err
	}
	var text sql.NullString
	if err := q.QueryRowContext(ctx, inspectSQL(version), int64(oid)).Scan(&text); err != nil {
		return nil, err
	}
	if !text.Valid {
		return nil, ErrNoTable{schema.Name{Table: fmt.Sprintf("with oid %d", oid)}}
	}
	var r Relation
	if err := json.Unmarshal([]byte(text.String), &r); err != nil {
		return nil, fmt.Errorf("catalogue of table %d: %w", oid, err)
	}
	return &r, nil
}

// grantsOf is an access list as JSON. A list that is NULL means the defaults, and stays null.
func grantsOf(acl string) string {
	return `(SELECT json_agg(json_build_object('grantor', pg_get_userbyid(g.grantor),
      'grantee', CASE WHEN g.grantee = 0 THEN '' ELSE pg_get_userbyid(g.grantee) END,
      'privilege', g.privilege_type, 'option', g.is_grantable)) FROM aclexplode(` + acl + `) g)`
}

func inspectSQL(version int) string {
	notNull := `NULL::text AS name, NULL::text AS def, NULL::text AS note`
	notNullFrom := ``
	if version >= 180000 {
		notNull = `nn.conname::text AS name, pg_get_constraintdef(nn.oid) AS def, obj_description(nn.oid, 'pg_constraint') AS note`
		notNullFrom = ` FROM pg_constraint nn WHERE nn.conrelid = a.attrelid AND nn.contype = 'n' AND nn.conkey = ARRAY[a.attnum]`
	}
	period := `false`
	if version >= 180000 {
		period = `k.conperiod`
	}
	return `
WITH t AS (SELECT c.* FROM pg_class c WHERE c.oid = $1::bigint::oid)
SELECT json_build_object(
  'version', current_setting('server_version_num')::int, 'oid', t.oid::bigint, 'schema', n.nspname, 'name', t.relname, 'kind', t.relkind, 'persistence', t.relpersistence,
  'owner', pg_get_userbyid(t.relowner),
  'tablespace', coalesce((SELECT spcname FROM pg_tablespace WHERE oid = t.reltablespace), ''),
  'access', coalesce((SELECT amname FROM pg_am WHERE oid = t.relam), ''),
  'options', t.reloptions,
  'toast_options', (SELECT x.reloptions FROM pg_class x WHERE x.oid = t.reltoastrelid),
  'identity', t.relreplident, 'security', t.relrowsecurity OR t.relforcerowsecurity, 'typed', t.reloftype <> 0,
  'parents', (SELECT json_agg(inhparent::regclass::text) FROM pg_inherits WHERE inhrelid = t.oid),
  'children', (SELECT json_agg(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = t.oid),
  'comment', obj_description(t.oid, 'pg_class'),
  'grants', ` + grantsOf(`t.relacl`) + `,
  'withheld', (SELECT json_agg(d.privilege_type ORDER BY d.privilege_type) FROM aclexplode(acldefault('r', t.relowner)) d WHERE t.relacl IS NOT NULL
     AND NOT EXISTS (SELECT FROM aclexplode(t.relacl) g WHERE g.grantee = t.relowner AND g.privilege_type = d.privilege_type)),
  'array_type', coalesce((SELECT b.typname FROM pg_type y JOIN pg_type b ON b.oid = y.typarray WHERE y.oid = t.reltype), ''),
  'pages', pg_relation_size(t.oid) / current_setting('block_size')::bigint,
  'rows', CASE WHEN t.reltuples > 0 AND t.relpages > 0
     THEN (t.reltuples * (pg_relation_size(t.oid) / current_setting('block_size')::float8) / t.relpages)::bigint
     ELSE pg_relation_size(t.oid) / 100 END,
  'bytes', pg_total_relation_size(t.oid), 'filenode', coalesce(pg_relation_filenode(t.oid), 0)::bigint,
  'columns', (SELECT json_agg(json_build_object(
      'num', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'base', (WITH RECURSIVE b(oid, typbasetype, typtype, typname, typnamespace) AS (
           SELECT oid, typbasetype, typtype, typname, typnamespace FROM pg_type WHERE oid = a.atttypid
           UNION ALL SELECT y.oid, y.typbasetype, y.typtype, y.typname, y.typnamespace FROM b JOIN pg_type y ON y.oid = b.typbasetype)
         SELECT CASE WHEN typtype = 'e' THEN 'enum' WHEN typnamespace = 'pg_catalog'::regnamespace THEN typname::text ELSE 'other' END
         FROM b WHERE typbasetype = 0),
      'plain', (WITH RECURSIVE b(oid, typbasetype, mod) AS (
           SELECT a.atttypid, y.typbasetype, CASE WHEN y.typbasetype = 0 THEN a.atttypmod ELSE y.typtypmod END
           UNION ALL SELECT z.oid, z.typbasetype, CASE WHEN z.typbasetype = 0 THEN b.mod ELSE z.typtypmod END FROM b JOIN pg_type z ON z.oid = b.typbasetype)
         SELECT format_type(oid, mod) FROM b WHERE typbasetype = 0)
         || coalesce((SELECT format(' COLLATE %I.%I', cn.nspname, co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
            WHERE co.oid = a.attcollation AND co.collname <> 'default'), ''),
      'collation', CASE WHEN a.attcollation <> y.typcollation AND a.attcollation <> 0 THEN
         (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation)
         ELSE '' END,
      'collates', a.attcollation::text,
      'not_null', a.attnotnull, 'not_null_name', coalesce(nn.name, ''), 'not_null_def', coalesce(nn.def, ''), 'not_null_note', nn.note,
      'default', pg_get_expr(d.adbin, d.adrelid), 'generated', a.attgenerated, 'identity', a.attidentity,
      'storage', CASE WHEN a.attstorage = y.typstorage THEN '' ELSE
         CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
      'compression', CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE '' END,
      'target', nullif(a.attstattarget, -1),
      'options', (SELECT json_agg(o) FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%'),
      'comment', col_description(t.oid, a.attnum),
      'grants', ` + grantsOf(`a.attacl`) + `) ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN LATERAL (SELECT ` + notNull + notNullFrom + `) nn ON true
    WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'indexes', (SELECT json_agg(json_build_object(
      'oid', i.indexrelid::bigint, 'name', x.relname, 'method', (SELECT amname FROM pg_am WHERE oid = x.relam),
      'head', format('CREATE %sINDEX %I ON %I.%I', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname, n.nspname, t.relname),
      'def', pg_get_indexdef(i.indexrelid),
      'tablespace', coalesce((SELECT spcname FROM pg_tablespace WHERE oid = x.reltablespace), ''),
      'unique', i.indisunique, 'primary', i.indisprimary, 'valid', i.indisvalid AND i.indisready, 'immediate', i.indimmediate,
      'partial', i.indpred IS NOT NULL, 'clustered', i.indisclustered, 'replica', i.indisreplident,
      'bytes', pg_relation_size(x.oid), 'filenode', coalesce(pg_relation_filenode(x.oid), 0)::bigint,
      'keys', (SELECT json_agg(json_build_object('num', k.num, 'desc', (k.opt & 1) = 1,
` + operatorJSON(`equal`, 3) + operatorJSON(`above`, 5) + operatorJSON(`upto`, 2) + `
           'default', oc.opcdefault AND k.coll = coalesce((SELECT a.attcollation FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = k.num), k.coll)
         ) ORDER BY k.ord)
         FROM unnest(i.indkey::int2[], i.indclass::oid[], i.indoption::int2[], i.indcollation::oid[]) WITH ORDINALITY k(num, class, opt, coll, ord)
         JOIN pg_opclass oc ON oc.oid = k.class WHERE k.ord <= i.indnkeyatts),
      'targets', (SELECT json_object_agg(ia.attnum, ia.attstattarget) FROM pg_attribute ia
         WHERE ia.attrelid = x.oid AND nullif(ia.attstattarget, -1) IS NOT NULL),
      'comment', obj_description(x.oid, 'pg_class')) ORDER BY x.relname)
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = t.oid),
  'constraints', (SELECT json_agg(` + constraintJSON(period) + ` ORDER BY k.conname)
    FROM pg_constraint k JOIN pg_class kc ON kc.oid = k.conrelid JOIN pg_namespace kn ON kn.oid = kc.relnamespace
    LEFT JOIN pg_class fc ON fc.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace
    WHERE k.conrelid = t.oid AND k.contype <> 'n'),
  'references', (SELECT json_agg(` + constraintJSON(period) + ` ORDER BY kn.nspname, kc.relname, k.conname)
    FROM pg_constraint k JOIN pg_class kc ON kc.oid = k.conrelid JOIN pg_namespace kn ON kn.oid = kc.relnamespace
    LEFT JOIN pg_class fc ON fc.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace
    WHERE k.confrelid = t.oid AND k.contype = 'f' AND k.conrelid <> t.oid),
  'statistics', (SELECT json_agg(json_build_object('oid', s.oid::bigint, 'schema', sn.nspname, 'name', s.stxname,
      'head', format('CREATE STATISTICS %I.%I', sn.nspname, s.stxname), 'def', pg_get_statisticsobjdef(s.oid),
      'tail', 'FROM ' || t.oid::regclass::text,
      'target', nullif(s.stxstattarget, -1), 'owner', pg_get_userbyid(s.stxowner),
      'comment', obj_description(s.oid, 'pg_statistic_ext')) ORDER BY s.stxname)
    FROM pg_statistic_ext s JOIN pg_namespace sn ON sn.oid = s.stxnamespace WHERE s.stxrelid = t.oid),
  'sequences', (SELECT json_agg(json_build_object('oid', q.oid::bigint, 'schema', qn.nspname, 'name', q.relname, 'column', a.attname,
      'internal', p.deptype = 'i', 'type', format_type(s.seqtypid, NULL), 'start', s.seqstart, 'increment', s.seqincrement,
      'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle, 'unlogged', q.relpersistence = 'u',
      'users', (SELECT count(*) FROM pg_depend o WHERE o.refclassid = 'pg_class'::regclass AND o.refobjid = q.oid
         AND NOT (o.classid = 'pg_type'::regclass)
         AND NOT (o.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef d JOIN pg_class dc ON dc.oid = d.adrelid
           JOIN pg_namespace dn ON dn.oid = dc.relnamespace WHERE d.oid = o.objid AND (d.adrelid = t.oid OR dn.nspname LIKE 'changeling\_%')))),
      'comment', obj_description(q.oid, 'pg_class'), 'grants', ` + grantsOf(`q.relacl`) + `) ORDER BY q.relname)
    FROM pg_depend p JOIN pg_class q ON q.oid = p.objid AND q.relkind = 'S' JOIN pg_namespace qn ON qn.oid = q.relnamespace
    JOIN pg_sequence s ON s.seqrelid = q.oid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.refobjsubid
    WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = t.oid
      AND p.refobjsubid > 0 AND p.deptype IN ('a', 'i')),
  'strangers', (` + strangersSQL(version) + `))::text
FROM t JOIN pg_namespace n ON n.oid = t.relnamespace`
}

// operatorJSON is a comparison of a B-tree operator class, qualified: a search path cannot change what it means.
func operatorJSON(name string, strategy int) string {
	return fmt.Sprintf(`'%s', (SELECT format('OPERATOR(%%I.%%s)', pn.nspname, o.oprname) FROM pg_amop ao
              JOIN pg_operator o ON o.oid = ao.amopopr JOIN pg_namespace pn ON pn.oid = o.oprnamespace
              WHERE ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
                AND ao.amopstrategy = %d), `, name, strategy)
}

func constraintJSON(period string) string {
	return `json_build_object('oid', k.oid::bigint, 'name', k.conname, 'type', k.contype,
      'def', CASE WHEN k.contype = 't' THEN '' ELSE pg_get_constraintdef(k.oid) END,
      'validated', k.convalidated, 'deferrable', k.condeferrable, 'deferred', k.condeferred, 'index', k.conindid::bigint,
      'inherited', k.coninhcount > 0 OR k.conparentid <> 0, 'period', ` + period + `,
      'schema', kn.nspname, 'table', kc.relname, 'table_oid', kc.oid::bigint, 'table_kind', kc.relkind, 'unlogged', kc.relpersistence = 'u',
      'from', ` + columnsOf(`k.conrelid`, `k.conkey`, `a.attname`) + `, 'types', ` + columnsOf(`k.conrelid`, `k.conkey`, typeOf) + `,
      'refers', ` + columnsOf(`k.confrelid`, `k.confkey`, `a.attname`) + `, 'to_types', ` + columnsOf(`k.confrelid`, `k.confkey`, typeOf) + `,
      'to_schema', coalesce(fn.nspname, ''), 'to_table', coalesce(fc.relname, ''), 'to_oid', coalesce(fc.oid, 0)::bigint,
      'to_kind', coalesce(fc.relkind, ''), 'to_logged', coalesce(fc.relpersistence <> 'u', false), 'comment', obj_description(k.oid, 'pg_constraint'))`
}

// columnsOf is a list about the columns of one end of a foreign key.
func columnsOf(table, key, what string) string {
	return `(SELECT json_agg(` + what + ` ORDER BY o.n) FROM unnest(` + key + `) WITH ORDINALITY o(num, n) JOIN pg_attribute a ON a.attrelid = ` + table + ` AND a.attnum = o.num WHERE k.contype = 'f')`
}

// typeOf is the type of a column a, with its collation.
const typeOf = `format_type(a.atttypid, a.atttypmod) || coalesce((SELECT format(' COLLATE %I.%I', cn.nspname, co.collname) FROM pg_collation co
  JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation AND co.collname <> 'default'), '')`

// strangersSQL lists, in the server's own words, what hangs on a table and that the engine does not carry:
// whatever pg_depend knows less what is known to be carried, so that a kind of object that nobody thought of is refused
// and not lost. Publications and subscriptions of all tables have no entry there and are asked for by name.
func strangersSQL(version int) string {
	schemaPublications := ``
	if version >= 150000 {
		schemaPublications = `
    UNION SELECT 'publication ' || quote_ident(pubname) || ' of its schema' FROM pg_publication p
      JOIN pg_publication_namespace pn ON pn.pnpubid = p.oid WHERE pn.pnnspid = t.relnamespace`
	}
	return `SELECT json_agg(what ORDER BY what) FROM (
    SELECT pg_describe_object(p.classid, p.objid, p.objsubid) AS what
    FROM pg_depend p
    WHERE ((p.refclassid = 'pg_class'::regclass AND p.refobjid = t.oid)
        OR (p.refclassid = 'pg_type'::regclass AND p.refobjid IN (t.reltype, (SELECT typarray FROM pg_type WHERE oid = t.reltype)) AND p.refobjid <> 0))
      AND p.classid NOT IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass, 'pg_trigger'::regclass)
      AND NOT (p.classid = 'pg_type'::regclass AND p.objid IN (t.reltype, (SELECT typarray FROM pg_type WHERE oid = t.reltype)))
      AND NOT (p.classid = 'pg_class'::regclass AND p.objid = t.oid)
      AND NOT (p.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class x WHERE x.oid = p.objid
           AND (x.oid = t.reltoastrelid OR x.relkind IN ('i', 'I') AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = x.oid AND i.indrelid = t.oid)
             OR x.relkind = 'S' AND p.deptype IN ('a', 'i'))))
    UNION SELECT 'trigger ' || quote_ident(g.tgname) FROM pg_trigger g
      WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgname NOT LIKE 'changeling\_%'
    UNION SELECT 'default of another table: ' || pg_describe_object(p.classid, p.objid, 0) FROM pg_depend p JOIN pg_attrdef d ON d.oid = p.objid
      WHERE p.classid = 'pg_attrdef'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = t.oid AND d.adrelid <> t.oid
    UNION SELECT 'constraint of another object: ' || pg_describe_object(p.classid, p.objid, 0) FROM pg_depend p JOIN pg_constraint k ON k.oid = p.objid
      WHERE p.classid = 'pg_constraint'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = t.oid
        AND k.conrelid <> t.oid AND k.contype <> 'f'
    UNION SELECT 'publication ' || quote_ident(pubname) FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE r.prrelid = t.oid
    UNION SELECT 'publication ' || quote_ident(pubname) || ' for all tables' FROM pg_publication WHERE puballtables` + schemaPublications + `
    UNION SELECT 'a subscription that writes into it' FROM pg_subscription_rel WHERE srrelid = t.oid
    UNION SELECT 'row level security' WHERE t.relrowsecurity OR t.relforcerowsecurity
    UNION SELECT 'security label of provider ' || provider FROM pg_seclabel WHERE objoid = t.oid AND classoid = 'pg_class'::regclass
    UNION SELECT 'extension ' || quote_ident(e.extname) || ', which owns it' FROM pg_depend p JOIN pg_extension e ON e.oid = p.refobjid
      WHERE p.classid = 'pg_class'::regclass AND p.objid = t.oid AND p.refclassid = 'pg_extension'::regclass AND p.deptype = 'e'
    UNION SELECT 'cascading use of its identity sequence ' || quote_ident(q.relname) || ' by ' || pg_describe_object(o.classid, o.objid, o.objsubid)
      FROM pg_depend s JOIN pg_class q ON q.oid = s.objid AND q.relkind = 'S'
      JOIN pg_depend o ON o.refclassid = 'pg_class'::regclass AND o.refobjid = q.oid AND o.classid <> 'pg_type'::regclass
      WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass AND s.refobjid = t.oid AND s.deptype = 'i'
  ) strangers`
}
