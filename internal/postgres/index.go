package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
)

// createIndex plans CREATE INDEX, which keeps everybody from writing, as a build that does not. The index gets its name last:
// what has it is valid.
func (w *planner) createIndex(ctx context.Context) (*plan.Plan, error) {
	source, err := w.altered(ctx)
	if err != nil {
		return nil, err
	}
	w.plan.Effect = string(Scans)
	if w.options.Route == plan.Direct && !w.statement.Concurrently {
		return w.asItIs(ctx, "asked for: nobody can write while the server builds the index", "SHARE")
	}
	if source.Kind == "p" && w.statement.Only {
		w.plan.Effect = string(AtOnce)
		return w.asItIs(ctx, "an index of a partitioned table alone is no more than an entry in the catalogue", "SHARE")
	}
	if source.Kind != "m" && source.Kind != "p" {
		if why := untouchable(source); len(why) > 0 {
			return refuse(w.plan, why...), nil
		}
	}
	left, err := w.leftover(ctx, source)
	if err != nil || w.plan.Route != "" {
		return w.plan, err
	}
	r, err := w.rehearse(ctx, source)
	if err != nil {
		return nil, err
	}
	made := newIndexes(r.clone, r.shadow)
	if source.Kind == "p" && len(made) == 1 {
		acts := append(left, w.inParts(r, made[0], nil, helper(w.options.ID, 1))...)
		if same, err := w.tastes(ctx, r, acts); err != nil || !same {
			return refuse(w.plan, "the index cannot be built partition by partition here: some partition is partitioned itself, or no plain table"), err
		}
		w.serve(acts, "CREATE INDEX would keep everybody from writing while it reads all partitions: each gets its index concurrently, and then they become one")
		return w.plan, nil
	}
	if len(made) != 1 {
		return nil, fmt.Errorf("%s made %d indexes on an empty twin, expected one", w.statement.Verb, len(made))
	}
	x, name := made[0], helper(w.options.ID, 1)
	build := concurrently(w, w.plan.Table, r.table(), x, name)
	rename := w.step("name "+x.Name, "ALTER INDEX "+ident.Qualified(source.Schema, name)+" RENAME TO "+ident.Quote(x.Name), "SHARE UPDATE EXCLUSIVE on the index")
	rename.Why = "an index of this name is never one that is not finished"
	w.serve(append(left, build, act{Step: rename}), "CREATE INDEX would keep everybody from writing while it reads the table: it is built concurrently instead")
	return w.plan, nil
}

// leftover looks whether the index's name is taken on the table: by a valid index, which IF NOT EXISTS is content with, or by
// one that a build left behind, which IF NOT EXISTS would be content with, too. The answer drops the latter.
func (w *planner) leftover(ctx context.Context, source *Relation) ([]act, error) {
	at := slices.IndexFunc(source.Indexes, func(x Index) bool { return x.Name == w.statement.Index })
	if w.statement.Index == "" || at < 0 {
		return nil, nil
	}
	if source.Indexes[at].Valid {
		if !w.statement.IfExists {
			return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("relation %q already exists. Nothing was changed", w.statement.Index)}
		}
		w.plan.Route, w.plan.Why = plan.Direct, fmt.Sprintf("%s has a valid index %s, and the statement says IF NOT EXISTS: there is nothing to do", w.plan.Table, w.statement.Index)
		return nil, nil
	}
	var builder int
	if err := w.tx.QueryRowContext(ctx, `SELECT coalesce(min(pid), 0) FROM pg_stat_progress_create_index WHERE relid = $1::bigint::oid`, int64(source.OID)).Scan(&builder); err != nil {
		return nil, err
	}
	if builder != 0 {
		refuse(w.plan, fmt.Sprintf("index %s of %s is being built by the server process %d: wait until it is done", w.statement.Index, w.plan.Table, builder))
		return nil, nil
	}
	source.Indexes = slices.Delete(slices.Clone(source.Indexes), at, at+1) // the rehearsal needs its name
	full := ident.Qualified(source.Schema, w.statement.Index)
	return []act{{Step: plan.Step{Kind: plan.Loose, Name: "drop leftover " + w.statement.Index, SQL: []string{"DROP INDEX CONCURRENTLY IF EXISTS " + full},
		Done: "SELECT NOT (" + strings.TrimPrefix(indexIs(full, qualified(w.plan.Table), false), "SELECT ") + ")", Lock: "SHARE UPDATE EXCLUSIVE", LockWait: w.options.LockWait,
		Why: "an index of this name is there and invalid: a build of it failed once"}}}, nil
}

// plainly is CREATE INDEX without CONCURRENTLY and IF NOT EXISTS.
func plainly(text string) string {
	tokens, err := plan.Lex(text, plan.PostgresSyntax())
	if err != nil {
		return text
	}
	var out strings.Builder
	words := []string{"CONCURRENTLY", "IF", "NOT", "EXISTS"}
	for _, t := range tokens {
		word := text[t.Start:t.End]
		upper := strings.ToUpper(word)
		switch {
		case t.Kind != plan.TokenWord:
		case upper == "ON" || words == nil:
			words = nil
		case slices.Contains(words, upper):
			words = words[slices.Index(words, upper)+1:]
			if len(words) == 0 {
				words = nil
			}
			continue
		case upper != "CREATE" && upper != "UNIQUE" && upper != "INDEX":
			words = nil // the index's name
		}
		if t.Kind == plan.TokenIdent {
			words = nil
		}
		out.WriteString(word)
	}
	return out.String()
}
