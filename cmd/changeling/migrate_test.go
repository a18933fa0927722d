package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/migrate"
)

// migrations writes a tree of plain files.
func migrations(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, pairs...)
	return dir
}

func write(t *testing.T, dir string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, pairs[i]), []byte(pairs[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// N1, NR10, R15, Q10, O9, S1, S3, S5: each state has a message and an exit code of its own, on every server.
func TestR15StatesAndExitCodes(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		states(t, newShell(t), pgtest.Open)
	})
	mytest.Each(t, func(t *testing.T, version string) {
		states(t, &shell{t: t, dsn: mytest.Database(t, version)}, mytest.Open)
	})
}

func states(t *testing.T, s *shell, open func(testing.TB, string) *sql.DB) {
	postgres := strings.HasPrefix(s.dsn, "postgres")
	exec := func(statement string) {
		t.Helper()
		if _, err := open(t, s.dsn).ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE TABLE b (id int);")
	m := func(code int, args ...string) result {
		t.Helper()
		return s.run(code, append(append([]string{"migrate"}, args...), "--dir", dir)...)
	}
	contains(t, "behind", m(10, "status", "--check").stdout, "behind: 2 to apply")
	m(10, "wait", "--check")
	how := "1 a (1_a.sql): statement by statement"
	if postgres {
		how = "1 a (1_a.sql): one transaction"
	}
	contains(t, "plan", m(0, "plan").stdout, how, "CREATE TABLE b")
	contains(t, "up", m(0, "up").stdout, "applied 1 a in", "applied 2 b in")
	contains(t, "up again", m(0, "up").stdout, "nothing to do")
	contains(t, "current", m(0, "status", "--check").stdout, "current: current at \"2\"")
	m(0, "wait", "--check")
	m(0, "verify")

	exec("ALTER TABLE b ADD COLUMN extra int")
	drifted := "not in the files: column b.0002 extra int"
	if postgres {
		drifted = "not in the files: column public.b.extra integer"
	}
	contains(t, "drifted", m(16, "verify").stderr, drifted)
	contains(t, "drifted is no other state", m(0, "status", "--check").stdout, "current")
	exec("ALTER TABLE b DROP COLUMN extra")
	exec("DROP TABLE a")
	contains(t, "drifted the other way", m(16, "verify").stderr, "missing: table ")
	exec("CREATE TABLE a (id int)")
	m(0, "verify")
	write(t, dir, "2_b.sql", "CREATE TABLE b (id bigint);")
	contains(t, "edited", m(14, "up").stderr, "the file of migration 2 b says something else")
	contains(t, "edited status", m(14, "status", "--check").stdout, "edited after it ran", "edited: the file of migration 2 b")
	contains(t, "repair", m(0, "repair").stdout, "accepted the file of 2 b")
	m(0, "status", "--check")

	write(t, dir, "3_c.sql", "CREATE TABLE c (id int);\nCREATE TABLE a (id int);")
	left := "statements 1 to 1 of 2 are done and kept, this one and those behind it are not"
	if postgres {
		left = "nothing of it remains: it was one transaction"
	}
	contains(t, "failed", m(15, "up").stderr, "3_c.sql:2", "already exists", left)
	contains(t, "failed status", m(15, "status", "--check").stdout, "failed: migration 3 c failed")
	write(t, dir, "3_c.sql", "CREATE TABLE c (id int);")
	m(0, "up")

	if err := os.Remove(filepath.Join(dir, "2_b.sql")); err != nil {
		t.Fatal(err)
	}
	contains(t, "unknown", m(13, "up").stderr, "the database has 2, which the files do not know")
	contains(t, "unknown status", m(13, "status", "--check").stdout, "not in the files", "unknown: the database has 2")
	write(t, dir, "2_b.sql", "CREATE TABLE b (id bigint);")
	if err := os.Remove(filepath.Join(dir, "3_c.sql")); err != nil {
		t.Fatal(err)
	}
	contains(t, "ahead", m(12, "up").stderr, "the database is ahead: it has 3")
	contains(t, "ahead status", m(12, "status", "--check").stdout, "ahead: the database is ahead")
	m(0, "up", "--allow-ahead")
	write(t, dir, "3_c.sql", "CREATE TABLE c (id int);", "1_z.sql", "")
	contains(t, "two of one version", m(2, "up").stderr, "same version 1")
	if err := os.Remove(filepath.Join(dir, "1_z.sql")); err != nil {
		t.Fatal(err)
	}
	contains(t, "a way back that loses", m(3, "down").stderr, "loses data", "DROP TABLE")
	contains(t, "back", m(0, "back", "3").stdout, "-- loses: ", "DROP TABLE")
	contains(t, "history", m(0, "history").stdout, "applied", "failed", "repaired")
	contains(t, "new", m(0, "new", "Add Users").stdout, "4_add_users.sql")
	contains(t, "no directory", s.run(2, "migrate", "up", "--dir", "nowhere").stderr, "no directory nowhere")
	contains(t, "a wrong format", m(2, "status", "--format", "rails").stderr, "expected one of")
	var st migrate.Status
	if err := json.Unmarshal([]byte(m(0, "status", "--json").stdout), &st); err != nil || st.State != migrate.StateBehind || st.Current != "3" {
		t.Errorf("status --json: %+v, %v", st, err)
	}
}

// Q1 with real processes: several at once, the one that works is killed, and the tree is applied once all the same.
func TestQ1ProcessesAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "mysql9.7"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var s *shell
			sleep := "SELECT pg_sleep(8);"
			if kind == "postgres" {
				s = newShell(t)
			} else {
				s = &shell{t: t, dsn: mytest.Database(t, kind)}
				sleep = "SELECT SLEEP(8);"
			}
			dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);", "2_slow.sql", "INSERT INTO a VALUES (1);\n"+sleep, "3_c.sql", "INSERT INTO a VALUES (2);")
			var all []*process
			for range 4 {
				all = append(all, s.start("migrate", "up", "--dir", dir))
			}
			var st migrate.Status
			poll(t, func() bool {
				if err := json.Unmarshal([]byte(s.run(0, "migrate", "status", "--json", "--dir", dir).stdout), &st); err != nil {
					t.Fatal(err)
				}
				return st.Owner != "" && st.Current == "1"
			}, func() string { return "somebody at work" })
			killed := 0
			for _, p := range all {
				if strings.Contains(st.Owner, processOf(p)) {
					p.signal(syscall.SIGKILL)
					killed++
				}
			}
			if killed != 1 {
				t.Fatalf("nobody is %q", st.Owner)
			}
			applied := 0
			for _, p := range all {
				if r := p.wait(); r.code == 0 {
					applied += strings.Count(r.stdout, "applied 3 c")
				} else if r.code != -1 {
					t.Errorf("exit code %d:\n%s", r.code, r.stderr)
				}
			}
			if applied != 1 {
				t.Errorf("migration 3 was applied %d times", applied)
			}
			s.run(0, "migrate", "wait", "--check", "--dir", dir)
		})
	}
}

