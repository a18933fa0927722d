package mysql

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// triggers are the capture's, by the letter at the end of their name. An INSERT that meets a duplicate and updates fires the
// one for UPDATE; REPLACE fires those for DELETE and INSERT.
var triggers = []struct{ suffix, event, row string }{{"i", "INSERT", "NEW"}, {"u", "UPDATE", "OLD"}, {"d", "DELETE", "OLD"}}

// InstallCapture makes the key log and the triggers that write it: the old and the new key of each changed row, nothing
// else. Each CREATE TRIGGER waits for every open writer, so what commits after the last one has been seen by all of them
// (invariant I1). Every statement may run twice.
//
// The triggers run with the rights of the role that makes the change, under its sql_mode. On MariaDB all of them call one
// procedure: were they to name the log themselves, users who write under LOCK TABLES would fail with error 1442 (tried on
// 10.11 and 11.8: it is enough that triggers for two events write to one table).
func (w Rows) InstallCapture() []string {
	p := w.Pair
	var names []string
	for _, k := range p.Key {
		names = append(names, quote(k.Source))
	}
	out := makeLog(p)
	for _, t := range triggers {
		out = append(out, "DROP TRIGGER IF EXISTS "+trigger(p, t.suffix))
	}
	insert := "INSERT INTO " + qualified(p.Log) + " (" + strings.Join(names, ", ") + ") VALUES "
	if w.Maria {
		note := schema.Name{Schema: p.Log.Schema, Table: "note_" + p.Change}
		var takes, given []string
		for i, k := range p.Key {
			given = append(given, fmt.Sprintf("k%d", i+1))
			takes = append(takes, given[i]+" "+k.Type)
		}
		out = append(out, "CREATE OR REPLACE PROCEDURE "+qualified(note)+"("+strings.Join(takes, ", ")+") "+insert+"("+strings.Join(given, ", ")+")")
		insert = "CALL " + qualified(note)
	}
	values := func(row string) string { return "(" + row + "." + strings.Join(names, ", "+row+".") + ")" }
	for _, t := range triggers {
		body := insert + values(t.row)
		if t.event == "UPDATE" {
			var same []string
			for _, n := range names {
				same = append(same, "CAST(OLD."+n+" AS BINARY) <=> CAST(NEW."+n+" AS BINARY)")
			}
			body = fmt.Sprintf("BEGIN %s; IF NOT (%s) THEN %s; END IF; END", body, strings.Join(same, " AND "), insert+values("NEW"))
		}
		out = append(out, "CREATE TRIGGER "+trigger(p, t.suffix)+" AFTER "+t.event+" ON "+qualified(p.Source)+" FOR EACH ROW "+body)
	}
	return out
}

// makeLog makes the key log, the keys to compare again, and the note of what the source was.
func makeLog(p schema.Pair) []string {
	var defs, names []string
	for _, k := range p.Key {
		defs = append(defs, quote(k.Source)+" "+k.LogType)
		names = append(names, quote(k.Source))
	}
	index := ", KEY (" + strings.Join(names, ", ") + ")"
	if also := alsoNamed(p); len(also) > 0 { // they are compared as the old table's
		names = nil
		for _, k := range p.Key {
			names = append(names, quote(k.Shadow))
		}
		defs, index = append(defs, also...), index+", KEY ("+strings.Join(names, ", ")+")"
	}
	return []string{
		"CREATE TABLE IF NOT EXISTS " + qualified(p.Log) + " (" + seq + " bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, " + strings.Join(defs, ", ") + index + ") ENGINE=InnoDB",
		"CREATE TABLE IF NOT EXISTS " + qualified(p.Checks) + " (" + seq + " bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, " + strings.Join(defs, ", ") + ") ENGINE=InnoDB",
		"CREATE TABLE IF NOT EXISTS " + qualified(alive(p)) + " (one int NOT NULL PRIMARY KEY, made bigint NOT NULL) ENGINE=InnoDB",
	}
}

