package throttle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/changeling-db/changeling/event"
)

// Controller reads signals and moves a gate accordingly. All fields are set before Run.
//
// The number of workers follows the rule of TCP: at the limit it is halved at once, and after a while of calm it grows by
// one. It begins with one, because a copy that comes on tiptoe is not noticed, and a second worker on a busy server only
// makes both wait for the log.
type Controller struct {
	Gate    *Gate
	Watches []Watch
	// Workers is the most that may copy at a time. Zero means 1.
	Workers int
	// Interval is the time between two readings of each signal, and so the time in which the gate reacts.
	// Zero means 250 ms. A reading that takes, or is, five times as old counts as failed.
	Interval time.Duration
	// Calm is how many readings in a row must be calm before one more worker may copy. Zero means 8. Where the last such
	// try ended at the limit, the next one waits twice as long, up to 16 times, so that a server that bears one worker and
	// not two is not tried every two seconds.
	Calm int
	// Rest is how long a worker rests after a chunk on a calm server, as a share of the time that the chunk took. Log that a
	// copy writes without a pause is in the way of every commit behind it, before any signal can tell. Zero means no rest.
	Rest float64
	// Fast is for those who own the night: all workers at once, no rests, soft signals are not even read.
	Fast bool
	// Sink is told what all signals read, once in a second (event.Signals). It may be nil.
	Sink event.Sink
	// Ready is called when the gate is shut for what was not read yet. It may be nil.
	Ready func()
}

// Run moves the gate until ctx ends, and returns nil then. It runs once at a time. Once it runs, nobody enters before each
// hard signal has been read. When it returns, the gate stays as it is.
func (c *Controller) Run(ctx context.Context) error {
	b := c.board()
	c.Gate.set(b.level(time.Now()))
	if c.Ready != nil {
		c.Ready()
	}

	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	for i, d := range b.dials {
		// Each signal has its own goroutine, so that one that hangs does not delay the others.
		wg.Go(func() {
			read(ctx, d.Signal, d.Interval, func(r Reading, err error) {
				select {
				case results <- result{i, r, err}:
				case <-ctx.Done():
				}
			})
		})
	}
	ticker := time.NewTicker(b.interval)
	defer ticker.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-results:
			b.note(r, time.Now())
		case <-ticker.C:
			b.tick(time.Now())
			if now := time.Now(); c.Sink != nil && len(b.dials) > 0 && now.Sub(told) >= often {
				told = now
				c.Sink(b.signals(now))
			}
		}
		c.Gate.set(b.level(time.Now()))
	}
}

// often is how often the readings of all signals are told.
const often = time.Second

// blind is how many intervals a reading may take, and how many old it may be.
const blind = 5

