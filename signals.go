package changeling

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/schema"
	"github.com/changeling-db/changeling/throttle"
)

// signals are the texts that a kind of server is asked with. An empty one is not for that kind.
type signals struct {
	MaySee       string // may the role see others, and what to grant if not
	Sessions     string
	Waits        string
	Transactions string
	Vacuuming    string
	Archive      string
	SlotShares   string
	SlotBytes    string
	History      string
	Log          string // a counter of bytes
	Position     string // of the log; where it counts as Log does, and replicas tell theirs
	Replicas     string // the positions of replicas that are connected
	Attached     string // lists replicas that do not tell where they are
	Heartbeat    string // how often the probe wrote
	Data         string // data directory, and true or the machine's name
}

func (postgresql) Signals(p schema.Pair, application string) signals {
	return signals{MaySee: postgres.MaySee, Sessions: postgres.Sessions, Waits: postgres.Waits(application), Transactions: postgres.Transactions,
		Vacuuming: postgres.Vacuuming(p.Table), Archive: postgres.Archive, SlotShares: postgres.SlotShares, SlotBytes: postgres.SlotBytes, Log: postgres.Position,
		Position: postgres.Position, Replicas: postgres.Replicas, Heartbeat: postgres.Heartbeat(p.Change), Data: postgres.Data}
}

func (d mysqld) Signals(p schema.Pair, _ string) signals {
	return signals{Sessions: mysql.ActiveSessions, Waits: mysql.Waits(d.maria), Transactions: mysql.Transactions, History: mysql.History, Log: mysql.Log,
		Attached: mysql.Replicas(d.maria), Heartbeat: mysql.Heartbeat(p.Change), Data: mysql.Data}
}

// slow is how often what moves slowly is asked.
const slow = 5 * time.Second

// source is a figure of the server and its limit.
type source struct {
	name, setting string
	query         string
	others        bool // shows what others do, which not every role may see
	set, usual    float64
	unit          func(float64) string
	hard          bool
	every         time.Duration
	slot          chan struct{} // of those that ask one at a time
	ask           func(ask func(context.Context) ([]throttle.Figure, error)) func(context.Context) ([]throttle.Figure, error)
}

func (r *run) sources(t signals, s Throttle) []source {
	table := []source{
		{name: "active sessions", setting: "max-load", query: t.Sessions, others: true, set: float64(s.MaxLoad), usual: 25, every: 500 * time.Millisecond},
		{name: "sessions that wait for us", query: t.Waits, others: true, usual: 1, every: 500 * time.Millisecond},
		{name: "oldest transaction", setting: "max-transaction", query: t.Transactions, others: true, set: seconds(s.MaxTransaction), unit: throttle.Seconds, every: time.Second},
		{name: "vacuum of the table", query: t.Vacuuming, others: true, usual: 1 / 0.9, every: slow}, // below the limit: no second worker beside it
		{name: "log", setting: "max-log-per-s", query: t.Log, set: float64(s.MaxLog), unit: throttle.ByteRate, every: time.Second, ask: throttle.PerSecond},
		{name: "history list length", setting: "max-history", query: t.History, set: float64(s.MaxHistory), usual: 1_000_000, every: slow},
		{name: "files that wait for their archiving", setting: "max-archive", query: t.Archive, set: float64(s.MaxArchive), usual: 128, hard: true, every: slow},
		{name: "log that may be kept for slot", query: t.SlotShares, usual: 0.8, unit: throttle.Percent, hard: true, every: slow},
		{name: "log kept for slot", setting: "max-slot", query: t.SlotBytes, set: float64(s.MaxSlot), unit: throttle.Bytes, hard: true, every: slow},
	}
	for _, q := range s.Queries {
		table = append(table, source{name: "the query " + shorten(q.Text, 60), setting: "throttle-query", query: q.Text, set: q.Limit, hard: true, every: time.Second, slot: r.querying})
	}
	return table
}

// watches are the signals of a run, each with a limit. What the role may not see, or the server does not have, is left out,
// with one word about it, unless it was asked for.
func (r *run) watches(ctx context.Context, s Throttle) ([]throttle.Watch, error) {
	texts := r.signals()
	sees, grant := true, ""
	if texts.MaySee != "" {
		if err := r.pinned(ctx, func(q state.DB) error { return q.QueryRowContext(ctx, texts.MaySee).Scan(&sees, &grant) }); err != nil {
			return nil, err
		}
	}
	var out []throttle.Watch
	var unseen []string
	add := func(w throttle.Watch, asked bool) {
		if asked { // whoever asks for it wants it heeded also where everything else is not
			w.Hard = w.Hard || r.engine.config.Fast
		}
		out = append(out, w)
	}
	for _, x := range r.sources(texts, s) {
		asked := x.set > 0
		if x.query == "" || x.set < 0 || x.set == 0 && (x.usual == 0 || r.engine.config.Fast && !x.hard) {
			continue
		}
		limit := cmp.Or(x.set, x.usual)
		ask := r.figures(x.query, cmp.Or(x.slot, r.asking))
		first, err := soon(ctx, ask)
		if x.others && !sees || fault.Denied(err) || fault.Undefined(err) {
			if !asked {
				unseen = append(unseen, x.name)
				continue
			}
			if err == nil {
				err = errors.New("the role may not see what others do")
			}
			problem := &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
				"%s is asked for, but %s cannot be read: %s. %s", x.setting, x.name, fault.Message(err), granted(grant))}
			if !r.began {
				return nil, problem
			}
			ask = func(context.Context) ([]throttle.Figure, error) { return nil, problem } // set while it runs: it is over its limit
		}
		if x.setting == "max-load" && !asked && err == nil && len(first) == 1 {
			limit = max(limit, 1.5*first[0].Value)
		}
		if x.ask != nil {
			ask = x.ask(ask)
		}
		add(throttle.Watch{Name: x.name, Signal: &throttle.Gauge{Name: x.name, Ask: ask, Limit: limit, Unit: x.unit}, Hard: x.hard, Interval: x.every}, asked)
	}
	if w, asked, err := r.lagging(ctx, texts, s, sees); err != nil {
		return nil, err
	} else if w != nil {
		add(throttle.Watch{Name: "replica lag", Signal: w, Hard: true}, asked)
	} else if !sees && s.MaxLag >= 0 && texts.Replicas != "" {
		if !r.began && (s.MaxLag > 0 || s.MaxLagBytes > 0) {
			return nil, &fault.Problem{Kind: fault.Precondition, Text: "max-lag is asked for, but the role may not see how far replicas are. " + granted(grant)}
		}
		unseen = append(unseen, "replica lag")
	}
	if limit := cmp.Or(s.MaxDisk, 0.95); limit > 0 {
		if dir := r.dataDirectory(ctx, texts.Data); dir != "" {
			add(throttle.Watch{Name: "disk of the server", Hard: true, Interval: slow, Signal: &throttle.Gauge{Name: "disk of the server", Limit: limit, Unit: throttle.Percent,
				Ask: func(context.Context) ([]throttle.Figure, error) {
					full, err := diskUsed(dir)
					return []throttle.Figure{{Value: full}}, err
				}}}, true)
		}
	}
	if !r.engine.config.Fast {
		add(throttle.Watch{Name: "chunk time", Signal: throttle.ChunkTime{Gate: r.gate, Target: r.engine.config.ChunkTime}}, false)
	}
	r.missed(unseen, grant)
	return append(out, outside(s)...), nil
}

