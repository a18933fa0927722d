package changeling

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// bounded ends a statement that waits too long for a lock. The server's own bound counts in seconds.
func (r *run) bounded(ctx context.Context, conn *sql.Conn, wait time.Duration, text string) error {
	return r.boundedAfter(ctx, conn, wait, text, "")
}

// boundedAfter is bounded with a statement that has to be run before the other one is ended, or it is not.
func (r *run) boundedAfter(ctx context.Context, conn *sql.Conn, wait time.Duration, text, before string) error {
	if d, ok := r.engine.dialect.(mysqld); ok && d.maria && mysql.WritesTriggers(text) {
		wait = 0 // the server's own bound, see internal/mysql/kill.go
	}
	if wait == 0 {
		_, err := conn.ExecContext(ctx, text)
		return err
	}
	var id int64
	if err := conn.QueryRowContext(ctx, `SELECT CONNECTION_ID()`).Scan(&id); err != nil {
		return err
	}
	over, killed := make(chan struct{}), make(chan bool, 1)
	go func() { killed <- r.overdue(ctx, id, wait, before, over) }()
	_, err := conn.ExecContext(ctx, text)
	close(over)
	if !<-killed { // or it might hit the next statement
		return err
	}
	if fault.Code(err) == "57014" {
		return errLate
	}
	_, _ = conn.ExecContext(ctx, "DO 0") // takes the kill, if it came when the statement was over
	return err
}

// tedious is how long a statement may take beyond its bound without waiting for anybody. A slow disk takes longer for DDL than a
// lock is waited for, and to end what has its lock by now clears nobody's way: it would be the same the next time.
const tedious = 10 * time.Second

// overdue ends the statement of a connection that waits for longer than it may, unless it is over, and says whether it was sent the kill.
func (r *run) overdue(ctx context.Context, id int64, wait time.Duration, before string, over <-chan struct{}) (killed bool) {
	for deadline, pause := time.Now().Add(wait+tedious), wait; ; pause = max(wait/4, 5*time.Millisecond) {
		select {
		case <-over:
			return false
		case <-time.After(pause):
		}
		var waits bool
		err := r.engine.db.QueryRowContext(ctx, mysql.Waiting(id)).Scan(&waits)
		select {
		case <-over:
			return false
		default:
		}
		if err == nil && !waits && time.Now().Before(deadline) {
			continue
		}
		if before != "" {
			if _, err := r.engine.db.ExecContext(ctx, before); err != nil {
				return false
			}
		}
		_, err = r.engine.db.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", id))
		return err == nil
	}
}

// errLate is a lock that was not granted in time.
var errLate = &late{}

type late struct{}

func (*late) Error() string    { return "a lock was not granted in time" }
func (*late) SQLState() string { return "55P03" }
