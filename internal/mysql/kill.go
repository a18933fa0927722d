package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

// A server of MySQL goes on with a statement whose client has left, for hours if it builds an index. So a statement whose
// context ends is ended by KILL QUERY from another connection, and its own connection, which the kill may still hit, is not
// used again.

// patience is for how long a statement may take to end after its KILL before its connection is broken off.
const patience = 3 * time.Second

// stopping runs a statement, and ends it on the server when ctx ends.
func (c *conn) stopping(ctx context.Context, run func(ctx context.Context) error) error {
	if ctx.Done() == nil || c.id == 0 {
		return run(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	hard, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		if err := c.kill(hard); err == nil {
			select {
			case <-ended:
			case <-time.After(patience):
			}
		}
		leave()
	}()
	err := run(hard)
	close(ended)
	<-watched
	if ctx.Err() == nil {
		return err
	}
	c.bad = true
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil // it had happened already
}

// kill ends what the connection does, from another one of the pool below.
func (c *conn) kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	other, err := c.below.Conn(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	_, err = other.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", c.id))
	return err
}

// identify asks the server for the connection's id.
func (c *conn) identify(ctx context.Context, below *sql.DB) error {
	rows, err := c.inner.QueryContext(ctx, "SELECT CONNECTION_ID()", nil)
	if err != nil {
		return c.state(err)
	}
	defer rows.Close()
	values := make([]driver.Value, 1)
	if err := rows.Next(values); err != nil && err != io.EOF {
		return c.state(err)
	}
	var id sql.NullInt64
	if err := id.Scan(values[0]); err != nil {
		return err
	}
	c.id, c.below = id.Int64, below
	return nil
}

// Waiting asks whether a connection waits for a lock. A server says so in one form for all of them, and begins what is no such wait
// with a small letter.
func Waiting(id int64) string {
	return fmt.Sprintf(`SELECT EXISTS (SELECT 1 FROM information_schema.processlist WHERE id = %d AND CAST(state AS BINARY) LIKE 'Waiting for %%lock%%')`, id)
}
