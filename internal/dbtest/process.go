package dbtest

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is what servers of every kind are: a directory with a guard, and a program that runs on it or is down.
type process struct {
	Port int // on 127.0.0.1; the same after Restart

	kind    kind
	dir     string // holds data/, the socket and server.log
	account *account
	guard   *guard

	mu      sync.Mutex
	running *exec.Cmd // the server, in PostgreSQL the postmaster; nil while it is down
	life    *os.File  // reading end of a pipe that the server and all its children hold: EOF means all are gone
	stopped bool
}

// kind is in what servers differ.
type kind struct {
	name        string             // for messages: PostgreSQL 15
	environment []string           // besides what prepare sets
	command     func() []string    // the program and its arguments, asked for at every launch
	ready       func(pid int) bool // whether it accepts connections
	goodbye     []goodbye          // shuts it down, ever less politely
	disposable  bool               // Stop kills it at once: it leaves nothing outside of its directory
}

// goodbye is one step of a shutdown.
type goodbye struct {
	signal syscall.Signal
	wait   time.Duration
}

// newProcess makes the server's directory, and before it the guard: else the directory would stay if we died in between.
func newProcess(word string, as *account, k kind) (*process, error) {
	dir := chooseDir(word, as)
	patience := 8 * time.Second
	if k.disposable {
		patience = 0
	}
	guard, err := newGuard(dir, patience)
	if err != nil {
		return nil, err
	}
	p := &process{kind: k, dir: dir, account: as, guard: guard}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	if err := as.own(dir); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Pid returns the process id of the server, in PostgreSQL of the postmaster, or 0 while it is down.
func (p *process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.Process.Pid
}

// LogTail returns the last n lines of the server's log, which spans restarts. After Stop it is empty.
func (p *process) LogTail(n int) string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Stop ends the server, waits until its last process is gone, and removes its directory. It may be called twice.
func (p *process) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	p.stopped = true
	end := p.shutdown
	if p.kind.disposable {
		end = p.kill
	}
	return errors.Join(end(), p.guard.close())
}

// Kill is a crash of the server: SIGKILL for it and for every child that does not follow it at once.
// It returns when all are gone. The directory stays for Restart. A server that is down stays down.
func (p *process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kill()
}

// Restart starts the server again on the same directory and port and returns when it accepts connections, after
// crash recovery if it was killed. A running server is shut down first.
func (p *process) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return fmt.Errorf("restart %s: the server was stopped and its directory is gone", p.kind.name)
	}
	if err := p.shutdown(); err != nil {
		return err
	}
	if err := p.launch(ctx); err != nil {
		return fmt.Errorf("restart %s: %w", p.kind.name, err)
	}
	return nil
}

// launchAnywhere launches the server on a port that was free a moment ago, and on another one if it was taken since.
func (p *process) launchAnywhere(ctx context.Context) error {
	for range 5 {
		var err error
		if p.Port, err = freePort(); err != nil {
			return err
		}
		err = p.launch(ctx)
		if err == nil || !strings.Contains(p.LogTail(20), "Address already in use") {
			return err
		}
	}
	return errors.New("every port tried was taken by another process before the server could listen on it")
}

// launchScript tells the guard the process id before it becomes the server under that id. The guard's pipe
// cannot close before it was told, so there is no moment at which a dying parent leaves an unknown server behind.
const launchScript = `echo $$ >&3 && exec 3>&- && exec "$@"`

// launch starts the server on the directory and waits until it accepts connections.
func (p *process) launch(ctx context.Context) error {
	log, err := os.OpenFile(p.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	life, held, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", launchScript, "sh"}, p.kind.command()...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{p.guard.pipe, held}
	p.prepare(cmd)
	err = cmd.Start()
	held.Close() // else the pipe would not end while we hold it ourselves
	if err != nil {
		return errors.Join(err, life.Close())
	}
	p.running, p.life = cmd, life
	if err := p.awaitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("%w; its log ends:\n%s", err, p.LogTail(20)), p.kill())
	}
	return nil
}

func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if p.kind.ready(p.running.Process.Pid) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the server does not accept connections yet: %w", err)
		}
		if p.gone(10 * time.Millisecond) {
			return errors.New("the server ended")
		}
	}
}

// shutdown asks the server to end, ever less politely, and waits until it has.
func (p *process) shutdown() error {
	if p.running == nil {
		return nil
	}
	for _, step := range p.kind.goodbye {
		if err := p.running.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if p.gone(step.wait) {
			return p.reap()
		}
	}
	return p.kill()
}

// kill ends the server, then whoever still holds its pipe: a backend of PostgreSQL in the middle of a long query
// notices only at its end that the postmaster is gone.
func (p *process) kill() error {
	if p.running == nil {
		return nil
	}
	if err := p.running.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); !p.gone(20 * time.Millisecond); {
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of %s are alive 10 s after SIGKILL to process %d", p.kind.name, p.running.Process.Pid)
		}
		killHolders(p.life)
	}
	return p.reap()
}

// gone waits at most so long until all processes of the server have ended, and says whether they have.
func (p *process) gone(wait time.Duration) bool {
	if err := p.life.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false
	}
	_, err := p.life.Read(make([]byte, 1)) // nobody writes: this is the end, or the deadline
	return errors.Is(err, io.EOF)
}

// reap collects the server after all processes have ended. Until then its id cannot be given to another process.
func (p *process) reap() error {
	_ = p.running.Wait() // how it ended was our wish
	err := errors.Join(p.guard.tell("-"), p.life.Close())
	p.running, p.life = nil, nil
	return err
}

// prepare gives a program of the server its user, its own session, so that a signal of the terminal does not reach it,
// and an environment in which nothing of the caller's (PGDATA, MYSQL_HOME, LC_ALL) has a say.
func (p *process) prepare(cmd *exec.Cmd) {
	cmd.Dir = p.dir
	cmd.SysProcAttr = attributes(p.account)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}, p.kind.environment...)
}

func (p *process) dataDir() string { return filepath.Join(p.dir, "data") }
func (p *process) logFile() string { return filepath.Join(p.dir, "server.log") }

// chooseDir names a directory that nobody else has, where its user can reach it and where the path of its socket stays
// within the 107 bytes that Linux allows (unix(7)).
func chooseDir(word string, as *account) string {
	parent := os.TempDir()
	if len(parent) > 60 || !as.reaches(parent) {
		parent = "/tmp"
	}
	return filepath.Join(parent, fmt.Sprintf("changeling-%s-%s", word, strings.ToLower(crand.Text()[:12])))
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
