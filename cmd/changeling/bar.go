package main

import (
	"cmp"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/text/width"

	"github.com/changeling-db/changeling/event"
)

// newBar is a sink for a terminal: one live line at the bottom for the step that runs, and above it, as they come, the
// same lines that a file would get, without what the live line shows better.
//
//	2026-11-22 03:04:05  create shadow       done in 41 ms
//	  35% [===>      ]  copy rows  4,200,000 of 12,000,000 rows, 98,400 rows/s, 1m19s left
//
// A step without a total has a spinner and its age instead. Characters are ASCII, as a console at night may know no
// others; the reason of a wait is yellow, unless NO_COLOR is set (no-color.org). Where there is no room for a live line
// there are lines alone.
func newBar(w io.Writer, columns int) event.Sink {
	if columns < 40 {
		return event.Lines(w)
	}
	b := &bar{w: w, columns: columns, color: os.Getenv("NO_COLOR") == ""}
	b.lines = event.Lines(b)
	return b.take
}

type bar struct {
	w       io.Writer
	columns int
	color   bool
	lines   event.Sink // writes through b, above the live line
	mute    bool       // lines is told something that needs no line

	running []event.StepStarted // only builds run side by side
	meter   event.Meter         // of the newest of them
	wait    string
	live    *progressbar.ProgressBar // nil between two steps
	total   int64                    // of live; zero for a spinner
	done    int64                    // of live
}

func (b *bar) take(e event.Event) {
	b.meter.Observe(e)
	switch e := e.(type) {
	case event.StepStarted:
		b.mute = true
		b.lines(e) // it has to know names and units
		b.mute = false
		b.forget(e.Step, e.Name)
		b.running = append(b.running, e)
		b.wait = ""
		b.begin(e.Total)
	case event.Progress:
		b.progress(e)
	case event.Waiting:
		b.wait = e.Reason
		b.draw()
		if _, whole := b.describe(); e.Reason == "" || !whole || b.live == nil {
			b.lines(e)
		}
	case event.StepEnded:
		b.forget(e.Step, e.Name)
		b.wait = ""
		b.end()
		b.lines(e)
		if n := len(b.running); n > 0 {
			b.begin(b.running[n-1].Total)
		}
	case event.Done:
		b.running = nil
		b.end()
		b.lines(e)
	default:
		b.lines(e)
	}
}

// forget takes a step off the list of what runs, and all of other kinds, which have failed if they are still there.
func (b *bar) forget(kind, name string) {
	b.running = slices.DeleteFunc(b.running, func(s event.StepStarted) bool { return s.Step != kind || s.Name == name })
}

// begin puts a new live line in place of the old one.
func (b *bar) begin(total int64) {
	b.end()
	b.total, b.done = total, 0
	limit := int64(-1) // a spinner, to the library
	if total > 0 {
		limit = total
	}
	text, _ := b.describe()
	b.live = progressbar.NewOptions64(limit,
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetWidth(b.barWidth()),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}),
		progressbar.OptionSetDescription(text),
		progressbar.OptionShowDescriptionAtLineEnd(),
		progressbar.OptionSetPredictTime(false), // its rate takes what an earlier run did for work of ours
		progressbar.OptionSetElapsedTime(total == 0),
		progressbar.OptionClearOnFinish(),
		// The library's own goroutine turns the spinner. It reads the start time without its lock, so the first drawing
		// has to set that before.
		progressbar.OptionSetRenderBlankState(true),
	)
}

// end clears the live line, which stops the spinner, too.
func (b *bar) end() {
	if b.live != nil {
		_ = b.live.Finish()
		b.live = nil
	}
}

func (b *bar) progress(e event.Progress) {
	n := len(b.running)
	if n == 0 || b.running[n-1].Step != e.Step {
		return
	}
	total := cmp.Or(e.Total, b.running[n-1].Total)
	if total > 0 {
		total = max(total, e.Done+1) // at its end the library stops drawing, and totals are estimates
	}
	switch {
	case b.live == nil, (total > 0) != (b.total > 0), e.Done < b.done: // the library cannot go back
		b.running[n-1].Total = total
		b.begin(total)
	case total != b.total:
		b.total = total
		b.live.ChangeMax64(total)
	}
	b.done = e.Done
	if total > 0 {
		_ = b.live.Set64(e.Done)
	}
	b.draw()
}

func (b *bar) draw() {
	if b.live != nil {
		text, _ := b.describe()
		b.live.Describe(text)
	}
}

// Write writes whole lines above the live line.
func (b *bar) Write(p []byte) (int, error) {
	switch {
	case b.mute:
	case b.live == nil:
		return b.w.Write(p)
	default:
		// The library writes this between clearing and drawing its line, under its lock.
		_, _ = progressbar.Bprintf(b.live, "%s", p)
		b.draw()
	}
	return len(p), nil
}

const (
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// describe is the text of the live line, cut so that the line fits the terminal, and whether nothing was cut off.
func (b *bar) describe() (text string, whole bool) {
	n := len(b.running)
	if n == 0 {
		return "", b.wait == ""
	}
	name := plain(b.running[n-1].Name)
	if name == "" {
		name = plain(b.running[n-1].Step)
	}
	room := b.columns - len("  35% [] ") - b.barWidth() - len(" ") - len("  ")
	if b.total == 0 {
		room = b.columns - len("| [1000h59m59s]  ") - len("  ")
	}
	status := b.meter.String()
	if b.wait == "" {
		text, whole = cut(strings.TrimSpace(name+"  "+status), room)
		return text, whole
	}
	if b.color {
		room -= len(yellow) + len(reset) // the library takes them for columns
	}
	text, _ = cut(strings.TrimSpace(name+"  waits: "+plain(b.wait)+"  "+status), room)
	from, upto := len(name)+2, len(name)+len("  waits: ")+len(plain(b.wait))
	whole = upto <= len(text) && !strings.HasSuffix(text[:upto], ellipsis)
	if b.color && from < len(text) {
		upto = min(upto, len(text))
		text = text[:from] + yellow + text[from:upto] + reset + text[upto:]
	}
	return text, whole
}

// barWidth is how wide the bar itself is.
func (b *bar) barWidth() int { return min(20, b.columns/8) }

const ellipsis = "..."

// cut shortens a text to some columns of a terminal, and says whether it was that short.
func cut(text string, columns int) (string, bool) {
	if columns <= 0 {
		return "", text == ""
	}
	used, fits := 0, 0 // columns; bytes that leave room for an ellipsis
	for i, r := range text {
		used++
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			used++
		}
		if used > columns {
			return text[:fits] + ellipsis[:min(len(ellipsis), columns)], false
		}
		if used <= columns-len(ellipsis) {
			fits = i + len(string(r))
		}
	}
	return text, true
}

// plain takes out what would move the cursor: names and errors are not ours.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
