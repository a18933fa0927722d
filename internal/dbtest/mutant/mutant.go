// Package mutant wraps a database driver so that the program under test sends other statements than it means to.
//
// Its one idea: whoever breaks a program on purpose, and sees its tests fail, knows that they would see it break by
// accident. A mutant is a function from a statement to a statement, so no code of the program has a hook for it. The same
// function can hold a statement back, as if the program were frozen there.
package mutant

import (
	"context"
	"database/sql/driver"
	"errors"
)

// Statement is what the program is about to send.
type Statement struct {
	Text string
	// Before is what its connection has sent since the transaction began, as the program meant it, the oldest first.
	// It is empty outside of a transaction.
	Before []string
}

// Rewrite answers what is sent instead of a statement; an empty text swallows it. It is called by several goroutines at a
// time. It may wait, until ctx ends.
//
// The rewritten statement has the same arguments, and columns that the program can read. BEGIN, COMMIT and ROLLBACK are
// told and are sent whatever it answers. A statement that asks for rows cannot be swallowed.
type Rewrite func(ctx context.Context, s Statement) string

// Connector is a driver.Connector whose statements are rewritten.
type Connector struct {
	inner   driver.Connector
	rewrite Rewrite
}

// New wraps a connector.
func New(inner driver.Connector, rewrite Rewrite) *Connector {
	return &Connector{inner: inner, rewrite: rewrite}
}

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := inner.(interface {
		connection
		driver.Conn
	})
	if !ok {
		return nil, errors.Join(errors.New("mutant: the driver lacks an interface of database/sql/driver"), inner.Close())
	}
	return &conn{Conn: inner, connection: full, rewrite: c.rewrite}, nil
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return c.inner.Driver() }

// connection is what a connection of pgx and of go-mysql can do besides.
type connection interface {
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
}

type conn struct {
	driver.Conn
	connection
	rewrite Rewrite

	open   bool // in a transaction
	before []string
}

func (c *conn) send(ctx context.Context, text string) string {
	out := c.rewrite(ctx, Statement{Text: text, Before: c.before})
	if c.open {
		c.before = append(c.before, text)
	}
	return out
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	query = c.send(ctx, query)
	if query == "" {
		return driver.RowsAffected(0), ctx.Err()
	}
	return c.connection.ExecContext(ctx, query, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.connection.QueryContext(ctx, c.send(ctx, query), args)
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.send(ctx, "BEGIN")
	inner, err := c.connection.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	c.open, c.before = true, nil
	return &tx{inner: inner, on: c}, nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	c.open, c.before = false, nil
	if inner, ok := c.Conn.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	inner, ok := c.Conn.(driver.Validator)
	return !ok || inner.IsValid()
}

type tx struct {
	inner driver.Tx
	on    *conn
}

// database/sql gives the end of a transaction no context.
func (t *tx) Commit() error {
	t.on.send(context.Background(), "COMMIT")
	t.on.open, t.on.before = false, nil
	return t.inner.Commit()
}

func (t *tx) Rollback() error {
	t.on.send(context.Background(), "ROLLBACK")
	t.on.open, t.on.before = false, nil
	return t.inner.Rollback()
}
