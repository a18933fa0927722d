package mysql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// rung is a way in which a server can be asked to do a statement.
type rung struct {
	algorithm, lock string // lock is empty where the algorithm takes none
	rebuild         bool   // it makes the table anew
}

// clause is the demand as the server reads it.
func (g rung) clause() string {
	text := "ALGORITHM=" + g.algorithm
	if g.lock != "" {
		text += ", LOCK=" + g.lock
	}
	return text
}

// at says that the server does it at once, or in place while everybody reads and writes.
func (g rung) at() bool { return g.algorithm == "INSTANT" || g.inPlace() && g.lock == "NONE" }

func (g rung) inPlace() bool {
	return (g.algorithm == "INPLACE" || g.algorithm == "NOCOPY") && !g.rebuild
}

// native is the rung for a person and for programs.
func (g rung) native() *plan.Native {
	n := &plan.Native{Algorithm: g.algorithm, Lock: g.lock, Rebuild: g.rebuild}
	if n.Algorithm == "NOCOPY" {
		n.Algorithm = "INPLACE"
	}
	return n
}

// effect is what others would wait for.
func (g rung) effect() string {
	switch {
	case g.at():
		return "direct"
	case g.inPlace():
		return "scan"
	}
	return "rewrite"
}

// rungs are the ways of a server, the lightest first. MariaDB says by NOCOPY what MySQL does not say: in place, and without
// making the table anew.
func (w *planner) rungs() []rung {
	var out []rung
	if !w.deceptive() {
		if w.instant() {
			out = append(out, rung{algorithm: "INSTANT"})
		}
		if w.dialect.maria {
			out = append(out, rung{algorithm: "NOCOPY", lock: "NONE"}, rung{algorithm: "NOCOPY", lock: "SHARED"})
		}
		// What MariaDB takes only now makes the table anew; of MySQL the files tell.
		out = append(out, rung{"INPLACE", "NONE", w.dialect.maria}, rung{"INPLACE", "SHARED", w.dialect.maria})
	}
	return append(out, rung{"COPY", "NONE", true}, rung{"COPY", "SHARED", true})
}

// climb does the statement on the twin in the lightest way that the server takes. The last resort is the statement as it is, whose
// error says what is wrong with it.
func (w *planner) climb(ctx context.Context, r *rehearsal) (rung, error) {
	for _, g := range w.rungs() {
		before := w.numbers(ctx, r)
		err := coded(w.alter(ctx, w.demand(w.among(ctx, r, w.statement.Text), r.shadowName(), g)))
		switch {
		case fault.Lost(err) || fault.Canceled(err):
			return rung{}, err
		case err != nil:
			continue
		}
		if !w.dialect.maria && g.algorithm == "INPLACE" {
			g.rebuild = before == "" && !w.inPlace() || before != w.numbers(ctx, r)
		}
		return g, nil
	}
	return rung{"COPY", "SHARED", true}, w.alter(ctx, w.plain(ctx, r))
}

// plain is the user's statement on the twin.
func (w *planner) plain(ctx context.Context, r *rehearsal) string {
	s, err := plan.Parse(w.among(ctx, r, w.statement.Text), w.syntax)
	if err != nil {
		return r.altered
	}
	return s.Retarget(qualified(r.shadowName()))
}

// demand is a statement on another table, with a demand to the server. The grammar has the demand behind the other clauses, but before
// those about partitions.
func (w *planner) demand(text string, table schema.Name, g rung) string {
	s, err := plan.Parse(text, w.syntax)
	if err != nil || len(s.Clauses) == 0 {
		return text
	}
	switch s.Clauses[0].Action {
	case plan.MaintainPartition:
		return s.Retarget(qualified(table) + " " + g.clause() + ",")
	case plan.PartitionBy, plan.RemovePartitioning:
		return s.Retarget(qualified(table) + " " + g.clause())
	}
	return s.Retarget(qualified(table)) + ", " + g.clause()
}

// instant says that INSTANT may be asked for.
func (w *planner) instant() bool { return !w.corrupting() && w.options.Unmet != "INSTANT" }

// corrupting are the versions of MySQL in which columns that were added or dropped at once could not be recovered after a crash, nor be
// backed up.
var corrupting = []string{"8.0.29", "8.0.30", "8.0.31"}

// corrupting says that the statement would do that on such a server.
func (w *planner) corrupting() bool {
	return slices.Contains(corrupting, strings.SplitN(w.dialect.version, "-", 2)[0]) &&
		slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
			return c.Action == plan.AddColumn || c.Action == plan.AddColumns || c.Action == plan.DropColumn
		})
}

// numbers are those of the twin's files in MySQL, which change when a table is made anew. They are empty for an account without
// PROCESS, and where the server gives a table no file of its own.
func (w *planner) numbers(ctx context.Context, r *rehearsal) string {
	if w.dialect.maria {
		return ""
	}
	list, err := state.Column(ctx, w.conn, "SELECT i.number FROM "+files(false)+" i WHERE "+filesOf(r.shadowName())+" ORDER BY 1")
	if err != nil {
		return ""
	}
	return strings.Join(list, " ")
}

// deceptive says that the server accepts ALGORITHM=INSTANT and copies all the same: MariaDB 10.11 does for tables that get or lose
// partitions or another engine (measured; 11.8 refuses it). A statement that is not understood so far counts as one of them.
func (w *planner) deceptive() bool {
	if !w.dialect.maria {
		return false
	}
	return slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
		words := w.words(c.Text)
		for i, word := range words {
			switch word {
			case "PARTITION", "PARTITIONING":
				return true
			case "ENGINE":
				if i+1 == len(words) || words[i+1] != "INNODB" || !strings.EqualFold(w.engine, "InnoDB") {
					return true
				}
			}
		}
		return false
	})
}

