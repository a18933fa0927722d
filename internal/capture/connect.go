package capture

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

const (
	heartbeat = time.Second      // a server without changes says so
	silence   = 10 * time.Second // one that says nothing is gone
	// patience is how long the server keeps the connection while nobody takes what was read.
	patience = time.Hour
)

// connect begins to read where the last complete transaction ended. go-mysql's own retries are off: they go on after any
// event, also in the middle of a transaction, without its table map.
func (r *Reader) connect(ctx context.Context) (*stream, error) {
	r.mu.Lock()
	here := r.here.clone()
	r.mu.Unlock()
	s := &stream{
		reader: r, text: statements{table: r.cfg.Table}, charsets: map[string]charset{},
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	host, port, unix := r.cfg.Addr, "0", strings.Contains(r.cfg.Addr, "/")
	if !unix {
		var err error
		if host, port, err = net.SplitHostPort(r.cfg.Addr); err != nil {
			return nil, fmt.Errorf("%w: %w", errParse, err)
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: port %q", errParse, port)
	}
	unbind := func() bool { return true }
	s.syncer = replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 1<<30 + rand.Uint32N(1<<31), // two readers with one id would throw each other out
		Flavor:   r.cfg.Flavor, Host: host, Port: uint16(number), User: r.cfg.User, Password: r.cfg.Password, TLSConfig: r.cfg.TLS,
		Logger: slog.New(slog.DiscardHandler), DisableRetrySync: true, DiscardGTIDSet: true,
		HeartbeatPeriod: heartbeat, ReadTimeout: silence, TimestampStringLocation: time.UTC,
		PayloadDecoderConcurrency: 1, RowsEventDecodeFunc: s.decode, SynchronousEventHandler: s,
		Dialer: func(dial context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(dial, network, addr)
			if err == nil && s.conn == nil { // the next one is for the KILL at the end
				s.conn = conn
				unbind = context.AfterFunc(ctx, func() { conn.Close() }) // go-mysql connects without a context of ours
			}
			return conn, err
		},
		Option: func(c *client.Conn) error { return s.greet(c, here) },
	})
	streamer, err := s.start(here)
	if !unbind() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		close(s.done)
		s.syncer.Close()
		return nil, s.explain(err)
	}
	go func() { // it ends with the stream, for which close waits
		_, err := streamer.GetEvent(context.Background())
		s.err = s.explain(err)
		close(s.ended)
	}()
	return s, nil
}

func (s *stream) start(here place) (*replication.BinlogStreamer, error) {
	if here.gtids != nil && !here.gtids.IsEmpty() {
		return s.syncer.StartSyncGTID(here.gtids)
	}
	offset := here.offset
	if offset > math.MaxUint32 {
		offset = 4 // the protocol has 32 bits; to read the file again does no harm
	}
	return s.syncer.StartSync(mysql.Position{Name: here.file, Pos: uint32(offset)})
}

func (s *stream) close() {
	close(s.done)
	s.syncer.Close()
	<-s.ended
}

// explain says what ended a stream.
func (s *stream) explain(err error) error {
	if s.fault != nil {
		return s.fault
	}
	if spoken, ok := errors.AsType[*mysql.MyError](err); ok {
		if spoken.Code == mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG && !sameID(spoken.Message) {
			for _, gone := range []string{"purged", "could not find first log", "could not find gtid", "not in the master's binlog", "position > file size", "impossible position", "more gtids than", "entry exceeded max_allowed_packet", "bogus data"} {
				if strings.Contains(strings.ToLower(spoken.Message), gone) {
					return fmt.Errorf("%w: %w", ErrPurged, err)
				}
			}
		}
		return err
	}
	var event *replication.EventError
	if errors.As(err, &event) || strings.HasPrefix(err.Error(), "panic ") {
		return fmt.Errorf("%w: %w", errParse, err)
	}
	return err
}

// sameID reports whether the server ended the connection because another one came with the same server_id.
func sameID(message string) bool { return strings.Contains(message, "with the same") }

// greet asks the server who it is and what is needed to read its log.
func (s *stream) greet(c *client.Conn, here place) error {
	fail := func(err error) error {
		s.fault = err
		return err
	}
	who := "@@server_uuid"
	if s.reader.cfg.Flavor == MariaDB {
		who = mariaServer
	}
	res, err := c.Execute("SELECT VERSION(), @@lower_case_table_names")
	if err != nil {
		return err
	}
	version, err := res.GetString(0, 0)
	if err != nil {
		return err
	}
	if strings.Contains(version, "MariaDB") != (s.reader.cfg.Flavor == MariaDB) {
		return fail(fmt.Errorf("%w: %s is not %s", ErrServer, version, s.reader.cfg.Flavor))
	}
	fold, err := res.GetInt(0, 1)
	if err != nil {
		return err
	}
	s.text.fold = fold != 0
	if res, err = c.Execute("SELECT " + who); err != nil {
		return err
	}
	server, err := res.GetString(0, 0)
	if err != nil {
		return err
	}
	if here.server != "" && here.server != server {
		if here.gtids == nil || here.gtids.IsEmpty() {
			return fail(fmt.Errorf("%w: %s answers at %s, the position %s is of %s", ErrServer, server, s.reader.cfg.Addr, here.position(), here.server))
		}
		here.file, here.offset, here.made = "", 0, 0
	}
	s.reader.settle(server, here)
	for _, k := range s.reader.cfg.Key {
		if err := s.charset(c, k); err != nil {
			return err
		}
	}
	_, err = c.Execute("SET SESSION net_write_timeout = " + strconv.Itoa(int(patience.Seconds())))
	return err
}

// settle notes which server the file is of.
func (r *Reader) settle(server string, here place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.here.server, r.here.file, r.here.offset, r.here.made = server, here.file, here.offset, here.made
}

// charset asks the server for the characters of a charset of one byte a character: its own word for them, and not that of
// another library, finds the row again.
func (s *stream) charset(c *client.Conn, k Column) error {
	if !k.text() || s.charsets[k.Charset].name != "" {
		return nil
	}
	known := charset{name: k.Charset}
	if !strings.Contains(" "+strings.Join(unicodes, " ")+" ", " "+k.Charset+" ") {
		var all [256]byte
		for i := range all {
			all[i] = byte(i)
		}
		name := strings.Map(func(r rune) rune {
			if wordy(byte(r)) {
				return r
			}
			return -1
		}, k.Charset)
		res, err := c.Execute(fmt.Sprintf("SELECT HEX(CONVERT(CONVERT(UNHEX('%x') USING %s) USING utf32)), MAXLEN "+
			"FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = '%s'", all, name, name))
		if err != nil {
			return err
		}
		text, err := res.GetString(0, 0)
		if err != nil {
			return err
		}
		width, _ := res.GetInt(0, 1)
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != 4*len(all) || width != 1 {
			s.fault = fmt.Errorf("%w: column %s has charset %s", ErrKey, k.Name, k.Charset)
			return s.fault
		}
		known.table = new([256]rune)
		for i := range known.table {
			if r := rune(binary.BigEndian.Uint32(raw[4*i:])); r != '?' || i == '?' {
				known.table[i] = r
			}
		}
	}
	s.charsets[k.Charset] = known
	return nil
}
