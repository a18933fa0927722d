package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/mysql"
)

func newDoctor(a *app) *cobra.Command {
	var asJSON bool
	wait := 200 * time.Millisecond
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this role, server and connection are fit for changes; changes nothing",
		Long: `Looks at the version, the role's rights, settings, room for connections, poolers, long and prepared
transactions, and what changes there are. It only reads. Each line is ok, warn or fail, and says
what to do. Exit code 4 if something fails.`,
		Example: `  changeling doctor
  changeling doctor --json | jq -r '.[] | select(.level == "fail") | .fix'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dsn, from := a.source()
			db, err := a.open()
			if err != nil {
				return err
			}
			defer db.Close() // nothing is in flight any more
			d := &doctor{db: db, wait: wait}
			if isMySQL(dsn) {
				err = d.mysql(cmd.Context(), dsn, a.env("HOME"))
			} else if config, readErr := a.config(dsn, from); readErr != nil {
				err = readErr
			} else {
				d.place = place(config)
				err = d.run(cmd.Context())
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = indented(a.out, d.findings)
			} else {
				d.print(a)
			}
			if err == nil && d.failed() {
				err = ended(int(fault.Precondition))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of findings as JSON")
	cmd.Flags().DurationVar(&wait, "lock-timeout", wait, "the one that changes will run with, a `duration`")
	return cmd
}

// finding is one line of the doctor. Its JSON form is a contract: fields are added, never changed.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // ok, warn, fail
	Text  string `json:"text"`  // what is
	Fix   string `json:"fix"`   // what to do; empty if nothing is to be done
}

// doctor looks at a server from the outside. It asks the catalogue only; what changing would do, `changeling plan` tries.
type doctor struct {
	db       *sql.DB
	wait     time.Duration
	place    string
	version  int // such as 150004
	findings []finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(check, "ok", fmt.Sprintf(format, args...), "")
}
func (d *doctor) warn(check, text, fix string) { d.add(check, "warn", text, fix) }
func (d *doctor) fail(check, text, fix string) { d.add(check, "fail", text, fix) }

func (d *doctor) add(check, level, text, fix string) {
	d.findings = append(d.findings, finding{check, level, clean(text), clean(fix)})
}

func (d *doctor) failed() bool {
	for _, f := range d.findings {
		if f.Level == "fail" {
			return true
		}
	}
	return false
}

func (d *doctor) print(a *app) {
	counts := map[string]int{}
	for _, f := range d.findings {
		counts[f.Level]++
		a.printf("%-4s  %-14s  %s\n", f.Level, f.Check, a.redact(f.Text))
		if f.Fix != "" {
			a.printf("      %-14s  -> %s\n", "", f.Fix)
		}
	}
	a.printf("\n%d ok, %d to look at, %d to mend. Nothing was changed.\n", counts["ok"], counts["warn"], counts["fail"])
}

// mysql is run for MySQL and MariaDB.
func (d *doctor) mysql(ctx context.Context, dsn, home string) error {
	target, err := mysql.ParseDSN(dsn, home)
	if err != nil {
		return err
	}
	place := fmt.Sprintf("%s on %s as %s", cmp.Or(target.Database, "no database"), target.Addr, target.User)
	found, err := mysql.Examine(ctx, d.db, place, d.wait)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		d.fail("connection", place+": "+fault.Message(err), "check host, port, user and password; the connection comes from --dsn, $CHANGELING_DSN, $DATABASE_URL and ~/.my.cnf")
		return nil
	}
	for _, f := range found {
		d.add(f.Check, f.Level, f.Text, f.Fix)
	}
	engine, err := changeling.Open(ctx, d.db, changeling.Config{LockWait: d.wait})
	if err != nil { // its version may not be one of those that can be changed
		d.fail("server", fault.Message(err), "see there")
		return nil
	}
	engine.Close()
	return nil
}

// run asks everything. A question that the server does not answer is a finding, not the end, but for the connection's own.
func (d *doctor) run(ctx context.Context) error {
	if err := d.connection(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		d.fail("connection", d.place+": "+fault.Message(err), "check host, port, user, password and pg_hba.conf; the connection comes from --dsn, $CHANGELING_DSN, $DATABASE_URL or PGHOST and its like")
		return nil
	}
	for _, check := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"server", d.server}, {"role", d.role}, {"tables", d.tables}, {"statistics", d.statistics}, {"settings", d.settings},
		{"connections", d.connections}, {"pooler", d.pooler}, {"transactions", d.transactions}, {"prepared", d.prepared},
		{"publications", d.publications}, {"changes", d.changes},
	} {
		if err := check.ask(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			d.warn(check.name, "could not be looked at: "+fault.Message(err), "")
		}
	}
	return nil
}
