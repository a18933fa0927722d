package migrate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
)

// A file may have phases, with a deploy between each two: what makes room for new code, and later what the old code needed. The
// migration waits in between, which keeps nobody who asks for its version. The next phase begins when a person, or the step of a pipeline behind
// the deploy, says that the deploy has happened (Config.Deployed), or by itself, where it names the version of an
// application that it needs and all instances that are registered have it (N13).

// Gate is what has to be so before a statement, and all behind it, may run.
type Gate struct {
	Reason string // in the file's words
	// App and Version, if they are there, are the application that has to be at a version or above it.
	App, Version string
}

var needed = regexp.MustCompile(`^([\w.-]+)\s*>=\s*v?([0-9][\w.-]*)$`)

// gated reads `shop >= 2.0`.
func gated(text string) (*Gate, error) {
	m := needed.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("changeling: needs %s: expected an application and its lowest version, as in shop >= 2.0", text)
	}
	return &Gate{Reason: "it needs " + text, App: m[1], Version: m[2]}, nil
}

// waiting ends a run at a gate.
type waiting struct{ text string }

func (w *waiting) Error() string { return w.text }

// gate answers a waiting error if a unit may not run yet.
func (r *run) gate(ctx context.Context, p *program, u *unit) error {
	g := u.statements[0].Gate
	if g == nil || p.direction != up {
		return nil
	}
	why := g.Reason
	if g.App != "" {
		old, young, err := r.instances(ctx, g)
		switch {
		case err != nil:
			return err
		case len(old) > 0:
			why = fmt.Sprintf("it needs %s at %s or above, and there still is %s", g.App, g.Version, strings.Join(old, ", "))
			return &waiting{why}
		case young > 0:
			return nil
		}
		why = fmt.Sprintf("it needs %s at %s or above, and no instance of it is registered", g.App, g.Version)
	}
	if r.m.config.Deployed {
		return nil
	}
	return &waiting{why + "; `changeling migrate up --deployed` says that it has happened"}
}

// instances are those of an application that are registered and older than needed, and how many are not.
func (r *run) instances(ctx context.Context, g *Gate) (old []string, young int, err error) {
	all, err := r.apps(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, i := range all {
		switch {
		case i.App != g.App:
		case compare(trimZeros(strings.TrimPrefix(i.Version, "v")), trimZeros(g.Version)) < 0:
			old = append(old, i.Instance+" at "+i.Version)
		default:
			young++
		}
	}
	if len(old) > 5 {
		old = append(old[:5], fmt.Sprintf("%d more", len(old)-5))
	}
	return old, young, nil
}

// halted notes that a migration waits, and says so.
func (r *run) halted(ctx context.Context, m *Migration, w *waiting, took time.Duration) error {
	row := r.row(m, journal.Waiting, took)
	row.Error = "waits: " + w.text
	if err := r.note(ctx, func(db state.DB) error { return r.store.Save(ctx, db, row) }); err != nil {
		return err
	}
	r.result.Stopped = fmt.Sprintf("%s waits before its next phase: %s", m, w.text)
	r.m.config.Events(event.Notice{Text: r.result.Stopped})
	return nil
}

// Instance is one process of an application, as it has registered itself.
type Instance struct {
	App      string    `json:"app"`
	Instance string    `json:"instance"`
	Version  string    `json:"version"`
	Until    time.Time `json:"until"` // when it counts no more unless it is heard of
}

func (sv server) appText() journal.AppText {
	if sv.mysql {
		return mysql.AppText()
	}
	return postgres.AppText()
}

// apps are the instances that are registered now.
func (s *session) apps(ctx context.Context) (out []Instance, err error) {
	text := s.server.appText()
	var there bool
	if err := s.db.QueryRowContext(ctx, text.Exists).Scan(&there); err != nil || !there {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, text.Select, s.store.Tree)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var i Instance
		var until float64
		if err := rows.Scan(&i.App, &i.Instance, &i.Version, &until); err != nil {
			return nil, err
		}
		i.Until = time.UnixMicro(int64(until * 1e6)).UTC()
		out = append(out, i)
	}
	return out, rows.Err()
}

// Instances are the processes of applications that are registered now.
func (m *Migrator) Instances(ctx context.Context) ([]Instance, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close() // nothing is in flight any more
	return s.apps(ctx)
}

// Register says that a process of an application runs at a version, for as long as hold; instance tells it from others, empty means
// Config.Owner. A version that is empty says that it has ended.
func (m *Migrator) Register(ctx context.Context, app, instance, version string, hold time.Duration) error {
	if app == "" || strings.ContainsAny(app, " \t\n") || len(app) > 60 || len(instance) > 100 || len(version) > 60 {
		return usage("application %q, instance %q, version %q: expected up to 60 letters without blanks, up to 100, and up to 60", app, instance, version)
	}
	if hold <= 0 {
		return usage("an instance is to be registered for %s: expected a time in which it will be heard of again", hold)
	}
	if instance == "" {
		instance = m.config.Owner
	}
	s, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	if err := s.store.Prepare(ctx); err != nil {
		return explainDenied(err)
	}
	text := s.server.appText()
	var there bool
	if err := s.db.QueryRowContext(ctx, text.Exists).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := s.db.ExecContext(ctx, text.Schema); err != nil && !fault.Duplicate(err) && !fault.Exists(err) {
			return explainDenied(err)
		}
	}
	if version == "" {
		_, err = s.db.ExecContext(ctx, text.Delete, s.store.Tree, app, instance)
		return err
	}
	_, err = s.db.ExecContext(ctx, text.Save, s.store.Tree, app, instance, version, hold.Seconds())
	return err
}

// Announce registers a process until ctx ends, and takes it out then. One that is killed counts for another half a minute. A database
// that is out of reach for a while is no error.
func (m *Migrator) Announce(ctx context.Context, app, instance, version string) error {
	const hold = 30 * time.Second
	if err := m.Register(ctx, app, instance, version, hold); err != nil {
		return err
	}
	tick := time.NewTicker(hold / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return m.Register(last, app, instance, "", hold)
		case <-tick.C:
		}
		if err := m.Register(ctx, app, instance, version, hold); err != nil && ctx.Err() == nil && !fault.Lost(err) && !fault.Transient(err) {
			if p := new(fault.Problem); errors.As(err, &p) && p.Kind == fault.Usage {
				return err
			}
			m.config.Events(event.Notice{Text: "not registered: " + err.Error()})
		}
	}
}
