package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestRunMakesAChangeOnce(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "an empty list", s.run(0, "list").stdout, "no changes")
	if got := s.run(0, "list", "--json").stdout; got != "[]\n" {
		t.Errorf("list --json of no changes is %q, want []", got)
	}
	first := s.run(0, "run", statementText)
	contains(t, "run", first.stdout, "copy rows", "verify", "swapped at attempt", "done", "the old table stays as changeling_")
	if first.stderr != "" || !s.changed() {
		t.Errorf("changed %v, stderr:\n%s", s.changed(), first.stderr)
	}
	contains(t, "run again", s.run(0, "run", statementText).stdout, "nothing to do")
	id := s.newest().ID
	golden(t, "status.json.golden", s.run(0, "status", id, "--json").stdout)
	golden(t, "list.json.golden", s.run(0, "list", "--json").stdout)
	contains(t, "status", s.run(0, "status", id).stdout, "status     done", "old table", "1000 of about", "the table was locked for")
	contains(t, "list", s.run(0, "list").stdout, id, "public.orders", "done")
	s.run(0, "status", id, "--watch")
	s.run(2, "abort", id)
	s.run(2, "pause", id)
}

func TestRunTellsJSON(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	r := s.run(0, "run", "--output", "json", "--drop", "now", "--fast", "--yes", statementText)
	var names []string
	for line := range strings.Lines(r.stdout) {
		var e struct {
			V      int
			Event  string
			Status string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.V != 1 {
			t.Fatalf("%q is no event of version 1: %v", line, err)
		}
		names = append(names, e.Event)
	}
	if len(names) < 10 || names[0] != "planned" || names[len(names)-1] != "done" {
		t.Errorf("events are %v", names)
	}
	if c := s.newest(); c.OldTable != "" || s.traces() != "0" {
		t.Errorf("--drop now left %s and %s traces", c.OldTable, s.traces())
	}
	quiet := s.run(0, "run", "--quiet", "ALTER TABLE orders ADD COLUMN note text")
	if n := strings.Count(quiet.stdout, "\n"); n != 1 {
		t.Errorf("--quiet tells %d lines, want one:\n%s", n, quiet.stdout)
	}
}

func TestHoldAndCutoverFromAnotherProcess(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	runner := s.start("run", "--hold", statementText)
	c := s.until("a held change", held)
	// A second runner is turned away and told who runs it.
	contains(t, "the second runner's error", s.run(9, "run", statementText).stderr, fmt.Sprintf("process %d on ", runner.cmd.Process.Pid), c.ID, "nothing was touched")
	contains(t, "another statement's error", s.run(3, "run", "ALTER TABLE orders ALTER COLUMN amount TYPE numeric").stderr, c.ID, "under way")
	s.run(3, "plan", "ALTER TABLE orders ALTER COLUMN amount TYPE numeric")
	contains(t, "plan meanwhile", s.run(10, "plan", "--detailed-exitcode", statementText).stdout, "under way  change "+c.ID)
	contains(t, "status", s.run(0, "status", c.ID).stdout, "status     held", "to do      `changeling cutover "+c.ID+"`", c.Owner)
	s.exec(`UPDATE orders SET amount = amount + 1`)
	contains(t, "verify", s.run(0, "verify", c.ID).stdout, "rows of public.orders and of its shadow were compared, all are equal")
	turned := s.run(0, "resume", "--output", "json", c.ID)
	if contains(t, "resume --output json of what another one runs", turned.stderr, "works on it"); turned.stdout != "" {
		t.Errorf("standard output is for events, and has %q", turned.stdout)
	}
	watcher := s.start("status", "--watch", "--json", c.ID)
	contains(t, "cutover", s.run(0, "cutover", c.ID).stdout, "change "+c.ID+" cuts over now", c.Owner)
	contains(t, "run", runner.ends(0).stdout, "swapped")
	lines := strings.Split(strings.TrimSpace(watcher.ends(0).stdout), "\n")
	var last changeling.Status
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Status != "done" {
		t.Errorf("the last line of --watch is %s (%v)", lines[len(lines)-1], err)
	}
	if !s.changed() || s.ask(`SELECT sum(amount) FROM orders`) != fmt.Sprint(1000*1001/2+1000) {
		t.Error("the table is not what it should be")
	}
	s.run(2, "verify", c.ID)
	s.run(2, "cutover", c.ID)
}

func TestASignalStopsAndCutoverGoesOnHere(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			s.orders()
			runner := s.start("run", "--hold", statementText)
			c := s.until("a held change", held)
			runner.signal(sig)
			contains(t, "the stopped run", runner.ends(75).stderr, "nothing is lost", "changeling resume "+c.ID)
			c = s.newest()
			if c.Owner != "" || c.Status != "held" {
				t.Errorf("after the signal the change is %s of %q", c.Status, c.Owner)
			}
			contains(t, "status", s.run(0, "status", c.ID).stdout, "nobody works on it")
			s.exec(`UPDATE orders SET amount = amount + 1`)
			contains(t, "cutover", s.run(0, "cutover", c.ID).stdout, "goes on", "swapped")
			if !s.changed() || s.ask(`SELECT sum(amount) FROM orders`) != fmt.Sprint(1000*1001/2+1000) {
				t.Error("the table is not what it should be")
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	// An open writer keeps the capture from being installed, so the change stands still at the beginning.
	db := pgtest.Open(t, s.dsn)
	writer, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, writer, `UPDATE orders SET amount = 7 WHERE id = 1`)
	runner := s.start("run", statementText)
	c := s.until("a change that waits", func(c changeling.Status) bool { return c.Step == "install capture" && c.Owner != "" })
	contains(t, "pause", s.run(0, "pause", c.ID).stdout, "pauses before its next chunk")
	s.until("a run that knows of the pause", func(c changeling.Status) bool { return strings.Contains(c.ThrottleReason, "paused by request") })
	if err := writer.Commit(); err != nil {
		t.Fatal(err)
	}
	c = s.until("a paused change", func(c changeling.Status) bool {
		return c.Status == "paused" && strings.Contains(c.ThrottleReason, "paused by request")
	})
	if c.RowsDone != 0 {
		t.Errorf("a paused change copied %d rows", c.RowsDone)
	}
	contains(t, "status", s.run(0, "status", c.ID).stdout, "status     paused", "to do      `changeling resume "+c.ID+"`")
	runner.signal(syscall.SIGTERM)
	runner.ends(75)
	// The pause outlives the run: another one waits as well.
	second := s.start("run", statementText)
	s.until("a paused change of another owner", func(now changeling.Status) bool {
		return now.Owner != "" && now.Owner != c.Owner && strings.Contains(now.ThrottleReason, "paused by request")
	})
	contains(t, "resume", s.run(0, "resume", c.ID).stdout, "goes on", fmt.Sprintf("process %d on ", second.cmd.Process.Pid))
	second.ends(0)
	if !s.changed() || s.ask(`SELECT amount FROM orders WHERE id = 1`) != "7" {
		t.Error("the table is not what it should be")
	}
}

func TestResumeRunsAChangeThatNobodyWorksOn(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	runner := s.start("run", "--hold", statementText)
	c := s.until("a held change", held)
	runner.signal(syscall.SIGKILL)
	if r := runner.wait(); r.code != -1 {
		t.Fatalf("a killed run exits %d", r.code)
	}
	s.until("a change without an owner", func(c changeling.Status) bool { return c.Owner == "" }) // the server hears that its client is gone
	contains(t, "pause", s.run(0, "pause", c.ID).stdout, "paused; nobody works on it")
	contains(t, "list", s.run(0, "list").stdout, "paused", "nobody works on it")
	resumed := s.start("resume", c.ID, "--output", "json")
	s.until("a change of the second run", func(now changeling.Status) bool { return now.Owner != "" && now.Owner != c.Owner })
	s.run(0, "cutover", c.ID)
	contains(t, "resume", resumed.ends(0).stdout, `"event":"planned"`, `"resumed":true`, `"status":"done"`)
	if !s.changed() {
		t.Error("the table was not changed")
	}
}

func TestAbortFromAnotherProcess(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	runner := s.start("run", "--hold", statementText)
	c := s.until("a held change", held)
	contains(t, "abort", s.run(0, "abort", c.ID).stdout, "change "+c.ID+" is aborted")
	contains(t, "the aborted run", runner.ends(8).stderr, "aborted on request")
	if n := s.traces(); n != "0" || s.changed() {
		t.Errorf("after the abort: changed %v, %s traces", s.changed(), n)
	}
	contains(t, "abort again", s.run(0, "abort", "--yes", c.ID).stdout, "already")
	s.run(8, "status", "--watch", c.ID)
	// The same statement again is a new change.
	s.run(0, "run", statementText)
	if again := s.newest(); again.ID == c.ID || !s.changed() {
		t.Errorf("change %s again", again.ID)
	}
}

func TestCleanupDropsWhatIsDue(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "cleanup of nothing", s.run(0, "cleanup").stdout, "nothing to do")
	s.run(0, "run", "--drop", "never", statementText)
	kept := s.newest()
	if kept.OldTable == "" || kept.DropAt != nil {
		t.Errorf("--drop never keeps %q until %v", kept.OldTable, kept.DropAt)
	}
	s.run(0, "run", "--drop", "after=1s", "ALTER TABLE orders ALTER COLUMN amount TYPE numeric")
	due := s.newest()
	poll(t, func() bool {
		return strings.Contains(s.run(0, "cleanup").stdout, "dropped "+due.OldTable)
	}, func() string { return "a drop of " + due.OldTable })
	contains(t, "cleanup", s.run(0, "cleanup").stdout, "kept "+kept.OldTable, "for ever", "cleanup "+kept.ID+" --now")
	contains(t, "cleanup of one", s.run(0, "cleanup", kept.ID).stdout, "kept")
	contains(t, "cleanup --now", s.run(0, "cleanup", "--now", kept.ID).stdout, "dropped "+kept.OldTable)
	contains(t, "cleanup again", s.run(0, "cleanup", "--now", kept.ID).stdout, "nothing to do")
	s.run(2, "cleanup", "--now")
	if s.traces() != "0" {
		t.Errorf("%s traces are left", s.traces())
	}
}

