package changeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
	"github.com/changeling-db/changeling/throttle"
)

func (r *run) table() schema.Name { return r.record.Plan.Table }

// exec runs statements and moves the counter in one transaction: it happened, or it did not.
func (r *run) exec(ctx context.Context, s plan.Step) error {
	if r.resumed && len(s.Ask) > 0 {
		// Whoever mended a row in the source expects it to count.
		if err := r.drain(ctx, true); err != nil {
			return r.explain(ctx, s, err)
		}
	}
	var settings map[string]string // the user's, for his own statement
	if s.Path == "" {
		settings = postgres.Pinned()
	}
	err := r.patiently(ctx, "lock", func(ctx context.Context) error {
		return r.tx(ctx, session{Session: postgres.Session{Path: s.Path, Settings: settings, LockWait: s.LockWait, Strong: true}, Role: s.Role}, func(ctx context.Context, t *tx) error {
			if err := t.all(ctx, s.SQL); err != nil {
				return err
			}
			if _, err := t.ExecContext(ctx, postgres.Back); err != nil { // the statements may have taken a role themselves
				return err
			}
			t.role = ""
			return r.advance(ctx, t, 1)
		})
	})
	if fault.LockTimeout(err) {
		return &fault.Problem{Kind: fault.NoCutover, Err: err, Text: fmt.Sprintf("step %q did not get its lock (%s) in all its attempts: somebody holds the table for long. "+
			"Nothing is lost; see pg_locks, and run the change again", s.Name, s.Lock)}
	}
	return r.explain(ctx, s, err)
}

// explain turns an error of a step into one for a person, naming the rows if the data are the cause.
func (r *run) explain(ctx context.Context, s plan.Step, err error) error {
	if err == nil || fault.Lost(err) || fault.Transient(err) || ctx.Err() != nil || fault.KindOf(err) != fault.Unexpected {
		return err
	}
	text := fmt.Sprintf("step %q: %s", s.Name, fault.Message(err))
	if d := fault.Detail(err); d != "" {
		text += " (" + shorten(d, 200) + ")"
	}
	advice := ". The source is untouched. Mend the cause and run the same command again, or `changeling abort " + r.record.ID + "`"
	switch {
	case fault.Data(err), fault.Duplicate(err), fault.Code(err) == "23503", fault.Code(err) == "P0001":
		for _, q := range s.Ask {
			keys, askErr := r.ask(ctx, q)
			if askErr == nil && len(keys) > 0 {
				text += "; rows with " + strings.Join(keys, ", ")
			}
		}
		return &fault.Problem{Kind: fault.Refusal, Err: err, Text: text + advice}
	case fault.Denied(err), fault.Full(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: text + advice}
	case fault.Undefined(err):
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: text + ": somebody else changed the table or dropped what the change made" + advice}
	}
	return &fault.Problem{Kind: fault.Unexpected, Err: err, Text: text + advice}
}

// ask runs a query that answers keys as JSON arrays, and writes them for a person.
func (r *run) ask(ctx context.Context, query string) ([]string, error) {
	rows, err := r.engine.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		out = append(out, r.person(key))
	}
	return out, rows.Err()
}

// person writes a key as a person would: id 4711.
func (r *run) person(key string) string {
	values, err := copier.ParseKey(key)
	if err != nil || len(values) != len(r.rows.Pair.Key) {
		return key
	}
	var parts []string
	for i, k := range r.rows.Pair.Key {
		parts = append(parts, k.Source+" "+shorten(values[i], 60))
	}
	return strings.Join(parts, ", ")
}

func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

// loose runs statements that the server refuses in a transaction. Who wants it fast does not wait for a vacuum before the
// verification: both only read and mark.
func (r *run) loose(ctx context.Context, s plan.Step) error {
	at := r.record.Step
	if next := at + 1; !r.engine.config.Fast || r.record.Plan.Steps[next].Kind != plan.Verify {
		if err := r.maintain(ctx, s); err != nil {
			return err
		}
		return r.next(ctx)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.maintain(groupCtx, s) })
	group.Go(func() error {
		began, verify := time.Now(), r.record.Plan.Steps[at+1]
		err := r.compare(groupCtx, verify)
		if err == nil {
			r.engine.config.Events(event.StepEnded{Step: string(verify.Kind), Name: verify.Name, Took: time.Since(began), Done: r.rowsDone.Load()})
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.advance(ctx, t, 2) })
}

