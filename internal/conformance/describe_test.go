package conformance

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest"
)

// dump is pg_dump --schema-only of a whole database without the engine's own schema, or nil where no pg_dump fits the server.
func dump(t *testing.T, s *dbtest.Server, dsn string) []string {
	t.Helper()
	program := s.Bin("pg_dump")
	if program == "" {
		return nil
	}
	cmd := exec.CommandContext(t.Context(), program, "--schema-only", "-N", "changeling", "-d", dsn)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, stderr.String())
	}
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool {
		// Comments name the version; the restriction is a random word.
		return line == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\restrict`) || strings.HasPrefix(line, `\unrestrict`)
	})
}

// users are the schemas of users. What is left over of a change would show: only the engine's own schema is left out.
const users = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'changeling')`

// acl is an access list in words, with the defaults where there is none, as a dump has it.
func acl(list, kind, owner string) string {
	return `(SELECT jsonb_agg(a::text ORDER BY a::text) FROM unnest(coalesce(` + list + `, acldefault('` + kind + `', ` + owner + `))) a)`
}

// descriptions are queries for one line an object, in terms of names alone. They know what a dump leaves out:
// dependencies, triggers of foreign keys, names of types.
var descriptions = []string{
	`SELECT format('schema %I: %s %s', n.nspname, pg_get_userbyid(n.nspowner), ` + acl(`n.nspacl`, `n`, `n.nspowner`) + `) FROM pg_namespace n WHERE ` + users,

	`SELECT format('relation %I.%I: %s', n.nspname, c.relname, jsonb_build_object(
   'kind', c.relkind, 'owner', pg_get_userbyid(c.relowner), 'persistence', c.relpersistence,
   'access', (SELECT amname FROM pg_am WHERE oid = c.relam), 'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace),
   'options', c.reloptions, 'toast', (SELECT reloptions FROM pg_class WHERE oid = c.reltoastrelid), 'identity', c.relreplident,
   'security', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'bound', pg_get_expr(c.relpartbound, c.oid), 'checks', c.relchecks,
   'array', (SELECT b.typname FROM pg_type y JOIN pg_type b ON b.oid = y.typarray WHERE y.oid = c.reltype),
   'acl', CASE WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f') THEN ` + acl(`c.relacl`, `r`, `c.relowner`) + ` WHEN c.relkind = 'S' THEN ` + acl(`c.relacl`, `s`, `c.relowner`) + ` END,
   'comment', obj_description(c.oid, 'pg_class')))
 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ` + users,

	// jsonb_build_object takes 100 arguments at most, which is 50 properties.
	`SELECT format('column %I.%I %s: %s', n.nspname, c.relname, lpad(row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)::text, 4), jsonb_build_object(
   'name', CASE WHEN c.relkind IN ('i', 'I') THEN '' ELSE a.attname END, 'type', format_type(a.atttypid, a.atttypmod), 'collation', a.attcollation::regcollation::text,
   'null', NOT a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'generated', a.attgenerated, 'identity', a.attidentity, 'storage', a.attstorage,
   'compression', a.attcompression, 'target', nullif(a.attstattarget, -1), 'local', a.attislocal, 'inherited', a.attinhcount,
   'options', (SELECT jsonb_agg(o ORDER BY o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg_attver=%'),
   'acl', (SELECT jsonb_agg(x::text ORDER BY x::text) FROM unnest(a.attacl) x), 'comment', col_description(c.oid, a.attnum)))
 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attnum > 0 AND NOT a.attisdropped AND ` + users,

	`SELECT format('index %I.%I: %s', n.nspname, x.relname, jsonb_build_object('def', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'ready', i.indisready,
   'unique', i.indisunique, 'primary', i.indisprimary, 'exclusion', i.indisexclusion, 'immediate', i.indimmediate, 'clustered', i.indisclustered, 'identity', i.indisreplident))
 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace WHERE ` + users,

	// A key of a partition, of whatever kind, that was attached is marked NO INHERIT, which says nothing of a key.
	// VALIDATE of a key to a partitioned table leaves the keys to its partitions, which nobody sees, NOT VALID before PostgreSQL 18.
	`SELECT format('constraint %I on %s: %s', k.conname, coalesce(nullif(k.conrelid, 0)::regclass::text, k.contypid::regtype::text), jsonb_build_object(
   'type', k.contype, 'def', CASE WHEN k.conparentid = 0 THEN pg_get_constraintdef(k.oid) ELSE replace(pg_get_constraintdef(k.oid), ' NOT VALID', '') END,
   'deferrable', k.condeferrable, 'deferred', k.condeferred, 'validated', k.convalidated OR k.conparentid <> 0,
   'local', k.conislocal, 'inherited', k.coninhcount, 'no inherit', k.connoinherit AND NOT (k.contype IN ('p', 'u', 'f') AND k.conparentid <> 0), 'index', nullif(k.conindid, 0)::regclass::text,
   'part', k.conparentid <> 0, 'comment', obj_description(k.oid, 'pg_constraint')))
 FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE k.contype <> 't' AND ` + users,

	`SELECT format('trigger on %s: %s', g.tgrelid::regclass, jsonb_build_object('name', CASE WHEN g.tgisinternal THEN '' ELSE g.tgname END,
   'function', g.tgfoid::regproc::text, 'enabled', g.tgenabled, 'type', g.tgtype, 'deferrable', g.tgdeferrable, 'deferred', g.tginitdeferred,
   'constraint', k.conname, 'other', nullif(g.tgconstrrelid, 0)::regclass::text, 'index', nullif(g.tgconstrindid, 0)::regclass::text))
 FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_constraint k ON k.oid = g.tgconstraint WHERE ` + users,

	`SELECT format('sequence %I.%I: %s %s %s', n.nspname, c.relname, to_jsonb(s.*) - 'seqrelid' - 'seqtypid', format_type(s.seqtypid, NULL), p.last_value)
 FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 JOIN pg_sequences p ON p.schemaname = n.nspname AND p.sequencename = c.relname WHERE ` + users,

	`SELECT format('statistics %I.%I: %s %s %s %s', n.nspname, s.stxname, pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1), pg_get_userbyid(s.stxowner), obj_description(s.oid, 'pg_statistic_ext'))
 FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE ` + users,

	`SELECT format('type %I.%I: %s %s %s', n.nspname, y.typname, y.typtype, pg_get_userbyid(y.typowner), ` + acl(`y.typacl`, `T`, `y.typowner`) + `)
 FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace WHERE ` + users,

	`SELECT format('view %I.%I: %s', n.nspname, c.relname, pg_get_viewdef(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND ` + users,

	// Toast tables and the triggers of constraints have numbers in their names.
	`SELECT DISTINCT format('%s depends on %s: %s', d.one, d.other, d.deptype) FROM (
   SELECT pg_describe_object(classid, objid, objsubid) AS one, pg_describe_object(refclassid, refobjid, refobjsubid) AS other, deptype FROM pg_depend WHERE objid >= 16384) d
 WHERE d.one || ' ' || d.other !~ '\mchangeling\M|\mpg_toast\M|ConstraintTrigger_'`,

	`SELECT DISTINCT format('%s depends on role %I: %s', d.one, d.role, d.deptype) FROM (
   SELECT pg_describe_object(classid, objid, objsubid) AS one, pg_get_userbyid(refobjid) AS role, deptype
   FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) d
 WHERE d.one !~ '\mchangeling\M|\mpg_toast\M' AND d.one NOT LIKE 'default %'`,

	`SELECT format('publication %I: %s', pubname, puballtables) FROM pg_publication`,
	`SELECT format('published: %s by %s, %s, %s', prrelid::regclass, (SELECT pubname FROM pg_publication p WHERE p.oid = prpubid),
   (SELECT string_agg(a.attname, ', ') FROM pg_attribute a WHERE a.attrelid = prrelid AND a.attnum::text = ANY (string_to_array(to_jsonb(r)->>'prattrs', ' '))), to_jsonb(r)->>'prqual' IS NOT NULL) FROM pg_publication_rel r`,
	`SELECT format('policy %I on %s: %s', polname, polrelid::regclass, jsonb_build_object('command', polcmd, 'permissive', polpermissive, 'roles', (SELECT jsonb_agg(coalesce(nullif(o, 0)::regrole::text, 'PUBLIC') ORDER BY n) FROM unnest(polroles) WITH ORDINALITY u(o, n)),
   'using', pg_get_expr(polqual, polrelid), 'check', pg_get_expr(polwithcheck, polrelid), 'comment', obj_description(oid, 'pg_policy'))) FROM pg_policy`,
	`SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ` + users,
}

// describe is a database as its catalogue has it, sorted.
func describe(t *testing.T, db *sql.DB) []string {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Only without a search path is every name qualified.
	if _, err := conn.ExecContext(t.Context(), `SET search_path = pg_catalog`); err != nil {
		t.Fatal(err)
	}
	defer conn.ExecContext(context.WithoutCancel(t.Context()), `RESET search_path`) // a later user of the connection sees the error
	var all []string
	for _, query := range descriptions {
		lines, err := column(t.Context(), conn, query)
		if err != nil {
			t.Fatalf("%v\nin: %s", err, query)
		}
		slices.Sort(lines)
		all = append(all, lines...)
	}
	return all
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column is the answer of a query for one text.
func column(ctx context.Context, q queryer, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		out = append(out, line.String)
	}
	return out, rows.Err()
}

// diff is what two lists of lines do not share: the shortest edit, with - for want and + for got. It is empty for equal lists.
func diff(want, got []string) string {
	for len(want) > 0 && len(got) > 0 && want[0] == got[0] {
		want, got = want[1:], got[1:]
	}
	for len(want) > 0 && len(got) > 0 && want[len(want)-1] == got[len(got)-1] {
		want, got = want[:len(want)-1], got[:len(got)-1]
	}
	if len(want)*len(got) > 4e6 {
		return fmt.Sprintf("- %s\n+ %s\n(%d and %d lines from here on)\n", first(want), first(got), len(want), len(got))
	}
	// common[i][j] is the length of the longest common subsequence of want[i:] and got[j:].
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var b strings.Builder
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(&b, "- %s\n", short(want[i]))
			i++
		default:
			fmt.Fprintf(&b, "+ %s\n", short(got[j]))
			j++
		}
	}
	return b.String()
}

func first(lines []string) string {
	if len(lines) == 0 {
		return "(nothing)"
	}
	return short(lines[0])
}

// long hides the inner part of long values: a row of a megabyte helps nobody.
var long = regexp.MustCompile(`\S{300,}`)

func short(line string) string {
	return long.ReplaceAllStringFunc(line, func(s string) string { return fmt.Sprintf("%s…(%d bytes)", s[:60], len(s)) })
}
