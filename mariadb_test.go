package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// queueing are the statements of an attempt to swap on MariaDB, in their order.
var queueing = []struct{ name, text string }{
	{"the lock", `^LOCK TABLES `},
	{"the check", `^SHOW CREATE TABLE `},
	{"the drain", `^INSERT INTO \S+taken_`},
	{"the rename", `^RENAME TABLE `},
	{"the list", `^SELECT id, COALESCE\(db`},
	{"the probe", `^SET STATEMENT lock_wait_timeout = 0 `},
	{"the list again", `^SELECT id, COALESCE\(db`},
	{"the question", `^DO 0$`},
	{"the sentry", `^DROP SEQUENCE `},
	{"the end", `^UNLOCK TABLES`},
}

// queue is a database on a server that shows who holds and awaits which table, and a pool of the engine's at whose
// statements something can be done.
type queue struct {
	*testing.T
	db   *sql.DB // of the users
	pool *sql.DB // of the engine
	name string
	dsn  string

	mu   sync.Mutex
	next int                      // of queueing
	at   string                   // the statement before which do is called
	do   func(text string) string // what is sent instead of the statement
	then func(text string) string // of every other one
}

// eachQueue runs a test on a server of its own of each version of MariaDB.
func eachQueue(t *testing.T, test func(t *testing.T, open func(t *testing.T) *queue)) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) { // MySQL renames under its lock: there is no queue
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: map[string]string{
			"performance_schema": "ON", "performance_schema_instrument": "wait/lock/metadata/sql/mdl=ON"}})
		admin, n := mytest.Open(t, server.DSN("mysql")), 0
		test(t, func(t *testing.T) *queue {
			n++
			q := &queue{T: t, name: fmt.Sprintf("t_queue_%d", n), dsn: server.DSN(fmt.Sprintf("t_queue_%d", n))}
			mytest.Exec(t, admin, "CREATE DATABASE "+q.name)
			q.db = mytest.Open(t, q.dsn)
			q.pool = mytest.Mutant(t, q.dsn, q.rewrite)
			q.db.SetMaxIdleConns(20)
			q.pool.SetMaxOpenConns(20)
			return q
		})
	}, "mariadb")
}

func (q *queue) rewrite(_ context.Context, x mutant.Statement) string {
	is := func(name string) bool {
		return slices.ContainsFunc(queueing, func(p struct{ name, text string }) bool {
			return p.name == name && regexp.MustCompile(p.text).MatchString(x.Text)
		})
	}
	for is("the list") && (q.now() == "the drain" || q.now() == "the rename") { // it is sent beside the RENAME
		time.Sleep(time.Millisecond)
	}
	q.mu.Lock()
	do := q.then
	if q.next < len(queueing) {
		if queueing[q.next].name == "the drain" && is("the rename") { // there was nothing to drain
			if q.next++; q.at == "the drain" {
				q.at = "the rename"
			}
		}
		if name := queueing[q.next].name; is(name) {
			if q.next++; name == q.at {
				do = q.do
			}
		}
	}
	q.mu.Unlock()
	if do == nil {
		return x.Text
	}
	return do(x.Text)
}

// now is the next statement of queueing.
func (q *queue) now() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return queueing[min(q.next, len(queueing)-1)].name
}

