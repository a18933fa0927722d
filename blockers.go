package changeling

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
)

// Kill says which sessions that hold up a cutover may be ended. The zero Kill is none: who holds the table is told, and
// waited for. Connections of changeling, of replication and of the server itself, a vacuum among them, are never ended.
type Kill struct {
	// Idle are those that sit idle in a transaction, for a second and more.
	Idle bool
	// OlderThan are those whose transaction is at least so old, whatever they do. Zero is none.
	OlderThan time.Duration
}

// ParseKill reads none, idle-in-transaction, or older-than= with a duration of a second or more.
func ParseKill(text string) (k Kill, err error) {
	after, aged := strings.CutPrefix(text, "older-than=")
	d, failed := time.ParseDuration(after)
	switch {
	case text == "none" || text == "":
	case text == "idle-in-transaction":
		k.Idle = true
	case aged && failed == nil && d >= time.Second:
		k.OlderThan = d
	default:
		err = usage("kill-blockers %q: expected none, idle-in-transaction, or older-than= with a duration of a second or more, such as older-than=30s", text)
	}
	return k, err
}

// may says whether a blocker may be ended.
func (k Kill) may(b cutover.Blocker) bool {
	return b.ID != 0 && (k.Idle && b.Idle || k.OlderThan > 0 && b.Age >= k.OlderThan)
}

// evict ends a blocker if that is allowed, and says whether it did. Every kill is told, and is in the change's history.
func (r *run) evict(ctx context.Context, b cutover.Blocker) (bool, error) {
	if !r.engine.config.Kill.may(b) {
		return false, nil
	}
	ended, err := r.engine.dialect.End(ctx, r, b, r.engine.config.Kill.Idle)
	if err != nil || !ended {
		if fault.Denied(err) {
			err = nil
			r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%s may not be ended by this role (PostgreSQL: GRANT pg_signal_backend; MySQL: GRANT CONNECTION_ADMIN)", b.Who)})
		}
		return false, err
	}
	text := fmt.Sprintf("ended %s, in a transaction for %s, which held %s up", b.Who, b.Age.Round(time.Second), r.table())
	r.engine.config.Events(event.Notice{Text: text})
	s := r.engine.store
	return true, s.Exec(ctx, s.DB, s.Text.Remark, r.id, text)
}

// End ends the session of a blocker that still is in the transaction that it was seen in.
func (postgresql) End(ctx context.Context, r *run, b cutover.Blocker, idle bool) (bool, error) {
	var ended bool
	err := r.pinned(ctx, func(q state.DB) error {
		return q.QueryRowContext(ctx, postgres.End(idle && r.engine.config.Kill.OlderThan == 0), b.ID, b.Mark).Scan(&ended)
	})
	if isNoRows(err) {
		return false, nil // its transaction is over
	}
	return ended, err
}

// End likewise; between the look and the KILL there is a moment in which another transaction may begin.
func (mysqld) End(ctx context.Context, r *run, b cutover.Blocker, idle bool) (bool, error) {
	var there bool
	if err := r.engine.db.QueryRowContext(ctx, mysql.Still, b.ID, b.Mark, idle && r.engine.config.Kill.OlderThan == 0).Scan(&there); err != nil || !there {
		return false, err
	}
	_, err := r.engine.db.ExecContext(ctx, fmt.Sprintf("KILL %d", b.ID))
	if fault.Undefined(err) { // it went by itself
		return false, nil
	}
	return err == nil, err
}

// Remark is something that a person should find in a change's history.
type Remark struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// remarks are the history of a change, as far as it is not of steps.
func (c *Change) remarks(ctx context.Context) ([]Remark, error) {
	out := []Remark{}
	err := c.engine.store.Remarks(ctx, c.record.ID, func(at time.Time, text string) { out = append(out, Remark{at, text}) })
	return out, err
}
