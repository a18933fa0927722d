package mysql

// What the throttle asks. Unless said otherwise, a query answers rows of whose a figure is, and the figure.

// ActiveSessions counts threads that do something, ours among them.
const ActiveSessions = `SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_running'`

// Log counts the bytes of redo log that were written.
const Log = `SHOW GLOBAL STATUS WHERE Variable_name = 'Innodb_os_log_written'`

// History answers the length of the history list: what is kept for old snapshots and not yet purged.
const History = "SELECT '', `count` FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'"

// Waits counts the transactions of users that wait for a row of ours: of the key log, which they write and a drain empties.
// The tables of lock waits are only looked at while somebody waits.
func Waits(maria bool) string {
	if maria {
		return `SELECT '', COUNT(*) FROM information_schema.innodb_trx r JOIN information_schema.innodb_locks l ON l.lock_id = r.trx_requested_lock_id
WHERE r.trx_state = 'LOCK WAIT' AND l.lock_table LIKE '` + "`changeling%" + `' AND COALESCE(r.trx_query, '') NOT LIKE '%changeling%'`
	}
	return `SELECT '', COUNT(*) FROM information_schema.innodb_trx r JOIN performance_schema.data_locks l ON l.engine = 'INNODB' AND l.engine_lock_id = r.trx_requested_lock_id
WHERE r.trx_state = 'LOCK WAIT' AND l.object_schema LIKE 'changeling%' AND COALESCE(r.trx_query, '') NOT LIKE '%changeling%'`
}

// Transactions answers the age in seconds of the oldest transaction of others.
const Transactions = `SELECT CONCAT('connection ', trx_mysql_thread_id), TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx
WHERE COALESCE(trx_query, '') NOT LIKE '%changeling%' AND trx_mysql_thread_id > 0 ORDER BY trx_started LIMIT 1`

// Replicas lists who replicates from here. It answers a row for each, of columns that differ between versions.
func Replicas(maria bool) string {
	if maria {
		return `SHOW REPLICA HOSTS`
	}
	return `SHOW REPLICAS`
}

// Heartbeat answers how often the probe of a change has written, also on a replica.
func Heartbeat(change string) string {
	return `SELECT probes FROM changeling.progress WHERE change_id = ` + literal(change)
}

// Data answers the data directory and the machine that it is on.
const Data = `SELECT @@datadir, @@hostname`