// locks are the connections that hold or await a table in one of some ways.
func (q *queue) locks(table, status string, ways ...string) (ids []int64) {
	q.Helper()
	schema, name, found := strings.Cut(table, ".")
	if !found {
		schema, name = q.name, table
	}
	rows, err := q.db.QueryContext(q.Context(), `SELECT DISTINCT t.processlist_id FROM performance_schema.metadata_locks m JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
WHERE m.object_schema = ? AND m.object_name = ? AND m.lock_status LIKE ? AND m.lock_type IN ('`+strings.Join(ways, "', '")+`') AND t.processlist_id <> CONNECTION_ID()`, schema, name, status)
	if err != nil {
		q.Error(err)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			q.Error(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// kill ends connections and waits until they are gone.
func (q *queue) kill(ids []int64) {
	for _, id := range ids {
		_, _ = q.db.ExecContext(q.Context(), fmt.Sprintf("KILL %d", id)) // it may have ended
		q.until(func() bool {
			var n int
			return q.db.QueryRowContext(q.Context(), `SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?`, id).Scan(&n) == nil && n == 0
		})
	}
}

func (q *queue) until(what func() bool) {
	q.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if what() {
			return
		}
	}
	q.Error("it did not come to that")
}

// victims are the sessions of an attempt.
var victims = map[string]func(q *queue) []int64{
	"the holder": func(q *queue) []int64 { return q.locks("orders", "GRANTED", "SHARED_READ", "SHARED_READ_ONLY") },
	"the mover":  func(q *queue) []int64 { return q.locks("orders", "%", "EXCLUSIVE") },
	"the claim":  func(q *queue) []int64 { return q.locks("changeling.claim", "GRANTED", "SHARED_READ", "SHARED_WRITE") },
	"whoever":    nil, // who is about to send the statement
}

// TestMariaDBSessionsDie kills one session of a swap at one of its statements, and somebody writes at once if he can.
func TestMariaDBSessionsDie(t *testing.T) {
	eachQueue(t, func(t *testing.T, open func(t *testing.T) *queue) {
		type death struct{ at, victim string }
		points := []death{{"the rename", "the holder"}, {"the sentry", "the holder"}, {"the end", "the mover"}}
		var others []death
		for _, p := range queueing {
			for victim := range victims {
				if d := (death{p.name, victim}); !slices.Contains(points, d) {
					others = append(others, d)
				}
			}
		}
		slices.SortFunc(others, func(a, b death) int { return strings.Compare(a.at+a.victim, b.at+b.victim) })
		if !full() {
			random := rand.New(rand.NewPCG(seed(t), 5))
			random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
			others = others[:1]
		}
		for i, d := range append(points, others...) {
			t.Run(d.victim+" before "+d.at, func(t *testing.T) {
				q := open(t)
				l := newMyLedger(t, q.db, 0)
				if i%2 == 0 {
					l.binlog = q.dsn
				}
				var wg sync.WaitGroup
				hit := false
				q.at, q.do = d.at, func(text string) string {
					hit = true
					find := victims[d.victim]
					if find == nil {
						return "KILL CONNECTION_ID()"
					}
					q.kill(find(q))
					wrote := make(chan struct{})
					wg.Go(func() {
						defer close(wrote)
						tx, err := q.db.BeginTx(t.Context(), nil)
						if err != nil {
							t.Error(err)
							return
						}
						mytest.Exec(t, tx, `UPDATE orders SET note = 'at once' WHERE id <= 5`, `UPDATE mirror SET note = 'at once' WHERE id <= 5`)
						time.Sleep(50 * time.Millisecond) // the RENAME waits for him, if not for the holder
						if err := tx.Commit(); err != nil {
							t.Error(err)
						}
					})
					select {
					case <-wrote:
					case <-time.After(20 * time.Millisecond): // he waits for a lock, or for a row
					}
					return text
				}
				err := l.change(q.pool, true)
				wg.Wait()
				if err != nil || !hit {
					t.Fatalf("%v, the session died: %v", err, hit)
				}
				equalMy(t, q.db, "orders", "mirror", d.victim+" died before "+d.at)
			})
		}
	})
}

// TestMariaDBQueueMutants: what is lost where a part of the queue's proof is missing, and that it is told.
func TestMariaDBQueueMutants(t *testing.T) {
	unseen := func(text string) string { // whoever looks, the RENAME waits; it comes late
		switch {
		case strings.HasPrefix(text, "SELECT id, COALESCE(db"):
			return "SELECT id, '', 'DO 0', TRUE FROM information_schema.processlist"
		case strings.HasPrefix(text, "SET STATEMENT lock_wait_timeout = 0 "):
			return "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205"
		case strings.HasPrefix(text, "RENAME TABLE "):
			return "BEGIN NOT ATOMIC DO SLEEP(0.15); " + text + "; END"
		}
		return text
	}
	unasked := func(text string) string {
		if text == "DO 0" {
			return "" // and it was well
		}
		return text
	}
	eachQueue(t, func(t *testing.T, open func(t *testing.T) *queue) {
		var renames atomic.Bool
		for _, c := range []struct {
			name string
			then func(string) string
			dies bool // the holder, before the RENAME
			open bool // and somebody has a transaction open then

			silent bool // nothing tells of it but the ledger
		}{
			{"the RENAME is not seen to wait", unseen, false, false, false},
			{"the RENAME is not seen to wait, by the binary log", unseen, false, false, false},
			{"the RENAME is not seen to wait, and nobody looks into the log afterwards", func(text string) string {
				if strings.HasPrefix(text, "RENAME TABLE ") {
					renames.Store(true)
				}
				if renames.Load() && strings.HasPrefix(text, "SELECT COUNT(*) FROM (SELECT 1 FROM `changeling_") {
					return "SELECT 0"
				}
				if renames.Load() && strings.HasPrefix(text, "SELECT DISTINCT CAST(JSON_ARRAY(") {
					return "SELECT '' FROM (SELECT 1) x WHERE FALSE"
				}
				return unseen(text)
			}, false, false, true},
			{"the holder is not asked", unasked, true, true, false},
			{"no sentry", func(text string) string {
				if strings.HasPrefix(text, "CREATE SEQUENCE") || strings.HasPrefix(text, "DROP SEQUENCE") {
					return "DO 0"
				}
				return text
			}, true, false, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				for round := range 20 {
					q := open(t)
					l := newMyLedger(t, q.db, round)
					if strings.HasSuffix(c.name, "by the binary log") {
						l.binlog = q.dsn
					}
					q.then = c.then
					if c.dies {
						q.at, q.do = "the rename", func(text string) string {
							q.kill(victims["the holder"](q))
							if !c.open {
								time.Sleep(50 * time.Millisecond) // of eight writers
								return text
							}
							tx, err := q.db.BeginTx(t.Context(), nil)
							if err != nil {
								t.Error(err)
								return text
							}
							mytest.Exec(t, tx, `UPDATE orders SET note = 'at once' WHERE id <= 5`, `UPDATE mirror SET note = 'at once' WHERE id <= 5`)
							time.AfterFunc(60*time.Millisecond, func() { // the RENAME waits for him
								if err := tx.Commit(); err != nil {
									t.Error(err)
								}
							})
							return text
						}
					}
					err := l.change(q.pool, true)
					if err == nil {
						if !slices.Equal(myRows(t, q.db, "orders"), myRows(t, q.db, "mirror")) {
							if !c.silent {
								t.Error("rows are lost, and nobody says so")
							}
							return
						}
						continue
					}
					if c.silent || !errors.Is(err, changeling.ErrMismatch) || !strings.Contains(err.Error(), "written to the old one after") {
						t.Fatalf("it fails of something else: %v", err)
					}
					t.Logf("told in round %d: %v", round, err)
					// What was missed is in the new table by now, and the change can be ended.
					mytest.Exec(t, q.db, strings.Replace(myGrow, "orders", "mirror", 1))
					if err := changeling.Apply(t.Context(), q.db, myGrow, changeling.Config{DropAfter: changeling.DropNow, Binlog: l.binlog}); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Error("the mutant lives")
			})
		}
	})
}

// TestMariaDBOthersWait: somebody else waits for the whole table while it is swapped, before the RENAME or behind it. What
// he was promised happens to the table that is there in the end.
func TestMariaDBOthersWait(t *testing.T) {
	statements := func(texts ...string) func(ctx context.Context, conn *sql.Conn) error {
		return func(ctx context.Context, conn *sql.Conn) error {
			for _, text := range texts {
				if _, err := conn.ExecContext(ctx, text); err != nil {
					return err
				}
			}
			return nil
		}
	}
	prepared := func(ctx context.Context, conn *sql.Conn) error {
		s, err := conn.PrepareContext(ctx, "TRUNCATE orders")
		if err != nil {
			return err
		}
		_, err = s.ExecContext(ctx)
		return errors.Join(err, s.Close())
	}
	unlisted := func(text string) string {
		if strings.HasPrefix(text, "SELECT id, COALESCE(db") {
			return text + " AND info LIKE 'RENAME TABLE%'"
		}
		return text
	}
	eachQueue(t, func(t *testing.T, open func(t *testing.T) *queue) {
		for _, c := range []struct {
			name   string
			at     string
			does   func(ctx context.Context, conn *sql.Conn) error
			rows   int
			kind   error
			mutate func(string) string
		}{
			{"TRUNCATE before", "the rename", statements("TRUNCATE TABLE orders"), 0, nil, nil},
			{"TRUNCATE before, prepared", "the rename", prepared, 0, nil, nil},
			{"TRUNCATE before, in a procedure", "the rename", statements("CALL empties()"), 0, nil, nil},
			{"TRUNCATE before, of a text", "the rename", statements("EXECUTE IMMEDIATE CONCAT('TRUN', 'CATE orders')"), 0, nil, nil},
			{"ALTER before", "the rename", statements("ALTER TABLE orders ADD COLUMN extra int"), 200, changeling.ErrRefused, nil},
			{"a trigger before", "the rename", statements("CREATE TRIGGER theirs BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = 'x'"), 200, changeling.ErrRefused, nil},
			{"a lock and a write before", "the rename", statements("LOCK TABLES orders WRITE", "INSERT INTO orders (customer_id, email, amount) VALUES (1, 'locked', 1)", "UNLOCK TABLES"), 201, nil, nil},
			{"TRUNCATE behind", "the sentry", statements("TRUNCATE TABLE orders"), 0, nil, nil},
			{"ALTER behind", "the sentry", statements("ALTER TABLE orders ADD COLUMN extra int"), 200, nil, nil},
			{"TRUNCATE before, and nobody looks who else waits", "the rename", statements("TRUNCATE TABLE orders"), 200, nil, unlisted}, // the rows are back: this is what the list is for
		} {
			t.Run(c.name, func(t *testing.T) {
				q := open(t)
				mytest.Exec(t, q.db, `CREATE TABLE orders `+myOrders, `CREATE PROCEDURE empties() TRUNCATE TABLE orders`)
				fillMy(t, q.db, "orders", 200)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				did := make(chan error, 1)
				q.then = c.mutate
				q.at, q.do = c.at, func(text string) string {
					go func() {
						conn, err := q.db.Conn(ctx)
						if err == nil {
							err = errors.Join(c.does(ctx, conn), conn.Close())
						}
						did <- err
					}()
					before := map[bool]int{true: 1}[c.at == "the sentry"]
					q.until(func() bool {
						return len(q.locks("orders", "PENDING", "EXCLUSIVE", "SHARED_NO_READ_WRITE", "SHARED_UPGRADABLE")) > before
					})
					return text
				}
				var told story
				drop := changeling.DropNow
				if c.mutate != nil { // what is left of it is not the table that was put away, and would be kept
					drop = changeling.Keep
				}
				err := changeling.Apply(ctx, q.pool, myGrow, changeling.Config{DropAfter: drop, LockWait: 10 * time.Second, Events: event.Tee(told.tell, event.Lines(t.Output()))})
				select {
				case err := <-did:
					if err != nil {
						t.Errorf("the other one's statement: %v", err)
					}
				case <-ctx.Done():
					t.Error("the other one's statement was not sent")
				}
				if !errors.Is(err, c.kind) || c.kind == nil && err != nil {
					t.Fatalf("Apply = %v, want %v", err, c.kind)
				}
				attempts, waited := 0, false
				for _, e := range told.events {
					if e, ok := e.(event.CutoverTried); ok {
						attempts++
						waited = waited || e.Err != nil && strings.Contains(e.Err.Error(), "wants the table for itself")
					}
				}
				if gave := c.at == "the rename" && c.mutate == nil; waited != gave {
					t.Errorf("%d attempts, gave way: %v, want %v", attempts, waited, gave)
				}
				var rows, extra, triggers int
				if err := q.db.QueryRow(`SELECT (SELECT COUNT(*) FROM orders), (SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'extra'),
(SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name = 'theirs')`).Scan(&rows, &extra, &triggers); err != nil {
					t.Fatal(err)
				}
				if rows != c.rows || extra != 0 != strings.HasPrefix(c.name, "ALTER") || triggers != 0 != strings.HasPrefix(c.name, "a trigger") {
					t.Errorf("%d rows, want %d; %d columns more, %d triggers", rows, c.rows, extra, triggers)
				}
			})
		}
	})
}

// TestMariaDBOwnTypes: keys of types that only MariaDB has, which the binary log spells in a form of its own: triggers log
// them.
func TestMariaDBOwnTypes(t *testing.T) {
	t.Parallel()
	onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"visits", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` (id uuid NOT NULL, at inet6 NOT NULL, n int, PRIMARY KEY (at, id), KEY (n))`)
		}
		mytest.Exec(t, db, `INSERT INTO visits SELECT uuid(), CONCAT(IF(seq % 2, '::', 'fe80::'), HEX(seq % 400)), seq FROM seq_1_to_3000`, `INSERT INTO twin SELECT * FROM visits`)
		const statement = `ALTER TABLE visits MODIFY n bigint NOT NULL DEFAULT 0`
		writes := upon(event.Lines(t.Output()), began("verify"), func() {
			for _, table := range []string{"visits", "twin"} {
				mytest.Exec(t, db, `UPDATE `+table+` SET n = n + 1000000 WHERE n % 7 = 0`, `DELETE FROM `+table+` WHERE n % 11 = 0`, `UPDATE `+table+` SET at = '::ffff:10.0.0.1' WHERE n % 13 = 0`)
			}
		})
		if err := changeling.Apply(t.Context(), db, statement, changeling.Config{Binlog: dsn, ChunkTime: time.Millisecond, DropAfter: changeling.DropNow, Events: writes}); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, strings.Replace(statement, "visits", "twin", 1))
		if got, want := myDefinition(t, db, "visits"), myDefinition(t, db, "twin"); got != want {
			t.Errorf("the table is\n%s\nafter a native ALTER it is\n%s", got, want)
		}
		var rows, alike int
		if err := db.QueryRow(`SELECT (SELECT COUNT(*) FROM twin), (SELECT COUNT(*) FROM visits v JOIN twin t ON v.id = t.id AND v.at = t.at AND v.n = t.n)`).Scan(&rows, &alike); err != nil || rows != alike || rows < 2000 {
			t.Errorf("%d of %d rows are alike, %v", alike, rows, err)
		}
	})
}

