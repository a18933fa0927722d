package postgres

import (
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// The hand-over: a transaction at REPEATABLE READ or above that began before the swap reads the new table afterwards, and sees
// there what the visibility of the shadow's rows lets it. So for the seconds before the swap the trigger also writes the
// shadow's row, in the user's own transaction, and the swap waits until every snapshot has ended that is older than the last
// row that a drain of ours wrote. Then whoever sees a version of a row in one table sees the same in the other.
//
// The key log still decides what is in step. A drain is dirty if it found a row that differs, or a key whose dual write
// failed; the clock starts at the first clean drain after the last dirty one.

// mirrors says that a user's row, once it is in the source, fits the shadow as well: the statement demands nothing new of two
// rows. Where it does, what the source takes the shadow may refuse until a drain puts things right.
func (r *rehearsal) mirrors() bool {
	return !slices.ContainsFunc(r.shadow.Indexes, func(x Index) bool {
		had := slices.ContainsFunc(r.clone.Indexes, func(c Index) bool { return c.Name == x.Name && c.Def == x.Def })
		k := r.shadow.backing(x.OID)
		return !had && (x.Unique || k != nil && k.Type == "x")
	})
}

// DualWrite is the capture's function for these seconds. It may run twice. A user's statement never fails because of it: what
// fails on the shadow is caught, and the key is logged as not mirrored; it waits for a row of the shadow for 50 ms at most.
func DualWrite(p schema.Pair) string {
	w, r := Rows{Pair: p}, recordingOf(p)
	row := " FROM (SELECT NEW.*) AS " + w.alias()
	var names, values, set []string
	for _, m := range p.Columns {
		names, values = append(names, ident.Quote(m.Shadow)), append(values, w.value(m))
		v := "NEW." + ident.Quote(m.Source)
		if m.Expr != "" {
			v = "(SELECT " + w.value(m) + row + ")"
		}
		v = w.finer(m).unchanged(v)
		if !m.Always && !isKey(p, m) {
			set = append(set, ident.Quote(m.Shadow)+" = "+v)
		}
	}
	for _, k := range p.Kept {
		names, values = append(names, ident.Quote(k.Shadow)), append(values, k.Expr)
	}
	at := func(record []string) string {
		var list []string
		for i, n := range r.names {
			list = append(list, record[i]+" AS "+n)
		}
		return w.converted("(SELECT "+strings.Join(list, ", ")+")") + " c WHERE " + w.sameShadow("d", "c")
	}
	shadow := qualified(p.Shadow)
	put := "INSERT INTO " + shadow + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ", ") + row + ";"
	take := "DELETE FROM " + shadow + " d USING " + at(r.olds) + ";\n        GET DIAGNOSTICS n = ROW_COUNT;\n        good := n OPERATOR(pg_catalog.=) 1;"
	change := "good := true; n := 1;"
	if len(set) > 0 {
		change = "UPDATE " + shadow + " d SET " + strings.Join(set, ", ") + " FROM " + at(r.olds) + ";\n        GET DIAGNOSTICS n = ROW_COUNT;\n        good := n OPERATOR(pg_catalog.=) 1;"
	}
	moved := put
	if len(p.Kept) > 0 { // what was assigned once stays with the row, and only a drain can carry it to another key
		moved = "good := false;"
	}
	path := pinned
	if p.Path != "" {
		path = p.Path
	}
	settings := " SET search_path = " + path + " SET lock_timeout = '50ms'"
	for _, a := range assignments(p.Settings) {
		settings += " SET " + a
	}
	return "CREATE OR REPLACE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER" + settings + " AS " + ident.Dollar("\n"+
		"#variable_conflict use_column\nDECLARE good boolean := false; n bigint;\nBEGIN\n"+
		"  IF TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' THEN\n    BEGIN\n"+
		"      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN\n        "+put+"\n        good := true;\n"+
		"      ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN\n        "+take+"\n"+
		"      ELSIF "+r.moved()+" THEN\n        "+take+"\n        "+moved+"\n"+
		"      ELSE\n        "+change+"\n      END IF;\n"+
		"    EXCEPTION WHEN OTHERS THEN good := false;\n    END;\n  END IF;\n"+r.logs(p, "good"))
}

func isKey(p schema.Pair, m schema.Mapped) bool {
	for _, k := range p.Key {
		if k.Shadow == m.Shadow {
			return true
		}
	}
	return false
}

