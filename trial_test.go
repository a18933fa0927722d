package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// pairOfServers are a server and its replica, with the tables of a ledger.
type pairOfServers struct {
	*testing.T
	ledger           *myLedger
	source, root     *sql.DB // root is the replica
	primary, replica *dbtest.MySQL
}

func newPairOfServers(t *testing.T, version string, settings map[string]string) *pairOfServers {
	t.Helper()
	first, second := map[string]string{}, map[string]string{"server_id": "2", "log_slave_updates": "ON"}
	if strings.HasPrefix(version, "mysql") {
		first["gtid_mode"], first["enforce_gtid_consistency"] = "ON", "ON"
		delete(second, "log_slave_updates")
	}
	for k, v := range settings {
		first[k] = v
	}
	for k, v := range first {
		second[k] = v
	}
	source, replica := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: first}), mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: second})
	p := &pairOfServers{T: t, primary: source, replica: replica, root: mytest.Open(t, replica.DSN("mysql"))}
	admin := mytest.Open(t, source.DSN("mysql"))
	follows(t, admin, p.root, source.Port, first["gtid_mode"] == "ON")
	mytest.Exec(t, admin, `CREATE DATABASE app`)
	p.source = mytest.Open(t, source.DSN("app"))
	p.ledger = newMyLedger(t, p.source, 0)
	p.caughtUp()
	mytest.Exec(t, p.root, `SET GLOBAL read_only = ON`)
	return p
}

// caughtUp waits until the replica has what its source has.
func (p *pairOfServers) caughtUp() {
	p.Helper()
	there := mytest.Open(p.T, p.replica.DSN("mysql"))
	waitMy(p.T, there, `SELECT COUNT(*) >= 2 FROM information_schema.tables WHERE table_schema = 'app' AND table_name IN ('orders', 'mirror')`)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		same := true
		for _, table := range []string{"orders", "mirror"} {
			same = same && slices.Equal(myRows(p.T, p.source, table), myRows(p.T, there, "app."+table))
		}
		if same {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("the replica does not come to have what its source has: %q", p.appliers())
		}
	}
}

func (p *pairOfServers) config(c changeling.Config) changeling.Config {
	c.TestOnReplica, c.Binlog, c.Lease, c.Fast = true, p.replica.DSN("app"), 3*time.Second, true
	if c.Events == nil {
		c.Events = event.Discard
	}
	c.Events = event.Tee(c.Events, event.Lines(p.Output()))
	return c
}

// appliers is how those of the replica are, and its last error.
func (p *pairOfServers) appliers() string {
	query, io, applier := `SHOW REPLICA STATUS`, "Replica_IO_Running", "Replica_SQL_Running"
	if p.replica.MariaDB() {
		query, io, applier = `SHOW ALL SLAVES STATUS`, "Slave_IO_Running", "Slave_SQL_Running"
	}
	rows, err := p.root.QueryContext(p.Context(), query)
	if err != nil {
		p.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		p.Fatal(err)
	}
	out := "none"
	for rows.Next() {
		into, values := make([]any, len(columns)), make([]sql.NullString, len(columns))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			p.Fatal(err)
		}
		at := func(name string) string { return values[slices.Index(columns, name)].String }
		out = at(io) + " " + at(applier) + at("Last_SQL_Error")
	}
	return out
}

// errant are transactions that only the replica has.
func (p *pairOfServers) errant() (set string) {
	p.Helper()
	if !p.replica.MariaDB() {
		var here string
		if err := p.source.QueryRow(`SELECT @@global.gtid_executed`).Scan(&here); err != nil {
			p.Fatal(err)
		}
		if err := p.root.QueryRow(`SELECT GTID_SUBTRACT(@@global.gtid_executed, '` + here + `')`).Scan(&set); err != nil {
			p.Fatal(err)
		}
		return set
	}
	var all string
	if err := p.root.QueryRow(`SELECT @@global.gtid_binlog_state`).Scan(&all); err != nil {
		p.Fatal(err)
	}
	var own []string
	for _, id := range strings.Split(all, ",") {
		if parts := strings.Split(id, "-"); len(parts) == 3 && parts[1] == "2" {
			own = append(own, id)
		}
	}
	return strings.Join(own, ",")
}

