package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
)

// This file is what the doctor asks. The texts stand here and not with the engine's own, because they are read once, by a
// person, and nothing is decided by them.

func (d *doctor) connection(ctx context.Context) error {
	var tls, local bool
	err := d.db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int,
  coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
  coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', true)`).Scan(&d.version, &tls, &local)
	if err != nil {
		return err
	}
	switch {
	case tls:
		d.ok("connection", "%s, encrypted", d.place)
	case local:
		d.ok("connection", "%s, on this machine", d.place)
	default:
		d.warn("connection", d.place+", not encrypted", "add sslmode=verify-full, with sslrootcert where the authority is your own")
	}
	return nil
}

func (d *doctor) server(ctx context.Context) error {
	var version string
	var replica, readOnly bool
	err := d.db.QueryRowContext(ctx, `SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool`).
		Scan(&version, &replica, &readOnly)
	switch {
	case err != nil:
		return err
	case d.version < 140000:
		d.fail("server", "PostgreSQL "+version+": 14 or later is needed", "upgrade the server")
	case replica:
		d.fail("server", "PostgreSQL "+version+" is a standby", "connect to the primary")
	case readOnly:
		d.fail("server", "default_transaction_read_only is on", "connect as a role, or to a database, that may write")
	default:
		d.ok("server", "PostgreSQL %s, primary", version)
	}
	return nil
}

