package dbtest_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("DBTEST_ROLE"); role != "" {
		play(role)
	}
	pgtest.Main(mytest.Around(m))
}

func TestStart(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Own(t, dbtest.Options{Major: major, Settings: map[string]string{
				"work_mem": "5MB", "application_name": "it's", "timezone": "Asia/Tokyo",
			}})
			if !slices.Contains(dbtest.Available(), major) {
				t.Errorf("Available() = %v, want %d among them", dbtest.Available(), major)
			}
			db := pgtest.Open(t, s.DSN("postgres"))
			for _, c := range []struct{ rule, query, want string }{
				{"the major asked for", "SELECT current_setting('server_version_num')::int / 10000", strconv.Itoa(major)},
				{"fast by default", "SELECT current_setting('fsync')", "off"},
				{"a crash keeps what was acknowledged", "SELECT current_setting('synchronous_commit')", "on"},
				{"two-phase commit is on", "SELECT current_setting('max_prepared_transactions')", "10"},
				{"text is UTF-8", "SELECT getdatabaseencoding()", "UTF8"},
				{"a setting is taken", "SELECT current_setting('work_mem')", "5MB"},
				{"a setting is quoted", "SELECT current_setting('application_name')", "it's"},
				{"a setting wins over a default", "SELECT current_setting('timezone')", "Asia/Tokyo"},
				{"the user is a superuser", "SELECT current_user || ' ' || current_setting('is_superuser')", "postgres on"},
			} {
				var got string
				if err := db.QueryRowContext(t.Context(), c.query).Scan(&got); err != nil {
					t.Errorf("%s: %v", c.rule, err)
				} else if got != c.want {
					t.Errorf("%s: %s = %q, want %q", c.rule, c.query, got, c.want)
				}
			}
			if tail := s.LogTail(1); tail == "" || strings.Contains(tail, "\n") {
				t.Errorf("LogTail(1) = %q, want one line", tail)
			}
		})
	}
}

func TestDurable(t *testing.T) {
	t.Parallel()
	s := pgtest.Own(t, dbtest.Options{Durable: true, Settings: map[string]string{"full_page_writes": "off"}})
	var got string
	row := pgtest.Open(t, s.DSN("postgres")).QueryRowContext(t.Context(),
		"SELECT current_setting('fsync') || ' ' || current_setting('full_page_writes')")
	if err := row.Scan(&got); err != nil || got != "on off" {
		t.Errorf("fsync and full_page_writes = %q, %v; want on, and off as the settings say", got, err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := pgtest.Own(t, dbtest.Options{})
	db := pgtest.Open(t, s.DSN("postgres"))
	pgtest.Exec(t, db, "SELECT 1")
	pid := s.Pid()
	for range 2 { // twice is allowed
		if err := s.Stop(); err != nil {
			t.Fatalf("Stop() = %v", err)
		}
	}
	if alive(pid) {
		t.Errorf("postmaster %d is alive after Stop", pid)
	}
	if s.Pid() != 0 {
		t.Errorf("Pid() = %d after Stop, want 0", s.Pid())
	}
	if err := s.Kill(); err != nil {
		t.Errorf("Kill() of a stopped server = %v", err)
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("Restart() of a stopped server succeeded")
	}
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Own(t, dbtest.Options{Major: major})
			db := pgtest.Open(t, s.DSN("postgres"))
			pgtest.Exec(t, db, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")

			// A backend that computes does not look whether the postmaster is alive.
			busy, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer busy.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // Close waits for the query
			var backend int
			if err := busy.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&backend); err != nil {
				t.Fatal(err)
			}
			computed := make(chan error, 1)
			go func() {
				_, err := busy.ExecContext(ctx, "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
				computed <- err
			}()
			eventually(t, 3*time.Minute, "the query runs", func() bool {
				var running bool
				err := db.QueryRowContext(t.Context(), "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", backend).Scan(&running)
				return err == nil && running
			})

			postmaster := s.Pid()
			if err := s.Kill(); err != nil {
				t.Fatalf("Kill() = %v", err)
			}
			if s.Pid() != 0 || alive(postmaster) {
				t.Errorf("after Kill: Pid() = %d, postmaster alive %v", s.Pid(), alive(postmaster))
			}
			// Its files are closed and its memory is given back, but the kernel may need a moment to say so in /proc.
			eventually(t, 3*time.Minute, "the busy backend is dead", func() bool { return !alive(backend) })
			if err := <-computed; err == nil {
				t.Error("the query of the busy backend succeeded")
			}
			port := s.Port
			for range 2 { // of a server that is down, and of one that runs
				if err := s.Restart(t.Context()); err != nil {
					t.Fatalf("Restart() = %v", err)
				}
			}
			if s.Port != port {
				t.Errorf("Port = %d after Restart, want %d", s.Port, port)
			}
			var n int
			if err := pgtest.Open(t, s.DSN("postgres")).QueryRowContext(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 1 {
				t.Errorf("an acknowledged row reads %d, %v after the crash; want 1", n, err)
			}
			if log := s.LogTail(1000); !strings.Contains(log, "redo") {
				t.Errorf("the log shows no crash recovery:\n%s", log)
			}
		})
	}
}

// TestGuard ends the process that owns a server in each way there is, and expects neither server nor directory to stay.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		for _, role := range []string{"killed", "killed-after-kill", "exits", "panics", "returns"} {
			t.Run(fmt.Sprintf("%s/%d", role, major), func(t *testing.T) {
				t.Parallel()
				endsWithOwner(t, role, strconv.Itoa(major))
			})
		}
	}
}

