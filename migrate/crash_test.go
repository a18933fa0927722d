package migrate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling/internal/dbtest/dying"
	"github.com/changeling-db/changeling/migrate"
)

// mixed is a tree in which every way to run a statement is taken: statements that fail, or count, when they run twice.
func mixed(kind string) fstest.MapFS {
	if kind == "postgres" {
		return files(
			"1_tables.sql", "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO a SELECT generate_series(1, 10);",
			"2_pieces.sql", "-- changeling: transaction=never\nSET search_path = public;\nALTER TABLE a ADD COLUMN m int;\nUPDATE a SET n = n + 1;\nCREATE INDEX CONCURRENTLY a_n ON a (n);\nDROP INDEX CONCURRENTLY a_n;\n"+
				"CREATE UNIQUE INDEX CONCURRENTLY a_m ON a (m);\nBEGIN;\nUPDATE a SET n = n + 10;\nUPDATE a SET n = n + 100;\nCOMMIT;\n-- changeling: ensure SELECT bool_and(n = 111) FROM a\n",
			"3_function.sql", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$; UPDATE a SET n = n + 1000;")
	}
	return files(
		"1_tables.sql", "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO a (id) VALUES (1), (2), (3);",
		"2_pieces.sql", "SET @step = 1;\nALTER TABLE a ADD COLUMN m int;\nUPDATE a SET n = n + @step;\nCREATE INDEX a_n ON a (n);\nDROP INDEX a_n ON a;\nCREATE UNIQUE INDEX a_m ON a (m);\n"+
			"BEGIN;\nUPDATE a SET n = n + 10;\nUPDATE a SET n = n + 100;\nCOMMIT;\nCREATE TABLE b (id int);\nRENAME TABLE b TO c;\n-- changeling: ensure SELECT MIN(n) = 111 AND MAX(n) = 111 FROM a\n",
		"3_procedure.sql", "CREATE PROCEDURE f() BEGIN SELECT 1; SELECT 2; END;\nUPDATE a SET n = n + 1000;")
}

func cleared(t *testing.T, d database) {
	t.Helper()
	if d.kind == "postgres" {
		d.exec(t, "DROP TABLE IF EXISTS a", "DROP FUNCTION IF EXISTS f()")
		return
	}
	d.exec(t, "DROP TABLE IF EXISTS a, b, c", "DROP PROCEDURE IF EXISTS f")
}

// N4, N8: killed before or after any statement that it sends, the next run goes on and ends with the same schema, each row
// written once.
func TestN4DiesAndGoesOn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		fsys := mixed(d.kind)
		whole, c := d.dying(t, dying.Death{})
		upped(t, migrator(t, whole, fsys, migrate.Config{Name: "whole"}))
		want, statements := d.schema(t), c.Count()
		if got := d.ask(t, "SELECT MIN(n) FROM a"); got != "1111" {
			t.Fatalf("n is %s without a death", got)
		}
		points := rand.New(rand.NewPCG(7, 7)).Perm(statements)
		wanted, unnoticed := 8, 0
		if os.Getenv("CHANGELING_FULL") != "" {
			wanted = statements
		}
		for i, point := range points {
			if i-unnoticed == wanted || i == 3*wanted {
				break
			}
			cleared(t, d)
			death := dying.Death{At: point + 1, Moment: dying.Moment(i % 2)}
			name := fmt.Sprint("point", point)
			db, dead := d.dying(t, death)
			_, err := migrator(t, db, fsys, migrate.Config{Name: name}).Up(t.Context(), "")
			last, died := dead.Died()
			if !died || err == nil { // heartbeats count too, of which a slow machine has many: there may be fewer statements, and the last one is the lease's
				unnoticed++
			}
			m := migrator(t, d.db, fsys, migrate.Config{Name: name})
			if _, err := m.Up(t.Context(), ""); err != nil {
				t.Fatalf("killed %s statement %d, %s: %v", death.Moment, death.At, last, err)
			}
			if got := d.schema(t); got != want {
				t.Fatalf("killed %s statement %d, %s: got\n%s\nwant\n%s", death.Moment, death.At, last, got, want)
			}
			if lo, hi := d.ask(t, "SELECT MIN(n) FROM a"), d.ask(t, "SELECT MAX(n) FROM a"); lo != "1111" || hi != "1111" {
				t.Fatalf("killed %s statement %d, %s: n is %s to %s", death.Moment, death.At, last, lo, hi)
			}
			if st := state(t, m); st.State != migrate.StateCurrent {
				t.Fatalf("killed %s statement %d, %s: %s", death.Moment, death.At, last, st.Message)
			}
		}
		if tried := min(len(points), wanted+unnoticed, 3*wanted); tried-unnoticed < wanted*2/3 {
			t.Errorf("%d of %d deaths were none", unnoticed, tried)
		}
	})
}

// NR5, P72: a build that died leaves an index that is not valid and that IF NOT EXISTS would take for the whole.
func TestNR5AnInvalidIndexIsBuiltAnew(t *testing.T) {
	t.Parallel()
	d := postgresDatabase(t)
	d.exec(t, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1), (1)")
	m := migrator(t, d.db, files("1_i.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);"), migrate.Config{})
	if _, err := m.Up(t.Context(), ""); err == nil {
		t.Fatal("two equal rows have a unique index")
	}
	d.exec(t, "DELETE FROM a")
	upped(t, m)
	if got := d.ask(t, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"); got != "true" {
		t.Error("the index is not valid")
	}
}

// N8, N10, O15, O16: what fails says what is left of it; the file may be edited behind what is done, and not before.
func TestN10AFailureSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		run := func(body string) error {
			t.Helper()
			_, err := migrator(t, d.db, files("1_a.sql", "-- changeling: transaction=never\n"+body), migrate.Config{}).Up(t.Context(), "")
			return err
		}
		err := run("CREATE TABLE a (id int);\nCREATE TABLE nonsense (id nonsense);\nCREATE TABLE b (id int);")
		if err == nil {
			t.Fatal("a type that is not there")
		}
		for _, part := range []string{"1_a.sql:3", "nonsense", "statements 1 to 1 of 3 are done and kept", "goes on with this statement"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error lacks %q: %v", part, err)
			}
		}
		if err := run("CREATE TABLE other (id int);\nCREATE TABLE b (id int);"); err == nil || !strings.Contains(err.Error(), "says something else there now") {
			t.Errorf("what is done was edited: %v", err)
		}
		if err := run("CREATE TABLE a (id int);\nCREATE TABLE b (id int);"); err != nil {
			t.Errorf("mended: %v", err)
		}
	})
}

// N10: a statement that the server refused did not happen, whatever somebody does to its table before it is tried again.
func TestN10MendedByHand(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d database) {
		d.exec(t, "CREATE TABLE a (id int PRIMARY KEY, n int)")
		m := migrator(t, d.db, files("1_a.sql", "-- changeling: transaction=never\nALTER TABLE a ADD COLUMN n int;"), migrate.Config{})
		if _, err := m.Up(t.Context(), ""); !errors.Is(err, migrate.ErrFailed) {
			t.Fatalf("a column that is there: %v", err)
		}
		d.exec(t, "ALTER TABLE a DROP COLUMN n")
		upped(t, m)
		if got := d.ask(t, "SELECT COUNT(n) FROM a"); got != "0" { // it is there
			t.Errorf("%s values", got)
		}
	})
}
