package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A new type by a second column of the table, for one column. Its rows stay where they are: the second column is added at once, filled range by
// range, and kept in step by triggers. In the end one statement gives the first column another name, the second one its own, and the indexes
// theirs; it reads no row and happens as a whole or not at all. What has been the first column goes right behind it, under the same lock.
//
// Whatever the first column takes, users go on to write. A NOT NULL is no promise that could fail: the second column has it from the beginning,
// with a constant for rows that have no value yet, which is taken off in the end. Where a value might not convert there is a third column, in
// which a trigger leaves a mark where it did not.

// second writes the statements.
type second struct {
	pair     schema.Pair
	from, to Column
	line     string  // of the column in SHOW CREATE TABLE, as the statement leaves it
	none     string  // what the server makes of NULL in the first column where it does not refuse it; empty: the column may be NULL
	was      []Index // that are built for the second column; the pair has the names of those
	place    string  // the server's promise about the last statement
	maria    bool
}

// secondColumn plans a new type of a column by a second one. The whole program runs on the twin first.
func (w *planner) secondColumn(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	k := w.statement.Clauses[0]
	if len(w.statement.Clauses) != 1 || k.Action != plan.AlterType && k.Action != plan.ChangeColumn {
		return refuse(w.plan, fmt.Sprintf("a second column is for one new type of one column (MODIFY), and the statement %q is something else: leave the route out, or give it table", w.statement.Text)), nil
	}
	if k.Action == plan.ChangeColumn && !strings.EqualFold(k.Column, k.NewName) {
		return refuse(w.plan, fmt.Sprintf("the clause %q gives column %s another name besides: rename it in a statement of its own, or by `changeling expand`", k.Text, k.Column)), nil
	}
	from := r.source.column(k.Column)
	if from == nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("there is no column %s in %s. Nothing was changed", k.Column, w.plan.Table)}
	}
	why, err := w.fixed(ctx, r, *from)
	if err != nil {
		return nil, w.explain(err, "looking at what hangs on column "+from.Name)
	}
	if len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	c, table, end, err := w.layOut(ctx, r, *from)
	if err != nil || end != nil {
		return end, err
	}
	if why := c.unfit(r); len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	program := func(on schema.Name) program { return c.program(on) }
	if end, err := w.prove(ctx, r, &c.pair, program, from.Name+" cannot get its new type by a second column (leave the route out, or give it table)"); err != nil || end != nil {
		return end, err
	}
	w.plan.Checks = w.questions(r, table)
	w.serveSecond(c)
	if w.plan.Ways, err = w.ways(ctx, r, slices.Concat(w.uncarried(), w.unsupported(r.source))); err != nil {
		return nil, err
	}
	for _, o := range w.plan.Ways {
		if o.Route == w.plan.Route {
			w.plan.Spare = o.Spare
		}
	}
	return w.plan, nil
}

// layOut has the server say what the statement makes of the column, and says how a second one would be filled: as the rows of a second table, which
// it answers too. A plan that it answers is the end.
func (w *planner) layOut(ctx context.Context, r *rehearsal, from Column) (c second, table schema.Pair, end *plan.Plan, err error) {
	if end, err = w.foresee(ctx, r); err != nil || end != nil {
		return c, table, end, err
	}
	table, refusals := r.pair()
	if len(refusals) > 0 {
		return c, table, refuse(w.plan, refusals...), nil
	}
	return w.newSecond(r, from, table), table, nil, nil
}

