package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Rebuilding says what is to be different about a table that is written anew. The zero values keep what is.
type Rebuilding struct {
	Table      schema.Name
	Tablespace string // where the table goes; its indexes stay where they are
	FillFactor int    // in percent
	OrderBy    string // the index in whose order the rows are written; it must be a key of the table
}

// noChange stands for a statement that leaves the definition as it is.
const noChange = "SELECT"

// clauses are what is different, as ALTER TABLE says it.
func (b Rebuilding) clauses() []string {
	var out []string
	if b.Tablespace != "" {
		out = append(out, "SET TABLESPACE "+ident.Quote(b.Tablespace))
	}
	if b.FillFactor != 0 {
		out = append(out, fmt.Sprintf("SET (fillfactor = %d)", b.FillFactor))
	}
	if b.OrderBy != "" {
		out = append(out, "CLUSTER ON "+ident.Quote(b.OrderBy))
	}
	return out
}

// said is the statement of the server's own that comes to the same, for a person.
func (b Rebuilding) said() string {
	table, clauses := qualified(b.Table), b.clauses()
	switch {
	case len(clauses) == 0:
		return "VACUUM FULL " + table
	case len(clauses) == 1 && b.OrderBy != "":
		return "CLUSTER " + table + " USING " + ident.Quote(b.OrderBy)
	}
	return "ALTER TABLE " + table + " " + strings.Join(clauses, ", ")
}

// Rebuild plans a second table of the same definition that takes the place of the first: what VACUUM FULL and CLUSTER do while
// nobody can use the table. It changes nothing. Errors carry a fault.Kind.
func Rebuild(ctx context.Context, db *sql.DB, b Rebuilding, o Options) (*plan.Plan, error) {
	s, err := plan.Parse(strings.TrimSpace("ALTER TABLE "+qualified(b.Table)+" "+strings.Join(b.clauses(), ", ")), plan.PostgresSyntax())
	if err != nil {
		return nil, &fault.Problem{Kind: fault.Usage, Text: err.Error() + ". Nothing was changed", Err: err}
	}
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: b.said(), Table: b.Table, Effect: string(Rewrites)}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // a rehearsal leaves nothing behind, however it ends
	w := &planner{tx: tx, statement: s, options: o, plan: p, others: map[schema.Name]*Relation{}}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	source, err := w.altered(ctx)
	if err != nil {
		return nil, err
	}
	rehearse := func() (r *rehearsal, why []string, err error) {
		r, err = w.rehearse(ctx, source)
		return r, nil, err
	}
	refusals, err := w.refusals(ctx, source)
	if source.Kind == "p" {
		w.statement.Clauses = nil // the server marks no partitioned table to be clustered
		refusals, err = w.keep(ctx, source)
		rehearse = func() (*rehearsal, []string, error) {
			each := b
			each.OrderBy = ""
			w.kept.each = each.clauses()
			return w.keptParts(ctx, source)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(refusals) > 0 {
		return refuse(p, refusals...), nil
	}
	r, refusals, err := rehearse()
	if err != nil {
		return nil, err
	}
	if len(refusals) > 0 {
		return refuse(p, refusals...), nil
	}
	r.order = b.OrderBy
	if _, err := w.shadowTable(ctx, r); err != nil {
		return nil, err
	}
	if p.Route == plan.ShadowTable {
		p.Why = "asked for: the rows go to a second table of the same definition that takes this one's place, as VACUUM FULL does it while nobody can use the table"
	}
	return p, nil
}

// refusals are all reasons against a second table.
func (w *planner) refusals(ctx context.Context, source *Relation) ([]string, error) {
	if why := untouchable(source); len(why) > 0 {
		return why, nil
	}
	missing, err := w.ownersRights(ctx, source.OID)
	if err != nil {
		return nil, err
	}
	return slices.Concat(unsupported(source, w.statement), w.viewsOfKin(source), w.withheld(source, missing)), nil
}

// withheld says which privileges the owner needs and took from himself.
func (w *planner) withheld(source *Relation, missing []string) []string {
	var out []string
	for _, privilege := range missing {
		out = append(out, fmt.Sprintf("the owner of %s, %s, took the privilege %s on it from himself, and it is he who moves the rows: GRANT %s ON %s TO %s first",
			w.plan.Table, source.Owner, privilege, privilege, qualified(w.plan.Table), ident.Quote(source.Owner)))
	}
	return out
}
