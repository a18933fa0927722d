package changeling

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Keep is a Config.DropAfter that keeps the old table for ever, and DropNow one that keeps it not at all.
const (
	Keep    time.Duration = -1
	DropNow time.Duration = 1
)

// Config is how an engine works. The zero Config is a quiet guest.
type Config struct {
	// Fast takes the machine for the change: two workers, two index builds (on MySQL and MariaDB one, with rows compared beside it), no
	// throttle but what is for safety or was asked for. For quiet hours.
	Fast bool
	// Hold stops before the cutover until somebody says `changeling cutover`; the shadow stays in step meanwhile.
	Hold bool
	// WithChildren takes along what a column that gets another type is the key of: the columns that refer to it, over any number of tables, and
	// the sequences that they own. PostgreSQL, and integers on MySQL. See docs/ARCHITECTURE.md, "Key families".
	WithChildren bool
	// OnlyDirect refuses every change that the server does not do at once.
	OnlyDirect bool
	// Route is the way that a change must go; one that cannot is refused. Empty: the planner chooses. With plan.Direct the
	// statement runs as it is, however long it keeps others waiting.
	Route plan.Route
	// DropAfter is how long the old table is kept after the cutover. Zero means 24h. Keep and DropNow are special.
	// On PostgreSQL a DROP TABLE is done at once if it is zero or DropNow; else the table is put aside, where Change.Undo brings it back
	// from, and dropped after that time.
	DropAfter time.Duration
	// Cover leaves a view under the old name when a table is renamed, through which code that does not know the new one reads and writes.
	// PostgreSQL only. The view is kept until Change.Cleanup is called with Now, unless DropAfter says otherwise.
	Cover bool
	// NoDataCheck leaves out the look for rows that break what a statement demands, which otherwise comes before each copy: the copy finds
	// them too, later.
	NoDataCheck bool
	// Undo says whether the change can be undone until its old table is dropped, and UndoLogMax how many bytes the log may have
	// that is written for it; zero means 1 GiB. A change that writes more cannot be undone any more.
	Undo       Undo
	UndoLogMax int64
	// LockWait is the longest wait for a lock on a table of yours, and so the longest queue of others behind it.
	// Zero means 200ms; less than a millisecond is refused, which a server would take for no bound at all. It should stay below the server's
	// deadlock_timeout, so that it is us who give way.
	LockWait time.Duration
	// ChunkTime is what a chunk of the copy should take. Zero means 20ms: long enough that its commit does
	// not count, and short enough that nobody waits for what it wrote.
	ChunkTime time.Duration
	// Snapshots says what becomes of transactions that hold a snapshot of before the swap.
	Snapshots Snapshots
	// Capture says how changed rows are found on MySQL and MariaDB.
	Capture Capture
	// Binlog is the connection string under which the binary log is read, as the command line takes them: of the server that
	// the pool leads to, or of a replica of it that has GTIDs and logs what it applies. The account needs REPLICATION SLAVE.
	// Empty: the log is not read, and triggers are used.
	Binlog string
	// CutoverAttempts bounds the attempts to swap. Zero means 60, over about five minutes.
	CutoverAttempts int
	// Kill says which sessions that hold the table may be ended for the cutover. The zero value is none.
	Kill Kill
	// BeforeCutover is asked before each attempt to swap, with the id of the change. An error puts the attempt off. It may be nil.
	BeforeCutover func(ctx context.Context, change string) error
	// Lease is how long a run may be silent before another one takes its change over. Zero means 30s.
	Lease time.Duration
	// Owner is how this run calls itself to others. Empty means host and process id.
	Owner string
	// Throttle is how the change keeps out of the way of others. What was said with Change.Set counts before it.
	Throttle Throttle
	// Replicas are asked themselves how far they are, besides those that PostgreSQL knows by itself. Their pools stay the caller's.
	Replicas []Replica
	// TestOnReplica makes and compares the shadow on a replica of MySQL or MariaDB, to which the pool leads, swaps nothing, and takes
	// everything away again. Nothing of it is in the replica's binary log. It needs Binlog, of the same server.
	TestOnReplica bool
	// Events is told what happens. It may be nil.
	Events event.Sink

	dropSaid bool // DropAfter is the caller's
}

