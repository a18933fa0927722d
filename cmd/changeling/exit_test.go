package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestUsageExitsTwo(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, test := range []struct {
		args string
		says string
	}{
		{"nonsense", "unknown command"},
		{"plan --nonsense x", "unknown flag"},
		{"plan", "statement is missing"},
		{"run ALTER TABLE", "quote it"},
		{"status", "id of a change is missing"},
		{"status a b", "one id is expected"},
		{"status 12345678", "there is no change"},
		{"list 12345678", "unknown command"},
		{"run x --drop sometimes", "after=24h"},
		{"run x --drop after=0s", "after=24h"},
		{"run x --output xml", "text or json"},
		{"run x --lock-timeout 1h", "expected 0, or 1ms to 10s"},
		{"run x --lock-timeout 500us", "expected 0, or 1ms to 10s"},
		{"run x --chunk-time fast", "invalid argument"},
		{"version x", "unknown command"},
	} {
		r := s.run(2, strings.Fields(test.args)...)
		contains(t, test.args, r.stderr, "changeling: ", test.says)
		if strings.Contains(r.stderr, "Usage:") || r.stdout != "" {
			t.Errorf("%s prints its usage:\n%s%s", test.args, r.stdout, r.stderr)
		}
	}
	contains(t, "a table that is not there", s.run(2, "run", statementText).stderr, "orders")
	contains(t, "another statement", s.run(3, "run", "INSERT INTO orders VALUES (1)").stderr, "INSERT")
	s.orders()
	contains(t, "two statements", s.run(2, "expand", statementText+"; "+statementText).stderr, "expected one statement, found 2")
}

func TestDataThatRefuseExitFive(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`UPDATE orders SET email = i.id::text FROM orders i WHERE i.id = orders.id`, `UPDATE orders SET email = 'x4711' WHERE id = 17`)
	const statement = "ALTER TABLE orders ALTER COLUMN email TYPE bigint USING email::bigint"
	contains(t, "the error of the look before", s.run(5, "run", statement).stderr, "id 17", "x4711", "Nothing was made")
	if c := s.newest(); c.Status != "aborted" || c.ErrorCode != 5 {
		t.Errorf("the change is %s with code %d", c.Status, c.ErrorCode)
	}
	r := s.run(5, "run", "--no-check-data", statement)
	contains(t, "the error of the copy", r.stderr, "id 17", "x4711", "The source is untouched")
	c := s.newest()
	if c.Status != "failed" || c.ErrorCode != 5 {
		t.Errorf("the change is %s with code %d", c.Status, c.ErrorCode)
	}
	contains(t, "status", s.run(0, "status", c.ID).stdout, "(code 5)", "changeling resume "+c.ID)
	s.run(5, "status", "--watch", c.ID)
	s.exec(`UPDATE orders SET email = '4711' WHERE id = 17`)
	s.run(0, "resume", c.ID)
	if got := s.ask(`SELECT pg_typeof(email) FROM orders WHERE email = 4711 AND id = 17`); got != "bigint" {
		t.Errorf("email is %s", got)
	}
}

func TestACutoverThatIsNotReachedExitsSeven(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	runner := s.start("run", "--hold", "--cutover-attempts", "1", "--lock-timeout", "50ms", statementText)
	c := s.until("a held change", held)
	reader, err := pgtest.Open(t, s.dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, reader, `SELECT FROM orders`)
	s.run(0, "cutover", c.ID)
	contains(t, "the error", runner.ends(7).stderr, "no cutover in 1 attempts", "nothing is lost")
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	s.run(0, "resume", c.ID)
	if !s.changed() {
		t.Error("the table was not changed")
	}
}

func TestNoConnectionExitsFour(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.dsn = "postgres://nobody@127.0.0.1:1/nowhere"
	for _, args := range [][]string{{"list"}, {"plan", statementText}, {"run", statementText}, {"status", "12345678"}} {
		contains(t, args[0], s.run(4, args...).stderr, "no connection to the database", "127.0.0.1:1")
	}
	contains(t, "doctor", s.run(4, "doctor").stdout, "fail  connection")
}

// Every command says what it is for and shows an example; the exit codes stand in the help and in the reference.
func TestHelpAndReferenceSayTheSame(t *testing.T) {
	t.Parallel()
	s := &shell{t: t}
	reference, err := os.ReadFile(filepath.Join("..", "..", "docs", "COMMAND.md"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "help", s.run(0, "--help").stdout, exitCodes)
	for line := range strings.Lines(exitCodes) {
		if code, text, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && !strings.Contains(code, " ") {
			contains(t, "docs/COMMAND.md", string(reference), "| "+code+" | "+strings.TrimSpace(text)+" |")
		}
	}
	for _, cmd := range newRoot(&app{}).Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" || cmd.Name() == "demo" {
			continue
		}
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s has no example or says not what it is for", cmd.Name())
		}
		contains(t, "docs/COMMAND.md", string(reference), "\n### "+cmd.Name())
		documented(t, cmd, string(reference))
	}
	contains(t, "completion", s.run(0, "completion", "bash").stdout, "changeling")
	contains(t, "version", s.run(0, "version").stdout, "changeling ")
	contains(t, "version --json", s.run(0, "version", "--json").stdout, `"version"`, `"commit"`, `"go"`)
}

func documented(t *testing.T, cmd *cobra.Command, reference string) {
	for name := range strings.FieldsSeq(flagNames(cmd)) {
		if !strings.Contains(reference, "--"+name) {
			t.Errorf("docs/COMMAND.md lacks --%s of %s", name, cmd.Name())
		}
	}
}
