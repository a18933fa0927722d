// Package state keeps changes in the target database: one row a change with its plan and its program counter, a claim
// with a fencing token, the chunks that are done, and what people want of a change.
//
// It is the only memory of the engine. What is not here did not happen.
package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Status is where a change stands.
type Status string

// The statuses. A change is over when it is done, aborted or undone; its old table may still be kept then.
const (
	Running Status = "running" // begun and not over, whether or not somebody works on it now
	Held    Status = "held"    // ready, waiting for the word
	Paused  Status = "paused"
	Failed  Status = "failed" // stopped by an error that needs a person; run again after mending
	// Expanded is a change whose old and new columns are both in use. Nobody works on it until somebody says that the old one can go.
	Expanded Status = "expanded"
	Done     Status = "done"
	Aborted  Status = "aborted"
	Undone   Status = "undone" // the old table is in its place again
)

// Want is what a person asks of a change.
type Want string

// The wishes. The empty one means: go on.
const (
	WantRun      Want = ""
	WantPause    Want = "pause"
	WantCutover  Want = "cutover"
	WantContract Want = "contract"
	WantAbort    Want = "abort"
)

// Record is one change as it is saved.
type Record struct {
	ID          string
	Statement   string
	Table       schema.Name
	Plan        *plan.Plan
	Step        int
	Status      Status
	Want        Want
	Hold        bool
	Settings    string        // of the throttle, that were made while it ran; empty: none
	DropAfter   time.Duration // how long the old table is kept; negative: for ever
	Heap        int64         // identity of the source's file that copy positions belong to; zero: not begun
	Blocks      int64         // size of the copy in blocks
	Fingerprint string        // of the table after the cutover
	RowsDone    int64
	Verified    int64
	Pending     int64
	Reason      string // why it waits
	Held        time.Duration
	Error       string
	ErrorKind   int
	Owner       string // who works on it now; empty: nobody
	Alive       bool   // the owner's connection is there
	Created     time.Time
	Updated     time.Time
	CutAt       time.Time // zero before the cutover
	DropAt      time.Time // zero: never, or not yet known
	Due         bool      // DropAt has come, by the database's clock
	Dropped     bool      // the old table is gone
}

// Over says that the change needs no more work but for the old table.
func (r *Record) Over() bool { return r.Status == Done || r.Status == Aborted || r.Status == Undone }

// Text is the SQL of one kind of server. Arguments stand in the order of the comments.
type Text struct {
	Schema   []string // make the tables; may run twice, and at the same time as another run
	Exists   string   // are the tables there?
	Insert   string   // id, format, statement, schema, table, table id, plan, hold, drop after in seconds
	Select   string   // a change: see scan. To be followed by one of the next three
	ByID     string   // id
	ByTable  string   // schema, table: unfinished ones
	ByText   string   // statement, schema or empty, table: the newest
	Newest   string   // all, newest first
	Latest   string   // statement, schema, table: newest of these
	Claim    string   // id, old token, owner -> token; takes the row's lock
	Claimed  string   // id -> token, owner, alive, seconds since the last beat
	Unclaim  string   // id, token
	Holders  string   // application name -> ends its connections, answers how many there were
	Ends     string   // application name -> statements that end its connections, where Holders cannot; else empty
	Session  string   // application name: names this connection
	Fence    string   // id, token -> a row, locked against another claim
	Beat     string   // id, token, pending, reason -> token, want, hold, settings
	Probe    string   // id: commit a tiny row
	Advance  string   // id, step, next step; notes it in the history
	SetHeap  string   // id, heap, blocks
	SetState string   // id, status, error, error kind
	SetWant  string   // id, want
	SetHold  string   // id, hold
	Settings string   // id, settings as they were, settings
	Remark   string   // id, text for the history
	Remarks  string   // id -> time, text, oldest first
	Finish   string   // id, status, fingerprint
	Cut      string   // id, held in milliseconds
	SetHeld  string   // id, held in milliseconds
	Dropped  string   // id
	Delete   string   // id
	SetPlan  string   // id, plan
	Record   string   // id, token, owner, version, array of events as JSON
	Events   string   // id: time, token, owner, version, event of each, oldest first
	Moves    string   // id: time, step, next step of each, oldest first
	Note     string   // id, walk, no, after, upto, last, rows, milliseconds
	Chunks   string   // id, walk
	Forget   string   // id: all chunks and positions, for another copy
	Unwalk   string   // id, walk: its chunks
}

