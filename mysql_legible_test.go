package changeling_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLFourByteStatements: while somebody runs a statement with an emoji, MySQL shows no row of what lists the statements of others,
// which a change asks again and again.
func TestMySQLFourByteStatements(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 500)
		}
		mytest.Exec(t, db, `CREATE TABLE others (id int PRIMARY KEY, note text)`, `INSERT INTO others VALUES (1, '')`)
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		stop := func() { cancel(); users.Wait() }
		t.Cleanup(stop)
		for _, text := range []string{`SELECT SLEEP(0.5), '🦊'`, `UPDATE others SET note = '🦊' WHERE id = 1 AND SLEEP(0.001) = 0`} {
			users.Go(func() {
				for ctx.Err() == nil {
					if _, err := db.ExecContext(context.WithoutCancel(ctx), text); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, Events: event.Lines(t.Output())}
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		stop() // the end of the test asks as well
		mytest.Exec(t, db, `ALTER TABLE twin MODIFY amount bigint NOT NULL DEFAULT 7 COMMENT 'in cents'`)
		equalMy(t, db, "orders", "twin", "beside emojis")
	})
}
