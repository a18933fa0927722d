package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// unit is what is done and noted as one.
type unit struct {
	seq        int
	kind       string // transaction, alone, setting, engine or function: how it runs
	statements []Statement
	first      parsed // what the first of them is
	hash       string
	function   GoFunc
	why        string     // for a person
	plan       *plan.Plan // of the engine; nil where it can only be planned when it is reached
	failed     Statement  // the statement that failed
	refusal    string     // why the engine refuses what the server is asked to do at once; empty: it was not asked
}

// The kinds of units.
const (
	unitTx      = "transaction"
	unitLoose   = "alone"
	unitSetting = "setting"
	unitEngine  = "engine"
	unitGo      = "function"
)

func (u *unit) text() string {
	text := ""
	for i, s := range u.statements {
		if i > 0 {
			text += ";\n"
		}
		text += s.SQL
	}
	return text
}

func (u *unit) step(direction string) *journal.Step {
	return &journal.Step{Direction: direction, Seq: u.seq, Hash: u.hash, SQL: u.text()}
}

// program is one direction of a migration as it will run.
type program struct {
	migration *Migration
	direction string
	script    *Script
	units     []*unit
	atomic    bool // all in one transaction
	steps     map[int]*journal.Step
	began     time.Time
	waiting   []string // changes that run beside it
}

// compose decides how each statement runs: the whole in one transaction where the server and all statements allow it (R6),
// else one after the other with a record of each.
func (r *run) compose(ctx context.Context, m *Migration, direction string) (*program, error) {
	p := &program{migration: m, direction: direction, script: &m.Up, atomic: !r.server.mysql}
	function := m.Go
	if direction == down {
		if m.Down == nil {
			return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("migration %s has no way back: write its down script, or go forward with a new migration; nothing was changed", m)}
		}
		p.script, function = m.Down, m.GoDown
	}
	if function != nil {
		p.units = []*unit{{seq: 1, kind: unitGo, function: function, hash: hash("go " + m.ID()), why: "a function of the program"}}
		return p, nil
	}
	// MySQL keeps what is no DDL in a transaction, and InnoDB's tables alone: a file has to say that it relies on that.
	p.atomic = p.atomic && p.script.Tx != TxNever || p.script.Tx == TxAlways
	before := tables{created: map[schema.Name]bool{}, reshaped: map[schema.Name]bool{}}
	var statements []Statement
	for _, s := range p.script.Statements {
		each, err := r.spread(ctx, p, s)
		if err != nil {
			return nil, err
		}
		statements = append(statements, each...)
	}
	for _, s := range statements {
		u, err := r.unit(ctx, s, before)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %s:%d: %w", m, p.script.File, s.Line, err)
		}
		if u.kind == unitLoose || u.kind == unitEngine {
			if p.script.Tx == TxAlways {
				return nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("migration %s: %s:%d demands one transaction, and this statement cannot run in it: %s. Take it to a migration of its own; nothing was changed", m, p.script.File, s.Line, u.why)}
			}
			p.atomic = false
		}
		if s.Tables != "" {
			p.atomic = false // each table has its record
		}
		if s.Gate != nil {
			if p.script.Tx == TxAlways {
				return nil, usage("migration %s: %s:%d demands one transaction, and has phases: leave one of them out", m, p.script.File, s.Line)
			}
			p.atomic = false
		}
		p.units = append(p.units, u)
	}
	p.group()
	return p, nil
}

// group makes one unit of the statements between BEGIN and COMMIT, where all of them can be in a transaction.
func (p *program) group() {
	var out []*unit
	for _, u := range p.units {
		last := len(out) - 1
		if g := u.statements[0].Group; g > 0 && last >= 0 && u.statements[0].Gate == nil && u.kind == unitTx && out[last].kind == unitTx && out[last].statements[0].Group == g {
			out[last].statements = append(out[last].statements, u.statements...)
			out[last].hash = hash(out[last].hash + u.hash)
			continue
		}
		out = append(out, u)
	}
	for i, u := range out {
		u.seq = i + 1
	}
	p.units = out
}

// tables are those that a script has made, which nobody uses yet, and those that statements of it reshape.
type tables struct{ created, reshaped map[schema.Name]bool }

