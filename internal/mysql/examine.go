package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
)

// Finding is what an examination says of one thing.
type Finding struct {
	Check string
	Level string // ok, warn, fail
	Text  string // what is
	Fix   string // what to do; empty if nothing is to be done
}

// Examine looks whether a server, an account and a connection are fit for changes. It only reads. A question that the server
// does not answer is a finding. place says where the connection goes, wait is how long a change would wait for a lock.
func Examine(ctx context.Context, db *sql.DB, place string, wait time.Duration) ([]Finding, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, coded(err)
	}
	defer conn.Close()
	x := &examination{q: conn, place: place, wait: wait}
	if err := x.connection(ctx); err != nil {
		return nil, coded(err)
	}
	for _, c := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"server", x.server}, {"rights", x.allowed}, {"binary log", x.log}, {"replicas", x.replicas}, {"statistics", x.statistics}, {"settings", x.settings},
		{"connections", x.connections}, {"transactions", x.transactions}, {"disk", x.disk}, {"changes", x.changes},
	} {
		if err := coded(c.ask(ctx)); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			x.add(c.name, "warn", "could not be looked at: "+fault.Message(err), "")
		}
	}
	return x.found, nil
}

type examination struct {
	q        DB
	place    string
	wait     time.Duration
	database string
	among    Server
	found    []Finding
}

func (x *examination) add(check, level, text, fix string) {
	x.found = append(x.found, Finding{check, level, text, fix})
}

func (x *examination) ok(check, format string, args ...any) {
	x.add(check, "ok", fmt.Sprintf(format, args...), "")
}

func (x *examination) connection(ctx context.Context) error {
	var database sql.NullString
	var name, cipher string
	if err := x.q.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&database); err != nil {
		return err
	}
	x.database = database.String
	if err := x.q.QueryRowContext(ctx, "SHOW SESSION STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil {
		return err
	}
	switch {
	case cipher != "":
		x.ok("connection", "%s, encrypted", x.place)
	case strings.Contains(x.place, "127.0.0.1") || strings.Contains(x.place, "localhost") || strings.Contains(x.place, "[::1]"):
		x.ok("connection", "%s, on this machine", x.place)
	default:
		x.add("connection", "warn", x.place+", not encrypted", "add ssl-mode=VERIFY_IDENTITY, with ssl-ca=FILE")
	}
	return nil
}

func (x *examination) server(ctx context.Context) (err error) {
	d, err := ask(ctx, x.q)
	if err != nil {
		return err
	}
	if x.among, err = Look(ctx, x.q); err != nil {
		return err
	}
	if why := x.among.Unfit(); why != "" {
		x.add("server", "fail", d.version+": "+why, "see there")
		return nil
	}
	x.ok("server", "%s, takes writes alone", d.version)
	return nil
}

// allowed looks for what a change needs. The list is what `GRANT` gives and not the least that one statement could do with.
func (x *examination) allowed(ctx context.Context) error {
	r, err := ReadRights(ctx, x.q)
	if err != nil {
		return err
	}
	lacking := false
	look := func(level, database, on, text string, privileges ...string) {
		if missing := r.Lacks(database, privileges...); len(missing) > 0 {
			lacking = true
			x.add("rights", level, fmt.Sprintf("%s lacks %s: %s", r.account, strings.Join(missing, ", "), text), r.Grant(missing, on))
		}
	}
	look("fail", "", "*.*", "a TRUNCATE during a change could not be noticed, nor old snapshots at its end", "PROCESS")
	own := []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "INDEX", "ALTER", "LOCK TABLES", "CREATE TEMPORARY TABLES", "TRIGGER", "REFERENCES"}
	on := "`changeling%`.*"
	if !r.patterns { // then % is a letter as any other
		on = "*.*"
	}
	look("fail", "changeling_00000000_old", on, "each change has databases of its own, and one is for the state of all", own...)
	if x.database == "" {
		x.add("rights", "warn", "the connection has no default database: whether its tables may be changed was not looked at", "name the database in the connection string")
	} else {
		look("fail", x.database, quote(x.database)+".*", "tables of this database cannot be changed", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "INDEX", "ALTER", "LOCK TABLES", "TRIGGER", "REFERENCES")
	}
	client := "REPLICATION CLIENT"
	if x.among.Maria {
		client = "BINLOG MONITOR"
	}
	look("warn", "", "*.*", "the binary log cannot be read, and triggers have to log what changes", "REPLICATION SLAVE", client)
	if !x.among.Maria {
		look("warn", "", "*.*", "prepared XA transactions are not seen when the binary log is first read: one that commits later begins the copy again", "XA_RECOVER_ADMIN")
	}
	if !lacking {
		x.ok("rights", "%s may do all that a change needs", r.account)
	}
	return nil
}

