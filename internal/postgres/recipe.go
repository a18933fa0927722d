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

// act is one step of a recipe, and the statements that do to the empty twin what the step does to the table.
type act struct {
	plan.Step
	twin []string
}

// recipe plans a statement as several, none of which keeps anybody waiting for long. They are not taken from what the statement
// says but from what the server made of it: each new index, constraint and NOT NULL is made in its own way, and the clauses
// that are left over run as they are. Before anything is promised, the server runs the recipe on the twin and must end up with
// the very definition that the statement gives. It answers false where there is no such recipe.
func (w *planner) recipe(ctx context.Context, r *rehearsal) (bool, error) {
	if r.effect == Rewrites && !r.rechecked() {
		return false, nil
	}
	c := &cook{planner: w, rehearsal: r, difference: compare(r.clone, r.shadow)}
	if len(c.excludes) > 0 {
		return false, nil
	}
	if err := c.sort(); err != nil {
		return false, nil
	}
	for _, last := range []bool{true, false} {
		if last && !c.canWait() {
			continue
		}
		acts := c.acts(last)
		same, err := w.tastes(ctx, r, acts)
		if err != nil {
			return false, err
		}
		if !same {
			continue
		}
		w.serve(acts, c.summary())
		w.keyOf(r)
		return true, nil
	}
	return false, nil
}

// rechecked says that the table and its indexes keep their files.
func (r *rehearsal) rechecked() bool { return r.worst(1) != Rewrites }

// keyOf names rows for a person: which columns are their key, if they have one.
func (w *planner) keyOf(r *rehearsal) {
	if p, _, err := r.pair(); err == nil {
		w.plan.Pair.Key = p.Key
	}
}

// serve makes acts the plan.
func (w *planner) serve(acts []act, why string) {
	w.plan.Route, w.plan.Why = plan.Recipe, why
	for _, a := range acts {
		w.plan.Steps = append(w.plan.Steps, a.Step)
	}
}

// tastes runs the recipe on the twin as it was before the statement, and says whether it comes to the same, and whether no act
// that keeps others out has anything to read.
func (w *planner) tastes(ctx context.Context, r *rehearsal, acts []act) (bool, error) {
	same, err := w.swallows(ctx, r, acts)
	if err == nil || fault.Lost(err) || fault.Canceled(err) {
		return same, err
	}
	_, err = w.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours())
	return false, err
}

func (w *planner) swallows(ctx context.Context, r *rehearsal, acts []act) (bool, error) {
	// The names that are taken were taken before the savepoint.
	if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours()); err != nil {
		return false, err
	}
	for _, a := range acts {
		path := Ours()
		if a.Path != "" {
			path = theirs(a.Path, w.user)
		}
		before, err := w.reads(ctx, r)
		if err != nil {
			return false, err
		}
		for _, sql := range append([]string{path}, a.twin...) {
			if _, err := w.tx.ExecContext(ctx, sql); err != nil {
				return false, err
			}
		}
		if _, err := w.tx.ExecContext(ctx, Ours()); err != nil {
			return false, err
		}
		after, err := w.reads(ctx, r)
		if err != nil {
			return false, err
		}
		if after > before && a.Kind == plan.Exec && !strings.HasPrefix(a.Lock, "SHARE UPDATE EXCLUSIVE") {
			return false, nil
		}
	}
	now, err := w.inspect(ctx, r.in(), r.source.Name)
	if err != nil {
		return false, err
	}
	same := now.Fingerprint() == r.shadow.Fingerprint()
	err = w.look(ctx, r, func(p *part, now *Relation) { same = same && now.Fingerprint() == p.after.Fingerprint() })
	return same, err
}

// cook makes the acts of ALTER TABLE from the difference between two twins.
type cook struct {
	*planner
	*rehearsal
	difference
	rest    []string // clauses that run as they are, or what is left of them
	restRun []string // and on the twin
	replace []string // names of constraints that a new type makes the server check again
	foreign []foreignKey
}

// errNoRecipe ends the search.
var errNoRecipe = fmt.Errorf("no recipe")

