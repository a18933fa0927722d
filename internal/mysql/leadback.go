package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// The undo of a table with triggers. Which it has is asked when the undo begins: those that were made, changed or dropped since the cutover
// are the users' own matter. They go to the old table as they went to the new one, by stand-ins. But the old table stands in a
// database of the change's, where it could not bear them and leave again, so the undo's first step brings it to the table's own one. If
// the undo is given up, it goes back, and the stand-ins with which it could not are dropped before.

// LeadBack makes the plan of an undo one for a table with triggers, if its source has some. It answers why it cannot. The connection has
// the engine's settings.
func LeadBack(ctx context.Context, q DB, p *plan.Plan, maria bool) (refusals []string, err error) {
	list, err := userTriggers(ctx, q, p.Pair.Source)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	pair := p.Pair
	if len(pair.Kin) > 0 {
		return []string{fmt.Sprintf("%s has triggers by now (%s), and tables that are swapped back together cannot have any. Drop the triggers, undo the change, and make them again afterwards", pair.Source, list[0].name)}, nil
	}
	if maria && Calls(pair) {
		return []string{fmt.Sprintf("%s has triggers by now (%s), and foreign keys tie it to other tables: both cannot be led back by the same swap. Drop the triggers, undo the change, and make them again afterwards", pair.Source, list[0].name)}, nil
	}
	var taken []string
	if !maria { // where such a name is the table's own
		if taken, err = Texts(ctx, q, takenChecks(pair)); err != nil {
			return nil, err
		}
	}
	if len(taken) > 0 {
		return []string{fmt.Sprintf("%s has triggers, so the old table has to go to its database before the swap, and the name of its check %s is taken there: drop the triggers or that check, undo the change, and make them again afterwards",
			pair.Source, strings.Join(taken, ", "))}, nil
	}
	var collation string
	if err := q.QueryRowContext(ctx, "SELECT s.default_collation_name FROM information_schema.schemata s WHERE s.schema_name = "+literal(pair.Source.Schema)).Scan(&collation); err != nil {
		return nil, err
	}
	// Judge has maps and lists in common with the plan's own pair, and none of them is changed.
	judge := *pair.Judge
	pair.Rests, pair.Shadow = pair.Shadow, nearby(pair)
	judge.Source, pair.Judge = pair.Shadow, &judge
	pair.Foreign = slices.Clone(pair.Foreign)
	for i, k := range pair.Foreign {
		pair.Foreign[i].Add = strings.Replace(k.Add, " REFERENCES "+qualified(pair.Rests)+" ", " REFERENCES "+qualified(pair.Shadow)+" ", 1)
	}
	twin := schema.Name{Schema: pair.Log.Schema, Table: "twin_" + pair.Change}
	for _, text := range []string{"DROP TABLE IF EXISTS " + qualified(twin), "CREATE TABLE " + qualified(twin) + " LIKE " + qualified(pair.Rests)} {
		if _, err := q.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	refusals, err = stands(ctx, q, &pair, list, twin, collation)
	if _, dropped := q.ExecContext(ctx, "DROP TABLE "+qualified(twin)); err == nil {
		err = dropped
	}
	if err != nil {
		return nil, err
	}
	if len(refusals) > 0 {
		return append(refusals, "drop it, or make it so that both the table and the one before the change can have it, and undo the change then"), nil
	}
	p.Pair, p.Steps = pair, undoSteps(pair, p.Steps[p.Find(plan.Cutover)].LockWait, maria)
	return nil, nil
}

// takenChecks are the names of the old table's checks that another table in the source's database has. Those that the server gave change with
// the table's name.
func takenChecks(p schema.Pair) string {
	return "SELECT k.constraint_name FROM information_schema.table_constraints k WHERE k.constraint_type = 'CHECK' AND k.table_schema = " + literal(p.Shadow.Schema) + " AND k.table_name = " + literal(p.Shadow.Table) +
		" AND NOT LEFT(k.constraint_name, " + fmt.Sprint(len([]rune(p.Shadow.Table))+5) + ") = " + literal(p.Shadow.Table+"_chk_") +
		" AND EXISTS (SELECT 1 FROM information_schema.check_constraints o WHERE o.constraint_schema = " + literal(p.Source.Schema) + " AND o.constraint_name = k.constraint_name)"
}

// rests is where the old table stands while no undo is under way.
func rests(p schema.Pair) schema.Name {
	if p.Rests.Table != "" {
		return p.Rests
	}
	return p.Shadow
}

// bringNear is the step that brings the old table to where it can bear triggers, if it has to.
func bringNear(p schema.Pair) []plan.Step {
	if p.Rests.Table == "" {
		return nil
	}
	return []plan.Step{{Kind: plan.Exec, Name: "bring old table near", SQL: []string{"RENAME TABLE " + qualified(p.Rests) + " TO " + qualified(p.Shadow)}, Done: Near(p), Lock: "none",
		Why: "the old table goes to the database of the new one, because a table with triggers cannot leave its database"}}
}

// Near asks whether the old table is where bringNear brings it, and TakeAway brings it back to where it rests.
func Near(p schema.Pair) string { return "SELECT " + there(p.Shadow) }

// TakeAway may not run twice: see Near.
func TakeAway(p schema.Pair) []string {
	var out []string
	for _, t := range p.Triggers {
		out = append(out, "DROP TRIGGER IF EXISTS "+qualified(schema.Name{Schema: p.Source.Schema, Table: t.StandIn}))
	}
	return append(out, "RENAME TABLE "+qualified(p.Shadow)+" TO "+qualified(p.Rests))
}
