package changeling

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/throttle"
)

// copy moves the rows, by ranges of blocks or of the key.
func (r *run) copy(ctx context.Context, s plan.Step) error {
	if r.record.Heap == 0 {
		if err := r.beginCopy(ctx); err != nil {
			return err
		}
	}
	heaps := int64(max(len(r.pair.SourceParts), 1)) // a range is of all of them
	cut, sizer := copier.Blocks(r.record.Blocks), r.sizer(max(64/heaps, 1), max(fewestBlocks/heaps, 1), portion(r.record.Blocks), r.perBlock(r.record.Blocks))
	if r.rows.Blocks() == "" {
		cut, sizer = r.keyRanges(), r.sizer(1000, r.fewestRows(), max(portion(r.record.Plan.Rows), 1000), r.perRow())
	}
	err := r.walk(ctx, s, "copy", cut, sizer, func(ctx context.Context, c copier.Chunk) (int64, error) {
		if _, patchy := r.rows.(mysql.LiveRows); patchy {
			rows, err := r.fillRange(ctx, c, true)
			return rows, r.blame(ctx, c, err)
		}
		var rows int64
		began := time.Now()
		err := r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Async: true, Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
				if err := r.guard(ctx, t); err != nil {
					return err
				}
				done, err := t.ExecContext(ctx, r.rows.Copy(c.Range))
				if err != nil {
					return err
				}
				if rows, err = done.RowsAffected(); err != nil {
					return err
				}
				return r.note(ctx, t, "copy", c, rows, time.Since(began))
			})
		})
		if noted(err) {
			return 0, nil
		}
		r.spend(rows)
		return rows, r.blame(ctx, c, err)
	})
	return r.explain(ctx, s, err)
}

// noted says that a chunk was noted as done by a try whose answer was lost.
func noted(err error) bool {
	return fault.Duplicate(err) && strings.Contains(err.Error(), "chunk_once")
}

func (r *run) note(ctx context.Context, t *tx, walk string, c copier.Chunk, rows int64, took time.Duration) error {
	if err := t.ourselves(ctx); err != nil {
		return err
	}
	return r.engine.store.Note(ctx, t, r.record.ID, walk, c, rows, took)
}

// guard holds off rewriters for the rest of the transaction, and finds out whether one came before.
func (r *run) guard(ctx context.Context, t *tx) error {
	if _, err := t.ExecContext(ctx, r.rows.Guard()); err != nil {
		return err
	}
	if r.rows.Truncated() != "" {
		if err := r.intact(ctx, time.Second); err != nil {
			return err
		}
	} else {
		var heap int64
		if err := t.QueryRowContext(ctx, r.rows.Heap()).Scan(&heap); err != nil {
			return err
		}
		if heap != r.record.Heap {
			return copier.ErrReset
		}
	}
	if r.follower != nil {
		return r.follower.failed()
	}
	return nil
}

// intact asks whether the source was truncated, where nothing else tells and nobody asked within the last while.
func (r *run) intact(ctx context.Context, while time.Duration) error {
	question := r.rows.Truncated()
	if question == "" || r.since(r.looked.Load()) < while {
		return nil
	}
	var truncated bool
	if err := r.engine.db.QueryRowContext(ctx, question).Scan(&truncated); err != nil {
		return err
	}
	if truncated {
		return copier.ErrReset
	}
	r.looked.Store(r.clock())
	return nil
}

// beginCopy fixes what is to be copied. The capture is committed, so whatever comes later is in the log (invariant I1).
func (r *run) beginCopy(ctx context.Context) error {
	s := r.engine.store
	err := r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			if _, err := t.ExecContext(ctx, r.rows.Guard()); err != nil {
				return err
			}
			if live := r.rows.Live(); live != "" {
				if _, err := t.ExecContext(ctx, live); err != nil {
					return err
				}
			}
			var heap, blocks int64
			if err := t.QueryRowContext(ctx, r.rows.Heap()).Scan(&heap); err != nil {
				return err
			}
			if q := r.rows.Blocks(); q != "" {
				if err := t.QueryRowContext(ctx, q).Scan(&blocks); err != nil {
					return err
				}
			}
			return s.Exec(ctx, t, s.Text.SetHeap, r.record.ID, heap, blocks)
		})
	})
	if err != nil {
		return err
	}
	return r.reload(ctx)
}

