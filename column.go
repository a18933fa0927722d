package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A change by a second column goes the way of one by a second table, with fewer steps: whoever writes a row writes both columns, so
// there is nothing to drain. What is different stands here.

// columnTexts are those that a change by a second column needs besides the ones that all have.
type columnTexts interface {
	texts
	Differing(c copier.Range) string
	Apart(c copier.Range) string
	Settle() string
	Failures() string
	Verdict() string
}

func (r *run) columns() columnTexts { return r.rows.(columnTexts) }

// fingerprintOf is that of the source without what the change itself has put there.
func (e *Engine) fingerprintOf(ctx context.Context, p *plan.Plan, name schema.Name, oid uint32) (string, error) {
	if !p.Pair.InPlace || !e.dialect.Transactional() {
		return e.fingerprint(ctx, name, oid)
	}
	return postgresql{}.fingerprint(ctx, e.db, oid, p.Pair)
}

// leftover is what a change keeps of the source after its cutover, for a person.
func leftover(p schema.Pair) string {
	if p.InPlace && len(p.Aside) == 0 {
		return "" // on MySQL and MariaDB nothing is kept
	}
	if p.InPlace {
		return p.Source.String() + "." + strings.Join(p.Aside, ", ")
	}
	return p.Old.String()
}

// inStep brings source and shadow in step, and fails where they cannot be.
func (r *run) inStep(ctx context.Context) error {
	for _, m := range r.kin {
		if err := m.inStep(ctx); err != nil {
			return r.ofKin(ctx, m, plan.Step{}, err)
		}
	}
	if r.pair.InPlace {
		_, err := r.settleColumns(ctx)
		return err
	}
	return r.verifier.Settle(ctx)
}

// settleColumns fills the rows again whose conversion failed, if somebody has mended them. It answers whether it wrote one.
func (r *run) settleColumns(ctx context.Context) (wrote bool, err error) {
	text := r.columns().Settle()
	if text == "" {
		return false, nil
	}
	var taken, filled int64
	err = r.patiently(ctx, "settle", func(ctx context.Context) error {
		return r.tx(ctx, session{ByKey: true, Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
			return t.QueryRowContext(ctx, text).Scan(&taken, &filled)
		})
	})
	if unconvertible(err) || err == nil && taken > 0 && (r.pair.Live || !r.engine.dialect.Transactional()) {
		return false, r.unfit(ctx, err)
	}
	return filled > 0, err
}

// unfit names the rows that users wrote and that cannot be converted.
func (r *run) unfit(ctx context.Context, err error) error {
	rows, askErr := r.engine.db.QueryContext(ctx, r.columns().Failures())
	if askErr != nil {
		return askErr
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var key, why string
		if err := rows.Scan(&key, &why); err != nil {
			return err
		}
		list = append(list, r.person(key)+": "+shorten(why, 200))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("rows were written that cannot be converted: %s. They are in the table as they were written. Mend them and run the same command again, or `changeling abort %s`",
		strings.Join(list, "; "), r.id)}
}

// verifyColumns compares both columns of every row, by ranges of blocks or of the key. What differs is filled again, told, and compared again.
func (r *run) verifyColumns(ctx context.Context, s plan.Step) error {
	if err := r.inStep(ctx); err != nil {
		return err
	}
	began, repaired := time.Now(), int64(0)
	cut, sizer := r.keyRanges(), copier.Sizer(r.readSizer(1000, r.fewestRows(), max(portion(r.record.Plan.Rows), 1000)))
	if text := r.rows.Blocks(); text != "" {
		var blocks int64
		if err := r.engine.db.QueryRowContext(ctx, text).Scan(&blocks); err != nil {
			return err
		}
		cut, sizer = copier.Blocks(blocks), r.sizer(256, 64, max(portion(blocks), 256), weight{})
	}
	walk := walkVerify
	if live := r.record.Plan.Find(plan.Live); live >= 0 && r.record.Step > live {
		walk = "contract"
	}
	err := r.walk(ctx, s, walk, cut, sizer, func(ctx context.Context, c copier.Chunk) (rows int64, err error) {
		rows, differing, err := r.compareColumns(ctx, walk, c)
		if err == nil && differing > 0 && walk == "contract" {
			return rows, r.unlike(differing)
		}
		if err == nil && differing > 0 {
			repaired += differing
			rows, err = r.refill(ctx, c, differing)
		}
		return rows, r.blame(ctx, c, err)
	})
	if err != nil {
		return r.explain(ctx, s, err)
	}
	chunks, rows, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, walk)
	if err != nil {
		return err
	}
	r.engine.config.Events(event.Verified{Rows: rows, Chunks: int64(len(chunks)), Repaired: repaired, Took: time.Since(began)})
	return nil
}

