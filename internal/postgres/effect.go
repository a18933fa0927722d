package postgres

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
)

// Effect is what a statement makes the server do while others wait for it.
type Effect string

// The effects, the lightest first.
const (
	AtOnce   Effect = "direct"  // only the catalogue changes
	Scans    Effect = "scan"    // it reads all rows, or builds an index
	Rewrites Effect = "rewrite" // it writes the table, or an index that was there, anew
)

// effect compares the twin before and after the statement. scans is how often the server began to read the twin meanwhile;
// negative where it does not count that. dropped are constraints that the statement drops: one that comes back under the same
// name is another one.
func effect(before, after *Relation, scans int, dropped []string) Effect {
	if before.FileNode != after.FileNode {
		return Rewrites
	}
	for _, x := range before.Indexes {
		i := slices.IndexFunc(after.Indexes, func(now Index) bool {
			return now.Name == x.Name && slices.EqualFunc(now.Keys, x.Keys, func(a, b IndexKey) bool { return a.Num == b.Num })
		})
		if i >= 0 && !hasFile(before, after.Indexes[i]) && !slices.Contains(dropped, x.Name) {
			return Rewrites
		}
	}
	if len(newIndexes(before, after)) > 0 || scans > 0 {
		return Scans
	}
	if d := compare(before, after); scans < 0 && len(d.checks)+len(d.foreign)+len(d.valid)+len(d.notNull) > 0 {
		return Scans
	}
	return AtOnce
}

// hasFile says that an index stands in a file that was there before. One that is made again over the file of the old one is a
// new one in the catalogue alone: of a varchar that grows, say.
func hasFile(before *Relation, x Index) bool {
	return slices.ContainsFunc(before.Indexes, func(was Index) bool {
		return x.FileNode != 0 && was.FileNode == x.FileNode || x.FileNode == 0 && was.OID == x.OID // that of a partitioned table has none
	})
}

// newIndexes are those that the statement builds.
func newIndexes(before, after *Relation) []Index {
	var out []Index
	for _, x := range after.Indexes {
		if !hasFile(before, x) {
			out = append(out, x)
		}
	}
	return out
}

// difference is what a statement demands of the rows that are there.
type difference struct {
	checks   []Constraint // new ones, valid; or made again, because a type changed
	foreign  []Constraint
	keys     []Constraint // with an index of their own that has to be built
	excludes []Constraint // new ones that only a scan under the lock can make: exclusion
	valid    []string     // constraints that were NOT VALID
	notNull  []Column     // of columns that were there
}

func compare(before, after *Relation) difference {
	var d difference
	had := map[uint32]Constraint{}
	for _, k := range append(append([]Constraint{}, before.Constraints...), before.References...) {
		had[k.OID] = k
	}
	for _, k := range append(append([]Constraint{}, after.Constraints...), after.References...) {
		was, old := had[k.OID]
		x := after.index(k.Index)
		switch {
		case !k.Validated || k.Inherited:
		case old && !was.Validated:
			d.valid = append(d.valid, k.Name)
		case old:
		case k.Type == "c" && !strings.HasSuffix(k.Def, "NOT ENFORCED"):
			d.checks = append(d.checks, k)
		case k.Type == "f" && !strings.HasSuffix(k.Def, "NOT ENFORCED"):
			d.foreign = append(d.foreign, k)
		case x != nil && hasFile(before, *x) && k.Type != "f": // made from an index that was there: checks nothing
		case k.Type == "p" || k.Type == "u":
			if d.keys = append(d.keys, k); inline(k) {
				d.excludes = append(d.excludes, k)
			}
		case k.Type == "x":
			d.excludes = append(d.excludes, k)
		}
	}
	for _, c := range after.Columns {
		if was := before.column(c.Num); was != nil && !c.mayBeNull() && was.mayBeNull() {
			d.notNull = append(d.notNull, c)
		}
	}
	return d
}

// scans is how often this transaction has begun to read a table, or -1 if the server does not count.
func (w *planner) scans(ctx context.Context, oid uint32) (n int, err error) {
	var count sql.NullInt64
	err = w.tx.QueryRowContext(ctx, `SELECT pg_stat_get_xact_numscans($1::bigint::oid) WHERE current_setting('track_counts')::bool`, int64(oid)).Scan(&count)
	if err == sql.ErrNoRows || err == nil && !count.Valid {
		return -1, nil
	}
	return int(count.Int64), err
}

// shares are the actions that take no more than SHARE UPDATE EXCLUSIVE on the table, and sharesRow those that take no more than
// SHARE ROW EXCLUSIVE (manual, ALTER TABLE).
var (
	shares    = []plan.Action{plan.SetStatistics, plan.SetOptions, plan.ResetOptions, plan.SetTableOptions, plan.ResetTableOptions, plan.ClusterOn, plan.SetWithoutCluster, plan.ValidateConstraint, plan.AttachPartition}
	sharesRow = []plan.Action{plan.EnableTrigger, plan.DisableTrigger}
)

// lock is the strongest lock that ALTER TABLE takes on its table, for what the clauses say.
func lock(clauses []plan.Clause) string {
	strongest := "SHARE UPDATE EXCLUSIVE"
	for _, c := range clauses {
		switch {
		case slices.Contains(shares, c.Action):
		case slices.Contains(sharesRow, c.Action), c.Action == plan.AddConstraint && c.Constraint == plan.ForeignKey:
			strongest = "SHARE ROW EXCLUSIVE"
		default:
			return "ACCESS EXCLUSIVE"
		}
	}
	return strongest
}
