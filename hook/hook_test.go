package hook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/hook"
)

// script writes a program for the shell.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func parse(t *testing.T, text string) hook.Hook {
	t.Helper()
	h, err := hook.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// events is what a run tells, in short.
var events = []event.Event{
	event.Planned{Change: "c7f3", Table: "app.orders"}, event.StepStarted{Step: "copy"}, event.Progress{Step: "copy", Done: 1}, event.Signals{},
	event.StepEnded{Step: "copy"}, event.Done{Change: "c7f3", Status: "done"},
}

// tell tells all events through hooks, and answers what was told of failures and to the next sink.
func tell(t *testing.T, h *hook.Hooks) (failures []string, next []event.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(over)
		h.Run(ctx, func(text string) { mu.Lock(); defer mu.Unlock(); failures = append(failures, text) })
	}()
	sink := h.Sink(func(e event.Event) { next = append(next, e) })
	began := time.Now()
	for _, e := range events {
		sink(e)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("events were held up for %v", took)
	}
	cancel()
	<-over
	return failures, next
}

func TestProgram(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	path := script(t, `printf '%s %s ' "$CHANGELING_EVENT" "$CHANGELING_CHANGE" >> `+out+`; cat >> `+out)
	failures, next := tell(t, hook.New([]hook.Hook{parse(t, "step-ended="+path), parse(t, "done="+path)}, ""))
	if len(failures) > 0 || len(next) != len(events) {
		t.Errorf("failures %q, %d events to the next sink, want all %d", failures, len(next), len(events))
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "step_ended c7f3 {\"v\":1,") || !strings.HasPrefix(lines[1], "done c7f3 {") {
		t.Fatalf("the program heard %q", lines)
	}
	var e struct{ Event, Change, Status string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[1], "done c7f3 ")), &e); err != nil || e.Event != "done" || e.Change != "c7f3" || e.Status != "done" {
		t.Errorf("the last event is %+v, %v", e, err)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, r.Header.Get("X-Changeling-Event"))
		if got, want := r.Header.Get("X-Changeling-Signature"), hook.Signature("secret", body); got != want || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with signature %q, want POST and %q", r.Method, got, want)
		}
	}))
	defer server.Close()
	failures, _ := tell(t, hook.New([]hook.Hook{parse(t, "all="+server.URL+"/x?token=y")}, "secret"))
	if got, want := fmt.Sprint(heard), "[planned step_started step_ended done]"; got != want || len(failures) > 0 {
		t.Errorf("heard %s, want %s; failures %q", got, want, failures)
	}
	// RFC 4231, test case 2.
	if got, want := hook.Signature("Jefe", []byte("what do ya want for nothing?")), "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; got != want {
		t.Errorf("Signature = %s, want %s", got, want)
	}
}

// A hook that fails, hangs or is gone is reported, and holds nothing up.
func TestFailures(t *testing.T) {
	t.Parallel()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "too busy", http.StatusServiceUnavailable) }))
	t.Cleanup(busy.Close)
	down := httptest.NewServer(nil)
	down.Close()
	for name, c := range map[string]struct{ target, want string }{
		"fails": {script(t, "echo no room >&2; exit 3"), "exit status 3: no room"},
		"hangs": {script(t, "exec sleep 60"), "no end within 300ms"},
		"busy":  {busy.URL + "/x?token=secret", "it answers 503: too busy"},
		"down":  {down.URL + "/x?token=secret", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hook.New([]hook.Hook{parse(t, "done="+c.target), parse(t, "before-cutover="+c.target)}, "")
			h.Timeout = time.Minute
			if name == "hangs" {
				h.Timeout = 300 * time.Millisecond
			}
			failures, _ := tell(t, h)
			if len(failures) != 1 || !strings.Contains(failures[0], "of done failed: ") || !strings.Contains(failures[0], c.want) || strings.Contains(failures[0], "secret") {
				t.Errorf("failures %q, want one with %q", failures, c.want)
			}
			if err := h.Ask(t.Context(), "c7f3"); err == nil || !strings.Contains(err.Error(), c.want) || !h.Asks() {
				t.Errorf("Ask = %v, want a veto with %q", err, c.want)
			}
		})
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	h := hook.New([]hook.Hook{parse(t, "before-cutover="+script(t, `grep -q '"change":"c7f3"' && grep -c x /dev/null; test "$CHANGELING_CHANGE" = c7f3`))}, "")
	if err := h.Ask(t.Context(), "c7f3"); err != nil {
		t.Errorf("Ask = %v, want a yes", err)
	}
	if err := h.Ask(t.Context(), "other"); err == nil {
		t.Error("Ask = nil of another change, want a no")
	}
	if err := hook.New(nil, "").Ask(t.Context(), "c7f3"); err != nil || hook.New(nil, "").Asks() {
		t.Errorf("nobody was asked and said %v", err)
	}
}

// More than can wait is lost with a word about it, and holds nothing up.
func TestBacklog(t *testing.T) {
	t.Parallel()
	h := hook.New([]hook.Hook{parse(t, "notice="+script(t, "exit 0"))}, "")
	lost := 0
	sink := h.Sink(func(e event.Event) {
		if n, ok := e.(event.Notice); ok && strings.Contains(n.Text, "was not called") {
			lost++
		}
	})
	for range 1100 {
		sink(event.Notice{Text: "x"})
	}
	if lost != 100 {
		t.Errorf("%d were reported as lost, want 100", lost)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"done": "expected EVENT=TARGET", "done=": "expected EVENT=TARGET", "finished=/bin/sh": "expected one of before_cutover, all, planned",
		"done=/no/such/program": "cannot be run",
	} {
		if _, err := hook.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", text, err, want)
		}
	}
	if h := parse(t, "cutover-tried = https://example.org/x=y"); h != (hook.Hook{Event: "cutover_tried", Target: "https://example.org/x=y"}) {
		t.Errorf("Parse = %+v", h)
	}
	if _, err := hook.Parse("done=/no/such/program"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Parse = %v, want what LookPath says", err)
	}
}
