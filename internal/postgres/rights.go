package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
)

// revokeDefaults takes away what ALTER DEFAULT PRIVILEGES gave to something made a moment ago, so that only what is granted
// afterwards is there.
func revokeDefaults(kind, name string) string {
	body := fmt.Sprintf(`DECLARE g record; BEGIN
  FOR g IN SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END AS who
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = %s::pg_catalog.regclass AND a.grantee <> c.relowner LOOP
    EXECUTE %s || g.who;
  END LOOP; END`, ident.Literal(name), ident.Literal("REVOKE ALL ON "+kind+" "+name+" FROM "))
	return "DO " + ident.Dollar(" "+body+" ")
}

// grantors lets everybody who granted rights on the table find its clone: they do it again, each in his own name.
func grantors(r *Relation, in string) []string {
	var names []string
	note := func(list []Grant) {
		for _, g := range list {
			if g.Grantor != r.Owner && !slices.Contains(names, g.Grantor) {
				names = append(names, g.Grantor)
			}
		}
	}
	note(r.Grants)
	for _, c := range r.Columns {
		note(c.Grants)
	}
	for _, q := range r.Sequences {
		if q.Internal {
			note(q.Grants)
		}
	}
	var out []string
	for _, name := range names {
		out = append(out, "GRANT USAGE ON SCHEMA "+ident.Quote(in)+" TO "+ident.Quote(name))
	}
	return out
}

// tableGrants is the table's access list, but for what the owner took from himself: until the cutover it is he who moves rows.
func tableGrants(r *Relation, table string) []string {
	if len(r.Withheld) == 0 {
		return grants("TABLE", table, "", r.Grants, r.Owner)
	}
	list := slices.Clone(r.Grants)
	at := slices.IndexFunc(list, func(g Grant) bool { return g.Grantee == r.Owner && g.Grantor == r.Owner })
	for _, privilege := range r.Withheld {
		g := Grant{Grantor: r.Owner, Grantee: r.Owner, Privilege: privilege}
		list = slices.Insert(list, max(at, 0), g)
	}
	return grants("TABLE", table, "", list, r.Owner)
}

// withhold is what tableGrants left out.
func withhold(r *Relation, table string) []string {
	if len(r.Withheld) == 0 {
		return nil
	}
	return []string{"REVOKE " + strings.Join(r.Withheld, ", ") + " ON TABLE " + table + " FROM " + ident.Quote(r.Owner)}
}

// grants repeats an access list. A list that is null means the owner's defaults, which a new table has anyway.
// Privileges that somebody else than the owner granted are granted in that role's name, after he got them himself.
func grants(kind, name, column string, list []Grant, owner string) []string {
	if list == nil {
		return nil
	}
	var out []string
	if column == "" {
		out = append(out, fmt.Sprintf("REVOKE ALL ON %s %s FROM %s", kind, name, ident.Quote(owner)))
	}
	for _, g := range inOrder(list, owner) {
		sql := g.sql(kind, name, column)
		if g.Grantor != owner {
			out = append(out, "SET LOCAL ROLE "+ident.Quote(g.Grantor), sql, "SET LOCAL ROLE "+ident.Quote(owner))
			continue
		}
		out = append(out, sql)
	}
	return out
}

func (g Grant) sql(kind, name, column string) string {
	what, to, option := g.Privilege, "PUBLIC", ""
	if column != "" {
		what += " (" + ident.Quote(column) + ")"
	}
	if g.Grantee != "" {
		to = ident.Quote(g.Grantee)
	}
	if g.Option {
		option = " WITH GRANT OPTION"
	}
	return fmt.Sprintf("GRANT %s ON %s %s TO %s%s", what, kind, name, to, option)
}

// inOrder puts grants behind those that their grantors need. Most lists are in that order already.
func inOrder(list []Grant, owner string) []Grant {
	rest := slices.Clone(list)
	var out []Grant
	ready := func(g Grant) bool {
		return g.Grantor == owner || slices.ContainsFunc(out, func(h Grant) bool {
			return h.Grantee == g.Grantor && h.Privilege == g.Privilege && h.Option
		})
	}
	for len(rest) > 0 {
		i := max(slices.IndexFunc(rest, ready), 0) // a table's privilege covers its columns: then any order will do
		out = append(out, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return out
}

// withheld are the privileges on the table that its owner has by default and does not have.
func withheld(r *Relation) []string {
	if r.Grants == nil {
		return nil
	}
	all := []string{"INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
	if r.Version >= 170000 {
		all = append(all, "MAINTAIN")
	}
	return slices.DeleteFunc(all, func(privilege string) bool {
		return slices.ContainsFunc(r.Grants, func(g Grant) bool { return g.Grantee == r.Owner && g.Privilege == privilege })
	})
}

// privileges are the letters of an access list (manual, Privileges).
var privileges = map[byte]string{
	'a': "INSERT", 'r': "SELECT", 'w': "UPDATE", 'd': "DELETE", 'D': "TRUNCATE", 'x': "REFERENCES", 't': "TRIGGER", 'm': "MAINTAIN",
	'U': "USAGE", 'X': "EXECUTE", 'C': "CREATE", 'c': "CONNECT", 'T': "TEMPORARY", 's': "SET", 'A': "ALTER SYSTEM",
}

// parseACL reads an access list: grantee=letters/grantor, a * behind a letter for the right to grant it on, and nobody's name
// for PUBLIC. A list that is NULL means the defaults and stays nil; an empty one is not nil.
func parseACL(items []string) []Grant {
	if items == nil {
		return nil
	}
	out := []Grant{}
	for _, item := range items {
		grantee, rest := role(item)
		rest = strings.TrimPrefix(rest, "=")
		letters, rest, _ := strings.Cut(rest, "/")
		grantor, _ := role(rest)
		for i := range len(letters) {
			if letters[i] != '*' {
				out = append(out, Grant{Grantor: grantor, Grantee: grantee, Privilege: privileges[letters[i]], Option: strings.HasPrefix(letters[i+1:], "*")})
			}
		}
	}
	return out
}

// role reads a role's name, which the server quotes if it has other characters than letters, digits and underscores.
func role(s string) (name, rest string) {
	if !strings.HasPrefix(s, `"`) {
		if end := strings.IndexAny(s, "=/"); end >= 0 {
			return s[:end], s[end:]
		}
		return s, ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			if !strings.HasPrefix(s[i+1:], `"`) {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
