package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/mysql"
)

// snapshot is a transaction on MySQL or MariaDB that may read from an old snapshot.
type snapshot struct {
	who string
	age time.Duration // rounded down to seconds by the server
}

// stale finds the transactions whose snapshot may be older than the last write to the shadow, on MySQL and MariaDB. Such a
// one, if it reads the table for the first time after the swap, would be shown the shadow as it was at its time: rows missing,
// deleted ones back, and no error. It is asked under the lock, after the last drain; whoever begins later reads right.
func (r *run) stale(ctx context.Context) ([]snapshot, error) {
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, mysql.OpenSnapshot()); err != nil {
		return nil, err
	}
	// The server gives everybody the same answer for a tenth of a second, so the first one may be too old.
	for n := 1; ; n++ {
		list, fresh, err := r.snapshots(ctx, conn)
		if err == nil && !fresh && n == 2 {
			err = &errOld{"somebody asks information_schema.innodb_trx so often that it does not tell which transactions are open now"}
		}
		if err != nil || fresh {
			_, endErr := conn.ExecContext(ctx, "ROLLBACK")
			return r.old(list), errors.Join(err, endErr)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(kept):
		}
	}
}

// snapshots asks once, and for the clock by which the ages are. fresh says that the answer is newer than the transaction of the connection.
func (r *run) snapshots(ctx context.Context, conn *sql.Conn) (list []snapshot, fresh bool, err error) {
	if err := r.watchServer(ctx, conn); err != nil {
		return nil, false, err
	}
	rows, err := conn.QueryContext(ctx, mysql.Snapshots())
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var own bool
		var s snapshot
		var seconds int64
		if err := rows.Scan(&own, &s.who, &seconds); err != nil {
			return nil, false, err
		}
		s.age = r.server.age(time.Duration(seconds)*time.Second, r.clock())
		if own {
			fresh = true
		} else {
			list = append(list, s)
		}
	}
	return list, fresh, rows.Err()
}

// errOld says that somebody could be shown an old state of the table. Another attempt may find them gone.
type errOld struct{ text string }

func (e *errOld) Error() string        { return e.text }
func (e *errOld) Is(target error) bool { return target == cutover.ErrBusy }

// current gives way while a transaction has a snapshot that is older than the shadow, unless that was asked not to count.
//
// A server where transactions begin all the time is never without one that began a moment ago. So after some attempts those
// do not count that began within a second: the shadow was in step by then, and what they could miss is what changed in the
// moments before they began. That is told. Older ones count always: the shadow may have been half empty when they began.
func (r *run) current(ctx context.Context, attempt int) error {
	old, err := r.stale(ctx)
	if err != nil || len(old) == 0 {
		return err
	}
	long := slices.DeleteFunc(slices.Clone(old), func(s snapshot) bool { return s.age <= time.Second })
	switch {
	case r.engine.config.Snapshots == SnapshotsIgnore:
	case len(long) > 0:
		if r.pair.InPlace {
			return &errOld{told(long) + ", and would read the new column as it was before its rows were filled"}
		}
		return &errOld{told(long) + ", and would read the new table as it was when they began, with rows missing"}
	case attempt <= strict:
		return &errOld{told(old) + ", and could miss what changed in the moments before they began"}
	}
	r.engine.config.Events(event.Notice{Text: told(old) + " while the tables are swapped: if they read the table afterwards, they see it as the new one was when they began"})
	return nil
}

// strict is how many attempts a transaction counts in that began a moment ago.
const strict = 3

func told(list []snapshot) string {
	var who []string
	for _, s := range list[:min(len(list), 3)] {
		who = append(who, fmt.Sprintf("%s, for %s", s.who, s.age))
	}
	return fmt.Sprintf("transactions at REPEATABLE READ are open (%d: %s)", len(list), strings.Join(who, "; "))
}

// holders are those snapshots of which a lock would be in vain, as blockers of a cutover. The answer may be a moment old; it is
// asked again under the lock.
func (r *run) holders(ctx context.Context) ([]cutover.Blocker, error) {
	return r.holding(ctx, "which began before the last rows came to the new table")
}

func (r *run) holding(ctx context.Context, why string) ([]cutover.Blocker, error) {
	if r.engine.config.Snapshots == SnapshotsIgnore {
		return nil, nil
	}
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, mysql.SystemTime()); err != nil {
		return nil, err
	}
	list, _, err := r.snapshots(ctx, conn)
	r.asked.Store(r.clock())
	var out []cutover.Blocker
	for _, s := range r.old(list) {
		out = append(out, cutover.Blocker{Who: s.who + ", at REPEATABLE READ, " + why, Age: s.age})
	}
	return out, err
}

// old are those that may have begun before the shadow was written to last.
func (r *run) old(list []snapshot) []snapshot {
	last := r.wrote.Load()
	if last == 0 {
		return list
	}
	quiet := r.since(last)
	return slices.DeleteFunc(list, func(s snapshot) bool { return s.age+time.Second <= quiet })
}

// settled waits until the server would not repeat what it told holders.
func (r *run) settled(ctx context.Context) error {
	wait := kept - r.since(r.asked.Load())
	if wait <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// kept is how long the server repeats its answer.
const kept = 105 * time.Millisecond
