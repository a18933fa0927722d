package postgres

import (
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/journal"
)

// found is the table of the arguments 1, a schema or empty, and 2.
const found = `pg_catalog.to_regclass(CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.quote_ident($1::text) OPERATOR(pg_catalog.||) '.' END OPERATOR(pg_catalog.||) pg_catalog.quote_ident($2::text))`

// JobText is the SQL of backfill jobs; it is qualified as that of JournalText.
func JobText() journal.JobText {
	return journal.JobText{
		Schema: []string{
			`CREATE TABLE IF NOT EXISTS changeling.job (id bigint GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, table_name text NOT NULL, spec text NOT NULL,
  status text NOT NULL DEFAULT 'pending', want text NOT NULL DEFAULT '', after text NOT NULL DEFAULT '', upto text NOT NULL DEFAULT '', row_count bigint NOT NULL DEFAULT 0,
  error text NOT NULL DEFAULT '', probes bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  seen bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, busy float8 NOT NULL DEFAULT 0)`,
			`CREATE TABLE IF NOT EXISTS changeling.job_error (name text NOT NULL, key text NOT NULL, error text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), PRIMARY KEY (name, key))`,
		},
		Exists:  `SELECT pg_catalog.to_regclass('changeling.job_error') IS NOT NULL`,
		Current: `SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('changeling.job') AND attname OPERATOR(pg_catalog.=) 'busy')`,
		Newer:   `ALTER TABLE changeling.job ADD COLUMN IF NOT EXISTS seen bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS total bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS busy float8 NOT NULL DEFAULT 0`,
		Insert:  `INSERT INTO changeling.job (name, table_name, spec) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Select: `SELECT name, table_name, spec, status, want, after, upto, row_count, (SELECT pg_catalog.count(*) FROM changeling.job_error e WHERE e.name OPERATOR(pg_catalog.=) j.name), error,
  extract(epoch FROM updated_at)::float8, extract(epoch FROM pg_catalog.clock_timestamp())::float8, seen, total, busy
FROM changeling.job j WHERE name OPERATOR(pg_catalog.~~) $1::text ORDER BY id`,
		Start: `UPDATE changeling.job SET upto = $2::text WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Again: `UPDATE changeling.job SET status = 'pending', after = '', upto = '', row_count = 0, seen = 0, total = 0, busy = 0, error = '' WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Move:  `UPDATE changeling.job SET after = $2::text, row_count = row_count OPERATOR(pg_catalog.+) $3::bigint, seen = $4::bigint, total = $5::bigint, busy = busy OPERATOR(pg_catalog.+) $6::float8, updated_at = pg_catalog.clock_timestamp() WHERE name OPERATOR(pg_catalog.=) $1::text`,
		State: `UPDATE changeling.job SET status = $2::text, error = $3::text, updated_at = pg_catalog.clock_timestamp() WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Want:  `UPDATE changeling.job SET want = $2::text WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Bad:   `INSERT INTO changeling.job_error (name, key, error) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Probe: `UPDATE changeling.job SET probes = probes OPERATOR(pg_catalog.+) 1 WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Beats: func(name string) string {
			return `SELECT probes FROM changeling.job WHERE name OPERATOR(pg_catalog.=) ` + ident.Literal(name)
		},
		Analyzed: `SELECT EXISTS (SELECT FROM pg_catalog.pg_stats s JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) s.schemaname
  JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relname OPERATOR(pg_catalog.=) s.tablename
  WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1::text) AND s.attname OPERATOR(pg_catalog.=) $2::name AND s.histogram_bounds IS NOT NULL)`,
		KeyIndex: `SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
WHERE i.indisprimary AND i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1::text)`,
		Tied: `SELECT pg_catalog.string_agg(c.conname::text, ', ' ORDER BY c.conname) FROM pg_catalog.pg_constraint c, pg_catalog.to_regclass($1::text) t (id)
WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND CASE WHEN $2::text OPERATOR(pg_catalog.=) '' THEN c.confrelid OPERATOR(pg_catalog.=) t.id::oid ELSE EXISTS (
  SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) t.id::oid AND a.attname::text OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array($2::text, E'\n'))
    AND (c.conrelid OPERATOR(pg_catalog.=) t.id::oid AND a.attnum OPERATOR(pg_catalog.=) ANY (c.conkey) OR c.confrelid OPERATOR(pg_catalog.=) t.id::oid AND a.attnum OPERATOR(pg_catalog.=) ANY (c.confkey))) END`,
		Triggers: `SELECT g.tgname::text FROM pg_catalog.pg_trigger g WHERE g.tgrelid OPERATOR(pg_catalog.=) ` + found + `
  AND NOT g.tgisinternal AND g.tgenabled OPERATOR(pg_catalog.=) ANY (CASE WHEN $4::boolean THEN ARRAY['A', 'R'] ELSE ARRAY['A', 'O'] END::"char"[])
  AND g.tgtype::integer OPERATOR(pg_catalog.&) CASE WHEN $3::boolean THEN 8 ELSE 16 END OPERATOR(pg_catalog.>) 0 ORDER BY g.tgname`,
		// The operators are those of the key's index, so that an order of another schema's making is kept, and none comes from a search path.
		Keys: `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), false,
  (SELECT pg_catalog.string_agg(pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname), E'\n' ORDER BY p.amopstrategy) FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_amop p ON p.amopfamily OPERATOR(pg_catalog.=) c.opcfamily AND p.amoplefttype OPERATOR(pg_catalog.=) c.opcintype AND p.amoprighttype OPERATOR(pg_catalog.=) c.opcintype
    JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) p.amopopr JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) i.indclass[k.o OPERATOR(pg_catalog.-) 1] AND p.amoppurpose OPERATOR(pg_catalog.=) 's')
FROM pg_catalog.pg_index i CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) k.n
WHERE i.indisprimary AND k.o OPERATOR(pg_catalog.<=) i.indnkeyatts AND i.indrelid OPERATOR(pg_catalog.=) ` + found + ` ORDER BY k.o`,
	}
}
