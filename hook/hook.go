// Package hook tells programs and web addresses of a user's own what happens to a change.
//
// Its one idea: a hook hears and cannot hold up. Events are queued and delivered one after the other beside the change; a hook
// that fails is reported and the change goes on. The one exception is asked before it: a hook for before-cutover, whose
// failure puts the swap off.
//
// A program gets an event as one line of JSON, as event.JSON writes it, on its standard input, and the event's name and the
// change's id in CHANGELING_EVENT and CHANGELING_CHANGE. An address gets it as the body of a POST, with the name in
// X-Changeling-Event and, where there is a secret, the HMAC of the body in X-Changeling-Signature: sha256= and hexadecimal digits.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
)

// BeforeCutover is the name of what is asked before each attempt to swap, and All is that of every event but those that come
// all the time, progress and signals.
const (
	BeforeCutover = "before_cutover"
	All           = "all"
)

// Hook is one thing to tell of one kind of event.
type Hook struct {
	Event  string // as event.Name has it, or one of the names above
	Target string // the path of a program, or an address that begins with http:// or https://
}

// Parse reads EVENT=TARGET. Hyphens in the name are as good as underscores.
func Parse(text string) (Hook, error) {
	name, target, ok := strings.Cut(text, "=")
	h := Hook{strings.ReplaceAll(strings.TrimSpace(name), "-", "_"), strings.TrimSpace(target)}
	if known := names(); !slices.Contains(known, h.Event) {
		return h, fmt.Errorf("hook %q: there is no event %q: expected one of %s", text, name, strings.Join(known, ", "))
	}
	if !ok || h.Target == "" {
		return h, fmt.Errorf("hook %q: expected EVENT=TARGET, the path of a program or an address that begins with http", text)
	}
	if !h.remote() {
		path, err := exec.LookPath(h.Target)
		if err != nil {
			return h, fmt.Errorf("hook %q: %s cannot be run: %w", text, h.Target, errors.Unwrap(err))
		}
		h.Target = path
	}
	return h, nil
}

func names() []string {
	all := []string{BeforeCutover, All}
	for _, e := range []event.Event{event.Planned{}, event.StepStarted{}, event.StepEnded{}, event.Progress{}, event.Waiting{}, event.Signals{}, event.Retried{},
		event.Restarted{}, event.Differed{}, event.Verified{}, event.Compared{}, event.CutoverTried{}, event.Done{}, event.Notice{}} {
		all = append(all, event.Name(e))
	}
	return all
}

func (h Hook) remote() bool {
	return strings.HasPrefix(h.Target, "http://") || strings.HasPrefix(h.Target, "https://")
}

func (h Hook) hears(name string) bool {
	return h.Event == name || h.Event == All && name != "progress" && name != "signals"
}

// Hooks are those of one run. Make them with New.
type Hooks struct {
	list   []Hook
	secret []byte
	// Timeout bounds one delivery. Zero means 10s. It is set before the first use.
	Timeout time.Duration

	queue  chan letter
	line   bytes.Buffer
	write  event.Sink
	change string
}

type letter struct {
	hook Hook
	name string
	body []byte
}

// backlog is how many deliveries may wait. What comes beyond that is lost, and reported.
const backlog = 1000

// New makes the hooks of a run. An empty secret signs nothing.
func New(list []Hook, secret string) *Hooks {
	h := &Hooks{list: list, secret: []byte(secret), queue: make(chan letter, backlog)}
	h.write = event.JSON(&h.line)
	return h
}

// Sink queues events for their hooks, and tells all of them to next. A hook that could not be served is a Notice to next
// alone. It is called one call at a time, as sinks are.
func (h *Hooks) Sink(next event.Sink) event.Sink {
	return func(e event.Event) {
		next(e)
		if p, ok := e.(event.Planned); ok {
			h.change = p.Change
		}
		h.line.Reset()
		h.write(e)
		name := event.Name(e)
		for _, hook := range h.list {
			if !hook.hears(name) {
				continue
			}
			select {
			case h.queue <- letter{hook, name, bytes.Clone(h.line.Bytes())}:
			default:
				next(event.Notice{Text: fmt.Sprintf("hook %s of %s was not called: %d others wait", hook.plain(), name, backlog)})
			}
		}
	}
}