func (d *doctor) role(ctx context.Context) error {
	var role, database string
	var super, create bool
	err := d.db.QueryRowContext(ctx, `SELECT current_user, current_database(), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  has_database_privilege(current_database(), 'CREATE')`).Scan(&role, &database, &super, &create)
	switch {
	case err != nil:
		return err
	case super:
		d.ok("role", "%s is a superuser; a role with CREATE on the database and membership in the owners of the tables is enough", role)
	case create:
		d.ok("role", "%s may make schemas in %s", role, database)
	default:
		d.fail("role", fmt.Sprintf("%s may not make schemas in %s, and each change needs one", role, database),
			fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", name(database), name(role)))
	}
	return nil
}

// tables looks who owns the tables: a change acts as the owner, so the role has to be able to become it.
func (d *doctor) tables(ctx context.Context) error {
	become := "MEMBER"
	if d.version >= 160000 {
		become = "SET"
	}
	rows, err := d.db.QueryContext(ctx, `SELECT current_user, pg_get_userbyid(c.relowner), count(*), pg_has_role(c.relowner, $1::text),
  coalesce(string_agg(DISTINCT quote_ident(n.nspname), ', ') FILTER (WHERE NOT has_schema_privilege(c.relowner, n.oid, 'CREATE')), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'changeling')
  AND n.nspname NOT LIKE 'pg\_temp%' AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'changeling\_%'
GROUP BY c.relowner ORDER BY 3 DESC`, become)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all, mine int
	var others []finding
	for rows.Next() {
		var role, owner, closed string
		var count int
		var member bool
		if err := rows.Scan(&role, &owner, &count, &member, &closed); err != nil {
			return err
		}
		all += count
		if member {
			mine += count
		} else {
			others = append(others, finding{Text: fmt.Sprintf("%d tables belong to %s, whom %s cannot become", count, owner, role), Fix: fmt.Sprintf("GRANT %s TO %s", name(owner), name(role))})
		}
		if closed != "" {
			d.warn("tables", fmt.Sprintf("%s owns tables in %s and may not create there, so the new table could not take their place", owner, closed),
				fmt.Sprintf("GRANT CREATE ON SCHEMA %s TO %s", closed, name(owner)))
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, f := range others {
		if mine == 0 {
			d.fail("tables", f.Text, f.Fix)
		} else {
			d.warn("tables", f.Text, f.Fix+", to change them too")
		}
	}
	if all == 0 {
		d.ok("tables", "there are none yet")
	} else if mine > 0 {
		d.ok("tables", "%d of %d can be changed by this role", mine, all)
	}
	return nil
}

func (d *doctor) statistics(ctx context.Context) error {
	var role string
	var sees bool
	if err := d.db.QueryRowContext(ctx, `SELECT current_user, pg_has_role('pg_read_all_stats', 'USAGE')`).Scan(&role, &sees); err != nil {
		return err
	}
	if sees {
		d.ok("statistics", "%s sees the sessions of all roles", role)
	} else {
		d.warn("statistics", role+" does not see what other roles' sessions do: who blocks a cutover cannot be named", fmt.Sprintf("GRANT pg_read_all_stats TO %s", name(role)))
	}
	return nil
}

// settings asks for those that a change depends on, as this role has them in this database.
func (d *doctor) settings(ctx context.Context) error {
	rows, err := d.db.QueryContext(ctx, `SELECT name, setting, coalesce(unit, '') FROM pg_settings
WHERE name IN ('deadlock_timeout', 'wal_level', 'session_replication_role', 'transaction_timeout', 'temp_file_limit', 'fsync')`)
	if err != nil {
		return err
	}
	defer rows.Close()
	set := map[string]string{}
	for rows.Next() {
		var name, value, unit string
		if err := rows.Scan(&name, &value, &unit); err != nil {
			return err
		}
		set[name] = value + unit
	}
	if err := rows.Err(); err != nil {
		return err
	}
	deadlock, err := time.ParseDuration(set["deadlock_timeout"])
	if err != nil {
		return err
	}
	if deadlock <= d.wait {
		d.warn("settings", fmt.Sprintf("deadlock_timeout is %s and the lock timeout %s: in a conflict a user's transaction could be the one to end, not ours", deadlock, d.wait),
			"run with a --lock-timeout below deadlock_timeout")
	} else {
		d.ok("settings", "deadlock_timeout is %s, above the lock timeout of %s: in a conflict it is us who give way", deadlock, d.wait)
	}
	if v := set["session_replication_role"]; v != "origin" {
		d.warn("settings", "session_replication_role is "+v+" for this role: your own triggers and foreign keys do not fire in its sessions", "ALTER ROLE … RESET session_replication_role")
	}
	if v, ok := set["transaction_timeout"]; ok && v != "0ms" {
		d.warn("settings", "transaction_timeout is "+v+": an index build that takes longer is ended", "ALTER ROLE … SET transaction_timeout = 0 for this role")
	}
	if v := set["temp_file_limit"]; v != "" && !strings.HasPrefix(v, "-1") {
		d.warn("settings", "temp_file_limit is "+v+": the sort of a big index may not fit", "ALTER ROLE … SET temp_file_limit = -1 for this role, by a superuser")
	}
	if v := set["fsync"]; v == "off" {
		d.warn("settings", "fsync is off: a crash of the machine can lose any table, with or without a change", "switch it on unless this is a test server")
	}
	d.ok("settings", "wal_level is %s; changes are captured by triggers and need no other", set["wal_level"])
	return nil
}

func (d *doctor) connections(ctx context.Context) error {
	var most, taken, roleLimit, databaseLimit int
	err := d.db.QueryRowContext(ctx, `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), (SELECT datconnlimit FROM pg_database WHERE datname = current_database())`).
		Scan(&most, &taken, &roleLimit, &databaseLimit)
	if err != nil {
		return err
	}
	free, of := most-taken, fmt.Sprintf("max_connections leaves %d for users, and %d are taken", most, taken)
	for _, limit := range []struct {
		n    int
		text string
	}{{roleLimit, "CONNECTION LIMIT of this role"}, {databaseLimit, "CONNECTION LIMIT of this database"}} {
		if limit.n >= 0 && limit.n < free {
			free, of = limit.n, fmt.Sprintf("the %s is %d", limit.text, limit.n)
		}
	}
	switch {
	case free < 5:
		d.fail("connections", of+": a change needs 5", "raise the limit, or end sessions that are idle")
	case free < connections:
		d.warn("connections", fmt.Sprintf("%s: a change uses up to %d", of, connections), "raise the limit, or leave --fast")
	default:
		d.ok("connections", "%s: a change uses up to %d", of, connections)
	}
	return nil
}

// pooler asks whether sessions are shared.
func (d *doctor) pooler(ctx context.Context) error {
	pooled, err := changeling.Pooled(ctx, d.db)
	if err != nil {
		return err
	}
	if pooled {
		d.warn("pooler", "the connection goes through a pooler in transaction or statement mode: changes work, but a crashed run is noticed only after 30 s",
			"connect to the server itself where you can; never through statement mode")
	} else {
		d.ok("pooler", "none, or one in session mode")
	}
	return nil
}

func (d *doctor) transactions(ctx context.Context) error {
	var count int
	var oldest sql.NullString
	err := d.db.QueryRowContext(ctx, `SELECT count(*), (array_agg(format('pid %s of %s, %s', pid, usename, date_trunc('second', clock_timestamp() - xact_start)) ORDER BY xact_start))[1]
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '1 minute'
  AND backend_type = 'client backend'`).Scan(&count, &oldest)
	if err != nil {
		return err
	}
	if count > 0 {
		d.warn("transactions", fmt.Sprintf("%d have been open for more than a minute, the oldest: %s", count, oldest.String), "a change waits for those that use its table; end what was forgotten")
	} else {
		d.ok("transactions", "none has been open for more than a minute, as far as this role sees")
	}
	return nil
}

func (d *doctor) prepared(ctx context.Context) error {
	var count int
	var oldest sql.NullString
	err := d.db.QueryRowContext(ctx, `SELECT count(*), (array_agg(format('%L of %s, %s', gid, owner, date_trunc('second', clock_timestamp() - prepared)) ORDER BY prepared))[1]
FROM pg_prepared_xacts WHERE database = current_database()`).Scan(&count, &oldest)
	if err != nil {
		return err
	}
	if count > 0 {
		d.warn("prepared", fmt.Sprintf("%d prepared transactions hold their locks until they are ended, the oldest: %s", count, oldest.String), "COMMIT PREPARED or ROLLBACK PREPARED, if nobody will")
	} else {
		d.ok("prepared", "no prepared transactions")
	}
	return nil
}

func (d *doctor) publications(ctx context.Context) error {
	var all, some, triggers sql.NullString
	err := d.db.QueryRowContext(ctx, `SELECT (SELECT string_agg(quote_ident(pubname), ', ' ORDER BY pubname) FROM pg_publication WHERE puballtables),
  (SELECT string_agg(quote_ident(pubname), ', ' ORDER BY pubname) FROM pg_publication WHERE NOT puballtables),
  (SELECT string_agg(quote_ident(evtname), ', ' ORDER BY evtname) FROM pg_event_trigger WHERE evtenabled <> 'D')`).Scan(&all, &some, &triggers)
	if err != nil {
		return err
	}
	switch {
	case all.Valid:
		d.warn("publications", "all tables are published: "+all.String+"; subscribers would hear of a copy, so a table can only be changed where no second one is needed", "`changeling plan` says which route a statement takes")
	case some.Valid:
		d.ok("publications", "%s; a second table takes its table's place in those that this role, or a role that it can become, owns", some.String)
	default:
		d.ok("publications", "none")
	}
	if triggers.Valid {
		d.warn("publications", "event triggers fire on DDL, ours included: "+triggers.String, "see that they accept schemas named changeling_…")
	}
	return nil
}

// changes looks for what waits for a person.
func (d *doctor) changes(ctx context.Context) error {
	var there bool
	if err := d.db.QueryRowContext(ctx, `SELECT to_regclass('changeling.history') IS NOT NULL`).Scan(&there); err != nil {
		return err
	}
	known := `ARRAY[]::text[]`
	if there {
		known = `(SELECT coalesce(array_agg(id), '{}') FROM changeling.change)::text[]` // the cast makes it a value: ANY of a query would compare with its rows
		var open, due, failed int
		err := d.db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE status NOT IN ('done', 'aborted', 'undone')), count(*) FILTER (WHERE status = 'failed'),
  count(*) FILTER (WHERE status IN ('done', 'undone') AND NOT dropped AND drop_at < clock_timestamp()) FROM changeling.change`).Scan(&open, &failed, &due)
		if err != nil {
			return err
		}
		if failed > 0 {
			d.warn("changes", fmt.Sprintf("%d changes have failed and wait for a person", failed), "`changeling list`, then `changeling status ID`")
		}
		if due > 0 {
			d.warn("changes", fmt.Sprintf("%d old tables may be dropped", due), "`changeling cleanup`")
		}
		if failed+due == 0 {
			d.ok("changes", "%d under way, none failed, no old table is due", open)
		}
	} else {
		d.ok("changes", "none was ever made here")
	}
	var strays sql.NullString
	err := d.db.QueryRowContext(ctx, `SELECT string_agg(quote_ident(nspname), ', ' ORDER BY nspname) FROM pg_namespace
WHERE nspname ~ '^changeling_[0-9a-f]{8}(_old)?$' AND NOT substr(nspname, 12, 8) = ANY (`+known+`)`).Scan(&strays)
	if err == nil && strays.Valid {
		d.warn("changes", "schemas of changes that nobody knows any more: "+strays.String, "look inside, then DROP SCHEMA … CASCADE")
	}
	return err
}

// name quotes an identifier as a person would write it.
func name(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && (s[0] < '0' || s[0] > '9')
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
