package changeling

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/throttle"
)

// Finding is what a check of the data came to.
type Finding struct {
	Name string   // what was asked: "check positive", "NOT NULL of note", "conversion of note to integer"
	Rows int64    // that break it; of a key its values that are there more than once
	More bool     // there may be more: the search ended at a hundred rows
	Keys []string // of the first of them, for a person; of a key its values, of a conversion also what does not convert
	Why  string   // in the server's words what the first of them fails on, of a conversion
	Err  error    // why it could not be asked; nil if it was
}

// CheckData asks for the rows that break what a plan's statement demands of them, before anything is done. It reads the table in
// short statements and rests as long as it works; what needs the whole table at once, the search for values that are there twice, is one
// statement. Rows that are written meanwhile may or may not be seen.
func (e *Engine) CheckData(ctx context.Context, p *plan.Plan) ([]Finding, error) {
	x, err := e.examine(ctx, p)
	if err != nil {
		return nil, begun(ctx, err)
	}
	defer x.close()
	w := &copier.Walker{Gate: &resting{}, Workers: 1, Sizer: &throttle.Sizer{Target: 100 * time.Millisecond, Initial: x.initial(), Min: 1, Max: mostAtOnce}}
	if err = x.run(ctx, w); err != nil && ctx.Err() == nil && !fault.Lost(err) {
		return x.found, err
	}
	return x.found, begun(ctx, err)
}

// resting is a gate that opens when as much time has gone by as the last chunk took.
type resting struct{ last time.Duration }

func (g *resting) Enter(ctx context.Context, _ int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(g.last):
		return nil
	}
}

func (g *resting) Leave(_ int, took time.Duration) { g.last = took }

const (
	mostAtOnce  = 20_000 // rows, or blocks, that one statement of a check reads at most
	mostNamed   = 3      // rows that a finding names
	mostCounted = 100    // rows that are looked for one by one, until the search for a conversion's ends
)

// examination asks the questions of a plan, on a connection of its own that is not used again.
type examination struct {
	engine *Engine
	plan   *plan.Plan
	rows   texts
	conn   *sql.Conn
	blocks int64 // of the source's heap, where it has one
	found  []Finding
	asked  []plan.Question
	size   int64 // of the chunk at hand
}

// examine makes ready to ask. What cannot be asked is told in its finding.
func (e *Engine) examine(ctx context.Context, p *plan.Plan) (*examination, error) {
	x := &examination{engine: e, plan: p, rows: e.dialect.Rows(p.Pair)}
	var err error
	if x.conn, err = e.db.Conn(ctx); err != nil {
		return nil, err
	}
	for _, q := range p.Checks {
		f := Finding{Name: q.Name}
		if len(q.Twin) > 0 {
			if q.SQL, err = x.twin(ctx, q); err != nil {
				if fault.Lost(err) || ctx.Err() != nil {
					x.close()
					return nil, err
				}
				f.Err = err
			}
		}
		x.found, x.asked = append(x.found, f), append(x.asked, q)
	}
	if size := x.rows.Size(); size != "" && p.Pair.Source.Table != "" {
		if err := x.conn.QueryRowContext(ctx, size).Scan(&x.blocks); err != nil {
			x.close()
			return nil, err
		}
	}
	return x, nil
}

// close ends the session, and with it its temporary table and its settings.
func (x *examination) close() {
	_ = x.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = x.conn.Close()
}

// twin makes the temporary table of a question, where the role may have one, and answers the question about it.
func (x *examination) twin(ctx context.Context, q plan.Question) (string, error) {
	// Nobody else should hear of it; without the right to that, a server that logs statements tells its replicas of an empty table.
	if _, err := x.conn.ExecContext(ctx, "SET SESSION sql_log_bin = 0"); fault.Lost(err) || ctx.Err() != nil {
		return "", err
	}
	if err := x.settle(ctx, q, x.conn); err != nil {
		return "", err
	}
	var failed error
	for _, database := range []string{"changeling", x.plan.Pair.Source.Schema} {
		for _, engine := range []string{"MEMORY", "InnoDB"} {
			name, create := mysql.MakeTwin(q, x.plan.Pair, database, engine)
			if _, err := x.conn.ExecContext(ctx, create); err == nil {
				return strings.ReplaceAll(q.SQL, plan.Twin, name), nil
			} else if failed = err; fault.Lost(err) || ctx.Err() != nil {
				return "", err
			}
		}
	}
	return "", fmt.Errorf("a temporary table, in which values are tried, cannot be made: %s. Needed: GRANT CREATE TEMPORARY TABLES ON `changeling`.* for this role", fault.Message(failed))
}

