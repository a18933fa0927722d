package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/plan"
)

// breakView is something that running application code would trip over, and the way around it, deploy by deploy.
type breakView struct {
	Rule string   `json:"rule"` // of docs/LINT.md
	What string   `json:"what"`
	Way  []string `json:"way"` // SQL, and comments for what is done between
}

// breaking are the rules about code that is running.
var breaking = []string{"L04", "L15", "L17", "L18", "L19", "L60", "L61", "L70"}

// explain adds what the plan costs, what it leaves and what it breaks.
func (v *planView) explain(ctx context.Context, e *changeling.Engine) error {
	if v.plan == nil || v.Route == plan.Refuse {
		return nil
	}
	speed, err := e.Speed(ctx, v.plan)
	if err != nil {
		return err
	}
	for i, c := range v.plan.Costs(speed) {
		s := &v.Steps[i]
		s.ReadBytes, s.WriteBytes, s.TakesMs = c.Read, c.Write, c.Time.Milliseconds()
		v.TakesMs += s.TakesMs
	}
	if v.plan.Family != nil {
		v.TakesMs = 0 // that of one of several tables
	}
	v.Stays = append(v.Stays, v.plan.Stays()...)
	version, err := e.Version(ctx)
	if err != nil {
		return err
	}
	target, err := lint.ParseTarget(server(version))
	if err != nil {
		return nil // a version that the rules do not know
	}
	if v.plan.Back != nil && !v.plan.Covers() {
		v.Breaks = append(v.Breaks, breakView{Rule: "L60", What: fmt.Sprintf("code that still uses %s fails as soon as it is put aside", v.Table),
			Way: []string{"-- 1. deploy code that does not use it", "-- 2. changeling run --drop after=7d; what still fails then is cured by changeling undo ID, in one short transaction"}})
	}
	found, err := lint.Check([]lint.Script{{File: "-", Statements: []lint.Statement{{SQL: v.plan.Statement, Line: 1}}}}, lint.Options{Target: target})
	if err != nil {
		return err
	}
	for _, f := range found {
		if slices.Contains(breaking, f.Rule) && v.plan.Back == nil {
			v.Breaks = append(v.Breaks, breakView{Rule: f.Rule, What: f.Message, Way: f.Instead})
		}
	}
	return nil
}

// cost is what a step reads and writes, for a person; empty where it is nothing to speak of.
func (s stepView) cost() string {
	var parts []string
	if s.ReadBytes > 0 {
		parts = append(parts, "reads "+size(s.ReadBytes))
	}
	if s.WriteBytes > 0 {
		parts = append(parts, "writes "+size(s.WriteBytes))
	}
	if s.TakesMs > 0 {
		parts = append(parts, about(s.TakesMs))
	}
	return strings.Join(parts, ", ")
}

// about is an estimate for a person: nobody knows it to the second.
func about(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return "about a second at most"
	case d < 2*time.Minute:
		return fmt.Sprintf("about %d seconds", int(d.Seconds()+0.5))
	case d < 2*time.Hour:
		return fmt.Sprintf("about %d minutes", int(d.Minutes()+0.5))
	}
	return fmt.Sprintf("about %d hours", int(d.Hours()+0.5))
}
