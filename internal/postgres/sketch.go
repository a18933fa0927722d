package postgres

import (
	"fmt"
	"slices"
)

// Sketch is what a table has, by name: so one that somebody altered right behind the swap, before the change noted what it looks like, is known from
// the one that the change made.
func (r *Relation) Sketch() (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	add("row level security %v, forced %v", r.Secured, r.Forced)
	for _, c := range r.Columns {
		add("column %s %s %v", c.Name, c.Type, c.NotNull)
	}
	for _, x := range r.Indexes {
		add("index %s", x.Name)
	}
	for _, k := range slices.Concat(r.Constraints, r.References) {
		if k.Type != "f" || !k.Inherited { // the server chooses the names of clones
			add("constraint %s", k.Name)
		}
	}
	for _, s := range r.Statistics {
		add("statistics %s", s.Name)
	}
	for _, t := range r.Triggers {
		add("trigger %s %s", t.Name, t.Enabled)
	}
	for _, p := range r.Policies {
		add("policy %s", p.Name)
	}
	for _, v := range r.Views {
		add("view %s.%s", v.Schema, v.Name)
	}
	for _, p := range r.Publications {
		if !p.Whole {
			add("publication %s", p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// made is the sketch of the table as the change makes it, or nil where its foreign keys are no matter of its own.
func (w *planner) made(r *rehearsal) []string {
	if len(w.options.Kin) > 0 {
		return nil
	}
	now := *r.shadow
	now.Views = less(r.viewed, func(v View) bool { // those of partitions alone
		return !slices.ContainsFunc(r.source.Views, func(of View) bool { return of.OID == v.OID })
	})
	now.Publications = r.announced[0]
	return now.Sketch()
}