func trigger(p schema.Pair, suffix string) string {
	return qualified(schema.Name{Schema: p.Capture.Schema, Table: p.Capture.Table + "_" + suffix})
}

// Armed answers whether the capture's triggers stand on the source.
func Armed(p schema.Pair) string {
	return "SELECT COUNT(*) = 3 FROM information_schema.triggers WHERE trigger_schema = " + literal(p.Capture.Schema) + " AND event_object_table = " + literal(p.Source.Table) +
		" AND trigger_name IN (" + literal(p.Capture.Table+"_i") + ", " + literal(p.Capture.Table+"_u") + ", " + literal(p.Capture.Table+"_d") + ")"
}

// DropCapture takes the triggers off. Each statement may run twice, and needs an exclusive metadata lock on the source.
func DropCapture(p schema.Pair) []string {
	if p.Binlog {
		return nil
	}
	var out []string
	for _, t := range triggers {
		out = append(out, "DROP TRIGGER IF EXISTS "+trigger(p, t.suffix))
	}
	return out
}

// Blockers are the transactions of others that hold a metadata lock on one of the tables, the oldest first, as far as
// performance_schema shows them. It answers who, the age in seconds, the connection's id, whether it is idle, and a mark of its
// transaction.
func Blockers(tables ...schema.Name) string {
	var list []string
	for _, n := range tables {
		list = append(list, "("+literal(n.Schema)+", "+literal(n.Table)+")")
	}
	return `SELECT CONCAT('connection ', t.processlist_id, ' of ', COALESCE(t.processlist_user, '?'), COALESCE(CONCAT(', ', t.processlist_command), '')),
  CAST(MAX(COALESCE(TIMESTAMPDIFF(MICROSECOND, x.trx_started, NOW()) / 1e6, 0)) AS DOUBLE) AS age,
  t.processlist_id, COALESCE(t.processlist_command = 'Sleep', false), CAST(MIN(x.trx_started) AS CHAR)
FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
  JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = t.processlist_id
WHERE m.object_type = 'TABLE' AND m.lock_status = 'GRANTED' AND (m.object_schema, m.object_name) IN (` + strings.Join(list, ", ") + `)
  AND t.processlist_id <> CONNECTION_ID() AND COALESCE(t.processlist_info, '') NOT LIKE '%changeling%'
GROUP BY t.processlist_id, t.processlist_user, t.processlist_command ORDER BY age DESC`
}

// Abandon takes away what a change made before its cutover: first the triggers, which needs a lock on the source, then the
// rest. Each statement may run twice.
func (w Rows) Abandon() (triggers, rest []string) {
	p := w.Pair
	if w.Maria {
		rest = []string{"DROP SEQUENCE IF EXISTS " + qualified(Aside(p))} // the sentry; a table of this name is passed over
	}
	return DropCapture(p), append(rest,
		"DROP TABLE IF EXISTS "+qualified(p.Shadow), "DROP TABLE IF EXISTS "+qualified(p.Log)+", "+qualified(p.Checks)+", "+qualified(alive(p)),
		"DROP DATABASE IF EXISTS "+quote(p.Log.Schema), "DROP DATABASE IF EXISTS "+quote(p.Old.Schema))
}

// Still answers whether a connection of an id still is in the transaction with a mark; with a third argument, whether it is
// idle in it. Replication and the server's own threads are not among them.
const Still = `SELECT EXISTS (SELECT 1 FROM information_schema.innodb_trx x JOIN performance_schema.threads t ON t.processlist_id = x.trx_mysql_thread_id
WHERE x.trx_mysql_thread_id = $1 AND CAST(x.trx_started AS CHAR) = $2 AND t.type = 'FOREGROUND' AND t.processlist_user <> 'system user'
  AND COALESCE(t.processlist_command, '') NOT LIKE 'Binlog Dump%' AND (NOT $3 OR t.processlist_command = 'Sleep'))`
