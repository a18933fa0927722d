package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// most is how many columns of a table a change gives second ones to: with more a second table writes less.
const most = 2

// wider are conversions that no value fails, that keep different values different, and under which integers stay integers.
// firm are those that share the first two.
var (
	wider = map[string][]string{"smallint": {"integer", "bigint"}, "integer": {"bigint"}}
	firm  = map[string][]string{"smallint": {"numeric", "text", "character varying"}, "integer": {"numeric", "text", "character varying"},
		"bigint": {"numeric", "text", "character varying"}, "real": {"double precision"}, "uuid": {"text", "character varying"}}
	// fixed are types of one length: an index takes each of their values.
	fixed = []string{"int2", "int4", "int8", "float4", "float8", "bool", "date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid"}
)

// secondColumns finds out how new types of columns are made by second columns, which a trigger keeps in step and which take the
// places of the first, or why not. The twin is as it was before the statement afterwards, so that another way may follow.
//
// It reads the twin that the statement left, and so asks it once.
func (w *planner) secondColumns(ctx context.Context, r *rehearsal) (c *columns, why []string, err error) {
	if r.inPlace != nil {
		return r.inPlace, r.notInPlace, nil
	}
	defer func() {
		r.inPlace, r.notInPlace = c, why
		if err == nil {
			_, err = w.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours())
		}
	}()
	c = &columns{planner: w, rehearsal: r}
	pick := c.pick
	if w.expansion != nil {
		pick = c.pickLive
	}
	if why = pick(); len(why) > 0 {
		return c, why, nil
	}
	if why, err = c.dependants(ctx); err != nil || len(why) > 0 {
		return c, why, err
	}
	if err := c.read(ctx); err != nil {
		return c, nil, err
	}
	if w.expansion != nil {
		if err := c.steady(ctx); err != nil {
			return c, nil, err
		}
	}
	if why = c.unfit(c.pair()); len(why) > 0 {
		return c, why, nil
	}
	if why, err = c.stable(ctx, c.pair()); err != nil || len(why) > 0 {
		return c, why, err
	}
	if w.expansion != nil {
		if why, err = c.back(ctx); err != nil || len(why) > 0 {
			return c, why, err
		}
	}
	same, err := c.tried(ctx)
	if err == nil && !same {
		why = []string{"tried on an empty twin, second columns do not come to what the statement leaves"}
	}
	return c, why, err
}

// pick finds the columns.
func (c *columns) pick() (why []string) {
	name := c.plan.Table.String()
	for _, k := range c.said().Clauses {
		if k.Action != plan.AlterType {
			return []string{fmt.Sprintf("second columns are for new types of columns, and the clause %q is something else", k.Text)}
		}
		from := c.source.columnNamed(k.Column)
		to := c.target(from.Num)
		n := len(c.seconds) + 1
		if slices.ContainsFunc(c.seconds, func(s second) bool { return s.from.Num == from.Num }) {
			continue
		}
		if from.Generated != "" {
			why = append(why, fmt.Sprintf("column %s of %s is generated", from.Name, name))
		}
		c.seconds = append(c.seconds, second{from: *from, to: *to, new: helper(c.change, n), old: fmt.Sprintf("changeling_%s_old_%d", c.change, n)})
	}
	if len(c.seconds) > most {
		why = append(why, fmt.Sprintf("the statement changes %d columns: with more than %d a second table writes less", len(c.seconds), most))
	}
	return append(why, c.unwritable()...)
}

// unwritable says why the owner could not write each row again.
func (c *columns) unwritable() (why []string) {
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	name := c.plan.Table.String()
	if c.source.Kind != "r" || len(c.source.Parents)+len(c.source.Children) > 0 {
		add("%s is partitioned, or a part of an inheritance: its columns cannot be replaced one by one", name)
	}
	for _, privilege := range c.source.Withheld {
		if slices.Contains([]string{"SELECT", "UPDATE", "TRIGGER"}, privilege) {
			add("the owner of %s, %s, took the privilege %s on it from himself, and it is he who fills the second column", name, c.source.Owner, privilege)
		}
	}
	for _, k := range c.source.Constraints {
		if k.Type == "c" && !k.Validated && !strings.HasSuffix(k.Def, "NOT ENFORCED") {
			add("the check %s of %s is NOT VALID: a row that breaks it cannot be written again, and so not be filled; VALIDATE it first", k.Name, name)
		}
	}
	for _, n := range c.source.Columns {
		if n.notNullPending() {
			add("the NOT NULL of column %s of %s is NOT VALID: a row that breaks it cannot be written again, and so not be filled; VALIDATE it first", n.Name, name)
		}
	}
	return why
}

