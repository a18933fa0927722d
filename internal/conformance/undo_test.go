package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestTwinUndo makes and undoes the change of each shape, and compares with a database in which nothing was done: dump, catalogue, rows
// and the next values of all sequences. In between each row is written, where that leaves it what it is.
func TestTwinUndo(t *testing.T) {
	major := pgtest.Majors(t)[0]
	admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
	pgtest.Exec(t, admin, roles)
	if major >= 15 {
		spare(t, admin)
	}
	var undone, oneWay, lossy atomic.Int64
	t.Run("shapes", func(t *testing.T) {
		for i, s := range shapes(t) {
			if s.Since > major || s.Until != 0 && s.Until < major || s.Refused+s.Usage+s.Data != "" || s.Direct || s.Recipe {
				continue
			}
			if os.Getenv("CHANGELING_FULL") == "" && s.File != "families" && i%10 != int(time.Now().Unix()/86400%10) {
				continue // another tenth each day
			}
			t.Run(s.File+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				switch err := s.undo(t, major, i%2 == 0); {
				case err == nil:
					undone.Add(1)
				case errors.Is(err, changeling.ErrData):
					lossy.Add(1)
					t.Log(err)
				case errors.Is(err, changeling.ErrRefused):
					oneWay.Add(1)
					t.Log(err)
				default:
					t.Error(err)
				}
			})
		}
	})
	t.Logf("%d undone, %d that have no way back, %d whose values do not come back", undone.Load(), oneWay.Load(), lossy.Load())
	if undone.Load() == 0 {
		t.Error("nothing was undone")
	}
}

func (s shape) undo(t *testing.T, major int, touch bool) error {
	engine, native := s.twin(t, major), s.twin(t, major)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	e, err := changeling.Open(ctx, engine.runner, changeling.Config{Fast: true, WithChildren: s.Children, Events: func(e event.Event) { t.Logf("%T %+v", e, e) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.Start(ctx, s.Alter)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		t.Fatalf("the change itself: %v", err)
	}
	if touch {
		p := c.Plan().Pair
		if err := engine.exec(t, fmt.Sprintf(`UPDATE %q.%q SET %q = %q`, p.Source.Schema, p.Source.Table, p.Key[0].Shadow, p.Key[0].Shadow)); err != nil && !strings.Contains(err.Error(), "428C9") {
			t.Log("not written: ", err)
		}
	}
	if err := c.Undo(ctx, changeling.NoLoss); err != nil {
		return err
	}
	all, err := e.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all { // those of a family are several
		c, err := e.Find(ctx, one.ID)
		if err != nil {
			t.Fatal(err)
		}
		if dropped, err := c.Cleanup(ctx, changeling.Now); !dropped || err != nil {
			t.Errorf("Cleanup = %v, %v", dropped, err)
		}
	}
	alike(t, s, native, engine, "- before, + after")
	return nil
}

// undo makes a change and takes it back, if it has a second table.
func undo(ctx context.Context, t *testing.T, db *sql.DB, alter string) {
	t.Helper()
	e, err := changeling.Open(ctx, db, changeling.Config{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Plan(ctx, alter)
	if err != nil || p.Undo == nil {
		return
	}
	c, err := e.StartPlan(ctx, p)
	if err == nil {
		err = c.Run(ctx)
	}
	if err == nil {
		key := p.Pair.Key[0].Shadow
		_, err = db.ExecContext(ctx, "UPDATE "+pgx.Identifier{p.Table.Schema, p.Table.Table}.Sanitize()+" SET "+pgx.Identifier{key}.Sanitize()+" = "+pgx.Identifier{key}.Sanitize())
	}
	if err == nil {
		err = c.Undo(ctx, changeling.NoLoss)
	}
	if err == nil {
		_, err = c.Cleanup(ctx, changeling.Now)
	}
	if err != nil {
		t.Errorf("there and back again: %v\n%s", err, alter)
	}
}