// untouched is a replica on which nothing but its source has written, and where nothing of a test is left.
func (p *pairOfServers) untouched(definition string) {
	p.Helper()
	p.caughtUp()
	if got := p.appliers(); got != "Yes Yes" {
		p.Errorf("replication: %s, want both threads running", got)
	}
	there := mytest.Open(p.T, p.replica.DSN("app"))
	for _, db := range []*sql.DB{p.source, there} {
		if got := myDefinition(p.T, db, "orders"); got != definition {
			p.Errorf("the table is\n%s\nwant it unchanged:\n%s", got, definition)
		}
		if left := myTraces(p.T, db, "changeling"); len(left) > 0 {
			p.Errorf("left behind: %q", left)
		}
	}
	if set := p.errant(); set != "" {
		p.Errorf("transactions that only the replica has: %s", set)
	}
}

func compared(e event.Event) bool {
	c, ok := e.(event.Compared)
	return ok && c.Rows > 0 && c.Source == c.Shadow && c.Source != "0" && c.At != "" && len(c.Keys) == 0
}

// TestOnReplica: users write to the primary, the replica goes on replicating, and the change is copied and compared there. Nothing is
// swapped, logged or left.
func TestOnReplica(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		p := newPairOfServers(t, version, nil)
		before := myDefinition(t, p.source, "orders")
		stop := p.ledger.write(t.Context())
		var told story
		lag := func() { // it stands still over the first drain, and has much to apply afterwards
			mytest.Exec(t, p.root, `STOP REPLICA SQL_THREAD`)
			time.AfterFunc(2*time.Second, func() { mytest.Exec(t, p.root, `START REPLICA SQL_THREAD`) })
		}
		err := changeling.Apply(t.Context(), mytest.Open(t, p.replica.DSN("app")), myGrow, p.config(changeling.Config{Events: upon(told.tell, began("heal"), lag)}))
		stop()
		if err != nil {
			t.Fatal(err)
		}
		if told.count(compared) != 1 || told.count(differed) > 0 {
			t.Errorf("compared and found equal %d times, want once; rows that had to be copied again: %d, want none", told.count(compared), told.count(differed))
		}
		p.untouched(before)
		t.Logf("%d writes acknowledged", p.ledger.acknowledged.Load())

		// What is in the log is found.
		logged := mytest.Mutant(t, p.replica.DSN("app"), func(_ context.Context, x mutant.Statement) string {
			return strings.Replace(x.Text, "SET SESSION sql_log_bin = 0", "DO 0", 1)
		})
		if err := changeling.Apply(t.Context(), logged, myGrow, p.config(changeling.Config{})); err != nil {
			t.Fatal(err)
		}
		if p.errant() == "" {
			t.Error("a test whose writes are logged leaves no transaction: the mutant lives")
		}
	})
}

// TestOnReplicaDiffers: a row of the shadow that somebody changed behind the verification is found by the last comparison.
func TestOnReplicaDiffers(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		p := newPairOfServers(t, version, nil)
		before := myDefinition(t, p.source, "orders")
		plant := func() {
			var name string
			if err := p.root.QueryRow(`SELECT CONCAT(table_schema) FROM information_schema.tables WHERE table_schema LIKE 'changeling\_t%' AND table_name = 'orders'`).Scan(&name); err != nil {
				t.Error(err)
				return
			}
			conn, err := p.root.Conn(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			mytest.Exec(t, conn, `SET SESSION sql_log_bin = 0`, fmt.Sprintf("UPDATE `%s`.orders SET amount = amount + 1 WHERE id = 4711", name), `SET SESSION sql_log_bin = 1`)
		}
		var told story
		err := changeling.Apply(t.Context(), mytest.Open(t, p.replica.DSN("app")), myGrow, p.config(changeling.Config{Events: upon(told.tell, began("trial"), plant)}))
		if !errors.Is(err, changeling.ErrMismatch) || !strings.Contains(err.Error(), "4711") {
			t.Errorf("Apply = %v, want ErrMismatch that names row 4711", err)
		}
		p.untouched(before)
	})
}

