package postgres

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// catalogueSQL answers one JSON object with the rows of the system catalogues that are about a table.
//
// It runs under the cutover's lock. So it only looks things up in indexes and leaves it to Go to put the rows together:
// joining them in the server, into the form of Relation, took three times as long.
// Incoming foreign keys come from pg_depend, because pg_constraint has no index on confrelid.
// Making the plan takes longer than running it. So the oid stands in the text, and is no argument: a statement without arguments keeps its plan,
// and who asks twice on a connection has a quick second answer. Who asks for many tables, in a transaction that keeps plans anyway (see
// keepPlans), has the oid as an argument, $1.
//
// Only a partitioned table is asked for its partitions: planning that question takes as long as planning all the others.
func catalogueSQL(version int, partitioned bool, oid string) string {
	period, schemaPublications, leaves := `false`, ``, `NULL`
	if partitioned {
		leaves = leavesSQL(version)
	}
	if version >= 150000 {
		schemaPublications = `
    UNION ALL SELECT 'publication ' || quote_ident(p.pubname) || ' of its schema' FROM pg_publication_namespace pn JOIN pg_publication p ON p.oid = pn.pnpubid
      WHERE pn.pnnspid = (SELECT relnamespace FROM pg_class WHERE oid = $oid)`
	}
	if version >= 180000 {
		period = `conperiod`
	}
	return strings.ReplaceAll(`
WITH k AS MATERIALIZED (
  SELECT oid, conname, contype, condeferrable, condeferred, convalidated, conrelid, conindid, confrelid, conparentid, coninhcount, conkey, confkey, conpfeqop, `+period+` AS period
    FROM pg_constraint WHERE conrelid = $oid
  UNION ALL
  SELECT oid, conname, contype, condeferrable, condeferred, convalidated, conrelid, conindid, confrelid, conparentid, coninhcount, conkey, confkey, conpfeqop, `+period+`
    FROM pg_constraint WHERE contype = 'f' AND confrelid = $oid AND conrelid <> $oid AND oid = ANY (ARRAY(
      SELECT objid FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = $oid AND classid = 'pg_constraint'::regclass))
), i AS MATERIALIZED (
  SELECT * FROM pg_index WHERE indrelid = $oid
), q AS MATERIALIZED (
  SELECT s.*, d.refobjsubid, d.deptype FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
  WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $oid AND d.refobjsubid > 0 AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
)
SELECT json_build_object(
  'version', current_setting('server_version_num')::int, 'block_size', current_setting('block_size')::int,
  'classes', (SELECT json_agg(json_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
      'owner', pg_get_userbyid(c.relowner), 'tablespace', s.spcname, 'access', m.amname, 'options', c.reloptions, 'acl', c.relacl::text[],
      'toast', c.reltoastrelid::bigint, 'identity', c.relreplident, 'security', c.relrowsecurity OR c.relforcerowsecurity,
      'secured', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'bypass', (SELECT bool_and(o.rolsuper OR o.rolbypassrls) FROM pg_roles o WHERE o.oid = c.relowner OR o.rolname = session_user), 'typed', c.reloftype <> 0,
      'tuples', c.reltuples, 'pages', c.relpages, 'filenode', coalesce(pg_relation_filenode(c.oid), 0)::bigint, 'comment', obj_description(c.oid, 'pg_class'),
      'bytes', CASE WHEN c.oid = $oid OR c.relkind = 'i' THEN pg_relation_size(c.oid) END))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE c.oid = ANY (ARRAY(SELECT $oid UNION ALL SELECT indexrelid FROM i UNION ALL SELECT seqrelid FROM q UNION ALL SELECT conrelid FROM k UNION ALL SELECT confrelid FROM k
      UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = $oid))),
  'bytes', pg_total_relation_size($oid),
  'array_type', (SELECT b.typname FROM pg_type y JOIN pg_type b ON b.oid = y.typarray WHERE y.oid = (SELECT reltype FROM pg_class WHERE oid = $oid)),
  'parents', (SELECT json_agg(inhparent::regclass::text ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = $oid),
  'children', (SELECT json_agg(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = $oid),
  'leaves', (`+leaves+`),
  'columns', (SELECT json_agg(json_build_object('num', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'category', y.typtype,
      'base', CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace THEN y.typname END,
      'domain', CASE WHEN y.typtype = 'd' THEN (WITH RECURSIVE b AS (
           SELECT y.typbasetype AS oid, y.typtypmod AS mod
           UNION ALL SELECT z.typbasetype, z.typtypmod FROM b JOIN pg_type z ON z.oid = b.oid WHERE z.typtype = 'd')
         SELECT json_build_object('type', format_type(b.oid, b.mod), 'category', z.typtype, 'base', CASE WHEN z.typnamespace = 'pg_catalog'::regnamespace THEN z.typname END)
         FROM b JOIN pg_type z ON z.oid = b.oid WHERE z.typtype <> 'd') END,
      'collation', a.attcollation::bigint, 'collation_name', a.attcollation::regcollation::text, 'own_collation', a.attcollation <> y.typcollation,
      'not_null', a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'generated', a.attgenerated, 'identity', a.attidentity,
      'storage', a.attstorage, 'own_storage', a.attstorage <> y.typstorage, 'compression', a.attcompression, 'target', a.attstattarget,
      'options', a.attoptions, 'comment', col_description(a.attrelid, a.attnum), 'acl', a.attacl::text[]))
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $oid AND a.attnum > 0 AND NOT a.attisdropped),
  'ends', (SELECT json_agg(json_build_object('table', a.attrelid::bigint, 'num', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'collation', a.attcollation::regcollation::text))
    FROM pg_attribute a WHERE (a.attrelid, a.attnum) IN (SELECT conrelid, unnest(conkey) FROM k WHERE contype = 'f' UNION ALL SELECT confrelid, unnest(confkey) FROM k WHERE contype = 'f')),
  'indexes', (SELECT json_agg(json_build_object('oid', i.indexrelid::bigint, 'def', pg_get_indexdef(i.indexrelid), 'unique', i.indisunique, 'primary', i.indisprimary,
      'valid', i.indisvalid AND i.indisready, 'immediate', i.indimmediate, 'partial', i.indpred IS NOT NULL, 'clustered', i.indisclustered, 'replica', i.indisreplident,
      'count', i.indnkeyatts, 'nums', i.indkey::int2[], 'classes', i.indclass::oid[]::bigint[], 'options', i.indoption::int2[], 'collations', i.indcollation::oid[]::bigint[],
      'parent', coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = i.indexrelid), 0)::bigint)) FROM i),
  'classes_of_operators', (SELECT json_agg(json_build_object('oid', o.oid::bigint, 'default', o.opcdefault, 'operators', (
        SELECT json_object_agg(p.amopstrategy, p.amopopr::regoper::text) FROM pg_amop p
        WHERE p.amopfamily = o.opcfamily AND p.amoplefttype = o.opcintype AND p.amoprighttype = o.opcintype AND p.amopstrategy IN (2, 3, 5))))
    FROM pg_opclass o WHERE o.oid = ANY (ARRAY(SELECT unnest(indclass::oid[]) FROM i))),
  'targets', (SELECT json_agg(json_build_object('index', a.attrelid::bigint, 'num', a.attnum, 'target', a.attstattarget))
    FROM pg_attribute a WHERE a.attrelid = ANY (ARRAY(SELECT indexrelid FROM i)) AND a.attstattarget >= 0),
  'constraints', (SELECT json_agg(json_build_object('oid', k.oid::bigint, 'name', k.conname, 'type', k.contype, 'def', CASE WHEN k.contype = 't' THEN '' ELSE pg_get_constraintdef(k.oid) END,
      'validated', k.convalidated, 'deferrable', k.condeferrable, 'deferred', k.condeferred, 'index', k.conindid::bigint, 'inherited', k.coninhcount > 0 OR k.conparentid <> 0, 'period', k.period,
      'table', k.conrelid::bigint, 'to', k.confrelid::bigint, 'from_nums', k.conkey, 'to_nums', k.confkey, 'equals', k.conpfeqop::regoper[]::text[], 'comment', obj_description(k.oid, 'pg_constraint'))) FROM k),
  'statistics', (SELECT json_agg(json_build_object('oid', s.oid::bigint, 'schema', n.nspname, 'name', s.stxname, 'def', pg_get_statisticsobjdef(s.oid),
      'target', s.stxstattarget, 'owner', pg_get_userbyid(s.stxowner), 'comment', obj_description(s.oid, 'pg_statistic_ext')))
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = $oid),
  'sequences', (SELECT json_agg(json_build_object('oid', q.seqrelid::bigint, 'num', q.refobjsubid, 'internal', q.deptype = 'i', 'type', format_type(q.seqtypid, NULL),
      'start', q.seqstart, 'increment', q.seqincrement, 'min', q.seqmin, 'max', q.seqmax, 'cache', q.seqcache, 'cycle', q.seqcycle,
      'users', (SELECT json_agg(pg_describe_object(o.classid, o.objid, o.objsubid)) FROM pg_depend o LEFT JOIN pg_attrdef d ON d.oid = o.objid AND o.classid = 'pg_attrdef'::regclass
         LEFT JOIN pg_class c ON c.oid = d.adrelid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE o.refclassid = 'pg_class'::regclass AND o.refobjid = q.seqrelid AND o.classid <> 'pg_type'::regclass
           AND (d.oid IS NULL OR d.adrelid <> $oid AND n.nspname NOT LIKE 'changeling\_%')))) FROM q),
  'triggers', (SELECT json_agg(json_build_object('name', g.tgname, 'def', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled, 'other', g.tgconstrrelid <> 0,
      'extension', EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_trigger'::regclass AND d.objid = g.oid AND d.refclassid = 'pg_extension'::regclass),
      'denied', NOT has_function_privilege(c.relowner, g.tgfoid, 'EXECUTE'), 'comment', obj_description(g.oid, 'pg_trigger')) ORDER BY g.tgname)
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    WHERE g.tgrelid = $oid AND NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgname NOT LIKE 'changeling\_%' AND g.tgname NOT LIKE '~changeling\_%' AND g.tgname NOT LIKE '!changeling\_%'),
  'clones', (SELECT json_agg(json_build_object('said', 'trigger ' || quote_ident(g.tgname), 'name', g.tgname, 'of', w.tgname, 'enabled', g.tgenabled, 'comment', obj_description(g.oid, 'pg_trigger')) ORDER BY g.tgname)
    FROM pg_trigger g JOIN pg_trigger w ON w.oid = g.tgparentid WHERE g.tgrelid = $oid AND NOT w.tgisinternal AND w.tgname !~ '^[!~]?changeling_'),
  'policies', (`+policiesSQL+`),
  'views', (`+viewsSQL+`),
  'publications', (`+publicationsSQL(version)+`),
  'strangers', (SELECT json_agg(DISTINCT s.what ORDER BY s.what) FROM (`+strangersSQL+schemaPublications+`) s WHERE s.what IS NOT NULL))::text`, "$oid", oid)
}

