package postgres

import (
	"fmt"
	"time"

	"github.com/changeling-db/changeling/internal/journal"
)

// JournalText is the SQL of the journal of migrations. Its claim works as that of a change does, on tables of its own.
//
// Most of it runs with the search path of the user's own statements, which stand in the same transactions: so functions and
// operators are qualified, as in StateText. IN, USING of a join, and CASE with an operand look for an operator, too, and are not used.
func JournalText() journal.Text {
	t := StateText()
	lease(&t, "changeling.migration_claim", "changeling.migration_progress", "'', false, ''", "")
	// Definitions read alike under one path only, so they are asked for under the pinned one.
	const users = `n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname !~ '^changeling'`
	return journal.Text{
		Schema: []string{
			`CREATE SCHEMA IF NOT EXISTS changeling`,
			`CREATE TABLE IF NOT EXISTS changeling.migration (tree text NOT NULL, version text NOT NULL, name text NOT NULL,
  exact text NOT NULL, normal text NOT NULL, status text NOT NULL, origin text NOT NULL, applied_by text NOT NULL, error text NOT NULL, took_ms float8 NOT NULL,
  started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), finished_at timestamptz, PRIMARY KEY (tree, version))`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_step (tree text NOT NULL, version text NOT NULL, direction text NOT NULL, seq int NOT NULL,
  hash text NOT NULL, statement text NOT NULL, done boolean NOT NULL DEFAULT false, before text NOT NULL, change_id text NOT NULL DEFAULT '', attempts int NOT NULL DEFAULT 1,
  started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), finished_at timestamptz, PRIMARY KEY (tree, version, direction, seq))`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_claim (
  change_id text PRIMARY KEY, token bigint NOT NULL DEFAULT 0, owner text NOT NULL DEFAULT '')`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_progress (
  change_id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), pid int NOT NULL DEFAULT 0, started timestamptz,
  pending bigint NOT NULL DEFAULT 0, reason text NOT NULL DEFAULT '')`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tree text NOT NULL, version text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), what text NOT NULL, by_whom text NOT NULL, took_ms float8 NOT NULL, detail text NOT NULL)`,
		},
		Exists: `SELECT pg_catalog.to_regclass('changeling.migration_history') IS NOT NULL`,
		Scope:  `SELECT ''`,
		Enter: `WITH entered AS (INSERT INTO changeling.migration_progress (change_id) VALUES ($1::text) ON CONFLICT DO NOTHING)
INSERT INTO changeling.migration_claim (change_id) VALUES ($1::text) ON CONFLICT DO NOTHING`,
		Rows: `SELECT version, name, exact, normal, status, origin, applied_by, error, took_ms, extract(epoch FROM started_at)::float8, coalesce(extract(epoch FROM finished_at), 0)::float8
FROM changeling.migration WHERE tree OPERATOR(pg_catalog.=) $1::text`,
		Save: `INSERT INTO changeling.migration (tree, version, name, exact, normal, status, origin, applied_by, error, took_ms, finished_at)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, $10::float8, CASE WHEN $6::text OPERATOR(pg_catalog.=) ANY (ARRAY['applied', 'baseline']) THEN pg_catalog.clock_timestamp() END)
ON CONFLICT (tree, version) DO UPDATE SET name = excluded.name, exact = excluded.exact, normal = excluded.normal, status = excluded.status, origin = excluded.origin,
  applied_by = excluded.applied_by, error = excluded.error, took_ms = excluded.took_ms, finished_at = excluded.finished_at`,
		Forget: `DELETE FROM changeling.migration WHERE tree OPERATOR(pg_catalog.=) $1::text AND version OPERATOR(pg_catalog.=) $2::text`,
		Steps: `SELECT direction, seq, hash, statement, done, before, change_id, attempts FROM changeling.migration_step
WHERE tree OPERATOR(pg_catalog.=) $1::text AND version OPERATOR(pg_catalog.=) $2::text`,
		StepBegin: `INSERT INTO changeling.migration_step (tree, version, direction, seq, hash, statement, before)
VALUES ($1::text, $2::text, $3::text, $4::int, $5::text, $6::text, $7::text)
ON CONFLICT (tree, version, direction, seq) DO UPDATE SET hash = excluded.hash, statement = excluded.statement, before = excluded.before,
  attempts = changeling.migration_step.attempts OPERATOR(pg_catalog.+) 1, started_at = pg_catalog.clock_timestamp()`,
		StepDone: `UPDATE changeling.migration_step SET done = true, finished_at = pg_catalog.clock_timestamp()
WHERE tree OPERATOR(pg_catalog.=) $1::text AND version OPERATOR(pg_catalog.=) $2::text AND direction OPERATOR(pg_catalog.=) $3::text AND seq OPERATOR(pg_catalog.=) $4::int`,
		SetChange: `UPDATE changeling.migration_step SET change_id = $5::text WHERE tree OPERATOR(pg_catalog.=) $1::text AND version OPERATOR(pg_catalog.=) $2::text AND direction OPERATOR(pg_catalog.=) $3::text AND seq OPERATOR(pg_catalog.=) $4::int`,
		Clear:     `DELETE FROM changeling.migration_step WHERE tree OPERATOR(pg_catalog.=) $1::text AND version OPERATOR(pg_catalog.=) $2::text`,
		Open:      `SELECT tree, change_id FROM changeling.migration_step WHERE tree OPERATOR(pg_catalog.~~) $1::text AND change_id OPERATOR(pg_catalog.<>) '' AND NOT done ORDER BY started_at`,
		Erase:     journal.Erasing(" OPERATOR(pg_catalog.=) $1::text"),
		Note: `INSERT INTO changeling.migration_history (tree, version, what, by_whom, took_ms, detail)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::float8, $6::text)`,
		History: `SELECT extract(epoch FROM at)::float8, version, what, by_whom, took_ms, detail FROM changeling.migration_history WHERE tree OPERATOR(pg_catalog.=) $1::text ORDER BY id DESC`,
		Owner: `SELECT l.owner, l.owner OPERATOR(pg_catalog.<>) '' AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) p.pid AND (a.backend_start OPERATOR(pg_catalog.=) p.started OR a.backend_start IS NULL))
FROM changeling.migration_claim l JOIN changeling.migration_progress p ON p.change_id OPERATOR(pg_catalog.=) l.change_id WHERE l.change_id OPERATOR(pg_catalog.=) $1::text`,
		Lease: t,
		Pin:   Ours(),
		Describe: []string{
			`SELECT format('%s %I.%I%s', CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END, n.nspname, c.relname,
  CASE WHEN c.relkind IN ('v', 'm') THEN ' AS ' || pg_get_viewdef(c.oid) ELSE '' END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND ` + users + ` ORDER BY 1`,
			`SELECT format('column %I.%I.%I %s%s%s%s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
  ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), CASE a.attidentity WHEN '' THEN '' ELSE ' identity ' || a.attidentity::text END)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND ` + users + ` ORDER BY 1`,
			`SELECT format('index %s%s', pg_get_indexdef(i.indexrelid), CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + users + ` ORDER BY 1`,
			`SELECT format('constraint %I on %I.%I: %s', k.conname, n.nspname, c.relname, pg_get_constraintdef(k.oid))
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype <> 'n' AND ` + users + ` ORDER BY 1`,
			`SELECT format('function %s', pg_get_functiondef(p.oid)) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p') AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') AND ` + users + ` ORDER BY 1`,
			`SELECT format('trigger %s', pg_get_triggerdef(g.oid)) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND g.tgname !~ '^changeling' AND ` + users + ` ORDER BY 1`,
			`SELECT format('type %I.%I: %s', n.nspname, y.typname, coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid), y.typtype::text))
FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace WHERE y.typtype IN ('e', 'd') AND ` + users + ` ORDER BY 1`,
		},
		Table: `SELECT pg_catalog.to_regclass(CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.quote_ident($1::text) OPERATOR(pg_catalog.||) '.' END OPERATOR(pg_catalog.||) pg_catalog.quote_ident($2::text)) IS NOT NULL,
  coalesce(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.quote_ident($1::text) OPERATOR(pg_catalog.||) '.' END OPERATOR(pg_catalog.||) pg_catalog.quote_ident($2::text))), 0)`,
		Columns: `SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(pg_catalog.quote_ident($1::text)) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) a.attrelid AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::"char"[]))`,
		Bound: func(wait time.Duration) string {
			return fmt.Sprintf("SET LOCAL lock_timeout = %d", max(wait.Milliseconds(), 1))
		},
	}
}

// ValidIndex answers whether an index of this name is there, and whether it is valid: schema or empty, name. A build that was
// interrupted leaves one that is not, and IF NOT EXISTS takes it for the whole.
const ValidIndex = `SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0, coalesce(pg_catalog.bool_and(i.indisvalid), false) FROM pg_catalog.pg_index i
WHERE i.indexrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.quote_ident($1::text) OPERATOR(pg_catalog.||) '.' END OPERATOR(pg_catalog.||) pg_catalog.quote_ident($2::text))`
