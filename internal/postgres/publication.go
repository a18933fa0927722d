package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/changeling-db/changeling/internal/ident"
)

// Publications name a table by its number. The swap takes the old table out of each and puts the new one in, in its own transaction: what committed
// before it a subscriber reads as writes of the old table, what commits after it as writes of the new one, of the same name. A subscriber goes by
// the name, so it goes on with what it has, without REFRESH PUBLICATION, and hears of none of the rows that we move, because neither table is
// published while we move them. One of a schema needs nothing: the new table comes into the schema as the old one leaves it.

// Publication is one that names the table.
type Publication struct {
	Said     string   `json:"said"` // in the words of the list of what hangs on a table
	Name     string   `json:"name"`
	Columns  []string `json:"columns,omitempty"` // those that are published; nil: all
	Where    *string  `json:"where,omitempty"`
	Whole    bool     `json:"whole,omitempty"`    // of its schema: nothing has to be done for it
	Root     bool     `json:"root,omitempty"`     // what is written to partitions is published as the table's
	Stranger bool     `json:"stranger,omitempty"` // it belongs to a role that whoever runs the change is no member of
}

// publicationsSQL are those that a table is in, but for those of all tables.
func publicationsSQL(version int) string {
	parts, whole := `'columns', NULL, 'where', NULL`, ""
	if version >= 150000 {
		whole = `
    UNION ALL SELECT json_build_object('said', 'publication ' || quote_ident(p.pubname) || ' of its schema', 'name', p.pubname, 'root', p.pubviaroot, 'whole', true)
    FROM pg_publication_namespace x JOIN pg_publication p ON p.oid = x.pnpubid WHERE x.pnnspid = (SELECT relnamespace FROM pg_class WHERE oid = $oid)`
		parts = `'columns', (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(x.prattrs::int2[]) WITH ORDINALITY u(num, n) JOIN pg_attribute a ON a.attrelid = x.prrelid AND a.attnum = u.num),
      'where', pg_get_expr(x.prqual, x.prrelid)`
	}
	return `SELECT json_agg(l.p ORDER BY l.p->>'said') FROM (SELECT json_build_object('said', 'publication ' || quote_ident(p.pubname), 'name', p.pubname, 'root', p.pubviaroot, ` + parts + `, 'stranger', NOT pg_has_role(p.pubowner, 'USAGE')) AS p
    FROM pg_publication_rel x JOIN pg_publication p ON p.oid = x.prpubid WHERE x.prrelid = $oid` + whole + `) l`
}

// why says why a publication cannot be carried, if it cannot.
func (p Publication) why() string {
	if p.Stranger {
		return "only its owner may alter it, and whoever runs the change is no member of that role"
	}
	return ""
}

// table is how a statement names the table with what of it is published.
func (p Publication) table(name string) string {
	text := "ONLY " + name
	if len(p.Columns) > 0 {
		text += " (" + ident.List(p.Columns) + ")"
	}
	if p.Where != nil {
		text += " WHERE (" + *p.Where + ")"
	}
	return text
}

// publications are those that can be carried and name the table.
func (r *Relation) publications() []Publication {
	return less(r.Publications, func(p Publication) bool { return p.Whole || !r.carries(p.Said) })
}

func unpublish(list []Publication, table string) (out []string) {
	for _, p := range list {
		out = append(out, "ALTER PUBLICATION "+ident.Quote(p.Name)+" DROP TABLE ONLY "+table)
	}
	return out
}

func publish(list []Publication, table string) (out []string) {
	for _, p := range list {
		out = append(out, "ALTER PUBLICATION "+ident.Quote(p.Name)+" ADD TABLE "+p.table(table))
	}
	return out
}

// published says that subscribers may read the table.
func (r *Relation) published() bool { return len(r.Publications) > 0 }

// publicationTwins makes publications of the clone that are what the source's are, so that the statement meets them. Nobody subscribes to them.
func (w *planner) publicationTwins(ctx context.Context, r *rehearsal) error {
	for i, b := range r.bodies() {
		for n, p := range b.was.publications() {
			text := "CREATE PUBLICATION " + ident.Quote(p.twin(r, i, n)) + " FOR TABLE " + p.table(b.twin)
			if p.Root {
				text += " WITH (publish_via_partition_root = true)"
			}
			why, err := w.attempt(ctx, Back, text, As(r.source.Owner))
			if err != nil {
				return err
			}
			if why != "" {
				r.stuck = append(r.stuck, fmt.Sprintf("%s.%s is in %s, which could not be tried (%s)", b.was.Schema, b.was.Name, p.Said, why))
			}
		}
	}
	return nil
}

func (p Publication) twin(r *rehearsal, i, n int) string {
	return fmt.Sprintf("changeling_%s_%d_%d", r.change, i, n)
}

// publicationsAfter finds what is published after the statement.
func (r *rehearsal) publicationsAfter() {
	r.announced = nil
	for i, b := range r.bodies() {
		var list []Publication
		for n, p := range b.was.publications() {
			at := slices.IndexFunc(b.now.Publications, func(t Publication) bool { return t.Name == p.twin(r, i, n) })
			if at < 0 {
				r.stuck = append(r.stuck, fmt.Sprintf("the statement takes %s.%s out of %s: ALTER PUBLICATION by itself first", b.was.Schema, b.was.Name, p.Said))
				continue
			}
			p.Columns, p.Where = b.now.Publications[at].Columns, b.now.Publications[at].Where
			list = append(list, p)
		}
		r.announced = append(r.announced, list)
	}
}

// Copying answers who copies a table of this database for a subscription and has not begun to read it. He has a snapshot of before the swap and goes
// by the name, so he would read the new table and miss rows in it. Nobody can come to be one while our transaction has a number: a new slot waits for
// its end.
const Copying = `SELECT coalesce(pg_catalog.string_agg(pg_catalog.concat('pid ', a.pid, ' ', a.application_name), '; '), '') FROM pg_catalog.pg_stat_activity a
WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND a.backend_xmin IS NOT NULL AND a.pid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pid FROM pg_catalog.pg_stat_replication))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid OPERATOR(pg_catalog.=) a.pid AND l.granted AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)`
