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

// definitions are the verbs that only change the catalogue and can be taken back until they commit.
var definitions = []string{"CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "SECURITY", "TRUNCATE", "IMPORT", "REASSIGN"}

// alone are kinds of objects whose statements the server refuses in a transaction, or that are not of one database.
var alone = []string{"DATABASE", "TABLESPACE", "SUBSCRIPTION", "SYSTEM"}

// other plans a statement that is neither ALTER TABLE nor CREATE INDEX.
func (w *planner) other(ctx context.Context) (*plan.Plan, error) {
	s := w.statement
	if s.Verb == "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: "the statement begins with no word: give one DDL statement; nothing was changed"}
	}
	if s.Verb == "SELECT" { // it locks nobody out, but for a table that it makes
		w.plan.Effect = string(AtOnce)
		if slices.Contains(strings.Fields(strings.ToUpper(s.Text)), "INTO") {
			w.plan.Effect = string(Scans)
		}
		return refuse(w.plan, "changeling carries out DDL: run SELECT as it is, or say CREATE TABLE … AS SELECT"), nil
	}
	if err := w.parse(ctx); err != nil {
		return nil, err
	}
	if len(s.Objects) > 0 {
		w.plan.Table = s.Objects[0]
	}
	first, _, _ := strings.Cut(s.Verb, " ")
	switch {
	case w.options.Route == plan.Direct && (s.Verb == "DROP INDEX" || first == "REFRESH" || first == "REINDEX") && !s.Concurrently:
		return w.asItIs(ctx, "asked for: the statement as it is, however long it keeps others waiting", "ACCESS EXCLUSIVE")
	case s.Verb == "DROP INDEX" && !s.Cascade:
		return w.dropIndex(ctx)
	case first == "REINDEX":
		return w.reindex(ctx)
	case first == "REFRESH":
		return w.refresh(ctx)
	case first == "CLUSTER" || first == "VACUUM":
		w.plan.Effect = string(Rewrites)
		return refuse(w.plan, s.Verb+" keeps everybody from the table while it writes it anew: `changeling rebuild TABLE` does the same while others work; VACUUM without FULL locks nobody out"), nil
	case slices.Contains(alone, s.Kind) || s.Verb == "DROP OWNED":
		return refuse(w.plan, s.Verb+" cannot be part of a transaction, or is of no one database: run it as it is"), nil
	case first == "ALTER" && s.Kind == "DOMAIN":
		return w.domain(ctx)
	case first == "CREATE" && s.Kind == "TABLE":
		return w.createTable(ctx)
	case !slices.Contains(definitions, first):
		return refuse(w.plan, fmt.Sprintf("changeling carries out DDL, and this statement begins with %q: run it as it is", s.Verb)), nil
	}
	return w.asItIs(ctx, "only the catalogue changes: the server does it at once under a short lock", w.otherLock())
}

