package changeling

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
)

// sift looks for the rows of a range whose conversion fails. The server converts the whole range or fails; where it fails, a half is asked
// for, and a half of that, until single rows are left.
func (x *examination) sift(ctx context.Context, q plan.Question, f *Finding, r copier.Range) error {
	if f.full() {
		return nil
	}
	err := x.try(ctx, q, x.rows.Within(r))
	if !unconvertible(err) {
		return err
	}
	if x.rows.Size() != "" {
		if left, right, ok := copier.HalveBlocks(r); ok {
			if err := x.sift(ctx, q, f, left); err != nil {
				return err
			}
			return x.sift(ctx, q, f, right)
		}
	}
	rows, err := placesOf(ctx, x.conn, x.rows.Places(r))
	if err != nil {
		return err
	}
	return x.sort(ctx, q, f, rows)
}

// sort is sift for a list of rows.
func (x *examination) sort(ctx context.Context, q plan.Question, f *Finding, rows []place) error {
	if len(rows) == 0 || f.full() {
		return nil
	}
	var ids []string
	for _, p := range rows {
		ids = append(ids, p.id)
	}
	err := x.try(ctx, q, x.rows.Among(ids))
	if !unconvertible(err) {
		return err
	}
	if len(rows) == 1 {
		if f.Rows == 0 {
			f.Why = fault.Message(err)
		}
		f.Rows++
		f.name(strings.TrimSuffix(personal(rows[0].key, x.plan.Pair)+" with "+values(rows[0].values), " with "))
		return nil
	}
	if err := x.sort(ctx, q, f, rows[:len(rows)/2]); err != nil {
		return err
	}
	return x.sort(ctx, q, f, rows[len(rows)/2:])
}

// full ends a search row by row.
func (f *Finding) full() bool {
	if f.Rows >= mostCounted {
		f.More = true
	}
	return f.More
}

// try converts rows, and keeps nothing of it.
func (x *examination) try(ctx context.Context, q plan.Question, within string) error {
	return x.reading(ctx, q, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, strings.ReplaceAll(q.SQL, plan.Range, within))
		return err
	})
}

// dataStep asks the questions of the plan before anything is made, under the throttle.
func (r *run) dataStep(ctx context.Context, s plan.Step) error {
	if r.engine.config.NoDataCheck {
		r.engine.config.Events(notice("the rows were not looked at before the copy, as it was asked for: one that breaks what the statement demands is found by the copy, or by what follows it"))
	} else if err := r.examined(ctx, s); err != nil {
		return err
	}
	if r.record.Step == 0 { // only now it is sure that something is done
		if err := r.closeWindows(ctx); err != nil {
			return err
		}
	}
	return r.next(ctx)
}

func (r *run) examined(ctx context.Context, s plan.Step) error {
	p := *r.record.Plan
	p.Checks = nil
	for _, q := range r.record.Plan.Checks {
		if q.Whole && p.Bytes > wholeAtMost {
			r.engine.config.Events(notice(fmt.Sprintf("%s is not looked at before the copy, because the table is too large to be sorted in one statement: the index is built on the copy, and tells", q.Name)))
			continue
		}
		p.Checks = append(p.Checks, q)
	}
	x, err := r.engine.examine(ctx, &p)
	if err != nil {
		return err
	}
	defer x.close()
	sizer := r.readSizer(x.initial(), 1, mostAtOnce).(capped)
	if x.blocks > 0 {
		sizer.weight = r.perBlock(x.blocks)
	}
	w := r.walker(s, nil, sizer, 0, p.Rows)
	w.Workers = 1
	if err := x.run(ctx, w); err != nil {
		return err
	}
	var broken []string
	for _, f := range x.found {
		switch {
		case f.Rows > 0:
			broken = append(broken, f.String())
		case f.Err != nil && !unconvertible(f.Err):
			r.engine.config.Events(notice(f.String()))
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return &fault.Problem{Kind: fault.Refusal, Text: fmt.Sprintf("rows break what the statement demands of them: %s. Nothing was made, and the source is untouched. Mend the rows and run the same command again", strings.Join(broken, "; "))}
}

// wholeAtMost is how large a table may be that a run reads and sorts in one statement before its copy: it holds a snapshot as long as that
// takes, and may need as much room for what it sorts.
const wholeAtMost = 1 << 30

// String says in a line what came out.
func (f Finding) String() string {
	least := ""
	if f.More {
		least = "at least "
	}
	why := ""
	if f.Why != "" {
		why = " (" + shorten(f.Why, 200) + ")"
	}
	switch {
	case f.Rows == 0 && f.Err != nil:
		return f.Name + ": cannot be asked before: " + fault.Message(f.Err)
	case f.Rows == 0:
		return f.Name + ": no row breaks it"
	}
	return fmt.Sprintf("%s: %s%d rows break it: %s%s", f.Name, least, f.Rows, strings.Join(f.Keys, "; "), why)
}

func notice(text string) event.Notice { return event.Notice{Text: text} }
