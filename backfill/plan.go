package backfill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
)

// Plan is what a job would do. Its JSON form is a contract: fields are added, never changed.
type Plan struct {
	Table string   `json:"table"`
	Key   []string `json:"key"`
	Rows  int64    `json:"rows"` // to go through, about
	Upto  string   `json:"upto"` // the key where it would end; empty: there are no rows
	// Statement is that of the first batch, Access how the server finds its rows, ByKey whether by the primary key's index.
	Statement string   `json:"statement"`
	Access    string   `json:"access"`
	ByKey     bool     `json:"by_key"`
	Triggers  []string `json:"triggers"` // that fire for each row or batch
	Warnings  []string `json:"warnings"`
	// Sample is the first batch as it was done and taken back; nil: it was not tried.
	Sample *Sample `json:"sample"`
	// Takes is how long all of it would take at the pace of the sample, with the rests of a quiet guest unless Config.Fast; LogBytes is
	// about how much write-ahead log it would write. Zero: not known.
	Takes    time.Duration `json:"takes_ns"`
	LogBytes int64         `json:"log_bytes"`
}

// Sample is a batch that was done and taken back.
type Sample struct {
	Rows     int64         `json:"rows"`    // gone through
	Changed  int64         `json:"changed"` // of them
	Took     time.Duration `json:"took_ns"`
	LogBytes int64         `json:"log_bytes"` // PostgreSQL; zero: not known
	Triggers time.Duration `json:"triggers_ns"`
}

// sampled is how many rows a first batch has.
const sampled = 200

// Plan says what a job would do: how many rows it goes through, and how the server finds those of a batch. It changes nothing.
func (j *Jobs) Plan(ctx context.Context, job Job) (*Plan, error) {
	p, _, err := j.plan(ctx, job)
	return p, err
}

// Try is Plan, and does the first batch in a transaction that is rolled back: its rows are locked for as long as that takes,
// triggers fire, and sequences move on.
func (j *Jobs) Try(ctx context.Context, job Job) (*Plan, error) {
	p, w, err := j.plan(ctx, job)
	if err != nil || p.Upto == "" {
		return p, err
	}
	if p.Sample, err = w.try(ctx, p.Statement); err != nil {
		return nil, err
	}
	within, err := w.between("", w.after)
	if err != nil {
		return nil, err
	}
	if err := w.db.QueryRowContext(ctx, "SELECT "+w.count()+" FROM "+w.table+" WHERE "+within).Scan(&p.Sample.Rows); err != nil {
		return nil, err
	}
	if p.Sample.Changed == 0 {
		p.Warnings = append(p.Warnings, "no row of the first batch was to be changed, so it does not tell how long all of it takes")
		return p, nil
	}
	if n := p.Sample.Rows; n > 0 {
		times := float64(max(p.Rows, n)) / float64(n)
		took := float64(p.Sample.Took)
		if !w.config.Fast {
			took *= 2
		}
		p.Takes = time.Duration(took * times).Round(time.Millisecond)
		p.LogBytes = int64(float64(p.Sample.LogBytes) * times)
	}
	return p, nil
}

func (j *Jobs) plan(ctx context.Context, job Job) (*Plan, *walk, error) {
	if err := j.check(job); err != nil {
		return nil, nil, err
	}
	if job.Func != nil {
		return nil, nil, usage("the job is a function: there is no statement to look at")
	}
	w, err := j.walk(ctx, job)
	if err != nil {
		return nil, nil, err
	}
	if job.KeepTimes {
		if err := w.keepTimes(ctx); err != nil {
			return nil, nil, err
		}
	}
	if job.Triggers == TriggersSkip {
		if err := w.skippable(ctx); err != nil {
			return nil, nil, err
		}
	}
	p := &Plan{Table: w.table, Triggers: []string{}, Warnings: []string{}}
	for _, k := range w.keys {
		p.Key = append(p.Key, k.name)
	}
	if w.upto, err = w.last(ctx); err != nil || w.upto == "" {
		return p, w, err
	}
	p.Upto = w.upto
	if p.Rows, err = w.rest(ctx); err != nil {
		return nil, nil, err
	}
	to, err := w.boundary(ctx, sampled)
	if err != nil {
		return nil, nil, err
	}
	within, err := w.between("", to)
	if err != nil {
		return nil, nil, err
	}
	p.Statement = w.statement(within)
	w.after = to
	return p, w, w.access(ctx, p)
}

