package postgres

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// Row level security. It holds for nobody who moves rows: that is the table's owner, whom it passes by unless it is forced on him. So the shadow has
// it from its beginning, the policies with it, and there is no moment in which somebody sees a row that is not his. The old table keeps its own,
// for an undo.

// Policy is one of row level security.
type Policy struct {
	Said       string   `json:"said"` // in the words of the list of what hangs on a table
	Name       string   `json:"name"`
	Permissive bool     `json:"permissive"`
	Command    string   `json:"command"` // r, a, w, d or *
	Roles      []string `json:"roles"`   // quoted, or PUBLIC
	Using      *string  `json:"using"`
	Check      *string  `json:"check"`
	Comment    *string  `json:"comment"`

	on schema.Name
}

// policiesSQL are those of a table.
const policiesSQL = `SELECT json_agg(json_build_object('said', pg_describe_object('pg_policy'::regclass, y.oid, 0), 'name', y.polname, 'permissive', y.polpermissive, 'command', y.polcmd,
      'roles', (SELECT json_agg(CASE WHEN u.role = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(u.role)) END ORDER BY u.n) FROM unnest(y.polroles) WITH ORDINALITY u(role, n)),
      'using', pg_get_expr(y.polqual, y.polrelid), 'check', pg_get_expr(y.polwithcheck, y.polrelid),
      'comment', obj_description(y.oid, 'pg_policy')) ORDER BY y.polname) FROM pg_policy y WHERE y.polrelid = $oid`

// why says why a policy cannot be carried, if it cannot.
func (p Policy) why() string {
	for _, text := range []*string{p.Using, p.Check} {
		if text != nil && retable(*text, p.on, schema.Name{}) != *text {
			return "it asks the table itself"
		}
	}
	return ""
}

// sql makes the policy on a table.
func (p Policy) sql(table string) []string {
	text := "CREATE POLICY " + ident.Quote(p.Name) + " ON " + table
	if !p.Permissive {
		text += " AS RESTRICTIVE"
	}
	text += map[string]string{"r": " FOR SELECT", "a": " FOR INSERT", "w": " FOR UPDATE", "d": " FOR DELETE"}[p.Command] + " TO " + strings.Join(p.Roles, ", ")
	if p.Using != nil {
		text += " USING (" + *p.Using + ")"
	}
	if p.Check != nil {
		text += " WITH CHECK (" + *p.Check + ")"
	}
	return append([]string{text}, comment("POLICY "+ident.Quote(p.Name)+" ON "+table, p.Comment)...)
}

// rowSecurity gives a table the policies of r that can be carried, and switches them on as they are on there. Policies are made by whoever runs
// the change: they may ask tables in schemas that the owner may not use.
func rowSecurity(r *Relation, table string) (out []string) {
	for _, p := range r.Policies {
		if r.carries(p.Said) {
			out = append(out, p.sql(table)...)
		}
	}
	if len(out) > 0 {
		out = append(append([]string{Back}, out...), As(r.Owner))
	}
	if !r.carries(rowLevel) {
		return out
	}
	if r.Secured {
		out = append(out, "ALTER TABLE "+table+" ENABLE ROW LEVEL SECURITY")
	}
	if r.Forced {
		out = append(out, "ALTER TABLE "+table+" FORCE ROW LEVEL SECURITY")
	}
	return out
}

// rowLevel is how the list of what hangs on a table says that row level security is switched on, or forced.
const rowLevel = "row level security"

// forcedOn says why row level security cannot be carried, if it cannot.
func (r *Relation) forcedOn() string {
	if r.Secured && r.Forced && !r.Bypass {
		return fmt.Sprintf("it is forced on the owner, %s, who moves the rows and would not see all of them: ALTER TABLE … NO FORCE ROW LEVEL SECURITY first; "+
			"or let him and whoever runs the change pass it by, ALTER ROLE … BYPASSRLS", ident.Quote(r.Owner))
	}
	return ""
}

// securedByTrigger says which twins have row level security that what they stand for does not have.
func (r *rehearsal) securedByTrigger() (why []string) {
	for i, b := range r.bodies() {
		twin := r.clone
		if i > 0 {
			twin = r.parts[i-1].before
		}
		if twin.Security && !b.was.Security {
			why = append(why, fmt.Sprintf("an event trigger of this database gives new tables row level security, which %s.%s does not have: ALTER EVENT TRIGGER … DISABLE while the change begins", b.was.Schema, b.was.Name))
		}
	}
	return why
}