// Capture is a way to find out which rows change while a change runs.
type Capture string

// The ways. CaptureAuto is the binary log where it can be read, because it costs the users nothing, and triggers elsewhere.
// On PostgreSQL it is always triggers.
const (
	CaptureAuto     Capture = ""
	CaptureBinlog   Capture = "binlog"
	CaptureTriggers Capture = "triggers"
)

func (c Config) validate() (Config, error) {
	if c.Capture != CaptureAuto && c.Capture != CaptureBinlog && c.Capture != CaptureTriggers {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("Capture is %q: expected nothing, %q or %q", string(c.Capture), string(CaptureBinlog), string(CaptureTriggers))}
	}
	if c.Snapshots != SnapshotsWait && c.Snapshots != SnapshotsInsist && c.Snapshots != SnapshotsIgnore {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("Snapshots is %q: expected nothing, %q or %q", string(c.Snapshots), string(SnapshotsInsist), string(SnapshotsIgnore))}
	}
	if c.LockWait != 0 && c.LockWait < time.Millisecond || c.LockWait > 10*time.Second {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("LockWait is %s: expected 0, or 1ms to 10s, because everybody who wants the table waits as long", c.LockWait)}
	}
	if c.ChunkTime < 0 || c.ChunkTime > time.Minute {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("ChunkTime is %s: expected 0 to 1m", c.ChunkTime)}
	}
	if !slices.Contains([]plan.Route{"", plan.Direct, plan.Recipe, plan.ShadowColumn, plan.ShadowTable}, c.Route) {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("Route is %q: expected direct, recipe, shadow-column or shadow-table", c.Route)}
	}
	if c.Undo != UndoAuto && c.Undo != UndoOn && c.Undo != UndoOff {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("Undo is %q: expected nothing, %q or %q", string(c.Undo), string(UndoOn), string(UndoOff))}
	}
	if c.UndoLogMax < 0 || c.UndoLogMax > 0 && c.UndoLogMax < 1<<20 {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("UndoLogMax is %d: expected 0, or a mebibyte or more", c.UndoLogMax)}
	}
	if c.UndoLogMax == 0 {
		c.UndoLogMax = 1 << 30
	}
	if c.CutoverAttempts < 0 {
		return c, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("CutoverAttempts is %d: expected 0 or more", c.CutoverAttempts)}
	}
	if err := c.Throttle.validate(); err != nil {
		return c, err
	}
	if c.TestOnReplica {
		if err := c.trial(); err != nil {
			return c, err
		}
		c.Capture, c.Undo = CaptureBinlog, UndoOff
	}
	if c.LockWait == 0 {
		c.LockWait = 200 * time.Millisecond
	}
	if c.Cover && c.DropAfter > 0 && c.DropAfter < time.Second {
		return c, &fault.Problem{Kind: fault.Usage, Text: "Cover leaves a view under the old name, and DropNow would drop it at once: leave one of them out"}
	}
	if c.WithChildren && c.Cover {
		return c, &fault.Problem{Kind: fault.Usage, Text: "WithChildren is for columns that get another type, and Cover for tables that get another name: leave one of them out"}
	}
	if c.dropSaid = c.DropAfter != 0; !c.dropSaid {
		c.DropAfter = 24 * time.Hour
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.Owner == "" {
		c.Owner = state.Self()
	}
	if c.Events == nil {
		c.Events = event.Discard
	}
	c.Events = event.Serial(c.Events)
	return c, nil
}

// Engine makes and runs changes in one database.
type Engine struct {
	db       *sql.DB
	own      bool // db is a pool of the engine's over the caller's
	config   Config
	dialect  dialect
	together bool // its tables are swapped together with others
	store    *state.Store

	replicas []Replica
}

// Apply makes a change from beginning to end, and returns when the table is what the statement says.
//
// It is idempotent: a change that was interrupted goes on, and one that is done is not done again as long as the table is
// still what it left. So it can stand in a migration step. db needs at least six connections at a time; a pgx pool comes
// through stdlib.OpenDBFromPool. Errors answer [Code].
func Apply(ctx context.Context, db *sql.DB, ddl string, c Config) error {
	e, err := Open(ctx, db, c)
	if err != nil {
		return begun(ctx, err)
	}
	defer e.Close()
	change, err := e.Start(ctx, ddl)
	if err != nil || change == nil {
		return begun(ctx, err)
	}
	return change.Run(ctx)
}

