package mysql

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/schema"
)

// Rights are what an account may, by scope: `*.*`, or a pattern of database names.
type Rights struct {
	account  string // as GRANT wants it
	scopes   []scope
	patterns bool // % and _ in names of databases stand for others
}

type scope struct {
	database string // a pattern; empty: all
	may      []string
	own      bool // and not by a role, on MariaDB, which lists both
}

var grant = regexp.MustCompile("(?i)^GRANT (.+) ON (\\*|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")\\.\\* TO ")

// ReadRights asks what the account of the session may, with the roles that are active in it. Rights on single tables are
// not among them.
func ReadRights(ctx context.Context, q DB) (Rights, error) {
	r := Rights{patterns: true}
	var account string
	if err := q.QueryRowContext(ctx, "SELECT CURRENT_USER()").Scan(&account); err != nil {
		return r, coded(err)
	}
	at := max(strings.LastIndex(account, "@"), 0)
	r.account = quote(account[:at]) + "@" + quote(strings.TrimPrefix(account[at:], "@"))
	set, err := variables(ctx, q, "partial_revokes")
	if err != nil {
		return r, err
	}
	r.patterns = set["partial_revokes"] != "ON"
	list := "SHOW GRANTS"
	d, err := ask(ctx, q)
	if err != nil {
		return r, coded(err)
	}
	if !d.maria {
		var roles string
		if err := q.QueryRowContext(ctx, "SELECT CURRENT_ROLE()").Scan(&roles); err != nil {
			return r, coded(err)
		}
		if roles != "NONE" && roles != "" {
			list = "SHOW GRANTS FOR CURRENT_USER() USING " + roles
		}
	}
	lines, err := state.Column(ctx, q, list)
	if err != nil {
		return r, coded(err)
	}
	for _, line := range lines {
		m := grant.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		s := scope{own: strings.HasPrefix(strings.ReplaceAll(line[len(m[0]):], `"`, "`"), r.account)}
		if m[2] != "*" {
			s.database = strings.ReplaceAll(m[2][1:len(m[2])-1], m[2][:1]+m[2][:1], m[2][:1])
		}
		for _, p := range strings.Split(m[1], ",") {
			s.may = append(s.may, strings.ToUpper(strings.TrimSpace(p)))
		}
		r.scopes = append(r.scopes, s)
	}
	return r, nil
}

// Lacks are the privileges of a list that the account does not have on a database, or, for an empty one, on the server.
func (r Rights) Lacks(database string, privileges ...string) (missing []string) {
	return r.lacks(func(scope) bool { return true }, database, privileges)
}

// Borrowed are those of a list that it has by a role alone.
func (r Rights) Borrowed(database string, privileges ...string) []string {
	without := r.lacks(func(s scope) bool { return s.own }, database, privileges)
	return slices.DeleteFunc(without, func(p string) bool { return len(r.Lacks(database, p)) > 0 })
}

func (r Rights) lacks(counts func(scope) bool, database string, privileges []string) (missing []string) {
	for _, p := range privileges {
		if !slices.ContainsFunc(r.scopes, func(s scope) bool {
			return counts(s) && r.covers(s.database, database) && (slices.Contains(s.may, p) || slices.Contains(s.may, "ALL PRIVILEGES"))
		}) {
			missing = append(missing, p)
		}
	}
	return missing
}

// covers says that a scope has a database in it.
func (r Rights) covers(pattern, database string) bool {
	switch {
	case pattern == "":
		return true
	case database == "":
		return false
	case !r.patterns:
		return pattern == database
	}
	var re strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			i++
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '%':
			re.WriteString(".*")
		case c == '_':
			re.WriteString(".")
		default:
			re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	ok, err := regexp.MatchString("^(?s:"+re.String()+")$", database)
	return ok && err == nil
}

// Grant is the statement that gives privileges on what ON says.
func (r Rights) Grant(privileges []string, on string) string {
	return "GRANT " + strings.Join(privileges, ", ") + " ON " + on + " TO " + r.account
}

// borrowed says which rights triggers on a table would lack, and what they call: on MariaDB those have the rights of their author without his roles
// (tried on 10.11 and 11.8), so whoever writes the table would fail.
func (w *planner) borrowed(ctx context.Context, p schema.Pair) (why string, err error) {
	if !w.dialect.maria {
		return "", nil
	}
	r, err := ReadRights(ctx, w.conn)
	if err != nil {
		return "", err
	}
	var needed []string
	if list := r.Borrowed(p.Source.Schema, "TRIGGER", "SELECT", "UPDATE"); len(list) > 0 {
		needed = append(needed, r.Grant(list, quote(p.Source.Schema)+".*"))
	}
	if list := r.Borrowed(p.Log.Schema, "INSERT", "EXECUTE"); len(list) > 0 && !p.InPlace {
		needed = append(needed, r.Grant(list, "`changeling%`.*"))
	}
	if len(needed) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s has rights by a role alone, and on MariaDB triggers have those of their author without his roles: whoever writes %s would fail. Needed: %s", r.account, p.Source, strings.Join(needed, "; ")), nil
}
