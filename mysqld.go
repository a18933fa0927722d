package changeling

import (
	"context"
	"database/sql"
	"database/sql/driver"
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
