package postgres

import "github.com/changeling-db/changeling/internal/state"

// StateText is the SQL of the engine's own tables. Much of it runs outside of any transaction, with the search path of the
// caller's session: so functions and operators are qualified, and nobody who may create in a schema of that path can have
// his own run in their place.
//
// The claim is a row of its own, because writing transactions hold it FOR SHARE for as long as they last, an index build
// for minutes; heartbeats and progress go to another table and never wait for them.
func StateText() state.Text {
	t := state.Text{
		Schema: []string{
			`CREATE SCHEMA IF NOT EXISTS changeling`,
			`COMMENT ON SCHEMA changeling IS 'online schema changes: their plans and how far they are; made by changeling'`,
			`CREATE TABLE IF NOT EXISTS changeling.change (
  id text PRIMARY KEY, format int NOT NULL, statement text NOT NULL,
  table_schema text NOT NULL, table_name text NOT NULL, table_id bigint NOT NULL,
  plan text NOT NULL, step int NOT NULL DEFAULT 0, status text NOT NULL DEFAULT 'running', want text NOT NULL DEFAULT '',
  hold boolean NOT NULL, settings text NOT NULL DEFAULT '', drop_after bigint NOT NULL, heap bigint NOT NULL DEFAULT 0, blocks bigint NOT NULL DEFAULT 0,
  fingerprint text NOT NULL DEFAULT '', held_ms float8 NOT NULL DEFAULT 0, error text NOT NULL DEFAULT '', error_kind int NOT NULL DEFAULT 0,
  dropped boolean NOT NULL DEFAULT false, creator text NOT NULL DEFAULT current_user,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  cut_at timestamptz, drop_at timestamptz)`,
			`CREATE UNIQUE INDEX IF NOT EXISTS change_one_a_table ON changeling.change (table_schema, table_name) WHERE status OPERATOR(pg_catalog.<>) ALL (ARRAY['done', 'aborted', 'undone'])`,
			`CREATE TABLE IF NOT EXISTS changeling.claim (
  change_id text PRIMARY KEY REFERENCES changeling.change ON DELETE CASCADE,
  token bigint NOT NULL DEFAULT 0, owner text NOT NULL DEFAULT '', pid int NOT NULL DEFAULT 0, started timestamptz)`,
			`CREATE TABLE IF NOT EXISTS changeling.progress (
  change_id text PRIMARY KEY REFERENCES changeling.change ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), pid int NOT NULL DEFAULT 0, started timestamptz,
  pending bigint NOT NULL DEFAULT 0, reason text NOT NULL DEFAULT '', probes bigint NOT NULL DEFAULT 0)`,
			`CREATE TABLE IF NOT EXISTS changeling.chunk (
  change_id text NOT NULL REFERENCES changeling.change ON DELETE CASCADE, walk text NOT NULL, no bigint NOT NULL,
  after text NOT NULL, upto text NOT NULL, last boolean NOT NULL, row_count bigint NOT NULL, took_ms float8 NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), CONSTRAINT chunk_once PRIMARY KEY (change_id, walk, no))`,
			`CREATE TABLE IF NOT EXISTS changeling.event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, change_id text NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  token bigint NOT NULL, owner text NOT NULL, version text NOT NULL, line text NOT NULL)`,
			`CREATE TABLE IF NOT EXISTS changeling.history (
  change_id text NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), step int NOT NULL, next int NOT NULL, remark text NOT NULL DEFAULT '')`,
		},
		Exists: `SELECT pg_catalog.to_regclass('changeling.history') IS NOT NULL`,
		Insert: `WITH made AS (INSERT INTO changeling.change (id, format, statement, table_schema, table_name, table_id, plan, hold, drop_after)
  VALUES ($1::text, $2::int, $3::text, $4::text, $5::text, $6::bigint, $7::text, $8::boolean, $9::bigint) RETURNING id),
progress AS (INSERT INTO changeling.progress (change_id) SELECT id FROM made)
INSERT INTO changeling.claim (change_id) SELECT id FROM made`,
		Select: `SELECT c.id, c.format, c.statement, c.table_schema, c.table_name, c.plan, c.step, c.status, c.want, c.hold, c.settings, c.drop_after,
  c.heap, c.blocks, c.fingerprint,
  coalesce((SELECT pg_catalog.sum(row_count) FROM changeling.chunk k WHERE k.change_id OPERATOR(pg_catalog.=) c.id AND k.walk OPERATOR(pg_catalog.=) 'copy'), 0)::bigint,
  coalesce((SELECT pg_catalog.sum(row_count) FROM changeling.chunk k WHERE k.change_id OPERATOR(pg_catalog.=) c.id AND k.walk OPERATOR(pg_catalog.=) 'verify'), 0)::bigint,
  p.pending, p.reason, c.held_ms, c.error, c.error_kind, l.owner,
  p.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) interval '1 minute') AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) p.pid AND (a.backend_start OPERATOR(pg_catalog.=) p.started OR a.backend_start IS NULL)),
  ` + inUTC("c.created_at") + `, ` + inUTC("greatest(c.updated_at, p.at)") + `, ` + inUTC("c.cut_at") + `, ` + inUTC("c.drop_at") + `, coalesce(c.drop_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp(), false), c.dropped
FROM changeling.change c JOIN changeling.claim l ON l.change_id OPERATOR(pg_catalog.=) c.id JOIN changeling.progress p ON p.change_id OPERATOR(pg_catalog.=) c.id `,
		ByID:    `WHERE c.id OPERATOR(pg_catalog.=) $1::text`,
		ByTable: `WHERE c.table_schema OPERATOR(pg_catalog.=) $1::text AND c.table_name OPERATOR(pg_catalog.=) $2::text AND c.status OPERATOR(pg_catalog.<>) ALL (ARRAY['done', 'aborted', 'undone'])`,
		ByText: `WHERE c.statement OPERATOR(pg_catalog.=) $1::text AND ($2::text OPERATOR(pg_catalog.=) '' OR c.table_schema OPERATOR(pg_catalog.=) $2::text) AND ($3::text OPERATOR(pg_catalog.=) '' OR c.table_name OPERATOR(pg_catalog.=) $3::text)
ORDER BY c.created_at DESC LIMIT 1`,
		Newest: `ORDER BY c.created_at DESC, c.id`,
		Latest: `WHERE c.statement OPERATOR(pg_catalog.=) $1::text AND c.table_schema OPERATOR(pg_catalog.=) $2::text AND c.table_name OPERATOR(pg_catalog.=) $3::text ORDER BY c.created_at DESC LIMIT 1`,
		Probe:  `UPDATE changeling.progress SET probes = probes OPERATOR(pg_catalog.+) 1::bigint WHERE change_id OPERATOR(pg_catalog.=) $1::text`,
		Advance: `WITH moved AS (UPDATE changeling.change SET step = $3::int, updated_at = pg_catalog.clock_timestamp() WHERE id OPERATOR(pg_catalog.=) $1::text AND step OPERATOR(pg_catalog.=) $2::int RETURNING id)
INSERT INTO changeling.history (change_id, step, next) SELECT id, $2::int, $3::int FROM moved`,
		SetHeap:  `UPDATE changeling.change SET heap = $2::bigint, blocks = $3::bigint WHERE id OPERATOR(pg_catalog.=) $1::text`,
		SetState: `UPDATE changeling.change SET status = $2::text, error = $3::text, error_kind = $4::int, updated_at = pg_catalog.clock_timestamp() WHERE id OPERATOR(pg_catalog.=) $1::text`,
		SetWant:  `UPDATE changeling.change SET want = $2::text WHERE id OPERATOR(pg_catalog.=) $1::text`,
		SetHold:  `UPDATE changeling.change SET hold = $2::boolean WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Settings: `UPDATE changeling.change SET settings = $3::text WHERE id OPERATOR(pg_catalog.=) $1::text AND settings OPERATOR(pg_catalog.=) $2::text`,
		Remark:   `INSERT INTO changeling.history (change_id, step, next, remark) SELECT id, step, step, $2::text FROM changeling.change WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Remarks:  `SELECT ` + inUTC("at") + `, remark FROM changeling.history WHERE change_id OPERATOR(pg_catalog.=) $1::text AND remark OPERATOR(pg_catalog.<>) '' ORDER BY at`,
		Finish: `UPDATE changeling.change SET status = $2::text, fingerprint = $3::text, error = '', error_kind = 0, want = '', updated_at = pg_catalog.clock_timestamp()
WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Cut: `UPDATE changeling.change SET cut_at = pg_catalog.clock_timestamp(),
  drop_at = CASE WHEN drop_after OPERATOR(pg_catalog.>=) 0::bigint THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) (drop_after::float8 OPERATOR(pg_catalog.*) interval '1 second') END WHERE id OPERATOR(pg_catalog.=) $1::text`,
		SetHeld: `UPDATE changeling.change SET held_ms = $2::float8 WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Dropped: `UPDATE changeling.change SET dropped = true, updated_at = pg_catalog.clock_timestamp() WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Delete:  `DELETE FROM changeling.change WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Record: `INSERT INTO changeling.event (change_id, token, owner, version, line)
SELECT change_id, token, $3::text, $4::text, e.line FROM changeling.claim, pg_catalog.json_array_elements_text($5::json) WITH ORDINALITY e(line, n)
WHERE change_id OPERATOR(pg_catalog.=) $1::text AND token OPERATOR(pg_catalog.=) $2::bigint ORDER BY e.n`,
		Events:  `SELECT ` + inUTC("at") + `, token, owner, version, line FROM changeling.event WHERE change_id OPERATOR(pg_catalog.=) $1::text ORDER BY id`,
		Moves:   `SELECT ` + inUTC("at") + `, step, next FROM changeling.history WHERE change_id OPERATOR(pg_catalog.=) $1::text ORDER BY at`,
		SetPlan: `UPDATE changeling.change SET plan = $2::text WHERE id OPERATOR(pg_catalog.=) $1::text`,
		Note: `INSERT INTO changeling.chunk (change_id, walk, no, after, upto, last, row_count, took_ms)
VALUES ($1::text, $2::text, $3::bigint, $4::text, $5::text, $6::boolean, $7::bigint, $8::float8)`,
		Chunks: `SELECT no, after, upto, last, row_count FROM changeling.chunk WHERE change_id OPERATOR(pg_catalog.=) $1::text AND walk OPERATOR(pg_catalog.=) $2::text ORDER BY no`,
		Forget: `DELETE FROM changeling.chunk WHERE change_id OPERATOR(pg_catalog.=) $1::text`,
		Unwalk: `DELETE FROM changeling.chunk WHERE change_id OPERATOR(pg_catalog.=) $1::text AND walk OPERATOR(pg_catalog.=) $2::text`,
	}
	lease(&t, "changeling.claim", "changeling.progress", "c.want, c.hold, c.settings", " JOIN changeling.change c ON c.id OPERATOR(pg_catalog.=) l.change_id")
	return t
}

// inUTC is a time as text that no DateStyle of the session's changes: a driver that gets texts reads those in ISO alone.
func inUTC(at string) string {
	return "pg_catalog.to_char(pg_catalog.timezone('UTC', " + at + "), 'YYYY-MM-DD HH24:MI:SS.US')"
}
