package postgres

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/schema"
)

// Marks is a fast answer to whether anybody touched the source's definition between two moments: the versions of all
// catalogue rows that describe it or lean on it. The slow answer, the fingerprint, is asked before the lock, and this
// before and after: so the lock is not held for it.
func Marks(p schema.Pair) string {
	tables := fmt.Sprint(p.Table)
	if len(p.SourceParts) > 0 {
		tables = "ANY (ARRAY(SELECT " + tables + "::oid UNION ALL SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = " + tables + "))"
	}
	of := func(catalogue, where string) string {
		return "SELECT '" + catalogue + "' || x.xmin::text || x.ctid::text AS mark FROM pg_catalog." + catalogue + " x WHERE " + strings.ReplaceAll(where, "$t", tables)
	}
	const readers = "SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $t"
	const read = "SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid IN (" + readers + ")"
	return "SELECT coalesce(pg_catalog.md5(pg_catalog.string_agg(m.mark, ',' ORDER BY m.mark)), '') FROM (" + strings.Join([]string{
		of("pg_class", "x.oid = $t OR x.oid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = $t)"),
		of("pg_attribute", "x.attrelid = $t"),
		of("pg_attrdef", "x.adrelid = $t"),
		of("pg_index", "x.indrelid = $t"),
		of("pg_constraint", "x.conrelid = $t OR x.confrelid = $t"),
		of("pg_trigger", "x.tgrelid = $t"),
		of("pg_rewrite", "x.oid IN ("+readers+")"),
		of("pg_class", "x.oid IN ("+read+")"), // the view itself, and other tables: their names stand in its text
		of("pg_attribute", "x.attrelid IN ("+read+")"),
		of("pg_statistic_ext", "x.stxrelid = $t"),
		of("pg_policy", "x.polrelid = $t"),
		of("pg_inherits", "x.inhrelid = $t OR x.inhparent = $t"),
		of("pg_publication", "true"), of("pg_publication_rel", "x.prrelid = $t"),
		of("pg_description", "x.objoid = $t AND x.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass"),
		"SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p WHERE p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refobjid = " + tables,
		"SELECT 'pg_depend' || p.classid::text || '.' || p.objid::text FROM pg_catalog.pg_depend p, pg_catalog.pg_class c WHERE c.oid = " + tables +
			" AND p.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND p.refobjid = c.reltype",
	}, " UNION ALL ") + ") m"
}

// Verdict is what the cutover asks first under its lock, in one round trip: the marks, whether the capture's triggers
// still fire for everybody, and how many keys are left.
func (w Rows) Verdict() string {
	return "SELECT (" + Marks(w.Pair) + "), (" + armed(w.Pair) + "), (" + w.Pending() + ")"
}

// Warm makes the server plan the statements that run under the lock, in the session that will run them, so that its
// caches are filled before others wait.
func (w Rows) Warm() []string {
	return []string{"EXPLAIN " + w.Drain(0, true), "EXPLAIN " + w.RelogChecked()}
}

// SwapText is the swap with the saved program counter as one text. The last statement answers one row if the counter
// stood where the run believed.
func SwapText(swap []string, t state.Text, change string, step int) string {
	bind := func(s string, args ...string) string {
		for i, a := range args {
			s = strings.ReplaceAll(s, fmt.Sprintf("$%d::", i+1), a+"::")
		}
		return s
	}
	id := ident.Literal(change)
	return strings.Join(append(append([]string{}, swap...), bind(t.Cut, id), bind(t.Advance, id, fmt.Sprint(step), fmt.Sprint(step+1))), ";\n")
}
