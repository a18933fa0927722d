package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// myShrink drops a column and makes another one coarser.
const myShrink = `ALTER TABLE orders MODIFY amount bigint NOT NULL DEFAULT 7, DROP COLUMN note, MODIFY created_at datetime NOT NULL DEFAULT '2026-01-01 00:00:00', ADD COLUMN more int NOT NULL DEFAULT 3`

// alikeMy writes to the table, and to the twin alike.
func alikeMy(t *testing.T, db *sql.DB, texts ...func(table string) string) {
	t.Helper()
	for _, text := range texts {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, text(table))
		}
	}
}

// TestMySQLUndo leaves the table as it was before the change, with what was written since: what only the old table has, and what is finer
// there, is kept.
func TestMySQLUndo(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 3000)
			mytest.Exec(t, db, `UPDATE `+table+` SET created_at = '2026-02-03 04:05:06.123'`)
		}
		c := made(t, db, myShrink, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		stands(t, c, "done", "open")
		write := func() {
			t.Helper()
			alikeMy(t, db,
				func(table string) string { return `UPDATE ` + table + ` SET amount = amount + 1 WHERE id < 40` },
				func(table string) string {
					return `UPDATE ` + table + ` SET created_at = '2026-03-03 03:03:03' WHERE id = 50`
				},
				func(table string) string { return `DELETE FROM ` + table + ` WHERE id = 77` },
				func(table string) string { return `UPDATE ` + table + ` SET email = 'x' WHERE id = 80` },
				func(table string) string {
					return `UPDATE ` + table + ` SET email = 'user80@example.org' WHERE id = 81`
				},
				func(table string) string {
					return `UPDATE ` + table + ` SET email = 'user81@example.org' WHERE id = 80`
				},
				func(table string) string {
					return `INSERT INTO ` + table + ` (customer_id, email, amount) VALUES (1, CONCAT('new', (SELECT COUNT(*) FROM information_schema.schemata WHERE 1 = 0)), 2)`
				})
		}
		write()
		if dropped, err := c.Cleanup(t.Context(), changeling.WhenDue); dropped || err != nil { // brings the old table in step
			t.Fatal(dropped, err)
		}
		alikeMy(t, db, func(table string) string { return `DELETE FROM ` + table + ` WHERE email = 'new0'` })
		write()
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "undone", "")
		equalMy(t, db, "orders", "twin", "after the undo")
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Fatal(dropped, err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
}

// TestMySQLUndoLedger undoes a change under users who write all the time, and finds every write in the old table. Without the drain it
// does not.
func TestMySQLUndoLedger(t *testing.T) {
	t.Parallel()
	drained := regexp.MustCompile("^INSERT INTO `changeling_\\w+_old`\\.`orders`")
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, broken := range []bool{false, true} {
			l := newMyLedger(t, db, 0)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			stop := l.write(ctx)
			pool := mytest.Mutant(t, dsn, func(_ context.Context, x mutant.Statement) string {
				switch {
				case broken && drained.MatchString(x.Text):
					return "DO 0"
				case broken && strings.HasPrefix(x.Text, "SELECT a.n, a.h, b.n"):
					return "SELECT 0, '0', 0, '0', FALSE"
				case broken && strings.Contains(x.Text, "differing_undo_keys") && strings.HasPrefix(x.Text, "INSERT"):
					return "DO 0"
				}
				return x.Text
			})
			c := made(t, pool, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
			l.until(500)
			err := c.Undo(ctx, changeling.NoLoss)
			l.until(300)
			stop()
			cancel()
			if broken {
				if err == nil && slices.Equal(myRows(t, db, "orders"), myRows(t, db, "mirror")) {
					t.Error("without a drain no write was lost: the ledger proves nothing")
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			equalMy(t, db, "orders", "mirror", fmt.Sprintf("after %d writes", l.acknowledged.Load()))
			stands(t, c, "undone", "")
		}
	})
}

// until waits for more writes.
func (l *myLedger) until(more int64) {
	l.Helper()
	for want, began := l.acknowledged.Load()+more, time.Now(); l.acknowledged.Load() < want && !l.Failed(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			l.Fatal("the users do not come to write")
		}
	}
}

