package main

import "testing"

func TestRouteIsRefusedOrTaken(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	const check = "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0)"
	contains(t, "plan of a check", s.run(0, "plan", check).stdout, "route      recipe", "instead of the server reading all rows", "validate c")
	contains(t, "--only-direct", s.run(3, "plan", "--only-direct", check).stdout, "only what the server does at once was asked for")
	contains(t, "run --only-direct", s.run(3, "run", "--only-direct", check).stderr, "goes by recipe")
	contains(t, "--only-direct of a column", s.run(0, "plan", "--only-direct", "ALTER TABLE orders ADD COLUMN note text").stdout, "route      direct")
	contains(t, "--route shadow-table", s.run(0, "plan", "--route", "shadow-table", check).stdout, "route      shadow-table", "cutover")
	contains(t, "--route recipe", s.run(3, "plan", "--route", "recipe", statementText).stdout, "can only go by shadow-table")
	contains(t, "--route direct", s.run(0, "plan", "--route", "direct", check).stdout, "route      direct", "asked for")
	s.run(2, "plan", "--route", "sideways", check)
	s.run(0, "run", "--route", "direct", check)
	if s.ask(`SELECT convalidated FROM pg_constraint WHERE conname = 'c'`) != "true" {
		t.Error("run --route direct made no valid constraint")
	}
}

func TestPlanAsksTheData(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.exec(`CREATE TABLE parents (id int PRIMARY KEY)`, `INSERT INTO parents SELECT generate_series(1, 50)`,
		`CREATE TABLE things (id int PRIMARY KEY, parent int, v int, w int)`, `INSERT INTO things SELECT i, i, nullif(i, 7), i % 99 FROM generate_series(1, 100) i`)
	const all = "ALTER TABLE things ALTER v SET NOT NULL, ADD CONSTRAINT big CHECK (w > 1), ADD CONSTRAINT f FOREIGN KEY (parent) REFERENCES parents, ADD CONSTRAINT u UNIQUE (w)"
	broken := s.run(5, "plan", "--check-data", all)
	contains(t, "plan --check-data", broken.stdout, "NOT NULL of v: 1 rows break it: id 7", "check big: 3 rows break it: id 1; id 99; id 100", "foreign key f: 50 rows break it: id 51", "key u: 1 rows break it")
	contains(t, "plan --check-data", broken.stderr, "nothing was changed")
	contains(t, "its JSON", s.run(5, "plan", "--check-data", "--json", all).stdout, `"effect": "scan"`, `"rows": 50`)
	s.exec(`UPDATE things SET v = 7 WHERE id = 7`, `DELETE FROM things WHERE id > 50 OR w < 2`)
	contains(t, "plan of good data", s.run(0, "plan", "--check-data", all).stdout, "no row breaks it")
}

func TestPlanAsMarkdown(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	text := s.run(0, "plan", "--markdown", "--sql", "ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0 OR 'a|b' < 'c')").stdout
	contains(t, "plan --markdown", text, "### changeling plan: recipe", "| 1. add c | ACCESS EXCLUSIVE | 200ms |", "NOT VALID", "<details>")
	s.run(2, "plan", "--markdown", "--json", statementText)
}
