package mysql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Foreign keys of the table itself. None may stand on the shadow while users write: one who deletes a row and then its parent
// would fail on a shadow that is behind; nor on the old table afterwards. So under the lock of the swap, after the last drain,
// the shadow gets them, with foreign_key_checks off a matter of the catalogue alone; then the tables are swapped; then the old
// one loses them. A stored procedure does the three, so that a run that dies cannot leave half of them: the server goes on to
// its end. A server that crashes in between may leave keys on a shadow, until the change goes on or is aborted.

// foreignKey is one of the source's.
type foreignKey struct {
	name            string
	columns         []string
	parent          schema.Name
	refers          []string
	updated, erased string // what happens to rows here
	usual           string // what happens where nothing is said, if that is not NO ACTION: on MariaDB RESTRICT
}

func (k foreignKey) cascades() bool {
	return slices.ContainsFunc([]string{k.updated, k.erased}, func(rule string) bool { return rule != "RESTRICT" && rule != "NO ACTION" })
}

// clause is the key as a clause of ALTER TABLE, with other columns and another parent.
func (k foreignKey) clause(columns []string, parent schema.Name, refers []string) string {
	list := func(names []string) string {
		var out []string
		for _, n := range names {
			out = append(out, quote(n))
		}
		return "(" + strings.Join(out, ", ") + ")"
	}
	text := "ADD CONSTRAINT " + quote(k.name) + " FOREIGN KEY " + list(columns) + " REFERENCES " + qualified(parent) + " " + list(refers)
	usual := cmp.Or(k.usual, "NO ACTION")
	if k.erased != usual {
		text += " ON DELETE " + k.erased
	}
	if k.updated != usual {
		text += " ON UPDATE " + k.updated
	}
	return text
}

func foreignKeys(ctx context.Context, q DB, n schema.Name) ([]foreignKey, error) {
	const usual = "IF(VERSION() LIKE '%MariaDB%', 'RESTRICT', '')"
	rows, err := q.QueryContext(ctx, "SELECT "+usual+", r.CONSTRAINT_NAME, r.UPDATE_RULE, r.DELETE_RULE, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME "+
		"FROM information_schema.REFERENTIAL_CONSTRAINTS r JOIN information_schema.KEY_COLUMN_USAGE k ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND k.TABLE_NAME = r.TABLE_NAME "+
		"WHERE r.CONSTRAINT_SCHEMA = "+literal(n.Schema)+" AND r.TABLE_NAME = "+literal(n.Table)+" ORDER BY r.CONSTRAINT_NAME, k.ORDINAL_POSITION")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []foreignKey
	for rows.Next() {
		var k foreignKey
		var column, refers string
		if err := rows.Scan(&k.usual, &k.name, &k.updated, &k.erased, &column, &k.parent.Schema, &k.parent.Table, &refers); err != nil {
			return nil, err
		}
		if len(out) == 0 || out[len(out)-1].name != k.name {
			out = append(out, k)
		}
		last := &out[len(out)-1]
		last.columns, last.refers = append(last.columns, column), append(last.refers, refers)
	}
	return out, rows.Err()
}

// indexOf is the name of an index over these columns and no others, or empty.
func (r *Relation) indexOf(columns []string) string {
	for _, x := range r.Indexes {
		if !x.Unique && len(x.Keys) == len(columns) && sameNames(x, columns) {
			return x.Name
		}
	}
	return ""
}

