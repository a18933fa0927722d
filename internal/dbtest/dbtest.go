// Package dbtest runs throwaway PostgreSQL servers for tests, benchmarks and the demonstration.
//
// Its one idea: a server never outlives the process that wanted it. Next to each server a small guard process holds the
// reading end of a pipe. When the pipe closes, by Stop, a panic, os.Exit or kill -9, the guard ends the server and
// removes its directory.
//
// The package does not import testing, so that a command can use it. Tests use the package pgtest beneath it.
package dbtest

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	Major int
	Port  int // on 127.0.0.1; the same after Restart

	dir     string // holds data/, the socket and server.log
	install install
	account *account
	guard   *guard

	mu      sync.Mutex
	process *exec.Cmd // the postmaster; nil while the server is down
	life    *os.File  // reading end of a pipe that the postmaster and all its children hold: EOF means all are gone
	stopped bool
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
	dir := chooseDir(in.major, account)
	guard, err := newGuard(dir) // before the directory exists, else it would stay if we died in between
	if err != nil {
		return nil, err
	}
	s := &Server{Major: in.major, dir: dir, install: in, account: account, guard: guard}
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

// Pid returns the process id of the postmaster, or 0 while the server is down.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.Process.Pid
}

// Bin returns the path of a program that comes with PostgreSQL and works with this server, such as psql, or "".
// The servers in the cache bring no client programs, so it may be the program of another installed major. Programs
// that refuse a server newer than themselves, which are those whose name begins with pg_, such as pg_dump, are of the
// same or a newer major, or "".
func (s *Server) Bin(name string) string {
	return client(s.install, name)
}

// LogTail returns the last n lines of the server's log, which spans restarts. After Stop it is empty.
func (s *Server) LogTail(n int) string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Stop ends the server, waits until its last process is gone, and removes its directory. It may be called twice.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	return errors.Join(s.shutdown(), s.guard.close())
}

// Kill is a crash of the server: SIGKILL for the postmaster and for every child that does not follow it at once.
// It returns when all are gone. The directory stays for Restart. A server that is down stays down.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

// Restart starts the server again on the same directory and port and returns when it accepts connections, after
// crash recovery if it was killed. A running server is shut down first.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("restart PostgreSQL %d: the server was stopped and its directory is gone", s.Major)
	}
	if err := s.shutdown(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restart PostgreSQL %d: %w", s.Major, err)
	}
	return nil
}

// create makes the cluster and launches it on a port that was free a moment ago, and on another one if it was taken since.
func (s *Server) create(ctx context.Context, o Options) error {
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.account.own(s.dir); err != nil {
		return err
	}
	if err := s.initdb(ctx); err != nil {
		return err
	}
	if err := s.configure(o); err != nil {
		return err
	}
	for range 5 {
		var err error
		if s.Port, err = freePort(); err != nil {
			return err
		}
		err = s.launch(ctx)
		if err == nil || !strings.Contains(s.LogTail(20), "Address already in use") {
			return err
		}
	}
	return errors.New("every port tried was taken by another process before the server could listen on it")
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

// launchScript tells the guard the process id before it becomes the postmaster under that id. The guard's pipe
// cannot close before it was told, so there is no moment at which a dying parent leaves an unknown server behind.
const launchScript = `echo $$ >&3 && exec 3>&- && exec "$@"`

// launch starts the postmaster on the directory and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	life, held, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", launchScript, "sh",
		s.install.program("postgres"), "-D", s.dataDir(), "-p", strconv.Itoa(s.Port))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{s.guard.pipe, held}
	s.prepare(cmd)
	err = cmd.Start()
	held.Close() // else the pipe would not end while we hold it ourselves
	if err != nil {
		return errors.Join(err, life.Close())
	}
	s.process, s.life = cmd, life
	if err := s.awaitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("%w; its log ends:\n%s", err, s.LogTail(20)), s.kill())
	}
	return nil
}

// awaitReady waits for the word ready in postmaster.pid, as pg_ctl does since PostgreSQL 10: it needs no client.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		text, _ := os.ReadFile(filepath.Join(s.dataDir(), "postmaster.pid")) // missing at first
		lines := strings.Split(string(text), "\n")
		if len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" && lines[0] == strconv.Itoa(s.process.Process.Pid) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the server does not accept connections yet: %w", err)
		}
		if s.gone(10 * time.Millisecond) {
			return errors.New("the server ended")
		}
	}
}

// shutdown asks the server to end, ever less politely, and waits until it has.
func (s *Server) shutdown() error {
	if s.process == nil {
		return nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{
		{syscall.SIGINT, 10 * time.Second}, // fast shutdown
		{syscall.SIGQUIT, 6 * time.Second}, // immediate; after 5 s the postmaster itself kills its children
	} {
		if err := s.process.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if s.gone(step.wait) {
			return s.reap()
		}
	}
	return s.kill()
}

// kill ends the postmaster, then whoever still holds the server's pipe: a backend in the middle of a long query
// notices only at its end that the postmaster is gone.
func (s *Server) kill() error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); !s.gone(20 * time.Millisecond); {
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of PostgreSQL %d are alive 10 s after SIGKILL to postmaster %d", s.Major, s.process.Process.Pid)
		}
		killHolders(s.life)
	}
	return s.reap()
}

// gone waits at most so long until all processes of the server have ended, and says whether they have.
func (s *Server) gone(wait time.Duration) bool {
	if err := s.life.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false
	}
	_, err := s.life.Read(make([]byte, 1)) // nobody writes: this is the end, or the deadline
	return errors.Is(err, io.EOF)
}

// reap collects the postmaster after all processes have ended. Until then its id cannot be given to another process.
func (s *Server) reap() error {
	_ = s.process.Wait() // how it ended was our wish
	err := errors.Join(s.guard.tell("-"), s.life.Close())
	s.process, s.life = nil, nil
	return err
}

// prepare gives a program of the server its user, its own session, so that a signal of the terminal does not reach it,
// and an environment in which nothing of the caller's (PGDATA, PGPORT, LC_ALL) has a say.
func (s *Server) prepare(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.SysProcAttr = attributes(s.account)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if s.install.libraries != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+s.install.libraries)
	}
}

func (s *Server) dataDir() string { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }

// chooseDir names a directory that nobody else has, where its user can reach it and where the path of its socket stays
// within the 107 bytes that Linux allows (unix(7)).
func chooseDir(major int, as *account) string {
	parent := os.TempDir()
	if len(parent) > 60 || !as.reaches(parent) {
		parent = "/tmp"
	}
	return filepath.Join(parent, fmt.Sprintf("changeling-pg%d-%s", major, strings.ToLower(crand.Text()[:12])))
}

// freePort returns a port on which nobody listens. It is taken from below the range from which Linux (32768) and macOS
// (49152) take the ports of outgoing connections: else one of these could sit on the port between Kill and Restart.
func freePort() (int, error) {
	var last error
	for range 50 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("no free port found in 20000-31999: %w", last)
}
