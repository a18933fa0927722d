package changeling

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// follower writes the key log of a change from what it reads in the binary log of MySQL or MariaDB, where no trigger does.
//
// Such a log lags behind the table. Who needs it complete up to now asks catchUp: the drain, the healing, whoever finds a
// row that differs, and the cutover under its lock.
type follower struct {
	run     *run
	target  mysql.Target
	replica *sql.DB // nil: the server itself is read

	mu      sync.Mutex // of all that reads or writes
	reader  *capture.Reader
	keys    []capture.Key // read, and not in the log yet
	seen    map[string]bool
	read    capture.Position // behind keys
	written time.Time        // when the log was written last
	emptied bool             // an undo's source was truncated, and its shadow was not yet
	rebuilt bool             // it was written anew, and its number was not yet noted
	ended   error            // why nothing can be read any more
	over    bool             // the tables are swapped
}

// Follow makes the follower of a run that has not swapped yet.
func (d mysqld) Follow(ctx context.Context, r *run) (*follower, error) {
	p := r.record.Plan
	if cut := p.Find(plan.Cutover); !p.Pair.Binlog || cut >= 0 && r.record.Step > cut {
		return nil, nil
	}
	if d.target == nil {
		return nil, &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf(
			"change %s reads the binary log, and this run was not told where: give the connection string that it began with (Config.Binlog)", r.id)}
	}
	replica, err := d.elsewhere(ctx, r.engine.db)
	if err != nil {
		return nil, err
	}
	return &follower{run: r, target: *d.target, replica: replica}, nil
}

// elsewhere is a pool of the server whose log is read, or nil if it is the one that is written to.
func (d mysqld) elsewhere(ctx context.Context, db *sql.DB) (*sql.DB, error) {
	here, err := capture.Current(ctx, db)
	if err != nil {
		return nil, err
	}
	far := mysql.Wrap(sql.OpenDB(d.target.Connector()))
	there, err := capture.Current(ctx, far)
	if err == nil && there.Server != here.Server && there.GTID != "" && here.GTID != "" {
		return far, nil
	}
	far.Close()
	if err == nil && there.Server != here.Server {
		err = &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("%s is another server, and without GTIDs on both nothing tells how far its binary log is: set gtid_mode=ON, or read the log of the server itself", d.target.Addr)}
	}
	return nil, err
}

// unfollowable says why the binary log cannot be read, or nothing if it can. It tries.
func (d mysqld) unfollowable(ctx context.Context, db *sql.DB) (why string, err error) {
	if d.capture == CaptureTriggers {
		return "they were asked for", nil
	}
	if d.target == nil {
		return "it was not said under which connection string the binary log is read", nil
	}
	if why, err = mysql.Unfollowable(ctx, db, d.maria); why != "" || err != nil {
		return why, err
	}
	replica, err := d.elsewhere(ctx, db)
	if problem, ok := errors.AsType[*fault.Problem](err); ok {
		return problem.Text, nil
	}
	if d.capture == CaptureBinlog && fault.Lost(err) {
		return "", err // that says nothing of the log
	}
	if err != nil {
		return "the server whose binary log is to be read does not answer: " + fault.Message(err), nil
	}
	source := db
	if replica != nil {
		defer replica.Close()
		source = replica
		if why, err = mysql.Unfollowable(ctx, replica, d.maria); why != "" || err != nil {
			return why, err
		}
	}
	at, err := capture.Current(ctx, source)
	if err != nil {
		return "", err
	}
	flavor := capture.MySQL
	if d.maria {
		flavor = capture.MariaDB
	}
	anything := []capture.Column{{Name: "id", Type: "int"}}
	reader, err := capture.Open(capture.Config{Addr: d.target.Addr, User: d.target.User, Password: d.target.Password, TLS: d.target.TLS,
		Flavor: flavor, Table: schema.Name{Schema: "changeling", Table: "chg"}, Columns: 1, Key: anything, From: at})
	if err != nil {
		return "", err
	}
	defer reader.Close()
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = reader.Connect(short)
	if d.capture == CaptureBinlog && fault.Lost(err) {
		return "", err
	}
	if err != nil && ctx.Err() == nil {
		return "the binary log cannot be read: " + err.Error() + " (needed: GRANT REPLICATION SLAVE ON *.*)", nil
	}
	return "", ctx.Err()
}

const (
	pulse   = time.Second      // how often is looked for keys
	hoard   = 10 * time.Second // how long keys stay in memory
	bundle  = 5000             // how many do, and
	handful = 500              // how many one statement writes
)