// TestMariaDBReaderHolds: somebody has read the table and keeps his transaction open. Where the server shows who holds what,
// nothing is tried while he is there; elsewhere an attempt takes itself back, and names him.
func TestMariaDBReaderHolds(t *testing.T) {
	hold := func(t *testing.T, db *sql.DB, says string) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 50)
		var reader *sql.Tx
		id, said := 0, ""
		sink := func(e event.Event) {
			switch e := e.(type) {
			case event.StepStarted:
				if e.Step != "verify" {
					return
				}
				var err error
				var n int
				if reader, err = db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted}); err == nil {
					err = reader.QueryRow(`SELECT COUNT(*), CONNECTION_ID() FROM orders`).Scan(&n, &id)
				}
				if err != nil {
					t.Error(err)
				}
				time.Sleep(2200 * time.Millisecond) // until he counts, in whole seconds
			case event.CutoverTried: // on a busy machine an attempt may fail of something else before
				if e.Err != nil && !strings.Contains(said, says) {
					if said = e.Err.Error(); !strings.Contains(said, says) {
						return
					}
					if err := reader.Rollback(); err != nil {
						t.Error(err)
					}
				}
			}
		}
		config := changeling.Config{DropAfter: changeling.DropNow, Events: event.Tee(sink, event.Lines(t.Output()))}
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said, says) || !strings.Contains(said, fmt.Sprintf("connection %d of ", id)) {
			t.Errorf("the attempts say %q, want %q and connection %d", said, says, id)
		}
	}
	t.Run("shown", func(t *testing.T) {
		eachQueue(t, func(t *testing.T, open func(t *testing.T) *queue) {
			hold(t, open(t).db, "the lock was not tried")
		})
	})
	t.Run("not shown", func(t *testing.T) {
		t.Parallel()
		onlyMaria(t, func(t *testing.T, _ string, db *sql.DB) { hold(t, db, "INSTALL SONAME 'metadata_lock_info'") })
	})
}

