package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
)

// Triggers, policies, views and publications hang on a table, or on one of its partitions. Where a table keeps its partitions each of these gives its
// place to another one as the table itself does, so all of them are treated alike.

// body is a table that gives its place to another one.
type body struct {
	name string    // where users find it
	twin string    // what stands for it at the rehearsal, and takes its place
	was  *Relation // as it is
	now  *Relation // as the statement leaves it; nil before that ran
}

// bodies are the table itself, and behind it the partitions that it keeps.
func (r *rehearsal) bodies() []body {
	out := []body{{ident.Qualified(r.source.Schema, r.source.Name), ident.Qualified(r.in(), r.source.Name), r.source, r.shadow}}
	if r.by.keeps() {
		for i, p := range r.parts {
			out = append(out, body{qualified(p.real), ident.Qualified(r.in(), p.twin), r.by.leaves[i], p.after})
		}
	}
	return out
}

func before(b body) *Relation { return b.was }
func after(b body) *Relation  { return b.now }

// any says that something holds for one of the bodies.
func (r *rehearsal) any(of func(body) *Relation, holds func(*Relation) bool) bool {
	return slices.ContainsFunc(r.bodies(), func(b body) bool { return holds(of(b)) })
}

// unhang takes off the tables that have the names what those that come get.
func (r *rehearsal) unhang(of func(body) *Relation) (out []string) {
	for i, b := range r.bodies() {
		out = append(append(out, dropTriggersOf(of(b).triggers(), b.name)...), unpublish(r.announced[i], b.name)...)
	}
	return out
}

// hang gives the tables that have the names now what could not be there before. All of it is the server's own text, and reads alike only under a
// path of ours.
func (r *rehearsal) hang(of func(body) *Relation, views []View, publications [][]Publication) (out []string) {
	bodies := r.bodies()
	for _, b := range bodies {
		out = append(out, makeTriggers(of(b).triggers(), b.name)...)
		out = append(out, b.was.settleClones(of(bodies[0]).triggers(), b.name)...)
	}
	for _, v := range views {
		out = append(out, v.put(r.source.Version, v.qualified(), v.Def))
	}
	for i, b := range bodies {
		out = append(out, publish(publications[i], b.name)...)
	}
	if len(out) > 0 {
		out = append([]string{Ours()}, out...)
	}
	return out
}

// former are the publications as they are.
func (r *rehearsal) former() (out [][]Publication) {
	for _, b := range r.bodies() {
		out = append(out, b.was.publications())
	}
	return out
}

// readers are the views that read one of the tables and can be carried, each once.
func (r *rehearsal) readers() (out []View) {
	for _, b := range r.bodies() {
		for _, v := range b.was.views() {
			if !slices.ContainsFunc(out, func(o View) bool { return o.OID == v.OID }) {
				out = append(out, v)
			}
		}
	}
	return out
}

// numbers are those of the tables, as an array of the server.
func (r *rehearsal) numbers() string {
	var out []string
	for _, b := range r.bodies() {
		out = append(out, fmt.Sprint(b.was.OID))
	}
	return "ARRAY[" + strings.Join(out, ", ") + "]::oid[]"
}

// Clone is a trigger that a partition has of its table. The server makes it, and it can be switched on and off, and commented on, by itself.
type Clone struct {
	Said    string  `json:"said"`
	Name    string  `json:"name"`
	Of      string  `json:"of"` // the table's
	Enabled string  `json:"enabled"`
	Comment *string `json:"comment"`
}

// settleClones makes the clones of a partition, which the server has made of the table's triggers, what they are on r.
func (r *Relation) settleClones(of []Trigger, table string) (out []string) {
	for _, c := range r.Clones {
		at := slices.IndexFunc(of, func(t Trigger) bool { return t.Name == c.Of })
		if at < 0 {
			continue // the statement drops it
		}
		if c.Enabled != of[at].Enabled {
			out = append(out, "ALTER TABLE "+table+" "+firing[c.Enabled]+" TRIGGER "+ident.Quote(c.Name))
		}
		out = append(out, comment("TRIGGER "+ident.Quote(c.Name)+" ON "+table, c.Comment)...)
	}
	return out
}

