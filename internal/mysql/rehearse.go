package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// rehearse runs the statement on an empty twin under the same names and looks at what the server did.
func (w *planner) rehearse(ctx context.Context, source *Relation) (out *plan.Plan, err error) {
	r := &rehearsal{source: source, change: w.options.ID, statement: w.statement, steady: w.steady, replicas: w.options.Replicas}
	var there int
	if err := w.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ("+literal(r.in())+", "+literal(r.old())+")").Scan(&there); err != nil {
		return nil, err
	}
	if there > 0 {
		return nil, &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("database %s or %s exists already, so change %s was planned before: take another id; nothing was changed", r.in(), r.old(), w.options.ID)}
	}
	r.create = r.makeShadow()
	r.altered = w.statement.Retarget(qualified(r.shadowName()))
	// What is made here is dropped again, however this ends, and over another connection if this one broke.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, name := range []string{r.in(), r.old()} {
			sql := "DROP DATABASE IF EXISTS " + quote(name)
			if _, dropped := w.conn.ExecContext(ctx, sql); dropped != nil {
				if _, dropped = w.db.ExecContext(ctx, sql); dropped != nil && err == nil {
					out, err = nil, w.explain(dropped, "dropping the twin's database "+name)
				}
			}
		}
	}()
	for _, sql := range r.create {
		if _, err := w.conn.ExecContext(ctx, sql); err != nil {
			return nil, w.explain(err, "making an empty twin of "+w.plan.Table.String())
		}
	}
	columns, indexes := w.marks(r.shadowName())
	if err := w.conn.QueryRowContext(ctx, "SELECT "+columns+", "+indexes).Scan(&w.likeness[0], &w.likeness[1]); err != nil {
		return nil, err
	}
	at, altered, err := w.direction(ctx, r)
	if err != nil {
		return nil, err
	}
	if at != nil {
		at.Steps[0].Done, err = w.happened(ctx, r)
		return at, err
	}
	if !altered {
		if err := w.alter(ctx, r.altered); err != nil {
			return nil, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
		}
	}
	if p, err := w.apart(ctx, r); err != nil || p != nil {
		return p, err
	}
	if r.shadow, err = Inspect(ctx, w.conn, r.shadowName()); err != nil {
		return nil, err
	}
	if refusals := w.unsupported(r.shadow); len(refusals) > 0 {
		return refuse(w.plan, refusals...), nil
	}
	if err := w.taken(ctx, r); err != nil {
		return nil, err
	}
	return w.shadowTable(ctx, r)
}

// happened is the query whether a direct statement was carried out: the columns and indexes of the source are then those
// that the twin has now. It is empty for a statement that changes neither, and may run twice.
func (w *planner) happened(ctx context.Context, r *rehearsal) (string, error) {
	ask := func(n schema.Name) (sums [2]string, err error) {
		a, b := w.marks(n)
		return sums, w.conn.QueryRowContext(ctx, "SELECT "+a+", "+b).Scan(&sums[0], &sums[1])
	}
	source, err := ask(r.source.Name)
	if err != nil {
		return "", err
	}
	twin, err := ask(r.shadowName())
	if err != nil || twin == source || w.likeness != source {
		return "", err
	}
	a, b := w.marks(r.source.Name)
	return "SELECT " + a + " = " + literal(twin[0]) + " AND " + b + " = " + literal(twin[1]), nil
}

// marks are two numbers, of a table's columns and of its indexes.
func (w *planner) marks(n schema.Name) (columns, indexes string) {
	visible := "IS_VISIBLE"
	if w.dialect.maria {
		visible = "IGNORED"
	}
	sum := func(view string, list string) string {
		return "(SELECT CAST(COALESCE(SUM(CRC32(CONCAT_WS('|', " + list + "))), 0) AS CHAR) FROM information_schema." + view +
			" WHERE TABLE_SCHEMA = " + literal(n.Schema) + " AND TABLE_NAME = " + literal(n.Table) + ")"
	}
	return sum("COLUMNS", "ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COALESCE(COLUMN_DEFAULT, '~'), EXTRA, COLUMN_COMMENT, COALESCE(COLLATION_NAME, ''), COALESCE(GENERATION_EXPRESSION, '')"),
		sum("STATISTICS", "INDEX_NAME, SEQ_IN_INDEX, COALESCE(COLUMN_NAME, ''), COALESCE(SUB_PART, ''), COALESCE(COLLATION, ''), NON_UNIQUE, INDEX_TYPE, INDEX_COMMENT, "+visible)
}

