package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newCleanup(a *app) *cobra.Command {
	var now, yes bool
	cmd := &cobra.Command{
		Use:   "cleanup [ID]",
		Short: "Drop old tables whose time has come",
		Long: `Drops the old tables that were kept after their cutover and whose time has come: of all changes,
or of one. With --now the old table of one change goes before its time. What can still be undone is
brought in step, so that the log of an undo stays small.

With --now on a terminal it asks for the table's name first. Put it into cron without an ID.`,
		Example: `  changeling cleanup
  changeling cleanup 3f2a1b4c --now`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage("one id is expected, not %d arguments", len(args))
			case len(args) == 0 && now:
				return usage("--now needs the id of a change: what is dropped early is named")
			}
			return nil
		},
		ValidArgsFunction: a.ids(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), changeling.Config{}, func(e *changeling.Engine) error {
				if len(args) == 0 {
					return a.cleanAll(cmd.Context(), e)
				}
				return a.cleanOne(cmd.Context(), e, args[0], now, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "before its time")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// cleanAll goes on after a table that cannot be dropped, so that one does not keep the others.
func (a *app) cleanAll(ctx context.Context, e *changeling.Engine) error {
	list, err := e.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	kept := 0
	for _, s := range list {
		if s.Status != "done" && s.Status != "undone" || s.OldTable == "" {
			continue
		}
		if err := a.drop(ctx, e, s, changeling.WhenDue); err != nil {
			errs = append(errs, err)
		}
		kept++
	}
	if kept == 0 {
		a.printf("no old tables are kept: there is nothing to do\n")
	}
	return errors.Join(errs...)
}

func (a *app) cleanOne(ctx context.Context, e *changeling.Engine, id string, now, yes bool) error {
	c, err := e.Find(ctx, id)
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	switch {
	case err != nil:
		return err
	case !over(s):
		return usage("change %s is not finished: there is no old table to drop; nothing was changed", s.ID)
	case s.OldTable == "":
		a.printf("change %s keeps no old table: there is nothing to do\n", s.ID)
		return nil
	case now:
		which := "the table as it was before change " + s.ID
		switch {
		case s.OldTable == s.Table:
			which = "the view under the old name that change " + s.ID + " has left"
		case s.Status == "undone":
			which = "the table as it was after change " + s.ID + ", which was undone"
		}
		if err := a.confirm(ctx, yes, "This drops "+clean(s.OldTable)+", "+which+". There is no way back.", s.Table); err != nil {
			return err
		}
		return a.drop(ctx, e, s, changeling.Now)
	}
	return a.drop(ctx, e, s, changeling.WhenDue)
}

func (a *app) drop(ctx context.Context, e *changeling.Engine, s changeling.Status, when changeling.Force) error {
	c, err := e.Find(ctx, s.ID)
	if err != nil {
		return err
	}
	dropped, err := c.Cleanup(ctx, when)
	if err != nil {
		return err
	}
	if dropped {
		a.printf("dropped %s of change %s\n", clean(s.OldTable), s.ID)
	} else {
		a.printf("%s\n", keptText(s))
	}
	return nil
}

func keptText(s changeling.Status) string {
	until := "for ever"
	if s.DropAt != nil {
		until = "until " + s.DropAt.Local().Format(time.DateTime)
	}
	return fmt.Sprintf("kept %s of change %s %s; `changeling cleanup %s --now` drops it at once", clean(s.OldTable), s.ID, until, s.ID)
}
