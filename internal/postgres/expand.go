package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// Expansion is a change of a column that code which knows the old one and code which knows the new one live through together.
type Expansion struct {
	Statement string // ALTER TABLE … RENAME COLUMN … TO …, or … ALTER COLUMN … TYPE … USING …
	As        string // the new column's name, of a new type
	Up        string // there is none: it is what USING says
	Down      string // the old column's value by the new one; empty: it is assigned
}

// Said is how a statement is called that is carried out by an expansion: it is not the same change as the statement by itself.
func (x Expansion) Said(s plan.Statement) string {
	text := "EXPAND " + s.Text
	if x.As != "" {
		text += " AS " + ident.Quote(x.As)
	}
	if x.Down != "" {
		text += " DOWN " + x.Down
	}
	return text
}

// Parse reads the statement. Errors are of the kind Usage.
func (x Expansion) Parse() (plan.Statement, error) {
	s, err := plan.Parse(x.Statement, plan.PostgresSyntax())
	one := err == nil && s.Verb == "ALTER TABLE" && s.Table.Table != "" && len(s.Clauses) == 1
	switch {
	case err != nil:
	case x.Up != "":
		err = errors.New("the way up is what the statement says, as … TYPE … USING …: leave --up out")
	case one && s.Clauses[0].Action == plan.RenameColumn && x.As+x.Down != "":
		err = fmt.Errorf("%q says itself how the new column is called, and it is of the same type: leave --as and --down out", s.Text)
	case one && s.Clauses[0].Action == plan.AlterType && x.As == "":
		err = fmt.Errorf("%q gives a column a new type, and while both are in use it needs another name: --as NAME", s.Text)
	case one && s.Clauses[0].Action == plan.AlterType && x.As == s.Clauses[0].Column:
		err = fmt.Errorf("--as is the name that the column has: %s", x.As)
	case !one || s.Clauses[0].Action != plan.RenameColumn && s.Clauses[0].Action != plan.AlterType:
		err = fmt.Errorf("%q is no ALTER TABLE … RENAME COLUMN … TO …, nor … ALTER COLUMN … TYPE …", s.Text)
	}
	if err != nil {
		err = &fault.Problem{Kind: fault.Usage, Err: err, Text: fmt.Sprintf("%v: an expansion takes one column, such as ALTER TABLE t RENAME COLUMN a TO b; nothing was changed", err)}
	}
	return s, err
}

// Expand plans a second column beside a first one, which users write both and a trigger keeps in step, until a person says that the
// first one can go. It changes nothing. Errors carry a fault.Kind.
func Expand(ctx context.Context, db *sql.DB, x Expansion, o Options) (*plan.Plan, error) {
	s, err := x.Parse()
	if err != nil {
		return nil, err
	}
	p := &plan.Plan{Format: plan.Format, ID: o.ID, Statement: x.Said(s), Table: s.Table}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // a rehearsal leaves nothing behind, however it ends
	w := &planner{tx: tx, statement: s, options: o, plan: p, expansion: &x, others: map[schema.Name]*Relation{}}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	source, err := w.altered(ctx)
	if err != nil || source == nil {
		return p, err
	}
	if missing := missing(source, s); missing != "" {
		return nil, &fault.Problem{Kind: fault.Usage, Text: missing + ". Nothing was changed"}
	}
	if why := untouchable(source); len(why) > 0 {
		return refuse(p, why...), nil
	}
	r, err := w.rehearse(ctx, source)
	if err != nil {
		return nil, err
	}
	p.Effect = string(r.effect)
	c, why, err := w.secondColumns(ctx, r)
	if err != nil {
		return nil, w.columnError(err)
	}
	if len(why) > 0 {
		return refuse(p, why...), nil
	}
	pair := c.pair()
	if pair.Leaning, err = c.leaning(ctx); err != nil {
		return nil, err
	}
	c.serveLive(pair)
	return p, nil
}

// pickLive finds the column, and what it is to be called.
func (c *columns) pickLive() (why []string) {
	k := c.said().Clauses[0]
	from := c.source.columnNamed(k.Column)
	to := c.target(from.Num)
	name := c.plan.Table.String()
	if from == nil || to == nil {
		return []string{fmt.Sprintf("there is no column %s in %s", k.Column, name)}
	}
	c.seconds = []second{{from: *from, to: *to, new: to.Name, old: fmt.Sprintf("changeling_%s_old_1", c.change)}}
	if as := c.expansion.As; as != "" {
		c.seconds[0].new = as
		if c.source.columnNamed(as) != nil {
			why = append(why, fmt.Sprintf("%s has a column %s already", name, as))
		}
	}
	if from.Generated != "" {
		why = append(why, fmt.Sprintf("column %s of %s is generated: nobody writes it, so it cannot be written under two names", from.Name, name))
	}
	for i, x := range c.shadow.Columns {
		if was := c.clone.Columns[i]; x.Generated != "" && *x.Default != *was.Default {
			why = append(why, fmt.Sprintf("column %s of %s is computed from column %s, and would have to be computed anew from another one", x.Name, name, from.Name))
		}
	}
	return append(why, c.unwritable()...)
}

