package changeling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

// Where a run writes the key log from what it reads in the binary log, the log lags behind the table, and a row may differ in a
// snapshot only because its key is not in the log yet. Who may write into the log finds out by bringing it up to date (Confirm).
// Who only reads follows the rows that differ until the run has read beyond the moment at which they did.

const (
	firm    = 3                // looks in a row at which a row has to differ in the same way
	glances = 40               // looks at rows that move all the time
	silence = 30 * time.Second // a run that works notes more often how far it has read,
	absence = 3 * time.Second  // and one that lost its connection has another one by then
)

// sums are the digests of one row, empty where there is none.
type sums struct{ source, shadow string }

// lasting answers which rows of a range differ for good, and how many of those that differed at first are written to so often
// that nothing can be said of them.
func (r *run) lasting(ctx context.Context, c copier.Chunk) (keys []string, unsure int64, err error) {
	suspects, err := r.differing(ctx, c)
	if err != nil {
		return nil, 0, err
	}
	same := map[string]int{}
	for looks := 0; len(suspects) > 0 && looks < glances; looks++ {
		if err := r.overtaken(ctx); err != nil {
			return nil, 0, err
		}
		now, err := r.differing(ctx, c)
		if err != nil {
			return nil, 0, err
		}
		for key, was := range suspects {
			is, still := now[key]
			switch {
			case !still: // equal by now, or in the log, from where it is copied again
				delete(suspects, key)
			case is != was:
				suspects[key], same[key] = is, 0
			default:
				if same[key]++; same[key] == firm {
					keys = append(keys, r.person(key))
					delete(suspects, key)
				}
			}
		}
	}
	slices.Sort(keys)
	return keys, int64(len(suspects)), nil
}

// differing lists the rows of a range that differ now, and are not in the log.
func (r *run) differing(ctx context.Context, c copier.Chunk) (map[string]sums, error) {
	if err := r.intact(ctx, time.Second); err != nil {
		return nil, err
	}
	out := map[string]sums{}
	err := r.patiently(ctx, "chunk", func(ctx context.Context) error {
		clear(out)
		return r.tx(ctx, tables{r}.comparing(), func(ctx context.Context, t *tx) error {
			rows, err := t.QueryContext(ctx, r.engine.dialect.(mysqld).texts(r.pair).Differing(c.Range))
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var key string
				var s sums
				if err := rows.Scan(&key, &s.source, &s.shadow); err != nil {
					return err
				}
				out[key] = s
			}
			return rows.Err()
		})
	})
	return out, err
}

// overtaken waits until the run has written to the log what was in the binary log when it was called.
func (r *run) overtaken(ctx context.Context) error {
	now, err := capture.Current(ctx, r.engine.db)
	if err != nil {
		return err
	}
	flavor := capture.MySQL
	if r.engine.dialect.(mysqld).maria {
		flavor = capture.MariaDB
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	moved := time.Now()
	for before := ""; ; {
		var text string
		if err := r.engine.db.QueryRowContext(ctx, mysql.Position(r.pair)).Scan(&text); err != nil && !isNoRows(err) { // none while a copy begins again
			return err
		}
		var read capture.Position
		if text != "" {
			if err := json.Unmarshal([]byte(text), &read); err != nil {
				return err
			}
		}
		if reached, err := read.Reaches(flavor, now); err != nil || reached {
			return err
		}
		if text != before {
			before, moved = text, time.Now()
		}
		if err := r.reload(ctx); err != nil {
			return err
		}
		if still := time.Since(moved); still > silence || still > absence && (r.record.Owner == "" || !r.record.Alive) {
			return &fault.Problem{Kind: fault.Precondition, Err: errors.New("the binary log is not read"), Text: fmt.Sprintf(
				"rows of %s were written since change %s read the binary log last, and nobody reads it now: whether they are equal can be said only while somebody works on the change. "+
					"`changeling resume %s`, and verify meanwhile", r.table(), r.id, r.id)}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