func processOf(p *process) string {
	return "process " + strings.TrimSpace(itoa(p.cmd.Process.Pid)) + " "
}

func itoa(n int) string {
	text, _ := json.Marshal(n) // a number
	return string(text)
}

// O1, O3: a release that already dropped a column, and a late migration that reads it: found before anybody upgrades.
func TestO3ADataStepReadsWhatIsGone(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := migrations(t, "1_a.sql", "CREATE TABLE hooks (id int, custom_trigger int, trigger int);", "3_drop.sql", "ALTER TABLE hooks DROP COLUMN custom_trigger;")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "release")
	git("tag", "v1")
	write(t, dir, "2_move.sql", "UPDATE hooks SET trigger = custom_trigger;")
	contains(t, "the tree alone", s.run(0, "migrate", "validate", "--dir", dir).stdout, "3 migrations of plain")
	contains(t, "by default", s.run(3, "migrate", "validate", "--from", "v1", "--dir", dir).stderr, "2 is missing below 3")
	contains(t, "out of order", s.run(15, "migrate", "validate", "--from", "v1", "--out-of-order", "apply", "--dir", dir).stderr, "2_move.sql:1", "custom_trigger")
	if got := s.ask(`SELECT count(*) FROM pg_database WHERE datname LIKE 'changeling_scratch_` + itoa(os.Getpid()) + `%'`); got != "0" {
		t.Errorf("%s scratch databases are left", got)
	}
	write(t, dir, "4_move.sql", "UPDATE hooks SET trigger = 0;")
	if err := os.Remove(filepath.Join(dir, "2_move.sql")); err != nil {
		t.Fatal(err)
	}
	contains(t, "mended", s.run(0, "migrate", "validate", "--from", "v1", "--dir", dir).stdout, "from v1: ok")
}

