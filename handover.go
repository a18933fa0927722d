package changeling

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
)

// Snapshots says what becomes of transactions that hold a snapshot of before the swap, at REPEATABLE READ or SERIALIZABLE, when
// they come to the table after it.
type Snapshots string

// With SnapshotsWait, the default, and SnapshotsInsist they read exactly what they would have read: for some seconds before the
// swap the users' own transactions write both tables, and the swap waits until older snapshots have ended. If that takes
// more than a minute, SnapshotsWait says so and swaps, SnapshotsInsist gives up in the end. SnapshotsIgnore swaps at once.
// Snapshots that were not waited for may miss rows, as they miss all of them after a native ALTER TABLE that rewrites.
//
// On MySQL and MariaDB nothing is written twice: the swap comes when no snapshot is open that is older than the last row
// that was copied. SnapshotsWait and SnapshotsInsist wait for that until the attempts are used up.
const (
	SnapshotsWait   Snapshots = ""
	SnapshotsInsist Snapshots = "insist"
	SnapshotsIgnore Snapshots = "ignore"
)

// handing is the state of a hand-over; see package postgres.
type handing struct {
	run    *run
	began  time.Time         // when it was tried first
	over   bool              // it took too long, and the swap comes without it
	on     bool              // the trigger writes both tables
	after  string            // the first clean drain after the last dirty one; empty: there is none
	before map[string]string // who may hold a snapshot as old as that, and his description
}

// How long one attempt waits for old snapshots, and all of them, if they are not to be insisted on.
const (
	patienceForSnapshots = 10 * time.Second
	giveUpSnapshots      = time.Minute
)

// ready returns when every snapshot that is left sees the same in both tables. An error that is ErrBusy says who does not end.
func (h *handing) ready(ctx context.Context) error {
	if h.run.engine.config.Snapshots == SnapshotsIgnore || !h.run.pair.Mirrored || h.run.record.Plan.Lossy || h.over {
		return nil
	}
	if h.began.IsZero() {
		h.began = time.Now()
	}
	if err := h.write(ctx, postgres.DualWrite(h.run.pair)); err != nil {
		return err
	}
	h.on, h.run.rows = true, postgres.Rows{Pair: h.run.pair, Sparing: true}
	var why string
	for began := time.Now(); time.Since(began) < patienceForSnapshots; {
		clean, err := h.drain(ctx)
		if err != nil {
			return err
		}
		if !clean {
			why = "rows are written faster than both tables come in step"
			if err := h.run.verifier.Settle(ctx); err != nil {
				return err
			}
			continue
		}
		if err := h.poll(ctx); err != nil {
			return err
		}
		if len(h.before) == 0 {
			return nil
		}
		who := slices.Sorted(maps.Values(h.before))
		why = "transactions that began earlier may still read the table as it was: " + strings.Join(who[:min(len(who), 3)], "; ")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if time.Since(h.began) >= giveUpSnapshots && h.run.engine.config.Snapshots == SnapshotsWait {
		h.run.engine.config.Events(event.Notice{Text: "the swap does not wait any longer: " + why + ". Such a transaction may miss rows if it reads the table after the swap"})
		h.over = true
		h.end(ctx)
		return nil
	}
	return &later{why}
}

// later is a swap that has to be tried again.
type later struct{ why string }

func (l *later) Error() string        { return l.why }
func (l *later) Is(target error) bool { return target == cutover.ErrBusy }

// write puts another function in the trigger's place. It takes no lock on the table.
func (h *handing) write(ctx context.Context, function string) error {
	r := h.run
	return r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.tx(ctx, session{Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
			_, err := t.ExecContext(ctx, function)
			return err
		})
	})
}

// end lets the trigger log keys only, where there was no swap. The users should not pay for nothing.
func (h *handing) end(ctx context.Context) {
	if !h.on {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if h.write(ctx, postgres.LogOnly(h.run.pair)) == nil { // if not, the next run or an abort does
		h.on, h.after, h.run.rows = false, "", postgres.Rows{Pair: h.run.pair}
	}
}

// drain is one that compares and writes nothing. It answers whether it was clean.
func (h *handing) drain(ctx context.Context) (clean bool, err error) {
	r := h.run
	err = r.patiently(ctx, "drain", func(ctx context.Context) error {
		t, err := r.begin(ctx, session{ByKey: true, Path: r.pair.Path, Role: r.pair.Owner, Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		clean, err = h.compare(ctx, t)
		if err != nil || !clean {
			return errors.Join(err, ended(t.Tx)) // the keys stay in the log, for a drain that writes
		}
		return t.Commit()
	})
	return clean, err
}

// compare is the drain in the transaction at hand, which has to be rolled back if it was not clean.
func (h *handing) compare(ctx context.Context, t *tx) (clean bool, err error) {
	var taken, resets, alone, differing int64
	var number string
	if err := t.QueryRowContext(ctx, postgres.Rows{Pair: h.run.pair}.CompareDrain()).Scan(&taken, &resets, &alone, &differing, &number); err != nil {
		return false, err
	}
	if err := h.run.ofParts(ctx, t); err != nil { // from the comparison on, none can go that had a row in it
		return false, err
	}
	if resets > 0 {
		return false, copier.ErrReset
	}
	if alone > 0 || differing > 0 {
		h.after, h.before = "", nil
		return false, nil
	}
	if h.after == "" {
		h.after, h.before = number, nil
	}
	return true, nil
}

// poll asks who still has an old snapshot. Nobody can get one later, so those of the first time are all.
func (h *handing) poll(ctx context.Context) error {
	now := map[string]string{}
	err := h.run.pinned(ctx, func(q state.DB) error {
		rows, err := q.QueryContext(ctx, postgres.Snapshots, h.after)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, who string
			if err := rows.Scan(&id, &who); err != nil {
				return err
			}
			if _, known := h.before[id]; known || h.before == nil {
				now[id] = who
			}
		}
		return rows.Err()
	})
	if err == nil {
		h.before = now
	}
	return err
}

// unguard takes the trigger off the new table that keeps SERIALIZABLE writers of before the swap from it, when there are none
// any more. It may run twice.
func (r *run) unguard(ctx context.Context) error {
	var stands bool
	err := r.pinned(ctx, func(q state.DB) error { return q.QueryRowContext(ctx, postgres.Guarded(r.pair)).Scan(&stands) })
	if err != nil || !stands {
		return err
	}
	h := &handing{run: r}
	if err := r.engine.db.QueryRowContext(ctx, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text").Scan(&h.after); err != nil {
		return err
	}
	for told := false; ; {
		if err := h.poll(ctx); err != nil {
			return err
		}
		if len(h.before) == 0 {
			break
		}
		if !told {
			told = true
			r.engine.config.Events(event.Notice{Text: "a trigger on the new table turns writers at SERIALIZABLE away that began before the swap; it goes when they have ended"})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	err = r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.tx(ctx, session{Strong: true, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
			_, err := t.ExecContext(ctx, postgres.Unguard(r.pair))
			return err
		})
	})
	if fault.Undefined(err) { // one went with its table: look again
		return r.unguard(ctx)
	}
	return err
}
