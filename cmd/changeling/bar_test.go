package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"golang.org/x/text/width"
	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/event"
)

// screen is a terminal: what is to be seen after all that was written to it.
type screen struct {
	columns int

	mu      sync.Mutex
	rows    [][]rune // a wide character takes two cells, the second one zero
	wrapped []bool   // whether a row goes on with the one before it
	row     int
	column  int
	cut     []byte // of a character that is not whole yet
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append(s.cut, p...)
	for len(b) > 0 && utf8.FullRune(b) {
		if b[0] == '\x1b' {
			if sgr := color.Find(b); sgr != nil {
				b = b[len(sgr):]
				continue
			}
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		s.put(r)
	}
	s.cut = b
	return len(p), nil
}

func (s *screen) put(r rune) {
	if len(s.rows) == 0 {
		s.rows, s.wrapped = make([][]rune, 1), make([]bool, 1)
	}
	switch r {
	case '\r':
		s.column = 0
		return
	case '\n':
		s.next(false)
		return
	}
	if r < ' ' {
		panic(fmt.Sprintf("control character %q on the terminal", r))
	}
	cells := 1
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		cells = 2
	}
	if s.column+cells > s.columns {
		s.next(true)
	}
	for len(s.rows[s.row]) < s.column+cells {
		s.rows[s.row] = append(s.rows[s.row], ' ')
	}
	s.rows[s.row][s.column] = r
	if cells == 2 {
		s.rows[s.row][s.column+1] = 0
	}
	s.column += cells
}

func (s *screen) next(wrapped bool) {
	s.row, s.column = s.row+1, 0
	if s.row == len(s.rows) {
		s.rows, s.wrapped = append(s.rows, nil), append(s.wrapped, wrapped)
	}
}