// read reads a signal every interval until ctx ends.
func read(ctx context.Context, s Signal, interval time.Duration, note func(Reading, error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, blind*interval)
		r, err := s.Read(within)
		if within.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", blind*interval)
		}
		cancel()
		note(r, err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// board is what Run's own goroutine knows.
type board struct {
	interval time.Duration
	fast     bool
	rest     float64
	dials    []dial
	pace     pace

	// What was over its limit last, and for how many more calm ticks that is still the reason: a load that hovers around
	// its limit is one wait to a person, not four in a second.
	cause, reason string
	linger        int
}

type result struct {
	dial    int
	reading Reading
	err     error
}

// board is a board on which nothing has been read.
func (c *Controller) board() *board {
	b := &board{
		interval: c.Interval,
		fast:     c.Fast,
		rest:     c.Rest,
		pace:     pace{allowed: 1, workers: max(c.Workers, 1), after: c.Calm},
	}
	if b.interval <= 0 {
		b.interval = 250 * time.Millisecond
	}
	if b.pace.after <= 0 {
		b.pace.after = 8
	}
	b.pace.need = b.pace.after
	if b.fast {
		b.pace.allowed = b.pace.workers
	}
	for _, w := range c.Watches {
		if w.Interval <= 0 {
			w.Interval = b.interval
		}
		if w.Hard || !b.fast {
			b.dials = append(b.dials, dial{Watch: w, good: time.Now()})
		}
	}
	return b
}

func (b *board) note(r result, now time.Time) {
	d := &b.dials[r.dial]
	d.reading, d.err, d.read = r.reading, r.err, true
	if r.err == nil {
		d.good = now
	}
}

func (b *board) tick(now time.Time) {
	load, _, cause, _ := b.look(now)
	if !b.fast {
		b.pace.tick(load)
	}
	if cause == "" && b.linger > 0 {
		if b.linger--; b.linger == 0 {
			b.cause, b.reason = "", ""
		}
	}
}

// level is what follows for the gate.
func (b *board) level(now time.Time) level {
	load, stop, cause, reason := b.look(now)
	if cause != "" {
		b.cause, b.reason, b.linger = cause, reason, b.pace.after
	}
	rest := b.rest
	if b.fast {
		load, rest = 0, 0 // hard signals stop, and do nothing else
	}
	return level{workers: b.pace.allowed, load: load, rest: rest, stop: stop, cause: b.cause, reason: b.reason}
}

// look puts the dials together: the worst load, whether a hard signal is at its limit, and what is to blame if any is,
// a hard one before a soft one and the higher load before the lower.
func (b *board) look(now time.Time) (load float64, stop bool, cause, reason string) {
	blame := -1.0
	for _, d := range b.dials {
		l, c, r := d.look(now)
		load = max(load, l)
		hard := d.Hard && l >= 1
		stop = stop || hard
		rank := l
		if hard {
			rank = math.Inf(1)
		}
		if l >= 1 && rank > blame {
			blame, cause, reason = rank, c, r
		}
	}
	return load, stop, cause, reason
}

// signals is what all dials show, for the world.
func (b *board) signals(now time.Time) event.Signals {
	out := event.Signals{Workers: b.pace.allowed}
	for _, d := range b.dials {
		load, _, reason := d.look(now)
		if !d.read {
			reason = "not read yet"
		}
		out.Load = max(out.Load, load)
		out.Readings = append(out.Readings, event.Reading{Name: d.Name, Load: min(load, 1000), Text: reason, Hard: d.Hard})
	}
	return out
}

// dial is what is known of one signal.
type dial struct {
	Watch
	read    bool      // at least once, well or not
	good    time.Time // of the last good reading; of the start, before there is one
	reading Reading
	err     error
}

// look is the load that counts, and if that is at the limit the cause and the reason of it. Before the first reading
// a signal is at its limit without a reason, since it will be read in a moment.
func (d dial) look(now time.Time) (load float64, cause, reason string) {
	age, old := now.Sub(d.good), blind*d.Interval
	switch {
	case d.err != nil:
		return worst, d.Name + " failed", fmt.Sprintf("%s cannot be read: %v", d.Name, d.err)
	case age > old:
		return worst, d.Name + " silent", fmt.Sprintf("%s: no reading for %v", d.Name, age.Round(100*time.Millisecond))
	case !d.read:
		return 1, "", ""
	}
	load, reason = d.reading.Load, d.reading.Reason
	if math.IsNaN(load) {
		load = worst
	}
	if reason == "" {
		reason = fmt.Sprintf("%s at %.1f times its limit", d.Name, load)
	}
	return load, d.Name, reason
}

// pace is how many workers may copy.
type pace struct {
	workers, after int // as configured
	allowed        int
	need           int // calm ticks in a row before one more
	quiet          int // calm ticks in a row so far
}

func (p *pace) tick(load float64) {
	switch {
	case load >= 1:
		if p.allowed > 1 {
			p.allowed /= 2
			p.need = min(2*p.need, 16*p.after)
		}
		p.quiet = 0
	case load > calm:
		p.quiet = 0
	default:
		if p.quiet++; p.quiet < p.need {
			return
		}
		p.quiet = 0
		if p.allowed > 1 { // so many are borne
			p.need = max(p.need/2, p.after)
		}
		p.allowed = min(p.allowed+1, p.workers)
	}
}
