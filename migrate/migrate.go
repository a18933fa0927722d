package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// Policy says what becomes of a migration that is missing below one that was applied, as after a late merge.
type Policy string

// The policies. OrderError is the default: a person should see it.
const (
	OrderError Policy = ""
	OrderApply Policy = "apply"
	OrderSkip  Policy = "skip"
)

// Config is how migrations run. The zero Config is safe with any number of instances.
type Config struct {
	// Format is the tool that the files were written for. Auto recognises it.
	Format Format
	// Name tells the trees of one database apart. Empty means "main".
	Name string
	// OutOfOrder says what becomes of a migration that is missing below an applied one.
	OutOfOrder Policy
	// LockWait is the longest wait for a lock on a table of yours, and so the longest queue of others behind it; it is tried
	// again, for Patience. Zero means 200ms. MySQL counts whole seconds.
	LockWait time.Duration
	// Patience is how long locks are tried for. Zero means 5m.
	Patience time.Duration
	// Wait is how long another instance that is at work is waited for. Zero means 15m, a negative value not at all.
	Wait time.Duration
	// Lease is how long an instance may be silent before another one takes over. Zero means 30s.
	Lease time.Duration
	// SmallRows is up to how many rows, in at most 8 MiB, a table is altered directly, whatever the server does with it.
	// Zero means 10,000; negative means that no table is small.
	SmallRows int64
	// Deployed says that the deploy has happened which migrations wait for between their phases.
	Deployed bool
	// Detach begins a change by a second table and does not wait for it: Work does it, or `changeling resume ID`.
	Detach bool
	// Direct runs every statement as it is, without the engine.
	Direct bool
	// AllowDataLoss lets Down run scripts that drop or delete what holds data.
	AllowDataLoss bool
	// AllowAhead takes a database that is newer than the files for one that needs nothing.
	AllowAhead bool
	// Adopt takes over the version table of another tool by itself, if there is one and no history of ours.
	Adopt bool
	// Placeholders are the values of ${name} in files of Flyway.
	Placeholders map[string]string
	// Go are the migrations that are functions, by version without leading zeros.
	Go map[string]GoMigration
	// Engine is how changes of large tables are made. They cannot be undone unless Engine.Undo is changeling.UndoOn: what comes next in the
	// tree may alter the table by itself, and triggers of an undo should not meet that.
	Engine changeling.Config
	// Owner is how this instance calls itself to others. Empty means host and process id.
	Owner string
	// Events is told what happens. It may be nil.
	Events event.Sink
}

func (c Config) validate() (Config, error) {
	switch {
	case c.LockWait != 0 && c.LockWait < time.Millisecond || c.LockWait > 10*time.Second:
		return c, usage("LockWait is %s: expected 0, or 1ms to 10s, because everybody who wants the table waits as long", c.LockWait)
	case c.OutOfOrder != OrderError && c.OutOfOrder != OrderApply && c.OutOfOrder != OrderSkip:
		return c, usage("OutOfOrder is %q: expected nothing, %q or %q", string(c.OutOfOrder), string(OrderApply), string(OrderSkip))
	case strings.ContainsAny(c.Name, "/ ") || len(c.Name) > 60:
		return c, usage("Name is %q: expected up to 60 letters without blanks and slashes", c.Name)
	}
	defaults := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	defaults(&c.LockWait, 200*time.Millisecond)
	defaults(&c.Patience, 5*time.Minute)
	defaults(&c.Wait, 15*time.Minute)
	defaults(&c.Lease, 30*time.Second)
	if c.SmallRows == 0 {
		c.SmallRows = 10_000
	}
	if c.Name == "" {
		c.Name = "main"
	}
	if c.Owner == "" {
		c.Owner = state.Self()
	}
	if c.Events == nil {
		c.Events = event.Discard
	}
	c.Events = event.Serial(c.Events)
	if c.Engine.Events == nil {
		c.Engine.Events = c.Events
	}
	if c.Engine.Undo == changeling.UndoAuto {
		c.Engine.Undo = changeling.UndoOff
	}
	if c.Engine.LockWait == 0 {
		c.Engine.LockWait = c.LockWait
	}
	return c, nil
}

// Migrator brings one database to the versions of one tree. Its methods may be called by several goroutines and by many
// processes at once.
type Migrator struct {
	db     *sql.DB
	fsys   fs.FS
	config Config
}

// New makes a Migrator. It does not connect and reads no file yet. db needs at least eight connections at a time where large
// tables are altered, and three otherwise; the pool stays the caller's.
func New(db *sql.DB, fsys fs.FS, c Config) (*Migrator, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	return &Migrator{db: db, fsys: fsys, config: c}, nil
}

// The states of a database as kinds of errors, for errors.Is.
var (
	ErrBehind  error = fault.Behind
	ErrAhead   error = fault.Ahead
	ErrUnknown error = fault.Strange
	ErrEdited  error = fault.Edited
	ErrFailed  error = fault.Broken
	ErrDrifted error = fault.Drifted
)

// server is what kind of server a database is on, with its texts.
type server struct {
	mysql   bool
	maria   bool
	version string // of MySQL and MariaDB
	syntax  plan.Syntax
	text    journal.Text
}

// session is a database that was looked at, and the tree as its server reads it.
type session struct {
	m      *Migrator
	db     *sql.DB // on MySQL a pool over the caller's
	server server
	store  *journal.Store
	tree   *Tree
}

