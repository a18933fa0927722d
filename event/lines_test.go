package event_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/event"
)

// utc turns the local time that a line begins with into UTC, for files that are the same everywhere.
func utc(t *testing.T, lines string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(lines) {
		at, err := time.ParseInLocation(time.DateTime, line[:len(time.DateTime)], time.Local)
		if err != nil {
			t.Fatalf("a line without a time: %q: %v", line, err)
		}
		out.WriteString(at.UTC().Format(time.DateTime) + line[len(time.DateTime):])
	}
	return out.String()
}

// A change from its plan to its end, as it reads in the log of a job.
func TestLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := event.Lines(&out)
		s(event.Planned{Change: "c7f3", Table: "app.orders", Statement: "ALTER TABLE app.orders\n  ALTER id TYPE bigint", Route: "table",
			Why: "the server would rewrite the table under ACCESS EXCLUSIVE"})
		s(event.StepStarted{Step: "exec", Name: "create shadow"})
		time.Sleep(41 * time.Millisecond)
		s(event.StepEnded{Step: "exec", Name: "create shadow", Took: 41 * time.Millisecond})

		s(event.StepStarted{Step: "copy", Name: "copy rows", Total: 3_000_000, Unit: "rows"})
		for i := range int64(301) {
			if i == 120 {
				s(event.Waiting{Step: "copy", Reason: "commit latency 41 ms, limit 15 ms"})
				time.Sleep(4 * time.Second)
				s(event.Waiting{Step: "copy", Reason: "paused by ada"})
				time.Sleep(2 * time.Hour)
				s(event.Waiting{Step: "copy"})
			}
			if i == 200 {
				s(event.Retried{Step: "copy", What: "chunk", Attempt: 1, Err: errors.New("deadlock detected\nDETAIL: two of them"), Wait: 150 * time.Millisecond})
			}
			s(event.Progress{Step: "copy", Done: i * 10_000, Total: 3_000_000, Pending: i})
			time.Sleep(100 * time.Millisecond)
		}
		s(event.Restarted{Reason: "somebody truncated app.orders; the copy begins again"})
		s(event.StepEnded{Step: "copy", Name: "copy rows", Took: 2*time.Hour + 34*time.Second, Done: 3_000_000})

		s(event.StepStarted{Step: "build", Name: "build index orders_a"})
		s(event.StepStarted{Step: "build", Name: "build index orders_customer_created_at"})
		time.Sleep(75 * time.Second)
		s(event.StepEnded{Step: "build", Name: "build index orders_a", Took: 75 * time.Second})
		s(event.StepEnded{Step: "build", Name: "build index orders_customer_created_at", Took: 75 * time.Second})

		s(event.StepStarted{Step: "drain", Name: "drain"})
		s(event.Retried{Step: "drain", What: "drain", Attempt: 1, Err: errors.New("could not serialize access")})
		s(event.StepEnded{Step: "drain", Name: "drain", Took: 1500 * time.Millisecond, Done: 812})
		s(event.Differed{Keys: []string{"(1)", "(2)"}, Rows: 2})
		s(event.Differed{Rows: 12})
		s(event.Verified{Rows: 3_000_000, Chunks: 60, Repaired: 2, Took: 3 * time.Second})
		s(event.Verified{Rows: 3_000_000, Chunks: 60, Took: 3 * time.Second})
		s(event.Waiting{Step: "hold", Reason: "ready to cut over"})
		s(event.Waiting{Step: "hold"})
		s(event.CutoverTried{Attempt: 1, Err: errors.New("the lock was not tried, because it would wait for pid 7")})
		s(event.CutoverTried{Attempt: 2, Waited: 300 * time.Microsecond, Held: 4 * time.Millisecond, Pending: 12, Swapped: true})
		s(event.Notice{Text: "statistics are being gathered"})
		s(event.Done{Change: "c7f3", Table: "app.orders", Status: "done", Rows: 3_000_000, Verified: 3_000_000, Took: 2*time.Hour + 2*time.Minute,
			Held: 4 * time.Millisecond, OldTable: "changeling_c7f3_old.orders", DropAt: time.Date(2026, 11, 25, 4, 16, 0, 0, time.Local)})

		s(event.Planned{Table: "app.orders", Resumed: true, Step: "copy rows", Statement: "ALTER TABLE app.orders SET (fillfactor = 90)", Route: "direct"})
		s(event.Done{Table: "app.orders", Status: "nothing-to-do"})
		s(event.Done{Table: "app.orders", Status: "done", Took: time.Minute, OldTable: "old.orders"})
		s(event.Done{Table: "app.orders", Status: "failed", Took: time.Minute, Err: errors.New("could not connect:\n\tconnection \x1b[2Jrefused\r")})
		golden(t, "lines.txt", utc(t, out.String()))
	})
}