// TestOnReplicaRefuses: what a server, an account or a statement lacks is said before anything is touched.
func TestOnReplicaRefuses(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		p := newPairOfServers(t, version, nil)
		before := myDefinition(t, p.source, "orders")
		account, stop, start := "app@'127.0.0.1'", `STOP REPLICA SQL_THREAD`, `START REPLICA SQL_THREAD`
		mytest.Exec(t, p.source, `CREATE USER `+account, `GRANT ALL ON *.* TO `+account)
		waitMy(t, p.root, `SELECT COUNT(*) = 1 FROM mysql.user WHERE user = 'app' AND super_priv = 'Y'`) // it has both statements
		unlogged := func(texts ...string) {
			conn, err := p.root.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			mytest.Exec(t, conn, append(append([]string{`SET SESSION sql_log_bin = 0`}, texts...), `SET SESSION sql_log_bin = 1`)...)
		}
		revoke, through, need := `REVOKE SUPER, SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN ON *.* FROM `, `REVOKE SUPER, CONNECTION_ADMIN ON *.* FROM `, "SESSION_VARIABLES_ADMIN"
		if p.replica.MariaDB() {
			revoke, through, need = `REVOKE SUPER, BINLOG ADMIN ON *.* FROM `, `REVOKE SUPER, READ ONLY ADMIN ON *.* FROM `, "BINLOG ADMIN"
		}
		anybody := func(dsn string) string { return strings.Replace(dsn, "root@", "app@", 1) }
		refused := func(name, statement, says string, kind error, before, after func(), change func(c *changeling.Config)) {
			t.Run(name, func(t *testing.T) {
				before()
				defer after()
				config := p.config(changeling.Config{})
				change(&config)
				err := changeling.Apply(t.Context(), mytest.Open(t, anybody(p.replica.DSN("app"))), statement, config)
				if !errors.Is(err, kind) || !strings.Contains(err.Error(), says) {
					t.Errorf("Apply = %v, want %v with %q", err, kind, says)
				}
			})
		}
		nothing, same := func() {}, func(*changeling.Config) {}
		root := func(texts ...string) func() { return func() { mytest.Exec(t, p.root, texts...) } }
		refused("an applier that is stopped", myGrow, "START REPLICA SQL_THREAD", changeling.ErrPrecondition, root(stop), root(start), same)
		refused("an account that cannot but log", myGrow, need, changeling.ErrPrecondition, func() { unlogged(revoke + account) }, func() { unlogged(`GRANT ALL ON *.* TO ` + account) }, same)
		refused("an account that may not write", myGrow, "read-only", changeling.ErrPrecondition, func() { unlogged(through + account) }, func() { unlogged(`GRANT ALL ON *.* TO ` + account) }, same)
		if !p.replica.MariaDB() {
			refused("nobody may write", myGrow, "SET GLOBAL super_read_only = OFF", changeling.ErrPrecondition, root(`SET GLOBAL super_read_only = ON`), root(`SET GLOBAL super_read_only = OFF`), same)
		} else {
			refused("triggers that run unlogged", myGrow, "slave_run_triggers_for_rbr", changeling.ErrPrecondition, root(stop, `SET GLOBAL slave_run_triggers_for_rbr = YES`, start),
				root(stop, `SET GLOBAL slave_run_triggers_for_rbr = NO`, start), same)
		}
		refused("triggers", myGrow, "--capture", changeling.ErrUsage, nothing, nothing, func(c *changeling.Config) { c.Capture = changeling.CaptureTriggers })
		refused("a log of somebody else", myGrow, "--binlog-from", changeling.ErrUsage, nothing, nothing, func(c *changeling.Config) {
			c.Binlog = strings.Replace(c.Binlog, p.replica.Addr(), p.primary.Addr(), 1)
		})
		refused("a statement without a copy", `ALTER TABLE orders ALTER COLUMN amount SET DEFAULT 8`, "no copy to test", changeling.ErrRefused, nothing, nothing, same)
		refused("a row that does not fit", `ALTER TABLE orders MODIFY amount tinyint NOT NULL`, "amount", changeling.ErrData, nothing, nothing, func(c *changeling.Config) { c.NoDataCheck = true })
		if err := changeling.Apply(t.Context(), p.source, myGrow, p.config(changeling.Config{})); !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), "no replica") {
			t.Errorf("on the primary: Apply = %v, want ErrPrecondition", err)
		}
		p.untouched(before)
	})
}

// TestOnReplicaSilent: a replica that does not log what it applies is none to read.
func TestOnReplicaSilent(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		name := "log_replica_updates"
		if strings.HasPrefix(version, "mariadb") {
			name = "log_slave_updates"
		}
		s := mytest.Own(t, dbtest.MySQLOptions{Version: version, Settings: map[string]string{name: "OFF"}})
		root := mytest.Open(t, s.DSN("mysql"))
		point := `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1`
		if s.MariaDB() {
			point = `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1`
		}
		mytest.Exec(t, root, `CREATE DATABASE app`, `CREATE TABLE app.orders `+myOrders, point)
		err := changeling.Apply(t.Context(), mytest.Open(t, s.DSN("app")), myGrow, changeling.Config{TestOnReplica: true, Binlog: s.DSN("app")})
		if !errors.Is(err, changeling.ErrPrecondition) || !strings.Contains(err.Error(), name) {
			t.Errorf("Apply = %v, want ErrPrecondition that names %s", err, name)
		}
	})
}

