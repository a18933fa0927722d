package changeling

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// dialect is one kind of server: its texts, its planner, and the few things that go another way there. The algorithms are
// the run's, and the same for all.
type dialect interface {
	Syntax() plan.Syntax
	// Plan makes a plan. A route that is asked for is taken, or refused. What has a second table can be undone with a log of
	// undoLog bytes, if that is not zero.
	Plan(ctx context.Context, db *sql.DB, ddl, id string, wait time.Duration, route plan.Route, undoLog int64) (*plan.Plan, error)
	// Stage plans a DROP TABLE, or a RENAME TO, in two stages, of which the first can be taken back.
	Stage(ctx context.Context, db *sql.DB, s plan.Statement, id string, wait time.Duration) (*plan.Plan, error)
	// Rebuild plans a change without another definition.
	Rebuild(ctx context.Context, db *sql.DB, b Rebuild, id string, wait time.Duration) (*plan.Plan, error)
	// Partition plans a table that is partitioned.
	Partition(ctx context.Context, db *sql.DB, b Partitioning, id string, wait time.Duration, undoLog int64) (*plan.Plan, error)
	// Expansion reads the statement of a column beside another one, both of which users write for a while, and says how it is called in the
	// state. Errors are of the kind Usage, or Refused.
	Expansion(x Expansion) (s plan.Statement, said string, err error)
	// Leaning are the old column of such a change, and what of others the end of the change depends on.
	Leaning(ctx context.Context, q state.DB, p schema.Pair) ([]string, error)
	// Expand plans it.
	Expand(ctx context.Context, db *sql.DB, x Expansion, id string, wait time.Duration) (*plan.Plan, error)
	// Family finds what a change of a key's type takes along, or says why that cannot be.
	Family(ctx context.Context, db *sql.DB, ddl string, wait time.Duration) (f postgres.Family, why []string, err error)
	// Resolve finds a table, and its identity where the server has one.
	Resolve(ctx context.Context, db *sql.DB, n schema.Name) (schema.Name, uint32, error)
	// Fingerprint identifies the definition of a table that was resolved.
	Fingerprint(ctx context.Context, db *sql.DB, n schema.Name, id uint32) (string, error)
	// SameTable says that two fingerprints differ, if at all, in what an undo leads back as it is by then.
	SameTable(a, b string) bool
	State() state.Text
	Rows(p schema.Pair) texts
	// Session is the text that sets a transaction up.
	Session(s session) string
	// As is the text that takes a role; an empty one goes back to the connection's own.
	As(role string) string
	// Isolation is the level at which a transaction runs for which another one was asked.
	Isolation(level sql.IsolationLevel) sql.IsolationLevel
	// Pinned are the settings under which the catalogue's own texts are read back.
	Pinned() map[string]string
	// Transactional says that DDL is part of a transaction, with the step counter.
	Transactional() bool
	// Apart is the text that sets a session up whose statements run outside of a transaction, for as long as they take.
	Apart(application, path string, fast bool) string
	// FastChunk is what a chunk should take for those who want it fast and let users wait.
	FastChunk() time.Duration
	// Connections is how many a change needs at the same time.
	Connections() int
	// Abandon takes away what a change made before its cutover: one transaction after the other, each may run twice. wait is
	// how long it may wait for a lock on a table of the user's.
	Abandon(p schema.Pair, wait time.Duration) []plan.Step
	// Follow is what writes the key log of a run that nothing else writes; nil where triggers do.
	Follow(ctx context.Context, r *run) (*follower, error)
	// End ends the session of a blocker, or answers that it is not there any more.
	End(ctx context.Context, r *run, b cutover.Blocker, idle bool) (bool, error)
	// Signals are what the throttle of a change asks; application is how our connections call themselves.
	Signals(p schema.Pair, application string) signals
	// Cutover is the other side of a cutover.
	Cutover(r *run, s plan.Step) cutover.Server
}

