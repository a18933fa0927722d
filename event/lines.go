package event

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// Lines writes plain lines for a person, for when the output is a file or the log of a job and not a terminal: the time,
// the step, and what happened. Progress is told every ten seconds at most.
//
//	2026-11-22 03:04:05  copy rows           35%: 4,200,000 of 12,000,000 rows, 98,400 rows/s, 1m19s left
//	2026-11-22 03:04:09  copy rows           waits: commit latency 41 ms, limit 15 ms
//
// A line that cannot be written is lost, and does not stop the change.
func Lines(w io.Writer) Sink {
	l := &lines{w: w, names: make(map[string]string)}
	return l.take
}

type lines struct {
	w       io.Writer
	meter   Meter
	names   map[string]string // of the step that runs, by its kind
	unit    string            // of the same
	told    time.Time         // when progress was told last
	waiting time.Time         // since when; zero if nothing is waited for
}

// often is how often progress is worth a line.
const often = 10 * time.Second

func (l *lines) take(e Event) {
	l.meter.Observe(e)
	switch e := e.(type) {
	case Planned:
		l.planned(e)
	case StepStarted:
		l.names[e.Step], l.unit, l.told, l.waiting = e.Name, e.Unit, time.Now(), time.Time{}
		begins := "begins"
		if e.Total > 0 {
			begins += ", about " + amount(e.Total, e.Unit)
		}
		l.step(e.Step, begins)
	case StepEnded:
		l.names[e.Step] = e.Name
		l.step(e.Step, ended(e, l.unit))
		delete(l.names, e.Step)
		l.waiting = time.Time{}
	case Progress:
		if time.Since(l.told) >= often {
			l.told = time.Now()
			l.step(e.Step, percent(e)+l.meter.String())
		}
	case Waiting:
		l.wait(e)
	case Retried:
		l.step(e.Step, retried(e))
	case Restarted:
		l.line("restarted", e.Reason)
	case Differed:
		l.line("verify", strings.TrimSuffix(amount(e.Rows, "rows")+" differ and are copied again: "+strings.Join(e.Keys, ", "), ": "))
	case Verified:
		l.line("verify", verified(e))
	case Compared:
		l.compared(e)
	case CutoverTried:
		l.line("cutover", tried(e))
	case Done:
		l.done(e)
	case Notice:
		l.line("notice", e.Text)
	}
}

func (l *lines) planned(e Planned) {
	what := "change"
	if e.Resumed {
		what = "goes on"
	}
	l.line(what, strings.TrimSpace(e.Change+"  "+e.Table))
	l.line("", e.Statement)
	l.line("", "route: "+strings.TrimSuffix(e.Route+", "+e.Why, ", "))
	if e.Step != "" {
		l.line("", "from step: "+e.Step)
	}
}

func (l *lines) wait(e Waiting) {
	switch {
	case e.Reason != "":
		if l.waiting.IsZero() {
			l.waiting = time.Now()
		}
		l.step(e.Step, "waits: "+e.Reason)
	case !l.waiting.IsZero():
		l.step(e.Step, "goes on after "+span(time.Since(l.waiting)))
		l.waiting, l.told = time.Time{}, time.Now()
	}
}

func (l *lines) done(e Done) {
	parts := []string{e.Table}
	if e.Took > 0 {
		parts = append(parts, "after "+span(e.Took))
	}
	if e.Rows > 0 {
		parts = append(parts, amount(e.Rows, "rows copied"))
	}
	if e.Verified > 0 {
		parts = append(parts, count(e.Verified)+" compared")
	}
	if e.Held > 0 {
		parts = append(parts, "table locked for "+span(e.Held))
	}
	l.line(strings.ReplaceAll(e.Status, "-", " "), strings.Join(parts, ", "))
	if e.Err != nil {
		l.line("", e.Err.Error())
	}
	if e.OldTable != "" {
		until := "until it is dropped by hand"
		if !e.DropAt.IsZero() {
			until = "until " + e.DropAt.Local().Format(time.DateTime)
		}
		which := "old"
		if e.Status == "undone" {
			which = "new"
		}
		l.line("", "the "+which+" table stays as "+e.OldTable+" "+until)
	}
}

func ended(e StepEnded, unit string) string {
	if e.Done == 0 {
		return "done in " + span(e.Took)
	}
	s := "done, " + amount(e.Done, unit) + " in " + span(e.Took)
	if unit != "" && e.Took >= time.Second {
		s += ", " + amount(int64(float64(e.Done)/e.Took.Seconds()), unit) + "/s"
	}
	return s
}

func percent(e Progress) string {
	if e.Total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%%: ", min(int64(100*float64(e.Done)/float64(e.Total)), 100))
}

func retried(e Retried) string {
	again := "tried again"
	if e.Wait > 0 {
		again += " in " + span(e.Wait)
	}
	return fmt.Sprintf("%s, attempt %d failed: %v; %s, nothing is lost", e.What, e.Attempt, e.Err, again)
}

func (l *lines) compared(e Compared) {
	how := "equal"
	if e.Source != e.Shadow || len(e.Keys) > 0 {
		how = "NOT equal: " + strings.Join(e.Keys, ", ")
	}
	l.line("compared", strings.TrimSuffix(amount(e.Rows, "rows")+" of "+e.Table+" on either side, as of one moment, are "+how, ": "))
	l.line("", "digests: "+e.Source+" of the source, "+e.Shadow+" of the shadow")
	l.line("", "moment: "+e.At+", for which the applier was kept from the table for "+span(e.Held))
}

func verified(e Verified) string {
	s := "equal: " + amount(e.Rows, "rows") + " in " + amount(e.Chunks, "chunks")
	if e.Repaired > 0 {
		s += ", after " + amount(e.Repaired, "rows") + " were repaired"
	}
	return s + ", in " + span(e.Took)
}

func tried(e CutoverTried) string {
	if e.Swapped {
		return fmt.Sprintf("swapped at attempt %d: locks after %s, held for %s, %s under them",
			e.Attempt, span(e.Waited), span(e.Held), amount(e.Pending, "keys"))
	}
	return fmt.Sprintf("attempt %d, not swapped, nothing is lost: %v", e.Attempt, e.Err)
}

func amount(n int64, unit string) string {
	return strings.TrimSuffix(count(n)+" "+unit, " ")
}

// step writes a line of the step of a kind, under the name that it began with.
func (l *lines) step(kind, text string) {
	name := l.names[kind]
	if name == "" {
		name = kind
	}
	l.line(name, text)
}

// line writes one line. Names, statements and errors are not ours: what would break the line, or move the cursor of a
// terminal, becomes a space.
func (l *lines) line(what, text string) {
	_, _ = fmt.Fprintf(l.w, "%s  %-18s  %s\n", time.Now().Format(time.DateTime), plain(what), plain(text))
}

func plain(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
