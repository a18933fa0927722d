// Package journal keeps in the target database what was done of trees of migrations and of backfill jobs.
//
// It is to package migrate what package state is to the engine: what is not here did not happen.
package journal

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
)

// Status is where a migration stands.
type Status string

// The statuses. A migration without a row is pending.
const (
	Running    Status = "running"    // begun, and some of its statements may be done
	Failed     Status = "failed"     // a statement failed; what is done is in its steps
	Applied    Status = "applied"    // done
	Baseline   Status = "baseline"   // was there before the history began
	Background Status = "background" // all done but changes that run beside it
	Waiting    Status = "waiting"    // a phase of it is done, and the next one waits for a deploy
)

// Over says that a migration needs no more work.
func (s Status) Over() bool { return s == Applied || s == Baseline }

// Row is one migration as it is known to the database.
type Row struct {
	Version  string // or what stands for it, see migrate.Migration.ID
	Name     string
	Exact    string // checksums; empty where they are not known
	Normal   string
	Status   Status
	Origin   string // the table that it was taken over from; empty: applied by us
	By       string
	Error    string
	Took     time.Duration
	Started  time.Time
	Finished time.Time // zero: not yet
}

// Step is one statement of a migration that is not one transaction with its record.
type Step struct {
	Direction string // up or down
	Seq       int    // from 1
	Hash      string // of the statement's words
	SQL       string
	Done      bool
	Before    string // what the schema was before; empty: not asked for
	Change    string // the engine's change that does it; empty: none
	Attempts  int
}

// Entry is one line of the history, which only grows.
type Entry struct {
	At      time.Time     `json:"at"`
	Version string        `json:"version"`
	What    string        `json:"what"` // applied, failed, reverted, adopted, baseline, repaired
	By      string        `json:"by"`
	Took    time.Duration `json:"took_ns"`
	Detail  string        `json:"detail"`
}

// Text is the SQL of one kind of server. Arguments stand in the order of the comments.
type Text struct {
	Schema    []string // make the tables; may run twice, and at the same time as another run
	Exists    string   // are the tables there?
	Scope     string   // -> what a tree is known by besides its name, where databases share the tables
	Enter     string   // claim: make its rows; may run twice
	Rows      string   // tree -> the columns of Row, times as seconds since 1970
	Save      string   // tree, version, name, exact, normal, status, origin, by, error, took in ms; sets finished where over
	Forget    string   // tree, version
	Steps     string   // tree, version -> direction, seq, hash, sql, done, before, change, attempts
	StepBegin string   // tree, version, direction, seq, hash, sql, before: one more attempt
	StepDone  string   // tree, version, direction, seq
	SetChange string   // tree, version, direction, seq, change
	Clear     string   // tree, version: its steps
	Open      string   // beginning of trees with % -> tree, change: the changes that steps were left to, and that are not noted as done; oldest first
	Erase     []string // tree: all that is known of it
	Note      string   // tree, version, what, by, took in ms, detail
	History   string   // tree -> seconds, version, what, by, took, detail; newest first
	Owner     string   // claim -> who holds it, whether its connection is there; no row: nobody ever did
	Lease     state.Text

	// Pin makes a transaction read under one search path, whatever the session's is; empty where there is none.
	Pin string
	// Describe are queries for one line an object of the database, in terms of names alone; changeling's own are left out.
	// They run behind Pin.
	Describe []string
	// Table answers whether a table is there and its size in bytes: schema or empty, table.
	Table string
	// Columns answers the names of a table's columns in the default schema: table.
	Columns string
	// Bound is the text that bounds waits for locks on a connection or in a transaction: see its package.
	Bound func(wait time.Duration) string
	// Busy answers the connection that still runs a statement of a run that is gone, and End ends it: claim. Empty where
	// the claim itself sees to that.
	Hold, Busy, End string
}

// Store reads and writes the journal of one tree.
type Store struct {
	DB   *sql.DB
	Text Text
	Tree string
}