// keep reads along until ctx ends, so that little is left to read for those who wait for it. Nothing that it fails at is
// lost: whoever needs the log meets the error.
func (f *follower) keep(ctx context.Context) {
	defer f.close()
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = f.pull(ctx)
		}
	}
}

func (f *follower) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut()
	if f.replica != nil {
		f.replica.Close()
	}
}

func (f *follower) shut() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

// begin fixes where reading begins: at the end of the log, noted in a transaction of our own. When that has committed,
// everything that is before its position can be seen, and will be seen by the first chunk; the rest will be read
// (invariant I1). An XA transaction that was prepared before would be neither.
func (f *follower) begin(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.position(ctx); !isNoRows(err) {
		return err // it was done by a run that did not live to say so
	}
	f.shut()
	f.keys, f.seen, f.ended = nil, nil, nil
	at, err := capture.Current(ctx, f.source())
	if err != nil {
		return err
	}
	prepared, err := f.prepared(ctx)
	if err != nil {
		return err
	}
	if prepared > 0 {
		return &waiting{fmt.Sprintf("%d XA transactions are prepared, and nobody can know what they changed: end them (XA RECOVER lists them), or use --capture triggers", prepared)}
	}
	return f.save(ctx, nil, at)
}

// waiting is something of others that has to end first.
type waiting struct{ text string }

func (w *waiting) Error() string  { return w.text }
func (*waiting) SQLState() string { return "55P03" }

// prepared counts XA transactions. Who may not ask finds out from the log, and begins again.
func (f *follower) prepared(ctx context.Context) (n int, err error) {
	rows, err := f.run.engine.db.QueryContext(ctx, "XA RECOVER")
	if fault.Denied(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

func (f *follower) position(ctx context.Context) (p capture.Position, err error) {
	var text string
	if err := f.run.engine.db.QueryRowContext(ctx, mysql.Position(f.run.pair)).Scan(&text); err != nil {
		return p, err
	}
	return p, json.Unmarshal([]byte(text), &p)
}

// purged says why the binary log does not reach back to a pair's position, or nothing if it does, or if that cannot be asked.
func purged(ctx context.Context, db *sql.DB, p schema.Pair) (why string, err error) {
	var text string
	var at capture.Position
	if err := db.QueryRowContext(ctx, mysql.Position(p)).Scan(&text); err != nil {
		return "", err
	}
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		return "", err
	}
	here, err := capture.Current(ctx, db)
	if err != nil || at.File == "" || here.Server != at.Server { // with GTIDs another server may have it too
		return "", nil
	}
	there, err := capture.Keeps(ctx, db, at.File)
	switch {
	case fault.Lost(err):
		return "", err
	case err != nil || there:
		return "", nil
	}
	return "the server has purged its binary log of that time (" + at.File + ")", nil
}

// source is where the log is read: the server itself, or a replica that logs what it applies.
func (f *follower) source() *sql.DB {
	if f.replica != nil {
		return f.replica
	}
	return f.run.engine.db
}

// open makes the reader, at the position that was saved last.
func (f *follower) open(ctx context.Context) error {
	if f.ended != nil || f.reader != nil {
		return f.ended
	}
	at, err := f.position(ctx)
	if err != nil {
		return err
	}
	config, err := mysql.Follow(ctx, f.run.engine.db, f.run.pair, f.run.engine.dialect.(mysqld).maria)
	if err != nil {
		return err
	}
	config.Addr, config.User, config.Password, config.TLS, config.From = f.target.Addr, f.target.User, f.target.Password, f.target.TLS, at
	f.reader, err = capture.Open(config)
	f.read = at
	return err
}

// failed is why reading has ended for good.
func (f *follower) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// pull takes what is there, without waiting, and writes it if it has become old or much.
func (f *follower) pull(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return nil
	}
	if err := f.open(ctx); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	for short.Err() == nil {
		batch, err := f.reader.Next(short)
		if err == nil {
			err = f.take(ctx, batch)
		} else if short.Err() != nil {
			break
		}
		if err != nil {
			return f.judge(ctx, err)
		}
	}
	if len(f.keys) < bundle && time.Since(f.written) < hoard {
		return nil
	}
	return f.write(ctx)
}

// catchUp brings the key log up to now: what had committed when it was called is in it.
func (f *follower) catchUp(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(ctx); err != nil {
		return err
	}
	if err := f.upto(ctx); err != nil {
		return err
	}
	if len(f.keys) == 0 && !f.emptied && !f.rebuilt && time.Since(f.written) < hoard {
		return nil
	}
	return f.write(ctx)
}

