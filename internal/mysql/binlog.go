package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/schema"
)

// Where no trigger writes the key log, the run does, from what it reads in the binary log. The transaction that writes keys
// is in the binary log itself, behind those that changed them, and the server commits in that order: whoever sees a key in
// the log sees the row as it was left by the one who changed it, or newer (invariant I6). So nobody needs a locking read.

// position is where the run notes how far it has read.
func position(p schema.Pair) schema.Name {
	return schema.Name{Schema: p.Log.Schema, Table: "position_" + p.Change}
}

// place is the row there that belongs to a pair: an undo has its own.
func place(p schema.Pair) string {
	if turnedRound(p) {
		return "2"
	}
	return "1"
}

// InstallLog makes the key log for keys that a run reads in the binary log. Every statement may run twice.
func InstallLog(p schema.Pair) []string {
	return append(makeLog(p), "CREATE TABLE IF NOT EXISTS "+qualified(position(p))+" (one int NOT NULL PRIMARY KEY, at longtext NOT NULL) ENGINE=InnoDB")
}

// Position answers how far the log was read, in no row before the first time, and SetPosition notes it.
func Position(p schema.Pair) string {
	return "SELECT o.at FROM " + qualified(position(p)) + " o WHERE o.one = " + place(p)
}

// SetPosition takes the position as its argument.
func SetPosition(p schema.Pair) string {
	return "REPLACE INTO " + qualified(position(p)) + " (one, at) VALUES (" + place(p) + ", $1)"
}

// ForgetPosition makes the next run begin at the end of the binary log.
func ForgetPosition(p schema.Pair) string {
	return "DELETE FROM " + qualified(position(p)) + " WHERE one = " + place(p)
}

// LogZone is the time zone under which LogKeys writes a TIMESTAMP.
const LogZone = "+00:00"

// SetZone changes the time zone of a session.
func SetZone(zone string) string { return "SET SESSION time_zone = " + literal(zone) }

// LogKeys puts keys into the log, as package capture gives them.
func LogKeys(p schema.Pair, keys []capture.Key) string {
	var names []string
	for _, k := range p.Key {
		names = append(names, quote(k.Source))
	}
	var b strings.Builder
	b.WriteString("INSERT INTO " + qualified(p.Log) + " (" + strings.Join(names, ", ") + ") VALUES ")
	for i, key := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		for j, v := range key {
			if j > 0 {
				b.WriteString(", ")
			}
			switch v := v.(type) {
			case int64:
				b.WriteString(strconv.FormatInt(v, 10))
			case []byte:
				b.WriteString("X'" + hex.EncodeToString(v) + "'")
			case string:
				b.WriteString(literal(v))
			}
		}
		b.WriteByte(')')
	}
	return b.String()
}

// Follow is what a reader of the binary log needs to know of a table: everything but the address and the position.
func Follow(ctx context.Context, q DB, p schema.Pair, maria bool) (capture.Config, error) {
	c := capture.Config{Table: p.Source, Flavor: capture.MySQL}
	if maria {
		c.Flavor = capture.MariaDB
	}
	rows, err := q.QueryContext(ctx, `SELECT c.column_name, c.ordinal_position - 1, c.data_type, c.column_type LIKE '%unsigned%', COALESCE(c.character_set_name, '')
FROM information_schema.columns c WHERE c.table_schema = `+literal(p.Source.Schema)+` AND c.table_name = `+literal(p.Source.Table)+` ORDER BY c.ordinal_position`)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	known := map[string]capture.Column{}
	for rows.Next() {
		var k capture.Column
		if err := rows.Scan(&k.Name, &k.Ordinal, &k.Type, &k.Unsigned, &k.Charset); err != nil {
			return c, err
		}
		k.Type = strings.ToLower(k.Type)
		known[k.Name] = k
		c.Columns++
	}
	if err := rows.Err(); err != nil {
		return c, err
	}
	for _, k := range p.Key {
		c.Key = append(c.Key, known[k.Source])
	}
	return c, nil
}

