package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

var errParse = errors.New("binary log not readable")

// stream is one connection. All its fields but those of the last group belong to go-mysql's goroutine, which calls decode
// and HandleEvent, so that one event at a time is in memory and not a queue of them.
type stream struct {
	reader   *Reader
	text     statements
	charsets map[string]charset
	tx       transaction
	fault    error // why decode or HandleEvent ended it: go-mysql keeps only the text

	conn   net.Conn
	syncer *replication.BinlogSyncer
	done   chan struct{} // closed to end it
	ended  chan struct{} // closed when it has ended
	err    error         // why; to be read after ended
}

// transaction is the one that is being read.
type transaction struct {
	id     gtid
	open   bool // it has a beginning, so it has an end
	xa     bool // it ends with XA PREPARE, and is decided later
	keys   []Key
	bytes  int
	happen Batch // Truncated and Altered only
	// decides is the prepared transaction that this one commits or rolls back. It is forgotten when its keys are in hand,
	// and not before: until then the position has to stay before it.
	decides string
}

// ours reports whether an event is about the table.
func (s *stream) ours(te *replication.TableMapEvent) bool {
	t := s.reader.cfg.Table
	if !s.text.fold {
		return string(te.Table) == t.Table && string(te.Schema) == t.Schema
	}
	return strings.EqualFold(string(te.Table), t.Table) && strings.EqualFold(string(te.Schema), t.Schema)
}

// decode leaves the keys, and nothing else, in the rows of an event of the table. Rows of others are not looked at.
func (s *stream) decode(e *replication.RowsEvent, data []byte) error {
	pos, err := e.DecodeHeader(data)
	if err != nil {
		if e.TableID&0xFFFFFF == 0xFFFFFF { // an empty event, which only ends a statement (sql/log_event.h: dummy event)
			return nil
		}
		return err
	}
	if !s.ours(e.Table) {
		return nil
	}
	cfg := &s.reader.cfg
	if differs, err := cfg.layout(e.Table); err != nil || differs != "" {
		return nil // rows says so, in its turn
	}
	partial := e.Type() == replication.EnumRowsEventTypeUnknown
	e.Table = plain(e.Table, partial)
	if err := e.DecodeData(pos, data); err != nil {
		return err
	}
	keys, err := cfg.keys(e, s.charsets)
	if err != nil {
		s.fault = err
		return err
	}
	e.Rows, e.SkippedColumns = make([][]any, len(keys)), nil
	for i, k := range keys {
		e.Rows[i] = k
	}
	return nil
}

// HandleEvent is called by go-mysql for each event, in order.
func (s *stream) HandleEvent(e *replication.BinlogEvent) error {
	err := s.event(e)
	if err != nil && s.fault == nil {
		s.fault = err
	}
	return err
}

func (s *stream) event(e *replication.BinlogEvent) error {
	if err := s.handle(e); err != nil {
		return err
	}
	s.reader.move(e.Header, s.tx.open || s.tx.id != nil)
	return nil
}

func (s *stream) handle(e *replication.BinlogEvent) error {
	switch event := e.Event.(type) {
	case *replication.RotateEvent:
		return s.reader.rotate(string(event.NextLogName), event.Position)
	case *replication.FormatDescriptionEvent: // the first of each file, sent also to who begins in the middle
		if err := s.reader.made(e.Header.Timestamp); err != nil {
			return err
		}
		return s.begin(nil) // a transaction that has no end by now was cut off by a crash
	case *replication.GTIDEvent:
		if e.Header.EventType == replication.ANONYMOUS_GTID_EVENT {
			s.reader.anonymous()
			return s.begin(noGTID{})
		}
		id, err := gtidOf(event)
		if err != nil {
			return err
		}
		return s.begin(id)
	case *replication.GtidTaggedLogEvent:
		id, err := gtidOf(&event.GTIDEvent)
		if err != nil {
			return err
		}
		return s.begin(id)
	case *replication.MariadbGTIDEvent:
		if err := s.begin(mariaGTID(event.GTID)); err != nil {
			return err
		}
		s.tx.open = !event.IsStandalone()
		s.tx.xa = event.Flags&mariaPrepared != 0
	case *replication.QueryEvent:
		return s.query(string(event.Schema), string(event.Query))
	case *replication.XIDEvent:
		return s.finish()
	case *replication.TableMapEvent:
		return s.table(event)
	case *replication.RowsEvent:
		return s.rows(event)
	case *replication.TransactionPayloadEvent:
		for _, inner := range event.Events {
			if err := s.handle(inner); err != nil {
				return err
			}
		}
	default:
		return s.other(e)
	}
	return nil
}

// mariaPrepared is FL_PREPARED_XA of MariaDB's GTID event (sql/log_event.h).
const mariaPrepared = 64

