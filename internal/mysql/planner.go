package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Options are the choices that a plan depends on.
type Options struct {
	ID       string        // of the change; the names of its databases come from it
	LockWait time.Duration // bound of every wait for a lock; the server counts whole seconds
	// Triggers says why triggers have to write the key log and not the run from the binary log, or nothing if it can. It is
	// asked for a change by a second table only. Nil: triggers do.
	Triggers func(ctx context.Context) (why string, err error)
	// Binlog says that anything but the binary log is to be refused.
	Binlog   bool
	Replicas int // that read the server's binary log
	// Trial says that the plan is one of a trial.
	Trial bool
	// Unmet is the algorithm that the server was asked for, and refused for the table itself: its twin has neither the table's past nor
	// as many versions of its rows. Empty: none.
	Unmet string
	// Live says that the statement is a RENAME COLUMN, or a MODIFY of a column that is to be called As in its new type, and that both are to be
	// written until a person says otherwise.
	Live bool
	As   string
	// Up and Down are expressions for the columns' values by each other, where they have not always the same. Empty: it is assigned.
	Up, Down string
	// Route is plan.ShadowColumn where a new type of a column is to be made by a second one. Others are not asked for here.
	Route plan.Route
	// Kin are the tables of a family that is swapped together, with their statements.
	Kin []plan.Member
	// UndoLog is greater than zero if an undo is wanted: how large its log may become.
	UndoLog int64
}

// Plan finds out what the server does with a statement, and how the change goes. What it tries, it tries on an empty twin
// in a database of the change's own, which it drops again; nothing else is touched. Errors carry a fault.Kind.
func Plan(ctx context.Context, db *sql.DB, text string, o Options) (*plan.Plan, error) {
	conn, d, err := theirSession(ctx, db)
	if err != nil {
		return nil, coded(err)
	}
	defer discard(conn)
	syntax := plan.MySQLSyntax()
	syntax.QuotedStrings = !strings.Contains(d.mode, "ANSI_QUOTES")
	syntax.Backslashes = !strings.Contains(d.mode, "NO_BACKSLASH_ESCAPES")
	s, err := plan.Parse(text, syntax)
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("%v: give one ALTER TABLE statement; nothing was changed", err), Err: err}
	}
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: s.Text, Table: s.Table}
	if s.Verb != "ALTER TABLE" || s.Table.Table == "" {
		return refuse(p, fmt.Sprintf("changeling changes tables by ALTER TABLE, and this statement begins with %q: write it as ALTER TABLE, or run it as it is", s.Verb)), nil
	}
	if o.Live {
		p.Statement = Expansion{As: o.As, Up: o.Up, Down: o.Down}.Said(s)
	}
	w := planner{db: db, conn: conn, dialect: d, syntax: syntax, statement: s, options: o, plan: p}
	out, err := w.run(ctx)
	return out, coded(err)
}

// theirSession is a connection with the settings that a user of this pool begins with, on which conversions depend. A pool
// of Wrap may lend one that the engine has used: it has Session's settings, and is thrown away.
func theirSession(ctx context.Context, db *sql.DB) (*sql.Conn, dialect, error) {
	for range 20 {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, dialect{}, err
		}
		d, err := ask(ctx, conn)
		if err != nil {
			discard(conn)
			return nil, d, err
		}
		if !sameMode(d.mode, mode) && !sameMode(d.mode, lenient) { // the engine's own
			return conn, d, nil
		}
		discard(conn)
	}
	return nil, dialect{}, fmt.Errorf("every connection has the sql_mode %s, which is the engine's own: connect with the mode of the application", mode)
}

