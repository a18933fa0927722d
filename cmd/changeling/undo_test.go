package main

import "testing"

// TestUndoCommand goes through what a person sees of an undo.
func TestUndoCommand(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	contains(t, "plan", s.run(0, "plan", statementText).stdout, "undo       possible until")
	s.run(2, "run", "--undo", "maybe", statementText)
	s.run(2, "run", "--undo", "on", "--drop", "now", statementText)
	contains(t, "run", s.run(2, "run", "--undo-log-max", "much", statementText).stderr, "expected a size")
	s.run(0, "run", "--undo-log-max", "64MB", statementText)
	id := s.newest().ID
	contains(t, "status", s.run(0, "status", id).stdout, "changeling undo "+id)
	contains(t, "cleanup", s.run(0, "cleanup").stdout, "kept changeling_")
	s.exec(`UPDATE orders SET amount = 5000000000 WHERE id = 7`)
	contains(t, "undo of what does not fit", s.run(5, "undo", id, "--yes").stderr, "id 7: integer out of range", "--lossy")
	contains(t, "status", s.run(0, "status", id).stdout, "status     done", "changeling undo "+id)
	contains(t, "undo --lossy", s.run(0, "undo", id, "--yes", "--lossy").stdout, "1 rows do not fit", "undone", "the new table stays as changeling_"+id)
	contains(t, "status", s.run(0, "status", id).stdout, "status     undone", "new table")
	contains(t, "list", s.run(0, "list").stdout, "undone")
	contains(t, "undo again", s.run(0, "undo", id).stdout, "undone already")
	s.exec(`CREATE SCHEMA changeling_0badcafe`)
	if by := s.doctor(0); !says(by["changes"], "ok", "0 under way") || !says(by["changes"], "warn", "changeling_0badcafe") || says(by["changes"], "warn", id) {
		t.Errorf("the doctor says of an undone change, and of a schema that is nobody's: %+v", by["changes"])
	}
	s.exec(`DROP SCHEMA changeling_0badcafe`)
	if s.changed() {
		t.Error("the table is still the changed one")
	}
	contains(t, "cleanup --now", s.run(0, "cleanup", id, "--now", "--yes").stdout, "dropped changeling_"+id)
	if n := s.traces(); n != "0" {
		t.Errorf("%s traces are left", n)
	}
	s.run(0, "run", "--drop", "now", statementText) // it is to be made again
	contains(t, "undo after the drop", s.run(3, "undo", s.newest().ID, "--yes").stderr, "dropped")
}