// end is where the log of the server ends now.
func (f *follower) end(ctx context.Context) (capture.Position, error) {
	if f.replica != nil {
		// How far a replica has come, GTIDs tell, and those of a transaction are made known a moment after it can be seen. A
		// commit of our own comes after that.
		store := f.run.engine.store
		if err := store.Exec(ctx, store.DB, store.Text.Probe, f.run.id); err != nil {
			return capture.Position{}, err
		}
	}
	return capture.Current(ctx, f.run.engine.db)
}

// upto reads all that is in the log by now. A batch ends at a statement that alters or empties the table; an undo reads on behind it.
func (f *follower) upto(ctx context.Context) error {
	was := f.reader.At()
	now, err := f.end(ctx)
	if err == nil {
		now, err = f.reader.After(now, was)
	}
	for more := true; more && err == nil; {
		var batch capture.Batch
		if batch, err = f.reader.Upto(ctx, now); err == nil {
			more, err = batch.Truncated || len(batch.Altered) > 0, f.take(ctx, batch)
		}
	}
	return f.judge(ctx, err)
}

// underLock reads what the source's last writers did, and puts it into the log over a connection that has it locked. Every
// writer's transaction is over by then, so all of it is visible. The caller holds f.mu.
func (f *follower) underLock(ctx context.Context, conn execer) error {
	short, cancel := context.WithTimeout(ctx, 2*f.run.engine.config.LockWait)
	defer cancel()
	err := f.open(ctx)
	if err == nil {
		err = f.upto(short)
	}
	switch {
	case short.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: the binary log was not read to its end in %s", cutover.ErrBusy, 2*f.run.engine.config.LockWait)
	case err != nil:
		return err
	case f.emptied:
		return fmt.Errorf("%w: the source was truncated", cutover.ErrBusy)
	case f.rebuilt: // which is noted before the next attempt
		return fmt.Errorf("%w: the source was rebuilt", cutover.ErrBusy)
	}
	if err := f.mark(ctx, conn); err != nil {
		return err
	}
	return f.put(ctx, conn)
}

// mark notes, over a connection that has locked the tables, where the log ends: what comes later is written to the new table, and an undo
// begins to read there.
func (f *follower) mark(ctx context.Context, conn execer) error {
	undo := f.run.record.Plan.Undo
	if undo == nil {
		return nil
	}
	text, err := json.Marshal(f.read)
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, mysql.SetPosition(undo.Pair), string(text))
	return err
}

// take keeps a batch in mind. What ends the reading for good is an error.
func (f *follower) take(ctx context.Context, b capture.Batch) error {
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	for _, k := range b.Keys {
		if id := identity(k); !f.seen[id] {
			f.seen[id] = true
			f.keys = append(f.keys, k)
		}
	}
	f.read = b.Position
	if f.run.undoes() {
		return f.takeBack(b)
	}
	switch {
	case len(b.Altered) > 0:
		now, err := f.run.engine.fingerprint(ctx, f.run.pair.Source, f.run.pair.Table)
		if missing(err) || err == nil && now != f.run.record.Plan.Fingerprint {
			return f.run.altered()
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s", copier.ErrReset, shorten(b.Altered[0], 200))
	case b.Truncated:
		return copier.ErrReset
	}
	return nil
}

// takeBack is take for an undo, which cannot begin anew. The swap of the change itself is the first thing that its log has. A statement that only
// writes the table anew leaves rows and keys as they were.
func (f *follower) takeBack(b capture.Batch) error {
	for _, text := range b.Altered {
		if strings.Contains(text, "changeling_"+f.run.id) {
			continue
		}
		if f.rebuilt = f.rebuilt || mysql.Rebuilds(text); !mysql.Rebuilds(text) {
			return &unreadable{"somebody altered the table after the change (" + shorten(text, 200) + ")"}
		}
	}
	f.emptied = f.emptied || b.Truncated
	return nil
}

// unreadable says why an undo cannot read any more what was written since the cutover.
type unreadable struct{ why string }

func (u *unreadable) Error() string {
	return "what was written since the cutover is not known any more: " + u.why
}

// identity is the same for the same values and no others. Keys that only the server takes for equal stay two.
func identity(k capture.Key) string {
	var b []byte
	for _, v := range k {
		switch v := v.(type) {
		case int64:
			b = append(strconv.AppendInt(b, v, 10), ' ')
		case string:
			b = append(strconv.AppendInt(append(b, 's'), int64(len(v)), 10), ' ')
			b = append(b, v...)
		case []byte:
			b = append(strconv.AppendInt(append(b, 'b'), int64(len(v)), 10), ' ')
			b = append(b, v...)
		}
	}
	return string(b)
}

// judge says what an error of the reader means for the change. What cannot be mended by reading again stays.
func (f *follower) judge(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case f.run.undoes() && unfollowed(err):
		err = &unreadable{err.Error()}
	case errors.Is(err, capture.ErrPurged), errors.Is(err, capture.ErrServer), errors.Is(err, capture.ErrXA):
		err = fmt.Errorf("%w: %w", copier.ErrReset, err)
	case errors.Is(err, capture.ErrStatement), errors.Is(err, capture.ErrKey), errors.Is(err, capture.ErrImage), errors.Is(err, capture.ErrEvent):
		err = &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf(
			"the binary log does not tell any more which rows of %s changed: %v. Nothing was swapped; `changeling abort %s`, and begin again with --capture triggers", f.run.table(), err, f.run.id)}
	case errors.Is(err, copier.ErrReset), errors.As(err, new(*unreadable)), fault.KindOf(err) != fault.Unexpected:
	default:
		return &unread{err} // the connection, which the reader makes anew
	}
	f.ended = err
	return err
}

