package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

func newRebuild(a *app) *cobra.Command {
	var b changeling.Rebuild
	var w working
	var yes, hold, only bool
	var drop string
	cmd := &cobra.Command{
		Use:   "rebuild TABLE",
		Short: "Write a table anew, without the space that dead rows left behind",
		Long: `Writes a table anew while everybody uses it, as VACUUM FULL, CLUSTER and OPTIMIZE TABLE do while nobody
can: rows close together, indexes fresh, the definition as it was. It is a change like any other and can be
watched, paused, resumed and aborted. The same command again goes on with one that is not finished; one
that is done is done again.

On a terminal it shows the plan and asks first. Without one it does not ask.`,
		Example: `  changeling rebuild orders
  changeling rebuild app.orders --fillfactor 80 --tablespace fast
  changeling rebuild events --order-by events_pkey`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("one table is expected, not %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			keep, err := parseDrop(drop)
			if err != nil {
				return err
			}
			config, err := w.config(a)
			if err != nil {
				return err
			}
			config.Hold, config.DropAfter, b.Table = hold, keep, args[0]
			return a.with(ctx, config, func(e *changeling.Engine) error {
				change, p, err := e.Rebuild(ctx, b)
				if err == nil && only {
					return a.sayPlan(change, p)
				}
				if err == nil && change == nil {
					change, err = a.agreed(ctx, e, p, yes)
				}
				if err != nil {
					return err
				}
				return w.during(ctx, func() error { return change.Run(ctx) })
			})
		},
	}
	w.flags(a, cmd)
	f := cmd.Flags()
	f.StringVar(&b.Tablespace, "tablespace", "", "move the table to a `tablespace` (PostgreSQL)")
	f.IntVar(&b.FillFactor, "fillfactor", 0, "fill pages to so many `percent`, from now on (PostgreSQL)")
	f.StringVar(&b.OrderBy, "order-by", "", "write the rows in the order of an `index`: a primary key, or a unique one that is NOT NULL (PostgreSQL)")
	f.BoolVar(&only, "plan", false, "say how it would be done, and change nothing")
	f.BoolVar(&hold, "hold", false, "stop before the cutover, stay in step, and wait for 'changeling cutover'")
	f.StringVar(&drop, "drop", "now", "when the old table may go: now, after=`duration` (30m, 24h, 7d), or never")
	f.DurationVar(&w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
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