// relate fills in the foreign keys that the new table gets. What the server says to them is tried on the twin, after the
// statement, with empty twins of the parents. It answers why it cannot be done.
func (w *planner) relate(ctx context.Context, r *rehearsal, p *schema.Pair) (refusals []string, err error) {
	keys, err := foreignKeys(ctx, w.conn, r.source.Name)
	if err != nil || len(keys)+len(r.fresh) == 0 {
		return nil, err
	}
	if len(p.Triggers) > 0 && w.dialect.maria {
		return []string{fmt.Sprintf("%s has triggers and foreign keys: the new table cannot get the names of the keys while the old one has them, and the old one cannot leave the database while it has triggers. "+
			"Drop the triggers or the keys first, and make them again afterwards", r.source.Name)}, nil
	}
	mapped := func(names []string) (out []string, missing string) {
		for _, n := range names {
			c := r.target(n)
			if c == nil {
				return nil, n
			}
			out = append(out, c.Name)
		}
		return out, ""
	}
	var rehearsed []string
	twins := map[schema.Name]schema.Name{}
	for _, k := range keys {
		if k.cascades() {
			w.cascade = k.name
		}
		if parent := k.parent; slices.Contains(r.lost, k.name) {
			apart := qualified(parent)
			if parent == p.Source {
				parent, apart = p.Old, ""
			}
			p.Foreign = append(p.Foreign, schema.ForeignKey{Name: k.name, Parent: w.guarded(k, *p)})
			r.former = append(r.former, schema.ForeignKey{Name: k.name, Add: k.clause(k.columns, parent, k.refers), Index: r.source.indexOf(k.columns), Fresh: true, Parent: apart})
			continue
		}
		columns, missing := mapped(k.columns)
		if missing != "" {
			refusals = append(refusals, fmt.Sprintf("the statement drops column %s, which the foreign key %s needs: drop the key first", missing, k.name))
			continue
		}
		parent, twin, refers := k.parent, twins[k.parent], k.refers
		if k.parent == p.Source {
			if refers, missing = mapped(k.refers); missing != "" {
				refusals = append(refusals, fmt.Sprintf("the statement drops column %s, which the foreign key %s refers to: drop the key first", missing, k.name))
				continue
			}
			parent, twin = p.Shadow, r.shadowName()
		} else if twin.Table == "" {
			twin = schema.Name{Schema: r.in(), Table: fmt.Sprintf("changeling_parent_%d", len(twins))}
			twins[k.parent] = twin
			rehearsed = append(rehearsed, "CREATE TABLE "+qualified(twin)+" LIKE "+qualified(k.parent))
			rehearsed = append(rehearsed, w.changedAlong(k.parent, twin)...)
		}
		rehearsed = append(rehearsed, "ALTER TABLE "+qualified(r.shadowName())+" "+k.clause(columns, twin, refers))
		p.Foreign = append(p.Foreign, schema.ForeignKey{Name: k.name, Add: k.clause(columns, parent, refers), Parent: w.guarded(k, *p)})
		if parent = k.parent; parent == p.Source { // that is the old table, when it comes back
			parent = p.Old
		}
		r.former = append(r.former, schema.ForeignKey{Name: k.name, Add: k.clause(k.columns, parent, k.refers), Index: r.source.indexOf(k.columns), Parent: w.guarded(k, *p)})
	}
	for _, k := range r.fresh { // which the statement was rehearsed with
		parent, apart := k.parent, qualified(k.parent)
		if parent == p.Source {
			parent, apart = p.Shadow, ""
		}
		p.Foreign = append(p.Foreign, schema.ForeignKey{Name: k.name, Add: k.clause(k.columns, parent, k.refers), Fresh: true, Parent: apart})
		r.former = append(r.former, schema.ForeignKey{Name: k.name, Parent: w.guarded(k, *p)})
	}
	if len(rehearsed) > 0 && len(refusals) == 0 {
		why, err := tried(ctx, w.conn, strings.Join(rehearsed, Then))
		if err != nil {
			return nil, err
		}
		if why != "" {
			refusals = append(refusals, "the foreign keys do not fit what the statement makes of the table: "+why)
		}
	}
	return refusals, nil
}

// guarded is the other table that a key refers to, where it has to be locked by name: MySQL locks the parents of the source by itself.
func (w *planner) guarded(k foreignKey, p schema.Pair) string {
	if !w.dialect.maria || k.parent == p.Source {
		return ""
	}
	return qualified(k.parent)
}

// uncaught says why changes by cascades would not be seen, or nothing if they are: rows that a cascade changes fire no trigger,
// unless the session that began it says so (enable_cascade_triggers), and are in the binary log only from MySQL 9.6 on.
func (w *planner) uncaught(ctx context.Context, p schema.Pair) (string, error) {
	if w.cascade == "" {
		return "", nil
	}
	const advice = "drop the key first and add it again afterwards, or run the statement as it is at a quiet time"
	if !p.Binlog {
		return fmt.Sprintf("the foreign key %s changes rows of %s by itself (CASCADE or SET NULL), which fires no trigger: only the binary log of MySQL 9.6 or later could tell, and it is not read here; %s", w.cascade, p.Source, advice), nil
	}
	set, err := variables(ctx, w.conn, "innodb_native_foreign_keys")
	if err != nil {
		return "", err
	}
	if set["innodb_native_foreign_keys"] != "OFF" { // before 9.6 there is no such variable
		return fmt.Sprintf("the foreign key %s changes rows of %s by itself (CASCADE or SET NULL), which this server does not write to its binary log: needed is MySQL 9.6 or later with innodb_native_foreign_keys=OFF; %s", w.cascade, p.Source, advice), nil
	}
	return "", nil
}