// otherLock is the strongest lock of a statement on what it is about (manual, the statements' own pages; measured).
func (w *planner) otherLock() string {
	s := w.statement
	first, _, _ := strings.Cut(s.Verb, " ")
	switch {
	case first == "COMMENT", s.Kind == "STATISTICS", s.Kind == "PUBLICATION", first == "ALTER" && s.Kind == "INDEX":
		return "SHARE UPDATE EXCLUSIVE"
	case first == "CREATE" && s.Kind == "TRIGGER", first == "ALTER" && s.Kind == "SEQUENCE":
		return "SHARE ROW EXCLUSIVE"
	case first == "GRANT", first == "REVOKE", first == "CREATE" && len(s.Tables) == 0, len(s.Objects)+len(s.Tables) == 0:
		return ""
	case slices.Contains([]string{"TYPE", "DOMAIN", "SCHEMA", "FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "EXTENSION", "ROLE", "USER"}, s.Kind):
		return ""
	}
	return "ACCESS EXCLUSIVE"
}

// asItIs is the plan of one statement in a transaction.
func (w *planner) asItIs(ctx context.Context, why, lock string) (*plan.Plan, error) {
	tables, err := w.locked(ctx)
	if err != nil {
		return nil, err
	}
	if lock == "" {
		tables = nil
	}
	if w.plan.Effect == "" {
		w.plan.Effect = string(AtOnce)
	}
	p := w.plan
	p.Route, p.Why = plan.Direct, why
	p.Steps = []plan.Step{w.step(strings.ToLower(w.statement.Verb), w.statement.Text, lock, tables...)}
	p.Steps[0].Path = w.path
	p.Steps[0].Why = "the statement as it is, with a bounded wait for its locks, tried again if they are not to be had"
	p.Pair.Settings = w.user
	return p, nil
}

// locked finds the relations whose lock the statement takes: those that it names, the tables at the other ends of foreign keys
// of those that it drops, and the table of an index.
func (w *planner) locked(ctx context.Context) ([]string, error) {
	var out []string
	for i, n := range append(slices.Clone(w.statement.Objects), w.statement.Tables...) {
		name, oid, err := Resolve(ctx, w.tx, n)
		var none ErrNoTable
		if errors.As(err, &none) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			w.plan.Table, w.plan.Pair.Table = name, oid
		}
		locked, err := state.Column(ctx, w.tx, `SELECT $1::bigint::oid::regclass::text UNION SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = $1::bigint::oid
UNION SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND conrelid = $1::bigint::oid ORDER BY 1`, int64(oid))
		if err != nil {
			return nil, err
		}
		out = append(out, locked...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parse lets the server read the statement without running it: the body of a function is checked as a whole before its first
// statement, and that one returns.
func (w *planner) parse(ctx context.Context) error {
	for _, sql := range []string{"SAVEPOINT parse", "DO " + dollarQuoted("BEGIN RETURN; "+w.statement.Text+"; END"), "RELEASE SAVEPOINT parse"} {
		if _, err := w.tx.ExecContext(ctx, sql); err != nil {
			if code := fault.Code(err); code == "42601" {
				return &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("the server says: %s. Nothing was changed", fault.Message(err))}
			}
			if fault.Lost(err) || fault.Canceled(err) {
				return err
			}
			_, err = w.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT parse") // no plpgsql here: the statement itself will say what is wrong
			return err
		}
	}
	return nil
}

// dollarQuoted quotes a text with a tag that it does not have.
func dollarQuoted(text string) string {
	tag := "$changeling$"
	for strings.Contains(text, tag) {
		tag = "$x" + tag[1:]
	}
	return tag + text + tag
}

// dropIndex drops indexes one by one, concurrently: a plain DROP INDEX keeps everybody from the table, and waits for all who
// read it.
func (w *planner) dropIndex(ctx context.Context) (*plan.Plan, error) {
	w.plan.Effect = string(AtOnce)
	var acts []act
	for _, n := range w.statement.Objects {
		name, oid, err := Resolve(ctx, w.tx, n)
		var none ErrNoTable
		if errors.As(err, &none) {
			if w.statement.IfExists {
				continue
			}
			return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("index %q does not exist. Nothing was changed", n.String()), Err: err}
		}
		if err != nil {
			return nil, err
		}
		var kind, constraint, table string
		if err := w.tx.QueryRowContext(ctx, `SELECT c.relkind, coalesce((SELECT conname FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x') LIMIT 1), ''),
  coalesce((SELECT i.indrelid::regclass::text FROM pg_index i WHERE i.indexrelid = c.oid), '') FROM pg_class c WHERE c.oid = $1::bigint::oid`, int64(oid)).Scan(&kind, &constraint, &table); err != nil {
			return nil, err
		}
		switch {
		case constraint != "":
			return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("cannot drop index %s because constraint %s on table %s requires it: ALTER TABLE %s DROP CONSTRAINT %s does it. Nothing was changed",
				name, constraint, table, table, ident.Quote(constraint))}
		case kind != "i": // of a partitioned table: the server refuses to do it concurrently
			return w.asItIs(ctx, "the index of a partitioned table cannot be dropped concurrently: the server drops it at once, with those of the partitions, under a short lock", "ACCESS EXCLUSIVE")
		}
		w.plan.Table, w.plan.Pair.Table = name, oid
		full := qualified(name)
		acts = append(acts, act{Step: plan.Step{Kind: plan.Loose, Name: "drop " + name.Table, SQL: []string{"DROP INDEX CONCURRENTLY IF EXISTS " + full},
			Done: "SELECT pg_catalog.to_regclass(" + ident.Literal(full) + ") IS NULL", Lock: "SHARE UPDATE EXCLUSIVE on " + table, LockWait: w.options.LockWait,
			Why: "waits until nobody uses it any more, while everybody reads and writes"}})
	}
	if len(acts) == 0 {
		w.plan.Route, w.plan.Why = plan.Direct, "there is no such index, and the statement says IF EXISTS: there is nothing to do"
		return w.plan, nil
	}
	w.serve(acts, "DROP INDEX would wait for all who use the table, and keep all others from it meanwhile: it is dropped concurrently instead")
	return w.plan, nil
}

// reindex builds an index, or those of a table, anew beside the old ones.
func (w *planner) reindex(ctx context.Context) (*plan.Plan, error) {
	w.plan.Effect = string(Rewrites)
	s := w.statement
	if s.Kind != "INDEX" && s.Kind != "TABLE" || len(s.Objects) != 1 {
		return refuse(w.plan, "REINDEX of a whole schema or database is many changes: REINDEX TABLE or REINDEX INDEX is expected"), nil
	}
	name, oid, err := Resolve(ctx, w.tx, s.Objects[0])
	var none ErrNoTable
	if errors.As(err, &none) {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("relation %q does not exist. Nothing was changed", s.Objects[0].String()), Err: err}
	}
	if err != nil {
		return nil, err
	}
	w.plan.Table, w.plan.Pair.Table = name, oid
	rows, err := w.tx.QueryContext(ctx, `SELECT n.nspname, c.relname, c.oid, i.indisexclusion, i.indrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (i.indexrelid = $1::bigint::oid OR i.indrelid = $1::bigint::oid) AND c.relkind = 'i' ORDER BY 1, 2`, int64(oid))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var acts []act
	for rows.Next() {
		var x schema.Name
		var id uint32
		var exclusion bool
		var table string
		if err := rows.Scan(&x.Schema, &x.Table, &id, &exclusion, &table); err != nil {
			return nil, err
		}
		if exclusion {
			rows.Close()
			return refuse(w.plan, fmt.Sprintf("the index %s of an exclusion constraint cannot be built anew concurrently: run REINDEX as it is in a quiet hour", x)), nil
		}
		acts = append(acts, w.rebuild(x, id, table))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(acts) == 0 {
		return refuse(w.plan, fmt.Sprintf("%s has no index of its own: REINDEX its partitions one by one", name)), nil
	}
	w.serve(acts, "REINDEX would keep everybody from writing, and from using the index: it is built anew beside the old one instead")
	return w.plan, nil
}

// rebuild is REINDEX INDEX CONCURRENTLY. The index that comes out is another one, which is how the catalogue tells.
func (w *planner) rebuild(x schema.Name, oid uint32, table string) act {
	full := qualified(x)
	a := act{Step: plan.Step{Kind: plan.Loose, Name: "rebuild " + x.Table, SQL: []string{"REINDEX INDEX CONCURRENTLY " + full}, Lock: "SHARE UPDATE EXCLUSIVE on " + table, LockWait: w.options.LockWait,
		Done: fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(%s) AND indexrelid <> %d AND indisvalid)", ident.Literal(full), oid),
		Why:  "reads the table while everybody reads and writes; what a failed try leaves over is dropped"}}
	for _, suffix := range []string{"_ccnew", "_ccold"} {
		left := clipTo(x.Table, 63-len(suffix)) + suffix
		a.Undo = append(a.Undo, "DROP INDEX CONCURRENTLY IF EXISTS "+ident.Qualified(x.Schema, left))
	}
	return a
}

