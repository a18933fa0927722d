package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/plan"
)

func newPartition(a *app) *cobra.Command {
	var b changeling.Partitioning
	m := making{app: a, back: &undoing{}}
	cmd := &cobra.Command{
		Use:   "partition TABLE",
		Short: "Partition a table of PostgreSQL that has rows, or make it plain again",
		Long: `Makes a plain table of PostgreSQL one that is partitioned, while everybody uses it: its rows go to a second
table, partition by partition, which takes its place. Names of indexes and constraints stay what they are. It is
a change like any other and can be watched, paused, resumed, aborted and undone. The same command again goes on
with one that is not finished.

A primary key or unique index must have all columns that the table is partitioned by. A row that fits no
partition is named, and stops the change before anything is swapped.

With --attach the table itself becomes a partition, and no row moves: its rows are checked against the bound while
everybody works, and one short transaction makes a partitioned table of it. From the check on the table takes rows
of that partition alone, so let its bound lie ahead.

With --none it is the other way: a partitioned table becomes a plain one, with the rows of all its partitions.

On a terminal it shows the plan and asks first. Without one it does not ask.
MySQL and MariaDB have a statement for it: changeling run "ALTER TABLE orders PARTITION BY …".`,
		Example: `  changeling partition orders --by 'range (created_at)' --partition "orders_2025 FOR VALUES FROM (MINVALUE) TO ('2026-01-01')" \
    --partition "orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')" --default orders_rest
  changeling partition app.orders --by 'list (region)' --partition "orders_eu FOR VALUES IN ('de', 'fr')" --default orders_rest
  changeling partition visits --by 'range (at)' --attach "visits_old FOR VALUES FROM (MINVALUE) TO ('2027-01-01')" --default visits_rest
  changeling partition events --by 'hash (id)' --partitions 8 --plan
  changeling partition events --none`,
		Args: oneTable,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.Table = args[0]
			return m.run(cmd.Context(), func(ctx context.Context, e *changeling.Engine) (*changeling.Change, *plan.Plan, error) {
				return e.Partition(ctx, b)
			})
		},
	}
	m.w.flags(a, cmd)
	m.w.dataFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&b.By, "by", "", "`what` to partition by: 'range (created_at)', 'list (region)', 'hash (id)'")
	f.StringArrayVar(&b.Partitions, "partition", nil, "a `partition`, its name and its bound: \"orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\"; once for each")
	f.StringVar(&b.Attach, "attach", "", "the `partition` that the table itself becomes, its name and its bound: no row moves, the others are new and empty")
	f.StringVar(&b.Default, "default", "", "the `name` of the partition for all other rows; without one a row that fits none stops the change")
	f.IntVar(&b.Count, "partitions", 0, "by hash: so many `partitions`, called TABLE_p0, TABLE_p1, …")
	f.BoolVar(&b.None, "none", false, "the other way: make a partitioned table plain, with the rows of all its partitions")
	m.flags(f, "after=24h")
	m.back.flags(f)
	return cmd
}
