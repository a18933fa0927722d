package main

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func flagNames(cmd *cobra.Command) string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return strings.Join(names, " ")
}

const planted = "pl4nted-S3cret"

// A password that is planted in every place where one can stand is in no output of any command, whether it works or not.
func TestAPasswordIsNeverShown(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	good, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	good.User = url.UserPassword("postgres", planted)
	host, port, database := good.Hostname(), good.Port(), good.Path[1:]
	words := "host=" + host + " port=" + port + " dbname=" + database + " user=postgres sslmode=disable password="
	query := *good
	query.User = url.User("postgres")
	query.RawQuery += "&password=" + planted

	check := func(code int, args ...string) {
		t.Helper()
		r := s.start(args...).wait()
		if text := r.stdout + r.stderr; strings.Contains(text, planted) || strings.Contains(text, "S3cret") {
			t.Errorf("changeling %s shows the password:\n%s", strings.Join(args, " "), text)
		}
		if r.code != code {
			t.Errorf("changeling %s: exit code %d, want %d:\n%s", strings.Join(args, " "), r.code, code, r.stderr)
		}
	}
	for _, works := range []string{good.String(), query.String(), words + planted, words + "'" + planted + "'"} {
		s.dsn = works
		check(0, "list")
	}
	s.dsn = good.String()
	check(0, "plan", "--sql", "--json", statementText)
	check(0, "run", "--output", "json", statementText)
	id := s.newest().ID
	check(0, "run", statementText)
	check(0, "status", "--json", id)
	check(0, "doctor")
	check(0, "version")
	check(0, "cleanup")
	for _, refused := range [][]string{{"pause", id}, {"resume", id}, {"cutover", id}, {"abort", id}, {"verify", id}, {"status", "nope"}, {"plan", "ALTER TABLE nope DROP x"}} {
		check(2, refused...)
	}
	for _, broken := range []struct {
		dsn  string
		code int
	}{
		{"postgres://postgres:" + planted + "@127.0.0.1:1/x", 4},
		{"postgres://nobody-here:" + planted + "@" + good.Host + "/x?sslmode=disable", 4},
		{"postgres://postgres:" + planted + "@" + good.Host + "/not-there?sslmode=disable", 4},
		{"postgres://postgres:" + planted + "@" + good.Host + "/x?sslmode=sometimes", 2},
		{"postgres://postgres:" + planted + "@" + good.Host + "/x?connect_timeout=soon", 2},
		{"postgres://postgres:" + planted + "%zz@" + good.Host + "/x", 2},
		{"postgres://postgres:p@" + planted + "@" + good.Host + "/x", 2},
		{"postgres://postgres:p/" + planted + "@" + good.Host + "/x", 2},
		{"postgres://postgres:1/" + planted + "@" + good.Host + "/x", 2},
		{"postgres://postgres:1?" + planted + "@" + good.Host + "/x", 2},
		{"postgres://postgres:1#" + planted + "@" + good.Host + "/x", 2},
		{"postgres://postgres:" + planted, 2},
		{"mysql://root:" + planted + "@127.0.0.1/x?parseTime=true", 2},
		{"root:" + planted + "@tcp(127.0.0.1:1)/x?ssl-mode=MAYBE", 2},
		{"redis://root:" + planted + "@127.0.0.1/x", 2},
		{words + "'" + planted, 2},
		{words + "two " + planted, 2},
		{words + planted + " sslmode=sometimes", 2},
		{words + planted + " port=1", 4},
	} {
		s.dsn = broken.dsn
		check(broken.code, "list")
		check(broken.code, "doctor")
		check(broken.code, "run", statementText)
		s.dsn = ""
		check(broken.code, "plan", "--dsn", broken.dsn, statementText)
	}
	query.RawQuery = "sslmode=disable"
	s.dsn, s.env = query.String(), []string{"PGPASSWORD=" + planted}
	check(0, "list")
	s.dsn = strings.Replace(s.dsn, ":"+port+"/", ":1/", 1)
	check(4, "list")
}

func TestWhereTheConnectionComesFrom(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	works, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	const broken = "postgres://nobody@127.0.0.1:1/nowhere"
	s.dsn, s.env = "", []string{"CHANGELING_DSN=" + works.String(), "DATABASE_URL=" + broken, "PGPORT=1"}
	s.run(0, "list")
	s.env = []string{"CHANGELING_DSN=" + broken}
	s.run(0, "list", "--dsn", works.String())
	s.run(4, "list")
	s.env = []string{"DATABASE_URL=" + works.String(), "PGPORT=1"}
	s.run(0, "list")
	s.env = []string{"PGHOST=" + works.Hostname(), "PGPORT=" + works.Port(), "PGUSER=postgres", "PGDATABASE=" + works.Path[1:], "PGSSLMODE=disable"}
	s.run(0, "list")
	s.env = nil
	works.User = url.UserPassword("postgres", "secret")
	contains(t, "a password on the command line", s.run(0, "list", "--dsn", works.String()).stderr, "process list", "CHANGELING_DSN", "~/.pgpass")
	contains(t, "MySQL", s.run(4, "list", "--dsn", "mysql://root@127.0.0.1:1/x").stderr, "no connection to the database")
	contains(t, "MySQL", s.run(2, "list", "--dsn", "mysql://root@127.0.0.1:1/x?parseTime=true").stderr, "the option parseTime is unknown")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	a := &app{dsn: "postgres://u@h/d", err: &bytes.Buffer{}, env: func(string) string { return "" }}
	c, err := a.config(a.source())
	if err != nil {
		t.Fatal(err)
	}
	if c.ConnectTimeout != 10*time.Second || c.RuntimeParams["application_name"] != "changeling" {
		t.Errorf("timeout %s, application %q", c.ConnectTimeout, c.RuntimeParams["application_name"])
	}
	a.dsn += "?connect_timeout=3&application_name=mine"
	if c, err = a.config(a.source()); err != nil || c.ConnectTimeout != 3*time.Second || c.RuntimeParams["application_name"] != "mine" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, several := range []string{"postgres://u@h1:1,h2:2/d", "postgres://u:p%40@h1:1,h2:2/d", "postgres://[::1]:5/d", "postgres://[::1]/d", "host=h1,h2 user=u", "postgresql:///d?host=/tmp&user=me@realm"} {
		a.dsn = several
		if _, err := a.config(a.source()); err != nil {
			t.Errorf("%s: %v", several, err)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ secret, text, want string }{
		{"hunter2", "password=hunter2 at hunter2@h", "password=xxxxx at xxxxx@h"},
		{"a", "a table has a:a@h", "xxxxx table has xxxxx:a@h"},
		{"", "nothing", "nothing"},
	} {
		a := &app{secrets: []string{test.secret}}
		if got := a.redact(test.text); got != test.want {
			t.Errorf("redact(%q) of %q = %q, want %q", test.text, test.secret, got, test.want)
		}
	}
}

func TestParseDrop(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"now": 1, "never": -1, "after=24h": 24 * time.Hour, "after=7d": 7 * 24 * time.Hour, "after=90m": 90 * time.Minute} {
		if got, err := parseDrop(text); err != nil || got != want {
			t.Errorf("parseDrop(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "24h", "after=", "after=1ms", "after=-1h", "after=-1d", "after=d", "after=0d", "after=tomorrow"} {
		if got, err := parseDrop(text); err == nil {
			t.Errorf("parseDrop(%q) = %v, want an error", text, got)
		}
	}
}