// settle sets up the session of a question.
func (x *examination) settle(ctx context.Context, q plan.Question, db execer) error {
	s := session{Application: "changeling", LockWait: x.engine.config.LockWait, Settings: x.plan.Pair.Settings, Path: q.Path}
	if !x.engine.dialect.Transactional() {
		s.Application = "" // it is no run, and holds no lock by a name
	}
	if _, err := db.ExecContext(ctx, x.engine.dialect.Session(s)); err != nil || q.Role == "" {
		return err
	}
	_, err := db.ExecContext(ctx, x.engine.dialect.As(q.Role))
	return err
}

// run asks all questions: those of parts of the table in one walk, the others behind it. A question that the server refuses is told in its
// finding.
func (x *examination) run(ctx context.Context, w *copier.Walker) error {
	w.Cut = x.cut
	if x.chunked() {
		if err := w.Walk(ctx, nil, func(ctx context.Context, c copier.Chunk) (int64, error) { return x.chunk(ctx, c) }); err != nil {
			return err
		}
	}
	for i := range x.asked {
		f := &x.found[i]
		if x.asked[i].Chunked || f.Err != nil {
			continue
		}
		if err := w.Gate.Enter(ctx, 0); err != nil {
			return err
		}
		began := time.Now()
		err := x.told(ctx, f, x.count(ctx, x.asked[i], f, ""))
		if w.Gate.Leave(0, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

func (x *examination) chunked() bool {
	for _, q := range x.asked {
		if q.Chunked {
			return true
		}
	}
	return false
}

// cut ends a chunk: by blocks of the heap, or by the key.
func (x *examination) cut(ctx context.Context, after copier.Key, n int64) (copier.Key, bool, error) {
	x.size = n
	if x.rows.Size() != "" {
		return copier.Blocks(x.blocks)(ctx, after, n)
	}
	var text string
	err := x.reading(ctx, plan.Question{}, func(tx *sql.Tx) error {
		query, args := x.rows.Boundary(after, n)
		return tx.QueryRowContext(ctx, query, args...).Scan(&text)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	upto, err := copier.ParseKey(text)
	return upto, false, err
}

// initial is the size of the first chunk.
func (x *examination) initial() int64 {
	if x.rows.Size() != "" {
		return 500 // 4 MB
	}
	return 5000
}

// chunk asks of a part of the table, and answers about how many rows that are.
func (x *examination) chunk(ctx context.Context, c copier.Chunk) (int64, error) {
	for i, q := range x.asked {
		f := &x.found[i]
		if !q.Chunked || f.Err != nil {
			continue
		}
		var err error
		if q.Tries {
			err = x.sift(ctx, q, f, c.Range)
		} else {
			err = x.count(ctx, q, f, x.rows.Within(c.Range))
		}
		if err := x.told(ctx, f, err); err != nil {
			return 0, err
		}
	}
	if x.blocks > 0 {
		return x.plan.Rows * min(x.size, x.blocks) / x.blocks, nil
	}
	return min(x.size, max(x.plan.Rows, 1)), nil
}

// told keeps an error that is about a question alone in its finding.
func (x *examination) told(ctx context.Context, f *Finding, err error) error {
	if err == nil || ctx.Err() != nil || fault.Lost(err) || fault.Transient(err) {
		return err
	}
	f.Err = err
	return nil
}

// reading is a transaction that cannot write, at a level at which it locks nothing.
func (x *examination) reading(ctx context.Context, q plan.Question, work func(*sql.Tx) error) error {
	tx, err := x.conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: x.engine.dialect.Isolation(sql.LevelReadCommitted)})
	if err != nil {
		return err
	}
	if err = x.settle(ctx, q, tx); err == nil {
		err = work(tx)
	}
	return errors.Join(err, ended(tx))
}

// count runs a question for keys: the server counts them, and only the first come over.
func (x *examination) count(ctx context.Context, q plan.Question, f *Finding, within string) error {
	text := fmt.Sprintf("SELECT k.*, COUNT(*) OVER () FROM (%s) k LIMIT %d", strings.ReplaceAll(q.SQL, plan.Range, within), mostNamed)
	return x.reading(ctx, q, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer rows.Close()
		var all int64
		for rows.Next() {
			var key string
			if err := rows.Scan(&key, &all); err != nil {
				return err
			}
			f.name(x.person(q, key))
		}
		f.Rows += all
		return rows.Err()
	})
}

func (f *Finding) name(key string) {
	if len(f.Keys) < mostNamed {
		f.Keys = append(f.Keys, key)
	}
}

// person writes what a question answers for a person.
func (x *examination) person(q plan.Question, key string) string {
	if len(q.Columns) > 0 {
		return labelled(key, q.Columns)
	}
	return personal(key, x.plan.Pair)
}
