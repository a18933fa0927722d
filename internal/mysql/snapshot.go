package mysql

// OpenSnapshot begins a transaction on a connection that holds none, for Snapshots to be seen by.
func OpenSnapshot() string {
	return SystemTime() + Then + "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ" + Then + "START TRANSACTION WITH CONSISTENT SNAPSHOT"
}

// SystemTime lets a connection read times as the server keeps them.
func SystemTime() string { return "SET SESSION time_zone = 'SYSTEM'" }

// Clock is the server's clock on such a connection, in microseconds.
const Clock = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', NOW(6))"

// Snapshots are the transactions that may read more than once from one snapshot, each with its connection, who it is, and its
// age in whole seconds, rounded down, which is negative if the clock was set back since. The server keeps the answer for a tenth of a second after anybody asked (trx0i_s.cc of
// both servers): it is newer than OpenSnapshot on the same connection if it has that connection in it, which is the first
// column then.
//
// Not among them: READ COMMITTED, which takes a snapshot a statement, single SELECTs, prepared XA transactions, which read
// nothing any more, and what the engine does beside.
//
// Under the lock the first statement of somebody's who waits there with an emoji would keep MySQL from telling anything (see legible.go).
// Then performance_schema is asked, which keeps no answer and knows of transactions that have no snapshot yet besides. A single statement
// under autocommit has its own, and has all its tables from the beginning.
func Snapshots() string {
	return `SELECT x.trx_mysql_thread_id = CONNECTION_ID(), CONCAT('connection ', x.trx_mysql_thread_id, COALESCE(CONCAT(' of ', p.user), '')),
  TIMESTAMPDIFF(SECOND, x.trx_started, NOW())
FROM information_schema.innodb_trx x LEFT JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id
WHERE x.trx_mysql_thread_id = CONNECTION_ID() OR x.trx_isolation_level IN ('REPEATABLE READ', 'SERIALIZABLE') AND x.trx_autocommit_non_locking = 0
  AND x.trx_mysql_thread_id <> 0 AND COALESCE(x.trx_query, '') NOT LIKE '%changeling.%'
ORDER BY x.trx_started` + Or + `SELECT t.processlist_id = CONNECTION_ID(), CONCAT('connection ', t.processlist_id, COALESCE(CONCAT(' of ', t.processlist_user), '')), CAST(FLOOR(e.timer_wait / 1e12) AS SIGNED)
FROM performance_schema.events_transactions_current e JOIN performance_schema.threads t ON t.thread_id = e.thread_id
WHERE t.processlist_id = CONNECTION_ID() OR t.type = 'FOREGROUND' AND e.state = 'ACTIVE' AND e.isolation_level IN ('REPEATABLE READ', 'SERIALIZABLE') AND e.autocommit = 'NO'
  AND COALESCE(t.processlist_info, '') NOT LIKE '%changeling.%'
ORDER BY e.timer_start`
}
