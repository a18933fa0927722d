package changeling

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Version is how the server calls itself.
func (e *Engine) Version(ctx context.Context) (version string, err error) {
	err = e.pinned(ctx, func(q state.DB) error { return q.QueryRowContext(ctx, "SELECT version()").Scan(&version) })
	return version, err
}

// pinned is what a run's is, for somebody who only asks.
func (e *Engine) pinned(ctx context.Context, ask func(q state.DB) error) error {
	if !e.dialect.Transactional() {
		return ask(e.db)
	}
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // only reads
	if _, err := tx.ExecContext(ctx, e.dialect.Session(session{Application: "changeling", LockWait: e.config.LockWait})); err != nil {
		return err
	}
	return ask(tx)
}

// sampled is how many rows a sample reads at most, and sampling how long.
const (
	sampled  = 50_000
	sampling = 500 * time.Millisecond
)

// Speed reads some rows of a plan's table and says how fast that goes. A table with few rows, one that may not be read and a plan without
// a table have none. Writing is taken for a third as fast: it cannot be tried without doing it.
func (e *Engine) Speed(ctx context.Context, p *plan.Plan) (plan.Speed, error) {
	size := p.Heap
	if size == 0 {
		size = p.Bytes
	}
	if p.Rows < 1000 || size == 0 || p.Table.Table == "" {
		return plan.Speed{}, nil
	}
	name := ident.Qualified(p.Table.Schema, p.Table.Table)
	if !e.dialect.Transactional() {
		quote := func(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
		name = quote(p.Table.Schema) + "." + quote(p.Table.Table)
	}
	within, cancel := context.WithTimeout(ctx, sampling)
	defer cancel()
	began := time.Now()
	var rows int64
	err := e.pinned(within, func(q state.DB) error {
		return q.QueryRowContext(within, fmt.Sprintf("SELECT count(*) FROM (SELECT * FROM %s LIMIT %d) some_rows", name, sampled)).Scan(&rows)
	})
	took := time.Since(began)
	switch {
	case ctx.Err() != nil:
		return plan.Speed{}, ctx.Err()
	case err != nil && within.Err() != nil: // so slow that what was read is at most all of it
		rows, took = sampled, sampling
	case fault.Denied(err), fault.Undefined(err):
		return plan.Speed{}, nil
	case err != nil:
		return plan.Speed{}, err
	}
	read := float64(rows) * float64(size) / float64(max(p.Rows, rows)) / took.Seconds()
	return plan.Speed{Read: read, Write: read / 3}, nil
}
