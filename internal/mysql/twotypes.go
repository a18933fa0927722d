package mysql

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A column in two types at once is a second column that users write too, under a name of its own. In the end it stays, and the first one goes,
// so it has its type, its NOT NULL and its indexes from the beginning. Each value of the first one is one of the second, and what the second one
// could have and the first one could not is refused for as long as both are in use: so both always have the same, and neither way loses any.
//
// An INSERT has written the second one if it is not what it is by default: NULL, or, for NOT NULL, a random constant that nobody else would write.

// twoTypes plans an expansion by a MODIFY.
func (w *planner) twoTypes(ctx context.Context, r *rehearsal, from Column, why []string) (*plan.Plan, error) {
	as := w.options.As
	more, err := w.fixed(ctx, r, from)
	if err != nil {
		return nil, w.explain(err, "looking at what hangs on column "+from.Name)
	}
	for _, text := range more {
		if !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	if len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	c, _, end, err := w.layOut(ctx, r, from)
	if err != nil || end != nil {
		return end, err
	}
	if why := c.livable(r); len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	if BothWays(c.pair) {
		why, err := w.expressions(ctx, r, &c)
		if err != nil {
			return nil, w.explain(err, "the ways between both columns")
		}
		if len(why) > 0 {
			return refuse(w.plan, why...), nil
		}
	}
	if _, err := w.conn.ExecContext(ctx, alter(r.shadowName(), "RENAME COLUMN "+quote(from.Name)+" TO "+quote(as))); err != nil {
		return nil, w.explain(err, "the new name on an empty twin of "+w.plan.Table.String())
	}
	if r.shadow, err = Inspect(ctx, w.conn, r.shadowName()); err != nil {
		return nil, err
	}
	c.line = quote(as) + strings.TrimPrefix(c.line, quote(from.Name))
	program := func(on schema.Name) program { return c.program(on) }
	if end, err := w.prove(ctx, r, &c.pair, program, from.Name+" cannot be in use in two types here"); err != nil || end != nil {
		return end, err
	}
	w.serveTwoTypes(c)
	return w.plan, nil
}

// Mirrors says that a live pair's columns are of one type, so that the first one stays, under the second one's name.
func Mirrors(p schema.Pair) bool { return p.Live && p.Columns[0].Was == "" }

// livable says why values could not go both ways.
func (c second) livable(r *rehearsal) []string {
	why := c.unfit(r)
	if BothWays(c.pair) {
		if _, ok := c.to.image(); !ok {
			why = append(why, fmt.Sprintf("column %s would be of type %s, whose values cannot be compared exactly", c.pair.Columns[0].Shadow, c.to.Type))
		}
	} else if !c.firm() && len(why) == 0 {
		why = append(why, fmt.Sprintf("not each value of column %s is another one as %s, and while both are in use each write of one is one of the other: on MySQL and MariaDB a column can be in use in two types if the new one is a wider one of the same kind, "+
			"such as INT and BIGINT, or by expressions for the way up and the way down (--up, --down)", c.from.Name, c.to.full()))
	}
	if c.held() == "" {
		why = append(why, fmt.Sprintf("%s NOT NULL has too few values to tell an INSERT that does not name the column by one of them: let it be NULL, or take a wider type", c.to.Type))
	}
	return why
}

// telling is a random constant of the type, nothing where one that users write could be the same. Its number comes from the change's id.
func (c Column) telling(change string) string {
	raw, err := hex.DecodeString(change)
	if err != nil || len(raw) < 4 {
		return ""
	}
	n := binary.BigEndian.Uint32(raw)
	switch {
	case c.Data == "int" && c.unsigned():
		return fmt.Sprint(n | 1<<31)
	case c.Data == "int":
		return fmt.Sprint(-int64(n>>1) - 1)
	case c.Data == "bigint" && c.unsigned():
		return fmt.Sprint(uint64(n)<<31 | 1<<63)
	case c.Data == "bigint", c.Data == "double" && !c.unsigned(), c.kind() == "decimal" && !c.unsigned() && c.Precision-c.Scale >= 15:
		return fmt.Sprint(-int64(n) - 1<<48)
	case (c.Data == "varchar" || c.Data == "char") && c.Length >= 19:
		return literal("changeling " + change)
	case c.kind() == "datetime" && c.Fraction == 0:
		return fmt.Sprintf("'%04d-%02d-%02d %02d:%02d:%02d'", 1000+n%700, 1+n>>8%12, 1+n>>12%28, n>>16%24, n>>20%60, n>>24%60)
	}
	return ""
}

// twoWays are the triggers of two types. See live about which column was written. What goes down is compared with what was written.
func (c second) twoWays(on schema.Name) []string {
	m := c.pair.Columns[0]
	a, b := quote(m.Source), quote(m.Shadow)
	was, _ := c.from.image()
	is, _ := c.to.image()
	differ := func(image, name string) string {
		return "NOT (" + strings.ReplaceAll(image, "%s", "NEW."+name) + " <=> " + strings.ReplaceAll(image, "%s", "OLD."+name) + ")"
	}
	up := "NEW." + a
	if m.Expr != "" {
		up = "(" + strings.ReplaceAll(m.Expr, a, "NEW."+a) + ")"
	}
	down := "SET NEW." + a + " = NEW." + b + "; IF NOT (" + strings.ReplaceAll(m.Image, "%s", "NEW."+b) + " <=> " + strings.ReplaceAll(m.Image, "%s", up) + ") THEN SIGNAL SQLSTATE '22003' SET MESSAGE_TEXT = " +
		literal(fmt.Sprintf("column %.60s cannot have what is written to %.60s, and both are in use", m.Source, m.Shadow)) + "; END IF;"
	if c.none != "" { // see live
		down += " SET NEW." + b + " = COALESCE(NEW." + b + ", " + c.none + ");"
	}
	unfilled := "NEW." + b + " <=> " + c.held()
	begin := " FOR EACH ROW BEGIN DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; IF "
	moved := ""
	if list := moves(c.pair); len(list) > 0 {
		moved = " OR " + unfilled + " AND (" + strings.Join(list, " OR ") + ")"
	}
	name := func(suffix string) string {
		return qualified(schema.Name{Schema: on.Schema, Table: c.pair.Capture.Table + "_" + suffix})
	}
	return []string{
		"DROP TRIGGER IF EXISTS " + name("i"), "DROP TRIGGER IF EXISTS " + name("u"),
		"CREATE TRIGGER " + name("i") + " BEFORE INSERT ON " + qualified(on) + begin + "NOT (" + unfilled + ") THEN " + down + " ELSE " + c.assign() + " END IF; END",
		"CREATE TRIGGER " + name("u") + " BEFORE UPDATE ON " + qualified(on) + begin + differ(is, b) + " THEN " + down + " ELSEIF " + differ(was, a) + moved + " THEN " + c.assign() + " END IF; END",
	}
}

// indexLine is an index or a key in SHOW CREATE TABLE.
var indexLine = regexp.MustCompile(`^  (UNIQUE )?KEY `)

// alike is SHOW CREATE TABLE with its indexes in the order of their text: those of a column in two types come to be the last ones.
func alike(create string) string {
	lines := strings.Split(withoutCounter(create), "\n")
	var at []int
	var found []string
	for i, line := range lines {
		if indexLine.MatchString(line) {
			at, found = append(at, i), append(found, strings.TrimSuffix(line, ","))
		}
	}
	slices.Sort(found)
	for i, k := range at {
		comma := ""
		if strings.HasSuffix(lines[k], ",") {
			comma = ","
		}
		lines[k] = found[i] + comma
	}
	return strings.Join(lines, "\n")
}

// serveTwoTypes makes the steps the plan.
func (w *planner) serveTwoTypes(c second) {
	p := w.plan
	m := c.pair.Columns[0]
	w.serveSecond(c)
	p.Why = fmt.Sprintf("%s comes beside %s, of type %s, and whoever writes one of them writes the other: code that knows the old column and code that knows the new one run at the same time, until `changeling contract %s`. "+
		"Until then it is INVISIBLE, and what %s cannot have is refused: SELECT * and an INSERT without a list of columns mean the old one", m.Shadow, m.Source, c.to.Type, p.ID, m.Source)
	if BothWays(c.pair) {
		p.Why = fmt.Sprintf("%s comes beside %s, of type %s, and whoever writes one of them writes the other: %[1]s is %[5]s, and %[2]s is %[6]s. Code that knows the old column and code that knows the new one run at the same time, until `changeling contract %[4]s`. "+
			"Until then it is INVISIBLE: SELECT * and an INSERT without a list of columns mean the old one", m.Shadow, m.Source, c.to.Type, p.ID, m.Expr, m.Back)
	}
	p.NoUndo = ""
	at := p.Find(plan.Hold)
	live := []plan.Step{
		{Kind: plan.Live, Name: "expanded", Why: "both columns are in use: waits for `changeling contract " + p.ID + "`, with no run; `changeling abort " + p.ID + "` goes back"},
		{Kind: plan.Verify, Name: "verify again", Lock: "none", Why: "of every row both columns are compared, before one of them goes"},
	}
	for i := range live {
		live[i].Tables = []string{qualified(w.plan.Table)}
	}
	p.Steps = slices.Concat(p.Steps[:at], live, p.Steps[at+1:])
	cut := &p.Steps[p.Find(plan.Cutover)]
	cut.Name, cut.Done = "contract", "SELECT "+contracted(c.pair)
}

// expanded is what the statement of an expansion is about.
func (w *planner) expanded(r *rehearsal) (from *Column, name string, err error) {
	k := w.statement.Clauses[0]
	if name = k.NewName; k.Action != plan.RenameColumn {
		name = w.options.As
	}
	usage := func(format string, args ...any) error {
		return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...) + ". Nothing was changed"}
	}
	if from = r.source.column(k.Column); from == nil {
		return nil, "", usage("there is no column %s in %s", k.Column, w.plan.Table)
	}
	if r.source.column(name) != nil {
		return nil, "", usage("%s has a column %s already", w.plan.Table, name)
	}
	return from, name, nil
}
