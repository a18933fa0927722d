package postgres

import (
	"regexp"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// StatementsIn finds the schema of pg_stat_statements, in no row where it is not there.
const StatementsIn = `SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace WHERE e.extname OPERATOR(pg_catalog.=) 'pg_stat_statements'`

// SessionsSaying lists sessions whose last statement has the names of a pair's table and of its old column in it: who, the statement, and zero.
func SessionsSaying(p schema.Pair) string {
	return `SELECT a.application_name OPERATOR(pg_catalog.||) ' (' OPERATOR(pg_catalog.||) a.usename::text OPERATOR(pg_catalog.||) ')', pg_catalog.max(pg_catalog."left"(a.query, 200)), 0::bigint FROM pg_catalog.pg_stat_activity a
WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND a.backend_type OPERATOR(pg_catalog.=) 'client backend'
  AND NOT pg_catalog.starts_with(a.application_name, 'changeling') AND ` + says("a.query", p) + ` GROUP BY 1 ORDER BY 1 LIMIT 5`
}

// StatementsSaying lists statements of this database that do, with how often they were run since the counts were reset.
func StatementsSaying(p schema.Pair, in string) string {
	return `SELECT coalesce(pg_catalog.max(r.rolname::text), ''), pg_catalog."left"(s.query, 200), pg_catalog.sum(s.calls)::bigint FROM ` + ident.Qualified(in, "pg_stat_statements") + ` s LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.userid
WHERE s.dbid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
  AND s.query OPERATOR(pg_catalog.!~*) '^\s*(ALTER|CREATE|COMMENT|DO|DROP|LOCK)\M' AND s.query OPERATOR(pg_catalog.!~) ` + ident.Literal("changeling_"+p.Change) + ` AND ` + says("s.query", p) + `
GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT 5`
}

// says is a condition: a text has both names in it, as words.
func says(text string, p schema.Pair) string {
	word := func(name string) string {
		return text + " OPERATOR(pg_catalog.~*) " + ident.Literal(`(^|\W)`+regexp.QuoteMeta(name)+`($|\W)`)
	}
	return word(p.Source.Table) + " AND " + word(p.Columns[0].Source)
}
