package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// A live pair of two types: each write goes through a conversion, up to the new column or down to the old one, and may fail on it or lose
// something. So a row is in step if one column is what the other one comes to, whichever.

// LiveRows is ColumnRows for such a pair.
type LiveRows struct{ ColumnRows }

// BothWays says that a live pair's columns are of two types.
func BothWays(p schema.Pair) bool { return p.Live && fallible(p) }

// up and down are what the columns of a row come to, to be assigned. The row is a variable of PL/pgSQL.
func (w LiveRows) up(m schema.Mapped, row string) string {
	if m.Expr == "" {
		return row + "." + ident.Quote(m.Source)
	}
	return "(SELECT " + w.value(m) + " FROM (SELECT (" + row + ").*) AS " + w.alias() + ")"
}

func (w LiveRows) down(m schema.Mapped, row string) string {
	if m.Back == "" {
		return row + "." + ident.Quote(m.Shadow)
	}
	return "(SELECT (" + m.Back + ") FROM (SELECT (" + row + ").*) AS " + w.alias() + ")"
}

func recordOf(value string) string { return "ROW(" + value + ")::pg_catalog.record" }

// standing is a function that answers how a row stands: empty if it is in step; "down" if the new column has what the old one cannot
// have, which is NULL then; "apart" otherwise. It never fails.
func (w LiveRows) standing() string {
	return ident.Qualified(w.Pair.Capture.Schema, "standing_"+w.Pair.Change)
}

// stands is that of a row of the table.
func (w LiveRows) stands() string { return w.standing() + "(" + w.alias() + ".*)" }

// settings are those under which both functions run.
func (w LiveRows) settings() string {
	out := " SET search_path = " + pinned
	if w.Pair.Path != "" {
		out = " SET search_path = " + w.Pair.Path
	}
	for _, a := range assignments(w.Pair.Settings) {
		out += " SET " + a
	}
	return out
}

// install are the functions. While the table is filled, NULL in the new column may be a row that has no value yet, so an UPDATE fills it.
// Afterwards it is a value like others, and what an UPDATE does not change stays.
func (w LiveRows) install() []string {
	m := w.Pair.Columns[0]
	row := "changeling_row"
	standing := "CREATE FUNCTION " + w.standing() + "(" + row + " anyelement) RETURNS text LANGUAGE plpgsql" + w.settings() + " AS " + ident.Dollar(fmt.Sprintf(`
#variable_conflict use_column
DECLARE
  changeling_up %s;
  changeling_down %s;
BEGIN
  BEGIN
    changeling_up := %s;
    IF %s OPERATOR(pg_catalog.*=) %s THEN RETURN ''; END IF;
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN
    changeling_down := %s;
  EXCEPTION WHEN OTHERS THEN
    RETURN CASE WHEN %s IS NULL THEN 'down' ELSE 'apart' END;
  END;
  RETURN CASE WHEN %s OPERATOR(pg_catalog.*=) %s THEN '' ELSE 'apart' END;
END `, m.Type, m.Was, w.up(m, row), recordOf(row+"."+ident.Quote(m.Shadow)), recordOf("changeling_up"), w.down(m, row),
		recordOf(row+"."+ident.Quote(m.Source)), recordOf(row+"."+ident.Quote(m.Source)), recordOf("changeling_down")))
	return []string{standing, "REVOKE ALL ON FUNCTION " + w.standing() + "(anyelement) FROM PUBLIC", w.trigger(true)}
}

// Live makes the trigger's function that of a table that is filled.
func (w LiveRows) live() string { return w.trigger(false) }

