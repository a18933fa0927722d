package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/plan"
)

func newPlan(a *app) *cobra.Command {
	var from statement
	var asJSON, asMarkdown, withSQL, detailed, data, unseen bool
	var f findings
	var way route
	var stage stages
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "plan [STATEMENT | - | --sql-file FILE]",
		Short: "Say how a change would be made; changes nothing",
		Long: `Says how a change would be made: the route and why, each step with its lock and the longest
wait for it, and the disk space needed. It is read-only: what is tried is tried on an empty
twin of the table in a transaction that is rolled back. Where the role may not make one, or with
--no-rehearsal, the rules of lint alone say what the statement would do, and the route is unknown.

A plan that refuses says why, and exits 3.

The input may have several statements, as a migration file has, and --sql-file may be given several times:
each is planned as the database is now. With --sarif or --github each statement that the server does not do
at once is a finding, with its route, its steps and their locks.`,
		Example: `  changeling plan "ALTER TABLE orders ALTER COLUMN id TYPE bigint"
  changeling plan --sql --sql-file widen_id.sql
  changeling plan --json - < widen_id.sql | jq -r .route
  changeling plan --markdown --check-data --sql-file 0042.sql   # for a pull request
  changeling plan --github --sql-file 0042.sql --sql-file 0043.sql`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if several(asJSON, asMarkdown, f.sarif, f.github) {
				return usage("--json, --markdown, --sarif and --github are forms of one answer: give one of them")
			}
			config := changeling.Config{LockWait: wait}
			way.into(&config)
			if err := stage.into(cmd, &config); err != nil {
				return err
			}
			if unseen && (data || detailed || f.sarif || f.github) {
				return usage("--no-rehearsal looks at no table: give it without --check-data, --detailed-exitcode, --sarif and --github; `changeling lint` has these forms for files")
			}
			if f.sarif || f.github {
				f.data, f.detailed = data, detailed
				return a.with(cmd.Context(), config, func(e *changeling.Engine) error { return f.judge(cmd.Context(), a, e, &from, args) })
			}
			form := planForm{data: data, withSQL: withSQL, unseen: unseen, detailed: detailed, write: planView.print}
			switch {
			case asJSON:
				form.write = planView.json
			case asMarkdown:
				form.write = planView.markdown
			}
			inputs, err := from.inputs(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), config, func(e *changeling.Engine) error {
				list, err := statements(cmd.Context(), e, inputs, false)
				if err != nil {
					return err
				}
				return form.all(cmd.Context(), a, e, list)
			})
		},
	}
	a.captureFlags(cmd)
	from.flags(cmd)
	way.flags(cmd)
	stage.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	cmd.Flags().BoolVar(&asMarkdown, "markdown", false, "print the plan as Markdown, for a pull request")
	cmd.Flags().BoolVar(&f.sarif, "sarif", false, "print what is not done at once as SARIF 2.1.0, of any number of statements")
	cmd.Flags().BoolVar(&f.github, "github", false, "print what is not done at once as annotations for GitHub, of any number of statements")
	cmd.Flags().BoolVar(&data, "check-data", false, "ask for the rows that break conversions, new checks, keys and NOT NULLs; exit 5 if there are some")
	cmd.Flags().BoolVar(&unseen, "no-rehearsal", false, "make nothing in the database, not even for a moment: the rules alone say what the statement would do")
	cmd.Flags().BoolVar(&withSQL, "sql", false, "show the statements of each step; their names hold an id that each run makes anew")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 10 if there is work to do, 0 if not")
	cmd.Flags().DurationVar(&wait, "lock-timeout", 0, "the longest wait for a lock, a `duration` (default 200ms)")
	return cmd
}

// planForm is what is asked and told of a plan.
type planForm struct {
	data, withSQL, unseen, detailed bool
	write                           func(planView, io.Writer) error
}

// all plans statements, each as the database is now, and answers the worst of what they end with.
func (f planForm) all(ctx context.Context, a *app, e *changeling.Engine, list []string) error {
	var worst error
	work, first := false, 0
	if !f.unseen {
		var err error
		if first, err = behind(ctx, e, list); err != nil {
			return err
		}
	}
	for i, text := range list {
		v, err := made(text), error(nil)
		if i >= first {
			v, err = lookOr(ctx, e, text, !f.unseen)
		}
		switch {
		case err != nil && !(i > 0 && work) || fault.Lost(err) || fault.Canceled(err):
			return among(err, i, len(list))
		case err != nil:
			v = planView{Statement: text, Route: unknown, Refusals: []string{}, Steps: []stepView{}, Stays: []string{}, Breaks: []breakView{},
				Why: "it cannot be planned as the database is now, and perhaps once what comes before it is done: " + fault.Message(err)}
		case f.data:
			if err := v.ask(ctx, e); err != nil {
				return err
			}
		}
		if !f.withSQL {
			for i := range v.Steps {
				v.Steps[i].SQL = nil
			}
		}
		if i > 0 {
			a.printf("\n")
		}
		if err := f.write(v, a.out); err != nil {
			return err
		}
		work = work || !v.Done
		if ends := f.ends(v); worst == nil || ends != nil && exitCode(ends) < exitCode(worst) {
			worst = ends
		}
	}
	return worst
}

