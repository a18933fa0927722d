package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// The undo: from the swap on a second capture logs which keys of the new table change, and whoever undoes the change makes
// these rows of the old table equal to the new one's. That is the shadow table's own protocol with the two tables in each
// other's place, so it is the same texts with a pair that is turned round.
//
// Rows that nobody has written since are never copied back: they are what they were, with columns that only the old table has
// and values that the conversion made coarser. So the tables are compared the other way, as they were before the swap: what the
// old table's row becomes in the new one must be what is there. A value that came back changed is found by that, too.

// undoing is what an undo needs of a rehearsal.
type undoing struct {
	pair   schema.Pair
	keys   []foreignKey // of the old table and to it
	fresh  []foreignKey // those of them that do not stand on the new table or point to it
	newest []foreignKey // of the new table and to it
}

// undo is the plan that takes a change back, or why there can be none.
func (w *planner) undo(ctx context.Context, r *rehearsal, p schema.Pair, helper string, keys []foreignKey) (*plan.Plan, string, error) {
	if why := r.oneWay(p, helper); why != "" {
		return nil, why, nil
	}
	u := undoing{pair: r.turned(p, w.options.UndoLog), newest: keys}
	why, err := w.castBack(ctx, r, &u.pair)
	if err != nil || why != "" {
		return nil, why, err
	}
	if !p.Ordered {
		keysBack(&u.pair)
	}
	u.keys = r.formerKeys()
	for _, k := range u.keys {
		if !slices.ContainsFunc(keys, func(n foreignKey) bool { return n.Table == k.Table && n.Name == k.Name && n.Def == k.Def }) {
			u.fresh = append(u.fresh, k)
		}
	}
	return w.undoPlan(r, u), "", nil
}

// oneWay says why a change cannot be undone, if it cannot.
func (r *rehearsal) oneWay(p schema.Pair, helper string) string {
	switch {
	case helper != "":
		return "the statement drops the key by which the rows of both tables are found"
	case !p.Ordered && !comesBack(r, p):
		return "the statement changes the key to a type that is not sorted alike, and of whose values the old ones cannot be told"
	case r.source.Persistence == "u" || r.shadow.Persistence == "u":
		return "one of the tables is unlogged: a crash of the server would empty it"
	case len(r.source.Withheld) > 0:
		return "the table's owner took privileges on it from himself, and it is he who moves the rows"
	}
	for _, k := range p.Key {
		to := r.shadow.columnNamed(k.Shadow)
		switch {
		case k.Source != k.Shadow:
			return "the statement gives key column " + k.Source + " another name"
		case to == nil || to.mayBeNull():
			return "the statement lets key column " + k.Source + " be NULL"
		}
	}
	return ""
}

// comesBack says that each old value of the key makes a new one of its own, from which it comes back, though the new ones are not sorted as the old.
func comesBack(r *rehearsal, p schema.Pair) bool {
	for _, k := range p.Key {
		from, to := r.source.columnNamed(k.Source), r.shadow.columnNamed(k.Shadow)
		if to == nil || k.Expr != "" || from.Type != to.Type && !sameOrder(*from, *to) && !slices.Contains(firm[from.Type], to.Type) || from.Collates != to.Collates && from.Collates != "" && from.Collates != "0" {
			return false
		}
	}
	return true
}

// keysBack makes the keys of an undo whose tables are not sorted alike. A new key that is none of the old type's, or looks another way as one, such as
// 007 of an integer, fails as a value does that the type cannot have: it would be taken for the row of another one.
func keysBack(p *schema.Pair) {
	for i, k := range p.Key {
		if k.Type == k.ShadowType {
			p.Key[i].Expr = ""
			p.Judge.Key[i].Back = ident.Quote(p.Source.Table) + "." + ident.Quote(k.Source)
			continue
		}
		now := ident.Quote(p.Source.Table) + "." + ident.Quote(k.Source)
		text := "pg_catalog.text"
		back := "(" + now + "::" + text + ")::" + k.ShadowType
		back = "CASE WHEN " + back + "::" + k.Type + "::" + text + " OPERATOR(pg_catalog.=) " + now + "::" + text + " THEN " + back +
			" ELSE pg_catalog.concat(" + now + "::" + text + ", ' has no place in the old table')::" + k.ShadowType + " END"
		p.Key[i].Expr, p.Judge.Key[i].Back = back, back
		for n, m := range p.Columns {
			if m.Source == k.Source {
				p.Columns[n].Expr, p.Columns[n].Converted = back, true
			}
		}
	}
	p.Judge.Turned = true
}

