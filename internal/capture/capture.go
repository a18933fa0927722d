// Package capture reads the binary log of MySQL and MariaDB, and yields which keys of one table changed, and nothing
// else: who gets a key reads the row again. So images, conversions, time zones and charsets of all other columns do not
// matter, and a key that comes twice does no harm.
//
// What the log has may be ahead of what SELECT shows: an event is sent when it is on disk, and the commit becomes visible
// afterwards, seconds later where semi-synchronous replication waits in between. So rows are read again with a locking
// read, or after a commit of one's own that waits for all before it.
//
// The log does not have what was written with sql_log_bin=0, what a filter of the server leaves out, and, before MySQL
// 9.6, what foreign keys cascade. A write that the log has as a statement ends the reader with ErrStatement if the
// statement names the table; one through a view, a trigger or a function cannot be seen. Who plans a change asks for
// binlog_format=ROW, refuses the rest, and verifies.
package capture

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/changeling-db/changeling/internal/retry"
	"github.com/changeling-db/changeling/schema"
)

var (
	// ErrPurged means that the server no longer has, or never had, the log that the position is in. What changed since
	// cannot be known: the copy begins again.
	ErrPurged = errors.New("position is not in the server's binary log any more")
	// ErrServer means that another server answers, and the position has no GTIDs by which it could be found there.
	ErrServer = errors.New("another server")
	// ErrStatement means that the table was written by a statement that is in the log as text, so its keys are not known.
	ErrStatement = errors.New("write logged as a statement")
	// ErrXA means that an XA transaction was committed that was prepared before the reader's position, so that it is not
	// known which keys it changed.
	ErrXA = errors.New("XA transaction from before")
	// ErrEvent means that the log has something that the reader does not understand and must not pass over.
	ErrEvent = errors.New("unknown event")
)

// Config says what to read. All fields without a default are needed.
type Config struct {
	Addr     string // host:port, or the path of a socket
	User     string // needs REPLICATION SLAVE
	Password string
	TLS      *tls.Config // nil for none
	Flavor   string      // MySQL or MariaDB

	Table schema.Name
	// Columns is the number of the table's columns in information_schema.COLUMNS.
	Columns int
	Key     []Column
	// From is where to begin: what Current gave, or the Position of the last Batch that was saved.
	From Position
	// MaxBytes bounds the memory for keys that nobody has taken yet, by estimate. Zero means 16 MiB. The reader stops
	// reading when it is reached. XA transactions that are prepared are not bounded, nor are transactions that the server
	// compressed: go-mysql unpacks each as a whole.
	MaxBytes int
}

// Batch is what happened up to a place between two transactions.
type Batch struct {
	// Keys are in the order of the log, the old and the new one of a row whose key changed. A key may come more than once.
	Keys []Key
	// Position is where a reader that has handled this batch, and all before it, begins again. It may stand still, or
	// before what the batch has, and even step back: what is read again is harmless. With an XA transaction prepared that
	// changed the table it stays before that one.
	Position Position
	// Partial says that the keys of the last transaction, larger than MaxBytes, are not complete; Position is before it.
	Partial bool
	// Truncated says that the table was emptied after the keys of this batch.
	Truncated bool
	// Altered are statements that changed the table's definition or put another one in its place, in the server's words,
	// or a sentence that says how the log differs from what the Config says. They follow the keys of this batch. Rows that
	// do not look like the Config are not read, so keys after it may be missing. Triggers and grants do not count.
	Altered []string
}

// Reader reads the log over one connection, which it makes anew when it breaks. It is for one goroutine.
type Reader struct {
	cfg    Config
	stream *stream // nil without a connection

	ready chan struct{} // something was added to what is in hand
	room  chan struct{} // something was taken

	mu       sync.Mutex
	here     place              // the end of the last transaction that is in hand or was taken
	hand     Batch              // without Position
	bytes    int                // of hand
	moved    bool               // here has moved since it was taken
	taken    time.Time          // when it was last taken
	eager    bool               // Upto waits, so more than MaxBytes may be in hand
	heard    bool               // the server has sent something
	prepared map[string]pending // XA transactions that changed the table
	idle     map[string]bool    // XA transactions that did not
}

// pending is an XA transaction that is prepared.
type pending struct {
	keys  []Key
	bytes int
	start Position // before it
}

// quiet is how long Next keeps to itself that only others' transactions were read.
const quiet = 100 * time.Millisecond

// Open makes a reader. It does not connect; the first Next does.
func Open(cfg Config) (*Reader, error) {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 16<<20)
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.From.File == "" && cfg.From.GTID == "" {
		return nil, errors.New("no position to begin at")
	}
	here, err := parsePlace(cfg.Flavor, cfg.From)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		cfg: cfg, here: here, ready: make(chan struct{}, 1), room: make(chan struct{}, 1),
		prepared: map[string]pending{}, idle: map[string]bool{},
	}
	for _, id := range cfg.From.Prepared {
		r.idle[id] = true
	}
	return r, nil
}

// Check reports whether the table can be followed, as far as its definition tells: ErrKey if it has no key that the log
// spells out.
func (c *Config) Check() error {
	switch {
	case c.Flavor != MySQL && c.Flavor != MariaDB:
		return fmt.Errorf("flavor %q is neither %s nor %s", c.Flavor, MySQL, MariaDB)
	case c.Table.Schema == "" || c.Table.Table == "":
		return fmt.Errorf("table %q without its database", c.Table)
	case len(c.Key) == 0:
		return fmt.Errorf("%w: %s has none", ErrKey, c.Table)
	}
	for _, k := range c.Key {
		if err := k.validate(c.Columns); err != nil {
			return err
		}
	}
	return nil
}