// sort tells the clauses that become steps of their own from those that run as they are.
func (c *cook) sort() error {
	real, twin := c.said(), c.rehearsal.statement
	parsed, err := plan.Parse(twin, plan.PostgresSyntax())
	if err != nil || len(parsed.Clauses) != len(real.Clauses) {
		return errNoRecipe
	}
	for i, k := range real.Clauses {
		text, onTwin := k.Text, parsed.Clauses[i].Text
		switch {
		case k.Action == plan.AddConstraint && !k.NotValid && !k.NotEnforced && k.Index == "" && k.Constraint != plan.Exclude,
			k.Action == plan.SetNotNull, k.Action == plan.ValidateConstraint:
			continue
		case k.Action == plan.AddColumn && (k.Inline.Check || k.Inline.Unique || k.Inline.PrimaryKey || k.References):
			column := c.shadow.columnNamed(k.Column)
			if column == nil || column.Identity != "" || column.Generated == "s" {
				return errNoRecipe
			}
			bare := *column
			if k.Inline.PrimaryKey { // the key brings its NOT NULL, the last act makes it
				bare.NotNull, bare.NotNullName, bare.NotNullDef = false, "", ""
				c.notNull = append(c.notNull, *column)
			}
			exists := ""
			if k.IfExists {
				exists = "IF NOT EXISTS "
			}
			text = "ADD COLUMN " + exists + columnDef(c.shadow, bare, c.source.Schema)
			onTwin = "ADD COLUMN " + exists + columnDef(c.shadow, bare, c.in())
		}
		c.rest, c.restRun = append(c.rest, text), append(c.restRun, onTwin)
	}
	// A new type makes the server check again what was valid. Instead the check is dropped and comes back NOT VALID in the same
	// statement, so that it never fails to hold for what users write.
	c.checks = slices.DeleteFunc(c.checks, func(k Constraint) bool {
		was := slices.ContainsFunc(c.clone.Constraints, func(b Constraint) bool { return b.Name == k.Name && b.Type == "c" })
		dropped := slices.ContainsFunc(real.Clauses, func(d plan.Clause) bool { return d.Action == plan.DropConstraint && d.Name == k.Name })
		if !was || dropped {
			return false
		}
		drop, add := "DROP CONSTRAINT "+ident.Quote(k.Name), "ADD CONSTRAINT "+ident.Quote(k.Name)+" "+k.Def+" NOT VALID"
		c.rest = append([]string{drop}, append(c.rest, add)...)
		c.restRun = append([]string{drop}, append(c.restRun, add)...)
		c.replace = append(c.replace, k.Name)
		return true
	})
	for _, k := range c.foreignKeys() {
		if slices.ContainsFunc(c.difference.foreign, func(d Constraint) bool { return d.OID == k.key.OID }) {
			if k.Table != c.plan.Table {
				return errNoRecipe // a key of another table, which a new type makes the server check again
			}
			c.foreign = append(c.foreign, k)
		}
	}
	return nil
}

// said is the user's statement.
func (c *cook) said() plan.Statement { return c.planner.statement }

// canWait says that what is left of the statement may come last: an abort before it takes everything back. It cannot where
// the other steps need what it makes, or a name that it frees.
func (c *cook) canWait() bool {
	if len(c.rest) == 0 {
		return true
	}
	early := []plan.Action{plan.DropColumn, plan.DropConstraint, plan.DropDefault, plan.SetDefault, plan.DropNotNull, plan.SetStatistics, plan.SetTableOptions,
		plan.ResetTableOptions, plan.SetStorage, plan.SetCompression, plan.SetOptions, plan.ResetOptions, plan.AddColumn, plan.ReplicaIdentity}
	for _, k := range c.said().Clauses {
		if !slices.Contains(early, k.Action) && !slices.Contains([]plan.Action{plan.AddConstraint, plan.SetNotNull, plan.ValidateConstraint}, k.Action) {
			return false
		}
	}
	return true
}

// summary says why the statement goes this way.
func (c *cook) summary() string {
	return "the server would read all rows, or build an index, while nobody can write: the same is done in steps that let others work. " +
		"Each is saved by itself; what is done stays if the change stops between them, `changeling abort` takes it back"
}

// acts are the steps: constraints that hold for new rows, their validation, indexes, and the short last statement. What is left
// of the user's statement comes first or last.
func (c *cook) acts(restLast bool) []act {
	var out []act
	if !restLast {
		out = append(out, c.restAct()...)
	}
	out = append(out, c.promises()...)
	out = append(out, c.validations()...)
	out = append(out, c.indexes()...)
	return append(out, c.last(restLast)...)
}

