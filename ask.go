package changeling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// check asks for rows that break what the statement demands of them and the server does not look at itself, or only after the swap.
func (r *run) check(ctx context.Context, s plan.Step) error {
	if r.resumed && r.pair.InPlace {
		if err := r.verifier.Settle(ctx); err != nil {
			return r.explain(ctx, s, err)
		}
	}
	for _, q := range s.SQL {
		keys, err := r.breaking(ctx, s, q)
		if err != nil {
			return r.explain(ctx, s, err)
		}
		if len(keys) > 0 {
			stands := "The source is untouched"
			if r.record.Plan.Route == plan.Recipe && s.Ranged && r.record.Step > 0 {
				stands = "No row was changed, and new rows cannot break it"
			}
			if cut := r.record.Plan.Find(plan.Cutover); cut >= 0 && r.record.Step > cut {
				stands = "The tables are swapped, nothing is lost, and new rows cannot break it"
			}
			return &fault.Problem{Kind: fault.Refusal, Text: fmt.Sprintf("%s: rows break it: %s. %s. Mend them and run the same command again, or `changeling abort %s`",
				s.Name, strings.Join(keys, "; "), stands, r.record.ID)}
		}
	}
	return r.next(ctx)
}

// breaking answers keys of rows that break what a question asks. One that is asked range by range is asked under the throttle, and no
// further than to the first rows.
func (r *run) breaking(ctx context.Context, s plan.Step, question string) ([]string, error) {
	if !s.Ranged {
		return r.ask(ctx, question)
	}
	texts := mysql.Rows{Pair: r.pair}
	var mu sync.Mutex
	var found []string
	total := r.record.Plan.Rows
	w := r.walker(s, r.keyRanges(), r.readSizer(5000, 100, max(portion(total), 5000)), 0, total)
	err := w.Walk(ctx, nil, func(ctx context.Context, c copier.Chunk) (int64, error) {
		keys, err := r.ask(ctx, strings.ReplaceAll(question, plan.Range, texts.Within(c.Range)))
		if err != nil || len(keys) == 0 {
			return 0, err
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, keys...)
		return 0, errFound
	})
	if len(found) > 0 {
		slices.Sort(found)
		return found[:min(len(found), 3)], nil
	}
	return nil, err
}

// errFound ends a walk that has found what it looked for.
var errFound = &fault.Problem{Kind: fault.Refusal, Text: "rows break it"}
