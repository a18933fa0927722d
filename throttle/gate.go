package throttle

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/changeling-db/changeling/event"
)

// Gate is where copiers wait. The zero Gate is open to everybody; a Controller moves it, and a person with SetPaused.
// Each worker calls Enter before a chunk and Leave after it:
//
//	if err := gate.Enter(ctx, worker); err != nil {
//		return err
//	}
//	start := time.Now()
//	err := copyChunk(ctx)
//	gate.Leave(worker, time.Since(start))
//
// At a soft limit one worker at a time goes on: any of them, not a certain one, so that the copy cannot hang on a worker
// that has run out of work.
//
// Methods may be called at any time from any goroutine, except that Sink may call none but Reason.
type Gate struct {
	// Sink is told why workers are held back (event.Waiting): when one is and the reason is new, and with an empty reason
	// when it has gone. A signal over its limit is one reason, however its figures change. Sink may be nil; it is set
	// before the first call.
	Sink event.Sink

	telling sync.Mutex // held while Sink runs, so that it hears of reasons in their order; taken before mu
	told    string     // key of the reason that Sink heard last

	mu      sync.Mutex
	step    string
	paused  string
	level   level
	inside  int           // workers that work on a chunk
	waiting int           // workers that are held back
	rests   map[int]rest  // the last chunk of each worker
	last    rest          // the last chunk of any worker
	moved   chan struct{} // closed and forgotten when something changes that a waiting worker has to look at

	entered map[int]time.Time // when the workers inside came
	caps    Caps
	free    time.Time       // when what was spent is within the caps again
	press   map[int]float64 // see Press
	spent   spent
}

// level is what a controller makes of its signals. The zero level is an open gate.
type level struct {
	workers int     // how many may be inside; zero: all
	load    float64 // the worst of the signals that count
	rest    float64 // the rest after a chunk on a calm server, in its own lengths
	stop    bool    // nobody may enter
	cause   string  // what is over its limit, empty if nothing is: the same for as long as it is one wait to a person
	reason  string  // the same in its own words, with figures
}

// rest is the end of a chunk, from which the pause after it follows.
type rest struct {
	left time.Time
	took time.Duration
}

// Enter waits until a worker may begin a chunk. It returns nil then, or ctx.Err() if ctx ends first.
// Every Enter that returned nil needs one Leave, also when the chunk failed: a worker that stays inside keeps others out.
// Workers are numbered, so that each rests after its own chunks.
func (g *Gate) Enter(ctx context.Context, worker int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pause, moved := g.admit(worker)
	if pause == 0 {
		return nil
	}
	g.hold(+1)
	defer g.hold(-1)
	g.tell()
	for ; pause > 0; pause, moved = g.admit(worker) {
		if err := g.wait(ctx, pause, moved); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until something moves, and notes for what.
func (g *Gate) wait(ctx context.Context, pause time.Duration, moved <-chan struct{}) error {
	began, cause := time.Now(), g.cause()
	defer func() { g.note(cause, time.Since(began)) }()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-moved:
	case <-timer.C:
	}
	return nil
}

// Leave ends the chunk that Enter began. From took, the time that the chunk needed, follows how long the worker rests
// before its next one: the busier the server, the longer.
func (g *Gate) Leave(worker int, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	delete(g.entered, worker)
	g.spent.worked += took
	g.last = rest{time.Now(), took}
	if g.rests == nil {
		g.rests = make(map[int]rest)
	}
	g.rests[worker] = g.last
	g.wake()
}

// SetPaused stops all workers before their next chunk, for a reason in a person's words. An empty reason lets them go on.
func (g *Gate) SetPaused(reason string) {
	g.mu.Lock()
	if g.paused != reason {
		g.paused = reason
		g.wake()
	}
	g.mu.Unlock()
	g.tell()
}

// SetStep names the step, by its kind, to which waits belong from now on. A wait that was told for the step before ends.
func (g *Gate) SetStep(kind string) {
	g.telling.Lock()
	g.mu.Lock()
	before := g.step
	g.step = kind
	g.spent = spent{}
	g.mu.Unlock()
	if g.told != "" {
		g.told = ""
		g.Sink(event.Waiting{Step: before})
	}
	g.telling.Unlock()
	g.tell()
}

// Reason is why workers are held back at the moment, with current figures, and empty if nothing holds them back.
func (g *Gate) Reason() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != "" {
		return g.paused
	}
	return g.level.reason
}