// outside are the signals that do not come from the database.
func outside(s Throttle) (out []throttle.Watch) {
	for _, q := range s.Prometheus {
		p := throttle.Prometheus{URL: q.URL, Query: q.Text}
		out = append(out, throttle.Watch{Name: "Prometheus", Hard: true, Interval: slow, Signal: &throttle.Gauge{Name: "Prometheus, " + shorten(q.Text, 60), Ask: p.Ask, Limit: q.Limit}})
	}
	for _, address := range s.HTTP {
		out = append(out, throttle.Watch{Name: "HTTP", Hard: true, Interval: time.Second, Signal: throttle.HTTP{URL: address}})
	}
	for _, path := range s.Files {
		out = append(out, throttle.Watch{Name: "file", Hard: true, Signal: throttle.File{Path: path}})
	}
	if len(s.Window) > 0 {
		out = append(out, throttle.Watch{Name: "window", Hard: true, Signal: s.Window, Interval: time.Second})
	}
	return out
}

// missed says once what is not watched.
func (r *run) missed(unseen []string, grant string) {
	if len(unseen) == 0 || r.toldUnseen {
		return
	}
	r.toldUnseen = true
	r.engine.config.Events(event.Notice{Text: "not watched, because the role may not see it: " + strings.Join(unseen, ", ") + ". " + granted(grant)})
}

func granted(grant string) string {
	if grant == "" {
		return "Needed: GRANT PROCESS ON *.*, and SELECT on performance_schema.*, for this role"
	}
	return "Needed: " + grant
}

func seconds(d time.Duration) float64 {
	if d < 0 {
		return Off
	}
	return d.Seconds()
}

// soon asks once, and not for long.
func soon(ctx context.Context, ask func(context.Context) ([]throttle.Figure, error)) ([]throttle.Figure, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return ask(ctx)
}

// figures asks the server for figures: rows of a name and a number, or of a number alone. Signals ask one at a time, so that
// all of them together need one connection of the pool; queries of the user's another one, since they may take their time.
func (r *run) figures(query string, slot chan struct{}) func(context.Context) ([]throttle.Figure, error) {
	return func(ctx context.Context) ([]throttle.Figure, error) {
		select {
		case slot <- struct{}{}:
			defer func() { <-slot }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if slot == r.querying { // it is the user's own, under his own path
			return figuresOf(ctx, r.engine.db, query)
		}
		var out []throttle.Figure
		err := r.pinned(ctx, func(q state.DB) (err error) {
			out, err = figuresOf(ctx, q, query)
			return err
		})
		return out, err
	}
}

func figuresOf(ctx context.Context, q state.DB, query string) ([]throttle.Figure, error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if n := len(columns); n != 1 && n != 2 {
		return nil, fmt.Errorf("the query answers %d columns, expected one, a number, or two, a name and a number", n)
	}
	var out []throttle.Figure
	for rows.Next() {
		var name sql.NullString
		var value sql.NullFloat64
		into := []any{&name, &value}
		if err := rows.Scan(into[2-len(columns):]...); err != nil {
			return nil, err
		}
		if value.Valid {
			out = append(out, throttle.Figure{Of: strings.TrimPrefix(name.String, statusPrefix(name.String)), Value: value.Float64})
		}
	}
	return out, rows.Err()
}

// statusPrefix is all of a name of SHOW GLOBAL STATUS, which says what we say better.
func statusPrefix(name string) string {
	if name == "Threads_running" || strings.HasPrefix(name, "Innodb_") {
		return name
	}
	return ""
}

// dataDirectory is where the server keeps its data, if that is on this machine.
func (r *run) dataDirectory(ctx context.Context, query string) string {
	var dir, where string
	if err := r.pinned(ctx, func(q state.DB) error { return q.QueryRowContext(ctx, query).Scan(&dir, &where) }); err != nil {
		return "" // not every role may ask
	}
	host, err := os.Hostname()
	if where != "true" && (err != nil || where != host) {
		return ""
	}
	if _, err := diskUsed(dir); err != nil {
		return ""
	}
	return dir
}
