package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// leavesSQL describes the partitions of a table, one line for each of them and for what each has of its own or inherits. What the engine puts there
// is left out, and so are the clones of foreign keys, whose names the server chooses.
func leavesSQL(version int) string {
	of := func(list string) string {
		return "(SELECT string_agg((e.value::jsonb - 'oid' - 'stranger' - 'shut')::text, ' ') FROM json_array_elements((" + strings.ReplaceAll(list, "$oid", "h.oid") + ")) e)"
	}
	return `WITH h AS (SELECT i.inhrelid AS oid, i.inhrelid::regclass::text AS name FROM pg_inherits i JOIN pg_class w ON w.oid = i.inhparent WHERE i.inhparent = $oid AND w.relkind = 'p')
    SELECT json_agg(l.line ORDER BY l.line) FROM (
    SELECT concat_ws(' ', h.name, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.reltablespace, c.reloptions, c.relacl, c.relreplident, c.relrowsecurity, c.relhassubclass,
      (SELECT x.reloptions FROM pg_class x WHERE x.oid = c.reltoastrelid), pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class')) AS line FROM h JOIN pg_class c ON c.oid = h.oid
    UNION ALL SELECT concat_ws(' ', h.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attacl, pg_get_expr(d.adbin, d.adrelid),
      a.attcompression, nullif(a.attstattarget, -1), (SELECT string_agg(o, ' ') FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%'), col_description(h.oid, a.attnum))
      FROM h JOIN pg_attribute a ON a.attrelid = h.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT concat_ws(' ', h.name, pg_get_indexdef(x.indexrelid), i.reltablespace, x.indisclustered, x.indisreplident, obj_description(i.oid, 'pg_class'),
      (SELECT string_agg(a.attnum || '=' || a.attstattarget, ' ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0))
      FROM h JOIN pg_index x ON x.indrelid = h.oid JOIN pg_class i ON i.oid = x.indexrelid
    UNION ALL SELECT concat_ws(' ', h.name, k.conname, pg_get_constraintdef(k.oid), k.convalidated, obj_description(k.oid, 'pg_constraint')) FROM h JOIN pg_constraint k ON k.conrelid = h.oid WHERE k.contype <> 't' AND (k.contype <> 'f' OR k.conparentid = 0)
    UNION ALL SELECT concat_ws(' ', h.name, pg_get_triggerdef(g.oid), g.tgenabled, obj_description(g.oid, 'pg_trigger')) FROM h JOIN pg_trigger g ON g.tgrelid = h.oid
      WHERE g.tgname !~ '^[!~]?changeling_' AND (g.tgparentid = 0 AND NOT g.tgisinternal OR EXISTS (SELECT FROM pg_trigger w WHERE w.oid = g.tgparentid AND NOT w.tgisinternal))
    UNION ALL SELECT concat_ws(' ', h.name, 'policies', c.relforcerowsecurity, ` + of(policiesSQL) + `) FROM h JOIN pg_class c ON c.oid = h.oid
    UNION ALL SELECT concat_ws(' ', h.name, 'views', ` + of(viewsSQL) + `) FROM h
    UNION ALL SELECT concat_ws(' ', h.name, 'publications', ` + of(publicationsSQL(version)) + `) FROM h
    UNION ALL SELECT concat_ws(' ', h.name, pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1), obj_description(s.oid, 'pg_statistic_ext')) FROM h JOIN pg_statistic_ext s ON s.stxrelid = h.oid
    UNION ALL SELECT concat_ws(' ', h.name, pg_describe_object(p.classid, p.objid, 0)) FROM h JOIN pg_depend p ON p.refclassid = 'pg_class'::regclass AND p.refobjid = h.oid
      WHERE p.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass)) l`
}

