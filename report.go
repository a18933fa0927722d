package changeling

import (
	"cmp"
	"context"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Report is the history of a change: what was planned, who ran it and with which version, what happened when, for how long locks
// were held, what was tried again, compared and repaired. Its JSON form is a contract: fields are added, never changed.
type Report struct {
	V      int           `json:"v"` // 1
	Status Status        `json:"status"`
	Plan   *plan.Plan    `json:"plan"`
	Steps  []state.Move  `json:"steps"`  // moves of the program counter, written with the work itself
	Events []state.Event `json:"events"` // of all runs; the last second of one that was killed is missing
}

// Report reads the history of a change, whether or not it is over.
func (c *Change) Report(ctx context.Context) (*Report, error) {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return nil, err
	}
	out := &Report{V: 1, Status: statusOf(c.record), Plan: c.record.Plan}
	var err error
	if out.Events, out.Steps, err = c.engine.store.History(ctx, c.record.ID); err != nil {
		return nil, err
	}
	named(out.Steps, out.Plan)
	return out, nil
}

// named gives moves the names of their steps. An undo has a plan of its own, which counts from 0 again.
func named(moves []state.Move, p *plan.Plan) {
	change, undo := p, cmp.Or(p.Undo, p.Back)
	if p.Undoes != nil {
		change, undo = p.Undoes, p
	}
	last := change.Last()
	for i, m := range moves {
		switch {
		case p == undo && m.Next == last && m.Next >= len(undo.Steps):
			p, moves[i].Name = change, "give the undo up"
			continue
		case undo != nil && m.Step == last && m.Next == 0:
			p, moves[i].Name = undo, "undo"
			continue
		case i == 0:
			p = change
		}
		if m.Step < len(p.Steps) {
			moves[i].Name = p.Steps[m.Step].Name
		}
	}
}

// recorder keeps what a run tells until it is written to the history, about once a second.
type recorder struct {
	sink event.Sink

	mu    sync.Mutex
	lines []string
}

// unsent is how many events wait at most for a database that is out of reach; later ones are left out.
const unsent = 2000

func newRecorder() *recorder {
	r := &recorder{}
	lines := event.JSON(r)
	r.sink = func(e event.Event) {
		if _, often := e.(event.Progress); !often {
			lines(e)
		}
	}
	return r
}

// Write takes one event as a line of JSON.
func (r *recorder) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) < unsent {
		r.lines = append(r.lines, strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// flush writes what there is. What cannot be written now is kept for the next time: the history is for people, and holds up
// nothing.
func (r *run) flush(ctx context.Context) {
	if r.recorder == nil {
		return
	}
	r.recorder.mu.Lock()
	lines := r.recorder.lines
	r.recorder.lines = nil
	r.recorder.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := r.engine.store.Record(ctx, r.id, r.lease.Token, r.engine.config.Owner, version(), lines); err != nil {
		r.recorder.mu.Lock()
		defer r.recorder.mu.Unlock()
		r.recorder.lines = append(lines, r.recorder.lines...)
	}
}

// remark adds to the history what is done without a run.
func (r *run) remark(ctx context.Context, text string) {
	r.recorder = newRecorder()
	r.recorder.sink(event.Notice{Text: text})
	r.flush(ctx)
}

// version is that of the program which the engine is part of.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return strings.TrimSpace(info.Path + " " + info.Main.Version)
	}
	return "unknown"
}
