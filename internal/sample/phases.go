package sample

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
)

// Phases collects, as a sink of events, when each kind of step ran and for how long the cutover held its lock.
type Phases struct {
	order []string
	took  map[string]time.Duration
	begin map[string]time.Time
	end   map[string]time.Time
	Held  time.Duration // of the lock of the swap
}

// NewPhases is one of a change that has not begun.
func NewPhases() *Phases {
	return &Phases{took: map[string]time.Duration{}, begin: map[string]time.Time{}, end: map[string]time.Time{}}
}

// Sink takes the events of one change.
func (p *Phases) Sink(e event.Event) {
	switch e := e.(type) {
	case event.StepStarted:
		if _, ok := p.begin[e.Step]; !ok {
			p.order = append(p.order, e.Step)
			p.begin[e.Step] = time.Now()
		}
	case event.StepEnded:
		p.took[e.Step] += e.Took
		p.end[e.Step] = time.Now()
	case event.Done:
		p.Held = e.Held
	}
}

// Window is when the steps of a kind ran, counted from a moment; nothing of them: two zeros.
func (p *Phases) Window(began time.Time, step string) (from, to time.Duration) {
	if _, ok := p.end[step]; !ok {
		return 0, 0
	}
	return p.begin[step].Sub(began), p.end[step].Sub(began)
}

func (p *Phases) String() string {
	var parts []string
	for _, s := range p.order {
		parts = append(parts, fmt.Sprintf("%s %.1f", s, p.end[s].Sub(p.begin[s]).Seconds()))
	}
	return strings.Join(parts, ", ")
}

// Ms is a time in milliseconds.
func Ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Median is the middle one of some figures, the upper one of two; zero of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