// maintain runs a step's statements on a connection of their own. Each may run twice.
func (r *run) maintain(ctx context.Context, s plan.Step) error {
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, statement := range s.SQL {
		// A bound that the role or the database has for its users is not meant for maintenance.
		for _, text := range []string{"SET statement_timeout = 0", statement, "RESET statement_timeout"} {
			if _, err := conn.ExecContext(ctx, text); err != nil {
				return r.explain(ctx, s, err)
			}
		}
	}
	return nil
}

// copy moves the rows, block range by block range.
func (r *run) copy(ctx context.Context, s plan.Step) error {
	if r.record.Heap == 0 {
		if err := r.beginCopy(ctx); err != nil {
			return err
		}
	}
	err := r.walk(ctx, s, "copy", copier.Blocks(r.record.Blocks), r.sizer(64, 1, portion(r.record.Blocks)), func(ctx context.Context, c copier.Chunk) (int64, error) {
		var rows int64
		began := time.Now()
		err := r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Session: postgres.Session{Async: true, Path: r.rows.Pair.Path}, Role: r.rows.Pair.Owner}, func(ctx context.Context, t *tx) error {
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
		return rows, r.blame(ctx, c, err)
	})
	if err != nil {
		return r.explain(ctx, s, err)
	}
	return r.next(ctx)
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
	var heap int64
	if err := t.QueryRowContext(ctx, r.rows.Heap()).Scan(&heap); err != nil {
		return err
	}
	if heap != r.record.Heap {
		return copier.ErrReset
	}
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
			var heap, blocks int64
			if err := t.QueryRowContext(ctx, r.rows.Heap()).Scan(&heap); err != nil {
				return err
			}
			if err := t.QueryRowContext(ctx, r.rows.Blocks()).Scan(&blocks); err != nil {
				return err
			}
			return s.Exec(ctx, t, s.Text.SetHeap, r.record.ID, heap, blocks)
		})
	})
	if err != nil {
		return err
	}
	return r.reload(ctx)
}