// CompareDrain takes all keys out of the log that are to be seen, and compares their rows in the same snapshot; it writes no
// row. It answers: keys taken, marks of a TRUNCATE among them, keys whose row was not mirrored, keys whose row differs, and the
// transaction's own number.
func (w Rows) CompareDrain() string {
	p := w.Pair
	first := ident.Quote(p.Key[0].Source)
	return "WITH taken AS MATERIALIZED (DELETE FROM " + qualified(p.Log) + " RETURNING " + w.sourceKey("") + ", " + mirrored + "),\n" +
		"live AS MATERIALIZED (SELECT " + w.sourceKey("") + ", pg_catalog.bool_and(" + mirrored + ") AS good FROM taken WHERE " + first + " IS NOT NULL GROUP BY " + w.sourceKey("") + "),\n" +
		"differing AS MATERIALIZED (SELECT 1 FROM live k WHERE " + w.unlike("k") + ")\n" +
		"SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM taken WHERE " + first + " IS NULL)" + w.crashes() +
		", (SELECT count(*) FROM live WHERE NOT good), (SELECT count(*) FROM differing), pg_catalog.pg_current_xact_id()::pg_catalog.text"
}

// Snapshots are the transactions of this database that may hold a snapshot as old as a transaction's number, and each for a
// person. The ages of other roles' transactions are not to be seen without pg_read_all_stats; that they are there is.
const Snapshots = `SELECT a.pid || '/' || coalesce((SELECT min(l.virtualtransaction) FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock'), ''),
  'pid ' || a.pid || coalesce(' of ' || a.usename, '') || coalesce(' (' || nullif(a.application_name, '') || ')', '') || coalesce(', ' || a.state, '') ||
  coalesce(', for ' || extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int || ' s', '')
FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
  AND coalesce(a.backend_type, '') NOT IN ('walsender', 'autovacuum worker')
  AND a.backend_xmin IS NOT NULL AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age($1::pg_catalog.text::pg_catalog.xid8::pg_catalog.xid)`

// ReadLocks answers whether a transaction at SERIALIZABLE has read the source, or may have. Its read locks stay with the old
// table, so what it would have to be warned of after the swap nobody would notice.
func ReadLocks(p schema.Pair) string {
	tables := "ANY (" + regclasses(append([]schema.Name{p.Source}, p.SourceParts...)) + ")"
	return "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.mode OPERATOR(pg_catalog.=) 'SIReadLock' AND l.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AND (l.relation OPERATOR(pg_catalog.=) " +
		tables + " OR l.relation OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid OPERATOR(pg_catalog.=) " + tables + "))))"
}

// guard is the trigger, and the function in the change's schema.
func guard(p schema.Pair) string { return "changeling_" + p.Change + "_guard" }

// Guard makes the swap an error for writers at SERIALIZABLE that began before it, as a native ALTER does. It is part of the
// swap's transaction, after it. Who writes to a partition by its own name meets its trigger alone.
func Guard(p schema.Pair) []string {
	function := ident.Qualified(p.Log.Schema, guard(p))
	out := []string{
		"DO $guard$ BEGIN EXECUTE pg_catalog.format($text$CREATE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$\nBEGIN\n" +
			"  IF pg_catalog.current_setting('transaction_isolation') = 'serializable' AND NOT pg_catalog.pg_visible_in_snapshot(%L::pg_catalog.xid8, pg_catalog.pg_current_snapshot()) THEN\n" +
			"    RAISE EXCEPTION 'could not serialize access due to a change of the table' USING ERRCODE = '40001';\n  END IF;\n  RETURN NULL;\nEND $body$$text$, pg_catalog.pg_current_xact_id()); END $guard$",
	}
	for _, table := range append([]schema.Name{{Schema: p.Source.Schema, Table: p.Shadow.Table}}, within(p.ShadowParts, p.Source.Schema)...) {
		out = append(out, "CREATE TRIGGER "+ident.Quote(guard(p))+" BEFORE INSERT OR UPDATE OR DELETE ON "+qualified(table)+" FOR EACH STATEMENT EXECUTE FUNCTION "+function+"()",
			"ALTER TABLE ONLY "+qualified(table)+" ENABLE ALWAYS TRIGGER "+ident.Quote(guard(p)))
	}
	return out
}

// Guarded answers whether the guard stands somewhere.
func Guarded(p schema.Pair) string {
	return "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgname OPERATOR(pg_catalog.=) " + ident.Literal(guard(p)) + "::pg_catalog.name AND NOT t.tgisinternal)"
}

// Unguard takes the guard off, wherever it stands: the statement may have renamed the table.
func Unguard(p schema.Pair) string { return dropNamed(guard(p)) }
