package postgres

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// seq is the log's own column. A key column of the user may have any other name, but for mirrored and misfit.
const seq = "changeling_seq"

// installCapture is one transaction. CREATE TRIGGER takes SHARE ROW EXCLUSIVE on the source, which waits for every open
// writer; so what commits after it has been seen by the triggers (invariant I1).
//
// The function runs as the table's owner with a pinned search path, writes to one table of ours and reads nothing, so no
// user can fail on it for lack of a right or through the new schema. ENABLE ALWAYS makes it fire for replicated writes too.
// Keys are compared by their image (*<>): that needs no operator of the key's type, which the search path may not find.
// The log's columns have the base types of the key's: a domain could refuse the NULLs that stand for a TRUNCATE.
func installCapture(p schema.Pair, wait time.Duration) []string {
	return slices.Concat(makeCapture(p, p.Source), lockParts(p, wait), arm(p))
}

// makeCapture makes log and function, and tries them with a key of a table that has the source's columns.
func makeCapture(p schema.Pair, sample schema.Name) []string {
	var defs []string
	for _, k := range p.Key {
		defs = append(defs, ident.Quote(k.Source)+" "+k.LogType)
	}
	create := []string{
		"CREATE TABLE " + qualified(p.Log) + " (" + seq + " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, " + mirrored + " boolean NOT NULL DEFAULT false, " + strings.Join(defs, ", ") + ") WITH (vacuum_truncate = false)",
		"CREATE TABLE " + qualified(p.Checks) + " (" + seq + " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, " + strings.Join(defs, ", ") + ")",
		LogOnly(p),
		"REVOKE ALL ON FUNCTION " + qualified(p.Capture) + "() FROM PUBLIC",
	}
	create = append(append(create, createAlive(p)...), known(p)...)
	return append(create, tryCapture(p, sample)...)
}

// arm puts the triggers on the source. From its commit on every write is in the log.
func arm(p schema.Pair) []string {
	trigger, truncate := ident.Quote(first(p)), ident.Quote(p.Capture.Table+"_truncate")
	return append([]string{
		"CREATE TRIGGER " + trigger + " AFTER INSERT OR UPDATE OR DELETE ON " + qualified(p.Source) + " FOR EACH ROW EXECUTE FUNCTION " + qualified(p.Capture) + "()",
		"CREATE TRIGGER " + truncate + " AFTER TRUNCATE ON " + qualified(p.Source) + " FOR EACH STATEMENT EXECUTE FUNCTION " + qualified(p.Capture) + "()",
		"ALTER TABLE " + qualified(p.Source) + " ENABLE ALWAYS TRIGGER " + trigger,
		"ALTER TABLE " + qualified(p.Source) + " ENABLE ALWAYS TRIGGER " + truncate,
	}, armParts(p)...)
}

// mirrored is the log's column that says that the trigger wrote the shadow's row too; see DualWrite.
const mirrored = "changeling_ok"

// recording are the key columns of the rows that a trigger sees, for the statements that log them.
type recording struct{ names, olds, news, gone []string }

func recordingOf(p schema.Pair) (r recording) {
	for _, k := range p.Key {
		name := ident.Quote(k.Source)
		r.names, r.olds, r.news, r.gone = append(r.names, name), append(r.olds, "OLD."+name), append(r.news, "NEW."+name), append(r.gone, "NULL")
	}
	return r
}

// moved says that an UPDATE changed the key.
func (r recording) moved() string {
	return "ROW(" + strings.Join(r.news, ", ") + ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(" + strings.Join(r.olds, ", ") + ")::pg_catalog.record"
}

// logs are the statements that log the keys, with what goes into the log's own column.
func (r recording) logs(p schema.Pair, ok string) string {
	insert := func(values []string) string {
		return "INSERT INTO " + qualified(p.Log) + " (" + strings.Join(r.names, ", ") + ", " + mirrored + ") VALUES (" + strings.Join(values, ", ") + ", " + ok + ");"
	}
	return full(p) + "  IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN\n    " + insert(r.news) + "\n  ELSIF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN\n    " + insert(r.gone) + "\n  ELSE\n    " + insert(r.olds) +
		"\n    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND " + r.moved() + " THEN\n      " + insert(r.news) + "\n    END IF;\n  END IF;\n  RETURN NULL;\nEND "
}