// both writes a statement for the table and for its twin.
func (c *cook) both(format string, args ...any) (real, twin string) {
	only := ""
	if c.said().Only {
		only = "ONLY "
	}
	text := fmt.Sprintf(format, args...)
	return "ALTER TABLE " + only + qualified(c.plan.Table) + " " + text, "ALTER TABLE " + c.table() + " " + text
}

// alter is an act of one ALTER TABLE.
func (c *cook) alter(name, lock, why, undo, format string, args ...any) act {
	real, twin := c.both(format, args...)
	a := act{Step: c.step(name, real, lock, qualified(c.plan.Table)), twin: []string{twin}}
	a.Why = why
	if undo != "" {
		text, _ := c.both("%s", undo)
		a.Undo = []string{text}
	}
	return a
}

// restAct is what is left of the user's statement.
func (c *cook) restAct() []act {
	if len(c.rest) == 0 {
		return nil
	}
	s := c.said()
	head := s.Text[:s.Clauses[0].Start]
	var kept []plan.Clause
	for _, k := range s.Clauses {
		if slices.Contains(c.rest, k.Text) {
			kept = append(kept, k)
		}
	}
	strongest := "ACCESS EXCLUSIVE"
	if len(kept) == len(c.rest) {
		strongest = lock(kept)
	}
	a := act{Step: c.step("alter", head+strings.Join(c.rest, ", "), strongest, qualified(c.plan.Table))}
	a.Path, a.twin = c.planner.path, []string{"ALTER TABLE " + c.table() + " " + strings.Join(c.restRun, ", ")}
	a.Why = "what the server does at once, as the statement says it; an abort afterwards does not take it back"
	return []act{a}
}

// helper is the name of something that is there for a while only.
func (c *cook) helper(n int) string { return helper(c.change, n) }

func helper(change string, n int) string { return fmt.Sprintf("changeling_%s_%d", change, n) }

// named says that NOT NULL is a constraint with a name, and can be NOT VALID: from PostgreSQL 18 on.
func (c *cook) named() bool { return c.shadow.Version >= 180000 }

// promises are the constraints that hold for new rows from now on, and do not look at the others.
func (c *cook) promises() []act {
	var out []act
	const why = "from here on it holds for what users write; rows that are there are not looked at"
	for _, k := range c.checks {
		out = append(out, c.alter("add "+k.Name, "ACCESS EXCLUSIVE", why, "DROP CONSTRAINT IF EXISTS "+ident.Quote(k.Name), "ADD CONSTRAINT %s %s NOT VALID", ident.Quote(k.Name), k.Def))
	}
	for i, n := range c.notNull {
		name, def := c.helper(i+1), "CHECK ("+ident.Quote(n.Name)+" IS NOT NULL)"
		if c.named() {
			if was := c.clone.column(n.Num); was != nil && was.notNullPending() {
				continue
			}
			name, def = n.NotNullName, strings.TrimSuffix(n.NotNullDef, " NOT VALID")
		}
		out = append(out, c.alter("forbid new NULLs in "+n.Name, "ACCESS EXCLUSIVE", why, "DROP CONSTRAINT IF EXISTS "+ident.Quote(name), "ADD CONSTRAINT %s %s NOT VALID", ident.Quote(name), def))
	}
	for _, k := range c.foreign {
		if c.byParts() {
			out = append(out, c.eachPart(k, "add ", why, "SHARE ROW EXCLUSIVE on both tables")...)
			continue
		}
		a := c.alter("add "+k.Name, "SHARE ROW EXCLUSIVE on both tables", why, "DROP CONSTRAINT IF EXISTS "+ident.Quote(k.Name), "ADD CONSTRAINT %s %s NOT VALID", ident.Quote(k.Name), k.key.Def)
		a.SQL = []string{k.add()}
		if to := qualified(k.To); to != a.Tables[0] {
			a.Tables = append(a.Tables, to)
		}
		out = append(out, a)
	}
	return out
}

