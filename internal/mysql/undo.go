package mysql

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// The undo, as on PostgreSQL (see there): the pair is turned round, so rows that were written since the swap are copied to the
// old table. No trigger logs which: the binary log has it all. The last attempt of the cutover notes, under the lock, where the log
// ends; whoever undoes the change reads on from there. Until then the users pay nothing.
//
// The log's tables wait in the change's own database, where the new table goes when it is undone.

// turnedRound says that a pair is of an undo.
func turnedRound(p schema.Pair) bool { return p.Judge != nil }

// undo is the plan that takes a change back, or why there can be none.
func (w *planner) undo(r *rehearsal, p schema.Pair) (*plan.Plan, string) {
	if why := r.oneWay(p); why != "" {
		return nil, why
	}
	pair := r.turned(p, w.options.UndoLog)
	return &plan.Plan{Format: plan.Format, ID: w.plan.ID, Statement: w.plan.Statement, Table: w.plan.Table, Route: plan.ShadowTable, Pair: pair, Rows: w.plan.Rows, Bytes: w.plan.Bytes,
		Steps: undoSteps(pair, w.options.LockWait, w.dialect.maria), Why: "rows that were written since the swap are copied back to the old table, which takes its place again"}, ""
}

// undoSteps are the program of an undo.
func undoSteps(pair schema.Pair, wait time.Duration, maria bool) []plan.Step {
	text, lock := swapStep(pair, maria)
	swap := plan.Step{Kind: plan.Cutover, Name: "swap back", SQL: []string{text}, Done: Swapped(pair), Tables: swapped(pair), LockWait: wait, Lock: lock,
		Why: "the last keys under the table's lock, then the swap, in one statement"}
	steps := append(bringNear(pair),
		plan.Step{Kind: plan.Drain, Name: "drain", Why: "rows that were written since the swap are copied to the old table, until little is left"},
		plan.Step{Kind: plan.Loose, Name: "analyze", SQL: []string{"ANALYZE TABLE " + qualified(pair.Shadow)}, Why: "statistics for the first query after the swap"},
		plan.Step{Kind: plan.Verify, Name: "verify", Why: "every row of the old table, as the statement changes it, is compared with the new one's"})
	if len(pair.Triggers) > 0 {
		steps = append(steps, carryStep(pair))
	}
	if Calls(pair) && len(pair.Kin) == 0 {
		steps = append(steps, plan.Step{Kind: plan.Exec, Name: "lead foreign keys back", SQL: InstallSwap(pair, maria), Lock: "none",
			Why: "a procedure that leads foreign keys to the old table, swaps and takes them off the new one, under the swap's lock and whatever becomes of the run"})
	}
	release := []string{dropUndo(pair)}
	if maria && Calls(pair) {
		release = append(release, dropPass(pair))
	}
	return append(steps, swap,
		plan.Step{Kind: plan.Release, Name: "release", SQL: release, Why: "the key log"},
		plan.Step{Kind: plan.Drop, Name: "drop new table", SQL: []string{"DROP TABLE IF EXISTS " + qualified(pair.Old), "DROP DATABASE IF EXISTS " + quote(pair.Old.Schema), "DROP DATABASE IF EXISTS " + quote(rests(pair).Schema)},
			Lock: "exclusive metadata lock on the table that was undone", Why: "when its time has come"})
}

// oneWay says why a change cannot be undone, if it cannot.
func (r *rehearsal) oneWay(p schema.Pair) string {
	switch {
	case !p.Binlog:
		return "nothing is logged after the cutover where triggers write the key log: an undo reads the binary log"
	case r.untold != "":
		return r.untold
	}
	for _, k := range p.Key {
		switch to := r.shadow.column(k.Shadow); {
		case slices.ContainsFunc(p.Key, func(x schema.Key) bool {
			return strings.EqualFold(x.Shadow, k.Source) && !strings.EqualFold(x.Source, k.Source)
		}):
			return "the statement gives key column " + k.Source + " another name, and its name to another key column"
		case to == nil || to.Nullable:
			return "the statement lets key column " + k.Source + " be NULL"
		}
	}
	return ""
}