// TestOnReplicaDies: the tool dies at any statement. Replication goes on, and the same command again tests to the end and leaves nothing.
func TestOnReplicaDies(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		p := newPairOfServers(t, version, nil)
		before := myDefinition(t, p.source, "orders")
		config := p.config(changeling.Config{})
		counted, counter := mytest.Dying(t, p.replica.DSN("app"), dying.Death{})
		if err := changeling.Apply(t.Context(), counted, myGrow, config); err != nil {
			t.Fatal(err)
		}
		total, deaths := counter.Count(), 4
		if full() {
			deaths = total
		}
		random := rand.New(rand.NewPCG(seed(t), 31))
		for i := range deaths {
			n := total - random.IntN(total/3) // where the snapshot is made, and everything is taken away
			if i%2 == 0 {
				n = 1 + random.IntN(total)
			}
			mortal, death := mytest.Dying(t, p.replica.DSN("app"), dying.Death{At: n, Moment: dying.After})
			first := changeling.Apply(t.Context(), mortal, myGrow, config)
			text, died := death.Died()
			mortal.Close()
			mytest.Exec(t, p.source, fmt.Sprintf(`UPDATE orders SET amount = %d WHERE id < 30`, i), fmt.Sprintf(`UPDATE mirror SET amount = %d WHERE id < 30`, i))
			p.caughtUp()
			if got := p.appliers(); got != "Yes Yes" {
				t.Fatalf("death at statement %d, %.100s: replication: %s, want both threads running", n, text, got)
			}
			var told story
			config.Events = told.tell
			if err := changeling.Apply(t.Context(), mytest.Open(t, p.replica.DSN("app")), myGrow, config); err != nil {
				t.Fatalf("death at statement %d, %.100s (died %v, %v): the second run: %v", n, text, died, first, err)
			}
			if told.count(compared) != 1 {
				t.Errorf("death at statement %d, %.100s: compared %d times, want once", n, text, told.count(compared))
			}
			p.untouched(before)
		}
	})
}

// TestOnReplicaStalledCommit: what the applier wrote is in the replica's binary log, where it is read, and is not visible yet, because the
// replica waits for one of its own. Neither the first copy nor the last drain may pass it by (invariants I1 and I6), although nothing of
// the engine's is in that log behind it. Who does not wait for those who write loses the row.
func TestOnReplicaStalledCommit(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		var settings map[string]string
		if strings.HasPrefix(version, "mysql") {
			settings = map[string]string{"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"} // the GTIDs of a position are those of what is visible
		}
		p := newPairOfServers(t, version, settings)
		set := func(on string) string { return `SET GLOBAL rpl_semi_sync_source_enabled = ` + on }
		if p.replica.MariaDB() {
			set = func(on string) string { return `SET GLOBAL rpl_semi_sync_master_enabled = ` + on }
			mytest.Exec(t, p.root, `SET GLOBAL rpl_semi_sync_master_timeout = 600000`, `SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC'`)
		} else {
			mytest.Exec(t, p.root, `INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'`, `SET GLOBAL rpl_semi_sync_source_timeout = 600000`)
		}
		amount := func() (n int) {
			if err := p.root.QueryRow(`SELECT amount FROM app.orders WHERE id = 5`).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		value := 4711
		for _, c := range []struct {
			name           string
			before, mutant bool
		}{{"before the copy", true, false}, {"before the copy, nobody waits", true, true}, {"before the comparison", false, false}, {"before the comparison, nobody waits", false, true}} {
			t.Run(c.name, func(t *testing.T) {
				value++
				want := value
				stall := sync.OnceFunc(func() {
					at := p.end()
					mytest.Exec(t, p.root, set("1"))
					for _, table := range []string{"orders", "mirror"} {
						mytest.Exec(t, p.source, fmt.Sprintf(`UPDATE %s SET amount = %d WHERE id = 5`, table, want))
						if table == "orders" {
							for !slices.ContainsFunc(myContent(t, p.root, at), func(event string) bool {
								return strings.Contains(event, "app.orders)") || strings.Contains(event, "`app`.`orders`)")
							}) {
								time.Sleep(time.Millisecond)
							}
						}
					}
					if amount() == want {
						t.Error("the row is visible: its commit does not wait")
					}
				})
				release := sync.OnceFunc(func() {
					mytest.Exec(t, p.root, set("0"))
					for amount() != want {
						time.Sleep(time.Millisecond)
					}
				})
				defer release()
				var made atomic.Bool
				pool := mytest.Mutant(t, p.replica.DSN("app"), func(_ context.Context, x mutant.Statement) string {
					if strings.Contains(x.Text, "`.`position_") && strings.HasPrefix(x.Text, "CREATE TABLE") {
						made.Store(true)
					}
					ends := x.Text == "SHOW BINARY LOG STATUS" || x.Text == "SHOW MASTER STATUS" || strings.HasPrefix(x.Text, "SELECT @@global.gtid_binlog_pos")
					if c.before && made.Load() && ends {
						stall()
						if !c.mutant {
							time.AfterFunc(2*time.Second, release)
						}
					}
					if c.mutant && strings.HasPrefix(x.Text, "LOCK TABLES ") {
						return "DO 0"
					}
					return x.Text
				})
				var told story
				sink := event.Tee(told.tell, event.Lines(t.Output()))
				switch {
				case c.before && c.mutant:
					sink = upon(sink, began("drain"), release)
				case !c.before:
					sink = upon(sink, began("trial"), func() {
						stall()
						if !c.mutant {
							time.AfterFunc(2*time.Second, release)
						}
					})
				}
				if !c.before && c.mutant { // once the key was taken, and the row was not
					sink = upon(sink, func(e event.Event) bool {
						d, ok := e.(event.Progress)
						return ok && d.Step == "drain" && d.Chunk > 0 && told.count(began("trial")) > 0
					}, release)
				}
				err := changeling.Apply(t.Context(), pool, myGrow, p.config(changeling.Config{Events: sink}))
				if lost := err != nil || told.count(differed) > 0; lost != c.mutant {
					t.Errorf("Apply = %v, rows that differed: %d; passed by: %v, want %v", err, told.count(differed), lost, c.mutant)
				}
				if err != nil && !errors.Is(err, changeling.ErrMismatch) {
					t.Errorf("Apply = %v, want nothing or ErrMismatch", err)
				}
				release()
				p.caughtUp()
			})
		}
	})
}

