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
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

const widenOrders = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`

// ordersTable makes a table with a number of rows.
func ordersTable(t *testing.T, rows int) *sql.DB {
	t.Helper()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, amount int)`,
		fmt.Sprintf(`INSERT INTO orders SELECT i, 'a' || i, i FROM generate_series(1, %d) i`, rows))
	return db
}

// start runs a change beside the test and answers it with a channel for its end.
func start(t *testing.T, db *sql.DB, ddl string, c changeling.Config) (*changeling.Change, <-chan error) {
	t.Helper()
	e, err := changeling.Open(t.Context(), db, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	change, err := e.Start(t.Context(), ddl)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- change.Run(t.Context()) }()
	other, err := e.Find(t.Context(), change.ID())
	if err != nil {
		t.Fatal(err)
	}
	return other, end
}

// reaches waits until the database says that the change is where it is wanted.
func reaches(t *testing.T, c *changeling.Change, what string, there func(changeling.Status) bool) changeling.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last changeling.Status
	for {
		s, err := c.Status(ctx)
		if err == nil && there(s) {
			return s
		}
		if err == nil {
			last = s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the change did not come to %s; it is %+v, %v", what, last, err)
		case <-tick.C:
		}
	}
}

func held(s changeling.Status) bool { return s.Status == "held" }

func TestHoldThenCutover(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	c, end := start(t, db, widenOrders, changeling.Config{Hold: true})
	s := reaches(t, c, "hold", held)
	if s.ShadowTable == "" || s.OldTable != "" || s.Owner == "" || s.RowsDone != 5000 {
		t.Errorf("status while held: %+v", s)
	}
	// The shadow stays in step.
	pgtest.Exec(t, db, `UPDATE orders SET amount = -1 WHERE id <= 500`, `DELETE FROM orders WHERE id > 4900`)
	if rows, err := c.Verify(t.Context()); err != nil || rows < 4000 {
		t.Errorf("Verify = %d, %v, want most of 4900 rows", rows, err)
	}
	if err := c.Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	var n, changed int64
	if err := db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE amount = -1::bigint) FROM orders`).Scan(&n, &changed); err != nil || n != 4900 || changed != 500 {
		t.Errorf("after the cutover: %d rows, %d changed, %v; want 4900 and 500", n, changed, err)
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Status != "done" || s.ShadowTable != "" || s.OldTable == "" || s.DropAt == nil || s.CutOver == nil {
		t.Errorf("status afterwards: %+v, %v", s, err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); err != nil || dropped {
		t.Errorf("Cleanup before its time = %v, %v", dropped, err)
	}
	if dropped, err := c.Cleanup(t.Context(), changeling.Now); err != nil || !dropped {
		t.Errorf("Cleanup at once = %v, %v", dropped, err)
	}
	nothingLeft(t, db)
}

func TestAbort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		run  bool // somebody works on it when it is aborted
	}{{"while it runs", true}, {"when its runner is gone", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := ordersTable(t, 5000)
			before := describe(t, db)
			change, end := start(t, db, widenOrders, changeling.Config{Hold: true})
			reaches(t, change, "hold", held)
			if !c.run {
				// Its connections are ended, as a dead process ends them; it gives up at once or goes on. Then the real end.
				if err := change.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := change.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-end; !errors.Is(err, changeling.ErrAborted) {
				t.Errorf("the run ended with %v, want ErrAborted", err)
			}
			if after := describe(t, db); after != before {
				t.Errorf("the table was touched: %s, was %s", after, before)
			}
			nothingLeft(t, db)
			// Triggers are gone, and the table can be changed again.
			if err := changeling.Apply(t.Context(), db, widenOrders, changeling.Config{DropAfter: changeling.DropNow}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStopThenAbortFromElsewhere(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	e, err := changeling.Open(t.Context(), db, changeling.Config{Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	change, err := e.Start(t.Context(), widenOrders)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- change.Run(ctx) }()
	other, err := e.Find(t.Context(), change.ID())
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, other, "hold", held)
	stop()
	if err := <-end; !errors.Is(err, changeling.ErrStopped) {
		t.Fatalf("the run ended with %v, want ErrStopped", err)
	}
	if err := other.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, db)
	if s, err := other.Status(t.Context()); err != nil || s.Status != "aborted" || s.ShadowTable != "" {
		t.Errorf("status = %+v, %v", s, err)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	c, end := start(t, db, widenOrders, changeling.Config{Hold: true, DropAfter: changeling.DropNow})
	reaches(t, c, "hold", held)
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	reaches(t, c, "a pause", func(s changeling.Status) bool { return strings.Contains(s.ThrottleReason, "paused") })
	if err := c.Cutover(t.Context()); err != nil { // the word to go on ends a pause too
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, db)
}

func TestTwoRunners(t *testing.T) {
	t.Parallel()
	db := ordersTable(t, 5000)
	c, end := start(t, db, widenOrders, changeling.Config{Hold: true, Owner: "ann"})
	reaches(t, c, "hold", held)
	err := changeling.Apply(t.Context(), db, widenOrders, changeling.Config{Owner: "bob"})
	if !errors.Is(err, changeling.ErrOwned) || !strings.Contains(err.Error(), "ann") {
		t.Errorf("the second run ended with %v, want ErrOwned and the name of the first", err)
	}
	err = changeling.Apply(t.Context(), db, `ALTER TABLE orders ALTER COLUMN amount TYPE numeric`, changeling.Config{})
	if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.ID()) {
		t.Errorf("another change of the table ended with %v, want ErrRefused and the id of the first", err)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-end
}

// TestOthersAlterTheTable: who alters the source while a change runs gets his way, and the change stops.
func TestOthersAlterTheTable(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`ALTER TABLE orders ADD COLUMN b int`, `CREATE INDEX ON orders (amount)`, `ALTER TABLE orders ALTER COLUMN email SET NOT NULL`,
		`CREATE VIEW v AS SELECT id FROM orders`, `GRANT SELECT ON orders TO PUBLIC`, `COMMENT ON TABLE orders IS 'x'`, `ALTER TABLE orders DISABLE TRIGGER ALL`,
		`CREATE TABLE child (o int REFERENCES orders)`, `ALTER TABLE orders RENAME TO orders2`, `DROP TABLE orders`,
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			db := ordersTable(t, 1000)
			c, end := start(t, db, widenOrders, changeling.Config{Hold: true})
			reaches(t, c, "hold", held)
			pgtest.Exec(t, db, statement)
			if err := c.Cutover(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := <-end
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "somebody") {
				t.Fatalf("the run ended with %v, want ErrRefused", err)
			}
			if err := c.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, db)
		})
	}
}
