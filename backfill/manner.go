package backfill

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
)

// TriggersSkip leaves out the triggers of a table (Job.Triggers).
const TriggersSkip = "skip"

// mannered refuses ways of work that the server does not have.
func (j *Jobs) mannered(job Job) error {
	switch {
	case job.Triggers != "" && job.Triggers != TriggersSkip:
		return usage("triggers %q: expected fire or skip", job.Triggers)
	case job.Triggers == TriggersSkip && j.mysql:
		return usage("triggers are to be left out, and MySQL and MariaDB have no way to do that: drop them for as long as it takes, or let them fire")
	case job.KeepTimes && !j.mysql:
		return usage("columns that the server sets by itself on each UPDATE are of MySQL and MariaDB; on PostgreSQL a trigger does it, which --triggers skip leaves out")
	case job.KeepTimes && job.Set == "":
		return usage("times can be kept by an UPDATE only")
	case job.AsyncCommit && j.mysql:
		return usage("a commit that does not wait for the log is a setting of the whole server on MySQL and MariaDB (innodb_flush_log_at_trx_commit): a job does not touch it")
	case job.Vacuum != 0 && j.mysql:
		return usage("MySQL and MariaDB purge by themselves: there is nothing to vacuum")
	case job.Vacuum < 0 || job.Vacuum > 100:
		return usage("Vacuum is %v: expected a share of the rows in percent, 0 to 100", job.Vacuum)
	}
	return nil
}

// settings are the texts that a batch's transaction begins with.
func (w *walk) settings() (out []string) {
	if w.job.AsyncCommit { // rows and position still commit together, so a crash of the server loses both or none
		out = append(out, "SET LOCAL synchronous_commit = off")
	}
	if w.job.Triggers == TriggersSkip { // those of a change that is under way are ENABLE ALWAYS, and hear of it all the same
		out = append(out, "SET LOCAL session_replication_role = replica")
	}
	return out
}

// manner looks, before the first batch, whether the job may work as it was told to, and what its statement keeps.
func (w *walk) manner(ctx context.Context) error {
	if w.job.Triggers == TriggersSkip {
		if err := w.skippable(ctx); err != nil {
			return err
		}
	}
	if len(w.settings()) > 0 {
		if err := w.tx(ctx, func(*sql.Tx) error { return nil }); fault.Denied(err) {
			return &fault.Problem{Kind: fault.Precondition, Err: err, Text: "the role may not leave triggers out: " + fault.Message(err) +
				". Needed: GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15 and later), or a superuser; nothing was changed"}
		} else if err != nil {
			return err
		}
	}
	if w.job.KeepTimes {
		return w.keepTimes(ctx)
	}
	return nil
}

// skippable refuses to leave triggers out where foreign keys would not be kept: they are triggers, too.
func (w *walk) skippable(ctx context.Context) error {
	written := ""
	if !w.job.Delete {
		columns, err := w.assigned()
		if err != nil {
			return err
		}
		written = strings.Join(columns, "\n")
	}
	var tied sql.NullString
	if err := w.db.QueryRowContext(ctx, w.text.Tied, w.table, written).Scan(&tied); err != nil {
		return err
	}
	if tied.String != "" {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("triggers are to be left out, and with them the server leaves out the foreign keys %s, which this job could break: let the triggers fire, or disable the ones that are meant; nothing was changed", tied.String)}
	}
	return nil
}

// keepTimes adds to the assignments those columns that the server would set by itself.
func (w *walk) keepTimes(ctx context.Context) error {
	given, err := w.assigned()
	if err != nil {
		return err
	}
	names, err := state.Column(ctx, w.db, w.text.Times, w.parts.Schema, w.parts.Table)
	for _, name := range names {
		taken := slices.ContainsFunc(given, func(c string) bool { return strings.EqualFold(c, name) })
		if q := mysql.QuotedName(name); !taken {
			w.kept += ", " + q + " = " + q
		}
	}
	return err
}

// assigned are the columns that the job's assignments write, as the server names them.
func (w *walk) assigned() (out []string, err error) {
	text := w.job.Set
	tokens, err := plan.Lex(text, w.syntax)
	if err != nil {
		return nil, usage("%v", err)
	}
	depth, fresh := 0, true // at the beginning of an assignment
	for _, t := range tokens {
		word := text[t.Start:t.End]
		switch {
		case t.Kind == plan.TokenSpace, t.Kind == plan.TokenComment:
		case word == "(":
			depth++
		case word == ")":
			depth--
		case word == "," && depth == 0:
			fresh = true
		case word == "=" && depth == 0:
			fresh = false
		case fresh && depth <= 1 && word != "," && word != ".":
			if len(out) > 0 && t.Start > 0 && strings.HasSuffix(strings.TrimSpace(text[:t.Start]), ".") {
				out = out[:len(out)-1] // what stood before the dot was the table
			}
			out = append(out, w.folded(word))
		}
	}
	return out, nil
}

// folded is a name as the server has it.
func (w *walk) folded(word string) string {
	switch quote := word[:1]; {
	case quote == `"`, quote == "`":
		return strings.ReplaceAll(word[1:len(word)-1], quote+quote, quote)
	case w.mysql:
		return word
	}
	return strings.ToLower(word)
}

// vacuumed vacuums the table when the rows that were changed since the last time are the share that the job says.
func (w *walk) vacuumed(ctx context.Context, rows int64) error {
	if w.job.Vacuum <= 0 {
		return nil
	}
	w.dirty += rows
	if float64(w.dirty) < max(w.job.Vacuum/100*float64(w.pace.total), 1000) {
		return nil
	}
	w.dirty = 0
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// As autovacuum works, with rests. It locks nobody out: without TRUNCATE it takes no lock that readers or writers meet.
	if _, err := conn.ExecContext(ctx, "SELECT pg_catalog.set_config('lock_timeout', '1s', false), pg_catalog.set_config('vacuum_cost_delay', '2ms', false), pg_catalog.set_config('application_name', "+
		ident.Literal(w.lease.Application())+", false)"); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "VACUUM (TRUNCATE OFF) "+w.table)
	_, back := conn.ExecContext(ctx, "RESET lock_timeout; RESET vacuum_cost_delay; RESET application_name")
	if err != nil && ctx.Err() == nil && !fault.Lost(err) {
		w.config.Events(event.Notice{Text: fmt.Sprintf("the table %s was not vacuumed, and the job goes on: %s", w.table, fault.Message(err))})
		err = nil
	}
	if err == nil {
		err = back
	}
	return err
}
