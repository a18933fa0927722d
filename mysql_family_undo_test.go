package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLFamilyUndo: a family is swapped, and swapped back by one RENAME, while users write to all of its tables. No statement fails, nothing is
// lost, no orphan comes in, and the definitions are what they were.
func TestMySQLFamilyUndo(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, kinMy("int")...)
		was := mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, was, kinMy("int")...)
		c := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}), widenFamilyMy)
		stop := relativesUsersMy(t, db)
		defer stop()
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "done", "open")
		asUsersMy(t, db, 1)
		select {
		case <-t.Context().Done():
		case <-time.After(time.Second): // of writes to the new tables
		}
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		stop()
		stands(t, c, "undone", "")
		relativesAlikeMy(t, db, was)
		if got, want := shownMy(t, db, "tags"), shownMy(t, was, "tags"); got != want {
			t.Errorf("a child outside of the family is\n%s\nwant\n%s", got, want)
		}
		sameMy(t, db, `SELECT COUNT(*) FROM orders WHERE customer < 1000 AND (depot IS NULL) = (customer % 9 = 0)`, `SELECT 300`)
		asUsersMy(t, db, 9)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Errorf("undone twice: %v", err)
		}
	})
}

// TestMySQLFamilyUndoRefused: a key that the old tables cannot have keeps all tables as they are, and the undo can be said again when it is gone. No table
// is undone alone, and none by leaving out rows.
func TestMySQLFamilyUndoRefused(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, relativesMy("int")...)
		was, wide := mytest.Open(t, mytest.Database(t, "mysql9.7")), mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, was, relativesMy("int")...)
		mytest.Exec(t, wide, relativesMy("bigint unsigned")...)
		c := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}), widenFamilyMy)
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := []string{`INSERT INTO customers (id, boss) VALUES (5000000000, 1)`, `INSERT INTO orders (customer, no, note) VALUES (5000000000, 1, 'wide')`, `INSERT INTO items (customer, no) VALUES (5000000000, 1)`}
		mytest.Exec(t, db, late...)
		mytest.Exec(t, wide, late...)
		if err := c.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrData) {
			t.Fatalf("an undo with a key that does not fit: %v", err)
		}
		stands(t, c, "done", "open")
		asBeforeMy(t, db, wide, nil)
		if err := c.Undo(t.Context(), changeling.LossAllowed); !errors.Is(err, changeling.ErrRefused) {
			t.Errorf("an undo that leaves rows out: %v", err)
		}
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := changeling.Open(t.Context(), db, changeling.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for _, m := range s.Members {
			member, err := e.Find(t.Context(), m.Change)
			if err != nil {
				t.Fatal(err)
			}
			if err := member.Undo(t.Context(), changeling.NoLoss); !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("%s alone: %v", m.Table, err)
			}
		}
		mytest.Exec(t, db, `DELETE FROM customers WHERE id = 5000000000`)
		if err := c.Undo(t.Context(), changeling.NoLoss); err != nil {
			t.Fatal(err)
		}
		stands(t, c, "undone", "")
		asBeforeMy(t, db, was, nil)
	})
}

// undoneBy undoes a change over a pool.
func undoneBy(t *testing.T, pool *sql.DB, dsn, id string) error {
	t.Helper()
	e, err := changeling.Open(t.Context(), pool, byBinlog(dsn, changeling.Config{Fast: true, Events: event.Lines(t.Output())}))
	if err != nil {
		return err
	}
	defer e.Close()
	c, err := e.Find(t.Context(), id)
	if err != nil {
		return err
	}
	return c.Undo(t.Context(), changeling.NoLoss)
}

// TestMySQLFamilyUndoDies: whatever statement an undo dies at, the tables are all old or all new, and the same command goes on.
func TestMySQLFamilyUndoDies(t *testing.T) {
	t.Parallel()
	onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
		was := mytest.Open(t, mytest.Database(t, "mysql9.7"))
		mytest.Exec(t, was, relativesMy("int")...)
		mytest.Exec(t, was, lateMy(1)...)
		var id string
		begin := func() {
			mytest.Exec(t, db, `DROP TABLE IF EXISTS items, orders, customers`)
			mytest.Exec(t, db, relativesMy("int")...)
			c := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true}), widenFamilyMy)
			if err := c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			id = c.ID()
		}
		act := func(db *sql.DB) error { return undoneBy(t, db, dsn, id) }
		between := func() {
			oneTypeMy(t, db)
			mytest.Exec(t, db, lateMy(1)...)
		}
		diesMy(t, dsn, db, 72, begin, act, between, func(at string) {
			asBeforeMy(t, db, was, nil)
		})
	})
}

// TestMySQLFamilyUndoDisturbed: what somebody does to one of the tables before an undo, or right before its swap. Where the undo cannot go on, all tables
// stay the new ones.
func TestMySQLFamilyUndoDisturbed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, act, says string // says is empty where it goes on
		early           bool
	}{
		{"a trigger", `CREATE TRIGGER x BEFORE INSERT ON items FOR EACH ROW SET NEW.no = 1`, "has triggers by now", true},
		{"an altered member", `ALTER TABLE orders ADD COLUMN extra int`, "altered", false},
		{"a child of a member", `CREATE TABLE late (id int PRIMARY KEY, customer bigint unsigned, no int, FOREIGN KEY (customer, no) REFERENCES orders (customer, no))`, "refer to", false},
		{"a truncated member", `TRUNCATE TABLE items`, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			onlyMySQL(t, func(t *testing.T, dsn string, db *sql.DB) {
				mytest.Exec(t, db, relativesMy("int")...)
				change := begun(t, db, byBinlog(dsn, changeling.Config{Fast: true}), widenFamilyMy)
				if err := change.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				typ := "bigint unsigned"
				if c.says == "" {
					typ = "int"
				}
				native := mytest.Open(t, mytest.Database(t, "mysql9.7"))
				mytest.Exec(t, native, append(relativesMy(typ), strings.ReplaceAll(c.act, "bigint unsigned", typ))...)
				if c.early {
					mytest.Exec(t, db, c.act)
				}
				var once sync.Once
				pool := mytest.Mutant(t, dsn, func(ctx context.Context, x mutant.Statement) string {
					if lockedKinMy(x.Text) && !c.early {
						once.Do(func() {
							if _, err := db.ExecContext(ctx, c.act); err != nil {
								t.Error(err)
							}
						})
					}
					return x.Text
				})
				pool.SetMaxOpenConns(30)
				err := undoneBy(t, pool, dsn, change.ID())
				asBeforeMy(t, db, native, nil)
				if c.says == "" {
					if err != nil {
						t.Error(err)
					}
					stands(t, change, "undone", "")
					return
				}
				if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("the undo ended with %v, want a refusal that says %q", err, c.says)
				}
				if s, err := change.Status(t.Context()); err != nil || s.Status != "done" || s.Members[0].Status != "done" || s.Members[1].Status != "done" {
					t.Errorf("the change is %+v, %v", s, err)
				}
				if !c.early {
					return
				}
				mytest.Exec(t, db, `DROP TRIGGER x`)
				if err := undoneBy(t, pool, dsn, change.ID()); err != nil {
					t.Error(err)
				}
				oneTypeMy(t, db)
			})
		})
	}
}
