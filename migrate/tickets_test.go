package migrate_test

import (
	"database/sql"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/changeling-db/changeling/migrate"
)

// The trees of testdata/tickets tell one story, of more than thirty migrations, as the users of each tool write it. What
// should come of them stands beside them as statements, cut by hand, that are run one behind the other without any runner.

// chapter is one migration of the story.
type chapter struct {
	name       string
	repeatable bool // Flyway has it as such, so it comes last there
	statements []string
}

func story(t *testing.T, kind string) (all []chapter) {
	t.Helper()
	text, err := os.ReadFile("testdata/tickets/" + kind + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(string(text), "== "), "\n== ") {
		head, body, _ := strings.Cut(part, "\n")
		c := chapter{}
		c.name, c.repeatable = strings.CutSuffix(head, " (repeatable)")
		for s := range strings.SplitSeq(body, ";;") {
			if s = strings.TrimSpace(s); s != "" {
				c.statements = append(c.statements, s)
			}
		}
		all = append(all, c)
	}
	if len(all) < 30 {
		t.Fatalf("the story has %d chapters, want 30 or more", len(all))
	}
	return all
}

// inOrder is the story in the order of a format.
func inOrder(t *testing.T, format migrate.Format, kind string) (all []chapter) {
	all = story(t, kind)
	if format != migrate.Flyway {
		return all
	}
	var last []chapter
	kept := all[:0]
	for _, c := range all {
		if c.repeatable {
			last = append(last, c)
		} else {
			kept = append(kept, c)
		}
	}
	return append(kept, last...)
}

// plainly runs chapters on one connection, as a person would.
func (d database) plainly(t *testing.T, chapters []chapter) {
	t.Helper()
	conn, err := d.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range chapters {
		for _, s := range c.statements {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v\nin: %s", c.name, err, s)
			}
		}
	}
}

// whole is the schema and all data but times, without the version tables of other tools.
func (d database) whole(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(d.schema(t)) {
		if d.kind == "mysql" {
			line = strings.ReplaceAll(line, "`"+d.ask(t, "SELECT DATABASE()")+"`.", "")
		}
		if !foreign(line) {
			out.WriteString(line)
		}
	}
	query := "SELECT table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = 'public' AND data_type !~ 'timestamp|tsvector' GROUP BY 1 ORDER BY 1"
	if d.kind == "mysql" {
		query = "SELECT table_name, GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR ', ') FROM information_schema.columns WHERE table_schema = DATABASE() AND data_type NOT IN ('timestamp', 'datetime') GROUP BY 1 ORDER BY 1"
	}
	for _, table := range d.rows(t, query) {
		if name, columns, _ := strings.Cut(table, "|"); !foreign(name) {
			lines := d.rows(t, "SELECT "+columns+" FROM "+name+" ORDER BY "+columns)
			fmt.Fprintf(&out, "%s has\n%s\n", name, strings.Join(lines, "\n"))
		}
	}
	return out.String()
}

// foreign says that something belongs to another tool's version table.
func foreign(text string) bool {
	for _, f := range foreignTables {
		if strings.Contains(text, strings.Fields(f.table)[2]) {
			return true
		}
	}
	return false
}