// full ends a call of the capture's function where the log has reached its bound. The file of a log never shrinks, because nothing
// but its drop truncates it: so what was left out once is never to be had again, and the size says that.
func full(p schema.Pair) string {
	if p.Limit == 0 {
		return ""
	}
	return "  IF " + size(p) + " OPERATOR(pg_catalog.>=) " + fmt.Sprint(p.Limit) + "::bigint THEN\n    RETURN NULL;\n  END IF;\n"
}

// size is that of the log's file.
func size(p schema.Pair) string {
	return "pg_catalog.pg_relation_size(" + ident.Literal(qualified(p.Log)) + "::pg_catalog.regclass)"
}

// LogOnly is the capture's function as it is most of the time: it logs keys, and does nothing else. It may run twice.
func LogOnly(p schema.Pair) string {
	return "CREATE OR REPLACE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS " + ident.Dollar("\nBEGIN\n"+recordingOf(p).logs(p, "false"))
}

// tryCapture fires the function once for each kind of write, on a table of ours with a key of the source, before any
// user's statement can meet it: if it fails for the key's types, it fails here.
func tryCapture(p schema.Pair, sample schema.Name) []string {
	var names, defs []string
	for _, k := range p.Key {
		names = append(names, ident.Quote(k.Source))
		defs = append(defs, ident.Quote(k.Source)+" "+k.Type)
	}
	table := ident.Qualified(p.Log.Schema, "try_"+p.Change)
	list := strings.Join(names, ", ")
	return []string{
		"CREATE TABLE " + table + " (" + strings.Join(defs, ", ") + ")",
		"CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON " + table + " FOR EACH ROW EXECUTE FUNCTION " + qualified(p.Capture) + "()",
		"CREATE TRIGGER b AFTER TRUNCATE ON " + table + " FOR EACH STATEMENT EXECUTE FUNCTION " + qualified(p.Capture) + "()",
		"INSERT INTO " + table + " SELECT " + list + " FROM " + only(sample, p.SourceParts) + " LIMIT 1",
		"UPDATE " + table + " SET " + names[0] + " = " + names[0],
		"DELETE FROM " + table,
		"TRUNCATE " + table,
		"DROP TABLE " + table,
		"DELETE FROM " + qualified(p.Log),
	}
}

// armed answers whether the capture's triggers stand on the source and fire for everybody.
func armed(p schema.Pair) string {
	return "SELECT count(*) = 2 FROM pg_catalog.pg_trigger WHERE tgrelid = " + ident.Literal(qualified(p.Source)) + "::pg_catalog.regclass AND tgenabled = 'A' AND tgname IN (" +
		ident.Literal(first(p)) + ", " + ident.Literal(p.Capture.Table+"_truncate") + ")" + bounded(p) + whole(p)
}

// bounded is the second half of armed: the log has not reached its bound.
func bounded(p schema.Pair) string {
	if p.Limit == 0 {
		return ""
	}
	return " AND " + size(p) + " < " + fmt.Sprint(p.Limit)
}

// dropCapture takes the triggers off. It needs ACCESS EXCLUSIVE on the source.
func dropCapture(p schema.Pair) []string {
	out := []string{"DROP TRIGGER " + ident.Quote(first(p)) + " ON " + qualified(p.Source)}
	for _, on := range append([]schema.Name{p.Source}, p.SourceParts...) {
		out = append(out, "DROP TRIGGER "+ident.Quote(p.Capture.Table+"_truncate")+" ON "+qualified(on))
	}
	return out
}

// silence makes the triggers do nothing. It takes no lock on the source, so an abort can stop the log from growing at
// once and wait for the lock that dropping the triggers needs.
func silence(p schema.Pair) string {
	return "CREATE OR REPLACE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql AS $changeling$ BEGIN RETURN NULL; END $changeling$"
}

