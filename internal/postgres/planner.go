package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// pinned is the search path of everything that is not the user's own text. pg_temp stands last, so that nobody's
// temporary table can take a name.
const pinned = "pg_catalog, pg_temp"

// Options are the choices that a plan depends on.
type Options struct {
	ID       string        // of the change; the names of its schemas come from it
	LockWait time.Duration // bound of every wait for a lock
	Route    plan.Route    // the way that the change must go, if there is one; empty: the planner chooses
	UndoLog  int64         // the change is to be undone for a while, with a log of so many bytes; zero: it is not
	Kin      []uint32      // tables that are swapped together with this one, whose foreign keys to and from it are none of the plan's
}

// Plan finds out what the server does with a statement, and how the change goes. It changes nothing: what it tries, it
// tries on an empty twin in a transaction that is rolled back. Errors carry a fault.Kind.
func Plan(ctx context.Context, db *sql.DB, text string, o Options) (*plan.Plan, error) {
	s, err := plan.Parse(text, plan.PostgresSyntax())
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("%v: give one DDL statement; nothing was changed", err), Err: err}
	}
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: s.Text, Table: s.Table}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	// A rehearsal leaves nothing behind, however it ends.
	defer tx.Rollback()
	w := &planner{tx: tx, statement: s, options: o, plan: p, others: map[schema.Name]*Relation{}}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	switch {
	case s.Verb == "ALTER TABLE" && s.Table.Table != "":
		return w.alterTable(ctx)
	case (s.Verb == "CREATE INDEX" || s.Verb == "CREATE UNIQUE INDEX") && s.Table.Table != "":
		return w.createIndex(ctx)
	}
	return w.other(ctx)
}

func refuse(p *plan.Plan, why ...string) *plan.Plan {
	p.Route, p.Refusals = plan.Refuse, why
	p.Why = why[0]
	return p
}

type planner struct {
	tx        *sql.Tx
	statement plan.Statement
	options   Options
	plan      *plan.Plan
	path      string
	short     bool                      // the table's name without a schema finds it
	user      map[string]string         // settings that his conversions depend on
	by        *Partitioning             // what the table is to be partitioned by; nil: as it is
	kept      *Partitioning             // what it is partitioned by, should it need a second table
	expansion *Expansion                // both columns are to be in use for a while; nil: one takes the place of the other
	others    map[schema.Name]*Relation // tables that the statement refers to, by the name that it gives them
}

// begin notes what of the user's session his statement depends on.
func (w *planner) begin(ctx context.Context) error {
	if _, err := w.tx.ExecContext(ctx, keepPlans); err != nil {
		return err
	}
	// "$user" would mean another schema as soon as the table's owner runs the statement. An empty path is one as well, but not an empty name in quotes.
	if err := w.tx.QueryRowContext(ctx, `SELECT coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(s), ', ' ORDER BY n), '''''')
FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY u(s, n) WHERE s NOT LIKE 'pg\_temp%'`).Scan(&w.path); err != nil {
		return err
	}
	return w.remember(ctx)
}

