package main

import (
	"encoding/json"
	"testing"
)

// TestPlanExplains: what it costs, what stays behind, what running code would trip over and the way around it.
func TestPlanExplains(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE big (id bigint PRIMARY KEY, name text, n int)`, `INSERT INTO big SELECT i, repeat('x', 100), i FROM generate_series(1, 20000) i`, `ANALYZE big`)
	contains(t, "plan of a rename", s.run(0, "plan", "ALTER TABLE big RENAME COLUMN name TO title").stdout, "breaks     code that says name fails from this moment", "CREATE VIEW big AS SELECT *, title AS name", "deploy code that knows the new name")
	contains(t, "plan of a drop", s.run(0, "plan", "--markdown", "ALTER TABLE big DROP COLUMN name").stdout, "| stays behind | the space of the dropped column", "**Breaks running code**", "-- 1. deploy code that neither reads nor writes name")
	contains(t, "plan of a copy", s.run(0, "plan", "ALTER TABLE big ALTER COLUMN n TYPE bigint").stdout, "stays      the old table, as changeling_", "\n   reads 3.0 MB, writes 3.0 MB", "takes      about")
	var p struct {
		TakesMs int64             `json:"takes_ms"`
		Breaks  []json.RawMessage `json:"breaks"`
		Stays   []string          `json:"stays_behind"`
		Steps   []struct {
			Kind       string `json:"kind"`
			ReadBytes  int64  `json:"read_bytes"`
			WriteBytes int64  `json:"write_bytes"`
			TakesMs    int64  `json:"takes_ms"`
		} `json:"steps"`
	}
	if err := json.Unmarshal([]byte(s.run(0, "plan", "--json", "ALTER TABLE big ADD COLUMN u uuid DEFAULT gen_random_uuid()").stdout), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) != 3 || p.Steps[1].Kind != "fill" || p.Steps[1].ReadBytes < 2e6 || p.Steps[1].WriteBytes < 2e6 || p.Steps[0].ReadBytes != 0 || p.TakesMs <= 0 || len(p.Stays) != 1 || len(p.Breaks) != 0 {
		t.Errorf("the plan of a fill is %+v", p)
	}
}
