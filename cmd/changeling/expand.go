package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newExpand(a *app) *cobra.Command {
	var from statement
	var w working
	var x changeling.Expansion
	var yes, only bool
	var drop string
	cmd := &cobra.Command{
		Use:   "expand [STATEMENT | - | --sql-file FILE]",
		Short: "Give a column a second name, or type, for old and new code at the same time",
		Long: `Carries out an ALTER TABLE … RENAME COLUMN … TO … in two acts, or a new type (… ALTER COLUMN … TYPE …, on MySQL and
MariaDB … MODIFY …), whose new column then needs another name: --as. The first act brings a new column beside the old one, filled, with its indexes and constraints, and from then on whoever writes one of the
two writes the other, in the same statement. So code that knows the old name and code that knows the new
one run at the same time, for as long as the deploy takes; nobody works on the change meanwhile. The second
act is ` + "`changeling contract`" + `, which takes the old column away; ` + "`changeling abort`" + ` takes the new one away instead.

The new name is for use once the change is expanded. An UPDATE that changes both columns, and an INSERT that
gives both, count by the new one. Of another type, the new column is what USING says, on MySQL and MariaDB
--up, and the old one what --down says; without them values are assigned, on MySQL and MariaDB to a wider type of
the same kind only. The same command again goes on with a change that is not expanded yet.

On a terminal it shows the plan and asks first. Without one it does not ask.`,
		Example: `  changeling expand "ALTER TABLE orders RENAME COLUMN amount TO total"
  changeling expand --as price --down "round(price * 100)::int" \
      "ALTER TABLE orders ALTER COLUMN cents TYPE numeric USING cents / 100.0"
  changeling expand --as total "ALTER TABLE orders MODIFY amount BIGINT"    # on MySQL and MariaDB
  changeling expand --as price --up "cents / 100" --down "ROUND(price * 100)" \
      "ALTER TABLE orders MODIFY cents DECIMAL(12,2)"
  changeling status 3f2a1b4c       # who still names the old column
  changeling contract 3f2a1b4c     # when nobody does`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			config, err := w.config(a)
			if err != nil {
				return err
			}
			if config.DropAfter, err = parseDrop(drop); err != nil {
				return err
			}
			if x.Statement, err = from.read(ctx, a, args); err != nil {
				return err
			}
			return a.with(ctx, config, func(e *changeling.Engine) error {
				change, p, err := e.Expand(ctx, x)
				if err == nil && only {
					return a.sayPlan(change, p)
				}
				if err == nil && change == nil {
					change, err = a.agreed(ctx, e, p, yes)
				}
				if err != nil {
					return err
				}
				if err := w.during(ctx, func() error { return change.Run(ctx) }); err != nil {
					return err
				}
				s, err := change.Status(ctx)
				if err == nil && w.output == "text" && !w.quiet {
					sayExpanded(a.out, s)
				}
				return err
			})
		},
	}
	from.flags(cmd)
	w.flags(a, cmd)
	f := cmd.Flags()
	f.StringVar(&x.As, "as", "", "the new column's `name`, where it has a new type")
	f.StringVar(&x.Up, "up", "", "the new column's value by the old one, an `expression`, on MySQL and MariaDB; on PostgreSQL the statement's USING says it")
	f.StringVar(&x.Down, "down", "", "the old column's value by the new one, an `expression`; without it the value is assigned")
	f.BoolVar(&only, "plan", false, "say how it would be done, and change nothing")
	f.StringVar(&drop, "drop", "now", "when the old column may go, once it is contracted: now, after=`duration` (30m, 24h, 7d), or never; on MySQL and MariaDB it goes at once")
	f.DurationVar(&w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func sayExpanded(out io.Writer, s changeling.Status) {
	if s.Status == "expanded" {
		fmt.Fprintf(out, "change %s is expanded: both columns are in use. `changeling contract %[1]s` takes the old one away, `changeling abort %[1]s` the new one; `changeling status %[1]s` says who names the old one\n", s.ID)
		return
	}
	fmt.Fprintf(out, "change %s is %s\n", s.ID, s.Status)
}

func newContract(a *app) *cobra.Command {
	var w working
	cmd := &cobra.Command{
		Use:   "contract ID",
		Short: "Take the old column of an expanded change away",
		Long: `Ends a change that ` + "`changeling expand`" + ` has begun: both columns of every row are compared once more, then
keys, indexes and defaults go over to the new column in one short transaction, the trigger goes, and the old
column is dropped; on MySQL and MariaDB the old column gets the new name, where both have one type. Code that still names it fails from then on; ` + "`changeling status`" + ` says before who does, as far
as the server can tell. It may be said again, and goes on then. Before that transaction ` + "`changeling abort`" + ` goes back.`,
		Example:           "  changeling contract 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := w.config(a)
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), config, args[0], func(c *changeling.Change, s changeling.Status) error {
				if err := c.Contract(cmd.Context()); err != nil {
					return err
				}
				return w.goOn(cmd.Context(), a, c, s, "contracts")
			})
		},
	}
	w.flags(a, cmd)
	return cmd
}

// usesText are lines about who still names an old column.
func usesText(s changeling.Status) (out []string) {
	for _, u := range s.Uses {
		who := u.By
		if u.Calls > 0 {
			who = fmt.Sprintf("%s, %d calls since the server's counts were reset", u.By, u.Calls)
		}
		out = append(out, fmt.Sprintf("%s: %s", who, shorten(u.Statement, 100)))
	}
	if s.UsesUnseen != "" {
		out = append(out, s.UsesUnseen)
	}
	if len(out) == 0 {
		out = append(out, "no session's last statement names the old column, and none that the server has counted")
	}
	return out
}