// words are the keywords and unquoted names of a text, in upper case.
func (w *planner) words(text string) []string {
	tokens, err := plan.Lex(text, w.syntax)
	if err != nil {
		return nil
	}
	var out []string
	for _, t := range tokens {
		if t.Kind == plan.TokenWord {
			out = append(out, strings.ToUpper(text[t.Start:t.End]))
		}
	}
	return out
}

// inPlace says that every clause is one that MySQL does in place without making the table anew, for accounts that cannot see
// whether it did.
func (w *planner) inPlace() bool {
	return !slices.ContainsFunc(w.statement.Clauses, func(c plan.Clause) bool {
		switch c.Action {
		case plan.DropIndex, plan.RenameIndex, plan.SetIndexVisible, plan.SetDefault, plan.DropDefault, plan.SetVisible:
			return strings.EqualFold(c.Index, "PRIMARY")
		case plan.AddConstraint, plan.DropConstraint:
			if c.Constraint == plan.ForeignKey {
				return false
			}
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

// happened is the query whether a direct statement was carried out: the source's definition is then the one that the twin has now. It is
// empty for a statement that leaves no mark, and may run twice.
func (w *planner) happened(ctx context.Context, r *rehearsal) (string, error) {
	source, err := w.marked(ctx, r.source.Name)
	if err != nil {
		return "", err
	}
	twin, err := w.marked(ctx, r.shadowName())
	if err != nil || twin == source || w.likeness != source {
		return "", err
	}
	return w.looks(twin), nil
}

// looks asks whether the source has these marks.
func (w *planner) looks(marks string) string {
	return "SELECT " + w.marks(w.plan.Table) + " = " + literal(marks)
}

// marked are the marks of a table.
func (w *planner) marked(ctx context.Context, n schema.Name) (marks string, err error) {
	err = w.conn.QueryRowContext(ctx, "SELECT "+w.marks(n)).Scan(&marks)
	return marks, err
}

// marks are numbers: of a table's columns, its indexes, its checks, its foreign keys and its partitions. Names of databases, and of other
// tables, are not in them, because a twin has other ones.
func (w *planner) marks(n schema.Name) string {
	visible, checks := "IS_VISIBLE", "CHECK_CONSTRAINTS k JOIN information_schema.TABLE_CONSTRAINTS USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)"
	checked := "CONSTRAINT_NAME, CHECK_CLAUSE, ENFORCED"
	if w.dialect.maria {
		visible, checks, checked = "IGNORED", "CHECK_CONSTRAINTS", "CONSTRAINT_NAME, CHECK_CLAUSE"
	}
	sum := func(view, database, list string) string {
		return "(SELECT CAST(COALESCE(SUM(CRC32(CONCAT_WS('|', " + list + "))), 0) AS CHAR) FROM information_schema." + view +
			" WHERE " + database + " = " + literal(n.Schema) + " AND TABLE_NAME = " + literal(n.Table) + ")"
	}
	return "CONCAT_WS(' ', " + strings.Join([]string{
		sum("COLUMNS", "TABLE_SCHEMA", "ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COALESCE(COLUMN_DEFAULT, '~'), EXTRA, COLUMN_COMMENT, COALESCE(COLLATION_NAME, ''), COALESCE(GENERATION_EXPRESSION, '')"),
		sum("STATISTICS", "TABLE_SCHEMA", "INDEX_NAME, SEQ_IN_INDEX, COALESCE(COLUMN_NAME, ''), COALESCE(SUB_PART, ''), COALESCE(COLLATION, ''), NON_UNIQUE, INDEX_TYPE, INDEX_COMMENT, "+visible),
		sum(checks, "CONSTRAINT_SCHEMA", checked),
		sum("KEY_COLUMN_USAGE", "TABLE_SCHEMA", "CONSTRAINT_NAME, ORDINAL_POSITION, COLUMN_NAME, COALESCE(REFERENCED_COLUMN_NAME, '')"),
		sum("REFERENTIAL_CONSTRAINTS", "CONSTRAINT_SCHEMA", "CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE"),
		sum("PARTITIONS", "TABLE_SCHEMA", "COALESCE(PARTITION_NAME, ''), COALESCE(SUBPARTITION_NAME, ''), COALESCE(PARTITION_METHOD, ''), COALESCE(PARTITION_EXPRESSION, ''), COALESCE(PARTITION_DESCRIPTION, '')"),
	}, ", ") + ")"
}

// Unmet is what the server says that refused a statement because of the ALGORITHM that it asked for, and empty for any other error:
// ER_ALTER_OPERATION_NOT_SUPPORTED, the same with a reason, and the errors of a table that has no room for another version of its rows,
// which MySQL 8 and 9 do not number alike. Nothing was changed then.
func Unmet(err error) string {
	var own *Error
	if !errors.As(coded(err), &own) {
		return ""
	}
	if own.Code == 1845 || own.Code == 1846 || strings.Contains(own.Text, "ALGORITHM=INSTANT") || strings.Contains(own.Text, "ALGORITHM = INSTANT") || strings.Contains(own.Text, "dropped instantly") {
		return own.Text
	}
	return ""
}