// other takes what go-mysql has no type for, or nothing to say about.
func (s *stream) other(e *replication.BinlogEvent) error {
	switch t := e.Header.EventType; t {
	case replication.XA_PREPARE_LOG_EVENT:
		return s.prepare(e)
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		return s.load(e.RawData)
	case replication.STOP_EVENT, replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT,
		replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2, replication.IGNORABLE_EVENT, replication.ROWS_QUERY_EVENT,
		replication.PREVIOUS_GTIDS_EVENT, replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT,
		replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT, replication.DELETE_FILE_EVENT,
		replication.MARIADB_ANNOTATE_ROWS_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT,
		replication.MARIADB_GTID_LIST_EVENT, replication.MARIADB_START_ENCRYPTION_EVENT:
	default:
		if e.Header.Flags&replication.LOG_EVENT_IGNORABLE_F == 0 {
			return fmt.Errorf("%w: type %d at %s", ErrEvent, t, s.reader.At())
		}
	}
	return nil
}

// load reads the event of a LOAD DATA that is logged as a statement, whose text go-mysql leaves out: after the header of 19
// bytes come 13 as in any query, the lengths of the database and of the variables among them, 13 about the file, the
// variables, the database, a zero, and the text (sql/log_event.h, Execute_load_query_log_event).
func (s *stream) load(raw []byte) error {
	const lengths, end = 19 + 8, 19 + 13 + 13
	if len(raw) >= end {
		database := end + int(binary.LittleEndian.Uint16(raw[lengths+3:]))
		text := database + int(raw[lengths]) + 1
		if text <= len(raw) {
			return s.query(string(raw[database:text-1]), string(raw[text:]))
		}
	}
	return fmt.Errorf("%w: LOAD DATA at %s", ErrEvent, s.reader.At())
}

// begin starts a transaction. If one is open yet, it never came to its end, and its keys go out, to be sure.
func (s *stream) begin(id gtid) error {
	if len(s.tx.keys) > 0 || s.tx.happen.stops() {
		s.tx.id = nil
		if err := s.finish(); err != nil {
			return err
		}
	}
	s.tx = transaction{id: id}
	return nil
}

// finish hands a transaction over and moves the position behind it.
func (s *stream) finish() error {
	tx := s.tx
	s.tx = transaction{}
	return s.reader.add(s, &tx, false)
}

func (s *stream) query(database, text string) error {
	effect, id := s.text.effect(database, text)
	switch effect {
	case begin:
		s.tx.open, s.tx.xa = true, id != ""
		return nil
	case commit:
		return s.finish()
	case control:
		return nil
	case xaCommit, xaBack:
		if err := s.decide(id, effect == xaCommit); err != nil {
			return err
		}
		return s.finish()
	case written:
		return fmt.Errorf("%w: %s at %s; this needs binlog_format=ROW in every session", ErrStatement, excerpt(text), s.reader.At())
	case truncated:
		s.tx.happen.Truncated = true
	case altered:
		s.tx.happen.Altered = append(s.tx.happen.Altered, text)
	}
	if s.tx.open {
		return nil
	}
	return s.finish()
}

func excerpt(text string) string {
	if len(text) > 200 {
		return strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

func (s *stream) table(te *replication.TableMapEvent) error {
	if !s.ours(te) {
		return nil
	}
	_, err := s.reader.cfg.layout(te)
	return err
}

// unlike notes that rows were not read, because they do not look like the Config. A table map alone says nothing: under LOCK TABLES MySQL
// writes one for each locked table, whatever becomes of it.
func (s *stream) unlike(te *replication.TableMapEvent) error {
	if !s.ours(te) {
		return nil
	}
	differs, err := s.reader.cfg.layout(te)
	if err == nil && differs != "" && len(s.tx.happen.Altered) == 0 {
		s.tx.happen.Altered = []string{differs}
	}
	return err
}

func (s *stream) rows(e *replication.RowsEvent) error {
	if e.Table == nil {
		return nil
	}
	if len(e.Rows) == 0 {
		return s.unlike(e.Table)
	}
	for _, k := range e.Rows {
		s.tx.keys = append(s.tx.keys, k)
		s.tx.bytes += size(k)
	}
	if s.tx.bytes < s.reader.cfg.MaxBytes || s.tx.xa {
		return nil
	}
	part := transaction{keys: s.tx.keys, bytes: s.tx.bytes}
	s.tx.keys, s.tx.bytes = nil, 0
	return s.reader.add(s, &part, true)
}

// size is about what a key takes in memory.
func size(k Key) int {
	n := 24 + 24*len(k)
	for _, v := range k {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v) + 8
		}
	}
	return n
}