// TestRunSeveralStatements: a file is made statement by statement, goes on where it stood, and is not made twice, though its statements
// change one table; what is no change of a schema, and a migration's way back, are not run.
func TestRunSeveralStatements(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`UPDATE orders SET email = 'gone' WHERE id = 7`)
	file := filepath.Join(t.TempDir(), "0042_orders.sql")
	text := "-- +goose Up\n" + statementText + ";\nALTER TABLE orders ADD COLUMN c int DEFAULT 5;\nALTER TABLE orders ADD CONSTRAINT pos CHECK (email <> 'gone');\nALTER TABLE orders ADD COLUMN d int;\n" +
		"-- +goose Down\nDROP TABLE orders;\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	planned := s.run(0, "plan", "--sql-file", file)
	contains(t, "plan", planned.stdout, "route      shadow-table", "ADD COLUMN c int", "ADD CONSTRAINT pos", "ADD COLUMN d int")
	if n := strings.Count(planned.stdout, "\nroute "); n != 4 {
		t.Errorf("%d plans, want 4:\n%s", n, planned.stdout)
	}
	failed := s.run(5, "run", "--sql-file", file)
	contains(t, "the third's error", failed.stderr, "statement 3 of 4 (the 2 before it are made", "pos")
	if !s.changed() {
		t.Error("the first statement was not made")
	}
	s.exec(`UPDATE orders SET email = 'back' WHERE id = 7`)
	on := s.run(0, "run", "--sql-file", file)
	contains(t, "the run that goes on", on.stdout, "statement 3 of 4", "statement 4 of 4")
	if strings.Contains(on.stdout, "statement 2 of 4") {
		t.Errorf("what was made was looked at again:\n%s", on.stdout)
	}
	contains(t, "the third run", s.run(0, "run", "--sql-file", file).stdout, "nothing to do")
	contains(t, "plan of what is made", s.run(0, "plan", "--detailed-exitcode", "--sql-file", file).stdout, "made already")

	refused := s.run(2, "run", "ALTER TABLE orders ADD COLUMN e int; INSERT INTO orders DEFAULT VALUES")
	contains(t, "the error of an INSERT", refused.stderr, "statement 2 of 2 changes no schema", "migrate up", "nothing was changed")
	later := s.run(0, "plan", "ALTER TABLE orders ADD COLUMN f int; ALTER TABLE orders ALTER COLUMN f TYPE bigint")
	contains(t, "what needs the statement before it", later.stdout, "route      unknown", "once what comes before it is done")
}