// texts are those that move and compare the rows of one pair.
type texts interface {
	// Guard holds off rewriters for the rest of a transaction, Heap tells the source from what it is after one came.
	Guard() string
	Heap() string
	// Truncated asks whether the source was truncated or rebuilt, where the other texts do not tell; empty where they do.
	Truncated() string
	// Live begins the watch over what would take rows away unseen; empty if nothing could.
	Live() string
	// Blocks asks for the size of the copy in blocks of the heap; empty where the copy goes by key.
	Blocks() string
	// ShadowBlocks asks for the size of a healing walk.
	ShadowBlocks() string
	Copy(r copier.Range) string
	CopyOne(place string) string
	Places(r copier.Range) string
	LoggedPlaces() string
	// Within is the condition of a range of the source that is read before anything is made, Among that of some of its rows, by their places
	// in order. Size asks how many blocks there are, and is empty where such a range is one of the key.
	Within(r copier.Range) string
	Among(places []string) string
	Size() string
	Heal(r copier.Range) string
	Pending() string
	Empty() []string
	Drain(limit int64, note bool) string
	Boundary(after copier.Key, n int64) (string, []any)
	Compare(r copier.Range) (string, []any)
	// SideBySide says that Compare walks along the keys of both tables.
	SideBySide() bool
	CompareCounts() string
	Relog(r copier.Range) (string, []any)
	RelogChecked() string
	// Confirm is the second half of the two before, for servers that need one; empty for others.
	Confirm() string

	// What follows is asked of the pair of an undo. Window answers whether its capture is armed, whether it logs, and how large its log is,
	// in no row where log or table is gone. Disarm ends the window, each statement in a transaction. LogOnly takes a hand-over back.
	Window() string
	Disarm() []string
	LogOnly() []string
	// SetAside moves the oldest key of the log to those that do not fit, with why, and answers it; no row: it was taken out, because
	// its row is gone. PutBack is the way back, MisfitRows
	// lists them.
	SetAside() string
	PutBack() string
	MisfitRows() string
	// Refill answers a TRUNCATE: empty is for the old table, where it is no part of a transaction, and fill is the rest.
	Refill() (empty, fill []string)
}

// missing says that a table is not there.
func missing(err error) bool {
	var pg postgres.ErrNoTable
	var my mysql.ErrNoTable
	return errors.As(err, &pg) || errors.As(err, &my)
}

// detect asks a server what it is. For MySQL and MariaDB the pool that it answers is one of the engine's own over the
// caller's.
func detect(ctx context.Context, db *sql.DB, c Config) (dialect, *sql.DB, error) {
	version, err := versionOf(ctx, db)
	for tries := 1; fault.Lost(err) && ctx.Err() == nil && tries < 5; tries++ {
		version, err = versionOf(ctx, db) // a pool may have kept connections that broke while nobody used them
	}
	if fault.Code(err) == "53300" {
		return nil, nil, &fault.Problem{Kind: fault.Stopped, Err: err, Text: "the server has no session left to give: " + fault.Message(err) + ". Nothing was changed: run the same command again when it has"}
	}
	if err != nil {
		return nil, nil, unasked(err)
	}
	if strings.HasPrefix(version, "PostgreSQL") {
		if c.Capture == CaptureBinlog {
			return nil, nil, &fault.Problem{Kind: fault.Usage, Text: "capture by the binary log is for MySQL and MariaDB: PostgreSQL is followed by triggers"}
		}
		if c.TestOnReplica {
			return nil, nil, &fault.Problem{Kind: fault.Usage, Text: "a test on a replica is for MySQL and MariaDB: nothing can be written on a standby of PostgreSQL. Restore a backup, and run the change there"}
		}
		return postgresql{}, db, postgresql{}.supports(ctx, db)
	}
	d := mysqld{maria: strings.Contains(version, "MariaDB"), version: version, capture: c.Capture, limit: db.Stats().MaxOpenConnections}
	if err := d.supports(); err != nil {
		return nil, nil, err
	}
	if c.Binlog != "" {
		home, _ := os.UserHomeDir() // without one there is no ~/.my.cnf
		target, err := mysql.ParseDSN(c.Binlog, home)
		if err != nil {
			return nil, nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: "the connection string for the binary log cannot be read: " + err.Error()}
		}
		d.target = &target
	}
	if c.TestOnReplica {
		d.trial = true
		pool, err := unlogged(ctx, db)
		return d, pool, err
	}
	return d, mysql.Wrap(db), nil
}

// unasked is the error of a server that does not say what it is. One that was reached, and lost, is to be tried again.
func unasked(err error) error {
	if fault.Lost(err) {
		return &fault.Problem{Kind: fault.Stopped, Err: err, Text: "the connection was lost while the database was asked for its version: " + fault.Message(err) + ". Nothing was changed: run the same command again"}
	}
	return &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the database cannot be asked for its version: " + fault.Message(err)}
}

// versionOf is what a server calls itself.
func versionOf(ctx context.Context, db *sql.DB) (version string, err error) {
	// The first of the two nobody can have put a function of his own in the place of; MySQL and MariaDB know only the second.
	err = mysql.Coded(db.QueryRowContext(ctx, `SELECT pg_catalog.version()`).Scan(&version))
	if err != nil && !fault.Lost(err) && !fault.Transient(err) && ctx.Err() == nil {
		err = mysql.Coded(db.QueryRowContext(ctx, `SELECT version()`).Scan(&version))
	}
	return version, err
}
