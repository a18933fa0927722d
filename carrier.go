package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// carriage leads the table's own foreign keys over a swap on MariaDB, see internal/mysql/carrier.go.
type carriage struct {
	carrier *sql.Conn
	guards  []*sql.Conn
	ended   chan error // of the carrier's procedure; nil: it was not called
	waiting sync.WaitGroup
}

// givePatience bounds the wait for the shadow's keys, while nobody can write to the tables that they refer to.
const givePatience = 2 * time.Second

// connections is how many a change of this pair needs at once.
func (d mysqld) connections(p schema.Pair) int {
	switch {
	case d.maria && len(p.Triggers) > 0:
		return d.Connections() + 1
	case !d.maria || !mysql.Calls(p):
		return d.Connections()
	}
	return d.Connections() + 1 + len(mysql.Guarded(p))
}

// crowded says that the caller's pool has fewer connections than that, or nothing.
func (d mysqld) crowded(p *plan.Plan) string {
	n, least := d.limit, d.connections(p.Pair)
	if n == 0 || n >= least {
		return ""
	}
	return fmt.Sprintf("the pool allows %d connections: a change of %s needs %d on MariaDB, because it has triggers or foreign keys; call SetMaxOpenConns", n, p.Table, least)
}

// lockFamily locks the parents and the source, and gives the shadow its keys, which cannot be in anybody's way until keysCarried.
func (a *queuing) lockFamily(ctx context.Context) error {
	c := &carriage{}
	a.keys = c
	var err error
	if c.carrier, err = a.unnamed(ctx); err != nil {
		return err
	}
	var mine bool
	if err := c.carrier.QueryRowContext(ctx, mysql.Carry(a.pair)).Scan(&mine); err != nil {
		return err
	}
	if !mine {
		return gaveWay("an earlier attempt is still leading foreign keys")
	}
	for range mysql.Guarded(a.pair) {
		g, err := a.unnamed(ctx)
		if err != nil {
			return err
		}
		c.guards = append(c.guards, g)
	}
	for deadline := time.Now().Add(queueWait); ; {
		err := a.lockAtOnce(ctx)
		if err == nil {
			return a.carryKeys(ctx)
		}
		for _, g := range c.guards {
			if _, err := g.ExecContext(ctx, "UNLOCK TABLES"); err != nil {
				return err
			}
		}
		if !errors.Is(err, errLate) || time.Now().After(deadline) {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond+rand.N(20*time.Millisecond)); err != nil {
			return err
		}
	}
}

// lockAtOnce locks the parents and the source. While the first lock is waited for nobody has to wait; from then on somebody may who has
// written to one of the tables and wants the other, so the rest comes at once or not at all.
func (a *queuing) lockAtOnce(ctx context.Context) error {
	wait := queueWait
	for i, parent := range mysql.Guarded(a.pair) {
		if err := a.bounded(ctx, a.keys.guards[i], wait, mysql.Guard(parent)); err != nil {
			return err
		}
		wait = a.step.LockWait / 4
	}
	return a.bounded(ctx, a.holder, wait, mysql.LockRead(a.pair))
}

// carryKeys gives the shadow its keys, when all is locked, and sees to it that the server takes care of them from here on.
func (a *queuing) carryKeys(ctx context.Context) error {
	c := a.keys
	for _, g := range c.guards {
		c.waiting.Go(func() { _, _ = g.ExecContext(context.WithoutCancel(ctx), mysql.OnGuard(a.pair)) }) // it ends with the carrier
	}
	for on := 0; on < len(c.guards); {
		if err := a.conn.QueryRowContext(ctx, mysql.GuardsOn(a.pair)).Scan(&on); err != nil {
			return err
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	if err := a.lease.Fence(ctx, a.t); err != nil { // see each
		return err
	}
	c.ended = make(chan error, 1)
	go func() {
		_, err := c.carrier.ExecContext(context.WithoutCancel(ctx), mysql.CallSwap(a.pair)) // it goes on to its end whatever happens to the run
		c.ended <- err
	}()
	return a.given(ctx)
}

// unnamed is a session that does not bear the lease's name.
func (a *queuing) unnamed(ctx context.Context) (*sql.Conn, error) {
	return a.connect(ctx, session{LockWait: settleWait, Idle: stillWait})
}

// given waits until the shadow has its keys.
func (a *queuing) given(ctx context.Context) error {
	for deadline := time.Now().Add(givePatience); ; {
		select {
		case err := <-a.keys.ended:
			a.keys.ended <- err
			if err == nil {
				err = gaveWay("the session of the RENAME was lost")
			}
			return err
		default:
		}
		var given bool
		if err := a.conn.QueryRowContext(ctx, mysql.Given(a.pair)).Scan(&given); err != nil || given {
			return err
		}
		if time.Now().After(deadline) {
			return gaveWay("the shadow did not get its foreign keys in time")
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// keysCarried waits for the carrier's end, and lets the parents go. The tables are swapped, or the mover is gone.
func (a *queuing) keysCarried() {
	c := a.keys
	if c == nil {
		return
	}
	a.keys = nil
	var err error
	if c.ended != nil {
		select {
		case err = <-c.ended:
		case <-time.After(settleWait):
			err = errors.New("it did not end in time")
		}
	}
	if err != nil {
		a.astray()
	}
	if c.carrier != nil {
		discard(c.carrier) // whose lock the guards wait for
	}
	c.waiting.Wait()
	for _, g := range c.guards {
		discard(g)
	}
}

// astray takes off keys that a carrier left where they do not belong: it was killed. What fails here, the next attempt does, or the next step.
func (a *queuing) astray() {
	ctx, cancel := context.WithTimeout(context.Background(), settleWait)
	defer cancel()
	swapped, err := a.outcome(ctx)
	if err != nil {
		return
	}
	table := a.pair.Shadow
	if swapped {
		table = a.pair.Old
	}
	left, err := mysql.Texts(ctx, a.engine.db, mysql.ForeignKeysOf(table))
	if err != nil {
		return
	}
	for _, text := range left {
		if _, err := a.engine.db.ExecContext(ctx, text); fault.Lost(err) {
			return
		}
	}
}
