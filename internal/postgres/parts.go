package postgres

import (
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// A capture on a partitioned table, which is that of an undo: the row trigger stands on the table and the server clones it to each partition, so
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
