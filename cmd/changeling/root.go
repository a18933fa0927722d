package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
)

// app is what all commands share: the streams, the environment and the connection.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	dsn     string   // the flag
	capture string   // how changed rows are found
	binlog  string   // where the binary log is read
	secrets []string // what no output may contain
	began   bool     // flags and arguments were right
}

// exitCodes is the contract with scripts, schedulers and job controllers. A test compares it with docs/COMMAND.md.
const exitCodes = `Exit codes:
   0  done, or nothing to do
   1  unexpected: a fault of changeling or of the world
   2  the statement, a flag or an argument is wrong
   3  the plan refuses: unsafe or not supported
   4  a precondition is missing: rights, settings, version, connection, disk
   5  the data refuse: a cast, a unique key, a check, at a named row
   6  source and shadow differ after repair: look before going on
   7  the cutover was not reached inside its attempts: try again
   8  aborted by a person
   9  somebody else runs this change
  10  plan --detailed-exitcode, lint --diff: there is work to do
  11  the outcome is not known: look before going on
  12  migrate: the database is ahead of the files
  13  migrate: the database has a version that the files do not know
  14  migrate: a file was edited after it ran
  15  migrate: a migration failed: mend it, then up goes on
  16  migrate verify: the live schema is not what the files say
  75  stopped after a checkpoint: run again to go on
  In every case nothing is lost: the old table or the new one is in place, complete.`

const environment = `Connection, the first that is set:
  --dsn, $CHANGELING_DSN, $DATABASE_URL, then as psql does it:
  $PGHOST, $PGPORT, $PGUSER, $PGDATABASE, $PGSERVICE, $PGSSLMODE, ~/.pgpass ...
  postgres://user@host/database, or mysql://user@host/database with ~/.my.cnf`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "changeling",
		Short: "Change live tables of PostgreSQL, MySQL and MariaDB without stopping anybody",
		Long: `changeling carries out an ALTER TABLE that the server could only do by locking everybody out:
it builds a changed twin of the table, copies the rows, follows the writes of others, compares
every row, and swaps the two in milliseconds.

  changeling plan "ALTER TABLE orders ALTER COLUMN id TYPE bigint"   says what would happen
  changeling run  "ALTER TABLE orders ALTER COLUMN id TYPE bigint"   does it; again after a crash, it goes on

` + environment + "\n\n" + exitCodes,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.began = true // what fails from here on is no matter of usage
		},
	}
	root.PersistentFlags().StringVar(&a.dsn, "dsn", "", "connection `string`; without a password, which everybody would see in the process list")
	root.AddGroup(&cobra.Group{ID: "change", Title: "Make a change:"}, &cobra.Group{ID: "control", Title: "Watch and control:"}, &cobra.Group{ID: "other", Title: "Other:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("change", newPlan(a), newLint(a), newRun(a), newRebuild(a), newPartition(a), newExpand(a), newContract(a), newMigrate(a), newBackfill(a), newWork(a))
	add("control", newList(a), newStatus(a), newReport(a), newPause(a), newResume(a), newThrottle(a), newHold(a), newCutover(a), newVerify(a), newAbort(a), newUndo(a), newResolve(a), newCleanup(a))
	add("other", newDoctor(a), newGrants(a), newDemo(), newVersion(a))
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	return root
}

// with opens an engine for fn and closes its pool afterwards.
func (a *app) with(ctx context.Context, c changeling.Config, fn func(e *changeling.Engine) error) error {
	db, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is in flight any more
	e, err := changeling.Open(ctx, db, a.following(c))
	if err != nil {
		return err
	}
	defer e.Close()
	return fn(e)
}

// change opens the change with an id for fn, with where it stands.
func (a *app) change(ctx context.Context, c changeling.Config, id string, fn func(c *changeling.Change, s changeling.Status) error) error {
	c.TestOnReplica = changeling.IsTrial(id)
	return a.with(ctx, c, func(e *changeling.Engine) error {
		change, err := e.Find(ctx, id)
		if err != nil {
			return err
		}
		s, err := change.Status(ctx)
		if err != nil {
			return err
		}
		return fn(change, s)
	})
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// oneID is the argument of commands for one change.
func oneID(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage("the id of a change is missing, `changeling list` shows it")
	case 1:
		return nil
	}
	return usage("one id is expected, not %d arguments", len(args))
}

func usage(format string, args ...any) error {
	return &fault.Problem{Kind: fault.Usage, Text: fmt.Sprintf(format, args...)}
}

// ids completes the ids of changes that are not over, or of all.
func (a *app) ids(all bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var out []cobra.Completion
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
		defer cancel()
		// Whoever presses tab without a database gets no proposals.
		_ = a.with(ctx, changeling.Config{}, func(e *changeling.Engine) error {
			list, err := e.List(ctx)
			for _, s := range list {
				if all || !over(s) {
					out = append(out, cobra.CompletionWithDesc(s.ID, s.Table+", "+s.Status))
				}
			}
			return err
		})
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// over says that a change needs nobody any more, but for its old table.
func over(s changeling.Status) bool {
	return s.Status == "done" || s.Status == "aborted" || s.Status == "undone"
}

// terminal says whether a stream is one, and how wide.
func terminal(stream any) (width int, yes bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	return width, true
}
