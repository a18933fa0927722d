package main

import (
	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/plan"
)

// route is the way that a change must go.
type route struct {
	only bool
	name string
}

func (r *route) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.only, "only-direct", false, "refuse what the server does not do at once")
	cmd.Flags().StringVar(&r.name, "route", "", "the `way` to go, or not at all: direct (as the statement says, however long others wait), recipe, shadow-table")
}

func (r *route) into(c *changeling.Config) { c.OnlyDirect, c.Route = r.only, plan.Route(r.name) }
