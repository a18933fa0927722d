package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A column under two names. The second column is a mirror of the first, and goes in the end: the first one then gets its name, in one
// statement that reads no row. So indexes, keys, checks and the column's place are what a native RENAME COLUMN leaves, because it is one.
//
// It is INVISIBLE, so that an INSERT without a list of columns goes on to mean what it meant, and nullable, so that it refuses nothing. The
// triggers pass over columns that are not there (error 1054), so the end, and the way back, need not happen at once with dropping them.

// Expansion is a change of a column that code which knows the old one and code which knows the new one live through together.
type Expansion struct {
	Statement string // ALTER TABLE … RENAME COLUMN … TO …, or … MODIFY …
	As        string // the new column's name, of a new type
	Up, Down  string // each one's value by the other one, where they differ; empty: it is assigned
}

// Said is how a statement is called that is carried out by an expansion: it is not the same change as the statement by itself.
func (x Expansion) Said(s plan.Statement) string {
	text := "EXPAND " + s.Text
	if x.As != "" {
		text += " AS " + quote(x.As)
	}
	if x.Up != "" {
		text += " UP " + x.Up
	}
	if x.Down != "" {
		text += " DOWN " + x.Down
	}
	return text
}

// Parse reads the statement. Errors are of the kind Usage.
func (x Expansion) Parse() (plan.Statement, error) {
	as := x.As
	s, err := plan.Parse(x.Statement, plan.MySQLSyntax())
	one := err == nil && s.Verb == "ALTER TABLE" && s.Table.Table != "" && len(s.Clauses) == 1
	switch {
	case err != nil:
	case one && s.Clauses[0].Action == plan.RenameColumn && as+x.Up+x.Down != "":
		err = fmt.Errorf("%q says itself how the new column is called, and it is of the same type: leave --as, --up and --down out", s.Text)
	case one && s.Clauses[0].Action == plan.AlterType && as == "":
		err = fmt.Errorf("%q gives a column a new type, and while both are in use it needs another name: --as NAME", s.Text)
	case one && s.Clauses[0].Action == plan.AlterType && strings.EqualFold(as, s.Clauses[0].Column):
		err = fmt.Errorf("--as is the name that the column has: %s", as)
	case !one || s.Clauses[0].Action != plan.RenameColumn && s.Clauses[0].Action != plan.AlterType:
		err = fmt.Errorf("%q is no ALTER TABLE … RENAME COLUMN … TO …, nor … MODIFY …", s.Text)
	}
	if err != nil {
		err = &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%v: an expansion takes one column, such as ALTER TABLE t RENAME COLUMN a TO b; nothing was changed", err)}
	}
	return s, err
}

// lenient is the mode of the triggers: they bend nothing that a column can have, and refuse nothing. No user's session has just this one, see
// theirSession.
const lenient = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"

// live writes the statements of a column under two names.
type live struct {
	pair    schema.Pair
	from    Column
	name    string   // the second column's
	given   string   // the default of both as a constant; empty: the second one has none
	none    string   // what the server makes of NULL in the first column where it does not refuse it; empty: the column may be NULL
	indexes []string // what is indexed for those who say the new name
}

// live plans a RENAME COLUMN in two acts. The whole program runs on the twin first.
func (w *planner) live(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	from, name, err := w.expanded(r)
	if err != nil {
		return nil, err
	}
	why, err := w.unlivable(ctx, r, *from)
	if err != nil {
		return nil, w.explain(err, "looking at what hangs on column "+from.Name)
	}
	if w.statement.Clauses[0].Action != plan.RenameColumn {
		return w.twoTypes(ctx, r, *from, why)
	}
	if len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	if end, err := w.foresee(ctx, r); err != nil || end != nil {
		return end, err
	}
	l, why := newLive(r, *from, name)
	if len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	program := func(on schema.Name) program { return l.program(on) }
	if end, err := w.prove(ctx, r, &l.pair, program, from.Name+" cannot be written under two names here"); err != nil || end != nil {
		return end, err
	}
	w.serveLive(l)
	return w.plan, nil
}