// Blockers are the transactions of others that hold a lock on one of the tables, the oldest first. Its argument is our
// own application name. Without pg_read_all_stats the ages of other roles' transactions are not to be seen and count as 0;
// the bounded lock finds them then. Prepared transactions have no process. It answers who, the age in seconds, and of a client's
// session its process id, whether it is idle, and a mark of its transaction; 0 of all else, and of changeling itself.
func Blockers(tables []string, lock string) string {
	var names []string
	for _, t := range tables {
		names = append(names, "pg_catalog.to_regclass("+ident.Literal(t)+")")
	}
	return `SELECT coalesce(CASE WHEN l.pid IS NOT NULL THEN pg_catalog.concat('pid ', l.pid, ' of ' OPERATOR(pg_catalog.||) a.usename::text, ' (' OPERATOR(pg_catalog.||) CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END OPERATOR(pg_catalog.||) ')', ', ' OPERATOR(pg_catalog.||) a.state) END,
    'prepared transaction ' OPERATOR(pg_catalog.||) (SELECT gid FROM pg_catalog.pg_prepared_xacts x WHERE pg_catalog.concat('-1/', x.transaction) OPERATOR(pg_catalog.=) l.virtualtransaction LIMIT 1), 'a prepared transaction'),
  coalesce(extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) coalesce(a.xact_start,
    (SELECT x.prepared FROM pg_catalog.pg_prepared_xacts x WHERE pg_catalog.concat('-1/', x.transaction) OPERATOR(pg_catalog.=) l.virtualtransaction LIMIT 1))), 0)::float8 AS age,
  CASE WHEN a.backend_type OPERATOR(pg_catalog.=) 'client backend' AND a.application_name OPERATOR(pg_catalog.!~~) 'changeling%' AND a.xact_start IS NOT NULL THEN l.pid ELSE 0 END,
  coalesce(a.state OPERATOR(pg_catalog.~~) 'idle in transaction%', false), coalesce(` + mark + `, '')
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.granted AND l.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
  AND l.relation OPERATOR(pg_catalog.=) ANY (ARRAY[` + strings.Join(names, ", ") + `]::oid[])` + conflicting(lock) + `
  AND coalesce(a.application_name, '') OPERATOR(pg_catalog.<>) $1::text AND coalesce(a.backend_type, '') OPERATOR(pg_catalog.<>) 'autovacuum worker'
GROUP BY l.pid, l.virtualtransaction, a.usename, a.application_name, a.state, a.xact_start, a.backend_start, a.backend_type ORDER BY age DESC`
}

// mark tells a transaction from any other one of the same process id.
const mark = `(extract(epoch FROM a.backend_start)::text OPERATOR(pg_catalog.||) '/' OPERATOR(pg_catalog.||) extract(epoch FROM a.xact_start)::text)`

// End ends the session of a client, of a process id and with a mark, that still is in the transaction which it was seen in;
// with idle, if it is idle in it. Connections of changeling are never ended, nor anything that is no client's.
func End(idle bool) string {
	text := `SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
WHERE a.pid OPERATOR(pg_catalog.=) $1::int AND ` + mark + ` OPERATOR(pg_catalog.=) $2::text AND a.backend_type OPERATOR(pg_catalog.=) 'client backend' AND a.application_name OPERATOR(pg_catalog.!~~) 'changeling%'`
	if idle {
		text += ` AND a.state OPERATOR(pg_catalog.~~) 'idle in transaction%'`
	}
	return text
}

// conflicting is the condition that a lock l keeps somebody from getting another one (manual, Table-Level Locks).
func conflicting(lock string) string {
	var modes string
	switch {
	case strings.HasPrefix(lock, "SHARE UPDATE EXCLUSIVE"):
		modes = "'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'"
	case strings.HasPrefix(lock, "SHARE ROW EXCLUSIVE"):
		modes = "'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'"
	case strings.HasPrefix(lock, "SHARE"):
		modes = "'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'"
	default:
		return "" // with ACCESS EXCLUSIVE, all of them
	}
	return " AND l.mode OPERATOR(pg_catalog.=) ANY (ARRAY[" + modes + "])"
}
