package changeling_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// gauges is what the signals of a change read last.
type gauges struct {
	mu      sync.Mutex
	last    event.Signals
	notices []string
	waiting string
}

func (g *gauges) sink(e event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e := e.(type) {
	case event.Signals:
		g.last = e
	case event.Notice:
		g.notices = append(g.notices, e.Text)
	case event.Waiting:
		g.waiting = e.Reason
	}
}

// shows waits until a signal reads as it should.
func (g *gauges) shows(t *testing.T, name string, there func(event.Reading) bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ; <-tick.C {
		g.mu.Lock()
		last := g.last
		g.mu.Unlock()
		for _, r := range last.Readings {
			if r.Name == name && there(r) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("%s does not read as expected after 3 min: %+v", name, last)
			return
		}
	}
}

func says(text string) func(event.Reading) bool {
	return func(r event.Reading) bool { return strings.Contains(r.Text, text) }
}

func over(r event.Reading) bool { return r.Load >= 1 }

func calm(r event.Reading) bool { return r.Load < 1 && r.Text != "not read yet" }

// busy keeps sessions busy with a statement until the test is over.
func busy(t *testing.T, db *sql.DB, sessions int, statement string) {
	t.Helper()
	for range sessions {
		go db.ExecContext(t.Context(), statement) // ends with the test
	}
}

