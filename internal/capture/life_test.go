package capture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

const small = "CREATE TABLE t (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200))"

// own is a scene on a server of its own.
func own(t *testing.T, version string, settings map[string]string) *scene {
	server := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: settings})
	mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), "CREATE DATABASE app")
	return sceneAt(t, server, server.DSN("app"))
}

// saved is a position that was written down and read again.
func saved(t *testing.T, p capture.Position) capture.Position {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var out capture.Position
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestResume: wherever a reader stopped, one that begins at its position misses nothing; neither a rotated log, nor a
// killed connection, nor a server that was restarted is in the way. GTIDs or not.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, gtids := range []string{"ON", "OFF"} {
		t.Run("gtid_mode "+gtids, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) {
				s := own(t, version, map[string]string{"loose_gtid_mode": gtids, "loose_enforce_gtid_consistency": gtids, "binlog_row_metadata": "FULL"})
				r := s.watch(small)
				cfg := s.config()
				if want := gtids == "ON" || s.server.MariaDB(); (cfg.From.GTID != "") != want {
					t.Errorf("position %+v, want GTIDs: %v", cfg.From, want)
				}
				var positions []capture.Position
				for i := 1; i <= 12; i++ {
					s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, 'x')", i))
					switch i % 4 {
					case 1:
						s.exec("FLUSH BINARY LOGS")
					case 2:
						if n := s.killReaders(); n < 1 { // the one before may not have heard yet that it was killed
							t.Error("no reader was killed")
						}
					case 3:
						s.exec("FLUSH BINARY LOGS", "CREATE TABLE IF NOT EXISTS noise (a INT)", "INSERT INTO noise VALUES (1)")
					}
					b := s.upto(r)
					if got := show(b.Keys); got != strconv.Itoa(i) {
						t.Errorf("keys %s, want %d", got, i)
					}
					positions = append(positions, saved(t, b.Position))
				}
				if err := s.server.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := s.server.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.db = mytest.Open(t, s.server.DSN("app")) // the connections of the other one are broken
				if gtids == "ON" && !s.server.MariaDB() {
					s.session("SET gtid_next = 'AUTOMATIC:tagged'", "INSERT INTO t VALUES (13, 'x')")
				} else {
					s.exec("INSERT INTO t VALUES (13, 'x')")
				}
				if got := show(s.upto(r).Keys); got != "13" {
					t.Errorf("keys %s after a crash, want 13", got)
				}
				if b := s.upto(r); len(b.Keys) != 0 {
					t.Errorf("keys %s at the end", show(b.Keys))
				} else {
					positions = append(positions, saved(t, b.Position))
				}
				s.exec("INSERT INTO t VALUES (14, 'x')")
				want := "1 2 3 4 5 6 7 8 9 10 11 12 13 14"
				for _, p := range positions {
					_, want, _ = strings.Cut(want, " ")
					cfg.From = p
					if b := s.upto(s.open(cfg)); show(b.Keys) != want || b.Altered != nil {
						t.Errorf("keys %s from %+v, want %s", show(b.Keys), p, want)
					}
					if p.GTID == "" {
						continue
					}
					cfg.From.Server, cfg.From.File = "another", "else.999999" // as after a failover
					if b := s.upto(s.open(cfg)); show(b.Keys) != want || b.Altered != nil {
						t.Errorf("keys %s from %s, want %s", show(b.Keys), p.GTID, want)
					}
				}
			})
		})
	}
}

// killReaders ends the connections of all readers of the server, and says how many there were.
func (s *scene) killReaders() (n int) {
	s.Helper()
	for _, id := range s.readers() {
		if _, err := s.db.ExecContext(s.Context(), "KILL "+strconv.Itoa(id)); err != nil && !strings.Contains(err.Error(), "1094") { // it has gone by itself
			s.Fatal(err)
		}
		n++
	}
	return n
}

