package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/changeling-db/changeling/schema"
)

// Queryer is what inspection needs of a connection or a transaction.
type Queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ErrNoTable says that the name does not resolve.
type ErrNoTable struct{ Name schema.Name }

func (e ErrNoTable) Error() string {
	return fmt.Sprintf("table %s does not exist, or is not in the search_path: check the name and the database; nothing was changed", e.Name)
}

// Resolve finds a table by the name that a statement gives, as the server would with this connection's search_path. So it runs
// under that path, and all that it calls is qualified.
func Resolve(ctx context.Context, q Queryer, name schema.Name) (schema.Name, uint32, error) {
	var found schema.Name
	var oid uint32
	err := q.QueryRowContext(ctx, `
SELECT n.nspname, c.relname, c.oid
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.=) $2::text AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f', 'i', 'S'])
  AND CASE WHEN $1::text OPERATOR(pg_catalog.=) '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname OPERATOR(pg_catalog.=) $1::text END`,
		name.Schema, name.Table).Scan(&found.Schema, &found.Table, &oid)
	if err == sql.ErrNoRows {
		return found, 0, ErrNoTable{name}
	}
	return found, oid, err
}

// Inspect reads everything about one table in one statement, so in one snapshot.
// It runs inside a transaction whose search_path is pg_catalog: only then is every name in a definition qualified.
func Inspect(ctx context.Context, q Queryer, oid uint32) (*Relation, error) {
	var version int
	var partitioned, kept bool
	if err := q.QueryRowContext(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('plan_cache_mode') OPERATOR(pg_catalog.=) 'force_generic_plan',
  EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1::bigint::oid AND relkind OPERATOR(pg_catalog.=) 'p')`, int64(oid)).Scan(&version, &kept, &partitioned); err != nil {
		return nil, err
	}
	query, args := catalogueSQL(version, partitioned, fmt.Sprintf("'%d'::oid", oid)), []any(nil)
	if kept {
		query, args = catalogueSQL(version, partitioned, "$1::bigint::oid"), []any{int64(oid)}
	}
	var text string
	if err := q.QueryRowContext(ctx, query, args...).Scan(&text); err != nil {
		return nil, err
	}
	var c catalogue
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("catalogue of table %d: %w", oid, err)
	}
	r := c.relation(oid)
	if r == nil {
		return nil, ErrNoTable{schema.Name{Table: fmt.Sprintf("with oid %d", oid)}}
	}
	return r, nil
}
