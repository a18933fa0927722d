package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// stepwise runs one unit after the other, each with its record: what is done is not done again, what was begun and not
// noted as done is asked of the catalogue.
func (r *run) stepwise(ctx context.Context, p *program) error {
	if err := r.unedited(p); err != nil {
		return err
	}
	if len(p.steps) == 0 {
		if err := r.asked(ctx, r.conn, p, "requires", p.script.Require, fault.Precondition); err != nil {
			return err
		}
	}
	if err := r.note(ctx, func(db state.DB) error { return r.store.Save(ctx, db, r.row(p.migration, journal.Running, 0)) }); err != nil {
		return err
	}
	for i, u := range p.units {
		if err := r.advance(ctx, p, u); err != nil {
			if w := (*waiting)(nil); errors.As(err, &w) {
				return err
			}
			return r.explain(ctx, p, i, err, r.left(p, i))
		}
	}
	return r.note(ctx, func(db state.DB) error { return r.conclude(ctx, db, p) })
}

// left says what remains of a migration that failed at a unit.
func (r *run) left(p *program, i int) string {
	next := "run the same command again: it goes on with this statement. The file may be edited from here on, not before"
	if i == 0 {
		return "nothing of it was done. Mend the cause or the file, then " + next
	}
	return fmt.Sprintf("statements 1 to %d of %d are done and kept, this one and those behind it are not. Mend the cause, then %s", i, len(p.units), next)
}

// unedited compares what is done with what the file says now.
func (r *run) unedited(p *program) error {
	for seq, x := range p.steps {
		if x.Done && (seq > len(p.units) || p.units[seq-1].hash != x.Hash) {
			return &fault.Problem{Kind: fault.Edited, Text: fmt.Sprintf(
				"migration %s is done up to statement %d, and %s says something else there now: it ran `%s`. Put the statements that ran back, or write a new migration; nothing was changed", p.migration, seq, p.script.File, shorten(x.SQL, 200))}
		}
	}
	return nil
}

// advance does one unit, unless it is done.
func (r *run) advance(ctx context.Context, p *program, u *unit) error {
	x := p.steps[u.seq]
	if x != nil && x.Done && u.kind != unitSetting {
		return r.closed(ctx, p, u)
	}
	if len(u.statements) > 0 && x == nil {
		if err := r.gate(ctx, p, u); err != nil {
			return err
		}
	}
	switch u.kind {
	case unitSetting: // it holds for a connection only, so each one needs it
		if err := r.unshared(u); err != nil {
			return err
		}
		_, err := r.conn.ExecContext(ctx, u.statements[0].SQL)
		return err
	case unitTx, unitGo:
		return r.tx(ctx, func(tx *sql.Tx) error {
			if err := r.execute(ctx, tx, p, u); err != nil {
				return err
			}
			return r.mark(ctx, tx, p, u)
		})
	case unitEngine:
		return r.beside(ctx, p, u, x, func() error { return r.change(ctx, p, u, x) })
	}
	if err := r.unshared(u); err != nil {
		return err
	}
	return r.beside(ctx, p, u, x, func() error { return r.alone(ctx, p, u, x) })
}

// unshared refuses what needs a session of its own where a pooler shares sessions: what is set there would be met by whoever gets
// the session next.
func (r *run) unshared(u *unit) error {
	if !r.pooled {
		return nil
	}
	return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("`%s` runs outside of a transaction, and the connection goes through a pooler that gives each transaction another session: "+
		"connect to the server itself, and run the same command again. What is done is kept", shorten(u.statements[0].SQL, 200))}
}

// alone runs a statement that is no transaction: begun, done, noted. A death between two of these leaves a record that was
// begun, and the next run asks whether the statement happened.
func (r *run) alone(ctx context.Context, p *program, u *unit, x *journal.Step) error {
	id := p.migration.ID()
	if x != nil {
		happened, err := r.happened(ctx, u, x)
		if err != nil {
			return err
		}
		if happened {
			return r.note(ctx, func(db state.DB) error { return r.store.Done(ctx, db, id, x) })
		}
	}
	if err := r.clear(ctx, u); err != nil {
		return err
	}
	x = u.step(p.direction)
	var err error
	if x.Before, err = r.fingerprint(ctx, u); err != nil {
		return err
	}
	if r.calls(p, u) {
		return r.call(ctx, p, u, x)
	}
	if err := r.note(ctx, func(db state.DB) error { return r.store.Begin(ctx, db, id, x) }); err != nil {
		return err
	}
	if !r.server.mysql {
		// These take locks that do not hold up users, and wait for transactions, which may take long: a bound would only leave
		// an index that is not valid.
		if _, err := r.conn.ExecContext(ctx, "SET lock_timeout = 0; SET statement_timeout = 0"); err != nil {
			return err
		}
	}
	if _, err := r.conn.ExecContext(ctx, u.statements[0].SQL); err != nil {
		return r.unmade(ctx, p, u, x, err)
	}
	return r.note(ctx, func(db state.DB) error { return r.store.Done(ctx, db, id, x) })
}

