package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// TestMySQLForeignKeyBesideCopy: foreign keys that come or go together with a clause that needs a second table are as a native ALTER leaves
// them, while users write, of whom none fails; an undo brings back those that were there.
func TestMySQLForeignKeyBesideCopy(t *testing.T) {
	t.Parallel()
	for _, capture := range []changeling.Capture{changeling.CaptureBinlog, changeling.CaptureTriggers} {
		t.Run(string(capture), func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				familyMy(t, db)
				for _, table := range []string{"kids", "twin"} {
					mytest.Exec(t, db, `ALTER TABLE `+table+` ADD COLUMN boss int`, `UPDATE `+table+` SET boss = id WHERE id < 500`)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var users sync.WaitGroup
				users.Go(func() {
					for n := 1001; n < 1500 && ctx.Err() == nil; n++ {
						for _, text := range []string{`INSERT INTO kids (parent) VALUES (%d)`, `UPDATE kids SET boss = NULL WHERE parent = %d - 900`, `DELETE FROM kids WHERE parent = %d`, `DELETE FROM parents WHERE id = %d`} {
							if _, err := db.Exec(fmt.Sprintf(text, n)); err != nil {
								t.Errorf("a user's write failed: "+text+": %v", n, err)
								return
							}
						}
					}
				})
				stop := sync.OnceFunc(func() {
					cancel()
					users.Wait()
				})
				defer stop()
				config := changeling.Config{Capture: capture, Events: event.Lines(t.Output())}
				if capture == changeling.CaptureBinlog {
					config.Binlog = dsn
				}
				e, err := changeling.Open(t.Context(), db, config)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				for _, clauses := range []string{
					"ADD CONSTRAINT %s_up FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE RESTRICT, MODIFY v bigint",
					"MODIFY v bigint unsigned, ADD FOREIGN KEY (boss) REFERENCES %s (id), ADD COLUMN w int AFTER id, ADD FOREIGN KEY (w) REFERENCES parents (id) ON DELETE CASCADE",
					"DROP FOREIGN KEY %s_up, MODIFY v int, ADD CONSTRAINT %s_anew FOREIGN KEY by_both (v, parent) REFERENCES pairs (a, b)",
				} {
					if isMaria(t, db) && capture == changeling.CaptureTriggers { // a table that has foreign keys is not copied
						mytest.Exec(t, db, `ALTER TABLE kids DROP FOREIGN KEY IF EXISTS kids_up, DROP FOREIGN KEY IF EXISTS kids_ibfk_1, DROP FOREIGN KEY IF EXISTS kids_ibfk_2`,
							`ALTER TABLE twin DROP FOREIGN KEY IF EXISTS twin_up, DROP FOREIGN KEY IF EXISTS twin_ibfk_1, DROP FOREIGN KEY IF EXISTS twin_ibfk_2`)
						clauses = strings.TrimPrefix(clauses, "DROP FOREIGN KEY %s_up, ")
					}
					if strings.Contains(clauses, "pairs") {
						stop()
						mytest.Exec(t, db, `CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b))`, `INSERT INTO pairs SELECT DISTINCT v, parent FROM kids WHERE parent IS NOT NULL AND v IS NOT NULL`, `INSERT IGNORE INTO pairs SELECT DISTINCT v, parent FROM twin WHERE parent IS NOT NULL AND v IS NOT NULL`)
					}
					in := func(table string) string {
						if capture == changeling.CaptureTriggers || isMaria(t, db) { // which a cascade does not fire, or the binary log, which does not have it
							clauses = strings.ReplaceAll(clauses, "CASCADE", "RESTRICT")
						}
						return "ALTER TABLE " + table + " " + strings.ReplaceAll(clauses, "%s", table)
					}
					before := myDefinition(t, db, "kids")
					c, err := e.Start(t.Context(), in("kids"))
					if err != nil {
						t.Fatal(err)
					}
					if p := c.Plan(); p.Route != plan.ShadowTable || p.Find(plan.Data) != 0 || p.Find(plan.Ask) < 0 {
						t.Fatalf("%s: planned as %s (%s)", clauses, p.Route, p.Why)
					}
					if err := c.Run(t.Context()); err != nil {
						t.Fatalf("%s: %v", clauses, err)
					}
					mytest.Exec(t, db, in("twin"))
					myAlike(t, db, "kids", "twin")
					if capture != changeling.CaptureBinlog {
						continue
					}
					if c, err = e.Find(t.Context(), c.ID()); err == nil && c.Plan().Undo != nil {
						if err = c.Undo(t.Context(), changeling.NoLoss); err == nil {
							if now := myDefinition(t, db, "kids"); now != before {
								t.Errorf("%s: after the undo the table is\n%s\nwant\n%s", clauses, now, before)
							}
							err = changeling.Apply(t.Context(), db, in("kids"), config)
						}
					}
					if err != nil {
						t.Errorf("%s: undone and made again: %v", clauses, err)
					}
					myAlike(t, db, "kids", "twin")
				}
				for i, text := range []string{`INSERT INTO kids (parent, v) VALUES (-5, 1)`, `INSERT INTO kids (w) VALUES (-5)`, `INSERT INTO kids (boss) VALUES (-5)`} {
					if i > 0 && isMaria(t, db) && capture == changeling.CaptureTriggers {
						break
					}
					if _, err := db.Exec(text); err == nil {
						t.Errorf("%s is let through", text)
					}
				}
			})
		})
	}
}

// TestMySQLOrphansBesideCopy: rows that a new foreign key does not allow are named before anything is made, before the swap, and behind it,
// when no new ones can come; the change goes on once they are mended.
func TestMySQLOrphansBesideCopy(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		familyMy(t, db)
		const ddl = `ALTER TABLE kids ADD CONSTRAINT kids_up FOREIGN KEY (parent) REFERENCES parents (id), MODIFY v bigint`
		orphan := func() { mytest.Exec(t, db, `REPLACE INTO kids (id, parent) VALUES (7777, -1)`) }
		mend := func() { mytest.Exec(t, db, `UPDATE kids SET parent = 1 WHERE id = 7777`) }
		for _, c := range []struct {
			when func(event.Event) bool
			says string
		}{{nil, "Nothing was made"}, {startedNamed("verify"), "The source is untouched"}, {began("cutover"), "new rows cannot break it"}} {
			config := quick
			if c.when == nil {
				orphan()
			} else {
				config.Events = upon(event.Lines(t.Output()), c.when, orphan)
			}
			if err := changeling.Apply(t.Context(), db, ddl, config); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "id 7777") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Apply = %v, want ErrData that names the row and says %q", err, c.says)
			}
			mend()
		}
		if _, err := db.Exec(`INSERT INTO kids (parent) VALUES (-2)`); err == nil {
			t.Error("an orphan is let through behind the swap")
		}
		if err := changeling.Apply(t.Context(), db, ddl, quick); err != nil {
			t.Fatal(err)
		}
		mytest.Exec(t, db, `ALTER TABLE twin `+strings.TrimPrefix(strings.ReplaceAll(ddl, "kids_up", "twin_up"), "ALTER TABLE kids "))
		myAlike(t, db, "kids", "twin")
	})
}
