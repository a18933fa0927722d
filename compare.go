package changeling

import (
	"context"
	"encoding/json"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/verify"
	"github.com/changeling-db/changeling/plan"
)

// tables is a run seen as a pair under comparison.
type tables struct{ *run }

// comparing is a session whose statements find rows by their key, as the owner.
func (r tables) comparing() session {
	return session{Session: postgres.Session{Path: r.rows.Pair.Path, Async: true}, Role: r.rows.Pair.Owner}
}

// Compare is one statement, and so one snapshot over both tables and the key log.
func (r tables) Compare(ctx context.Context, c copier.Chunk) (source, shadow verify.Sum, err error) {
	query, args := r.rows.Compare(c.Range)
	err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
		return r.tx(ctx, r.comparing(), func(ctx context.Context, t *tx) error {
			return t.QueryRowContext(ctx, query, args...).Scan(&source.Rows, &source.Digest, &shadow.Rows, &shadow.Digest)
		})
	})
	return source, shadow, err
}

func (r tables) Relog(ctx context.Context, c copier.Chunk) (rows int64, keys []string, err error) {
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

func (r *run) relogged(ctx context.Context, t *tx, query string, args ...any) (checked, rows int64, keys []string, err error) {
	var text string
	if err := t.QueryRowContext(ctx, query, args...).Scan(&checked, &rows, &text); err != nil {
		return 0, 0, nil, err
	}
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		return 0, 0, nil, err
	}
	for i, k := range keys {
		keys[i] = r.person(k)
	}
	return checked, rows, keys, nil
}

func (r tables) Counts(ctx context.Context) (source, shadow int64, err error) {
	err = r.tx(ctx, r.comparing(), func(ctx context.Context, t *tx) error {
		return t.QueryRowContext(ctx, r.rows.CompareCounts()).Scan(&source, &shadow)
	})
	return source, shadow, err
}

func (r tables) Drain(ctx context.Context) error { return r.drain(ctx, true) }

// verifyWalk walks both tables by key ranges.
func (r *run) verifyWalk(ctx context.Context, s plan.Step) error {
	done, rows, err := r.engine.store.Chunks(ctx, r.record.ID, "verify")
	if err != nil {
		return err
	}
	cut := func(ctx context.Context, after copier.Key, n int64) (upto copier.Key, last bool, err error) {
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
	w := r.walker(s, cut, r.sizer(5000, 100, 500_000), rows, max(r.record.RowsDone, r.record.Plan.Rows))
	note := func(ctx context.Context, c copier.Chunk, rows int64, took time.Duration) error {
		err := r.tx(ctx, session{Session: postgres.Session{Async: true}}, func(ctx context.Context, t *tx) error { return r.note(ctx, t, "verify", c, rows, took) })
		if noted(err) || fault.Duplicate(err) {
			return nil
		}
		return err
	}
	return r.verifier.Run(ctx, w, done, note)
}