// altered finds the statement's table and reads its definition. It answers nil where there is none and the plan says so.
func (w *planner) altered(ctx context.Context) (*Relation, error) {
	name, oid, err := Resolve(ctx, w.tx, w.statement.Table)
	var none ErrNoTable
	if errors.As(err, &none) {
		if w.statement.IfExists && w.statement.Verb == "ALTER TABLE" {
			w.plan.Route, w.plan.Why = plan.Direct, fmt.Sprintf("table %s does not exist, and the statement says IF EXISTS: there is nothing to do", w.statement.Table)
			return nil, nil
		}
		return nil, &fault.Problem{Kind: fault.Usage, Text: err.Error(), Err: err}
	}
	if err != nil {
		return nil, err
	}
	var here string
	if err := w.tx.QueryRowContext(ctx, "SELECT pg_catalog.current_database()").Scan(&here); err != nil {
		return nil, err
	}
	if in := w.statement.Database; in != "" && in != here {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the statement names a table of the database %s, and this connection is to %s: connect to that one. Nothing was changed", in, here)}
	}
	w.plan.Table = name
	if _, found, err := Resolve(ctx, w.tx, schema.Name{Table: name.Table}); err == nil {
		w.short = found == oid
	} else if !errors.As(err, &none) {
		return nil, err
	}
	found := map[schema.Name]uint32{}
	for _, c := range w.statement.Clauses {
		if !c.References && !slices.Contains(joining, c.Action) || c.Other.Table == "" {
			continue
		}
		if _, found[c.Other], err = Resolve(ctx, w.tx, c.Other); err != nil && !errors.As(err, &none) {
			return nil, err
		}
	}
	if _, err := w.tx.ExecContext(ctx, w.settings()); err != nil {
		return nil, err
	}
	for other, id := range found {
		if id == oid || id == 0 { // the table itself is its own twin; what is not there, the server says
			continue
		}
		if w.others[other], err = Inspect(ctx, w.tx, id); err != nil {
			return nil, err
		}
	}
	source, err := Inspect(ctx, w.tx, oid)
	if err != nil {
		return nil, err
	}
	if source.Kind == "p" {
		if err := w.tx.QueryRowContext(ctx, `SELECT pg_get_partkeydef($1::bigint::oid)`, int64(oid)).Scan(&source.Partition); err != nil {
			return nil, err
		}
	}
	w.plan.Rows, w.plan.Bytes, w.plan.Fingerprint = source.Rows, source.Bytes, source.Fingerprint()
	w.plan.Heap = min(source.Pages*8192, source.Bytes)
	w.plan.Pair = schema.Pair{Source: name, Table: oid, Owner: source.Owner, Settings: w.user}
	return source.apart(w.options.Kin), nil
}

// alterTable plans ALTER TABLE.
func (w *planner) alterTable(ctx context.Context) (*plan.Plan, error) {
	source, err := w.altered(ctx)
	if err != nil || source == nil {
		return w.plan, err
	}
	if missing := missing(source, w.statement); missing != "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: missing + ". Nothing was changed"}
	}
	w.plan.Effect = string(AtOnce)
	if w.catalogueOnly() {
		return w.direct("every clause only changes the catalogue: the server does it at once under a short lock"), nil
	}
	why := untouchable(source)
	if len(why) > 0 && source.Kind != "p" {
		return refuse(w.plan, why...), nil
	}
	refusals, err := w.refusals(ctx, source)
	if err != nil {
		return nil, err
	}
	if len(w.statement.Clauses) == 1 && w.statement.Clauses[0].Action == plan.DetachPartition && w.statement.Clauses[0].Concurrently {
		return w.detach(ctx)
	}
	r, err := w.rehearse(ctx, source)
	if source.Kind == "p" {
		refusals, err = w.keeping(ctx, source, r, err)
	}
	if err != nil && len(refusals) > 0 && !fault.Lost(err) && !fault.Canceled(err) {
		return refuse(w.plan, refusals...), nil // what stands in the way of a twin has a name
	}
	if err != nil {
		return nil, err
	}
	w.plan.Effect, w.plan.Checks = string(r.effect), w.questions(r)
	p, err := w.chooseWay(ctx, r, append(refusals, r.stuck...))
	if err != nil {
		return nil, err
	}
	switch p.Route {
	case plan.ShadowTable, plan.ShadowColumn:
		p.LookFirst()
	default: // nothing is converted
		p.Checks = slices.DeleteFunc(p.Checks, func(q plan.Question) bool { return q.Tries })
	}
	return p, nil
}

