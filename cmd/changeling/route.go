package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/plan"
)

// route is the way that a change must go.
type route struct {
	only     bool
	children bool
	name     string
}

// stages is what becomes of what a change leaves behind, and of what it takes away.
type stages struct {
	drop  string
	cover bool
}

func (s *stages) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.drop, "drop", "after=24h", "when the old table may go: now, after=`duration` (30m, 24h, 7d), or never. Said of a DROP TABLE, it is put aside until then")
	cmd.Flags().BoolVar(&s.cover, "cover", false, "leave a view under the old name of a table that is renamed")
}

// into sets a config up. A default is nobody's wish: a DROP TABLE without --drop drops.
func (s *stages) into(cmd *cobra.Command, c *changeling.Config) (err error) {
	c.Cover = s.cover
	if cmd.Flags().Changed("drop") {
		c.DropAfter, err = parseDrop(s.drop)
	}
	return err
}

func (r *route) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.only, "only-direct", false, "refuse what the server does not do at once")
	cmd.Flags().BoolVar(&r.children, "with-children", false, "change the columns that refer to a key along with it, table by table, and its sequences (PostgreSQL, and integers on MySQL)")
	cmd.Flags().StringVar(&r.name, "route", "", "the `way` to go, or not at all: direct (as the statement says, however long others wait), recipe, column (shadow-column), table (shadow-table)")
}

func (r *route) into(c *changeling.Config) {
	c.OnlyDirect, c.WithChildren, c.Route = r.only, r.children, plan.Route(r.name)
	switch r.name {
	case "column":
		c.Route = plan.ShadowColumn
	case "table":
		c.Route = plan.ShadowTable
	}
}

// costs are lines about the ways that could be gone; none where there is no choice.
func costs(p *plan.Plan) (out []string) {
	for _, w := range p.Ways {
		if w.Why != "" {
			out = append(out, fmt.Sprintf("by %s it cannot go: %s", w.Route, w.Why))
			continue
		}
		log, dead := "write-ahead log", "%s of dead rows and index entries for a vacuum"
		if p.Native != nil { // MySQL or MariaDB
			log, dead = "redo log", "leaves the table %s larger until it is written anew"
		}
		if w.Binlog > 0 {
			log += fmt.Sprintf(" and binary log (%s)", size(w.Binlog))
		}
		text := fmt.Sprintf("by %s about %s of %s, up to %s more disk", w.Route, size(w.Log), log, size(w.Spare))
		if w.Dead > 0 {
			text += ", and " + fmt.Sprintf(dead, size(w.Dead))
		}
		out = append(out, text)
	}
	return out
}
