package changeling_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// byBinlog is a configuration that reads it, and nothing else.
func byBinlog(dsn string, c changeling.Config) changeling.Config {
	c.Capture, c.Binlog = changeling.CaptureBinlog, dsn
	return c
}

func TestBinlogChange(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 3000)
		}
		mytest.Exec(t, db, strings.Replace(myGrow, "orders", "twin", 1))
		var triggers int
		config := byBinlog(dsn, changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began("verify"), func() {
			if err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()`).Scan(&triggers); err != nil || triggers != 0 {
				t.Errorf("%d triggers stand on the table (%v), want none", triggers, err)
			}
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `UPDATE `+table+` SET amount = amount + 1 WHERE id < 40`, `DELETE FROM `+table+` WHERE id = 77`, `UPDATE `+table+` SET id = 90000 WHERE id = 78`)
			}
		})})
		if err := changeling.Apply(t.Context(), db, myGrow, config); err != nil {
			t.Fatal(err)
		}
		equalMy(t, db, "orders", "twin", "after the change")
	})
}

// TestBinlogLedger is TestMySQLLedger without triggers.
func TestBinlogLedger(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		rounds := 1
		if full() {
			rounds = 20
		}
		for round := range rounds {
			l := newMyLedger(t, db, round)
			l.binlog = dsn
			if err := l.change(db, round%2 == 0); err != nil {
				t.Fatal(err)
			}
			equalMy(t, db, "orders", "mirror", fmt.Sprintf("round %d, after %d writes", round, l.acknowledged.Load()))
			t.Logf("round %d: %d writes acknowledged", round, l.acknowledged.Load())
		}
	})
}