// fixed says what holds a column in its place, or in its type.
func (w *planner) fixed(ctx context.Context, r *rehearsal, from Column) ([]string, error) {
	out, err := w.unfillable(ctx, r, from)
	if err != nil {
		return nil, err
	}
	name := w.plan.Table.String()
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, x := range r.source.Indexes {
		if x.Name == "PRIMARY" && slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return strings.EqualFold(k.Column, from.Name) }) {
			add("column %s is part of the primary key of %s, by which its rows are kept: leave the route out, or give it table", from.Name, name)
		}
	}
	last := 0
	for _, p := range r.source.Parts {
		last = p.end
		own := strings.HasPrefix(p.Text, quote(from.Name)+" ")
		if own && p.Check || !own && !p.Index && strings.Contains(p.Text, quote(from.Name)) {
			add("%s has something that names column %s, and would not go over to a second one: %s; leave the route out, or give it table", name, from.Name, p.Text)
		}
	}
	if strings.Contains(r.source.Create[last:], quote(from.Name)) {
		add("%s is partitioned by column %s: leave the route out, or give it table", name, from.Name)
	}
	q := referred(r.source.Name, from)
	found, err := state.Column(ctx, w.conn, q.query)
	for _, text := range found {
		add(q.says, text)
	}
	return out, err
}

// newSecond is the pair, and what its statements have to know. The pair of a second table says how a value is converted.
func (w *planner) newSecond(r *rehearsal, from Column, table schema.Pair) second {
	to := *r.target(from.Name)
	c := second{from: from, to: to, line: r.shadow.line(to), maria: w.dialect.maria, place: "ALGORITHM=INPLACE, LOCK=NONE"}
	if w.dialect.maria {
		c.place = "ALGORITHM=NOCOPY, LOCK=NONE"
	}
	if !from.Nullable {
		if c.none = from.empty(); from.kind() == "enum" {
			c.none = literal(members(from.Type)[0])
		}
	}
	text, _ := digestText(from, to)
	live := w.options.Live
	m := schema.Mapped{Source: from.Name, Shadow: "changeling_" + r.change + "_new", Type: to.full(), Image: "CAST(" + text + " AS BINARY)", Converted: !c.total()}
	for _, o := range table.Columns {
		if o.Shadow == to.Name {
			m.Expr = o.Expr
		}
	}
	if live {
		m.Shadow, m.Was, m.Converted = w.options.As, from.full(), w.options.Up+w.options.Down != ""
	}
	c.pair = schema.Pair{Live: live, Change: r.change, Source: r.source.Name, Log: table.Log, Capture: table.Capture, InPlace: true, Key: table.Key, Columns: []schema.Mapped{m}, Untouched: r.untouched()}
	// Indexes are listed in the order in which they were made, and that is part of what a dump shows: those behind one that is built are built too.
	built := map[bool]bool{}
	for _, x := range r.shadow.Indexes {
		if x.Name != "PRIMARY" && (built[x.Unique] || c.over(x)) {
			built[x.Unique] = !live
			c.was = append(c.was, x)
			c.pair.Indexes = append(c.pair.Indexes, fmt.Sprintf("changeling_%s_i%d", r.change, len(c.was)))
		}
	}
	if m.Converted {
		c.pair.Indexes = append(c.pair.Indexes, flag(c.pair))
	}
	return c
}

// over says that an index reads the column.
func (c second) over(x Index) bool { return strings.Contains(x.Def, quote(c.from.Name)) }

// total says that the conversion of no value fails.
func (c second) total() bool { return widens(c.from, c.to) && (!c.from.Nullable || c.to.Nullable) }

// firm says that it also keeps different values different.
func (c second) firm() bool {
	return c.total() && c.from.kind() == c.to.kind() && c.from.Collation == c.to.Collation && c.from.Scale <= c.to.Scale
}

// filler is a constant of the type, for NOT NULL. It stands in no row of a user's.
func (c Column) filler() string {
	switch c.kind() {
	case "date":
		return "'2000-01-01'" // no sql_mode of a user's refuses it
	case "datetime":
		return "'2000-01-01 00:00:00'"
	case "year":
		return "2000"
	case "bit":
		return "b'0'"
	case "enum":
		return literal(members(c.Type)[0])
	case "uuid":
		return map[string]string{"uuid": "'00000000-0000-0000-0000-000000000000'", "inet4": "'0.0.0.0'", "inet6": "'::'"}[c.Data]
	}
	return c.empty()
}

