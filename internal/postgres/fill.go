package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
)

// fill plans new columns whose default is computed for each row. The server would write the table anew for it. Instead the column
// is added with a constant, which costs nothing and says of a row that it has no value of its own yet; new rows get theirs by
// the default from then on, and the others in small batches. The constant is chosen at random, so that nobody writes it: a NULL
// that a user writes stays what he wrote, which it would not if NULL said it.
func (w *planner) fill(ctx context.Context, r *rehearsal) (bool, error) {
	if r.effect != Rewrites || r.source.Kind != "r" || len(r.source.Children)+len(r.source.Parents) > 0 || r.source.Security || len(w.statement.Clauses) == 0 {
		return false, nil
	}
	for _, k := range w.statement.Clauses {
		if k.Action != plan.AddColumn || k.IfExists || k.References || k.Inline.Check || k.Inline.Unique || k.Inline.PrimaryKey || k.Inline.Identity || k.Inline.Generated {
			return false, nil
		}
	}
	if slices.ContainsFunc(r.shadow.Sequences, func(q Sequence) bool {
		return !slices.ContainsFunc(r.clone.Sequences, func(was Sequence) bool { return was.OID == q.OID })
	}) {
		return false, nil // a serial brings a sequence of its own
	}
	var disturbed bool
	if err := w.tx.QueryRowContext(ctx, hearsUpdates, int64(r.source.OID)).Scan(&disturbed); err != nil || disturbed {
		return false, err
	}
	if err := w.constants(ctx, r); err != nil {
		return false, err
	}
	if _, err := w.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours()); err != nil { // whoever comes next asks for himself
		return false, err
	}
	var add, set, drop, sets, which []string
	for _, k := range w.statement.Clauses {
		c := r.shadow.columnNamed(k.Column)
		if c == nil || c.Identity != "" || c.Generated != "" {
			return false, nil
		}
		bare, name := *c, ident.Quote(c.Name)
		if c.Default != nil && r.constants[c.Name] == "" {
			empty, is := sentinel(*c)
			if empty == "" {
				return false, nil
			}
			value := *c.Default
			bare.Default = &empty
			set = append(set, "ALTER COLUMN "+name+" SET DEFAULT "+value)
			sets = append(sets, fmt.Sprintf("%s = CASE WHEN %s THEN %s ELSE d.%s END", name, is, value, name))
			which = append(which, is)
		}
		add, drop = append(add, "ADD COLUMN "+columnDef(r.shadow, bare, r.source.Schema)), append(drop, "DROP COLUMN IF EXISTS "+name)
	}
	if len(set) == 0 {
		return false, nil
	}
	acts := w.fills(r, fillText{add: add, set: set, drop: drop, values: strings.Join(sets, ", "), empty: strings.Join(which, " OR ")})
	same, err := w.tastes(ctx, r, acts)
	if err != nil || !same {
		return false, err
	}
	w.serve(acts, "the server would write the table anew to give each row a value: the column is added at once, new rows get their value by its default, and those that are there get theirs in "+
		"batches. Each is saved by itself; what is done stays if the change stops between them, `changeling abort` takes it back")
	w.plan.Spare = r.source.Bytes
	w.keyOf(r)
	return true, nil
}

// fillText is what differs from one table to the other. values and empty say d for the row.
type fillText struct {
	add, set, drop []string
	values, empty  string
}

func (w *planner) fills(r *rehearsal, t fillText) []act {
	table, twin := qualified(w.plan.Table), ident.Qualified(r.in(), r.source.Name)
	alter := func(on string) []string {
		return []string{"ALTER TABLE " + on + " " + strings.Join(t.add, ", "), "ALTER TABLE " + on + " " + strings.Join(t.set, ", ")}
	}
	first := act{Step: w.step("add the column", "", "ACCESS EXCLUSIVE", table), twin: alter(twin)}
	first.SQL, first.Undo = alter(table), []string{"ALTER TABLE " + table + " " + strings.Join(t.drop, ", ")}
	first.Why = "only the catalogue changes. Until its turn comes a row that is there shows a value that nothing else has"
	update := func(table, where string) string {
		return "UPDATE ONLY " + table + " d SET " + t.values + " WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT d.ctid FROM ONLY " + table + " d WHERE " + where + "(" + t.empty + ")"
	}
	const locked = " FOR NO KEY UPDATE SKIP LOCKED))"
	rows := act{Step: plan.Step{Kind: plan.Fill, Name: "fill", LockWait: w.options.LockWait, Lock: "ROW EXCLUSIVE", Path: w.path,
		SQL:  []string{update(table, "d.ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid AND d.ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid AND ") + locked, update(table, "") + " LIMIT 1000" + locked},
		Done: "SELECT NOT EXISTS (SELECT FROM ONLY " + table + " d WHERE " + t.empty + ")",
		Why: "in short transactions, under the throttle; a row that somebody has locked is left for later. Whoever changes a row at REPEATABLE READ that got its value meanwhile " +
			"gets a serialization failure, as from any other writer"}, twin: []string{update(twin, "") + " LIMIT 1000" + locked}}
	rest := act{Step: plan.Step{Kind: plan.Loose, Name: "vacuum and analyze", SQL: []string{"VACUUM (ANALYZE) " + table},
		Why: "the old versions of the rows are given free, and the planner learns of the new values"}}
	return []act{first, rows, rest}
}

// hearsUpdates asks for what would notice that all rows are updated, which the plain statement does not do: triggers, rules, and
// subscribers.
const hearsUpdates = `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::bigint::oid AND NOT tgisinternal AND tgtype & 16 <> 0 AND tgenabled <> 'D')
  OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = $1::bigint::oid AND ev_type = '2')
  OR EXISTS (SELECT FROM pg_publication WHERE puballtables) OR EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = $1::bigint::oid)`

// sentinel is a value of a column's type that nobody has written and nobody will, and a condition that says that row d has it; empty
// where a type has too few values, or does not say exactly when two of them are the same.
func sentinel(c Column) (value, is string) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails
	}
	n := binary.BigEndian.Uint64(b[:8]) >> 2
	var text string
	switch c.Base {
	case "uuid":
		x := hex.EncodeToString(b[:])
		text = x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
	case "text", "varchar":
		text = "changeling-" + hex.EncodeToString(b[:])
		value = ident.Literal(text) + "::" + c.Type
		return value, "d." + ident.Quote(c.Name) + ` OPERATOR(pg_catalog.=) ` + ident.Literal(text) + `::pg_catalog.text COLLATE pg_catalog."C"`
	case "int8", "numeric":
		text = fmt.Sprintf("-%d", n)
	case "float8":
		text = fmt.Sprintf("-1.%015de+%d", n%1e15, 150+b[8]%100)
	case "timestamp", "timestamptz":
		text = fmt.Sprintf("%04d-01-01 00:00:%02d.%06d BC", 3000+n%1000, b[8]%60, binary.BigEndian.Uint32(b[9:13])%1e6)
	default:
		return "", ""
	}
	value = ident.Literal(text) + "::" + c.Type
	return value, "d." + ident.Quote(c.Name) + " OPERATOR(pg_catalog.=) " + value
}
