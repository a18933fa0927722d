package throttle

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Probe is a signal: how long a commit takes, as the users feel it.
//
// A COMMIT waits until the log, and with it everything that the copy wrote before, is on disk. So the latency of a tiny
// commit sees what a copy does to its neighbours, whichever of disk, log or locks is short, sooner than any counter.
//
// Calibrate and Read are called from one goroutine at a time.
type Probe struct {
	// Commit writes a tiny row and commits it, with synchronous_commit (or its like) as the users have it. An error, or
	// one that does not return within the controller's patience, counts as the worst load.
	Commit func(ctx context.Context) error
	// Limit is the latency at which the copy gives way. Zero means 15 ms. On a server that is slow by itself, three times
	// the calibrated latency counts instead, if that is more.
	Limit time.Duration

	baseline time.Duration
	smooth   time.Duration                 // the newest counts half, the one before a quarter, and so on
	recent   [recentReadings]time.Duration // the last values of smooth, newest at the end
}

// recentReadings is for how many readings a peak counts in full. One stall of the disk seldom comes alone.
const recentReadings = 3

// Calibrate takes n readings, 50 ms apart, and sets the baseline to their median. It is called before the copy starts,
// while all latency is the users' own. Without it the baseline is zero, and Limit alone counts.
func (p *Probe) Calibrate(ctx context.Context, n int) error {
	all := make([]time.Duration, n)
	for i := range all {
		took, err := p.commit(ctx)
		if err != nil {
			return fmt.Errorf("calibrate the commit probe: %w", err)
		}
		all[i] = took
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if n > 0 {
		slices.Sort(all)
		p.baseline = all[n/2]
	}
	return nil
}

// Read commits once. The load is the largest of the last few smoothed latencies, in limits.
func (p *Probe) Read(ctx context.Context) (Reading, error) {
	took, err := p.commit(ctx)
	if err != nil {
		return Reading{}, err
	}
	if p.smooth == 0 {
		p.smooth = took
	}
	p.smooth = (p.smooth + took) / 2
	copy(p.recent[:], p.recent[1:])
	p.recent[recentReadings-1] = p.smooth
	latency, limit := slices.Max(p.recent[:]), p.limit()
	return Reading{
		Load:   float64(latency) / float64(limit),
		Reason: fmt.Sprintf("commit latency %s, limit %s", millis(latency), millis(limit)),
	}, nil
}

func (p *Probe) commit(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	err := p.Commit(ctx)
	return time.Since(start), err
}

func (p *Probe) limit() time.Duration {
	limit := p.Limit
	if limit <= 0 {
		limit = 15 * time.Millisecond
	}
	return max(limit, 3*p.baseline)
}

// millis is a latency with two significant digits or all that stand before the point: 0.42 ms, 4.2 ms, 42 ms.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 9.95:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 0.995:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}
