package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// findings are the plans of any number of statements, as continuous integration takes them: what the server does not do at once is
// a finding, in the forms of lint.
type findings struct {
	sarif, github  bool
	data, detailed bool

	found []lint.Finding
	made  []string // tables that earlier statements make, without their schemas
	since string   // the first statement before this one that changes something; empty: there is none
	work  bool     // there is something to do
	bad   int      // the exit code of the worst
}

// unplanned and dataRule are the rules of findings that are no route.
const (
	unplanned = "unplanned"
	dataRule  = "data"
)

// planRules are the rules of a plan's findings: the routes, and what breaks running code.
func planRules() []lint.Rule {
	out := []lint.Rule{
		{ID: string(plan.Recipe), Catches: "changeling does it in several steps, none of which keeps others waiting", Level: lint.Note},
		{ID: string(plan.ShadowTable), Catches: "changeling does it by a second table", Level: lint.Warning},
		{ID: string(plan.ShadowColumn), Catches: "changeling does it by a second column", Level: lint.Warning},
		{ID: string(plan.Refuse), Catches: "changeling refuses it", Level: lint.Error},
		{ID: dataRule, Catches: "rows break what the statement demands of them", Level: lint.Error},
		{ID: unplanned, Catches: "the statement cannot be planned", Level: lint.Error},
	}
	for _, id := range breaking {
		out = append(out, *lint.Find(id))
	}
	return out
}

// judge plans all statements, each as the tables are now, and writes what it found.
func (f *findings) judge(ctx context.Context, a *app, e *changeling.Engine, from *statement, args []string) error {
	target, err := targeted(ctx, e)
	if err != nil {
		return err
	}
	inputs, err := from.inputs(ctx, a, args)
	if err != nil {
		return err
	}
	list, err := forward(target, inputs)
	if err != nil {
		return err
	}
	for _, st := range list {
		if err := f.one(ctx, e, st.file, st.Statement, target.Syntax()); err != nil {
			return err
		}
	}
	report := lint.NewReport(target, len(inputs), f.found)
	report.Rules = planRules()
	write := report.GitHub
	if f.sarif {
		write = report.SARIF
	}
	switch err := write(a.out); {
	case err != nil:
		return err
	case f.bad != 0:
		return ended(f.bad)
	case f.detailed && f.work:
		return ended(10)
	}
	return nil
}

// ddl are the words that statements begin with which a plan is about. Others, as SET, BEGIN and INSERT, are passed over.
var ddl = strings.Fields("ALTER CREATE DROP RENAME TRUNCATE REINDEX CLUSTER REFRESH VACUUM OPTIMIZE COMMENT GRANT REVOKE")

// one plans a statement.
func (f *findings) one(ctx context.Context, e *changeling.Engine, file string, st migrate.Statement, syntax plan.Syntax) error {
	parsed, _ := plan.Parse(st.SQL, syntax) // what is wrong with it the plan says
	first, _, _ := strings.Cut(parsed.Verb, " ")
	if parsed.Verb != "" && !slices.Contains(ddl, first) {
		return nil
	}
	at := lint.Finding{File: file, Line: st.Line, Statement: st.SQL}
	defer f.note(at, parsed)
	if f.fresh(parsed) {
		return nil
	}
	v, err := look(ctx, e, st.SQL)
	switch {
	case fault.Lost(err), fault.Canceled(err), ctx.Err() != nil:
		return err
	case err != nil && f.since != "" && fault.Code(err) != "42601":
		at.Rule, at.Level = unplanned, lint.Warning
		at.Message = fmt.Sprintf("cannot be planned as the database is now, and perhaps once what comes before it is done (from %s): %s", f.since, fault.Message(err))
	case err != nil:
		at.Rule, at.Level, at.Message = unplanned, lint.Error, "cannot be planned: "+fault.Message(err)
		f.worse(3)
	}
	if err != nil {
		f.found = append(f.found, at)
		return nil
	}
	if f.data {
		if err := v.ask(ctx, e); err != nil {
			return err
		}
	}
	f.tell(at, v)
	return nil
}

// tell makes the findings of a plan.
func (f *findings) tell(at lint.Finding, v planView) {
	f.work = f.work || !v.Done
	if v.Done {
		return
	}
	if rules := planRules(); v.Route != plan.Direct {
		one := at
		one.Rule, one.Message = string(v.Route), v.Why
		one.Level = rules[slices.IndexFunc(rules, func(r lint.Rule) bool { return r.ID == one.Rule })].Level
		if v.Route == plan.Refuse {
			one.Message = "refused: " + strings.Join(v.Refusals, "; ")
			f.worse(3)
		} else {
			one.Route = string(v.Route)
		}
		for i, s := range v.Steps {
			one.Steps = append(one.Steps, fmt.Sprintf("%d. %s: %s", i+1, clean(s.Name), s.holds()))
		}
		f.found = append(f.found, one)
	}
	for _, k := range v.Breaks {
		one := at
		one.Rule, one.Level, one.Message, one.Instead = k.Rule, lint.Find(k.Rule).Level, k.What, k.Way
		f.found = append(f.found, one)
	}
	for _, d := range v.Data {
		if d.Rows > 0 {
			one := at
			one.Rule, one.Level, one.Message = dataRule, lint.Error, d.text
			f.found = append(f.found, one)
			f.worse(5)
		}
	}
}

// worse keeps the exit code of the worst: what is refused comes before rows that break something.
func (f *findings) worse(code int) {
	if f.bad == 0 || code < f.bad {
		f.bad = code
	}
}

// holds says what lock a step takes, and how long it waits for it.
func (s stepView) holds() string {
	if s.Lock == "" {
		return "no lock on a table of yours"
	}
	return fmt.Sprintf("%s, waits at most %s for it", s.Lock, time.Duration(s.WaitMs)*time.Millisecond)
}

// fresh says that a statement makes a table, or is about one that these files make: nobody uses it yet.
func (f *findings) fresh(s plan.Statement) bool {
	var names []string
	if s.Table.Table != "" {
		names = append(names, s.Table.Table)
		for _, c := range s.Clauses {
			if c.Other.Table != "" {
				names = append(names, c.Other.Table)
			}
		}
	} else {
		for _, n := range append(slices.Clone(s.Objects), s.Tables...) {
			names = append(names, n.Table)
		}
	}
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(f.made, strings.ToLower(n)) })
}

// note remembers what a statement changes.
func (f *findings) note(at lint.Finding, s plan.Statement) {
	if f.since == "" {
		f.since = fmt.Sprintf("%s:%d", at.File, at.Line)
	}
	if strings.HasPrefix(s.Verb, "CREATE") && s.Kind == "TABLE" && len(s.Objects) > 0 && !s.IfExists {
		f.made = append(f.made, strings.ToLower(s.Objects[0].Table))
	}
}
