package mysql

import (
	"strings"

	"github.com/changeling-db/changeling/internal/state"
)

// lease fills in the SQL of a lease: its claim and its heartbeat stand in two tables. A heartbeat answers the token and wishes,
// three columns, which stand in what is joined to the claim l.
func lease(t *state.Text, claim, progress, wishes, join string) {
	const now = "UTC_TIMESTAMP(6)"
	// A connection's name is a lock that it holds, see Session: ids begin again when a server does, and the lock tells whose it is.
	const named = `FROM information_schema.processlist a WHERE a.id <> CONNECTION_ID() AND IS_USED_LOCK(CONCAT(LEFT($1, 43), '/', a.id)) = a.id`
	in := func(parts ...string) string {
		return strings.NewReplacer("{claim}", claim, "{progress}", progress, "{wishes}", wishes, "{join}", join).Replace(strings.Join(parts, Then))
	}
	t.Claimed = in(`SELECT l.token, l.owner, EXISTS (SELECT 1 FROM information_schema.processlist a WHERE a.id = p.pid),
  TIMESTAMPDIFF(MICROSECOND, p.at, ` + now + `) / 1e6
FROM {claim} l JOIN {progress} p ON p.change_id = l.change_id WHERE l.change_id = $1`)
	// In one statement: between two, a holder would look dead whose connection the other table does not know yet. And by its
	// connection: two runs of one process have the same owner.
	t.Claim = in(`UPDATE {claim} l JOIN {progress} p ON p.change_id = l.change_id
SET l.token = l.token + 1, l.owner = $3, p.at = `+now+`, p.pid = CONNECTION_ID() WHERE l.change_id = $1 AND l.token = $2`,
		`SELECT l.token FROM {claim} l JOIN {progress} p ON p.change_id = l.change_id
WHERE l.change_id = $1 AND l.token = $2 + 1 AND l.owner = $3 AND p.pid = CONNECTION_ID()`)
	t.Unclaim = in(`UPDATE {claim} SET owner = '' WHERE change_id = $1 AND token = $2`)
	t.Holders = `SELECT COUNT(*) ` + named
	t.Ends = `SELECT CONCAT('KILL ', a.id) ` + named + ` AND NOT ` + delicate // which ends by itself before long, and is waited for
	t.Session = `DO 0`
	t.Fence = in(`SELECT 1 FROM {claim} WHERE change_id = $1 AND token = $2 LOCK IN SHARE MODE`)
	t.Beat = in(`UPDATE {progress} p JOIN {claim} l ON l.change_id = p.change_id SET p.at = `+now+`, p.pending = $3, p.reason = $4, p.pid = CONNECTION_ID()
WHERE p.change_id = $1 AND l.token = $2`,
		`SELECT l.token, {wishes} FROM {claim} l{join} WHERE l.change_id = $1`)
}