// turned is the pair of an undo: the new table is the source, and the old one its shadow.
func (r *rehearsal) turned(p schema.Pair, limit int64) schema.Pair {
	at := func(name string) schema.Name { return schema.Name{Schema: r.in(), Table: name + r.change} }
	out := schema.Pair{Change: p.Change, Owner: p.Owner, Settings: p.Settings, Path: p.Path, Ordered: p.Ordered, SameKey: p.SameKey, Limit: limit,
		Source: schema.Name{Schema: p.Source.Schema, Table: p.Shadow.Table}, Shadow: p.Old, Old: p.Shadow,
		Log: at("undo_keys_"), Checks: at("undo_checks_"), Misfits: at("undo_misfits_"), Capture: schema.Name{Schema: r.in(), Table: "changeling_" + r.change + "_undo"}}
	out.Published = p.Published
	if p.First != "" {
		out.First = "!" + out.Capture.Table
	}
	for _, k := range p.Key {
		out.Key = append(out.Key, schema.Key{Source: k.Shadow, Shadow: k.Source, Type: k.ShadowType, ShadowType: k.Type, LogType: r.shadow.columnNamed(k.Shadow).Plain,
			Ops: k.ShadowOps, ShadowOps: k.Ops})
	}
	for i, c := range r.source.Columns {
		to := r.shadow.column(i + 1)
		switch {
		case c.Generated != "":
		case to == nil:
			out.Kept = append(out.Kept, schema.Kept{Shadow: c.Name, Expr: r.formerDefault(c)})
		default:
			out.Columns = append(out.Columns, schema.Mapped{Shadow: c.Name, Type: c.Type, Source: to.Name, Converted: to.Type != c.Type,
				Always: c.Identity == "a", Digest: digest(c.Base, c.Num)})
		}
	}
	// Where the old table has a unique index that the new one has not, users' rows may not fit both.
	out.Mirrored = !slices.ContainsFunc(r.clone.Indexes, func(x Index) bool {
		has := slices.ContainsFunc(r.shadow.Indexes, func(s Index) bool { return s.Name == x.Name && s.Def == x.Def })
		k := r.clone.backing(x.OID)
		return !has && (x.Unique || k != nil && k.Type == "x")
	})
	if len(p.ShadowParts) > 0 {
		out.SourceParts, out.Known = within(p.ShadowParts, p.Source.Schema), at("undo_parts_")
	}
	out.ShadowParts = within(p.SourceParts, r.old())
	judge := p
	judge.SourceParts, judge.ShadowParts = out.ShadowParts, out.SourceParts
	judge.Source, judge.Shadow, judge.Old, judge.Log, judge.Checks, judge.Kept = p.Old, out.Source, p.Source, out.Log, out.Checks, nil
	judge.Key = slices.Clone(p.Key)
	judge.Columns = slices.DeleteFunc(slices.Clone(p.Columns), func(m schema.Mapped) bool { return m.Source == "" })
	out.Judge = &judge
	return out
}

// formerDefault is what a new row gets in a column that only the old table has.
func (r *rehearsal) formerDefault(c Column) string {
	for _, q := range r.source.Sequences {
		if q.Column == c.Name { // it went with the old table
			return "pg_catalog.nextval(" + ident.Literal(ident.Qualified(r.old(), q.Name)) + "::pg_catalog.regclass)"
		}
	}
	if c.Default == nil {
		return "NULL"
	}
	return *c.Default
}

// castBack finds out how each converted column goes back: by assignment, or else by a cast. What a cast makes coarser, the
// comparison finds. It answers why a column has no way back.
func (w *planner) castBack(ctx context.Context, r *rehearsal, p *schema.Pair) (string, error) {
	try := func(sql string) (bool, error) {
		if _, err := w.tx.ExecContext(ctx, "SAVEPOINT back"); err != nil {
			return false, err
		}
		_, err := w.tx.ExecContext(ctx, sql)
		if err != nil && (fault.Lost(err) || fault.Transient(err) || fault.Canceled(err)) {
			return false, err
		}
		_, end := w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT back")
		return err == nil, end
	}
	for i, m := range p.Columns {
		if !m.Converted {
			continue
		}
		from := r.shadow.columnNamed(m.Source)
		table := ident.Qualified(r.in(), "back_"+r.change)
		assigned, err := try("CREATE TABLE " + table + " (c " + m.Type + "); EXPLAIN INSERT INTO " + table + " SELECT NULL::" + from.Type)
		if err != nil {
			return "", err
		}
		if assigned {
			continue
		}
		cast, err := try("SELECT (NULL::" + from.Type + ")::" + m.Type)
		if err != nil {
			return "", err
		}
		if !cast {
			return fmt.Sprintf("the server knows no way from %s back to %s, for column %s", from.Type, m.Type, m.Shadow), nil
		}
		p.Columns[i].Expr = ident.Quote(p.Source.Table) + "." + ident.Quote(m.Source) + "::" + m.Type
	}
	return "", nil
}

