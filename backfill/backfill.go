// Package backfill changes or deletes the rows of a table in small batches: as a guest of the users, from where it stood after
// any crash, each row once.
//
// Its one idea: the walk goes by the primary key and looks at nothing else. A condition is asked within a batch and never
// bounds one, so that a batch costs the same whether many rows or none fit. The position is saved in the batch's own transaction.
package backfill

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Job is what is to be done to a table. It is saved under its name; the same name again goes on with it.
type Job struct {
	Name string `json:"-"`
	// Table has a primary key. It is written as in SQL.
	Table string `json:"table"`
	// Set are the assignments of an UPDATE, Delete makes it a DELETE. Both are as in SQL.
	Set    string `json:"set,omitempty"`
	Delete bool   `json:"delete,omitempty"`
	// Where is a condition that rows have to fit; empty: all do.
	Where string `json:"where,omitempty"`
	// Left is a condition that no row may fit afterwards, such as "c IS NULL": rows are looked through for it (B14).
	Left string `json:"left,omitempty"`
	// Tolerate is how many rows that fail by themselves may be left out and noted, before the job stops (B6).
	Tolerate int64 `json:"tolerate,omitempty"`
	// Triggers is "skip" to leave the triggers of the table out, but for those that are ENABLE ALWAYS (PostgreSQL): it needs the right
	// to set session_replication_role, and is refused where foreign keys would go unchecked. Empty: they fire, as for any user.
	Triggers string `json:"triggers,omitempty"`
	// KeepTimes leaves columns with ON UPDATE CURRENT_TIMESTAMP as they are (MySQL, MariaDB).
	KeepTimes bool `json:"keep_times,omitempty"`
	// AsyncCommit does not wait for the log at the end of a batch (PostgreSQL, synchronous_commit). Rows and position commit together: a crash of
	// the server may lose the last batches, and the job does them again.
	AsyncCommit bool `json:"async_commit,omitempty"`
	// Vacuum is after how many rows, in percent of all, the table is vacuumed while the job goes on (PostgreSQL). Zero: that is left to autovacuum.
	Vacuum float64 `json:"vacuum,omitempty"`
	// Window is the time of day in which it works, in UTC, as in "22:00-06:00"; empty: always.
	Window string `json:"window,omitempty"`
	// Schedule says when a worker begins it anew, as in crontab(5), with the clock of UTC unless it begins with TZ=: "0 3 * * *".
	// Empty: it is done once. What failed is gone on with at the next time.
	Schedule string `json:"schedule,omitempty"`
	// Func does a batch instead of Set and Delete. A job with one runs only where a program gives it.
	Func Func `json:"-"`
}

// Func does one batch in its transaction, which is rolled back when it fails. Range is a condition on the key's columns, with
// its values written in; it holds exactly the batch's rows. It answers how many rows it changed.
type Func func(ctx context.Context, tx *sql.Tx, b Batch) (int64, error)

// Batch is a range of keys.
type Batch struct {
	Table string // quoted
	Range string // a condition for WHERE, without arguments
}

// Config is how jobs run. The zero Config is a quiet guest.
type Config struct {
	// BatchTime is what one batch should take. Zero means 100ms.
	BatchTime time.Duration
	// LockWait is the longest wait for a row that somebody else has locked. Zero means 200ms; MySQL counts whole seconds.
	LockWait time.Duration
	// Lease is how long a worker may be silent before another takes its job over. Zero means 30s.
	Lease time.Duration
	// Fast works without rests, and heeds of the signals only what is for safety or was asked for.
	Fast bool
	// Throttle is how jobs keep out of the way of others, by the same signals as changes; its Window is besides that of a job.
	Throttle changeling.Throttle
	// Replicas are asked themselves how far they are, besides those that PostgreSQL knows by itself. Their pools stay the caller's.
	Replicas []changeling.Replica
	// Owner is how this worker calls itself to others. Empty means host and process id.
	Owner string
	// Events is told what happens. It may be nil.
	Events event.Sink
}

