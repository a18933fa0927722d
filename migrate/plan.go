package migrate

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Planned is one migration as it would run. Its JSON form is a contract: fields are added, never changed.
type Planned struct {
	Version     string        `json:"version"`
	Name        string        `json:"name"`
	File        string        `json:"file"`
	Transaction bool          `json:"transaction"` // all of it in one
	Steps       []PlannedStep `json:"steps"`
	Lossy       bool          `json:"lossy"` // its way back, if there is one, loses data
	Reversible  bool          `json:"reversible"`
	Back        string        `json:"back"` // its way back: written, noted as it runs, or none
	Stop        string        `json:"stop"` // what has to happen behind it, before the next; empty: nothing
}

// PlannedStep is one statement of a Planned.
type PlannedStep struct {
	Line     int           `json:"line"`
	SQL      string        `json:"sql"`
	How      string        `json:"how"` // transaction, alone, setting, engine, function
	Why      string        `json:"why"`
	Route    string        `json:"route"` // the engine's; empty: it is not the engine's
	LockWait time.Duration `json:"lock_wait_ns"`
}

// Plan says what Up would do, with the database as it is now: a statement that needs what a pending one before it makes is
// planned when it is reached. It changes nothing.
func (m *Migrator) Plan(ctx context.Context, to string) ([]Planned, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close() // nothing is in flight any more
	target, err := s.tree.Resolve(to)
	if err != nil {
		return nil, err
	}
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	r := &run{session: s}
	defer r.close()
	if err := r.ready(st); err != nil {
		return nil, err
	}
	if r.conn, err = s.db.Conn(ctx); err != nil {
		return nil, err
	}
	out := []Planned{}
	for _, one := range r.pending(st, to, target) {
		p, err := r.compose(ctx, one, up)
		if err != nil {
			return nil, err
		}
		out = append(out, r.planned(p))
	}
	return out, nil
}

func (r *run) planned(p *program) Planned {
	m := p.migration
	out := Planned{Version: m.ID(), Name: m.Name, File: m.Up.File, Transaction: p.atomic, Reversible: m.Down != nil, Stop: m.Up.Stop, Steps: []PlannedStep{}}
	out.Back = r.wayOf(p)
	out.Lossy = m.Down != nil && len(r.server.losing(m.Down)) > 0
	for _, u := range p.units {
		if u.function != nil {
			out.Steps = append(out.Steps, PlannedStep{How: u.kind, Why: u.why})
		}
		for _, s := range u.statements {
			step := PlannedStep{Line: s.Line, SQL: s.SQL, How: u.kind, Why: u.why, LockWait: r.m.config.LockWait}
			if u.plan != nil {
				step.Route = string(u.plan.Route)
			}
			out.Steps = append(out.Steps, step)
		}
	}
	return out
}

// Text is a plan for a person.
func Text(all []Planned) string {
	var b strings.Builder
	for _, p := range all {
		how := "statement by statement, with a record of each"
		if p.Transaction {
			how = "one transaction"
		}
		back := "no way back"
		switch {
		case p.Lossy:
			back = "its way back loses data"
		case p.Reversible:
			back = "can be taken back"
		case p.Back == "noted":
			back = "its way back is noted as it runs"
		}
		fmt.Fprintf(&b, "%s %s (%s): %s, %s\n", p.Version, p.Name, p.File, how, back)
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "  %4d  %-11s  %s\n", s.Line, s.How, shorten(s.SQL, 100))
			if s.How != unitTx && s.How != unitSetting {
				fmt.Fprintf(&b, "                     %s\n", s.Why)
			}
		}
		if p.Stop != "" {
			fmt.Fprintf(&b, "  then stop: %s\n", p.Stop)
		}
	}
	return b.String()
}

// Markdown is a plan for a comment on a pull request.
func Markdown(all []Planned) string {
	var b strings.Builder
	for _, p := range all {
		how := "statement by statement"
		if p.Transaction {
			how = "one transaction"
		}
		fmt.Fprintf(&b, "### %s %s\n\n`%s`, %s\n\n| line | how | statement |\n|---|---|---|\n", p.Version, p.Name, p.File, how)
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "| %d | %s: %s | `%s` |\n", s.Line, s.How, s.Why, strings.ReplaceAll(shorten(s.SQL, 200), "|", `\|`))
		}
		b.WriteString("\n")
	}
	return b.String()
}