func (s *scene) readers() (ids []int) {
	s.Helper()
	rows, err := s.db.QueryContext(s.Context(), "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			s.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return ids
}

func (s *scene) logs() int {
	s.Helper()
	rows, err := s.db.QueryContext(s.Context(), "SHOW BINARY LOGS")
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	return n
}

// TestReset: a position in logs that were all deleted is an error, though the new logs have files, offsets and GTIDs like it.
func TestReset(t *testing.T) {
	t.Parallel()
	for _, gtids := range []string{"ON", "OFF"} {
		t.Run("gtid_mode "+gtids, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) {
				s := own(t, version, map[string]string{"loose_gtid_mode": gtids, "loose_enforce_gtid_consistency": gtids})
				s.exec(small)
				reset := "RESET BINARY LOGS AND GTIDS"
				if s.server.MariaDB() {
					reset = "RESET MASTER"
				}
				s.exec(reset)
				r := s.open(s.config())
				s.exec("INSERT INTO t VALUES (1, 'x')")
				cfg := s.config()
				cfg.From = saved(t, s.upto(r).Position)
				s.exec("DO SLEEP(1.1)", reset) // files are told from each other by the second in which they were made
				if _, err := r.After(s.current(), r.At()); !errors.Is(err, capture.ErrPurged) {
					t.Errorf("the log ends before where it was read to: %v", err)
				}
				s.exec("INSERT INTO t VALUES (2, 'x')")
				if now := s.current(); now.File != cfg.From.File || now.Offset != cfg.From.Offset {
					t.Fatalf("the new log ends at %s, want it to be like the old one, %s", now, cfg.From)
				}
				s.exec("INSERT INTO t VALUES (3, 'x')")
				if err := s.failure(s.open(cfg)); !errors.Is(err, capture.ErrPurged) {
					t.Errorf("Next returns %v, want %v", err, capture.ErrPurged)
				}
				s.exec(reset, "CREATE TABLE noise (a longtext)", "INSERT INTO noise VALUES (REPEAT('x', 100000))")
				p := s.current()
				cfg.From.GTID = "0-1-1000" // of which the new log has less
				if server, _, found := strings.Cut(p.GTID, ":"); cfg.Flavor == capture.MySQL {
					cfg.From.GTID = map[bool]string{true: server + ":1-1000"}[found]
				}
				if now, err := s.current().After(cfg.Flavor, cfg.From); err != nil || now.GTID != "" {
					t.Errorf("%+v after %+v: %v, want no GTIDs", now, cfg.From, err)
				}
				if p.GTID != "" { // the new logs have come far, and the server chooses an earlier file
					cfg.From.GTID, cfg.From.File, cfg.From.Made = p.GTID, strings.Replace(p.File, "000001", "000007", 1), 0
					if err := s.failure(s.open(cfg)); !errors.Is(err, capture.ErrPurged) {
						t.Errorf("Next returns %v for a file from before, want %v", err, capture.ErrPurged)
					}
				}
			})
		})
	}
}

// TestPurged: a position whose log is gone is an error that says so, and so is one of another server.
func TestPurged(t *testing.T) {
	t.Parallel()
	for _, gtids := range []string{"ON", "OFF"} {
		t.Run("gtid_mode "+gtids, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) {
				s := own(t, version, map[string]string{"loose_gtid_mode": gtids, "loose_enforce_gtid_consistency": gtids})
				s.exec(small)
				cfg := s.config()
				s.exec("INSERT INTO t VALUES (1, 'x')", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (2, 'x')", "FLUSH BINARY LOGS")
				for s.exec("PURGE BINARY LOGS TO '" + s.current().File + "'"); s.logs() > 1; { // MariaDB keeps what a crash may need
					select {
					case <-time.After(50 * time.Millisecond):
						s.exec("PURGE BINARY LOGS TO '" + s.current().File + "'")
					case <-t.Context().Done():
						t.Fatal("the logs are still there")
					}
				}
				if err := s.failure(s.open(cfg)); !errors.Is(err, capture.ErrPurged) {
					t.Errorf("Next returns %v, want %v", err, capture.ErrPurged)
				} else {
					t.Log(err)
				}
				if s.server.MariaDB() {
					cfg.From.GTID = ""
				}
				if cfg.From.GTID == "" {
					cfg.From.Server = "another"
					if err := s.failure(s.open(cfg)); !errors.Is(err, capture.ErrServer) {
						t.Errorf("Next returns %v, want %v", err, capture.ErrServer)
					}
				}
				cfg = s.config()
				cfg.From.Offset += 1 << 20
				if cfg.From.GTID == "" {
					if err := s.failure(s.open(cfg)); !errors.Is(err, capture.ErrPurged) {
						t.Errorf("Next returns %v for a position behind the end, want %v", err, capture.ErrPurged)
					}
				}
			})
		})
	}
}