// taken says that a check's name belongs to another table of the same database, where MySQL has one of each. The shadow's
// own database does not know of it.
func (w *planner) taken(ctx context.Context, r *rehearsal) error {
	if w.dialect.maria {
		return nil
	}
	found, err := firstColumn(ctx, w.conn, "SELECT CONCAT(k.CONSTRAINT_NAME, ' of ', k.TABLE_NAME) FROM information_schema.TABLE_CONSTRAINTS k JOIN information_schema.TABLE_CONSTRAINTS s USING (CONSTRAINT_NAME) "+
		"WHERE s.CONSTRAINT_TYPE = 'CHECK' AND s.TABLE_SCHEMA = "+literal(r.in())+" AND k.CONSTRAINT_TYPE = 'CHECK' AND k.TABLE_SCHEMA = "+literal(r.source.Name.Schema)+" AND k.TABLE_NAME <> "+literal(r.source.Name.Table))
	if err != nil || len(found) == 0 {
		return err
	}
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf("the statement gives a check a name that another table of the database has (%s): choose another one. Nothing was changed", strings.Join(found, ", "))}
}

// alter runs a text of the user's under his own mode.
func (w *planner) alter(ctx context.Context, sql string) error {
	if _, err := w.conn.ExecContext(ctx, w.theirs()); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, sql)
	if _, back := w.conn.ExecContext(ctx, ours()); err == nil {
		err = back
	}
	return err
}

// direction asks the server whether it can do the statement without making the table anew; the plan is nil if not. It says
// whether the twin is altered by then.
func (w *planner) direction(ctx context.Context, r *rehearsal) (p *plan.Plan, altered bool, err error) {
	with := func(name schema.Name, clause string) string {
		return w.statement.Retarget(qualified(name)) + ", " + clause
	}
	try := func(clause string) (bool, error) {
		err := coded(w.alter(ctx, with(r.shadowName(), clause)))
		if fault.Lost(err) || fault.Canceled(err) {
			return false, err
		}
		// Whatever it is: the statement runs as it is next, and says it again if it is the statement's own fault.
		return err == nil, nil
	}
	if w.deceptive() {
		return nil, false, nil
	}
	const instant = "ALGORITHM=INSTANT"
	if w.corrupting() {
	} else if yes, err := try(instant); err != nil {
		return nil, false, err
	} else if yes && w.worn(ctx) {
		return nil, true, nil
	} else if yes {
		return w.direct("rehearsed on an empty twin: the server only changes the catalogue", with(w.plan.Table, instant)), true, nil
	}
	place := "ALGORITHM=INPLACE, LOCK=NONE"
	if w.dialect.maria {
		place = "ALGORITHM=NOCOPY, LOCK=NONE"
	}
	before := w.files(ctx, r)
	if yes, err := try(place); err != nil || !yes {
		return nil, false, err
	}
	if !w.dialect.maria {
		after := w.files(ctx, r)
		if before == "" && !w.inPlace() || before != after {
			return nil, true, nil // it made the table anew
		}
	}
	builds := slices.ContainsFunc(w.statement.Clauses, builds)
	why := "rehearsed on an empty twin: the server changes the catalogue, and drops what is not needed, while the table is in use"
	if builds {
		why = fmt.Sprintf("rehearsed on an empty twin: the server builds the index online, from about %d rows, while the table is in use; a replica stands still for as long as that takes", w.plan.Rows)
	}
	p = w.direct(why, with(w.plan.Table, place))
	if builds || !w.inPlace() {
		// The engine would take a long build for a long wait. The server bounds the wait itself, in whole seconds.
		p.Steps[0].LockWait, p.Steps[0].Lock = 0, "exclusive metadata lock for a moment, at the beginning and at the end"
	}
	return p, true, nil
}