// formerKeys are the foreign keys that the swap takes off the source, and those of others that point to it.
func (r *rehearsal) formerKeys() []foreignKey {
	var out []foreignKey
	for _, k := range append(slices.Clone(r.source.Constraints), r.source.References...) {
		if k.Type == "f" && !k.Inherited {
			to := schema.Name{Schema: k.ToSchema, Table: k.ToTable}
			out = append(out, foreignKey{Table: schema.Name{Schema: k.Schema, Table: k.Table}, Name: k.Name, Def: pointTo(k.Def, qualified(to)), Validated: k.Validated,
				To: to, Comment: k.Comment, key: k})
		}
	}
	return out
}

// undoPlan is the program of an undo.
func (w *planner) undoPlan(r *rehearsal, u undoing) *plan.Plan {
	p, wait := u.pair, w.options.LockWait
	out := &plan.Plan{Format: plan.Format, ID: w.plan.ID, Statement: w.plan.Statement, Table: w.plan.Table, Route: plan.ShadowTable, Pair: p, Rows: w.plan.Rows, Bytes: w.plan.Bytes,
		Why: "rows that were written since the swap are copied back to the old table, which takes its place again", Made: w.made(r)}
	add := func(s plan.Step) { out.Steps = append(out.Steps, s) }
	add(plan.Step{Kind: plan.Drain, Name: "drain", Why: "rows that were written since the swap are copied to the old table, until little is left"})
	add(plan.Step{Kind: plan.Loose, Name: "analyze", SQL: []string{"ANALYZE " + qualified(p.Shadow)}, Why: "statistics for the first query after the swap"})
	add(plan.Step{Kind: plan.Verify, Name: "verify", Why: "every row of the old table, as the statement changes it, is compared with the new one's"})
	for _, k := range u.fresh {
		if k.Validated {
			add(r.formerOrphans(p, k))
		}
	}
	add(plan.Step{Kind: plan.Cutover, Name: "swap back", SQL: r.swapBack(u), Tables: append(viewNames(r.views), lockedNames(r.locked(u.newest, p), p)...), LockWait: wait, Lock: "ACCESS EXCLUSIVE", Why: swapping(p)})
	for _, k := range validations(u.keys) {
		out.Steps = append(out.Steps, w.validate(k, p.ShadowParts)...)
	}
	add(plan.Step{Kind: plan.Release, Name: "release", SQL: append(dropUndo(p.Change), "DROP FUNCTION IF EXISTS "+ident.Qualified(p.Log.Schema, guard(p))+"()"), Why: "the key log and the trigger's function"})
	add(plan.Step{Kind: plan.Drop, Name: "drop new table", LockWait: wait, Lock: "ACCESS EXCLUSIVE on the table that was undone", Why: "when its time has come",
		SQL:  []string{"DROP TABLE IF EXISTS " + qualified(p.Old), "DROP SCHEMA IF EXISTS " + ident.Quote(p.Old.Schema), "DROP SCHEMA IF EXISTS " + ident.Quote(p.Shadow.Schema)},
		Done: "SELECT pg_catalog.to_regclass(" + ident.Literal(qualified(p.Old)) + ") IS NULL"})
	return out
}

// formerOrphans asks for rows that break a foreign key which the statement took away.
func (r *rehearsal) formerOrphans(p schema.Pair, k foreignKey) plan.Step {
	place := func(n schema.Name) string {
		if n == p.Source {
			return only(p.Shadow, p.ShadowParts)
		}
		return qualified(n)
	}
	return plan.Step{Kind: plan.Ask, Name: "check foreign key " + k.Name, Why: "rows without a parent are found before the swap",
		SQL: []string{"SELECT " + ident.Literal(k.Table.String()+" with "+strings.Join(k.key.From, ", ")+" ") + " || pg_catalog.concat_ws(', ', d." + strings.Join(quoted(k.key.From), ", d.") + ") FROM " +
			place(k.Table) + " d WHERE " + orphaned(k.key, place(k.To)) + " LIMIT 3"}}
}