// R15, R16: who comes while another runs is told so; SIGTERM ends a run in good order, and the next one goes on.
func TestR16SIGTERM(t *testing.T) {
	t.Parallel()
	interrupted := func(t *testing.T, s *shell, slow string) {
		dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int);", "2_slow.sql", slow)
		p := s.start("migrate", "up", "--dir", dir)
		poll(t, func() bool { return strings.Contains(p.out.String(), "applied 1 a") }, func() string { return "the first migration" })
		contains(t, "another", s.run(9, "migrate", "up", "--wait", "0", "--dir", dir).stderr, "migrations are run by "+strings.TrimSpace(processOf(p)), "nothing was done")
		contains(t, "status meanwhile", s.run(10, "migrate", "status", "--check", "--dir", dir).stdout, "behind: 1 to apply", "run now by ")
		contains(t, "waiting", s.run(10, "migrate", "wait", "--timeout", "1s", "--dir", dir).stderr, "waited in vain", "is at \"1\"")
		p.signal(syscall.SIGTERM)
		began := time.Now()
		contains(t, "the error", p.ends(75).stderr, "run the same command again")
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("it took %s to stop", took)
		}
		write(t, dir, "2_slow.sql", "SELECT 1;")
		contains(t, "the next", s.run(0, "migrate", "up", "--dir", dir).stdout, "applied 2 slow")
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		interrupted(t, newShell(t), "SELECT pg_sleep(600);")
	})
	mytest.Each(t, func(t *testing.T, version string) {
		interrupted(t, &shell{t: t, dsn: mytest.Database(t, version)}, "SELECT SLEEP(600);")
	})
}

// NR2, S37: a statement that outlives its run, killed at once, is ended before the next run goes on, and happens once; one whose run was
// told to stop ends on the server too.
func TestNR2AStatementOutlivesItsRun(t *testing.T) {
	t.Parallel()
	// SLEEP is no such statement: who ends it is told that it was successful.
	outlived := func(t *testing.T, s *shell, slow, quick string, running func() string) {
		dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int);", "2_slow.sql", slow)
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			p := s.start("migrate", "up", "--dir", dir)
			poll(t, func() bool { return running() == "1" }, func() string { return "the statement" })
			p.signal(sig)
			if r := p.wait(); sig == syscall.SIGTERM {
				if r.code != 75 {
					t.Errorf("exit code %d:\n%s", r.code, r.stderr)
				}
				poll(t, func() bool { return running() == "0" }, func() string { return "the end of the statement" })
			}
		}
		write(t, dir, "2_slow.sql", quick)
		began := time.Now()
		contains(t, "the next", s.run(0, "migrate", "up", "--dir", dir).stdout, "applied 2 slow")
		if took := time.Since(began); took > 3*time.Minute {
			t.Errorf("the next run took %s: it waited for the statement", took)
		}
		if got := running(); got != "0" {
			t.Errorf("%s statements of the run that was killed still run", got)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := newShell(t)
		outlived(t, s, "CREATE TABLE slow AS SELECT pg_sleep(600) IS NULL AS n;", "CREATE TABLE slow AS SELECT 1 AS n;", func() string {
			return s.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'CREATE TABLE slow%'")
		})
	})
	mytest.Each(t, func(t *testing.T, version string) {
		s := &shell{t: t, dsn: mytest.Database(t, version)}
		db := mytest.Open(t, s.dsn)
		mytest.Exec(t, db, "CREATE TABLE many (n int)", "INSERT INTO many WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 900) SELECT i FROM r")
		outlived(t, s, "CREATE TABLE slow AS SELECT SUM(a.n * b.n - c.n * d.n) AS n FROM many a, many b, many c, many d;", "CREATE TABLE slow AS SELECT 1 AS n;", func() (n string) {
			if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'CREATE TABLE slow%'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		})
	})
}