// turned is the pair of an undo: the new table is the source, and the old one its shadow.
func (r *rehearsal) turned(p schema.Pair, limit int64) schema.Pair {
	at := func(name string) schema.Name { return schema.Name{Schema: r.in(), Table: name + r.change} }
	out := schema.Pair{Change: p.Change, Settings: p.Settings, Ordered: true, SameKey: p.SameKey, Binlog: true, Limit: limit,
		Source: p.Source, Shadow: p.Old, Old: r.shadowName(), Log: at("undo_keys_"), Checks: at("undo_checks_"), Misfits: at("undo_misfits_"), Capture: p.Capture, Foreign: r.former, Children: turnedChildren(p.Children, r), Kin: p.Kin}
	judge := p
	judge.Source, judge.Shadow, judge.Old, judge.Log, judge.Checks = p.Old, p.Source, p.Source, out.Log, out.Checks
	judge.Key, judge.Foreign, judge.Children, judge.Triggers, judge.Kin = nil, nil, nil, nil, nil
	for _, k := range p.Key {
		logType := logged(*r.shadow.column(k.Shadow))
		back := schema.Key{Source: k.Shadow, Shadow: k.Source, Type: k.ShadowType, ShadowType: k.Type, LogType: logType, Ops: k.ShadowOps, ShadowOps: k.Ops}
		out.Key = append(out.Key, back)
		k.LogType = logType // both tables' keys fit it, also those that the old one cannot have
		judge.Key = append(judge.Key, k)
	}
	out.Judge = &judge
	for _, c := range r.source.Columns {
		to := r.target(c.Name)
		switch {
		case c.Generated:
		case to == nil:
			out.Kept = append(out.Kept, schema.Kept{Shadow: c.Name, Expr: c.full(), Must: !c.Nullable && c.Default == nil && !c.AutoIncrement})
		default:
			out.Columns = append(out.Columns, schema.Mapped{Shadow: c.Name, Type: c.full(), Source: to.Name,
				Converted: to.Type != c.Type || to.Charset != c.Charset || to.Collation != c.Collation})
		}
	}
	return out
}

// prepareUndo makes what an undo writes to. Every statement may run twice.
func prepareUndo(p schema.Pair) []string {
	defs := []string{seq + " bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY", "changeling_why text NOT NULL"}
	for _, k := range p.Key {
		defs = append(defs, quote(k.Source)+" "+k.LogType)
	}
	return append(makeLog(p), "CREATE TABLE IF NOT EXISTS "+qualified(p.Misfits)+" ("+strings.Join(defs, ", ")+") ENGINE=InnoDB")
}

// dropUndo takes away what prepareUndo made, and the position. It may run twice.
func dropUndo(p schema.Pair) string {
	return "DROP TABLE IF EXISTS " + qualified(p.Log) + ", " + qualified(p.Checks) + ", " + qualified(p.Misfits) + ", " + qualified(alive(p)) + ", " + qualified(position(p))
}

// Window answers what the one of PostgreSQL does: armed is a log whose reader's position is known, and nothing grows.
func (w Rows) Window() string {
	p := w.Pair
	known := "EXISTS (SELECT 1 FROM " + qualified(position(p)) + " o WHERE o.one = " + place(p) + ")"
	return "SELECT " + known + ", " + known + ", 0 FROM DUAL WHERE " + there(p.Source) + " AND " + there(p.Shadow) + " AND " + there(p.Log)
}

// Disarm forgets how far the binary log was read. It may run twice.
func (w Rows) Disarm() []string { return []string{ForgetPosition(w.Pair)} }

// LogOnly is what an undo that is given up takes back of its hand-over: here there is none.
func (w Rows) LogOnly() []string { return nil }

// SetAside moves the oldest key of the log to the misfits, with why its row does not fit the shadow. PutBack is the way back.
func (w Rows) SetAside() string {
	log, misfits := qualified(w.Pair.Log), qualified(w.Pair.Misfits)
	return strings.Join([]string{
		"SET @changeling_oldest = (SELECT MIN(" + seq + ") FROM " + log + ")",
		"INSERT INTO " + misfits + " (changeling_why, " + w.keyList("") + ") SELECT $1, " + w.keyList("changeling_log.") + " FROM " + log + " changeling_log WHERE changeling_log." + seq + " = @changeling_oldest",
		"SET @changeling_misfit = LAST_INSERT_ID()",
		"DELETE changeling_log FROM " + misfits + " m STRAIGHT_JOIN " + log + " changeling_log ON " + w.same("changeling_log", "m") + " WHERE m." + seq + " = @changeling_misfit",
		"SELECT " + w.keyText("m.") + " FROM " + misfits + " m WHERE m." + seq + " = @changeling_misfit",
	}, Then)
}

