package postgres

import (
	"context"
	"database/sql"
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

// Stage plans a statement in two stages. DROP TABLE puts the table aside, from where it can be brought back, and drops it later. ALTER
// TABLE … RENAME TO leaves a view under the old name, which goes later. It changes nothing. Errors carry a fault.Kind.
func Stage(ctx context.Context, db *sql.DB, s plan.Statement, o Options) (*plan.Plan, error) {
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: s.Text, Table: s.Table, Effect: string(AtOnce)}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // it only reads
	w := &planner{tx: tx, statement: s, options: o, plan: p}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	if s.Verb == "DROP TABLE" {
		return w.dropLater(ctx)
	}
	return w.cover(ctx)
}

// staged reads the table of a statement in stages. It answers nil where there is none and the plan says so.
func (w *planner) staged(ctx context.Context, n schema.Name) (*Relation, error) {
	name, oid, err := Resolve(ctx, w.tx, n)
	var none ErrNoTable
	if errors.As(err, &none) {
		if w.statement.IfExists {
			w.plan.Route, w.plan.Why = plan.Direct, fmt.Sprintf("table %s does not exist, and the statement says IF EXISTS: there is nothing to do", n)
			return nil, nil
		}
		return nil, &fault.Problem{Kind: fault.Usage, Text: err.Error() + ". Nothing was changed", Err: err}
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.tx.ExecContext(ctx, w.settings()); err != nil {
		return nil, err
	}
	r, err := Inspect(ctx, w.tx, oid)
	if err != nil {
		return nil, err
	}
	p := w.plan
	p.Table, p.Rows, p.Bytes, p.Fingerprint = name, r.Rows, r.Bytes, r.Fingerprint()
	p.Heap = min(r.Pages*8192, r.Bytes)
	p.Pair = schema.Pair{Change: w.options.ID, Source: name, Table: oid, Owner: r.Owner, Settings: w.user}
	var creates, owns bool
	if err := w.tx.QueryRowContext(ctx, `SELECT has_database_privilege(current_database(), 'CREATE'), pg_has_role($1::text, 'USAGE')`, r.Owner).Scan(&creates, &owns); err != nil {
		return nil, err
	}
	if !owns || !creates && w.statement.Verb == "DROP TABLE" {
		return nil, &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("the role needs CREATE on the database, for a place of its own, and what the owner of %s may do: GRANT CREATE ON DATABASE … TO …; GRANT %s TO …. Nothing was changed", name, ident.Quote(r.Owner))}
	}
	return r, nil
}

// aside is the step that puts something out of the way: the first statement takes the lock, then the questions are asked, and what they
// answer is why nothing is done.
func (w *planner) aside(name, why string, tables, sql, ask []string) plan.Step {
	return plan.Step{Kind: plan.Aside, Name: name, SQL: sql, Ask: ask, Tables: tables, LockWait: w.options.LockWait, Lock: "ACCESS EXCLUSIVE", Why: why}
}

// back is the plan that brings back what was put aside.
func (w *planner) back(steps ...plan.Step) *plan.Plan {
	p := w.plan
	return &plan.Plan{Format: plan.Format, ID: p.ID, Statement: p.Statement, Table: p.Table, Route: plan.Recipe, Why: "taken back", Pair: p.Pair, Steps: steps, Rows: p.Rows, Bytes: p.Bytes, Heap: p.Heap}
}