// restart begins the copy again after somebody rewrote or truncated the source: the shadow is emptied and made bare, and
// the counter goes back. Keys stay in the log.
func (r *run) restart(ctx context.Context) error {
	copyStep := r.record.Plan.Find(plan.Copy)
	s := r.engine.store
	r.engine.config.Events(event.Restarted{Reason: "somebody truncated or rewrote " + r.table().String() + " (TRUNCATE, VACUUM FULL, CLUSTER); the copy begins again"})
	return r.patiently(ctx, "restart", func(ctx context.Context) error {
		return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error {
			if err := t.all(ctx, append(r.rows.Empty(), r.record.Plan.Steps[copyStep].SQL...)); err != nil {
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

// blame finds the row that a conversion fails on: the range is halved until one block is left, then its rows are tried.
func (r *run) blame(ctx context.Context, c copier.Chunk, err error) error {
	if err == nil || !unconvertible(err) {
		return err
	}
	block, findErr := r.badBlock(ctx, c.Range)
	if findErr != nil {
		return findErr
	}
	return r.accuse(ctx, err, r.rows.Places(block))
}

// unconvertible says that a value did not survive its conversion.
func unconvertible(err error) bool { return fault.Data(err) || fault.Code(err) == "P0001" }

// accuse tries the rows of a query one by one and names the first that cannot be copied.
func (r *run) accuse(ctx context.Context, err error, places string) error {
	guilty, findErr := r.guilty(ctx, places)
	if findErr != nil {
		return findErr
	}
	if guilty == "" {
		return err
	}
	return &fault.Problem{Kind: fault.Refusal, Err: err, Text: fmt.Sprintf("a row cannot be converted: %s: %s. The source is untouched. Mend the row and run the same command again, or `changeling abort %s`",
		guilty, fault.Message(err), r.record.ID)}
}

// fails runs a statement as a copy would, and takes it back.
func (r *run) fails(ctx context.Context, statement string) (bool, error) {
	t, err := r.begin(ctx, session{Session: postgres.Session{Path: r.rows.Pair.Path, Async: true}, Role: r.rows.Pair.Owner})
	if err != nil {
		return false, err
	}
	_, err = t.ExecContext(ctx, statement)
	if endErr := ended(t.Tx); endErr != nil {
		return false, endErr
	}
	switch {
	case unconvertible(err):
		return true, nil
	case fault.Duplicate(err): // the row is there already; it was converted
		return false, nil
	}
	return false, err
}

// badBlock halves a range while a half of it fails.
func (r *run) badBlock(ctx context.Context, g copier.Range) (copier.Range, error) {
	for {
		left, right, ok := copier.HalveBlocks(g)
		if !ok {
			return g, nil
		}
		bad, err := r.fails(ctx, r.rows.Copy(left))
		if err != nil {
			return g, err
		}
		if g = right; bad {
			g = left
		}
	}
}

// guilty tries the rows that a query names, one by one, and answers the first that fails for a person.
func (r *run) guilty(ctx context.Context, query string) (string, error) {
	rows, err := r.engine.db.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	type place struct{ tid, key, values string }
	var places []place
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.tid, &p.key, &p.values); err != nil {
			return "", err
		}
		places = append(places, p)
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	for _, p := range places {
		bad, err := r.fails(ctx, r.rows.CopyOne(p.tid))
		if err != nil {
			return "", err
		}
		if bad {
			return r.person(p.key) + " with " + values(p.values), nil
		}
	}
	return "", nil
}

// values writes a JSON object of column values for a person.
func values(text string) string {
	var m map[string]*string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return shorten(text, 200)
	}
	var out []string
	for name, v := range m {
		if v == nil {
			out = append(out, name+" NULL")
		} else {
			out = append(out, fmt.Sprintf("%s %q", name, shorten(*v, 40)))
		}
	}
	return strings.Join(out, ", ")
}

// heal takes what changed during the copy out of the bare shadow (invariant I5). The log stays, for the drain.
func (r *run) heal(ctx context.Context, s plan.Step) error {
	var pending, blocks int64
	if err := r.engine.db.QueryRowContext(ctx, r.rows.Pending()).Scan(&pending); err != nil {
		return err
	}
	r.pending.Store(pending)
	if pending == 0 {
		r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: s.Name})
	} else {
		if err := r.engine.db.QueryRowContext(ctx, r.rows.ShadowBlocks()).Scan(&blocks); err != nil {
			return err
		}
		if err := r.healWalk(ctx, s, blocks); err != nil {
			return r.explain(ctx, s, err)
		}
	}
	return r.next(ctx)
}

func (r *run) healWalk(ctx context.Context, s plan.Step, blocks int64) error {
	return r.walk(ctx, s, "heal", copier.Blocks(blocks), r.sizer(4096, 1024, max(portion(blocks), 4096)), func(ctx context.Context, c copier.Chunk) (rows int64, err error) {
		began := time.Now()
		err = r.patiently(ctx, "chunk", func(ctx context.Context) error {
			return r.tx(ctx, session{Session: postgres.Session{Async: true, Path: r.rows.Pair.Path}, Role: r.rows.Pair.Owner}, func(ctx context.Context, t *tx) error {
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

// portion is the largest chunk of a whole, so that no worker is left with a large last one while the other has nothing.
func portion(total int64) int64 { return max(total/16, 64) }

func (r *run) sizer(initial, least, most int64) *throttle.Sizer {
	target := r.engine.config.ChunkTime
	if r.engine.config.Fast {
		target = max(target, time.Second)
	}
	return &throttle.Sizer{Target: target, Initial: initial, Min: least, Max: most}
}

// walk goes through what a walk has not done yet.
func (r *run) walk(ctx context.Context, s plan.Step, name string, cut copier.Cut, sizer copier.Sizer, work copier.Work) error {
	done, rows, err := r.engine.store.Chunks(ctx, r.record.ID, name)
	if err != nil {
		return err
	}
	return r.walker(s, cut, sizer, rows, r.record.Plan.Rows).Walk(ctx, done, work)
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
			sink(event.Progress{Step: string(s.Kind), Done: sum, Total: max(total, sum), Chunk: rows, Took: took, Pending: r.pending.Load()})
		}
	}}
}

// build makes the indexes of neighbouring steps, one at a time, or two for those who want it fast.
func (r *run) build(ctx context.Context) error {
	steps := r.record.Plan.Steps[r.record.Step:]
	n := 0
	for n < len(steps) && steps[n].Kind == plan.Build {
		n++
	}
	if r.resumed {
		if err := r.freshen(ctx, steps[0]); err != nil {
			return err
		}
	}
	memory, parallel, side := "", -1, 1
	if r.engine.config.Fast {
		memory, parallel, side = "512MB", 1, 2
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(side)
	for _, s := range steps[:n] {
		group.Go(func() error {
			began := time.Now()
			r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: s.Name})
			err := r.explain(groupCtx, s, r.patiently(groupCtx, "build", func(ctx context.Context) error {
				return r.tx(ctx, session{Session: postgres.Session{Settings: postgres.Pinned(), Memory: memory, Parallel: parallel}, Role: s.Role}, func(ctx context.Context, t *tx) error {
					var there bool
					if err := t.QueryRowContext(ctx, s.Done).Scan(&there); err != nil || there {
						return err
					}
					return t.all(ctx, s.SQL)
				})
			}))
			if err == nil {
				r.engine.config.Events(event.StepEnded{Step: string(s.Kind), Name: s.Name, Took: time.Since(began)})
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return r.tx(ctx, session{}, func(ctx context.Context, t *tx) error { return r.advance(ctx, t, n) })
}

// freshen brings the shadow in step before an index is tried again: whoever mended a row in the source expects it to count.
func (r *run) freshen(ctx context.Context, key plan.Step) error {
	var built bool
	if err := r.engine.db.QueryRowContext(ctx, key.Done).Scan(&built); err != nil {
		return err
	}
	if built {
		return r.drain(ctx, true)
	}
	var blocks int64
	if err := r.engine.db.QueryRowContext(ctx, r.rows.ShadowBlocks()).Scan(&blocks); err != nil {
		return err
	}
	return r.tx(ctx, session{Session: postgres.Session{Async: true, Path: r.rows.Pair.Path}, Role: r.rows.Pair.Owner}, func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, r.rows.Heal(copier.AllBlocks(blocks)))
		return err
	})
}

// few is how many keys are left when a drain is done: as many as a cutover applies in a few milliseconds.
const few = 100

func (r *run) drainStep(ctx context.Context) error {
	if err := r.drain(ctx, false); err != nil {
		return r.explain(ctx, r.record.Plan.Steps[r.record.Step], err)
	}
	return r.next(ctx)
}

// drain applies the key log in rounds. Before a verification began, nothing needs to be compared again.
func (r *run) drain(ctx context.Context, note bool) error {
	d := &copier.Drain{Gate: r.gate, Sizer: &throttle.Sizer{Target: r.engine.config.ChunkTime, Initial: 1000, Min: 10, Max: 20000}, Sink: r.engine.config.Events,
		Apply: func(ctx context.Context, limit int64) (done copier.Drained, err error) {
			err = r.patiently(ctx, "drain", func(ctx context.Context) error {
				return r.tx(ctx, session{Session: postgres.Session{Async: true, ByKey: true, Path: r.rows.Pair.Path}, Isolation: sql.LevelRepeatableRead, Role: r.rows.Pair.Owner},
					func(ctx context.Context, t *tx) error {
						done, err = r.apply(ctx, t, limit, note)
						return err
					})
			})
			return done, err
		},
		Done: func(d copier.Drained, took time.Duration) {
			r.pending.Store(d.Keys)
			r.engine.config.Events(event.Progress{Step: "drain", Done: r.rowsDone.Add(d.Keys), Chunk: d.Keys, Took: took, Pending: d.Keys})
		}}
	err := d.Run(ctx, few)
	if err == nil || !unconvertible(err) {
		return err
	}
	return r.accuse(ctx, err, r.rows.LoggedPlaces())
}

// apply is one drain in the transaction at hand.
func (r *run) apply(ctx context.Context, t *tx, limit int64, note bool) (d copier.Drained, err error) {
	var resets int64
	err = t.QueryRowContext(ctx, r.rows.Drain(limit, note)).Scan(&d.Keys, &resets, &d.Deleted, &d.Inserted)
	if err == nil && resets > 0 {
		err = copier.ErrReset
	}
	return d, err
}

// check asks for rows that break what the statement demands of them and the server would only find after the swap.
func (r *run) check(ctx context.Context, s plan.Step) error {
	if r.resumed {
		if err := r.verifier.Settle(ctx); err != nil {
			return r.explain(ctx, s, err)
		}
	}
	for _, q := range s.SQL {
		keys, err := r.ask(ctx, q)
		if err != nil {
			return r.explain(ctx, s, err)
		}
		if len(keys) > 0 {
			return &fault.Problem{Kind: fault.Refusal, Text: fmt.Sprintf("%s: rows break it: %s. The source is untouched. Mend them and run the same command again, or `changeling abort %s`",
				s.Name, strings.Join(keys, "; "), r.record.ID)}
		}
	}
	return r.next(ctx)
}

// verify compares every row.
func (r *run) verify(ctx context.Context, s plan.Step) error {
	if err := r.compare(ctx, s); err != nil {
		return err
	}
	return r.next(ctx)
}

func (r *run) compare(ctx context.Context, s plan.Step) error {
	began := time.Now()
	err := r.verifyWalk(ctx, s)
	if err != nil {
		return r.explain(ctx, s, err)
	}
	chunks, rows, err := r.engine.store.Chunks(ctx, r.record.ID, "verify")
	if err != nil {
		return err
	}
	r.engine.config.Events(event.Verified{Rows: rows, Chunks: int64(len(chunks)), Repaired: r.verifier.Repaired(), Took: time.Since(began)})
	return nil
}

// hold keeps the shadow in step and waits for the word.
func (r *run) hold(ctx context.Context) error {
	if !r.record.Hold {
		return r.next(ctx)
	}
	if err := r.setState(ctx, state.Held, "", 0); err != nil {
		return err
	}
	r.engine.config.Events(event.Waiting{Step: "hold", Reason: "ready to cut over: `changeling cutover " + r.record.ID + "` does it"})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := r.verifier.Settle(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := r.recall(ctx); err != nil {
			return err
		}
		if w := r.record.Want; w == state.WantCutover || w == state.WantRun && !r.record.Hold {
			break
		}
	}
	r.engine.config.Events(event.Waiting{Step: "hold"})
	if err := r.setState(ctx, state.Running, "", 0); err != nil {
		return err
	}
	return r.next(ctx)
}

// dropOld takes the old table away. It may run twice.
func (r *run) dropOld(ctx context.Context, drop plan.Step) error {
	s := r.engine.store
	err := r.patiently(ctx, "drop", func(ctx context.Context) error {
		return r.tx(ctx, session{Session: postgres.Session{LockWait: drop.LockWait}}, func(ctx context.Context, t *tx) error {
			if err := t.all(ctx, drop.SQL); err != nil {
				return err
			}
			return s.Exec(ctx, t, s.Text.Dropped, r.record.ID)
		})
	})
	if err != nil && fault.Code(err) == "2BP01" {
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("the old table %s is kept, because something else depends on it: %s (%s)", r.rows.Pair.Old, fault.Message(err), fault.Detail(err))}
	}
	return errors.Join(err, r.reload(ctx))
}
