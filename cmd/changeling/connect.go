package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// connections is how many a command opens at most: two workers, heartbeat, probe, control, and room for index builds.
const connections = 12

// open makes the pool. It does not connect yet.
func (a *app) open() (*sql.DB, error) { return a.openDatabase("") }

// following says how changed rows are found. It is asked once the pool is open.
func (a *app) following(c changeling.Config) changeling.Config {
	if c.Capture = changeling.Capture(a.capture); a.capture == "auto" {
		c.Capture = changeling.CaptureAuto
	}
	c.Binlog = a.binlog
	return c
}

// connect is open, and one connection made: whoever cannot connect learns of it before anything else.
func (a *app) connect(ctx context.Context) (*sql.DB, error) {
	db, err := a.open()
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"no connection to the database: %s. Nothing was changed; `changeling --help` says where the connection is taken from", clean(fault.Message(err)))}
	}
	return db, nil
}

// openDatabase makes a pool for another database of the same server; an empty name is the connection string's own.
func (a *app) openDatabase(name string) (*sql.DB, error) {
	dsn, from := a.source()
	if isMySQL(dsn) {
		a.secrets = append(a.secrets, passwords(a.binlog)...)
		a.binlog = cmp.Or(a.binlog, dsn)
	}
	db, err := a.pool(dsn, from, name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

// replicas makes a pool for each. What is said of the main connection's options counts for them only as far as the
// environment says it.
func (a *app) replicas(dsns []string) (out []changeling.Replica, err error) {
	for _, dsn := range dsns {
		a.secrets = append(a.secrets, passwords(dsn)...)
		if len(passwords(dsn)) > 0 {
			fmt.Fprintln(a.err, "changeling: warning: everybody on this machine can read the password of --replica in the process list: use ~/.pgpass or ~/.my.cnf")
		}
		db, err := a.pool(dsn, "--replica", "")
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(2)
		out = append(out, changeling.Replica{Name: a.redact(address(dsn)), DB: db})
	}
	return out, nil
}

// address is where a connection string leads to, for a person.
func address(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Host != "" {
		return u.Host
	}
	if _, rest, ok := strings.Cut(dsn, "@tcp("); ok {
		host, _, _ := strings.Cut(rest, ")")
		return host
	}
	return dsn
}

// pool makes a pool for a connection string from somewhere, in another database if it is named.
func (a *app) pool(dsn, from, name string) (*sql.DB, error) {
	var db *sql.DB
	if isMySQL(dsn) {
		if name != "" {
			dsn = inDatabase.ReplaceAllString(dsn, "${1}/"+name+"${3}")
		}
		target, err := mysql.ParseDSN(dsn, a.env("HOME"))
		if err != nil {
			return nil, usage("the connection string of %s cannot be read: %v", from, err)
		}
		a.secrets = append(a.secrets, target.Password)
		db = sql.OpenDB(target.Connector())
	} else {
		config, err := a.config(dsn, from)
		if err != nil {
			return nil, err
		}
		if name != "" {
			config.Database = name
		}
		db = sql.OpenDB(stdlib.GetConnector(*config))
	}
	return db, nil
}

// captureFlags are for commands that plan or run a change.
func (a *app) captureFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.capture, "capture", "auto", "how changed rows are found on MySQL and MariaDB, a `way`: binlog, triggers, or auto: the binary log where it can be read")
	f.StringVar(&a.binlog, "binlog-from", "", "connection `string` of a replica whose binary log is read, with GTIDs (default: the server itself)")
}

// inDatabase finds the database in a connection string for MySQL: behind the host, up to the settings.
var inDatabase = regexp.MustCompile(`^((?i:(?:mysql|mariadb)://)?[^/?]*)(/[^?]*)?(\?.*)?$`)

var schemes = regexp.MustCompile(`^(?i:mysql|mariadb)://`)

func isMySQL(dsn string) bool {
	return schemes.MatchString(dsn) || strings.Contains(dsn, "@tcp(") || strings.HasPrefix(dsn, "tcp(")
}

// source is the connection string from the first place that has one, and that place for a person.
func (a *app) source() (dsn, from string) {
	dsn, from = a.dsn, "--dsn"
	for _, name := range []string{"CHANGELING_DSN", "DATABASE_URL"} {
		if dsn == "" {
			dsn, from = a.env(name), "$"+name
		}
	}
	if dsn == "" {
		from = "the environment"
	}
	a.secrets = append(a.secrets, dsn, a.env("PGPASSWORD"))
	for _, secret := range passwords(dsn) {
		a.secrets = append(a.secrets, secret)
		if from == "--dsn" && secret != "" {
			from = "--dsn with a password"
		}
	}
	if from == "--dsn with a password" {
		fmt.Fprintln(a.err, "changeling: warning: everybody on this machine can read the password of --dsn in the process list: use $CHANGELING_DSN or ~/.pgpass")
		from = "--dsn"
	}
	return dsn, from
}

