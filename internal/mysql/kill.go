package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// A server of MySQL goes on with a statement whose client has left, for hours if it builds an index. So a statement whose
// context ends is ended by KILL QUERY from another connection, and its own connection, which the kill may still hit, is not
// used again.
//
// MariaDB reads the texts of a table's triggers whenever it opens the table, and a KILL that comes meanwhile makes them look faulty (tried on
// 10.11 and 11.8). The handle stays in the server's cache, and users who come to write by it get error 1064; a RENAME, a CREATE or a DROP TRIGGER
// writes to the disk what it has read, and all triggers are gone. So there nobody is ended while he opens tables, and what writes triggers
// is not ended at all, but by its own bound.

// patience is for how long a statement may take to end after its KILL before its connection is broken off.
const patience = 3 * time.Second

// stopping runs a statement, and ends it on the server when ctx ends.
func stopping[T any](c *conn, ctx context.Context, run func(ctx context.Context) (T, error)) (got T, err error) {
	if ctx.Done() == nil || c.id == 0 {
		return run(ctx)
	}
	if err := ctx.Err(); err != nil {
		return got, err
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
	got, err = leaving(c, hard, func() (T, error) { return run(hard) })
	close(ended)
	<-watched
	if ctx.Err() == nil {
		return got, err
	}
	c.bad = true
	if err != nil {
		return got, errors.Join(ctx.Err(), err)
	}
	return got, nil // it had happened already
}

// leaving waits for something that a connection does, and for some time longer once ctx has ended. The driver looks at no context
// while it connects, begins or commits, and a network that swallows everything would keep it for ever. A connection that was left
// is broken off when the pool closes it.
func leaving[T any](c *conn, ctx context.Context, run func() (T, error)) (got T, err error) {
	if ctx.Done() == nil {
		return run()
	}
	type end struct {
		got T
		err error
	}
	ended := make(chan end, 1)
	go func() {
		got, err := run()
		ended <- end{got, err}
	}()
	select {
	case e := <-ended:
		return e.got, e.err
	case <-ctx.Done():
	}
	select {
	case e := <-ended:
		return e.got, e.err
	case <-time.After(patience):
		c.bad = true
		return got, &Error{Text: "the connection does not answer", sqlSta: "08006", err: fmt.Errorf("the connection does not answer: %w", ctx.Err())}
	}
}

// kill ends what the connection does, from another one of the pool below.
func (c *conn) kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	other, err := lend(ctx, c.below)
	if err != nil {
		return err
	}
	defer other.Close()
	for delicate := c.maria; delicate; {
		if err := other.QueryRowContext(ctx, Delicate(c.id)).Scan(&delicate); err != nil {
			return err
		}
		if delicate {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}
	_, err = other.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", c.id))
	return err
}

// lend is a connection of a pool, or the end of ctx, at which the driver does not look while it shakes hands.
func lend(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	if ctx.Done() == nil {
		return db.Conn(ctx)
	}
	type lent struct {
		conn *sql.Conn
		err  error
	}
	got := make(chan lent, 1)
	go func() {
		conn, err := db.Conn(ctx)
		got <- lent{conn, err}
	}()
	select {
	case l := <-got:
		return l.conn, l.err
	case <-ctx.Done():
		go func() {
			if l := <-got; l.err == nil {
				l.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// identify asks the server for the connection's id.
func (c *conn) identify(ctx context.Context, below *sql.DB) error {
	rows, err := c.inner.QueryContext(ctx, "SELECT CONNECTION_ID(), VERSION() LIKE '%MariaDB%'", nil)
	if err != nil {
		return c.state(err)
	}
	defer rows.Close()
	values := make([]driver.Value, 2)
	if err := rows.Next(values); err != nil && err != io.EOF {
		return c.state(err)
	}
	var id sql.NullInt64
	var maria sql.NullBool
	if err := errors.Join(id.Scan(values[0]), maria.Scan(values[1])); err != nil {
		return err
	}
	c.maria = maria.Bool
	c.id, c.below = id.Int64, below
	return nil
}

// delicate says that a session of the list of sessions, a, must not be ended now, see above.
const delicate = `(VERSION() LIKE '%MariaDB%' AND (COALESCE(a.state, '') = 'Opening tables' OR COALESCE(a.info, '') REGEXP '^(CREATE.* TRIGGER|DROP TRIGGER|RENAME TABLE|LOCK TABLES)[[:space:]]'))`

// Delicate asks whether a connection is at work on something in which it must not be ended.
func Delicate(id int64) string {
	return fmt.Sprintf(`SELECT EXISTS (SELECT 1 FROM information_schema.processlist a WHERE a.id = %d AND %s)`, id, delicate)
}

// WritesTriggers says that a statement makes or drops a trigger.
func WritesTriggers(text string) bool { return writesTriggers.MatchString(text) }

var writesTriggers = regexp.MustCompile(`^(CREATE (DEFINER=.* )?|DROP )TRIGGER `)

// Waiting asks whether a connection waits for a lock. A server says so in one form for all of them, and begins what is no such wait
// with a small letter.
func Waiting(id int64) string {
	return fmt.Sprintf(`SELECT EXISTS (SELECT 1 FROM information_schema.processlist WHERE id = %d AND CAST(state AS BINARY) LIKE 'Waiting for %%lock%%')`, id)
}
