package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

func newList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show all changes of the database, newest first",
		Example: `  changeling list
  changeling list --json | jq -r '.[] | select(.status == "failed") | .id'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), changeling.Config{}, func(e *changeling.Engine) error {
				list, err := e.List(cmd.Context())
				switch {
				case err != nil:
					return err
				case asJSON:
					return indented(a.out, list)
				}
				return printList(a.out, list)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of the same objects as `status --json`")
	return cmd
}

func newStatus(a *app) *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status ID",
		Short: "Show where a change stands, and what to do",
		Long: `Shows where a change stands, and what to do. With --watch it follows the change until it is over,
a line whenever something moved, and then exits as its run does: 0 done, 8 aborted, and the
code of the error if it failed and nobody works on it.`,
		Example: `  changeling status 3f2a1b4c
  changeling status 3f2a1b4c --json | jq .rows_done
  changeling status 3f2a1b4c --watch`,
		Args:              oneID,
		ValidArgsFunction: a.ids(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, s changeling.Status) error {
				switch {
				case watch:
					return a.watch(cmd.Context(), c, asJSON)
				case asJSON:
					return indented(a.out, s)
				}
				return printStatus(a.out, s)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON; with --watch one object a line")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "follow it until it is over")
	return cmd
}

// watch asks once a second and tells what moved.
func (a *app) watch(ctx context.Context, c *changeling.Change, asJSON bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := ""
	for {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		text := summary(s)
		if asJSON {
			object, err := json.Marshal(s)
			if err != nil {
				return err
			}
			text = string(object)
		}
		if text != last {
			last = text
			if !asJSON {
				text = time.Now().Format(time.DateTime) + "  " + text
			}
			a.printf("%s\n", text)
		}
		switch {
		case s.Status == "done", s.Status == "undone":
			return nil
		case s.Status == "aborted":
			return ended(8)
		case s.Status == "failed" && s.Owner == "":
			return ended(max(s.ErrorCode, 1))
		}
		select {
		case <-ctx.Done():
			return nil // who watches does not work on it
		case <-tick.C:
		}
	}
}

// summary is a change on one line.
func summary(s changeling.Status) string {
	parts := []string{s.Status}
	if !over(s) {
		if s.Step != "" {
			parts = append(parts, "at step "+s.Step)
		}
		parts = append(parts, rows(s))
		if s.PendingKeys > 0 {
			parts = append(parts, fmt.Sprintf("%d keys pending", s.PendingKeys))
		}
		if s.ThrottleReason != "" {
			parts = append(parts, "waits: "+s.ThrottleReason)
		}
		if s.Owner == "" && s.Status != "failed" && s.Status != "expanded" {
			parts = append(parts, "nobody works on it: `changeling resume "+s.ID+"`")
		}
	}
	if s.Error != "" {
		parts = append(parts, s.Error)
	}
	return clean(strings.Join(parts, ", "))
}

func rows(s changeling.Status) string {
	text := fmt.Sprintf("%d of about %d rows copied", s.RowsDone, max(s.RowsEstimate, s.RowsDone))
	if s.RowsVerified > 0 {
		text += fmt.Sprintf(", %d compared", s.RowsVerified)
	}
	return text
}

func printList(w io.Writer, list []changeling.Status) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no changes in this database")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTABLE\tSTATUS\tSTEP\tROWS\tBEGUN\tSTATEMENT")
	for _, s := range list {
		step := s.Step
		if over(s) {
			step = "-"
		}
		count := fmt.Sprint(s.RowsDone)
		if !over(s) && s.Owner == "" && s.Status != "expanded" {
			count += ", nobody works on it"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, clean(s.Table), s.Status, clean(step), count,
			s.Created.Local().Format(time.DateTime), shorten(clean(s.Statement), 60))
	}
	return t.Flush()
}

func printStatus(w io.Writer, s changeling.Status) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	row("change", "%s", s.ID)
	row("statement", "%s", s.Statement)
	row("table", "%s", s.Table)
	row("route", "%s", s.Route)
	row("status", "%s", s.Status)
	if !over(s) {
		row("step", "%s", s.Step)
	}
	if s.Route == "shadow-table" {
		row("rows", "%s", rows(s))
	}
	for _, m := range s.Members {
		row("member", "%s: %s", m.Table, memberText(m))
	}
	if s.PendingKeys > 0 && !over(s) {
		row("pending", "%d keys that changed meanwhile", s.PendingKeys)
	}
	if s.ShadowTable != "" {
		row("shadow", "%s", s.ShadowTable)
	}
	if s.Owner != "" {
		row("owner", "%s", s.Owner)
	}
	if s.Status == "expanded" {
		for _, text := range s.Unfit {
			row("unfit", "%s", text)
		}
		for _, text := range usesText(s) {
			row("old name", "%s", text)
		}
	}
	if len(s.Settings) > 0 {
		row("throttle", "%s", strings.Join(s.Settings, ", "))
	}
	if s.ThrottleReason != "" {
		row("waits", "%s", s.ThrottleReason)
	}
	if s.Error != "" {
		row("error", "%s (code %d)", s.Error, s.ErrorCode)
	}
	row("begun", "%s", s.Created.Local().Format(time.DateTime))
	row("last heard", "%s", s.Updated.Local().Format(time.DateTime))
	if s.CutOver != nil {
		row("cut over", "%s, the table was locked for %.1f ms", s.CutOver.Local().Format(time.DateTime), s.LockHeldMs)
	}
	for _, r := range s.Remarks {
		row("history", "%s: %s", r.At.Local().Format(time.DateTime), r.Text)
	}
	if s.OldTable != "" {
		which := "old table"
		switch {
		case s.OldTable == s.Table:
			which = "old name"
		case s.Status == "undone":
			which = "new table"
		}
		row(which, "%s", keptText(s))
	}
	switch {
	case s.Undo == "open":
		row("undo", "`changeling undo %s` takes the change back, with what was written since", s.ID)
	case s.Undo != "":
		row("undo", "%s", s.Undo)
	}
	if text := advice(s); text != "" {
		row("to do", "%s", text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// memberText says where a table of a family stands.
func memberText(m changeling.Member) string {
	switch m.Status {
	case "":
		return m.Statement + ", not begun"
	case "done", "aborted", "undone":
		return m.Status + " by change " + m.Change
	}
	return fmt.Sprintf("%s, at step %s of change %s", m.Status, m.Step, m.Change)
}

// advice says what a person can do about a change, nothing if it needs nobody.
func advice(s changeling.Status) string {
	switch {
	case over(s):
		return ""
	case s.Status == "expanded":
		return fmt.Sprintf("deploy the code that knows the new column; `changeling contract %s` when nobody names the old one, or `changeling abort %s`", s.ID, s.ID)
	case s.Status == "failed" && s.Owner == "":
		return fmt.Sprintf("mend what the error says, then `changeling resume %s`; or `changeling abort %s`. Nothing is lost", s.ID, s.ID)
	case s.Owner != "" && slices.ContainsFunc(s.Members, func(m changeling.Member) bool { return m.Status == "held" }):
		return fmt.Sprintf("a table of the family is ready to cut over: `changeling cutover %s` when the moment is good", s.ID)
	case s.Owner == "":
		return fmt.Sprintf("nobody works on it: `changeling resume %s` goes on here", s.ID)
	case s.Status == "held":
		return fmt.Sprintf("`changeling cutover %s` when the moment is good", s.ID)
	case s.Status == "paused":
		return fmt.Sprintf("`changeling resume %s` lets it go on", s.ID)
	}
	return ""
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
