package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// Views read a table by its number, and so would go on to read the old one. The swap makes the query of each view that reads the table anew, in its
// own transaction, once the name is the new table's. Its owner, rights, options, comments, defaults and triggers stay, and nobody meets a moment
// without it.
//
// Whoever comes through a view locks it first and the table behind it afterwards. So the swap locks views first, too; ALTER VIEW … OWNER TO the
// owner that it has changes nothing and takes the lock that LOCK TABLE would take of all other tables of the view as well.

// View is one that reads the table. Its query itself is asked for only when it is needed, because the server locks all tables of a query to write it.
type View struct {
	Said      string   `json:"said"` // in the words of the list of what hangs on a table
	OID       uint32   `json:"oid"`
	Schema    string   `json:"schema"`
	Name      string   `json:"name"`
	Owner     string   `json:"owner"`
	Options   []string `json:"options,omitempty"`
	Sum       string   `json:"sum"`                // of its query, the names of its columns, and those of all that the query speaks of: its text is made when the plan is
	Def       string   `json:"-"`                  // the query
	Stranger  bool     `json:"stranger,omitempty"` // it belongs to a role that whoever runs the change is no member of
	Shut      bool     `json:"shut,omitempty"`     // he may create nothing in its schema, which the server demands from PostgreSQL 16 on
	Extension bool     `json:"extension,omitempty"`
}

// viewsSQL are those that read a table.
const viewsSQL = `SELECT json_agg(json_build_object('said', pg_describe_object('pg_rewrite'::regclass, w.oid, 0), 'oid', v.oid::bigint, 'schema', n.nspname, 'name', v.relname,
      'owner', pg_get_userbyid(v.relowner), 'options', v.reloptions, 'shut', current_setting('server_version_num')::int >= 160000 AND NOT has_schema_privilege(n.oid, 'CREATE'),
      'sum', md5(concat_ws(' ', w.ev_action::text, (SELECT string_agg(a.attname, '.' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = v.oid AND a.attnum > 0),
        (SELECT string_agg(i.identity, ' ' ORDER BY i.identity) FROM pg_depend d, pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) i WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid))), 'stranger', NOT pg_has_role(v.relowner, 'USAGE'),
      'extension', EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = v.oid AND d.deptype = 'e')) ORDER BY n.nspname, v.relname)
    FROM pg_rewrite w JOIN pg_class v ON v.oid = w.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace WHERE v.relkind = 'v' AND w.rulename = '_RETURN' AND w.oid = ANY (ARRAY(
      SELECT objid FROM pg_depend WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = $oid))`

// why says why a view cannot be carried, if it cannot.
func (v View) why() string {
	switch {
	case v.Extension:
		return "it belongs to an extension"
	case strings.HasPrefix(v.Schema, "pg_temp_"):
		return "it is a temporary view of a session, and goes with that"
	case v.Shut:
		return "the server makes a query of a view anew only for who may create in its schema: GRANT CREATE ON SCHEMA " + ident.Quote(v.Schema) + " to whoever runs the change first"
	case v.Stranger:
		return "it belongs to " + ident.Quote(v.Owner) + ", and only a member of that role may alter it: GRANT it to whoever runs the change first"
	}
	return ""
}

func (v View) qualified() string { return ident.Qualified(v.Schema, v.Name) }

// twin is the name of what stands for the view on the clone.
func (v View) twin() string { return fmt.Sprintf("view_%d", v.OID) }

// put makes a query that of a view, under the view's name or that of its twin. A rule needs no right in the schema, but a query that came by one reads
// otherwise from PostgreSQL 16 on.
func (v View) put(version int, name, def string) string {
	if version < 160000 {
		return `CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO ` + name + " DO INSTEAD " + def
	}
	return "CREATE OR REPLACE VIEW " + name + withOptions(&Relation{Options: v.Options}) + " AS " + def
}

// views are those that can be carried.
func (r *Relation) views() []View {
	return less(r.Views, func(v View) bool { return !r.carries(v.Said) })
}

// viewsOfKin are those that stand in the way of a swap of several tables.
func (w *planner) viewsOfKin(source *Relation) (why []string) {
	if len(w.options.Kin) == 0 {
		return nil
	}
	for _, v := range source.views() {
		why = append(why, fmt.Sprintf("%s is read by %s, and its family swaps together, which does not take views along yet", w.plan.Table, v.Said))
	}
	return why
}

// lockViews is a lock of tables that is taken behind those of the views, as one statement, because the bound is one for all. Whoever writes the text
// of a view takes ACCESS SHARE of all that it reads, so nothing is waited for any more when its query is made anew.
func lockViews(list []View, lock string) string {
	if len(list) == 0 {
		return lock
	}
	text := " BEGIN\n"
	for _, v := range list {
		text += "  ALTER VIEW " + v.qualified() + " OWNER TO " + ident.Quote(v.Owner) + ";\n" +
			"  PERFORM pg_catalog.pg_get_viewdef(" + ident.Literal(v.qualified()) + "::pg_catalog.regclass);\n"
	}
	return "DO " + ident.Dollar(text+"  "+lock+";\nEND ")
}