// keepPlans keeps the plan of a statement with arguments, too, until the transaction ends. It is for transactions that only look into catalogues, where
// one value is as frequent as another.
const keepPlans = "SET LOCAL plan_cache_mode = force_generic_plan"

// strangersSQL lists, in the server's own words, what hangs on a table and that the engine does not carry:
// whatever pg_depend knows less what is known to be carried, so that a kind of object that nobody thought of is refused
// and not lost. Publications and subscriptions of all tables have no entry there and are asked for by name.
const strangersSQL = `
    SELECT CASE WHEN p.classid = 'pg_attrdef'::regclass THEN CASE WHEN d.adrelid <> $oid THEN 'default of another table: ' || pg_describe_object(p.classid, p.objid, 0) END
      WHEN p.classid = 'pg_constraint'::regclass THEN CASE WHEN c.conrelid <> $oid AND c.contype <> 'f' THEN 'constraint of another object: ' || pg_describe_object(p.classid, p.objid, 0) END
      WHEN p.classid = 'pg_trigger'::regclass THEN CASE WHEN NOT g.tgisinternal AND (g.tgrelid <> $oid OR g.tgname NOT LIKE 'changeling\_%' AND g.tgname NOT LIKE '~changeling\_%' AND g.tgname NOT LIKE '!changeling\_%') THEN 'trigger ' || quote_ident(g.tgname) ||
        CASE WHEN g.tgrelid <> $oid THEN ' of ' || g.tgrelid::regclass::text ELSE '' END END
      WHEN p.classid = 'pg_class'::regclass AND (p.objid = t.oid OR p.objid = t.reltoastrelid OR x.indrelid = t.oid OR p.deptype IN ('a', 'i') AND EXISTS (SELECT FROM q WHERE q.seqrelid = p.objid)) THEN NULL
      WHEN p.classid = 'pg_type'::regclass AND p.objid IN (t.reltype, y.typarray) THEN NULL
      ELSE pg_describe_object(p.classid, p.objid, p.objsubid) END AS what
    FROM pg_class t LEFT JOIN pg_type y ON y.oid = t.reltype
      JOIN pg_depend p ON p.refclassid IN ('pg_class'::regclass, 'pg_type'::regclass) AND p.refobjid IN (t.oid, t.reltype, y.typarray)
        AND (p.refclassid = 'pg_class'::regclass) = (p.refobjid = t.oid) AND p.refobjid <> 0
      LEFT JOIN pg_attrdef d ON d.oid = p.objid LEFT JOIN pg_constraint c ON c.oid = p.objid LEFT JOIN pg_trigger g ON g.oid = p.objid LEFT JOIN pg_index x ON x.indexrelid = p.objid
    WHERE t.oid = $oid AND p.classid NOT IN ('pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass)
    UNION ALL SELECT DISTINCT 'triggers of constraint ' || quote_ident(k.conname) || ' that somebody switched off, so that it does not hold (ALTER TABLE … ENABLE TRIGGER ALL)' FROM k JOIN pg_trigger g ON g.tgconstraint = k.oid
      WHERE g.tgisinternal AND g.tgenabled <> 'O'
    UNION ALL SELECT 'publication ' || quote_ident(p.pubname) FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $oid
    UNION ALL SELECT 'publication ' || quote_ident(pubname) || ' for all tables' FROM pg_publication WHERE puballtables
    UNION ALL SELECT 'a subscription that writes into it' FROM pg_subscription_rel WHERE srrelid = $oid
    UNION ALL SELECT 'security label of provider ' || provider FROM pg_seclabel WHERE objoid = $oid AND classoid = 'pg_class'::regclass
    UNION ALL SELECT 'extension ' || quote_ident(e.extname) || ', which owns it' FROM pg_depend p JOIN pg_extension e ON e.oid = p.refobjid
      WHERE p.classid = 'pg_class'::regclass AND p.objid = $oid AND p.refclassid = 'pg_extension'::regclass AND p.deptype = 'e'`

