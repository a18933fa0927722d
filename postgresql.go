package changeling

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/changeling-db/changeling/cutover"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// postgresql is the dialect of PostgreSQL.
type postgresql struct {
	kin []uint32 // tables that are swapped together with the one that is planned
}

func (postgresql) supports(ctx context.Context, db *sql.DB) error {
	var version int
	if err := db.QueryRowContext(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return unasked(err)
	}
	if version < 140000 {
		return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("PostgreSQL %d is too old: 14 or later is needed, for scans of block ranges and record digests", version/10000)}
	}
	return nil
}

func (postgresql) Syntax() plan.Syntax { return plan.PostgresSyntax() }

func (d postgresql) Plan(ctx context.Context, db *sql.DB, ddl, id string, wait time.Duration, route plan.Route, undoLog int64) (*plan.Plan, error) {
	return postgres.Plan(ctx, db, ddl, postgres.Options{ID: id, LockWait: wait, Route: route, UndoLog: undoLog, Kin: d.kin})
}

func (postgresql) Stage(ctx context.Context, db *sql.DB, s plan.Statement, id string, wait time.Duration) (*plan.Plan, error) {
	return postgres.Stage(ctx, db, s, postgres.Options{ID: id, LockWait: wait})
}

func (postgresql) Rebuild(ctx context.Context, db *sql.DB, b Rebuild, id string, wait time.Duration) (*plan.Plan, error) {
	return postgres.Rebuild(ctx, db, postgres.Rebuilding{Table: b.name, Tablespace: b.Tablespace, FillFactor: b.FillFactor, OrderBy: b.OrderBy}, postgres.Options{ID: id, LockWait: wait})
}

func (postgresql) Partition(ctx context.Context, db *sql.DB, b Partitioning, id string, wait time.Duration, undoLog int64) (*plan.Plan, error) {
	by, err := postgres.Partitioning{Table: b.name, None: true}, error(nil)
	switch {
	case !b.None:
		by, err = postgres.ParsePartitioning(b.name, postgres.Wanted{By: b.By, Attach: b.Attach, Parts: b.Partitions, Default: b.Default, Count: b.Count})
	case b.By != "" || b.Attach != "" || len(b.Partitions) > 0 || b.Default != "" || b.Count != 0:
		err = &fault.Problem{Kind: fault.Usage, Text: "a table is partitioned by something, or not at all: give --none alone. Nothing was changed"}
	}
	if err != nil {
		return nil, err
	}
	return postgres.Partition(ctx, db, by, postgres.Options{ID: id, LockWait: wait, UndoLog: undoLog})
}

func (postgresql) Expand(ctx context.Context, db *sql.DB, x Expansion, id string, wait time.Duration) (*plan.Plan, error) {
	return postgres.Expand(ctx, db, x.postgres(), postgres.Options{ID: id, LockWait: wait})
}

func (postgresql) Resolve(ctx context.Context, db *sql.DB, n schema.Name) (schema.Name, uint32, error) {
	return postgres.Resolve(ctx, db, n)
}

func (d postgresql) Fingerprint(ctx context.Context, db *sql.DB, _ schema.Name, oid uint32) (string, error) {
	return d.fingerprint(ctx, db, oid, schema.Pair{})
}

func (postgresql) SameTable(a, b string) bool { return a == b }

// fingerprint is that of a table without the columns that a change in place has put there.
func (d postgresql) fingerprint(ctx context.Context, db *sql.DB, oid uint32, p schema.Pair) (string, error) {
	r, err := d.inspect(ctx, db, oid)
	if err != nil {
		return "", err
	}
	return r.FingerprintWithout(p), nil
}

func (d postgresql) sketch(ctx context.Context, db *sql.DB, oid uint32) ([]string, error) {
	r, err := d.inspect(ctx, db, oid)
	if err != nil {
		return nil, err
	}
	return r.Sketch(), nil
}

func (postgresql) inspect(ctx context.Context, db *sql.DB, oid uint32) (*postgres.Relation, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // only reads
	if _, err := tx.ExecContext(ctx, postgres.Session{Application: "changeling"}.SQL()); err != nil {
		return nil, err
	}
	return postgres.Inspect(ctx, tx, oid)
}

func (postgresql) Leaning(ctx context.Context, q state.DB, p schema.Pair) ([]string, error) {
	return postgres.Leaning(ctx, q, p)
}

func (postgresql) State() state.Text { return postgres.StateText() }

func (postgresql) Rows(p schema.Pair) texts {
	rows := postgres.Rows{Pair: p}
	switch {
	case postgres.BothWays(p):
		return postgres.LiveRows{ColumnRows: postgres.ColumnRows{Rows: rows}}
	case p.InPlace:
		return postgres.ColumnRows{Rows: rows}
	}
	return rows
}

func (postgresql) Session(s session) string {
	return postgres.Session{Application: s.Application, LockWait: s.LockWait, Strong: s.Strong, Patient: s.Idle >= long, Path: s.Path, Settings: s.Settings,
		Async: s.Async, ByKey: s.ByKey, ByOrder: s.ByOrder, Memory: s.Memory, Parallel: s.Parallel}.SQL()
}

func (postgresql) As(role string) string {
	if role == "" {
		return postgres.Back
	}
	return postgres.As(role)
}

func (postgresql) Isolation(level sql.IsolationLevel) sql.IsolationLevel { return level }
func (postgresql) Pinned() map[string]string                             { return postgres.Pinned() }

// FastChunk is short: a commit costs next to nothing, because nobody waits for its log on disk, and it wakes the WAL writer. In a long chunk two
// workers fill the buffers of the log, and each waits while the other writes them out: a copy took a third longer in 16 chunks than in 60 or 240.
func (postgresql) FastChunk() time.Duration { return 25 * time.Millisecond }

func (postgresql) Connections() int    { return 6 }
func (postgresql) Transactional() bool { return true }

func (postgresql) Apart(application, path string, fast bool) string {
	return postgres.Apart(application, path, fast)
}

func (postgresql) Abandon(p schema.Pair, wait time.Duration) []plan.Step {
	quiet, triggers, rest := postgres.Abandon(p)
	if p.InPlace {
		quiet, triggers, rest = postgres.AbandonColumns(p)
	}
	var out []plan.Step
	for _, list := range [][]string{quiet, triggers, rest} {
		if len(list) > 0 {
			out = append(out, plan.Step{SQL: list, LockWait: wait})
		}
	}
	return out
}

func (postgresql) Follow(context.Context, *run) (*follower, error) { return nil, nil }

func (postgresql) Cutover(r *run, s plan.Step) cutover.Server {
	if r.pair.InPlace {
		return &columnServer{&server{run: r, step: s, handing: handing{run: r}}}
	}
	own := &server{run: r, step: s, handing: handing{run: r}}
	if len(r.kin) > 0 {
		return newKinServer(own)
	}
	return own
}
