package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
)

// Kin are the tables of a family between whose old and new columns no foreign key can stand, so that all of them are swapped in one
// transaction. Each has a second table, made without the foreign keys to and from the others, which the transaction takes off and puts back.

// gatherJointly adds the family of a column whose tables swap together. All values have to become new ones in one and the same way.
func (w *gathering) gatherJointly(ctx context.Context, c plan.Clause, columns []familyColumn, to string) error {
	rank := slices.Index(integers, to)
	for i, k := range columns {
		from := slices.Index(integers, k.kind)
		switch whole := from >= 0 && slices.Contains(integers, columns[0].kind); {
		case i > 0 && c.Using == "" && rank >= 0 && from > rank && slices.Index(integers, columns[0].kind) <= rank:
			columns[i].to = k.kind // it has room for all of them as it is
		case i > 0 && k.base != columns[0].base && (c.Using != "" || !whole):
			w.why = append(w.why, fmt.Sprintf("%s.%s, which refers to %s, is of type %s, and that one of %s: the same conversion could make another value of it. Give both one type first", k.name, k.column, c.Column, k.kind, columns[0].kind))
		default:
			columns[i].to = c.Type
		}
	}
	if len(w.why) > 0 {
		return nil
	}
	texts, why, err := w.sameForAll(ctx, c, columns, to)
	if why != "" {
		w.why = append(w.why, why)
	}
	if err != nil || why != "" {
		return err
	}
	for i, k := range columns {
		if c.Collate != "" {
			k.clause = " COLLATE " + c.Collate
		}
		if c.Using != "" {
			k.clause += " USING (" + texts[i] + ")"
		}
		w.add(k, k.to != k.kind)
	}
	return nil
}

// sameForAll has the server say how the conversion of the key reads for each of the columns: as the expression of an index on an empty table that
// has the key alone. So it refuses what is not immutable, by which two rows with one key could come to two, and what needs other columns.
func (w *gathering) sameForAll(ctx context.Context, c plan.Clause, columns []familyColumn, to string) (texts []string, why string, err error) {
	tx, err := w.db.BeginTx(ctx, &sql.TxOptions{})
	if err != nil {
		return nil, "", err
	}
	defer tx.Rollback() // what it makes is for asking
	key, table := columns[0], ident.Qualified("pg_temp", columns[0].name.Table)
	column := ident.Quote(c.Column) + " " + key.kind
	if key.collation != "" {
		column += " COLLATE " + key.collation
	}
	if _, err := tx.ExecContext(ctx, "CREATE TEMPORARY TABLE "+table+" ("+column+") ON COMMIT DROP"); err != nil {
		return nil, "", err
	}
	if why, err := w.alike(ctx, tx, c, columns, to); why != "" || err != nil {
		return nil, why, err
	}
	expr := forClone(c.Using, &Relation{Schema: key.name.Schema, Name: key.name.Table}, "", false, nil)
	indexes := []string{"CREATE INDEX changeling_using ON " + table + " ((" + expr + "))", "CREATE INDEX ON " + table + " (((" + expr + ")::" + c.Type + "))"}
	if c.Using == "" {
		expr = ident.Quote(c.Column)
		indexes = []string{"CREATE INDEX ON " + table + " ((" + expr + "::" + c.Type + "))"}
	}
	for _, sql := range indexes {
		switch _, err := tx.ExecContext(ctx, sql); {
		case fault.Lost(err), fault.Canceled(err):
			return nil, "", err
		case err != nil && c.Using == "" && fault.Code(err) != "42P17":
			return nil, "", nil // the rehearsal hears it, too, from the statement itself
		case err != nil:
			return nil, fmt.Sprintf("the new values of %s, and of the columns that refer to it, have to come from the key alone and always alike, as those of an index do: the server says of %q: %s", c.Column, expr, fault.Message(err)), nil
		}
	}
	if c.Using == "" {
		return nil, "", nil
	}
	if _, err := tx.ExecContext(ctx, Ours()); err != nil {
		return nil, "", err
	}
	name := c.Column
	for _, k := range columns {
		if k.column != name {
			if _, err := tx.ExecContext(ctx, "ALTER TABLE "+table+" RENAME COLUMN "+ident.Quote(name)+" TO "+ident.Quote(k.column)); err != nil {
				return nil, "", err
			}
			name = k.column
		}
		var text sql.NullString // of a column alone there is none
		if err := tx.QueryRowContext(ctx, "SELECT pg_get_expr(indexprs, indrelid) FROM pg_index WHERE indexrelid = 'pg_temp.changeling_using'::regclass").Scan(&text); err != nil {
			return nil, "", err
		}
		texts = append(texts, cmp.Or(text.String, ident.Quote(k.column)))
	}
	return texts, "", nil
}

