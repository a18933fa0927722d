package main

import (
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newResolve(a *app) *cobra.Command {
	var happened, repeat bool
	cmd := &cobra.Command{
		Use:   "resolve ID",
		Short: "Say what became of a step whose outcome is not known",
		Long: `A statement whose connection was lost may have been carried out or not. Where the catalogue does not
tell, the change stops with exit code 11 and waits for a person who has looked at the table: --happened
goes on behind the statement, --repeat lets the next run send it again. It runs nothing itself.

Without a flag it prints the change and what is not known.`,
		Example: `  changeling resolve 3f2a1b4c
  changeling resolve 3f2a1b4c --happened && changeling resume 3f2a1b4c`,
		Args:              oneID,
		ValidArgsFunction: a.ids(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if happened && repeat {
				return usage("--happened and --repeat exclude each other; nothing was changed")
			}
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				if !happened && !repeat {
					a.printf("change %s of %s: %s\n%s\n", s.ID, clean(s.Table), clean(s.Statement), clean(s.Error))
					if s.ErrorCode != 11 {
						a.printf("how its last step ended is known: there is nothing to resolve\n")
					}
					return nil
				}
				found, text := changeling.Happened, "goes on behind the statement"
				if repeat {
					found, text = changeling.Repeat, "sends the statement again"
				}
				if err := c.Resolve(cmd.Context(), found); err != nil {
					return err
				}
				a.printf("change %s %s with `changeling resume %s`\n", s.ID, text, s.ID)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&happened, "happened", false, "the statement was carried out")
	cmd.Flags().BoolVar(&repeat, "repeat", false, "it was not")
	return cmd
}