func (x *examination) log(ctx context.Context) error {
	why, err := Unfollowable(ctx, x.q, x.among.Maria)
	if err != nil {
		return err
	}
	set, err := variables(ctx, x.q, "log_bin", "binlog_format", "binlog_row_image", "log_bin_trust_function_creators", "sync_binlog")
	if err != nil {
		return err
	}
	if why == "" {
		x.ok("binary log", "on, rows of image %s: what changes is read there, and users pay nothing for it", set["binlog_row_image"])
		return nil
	}
	fix := "nothing has to be done: triggers log the keys, in the users' own transactions"
	if set["log_bin"] == "ON" && set["log_bin_trust_function_creators"] != "ON" {
		fix = "triggers log the keys instead. An account without SUPER may make them only with SET GLOBAL log_bin_trust_function_creators = ON"
	}
	x.add("binary log", "warn", "what changes cannot be read in it: "+why, fix)
	return nil
}

func (x *examination) replicas(context.Context) error {
	switch n := x.among.Replicas; {
	case n > 0:
		x.add("replicas", "warn", fmt.Sprintf("%d connections read the binary log: a replica builds an index in its turn, and applies nothing else for as long as that takes", n),
			"choose an hour at which they may lag")
	default:
		x.ok("replicas", "none is attached, as far as this account sees")
	}
	return nil
}

func (x *examination) statistics(ctx context.Context) error {
	set, err := variables(ctx, x.q, "performance_schema")
	if err != nil {
		return err
	}
	var n int
	err = coded(x.q.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE 1 = 0").Scan(&n))
	switch {
	case set["performance_schema"] != "ON":
		x.add("statistics", "warn", "performance_schema is off: who holds a table cannot be named before a lock is tried", "start the server with performance_schema=ON")
	case fault.Denied(err):
		r, err := ReadRights(ctx, x.q)
		if err != nil {
			return err
		}
		x.add("statistics", "warn", "performance_schema cannot be read: who holds a table cannot be named before a lock is tried", r.Grant([]string{"SELECT"}, "`performance_schema`.*"))
	case err != nil:
		return err
	default:
		x.ok("statistics", "performance_schema shows who holds a table")
	}
	return nil
}

func (x *examination) settings(ctx context.Context) error {
	d, err := ask(ctx, x.q)
	if err != nil {
		return err
	}
	set, err := variables(ctx, x.q, "lock_wait_timeout", "innodb_lock_wait_timeout", "innodb_deadlock_detect", "innodb_flush_log_at_trx_commit", "innodb_log_writer_threads", "max_write_lock_count")
	if err != nil {
		return err
	}
	x.ok("settings", "lock_wait_timeout is %s s and innodb_lock_wait_timeout %s s; a change sets its own, and gives a table up that it does not get within %s", set["lock_wait_timeout"],
		set["innodb_lock_wait_timeout"], x.wait)
	if !strings.Contains(d.mode, "STRICT_") {
		x.add("settings", "warn", fmt.Sprintf("sql_mode is %q, without STRICT_TRANS_TABLES: an ALTER would bend values that do not fit, and a change refuses them and names the row", d.mode), "mend the rows, or set the mode of the application to a strict one")
	} else {
		x.ok("settings", "sql_mode is strict, as a change is")
	}
	if set["innodb_deadlock_detect"] == "OFF" {
		x.add("settings", "warn", "innodb_deadlock_detect is OFF: transactions that wait for each other wait for innodb_lock_wait_timeout, users among them", "switch it on while changes run")
	}
	if set["innodb_log_writer_threads"] == "OFF" { // who commits waits for redo of others with a time-out of 100 ms, and misses wake-ups
		x.add("settings", "warn", "innodb_log_writer_threads is OFF, as is the default of MySQL 8.4 and later on machines with few processors: while others write much, as a change does that copies rows, a commit can wait 100 ms, once in some seconds",
			"with processors to spare, SET GLOBAL innodb_log_writer_threads = ON for as long as changes run; on two processors it makes every commit slower")
	}
	if set["innodb_flush_log_at_trx_commit"] != "1" {
		x.add("settings", "warn", "innodb_flush_log_at_trx_commit is "+set["innodb_flush_log_at_trx_commit"]+": a crash of the machine can lose what was committed, with or without a change", "set it to 1 unless this is a test server")
	}
	return nil
}

// most is how many connections a command opens.
const most = 12

func (x *examination) connections(ctx context.Context) error {
	set, err := variables(ctx, x.q, "max_connections", "max_user_connections")
	if err != nil {
		return err
	}
	var name string
	var limit, own, taken int
	if err := x.q.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Threads_connected'").Scan(&name, &taken); err != nil {
		return err
	}
	if _, err := fmt.Sscan(set["max_connections"]+" "+set["max_user_connections"], &limit, &own); err != nil {
		return err
	}
	free, of := limit-taken, fmt.Sprintf("max_connections is %d, and %d are taken", limit, taken)
	if own > 0 && own < free {
		free, of = own, fmt.Sprintf("max_user_connections is %d", own)
	}
	switch {
	case free < 5:
		x.add("connections", "fail", of+": a change needs 5", "raise the limit, or end sessions that are idle")
	case free < most:
		x.add("connections", "warn", fmt.Sprintf("%s: a change uses up to %d", of, most), "raise the limit")
	default:
		x.ok("connections", "%s: a change uses up to %d", of, most)
	}
	return nil
}

