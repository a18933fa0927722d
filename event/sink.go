package event

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"
)

// Tee sends each event to all sinks, in their order. A nil sink is left out.
func Tee(sinks ...Sink) Sink {
	return func(e Event) {
		for _, s := range sinks {
			if s != nil {
				s(e)
			}
		}
	}
}

// Serial makes a sink that may be called by several goroutines at once out of one that may not.
func Serial(s Sink) Sink {
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		s(e)
	}
}

// Name is the name of an event for programs, such as "step_started". It never changes.
func Name(e Event) string {
	name, _ := describe(e)
	return name
}

// Log writes events to a log. Messages are the events' names in words, and constant; the rest are attributes. Progress
// is of level debug; what should make somebody look is of level warning, and a run that ended with an error of level error.
func Log(l *slog.Logger) Sink {
	log := l
	return func(e Event) {
		if p, ok := e.(Planned); ok && p.Change != "" {
			log = l.With("change", p.Change)
		}
		name, fields := describe(e)
		attrs := make([]slog.Attr, 0, len(fields))
		for _, f := range fields {
			if f.value != nil {
				attrs = append(attrs, slog.Any(f.name, f.value))
			}
		}
		log.LogAttrs(context.Background(), level(e), strings.ReplaceAll(name, "_", " "), attrs...)
	}
}

func level(e Event) slog.Level {
	switch e := e.(type) {
	case Progress, Signals:
		return slog.LevelDebug
	case Retried, Restarted, Differed:
		return slog.LevelWarn
	case CutoverTried:
		if !e.Swapped {
			return slog.LevelWarn
		}
	case Done:
		if e.Err != nil {
			return slog.LevelError
		}
	}
	return slog.LevelInfo
}

// JSON writes one object a line:
//
//	{"v":1,"ts":"2026-11-22T03:04:05.678Z","seq":7,"event":"step_ended","change":"c7f3","step":"copy",…}
//
// v is the version of this contract; fields may be added to it, while a field that goes or changes makes another version.
// ts is in UTC. seq counts the lines of this sink from 1. change is null until a Planned tells it. Then come the
// fields of the event under their names in snake case, all of them: durations in milliseconds as name_ms, errors as their
// text under "error", and null where there is no error, no time, or no key.
//
// A line that cannot be written is lost, and does not stop the change.
func JSON(w io.Writer) Sink {
	var line bytes.Buffer
	var seq int
	var change any
	return func(e Event) {
		switch e := e.(type) {
		case Planned:
			change = text(e.Change)
		case Done: // alone where nothing was planned
			change = text(e.Change)
		}
		seq++
		name, fields := describe(e)
		line.Reset()
		line.WriteString(`{"v":1`)
		put(&line, "ts", time.Now())
		put(&line, "seq", seq)
		put(&line, "event", name)
		put(&line, "change", change)
		for _, f := range fields {
			put(&line, f.name, f.value)
		}
		line.WriteString("}\n")
		_, _ = w.Write(line.Bytes())
	}
}

// put appends one member to an object that has one already.
func put(line *bytes.Buffer, name string, value any) {
	switch v := value.(type) {
	case time.Duration:
		name, value = name+"_ms", math.Round(float64(v)/float64(time.Microsecond))/1000
	case time.Time:
		value = v.UTC().Format(time.RFC3339Nano)
	case error:
		value = v.Error()
	}
	fmt.Fprintf(line, `,%q:`, name)
	enc := json.NewEncoder(line)
	enc.SetEscapeHTML(false) // statements are full of < and >
	if err := enc.Encode(value); err != nil {
		panic(fmt.Sprintf("event: %s cannot be written as JSON: %v", name, err)) // a field of a type that put does not know
	}
	line.Truncate(line.Len() - 1) // Encode ends with a line break
}

// field is a field of an event under its name in the contract. A nil value says that there is none.
type field struct {
	name  string
	value any
}

// describe is the contract: the name of an event and its fields, in their order, but for the id of the change, which is
// the same in all of them.
func describe(e Event) (string, []field) {
	switch e := e.(type) {
	case Planned:
		return "planned", []field{{"table", e.Table}, {"statement", e.Statement}, {"route", e.Route}, {"why", e.Why},
			{"resumed", e.Resumed}, {"step", e.Step}}
	case StepStarted:
		return "step_started", []field{{"step", e.Step}, {"name", e.Name}, {"total", e.Total}, {"unit", e.Unit}}
	case StepEnded:
		return "step_ended", []field{{"step", e.Step}, {"name", e.Name}, {"took", e.Took}, {"done", e.Done}}
	case Progress:
		return "progress", []field{{"step", e.Step}, {"done", e.Done}, {"total", e.Total}, {"chunk", e.Chunk}, {"took", e.Took},
			{"pending", e.Pending}, {"throttled", math.Round(1000*e.Throttled) / 1000}, {"cause", text(e.Cause)}}
	case Signals:
		return "signals", []field{{"workers", e.Workers}, {"load", math.Round(1000*e.Load) / 1000}, {"readings", readings(e.Readings)}}
	case Waiting:
		return "waiting", []field{{"step", e.Step}, {"reason", e.Reason}}
	case Retried:
		return "retried", []field{{"step", e.Step}, {"what", e.What}, {"attempt", e.Attempt}, {"error", e.Err}, {"wait", e.Wait}}
	case Restarted:
		return "restarted", []field{{"reason", e.Reason}}
	case Differed:
		return "differed", []field{{"keys", list(e.Keys)}, {"rows", e.Rows}}
	case Verified:
		return "verified", []field{{"rows", e.Rows}, {"chunks", e.Chunks}, {"repaired", e.Repaired}, {"took", e.Took}}
	case Compared:
		return "compared", []field{{"table", e.Table}, {"rows", e.Rows}, {"source", e.Source}, {"shadow", e.Shadow}, {"keys", list(e.Keys)}, {"at", e.At}, {"held", e.Held}, {"took", e.Took}}
	case CutoverTried:
		return "cutover_tried", []field{{"attempt", e.Attempt}, {"waited", e.Waited}, {"held", e.Held}, {"pending", e.Pending},
			{"swapped", e.Swapped}, {"error", e.Err}}
	case Done:
		return "done", []field{{"table", e.Table}, {"status", e.Status}, {"rows", e.Rows}, {"verified", e.Verified}, {"took", e.Took},
			{"held", e.Held}, {"old_table", text(e.OldTable)}, {"drop_at", moment(e.DropAt)}, {"error", e.Err}}
	case Notice:
		return "notice", []field{{"text", e.Text}}
	}
	panic(fmt.Sprintf("event: %T is not described", e)) // the set is sealed, and a test goes over all of it
}

// The next three turn what means none into a nil that says so.

func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func list(s []string) any {
	if len(s) == 0 {
		return nil
	}
	return s
}

func readings(r []Reading) any {
	out := make([]Reading, len(r)) // never null
	for i := range r {
		out[i] = r[i]
		out[i].Load = math.Round(1000*r[i].Load) / 1000
	}
	return out
}

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
