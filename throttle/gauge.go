package throttle

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// Figure is one number that a server tells of itself.
type Figure struct {
	Of    string // whose, where there are several: the name of a replica. May be empty
	Value float64
}

// Gauge is a signal: figures against a limit, of which the worst counts.
type Gauge struct {
	Name string
	// Ask reads the figures. None at all is a load of zero: where there is no replica, none lags.
	Ask   func(ctx context.Context) ([]Figure, error)
	Limit float64
	// Unit writes a figure for a person. Nil writes a plain number.
	Unit func(float64) string
}

// Read takes one reading.
func (g *Gauge) Read(ctx context.Context) (Reading, error) {
	figures, err := g.Ask(ctx)
	if err != nil {
		return Reading{}, err
	}
	var most Figure
	for i, f := range figures {
		if math.IsNaN(f.Value) {
			return Reading{}, fmt.Errorf("%s is no number", g.of(f))
		}
		if i == 0 || f.Value > most.Value {
			most = f
		}
	}
	unit := g.Unit
	if unit == nil {
		unit = Number
	}
	return Reading{Load: max(most.Value/g.Limit, 0), Reason: fmt.Sprintf("%s %s, limit %s", g.of(most), unit(most.Value), unit(g.Limit))}, nil
}

func (g *Gauge) of(f Figure) string {
	if f.Of == "" {
		return g.Name
	}
	return g.Name + " of " + f.Of
}

// PerSecond turns counters that only grow into how much they grow in a second. The first answer is none, since there is
// nothing to compare with; a counter that fell, because its server began anew, starts over.
func PerSecond(ask func(context.Context) ([]Figure, error)) func(context.Context) ([]Figure, error) {
	last := make(map[string]Figure)
	var at time.Time
	return func(ctx context.Context) ([]Figure, error) {
		figures, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		took := now.Sub(at).Seconds()
		at = now
		var rates []Figure
		for _, f := range figures {
			before, known := last[f.Of]
			last[f.Of] = f
			if known && took > 0 && f.Value >= before.Value {
				rates = append(rates, Figure{f.Of, (f.Value - before.Value) / took})
			}
		}
		return rates, nil
	}
}

// Number writes a figure without a unit.
func Number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Seconds writes a time.
func Seconds(v float64) string {
	switch d := time.Duration(v * float64(time.Second)); {
	case v < 1:
		return millis(d)
	case v < 60:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " s"
	default:
		return d.Round(time.Second).String()
	}
}

// Bytes writes a size.
func Bytes(v float64) string {
	unit := 0
	for ; math.Abs(v) >= 1024 && unit < 4; unit++ {
		v /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + [...]string{"bytes", "KiB", "MiB", "GiB", "TiB"}[unit]
}

// ByteRate writes bytes in a second.
func ByteRate(v float64) string { return Bytes(v) + "/s" }

// Percent writes a share of 1.
func Percent(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) }