// TestForeignSettings: how a database shows times, and what it finds without a schema, is its own affair, and no matter for the command.
func TestForeignSettings(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`ALTER DATABASE "`+s.ask(`SELECT current_database()`)+`" SET datestyle = 'German, DMY'`, `CREATE TABLE days (id int PRIMARY KEY, day text)`, `INSERT INTO days VALUES (1, '03.04.2026')`)
	s.run(0, "run", statementText)
	id := s.newest().ID
	contains(t, "status", s.run(0, "status", id).stdout, "status     done", "cut over")
	contains(t, "report", s.run(0, "report", id).stdout, `"at":`)
	s.run(0, "run", "ALTER TABLE days ALTER COLUMN day TYPE date USING day::date")
	if day := s.ask(`SELECT to_char(day, 'YYYY-MM-DD') FROM days`); day != "2026-04-03" {
		t.Errorf("the day is %s, want what the database's own DateStyle makes of it", day)
	}
	s.exec(`ALTER DATABASE "` + s.ask(`SELECT current_database()`) + `" SET search_path = ''`)
	s.run(0, "run", "--drop", "now", "ALTER TABLE public.days ALTER COLUMN id TYPE bigint, ALTER COLUMN day TYPE text")
	if day := s.ask(`SELECT day FROM public.days`); day != "03.04.2026" {
		t.Errorf("the day is %s with no search_path", day)
	}
}

// TestStatementThatBeginsWithAComment: as files do, which are given as they are.
func TestStatementThatBeginsWithAComment(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "plan", s.run(0, "plan", "-- why it is done=so\n"+statementText, "--json").stdout, `"route": "shadow-table"`)
	s.exec(`CREATE VIEW amounts AS SELECT amount FROM orders`)
	contains(t, "the error of a view", s.run(2, "plan", "--detailed-exitcode", "--what for\n"+statementText).stderr, "view public.amounts depends")
	contains(t, "a flag that is none", s.run(2, "plan", "--nonsense=a b", statementText).stderr, "unknown flag")
}