// clipTo cuts a name to so many bytes, at the boundary of a character.
func clipTo(name string, n int) string {
	for len(name) > n {
		name = name[:len(name)-1]
	}
	return strings.ToValidUTF8(name, "")
}

// refresh lets readers go on while a materialized view is computed anew, which takes a unique index.
func (w *planner) refresh(ctx context.Context) (*plan.Plan, error) {
	s := w.statement
	w.plan.Effect = string(Rewrites)
	if s.Concurrently {
		w.plan.Effect = string(Scans)
	}
	if len(s.Objects) != 1 || strings.Contains(strings.ToUpper(s.Text), "WITH NO DATA") {
		return w.asItIs(ctx, "the view is emptied at once", "ACCESS EXCLUSIVE")
	}
	name, oid, err := Resolve(ctx, w.tx, s.Objects[0])
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("relation %q does not exist. Nothing was changed", s.Objects[0].String()), Err: err}
	}
	w.plan.Table, w.plan.Pair.Table, w.plan.Pair.Settings = name, oid, w.user
	var fit bool
	if err := w.tx.QueryRowContext(ctx, `SELECT c.relispopulated AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL) FROM pg_class c WHERE c.oid = $1::bigint::oid`, int64(oid)).Scan(&fit); err != nil {
		return nil, err
	}
	if !fit {
		return refuse(w.plan, fmt.Sprintf("REFRESH would keep everybody from reading %s while it is computed, and without a unique index over plain columns, or before the view was filled once, there is no other way: "+
			"CREATE UNIQUE INDEX on it first, or run REFRESH as it is", name)), nil
	}
	a := act{Step: w.step("refresh", "REFRESH MATERIALIZED VIEW CONCURRENTLY "+qualified(name), "EXCLUSIVE", qualified(name))}
	a.Path, a.Why = w.path, "the view is computed beside the old one, and what differs is written; readers go on"
	w.serve([]act{a}, "REFRESH would keep everybody from reading: it is done concurrently instead")
	return w.plan, nil
}