// TestCompressed: transactions and rows that the server compresses yield their keys.
func TestCompressed(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := own(t, version, map[string]string{"loose_binlog_transaction_compression": "ON", "loose_log_bin_compress": "ON", "loose_log_bin_compress_min_len": "10"})
		r := s.watch(small)
		s.exec("INSERT INTO t SELECT 1, REPEAT('x', 200)", "UPDATE t SET note = REPEAT('y', 200), id = 2", "DELETE FROM t")
		b := s.upto(r)
		if got := show(b.Keys); got != "1 1 2 2" {
			t.Errorf("keys %s, want 1 1 2 2", got)
		}
		cfg := s.config()
		cfg.From = saved(t, b.Position)
		s.exec("TRUNCATE TABLE t")
		if b := s.upto(s.open(cfg)); len(b.Keys) != 0 || !b.Truncated {
			t.Errorf("batch %+v after a compressed transaction", b)
		}
	})
}

// TestUnderLock: what was acknowledged before LOCK TABLES is in what Upto returns for the position behind it.
func TestUnderLock(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch(small, "CREATE TABLE other (a BIGINT)")
		g, ctx := errgroup.WithContext(t.Context())
		writing, stop := context.WithCancel(ctx)
		defer stop()
		acknowledged := make([]int, 4)
		for w := range acknowledged {
			g.Go(func() error {
				for i := w; writing.Err() == nil; i += len(acknowledged) {
					if _, err := s.db.ExecContext(ctx, "INSERT INTO t (id) VALUES (?)", i+1); err != nil {
						return err
					}
					acknowledged[w] = i + 1
					if _, err := s.db.ExecContext(ctx, "INSERT INTO other VALUES (1)"); err != nil {
						return err
					}
				}
				return nil
			})
		}
		seen := map[string]bool{}
		note := func(keys []capture.Key) {
			for _, k := range keys {
				seen[show([]capture.Key{k})] = true
			}
		}
		conn, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var took []time.Duration
		for range 10 {
			for from := time.Now(); time.Since(from) < 100*time.Millisecond; {
				b, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				note(b.Keys)
			}
			mytest.Exec(t, conn, "LOCK TABLES t WRITE")
			p, err := capture.Current(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			from := time.Now()
			b, err := r.Upto(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(from))
			note(b.Keys)
			rows, err := conn.QueryContext(t.Context(), "SELECT id FROM t")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var id string
				if err := rows.Scan(&id); err != nil {
					t.Fatal(err)
				}
				if !seen[id] {
					t.Errorf("row %s is in the table and not in the log up to %s", id, p)
				}
			}
			rows.Close()
			mytest.Exec(t, conn, "UNLOCK TABLES")
		}
		stop()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(took)
		t.Logf("%d keys, Upto took %v (median) under the lock", len(seen), took[len(took)/2])
		note(s.upto(r).Keys)
		for _, id := range acknowledged {
			if !seen[strconv.Itoa(id)] {
				t.Errorf("row %d was acknowledged and is not in the log", id)
			}
		}
	})
}

// TestCancel: a call that is cancelled loses nothing, also while there is no server.
func TestCancel(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch(small)
		for i := range 20 {
			s.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, 'x')", i+1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			p := s.current()
			p.Offset += 1 << 30 // other tests write to the same log
			p.GTID = ""
			if b, err := r.Upto(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Upto of the future = %+v, %v", b, err)
			}
			cancel()
		}
		if got := len(s.upto(r).Keys); got != 20 {
			t.Errorf("%d keys, want 20", got)
		}
		cfg := s.config()
		cfg.Addr = "127.0.0.1:1"
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := s.open(cfg).Next(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Next without a server returns %v", err)
		}
	})
}

// TestOpen: a key that the log cannot tell is refused at once.
func TestOpen(t *testing.T) {
	t.Parallel()
	good := capture.Config{
		Addr: "127.0.0.1:1", Flavor: capture.MySQL, Columns: 2, Key: []capture.Column{{Name: "id", Type: "int"}},
		From: capture.Position{File: "binlog.000001", Offset: 4},
	}
	good.Table.Schema, good.Table.Table = "app", "t"
	if _, err := capture.Open(good); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		rule   string
		change func(*capture.Config)
		want   error
	}{
		{"no floats", func(c *capture.Config) { c.Key = []capture.Column{{Name: "f", Type: "float"}} }, capture.ErrKey},
		{"no uuid", func(c *capture.Config) { c.Key = []capture.Column{{Name: "f", Type: "uuid"}} }, capture.ErrKey},
		{"no charset of two bytes", func(c *capture.Config) { c.Key = []capture.Column{{Name: "f", Type: "varchar", Charset: "gbk"}} }, capture.ErrKey},
		{"inside of the row", func(c *capture.Config) { c.Key = []capture.Column{{Name: "f", Type: "int", Ordinal: 2}} }, capture.ErrKey},
		{"a key", func(c *capture.Config) { c.Key = nil }, capture.ErrKey},
		{"a flavor", func(c *capture.Config) { c.Flavor = "oracle" }, nil},
		{"a database", func(c *capture.Config) { c.Table.Schema = "" }, nil},
		{"a position", func(c *capture.Config) { c.From = capture.Position{} }, nil},
		{"GTIDs", func(c *capture.Config) { c.From.GTID = "x-y" }, nil},
	} {
		cfg := good
		c.change(&cfg)
		if _, err := capture.Open(cfg); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: Open returns %v", c.rule, err)
		}
	}
}