// TestMySQLUndoMisfits: what does not fit the old table is named and makes the undo lossy.
func TestMySQLUndoMisfits(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
		fillMy(t, db, "orders", 1000)
		c := made(t, db, myShrink, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		refused := func(says string) {
			t.Helper()
			err := c.Undo(t.Context(), changeling.NoLoss)
			if !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "--lossy") {
				t.Errorf("Undo = %v, want a refusal that says %q", err, says)
			}
			stands(t, c, "done", "open")
		}
		mytest.Exec(t, db, `UPDATE orders SET amount = 5000000000 WHERE id = 77`, `UPDATE orders SET amount = amount + 1 WHERE id BETWEEN 70 AND 400`)
		refused("id 77")
		mytest.Exec(t, db, `UPDATE orders SET amount = 78 WHERE id = 77`, `UPDATE orders SET amount = 6000000000 WHERE id = 79`, `INSERT INTO orders (id, customer_id, email, amount) VALUES (5000, 1, 'e', 7000000000)`)
		refused("id 5000")
		if err := c.Undo(t.Context(), changeling.LossAllowed); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "undone", "")
		var wrong, there int
		if err := db.QueryRow(`SELECT COUNT(*), SUM(id = 5000) FROM orders WHERE NOT (amount = id + (id BETWEEN 70 AND 400) OR id = 77 AND amount = 78) OR note <=> 'x'`).Scan(&wrong, new(sql.NullInt64)); err != nil || wrong > 1 {
			t.Errorf("%d rows are wrong, %v", wrong, err)
		}
		if err := db.QueryRow(`SELECT COUNT(*) FROM orders WHERE id = 5000`).Scan(&there); err != nil || there != 0 {
			t.Errorf("the row that does not fit is there %d times, %v", there, err)
		}
	})
}

// TestMySQLUndoOfAKeyThatIsGone: a row whose key the old table cannot have stands in the way of an undo, and no longer once it is deleted.
func TestMySQLUndoOfAKeyThatIsGone(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders SELECT seq, seq FROM (SELECT ROW_NUMBER() OVER () AS seq FROM information_schema.columns LIMIT 500) x`)
		c := made(t, db, `ALTER TABLE orders MODIFY id bigint NOT NULL`, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `INSERT INTO orders VALUES (5000000000, 1), (6000000000, 1)`, `DELETE FROM orders WHERE id = 5000000000 OR id < 10`, `UPDATE orders SET amount = 0 WHERE id = 11`)
		if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) || !strings.Contains(err.Error(), "1 rows") || !strings.Contains(err.Error(), "id 6000000000") {
			t.Errorf("Undo = %v, want a refusal that names one row", err)
		}
		mytest.Exec(t, db, `DELETE FROM orders WHERE id = 6000000000`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		if got := ask[string](t, db, `SELECT CONCAT(COUNT(*), ' ', SUM(id) - SUM(amount), ' ', (SELECT data_type FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'id')) FROM orders`); got != "491 11 int" {
			t.Errorf("the table has %s", got)
		}
	})
}

// TestMySQLUndoOfTruncated: whoever empties the new table has emptied the old one, too.
func TestMySQLUndoOfTruncated(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
			fillMy(t, db, table, 1000)
		}
		c := made(t, db, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		alikeMy(t, db,
			func(table string) string { return `UPDATE ` + table + ` SET amount = amount + 1 WHERE id < 40` },
			func(table string) string { return `TRUNCATE TABLE ` + table },
			func(table string) string {
				return `INSERT INTO ` + table + ` (id, customer_id, email, amount) VALUES (7, 1, 'a', 2), (3000, 1, 'b', 2)`
			},
			func(table string) string { return `UPDATE ` + table + ` SET amount = amount + 1 WHERE id = 7` })
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		equalMy(t, db, "orders", "twin", "after the undo")
	})
}

// TestMySQLUndoGone: where nobody can know what was written since, that is said, and the table stays.
func TestMySQLUndoGone(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for name, disturb := range map[string][]string{"altered": {`ALTER TABLE orders ADD COLUMN mine int`}, "away and back": {`RENAME TABLE orders TO away`, `RENAME TABLE away TO orders`}} {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders`, `CREATE TABLE orders `+myOrders)
			fillMy(t, db, "orders", 100)
			c := made(t, db, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
			mytest.Exec(t, db, append(disturb, `UPDATE orders SET amount = 5 WHERE id = 6`)...)
			if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "altered") {
				t.Errorf("%s: Undo = %v, want a refusal that says so", name, err)
			}
			s, err := c.Status(t.Context())
			if err != nil || s.Status != "done" {
				t.Errorf("%s: the change is %q, %v", name, s.Status, err)
			}
			var amount int
			if err := db.QueryRow(`SELECT amount FROM orders WHERE id = 6`).Scan(&amount); err != nil || amount != 5 {
				t.Errorf("%s: the write has become %d, %v", name, amount, err)
			}
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Errorf("%s: cleanup = %v, %v", name, dropped, err)
			}
			if left := myTraces(t, db, c.ID()); len(left) > 0 {
				t.Errorf("%s: left over: %v", name, left)
			}
		}
	})
}

