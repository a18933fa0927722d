package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/schema"
)

// Foreign keys of other tables, the children's. A rename takes them along with the table that they refer to. So under the lock of the swap,
// which is on the children too, they are dropped, the tables are swapped, and they are made again under their names: with
// foreign_key_checks off matters of the catalogue alone, some 20 ms for each (measured on 9.7; one ALTER cannot drop and make a key of one
// name, error 1826). The procedure of the swap does it. That it is under way is noted: a server that crashes in between may leave children
// without a key until the change goes on or is aborted, and the rows that came meanwhile are then looked at.

// childKeys are the foreign keys of other tables that refer to a table, and with each of them its rules.
func childKeys(ctx context.Context, q DB, n schema.Name) (out []schema.Child, rules []foreignKey, err error) {
	tables, err := children(ctx, q, n)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		keys, err := foreignKeys(ctx, q, t)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range keys {
			if k.parent == n {
				rules = append(rules, k)
				out = append(out, schema.Child{Table: t, Name: k.name, Back: k.clause(k.columns, n, k.refers), Columns: k.columns, Refers: k.refers})
			}
		}
	}
	return out, rules, nil
}

// adopt fills in the children's keys. What the server says to them is tried on the twin, with empty twins of the children. It answers why it
// cannot be done.
func (w *planner) adopt(ctx context.Context, r *rehearsal, p *schema.Pair) (refusals []string, err error) {
	if w.dialect.maria {
		return nil, nil // refused
	}
	keys, rules, err := childKeys(ctx, w.conn, r.source.Name)
	for i := len(keys) - 1; i >= 0; i-- { // those of kin are theirs
		if w.akin(keys[i].Table) {
			keys, rules = slices.Delete(keys, i, i+1), slices.Delete(rules, i, i+1)
		}
	}
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	var rehearsed []string
	twins, relations := map[schema.Name]schema.Name{}, map[schema.Name]*Relation{}
	for i, k := range keys {
		var refers []string
		for _, name := range k.Refers {
			to := r.target(name)
			if to == nil {
				refusals = append(refusals, fmt.Sprintf("the statement drops column %s, to which the foreign key %s of %s refers: drop the key first", name, k.Name, k.Table))
				break
			}
			refers = append(refers, to.Name)
		}
		if len(refers) < len(k.Refers) {
			continue
		}
		twin := twins[k.Table]
		if twin.Table == "" {
			twin = schema.Name{Schema: r.in(), Table: fmt.Sprintf("changeling_child_%d", len(twins))}
			twins[k.Table] = twin
			rehearsed = append(rehearsed, "CREATE TABLE "+qualified(twin)+" LIKE "+qualified(k.Table))
			if relations[k.Table], err = Inspect(ctx, w.conn, k.Table); err != nil {
				return nil, err
			}
		}
		keys[i].Index = relations[k.Table].indexOf(k.Columns)
		key := rules[i]
		keys[i].Add, keys[i].Refers = key.clause(k.Columns, p.Source, refers), refers
		key.name = fmt.Sprintf("changeling_key_%d", i) // a database has one of each name
		rehearsed = append(rehearsed, "ALTER TABLE "+qualified(twin)+" "+key.clause(k.Columns, r.shadowName(), refers))
	}
	if len(refusals) > 0 {
		return refusals, nil
	}
	why, err := tried(ctx, w.conn, strings.Join(rehearsed, Then))
	if err != nil {
		return nil, err
	}
	if why != "" {
		return []string{"foreign keys of other tables do not fit what the statement makes of the table: " + why}, nil
	}
	p.Children = keys
	return nil, nil
}

// turnedChildren are the keys as an undo leads them back.
func turnedChildren(list []schema.Child, r *rehearsal) []schema.Child {
	var out []schema.Child
	for _, k := range list {
		k.Add, k.Back = k.Back, k.Add
		var refers []string
		for _, name := range k.Refers {
			for _, c := range r.source.Columns {
				if to := r.target(c.Name); to != nil && to.Name == name {
					refers = append(refers, c.Name)
				}
			}
		}
		k.Refers = refers
		out = append(out, k)
	}
	return out
}

// Swapping are the tables that are locked while tables are swapped.
func Swapping(p schema.Pair) []schema.Name { return append([]schema.Name{p.Source}, childTables(p)...) }

// childTables are the children.
func childTables(p schema.Pair) []schema.Name {
	var out []schema.Name
	for _, k := range p.Children {
		if !slices.Contains(out, k.Table) {
			out = append(out, k.Table)
		}
	}
	return out
}

// script are the children's parts of the procedure that swaps.
type script struct{ begin, leave, join, end, back string }

// under is the note that keys are being led, in the table of Live: it is written before the first key is dropped, and goes when the last one
// is there again. Each ALTER commits what was written before it.
const under = 2

