package mysql

import (
	"context"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// StatementsCounted answers whether the server counts statements by their text, and had room for all of them: the others it counts as one without a text.
const StatementsCounted = `SELECT @@performance_schema AND EXISTS (SELECT 1 FROM performance_schema.setup_consumers WHERE name = 'statements_digest' AND enabled = 'YES')
AND NOT EXISTS (SELECT 1 FROM performance_schema.events_statements_summary_by_digest WHERE DIGEST IS NULL AND COUNT_STAR > 0)`

// StatementsSaying are statements that name a live pair's old column: nothing by whom, the text, how often. The server keeps the names that
// stand in a statement in backticks, and no constants. What says SELECT * names nothing.
func StatementsSaying(p schema.Pair) string {
	has := func(name string) string { return "LOCATE(" + literal(quote(name)) + ", DIGEST_TEXT) > 0" }
	return "SELECT COALESCE(SCHEMA_NAME, ''), DIGEST_TEXT, COUNT_STAR FROM performance_schema.events_statements_summary_by_digest WHERE " + has(p.Source.Table) + " AND " + has(p.Columns[0].Source) +
		" AND (SCHEMA_NAME = " + literal(p.Source.Schema) + " OR " + has(p.Source.Schema) + ")" +
		" AND LOCATE('changeling', DIGEST_TEXT) = 0 AND DIGEST_TEXT REGEXP '^(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|LOAD|CALL)' AND COUNT_STAR > 0 ORDER BY LAST_SEEN DESC LIMIT 20"
}

// Leaning are a live pair's old column, and what of others would change one of the two behind the triggers' back, goes with the second one, or
// breaks in the end; of two types, also what indexes the old one. Others may alter the table while both columns are in use, for weeks. Of a
// pair that is swapped at once it is all of the definition.
func Leaning(ctx context.Context, q DB, p schema.Pair) ([]string, error) {
	create, err := showCreate(ctx, q, p.Source)
	if err != nil {
		return nil, err
	}
	m := p.Columns[0]
	var out []string
	for _, part := range parts(create) {
		own := strings.HasPrefix(part.Text, quote(m.Shadow)+" ") || strings.HasPrefix(part.Text, quote(flag(p))+" ") || part.Index && slices.Contains(p.Indexes, part.Name)
		if !p.Live && !own || p.Live && (!(part.Index && Mirrors(p)) && strings.Contains(part.Text, quote(m.Source)) || !own && strings.Contains(part.Text, quote(m.Shadow))) {
			out = append(out, part.Text)
		}
	}
	triggers, err := userTriggers(ctx, q, p.Source)
	for _, t := range triggers {
		if mentions(t.body, m.Source) || mentions(t.body, m.Shadow) {
			out = append(out, "trigger "+t.name+": "+t.body)
		}
	}
	slices.Sort(out)
	return out, err
}
