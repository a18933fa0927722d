package postgres

import (
	"context"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/state"
)

// Grants are the statements that give a role all that a change of a table needs, and no more. A change acts as the owners of
// the table and of those that foreign keys tie to it; in their schemas the new table has to be made.
func Grants(ctx context.Context, q state.DB, table uint32, role string) ([]string, error) {
	rows, err := q.QueryContext(ctx, `SELECT DISTINCT pg_catalog.current_database(), pg_catalog.pg_get_userbyid(c.relowner), n.nspname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1::oid OR c.oid IN (SELECT confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid = $1::oid
  UNION ALL SELECT conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = $1::oid) ORDER BY 2, 3`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var database, owner, in string
		if err := rows.Scan(&database, &owner, &in); err != nil {
			return nil, err
		}
		if out == nil {
			out = append(out, "GRANT CONNECT, CREATE ON DATABASE "+ident.Quote(database)+" TO "+ident.Quote(role), "GRANT pg_read_all_stats TO "+ident.Quote(role))
		}
		if owner != role {
			out = append(out, "GRANT "+ident.Quote(owner)+" TO "+ident.Quote(role))
		}
		out = append(out, "GRANT USAGE, CREATE ON SCHEMA "+ident.Quote(in)+" TO "+ident.Quote(owner))
	}
	return out, rows.Err()
}