// corrupting says that the server is MySQL 8.0.29 to 8.0.31, where columns that were added or dropped at once could not be
// recovered after a crash, nor be backed up.
func (w *planner) corrupting() bool {
	return slices.Contains([]string{"8.0.29", "8.0.30", "8.0.31"}, strings.SplitN(w.dialect.version, "-", 2)[0]) &&
		slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
			return c.Action == plan.AddColumn || c.Action == plan.AddColumns || c.Action == plan.DropColumn
		})
}

// worn says that the source has as many versions of its rows as MySQL allows: 64 of them, from 9.1 on 255. Its empty twin
// has none. An account without PROCESS cannot see it; there the statement fails when it runs, and changes nothing.
func (w *planner) worn(ctx context.Context) bool {
	if w.dialect.maria {
		return false
	}
	var versions, major, minor int
	if err := w.conn.QueryRowContext(ctx, "SELECT TOTAL_ROW_VERSIONS FROM information_schema.INNODB_TABLES WHERE NAME = "+
		literal(fileName(w.plan.Table.Schema)+"/"+fileName(w.plan.Table.Table))).Scan(&versions); err != nil {
		return false
	}
	limit := 64
	if n, _ := fmt.Sscanf(w.dialect.version, "%d.%d", &major, &minor); n == 2 && (major > 9 || major == 9 && minor >= 1) {
		limit = 255
	}
	return versions >= limit
}

// files are the numbers of the twin's tablespaces in MySQL, which change when a table is made anew. They are empty for an
// account without PROCESS.
func (w *planner) files(ctx context.Context, r *rehearsal) string {
	if w.dialect.maria {
		return ""
	}
	list, err := firstColumn(ctx, w.conn, "SELECT TABLE_ID FROM information_schema.INNODB_TABLES WHERE SUBSTRING_INDEX(NAME, '/', 1) = "+literal(fileName(r.in()))+" ORDER BY 1")
	if err != nil {
		return ""
	}
	return strings.Join(list, " ")
}

// fileName is a name as InnoDB keeps it; one with letters beyond ASCII is not found by it.
func fileName(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "@%04x", c)
		}
	}
	return b.String()
}

// deceptive says that the server accepts ALGORITHM=INSTANT and copies all the same: MariaDB 10.11 does for these (measured).
func (w *planner) deceptive() bool {
	if !w.dialect.maria {
		return false
	}
	return slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
		text := strings.ToUpper(c.Text)
		return strings.Contains(text, "PARTITION") || strings.Contains(text, "ENGINE")
	})
}

// inPlace says that every clause is one that MySQL does in place without making the table anew, for accounts that cannot see
// whether it did.
func (w *planner) inPlace() bool {
	return !slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
		switch c.Action {
		case plan.DropIndex, plan.RenameIndex, plan.SetIndexVisible, plan.SetDefault, plan.DropDefault, plan.SetVisible:
			return strings.EqualFold(c.Index, "PRIMARY")
		case plan.SetTableOptions:
			text := strings.ToUpper(c.Text)
			return !strings.HasPrefix(text, "COMMENT") && !strings.HasPrefix(text, "STATS_") && !strings.HasPrefix(text, "AUTO_INCREMENT")
		}
		return !builds(c)
	})
}

// builds says that a clause makes an index and does nothing else.
func builds(c plan.Clause) bool {
	text := strings.ToUpper(c.Text)
	return c.Action == plan.AddIndex && !strings.Contains(text, "FULLTEXT") && !strings.Contains(text, "SPATIAL") && !strings.Contains(text, "VECTOR") ||
		c.Action == plan.AddConstraint && c.Constraint == plan.Unique
}