// prepare puts a transaction aside until it is decided. Its rows are locked until then, and its keys of no use.
func (s *stream) prepare(e *replication.BinlogEvent) error {
	generic, ok := e.Event.(*replication.GenericEvent)
	if !ok || len(generic.Data) < 13 {
		return fmt.Errorf("%w: XA PREPARE at %s", ErrEvent, s.reader.At())
	}
	// one_phase (1), format (4), length of gtrid (4), of bqual (4), both (sql/log_event.h, XA_prepare_log_event)
	data := generic.Data
	if data[0] != 0 { // XA COMMIT … ONE PHASE
		return s.finish()
	}
	format, g, b := binary.LittleEndian.Uint32(data[1:]), binary.LittleEndian.Uint32(data[5:]), binary.LittleEndian.Uint32(data[9:])
	if uint64(len(data)) < 13+uint64(g)+uint64(b) {
		return fmt.Errorf("%w: XA PREPARE at %s", ErrEvent, s.reader.At())
	}
	id := fmt.Sprintf("x'%x',x'%x',%d", data[13:13+g], data[13+g:13+g+b], int32(format))
	s.reader.aside(id, &s.tx)
	return s.finish()
}

// decide ends a prepared transaction: its keys come with the XA COMMIT, or not at all.
func (s *stream) decide(id string, committed bool) error {
	p, known := s.reader.pending(id)
	s.tx.decides = id
	if !committed {
		return nil
	}
	if !known {
		return fmt.Errorf("%w: XA COMMIT %s at %s", ErrXA, id, s.reader.At())
	}
	s.tx.keys, s.tx.bytes = append(s.tx.keys, p.keys...), s.tx.bytes+p.bytes
	return nil
}

// The rest is what a stream does to its reader, under the reader's lock.

// add puts a transaction, or a part of it, in the hand of whoever calls Next, and waits while that is full.
func (r *Reader) add(s *stream, tx *transaction, part bool) error {
	r.mu.Lock()
	waited := false
	for r.hand.stops() || r.bytes >= r.cfg.MaxBytes && !r.eager {
		r.mu.Unlock()
		select {
		case <-r.room:
		case <-s.done:
			return replication.ErrSyncClosed
		}
		waited = true
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	defer signal(r.ready)
	r.hand.Keys = append(r.hand.Keys, tx.keys...)
	r.hand.Altered = append(r.hand.Altered, tx.happen.Altered...)
	r.hand.Truncated = r.hand.Truncated || tx.happen.Truncated
	r.hand.Partial = part
	r.bytes += tx.bytes
	delete(r.prepared, tx.decides)
	delete(r.idle, tx.decides)
	if !part && tx.id != nil && r.here.gtids != nil {
		if err := tx.id.add(r.here.gtids); err != nil {
			return fmt.Errorf("%w: %w", errParse, err)
		}
	}
	if waited {
		return s.conn.SetReadDeadline(time.Now().Add(silence)) // go-mysql set it before
	}
	return nil
}

// move notes the offset behind an event, if no transaction is open there.
func (r *Reader) move(h *replication.EventHeader, open bool) {
	if h.EventType != replication.ROTATE_EVENT { // the server names the file before it looks into it
		r.mu.Lock()
		r.heard = true
		r.mu.Unlock()
		signal(r.ready)
	}
	if open || h.LogPos == 0 || h.Flags&replication.LOG_EVENT_ARTIFICIAL_F != 0 ||
		h.EventType == replication.ROTATE_EVENT || h.EventType == replication.HEARTBEAT_EVENT || h.EventType == replication.HEARTBEAT_LOG_EVENT_V2 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// An event tells the lower half of its offset, and a file may be longer than that.
	offset := r.here.offset&^math.MaxUint32 | uint64(h.LogPos)
	if offset < r.here.offset {
		if r.here.offset-offset < 1<<31 {
			return
		}
		offset += 1 << 32
	}
	r.here.offset, r.moved = offset, true
	signal(r.ready)
}

// rotate goes on in another file. With GTIDs the server chooses where to begin, and has no reason to choose an earlier one, of which all was
// read.
func (r *Reader) rotate(file string, offset uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.here.file != "" && compareFiles(file, r.here.file) < 0 {
		return fmt.Errorf("%w: after %s the server begins with %s", ErrPurged, r.here.file, file)
	}
	if file != r.here.file {
		r.here.made = 0
	}
	r.here.file, r.here.offset = file, offset
	return nil
}

// made notes when the file was made, or finds that it is another one than it was.
func (r *Reader) made(at uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.here.made != 0 && r.here.made != at {
		return fmt.Errorf("%w: the server has made %s anew", ErrPurged, r.here.file)
	}
	r.here.made = at
	return nil
}

// anonymous is for a transaction without GTID where there should be one: the set does not say any more where we are.
func (r *Reader) anonymous() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg.Flavor == MySQL {
		r.here.gtids = nil
	}
}

func (r *Reader) aside(id string, tx *transaction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.idle, id)
	delete(r.prepared, id)
	if len(tx.keys) > 0 {
		r.prepared[id] = pending{keys: tx.keys, bytes: tx.bytes, start: r.position()}
	} else {
		r.idle[id] = true
	}
	tx.keys, tx.bytes = nil, 0
}

func (r *Reader) pending(id string) (p pending, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, known = r.prepared[id]
	return p, known || r.idle[id]
}
