package mysql

import (
	"strings"

	"github.com/changeling-db/changeling/internal/state"
)

// StateText is the SQL of the engine's own tables, in a database of their own. Where PostgreSQL writes two tables in one
// statement, here are two with Then between them, for a transaction or a connection.
func StateText() state.Text {
	then := func(parts ...string) string { return strings.Join(parts, Then) }
	const now = "UTC_TIMESTAMP(6)"
	t := state.Text{
		Schema: []string{
			`CREATE DATABASE IF NOT EXISTS changeling CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
			// One unfinished change a table: the column is NULL, and so no duplicate, once a change is over.
			`CREATE TABLE IF NOT EXISTS changeling.chg (
  id varchar(64) PRIMARY KEY, format int NOT NULL, statement longtext NOT NULL,
  table_schema varchar(64) NOT NULL, table_name varchar(64) NOT NULL, table_id bigint NOT NULL,
  plan longtext NOT NULL, step int NOT NULL DEFAULT 0, status varchar(16) NOT NULL DEFAULT 'running', want varchar(16) NOT NULL DEFAULT '',
  hold boolean NOT NULL, settings text NOT NULL, drop_after bigint NOT NULL, heap bigint NOT NULL DEFAULT 0, blocks bigint NOT NULL DEFAULT 0,
  fingerprint varchar(64) NOT NULL DEFAULT '', held_ms double NOT NULL DEFAULT 0, error text NOT NULL, error_kind int NOT NULL DEFAULT 0,
  dropped boolean NOT NULL DEFAULT false, creator varchar(300) NOT NULL,
  created_at datetime(6) NOT NULL, updated_at datetime(6) NOT NULL, cut_at datetime(6), drop_at datetime(6),
  busy varchar(140) GENERATED ALWAYS AS (CASE WHEN status IN ('done', 'aborted', 'undone') THEN NULL ELSE CONCAT(table_schema, '.', table_name) END) STORED,
  UNIQUE KEY change_one_a_table (busy)) ENGINE=InnoDB`,
			`CREATE TABLE IF NOT EXISTS changeling.claim (
  change_id varchar(64) PRIMARY KEY, token bigint NOT NULL DEFAULT 0, owner varchar(300) NOT NULL DEFAULT '') ENGINE=InnoDB`,
			`CREATE TABLE IF NOT EXISTS changeling.progress (
  change_id varchar(64) PRIMARY KEY, at datetime(6) NOT NULL, pid bigint NOT NULL DEFAULT 0,
  pending bigint NOT NULL DEFAULT 0, reason text NOT NULL, probes bigint NOT NULL DEFAULT 0) ENGINE=InnoDB`,
			"CREATE TABLE IF NOT EXISTS changeling.chunk (\n" +
				"  change_id varchar(64) NOT NULL, walk varchar(16) NOT NULL, no bigint NOT NULL, `after` longtext NOT NULL, upto longtext NOT NULL, last boolean NOT NULL,\n" +
				"  row_count bigint NOT NULL, took_ms double NOT NULL, at datetime(6) NOT NULL, UNIQUE KEY chunk_once (change_id, walk, no)) ENGINE=InnoDB",
			`CREATE TABLE IF NOT EXISTS changeling.event (
  id bigint AUTO_INCREMENT PRIMARY KEY, change_id varchar(64) NOT NULL, at datetime(6) NOT NULL,
  token bigint NOT NULL, owner varchar(300) NOT NULL, version varchar(200) NOT NULL, line longtext NOT NULL, KEY event_change (change_id)) ENGINE=InnoDB`,
			`CREATE TABLE IF NOT EXISTS changeling.history (
  id bigint AUTO_INCREMENT PRIMARY KEY, change_id varchar(64) NOT NULL, at datetime(6) NOT NULL, step int NOT NULL, next int NOT NULL, remark text NOT NULL) ENGINE=InnoDB`,
		},
		Exists: `SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'history')`,
		Insert: then(`INSERT INTO changeling.chg (id, format, statement, table_schema, table_name, table_id, plan, hold, drop_after, settings, error, creator, created_at, updated_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', CURRENT_USER(), `+now+`, `+now+`)`,
			`INSERT INTO changeling.progress (change_id, at, reason) VALUES ($1, `+now+`, '')`,
			`INSERT INTO changeling.claim (change_id) VALUES ($1)`),
		Select: `SELECT c.id, c.format, c.statement, c.table_schema, c.table_name, c.plan, c.step, c.status, c.want, c.hold, c.settings, c.drop_after,
  c.heap, c.blocks, c.fingerprint,
  CAST(COALESCE((SELECT SUM(row_count) FROM changeling.chunk k WHERE k.change_id = c.id AND k.walk = 'copy'), 0) AS SIGNED),
  CAST(COALESCE((SELECT SUM(row_count) FROM changeling.chunk k WHERE k.change_id = c.id AND k.walk = 'verify'), 0) AS SIGNED),
  p.pending, p.reason, c.held_ms, c.error, c.error_kind, l.owner,
  p.at > ` + now + ` - INTERVAL 1 MINUTE AND EXISTS (SELECT 1 FROM information_schema.processlist a WHERE a.id = p.pid),
  c.created_at, GREATEST(c.updated_at, p.at), c.cut_at, c.drop_at, COALESCE(c.drop_at <= ` + now + `, false), c.dropped
FROM changeling.chg c JOIN changeling.claim l ON l.change_id = c.id JOIN changeling.progress p ON p.change_id = c.id `,
		ByID:    `WHERE c.id = $1`,
		ByTable: `WHERE c.table_schema = $1 AND c.table_name = $2 AND c.status NOT IN ('done', 'aborted', 'undone')`,
		ByText:  `WHERE c.statement = $1 AND ($2 = '' OR c.table_schema = $2) AND c.table_name = $3 ORDER BY c.created_at DESC LIMIT 1`,
		Newest:  `ORDER BY c.created_at DESC, c.id`,
		Latest:  `WHERE c.statement = $1 AND c.table_schema = $2 AND c.table_name = $3 ORDER BY c.created_at DESC LIMIT 1`,
		Probe:   `UPDATE changeling.progress SET probes = probes + 1 WHERE change_id = $1`,
		Advance: then(`INSERT INTO changeling.history (change_id, at, step, next, remark) SELECT id, `+now+`, $2, $3, '' FROM changeling.chg WHERE id = $1 AND step = $2`,
			`UPDATE changeling.chg SET step = $3, updated_at = `+now+` WHERE id = $1 AND step = $2`),
		SetHeap:  `UPDATE changeling.chg SET heap = $2, blocks = $3 WHERE id = $1`,
		SetState: `UPDATE changeling.chg SET status = $2, error = $3, error_kind = $4, updated_at = ` + now + ` WHERE id = $1`,
		SetWant:  `UPDATE changeling.chg SET want = $2 WHERE id = $1`,
		SetHold:  `UPDATE changeling.chg SET hold = $2 WHERE id = $1`,
		Settings: `UPDATE changeling.chg SET settings = $3 WHERE id = $1 AND settings = $2`,
		Remark:   `INSERT INTO changeling.history (change_id, at, step, next, remark) SELECT id, ` + now + `, step, step, $2 FROM changeling.chg WHERE id = $1`,
		Remarks:  `SELECT at, remark FROM changeling.history WHERE change_id = $1 AND remark <> '' ORDER BY at, id`,
		Finish:   `UPDATE changeling.chg SET status = $2, fingerprint = $3, error = '', error_kind = 0, want = '', updated_at = ` + now + ` WHERE id = $1`,
		Cut:      `UPDATE changeling.chg SET cut_at = ` + now + `, drop_at = CASE WHEN drop_after >= 0 THEN ` + now + ` + INTERVAL drop_after SECOND END WHERE id = $1`,
		SetHeld:  `UPDATE changeling.chg SET held_ms = $2 WHERE id = $1`,
		Dropped:  `UPDATE changeling.chg SET dropped = true, updated_at = ` + now + ` WHERE id = $1`,
		Delete: then(`DELETE FROM changeling.chunk WHERE change_id = $1`, `DELETE FROM changeling.claim WHERE change_id = $1`,
			`DELETE FROM changeling.progress WHERE change_id = $1`, `DELETE FROM changeling.chg WHERE id = $1`),
		Record: `INSERT INTO changeling.event (change_id, at, token, owner, version, line)
SELECT l.change_id, ` + now + `, l.token, $3, $4, e.line FROM changeling.claim l, JSON_TABLE($5, '$[*]' COLUMNS (n FOR ORDINALITY, line longtext PATH '$')) e
WHERE l.change_id = $1 AND l.token = $2 ORDER BY e.n`,
		Events:  `SELECT at, token, owner, version, line FROM changeling.event WHERE change_id = $1 ORDER BY id`,
		Moves:   `SELECT at, step, next FROM changeling.history WHERE change_id = $1 ORDER BY id`,
		SetPlan: `UPDATE changeling.chg SET plan = $2 WHERE id = $1`,
		Note:    "INSERT INTO changeling.chunk (change_id, walk, no, `after`, upto, last, row_count, took_ms, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, " + now + ")",
		Chunks:  "SELECT no, `after`, upto, last, row_count FROM changeling.chunk WHERE change_id = $1 AND walk = $2 ORDER BY no",
		Forget:  `DELETE FROM changeling.chunk WHERE change_id = $1`,
		Unwalk:  `DELETE FROM changeling.chunk WHERE change_id = $1 AND walk = $2`,
	}
	lease(&t, "changeling.claim", "changeling.progress", "c.want, c.hold, c.settings", " JOIN changeling.chg c ON c.id = l.change_id")
	return t
}