// unhung says what a plain table cannot give to one that is partitioned, or get from it.
func (b *Partitioning) unhung(r *Relation) (why []string) {
	if b.Attach.Name != "" {
		for _, what := range r.carried() {
			why = append(why, fmt.Sprintf("%s has, or is used by, what cannot be carried when it becomes a partition yet: %s", r.Name, what))
		}
		return why
	}
	for _, p := range r.Publications {
		if !p.Root {
			why = append(why, fmt.Sprintf("%s publishes what is written to partitions as theirs, and its subscribers would meet other tables than they know: ALTER PUBLICATION %s SET (publish_via_partition_root = true), "+
				"and ALTER SUBSCRIPTION … REFRESH PUBLICATION where it was partitioned already, first", p.Said, ident.Quote(p.Name)))
		}
	}
	for _, t := range r.Triggers {
		head := t.Def[:outside(t.Def, " ON ")]
		row := outside(t.Def, " FOR EACH ROW ") < len(t.Def)
		switch {
		case b.None || !row:
		case outside(t.Def, " REFERENCING ") < len(t.Def):
			why = append(why, fmt.Sprintf("%s is one for each row with transition tables, which a partitioned table cannot have", t.said()))
		case strings.Contains(head, " BEFORE ") && (strings.Contains(head, "INSERT") || strings.Contains(head, "UPDATE")):
			why = append(why, fmt.Sprintf("%s runs BEFORE a row is written, and the server fails whoever's row it moves to another partition: DROP it, and create it again on the partitioned table if it never does", t.said()))
		}
	}
	return why
}

// ownHangings says what of that hangs on a partition cannot be carried.
func (r *Relation) ownHangings() (why []string) {
	for _, s := range r.Strangers {
		if slices.ContainsFunc(r.Publications, func(p Publication) bool { return p.Whole && p.Said == s }) {
			continue // the table itself is in it, too
		}
		if !r.carries(s) && !slices.ContainsFunc(r.Clones, func(c Clone) bool { return c.Said == s }) {
			why = append(why, s+r.uncarried(s))
		}
	}
	for _, c := range r.Clones {
		if c.Name != c.Of { // before PostgreSQL 15 they can be renamed
			why = append(why, fmt.Sprintf("%s, which its table calls %s: give both one name first", c.Said, ident.Quote(c.Of)))
		}
	}
	for _, k := range r.Constraints {
		own := func(t Trigger) bool { return t.Name == k.Name }
		clone := func(c Clone) bool { return c.Name == k.Name }
		if k.Type == "t" && !slices.ContainsFunc(r.triggers(), own) && !slices.ContainsFunc(r.Clones, clone) {
			why = append(why, "constraint trigger "+k.Name)
		}
	}
	return why
}

// numbered finds what of the twins speaks of one of the real tables by its number, as a constant of the type regclass does: behind the swap that
// would be the old table. Views are asked for by themselves.
func (w *planner) numbered(ctx context.Context, r *rehearsal) error {
	var found names
	if err := w.tx.QueryRowContext(ctx, `SELECT coalesce(json_agg(DISTINCT replace(o.name, $1::text, $2::text)), '[]')::text FROM pg_depend d, pg_describe_object(d.classid, d.objid, d.objsubid) o (name)
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (`+r.numbers()+`) AND d.classid <> 'pg_rewrite'::regclass AND strpos(o.name, $1::text) > 0`, r.in()+".", r.source.Schema+".").Scan(&found); err != nil {
		return err
	}
	for _, what := range found {
		r.stuck = append(r.stuck, fmt.Sprintf("%s has a constant of the type regclass, or another one, that is the table itself by its number, and behind the swap would be the old table: write its name as a text there first", what))
	}
	return nil
}