// ends is what the command ends with.
func (f planForm) ends(v planView) error {
	switch {
	case v.Route == plan.Refuse:
		return &fault.Problem{Kind: fault.Refused, Text: "the change is refused for the reasons that the plan gives; nothing was changed"}
	case v.broken():
		return &fault.Problem{Kind: fault.Refusal, Text: "rows break what the statement demands of them, as the plan says; nothing was changed"}
	case f.detailed && !v.Done:
		return ended(10)
	}
	return nil
}

// planView is a plan as the command shows it. Its JSON form is a contract: fields are added, never changed.
type planView struct {
	Statement string     `json:"statement"`
	Table     string     `json:"table"`
	Route     plan.Route `json:"route"`
	Why       string     `json:"why"`
	Done      bool       `json:"done"`      // made already, and the table is still so: run would do nothing
	UnderWay  string     `json:"under_way"` // id of the unfinished change that run would go on with; empty: none
	Rows      int64      `json:"rows_estimate"`
	Bytes     int64      `json:"bytes"`
	Spare     int64      `json:"spare_bytes"`
	Refusals  []string   `json:"refusals"`
	Steps     []stepView `json:"steps"`
	// Effect is what the server would do with the plain statement while others wait: direct, scan, rewrite; empty: not known.
	Effect string     `json:"effect"`
	Ways   []plan.Way `json:"ways,omitempty"` // that could be gone, and what each costs, where there is a choice
	// Undo says whether the change can be undone until its old table is dropped: "yes", "no: " and why, or nothing where there is no old table.
	Undo string `json:"undo,omitempty"`
	// Takes is what the steps take together, estimated; zero: not known. Waits for others are not in it.
	TakesMs int64       `json:"takes_ms"`
	Stays   []string    `json:"stays_behind"`   // that the statement alone would not leave
	Breaks  []breakView `json:"breaks"`         // what running application code would trip over
	Data    []dataView  `json:"data,omitempty"` // of --check-data
	// Rules are what the rules say where nothing was rehearsed, and the route is "unknown".
	Rules []lint.Finding `json:"rules,omitempty"`
	plan  *plan.Plan

	command string // says what carries it out, where that is not run
}

// dataView is a question to the data and its answer.
type dataView struct {
	Name  string   `json:"name"`
	Rows  int64    `json:"rows"`           // that break it
	More  bool     `json:"more,omitempty"` // there may be more: the search ended
	Keys  []string `json:"keys"`           // of the first three
	Why   string   `json:"why,omitempty"`  // what the first of them fails on, in the server's words
	Error string   `json:"error,omitempty"`

	text string // in a line
}

// ask looks for rows that break what the statement demands.
func (v *planView) ask(ctx context.Context, e *changeling.Engine) error {
	if v.plan == nil {
		return nil
	}
	found, err := e.CheckData(ctx, v.plan)
	for _, f := range found {
		d := dataView{Name: f.Name, Rows: f.Rows, More: f.More, Keys: append([]string{}, f.Keys...), Why: f.Why, text: f.String()}
		if f.Err != nil {
			d.Error = "cannot be asked before: " + fault.Message(f.Err)
		}
		v.Data = append(v.Data, d)
	}
	return err
}

// broken says that rows stand in the statement's way.
func (v planView) broken() bool {
	return slices.ContainsFunc(v.Data, func(d dataView) bool { return d.Rows > 0 })
}

type stepView struct {
	Kind   plan.Kind `json:"kind"`
	Name   string    `json:"name"`
	Lock   string    `json:"lock"`         // the strongest on a table that others use; empty: none
	WaitMs int64     `json:"lock_wait_ms"` // the longest wait for it
	Why    string    `json:"why"`
	SQL    []string  `json:"sql,omitempty"`
	Table  string    `json:"table,omitempty"` // of a step that changes another one, by a change of its own
	// Estimates, zero where nothing is read or written but the catalogue.
	ReadBytes  int64 `json:"read_bytes"`
	WriteBytes int64 `json:"write_bytes"`
	TakesMs    int64 `json:"takes_ms"`
}

// look is what run would find: a change that was made, one that is under way, or a new plan.
func look(ctx context.Context, e *changeling.Engine, text string) (planView, error) {
	found, done, err := e.Known(ctx, text)
	if err != nil {
		return planView{}, err
	}
	if found != nil {
		v := view(found.Plan())
		v.UnderWay = found.ID()
		return v, nil
	}
	p, err := e.Plan(ctx, text)
	if err != nil && done {
		// After a RENAME COLUMN its own statement cannot be planned any more.
		return made(text), nil
	}
	if err != nil {
		return planView{}, err
	}
	v := view(p)
	if err := v.explain(ctx, e); err != nil {
		return v, err
	}
	if done {
		v.Done, v.Why, v.Steps = true, alreadyDone, []stepView{}
	}
	return v, nil
}