// domain refuses what reads every table that uses a domain while nobody writes to it. There is no other way (measured, 14 to 18:
// even VALIDATE takes SHARE on each).
func (w *planner) domain(ctx context.Context) (*plan.Plan, error) {
	words := strings.Join(strings.Fields(strings.ToUpper(w.statement.Text)), " ")
	reads := strings.Contains(words, " VALIDATE CONSTRAINT ") || strings.Contains(words, " SET NOT NULL") ||
		strings.Contains(words, " ADD ") && !strings.HasSuffix(words, "NOT VALID")
	if reads && len(w.statement.Objects) == 1 {
		users, err := state.Column(ctx, w.tx, `SELECT DISTINCT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE NOT attisdropped AND relkind IN ('r', 'm', 'p') AND atttypid = to_regtype($1::text) ORDER BY 1 LIMIT 5`, qualified(w.statement.Objects[0]))
		if err != nil {
			return nil, err
		}
		if len(users) > 0 {
			w.plan.Effect = string(Scans)
			return refuse(w.plan, fmt.Sprintf("the server would read every table that uses the domain (%s) while nobody writes to it, even to validate a constraint that is NOT VALID: "+
				"put the constraint on the tables as a CHECK, or run the statement as it is in a quiet hour", strings.Join(users, ", "))), nil
		}
	}
	return w.asItIs(ctx, "only the catalogue changes", "")
}

// createTable is at once but for a partition beside a default partition, whose rows are read under the lock.
func (w *planner) createTable(ctx context.Context) (*plan.Plan, error) {
	s := w.statement
	words := strings.Fields(strings.ToUpper(s.Text))
	if slices.Contains(words, "SELECT") {
		w.plan.Effect = string(Scans)
		return w.asItIs(ctx, "the new table is filled while others use what it is made from", "ACCESS SHARE")
	}
	if !slices.Contains(words, "PARTITION") || len(s.Tables) != 1 {
		return w.asItIs(ctx, "nobody uses a table that is not there yet", map[bool]string{true: "SHARE ROW EXCLUSIVE on the tables that it refers to"}[len(s.Tables) > 0])
	}
	var beside string
	if _, oid, err := Resolve(ctx, w.tx, s.Tables[0]); err == nil {
		if err := w.tx.QueryRowContext(ctx, `SELECT coalesce((SELECT nullif(partdefid, 0)::regclass::text FROM pg_partitioned_table WHERE partrelid = $1::bigint::oid), '')`, int64(oid)).Scan(&beside); err != nil {
			return nil, err
		}
	}
	if beside != "" {
		w.plan.Effect = string(Scans)
		return refuse(w.plan, fmt.Sprintf("the server would read the default partition %s while nobody can use the table: CREATE TABLE … (LIKE %s INCLUDING ALL), then ALTER TABLE … ATTACH PARTITION",
			beside, s.Tables[0])), nil
	}
	return w.asItIs(ctx, "a new partition is empty", "ACCESS EXCLUSIVE")
}
