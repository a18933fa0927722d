package migrate_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

var syntaxes = map[string]plan.Syntax{"postgres": plan.PostgresSyntax(), "mysql": plan.MySQLSyntax()}

// N6, N12, O8, R11: every tree in testdata says the same in the words of another tool, so all must be read to the same statements.
func TestN6TreesOfAllFormatsAreReadAlike(t *testing.T) {
	t.Parallel()
	for database, syntax := range syntaxes {
		var want string
		for _, format := range migrate.Formats() {
			t.Run(database+"/"+string(format), func(t *testing.T) {
				fsys := os.DirFS("testdata/" + string(format) + "/" + database)
				tree, err := migrate.Read(fsys, migrate.ReadOptions{Syntax: syntax})
				if err != nil {
					t.Fatal(err)
				}
				if tree.Format != format {
					t.Errorf("recognised as %s", tree.Format)
				}
				var got strings.Builder
				for i, m := range tree.Migrations {
					for _, s := range m.Up.Statements {
						fmt.Fprintf(&got, "%d up %s\n", i+1, s.SQL)
					}
				}
				if want == "" {
					want = got.String()
				}
				if got.String() != want || !strings.Contains(want, "5 up UPDATE") {
					t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
				}
				if down := tree.Migrations[0].Down; (down != nil) != (format != migrate.Atlas && format != migrate.Plain) {
					t.Errorf("way back: %v", down)
				}
				never := tree.Migrations[3].Up.Tx == migrate.TxNever
				if said := format == migrate.Goose || format == migrate.SQLMigrate || format == migrate.Atlas; never != (said && database == "postgres") {
					t.Errorf("migration 4 without a transaction: %v", never)
				}
			})
		}
	}
}

func TestSplitting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, syntax, text string
		want               []string
	}{
		{"a body between dollars is one statement", "postgres", "CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; SELECT 2; $$ LANGUAGE sql; SELECT 1", []string{"CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; SELECT 2; $$ LANGUAGE sql", "SELECT 1"}},
		{"a body of BEGIN ATOMIC is one statement", "postgres", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 1;", []string{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END", "SELECT 1"}},
		{"DELIMITER is obeyed", "mysql", "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END//\nDELIMITER ;\nSELECT 2;", []string{"CREATE PROCEDURE p() BEGIN SELECT 1; END", "SELECT 2"}},
		{"a delimiter may touch a word", "mysql", "delimiter $$\nCREATE PROCEDURE p() BEGIN SELECT 1; END$$\nDELIMITER ;\nSELECT 2", []string{"CREATE PROCEDURE p() BEGIN SELECT 1; END", "SELECT 2"}},
		{"a body without DELIMITER is one statement", "mysql", "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN IF NEW.a > 1 THEN SET NEW.a = IF(1, 2, 3); END IF; WHILE a DO SET b = 1; END WHILE; END; SELECT 1;",
			[]string{"CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN IF NEW.a > 1 THEN SET NEW.a = IF(1, 2, 3); END IF; WHILE a DO SET b = 1; END WHILE; END", "SELECT 1"}},
		{"a body that is one IF is one statement", "mysql", "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW IF NEW.a > 1 THEN SET NEW.a = 2; END IF; SELECT 1", []string{"CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW IF NEW.a > 1 THEN SET NEW.a = 2; END IF", "SELECT 1"}},
		{"IF EXISTS opens nothing", "mysql", "DROP TABLE IF EXISTS a; CREATE TABLE b (a int); SELECT 1", []string{"DROP TABLE IF EXISTS a", "CREATE TABLE b (a int)", "SELECT 1"}},
		{"what the server runs of a comment is a statement", "mysql", "/*!40101 SET NAMES utf8 */; SELECT 1 # not ; this\n;", []string{"/*!40101 SET NAMES utf8 */", "SELECT 1"}},
		{"quotes and comments hide semicolons", "postgres", "SELECT ';', \";\" /* ; /* ; */ ; */ -- ;\n, E'\\';'; ; SELECT 2", []string{"SELECT ';', \";\" /* ; /* ; */ ; */ -- ;\n, E'\\';'", "SELECT 2"}},
		{"BEGIN and COMMIT are the runner's", "postgres", "BEGIN; SELECT 1; COMMIT; SELECT 2;", []string{"SELECT 1", "SELECT 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree, err := migrate.Read(fstest.MapFS{"1_x.sql": {Data: []byte(test.text)}}, migrate.ReadOptions{Syntax: syntaxes[test.syntax]})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range tree.Migrations[0].Up.Statements {
				got = append(got, s.SQL)
			}
			if strings.Join(got, "\n--\n") != strings.Join(test.want, "\n--\n") {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// S7, O16: what is wrong with a tree is said before anything runs, with file and line.
func TestTreesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		files map[string]string
		says  string
	}{
		{"two files of one version", map[string]string{"1_a.sql": "SELECT 1", "001_b.sql": "SELECT 2"}, "same version 1"},
		{"two formats", map[string]string{"1_a.up.sql": "SELECT 1", "V1__b.sql": "SELECT 2"}, "say which with --format"},
		{"a down without an up", map[string]string{"1_a.up.sql": "SELECT 1", "2_b.down.sql": "SELECT 1"}, "no file leads to"},
		{"a statement outside of all sections", map[string]string{"1_a.sql": "SELECT 1;\n-- +goose Up\nSELECT 2;"}, "1_a.sql:1: a statement stands before"},
		{"StatementBegin without end", map[string]string{"1_a.sql": "-- +goose Up\n-- +goose StatementBegin\nSELECT 2;"}, "no StatementEnd"},
		{"an annotation that nobody knows", map[string]string{"1_a.sql": "-- +goose Up\n-- +goose Upwards\nSELECT 2;"}, "line 2: the annotation"},
		{"a string without an end", map[string]string{"1_a.sql": "SELECT 1;\nSELECT 'x"}, "line 2: "},
		{"a command of psql", map[string]string{"1_a.sql": "\\set x 1\nSELECT 1"}, "command of psql"},
		{"BEGIN without COMMIT", map[string]string{"1_a.sql": "BEGIN; SELECT 1"}, "BEGIN has no COMMIT"},
		{"data of COPY", map[string]string{"1_a.sql": "COPY t FROM stdin;"}, "COPY FROM STDIN"},
		{"a placeholder without a value", map[string]string{"V1__a.sql": "SELECT '${x}'"}, "placeholder ${x}"},
		{"a migration in Go that the program does not have", map[string]string{"1_a.sql": "-- +goose Up\nSELECT 1", "2_b.go": "package x"}, "migrate.Config.Go"},
		{"atlas.sum of other files", map[string]string{"1_a.sql": "SELECT 1", "atlas.sum": "h1:x\n1_a.sql h1:y\n"}, "from 1_a.sql on"},
		{"an unknown word of ours", map[string]string{"1_a.sql": "-- changeling: hurry\nSELECT 1"}, "annotation changeling: hurry is unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for name, text := range test.files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			_, err := migrate.Read(fsys, migrate.ReadOptions{Syntax: plan.PostgresSyntax()})
			if err == nil || !strings.Contains(err.Error(), test.says) || !errors.Is(err, changeling.ErrUsage) {
				t.Errorf("got %v, want a usage error with %q", err, test.says)
			}
		})
	}
}