// Run delivers until ctx ends, and then what is left, for no longer than one Timeout. failed is told of each delivery that
// failed; it may be called while a Sink is.
func (h *Hooks) Run(ctx context.Context, failed func(text string)) {
	deliver := func(ctx context.Context, l letter) {
		if err := h.deliver(ctx, l); err != nil {
			failed(fmt.Sprintf("hook %s of %s failed: %v", l.hook.plain(), l.name, err))
		}
	}
	for open := true; open; {
		select {
		case l := <-h.queue:
			deliver(context.WithoutCancel(ctx), l) // it has its own bound
		case <-ctx.Done():
			open = false
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.timeout())
	defer cancel()
	for last.Err() == nil {
		select {
		case l := <-h.queue:
			deliver(last, l)
		default:
			return
		}
	}
}

// Ask asks the hooks for before-cutover, all of them. The first that says no, or cannot be asked, is the error.
func (h *Hooks) Ask(ctx context.Context, change string) error {
	body, err := json.Marshal(map[string]any{"v": 1, "ts": time.Now().UTC(), "event": BeforeCutover, "change": change})
	if err != nil {
		return err
	}
	for _, hook := range h.list {
		if hook.Event != BeforeCutover {
			continue
		}
		if err := h.deliver(ctx, letter{hook, BeforeCutover, append(body, '\n')}); err != nil {
			return fmt.Errorf("hook %s: %w", hook.plain(), err)
		}
	}
	return nil
}

// Asks says whether there is anybody to ask.
func (h *Hooks) Asks() bool {
	return slices.ContainsFunc(h.list, func(x Hook) bool { return x.Event == BeforeCutover })
}

func (h *Hooks) timeout() time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return 10 * time.Second
}

func (h *Hooks) deliver(ctx context.Context, l letter) error {
	limit := h.timeout()
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if l.hook.remote() {
		err = h.post(inner, l)
	} else {
		err = h.start(inner, l)
	}
	if err != nil && errors.Is(inner.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no end within %s", limit)
	}
	return err
}

func (h *Hooks) start(ctx context.Context, l letter) error {
	cmd := exec.CommandContext(ctx, l.hook.Target)
	cmd.Stdin = bytes.NewReader(l.body)
	cmd.WaitDelay = time.Second // a child of its own may keep the output open
	cmd.Env = append(os.Environ(), "CHANGELING_EVENT="+l.name, "CHANGELING_CHANGE="+changeOf(l.body))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w%s", err, said(out))
	}
	return nil
}

// Signature is the value of X-Changeling-Signature for a body.
func Signature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func (h *Hooks) post(ctx context.Context, l letter) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.hook.Target, bytes.NewReader(l.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Changeling-Event", l.name)
	if len(h.secret) > 0 {
		request.Header.Set("X-Changeling-Signature", Signature(string(h.secret), l.body))
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok { // its text has the address, and with it perhaps a token
			err = wrapped.Err
		}
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 300)) // what came is said
	return fmt.Errorf("it answers %d%s", answer.StatusCode, said(text))
}

func changeOf(body []byte) string {
	var e struct{ Change string }
	_ = json.Unmarshal(body, &e) // we have written it
	return e.Change
}

// said is the first line of an output, after a colon.
func said(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return ""
	}
	return ": " + line[:min(len(line), 200)]
}

// plain is a target without what may be secret in it.
func (h Hook) plain() string {
	if !h.remote() {
		return h.Target
	}
	u, err := url.Parse(h.Target)
	if err != nil {
		return "(an address)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}