// end is a query of what comes to the replica's binary log from now on.
func (p *pairOfServers) end() string {
	p.Helper()
	query := `SHOW BINARY LOG STATUS`
	if p.replica.MariaDB() {
		query = `SHOW MASTER STATUS`
	}
	rows, err := p.root.Query(query)
	if err != nil {
		p.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		p.Fatal(err)
	}
	into, values := make([]any, len(columns)), make([]sql.NullString, len(columns))
	for i := range into {
		into[i] = &values[i]
	}
	if !rows.Next() || rows.Scan(into...) != nil {
		p.Fatal("the replica has no binary log")
	}
	return fmt.Sprintf(`SHOW BINLOG EVENTS IN '%s' FROM %s`, values[0].String, values[1].String)
}

// TestOnReplicaBesideAChange: changes are made on the primary, and planned there, while one is tested on its replica, where their databases
// are replicated. Neither meets what belongs to the other.
func TestOnReplicaBesideAChange(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		p := newPairOfServers(t, version, nil)
		before := myDefinition(t, p.source, "orders")
		// A planner on the primary is at work on its twin: nobody on the replica knows of the lock that says so.
		planner, err := p.source.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer planner.Close()
		mytest.Exec(t, planner, `DO GET_LOCK('changeling twin deadbeef', 0)`)
		mytest.Exec(t, p.source, `CREATE DATABASE changeling_deadbeef`, `CREATE TABLE changeling_deadbeef.orders LIKE orders`, `CREATE TABLE other `+myOrders)
		fillMy(t, p.source, "other", 100)
		p.caughtUp()
		begins, ends := make(chan struct{}), make(chan error, 1)
		go func() {
			<-begins
			ends <- changeling.Apply(t.Context(), p.source, strings.Replace(myGrow, "orders", "other", 1), changeling.Config{DropAfter: changeling.DropNow, Fast: true})
		}()
		sink := upon(event.Discard, began("copy"), func() { close(begins) })
		sink = upon(sink, began("trial"), func() {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		})
		if err := changeling.Apply(t.Context(), mytest.Open(t, p.replica.DSN("app")), myGrow, p.config(changeling.Config{Events: sink})); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, p.source, `INSERT INTO changeling_deadbeef.orders (customer_id, email, amount) VALUES (1, 'a', 1)`, `DROP DATABASE changeling_deadbeef`)
		if err := changeling.Apply(t.Context(), p.source, strings.Replace(myGrow, "orders", "mirror", 1), changeling.Config{DropAfter: changeling.DropNow, Fast: true}); err != nil { // whose state is replicated
			t.Fatal(err)
		}
		mytest.Exec(t, p.source, `DROP DATABASE changeling`)
		p.untouched(before)
	})
}
