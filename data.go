package changeling

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

// Finding is what a check of the data came to.
type Finding struct {
	Name string   // what was asked: "check positive", "NOT NULL of note"
	Rows int64    // that break it
	Keys []string // of the first of them, for a person; of a key its values
	Err  error    // why it could not be asked; nil if it was
}

// CheckData asks for the rows that break what a plan's statement demands of them, before anything is done. It reads the table in
// short statements and rests as long as it works. Rows that are written meanwhile may or may not be seen.
func (e *Engine) CheckData(ctx context.Context, p *plan.Plan) ([]Finding, error) {
	var out []Finding
	for _, c := range p.Checks {
		f := Finding{Name: c.Name}
		err := e.check(ctx, p, c, &f)
		if ctx.Err() != nil {
			return out, begun(ctx, err)
		}
		if fault.Lost(err) {
			return out, err
		}
		f.Err = err
		out = append(out, f)
	}
	return out, nil
}

// blocks is how many blocks of the heap one statement of a check reads: 16 MB.
const blocks = 2000

func (e *Engine) check(ctx context.Context, p *plan.Plan, c plan.Question, f *Finding) error {
	switch {
	case !c.Chunked:
		return e.count(ctx, p, c.SQL, f)
	case !e.dialect.Transactional():
		return e.checkRanges(ctx, p, c, f)
	}
	var size int64
	if err := e.db.QueryRowContext(ctx, `SELECT pg_catalog.pg_relation_size($1::bigint::pg_catalog.oid) / pg_catalog.current_setting('block_size')::bigint`, int64(p.Pair.Table)).Scan(&size); err != nil {
		return err
	}
	for at := int64(0); at <= size; at += blocks {
		began := time.Now()
		if err := e.count(ctx, p, c.SQL+postgres.Blocks, f, at, at+blocks); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
	return nil
}

// checkRanges asks by ranges of the key, on MySQL and MariaDB.
func (e *Engine) checkRanges(ctx context.Context, p *plan.Plan, c plan.Question, f *Finding) error {
	texts := mysql.Rows{Pair: p.Pair}
	var at copier.Range
	for {
		began := time.Now()
		query, args := texts.Boundary(at.After, rowsAtOnce)
		var text string
		err := e.db.QueryRowContext(ctx, query, args...).Scan(&text)
		last := errors.Is(err, sql.ErrNoRows)
		if !last {
			if err == nil {
				at.Upto, err = copier.ParseKey(text)
			}
			if err != nil {
				return err
			}
		}
		if err := e.count(ctx, p, strings.ReplaceAll(c.SQL, plan.Range, texts.Within(at)), f); err != nil || last {
			return err
		}
		at = copier.Range{After: at.Upto}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
}

// rowsAtOnce is how many rows one statement of such a check reads.
const rowsAtOnce = 20000

// count runs a query for keys, in a transaction that only reads.
func (e *Engine) count(ctx context.Context, p *plan.Plan, query string, f *Finding, args ...any) error {
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // only reads
	begin := session{Application: "changeling", LockWait: e.config.LockWait}
	if !e.dialect.Transactional() {
		begin.Application = "" // it is no run, and holds no lock by a name
	}
	if _, err := tx.ExecContext(ctx, e.dialect.Session(begin)); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return err
		}
		if f.Rows++; len(f.Keys) < 3 {
			f.Keys = append(f.Keys, personal(key, p.Pair))
		}
	}
	return rows.Err()
}
