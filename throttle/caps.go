package throttle

import (
	"context"
	"fmt"
	"time"
)

// Caps are bounds that a person sets, whatever the server could bear. Zero is none.
type Caps struct {
	Rows  int64 // in a second
	Bytes int64 // in a second
}

// SetCaps sets the bounds from now on.
func (g *Gate) SetCaps(c Caps) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.caps != c {
		g.caps, g.free = c, time.Time{}
		g.wake()
	}
}

// Spend tells how much a chunk moved, before its Leave. Nobody enters until it is within the caps, so that over any time no
// more than the caps allow is moved, but for one chunk of each worker.
func (g *Gate) Spend(rows, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var cost float64 // in seconds
	if g.caps.Rows > 0 {
		cost = float64(rows) / float64(g.caps.Rows)
	}
	if g.caps.Bytes > 0 {
		cost = max(cost, float64(bytes)/float64(g.caps.Bytes))
	}
	if cost <= 0 {
		return
	}
	if now := time.Now(); g.free.Before(now) {
		g.free = now
	}
	g.free = g.free.Add(time.Duration(min(cost, 24*3600) * float64(time.Second)))
}

// Press makes a worker outrank the throttle by a share: its rests are the shorter, and at 1 it has none, does not wait for
// others to come out, and is bound by no cap. What stops everybody, a pause or a hard signal, stops it all the same.
//
// It is for work that must not be outrun: keys that come in faster than a throttled drain takes them out would keep a
// change from ever ending.
func (g *Gate) Press(worker int, share float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.press == nil {
		g.press = make(map[int]float64)
	}
	share = min(max(share, 0), 1)
	if g.press[worker] != share {
		g.press[worker] = share
		g.wake()
	}
}

// spent is what the workers did with their time since the step began.
type spent struct {
	worked time.Duration
	waited time.Duration // rests are no wait: they are how one works
	causes map[string]time.Duration
}

// Held is the share of the workers' time since the step began in which they were held back by something that was over its
// limit, or by a person, and by what most of all.
func (g *Gate) Held() (share float64, cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var most time.Duration
	for c, waited := range g.spent.causes {
		if waited > most {
			most, cause = waited, c
		}
	}
	if whole := g.spent.worked + g.spent.waited; whole > 0 {
		share = float64(g.spent.waited) / float64(whole)
	}
	return share, cause
}

// Crowd is how many workers are inside, and how many are held back.
func (g *Gate) Crowd() (inside, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside, g.waiting
}

// cause is what holds workers back now, in a word.
func (g *Gate) cause() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != "" {
		return "a pause"
	}
	return g.level.cause
}

func (g *Gate) note(cause string, waited time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cause == "" {
		g.spent.worked += waited
		return
	}
	if g.spent.causes == nil {
		g.spent.causes = make(map[string]time.Duration)
	}
	g.spent.waited += waited
	g.spent.causes[cause] += waited
}

// ChunkTime is a signal: how long chunks take. A Sizer makes them short again; where it cannot, because even the smallest
// takes long, or because one waits for a lock or for a disk that stalls, the server is busier than any size can mend.
type ChunkTime struct {
	Gate *Gate
	// Target is what a chunk should take. The limit is ten times as much, and at least a second.
	Target time.Duration
}

// Read looks at the chunk that ended last, if that was a moment ago, and at those under way.
func (c ChunkTime) Read(context.Context) (Reading, error) {
	const recent = 3 * time.Second
	g := c.Gate
	g.mu.Lock()
	defer g.mu.Unlock()
	var took time.Duration
	if time.Since(g.last.left) < recent {
		took = g.last.took
	}
	for _, since := range g.entered {
		took = max(took, time.Since(since))
	}
	limit := max(10*c.Target, time.Second)
	return Reading{Load: float64(took) / float64(limit), Reason: fmt.Sprintf("a chunk takes %s, limit %s", Seconds(took.Seconds()), Seconds(limit.Seconds()))}, nil
}
