// Package dying wraps a database driver so that the program under test can be killed at every statement it sends,
// without a hook in its code.
//
// Its one idea: to the server and to the program, death is the same as a kill -9 at that statement. The connections
// vanish without a goodbye, and no later call gets an answer. A test counts the statements of one run that stays alive,
// then runs again and again, dying at each number, on both sides of the statement.
package dying

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
)

// ErrDead is what every call gets after death. It is neither driver.ErrBadConn nor an error of the network, so that no
// classifier takes it for something that is worth another attempt.
var ErrDead = errors.New("dying: the program was killed here")

// Moment says on which side of a statement death comes.
type Moment int

const (
	Before Moment = iota // the statement is never sent
	After                // the server has run the statement to its end; the program does not learn that
)

func (m Moment) String() string {
	if m == After {
		return "after"
	}
	return "before"
}

// Death says when to die. The zero value never does.
type Death struct {
	At     int // number of the statement, counted from 1 over all connections; 0 is never
	Moment Moment
}

// Connector is a driver.Connector whose connections die together.
type Connector struct {
	inner driver.Connector
	death Death
	sever func(driver.Conn)

	mu    sync.Mutex
	count int
	dead  bool
	last  string // the statement that death met
	conns map[*conn]struct{}
}

// New wraps a connector. Sever closes the network connection beneath a connection of inner abruptly, without a word to
// the server; it is called while the connection may be in use, and may be called on one that is closed.
func New(inner driver.Connector, death Death, sever func(driver.Conn)) *Connector {
	return &Connector{inner: inner, death: death, sever: sever, conns: map[*conn]struct{}{}}
}

// Count returns how many statements were seen until now: Exec, Query, Begin, Commit and Rollback, on all connections.
// Connecting, preparing, pinging and reading rows do not count.
func (c *Connector) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Died returns the statement at which death came, "BEGIN", "COMMIT" or "ROLLBACK" for those of transactions,
// and false while alive.
func (c *Connector) Died() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.dead
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return c.inner.Driver() }

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.isDead() {
		return nil, ErrDead
	}
	inner, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, c.mask(err)
	}
	wrapped := &conn{inner: inner, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		c.sever(inner)
		return nil, errors.Join(ErrDead, inner.Close())
	}
	c.conns[wrapped] = struct{}{}
	return wrapped, nil
}

// statement runs one counted statement, and death where it is due. Finish, where not nil, makes sure before a death
// After that the server has run the statement to its end.
func statement[T any](c *Connector, text string, run func() (T, error), finish func(T)) (T, error) {
	var none T
	due, err := c.next(text)
	if err != nil {
		return none, err
	}
	result, err := run()
	if due {
		if err == nil && finish != nil {
			finish(result)
		}
		c.die(text)
	}
	if c.isDead() {
		return none, ErrDead
	}
	return result, err
}

// next counts a statement. It says whether death is due after it; where it was due before, it is an error.
func (c *Connector) next(text string) (due bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return false, ErrDead
	}
	c.count++
	if c.count != c.death.At {
		return false, nil
	}
	if c.death.Moment == After {
		return true, nil
	}
	c.dieLocked(text)
	return false, ErrDead
}

func (c *Connector) die(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dieLocked(text)
}

func (c *Connector) dieLocked(text string) {
	c.dead, c.last = true, text
	for conn := range c.conns {
		c.sever(conn.inner)
	}
}

func (c *Connector) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// mask hides what a call returned if death came meanwhile.
func (c *Connector) mask(err error) error {
	if c.isDead() {
		return ErrDead
	}
	return err
}

func (c *Connector) forget(closed *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, closed)
}