func (c *columns) said() plan.Statement { return c.planner.statement }

// dependants says what of others speaks of the columns, or would be disturbed by a second one. A view of other columns is not.
func (c *columns) dependants(ctx context.Context) (why []string, err error) {
	var nums []string
	for _, s := range c.seconds {
		nums = append(nums, fmt.Sprint(s.from.Num))
	}
	harmless, err := state.Column(ctx, c.tx, fmt.Sprintf(`SELECT pg_describe_object(classid, objid, 0) FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = %d AND classid = 'pg_rewrite'::regclass
GROUP BY classid, objid HAVING NOT bool_or(refobjsubid = ANY (ARRAY[0, %s]))
UNION ALL SELECT 'trigger ' || quote_ident(tgname) FROM pg_trigger WHERE tgrelid = %[1]d AND NOT tgisinternal AND (tgtype & 16 = 0 OR tgattr::text <> '') AND tgname < '~'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND objid = pg_trigger.oid AND refobjid = %[1]d AND refobjsubid = ANY (ARRAY[%[2]s]))`, c.source.OID, strings.Join(nums, ", ")))
	if err != nil {
		return nil, err
	}
	name := c.plan.Table.String()
	for _, s := range c.source.Strangers {
		if !slices.Contains(harmless, s) {
			why = append(why, name+" has, or is used by, something that a second column would disturb, or that would stay with the first one: "+s)
		}
	}
	for _, k := range c.source.References {
		for _, s := range c.seconds {
			if slices.Contains(k.Refers, s.from.Name) {
				why = append(why, fmt.Sprintf("foreign key %s of %s.%s refers to column %s: both would have to change together", k.Name, k.Schema, k.Table, s.from.Name))
			}
		}
	}
	return why, nil
}

// read asks the server, on the twin that the statement left, how everything that has one of the columns reads under the names of
// the second ones.
func (c *columns) read(ctx context.Context) error {
	if c.expansion != nil && c.expansion.As == "" {
		c.speaking(c.clone, c.shadow)
		return nil
	}
	for _, s := range c.seconds {
		if _, err := c.tx.ExecContext(ctx, "ALTER TABLE "+c.rehearsal.table()+" RENAME COLUMN "+ident.Quote(s.to.Name)+" TO "+ident.Quote(s.new)); err != nil {
			return err
		}
	}
	named, err := c.planner.inspect(ctx, c.in(), c.source.Name)
	if err != nil {
		return err
	}
	c.speaking(c.shadow, named)
	if c.expansion != nil { // it keeps that name
		c.rehearsal.shadow, c.seconds[0].to = named, *named.column(c.seconds[0].to.Num)
	}
	return nil
}

// speaking finds what reads differently after a rename of the columns than before it.
func (c *columns) speaking(before, named *Relation) {
	for _, x := range named.Indexes {
		if was := before.index(x.OID); was != nil && was.Def != x.Def {
			c.indexes = append(c.indexes, x)
		}
	}
	for _, k := range named.Constraints {
		at := slices.IndexFunc(before.Constraints, func(was Constraint) bool { return was.OID == k.OID })
		if at < 0 || before.Constraints[at].Def == k.Def {
			continue
		}
		switch k.Type {
		case "c":
			c.checks = append(c.checks, k)
		case "p", "u", "x":
			c.keys = append(c.keys, k)
		}
	}
	renamed := *c.rehearsal
	renamed.shadow = named
	for _, k := range renamed.foreignKeys() {
		if slices.ContainsFunc(before.Constraints, func(was Constraint) bool { return was.OID == k.key.OID && was.Def != k.key.Def }) {
			c.foreign = append(c.foreign, k)
		}
	}
	for _, s := range named.Statistics {
		if slices.ContainsFunc(before.Statistics, func(was Statistics) bool { return was.OID == s.OID && was.Def != s.Def }) {
			c.statistics = append(c.statistics, s)
		}
	}
}