// sameMode says that two texts of sql_mode name the same.
func sameMode(a, b string) bool {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// discard ends a session: it has settings of ours, and nobody else may get it.
func discard(conn *sql.Conn) {
	conn.Raw(func(any) error { return driver.ErrBadConn })
	conn.Close()
}

func refuse(p *plan.Plan, why ...string) *plan.Plan {
	p.Route, p.Refusals = plan.Refuse, why
	p.Why = why[0]
	return p
}

type planner struct {
	db        *sql.DB
	conn      *sql.Conn
	dialect   dialect
	syntax    plan.Syntax
	statement plan.Statement
	options   Options
	plan      *plan.Plan
	zone      string // the session's time_zone
	steady    bool   // it has no hour twice
	database  string // the session's default one
	likeness  string // the twin's marks before the statement
	engine    string // of the source
	keyed     bool   // the session has foreign_key_checks on
	unchecked bool   // what is rehearsed is rehearsed with it off
	logged    bool   // the server writes a binary log
	history   string // the session's system_versioning_alter_history, of MariaDB
	cascade   string // a foreign key that changes rows of the source by itself
}

func (w *planner) run(ctx context.Context) (*plan.Plan, error) {
	var database sql.NullString
	var system string
	if err := w.conn.QueryRowContext(ctx, "SELECT @@time_zone, @@system_time_zone, DATABASE(), @@foreign_key_checks").Scan(&w.zone, &system, &database, &w.keyed); err != nil {
		return nil, err
	}
	w.database = database.String
	if err := w.conn.QueryRowContext(ctx, "SELECT @@log_bin").Scan(&w.logged); err != nil {
		return nil, err
	}
	if w.dialect.maria {
		if err := w.conn.QueryRowContext(ctx, "SELECT @@system_versioning_alter_history").Scan(&w.history); err != nil {
			return nil, err
		}
	}
	zone := w.zone
	if zone == "SYSTEM" {
		zone = system
	}
	w.steady = zone == "UTC" || strings.HasPrefix(zone, "+") || strings.HasPrefix(zone, "-")
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	name, err := Resolve(ctx, w.conn, w.statement.Table)
	var none ErrNoTable
	if errors.As(err, &none) {
		if w.statement.IfExists {
			w.plan.Route, w.plan.Why = plan.Direct, fmt.Sprintf("table %s does not exist, and the statement says IF EXISTS: there is nothing to do", w.statement.Table)
			return w.plan, nil
		}
		return nil, &fault.Problem{Kind: fault.Usage, Text: err.Error(), Err: err}
	}
	if err != nil {
		return nil, err
	}
	w.plan.Table = name
	w.plan.Pair = schema.Pair{Source: name, Settings: w.settings()}
	if slices.Contains([]string{"mysql", "sys", "information_schema", "performance_schema", "changeling"}, strings.ToLower(name.Schema)) || strings.HasPrefix(name.Schema, "changeling_") {
		return refuse(w.plan, name.String()+" belongs to the server or to changeling itself: changes are for tables of users"), nil
	}
	source, err := Inspect(ctx, w.conn, name)
	if err != nil {
		return nil, w.explain(err, "reading the definition of "+name.String())
	}
	w.plan.Rows, w.plan.Bytes, w.engine = source.Rows, source.Bytes, source.Engine
	if source.Kind != "BASE TABLE" && source.Kind != "SYSTEM VERSIONED" {
		return refuse(w.plan, fmt.Sprintf("%s is a %s: a second table can only take the place of a plain table", name, strings.ToLower(source.Kind))), nil
	}
	if w.plan.Fingerprint, err = Fingerprint(ctx, w.conn, name); err != nil {
		return nil, err
	}
	if refusals := w.unwritten(); len(refusals) > 0 {
		return refuse(w.plan, refusals...), nil
	}
	if err := w.unrestricted(); err != nil {
		return nil, err
	}
	if c := w.statement.Clauses[0]; c.Action == plan.RenameTable && len(w.statement.Clauses) == 1 {
		return w.rename(c), nil
	}
	return w.rehearse(ctx, source)
}

// settle sets the planner's own session: bounded waits, the catalogue as it is now, and a mode under which all texts of
// ours mean the same. The user's statement runs under his own mode again.
func (w *planner) settle(ctx context.Context) error {
	for _, sql := range []string{
		"SET NAMES utf8mb4", "SET SESSION lock_wait_timeout = " + fmt.Sprint(seconds(w.options.LockWait)),
		"SET SESSION sql_mode = " + literal(mode),
	} {
		if _, err := w.conn.ExecContext(ctx, sql); err != nil {
			return err
		}
	}
	// Each may be unknown to the server, or not allowed: the rehearsal is then only less exact, or seen by replicas too.
	for _, sql := range []string{"SET SESSION information_schema_stats_expiry = 0", "SET SESSION sql_log_bin = 0"} {
		if _, err := w.conn.ExecContext(ctx, sql); fault.Lost(coded(err)) || fault.Canceled(err) {
			return err
		}
	}
	return nil
}

func seconds(d time.Duration) int64 { return max(int64((d+time.Second-1)/time.Second), 1) }

// settings are those of the user's session that conversions depend on.
func (w *planner) settings() map[string]string {
	return map[string]string{"sql_mode": w.dialect.mode, "time_zone": w.zone}
}

// theirs and ours stand around the user's statement.
func (w *planner) theirs() string {
	set := "SET SESSION sql_mode = " + literal(w.dialect.mode)
	if w.history == "KEEP" { // of system-versioned tables
		set += ", system_versioning_alter_history = KEEP"
	}
	return set
}

func ours() string { return "SET SESSION sql_mode = " + literal(mode) }

// unwritten are statements that must not even be tried on a twin.
func (w *planner) unwritten() []string {
	var out []string
	s := w.statement
	if len(s.Clauses) == 0 {
		return []string{"the statement has no clause that changes anything: there is nothing to do"}
	}
	if tokens, err := plan.Lex(s.Text, w.syntax); err == nil && slices.ContainsFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenExecuted }) {
		out = append(out, "the statement has a comment that the server executes (/*! … */), and changeling does not look into it: write out what it says")
	}
	for _, c := range s.Clauses {
		if c.Action == plan.AddColumn && w.unsafe(c) {
			out = append(out, fmt.Sprintf("the default of %q has another value for each row, which MySQL refuses where it writes a binary log (error 1674): add the column without it, give it the default in a statement of its own "+
				"(ALTER TABLE … ALTER %s SET DEFAULT …), and fill the rows that are there by `changeling backfill`", c.Text, c.Column))
		}
		switch c.Action {
		case plan.Algorithm, plan.Lock:
			out = append(out, fmt.Sprintf("the clause %q chooses how the server does it, and changeling chooses that itself, by asking the server: leave it out", c.Text))
		case plan.RenameTable:
			if len(s.Clauses) > 1 {
				out = append(out, fmt.Sprintf("the clause %q cannot go together with others: run it as a statement of its own", c.Text))
			}
		case plan.MaintainPartition:
			if w.maintains() == nil {
				out = append(out, fmt.Sprintf("the clause %q is about single partitions, and changeling does not plan it: run it as it is", c.Text))
			}
		case plan.Tablespace:
			out = append(out, fmt.Sprintf("the clause %q takes the table's file away or puts another one there: run it as it is", c.Text))
		}
	}
	return out
}