// unpartition plans a plain table that takes the place of a partitioned one.
func (w *planner) unpartition(ctx context.Context, source *Relation) (*plan.Plan, error) {
	p := w.plan
	if source.Kind != "p" {
		return refuse(p, fmt.Sprintf("%s is not partitioned: there is nothing to do", w.by.Table)), nil
	}
	parts, why, err := w.leaves(ctx, source)
	if err != nil {
		return nil, err
	}
	plain := unparted(source, parts)
	for _, k := range plain.Constraints {
		switch {
		case k.Type == "f" && k.ToOID == source.OID:
			why = append(why, fmt.Sprintf("foreign key %s refers to the table itself: it cannot be carried from partitions yet", k.Name))
		case k.Type == "f" && !k.Validated: // an undo could not give it back to the partitions before PostgreSQL 18
			why = append(why, fmt.Sprintf("foreign key %s is not valid, or not enforced: ALTER TABLE %s VALIDATE CONSTRAINT %s first", k.Name, qualified(w.by.Table), ident.Quote(k.Name)))
		}
	}
	for _, part := range parts {
		if len(part.settleClones(source.Triggers, "")) > 0 {
			why = append(why, fmt.Sprintf("partition %s has switched a trigger of its table on or off, or has a comment on it, which would not hold for the whole table: make it what it is on the table first",
				qualified(schema.Name{Schema: part.Schema, Table: part.Name})))
		}
	}
	why = append(why, w.by.unhung(plain)...)
	if len(parts) == 0 {
		why = append(why, fmt.Sprintf("%s has no partition, and so no rows: drop it, and create it again", w.by.Table))
	}
	refusals, err := w.refusals(ctx, plain)
	if err != nil {
		return nil, err
	}
	if why = append(refusals, why...); len(why) > 0 {
		return refuse(p, why...), nil
	}
	for _, part := range parts {
		w.by.From = append(w.by.From, schema.Name{Schema: part.Schema, Table: part.Name})
	}
	p.Rows, p.Bytes, p.Heap = plain.Rows, plain.Bytes, plain.Pages*8192
	r, err := w.rehearse(ctx, plain)
	if err != nil {
		return nil, err
	}
	if _, err := w.shadowTable(ctx, r); err != nil {
		return nil, err
	}
	if p.Route == plan.ShadowTable {
		p.Why = "asked for: the rows of all partitions go to a second table, which is plain and takes this one's place"
	}
	return p, nil
}