// rows are the lines of a query, with bars between the values.
func (d database) rows(t *testing.T, query string) (lines []string) {
	t.Helper()
	rows, err := d.db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%v\nin: %s", err, query)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, places := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, v := range values {
			word := v.String
			if !v.Valid {
				word = "NULL"
			}
			words = append(words, word)
		}
		lines = append(lines, strings.Join(words, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// load is a directory with what is below it, in memory.
func load(t *testing.T, dir string) fstest.MapFS {
	t.Helper()
	out, on := fstest.MapFS{}, os.DirFS(dir)
	if err := fs.WalkDir(on, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := fs.ReadFile(on, path)
		out[path] = &fstest.MapFile{Data: body}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// tickets is the runner of a tree of the story.
func tickets(t *testing.T, db *sql.DB, format migrate.Format, kind string, c migrate.Config) *migrate.Migrator {
	t.Helper()
	c.Placeholders = map[string]string{"city": "Lyon"}
	return migrator(t, db, load(t, "testdata/tickets/"+string(format)+"/"+kind), c)
}

// noted writes what the original tool writes when it has applied the first versions of a tree.
func (d database) noted(t *testing.T, format migrate.Format, versions []migrate.Line) {
	t.Helper()
	for _, f := range foreignTables {
		if f.format != format {
			continue
		}
		d.exec(t, f.table)
		name := strings.Fields(f.table)[2]
		if format == migrate.Goose {
			d.exec(t, "INSERT INTO goose_db_version VALUES (1, 0, true, NULL)")
		}
		for i, v := range versions {
			row := map[migrate.Format]string{
				migrate.Goose:         fmt.Sprintf("(%d, %s, true, NULL)", i+2, v.Version),
				migrate.GolangMigrate: fmt.Sprintf("(%s, false)", v.Version),
				migrate.SQLMigrate:    fmt.Sprintf("('%s', NULL)", v.Version),
				migrate.Flyway:        fmt.Sprintf("(%d, '%s', '%s', 'SQL', 'V%[2]s.sql', NULL, true)", i+1, v.Version, v.Name),
				migrate.Atlas:         fmt.Sprintf("('%s', '%s', 2, 2, '')", v.Version, v.Name),
			}[format]
			if format != migrate.GolangMigrate || i == len(versions)-1 {
				d.exec(t, "INSERT INTO "+name+" VALUES "+row)
			}
		}
	}
}

// starts are the versions that upgrades begin at: all of them, or one that is another in each tree.
func starts(t *testing.T, versions int) (out []int) {
	if os.Getenv("CHANGELING_FULL") == "" {
		h := fnv.New32a()
		h.Write([]byte(t.Name()))
		return []int{int(h.Sum32()) % versions}
	}
	for k := range versions {
		out = append(out, k)
	}
	return out
}

// N2, N3, N6, N7, N12, O1: a database that the original tool has brought to any version is adopted and brought to the newest one; it
// is the one that the statements give, run one behind the other.
func TestN2TicketsFromEveryVersion(t *testing.T) {
	t.Parallel()
	told := func(t *testing.T, d database) string { // the order of Flyway ends in the same
		d.plainly(t, story(t, d.kind))
		return d.whole(t)
	}
	everyFormat(t, told, func(t *testing.T, format migrate.Format, want string, empty func(*testing.T) database) {
		kind := "mysql"
		if strings.Contains(t.Name(), "/postgres/") {
			kind = "postgres"
		}
		chapters := inOrder(t, format, kind)
		for _, from := range starts(t, len(chapters)) {
			t.Run(fmt.Sprint("from", from), func(t *testing.T) { // connections are closed behind each
				d := empty(t)
				d.plainly(t, chapters[:from])
				m := tickets(t, d.db, format, d.kind, migrate.Config{Adopt: true})
				st := state(t, m)
				if len(st.Migrations) != len(chapters) || st.Format != format {
					t.Fatalf("%d migrations of %s, want %d", len(st.Migrations), st.Format, len(chapters))
				}
				if from > 0 && format == migrate.Plain {
					if err := m.Baseline(t.Context(), st.Migrations[from-1].Version); err != nil {
						t.Fatal(err)
					}
				} else if from > 0 {
					d.noted(t, format, st.Migrations[:from])
				}
				if res := upped(t, m); len(res.Applied) != len(chapters)-from {
					t.Errorf("from %d: %d were applied, want %d", from, len(res.Applied), len(chapters)-from)
				}
				if got := d.whole(t); got != want {
					t.Errorf("from %d: %s", from, difference(got, want))
				}
				if st := state(t, m); st.State != migrate.StateCurrent {
					t.Errorf("from %d: %s", from, st.Message)
				}
			})
		}
	})
}

// N3, S3, Q12: version by version, each is what the statements up to it give; and back to the empty database, where there is a way.
func TestN3TicketsStepByStep(t *testing.T) {
	t.Parallel()
	nothing := func(*testing.T, database) string { return "" }
	everyFormat(t, nothing, func(t *testing.T, format migrate.Format, _ string, empty func(*testing.T) database) {
		if os.Getenv("CHANGELING_FULL") == "" && format != migrate.GolangMigrate {
			return
		}
		d, plain := empty(t), empty(t)
		chapters := inOrder(t, format, d.kind)
		m := tickets(t, d.db, format, d.kind, migrate.Config{AllowDataLoss: true})
		looks := starts(t, len(chapters))
		for i, line := range state(t, m).Migrations {
			plain.plainly(t, chapters[i:i+1])
			to := line.Version
			if strings.HasPrefix(to, "R:") {
				to = ""
			}
			if _, err := m.Up(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			if i == looks[min(i, len(looks)-1)] || i == len(chapters)-1 {
				if got, want := d.whole(t), plain.whole(t); got != want {
					t.Fatalf("at %s: %s", line.Version, difference(got, want))
				}
			}
		}
		if format == migrate.Atlas || format == migrate.Plain {
			return
		}
		if format == migrate.Flyway {
			d.exec(t, "DROP VIEW sold_seats") // a repeatable migration has no way back
		}
		if _, err := m.To(t.Context(), "0"); err != nil {
			t.Fatal(err)
		}
		if got := d.whole(t); got != "" {
			t.Errorf("after the way back there are\n%s", got)
		}
	})
}

// everyFormat runs a test for each tree of the story on each server, with what was prepared there once.
func everyFormat(t *testing.T, prepare func(*testing.T, database) string, test func(t *testing.T, format migrate.Format, prepared string, empty func(*testing.T) database)) {
	each(t, func(t *testing.T, d database) {
		prepared := prepare(t, d)
		version := strings.Split(t.Name(), "/")[1]
		empty := func(t *testing.T) database {
			if d.kind == "postgres" {
				return postgresDatabase(t)
			}
			return mysqlDatabase(t, version)
		}
		for _, format := range migrate.Formats() {
			t.Run(string(format), func(t *testing.T) {
				t.Parallel()
				test(t, format, prepared, empty)
			})
		}
	})
}

// difference is the first line in which two texts differ.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("line %d of %d is\n%s\nwant, of %d,\n%s", i+1, len(a), strings.Join(a[min(i, len(a)):min(i+2, len(a))], "\n"), len(b), strings.Join(b[min(i, len(b)):min(i+2, len(b))], "\n"))
		}
	}
	return "no difference"
}
