package main

import (
	"fmt"

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
	cmd.Flags().StringVar(&r.name, "route", "", "the `way` to go, or not at all: direct (as the statement says, however long others wait), recipe, column (shadow-column), table (shadow-table)")
}

func (r *route) into(c *changeling.Config) {
	c.OnlyDirect, c.Route = r.only, plan.Route(r.name)
	switch r.name {
	case "column":
		c.Route = plan.ShadowColumn
	case "table":
		c.Route = plan.ShadowTable
	}
}

// costs are lines about the ways that could be gone; none where there is no choice.
func costs(ways []plan.Way) (out []string) {
	for _, w := range ways {
		if w.Why != "" {
			out = append(out, fmt.Sprintf("by %s it cannot go: %s", w.Route, w.Why))
			continue
		}
		text := fmt.Sprintf("by %s about %s of write-ahead log, up to %s more disk", w.Route, size(w.Log), size(w.Spare))
		if w.Dead > 0 {
			text += fmt.Sprintf(", and %s of dead rows and index entries for a vacuum", size(w.Dead))
		}
		out = append(out, text)
	}
	return out
}
