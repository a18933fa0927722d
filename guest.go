package changeling

import (
	"context"
	"database/sql"
	"time"

	"github.com/changeling-db/changeling/schema"
	"github.com/changeling-db/changeling/throttle"
)

// Guest is work on the rows of a table that is no change of the engine's, such as a backfill. It enters Gate before each batch
// and leaves it afterwards.
type Guest struct {
	Table schema.Name
	Gate  *throttle.Gate
	// Application is how the connections call themselves that write the rows, where a server shows that.
	Application string
	// Beat commits a tiny row, whose latency is what users feel; Beats is the query that answers how often it did, also on a replica.
	Beat  func(ctx context.Context) error
	Beats string
	// Ready is called when the gate is guarded: nobody should enter before. It may be nil.
	Ready func()
}

// Guard moves the gate of a guest until ctx ends, and returns nil then: by the same signals as those of a change, with the limits
// of c.Throttle, for c.Replicas, in batches of c.ChunkTime. It writes nothing but the beat. An error is of what c.Throttle asks for and
// the role may not see.
func Guard(ctx context.Context, db *sql.DB, c Config, g Guest) error {
	c, err := c.validate()
	if err != nil {
		return err
	}
	// A question that is given up leaves a broken connection in the caller's pool, and a job may end at any moment.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	d, pool, err := detect(asking, db, c)
	if err != nil {
		return err
	}
	if c.ChunkTime == 0 {
		c.ChunkTime = chunkTime
	}
	e := &Engine{db: pool, own: pool != db, config: c, dialect: d, replicas: c.Replicas}
	defer func() {
		if e.own { // replicas stay the caller's as they are: they are asked one plain query
			pool.Close() // all that it could say is that a connection was gone already
		}
	}()
	r := &run{Change: &Change{engine: e}, guest: &g, gate: g.Gate, born: time.Now(), asking: make(chan struct{}, 1), querying: make(chan struct{}, 1)}
	if _, r.pair.Table, err = d.Resolve(ctx, pool, g.Table); err != nil {
		return err
	}
	r.settings.Store(&c.Throttle)
	controller, err := r.controller(ctx, &c.Throttle)
	if err != nil {
		return err
	}
	controller.Ready = g.Ready
	return controller.Run(ctx)
}

// beat commits a tiny row.
func (r *run) beat(ctx context.Context) error {
	if r.guest != nil {
		return r.guest.Beat(ctx)
	}
	s := r.engine.store
	return s.Exec(ctx, s.DB, s.Text.Probe, r.id)
}

// signals are what the throttle asks of the server.
func (r *run) signals() signals {
	if r.guest == nil {
		return r.engine.dialect.Signals(r.pair, r.lease.Application())
	}
	t := r.engine.dialect.Signals(r.pair, r.guest.Application)
	t.Heartbeat = r.guest.Beats
	return t
}