// validations read all rows, and let everybody work meanwhile.
func (c *cook) validations() []act {
	var out []act
	validate := func(name string, ask ...string) {
		a := c.alter("validate "+name, "SHARE UPDATE EXCLUSIVE", "reads all rows while everybody reads and writes", "", "VALIDATE CONSTRAINT %s", ident.Quote(name))
		a.Ask = ask
		out = append(out, a)
	}
	for _, k := range c.checks {
		validate(k.Name, c.offends(k)...)
	}
	for _, name := range append(slices.Clone(c.replace), c.valid...) {
		var ask []string
		for _, k := range c.shadow.Constraints {
			if k.Name == name && k.Type == "c" {
				ask = c.offends(k)
			}
		}
		validate(name, ask...)
	}
	for i, n := range c.notNull {
		name := c.helper(i + 1)
		if c.named() {
			name = n.NotNullName
		}
		if !slices.Contains(c.valid, name) {
			validate(name, c.rows(ident.Quote(n.Name)+" IS NULL"))
			out[len(out)-1].Name = "validate NOT NULL of " + n.Name // the check's name says nothing
		}
	}
	for _, k := range c.foreign {
		if c.byParts() {
			out = append(out, c.eachPart(k, "validate ", "reads all rows while everybody reads and writes", "SHARE UPDATE EXCLUSIVE on the partition, ROW SHARE on "+k.To.String())...)
			continue
		}
		to := qualified(k.To)
		if k.key.ToKind != "p" {
			to = "ONLY " + to
		}
		validate(k.Name, c.rows(orphaned(k.key, to)))
		out[len(out)-1].Lock += " on the table, ROW SHARE on " + k.To.String()
	}
	return out
}

// byParts says that a foreign key has to be made partition by partition: before PostgreSQL 18 there is no NOT VALID for a
// partitioned table.
func (c *cook) byParts() bool { return c.rehearsal.source.Kind == "p" && !c.named() }

// eachPart adds or validates a foreign key on each partition, under the name that it has there after the plain statement.
func (c *cook) eachPart(k foreignKey, what, why, lock string) []act {
	var out []act
	for _, p := range c.parts {
		at := slices.IndexFunc(p.after.Constraints, func(m Constraint) bool {
			return m.Type == "f" && slices.Equal(m.From, k.key.From) && m.ToOID == k.key.ToOID && !slices.ContainsFunc(p.before.Constraints, func(b Constraint) bool { return b.OID == m.OID })
		})
		if at < 0 {
			return nil // the recipe does not come to the same then, and is not taken
		}
		name, on, twin := ident.Quote(p.after.Constraints[at].Name), "ALTER TABLE "+qualified(p.real)+" ", "ALTER TABLE "+ident.Qualified(c.in(), p.twin)+" "
		a := act{Step: c.step(what+p.after.Constraints[at].Name+" of "+p.real.String(), on+"VALIDATE CONSTRAINT "+name, lock, qualified(p.real)), twin: []string{twin + "VALIDATE CONSTRAINT " + name}}
		if what == "add " {
			a.SQL, a.twin = []string{on + "ADD CONSTRAINT " + name + " " + k.Def + " NOT VALID"}, []string{twin + "ADD CONSTRAINT " + name + " " + k.key.Def + " NOT VALID"}
			a.Undo = []string{on + "DROP CONSTRAINT IF EXISTS " + name}
			a.Tables = append(a.Tables, qualified(k.To))
		}
		a.Why = why
		out = append(out, a)
	}
	return out
}

// offends asks for the rows that break a check.
func (c *cook) offends(k Constraint) []string {
	end := strings.LastIndex(k.Def, ")")
	if end < 0 || !strings.HasPrefix(k.Def, "CHECK (") {
		return nil
	}
	return []string{c.rows("NOT (" + k.Def[len("CHECK ("):end] + ")")}
}

// rows asks for the keys of rows d for which a condition holds.
func (c *cook) rows(condition string) string { return rowsThat(c.rehearsal, condition) }

func rowsThat(r *rehearsal, condition string) string {
	var key []string
	if p, _, err := r.pair(); err == nil {
		for _, k := range p.Key {
			key = append(key, "d."+ident.Quote(k.Source)+"::pg_catalog.text")
		}
	}
	return "SELECT pg_catalog.json_build_array(" + strings.Join(key, ", ") + ")::pg_catalog.text FROM " + ident.Qualified(r.source.Schema, r.source.Name) + " d WHERE " + condition + " LIMIT 3"
}