func (w LiveRows) trigger(filling bool) string {
	m := w.Pair.Columns[0]
	a, b := ident.Quote(m.Source), ident.Quote(m.Shadow)
	given := m.Default
	if given == "" {
		given = "NULL"
	}
	differ := func(x, y string) string { return recordOf(x) + " OPERATOR(pg_catalog.*<>) " + recordOf(y) }
	untouched := "NOT " + differ("NEW."+b, "OLD."+b) + " AND NOT " + differ("NEW."+a, "OLD."+a)
	if filling {
		untouched += " AND NOT " + recordOf("NEW."+b) + " OPERATOR(pg_catalog.*=) " + recordOf("NULL::"+m.Type)
	}
	var names, values []string
	for _, k := range w.Pair.Key {
		names, values = append(names, ident.Quote(k.Source)), append(values, "NEW."+ident.Quote(k.Source))
	}
	failed := func(column string) string {
		return "  EXCEPTION WHEN OTHERS THEN\n    NEW." + column + " := NULL;\n    INSERT INTO " + qualified(w.Pair.Log) + " (" + strings.Join(append(slices.Clone(names), "changeling_error"), ", ") +
			") VALUES (" + strings.Join(append(slices.Clone(values), "SQLERRM"), ", ") + ");\n  END;\n"
	}
	body := "\n#variable_conflict use_column\nDECLARE\n  changeling_up " + m.Type + ";\nBEGIN\n" +
		"  IF TG_OP = 'UPDATE' AND " + untouched + " THEN RETURN NEW; END IF;\n" +
		"  IF TG_OP = 'INSERT' AND " + differ("NEW."+b, "("+given+")::"+m.Type) + " OR TG_OP = 'UPDATE' AND " + differ("NEW."+b, "OLD."+b) + " THEN\n" +
		"  BEGIN\n    changeling_up := " + w.up(m, "NEW") + ";\n    IF " + recordOf("NEW."+b) + " OPERATOR(pg_catalog.*=) " + recordOf("changeling_up") + " THEN RETURN NEW; END IF;\n  EXCEPTION WHEN OTHERS THEN NULL;\n  END;\n" +
		"  BEGIN\n    NEW." + a + " := " + w.down(m, "NEW") + ";\n" + failed(a) +
		"  ELSE\n  BEGIN\n    NEW." + b + " := " + w.up(m, "NEW") + ";\n" + failed(b) + "  END IF;\n  RETURN NEW;\nEND "
	return "CREATE OR REPLACE FUNCTION " + qualified(w.Pair.Capture) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER" + w.settings() + " AS " + ident.Dollar(body)
}

// unfilled says that a row has no value yet, or is out of step.
func (w LiveRows) unfilled() string {
	b := w.alias() + "." + ident.Quote(w.Pair.Columns[0].Shadow)
	return "CASE WHEN " + recordOf(b) + " OPERATOR(pg_catalog.*=) " + recordOf("NULL::"+w.Pair.Columns[0].Type) + " THEN " + w.differs() + " ELSE " + w.stands() + " OPERATOR(pg_catalog.=) 'apart' END"
}

// Copy fills the new column of a range of blocks where it has no value yet: one that users gave it stays.
func (w LiveRows) Copy(r copier.Range) string {
	return w.fill() + tids(w.alias()+".", r) + " AND " + w.unfilled()
}

// CopyOne is Copy for the row at a place.
func (w LiveRows) CopyOne(tid string) string {
	return w.fill() + w.alias() + ".ctid = " + ident.Literal(tid) + "::pg_catalog.tid AND " + w.unfilled()
}

// Differing answers how many rows a range has, and how many of them have no value or are out of step.
func (w LiveRows) Differing(r copier.Range) string {
	return "SELECT count(*), count(*) FILTER (WHERE " + w.unfilled() + ") FROM " + w.from() + " WHERE " + tids(w.alias()+".", r)
}

// Apart is Differing once both are in use: NULL is a value then.
func (w LiveRows) Apart(r copier.Range) string {
	return "SELECT count(*), count(*) FILTER (WHERE " + w.stands() + " OPERATOR(pg_catalog.=) 'apart') FROM " + w.from() + " WHERE " + tids(w.alias()+".", r)
}

// the row of a logged key, as far as it stands so.
func (w LiveRows) logged(standing string) string {
	return "EXISTS (SELECT FROM " + w.from() + " WHERE " + w.sameSource("l", w.alias()) + " AND " + w.stands() + " OPERATOR(pg_catalog.=) ANY (ARRAY[" + standing + "]))"
}