// foresee has the twin altered, and reads what came of it. A plan that it answers is the end.
func (w *planner) foresee(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	g, err := w.climb(ctx, r)
	if err != nil {
		return w.impossible(r, err)
	}
	w.plan.Native, w.plan.Effect = g.native(), g.effect()
	r.shadow, err = Inspect(ctx, w.conn, r.shadowName())
	return nil, err
}

// prove notes what the pair's column is when the change is planned, and runs the whole program on the twin. A plan that it answers is the end.
func (w *planner) prove(ctx context.Context, r *rehearsal, p *schema.Pair, does func(on schema.Name) program, cannot string) (_ *plan.Plan, err error) {
	for _, ask := range []func(context.Context, schema.Pair) (string, error){w.borrowed, w.moved} {
		if lack, err := ask(ctx, *p); err != nil || lack != "" {
			return refuse(w.plan, lack), err
		}
	}
	if p.Leaning, err = Leaning(ctx, w.conn, *p); err != nil {
		return nil, err
	}
	p.Settings = w.settings()
	why, err := w.try(ctx, r, does)
	if err != nil || why == "" {
		return nil, err
	}
	return refuse(w.plan, fmt.Sprintf("%s, tried on an empty twin of %s: %s", cannot, w.plan.Table, why)), nil
}

// line is a column's own in SHOW CREATE TABLE.
func (r *Relation) line(c Column) string {
	for _, p := range r.Parts {
		if strings.HasPrefix(p.Text, quote(c.Name)+" ") {
			return p.Text
		}
	}
	return ""
}

// updatesItself says that an UPDATE of other columns changes the column.
func updatesItself(r *Relation, c Column) bool {
	line := r.line(c)
	tokens := significant(line)
	return slices.ContainsFunc(tokens, func(t plan.Token) bool {
		return t.Kind == plan.TokenWord && strings.EqualFold(line[t.Start:t.End], "UPDATE")
	})
}

// number is a constant that is compared as the number that it is.
var number = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// constant is a column's default, if it is one by which an INSERT that does not name the column is known: the same for everybody, and equal
// to what is stored. Another one, and none, is empty.
func (r *Relation) constant(c Column) string {
	line := r.line(c)
	tokens := significant(line)
	at := slices.IndexFunc(tokens, func(t plan.Token) bool {
		return t.Kind == plan.TokenWord && strings.EqualFold(line[t.Start:t.End], "DEFAULT")
	})
	if at < 0 || at+1 >= len(tokens) {
		return ""
	}
	first := tokens[at+1]
	text := line[first.Start:first.End]
	if first.Kind != plan.TokenString {
		text, _, _ = strings.Cut(line[first.Start:], " ")
	}
	plain := strings.Trim(text, "'")
	switch c.kind() {
	case "int", "decimal", "year", "double":
		if number.MatchString(plain) {
			return plain
		}
	case "text", "enum", "set", "date", "datetime", "time":
		if first.Kind == plan.TokenString && text[0] == '\'' {
			return text
		}
	}
	return ""
}

// empty is what the server makes of NULL, and of a value that is missing, in a column of that type that is NOT NULL (manual, Data Type Default
// Values). Where it is not known, NULL stays NULL.
func (c Column) empty() string {
	switch c.kind() {
	case "int", "decimal", "float", "double", "year", "bit":
		return "0"
	case "text", "bytes", "set":
		return "''"
	case "enum":
		return "1"
	case "date":
		return "'0000-00-00'"
	case "datetime", "timestamp":
		return "'0000-00-00 00:00:00'"
	case "time":
		return "'00:00:00'"
	}
	return ""
}

// image is the form in which two values of a column are equal only if they are the same, with %s for the value.
func (c Column) image() (string, bool) {
	switch c.kind() {
	case "text":
		return "CAST(%s AS BINARY)", true
	case "enum", "set", "bit":
		return "%s + 0", true
	case "timestamp":
		return "UNIX_TIMESTAMP(%s)", true // an hour of autumn has every local time twice
	case "json":
		return "CAST(CAST(%s AS CHAR CHARACTER SET utf8mb4) AS BINARY)", true
	case "geometry", "vector":
		return "HEX(%s)", true
	case "float", "double":
		return "CONCAT(%s * 1e0)", true // 0 and -0 are equal
	case "int", "decimal", "date", "datetime", "time", "year", "bytes", "uuid":
		return "%s", true
	}
	return "", false
}