// Connect makes the connection, and returns when the server sends its log: the account may read it, and the position is
// there. It takes nothing.
func (r *Reader) Connect(ctx context.Context) error {
	return retry.Do(ctx, retry.Policy{}, passing, nil, func(ctx context.Context) error {
		for {
			r.mu.Lock()
			heard := r.heard
			r.mu.Unlock()
			if heard {
				return nil
			}
			if err := r.listen(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	})
}

// Next waits for changes of the table and returns them, as many as are there; or, after a while without any, a batch
// with nothing but a new Position. It reconnects by itself, for about half a minute. After an error of the connection it
// may be called again; the errors of this package stay. If ctx ends nothing is lost.
func (r *Reader) Next(ctx context.Context) (Batch, error) {
	return r.wait(ctx, func() (bool, time.Duration) {
		if len(r.hand.Keys) > 0 || r.hand.stops() {
			return true, 0
		}
		if !r.moved {
			return false, 0
		}
		rest := quiet - time.Since(r.taken)
		return rest <= 0, rest
	})
}

// At is how far was read by now, whether somebody took it or not.
func (r *Reader) At() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.position()
}

// After is Position.After for the server of the reader.
func (r *Reader) After(now, was Position) (Position, error) { return now.After(r.cfg.Flavor, was) }

// Upto waits until all that is in the log before p was read and returns it in one batch, whatever its size. The batch
// ends earlier where it has Truncated or Altered; the rest is there at the next call. For what Current says under LOCK
// TABLES, all changes of the table are then known.
func (r *Reader) Upto(ctx context.Context, p Position) (Batch, error) {
	want, err := parsePlace(r.cfg.Flavor, p)
	if err != nil {
		return Batch{}, err
	}
	r.wish(true)
	defer r.wish(false)
	return r.wait(ctx, func() (bool, time.Duration) {
		return r.hand.stops() || r.here.reached(p, want.gtids), 0
	})
}

func (r *Reader) wish(eager bool) {
	r.mu.Lock()
	r.eager = eager
	r.mu.Unlock()
	signal(r.room)
}

// Close ends the connection. It asks the server to end its side, and waits some seconds for that at most.
func (r *Reader) Close() {
	if r.stream != nil {
		r.stream.close()
		r.stream = nil
	}
}

// wait returns what is in hand as soon as enough says so, which is asked under the lock. It may name a time after which
// to ask again.
func (r *Reader) wait(ctx context.Context, enough func() (bool, time.Duration)) (Batch, error) {
	var batch Batch
	err := retry.Do(ctx, retry.Policy{}, passing, nil, func(ctx context.Context) error {
		for {
			b, again, ok := r.take(enough)
			if ok {
				batch = b
				return nil
			}
			if err := r.listen(ctx, again); err != nil {
				return err
			}
		}
	})
	return batch, err
}

// listen waits until something changes, over a connection that it makes if there is none.
func (r *Reader) listen(ctx context.Context, again time.Duration) error {
	if r.stream == nil {
		s, err := r.connect(ctx)
		if err != nil {
			return err
		}
		r.stream = s
	}
	var clock <-chan time.Time
	if again > 0 {
		timer := time.NewTimer(again)
		defer timer.Stop()
		clock = timer.C
	}
	select {
	case <-r.ready:
	case <-clock:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stream.ended:
		err := r.stream.err
		r.Close()
		return err
	}
	return nil
}

func (r *Reader) take(enough func() (bool, time.Duration)) (Batch, time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok, again := enough()
	if !ok {
		return Batch{}, again, false
	}
	b := r.hand
	b.Position = r.resume()
	r.hand, r.bytes, r.moved, r.taken = Batch{}, 0, false, time.Now()
	signal(r.room)
	return b, 0, true
}

// resume is where to begin again: here, or before the first XA transaction whose keys nobody has got yet.
func (r *Reader) resume() Position {
	var first *pending
	for _, p := range r.prepared {
		if first == nil || before(p.start, first.start) {
			first = &p
		}
	}
	if first != nil {
		return first.start
	}
	return r.position()
}

func (r *Reader) position() Position {
	p := r.here.position()
	p.Prepared = sorted(r.idle)
	return p
}

func before(a, b Position) bool {
	return cmp.Or(compareFiles(a.File, b.File), cmp.Compare(a.Offset, b.Offset)) < 0
}

// stops says that a batch must end here.
func (b *Batch) stops() bool { return b.Truncated || len(b.Altered) > 0 }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// passing reports whether an error is one of the connection, so that another one may do.
func passing(err error) bool {
	for _, fatal := range []error{
		ErrPurged, ErrServer, ErrStatement, ErrXA, ErrEvent, ErrKey, ErrImage, errParse,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, fatal) {
			return false
		}
	}
	if spoken, ok := errors.AsType[*mysql.MyError](err); ok {
		switch spoken.Code {
		// too many connections, shutdown, killed, aborted, gone, lost: and what a server says that is starting
		case 1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1317, 1927, 2006, 2013, 3168, 3169:
			return true
		case mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG: // what is left of it is a server_id that another one has too
			return sameID(spoken.Message)
		}
		return false
	}
	return true
}