// unit decides how one statement runs, behind those that were before it in the script.
func (r *run) unit(ctx context.Context, s Statement, before tables) (*unit, error) {
	first := r.server.look(s)
	u := &unit{kind: unitTx, statements: []Statement{s}, first: first, hash: hash(normal(s.SQL, r.server.syntax)), why: "in a transaction with its record"}
	switch first.class {
	case loose:
		u.kind, u.why = unitLoose, "the server refuses it in a transaction"
		if r.server.mysql {
			u.why = "the server commits it by itself"
		}
	case setting:
		u.kind, u.why = unitSetting, "holds for the statements behind it"
	}
	if first.verb == "CREATE TABLE" {
		before.created[first.table] = true
	}
	if first.reshapes() {
		defer func() { before.reshaped[first.table] = true }()
	}
	if s.Direct || r.m.config.Direct || !first.reshapes() || before.created[first.table] || first.class == loose && !r.server.mysql {
		return u, nil
	}
	small, err := r.small(ctx, first.table)
	if err != nil || small {
		return u, err
	}
	return u, r.online(ctx, u, before.reshaped[first.table])
}

// small says that a table is not there, or so small that nobody notices what a server does with all of it.
func (r *run) small(ctx context.Context, n schema.Name) (bool, error) {
	var there bool
	var bytes int64
	if err := r.conn.QueryRowContext(ctx, r.server.text.Table, n.Schema, n.Table).Scan(&there, &bytes); err != nil || !there {
		return !there, err
	}
	limit := r.m.config.SmallRows
	if limit < 0 || bytes > 8<<20 {
		return false, nil
	}
	// Statistics may be a day old, and the size with them: rows are counted, up to the limit.
	var rows int64
	count := "pg_catalog.count(*)"
	if r.server.mysql {
		count = "COUNT(*)"
	}
	err := r.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM (SELECT 1 FROM %s LIMIT %d) few", count, r.server.quoted(n), limit+1)).Scan(&rows)
	if fault.Denied(err) {
		return false, nil
	}
	return rows <= limit, err
}

// online asks the engine how a statement on a large table goes. Reshaped says that one before it changes the table, which the engine
// does not see yet.
func (r *run) online(ctx context.Context, u *unit, reshaped bool) error {
	e, err := r.changes(ctx)
	if err != nil {
		if fault.KindOf(err) == fault.Precondition && r.server.maria {
			return fmt.Errorf("the table is too large to be altered as it is, and %w", err)
		}
		return err
	}
	sql := u.statements[0].SQL
	if found, done, err := e.Known(ctx, sql); err == nil && (found != nil || done) {
		u.kind, u.why = unitEngine, "its change was begun already"
		return nil
	}
	p, err := e.Plan(ctx, sql)
	switch {
	case errors.Is(err, fault.Usage), fault.Undefined(err):
		// It may need what a statement before it makes.
		u.kind, u.why = unitEngine, "planned when it is reached"
	case err != nil:
		return err
	case p.Route == plan.Refuse && u.first.verb != "ALTER TABLE":
		u.statements[0] = r.server.concurrently(u.statements[0])
		u.first = r.server.look(u.statements[0])
		u.kind, u.why = unitLoose, "built while others write"
	case p.Route == plan.Direct && !r.server.mysql:
		u.why = p.Why
	case p.Route == plan.Refuse:
		if s, ok := r.server.promised(u.statements[0]); ok {
			u.refusal, u.statements[0] = refused(p), s
			u.first = r.server.look(s)
			u.kind, u.why = unitLoose, "the server does it at once, or while others write, or not at all"
			return nil
		}
		if reshaped {
			u.kind, u.why = unitEngine, "planned when it is reached"
			return nil
		}
		return &fault.Problem{Kind: fault.Refused, Text: refused(p)}
	default:
		u.kind, u.why, u.plan = unitEngine, string(p.Route)+": "+p.Why, p
	}
	return nil
}

// refused says why the engine refuses, and the way around it.
func refused(p *plan.Plan) string {
	text := "the change is refused:"
	for _, why := range p.Refusals {
		text += "\n  - " + why
	}
	return text + "\n" + letThrough
}

const letThrough = "Put `-- changeling: direct` before the statement to let the server run it as it is; nothing was changed by it"

// changes is the engine, opened when it is needed first.
func (r *run) changes(ctx context.Context) (*changeling.Engine, error) {
	if r.engine == nil {
		e, err := changeling.Open(ctx, r.m.db, r.m.config.Engine)
		if err != nil {
			return nil, err
		}
		r.engine = e
	}
	return r.engine, nil
}