// swapBack is swap with the tables in each other's place.
func (r *rehearsal) swapBack(u undoing) []string {
	p := u.pair
	source, shadow := qualified(p.Source), qualified(p.Shadow)
	out := []string{lockViews(r.views, "LOCK TABLE "+strings.Join(r.locked(u.newest, p), ", ")+" IN ACCESS EXCLUSIVE MODE")}
	out = append(out, dropCapture(p)...)
	out = append(out, r.unhang(after)...)
	for _, k := range u.newest {
		out = append(out, "ALTER TABLE "+qualified(k.Table)+" DROP CONSTRAINT "+ident.Quote(k.Name))
	}
	var owned []string
	for _, q := range r.source.Sequences {
		column := r.source.columnNamed(q.Column)
		to := r.target(column.Num)
		name := ident.Qualified(q.Schema, q.Name)
		switch {
		case to == nil: // it is with the old table
		case q.Internal:
			if to.Identity != "" {
				out = append(out, r.handBack(q, *to)...)
			}
		default:
			out = append(out, "ALTER SEQUENCE "+name+" OWNED BY NONE")
			owned = append(owned, "ALTER SEQUENCE "+name+" OWNED BY "+source+"."+ident.Quote(column.Name))
		}
	}
	for _, s := range r.shadow.Statistics {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(r.statisticsIn(s), s.Name)+" SET SCHEMA "+ident.Quote(r.in()))
	}
	out = append(append(out, moveParts(p.SourceParts, r.in())...), moveParts(p.ShadowParts, p.Source.Schema)...)
	out = append(out,
		"ALTER TABLE "+source+" SET SCHEMA "+ident.Quote(r.in()),
		"ALTER TABLE "+shadow+" SET SCHEMA "+ident.Quote(p.Source.Schema))
	out = append(out, owned...)
	was, now := r.partStatistics()
	out = append(append(out, leave(now, r.in())...), enter(was, r.old())...)
	for _, s := range r.source.Statistics {
		out = append(out, "ALTER STATISTICS "+ident.Qualified(r.old(), s.Name)+" SET SCHEMA "+ident.Quote(s.Schema))
	}
	out = append(out, r.hang(before, r.views, r.former())...)
	return append(out, addKeys(u.keys, p)...)
}

// statisticsIn is the schema that a statistics object of the new table has.
func (r *rehearsal) statisticsIn(s Statistics) string {
	for _, was := range r.source.Statistics {
		if was.Name == s.Name {
			return was.Schema
		}
	}
	return r.source.Schema
}

// handBack gives the value of the new identity's sequence to the old one; see handOver. One that is beyond the old one's range
// leaves it at its end.
func (r *rehearsal) handBack(q Sequence, to Column) []string {
	for _, s := range r.shadow.Sequences {
		if !s.Internal || s.Column != to.Name {
			continue
		}
		now, old := ident.Qualified(r.source.Schema, s.Name), ident.Literal(ident.Qualified(r.old(), q.Name))
		return []string{
			fmt.Sprintf("ALTER SEQUENCE %s CACHE %d", now, s.Cache),
			fmt.Sprintf(`SELECT pg_catalog.setval(%s::pg_catalog.regclass, greatest(least(CASE WHEN waits THEN last_value::numeric + %d ELSE last_value END, %d), %d)::bigint, is_called OR waits)
FROM %s, (SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE relation = %s::pg_catalog.regclass AND NOT granted) AS waits) w`,
				old, 32*q.Cache*q.Increment, q.Max, q.Min, now, ident.Literal(now)),
		}
	}
	return nil
}

// misfit is the column that says why a row does not fit the old table.
const misfit = "changeling_why"

// prepareUndo makes what the second capture needs. It takes no lock that anybody waits for, and may run twice. The triggers
// come with the swap.
func prepareUndo(p schema.Pair, shadow schema.Name) []string {
	var defs []string
	for _, k := range p.Key {
		defs = append(defs, ident.Quote(k.Source)+" "+k.LogType)
	}
	return append(append(dropUndo(p.Change), makeCapture(p, shadow)...),
		"CREATE TABLE "+qualified(p.Misfits)+" ("+seq+" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "+misfit+" text NOT NULL, "+strings.Join(defs, ", ")+")")
}