// PutBack puts all misfits into the log again: their rows may fit by now.
func (w Rows) PutBack() string {
	p := w.Pair
	return "INSERT INTO " + qualified(p.Log) + " (" + w.keyList("") + ") SELECT DISTINCT " + w.keyList("m.") + " FROM " + qualified(p.Misfits) + " m" + Then + "DELETE FROM " + qualified(p.Misfits)
}

// MisfitRows are the keys that were set aside, and why.
func (w Rows) MisfitRows() string {
	return "SELECT " + w.keyText("m.") + ", m.changeling_why FROM " + qualified(w.Pair.Misfits) + " m ORDER BY m." + seq
}

// Refill answers a TRUNCATE of the new table: the old one is emptied, and every row that there is by now is to be copied. Whoever reads
// the binary log does it before he notes that he has read the TRUNCATE. It may run twice.
func (w Rows) Refill() (empty, fill []string) {
	p := w.Pair
	return []string{"TRUNCATE TABLE " + qualified(p.Shadow)}, []string{
		"DELETE FROM " + qualified(p.Checks), "DELETE FROM " + qualified(p.Misfits),
		"INSERT INTO " + qualified(p.Log) + " (" + w.keyList("") + ") SELECT " + w.keyList("s.") + " FROM " + qualified(p.Source) + " s"}
}

// judged are the texts by which the rows of an undo are compared: what the old table's row becomes in the new one must be there.
func (w Rows) judged() Rows {
	if w.Pair.Judge != nil {
		w.logged, w.Pair, w.back = w.keyList(""), *w.Pair.Judge, true
	}
	return w
}

// alsoNamed are columns that give the keys of an undo's log the names that the old table has for them, where these are others.
func alsoNamed(p schema.Pair) (defs []string) {
	if !turnedRound(p) {
		return nil
	}
	for _, k := range p.Key {
		if !strings.EqualFold(k.Source, k.Shadow) {
			defs = append(defs, quote(k.Shadow)+" "+strings.TrimSuffix(k.LogType, " NULL")+" AS ("+quote(k.Source)+") VIRTUAL")
		}
	}
	return defs
}

// finer are columns of the old table whose values the conversion may have made coarser, with their place among the columns. Where the row's
// value in the new table still is what the old one becomes, the old one stays.
func (w Rows) finer() (out []finer) {
	for _, m := range w.Pair.Columns {
		if !m.Converted || slices.ContainsFunc(w.Pair.Key, func(k schema.Key) bool { return strings.EqualFold(k.Shadow, m.Shadow) }) {
			continue
		}
		for _, f := range w.Pair.Judge.Columns {
			if strings.EqualFold(f.Source, m.Shadow) && strings.EqualFold(f.Shadow, m.Source) {
				value := f.Expr
				if value == "" {
					value = "d." + quote(m.Shadow)
				}
				out = append(out, finer{column: quote(m.Shadow), typ: m.Type, was: strings.ReplaceAll(f.Digest, "%s", "("+value+")"), is: strings.ReplaceAll(f.Digest, "%s", "s."+quote(m.Source))})
			}
		}
	}
	return out
}

// finer is one of them: its value, as a column of d, becomes the digest was; that of the new table's row s has the digest is.
type finer struct{ column, typ, was, is string }