// R8: comments and white space may change in a released file, words may not.
func TestR8ChecksumsForgiveCommentsOnly(t *testing.T) {
	t.Parallel()
	read := func(text string) migrate.Sum {
		tree, err := migrate.Read(fstest.MapFS{"1_x.sql": {Data: []byte(text)}}, migrate.ReadOptions{Syntax: plan.PostgresSyntax()})
		if err != nil {
			t.Fatal(err)
		}
		return tree.Migrations[0].Sum
	}
	a, b, c := read("SELECT  1;\r\n"), read("-- one\nSELECT 1"), read("SELECT 10")
	if a.Normal != b.Normal || a.Exact == b.Exact {
		t.Errorf("comments and white space: %v and %v", a, b)
	}
	if a.Normal == c.Normal {
		t.Error("another statement has the same checksum")
	}
	if x, y := read("SELECT 'a' 'b'"), read("SELECT 'a''b'"); x.Normal == y.Normal {
		t.Error("two strings and one have the same checksum")
	}
	// The value that Flyway 10 writes for a file with this line, whatever ends it.
	if got := read("SELECT 1;\n").Lines; got != read("SELECT 1;\r\n").Lines {
		t.Errorf("the checksum over lines depends on their ends: %d", got)
	}
}

// S2: a person may write a part of a version or name.
func TestS2VersionsByTheirBeginning(t *testing.T) {
	t.Parallel()
	fsys := fstest.MapFS{}
	for _, name := range []string{"20240101_init.sql", "20240102_users.sql", "20250101_orders.sql"} {
		fsys[name] = &fstest.MapFile{Data: []byte("SELECT 1")}
	}
	tree, err := migrate.Read(fsys, migrate.ReadOptions{Syntax: plan.PostgresSyntax()})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"2025": "20250101", "users": "20240102", "20240101": "20240101", "": "20250101", "head": "20250101"} {
		if got, err := tree.Resolve(text); got != want || err != nil {
			t.Errorf("Resolve(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"2024", "nothing"} {
		if got, err := tree.Resolve(text); err == nil {
			t.Errorf("Resolve(%q) = %q", text, got)
		}
	}
}