// Status is a job as it is saved. Its JSON form is a contract: fields are added, never changed.
type Status struct {
	Name   string `json:"name"`
	Table  string `json:"table"`
	Status string `json:"status"` // pending, running, paused, done, failed, cancelled
	Job    Job    `json:"job"`
	After  string `json:"after"` // the key up to which it is done
	Upto   string `json:"upto"`  // the key where it ends
	Rows   int64  `json:"rows"`  // changed until now
	Seen   int64  `json:"seen"`  // gone through until now, changed or not
	Total  int64  `json:"total"` // to go through, about; zero: not known
	// Busy is for how long it has worked, with its rests.
	Busy  time.Duration `json:"busy_ns"`
	Bad   int64         `json:"bad"` // rows that were left out
	Error string        `json:"error"`

	want         string
	full         string    // the name with its scope
	changed, now time.Time // of the server's clock: when it last moved, and when it was asked
}

// Over says that a job needs nobody any more, until its schedule says so.
func (s *Status) Over() bool { return s.Status == "done" || s.Status == "cancelled" }

// Jobs are the jobs of one database.
type Jobs struct {
	db     *sql.DB
	caller *sql.DB
	own    bool // db is a pool over the caller's
	mysql  bool
	maria  bool
	text   journal.JobText
	claims journal.Text
	syntax plan.Syntax
	scope  string
	config Config

	current atomic.Bool // the tables have all columns
}

// Open looks at the server and returns its jobs. It changes nothing. The pool stays the caller's; Close gives back what is held of it.
func Open(ctx context.Context, db *sql.DB, c Config) (*Jobs, error) {
	if c.BatchTime < 0 || c.BatchTime > time.Minute || c.LockWait < 0 || c.LockWait > 10*time.Second {
		return nil, usage("BatchTime is %s and LockWait %s: expected 0 to 1m and 0 to 10s", c.BatchTime, c.LockWait)
	}
	if c.BatchTime == 0 {
		c.BatchTime = 100 * time.Millisecond
	}
	if c.LockWait == 0 {
		c.LockWait = 200 * time.Millisecond
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
	version, err := journal.Version(ctx, db)
	if err != nil {
		return nil, err
	}
	j := &Jobs{db: db, caller: db, text: postgres.JobText(), claims: postgres.JournalText(), syntax: plan.PostgresSyntax(), config: c}
	if !strings.HasPrefix(version, "PostgreSQL") {
		j.maria = strings.Contains(version, "MariaDB")
		j.db, j.own, j.mysql, j.text, j.claims, j.syntax = mysql.Wrap(db), true, true, mysql.JobText(), mysql.JournalText(), plan.MySQLSyntax()
	}
	if err := j.db.QueryRowContext(ctx, j.claims.Scope).Scan(&j.scope); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// Close lets go of connections that are held of the caller's pool. Runs must have ended.
func (j *Jobs) Close() {
	if j.own {
		j.db.Close() // all that it could say is that a connection was gone already
	}
}

// Parse reads a job out of an UPDATE or DELETE of one table.
func (j *Jobs) Parse(statement string) (Job, error) {
	tokens, err := plan.Lex(statement, j.syntax)
	if err != nil {
		return Job{}, usage("%v", err)
	}
	var job Job
	depth, from, part := 0, 0, ""
	take := func(to int) error {
		text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(statement[from:to]), ";"))
		switch part {
		case "UPDATE", "FROM":
			job.Table = text
		case "SET":
			job.Set = text
		case "WHERE":
			job.Where = text
		case "LIMIT", "ORDER", "RETURNING", "USING", "JOIN":
			return usage("%s has no place in a backfill: it is done to all rows, batch by batch", part)
		}
		return nil
	}
	for _, t := range tokens {
		switch word := strings.ToUpper(statement[t.Start:t.End]); {
		case t.Kind == plan.TokenSymbol && word == "(":
			depth++
		case t.Kind == plan.TokenSymbol && word == ")":
			depth--
		case t.Kind != plan.TokenWord || depth > 0:
		case word == "UPDATE", word == "DELETE", word == "FROM" && part == "DELETE", word == "SET", word == "WHERE", word == "LIMIT", word == "ORDER", word == "RETURNING", word == "USING", word == "JOIN":
			if err := take(t.Start); err != nil {
				return Job{}, err
			}
			part, from = word, t.End
			job.Delete = job.Delete || word == "DELETE"
		}
	}
	if err := take(len(statement)); err != nil {
		return Job{}, err
	}
	return job, j.check(job)
}