// unsafe says that a new column's default calls a function whose value differs from row to row and from server to server. On the twin it
// would be let through, because the rehearsal is not logged.
func (w *planner) unsafe(c plan.Clause) bool {
	if w.dialect.maria || !w.logged {
		return false
	}
	return slices.ContainsFunc(w.words(c.Default), func(word string) bool {
		return slices.Contains([]string{"UUID", "UUID_SHORT", "RAND", "RANDOM_BYTES", "SYSDATE", "USER", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "VERSION", "CONNECTION_ID"}, word)
	})
}

// uncarried are clauses that cannot go over a second table.
func (w *planner) uncarried() []string {
	var out []string
	for _, c := range w.statement.Clauses {
		switch c.Action {
		case plan.AddSystemVersioning, plan.DropSystemVersioning:
			out = append(out, fmt.Sprintf("the clause %q cannot be carried to a second table yet: run it as it is, at a quiet time", c.Text))
		}
	}
	if why := w.apartFromCopy(); why != "" {
		out = append(out, why)
	}
	return out
}

// rename is the plan for a table that only gets another name.
func (w *planner) rename(c plan.Clause) *plan.Plan {
	to := c.Other
	if to.Schema == "" {
		to.Schema = w.database
	}
	if to.Schema == "" {
		return refuse(w.plan, fmt.Sprintf("the new name in %q has no database, and the connection has no default one: write it with its database", c.Text))
	}
	p := w.direct("a rename only changes the catalogue: the server does it at once under a short lock",
		"RENAME TABLE "+qualified(w.plan.Table)+" TO "+qualified(to))
	p.Steps[0].Done = "SELECT " + there(to) + " AND NOT " + there(w.plan.Table)
	p.Native, p.Effect = rung{algorithm: "INSTANT"}.native(), "direct"
	return p
}

