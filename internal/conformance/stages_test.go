package conformance

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

// TestTwinStages drops the table of each shape in stages, and renames it under a view, and takes both back: the database is as it was. What
// the server would not drop is refused, and what is refused for that reason the server would not drop.
func TestTwinStages(t *testing.T) {
	major := pgtest.Majors(t)[0]
	admin := pgtest.Open(t, pgtest.Server(t, major).DSN("postgres"))
	pgtest.Exec(t, admin, roles)
	if major >= 15 {
		spare(t, admin)
	}
	var back, refused atomic.Int64
	t.Run("shapes", func(t *testing.T) {
		for i, s := range shapes(t) {
			if s.Since > major || s.Until != 0 && s.Until < major {
				continue
			}
			if os.Getenv("CHANGELING_FULL") == "" && i%12 != int(time.Now().Unix()/86400%12) {
				continue // another part each day
			}
			parsed, err := plan.Parse(s.Alter, plan.PostgresSyntax())
			if err != nil || parsed.Table.Table == "" {
				continue // its statement is about no table
			}
			t.Run(s.File+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				name := pgx.Identifier{parsed.Table.Table}
				if parsed.Table.Schema != "" {
					name = pgx.Identifier{parsed.Table.Schema, parsed.Table.Table}
				}
				if s.stage(t, major, "DROP TABLE "+name.Sanitize(), changeling.Config{Fast: true, DropAfter: time.Hour}) {
					back.Add(1)
				} else {
					refused.Add(1)
				}
				s.stage(t, major, "ALTER TABLE "+name.Sanitize()+` RENAME TO "another name"`, changeling.Config{Fast: true, Cover: true})
			})
		}
	})
	t.Logf("%d tables came back, %d are refused", back.Load(), refused.Load())
	if back.Load() == 0 {
		t.Error("no table came back")
	}
}

// stage makes a change in stages and takes it back; false: it is refused.
func (s shape) stage(t *testing.T, major int, statement string, config changeling.Config) bool {
	t.Helper()
	engine, native := s.twin(t, major), s.twin(t, major)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var serverSays error
	if err := native.alone(t, native.runner, func(c *sql.Conn) error {
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, serverSays = tx.ExecContext(ctx, statement)
		return tx.Rollback()
	}); err != nil {
		t.Fatal(err)
	}
	e, err := changeling.Open(ctx, engine.runner, config)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Plan(ctx, statement)
	if err != nil && serverSays != nil {
		return false
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	because := "because of what depends on it"
	if (fault.Code(serverSays) == "2BP01") != (p.Route == plan.Refuse && strings.Contains(strings.Join(p.Refusals, " "), because)) && !strings.Contains(strings.Join(p.Refusals, " "), "part") {
		t.Errorf("%s: the server says %v, the plan %q", statement, serverSays, p.Refusals)
	}
	if p.Route == plan.Refuse {
		return false
	}
	c, err := e.StartPlan(ctx, p)
	if err == nil {
		err = c.Run(ctx)
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if err := c.Undo(ctx, changeling.NoLoss); err != nil {
		if errors.Is(err, changeling.ErrData) {
			t.Log(err)
			return true
		}
		t.Fatalf("the undo of %s: %v", statement, err)
	}
	alike(t, s, native, engine, "- before, + after "+statement+" and back")
	return true
}
