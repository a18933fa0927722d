package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/migrate"
)

func newBackfill(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backfill",
		Short: "Change or delete all rows of a table in small batches",
		Long: `Does an UPDATE or DELETE to a whole table in small batches by its primary key, as a guest of the users.
A job is saved in the database: after a crash the same command, or any worker, goes on where it stood,
and no row is done twice. Rows that come while it runs are not its business.`,
		Example: `  changeling backfill run --name cents "UPDATE orders SET cents = amount * 100 WHERE cents IS NULL" --left "cents IS NULL"
  changeling backfill create --name purge --window 22:00-06:00 "DELETE FROM events WHERE at < '2024-01-01'"
  changeling work`,
	}
	cmd.AddCommand(a.backfillRun(), a.backfillCreate(), a.backfillSchedule(), a.backfillPlan(), a.backfillList(), a.backfillWish("pause", "Stop a job until resume", (*backfill.Jobs).Pause),
		a.backfillWish("resume", "Let a paused job go on", (*backfill.Jobs).Resume), a.backfillWish("cancel", "End a job for good; what it did stays", (*backfill.Jobs).Cancel))
	return cmd
}

// withJobs opens the jobs of the database for fn.
func (a *app) withJobs(ctx context.Context, c backfill.Config, fn func(j *backfill.Jobs) error) error {
	db, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is in flight any more
	j, err := backfill.Open(ctx, db, c)
	if err != nil {
		return err
	}
	defer j.Close()
	return fn(j)
}

// backfilling are the flags of a job and of how it runs.
type backfilling struct {
	name, left, window         string
	table, copy, orphans, cron string
	tolerate                   int64
	triggers                   string
	keepTimes, async           bool
	vacuum                     string
	config                     backfill.Config
	heed                       working // the throttle's flags
	replicas                   []string
}

func (b *backfilling) jobFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.name, "name", "", "`name` of the job; the same name again goes on with it")
	f.StringVar(&b.left, "left", "", "a `condition` that no row may fit afterwards: rows are looked through for it")
	f.Int64Var(&b.tolerate, "tolerate", 0, "`number` of rows that fail and may be left out")
	f.StringVar(&b.window, "window", "", "the `times` of day in UTC in which it works, such as 22:00-06:00")
	f.StringVar(&b.triggers, "triggers", "fire", "`what` becomes of the table's triggers: fire, or skip (PostgreSQL)")
	f.BoolVar(&b.keepTimes, "keep-times", false, "leave columns with ON UPDATE CURRENT_TIMESTAMP as they are (MySQL, MariaDB)")
	f.BoolVar(&b.async, "async-commit", false, "do not wait for the log after each batch; after a crash of the server the last ones are done again (PostgreSQL)")
	f.StringVar(&b.vacuum, "vacuum", "", "vacuum the table each time when so many of its rows were changed, a `percentage` such as 10% (PostgreSQL)")
	f.StringVar(&b.table, "table", "", "the `table` of --copy or --orphans, instead of a statement")
	f.StringVar(&b.copy, "copy", "", "fill a column: an `assignment` such as 'cents = amount * 100'")
	f.StringVar(&b.orphans, "orphans", "", "delete rows without their parent: a `reference` such as 'customer_id REFERENCES customers (id)'")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		kinds := 0
		for _, text := range []string{b.copy, b.orphans} {
			if text != "" {
				kinds++
			}
		}
		if (b.table != "") != (kinds == 1) || kinds+len(args) != 1 {
			return usage("expected one UPDATE or DELETE, quoted, or --table with --copy or with --orphans")
		}
		return nil
	}
}

func (b *backfilling) runFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&b.config.BatchTime, "batch-time", 0, "what one batch should take, a `duration` (default 100ms)")
	f.DurationVar(&b.config.LockWait, "lock-timeout", 0, "the longest wait for a row that somebody has locked, a `duration` (default 200ms)")
	f.BoolVar(&b.config.Fast, "fast", false, "no rest between batches, and of the throttle only what is for safety or was asked for; for quiet hours")
	f.StringArrayVar(&b.replicas, "replica", nil, "connection `string` of a replica whose lag is watched; may be given several times")
	b.heed.set = make(map[string][]string)
	for _, s := range changeling.Settings() {
		if !strings.HasSuffix(s.Name, "window") { // a job has a window of its own, and no swap
			f.Var(&settingFlag{&b.heed, s}, s.Name, s.Help)
		}
	}
}

// throttled is the configuration with what the throttle's flags say.
func (b *backfilling) throttled(a *app) (c backfill.Config, err error) {
	c = b.config
	b.heed.fast = c.Fast
	if c.Throttle, err = b.heed.throttle(); err == nil {
		c.Replicas, err = a.replicas(b.replicas)
	}
	return c, err
}

func (b *backfilling) job(j *backfill.Jobs, args []string) (job backfill.Job, err error) {
	if b.name == "" {
		return backfill.Job{}, usage("the job has no name: give it one with --name, so that it can be gone on with")
	}
	switch {
	case b.copy != "":
		job, err = j.CopyColumn(b.table, b.copy)
	case b.orphans != "":
		job, err = j.Orphans(b.table, b.orphans)
	default:
		job, err = j.Parse(args[0])
	}
	if b.left != "" {
		job.Left = b.left
	}
	job.Name, job.Tolerate, job.Window, job.Schedule = b.name, b.tolerate, b.window, b.cron
	job.KeepTimes, job.AsyncCommit = b.keepTimes, b.async
	if b.triggers != "fire" {
		job.Triggers = b.triggers
	}
	if b.vacuum != "" && err == nil {
		if job.Vacuum, err = strconv.ParseFloat(strings.TrimSuffix(b.vacuum, "%"), 64); err != nil || job.Vacuum <= 0 {
			return job, usage("--vacuum %s: expected a percentage of the rows such as 10%%", b.vacuum)
		}
	}
	return job, err
}