// access asks the server how it would find the rows of the batch, and who else would be called.
func (w *walk) access(ctx context.Context, p *Plan) error {
	if w.mysql {
		row, err := w.explain(ctx, w.db, p.Statement)
		if err != nil {
			return wrong(err)
		}
		p.Access, p.ByKey = fmt.Sprintf("%s by %s", row["type"], row["key"]), row["key"] == "PRIMARY" && row["type"] != "index"
	} else {
		n, err := w.planned(ctx, w.db, "", p.Statement)
		if err != nil {
			return wrong(err)
		}
		var key string
		if err := w.db.QueryRowContext(ctx, w.text.KeyIndex, w.table).Scan(&key); err != nil {
			return err
		}
		p.Access, p.ByKey = strings.TrimSuffix(n.Scan+" using "+n.Index, " using "), n.Index == key
	}
	if !p.ByKey && p.Rows > 10*sampled {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the server would find the rows of a batch by %s, not by the primary key: each batch may cost as much as the table is large. Look at its statistics (ANALYZE)", p.Access))
	}
	names, err := state.Column(ctx, w.db, w.text.Triggers, w.parts.Schema, w.parts.Table, w.job.Delete, w.job.Triggers == TriggersSkip)
	p.Triggers = append(p.Triggers, names...)
	return err
}

// wrong is what a server says to a statement of the user's.
func wrong(err error) error {
	if fault.Lost(err) || fault.Transient(err) || fault.KindOf(err) != fault.Unexpected {
		return err
	}
	return &fault.Problem{Kind: fault.Usage, Err: err, Text: "the server does not take the first batch: " + fault.Message(err) + "; nothing was changed"}
}

// try does a statement and takes it back.
func (w *walk) try(ctx context.Context, statement string) (s *Sample, err error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	bound := w.claims.Bound(w.config.LockWait)
	if w.mysql {
		if _, err := conn.ExecContext(ctx, bound); err != nil {
			return nil, err
		}
	}
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer func() {
		if back := tx.Rollback(); err == nil && !errors.Is(back, sql.ErrTxDone) {
			err = back
		}
	}()
	s = &Sample{}
	if w.mysql {
		began := time.Now()
		s.Changed, err = affected(tx.ExecContext(ctx, statement))
		s.Took = time.Since(began)
		return s, failing(err)
	}
	for _, text := range append([]string{bound}, w.settings()...) {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	n, err := w.planned(ctx, tx, "ANALYZE, WAL, ", statement+" RETURNING 1")
	if err != nil {
		return nil, failing(err)
	}
	s.Took, s.LogBytes = n.Took, n.WALBytes
	for _, t := range n.Triggers {
		s.Triggers += time.Duration(t.Time * float64(time.Millisecond))
	}
	s.Changed = int64(n.Actual)
	return s, nil
}

// failing is what a first batch fails with.
func failing(err error) error {
	if err == nil || fault.KindOf(err) != fault.Unexpected {
		return err
	}
	kind := fault.Usage
	switch {
	case refuses(err):
		kind = fault.Refusal
	case fault.LockTimeout(err), fault.Transient(err), fault.Lost(err):
		kind = fault.Stopped
	case fault.Denied(err):
		kind = fault.Precondition
	}
	return &fault.Problem{Kind: kind, Err: err, Text: "the first batch fails: " + fault.Message(err) + "; it was taken back, and nothing was changed"}
}
