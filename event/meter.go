package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Meter turns progress into a rate and the time that is left, for sinks that people read. The zero Meter is ready to use.
// It looks at the last half minute, so that it follows the throttle, and yet stays calm.
type Meter struct {
	step    StepStarted
	now     Progress
	samples []sample // oldest first, at least half a second apart
	newest  time.Time
}

type sample struct {
	at   time.Time
	done int64
}

const window = 30 * time.Second

// Observe takes an event. A StepStarted sets the meter back, and a Progress of the same step moves it. The end of a wait
// makes it forget the rate, which was that of the wait. Other events do nothing.
func (m *Meter) Observe(e Event) {
	switch e := e.(type) {
	case StepStarted:
		*m = Meter{step: e, now: Progress{Step: e.Step, Total: e.Total}}
	case Waiting:
		if e.Reason == "" {
			m.samples = nil
		}
	case Progress:
		if e.Step != m.step.Step {
			return
		}
		now := time.Now()
		if e.Done < m.now.Done { // it began again
			m.samples = nil
		}
		if e.Total == 0 {
			e.Total = m.now.Total
		}
		m.now, m.newest = e, now
		for len(m.samples) > 1 && now.Sub(m.samples[1].at) >= window {
			m.samples = m.samples[1:]
		}
		if n := len(m.samples); n == 0 || now.Sub(m.samples[n-1].at) >= time.Second/2 {
			m.samples = append(m.samples, sample{now, e.Done})
		}
	}
}

// Rate is how much is done in a second, and zero as long as that is not known.
func (m *Meter) Rate() float64 {
	if len(m.samples) == 0 {
		return 0
	}
	first := m.samples[0]
	took := m.newest.Sub(first.at)
	if took < time.Second {
		return 0
	}
	return float64(m.now.Done-first.done) / took.Seconds()
}

// Left is the time until the step is done, if it goes on like this, and zero if that is not known.
func (m *Meter) Left() time.Duration {
	rate, todo := m.Rate(), m.now.Total-m.now.Done
	if rate <= 0 || todo <= 0 {
		return 0
	}
	return m.left(rate)
}

func (m *Meter) left(rate float64) time.Duration {
	seconds := float64(m.now.Total-m.now.Done) / rate
	if seconds > 1000*24*3600 {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// Range is the time that is left at the fastest and at the slowest of the rates that were seen of late, in thirds of the last
// half minute. Both are zero where it is not known.
func (m *Meter) Range() (least, most time.Duration) {
	left := m.Left()
	if n := len(m.samples); left > 0 && n >= 7 {
		fast, slow := m.Rate(), m.Rate()
		for i := range 3 {
			a, b := m.samples[i*(n-1)/3], m.samples[(i+1)*(n-1)/3]
			if took := b.at.Sub(a.at).Seconds(); took > 0 {
				rate := float64(b.done-a.done) / took
				fast, slow = max(fast, rate), min(slow, rate)
			}
		}
		if slow <= 0 { // it stood still for a third of the time: it may do so again
			slow = m.Rate() / 2
		}
		return m.left(fast), m.left(slow)
	}
	return left, left
}

// remaining is the time that is left for a person: one figure where the rate is steady, two where it is not.
func (m *Meter) remaining() string {
	least, most := m.Range()
	switch {
	case least <= 0 || most <= 0:
		return ""
	case float64(most) < 1.3*float64(least) || span(least) == span(most):
		return span(m.Left()) + " left"
	}
	return span(least) + " to " + span(most) + " left"
}

// String is the state of the step for a person: "1,200,000 of 2,900,000 rows, 12,300 rows/s, 2m18s left".
// It is empty before the first progress.
func (m *Meter) String() string {
	if m.newest.IsZero() {
		return ""
	}
	unit := m.step.Unit
	if unit != "" {
		unit = " " + unit
	}
	done := count(m.now.Done)
	if m.now.Total > 0 {
		done += " of " + count(m.now.Total)
	}
	parts := []string{done + unit}
	if rate := m.Rate(); rate > 0 {
		per := fmt.Sprintf("%.1f", rate)
		if rate >= 10 {
			per = count(int64(rate))
		}
		parts = append(parts, per+unit+"/s")
	}
	if left := m.remaining(); left != "" {
		parts = append(parts, left)
	}
	if share := m.now.Throttled; share >= 0.05 {
		parts = append(parts, fmt.Sprintf("held back %.0f%% by %s", 100*share, m.now.Cause))
	}
	if m.now.Pending > 0 {
		parts = append(parts, count(m.now.Pending)+" keys pending")
	}
	return strings.Join(parts, ", ")
}

// count is a number with commas between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// span is a duration as precise as a person needs it: 0.4 ms, 41 ms, 1.5 s, 15 s, 2m18s, 3h2m.
func span(d time.Duration) string {
	switch {
	case d == 0:
		return "0 ms"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour-time.Second/2:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