// begun gives the end of a context or of the connection before a run its name.
func begun(ctx context.Context, err error) error {
	if ctx.Err() == nil && fault.KindOf(err) == fault.Unexpected && (fault.Lost(err) || fault.Transient(err)) {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: "the database is out of reach: " + fault.Message(err) + ". Nothing was done that the same command, run again, would not find"}
	}
	if err != nil && ctx.Err() != nil {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: "stopped before anything was done that the same command, run again, would not find"}
	}
	return unwritable(err)
}

// Open looks at the server and returns an engine for it. It changes nothing. The pool stays the caller's;
// Close gives back what the engine holds of it.
func Open(ctx context.Context, db *sql.DB, c Config) (*Engine, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	d, pool, err := detect(ctx, db, c)
	if err != nil {
		return nil, err
	}
	if n, least := db.Stats().MaxOpenConnections, d.Connections(); n > 0 && n < least {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the pool allows %d connections: a change needs %d (workers, heartbeat, probe, control, and the sessions of the cutover); call SetMaxOpenConns", n, least)}
	}
	if c.ChunkTime == 0 {
		c.ChunkTime = chunkTime
	}
	e := &Engine{db: pool, own: pool != db, config: c, dialect: d, store: &state.Store{DB: pool, Text: d.State()}}
	for _, r := range c.Replicas {
		if e.own {
			r.DB = mysql.Wrap(r.DB)
		}
		e.replicas = append(e.replicas, r)
	}
	return e, nil
}

// Close lets go of connections that the engine holds of the caller's pool: on MySQL and MariaDB it keeps some while it works,
// because their sessions have settings of its own. The pool stays the caller's. Runs must have ended.
func (e *Engine) Close() {
	if e.own {
		e.db.Close() // all that it could say is that a connection was gone already
		for _, r := range e.replicas {
			r.DB.Close()
		}
	}
}

// Code is the exit code that an error stands for: see the table in docs/COMMAND.md. It is 0 for nil.
func Code(err error) int {
	if err == nil {
		return 0
	}
	return int(fault.KindOf(err))
}

// The kinds of errors that a caller may branch on, for errors.Is.
var (
	ErrUsage        error = fault.Usage
	ErrRefused      error = fault.Refused
	ErrPrecondition error = fault.Precondition
	ErrData         error = fault.Refusal
	ErrMismatch     error = fault.Mismatch
	ErrNoCutover    error = fault.NoCutover
	ErrAborted      error = fault.Aborted
	ErrOwned        error = fault.Owned
	ErrStopped      error = fault.Stopped
)

// Plan says how a statement would be carried out. It changes nothing.
func (e *Engine) Plan(ctx context.Context, ddl string) (*plan.Plan, error) {
	p, err := e.planned(ctx, ddl)
	if err == nil {
		e.restrict(p)
	}
	return p, err
}

// restrict refuses a plan that goes another way than the one that was asked for.
func (e *Engine) restrict(p *plan.Plan) {
	why := ""
	switch {
	case p.Route == plan.Refuse:
		return
	case e.config.OnlyDirect && p.Route != plan.Direct:
		why = fmt.Sprintf("only what the server does at once was asked for, and this statement goes by %s: %s", p.Route, p.Why)
	case e.config.Route != "" && p.Route != e.config.Route && len(p.Steps) > 0:
		why = fmt.Sprintf("the route %s was asked for, and this statement can only go by %s: %s", e.config.Route, p.Route, p.Why)
	default:
		return
	}
	p.Route, p.Why, p.Refusals, p.Steps = plan.Refuse, why, []string{why}, nil
}

func (e *Engine) planned(ctx context.Context, ddl string) (*plan.Plan, error) {
	if s, err := plan.Parse(ddl, e.dialect.Syntax()); err == nil && e.staged(s) {
		return e.stage(ctx, s)
	}
	if e.config.WithChildren {
		return e.family(ctx, ddl)
	}
	if e.config.Route == plan.ShadowColumn {
		if err := e.unkept(); err != nil {
			return nil, err
		}
	}
	return e.dialect.Plan(ctx, e.db, ddl, newID(), e.config.LockWait, e.config.Route, e.config.undoLog())
}

