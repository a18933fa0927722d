package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// A capture on a partitioned table, of a change or of an undo: the row trigger stands on the table and the server clones it to each partition, so
// it also sees who writes to a partition directly. A statement's trigger is not cloned, so each partition gets its own for TRUNCATE. No trigger
// fires where a partition comes or goes with its rows. So the capture remembers which clones of its row trigger stand on which partitions:
// one that was detached and attached again has another clone.

// known makes the table of these.
func known(p schema.Pair) []string {
	if len(p.SourceParts) == 0 {
		return nil
	}
	return []string{"CREATE TABLE " + qualified(p.Known) + " (part oid PRIMARY KEY, clone oid NOT NULL)"}
}

func dropKnown(p schema.Pair) string {
	if len(p.SourceParts) == 0 {
		return ""
	}
	return ", " + qualified(p.Known)
}

// lockParts takes the locks of a partitioned source and its partitions that the triggers need, one after the other, within the bound of one: who
// waits for the first of them must not wait for each of the others as long.
func lockParts(p schema.Pair, wait time.Duration) []string {
	if len(p.SourceParts) == 0 {
		return nil
	}
	ms := fmt.Sprint(max(wait.Milliseconds(), 1))
	return []string{"DO " + ident.Dollar(` DECLARE t oid; until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => `+ms+` / 1000.0); BEGIN
  FOREACH t IN ARRAY `+regclasses(append([]schema.Name{p.Source}, p.SourceParts...))+` LOOP
    PERFORM pg_catalog.set_config('lock_timeout', greatest(1, extract(epoch FROM until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) * 1000)::int::text, true);
    EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', t::pg_catalog.regclass);
  END LOOP;
  PERFORM pg_catalog.set_config('lock_timeout', '`+ms+`', true); END `)}
}

// Armed answers whether a capture's triggers stand on the source and on all its partitions, which are those of the beginning.
func Armed(p schema.Pair) string { return armed(p) }

// armParts is what arm does for the partitions.
func armParts(p schema.Pair) (out []string) {
	row, truncate := ident.Quote(first(p)), ident.Quote(p.Capture.Table+"_truncate")
	for _, part := range p.SourceParts {
		on := qualified(part)
		out = append(out, "CREATE TRIGGER "+truncate+" AFTER TRUNCATE ON "+on+" FOR EACH STATEMENT EXECUTE FUNCTION "+qualified(p.Capture)+"()",
			"ALTER TABLE "+on+" ENABLE ALWAYS TRIGGER "+row, "ALTER TABLE "+on+" ENABLE ALWAYS TRIGGER "+truncate)
	}
	if len(p.SourceParts) > 0 {
		out = append(out, "INSERT INTO "+qualified(p.Known)+" SELECT g.tgrelid, g.oid FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_inherits h ON h.inhrelid OPERATOR(pg_catalog.=) g.tgrelid WHERE h.inhparent OPERATOR(pg_catalog.=) "+
			ident.Literal(qualified(p.Source))+"::pg_catalog.regclass AND g.tgname::text OPERATOR(pg_catalog.=) "+ident.Literal(first(p)))
	}
	return out
}

// whole is the condition that the partitions are those of the beginning, and that the capture has stood on them all the time since.
func whole(p schema.Pair) string {
	if len(p.SourceParts) == 0 {
		return ""
	}
	of := "pg_catalog.pg_inherits h WHERE h.inhparent OPERATOR(pg_catalog.=) pg_catalog.to_regclass(" + ident.Literal(qualified(p.Source)) + ")"
	trigger := "EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid OPERATOR(pg_catalog.=) k.part AND g.tgenabled OPERATOR(pg_catalog.=) 'A'::\"char\" AND "
	return " AND (SELECT pg_catalog.count(*) FROM " + of + ") OPERATOR(pg_catalog.=) " + "(SELECT pg_catalog.count(*) FROM " + qualified(p.Known) + ") AND NOT EXISTS (SELECT FROM " + qualified(p.Known) +
		" k WHERE NOT (EXISTS (SELECT FROM " + of + " AND h.inhrelid OPERATOR(pg_catalog.=) k.part AND NOT h.inhdetachpending) AND " + trigger + "g.oid OPERATOR(pg_catalog.=) k.clone) AND " +
		trigger + "g.tgname::text OPERATOR(pg_catalog.=) " + ident.Literal(p.Capture.Table+"_truncate") + ")))"
}

// Whole answers whether the partitions are those of the beginning, in the snapshot of who asks. It is empty where the source has none.
func Whole(p schema.Pair) string {
	if len(p.SourceParts) == 0 {
		return ""
	}
	return "SELECT true" + whole(p)
}

// files tells the files of all partitions from what they are after somebody rewrote one, or one came or went. 0 is no file.
func files(p schema.Pair) string {
	return "(SELECT coalesce(pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat(h.inhrelid, '/', pg_catalog.pg_relation_filenode(h.inhrelid)), ' ' ORDER BY h.inhrelid), 0), 0) OPERATOR(pg_catalog.|) 1::bigint " +
		"FROM pg_catalog.pg_inherits h WHERE h.inhparent OPERATOR(pg_catalog.=) " + ident.Literal(qualified(p.Source)) + "::pg_catalog.regclass)"
}

// place is where a row of the source stands: in its block, and of partitions also in which.
func (w Rows) place() string {
	at := w.alias() + ".ctid::pg_catalog.text"
	if len(w.Pair.SourceParts) == 0 {
		return at
	}
	return "pg_catalog.concat(" + w.alias() + ".tableoid, ' ', " + at + ")"
}

// amongParts is Among for places in partitions: rows are found by their places, and those of the other partitions are left out.
func (w Rows) amongParts(places []string) string {
	var tids, both []string
	for _, p := range places {
		part, tid, _ := strings.Cut(p, " ")
		tids, both = append(tids, `"`+tid+`"`), append(both, "("+ident.Literal(part)+"::pg_catalog.oid, "+ident.Literal(tid)+"::pg_catalog.tid)")
	}
	return w.alias() + ".ctid OPERATOR(pg_catalog.=) ANY (" + ident.Literal("{"+strings.Join(tids, ",")+"}") + "::pg_catalog.tid[]) AND EXISTS (SELECT FROM (VALUES " + strings.Join(both, ", ") +
		") x(part, tid) WHERE x.part OPERATOR(pg_catalog.=) " + w.alias() + ".tableoid AND x.tid OPERATOR(pg_catalog.=) " + w.alias() + ".ctid)"
}

// moveParts takes partitions to another schema.
func moveParts(parts []schema.Name, to string) (out []string) {
	for _, part := range parts {
		out = append(out, "ALTER TABLE "+qualified(part)+" SET SCHEMA "+ident.Quote(to))
	}
	return out
}

// within are the same partitions in another schema.
func within(parts []schema.Name, in string) (out []schema.Name) {
	for _, part := range parts {
		out = append(out, schema.Name{Schema: in, Table: part.Table})
	}
	return out
}

// regclasses are tables as an array of the server.
func regclasses(tables []schema.Name) string {
	var out []string
	for _, n := range tables {
		out = append(out, ident.Literal(qualified(n))+"::pg_catalog.regclass")
	}
	return "ARRAY[" + strings.Join(out, ", ") + "]::oid[]"
}
