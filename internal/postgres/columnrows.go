package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// ColumnRows is Rows for a change by a second column: the shadow of a row is a part of the row itself. Whatever writes a row
// writes both, by a trigger, so there are no keys to log. What is logged are the keys of rows whose conversion failed.
type ColumnRows struct{ Rows }

// differs says that a row's second columns are not what they should be. They are compared by their image, which every type has.
func (w ColumnRows) differs() string {
	var now, should []string
	for _, m := range w.Pair.Columns {
		now = append(now, w.alias()+"."+ident.Quote(m.Shadow))
		should = append(should, w.value(m)+"::"+m.Type)
	}
	return "ROW(" + strings.Join(now, ", ") + ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(" + strings.Join(should, ", ") + ")::pg_catalog.record"
}

func (w ColumnRows) fill() string {
	var set []string
	for _, m := range w.Pair.Columns {
		set = append(set, ident.Quote(m.Shadow)+" = "+w.value(m))
	}
	return "UPDATE " + w.from() + " SET " + strings.Join(set, ", ") + " WHERE "
}

// Copy fills the second columns of a range of blocks. The value comes from the version of the row that is changed, so it is never
// older than the row. Rows that moved meanwhile were written, and so filled. It may run twice.
func (w ColumnRows) Copy(r copier.Range) string {
	return w.fill() + tids(w.alias()+".", r) + " AND " + w.differs()
}

// CopyOne is Copy for the row at a place.
func (w ColumnRows) CopyOne(tid string) string {
	return w.fill() + w.alias() + ".ctid = " + ident.Literal(tid) + "::pg_catalog.tid AND " + w.differs()
}

// Differing answers how many rows a range has, and how many of them are not what they should be.
func (w ColumnRows) Differing(r copier.Range) string {
	return "SELECT count(*), count(*) FILTER (WHERE " + w.differs() + ") FROM " + w.from() + " WHERE " + tids(w.alias()+".", r)
}

// Apart is Differing for columns that users have both written for long.
func (w ColumnRows) Apart(r copier.Range) string { return w.Differing(r) }

// Empty is nothing: what is filled stays.
func (w ColumnRows) Empty() []string { return nil }

// Settle fills again the rows whose conversion failed, and forgets that it did. It fails where it still does. It answers how many
// keys there were, and how many rows it filled. It is empty where no conversion can fail.
func (w ColumnRows) Settle() string {
	if !fallible(w.Pair) {
		return ""
	}
	return "WITH taken AS MATERIALIZED (DELETE FROM " + qualified(w.Pair.Log) + " RETURNING " + w.sourceKey("") + "),\nfilled AS (" + w.fill() +
		"EXISTS (SELECT FROM taken k WHERE " + w.sameSource("k", w.alias()) + ") AND " + w.differs() + " RETURNING 1)\n" +
		"SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM filled)"
}

// Failures lists keys of rows whose conversion failed, and why.
func (w ColumnRows) Failures() string {
	return "SELECT " + w.keyText("l.") + ", l.changeling_error FROM " + qualified(w.Pair.Log) + " l ORDER BY l." + seq + " LIMIT 3"
}

// Verdict is what the cutover asks first under its lock: the marks, whether the trigger fires for everybody and after all others,
// and how many conversions failed.
func (w ColumnRows) Verdict() string {
	return "SELECT (" + Marks(w.Pair) + "), (" + columnArmed(w.Pair) + "), (" + w.Pending() + ")"
}

// fallible says that a row's conversion may fail.
func fallible(p schema.Pair) bool {
	for _, m := range p.Columns {
		if m.Converted {
			return true
		}
	}
	return false
}

// columnTrigger sorts behind the names of all other triggers in ASCII: it sees the row as they leave it.
func columnTrigger(change string) string { return "~changeling_" + change }

// columnArmed asks whether the trigger fires for everybody, and no other one behind it that could write the row.
func columnArmed(p schema.Pair) string {
	name := ident.Literal(columnTrigger(p.Change))
	return fmt.Sprintf("SELECT count(*) = 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = %d AND g.tgenabled = 'A' AND g.tgname = %s AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger o "+
		"WHERE o.tgrelid = g.tgrelid AND o.tgname > g.tgname AND o.tgtype & 3 = 3 AND o.tgtype & 20 <> 0)", p.Table, name)
}

