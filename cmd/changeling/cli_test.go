package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The test program is the command too, when it is told so: the tests run a real process, and need no toolchain.
const playMain = "CHANGELING_TEST_PLAY_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(playMain) != "" {
		main()
	}
	pgtest.Main(mytest.Around(m))
}

// shell is where a test types commands: an environment with a connection string.
type shell struct {
	t   *testing.T
	dsn string
	env []string
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// process is a command that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	line   string
	out    output
	err    output
	ended  bool
	result result
}

// output may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newShell is a shell on a database of its own.
func newShell(t *testing.T) *shell {
	t.Helper()
	return &shell{t: t, dsn: pgtest.Database(t)}
}

// command has an environment without any connection but the shell's.
func (s *shell) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "PG") && !strings.HasPrefix(pair, "DATABASE_URL=") && !strings.HasPrefix(pair, "CHANGELING_DSN=") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, playMain+"=1", "HOME="+s.t.TempDir())
	if s.dsn != "" {
		cmd.Env = append(cmd.Env, "CHANGELING_DSN="+s.dsn)
	}
	cmd.Env = append(cmd.Env, s.env...)
	return cmd
}

// start runs a command beside the test, which ends it at its own end.
func (s *shell) start(args ...string) *process {
	s.t.Helper()
	return s.startWith(nil, args...)
}

func (s *shell) startWith(prepare func(*exec.Cmd), args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, cmd: s.command(s.t.Context(), args...), line: "changeling " + strings.Join(args, " ")}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.WaitDelay = time.Minute // a child of the command may hold the pipes
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if !p.ended {
			_ = p.cmd.Process.Kill() // it may have ended
			_ = p.cmd.Wait()
			s.t.Logf("%s was still running; it said:\n%s%s", p.line, p.out.String(), p.err.String())
		}
	})
	return p
}

// patience is how long a test waits for a command: longer than any takes on a busy machine.
const patience = 4 * time.Minute

// wait fails the test, with the command's stacks, when the command does not end.
func (p *process) wait() result {
	p.t.Helper()
	stuck := time.AfterFunc(patience, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) }) // it may have ended
	err := p.cmd.Wait()
	p.ended = true
	if !stuck.Stop() {
		p.t.Fatalf("%s did not end in %s:\n%s%s", p.line, patience, p.out.String(), p.err.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s: %v", p.line, err)
	}
	p.result = result{p.out.String(), p.err.String(), p.cmd.ProcessState.ExitCode()}
	return p.result
}

// ends waits for the command and demands an exit code.
func (p *process) ends(code int) result {
	p.t.Helper()
	r := p.wait()
	if r.code != code {
		p.t.Fatalf("%s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", p.line, r.code, code, r.stdout, r.stderr)
	}
	return r
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// run runs a command to its end and demands an exit code.
func (s *shell) run(code int, args ...string) result {
	s.t.Helper()
	return s.start(args...).ends(code)
}

// exec runs SQL in the shell's database.
func (s *shell) exec(statements ...string) {
	s.t.Helper()
	pgtest.Exec(s.t, pgtest.Open(s.t, s.dsn), statements...)
}

// ask reads one value as text.
func (s *shell) ask(query string) (value string) {
	s.t.Helper()
	if err := pgtest.Open(s.t, s.dsn).QueryRowContext(s.t.Context(), query).Scan(&value); err != nil {
		s.t.Fatalf("%v\nin: %s", err, query)
	}
	return value
}

// list is the changes of the shell's database: on MySQL and MariaDB the command lists those of the whole server.
func (s *shell) list() (list []changeling.Status) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.run(0, "list", "--json").stdout), &list); err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(s.dsn)
	if err != nil || !strings.HasPrefix(s.dsn, "mysql:") && !strings.HasPrefix(s.dsn, "mariadb:") {
		return list
	}
	return slices.DeleteFunc(list, func(c changeling.Status) bool {
		return !strings.HasPrefix(c.Table, strings.TrimPrefix(u.Path, "/")+".")
	})
}

// newest is the change that was begun last.
func (s *shell) newest() changeling.Status {
	s.t.Helper()
	list := s.list()
	if len(list) == 0 {
		s.t.Fatal("there is no change")
	}
	return list[0]
}

// until polls the newest change until it is as wanted.
func (s *shell) until(what string, is func(changeling.Status) bool) changeling.Status {
	s.t.Helper()
	var last []changeling.Status
	poll(s.t, func() bool {
		last = s.list()
		return len(last) > 0 && is(last[0])
	}, func() string { return what + ": " + inJSON(s.t, last) })
	return last[0]
}

func poll(t *testing.T, is func() bool, what func() string) {
	t.Helper()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func held(s changeling.Status) bool { return s.Status == "held" }

const statementText = "ALTER TABLE orders ALTER COLUMN amount TYPE bigint"

// orders makes a small table whose change takes a second table.
func (s *shell) orders() {
	s.t.Helper()
	s.exec(`CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, amount int NOT NULL CHECK (amount >= 0))`,
		`INSERT INTO orders (email, amount) SELECT 'a' || i, i FROM generate_series(1, 1000) i`)
}

// changed says whether orders is as the statement wants it.
func (s *shell) changed() bool {
	s.t.Helper()
	return s.ask(`SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'amount'`) == "bigint"
}

// traces counts what changeling has left in the database but for its own tables.
func (s *shell) traces() string {
	s.t.Helper()
	return s.ask(`SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'changeling\_%') + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeling%')`)
}

// golden compares a text with a file, after what differs between two runs was taken out.
func golden(t *testing.T, file, got string) {
	t.Helper()
	for _, r := range [][2]string{
		{`\b[0-9a-f]{8}\b`, "ID"}, {`changeling_[0-9a-f]{8}`, "changeling_ID"},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`, "TIME"}, {`process \d+ on [^"]*`, "process N on HOST"},
		{`"(lock_held_ms|bytes|spare_bytes|log_bytes|dead_bytes|rows_estimate|read_bytes|write_bytes|takes_ms)": [\d.]+`, `"$1": 0`},
	} {
		got = regexp.MustCompile(r[0]).ReplaceAllString(got, r[1])
	}
	path := filepath.Join("..", "..", "testdata", "cli", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another one; `go test -update` writes it anew\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}