// direct is the plan for what the server does at once, or while the table is in use.
func (w *planner) direct(why, statement string) *plan.Plan {
	p := w.plan
	p.Route, p.Why = plan.Direct, why
	p.Steps = []plan.Step{{Kind: plan.Exec, Name: "alter", SQL: []string{w.theirs(), statement, ours()}, Tables: []string{qualified(p.Table)}, LockWait: w.options.LockWait,
		Lock: "exclusive metadata lock for a moment", Why: "the statement with the server's own promise how it does it, and a bounded wait for its lock, tried again if the lock is not to be had"}}
	return p
}

// unsupported names what stands in the way of a second table, so that nothing is carried by halves.
func (w *planner) unsupported(r *Relation) []string {
	var out []string
	name := r.Name.String()
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.Kind == "SYSTEM VERSIONED" || strings.Contains(strings.ToUpper(r.Create), "WITH SYSTEM VERSIONING") {
		add("%s is system-versioned: its history cannot be carried yet", name)
	}
	if !strings.EqualFold(r.Engine, "InnoDB") {
		add("%s uses the engine %s: only InnoDB tables are copied while they are written to; ALTER TABLE %s ENGINE=InnoDB first, at a quiet time", name, r.Engine, name)
	}
	if strings.Contains(r.Options, "partitioned") && strings.Contains(strings.ToUpper(r.Create), " DIRECTORY =") {
		add("%s has partitions in directories of their own, which a twin would lose: it cannot be carried yet", name)
	}
	for _, k := range r.Children {
		if !r.Maria {
			break // see adopt
		}
		add("foreign keys of other tables are not led to the new table yet on MariaDB: %s refers to %s; drop it first and add it again afterwards, or run the statement as it is at a quiet time", k, name)
	}
	for _, p := range r.Parts {
		if p.Other {
			add("%s has something that changeling does not know, and could lose: %s", name, p.Text)
		}
	}
	if strings.Contains(strings.ToLower(r.Create), "nextval(") {
		add("%s has a default that takes values from a sequence: it cannot be carried yet", name)
	}
	return out
}

// explain sorts an error of the server.
func (w *planner) explain(err error, doing string) error {
	err = coded(err)
	var own *Error
	switch {
	case fault.Denied(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"%s: %s. The account needs SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, LOCK TABLES and TRIGGER on the table's database, and all privileges on the databases of changes: "+
				"GRANT ALL ON `changeling%%`.* TO … . Nothing was changed", doing, words(err))}
	case fault.Full(err):
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf("%s: the server has no room left: %s. Nothing was changed, and what was tried was given back: make room, and run the same command again", doing, words(err))}
	case fault.LockTimeout(err):
		return &fault.Problem{Kind: fault.NoCutover, Err: err, Text: doing + ": a lock was not to be had in time; try again. Nothing was changed"}
	case fault.Lost(err), fault.Transient(err), fault.Canceled(err):
		return err
	case !errors.As(err, &own):
		return err
	}
	return &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%s: the server says: %s. Nothing was changed", doing, words(err))}
}

// words are the server's own.
func words(err error) string {
	var own *Error
	if errors.As(err, &own) && own.Text != "" {
		return own.Text
	}
	return err.Error()
}