// newID is short enough for a person to type and for every name that is made from it, and random enough to be nobody else's.
func newID() string {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	return hex.EncodeToString(b[:])
}

// Start finds the change that a statement asks for, or makes a new one: the unfinished change of the table if it has the
// same statement, nil if a finished one has left the table just so, a new one otherwise. It does not run it.
func (e *Engine) Start(ctx context.Context, ddl string) (*Change, error) {
	if e.config.TestOnReplica {
		return e.startTrial(ctx, ddl)
	}
	return e.start(ctx, ddl)
}

func (e *Engine) start(ctx context.Context, ddl string) (*Change, error) {
	found, done, err := e.known(ctx, ddl)
	if err == nil && done {
		// The run that made it may have ended before its last act.
		if _, err = found.Cleanup(ctx, WhenDue); errors.Is(err, fault.Owned) {
			err = nil // somebody else is at it
		}
		return nil, err
	}
	if err != nil || found != nil {
		return found, err
	}
	p, err := e.Plan(ctx, ddl)
	if err != nil {
		return nil, err
	}
	return e.StartPlan(ctx, p)
}

// StartPlan saves a plan as a new change. A plan that refuses is an error of kind ErrRefused; one without steps is no change.
func (e *Engine) StartPlan(ctx context.Context, p *plan.Plan) (*Change, error) {
	if p.Route == plan.Refuse {
		return nil, &fault.Problem{Kind: fault.Refused, Text: refusal(p)}
	}
	if len(p.Steps) == 0 {
		e.config.Events(event.Notice{Text: p.Why})
		e.config.Events(event.Done{Table: p.Table.String(), Status: "nothing-to-do"})
		return nil, nil
	}
	if err := e.store.Prepare(ctx); err != nil {
		return nil, e.explainState(err)
	}
	if err := e.sweepDue(ctx, p); err != nil {
		return nil, err
	}
	err := e.create(ctx, p)
	if fault.Duplicate(err) {
		other, findErr := e.store.Unfinished(ctx, p.Table)
		if findErr != nil {
			return nil, errors.Join(err, findErr)
		}
		if other.Statement == p.Statement { // another run began the same change a moment ago
			return &Change{engine: e, record: other}, nil
		}
		return nil, busy(other)
	}
	if err != nil {
		return nil, e.explainState(err)
	}
	return e.Find(ctx, p.ID)
}

func (e *Engine) create(ctx context.Context, p *plan.Plan) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := e.store.Create(ctx, tx, p, e.config.Hold, e.keeps(p)); err != nil {
		return errors.Join(err, ended(tx))
	}
	return tx.Commit()
}

func refusal(p *plan.Plan) string {
	text := "the change is refused, nothing was touched:"
	for _, r := range p.Refusals {
		text += "\n  - " + r
	}
	return text
}

func busy(other *state.Record) error {
	if other.Status == state.Expanded {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("change %s is expanded on %s (%s), which has two names for one column until `changeling contract %s` or `changeling abort %s`; nothing was touched",
			other.ID, other.Table, other.Statement, other.ID, other.ID)}
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
		"change %s is under way on %s with another statement (%s): finish it with `changeling resume %s`, or end it with `changeling abort %s`; nothing was touched",
		other.ID, other.Table, other.Statement, other.ID, other.ID)}
}

func (e *Engine) explainState(err error) error {
	if fault.Denied(err) {
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"the engine's own schema \"changeling\" cannot be made or written: %s. Needed: GRANT CREATE ON DATABASE … TO <role>, or let the role that made the schema run changes", fault.Message(err))}
	}
	return err
}

// Known says what Start would find: the unfinished change of a statement, or that it was made and still is. It changes
// nothing. Another statement's change under way on the table is an error of kind ErrRefused.
func (e *Engine) Known(ctx context.Context, ddl string) (found *Change, done bool, err error) {
	found, done, err = e.known(ctx, ddl)
	if done {
		found = nil
	}
	return found, done, err
}

