package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/backfill"
)

func (a *app) backfillPlan() *cobra.Command {
	var b backfilling
	var try, asJSON bool
	cmd := &cobra.Command{
		Use: "plan [STATEMENT]", Short: "What a job would do, and how long it would take; changes nothing",
		Example: `  changeling backfill plan "UPDATE orders SET cents = amount * 100"
  changeling backfill plan --try --table orders --copy "cents = amount * 100"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withJobs(cmd.Context(), b.config, func(j *backfill.Jobs) error {
				b.name = "plan"
				job, err := b.job(j, args)
				if err != nil {
					return err
				}
				do := j.Plan
				if try {
					do = j.Try
				}
				p, err := do(cmd.Context(), job)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.json(p)
				}
				a.plannedJob(p)
				return nil
			})
		},
	}
	b.jobFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&try, "try", false, "do the first batch and take it back: its rows are locked for a moment, triggers fire, sequences move on")
	f.BoolVar(&b.config.Fast, "fast", false, "estimate the time without rests between batches")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// plannedJob writes what a job would do, for a person.
func (a *app) plannedJob(p *backfill.Plan) {
	if p.Upto == "" {
		a.printf("table %s has no rows: there is nothing to do\n", p.Table)
		return
	}
	a.printf("table        %s, about %d rows, by the key (%s) up to %s\nfirst batch  %s\n             found by %s\n", p.Table, p.Rows, strings.Join(p.Key, ", "), clean(p.Upto), clean(p.Statement), p.Access)
	if len(p.Triggers) > 0 {
		a.printf("triggers     %s\n", clean(strings.Join(p.Triggers, ", ")))
	}
	if s := p.Sample; s != nil {
		a.printf("tried        %d rows, %d changed, in %s, %s of them in triggers; it was taken back\n", s.Rows, s.Changed, s.Took.Round(10*time.Microsecond), s.Triggers.Round(10*time.Microsecond))
	}
	if p.Takes > 0 {
		log := ""
		if p.LogBytes > 0 {
			log = ", and " + size(p.LogBytes) + " of write-ahead log"
		}
		a.printf("all of it    about %s at that pace%s\n", p.Takes.Round(time.Second), log)
	}
	for _, w := range p.Warnings {
		a.printf("warning      %s\n", w)
	}
}
