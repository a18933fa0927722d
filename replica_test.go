package changeling_test

import (
	"database/sql"
	"fmt"
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

// pulse is a trace of a copy: when each chunk ended, and when it was told that it waits and goes on.
type pulse struct {
	mu     sync.Mutex
	began  time.Time
	chunks []time.Duration
	waits  []string
	lines  []string
}

func (p *pulse) sink(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began = time.Now()
	}
	at := time.Since(p.began).Round(time.Millisecond)
	switch e := e.(type) {
	case event.StepStarted:
		p.lines = append(p.lines, fmt.Sprintf("%8v  %s begins", at, e.Name))
	case event.Progress:
		p.chunks = append(p.chunks, at)
		p.lines = append(p.lines, fmt.Sprintf("%8v  %d rows", at, e.Done))
	case event.Waiting:
		p.waits = append(p.waits, e.Reason)
		p.lines = append(p.lines, fmt.Sprintf("%8v  waits: %q", at, e.Reason))
	case event.Signals:
		for _, r := range e.Readings {
			if r.Name == "replica lag" {
				p.lines = append(p.lines, fmt.Sprintf("%8v  %s", at, r.Text))
			}
		}
	}
}

func (p *pulse) await(t *testing.T, what string, there func() bool) time.Duration {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ; <-tick.C {
		p.mu.Lock()
		yes, at := there(), time.Since(p.began)
		p.mu.Unlock()
		if yes {
			return at
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// waiting says whether the copy waits now, for what was told. Hold p.mu.
func (p *pulse) waiting() bool { return len(p.waits) > 0 && p.waits[len(p.waits)-1] != "" }

// lagging is a test of a replica that stands still and goes on, while a copy of 2,000 rows a second runs.
type lagging struct {
	db          *sql.DB
	most        time.Duration // of lag
	start       func(c changeling.Config) (*changeling.Change, <-chan error)
	stop, goOn  func()
	replicaName string
}

func (l lagging) test(t *testing.T, config changeling.Config) {
	t.Helper()
	var p pulse
	config.Events, config.DropAfter = p.sink, changeling.DropNow
	config.Throttle = changeling.Throttle{MaxRows: 2000, MaxLag: l.most, MaxLatency: changeling.Off}
	c, end := l.start(config)
	reaches(t, c, "a copy", func(s changeling.Status) bool { return s.RowsDone > 0 })
	// On a busy machine a replica falls back by itself for a while, before or afterwards.
	earlier := 0
	p.await(t, "a copy that does not wait", func() bool { earlier = len(p.waits); return !p.waiting() })

	strain := pgtest.Strained(t, l.db)
	l.stop()
	p.mu.Lock()
	stopped := time.Since(p.began)
	p.mu.Unlock()
	told := p.await(t, "a wait", func() bool { return len(p.waits) > earlier && p.waiting() })
	strain.Within(told-stopped-l.most, 1500*time.Millisecond, "the stop after the lag came to its limit took")
	before := -1
	p.await(t, "a while", func() bool {
		if before < 0 {
			before = len(p.chunks)
		}
		return time.Since(p.began) > told+2*time.Second
	})
	p.mu.Lock()
	if n := len(p.chunks) - before; n > 1 {
		t.Errorf("%d chunks while the replica lagged, want at most the one that was under way", n)
	}
	before = len(p.chunks)
	during := p.waits[earlier:]
	resumed := time.Since(p.began)
	p.mu.Unlock()
	if len(during) != 1 && strain.Behind() < 100*time.Millisecond {
		t.Errorf("waits told: %q, want one for the replica", during)
	}
	strain = pgtest.Strained(t, l.db)
	l.goOn()
	strain.Within(p.await(t, "another chunk", func() bool { return len(p.chunks) > before })-resumed, 3*time.Second, "going on after the replica did took")
	if err := c.Set(t.Context(), "max-rows-per-s", "off"); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	named, last := false, ""
	for _, reason := range p.waits { // a lag that cannot be read in time is one, too
		if reason == last || reason != "" && !strings.HasPrefix(reason, "replica lag") {
			t.Errorf("waits told: %q, want them for the replica, each with its end", p.waits)
			break
		}
		named, last = named || strings.HasPrefix(reason, "replica lag of "+l.replicaName), reason
	}
	if !named || last != "" {
		t.Errorf("waits told: %q, want one for %s, and its end", p.waits, l.replicaName)
	}
	t.Log("\n" + strings.Join(p.lines, "\n"))
}

// TestReplicaThatLags: a streaming replica whose replay stands still stops the copy as soon as it is known to be behind, for
// one reason, until it has caught up, and the copy goes on then. The trace is in the test's log.
func TestReplicaThatLags(t *testing.T) {
	t.Parallel()
	primary := pgtest.Own(t, dbtest.Options{Major: dbtest.DefaultMajor}) // with which pg_basebackup comes
	standby := pgtest.Standby(t, primary, dbtest.Options{})
	db, replica := pgtest.Open(t, primary.DSN("postgres")), pgtest.Open(t, standby.DSN("postgres"))
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, 30000) i`)
	lagging{
		db:          db,
		most:        time.Second,
		start:       func(c changeling.Config) (*changeling.Change, <-chan error) { return start(t, db, widenOrders, c) },
		stop:        func() { pgtest.Exec(t, replica, `SELECT pg_wal_replay_pause()`) },
		goOn:        func() { pgtest.Exec(t, replica, `SELECT pg_wal_replay_resume()`) },
		replicaName: "standby",
	}.test(t, changeling.Config{})
}

// TestReplicaThatLagsOnMySQL: a replica that is asked itself, by a row that beats.
func TestReplicaThatLagsOnMySQL(t *testing.T) {
	t.Parallel()
	source := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	behind := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7", Settings: map[string]string{"server_id": "2"}})
	root, replica := mytest.Open(t, source.DSN("mysql")), mytest.Open(t, behind.DSN("mysql"))
	var file string
	var position int64
	var none sql.NullString
	if err := root.QueryRowContext(t.Context(), `SHOW BINARY LOG STATUS`).Scan(&file, &position, &none, &none, &none); err != nil {
		t.Fatal(err)
	}
	mytest.Exec(t, replica, fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', GET_SOURCE_PUBLIC_KEY=1, SOURCE_LOG_FILE='%s', SOURCE_LOG_POS=%d`,
		source.Port, file, position), `START REPLICA`)
	mytest.Exec(t, root, `CREATE DATABASE app`)
	db := mytest.Open(t, source.DSN("app"))
	mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
	fillMy(t, db, "orders", 30000)
	waitMy(t, replica, `SELECT COUNT(*) = 1 FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'orders'`)
	waitMy(t, replica, `SELECT COUNT(*) = 30000 FROM app.orders`)
	lagging{
		db:   db,
		most: 2 * time.Second, // on a busy machine it falls back by itself for a while
		start: func(c changeling.Config) (*changeling.Change, <-chan error) {
			e, err := changeling.Open(t.Context(), db, c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Close)
			change, err := e.Start(t.Context(), myGrow)
			if err != nil {
				t.Fatal(err)
			}
			end := make(chan error, 1)
			go func() { end <- change.Run(t.Context()) }()
			return change, end
		},
		stop:        func() { mytest.Exec(t, replica, `STOP REPLICA SQL_THREAD`) },
		goOn:        func() { mytest.Exec(t, replica, `START REPLICA SQL_THREAD`) },
		replicaName: "db2",
	}.test(t, changeling.Config{Replicas: []changeling.Replica{{Name: "db2", DB: replica}}})
}
