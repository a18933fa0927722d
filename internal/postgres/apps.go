package postgres

import "github.com/changeling-db/changeling/internal/journal"

// AppText is the SQL of the register of applications.
func AppText() journal.AppText {
	return journal.AppText{
		Schema: `CREATE TABLE IF NOT EXISTS changeling.migration_app (tree text NOT NULL, app text NOT NULL, instance text NOT NULL, version text NOT NULL,
  until timestamptz NOT NULL, PRIMARY KEY (tree, app, instance))`,
		Exists: `SELECT pg_catalog.to_regclass('changeling.migration_app') IS NOT NULL`,
		Save: `INSERT INTO changeling.migration_app (tree, app, instance, version, until)
VALUES ($1::text, $2::text, $3::text, $4::text, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $5::float8))
ON CONFLICT (tree, app, instance) DO UPDATE SET version = excluded.version, until = excluded.until`,
		Delete: `DELETE FROM changeling.migration_app WHERE tree OPERATOR(pg_catalog.=) $1::text AND app OPERATOR(pg_catalog.=) $2::text AND instance OPERATOR(pg_catalog.=) $3::text`,
		Select: `SELECT app, instance, version, extract(epoch FROM until)::float8 FROM changeling.migration_app
WHERE tree OPERATOR(pg_catalog.=) $1::text AND until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() ORDER BY app, instance`,
	}
}