// chooseWay plans a statement that was rehearsed, by the lightest way that there is.
func (w *planner) chooseWay(ctx context.Context, r *rehearsal, refusals []string) (_ *plan.Plan, err error) {
	if w.plan.Ways, err = w.ways(ctx, r, refusals); err != nil {
		return nil, err
	}
	switch {
	case w.options.Route == plan.Direct && r.effect != AtOnce:
		return w.direct(fmt.Sprintf("asked for: the server does a %s of the table, and keeps others waiting as long as it lasts", r.effect)), nil
	case w.options.Route == plan.ShadowColumn && r.effect == Rewrites:
		return w.columnRoute(ctx, r)
	case w.options.Route == plan.ShadowTable && len(refusals) > 0:
		return refuse(w.plan, refusals...), nil
	case w.options.Route == plan.ShadowTable:
		return w.second(ctx, r)
	case r.effect == AtOnce:
		return w.direct("rehearsed on an empty twin: the server keeps the table's files, builds no index and checks no rows"), nil
	}
	for _, way := range []func(context.Context, *rehearsal) (bool, error){w.attach, w.fill, w.recipe} {
		if done, err := way(ctx, r); err != nil || done {
			return w.plan, err
		}
	}
	if len(refusals) > 0 {
		if slices.ContainsFunc(w.plan.Ways, func(o plan.Way) bool { return o.Route == plan.ShadowColumn && o.Why == "" }) {
			refusals = append(refusals, "a second column in the same table would do: --route column. The new column then comes last in the order of the table")
		}
		return refuse(w.plan, refusals...), nil
	}
	return w.second(ctx, r)
}

// second plans a second table for a statement that was rehearsed.
func (w *planner) second(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	if r.source.Kind == "p" {
		if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT whole"); err != nil {
			return nil, err
		}
		twin, why, err := w.keptParts(ctx, r.source)
		if err != nil {
			return nil, err
		}
		if len(why) > 0 {
			return refuse(w.plan, why...), nil
		}
		r = twin
	}
	if err := w.constants(ctx, r); err != nil {
		return nil, err
	}
	return w.shadowTable(ctx, r)
}

func (w *planner) settings() string {
	return fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = 0; SET LOCAL row_security = off; %s", max(w.options.LockWait.Milliseconds(), 1), Ours())
}

// remember notes the settings of the user's session that his conversions depend on.
func (w *planner) remember(ctx context.Context) error {
	w.user = map[string]string{}
	for name := range conversions {
		var value string
		if err := w.tx.QueryRowContext(ctx, "SELECT pg_catalog.current_setting($1::text)", name).Scan(&value); err != nil {
			return err
		}
		w.user[name] = value
	}
	return nil
}

// ownersRights are the privileges that the owner of a table needs for a change and does not have.
func (w *planner) ownersRights(ctx context.Context, oid uint32) ([]string, error) {
	var list string
	err := w.tx.QueryRowContext(ctx, `SELECT coalesce(string_agg(p, ' '), '') FROM pg_class c, unnest(ARRAY['SELECT', 'TRIGGER']) p
WHERE c.oid = $1::bigint::oid AND NOT has_table_privilege(c.relowner, c.oid, p)`, int64(oid)).Scan(&list)
	return strings.Fields(list), err
}

// instant are the actions that never read or rewrite rows, in any version from 14 on (manual, ALTER TABLE, Notes).
var instant = []plan.Action{plan.DropColumn, plan.SetDefault, plan.DropDefault, plan.DropNotNull, plan.DropConstraint, plan.RenameColumn,
	plan.RenameConstraint, plan.RenameTable, plan.SetSchema, plan.OwnerTo, plan.SetStatistics, plan.SetStorage, plan.SetCompression,
	plan.SetOptions, plan.ResetOptions, plan.SetTableOptions, plan.ResetTableOptions, plan.ClusterOn, plan.SetWithoutCluster, plan.ReplicaIdentity,
	plan.EnableTrigger, plan.DisableTrigger, plan.EnableRule, plan.DisableRule, plan.RowSecurity, plan.NoInherit, plan.DropIdentity, plan.DropExpression}

func (w *planner) catalogueOnly() bool {
	return len(w.statement.Clauses) > 0 && !slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool { return !slices.Contains(instant, c.Action) })
}

