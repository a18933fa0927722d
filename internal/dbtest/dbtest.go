// Package dbtest runs throwaway servers of PostgreSQL, MySQL and MariaDB for tests, benchmarks and the demonstration.
//
// Its one idea: a server never outlives the process that wanted it. Next to each server a small guard process holds the
// reading end of a pipe. When the pipe closes, by Stop, a panic, os.Exit or kill -9, the guard ends the server and
// removes its directory.
//
// The package does not import testing, so that a command can use it. Tests use the packages pgtest and mytest beneath it.
package dbtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultMajor is the PostgreSQL major version that Debian 12 ships, and so the one that is always at hand.
const DefaultMajor = 15

// Options says which server to start. The zero value is a fast server of DefaultMajor for tests.
type Options struct {
	// Major is the PostgreSQL major version. Zero means DefaultMajor.
	Major int

	// Settings go to postgresql.conf and win over the defaults of this package; ALTER SYSTEM wins over both.
	// The keys port, listen_addresses and unix_socket_directories belong to this package.
	Settings map[string]string

	// Durable leaves fsync, full_page_writes and synchronous_commit as PostgreSQL has them, as benchmarks need it.
	// Without it fsync and full_page_writes are off: a killed server still recovers, because the operating system
	// keeps what was written; a killed machine may not.
	Durable bool
}

// Server is one running server with a superuser postgres that needs no password. Its methods may be called by several
// goroutines.
type Server struct {
	*process
	Major int

	install install
}

// Start creates a cluster in a new temporary directory and returns when the server accepts connections.
// The context bounds the start alone. Run by root, the server runs as the user postgres, or nobody where that is missing.
func Start(ctx context.Context, o Options) (*Server, error) {
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	in, err := find(cmp.Or(o.Major, DefaultMajor), account)
	if err != nil {
		return nil, err
	}
	s := &Server{Major: in.major, install: in}
	if s.process, err = newProcess(fmt.Sprintf("pg%d", in.major), account, s.kind()); err != nil {
		return nil, err
	}
	if err := s.create(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL %d: %w", in.major, err), s.Stop())
	}
	return s, nil
}

// DSN returns the URL of a database on the server.
func (s *Server) DSN(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Bin returns the path of a program that comes with PostgreSQL and works with this server, such as psql, or "".
// The servers in the cache bring no client programs, so it may be the program of another installed major. Programs
// that refuse a server newer than themselves, which are those whose name begins with pg_, such as pg_dump, are of the
// same or a newer major, or "".
func (s *Server) Bin(name string) string {
	return client(s.install, name)
}

func (s *Server) kind() kind {
	k := kind{
		name: fmt.Sprintf("PostgreSQL %d", s.Major),
		command: func() []string {
			return []string{s.install.program("postgres"), "-D", s.dataDir(), "-p", strconv.Itoa(s.Port)}
		},
		ready: s.ready,
		goodbye: []goodbye{
			{syscall.SIGINT, 10 * time.Second}, // fast shutdown
			{syscall.SIGQUIT, 6 * time.Second}, // immediate; after 5 s the postmaster itself kills its children
		},
	}
	if s.install.libraries != "" {
		k.environment = []string{"LD_LIBRARY_PATH=" + s.install.libraries}
	}
	return k
}

// ready looks for the word ready in postmaster.pid, as pg_ctl does since PostgreSQL 10: it needs no client.
func (s *Server) ready(pid int) bool {
	text, _ := os.ReadFile(filepath.Join(s.dataDir(), "postmaster.pid")) // missing at first
	lines := strings.Split(string(text), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" && lines[0] == strconv.Itoa(pid)
}

// create makes the cluster and launches it.
func (s *Server) create(ctx context.Context, o Options) error {
	if err := s.initdb(ctx); err != nil {
		return err
	}
	if err := s.configure(o); err != nil {
		return err
	}
	return s.launchAnywhere(ctx)
}

func (s *Server) initdb(ctx context.Context) error {
	var out []byte
	var err error
	for _, locale := range []string{"C.UTF-8", "C"} { // macOS and old glibc lack C.UTF-8
		cmd := exec.CommandContext(ctx, s.install.program("initdb"), "-D", s.dataDir(), "-U", "postgres", "-A", "trust",
			"-E", "UTF8", "--locale="+locale, "--no-sync", "--no-instructions")
		// The guard's pipe stays open in initdb: the guard must not remove a directory that is still being filled.
		cmd.ExtraFiles = []*os.File{s.guard.pipe}
		s.prepare(cmd)
		out, err = cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "invalid locale name") {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) configure(o Options) error {
	settings := map[string]string{
		"autovacuum":                "on",
		"log_line_prefix":           "%m [%p] %d ",
		"log_timezone":              "UTC",
		"max_connections":           "100",
		"max_prepared_transactions": "10",
		"shared_buffers":            "128MB",
		"timezone":                  "UTC",
		"wal_level":                 "replica",
	}
	if !o.Durable {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, o.Settings)
	settings["listen_addresses"] = "127.0.0.1"
	settings["unix_socket_directories"] = s.dir

	file, err := os.OpenFile(filepath.Join(s.dataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, err := fmt.Fprintf(file, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''")); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}
