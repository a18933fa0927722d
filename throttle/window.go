package throttle

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is a signal: nobody copies but in the minutes that one of its expressions matches.
type Window []Cron

// Read looks at the clock.
func (w Window) Read(context.Context) (Reading, error) {
	now := time.Now()
	if w.Open(now) {
		return Reading{}, nil
	}
	return Reading{Load: 1, Reason: w.Closed(now)}, nil
}

// Open says whether a time is inside. No expression at all is always open.
func (w Window) Open(at time.Time) bool {
	for _, c := range w {
		if c.Match(at) {
			return true
		}
	}
	return len(w) == 0
}

// Closed says for a person when it opens.
func (w Window) Closed(at time.Time) string {
	var first time.Time
	for _, c := range w {
		if next, ok := c.Next(at); ok && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	if first.IsZero() {
		return "outside of the window, which never opens"
	}
	return "outside of the window, which opens at " + first.Format("2006-01-02 15:04 MST")
}

// Cron is a set of minutes, written as in crontab(5): minute, hour, day of the month, month, day of the week, with lists,
// ranges, steps and English names. Where both days are restricted, either is enough. In front may stand TZ= with the name of a
// time zone; without it the clock is that of this machine.
//
//	TZ=Europe/Berlin * 22-23,0-4 * * MON-FRI
type Cron struct {
	text                           string
	zone                           *time.Location
	minute, hour, day, month, week uint64 // a bit for each value
	days, weeks                    bool   // restricted
}

// String is the expression as it was written.
func (c Cron) String() string { return c.text }

type cronField struct {
	name      string
	low, high int
	names     []string // of low, low+1, …
}

var cronFields = [...]cronField{
	{"minute", 0, 59, nil}, {"hour", 0, 23, nil}, {"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{"day of the week", 0, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// ParseCron reads an expression.
func ParseCron(text string) (Cron, error) {
	c := Cron{text: strings.TrimSpace(text), zone: time.Local}
	words := strings.Fields(text)
	if len(words) > 0 && (strings.HasPrefix(words[0], "TZ=") || strings.HasPrefix(words[0], "CRON_TZ=")) {
		_, name, _ := strings.Cut(words[0], "=")
		var err error
		if c.zone, err = time.LoadLocation(name); err != nil || name == "" {
			return c, fmt.Errorf("window %q: the time zone %q is not known here: expected a name such as Europe/Berlin or UTC", text, name)
		}
		words = words[1:]
	}
	if len(words) != len(cronFields) {
		return c, fmt.Errorf("window %q has %d fields: expected five, minute, hour, day of the month, month and day of the week, such as \"* 1-5 * * *\" for every night from 1:00 to 5:59", text, len(words))
	}
	for i, set := range []*uint64{&c.minute, &c.hour, &c.day, &c.month, &c.week} {
		var err error
		if *set, err = cronFields[i].parse(words[i]); err != nil {
			return c, fmt.Errorf("window %q: %w", text, err)
		}
	}
	if c.week&(1<<7) != 0 { // Sunday is 0 or 7
		c.week |= 1
	}
	c.days, c.weeks = !strings.HasPrefix(words[2], "*"), !strings.HasPrefix(words[4], "*")
	return c, nil
}

func (f cronField) parse(text string) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, fmt.Errorf("the %s %q: expected a step of 1 or more behind the slash", f.name, part)
			}
		}
		low, high := f.low, f.high
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			if low, err = f.value(first); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if high, err = f.value(last); err != nil {
					return 0, err
				}
			case !stepped:
				high = low
			}
		}
		if high < low {
			return 0, fmt.Errorf("the %s %q ends before it begins: write %s-%d,%d-%s", f.name, part, strings.Split(span, "-")[0], f.high, f.low, strings.Split(span, "-")[1])
		}
		for v := low; v <= high; v += step {
			set |= 1 << v
		}
	}
	return set, nil
}

func (f cronField) value(text string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.low + i, nil
		}
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < f.low || v > f.high {
		return 0, fmt.Errorf("the %s %q: expected %d to %d", f.name, text, f.low, f.high)
	}
	return v, nil
}

// Match says whether a moment lies in one of the minutes.
func (c Cron) Match(at time.Time) bool {
	at = at.In(c.zone)
	return c.matchDay(at) && has(c.hour, at.Hour()) && has(c.minute, at.Minute())
}

func (c Cron) matchDay(at time.Time) bool {
	if !has(c.month, int(at.Month())) {
		return false
	}
	day, week := has(c.day, at.Day()), has(c.week, int(at.Weekday()))
	if c.days && c.weeks {
		return day || week
	}
	return day && week
}

func has(set uint64, v int) bool { return set&(1<<v) != 0 }

// Next is the first minute after a moment that matches. It is false where none does within the years in which each
// combination of dates and weekdays comes.
func (c Cron) Next(after time.Time) (time.Time, bool) {
	at := after.In(c.zone).Truncate(time.Minute).Add(time.Minute)
	for limit := at.AddDate(29, 0, 0); at.Before(limit); {
		var next time.Time
		switch y, m, d := at.Date(); {
		case !c.matchDay(at):
			next = time.Date(y, m, d+1, 0, 0, 0, 0, c.zone)
		case !has(c.hour, at.Hour()):
			next = at.Add(time.Hour - time.Duration(at.Minute())*time.Minute)
		case !has(c.minute, at.Minute()):
			next = at.Add(time.Minute)
		default:
			return at, true
		}
		if !next.After(at) { // midnight does not exist on some days in some zones
			next = at.Add(time.Minute)
		}
		at = next
	}
	return time.Time{}, false
}