func childParts(p schema.Pair) script {
	if len(p.Children) == 0 {
		return script{}
	}
	note := qualified(alive(p))
	var s script
	s.begin = fmt.Sprintf("REPLACE INTO %s (one, made) VALUES (%d, -1); ", note, under)
	s.end = fmt.Sprintf("DELETE FROM %s WHERE one = %d; COMMIT; ", note, under)
	for _, k := range p.Children {
		table := "ALTER TABLE " + qualified(k.Table) + " "
		s.leave += table + "DROP FOREIGN KEY " + quote(k.Name) + ", ALGORITHM=INPLACE; "
		s.join += table + k.Add + ", ALGORITHM=INPLACE; "
		if text := named(k); text != "" {
			s.join += "BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; " + text + "; END; "
		}
		// Before the swap the one fits, after it the other. A key that is there is an error, which is passed over.
		for _, clause := range slices.Compact([]string{k.Back, k.Add}) {
			s.back += "BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; " + table + clause + ", ALGORITHM=INPLACE; END; "
		}
	}
	return s
}

// named gives the index that the server made for a key its former name; it fails if the server made none.
func named(k schema.Child) string {
	if k.Index == "" || k.Index == k.Name {
		return ""
	}
	return "ALTER TABLE " + qualified(k.Table) + " RENAME INDEX " + quote(k.Name) + " TO " + quote(k.Index)
}

// Led asks whether a swap began to lead the children's keys and nobody knows that it came to its end.
func Led(p schema.Pair) string {
	return fmt.Sprintf("SELECT EXISTS (SELECT 1 FROM %s changeling_alive WHERE changeling_alive.one = %d)", qualified(alive(p)), under) // as it is locked
}

// Rejoin gives the children the keys that they lack after that, and ends the note. It answers which these are. The connection has
// foreign_key_checks off.
func Rejoin(ctx context.Context, q DB, p schema.Pair, swapped bool) (missing []schema.Child, err error) {
	there, _, err := childKeys(ctx, q, p.Source)
	if err != nil {
		return nil, err
	}
	for _, k := range p.Children {
		if slices.ContainsFunc(there, func(x schema.Child) bool { return x.Table == k.Table && x.Name == k.Name }) {
			continue
		}
		clause := k.Back
		if swapped {
			clause = k.Add
		}
		if _, err := q.ExecContext(ctx, "ALTER TABLE "+qualified(k.Table)+" "+clause+", ALGORITHM=INPLACE"); err != nil {
			return nil, err
		}
		if text := named(k); text != "" {
			if _, err := q.ExecContext(ctx, text); fault.Lost(coded(err)) || fault.Canceled(err) {
				return nil, err
			}
		}
		missing = append(missing, k)
	}
	_, err = q.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE one = %d"+Then+"COMMIT", qualified(alive(p)), under))
	return missing, err
}

// Amend brings the keys to where the procedure would have brought them that did not come to its end: the children have theirs, and the table that is not the
// users' has none. The connection has the locks of the swap, and foreign_key_checks off. It may run twice.
func Amend(ctx context.Context, q DB, p schema.Pair, swapped bool) error {
	var led bool
	if len(p.Children) > 0 {
		if err := q.QueryRowContext(ctx, Led(p)).Scan(&led); err != nil {
			return err
		}
	}
	if led {
		if _, err := Rejoin(ctx, q, p, swapped); err != nil {
			return err
		}
	}
	if len(p.Foreign) == 0 {
		return nil
	}
	asked := []string{ForeignKeysOf(p.Shadow)}
	if swapped {
		asked = []string{Related(p), Misnamed(p)}
	}
	for _, query := range asked {
		left, err := Texts(ctx, q, query)
		for _, text := range left {
			if err == nil {
				_, err = q.ExecContext(ctx, text)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Astray asks for the first rows of a child that refer to nothing, after a swap.
func Astray(p schema.Pair, k schema.Child) string {
	return Orphans(schema.Pair{Source: k.Table}, k.Columns, p.Source, k.Refers)
}

// Strangers are the foreign keys of other tables that refer to the source otherwise than when the change was planned: that came, that went, or
// that were made anew.
func Strangers(ctx context.Context, q DB, p schema.Pair) ([]string, error) {
	there, _, err := childKeys(ctx, q, p.Source)
	if err != nil {
		return nil, err
	}
	there = slices.DeleteFunc(there, func(k schema.Child) bool { return slices.Contains(p.Kin, k.Table) }) // part of what the kin's definitions are
	var out []string
	differ := func(a, b []schema.Child, say string) {
		for _, k := range a {
			if !slices.ContainsFunc(b, func(x schema.Child) bool { return x.Table == k.Table && x.Name == k.Name && x.Back == k.Back }) {
				out = append(out, fmt.Sprintf("%s of %s %s", k.Name, k.Table, say))
			}
		}
	}
	differ(there, p.Children, "came")
	differ(p.Children, there, "went")
	return out, nil
}