// lines is what is to be seen, one entry for each line however often it had to be wrapped, without times.
func (s *screen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for i, row := range s.rows {
		text := strings.ReplaceAll(string(row), "\x00", "")
		if s.wrapped[i] {
			lines[len(lines)-1] += text
		} else {
			lines = append(lines, text)
		}
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(moment.ReplaceAllString(line, ""), " ")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

var (
	color  = regexp.MustCompile(`^\x1b\[[0-9;]*m`)
	moment = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  `)
)

// onTerminal runs f in fake time with a bar on a terminal.
func onTerminal(t *testing.T, columns int, f func(s *screen, sink event.Sink)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{columns: columns}
		f(s, newBar(s, columns))
		time.Sleep(time.Second) // the library's goroutines end with their next tick
	})
}

func see(t *testing.T, s *screen, want ...string) {
	t.Helper()
	if got := s.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("on the terminal:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestBar(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	onTerminal(t, 100, func(s *screen, sink event.Sink) {
		sink(event.StepStarted{Step: "copy", Name: "copy rows", Total: 1_000_000, Unit: "rows"})
		see(t, s, "   0% [            ]  copy rows")
		for i := range int64(5) {
			sink(event.Progress{Step: "copy", Done: i * 100_000, Total: 1_000_000})
			time.Sleep(time.Second)
		}
		see(t, s, "  40% [===>        ]  copy rows  400,000 of 1,000,000 rows, 100,000 rows/s, 6.0 s left")

		sink(event.Waiting{Step: "copy", Reason: "commit latency 41 ms, limit 15 ms"})
		see(t, s, "  40% [===>        ]  copy rows  waits: commit latency 41 ms, limit 15 ms  400,000 of 1,000,000...")
		sink(event.Waiting{Step: "copy"})

		sink(event.Notice{Text: "a replica appeared"})
		sink(event.Retried{Step: "copy", What: "chunk", Attempt: 1, Err: errors.New("deadlock detected")})
		sink(event.Progress{Step: "copy", Done: 1_200_000, Total: 1_000_000})
		see(t, s,
			"notice              a replica appeared",
			"copy rows           chunk, attempt 1 failed: deadlock detected; tried again, nothing is lost",
			"  99% [==========> ]  copy rows  1,200,000 of 1,000,000 rows")

		sink(event.StepEnded{Step: "copy", Name: "copy rows", Done: 1_200_000, Took: 4 * time.Second})
		sink(event.Done{Table: "app.orders", Status: "done", Took: 4 * time.Second})
		see(t, s,
			"notice              a replica appeared",
			"copy rows           chunk, attempt 1 failed: deadlock detected; tried again, nothing is lost",
			"copy rows           done, 1,200,000 rows in 4.0 s, 300,000 rows/s",
			"done                app.orders, after 4.0 s")
	})
}

func TestSpinner(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	onTerminal(t, 80, func(s *screen, sink event.Sink) {
		sink(event.StepStarted{Step: "build", Name: "build index a"})
		time.Sleep(61*time.Second + 50*time.Millisecond)
		see(t, s, "-  [1m1s] build index a")
		time.Sleep(100 * time.Millisecond)
		see(t, s, "\\  [1m1s] build index a")

		sink(event.StepStarted{Step: "build", Name: "build index b"}) // at the same time
		time.Sleep(50 * time.Millisecond)
		see(t, s, "|  [0s] build index b")
		sink(event.StepEnded{Step: "build", Name: "build index b", Took: time.Second})
		sink(event.Notice{Text: "one more"})
		time.Sleep(50 * time.Millisecond)
		see(t, s, "build index b       done in 1.0 s", "notice              one more", "|  [0s] build index a")
		sink(event.StepEnded{Step: "build", Name: "build index a", Took: time.Hour})
		time.Sleep(time.Minute)
		see(t, s, "build index b       done in 1.0 s", "notice              one more", "build index a       done in 1h0m")
	})
}

// A step that finds out what it has to do turns its spinner into a bar, and one that begins again starts from nothing.
func TestBarFollowsTheTotal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	onTerminal(t, 80, func(s *screen, sink event.Sink) {
		sink(event.StepStarted{Step: "drain", Name: "drain"})
		sink(event.Progress{Step: "drain", Done: 500, Pending: 1234})
		see(t, s, "|  [0s] drain  500, 1,234 keys pending")
		sink(event.Progress{Step: "drain", Done: 600, Total: 1000})
		see(t, s, "  60% [=====>    ]  drain  600 of 1,000")
		sink(event.Progress{Step: "drain", Done: 600, Total: 2000})
		see(t, s, "  30% [==>       ]  drain  600 of 2,000")
		sink(event.Progress{Step: "drain", Done: 10, Total: 100})
		see(t, s, "  10% [>         ]  drain  10 of 100")
		sink(event.Progress{Step: "copy", Done: 99, Total: 100}) // late, of another step
		see(t, s, "  10% [>         ]  drain  10 of 100")
		sink(event.Done{Status: "stopped", Table: "app.orders", Err: errors.New("interrupted")})
		see(t, s, "stopped             app.orders", "                    interrupted")
	})
}

// A reason that does not fit is told above in full.
func TestAReasonIsNeverCutOff(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	const reason = "ready to cut over: `changeling cutover 0123456789abcdef` does it"
	onTerminal(t, 60, func(s *screen, sink event.Sink) {
		sink(event.StepStarted{Step: "hold", Name: "hold"})
		sink(event.Waiting{Step: "hold", Reason: reason})
		see(t, s,
			"hold                waits: "+reason,
			"|  [0s] hold  waits: ready to cut over: `chang...")
		time.Sleep(2 * time.Minute)
		sink(event.Waiting{Step: "hold"})
		sink(event.StepEnded{Step: "hold", Name: "hold", Took: 2 * time.Minute})
		see(t, s,
			"hold                waits: "+reason,
			"hold                goes on after 2m0s",
			"hold                done in 2m0s")
	})
}

