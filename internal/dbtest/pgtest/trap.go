package pgtest

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
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
		var seen atomic.Int64
		unqualified := func(s string) string {
			if !strings.Contains(s, "OPERATOR(pg_catalog.=)") || seen.Add(1) > 60 { // one would do; each costs
				return s
			}
			return strings.ReplaceAll(s, "OPERATOR(pg_catalog.=)", "=")
		}
		if n, _ := trapped(t, unqualified); n == 0 {
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
	// Every operator of the server's between types that a catalogue has, and the aggregates that count and sum up.
	b.WriteString(`DO $do$ DECLARE o record; f text; BEGIN
  FOR o IN SELECT p.oid, p.oprname AS name, pg_catalog.format_type(p.oprleft, NULL) AS l, pg_catalog.format_type(p.oprright, NULL) AS r, pg_catalog.format_type(p.oprresult, NULL) AS result
    FROM pg_catalog.pg_operator p WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprresult <> 0 AND p.oprkind = 'b'
      AND ARRAY[p.oprleft, p.oprright] <@ '{int2,int4,int8,float8,numeric,text,name,oid,bool,timestamptz,interval,xid,xid8,pg_lsn,inet,jsonb}'::regtype[]::oid[]
  LOOP
    f := 'evil_' || o.oid;
    EXECUTE format('CREATE FUNCTION public.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO public.loot VALUES (current_user, %L); RETURN $1 OPERATOR(pg_catalog.%s) $2; END $f$',
      f, o.l, o.r, o.result, o.name || '(' || o.l || ', ' || o.r || ')', o.name);
    EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)', o.name, o.l, o.r, f);
  END LOOP;
END $do$;
`)
	function("evil_count", "bigint", "bigint", "$1 OPERATOR(pg_catalog.+) 1")
	b.WriteString(`CREATE AGGREGATE public.count(*) (SFUNC = public.evil_count, STYPE = bigint, INITCOND = '0');
`)
	for _, typ := range []string{"bigint", "integer"} {
		function("evil_more", "bigint, "+typ, "bigint", "coalesce($1, 0) OPERATOR(pg_catalog.+) coalesce($2, 0)")
		fmt.Fprintf(&b, "CREATE AGGREGATE public.sum(%s) (SFUNC = public.evil_more, STYPE = bigint);\n", typ)
	}
	for _, f := range [][3]string{{"clock_timestamp", "", "timestamptz"}, {"current_setting", "text", "text"}, {"md5", "text", "text"}, {"pg_relation_filenode", "regclass", "oid"},
		{"pg_relation_size", "regclass", "bigint"}, {"pg_total_relation_size", "regclass", "bigint"}, {"format_type", "oid, integer", "text"}, {"pg_get_userbyid", "oid", "name"}, {"quote_ident", "text", "text"},
		{"pg_get_expr", "pg_node_tree, oid", "text"}, {"pg_get_indexdef", "oid", "text"}, {"pg_get_constraintdef", "oid", "text"}, {"pg_backend_pid", "", "integer"}, {"to_regclass", "text", "regclass"},
		{"nextval", "regclass", "bigint"}, {"obj_description", "oid, name", "text"}, {"col_description", "oid, integer", "text"}, {"version", "", "text"}, {"set_config", "text, text, boolean", "text"},
		{"extract", "text, interval", "numeric"}, {"length", "text", "integer"}, {"left", "text, integer", "text"}, {"quote_literal", "text", "text"}, {"substr", "text, integer", "text"},
		{"now", "", "timestamptz"}, {"extract", "text, timestamptz", "numeric"}, {"age", "xid", "integer"}, {"host", "inet", "text"}, {"pg_wal_lsn_diff", "pg_lsn, pg_lsn", "numeric"}, {"pg_blocking_pids", "integer", "integer[]"},
		{"current_database", "", "name"}, {"has_schema_privilege", "text, text", "boolean"}, {"to_jsonb", "text", "jsonb"}, {"pg_size_pretty", "bigint", "text"}, {"upper", "text", "text"}, {"lower", "text", "text"}} {
		n := len(strings.FieldsFunc(f[1], func(r rune) bool { return r == ',' }))
		args := []string{"$1", "$2", "$3"}[:n]
		function(f[0], f[1], f[2], "pg_catalog."+f[0]+"("+strings.Join(args, ", ")+")")
	}
	b.WriteString("RESET ROLE;")
	return b.String()
}