// indexes are those of new keys, under names of ours.
func (c *cook) indexes() []act {
	var out []act
	for i, k := range c.keys {
		x, name := *c.shadow.index(k.Index), helper(c.change, 100+i)
		if c.rehearsal.source.Kind == "p" {
			out = append(out, c.inParts(c.rehearsal, x, &k, name)...)
			continue
		}
		out = append(out, concurrently(c.planner, c.plan.Table, c.table(), x, name))
	}
	return out
}

// concurrently builds an index that a twin has on its table, under a name of ours: what is called so is ours to take away.
func concurrently(w *planner, on schema.Name, twin string, x Index, name string) act {
	shown := x.Name
	x.Name = name
	table, full := qualified(on), ident.Qualified(on.Schema, name)
	sql := createIndex(x, table)
	a := act{twin: []string{createIndex(x, twin)}}
	a.Step = plan.Step{Kind: plan.Loose, Name: "build " + shown, SQL: []string{strings.Replace(sql, " INDEX ", " INDEX CONCURRENTLY ", 1)}, Path: w.path,
		Lock: "SHARE UPDATE EXCLUSIVE", LockWait: w.options.LockWait,
		Done: indexIs(full, table, true), Undo: []string{"DROP INDEX CONCURRENTLY IF EXISTS " + full},
		Why: "reads the table twice while everybody reads and writes, and waits for transactions that are older; what a failed try leaves over is dropped"}
	if x.Unique {
		a.Why += ". From its second reading on it refuses duplicates that users write"
	}
	return a
}

// indexIs asks whether an index is there, on its table, and fit for use or not.
func indexIs(name, table string, valid bool) string {
	fit := "i.indisvalid AND i.indisready AND i.indislive"
	if !valid {
		fit = "NOT i.indisvalid"
	}
	return "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass(" + ident.Literal(name) + ") AND i.indrelid = pg_catalog.to_regclass(" + ident.Literal(table) + ") AND " + fit + ")"
}

// last is the act that makes everything what the statement says, in one transaction.
func (c *cook) last(withRest bool) []act {
	var real, twin []string
	add := func(format string, args ...any) {
		r, t := c.both(format, args...)
		real, twin = append(real, r), append(twin, t)
	}
	if !c.named() {
		for i, n := range c.notNull {
			add("ALTER COLUMN %s SET NOT NULL", ident.Quote(n.Name))
			add("DROP CONSTRAINT %s", ident.Quote(c.helper(i+1)))
		}
	}
	var using []string
	for i, k := range c.keys {
		if c.rehearsal.source.Kind == "p" {
			break // made with its partitions
		}
		kind := "UNIQUE"
		if k.Type == "p" {
			kind = "PRIMARY KEY"
		}
		text := "ADD CONSTRAINT " + ident.Quote(k.Name) + " " + kind + " USING INDEX " + ident.Quote(helper(c.change, 100+i))
		if k.Deferable {
			text += " DEFERRABLE"
		}
		if k.Deferred {
			text += " INITIALLY DEFERRED"
		}
		using = append(using, text)
	}
	if c.byParts() {
		for _, k := range c.foreign { // it takes over the keys of the partitions, and reads nothing
			add := "ADD CONSTRAINT " + ident.Quote(k.Name) + " "
			real, twin = append(real, "ALTER TABLE "+qualified(c.plan.Table)+" "+add+k.Def), append(twin, "ALTER TABLE "+c.table()+" "+add+k.key.Def)
		}
	}
	rest := withRest && len(c.rest) > 0
	switch {
	case rest:
		// One statement, so that a key that is replaced is never missing.
		s := c.said()
		real = append(real, s.Text[:s.Clauses[0].Start]+strings.Join(append(slices.Clone(c.rest), using...), ", "))
		twin = append(twin, "ALTER TABLE "+c.table()+" "+strings.Join(append(slices.Clone(c.restRun), using...), ", "))
	case len(using) > 0:
		add("%s", strings.Join(using, ", "))
	}
	if len(real) == 0 {
		return nil
	}
	a := act{Step: c.step("finish", "", "ACCESS EXCLUSIVE", c.tables()...), twin: twin}
	a.SQL, a.Why = real, "the rows are known to be right, so that only the catalogue changes: all of it in one transaction"
	if rest {
		a.Path = c.planner.path
	}
	return []act{a}
}
