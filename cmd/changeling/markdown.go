package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// markdown writes a plan for a comment on a pull request.
func (v planView) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### changeling plan: %s\n\n```sql\n%s\n```\n\n", v.Route, strings.ReplaceAll(strings.TrimSpace(v.Statement), "```", "` ` `"))
	fmt.Fprintf(&b, "%s\n\n| | |\n|---|---|\n", cell(v.Why))
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", name, cell(text))
		}
	}
	if v.Table != "" {
		row("table", fmt.Sprintf("%s, about %d rows, %s with indexes", v.Table, max(v.Rows, 0), size(v.Bytes)))
	}
	row("instead of", effects[v.Effect])
	if v.UnderWay != "" {
		row("under way", "change "+v.UnderWay)
	}
	if v.Spare > 0 {
		row("disk", size(v.Spare)+" more while the change runs")
	}
	if v.TakesMs > 0 {
		row("takes", about(v.TakesMs))
	}
	for _, s := range v.Stays {
		row("stays behind", s)
	}
	for _, f := range v.Rules {
		row("rule", ruled(f))
	}
	for _, r := range v.Refusals {
		row("refused", r)
	}
	for _, d := range v.Data {
		row("data", d.text)
	}
	if len(v.Steps) > 0 {
		b.WriteString("\n| step | lock | longest wait | reads, writes, takes | |\n|---|---|---|---|---|\n")
	}
	for i, s := range v.Steps {
		lock, wait := "none", ""
		if s.Lock != "" {
			lock, wait = s.Lock, (time.Duration(s.WaitMs) * time.Millisecond).String()
		}
		fmt.Fprintf(&b, "| %d. %s | %s | %s | %s | %s |\n", i+1, cell(s.Name), cell(lock), wait, cell(s.cost()), cell(s.Why))
	}
	for _, k := range v.Breaks {
		fmt.Fprintf(&b, "\n**Breaks running code**: %s\n\n```sql\n%s\n```\n", cell(k.What), strings.ReplaceAll(strings.Join(k.Way, "\n"), "```", "` ` `"))
	}
	for i, s := range v.Steps {
		if len(s.SQL) > 0 {
			fmt.Fprintf(&b, "\n<details><summary>%d. %s</summary>\n\n```sql\n%s;\n```\n</details>\n", i+1, cell(s.Name), strings.ReplaceAll(strings.Join(s.SQL, ";\n"), "```", "` ` `"))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell makes a text safe for one place of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;").Replace(clean(s))
}