// pair says how a second column is filled.
func (c *columns) pair() schema.Pair {
	p := schema.Pair{InPlace: true, Change: c.change, Table: c.source.OID, Owner: c.source.Owner, Settings: c.rehearsal.settings,
		Source: c.plan.Table, Log: schema.Name{Schema: c.in(), Table: "failed_" + c.change}, Capture: schema.Name{Schema: c.in(), Table: "changeling_" + c.change}}
	if found, _, err := c.rehearsal.pair(); err == nil {
		p.Key = found.Key
	}
	p.Live = c.expansion != nil
	for _, s := range c.seconds {
		m := schema.Mapped{Shadow: s.new, Type: s.to.Type, Source: s.from.Name, Converted: !c.total(s), Default: s.given}
		if p.Live && s.from.Type != s.to.Type { // one of the two ways may always fail
			m.Converted, m.Was, m.Back = true, s.from.Type, c.expansion.Down
		}
		if m.Back != "" {
			p.Path = c.rehearsal.path
		}
		if using, ok := c.using[s.from.Name]; ok {
			m.Expr, p.Path = using, c.rehearsal.path
		}
		p.Columns, p.Aside = append(p.Columns, m), append(p.Aside, s.old)
	}
	return p
}

// total says that the conversion of a column never fails and keeps different values different.
func (c *columns) total(s second) bool {
	return c.widens(s) || c.using[s.from.Name] == "" && slices.Contains(firm[s.from.Type], s.to.Type) && s.to.Collation == ""
}

func (c *columns) widens(s second) bool {
	return c.using[s.from.Name] == "" && (c.expansion != nil && s.from.Type == s.to.Type || slices.Contains(wider[s.from.Type], s.to.Type))
}

// unfit says where a user's statement could fail on a second column, though the table as it is takes it.
func (c *columns) unfit(p schema.Pair) (why []string) {
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	for _, k := range c.keys {
		if inline(k) {
			add("the constraint %s cannot be built while others write", k.Name)
		}
	}
	for _, s := range c.seconds {
		if !c.widens(s) && len(c.checks) > 0 && !p.Live {
			add("the check %s could refuse a row as %s that it takes as %s", c.checks[0].Name, s.to.Type, s.from.Type)
		}
		if c.total(s) {
			continue
		}
		how := fmt.Sprintf("a value of column %s may not fit %s, and until somebody has mended it ", s.from.Name, s.to.Type)
		switch {
		case len(p.Key) == 0:
			add("%sits row must be found by a key, which the table does not have", how)
		case s.to.NotNull && !p.Live:
			add("%sthe second column is empty, which NOT NULL would refuse", how)
		case len(c.foreign) > 0 || len(c.keys) > 0:
			add("%sa key over the column could refuse what users write", how)
		case s.from.Identity != "":
			add("%sits identity cannot go over", how)
		}
		for _, x := range c.indexes {
			plain := !x.Partial && x.Method == "btree" && !x.Unique && !slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return k.Num == 0 })
			if !plain || !slices.Contains(fixed, s.to.Base) {
				add("index %s could refuse a value as %s that it takes as %s", x.Name, s.to.Type, s.from.Type)
			}
		}
	}
	for _, x := range c.indexes {
		expression := x.Partial || slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return k.Num == 0 })
		if expression && slices.ContainsFunc(c.seconds, func(s second) bool { return !c.widens(s) }) {
			add("index %s computes something from the column, which could fail for another type", x.Name)
		}
	}
	return why
}

// stable says whether the trigger and the filling come to the same value: the expression of a USING must be immutable, as for an
// index, and must not need what a row gets only after the trigger.
func (c *columns) stable(ctx context.Context, p schema.Pair) (why []string, err error) {
	for i, m := range p.Columns {
		if m.Expr == "" {
			if from := c.seconds[i].from; !c.widens(c.seconds[i]) && (from.Base == "other" || c.seconds[i].to.Base == "other") {
				why = append(why, fmt.Sprintf("the conversion of column %s to %s may be anybody's, and come to another value each time", m.Source, m.Type))
			}
			continue
		}
		if slices.ContainsFunc(c.source.Columns, func(x Column) bool { return x.Generated != "" }) {
			why = append(why, "the table has generated columns, which the USING could need before they are computed")
			continue
		}
		// On the twin as it was before the statement, whose columns have the names and types that the expression means.
		probe := "CREATE INDEX ON " + c.rehearsal.table() + " ((1)) WHERE (" + m.Expr + ") IS NOT NULL"
		for _, sql := range []string{"ROLLBACK TO changeling", theirs(c.rehearsal.path, c.user), probe} {
			if _, err := c.tx.ExecContext(ctx, sql); err != nil && sql == probe && !fault.Lost(err) && !fault.Canceled(err) {
				why = append(why, fmt.Sprintf("the USING of column %s may come to another value each time: %s", m.Source, fault.Message(err)))
			} else if err != nil {
				return nil, err
			}
		}
	}
	return why, nil
}

