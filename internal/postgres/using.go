package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// unsteadySQL finds what a view calls that answers anew each time.
const unsteadySQL = `SELECT pg_catalog.string_agg(DISTINCT f.name, ', ') FROM pg_catalog.pg_rewrite w, LATERAL (
  SELECT p.proname || '()' FROM pg_catalog.regexp_matches(w.ev_action::text, ':(?:opfuncid|funcid) ([0-9]+)', 'g') m JOIN pg_catalog.pg_proc p ON p.oid = m[1]::oid
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND (p.provolatile = 'v' OR p.proname IN ('now', 'transaction_timestamp', 'statement_timestamp'))
      OR p.provolatile = 'v' AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
  UNION ALL SELECT 'the time of the statement' WHERE w.ev_action::text ~ 'SQLVALUEFUNCTION :op [0-8] ') f (name)
WHERE w.ev_class = $1::text::regclass`

// unsteady says which USING comes to another value each time: the copy, a repair and the comparison compute it anew. What a user's own function
// says of itself is not counted, because a function is volatile until somebody says otherwise.
func (w *planner) unsteady(ctx context.Context, r *rehearsal) (why string, err error) {
	probe := ident.Qualified(r.in(), "unsteady")
	for _, c := range w.statement.Clauses {
		if c.Action != plan.AlterType || c.Using == "" || why != "" {
			continue
		}
		var names sql.NullString
		if _, err := w.tx.ExecContext(ctx, "SAVEPOINT unsteady; "+theirs(r.path, r.settings)); err != nil {
			return "", err
		}
		// A view cannot have each expression that a USING can; what it cannot have is found by the comparison.
		_, err := w.tx.ExecContext(ctx, "CREATE VIEW "+probe+" AS SELECT ("+c.Using+") AS v FROM "+qualified(w.plan.Table))
		if err == nil {
			_, err = w.tx.ExecContext(ctx, Ours()) // so that operators are the server's
		}
		if err == nil {
			err = w.tx.QueryRowContext(ctx, unsteadySQL, probe).Scan(&names)
		}
		if fault.Lost(err) || fault.Canceled(err) {
			return "", err
		}
		if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO unsteady"); err != nil {
			return "", err
		}
		if names.Valid {
			why = fmt.Sprintf("the USING of column %s comes to another value each time it is computed (%s), so a copy could not be compared: ADD a COLUMN with that as its DEFAULT instead, "+
				"which is done in batches, and give it the old one's name afterwards", c.Column, names.String)
		}
	}
	return why, nil
}

// keyExpression checks that a conversion of a key column can be computed from the key alone, which is all that the log has.
func (w *planner) keyExpression(r *rehearsal, p schema.Pair, k schema.Key) error {
	ctx := context.Background()
	rows := Rows{Pair: p}
	var nulls []string
	for _, k := range p.Key {
		nulls = append(nulls, "NULL::"+k.Type+" AS "+ident.Quote(k.Source))
	}
	if _, err := w.tx.ExecContext(ctx, theirs(r.path, r.settings)); err != nil {
		return err
	}
	if _, err := w.tx.ExecContext(ctx, "SELECT * FROM "+rows.converted("(SELECT "+strings.Join(nulls, ", ")+")")+" c LIMIT 0"); err != nil {
		return fmt.Errorf("the USING of key column %s needs more than the key's own columns (%s): the rows of both tables could then not be matched", k.Source, fault.Message(err))
	}
	return nil
}