// filler is the first column's, from the swap on. MySQL knows none of a long type but as an expression.
func (c second) filler() string {
	long := c.from.kind() == "text" && strings.HasSuffix(c.from.Data, "text") || c.from.kind() == "bytes" && strings.HasSuffix(c.from.Data, "blob")
	if long && !c.maria {
		return "(" + c.from.filler() + ")"
	}
	return c.from.filler()
}

// unfit says where a user's statement could fail on the second column, or have another value there, though the table as it is takes it.
func (c second) unfit(r *rehearsal) (why []string) {
	add := func(format string, args ...any) {
		why = append(why, fmt.Sprintf(format, args...)+": leave the route out, or give it table")
	}
	m := c.pair.Columns[0]
	if c.from.kind() == "timestamp" || c.to.kind() == "timestamp" {
		add("a value of column %s depends on the time zone of who writes it, if it goes from %s to %s by a trigger", m.Source, c.from.Type, c.to.Type)
	}
	if c.to.Generated || c.to.AutoIncrement || updatesItself(r.shadow, c.to) {
		add("the statement has the server write column %s by itself, which it would not do in the second one", m.Source)
	}
	for _, x := range c.was {
		if c.over(x) && x.Unique && (!c.firm() || BothWays(c.pair)) {
			add("the unique index %s could refuse as %s what it takes as %s", x.Name, c.to.Type, c.from.Type)
		}
		if c.over(x) && m.Converted && slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return k.Expression != "" }) {
			add("index %s computes something from the column, which could fail for another type", x.Name)
		}
	}
	return why
}

// aside is the first column's name until it goes, when the second one has its own.
func aside(p schema.Pair) string { return "changeling_" + p.Change + "_old" }

// flag is the name of the third column, which is not NULL where a value did not convert (of a live pair see wayUnfilled), and of its index.
func flag(p schema.Pair) string { return "changeling_" + p.Change + "_n" }

// flagged says that a pair has one.
func flagged(p schema.Pair) bool { return p.Columns[0].Converted }

// assign is what the triggers do. A NULL that the server bends when they are over is bent here as well; one that it would refuse then, as NOT
// NULL, does not convert.
func (c second) assign() string {
	a, b := "NEW."+quote(c.from.Name), "SET NEW."+quote(c.pair.Columns[0].Shadow)+" = "
	if c.none != "" {
		return b + "COALESCE(" + a + ", " + c.none + ");"
	}
	if c.from.Nullable && !c.to.Nullable {
		return "IF " + a + " IS NULL THEN " + c.fails() + " ELSE " + b + a + "; END IF;"
	}
	if c.from.kind() == "decimal" && c.to.kind() == "decimal" && c.from.Scale > c.to.Scale { // else the server notes that it rounds, see triggers
		return fmt.Sprintf("%sROUND(%s, %d);", b, a, c.to.Scale)
	}
	return b + a + ";"
}

// fails is what they do where the value does not convert.
func (c second) fails() string {
	return "SET NEW." + quote(c.pair.Columns[0].Shadow) + " = " + c.held() + "; SET NEW." + quote(flag(c.pair)) + " = 1;"
}

// held is the second column's value for rows that have none yet.
func (c second) held() string {
	switch {
	case c.to.Nullable:
		return "NULL"
	case c.pair.Live:
		return c.to.telling(c.pair.Change)
	}
	return c.to.filler()
}

// add makes the second column, empty.
func (c second) add(on schema.Name) string {
	null := " NOT NULL"
	if c.to.Nullable {
		null = " NULL"
	}
	b, comment := quote(c.pair.Columns[0].Shadow), " INVISIBLE COMMENT "+literal(mark(c.pair))+" AFTER "
	clauses := "ADD COLUMN " + b + " " + c.to.full() + null + " DEFAULT " + c.held() + comment + quote(c.from.Name)
	if flagged(c.pair) {
		value := "NULL"
		if c.pair.Live {
			value = fmt.Sprint(wayUnfilled)
		}
		clauses += ", ADD COLUMN " + quote(flag(c.pair)) + " tinyint NULL DEFAULT " + value + comment + b
	}
	return alter(on, clauses+", ALGORITHM=INSTANT")
}

