package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/changeling-db/changeling"
)

// undoing is how a change can be undone.
type undoing struct{ when, most string }

func (u *undoing) flags(f *pflag.FlagSet) {
	f.StringVar(&u.when, "undo", "auto", "whether 'changeling undo' is possible until the old table is dropped: on, off, or auto, `which` is on unless it is dropped at once or kept for ever")
	f.StringVar(&u.most, "undo-log-max", "1GB", "the log of what is written for an undo ends it at this `size`")
}

func (u *undoing) into(c *changeling.Config) error {
	if c.Undo = changeling.Undo(u.when); u.when == "auto" {
		c.Undo = changeling.UndoAuto
	}
	if c.Undo == changeling.UndoOn && c.DropAfter == changeling.DropNow {
		return usage("--undo on needs the old table, and --drop now drops it at once: say --drop after=24h")
	}
	n, err := changeling.ParseSize(u.most)
	if err != nil {
		return usage("--undo-log-max %q: %v", u.most, err)
	}
	c.UndoLogMax = n
	return nil
}

func newUndo(a *app) *cobra.Command {
	var w working
	var yes, lossy bool
	cmd := &cobra.Command{
		Use:   "undo ID",
		Short: "Take a change back after its cutover, with what was written since",
		Long: `Takes a change back after its cutover, until its old table is dropped: the rows that were written
since are copied to the old table, both are compared, and the old table takes its place again. No
write is lost. Columns that only the old table has keep their values. The new table is kept for as
long as an old one is.

It is refused where a row does not fit the old table, or a value does not come back unchanged, with
exit code 5 and the row's key; --lossy goes on without them. ` + "`changeling abort`" + ` gives an undo
up before its swap. After the drop, or when more was written than the log may hold (run
--undo-log-max), there is no undo any more: exit code 3.

On a terminal it asks for the table's name first. It may be said again, and goes on then.`,
		Example: `  changeling undo 3f2a1b4c
  changeling undo --yes --lossy 3f2a1b4c`,
		Args:              oneID,
		ValidArgsFunction: a.ids(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			config, err := w.config(a)
			if err != nil {
				return err
			}
			return a.change(ctx, config, args[0], func(c *changeling.Change, s changeling.Status) error {
				if s.Status == "undone" && s.Undo == "" {
					fmt.Fprintf(w.words(a), "change %s is undone already\n", s.ID)
					return nil
				}
				if s.Undo == "open" {
					if err := a.confirm(ctx, yes, "This takes change "+s.ID+" ("+clean(s.Statement)+") back.", s.Table); err != nil {
						return err
					}
				}
				loss := changeling.NoLoss
				if lossy {
					loss = changeling.LossAllowed
				}
				return w.during(ctx, func() error { return c.Undo(ctx, loss) })
			})
		},
	}
	w.flags(a, cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&lossy, "lossy", false, "leave out rows that do not fit the old table")
	return cmd
}

// tending does something, and meanwhile brings old tables in step that changes can be undone with. What stands in the way of that is no
// error of the other; the next time goes on.
func (a *app) tending(ctx context.Context, fn func(ctx context.Context) error) error {
	beside, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			_ = a.with(beside, changeling.Config{}, func(e *changeling.Engine) error { return e.Tend(beside) })
			select {
			case <-beside.Done():
				return
			case <-tick.C:
			}
		}
	}()
	err := fn(ctx)
	stop()
	<-over
	return err
}
