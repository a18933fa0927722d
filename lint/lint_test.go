package lint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/plan"
)

var update = flag.Bool("update", false, "write docs/LINT.md and the golden files anew")

// sample is a rule with a file that it finds something in, and one that does the same and has nothing for it.
type sample struct {
	rule, target, bad, good string
	before                  string // a file that ran before
	script                  Script // how the tool runs the files
	options                 Options
}

const orders = `CREATE TABLE orders (id bigint PRIMARY KEY, amount int, email varchar(40) NOT NULL, note text, at timestamp, at_utc timestamptz, price numeric(10,2), kind varchar(10), CONSTRAINT low CHECK (amount < 100), CONSTRAINT kinds CHECK (kind <> ''));
CREATE INDEX orders_amount ON orders (amount); CREATE INDEX orders_at ON orders (at); CREATE TABLE customers (id bigint PRIMARY KEY, name text);
CREATE TABLE children (id bigint PRIMARY KEY, a bigint CONSTRAINT ca REFERENCES orders, b bigint REFERENCES customers);`

const orders8 = "CREATE TABLE orders (id bigint PRIMARY KEY, amount int NOT NULL DEFAULT 0 COMMENT 'cents', email varchar(40), note text, state enum('a','b'), KEY by_amount (amount), KEY by_email (email)) ENGINE=InnoDB;"

