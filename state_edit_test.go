package changeling_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestStateEdited: somebody edits the change's row by hand while it waits for its cutover. The counter moves only from where the run
// believes it to be, so what he wrote is not overwritten; and whatever he wrote, no wrong table is swapped in.
func TestStateEdited(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, edit string
		want       error // nil: it is made all the same
	}{
		{"the row is gone", `DELETE FROM changeling.change WHERE id = $1`, changeling.ErrOwned},
		{"back by one", `UPDATE changeling.change SET step = step - 1 WHERE id = $1`, nil},
		{"the claim is somebody's", `UPDATE changeling.claim SET token = token + 1 WHERE change_id = $1`, changeling.ErrOwned},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := ordersTable(t, 1000)
			change, end := start(t, db, widenOrders, changeling.Config{Hold: true, Lease: 3 * time.Second})
			reaches(t, change, "hold", held)
			before := describe(t, db)
			if _, err := db.Exec(c.edit, change.ID()); err != nil {
				t.Fatal(err)
			}
			_ = change.Cutover(t.Context()) // of a change whose row is gone nothing can be wished
			select {
			case err := <-end:
				if !errors.Is(err, c.want) {
					t.Errorf("the run ended with %v, want %v", err, c.want)
				}
			case <-time.After(3 * time.Minute):
				t.Fatal("the run does not end")
			}
			var rows, sum int64
			if err := db.QueryRow(`SELECT count(*), sum(amount) FROM orders`).Scan(&rows, &sum); err != nil || rows != 1000 || sum != 1000*1001/2 {
				t.Errorf("%d rows, sum %d, %v", rows, sum, err)
			}
			if now := describe(t, db); c.want != nil && now != before {
				t.Errorf("the table is\n%s\nand was\n%s", now, before)
			}
		})
	}
}

// TestNoSessions: where a server has no session left to give, the command ends with the code that says "run it again", having changed
// nothing, and does so when there are sessions again.
func TestNoSessions(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"postgres", "mysql9.7", "mariadb10.11"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			var open func() *sql.DB
			ddl := widenOrders
			if server == "postgres" {
				s := pgtest.Own(t, dbtest.Options{Settings: map[string]string{"max_connections": "25"}})
				open = func() *sql.DB { return pgtest.Open(t, s.DSN("postgres")) }
				pgtest.Exec(t, open(), `CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders SELECT i, i FROM generate_series(1, 500) i`)
			} else {
				ddl = `ALTER TABLE orders MODIFY amount bigint`
				s := mytest.Own(t, dbtest.MySQLOptions{Version: server, Settings: map[string]string{"max_connections": "25"}})
				root := mytest.Open(t, s.DSN("mysql"))
				mytest.Exec(t, root, `CREATE DATABASE app`, `CREATE TABLE app.orders (id int PRIMARY KEY, amount int)`, `INSERT INTO app.orders VALUES (1, 1), (2, 2)`)
				open = func() *sql.DB { return mytest.Open(t, s.DSN("app")) }
			}
			crowd := open()
			var taken []*sql.Conn
			for range 40 {
				conn, err := crowd.Conn(t.Context())
				if err != nil {
					break
				}
				taken = append(taken, conn)
			}
			db := open()
			db.SetMaxOpenConns(20)
			if err := changeling.Apply(t.Context(), db, ddl, changeling.Config{}); changeling.Code(err) != 75 {
				t.Errorf("with %d sessions taken Apply = %v (code %d), want code 75", len(taken), err, changeling.Code(err))
			}
			for _, conn := range taken {
				conn.Close()
			}
			if err := crowd.Close(); err != nil {
				t.Error(err)
			}
			// The server counts a session until it has seen that it is over.
			err := error(changeling.ErrStopped)
			for deadline := time.Now().Add(20 * time.Second); changeling.Code(err) == 75 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				err = changeling.Apply(t.Context(), db, ddl, changeling.Config{})
			}
			if err != nil {
				t.Error(fmt.Errorf("with sessions again: %w", err))
			}
		})
	}
}
