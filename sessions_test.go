package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// squatters take every session of a server that anybody gives up.
type squatters struct {
	pool  *sql.DB
	list  string // lists the sessions of others
	end   string // ends one
	taken []*sql.Conn
	kept  map[string]bool
}

// push ends the sessions of others, and takes their places, until ctx ends.
func (c *squatters) push(ctx context.Context) {
	defer func() {
		for _, conn := range c.taken {
			conn.Close()
		}
		c.pool.Close()
	}()
	for ctx.Err() == nil {
		for {
			short, cancel := context.WithTimeout(ctx, time.Second)
			conn, err := c.pool.Conn(short)
			var id string
			if err == nil {
				err = conn.QueryRowContext(short, strings.Replace(c.list, "<> ", "= ", 1)).Scan(&id)
			}
			cancel()
			if err != nil {
				break
			}
			c.taken, c.kept[id] = append(c.taken, conn), true
		}
		if len(c.taken) > 0 {
			rows, err := c.taken[0].QueryContext(ctx, c.list)
			if err != nil {
				break
			}
			var others []string
			for rows.Next() {
				var id string
				if err := rows.Scan(&id); err == nil && !c.kept[id] {
					others = append(others, id)
				}
			}
			rows.Close()
			for _, id := range others {
				_, _ = c.taken[0].ExecContext(ctx, fmt.Sprintf(c.end, id)) // it may have ended
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestNoSessionsUnderWay: in the middle of a change all its sessions are ended, and others have taken their places whenever it asks for new
// ones. It pauses for longer and longer, and goes on when there are sessions again; or, where that lasts for longer than its lease, it ends with
// the code that says "run it again", and the next run goes on.
func TestNoSessionsUnderWay(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"postgres", "mysql9.7", "mariadb10.11"} {
		for _, lasts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", server, lasts), func(t *testing.T) {
				t.Parallel()
				var open func() *sql.DB
				config := changeling.Config{Hold: true, DropAfter: changeling.DropNow}
				if lasts {
					config.Lease = 3 * time.Second
				}
				ddl := widenOrders
				c := &squatters{kept: map[string]bool{}}
				if server == "postgres" {
					s := pgtest.Own(t, dbtest.Options{Settings: map[string]string{"max_connections": "25", "autovacuum": "off"}})
					open = func() *sql.DB { return pgtest.Open(t, s.DSN("postgres")) }
					pgtest.Exec(t, open(), `CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 500) i`)
					c.list, c.end = `SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`, `SELECT pg_terminate_backend(%s)`
				} else {
					ddl = `ALTER TABLE orders MODIFY amount bigint`
					s := mytest.Own(t, dbtest.MySQLOptions{Version: server, Settings: map[string]string{"max_connections": "25"}})
					root := mytest.Open(t, s.DSN("mysql"))
					mytest.Exec(t, root, `CREATE DATABASE app`, `CREATE TABLE app.orders (id int PRIMARY KEY, amount int)`, `INSERT INTO app.orders VALUES (1, 1), (2, 2)`)
					open = func() *sql.DB { return mytest.Open(t, s.DSN("app")) }
					config.Capture = changeling.CaptureTriggers
					c.list, c.end = `SELECT CONCAT(id) FROM information_schema.processlist WHERE user = 'root' AND id <> CONNECTION_ID()`, `KILL %s`
				}
				var told story
				config.Events = event.Tee(told.tell, event.Lines(t.Output()))
				db := open()
				db.SetMaxOpenConns(15)
				e, err := changeling.Open(t.Context(), db, config)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				change, err := e.Start(t.Context(), ddl)
				if err != nil {
					t.Fatal(err)
				}
				end := make(chan error, 1)
				go func() { end <- change.Run(t.Context()) }()
				if err := told.await(t.Context(), holding); err != nil {
					t.Fatal(err)
				}
				c.pool = open()
				ctx, leave := context.WithTimeout(t.Context(), 2*time.Minute)
				defer leave()
				left := make(chan struct{})
				go func() {
					defer close(left)
					c.push(ctx)
				}()
				if lasts {
					if err := <-end; changeling.Code(err) != 75 || !errors.Is(err, changeling.ErrStopped) {
						t.Errorf("Run = %v (code %d), want code 75", err, changeling.Code(err))
					}
					leave()
					<-left
					waited := time.Now()
					go func() {
						for { // the server needs a moment to see who has left
							err := change.Run(t.Context())
							if changeling.Code(err) != 75 || time.Since(waited) > time.Minute {
								end <- err
								return
							}
						}
					}()
				} else {
					for told.count(retried) < 5 {
						select {
						case err := <-end:
							t.Fatalf("the run ended with %v", err)
						case <-time.After(10 * time.Millisecond):
						}
					}
					leave()
					<-left
				}
				for err = change.Cutover(t.Context()); err != nil; err = change.Cutover(t.Context()) { // the pool has dead sessions
					time.Sleep(100 * time.Millisecond)
				}
				if err := <-end; err != nil {
					t.Fatalf("with sessions again: %v", err)
				}
				var waits []time.Duration
				told.count(func(e event.Event) bool {
					if r, ok := e.(event.Retried); ok {
						waits = append(waits, r.Wait)
					}
					return false
				})
				if !lasts && (len(waits) < 5 || waits[4] <= waits[0]) {
					t.Errorf("the pauses were %v, want such that grow", waits)
				}
				t.Logf("pauses: %v", waits)
			})
		}
	}
}