// made is the view of a statement that there is nothing to do for.
func made(text string) planView {
	return planView{Statement: text, Route: plan.Direct, Why: alreadyDone, Done: true, Refusals: []string{}, Steps: []stepView{}, Stays: []string{}, Breaks: []breakView{}}
}

const alreadyDone = "made already by changeling, and the table is still as it was left: there is nothing to do"

func view(p *plan.Plan) planView {
	v := planView{Statement: p.Statement, Table: p.Table.String(), Route: p.Route, Why: p.Why,
		Effect: p.Effect, plan: p,
		Rows: p.Rows, Bytes: p.Bytes, Spare: p.Spare, Ways: p.Ways, Refusals: append([]string{}, p.Refusals...), Steps: []stepView{}, Stays: []string{}, Breaks: []breakView{}}
	switch {
	case p.Undo != nil, p.Back != nil:
		v.Undo = "yes"
	case p.NoUndo != "":
		v.Undo = "no: " + p.NoUndo
	}
	for _, s := range p.Steps {
		step := stepView{Kind: s.Kind, Name: s.Name, Lock: s.Lock, Why: s.Why, SQL: s.SQL}
		if s.Lock != "" {
			step.WaitMs = s.LockWait.Milliseconds()
		}
		if s.Member != nil {
			step.Table = s.Member.Table.String()
		}
		v.Steps = append(v.Steps, step)
	}
	return v
}

func (v planView) json(w io.Writer) error { return indented(w, v) }

// indented writes a value as JSON for people and programs.
func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (v planView) print(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	row("statement", "%s", v.Statement)
	if v.Table != "" {
		row("table", "%s, about %d rows, %s with indexes", v.Table, max(v.Rows, 0), size(v.Bytes))
	}
	row("route", "%s", v.Route)
	row("why", "%s", v.Why)
	if v.Effect == "scan" || v.Effect == "rewrite" {
		row("instead of", "%s", effects[v.Effect])
	}
	if v.UnderWay != "" {
		row("under way", "change %s: `changeling run` goes on with it", v.UnderWay)
	}
	if v.plan != nil {
		for _, text := range costs(v.plan) {
			row("cost", "%s", text)
		}
	}
	if v.Spare > 0 && v.Route == plan.ShadowColumn {
		row("disk", "%s more while the change runs", size(v.Spare))
	} else if v.Spare > 0 {
		row("disk", "%s more while the change runs; the old table's space comes back when it is dropped", size(v.Spare))
	}
	switch {
	case v.Undo == "yes" && v.plan.Attaches():
		row("undo", "possible as long as the other partitions are empty: `changeling undo` detaches the table")
	case v.Undo == "yes" && v.plan.Back != nil:
		row("undo", "possible until then: `changeling undo` brings it back")
	case v.Undo == "yes" && v.plan.Pair.Binlog:
		row("undo", "possible until the old table is dropped, as long as the server keeps its binary log")
	case v.Undo == "yes":
		row("undo", "possible until the old table is dropped; meanwhile each write to the table logs its key")
	case v.Undo != "":
		row("undo", "%s", v.Undo)
	}
	if v.TakesMs > 0 {
		row("takes", "%s", about(v.TakesMs))
	}
	for _, s := range v.Stays {
		row("stays", "%s", s)
	}
	for _, k := range v.Breaks {
		row("breaks", "%s", k.What)
		for _, line := range k.Way {
			fmt.Fprintf(&b, "%-10s %s\n", "", clean(line))
		}
	}
	for _, f := range v.Rules {
		row("rule", "%s", ruled(f))
		for _, line := range f.Instead {
			fmt.Fprintf(&b, "%-10s %s\n", "", clean(line))
		}
	}
	for _, r := range v.Refusals {
		row("refused", "%s", r)
	}
	for _, d := range v.Data {
		row("data", "%s", d.text)
	}
	for i, s := range v.Steps {
		fmt.Fprintf(&b, "\n%2d %-20s %s\n   %s\n", i+1, clean(s.Name), s.holds(), s.Why)
		if cost := s.cost(); cost != "" {
			fmt.Fprintf(&b, "   %s\n", cost)
		}
		for _, text := range s.SQL {
			fmt.Fprintf(&b, "      %s;\n", strings.ReplaceAll(strings.TrimRight(text, "; \n"), "\n", "\n      "))
		}
	}
	b.WriteString("\nThis is a plan: nothing was changed.")
	if v.Route != plan.Refuse && v.Route != unknown && !v.Done {
		b.WriteString(cmp.Or(v.command, " `changeling run` with the same statement carries it out."))
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// effects are what the server would do, in words.
var effects = map[string]string{
	"scan":    "the server reading all rows, or building an index, under the statement's own lock",
	"rewrite": "the server writing the table, or an index, anew under the statement's own lock",
}

// clean makes a text safe and short enough for one place of a terminal: no line breaks, no control characters.
func clean(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// size writes bytes for a person.
func size(n int64) string {
	value, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, u
	}
	if value >= 100 || unit == "B" {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