// shadowTable is the program of a change by a second table.
func (w *planner) shadowTable(ctx context.Context, r *rehearsal) (*plan.Plan, error) {
	p := w.plan
	pair, refusals := r.pair()
	more, err := w.carry(ctx, r, &pair)
	if err != nil {
		return nil, err
	}
	related, err := w.relate(ctx, r, &pair)
	if err != nil {
		return nil, err
	}
	children, err := w.adopt(ctx, r, &pair)
	if err != nil {
		return nil, err
	}
	refusals = slices.Concat(refusals, more, related, children)
	if p.Ways, err = w.ways(ctx, r, refusals); err != nil {
		return nil, err
	}
	if len(refusals) > 0 {
		return RefuseTable(p, refusals...), nil
	}
	p.Checks = w.questions(r, pair)
	r.place = pair.Shadow
	pair.Settings = w.settings()
	if refusals := w.jointly(&pair); len(refusals) > 0 {
		return RefuseTable(p, refusals...), nil
	}
	why, err := w.triggers(ctx, pair)
	if err != nil {
		return nil, err
	}
	if pair.Binlog = why == ""; !pair.Binlog && len(pair.Kin) > 0 {
		return RefuseTable(p, "tables that are swapped together have no triggers of ours, so the binary log has to tell which rows change, and it cannot: "+why), nil
	}
	if !pair.Binlog && w.options.Binlog {
		return RefuseTable(p, "the binary log was asked for, and cannot tell which rows change: "+why), nil
	}
	if !pair.Binlog {
		if lack, err := w.borrowed(ctx, pair); err != nil || lack != "" {
			return RefuseTable(p, lack+". Triggers it would take because: "+why), err
		}
	}
	if w.dialect.maria && Calls(pair) && !pair.Binlog {
		var names []string
		for _, k := range pair.Foreign {
			if !k.Fresh {
				names = append(names, k.Name)
			}
		}
		if len(names) > 0 {
			return RefuseTable(p, fmt.Sprintf("%s has foreign keys (%s), which are led to the new table on MariaDB only where the binary log tells which rows change, because a table with triggers cannot leave its database. "+
				"It cannot: %s", p.Table, strings.Join(names, ", "), why)), nil
		}
		pair.Foreign, r.behind = nil, true
	}
	if why, err := w.uncaught(ctx, pair); err != nil || why != "" {
		return RefuseTable(p, why), err
	}
	if r.untold, err = w.cascades(ctx, r, pair); err != nil {
		return nil, err
	}
	later := r.later(pair)
	p.Pair, p.Route = pair, plan.ShadowTable
	p.Why = "the server would copy or rebuild the table, which stops writers or replicas for as long: the rows go to a second table that takes its place"
	p.Spare = r.source.Bytes * 12 / 10
	wait := w.options.LockWait
	add := func(s plan.Step) { p.Steps = append(p.Steps, s) }
	create := slices.Concat([]string{ours()}, dropDatabases(pair), r.create, []string{w.theirs(), r.altered, ours()}, r.strip(later))
	if Stays(pair) {
		create = append(create, "RENAME TABLE "+qualified(r.shadowName())+" TO "+qualified(pair.Shadow))
	}
	add(plan.Step{Kind: plan.Exec, Name: "create shadow", SQL: create, Lock: "none",
		Why: "an empty twin under the same names, changed by the statement itself, without the indexes that are built faster later"})
	if w.dialect.maria {
		why += ". On MariaDB a few prepared statements of users fail once with error 1146 or 1305 as the triggers are made; with the binary log none does"
	}
	if pair.Binlog {
		add(plan.Step{Kind: plan.Capture, Name: "follow binary log", SQL: InstallLog(pair), LockWait: wait, Lock: "none",
			Why: "from here on the keys of changed rows are read in the server's binary log; the users pay nothing for it"})
	} else {
		add(plan.Step{Kind: plan.Capture, Name: "install capture", SQL: Rows{Pair: pair, Maria: w.dialect.maria}.InstallCapture(), Done: Armed(pair), Tables: []string{qualified(pair.Source)}, LockWait: wait, Lock: "exclusive metadata lock for a moment",
			Why: "from here on triggers log the keys of changed rows; waits for open writers. Triggers and not the binary log, because " + why})
	}
	add(plan.Step{Kind: plan.Copy, Name: "copy rows", SQL: r.bareAgain(later), Lock: "none", LockWait: wait, Why: "in short transactions, in the order of the key, under the throttle"})
	add(plan.Step{Kind: plan.Heal, Name: "heal", Why: "rows that changed during the copy are copied again, so that no unique index can fail on what is past"})
	for _, s := range r.builds(later) {
		add(s)
	}
	add(plan.Step{Kind: plan.Drain, Name: "drain", Why: "rows that changed meanwhile are copied again, until little is left"})
	add(plan.Step{Kind: plan.Loose, Name: "analyze", SQL: []string{"ANALYZE TABLE " + qualified(pair.Shadow)}, Why: "statistics for the first query after the swap"})
	add(plan.Step{Kind: plan.Verify, Name: "verify", Why: "every row is compared, in one snapshot a chunk, without the keys that are pending in it"})
	add(plan.Step{Kind: plan.Hold, Name: "hold", Why: "waits for `changeling cutover` if asked to, and stays in step"})
	if len(pair.Triggers) > 0 {
		add(carryStep(pair))
	}
	if w.options.UndoLog > 0 {
		p.Undo, p.NoUndo = w.undo(r, pair)
	}
	release := []string{"DROP TABLE IF EXISTS " + qualified(pair.Log) + ", " + qualified(pair.Checks) + ", " + qualified(pair.Alive) + ", " + qualified(position(pair)),
		"DROP DATABASE IF EXISTS " + quote(pair.Log.Schema)}
	drop := []string{"DROP TABLE IF EXISTS " + qualified(pair.Old), "DROP DATABASE IF EXISTS " + quote(pair.Old.Schema)}
	if p.Undo != nil {
		add(plan.Step{Kind: plan.Exec, Name: "prepare undo", SQL: prepareUndo(p.Undo.Pair), Lock: "none", Why: "where an undo writes which rows it copies back"})
		release = []string{"DROP TABLE IF EXISTS " + qualified(pair.Log) + ", " + qualified(pair.Checks) + ", " + qualified(pair.Alive)}
		drop = append(drop, "DROP DATABASE IF EXISTS "+quote(pair.Log.Schema))
	}
	if w.dialect.maria && Calls(pair) {
		release = append([]string{dropPass(pair)}, release...)
	}
	swap, lock := swapStep(pair, w.dialect.maria)
	if Calls(pair) && len(pair.Kin) == 0 {
		add(plan.Step{Kind: plan.Exec, Name: "carry foreign keys", SQL: InstallSwap(pair, w.dialect.maria), Lock: "none",
			Why: "a procedure that leads foreign keys to the new table, swaps and takes them off the old one, under the swap's lock and whatever becomes of the run"})
	}
	add(plan.Step{Kind: plan.Cutover, Name: "cutover", SQL: []string{swap}, Done: Swapped(pair), Tables: swapped(pair), LockWait: wait, Lock: lock,
		Why: "the last keys under the table's lock, then the swap, in one statement"})
	add(plan.Step{Kind: plan.Release, Name: "release", SQL: release, Why: "the key log and its database"})
	add(plan.Step{Kind: plan.Drop, Name: "drop old table", SQL: drop,
		Lock: "exclusive metadata lock on the old table", Why: "when its time has come"})
	w.watch(r)
	p.LookFirst()
	return p, nil
}

// triggers says why triggers have to write the key log of a pair, or nothing if the binary log will do.
func (w *planner) triggers(ctx context.Context, p schema.Pair) (why string, err error) {
	if w.options.Triggers == nil {
		return "nothing else was offered", nil
	}
	config, err := Follow(ctx, w.conn, p, w.dialect.maria)
	if err != nil {
		return "", err
	}
	if err := config.Check(); err != nil {
		return err.Error(), nil
	}
	return w.options.Triggers(ctx)
}

// dropDatabases drops what an earlier try of the same change left. They are the change's own: nobody else writes there.
func dropDatabases(p schema.Pair) []string {
	out := []string{"DROP DATABASE IF EXISTS " + quote(p.Log.Schema), "DROP DATABASE IF EXISTS " + quote(p.Old.Schema)}
	if Stays(p) {
		out = append(out, "DROP TABLE IF EXISTS "+qualified(p.Shadow))
	}
	return out
}
