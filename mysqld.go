package changeling

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// mysqld is the dialect of MySQL and MariaDB.
type mysqld struct {
	maria   bool
	version string
	capture Capture
	target  *mysql.Target // where the binary log is read; nil: nowhere
	unmet   string        // an algorithm not to be planned with
	limit   int           // of the caller's pool; zero: none
	trial   bool          // on a replica, and swapped nowhere
	kin     []plan.Member // tables that are swapped together with the one that is planned
}

func (d mysqld) supports() error {
	major, minor, patch, ok := d.number()
	if !ok {
		return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("the server calls itself %q, which is no version of PostgreSQL, MySQL or MariaDB that is known here", d.version)}
	}
	if d.maria {
		if major < 10 || major == 10 && minor < 6 {
			return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("MariaDB %d.%d.%d is too old: 10.6 or later is needed, where RENAME TABLE of two tables happens as a whole or not at all", major, minor, patch)}
		}
		return nil
	}
	if major < 8 || major == 8 && minor == 0 && patch < 13 {
		return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("MySQL %d.%d.%d is too old: 8.0.13 or later is needed, for RENAME TABLE under LOCK TABLES", major, minor, patch)}
	}
	return nil
}

// number is the version. Old MariaDB servers call themselves 5.5.5 first, for clients that know no higher one.
func (d mysqld) number() (major, minor, patch int, ok bool) {
	n, _ := fmt.Sscanf(strings.TrimPrefix(d.version, "5.5.5-"), "%d.%d.%d", &major, &minor, &patch)
	return major, minor, patch, n == 3
}

// buildsInParallel says that threads of an index build can be asked for: from MySQL 8.0.27 on.
func (d mysqld) buildsInParallel() bool {
	major, minor, patch, _ := d.number()
	return !d.maria && (major > 8 || major == 8 && (minor > 0 || patch >= 27))
}

func (mysqld) Syntax() plan.Syntax { return plan.MySQLSyntax() }

// Stage refuses: nothing here makes a rename and a view one act, and RENAME TABLE alone is what puts a table aside and brings it back.
func (mysqld) Stage(_ context.Context, _ *sql.DB, s plan.Statement, id string, _ time.Duration) (*plan.Plan, error) {
	why := "a DROP TABLE in two stages is for PostgreSQL: RENAME TABLE … TO another name takes the table away and can be taken back; drop it some days later. Or say --drop now"
	if s.Verb != "DROP TABLE" {
		why = "RENAME TABLE and CREATE VIEW are two statements here, and between them code that says the old name fails: map the new name in the code, or make the view at once behind the rename in a quiet hour"
	}
	return &plan.Plan{Format: plan.Format, ID: id, Statement: s.Text, Table: s.Table, Route: plan.Refuse, Why: why, Refusals: []string{why}}, nil
}

func (d mysqld) Plan(ctx context.Context, db *sql.DB, ddl, id string, wait time.Duration, route plan.Route, undoLog int64) (*plan.Plan, error) {
	if d.trial {
		return d.planTrial(ctx, db, ddl, id, wait)
	}
	server, err := mysql.Fit(ctx, db)
	if err != nil {
		return nil, err
	}
	return d.plan(ctx, db, ddl, mysql.Options{ID: id, LockWait: wait, Replicas: server.Replicas, UndoLog: undoLog, Route: route})
}