// cascades says why changes by cascades of new foreign keys would not be seen once these stand, by an undo.
func (w *planner) cascades(ctx context.Context, r *rehearsal, p schema.Pair) (why string, err error) {
	for _, k := range r.fresh {
		if k.cascades() && why == "" {
			w.cascade = k.name
			why, err = w.uncaught(ctx, p)
		}
	}
	w.cascade = ""
	return why, err
}

func swapping(p schema.Pair) string {
	return qualified(schema.Name{Schema: p.Log.Schema, Table: "swap_" + p.Change})
}

// keyParts are parts of the procedure that leads keys: what takes them off the shadow, gives them to it, takes them off the old table, and gives
// the new one's their names where it could not have them before.
func keyParts(p schema.Pair) (clear, give, take, name string) {
	keys, named := p.Foreign, p.Shadow
	if Stays(p) {
		keys, named = standing(p), p.Source
	}
	var adds, drops, each []string
	var index string
	for i, k := range keys {
		if own := p.Foreign[i].Name; k.Index != "" && k.Index != own { // the server takes the place of an index that it had made by itself
			index += quietly("ALTER TABLE " + qualified(named) + " RENAME INDEX " + quote(own) + " TO " + quote(k.Index))
		}
		if k.Add != "" {
			adds = append(adds, k.Add)
			each = append(each, "ALTER TABLE "+qualified(p.Shadow)+" DROP FOREIGN KEY "+quote(k.Name))
		}
		if !k.Fresh {
			drops = append(drops, "DROP FOREIGN KEY "+quote(renamed(p, p.Foreign[i].Name)))
		}
	}
	if len(adds) > 0 {
		// What an earlier attempt left on the shadow, if its server crashed, goes first; and this one leaves nothing if it cannot swap.
		clear = quietly(each...)
		give = "ALTER TABLE " + qualified(p.Shadow) + " " + strings.Join(adds, ", ") + ", ALGORITHM=INPLACE; "
	}
	if len(drops) > 0 {
		take = quietly("ALTER TABLE " + qualified(Outgoing(p)) + " " + strings.Join(drops, ", "))
	}
	if text := nameKeys(p); text != "" {
		return clear, give, take, quietly(text) + index
	}
	return clear, give + index, take, ""
}

// quietly are statements of a procedure each of which may fail.
func quietly(texts ...string) string {
	return "BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; " + strings.Join(texts, "; ") + "; END; "
}

// A table with triggers stays in its database, where each name of a key is once. So its new table gets the keys under names of the change's own,
// which are exchanged for the right ones when the old table has lost them: a key is dropped and its like added in one statement, which reads no
// row, and at no moment is there none.

// renamed is the name that a key of the old table has behind the swap: those that the server gave change with the table's name.
func renamed(p schema.Pair, key string) string {
	if rest, given := strings.CutPrefix(key, p.Source.Table+"_ibfk_"); given {
		return Outgoing(p).Table + "_ibfk_" + rest
	}
	return key
}

// standing are the keys under such names.
func standing(p schema.Pair) (out []schema.ForeignKey) {
	for i, k := range p.Foreign {
		name := fmt.Sprintf("changeling_%s_f%d", p.Change, i+1)
		k.Add = strings.Replace(k.Add, "ADD CONSTRAINT "+quote(k.Name), "ADD CONSTRAINT "+quote(name), 1)
		k.Name = name
		out = append(out, k)
	}
	return out
}

// nameKeys exchanges the names. It is empty where nothing has to be.
func nameKeys(p schema.Pair) string {
	var drops, adds []string
	for i, k := range p.Foreign {
		if k.Add != "" && Stays(p) {
			drops = append(drops, "DROP FOREIGN KEY "+quote(standing(p)[i].Name))
			adds = append(adds, strings.Replace(k.Add, " REFERENCES "+qualified(p.Shadow)+" ", " REFERENCES "+qualified(p.Source)+" ", 1))
		}
	}
	if len(adds) == 0 {
		return ""
	}
	return "ALTER TABLE " + qualified(p.Source) + " " + strings.Join(append(drops, adds...), ", ") + ", ALGORITHM=INPLACE"
}