// steady finds out which second column can have its default while both are in use. An INSERT that leaves the default there has not
// named the column, so the default must come to the same value wherever it is computed. Others get theirs in the end.
func (c *columns) steady(ctx context.Context) error {
	for i, s := range c.seconds {
		if s.to.Default == nil || s.to.Identity != "" {
			continue
		}
		if _, err := c.tx.ExecContext(ctx, "ROLLBACK TO changeling; "+Ours()); err != nil {
			return err
		}
		_, err := c.tx.ExecContext(ctx, "CREATE INDEX ON "+c.rehearsal.table()+" ((1)) WHERE ("+*s.to.Default+") IS NOT NULL")
		switch {
		case err == nil && s.from.Type != s.to.Type:
			if c.seconds[i].given, err = c.sameDefault(ctx, s); err != nil {
				return err
			}
		case err == nil:
			c.seconds[i].given = *s.to.Default
		case fault.Lost(err) || fault.Canceled(err):
			return err
		}
	}
	return nil
}

// sameDefault is the default of a new column of another type, if it is what the default of the old one comes to; else empty.
func (c *columns) sameDefault(ctx context.Context, s second) (string, error) {
	if s.from.Default == nil {
		return "", nil
	}
	up := ident.Quote(s.from.Name)
	if using, ok := c.using[s.from.Name]; ok {
		up = "(" + using + ")"
	}
	texts := []string{theirs(c.rehearsal.path, c.user), fmt.Sprintf("DO $changeling$ BEGIN IF NOT EXISTS (SELECT FROM (SELECT (%s)::%s AS %s) AS %s WHERE ROW((%s)::%s)::pg_catalog.record OPERATOR(pg_catalog.*=) ROW((%s)::%s)::pg_catalog.record) THEN RAISE 'another'; END IF; END $changeling$",
		*s.from.Default, s.from.Type, ident.Quote(s.from.Name), ident.Quote(c.source.Name), up, s.to.Type, *s.to.Default, s.to.Type)}
	for _, sql := range texts {
		if _, err := c.tx.ExecContext(ctx, sql); fault.Lost(err) || fault.Canceled(err) {
			return "", err
		} else if err != nil {
			return "", nil
		}
	}
	return *s.to.Default, nil
}

// leaning is what Leaning answers for the column, as the plan finds it.
func (c *columns) leaning(ctx context.Context) ([]string, error) {
	return leaningOn(ctx, c.tx, c.source.OID, c.seconds[0].from.Name)
}

// Leaning are a live pair's old column and what leans on it, in the server's words. Others may alter the table while both columns are
// in use, for weeks; but the swap is written for these.
func Leaning(ctx context.Context, q Queryer, p schema.Pair) ([]string, error) {
	return leaningOn(ctx, q, p.Table, p.Columns[0].Source)
}

func leaningOn(ctx context.Context, q Queryer, table uint32, column string) (list []string, err error) {
	var text string
	err = q.QueryRowContext(ctx, fmt.Sprintf(`WITH a AS (SELECT a.*, c.relowner, c.oid::regclass::text AS named FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attrelid = %d AND a.attname = %s AND NOT a.attisdropped)
SELECT coalesce(json_agg(x.line ORDER BY x.line), '[]')::text FROM (
  SELECT format('column %%I of %%s, %%s, owner %%s%%s%%s%%s', attname, named, format_type(atttypid, atttypmod), relowner::regrole,
    CASE WHEN attnotnull THEN ', NOT NULL' END, CASE WHEN attidentity <> '' THEN ', identity ' || attidentity::text END,
    CASE WHEN attcollation <> 0 THEN ', collation ' || attcollation::regcollation::text END) AS line FROM a
  UNION SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ': ' || coalesce(CASE d.classid
    WHEN 'pg_constraint'::regclass THEN pg_get_constraintdef(d.objid) WHEN 'pg_statistic_ext'::regclass THEN pg_get_statisticsobjdef(d.objid)
    WHEN 'pg_class'::regclass THEN (SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indexrelid = d.objid)
    WHEN 'pg_attrdef'::regclass THEN (SELECT pg_get_expr(f.adbin, f.adrelid) FROM pg_attrdef f WHERE f.oid = d.objid) END, '')
  FROM a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum) x`, table, ident.Literal(column))).Scan(&text)
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal([]byte(text), &list)
}

