package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// TestMySQLInParts: clauses that the server does at once or in place when they come alone are not copied because they come together,
// the result is that of the whole statement, and a run that was stopped between two parts goes on with the next one. One clause that
// needs a copy takes all with it.
func TestMySQLInParts(t *testing.T) {
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders, `CREATE TABLE same `+myOrders)
		fillMy(t, db, "orders", 500)
		const clauses = ` ADD COLUMN n int, ADD INDEX by_n (n, amount), RENAME COLUMN note TO remark, DROP INDEX orders_customer`
		mytest.Exec(t, db, `ALTER TABLE same`+clauses)
		e, err := changeling.Open(t.Context(), db, quick)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		p, err := e.Plan(t.Context(), `ALTER TABLE orders`+clauses)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, s := range p.Steps {
			steps = append(steps, strings.Join(s.SQL, "; "))
		}
		if p.Route != plan.Recipe || len(p.Steps) < 2 || !strings.Contains(steps[0], "ADD COLUMN n int, ALGORITHM=INSTANT") || p.Find(plan.Copy) >= 0 {
			t.Fatalf("the route is %s (%s), the steps are %q: want a recipe that begins with an instant column", p.Route, p.Why, steps)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		config := quick
		ended := 0
		config.Events = upon(event.Discard, func(e event.Event) bool {
			if _, ok := e.(event.StepEnded); ok {
				ended++
			}
			return ended == 2
		}, cancel)
		if err := changeling.Apply(ctx, db, `ALTER TABLE orders`+clauses, config); err != nil && !errors.Is(err, changeling.ErrStopped) {
			t.Fatal(err)
		}
		for range 2 { // the second time there is nothing to do
			if err := changeling.Apply(t.Context(), db, `ALTER TABLE orders`+clauses, quick); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := myDefinition(t, db, "orders"), strings.Replace(myDefinition(t, db, "same"), "`same`", "`orders`", 1); got != want {
			t.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
		// What is done when somebody aborts stays, as the plan says, and the abort says it too.
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		config.Events = upon(event.Discard, func(e event.Event) bool { _, ok := e.(event.StepEnded); return ok }, cancel)
		if err := changeling.Apply(ctx, db, `ALTER TABLE orders ADD COLUMN z int, ADD INDEX by_z (z)`, config); !errors.Is(err, changeling.ErrStopped) {
			t.Fatalf("stopped after its first part, Apply = %v, want ErrStopped", err)
		}
		abortAll(t, db, mySchema(t, db)+".")
		if now := myDefinition(t, db, "orders"); !strings.Contains(now, "`z` int") || strings.Contains(now, "by_z") {
			t.Errorf("after the abort the table is\n%s\nwant the column and no index", now)
		}
		if p, err = e.Plan(t.Context(), `ALTER TABLE orders ADD COLUMN m int, ADD INDEX by_m (m), MODIFY amount bigint NOT NULL`); err != nil || p.Route != plan.ShadowTable {
			t.Errorf("with a clause that needs a copy the route is %s (%s), %v: want one copy for all", p.Route, p.Why, err)
		}
		var left int
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE CONCAT('changeling\_', ?, '%')`, p.ID).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d databases of the plan are left, %v", left, err)
		}
	})
}