// dropLater plans DROP TABLE in stages.
func (w *planner) dropLater(ctx context.Context) (*plan.Plan, error) {
	s, p := w.statement, w.plan
	if len(s.Objects) != 1 {
		return refuse(p, "one table at a time is put aside: drop them by statements of their own"), nil
	}
	if s.Cascade {
		return refuse(p, "CASCADE drops what depends on the table too, and that could not be brought back: drop it by itself first, and then the table without CASCADE"), nil
	}
	r, err := w.staged(ctx, s.Objects[0])
	if r == nil {
		return p, err
	}
	if why := append(immovable(r), r.namesakes()...); len(why) > 0 {
		return refuse(p, why...), nil
	}
	name, in := p.Table, "changeling_"+w.options.ID+"_old"
	p.Pair.Old = schema.Name{Schema: in, Table: name.Table}
	users, err := w.dependants(ctx, r.OID)
	if err != nil {
		return nil, err
	}
	for i := range users {
		users[i] = "the server would not drop " + name.String() + " without CASCADE, because of what depends on it: " + users[i]
	}
	for _, q := range r.Publications {
		if why := q.why(); why != "" {
			users = append(users, fmt.Sprintf("%s is in %s, which would go on to publish it under another name (%s)", name, q.Said, why))
		}
	}
	if len(users) > 0 {
		return refuse(p, users...), nil
	}
	seen, err := w.seen(ctx, r.OID)
	if err != nil {
		return nil, err
	}
	table, old := qualified(name), qualified(p.Pair.Old)
	locked := []string{table}
	away := []string{"LOCK TABLE ONLY " + table + " IN ACCESS EXCLUSIVE MODE"}
	home := []string{"LOCK TABLE ONLY " + old + " IN ACCESS EXCLUSIVE MODE", "ALTER TABLE " + old + " SET SCHEMA " + ident.Quote(name.Schema)}
	away = append(away, "CREATE SCHEMA "+ident.Quote(in), "COMMENT ON SCHEMA "+ident.Quote(in)+" IS "+ident.Literal("made by changeling for change "+w.options.ID))
	keys, checks := w.ownKeys(r)
	for _, k := range keys {
		away = append(away, "ALTER TABLE "+table+" DROP CONSTRAINT "+ident.Quote(k.Name))
		if to := qualified(k.To); k.To != name {
			locked = append(locked, to)
		}
	}
	away = append(append(away, unpublish(r.publications(), table)...), "ALTER TABLE "+table+" SET SCHEMA "+ident.Quote(in))
	for _, x := range r.Statistics {
		away = append(away, "ALTER STATISTICS "+ident.Qualified(x.Schema, x.Name)+" SET SCHEMA "+ident.Quote(in))
		home = append(home, "ALTER STATISTICS "+ident.Qualified(in, x.Name)+" SET SCHEMA "+ident.Quote(x.Schema))
	}
	home = append(home, "DROP SCHEMA "+ident.Quote(in))
	for _, q := range r.publications() { // one that is gone by then is nobody's any more
		home = append(home, "DO "+ident.Dollar(" BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = "+ident.Literal(q.Name)+") THEN "+publish([]Publication{q}, table)[0]+"; END IF; END "))
	}
	for _, k := range keys {
		home = append(append(home, k.add()), comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+table, k.Comment)...)
	}
	slices.Sort(locked)
	locked = slices.Compact(locked)
	p.Route = plan.Recipe
	p.Why = "in two stages: the table is put aside, where `changeling undo` brings it back from, and dropped when its time has come. " + seen
	p.Steps = []plan.Step{
		w.aside("put table aside", "whoever still uses the table fails from now on, as after the drop; its rows stay. Its foreign keys go, so that it holds nobody up", locked, away,
			[]string{another(name, r.OID), dependantsSQL(r.OID, "'something depends on it by now: ' || ")}),
		{Kind: plan.Drop, Name: "drop old table", SQL: []string{"DROP TABLE IF EXISTS " + old, "DROP SCHEMA IF EXISTS " + ident.Quote(in)}, LockWait: w.options.LockWait,
			Done: "SELECT pg_catalog.to_regclass(" + ident.Literal(old) + ") IS NULL", Why: "when its time has come"},
	}
	return w.withBack(append([]plan.Step{w.aside("bring table back", "the table has its name again, with all that it had", append([]string{old}, locked...), home,
		[]string{another(p.Pair.Old, r.OID), occupied(name)})}, checks...)...), nil
}

// withBack gives the plan its way back.
func (w *planner) withBack(steps ...plan.Step) *plan.Plan {
	w.plan.Back = w.back(steps...)
	return w.plan
}

// ownKeys are the foreign keys of the table itself, and the steps that validate them again.
func (w *planner) ownKeys(r *Relation) (keys []foreignKey, checks []plan.Step) {
	name := w.plan.Table
	for _, c := range r.Constraints {
		if c.Type != "f" {
			continue
		}
		k := foreignKey{Table: name, Name: c.Name, Def: c.Def, Validated: c.Validated, To: schema.Name{Schema: c.ToSchema, Table: c.ToTable}, Comment: c.Comment}
		keys = append(keys, k)
		for range validations([]foreignKey{k}) {
			step := w.step("validate "+c.Name, "ALTER TABLE "+qualified(name)+" VALIDATE CONSTRAINT "+ident.Quote(c.Name), "SHARE UPDATE EXCLUSIVE", qualified(name))
			step.Why = "rows may have gone meanwhile that the table refers to; everybody reads and writes"
			checks = append(checks, step)
		}
	}
	return keys, checks
}

