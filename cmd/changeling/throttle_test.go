package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
)

func TestThrottleCommand(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	stop := filepath.Join(t.TempDir(), "stop")
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runner := s.start("run", "--output", "json", "--throttle-file", stop, "--max-load", "500", "--cutover-window", "TZ=UTC * * 31 2 *", statementText)
	c := s.until("a change that waits for a file", func(c changeling.Status) bool { return strings.Contains(c.ThrottleReason, "the file "+stop+" exists") })
	contains(t, "throttle without a pair", s.run(0, "throttle", c.ID).stdout, "as its run was started")
	contains(t, "throttle", s.run(0, "throttle", c.ID, "throttle-file=off", "max-lag=10s", "window=* * * * *", "window=TZ=UTC 1 1 * * *").stdout,
		"max-lag=10s\n", "throttle-file=off\n", "window=* * * * *\nwindow=TZ=UTC 1 1 * * *\n")
	c = s.until("a change that waits for its window", held)
	contains(t, "status", s.run(0, "status", c.ID).stdout, "throttle   max-lag=10s, throttle-file=off")
	contains(t, "hold", s.run(0, "hold", c.ID).stdout, "holds before its swap")
	s.run(0, "throttle", c.ID, "max-lag=", "cutover-window=off")
	if out := s.run(0, "throttle", c.ID).stdout; strings.Contains(out, "max-lag") {
		t.Errorf("max-lag was taken back, and is shown:\n%s", out)
	}
	s.run(0, "cutover", c.ID)
	contains(t, "events", runner.ends(0).stdout, `"event":"signals"`, `"name":"active sessions"`, `limit 500`, `"name":"file"`)

	contains(t, "an unknown setting", s.run(2, "throttle", c.ID, "max-lug=1s").stderr, "expected one of max-lag")
	contains(t, "no pair", s.run(2, "throttle", c.ID, "max-lag").stderr, "expected NAME=VALUE")
	contains(t, "a bad value", s.run(2, "throttle", c.ID, "max-lag=never").stderr, "expected a duration")
	s.run(2, "throttle")
	s.run(2, "throttle", c.ID, "max-lag=1s") // it is over
	s.run(2, "hold", c.ID)
	for _, bad := range [][]string{{"--max-lag", "x"}, {"--window", "* 22-4 * * *"}, {"--fast", "--nice", "3"}, {"--kill-blockers", "all"}, {"--hook", "done"}, {"--replica", "oracle://x"}} {
		contains(t, strings.Join(bad, " "), s.run(2, append(append([]string{"run"}, bad...), statementText)...).stderr, bad[0][2:])
	}
}

func TestHooksOfACommand(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	heard, asked := filepath.Join(dir, "heard"), filepath.Join(dir, "asked")
	veto := write("veto", `echo x >> `+asked+`; if [ $(wc -l < `+asked+`) -lt 2 ]; then echo "a deployment is under way" >&2; exit 1; fi`)
	out := s.run(0, "run", "--hook", "all="+write("hears", `echo "$CHANGELING_EVENT $CHANGELING_CHANGE" >> `+heard), "--hook", "verified="+write("fails", "echo no room >&2; exit 3"),
		"--hook", "before-cutover="+veto, statementText).stdout
	contains(t, "run", out, "hook "+filepath.Join(dir, "fails")+" of verified failed: exit status 3: no room", "not allowed: hook "+veto, "a deployment is under way")
	if !regexp.MustCompile(`swapped at attempt ([2-9]|\d\d)`).MatchString(out) {
		t.Errorf("it does not swap after the veto:\n%s", out)
	}
	text, err := os.ReadFile(heard)
	if err != nil {
		t.Fatal(err)
	}
	id := s.newest().ID
	contains(t, "the hook", string(text), "planned "+id+"\n", "cutover_tried "+id+"\n", "done "+id+"\n")
}