// giveBack takes the shadow and the capture away when the disk is full, so that the users can go on to write: otherwise they
// would be worse off than without the change. It begins anew when it is run again. Emptying the shadow is not enough: also an
// empty table needs room for its files. A limit of the server's on its own files (53400) is not the disk. At the cutover nothing is taken
// away: the swap may have happened, with nobody left to say so.
func (r *run) giveBack(ctx context.Context, err error) error {
	problem, ok := errors.AsType[*fault.Problem](err)
	p := r.record.Plan
	if !ok || !fault.Full(err) || fault.Code(err) == "53400" || p.Route != plan.ShadowTable || p.Undoes != nil || r.record.Step >= p.Find(plan.Cutover) {
		return err
	}
	told := *problem
	if failed := r.rewind(ctx); failed != nil {
		told.Text += fmt.Sprintf(". The shadow keeps its room, because it could not be dropped (%s): try `changeling abort %s`", fault.Message(failed), r.record.ID)
		return &told
	}
	told.Text += ". The shadow was dropped, so that its room is given back; with more room the change begins anew"
	return &told
}

// rewind takes everything away that a change has made, and puts its counter to the first step.
func (r *run) rewind(ctx context.Context) error {
	if err := r.dropShadow(ctx); err != nil {
		return err
	}
	s := r.engine.store
	return r.patiently(ctx, "rewind", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			if err := s.Exec(ctx, t, s.Text.Forget, r.record.ID); err != nil {
				return err
			}
			if err := s.Exec(ctx, t, s.Text.SetHeap, r.record.ID, 0, 0); err != nil {
				return err
			}
			return s.Advance(ctx, t, r.record.ID, r.record.Step, 0)
		})
	})
}

// restart begins the copy again after somebody rewrote or truncated the source: the shadow is emptied and made bare, and
// the counter goes back. Keys stay in the log.
func (r *run) restart(ctx context.Context) error {
	if r.record.Plan.Undoes != nil {
		return r.backRounds(ctx, true)
	}
	if live := r.record.Plan.Find(plan.Live); live >= 0 && r.record.Step > live {
		r.engine.config.Events(event.Restarted{Reason: "somebody truncated or rewrote " + r.table().String() + "; the comparison begins again"})
		return r.compareFrom(ctx, live+1)
	}
	copyStep := r.record.Plan.Find(plan.Copy)
	again := plan.Step{SQL: append(r.rows.Empty(), r.record.Plan.Steps[copyStep].SQL...)}
	if !r.engine.dialect.Transactional() {
		copyStep = r.record.Plan.Find(plan.Capture) // it may be what was lost
	}
	s := r.engine.store
	reason := "somebody truncated or rewrote " + r.table().String() + " (TRUNCATE, or a rebuild such as VACUUM FULL or OPTIMIZE), or a crash emptied an unlogged table"
	if r.follower != nil && unfollowed(r.follower.failed()) {
		reason = "what was written since cannot be read in the binary log: " + strings.TrimPrefix(r.follower.failed().Error(), copier.ErrReset.Error()+": ")
	}
	r.engine.config.Events(event.Restarted{Reason: reason + "; the copy begins again"})
	return r.patiently(ctx, "restart", func(ctx context.Context) error {
		return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
			if err := t.ddl(ctx, again); err != nil {
				return err
			}
			if err := s.Exec(ctx, t, s.Text.Forget, r.record.ID); err != nil {
				return err
			}
			if err := s.Exec(ctx, t, s.Text.SetHeap, r.record.ID, 0, 0); err != nil {
				return err
			}
			return s.Advance(ctx, t, r.record.ID, r.record.Step, copyStep)
		})
	})
}

// heal takes what changed during the copy out of the bare shadow (invariant I5). The log stays, for the drain.
func (r *run) heal(ctx context.Context, s plan.Step) error {
	if r.follower != nil { // what the chunks have seen is logged
		if err := r.follower.catchUp(ctx); err != nil {
			return err
		}
	}
	var pending, blocks int64
	if err := r.engine.db.QueryRowContext(ctx, r.rows.Pending()).Scan(&pending); err != nil {
		return err
	}
	r.pending.Store(pending)
	if pending == 0 {
		r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: s.Name})
		return r.next(ctx)
	}
	if err := r.engine.db.QueryRowContext(ctx, r.rows.ShadowBlocks()).Scan(&blocks); err != nil {
		return err
	}
	return r.explain(ctx, s, r.healWalk(ctx, s, blocks))
}

