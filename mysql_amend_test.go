package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// kinMy are relativesMy, a table outside of their family to which one of them refers, and one that refers to one of them.
func kinMy(typ string) []string {
	return append(relativesMy(typ), `CREATE TABLE depots (id int PRIMARY KEY)`, `INSERT INTO depots VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9)`,
		`ALTER TABLE orders ADD weight int, ADD code int, ADD UNIQUE KEY (code), ADD depot int, ADD CONSTRAINT in_depot FOREIGN KEY (depot) REFERENCES depots (id)`,
		`UPDATE orders SET code = customer, depot = 1 + customer % 9`,
		`CREATE TABLE tags (id int AUTO_INCREMENT PRIMARY KEY, code int, CONSTRAINT tagged FOREIGN KEY (code) REFERENCES orders (code))`, `INSERT INTO tags (code) SELECT code FROM orders`)
}

const (
	killsQuery   = "KILL QUERY CONNECTION_ID(); DO SLEEP(1); "
	killsSession = "KILL CONNECTION_ID(); "
	raises       = "SIGNAL SQLSTATE '45000'; "
)

// breakingMy is a pool whose first CALL that swaps tables comes to a statement of the test's, right in front of the RENAME or right behind it.
func breakingMy(t *testing.T, dsn string, db *sql.DB, behind bool, put string) (pool *sql.DB, broke *atomic.Bool) {
	t.Helper()
	broke = &atomic.Bool{}
	pool = mytest.Mutant(t, dsn, func(ctx context.Context, x mutant.Statement) string {
		switch {
		case strings.HasPrefix(x.Text, "CREATE PROCEDURE") && strings.Contains(x.Text, "RENAME TABLE") && !broke.Load():
			at := strings.Index(x.Text, "RENAME TABLE")
			if behind {
				at += strings.Index(x.Text[at:], "; ") + 2
			}
			text := strings.Replace(x.Text[:at]+put+x.Text[at:], "swap_", "breaks_", 1)
			name, _, _ := strings.Cut(strings.TrimPrefix(text, "CREATE PROCEDURE "), "(")
			for _, text := range []string{"DROP PROCEDURE IF EXISTS " + name, text} {
				if _, err := db.ExecContext(ctx, text); err != nil {
					t.Error(err)
				}
			}
		case strings.HasPrefix(x.Text, "CALL ") && strings.Contains(x.Text, "swap_") && broke.CompareAndSwap(false, true):
			return strings.Replace(x.Text, "swap_", "breaks_", 1)
		}
		return x.Text
	})
	pool.SetMaxOpenConns(30)
	return pool, broke
}

// asUsersMy writes to kinMy as users do: orphans are refused, and what nobody refers to can go. n is another one each time.
func asUsersMy(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	for _, c := range []struct{ text, code string }{
		{`INSERT INTO tags (code) VALUES (-7)`, "1452"}, {`INSERT INTO items (customer, no) VALUES (7, 77)`, "1452"}, {fmt.Sprintf(`DELETE FROM depots WHERE id = %d`, n), "1451"},
		{fmt.Sprintf(`UPDATE orders SET depot = NULL WHERE depot = %d`, n), ""}, {fmt.Sprintf(`DELETE FROM depots WHERE id = %d`, n), ""},
	} {
		_, err := db.ExecContext(t.Context(), c.text)
		if c.code == "" && err != nil {
			t.Errorf("a user failed: %s: %v", c.text, err)
		}
		if c.code != "" && (err == nil || !strings.Contains(err.Error(), c.code)) {
			t.Errorf("%s: %v, want error %s", c.text, err, c.code)
		}
	}
}

const (
	widenFamilyMy = `ALTER TABLE customers MODIFY id bigint unsigned NOT NULL AUTO_INCREMENT`
	widenOneMy    = `ALTER TABLE orders MODIFY weight bigint`
)

// kinAlikeMy compares kinMy with what native statements would have made of it.
func kinAlikeMy(t *testing.T, db, native *sql.DB) {
	t.Helper()
	for _, table := range []string{"customers", "orders", "items", "tags"} {
		if got, want := shownMy(t, db, table), shownMy(t, native, table); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", table, got, want)
		}
		sameMy(t, db, `SELECT COUNT(*) FROM `+table, `SELECT 300`)
	}
}