// Exists says whether the tables are there.
func (s *Store) Exists(ctx context.Context) (there bool, err error) {
	err = s.DB.QueryRowContext(ctx, s.Text.Exists).Scan(&there)
	return there, err
}

// Erasing are the texts that take a tree out of the journal's tables; is compares a column with the argument.
func Erasing(is string) []string {
	return []string{
		`DELETE FROM changeling.migration WHERE tree` + is, `DELETE FROM changeling.migration_step WHERE tree` + is,
		`DELETE FROM changeling.migration_history WHERE tree` + is, `DELETE FROM changeling.migration_claim WHERE change_id` + is,
		`DELETE FROM changeling.migration_progress WHERE change_id` + is,
	}
}

// Prepare makes the tables where they are missing, and the claim's row.
func (s *Store) Prepare(ctx context.Context) error {
	there, err := s.Exists(ctx)
	if err != nil {
		return err
	}
	if !there {
		for _, statement := range s.Text.Schema {
			// Instances that start at once all make them; the losers find them made.
			if _, err := s.DB.ExecContext(ctx, statement); err != nil && !fault.Duplicate(err) && !fault.Exists(err) {
				return err
			}
		}
	}
	_, err = s.DB.ExecContext(ctx, s.Text.Enter, s.Tree)
	return err
}

// Rows are all migrations that the database knows of.
func (s *Store) Rows(ctx context.Context, db state.DB) ([]*Row, error) {
	rows, err := db.QueryContext(ctx, s.Text.Rows, s.Tree)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*Row
	for rows.Next() {
		var r Row
		var started, finished, took float64
		if err := rows.Scan(&r.Version, &r.Name, &r.Exact, &r.Normal, &r.Status, &r.Origin, &r.By, &r.Error, &took, &started, &finished); err != nil {
			return nil, err
		}
		r.Took, r.Started, r.Finished = millis(took), seconds(started), seconds(finished)
		out = append(out, &r)
	}
	return out, rows.Err()
}

// Save writes a migration's row. It may run twice.
func (s *Store) Save(ctx context.Context, db state.DB, r *Row) error {
	_, err := db.ExecContext(ctx, s.Text.Save, s.Tree, r.Version, r.Name, r.Exact, r.Normal, string(r.Status), r.Origin, r.By, r.Error, ms(r.Took))
	return err
}

// Forget takes a migration's row and its steps away.
func (s *Store) Forget(ctx context.Context, db state.DB, version string) error {
	if _, err := db.ExecContext(ctx, s.Text.Clear, s.Tree, version); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, s.Text.Forget, s.Tree, version)
	return err
}

// Steps are the steps of a migration, by their number, of one direction.
func (s *Store) Steps(ctx context.Context, db state.DB, version, direction string) (map[int]*Step, error) {
	return s.steps(ctx, db, s.Text.Steps, version, direction)
}

// Lock are the steps as they are once nobody else writes them, in a transaction that keeps others from it.
func (s *Store) Lock(ctx context.Context, tx state.DB, version, direction string) (map[int]*Step, error) {
	return s.steps(ctx, tx, s.Text.Steps+" FOR UPDATE", version, direction)
}

func (s *Store) steps(ctx context.Context, db state.DB, query, version, direction string) (map[int]*Step, error) {
	rows, err := db.QueryContext(ctx, query, s.Tree, version)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[int]*Step{}
	for rows.Next() {
		var x Step
		if err := rows.Scan(&x.Direction, &x.Seq, &x.Hash, &x.SQL, &x.Done, &x.Before, &x.Change, &x.Attempts); err != nil {
			return nil, err
		}
		if x.Direction == direction {
			out[x.Seq] = &x
		}
	}
	return out, rows.Err()
}

// Begin writes that a step is about to happen.
func (s *Store) Begin(ctx context.Context, db state.DB, version string, x *Step) error {
	_, err := db.ExecContext(ctx, s.Text.StepBegin, s.Tree, version, x.Direction, x.Seq, x.Hash, x.SQL, x.Before)
	return err
}

