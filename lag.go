package changeling

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/throttle"
)

// lag is the signal of replicas. Those that are connected to the server tell it how much of its log they have replayed, and
// those that were given are asked for a row that beats. Both are positions, and our own clock says when each was written:
// the server's figures of time stand still where a replica does.
type lag struct {
	run       *run
	texts     signals
	replicas  []Replica
	time      throttle.Gauge
	bytes     throttle.Gauge
	positions throttle.Trail
	beats     throttle.Trail
	streams   map[string]stream
}

// stream is a connected replica as it was seen last.
type stream struct {
	position float64
	seen     time.Time
}

// lost is for how long a replica that is not connected any more counts as one that lags.
const lost = time.Minute

// lagging is the signal of replicas, or nil where there is nothing to watch.
func (r *run) lagging(ctx context.Context, t signals, s Throttle, sees bool) (signal throttle.Signal, asked bool, err error) {
	asked = s.MaxLag > 0 || s.MaxLagBytes > 0
	if s.MaxLag < 0 && s.MaxLagBytes <= 0 || r.engine.config.Fast && !asked {
		return nil, false, nil
	}
	if !sees {
		t.Replicas = ""
	}
	given := r.engine.replicas
	if t.Attached != "" {
		r.unwatched(ctx, t.Attached, len(given))
	}
	if t.Replicas == "" && len(given) == 0 {
		return nil, false, nil
	}
	l := &lag{run: r, texts: t, replicas: given, streams: make(map[string]stream)}
	switch {
	case s.MaxLag > 0:
		l.time.Limit = s.MaxLag.Seconds()
	case s.MaxLag == 0:
		l.time.Limit = 3
	}
	l.time.Name, l.time.Unit = "replica lag", throttle.Seconds
	l.bytes = throttle.Gauge{Name: "replica lag", Unit: throttle.Bytes, Limit: float64(s.MaxLagBytes)}
	return l, asked, nil
}

// unwatched says once that replicas are attached whose lag nobody can tell.
func (r *run) unwatched(ctx context.Context, query string, given int) {
	rows, err := r.engine.db.QueryContext(ctx, query)
	if err != nil {
		return // the role may not ask, or the server is too old for the word
	}
	defer rows.Close()
	attached := 0
	for rows.Next() {
		attached++
	}
	if rows.Err() == nil && attached > given && !r.toldAttached {
		r.toldAttached = true
		r.engine.config.Events(event.Notice{Text: fmt.Sprintf("%d replicas are attached to the server, and the lag of %d of them is not watched: name each with --replica", attached, attached-given)})
	}
}

// Read asks all replicas.
func (l *lag) Read(ctx context.Context) (throttle.Reading, error) {
	var times, bytes []throttle.Figure
	if l.texts.Replicas != "" {
		if err := l.connected(ctx, &times, &bytes); err != nil {
			return throttle.Reading{}, err
		}
	}
	if len(l.replicas) > 0 {
		if err := l.given(ctx, &times); err != nil {
			return throttle.Reading{}, err
		}
	}
	return l.worst(ctx, times, bytes)
}

func (l *lag) worst(ctx context.Context, times, bytes []throttle.Figure) (worst throttle.Reading, err error) {
	for _, x := range []struct {
		gauge   throttle.Gauge
		figures []throttle.Figure
	}{{l.time, times}, {l.bytes, bytes}} {
		if x.gauge.Limit <= 0 {
			continue
		}
		x.gauge.Ask = func(context.Context) ([]throttle.Figure, error) { return x.figures, nil }
		r, err := x.gauge.Read(ctx)
		if err != nil {
			return r, err
		}
		if worst.Reason == "" || r.Load > worst.Load {
			worst = r
		}
	}
	return worst, nil
}

// connected reads the replicas that stream from the server. One that is not there any more may have been put away, or have
// lost its way: for a while it counts as it was.
func (l *lag) connected(ctx context.Context, times, bytes *[]throttle.Figure) error {
	now, err := l.run.figures(l.texts.Position, l.run.asking)(ctx)
	if err != nil || len(now) != 1 {
		return errors.Join(err, ctx.Err())
	}
	l.positions.Mark(now[0].Value)
	found, err := l.run.figures(l.texts.Replicas, l.run.asking)(ctx)
	if err != nil {
		return err
	}
	for _, f := range found {
		l.streams[f.Of] = stream{f.Value, time.Now()}
	}
	for name, s := range l.streams {
		if time.Since(s.seen) > lost {
			delete(l.streams, name)
			l.run.engine.config.Events(event.Notice{Text: fmt.Sprintf("%s has not been connected for %s: its lag is not watched any more", name, lost)})
			continue
		}
		*times = append(*times, throttle.Figure{Of: name, Value: l.positions.Behind(s.position).Seconds()})
		*bytes = append(*bytes, throttle.Figure{Of: name, Value: max(now[0].Value-s.position, 0)})
	}
	return nil
}

// given asks the replicas that were named for the row that beats.
func (l *lag) given(ctx context.Context, times *[]throttle.Figure) error {
	if err := l.run.beat(ctx); err != nil {
		return err
	}
	now, err := l.run.figures(l.texts.Heartbeat, l.run.asking)(ctx)
	if err != nil || len(now) != 1 {
		return errors.Join(err, ctx.Err())
	}
	l.beats.Mark(now[0].Value)
	for _, r := range l.replicas {
		var beats float64
		switch err := r.DB.QueryRowContext(ctx, l.texts.Heartbeat).Scan(&beats); {
		case errors.Is(err, sql.ErrNoRows), fault.Undefined(err):
			beats = -1 // it has not heard of the change yet, or does not replicate the engine's tables
		case err != nil:
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		*times = append(*times, throttle.Figure{Of: r.Name, Value: l.beats.Behind(beats).Seconds()})
	}
	return nil
}