func (x *examination) transactions(ctx context.Context) error {
	rows, err := x.q.QueryContext(ctx, `SELECT x.trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), x.trx_isolation_level FROM information_schema.innodb_trx x
WHERE x.trx_started < NOW() - INTERVAL 1 MINUTE AND x.trx_mysql_thread_id <> CONNECTION_ID() ORDER BY x.trx_started`)
	if err = coded(err); fault.Denied(err) {
		return nil // that PROCESS is missing was said
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	var open, prepared []string
	for rows.Next() {
		var id, age int64
		var isolation string
		if err := rows.Scan(&id, &age, &isolation); err != nil {
			return err
		}
		if id == 0 {
			prepared = append(prepared, (time.Duration(age) * time.Second).String())
		} else {
			open = append(open, fmt.Sprintf("connection %d at %s, for %s", id, isolation, time.Duration(age)*time.Second))
		}
	}
	if len(open) > 0 {
		x.add("transactions", "warn", fmt.Sprintf("%d have been open for more than a minute: %s", len(open), strings.Join(open[:min(len(open), 3)], "; ")),
			"a swap waits for those that use its table, and for those at REPEATABLE READ, which would read an old state of the new one; end what was forgotten")
	}
	if len(prepared) > 0 {
		x.add("transactions", "warn", fmt.Sprintf("%d prepared XA transactions hold their locks until they are ended, the oldest for %s", len(prepared), prepared[0]), "XA RECOVER, then XA COMMIT or XA ROLLBACK, if nobody will")
	}
	if len(open)+len(prepared) == 0 {
		x.ok("transactions", "none has been open for more than a minute")
	}
	return rows.Err()
}

func (x *examination) disk(ctx context.Context) error {
	var directory string
	if err := x.q.QueryRowContext(ctx, "SELECT @@datadir").Scan(&directory); err != nil {
		return err
	}
	var table string
	var bytes float64
	err := x.q.QueryRowContext(ctx, "SELECT table_name, CAST(data_length + index_length AS DOUBLE) FROM information_schema.tables WHERE table_schema = "+literal(x.database)+
		" AND table_type = 'BASE TABLE' ORDER BY 2 DESC LIMIT 1").Scan(&table, &bytes)
	switch {
	case err == sql.ErrNoRows:
		x.ok("disk", "the database has no tables yet")
	case err != nil:
		return err
	default:
		x.ok("disk", "the server does not say how much is free: the largest table, %s, has %.0f MB with indexes, and a change of it needs 1.2 times that in %s, and room for the binary log", table, bytes/1e6, directory)
	}
	return nil
}

func (x *examination) changes(ctx context.Context) error {
	var known []string
	if there, err := state.Column(ctx, x.q, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'changeling' AND table_name = 'history'"); err != nil {
		return err
	} else if len(there) == 0 {
		x.ok("changes", "none was ever made here")
	} else {
		var open, failed, due int
		err := x.q.QueryRowContext(ctx, `SELECT COALESCE(SUM(status NOT IN ('done', 'aborted', 'undone')), 0), COALESCE(SUM(status = 'failed'), 0),
  COALESCE(SUM(status IN ('done', 'undone') AND NOT dropped AND drop_at < UTC_TIMESTAMP(6)), 0) FROM changeling.chg`).Scan(&open, &failed, &due)
		if err != nil {
			return err
		}
		if failed > 0 {
			x.add("changes", "warn", fmt.Sprintf("%d changes have failed and wait for a person", failed), "`changeling list`, then `changeling status ID`")
		}
		if due > 0 {
			x.add("changes", "warn", fmt.Sprintf("%d old tables may be dropped", due), "`changeling cleanup`")
		}
		if failed+due == 0 {
			x.ok("changes", "%d under way, none failed, no old table is due", open)
		}
		if known, err = state.Column(ctx, x.q, "SELECT id FROM changeling.chg"); err != nil {
			return err
		}
	}
	databases, err := state.Column(ctx, x.q, "SELECT schema_name FROM information_schema.schemata WHERE LEFT(schema_name, 11) = 'changeling_' ORDER BY 1")
	if err != nil {
		return err
	}
	strays := slices.DeleteFunc(databases, func(name string) bool {
		return slices.Contains(known, strings.TrimSuffix(strings.TrimPrefix(name, "changeling_"), "_old"))
	})
	if len(strays) > 0 {
		x.add("changes", "warn", "databases of changes that nobody knows any more: "+strings.Join(strays, ", "), "look inside, then DROP DATABASE")
	}
	return nil
}
