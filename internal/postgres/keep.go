package postgres

import (
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// Kept answers the identity of the old table, 0 where it is gone, and what else is in its schema that does not belong to it.
func Kept(p schema.Pair) string {
	old := "pg_catalog.to_regclass(" + ident.Literal(qualified(p.Old)) + ")"
	return "SELECT coalesce(" + old + "::oid::bigint, 0), coalesce((SELECT pg_catalog.string_agg(c.relname::text, ', ') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace" +
		" WHERE n.nspname OPERATOR(pg_catalog.=) " + ident.Literal(p.Old.Schema) + "::text AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']) AND NOT c.relispartition" +
		" AND c.oid OPERATOR(pg_catalog.<>) coalesce(" + old + "::oid, 0::oid)), '')"
}
