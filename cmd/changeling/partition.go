package main

import (
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newPartition(a *app) *cobra.Command {
	var b changeling.Partitioning
	var w working
	var back undoing
	var yes, hold, only bool
	var drop string
	cmd := &cobra.Command{
		Use:   "partition TABLE",
		Short: "Partition a table of PostgreSQL that has rows",
		Long: `Makes a plain table of PostgreSQL one that is partitioned, while everybody uses it: its rows go to a second
table, partition by partition, which takes its place. Names of indexes and constraints stay what they are. It is
a change like any other and can be watched, paused, resumed, aborted and undone. The same command again goes on
with one that is not finished.

A primary key or unique index must have all columns that the table is partitioned by. A row that fits no
partition is named, and stops the change before anything is swapped.

On a terminal it shows the plan and asks first. Without one it does not ask.
MySQL and MariaDB have a statement for it: changeling run "ALTER TABLE orders PARTITION BY …".`,
		Example: `  changeling partition orders --by 'range (created_at)' --partition "orders_2025 FOR VALUES FROM (MINVALUE) TO ('2026-01-01')" \
    --partition "orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')" --default orders_rest
  changeling partition app.orders --by 'list (region)' --partition "orders_eu FOR VALUES IN ('de', 'fr')" --default orders_rest
  changeling partition events --by 'hash (id)' --partitions 8 --plan`,
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
			if err := back.into(&config); err != nil {
				return err
			}
			return a.with(ctx, config, func(e *changeling.Engine) error {
				change, p, err := e.Partition(ctx, b)
				if err == nil && change != nil && only {
					if s, err := change.Status(ctx); err != nil || s.Status == "done" { // it was told already
						return err
					}
				}
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
	w.dataFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&b.By, "by", "", "`what` to partition by: 'range (created_at)', 'list (region)', 'hash (id)'")
	f.StringArrayVar(&b.Partitions, "partition", nil, "a `partition`, its name and its bound: \"orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\"; once for each")
	f.StringVar(&b.Default, "default", "", "the `name` of the partition for all other rows; without one a row that fits none stops the change")
	f.IntVar(&b.Count, "partitions", 0, "by hash: so many `partitions`, called TABLE_p0, TABLE_p1, …")
	f.BoolVar(&only, "plan", false, "say how it would be done, and change nothing")
	f.BoolVar(&hold, "hold", false, "stop before the cutover, stay in step, and wait for 'changeling cutover'")
	f.StringVar(&drop, "drop", "after=24h", "when the old table may go: now, after=`duration` (30m, 24h, 7d), or never")
	back.flags(f)
	f.DurationVar(&w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
