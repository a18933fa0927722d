package changeling

import (
	"context"
	"database/sql"
	"errors"
)

// Pooled reports whether the connections of a pool to PostgreSQL go through a pooler in transaction or statement mode. There a
// setting of a session would be met by whoever gets that session next, so that a change makes none.
//
// It compares the server's processes behind two statements on one connection, while another connection takes a process in
// between: such a pooler then has to give the first connection another one. Three tries, because others may use the pooler, too.
func Pooled(ctx context.Context, db *sql.DB) (bool, error) {
	one, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer one.Close()
	other, err := db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer other.Close()
	for range 3 {
		if pooled, err := exchanged(ctx, one, other); pooled || err != nil {
			return pooled, err
		}
	}
	return false, nil
}

func exchanged(ctx context.Context, one, other *sql.Conn) (bool, error) {
	before, err := process(ctx, one)
	if err != nil {
		return false, err
	}
	tx, err := other.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	between, err := process(ctx, tx)
	after, again := process(ctx, one)
	return before != after || before == between, errors.Join(err, again)
}

func process(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (pid int, err error) {
	err = q.QueryRowContext(ctx, `SELECT pg_catalog.pg_backend_pid()`).Scan(&pid)
	return pid, err
}
