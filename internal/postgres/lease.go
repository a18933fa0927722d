package postgres

import (
	"strings"

	"github.com/changeling-db/changeling/internal/state"
)

// lease fills in the SQL of a lease: its claim and its heartbeat stand in two tables. A heartbeat answers the token and wishes,
// three columns, which stand in what is joined to the claim l.
func lease(t *state.Text, claim, progress, wishes, join string) {
	in := strings.NewReplacer("{claim}", claim, "{progress}", progress, "{wishes}", wishes, "{join}", join).Replace
	t.Claimed = in(`SELECT l.token, l.owner,
  EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) p.pid AND (a.backend_start OPERATOR(pg_catalog.=) p.started OR a.backend_start IS NULL)),
  extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) p.at)::float8
FROM {claim} l JOIN {progress} p ON p.change_id OPERATOR(pg_catalog.=) l.change_id WHERE l.change_id OPERATOR(pg_catalog.=) $1::text`)
	t.Claim = in(`WITH won AS (UPDATE {claim} SET token = token OPERATOR(pg_catalog.+) 1::bigint, owner = $3::text WHERE change_id OPERATOR(pg_catalog.=) $1::text AND token OPERATOR(pg_catalog.=) $2::bigint RETURNING change_id, token),
beat AS (UPDATE {progress} p SET at = pg_catalog.clock_timestamp(), pid = pg_catalog.pg_backend_pid(),
  started = (SELECT backend_start FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) FROM won WHERE p.change_id OPERATOR(pg_catalog.=) won.change_id)
SELECT token FROM won`)
	t.Unclaim = in(`UPDATE {claim} SET owner = '' WHERE change_id OPERATOR(pg_catalog.=) $1::text AND token OPERATOR(pg_catalog.=) $2::bigint`)
	t.Holders = `SELECT pg_catalog.count(*) FROM (SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
  WHERE application_name OPERATOR(pg_catalog.=) $1::text AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database() OFFSET 0) ended`
	t.Session = `SELECT pg_catalog.set_config('application_name', $1::text, true)`
	t.Fence = in(`SELECT 1 FROM {claim} WHERE change_id OPERATOR(pg_catalog.=) $1::text AND token OPERATOR(pg_catalog.=) $2::bigint FOR SHARE`)
	// The claim is read as it was before this statement; a claim that goes up meanwhile is seen by the next beat.
	t.Beat = in(`WITH beat AS (UPDATE {progress} p SET at = pg_catalog.clock_timestamp(), pending = $3::bigint, reason = $4::text, pid = pg_catalog.pg_backend_pid(),
  started = (SELECT backend_start FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())
  FROM {claim} l WHERE p.change_id OPERATOR(pg_catalog.=) $1::text AND l.change_id OPERATOR(pg_catalog.=) p.change_id AND l.token OPERATOR(pg_catalog.=) $2::bigint)
SELECT l.token, {wishes} FROM {claim} l{join} WHERE l.change_id OPERATOR(pg_catalog.=) $1::text`)
}