var samples = []sample{
	{rule: "L00", bad: "-- changeling: ignore L43\nCREATE INDEX i ON orders (amount)", good: "-- changeling: ignore L43 built at night by hand\nCREATE INDEX i ON orders (amount)"},
	{rule: "L01", bad: "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()", good: "ALTER TABLE orders ADD COLUMN seen timestamptz NOT NULL DEFAULT now()"},
	{rule: "L01", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN token varchar(36) DEFAULT (uuid())", good: "ALTER TABLE orders ADD COLUMN seen datetime DEFAULT CURRENT_TIMESTAMP"},
	{rule: "L02", bad: "ALTER TABLE orders ADD COLUMN n bigserial", good: "ALTER TABLE orders ADD COLUMN n bigint"},
	{rule: "L02", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN n bigint AUTO_INCREMENT UNIQUE", good: "ALTER TABLE orders ADD COLUMN n bigint"},
	{rule: "L03", bad: "ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (amount * 2) STORED", good: "CREATE TABLE t (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED)"},
	{rule: "L04", bad: "ALTER TABLE orders ADD COLUMN state text NOT NULL", good: "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new'"},
	{rule: "L04", target: "mariadb:10.11", bad: "ALTER TABLE orders ADD COLUMN state varchar(9) NOT NULL", good: "ALTER TABLE orders ADD COLUMN state varchar(9)"},
	{rule: "L05", bad: "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new'; ALTER TABLE orders ALTER COLUMN state DROP DEFAULT", good: "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new'"},
	{rule: "L06", bad: "ALTER TABLE orders ADD COLUMN doc json", good: "ALTER TABLE orders ADD COLUMN doc jsonb"},
	{rule: "L07", before: orders, bad: "ALTER TABLE orders ALTER COLUMN amount TYPE bigint", good: "ALTER TABLE orders ALTER COLUMN email TYPE varchar(80)"},
	{rule: "L07", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders MODIFY amount bigint NOT NULL DEFAULT 0 COMMENT 'cents'", good: "ALTER TABLE orders MODIFY email varchar(60)"},
	{rule: "L08", before: orders, bad: "ALTER TABLE orders ALTER COLUMN kind TYPE varchar(20)", good: "ALTER TABLE orders ALTER COLUMN email TYPE varchar(80)"},
	{rule: "L09", before: orders, bad: "ALTER TABLE orders ALTER COLUMN kind TYPE text, ALTER COLUMN kind SET NOT NULL", good: "ALTER TABLE orders ALTER COLUMN kind TYPE text"},
	{rule: "L10", before: orders, bad: "SET timezone = 'UTC'; ALTER TABLE orders ALTER COLUMN at TYPE timestamptz", good: "SET timezone = 'UTC'; ALTER TABLE orders ALTER COLUMN at_utc TYPE timestamp"},
	{rule: "L11", before: orders, bad: "ALTER TABLE orders ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC'", good: "ALTER TABLE orders ALTER COLUMN email TYPE text USING email::text"},
	{rule: "L12", before: orders + "CREATE VIEW cheap AS SELECT * FROM orders", bad: "ALTER TABLE orders ALTER COLUMN email TYPE text", good: "ALTER TABLE customers ALTER COLUMN name TYPE varchar"},
	{rule: "L13", bad: "ALTER TABLE orders ALTER COLUMN note SET NOT NULL", good: "ALTER TABLE orders ADD CONSTRAINT n CHECK (note IS NOT NULL) NOT VALID"},
	{rule: "L13", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders MODIFY email varchar(40) NOT NULL", good: "ALTER TABLE orders MODIFY amount int NOT NULL DEFAULT 1 COMMENT 'cents'"},
	{rule: "L14", target: "postgres:18", before: orders + "ALTER TABLE orders ADD CONSTRAINT nn NOT NULL note NOT VALID", bad: "ALTER TABLE orders ALTER COLUMN note SET NOT NULL", good: "ALTER TABLE orders VALIDATE CONSTRAINT nn"},
	{rule: "L15", bad: "ALTER TABLE orders DROP COLUMN note", good: "ALTER TABLE orders ALTER COLUMN note DROP NOT NULL"},
	{rule: "L16", before: orders, bad: "ALTER TABLE orders DROP COLUMN amount", good: "ALTER TABLE orders DROP COLUMN note"},
	{rule: "L17", bad: "ALTER TABLE orders RENAME COLUMN note TO remark", good: "BEGIN; ALTER TABLE orders RENAME TO orders__base; ALTER TABLE orders__base RENAME COLUMN note TO remark; CREATE VIEW orders AS SELECT *, remark AS note FROM orders__base; COMMIT"},
	{rule: "L17", target: "mysql:8.4", bad: "ALTER TABLE orders CHANGE note remark text", good: "ALTER TABLE orders CHANGE note note text"},
	{rule: "L18", bad: "ALTER TABLE orders ALTER COLUMN email DROP NOT NULL", good: "ALTER TABLE orders ALTER COLUMN email SET STATISTICS 500"},
	{rule: "L19", bad: "ALTER TABLE orders ALTER COLUMN amount SET DEFAULT 5", good: "ALTER TABLE orders ADD COLUMN token uuid; ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid()"},
	{rule: "L1a", bad: "ALTER TABLE orders ADD COLUMN type text", good: "ALTER TABLE orders ADD COLUMN order_type text"},
	{rule: "L1b", before: orders, bad: "ALTER TABLE orders ADD COLUMN customer int REFERENCES customers (id)", good: "ALTER TABLE orders ADD COLUMN customer bigint REFERENCES customers (id)"},
	{rule: "L1c", bad: "ALTER TABLE orders ADD CONSTRAINT short CHECK (char_length(note) <= 200)", good: "ALTER TABLE orders ADD CONSTRAINT short CHECK (char_length(note) <= 200) NOT VALID"},
	{rule: "L1d", bad: "ALTER TABLE orders ADD COLUMN created_at timestamptz NOT NULL DEFAULT clock_timestamp()", good: "ALTER TABLE orders ADD COLUMN created_at timestamptz NOT NULL DEFAULT now()"},
	{rule: "L1e", bad: "CREATE TABLE t (id bigint PRIMARY KEY, code char(3))", good: "CREATE TABLE t (id bigint PRIMARY KEY, code varchar(3))"},
	{rule: "L1f", options: Options{Enable: []string{"L1f"}}, bad: "CREATE TABLE t (id bigint PRIMARY KEY, code varchar(3))", good: "CREATE TABLE t (id bigint PRIMARY KEY, code text CHECK (length(code) <= 3))"},
	{rule: "L1g", bad: "CREATE TABLE t (id bigint PRIMARY KEY, at timestamp)", good: "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz)"},
	{rule: "L1g", target: "mysql:8.4", bad: "CREATE TABLE t (id bigint PRIMARY KEY, at timestamp NULL)", good: "CREATE TABLE t (id bigint PRIMARY KEY, at datetime)"},
	{rule: "L1h", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN due date NOT NULL", good: "ALTER TABLE orders ADD COLUMN due date"},
	{rule: "L1i", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN price double", good: "ALTER TABLE orders ADD COLUMN price decimal(10,2)"},
	{rule: "L1j", bad: "CREATE TABLE t (id serial PRIMARY KEY)", good: "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"},
	{rule: "L1k", bad: "CREATE TABLE t (id bigserial PRIMARY KEY)", good: "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"},
	{rule: "L1l", options: Options{Enable: []string{"L1l"}}, bad: "CREATE TABLE t (a boolean, id bigint PRIMARY KEY, b boolean, c bigint)", good: "CREATE TABLE t (id bigint PRIMARY KEY, c bigint, a boolean, b boolean)"},
	{rule: "L1m", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders MODIFY amount int", good: "ALTER TABLE orders MODIFY amount int NOT NULL DEFAULT 0 COMMENT 'euros'"},
	{rule: "L1n", target: "mysql:8.4", before: orders8, bad: "ALTER TABLE orders MODIFY state enum('b','a','c')", good: "ALTER TABLE orders MODIFY state enum('a','b','c')"},
	{rule: "L1o", script: Script{Wrapped: true}, bad: "ALTER TYPE mood ADD VALUE 'glad' AFTER 'sad'; INSERT INTO moods VALUES ('glad')", good: "ALTER TYPE mood ADD VALUE 'glad' AFTER 'sad'"},
	{rule: "L1p", bad: "CREATE DOMAIN positive AS int CHECK (VALUE > 0)", good: "CREATE DOMAIN amount AS int"},
	{rule: "L1q", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN c bigint REFERENCES customers (id)", good: "ALTER TABLE orders ADD COLUMN c bigint"},
	{rule: "L1r", target: "mysql:8.4", options: Options{Enable: []string{"L1r"}}, bad: "CREATE TABLE t (id bigint PRIMARY KEY) ENGINE=MyISAM", good: "CREATE TABLE t (id bigint PRIMARY KEY) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"},

	{rule: "L30", bad: "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0)", good: "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT VALID"},
	{rule: "L30", target: "mysql:8.4", bad: "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0)", good: "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT ENFORCED"},
	{rule: "L31", bad: "ALTER TABLE orders ADD COLUMN n int CHECK (n > 0) UNIQUE", good: "ALTER TABLE orders ADD COLUMN n int"},
	{rule: "L32", bad: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES customers (id)", good: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES customers (id) NOT VALID"},
	{rule: "L32", target: "mysql:8.4", bad: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES customers (id)", good: "SET SESSION foreign_key_checks = 0; ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES customers (id)"},
	{rule: "L33", script: Script{Wrapped: true}, bad: "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT VALID; ALTER TABLE orders VALIDATE CONSTRAINT c", good: "ALTER TABLE orders VALIDATE CONSTRAINT c"},
	{rule: "L34", script: Script{Wrapped: true}, bad: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES x (id) NOT VALID; ALTER TABLE orders ADD CONSTRAINT g FOREIGN KEY (b) REFERENCES y (id) NOT VALID", good: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES x (id) NOT VALID"},
	{rule: "L34", before: orders, bad: "DROP TABLE children", good: "DROP TABLE orders"},
	{rule: "L35", before: orders, bad: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (note) REFERENCES customers (name) NOT VALID", good: "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (amount) REFERENCES customers (id) NOT VALID"},
	{rule: "L36", options: Options{Enable: []string{"L36"}}, bad: "CREATE TABLE t (id bigint PRIMARY KEY, a bigint REFERENCES orders)", good: "CREATE TABLE t (id bigint PRIMARY KEY, a bigint)"},
	{rule: "L37", before: orders, bad: "ALTER TABLE children DROP CONSTRAINT children_b_fkey", good: "ALTER TABLE orders DROP CONSTRAINT low"},
	{rule: "L38", bad: "ALTER TABLE orders ADD CONSTRAINT u UNIQUE (email)", good: "ALTER TABLE orders ADD CONSTRAINT u UNIQUE USING INDEX u"},
	{rule: "L39", before: orders, bad: "ALTER TABLE orders ADD PRIMARY KEY (note)", good: "ALTER TABLE orders ADD PRIMARY KEY (email)"},
	{rule: "L40", bad: "CREATE UNIQUE INDEX CONCURRENTLY u ON orders (email)", good: "CREATE INDEX CONCURRENTLY u ON orders (email)"},
	{rule: "L41", bad: "ALTER TABLE orders ADD CONSTRAINT ex EXCLUDE USING gist (span WITH &&)", good: "CREATE TABLE t (id bigint PRIMARY KEY, span tstzrange, EXCLUDE USING gist (span WITH &&))"},
	{rule: "L42", target: "postgres:18", bad: "ALTER TABLE orders ALTER CONSTRAINT f ENFORCED", good: "ALTER TABLE orders ALTER CONSTRAINT f NOT ENFORCED"},
	{rule: "L43", bad: "CREATE INDEX i ON orders (amount)", good: "CREATE INDEX CONCURRENTLY i ON orders (amount)"},
	{rule: "L44", bad: "DROP INDEX orders_amount", good: "DROP INDEX CONCURRENTLY orders_amount"},
	{rule: "L44", bad: "REINDEX INDEX orders_amount", good: "REINDEX INDEX CONCURRENTLY orders_amount"},
	{rule: "L45", script: Script{Wrapped: true}, bad: "CREATE INDEX CONCURRENTLY i ON orders (amount)", good: "ALTER TABLE orders ADD COLUMN n int"},
	{rule: "L46", bad: "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (amount)", good: "CREATE INDEX CONCURRENTLY i ON orders (amount)"},
	{rule: "L47", before: orders, bad: "DROP INDEX CONCURRENTLY orders_amount; CREATE INDEX CONCURRENTLY orders_amount2 ON orders (amount, at)", good: "CREATE INDEX CONCURRENTLY orders_amount2 ON orders (amount, at); DROP INDEX CONCURRENTLY orders_amount"},
	{rule: "L48", target: "postgres:14.2", bad: "CREATE INDEX CONCURRENTLY i ON orders (amount)", good: "ALTER TABLE orders ADD COLUMN n int"},
	{rule: "L49", before: orders, bad: "CREATE INDEX CONCURRENTLY i ON orders (amount, email)", good: "CREATE INDEX CONCURRENTLY i ON orders (email)"},
	{rule: "L50", target: "mysql:8.4", bad: "ALTER TABLE orders DROP INDEX by_amount", good: "ALTER TABLE orders ALTER INDEX by_amount INVISIBLE"},
	{rule: "L50", target: "mariadb:10.11", bad: "DROP INDEX by_amount ON orders", good: "ALTER TABLE orders ALTER INDEX by_amount IGNORED"},
	{rule: "L51", target: "mysql:8.4", bad: "ALTER TABLE orders ALTER INDEX by_amount INVISIBLE, FORCE", good: "ALTER TABLE orders ALTER INDEX by_amount INVISIBLE"},
	{rule: "L52", target: "mysql:8.4", bad: "ALTER TABLE orders ADD INDEX i (note(10)), LOCK=SHARED", good: "ALTER TABLE orders ADD INDEX i (note(10)), ALGORITHM=INPLACE, LOCK=NONE"},
	{rule: "L53", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN n int, ADD INDEX i (email)", good: "ALTER TABLE orders ADD COLUMN n int, ADD COLUMN m int"},
	{rule: "L54", target: "mysql:8.4", bad: "ALTER TABLE orders FORCE; ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0)", good: "ALTER TABLE orders FORCE, ADD CONSTRAINT c CHECK (amount > 0)"},
	{rule: "L55", target: "mysql:8.0.30", bad: "ALTER TABLE orders ADD COLUMN n int", good: "ALTER TABLE orders ADD INDEX i (email)"},
	{rule: "L56", bad: "ALTER TABLE days ATTACH PARTITION d1 FOR VALUES FROM (1) TO (2)", good: "CREATE TABLE d1 (id int PRIMARY KEY); ALTER TABLE days ATTACH PARTITION d1 FOR VALUES FROM (1) TO (2)"},
	{rule: "L56", before: "CREATE TABLE days (d int, PRIMARY KEY (d)) PARTITION BY RANGE (d); CREATE TABLE rest PARTITION OF days DEFAULT", bad: "CREATE TABLE d1 PARTITION OF days FOR VALUES FROM (1) TO (2)", good: "CREATE TABLE d1 (LIKE days INCLUDING ALL)"},
	{rule: "L57", bad: "ALTER TABLE orders SET TABLESPACE fast", good: "ALTER TABLE orders SET (fillfactor = 70)"},
	{rule: "L57", bad: "VACUUM FULL orders", good: "VACUUM orders"},
	{rule: "L57", target: "mariadb:10.11", bad: "ALTER TABLE orders ENGINE=InnoDB", good: "ALTER TABLE orders COMMENT='x'"},
	{rule: "L58", bad: "CREATE TABLE t (a int)", good: "CREATE TABLE t (a int PRIMARY KEY)"},
	{rule: "L59", bad: "REFRESH MATERIALIZED VIEW sums", good: "REFRESH MATERIALIZED VIEW CONCURRENTLY sums"},

	{rule: "L60", before: orders, bad: "DROP TABLE orders", good: "ALTER TABLE orders RENAME TO orders_pending_drop"},
	{rule: "L61", bad: "TRUNCATE orders CASCADE", good: "DELETE FROM orders WHERE id = 7"},
	{rule: "L62", bad: "ALTER TABLE orders ADD COLUMN n int; UPDATE orders SET n = 1 WHERE id = 1", good: "ALTER TABLE orders ADD COLUMN n int"},
	{rule: "L63", bad: "UPDATE orders SET amount = 0 WHERE amount IS NULL", good: "UPDATE orders SET amount = 0 WHERE id IN (1, 2)"},
	{rule: "L63", bad: "INSERT INTO archive SELECT * FROM orders", good: "INSERT INTO archive VALUES (1, 2)"},
	{rule: "L64", script: Script{Wrapped: true}, bad: "ALTER TABLE orders ADD COLUMN a int; ALTER TABLE customers ADD COLUMN b int", good: "ALTER TABLE orders ADD COLUMN a int; ALTER TABLE orders ADD COLUMN b int"},
	{rule: "L65", bad: "ALTER TABLE orders ADD COLUMN a int", good: "SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L65", target: "mysql:8.4", bad: "ALTER TABLE orders ADD COLUMN a int", good: "SET SESSION lock_wait_timeout = 5; ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L66", bad: "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM orders LOOP UPDATE orders SET amount = 1 WHERE id = r.id; END LOOP; END $$", good: "UPDATE orders SET amount = 1 WHERE id = 4"},
	{rule: "L67", bad: "CREATE TABLE t (id int PRIMARY KEY); SELECT 1", good: "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY); SELECT 1"},
	{rule: "L68", script: Script{Wrapped: true}, bad: "BEGIN; ALTER TABLE orders ADD COLUMN a int; COMMIT", good: "ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L68", bad: "BEGIN; ALTER TABLE orders ADD COLUMN a int", good: "BEGIN; ALTER TABLE orders ADD COLUMN a int; COMMIT"},
	{rule: "L69", options: Options{Enable: []string{"L69"}}, bad: "ALTER TABLE orders ADD COLUMN a int", good: "ALTER TABLE public.orders ADD COLUMN a int"},
	{rule: "L70", bad: "ALTER TABLE orders RENAME TO bills", good: "BEGIN; ALTER TABLE orders RENAME TO bills; CREATE VIEW orders AS SELECT * FROM bills; COMMIT"},
	{rule: "L70", target: "mysql:8.4", bad: "RENAME TABLE orders TO bills", good: "RENAME TABLE orders TO bills; CREATE VIEW orders AS SELECT * FROM bills"},
	{rule: "L71", bad: "BEGIN; ALTER TABLE orders RENAME TO bills; CREATE VIEW orders AS SELECT * FROM bills; COMMIT", good: "ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L72", bad: "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY)", good: "CREATE TABLE t (id int PRIMARY KEY)"},
	{rule: "L73", bad: "DO $$ BEGIN PERFORM mend(); END $$", good: "ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L74", bad: "ALTER TABLE orders ADD COLUMN note_of_the_customer_as_it_came_with_the_order_and_was_never_read_again int", good: "ALTER TABLE orders ADD COLUMN note int"},
	{rule: "L75", options: Options{Names: regexp.MustCompile(`^[a-z_]+$`)}, bad: `ALTER TABLE orders ADD COLUMN "newCol" int`, good: "ALTER TABLE orders ADD COLUMN new_col int"},
	{rule: "L76", before: "SELECT 1", script: Script{Version: "7"}, bad: "SELECT 2", good: ""},
	{rule: "L77", before: orders + "ALTER TABLE orders DROP COLUMN note", bad: "UPDATE orders SET note = '' WHERE id = 3", good: "UPDATE orders SET email = '' WHERE id = 3"},
	{rule: "L78", script: Script{OneWay: true}, bad: "ALTER TABLE orders ADD COLUMN a int", good: ""},
	{rule: "L79", bad: "ALTER TABLE orders ADD COLUMN a int; ALTER TABLE orders DROP COLUMN note", good: "ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L80", bad: "GRANT SELECT ON orders TO app", good: "COMMENT ON TABLE orders IS 'x'"},
	{rule: "L81", bad: "CREATE INDEX CONCURRENTLY i ON orders (amount)", good: "ALTER TABLE orders ADD COLUMN a int"},
	{rule: "L82", bad: "CREATE INDEX CONCURRENTLY i ON orders (lower(email))", good: "CREATE INDEX CONCURRENTLY i ON orders (lower(email)); ANALYZE orders"},
	{rule: "L83", target: "mysql:8.4", bad: "UPDATE orders SET note = uuid() WHERE id = 1", good: "UPDATE orders SET note = 'x' WHERE id = 1"},
	{rule: "L84", bad: "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()", good: "CREATE TABLE n (id int PRIMARY KEY); CREATE TRIGGER t BEFORE INSERT ON n FOR EACH ROW EXECUTE FUNCTION f()"},
	{rule: "L85", options: Options{Rehearse: func(s string) (*Rehearsal, error) {
		return &Rehearsal{Effect: map[bool]string{true: "direct", false: "rewrite"}[strings.Contains(s, "int4range")], Route: plan.ShadowTable}, nil
	}}, bad: "ALTER TABLE orders SORT AGAIN", good: "ALTER TABLE orders SORT AGAIN int4range"},
}

// scriptOf cuts a text of a test, which has no semicolons within statements but in bodies that are quoted.
func scriptOf(t *testing.T, file, text string, target Target, like Script) Script {
	t.Helper()
	like.File, like.Statements = file, nil
	var ignores []string
	for strings.HasPrefix(text, "-- changeling: ignore") {
		line, rest, _ := strings.Cut(text, "\n")
		ignores, text = append(ignores, strings.TrimPrefix(line, "-- changeling: ignore ")), rest
	}
	statements, err := plan.Split(text, target.Syntax())
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range statements {
		st := Statement{SQL: s, Line: i + 1}
		if i == 0 {
			st.Ignore = ignores
		}
		like.Statements = append(like.Statements, st)
	}
	return like
}

func (s sample) check(t *testing.T, text string) []Finding {
	t.Helper()
	target, err := ParseTarget(cmpOr(s.target, "postgres:16"))
	if err != nil {
		t.Fatal(err)
	}
	o := s.options
	o.Target = target
	var scripts []Script
	if s.before != "" {
		before := scriptOf(t, "1_before.sql", s.before, target, Script{Version: s.script.Version, Known: true})
		scripts = append(scripts, before)
	}
	found, err := Check(append(scripts, scriptOf(t, "2_this.sql", text, target, s.script)), o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRules: each rule finds what it is for, with a way that is safe, and is silent where the same is done right.
func TestRules(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, s := range samples {
		tested[s.rule] = true
		is := func(f Finding) bool { return f.Rule == s.rule }
		found := s.check(t, s.bad)
		if i := slices.IndexFunc(found, is); i < 0 {
			t.Errorf("%s does not find %s: found %s", s.rule, s.bad, rulesOf(found))
		} else if len(found[i].Instead) == 0 || found[i].Message == "" {
			t.Errorf("%s finds %s, and says no way: %+v", s.rule, s.bad, found[i])
		}
		if s.good == "" {
			continue
		}
		if found := s.check(t, s.good); slices.ContainsFunc(found, is) {
			i := slices.IndexFunc(found, is)
			t.Errorf("%s finds %s, which is as it should be: %s", s.rule, s.good, found[i].Message)
		}
	}
	for _, r := range Rules() {
		if !tested[r.ID] {
			t.Errorf("rule %s has no sample", r.ID)
		}
	}
}

// TestSafeWaysAreSafe: what a finding proposes has no error of its own, once it is a file that runs as it should.
func TestSafeWaysAreSafe(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		target, err := ParseTarget(cmpOr(s.target, "postgres:16"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.check(t, s.bad) {
			if f.Level == Note || f.Rule != s.rule || f.Rule == "L34" || f.Rule == "L64" || f.Rule == "L76" {
				continue // notes are advice; these propose the statement itself, elsewhere
			}
			var lines []string
			for _, line := range f.Instead {
				if !strings.HasPrefix(line, "--") && !strings.Contains(line, "…") {
					lines = append(lines, line)
				}
			}
			again := s
			again.script.Wrapped = false
			for _, g := range again.check(t, strings.Join(lines, "\n")) {
				if g.Level == Error && g.Rule == f.Rule && g.Rule != "L15" && g.Rule != "L60" { // these two say: later
					t.Errorf("%s on %s proposes %q, of which it says %s", f.Rule, target, g.Statement, g.Message)
				}
			}
		}
	}
}

func rulesOf(found []Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, f.Rule)
	}
	return strings.Join(out, " ")
}

// TestDocument: docs/LINT.md has all rules, with what they find and the way that they show.
func TestDocument(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "LINT.md")
	want := document(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the rules say: go test ./lint -run TestDocument -update writes it anew", path)
	}
}

func document(t *testing.T) string {
	var b strings.Builder
	b.WriteString(documentHead)
	words := map[Auto]string{Engine: "changeling", Phases: "phases", Text: "text", Person: "person"}
	servers := map[string]string{"": "all", "p": "PostgreSQL", "m": "MySQL", "d": "MariaDB", "md": "MySQL, MariaDB"}
	for _, r := range Rules() {
		level := string(r.Level)
		if r.Optional {
			level += ", off"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.ID, strings.ReplaceAll(r.Catches, "|", "\\|"), servers[r.On], level, words[r.Auto])
	}
	b.WriteString("\n## Examples\n\nWhat each rule finds, and what it proposes.\n")
	shown := map[string]bool{}
	for _, s := range samples {
		if shown[s.rule] || s.rule == "L85" || s.rule == "L00" {
			continue
		}
		shown[s.rule] = true
		found := s.check(t, s.bad)
		f := found[slices.IndexFunc(found, func(f Finding) bool { return f.Rule == s.rule })]
		fmt.Fprintf(&b, "\n**%s** on %s: %s\n\n```sql\n%s\n-- instead:\n%s\n```\n", s.rule, cmpOr(s.target, "postgres:16"), f.Message, s.bad+";", strings.Join(f.Instead, "\n"))
	}
	return b.String()
}

const documentHead = `# Lint

    changeling lint db/migrations --for postgres:16

This file is written by a test from the rules; the test fails where the two differ. How the command is used stands in
[COMMAND.md](COMMAND.md#lint).

*By* says who makes it safe: *changeling* does by itself when it runs the statement (` + "`run`, `migrate`, `backfill`" + `), and ` + "`lint --migrate`" + ` only notes it;
*phases* are steps with a deploy or a decision between them; *text* is other words in the file; *person* has to think. Rules that are
*off* are a matter of taste: ` + "`--enable`" + ` turns them on. Where the words are known exactly, ` + "`lint --fix`" + ` writes them into the file;
testdata/lint/fixed.golden shows all that it does.

A statement is left alone by a comment before it, a whole file by one with the word ` + "`file`" + `. The reason is part of it:

    -- changeling: ignore L43 the table is empty until the release
    -- changeling: ignore file L69 search_path is set for each role

| rule | finds | on | level | by |
|---|---|---|---|---|
`