// Unfollowable says why the keys of a change cannot be read in the server's binary log, or nothing if they can. The account's
// right to read it is not looked at: who reads it finds out.
func Unfollowable(ctx context.Context, q DB, maria bool) (why string, err error) {
	var on bool
	if err := q.QueryRowContext(ctx, "SELECT @@global.log_bin").Scan(&on); err != nil {
		return "", err
	}
	if !on {
		return "the server writes no binary log (log_bin=OFF)", nil
	}
	var format string
	switch err := q.QueryRowContext(ctx, "SELECT @@global.binlog_format").Scan(&format); {
	case unknownVariable(err): // there is none but ROW any more
	case err != nil:
		return "", err
	case !strings.EqualFold(format, "ROW"):
		return fmt.Sprintf("the binary log has statements instead of rows (binlog_format=%s)", format), nil
	}
	if !maria { // MariaDB always commits in the order of its log
		var ordered bool
		if err := q.QueryRowContext(ctx, "SELECT @@global.binlog_order_commits").Scan(&ordered); err != nil {
			return "", err
		}
		if !ordered {
			return "transactions may become visible in another order than they are logged (binlog_order_commits=OFF)", nil
		}
	}
	filters, err := filtered(ctx, q, maria)
	switch {
	case fault.Denied(coded(err)):
		return "the account may not ask how far the binary log goes: GRANT REPLICATION CLIENT ON *.* (on MariaDB BINLOG MONITOR)", nil
	case err != nil:
		return "", err
	case filters != "":
		return "the server leaves databases out of its binary log (" + filters + ")", nil
	}
	return silent(ctx, q, maria)
}

// silent says that the server is a replica whose binary log does not have what it applies.
func silent(ctx context.Context, q DB, maria bool) (why string, err error) {
	name, status := "log_replica_updates", "SHOW REPLICA STATUS"
	if maria {
		name, status = "log_slave_updates", "SHOW ALL SLAVES STATUS"
	}
	var on bool
	err = q.QueryRowContext(ctx, "SELECT @@global."+name).Scan(&on)
	if unknownVariable(err) { // MySQL before 8.0.26
		status = "SHOW SLAVE STATUS"
		err = q.QueryRowContext(ctx, "SELECT @@global.log_slave_updates").Scan(&on)
	}
	if err != nil || on {
		return "", err
	}
	rows, err := q.QueryContext(ctx, status)
	if fault.Denied(coded(err)) {
		return "the server does not log what it applies as a replica (" + name + "=OFF), and the account may not ask whether it is one: GRANT REPLICATION CLIENT ON *.* (on MariaDB SLAVE MONITOR)", nil
	}
	if err != nil {
		return "", err
	}
	defer rows.Close()
	if rows.Next() {
		why = "the server is a replica that does not log what it applies (" + name + "=OFF)"
	}
	return why, rows.Err()
}

// filtered are the databases that the server's own filters name.
func filtered(ctx context.Context, q DB, maria bool) (string, error) {
	query := "SHOW BINARY LOG STATUS" // from MySQL 8.2 on
	if maria {
		query = "SHOW MASTER STATUS"
	}
	rows, err := q.QueryContext(ctx, query)
	if fault.Code(coded(err)) == "42601" {
		rows, err = q.QueryContext(ctx, "SHOW MASTER STATUS")
	}
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var found []string
	for rows.Next() {
		into, values := make([]any, len(columns)), make([]sql.NullString, len(columns))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		for i, name := range columns {
			if (name == "Binlog_Do_DB" || name == "Binlog_Ignore_DB") && values[i].String != "" {
				found = append(found, strings.ToLower(name)+"="+values[i].String)
			}
		}
	}
	return strings.Join(found, ", "), rows.Err()
}

func unknownVariable(err error) bool {
	e, ok := coded(err).(*Error)
	return ok && e.Code == 1193
}

// rebuild is a statement of the binary log that writes a table anew and changes nothing else. What is written otherwise is not taken for one.
var rebuild = regexp.MustCompile("(?is)^\\s*(OPTIMIZE\\s+((NO_WRITE_TO_BINLOG|LOCAL)\\s+)?TABLES?\\s.*|ALTER\\s+TABLE\\s+((`([^`]|``)+`|[\\w$]+)\\s*\\.\\s*)?(`([^`]|``)+`|[\\w$]+)\\s+(FORCE|ENGINE\\s*=?\\s*InnoDB))\\s*;?\\s*$")

// Rebuilds says that a statement which is about a table of InnoDB writes it anew and changes nothing else.
func Rebuilds(text string) bool { return rebuild.MatchString(text) }
