package postgres

import "slices"

// hanging is something that hangs on a table and of which it is known how to carry it, in the words of the list of all that hangs there.
type hanging struct {
	said string
	why  string // it cannot be carried all the same; empty: it can
}

// hangings are all that are known.
func (r *Relation) hangings() (out []hanging) {
	for _, t := range r.Triggers {
		out = append(out, hanging{t.said(), t.why()})
	}
	for _, p := range r.Policies {
		out = append(out, hanging{p.Said, p.why()})
	}
	if r.Security {
		out = append(out, hanging{rowLevel, r.forcedOn()})
	}
	for _, v := range r.Views {
		out = append(out, hanging{v.Said, v.why()})
	}
	for _, p := range r.Publications {
		out = append(out, hanging{p.Said, p.why()})
	}
	return out
}

// carried is what goes to the table that takes the place of a plain one, or of one that keeps its partitions.
func (r *Relation) carried() (out []string) {
	if !r.together && (r.Kind != "r" || len(r.Parents)+len(r.Children) > 0) {
		return nil
	}
	for _, h := range r.hangings() {
		if h.why == "" {
			out = append(out, h.said)
		}
	}
	return out
}

func (r *Relation) carries(said string) bool { return slices.Contains(r.carried(), said) }

// uncarried says why something is not carried that others like it are.
func (r *Relation) uncarried(said string) string {
	for _, h := range r.hangings() {
		if h.said == said && h.why != "" {
			return " (" + h.why + ")"
		}
	}
	return ""
}