// alike says why values that are equal, as a foreign key demands, may not become equal ones, if they may not: those of some types can look different,
// such as 1.0 and 1.00, or a and A of a collation. The server knows them from an index, which cannot keep one entry for equal values of these.
func (w *gathering) alike(ctx context.Context, tx *sql.Tx, c plan.Clause, columns []familyColumn, to string) (string, error) {
	key, numbers := columns[0], append(slices.Clone(integers), "numeric", "real", "double precision")
	from, digits := modified(key.kind)
	switch {
	case len(digits) == 2 && !slices.ContainsFunc(columns, func(k familyColumn) bool { return k.kind != key.kind }):
		return "", nil // all have as many digits behind the point
	case slices.Contains(numbers, from) && slices.Contains(numbers, to) && (c.Using == "" || casts(c.Using, Column{Name: c.Column}, to)):
		return "", nil // equal numbers become equal ones
	}
	if _, err := tx.ExecContext(ctx, "CREATE INDEX changeling_alike ON "+ident.Qualified("pg_temp", key.name.Table)+" ("+ident.Quote(c.Column)+")"); err != nil {
		return "", err
	}
	var alike bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_amproc p WHERE p.amprocfamily OPERATOR(pg_catalog.=) o.opcfamily AND p.amproclefttype OPERATOR(pg_catalog.=) o.opcintype
    AND p.amprocrighttype OPERATOR(pg_catalog.=) o.opcintype AND p.amprocnum OPERATOR(pg_catalog.=) 4) AND coalesce(l.collisdeterministic, true)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_opclass o ON o.oid OPERATOR(pg_catalog.=) i.indclass[0] LEFT JOIN pg_catalog.pg_collation l ON l.oid OPERATOR(pg_catalog.=) i.indcollation[0]
WHERE i.indexrelid OPERATOR(pg_catalog.=) 'pg_temp.changeling_alike'::pg_catalog.regclass`).Scan(&alike)
	if err != nil || alike {
		return "", err
	}
	return fmt.Sprintf("two values of %s.%s, of type %s, can be equal and look different, so that a key and what refers to it could become two values. Give all of its columns a type first of which equal values are one, such as numeric(12,2)",
		key.name, c.Column, key.kind), nil
}

// kinship completes a family that swaps together.
func (w *gathering) kinship(ctx context.Context, f *Family) error {
	f.Route, f.Sequences = plan.ShadowTable, nil
	oids := []string{}
	for _, m := range w.order() {
		if len(m.clauses()) > 0 || m.oid == w.root {
			f.Kin = append(f.Kin, uint32(m.oid))
			oids = append(oids, fmt.Sprint(m.oid))
		}
	}
	tx, err := w.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // only reads
	if _, err := tx.ExecContext(ctx, Ours()); err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated, obj_description(k.oid, 'pg_constraint'), m.nspname, p.relname
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace m ON m.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> k.confrelid AND k.conrelid = ANY (ARRAY[%s]::oid[]) AND k.confrelid = ANY (ARRAY[%[1]s]::oid[]) ORDER BY 1, 2, 3`, strings.Join(oids, ", ")))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k foreignKey
		if err := rows.Scan(&k.Table.Schema, &k.Table.Table, &k.Name, &k.Def, &k.Validated, &k.Comment, &k.To.Schema, &k.To.Table); err != nil {
			return err
		}
		alter := "ALTER TABLE " + qualified(k.Table) + " "
		on := plan.FamilyKey{Name: k.Name, Drop: alter + "DROP CONSTRAINT " + ident.Quote(k.Name), Add: append([]string{k.add()}, comment("CONSTRAINT "+ident.Quote(k.Name)+" ON "+qualified(k.Table), k.Comment)...)}
		if len(validations([]foreignKey{k})) > 0 {
			on.Validate = alter + "VALIDATE CONSTRAINT " + ident.Quote(k.Name)
		}
		f.Keys = append(f.Keys, on)
	}
	return rows.Err()
}

// apart is a table without the foreign keys between it and its kin, which go with the swap of all.
func (r *Relation) apart(kin []uint32) *Relation {
	if len(kin) == 0 {
		return r
	}
	c := *r
	other := func(oid uint32) bool { return oid != r.OID && slices.Contains(kin, oid) }
	c.Constraints = less(r.Constraints, func(k Constraint) bool { return k.Type == "f" && other(k.ToOID) })
	c.References = less(r.References, func(k Constraint) bool { return other(k.TableOID) })
	return &c
}