// WithoutKeys is the plan that brings a table back, without its foreign keys: what they refer to may be gone.
func WithoutKeys(back plan.Plan) plan.Plan {
	step := back.Steps[0]
	step.SQL = slices.DeleteFunc(slices.Clone(step.SQL), func(sql string) bool {
		return strings.Contains(sql, " ADD CONSTRAINT ") || strings.HasPrefix(sql, "COMMENT ON CONSTRAINT ")
	})
	back.Steps = []plan.Step{step}
	return back
}

// immovable says why a table is dropped at once or not at all.
func immovable(r *Relation) []string {
	var out []string
	name := schema.Name{Schema: r.Schema, Table: r.Name}.String()
	switch {
	case r.Kind == "p":
		out = append(out, name+" is partitioned, and its partitions would stay where they are: drop it without --drop")
	case r.Kind != "r":
		out = append(out, name+" is no plain table: drop it without --drop, by the statement for what it is")
	case r.Persistence == "t":
		out = append(out, name+" is temporary: nobody else sees it, drop it as it is")
	}
	if r.Schema == "pg_catalog" || r.Schema == "information_schema" || r.Schema == "changeling" || strings.HasPrefix(r.Schema, "changeling_") {
		out = append(out, name+" belongs to the server or to changeling itself")
	}
	for _, parent := range r.Parents {
		out = append(out, name+" is a part of "+parent+", in which its rows would still be seen: ALTER TABLE … DETACH PARTITION, or NO INHERIT, first")
	}
	return out
}

// dependantsSQL asks for what keeps the server from dropping a table without CASCADE, by its own rule: what depends on the table, or on what
// goes with it, and does not go with it itself (manual, pg_depend).
func dependantsSQL(table uint32, lead string) string {
	return fmt.Sprintf(`WITH RECURSIVE goes (classid, objid) AS (SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, %d::pg_catalog.oid
UNION SELECT d.classid, d.objid FROM goes g JOIN pg_catalog.pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype::text = ANY (ARRAY['a', 'i', 'P', 'S']))
SELECT DISTINCT %spg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM goes g JOIN pg_catalog.pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
WHERE d.deptype::text = 'n' AND NOT EXISTS (SELECT FROM goes o WHERE o.classid = d.classid AND o.objid = d.objid)
UNION SELECT %s'extension ' || pg_catalog.quote_ident(e.extname) || ', which it belongs to' FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = %d AND d.deptype::text = 'e' ORDER BY 1`, table, lead, lead, table)
}

func (w *planner) dependants(ctx context.Context, table uint32) ([]string, error) {
	return state.Column(ctx, w.tx, dependantsSQL(table, ""))
}

// seen says how much a table was used since the server began to count, which is the question before it is dropped.
func (w *planner) seen(ctx context.Context, table uint32) (text string, err error) {
	err = w.tx.QueryRowContext(ctx, `SELECT CASE WHEN s.relid IS NULL THEN 'The server has not counted its use.' ELSE
  pg_catalog.format('Since %s it was read %s times, and %s rows of it were written', coalesce('the statistics were reset at ' || pg_catalog.to_char(d.stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC', 'the server counts'),
    coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0), s.n_tup_ins + s.n_tup_upd + s.n_tup_del)
  || coalesce('; the last read was at ' || pg_catalog.to_char(greatest((pg_catalog.to_jsonb(s) ->> 'last_seq_scan')::pg_catalog.timestamptz, (pg_catalog.to_jsonb(s) ->> 'last_idx_scan')::pg_catalog.timestamptz) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC', '') || '.' END
FROM (SELECT $1::bigint::oid AS id) t LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = t.id, pg_catalog.pg_stat_database d WHERE d.datname = pg_catalog.current_database()`, int64(table)).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return "The server has not counted its use.", nil
	}
	return text, err
}

// another asks whether a name is another relation's by now.
func another(n schema.Name, table uint32) string {
	return fmt.Sprintf("SELECT %s WHERE pg_catalog.to_regclass(%s)::pg_catalog.oid IS DISTINCT FROM %d", ident.Literal(n.String()+" is another table by now"), ident.Literal(qualified(n)), table)
}

// occupied asks whether somebody has a name.
func occupied(n schema.Name) string {
	return fmt.Sprintf("SELECT %s WHERE pg_catalog.to_regclass(%s) IS NOT NULL", ident.Literal("somebody has made another "+n.String()+" meanwhile: rename it first"), ident.Literal(qualified(n)))
}