// Done writes that a step has happened.
func (s *Store) Done(ctx context.Context, db state.DB, version string, x *Step) error {
	_, err := db.ExecContext(ctx, s.Text.StepDone, s.Tree, version, x.Direction, x.Seq)
	return err
}

// Left is a change of the engine that a migration was left to.
type Left struct{ Tree, Change string }

// Open are the changes that are not noted as done, of the trees that begin with a scope.
func (s *Store) Open(ctx context.Context, scope string) (out []Left, err error) {
	rows, err := s.DB.QueryContext(ctx, s.Text.Open, strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(scope)+"%")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l Left
		if err := rows.Scan(&l.Tree, &l.Change); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

// SetChange notes the change of the engine that does a step.
func (s *Store) SetChange(ctx context.Context, db state.DB, version string, x *Step, change string) error {
	_, err := db.ExecContext(ctx, s.Text.SetChange, s.Tree, version, x.Direction, x.Seq, change)
	return err
}

// Note adds a line to the history.
func (s *Store) Note(ctx context.Context, db state.DB, e Entry) error {
	_, err := db.ExecContext(ctx, s.Text.Note, s.Tree, e.Version, e.What, e.By, ms(e.Took), e.Detail)
	return err
}

// History is what happened, the newest first.
func (s *Store) History(ctx context.Context) ([]Entry, error) {
	rows, err := s.DB.QueryContext(ctx, s.Text.History, s.Tree)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Entry
	for rows.Next() {
		var e Entry
		var at, took float64
		if err := rows.Scan(&at, &e.Version, &e.What, &e.By, &took, &e.Detail); err != nil {
			return nil, err
		}
		e.At, e.Took = seconds(at), millis(took)
		out = append(out, e)
	}
	return out, rows.Err()
}

// Erase forgets a tree.
func (s *Store) Erase(ctx context.Context) error {
	for _, text := range s.Text.Erase {
		if _, err := s.DB.ExecContext(ctx, text, s.Tree); err != nil {
			return err
		}
	}
	return nil
}

// Owner is who runs migrations now, empty if nobody does.
func (s *Store) Owner(ctx context.Context) (string, error) {
	var owner string
	var alive bool
	err := s.DB.QueryRowContext(ctx, s.Text.Owner, s.Tree).Scan(&owner, &alive)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !alive {
		return "", nil
	}
	return owner, err
}

// Lease is the store that leases are taken from; their change is Tree.
func (s *Store) Lease() *state.Store { return &state.Store{DB: s.DB, Text: s.Text.Lease} }

// Beginner is a pool, or a connection without an open transaction.
type Beginner interface {
	state.DB
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

// Describe is the schema of the database, one line an object.
func Describe(ctx context.Context, db Beginner, t Text) (lines []string, err error) {
	if t.Pin == "" {
		return columns(ctx, db, t.Describe)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	if _, err := tx.ExecContext(ctx, t.Pin); err != nil {
		return nil, err
	}
	return columns(ctx, tx, t.Describe)
}

// Version is what a server says that it is. On PostgreSQL nobody can have put a function of his own in the place of the first
// one that is asked; MySQL and MariaDB know only the second.
func Version(ctx context.Context, db state.DB) (version string, err error) {
	err = db.QueryRowContext(ctx, `SELECT pg_catalog.version()`).Scan(&version)
	if err != nil && !fault.Lost(err) && !fault.Transient(err) && ctx.Err() == nil {
		err = db.QueryRowContext(ctx, `SELECT version()`).Scan(&version)
	}
	if err != nil {
		return "", &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the database cannot be asked for its version: " + fault.Message(err)}
	}
	return version, nil
}

// columns are the values of queries of one column, one behind the other.
func columns(ctx context.Context, db state.DB, queries []string) (lines []string, err error) {
	for _, q := range queries {
		found, err := column(ctx, db, q)
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	return lines, nil
}

func column(ctx context.Context, db state.DB, query string) (lines []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line.String)
	}
	return lines, rows.Err()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// seconds is a time in seconds since 1970; zero is none.
func seconds(s float64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(s * 1e6)).UTC()
}
