package changeling

import (
	"context"
	"database/sql"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// carried gives the user's triggers their names on the new table, under the lock of the swap. It cannot fail: the tables are
// swapped, and stand-ins do what the triggers would. What is left is done by the next step.
func (r *run) carried(ctx context.Context, conn *sql.Conn) {
	left, err := r.unsettled(ctx)
	for _, text := range left {
		if err == nil {
			_, err = conn.ExecContext(ctx, text)
		}
	}
	if err != nil {
		r.uncarried(err)
	}
}

// uncarried tells why triggers have not got their names yet.
func (r *run) uncarried(err error) {
	r.engine.config.Events(event.Retried{Step: string(plan.Cutover), What: "triggers", Attempt: 1, Err: err})
}

// unsettled is what is left to be done until the triggers have their names.
func (r *run) unsettled(ctx context.Context) ([]string, error) {
	if len(r.pair.Triggers) == 0 {
		return nil, nil
	}
	rows, err := r.engine.db.QueryContext(ctx, mysql.TriggerTables(r.pair))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	on := map[string]string{}
	for rows.Next() {
		var name, table string
		if err := rows.Scan(&name, &table); err != nil {
			return nil, err
		}
		on[name] = table
	}
	return mysql.Settle(r.pair, on), rows.Err()
}

// settle does what a run that swapped did not come to: triggers get their names, and the old table loses its foreign keys. It
// may run twice.
func (r *run) settle(ctx context.Context, t *tx) error {
	if err := r.rejoined(ctx, t); err != nil {
		return err
	}
	if len(r.pair.Foreign) > 0 {
		for _, asked := range []string{mysql.Related(r.pair), mysql.Misnamed(r.pair)} {
			left, err := mysql.Texts(ctx, r.engine.db, asked)
			if err == nil && len(left) > 0 {
				err = r.each(ctx, t, plan.Step{SQL: left, LockWait: r.engine.config.LockWait})
			}
			if err != nil {
				return err
			}
		}
	}
	return r.settleTriggers(ctx, t)
}

// settleTriggers is carried once more. It may run twice.
func (r *run) settleTriggers(ctx context.Context, t *tx) error {
	left, err := r.unsettled(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	wait := r.engine.config.LockWait
	conn, _, err := r.beside(ctx, t, plan.Step{LockWait: wait})
	if err != nil {
		return err
	}
	defer discard(conn) // and its locks
	if d, ok := r.engine.dialect.(mysqld); ok && d.maria {
		err = r.lockSwapped(ctx, conn)
	} else {
		err = r.bounded(ctx, conn, wait, mysql.LockSwapped(r.pair))
	}
	if err != nil {
		return err
	}
	for _, text := range left {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "UNLOCK TABLES")
	return err
}