// triggers keep the second column in step. They convert as strictly as the filling does, whatever the mode of who writes, and fail nobody: what
// does not convert leaves the mark. Some errors have the state of a warning; a note of what an assignment may do has it too, and leaves a mark
// that Settle takes away. See live about rows that are not filled yet.
func (c second) triggers(on schema.Name) []string {
	switch {
	case BothWays(c.pair):
		return c.conversions(on)
	case c.pair.Live:
		return c.twoWays(on)
	}
	m := c.pair.Columns[0]
	a := quote(m.Source)
	image, _ := c.from.image()
	changed := "NOT (" + strings.ReplaceAll(image, "%s", "NEW."+a) + " <=> " + strings.ReplaceAll(image, "%s", "OLD."+a) + ")"
	set, begin := c.assign(), " FOR EACH ROW BEGIN DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; "
	if flagged(c.pair) {
		set = "SET NEW." + quote(flag(c.pair)) + " = NULL; " + set
		begin += "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION, SQLWARNING BEGIN " + c.fails() + " END; "
	}
	name := func(suffix string) string {
		return qualified(schema.Name{Schema: on.Schema, Table: c.pair.Capture.Table + "_" + suffix})
	}
	return []string{
		"DROP TRIGGER IF EXISTS " + name("i"), "DROP TRIGGER IF EXISTS " + name("u"),
		"CREATE TRIGGER " + name("i") + " BEFORE INSERT ON " + qualified(on) + begin + set + " END",
		"CREATE TRIGGER " + name("u") + " BEFORE UPDATE ON " + qualified(on) + begin + "IF " + strings.Join(append([]string{changed}, moves(c.pair)...), " OR ") + " THEN " + set + " END IF; END",
	}
}

// index builds one of the second column's.
func (c second) index(i int, on schema.Name) string {
	how := ", ALGORITHM=INPLACE, LOCK=NONE"
	if i == len(c.was) {
		return alter(on, "ADD INDEX "+quote(flag(c.pair))+" ("+quote(flag(c.pair))+")"+how)
	}
	x := c.was[i]
	head, rest, _ := strings.Cut(x.Def, quote(x.Name))
	return alter(on, "ADD "+head+quote(c.pair.Indexes[i])+strings.ReplaceAll(rest, quote(c.from.Name), quote(c.pair.Columns[0].Shadow))+how)
}

// swap gives the first column another name, and the second one and its indexes theirs. Who does not name the first one writes a constant there.
func (c second) swap(on schema.Name) string {
	var clauses []string
	for _, x := range c.was {
		clauses = append(clauses, "DROP INDEX "+quote(x.Name))
	}
	for i, x := range c.was {
		clauses = append(clauses, "RENAME INDEX "+quote(c.pair.Indexes[i])+" TO "+quote(x.Name))
	}
	if flagged(c.pair) {
		clauses = append(clauses, "DROP INDEX "+quote(flag(c.pair)))
	}
	how := c.place
	if len(clauses) == 0 {
		how = "ALGORITHM=INSTANT"
	}
	null := " NULL DEFAULT NULL"
	if !c.from.Nullable {
		null = " NOT NULL DEFAULT " + c.filler()
	}
	clauses = append(clauses, "CHANGE COLUMN "+quote(c.from.Name)+" "+quote(aside(c.pair))+" "+c.from.full()+null+" INVISIBLE", "CHANGE COLUMN "+quote(c.pair.Columns[0].Shadow)+" "+c.line)
	return alter(on, strings.Join(clauses, ", ")+", "+how)
}

// dropAside takes away what has been the first column.
func dropAside(p schema.Pair, on schema.Name) string { return dropColumns(p, aside(p), on) }

