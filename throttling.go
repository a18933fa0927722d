package changeling

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/throttle"
)

// throttle moves the gate until ctx ends, by the signals that the settings ask for, and anew when those change.
func (r *run) throttle(ctx context.Context, c *throttle.Controller, settings *Throttle) error {
	for {
		if err := r.moved(ctx, settings, c); err != nil || ctx.Err() != nil {
			return err
		}
		var err error
		settings = r.settings.Load()
		if c, err = r.controller(ctx, settings); err != nil {
			return err
		}
	}
}

// chunkTime is what a chunk takes by default.
const chunkTime = 20 * time.Millisecond

// calmRest is how long a worker rests on a calm server, in chunks. Users feel less with each one: of 1,000 writes a second on PostgreSQL the
// slowest hundredth took 2.4 times as long as before with three (`go run ./bench -idle "" -load 1000000`), and 3.4 with one and a limit of 5 ms.
const calmRest = 3

// controller is one that heeds the settings.
func (r *run) controller(ctx context.Context, s *Throttle) (*throttle.Controller, error) {
	c := &throttle.Controller{Gate: r.gate, Workers: 2, Rest: calmRest + float64(s.Nice), Fast: r.engine.config.Fast, Sink: r.engine.config.Events}
	if s.Nice > 0 {
		c.Workers = 1
	}
	r.gate.SetCaps(throttle.Caps{Rows: s.MaxRows, Bytes: s.MaxBytes})
	if s.MaxLatency >= 0 && (!c.Fast || s.MaxLatency > 0) {
		if r.probe == nil {
			r.probe = r.probing(ctx)
		}
		// Users notice what is many times of what they are used to, however little it is: the limit is low where commits are fast.
		r.probe.Limit = cmp.Or(s.MaxLatency, 3*time.Millisecond)
		c.Watches = []throttle.Watch{{Signal: r.probe, Name: "commit latency", Hard: c.Fast}}
	}
	watches, err := r.watched(ctx, *s)
	c.Watches = append(c.Watches, watches...)
	r.began = true
	return c, err
}

// moved runs a controller until the settings are others than it was made for.
func (r *run) moved(ctx context.Context, settings *Throttle, c *throttle.Controller) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for r.settings.Load() == settings {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
	}
	cancel()
	return <-ended
}

// watched is watches, for as long as a failover may take. The gate stays as it is meanwhile.
func (r *run) watched(ctx context.Context, s Throttle) (out []throttle.Watch, err error) {
	err = retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: 3 * time.Second, Elapsed: 2 * time.Minute},
		func(err error) bool { return fault.Transient(err) || fault.Lost(err) }, nil, func(ctx context.Context) (err error) {
			out, err = r.watches(ctx, s)
			return err
		})
	if ctx.Err() != nil {
		return nil, nil
	}
	return out, err
}

// probing measures the latency of a tiny commit, as the users feel it.
func (r *run) probing(ctx context.Context) *throttle.Probe {
	probe := &throttle.Probe{Commit: r.beat}
	// Without a baseline the fixed limit counts; the first reading reports what is wrong.
	_ = probe.Calibrate(ctx, 5)
	return probe
}

// adjust takes up what was set while the change runs. What this version cannot read stays unheeded, with a word about it.
func (r *run) adjust(text string) {
	if text == r.overrides {
		return
	}
	r.overrides = text
	o, err := parseOverrides(text)
	if err == nil {
		var s Throttle
		if s, err = r.engine.config.Throttle.with(o); err == nil {
			r.settings.Store(&s)
			r.gate.SetCaps(throttle.Caps{Rows: s.MaxRows, Bytes: s.MaxBytes})
			return
		}
	}
	r.engine.config.Events(event.Notice{Text: "what was set for this change cannot be heeded: " + err.Error()})
}

// Set changes a knob of the throttle, wherever the change runs and for all its runs from then on; see [Settings] for names
// and values. It counts before what a run was started with. No value at all takes that back; "off" is no limit.
func (c *Change) Set(ctx context.Context, name string, values ...string) error {
	var trial Throttle
	if err := trial.Set(name, values...); err != nil {
		return err
	}
	if err := c.toMember(ctx, func(member *Change) error { return member.Set(ctx, name, values...) }); err != nil {
		return err
	}
	c = c.own()
	s := c.engine.store
	for range 10 { // somebody else may set something at the same time
		if err := c.reload(ctx); err != nil {
			return err
		}
		if c.record.Over() {
			return usage("change %s is %s: there is nothing to throttle", c.record.ID, c.record.Status)
		}
		o, err := parseOverrides(c.record.Settings)
		if err != nil {
			return err
		}
		if o[name] = values; len(values) == 0 {
			delete(o, name)
		}
		text, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if len(o) == 0 {
			text = nil
		}
		if string(text) == c.record.Settings {
			return nil
		}
		done, err := s.DB.ExecContext(ctx, s.Text.Settings, c.record.ID, c.record.Settings, string(text))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 1 {
			return err
		}
	}
	return errors.New("the settings of change " + c.record.ID + " are changed by others all the time: try again")
}

// weight is what a unit of a walk weighs: a block of a heap, or a row.
type weight struct{ rows, bytes float64 }

// perRow is the weight of a row of the table, with its indexes.
func (r *run) perRow() weight {
	return weight{1, float64(r.record.Plan.Bytes) / float64(max(r.record.Plan.Rows, 1))}
}

// perBlock is the weight of a block of its heap.
func (r *run) perBlock(blocks int64) weight {
	return weight{float64(r.record.Plan.Rows) / float64(max(blocks, 1)), 8192}
}

// chunkBytes is the most that a chunk may be, however fast it goes: what it writes comes to the replicas, and to the log's
// archive, in one piece. Those who want it fast have larger ones.
const chunkBytes = 16 << 20

// capped is a sizer whose chunks are no larger than a second's worth of the caps, nor than a chunk may be.
type capped struct {
	copier.Sizer
	run    *run
	weight weight
}

func (c capped) Next() int64 {
	most := float64(chunkBytes)
	if c.run.engine.config.Fast {
		most *= 4
	}
	s := c.run.settings.Load()
	if s.MaxBytes > 0 {
		most = min(most, float64(s.MaxBytes))
	}
	units := c.Sizer.Next()
	if c.weight.bytes > 0 {
		units = min(units, int64(most/c.weight.bytes))
	}
	if s.MaxRows > 0 && c.weight.rows > 0 {
		units = min(units, int64(float64(s.MaxRows)/c.weight.rows))
	}
	return max(units, 1)
}

// spend tells the gate what a chunk moved.
func (r *run) spend(rows int64) {
	r.gate.Spend(rows, int64(float64(rows)*r.perRow().bytes))
}

// throttled says for a person what was set while a change runs.
func throttled(text string) []string {
	o, err := parseOverrides(text)
	if err != nil {
		return nil
	}
	out := []string{}
	for _, s := range Settings() {
		for _, v := range o[s.Name] {
			out = append(out, fmt.Sprintf("%s=%s", s.Name, v))
		}
	}
	return out
}