// catalogue is what catalogueSQL answers.
type catalogue struct {
	Version    int           `json:"version"`
	BlockSize  int64         `json:"block_size"`
	Classes    []class       `json:"classes"`
	Bytes      int64         `json:"bytes"`
	ArrayType  string        `json:"array_type"`
	Parents    []string      `json:"parents"`
	Children   []string      `json:"children"`
	Leaves     []string      `json:"leaves"`
	Columns    []attribute   `json:"columns"`
	Ends       []end         `json:"ends"`
	Indexes    []indexRow    `json:"indexes"`
	Operators  []opclass     `json:"classes_of_operators"`
	Targets    []target      `json:"targets"`
	Keys       []constraint  `json:"constraints"`
	Statistics []Statistics  `json:"statistics"`
	Sequences  []sequenceRow `json:"sequences"`
	Triggers   []Trigger     `json:"triggers"`
	Clones     []Clone       `json:"clones"`
	Policies   []Policy      `json:"policies"`
	Views      []View        `json:"views"`
	Published  []Publication `json:"publications"`
	Strangers  []string      `json:"strangers"`
}

// class is a row of pg_class: the table, its TOAST table, its indexes and sequences, and the tables at other ends of foreign keys.
type class struct {
	OID         uint32   `json:"oid"`
	Schema      string   `json:"schema"`
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	Persistence string   `json:"persistence"`
	Owner       string   `json:"owner"`
	Tablespace  string   `json:"tablespace"`
	Access      string   `json:"access"`
	Options     []string `json:"options"`
	ACL         []string `json:"acl"`
	Toast       uint32   `json:"toast"`
	Identity    string   `json:"identity"`
	Security    bool     `json:"security"`
	Secured     bool     `json:"secured"`
	Forced      bool     `json:"forced"`
	Bypass      bool     `json:"bypass"`
	Typed       bool     `json:"typed"`
	Tuples      float64  `json:"tuples"`
	Pages       float64  `json:"pages"`
	FileNode    int64    `json:"filenode"`
	Comment     *string  `json:"comment"`
	Bytes       int64    `json:"bytes"`
}

