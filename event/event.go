// Package event is the one stream through which the engine tells the world what it does.
//
// Progress bar, plain lines, JSON lines and logs are sinks of it: what a person can see, a program can see.
// The set of events is sealed, so that a sink can switch over all of them.
package event

import "time"

// Event is one thing that happened to a change. The set is closed: only types of this package are events.
type Event interface{ event() }

// Sink receives events. The engine calls it from several goroutines, one call at a time, and waits for it:
// a slow sink slows the change down, so a sink must not block.
type Sink func(Event)

// Planned opens a change or its resumption.
type Planned struct {
	Change    string // id of the change; empty for a plan that is not saved
	Table     string // schema-qualified name of the source
	Statement string
	Route     string
	Why       string
	Resumed   bool   // the change existed and goes on
	Step      string // the step at which it starts, empty at the beginning
}

// StepStarted says that a step of the plan begins.
type StepStarted struct {
	Step  string // kind of the step: exec, capture, copy, heal, build, drain, verify, trial, hold, cutover, release, drop
	Name  string // for a person: "build index orders_email_key"
	Total int64  // expected work in Unit; zero where it is not known
	Unit  string // "rows", or empty
}

// StepEnded says that a step of the plan is done and saved.
type StepEnded struct {
	Step string
	Name string
	Took time.Duration
	Done int64 // work done in this step, in the unit of StepStarted
}

// Progress is told after each chunk, at most every 100 ms.
type Progress struct {
	Step    string
	Done    int64 // in the unit of StepStarted, over all runs of the step
	Total   int64 // estimate; zero where it is not known
	Chunk   int64 // size of the last chunk
	Took    time.Duration
	Pending int64 // keys in the key log, as far as known
	// Throttled is the share of the step's time, from 0 to 1, in which the throttle or a person held it back, and Cause by
	// what most of all.
	Throttled float64
	Cause     string
}

// Waiting says why nothing moves. It is told when the reason changes, and once with an empty Reason when work goes on.
type Waiting struct {
	Step   string
	Reason string
}

// Signals is what the throttle reads, told once in a second while a change is worked on.
type Signals struct {
	Workers  int     // how many may copy at a time
	Load     float64 // the worst of all; 1 is the limit
	Readings []Reading
}

// Reading is what one signal of the throttle says.
type Reading struct {
	Name string  `json:"name"` // "replica lag"
	Load float64 `json:"load"` // 1 is the limit
	Text string  `json:"text"` // with figures: "replica lag of db2 0.4 s, limit 3 s"
	Hard bool    `json:"hard"` // at the limit it stops the change, and does not only slow it down
}

// Retried says that something was given up and is tried again, and that nothing was lost.
type Retried struct {
	Step    string
	What    string // "chunk", "drain", "lock"
	Attempt int
	Err     error
	Wait    time.Duration // pause before the next try
}

// Restarted says that the copy begins again, because somebody else rewrote or truncated the source.
type Restarted struct{ Reason string }

// Differed says that verification found rows that differ. They are copied again and compared again.
type Differed struct {
	Keys []string // at most ten, for a person
	Rows int64
}

// Verified says that source and shadow were compared and found equal.
type Verified struct {
	Rows     int64 // rows compared
	Chunks   int64
	Repaired int64 // rows that differed at first
	Took     time.Duration
}

// Compared says that all rows of source and shadow were compared as of one moment, at the end of a test on a replica.
type Compared struct {
	Table          string
	Rows           int64         // of the source
	Source, Shadow string        // digests of all rows: equal if all are
	Keys           []string      // of rows that differ, at most ten, for a person
	At             string        // the moment, in the words of the replica: its GTIDs, or file and offset of its binary log
	Held           time.Duration // how long the applier was kept from the table for it
	Took           time.Duration
}

// CutoverTried is one attempt to swap.
type CutoverTried struct {
	Attempt int
	Waited  time.Duration // until the locks were granted
	Held    time.Duration // from the locks to the end of the transaction
	Pending int64         // keys drained under the lock
	Swapped bool
	Err     error // why not, if not swapped
}

// Done closes a run of a change.
type Done struct {
	Change   string
	Table    string
	Status   string // done, undone, expanded, held, stopped, aborted, failed, nothing-to-do
	Rows     int64  // rows copied
	Verified int64  // rows compared
	Took     time.Duration
	Held     time.Duration // how long the cutover held its lock
	OldTable string        // where the old table is kept; empty if it is gone
	DropAt   time.Time     // when the old table may be dropped; zero: never, or gone
	Err      error
}

// Notice is anything else that a person should know.
type Notice struct{ Text string }

func (Planned) event()      {}
func (StepStarted) event()  {}
func (StepEnded) event()    {}
func (Progress) event()     {}
func (Waiting) event()      {}
func (Signals) event()      {}
func (Retried) event()      {}
func (Restarted) event()    {}
func (Differed) event()     {}
func (Verified) event()     {}
func (Compared) event()     {}
func (CutoverTried) event() {}
func (Done) event()         {}
func (Notice) event()       {}

// Discard is the sink of those who do not listen.
func Discard(Event) {}