// Whatever comes: every event but progress makes a line, lines are whole, and progress makes one in ten seconds at most.
func TestLinesAreCalm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pauses := rapid.SliceOf(rapid.IntRange(0, 15_000)).Draw(rt, "pauses in ms")
		lines, seconds := 0, 0.0
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			s := event.Lines(&out)
			s(event.StepStarted{Step: "copy"})
			start := time.Now()
			for i, ms := range pauses {
				time.Sleep(time.Duration(ms) * time.Millisecond)
				s(event.Progress{Step: "copy", Done: int64(i), Total: 1000})
			}
			lines, seconds = strings.Count(out.String(), "\n")-1, time.Since(start).Seconds()
		})
		if float64(lines) > seconds/10 {
			rt.Errorf("%d lines of progress in %.0f s", lines, seconds)
		}
	})
}

func TestMeter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		feed func(*event.Meter)
		want string
	}{
		{"nothing yet", func(*event.Meter) {}, ""},
		{"a step without progress", func(m *event.Meter) { m.Observe(event.StepStarted{Step: "build"}) }, ""},
		{"the first chunk has no rate", func(m *event.Meter) {
			m.Observe(event.StepStarted{Step: "copy", Total: 1000, Unit: "rows"})
			m.Observe(event.Progress{Step: "copy", Done: 10})
		}, "10 of 1,000 rows"},
		{"a steady rate", func(m *event.Meter) { feed(m, 0, 20, 1000, time.Second) }, "20,000 of 1,000,000 rows, 1,000 rows/s, 16m20s left"},
		{"a slow one has a fraction", func(m *event.Meter) { feed(m, 0, 20, 15, 10*time.Second) }, "300 of 1,000,000 rows, 1.5 rows/s, 185h8m left"},
		{"what earlier runs did is no rate of ours", func(m *event.Meter) { feed(m, 900_000, 20, 1000, time.Second) },
			"920,000 of 1,000,000 rows, 1,000 rows/s, 1m20s left"},
		{"the last half minute counts", func(m *event.Meter) {
			feed(m, 0, 100, 5000, time.Second)
			more(m, 500_000, 31, 100, time.Second)
		}, "503,100 of 1,000,000 rows, 100 rows/s, 1h23m left"},
		{"beginning again forgets the rate", func(m *event.Meter) {
			feed(m, 0, 100, 5000, time.Second)
			more(m, 0, 10, 100, time.Second)
		}, "1,000 of 1,000,000 rows, 100 rows/s, 2h47m left"},
		{"a wait that is over forgets the rate", func(m *event.Meter) {
			feed(m, 0, 20, 1000, time.Second)
			m.Observe(event.Waiting{Step: "copy", Reason: "paused"})
			time.Sleep(time.Hour)
			m.Observe(event.Waiting{Step: "copy"})
			more(m, 20_000, 3, 10, time.Second)
		}, "20,030 of 1,000,000 rows, 10 rows/s, 27h13m left"},
		{"a rate that changes gives a range", func(m *event.Meter) {
			feed(m, 0, 10, 1000, time.Second)
			more(m, 10_000, 10, 500, time.Second)
			more(m, 15_000, 10, 250, time.Second)
		}, "17,500 of 1,000,000 rows, 583 rows/s, 16m23s to 1h6m left"},
		{"one that stood still may do so again", func(m *event.Meter) {
			feed(m, 0, 10, 1000, time.Second)
			more(m, 10_000, 10, 0, time.Second)
			more(m, 10_000, 10, 1000, time.Second)
		}, "20,000 of 1,000,000 rows, 666 rows/s, 16m20s to 49m0s left"},
		{"what held it back", func(m *event.Meter) {
			m.Observe(event.StepStarted{Step: "copy"})
			m.Observe(event.Progress{Step: "copy", Done: 500, Throttled: 0.347, Cause: "replica lag"})
		}, "500, held back 35% by replica lag"},
		{"more than was expected has no time left", func(m *event.Meter) { feed(m, 999_000, 20, 1000, time.Second) },
			"1,019,000 of 1,000,000 rows, 1,000 rows/s"},
		{"keys that wait", func(m *event.Meter) {
			m.Observe(event.StepStarted{Step: "drain"})
			m.Observe(event.Progress{Step: "drain", Done: 500, Pending: 1234})
		}, "500, 1,234 keys pending"},
		{"progress of another step is none", func(m *event.Meter) {
			m.Observe(event.StepStarted{Step: "copy"})
			m.Observe(event.Progress{Step: "drain", Done: 500})
		}, ""},
		{"ages are no time left", func(m *event.Meter) {
			m.Observe(event.StepStarted{Step: "copy", Total: 1 << 62})
			more(m, 0, 20, 1, time.Second)
		}, "20 of 4,611,686,018,427,387,904, 1.0/s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var m event.Meter
				tt.feed(&m)
				if got := m.String(); got != tt.want {
					t.Errorf("String = %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func feed(m *event.Meter, from, n, each int64, every time.Duration) {
	m.Observe(event.StepStarted{Step: "copy", Total: 1_000_000, Unit: "rows"})
	m.Observe(event.Progress{Step: "copy", Done: from, Total: 1_000_000})
	more(m, from, n, each, every)
}

func more(m *event.Meter, from, n, each int64, every time.Duration) {
	for i := range n {
		time.Sleep(every)
		m.Observe(event.Progress{Step: "copy", Done: from + (i+1)*each})
	}
}

// At any steady rate the meter is right about it, and about the time that is left.
func TestMeterIsRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		perSecond := rapid.Int64Range(20, 1_000_000).Draw(rt, "rows/s")
		seconds := rapid.Int64Range(2, 60).Draw(rt, "seconds")
		total := rapid.Int64Range(1, 1<<40).Draw(rt, "total")
		var m event.Meter
		synctest.Test(t, func(t *testing.T) {
			m.Observe(event.StepStarted{Step: "copy"})
			m.Observe(event.Progress{Step: "copy", Total: total})
			for i := range seconds * 10 {
				time.Sleep(100 * time.Millisecond)
				m.Observe(event.Progress{Step: "copy", Done: (i + 1) * perSecond / 10, Total: total})
			}
		})
		if got, want := m.Rate(), float64(perSecond); got < want*0.97 || got > want*1.03 {
			rt.Errorf("Rate = %v, want %v", got, want)
		}
		want := max(0, float64(total-seconds*perSecond)/float64(perSecond))
		if got := m.Left().Seconds(); want < 1e8*0.8 && (got < want*0.95-1 || got > want*1.05+1) {
			rt.Errorf("Left = %v s, want %v", got, want)
		}
	})
}

func ExampleLines() {
	var out strings.Builder
	s := event.Lines(&out)
	s(event.StepStarted{Step: "copy", Name: "copy rows", Total: 12_000_000, Unit: "rows"})
	fmt.Println(out.String()[len("2026-11-22 03:04:05  "):])
	// Output: copy rows           begins, about 12,000,000 rows
}
