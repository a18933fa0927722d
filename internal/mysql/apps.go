package mysql

import "github.com/changeling-db/changeling/internal/journal"

// AppText is the SQL of the register of applications.
func AppText() journal.AppText {
	const now = "UTC_TIMESTAMP(6)"
	return journal.AppText{
		Schema: `CREATE TABLE IF NOT EXISTS changeling.migration_app (tree varchar(140) NOT NULL, app varchar(60) NOT NULL, instance varchar(100) NOT NULL, version varchar(60) NOT NULL,
  until datetime(6) NOT NULL, PRIMARY KEY (tree, app, instance)) ENGINE=InnoDB`,
		Exists: `SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'migration_app')`,
		Save: "INSERT INTO changeling.migration_app (tree, app, instance, version, until) VALUES ($1, $2, $3, $4, TIMESTAMPADD(MICROSECOND, 1e6 * $5, " + now + "))\n" +
			"ON DUPLICATE KEY UPDATE version = $4, until = TIMESTAMPADD(MICROSECOND, 1e6 * $5, " + now + ")",
		Delete: `DELETE FROM changeling.migration_app WHERE tree = $1 AND app = $2 AND instance = $3`,
		Select: "SELECT app, instance, version, " + epoch("until") + " FROM changeling.migration_app WHERE tree = $1 AND until > " + now + " ORDER BY app, instance",
	}
}