// TestRights: a user with a password who may only replicate can read.
func TestRights(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := own(t, version, nil)
		s.exec(small, "CREATE USER reader IDENTIFIED BY 'p@ss''word'", "CREATE USER nobody IDENTIFIED BY 'x'", "GRANT REPLICATION SLAVE ON *.* TO reader")
		cfg := s.config()
		cfg.User, cfg.Password = "reader", "p@ss'word"
		r := s.open(cfg)
		s.exec("INSERT INTO t VALUES (1, 'x')")
		if got := show(s.upto(r).Keys); got != "1" {
			t.Errorf("keys %s, want 1", got)
		}
		r.Close()
		for deadline := time.Now().Add(20 * time.Second); len(s.readers()) > 0; time.Sleep(20 * time.Millisecond) { // the server ends it when it gets to it
			if time.Now().After(deadline) {
				t.Errorf("%d readers are left after Close", len(s.readers()))
				break
			}
		}
		cfg.User, cfg.Password = "nobody", "x"
		err := s.failure(s.open(cfg))
		if errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "denied") {
			t.Errorf("Next returns %v for a user without the right", err)
		}
		cfg.Password = "wrong"
		if err := s.failure(s.open(cfg)); !strings.Contains(err.Error(), "denied") {
			t.Errorf("Next returns %v for a wrong password", err)
		}
	})
}

// TestTurmoil: connections are killed, readers die and begin again at the last position that was saved, logs rotate, all
// under writers; no acknowledged change is missing in the end.
func TestTurmoil(t *testing.T) {
	t.Parallel()
	for _, gtids := range []string{"ON", "OFF"} {
		t.Run("gtid_mode "+gtids, func(t *testing.T) {
			t.Parallel()
			mytest.Each(t, func(t *testing.T, version string) { turmoil(t, version, gtids) })
		})
	}
}

func turmoil(t *testing.T, version, gtids string) {
	s := own(t, version, map[string]string{"loose_gtid_mode": gtids, "loose_enforce_gtid_consistency": gtids})
	s.exec(small)
	cfg := s.config()
	cfg.MaxBytes = 500 // so that batches end everywhere, also inside of transactions
	g, ctx := errgroup.WithContext(t.Context())
	writing, stop := context.WithCancel(ctx)
	defer stop()
	written := make([]int, 3) // transactions of each writer
	const rows = 20           // of each transaction
	for w := range written {
		g.Go(func() error {
			for writing.Err() == nil {
				tx, err := s.db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				for i := range rows {
					id := (written[w]*rows+i)*len(written) + w + 1
					if _, err := tx.ExecContext(ctx, "INSERT INTO t (id) VALUES (?)", id); err != nil {
						return errors.Join(err, tx.Rollback())
					}
				}
				if err := tx.Commit(); err != nil {
					return err
				}
				written[w]++
			}
			return nil
		})
	}
	seen, saves, reader := map[string]bool{}, 0, s.open(cfg)
	read := func(until time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), until)
		defer cancel()
		for {
			b, err := reader.Next(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				return
			}
			if err != nil || b.Altered != nil || b.Truncated {
				t.Fatalf("%+v, %v", b, err)
			}
			for _, k := range b.Keys {
				seen[show([]capture.Key{k})] = true
			}
			cfg.From = saved(t, b.Position)
			saves++
		}
	}
	for round := range 24 {
		read(50 * time.Millisecond)
		switch round % 3 {
		case 0:
			s.killReaders()
		case 1: // a reader dies with what it has in hand
			reader.Close()
			reader = s.open(cfg)
		case 2:
			s.exec("FLUSH BINARY LOGS")
		}
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, k := range s.upto(reader).Keys {
		seen[show([]capture.Key{k})] = true
	}
	count, missing := 0, 0
	for w, n := range written {
		for i := range n * rows {
			count++
			if !seen[strconv.Itoa(i*len(written)+w+1)] {
				missing++
			}
		}
	}
	if missing > 0 || count == 0 {
		t.Errorf("%d of %d rows are missing after %d batches", missing, count, saves)
	}
	t.Logf("%d rows, %d batches", count, saves)
}
