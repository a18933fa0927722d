package mysql

import "github.com/changeling-db/changeling/internal/journal"

// JobText is the SQL of backfill jobs.
func JobText() journal.JobText {
	const now = "UTC_TIMESTAMP(6)"
	return journal.JobText{
		Schema: []string{
			"CREATE TABLE IF NOT EXISTS changeling.job (id bigint AUTO_INCREMENT UNIQUE KEY, name varchar(200) PRIMARY KEY, table_name varchar(140) NOT NULL, spec longtext NOT NULL,\n" +
				"  status varchar(16) NOT NULL DEFAULT 'pending', want varchar(16) NOT NULL DEFAULT '', `after` text NOT NULL, upto text NOT NULL, row_count bigint NOT NULL DEFAULT 0,\n" +
				"  error text NOT NULL, probes bigint NOT NULL DEFAULT 0, created_at datetime(6) NOT NULL, updated_at datetime(6) NOT NULL,\n" +
				"  seen bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, busy double NOT NULL DEFAULT 0) ENGINE=InnoDB",
			"CREATE TABLE IF NOT EXISTS changeling.job_error (name varchar(200) NOT NULL, `key` varchar(500) NOT NULL, error text NOT NULL, at datetime(6) NOT NULL, PRIMARY KEY (name, `key`)) ENGINE=InnoDB",
		},
		Exists:  `SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'job_error')`,
		Current: `SELECT EXISTS (SELECT 1 FROM information_schema.columns WHERE table_schema = 'changeling' AND table_name = 'job' AND column_name = 'busy')`,
		Newer:   `ALTER TABLE changeling.job ADD COLUMN seen bigint NOT NULL DEFAULT 0, ADD COLUMN total bigint NOT NULL DEFAULT 0, ADD COLUMN busy double NOT NULL DEFAULT 0`,
		Insert:  "INSERT IGNORE INTO changeling.job (name, table_name, spec, `after`, upto, error, created_at, updated_at) VALUES ($1, $2, $3, '', '', '', " + now + ", " + now + ")",
		Select:  "SELECT name, table_name, spec, status, want, `after`, upto, row_count, (SELECT count(*) FROM changeling.job_error e WHERE e.name = j.name), error, " + epoch("updated_at") + ", " + epoch(now) + ", seen, total, busy FROM changeling.job j WHERE name LIKE $1 ORDER BY id",
		Start:   `UPDATE changeling.job SET upto = $2 WHERE name = $1`,
		Again:   "UPDATE changeling.job SET status = 'pending', `after` = '', upto = '', row_count = 0, seen = 0, total = 0, busy = 0, error = '' WHERE name = $1",
		Move:    "UPDATE changeling.job SET `after` = $2, row_count = row_count + $3, seen = $4, total = $5, busy = busy + $6, updated_at = " + now + " WHERE name = $1",
		State:   `UPDATE changeling.job SET status = $2, error = $3, updated_at = ` + now + ` WHERE name = $1`,
		Want:    `UPDATE changeling.job SET want = $2 WHERE name = $1`,
		Bad:     "INSERT IGNORE INTO changeling.job_error (name, `key`, error, at) VALUES ($1, $2, $3, " + now + ")",
		Probe:   `UPDATE changeling.job SET probes = probes + 1 WHERE name = $1`,
		Beats:   func(name string) string { return `SELECT probes FROM changeling.job WHERE name = ` + literal(name) },
		Times:   `SELECT column_name FROM information_schema.columns WHERE table_schema = CASE WHEN $1 = '' THEN DATABASE() ELSE $1 END AND table_name = $2 AND extra LIKE '%on update%'`,
		Triggers: `SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = CASE WHEN $1 = '' THEN DATABASE() ELSE $1 END AND event_object_table = $2
  AND event_manipulation = CASE WHEN $3 THEN 'DELETE' ELSE 'UPDATE' END AND NOT $4 ORDER BY trigger_name`,
		Keys: `SELECT s.column_name, c.column_type, c.data_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint'), '<
<=
=
>=
>' FROM information_schema.statistics s
JOIN information_schema.columns c ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name
WHERE s.table_schema = CASE WHEN $1 = '' THEN DATABASE() ELSE $1 END AND s.table_name = $2 AND s.index_name = 'PRIMARY' ORDER BY s.seq_in_index`,
	}
}