// known is the change that a statement belongs to already. done says that it was made and still is.
// It is asked before planning: after a change that renamed or dropped a column its own statement does not rehearse any more.
func (e *Engine) known(ctx context.Context, ddl string) (found *Change, done bool, err error) {
	s, err := plan.Parse(ddl, e.dialect.Syntax())
	if err != nil {
		return nil, false, nil // the plan's own error says it
	}
	name, oid, err := e.dialect.Resolve(ctx, e.db, s.Table)
	if missing(err) {
		return e.moved(ctx, s)
	}
	if err != nil {
		return nil, false, nil // likewise
	}
	switch r, err := e.store.Unfinished(ctx, name); {
	case errors.Is(err, state.ErrNone):
	case err != nil:
		return nil, false, err
	case r.Statement == e.said(s):
		if e.config.Hold && !r.Hold {
			err = e.store.Exec(ctx, e.db, e.store.Text.SetHold, r.ID, true)
			r.Hold = true
		}
		return &Change{engine: e, record: r}, false, err
	default:
		return nil, false, busy(r)
	}
	r, err := e.store.Latest(ctx, e.said(s), name)
	if errors.Is(err, state.ErrNone) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return e.still(ctx, r, name, oid)
}

// Made says that the newest change of a statement was made, and was not taken back, whatever became of its table since.
func (e *Engine) Made(ctx context.Context, ddl string) (bool, error) {
	s, err := plan.Parse(ddl, e.dialect.Syntax())
	if err != nil {
		return false, nil // the plan's own error says it
	}
	name, _, err := e.dialect.Resolve(ctx, e.db, s.Table)
	var r *state.Record
	switch {
	case missing(err):
		r, err = e.store.ByStatement(ctx, e.said(s), s.Table)
	case err == nil:
		r, err = e.store.Latest(ctx, e.said(s), name)
	}
	if errors.Is(err, state.ErrNone) {
		return false, nil
	}
	return err == nil && r.Status == state.Done, err
}

// moved is known for a statement whose table is not there: the statement may have renamed or moved it itself.
func (e *Engine) moved(ctx context.Context, s plan.Statement) (found *Change, done bool, err error) {
	r, err := e.store.ByStatement(ctx, e.said(s), s.Table)
	if err != nil {
		return nil, false, nil // the plan's own error says that the table is not there
	}
	if !r.Over() {
		return &Change{engine: e, record: r}, false, nil
	}
	name, oid := r.Table, r.Plan.Pair.Table
	if oid == 0 && s.Table.Table == "" { // the statement may have made it
		if name, oid, err = e.dialect.Resolve(ctx, e.db, r.Table); err != nil {
			return nil, false, nil
		}
	}
	found, done, err = e.still(ctx, r, name, oid)
	if missing(err) {
		return nil, false, nil
	}
	return found, done, err
}

// still says whether a change is done and its table is as it left it.
func (e *Engine) still(ctx context.Context, r *state.Record, name schema.Name, oid uint32) (found *Change, done bool, err error) {
	if r.Status != state.Done {
		return nil, false, nil
	}
	var same bool
	if r.Plan.Back != nil {
		same, err = e.stillAside(ctx, r)
	} else {
		var now string
		now, err = e.fingerprintOf(ctx, r.Plan, name, oid)
		same = now == r.Fingerprint
		if missing(err) && r.Fingerprint == "" && !e.dialect.Transactional() && r.Plan.Route == plan.Direct && r.Plan.Steps[0].Done != "" {
			err = e.db.QueryRowContext(ctx, r.Plan.Steps[0].Done).Scan(&same) // it has another name
		}
	}
	if err != nil || !same {
		return nil, false, err
	}
	e.config.Events(event.Planned{Change: r.ID, Table: r.Table.String(), Statement: r.Statement, Route: string(r.Plan.Route), Why: "done already by this change, and the table is still as it left it"})
	e.config.Events(event.Done{Change: r.ID, Table: r.Table.String(), Status: "nothing-to-do"})
	return &Change{engine: e, record: r}, true, nil
}

func (e *Engine) fingerprint(ctx context.Context, name schema.Name, oid uint32) (string, error) {
	return e.dialect.Fingerprint(ctx, e.db, name, oid)
}
