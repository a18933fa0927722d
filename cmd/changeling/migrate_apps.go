package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/migrate"
)

func (g *migrating) announce() *cobra.Command {
	var app, instance, version string
	var hold time.Duration
	cmd := &cobra.Command{
		Use: "announce", Short: "Register an instance of an application, for migrations that need a version of it", Args: cobra.NoArgs,
		Long: `Says that an instance of an application runs at a version, until it is told to stop; then the instance is
taken out. It is for a container beside the application. With --for it says so once, for as long.
A migration with "-- changeling: needs shop >= 2.0" waits until no older instance is registered.`,
		Example: `  changeling migrate announce --app shop --version 2.0
  changeling migrate announce --app shop --version 2.0 --instance web-1 --for 10m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if app == "" || version == "" {
				return usage("say with --app and --version what runs, as in --app shop --version 2.0")
			}
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				if hold > 0 {
					return m.Register(cmd.Context(), app, instance, version, hold)
				}
				return m.Announce(cmd.Context(), app, instance, version)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&app, "app", "", "`name` of the application")
	f.StringVar(&version, "version", "", "the `version` that runs")
	f.StringVar(&instance, "instance", "", "`name` of the instance (default: host and process id)")
	f.DurationVar(&hold, "for", 0, "say so once, for a `duration`, and end")
	return cmd
}

func (g *migrating) apps() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "apps", Short: "The instances of applications that are registered", Args: cobra.NoArgs, Example: `  changeling migrate apps --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd.Context(), g.config(), func(m *migrate.Migrator) error {
				all, err := m.Instances(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []migrate.Instance{}
					}
					return g.app.json(all)
				}
				for _, i := range all {
					g.app.printf("%-20s  %-12s  %s  until %s\n", clean(i.App), clean(i.Version), clean(i.Instance), i.Until.Local().Format(time.DateTime))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
