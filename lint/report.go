package lint

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Report is what came out, as JSON. Fields are added, never changed.
type Report struct {
	Target   string    `json:"target"`
	Files    int       `json:"files"`
	Findings []Finding `json:"findings"`
	Ignored  []Finding `json:"ignored"`
	// Rules are those that the findings may be of; nil: those of Rules.
	Rules []Rule `json:"-"`
}

// NewReport sorts findings into those that count and those that the files ignore.
func NewReport(t Target, files int, found []Finding) Report {
	r := Report{Target: t.String(), Files: files, Findings: []Finding{}, Ignored: []Finding{}}
	for _, f := range found {
		if f.Ignored != "" {
			r.Ignored = append(r.Ignored, f)
			continue
		}
		r.Findings = append(r.Findings, f)
	}
	return r
}

// Count is how many findings have a level.
func (r Report) Count(l Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Text writes a report for a person.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s:%d: %s %s: %s\n", f.File, f.Line, f.Level, f.Rule, f.Message)
		if f.Route != "" {
			fmt.Fprintf(&b, "    changeling goes by %s: %s\n", f.Route, strings.Join(f.Steps, ", "))
		}
		for _, line := range f.Instead {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	if len(r.Findings) > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d files for %s: %d errors, %d warnings, %d notes; %d ignored\n", r.Files, r.Target, r.Count(Error), r.Count(Warning), r.Count(Note), len(r.Ignored))
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes a report for programs.
func (r Report) JSON(w io.Writer) error { return indented(w, r) }

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// GitHub writes workflow commands, which GitHub shows as annotations in the files of a pull request.
func (r Report) GitHub(w io.Writer) error {
	level := map[Level]string{Error: "error", Warning: "warning", Note: "notice"}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "::%s file=%s,line=%d,title=%s::%s\n", level[f.Level], property.Replace(f.File), f.Line, property.Replace(f.Rule), data.Replace(f.whole()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// whole is all that a finding says, for forms that have one place for it.
func (f Finding) whole() string {
	text := f.Message
	if f.Route != "" {
		text += "\nchangeling goes by " + f.Route
		if len(f.Steps) > 0 {
			text += ":\n" + strings.Join(f.Steps, "\n")
		}
	}
	if len(f.Instead) > 0 {
		text += "\ninstead:\n" + strings.Join(f.Instead, "\n")
	}
	return text
}

// The parts of SARIF 2.1.0 (OASIS standard) that code scanning shows.
type (
	sarif struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID            string      `json:"id"`
		Short         sarifText   `json:"shortDescription"`
		Configuration sarifConfig `json:"defaultConfiguration"`
	}
	sarifConfig struct {
		Level Level `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        Level              `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   *sarifProperties   `json:"properties,omitempty"`
	}
	sarifProperties struct {
		Route string   `json:"route"`
		Steps []string `json:"steps"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
)

// SARIF writes a report for code scanning. What the files ignore is in it, as suppressed.
func (r Report) SARIF(w io.Writer) error {
	rules := r.Rules
	if rules == nil {
		rules = Rules()
	}
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "changeling"}}, Results: []sarifResult{}}
	at := map[string]int{}
	for i, rule := range rules {
		at[rule.ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: rule.ID, Short: sarifText{rule.Catches}, Configuration: sarifConfig{rule.Level}})
	}
	for _, f := range append(append([]Finding{}, r.Findings...), r.Ignored...) {
		place := sarifPhysical{sarifArtifact{(&url.URL{Path: f.File}).String()}, sarifRegion{max(f.Line, 1)}}
		one := sarifResult{RuleID: f.Rule, RuleIndex: at[f.Rule], Level: f.Level, Message: sarifText{f.whole()}, Locations: []sarifLocation{{place}}}
		if f.Ignored != "" {
			one.Suppressions = []sarifSuppression{{"inSource", f.Ignored}}
		}
		if f.Route != "" {
			one.Properties = &sarifProperties{f.Route, append([]string{}, f.Steps...)}
		}
		run.Results = append(run.Results, one)
	}
	return indented(w, sarif{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
