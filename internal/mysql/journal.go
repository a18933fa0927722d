package mysql

import (
	"fmt"
	"time"

	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/schema"
)

// JournalText is the SQL of the journal of migrations. Its claim works as that of a change does, on tables of its own.
//
// All databases of a server share the tables, so a tree is known by its database too. A DDL statement whose client is gone
// runs on, and the claim's row does not know of it: the connection that runs statements holds a lock by name, which ends
// with the connection. Whoever takes the claim over ends that connection first.
func JournalText() journal.Text {
	t := StateText()
	lease(&t, "changeling.migration_claim", "changeling.migration_progress", "'', false, ''", "")
	const now = "UTC_TIMESTAMP(6)"
	const here = "= DATABASE()"
	return journal.Text{
		Schema: []string{
			`CREATE DATABASE IF NOT EXISTS changeling CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
			`CREATE TABLE IF NOT EXISTS changeling.migration (tree varchar(140) NOT NULL, version varchar(200) NOT NULL, name varchar(300) NOT NULL,
  exact varchar(64) NOT NULL, normal varchar(64) NOT NULL, status varchar(16) NOT NULL, origin varchar(64) NOT NULL, applied_by varchar(300) NOT NULL, error text NOT NULL,
  took_ms double NOT NULL, started_at datetime(6) NOT NULL, finished_at datetime(6), PRIMARY KEY (tree, version)) ENGINE=InnoDB`,
			"CREATE TABLE IF NOT EXISTS changeling.migration_step (tree varchar(140) NOT NULL, version varchar(200) NOT NULL, direction varchar(8) NOT NULL, seq int NOT NULL,\n" +
				"  hash varchar(64) NOT NULL, statement longtext NOT NULL, done boolean NOT NULL DEFAULT false, `before` varchar(64) NOT NULL, change_id varchar(64) NOT NULL DEFAULT '',\n" +
				"  attempts int NOT NULL DEFAULT 1, started_at datetime(6) NOT NULL, finished_at datetime(6), PRIMARY KEY (tree, version, direction, seq)) ENGINE=InnoDB",
			`CREATE TABLE IF NOT EXISTS changeling.migration_claim (
  change_id varchar(140) PRIMARY KEY, token bigint NOT NULL DEFAULT 0, owner varchar(300) NOT NULL DEFAULT '') ENGINE=InnoDB`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_progress (
  change_id varchar(140) PRIMARY KEY, at datetime(6) NOT NULL, pid bigint NOT NULL DEFAULT 0, pending bigint NOT NULL DEFAULT 0, reason text NOT NULL) ENGINE=InnoDB`,
			`CREATE TABLE IF NOT EXISTS changeling.migration_history (id bigint AUTO_INCREMENT PRIMARY KEY, tree varchar(140) NOT NULL, version varchar(200) NOT NULL,
  at datetime(6) NOT NULL, what varchar(16) NOT NULL, by_whom varchar(300) NOT NULL, took_ms double NOT NULL, detail text NOT NULL) ENGINE=InnoDB`,
		},
		Exists: `SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'migration_history')`,
		Scope:  `SELECT COALESCE(DATABASE(), '')`,
		Enter: `INSERT IGNORE INTO changeling.migration_progress (change_id, at, reason) VALUES ($1, ` + now + `, '')` + Then +
			`INSERT IGNORE INTO changeling.migration_claim (change_id) VALUES ($1)`,
		Rows: `SELECT version, name, exact, normal, status, origin, applied_by, error, took_ms, ` + epoch("started_at") + `, ` + epoch("finished_at") + ` FROM changeling.migration WHERE tree = $1`,
		Save: `INSERT INTO changeling.migration (tree, version, name, exact, normal, status, origin, applied_by, error, took_ms, started_at, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, ` + now + `, CASE WHEN $6 IN ('applied', 'baseline') THEN ` + now + ` END)
ON DUPLICATE KEY UPDATE name = $3, exact = $4, normal = $5, status = $6, origin = $7, applied_by = $8, error = $9, took_ms = $10,
  finished_at = CASE WHEN $6 IN ('applied', 'baseline') THEN ` + now + ` END`,
		Forget: `DELETE FROM changeling.migration WHERE tree = $1 AND version = $2`,
		Steps:  "SELECT direction, seq, hash, statement, done, `before`, change_id, attempts FROM changeling.migration_step WHERE tree = $1 AND version = $2",
		StepBegin: "INSERT INTO changeling.migration_step (tree, version, direction, seq, hash, statement, `before`, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, " + now + ")\n" +
			"ON DUPLICATE KEY UPDATE hash = $5, statement = $6, `before` = $7, attempts = attempts + 1, started_at = " + now,
		StepDone:  `UPDATE changeling.migration_step SET done = true, finished_at = ` + now + ` WHERE tree = $1 AND version = $2 AND direction = $3 AND seq = $4`,
		SetChange: `UPDATE changeling.migration_step SET change_id = $5 WHERE tree = $1 AND version = $2 AND direction = $3 AND seq = $4`,
		Clear:     `DELETE FROM changeling.migration_step WHERE tree = $1 AND version = $2`,
		Open:      `SELECT tree, change_id FROM changeling.migration_step WHERE tree LIKE $1 AND change_id <> '' AND NOT done ORDER BY started_at`,
		Erase:     journal.Erasing(" = $1"),
		Note:      `INSERT INTO changeling.migration_history (tree, version, at, what, by_whom, took_ms, detail) VALUES ($1, $2, ` + now + `, $3, $4, $5, $6)`,
		History:   `SELECT ` + epoch("at") + `, version, what, by_whom, took_ms, detail FROM changeling.migration_history WHERE tree = $1 ORDER BY id DESC`,
		Owner: `SELECT l.owner, l.owner <> '' AND EXISTS (SELECT 1 FROM information_schema.processlist a WHERE a.id = p.pid)
FROM changeling.migration_claim l JOIN changeling.migration_progress p ON p.change_id = l.change_id WHERE l.change_id = $1`,
		Lease: t,
		Describe: []string{
			`SELECT CONCAT('table ', table_name, ' ', COALESCE(engine, ''), ' ', COALESCE(table_collation, '')) FROM information_schema.tables WHERE table_schema ` + here + ` AND table_type = 'BASE TABLE' ORDER BY 1`,
			`SELECT CONCAT('column ', c.table_name, '.', LPAD(c.ordinal_position, 4, '0'), ' ', c.column_name, ' ', c.column_type, IF(c.is_nullable = 'NO', ' NOT NULL', ''), COALESCE(CONCAT(' DEFAULT ', c.column_default), ''),
  ' ', c.extra, ' ', COALESCE(c.collation_name, ''), ' ', COALESCE(c.generation_expression, ''), ' ', c.column_comment) FROM information_schema.columns c WHERE c.table_schema ` + here + ` ORDER BY 1`,
			`SELECT CONCAT('index ', table_name, '.', index_name, ' ', non_unique, ' ', index_type, ' ', GROUP_CONCAT(CONCAT(COALESCE(column_name, '(expression)'), COALESCE(CONCAT('(', sub_part, ')'), ''), ' ', COALESCE(collation, '')) ORDER BY seq_in_index))
FROM information_schema.statistics WHERE table_schema ` + here + ` GROUP BY table_name, index_name, non_unique, index_type ORDER BY 1`,
			`SELECT CONCAT('foreign key ', k.table_name, '.', k.constraint_name, ' ', GROUP_CONCAT(k.column_name, '=', k.referenced_table_name, '.', k.referenced_column_name ORDER BY k.ordinal_position), ' ', MIN(r.update_rule), ' ', MIN(r.delete_rule))
FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
WHERE k.table_schema ` + here + ` AND k.referenced_table_name IS NOT NULL GROUP BY k.table_name, k.constraint_name ORDER BY 1`,
			`SELECT CONCAT('constraint ', constraint_name, ' ', check_clause) FROM information_schema.check_constraints WHERE constraint_schema ` + here + ` ORDER BY 1`,
			`SELECT CONCAT('view ', table_name, ' ', view_definition) FROM information_schema.views WHERE table_schema ` + here + ` ORDER BY 1`,
			`SELECT CONCAT(routine_type, ' ', routine_name, ' ', COALESCE(routine_definition, ''), ' ', COALESCE(dtd_identifier, '')) FROM information_schema.routines WHERE routine_schema ` + here + ` ORDER BY 1`,
			`SELECT CONCAT('trigger ', trigger_name, ' ', action_timing, ' ', event_manipulation, ' ', event_object_table, ' ', action_statement) FROM information_schema.triggers WHERE trigger_schema ` + here + ` AND trigger_name NOT LIKE 'changeling%' ORDER BY 1`,
			`SELECT CONCAT('event ', event_name, ' ', event_definition) FROM information_schema.events WHERE event_schema ` + here + ` ORDER BY 1`,
		},
		Table: `SELECT COUNT(*) > 0, CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) FROM information_schema.tables
WHERE table_schema = CASE WHEN $1 = '' THEN DATABASE() ELSE $1 END AND table_name = $2`,
		Columns: `SELECT column_name FROM information_schema.columns WHERE table_schema ` + here + ` AND table_name = $1`,
		Bound: func(wait time.Duration) string {
			seconds := max(int64((wait+time.Second-1)/time.Second), 1)
			return fmt.Sprintf("SET SESSION lock_wait_timeout = %d, innodb_lock_wait_timeout = %d", seconds, seconds)
		},
		Hold: `SELECT GET_LOCK(CONCAT('changeling ', LEFT(SHA2($1, 256), 40)), 0)`,
		Busy: `SELECT COALESCE(IS_USED_LOCK(CONCAT('changeling ', LEFT(SHA2($1, 256), 40))), 0)`,
		End:  `KILL %d`,
	}
}

// epoch is a time in seconds since 1970, 0 for none.
func epoch(column string) string {
	return "COALESCE(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', " + column + "), 0) / 1e6"
}

// Quoted is a table's name with its database, if it has one, in backticks.
func Quoted(n schema.Name) string { return qualified(n) }

// QuotedName is one name in backticks.
func QuotedName(name string) string { return quote(name) }

// Literal is a string constant that means the same under every sql_mode.
func Literal(text string) string { return literal(text) }
