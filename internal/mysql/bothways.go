package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Two types whose values go up and down by expressions: each way may fail, or lose something, so a row is in step if the column that was written
// last gives the other one. Which one that was stands in the third column, where the triggers write it, and nobody else does.
//
// Its constant default says that a row is not filled yet, so NULL in the second column is a value like others. What is filled is not written back,
// because it is what the way up comes to: the triggers need no sign of the engine's, in a session or elsewhere, that could be set or left by mistake.
const (
	wayUnfilled = 0 // has no value yet
	wayNoUp     = 1 // the second column cannot have what the first one has: it is empty
	wayDown     = 2 // the second column was written last; NULL: the first one was, or both are the same
	wayNoDown   = 3 // likewise, and the first one cannot have that: it is NULL
)

// BothWays says that a live pair's columns are made of each other by expressions.
func BothWays(p schema.Pair) bool { return p.Live && p.Columns[0].Converted }

// over is an expression, as the server writes it, over something else than the column.
func over(expr, column, by string) string {
	var b strings.Builder
	at := 0
	for _, t := range significant(expr) {
		if t.Kind == plan.TokenIdent && strings.EqualFold(expr[t.Start:t.End], quote(column)) {
			b.WriteString(expr[at:t.Start] + by)
			at = t.End
		}
	}
	return "(" + b.String() + expr[at:] + ")"
}

// expressions has the server read both expressions, and keeps them as it writes them. A stored generated column may be just what is wanted: the same
// value for the same row, of its own columns, whoever asks.
func (w *planner) expressions(ctx context.Context, r *rehearsal, c *second) (why []string, err error) {
	m := &c.pair.Columns[0]
	probe := schema.Name{Schema: r.in(), Table: "way_" + r.change}
	for _, way := range []struct {
		flag, said, of, makes string
		from, to              Column
		keep                  *string
	}{
		{"--up", w.options.Up, m.Source, m.Shadow, c.from, c.to, &m.Expr},
		{"--down", w.options.Down, m.Shadow, m.Source, c.to, c.from, &m.Back},
	} {
		if *way.keep = quote(way.of); way.said == "" {
			continue
		}
		text := "CREATE TABLE " + qualified(probe) + " (" + quote(way.of) + " " + way.from.full() + ", " + quote(way.makes) + " " + way.to.full() + " GENERATED ALWAYS AS (" + way.said + ") STORED)"
		refusal := func(says string) {
			why = append(why, fmt.Sprintf("%s takes an expression over column %s alone that always comes to the same value, and %q is none: %s", way.flag, way.of, way.said, says))
		}
		if mentions(way.said, "from_unixtime") {
			refusal("it depends on the time zone of who writes")
			continue
		}
		var own *Error
		switch _, err := w.conn.ExecContext(ctx, text); {
		case err == nil:
		case errors.As(coded(err), &own) && !fault.Lost(coded(err)) && !fault.Canceled(coded(err)):
			refusal(own.Text)
			continue
		default:
			return nil, err
		}
		made, err := Inspect(ctx, w.conn, probe)
		if err != nil {
			return nil, err
		}
		if _, err := w.conn.ExecContext(ctx, "DROP TABLE "+qualified(probe)); err != nil {
			return nil, err
		}
		line := made.line(Column{Name: way.makes})
		_, rest, ok := strings.Cut(line, " GENERATED ALWAYS AS (")
		end := strings.LastIndex(rest, ") STORED")
		if !ok || end < 0 || len(made.Columns) != 2 {
			refusal("it is more than one expression")
			continue
		}
		*way.keep = rest[:end]
	}
	return why, nil
}

// attempt assigns an expression to a variable of the trigger's, as strictly as the filling does, and says whether that failed. Some errors have the
// code of a note that says that something was rounded; then there is a value.
func attempt(variable, expr string) string {
	return "SET changeling_failed = 0, changeling_noted = 0; BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION, SQLWARNING SET changeling_failed = 1; DECLARE CONTINUE HANDLER FOR 1265 SET changeling_noted = 1; SET " +
		variable + " = " + expr + "; END; SET changeling_failed = changeling_failed OR changeling_noted AND " + variable + " IS NULL; "
}

