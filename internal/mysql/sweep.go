package mysql

import (
	"context"
	"fmt"
	"regexp"

	"github.com/changeling-db/changeling/internal/state"
)

// A planner that is killed cannot drop the databases of its twin, because DDL commits by itself. The next one does. A twin has no rows, its id
// is no change's, and its planner, while it lives, holds a lock of the twin's name.

// twinLock is the name of that lock.
func twinLock(id string) string { return "changeling twin " + id }

var twinDatabase = regexp.MustCompile(`^changeling_([0-9a-f]{8})(?:_old)?$`)

// sweep drops twins of planners that are gone. What it cannot find out or drop stays: `doctor` names it.
func (w *planner) sweep(ctx context.Context) {
	databases, err := state.Column(ctx, w.conn, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'changeling!_%' ESCAPE '!'")
	if err != nil {
		return
	}
	twins := twinDatabase
	if w.options.Trial { // those of changes come from where the replica's writes do, and their planners live there
		twins = trialTwins
	}
	for _, name := range databases {
		m := twins.FindStringSubmatch(name)
		// A change is saved before its databases are made, so one that was listed is known by now.
		if m != nil && w.unknown(ctx, m[1]) && w.bare(ctx, name) {
			_, _ = w.conn.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quote(name))
		}
	}
}

// unknown says that an id is no change's, and no planner's who lives.
func (w *planner) unknown(ctx context.Context, id string) bool {
	var saved, free bool
	database := "changeling"
	if w.options.Trial {
		database = trialDatabase
	}
	if err := w.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+literal(database)+" AND TABLE_NAME = 'chg')").Scan(&saved); err != nil {
		return false
	}
	if saved {
		if err := w.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+database+".chg WHERE id = "+literal(id)+")").Scan(&saved); err != nil || saved {
			return false
		}
	}
	err := w.conn.QueryRowContext(ctx, "SELECT COALESCE(IS_FREE_LOCK("+literal(twinLock(id))+"), 0)").Scan(&free)
	return err == nil && free
}

// bare says that no table of a database has a row.
func (w *planner) bare(ctx context.Context, database string) bool {
	tables, err := state.Column(ctx, w.conn, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+literal(database))
	if err != nil {
		return false
	}
	for _, table := range tables {
		var rows bool
		if err := w.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT EXISTS (SELECT 1 FROM %s.%s)", quote(database), quote(table))).Scan(&rows); err != nil || rows {
			return false
		}
	}
	return true
}