// check refuses a job that says nothing.
func (j *Jobs) check(job Job) error {
	switch {
	case job.Table == "" || strings.ContainsAny(job.Table, " ,\n\t"):
		return usage("%q is no table: expected UPDATE t SET c = … [WHERE …], or DELETE FROM t [WHERE …]", job.Table)
	case job.Func == nil && job.Set == "" && !job.Delete:
		return usage("the job says nothing to do: expected UPDATE t SET c = … [WHERE …], or DELETE FROM t [WHERE …]")
	case job.Delete && job.Set != "":
		return usage("the job is an UPDATE and a DELETE")
	}
	if job.Schedule != "" {
		if _, err := schedule(job.Schedule); err != nil {
			return err
		}
	}
	if err := j.mannered(job); err != nil {
		return err
	}
	_, _, err := window(job.Window)
	return err
}

// Create saves a job, for whoever works. The same job again changes nothing; another one of the same name is refused.
func (j *Jobs) Create(ctx context.Context, job Job) error {
	if job.Name == "" || len(job.Name) > 60 || strings.ContainsAny(job.Name, "/%_\\ ") {
		return usage("the name of the job is %q: expected up to 60 letters, digits and dashes", job.Name)
	}
	if err := j.check(job); err != nil {
		return err
	}
	if err := j.prepare(ctx); err != nil {
		return err
	}
	spec, err := json.Marshal(job)
	if err != nil {
		return err
	}
	if _, err := j.db.ExecContext(ctx, j.text.Insert, j.full(job.Name), job.Table, string(spec)); err != nil {
		return err
	}
	s, err := j.Find(ctx, job.Name)
	if err != nil {
		return err
	}
	if saved, err := json.Marshal(s.Job); err != nil || string(saved) != string(spec) {
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("there is another job of the name %s: %s. Give this one another name; nothing was changed", job.Name, saved)}
	}
	return nil
}

func (j *Jobs) prepare(ctx context.Context) error {
	store := j.claim("")
	if err := store.Prepare(ctx); err != nil {
		return err
	}
	var there bool
	if err := j.db.QueryRowContext(ctx, j.text.Exists).Scan(&there); err != nil {
		return err
	}
	if there {
		return j.modern(ctx)
	}
	for _, s := range j.text.Schema {
		if _, err := j.db.ExecContext(ctx, s); err != nil && !fault.Duplicate(err) && !fault.Exists(err) {
			return err
		}
	}
	return nil
}

// modern adds the columns that jobs of earlier versions do not have.
func (j *Jobs) modern(ctx context.Context) error {
	if j.current.Load() {
		return nil
	}
	look := func() (ok bool, err error) {
		err = j.db.QueryRowContext(ctx, j.text.Current).Scan(&ok)
		j.current.Store(ok)
		return ok, err
	}
	ok, err := look()
	if err != nil || ok {
		return err
	}
	_, err = j.db.ExecContext(ctx, j.text.Newer)
	if ok, lookErr := look(); lookErr != nil || ok { // another process may have been quicker
		return lookErr
	}
	return err
}

// claim is the store whose lease is that of a table: never two jobs on one (B13).
func (j *Jobs) claim(table string) *journal.Store {
	return &journal.Store{DB: j.db, Text: j.claims, Tree: j.scope + "/backfill " + table}
}

func (j *Jobs) full(name string) string { return j.scope + "/" + name }

// List is all jobs, the oldest first.
func (j *Jobs) List(ctx context.Context) ([]*Status, error) {
	var there bool
	if err := j.db.QueryRowContext(ctx, j.text.Exists).Scan(&there); err != nil || !there {
		return nil, err
	}
	if err := j.modern(ctx); err != nil {
		return nil, err
	}
	escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(j.scope)
	rows, err := j.db.QueryContext(ctx, j.text.Select, escaped+"/%")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*Status
	for rows.Next() {
		var s Status
		var spec string
		var changed, now, busy float64
		if err := rows.Scan(&s.full, &s.Table, &spec, &s.Status, &s.want, &s.After, &s.Upto, &s.Rows, &s.Bad, &s.Error, &changed, &now, &s.Seen, &s.Total, &busy); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(spec), &s.Job); err != nil {
			return nil, err
		}
		s.Name = strings.TrimPrefix(s.full, j.scope+"/")
		s.changed, s.now = time.UnixMicro(int64(changed*1e6)), time.UnixMicro(int64(now*1e6))
		s.Job.Name, s.Busy = s.Name, time.Duration(busy*float64(time.Second))
		out = append(out, &s)
	}
	return out, rows.Err()
}