func (a *app) backfillRun() *cobra.Command {
	var b backfilling
	cmd := &cobra.Command{
		Use: "run [STATEMENT]", Short: "Do a job to its end, from where it stands",
		Example: `  changeling backfill run --name cents --table orders --copy "cents = amount * 100"
  changeling backfill run --name cents "UPDATE orders SET cents = amount * 100"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.config.Events = event.Lines(a.out)
			c, err := b.throttled(a)
			if err != nil {
				return err
			}
			return a.withJobs(cmd.Context(), c, func(j *backfill.Jobs) error {
				job, err := b.job(j, args)
				if err != nil {
					return err
				}
				_, err = j.Run(cmd.Context(), job)
				return err
			})
		},
	}
	b.jobFlags(cmd)
	b.runFlags(cmd)
	return cmd
}

func (a *app) backfillCreate() *cobra.Command {
	return a.saves(new(backfilling), &cobra.Command{
		Use: "create [STATEMENT]", Short: "Save a job for 'changeling work'", Example: `  changeling backfill create --name strays --table orders --orphans "customer_id REFERENCES customers (id)"
  changeling backfill create --name purge --window 22:00-06:00 "DELETE FROM events WHERE at < '2024-01-01'"`,
	})
}

func (a *app) backfillSchedule() *cobra.Command {
	var b backfilling
	cmd := a.saves(&b, &cobra.Command{
		Use: "schedule [STATEMENT]", Short: "Save a job that 'changeling work' begins anew at its times", Example: `  changeling backfill schedule --cron "TZ=Europe/Berlin 0 3 * * *" --name purge "DELETE FROM events WHERE at < now() - interval '90 days'"`,
	})
	cmd.Flags().StringVar(&b.cron, "cron", "", "minute, hour, day, month and weekday as in crontab, in UTC unless TZ= says otherwise: the `times` at which it begins")
	plain := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if b.cron == "" {
			return usage("the job has no times: say with --cron when it begins, such as \"0 3 * * *\" for every night at three")
		}
		return plain(cmd, args)
	}
	return cmd
}

// saves is a subcommand that saves a job.
func (a *app) saves(b *backfilling, cmd *cobra.Command) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withJobs(cmd.Context(), b.config, func(j *backfill.Jobs) error {
			job, err := b.job(j, args)
			if err != nil {
				return err
			}
			return j.Create(cmd.Context(), job)
		})
	}
	b.jobFlags(cmd)
	return cmd
}

func (a *app) backfillList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "All jobs, the oldest first", Args: cobra.NoArgs, Example: `  changeling backfill list --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withJobs(cmd.Context(), backfill.Config{}, func(j *backfill.Jobs) error {
				all, err := j.List(cmd.Context())
				if err != nil || asJSON {
					if all == nil {
						all = []*backfill.Status{}
					}
					if err == nil {
						err = a.json(all)
					}
					return err
				}
				for _, s := range all {
					next := ""
					if left := s.Remaining(); left > 0 {
						next = "  about " + left.String() + " of work left"
					}
					if at := s.Next(); !at.IsZero() {
						next += "  again at " + at.Format("2006-01-02 15:04 MST")
					}
					a.printf("%-20s  %-20s  %-9s  %3.0f%%  %d rows, %d left out, at %s of %s%s  %s\n", s.Name, s.Table, s.Status, 100*s.Share(), s.Rows, s.Bad, s.After, s.Upto, next, s.Error)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (a *app) backfillWish(name, short string, do func(j *backfill.Jobs, ctx context.Context, job string) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: one("the name of a job"), Example: "  changeling backfill " + name + " cents",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withJobs(cmd.Context(), backfill.Config{}, func(j *backfill.Jobs) error { return do(j, cmd.Context(), args[0]) })
		},
	}
}

func newWork(a *app) *cobra.Command {
	var b backfilling
	var once time.Duration
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Do the jobs of the database, and those that come",
		Long: `Does the jobs that 'changeling backfill create' and 'schedule' have saved, the changes that
'changeling migrate up --detach' has left, and those that come, until it is told to stop.
Any number of workers may run: each table has one at a time. Old tables of changes that can still be
undone are brought in step now and then.`,
		Example: `  changeling work
  changeling work --for 8h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if once > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, once)
				defer cancel()
			}
			b.config.Events = event.Serial(event.Lines(a.out))
			c, err := b.throttled(a)
			if err != nil {
				return err
			}
			return a.tending(ctx, func(ctx context.Context) error {
				return a.withJobs(ctx, c, func(j *backfill.Jobs) error {
					db, err := a.connect(ctx)
					if err != nil {
						return err
					}
					defer db.Close() // nothing is in flight any more
					engine := a.following(changeling.Config{Fast: c.Fast, Throttle: c.Throttle, Replicas: c.Replicas, Events: c.Events})
					both, ctx := errgroup.WithContext(ctx)
					both.Go(func() error { return j.Work(ctx, nil) })
					both.Go(func() error { return migrate.Work(ctx, db, migrate.Config{Engine: engine, Events: c.Events}) })
					return both.Wait()
				})
			})
		},
	}
	b.runFlags(cmd)
	cmd.Flags().DurationVar(&once, "for", 0, "end after this `duration` (default: when told to)")
	return cmd
}