func TestColor(t *testing.T) {
	for _, tt := range []struct {
		noColor string
		want    bool
	}{{"", true}, {"1", false}} {
		t.Run("NO_COLOR="+tt.noColor, func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			synctest.Test(t, func(t *testing.T) {
				var raw strings.Builder
				sink := newBar(&raw, 100)
				sink(event.StepStarted{Step: "copy", Name: "copy rows", Total: 10, Unit: "rows"})
				if strings.Contains(raw.String(), "\x1b") {
					t.Errorf("escapes without a wait: %q", raw.String())
				}
				sink(event.Waiting{Step: "copy", Reason: "paused by ada"})
				sink(event.Done{})
				if got := strings.Contains(raw.String(), "  \x1b[33mwaits: paused by ada\x1b[0m"); got != tt.want {
					t.Errorf("yellow = %v, want %v: %q", got, tt.want, raw.String())
				}
				if got := strings.Contains(raw.String(), "\x1b"); got != tt.want {
					t.Errorf("escapes = %v, want %v: %q", got, tt.want, raw.String())
				}
			})
		})
	}
}

// Whatever comes, on a terminal of whatever width: nothing of a live line stays behind, and each other line stays whole.
func TestBarLeavesCleanLines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		columns := rapid.IntRange(1, 200).Draw(rt, "columns")
		events := rapid.SliceOfN(rapid.Custom(drawEvent), 0, 30).Draw(rt, "events")
		onTerminal(t, columns, func(s *screen, sink event.Sink) {
			var plain strings.Builder
			lines := event.Lines(&plain)
			ended := 0
			for _, e := range events {
				sink(e)
				lines(e)
				time.Sleep(70 * time.Millisecond)
				if _, ok := e.(event.StepEnded); ok {
					ended++
				}
			}
			sink(event.Done{Status: "done", Table: "the end"})
			all := s.lines()
			done := 0
			for _, line := range all {
				if strings.Contains(line, "%") && strings.Contains(line, "[") {
					rt.Errorf("a live line stayed: %q", line)
				}
				if strings.Contains(line, "done in") || strings.Contains(line, "done, ") {
					done++
				}
				if !strings.HasPrefix(line, "the end") && !strings.Contains(plain.String(), line) && !strings.HasSuffix(line, "the end") {
					rt.Errorf("%q is no whole line of:\n%s", line, plain.String())
				}
			}
			if done != ended {
				rt.Errorf("%d ends of steps to be seen, want %d", done, ended)
			}
			if !strings.HasSuffix(all[len(all)-1], "the end") {
				rt.Errorf("the last line is %q", all[len(all)-1])
			}
		})
	})
}

func drawEvent(t *rapid.T) event.Event {
	kind := rapid.SampledFrom([]string{"copy", "build", "verify"}).Draw(t, "kind")
	name := kind + " " + rapid.SampledFrom([]string{"a", "b", "日本語の表", "an index with quite a long name for a terminal", "\x1b[2J\r\n"}).Draw(t, "name")
	total := rapid.SampledFrom([]int64{0, 0, 1, 1000, 1 << 40}).Draw(t, "total")
	done := rapid.Int64Range(0, 2000).Draw(t, "done")
	switch rapid.IntRange(0, 5).Draw(t, "event") {
	case 0:
		return event.StepStarted{Step: kind, Name: name, Total: total, Unit: "rows"}
	case 1:
		return event.StepEnded{Step: kind, Name: name, Took: 90 * time.Second, Done: done}
	case 2:
		return event.Waiting{Step: kind, Reason: rapid.SampledFrom([]string{"", "paused", "表は忙しい", "lag\r\n" + name}).Draw(t, "reason")}
	case 3:
		return event.Notice{Text: "notice of " + name}
	}
	return event.Progress{Step: kind, Done: done, Total: total, Pending: done % 3}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text    string
		columns int
		want    string
		whole   bool
	}{
		{"", 0, "", true},
		{"a", 0, "", false},
		{"abc", 3, "abc", true},
		{"abcd", 3, "...", false},
		{"abcd", 2, "..", false},
		{"abcdef", 5, "ab...", false},
		{"日本", 4, "日本", true},
		{"日本語", 5, "日...", false},
		{"日本語", 4, "...", false},
	} {
		if got, whole := cut(tt.text, tt.columns); got != tt.want || whole != tt.whole {
			t.Errorf("cut(%q, %d) = %q, %v, want %q, %v", tt.text, tt.columns, got, whole, tt.want, tt.whole)
		}
	}
}