// tried runs all steps on the twin, and says whether they come to what the statement leaves, and whether the swap reads nothing.
func (c *columns) tried(ctx context.Context) (bool, error) {
	p := c.there()
	texts := append([]string{"ROLLBACK TO changeling", Ours()}, c.add(p)...)
	for i, x := range c.indexes {
		x.Name = c.name(kindIndex, i)
		texts = append(texts, createIndex(x, p.table))
	}
	for _, k := range c.promises() {
		texts = append(texts, "ALTER TABLE "+p.table+" ADD CONSTRAINT "+ident.Quote(k.name)+" "+k.twin+" NOT VALID")
		if k.valid {
			texts = append(texts, "ALTER TABLE "+p.table+" VALIDATE CONSTRAINT "+ident.Quote(k.name))
		}
	}
	run := func(texts []string) error {
		for _, sql := range texts {
			if _, err := c.tx.ExecContext(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
	broken := func(err error) (bool, error) {
		if fault.Lost(err) || fault.Canceled(err) {
			return false, err
		}
		_, back := c.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours())
		return false, back
	}
	if err := run(texts); err != nil {
		return broken(err)
	}
	before, err := c.reads(ctx, c.rehearsal)
	if err != nil {
		return false, err
	}
	if err := run(c.swap(p)); err != nil {
		return broken(err)
	}
	after, err := c.reads(ctx, c.rehearsal)
	if err != nil {
		return false, err
	}
	var drop []string
	for _, s := range c.seconds {
		drop = append(drop, "ALTER TABLE "+p.table+" DROP COLUMN "+ident.Quote(s.old))
	}
	if err := run(drop); err != nil {
		return broken(err)
	}
	now, err := c.planner.inspect(ctx, c.in(), c.source.Name)
	if err != nil {
		return false, err
	}
	return after <= before && now.positionless().Fingerprint() == c.shadow.positionless().Fingerprint(), nil
}

// serve makes the steps the plan.
func (c *columns) serve(pair schema.Pair) {
	p := c.plan
	var names []string
	for _, s := range c.seconds {
		names = append(names, s.to.Name)
	}
	p.Why = fmt.Sprintf("the server would rewrite the table while nobody can use it: a second column takes the place of %s. It comes last in the order of the columns, so an INSERT without a list of columns would mean others afterwards; until the old one is dropped SELECT * shows both", strings.Join(names, " and "))
	c.prepare(pair)
	p.Steps = append(p.Steps, plan.Step{Kind: plan.Hold, Name: "hold", Why: "waits for `changeling cutover` if asked to; the columns stay in step"})
	c.replace(pair, "cutover", "waits until no snapshot is left that is older than the backfill; then all names are swapped, in one transaction that reads no row",
		"when its time has come; only the catalogue changes")
}

// prepare adds the steps that make the second columns what the first are.
func (c *columns) prepare(pair schema.Pair) {
	p, here, wait := c.plan, c.here(), c.options.LockWait
	table := here.table
	p.Pair, p.Route, p.Spare = pair, plan.ShadowColumn, c.spare()
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	in := ident.Quote(c.in())
	create := slices.Concat([]string{Ours(), "CREATE SCHEMA " + in + " AUTHORIZATION " + ident.Quote(c.source.Owner),
		"COMMENT ON SCHEMA " + in + " IS " + ident.Literal("made by changeling for change "+c.change), "SET LOCAL ROLE " + ident.Quote(c.source.Owner)}, c.add(here), installColumns(pair))
	first := c.step("add column", "", "ACCESS EXCLUSIVE", table)
	first.SQL, first.Why = create, "an empty column, and a trigger that fills it in every row that is written from here on; a conversion that fails does not fail the user, and stops the change"
	add(first)
	add(plan.Step{Kind: plan.Copy, Name: "backfill", Lock: "ROW EXCLUSIVE", LockWait: wait, Why: "the rows that nobody writes, in short transactions, under the throttle; only the new column is written"})
	for i, x := range c.indexes {
		add(concurrently(c.planner, p.Table, table, x, c.name(kindIndex, i)).Step)
	}
	c.promise(false)
	add(plan.Step{Kind: plan.Loose, Name: "vacuum and analyze", SQL: []string{"VACUUM (ANALYZE) " + table}, Lock: "SHARE UPDATE EXCLUSIVE", LockWait: wait,
		Why: "what the backfill left behind, and statistics of the new column; gives way to whoever needs a stronger lock"})
	add(plan.Step{Kind: plan.Verify, Name: "verify", Why: "of every row both columns are compared"})
}

// promise adds the steps for constraints that hold from now on, or for those that hold only once nobody writes the old column any more:
// what is late could refuse a row that the old column takes.
func (c *columns) promise(late bool) {
	p, table := c.plan, c.here().table
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	for _, k := range c.promises() {
		if k.late != late {
			continue
		}
		alter, name := "ALTER TABLE "+table+" ", ident.Quote(k.name)
		lock, tables := "ACCESS EXCLUSIVE", []string{table}
		if k.parent != "" {
			lock = "SHARE ROW EXCLUSIVE on both tables"
			if k.parent != table {
				tables = append(tables, k.parent)
			}
		}
		s := c.step("promise "+k.shown, "", lock, tables...)
		s.SQL, s.Why = []string{alter + "DROP CONSTRAINT IF EXISTS " + name, alter + "ADD CONSTRAINT " + name + " " + k.def + " NOT VALID"}, "it holds for the new column from here on, as it does for the old one; nothing is read"
		add(s)
		if k.valid {
			s = c.step("validate "+k.shown, alter+"VALIDATE CONSTRAINT "+name, "SHARE UPDATE EXCLUSIVE", table)
			s.Why = "reads all rows while everybody reads and writes"
			add(s)
		}
	}
}

// replace adds the steps that put the second columns in the places of the first.
func (c *columns) replace(pair schema.Pair, name, why, whyDrop string) {
	p, here, wait := c.plan, c.here(), c.options.LockWait
	table := here.table
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	swap := slices.Concat([]string{"LOCK TABLE " + strings.Join(c.locked(), ", ") + " IN ACCESS EXCLUSIVE MODE", "DROP TRIGGER " + ident.Quote(columnTrigger(c.change)) + " ON " + table}, c.swap(here))
	add(plan.Step{Kind: plan.Cutover, Name: name, SQL: swap, Tables: lockedNames(c.locked(), schema.Pair{}), LockWait: wait, Lock: "ACCESS EXCLUSIVE", Why: why})
	add(plan.Step{Kind: plan.Release, Name: "release", SQL: releaseColumns(pair), Why: "the trigger's function and its schema"})
	add(plan.Step{Kind: plan.Drop, Name: "drop old column", SQL: []string{dropColumns(pair, pair.Aside)}, Tables: []string{table}, LockWait: wait, Lock: "ACCESS EXCLUSIVE",
		Why: whyDrop})
}

// spare is what the change needs besides: each row a second time, as the backfill writes it, and the indexes of the column.
func (c *columns) spare() int64 {
	heap := c.source.Pages * 8192
	for _, x := range c.indexes {
		at := slices.IndexFunc(c.source.Indexes, func(was Index) bool { return was.Name == x.Name })
		if at >= 0 {
			heap += c.source.Indexes[at].Bytes
		}
	}
	return heap * 11 / 10
}

// columnRoute is the plan by second columns, which was asked for.
func (w *planner) columnRoute(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	c, why, err := w.secondColumns(ctx, r)
	if err != nil {
		return nil, w.columnError(err)
	}
	if len(why) > 0 {
		return refuse(w.plan, why...), nil
	}
	c.serve(c.pair())
	return w.plan, nil
}

func (w *planner) columnError(err error) error {
	var p *fault.Problem
	if errors.As(err, &p) || fault.Lost(err) || fault.Canceled(err) {
		return err
	}
	return w.explain(err, "second columns on an empty twin of "+w.plan.Table.String())
}
