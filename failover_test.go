package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestFailover: the server dies in the middle of a change, and its replica takes over, without what had not come to it yet. The
// same command on the new server goes on: rows, log and counter are in one database, so that it has all of a moment or nothing.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config changeling.Config
		at     func(changeling.Status) bool
	}{
		{"copying", changeling.Config{Throttle: changeling.Throttle{MaxRows: 2000}}, func(s changeling.Status) bool { return s.Step == "copy rows" && s.RowsDone > 2000 }},
		{"holding", changeling.Config{Hold: true}, held},
		{"swapped", changeling.Config{}, func(s changeling.Status) bool { return s.Status == "done" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			primary := pgtest.Own(t, dbtest.Options{Major: dbtest.DefaultMajor}) // with which pg_basebackup comes
			db := pgtest.Open(t, primary.DSN("postgres"))
			for _, table := range []string{"orders", "mirror"} {
				pgtest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, email text UNIQUE, amount int)`, `INSERT INTO `+table+` SELECT i, 'a' || i, i FROM generate_series(1, 20000) i`)
			}
			standby := pgtest.Standby(t, primary, dbtest.Options{Major: dbtest.DefaultMajor})
			users, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				both(users, pgtest.Open(t, primary.DSN("postgres")))
			}()
			run, cancel := context.WithCancel(t.Context())
			defer cancel()
			e, err := changeling.Open(t.Context(), db, c.config)
			if err != nil {
				t.Fatal(err)
			}
			change, err := e.Start(t.Context(), widenOrders)
			if err != nil {
				t.Fatal(err)
			}
			end := make(chan error, 1)
			go func() { end <- change.Run(run) }()
			reaches(t, change, "where the server dies", c.at)
			replica := pgtest.Open(t, standby.DSN("postgres"))
			for known := !c.config.Hold; !known; time.Sleep(10 * time.Millisecond) { // of a change that the replica has not heard of nothing can be asked
				err := replica.QueryRow(`SELECT to_regclass('changeling.change') IS NOT NULL`).Scan(&known)
				if err == nil && known {
					err = replica.QueryRow(`SELECT EXISTS (SELECT FROM changeling.change WHERE id = $1)`, change.ID()).Scan(&known)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := primary.Kill(); err != nil {
				t.Fatal(err)
			}
			cancel() // whoever runs it is told that the server is another one now
			if err := <-end; err != nil && !errors.Is(err, changeling.ErrStopped) {
				t.Errorf("the run ended with %v, want ErrStopped", err)
			}
			stop()
			<-ended

			now := pgtest.Open(t, standby.DSN("postgres"))
			pgtest.Exec(t, now, `SELECT pg_promote(true, 300)`)
			users, stop = context.WithTimeout(t.Context(), time.Second)
			both(users, now)
			stop()
			if c.config.Hold { // the word of a person came along, too
				e, err := changeling.Open(t.Context(), now, changeling.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				if change, err = e.Find(t.Context(), change.ID()); err != nil {
					t.Fatal(err)
				}
				if err := change.Cutover(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := changeling.Apply(t.Context(), now, widenOrders, changeling.Config{}); err != nil {
				t.Fatal(err)
			}
			var wrong int
			var kind string
			if err := now.QueryRow(`SELECT count(*), (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'amount')
  FROM orders o FULL JOIN mirror m USING (id) WHERE (o.email, o.amount) IS DISTINCT FROM (m.email, m.amount::bigint)`).Scan(&wrong, &kind); err != nil {
				t.Fatal(err)
			}
			if wrong > 0 || kind != "bigint" {
				t.Errorf("%d rows differ from what users wrote, and the column is %s", wrong, kind)
			}
		})
	}
}

// both writes the same to the table and its mirror, each time in one transaction, until ctx ends or the server does.
func both(ctx context.Context, db *sql.DB) {
	for ctx.Err() == nil {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			continue
		}
		id := 1 + rand.IntN(25000)
		amount := rand.IntN(1_000_000)
		for _, table := range []string{"orders", "mirror"} {
			var text string
			switch id % 4 {
			case 0:
				text = `INSERT INTO ` + table + ` VALUES ($1, 'n' || $1::text || '-' || $2::text, $2) ON CONFLICT (id) DO UPDATE SET amount = EXCLUDED.amount`
			case 1:
				text = `DELETE FROM ` + table + ` WHERE id = $1 AND $2::int > 0`
			default:
				text = `UPDATE ` + table + ` SET amount = $2 WHERE id = $1`
			}
			if _, err = tx.ExecContext(ctx, text, id, amount); err != nil {
				break
			}
		}
		if err == nil {
			_ = tx.Commit() // one of unknown outcome is in both tables, or in none
		} else {
			_ = tx.Rollback()
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}