// newLive is the pair, and what the triggers have to know.
func newLive(r *rehearsal, from Column, name string) (l live, why []string) {
	p := schema.Pair{Change: r.change, Source: r.source.Name, Log: schema.Name{Schema: r.in(), Table: "keys_" + r.change},
		Capture: schema.Name{Schema: r.source.Name.Schema, Table: "changeling_" + r.change}, InPlace: true, Live: true}
	if no := r.chooseKey(&p); no != "" {
		why = append(why, no)
	}
	image, _ := from.image()
	l = live{from: from, name: name, given: r.source.constant(from)}
	if !from.Nullable {
		l.none = from.empty()
	}
	p.Columns = []schema.Mapped{{Source: from.Name, Shadow: name, Type: from.full(), Default: l.given, Image: image}}
	p.Untouched = r.untouched()
	for _, x := range r.source.Indexes {
		if x.Kind != "BTREE" || !slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return strings.EqualFold(k.Column, from.Name) }) {
			continue
		}
		var list []string
		for _, k := range x.Keys {
			text := quote(k.Column)
			if strings.EqualFold(k.Column, from.Name) {
				text = quote(name)
			}
			if k.Expression != "" {
				text = "(" + k.Expression + ")"
			}
			if k.Prefix > 0 {
				text += fmt.Sprintf("(%d)", k.Prefix)
			}
			if k.Desc {
				text += " DESC"
			}
			list = append(list, text)
		}
		l.indexes = append(l.indexes, strings.Join(list, ", "))
		p.Indexes = append(p.Indexes, fmt.Sprintf("changeling_%s_i%d", r.change, len(l.indexes)))
	}
	l.pair = p
	return l, why
}

// untouched are the columns that an UPDATE of others would change.
func (r *rehearsal) untouched() (out []string) {
	for _, c := range r.source.Columns {
		if updatesItself(r.source, c) {
			out = append(out, c.Name)
		}
	}
	return out
}

// mark is the comment by which the second column is known as the change's own.
func mark(p schema.Pair) string { return "changeling " + p.Change }

func alter(on schema.Name, clauses string) string {
	return "ALTER TABLE " + qualified(on) + " " + clauses
}

// add makes the second column, empty.
func (l live) add(on schema.Name) string {
	value := " NULL DEFAULT NULL"
	if l.given != "" {
		value = " NULL DEFAULT " + l.given
	}
	return alter(on, "ADD COLUMN "+quote(l.name)+" "+l.from.full()+value+" INVISIBLE COMMENT "+literal(mark(l.pair))+" AFTER "+quote(l.from.Name)+", ALGORITHM=INSTANT")
}

