package event

import "sync"

func Serial(s Sink) Sink {
	var mu sync.Mutex
	return func(e Event) { mu.Lock(); defer mu.Unlock(); s(e) }
}
