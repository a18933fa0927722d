package changeling_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// trap is a schema that everybody may write to and that comes before the server's own in everybody's search path. In it stand
// somebody's functions and operators with the names of the server's. They do what theirs do, and note who called them.
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

// TestNobodyElsesFunctionsRun: who may create in a schema that is in the search path, even before the server's own, gets nothing
// of his run by a change, neither with the rights of who makes it, nor with the owner's, nor by users who write meanwhile.
func TestNobodyElsesFunctionsRun(t *testing.T) {
	t.Parallel()
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

// trapped makes a change of a table in a database with a trap, and answers how often who ran what of it.
func trapped(t *testing.T, rewrite func(string) string) (calls int, what string) {
	dsn := pgtest.Database(t)
	admin := pgtest.Open(t, dsn)
	word := strings.ToLower(rand.Text()[:8])
	attacker, owner := "attacker_"+word, "owner_"+word
	pgtest.Exec(t, admin, `CREATE ROLE `+attacker, `CREATE ROLE `+owner, `GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC`, `CREATE SCHEMA app AUTHORIZATION `+owner,
		`CREATE TABLE app.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL CHECK (amount > 0), note text)`,
		`CREATE INDEX ON app.orders (amount) WHERE note IS NOT NULL`, `ALTER TABLE app.orders OWNER TO `+owner,
		`INSERT INTO app.orders (email, amount, note) SELECT 'e' || i, i, 'n' FROM generate_series(1, 3000) i`, trap(attacker),
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog, app', current_database()); END $$`)
	count := func() (n int, what string) {
		if err := admin.QueryRow(`SELECT count(*), coalesce(string_agg(DISTINCT who || ' ran ' || what, '; '), '') FROM public.loot`).Scan(&n, &what); err != nil {
			t.Fatal(err)
		}
		return n, what
	}
	engine := pgtest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string { return rewrite(x.Text) })
	user := pgtest.Open(t, dsn)
	pgtest.Exec(t, user, `SELECT 1 = 2`)
	if n, _ := count(); n == 0 {
		t.Fatal("the trap does not work: its operator was not called by a user who compares")
	}
	pgtest.Exec(t, admin, `DELETE FROM public.loot`)
	// What users do meanwhile they do with the server's own operators, so what is noted is not theirs.
	users := func(s string) {
		pgtest.Exec(t, admin, `SET search_path = pg_catalog, app`, s, `RESET search_path`)
	}
	admin.SetMaxOpenConns(1)
	config := changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Discard, began("heal"), func() {
		users(`UPDATE app.orders SET amount = amount + 1, note = NULL WHERE id < 50; DELETE FROM app.orders WHERE id = 60; INSERT INTO app.orders (email, amount) VALUES ('new', 5)`)
	})}
	config.Events = upon(config.Events, began("verify"), func() { users(`UPDATE app.orders SET id = DEFAULT WHERE id = 70`) })
	if err := changeling.Apply(t.Context(), engine, `ALTER TABLE app.orders ALTER COLUMN amount TYPE bigint, ADD COLUMN more int DEFAULT 7`, config); err != nil {
		t.Fatal(err)
	}
	calls, what = count()
	var rows, wide int
	if err := admin.QueryRow(`SELECT count(*), count(*) FILTER (WHERE pg_typeof(amount) = 'bigint'::regtype) FROM app.orders`).Scan(&rows, &wide); err != nil || rows != 3000 || wide != 3000 {
		t.Errorf("%d rows, %d of them changed (%v), want 3000", rows, wide, err)
	}
	return calls, what
}