// triggers are those that keep both columns in step. An INSERT has written the second one if it is not what it is by default, an UPDATE if it
// is not what it was; where both were written, the second one counts. What an UPDATE does not change stays, or one that changes nothing would
// change a row that is not filled yet, and its ON UPDATE CURRENT_TIMESTAMP (tried on MariaDB); but a row that moves is filled, because
// the filling may have gone past where it is then.
func (l live) triggers(on schema.Name) []string {
	a, b := quote(l.from.Name), quote(l.name)
	image := func(v string) string { return strings.ReplaceAll(l.pair.Columns[0].Image, "%s", v) }
	differ := func(name string) string { return "NOT (" + image("NEW."+name) + " <=> " + image("OLD."+name) + ")" }
	down, up := "SET NEW."+a+" = NEW."+b+";", "SET NEW."+b+" = NEW."+a+";"
	if l.none != "" { // the server bends NULL, where it does, when the triggers are over
		down, up = down+" SET NEW."+b+" = COALESCE(NEW."+b+", "+l.none+");", "SET NEW."+b+" = COALESCE(NEW."+a+", "+l.none+");"
	}
	given := "NEW." + b + " IS NOT NULL"
	if l.given != "" {
		value := l.given
		if l.from.kind() == "text" {
			value = "CAST(CONVERT(" + value + " USING " + l.from.Charset + ") AS BINARY)"
			given = "NOT (" + image("NEW."+b) + " <=> " + value + ")"
		} else {
			given = "NOT (NEW." + b + " <=> " + value + ")"
		}
	}
	changed := append([]string{differ(a)}, moves(l.pair)...)
	body := func(when, otherwise string) string {
		return " FOR EACH ROW BEGIN DECLARE CONTINUE HANDLER FOR 1054 BEGIN END; IF " + when + " THEN " + down + " " + otherwise + " " + up + " END IF; END"
	}
	name := func(suffix string) string {
		return qualified(schema.Name{Schema: on.Schema, Table: l.pair.Capture.Table + "_" + suffix})
	}
	return []string{
		"SET SESSION sql_mode = " + literal(lenient),
		"DROP TRIGGER IF EXISTS " + name("i"), "DROP TRIGGER IF EXISTS " + name("u"),
		"CREATE TRIGGER " + name("i") + " BEFORE INSERT ON " + qualified(on) + body(given, "ELSE"),
		"CREATE TRIGGER " + name("u") + " BEFORE UPDATE ON " + qualified(on) + body(differ(b), "ELSEIF "+strings.Join(changed, " OR ")+" THEN"),
		ours(),
	}
}

// moves are the conditions under which a row of an UPDATE comes to stand elsewhere, but for what its second column is made of.
func moves(p schema.Pair) (out []string) {
	for _, k := range p.Key {
		if !strings.EqualFold(k.Source, p.Columns[0].Source) {
			out = append(out, "NOT (CAST(NEW."+quote(k.Source)+" AS BINARY) <=> CAST(OLD."+quote(k.Source)+" AS BINARY))")
		}
	}
	return out
}

func (l live) index(i int, on schema.Name) string {
	return alter(on, "ADD INDEX "+quote(l.pair.Indexes[i])+" ("+l.indexes[i]+"), ALGORITHM=INPLACE, LOCK=NONE")
}

func dropLiveIndex(name string, on schema.Name) string {
	return alter(on, "DROP INDEX "+quote(name)+", ALGORITHM=INPLACE, LOCK=NONE")
}

func dropLive(p schema.Pair, on schema.Name) string {
	return dropColumns(p, p.Columns[0].Shadow, on)
}

// contract gives the first column the second one's name. There is no moment without either.
func (l live) contract(on schema.Name) string {
	return alter(on, "DROP COLUMN "+quote(l.name)+", RENAME COLUMN "+quote(l.from.Name)+" TO "+quote(l.name)+", ALGORITHM=INSTANT")
}

// program is what is done to a table: what comes first, what ends it, and what takes back what came first. Compared is the form in which
// definitions are.
type program struct {
	first, last, back []string
	compared          func(create string) string
}

// try runs a program on the twin, forwards and back. It answers what the server has against it, or what comes out otherwise than natively.
func (w *planner) try(ctx context.Context, r *rehearsal, does func(on schema.Name) program) (why string, err error) {
	on := r.shadowName()
	for _, back := range []bool{false, true} {
		if err := w.stage(ctx, r); err != nil {
			return "", err
		}
		was, err := showCreate(ctx, w.conn, on)
		if err != nil {
			return "", err
		}
		p := does(on)
		last, want := p.last, r.shadow.Create
		if back {
			last, want = p.back, was
		}
		var files string
		for i, text := range slices.Concat(p.first, last) {
			if i == len(p.first) {
				files = w.numbers(ctx, r)
			}
			_, err := w.conn.ExecContext(ctx, text)
			var own *Error
			if err = coded(err); errors.As(err, &own) && !fault.Lost(err) && !fault.Canceled(err) {
				return r.real(own.Text), nil
			}
			if err != nil {
				return "", err
			}
		}
		if w.numbers(ctx, r) != files {
			return "the server would write the table anew", nil
		}
		is, err := showCreate(ctx, w.conn, on)
		if err != nil {
			return "", err
		}
		if p.compared(is) != p.compared(want) {
			return "in the end the table would be another one than the statement by itself leaves: " + r.real(is), nil
		}
	}
	return "", nil
}