func (d mysqld) plan(ctx context.Context, db *sql.DB, ddl string, o mysql.Options) (*plan.Plan, error) {
	o.Binlog, o.Unmet, o.Kin = d.capture == CaptureBinlog, d.unmet, d.kin
	o.Triggers = func(ctx context.Context) (string, error) { return d.unfollowable(ctx, db) }
	p, err := mysql.Plan(ctx, db, ddl, o)
	if err != nil || p.Route != plan.ShadowTable {
		return p, err
	}
	if why := d.crowded(p); why != "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: why + ". Nothing was changed"}
	}
	var number int64
	err = db.QueryRowContext(ctx, d.texts(p.Pair).Heap()).Scan(&number)
	why := ""
	switch {
	case fault.Denied(err):
		why = "information_schema does not show the number that InnoDB gives its file. Needed: GRANT PROCESS ON *.* for this role"
	case err != nil:
		return nil, err
	case number == 0 && !p.Pair.Binlog:
		why = "it shares a file with other tables, and triggers do not fire. Needed: a binary log that changeling can read, or a file of its own (ALTER TABLE … TABLESPACE = innodb_file_per_table, which locks the table for as long as it takes)"
	}
	if why != "" {
		return mysql.RefuseTable(p, fmt.Sprintf("a TRUNCATE of %s while it is copied could not be noticed: %s", p.Table, why)), nil
	}
	return p, nil
}

func (d mysqld) Rebuild(ctx context.Context, db *sql.DB, b Rebuild, id string, wait time.Duration) (*plan.Plan, error) {
	if b.Tablespace != "" || b.FillFactor != 0 || b.OrderBy != "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: "a tablespace, a fill factor or an order of the rows can only be given on PostgreSQL: InnoDB keeps rows in the order of the primary key. Nothing was changed"}
	}
	return d.Plan(ctx, db, mysql.Rebuild(b.name), id, wait, "", 0)
}

func (mysqld) Partition(_ context.Context, _ *sql.DB, b Partitioning, _ string, _ time.Duration, _ int64) (*plan.Plan, error) {
	clause := "PARTITION BY …"
	if b.None {
		clause = "REMOVE PARTITIONING"
	}
	return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("MySQL and MariaDB partition a table by a statement: `changeling run 'ALTER TABLE %s %s'`, which goes over a second table. Nothing was changed", b.Table, clause)}
}

func (mysqld) Resolve(ctx context.Context, db *sql.DB, n schema.Name) (schema.Name, uint32, error) {
	n, err := mysql.Resolve(ctx, db, n)
	return n, 0, err
}

// Fingerprint is read in a session that writes definitions as the planner's does, whatever the server's own are like.
func (d mysqld) Fingerprint(ctx context.Context, db *sql.DB, n schema.Name, _ uint32) (string, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer discard(conn)
	if _, err := conn.ExecContext(ctx, d.Session(session{})); err != nil {
		return "", err
	}
	return mysql.Fingerprint(ctx, conn, n)
}

func (mysqld) SameTable(a, b string) bool { return mysql.SameTable(a, b) }

func (d mysqld) Rows(p schema.Pair) texts {
	if p.InPlace {
		return mysql.LiveRows{Rows: d.texts(p)}
	}
	return d.texts(p)
}

func (d mysqld) texts(p schema.Pair) mysql.Rows { return mysql.Rows{Pair: p, Maria: d.maria} }

func (d mysqld) Session(s session) string {
	parallel := s.Parallel
	if !d.buildsInParallel() {
		parallel = 0
	}
	return mysql.Session{Name: s.Application, LockWait: s.LockWait, Settings: s.Settings, Idle: s.Idle, Parallel: parallel}.SQL()
}

func (mysqld) As(string) string { return "DO 0" } // there are no roles to take
func (mysqld) Isolation(sql.IsolationLevel) sql.IsolationLevel {
	return sql.LevelReadCommitted // above it INSERT … SELECT locks the rows that it reads, and users wait for us
}

func (mysqld) Pinned() map[string]string         { return nil }
func (mysqld) Transactional() bool               { return false }
func (mysqld) Apart(string, string, bool) string { return "DO 0" }

// FastChunk is long: each commit waits for the disk.
func (mysqld) FastChunk() time.Duration { return time.Second }

func (d mysqld) Connections() int {
	if d.maria {
		return 9 // the cutover alone has four sessions, and ends one of them
	}
	return 6
}