// joining are the actions that make another table a part of this one, or take it out.
var joining = []plan.Action{plan.AttachPartition, plan.DetachPartition, plan.Inherit, plan.NoInherit}

// direct is the plan for what the server does at once.
func (w *planner) direct(why string) *plan.Plan {
	p := w.plan
	p.Route, p.Why = plan.Direct, why
	p.Steps = []plan.Step{w.step("alter", w.statement.Text, lock(w.statement.Clauses), w.tables()...)}
	p.Steps[0].Path = w.path
	p.Steps[0].Why = "the statement as it is, with a bounded wait for its lock, tried again if the lock is not to be had"
	return p
}

// step is a statement in a transaction, with a bounded wait for its lock, after a look at who holds the tables.
func (w *planner) step(name, sql, lock string, tables ...string) plan.Step {
	return plan.Step{Kind: plan.Exec, Name: name, SQL: []string{sql}, LockWait: w.options.LockWait, Lock: lock, Tables: tables}
}

// tables are those that the statement locks.
func (w *planner) tables() []string {
	out := []string{qualified(w.plan.Table)}
	for _, other := range w.others {
		out = append(out, ident.Qualified(other.Schema, other.Name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// rehearse runs the statement on an empty twin under the same names and looks at what the server did.
func (w *planner) rehearse(ctx context.Context, source *Relation) (*rehearsal, error) {
	r := &rehearsal{source: source, change: w.options.ID, path: w.path, settings: w.user, using: map[string]string{}, constants: map[string]string{}}
	for _, c := range w.statement.Clauses {
		if c.Action == plan.DropConstraint {
			r.dropped = append(r.dropped, c.Name)
		}
		if c.Action == plan.AlterType && c.Using != "" {
			r.using[c.Column] = forClone(c.Using, source, r.in(), false, nil)
		}
	}
	var clone []string
	model := source
	if r.by = w.by; r.by.makes() {
		model = r.by.whole(source)
	}
	clone, r.twins = cloneSQL(model, r.in())
	r.create = append(makeSchemas(r), clone...)
	if err := w.partitions(ctx, r); err != nil {
		return nil, err
	}
	refers := map[schema.Name]string{}
	r.parents = map[string]schema.Name{}
	for name, other := range w.others {
		if name, done := w.joins(r, name, other); done {
			refers[name] = ident.Qualified(r.in(), r.parts[slices.IndexFunc(r.parts, func(p part) bool { return p.real == schema.Name{Schema: other.Schema, Table: other.Name} })].twin)
			continue
		}
		twin := fmt.Sprintf("parent_%d", other.OID)
		if _, made := r.parents[twin]; !made {
			r.create = append(r.create, parentTwin(other, r.in(), twin)...)
		}
		refers[name], r.parents[twin] = ident.Qualified(r.in(), twin), schema.Name{Schema: other.Schema, Table: other.Name}
	}
	for _, sql := range r.create {
		if _, err := w.tx.ExecContext(ctx, sql); err != nil {
			return nil, w.explain(err, "making an empty twin of "+w.plan.Table.String())
		}
	}
	err := w.viewTwins(ctx, r)
	if err == nil {
		err = w.publicationTwins(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	if r.clone, err = w.inspect(ctx, r.in(), source.Name); err != nil {
		return nil, err
	}
	if err := w.look(ctx, r, func(p *part, now *Relation) { p.before = now }); err != nil {
		return nil, err
	}
	r.stuck = append(r.stuck, r.securedByTrigger()...)
	if err := w.tx.QueryRowContext(ctx, `SELECT coalesce(json_agg(relname), '[]')::text FROM pg_class WHERE relnamespace = $1::text::regnamespace`, ident.Quote(r.in())).Scan((*names)(&r.had)); err != nil {
		return nil, err
	}
	text := w.statement.Retarget(ident.Qualified(r.in(), source.Name))
	if w.statement.Verb != "ALTER TABLE" {
		text = plainly(text)
	}
	if r.statement = forClone(text, source, r.in(), w.short, refers); w.statement.Verb == "ALTER TABLE" && len(w.statement.Clauses) == 0 {
		r.statement = noChange
	}
	if r.by.keeps() && len(r.by.each) > 0 {
		r.statement = r.forEach()
	}
	if r.by.makes() {
		r.statement = strings.Join(r.by.make(source, r.in()), ";\n")
	}
	if err := w.alter(ctx, r); err != nil {
		return nil, err
	}
	r.publicationsAfter()
	if err := w.numbered(ctx, r); err != nil {
		return nil, err
	}
	return r, w.viewsAfter(ctx, r)
}

func makeSchemas(r *rehearsal) []string {
	var out []string
	for _, name := range []string{r.in(), r.old()} {
		out = append(out, "CREATE SCHEMA "+ident.Quote(name)+" AUTHORIZATION "+ident.Quote(r.source.Owner),
			"COMMENT ON SCHEMA "+ident.Quote(name)+" IS "+ident.Literal("made by changeling for change "+r.change))
	}
	return append(out, "SET LOCAL ROLE "+ident.Quote(r.source.Owner))
}

func (w *planner) inspect(ctx context.Context, in, name string) (*Relation, error) {
	_, oid, err := Resolve(ctx, w.tx, schema.Name{Schema: in, Table: name})
	if err != nil {
		return nil, err
	}
	r, err := Inspect(ctx, w.tx, oid)
	if err == nil {
		r.together = w.by != nil
	}
	return r, err
}

// explain sorts an error of the rehearsal.
func (w *planner) explain(err error, doing string) error {
	kind := fault.Usage
	switch {
	case fault.Denied(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"%s: %s. The role needs: CREATE on the database, membership in the role that owns the table and in those that granted rights on it, and CREATE on the table's schema "+
				"(GRANT CREATE ON DATABASE … TO …; GRANT <owner> TO …), and USAGE, as the owner, on the schemas that triggers, policies and defaults speak of. Nothing was changed", doing, fault.Message(err))}
	case fault.Code(err) == "25006":
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf("%s: %s: connect to the primary, as a role and to a database without default_transaction_read_only; "+
			"`changeling doctor` says which it is. Nothing was changed", doing, fault.Message(err))}
	case fault.LockTimeout(err):
		return &fault.Problem{Kind: fault.NoCutover, Err: err, Text: doing + ": a lock was not to be had in time; try again. Nothing was changed"}
	case fault.Lost(err), fault.Transient(err), fault.Canceled(err):
		return err
	case fault.Code(err) == "0A000":
		kind = fault.Refused
	}
	text := fmt.Sprintf("%s: the server says: %s", doing, fault.Message(err))
	if d := fault.Detail(err); d != "" {
		text += " (" + d + ")"
	}
	return &fault.Problem{Kind: kind, Err: err, Text: text + ". Nothing was changed"}
}

// shadowTable is the program of a change by a second table.
func (w *planner) shadowTable(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	p := w.plan
	if len(r.stuck) > 0 {
		return refuse(p, r.stuck...), nil
	}
	pair, helper, err := r.pair()
	var noKey errNoKey
	if errors.As(err, &noKey) {
		return refuse(p, noKey.reason), nil
	}
	if err != nil {
		return nil, err
	}
	for _, k := range pair.Key {
		if k.Expr != "" {
			if err := w.keyExpression(r, pair, k); err != nil {
				return refuse(p, err.Error()), nil
			}
		}
	}
	if why, err := w.unsteady(ctx, r); err != nil || why != "" {
		return refuse(p, why), err
	}
	for _, q := range r.source.Sequences {
		if !q.Internal && q.Users > 0 && r.target(r.source.columnNamed(q.Column).Num) == nil {
			return refuse(p, fmt.Sprintf("the statement drops column %s, and its sequence %s.%s is used by something else: ALTER SEQUENCE … OWNED BY NONE first, to keep it", q.Column, q.Schema, q.Name)), nil
		}
	}
	pair.Mirrored = r.mirrors()
	keys := r.foreignKeys()
	p.Pair, p.Route = pair, plan.ShadowTable
	p.Why = "the server would rewrite or scan the table while nobody can use it: the rows go to a second table that takes its place"
	p.Spare = r.source.Bytes * 12 / 10
	wait := w.options.LockWait
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	// The user's statement is read under his own path; the rest is qualified.
	var take, leave []string
	for i, t := range r.taken {
		take, leave = append(take, t.take(r.in(), i)), append(leave, t.leave(r.in(), i))
	}
	create := slices.Concat([]string{Ours()}, r.create, take, []string{theirs(r.path, r.settings), r.statement, Ours()}, leave, r.rights, r.strip())
	add(plan.Step{Kind: plan.Exec, Name: "create shadow", SQL: create, LockWait: wait, Lock: "ACCESS SHARE",
		Why: "an empty twin under the same names, changed by the statement itself, bare for the copy"})
	add(plan.Step{Kind: plan.Capture, Name: "install capture", SQL: installCapture(pair, wait), Role: pair.Owner, LockWait: wait, Lock: "SHARE ROW EXCLUSIVE", Done: armed(pair),
		Why: "from here on the keys of changed rows are logged; waits for open writers"})
	add(plan.Step{Kind: plan.Copy, Name: "copy rows", SQL: r.bareAgain(helper), Lock: "ACCESS SHARE", LockWait: wait, Why: "in short transactions, in the order of the heap, under the throttle"})
	add(plan.Step{Kind: plan.Heal, Name: "heal", Why: "rows that changed during the copy are taken out again, so that what is left is consistent and no unique index can fail"})
	for _, s := range r.builds(pair, helper) {
		add(s)
	}
	add(plan.Step{Kind: plan.Exec, Name: "complete shadow", SQL: r.finish(), Ask: r.offenders(pair), Role: pair.Owner, Why: "constraints, settings and comments, as the statement leaves them"})
	add(plan.Step{Kind: plan.Drain, Name: "drain", Why: "rows that changed meanwhile are copied again, until little is left"})
	add(plan.Step{Kind: plan.Loose, Name: "vacuum and analyze", SQL: []string{"VACUUM (ANALYZE) " + qualified(pair.Shadow)},
		Why: "statistics and visibility map for the first query after the swap"})
	add(plan.Step{Kind: plan.Verify, Name: "verify", Why: "every row is compared, in one snapshot a chunk, without the keys that are pending in it"})
	for _, s := range r.orphans(pair, keys) {
		add(s)
	}
	dropLock := "ACCESS EXCLUSIVE on the old table"
	release, drop, swap := releaseSQL(pair), []string{"DROP TABLE IF EXISTS " + qualified(pair.Old)}, r.swap(pair, keys, helper)
	if w.options.UndoLog > 0 {
		if p.Undo, p.NoUndo, err = w.undo(ctx, r, pair, helper, keys); err != nil {
			return nil, err
		}
	}
	if p.Undo == nil {
		release, drop = append(release, "DROP SCHEMA IF EXISTS "+ident.Quote(pair.Shadow.Schema)), append(drop, "DROP SCHEMA IF EXISTS "+ident.Quote(pair.Old.Schema))
	} else {
		add(plan.Step{Kind: plan.Exec, Name: "prepare undo", SQL: prepareUndo(p.Undo.Pair, pair.Shadow), Role: pair.Owner, LockWait: wait,
			Why: "the log of what is written after the swap, so that it can be taken back"})
		swap = append(swap, arm(p.Undo.Pair)...)
		drop = append(append(drop, dropUndo(pair.Change)...), dropPlaces(pair)...)
		dropLock += ", and on the new one to take two triggers off"
	}
	add(plan.Step{Kind: plan.Hold, Name: "hold", Why: "waits for `changeling cutover` if asked to, and stays in step"})
	add(plan.Step{Kind: plan.Cutover, Name: "cutover", SQL: swap, Tables: append(viewNames(r.views), lockedNames(r.locked(keys, pair), pair)...), LockWait: wait, Lock: "ACCESS EXCLUSIVE",
		Why: swapping(pair)})
	for _, k := range validations(keys) {
		p.Steps = append(p.Steps, w.validate(k, pair.ShadowParts)...)
	}
	add(plan.Step{Kind: plan.Release, Name: "release", SQL: release, Why: "the key log, the trigger's function and their schema"})
	add(plan.Step{Kind: plan.Drop, Name: "drop old table", SQL: drop, LockWait: wait, Lock: dropLock,
		Done: "SELECT pg_catalog.to_regclass(" + ident.Literal(qualified(pair.Old)) + ") IS NULL", Why: "when its time has come"})
	return p, nil
}

func releaseSQL(p schema.Pair) []string {
	return []string{
		"DROP TABLE IF EXISTS " + qualified(p.Log) + ", " + qualified(p.Checks) + dropAlive(p) + dropKnown(p),
		"DROP FUNCTION IF EXISTS " + qualified(p.Capture) + "()",
		"DROP FUNCTION IF EXISTS " + ident.Qualified(p.Log.Schema, guard(p)) + "()",
	}
}

// dropPlaces takes away the schemas of a change, which are empty by then.
func dropPlaces(p schema.Pair) []string {
	return []string{"DROP SCHEMA IF EXISTS " + ident.Quote(p.Shadow.Schema), "DROP SCHEMA IF EXISTS " + ident.Quote(p.Old.Schema)}
}

// Abandon takes away what a change made before its cutover. Each list is a transaction; each may run twice. The first
// takes no lock on the source, the second needs ACCESS EXCLUSIVE for a moment.
func Abandon(p schema.Pair) (quiet, triggers, rest []string) {
	rest = append([]string{"DROP TABLE IF EXISTS " + qualified(p.Shadow)}, dropUndo(p.Change)...)
	rest = append(append(rest, releaseSQL(p)...), dropPlaces(p)...)
	return []string{quieten(p)}, []string{dropTriggers(p)}, rest
}

// Fingerprint identifies a table's definition: columns, indexes, constraints, rights, settings and what hangs on it, but
// nothing that data or maintenance change. Two definitions that a dump shows alike have one fingerprint.
func (r *Relation) Fingerprint() string {
	c := *r
	c.OID, c.Version, c.Pages, c.Rows, c.Bytes, c.FileNode, c.Partition = 0, 0, 0, 0, 0, 0, "" // what a table is partitioned by nobody can alter
	c.Indexes = slices.Clone(r.Indexes)
	for i := range c.Indexes {
		c.Indexes[i].OID, c.Indexes[i].Bytes, c.Indexes[i].FileNode, c.Indexes[i].Parent = 0, 0, 0, 0
	}
	for _, list := range []*[]Constraint{&c.Constraints, &c.References} {
		*list = slices.Clone(*list)
		for i := range *list {
			(*list)[i].OID, (*list)[i].Index, (*list)[i].TableOID, (*list)[i].ToOID = 0, 0, 0, 0
		}
	}
	c.Statistics, c.Sequences, c.Views = slices.Clone(r.Statistics), slices.Clone(r.Sequences), slices.Clone(r.Views)
	for i := range c.Views {
		c.Views[i].OID, c.Views[i].Stranger, c.Views[i].Shut = 0, false, false
	}
	c.Publications = slices.Clone(r.Publications)
	for i := range c.Publications {
		c.Publications[i].Stranger = false
	}
	for i := range c.Statistics {
		c.Statistics[i].OID = 0
	}
	for i := range c.Sequences {
		c.Sequences[i].OID = 0
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

// names scans a JSON array of texts.
type names []string

func (n *names) Scan(v any) error {
	switch v := v.(type) {
	case string:
		return json.Unmarshal([]byte(v), (*[]string)(n))
	case []byte:
		return json.Unmarshal(v, (*[]string)(n))
	}
	return fmt.Errorf("names came as %T", v)
}