// program is that of a live pair. The indexes are dropped in either case.
func (l live) program(on schema.Name) (p program) {
	p.compared = withoutCounter
	p.first = append([]string{l.add(on)}, l.triggers(on)...)
	for i := range l.indexes {
		p.first = append(p.first, l.index(i, on))
	}
	for _, name := range l.pair.Indexes {
		p.first = append(p.first, dropLiveIndex(name, on))
	}
	p.last, p.back = []string{l.contract(on)}, []string{dropLive(l.pair, on)}
	return p
}

// serveLive makes the steps the plan.
func (w *planner) serveLive(l live) {
	p, on := w.plan, w.plan.Table
	p.Route, p.Pair = plan.ShadowColumn, l.pair
	p.Why = fmt.Sprintf("%s comes beside %s, and whoever writes one of them writes the other: code that knows the old column and code that knows the new one run at the same time, until `changeling contract %s`. "+
		"Until then it is INVISIBLE: SELECT * and an INSERT without a list of columns mean the old one", l.name, l.from.Name, p.ID)
	w.fillSteps("expand", l.pair, l.add(on), l.triggers(on), "two triggers that keep both columns in step in every row that is written from here on; each waits for all open writers")
	for i := range l.indexes {
		w.onTable(plan.Step{Kind: plan.Exec, Name: "index " + l.pair.Indexes[i], SQL: []string{l.index(i, on)}, Done: "SELECT " + hasIndex(l.pair, l.pair.Indexes[i]),
			Lock: moment + ", at the beginning and at the end", Why: "for those who look for rows by the new name, built online; unique is the old column alone, which is enough for both"})
	}
	w.onTable(plan.Step{Kind: plan.Verify, Name: "verify", Lock: "none", Why: "both columns of every row are compared"})
	w.onTable(plan.Step{Kind: plan.Live, Name: "expanded", Why: "both columns are in use: waits for `changeling contract " + p.ID + "`, with no run; `changeling abort " + p.ID + "` goes back"})
	w.onTable(plan.Step{Kind: plan.Verify, Name: "verify again", Lock: "none", Why: "of every row both columns are compared, before one of them goes"})
	w.onTable(plan.Step{Kind: plan.Cutover, Name: "contract", SQL: []string{l.contract(on)}, Done: "SELECT " + contracted(l.pair), LockWait: w.options.LockWait, Lock: "LOCK TABLES … WRITE, for some ten milliseconds",
		Why: "the indexes of the second column go, and with it, in one statement, the old name: the old column has the new name then, and all that hangs on it. No row is read"})
	w.onTable(plan.Step{Kind: plan.Exec, Name: "release", SQL: Released(l.pair), LockWait: w.options.LockWait, Lock: moment, Why: "the triggers, which have had nothing to do since"})
}

// moment is a lock for a change of the catalogue.
const moment = "exclusive metadata lock for a moment"

// onTable adds a step to the plan that is about its table.
func (w *planner) onTable(s plan.Step) {
	s.Tables = []string{qualified(w.plan.Table)}
	w.plan.Steps = append(w.plan.Steps, s)
}

// fillSteps make a second column, and have all rows written once.
func (w *planner) fillSteps(name string, pair schema.Pair, add string, triggers []string, keeps string) {
	w.onTable(plan.Step{Kind: plan.Exec, Name: name, SQL: []string{add}, Done: "SELECT " + hasLive(pair), LockWait: w.options.LockWait, Lock: moment,
		Why: "an empty column; the server only changes the catalogue"})
	w.onTable(plan.Step{Kind: plan.Exec, Name: "keep in step", SQL: append([]string{"CREATE DATABASE IF NOT EXISTS " + quote(pair.Log.Schema)}, triggers...), LockWait: w.options.LockWait, Lock: moment,
		Why: keeps})
	w.onTable(plan.Step{Kind: plan.Copy, Name: "backfill", Lock: "none",
		Why: "about " + fmt.Sprint(w.plan.Rows) + " rows, in ranges of the key; what somebody has locked is left for later, so nobody waits for more than one range and no deadlock is ours"})
}