func (d mysqld) Abandon(p schema.Pair, wait time.Duration) []plan.Step {
	if p.InPlace {
		steps := mysql.AbandonLive(p)
		for i := range steps {
			steps[i].LockWait = wait
		}
		return steps
	}
	triggers, rest := d.texts(p).Abandon()
	return []plan.Step{{SQL: triggers, LockWait: wait}, {SQL: rest}} // a large shadow takes longer to drop than a lock may
}

func (d mysqld) Cutover(r *run, s plan.Step) cutover.Server {
	own := renamer{run: r, step: s, texts: d.texts(r.pair)}
	if r.pair.InPlace {
		return &contractor{own}
	}
	if d.maria {
		return &queuer{own}
	}
	if len(r.kin) > 0 {
		return newKinRenamer(&own)
	}
	return &own
}

// alone runs a step whose statements each commit by themselves and may run twice, and moves the counter. A transaction
// beside them holds the claim, so nobody can take the change over meanwhile. What was done already is asked first.
func (r *run) alone(ctx context.Context, s plan.Step) error {
	began := time.Now()
	if s.Kind == plan.Build { // steps of this kind tell of themselves
		if err := r.paused(ctx); err != nil { // what stops everybody stops the next build, too
			return err
		}
		defer r.unslowed(ctx, s.Name)()
		r.engine.config.Events(event.StepStarted{Step: string(s.Kind), Name: s.Name})
	}
	return r.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
		var done bool
		if err := r.seize(ctx); err != nil {
			return err
		}
		if s.Done != "" {
			if err := r.engine.db.QueryRowContext(ctx, s.Done).Scan(&done); err != nil {
				return err
			}
		}
		if !done {
			if err := r.undecided(ctx, s); err != nil {
				return err
			}
			if err := r.still(ctx, s); err != nil {
				return err
			}
		}
		if s.Kind == plan.Release {
			if err := r.leftOver(ctx); err != nil {
				return err
			}
			if err := r.settle(ctx, t); err != nil {
				return err
			}
			if err := r.putAway(ctx, t); err != nil {
				return err
			}
		}
		if !done {
			if err := r.each(ctx, t, s); err != nil {
				return err
			}
		}
		if s.Kind == plan.Capture && r.follower != nil {
			if err := r.follower.begin(ctx); err != nil {
				return err
			}
		}
		if s.Kind == plan.Build {
			r.engine.config.Events(event.StepEnded{Step: string(s.Kind), Name: s.Name, Took: time.Since(began)})
		}
		return r.advance(ctx, t, 1)
	})
}

// putAway takes the triggers off the old table and brings it to its place. It may run twice.
func (r *run) putAway(ctx context.Context, t *tx) error {
	var aside bool
	if err := r.engine.db.QueryRowContext(ctx, mysql.IsAside(r.pair)).Scan(&aside); err != nil || !aside {
		return err
	}
	return r.each(ctx, t, plan.Step{SQL: append(mysql.DropCapture(r.pair), mysql.PutAway(r.pair)), LockWait: r.engine.config.LockWait})
}

// each runs a step's statements on a connection of their own, beside a transaction that holds the claim. The connection has its
// name before the claim is looked at again: whoever took the change over in between did not end it, and whoever does later
// ends it first (invariant I8).
func (r *run) each(ctx context.Context, t *tx, s plan.Step) error {
	conn, release, err := r.beside(ctx, t, s)
	if err != nil {
		return err
	}
	defer release()
	for _, text := range s.SQL {
		if err := r.bounded(ctx, conn, s.LockWait, text); err != nil {
			return err
		}
	}
	return nil
}

