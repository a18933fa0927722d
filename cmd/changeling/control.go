package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
)

func newPause(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause ID",
		Short: "Stop a change before its next chunk, wherever it runs",
		Long: `Stops a change before its next chunk, wherever it runs. It stays paused, over restarts too, until
` + "`changeling resume`" + `. Changed rows are still logged, so nothing is missed.`,
		Example:           "  changeling pause 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				if err := c.Pause(cmd.Context()); err != nil {
					return err
				}
				if s.Owner == "" {
					a.printf("change %s is paused; nobody works on it at the moment\n", s.ID)
				} else {
					a.printf("change %s pauses before its next chunk; `changeling resume %s` lets it go on\n", s.ID, s.ID)
				}
				return nil
			})
		},
	}
}

func newResume(a *app) *cobra.Command {
	var w working
	cmd := &cobra.Command{
		Use:   "resume ID",
		Short: "Take a pause back, and go on with a change that nobody works on",
		Long: `Takes a pause back. If nobody works on the change, because its run was stopped or has crashed,
it goes on here until it is done, as run would.`,
		Example: `  changeling resume 3f2a1b4c
  changeling resume --fast --output json 3f2a1b4c`,
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := w.config(a)
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), config, args[0], func(c *changeling.Change, s changeling.Status) error {
				if err := c.Resume(cmd.Context()); err != nil {
					return err
				}
				if s.Status == "expanded" {
					sayExpanded(w.words(a), s)
					return nil
				}
				return w.goOn(cmd.Context(), a, c, s, "goes on")
			})
		},
	}
	w.flags(a, cmd)
	w.dataFlag(cmd)
	return cmd
}

func newCutover(a *app) *cobra.Command {
	var w working
	cmd := &cobra.Command{
		Use:   "cutover ID",
		Short: "Let a change that holds go on to its swap",
		Long: `Lets a change that was started with --hold go on to its cutover. It may be said before the change
is ready: it does not hold then. If nobody works on the change, it goes on here until it is done.`,
		Example:           "  changeling cutover 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := w.config(a)
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), config, args[0], func(c *changeling.Change, s changeling.Status) error {
				if err := c.Cutover(cmd.Context()); err != nil {
					return err
				}
				goes := "cuts over as soon as it is ready"
				if s.Status == "held" {
					goes = "cuts over now"
				}
				return w.goOn(cmd.Context(), a, c, s, goes)
			})
		},
	}
	w.flags(a, cmd)
	return cmd
}

func newHold(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "hold ID",
		Short: "Keep a change from its swap, wherever it runs",
		Long: `Keeps a change from its cutover, as if it had been started with --hold: it copies and compares,
stays in step, and waits for ` + "`changeling cutover`" + `. Attempts to swap that are under way stop
before the next one.`,
		Example:           "  changeling hold 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				if err := c.Hold(cmd.Context()); err != nil {
					return err
				}
				a.printf("change %s holds before its swap; `changeling cutover %s` lets it go on\n", s.ID, s.ID)
				return nil
			})
		},
	}
}

func newVerify(a *app) *cobra.Command {
	var w working
	cmd := &cobra.Command{
		Use:   "verify ID",
		Short: "Compare the tables of a change again, before its cutover",
		Long: `Compares every row of the table and of its shadow again, while users write: for a change that
holds, or is not cut over yet. It only reads, and may run beside the change. Exit code 6 says
that rows differ.`,
		Example:           "  changeling verify 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.output = "text"
			config, err := w.config(a)
			if err != nil {
				return err
			}
			if w.quiet {
				config.Events = nil
			}
			return a.change(cmd.Context(), config, args[0], func(c *changeling.Change, s changeling.Status) error {
				began := time.Now()
				rows, err := c.Verify(cmd.Context())
				if err != nil {
					return err
				}
				if !w.quiet {
					config.Events(event.StepEnded{Step: "verify", Name: "verify", Took: time.Since(began), Done: rows})
				}
				a.printf("change %s: %d rows of %s and of its shadow were compared, all are equal\n", s.ID, rows, clean(s.Table))
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&w.quiet, "quiet", "q", false, "tell only how it ended")
	return cmd
}

func newAbort(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "abort ID",
		Short: "End a change before its cutover and take away what it made",
		Long: `Ends a change before its cutover and takes away everything that it made: the shadow, the triggers,
the key log. The table stays as it is. A run that works on it stops first, with exit code 8.

On a terminal it asks for the table's name first. It may be said again.`,
		Example:           "  changeling abort 3f2a1b4c",
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.change(ctx, changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				if s.Status == "aborted" {
					a.printf("change %s is aborted already\n", s.ID)
					return nil
				}
				asked, undoing := "This ends change "+s.ID+" ("+clean(s.Statement)+") and drops its shadow.", s.Undo == "under way"
				if s.Status == "expanded" {
					asked = "This ends change " + s.ID + " (" + clean(s.Statement) + ") and drops its new column: code that names it fails from then on."
				}
				if undoing {
					asked = "This gives the undo of change " + s.ID + " (" + clean(s.Statement) + ") up."
				}
				if err := a.confirm(ctx, yes, asked, s.Table); err != nil {
					return err
				}
				if err := c.Abort(ctx); err != nil {
					return err
				}
				if undoing {
					a.printf("the undo of change %s is given up: %s stays as the change made it, and can still be undone\n", s.ID, clean(s.Table))
					return nil
				}
				a.printf("change %s is aborted: %s is as it was, and what the change made is gone\n", s.ID, clean(s.Table))
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