// serveLive makes the steps the plan.
func (c *columns) serveLive(pair schema.Pair) {
	p, s := c.plan, c.seconds[0]
	p.Why = fmt.Sprintf("%s comes beside %s, and whoever writes one of them writes the other: code that knows the old column and code that knows the new one run at the same time, until `changeling contract %s`. "+
		"It comes last in the order of the columns, and until then SELECT * shows both", s.to.Name, s.from.Name, p.ID)
	c.prepare(pair)
	first := &p.Steps[0]
	first.Name = "expand"
	first.Why = "an empty column, and a trigger that keeps both in step in every row that is written from here on"
	if BothWays(pair) {
		turn := c.step("both ways", LiveRows{ColumnRows{Rows{Pair: pair}}}.live(), "")
		turn.Role, turn.Why = pair.Owner, "every row has a value: from here on NULL in the new column is one, too"
		p.Steps = append(p.Steps, turn)
	}
	p.Steps = append(p.Steps,
		plan.Step{Kind: plan.Live, Name: "expanded", Why: "both columns are in use: waits for `changeling contract " + p.ID + "`, with no run; `changeling abort " + p.ID + "` goes back"},
		plan.Step{Kind: plan.Verify, Name: "verify again", Why: "of every row both columns are compared, before one of them goes"})
	c.promise(true)
	c.replace(pair, "contract", "waits until no snapshot is left that is older than the backfill; then keys, indexes and defaults go over and the trigger goes, in one transaction that reads no row",
		"nobody says its name any more; only the catalogue changes")
}

// liveFunction is the trigger's function of a live pair. It goes by which column was written. An INSERT has written the new one if
// it is not what it is by default, an UPDATE if it is not what it was; where both were written, the new one counts.
func liveFunction(p schema.Pair) string {
	var body strings.Builder
	for _, m := range p.Columns {
		a, b := ident.Quote(m.Source), ident.Quote(m.Shadow)
		given := m.Default
		if given == "" {
			given = "NULL"
		}
		differ := func(x, y string) string {
			return "ROW(" + x + ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(" + y + ")::pg_catalog.record"
		}
		fmt.Fprintf(&body, "  IF TG_OP = 'INSERT' AND %s OR TG_OP = 'UPDATE' AND %s THEN\n    NEW.%s := NEW.%s;\n  ELSE\n    NEW.%s := NEW.%s;\n  END IF;\n",
			differ("NEW."+b, "("+given+")::"+m.Type), differ("NEW."+b, "OLD."+b), a, b, b, a)
	}
	return "CREATE FUNCTION " + qualified(p.Capture) + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = " + pinned + " AS " +
		ident.Dollar("\n#variable_conflict use_column\nBEGIN\n"+body.String()+"  RETURN NEW;\nEND ")
}

// abandonLive takes the new column away. Trigger and column go in one transaction, because who writes the new column until then has
// written the old one, too. They came in one with the trigger's function: a column of that name that stands there without it is somebody else's.
func abandonLive(p schema.Pair) (quiet, columns, rest []string) {
	losing, standing := "", ""
	if w := (LiveRows{ColumnRows{Rows{Pair: p}}}); BothWays(p) {
		losing, standing = w.losing(), "DROP FUNCTION "+w.standing()+"(anyelement);"
	}
	var list []string
	for _, m := range p.Columns {
		list = append(list, ident.Literal(m.Shadow))
	}
	return nil, []string{fmt.Sprintf(`DO $changeling$ DECLARE t pg_catalog.regclass; n pg_catalog.name; BEGIN
  IF pg_catalog.to_regprocedure(%s) IS NULL THEN RETURN; END IF;
  FOR t IN SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = %d LOOP
    EXECUTE pg_catalog.format('LOCK TABLE ONLY %%s IN ACCESS EXCLUSIVE MODE', t);
    %s
    EXECUTE pg_catalog.format('DROP TRIGGER IF EXISTS %%I ON %%s', %s, t);
    FOREACH n IN ARRAY ARRAY[%s]::pg_catalog.name[] LOOP
      EXECUTE pg_catalog.format('ALTER TABLE ONLY %%s DROP COLUMN IF EXISTS %%I', t, n);
    END LOOP;
  END LOOP;
  DROP FUNCTION %s(); %s
END $changeling$`, ident.Literal(qualified(p.Capture)+"()"), p.Table, losing, ident.Literal(columnTrigger(p.Change)), strings.Join(list, ", "), qualified(p.Capture), standing)}, releaseColumns(p)
}
