package state

import (
	"context"
	"encoding/json"
	"time"
)

// Event is one line of a change's history. Lines are only ever added.
type Event struct {
	At      time.Time       `json:"at"`      // by the database's clock
	Run     int64           `json:"run"`     // fencing token of the run that wrote it
	Owner   string          `json:"owner"`   // how that run called itself
	Version string          `json:"version"` // of the program
	Event   json.RawMessage `json:"event"`   // as run --output json prints it
}

// Move is one move of the program counter, written in the transaction that did the step.
type Move struct {
	At   time.Time `json:"at"`
	Step int       `json:"step"`
	Next int       `json:"next"`
	Name string    `json:"name"`
}

// Record adds events to the history of a change, all or none.
func (s *Store) Record(ctx context.Context, change string, token int64, owner, version string, lines []string) error {
	list, err := json.Marshal(lines)
	if err != nil {
		return err
	}
	return s.Exec(ctx, s.DB, s.Text.Record, change, token, owner, version, string(list))
}

// History is what was recorded of a change, oldest first.
func (s *Store) History(ctx context.Context, change string) (events []Event, moves []Move, err error) {
	rows, err := s.DB.QueryContext(ctx, s.Text.Events, change)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Event
		var at stamp
		var line string
		if err := rows.Scan(&at, &e.Run, &e.Owner, &e.Version, &line); err != nil {
			return nil, nil, err
		}
		e.At, e.Event = time.Time(at), json.RawMessage(line)
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	moved, err := s.DB.QueryContext(ctx, s.Text.Moves, change)
	if err != nil {
		return nil, nil, err
	}
	defer moved.Close()
	for moved.Next() {
		var m Move
		var at stamp
		if err := moved.Scan(&at, &m.Step, &m.Next); err != nil {
			return nil, nil, err
		}
		m.At = time.Time(at)
		moves = append(moves, m)
	}
	return events, moves, moved.Err()
}
