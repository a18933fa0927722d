package main

import (
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/migrate"
)

func (g *migrating) back() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "back VERSION", Short: "Print what takes a migration back: its own statements, or those that were noted as it ran", Args: one("the version that is to be led back"),
		Example: `  changeling migrate back 20260101120000 > 20260101120000_add_users.down.sql`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				b, err := m.Back(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return g.app.json(b)
				}
				for _, text := range b.Lossy {
					g.app.printf("-- loses: %s\n", text)
				}
				for _, text := range b.SQL {
					g.app.printf("%s;\n", text)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