func endsWithOwner(t *testing.T, role, server string) {
	t.Helper()
	tmp := room(t)
	cmd := owner(t, tmp, role, server)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid, port int
	if _, err := fmt.Fscan(out, &pid, &port); err != nil {
		t.Fatalf("the owner of the server did not tell its process id: %v", err)
	}
	if len(entries(t, tmp)) != 1 {
		t.Errorf("%s holds %v, want the server's directory", tmp, entries(t, tmp))
	}
	if strings.HasPrefix(role, "killed") {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait() // its status is that of a violent death
	eventually(t, 3*time.Minute, "server and directory are gone", func() bool {
		return !alive(pid) && len(entries(t, tmp)) == 0
	})
	// The kernel may need a moment more for the threads of a killed server.
	eventually(t, 3*time.Minute, fmt.Sprintf("nobody listens on port %d", port), func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestGuardDuringStart kills the owner while the server comes up: during initdb, before and after the postmaster.
func TestGuardDuringStart(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			diesDuringStart(t, strconv.Itoa(pgtest.Majors(t)[0]), time.Duration(i)*170*time.Millisecond)
		})
	}
}

func diesDuringStart(t *testing.T, server string, after time.Duration) {
	t.Helper()
	tmp := room(t)
	cmd := owner(t, tmp, "killed", server)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir []string
	eventually(t, 3*time.Minute, "the directory appears", func() bool {
		dir = entries(t, tmp)
		return len(dir) == 1
	})
	<-time.NewTimer(after).C
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	t.Cleanup(func() {
		if t.Failed() {
			tree, _ := exec.Command("find", tmp, "-maxdepth", "4").Output()
			t.Logf("left behind: %q\n%s", naming(dir[0]), tree)
		}
	})
	eventually(t, 3*time.Minute, "processes and directory are gone", func() bool {
		return len(entries(t, tmp)) == 0 && len(naming(dir[0])) == 0
	})
}