// conversions are the triggers. They begin with a look at all three columns: when one is gone, there is nothing to do (error 1054).
func (c second) conversions(on schema.Name) []string {
	m := c.pair.Columns[0]
	a, b, mark := "NEW."+quote(m.Source), "NEW."+quote(m.Shadow), "NEW."+quote(flag(c.pair))
	was, _ := c.from.image()
	is, _ := c.to.image()
	same := func(image, x, y string) string {
		return strings.ReplaceAll(image, "%s", x) + " <=> " + strings.ReplaceAll(image, "%s", y)
	}
	differ := func(image, v string) string {
		return "NOT (" + same(image, v, strings.Replace(v, "NEW.", "OLD.", 1)) + ")"
	}
	value := a
	if c.none != "" { // see live
		value = "COALESCE(" + a + ", " + c.none + ")"
	}
	lacks, empty := "changeling_failed", ""
	if !c.to.Nullable {
		lacks = "changeling_failed OR changeling_up IS NULL"
		empty = "IF " + b + " IS NULL THEN SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1048, MESSAGE_TEXT = " + literal(fmt.Sprintf("Column '%.60s' cannot be null", m.Shadow)) + "; END IF; "
	}
	goUp := attempt("changeling_up", over(m.Expr, m.Source, value)) + fmt.Sprintf("IF %s THEN SET %s = %s, %s = %d; ELSE SET %s = changeling_up, %s = NULL; END IF;", lacks, b, c.held(), mark, wayNoUp, b, mark)
	lost := fmt.Sprintf("IF changeling_failed THEN SET %s = NULL, %s = %d; ELSE SET %s = changeling_down, %s = %d; END IF;", a, mark, wayNoDown, a, mark, wayDown)
	if !c.from.Nullable {
		lost = "IF changeling_failed OR changeling_down IS NULL THEN SIGNAL SQLSTATE '22003' SET MESSAGE_TEXT = " + literal(fmt.Sprintf("column %.40s cannot have what is written to %.40s, and both are in use", m.Source, m.Shadow)) +
			fmt.Sprintf("; END IF; SET %s = changeling_down, %s = %d;", a, mark, wayDown)
	}
	there := ""
	if !c.from.Nullable { // an INSERT that does not give it may have NULL there
		there = " AND " + a + " IS NOT NULL"
	}
	goDown := empty + attempt("changeling_up", over(m.Expr, m.Source, a)) + "IF NOT changeling_failed AND " + same(is, b, "changeling_up") + there + " THEN SET " + mark + " = NULL; ELSE " + attempt("changeling_down", over(m.Back, m.Shadow, b)) + lost + " END IF;"
	begin := fmt.Sprintf(" FOR EACH ROW BEGIN DECLARE changeling_up %s; DECLARE changeling_down %s; DECLARE changeling_failed, changeling_noted int DEFAULT 0; DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; IF (%s IS NULL) + (%s IS NULL) + (%s IS NULL) >= 0 THEN ",
		c.to.full(), c.from.full(), a, b, mark)
	moved := ""
	if list := moves(c.pair); len(list) > 0 {
		moved = fmt.Sprintf(" OR OLD.%s <=> %d AND (%s)", quote(flag(c.pair)), wayUnfilled, strings.Join(list, " OR "))
	}
	name := func(suffix string) string {
		return qualified(schema.Name{Schema: on.Schema, Table: c.pair.Capture.Table + "_" + suffix})
	}
	return []string{
		"DROP TRIGGER IF EXISTS " + name("i"), "DROP TRIGGER IF EXISTS " + name("u"),
		"CREATE TRIGGER " + name("i") + " BEFORE INSERT ON " + qualified(on) + begin + "IF NOT (" + b + " <=> " + c.held() + ") THEN " + goDown + " ELSE " + goUp + " END IF; END IF; END",
		"CREATE TRIGGER " + name("u") + " BEFORE UPDATE ON " + qualified(on) + begin + "IF " + differ(is, b) + " THEN " + goDown + " ELSEIF " + differ(was, a) + moved + " THEN " + goUp + " END IF; END IF; END",
	}
}

// way is the condition of rows whose third column has a value.
func (w LiveRows) way(n int) string { return fmt.Sprintf("s.%s = %d", quote(flag(w.Pair)), n) }

// filled is the assignment of a row by the way up.
func (w LiveRows) filled() string {
	m := w.Pair.Columns[0]
	return "s." + quote(m.Shadow) + " = " + over(m.Expr, m.Source, "s."+quote(m.Source))
}

