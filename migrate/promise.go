package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
)

// promised is an ALTER TABLE of MySQL or MariaDB with a demand: that the server does it at once, or builds an index while others write,
// or refuses and changes nothing. It is for tables that the engine does not carry, those that foreign keys of others refer to above
// all: what needs no second table does not wait for that. It is false where nothing can be demanded.
func (sv server) promised(s Statement) (Statement, bool) {
	st, err := plan.Parse(s.SQL, sv.syntax)
	if !sv.mysql || err != nil || st.Verb != "ALTER TABLE" || len(st.Clauses) == 0 {
		return s, false
	}
	indexes := true
	for _, c := range st.Clauses {
		switch c.Action {
		case plan.AddIndex, plan.DropIndex:
		case plan.AddConstraint:
			if indexes = indexes && c.Constraint == plan.Unique; c.Constraint != plan.Unique && c.Constraint != plan.Check {
				return s, false
			}
		case plan.AddColumn, plan.AddColumns, plan.DropColumn:
			// Columns that these versions added or dropped at once could not be recovered after a crash.
			if slices.Contains([]string{"8.0.29", "8.0.30", "8.0.31"}, strings.SplitN(sv.version, "-", 2)[0]) {
				return s, false
			}
			indexes = false
		case plan.Algorithm, plan.Lock, plan.RenameTable, plan.PartitionBy, plan.RemovePartitioning, plan.MaintainPartition, "":
			return s, false
		default:
			indexes = false
		}
	}
	switch {
	case sv.maria:
		s.SQL += ", ALGORITHM=NOCOPY, LOCK=NONE"
	case indexes:
		s.SQL += ", ALGORITHM=INPLACE, LOCK=NONE"
	default:
		s.SQL += ", ALGORITHM=INSTANT"
	}
	return s, true
}

// broken is the error of a statement whose demand the server did not meet, or the error itself.
func (p *program) broken(u *unit, err error) error {
	var own *mysql.Error
	// ER_ALTER_OPERATION_NOT_SUPPORTED and the same with a reason: nothing was changed.
	if u.refusal == "" || !errors.As(err, &own) || own.Code != 1845 && own.Code != 1846 {
		return err
	}
	return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("migration %s: %s:%d: %s\nNor does the server do it without holding others up: %s", p.migration, p.script.File, u.statements[0].Line, u.refusal, fault.Message(err))}
}
