package throttle_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/throttle"
)

func cron(t testing.TB, text string) throttle.Cron {
	t.Helper()
	c, err := throttle.ParseCron(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCron(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expression, at string
		match          bool
		next           string
	}{
		{"TZ=UTC * 1-5 * * *", "2026-11-22 01:00", true, "2026-11-22 01:01"},
		{"TZ=UTC * 1-5 * * *", "2026-11-22 05:59", true, "2026-11-23 01:00"},
		{"TZ=UTC * 1-5 * * *", "2026-11-22 06:00", false, "2026-11-23 01:00"},
		{"TZ=UTC */15 22-23,0-4 * * *", "2026-11-22 23:50", false, "2026-11-23 00:00"},
		{"TZ=UTC 30-59/10 * * * *", "2026-11-22 23:50", true, "2026-11-23 00:30"},
		{"TZ=UTC 5/20 * * * *", "2026-11-22 23:45", true, "2026-11-23 00:05"},
		{"TZ=UTC * * * * sat,SUN", "2026-11-22 12:00", true, "2026-11-22 12:01"}, // a Sunday
		{"TZ=UTC * * * * 7", "2026-11-22 12:00", true, "2026-11-22 12:01"},
		{"TZ=UTC 0 0 * * MON-FRI", "2026-11-22 12:00", false, "2026-11-23 00:00"},
		{"TZ=UTC 0 0 13 * FRI", "2026-11-14 12:00", false, "2026-11-20 00:00"}, // either day is enough
		{"TZ=UTC 0 0 1 JAN *", "2026-11-22 12:00", false, "2027-01-01 00:00"},
		{"TZ=UTC 0 0 29 2 *", "2026-11-22 12:00", false, "2028-02-29 00:00"},
		{"TZ=UTC 0 0 31 2 *", "2026-11-22 12:00", false, ""},
		{"TZ=Europe/Berlin * 1-5 * * *", "2026-11-22 00:30", true, "2026-11-22 00:31"},   // an hour ahead in winter
		{"TZ=Europe/Berlin * 1-5 * * *", "2026-07-22 23:30", true, "2026-07-22 23:31"},   // two in summer
		{"TZ=Europe/Berlin 30 2 * * *", "2026-03-29 00:00", false, "2026-03-30 00:30"},   // a time that is left out that day
		{"CRON_TZ=Asia/Kolkata 0 9 * * *", "2026-11-22 03:30", true, "2026-11-23 03:30"}, // half an hour off
		{"TZ=America/Santiago 0 * * * *", "2026-09-06 03:30", false, "2026-09-06 04:00"}, // no midnight that day
	}
	for _, tt := range tests {
		c := cron(t, tt.expression)
		at, err := time.Parse("2006-01-02 15:04", tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Match(at); got != tt.match {
			t.Errorf("%s: Match(%s) = %v, want %v", c, tt.at, got, tt.match)
		}
		next, ok := c.Next(at)
		if got := next.UTC().Format("2006-01-02 15:04"); ok && got != tt.next || ok != (tt.next != "") {
			t.Errorf("%s: Next(%s) = %s %v, want %q", c, tt.at, got, ok, tt.next)
		}
	}
}

func TestCronThatIsNone(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"":                             "has 0 fields",
		"1-5":                          "has 1 fields",
		"* * * * * *":                  "has 6 fields",
		"TZ=Mars/Olympus * 1 * * *":    "time zone \"Mars/Olympus\"",
		"TZ= * 1 * * *":                "time zone \"\"",
		"60 * * * *":                   "the minute \"60\": expected 0 to 59",
		"* 22-4 * * *":                 "write 22-23,0-4",
		"* * 0 * *":                    "the day of the month \"0\": expected 1 to 31",
		"* * * FOO *":                  "the month \"FOO\"",
		"* * * * MON-":                 "the day of the week \"\"",
		"*/0 * * * *":                  "a step of 1 or more",
		"*/x * * * *":                  "a step of 1 or more",
		"-5 * * * *":                   "the minute \"\"",
		"99999999999999999999 * * * *": "expected 0 to 59",
	} {
		if _, err := throttle.ParseCron(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseCron(%q) = %v, want %q", expression, err, want)
		}
	}
}

// Next is the first minute that matches, as counting minutes finds it.
func TestCronNextIsTheFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := func(low, high int) string {
			return rapid.SampledFrom([]string{"*", "*/7", rapid.StringMatching(`[1-9]`).Draw(t, "digit"), "1-5", "2,4,6"}).Draw(t, "field")
		}
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"}).Draw(t, "zone")
		c, err := throttle.ParseCron("TZ=" + zone + " " + word(0, 59) + " " + word(0, 23) + " " + word(1, 28) + " * *")
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 31).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"), 30, 0, time.UTC)
		got, ok := c.Next(at)
		want := at.Truncate(time.Minute).Add(time.Minute)
		for range 40 * 24 * 60 {
			if c.Match(want) {
				if !ok || !got.Equal(want) {
					t.Fatalf("%s: Next(%v) = %v, %v, want %v", c, at, got, ok, want)
				}
				return
			}
			want = want.Add(time.Minute)
		}
	})
}

// Work goes on in the minutes of the windows and in no other one.
func TestWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which begins on 2000-01-01 00:00 UTC
		var told waits
		g := throttle.Gate{Sink: told.sink}
		var c crew
		w := throttle.Window{cron(t, "TZ=UTC 10-19 * * * *"), cron(t, "TZ=UTC 40 * * * *")}
		run(t, &throttle.Controller{Gate: &g, Watches: []throttle.Watch{{Name: "window", Signal: w, Hard: true}}})
		c.work(t, &g, 1, time.Second)
		var busy []int
		for minute := range 60 {
			before := c.chunks()
			pass(time.Minute)
			if n := c.chunks() - before; n > 1 { // one is under way when it closes
				busy = append(busy, minute)
			}
		}
		if want := []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 40}; !slices.Equal(busy, want) {
			t.Errorf("worked in the minutes %v, want %v", busy, want)
		}
		if got, want := told.reasons()[0], "outside of the window, which opens at 2000-01-01 00:10 UTC"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