// dropUndo takes away what prepareUndo made. It may run twice.
func dropUndo(change string) []string {
	in := "changeling_" + change
	at := func(name string) string { return ident.Qualified(in, name+change) }
	return []string{
		"DROP TABLE IF EXISTS " + at("undo_keys_") + ", " + at("undo_checks_") + ", " + at("undo_misfits_") + ", " + at("undo_parts_"),
		"DROP FUNCTION IF EXISTS " + ident.Qualified(in, "changeling_"+change+"_undo") + "()",
	}
}

// Disarm ends the window of an undo: the first statement takes no lock on the table and lets the triggers do nothing, the
// second one takes them off, wherever the table is by now. Each is a transaction, and may run twice.
func (w Rows) Disarm() []string {
	return []string{quieten(w.Pair), dropTriggers(w.Pair)}
}

// LogOnly makes the capture log keys and write no rows any more, as after a hand-over that did not come to its swap.
func (w Rows) LogOnly() []string { return []string{LogOnly(w.Pair)} }

// quieten silences a capture's function, if it is there.
func quieten(p schema.Pair) string {
	return `DO $changeling$ BEGIN IF pg_catalog.to_regprocedure(` + ident.Literal(qualified(p.Capture)+"()") + `) IS NOT NULL THEN ` +
		strings.ReplaceAll(silence(p), "$changeling$", "$body$") + `; END IF; END $changeling$`
}

// dropTriggers takes a capture's triggers off.
func dropTriggers(p schema.Pair) string {
	names := []string{p.Capture.Table, p.Capture.Table + "_truncate"}
	if p.First != "" {
		names = append(names, p.First)
	}
	return dropNamed(names...)
}

// dropNamed finds triggers by name and not by table: somebody may have renamed it. A partitioned table comes before its partitions, as it does for its
// users.
func dropNamed(names ...string) string {
	for i := range names {
		names[i] = ident.Literal(names[i])
	}
	return `DO $changeling$ DECLARE g record; BEGIN
  FOR g IN SELECT tgname, tgrelid::pg_catalog.regclass AS on FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 AND tgname IN (` +
		strings.Join(names, ", ") + `) ORDER BY (SELECT pg_catalog.count(*) FROM pg_catalog.pg_partition_ancestors(tgrelid)) LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', g.tgname, g.on);
  END LOOP; END $changeling$`
}

// Window answers how an undo's capture is: whether it is armed, and how many keys are in its log and among its misfits, up to
// a bound that is quick to count. It answers no row where the log is gone. A table that has another name by now is none that is armed, and its triggers have
// to go all the same.
func (w Rows) Window() string {
	p := w.Pair
	exists := "pg_catalog.to_regclass(" + ident.Literal(qualified(p.Log)) + ")"
	on := "pg_catalog.to_regclass(" + ident.Literal(qualified(p.Source)) + ")"
	return "SELECT (SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 2 FROM pg_catalog.pg_trigger WHERE tgrelid OPERATOR(pg_catalog.=) " + on + " AND tgenabled OPERATOR(pg_catalog.=) 'A'::\"char\" AND tgname::text OPERATOR(pg_catalog.=) ANY (ARRAY[" +
		ident.Literal(first(p)) + ", " + ident.Literal(p.Capture.Table+"_truncate") + "])" + whole(p) + "), " +
		"(SELECT p.prosrc OPERATOR(pg_catalog.~~) '%INSERT%' FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(" + ident.Literal(qualified(p.Capture)+"()") + ")), " +
		"pg_catalog.pg_relation_size(" + exists + ") WHERE " + exists + " IS NOT NULL"
}

// SetAside moves the oldest key of the log to the misfits, with why its row does not fit the shadow, and answers it. PutBack is the way back.
//
// A key whose row is gone can only fail because the shadow has no such keys: there is nothing to do for it, and no row is the answer. Its last entry
// in the log goes alone, because the row may have been deleted since it failed, and then a later entry tells of that.
func (w Rows) SetAside() string {
	p := w.Pair
	oldest := "(SELECT " + seq + ", " + w.sourceKey("") + ", EXISTS (SELECT FROM " + w.source() + " s WHERE " + w.sameSource("s", "x") + ") AS there FROM " + qualified(p.Log) + " x ORDER BY " + seq + " LIMIT 1)"
	return "WITH oldest AS MATERIALIZED " + oldest + ", gone AS (DELETE FROM " + qualified(p.Log) + " l USING oldest o WHERE " + w.sameSource("l", "o") + " AND (o.there OR l." + seq + " OPERATOR(pg_catalog.=) o." + seq +
		")) INSERT INTO " + qualified(p.Misfits) + " (" + misfit + ", " + w.sourceKey("") + ") SELECT $1::text, " + w.sourceKey("") + " FROM oldest WHERE there RETURNING " + w.keyText("")
}