// DB is what the store needs of a pool, a connection or a transaction.
type DB interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Store reads and writes changes.
type Store struct {
	DB   *sql.DB
	Text Text
}

// ErrNone says that there is no such change.
var ErrNone = errors.New("no such change")

// ErrMoved says that the counter is not where the caller believes it is: a commit of its own whose answer was lost has moved it.
var ErrMoved = errors.New("the counter has moved")

// Replan saves another plan for a change.
func (s *Store) Replan(ctx context.Context, db DB, p *plan.Plan) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.Exec(ctx, db, s.Text.SetPlan, p.ID, string(text))
}

// Prepare makes the tables where they are missing.
func (s *Store) Prepare(ctx context.Context) error {
	there, err := s.Exists(ctx)
	if err != nil || there {
		return err
	}
	for _, statement := range s.Text.Schema {
		// Two runs that start at once both make them; the loser finds them made.
		if _, err := s.DB.ExecContext(ctx, statement); err != nil && !fault.Duplicate(err) && !fault.Exists(err) {
			return err
		}
	}
	return nil
}

// Exists says whether the tables are there.
func (s *Store) Exists(ctx context.Context) (bool, error) {
	var there bool
	err := s.DB.QueryRowContext(ctx, s.Text.Exists).Scan(&there)
	return there, err
}

// Create saves a new change. A second unfinished change on one table is refused by a unique index, whoever comes second.
func (s *Store) Create(ctx context.Context, db DB, p *plan.Plan, hold bool, dropAfter time.Duration) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	seconds := int64(dropAfter / time.Second)
	if dropAfter < 0 {
		seconds = -1
	}
	_, err = db.ExecContext(ctx, s.Text.Insert, p.ID, plan.Format, p.Statement, p.Table.Schema, p.Table.Table, int64(p.Pair.Table), string(text), hold, seconds)
	return err
}

// Find is the change with an id, or ErrNone.
func (s *Store) Find(ctx context.Context, id string) (*Record, error) {
	return s.one(ctx, s.Text.Select+s.Text.ByID, id)
}

// Unfinished is the change that is under way on a table, or ErrNone.
func (s *Store) Unfinished(ctx context.Context, table schema.Name) (*Record, error) {
	return s.one(ctx, s.Text.Select+s.Text.ByTable, table.Schema, table.Table)
}

// ByStatement is the newest change with a statement, of a table that may not have its name any more, or ErrNone. The
// table's schema is empty where the statement gives none.
func (s *Store) ByStatement(ctx context.Context, statement string, table schema.Name) (*Record, error) {
	return s.one(ctx, s.Text.Select+s.Text.ByText, statement, table.Schema, table.Table)
}

// Latest is the newest change of a table with a statement, or ErrNone.
func (s *Store) Latest(ctx context.Context, statement string, table schema.Name) (*Record, error) {
	return s.one(ctx, s.Text.Select+s.Text.Latest, statement, table.Schema, table.Table)
}

// List is all changes, newest first. Before the first change of a database it is empty.
func (s *Store) List(ctx context.Context) ([]*Record, error) {
	there, err := s.Exists(ctx)
	if err != nil || !there {
		return nil, err
	}
	rows, err := s.DB.QueryContext(ctx, s.Text.Select+s.Text.Newest)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*Record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func (s *Store) one(ctx context.Context, query string, args ...any) (*Record, error) {
	there, err := s.Exists(ctx)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, ErrNone
	}
	r, err := scan(s.DB.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNone
	}
	return r, err
}