// TestMariaDBRefuses: what is carried on MySQL, and not there, is named.
func TestMariaDBRefuses(t *testing.T) {
	t.Parallel()
	onlyMaria(t, func(t *testing.T, dsn string, db *sql.DB) {
		for i, c := range []struct{ create, says string }{
			{`CREATE TABLE %s (id int PRIMARY KEY, v int); CREATE TABLE %[1]s_kids (id int PRIMARY KEY, up int, FOREIGN KEY (up) REFERENCES %[1]s (id))`, "foreign keys of other tables"},
			{`CREATE TABLE %s_up (id int PRIMARY KEY); CREATE TABLE %[1]s (id int PRIMARY KEY, v int, up int, FOREIGN KEY (up) REFERENCES %[1]s_up (id))`, "the binary log tells"},
			{`CREATE TABLE %s_up (id int PRIMARY KEY); CREATE TABLE %[1]s (id int PRIMARY KEY, v int, up int, FOREIGN KEY (up) REFERENCES %[1]s_up (id) ON DELETE CASCADE)`, "CASCADE or SET NULL"},
			{`CREATE TABLE %s_up (id int PRIMARY KEY); CREATE TABLE %[1]s (id int PRIMARY KEY, v int, up int, FOREIGN KEY (up) REFERENCES %[1]s_up (id)); CREATE TRIGGER theirs BEFORE INSERT ON %[1]s FOR EACH ROW SET NEW.v = 1`, "has triggers and foreign keys"},
			{`CREATE TABLE %s (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING`, "system-versioned"},
		} {
			table := fmt.Sprintf("t%d", i)
			for _, text := range strings.Split(fmt.Sprintf(c.create, table), "; ") {
				mytest.Exec(t, db, text)
			}
			config := changeling.Config{}
			if strings.Contains(c.says, "CASCADE") {
				config.Binlog = dsn
			}
			err := changeling.Apply(t.Context(), db, `ALTER TABLE `+table+` MODIFY v bigint`, config)
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want ErrRefused with %q", c.create, err, c.says)
			}
		}
	})
}
