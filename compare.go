package changeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/verify"
	"github.com/changeling-db/changeling/plan"
)

// tables is a run seen as a pair under comparison.
type tables struct{ *run }

// comparing is a session whose statements find rows by their key, as the owner.
func (r tables) comparing() session {
	return session{Path: r.pair.Path, Async: true, Role: r.pair.Owner}
}

// Compare is one statement, and so one snapshot over both tables and the key log.
func (r tables) Compare(ctx context.Context, c copier.Chunk) (source, shadow verify.Sum, err error) {
	if err := r.intact(ctx, time.Second); err != nil {
		return source, shadow, err
	}
	query, args := r.rows.Compare(c.Range)
	s := r.comparing()
	s.ByOrder = r.rows.SideBySide()
	err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
		return r.tx(ctx, s, func(ctx context.Context, t *tx) error {
			var reset bool
			err := t.QueryRowContext(ctx, query, args...).Scan(&source.Rows, &source.Digest, &shadow.Rows, &shadow.Digest, &reset)
			if err == nil && reset {
				err = copier.ErrReset
			}
			return err
		})
	})
	return source, shadow, err
}

func (r tables) Relog(ctx context.Context, c copier.Chunk) (rows int64, keys []string, err error) {
	r.settling.Lock() // a row that is drained between the two halves would be blamed
	defer r.settling.Unlock()
	if err := r.intact(ctx, 0); err != nil {
		return 0, nil, err
	}
	query, args := r.rows.Relog(c.Range)
	err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
		return r.tx(ctx, r.comparing(), func(ctx context.Context, t *tx) error {
			_, rows, keys, err = r.relogged(ctx, t, query, args...)
			return err
		})
	})
	return rows, keys, err
}

func (r tables) Recheck(ctx context.Context) (checked, rows int64, keys []string, err error) {
	if r.record.Plan.Lossy { // that rows differ was allowed
		return 0, 0, nil, nil
	}
	s := r.comparing()
	s.ByKey = true
	err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
		return r.tx(ctx, s, func(ctx context.Context, t *tx) error {
			checked, rows, keys, err = r.relogged(ctx, t, r.rows.RelogChecked())
			return err
		})
	})
	return checked, rows, keys, err
}

// querier is a transaction, or a connection that holds locks of its own.
type querier interface {
	execer
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (r *run) relogged(ctx context.Context, t querier, query string, args ...any) (checked, rows int64, keys []string, err error) {
	var text string
	var reset bool
	if confirm := r.rows.Confirm(); confirm != "" {
		if _, err := t.ExecContext(ctx, query, args...); err != nil {
			return 0, 0, nil, err
		}
		if inTransaction, _ := t.(*tx); inTransaction != nil && r.follower != nil {
			if err := r.follower.catchUp(ctx); err != nil {
				return 0, 0, nil, err
			}
		}
		query, args = confirm, nil
	}
	if err := t.QueryRowContext(ctx, query, args...).Scan(&checked, &rows, &text, &reset); err != nil {
		return 0, 0, nil, err
	}
	if reset {
		return 0, 0, nil, copier.ErrReset
	}
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		return 0, 0, nil, err
	}
	keys = keys[:min(len(keys), 10)]
	for i, k := range keys {
		keys[i] = r.person(k)
	}
	return checked, rows, keys, nil
}

func (r tables) Counts(ctx context.Context) (source, shadow int64, err error) {
	err = r.tx(ctx, r.comparing(), func(ctx context.Context, t *tx) error {
		var reset bool
		err := t.QueryRowContext(ctx, r.rows.CompareCounts()).Scan(&source, &shadow, &reset)
		if err == nil && reset {
			err = copier.ErrReset
		}
		return err
	})
	return source, shadow, err
}

func (r tables) Drain(ctx context.Context) error { return r.drain(ctx, true) }

// keyRanges cuts both tables by key.
func (r *run) keyRanges() copier.Cut {
	return func(ctx context.Context, after copier.Key, n int64) (upto copier.Key, last bool, err error) {
		query, args := r.rows.Boundary(after, n)
		var text string
		err = r.tx(ctx, tables{r}.comparing(), func(ctx context.Context, t *tx) error { return t.QueryRowContext(ctx, query, args...).Scan(&text) })
		if isNoRows(err) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		upto, err = copier.ParseKey(text)
		return upto, false, err
	}
}

// walkVerify is the walk that compares.
const walkVerify = "verify"

// compared notes a range as compared.
func (r *run) compared(ctx context.Context, c copier.Chunk, rows int64, took time.Duration) error {
	err := r.tx(ctx, session{Async: true}, func(ctx context.Context, t *tx) error { return r.note(ctx, t, walkVerify, c, rows, took) })
	if noted(err) || fault.Duplicate(err) {
		return nil
	}
	return err
}

// verifyWalk walks both tables by key ranges.
func (r *run) verifyWalk(ctx context.Context, s plan.Step) error {
	if r.record.Plan.Lossy {
		return r.verifyLossy(ctx, s)
	}
	done, rows, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walkVerify)
	if err != nil {
		return err
	}
	total := max(r.record.RowsDone, r.record.Plan.Rows)
	w := r.walker(s, r.keyRanges(), r.readSizer(5000, 100, max(portion(total), 5000)), rows, total)
	return r.verifier.Run(ctx, w, done, r.compared)
}

// Verify compares a change's shadow with its source now, chunk by chunk under any load, and answers how many rows were
// compared. It reads only, needs no lease and may run beside the change. Rows that differ are an error of kind
// ErrMismatch; the change's own verification repairs them. It needs a shadow that has its key: from the drain to the cutover.
func (c *Change) Verify(ctx context.Context) (rows int64, err error) {
	c = c.own()
	if err := c.reload(ctx); err != nil {
		return 0, err
	}
	p := c.record.Plan
	if from, to := p.Find(plan.Drain), p.Find(plan.Cutover); from < 0 || c.record.Step <= from || c.record.Step > to || c.record.Over() {
		return 0, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(
			"change %s cannot be compared now: it can from its first drain to its cutover, and is at step %q, %s", c.record.ID, statusOf(c.record).Step, c.record.Status)}
	}
	r := newRun(c, nil)
	var differing []string
	w := r.walker(p.Steps[p.Find(plan.Verify)], r.keyRanges(), r.readSizer(5000, 100, 500_000), 0, max(c.record.RowsDone, p.Rows))
	w.Workers = 1
	err = w.Walk(ctx, nil, func(ctx context.Context, chunk copier.Chunk) (int64, error) {
		source, shadow, err := tables{r}.Compare(ctx, chunk)
		switch {
		case err != nil || source == shadow:
		case p.Pair.Binlog:
			keys, unsure, err := r.lasting(ctx, chunk)
			if err != nil {
				return 0, err
			}
			if unsure > 0 {
				r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%d of the rows after key %s are written to all the time, and were not compared", unsure, chunk.After)})
			}
			differing = append(differing, keys...)
			source.Rows -= unsure
		default:
			differing = append(differing, fmt.Sprintf("after %s up to %s: %d and %d rows", chunk.After, chunk.Upto, source.Rows, shadow.Rows))
		}
		rows += source.Rows
		return source.Rows, err
	})
	if err == nil && len(differing) > 0 {
		what := "of their ranges"
		if p.Pair.Binlog {
			what = "of their rows"
		}
		err = &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("source and shadow of change %s differ in %d %s (%s): nothing was swapped. Run the change again: its own verification repairs rows, or stops",
			c.record.ID, len(differing), what, strings.Join(differing[:min(len(differing), 10)], "; "))}
	}
	return rows, err
}