// N13, S33: the phases of a file from the command line.
func TestN13PhasesAndApps(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int, n int);\n-- changeling: phase deploy 2.0\nALTER TABLE a DROP COLUMN n;\n-- changeling: needs shop >= 3\nDROP TABLE a;")
	contains(t, "a phase", s.run(0, "migrate", "up", "--dir", dir).stdout, "waits before its next phase: deploy 2.0", "--deployed")
	contains(t, "status", s.run(10, "migrate", "status", "--check", "--dir", dir).stdout, "waiting", "waits for a deploy")
	s.run(0, "migrate", "wait", "--check", "--for", "1", "--dir", dir)
	contains(t, "no version", s.run(2, "migrate", "announce", "--dir", dir, "--app", "shop").stderr, "--app shop --version 2.0")
	s.run(0, "migrate", "announce", "--dir", dir, "--app", "shop", "--version", "2.9", "--instance", "web-1", "--for", "1h")
	contains(t, "an old one", s.run(0, "migrate", "up", "--deployed", "--dir", dir).stdout, "there still is web-1 at 2.9")
	contains(t, "apps", s.run(0, "migrate", "apps", "--dir", dir).stdout, "shop", "2.9", "web-1")
	s.run(0, "migrate", "announce", "--dir", dir, "--app", "shop", "--version", "3.0", "--instance", "web-1", "--for", "1h")
	contains(t, "a new one", s.run(0, "migrate", "up", "--dir", dir).stdout, "applied 1 a")
	contains(t, "current", s.run(0, "migrate", "status", "--check", "--dir", dir).stdout, "current")
}

// R14, S36: several databases get the same tree, one after the other; the first that fails keeps those behind it as they are.
func TestR14Targets(t *testing.T) {
	t.Parallel()
	one, two, three := newShell(t), newShell(t), newShell(t)
	dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int);")
	list := func(dsns ...string) string {
		text := "# name and connection string\n\n"
		for i, dsn := range dsns {
			text += fmt.Sprintf("shard-%d  %s\n", i+1, dsn)
		}
		write(t, dir, "targets.txt", text)
		return filepath.Join(dir, "targets.txt")
	}
	two.exec("CREATE TABLE a (id int)")
	all := list(one.dsn, two.dsn, three.dsn)
	r := one.run(15, "migrate", "up", "--dir", dir, "--targets", all)
	contains(t, "the first", r.stdout, "== shard-1", "applied 1 a", "== shard-2")
	contains(t, "the second fails", r.stderr, "target shard-2 ended with exit code 15; nothing was begun on shard-3")
	if got := three.ask("SELECT to_regclass('a') IS NULL"); got != "true" {
		t.Errorf("something was begun on the third")
	}
	two.exec("DROP TABLE a")
	contains(t, "again", one.run(0, "migrate", "up", "--dir", dir, "--targets", all).stdout, "== shard-1", "nothing to do", "== shard-3")
	contains(t, "status", one.run(0, "migrate", "status", "--check", "--dir", dir, "--targets", all).stdout, "== shard-3")
	contains(t, "a line that is none", one.run(2, "migrate", "up", "--dir", dir, "--targets", list("")).stderr, "targets.txt:3: expected a name")
}

// S7b: the files get their names.
func TestS7bRebaseMovesFiles(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := migrations(t, "1_a.up.sql", "SELECT 1;", "1_a.down.sql", "SELECT 1;", "2_b.up.sql", "SELECT 1;")
	contains(t, "rebase", s.run(0, "migrate", "rebase", "1", "--dir", dir).stdout, "3_a.up.sql", "3_a.down.sql")
	contains(t, "the newest", s.run(2, "migrate", "rebase", "3", "--dir", dir).stderr, "newest one already")
}

// S38: old files are put into one, which a database that has them takes as applied.
func TestS38SquashFiles(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir := migrations(t, "1_a.sql", "CREATE TABLE a (id int);", "2_b.sql", "CREATE TABLE b (id int);", "3_c.sql", "CREATE TABLE c (id int);")
	s.run(0, "migrate", "up", "--dir", dir)
	contains(t, "squash", s.run(0, "migrate", "squash", "2", "--dir", dir).stdout, "2_squashed.sql", "removed ", "1_a.sql", "2_b.sql")
	contains(t, "status", s.run(0, "migrate", "status", "--check", "--dir", dir).stdout, "current")
	contains(t, "up", s.run(0, "migrate", "up", "--dir", dir).stdout, "nothing to do")
	contains(t, "one alone", s.run(2, "migrate", "squash", "2", "--dir", dir).stderr, "nothing is there to be squashed")
}