// viewNames are the views that are locked.
func viewNames(list []View) (out []string) {
	for _, v := range list {
		out = append(out, v.qualified())
	}
	return out
}

// viewTwins makes views over the clone that are what those of the source are, so that the statement meets them.
func (w *planner) viewTwins(ctx context.Context, r *rehearsal) error {
	for _, v := range r.readers() {
		if err := w.tx.QueryRowContext(ctx, `SELECT rtrim(pg_get_viewdef($1::bigint::oid), ';')`, int64(v.OID)).Scan(&v.Def); err != nil {
			return w.explain(err, "reading the query of "+v.qualified())
		}
		if r.by != nil && !r.by.keeps() && saysOnly(v.Def, r.source) {
			r.stuck = append(r.stuck, fmt.Sprintf("%s.%s is read by %s, which says ONLY: that is no row of a partitioned table, and all of them of a plain one", r.source.Schema, r.source.Name, v.Said))
		}
		def := r.onClone(v.Def)
		twin := ident.Qualified(r.in(), v.twin())
		why, err := w.attempt(ctx, Back, "CREATE VIEW "+twin+" AS "+def, As(r.source.Owner))
		if err != nil {
			return err
		}
		if why == "" {
			var now string
			var real bool
			if err := w.tx.QueryRowContext(ctx, `SELECT rtrim(pg_get_viewdef($1::text::regclass), ';'), EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite x ON x.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND x.ev_class = $1::text::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (`+r.numbers()+`))`, twin).Scan(&now, &real); err != nil {
				return err
			}
			if real || r.onSource(now) != r.onSource(def) {
				why = "its query reads otherwise when it is made of another table of the same columns"
			}
		}
		if why != "" {
			r.stuck = append(r.stuck, fmt.Sprintf("%s.%s has, or is used by, something that cannot be carried to a new table yet: %s (%s)", r.source.Schema, r.source.Name, v.Said, why))
			continue
		}
		r.views = append(r.views, v)
	}
	return nil
}

// saysOnly answers whether a query reads a table without those that inherit from it.
func saysOnly(def string, r *Relation) bool {
	tokens, is, err := words(def)
	for i := range tokens {
		if is(i, "only") && is(i+1, r.Schema) && is(i+2, ".") && is(i+3, r.Name) {
			return true
		}
	}
	return err != nil
}

// viewsAfter reads what the views are after the statement.
func (w *planner) viewsAfter(ctx context.Context, r *rehearsal) error {
	r.viewed = nil
	for _, v := range r.views {
		twin := ident.Qualified(r.in(), v.twin())
		var def sql.NullString
		if err := w.tx.QueryRowContext(ctx, `SELECT rtrim(pg_get_viewdef(pg_catalog.to_regclass($1::text)), ';')`, twin).Scan(&def); err != nil {
			return err
		}
		why := "the statement drops it: DROP VIEW by itself first"
		if def.Valid {
			var err error
			if why, err = w.attempt(ctx, Back, v.put(r.source.Version, twin, def.String), As(r.source.Owner)); err != nil {
				return err
			}
			var now string
			if err := w.tx.QueryRowContext(ctx, `SELECT rtrim(pg_get_viewdef($1::text::regclass), ';')`, twin).Scan(&now); err != nil {
				return err
			}
			if why == "" && now != def.String {
				why = "its query reads otherwise when it is made once more"
			}
		}
		if why != "" {
			r.stuck = append(r.stuck, fmt.Sprintf("%s.%s is used by %s, which cannot go along (%s)", r.source.Schema, r.source.Name, v.Said, why))
			continue
		}
		v.Def = r.onSource(def.String)
		r.viewed = append(r.viewed, v)
	}
	return nil
}

// attempt runs statements in the rehearsal, and answers why the server does not do them.
func (w *planner) attempt(ctx context.Context, texts ...string) (string, error) {
	for _, sql := range append([]string{"SAVEPOINT attempt"}, append(texts, "RELEASE SAVEPOINT attempt")...) {
		_, err := w.tx.ExecContext(ctx, sql)
		if fault.LockTimeout(err) || fault.Lost(err) || fault.Canceled(err) {
			return "", w.explain(err, "making what stands for a view of "+w.plan.Table.String())
		}
		if err != nil {
			_, back := w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT attempt")
			return "the server says: " + fault.Message(err), back
		}
	}
	return "", nil
}

// onClone and onSource are a text of the server's for the one table and for the other.
func (r *rehearsal) onClone(text string) string {
	for _, b := range r.bodies() {
		text = retable(text, schema.Name{Schema: b.was.Schema, Table: b.was.Name}, schema.Name{Schema: r.in(), Table: b.was.Name})
	}
	return text
}

func (r *rehearsal) onSource(text string) string {
	for _, b := range r.bodies() {
		text = retable(text, schema.Name{Schema: r.in(), Table: b.was.Name}, schema.Name{Schema: b.was.Schema, Table: b.was.Name})
	}
	return text
}