// restore makes the shadow's rows of the keys that were taken equal to the source's, as a part of Drain. Columns that only the old
// table has keep their values, as do finer ones.
func (w Rows) restore() []string {
	p := w.Pair
	names, values := w.columns()
	var keys, shadowKeys []string
	for _, k := range p.Key {
		keys = append(keys, quote(k.Source)+" "+k.LogType)
		shadowKeys = append(shadowKeys, "d."+quote(k.Shadow))
	}
	var defs, kept, from, back []string
	for i, k := range p.Kept {
		was := fmt.Sprintf("changeling_kept%d", i+1)
		defs, from = append(defs, was+" "+k.Expr+" NULL"), append(from, "d."+quote(k.Shadow))
		kept, back = append(kept, quote(k.Shadow)), append(back, "g."+was)
	}
	var set, sums, is []string
	for i, f := range w.finer() {
		was, sum := fmt.Sprintf("changeling_was%d", i+1), fmt.Sprintf("changeling_sum%d", i+1)
		defs, from = append(defs, was+" "+f.typ+" NULL", sum+" bigint unsigned NULL"), append(from, "d."+f.column, f.was)
		sums, is = append(sums, sum+" bigint unsigned NULL"), append(is, f.is)
		set = append(set, fmt.Sprintf("d.%s = IF(g.%s <=> n.%s, g.%s, d.%s)", f.column, sum, sum, was, f.column))
	}
	was, now, taken := w.temporary("was"), w.temporary("now"), w.temporary("taken")
	distinct := "(SELECT DISTINCT " + w.keyList("") + " FROM " + taken + ") t"
	list := []string{
		w.keyed("was", append(slices.Clone(keys), defs...)),
		"INSERT INTO " + was + " SELECT " + strings.Join(append(shadowKeys, from...), ", ") + " FROM " + distinct + " STRAIGHT_JOIN " + qualified(p.Shadow) + " d ON " + w.sameShadow("d", "t"),
		w.gone(),
		"INSERT INTO " + qualified(p.Shadow) + " (" + strings.Join(append(slices.Clone(names), kept...), ", ") + ") SELECT " + strings.Join(append(slices.Clone(values), back...), ", ") +
			" FROM " + was + " g STRAIGHT_JOIN " + qualified(p.Source) + " s ON " + w.same("s", "g"),
	}
	if len(set) > 0 {
		for _, m := range append(slices.Clone(p.Columns), mapped(p.Kept)...) { // or those with ON UPDATE CURRENT_TIMESTAMP would have the time of this statement
			if own := "d." + quote(m.Shadow); !slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, own+" = ") }) &&
				(strings.HasPrefix(m.Type, "timestamp") || strings.HasPrefix(m.Type, "datetime")) {
				set = append(set, own+" = "+own)
			}
		}
		// An UPDATE that names the source would wait for whoever has its READ lock: the cutover on MariaDB.
		list = append(list, w.keyed("now", append(slices.Clone(keys), sums...)),
			"INSERT INTO "+now+" SELECT "+strings.Join(append(w.keyNames("g."), is...), ", ")+" FROM "+was+" g STRAIGHT_JOIN "+qualified(p.Source)+" s ON "+w.same("s", "g"),
			"UPDATE "+was+" g STRAIGHT_JOIN "+now+" n ON "+w.same("n", "g")+" STRAIGHT_JOIN "+qualified(p.Shadow)+" d ON "+w.sameShadow("d", "g")+" SET "+strings.Join(set, ", "))
	}
	// A new row has no value for a column that needs one. MariaDB refuses a statement that leaves such a column out, also one without rows.
	for _, k := range p.Kept {
		if k.Must {
			names, values = append(names, quote(k.Shadow)), append(values, "NULL")
		}
	}
	return append(list, "INSERT INTO "+qualified(p.Shadow)+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(values, ", ")+
		" FROM "+distinct+" STRAIGHT_JOIN "+qualified(p.Source)+" s ON "+w.same("s", "t")+" WHERE NOT EXISTS (SELECT 1 FROM "+was+" g WHERE "+w.same("g", "t")+")")
}

// mapped are kept columns with their types.
func mapped(kept []schema.Kept) (out []schema.Mapped) {
	for _, k := range kept {
		out = append(out, schema.Mapped{Shadow: k.Shadow, Type: k.Expr})
	}
	return out
}

// keyed is a temporary table of the connection with a row for each key.
func (w Rows) keyed(name string, defs []string) string {
	table := w.temporary(name)
	return "CREATE TEMPORARY TABLE IF NOT EXISTS " + table + " (" + strings.Join(defs, ", ") + ", PRIMARY KEY (" + w.keyList("") + ")) ENGINE=InnoDB" + Then + "DELETE FROM " + table
}
