package changeling

import (
	"context"
	"fmt"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/plan"
)

// Grants are the statements, to be run by an administrator, that give a role all that a change of a table needs and no more.
// It changes nothing. The table is written as in a statement; on MySQL and MariaDB the role is an account, name or name@host.
func (e *Engine) Grants(ctx context.Context, role, table string) ([]string, error) {
	if role == "" || table == "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: "a role and a table are needed"}
	}
	s, err := plan.Parse("ALTER TABLE "+table+" ADD x int", e.dialect.Syntax())
	if err != nil || s.Table.Table == "" || len(s.Clauses) != 1 {
		return nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%q is no name of a table: write it as in a statement, such as orders or app.orders", table)}
	}
	name, id, err := e.dialect.Resolve(ctx, e.db, s.Table)
	if missing(err) {
		return nil, &fault.Problem{Kind: fault.Usage, Err: err, Text: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	if !e.dialect.Transactional() {
		return mysql.Grants(name, role), nil
	}
	return postgres.Grants(ctx, e.db, id, role)
}
