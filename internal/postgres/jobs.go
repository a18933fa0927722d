package postgres

import (
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/journal"
)

// JobText is the SQL of backfill jobs; it is qualified as that of JournalText.
func JobText() journal.JobText {
	return journal.JobText{
		Schema: []string{
			`CREATE TABLE IF NOT EXISTS changeling.job (id bigint GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, table_name text NOT NULL, spec text NOT NULL,
  status text NOT NULL DEFAULT 'pending', want text NOT NULL DEFAULT '', after text NOT NULL DEFAULT '', upto text NOT NULL DEFAULT '', row_count bigint NOT NULL DEFAULT 0,
  error text NOT NULL DEFAULT '', probes bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())`,
			`CREATE TABLE IF NOT EXISTS changeling.job_error (name text NOT NULL, key text NOT NULL, error text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), PRIMARY KEY (name, key))`,
		},
		Exists: `SELECT pg_catalog.to_regclass('changeling.job_error') IS NOT NULL`,
		Insert: `INSERT INTO changeling.job (name, table_name, spec) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Select: `SELECT name, table_name, spec, status, want, after, upto, row_count, (SELECT pg_catalog.count(*) FROM changeling.job_error e WHERE e.name OPERATOR(pg_catalog.=) j.name), error,
  extract(epoch FROM updated_at)::float8, extract(epoch FROM pg_catalog.clock_timestamp())::float8
FROM changeling.job j WHERE name OPERATOR(pg_catalog.~~) $1::text ORDER BY id`,
		Start: `UPDATE changeling.job SET upto = $2::text WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Again: `UPDATE changeling.job SET status = 'pending', after = '', upto = '', row_count = 0, error = '' WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Move:  `UPDATE changeling.job SET after = $2::text, row_count = row_count OPERATOR(pg_catalog.+) $3::bigint, updated_at = pg_catalog.clock_timestamp() WHERE name OPERATOR(pg_catalog.=) $1::text`,
		State: `UPDATE changeling.job SET status = $2::text, error = $3::text, updated_at = pg_catalog.clock_timestamp() WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Want:  `UPDATE changeling.job SET want = $2::text WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Bad:   `INSERT INTO changeling.job_error (name, key, error) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Probe: `UPDATE changeling.job SET probes = probes OPERATOR(pg_catalog.+) 1 WHERE name OPERATOR(pg_catalog.=) $1::text`,
		Beats: func(name string) string {
			return `SELECT probes FROM changeling.job WHERE name OPERATOR(pg_catalog.=) ` + ident.Literal(name)
		},
		// The operators are those of the key's index, so that an order of another schema's making is kept, and none comes from a search path.
		Keys: `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), false,
  (SELECT pg_catalog.string_agg(pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname), E'\n' ORDER BY p.amopstrategy) FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_amop p ON p.amopfamily OPERATOR(pg_catalog.=) c.opcfamily AND p.amoplefttype OPERATOR(pg_catalog.=) c.opcintype AND p.amoprighttype OPERATOR(pg_catalog.=) c.opcintype
    JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) p.amopopr JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) i.indclass[k.o OPERATOR(pg_catalog.-) 1] AND p.amoppurpose OPERATOR(pg_catalog.=) 's')
FROM pg_catalog.pg_index i CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) k.n
WHERE i.indisprimary AND k.o OPERATOR(pg_catalog.<=) i.indnkeyatts AND i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN '' ELSE pg_catalog.quote_ident($1::text) OPERATOR(pg_catalog.||) '.' END OPERATOR(pg_catalog.||) pg_catalog.quote_ident($2::text)) ORDER BY k.o`,
	}
}