// unmade is what becomes of a statement that is no transaction and that the server answered with an error.
func (r *run) unmade(ctx context.Context, p *program, u *unit, x *journal.Step, err error) error {
	if own := (*mysql.Error)(nil); errors.As(err, &own) && own.Code != 0 && ctx.Err() == nil && !fault.Lost(err) { // the server says that it did not do it
		x.Hash = undone // or the table, once it is mended, would be taken for what the statement made of it
		if noted := r.note(ctx, func(db state.DB) error { return r.store.Begin(ctx, db, p.migration.ID(), x) }); noted != nil {
			return errors.Join(err, noted)
		}
	}
	return p.broken(u, err)
}

// Where the call of a procedure is, in the place of the definitions before it. On MySQL and MariaDB nobody knows whether a procedure ends the
// transaction that it is called in. So the journal says within that transaction that it is inside: if that is not to be seen after a death, nothing
// of the call is, and it may be called again; if it is, the procedure has committed something.
const (
	outside = "called, and nothing committed"
	within  = "called, and something committed"
)

// calls says that a statement is the call of a procedure that may run in a transaction with its record.
func (r *run) calls(p *program, u *unit) bool {
	return r.server.mysql && p.script.Tx != TxNever && calling.MatchString(u.first.words)
}

// call runs a procedure. It may run twice, also while a session that is lost still runs it.
func (r *run) call(ctx context.Context, p *program, u *unit, x *journal.Step) error {
	id := p.migration.ID()
	if old := p.steps[u.seq]; old == nil || old.Hash != u.hash {
		x.Before = outside
		if err := r.note(ctx, func(db state.DB) error { return r.store.Begin(ctx, db, id, x) }); err != nil {
			return err
		}
	}
	called := false
	err := r.tx(ctx, func(tx *sql.Tx) error {
		steps, err := r.store.Lock(ctx, tx, id, p.direction)
		if err != nil {
			return err
		}
		there := steps[u.seq]
		if there == nil || there.Done {
			return nil
		}
		if there.Before != outside {
			return unknown(there)
		}
		there.Before = within
		if err := r.store.Begin(ctx, tx, id, there); err != nil {
			return err
		}
		called = true
		if _, err := tx.ExecContext(ctx, u.statements[0].SQL); err != nil {
			return err
		}
		return r.store.Done(ctx, tx, id, x)
	})
	if err != nil && called {
		return r.unmade(ctx, p, u, x, err)
	}
	return err
}

// unknown is the end of a run where nothing tells what became of a statement.
func unknown(x *journal.Step) error {
	return &fault.Problem{Kind: fault.Unknown, Text: fmt.Sprintf(
		"a run died in the middle of `%s`, and nothing tells whether the server did it. Look, then say `changeling migrate repair --step done` or `--step undone`", shorten(x.SQL, 200))}
}

var (
	calling = regexp.MustCompile(`^CALL\b`)
	// What may run again without harm.
	repeatableThere = regexp.MustCompile(`^(VACUUM|ANALYZE|REINDEX|CLUSTER|CHECKPOINT|ALTER SYSTEM|REFRESH|FLUSH|GRANT|REVOKE|OPTIMIZE|SET)\b`)
	// What shows in the definitions of a database.
	visible = regexp.MustCompile(`^(CREATE|ALTER|DROP|RENAME)\b`)
)

// happened answers whether a statement that was begun took effect. Where nothing tells, a person must.
func (r *run) happened(ctx context.Context, u *unit, x *journal.Step) (bool, error) {
	words := u.first.words
	switch {
	case x.Hash != u.hash: // the file was edited: what was begun failed
		return false, nil
	case r.server.mysql && visible.MatchString(words) && x.Before != "":
		now, err := r.fingerprint(ctx, u)
		return now != x.Before, err
	case x.Before == outside:
		return false, nil
	case r.server.mysql:
	case strings.Contains(words, "INDEX CONCURRENTLY"):
		there, valid, err := r.index(ctx, u)
		if strings.HasPrefix(words, "DROP") {
			return !there, err
		}
		if u.first.index != "" {
			return there && valid, err
		}
	}
	if repeatableThere.MatchString(words) {
		return false, nil
	}
	return false, unknown(x)
}