// dropColumns drops one column, and the third one if there is one.
func dropColumns(p schema.Pair, name string, on schema.Name) string {
	clauses := "DROP COLUMN " + quote(name)
	if flagged(p) {
		clauses += ", DROP COLUMN " + quote(flag(p))
	}
	return alter(on, clauses+", ALGORITHM=INSTANT")
}

// DropAside is that of a change that is swapped.
func DropAside(p schema.Pair) string { return dropAside(p, p.Source) }

func (c second) program(on schema.Name) (p program) {
	if p.compared = withoutCounter; c.pair.Live {
		p.compared = alike
	}
	p.first = append([]string{c.add(on)}, c.triggers(on)...)
	for i, name := range c.pair.Indexes {
		p.first = append(p.first, c.index(i, on))
		p.back = append(p.back, dropLiveIndex(name, on))
	}
	p.back = append(p.back, dropLive(c.pair, on))
	p.last = []string{c.swap(on), dropAside(c.pair, on)}
	return p
}

// serveSecond makes the steps the plan.
func (w *planner) serveSecond(c second) {
	p, on := w.plan, w.plan.Table
	p.Route, p.Pair = plan.ShadowColumn, c.pair
	p.Why = fmt.Sprintf("asked for: %s gets its type by a second column, which triggers keep in step and which takes its place; the rows stay where they are. Until then it is INVISIBLE. The old column goes with the swap, so there is no undo", c.from.Name)
	if w.options.UndoLog > 0 {
		p.NoUndo = "the old column goes with the swap"
	}
	w.fillSteps("add column", c.pair, c.add(on), c.triggers(on), "two triggers that fill the new column in every row that is written from here on; each waits for all open writers")
	for i, name := range c.pair.Indexes {
		why := "the same for the new column, built online"
		if i == len(c.was) {
			why = "finds rows whose value did not convert, built online; it goes with the swap"
		}
		w.onTable(plan.Step{Kind: plan.Exec, Name: "index " + name, SQL: []string{c.index(i, on)}, Done: "SELECT " + hasIndex(c.pair, name), Lock: moment + ", at the beginning and at the end", Why: why})
	}
	w.onTable(plan.Step{Kind: plan.Verify, Name: "verify", Lock: "none", Why: "both columns of every row are compared"})
	w.onTable(plan.Step{Kind: plan.Hold, Name: "hold", Why: "waits for `changeling cutover` if asked to"})
	w.onTable(plan.Step{Kind: plan.Cutover, Name: "cutover", SQL: []string{c.swap(on)}, Done: "SELECT " + c.swapped(), LockWait: w.options.LockWait, Lock: "LOCK TABLES … WRITE, for some ten milliseconds",
		Why: "names, indexes, NOT NULL and default go over in one statement that reads no row, and the old column goes"})
	w.onTable(plan.Step{Kind: plan.Exec, Name: "drop old column", SQL: []string{DropAside(c.pair)}, Done: "SELECT NOT " + columnOf(c.pair, aside(c.pair), ""), LockWait: w.options.LockWait, Lock: moment,
		Why: "if the run that swapped did not live to do it"})
	w.onTable(plan.Step{Kind: plan.Exec, Name: "release", SQL: Released(c.pair), LockWait: w.options.LockWait, Lock: moment, Why: "the triggers, which have had nothing to do since"})
	p.LookFirst()
}

// swapped says that the second column has taken the first one's place.
func (c second) swapped() string {
	to := " AND i.COLUMN_TYPE = " + literal(c.to.Type) + " AND COALESCE(i.COLLATION_NAME, '') = " + literal(c.to.Collation)
	if c.to.Nullable {
		to += " AND i.IS_NULLABLE = 'YES'"
	} else {
		to += " AND i.IS_NULLABLE = 'NO'"
	}
	return "NOT " + columnOf(c.pair, c.pair.Columns[0].Shadow, "") + " AND " + columnOf(c.pair, c.from.Name, to)
}