// open looks at the server and reads the files. It changes nothing.
func (m *Migrator) open(ctx context.Context) (*session, error) {
	sv, db, err := detect(ctx, m.db)
	if err != nil {
		return nil, err
	}
	s := &session{m: m, db: db, server: sv}
	var scope string
	if err := db.QueryRowContext(ctx, sv.text.Scope).Scan(&scope); err != nil {
		return nil, errors.Join(err, s.close())
	}
	name := m.config.Name
	if scope != "" {
		name = scope + "/" + name
	}
	if sv.mysql && scope == "" {
		return nil, errors.Join(usage("the connection names no database: migrations belong to one, as in mysql://user@host/database"), s.close())
	}
	s.store = &journal.Store{DB: db, Text: sv.text, Tree: name}
	s.tree, err = Read(m.fsys, ReadOptions{Format: m.config.Format, Syntax: sv.syntax, Placeholders: m.config.Placeholders, Go: m.config.Go})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close lets go of the connections that are held of the caller's pool.
func (s *session) close() error {
	if s.db != s.m.db {
		return s.db.Close()
	}
	return nil
}

// detect asks a server what it is.
func detect(ctx context.Context, db *sql.DB) (server, *sql.DB, error) {
	version, err := journal.Version(ctx, db)
	if err != nil {
		return server{}, nil, err
	}
	if strings.HasPrefix(version, "PostgreSQL") {
		return server{syntax: plan.PostgresSyntax(), text: postgres.JournalText()}, db, nil
	}
	sv := server{mysql: true, maria: strings.Contains(version, "MariaDB"), version: version, syntax: plan.MySQLSyntax(), text: mysql.JournalText()}
	pool := mysql.Wrap(db)
	var mode string
	if err := pool.QueryRowContext(ctx, `SELECT @@sql_mode`).Scan(&mode); err != nil {
		return sv, nil, errors.Join(err, pool.Close())
	}
	sv.syntax.QuotedStrings = !strings.Contains(mode, "ANSI_QUOTES")
	sv.syntax.Backslashes = !strings.Contains(mode, "NO_BACKSLASH_ESCAPES")
	return sv, pool, nil
}

// work does something as the only instance that does: it waits for others, and only then reads what there is to do (Q2, R2).
func (m *Migrator) work(ctx context.Context, do func(ctx context.Context, r *run) error) error {
	s, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	if err := s.store.Prepare(ctx); err != nil {
		return explainDenied(err)
	}
	lease, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer lease.Release(ctx)
	return s.under(ctx, lease, do)
}

// under does something as long as a lease is kept.
func (s *session) under(ctx context.Context, lease *state.Lease, do func(ctx context.Context, r *run) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if err := lease.Keep(inner, func(state.Beat) {}); err != nil {
			cancel(err)
		}
	}()
	r := &run{session: s, lease: lease}
	err := do(inner, r)
	r.close()
	cause := context.Cause(inner)
	cancel(nil)
	<-kept
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && fault.KindOf(err) != fault.Stopped:
		return &fault.Problem{Kind: fault.Stopped, Err: errors.Join(ctx.Err(), err), Text: "stopped. What is done is kept and noted: run the same command again, and it goes on"}
	case cause != nil && ctx.Err() == nil:
		return s.lost(cause)
	}
	return err
}

// lost is the end of an instance that another one took over from.
func (s *session) lost(err error) error {
	if !errors.Is(err, fault.Owned) {
		return err
	}
	return &fault.Problem{Kind: fault.Owned, Err: err, Text: "another instance has taken the migrations over, because this one was not heard of: it stops and has written nothing since; see `changeling migrate status`"}
}

func explainDenied(err error) error {
	if fault.Denied(err) {
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: fmt.Sprintf(
			"the schema \"changeling\", where the history of migrations is kept, cannot be made or written: %s. Needed: GRANT CREATE ON DATABASE (PostgreSQL), or CREATE, SELECT, INSERT, UPDATE, DELETE ON changeling.* (MySQL)", fault.Message(err))}
	}
	return err
}

// acquire polls for the lease, with pauses in which nothing is open: a waiter holds no snapshot and no lock that an index
// build without locks would wait for (Q3).
func (s *session) acquire(ctx context.Context) (*state.Lease, error) {
	store, c := s.store.Lease(), s.m.config
	var lease *state.Lease
	said := false
	try := func(ctx context.Context) (err error) {
		lease, err = store.Acquire(ctx, s.store.Tree, c.Owner, c.Lease)
		return err
	}
	waits := func(err error) bool { return errors.Is(err, fault.Owned) || fault.Transient(err) }
	tell := func(error, int, time.Duration) {
		if owner, err := s.store.Owner(ctx); err == nil && owner != "" && !said {
			said = true
			c.Events(event.Notice{Text: "waiting for " + owner + ", which runs the migrations"})
		}
	}
	err := try(ctx)
	if err != nil && waits(err) && c.Wait > 0 {
		tell(err, 1, 0)
		err = retry.Do(ctx, retry.Policy{Initial: 100 * time.Millisecond, Max: time.Second, Elapsed: c.Wait}, waits, tell, try)
	}
	switch {
	case err == nil:
		return lease, nil
	case ctx.Err() != nil:
		return nil, &fault.Problem{Kind: fault.Stopped, Err: err, Text: "stopped while waiting for another instance: nothing was done"}
	case errors.Is(err, fault.Owned):
		owner, _ := s.store.Owner(ctx) // its name is for the message only
		return nil, &fault.Problem{Kind: fault.Owned, Err: err, Text: fmt.Sprintf("migrations are run by %s, and still were after %s: look with `changeling migrate status`, or wait longer with --wait; nothing was done", nonempty(owner, "another instance"), max(c.Wait, 0))}
	}
	return nil, err
}

func nonempty(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
