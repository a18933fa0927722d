package postgres

import "github.com/changeling-db/changeling/internal/journal"

// JobText is the SQL of backfill jobs.
func JobText() journal.JobText {
	return journal.JobText{
		Schema: []string{
			`CREATE TABLE IF NOT EXISTS changeling.job (id bigint GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, table_name text NOT NULL, spec text NOT NULL,
  status text NOT NULL DEFAULT 'pending', want text NOT NULL DEFAULT '', after text NOT NULL DEFAULT '', upto text NOT NULL DEFAULT '', row_count bigint NOT NULL DEFAULT 0,
  error text NOT NULL DEFAULT '', probes bigint NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
			`CREATE TABLE IF NOT EXISTS changeling.job_error (name text NOT NULL, key text NOT NULL, error text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (name, key))`,
		},
		Exists: `SELECT pg_catalog.to_regclass('changeling.job_error') IS NOT NULL`,
		Insert: `INSERT INTO changeling.job (name, table_name, spec) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Select: `SELECT name, table_name, spec, status, want, after, upto, row_count, (SELECT count(*) FROM changeling.job_error e WHERE e.name = j.name), error
FROM changeling.job j WHERE name LIKE $1::text ORDER BY id`,
		Start: `UPDATE changeling.job SET upto = $2::text WHERE name = $1::text`,
		Move:  `UPDATE changeling.job SET after = $2::text, row_count = row_count + $3::bigint, updated_at = clock_timestamp() WHERE name = $1::text`,
		State: `UPDATE changeling.job SET status = $2::text, error = $3::text, updated_at = clock_timestamp() WHERE name = $1::text`,
		Want:  `UPDATE changeling.job SET want = $2::text WHERE name = $1::text`,
		Bad:   `INSERT INTO changeling.job_error (name, key, error) VALUES ($1::text, $2::text, $3::text) ON CONFLICT DO NOTHING`,
		Probe: `UPDATE changeling.job SET probes = probes + 1 WHERE name = $1::text`,
		Keys: `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), false
FROM pg_catalog.pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY k(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
WHERE i.indisprimary AND i.indrelid = pg_catalog.to_regclass(CASE WHEN $1::text = '' THEN '' ELSE pg_catalog.quote_ident($1::text) || '.' END || pg_catalog.quote_ident($2::text)) ORDER BY k.o`,
	}
}