// compareColumns counts the rows of a range, and those that are not what they should be; if there are none, the range is noted.
func (r *run) compareColumns(ctx context.Context, walk string, c copier.Chunk) (rows, differing int64, err error) {
	began := time.Now()
	err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
		return r.tx(ctx, session{Async: true, Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
			if err := r.guard(ctx, t); err != nil {
				return err
			}
			question := r.columns().Differing(c.Range)
			if walk == "contract" {
				question = r.columns().Apart(c.Range)
			}
			if err := t.QueryRowContext(ctx, question).Scan(&rows, &differing); err != nil || differing > 0 {
				return err
			}
			return r.note(ctx, t, walk, c, rows, time.Since(began))
		})
	})
	if noted(err) {
		return 0, 0, nil
	}
	return rows, differing, err
}

// refill fills a range again that differs: somebody must have kept the trigger from a row.
func (r *run) refill(ctx context.Context, c copier.Chunk, differing int64) (rows int64, err error) {
	r.engine.config.Events(event.Differed{Rows: differing})
	if _, patchy := r.rows.(mysql.LiveRows); patchy {
		_, err = r.fillRange(ctx, c, false)
	} else {
		err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
				_, err := t.ExecContext(ctx, r.rows.Copy(c.Range))
				return err
			})
		})
	}
	if err != nil {
		return 0, err
	}
	rows, differing, err = r.compareColumns(ctx, walkVerify, c)
	if err == nil && differing > 0 {
		err = &fault.Problem{Kind: fault.Mismatch, Text: fmt.Sprintf("%d rows of %s differ from their second column after they were filled again: nothing was swapped. `changeling abort %s` takes the column away", differing, r.table(), r.id)}
	}
	return rows, err
}

// columnServer is a run by a second column seen by a cutover.
type columnServer struct {
	*server
}

// Ready returns when no snapshot is left that is older than the last row that was filled: it would see the row as it was before,
// with a second column that is empty, under the first one's name.
func (s *columnServer) Ready(ctx context.Context) error {
	wrote, err := s.settleColumns(ctx)
	if err != nil || s.engine.config.Snapshots == SnapshotsIgnore {
		return err
	}
	h := &s.handing
	if wrote || h.after == "" {
		h.before = nil
		if err := s.engine.db.QueryRowContext(ctx, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text").Scan(&h.after); err != nil {
			return err
		}
	}
	for began := time.Now(); ; {
		if err := h.poll(ctx); err != nil || len(h.before) == 0 {
			return err
		}
		who := slices.Sorted(maps.Values(h.before))
		why := "transactions that began earlier would read the new column as it was before it was filled: " + strings.Join(who[:min(len(who), 3)], "; ")
		if time.Since(began) > patienceForSnapshots {
			return &later{why}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *columnServer) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait, Strong: true, Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	a := &columnAttempt{&attempt{server: s.server, t: t}}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, ended(t.Tx))
	}
	return a, nil
}

// columnAttempt is an attempt that has nothing to drain.
type columnAttempt struct{ *attempt }

func (a *columnAttempt) prepare(ctx context.Context) error {
	if err := a.t.QueryRowContext(ctx, postgres.Marks(a.pair)).Scan(&a.marks); err != nil {
		return err
	}
	if _, err := a.t.ExecContext(ctx, postgres.Ours()); err != nil {
		return err
	}
	if a.pair.Live {
		return a.leaningIn(ctx, a.t)
	}
	now, err := postgres.Inspect(ctx, a.t, a.pair.Table)
	if err == nil && now.FingerprintWithout(a.pair) != a.record.Plan.Fingerprint {
		err = a.altered()
	}
	return err
}

func (a *columnAttempt) Check(ctx context.Context) error {
	var marks string
	var armed bool
	if err := a.t.QueryRowContext(ctx, a.columns().Verdict()).Scan(&marks, &armed, &a.pending); err != nil {
		return err
	}
	if !armed {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the trigger that fills the second column of %s was disabled or dropped by somebody, or another one comes after it: rows may be wrong there. Nothing was swapped; `changeling abort %s` and begin again", a.table(), a.id)}
	}
	if marks != a.marks {
		return cutover.ErrBusy
	}
	if a.pending > 0 {
		return &later{"a row was written at the last moment that cannot be converted"}
	}
	return nil
}

func (a *columnAttempt) Drain(context.Context) (int64, error) { return 0, nil }
