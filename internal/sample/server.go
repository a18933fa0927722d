// Package sample makes a server, a table as applications have them, and users who write to it at a fixed rate and keep a
// ledger of what was acknowledged to them. The demo and the benchmarks stand on it.
package sample

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/mysql"
)

// Kinds are the servers that Start knows.
var Kinds = []string{"postgres", "mysql", "mariadb"}

// Server is a throwaway server, durable as a real one, with an empty database.
type Server struct {
	Kind string // one of Kinds
	Name string // for a person: PostgreSQL 15
	DSN  string // of its database, as the command line takes them
	Text
	stop func() error
	cpu  func() (time.Duration, error)
}

// CPU is the processor time of all the server's processes up to now.
func (s *Server) CPU() (time.Duration, error) { return s.cpu() }

// Start makes a server of a kind: postgres, mysql or mariadb. An empty version is the one that the set-up installs; others are
// majors of PostgreSQL and names such as 9.7. Settings are more of the server's, such as innodb_log_writer_threads=ON.
func Start(ctx context.Context, kind, version string, settings ...string) (*Server, error) {
	more := map[string]string{}
	for _, s := range settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("setting %q: expected name=value", s)
		}
		more[name] = value
	}
	if kind == "postgres" {
		major, err := strconv.Atoi(cmp.Or(version, strconv.Itoa(dbtest.DefaultMajor)))
		if err != nil {
			return nil, fmt.Errorf("version %q: expected a major version of PostgreSQL, such as %d", version, dbtest.DefaultMajor)
		}
		options := dbtest.Options{Major: major, Durable: true, Settings: map[string]string{
			"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB", "checkpoint_timeout": "15min"}}
		maps.Copy(options.Settings, more)
		s, err := dbtest.Start(ctx, options)
		if err != nil {
			return nil, err
		}
		return &Server{Kind: kind, Name: fmt.Sprintf("PostgreSQL %d", major), DSN: s.DSN("postgres"), Text: postgres, stop: s.Stop, cpu: s.CPU}, nil
	}
	options, text := dbtest.MySQLOptions{Version: dbtest.DefaultMySQL, Durable: true, Settings: map[string]string{"innodb_buffer_pool_size": "2G"}}, inMySQL
	switch kind {
	case "mysql":
		options.Settings["innodb_redo_log_capacity"] = "2G"
	case "mariadb":
		options.Version, text = dbtest.DefaultMariaDB, inMariaDB
		options.Settings["innodb_log_file_size"], options.Settings["sync_binlog"] = "2G", "1"
	default:
		return nil, fmt.Errorf("server %q is unknown: expected one of %v", kind, Kinds)
	}
	if version != "" {
		options.Version = kind + version
	}
	maps.Copy(options.Settings, more)
	s, err := dbtest.StartMySQL(ctx, options)
	if err != nil {
		return nil, err
	}
	server := &Server{Kind: kind, Name: options.Version, DSN: s.DSN("sample"), Text: text, stop: s.Stop, cpu: s.CPU}
	admin, err := open(s.DSN(""), true)
	if err == nil {
		defer admin.Close()
		_, err = admin.ExecContext(ctx, "CREATE DATABASE sample")
	}
	if err != nil {
		_ = server.Stop() // what is told is why
		return nil, err
	}
	return server, nil
}

// Stop ends the server and takes its files away.
func (s *Server) Stop() error { return s.stop() }

// Open makes a pool of connections to the server's database.
func (s *Server) Open() (*sql.DB, error) { return open(s.DSN, s.my) }

func open(dsn string, my bool) (*sql.DB, error) {
	if !my {
		return sql.Open("pgx", dsn)
	}
	target, err := mysql.ParseDSN(dsn, "")
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(target.Connector()), nil
}