func (r *run) healWalk(ctx context.Context, s plan.Step, blocks int64) error {
	// Each chunk reads the whole log, which may have grown for as long as the copy took: so there are not many, however long
	// one takes.
	least := max(blocks/64, 1024)
	return r.walk(ctx, s, "heal", copier.Blocks(blocks), r.sizer(max(least, 4096), least, max(portion(blocks), 4096), weight{}), func(ctx context.Context, c copier.Chunk) (rows int64, err error) {
		began := time.Now()
		err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Async: true, Path: r.pair.Path, Role: r.pair.Owner}, func(ctx context.Context, t *tx) error {
				done, err := t.ExecContext(ctx, r.rows.Heal(c.Range))
				if err != nil {
					return err
				}
				if rows, err = done.RowsAffected(); err != nil {
					return err
				}
				return r.note(ctx, t, "heal", c, rows, time.Since(began))
			})
		})
		if noted(err) {
			return 0, nil
		}
		return rows, err
	})
}

// fewestBlocks and fewestRows are the smallest chunks: what is less takes no less time where each commit waits long, and a copy
// on a busy server would come to a halt.
const fewestBlocks = 8

func (r *run) fewestRows() int64 {
	p := r.record.Plan
	return min(max(fewestBlocks*8192*4/max(p.Bytes/max(p.Rows, 1), 1), 1), 256)
}

// portion is the largest chunk of a whole, so that no worker is left with a large last one while the other has nothing.
func portion(total int64) int64 { return max(total/16, 64) }

// sizer makes chunks that take as long as a chunk of the copy should.
func (r *run) sizer(initial, least, most int64, w weight) copier.Sizer {
	return r.sized(r.chunkTime(), initial, least, most, w)
}

// readSizer makes chunks that only read: no commit waits for them, so they may be longer.
func (r *run) readSizer(initial, least, most int64) copier.Sizer {
	return r.sized(max(r.chunkTime(), 100*time.Millisecond), initial, least, most, r.perRow())
}

func (r *run) sized(target time.Duration, initial, least, most int64, w weight) copier.Sizer {
	return capped{&throttle.Sizer{Target: target, Initial: initial, Min: least, Max: most}, r, w}
}

// chunkTime is what a chunk should take.
func (r *run) chunkTime() time.Duration {
	if r.engine.config.Fast {
		return max(r.engine.config.ChunkTime, r.engine.dialect.FastChunk())
	}
	return r.engine.config.ChunkTime
}

// walk goes through what a walk has not done yet, and moves the counter.
func (r *run) walk(ctx context.Context, s plan.Step, name string, cut copier.Cut, sizer copier.Sizer, work copier.Work) error {
	for {
		done, rows, err := r.engine.store.Chunks(ctx, r.engine.db, r.record.ID, name)
		if err != nil {
			return err
		}
		if err := r.walker(s, cut, sizer, rows, r.record.Plan.Rows).Walk(ctx, done, work); err != nil {
			return err
		}
		if ok, err := r.walked(ctx, name); ok || err != nil {
			return err
		}
	}
}

// walked moves the counter behind a walk, or answers false. The chunks were committed without waiting for the log on disk,
// so a crash of the server may have taken the last ones back, and a run that rested meanwhile got new connections and no
// error. The commit of this transaction makes those safe that it sees.
func (r *run) walked(ctx context.Context, name string) (ok bool, err error) {
	err = r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
		done, _, err := r.engine.store.Chunks(ctx, t, r.record.ID, name)
		if err != nil || !copier.Complete(done) {
			return err
		}
		ok = true
		return r.advance(ctx, t, 1)
	})
	return ok, err
}

// walker is a walk with two workers, as far as the gate lets them, that tells how far it is in rows.
func (r *run) walker(s plan.Step, cut copier.Cut, sizer copier.Sizer, done, total int64) *copier.Walker {
	r.rowsDone.Store(done)
	sink := r.engine.config.Events
	sink(event.StepStarted{Step: string(s.Kind), Name: s.Name, Total: total, Unit: "rows"})
	var told time.Time
	return &copier.Walker{Cut: cut, Sizer: sizer, Gate: r.gate, Workers: 2, Done: func(_ copier.Chunk, rows int64, took time.Duration) {
		sum := r.rowsDone.Add(rows)
		if time.Since(told) >= 100*time.Millisecond {
			told = time.Now()
			held, cause := r.gate.Held()
			sink(event.Progress{Step: string(s.Kind), Done: sum, Total: max(total, sum), Chunk: rows, Took: took, Pending: r.pending.Load(), Throttled: held, Cause: cause})
		}
	}}
}
