package postgres

import (
	"fmt"

	"github.com/changeling-db/changeling/internal/ident"
)

// What the throttle asks. Unless said otherwise, a query answers rows of whose a figure is, and the figure; each takes no
// lock that anybody else could wait for.

// MaySee answers whether the role sees what others' sessions and replicas do, and what to grant if not.
const MaySee = `SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'), 'GRANT pg_monitor TO ' || pg_catalog.quote_ident(current_user)`

// Sessions counts those of users that do something.
const Sessions = `SELECT '', count(*)::float8 FROM pg_catalog.pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND application_name NOT LIKE 'changeling%' AND pid <> pg_catalog.pg_backend_pid()`

// Waits counts the sessions that wait for a lock which a connection of an application name holds, or waits for before them.
func Waits(application string) string {
	return `SELECT '', count(*)::float8 FROM pg_catalog.pg_stat_activity w
WHERE w.wait_event_type = 'Lock' AND w.application_name <> ` + ident.Literal(application) + ` AND EXISTS (SELECT FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b
  JOIN pg_catalog.pg_stat_activity o ON o.pid = b WHERE o.application_name = ` + ident.Literal(application) + `)`
}

// Transactions answers the age in seconds of the oldest transaction of others.
const Transactions = `SELECT 'process ' || pid || ' of ' || coalesce(usename, '?'), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_catalog.pg_stat_activity WHERE xact_start IS NOT NULL AND backend_type = 'client backend' AND application_name NOT LIKE 'changeling%'
ORDER BY xact_start LIMIT 1`

// Vacuuming answers 1 for each vacuum that is at a table.
func Vacuuming(table uint32) string {
	return fmt.Sprintf(`SELECT '', 1::float8 FROM pg_catalog.pg_stat_progress_vacuum WHERE relid = %d AND datname = current_database()`, table)
}

// Archive counts the files of write-ahead log that wait for their archiving, where there is any.
const Archive = `SELECT '', count(*)::float8 FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready'
HAVING pg_catalog.current_setting('archive_mode') <> 'off'`

// SlotShares answers for each slot which share of what the server lets it hold it holds; a slot that passes it is lost.
const SlotShares = `SELECT s.slot_name::text, (d.held / nullif(greatest(d.held + s.safe_wal_size, 1), 0))::float8
FROM pg_catalog.pg_replication_slots s, LATERAL (SELECT greatest(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn), 0)) d (held)
WHERE s.safe_wal_size IS NOT NULL AND s.restart_lsn IS NOT NULL AND s.wal_status <> 'lost'`

// SlotBytes answers how much write-ahead log each slot holds.
const SlotBytes = `SELECT slot_name::text, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::float8
FROM pg_catalog.pg_replication_slots WHERE restart_lsn IS NOT NULL`

// Position answers where the write-ahead log is now, in bytes.
const Position = `SELECT '', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::float8`

// Replicas answers where each physical replica is that streams from here.
const Replicas = `SELECT coalesce(nullif(r.application_name, ''), 'a replica') || coalesce(' at ' || pg_catalog.host(r.client_addr), ''),
  pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0')::float8
FROM pg_catalog.pg_stat_replication r WHERE r.state IN ('streaming', 'catchup') AND r.replay_lsn IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`

// Heartbeat answers how often the probe of a change has written, also on a replica.
func Heartbeat(change string) string {
	return `SELECT probes FROM changeling.progress WHERE change_id = ` + ident.Literal(change)
}

// Data answers the data directory, and whether it is on the machine of whoever asks.
const Data = `SELECT pg_catalog.current_setting('data_directory'), pg_catalog.inet_server_addr() IS NOT DISTINCT FROM pg_catalog.inet_client_addr()`
