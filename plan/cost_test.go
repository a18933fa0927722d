package plan

import (
	"testing"
	"time"
)

// TestCosts: what moves all rows costs what the table's size says, what changes the catalogue costs nothing.
func TestCosts(t *testing.T) {
	t.Parallel()
	p := Plan{Route: ShadowTable, Heap: 600, Bytes: 1000, Steps: []Step{{Kind: Exec}, {Kind: Copy}, {Kind: Build}, {Kind: Build}, {Kind: Verify}, {Kind: Cutover}, {Kind: Drop}}}
	want := []Cost{{}, {600, 600, 18 * time.Second}, {600, 200, 7 * time.Second}, {600, 200, 7 * time.Second}, {1200, 0, 24 * time.Second}, {}, {}}
	for i, c := range p.Costs(Speed{Read: 100, Write: 200}) {
		if c != want[i] {
			t.Errorf("step %d costs %+v, want %+v", i, c, want[i])
		}
	}
	if c := p.Costs(Speed{}); c[1].Time != 0 || c[1].Read != 600 {
		t.Errorf("without a speed the copy costs %+v, want bytes and no time", c[1])
	}
	recipe := Plan{Route: Recipe, Bytes: 400, Steps: []Step{{Kind: Exec, SQL: []string{"ALTER TABLE t ADD CONSTRAINT c CHECK (true) NOT VALID"}}, {Kind: Exec, SQL: []string{"ALTER TABLE t VALIDATE CONSTRAINT c"}},
		{Kind: Loose, Done: "SELECT true", SQL: []string{"CREATE INDEX CONCURRENTLY i ON t (a)"}}, {Kind: Loose, Done: "SELECT true", SQL: []string{"DROP INDEX CONCURRENTLY i"}}}}
	for i, read := range []int64{0, 400, 800, 0} {
		if c := recipe.Costs(Speed{}); c[i].Read != read {
			t.Errorf("step %d of the recipe reads %d, want %d", i, c[i].Read, read)
		}
	}
}
