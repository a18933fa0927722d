package changeling

import (
	"context"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// This file is for foreign keys of other tables on MySQL, see internal/mysql/children.go.

// childless refuses foreign keys of other tables that came to refer to the source, or were changed, since the plan was made: a rename would
// take them along with the old table.
func (a *renaming) childless(ctx context.Context) error {
	var changed []string
	var err error
	if len(a.pair.Children) > 0 {
		if changed, err = mysql.Strangers(ctx, a.conn, a.pair); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		changed, err = mysql.Texts(ctx, a.conn, a.texts.Referring())
		if fault.Denied(err) {
			return nil // the plan named those that there were
		}
	}
	if err != nil || len(changed) == 0 {
		return err
	}
	return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("foreign keys of other tables that refer to %s are not what they were when the change was planned (%s), and would be lost, or refer to the old table, after the swap. "+
		"Nothing was swapped, and nothing is lost: make them as they were and run the same command again, or `changeling abort %s` and begin again", a.table(), strings.Join(changed, ", "), a.id)}
}

// rejoined is rejoin with a connection of its own.
func (r *run) rejoined(ctx context.Context, t *tx) error {
	if len(r.pair.Children) == 0 {
		return nil
	}
	conn, release, err := r.beside(ctx, t, plan.Step{LockWait: r.engine.config.LockWait})
	if err != nil {
		return err
	}
	defer release()
	return r.rejoin(ctx, conn)
}

// rejoin gives children the keys that they lack since the server crashed under a swap, and says which rows came meanwhile that refer to
// nothing. It may run twice. The connection has foreign_key_checks off.
func (r *run) rejoin(ctx context.Context, conn state.DB) error {
	if len(r.pair.Children) == 0 {
		return nil
	}
	var led, swapped bool
	err := conn.QueryRowContext(ctx, mysql.Led(r.pair)).Scan(&led)
	if fault.Undefined(err) || err == nil && !led {
		return nil
	}
	if err == nil {
		err = conn.QueryRowContext(ctx, mysql.Swapped(r.pair)).Scan(&swapped)
	}
	if err != nil {
		return err
	}
	missing, err := mysql.Rejoin(ctx, conn, r.pair, swapped)
	if err != nil {
		return err
	}
	for _, k := range missing {
		said := fmt.Sprintf("the server crashed under the swap of change %s: the foreign key %s of %s was made again", r.id, k.Name, k.Table)
		if swapped {
			rows, err := mysql.Texts(ctx, conn, mysql.Astray(r.pair, k))
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				said += ", and rows that came meanwhile refer to nothing, the first of them to " + strings.Join(rows, ", ")
			}
		}
		r.engine.config.Events(event.Notice{Text: said})
		if err := r.engine.store.Exec(ctx, r.engine.db, r.engine.store.Text.Remark, r.id, said); err != nil {
			return err
		}
	}
	return nil
}