// TestMySQLSwapInterrupted: a KILL QUERY ends the procedure that swaps, in front of its RENAME or behind it, and none of its handlers runs; an error behind
// the RENAME looks as if nothing was swapped. The run finds out which, and nobody is failed or let through meanwhile.
func TestMySQLSwapInterrupted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		behind bool
		put    string
	}{{"killed in front", false, killsQuery}, {"killed behind", true, killsQuery}, {"error behind", true, raises}} {
		for _, ddl := range []string{widenFamilyMy, widenOneMy} {
			t.Run(c.name+" "+strings.Fields(ddl)[2], func(t *testing.T) {
				t.Parallel()
				onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
					mytest.Exec(t, db, kinMy("int")...)
					native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
					if ddl == widenOneMy {
						mytest.Exec(t, native, append(kinMy("int"), ddl)...)
					} else {
						mytest.Exec(t, native, kinMy("bigint unsigned")...)
					}
					pool, broke := breakingMy(t, dsn, db, c.behind, c.put)
					var attempts, swaps int
					config := byBinlog(dsn, changeling.Config{WithChildren: ddl == widenFamilyMy, Fast: true, DropAfter: changeling.DropNow})
					config.Events = event.Tee(event.Lines(t.Output()), func(e event.Event) {
						if tried, ok := e.(event.CutoverTried); ok && broke.Load() { // its locks are gone, and no other step has begun
							if attempts++; tried.Swapped {
								swaps++
							}
							asUsersMy(t, db, attempts)
						}
					})
					if err := changeling.Apply(t.Context(), pool, ddl, config); err != nil {
						t.Fatal(err)
					}
					if !broke.Load() || swaps != 1 || c.behind && attempts != 1 || !c.behind && attempts < 2 {
						t.Errorf("broken %t, %d attempts, %d swaps", broke.Load(), attempts, swaps)
					}
					kinAlikeMy(t, db, native)
					asUsersMy(t, db, 9)
				})
			})
		}
	}
}

// TestMySQLKillEndsProcedure is what TestMySQLSwapInterrupted stands on: a procedure that is killed says 1317, and its handlers do not run.
func TestMySQLKillEndsProcedure(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE ran (what varchar(20))`, `CREATE PROCEDURE p() BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION INSERT INTO ran VALUES ('handler'); INSERT INTO ran VALUES ('before'); `+killsQuery+`INSERT INTO ran VALUES ('behind'); END`)
		if _, err := db.Exec(`CALL p()`); err == nil || !strings.Contains(err.Error(), "1317") {
			t.Errorf("the procedure ended with %v, want 1317", err)
		}
		sameMy(t, db, `SELECT what FROM ran`, `SELECT 'before'`)
	})
}

// TestMySQLBehindSwapKilled: where UNLOCK TABLES behind the swap is killed, or what saves that it happened, the tables are swapped all the same, and the locks
// end with the attempt.
func TestMySQLBehindSwapKilled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"UNLOCK TABLES", "UPDATE changeling.chg SET cut_at"} {
		for name, c := range map[string]struct {
			ddl   string
			route plan.Route
		}{
			"foreign keys": {widenOneMy, ""}, "a family": {widenFamilyMy, ""}, "no foreign keys": {`ALTER TABLE plain MODIFY a bigint`, ""}, "a second column": {`ALTER TABLE plain MODIFY a bigint`, plan.ShadowColumn},
		} {
			t.Run(at[:6]+" "+name, func(t *testing.T) {
				t.Parallel()
				onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
					mytest.Exec(t, db, append(kinMy("int"), `CREATE TABLE plain (id int PRIMARY KEY, a int)`, `INSERT INTO plain VALUES (1, 1)`)...)
					var swapped, killed atomic.Bool
					pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
						swapped.Store(swapped.Load() || strings.HasPrefix(x.Text, "CALL ") || strings.HasPrefix(x.Text, "RENAME TABLE") || mySwap(x.Text) && !strings.HasPrefix(x.Text, "ALTER TABLE `changeling_"))
						if strings.HasPrefix(x.Text, at) && swapped.Load() && killed.CompareAndSwap(false, true) {
							return "KILL QUERY CONNECTION_ID()"
						}
						return x.Text
					})
					pool.SetMaxOpenConns(30)
					tries := 0
					config := byBinlog(dsn, changeling.Config{WithChildren: name == "a family", Fast: true, DropAfter: changeling.DropNow, Route: c.route})
					if c.route != "" {
						config = byColumn()
					}
					config.Events = event.Tee(event.Lines(t.Output()), func(e event.Event) {
						if _, ok := e.(event.CutoverTried); ok && killed.Load() {
							tries++
							ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
							defer cancel()
							for _, text := range []string{`UPDATE plain SET a = a + 1`, `UPDATE orders SET weight = 1`} {
								if _, err := db.ExecContext(ctx, text); err != nil {
									t.Errorf("%s: %v", text, err)
								}
							}
						}
					})
					if err := changeling.Apply(t.Context(), pool, c.ddl, config); err != nil {
						t.Fatal(err)
					}
					if !killed.Load() || tries != 1 {
						t.Errorf("killed %t, %d attempts from then on", killed.Load(), tries)
					}
					sameMy(t, db, `SELECT a FROM plain`, `SELECT 2`)
					asUsersMy(t, db, 1)
				})
			})
		}
	}
}