func TestMissing(t *testing.T) {
	t.Setenv("CHANGELING_CACHE", t.TempDir())
	_, err := dbtest.Start(t.Context(), dbtest.Options{Major: 9})
	if err == nil || !strings.Contains(err.Error(), "no PostgreSQL 9 in ") || !strings.Contains(err.Error(), "scripts/setup.sh") {
		t.Errorf("Start of a major that is not installed = %v, want an error that says where it looked and what to do", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := dbtest.Start(ctx, dbtest.Options{}); err == nil {
		t.Errorf("Start with a context of 50 ms succeeded, stopped with %v", s.Stop())
	}
}

func TestBadSetting(t *testing.T) {
	t.Parallel()
	_, err := dbtest.Start(t.Context(), dbtest.Options{Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("Start = %v, want the complaint from the server's log", err)
	}
}

func TestBin(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, dbtest.DefaultMajor)
	out, err := exec.CommandContext(t.Context(), s.Bin("pg_dump"), "--schema-only", "--dbname", s.DSN("postgres")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "database dump complete") {
		t.Errorf("pg_dump = %v\n%s", err, out)
	}
	if got := s.Bin("no-such-program"); got != "" {
		t.Errorf("Bin(no-such-program) = %q", got)
	}
}

// TestCaches holds the two lists of cache directories together, the package's and the one in scripts/setup.sh.
func TestCaches(t *testing.T) {
	for _, env := range []map[string]string{
		{"CHANGELING_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"},
		{"CHANGELING_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"},
		{"CHANGELING_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"},
		{"CHANGELING_CACHE": "", "XDG_CACHE_HOME": "", "HOME": ""},
	} {
		for name, value := range env {
			t.Setenv(name, value)
		}
		out, err := exec.CommandContext(t.Context(), "../../scripts/setup.sh", "caches").CombinedOutput()
		if err != nil {
			t.Fatalf("scripts/setup.sh caches: %v\n%s", err, out)
		}
		if got, want := strings.Fields(string(out)), dbtest.Caches(); !slices.Equal(got, want) {
			t.Errorf("with %v scripts/setup.sh uses %v, the package %v", env, got, want)
		}
	}
}

// TestCoreIsForCommandsToo keeps the flags of package testing out of a command that starts a server.
func TestCoreIsForCommandsToo(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(out)), "testing") {
		t.Error("package dbtest imports testing")
	}
}

// throwaway is what servers of all kinds can do.
type throwaway interface {
	Pid() int
	Kill() error
}

// play is the process that owns a server and ends in the way that the role says.
func play(role string) {
	var s throwaway
	var port int
	major, err := strconv.Atoi(os.Getenv("DBTEST_SERVER"))
	if err == nil {
		var pg *dbtest.Server
		if pg, err = dbtest.Start(context.Background(), dbtest.Options{Major: major}); err == nil {
			s, port = pg, pg.Port
		}
	} else {
		var my *dbtest.MySQL
		my, err = dbtest.StartMySQL(context.Background(), dbtest.MySQLOptions{Version: os.Getenv("DBTEST_SERVER")})
		if err == nil {
			s, port = my, my.Port
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	pid := s.Pid()
	if role == "killed-after-kill" {
		if err := s.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	fmt.Println(pid, port)
	switch role {
	case "exits":
		os.Exit(3)
	case "panics":
		panic("as the test wants it")
	case "returns":
		os.Exit(0)
	default:
		select {}
	}
}

// owner starts this program again, which then starts a server: a major version of PostgreSQL, or a version of mytest.
func owner(t *testing.T, tmp, role, server string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "DBTEST_ROLE="+role, "DBTEST_SERVER="+server)
	return cmd
}

// room makes a temporary directory that any user can enter, as a server started by root needs it, and whose path is short
// enough for a server to take it, other than those of t.TempDir.
func room(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "room")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// naming returns the processes whose command line has the text in it.
func naming(text string) []string {
	var found []string
	lines, _ := fs.Glob(os.DirFS("/proc"), "[0-9]*/cmdline")
	for _, line := range lines {
		if command, err := os.ReadFile("/proc/" + line); err == nil && strings.Contains(string(command), text) {
			found = append(found, strings.ReplaceAll(line+": "+string(command), "\x00", " "))
		}
	}
	return found
}

// alive reports whether a process runs; one that has ended and that nobody has collected yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func eventually(t *testing.T, within time.Duration, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !true(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