// PutBack puts all misfits into the log again: their rows may fit by now.
func (w Rows) PutBack() string {
	p := w.Pair
	return "WITH again AS (DELETE FROM " + qualified(p.Misfits) + " RETURNING " + w.sourceKey("") + ") INSERT INTO " + qualified(p.Log) + " (" + w.sourceKey("") + ") SELECT DISTINCT " + w.sourceKey("") + " FROM again"
}

// MisfitRows are the keys that were set aside, and why.
func (w Rows) MisfitRows() string {
	return "SELECT " + w.keyText("") + ", " + misfit + " FROM " + qualified(w.Pair.Misfits) + " ORDER BY " + seq
}

// Refill answers a TRUNCATE of the new table: the old one is emptied, and every row that there is by now is to be copied. It is
// one transaction; what commits later is in the log by itself.
func (w Rows) Refill() (empty, fill []string) {
	p := w.Pair
	return nil, []string{
		"TRUNCATE " + qualified(p.Shadow) + ", " + qualified(p.Checks) + ", " + qualified(p.Misfits),
		"DELETE FROM " + qualified(p.Log) + " WHERE " + ident.Quote(p.Key[0].Source) + " IS NULL",
		"INSERT INTO " + qualified(p.Log) + " (" + w.sourceKey("") + ") SELECT " + w.sourceKey("") + " FROM " + w.source(),
	}
}

// finer is a column of the old table whose values the conversion may have made coarser, such as times that became dates. Where the row's
// value in the new table still is what the old one becomes, the old one stays. The zero value is any other column.
type finer struct {
	back   schema.Mapped // from the new table to the old one
	ahead  string        // what the value of a row d becomes in the new table
	digest string        // of a value of the new table, with %s for it
}

func (w Rows) finer(m schema.Mapped) finer {
	if w.Pair.Judge == nil || !m.Converted || isKey(w.Pair, m) {
		return finer{}
	}
	j := w.judged()
	for _, f := range j.Pair.Columns {
		if f.Source == m.Shadow && f.Shadow == m.Source {
			return finer{back: m, ahead: "(SELECT " + j.value(f) + "::" + f.Type + " FROM (SELECT d.*) AS " + j.alias() + ")", digest: f.Digest}
		}
	}
	return finer{}
}

func (f finer) any() bool { return f.digest != "" }

func (f finer) of(value string) string { return strings.ReplaceAll(f.digest, "%s", value) }

// was is what a drain keeps of the row that it takes out, is what it reads of the new table, and choose what it puts in.
func (f finer) was(i int) []string {
	if !f.any() {
		return nil
	}
	return []string{fmt.Sprintf("d.%s AS was%d", ident.Quote(f.back.Shadow), i+1), fmt.Sprintf("%s AS sum%d", f.of(f.ahead), i+1)}
}

func (f finer) is(i int) []string {
	if !f.any() {
		return nil
	}
	return []string{fmt.Sprintf("%s AS sum%d", f.of(ident.Quote(f.back.Source)), i+1)}
}

func (f finer) choose(i int) string {
	if !f.any() {
		return fmt.Sprintf("r.v%d", i+1)
	}
	return fmt.Sprintf("CASE WHEN g.sum%d OPERATOR(pg_catalog.=) r.sum%d THEN g.was%d ELSE r.v%d::%s END", i+1, i+1, i+1, i+1, f.back.Type)
}

// unchanged is the value for a row d that is updated as the new table's row is, which has the value v.
func (f finer) unchanged(v string) string {
	if !f.any() {
		return v
	}
	source := ident.Quote(f.back.Source)
	return "CASE WHEN " + f.of("NEW."+source) + " OPERATOR(pg_catalog.=) " + f.of("OLD."+source) + " THEN d." + ident.Quote(f.back.Shadow) + " ELSE " + v + "::" + f.back.Type + " END"
}
