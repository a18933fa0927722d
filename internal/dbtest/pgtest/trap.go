package pgtest

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// Trap is a database in which everybody may write to a schema that comes before the server's own in everybody's search path. In
// it stand somebody's functions and operators with the names of the server's. They do what theirs do, and note who called them.
type Trap struct {
	t     testing.TB
	admin *sql.DB // a pool of one connection, outside of the trap
}

// SetTrap sets one in a database. Connections that are opened from then on are in it; those of admin are not.
func SetTrap(t testing.TB, dsn string) *Trap {
	t.Helper()
	admin := Open(t, dsn)
	admin.SetMaxOpenConns(1)
	attacker := "attacker_" + strings.ToLower(rand.Text()[:8])
	Exec(t, admin, `CREATE ROLE `+attacker, `GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC`, trap(attacker),
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog, app', current_database()); END $$`)
	trap := &Trap{t, admin}
	Exec(t, Open(t, dsn), `SELECT 1 = 2`)
	if n, _ := trap.Calls(); n == 0 {
		t.Fatal("the trap does not work: its operator was not called by a user who compares")
	}
	Exec(t, admin, `DELETE FROM public.loot`)
	return trap
}

// Calls is how often somebody's functions were called, and who called which.
func (p *Trap) Calls() (n int, what string) {
	p.t.Helper()
	if err := p.admin.QueryRowContext(p.t.Context(), `SELECT count(*), coalesce(string_agg(DISTINCT who || ' ran ' || what, '; '), '') FROM public.loot`).Scan(&n, &what); err != nil {
		p.t.Fatal(err)
	}
	return n, what
}

// NobodyElsesFunctionsRun runs what sets a trap, works in it with statements that rewrite has seen, and answers its Calls. Nothing may be
// called; and with operators that are not qualified something must be, or the trap would not notice.
func NobodyElsesFunctionsRun(t *testing.T, trapped func(t *testing.T, rewrite func(string) string) (calls int, what string)) {
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		if n, what := trapped(t, func(s string) string { return s }); n > 0 {
			t.Errorf("somebody's functions were called %d times: %s", n, what)
		}
	})
	t.Run("mutant", func(t *testing.T) {
		t.Parallel()
		if n, _ := trapped(t, func(s string) string { return strings.ReplaceAll(s, "OPERATOR(pg_catalog.=)", "=") }); n == 0 {
			t.Error("the mutant lives: operators are not qualified, and the trap does not notice")
		}
	})
}

func trap(attacker string) string {
	var b strings.Builder
	b.WriteString(`SET ROLE ` + attacker + `;
CREATE TABLE public.loot (who name, what text); GRANT INSERT ON public.loot TO PUBLIC;
`)
	function := func(name, args, returns, call string) {
		fmt.Fprintf(&b, `CREATE FUNCTION public.%[1]s(%[2]s) RETURNS %[3]s LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO public.loot VALUES (current_user, '%[1]s(%[2]s)'); RETURN %[4]s; END $f$;
`, name, args, returns, call)
	}
	for _, typ := range []string{"integer", "bigint", "text", "name", "oid", "smallint", "boolean", "timestamptz"} {
		for name, op := range map[string]string{"eq": "=", "ne": "<>", "lt": "<", "gt": ">", "le": "<=", "ge": ">="} {
			function("evil_"+name, typ+", "+typ, "boolean", "$1 OPERATOR(pg_catalog."+op+") $2")
			fmt.Fprintf(&b, "CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.evil_%s);\n", op, typ, typ, name)
		}
	}
	for _, typ := range []string{"integer", "bigint"} {
		for name, op := range map[string]string{"plus": "+", "minus": "-"} {
			function("evil_"+name, typ+", "+typ, typ, "$1 OPERATOR(pg_catalog."+op+") $2")
			fmt.Fprintf(&b, "CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.evil_%s);\n", op, typ, typ, name)
		}
	}
	for _, typ := range []string{"text", "name"} {
		for name, op := range map[string]string{"like": "~~", "unlike": "!~~", "fits": "~", "unfit": "!~"} {
			function("evil_"+name, typ+", text", "boolean", "$1 OPERATOR(pg_catalog."+op+") $2")
			fmt.Fprintf(&b, "CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = text, FUNCTION = public.evil_%s);\n", op, typ, name)
		}
	}
	function("evil_cat", "text, text", "text", "$1 OPERATOR(pg_catalog.||) $2")
	b.WriteString("CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil_cat);\n")
	for _, f := range [][3]string{{"clock_timestamp", "", "timestamptz"}, {"current_setting", "text", "text"}, {"md5", "text", "text"}, {"pg_relation_filenode", "regclass", "oid"},
		{"pg_relation_size", "regclass", "bigint"}, {"pg_total_relation_size", "regclass", "bigint"}, {"format_type", "oid, integer", "text"}, {"pg_get_userbyid", "oid", "name"}, {"quote_ident", "text", "text"},
		{"pg_get_expr", "pg_node_tree, oid", "text"}, {"pg_get_indexdef", "oid", "text"}, {"pg_get_constraintdef", "oid", "text"}, {"pg_backend_pid", "", "integer"}, {"to_regclass", "text", "regclass"},
		{"nextval", "regclass", "bigint"}, {"obj_description", "oid, name", "text"}, {"col_description", "oid, integer", "text"}, {"version", "", "text"}, {"set_config", "text, text, boolean", "text"},
		{"extract", "text, interval", "numeric"}, {"length", "text", "integer"}, {"left", "text, integer", "text"}, {"quote_literal", "text", "text"}, {"substr", "text, integer", "text"}} {
		n := len(strings.FieldsFunc(f[1], func(r rune) bool { return r == ',' }))
		args := []string{"$1", "$2", "$3"}[:n]
		function(f[0], f[1], f[2], "pg_catalog."+f[0]+"("+strings.Join(args, ", ")+")")
	}
	b.WriteString("RESET ROLE;")
	return b.String()
}
