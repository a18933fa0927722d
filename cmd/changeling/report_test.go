package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
)

// TestReport: the history tells of both runs of a change that was stopped and resumed, in order, and what was compared and locked.
func TestReport(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`COMMENT ON TABLE orders IS '<script>alert(1)</script>'`)
	held := s.start("run", "--hold", "ALTER TABLE orders ALTER COLUMN email TYPE varchar(99) USING email || '<script>'")
	c := s.until("held", func(c changeling.Status) bool { return c.Status == "held" })
	held.signal(15)
	held.ends(75)
	s.run(0, "cutover", c.ID)
	read := func() (r changeling.Report) {
		if err := json.Unmarshal([]byte(s.run(0, "report", c.ID).stdout), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := read()
	var told []string
	runs := map[int64]bool{}
	for _, e := range r.Events {
		var f struct{ Event, Step string }
		if err := json.Unmarshal(e.Event, &f); err != nil {
			t.Fatal(err)
		}
		runs[e.Run] = true
		told = append(told, f.Event+" "+f.Step)
		if e.Owner == "" || e.Version == "" || e.At.IsZero() {
			t.Errorf("an event without who, version or time: %+v", e)
		}
	}
	all := strings.Join(told, "; ")
	contains(t, "the events", all, "planned ", "step_ended copy", "verified ", "waiting hold", "done ", "cutover_tried ")
	if len(runs) != 2 || strings.Contains(all, "progress") || strings.Index(all, "step_ended copy") > strings.Index(all, "cutover_tried") {
		t.Errorf("%d runs told: %s", len(runs), all)
	}
	if len(r.Steps) < 8 || r.Steps[0].Name != "check data" || r.Status.Status != "done" || r.Plan == nil {
		t.Errorf("%d steps, status %s", len(r.Steps), r.Status.Status)
	}
	s.run(0, "cleanup", c.ID, "--now", "--yes")
	if after := read(); len(after.Events) <= len(r.Events) || !strings.Contains(string(after.Events[len(after.Events)-1].Event), "dropped the old table") || after.Status.OldTable != "" {
		t.Errorf("after the cleanup %d events are left of %d", len(after.Events), len(r.Events))
	}
	file := filepath.Join(t.TempDir(), "change.html")
	s.run(0, "report", c.ID, "--html", file)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "the page", string(page), c.ID, "cutover_tried", "&lt;script&gt;", "rows", "create shadow")
	for _, foreign := range []string{"<script", "http://", "https://", "src=", "<link"} {
		if strings.Contains(string(page), foreign) {
			t.Errorf("the page has %q in it: it should need nothing else, and run nothing", foreign)
		}
	}
}
