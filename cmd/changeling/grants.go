package main

import (
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newGrants(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "grants ROLE TABLE",
		Short: "Print the rights that a role needs to change a table; changes nothing",
		Long: `Prints the statements with which an administrator gives a role all that a change of a table needs, and
no more. A test makes whole changes with exactly these. It only reads.

On PostgreSQL a change acts as the owner of the table, so the role becomes a member of it; none of it needs
a superuser. On MySQL and MariaDB ROLE is an account, name or name@host.`,
		Example: `  changeling grants changer app.orders
  changeling grants changer@10.0.0.% app.orders`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("a role and a table are expected, not %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), changeling.Config{}, func(e *changeling.Engine) error {
				list, err := e.Grants(cmd.Context(), args[0], args[1])
				for _, statement := range list {
					a.printf("%s;\n", clean(statement))
				}
				return err
			})
		},
	}
}