// Released takes away the triggers and where the change kept its notes. Each statement may run twice.
func Released(p schema.Pair) []string {
	return []string{"DROP TRIGGER IF EXISTS " + trigger(p, "i"), "DROP TRIGGER IF EXISTS " + trigger(p, "u"), "DROP DATABASE IF EXISTS " + quote(p.Log.Schema)}
}

// AbandonLive takes the second column away. The triggers go last, because who writes the new name until it is gone has written the old one.
func AbandonLive(p schema.Pair) (out []plan.Step) {
	if BothWays(p) {
		return append(abandonBoth(p), plan.Step{SQL: Released(p)})
	}
	return append(dropIndexes(p), plan.Step{SQL: []string{dropLive(p, p.Source)}, Done: "SELECT NOT " + hasLive(p)}, plan.Step{SQL: Released(p)})
}

// dropIndexes are one step for each.
func dropIndexes(p schema.Pair) (out []plan.Step) {
	for _, name := range p.Indexes {
		out = append(out, plan.Step{SQL: []string{dropLiveIndex(name, p.Source)}, Done: "SELECT NOT " + hasIndex(p, name)})
	}
	return out
}

func columnOf(p schema.Pair, name, also string) string {
	return "EXISTS (SELECT 1 FROM information_schema.COLUMNS i WHERE i.TABLE_SCHEMA = " + literal(p.Source.Schema) + " AND i.TABLE_NAME = " + literal(p.Source.Table) +
		" AND i.COLUMN_NAME = " + literal(name) + also + ")"
}

// hasLive says that the second column is there, and the change's own.
func hasLive(p schema.Pair) string {
	return columnOf(p, p.Columns[0].Shadow, " AND i.COLUMN_COMMENT = "+literal(mark(p)))
}

func hasIndex(p schema.Pair, name string) string {
	return "EXISTS (SELECT 1 FROM information_schema.STATISTICS i WHERE i.TABLE_SCHEMA = " + literal(p.Source.Schema) + " AND i.TABLE_NAME = " + literal(p.Source.Table) + " AND i.INDEX_NAME = " + literal(name) + ")"
}

func contracted(p schema.Pair) string {
	return "NOT " + columnOf(p, p.Columns[0].Source, "") + " AND NOT " + hasLive(p) + " AND " + columnOf(p, p.Columns[0].Shadow, "")
}

// LiveIndexes answers which indexes of the second column are there.
func LiveIndexes(p schema.Pair) string {
	return "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = " + literal(p.Source.Schema) + " AND TABLE_NAME = " + literal(p.Source.Table) +
		" AND LEFT(INDEX_NAME, CHAR_LENGTH(" + literal(p.Capture.Table+"_i") + ")) = " + literal(p.Capture.Table+"_i")
}

// DropLiveIndex drops one of them.
func DropLiveIndex(p schema.Pair, name string) string { return dropLiveIndex(name, p.Source) }

// LiveArmed answers whether both triggers stand on the table, and the second column is the change's own.
func LiveArmed(p schema.Pair) string {
	return "SELECT " + hasLive(p) + " AND (SELECT COUNT(*) = 2 FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = " + literal(p.Source.Schema) + " AND EVENT_OBJECT_TABLE = " + literal(p.Source.Table) +
		" AND ACTION_TIMING = 'BEFORE' AND TRIGGER_NAME IN (" + literal(p.Capture.Table+"_i") + ", " + literal(p.Capture.Table+"_u") + "))"
}

// LockLive keeps everybody from the table for the contraction.
func LockLive(p schema.Pair) string { return "LOCK TABLES " + qualified(p.Source) + " WRITE" }