// leaves inspects the partitions of a table, and says what of them cannot be carried, or would be lost.
func (w *planner) leaves(ctx context.Context, source *Relation) (parts []*Relation, why []string, err error) {
	rows, err := w.tx.QueryContext(ctx, `SELECT inhrelid, inhdetachpending FROM pg_inherits WHERE inhparent = $1::bigint::oid ORDER BY inhrelid::regclass::text LIMIT $2::int`, int64(source.OID), MostParts+1)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var oids []uint32
	for rows.Next() {
		var oid uint32
		var leaving bool
		if err := rows.Scan(&oid, &leaving); err != nil {
			return nil, nil, err
		}
		if oids = append(oids, oid); leaving {
			why = append(why, fmt.Sprintf("a DETACH PARTITION … CONCURRENTLY of %s was interrupted: end it with DETACH PARTITION … FINALIZE first", w.plan.Table))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	rows.Close()
	if len(oids) > MostParts {
		return nil, append(why, fmt.Sprintf("%s has more than %d partitions: the swap writes to the catalogue for each of them under its lock", w.plan.Table, MostParts)), nil
	}
	for _, oid := range oids {
		part, err := Inspect(ctx, w.tx, oid)
		if err != nil {
			return nil, nil, err
		}
		part.together = w.by == nil
		parts, why = append(parts, part), append(append(why, ownOfPart(source, part)...), w.by.alone(source, part)...)
	}
	return parts, why, nil
}

// ownOfPart says what of a partition stands in the way.
func ownOfPart(source, part *Relation) (why []string) {
	name := "partition " + qualified(schema.Name{Schema: part.Schema, Table: part.Name})
	add := func(format string, args ...any) { why = append(why, name+" "+fmt.Sprintf(format, args...)) }
	switch {
	case part.Kind == "p":
		add("is partitioned itself: one level of partitions can be taken together")
		return why
	case part.Kind == "f":
		add("is a foreign table, whose rows are on another server")
		return why
	case part.Access != "heap":
		add("uses the access method %s: only heap tables are copied", part.Access)
	}
	if part.Persistence != source.Persistence {
		add("is unlogged, and a crash would empty it alone: SET LOGGED first")
	}
	if part.Owner != source.Owner {
		add("belongs to %s, and the table to %s, who moves the rows: ALTER TABLE … OWNER TO first", part.Owner, source.Owner)
	}
	if part.Schema != source.Schema {
		add("is not in the schema of its table: ALTER TABLE … SET SCHEMA first")
	}
	for _, s := range part.ownHangings() {
		add("has, or is used by, something of its own that cannot be carried: %s", s)
	}
	for _, q := range part.Sequences {
		add("owns the sequence %s.%s: ALTER SEQUENCE … OWNED BY NONE first", q.Schema, q.Name)
	}
	return why
}

// alone says what of a partition would not hold for the whole table.
func (b *Partitioning) alone(source, part *Relation) (why []string) {
	if b == nil || !b.None {
		return nil
	}
	name := "partition " + qualified(schema.Name{Schema: part.Schema, Table: part.Name})
	add := func(format string, args ...any) { why = append(why, name+" "+fmt.Sprintf(format, args...)) }
	for _, k := range part.References {
		if !k.Inherited {
			add("is referred to by the foreign key %s of %s.%s, for which there will be no such table: drop it first", k.Name, k.Schema, k.Table)
		}
	}
	for _, k := range part.Constraints {
		if !k.Inherited && k.Type != "t" {
			add("has the constraint %s of its own, which would not hold for the whole table: drop it first", k.Name)
		}
	}
	for _, c := range part.Columns {
		of := source.columnNamed(c.Name)
		switch {
		case c.NotNull && !of.NotNull:
			add("has a NOT NULL of its own on column %s, which would not hold for the whole table: drop it first", c.Name)
		case c.Generated != "" && *c.Default != *of.Default:
			add("computes column %s in a way of its own, in which the whole table would not: give both one expression first", c.Name)
		}
	}
	for _, x := range part.Indexes {
		if x.Unique && x.Parent == 0 && part.backing(x.OID) == nil {
			add("has the unique index %s of its own, which would not hold for the whole table: drop it first", x.Name)
		}
	}
	return why
}

// unparted is the definition of a table as it is without its partitions. Storage parameters and the replica identity are those of the partitions, where all have the same.
func unparted(source *Relation, parts []*Relation) *Relation {
	out := *source
	out.Kind, out.Partition, out.Access = "r", "", "heap"
	out.Options, out.ToastOptions = nil, nil
	out.carry(parts)
	for i, part := range parts {
		first := parts[0]
		if i == 0 {
			out.Options, out.ToastOptions, out.Identity = part.Options, part.ToastOptions, part.Identity
		}
		if !slices.Equal(part.Options, first.Options) || !slices.Equal(part.ToastOptions, first.ToastOptions) {
			out.Options, out.ToastOptions = nil, nil
		}
		if part.Identity != first.Identity || part.Identity == "i" {
			out.Identity = source.Identity
		}
	}
	return &out
}

// carry makes of a partitioned table one whose partitions are spoken of elsewhere: they are nothing that hangs on it, and its rows are theirs.
func (r *Relation) carry(parts []*Relation) {
	children := r.Children
	r.Strangers = less(r.Strangers, func(s string) bool {
		name, found := strings.CutPrefix(s, "table ")
		return found && slices.Contains(children, name)
	})
	r.Children, r.Leaves, r.Indexes = nil, nil, slices.Clone(r.Indexes)
	r.Rows, r.Bytes, r.Pages = 0, 0, 0
	for _, part := range parts {
		r.Rows, r.Bytes, r.Pages = r.Rows+part.Rows, r.Bytes+part.Bytes, r.Pages+part.Pages
		for _, x := range part.Indexes {
			for i := range r.Indexes {
				if r.Indexes[i].OID == x.Parent {
					r.Indexes[i].Bytes += x.Bytes
				}
			}
		}
	}
}