// TestSignalsOfPostgres: each signal is read from a real server that was brought to where it should warn.
func TestSignalsOfPostgres(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Own(t, dbtest.Options{Major: major, Settings: map[string]string{
				"archive_mode": "on", "archive_command": "false", "max_slot_wal_keep_size": "64MB", "autovacuum": "off"}})
			db := pgtest.Open(t, server.DSN("postgres"))
			pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`,
				`INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 20000) i`,
				`SELECT pg_create_physical_replication_slot('lagging', true)`)
			for i := range 3 {
				pgtest.Exec(t, db, fmt.Sprintf(`CREATE TABLE filler%d AS SELECT 1`, i), `SELECT pg_switch_wal()`)
			}
			var g gauges
			c, _ := start(t, db, widenOrders, changeling.Config{Hold: true, Events: g.sink, Throttle: changeling.Throttle{
				MaxLoad: 3, MaxTransaction: 300 * time.Millisecond, MaxLog: 1, MaxArchive: changeling.Off, MaxSlot: changeling.Off, MaxDisk: 1,
				MaxLatency: time.Minute,
			}})
			reaches(t, c, "hold", held)
			g.shows(t, "commit latency", calm)
			g.shows(t, "active sessions", calm)
			g.shows(t, "sessions that wait for us", calm)
			g.shows(t, "vacuum of the table", calm)
			g.shows(t, "chunk time", calm)
			g.shows(t, "replica lag", calm)
			g.shows(t, "log", over) // the probe alone writes more than a byte
			g.shows(t, "log that may be kept for slot", func(r event.Reading) bool {
				return r.Hard && r.Load > 0.1 && calm(r) && strings.Contains(r.Text, "lagging")
			})
			g.shows(t, "disk of the server", func(r event.Reading) bool { return r.Hard && r.Load > 0 && calm(r) })

			busy(t, db, 3, `SELECT pg_sleep(600)`)
			g.shows(t, "active sessions", says("active sessions 3, limit 3"))
			g.shows(t, "oldest transaction", func(r event.Reading) bool { return over(r) && strings.Contains(r.Text, "of postgres") })
			slow := pgtest.Open(t, server.DSN("postgres"))
			slow.SetMaxOpenConns(1)
			pgtest.Exec(t, slow, `SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1`)
			go slow.ExecContext(t.Context(), `VACUUM (INDEX_CLEANUP on) orders`)
			g.shows(t, "vacuum of the table", func(r event.Reading) bool { return r.Load > 0.7 && calm(r) })

			for _, x := range []struct{ set, value, signal, says string }{
				{"max-archive", "2", "files that wait for their archiving", "limit 2"},
				{"max-slot", "1KB", "log kept for slot", "of lagging"},
				{"max-disk", "0.001%", "disk of the server", "limit 0%"},
			} {
				if err := c.Set(t.Context(), x.set, x.value); err != nil {
					t.Fatal(err)
				}
				g.shows(t, x.signal, func(r event.Reading) bool { return r.Hard && over(r) && strings.Contains(r.Text, x.says) })
			}
		})
	}
}

// TestWaitsForUs: a user who waits for a lock that we hold is seen.
func TestWaitsForUs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	var g gauges
	s.config.Events = event.Tee(s.config.Events, g.sink)
	copies := s.at(copying, 2)
	s.start()
	s.until(copies)
	u := s.begin()
	go u.tx.ExecContext(t.Context(), `SET LOCAL lock_timeout = '300s'; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE`)
	g.shows(t, "sessions that wait for us", says("sessions that wait for us 1, limit 1"))
	copies.open()
	g.shows(t, "sessions that wait for us", calm)
	if err := u.tx.Rollback(); err != nil {
		t.Error(err)
	}
	if v := s.finish(); v.caught() {
		t.Error(v)
	}
}

// TestSignalsOfMySQL is the same for MySQL.
func TestSignalsOfMySQL(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 2000)
		var g gauges
		e, err := changeling.Open(t.Context(), db, changeling.Config{Hold: true, Events: g.sink, Throttle: changeling.Throttle{
			MaxLoad: 1000, MaxTransaction: 500 * time.Millisecond, MaxLog: 1, MaxHistory: 1, MaxDisk: 1, MaxLatency: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		c, err := e.Start(t.Context(), myGrow)
		if err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		go func() { end <- c.Run(t.Context()) }()
		reaches(t, c, "hold", held)
		g.shows(t, "active sessions", func(r event.Reading) bool {
			return r.Load > 0 && calm(r) && strings.HasPrefix(r.Text, "active sessions ")
		})
		g.shows(t, "sessions that wait for us", calm)
		g.shows(t, "chunk time", calm)
		g.shows(t, "disk of the server", calm)
		g.shows(t, "log", over)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, tx, `UPDATE orders SET amount = amount + 1 WHERE id <= 10`)
		g.shows(t, "oldest transaction", over)
		g.shows(t, "history list length", over) // what the open snapshot keeps, the probe's own updates
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if err := c.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-end; !errors.Is(err, changeling.ErrAborted) {
			t.Error(err)
		}
	})
}

// TestSignalsOfOnesOwn: a query, an address, a file and a window stop a change and let it go on, also one that is fast.
func TestSignalsOfOnesOwn(t *testing.T) {
	t.Parallel()
	for _, fast := range []bool{false, true} {
		t.Run(fmt.Sprintf("fast %v", fast), func(t *testing.T) {
			t.Parallel()
			db := ordersTable(t, 5000)
			pgtest.Exec(t, db, `CREATE TABLE due (n int)`, `INSERT INTO due VALUES (7)`)
			file := filepath.Join(t.TempDir(), "stop")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			status := http.StatusServiceUnavailable
			outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				w.WriteHeader(status)
				fmt.Fprintln(w, "sales day")
			}))
			t.Cleanup(outside.Close)
			var throttle changeling.Throttle
			for name, value := range map[string]string{"throttle-query": "5: SELECT n FROM due", "throttle-http": outside.URL, "throttle-file": file, "window": "TZ=UTC * * 31 2 *"} {
				if err := throttle.Set(name, value); err != nil {
					t.Fatal(err)
				}
			}
			var g gauges
			c, end := start(t, db, widenOrders, changeling.Config{Fast: fast, DropAfter: changeling.DropNow, Events: g.sink, Throttle: throttle})
			for _, x := range []struct {
				signal, says string
				mend         func()
			}{
				{"the query SELECT n FROM due", "7, limit 5", func() { pgtest.Exec(t, db, `UPDATE due SET n = 4`) }},
				{"HTTP", "answers 503: sales day", func() { mu.Lock(); status = 200; mu.Unlock() }},
				{"file", file, func() { os.Remove(file) }},
				{"window", "never opens", func() {
					if err := c.Set(t.Context(), "window", "off"); err != nil {
						t.Error(err)
					}
				}},
			} {
				g.shows(t, x.signal, func(r event.Reading) bool { return r.Hard && over(r) && strings.Contains(r.Text, x.says) })
				if s, err := c.Status(t.Context()); err != nil || s.RowsDone != 0 {
					t.Errorf("%d rows were copied, %v, while %s is over its limit", s.RowsDone, err, x.signal)
				}
				x.mend()
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, db)
		})
	}
}

// TestQueryThatFails: what cannot be read is over its limit, for a reason of its own.
func TestQueryThatFails(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 1000)
	var g gauges
	c, end := start(t, db, widenOrders, changeling.Config{Events: g.sink, Throttle: changeling.Throttle{Queries: []changeling.Query{{Limit: 1, Text: "SELECT 1, 2, 3"}}}})
	reaches(t, c, "a stop", func(s changeling.Status) bool {
		return strings.Contains(s.ThrottleReason, "cannot be read: the query answers 3 columns")
	})
	if err := c.Set(t.Context(), "throttle-query", "1: SELECT 0 WHERE pg_catalog.pg_sleep(100) IS NULL"); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "a stop", func(s changeling.Status) bool { return strings.Contains(s.ThrottleReason, "no answer within") })
	if err := c.Set(t.Context(), "throttle-query", "1: SELECT 0"); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
}

// TestSignalsThatTheRoleMayNotSee are left out with a word about it, and refused where they were asked for.
func TestSignalsThatTheRoleMayNotSee(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 1000)
	role := fmt.Sprintf("blind_%d", time.Now().UnixNano())
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, `CREATE ROLE `+role+` LOGIN`, `GRANT CREATE ON DATABASE `+name+` TO `+role, `GRANT ALL ON SCHEMA public TO `+role, `ALTER TABLE orders OWNER TO `+role)
	t.Cleanup(func() { db.Exec(`DROP OWNED BY ` + role + ` CASCADE; DROP ROLE ` + role) })
	blind := pgtest.Open(t, strings.Replace(pgtest.Server(t).DSN(name), "postgres@", role+"@", 1))
	err := changeling.Apply(t.Context(), blind, widenOrders, changeling.Config{Throttle: changeling.Throttle{MaxLoad: 10}})
	if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "max-load is asked for") || !strings.Contains(err.Error(), "GRANT pg_monitor TO "+role) {
		t.Errorf("a load that cannot be seen: %v", err)
	}
	var g gauges
	if err := changeling.Apply(t.Context(), blind, widenOrders, changeling.Config{DropAfter: changeling.DropNow, Events: g.sink}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(g.notices, "\n"); strings.Count(got, "not watched") != 1 || !strings.Contains(got, "active sessions") || !strings.Contains(got, "replica lag") {
		t.Errorf("notices %q, want one about what is not watched", got)
	}
}
