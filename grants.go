package changeling

import (
	"context"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
)

// Grants are the statements, to be run by an administrator, that give a role all that a change of a table needs and no more.
// It changes nothing. The table is written as in a statement; on MySQL and MariaDB the role is an account, name or name@host.
func (e *Engine) Grants(ctx context.Context, role, table string) ([]string, error) {
	if role == "" || table == "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: "a role and a table are needed"}
	}
	name, id, err := e.named(ctx, table)
	if err != nil {
		return nil, err
	}
	if !e.dialect.Transactional() {
		return mysql.Grants(name, role), nil
	}
	var list []string
	err = e.pinned(ctx, func(q state.DB) (err error) {
		list, err = postgres.Grants(ctx, q, id, role)
		return err
	})
	return list, err
}