// Settle forgets keys whose row is gone or in step again. It answers how many keys are left that stop the change, and zero.
func (w LiveRows) Settle() string {
	return "WITH settled AS (DELETE FROM " + qualified(w.Pair.Log) + " l WHERE NOT " + w.logged("'apart', 'down'") + ")\nSELECT (" + w.Pending() + "), 0::bigint"
}

// Pending counts rows whose value could not go up: nobody but a person can give them one.
func (w LiveRows) Pending() string {
	return "SELECT count(*) FROM (SELECT FROM " + qualified(w.Pair.Log) + " l WHERE " + w.logged("'apart'") + " LIMIT 100000) l"
}

// Failures lists keys of such rows, and why.
func (w LiveRows) Failures() string {
	return "SELECT " + w.keyText("l.") + ", l.changeling_error FROM " + qualified(w.Pair.Log) + " l WHERE " + w.logged("'apart'") + " ORDER BY l." + seq + " LIMIT 3"
}

// Unfit lists keys of rows whose conversion failed, whether it was the way down, and why.
func (w LiveRows) Unfit() string {
	at := " AND " + w.stands() + " OPERATOR(pg_catalog.=) "
	row := func(standing string) string {
		return "EXISTS (SELECT FROM " + w.from() + " WHERE " + w.sameSource("l", w.alias()) + at + ident.Literal(standing) + ")"
	}
	return "SELECT " + w.keyText("l.") + ", " + row("down") + ", coalesce(l.changeling_error, '') FROM " + qualified(w.Pair.Log) + " l WHERE " + w.logged("'apart', 'down'") + " ORDER BY l." + seq + " LIMIT 5"
}

// Verdict is what the cutover asks first under its lock.
func (w LiveRows) Verdict() string {
	return "SELECT (" + Marks(w.Pair) + "), (" + columnArmed(w.Pair) + "), (" + w.Pending() + ")"
}

// Losing is the error code of an abort that would lose what only the new column has.
const Losing = "CG001"

// losing is a statement of PL/pgSQL that ends an abort in which rows have something in the new column that the old one cannot have.
func (w LiveRows) losing() string {
	return "IF EXISTS (SELECT FROM " + qualified(w.Pair.Log) + " l WHERE " + w.logged("'down'") + ") THEN\n" +
		"      RAISE EXCEPTION USING ERRCODE = '" + Losing + "', MESSAGE = (SELECT pg_catalog.string_agg(x.said, '; ') FROM (SELECT " + w.keyText("l.") + " OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) l.changeling_error AS said FROM " +
		qualified(w.Pair.Log) + " l WHERE " + w.logged("'down'") + " ORDER BY l." + seq + " LIMIT 3) x);\n    END IF;"
}

// back finds out whether the way down is one: to the old column's type, and to the same value each time.
func (c *columns) back(ctx context.Context) (why []string, err error) {
	s, down := c.seconds[0], c.expansion.Down
	if s.from.Type == s.to.Type && down == "" {
		return nil, nil
	}
	value := down
	if down == "" {
		value = ident.Quote(s.new)
	}
	table := c.rehearsal.table()
	probes := []string{"SELECT (" + value + ")::" + s.from.Type + " FROM " + table + " AS " + ident.Quote(c.source.Name) + " LIMIT 0"}
	if down != "" {
		probes = append(probes, "CREATE INDEX ON "+table+" ((1)) WHERE ("+down+") IS NOT NULL")
		if slices.ContainsFunc(c.source.Columns, func(x Column) bool { return x.Generated != "" }) {
			return []string{"the table has generated columns, which the way down could need before they are computed"}, nil
		}
	}
	texts := append([]string{"ROLLBACK TO changeling", theirs(c.rehearsal.path, c.user), c.rehearsal.statement,
		"ALTER TABLE " + table + " RENAME COLUMN " + ident.Quote(s.from.Name) + " TO " + ident.Quote(s.new)}, probes...)
	for _, sql := range texts {
		if _, err := c.tx.ExecContext(ctx, sql); err != nil && slices.Contains(probes, sql) && !fault.Lost(err) && !fault.Canceled(err) {
			return []string{fmt.Sprintf("the way from %s down to %s is none, or may come to another value each time: %s. Give one with --down, an immutable expression over the new column", s.new, s.from.Name, fault.Message(err))}, nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, nil
}