// set is how a controller moves the gate.
func (g *Gate) set(l level) {
	g.mu.Lock()
	if g.level != l {
		g.level = l
		g.wake()
	}
	g.mu.Unlock()
	g.tell()
}

// admit lets a worker in and returns zero, or says how long it has to wait unless something moves before.
func (g *Gate) admit(worker int) (time.Duration, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var pause time.Duration = math.MaxInt64 // for as long as nothing moves
	press := g.press[worker]
	if limit := g.limit(); limit > 0 && (g.inside < limit || press >= 1) {
		pause = g.level.pause(g.rests[worker], press)
		if limit == 1 {
			// One works at a time, but not always the same: without this they would take turns and none would rest.
			pause = max(pause, g.level.pause(g.last, press))
		}
		if press < 1 && !g.free.IsZero() {
			pause = max(pause, time.Until(g.free))
		}
	}
	if pause <= 0 {
		g.inside++
		if g.entered == nil {
			g.entered = make(map[int]time.Time)
		}
		g.entered[worker] = time.Now()
		return 0, nil
	}
	if g.moved == nil {
		g.moved = make(chan struct{})
	}
	return pause, g.moved
}

// limit is how many workers may be inside. The caller holds mu.
func (g *Gate) limit() int {
	switch {
	case g.paused != "" || g.level.stop:
		return 0
	case g.level.load >= 1:
		return 1
	case g.level.workers == 0:
		return math.MaxInt
	}
	return g.level.workers
}

// wake makes all that wait look again. The caller holds mu.
func (g *Gate) wake() {
	if g.moved != nil {
		close(g.moved)
		g.moved = nil
	}
}

func (g *Gate) hold(workers int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting += workers
}

// tell tells the sink if the reason is another one than it knows. That nobody is held back by it keeps a reason back, too:
// a busy server is no wait of ours as long as no worker came to the gate.
func (g *Gate) tell() {
	g.telling.Lock()
	defer g.telling.Unlock()
	g.mu.Lock()
	step, waiting, key, reason := g.step, g.waiting, g.paused, g.paused
	if key == "" {
		key, reason = g.level.cause, g.level.reason
	}
	g.mu.Unlock()
	if g.Sink == nil || key == g.told || key != "" && waiting == 0 {
		return
	}
	g.told = key
	g.Sink(event.Waiting{Step: step, Reason: reason})
}

const (
	calm  = 0.7 // up to this load nobody notices the copy
	worst = 3   // the load from which on rests are the longest, and that of a signal that cannot be read
)

// duty is how many times its own length a chunk is rested after, unless more is wanted always: nothing on a calm server,
// half as long as the chunk at the limit, four times at worst. A slope rather than a switch, because stop and go makes waves on a busy server.
func duty(load float64) float64 {
	return 4 * min(max((load-calm)/(worst-calm), 0), 1)
}

// pause is what is left of the rest after a chunk. It follows the load of now, not of when the chunk ended.
// A chunk that took very long, behind a lock perhaps, does not silence its worker for minutes. A worker that is pressed
// rests the less for it.
func (l level) pause(r rest, press float64) time.Duration {
	const longest = 5 * time.Second
	if r.left.IsZero() {
		return 0
	}
	length := min(time.Duration(float64(r.took)*max(duty(l.load), l.rest)), longest)
	length = time.Duration(float64(length) * (1 - press))
	return length - time.Since(r.left)
}