// config reads a connection string for PostgreSQL.
func (a *app) config(dsn, from string) (*pgx.ConnConfig, error) {
	scheme, _, _ := strings.Cut(strings.ToLower(dsn), "://")
	switch {
	case strings.Contains(dsn, "://") && scheme != "postgres" && scheme != "postgresql" && !strings.ContainsAny(scheme, " ='"):
		return nil, usage("the connection string of %s is of an unknown kind: expected postgres://user@host/database, host=… dbname=…, or mysql://user@host/database", from)
	}
	if err := misread(dsn); err != nil {
		return nil, usage("the connection string of %s cannot be read: %v", from, err)
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the connection string of %s cannot be read: %s", from, reason(err))}
	}
	a.secrets = append(a.secrets, config.Password)
	// Works through a pooler in transaction mode, and no cached plan breaks when the tables are swapped.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "changeling"
	}
	return config, nil
}

// misread finds what a URL with an unescaped character in its password would be taken for: the rest of the password
// would become a host, a port or a database, and stand in error messages. It quotes nothing.
func misread(dsn string) error {
	scheme, rest, _ := strings.Cut(dsn, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return nil
	}
	stranded := errors.New("expected postgres://user@host:port/database; in a password write @ as %40, / as %2F, ? as %3F, # as %23, % as %25")
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	path, query, _ := strings.Cut(path, "?")
	user, hosts, ok := strings.Cut(authority, "@")
	if !ok {
		user, hosts = "", authority
	}
	if _, err := url.PathUnescape(user); err != nil || strings.Contains(hosts+path, "@") {
		return stranded
	}
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); strings.Contains(key, "@") {
			return stranded
		}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		i := max(strings.LastIndex(host, ":"), strings.LastIndex(host, "]"))
		if i >= 0 && host[i] == ':' && strings.Trim(host[i+1:], "0123456789") != "" {
			return stranded
		}
	}
	return nil
}

var quoted = regexp.MustCompile(`"[^"]*"`)

// reason is what pgx says about a connection string, without anything that it quotes.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	return quoted.ReplaceAllString(text, "(a word)")
}

var keyword = regexp.MustCompile(`(?i)(?:ssl)?password\s*=\s*('(?:[^'\\]|\\.)*'?|(?:[^\s\\]|\\.)*)`)

// passwords are the secrets in a connection string, as they are written and as they are meant.
func passwords(dsn string) (out []string) {
	add := func(s string) {
		if s == "" {
			return
		}
		out = append(out, s)
		if plain, err := url.PathUnescape(s); err == nil && plain != s {
			out = append(out, plain)
		}
	}
	if scheme, rest, ok := strings.Cut(dsn, "://"); ok && !strings.ContainsAny(scheme, " =") {
		// The last @ ends the user part, whatever the password should have escaped.
		if i := strings.LastIndex(rest, "@"); i >= 0 {
			_, password, _ := strings.Cut(rest[:i], ":")
			add(password)
		}
		if _, query, ok := strings.Cut(rest, "?"); ok {
			for pair := range strings.SplitSeq(query, "&") {
				if key, value, _ := strings.Cut(pair, "="); strings.HasSuffix(strings.ToLower(key), "password") {
					add(value)
				}
			}
		}
		return out
	}
	for _, m := range keyword.FindAllStringSubmatch(dsn, -1) {
		value := strings.Trim(m[1], "'")
		add(value)
		add(strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(value))
	}
	return out
}

// redact takes secrets out of a text. A short one is only looked for as a word of its own, else texts become unreadable.
func (a *app) redact(text string) string {
	for _, secret := range a.secrets {
		switch {
		case secret == "":
		case len(secret) >= 6:
			text = strings.ReplaceAll(text, secret, "xxxxx")
		default:
			word := regexp.MustCompile(`(^|[^\pL\pN_])` + regexp.QuoteMeta(secret) + `([^\pL\pN_]|$)`)
			text = word.ReplaceAllString(text, "${1}xxxxx${2}")
		}
	}
	return text
}

// place names a database for a person, without any secret.
func place(c *pgx.ConnConfig) string {
	return fmt.Sprintf("%s on %s:%d as %s", cmp.Or(c.Database, c.User), c.Host, c.Port, c.User)
}