// TestMySQLUndoPurged: a binary log that is gone closes the window.
func TestMySQLUndoPurged(t *testing.T) {
	t.Parallel()
	server := mytest.Own(t, dbtest.MySQLOptions{Version: "mysql9.7"})
	mytest.Exec(t, mytest.Open(t, server.DSN("mysql")), `CREATE DATABASE app`)
	dsn := server.DSN("app")
	db := mytest.Open(t, dsn)
	mytest.Exec(t, db, `CREATE TABLE orders `+myOrders)
	fillMy(t, db, "orders", 100)
	c := made(t, db, myGrow, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
	stands(t, c, "done", "open")
	purge(t, db)
	stands(t, c, "done", "gone: the server has purged")
	if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "purged") {
		t.Errorf("Undo = %v, want a refusal that says that the log was purged", err)
	}
	stands(t, c, "done", "gone")
}

// TestMySQLDiesInAnUndo: whenever an undo dies, the next one leaves the table as it was before the change, with what users wrote.
func TestMySQLDiesInAnUndo(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		random := rand.New(rand.NewPCG(seed(t), 78))
		config := byBinlog(dsn, changeling.Config{Lease: 3 * time.Second, Fast: true})
		find := func(ctx context.Context, db *sql.DB, id string) *changeling.Change {
			e, err := changeling.Open(ctx, db, config)
			if err != nil {
				return nil
			}
			c, err := e.Find(ctx, id)
			if err != nil {
				return nil
			}
			return c
		}
		begin := func() string {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS orders, twin`)
			for _, table := range []string{"orders", "twin"} {
				mytest.Exec(t, db, `CREATE TABLE `+table+` `+myOrders)
				fillMy(t, db, table, 200)
			}
			id := made(t, db, myShrink, config).ID()
			alikeMy(t, db, func(table string) string { return `UPDATE ` + table + ` SET amount = amount + 1000 WHERE id < 20` },
				func(table string) string { return `DELETE FROM ` + table + ` WHERE id = 30` },
				func(table string) string { return `UPDATE ` + table + ` SET email = 'moved' WHERE id = 40` })
			return id
		}
		id := begin()
		counted, counter := mytest.Dying(t, dsn, dying.Death{})
		counted.SetMaxOpenConns(20)
		c := find(t.Context(), counted, id)
		before := counter.Count()
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		after := counter.Count()
		points := moments(random, before+1, after, 8)
		for i, p := range points {
			id := begin()
			mortal, death := mytest.Dying(t, dsn, dying.Death{At: p.n, Moment: p.moment})
			mortal.SetMaxOpenConns(20)
			if c := find(t.Context(), mortal, id); c != nil {
				_ = c.Undo(t.Context(), changeling.NoLoss)
			}
			text, _ := death.Died()
			at := fmt.Sprintf("death %s statement %d: %.100s", p.moment, p.n, strings.Join(strings.Fields(text), " "))
			mortal.Close()
			c := find(t.Context(), db, id)
			if s, err := c.Status(t.Context()); i%2 == 1 && err == nil && s.Undo == "under way" && c.Abort(t.Context()) == nil {
				at += ", given up"
				stands(t, c, "done", "open")
			}
			alikeMy(t, db, func(table string) string {
				return `UPDATE ` + table + ` SET amount = amount + 7 WHERE id BETWEEN 10 AND 60`
			})
			if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
				t.Errorf("%s: the second undo: %v", at, err)
				continue
			}
			equalMy(t, db, "orders", "twin", at)
			if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
				t.Errorf("%s: the cleanup: %v, %v", at, dropped, err)
			}
			if left := myTraces(t, db, id); len(left) > 0 {
				t.Errorf("%s: left over: %v", at, left)
			}
		}
		t.Logf("%d points, %d deaths", 2*(after-before), len(points))
	})
}

// TestMySQLUndoTypes: values of many types come back, those that only the old table has and those that the change made coarser, of rows
// that were written for another column's sake.
func TestMySQLUndoTypes(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		columns := []string{"e enum('x','y','it''s')", "s set('a','b','c')", "j json", "b bit(5)", "u bigint unsigned", "d double", "f float", "n decimal(30,10)", "y year", "t time(6)",
			"c char(5)", "v varchar(40) CHARACTER SET latin1", "bin varbinary(20)", "txt text", "g point", "ts timestamp(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6)", "sum int AS (id + 1) STORED"}
		values := `'it''s', 'a,c', '{"a": [1, null]}', b'10101', 18446744073709551615, 0.1, 1.5, 12345678901234567890.0123456789, 2026, '-01:02:03.000004', 'ab', 'ÄÖ', X'00FF61', 'text', ST_GeomFromText('POINT(1 2)'), '2026-03-04 05:06:07.000008'`
		var dropped, kept []string
		for _, c := range columns {
			dropped, kept = append(dropped, "dropped_"+c), append(kept, "kept_"+c)
		}
		ddl := `ALTER TABLE orders MODIFY amount bigint`
		for _, c := range dropped {
			name, _, _ := strings.Cut(c, " ")
			ddl += ", DROP COLUMN " + name
		}
		ddl += ", MODIFY kept_e varchar(20), MODIFY kept_u decimal(20,0), MODIFY kept_n decimal(22,2), MODIFY kept_t time, MODIFY kept_v varchar(40) CHARACTER SET utf8mb4, MODIFY kept_bin blob, MODIFY kept_ts timestamp(2) NULL DEFAULT NULL, MODIFY kept_y int"
		for _, table := range []string{"orders", "twin"} {
			mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, amount int, `+strings.Join(append(slices.Clone(dropped), kept...), ", ")+`)`)
			plain := func(list []string) (names []string) {
				for _, c := range list[:len(list)-1] {
					name, _, _ := strings.Cut(c, " ")
					names = append(names, name)
				}
				return names
			}
			mytest.Exec(t, db, `INSERT INTO `+table+` (id, amount, `+strings.Join(append(plain(dropped), plain(kept)...), ", ")+`) VALUES (1, 1, `+values+`, `+values+`)`,
				`INSERT INTO `+table+` (id) VALUES (2)`, `INSERT INTO `+table+` (id, amount) SELECT 3, 3`)
		}
		c := made(t, db, ddl, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `UPDATE orders SET amount = 10 + id WHERE id < 3`, `INSERT INTO orders (id, amount) VALUES (4, 4)`, `DELETE FROM orders WHERE id = 3`)
		mytest.Exec(t, db, `UPDATE twin SET amount = 10 + id, dropped_ts = dropped_ts, kept_ts = kept_ts WHERE id < 3`, `INSERT INTO twin (id, amount) VALUES (4, 4)`, `DELETE FROM twin WHERE id = 3`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		if got, want := myDefinition(t, db, "orders"), myDefinition(t, db, "twin"); got != want {
			t.Errorf("the table is\n%s\nwant\n%s", got, want)
		}
		for _, c := range append(dropped, kept...) {
			name, _, _ := strings.Cut(c, " ")
			var differing int
			if err := db.QueryRow(`SELECT COUNT(*) FROM twin t LEFT JOIN orders o ON o.id = t.id WHERE o.id IS NULL OR NOT (HEX(o.` + name + `) <=> HEX(t.` + name + `))`).Scan(&differing); err != nil || differing != 0 {
				t.Errorf("%s: %d values differ, %v", name, differing, err)
			}
		}
	})
}

