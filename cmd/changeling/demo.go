package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/sample"
)

// demo starts a server of its own, lets users write to a table, and changes the table under them.
type demo struct {
	rows, rate  int
	db, version string
	fast        bool
}

func newDemo() *cobra.Command {
	d := demo{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Change a table under load, on a throwaway server",
		Long: `Starts a server of its own in a temporary directory, fills a table, lets users write to it at
a fixed rate, changes the type of a column while they do, and reports what they felt and whether
a write was lost. Nothing outside the temporary directory is touched. It takes about a minute.`,
		Example: "  changeling demo\n  changeling demo --db mysql --rows 200000 --rate 500",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if d.rows < 1000 || d.rate < 1 {
				return usage("--rows %d --rate %d: expected at least 1000 rows and 1 write a second", d.rows, d.rate)
			}
			if !slices.Contains(sample.Kinds, d.db) {
				return usage("--db %q: expected one of %s", d.db, strings.Join(sample.Kinds, ", "))
			}
			sink := event.Lines(c.OutOrStdout())
			if width, isTerminal := terminal(c.OutOrStdout()); isTerminal {
				sink = newBar(c.OutOrStdout(), width)
			}
			return d.run(c.Context(), c.OutOrStdout(), sink)
		},
	}
	c.Flags().IntVar(&d.rows, "rows", 1_000_000, "`number` of rows of the table")
	c.Flags().IntVar(&d.rate, "rate", 1000, "`number` of writes a second")
	c.Flags().StringVar(&d.db, "db", "postgres", "`kind` of server: postgres, mysql or mariadb")
	c.Flags().StringVar(&d.version, "server-version", "", "its `version`, such as 16 or 9.7 (default: the one that the set-up installs)")
	c.Flags().BoolVar(&d.fast, "fast", false, "take the machine for the change, as run --fast does")
	return c
}

func (d demo) run(ctx context.Context, out io.Writer, sink event.Sink) error {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	server, err := sample.Start(ctx, d.db, d.version)
	if err != nil {
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: "there is no server to show it on: " + err.Error() + ". On Debian `make demo DB=" + d.db + "` installs what is missing"}
	}
	defer server.Stop()
	say("started %s in a temporary directory", server.Name)
	db, err := server.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	say("filling the table orders: %d rows, a key, a unique email, two more indexes", d.rows)
	if err := server.Create(ctx, db, d.rows); err != nil {
		return err
	}
	native, err := nativeTime(ctx, server, db)
	if err != nil {
		return err
	}
	say("a native ALTER TABLE on a copy took %.1f s, in which nobody could have written to it", native.Seconds())

	// The users have connections of their own.
	usersDB, err := server.Open()
	if err != nil {
		return err
	}
	defer usersDB.Close()
	users := &sample.Users{DB: usersDB, Text: server.Text, Rate: d.rate, Rows: d.rows}
	userCtx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- users.Run(userCtx) }()
	say("8 users write %d times a second; 8 s to see what they feel without us\n\nchangeling run %q", d.rate, server.Statement(0))
	rest(ctx, 8*time.Second)
	var told ending
	from := time.Since(began)
	config := changeling.Config{Fast: d.fast, Events: event.Tee(sink, told.hear)}
	if isMySQL(server.DSN) {
		config.Binlog = server.DSN
	}
	applied := changeling.Apply(ctx, db, server.Statement(0), config)
	to := time.Since(began)
	// A moment on the new table, so that the ledger holds writes of after the swap too.
	rest(ctx, 2*time.Second)
	stop()
	if err := errors.Join(applied, <-done); err != nil {
		return err
	}
	return d.report(ctx, out, users, told, native, from, to)
}

// ending is what the last events tell.
type ending struct {
	done     event.Done
	verified event.Verified
}

func (t *ending) hear(e event.Event) {
	switch e := e.(type) {
	case event.Done:
		t.done = e
	case event.Verified:
		t.verified = e
	}
}

func (d demo) report(ctx context.Context, out io.Writer, users *sample.Users, told ending, native, from, to time.Duration) error {
	lost, some, err := users.Lost(ctx)
	if err != nil {
		return err
	}
	failed := users.Failed()
	before, during := users.Before(from), users.Between(from, to)
	took := (to - from).Seconds()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t"+format+"\n", append([]any{name}, args...)...)
	}
	ms := sample.Ms
	fmt.Fprintln(out)
	line("wall time", "%.1f s under load (native ALTER, idle and locked all the time: %.1f s)", took, native.Seconds())
	line("rows copied", "%d, %.0f rows/s over the whole change", told.done.Rows, float64(told.done.Rows)/took)
	line("rows verified", "%d, %d of them copied again", told.verified.Rows, told.verified.Repaired)
	line("lock held", "%.1f ms", ms(told.done.Held))
	line("users before", "p50 %.1f ms, p99 %.1f ms, %.0f writes/s", ms(before.P50), ms(before.P99), before.Rate)
	line("users during", "p50 %.1f ms, p99 %.1f ms, %.0f writes/s", ms(during.P50), ms(during.P99), during.Rate)
	line("acknowledged writes", "%d", users.Acknowledged())
	line("statements failed", "%d", len(failed))
	line("writes lost", "%d", lost)
	line("old table", "%s, kept until %s", told.done.OldTable, told.done.DropAt.Format(time.DateTime))
	if err := w.Flush(); err != nil {
		return err
	}
	if lost > 0 || len(failed) > 0 {
		return fmt.Errorf("%d writes lost %v, %d statements of users failed: %w", lost, some, len(failed), errors.Join(failed[:min(len(failed), 3)]...))
	}
	return nil
}

// nativeTime is what the server itself needs for the change, on a copy that nobody uses.
func nativeTime(ctx context.Context, server *sample.Server, db *sql.DB) (time.Duration, error) {
	if err := server.Twin(ctx, db, "orders_copy"); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := db.ExecContext(ctx, server.Native("orders_copy", 0)); err != nil {
		return 0, err
	}
	took := time.Since(began)
	_, err := db.ExecContext(ctx, "DROP TABLE orders_copy")
	return took, err
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