// beside is a connection for the statements of a step, see each.
func (r *run) beside(ctx context.Context, t *tx, s plan.Step) (conn *sql.Conn, release func(), err error) {
	if conn, release, err = r.sole(ctx); err != nil {
		return nil, nil, err
	}
	wanted := session{Application: r.lease.Application(), LockWait: max(s.LockWait, r.engine.config.LockWait), Settings: r.pair.Settings, Idle: long}
	if s.Kind == plan.Build {
		wanted.LockWait = max(wanted.LockWait, 10*time.Second) // for those who read the shadow, us; nobody else is there
		wanted.Parallel = 1                                    // the server's own is as many threads as it has cores, or four
		if r.engine.config.Fast {
			wanted.Parallel = 4
		}
	}
	if _, err = conn.ExecContext(ctx, r.engine.dialect.Session(wanted)); err == nil {
		err = r.lease.Fence(ctx, t)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return conn, release, nil
}

// renamer is a run seen by a cutover on MySQL: the tables are locked by LOCK TABLES in a session of its own, which drains and
// renames, while a transaction in another one holds the claim and saves what happened.
type renamer struct {
	*run
	step  plan.Step
	tries int
	texts mysql.Rows
}

func (s *renamer) Ready(ctx context.Context) error { return s.verifier.Settle(ctx) }

func (s *renamer) Blockers(ctx context.Context) ([]cutover.Blocker, error) {
	list, err := s.blockers(ctx, mysql.Blockers(mysql.Swapping(s.pair)...))
	if err != nil && !fault.Denied(err) && !fault.Undefined(err) { // performance_schema may not be for us; the bounded lock finds them
		return nil, err
	}
	old, err := s.holders(ctx)
	return append(list, old...), err
}

// Begin asks and makes ready whatever it can without the lock.
func (s *renamer) Begin(ctx context.Context) (cutover.Attempt, error) {
	t, err := s.begin(ctx, session{LockWait: s.step.LockWait})
	if err != nil {
		return nil, err
	}
	s.tries++
	a := &renaming{renamer: s, t: t}
	if err := a.prepare(ctx); err != nil {
		return nil, errors.Join(err, a.Rollback())
	}
	return a, nil
}

// renaming is one attempt. BEGIN would let the locks go; with autocommit off the last drain after LOCK TABLES is a transaction all
// the same, and waits for the disk once instead of with each statement.
type renaming struct {
	*renamer
	t         *tx
	conn      *sql.Conn
	named     bool   // the new table needs names that the source has in its database
	following bool   // the follower is ours
	counter   uint64 // the next AUTO_INCREMENT value that the shadow was given
	pending   int64
	over      time.Time // when the locks were let go
}

// Unlocked is after UNLOCK TABLES; what Commit saves nobody waits for.
func (a *renaming) Unlocked() time.Time { return a.over }

func (a *renaming) prepare(ctx context.Context) (err error) {
	if a.conn, _, err = a.sole(ctx); err != nil { // it ends with the attempt
		return err
	}
	if _, err := mysql.Fit(ctx, a.conn); err != nil { // it may have become another one since the plan was made
		return err
	}
	for _, text := range append([]string{a.engine.dialect.Session(session{Application: a.lease.Application(), LockWait: time.Second, Settings: a.pair.Settings})}, a.texts.Warm()...) {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if err := a.lease.Fence(ctx, a.t); err != nil { // see each
		return err
	}
	if err := a.look(ctx); err != nil {
		return err
	}
	return a.settled(ctx)
}

// look is what of prepare is asked of each table that is swapped.
func (a *renaming) look(ctx context.Context) error {
	if err := a.conn.QueryRowContext(ctx, mysql.Named(a.pair)).Scan(&a.named); err != nil {
		return err
	}
	if a.follower != nil {
		if err := a.follower.catchUp(ctx); err != nil {
			return err
		}
	}
	if err := a.count(ctx); err != nil {
		return err
	}
	if same, err := a.same(ctx); err != nil || !same {
		return cmp.Or(err, a.altered())
	}
	if err := a.rejoin(ctx, a.conn); err != nil {
		return err
	}
	return a.childless(ctx)
}

// count gives the shadow the source's next AUTO_INCREMENT value, if it is behind.
func (a *renaming) count(ctx context.Context) error {
	var next, has uint64
	if err := a.conn.QueryRowContext(ctx, mysql.Counters(a.pair)).Scan(&next, &has); err != nil {
		return err
	}
	if next <= max(has, a.counter) || has == 0 {
		return nil
	}
	_, err := a.conn.ExecContext(ctx, mysql.SetCounter(a.pair, next))
	a.counter = next
	return err
}

// same says that the source, with its triggers, is what the plan was made for.
func (a *renaming) same(ctx context.Context) (bool, error) {
	now, err := mysql.Fingerprint(ctx, a.conn, a.pair.Source)
	return now == a.record.Plan.Fingerprint, err
}

func (a *renaming) Lock(ctx context.Context) error {
	a.follow()
	// A run that stands still under the lock holds everybody up: the server ends it soon.
	if _, err := a.conn.ExecContext(ctx, "SET SESSION wait_timeout = 3"); err != nil {
		return err
	}
	return a.bounded(ctx, a.conn, a.step.LockWait, "LOCK TABLES "+a.texts.Locked())
}

// follow keeps others from writing the key log until the attempt is over.
func (a *renaming) follow() {
	if a.follower != nil {
		a.follower.mu.Lock()
		a.following = true
	}
}

func (a *renaming) Check(ctx context.Context) error {
	var armed, truncated bool
	if a.follower != nil {
		if err := a.follower.underLock(ctx, a.conn); err != nil {
			return err
		}
	} else if err := a.conn.QueryRowContext(ctx, mysql.Armed(a.pair)).Scan(&armed); err != nil {
		return err
	}
	if !armed && a.follower == nil {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf(
			"the triggers that log changed keys on %s were dropped by somebody: writes may be missing from the shadow. Nothing was swapped; `changeling abort %s` and begin again", a.table(), a.id)}
	}
	if same, err := a.same(ctx); err != nil || !same { // somebody altered it a moment ago: the next attempt tells so
		return cmp.Or(err, cutover.ErrBusy)
	}
	if err := a.childless(ctx); err != nil {
		return err
	}
	if err := a.conn.QueryRowContext(ctx, a.texts.Left()).Scan(&a.pending, &truncated); err != nil {
		return err
	}
	if truncated {
		return fmt.Errorf("%w: the source was truncated", cutover.ErrBusy)
	}
	return nil
}

func (a *renaming) Drain(ctx context.Context) (int64, error) {
	if err := a.last(ctx); err != nil {
		return a.pending, err
	}
	return a.pending, a.current(ctx, a.tries)
}

// last is the last drain.
func (a *renaming) last(ctx context.Context) error {
	if a.pending > most {
		return cutover.ErrBusy
	}
	if a.pending == 0 {
		return nil
	}
	a.wrote.Store(0)
	var taken, resets, none int64
	if err := a.conn.QueryRowContext(ctx, a.rows.Drain(0, true)).Scan(&taken, &resets, &none, &none); err != nil {
		if a.undoes() && misfit(err) {
			err = gaveWay("a row does not fit the old table: %s", fault.Message(err)) // the next drain says which
		}
		return err
	}
	_, rows, keys, err := a.relogged(ctx, a.conn, a.rows.RelogChecked())
	if err == nil && rows > 0 && !a.record.Plan.Lossy {
		err = a.unequal(keys)
	}
	if err != nil {
		return err
	}
	_, err = a.conn.ExecContext(ctx, "COMMIT") // a snapshot that begins from here on has the last rows in it
	return err
}

// Swap renames. Nothing else can have happened if the connection breaks: the catalogue tells which.
func (a *renaming) Swap(ctx context.Context) error {
	// Since it was set without the lock, it can only have been left behind by a row that came and went at the last moment.
	if err := a.count(ctx); err != nil {
		return err
	}
	var texts []string
	old := mysql.Aside(a.pair)
	if !mysql.Stays(a.pair) && (a.named || a.pair.Binlog || mysql.Calls(a.pair)) {
		if old = a.pair.Old; !mysql.Disarms(a.record.Plan) {
			texts = mysql.DropCapture(a.pair)
		}
	}
	swap := mysql.SwapTo(a.pair, old)
	if mysql.Calls(a.pair) {
		swap = mysql.CallSwap(a.pair)
	}
	return a.swap(ctx, []*renaming{a}, append(texts, swap)...)
}

// swap runs the statements that swap the tables of all, and lets the locks go.
func (a *renaming) swap(ctx context.Context, all []*renaming, texts ...string) error {
	for _, text := range texts {
		if _, err := a.conn.ExecContext(ctx, text); err != nil {
			if err = a.amend(ctx, all, err); err != nil {
				return err
			}
			break
		}
	}
	a.carried(ctx, a.conn)
	if _, err := a.conn.ExecContext(ctx, "UNLOCK TABLES"); err == nil { // else they end with the connection, in Commit
		a.over = time.Now()
	}
	return nil
}

// amend finds out what became of a swap that the server said an error to, over the connection that has the locks; nil says that it happened. A
// KILL QUERY ends a procedure wherever it is, also behind its RENAME, and no handler of it runs then. So what it left half done is brought to its end
// here, or taken back, before anybody can write.
func (a *renaming) amend(ctx context.Context, all []*renaming, why error) error {
	if fault.Lost(why) {
		return why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait) // the locks are ours, whoever wanted the run to end
	defer cancel()
	_, _ = a.conn.ExecContext(ctx, "DO 0") // takes a kill that came when the statement was over
	var swapped bool
	if err := a.conn.QueryRowContext(ctx, a.step.Done).Scan(&swapped); err != nil {
		return errors.Join(errUnsaid, why, err)
	}
	for _, one := range all {
		if err := mysql.Amend(ctx, a.conn, one.pair, swapped); err != nil { // the next attempt, or the release, does it once more
			a.engine.config.Events(event.Retried{Step: string(plan.Cutover), What: "foreign keys", Attempt: 1, Err: err})
		}
	}
	if swapped {
		return nil
	}
	return why
}

func (a *renaming) Commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s := a.engine.store
	defer discard(a.conn)
	if a.following {
		a.follower.over = true
		defer a.follower.mu.Unlock()
	}
	if err := s.Exec(ctx, a.t, s.Text.Cut, a.id); err != nil {
		return unsaved(err, ended(a.t.Tx))
	}
	if err := a.advance(ctx, a.t, 1); err != nil {
		return unsaved(err, ended(a.t.Tx))
	}
	return unsaved(a.t.Commit())
}

// unsaved is a swap that could not be saved, for whatever reason: it is not tried again, but asked of the catalogue.
func unsaved(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return errors.Join(errUnsaid, err)
	}
	return nil
}

// Rollback lets the locks go.
func (a *renaming) Rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if a.following {
		defer a.follower.mu.Unlock()
	}
	if a.conn != nil {
		if _, err = a.conn.ExecContext(ctx, "ROLLBACK"+mysql.Then+"UNLOCK TABLES"); fault.Lost(err) {
			err = nil // the server let them go
		}
		discard(a.conn)
	}
	return errors.Join(err, ended(a.t.Tx))
}

// connect is a connection of its own with a session for the change's tables.
func (r *run) connect(ctx context.Context, s session) (*sql.Conn, error) {
	s.Settings = r.pair.Settings
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, r.engine.dialect.Session(s)); err != nil {
		discard(conn)
		return nil, err
	}
	return conn, nil
}

// discard ends a session whose settings nobody else may get.
func discard(conn *sql.Conn) {
	if conn == nil {
		return
	}
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	conn.Close()
}