type attribute struct {
	Num           int      `json:"num"`
	Name          string   `json:"name"`
	Type          string   `json:"type"`
	Category      string   `json:"category"` // typtype
	Base          string   `json:"base"`     // name of a type of the server's own
	Domain        *domain  `json:"domain"`
	Collation     uint32   `json:"collation"`
	CollationName string   `json:"collation_name"`
	OwnCollation  bool     `json:"own_collation"` // it is not the type's
	NotNull       bool     `json:"not_null"`
	Default       *string  `json:"default"`
	Generated     string   `json:"generated"`
	Identity      string   `json:"identity"`
	Storage       string   `json:"storage"`
	OwnStorage    bool     `json:"own_storage"`
	Compression   string   `json:"compression"`
	Target        *int     `json:"target"`
	Options       []string `json:"options"`
	Comment       *string  `json:"comment"`
	ACL           []string `json:"acl"`
}

// domain is the type below a domain and the domains below it.
type domain struct {
	Type     string `json:"type"`
	Category string `json:"category"`
	Base     string `json:"base"`
}

// end is a column at one end of a foreign key.
type end struct {
	Table     uint32 `json:"table"`
	Num       int    `json:"num"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	Collation string `json:"collation"`
}

type indexRow struct {
	Index
	Count      int      `json:"count"` // of key columns
	Nums       []int    `json:"nums"`
	Classes    []uint32 `json:"classes"`
	Options    []int    `json:"options"`
	Collations []uint32 `json:"collations"`
}

type opclass struct {
	OID       uint32            `json:"oid"`
	Default   bool              `json:"default"`
	Operators map[string]string `json:"operators"` // by strategy
}

type target struct {
	Index  uint32 `json:"index"`
	Num    int    `json:"num"`
	Target int    `json:"target"`
}

type constraint struct {
	Constraint
	On       uint32 `json:"table"`
	To       uint32 `json:"to"`
	FromNums []int  `json:"from_nums"`
	ToNums   []int  `json:"to_nums"`
}

type sequenceRow struct {
	Sequence
	Num   int      `json:"num"`
	Users []string `json:"users"`
}

// relation puts the rows together. It answers nil if the table is not there.
func (c *catalogue) relation(oid uint32) *Relation {
	t := c.class(oid)
	if t == nil {
		return nil
	}
	r := &Relation{
		Version: c.Version, OID: oid, Schema: t.Schema, Name: t.Name, Kind: t.Kind, Persistence: t.Persistence, Owner: t.Owner, Tablespace: t.Tablespace,
		Access: t.Access, Options: t.Options, Identity: t.Identity, Security: t.Security, Typed: t.Typed, Parents: c.Parents, Children: c.Children, Leaves: c.Leaves,
		Comment: t.Comment, Grants: parseACL(t.ACL), ArrayType: c.ArrayType, Pages: t.Bytes / max(c.BlockSize, 1), Rows: t.Bytes / 100, Bytes: c.Bytes,
		FileNode: t.FileNode, Triggers: c.Triggers, Clones: c.Clones, Secured: t.Secured, Forced: t.Forced, Bypass: t.Bypass, Policies: c.Policies, Views: c.Views, Publications: c.Published, Strangers: c.Strangers,
	}
	for i := range r.Policies {
		r.Policies[i].on = schema.Name{Schema: r.Schema, Table: r.Name}
	}
	if toast := c.class(t.Toast); toast != nil {
		r.ToastOptions = toast.Options
	}
	if t.Tuples > 0 && t.Pages > 0 {
		r.Rows = int64(t.Tuples * float64(r.Pages) / t.Pages)
	}
	r.Withheld = withheld(r)
	for _, a := range c.Columns {
		r.Columns = append(r.Columns, a.column())
	}
	slices.SortFunc(r.Columns, func(a, b Column) int { return cmp.Compare(a.Num, b.Num) })
	for _, x := range c.Indexes {
		r.Indexes = append(r.Indexes, c.index(x))
	}
	slices.SortFunc(r.Indexes, func(a, b Index) int { return cmp.Compare(a.Name, b.Name) })
	for _, k := range c.Keys {
		switch {
		case k.Type == "n":
			if column := r.column(k.FromNums[0]); column != nil {
				column.NotNullName, column.NotNullDef, column.NotNullNote = k.Name, k.Def, k.Comment
			}
		case k.On == oid:
			r.Constraints = append(r.Constraints, c.constraint(k))
		default:
			r.References = append(r.References, c.constraint(k))
		}
	}
	byName := func(a, b Constraint) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(r.Constraints, byName)
	slices.SortFunc(r.References, byName)
	for _, s := range c.Statistics {
		s.Target = set(s.Target)
		r.Statistics = append(r.Statistics, s)
	}
	slices.SortFunc(r.Statistics, func(a, b Statistics) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Schema, b.Schema)) })
	for _, q := range c.Sequences {
		r.Sequences = append(r.Sequences, c.sequence(q, r))
		if q.Internal {
			for _, user := range q.Users {
				r.Strangers = append(r.Strangers, "use of its identity sequence "+c.class(q.OID).Name+" by "+user)
			}
		}
	}
	slices.SortFunc(r.Sequences, func(a, b Sequence) int { return cmp.Compare(a.Name, b.Name) })
	if r.Security {
		r.Strangers = append(r.Strangers, rowLevel)
	}
	slices.Sort(r.Strangers)
	slices.Sort(r.Children)
	return r
}

func (c *catalogue) class(oid uint32) *class {
	i := slices.IndexFunc(c.Classes, func(c class) bool { return c.OID == oid })
	if i < 0 {
		return nil
	}
	return &c.Classes[i]
}

func (a attribute) column() Column {
	out := Column{
		Num: a.Num, Name: a.Name, Type: a.Type, Plain: a.Type, Collates: fmt.Sprint(a.Collation), NotNull: a.NotNull, Default: a.Default,
		Generated: a.Generated, Identity: a.Identity, Target: set(a.Target), Comment: a.Comment, Grants: parseACL(a.ACL),
		Compression: map[string]string{"p": "pglz", "l": "lz4"}[a.Compression],
	}
	below := domain{Type: a.Type, Category: a.Category, Base: a.Base}
	if a.Domain != nil {
		below = *a.Domain
	}
	out.Base, out.Plain = below.Base, below.Type+collate(a.CollationName)
	if below.Category == "e" {
		out.Base = "enum"
	}
	out.Base = cmp.Or(out.Base, "other")
	if a.OwnCollation && a.Collation != 0 {
		out.Collation = qualifiedByServer(a.CollationName)
	}
	if a.OwnStorage {
		out.Storage = map[string]string{"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}[a.Storage]
	}
	for _, o := range a.Options {
		if strings.HasPrefix(o, "n_distinct") { // the server keeps others for itself there
			out.Options = append(out.Options, o)
		}
	}
	return out
}

// collate is the clause for a collation that is not the database's own.
func collate(name string) string {
	if name == "-" || name == `"default"` {
		return ""
	}
	return " COLLATE " + qualifiedByServer(name)
}

// qualifiedByServer is a name as the server writes it under our search path: without a schema it is one of pg_catalog.
func qualifiedByServer(name string) string {
	quoted := false
	for _, c := range name {
		if c == '"' {
			quoted = !quoted
		}
		if c == '.' && !quoted {
			return name
		}
	}
	return "pg_catalog." + name
}

// set is a statistics target that was set. Before PostgreSQL 17 one that was not is -1, and NULL from then on.
func set(target *int) *int {
	if target != nil && *target < 0 {
		return nil
	}
	return target
}

func (c *catalogue) index(x indexRow) Index {
	out := x.Index
	if own := c.class(x.OID); own != nil {
		out.Name, out.Method, out.Tablespace, out.Parameters = own.Name, own.Access, own.Tablespace, own.Options
		out.Bytes, out.FileNode, out.Comment = own.Bytes, own.FileNode, own.Comment
	}
	for i := range x.Count {
		k := IndexKey{Num: x.Nums[i], Desc: x.Options[i]&1 == 1}
		if o := slices.IndexFunc(c.Operators, func(o opclass) bool { return o.OID == x.Classes[i] }); o >= 0 {
			operators := c.Operators[o].Operators
			// The strategies of a B-tree (manual, B-Tree Operator Classes).
			k.Equal, k.Above, k.Upto, k.Default = operator(operators["3"]), operator(operators["5"]), operator(operators["2"]), c.Operators[o].Default
		}
		if a := slices.IndexFunc(c.Columns, func(a attribute) bool { return a.Num == k.Num }); a >= 0 {
			k.Default = k.Default && c.Columns[a].Collation == x.Collations[i]
		}
		out.Keys = append(out.Keys, k)
	}
	for _, t := range c.Targets {
		if t.Index == x.OID {
			if out.Targets == nil {
				out.Targets = map[int]int{}
			}
			out.Targets[t.Num] = t.Target
		}
	}
	return out
}

// operator is an operator that no search path can change the meaning of.
func operator(name string) string {
	if name == "" {
		return ""
	}
	return "OPERATOR(" + qualifiedByServer(name) + ")"
}

func (c *catalogue) constraint(k constraint) Constraint {
	out := k.Constraint
	if on := c.class(k.On); on != nil {
		out.TableOID, out.Schema, out.Table, out.TableKind, out.Unlogged = on.OID, on.Schema, on.Name, on.Kind, on.Persistence == "u"
	}
	if k.Type != "f" {
		return out
	}
	if to := c.class(k.To); to != nil {
		out.ToOID, out.ToSchema, out.ToTable, out.ToKind, out.ToLogged = to.OID, to.Schema, to.Name, to.Kind, to.Persistence != "u"
	}
	ends := func(table uint32, nums []int) (names, types []string) {
		for _, n := range nums {
			if i := slices.IndexFunc(c.Ends, func(e end) bool { return e.Table == table && e.Num == n }); i >= 0 {
				names, types = append(names, c.Ends[i].Name), append(types, c.Ends[i].Type+collate(c.Ends[i].Collation))
			}
		}
		return names, types
	}
	out.From, out.Types = ends(k.On, k.FromNums)
	out.Refers, out.ToTypes = ends(k.To, k.ToNums)
	for i := range out.Equals {
		out.Equals[i] = operator(out.Equals[i])
	}
	return out
}

func (c *catalogue) sequence(q sequenceRow, r *Relation) Sequence {
	out := q.Sequence
	out.Users = len(q.Users)
	if own := c.class(q.OID); own != nil {
		out.Schema, out.Name, out.Unlogged, out.Comment, out.Grants = own.Schema, own.Name, own.Persistence == "u", own.Comment, parseACL(own.ACL)
	}
	if column := r.column(q.Num); column != nil {
		out.Column = column.Name
	}
	return out
}