// clear takes away what an interrupted build left: an index that is not valid, which IF NOT EXISTS would take for the whole (NR5).
func (r *run) clear(ctx context.Context, u *unit) error {
	if r.server.mysql || !strings.HasPrefix(u.first.words, "CREATE") || !strings.Contains(u.first.words, "INDEX CONCURRENTLY") || u.first.index == "" {
		return nil
	}
	there, valid, err := r.index(ctx, u)
	if err != nil || !there || valid {
		return err
	}
	_, err = r.conn.ExecContext(ctx, "DROP INDEX CONCURRENTLY "+r.server.quoted(schema.Name{Schema: u.first.table.Schema, Table: u.first.index}))
	return err
}

// index asks for the index that a statement is about.
func (r *run) index(ctx context.Context, u *unit) (there, valid bool, err error) {
	n := schema.Name{Schema: u.first.table.Schema, Table: u.first.index}
	if m := dropIndex.FindStringSubmatchIndex(u.first.words); m != nil {
		n = r.server.name(normal(u.statements[0].SQL, r.server.syntax)[m[6]:m[7]])
	}
	err = r.conn.QueryRowContext(ctx, postgres.ValidIndex, n.Schema, n.Table).Scan(&there, &valid)
	return there, valid, err
}

// fingerprint is what tells afterwards whether a statement of DDL happened that commits by itself: the definitions before
// it, of its table where that is known.
func (r *run) fingerprint(ctx context.Context, u *unit) (string, error) {
	if !r.server.mysql || !visible.MatchString(u.first.words) {
		return "", nil
	}
	lines, err := journal.Describe(ctx, r.conn, r.server.text)
	if err != nil {
		return "", err
	}
	h := ""
	for _, line := range lines {
		if t := u.first.table.Table; t == "" || strings.Contains(strings.ToLower(line), strings.ToLower(t)) {
			h = hash(h + line)
		}
	}
	return hash(h), nil
}

// change lets the engine do a statement. The change is found again by its statement, or by the id in the journal.
func (r *run) change(ctx context.Context, p *program, u *unit, x *journal.Step) error {
	e, err := r.changes(ctx)
	if err != nil {
		return err
	}
	id := p.migration.ID()
	if x == nil || x.Hash != u.hash {
		x = u.step(p.direction)
		if err := r.note(ctx, func(db state.DB) error { return r.store.Begin(ctx, db, id, x) }); err != nil {
			return err
		}
	}
	c, err := r.start(ctx, e, u, x)
	if fault.KindOf(err) == fault.Refused {
		x.Hash = undone // or the next run would ask what became of it
		if err := r.note(ctx, func(db state.DB) error { return r.store.Begin(ctx, db, id, x) }); err != nil {
			return err
		}
		return &fault.Problem{Kind: fault.Refused, Err: err, Text: fmt.Sprintf("migration %s: %s:%d: %v\n%s", p.migration, p.script.File, u.statements[0].Line, err, letThrough)}
	}
	if err != nil {
		return err
	}
	if c == nil { // done already
		return r.note(ctx, func(db state.DB) error { return r.store.Done(ctx, db, id, x) })
	}
	if c.ID() != x.Change {
		if err := r.note(ctx, func(db state.DB) error { return r.store.SetChange(ctx, db, id, x, c.ID()) }); err != nil {
			return err
		}
	}
	if r.m.config.Detach && c.Plan().Route != plan.Direct {
		r.result.Background = append(r.result.Background, c.ID())
		p.waiting = append(p.waiting, c.ID())
		r.m.config.Events(event.Notice{Text: fmt.Sprintf("change %s of migration %s is left to `changeling work`, or to `changeling resume %s`", c.ID(), p.migration, c.ID())})
		return nil
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	return r.note(ctx, func(db state.DB) error { return r.store.Done(ctx, db, id, x) })
}

// undone in the place of a step's hash says that what was begun did not happen: no statement has this hash.
const undone = "undone"

// start finds the change of a step, or begins it. None says that it is done.
func (r *run) start(ctx context.Context, e *changeling.Engine, u *unit, x *journal.Step) (*changeling.Change, error) {
	if x.Change != "" {
		c, err := e.Find(ctx, x.Change)
		if err != nil && !errors.Is(err, fault.Usage) {
			return nil, err
		}
		if err == nil {
			s, err := c.Status(ctx)
			switch {
			case err != nil:
				return nil, err
			case s.Status == "done":
				return nil, nil
			case s.Status != "aborted":
				return c, nil
			}
		}
	}
	return e.Start(ctx, u.statements[0].SQL)
}
