package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

func newRebuild(a *app) *cobra.Command {
	var b changeling.Rebuild
	m := making{app: a}
	cmd := &cobra.Command{
		Use:   "rebuild TABLE",
		Short: "Write a table anew, without the space that dead rows left behind",
		Long: `Writes a table anew while everybody uses it, as VACUUM FULL, CLUSTER and OPTIMIZE TABLE do while nobody
can: rows close together, indexes fresh, the definition as it was. It is a change like any other and can be
watched, paused, resumed and aborted. The same command again goes on with one that is not finished; one
that is done is done again. A partitioned table is written anew with all its partitions, which PostgreSQL
has to have the disk for.

On a terminal it shows the plan and asks first. Without one it does not ask.`,
		Example: `  changeling rebuild orders
  changeling rebuild app.orders --fillfactor 80 --tablespace fast
  changeling rebuild events --order-by events_pkey`,
		Args: oneTable,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.Table = args[0]
			return m.run(cmd.Context(), func(ctx context.Context, e *changeling.Engine) (*changeling.Change, *plan.Plan, error) {
				return e.Rebuild(ctx, b)
			})
		},
	}
	m.w.flags(a, cmd)
	f := cmd.Flags()
	f.StringVar(&b.Tablespace, "tablespace", "", "move the table to a `tablespace` (PostgreSQL)")
	f.IntVar(&b.FillFactor, "fillfactor", 0, "fill pages to so many `percent`, from now on (PostgreSQL)")
	f.StringVar(&b.OrderBy, "order-by", "", "write the rows in the order of an `index`: a primary key, or a unique one that is NOT NULL (PostgreSQL)")
	m.flags(f, "now")
	return cmd
}

// making is a command that makes a change without a statement of its own.
type making struct {
	app             *app
	w               working
	back            *undoing // nil: there is nothing to go back to
	yes, hold, only bool
	drop            string
}

// flags are those that all of them have; drop is when the old table goes if nothing is said.
func (m *making) flags(f *pflag.FlagSet, drop string) {
	f.BoolVar(&m.only, "plan", false, "say how it would be done, and change nothing")
	f.BoolVar(&m.hold, "hold", false, "stop before the cutover, stay in step, and wait for 'changeling cutover'")
	f.StringVar(&m.drop, "drop", drop, "when the old table may go: now, after=`duration` (30m, 24h, 7d), or never")
	f.DurationVar(&m.w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.BoolVarP(&m.yes, "yes", "y", false, "do not ask")
}

// run goes on with the change that find finds, or makes the one of the plan that it answers.
func (m *making) run(ctx context.Context, find func(context.Context, *changeling.Engine) (*changeling.Change, *plan.Plan, error)) error {
	keep, err := parseDrop(m.drop)
	if err != nil {
		return err
	}
	config, err := m.w.config(m.app)
	if err != nil {
		return err
	}
	config.Hold, config.DropAfter = m.hold, keep
	if m.back != nil {
		if err := m.back.into(&config); err != nil {
			return err
		}
	}
	return m.app.with(ctx, config, func(e *changeling.Engine) error {
		change, p, err := find(ctx, e)
		if err == nil && change != nil && m.only {
			if s, err := change.Status(ctx); err != nil || s.Status == "done" { // it was told already
				return err
			}
		}
		if err == nil && m.only {
			return m.app.sayPlan(change, p)
		}
		if err == nil && change == nil {
			change, err = m.app.agreed(ctx, e, p, m.yes)
		}
		if err != nil {
			return err
		}
		return m.w.during(ctx, func() error { return change.Run(ctx) })
	})
}

func oneTable(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("one table is expected, not %d arguments", len(args))
	}
	return nil
}

// agreed starts what a plan says, after whoever sits at the terminal has agreed to it.
func (a *app) agreed(ctx context.Context, e *changeling.Engine, p *plan.Plan, yes bool) (*changeling.Change, error) {
	if _, ok := terminal(a.in); ok && !yes {
		v := view(p)
		v.command = " "
		if err := a.agree(ctx, v); err != nil {
			return nil, err
		}
	}
	return e.StartPlan(ctx, p)
}

// sayPlan prints what a change without a statement of its own would do, or which one it would go on with.
func (a *app) sayPlan(under *changeling.Change, p *plan.Plan) error {
	if under != nil {
		v := view(under.Plan())
		v.UnderWay = under.ID()
		return v.print(a.out)
	}
	v := view(p)
	v.command = " The same command without --plan carries it out."
	for i := range v.Steps {
		v.Steps[i].SQL = nil
	}
	if err := v.print(a.out); err != nil || v.Route != plan.Refuse {
		return err
	}
	return refusedPlan()
}

// agree shows a plan to a person and asks.
func (a *app) agree(ctx context.Context, v planView) error {
	if err := v.print(a.err); err != nil {
		return err
	}
	if v.Route == plan.Refuse {
		return refusedPlan()
	}
	return a.confirm(ctx, false, "Carry it out?", "yes")
}

func refusedPlan() error {
	return &fault.Problem{Kind: fault.Refused, Text: "the change is refused for the reasons that the plan gives; nothing was changed"}
}
