// Package throttle keeps a copy out of the way of the users' traffic.
//
// Its one idea: a copier asks at a gate before each chunk, and what the gate says follows from how the server fares right
// now, not from a speed that somebody set. Three things move: how large a chunk is (Sizer), how many workers copy, and how
// long each rests after a chunk (Gate, moved by Controller). Signals say how the server fares; the commit latency of a tiny
// row (Probe) is the one that users feel.
//
// The measure of all signals is the load: 0 is idle, 1 the limit. Up to 0.7 nobody notices a copy, and it may use more
// workers. From there on it rests longer and longer after each chunk; from 1 on a single worker remains, which slows down
// but never stops. Only a pause, or a signal marked Hard, stops it.
//
// The package knows no database: what a signal asks, and of whom, is its caller's.
package throttle

import (
	"context"
	"time"
)

// Reading is what a signal says about the server.
type Reading struct {
	Load   float64 // 0 is idle, 1 the limit, above 1 the copy gives way
	Reason string  // for a person, with figures: "commit latency 41 ms, limit 15 ms"
}

// Signal tells how the server fares.
type Signal interface {
	// Read takes one reading. An error counts as the worst load, for what cannot be seen may be on fire.
	// It is called from one goroutine at a time, and must return when ctx ends.
	Read(ctx context.Context) (Reading, error)
}

// Watch is a signal under a name.
type Watch struct {
	Name   string // "replica lag", for the reason when the signal itself cannot be read
	Signal Signal
	Hard   bool // at the limit nobody copies; a soft signal leaves one worker going
	// Interval is the time between two readings, for what moves slowly or is dear to ask. Zero means the controller's.
	Interval time.Duration
}
