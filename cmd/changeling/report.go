package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
)

//go:embed report.html
var reportPage string

func newReport(a *app) *cobra.Command {
	var page string
	cmd := &cobra.Command{
		Use:   "report ID",
		Short: "Print the history of a change: for those who ask what was done",
		Long: `Prints what was planned, who ran it and with which version, what happened when, for how long locks were held,
what was tried again, compared and repaired: as JSON, or with --html FILE as one page that needs nothing else.
It only reads, and works while the change runs and after it is over.`,
		Example: `  changeling report 3f2a1b4c | jq '.events[].event | select(.event == "cutover_tried")'
  changeling report 3f2a1b4c --html change.html`,
		Args:              oneID,
		ValidArgsFunction: a.ids(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), changeling.Config{}, args[0], func(c *changeling.Change, _ changeling.Status) error {
				r, err := c.Report(cmd.Context())
				if err != nil {
					return err
				}
				if page == "" {
					return indented(a.out, r)
				}
				text, err := reportHTML(r)
				if err == nil {
					err = os.WriteFile(page, []byte(text), 0o644)
				}
				if err != nil {
					return usage("the page cannot be written: %v", err)
				}
				a.printf("wrote the history of change %s to %s\n", r.Status.ID, page)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&page, "html", "", "write one self-contained page to a `file`")
	return cmd
}

// reportHTML is a report as a page for people. Everything in it that comes from a database is escaped by the template.
func reportHTML(r *changeling.Report) (string, error) {
	type line struct {
		At, What, Text string
		Run            int64
	}
	var lines []line
	var runs []string
	for _, e := range r.Events {
		var fields map[string]any
		if err := json.Unmarshal(e.Event, &fields); err != nil {
			return "", err
		}
		var words []string
		for name, value := range fields {
			if value != nil && value != "" && !slices.Contains([]string{"v", "ts", "seq", "event", "change", "statement", "table"}, name) {
				words = append(words, fmt.Sprintf("%s %v", name, value))
			}
		}
		slices.Sort(words)
		lines = append(lines, line{e.At.UTC().Format("2006-01-02 15:04:05.000"), fmt.Sprint(fields["event"]), strings.Join(words, ", "), e.Run})
		if who := fmt.Sprintf("run %d: %s, %s", e.Run, e.Owner, e.Version); !slices.Contains(runs, who) {
			runs = append(runs, who)
		}
	}
	page, err := template.New("report").Funcs(template.FuncMap{"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }}).Parse(reportPage)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = page.Execute(&b, map[string]any{"R": r, "S": r.Status, "Lines": lines, "Runs": runs})
	return b.String(), err
}
