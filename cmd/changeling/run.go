package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newRun(a *app) *cobra.Command {
	var from statement
	var w working
	var way route
	var yes, hold, test bool
	var stage stages
	var back undoing
	cmd := &cobra.Command{
		Use:   "run [STATEMENT | - | --sql-file FILE]",
		Short: "Make a change: plan it, start it, watch it",
		Long: `Makes a change from beginning to end. The same command again goes on where it stood, after any
crash and from any host; a change that is done is not done again.

Several statements, as a file may have, are made one after the other, each a change of its own; the first that
fails ends it. They are no transaction: what is made stays made.

On a terminal it shows the plan and asks first. Without one it does not ask.
SIGINT and SIGTERM stop it in good order with exit code 75; a second one exits at once.`,
		Example: `  changeling run "ALTER TABLE orders ALTER COLUMN id TYPE bigint"
  changeling run --with-children "ALTER TABLE customers ALTER COLUMN id TYPE bigint" # and what refers to it
  changeling run --hold --sql-file widen_id.sql        # stops before the swap: changeling cutover ID
  changeling run --yes --output json --drop never "ALTER TABLE orders ALTER COLUMN id TYPE bigint"
  changeling run --drop after=7d "DROP TABLE carts"               # until then: changeling undo ID
  changeling run --cover "ALTER TABLE clients RENAME TO customers" # both names work until changeling cleanup ID --now
  changeling run --dsn mysql://root@replica/shop --test-on-replica "ALTER TABLE orders MODIFY amount bigint"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			config, err := w.config(a)
			if err != nil {
				return err
			}
			if err := stage.into(cmd, &config); err != nil {
				return err
			}
			config.Hold, config.TestOnReplica = hold, test
			way.into(&config)
			if err := back.into(&config); err != nil {
				return err
			}
			inputs, err := from.inputs(ctx, a, args)
			if err != nil {
				return err
			}
			return a.with(ctx, config, func(e *changeling.Engine) error {
				list, err := statements(ctx, e, inputs, true)
				if err != nil {
					return err
				}
				first, err := behind(ctx, e, list)
				if err != nil {
					return err
				}
				return w.during(ctx, func() error {
					for i, text := range list {
						if i < first {
							continue
						}
						if len(list) > 1 && w.output == "text" && !w.quiet {
							a.printf("%s: %s\n", ordinal(i, len(list)), clean(shorten(text, 60)))
						}
						if err := a.runOne(ctx, e, text, yes); err != nil {
							return among(err, i, len(list))
						}
					}
					return nil
				})
			})
		},
	}
	from.flags(cmd)
	w.flags(a, cmd)
	w.dataFlag(cmd)
	way.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&hold, "hold", false, "stop before the cutover, stay in step, and wait for 'changeling cutover'")
	f.BoolVar(&test, "test-on-replica", false, "on a replica of MySQL or MariaDB: copy and compare there, swap nothing, leave nothing; not logged, so nobody else gets it")
	stage.flags(cmd)
	back.flags(f)
	f.DurationVar(&w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// runOne makes the change of one statement.
func (a *app) runOne(ctx context.Context, e *changeling.Engine, text string, yes bool) error {
	if _, ok := terminal(a.in); ok && !yes {
		if err := a.showAndAsk(ctx, e, text); err != nil {
			return err
		}
	}
	change, err := e.Start(ctx, text)
	if err != nil || change == nil {
		return err
	}
	return change.Run(ctx)
}

// among says which of several statements an error is about.
func among(err error, i, n int) error {
	if n == 1 {
		return err
	}
	text := ordinal(i, n)
	if i > 0 {
		text += fmt.Sprintf(" (the %d before it are made; the same command goes on here)", i)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// showAndAsk shows the plan of a new change to a person. A change that is under way was agreed to, and one that is done
// changes nothing.
func (a *app) showAndAsk(ctx context.Context, e *changeling.Engine, text string) error {
	v, err := look(ctx, e, text)
	if err != nil || v.UnderWay != "" || v.Done {
		return err
	}
	return a.agree(ctx, v)
}

// parseDrop reads --drop.
func parseDrop(text string) (time.Duration, error) {
	after, ok := strings.CutPrefix(text, "after=")
	switch {
	case text == "now":
		return changeling.DropNow, nil
	case text == "never":
		return changeling.Keep, nil
	case ok:
		days, isDays := strings.CutSuffix(after, "d")
		d, err := time.ParseDuration(after)
		if n, dayErr := strconv.Atoi(days); isDays && dayErr == nil {
			d, err = time.Duration(n)*24*time.Hour, nil
		}
		if err == nil && d >= time.Second {
			return d, nil
		}
	}
	return 0, usage("--drop %q: expected now, never, or after= with a duration of a second or more, such as after=24h or after=7d", text)
}