func scan(row interface{ Scan(...any) error }) (*Record, error) {
	var r Record
	var format int
	var text string
	var dropAfter int64
	var held float64
	var cut, drop, created, updated stamp
	err := row.Scan(&r.ID, &format, &r.Statement, &r.Table.Schema, &r.Table.Table, &text, &r.Step, &r.Status, &r.Want, &r.Hold, &r.Settings, &dropAfter,
		&r.Heap, &r.Blocks, &r.Fingerprint, &r.RowsDone, &r.Verified, &r.Pending, &r.Reason, &held, &r.Error, &r.ErrorKind,
		&r.Owner, &r.Alive, &created, &updated, &cut, &drop, &r.Due, &r.Dropped)
	if err != nil {
		return nil, err
	}
	r.DropAfter = time.Duration(dropAfter) * time.Second
	r.Held = time.Duration(held * float64(time.Millisecond))
	r.CutAt, r.DropAt, r.Created, r.Updated = time.Time(cut), time.Time(drop), time.Time(created), time.Time(updated)
	if format != plan.Format {
		return nil, &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf(
			"change %s was saved in format %d, this version reads format %d: finish it with the version that began it; nothing was changed", r.ID, format, plan.Format)}
	}
	if err := json.Unmarshal([]byte(text), &r.Plan); err != nil {
		return nil, fmt.Errorf("plan of change %s: %w", r.ID, err)
	}
	return &r, nil
}

// stamp is a time as a driver gives it: as itself, or as the text of a time in UTC. NULL is the zero time.
type stamp time.Time

func (s *stamp) Scan(v any) (err error) {
	var t time.Time
	switch v := v.(type) {
	case nil:
	case time.Time:
		t = v
	case []byte:
		t, err = time.Parse(time.DateTime, string(v))
	case string:
		t, err = time.Parse(time.DateTime, v)
	default:
		err = fmt.Errorf("a time came as %T", v)
	}
	*s = stamp(t)
	return err
}

// Advance moves the program counter, in the transaction that did the step. It fails if the counter is not where the
// caller believes it is.
func (s *Store) Advance(ctx context.Context, db DB, id string, step, next int) error {
	res, err := db.ExecContext(ctx, s.Text.Advance, id, step, next)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("change %s is not at step %d: %w", id, step, ErrMoved))
	}
	return nil
}

// Exec runs one of the small writes.
func (s *Store) Exec(ctx context.Context, db DB, query string, args ...any) error {
	_, err := db.ExecContext(ctx, query, args...)
	return err
}

// Note records a chunk as done, in the transaction that did it. A chunk that is noted already is a duplicate error: an
// earlier try committed although its answer was lost.
func (s *Store) Note(ctx context.Context, db DB, id, walk string, c copier.Chunk, rows int64, took time.Duration) error {
	_, err := db.ExecContext(ctx, s.Text.Note, id, walk, c.No, c.After.String(), c.Upto.String(), c.Last, rows, float64(took)/float64(time.Millisecond))
	return err
}

// Chunks are the done chunks of a walk, and how many rows they had.
func (s *Store) Chunks(ctx context.Context, db DB, id, walk string) (chunks []copier.Chunk, rows int64, err error) {
	found, err := db.QueryContext(ctx, s.Text.Chunks, id, walk)
	if err != nil {
		return nil, 0, err
	}
	defer found.Close()
	for found.Next() {
		var c copier.Chunk
		var after, upto string
		var n int64
		if err := found.Scan(&c.No, &after, &upto, &c.Last, &n); err != nil {
			return nil, 0, err
		}
		if c.After, err = copier.ParseKey(after); err != nil {
			return nil, 0, err
		}
		if c.Upto, err = copier.ParseKey(upto); err != nil {
			return nil, 0, err
		}
		chunks = append(chunks, c)
		rows += n
	}
	return chunks, rows, found.Err()
}

// Remarks tells what is in a change's history besides its steps, oldest first.
func (s *Store) Remarks(ctx context.Context, id string, tell func(at time.Time, text string)) error {
	rows, err := s.DB.QueryContext(ctx, s.Text.Remarks, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at stamp
		var text string
		if err := rows.Scan(&at, &text); err != nil {
			return err
		}
		tell(time.Time(at), text)
	}
	return rows.Err()
}
