package cutover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
)

type state string

func (s state) Error() string    { return "SQLSTATE " + string(s) }
func (s state) SQLState() string { return string(s) }

// server follows a script: one word an attempt says what goes wrong in it.
type server struct {
	script []string
	log    []string
}

func (s *server) now() string {
	if len(s.script) == 0 {
		return ""
	}
	return s.script[0]
}

func (s *server) does(step string, err error) error {
	s.log = append(s.log, step)
	if s.now() == step {
		s.script = s.script[1:]
		return err
	}
	return nil
}

func (s *server) Ready(context.Context) error { return s.does("ready", errors.New("no way")) }
func (s *server) Blockers(context.Context) ([]cutover.Blocker, error) {
	list := []cutover.Blocker{{Who: "pid 1, idle", Age: 10 * time.Millisecond}}
	if s.does("look", errors.New("held")) != nil {
		list = append(list, cutover.Blocker{Who: "pid 4711 of ann, idle in transaction", Age: time.Hour})
	}
	return list, nil
}
func (s *server) Begin(context.Context) (cutover.Attempt, error) {
	return s, s.does("begin", state("57P03"))
}
func (s *server) Lock(context.Context) error { return s.does("lock", state("55P03")) }
func (s *server) Check(context.Context) error {
	return s.does("check", &fault.Problem{Kind: fault.Refused, Text: "altered"})
}
func (s *server) Drain(context.Context) (int64, error) { return 7, s.does("drain", cutover.ErrBusy) }
func (s *server) Swap(context.Context) error           { return s.does("swap", state("40P01")) }
func (s *server) Commit() error {
	if s.now() == "swapped" {
		return fmt.Errorf("keys were missed: %w", cutover.ErrSwapped)
	}
	return s.does("commit", state("08006"))
}
func (s *server) Rollback() error { return s.does("rollback", errors.New("late")) }

const whole = "ready look begin lock check drain swap commit"

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []string
		log    string
		kind   fault.Kind // zero: swapped
	}{
		{"a quiet table is swapped at once", nil, whole, 0},
		{"who is held up by others does not even try the lock", []string{"look"}, "ready look " + whole, 0},
		{"a lock that is not granted is rolled back and tried again", []string{"lock"}, "ready look begin lock rollback " + whole, 0},
		{"too much to do under the lock gives way", []string{"drain"}, "ready look begin lock check drain rollback " + whole, 0},
		{"a deadlock gives way", []string{"swap"}, "ready look begin lock check drain swap rollback " + whole, 0},
		{"a server that restarts is tried again", []string{"begin"}, "ready look begin " + whole, 0},
		{"an altered table is not swapped", []string{"check"}, "ready look begin lock check rollback", fault.Refused},
		{"a commit whose answer is lost is not tried again", []string{"commit"}, whole, fault.Unexpected},
		{"what cannot be made ready is not locked", []string{"ready"}, "ready", fault.Unexpected},
		{"attempts end", []string{"lock", "lock", "lock"}, strings.Repeat("ready look begin lock rollback ", 3), fault.NoCutover},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{script: c.script}
				var swapped int
				_, err := cutover.Run(t.Context(), s, cutover.Config{Attempts: 3, Sink: func(e event.Event) {
					if e, ok := e.(event.CutoverTried); ok && e.Swapped {
						swapped++
					}
				}})
				want := 1
				if c.kind != 0 {
					want = 0
				}
				if log := strings.Join(s.log, " "); log != strings.TrimSpace(c.log) || swapped != want {
					t.Errorf("it did %q and swapped %d times, want %q and %d", log, swapped, c.log, want)
				}
				if (err != nil) != (c.kind != 0) || err != nil && fault.KindOf(err) != c.kind {
					t.Errorf("Run = %v, of kind %v, want kind %v", err, fault.KindOf(err), c.kind)
				}
			})
		})
	}
}

// A swap that is done is told as one, whatever is wrong with it.
func TestRunTellsOfASwapWithAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		swapped := false
		_, err := cutover.Run(t.Context(), &server{script: []string{"swapped"}}, cutover.Config{Sink: func(e event.Event) {
			if e, ok := e.(event.CutoverTried); ok {
				swapped = e.Swapped
			}
		}})
		if !errors.Is(err, cutover.ErrSwapped) || !swapped {
			t.Errorf("Run = %v, told as swapped: %v", err, swapped)
		}
	})
}

func TestRunNamesWhoIsInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := cutover.Run(t.Context(), &server{script: []string{"look", "look"}}, cutover.Config{Attempts: 2, Sink: event.Discard})
		if err == nil || !strings.Contains(err.Error(), "pid 4711 of ann") || !strings.Contains(err.Error(), "1h0m0s") {
			t.Errorf("Run = %v, want the oldest transaction and its age in it", err)
		}
	})
}

func TestRunStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &server{script: []string{"lock", "lock", "lock", "lock"}}
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := cutover.Run(ctx, s, cutover.Config{Sink: event.Discard}); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want context canceled; it did %s", err, fmt.Sprint(s.log))
		}
	})
}
