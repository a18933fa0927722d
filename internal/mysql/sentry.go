package mysql

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// MariaDB refuses RENAME TABLE under LOCK TABLES, so there the RENAME is another session's, and waits behind the one that
// keeps writers out. A sentry stands on the name that the source would go to: whoever dies, the RENAME fails and changes
// nothing, until the sentry is taken away by somebody who has just seen that everything is in order. It is a sequence,
// because DROP SEQUENCE drops no table, whatever is called so by then.

// PlaceSentry may run twice. Where the RENAME needs a pass, there is none now: see carrier.go.
func PlaceSentry(p schema.Pair) string {
	if Calls(p) {
		return "DROP SEQUENCE IF EXISTS " + qualified(Aside(p))
	}
	return "CREATE SEQUENCE IF NOT EXISTS " + qualified(Aside(p)) + " ENGINE=InnoDB"
}

// DropSentry lets the RENAME happen that waits. It needs no lock that the RENAME has: see Aside.
func DropSentry(p schema.Pair) string {
	if Calls(p) {
		return "CREATE SEQUENCE " + qualified(Aside(p)) + " ENGINE=InnoDB"
	}
	return "DROP SEQUENCE " + qualified(Aside(p))
}

// LockRead keeps writers out while others read. Waiting for it holds up nobody: writers go first.
func LockRead(p schema.Pair) string { return "LOCK TABLES " + qualified(p.Source) + " READ" }

// Probe reads the source, or fails at once with a lock timeout if somebody waits for the table as a whole.
func Probe(p schema.Pair) string {
	return "SET STATEMENT lock_wait_timeout = 0 FOR SELECT COUNT(*) FROM (SELECT 1 FROM " + qualified(p.Source) + " LIMIT 1) x"
}

// Sessions answers who is at work on the source or waits for a table: connection, default database, statement, and whether it
// waits.
func Sessions(p schema.Pair) string {
	const waits = "COALESCE(state, '') = 'Waiting for table metadata lock'"
	return "SELECT id, COALESCE(db, ''), COALESCE(LEFT(info, 4000), ''), " + waits + " FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND command NOT IN ('Sleep', 'Daemon')" +
		" AND (" + waits + " OR LOCATE(" + literal(p.Source.Table) + ", COALESCE(info, '')) > 0)"
}

// Renaming answers the connections that run the RENAME of this change, whichever run sent it.
func Renaming(p schema.Pair) string {
	return "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND info = " + literal(Swap(p))
}

// shares are first words of statements that leave a table to others as well, or wait behind the RENAME.
var shares = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "LOAD", "DO", "HANDLER", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "SET", "USE", "KILL"}

// defines are first words of statements that want a table for themselves, and name it.
var defines = []string{"ALTER", "CREATE", "DROP", "TRUNCATE", "RENAME", "OPTIMIZE", "ANALYZE", "REPAIR", "CHECK"}

// leading is what may stand before the first word of a statement, and the word. The list of sessions cuts long texts off.
var leading = regexp.MustCompile(`^(?s:\s|\(|/\*[^!M].*?\*/|--[^\n]*\n|#[^\n]*\n)*([A-Za-z]+)`)

// Contends says that a session's statement, with its default database, may be ahead of a RENAME that waits for the source, and
// change the table before it: TRUNCATE and ALTER would, and then be lost with the old table. What cannot be told from its text
// counts if it waits.
func Contends(p schema.Pair, database, statement string, waits bool) bool {
	first := leading.FindStringSubmatch(statement)
	switch {
	case first == nil:
		return waits
	case slices.Contains(shares, strings.ToUpper(first[1])):
		return false
	case !slices.Contains(defines, strings.ToUpper(first[1])):
		return waits
	}
	tokens := significant(statement)
	if tokens == nil {
		return strings.Contains(strings.ToLower(statement), strings.ToLower(p.Source.Table))
	}
	text := func(i int) string { return statement[tokens[i].Start:tokens[i].End] }
	if len(tokens) > 1 && strings.EqualFold(text(0), "DROP") && strings.EqualFold(text(1), "TRIGGER") {
		return waits // it does not name the table
	}
	is := func(i int, name string) bool {
		return strings.EqualFold(strings.ReplaceAll(strings.Trim(text(i), "`\""), "``", "`"), name)
	}
	for i, t := range tokens {
		switch {
		case t.Kind == plan.TokenExecuted: // the server reads it
			if strings.Contains(strings.ToLower(text(i)), strings.ToLower(p.Source.Table)) {
				return true
			}
		case !is(i, p.Source.Table):
		case i > 1 && text(i-1) == ".":
			if is(i-2, p.Source.Schema) {
				return true
			}
		case database == "" || strings.EqualFold(database, p.Source.Schema):
			return true
		}
	}
	return false
}

// LockInfo is Blockers where the plugin metadata_lock_info is loaded.
func LockInfo(n schema.Name) string {
	return `SELECT CONCAT('connection ', t.id, ' of ', t.user, ', ', t.command), CAST(MAX(COALESCE(TIMESTAMPDIFF(MICROSECOND, x.trx_started, NOW()) / 1e6, 0)) AS DOUBLE) AS age,
  t.id, t.command = 'Sleep', CAST(MIN(x.trx_started) AS CHAR)
FROM information_schema.metadata_lock_info m JOIN information_schema.processlist t ON t.id = m.thread_id JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = t.id
WHERE m.table_schema = ` + literal(n.Schema) + ` AND m.table_name = ` + literal(n.Table) + ` AND t.id <> CONNECTION_ID() AND COALESCE(t.info, '') NOT LIKE '%changeling%'
GROUP BY t.id, t.user, t.command ORDER BY age DESC`
}

// Suspects are, as Blockers tells them, the transactions that are open for longer than a second, but for one's own, the oldest first, whatever they hold.
func Suspects(own int64) string {
	return `SELECT CONCAT('connection ', t.id, ' of ', t.user, ', ', t.command), CAST(TIMESTAMPDIFF(MICROSECOND, x.trx_started, NOW()) / 1e6 AS DOUBLE) AS age,
  t.id, t.command = 'Sleep', CAST(x.trx_started AS CHAR)
FROM information_schema.innodb_trx x JOIN information_schema.processlist t ON t.id = x.trx_mysql_thread_id
WHERE t.id NOT IN (CONNECTION_ID(), ` + fmt.Sprint(own) + `) AND x.trx_started < NOW() - INTERVAL 1 SECOND AND COALESCE(t.info, '') NOT LIKE '%changeling%' ORDER BY age DESC LIMIT 3`
}

// Logged answers some of the keys in the log.
func (w Rows) Logged() string {
	return "SELECT DISTINCT " + w.keyText("changeling_log.") + " FROM " + qualified(w.Pair.Log) + " changeling_log LIMIT 10"
}