// InstallSwap makes the procedure that swaps tables with foreign keys, see above and children.go. It may run twice, and so may the
// procedure until it has swapped. On MariaDB it swaps nothing, see carrier.go.
func InstallSwap(p schema.Pair, maria bool) []string {
	if maria {
		return installCarrier(p)
	}
	clear, give, take, name := keyParts(p)
	parts, disarm := childParts(p), ""
	for _, text := range DropCapture(p) { // here, so that a run that dies does not leave a source whose writes nobody logs
		if !Stays(p) { // else they go with the old table
			disarm += text + "; "
		}
	}
	return []string{"DROP PROCEDURE IF EXISTS " + swapping(p),
		"CREATE PROCEDURE " + swapping(p) + "() SQL SECURITY INVOKER BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN " + clear + parts.back + "RESIGNAL; END; " + clear +
			parts.begin + give + parts.leave + disarm + SwapTo(p, Outgoing(p)) + "; " + parts.join + take + name + parts.end + "END"}
}

// Disarms says that the procedure of a plan takes the capture's triggers off; those of older plans do not.
func Disarms(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		return slices.ContainsFunc(s.SQL, func(text string) bool {
			return strings.HasPrefix(text, "CREATE PROCEDURE "+swapping(p.Pair)) && strings.Contains(text, "DROP TRIGGER")
		})
	})
}

// Calls says that tables are swapped by a procedure, because of foreign keys.
func Calls(p schema.Pair) bool { return len(p.Foreign) > 0 || len(p.Children) > 0 }

// swapStep is the statement that swaps, and its lock.
func swapStep(p schema.Pair, maria bool) (text, lock string) {
	text, lock = SwapTo(p, p.Old), "exclusive metadata lock"
	if Calls(p) && !maria {
		text = CallSwap(p)
	}
	if len(p.Children) > 0 {
		lock += ", also on the tables whose foreign keys refer to it"
	}
	if len(p.Foreign) > 0 {
		lock += ", and on the tables that its foreign keys refer to one that lets only readers through"
	}
	return text, lock
}

// swapped are the names of Swapping.
func swapped(p schema.Pair) []string {
	var out []string
	for _, n := range Swapping(p) {
		out = append(out, qualified(n))
	}
	return out
}

// CallSwap is SwapTo for tables with foreign keys.
func CallSwap(p schema.Pair) string { return "CALL " + swapping(p) + "()" }

// Related answers the foreign keys that the old table still has, each as the statement that drops it.
func Related(p schema.Pair) string {
	return ForeignKeysOf(Outgoing(p))
}

// Misnamed answers the statement that gives the new table's keys their names, if they do not have them.
func Misnamed(p schema.Pair) string {
	text := nameKeys(p)
	if text == "" {
		return "SELECT '' FROM DUAL WHERE FALSE"
	}
	i := slices.IndexFunc(p.Foreign, func(k schema.ForeignKey) bool { return k.Add != "" })
	return "SELECT " + literal(text) + " FROM information_schema.table_constraints k WHERE k.table_schema = " + literal(p.Source.Schema) + " AND k.table_name = " + literal(p.Source.Table) +
		" AND k.constraint_name = " + literal(standing(p)[i].Name)
}

// Texts is a column of statements.
func Texts(ctx context.Context, q DB, query string) ([]string, error) {
	list, err := state.Column(ctx, q, query)
	return list, coded(err)
}

// rewrites says that the server changes values of the key's columns by itself.
func (k foreignKey) rewrites() bool {
	moves := func(rule string, rules ...string) bool { return slices.Contains(rules, rule) }
	return moves(k.updated, "CASCADE", "SET NULL", "SET DEFAULT") || moves(k.erased, "SET NULL", "SET DEFAULT")
}

// moved says which foreign key moves rows behind the back of triggers, past a second column's filling.
func (w *planner) moved(ctx context.Context, p schema.Pair) (string, error) {
	keys, err := foreignKeys(ctx, w.conn, p.Source)
	for _, k := range keys {
		key := slices.ContainsFunc(p.Key, func(c schema.Key) bool {
			return slices.ContainsFunc(k.columns, func(name string) bool { return strings.EqualFold(name, c.Source) })
		})
		if key && k.rewrites() {
			return fmt.Sprintf("the foreign key %s moves rows of %s by itself (ON UPDATE %s), and no trigger hears of that: those could pass by the filling and the comparison of a second column", k.name, w.plan.Table, k.updated), err
		}
	}
	return "", err
}