// unfollowed says that the binary log does not have, or does not tell, what an undo needs of it.
func unfollowed(err error) bool {
	return slices.ContainsFunc([]error{capture.ErrPurged, capture.ErrServer, capture.ErrXA, capture.ErrStatement, capture.ErrKey, capture.ErrImage, capture.ErrEvent}, func(e error) bool { return errors.Is(err, e) })
}

// unread is a binary log that cannot be reached just now.
type unread struct{ err error }

func (u *unread) Error() string  { return "reading the binary log: " + u.err.Error() }
func (u *unread) Unwrap() error  { return u.err }
func (*unread) SQLState() string { return "08006" }

// write puts the keys into the log and notes how far was read, in one transaction.
func (f *follower) write(ctx context.Context) error {
	if f.emptied {
		if err := f.refill(ctx); err != nil {
			return err
		}
		f.emptied = false
	}
	if f.rebuilt { // by the number that it has now it will be known at the drop
		if err := f.run.tx(ctx, session{}, f.run.renumber); err != nil {
			return err
		}
		f.rebuilt = false
	}
	return f.save(ctx, f.keys, f.read)
}

// refill follows a TRUNCATE of an undo's source: see Rows.Refill.
func (f *follower) refill(ctx context.Context) error {
	empty, fill := f.run.rows.Refill()
	s := f.run.engine.store
	if err := s.Exec(ctx, s.DB, s.Text.SetHeap, f.run.id, 0, 0); err != nil { // not known until it is done, should this run not live to say so
		return err
	}
	return f.run.patiently(ctx, "refill", func(ctx context.Context) error {
		return f.run.tx(ctx, session{Idle: long}, func(ctx context.Context, t *tx) error {
			if err := t.ddl(ctx, plan.Step{SQL: empty}); err != nil {
				return err
			}
			if err := t.all(ctx, fill); err != nil {
				return err
			}
			return f.run.renumber(ctx, t)
		})
	})
}

func (f *follower) save(ctx context.Context, keys []capture.Key, at capture.Position) error {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	r := f.run
	err = r.patiently(ctx, "key log", func(ctx context.Context) error {
		if r.engine.config.TestOnReplica {
			if err := r.meetWriters(ctx); err != nil {
				return err
			}
		}
		return r.tx(ctx, session{Settings: map[string]string{"time_zone": mysql.LogZone}}, func(ctx context.Context, t *tx) error {
			if err := f.insert(ctx, t, keys); err != nil {
				return err
			}
			_, err := t.ExecContext(ctx, mysql.SetPosition(r.pair), string(text))
			return err
		})
	})
	if err == nil {
		f.keys, f.seen, f.written = nil, nil, time.Now()
	}
	return err
}

// put is write over a connection that has locked the tables. It keeps the keys, for if the swap does not come they may be
// rolled back.
func (f *follower) put(ctx context.Context, db execer) error {
	if len(f.keys) == 0 {
		return nil
	}
	set := func(zone string) error {
		_, err := db.ExecContext(ctx, mysql.SetZone(zone))
		return err
	}
	if err := set(mysql.LogZone); err != nil {
		return err
	}
	if err := f.insert(ctx, db, f.keys); err != nil {
		return err
	}
	return set(f.run.pair.Settings["time_zone"])
}

// execer is a transaction or a connection.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (f *follower) insert(ctx context.Context, db execer, keys []capture.Key) error {
	for part := range slices.Chunk(keys, handful) {
		if _, err := db.ExecContext(ctx, mysql.LogKeys(f.run.pair, part)); err != nil {
			return err
		}
	}
	return nil
}