// TestMySQLUndoForeignKeys: the old table gets its foreign keys back, and no child comes in without a parent meanwhile.
func TestMySQLUndoForeignKeys(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		rule := "ON DELETE SET NULL"
		if isMaria(t, db) { // which does not tell of rows that a key changes
			rule = ""
		}
		childMy(t, db, "kids", rule)
		childMy(t, db, "twin", rule)
		c := made(t, db, `ALTER TABLE kids CHANGE v value bigint NOT NULL`, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
		mytest.Exec(t, db, `UPDATE kids SET parent = NULL, a = NULL WHERE id = 300`, `UPDATE twin SET parent = NULL, a = NULL WHERE id = 300`, `DELETE FROM parents WHERE id = 300`, `UPDATE kids SET value = 5 WHERE id = 7`, `UPDATE twin SET v = 5 WHERE id = 7`, `DELETE FROM kids WHERE id = 9`, `DELETE FROM twin WHERE id = 9`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		myAlike(t, db, "kids", "twin")
		var differing int
		if err := db.QueryRow(`SELECT COUNT(*) FROM twin t LEFT JOIN kids k ON k.id = t.id AND k.parent <=> t.parent AND k.a <=> t.a AND k.boss <=> t.boss AND k.v = t.v WHERE k.id IS NULL`).Scan(&differing); err != nil || differing != 0 {
			t.Errorf("%d rows differ, %v", differing, err)
		}
		if _, err := db.Exec(`INSERT INTO kids (parent, boss, v) VALUES (300, 1, -1)`); err == nil {
			t.Error("a child without a parent came in")
		}
		mytest.Exec(t, db, `UPDATE kids SET parent = NULL, a = NULL WHERE id = 600`, `DELETE FROM twin WHERE id = 600`, `DELETE FROM parents WHERE id = 600`) // and nothing refers to it from the table that was undone
		if dropped, err := c.Cleanup(t.Context(), changeling.Now); !dropped || err != nil {
			t.Fatal(dropped, err)
		}
		if left := myTraces(t, db, c.ID()); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
}