// Find is the job with a name.
func (j *Jobs) Find(ctx context.Context, name string) (*Status, error) {
	all, err := j.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, usage("there is no job %q: `changeling backfill list` shows those there are", name)
}

// Pause, Resume and Cancel say what a job should do, wherever it runs; it hears of it within a second. A job that is cancelled
// keeps what it has done.
func (j *Jobs) Pause(ctx context.Context, name string) error { return j.want(ctx, name, "pause") }

// Resume takes a pause back.
func (j *Jobs) Resume(ctx context.Context, name string) error { return j.want(ctx, name, "") }

// Cancel ends a job for good.
func (j *Jobs) Cancel(ctx context.Context, name string) error { return j.want(ctx, name, "cancel") }

func (j *Jobs) want(ctx context.Context, name, want string) error {
	s, err := j.Find(ctx, name)
	if err != nil {
		return err
	}
	if s.Over() && (s.Job.Schedule == "" || s.Status == "cancelled") {
		return usage("job %s is %s: there is nothing to change", name, s.Status)
	}
	_, err = j.db.ExecContext(ctx, j.text.Want, s.full, want)
	return err
}

// Run saves a job and does it, from where it stood. It returns when the job is done; another job on the table is an error of
// kind changeling.ErrOwned, which goes away.
func (j *Jobs) Run(ctx context.Context, job Job) (*Status, error) {
	if err := j.Create(ctx, job); err != nil {
		return nil, err
	}
	return j.run(ctx, job, false)
}

// Work does all jobs that are there, one after the other, and then those that come, until ctx ends. Jobs with a function are
// taken from known, by their names. Several workers may run: each table has one at a time.
func (j *Jobs) Work(ctx context.Context, known map[string]Func) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := j.once(ctx, known); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once does what can be done now. A job that fails is noted, and does not keep others.
func (j *Jobs) once(ctx context.Context, known map[string]Func) error {
	all, err := j.List(ctx)
	if err != nil {
		if fault.Transient(err) || fault.Lost(err) || ctx.Err() != nil {
			return nil // the next look is soon
		}
		return err
	}
	for _, s := range all {
		job := s.Job
		job.Func = known[s.Name]
		in, _, _ := window(job.Window) // it was checked when it was saved
		ready := !s.Over() && s.Status != "failed"
		if job.Schedule != "" {
			ready = s.Status != "cancelled" && s.due()
		}
		if ctx.Err() != nil || !ready || s.want == "pause" || !in || job.Func == nil && job.Set == "" && !job.Delete {
			continue
		}
		if _, err := j.run(ctx, job, job.Schedule != ""); err != nil && !errors.Is(err, fault.Owned) {
			j.config.Events(event.Notice{Text: fmt.Sprintf("job %s: %v", s.Name, err)})
		}
	}
	return nil
}

func usage(format string, args ...any) error {
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...)}
}

// window says whether it is time to work, and when that changes.
func window(text string) (in bool, until time.Duration, err error) {
	if text == "" {
		return true, 24 * time.Hour, nil
	}
	from, to, ok := strings.Cut(text, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(from))
	b, errB := time.Parse("15:04", strings.TrimSpace(to))
	if !ok || errA != nil || errB != nil || a.Equal(b) {
		return false, 0, usage("the window %q: expected two times of day in UTC, such as 22:00-06:00", text)
	}
	in, until = within(time.Now().UTC(), a, b)
	return in, until, nil
}

// within says whether a time of day is in a window, and how long that stays so.
func within(now, a, b time.Time) (bool, time.Duration) {
	day := func(t time.Time) time.Duration {
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	}
	left := func(to time.Time) time.Duration { return (day(to) - day(now) + 24*time.Hour) % (24 * time.Hour) }
	// In the window the end comes before the next beginning.
	in := left(b) < left(a) && left(b) > 0 || left(a) == 0
	if in {
		return true, left(b)
	}
	return false, left(a)
}

// quoted is the table of a job with its names in quotes, and its parts.
func (j *Jobs) quoted(table string) (string, schema.Name, error) {
	s, err := plan.Parse("ALTER TABLE "+table+" ADD x int", j.syntax)
	if err != nil || s.Table.Table == "" {
		return "", schema.Name{}, usage("%q is no table", table)
	}
	if j.mysql {
		return mysql.Quoted(s.Table), s.Table, nil
	}
	return ident.Qualified(s.Table.Schema, s.Table.Table), s.Table, nil
}