// installColumns is the trigger and all that it needs. It fires for replicated writes, too, and never fails a user: where a
// conversion fails, the second column stays empty and the row's key is logged, which stops the change.
func installColumns(p schema.Pair) []string {
	defs := []string{seq + " bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "changeling_error text"}
	for _, k := range p.Key {
		defs = append(defs, ident.Quote(k.Source)+" "+k.LogType)
	}
	trigger, on := ident.Quote(columnTrigger(p.Change)), qualified(p.Source)
	functions := []string{columnFunction(p)}
	if p.Live {
		functions = []string{liveFunction(p)}
	}
	if BothWays(p) {
		functions = LiveRows{ColumnRows{Rows{Pair: p}}}.install()
	}
	return slices.Concat([]string{"CREATE TABLE " + qualified(p.Log) + " (" + strings.Join(defs, ", ") + ")"}, functions, []string{
		"REVOKE ALL ON FUNCTION " + qualified(p.Capture) + "() FROM PUBLIC",
		"CREATE TRIGGER " + trigger + " BEFORE INSERT OR UPDATE ON " + on + " FOR EACH ROW EXECUTE FUNCTION " + qualified(p.Capture) + "()",
		"ALTER TABLE " + on + " ENABLE ALWAYS TRIGGER " + trigger,
	})
}

func columnFunction(p schema.Pair) string {
	w := Rows{Pair: p}
	var names, values []string
	for _, k := range p.Key {
		names, values = append(names, ident.Quote(k.Source)), append(values, "NEW."+ident.Quote(k.Source))
	}
	var body strings.Builder
	for _, m := range p.Columns {
		second, value := "NEW."+ident.Quote(m.Shadow), "NEW."+ident.Quote(m.Source)
		if m.Expr != "" {
			value = "(SELECT " + w.value(m) + " FROM (SELECT NEW.*) AS " + w.alias() + ")"
		}
		set := "  " + second + " := " + value + ";\n"
		if m.Converted {
			set = "  BEGIN\n  " + set + "  EXCEPTION WHEN OTHERS THEN\n    " + second + " := NULL;\n    INSERT INTO " + qualified(p.Log) + " (" +
				strings.Join(append(names, "changeling_error"), ", ") + ") VALUES (" + strings.Join(append(values, "SQLERRM"), ", ") + ");\n  END;\n"
		}
		body.WriteString(set)
	}
	settings := " SET search_path = " + pinned
	if p.Path != "" {
		settings = " SET search_path = " + p.Path
	}
	if fallible(p) {
		for _, a := range assignments(p.Settings) {
			settings += " SET " + a
		}
	}
	return "CREATE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER" + settings + " AS " +
		ident.Dollar("\n#variable_conflict use_column\nBEGIN\n"+body.String()+"  RETURN NEW;\nEND ")
}

// releaseColumns takes away the function and what it wrote, after its trigger.
func releaseColumns(p schema.Pair) []string {
	var standing []string
	if BothWays(p) {
		standing = []string{"DROP FUNCTION IF EXISTS " + LiveRows{ColumnRows{Rows{Pair: p}}}.standing() + "(anyelement)"}
	}
	return slices.Concat(standing, []string{
		"DROP FUNCTION IF EXISTS " + qualified(p.Capture) + "()",
		"DROP TABLE IF EXISTS " + qualified(p.Log),
		"DROP SCHEMA IF EXISTS " + ident.Quote(p.Log.Schema),
	})
}

// dropColumns drops columns of ours, and with them their indexes and constraints. The table is found by its identity: somebody
// may have renamed it. It may run twice.
func dropColumns(p schema.Pair, names []string) string {
	var list []string
	for _, n := range names {
		list = append(list, ident.Literal(n))
	}
	return fmt.Sprintf(`DO $changeling$ DECLARE c record; BEGIN
  FOR c IN SELECT a.attrelid::pg_catalog.regclass AS on, a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = %d AND NOT a.attisdropped AND a.attname = ANY (ARRAY[%s]::pg_catalog.name[]) LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %%s DROP COLUMN %%I', c.on, c.attname);
  END LOOP; END $changeling$`, p.Table, strings.Join(list, ", "))
}

// AbandonColumns takes a second column away before its cutover. Each list is a transaction; each may run twice. The first takes
// no lock on the table, the second needs ACCESS EXCLUSIVE for a moment.
func AbandonColumns(p schema.Pair) (quiet, columns, rest []string) {
	if p.Live {
		return abandonLive(p)
	}
	quiet = []string{`DO $changeling$ BEGIN IF pg_catalog.to_regprocedure(` + ident.Literal(qualified(p.Capture)+"()") + `) IS NOT NULL THEN ` +
		"CREATE OR REPLACE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN RETURN NEW; END $body$; END IF; END $changeling$"}
	var names []string
	for _, m := range p.Columns {
		names = append(names, m.Shadow)
	}
	columns = []string{fmt.Sprintf(`DO $changeling$ DECLARE g record; BEGIN
  FOR g IN SELECT tgname, tgrelid::pg_catalog.regclass AS on FROM pg_catalog.pg_trigger WHERE tgrelid = %d AND NOT tgisinternal AND tgname = %s LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %%I ON %%s', g.tgname, g.on);
  END LOOP; END $changeling$`, p.Table, ident.Literal(columnTrigger(p.Change))), dropColumns(p, names)}
	return quiet, columns, releaseColumns(p)
}
