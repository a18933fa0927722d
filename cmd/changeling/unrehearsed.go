package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/plan"
)

// unknown is the route of a plan that nobody has rehearsed.
const unknown plan.Route = "unknown"

// lookOr is look, or what the rules alone say where a rehearsal is not wanted, or not allowed to this role.
func lookOr(ctx context.Context, e *changeling.Engine, text string, rehearse bool) (planView, error) {
	why := "it was not rehearsed, as --no-rehearsal says"
	if rehearse {
		v, err := look(ctx, e, text)
		if err == nil || !fault.Denied(err) || errors.Is(err, changeling.ErrUsage) {
			return v, err
		}
		why = "it could not be rehearsed: " + fault.Message(err)
	}
	return byRules(ctx, e, text, why)
}

// byRules is what the rules of lint say of a statement, without a look at the table.
func byRules(ctx context.Context, e *changeling.Engine, text, why string) (planView, error) {
	version, err := e.Version(ctx)
	if err != nil {
		return planView{}, err
	}
	target, err := lint.ParseTarget(server(version))
	if err != nil {
		return planView{}, &fault.Problem{Kind: fault.Refused, Text: err.Error(), Err: err}
	}
	statements, err := plan.Split(text, target.Syntax())
	if err != nil {
		return planView{}, usage("%v", err)
	}
	script := lint.Script{File: "statement"}
	for _, s := range statements {
		script.Statements = append(script.Statements, lint.Statement{SQL: s, Line: 1})
	}
	found, err := lint.Check([]lint.Script{script}, lint.Options{Target: target})
	if err != nil {
		return planView{}, err
	}
	v := planView{Statement: text, Route: unknown, Why: why + "; what stands below the rules say, who know neither the table nor its size",
		Refusals: []string{}, Steps: []stepView{}, Stays: []string{}, Breaks: []breakView{}, Rules: append([]lint.Finding{}, found...)}
	return v, nil
}

// ruled is a finding of the rules in a line.
func ruled(f lint.Finding) string { return fmt.Sprintf("%s, %s: %s", f.Rule, f.Level, f.Message) }