// compared puts the rows of a range into a temporary table, with what their columns should be, and counts those that are out of step: only an
// assignment is as strict as the triggers are, and tells what a value comes to in the column's type. The ways go apart, because
// one of them may fail on what the other one has made. A row that changes its way between them was written, and is seen twice or not.
func (w LiveRows) compared(r copier.Range) string {
	m := w.Pair.Columns[0]
	a, b, mark := quote(m.Source), quote(m.Shadow), quote(flag(w.Pair))
	table := w.temporary("looked")
	from := " FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r) + " AND "
	said := func(column, typ string) string { // of the type of a column of the pair
		c := Column{Data: strings.ToLower(strings.FieldsFunc(typ, func(r rune) bool { return r == ' ' || r == '(' })[0])}
		image, _ := c.image()
		return strings.ReplaceAll(image, "%s", column)
	}
	differ := func(typ, x, y string) string { return "NOT (" + said(x, typ) + " <=> " + said(y, typ) + ")" }
	return strings.Join([]string{
		"CREATE TEMPORARY TABLE IF NOT EXISTS " + table + " (way tinyint, a " + m.Was + " NULL, b " + m.Type + " NULL, up " + m.Type + " NULL, down " + m.Was + " NULL) ENGINE=InnoDB",
		"DELETE FROM " + table,
		fmt.Sprintf("INSERT INTO %s (way, a, b, down) SELECT %d, s.%s, s.%s, %s%s%s", table, wayDown, a, b, over(m.Back, m.Shadow, "s."+b), from, w.way(wayDown)),
		fmt.Sprintf("INSERT INTO %s (way, a, b, up) SELECT NULL, s.%s, s.%s, %s%ss.%s IS NULL", table, a, b, over(m.Expr, m.Source, "s."+a), from, mark),
		fmt.Sprintf("INSERT INTO %s (way, a) SELECT s.%s, s.%s%ss.%s IN (%d, %d, %d)", table, mark, a, from, mark, wayUnfilled, wayNoUp, wayNoDown),
		fmt.Sprintf("SELECT COUNT(*), COALESCE(SUM(CASE WHEN way IS NULL THEN %s WHEN way = %d THEN %s WHEN way = %d THEN 1 WHEN way = %d THEN a IS NOT NULL ELSE 0 END), 0) FROM %s",
			differ(m.Type, "b", "up"), wayDown, differ(m.Was, "a", "down"), wayUnfilled, wayNoDown, table),
	}, Then)
}

// Unfit lists keys of rows whose conversion failed, whether it was the way down, and the value. It is empty where none can be.
func (w LiveRows) Unfit() string {
	if !BothWays(w.Pair) {
		return ""
	}
	m, mark := w.Pair.Columns[0], quote(flag(w.Pair))
	text := func(name string) string { return "LEFT(CAST(" + quote(name) + " AS CHAR), 60)" }
	return fmt.Sprintf("SELECT %s, %s = %d, COALESCE(IF(%s = %d, %s, %s), 'NULL') FROM %s WHERE %s IN (%d, %d) ORDER BY 2, 1 LIMIT 5", w.keyText(""), mark, wayNoDown, mark, wayNoDown, text(m.Shadow), text(m.Source), qualified(w.Pair.Source),
		mark, wayNoUp, wayNoDown)
}

// Losing is the error code of an abort that would lose what only the second column has: a subquery comes to more than one row.
const Losing = "21000"

// abandonBoth takes the second column away under a lock with the question whether something is only there, and then the third one. Who stands still
// under the lock is ended by the server soon.
func abandonBoth(p schema.Pair) []plan.Step {
	losing := fmt.Sprintf("SELECT (SELECT x.n FROM (SELECT 1 AS n UNION ALL SELECT 2) x WHERE EXISTS (SELECT 1 FROM %s WHERE %s = %d))", qualified(p.Source), quote(flag(p)), wayNoDown)
	index := dropIndexes(p)
	steps := append([]plan.Step{{SQL: []string{losing}, Done: "SELECT NOT " + hasLive(p)}}, index[:len(index)-1]...) // the last one is the third column's
	return append(steps, []plan.Step{
		{SQL: []string{"SET SESSION wait_timeout = 3", LockLive(p), losing, alter(p.Source, "DROP COLUMN "+quote(p.Columns[0].Shadow)+", ALGORITHM=INSTANT"), "UNLOCK TABLES"}, Done: "SELECT NOT " + hasLive(p)},
		index[len(index)-1],
		{SQL: []string{alter(p.Source, "DROP COLUMN "+quote(flag(p))+", ALGORITHM=INSTANT")}, Done: "SELECT NOT " + columnOf(p, flag(p), "")},
	}...)
}
